using Akka.Event;
using XenPciBack.Backend.Status;
using XenPciBack.Protocol;

namespace XenPciBack.Fleet.Tests;

/// <summary>Monitor and hosts, over real sockets.</summary>
public class MembershipTests
{
    private static async Task<(TestFleet Fleet, (FleetNode Node, FleetBoard Board)[] Hosts)> StartAsync(params string[] names)
    {
        var fleet = new TestFleet();
        await fleet.StartMonitorAsync();
        var hosts = names.Select(name => fleet.StartHost(name)).ToArray();
        await Eventually.IsTrueAsync(() => names.All(name => fleet.Seen.State.Hosts.ContainsKey(name)));
        return (fleet, hosts);
    }

    [Fact]
    public async Task A_monitor_sees_every_host_with_all_it_tells()
    {
        var (fleet, _) = await StartAsync("a", "b");
        await using var _f = fleet;
        Assert.Equal(["a", "b"], fleet.Seen.State.Hosts.Keys);
        Assert.All(fleet.Seen.State.Hosts.Values, host => Assert.Equal(Presence.Up, host.Presence));
        Assert.Equivalent(Some.Status("a"), fleet.Seen.State.Hosts["a"].Status, strict: true);
        Assert.DoesNotContain(fleet.Log, logged => logged.LogLevel() >= LogLevel.WarningLevel);
    }

    [Fact]
    public async Task Incidents_come_as_they_happen_and_the_status_follows()
    {
        var (fleet, hosts) = await StartAsync("a", "b");
        await using var _f = fleet;
        hosts[1].Board.Update(state => state.WithIncident(Some.Told("b"), Some.Noon).WithStatus(Some.Status("b", 2) with { Guests = [] }, Some.Noon));
        await Eventually.IsTrueAsync(() => fleet.Seen.State.Hosts["b"].Incidents.Length == 1 && fleet.Seen.State.Hosts["b"].Status!.Guests.IsEmpty);
        Assert.Equivalent(Some.Incident(), fleet.Seen.State.Hosts["b"].Incidents[0].Incident, strict: true);
        Assert.Empty(fleet.Seen.State.Hosts["a"].Incidents);
    }

    [Fact]
    public async Task A_monitor_that_is_new_gets_every_incident_there_was_once()
    {
        var (fleet, hosts) = await StartAsync("a");
        await using var _f = fleet;
        for (var number = 1; number <= 100; number++) hosts[0].Board.Update(state => state.WithIncident(Some.Told("a", number), Some.Noon));
        await Eventually.IsTrueAsync(() => fleet.Seen.State.Hosts["a"].Incidents.Length == 100);

        var port = fleet.MonitorAt!.Port;
        fleet.Seen.Update(_ => FleetState.Empty);
        await fleet.StopAsync(fleet.Monitor);
        hosts[0].Board.Update(state => state.WithIncident(Some.Told("a", 101), Some.Noon));
        await fleet.StartMonitorAsync(port);
        await Eventually.IsTrueAsync(() => fleet.Seen.State.Hosts.GetValueOrDefault("a")?.Incidents.Length == 101);
        Assert.Equal(Enumerable.Range(1, 101).Reverse().Select(number => (long)number), fleet.Seen.State.Hosts["a"].Incidents.Select(told => told.Incident.Number));
    }

    [Fact]
    public async Task A_monitor_that_has_left_its_fleet_hears_of_nobody_and_keeps_what_it_knows()
    {
        var (fleet, _) = await StartAsync("a", "b");
        await using var _f = fleet;
        await fleet.StopAsync(fleet.Monitor);
        Assert.All(fleet.Seen.State.Hosts.Values, host => Assert.Equal((Presence.Lost, "web"), (host.Presence, host.Status!.Guests[0].Name)));
    }

    [Fact]
    public async Task A_host_with_more_guests_than_fit_into_a_message_tells_of_all_but_not_how_often_each_asked_for_what()
    {
        var (fleet, hosts) = await StartAsync("a");
        await using var _f = fleet;
        var one = Some.Status("a").Guests[0];
        var many = Enumerable.Range(1, 1000).Select(domain => one with { Domain = new DomainId(domain) }).ToList();
        hosts[0].Board.Update(state => state.WithStatus(Some.Status("a", 2) with { Guests = [.. many] }, Some.Noon));
        await Eventually.IsTrueAsync(() => fleet.Seen.State.Hosts["a"].Status!.Number == 2);
        Assert.Equal(many.Select(guest => guest.Domain), fleet.Seen.State.Hosts["a"].Status!.Guests.Select(guest => guest.Domain));
        Assert.All(fleet.Seen.State.Hosts["a"].Status!.Guests, guest => Assert.Empty(guest.Operations));
    }

    [Fact]
    public async Task A_host_whose_daemon_ends_in_good_order_has_left_and_keeps_its_last_state()
    {
        var (fleet, hosts) = await StartAsync("a", "b");
        await using var _f = fleet;
        await fleet.StopAsync(hosts[0].Node);
        await Eventually.IsTrueAsync(() => fleet.Seen.State.Hosts["a"].Presence == Presence.Left);
        Assert.Equal("web", fleet.Seen.State.Hosts["a"].Status!.Guests[0].Name);
        Assert.Equal(Presence.Up, fleet.Seen.State.Hosts["b"].Presence);
    }

    [Fact]
    public async Task A_host_whose_daemon_starts_anew_is_up_again()
    {
        var (fleet, hosts) = await StartAsync("a");
        await using var _f = fleet;
        await fleet.StopAsync(hosts[0].Node);
        await Eventually.IsTrueAsync(() => fleet.Seen.State.Hosts["a"].Presence == Presence.Left);
        fleet.StartHost("a");
        await Eventually.IsTrueAsync(() => fleet.Seen.State.Hosts["a"].Presence == Presence.Up);
    }

    [Fact]
    public async Task A_monitor_shows_config_space_of_any_host_and_nothing_where_there_is_no_such_device()
    {
        var view = new ConfigView(new DomainId(1), Some.Nic, [.. Enumerable.Range(0, 4096).Select(i => (byte)i)], [.. new byte[4096]], [new ConfigField(0, 2, "Vendor ID", null), new ConfigField(4, 2, "Command", "filtered")]);
        var fleet = new TestFleet();
        await using var _f = fleet;
        await fleet.StartMonitorAsync();
        fleet.StartHost("a", views: (_, guest, device, _) => Task.FromResult(guest == view.Domain && device == view.Function ? view : null));
        await Eventually.IsTrueAsync(() => fleet.Seen.State.Hosts.ContainsKey("a"));

        var seen = await fleet.Monitor.ConfigViewAsync("a", new DomainId(1), Some.Nic, CancellationToken.None);
        Assert.Equal<byte>(view.Guest, seen!.Guest);
        Assert.Equal<ConfigField>(view.Fields, seen.Fields);
        Assert.Null(await fleet.Monitor.ConfigViewAsync("a", new DomainId(2), Some.Nic, CancellationToken.None));
        Assert.Null(await fleet.Monitor.ConfigViewAsync("elsewhere", new DomainId(1), Some.Nic, CancellationToken.None));
    }
}
