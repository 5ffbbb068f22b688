using System.Text.RegularExpressions;
using Microsoft.Playwright;
using XenPciBack.Backend.Status;
using XenPciBack.Fleet;
using XenPciBack.Protocol;
using XenPciBack.Web.Preview;

namespace XenPciBack.Web.Tests;

/// <summary>A page that stays open for weeks, and what may come its way.</summary>
public sealed class LongLifeTests(Browser browser) : PageTest(browser)
{
    [BrowserFact]
    public async Task What_a_host_tells_late_stands_where_it_belongs_by_its_time()
    {
        await OpenAsync();
        Board.Update(state => state.WithIncident(MadeUpFleet.Told("alpha", 3, DateTimeOffset.UtcNow.AddHours(-2), IncidentKind.Recovered, 4, MadeUpFleet.Nic, "while the monitor was away"), DateTimeOffset.UtcNow));
        await Expect(Page.Locator(".incident .what")).ToHaveTextAsync(["Restarted", "Misbehaved", "Recovered", "Device error", "Adopted"]);
    }

    [BrowserFact]
    public async Task A_guest_that_was_killed_hours_ago_is_missed_until_its_device_is_cleared()
    {
        var then = DateTimeOffset.UtcNow.AddHours(-2);
        Board.Update(state => MadeUpFleet.Break(state, then));
        await OpenAsync();
        await Expect(Row("guest domain 7, killed")).ToBeVisibleAsync();
        await Expect(Row("host beta, live, 2 guests, 1 killed, 1 in quarantine")).ToBeVisibleAsync();
        Change("beta", status => status with { Quarantine = [] });
        await Expect(Row("guest domain 7, killed")).ToHaveCountAsync(0);
        await Expect(Page.Locator(".summary")).Not.ToContainTextAsync("killed");
        await Expect(Page.GetByRole(AriaRole.Button, new() { NameRegex = new Regex("^Guest killed, beta") })).ToBeVisibleAsync();
    }

    [BrowserFact]
    public async Task A_guest_is_killed_as_soon_as_that_is_told_and_until_one_begins_under_its_number()
    {
        await OpenAsync();
        var broken = MadeUpFleet.Break(Board.State, DateTimeOffset.UtcNow);
        Board.Update(state => state.WithIncident(broken.Hosts["beta"].Incidents.Single(told => told.Incident.Kind == IncidentKind.GuestKilled), DateTimeOffset.UtcNow));
        await Expect(Row("guest web-2, domain 7, killed")).ToBeVisibleAsync();
        Change("beta", status => status with { Guests = [.. status.Guests.Select(guest => guest with { Since = DateTimeOffset.UtcNow.AddSeconds(1) })] });
        await Expect(Row("guest web-2, domain 7, Connected")).ToBeVisibleAsync();
    }

    [BrowserFact]
    public async Task The_lines_of_a_guest_go_on_where_they_were_when_the_server_is_back()
    {
        Expected = complaint => complaint.Contains("ERR_", StringComparison.Ordinal);
        await OpenAsync();
        Change("alpha", status => status);
        await HistoryAsync(2);
        await RestartServerAsync(() => Expect(Page.Locator("#live")).ToContainTextAsync("not live"));
        await Expect(Page.Locator("#live")).ToHaveTextAsync("●live");
        await HistoryAsync(2);
        Change("alpha", status => status);
        await HistoryAsync(3);
    }

    [BrowserFact]
    public async Task Of_guests_that_are_gone_only_so_many_names_are_kept()
    {
        await OpenAsync();
        var guest = Board.State.Hosts["alpha"].Status!.Guests[0] with { Devices = [] };
        for (var first = 1000; first < 6000; first += 500)
        {
            Change("alpha", status => status with { Xen = $"after {first}", Guests = [.. Enumerable.Range(first, 500).Select(id => guest with { Domain = new DomainId(id), Name = $"guest-{id}" })] });
            await Expect(Row("host alpha")).ToContainTextAsync($"after {first}");
        }
        Assert.Equal((null, "guest-5000"), (await NameAsync(1000), await NameAsync(5000)));
    }

    [BrowserFact]
    public async Task Two_guests_that_a_host_tells_under_one_number_are_two_rows()
    {
        await OpenAsync();
        Change("beta", status => status with { Guests = [.. status.Guests, status.Guests[0] with { Name = "impostor" }] });
        await Expect(Row("guest impostor, domain 7")).ToBeVisibleAsync();
        Change("beta", status => status with { Xen = "4.21.0" });
        await Expect(Row("host beta")).ToContainTextAsync("4.21.0");
        await Expect(Row("guest web-2, domain 7")).ToHaveCountAsync(1);
        await Expect(Row("guest impostor, domain 7")).ToHaveCountAsync(1);
    }

    [BrowserFact]
    public async Task A_guest_without_a_name_to_be_seen_is_called_by_its_number()
    {
        await OpenAsync();
        Change("alpha", status => status with { Guests = [status.Guests[0] with { Name = "" }, status.Guests[1] with { Name = " \t" }] });
        await Expect(Row("guest domain 5, domain 5, Connected").GetByRole(AriaRole.Link, new() { Name = "domain 5" })).ToBeVisibleAsync();
        await Row("guest domain 4, domain 4, Connected").GetByRole(AriaRole.Link, new() { Name = "domain 4" }).ClickAsync();
        await Expect(Page.GetByRole(AriaRole.Heading, new() { Level = 1 })).ToHaveTextAsync("domain 4 #4 on alpha");
    }

    [BrowserFact]
    public async Task A_name_without_an_end_leaves_room_for_everything_else()
    {
        await OpenAsync();
        Change("alpha", status => status with { Guests = [.. status.Guests.Select(guest => guest with { Name = new string('W', 2000) })] });
        var row = Row("guest WWW").First;
        await Expect(row).ToBeVisibleAsync();
        Assert.Equal(0, await Page.EvaluateAsync<int>("document.documentElement.scrollWidth - document.documentElement.clientWidth"));
        foreach (var cell in new[] { ".state", ".rate .number", ".late .number", ".info" })
            Assert.True(await row.Locator(cell).EvaluateAsync<bool>("cell => { const own = cell.getBoundingClientRect(); return own.width > 20 && own.right <= document.getElementById('tree').closest('section').getBoundingClientRect().right; }"), cell);
        await Page.SetViewportSizeAsync(360, 740);
        Assert.Equal(0, await Page.EvaluateAsync<int>("document.documentElement.scrollWidth - document.documentElement.clientWidth"));
    }

    [BrowserFact]
    public async Task A_name_that_turns_the_direction_of_writing_turns_nothing_but_itself()
    {
        await OpenAsync("#/alpha/4");
        Change("alpha", status => status with { Guests = [.. status.Guests.Select(guest => guest with { Name = "\u202Edellik" })] });
        var heading = Page.GetByRole(AriaRole.Heading, new() { Level = 1 });
        await Expect(heading).ToContainTextAsync("dellik");
        Assert.True(await heading.EvaluateAsync<bool>("title => { const name = document.createRange(); name.selectNodeContents(title.firstChild); return name.getBoundingClientRect().right <= title.querySelector('.quiet').getBoundingClientRect().left + 1; }"));
    }

    [BrowserFact]
    public async Task The_devices_of_a_host_that_is_lost_are_asked_for_nothing()
    {
        Lose("alpha");
        await OpenAsync("#/alpha/4");
        await Expect(Page.GetByText("It cannot be read while the host is not heard of.")).ToBeVisibleAsync();
        await Expect(Page.GetByRole(AriaRole.Button, new() { Name = "Read again" })).ToBeDisabledAsync();
        Assert.DoesNotContain(Requests, request => request.EndsWith("/config", StringComparison.Ordinal));
        Board.Update(state => state.WithPresence("alpha", Presence.Up, DateTimeOffset.UtcNow));
        await Expect(Page.Locator(".hex")).ToBeVisibleAsync();
    }

    private void Change(string host, Func<HostStatus, HostStatus> change) =>
        Board.Update(state => state.WithStatus(change(state.Hosts[host].Status!) with { Number = state.Hosts[host].Status!.Number + 1 }, DateTimeOffset.UtcNow));

    /// <summary>That there are so many values on the lines of alpha's first guest.</summary>
    private Task HistoryAsync(int values) => Expect(Row("guest build").Locator(".of-rate .line")).ToHaveAttributeAsync("d", new Regex($"^M[^L]+(L[^L]+){{{values - 1}}}$"));

    private Task<string?> NameAsync(int domain) => Page.EvaluateAsync<string?>($"import('/fleet.js').then(fleet => fleet.nameOf('alpha', {domain}))");
}
