using System.Collections.Immutable;
using XenPciBack.Host;
using XenPciBack.Protocol;
using XenPciBack.Protocol.ConfigSpace;
using XenPciBack.Protocol.Interrupts;
using XenPciBack.Protocol.Records;
using XenPciBack.Protocol.SharedPage;

namespace XenPciBack.Simulation.Faults;

/// <summary>Each port of a host as one process has it: with its <see cref="FaultPoint"/>s in front, and of no use once the process is killed.</summary>
internal static class FaultyPorts
{
    public static XenHost Of(this XenHost host, DaemonProcess process) => host with
    {
        Grants = new Grants(host.Grants, process),
        EventChannels = new EventChannels(host.EventChannels, process),
        Hypervisor = new Hypervisor(host.Hypervisor, process),
        Pirqs = new GuestPirqs(host.Pirqs, process),
        Pci = new PciHost(host.Pci, process),
        Aer = new AerFeed(host.Aer, process),
        Toolstack = new Toolstack(host.Toolstack, process),
        DeviceRecords = new DeviceRecords(host.DeviceRecords, process),
        Intents = new Records(host.Intents, process, FaultPoint.IntentRead, FaultPoint.IntentWrite),
        LastingRecords = new Records(host.LastingRecords, process, FaultPoint.RecordRead, FaultPoint.RecordWrite),
    };

    private sealed class Grants(IGrantTable grants, DaemonProcess process) : IGrantTable
    {
        public IGrantMapping Map(DomainId domain, GrantReference reference)
        {
            if (process.Meet(FaultPoint.GrantMap, domain) is not 0 and var errno) throw new HostCallException("xengnttab_map_grant_ref", $"grant {reference} of domain {domain}", errno);
            using (process.Alive()) return grants.Map(domain, reference);
        }

        public void Dispose() => grants.Dispose();
    }

    private sealed class EventChannels(IEventChannels channels, DaemonProcess process) : IEventChannels
    {
        public IEventHandle Open()
        {
            using (process.Alive()) return new EventHandle(channels.Open(), process);
        }

        public void PreferThisThread() => channels.PreferThisThread();

        public void Dispose() => channels.Dispose();
    }

    private sealed class EventHandle(IEventHandle handle, DaemonProcess process) : IEventHandle
    {
        // Of one thread, as the handle is.
        private readonly Dictionary<LocalPort, DomainId> _guests = [];

        public LocalPort Bind(DomainId domain, RemotePort remotePort)
        {
            if (process.Meet(FaultPoint.PortBind, domain) is not 0 and var errno)
                throw new HostCallException(
                    "xenevtchn_bind_interdomain", $"port {remotePort} of domain {domain}", errno);
            using (process.Alive())
            {
                var port = handle.Bind(domain, remotePort);
                _guests[port] = domain;
                return port;
            }
        }

        public void Unbind(LocalPort port)
        {
            _guests.Remove(port);
            handle.Unbind(port);
        }

        public void Notify(LocalPort port)
        {
            var guest = _guests[port];
            var errno = process.Meet(FaultPoint.Notify, guest);
            if (errno == FaultPoints.Lost) return;
            if (errno != 0) throw new HostCallException("xenevtchn_notify", $"local port {port}", errno);
            using (process.Alive()) handle.Notify(port);
            process.Meet(FaultPoint.Notified, guest);
        }

        public void Unmask(LocalPort port)
        {
            if (process.Meet(FaultPoint.Unmask, _guests[port]) is not 0 and var errno)
                throw new HostCallException("xenevtchn_unmask", $"local port {port}", errno);
            using (process.Alive()) handle.Unmask(port);
        }

        public int Read(Span<LocalPort> ports, bool wait)
        {
            var read = handle.Read(ports, wait);
            if (read <= 0) return read;
            var kept = 0;
            try
            {
                foreach (var port in ports[..read])
                    if (!_guests.TryGetValue(port, out var guest) || process.Meet(FaultPoint.Event, guest) == 0)
                        ports[kept++] = port;
            }
            catch (ProcessKilledException)
            {
                throw new ObjectDisposedException(nameof(EventHandle));
            }
            return kept;
        }

        public void Reset() => handle.Reset();

        public void Wake() => handle.Wake();

        public void Dispose() => handle.Dispose();
    }

    private sealed class Hypervisor(IHypervisor hypervisor, DaemonProcess process) : IHypervisor
    {
        public string Version => hypervisor.Version;

        public int Crash(DomainId domain)
        {
            if (process.Meet(FaultPoint.DomainCrash, domain) is not 0 and var errno) return errno;
            using (process.Alive()) return hypervisor.Crash(domain);
        }

        public bool IsAlive(DomainId domain) => hypervisor.IsAlive(domain);

        public void Dispose() => hypervisor.Dispose();
    }

    private sealed class GuestPirqs(IGuestPirqs pirqs, DaemonProcess process) : IGuestPirqs
    {
        public IPirqs Of(DomainId guest, HostBdf function) => new Pirqs(pirqs.Of(guest, function), guest, function, process);
    }

    private sealed class Pirqs(IPirqs pirqs, DomainId guest, HostBdf device, DaemonProcess process) : IPirqs
    {
        public int MapMsi(out Pirq pirq)
        {
            pirq = default;
            if (process.Meet(FaultPoint.PirqMap, guest, device) is not 0 and var errno) return errno;
            using (process.Alive()) return pirqs.MapMsi(out pirq);
        }

        public int MapMsix(ushort entry, ulong tableBar, out Pirq pirq)
        {
            pirq = default;
            if (process.Meet(FaultPoint.PirqMap, guest, device) is not 0 and var errno) return errno;
            using (process.Alive()) return pirqs.MapMsix(entry, tableBar, out pirq);
        }

        public int Restore()
        {
            if (process.Meet(FaultPoint.PirqMap, guest, device) is not 0 and var errno) return errno;
            using (process.Alive()) return pirqs.Restore();
        }

        public int Unmap(Pirq pirq)
        {
            if (process.Meet(FaultPoint.PirqUnmap, guest, device) is not 0 and var errno) return errno;
            using (process.Alive()) return pirqs.Unmap(pirq);
        }
    }

    private sealed class PciHost(IPciHost host, DaemonProcess process) : IPciHost
    {
        public IPciFunction Open(HostBdf bdf)
        {
            if (process.Meet(FaultPoint.DeviceOpen, device: bdf) is not 0 and var errno) throw new PciFunctionUnavailableException(bdf, $"cannot be opened: {Errnos.Name(errno)}");
            using (process.Alive()) return new PciFunction(host.Open(bdf), process);
        }

        public string? ObjectionToMore => host.ObjectionToMore;

        public ConfigPolicy PolicyOf(HostBdf bdf) => host.PolicyOf(bdf);

        public ImmutableArray<HostBdf> BridgesAbove(HostBdf bdf) => host.BridgesAbove(bdf);

        public bool KernelBackendServes(DomainId guest, int deviceId) => host.KernelBackendServes(guest, deviceId);
    }

    private sealed class PciFunction : IPciFunction
    {
        private readonly IPciFunction _function;
        private readonly DaemonProcess _process;

        public PciFunction(IPciFunction function, DaemonProcess process)
        {
            (_function, _process) = (function, process);
            process.Opened(function);
        }

        public PciFunctionFacts Facts => _function.Facts;
        public bool DecodesMemory => _function.DecodesMemory;
        public int Irq => _function.Irq;

        public PciOpError Read(int offset, int size, out uint value)
        {
            value = uint.MaxValue;
            if (_process.Meet(FaultPoint.ConfigRead, device: Facts.Bdf, register: offset) is not 0 and var errno)
                return (PciOpError)(-errno);
            using (_process.Alive()) return _function.Read(offset, size, out value);
        }

        public PciOpError Write(int offset, int size, uint value)
        {
            var errno = _process.Meet(FaultPoint.ConfigWrite, device: Facts.Bdf, register: offset);
            if (errno == FaultPoints.Lost) return PciOpError.Success;
            if (errno != 0) return (PciOpError)(-errno);
            using (_process.Alive()) return _function.Write(offset, size, value);
        }

        public ImmutableArray<byte> ReadAll() => _function.ReadAll();

        public string? TryReset()
        {
            if (_process.Meet(FaultPoint.DeviceReset, device: Facts.Bdf) is not 0 and var errno) return $"it cannot be reset: {Errnos.Name(errno)}";
            using (_process.Alive()) return _function.TryReset();
        }

        public void Dispose()
        {
            _process.Closed(_function);
            _function.Dispose();
        }
    }

    private sealed class AerFeed(IAerFeed feed, DaemonProcess process) : IAerFeed
    {
        public IDisposable Watch(Action<AerReport> tell)
        {
            if (process.Meet(FaultPoint.ErrorFeed) is not 0 and var errno) throw new IOException($"errors cannot be watched: {Errnos.Name(errno)}");
            using (process.Alive()) return new Watching(feed.Watch(tell), process);
        }

        public void Handled(HostBdf device, int errors)
        {
            if (process.Meet(FaultPoint.ErrorHandled, device: device) != 0) return;
            using (process.Alive()) feed.Handled(device, errors);
        }

        private sealed class Watching : IDisposable
        {
            private readonly IDisposable _watch;
            private readonly DaemonProcess _process;

            public Watching(IDisposable watch, DaemonProcess process)
            {
                (_watch, _process) = (watch, process);
                process.Opened(watch);
            }

            public void Dispose()
            {
                _process.Closed(_watch);
                _watch.Dispose();
            }
        }
    }

    private sealed class Toolstack(IToolstack toolstack, DaemonProcess process) : IToolstack
    {
        public Task<string?> DetachAsync(DomainId guest, HostBdf device) =>
            process.Meet(FaultPoint.DeviceDetach, guest, device) is not 0 and var errno ? Task.FromResult<string?>($"xl pci-detach: {Errnos.Name(errno)}") : toolstack.DetachAsync(guest, device);

        public Task<string?> AttachAsync(DomainId guest, HostBdf device, string? options) => toolstack.AttachAsync(guest, device, options);

        public Task<IReadOnlySet<DomainId>> EndedAsync() => toolstack.EndedAsync();
    }

    private sealed class DeviceRecords(IDeviceRecords records, DaemonProcess process) : IDeviceRecords
    {
        public IReadOnlyList<(DomainId Guest, HostBdf Function)> All => records.All;

        public IReadOnlyList<(DomainId Guest, HostBdf Function)> Unopened => records.Unopened;

        public DeviceRecord Open(DomainId guest, HostBdf function)
        {
            if (process.Meet(FaultPoint.DeviceRecord, guest, function) is not 0 and var errno) throw new IOException($"the record of {function} cannot be kept: {Errnos.Name(errno)}");
            using (process.Alive()) return records.Open(guest, function);
        }

        public void Remove(DomainId guest, HostBdf function)
        {
            using (process.Alive()) records.Remove(guest, function);
        }
    }

    private sealed class Records(IRecords records, DaemonProcess process, FaultPoint reading, FaultPoint writing)
        : IRecords
    {
        public IReadOnlyList<string> Names => records.Names;

        public string? Read(string name)
        {
            Meet(reading, name, "read");
            return records.Read(name);
        }

        public void Write(string name, string text)
        {
            Meet(writing, name, "written");
            using (process.Alive()) records.Write(name, text);
        }

        public void Remove(string name)
        {
            Meet(writing, name, "removed");
            using (process.Alive()) records.Remove(name);
        }

        private void Meet(FaultPoint point, string name, string what)
        {
            // BDF, or domain id and BDF.
            var guest = name.Split('-') is [var id, _] && DomainId.TryParse(id, out var domain) ? domain
                : (DomainId?)null;
            var device = HostBdf.TryParse(name[(name.IndexOf('-') + 1)..], out var bdf) ? bdf : (HostBdf?)null;
            if (process.Meet(point, guest, device) is not 0 and var errno)
                throw new IOException($"record {name} cannot be {what}: {Errnos.Name(errno)}");
        }
    }
}
