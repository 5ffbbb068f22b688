namespace XenPciBack.Fleet.Tests;

public class FleetStateTests
{
    private static readonly DateTimeOffset Now = Some.Noon.AddMinutes(1), Later = Some.Noon.AddMinutes(2);

    [Fact]
    public void A_later_status_of_a_daemon_replaces_an_earlier_one_and_not_the_other_way_round()
    {
        var state = FleetState.Empty.WithStatus(Some.Status("a", 2), Now);
        Assert.Same(state, state.WithStatus(Some.Status("a", 1), Now));
        Assert.Same(state, state.WithStatus(Some.Status("a", 2), Now));
        Assert.Equal(3, state.WithStatus(Some.Status("a", 3), Now).Hosts["a"].Status!.Number);
    }

    [Fact]
    public void The_next_daemon_of_a_host_counts_from_one_again_whatever_its_clock_says()
    {
        var state = FleetState.Empty.WithStatus(Some.Status("a", 7), Now);
        Assert.Equal(1, state.WithStatus(Some.Status("a", 1, Some.Noon.AddYears(-20)), Now).Hosts["a"].Status!.Number);
    }

    [Fact]
    public void An_incident_told_twice_counts_once()
    {
        var state = FleetState.Empty.WithIncident(Some.Told("a", 1), Now).WithIncident(Some.Told("a", 2), Now);
        Assert.Same(state, state.WithIncident(Some.Told("a", 1), Later));
        Assert.Same(state, state.WithIncident(Some.Told("a", 2), Later));
    }

    [Fact]
    public void The_same_number_of_another_host_or_another_daemon_is_another_incident()
    {
        var state = FleetState.Empty.WithIncident(Some.Told("a", 1), Now).WithIncident(Some.Told("b", 1), Now).WithIncident(Some.Told("a", 1, Later), Now);
        Assert.Equal(3, state.Incidents.Count());
    }

    [Fact]
    public void Incidents_are_newest_first_in_whatever_order_they_come()
    {
        var state = FleetState.Empty;
        foreach (var number in new[] { 2, 5, 1, 4, 3 }) state = state.WithIncident(Some.Told(number % 2 == 0 ? "even" : "odd", number), Now);
        Assert.Equal([5L, 4, 3, 2, 1], state.Incidents.Select(told => told.Incident.Number));
        Assert.Equal([5L, 3, 1], state.Hosts["odd"].Incidents.Select(told => told.Incident.Number));
    }

    [Fact]
    public void Only_so_many_incidents_are_kept_and_an_older_one_told_again_does_not_come_back()
    {
        var state = FleetState.Empty;
        for (var number = 1; number <= FleetState.MostIncidents + 1; number++) state = state.WithIncident(Some.Told("a", number), Now);
        Assert.Equal((FleetState.MostIncidents, 2L), (state.Hosts["a"].Incidents.Length, state.Hosts["a"].Incidents[^1].Incident.Number));
        Assert.Same(state, state.WithIncident(Some.Told("a", 1), Now));
    }

    [Fact]
    public void Only_so_many_hosts_are_taken_in_and_those_that_are_known_go_on()
    {
        var state = FleetState.Empty;
        for (var number = 1; number <= FleetState.MostHosts; number++) state = state.WithStatus(Some.Status($"{number}"), Now);
        Assert.Same(state, state.WithStatus(Some.Status("one more"), Now));
        Assert.Same(state, state.WithIncident(Some.Told("one more"), Now));
        Assert.Same(state, state.WithPresence("one more", Presence.Up, Now));
        Assert.Equal(2, state.WithStatus(Some.Status("1", 2), Now).Hosts["1"].Status!.Number);
    }

    [Fact]
    public void A_host_that_has_vanished_keeps_its_last_state_and_says_since_when()
    {
        var state = FleetState.Empty.WithStatus(Some.Status("a"), Now).WithPresence("a", Presence.Lost, Later);
        Assert.Equal((Presence.Lost, Later, "web"), (state.Hosts["a"].Presence, state.Hosts["a"].PresentSince, state.Hosts["a"].Status!.Guests[0].Name));
        Assert.Same(state, state.WithPresence("a", Presence.Lost, Later.AddMinutes(1)));
        Assert.Equal((Presence.Up, Later.AddMinutes(1)), (state.WithPresence("a", Presence.Up, Later.AddMinutes(1)).Hosts["a"] is var back ? (back.Presence, back.PresentSince) : default));
    }

    [Fact]
    public async Task A_board_tells_those_who_wait_of_changes_and_of_nothing_else()
    {
        var board = new FleetBoard();
        var seen = board.State;
        var next = board.NextAsync(seen, CancellationToken.None);
        board.Update(state => state);
        Assert.False(next.IsCompleted);
        board.Update(state => state.WithStatus(Some.Status("a"), Now));
        Assert.Same(board.State, await next.WaitAsync(TimeSpan.FromMinutes(1)));
        Assert.Same(board.State, await board.NextAsync(seen, CancellationToken.None));
    }
}
