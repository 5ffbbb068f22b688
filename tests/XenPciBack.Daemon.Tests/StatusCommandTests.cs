using System.Text.Json;
using static XenPciBack.Daemon.Tests.Xenpciback;

namespace XenPciBack.Daemon.Tests;

/// <summary>What commands show of a running daemon.</summary>
public sealed class StatusCommandTests
{
    [Fact]
    public async Task What_a_running_daemon_says_of_itself_is_shown_as_tables_and_as_json()
    {
        var (demo, _) = await Demo.StartAsync();
        await using var _d = demo;
        var socket = demo.Socket;

        var (exitCode, output, errors) = await RunAsync("status", "--socket", socket);
        Assert.Equal((0, ""), (exitCode, errors));
        Assert.Matches(@"(?m)^│ 1 +│ web +│ Connected +│ 0000:03:00\.0 │ 0000:00:00\.0 +│ 8086:10d3 +│ line +│ +\d+ │", output);
        Assert.Matches(@"(?m)^│ +│ +│ +│ 0000:04:00\.0 │", output);

        (_, output, _) = await RunAsync("status", "0000:05:01.0", "--json", "--socket", socket);
        using (var status = JsonDocument.Parse(output))
        {
            var guest = Assert.Single(status.RootElement.GetProperty("guests").EnumerateArray());
            Assert.Equal("lab", guest.GetProperty("name").GetString());
            Assert.Equal("0000:05:01.0", Assert.Single(guest.GetProperty("devices").EnumerateArray()).GetProperty("device").GetString());
        }
        (exitCode, _, errors) = await RunAsync("status", "nobody", "--socket", socket);
        Assert.Equal((1, "xenpciback: no guest or device 'nobody' is served here; expected a domain id, a name, or a device as ssss:bb:dd.f\n"), (exitCode, errors));

        (_, output, _) = await RunAsync("config", "web", "0000:03:00.0", "--socket", socket);
        Assert.Matches(@"(?m)^004/2 +Command +[0-9a-f]{4}.* \(decoding goes on and never off", output);
        (exitCode, _, errors) = await RunAsync("config", "web", "0000:05:01.0", "--socket", socket);
        Assert.Equal((1, "xenpciback: guest 1 has no device 0000:05:01.0\n"), (exitCode, errors));

        Assert.Equal("Nothing has happened since the daemon was started.\n", (await RunAsync("incidents", "--socket", socket)).Output);
        using var following = Start("incidents", "--follow", "--socket", socket);
        await RunAsync("fault", "aer", "--socket", socket);
        await WaitForLineAsync(following, "GuestKilled  Guest 1 was crashed, because its device 0000:03:00.0 is lost: fatal: Malformed TLP");
        await WaitForLineAsync(following, "bit 18: Malformed TLP");
        await WaitForLineAsync(following, "-> /user/pci-backend BackendSupervisor: crashed the guest through the hypervisor in");
        following.Kill();
        (_, output, _) = await RunAsync("incidents", "--json", "--socket", socket);
        Assert.Equal(["guestKilled", "quarantined"], output.TrimEnd().Split('\n').Select(line => JsonDocument.Parse(line).RootElement.GetProperty("kind").GetString()).Order());

        using var watching = Start("status", "--watch", "--socket", socket);
        for (var i = 0; i < 2; i++) await WaitForLineAsync(watching, "serving since");
        demo.Process.Kill();
        await watching.WaitForExitAsync();
        Assert.Equal(69, watching.ExitCode);
    }
}
