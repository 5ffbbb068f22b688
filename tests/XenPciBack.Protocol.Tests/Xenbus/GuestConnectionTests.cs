using System.Collections.Immutable;
using CsCheck;
using XenPciBack.Protocol.Slots;
using XenPciBack.Protocol.Xenbus;

namespace XenPciBack.Protocol.Tests.Xenbus;

/// <summary>
/// The connection as a transcript: what the store says, then what the machine does. <see cref="Store"/> plays xenstore and the
/// actor: it performs effects at once, feeds outcomes back, and reads again until nothing is left to do.
/// </summary>
public class GuestConnectionTests
{
    private static readonly DomainId Guest = new(5);

    private sealed class Store
    {
        private GuestConnection _connection = NewConnection();

        private static GuestConnection NewConnection() =>
            new(Guest, new Topologies(Topology.Vpci) { ByGuest = new Dictionary<string, Topology> { ["as-on-the-host"] = Topology.Passthrough } });

        public Dictionary<string, string> Backend { get; } = new()
        {
            ["frontend"] = "/local/domain/5/device/pci/0", ["frontend-id"] = "5", ["online"] = "1", ["state"] = "1",
            ["num_devs"] = "1", ["dev-0"] = "0000:03:00.0", ["state-0"] = "1",
        };
        public Dictionary<string, string> Frontend { get; } = new() { ["state"] = "1" };
        public bool FrontendExists { get; set; } = true;
        public bool BackendExists { get; set; } = true;
        public HashSet<string> Unavailable { get; } = [];
        public int? MapErrno { get; set; }
        public string? GuestType { get; set; }
        public List<string> Log { get; } = [];
        public GuestConnection Connection => _connection;

        public Store With(string node, string? value)
        {
            if (value is null) Backend.Remove(node); else Backend[node] = value;
            return this;
        }

        /// <summary>Lets the machine run until it rests; returns what it did, one word an effect.</summary>
        public string Run()
        {
            Log.Clear();
            for (var pass = 0; ; pass++)
            {
                Assert.True(pass < 50, "the machine does not come to rest: " + string.Join(", ", Log));
                var before = _connection;
                if (!Feed(new ConnectionInput.Observed(ReadBackend(), FrontendExists ? ReadFrontend() : null)) && _connection == before) break;
            }
            return string.Join(", ", Log);
        }

        private bool Feed(ConnectionInput input)
        {
            var effects = new Queue<ConnectionEffect>(Step(input));
            var any = effects.Count > 0;
            while (effects.TryDequeue(out var effect))
                foreach (var next in Perform(effect))
                    effects.Enqueue(next);
            return any;
        }

        private ImmutableArray<ConnectionEffect> Step(ConnectionInput input)
        {
            (_connection, var effects) = _connection.Step(input);
            return effects;
        }

        private ImmutableArray<ConnectionEffect> Perform(ConnectionEffect effect)
        {
            switch (effect)
            {
                case ConnectionEffect.WriteNodes(var nodes):
                    foreach (var (name, value) in nodes)
                    {
                        Log.Add($"{name}={value}");
                        if (BackendExists) Backend[name] = value;
                    }
                    return [];
                case ConnectionEffect.RecordError(var errno, var text):
                    Log.Add($"error {errno} {text}");
                    return [];
                case ConnectionEffect.OpenDevice(var device, var permissive):
                    Log.Add($"open {device}{(permissive ? " permissive" : "")}");
                    return Step(Unavailable.Contains(device.ToString())
                        ? new ConnectionInput.DeviceRefused(device, $"{device} is busy")
                        : new ConnectionInput.DeviceOpened(new SlotCandidate(device, false, [])));
                case ConnectionEffect.ReleaseDevice(var device):
                    Log.Add($"release {device}");
                    return [];
                case ConnectionEffect.Connect(var page, var port):
                    Log.Add($"connect {page} {port}");
                    return Step(MapErrno is { } failure ? new ConnectionInput.ConnectRefused(failure, "no such grant") : new ConnectionInput.Connected());
                case ConnectionEffect.Disconnect:
                    Log.Add("disconnect");
                    return [];
                case ConnectionEffect.Explain(var text):
                    Log.Add($"explain {text}");
                    return [];
                default:
                    throw new InvalidOperationException(effect.ToString());
            }
        }

        private BackendNodes? ReadBackend()
        {
            if (!BackendExists) return null;
            var count = int.TryParse(Backend.GetValueOrDefault("num_devs"), out var n) && n is >= 0 and <= 256 ? n : 0;
            return new BackendNodes(
                Backend.GetValueOrDefault("frontend"), Backend.GetValueOrDefault("frontend-id"), Backend.GetValueOrDefault("online"), Backend.GetValueOrDefault("state"),
                Backend.GetValueOrDefault("num_devs"),
                [.. Enumerable.Range(0, count).Select(i => new DeviceNodes(i, Backend.GetValueOrDefault($"dev-{i}"), Backend.GetValueOrDefault($"state-{i}"), Backend.GetValueOrDefault($"vdev-{i}"), Backend.GetValueOrDefault($"opts-{i}")))])
            {
                GuestName = Backend.GetValueOrDefault("domain"),
                GuestType = GuestType,
                Roots = [.. Enumerable.Range(0, int.Parse(Backend.GetValueOrDefault("root_num") ?? "0")).Select(i => Backend.GetValueOrDefault($"root-{i}"))],
            };
        }

        private FrontendNodes ReadFrontend() => new(
            Frontend.GetValueOrDefault("state"), Frontend.GetValueOrDefault("pci-op-ref"), Frontend.GetValueOrDefault("event-channel"), Frontend.GetValueOrDefault("magic"));

        /// <summary>What pcifront writes when it is ready.</summary>
        public Store Handshake(string reference = "8", string port = "12", string magic = "7")
        {
            (Frontend["pci-op-ref"], Frontend["event-channel"], Frontend["magic"], Frontend["state"]) = (reference, port, magic, "3");
            return this;
        }

        /// <summary>Another daemon finds what this one has written.</summary>
        public void RestartDaemon() => _connection = NewConnection();

        public void TellFrontendIsSilent() => Feed(new ConnectionInput.FrontendSilent());

        public void TellFrontendIsClosedForLong() => Feed(new ConnectionInput.Reopen());

        public void TellGuestHasEnded() => Feed(new ConnectionInput.GuestEnded());

        public Store ClosedByItsFrontend()
        {
            ConnectedGuest().Frontend["state"] = "6";
            Assert.Equal("disconnect, state=6", Run());
            return this;
        }

        public Store ConnectedGuest()
        {
            Handshake();
            Run();
            Assert.Equal(XenbusState.Connected, Connection.State);
            Frontend["state"] = "4";
            Assert.Equal("", Run());
            return this;
        }
    }

    private readonly Store _store = new();

    [Fact]
    public void A_guest_starts_through_states_2_3_and_4_and_finds_its_nodes_before_state_3()
    {
        Assert.Equal("state=2, open 0000:03:00.0, vdev-0=0000:00:00.00, state-0=3, root-0=0000:00, root_num=1, state=3", _store.Run());
        Assert.Equal("connect 8 12, state=4", _store.Handshake().Run());
        _store.Frontend["state"] = "4";
        Assert.Equal("", _store.Run());
        Assert.True(_store.Connection.IsConnected);
    }

    [Fact]
    public void In_passthrough_mode_a_device_keeps_its_address_and_each_bus_is_a_root()
    {
        _store.With("domain", "as-on-the-host").With("num_devs", "2").With("dev-1", "0001:04:1f.7").With("state-1", "1");
        Assert.Equal(
            "state=2, open 0000:03:00.0, open 0001:04:1f.7, vdev-0=0000:03:00.00, state-0=3, vdev-1=0001:04:1f.07, state-1=3, "
            + "root-0=0000:03, root-1=0001:04, root_num=2, state=3", _store.Run());
    }

    [Fact]
    public void A_device_on_a_new_bus_adds_a_root_to_a_running_guest_and_its_removal_takes_none_away()
    {
        _store.With("domain", "as-on-the-host").ConnectedGuest();
        _store.With("num_devs", "2").With("dev-1", "0000:03:00.1").With("state-1", "1").With("state", "7").Frontend["state"] = "7";
        Assert.Equal("open 0000:03:00.1, vdev-1=0000:03:00.01, state-1=3, state=8", _store.Run());
        _store.Frontend["state"] = "4";
        Assert.Equal("state=4", _store.Run());

        _store.With("num_devs", "3").With("dev-2", "0000:05:00.0").With("state-2", "1").With("state-0", "5").With("state-1", "5").With("state", "7").Frontend["state"] = "7";
        Assert.Equal("release 0000:03:00.0, release 0000:03:00.1, open 0000:05:00.0, vdev-2=0000:05:00.00, state-2=3, root-1=0000:05, root_num=2, state=8", _store.Run());
    }

    [Theory]
    [InlineData("as-on-the-host", "web"), InlineData("web", "as-on-the-host")]
    public void A_running_guest_keeps_its_topology_when_the_settings_change(string before, string after)
    {
        _store.With("domain", before).ConnectedGuest();
        var (slots, roots) = (_store.Connection.Slots.Topology, _store.Backend["root-0"]);
        _store.With("domain", after).RestartDaemon();
        Assert.Equal("open 0000:03:00.0, connect 8 12", _store.Run());
        Assert.Equal((slots, roots), (_store.Connection.Slots.Topology, _store.Backend["root-0"]));
    }

    [Theory]
    [InlineData("msitranslate=0,power_mgmt=0,permissive=1,rdm_policy=strict", "open 0000:03:00.0 permissive")]
    [InlineData("msitranslate=0,power_mgmt=0,permissive=0,rdm_policy=strict", "open 0000:03:00.0,")]
    [InlineData("permissive=11", "open 0000:03:00.0,"), InlineData("", "open 0000:03:00.0,")]
    public void The_toolstack_makes_a_device_permissive(string options, string expected) =>
        Assert.Contains(expected, _store.With("opts-0", options).Run(), StringComparison.Ordinal);

    [Fact]
    public void The_directory_of_an_hvm_guest_is_explained_and_left_alone()
    {
        _store.GuestType = "hvm";
        Assert.Equal("explain its guest is HVM, and the device model drives the devices", _store.Run());
        _store.With("state", "7");
        Assert.Equal("", _store.Run());
    }

    [Fact]
    public void A_frontend_that_is_ready_first_is_connected_at_once() =>
        Assert.EndsWith("state=3, connect 8 12, state=4", _store.Handshake().Run(), StringComparison.Ordinal);

    [Fact]
    public void A_device_added_before_the_guest_connects_is_exported_without_a_new_state()
    {
        _store.Run();
        _store.With("num_devs", "2").With("dev-1", "0000:03:00.1").With("state-1", "1");
        Assert.Equal("open 0000:03:00.1, vdev-1=0000:00:00.01, state-1=3", _store.Run());
        Assert.EndsWith("state=4", _store.Handshake().Run(), StringComparison.Ordinal);
    }

    [Fact]
    public void A_directory_without_a_frontend_is_explained_once_and_left_alone()
    {
        _store.With("frontend", null);
        Assert.Equal("explain there is no frontend node; expected the path of the guest's directory", _store.Run());
        Assert.Equal("", _store.Run());
        _store.With("frontend", "/local/domain/5/device/pci/0").FrontendExists = false;
        Assert.Equal("explain the frontend directory /local/domain/5/device/pci/0 does not exist", _store.Run());
        _store.FrontendExists = true;
        Assert.StartsWith("state=2", _store.Run(), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("frontend-id", "6", "error 22 frontend-id is '6'; expected '5', state=5")]
    [InlineData("num_devs", null, "error 2 num_devs is missing, state=5")]
    [InlineData("num_devs", "lots", "error 34 num_devs is 'lots'; expected a number from 0 to 256, state=5")]
    [InlineData("num_devs", "257", "error 34 num_devs is '257'; expected a number from 0 to 256, state=5")]
    [InlineData("dev-0", null, "error 2 dev-0 is missing, state=5")]
    [InlineData("dev-0", "zz", "error 22 dev-0 is 'zz'; expected ssss:bb:dd.f in hexadecimal, state=5")]
    [InlineData("dev-0", "\u001b[2J", "error 22 dev-0 is '?[2J'; expected ssss:bb:dd.f in hexadecimal, state=5")]
    public void A_node_the_toolstack_got_wrong_is_named_with_its_value(string node, string? value, string outcome)
    {
        _store.With(node, value);
        Assert.EndsWith(outcome, _store.Run(), StringComparison.Ordinal);
        Assert.Equal("", _store.Run());
    }

    [Theory]
    [InlineData("8", "12", "6", "error 14 the frontend's magic is '6'; expected '7', state=5")]
    [InlineData("8", "12", "7\n", "error 14 the frontend's magic is '7?'; expected '7', state=5")]
    [InlineData("0", "12", "7", "error 22 the frontend's pci-op-ref is '0'; expected a grant reference, a number above 0, state=5")]
    [InlineData("-8", "12", "7", "error 22 the frontend's pci-op-ref is '-8'; expected a grant reference, a number above 0, state=5")]
    [InlineData("8", "4294967296", "7", "error 22 the frontend's event-channel is '4294967296'; expected a port, a number above 0, state=5")]
    public void A_frontend_that_does_not_speak_the_protocol_is_refused_before_anything_is_mapped(string reference, string port, string magic, string outcome)
    {
        _store.Run();
        Assert.Equal(outcome, _store.Handshake(reference, port, magic).Run());
    }

    [Fact]
    public void A_grant_that_cannot_be_mapped_ends_in_an_error_node()
    {
        _store.Run();
        _store.MapErrno = 22;
        Assert.Equal("connect 8 12, error 22 no such grant, state=5", _store.Handshake().Run());
        Assert.False(_store.Connection.IsConnected);
    }

    [Fact]
    public void A_frontend_that_claims_to_be_connected_too_early_gets_nothing()
    {
        _store.Frontend["state"] = "4";
        Assert.EndsWith("state=3", _store.Run(), StringComparison.Ordinal);
        Assert.False(_store.Connection.IsConnected);
    }

    [Fact]
    public void A_device_that_cannot_be_had_fails_the_guest_and_gives_nothing_twice()
    {
        _store.With("num_devs", "2").With("dev-1", "0000:04:00.0").Unavailable.Add("0000:03:00.0");
        Assert.Equal("state=2, open 0000:03:00.0, open 0000:04:00.0, error 22 0000:03:00.0 is busy, state=5, release 0000:04:00.0", _store.Run());
    }

    [Fact]
    public void The_33rd_device_is_handed_back_and_the_guest_told()
    {
        _store.With("num_devs", "33");
        for (var i = 0; i < 33; i++) _store.With($"dev-{i}", $"0000:{i:x2}:00.0");
        Assert.EndsWith("release 0000:20:00.0, error 12 no room for 0000:20:00.0: all 32 slots of the virtual bus are taken, state=5", _store.Run(), StringComparison.Ordinal);
    }

    [Fact]
    public void A_device_added_to_a_running_guest_is_exported_between_states_7_and_8()
    {
        _store.ConnectedGuest();
        _store.With("num_devs", "2").With("dev-1", "0000:04:00.0").With("state-1", "1").With("state", "7");
        Assert.Equal("", _store.Run());
        _store.Frontend["state"] = "7";
        Assert.Equal("open 0000:04:00.0, vdev-1=0000:00:01.00, state-1=3, state=8", _store.Run());
        _store.Frontend["state"] = "4";
        Assert.Equal("state=4", _store.Run());
    }

    [Theory]
    [InlineData("0000:04:00.0", "open 0000:04:00.0, error 22 0000:04:00.0 is busy")]
    [InlineData("4:0", "error 22 dev-1 is '4:0'; expected ssss:bb:dd.f in hexadecimal")]
    [InlineData(null, "error 2 dev-1 is missing")]
    public void A_device_that_is_refused_to_a_running_guest_takes_nothing_from_it_and_is_struck_off_like_any_other(string? device, string refusal)
    {
        _store.Unavailable.Add("0000:04:00.0");
        _store.ConnectedGuest();
        _store.With("num_devs", "2").With("dev-1", device).With("state-1", "1").With("state", "7").Frontend["state"] = "7";
        Assert.Equal($"{refusal}, vdev-1=ffff:ff:1f.07, state-1=6, state=8", _store.Run());
        _store.Frontend["state"] = "4";
        Assert.Equal("state=4", _store.Run());
        _store.With("state-1", "5").With("state", "7").Frontend["state"] = "7";
        Assert.Equal("state=8", _store.Run());
        Assert.Equal([HostBdf.Parse("0000:03:00.0")], _store.Connection.Slots.Members.Select(m => m.Host));
    }

    [Fact]
    public void The_33rd_device_for_a_running_guest_is_handed_back_and_the_32_others_stay()
    {
        _store.With("num_devs", "32");
        for (var i = 0; i < 32; i++) _store.With($"dev-{i}", $"0000:{i:x2}:00.0");
        _store.ConnectedGuest();
        _store.With("num_devs", "33").With("dev-32", "0000:20:00.0").With("state-32", "1").With("state", "7").Frontend["state"] = "7";
        Assert.Equal("open 0000:20:00.0, release 0000:20:00.0, error 12 no room for 0000:20:00.0: all 32 slots of the virtual bus are taken, vdev-32=ffff:ff:1f.07, state-32=6, state=8", _store.Run());
        Assert.Equal(32, _store.Connection.Slots.Members.Length);
    }

    [Fact]
    public void A_device_taken_from_a_running_guest_is_released_and_an_unknown_one_does_not_hold_up_the_rest()
    {
        _store.With("num_devs", "2").With("dev-1", "0000:04:00.0");
        _store.ConnectedGuest();
        _store.With("state-0", "5").With("vdev-0", "0000:00:1f.00").With("state-1", "5").With("state", "7").Frontend["state"] = "7";
        Assert.Equal("error 2 vdev-0 is '0000:00:1f.00', which this guest does not have; nothing removed, release 0000:04:00.0, state=8", _store.Run().Replace("release 0000:04:00.0, error 2", "error 2", StringComparison.Ordinal));
        Assert.Equal([HostBdf.Parse("0000:03:00.0")], _store.Connection.Slots.Members.Select(m => m.Host));
    }

    [Fact]
    public void A_device_is_taken_without_the_frontend_if_that_stays_silent()
    {
        _store.ConnectedGuest();
        Assert.False(_store.Connection.AwaitsFrontend);
        _store.With("state-0", "5").With("state", "7");
        Assert.Equal("", _store.Run());
        Assert.True(_store.Connection.AwaitsFrontend);
        _store.TellFrontendIsSilent();
        Assert.Equal("release 0000:03:00.0, state=8, state=4", _store.Run());
        Assert.False(_store.Connection.AwaitsFrontend);
    }

    [Fact]
    public void Closing_unmaps_and_keeps_the_devices_and_closed_while_online_stays()
    {
        _store.ConnectedGuest();
        _store.Frontend["state"] = "5";
        Assert.Equal("disconnect, state=5", _store.Run());
        _store.Frontend["state"] = "6";
        Assert.Equal("state=6", _store.Run());
        Assert.Single(_store.Connection.Slots.Members);
        _store.With("online", "0");
        Assert.Equal("release 0000:03:00.0, state=6", _store.Run());
    }

    [Fact]
    public void A_connection_that_its_frontend_has_closed_is_offered_again_after_a_while_and_a_driver_bound_again_finds_it()
    {
        _store.ClosedByItsFrontend();
        Assert.True(_store.Connection.AwaitsReopening);
        _store.TellFrontendIsClosedForLong();
        Assert.Equal(("3", false), (_store.Backend["state"], _store.Connection.AwaitsReopening));
        Assert.Equal("", _store.Run());
        Assert.Equal("connect 9 13, state=4", _store.Handshake(reference: "9", port: "13").Run());
        Assert.Equal(["0000:03:00.0"], _store.Connection.Slots.Members.Select(member => $"{member.Host}"));
    }

    [Fact]
    public void A_frontend_that_comes_back_at_once_is_not_kept_waiting()
    {
        _store.ClosedByItsFrontend().Frontend["state"] = "1";
        Assert.Equal("state=3", _store.Run());
        Assert.Equal("connect 8 12, state=4", _store.Handshake().Run());
    }

    [Fact]
    public void A_frontend_that_closes_once_more_is_let_go_and_offered_the_connection_once_more()
    {
        _store.ClosedByItsFrontend().TellFrontendIsClosedForLong();
        _store.Handshake().Run();
        _store.Frontend["state"] = "6";
        Assert.Equal("disconnect, state=6", _store.Run());
        Assert.True(_store.Connection.AwaitsReopening);
    }

    [Fact]
    public void A_frontend_that_closes_without_taking_the_offer_is_made_it_once_more()
    {
        _store.ClosedByItsFrontend().TellFrontendIsClosedForLong();
        _store.Frontend["state"] = "5";
        Assert.Equal("state=5", _store.Run());
        _store.Frontend["state"] = "6";
        Assert.Equal("state=6", _store.Run());
        Assert.True(_store.Connection.AwaitsReopening);
    }

    [Fact]
    public void A_connection_is_offered_again_only_when_its_frontend_has_closed_it()
    {
        _store.ConnectedGuest().TellFrontendIsClosedForLong();
        Assert.Equal(("4", XenbusState.Connected), (_store.Backend["state"], _store.Connection.State));
    }

    [Fact]
    public void A_guest_that_was_refused_a_device_is_not_offered_the_rest()
    {
        _store.Unavailable.Add("0000:03:00.0");
        _store.Run();
        _store.Frontend["state"] = "6";
        Assert.Equal("state=6", _store.Run());
        Assert.False(_store.Connection.AwaitsReopening);
    }

    [Fact]
    public void A_connection_that_was_closed_under_an_earlier_daemon_is_taken_up_and_offered_again()
    {
        _store.ClosedByItsFrontend().RestartDaemon();
        Assert.Equal("open 0000:03:00.0", _store.Run());
        _store.TellFrontendIsClosedForLong();
        Assert.Equal("connect 8 12, state=4", _store.Handshake().Run());
    }

    [Fact]
    public void When_a_guest_has_shut_down_its_toolstack_finds_the_backend_connected_and_gets_every_device_at_once()
    {
        _store.ClosedByItsFrontend().TellGuestHasEnded();
        Assert.Equal("state=4", _store.Run());
        Assert.False(_store.Connection.AwaitsReopening);
        _store.With("state-0", "5").With("state", "7");
        Assert.Equal("release 0000:03:00.0, state=8, state=4", _store.Run());
        _store.With("online", "0").With("state", "5");
        Assert.Equal("state=6", _store.Run());
    }

    [Fact]
    public void When_a_guest_has_crashed_nobody_waits_for_its_frontend()
    {
        _store.ConnectedGuest().TellGuestHasEnded();
        Assert.Equal("", _store.Run());
        _store.With("state-0", "5").With("state", "7");
        Assert.Equal("release 0000:03:00.0, state=8, state=4", _store.Run());
    }

    [Fact]
    public void Destroying_the_guest_releases_everything_and_writes_nothing_into_a_vanished_directory()
    {
        _store.ConnectedGuest();
        (_store.BackendExists, _store.FrontendExists) = (false, false);
        Assert.Equal("disconnect, release 0000:03:00.0", _store.Run());
        Assert.Equal("", _store.Run());
    }

    [Fact]
    public void A_frontend_directory_that_vanishes_ends_the_guest()
    {
        _store.ConnectedGuest();
        _store.FrontendExists = false;
        Assert.Equal("disconnect, release 0000:03:00.0, state=6", _store.Run());
    }

    [Fact]
    public void A_directory_made_anew_starts_from_the_beginning()
    {
        _store.ConnectedGuest();
        _store.With("state", "1").With("vdev-0", null).Frontend["state"] = "1";
        Assert.StartsWith("disconnect, release 0000:03:00.0, state=2, open 0000:03:00.0", _store.Run(), StringComparison.Ordinal);
    }

    [Fact]
    public void A_guest_connected_by_an_earlier_daemon_is_taken_up_without_a_write()
    {
        _store.With("state", "4").With("num_devs", "2").With("state-0", "3").With("vdev-0", "0000:00:03.00").With("dev-1", "0000:04:00.0").With("state-1", "3").With("vdev-1", "0000:00:01.00");
        _store.Handshake().Frontend["state"] = "4";
        Assert.Equal("open 0000:03:00.0, open 0000:04:00.0, connect 8 12", _store.Run());
        Assert.Equal((XenbusState.Connected, true), (_store.Connection.State, _store.Connection.IsConnected));
        Assert.Equal(HostBdf.Parse("0000:03:00.0"), _store.Connection.Slots.Find(0, 0, 0x18));
    }

    [Theory]
    [InlineData("0", "6"), InlineData("1", null)]
    public void A_connection_that_an_earlier_daemon_has_closed_for_good_is_left_as_it_is(string online, string? frontend)
    {
        _store.ClosedByItsFrontend().RestartDaemon();
        _store.With("online", online);
        if (frontend is null) _store.Frontend.Remove("state");
        Assert.Equal("", _store.Run());
    }

    [Fact]
    public void A_directory_closed_in_another_life_is_left_as_it_is()
    {
        _store.With("state", "6").Frontend["state"] = "6";
        Assert.Equal("", _store.Run());
    }

    [Fact]
    public void Whatever_the_two_sides_write_the_machine_comes_to_rest_and_never_serves_an_unmapped_page() =>
        Gen.Select(Gen.Int[0, 8], Gen.Int[0, 8], Gen.Int[0, 8], Gen.Bool, Gen.Bool, Gen.Int[0, 3].Select(i => new[] { "7", "6", "", "x" }[i]), Gen.Int[0, 8]).Array[1, 12].Sample(steps =>
        {
            var store = new Store();
            foreach (var (own, frontend, sub, online, exists, magic, told) in steps)
            {
                store.Run();
                if (told == 0) store.TellFrontendIsClosedForLong();
                if (told == 1) store.TellGuestHasEnded();
                if (own != 0) store.With("state", own.ToString());
                store.With("state-0", sub.ToString()).With("online", online ? "1" : "0");
                store.Handshake(magic: magic).Frontend["state"] = frontend.ToString();
                store.FrontendExists = exists;
                store.Run();
                if (store.Connection.IsConnected) Assert.True(store.Connection.State >= XenbusState.Connected, $"connected in {store.Connection.State}");
            }
        }, iter: 2000);
}
