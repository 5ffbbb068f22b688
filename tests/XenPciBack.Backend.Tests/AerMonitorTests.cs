using System.Collections.Immutable;
using Akka.Actor;
using Akka.TestKit;
using Akka.TestKit.Xunit2;
using XenPciBack.Backend.Errors;
using XenPciBack.Protocol;
using XenPciBack.Protocol.Aer;
using XenPciBack.Protocol.Slots;
using XenPciBack.Protocol.Xenbus;
using XenPciBack.Simulation.Pci.Devices;

namespace XenPciBack.Backend.Tests;

/// <summary>Which guests an error of a function concerns, and what the monitor tells its parent.</summary>
public sealed class AerMonitorTests : TestKit
{
    private const uint ReceiverError = 1 << 0, CompletionTimeout = 1 << 14, MalformedTlp = 1 << 18;

    private static readonly DomainId Web = new(1), Lab = new(2);
    private static readonly HostBdf Port = HostBdf.Parse("0000:00:1c.0"), OtherPort = HostBdf.Parse("0000:00:1d.0");
    private static readonly TimeSpan Window = TimeSpan.FromMinutes(1);

    private static readonly AerPolicies Policies =
        new(AerResponse.Kill, StepPatience: TimeSpan.FromSeconds(10), CorrectableLimit: 3, CorrectableWindow: Window);

    private readonly BareHost _bare = new();
    private readonly TestProbe _supervisor;
    private readonly TestProbe _events;

    public AerMonitorTests()
    {
        (_supervisor, _events) = (CreateTestProbe(), CreateTestProbe());
        Sys.EventStream.Subscribe(_events, typeof(BackendEvents.DeviceError));
    }

    protected override void AfterAll()
    {
        base.AfterAll();
        _bare.Dispose();
    }

    private async Task<IActorRef> StartAsync(AerPolicies? policies = null)
    {
        var monitor = _supervisor.ChildActorOf(AerMonitor.Props(_bare.Host, policies ?? Policies));
        await _supervisor.ExpectMsgAsync(AerMonitor.Listening.Instance, Eventually.Patience);
        await _supervisor.ExpectMsgAsync(AerMonitor.PastErrorsTold.Instance, Eventually.Patience);
        return monitor;
    }

    /// <summary>A guest connects, or, if isOld, was connected when the monitor started.</summary>
    private void Connect(DomainId guest, bool isOld, params (HostBdf Device, HostBdf[] Bridges)[] devices) =>
        Sys.EventStream.Publish(new BackendEvents.GuestChanged(
            guest, XenbusState.Connected,
            [.. devices.Select(one => new SlotMember(new SlotCandidate(one.Device, false, [.. one.Bridges]), default))])
        {
            IsOld = isOld,
        });

    private void Connect(DomainId guest, params HostBdf[] devices) =>
        Connect(guest, isOld: false, [.. devices.Select(device => (device, (HostBdf[])[]))]);

    /// <summary>What the supervisor has been told by the time that the monitor has handled everything.</summary>
    private async Task<AerMonitor.Act[]> ActsAsync(IActorRef monitor)
    {
        await monitor.Ask<ActorIdentity>(new Identify(null), Eventually.Patience);
        var acts = new List<AerMonitor.Act>();
        while (_supervisor.HasMessages)
            if (await _supervisor.ReceiveOneAsync(Eventually.Patience) is AerMonitor.Act act)
                acts.Add(act);
        return [.. acts];
    }

    private async Task<(DomainId, HostBdf)[]> ConcernedAsync(IActorRef monitor) =>
        [.. (await ActsAsync(monitor)).Select(act => (act.Guest, act.Device))];

    private async Task<BackendEvents.DeviceError> PublishedAsync() =>
        await _events.ExpectMsgAsync<BackendEvents.DeviceError>(Eventually.Patience);

    [Theory]
    [InlineData(AerSeverity.NonFatal, "non-fatal: Completion Timeout")]
    [InlineData(AerSeverity.Fatal, "fatal: Completion Timeout")]
    public async Task An_uncorrectable_error_concerns_the_guest_that_has_the_device_and_no_other(
        AerSeverity severity, string text)
    {
        var monitor = await StartAsync();
        Connect(Web, Nic, Sata);
        Connect(Lab, Edu);
        _bare.Aer.Inject(Nic, severity, CompletionTimeout);
        Assert.Equal(
            [new AerMonitor.Act(Web, Nic, severity, text, AerResponse.Kill) { Source = Nic }],
            await ActsAsync(monitor));
        var published = await PublishedAsync();
        Assert.Equal([new BackendEvents.DeviceOfGuest(Web, Nic)], published.Concerned.ToArray());
        Assert.True(published is { IsNews: true, EndsGuest: true });
    }

    [Fact]
    public async Task Each_device_has_the_response_of_its_policy()
    {
        var monitor = await StartAsync(Policies with
        {
            ByDevice = ImmutableDictionary<HostBdf, AerResponse>.Empty.Add(Edu, AerResponse.Detach),
        });
        Connect(Web, Nic, Edu);
        _bare.Aer.Inject(Nic, AerSeverity.NonFatal, CompletionTimeout);
        _bare.Aer.Inject(Edu, AerSeverity.NonFatal, CompletionTimeout);
        Assert.Equal(
            [(Nic, AerResponse.Kill), (Edu, AerResponse.Detach)],
            (await ActsAsync(monitor)).Select(act => (act.Device, act.Response)));
        Assert.True((await PublishedAsync()).EndsGuest);
        Assert.False((await PublishedAsync()).EndsGuest);
    }

    [Fact]
    public async Task An_error_of_a_device_that_nobody_has_is_published_and_concerns_nobody()
    {
        var monitor = await StartAsync();
        Connect(Lab, Edu);
        _bare.Aer.Inject(Nic, AerSeverity.Fatal, MalformedTlp);
        Assert.Empty(await ActsAsync(monitor));
        Assert.True(await PublishedAsync() is { Concerned.IsEmpty: true, EndsGuest: false });
    }

    [Fact]
    public async Task An_error_of_a_bridge_concerns_every_device_below_it_and_no_other()
    {
        var monitor = await StartAsync();
        Connect(Web, isOld: false, (Nic, [Port]), (Sata, [OtherPort]));
        Connect(Lab, isOld: false, (Edu, [Port, Spare]));
        _bare.Aer.Inject(Port, AerSeverity.NonFatal, CompletionTimeout);
        Assert.Equal([(Web, Nic), (Lab, Edu)], await ConcernedAsync(monitor));
    }

    [Fact]
    public async Task A_correctable_error_of_a_bridge_concerns_nobody()
    {
        var monitor = await StartAsync(Policies with { CorrectableLimit = 1 });
        Connect(Web, isOld: false, (Nic, [Port]));
        for (var i = 0; i < 5; i++) _bare.Aer.Inject(Port, AerSeverity.Correctable, ReceiverError);
        Assert.Empty(await ActsAsync(monitor));
    }

    [Fact]
    public async Task A_fatal_error_concerns_what_shares_its_port_because_the_host_resets_that()
    {
        _bare.Pci.Plug(Intel82574.At(Spare).Behind(Port));
        var monitor = await StartAsync();
        Connect(Web, isOld: false, (Spare, [Port]));
        Connect(Lab, isOld: false, (Edu, [Port]), (Sata, [OtherPort]), (Nic, []));
        _bare.Aer.Inject(Spare, AerSeverity.NonFatal, CompletionTimeout);
        Assert.Equal([(Web, Spare)], await ConcernedAsync(monitor));
        _bare.Aer.Inject(Spare, AerSeverity.Fatal, MalformedTlp);
        Assert.Equal([(Web, Spare), (Lab, Edu)], await ConcernedAsync(monitor));
    }

    [Fact]
    public async Task As_many_correctable_errors_as_the_limit_are_harmless_and_one_more_is_one_error_to_act_on()
    {
        var monitor = await StartAsync();
        Connect(Web, Nic);
        for (var i = 0; i < 3; i++) _bare.Aer.Inject(Nic, AerSeverity.Correctable, ReceiverError);
        Assert.Empty(await ActsAsync(monitor));
        for (var i = 0; i < 3; i++) _bare.Aer.Inject(Nic, AerSeverity.Correctable, ReceiverError);
        Assert.Equal(
            [new AerMonitor.Act(
                Web, Nic, AerSeverity.Correctable, "correctable: Receiver Error", AerResponse.Kill) { Source = Nic }],
            await ActsAsync(monitor));
    }

    [Fact]
    public async Task Correctable_errors_are_counted_within_a_window_that_begins_with_the_first_one()
    {
        var monitor = await StartAsync();
        Connect(Web, Nic);
        for (var i = 0; i < 3; i++) _bare.Aer.Inject(Nic, AerSeverity.Correctable, ReceiverError);
        await ActsAsync(monitor);
        _bare.Clock.Advance(Window);
        for (var i = 0; i < 3; i++) _bare.Aer.Inject(Nic, AerSeverity.Correctable, ReceiverError);
        Assert.Empty(await ActsAsync(monitor));
        _bare.Clock.Advance(Window - TimeSpan.FromTicks(1));
        _bare.Aer.Inject(Nic, AerSeverity.Correctable, ReceiverError);
        Assert.Equal([(Web, Nic)], await ConcernedAsync(monitor));
    }

    [Fact]
    public async Task Without_a_limit_any_number_of_correctable_errors_is_harmless()
    {
        var monitor = await StartAsync(Policies with { CorrectableLimit = 0 });
        Connect(Web, Nic);
        for (var i = 0; i < 1000; i++) _bare.Aer.Inject(Nic, AerSeverity.Correctable, ReceiverError);
        Assert.Empty(await ActsAsync(monitor));
    }

    [Fact]
    public async Task Of_a_storm_each_error_is_published_and_the_first_of_each_power_of_ten_is_news()
    {
        var monitor = await StartAsync();
        Connect(Web, Nic);
        for (var i = 0; i < 100; i++) _bare.Aer.Inject(Nic, AerSeverity.NonFatal, CompletionTimeout);
        Assert.Equal(100, (await ActsAsync(monitor)).Length);
        var news = new List<int>();
        for (var i = 1; i <= 100; i++)
            if ((await PublishedAsync()).IsNews)
                news.Add(i);
        Assert.Equal([1, 10, 100], news);
    }

    [Fact]
    public async Task The_worst_error_of_a_device_from_before_its_guest_was_found_concerns_that_guest_once()
    {
        _bare.Aer.Inject(Nic, AerSeverity.NonFatal, CompletionTimeout);
        _bare.Aer.Inject(Nic, AerSeverity.Fatal, MalformedTlp);
        _bare.Aer.Inject(Nic, AerSeverity.NonFatal, CompletionTimeout);
        var monitor = await StartAsync();
        Connect(Web, isOld: true, (Nic, []));
        Connect(Web, isOld: true, (Nic, []));
        Connect(Lab, isOld: true, (Edu, []));
        Assert.Equal(
            [new AerMonitor.Act(Web, Nic, AerSeverity.Fatal, "fatal: Malformed TLP", AerResponse.Kill)],
            await ActsAsync(monitor));
    }

    [Fact]
    public async Task An_error_from_before_a_guest_was_created_does_not_concern_it()
    {
        var monitor = await StartAsync();
        _bare.Aer.Inject(Nic, AerSeverity.Fatal, MalformedTlp);
        Connect(Web, Nic);
        // Nor one that gets the device after it and was connected when it is announced again.
        Sys.EventStream.Publish(new BackendEvents.GuestGone(Web));
        Connect(Lab, isOld: true, (Nic, []));
        Assert.Empty(await ActsAsync(monitor));
    }

    [Fact]
    public async Task A_guest_that_is_gone_or_has_given_its_device_back_is_not_concerned()
    {
        var monitor = await StartAsync();
        Connect(Web, Nic);
        Connect(Lab, Edu);
        Connect(Lab, Sata);
        Sys.EventStream.Publish(new BackendEvents.GuestGone(Web));
        foreach (var device in (HostBdf[])[Nic, Edu, Sata]) _bare.Aer.Inject(device, AerSeverity.Fatal, MalformedTlp);
        Assert.Equal([(Lab, Sata)], await ConcernedAsync(monitor));
    }

    [Fact]
    public async Task The_parent_is_told_how_many_acts_an_error_leads_to_and_the_error_is_not_handled_yet()
    {
        var monitor = await StartAsync();
        Connect(Web, isOld: false, (Nic, [Port]));
        Connect(Lab, isOld: false, (Edu, [Port]));
        _bare.Aer.Inject(Port, AerSeverity.NonFatal, CompletionTimeout);
        await _supervisor.ExpectMsgAsync(new AerMonitor.Met(Port, Acts: 2), Eventually.Patience);
        Assert.Equal([Port, Port], (await ActsAsync(monitor)).Select(act => act.Source));
        Assert.Equal([Port], _bare.Aer.Unhandled);
    }

    [Fact]
    public async Task An_error_that_concerns_nobody_is_handled_at_once()
    {
        var monitor = await StartAsync();
        _bare.Aer.Inject(Nic, AerSeverity.Fatal, MalformedTlp);
        _bare.Aer.Inject(Nic, AerSeverity.Correctable, ReceiverError);
        await ActsAsync(monitor);
        Assert.Empty(_bare.Aer.Unhandled);
    }

    [Fact]
    public async Task An_error_concerns_a_guest_that_has_not_been_heard_of_and_has_the_device_on_record()
    {
        _bare.Host.DeviceRecords.Open(Web, Nic).Dispose();
        _bare.Aer.Inject(Nic, AerSeverity.NonFatal, CompletionTimeout);
        var monitor = _supervisor.ChildActorOf(AerMonitor.Props(_bare.Host, Policies));
        await _supervisor.ExpectMsgAsync(AerMonitor.Listening.Instance, Eventually.Patience);
        await _supervisor.ExpectMsgAsync(new AerMonitor.Met(Nic, Acts: 1), Eventually.Patience);
        Assert.Equal(Web, (await _supervisor.ExpectMsgAsync<AerMonitor.Act>(Eventually.Patience)).Guest);
        await _supervisor.ExpectMsgAsync(AerMonitor.PastErrorsTold.Instance, Eventually.Patience);
        Assert.Equal([Nic], _bare.Aer.Unhandled);
        // What is heard of a guest counts from then on.
        Connect(Web, Edu);
        _bare.Aer.Inject(Nic, AerSeverity.NonFatal, CompletionTimeout);
        Assert.Empty(await ActsAsync(monitor));
    }

    [Fact]
    public async Task A_monitor_that_has_ended_does_not_watch_any_more()
    {
        var monitor = await StartAsync();
        Assert.Equal(1, _bare.Aer.Watchers);
        await monitor.GracefulStop(Eventually.Patience);
        Assert.Equal(0, _bare.Aer.Watchers);
    }
}
