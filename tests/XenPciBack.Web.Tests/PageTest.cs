using System.Collections.Concurrent;
using System.Text.RegularExpressions;
using Microsoft.Playwright;
using XenPciBack.Fleet;
using XenPciBack.Web.Preview;

namespace XenPciBack.Web.Tests;

/// <summary>
/// The page in a browser, over a made-up fleet of the test's own. After each test nothing may stand in the browser's console, and no request may have gone anywhere but to the server.
/// </summary>
[Collection(nameof(Browser))]
public abstract class PageTest(Browser browser) : IAsyncLifetime
{
    private readonly ConcurrentQueue<string> _complaints = new(), _requests = new();
    private IBrowserContext? _context;

    protected FleetBoard Board { get; } = new();

    protected PreviewServer Server { get; private set; } = null!;

    protected IPage Page { get; private set; } = null!;

    /// <summary>Complaints of the browser that the test itself has brought about.</summary>
    protected Predicate<string> Expected { get; set; } = _ => false;

    public async Task InitializeAsync()
    {
        if (browser.Chromium is null) return;
        Board.Update(_ => MadeUpFleet.Begin(DateTimeOffset.UtcNow));
        Server = await PreviewServer.StartAsync(Board, MadeUpFleet.ConfigAsync);
    }

    public async Task DisposeAsync()
    {
        if (browser.Chromium is null) return;
        if (_context is not null) await _context.DisposeAsync();
        await Server.DisposeAsync();
        Assert.Equal([], _complaints.Where(complaint => !Expected(complaint)));
        Assert.NotEmpty(_requests);
        Assert.All(_requests, request => Assert.Equal("127.0.0.1", new Uri(request).Host));
    }

    protected async Task OpenAsync(string hash = "", int width = 1440, int height = 900, ColorScheme scheme = ColorScheme.Dark)
    {
        _context = await browser.Chromium.NewContextAsync(new BrowserNewContextOptions { ViewportSize = new ViewportSize { Width = width, Height = height }, ColorScheme = scheme });
        _context.SetDefaultTimeout(60_000);
        Page = await _context.NewPageAsync();
        Page.Console += (_, message) =>
        {
            if (message.Type is "error" or "warning") _complaints.Enqueue($"{message.Type}: {message.Text} ({message.Location})");
        };
        Page.PageError += (_, error) => _complaints.Enqueue(error);
        _context.Request += (_, request) => _requests.Enqueue(request.Url);
        await Page.GotoAsync($"{Server.Address}{hash}");
        await Expect(Page.GetByRole(AriaRole.Status).First).ToHaveTextAsync(new Regex("live"));
    }

    protected static ILocatorAssertions Expect(ILocator locator) => Assertions.Expect(locator);

    protected void Break() => Board.Update(state => MadeUpFleet.Break(state, DateTimeOffset.UtcNow));

    protected void Lose(string host) => Board.Update(state => state.WithPresence(host, Presence.Lost, DateTimeOffset.UtcNow));

    /// <summary>The server ends, something happens, and the next one has the same address.</summary>
    protected async Task RestartServerAsync(Func<Task> meanwhile)
    {
        var port = Server.Address.Port;
        await Server.DisposeAsync();
        await meanwhile();
        Server = await PreviewServer.StartAsync(Board, MadeUpFleet.ConfigAsync, port);
    }

    protected Task ShootAsync(string name) => Page.ScreenshotAsync(new PageScreenshotOptions { Path = Path.Combine(AppContext.BaseDirectory, "screenshots", $"{name}.png"), FullPage = name.StartsWith("guest", StringComparison.Ordinal) });

    /// <summary>Long enough for the busiest machine; only ever spent by a failure.</summary>
    static PageTest() => Assertions.SetDefaultExpectTimeout(60_000);
}
