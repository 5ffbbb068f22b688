using System.Diagnostics;
using XenPciBack.Lab.Machine;

namespace XenPciBack.Lab.Tests.Machine;

public class LogLineTests
{
    private const string Log = """
        00:20:01.120 INF without an id
        00:20:01.121 INF [ready] xenpciback is ready: Xen 4.17
        00:20:01.122 INF [guest-gone] Guest 3: The guest is gone
        00:20:01.123 ERR [guest-crashed] Guest 30 0000:03:00.0: crashed: its device is lost
        00:20:01.124 ERR [device-error] 0000:03:00.0: The device reports an error

        """;

    [Fact]
    public void A_line_with_an_id_says_when_what_and_whom_it_is_about() => Assert.Equal(
        [
            new LogLine(At(121), "ready", null, null, "xenpciback is ready: Xen 4.17"),
            new LogLine(At(122), "guest-gone", 3, null, "The guest is gone"),
            new LogLine(At(123), "guest-crashed", 30, "0000:03:00.0", "crashed: its device is lost"),
            new LogLine(At(124), "device-error", null, "0000:03:00.0", "The device reports an error"),
        ],
        LogLine.Parse(Log));

    [Theory]
    [InlineData("ready", null, null, 1)]
    [InlineData("guest-gone", 3, null, 1)]
    [InlineData("guest-gone", 30, null, 0)]
    [InlineData("guest-crashed", 3, null, 0)]
    [InlineData("guest-crashed", 30, null, 1)]
    [InlineData("guest-crashed", 30, "0000:03:00.0", 1)]
    [InlineData("guest-crashed", null, "0000:03:00.0", 1)]
    [InlineData("device-error", null, "0000:03:00.0", 1)]
    [InlineData("device-error", null, "0000:03:00.1", 0)]
    [InlineData("gone", null, null, 0)]
    public async Task Grep_finds_the_lines_about_a_guest_and_a_device(string id, int? guest, string? device, int lines)
    {
        var file = Path.GetTempFileName();
        await File.WriteAllTextAsync(file, Log);
        string[] arguments = ["-c", LogLine.Pattern(id, guest, device), file];
        using var grep = Process.Start(new ProcessStartInfo("grep", arguments) { RedirectStandardOutput = true })!;
        Assert.Equal($"{lines}\n", await grep.StandardOutput.ReadToEndAsync());
        await grep.WaitForExitAsync();
        File.Delete(file);
    }

    private static TimeSpan At(int milliseconds) => new(0, 0, 20, 1, milliseconds);
}
