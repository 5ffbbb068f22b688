using System.Globalization;
using System.Text.RegularExpressions;
using XenPciBack.Web.Preview;

namespace XenPciBack.Web.Tests;

/// <summary>Fifty hosts with twenty guests each.</summary>
public sealed class ManyHostsTests(Browser browser, ITestOutputHelper output) : PageTest(browser)
{
    [BrowserFact]
    public async Task Of_many_hosts_those_are_open_where_something_is_amiss()
    {
        await ManyAsync();
        await Expect(Page.Locator(".row.host")).ToHaveCountAsync(50);
        await Expect(Page.Locator(".row.guest")).ToHaveCountAsync(0);
        Board.Update(state => MadeUpFleet.Break(state, DateTimeOffset.UtcNow, "host-31"));
        await Expect(Row("host host-31, live, 19 guests, 1 killed, 1 in quarantine")).ToHaveAttributeAsync("aria-expanded", "true");
        await Expect(Row("guest guest-7, killed")).ToBeVisibleAsync();
        await Expect(Page.Locator(".row.guest")).ToHaveCountAsync(20);
        await Row("host host-31").ClickAsync();
        await Expect(Row("host host-31").Locator(".state")).ToHaveTextAsync(new Regex("live *✕1 *◆1"));
    }

    [BrowserFact]
    public async Task A_change_of_one_host_touches_no_row_of_another()
    {
        await ManyAsync();
        await Page.Keyboard.PressAsync("/");
        await Page.Keyboard.TypeAsync("guest-");
        await Expect(Page.Locator(".row.guest")).ToHaveCountAsync(1000);
        await Page.EvaluateAsync("""
            () => {
              window.touched = new Set();
              new MutationObserver(changes => { for (const change of changes) touched.add((change.target.nodeType === 1 ? change.target : change.target.parentElement).closest("[role=treeitem]").view.props.key); })
                .observe(document.getElementById("tree"), { childList: true, subtree: true, attributes: true, characterData: true });
            }
            """);
        Board.Update(state => state.WithStatus(state.Hosts["host-31"].Status! with { Number = 2, Xen = "4.21.0", Guests = state.Hosts["host-31"].Status!.Guests.SetItem(3, state.Hosts["host-31"].Status!.Guests[3] with { Name = "renamed-guest-4" }) }, DateTimeOffset.UtcNow));
        await Expect(Row("host host-31")).ToContainTextAsync("4.21.0");
        await Expect(Row("guest renamed-guest-4")).ToBeVisibleAsync();
        Assert.All(await Page.EvaluateAsync<string[]>("[...touched]"), row => Assert.Matches("^host-31(/|$)", row));
    }

    [BrowserFact]
    public async Task How_long_a_change_of_all_of_them_takes_to_draw()
    {
        await ManyAsync();
        output.WriteLine($"50 hosts, closed: {await DrawAsync()}");
        await Page.Keyboard.PressAsync("/");
        await Page.Keyboard.TypeAsync("guest-");
        await Expect(Page.Locator(".row.guest")).ToHaveCountAsync(1000);
        output.WriteLine($"50 hosts with their 1000 guests: {await DrawAsync()}");
        await Page.Keyboard.PressAsync("Escape");
        await Expect(Page.Locator(".row")).ToHaveCountAsync(51);
    }

    private async Task ManyAsync()
    {
        Board.Update(_ => MadeUpFleet.Many(DateTimeOffset.UtcNow, hosts: 50, guests: 20));
        await OpenAsync();
        await Expect(Page.Locator(".summary")).ToContainTextAsync(new Regex(@"50 hosts.*1\s000 guests"));
    }

    /// <summary>Each guest has other figures each time, as after a second.</summary>
    private async Task<string> DrawAsync()
    {
        var times = await Page.EvaluateAsync<double[]>("""
            async () => {
              const { fleet } = await import("/fleet.js"), filter = document.getElementById("filter"), times = [];
              for (let i = 0; i < 9; i++) {
                for (const entry of fleet.hosts) for (const guest of entry.status.guests) {
                  guest.rate = Math.random() * 100;
                  guest.history = { rates: [...guest.history.rates, guest.rate].slice(-60), latencies: [...guest.history.latencies, Math.random() * 100].slice(-60) };
                }
                const begun = performance.now();
                filter.dispatchEvent(new Event("input"));
                document.body.offsetHeight;
                times.push(performance.now() - begun);
              }
              return times.sort((a, b) => a - b);
            }
            """);
        return string.Create(CultureInfo.InvariantCulture, $"median {times[4]:0} ms, longest {times[^1]:0} ms");
    }
}
