using Serilog.Events;
using XenPciBack.Backend;
using XenPciBack.Daemon.Configuration;
using XenPciBack.Protocol;
using XenPciBack.Protocol.ConfigSpace;
using XenPciBack.Protocol.Slots;

namespace XenPciBack.Daemon.Tests;

public class SettingsReaderTests
{
    private static readonly HostBdf Nic = HostBdf.Parse("0000:03:00.0");

    private static DaemonSettings Read(string text) => SettingsReader.Read(text, "my.conf");

    private static IReadOnlyList<string> FaultsOf(string text) => Assert.Throws<SettingsException>(() => Read(text)).Faults;

    [Fact]
    public void The_built_in_file_gives_every_default()
    {
        var settings = Read("");
        Assert.Equal(new BackendSettings(
            DomainId.Zero, Loops: 64, Turn: TimeSpan.FromMilliseconds(2), GuestPatience: TimeSpan.FromSeconds(2),
            HotPlugPatience: TimeSpan.FromSeconds(8), StoreRetry: TimeSpan.FromSeconds(1))
        {
            Topologies = settings.Backend.Topologies, Devices = settings.Backend.Devices,
        }, settings.Backend);
        Assert.Equal(Topology.Vpci, settings.Backend.Topologies.Of("any"));
        Assert.Equal((false, false, 0), (settings.Backend.Devices.Of(Nic).Permissive, settings.Backend.Devices.Of(Nic).AllowInterruptControl, settings.Backend.Devices.Quirks.Length));
        Assert.Null(settings.XenStoreSocket);
        Assert.Equal(LogEventLevel.Information, settings.LogLevel);
        Assert.Equal(
            (TimeSpan.FromSeconds(10), TimeSpan.FromMilliseconds(20), TimeSpan.FromSeconds(2), 100),
            (settings.XenStore.ReconnectPatience, settings.XenStore.FirstReconnectPause, settings.XenStore.LongestReconnectPause, settings.XenStore.TransactionTries));
    }

    [Fact]
    public void An_operators_file_overrides_key_by_key()
    {
        var settings = Read("xenpciback { backend-domain = 3, xenstore.socket = /run/x, log.level = debug }\nakka.scheduler.tick-duration = 50ms");
        Assert.Equal((3, 64), (settings.Backend.Domain.Value, settings.Backend.Loops));
        Assert.Equal("/run/x", settings.XenStoreSocket);
        Assert.Equal(LogEventLevel.Debug, settings.LogLevel);
        Assert.Equal(TimeSpan.FromMilliseconds(50), settings.Akka.GetTimeSpan("akka.scheduler.tick-duration"));
    }

    [Fact]
    public void Guests_and_devices_have_settings_of_their_own()
    {
        var backend = Read("""
            xenpciback {
              topology = passthrough
              guests {
                "db.example" { topology = vpci }
                web { }
              }
              devices {
                "0000:03:00.0" { permissive = on }
                "0000:04:00.0" { allow-interrupt-control = yes, permissive = off }
              }
            }
            """).Backend;
        Assert.Equal((Topology.Vpci, Topology.Passthrough, Topology.Passthrough), (backend.Topologies.Of("db.example"), backend.Topologies.Of("web"), backend.Topologies.Of(null)));
        Assert.Equal((true, false), (backend.Devices.Of(Nic).Permissive, backend.Devices.Of(Nic).AllowInterruptControl));
        var other = backend.Devices.Of(HostBdf.Parse("0000:04:00.0"));
        Assert.Equal((false, true), (other.Permissive, other.AllowInterruptControl));
    }

    [Fact]
    public void Permissive_for_the_host_is_permissive_for_every_device() => Assert.True(Read("xenpciback.permissive = on").Backend.Devices.Of(Nic).Permissive);

    [Fact]
    public void Quirks_are_read_line_by_line_and_every_wrong_line_is_named()
    {
        var path = Path.GetTempFileName();
        File.WriteAllText(path, "# a comment\n0000:03:00.0-e0:2:ffff  # a register\n\n3:0.0-f0:1:ff\n");
        Assert.Equal<ConfigQuirk>([new(Nic, 0xE0, 2, 0xFFFF), new(Nic, 0xF0, 1, 0xFF)], Read($"xenpciback.quirks = \"{path}\"").Backend.Devices.Of(Nic).Quirks);

        File.WriteAllText(path, "3:0.0-e0:3:ff\nnonsense\n");
        Assert.Equal([$"{path}:1: '3:0.0-e0:3:ff' has size 3; expected 1, 2 or 4", $"{path}:2: 'nonsense' is no quirk; expected [DDDD:]BB:SS.F-REG:SIZE:MASK in hexadecimal"],
            FaultsOf($"xenpciback.quirks = \"{path}\""));
        File.Delete(path);
    }

    [Theory]
    [InlineData("topology = controller", "my.conf: xenpciback.topology is 'controller'; expected one of vpci, passthrough")]
    [InlineData("guests { web { topology = slot } }", "my.conf: xenpciback.guests.\"web\".topology is 'slot'; expected one of vpci, passthrough")]
    [InlineData("guests { web = vpci }", "my.conf: xenpciback.guests.\"web\" is 'vpci'; expected a group with: topology")]
    [InlineData("fleet.listen = \"127.0.0.1\"", "my.conf: xenpciback.fleet.listen is '127.0.0.1'; expected an IP address of this machine and a port, for example 127.0.0.1:4053 or [::1]:4053")]
    [InlineData("fleet.seeds = [\"monitor\"]", "my.conf: xenpciback.fleet.seeds is 'monitor'; expected a node's address and port, for example 192.0.2.1:4053")]
    [InlineData("web.listen = \"0.0.0.0:9474\"", "my.conf: xenpciback.web.listen is '0.0.0.0:9474', which other machines reach; expected xenpciback.web.tls.certificate and key with it, or a loopback address")]
    [InlineData("web.otlp = collector", "my.conf: xenpciback.web.otlp is 'collector'; expected an address that begins with http:// or https://, or nothing")]
    [InlineData("control-socket = control", "my.conf: xenpciback.control-socket is 'control'; expected an absolute path of at most 107 bytes")]
    [InlineData("permissive = maybe", "my.conf: xenpciback.permissive is 'maybe'; expected on or off")]
    [InlineData("devices { \"03:00.0\" { } }", "my.conf: xenpciback.devices has '03:00.0'; expected a PCI address, ssss:bb:dd.f in hexadecimal")]
    [InlineData("devices { \"0000:03:00.0\" { permisive = on } }", "my.conf: xenpciback.devices.\"0000:03:00.0\".permisive is not a setting; known here: permissive, allow-interrupt-control, allow-shared-line, aer-response")]
    [InlineData("devices { \"0000:03:00.0\" { aer-response = pray } }", "my.conf: xenpciback.devices.\"0000:03:00.0\".aer-response is 'pray'; expected one of kill, recover-then-kill, detach, report")]
    [InlineData("aer.response = recoverthenkill", "my.conf: xenpciback.aer.response is 'recoverthenkill'; expected one of kill, recover-then-kill, detach, report")]
    [InlineData("aer.step-patience = 10ms", "my.conf: xenpciback.aer.step-patience is '10ms'; expected a duration with its unit, from 100 ms to 1 h")]
    [InlineData("devices { \"0000:03:00.0\" { permissive = 2 } }", "my.conf: xenpciback.devices.\"0000:03:00.0\".permissive is '2'; expected on or off")]
    [InlineData("backend-domain = 32752", "my.conf: xenpciback.backend-domain is '32752'; expected a whole number from 0 to 32751")]
    [InlineData("backend-domain = -1", "my.conf: xenpciback.backend-domain is '-1'; expected a whole number from 0 to 32751")]
    [InlineData("data-plane.loops = 0", "my.conf: xenpciback.data-plane.loops is '0'; expected a whole number from 1 to 4096")]
    [InlineData("data-plane.guest-patience = soon", "my.conf: xenpciback.data-plane.guest-patience is 'soon'; expected a duration with its unit, from 100 ms to 1 h")]
    [InlineData("data-plane.guest-patience = infinite", "my.conf: xenpciback.data-plane.guest-patience is 'infinite'; expected a duration with its unit, from 100 ms to 1 h")]
    [InlineData("hot-plug.patience = 0s", "my.conf: xenpciback.hot-plug.patience is '0s'; expected a duration with its unit, from 100 ms to 1 h")]
    [InlineData("xenstore.retry-pause = 1ms", "my.conf: xenpciback.xenstore.retry-pause is '1ms'; expected a duration with its unit, from 10 ms to 10 min")]
    [InlineData("xenstore.reconnect-patience = 2h", "my.conf: xenpciback.xenstore.reconnect-patience is '2h'; expected a duration with its unit, from 100 ms to 1 h")]
    [InlineData("xenstore.first-reconnect-pause = 0s", "my.conf: xenpciback.xenstore.first-reconnect-pause is '0s'; expected a duration with its unit, from 1 ms to 1 min")]
    [InlineData("xenstore.longest-reconnect-pause = 2 min", "my.conf: xenpciback.xenstore.longest-reconnect-pause is '2 min'; expected a duration with its unit, from 1 ms to 1 min")]
    [InlineData("xenstore.transaction-tries = many", "my.conf: xenpciback.xenstore.transaction-tries is 'many'; expected a whole number from 1 to 10000")]
    [InlineData("log.level = fatal", "my.conf: xenpciback.log.level is 'fatal'; expected one of verbose, debug, information, warning, error")]
    [InlineData("log.levle = debug", "my.conf: xenpciback.log.levle is not a setting; known here: level")]
    [InlineData("log.level { }", "my.conf: xenpciback.log.level is a group; expected a value")]
    [InlineData("xenstore = 5", "my.conf: xenpciback.xenstore is '5'; expected a group with: socket, reconnect-patience, first-reconnect-pause, longest-reconnect-pause, transaction-tries, retry-pause")]
    public void A_wrong_setting_is_named_with_its_value_and_what_was_expected(string setting, string fault) =>
        Assert.Contains(fault, FaultsOf($"xenpciback {{ {setting} }}"));

    [Fact]
    public void All_faults_are_shown_at_once() => Assert.Equal(2, FaultsOf("xenpciback { backend-domain = x\n no-such = 1 }").Count);

    [Fact]
    public void A_file_that_is_not_hocon_is_refused_by_name() => Assert.StartsWith("my.conf: is not HOCON: ", Assert.Single(FaultsOf("xenpciback.log.level = ${nope}")), StringComparison.Ordinal);

    [Fact]
    public void A_file_that_is_not_there_is_refused_by_name() =>
        Assert.StartsWith("/no/such/file: cannot be read: ", Assert.Throws<SettingsException>(() => SettingsReader.Load("/no/such/file")).Message, StringComparison.Ordinal);
}
