using System.Collections.Immutable;
using XenPciBack.Host;
using XenPciBack.Protocol;
using XenPciBack.Protocol.ConfigSpace;
using XenPciBack.Protocol.SharedPage;

namespace XenPciBack.Actors.Tests;

/// <summary>The places at which a test can step in between the backend and the simulated host: to count, to hold up, to fail.</summary>
public sealed record Hooks(HookedPciHost Pci, HookedEventChannels Ports);

/// <summary>A host with one device whose accesses a test sees before the device does.</summary>
public sealed class HookedPciHost(IPciHost host, HostBdf hooked) : IPciHost
{
    public Action Opening { get; set; } = () => { };

    /// <summary>Given the offset; an error is the host's answer, null lets the read through.</summary>
    public Func<int, PciOpError?> Reading { get; set; } = _ => null;

    /// <summary>Given the offset; an error is the host's answer and nothing is written, null lets the write through.</summary>
    public Func<int, PciOpError?> Writing { get; set; } = _ => null;

    public IPciFunction Open(HostBdf bdf)
    {
        if (bdf != hooked) return host.Open(bdf);
        Opening();
        return new HookedFunction(this, host.Open(bdf));
    }

    public string? ObjectionToMore => host.ObjectionToMore;

    public ConfigPolicy PolicyOf(HostBdf bdf) => host.PolicyOf(bdf);

    public ImmutableArray<HostBdf> BridgesAbove(HostBdf bdf) => host.BridgesAbove(bdf);

    public bool KernelBackendServes(DomainId guest, int deviceId) => host.KernelBackendServes(guest, deviceId);

    private sealed class HookedFunction(HookedPciHost hooks, IPciFunction function) : IPciFunction
    {
        public PciFunctionFacts Facts => function.Facts;
        public bool DecodesMemory => function.DecodesMemory;
        public int Irq => function.Irq;

        public PciOpError Read(int offset, int size, out uint value)
        {
            value = uint.MaxValue;
            return hooks.Reading(offset) ?? function.Read(offset, size, out value);
        }

        public PciOpError Write(int offset, int size, uint value) => hooks.Writing(offset) ?? function.Write(offset, size, value);

        public ImmutableArray<byte> ReadAll() => function.ReadAll();
        public string? TryReset() => function.TryReset();
        public void Dispose() => function.Dispose();
    }
}

/// <summary>Event channels whose traffic a test counts.</summary>
public sealed class HookedEventChannels(IEventChannels channels) : IEventChannels
{
    private int _events, _unmasks, _notifications;

    /// <summary>Runs right after the backend has notified a guest, before it does anything else.</summary>
    public Action Notified { get; set; } = () => { };

    /// <summary>Events that reached the backend.</summary>
    public int Events => Volatile.Read(ref _events);

    public int Unmasks => Volatile.Read(ref _unmasks);

    /// <summary>Events the backend has sent to guests.</summary>
    public int Notifications => Volatile.Read(ref _notifications);

    public IEventChannel Bind(DomainId domain, RemotePort remotePort, Action onEvent) => new HookedChannel(this, channels.Bind(domain, remotePort, () =>
    {
        Interlocked.Increment(ref _events);
        onEvent();
    }));

    public Task ComeRoundAsync() => channels.ComeRoundAsync();

    public void Dispose() => channels.Dispose();

    private sealed class HookedChannel(HookedEventChannels hooks, IEventChannel channel) : IEventChannel
    {
        public LocalPort Port => channel.Port;

        public void Notify()
        {
            channel.Notify();
            Interlocked.Increment(ref hooks._notifications);
            hooks.Notified();
        }

        public void Unmask()
        {
            Interlocked.Increment(ref hooks._unmasks);
            channel.Unmask();
        }

        public void Dispose() => channel.Dispose();
    }
}
