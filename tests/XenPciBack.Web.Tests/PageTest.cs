using Microsoft.Playwright;
using XenPciBack.Fleet;
using XenPciBack.Fleet.Web;
using XenPciBack.Web.Preview;

namespace XenPciBack.Web.Tests;

/// <summary>The page over a made-up fleet of the test's own.</summary>
public abstract class PageTest(Browser browser) : BrowserTest(browser)
{
    private static readonly DashboardTimes Times = new() { Pause = TimeSpan.FromMilliseconds(20) };

    protected FleetBoard Board { get; } = new();

    protected PreviewServer Server { get; private set; } = null!;

    public override async ValueTask InitializeAsync()
    {
        if (!HasBrowser) return;
        Board.Update(_ => MadeUpFleet.Begin(DateTimeOffset.UtcNow));
        Server = await PreviewServer.StartAsync(Board, MadeUpFleet.ConfigAsync, Times);
    }

    public override async ValueTask DisposeAsync()
    {
        if (!HasBrowser) return;
        await base.DisposeAsync();
        await Server.DisposeAsync();
    }

    protected Task OpenAsync(string hash = "", int width = 1440, int height = 900, ColorScheme scheme = ColorScheme.Dark) => OpenAsync(new Uri(Server.Address, hash), width, height, scheme);

    protected void Break() => Board.Update(state => MadeUpFleet.Break(state, DateTimeOffset.UtcNow));

    protected void Lose(string host) => Board.Update(state => state.WithPresence(host, Presence.Lost, DateTimeOffset.UtcNow));

    /// <summary>The server ends, something happens, and the next one has the same address.</summary>
    protected async Task RestartServerAsync(Func<Task> meanwhile)
    {
        var port = Server.Address.Port;
        await Server.DisposeAsync();
        await meanwhile();
        Server = await PreviewServer.StartAsync(Board, MadeUpFleet.ConfigAsync, Times, port);
    }
}
