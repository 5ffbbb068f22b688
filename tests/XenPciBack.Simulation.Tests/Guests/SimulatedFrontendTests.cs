using XenPciBack.Protocol;
using XenPciBack.Protocol.SharedPage;
using XenPciBack.Simulation.Guests;
using XenPciBack.Simulation.Pci.Devices;
using XenPciBack.Simulation.Toolstack;

namespace XenPciBack.Simulation.Tests.Guests;

public sealed class SimulatedFrontendTests : IAsyncLifetime
{
    private const string Nic = "0000:03:00.0", Sata = "0000:00:1f.2", Smbus = "0000:00:1f.3", Bridge = "0000:00:1e.0";

    private SimulatedXenHost _machine = null!;

    public async Task InitializeAsync()
    {
        var socket = Path.Combine(Path.GetTempPath(), $"xenstored-{Guid.NewGuid():N}");
        _machine = await SimulatedXenHost.StartAsync(socket, Eventually.Patience);
        _machine.Pci.Plug(Intel82574.At(HostBdf.Parse(Nic)));
        _machine.Pci.Plug(Ich9.Sata(HostBdf.Parse(Sata)));
        _machine.Pci.Plug(Ich9.Smbus(HostBdf.Parse(Smbus)));
        _machine.Pci.Plug(RedHatPciBridge.At(HostBdf.Parse(Bridge)));
    }

    public async Task DisposeAsync() => await _machine.DisposeAsync();

    [Fact]
    public async Task It_publishes_page_port_and_magic_and_says_Initialised()
    {
        var guest = await CreateAsync([Nic]);
        await using var backend = await ScriptedBackend.StartAsync(_machine, guest.Id);
        var frontend = SimulatedToolstack.FrontendOf(guest.Id);
        await backend.WaitForAsync(frontend / "state", "3");
        Assert.Equal("7", await backend.ReadAsync(frontend / "magic"));
        Assert.Equal("8", await backend.ReadAsync(frontend / "pci-op-ref"));
        Assert.Equal($"{guest.Frontend.Port.Number}", await backend.ReadAsync(frontend / "event-channel"));
        Assert.Equal(0x2, guest.Frontend.Page.Bytes[0]);
    }

    [Fact]
    public async Task It_finds_a_device_by_scanning_and_decodes_it()
    {
        var (guest, backend) = await ConnectAsync(Nic);
        await using var _ = backend;
        var nic = Assert.Single(guest.Frontend.Devices);
        Assert.Equal(("0000:00:00.0", 0x8086, 0x10D3, 0x020000u), (nic.Address, nic.VendorId, nic.DeviceId, nic.ClassCode));
        var hardware = _machine.Pci[HostBdf.Parse(Nic)];
        Assert.Equal(
            hardware.Resources.Where(r => r.Size != 0).Select(r => (r.Start, r.Size, r.IsIo)),
            nic.Bars.Select(b => (b.Address, b.Size, b.IsIo)));
        Assert.Equal([0x01, 0x05, 0x10, 0x11, 0x0001, 0x0003], nic.Capabilities.Select(c => c.Id));
    }

    [Fact]
    public async Task It_finds_functions_whose_slot_has_no_function_0()
    {
        var (guest, backend) = await ConnectAsync([(Sata, 2), (Smbus, 3)]);
        await using var _ = backend;
        Assert.Equal(["0000:00:00.2", "0000:00:00.3"], guest.Frontend.Devices.Select(d => d.Address));
    }

    [Fact]
    public async Task It_reads_a_bridge_as_a_bridge()
    {
        var (guest, backend) = await ConnectAsync(Bridge);
        await using var _ = backend;
        var bridge = Assert.Single(guest.Frontend.Devices);
        Assert.Equal((1, 1), (bridge.HeaderType, bridge.Bars.Length));
        Assert.True(bridge.Bars[0].Is64Bit);
    }

    [Fact]
    public async Task Lspci_tells_what_the_guest_sees()
    {
        var (guest, backend) = await ConnectAsync(Nic);
        await using var _ = backend;
        Assert.Equal("""
            00:00.0 Ethernet controller [0200]: Intel Corporation 82574L Gigabit Network Connection [8086:10d3]
            	Memory at fe000000 (32-bit, non-prefetchable) [size=128K]
            	Memory at fe020000 (32-bit, non-prefetchable) [size=128K]
            	I/O ports at c000 [size=32]
            	Memory at fe040000 (32-bit, non-prefetchable) [size=16K]
            	Expansion ROM at fe080000 [size=256K]
            	Capabilities: [c8] Power Management version 2
            	Capabilities: [d0] MSI: Enable- Count=1/1 Maskable- 64bit+
            	Capabilities: [e0] Express Endpoint, MSI 00
            	Capabilities: [a0] MSI-X: Enable- Count=5 Masked-
            	Capabilities: [100] Advanced Error Reporting
            	Capabilities: [140] Device Serial Number 52-54-00-ff-ff-12-34-56

            """, Lspci.Describe(guest.Frontend.Devices));
    }

    [Fact]
    public async Task Sizing_leaves_the_registers_as_they_were()
    {
        var nic = _machine.Pci[HostBdf.Parse(Nic)];
        nic.Write(0x04, 2, 0x0003);
        var before = Dump(nic);
        var (_, backend) = await ConnectAsync(Nic);
        await using var _1 = backend;
        Assert.Equal(before, Dump(nic));
    }

    [Fact]
    public async Task Requests_reach_the_device_and_answers_come_back()
    {
        var (guest, backend) = await ConnectAsync(Nic);
        await using var _ = backend;
        var frontend = guest.Frontend;
        Assert.Equal((0, 0x10D3u), Result(await frontend.ReadConfigAsync(0, 0, 0, 0x02, 2)));
        Assert.Equal((0, 0x0006u), Result(await frontend.WriteConfigAsync(0, 0, 0, 0x04, 2, 0x0006)));
        Assert.Equal(0x0006u, _machine.Pci[HostBdf.Parse(Nic)].Read(0x04, 2));
        Assert.Equal(-1, (await frontend.ReadConfigAsync(0, 0, 0x08, 0x00, 4)).Error);
        Assert.Equal(-1, (await frontend.ReadConfigAsync(1, 0, 0, 0x00, 4)).Error);
        Assert.Equal(-4, (await frontend.SendAsync(new FrontendRequest(99, 0, 0, 0))).Error);
        var msix = await frontend.SendAsync(new FrontendRequest(4, 0, 0, 0, Value: 3) { MsixEntries = [4, 0, 2] });
        Assert.Equal((0, 0u), Result(msix));
        Assert.Equal([104, 100, 102], msix.Vectors.Select(v => (int)v));
    }

    [Fact]
    public async Task A_request_nobody_answers_is_given_up_and_the_flag_taken_back()
    {
        var guest = await CreateAsync([Nic], new FrontendOptions { IsSilent = true, RequestTimeout = TimeSpan.Zero, PollTimeout = TimeSpan.FromMilliseconds(1) });
        var answer = await guest.Frontend.ReadConfigAsync(0, 0, 0, 0, 4);
        Assert.Equal((-1, true), (answer.Error, answer.TimedOut));
        Assert.Equal(0, guest.Frontend.Page.Bytes[0] & 0x1);
        Assert.Equal(1, guest.Frontend.UnansweredRequests);
    }

    [Theory]
    [InlineData(1.9, false)]
    [InlineData(2.1, true)]
    public async Task An_answer_that_comes_after_2_seconds_is_not_taken_any_more(double seconds, bool timedOut)
    {
        var clock = new HandClock();
        var options = new FrontendOptions { IsSilent = true, PollTimeout = Eventually.Patience, Clock = clock };
        var guest = await CreateAsync([Nic], options);
        using var host = _machine.OpenHost();
        var page = host.Grants.Map(guest.Id, new GrantReference(8));
        using var handle = host.EventChannels.Open();
        var port = handle.Bind(guest.Id, guest.Frontend.Port.Number);

        var request = guest.Frontend.ReadConfigAsync(0, 0, 0, 0, 4);
        await clock.TimerStarted.WaitAsync(Eventually.Patience);
        clock.Advance(TimeSpan.FromSeconds(seconds));
        new SharedPageView(page.Page).Complete(new PciAnswer(PciOpError.Success, 42));
        handle.Notify(port);

        Assert.Equal(timedOut, (await request).TimedOut);
    }

    [Fact]
    public async Task A_device_attached_later_is_found_by_scanning_again()
    {
        var (guest, backend) = await ConnectAsync(Nic);
        await using var _ = backend;
        await _machine.Toolstack.AttachAsync(guest.Id, HostBdf.Parse(Sata));
        await backend.WaitForAsync(SimulatedToolstack.FrontendOf(guest.Id) / "state", "7");
        backend.Export(Sata, 1 << 3);
        await backend.WriteAsync("state", "8");
        await guest.Frontend.WaitUntilAsync(f => f.Devices.Length == 2 && f.State == 4, Eventually.Limit);
        Assert.Equal(["0000:00:00.0", "0000:00:01.0"], guest.Frontend.Devices.Select(d => d.Address));
    }

    [Fact]
    public async Task A_device_marked_for_removal_is_dropped_before_the_frontend_answers()
    {
        var (guest, backend) = await ConnectAsync([(Nic, 0), (Sata, 1 << 3)]);
        await using var _ = backend;
        await backend.WriteAsync("vdev-0", "0000:00:00.00");
        await backend.WriteAsync("vdev-1", "0000:00:01.00");
        var detach = _machine.Toolstack.DetachAsync(guest.Id, HostBdf.Parse(Nic));
        await guest.Frontend.WaitUntilAsync(f => f.State == 7, Eventually.Limit);
        Assert.Equal(["0000:00:01.0"], guest.Frontend.Devices.Select(d => d.Address));

        backend.Withdraw(0);
        await backend.WriteAsync("state", "8");
        await guest.Frontend.WaitUntilConnectedAsync(Eventually.Limit);
        await backend.WriteAsync("state", "4");
        await detach;
        Assert.Equal(["0000:00:01.0"], guest.Frontend.Devices.Select(d => d.Address));
    }

    [Theory]
    [InlineData("5")]
    [InlineData("6")]
    public async Task When_the_backend_closes_it_drops_its_devices_and_goes_to_Closed(string state)
    {
        var (guest, backend) = await ConnectAsync(Nic);
        await using var _ = backend;
        await backend.WriteAsync("state", state);
        await guest.Frontend.WaitUntilAsync(f => f.State == 6, Eventually.Limit);
        Assert.Empty(guest.Frontend.Devices);
    }

    [Fact]
    public async Task A_root_it_cannot_read_ends_in_an_error_node_and_Closing()
    {
        var guest = await CreateAsync([Nic]);
        await using var backend = await ScriptedBackend.StartAsync(_machine, guest.Id);
        await backend.ConnectAsync(root: "nonsense");
        await guest.Frontend.WaitUntilAsync(f => f.State == 5, Eventually.Limit);
        var error = await backend.ReadAsync(Protocol.XenStoreWire.XenStorePath.Root / "local/domain" / guest.Id.Value / "error/device/pci/0/error");
        Assert.Equal("22 root-0 is 'nonsense'", error);
    }

    [Fact]
    public async Task A_misbehaving_frontend_publishes_what_it_was_told_to()
    {
        var guest = await CreateAsync([Nic], new FrontendOptions
        {
            Magic = "6",
            PublishedGrant = new GrantReference(0),
            PublishedPort = new RemotePort(4711),
            ConnectsEarly = true,
            TakesAer = false,
        });
        await using var backend = await ScriptedBackend.StartAsync(_machine, guest.Id);
        var frontend = SimulatedToolstack.FrontendOf(guest.Id);
        await backend.WaitForAsync(frontend / "state", "4");
        Assert.Equal("6", await backend.ReadAsync(frontend / "magic"));
        Assert.Equal("0", await backend.ReadAsync(frontend / "pci-op-ref"));
        Assert.Equal("4711", await backend.ReadAsync(frontend / "event-channel"));
        Assert.Equal(0, guest.Frontend.Page.Bytes[0]);
    }

    [Fact]
    public async Task A_guest_that_is_destroyed_leaves_nothing_to_map_or_bind()
    {
        var (guest, backend) = await ConnectAsync(Nic);
        await using (backend) await _machine.CrashGuestAsync(guest);
        Assert.Equal(Held.Nothing, _machine.HeldByDom0);
        using var host = _machine.OpenHost();
        Assert.Throws<Host.HostCallException>(() => host.Grants.Map(guest.Id, new GrantReference(8)));
        using var handle = host.EventChannels.Open();
        Assert.Throws<Host.HostCallException>(() => handle.Bind(guest.Id, guest.Frontend.Port.Number));
    }

    private Task<(SimulatedGuest Guest, ScriptedBackend Backend)> ConnectAsync(string device) => ConnectAsync([(device, 0)]);

    private async Task<(SimulatedGuest Guest, ScriptedBackend Backend)> ConnectAsync((string Bdf, uint DevFn)[] devices)
    {
        var guest = await CreateAsync([.. devices.Select(d => d.Bdf)]);
        var backend = await ScriptedBackend.StartAsync(_machine, guest.Id);
        foreach (var (bdf, devFn) in devices) backend.Export(bdf, devFn);
        await backend.ConnectAsync();
        await guest.Frontend.WaitUntilConnectedAsync(Eventually.Limit);
        return (guest, backend);
    }

    private Task<SimulatedGuest> CreateAsync(string[] devices, FrontendOptions? options = null) =>
        _machine.CreateGuestAsync(
            "guest", [.. devices.Select(HostBdf.Parse)],
            options ?? new FrontendOptions { RequestTimeout = Eventually.Patience });

    /// <summary>Time that passes only when told to; timers run on real time.</summary>
    private sealed class HandClock : TimeProvider
    {
        private readonly TaskCompletionSource _timerStarted = new(TaskCreationOptions.RunContinuationsAsynchronously);
        private long _ticks;

        /// <summary>Somebody has begun to wait.</summary>
        public Task TimerStarted => _timerStarted.Task;

        public override long TimestampFrequency => TimeSpan.TicksPerSecond;

        public override long GetTimestamp() => Volatile.Read(ref _ticks);

        public override ITimer CreateTimer(TimerCallback callback, object? state, TimeSpan dueTime, TimeSpan period)
        {
            _timerStarted.TrySetResult();
            return base.CreateTimer(callback, state, dueTime, period);
        }

        public void Advance(TimeSpan time) => Interlocked.Add(ref _ticks, time.Ticks);
    }

    private static (int, uint) Result(FrontendAnswer answer) => (answer.Error, answer.Value);

    private static uint[] Dump(Simulation.Pci.PciFunctionModel function) =>
        [.. Enumerable.Range(0, function.ConfigSize / 4).Select(i => function.Read(4 * i, 4))];
}
