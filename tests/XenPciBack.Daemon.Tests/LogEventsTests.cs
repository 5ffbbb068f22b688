using System.Reflection;
using Serilog.Events;
using XenPciBack.Backend;
using XenPciBack.Daemon.Logging;
using XenPciBack.Protocol;

namespace XenPciBack.Daemon.Tests;

/// <summary>Log lines have ids that scripts and tests can wait for.</summary>
public class LogEventsTests
{
    private static readonly IReadOnlyList<string> Ids =
    [
        .. typeof(LogEvents).GetFields(BindingFlags.Public | BindingFlags.Static)
            .Where(field => field.IsLiteral && !field.Name.EndsWith("Property", StringComparison.Ordinal))
            .Select(field => (string)field.GetRawConstantValue()!),
    ];

    private static readonly DomainId Guest = new(3);
    private static readonly HostBdf Device = HostBdf.Parse("0000:03:00.0");

    [Fact]
    public void Each_id_is_there_once_and_is_made_of_lower_case_words_joined_by_hyphens()
    {
        Assert.NotEmpty(Ids);
        Assert.Distinct(Ids);
        Assert.All(Ids, id => Assert.Matches("^[a-z]+(-[a-z]+)*$", id));
    }

    [Fact]
    public void A_line_begins_with_its_id_and_then_the_guest_and_the_device_it_is_about()
    {
        var shown = new RecentLog(isShownHere: true);
        using var log = ConsoleLog.CreateFor(shown, LogEventLevel.Information);
        log.Information("without an id");
        log.As(LogEvents.Ready).Information("about the daemon");
        log.As(LogEvents.GuestGone).About(Guest).Information("about a guest");
        log.As(LogEvents.DeviceError).About(Device).Error("about a device");
        log.As(LogEvents.GuestCrashed).About(Guest).About(Device).Error("about both");
        Assert.Equal(
            [
                "INF without an id",
                "INF [ready] about the daemon",
                "INF [guest-gone] Guest 3: about a guest",
                "ERR [device-error] 0000:03:00.0: about a device",
                "ERR [guest-crashed] Guest 3 0000:03:00.0: about both",
            ],
            shown.Lines.Select(line => line[(line.IndexOf(' ', StringComparison.Ordinal) + 1)..]));
    }
}
