using System.Net;
using System.Net.Security;
using System.Net.Sockets;
using System.Security.Authentication;
using System.Security.Cryptography.X509Certificates;
using System.Text;
using Akka.Actor;
using Akka.Configuration;
using Akka.Event;
using Akka.Serialization;
using XenPciBack.Fleet.Membership;
using XenPciBack.Fleet.Wire;

namespace XenPciBack.Fleet.Tests;

/// <summary>What takes memory beside it would be taken for its own.</summary>
[CollectionDefinition(nameof(SecurityTests), DisableParallelization = true)]
public static class SecurityTestsAlone;

/// <summary>Peers that are none of ours, or not what they should be.</summary>
[Collection(nameof(SecurityTests))]
public class SecurityTests
{
    private const int Many = 1000, Flat = 32 << 20;

    private static IEnumerable<LogEvent> WarningsOf(TestFleet fleet) => fleet.Log.Where(logged => logged.LogLevel() >= LogLevel.WarningLevel);

    private static void AssertOneWarning(TestFleet fleet) =>
        Assert.True(WarningsOf(fleet).Count() == 1, $"expected one warning:\n{string.Join('\n', WarningsOf(fleet))}");

    /// <summary>Waits until the fleet has taken something that was told after all else.</summary>
    private static async Task GoesOnAsync(TestFleet fleet, FleetBoard host, string name)
    {
        var number = fleet.Seen.State.Hosts[name].Incidents.Length + 1;
        host.Update(state => state.WithIncident(Some.Told(name, number), Some.Noon));
        await Eventually.IsTrueAsync(() => fleet.Seen.State.Hosts[name].Incidents.Length == number);
    }

    [Fact]
    public async Task Nodes_that_show_each_other_certificates_of_the_authority_make_a_fleet()
    {
        using var authority = new Certificates("authority");
        await using var fleet = new TestFleet { Tls = authority.Of("monitor") };
        await fleet.StartMonitorAsync();
        fleet.StartHost("a", authority.Of("a"));
        await Eventually.IsTrueAsync(() => fleet.Seen.State.Hosts.ContainsKey("a"));
        Assert.Empty(WarningsOf(fleet));
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task A_node_with_a_certificate_of_somebody_else_or_without_one_is_refused_with_one_line_in_the_log(bool hasCertificate)
    {
        using var authority = new Certificates("authority");
        using var stranger = new Certificates("authority");
        await using var fleet = new TestFleet { Tls = authority.Of("monitor") };
        await fleet.StartMonitorAsync();
        var (_, good) = fleet.StartHost("good", authority.Of("good"));
        await Eventually.IsTrueAsync(() => fleet.Seen.State.Hosts.ContainsKey("good"));

        using var relay = new Relay(fleet.MonitorAt!);
        await using var other = new TestFleet { Tls = hasCertificate ? stranger.Of("bad") : null, MonitorAt = relay.At };
        other.StartHost("bad");
        await Eventually.IsTrueAsync(() => WarningsOf(fleet).Any() && relay.Ended >= 1);
        var once = relay.Ended;
        other.StartHost("bad too");
        await Eventually.IsTrueAsync(() => relay.Ended > once);
        await GoesOnAsync(fleet, good, "good");
        Assert.Equal(["good"], fleet.Seen.State.Hosts.Keys);
        AssertOneWarning(fleet);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task A_peer_that_takes_every_certificate_and_shows_one_of_somebody_else_or_none_is_cut_off(bool hasCertificate)
    {
        using var authority = new Certificates("authority");
        using var stranger = new Certificates("authority");
        await using var fleet = new TestFleet { Tls = authority.Of("monitor") };
        await fleet.StartMonitorAsync();

        using var peer = new TcpClient();
        await peer.ConnectAsync(IPAddress.Loopback, fleet.MonitorAt!.Port);
        await using var tls = new SslStream(peer.GetStream(), leaveInnerStreamOpen: false, (_, shown, _, _) => shown is not null);
        var end = await Record.ExceptionAsync(async () =>
        {
            await tls.AuthenticateAsClientAsync(new SslClientAuthenticationOptions { TargetHost = "monitor", ClientCertificates = hasCertificate ? new X509CertificateCollection { stranger.Of("bad").Certificate } : null });
            // This side of TLS 1.3 hears of it with the first answer.
            if (await tls.ReadAsync(new byte[1]).AsTask().WaitAsync(TimeSpan.FromMinutes(1)) == 0) throw new IOException("cut off");
        });
        Assert.True(end is IOException or AuthenticationException, $"{end}");
        await Eventually.IsTrueAsync(() => WarningsOf(fleet).Any());
        AssertOneWarning(fleet);
    }

    [Fact]
    public void Off_loopback_without_certificates_no_node_is_made()
    {
        using var threads = new FleetThreads(() => { });
        var settings = TestFleet.Settings("a") with { Listen = new IPEndPoint(IPAddress.Any, 0) };
        Assert.Contains("which other machines reach, without certificates", Assert.Throws<FleetException>(() => FleetNode.OfMonitor(settings, new FleetBoard(), threads, _ => { })).Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("a type of Json.NET")]
    [InlineData("an unknown manifest")]
    [InlineData("an unknown serializer")]
    [InlineData("one too large")]
    [InlineData("one inside another")]
    [InlineData("a poison pill")]
    public async Task Messages_that_are_none_of_ours_are_refused_with_one_line_in_the_log_and_leave_nothing_behind(string kind)
    {
        await using var fleet = new TestFleet();
        await fleet.StartMonitorAsync();
        var (_, board) = fleet.StartHost("a");
        await Eventually.IsTrueAsync(() => fleet.Seen.State.Hosts.ContainsKey("a"));
        await GoesOnAsync(fleet, board, "a");

        using var stranger = ActorSystem.Create("stranger", ConfigurationFactory.ParseString($$"""
            akka {
              loglevel = OFF
              stdout-loglevel = OFF
              actor {
                provider = remote
                serializers {
                  fleet = "{{NameOf<FleetSerializer>()}}"
                  unknown-manifest = "{{NameOf<UnknownManifest>()}}"
                  unknown-serializer = "{{NameOf<UnknownSerializer>()}}"
                }
                serialization-bindings {
                  "{{NameOf<Report>()}}" = fleet
                  "{{NameOf<NewWord>()}}" = unknown-manifest
                  "{{NameOf<NewLanguage>()}}" = unknown-serializer
                }
              }
              remote {
                # A connection that the monitor has cut is made again at once.
                retry-gate-closed-for = 20ms
                dot-netty.tcp {
                  hostname = 127.0.0.1
                  port = 0
                  maximum-frame-size = 4194304b
                }
              }
            }
            """));
        var monitor = stranger.ActorSelection($"{FleetSystem.AddressOf(fleet.MonitorAt!, isSecure: false)}/user/{Membership.Monitor.Name}");
        var sender = stranger.ActorOf(Props.Empty);
        object message = kind switch
        {
            "a type of Json.NET" => new Anything("rm"),
            "an unknown manifest" => new NewWord(10),
            "an unknown serializer" => new NewLanguage(),
            "one too large" => new NewWord(2 << 20),
            "one inside another" => new ActorSelectionMessage("x", [new SelectChildName("user")]),
            _ => PoisonPill.Instance,
        };
        await SendAsync(1);
        var before = GC.GetTotalMemory(forceFullCollection: true);
        await SendAsync(kind == "one too large" ? 20 : Many);
        Assert.True(GC.GetTotalMemory(forceFullCollection: true) - before < Flat);
        Assert.True(WarningsOf(fleet).Count() <= 1, string.Join('\n', WarningsOf(fleet)));
        await stranger.Terminate();

        async Task SendAsync(int count)
        {
            for (var i = 0; i < count; i++) monitor.Tell(message);
            if (kind != "a poison pill") await Eventually.IsTrueAsync(() => WarningsOf(fleet).Any());
            // What is taken shows that what was sent before it has come; it is said again because a connection that was cut loses some.
            var last = $"stranger after {count}";
            await Eventually.IsTrueAsync(() =>
            {
                monitor.Tell(new Report(last, Some.Noon, Some.Status(last), []), sender);
                return fleet.Seen.State.Hosts.ContainsKey(last);
            });
            await GoesOnAsync(fleet, board, "a");
        }
    }

    [Fact]
    public async Task A_peer_that_announces_a_huge_frame_is_cut_off()
    {
        await using var fleet = new TestFleet();
        await fleet.StartMonitorAsync();
        var (_, board) = fleet.StartHost("a");
        await Eventually.IsTrueAsync(() => fleet.Seen.State.Hosts.ContainsKey("a"));
        var before = GC.GetTotalMemory(forceFullCollection: true);

        for (var i = 0; i < 10; i++)
        {
            using var peer = new TcpClient();
            await peer.ConnectAsync(IPAddress.Loopback, fleet.MonitorAt!.Port);
            var stream = peer.GetStream();
            await stream.WriteAsync(BitConverter.GetBytes(int.MaxValue));
            await Assert.ThrowsAnyAsync<IOException>(async () =>
            {
                var zeros = new byte[1 << 20];
                for (var sent = 0; sent < 2000; sent++) await stream.WriteAsync(zeros);
            });
        }
        await GoesOnAsync(fleet, board, "a");
        AssertOneWarning(fleet);
        Assert.True(GC.GetTotalMemory(forceFullCollection: true) - before < Flat);
    }

    private static string NameOf<T>() => $"{typeof(T).FullName}, {typeof(T).Assembly.GetName().Name}";

    public sealed record Anything(string Text);

    public sealed record NewWord(int Size);

    public sealed record NewLanguage;

    public sealed class UnknownManifest(ExtendedActorSystem system) : SerializerWithStringManifest(system)
    {
        public override int Identifier => 1019;

        public override string Manifest(object o) => "report/99";

        public override byte[] ToBinary(object obj) => new byte[((NewWord)obj).Size];

        public override object FromBinary(byte[] bytes, string manifest) => throw new NotSupportedException();
    }

    public sealed class UnknownSerializer(ExtendedActorSystem system) : SerializerWithStringManifest(system)
    {
        public override int Identifier => 4711;

        public override string Manifest(object o) => "word";

        public override byte[] ToBinary(object obj) => Encoding.UTF8.GetBytes("hello");

        public override object FromBinary(byte[] bytes, string manifest) => throw new NotSupportedException();
    }
}
