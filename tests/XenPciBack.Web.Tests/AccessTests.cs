using System.Text.Json;
using System.Text.RegularExpressions;
using Microsoft.Playwright;

namespace XenPciBack.Web.Tests;

/// <summary>By keyboard, by ear, in the dark and on a phone.</summary>
public sealed class AccessTests(Browser browser) : PageTest(browser)
{
    private static readonly string[] NeedNames = ["button", "link", "treeitem", "tree", "textbox", "searchbox", "checkbox", "dialog", "img", "region", "heading"];

    [BrowserFact]
    public async Task Everything_that_can_be_reached_has_a_name()
    {
        await OpenAsync();
        Break();
        await Page.GetByRole(AriaRole.Button, new() { NameRegex = new Regex("^Guest killed") }).ClickAsync();
        await Expect(Page.Locator(".chain")).ToBeVisibleAsync();
        await AllNamedAsync("treeitem", atLeast: 20);
        await Page.GotoAsync($"{Server.Address}#/alpha/4");
        await Expect(Page.Locator(".hex")).ToBeVisibleAsync();
        await AllNamedAsync("button", atLeast: 40);
        await Page.Keyboard.PressAsync("?");
        await AllNamedAsync("dialog", atLeast: 1);
    }

    [BrowserFact]
    public async Task The_tree_is_one_stop_of_the_tab_key_and_arrows_move_in_it()
    {
        await OpenAsync();
        await Page.Keyboard.PressAsync("/");
        await Expect(Page.Locator("#filter")).ToBeFocusedAsync();
        foreach (var stop in new[] { "#theme", "#help-open", ".link", "[role=treeitem]", ".incident .line" })
        {
            await Page.Keyboard.PressAsync("Tab");
            Assert.True(await Page.EvaluateAsync<bool>($"document.activeElement.matches('{stop}')"), stop);
        }
        await Page.Keyboard.PressAsync("t");
        await FocusedAsync("host alpha");
        foreach (var (key, row) in new[] { ("ArrowDown", "guest build"), ("ArrowRight", "device 0000:03:00.0"), ("ArrowLeft", "guest build"), ("ArrowLeft", "guest build"), ("ArrowDown", "guest mail"), ("End", "device 0000:04:00.0 in quarantine"), ("Home", "host alpha"), ("ArrowLeft", "host alpha"), ("ArrowDown", "host beta") })
        {
            await Page.Keyboard.PressAsync(key);
            await FocusedAsync(row);
        }
    }

    [BrowserFact]
    public async Task Enter_opens_a_guest_and_Escape_comes_back_to_where_one_was()
    {
        await OpenAsync();
        await Page.Keyboard.PressAsync("t");
        await Page.Keyboard.PressAsync("ArrowDown");
        await Page.Keyboard.PressAsync("Enter");
        await Expect(Page.GetByRole(AriaRole.Heading, new() { Name = "build #4 on alpha" })).ToBeFocusedAsync();
        await Page.Keyboard.PressAsync("Escape");
        await FocusedAsync("guest build");
    }

    [BrowserFact]
    public async Task A_change_takes_the_focus_from_nobody()
    {
        await OpenAsync();
        await Page.Keyboard.PressAsync("i");
        await Expect(Page.Locator(".line:focus")).ToContainTextAsync("Restarted");
        Break();
        await Expect(Page.Locator(".incident")).ToHaveCountAsync(6);
        await Expect(Page.Locator(".line:focus")).ToContainTextAsync("Restarted");
        await Page.Keyboard.PressAsync("ArrowUp");
        await Page.Keyboard.PressAsync("Enter");
        await Expect(Page.Locator(".is-open .what")).ToHaveTextAsync("Guest killed");
        await Expect(Page.Locator(".is-open .line")).ToBeFocusedAsync();
    }

    [BrowserFact]
    public async Task Help_opens_with_a_question_mark_and_closes_with_Escape()
    {
        await OpenAsync();
        await Page.Keyboard.PressAsync("?");
        await Expect(Page.GetByRole(AriaRole.Dialog, new() { Name = "Keys" })).ToBeVisibleAsync();
        await Page.Keyboard.PressAsync("Escape");
        await Expect(Page.GetByRole(AriaRole.Dialog)).ToHaveCountAsync(0);
    }

    [BrowserFact]
    public async Task It_is_dark_or_light_as_the_system_is_until_one_chooses_and_remembers_that()
    {
        await OpenAsync(scheme: ColorScheme.Dark);
        Assert.True(await BrightnessAsync() < 60);
        await Page.EmulateMediaAsync(new() { ColorScheme = ColorScheme.Light });
        Assert.True(await BrightnessAsync() > 200);
        await Page.GetByRole(AriaRole.Button, new() { Name = "Switch to dark" }).ClickAsync();
        Assert.True(await BrightnessAsync() < 60);
        await Page.ReloadAsync();
        await Expect(Page.GetByRole(AriaRole.Button, new() { Name = "Switch to light" })).ToBeVisibleAsync();
        Assert.True(await BrightnessAsync() < 60);
        Assert.Empty(await Page.Context.CookiesAsync());
    }

    [BrowserFact]
    public async Task On_a_small_phone_nothing_is_wider_than_the_screen()
    {
        await OpenAsync(width: 360, height: 740);
        Break();
        Lose("gamma");
        await Expect(Page.GetByRole(AriaRole.Treeitem, new() { Name = "host gamma, lost" })).ToBeVisibleAsync();
        await FitsAsync();
        await Page.GetByRole(AriaRole.Button, new() { NameRegex = new Regex("^Guest killed") }).ClickAsync();
        await Expect(Page.Locator(".chain")).ToBeVisibleAsync();
        await FitsAsync();
        await Page.GotoAsync($"{Server.Address}#/alpha/4");
        await Expect(Page.Locator(".hex")).ToBeVisibleAsync();
        await FitsAsync();
    }

    /// <summary>As the browser tells it to a screen reader.</summary>
    private async Task AllNamedAsync(string role, int atLeast)
    {
        await using var session = await OpenSessionAsync();
        var nodes = (await session.Session.SendAsync("Accessibility.getFullAXTree"))!.Value.GetProperty("nodes").EnumerateArray()
            .Where(node => !node.GetProperty("ignored").GetBoolean()).Select(node => (Role: Text(node, "role"), Name: Text(node, "name"))).ToList();
        Assert.Equal([], nodes.Where(node => NeedNames.Contains(node.Role) && string.IsNullOrWhiteSpace(node.Name)));
        Assert.InRange(nodes.Count(node => node.Role == role), atLeast, int.MaxValue);

        static string Text(JsonElement node, string property) => node.TryGetProperty(property, out var value) && value.TryGetProperty("value", out var text) ? text.ToString() : "";
    }

    private async Task<Detaching> OpenSessionAsync() => new(await Page.Context.NewCDPSessionAsync(Page));

    private sealed record Detaching(ICDPSession Session) : IAsyncDisposable
    {
        public async ValueTask DisposeAsync() => await Session.DetachAsync();
    }

    private async Task FocusedAsync(string name) => await Expect(Page.Locator("[role=treeitem]:focus")).ToHaveAttributeAsync("aria-label", new Regex($"^{Regex.Escape(name)}"));

    private Task<double> BrightnessAsync() => Page.EvaluateAsync<double>("getComputedStyle(document.body).backgroundColor.match(/[\\d.]+/g).slice(0, 3).reduce((sum, part) => sum + Number(part), 0) / 3");

    private async Task FitsAsync() => Assert.Equal(0, await Page.EvaluateAsync<int>("document.documentElement.scrollWidth - document.documentElement.clientWidth"));
}
