using XenPciBack.Host;
using XenPciBack.Protocol;
using XenPciBack.Protocol.ConfigSpace;
using XenPciBack.Protocol.Interrupts;
using XenPciBack.Protocol.Slots;

namespace XenPciBack.Actors;

/// <summary>A device opened for one guest, with all that decides what the guest may do with it.</summary>
/// <param name="Function">Every access through it is seen by <paramref name="Accesses"/>.</param>
internal sealed record AssignedDevice(IPciFunction Function, ConfigPolicy Policy, VirtualConfigSpace Config, MessageInterrupts Interrupts, DeviceAccessLog Accesses)
{
    /// <summary>Blocks on sysfs and on the hypervisor.</summary>
    /// <param name="permissive">The toolstack asks for it in the device's options.</param>
    /// <param name="isTakenUp">The guest has it already, so that a quarantine comes too late.</param>
    /// <exception cref="PciFunctionUnavailableException">The device cannot be given to a guest; the message says why.</exception>
    public static AssignedDevice Open(XenHost host, Quarantine quarantine, DevicePolicies policies, DomainId guest, HostBdf device, bool permissive, bool isTakenUp)
    {
        if (!isTakenUp && quarantine.Find(device) is { } quarantined)
            throw new PciFunctionUnavailableException(device, $"in quarantine since {quarantined.Since:u}, when guest {quarantined.Guest} had it: {quarantined.Reason}; to give it to guests again: xenpciback quarantine clear {device}");
        var accesses = new DeviceAccessLog();
        var function = accesses.Watch(host.Pci.Open(device));
        try
        {
            var policy = policies.Of(device).Or(host.Pci.PolicyOf(device)).Or(new ConfigPolicy(permissive));
            if (InterruptLine.ObjectionTo(function, policy, out var keepSilent) is { } objection) throw new PciFunctionUnavailableException(device, objection);
            if (keepSilent) policy = policy with { KeepLineSilent = true };
            return new AssignedDevice(function, policy, new VirtualConfigSpace(function, policy),
                new MessageInterrupts(function, policy, accesses.Watch(host.Pirqs.Open(guest, device))), accesses);
        }
        catch
        {
            function.Dispose();
            throw;
        }
    }

    public HostBdf Bdf => Function.Bdf;

    public SlotCandidate Candidate => new(Bdf, Function.IsVirtualFunction, Function.Bridges);

    /// <summary>Takes the device from its guest: no PIRQ left, reset, the registers as they were. Blocks, 100 ms and more.</summary>
    public DeviceActor.Released GiveBack()
    {
        using (Function)
        {
            // First, while the device still listens: after a reset nobody would know what had been enabled.
            var errno = Interrupts.Release();
            return new DeviceActor.Released(Bdf, Config.Release()) { StillMapped = errno };
        }
    }
}
