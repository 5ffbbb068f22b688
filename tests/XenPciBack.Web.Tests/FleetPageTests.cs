using System.Text.RegularExpressions;
using Microsoft.Playwright;
using XenPciBack.Fleet;
using XenPciBack.Web.Preview;

namespace XenPciBack.Web.Tests;

public sealed class FleetPageTests(Browser browser) : PageTest(browser)
{
    [BrowserFact]
    public async Task A_killed_guest_is_seen_without_a_reload_and_the_others_are_well()
    {
        await OpenAsync();
        await Page.EvaluateAsync("window.sameDocument = true");
        await Expect(Row("guest web-2, domain 7, Connected")).ToBeVisibleAsync();
        Break();
        await Expect(Row("guest web-2, killed")).ToBeVisibleAsync();
        await Expect(Row("guest web-2, domain 7, Connected")).ToHaveCountAsync(0);
        await Expect(Page.Locator(".row.guest .name a")).ToHaveTextAsync(["build", "mail", "web-2", "database", "domain 9", "desktop", "backup"]);
        await Expect(Row("device 0000:03:00.0 in quarantine: fatal: Malformed TLP")).ToBeVisibleAsync();
        await Expect(Page.GetByRole(AriaRole.Button, new() { NameRegex = new Regex("^Guest killed, beta, web-2") })).ToBeVisibleAsync();
        await Expect(Page.Locator(".row.guest .badge.good")).ToHaveTextAsync(["●Connected", "●Connected", "●Connected", "●Connected", "●Connected"]);
        Assert.True(await Page.EvaluateAsync<bool>("window.sameDocument"));
    }

    [BrowserFact]
    public async Task A_host_that_has_vanished_stays_with_its_last_state_and_says_since_when()
    {
        await OpenAsync();
        Lose("gamma");
        var row = Row("host gamma, lost since");
        await Expect(row).ToHaveClassAsync(new Regex("is-lost"));
        await Expect(row).ToContainTextAsync(new Regex(@"lost since \d\d:\d\d:\d\d.*last state"));
        await Expect(Row("guest desktop, domain 12, Connected")).ToHaveClassAsync(new Regex("is-lost"));
        await Expect(Page.Locator(".summary")).ToContainTextAsync("2 live");
        Board.Update(state => state.WithPresence("gamma", Presence.Up, DateTimeOffset.UtcNow));
        await Expect(Row("host gamma, live")).Not.ToHaveClassAsync(new Regex("is-lost"));
    }

    [BrowserFact]
    public async Task An_incident_opens_with_its_status_and_the_way_it_went_and_has_an_address()
    {
        await OpenAsync();
        Break();
        var line = Page.GetByRole(AriaRole.Button, new() { NameRegex = new Regex("^Guest killed") });
        await line.ClickAsync();
        await Expect(line).ToHaveAttributeAsync("aria-expanded", "true");
        await Expect(Page.Locator(".bits li")).ToHaveTextAsync([new Regex("fatal, status 00140000"), new Regex("^bit 18: Malformed TLP, the first$"), new Regex("^bit 20: Unsupported Request Error$"), new Regex("^TLP header")]);
        await Expect(Page.Locator(".chain .who")).ToHaveTextAsync(["DeviceActor", "GuestActor", "BackendSupervisor"]);
        Assert.Matches("#/beta/incident/1-", Page.Url);

        await Page.ReloadAsync();
        await Expect(Page.Locator(".chain li")).ToHaveCountAsync(3);
        await line.ClickAsync();
        await Expect(Page.Locator(".chain")).ToHaveCountAsync(0);
    }

    [BrowserFact]
    public async Task What_hosts_say_is_text_whatever_it_looks_like()
    {
        const string markup = "<img src=x onerror=alert(1)>";
        await OpenAsync();
        Board.Update(state => state
            .WithStatus(state.Hosts["alpha"].Status! with { Number = 2, Xen = markup, Guests = [.. state.Hosts["alpha"].Status!.Guests.Select(guest => guest with { Name = markup })] }, DateTimeOffset.UtcNow)
            .WithIncident(MadeUpFleet.Told("alpha", 9, DateTimeOffset.UtcNow, Backend.Status.IncidentKind.Misbehaved, 4, null, markup, [markup], [$"{markup}: {markup}"]), DateTimeOffset.UtcNow));
        await Page.GetByRole(AriaRole.Button, new() { NameRegex = new Regex("^Misbehaved, alpha") }).ClickAsync();
        await Expect(Page.Locator(".chain .who")).ToHaveTextAsync(markup);
        await Expect(Row($"guest {markup}, domain 4")).ToBeVisibleAsync();
        await Page.GotoAsync($"{Server.Address}#/alpha/4");
        await Expect(Page.GetByRole(AriaRole.Heading, new() { Level = 1 })).ToContainTextAsync(markup);
        Assert.Equal(0, await Page.Locator("img").CountAsync());
    }

    [BrowserFact]
    public async Task The_filter_leaves_what_matches_and_what_is_above_it()
    {
        await OpenAsync();
        await Page.Keyboard.PressAsync("/");
        await Page.Keyboard.TypeAsync("NVMe");
        await Expect(Page.GetByRole(AriaRole.Treeitem)).ToHaveCountAsync(6);
        await Expect(Row("guest database")).ToBeVisibleAsync();
        await Expect(Row("host gamma")).ToHaveCountAsync(0);
        await Page.Keyboard.PressAsync("Escape");
        await Expect(Row("host gamma")).ToBeVisibleAsync();
    }

    [BrowserFact]
    public async Task The_page_says_when_it_is_not_live_and_catches_up_by_itself()
    {
        Expected = complaint => complaint.Contains("ERR_", StringComparison.Ordinal);
        await OpenAsync();
        await Page.EvaluateAsync("window.sameDocument = true");
        await RestartServerAsync(async () =>
        {
            await Expect(Page.Locator("#live")).ToContainTextAsync(new Regex(@"not live since \d\d:\d\d:\d\d"));
            await Expect(Row("guest web-2, domain 7, Connected")).ToBeVisibleAsync();
            Break();
        });
        await Expect(Page.Locator("#live")).ToHaveTextAsync("●live");
        await Expect(Row("guest web-2, killed")).ToBeVisibleAsync();
        Assert.True(await Page.EvaluateAsync<bool>("window.sameDocument"));
    }
}
