using System.Collections.Immutable;
using XenPciBack.Host;
using XenPciBack.Protocol;
using XenPciBack.Protocol.ConfigSpace;
using XenPciBack.Protocol.Interrupts;
using XenPciBack.Protocol.Records;
using XenPciBack.Protocol.SharedPage;

namespace XenPciBack.Simulation.Faults;

/// <summary>Each port of a host with its <see cref="FaultPoint"/>s in front.</summary>
internal static class FaultyPorts
{
    public static XenHost WithFaults(this XenHost host, FaultPoints faults) => host with
    {
        Grants = new Grants(host.Grants, faults),
        EventChannels = new EventChannels(host.EventChannels, faults),
        Hypervisor = new Hypervisor(host.Hypervisor, faults),
        Pirqs = new GuestPirqs(host.Pirqs, faults),
        Pci = new PciHost(host.Pci, faults),
        Aer = new AerFeed(host.Aer, faults),
        Toolstack = new Toolstack(host.Toolstack, faults),
        DeviceRecords = new DeviceRecords(host.DeviceRecords, faults),
        LastingRecords = new Records(host.LastingRecords, faults),
    };

    private sealed class Grants(IGrantTable grants, FaultPoints faults) : IGrantTable
    {
        public IGrantMapping Map(DomainId domain, GrantReference reference) =>
            faults.Meet(FaultPoint.GrantMap, domain) is not 0 and var errno ? throw new HostCallException("xengnttab_map_grant_ref", $"grant {reference} of domain {domain}", errno)
            : grants.Map(domain, reference);

        public void Dispose() => grants.Dispose();
    }

    private sealed class EventChannels(IEventChannels channels, FaultPoints faults) : IEventChannels
    {
        public IEventChannel Bind(DomainId domain, RemotePort remotePort, Action onEvent) =>
            faults.Meet(FaultPoint.PortBind, domain) is not 0 and var errno ? throw new HostCallException("xenevtchn_bind_interdomain", $"port {remotePort} of domain {domain}", errno)
            : new EventChannel(channels.Bind(domain, remotePort, onEvent), domain, faults);

        public void Dispose() => channels.Dispose();
    }

    private sealed class EventChannel(IEventChannel channel, DomainId guest, FaultPoints faults) : IEventChannel
    {
        public LocalPort Port => channel.Port;

        public void Notify()
        {
            if (faults.Meet(FaultPoint.Notify, guest) is not 0 and var errno) throw new HostCallException("xenevtchn_notify", $"local port {Port}", errno);
            channel.Notify();
        }

        public void Unmask()
        {
            if (faults.Meet(FaultPoint.Unmask, guest) is not 0 and var errno) throw new HostCallException("xenevtchn_unmask", $"local port {Port}", errno);
            channel.Unmask();
        }

        public void Dispose() => channel.Dispose();
    }

    private sealed class Hypervisor(IHypervisor hypervisor, FaultPoints faults) : IHypervisor
    {
        public string Version => hypervisor.Version;

        public int Crash(DomainId domain) => faults.Meet(FaultPoint.DomainCrash, domain) is not 0 and var errno ? errno : hypervisor.Crash(domain);

        public void Dispose() => hypervisor.Dispose();
    }

    private sealed class GuestPirqs(IGuestPirqs pirqs, FaultPoints faults) : IGuestPirqs
    {
        public IPirqs Of(DomainId guest, HostBdf function) => new Pirqs(pirqs.Of(guest, function), guest, function, faults);
    }

    private sealed class Pirqs(IPirqs pirqs, DomainId guest, HostBdf device, FaultPoints faults) : IPirqs
    {
        public int MapMsi(out Pirq pirq)
        {
            pirq = default;
            return faults.Meet(FaultPoint.PirqMap, guest, device) is not 0 and var errno ? errno : pirqs.MapMsi(out pirq);
        }

        public int MapMsix(ushort entry, ulong tableBar, out Pirq pirq)
        {
            pirq = default;
            return faults.Meet(FaultPoint.PirqMap, guest, device) is not 0 and var errno ? errno : pirqs.MapMsix(entry, tableBar, out pirq);
        }

        public int Restore() => faults.Meet(FaultPoint.PirqMap, guest, device) is not 0 and var errno ? errno : pirqs.Restore();

        public int Unmap(Pirq pirq) => faults.Meet(FaultPoint.PirqUnmap, guest, device) is not 0 and var errno ? errno : pirqs.Unmap(pirq);
    }

    private sealed class PciHost(IPciHost host, FaultPoints faults) : IPciHost
    {
        public IPciFunction Open(HostBdf bdf) =>
            faults.Meet(FaultPoint.DeviceOpen, device: bdf) is not 0 and var errno ? throw new PciFunctionUnavailableException(bdf, $"cannot be opened: {Errnos.Name(errno)}")
            : new PciFunction(host.Open(bdf), faults);

        public ConfigPolicy PolicyOf(HostBdf bdf) => host.PolicyOf(bdf);

        public ImmutableArray<HostBdf> BridgesAbove(HostBdf bdf) => host.BridgesAbove(bdf);

        public bool KernelBackendServes(DomainId guest, int deviceId) => host.KernelBackendServes(guest, deviceId);
    }

    private sealed class PciFunction(IPciFunction function, FaultPoints faults) : IPciFunction
    {
        public PciFunctionFacts Facts => function.Facts;
        public bool DecodesMemory => function.DecodesMemory;
        public int Irq => function.Irq;

        public PciOpError Read(int offset, int size, out uint value)
        {
            value = uint.MaxValue;
            return faults.Meet(FaultPoint.ConfigRead, device: Facts.Bdf) is not 0 and var errno ? (PciOpError)(-errno) : function.Read(offset, size, out value);
        }

        public PciOpError Write(int offset, int size, uint value) =>
            faults.Meet(FaultPoint.ConfigWrite, device: Facts.Bdf) is not 0 and var errno ? (PciOpError)(-errno) : function.Write(offset, size, value);

        public ImmutableArray<byte> ReadAll() => function.ReadAll();

        public string? TryReset() =>
            faults.Meet(FaultPoint.DeviceReset, device: Facts.Bdf) is not 0 and var errno ? $"it cannot be reset: {Errnos.Name(errno)}" : function.TryReset();

        public void Dispose() => function.Dispose();
    }

    private sealed class AerFeed(IAerFeed feed, FaultPoints faults) : IAerFeed
    {
        public IDisposable Watch(Action<AerReport> tell) => faults.Meet(FaultPoint.ErrorFeed) is not 0 and var errno ? throw new IOException($"errors cannot be watched: {Errnos.Name(errno)}") : feed.Watch(tell);
    }

    private sealed class Toolstack(IToolstack toolstack, FaultPoints faults) : IToolstack
    {
        public Task<string?> DetachAsync(DomainId guest, HostBdf device) =>
            faults.Meet(FaultPoint.DeviceDetach, guest, device) is not 0 and var errno ? Task.FromResult<string?>($"xl pci-detach: {Errnos.Name(errno)}") : toolstack.DetachAsync(guest, device);
    }

    private sealed class DeviceRecords(IDeviceRecords records, FaultPoints faults) : IDeviceRecords
    {
        public IReadOnlyList<(DomainId Guest, HostBdf Function)> Unopened => records.Unopened;

        public DeviceRecord Open(DomainId guest, HostBdf function) =>
            faults.Meet(FaultPoint.DeviceRecord, guest, function) is not 0 and var errno ? throw new IOException($"the record of {function} cannot be kept: {Errnos.Name(errno)}")
            : records.Open(guest, function);

        public void Remove(DomainId guest, HostBdf function) => records.Remove(guest, function);
    }

    private sealed class Records(IRecords records, FaultPoints faults) : IRecords
    {
        public IReadOnlyList<string> Names => records.Names;

        public string? Read(string name)
        {
            Meet(FaultPoint.RecordRead, name, "read");
            return records.Read(name);
        }

        public void Write(string name, string text)
        {
            Meet(FaultPoint.RecordWrite, name, "written");
            records.Write(name, text);
        }

        public void Remove(string name)
        {
            Meet(FaultPoint.RecordWrite, name, "removed");
            records.Remove(name);
        }

        private void Meet(FaultPoint point, string name, string what)
        {
            if (faults.Meet(point, device: HostBdf.TryParse(name, out var device) ? device : null) is not 0 and var errno)
                throw new IOException($"record {name} cannot be {what}: {Errnos.Name(errno)}");
        }
    }
}
