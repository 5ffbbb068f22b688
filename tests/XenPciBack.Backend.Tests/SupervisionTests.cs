using XenPciBack.Backend.Errors;
using XenPciBack.Host;
using XenPciBack.Protocol;
using XenPciBack.Protocol.Aer;
using XenPciBack.Simulation;
using XenPciBack.Simulation.Faults;
using XenPciBack.Simulation.Guests;
using XenPciBack.Simulation.Pci.Devices;

namespace XenPciBack.Backend.Tests;

/// <summary>
/// Every row of the supervision table (FailureTable.cs) against every state in which guest and
/// device can be: what fails ends whom it should and nobody else, whose requests are counted meanwhile.
/// </summary>
public abstract class SupervisionTests
{
    private const uint CompletionTimeout = 1 << 14;
    private const uint UnknownRequest = 77;
    private const int Connected = 4, Closed = 6;
    private const uint Detected = 6;
    private const int NeedsReset = 3, Recovered = 5;

    private static readonly HostBdf Card = Spare, Second = HostBdf.Parse("0000:07:00.0");

    private static readonly BackendSettings Settings =
        TestDom0.Settings with { StoreRetry = TimeSpan.FromMilliseconds(5) };

    private static readonly BackendSettings Recovering = Settings with
    {
        Aer = Settings.Aer with { Response = AerResponse.RecoverThenKill, StepPatience = TimeSpan.FromHours(1) },
    };

    // A guest on a busy machine may be kept waiting; it must never be forgotten.
    private static readonly FrontendOptions Patient = new()
    {
        RequestTimeout = Eventually.Patience, PollTimeout = TimeSpan.FromMilliseconds(100),
    };

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

        /// <summary>Its frontend has closed, and may come back.</summary>
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

    /// <summary>Every device and failure that is possible in a state of the guest.</summary>
    protected static TheoryData<Device, Failure> CasesOf(Guest state)
    {
        var cases = new TheoryData<Device, Failure>();
        foreach (var device in Enum.GetValues<Device>())
            foreach (var failure in Enum.GetValues<Failure>())
                if (IsPossible(state, device, failure))
                    cases.Add(device, failure);
        return cases;
    }

    private static bool IsPossible(Guest guest, Device device, Failure failure) => failure switch
    {
        _ when guest is Guest.Unconnected or Guest.Crashed && device != Device.Untouched => false,
        // Only a request of the guest makes them happen.
        Failure.AccessFails or Failure.DeviceGone or Failure.DeviceActorFails or Failure.GuestActorFails
            or Failure.GuestBreaksProtocol => IsServed(guest) && guest != Guest.Restoring,
        // The toolstack is at the guest's directory itself, and the backend waits for something else.
        Failure.StoreRefuses => guest is not (Guest.Attaching or Guest.Detaching),
        _ => true,
    };

    private static bool IsServed(Guest guest) =>
        guest is Guest.Connected or Guest.Attaching or Guest.Detaching or Guest.Asked or Guest.Restoring;

    // A recovery under way is for non-fatal errors; a worse one ends it.
    private static bool IsEnd(Guest guest, Failure failure) =>
        failure is Failure.FatalError or Failure.DeviceGone
        || (failure == Failure.NonFatalError && guest is not (Guest.Asked or Guest.Restoring));

    protected static async Task TryAsync(Guest state, Device device, Failure failure)
    {
        var settings = state is Guest.Asked or Guest.Restoring ? Recovering : Settings;
        // The toolstack waits in vain for a guest that is not connected.
        await using var dom0 = await TestDom0.StartAsync(settings, toolstackPatience: TimeSpan.FromMilliseconds(200));
        dom0.Xen.OnCrash = OnCrash.Preserve;
        foreach (var card in (HostBdf[])[Card, Second]) dom0.Xen.Pci.Plug(Intel82574.At(card).Resettable());
        await using var others = await BystandersAsync(dom0);
        await using var scene = await SetAsync(dom0, state, device);
        var before = MessagesOf(dom0, scene.Guest);

        await LetFailAsync(dom0, failure, scene, settings);

        if (state == Guest.Crashed || IsEnd(state, failure))
        {
            await Eventually.IsTrueAsync(() => scene.Guest.IsCrashed);
            await Eventually.IsTrueAsync(() => dom0.Quarantine.Find(Card) is not null);
            scene.Release();
            await Eventually.IsTrueAsync(() => dom0.Xen.Pci[Card].Resets > 0);
        }
        else
        {
            scene.Release();
            await Eventually.EqualAsync(before, () => MessagesOf(dom0, scene.Guest));
            Assert.False(scene.Guest.IsCrashed);
            Assert.Null(dom0.Quarantine.Find(Card));
            if (IsServed(state)) await Eventually.EqualAsync(NicRevision, () => RevisionAsync(scene.Guest));
        }

        await scene.DisposeAsync();
        await dom0.Xen.DestroyGuestAsync(scene.Guest);
        await others.ExpectNoLossAsync();
        await Eventually.EqualAsync(new Held(Pages: 2, Ports: 2, Functions: 2), () => dom0.Xen.HeldByDom0);
        var directory = TestDom0.BackendOf(scene.Guest).Parent;
        await Eventually.IsTrueAsync(async () => await dom0.Store.ListAsync(directory) is null);
        dom0.Quarantine.Clear(Card);
        dom0.Xen.Pci[Card].IsPresent = true;
        var next = await dom0.ConnectedGuestAsync("next", Card);
        Assert.Equal(NicRevision, await RevisionAsync(next));
    }

    /// <summary>The device's message interrupts as the device and the hypervisor have them.</summary>
    private static (uint Msi, uint Msix, int Pirqs) MessagesOf(TestDom0 dom0, SimulatedGuest guest)
    {
        var card = dom0.Xen.Pci[Card];
        var msi = card.Read(NicRegister.MsiControl) & 0x0001;
        var msix = card.Read(NicRegister.MsixControl) & 0x8000;
        return (msi, msix, dom0.Xen.Pirqs.Of(guest.Id).Length);
    }

    private static async Task<Scene> SetAsync(TestDom0 dom0, Guest state, Device device)
    {
        var driver = new TaskCompletionSource<int?>();
        if (state != Guest.Asked) driver.SetResult(NeedsReset);
        HostBdf[] devices = state == Guest.Detaching ? [Card, Second] : [Card];
        var guest = await dom0.Xen.CreateGuestAsync("victim", devices, Patient with
        {
            IsSilent = state == Guest.Unconnected,
            Driver = async question => question.Command == Detected ? await driver.Task : Recovered,
        });
        var scene = new Scene(guest, driver);
        if (state == Guest.Unconnected)
        {
            await Eventually.EqualAsync("3", () => dom0.ReadAsync(guest, "state"));
            return scene;
        }
        await guest.Frontend.WaitUntilConnectedAsync(Eventually.Limit);
        await UseAsync(guest, device);
        switch (state)
        {
            case Guest.Attaching:
                var opening = scene.Hold(dom0.Xen.Faults.Arm(FaultPoint.DeviceOpen, FaultKind.Stall, device: Second));
                await dom0.Xen.Toolstack.AttachAsync(guest.Id, Second);
                await Eventually.EqualAsync(1, () => opening.Struck);
                break;
            case Guest.Detaching:
                var reset = scene.Hold(dom0.Xen.Faults.Arm(FaultPoint.DeviceReset, FaultKind.Stall, device: Second));
                _ = dom0.Xen.Toolstack.DetachAsync(guest.Id, Second)
                    .ContinueWith(detached => detached.Exception, TaskScheduler.Default);
                await Eventually.EqualAsync(1, () => reset.Struck);
                break;
            case Guest.Asked:
                dom0.Xen.Aer.Inject(Card, AerSeverity.NonFatal, CompletionTimeout);
                await Eventually.EqualAsync(1, () => guest.Frontend.Questions.Count);
                break;
            case Guest.Restoring:
                var restoring = scene.Hold(dom0.Xen.Faults.Arm(FaultPoint.DeviceReset, FaultKind.Stall, device: Card));
                dom0.Xen.Aer.Inject(Card, AerSeverity.NonFatal, CompletionTimeout);
                await Eventually.EqualAsync(1, () => restoring.Struck);
                break;
            case Guest.Closed:
                await guest.Frontend.CloseAsync();
                await guest.Frontend.WriteStateAsync(Closed);
                await Eventually.EqualAsync("6", () => dom0.ReadAsync(guest, "state"));
                break;
            case Guest.Crashed:
                dom0.Xen.Aer.Inject(Card, AerSeverity.Fatal, CompletionTimeout);
                await Eventually.IsTrueAsync(() => guest.IsCrashed);
                break;
        }
        return scene;
    }

    private static async Task UseAsync(SimulatedGuest guest, Device device)
    {
        var done = device switch
        {
            Device.Msi => await guest.Device(0).EnableMsiAsync(),
            Device.Asleep => await guest.Device(0).TryWriteAsync(NicRegister.PowerControl, 0x0003),
            _ => default,
        };
        if (device == Device.Msix)
        {
            await guest.Device(0).TurnOnAsync();
            done = await guest.Device(0).EnableMsixAsync(0, 1);
        }
        Assert.Equal(0, done.Error);
    }

    private static async Task LetFailAsync(TestDom0 dom0, Failure failure, Scene scene, BackendSettings settings)
    {
        var (frontend, device) = (scene.Guest.Frontend, FirstDeviceOf(scene.Guest));
        switch (failure)
        {
            case Failure.AccessFails:
                dom0.Xen.Faults.Arm(FaultPoint.ConfigRead, device: Card);
                Assert.Equal(-5, (await device.TryReadAsync(Register.Revision)).Error);
                break;
            case Failure.NonFatalError or Failure.FatalError:
                var severity = failure == Failure.FatalError ? AerSeverity.Fatal : AerSeverity.NonFatal;
                dom0.Xen.Aer.Inject(Card, severity, CompletionTimeout);
                break;
            case Failure.DeviceGone:
                dom0.Xen.Pci[Card].IsPresent = false;
                _ = device.TryReadAsync(Register.Revision);
                break;
            case Failure.DeviceActorFails:
                dom0.Xen.Faults.Arm(FaultPoint.ConfigRead, FaultKind.Bug, device: Card);
                scene.Release();
                Assert.Equal(NicRevision, await device.ReadAsync(Register.Revision));
                break;
            case Failure.GuestActorFails:
                dom0.Xen.Faults.Arm(FaultPoint.Notify, FaultKind.Bug, guest: scene.Guest.Id);
                scene.Release();
                Assert.Equal(NicRevision, await device.ReadAsync(Register.Revision));
                break;
            case Failure.MonitorFails:
                dom0.Xen.Aer.Tell(new AerReport.Met(null!));
                await Eventually.EqualAsync(1, () => dom0.Xen.Aer.Watchers);
                break;
            case Failure.GuestBreaksProtocol:
                Assert.Equal(-4, (await device.AskAsync(UnknownRequest)).Error);
                break;
            case Failure.StoreRefuses:
                var refusing = dom0.Xen.Faults.Arm(FaultPoint.StoreReply, guest: scene.Guest.Id, times: 3);
                await frontend.WriteStateAsync(scene.Guest.IsCrashed ? Connected : frontend.State);
                await Eventually.EqualAsync(3, () => refusing.Struck);
                break;
            case Failure.StoreRestarts:
                await dom0.Xen.RestartXenStoredAsync();
                break;
            case Failure.DaemonEnds:
                var isRecovering = settings == Recovering;
                // What its threads were at ends with it; the one that resets the device is held for good.
                if (!isRecovering) scene.Release();
                await dom0.RestartDaemonAsync(settings);
                scene.Driver.TrySetResult(NeedsReset);
                if (isRecovering) await dom0.Events.NextAsync<BackendEvents.DeviceRecovered>();
                break;
        }
    }

    // By its address: a guest that is not connected has found no device.
    private static Testing.GuestDevice FirstDeviceOf(SimulatedGuest guest) => guest.DeviceAt("0000:00:00.0");

    /// <summary>Read from the device at each request, unlike its IDs.</summary>
    private static async Task<uint> RevisionAsync(SimulatedGuest guest) =>
        (await FirstDeviceOf(guest).TryReadAsync(Register.Revision)).Value;

    private static async Task<Bystanders> BystandersAsync(TestDom0 dom0) => new(
    [
        await dom0.ConnectedGuestAsync("web", [Nic], Patient), await dom0.ConnectedGuestAsync("lab", [Edu], Patient),
    ]);

    /// <summary>A guest to which something is about to happen, and the calls that stall meanwhile.</summary>
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

        public void Release()
        {
            foreach (var fault in _held) fault.Dispose();
        }

        public ValueTask DisposeAsync()
        {
            Release();
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
                Assert.Equal(revision, await guest.Device(0).ReadAsync(Register.Revision));
                await Task.Delay(1, CancellationToken.None);
            }
            return reads;
        }
    }

    // A class for each state, because xunit runs the tests of one class one after the other.
    public sealed class WhenUnconnected : SupervisionTests
    {
        public static TheoryData<Device, Failure> Cases => CasesOf(Guest.Unconnected);

        [Theory]
        [MemberData(nameof(Cases))]
        public Task What_fails_ends_whom_it_should_and_nobody_else(Device device, Failure failure) =>
            TryAsync(Guest.Unconnected, device, failure);
    }

    public sealed class WhenConnected : SupervisionTests
    {
        public static TheoryData<Device, Failure> Cases => CasesOf(Guest.Connected);

        [Theory]
        [MemberData(nameof(Cases))]
        public Task What_fails_ends_whom_it_should_and_nobody_else(Device device, Failure failure) =>
            TryAsync(Guest.Connected, device, failure);
    }

    public sealed class WhenAttaching : SupervisionTests
    {
        public static TheoryData<Device, Failure> Cases => CasesOf(Guest.Attaching);

        [Theory]
        [MemberData(nameof(Cases))]
        public Task What_fails_ends_whom_it_should_and_nobody_else(Device device, Failure failure) =>
            TryAsync(Guest.Attaching, device, failure);
    }

    public sealed class WhenDetaching : SupervisionTests
    {
        public static TheoryData<Device, Failure> Cases => CasesOf(Guest.Detaching);

        [Theory]
        [MemberData(nameof(Cases))]
        public Task What_fails_ends_whom_it_should_and_nobody_else(Device device, Failure failure) =>
            TryAsync(Guest.Detaching, device, failure);
    }

    public sealed class WhenAsked : SupervisionTests
    {
        public static TheoryData<Device, Failure> Cases => CasesOf(Guest.Asked);

        [Theory]
        [MemberData(nameof(Cases))]
        public Task What_fails_ends_whom_it_should_and_nobody_else(Device device, Failure failure) =>
            TryAsync(Guest.Asked, device, failure);
    }

    public sealed class WhenRestoring : SupervisionTests
    {
        public static TheoryData<Device, Failure> Cases => CasesOf(Guest.Restoring);

        [Theory]
        [MemberData(nameof(Cases))]
        public Task What_fails_ends_whom_it_should_and_nobody_else(Device device, Failure failure) =>
            TryAsync(Guest.Restoring, device, failure);
    }

    public sealed class WhenClosed : SupervisionTests
    {
        public static TheoryData<Device, Failure> Cases => CasesOf(Guest.Closed);

        [Theory]
        [MemberData(nameof(Cases))]
        public Task What_fails_ends_whom_it_should_and_nobody_else(Device device, Failure failure) =>
            TryAsync(Guest.Closed, device, failure);
    }

    public sealed class WhenCrashed : SupervisionTests
    {
        public static TheoryData<Device, Failure> Cases => CasesOf(Guest.Crashed);

        [Theory]
        [MemberData(nameof(Cases))]
        public Task What_fails_ends_whom_it_should_and_nobody_else(Device device, Failure failure) =>
            TryAsync(Guest.Crashed, device, failure);
    }
}
