using XenPciBack.Backend.Errors;
using XenPciBack.Host;
using XenPciBack.Protocol;
using XenPciBack.Protocol.ConfigSpace;
using XenPciBack.Protocol.Interrupts;
using XenPciBack.Protocol.Records;
using XenPciBack.Protocol.SharedPage;
using XenPciBack.Protocol.Slots;

namespace XenPciBack.Backend.Devices;

/// <summary>A device opened for one guest, with all that decides what the guest may do with it.</summary>
internal sealed class AssignedDevice
{
    // A reset takes a second at most.
    private static readonly TimeSpan GiveBackPatience = TimeSpan.FromSeconds(5);

    private const int ClassRegister = 0x08, PinRegister = 0x3D;

    private readonly IDeviceRecords _records;

    private AssignedDevice(XenHost host, DomainId guest, bool isTakenUp, IPciFunction function, ConfigPolicy policy, DeviceRecord record)
    {
        (_records, Clock, Guest, IsTakenUp, Policy, Record) = (host.DeviceRecords, host.Clock, guest, isTakenUp, policy, record);
        Function = function;
        Config = new VirtualConfigSpace(Function, policy, record);
        Interrupts = new MessageInterrupts(Function, policy, host.Pirqs.Of(guest, function.Bdf), record);
        if (function.Read(ClassRegister, 4, out var revisionAndClass) == PciOpError.Success) ClassCode = revisionAndClass >> 8;
        HasLine = !policy.KeepLineSilent && function.Read(PinRegister, 1, out var pin) == PciOpError.Success && pin != 0;
    }

    /// <summary>The host's.</summary>
    public TimeProvider Clock { get; }

    public DomainId Guest { get; }

    /// <summary>The guest has used it before, served by another daemon or another actor.</summary>
    public bool IsTakenUp { get; }

    public IPciFunction Function { get; }

    public ConfigPolicy Policy { get; }
    public VirtualConfigSpace Config { get; }
    public MessageInterrupts Interrupts { get; }
    public DeviceRecord Record { get; }

    /// <summary>Class, subclass, programming interface; 0 if it could not be read.</summary>
    public uint ClassCode { get; }

    /// <summary>It has an INTx line that its guest may use.</summary>
    public bool HasLine { get; }

    public HostBdf Bdf => Function.Bdf;
    public SlotCandidate Candidate => new(Bdf, Function.IsVirtualFunction, Function.Bridges);

    /// <summary>Blocks on sysfs and on the hypervisor.</summary>
    /// <param name="permissive">The toolstack asks for it in the device's options.</param>
    /// <param name="isTakenUp">The guest has it already, so that a quarantine comes too late.</param>
    /// <exception cref="PciFunctionUnavailableException">The device cannot be given to a guest; the message says why.</exception>
    /// <exception cref="IOException">Its record cannot be kept.</exception>
    public static AssignedDevice Open(XenHost host, Quarantine quarantine, DevicePolicies policies, DomainId guest, HostBdf device, bool permissive, bool isTakenUp)
    {
        if (isTakenUp) return OpenFor(host, policies, guest, device, permissive, isTakenUp);

        if (host.Pci.ObjectionToMore is { } objection) throw new PciFunctionUnavailableException(device, objection);
        if (quarantine.Find(device) is { } quarantined)
            throw new PciFunctionUnavailableException(device, $"in quarantine since {quarantined.Since:u}, when guest {quarantined.Guest} had it: {quarantined.Reason}; to give it to guests again: xenpciback quarantine clear {device}");
        foreach (var (other, function) in host.DeviceRecords.Unopened)
            if (function == device)
                TakeBack(host, policies, other, device);
        return OpenFor(host, policies, guest, device, permissive, isTakenUp);
    }

    /// <summary>Gives back what a guest had that is gone, and whose daemon did not live to do so.</summary>
    /// <returns>null if it had nothing but PIRQs.</returns>
    public static DeviceActor.Released? TakeBack(XenHost host, DevicePolicies policies, DomainId guest, HostBdf device)
    {
        bool isWhole;
        using (var record = host.DeviceRecords.Open(guest, device)) isWhole = record.IsComplete;
        try
        {
            if (isWhole)
            {
                var assigned = OpenFor(host, policies, guest, device, permissive: false, isTakenUp: true);
                assigned.Interrupts.TakeUp();
                return assigned.GiveBack();
            }
        }
        catch (PciFunctionUnavailableException)
        {
            // It has left the host, or is somebody else's by now.
        }
        using (var record = host.DeviceRecords.Open(guest, device))
        {
            record.Clear();
            record.UnmapAll(host.Pirqs.Of(guest, device));
            if (record.IsEmpty) host.DeviceRecords.Remove(guest, device);
        }
        return null;
    }

    /// <summary>Takes the device from its guest: no PIRQ left, reset, the registers as they were. Blocks, 100 ms and more.</summary>
    public DeviceActor.Released GiveBack()
    {
        try
        {
            // First, while the device still listens: after a reset nobody would know what had been enabled.
            var errno = Interrupts.Release();
            var notReset = Config.Release();
            Record.Clear();
            if (Record.IsEmpty) _records.Remove(Guest, Bdf);
            return new DeviceActor.Released(Bdf, notReset) { StillMapped = errno };
        }
        finally
        {
            Close();
        }
    }

    /// <summary>Leaves it with its guest, as it is.</summary>
    public void Close()
    {
        Record.Dispose();
        Function.Dispose();
    }

    /// <summary>Waits for a device that is on its way back from another guest.</summary>
    private static IPciFunction OpenFunction(XenHost host, HostBdf device)
    {
        for (var began = host.Clock.GetTimestamp(); ; Thread.Sleep(50))
        {
            try
            {
                return host.Pci.Open(device);
            }
            catch (PciFunctionUnavailableException e) when (e.IsInUse && host.Clock.GetElapsedTime(began) < GiveBackPatience)
            {
                // Again.
            }
        }
    }

    private static AssignedDevice OpenFor(XenHost host, DevicePolicies policies, DomainId guest, HostBdf device, bool permissive, bool isTakenUp)
    {
        var function = OpenFunction(host, device);
        DeviceRecord? record = null;
        try
        {
            var policy = policies.Of(device).Or(host.Pci.PolicyOf(device)).Or(new ConfigPolicy(permissive));
            if (InterruptLine.ObjectionTo(function, policy, out var keepSilent) is { } objection) throw new PciFunctionUnavailableException(device, objection);
            if (keepSilent) policy = policy with { KeepLineSilent = true };
            record = host.DeviceRecords.Open(guest, device);
            if (!isTakenUp) record.Clear();
            return new AssignedDevice(host, guest, isTakenUp, function, policy, record);
        }
        catch
        {
            record?.Dispose();
            function.Dispose();
            throw;
        }
    }
}
