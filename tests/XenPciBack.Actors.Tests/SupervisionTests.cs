using XenPciBack.Host;
using XenPciBack.Protocol;
using XenPciBack.Protocol.Aer;
using XenPciBack.Simulation;
using XenPciBack.Simulation.Faults;
using XenPciBack.Simulation.Guests;
using XenPciBack.Simulation.Pci.Devices;

namespace XenPciBack.Actors.Tests;

/// <summary>
/// Every row of the supervision table (src/XenPciBack.Actors/Supervision.cs) against every state in which guest and device can be:
/// what fails ends whom it should and nobody else, whose requests are counted meanwhile.
/// </summary>
public class SupervisionTests : BackendTest
{
    private const uint CompletionTimeout = 1 << 14;
    private const uint UnknownRequest = 77;
    private const int Connected = 4, Closed = 6;
    private const uint Detected = 6;
    private const int NeedsReset = 3, Recovered = 5;

    // Read from the device at each request, unlike its identity.
    private const int Revision = 0x08;
    private const uint NicRevision = 0x0200_0000, EduRevision = 0x00FF_0010;

    private static readonly HostBdf Card = HostBdf.Parse("0000:06:00.0"), Second = HostBdf.Parse("0000:07:00.0");

    /// <summary>Where the guest's connection is.</summary>
    public enum Guest
    {
        /// <summary>Its devices are opened for it, and it has not published its page yet.</summary>
        Unconnected,
        Connected,

        /// <summary>A second device is being opened for it.</summary>
        Attaching,

        /// <summary>A second device is being reset on its way back to the host.</summary>
        Detaching,

        /// <summary>Its driver has been asked about an error of the device, and has not answered yet.</summary>
        Asked,

        /// <summary>The device is being reset and restored, as its driver has wanted.</summary>
        Restoring,

        /// <summary>It has let go of its devices, and may come back.</summary>
        Closed,

        /// <summary>It has been crashed for the device, and nobody has taken it down yet.</summary>
        Crashed,
    }

    /// <summary>What the guest has done with the device.</summary>
    public enum Device
    {
        Untouched,
        Msi,
        Msix,
        Asleep,
    }

    public enum Failure
    {
        AccessFails,
        NonFatalError,
        FatalError,
        DeviceGone,
        DeviceActorFails,
        GuestActorFails,
        MonitorFails,
        GuestBreaksProtocol,
        StoreRefuses,
        StoreRestarts,
        DaemonEnds,
    }

    public static TheoryData<Guest, Device, Failure> Everything
    {
        get
        {
            var cases = new TheoryData<Guest, Device, Failure>();
            foreach (var guest in Enum.GetValues<Guest>())
                foreach (var device in Enum.GetValues<Device>())
                    foreach (var failure in Enum.GetValues<Failure>())
                        if (IsPossible(guest, device, failure))
                            cases.Add(guest, device, failure);
            return cases;
        }
    }

    protected override TimeSpan? ToolstackPatience => TimeSpan.FromMilliseconds(200);

    private static bool IsPossible(Guest guest, Device device, Failure failure) => failure switch
    {
        _ when guest is Guest.Unconnected or Guest.Crashed && device != Device.Untouched => false,
        // Only a request of the guest makes them happen.
        Failure.AccessFails or Failure.DeviceGone or Failure.DeviceActorFails or Failure.GuestActorFails or Failure.GuestBreaksProtocol => IsServed(guest) && guest != Guest.Restoring,
        // The toolstack is at the guest's directory itself, and the backend waits for something else.
        Failure.StoreRefuses => guest is not (Guest.Attaching or Guest.Detaching),
        _ => true,
    };

    private static bool IsServed(Guest guest) => guest is Guest.Connected or Guest.Attaching or Guest.Detaching or Guest.Asked or Guest.Restoring;

    // A recovery under way is for non-fatal errors; a worse one ends it.
    private static bool IsEnd(Guest guest, Failure failure) => failure is Failure.FatalError or Failure.DeviceGone || (failure == Failure.NonFatalError && guest is not (Guest.Asked or Guest.Restoring));

    [Theory]
    [MemberData(nameof(Everything))]
    public async Task What_fails_ends_whom_it_should_and_nobody_else(Guest state, Device device, Failure failure)
    {
        Xen.OnCrash = OnCrash.Preserve;
        foreach (var card in (HostBdf[])[Card, Second]) Xen.Pci.Plug(Intel82574.At(card).Resettable());
        var settings = state is Guest.Asked or Guest.Restoring ? Settings with { Aer = Settings.Aer with { Response = AerResponse.RecoverThenKill, StepPatience = TimeSpan.FromHours(1) } } : Settings;
        await RestartBackendAsync(settings);
        await using var others = await BystandersAsync();
        await using var scene = await SetAsync(state, device);
        var before = MessagesOf(scene.Guest);

        await LetFailAsync(failure, scene, settings);

        if (state == Guest.Crashed || IsEnd(state, failure))
        {
            await EventuallyAsync(true, () => scene.Guest.IsCrashed);
            await EventuallyAsync(true, () => Quarantine.Find(Card) is not null);
            scene.LetGo();
            await EventuallyAsync(true, () => Xen.Pci[Card].Resets > 0);
        }
        else
        {
            scene.LetGo();
            await EventuallyAsync(before, () => MessagesOf(scene.Guest));
            Assert.False(scene.Guest.IsCrashed);
            Assert.Null(Quarantine.Find(Card));
            if (IsServed(state)) await EventuallyAsync(NicRevision, async () => (await scene.Guest.Frontend.ReadConfigAsync(0, 0, 0, Revision, 4)).Value);
        }

        await scene.DisposeAsync();
        await Xen.DestroyGuestAsync(scene.Guest);
        await others.ExpectNoLossAsync();
        await EventuallyAsync(new Held(Pages: 2, Ports: 2, Functions: 2), () => Xen.HeldByDom0);
        await EventuallyAsync(true, async () => await Store.ListAsync(BackendOf(scene.Guest).Parent) is null);
        Quarantine.Clear(Card);
        Xen.Pci[Card].IsPresent = true;
        Assert.Equal(NicRevision, await ReadConfigAsync(await ConnectedGuestAsync("next", Card), 0, Revision, 4));
    }

    /// <summary>The device's message interrupts as the device and the hypervisor have them.</summary>
    private (uint Msi, uint Msix, int Pirqs) MessagesOf(SimulatedGuest guest) =>
        (Xen.Pci[Card].Read(0xD2, 2) & 0x0001, Xen.Pci[Card].Read(0xA2, 2) & 0x8000, Xen.Pirqs.Of(guest.Id).Length);

    private async Task<Scene> SetAsync(Guest state, Device device)
    {
        var driver = new TaskCompletionSource<int?>();
        if (state != Guest.Asked) driver.SetResult(NeedsReset);
        var guest = await Xen.CreateGuestAsync("victim", state == Guest.Detaching ? [Card, Second] : [Card], new FrontendOptions
        {
            IsSilent = state == Guest.Unconnected, Driver = async question => question.Command == Detected ? await driver.Task : Recovered, RequestTimeout = Patience, PollTimeout = TimeSpan.FromMilliseconds(100),
        });
        var scene = new Scene(guest, driver);
        if (state == Guest.Unconnected)
        {
            await EventuallyAsync("3", () => ReadAsync(guest, "state"));
            return scene;
        }
        await guest.Frontend.WaitUntilConnectedAsync(Soon());
        await UseAsync(guest, device);
        switch (state)
        {
            case Guest.Attaching:
                var opening = scene.Hold(Xen.Faults.Arm(FaultPoint.DeviceOpen, FaultKind.Stall, device: Second));
                await Xen.Toolstack.AttachAsync(guest.Id, Second);
                await EventuallyAsync(1, () => opening.Struck);
                break;
            case Guest.Detaching:
                var reset = scene.Hold(Xen.Faults.Arm(FaultPoint.DeviceReset, FaultKind.Stall, device: Second));
                _ = Xen.Toolstack.DetachAsync(guest.Id, Second).ContinueWith(detached => detached.Exception, TaskScheduler.Default);
                await EventuallyAsync(1, () => reset.Struck);
                break;
            case Guest.Asked:
                Xen.Aer.Inject(Card, AerSeverity.NonFatal, CompletionTimeout);
                await EventuallyAsync(1, () => guest.Frontend.Questions.Count);
                break;
            case Guest.Restoring:
                var restoring = scene.Hold(Xen.Faults.Arm(FaultPoint.DeviceReset, FaultKind.Stall, device: Card));
                Xen.Aer.Inject(Card, AerSeverity.NonFatal, CompletionTimeout);
                await EventuallyAsync(1, () => restoring.Struck);
                break;
            case Guest.Closed:
                await guest.Frontend.CloseAsync();
                await guest.Frontend.WriteStateAsync(Closed);
                await EventuallyAsync("6", () => ReadAsync(guest, "state"));
                break;
            case Guest.Crashed:
                Xen.Aer.Inject(Card, AerSeverity.Fatal, CompletionTimeout);
                await EventuallyAsync(true, () => guest.IsCrashed);
                break;
        }
        return scene;
    }

    private static async Task UseAsync(SimulatedGuest guest, Device device)
    {
        var done = device switch
        {
            Device.Msi => await AskAsync(guest, EnableMsi),
            Device.Asleep => await guest.Frontend.WriteConfigAsync(0, 0, 0, 0xCC, 2, 0x0003),
            _ => default,
        };
        if (device == Device.Msix)
        {
            await TurnOnMemoryAsync(guest);
            done = await EnableMsixAsync(guest, 0, 1);
        }
        Assert.Equal(0, done.Error);
    }

    private async Task LetFailAsync(Failure failure, Scene scene, BackendSettings settings)
    {
        var frontend = scene.Guest.Frontend;
        switch (failure)
        {
            case Failure.AccessFails:
                Xen.Faults.Arm(FaultPoint.ConfigRead, device: Card);
                Assert.Equal(-5, (await frontend.ReadConfigAsync(0, 0, 0, Revision, 4)).Error);
                break;
            case Failure.NonFatalError or Failure.FatalError:
                Xen.Aer.Inject(Card, failure == Failure.FatalError ? AerSeverity.Fatal : AerSeverity.NonFatal, CompletionTimeout);
                break;
            case Failure.DeviceGone:
                Xen.Pci[Card].IsPresent = false;
                _ = frontend.ReadConfigAsync(0, 0, 0, Revision, 4);
                break;
            case Failure.DeviceActorFails:
                Xen.Faults.Arm(FaultPoint.ConfigRead, FaultKind.Bug, device: Card);
                scene.LetGo();
                Assert.Equal((0, NicRevision), await ReadAsync(frontend));
                break;
            case Failure.GuestActorFails:
                Xen.Faults.Arm(FaultPoint.Notify, FaultKind.Bug, guest: scene.Guest.Id);
                scene.LetGo();
                Assert.Equal((0, NicRevision), await ReadAsync(frontend));
                break;
            case Failure.MonitorFails:
                Xen.Aer.Tell(new AerReport.Met(null!));
                await EventuallyAsync(1, () => Xen.Aer.Watchers);
                break;
            case Failure.GuestBreaksProtocol:
                Assert.Equal(-4, (await AskAsync(scene.Guest, UnknownRequest)).Error);
                break;
            case Failure.StoreRefuses:
                var refusing = Xen.Faults.Arm(FaultPoint.StoreReply, guest: scene.Guest.Id, times: 3);
                await frontend.WriteStateAsync(scene.Guest.IsCrashed ? Connected : frontend.State);
                await EventuallyAsync(3, () => refusing.Struck);
                break;
            case Failure.StoreRestarts:
                await Xen.RestartXenStoredAsync();
                break;
            case Failure.DaemonEnds:
                var isRecovering = settings != Settings;
                // What its threads were at ends with it; the one that resets the device is held for good.
                if (!isRecovering) scene.LetGo();
                await StopBackendAsync();
                var recovered = CreateTestProbe();
                Sys.EventStream.Subscribe(recovered, typeof(BackendEvents.DeviceRecovered));
                await StartBackendAsync(settings: settings);
                scene.Driver.TrySetResult(NeedsReset);
                if (isRecovering) await recovered.ExpectMsgAsync<BackendEvents.DeviceRecovered>(Patience);
                break;
        }
    }

    private static async Task<(int Error, uint Value)> ReadAsync(SimulatedFrontend frontend)
    {
        var answer = await frontend.ReadConfigAsync(0, 0, 0, Revision, 4);
        return (answer.Error, answer.Value);
    }

    private async Task<Bystanders> BystandersAsync()
    {
        var options = new FrontendOptions { RequestTimeout = Patience, PollTimeout = TimeSpan.FromMilliseconds(100) };
        SimulatedGuest[] guests = [await Xen.CreateGuestAsync("web", [Nic], options), await Xen.CreateGuestAsync("lab", [Edu], options)];
        foreach (var guest in guests) await guest.Frontend.WaitUntilConnectedAsync(Soon());
        return new Bystanders(guests);
    }

    /// <summary>A guest to which something is about to happen, and the calls that are held up meanwhile.</summary>
    private sealed class Scene(SimulatedGuest guest, TaskCompletionSource<int?> driver) : IAsyncDisposable
    {
        private readonly List<ArmedFault> _held = [];

        public SimulatedGuest Guest => guest;

        /// <summary>What the driver will answer when it is asked about an error.</summary>
        public TaskCompletionSource<int?> Driver => driver;

        public ArmedFault Hold(ArmedFault fault)
        {
            _held.Add(fault);
            return fault;
        }

        public void LetGo()
        {
            foreach (var fault in _held) fault.Dispose();
        }

        public ValueTask DisposeAsync()
        {
            LetGo();
            driver.TrySetResult(null);
            return ValueTask.CompletedTask;
        }
    }

    /// <summary>Guests that read config space without a pause.</summary>
    private sealed class Bystanders : IAsyncDisposable
    {
        private readonly CancellationTokenSource _stop = new();
        private readonly SimulatedGuest[] _guests;
        private readonly Task<int>[] _reading;

        public Bystanders(SimulatedGuest[] guests)
        {
            _guests = guests;
            _reading = [.. guests.Select(guest => Task.Run(() => ReadAsync(guest, _stop.Token)))];
        }

        public async Task ExpectNoLossAsync()
        {
            await _stop.CancelAsync();
            foreach (var (guest, reading) in _guests.Zip(_reading))
            {
                Assert.InRange(await reading, 1, int.MaxValue);
                Assert.False(guest.IsCrashed);
                Assert.Equal(0, guest.Frontend.UnansweredRequests);
            }
        }

        public async ValueTask DisposeAsync()
        {
            await _stop.CancelAsync();
            await ((Task)Task.WhenAll(_reading)).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }

        private static async Task<int> ReadAsync(SimulatedGuest guest, CancellationToken stop)
        {
            var revision = guest.Name == "web" ? NicRevision : EduRevision;
            var reads = 0;
            for (; !stop.IsCancellationRequested || reads == 0; reads++)
            {
                Assert.Equal(revision, await ReadConfigAsync(guest, 0, Revision, 4));
                await Task.Delay(1, CancellationToken.None);
            }
            return reads;
        }
    }
}
