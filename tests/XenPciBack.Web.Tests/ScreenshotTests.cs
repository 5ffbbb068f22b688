using Microsoft.Playwright;
using XenPciBack.Web.Preview;

namespace XenPciBack.Web.Tests;

/// <summary>Pictures to look at, in the directory screenshots beside this assembly; what is on them is what is asserted.</summary>
public sealed class ScreenshotTests(Browser browser) : PageTest(browser)
{
    [BrowserFact]
    public Task The_fleet_in_the_dark() => FleetAsync("fleet-dark", ColorScheme.Dark);

    [BrowserFact]
    public Task The_fleet_in_the_light() => FleetAsync("fleet-light", ColorScheme.Light);

    [BrowserFact]
    public async Task A_guest()
    {
        await OpenAsync("#/alpha/4");
        await PassTimeAsync();
        await Page.Locator("[data-field='4']").ClickAsync();
        await Expect(Page.Locator(".chosen[role=status]")).ToContainTextAsync("Command");
        await ShootAsync("guest-dark");
        await Page.GetByRole(AriaRole.Button, new() { Name = "Switch to light" }).ClickAsync();
        await ShootAsync("guest-light");
    }

    [BrowserFact]
    public async Task On_a_phone()
    {
        await OpenAsync(width: 390, height: 844);
        await PassTimeAsync();
        Break();
        Lose("gamma");
        await Expect(Page.GetByRole(AriaRole.Treeitem, new() { Name = "host gamma, lost" })).ToBeVisibleAsync();
        await ShootAsync("phone-fleet");
        await Page.Keyboard.PressAsync("i");
        await Page.Keyboard.PressAsync("ArrowDown");
        await Page.Keyboard.PressAsync("Enter");
        await ShootAsync("phone-incident");
        await Page.GotoAsync($"{Server.Address}#/alpha/4");
        await Expect(Page.Locator(".hex")).ToBeVisibleAsync();
        await ShootAsync("guest-phone");
    }

    private async Task FleetAsync(string name, ColorScheme scheme)
    {
        await OpenAsync(scheme: scheme);
        await PassTimeAsync();
        Lose("gamma");
        Break();
        await Page.GetByRole(AriaRole.Button, new() { Name = "Guest killed" }).ClickAsync();
        await Expect(Page.Locator(".chain li")).ToHaveCountAsync(3);
        await Expect(Page.GetByRole(AriaRole.Treeitem, new() { Name = "host gamma, lost" })).ToBeVisibleAsync();
        await ShootAsync(name);
    }

    private Task<long> NumberAsync() =>
        Page.EvaluateAsync<long>("import('/fleet.js').then(fleet => fleet.hostOf('alpha').status.number)");

    /// <summary>Some values one after the other, so that there are lines to see.</summary>
    private async Task PassTimeAsync()
    {
        var fleet = new MadeUpFleet(seed: 1);
        for (var i = 0; i < 24; i++)
        {
            Board.Update(state => fleet.Next(state, DateTimeOffset.UtcNow));
            var number = Board.State.Hosts["alpha"].Status!.Number;
            await Eventually.IsTrueAsync(async () => await NumberAsync() >= number);
        }
    }
}
