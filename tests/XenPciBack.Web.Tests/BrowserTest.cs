using System.Collections.Concurrent;
using System.Text.RegularExpressions;
using Microsoft.Playwright;

namespace XenPciBack.Web.Tests;

/// <summary>
/// The page in a browser. After each test nothing may stand in the browser's console, and no request may have gone anywhere but to this machine.
/// </summary>
public abstract class BrowserTest(Browser browser) : IAsyncLifetime
{
    private readonly ConcurrentQueue<string> _complaints = new(), _requests = new();
    private IBrowserContext? _context;

    protected bool HasBrowser => browser.Chromium is not null;

    protected IPage Page { get; private set; } = null!;

    /// <summary>Addresses that the page has asked for.</summary>
    protected IEnumerable<string> Requests => _requests;

    /// <summary>Complaints of the browser that the test itself has brought about.</summary>
    protected Predicate<string> Expected { get; set; } = _ => false;

    public virtual ValueTask InitializeAsync() => ValueTask.CompletedTask;

    public virtual async ValueTask DisposeAsync()
    {
        if (_context is null) return;
        await _context.DisposeAsync();
        Assert.Equal([], _complaints.Where(complaint => !Expected(complaint)));
        Assert.NotEmpty(_requests);
        Assert.All(_requests, request => Assert.Equal("127.0.0.1", new Uri(request).Host));
    }

    protected async Task OpenAsync(Uri address, int width = 1440, int height = 900, ColorScheme scheme = ColorScheme.Dark)
    {
        _context = await browser.Chromium.NewContextAsync(new BrowserNewContextOptions { ViewportSize = new ViewportSize { Width = width, Height = height }, ColorScheme = scheme });
        _context.SetDefaultTimeout((float)Eventually.Patience.TotalMilliseconds);
        Page = await _context.NewPageAsync();
        Page.Console += (_, message) =>
        {
            if (message.Type is "error" or "warning") _complaints.Enqueue($"{message.Type}: {message.Text} ({message.Location})");
        };
        Page.PageError += (_, error) => _complaints.Enqueue(error);
        _context.Request += (_, request) => _requests.Enqueue(request.Url);
        await Page.GotoAsync(address.ToString());
        await Expect(Page.GetByRole(AriaRole.Status).First).ToHaveTextAsync(new Regex("live"));
    }

    protected ILocator Row(string name) => Page.GetByRole(AriaRole.Treeitem, new() { Name = name });

    protected static ILocatorAssertions Expect(ILocator locator) => Assertions.Expect(locator);

    protected Task ShootAsync(string name) => Page.ScreenshotAsync(new PageScreenshotOptions { Path = Path.Combine(AppContext.BaseDirectory, "screenshots", $"{name}.png"), FullPage = name.StartsWith("guest", StringComparison.Ordinal) });

    static BrowserTest() => Assertions.SetDefaultExpectTimeout((float)Eventually.Patience.TotalMilliseconds);
}
