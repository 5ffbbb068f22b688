using System.Collections.Immutable;
using Akka.Actor;
using Akka.Event;
using XenPciBack.Backend.DataPlane;
using XenPciBack.Backend.Status;
using XenPciBack.Protocol;
using XenPciBack.Protocol.Aer;
using XenPciBack.Protocol.ConfigSpace;
using XenPciBack.Protocol.Interrupts;
using XenPciBack.Protocol.SharedPage;

namespace XenPciBack.Backend.Devices;

/// <summary>Owns one device of one guest: performs its requests one at a time, and gives the device back at the end.</summary>
internal sealed class DeviceActor : ReceiveActor
{
    private static readonly TimeSpan HostResetPatience = TimeSpan.FromSeconds(5);

    private readonly AssignedDevice _device;
    private readonly IPciFunction _function;
    private readonly VirtualConfigSpace _config;
    private readonly MessageInterrupts _interrupts;
    private readonly ConfigPolicy _policy;
    private readonly DeviceMeter _meter;
    private readonly ILoggingAdapter _log;
    private readonly HashSet<string> _reasonsLogged = [];

    // While the device is being brought back. A guest has one request out at most.
    private readonly Queue<(object Message, IActorRef Sender)> _waiting = new();
    private bool _warnedOfDroppedWrite;
    private bool _handedOver;
    private bool _isGone;
    private bool _isFresh;

    // Read from the device when a trace first asks for names.
    private RegisterNames? _names;

    /// <summary>From now on the device is this daemon's to serve; before any request.</summary>
    public sealed record Begin
    {
        public static readonly Begin Instance = new();
    }

    /// <summary>To the parent: an error that the daemon before this one did not live to see the guest over.</summary>
    public sealed record Unsettled(HostBdf Device, AerSeverity Severity);

    /// <summary>A request somebody watches; answered by <see cref="TracedAnswer"/>.</summary>
    /// <param name="Describe">Say first what device it is.</param>
    public sealed record TracedRequest(PciRequest Request, bool Describe);

    /// <param name="Register">Where a config access begins, by name.</param>
    public sealed record TracedAnswer(
        HostBdf Device, PciAnswer Answer, string Register, ImmutableArray<FieldOutcome> Fields, ImmutableArray<DeviceAccess> Accesses, DeviceDescription? Description);

    /// <summary>Reset the device and give it back; answered to the parent by <see cref="Released"/>, then the actor ends.</summary>
    public sealed record Release
    {
        public static readonly Release Instance = new();
    }

    /// <summary>Give the device the registers back that its guest had set up; answered by <see cref="RecoveryInput.DeviceRestored"/>.</summary>
    /// <param name="Reset">Reset it first; false: the host does that.</param>
    public sealed record Restore(bool Reset);

    private sealed record Restored(IActorRef Asker, string? Fault);

    /// <summary>What the guest is being helped over, so that it is known to whoever takes the guest up; null: nothing any more.</summary>
    public sealed record Remember(AerSeverity? Error);

    /// <summary>To the parent, once: the host does not find the device any more.</summary>
    public sealed record Gone(HostBdf Device);

    /// <param name="NotReset">null if the device was reset, else why not.</param>
    public sealed record Released(HostBdf Device, string? NotReset)
    {
        /// <summary>0, or the errno with which the hypervisor kept a PIRQ of the guest.</summary>
        public int StillMapped { get; init; }

        /// <summary>Says how it went.</summary>
        public void Log(ILoggingAdapter log)
        {
            log = log.About(Device);
            if (StillMapped != 0) log.Warning("A PIRQ of the guest stays mapped: {Error}", Errnos.Name(StillMapped));
            log = log.As(LogEvents.DeviceReleased);
            if (NotReset is null) log.Info("Released: reset and given back");
            else log.Warning("Released: given back without a reset, {Reason}", NotReset);
        }
    }

    public DeviceActor(AssignedDevice device, DeviceMeter meter)
    {
        (_function, _policy, _config, _interrupts) = (device.Function, device.Policy, device.Config, device.Interrupts);
        (_device, _meter, _isFresh) = (device, meter, !device.IsTakenUp);
        _log = Context.GetLogger().About(device.Guest).About(_function.Bdf);
        Serving();
    }

    private void Serving()
    {
        Receive<PciRequest>(request => Sender.Tell(Perform(request)));
        Receive<TracedRequest>(traced => Sender.Tell(PerformTraced(traced)));
        Receive<Begin>(_ => OnBegin());
        Receive<Remember>(remember => _device.Record.UnsettledError = remember.Error);
        Receive<Restore>(restore => BringBack(restore.Reset));
        Receive<GetConfigView>(asked =>
        {
            var device = _function.ReadAll();
            Sender.Tell(ConfigViews.Of(asked.Domain, _function.Bdf, device, _config.ShowRuled(device.AsSpan())));
        });
        Receive<Release>(_ => GiveBack());
        Receive<Released>(released =>
        {
            Context.Parent.Tell(released);
            Context.Stop(Self);
        });
    }

    // The function belongs to the thread that brings it back; its guest waits, the others do not.
    private void Restoring()
    {
        Receive<Restored>(restored =>
        {
            restored.Asker.Tell(new RecoveryInput.DeviceRestored(restored.Fault));
            Become(Serving);
            while (_waiting.TryDequeue(out var next)) Self.Tell(next.Message, next.Sender);
        });
        ReceiveAny(message => _waiting.Enqueue((message, Sender)));
    }

    public static Props Props(AssignedDevice device, DeviceMeter meter) =>
        Akka.Actor.Props.Create(() => new DeviceActor(device, meter));

    /// <summary>Whatever the actor is asked may end in an access, which lasts as long as the device likes.</summary>
    protected override bool AroundReceive(Receive receive, object message)
    {
        var thread = LoopThread.Current;
        thread?.BeginAccess(_meter.Access);
        try
        {
            return base.AroundReceive(receive, message);
        }
        finally
        {
            thread?.EndAccess();
        }
    }

    protected override void PreStart()
    {
        if (_policy.Permissive)
            _log.Warning("The device is permissive: what the guest writes to registers without a rule reaches it");
        if (_policy.KeepLineSilent)
            _log.As(LogEvents.LineSilent)
                .Warning("The device keeps its interrupt line silent, because drivers of this host use it; "
                    + "MSI and MSI-X work");
        if (_policy.AllowInterruptControl) _log.Info("The guest may switch the device's interrupts itself");
        foreach (var quirk in _policy.Quirks.Except(_config.IgnoredQuirks)) _log.Info("Quirk {Quirk}", quirk);
        foreach (var quirk in _config.IgnoredQuirks)
            _log.Warning("Quirk {Quirk} has no effect, because that register has a rule of its own", quirk);
    }

    protected override void PostStop()
    {
        // Stopped without a release: the daemon is ending, or an actor has failed. The guest may go on using the device, and the
        // next daemon or actor takes it up as it is, so nothing is reset.
        if (!_handedOver) _device.Close();
    }

    private void OnBegin()
    {
        _interrupts.TakeUp();
        _meter.InterruptsBy(_interrupts);
        if (_device.Record.UnsettledError is { } severity) Context.Parent.Tell(new Unsettled(_function.Bdf, severity));
    }

    private TracedAnswer PerformTraced(TracedRequest traced)
    {
        var request = traced.Request;
        var description = traced.Describe ? Describe() : null;
        var register = request.Code is PciOpCode.ConfRead or PciOpCode.ConfWrite ? (_names ??= new RegisterNames((description?.Config ?? _function.ReadAll()).AsSpan())).NameOf(request.Offset) : "";
        var fields = ImmutableArray.CreateBuilder<FieldOutcome>();
        var log = new DeviceAccessLog();
        LogTo(log);
        try
        {
            var answer = Perform(request, fields);
            return new TracedAnswer(_function.Bdf, answer, register, fields.ToImmutable(), log.Accesses, description);
        }
        finally
        {
            LogTo(null);
        }
    }

    private void LogTo(DeviceAccessLog? log)
    {
        _config.LogTo(log);
        _interrupts.LogTo(log);
    }

    private DeviceDescription Describe() => new(_function.Facts, _function.Irq, _policy, _isFresh, _function.ReadAll());

    private PciAnswer Perform(PciRequest request, ICollection<FieldOutcome>? trace = null)
    {
        _isFresh = false;
        switch (request.Code)
        {
            case PciOpCode.ConfRead:
                _meter.Access.Describe("a read of register", request.Offset);
                var error = _config.Read(request.Offset, request.Size, out var value, trace);
                Notice(error);
                return new PciAnswer(error, value);
            case PciOpCode.ConfWrite:
                _meter.Access.Describe("a write to register", request.Offset);
                var result = _config.Write(request.Offset, request.Size, request.Value, trace);
                Notice(result.Error);
                if (result.Error == PciOpError.Success) _meter.Wrote(result.Fate);
                if (result.Dropped) WarnOfDroppedWrite(request);
                return new PciAnswer(result.Error, request.Value);
            case PciOpCode.EnableMsi or PciOpCode.DisableMsi or PciOpCode.EnableMsix or PciOpCode.DisableMsix:
                _meter.Access.Describe("a change of its message interrupts");
                var answer = _interrupts.Perform(request);
                _meter.InterruptsBy(_interrupts);
                Report(request, answer);
                return answer;
            default:
                return new PciAnswer(PciOpError.NotImplemented, request.Value);
        }
    }

    private void Notice(PciOpError error)
    {
        if (error != PciOpError.DeviceNotFound || _isGone) return;
        _isGone = true;
        Context.Parent.Tell(new Gone(_function.Bdf));
    }

    // Each reason once for each device and guest: a guest can be refused without end.
    private void Report(PciRequest request, in PciAnswer answer)
    {
        if (answer.Reason is { } reason && _reasonsLogged.Add(reason))
            _log.Warning("{Request} answered {Error}: {Reason}", request.Code, (int)answer.Error, reason);
        else if (answer.Error == PciOpError.Success && request.Code is PciOpCode.EnableMsi or PciOpCode.EnableMsix)
            _log.Debug("{Request}: {Vectors} vectors", request.Code, Math.Max(1, answer.Vectors.Length));
    }

    // Once for each device and guest: a guest can repeat the write without end.
    private void WarnOfDroppedWrite(PciRequest request)
    {
        if (_warnedOfDroppedWrite) return;
        _warnedOfDroppedWrite = true;
        _log.Warning("The guest wrote {Size} bytes to read-only config space at {Offset}; dropped. Harmless unless the driver fails; then see the permissive option in xl-pci-configuration(5)",
            request.Size, $"0x{request.Offset:x}");
    }

    private void BringBack(bool reset)
    {
        var asker = Sender;
        Become(Restoring);
        Task.Run(() => Recover(reset)).PipeTo(
            Self, success: fault => new Restored(asker, fault), failure: e => new Restored(asker, e.Message));
    }

    private string? Recover(bool reset)
    {
        if (_config.Recover(reset || !HostResets()) is { } fault) return fault;
        return _interrupts.Recover() is not 0 and var errno ? $"its message interrupts cannot be set up again: {Errnos.Name(errno)}" : null;
    }

    // The host speaks of a fatal error before it resets what is below the port, and does not say when it has. While it does, a read
    // waits. A host that knows no way to reset it leaves that to us.
    private bool HostResets()
    {
        for (var began = _device.Clock.GetTimestamp(); !_config.IsReset; Thread.Sleep(10))
            if (_device.Clock.GetElapsedTime(began) > HostResetPatience) return false;
        return true;
    }

    private void GiveBack()
    {
        _handedOver = true;
        // It has no place on the thread that serves other guests.
        Task.Run(_device.GiveBack).PipeTo(Self, success: released => released, failure: e => new Released(_function.Bdf, e.Message));
    }
}
