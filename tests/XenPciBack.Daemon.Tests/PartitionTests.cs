using System.Diagnostics;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using Xunit.Abstractions;

namespace XenPciBack.Daemon.Tests;

/// <summary>A monitor and two hosts on a network of their own, three network namespaces at a bridge in a fourth, whose cables can be pulled. With certificates, because it is no loopback.</summary>
public class PartitionTests(ITestOutputHelper output)
{
    private static readonly (string Name, string Address)[] Nodes = [("monitor", "198.51.100.1"), ("host-1", "198.51.100.2"), ("host-2", "198.51.100.3")];

    [Fact]
    public async Task Hosts_that_were_cut_off_from_their_monitor_tell_it_everything_once()
    {
        if (!Environment.IsPrivilegedProcess || !File.Exists("/usr/sbin/ip"))
        {
            output.WriteLine("Not run: it takes root and iproute2 to make network namespaces.");
            return;
        }
        using var temporary = new TemporaryDirectory();
        var directory = temporary.Path;
        var processes = new List<Process>();
        string Socket(string node) => Path.Combine(directory, $"{node}.web");
        try
        {
            await MakeNetworkAsync();
            WriteSettings(directory);
            foreach (var (node, _) in Nodes) processes.Add(StartIn(node, directory));
            await Xenpciback.WaitForLineAsync(processes[0], "The dashboard: ");
            foreach (var process in processes.Skip(1)) await Xenpciback.WaitForLineAsync(process, "Serving until Ctrl-C.");
            await FleetView.WhenAsync(Socket("monitor"), fleet => fleet.Connected("host-1") == 3 && fleet.Connected("host-2") == 3);
            await BreakAsync(directory, "host-1");
            await FleetView.WhenAsync(Socket("monitor"), fleet => fleet.IncidentsOf("host-1").Count >= 2);

            await IpAsync("-n xpb-hub link set to-monitor down");
            await FleetView.WhenAsync(Socket("monitor"), fleet => fleet.PresenceOf("host-1") == "lost" && fleet.PresenceOf("host-2") == "lost");
            await BreakAsync(directory, "host-2");
            var cutOff = await FleetView.WhenAsync(Socket("host-2"), fleet => fleet.IncidentsOf("host-2").Count >= 2);
            // So that they have to join again.
            foreach (var process in processes.Skip(1)) await Xenpciback.WaitForLineAsync(process, "this node is in no fleet any more");
            Assert.Empty((await FleetView.OfAsync(Socket("monitor"))).IncidentsOf("host-2"));
            await IpAsync("-n xpb-hub link set to-monitor up");

            var healed = await FleetView.WhenAsync(Socket("monitor"), fleet =>
                fleet.PresenceOf("host-1") == "up" && fleet.PresenceOf("host-2") == "up" && fleet.IncidentsOf("host-2").Count >= cutOff.IncidentsOf("host-2").Count);
            foreach (var host in new[] { "host-1", "host-2" })
                Assert.Equal((await FleetView.OfAsync(Socket(host))).IncidentsOf(host), healed.IncidentsOf(host));
        }
        finally
        {
            foreach (var process in processes)
            {
                process.Kill(entireProcessTree: true);
                await process.WaitForExitAsync();
                process.Dispose();
            }
            foreach (var space in Nodes.Select(node => $"xpb-{node.Name}").Append("xpb-hub")) await IpAsync($"netns del {space}", isSure: false);
        }
    }

    private static async Task BreakAsync(string directory, string host) =>
        Assert.Equal(0, (await Xenpciback.RunAsync("fault", "aer", "--socket", Path.Combine(directory, $"{host}.control"))).ExitCode);

    private static Process StartIn(string node, string directory) => Process.Start(new ProcessStartInfo("ip",
        [
            "netns", "exec", $"xpb-{node}", Xenpciback.Executable,
            .. node == "monitor" ? new[] { "monitor" } : ["demo", "--xenstored-socket", Path.Combine(directory, node)],
            "--config", Path.Combine(directory, $"{node}.conf"),
        ]) { RedirectStandardOutput = true })!;

    private static async Task MakeNetworkAsync()
    {
        await IpAsync("netns add xpb-hub");
        await IpAsync("-n xpb-hub link add bridge type bridge");
        await IpAsync("-n xpb-hub link set bridge up");
        foreach (var (name, address) in Nodes)
        {
            await IpAsync($"netns add xpb-{name}");
            await IpAsync($"-n xpb-{name} link set lo up");
            await IpAsync($"-n xpb-hub link add to-{name} type veth peer name net0 netns xpb-{name}");
            await IpAsync($"-n xpb-hub link set to-{name} master bridge up");
            await IpAsync($"-n xpb-{name} address add {address}/24 dev net0");
            await IpAsync($"-n xpb-{name} link set net0 up");
        }
    }

    private static async Task IpAsync(string arguments, bool isSure = true)
    {
        using var ip = Process.Start(new ProcessStartInfo("ip", arguments.Split(' ')) { RedirectStandardError = true })!;
        var errors = await ip.StandardError.ReadToEndAsync();
        await ip.WaitForExitAsync();
        if (isSure) Assert.True(ip.ExitCode == 0, $"ip {arguments}: {errors}");
    }

    private static void WriteSettings(string directory)
    {
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var authority = new CertificateRequest("CN=fleet", key, HashAlgorithmName.SHA256);
        authority.CertificateExtensions.Add(new X509BasicConstraintsExtension(certificateAuthority: true, hasPathLengthConstraint: false, 0, critical: true));
        using var own = authority.CreateSelfSigned(DateTimeOffset.UtcNow.AddDays(-1), DateTimeOffset.UtcNow.AddDays(1));
        File.WriteAllText(Path.Combine(directory, "authority.pem"), own.ExportCertificatePem());
        foreach (var (node, address) in Nodes)
        {
            using var nodes = ECDsa.Create(ECCurve.NamedCurves.nistP256);
            using var certificate = new CertificateRequest($"CN={node}", nodes, HashAlgorithmName.SHA256).Create(own, DateTimeOffset.UtcNow.AddHours(-1), DateTimeOffset.UtcNow.AddHours(1), [1, .. RandomNumberGenerator.GetBytes(8)]);
            var place = Path.Combine(directory, node);
            File.WriteAllText($"{place}.pem", certificate.ExportCertificatePem());
            File.WriteAllText($"{place}.key", nodes.ExportPkcs8PrivateKeyPem());
            File.WriteAllText($"{place}.conf", $$"""
                xenpciback {
                  fleet {
                    enabled = on
                    name = {{node}}
                    listen = "{{address}}:4053"
                    seeds = ["{{Nodes[0].Address}}:4053"]
                    lost-after = 1s
                    give-up-after = 3s
                    tls { certificate = "{{place}}.pem", key = "{{place}}.key", authorities = "{{directory}}/authority.pem" }
                  }
                  web { listen = "", socket = "{{place}}.web" }
                }
                """);
        }
    }
}
