using System.Diagnostics;
using System.Globalization;
using System.Text.RegularExpressions;
using Microsoft.Playwright;
using XenPciBack.Daemon.Tests;

namespace XenPciBack.Web.Tests;

/// <summary>The dashboard of real processes: <c>xenpciback demo --fleet 3</c>, looked at in one document from its start to its end. The README's picture is one of those taken here.</summary>
public sealed partial class DemoFleetTests(Browser browser, ITestOutputHelper output) : BrowserTest(browser)
{
    [BrowserFact]
    public async Task Three_hosts_are_seen_and_a_dead_guest_and_a_lost_host_as_it_happens()
    {
        using var demo = Xenpciback.Start("demo", "--fleet", "3");
        try
        {
            var hosts = new List<(int Process, string Socket)>();
            foreach (var host in new[] { "host-1", "host-2", "host-3" })
            {
                var line = HostLine().Match(await Xenpciback.WaitForLineAsync(demo, $"{host} is process "));
                hosts.Add((int.Parse(line.Groups[1].Value, CultureInfo.InvariantCulture), line.Groups[2].Value));
            }
            var dashboard = new Uri((await Xenpciback.WaitForLineAsync(demo, "The dashboard of 3 hosts: ")).Split("hosts: ")[1]);
            // Read to the end, or the demo would wait for a reader.
            _ = demo.StandardOutput.ReadToEndAsync();

            await OpenAsync(dashboard, height: 960);
            await Page.EvaluateAsync("window.sameDocument = true");
            await TreeAsync(Host("host-1", "live", Well), Host("host-2", "live", Well), Host("host-3", "live", Well));
            await Expect(Page.GetByText("None.")).ToBeVisibleAsync();
            // So that there are lines to see.
            await Expect(Page.Locator(".row.guest .of-rate .line").Last)
                .ToHaveAttributeAsync("d", new Regex("^M[^L]+(L[^L]+){4}"));
            await ShootAsync("demo-well");

            await BreakAsync(hosts[1].Socket);
            await TreeAsync(Host("host-1", "live", Well), Host("host-2", "live", ["guest web, killed", .. Well[1..], "device 0000:03:00.0 in quarantine"]), Host("host-3", "live", Well));
            await Expect(Page.Locator(".row.guest .badge.good")).ToHaveCountAsync(8);
            await Expect(Page.Locator(".row.guest .badge.bad")).ToHaveCountAsync(1);
            await Killed.ClickAsync();
            await Expect(Page.GetByRole(AriaRole.List, new() { Name = "How it went up the supervision" }).GetByRole(AriaRole.Listitem))
                .ToContainTextAsync(["AerMonitor", "BackendSupervisor"]);
            await ShootAsync("demo-killed");

            using (var third = Process.GetProcessById(hosts[2].Process)) third.Kill();
            await TreeAsync(Host("host-1", "live", Well), Host("host-2", "live", Well[1..]), Host("host-3", "lost since", Well));
            await Expect(Row("host host-3")).ToContainTextAsync("last state");
            await Expect(Page.Locator(".row.host .badge.good")).ToHaveCountAsync(2);
            await ShootAsync("demo-lost");
            await Page.GetByRole(AriaRole.Button, new() { Name = "Switch to light" }).ClickAsync();
            await ShootAsync("demo-lost-light");

            // Through the monitor from the host itself.
            await Row("guest web, domain 1").First.GetByRole(AriaRole.Link).ClickAsync();
            await Expect(Page.GetByRole(AriaRole.Heading, new() { Level = 1 })).ToHaveTextAsync("web #1 on host-1");
            await Expect(Page.GetByRole(AriaRole.Button, new() { Name = "004/2 Command: reads" })).ToBeVisibleAsync();
            await ShootAsync("guest-of-demo");
            Assert.True(await Page.EvaluateAsync<bool>("window.sameDocument"));
        }
        finally
        {
            // Its hosts and its monitor end with it.
            demo.Kill();
        }
    }

    private static readonly string[] Well = ["guest web, domain 1, Connected", "guest storage, domain 2, Connected", "guest lab, domain 3, Connected"];

    private ILocator Killed => Page.GetByRole(AriaRole.Button, new() { NameRegex = new Regex("^Guest killed, host-2, web") });

    private static string[] Host(string name, string state, string[] guests) => [$"host {name}, {state}", .. guests];

    /// <summary>Host by host, these rows one below the other, with any number of devices between them.</summary>
    private async Task TreeAsync(params string[][] hosts) => await Expect(Page.GetByRole(AriaRole.Tree)).ToMatchAriaSnapshotAsync(
        string.Join('\n', hosts.SelectMany(rows => rows).Select(row => $"- treeitem /^{row}/").Prepend("- tree:").Select((line, i) => i == 0 ? line : $"  {line}")));

    /// <summary>An error of host 2's network card, and how long it takes to the eye.</summary>
    private async Task BreakAsync(string socket)
    {
        await Page.EvaluateAsync("""
            () => {
              window.seenAt = new Promise(resolve => {
                const look = () => { if (document.querySelector('#incidents [aria-label^="Guest killed, host-2, web"]')) requestAnimationFrame(() => resolve(Date.now())); };
                new MutationObserver(look).observe(document.body, { childList: true, subtree: true, attributes: true });
              });
            }
            """);
        var fault = await Xenpciback.RunAsync("fault", "aer", "--socket", socket);
        var returned = DateTimeOffset.UtcNow;
        Assert.Equal((0, ""), (fault.ExitCode, fault.Errors));
        await Expect(Killed).ToBeVisibleAsync();
        var seen = DateTimeOffset.FromUnixTimeMilliseconds(await Page.EvaluateAsync<long>("window.seenAt"));
        var killed = DateTimeOffset.Parse((await Killed.Locator("time").GetAttributeAsync("datetime"))!, CultureInfo.InvariantCulture);
        output.WriteLine(string.Create(CultureInfo.InvariantCulture, $"the incident was to be seen in the page {(seen - killed).TotalSeconds:0.00} s after the guest was crashed, {Math.Abs((seen - returned).TotalSeconds):0.00} s {(seen < returned ? "before" : "after")} the command that let the error happen had returned"));
    }

    [GeneratedRegex(@" is process (\d+); .* --socket (\S+)$")]
    private static partial Regex HostLine();
}
