using System.Text.RegularExpressions;
using Microsoft.Playwright;

namespace XenPciBack.Web.Tests;

public sealed class GuestPageTests(Browser browser) : PageTest(browser)
{
    [BrowserFact]
    public async Task A_guest_has_a_page_with_its_operations_and_where_its_devices_really_are()
    {
        await OpenAsync();
        await Page.GetByRole(AriaRole.Link, new() { Name = "build" }).ClickAsync();
        await Expect(Page.GetByRole(AriaRole.Heading, new() { Level = 1 })).ToHaveTextAsync("build #4 on alpha");
        await Expect(Page).ToHaveTitleAsync("build · XenPciBack");
        await Expect(Page.Locator(".mix li .mono")).ToHaveTextAsync(["conf_read", "conf_write", "enable_msix", "disable_msix"]);
        await Expect(Page.Locator(".mix")).ToContainTextAsync("160 access denied");
        await Expect(Page.Locator(".topology li").First).ToContainTextAsync("00.0→0000:03:00.0Ethernet controller [8086:10d3]");
        await Expect(Page.Locator(".slots .used")).ToHaveCountAsync(3);
        // A scan of the bus finds most addresses empty.
        Board.Update(state => state.WithStatus(state.Hosts["alpha"].Status! with { Number = 2, Guests = [state.Hosts["alpha"].Status!.Guests[0] with { Operations = [new("conf_read", "dev_not_found", 254), new("conf_read", "ok", 122)] }] }, DateTimeOffset.UtcNow));
        await Expect(Page.Locator(".mix")).ToContainTextAsync("254 dev not found");
        await Expect(Page.Locator(".mix .bar > :first-child")).ToHaveClassAsync("ok");
    }

    [BrowserFact]
    public async Task The_config_space_shows_what_is_virtualised_and_why()
    {
        await OpenAsync("#/alpha/4");
        var command = Page.Locator("[data-field='4']");
        await Expect(command).ToHaveClassAsync(new Regex("ruled"));
        await Expect(command).ToHaveAttributeAsync("title", "004/2 Command: reads 0107, the device has 0507; decoding goes on and never off, bus mastering and MWI are the guest's, the rest is kept for the guest alone");
        await Expect(command.Locator(".differs")).ToHaveTextAsync("01");
        await Expect(Page.Locator("[data-field='0']")).Not.ToHaveClassAsync(new Regex("ruled"));
        await Expect(Page.Locator(".right tbody tr")).ToHaveCountAsync(12);
        await Expect(Page.Locator(".right tr", new() { HasText = "Interrupt Line" })).ToContainTextAsync("the host's value, read-only140a");
        await Page.GetByRole(AriaRole.Checkbox, new() { Name = "all registers" }).CheckAsync();
        await Expect(Page.Locator(".right tr", new() { HasText = "Vendor ID" }).First).ToContainTextAsync("8086");
    }

    [BrowserFact]
    public async Task Arrow_keys_go_from_register_to_register()
    {
        await OpenAsync("#/alpha/4");
        await Page.Locator("[data-field='0']").FocusAsync();
        foreach (var (key, offset) in new[] { ("ArrowRight", "2"), ("ArrowRight", "4"), ("ArrowDown", "20"), ("ArrowUp", "4"), ("Home", "0") })
        {
            await Page.Keyboard.PressAsync(key);
            await Expect(Page.Locator("[data-field]:focus")).ToHaveAttributeAsync("data-field", offset);
        }
    }

    [BrowserFact]
    public async Task A_config_space_that_cannot_be_read_says_why()
    {
        Expected = complaint => complaint.Contains("404", StringComparison.Ordinal);
        await OpenAsync("#/alpha/4");
        await Page.GetByRole(AriaRole.Button, new() { Name = "0000:04:00.0", Exact = true }).ClickAsync();
        await Expect(Page.GetByRole(AriaRole.Alert)).ToContainTextAsync("guest 4 of host 'alpha' has no device 0000:04:00.0, or the host does not answer");
    }

    [BrowserFact]
    public async Task The_page_of_a_guest_that_was_killed_says_so()
    {
        await OpenAsync("#/beta/7");
        await Expect(Page.Locator(".standing")).ToContainTextAsync("Connected");
        Break();
        await Expect(Page.Locator(".standing")).ToContainTextAsync("Guest 7 was crashed, because its device 0000:03:00.0 is lost");
        await Expect(Page.Locator(".incident")).ToHaveCountAsync(2);
    }

    private static IPageAssertions Expect(IPage page) => Assertions.Expect(page);
}
