using Microsoft.Extensions.Time.Testing;
using XenPciBack.Host;
using XenPciBack.Simulation;
using XenPciBack.Simulation.Hypervisor;
using XenPciBack.Simulation.Pci;

namespace XenPciBack.Backend.Tests;

/// <summary>A simulated host without xenstore, toolstack and guests, for tests of one part; time is stopped.</summary>
internal sealed class BareHost : IDisposable
{
    public BareHost() => Host = new XenHost(
        new SimulatedGrantTable(Grants), new SimulatedEventChannels(Ports),
        new SimulatedHypervisor(_ => true, _ => true), new SimulatedGuestPirqs(new DomainPirqs(), Pci),
        Pci.OfOneProcess(), Aer.OfOneDaemon())
    {
        Toolstack = null!,
        DeviceRecords = new MemoryDeviceRecords().OfOneDaemon(CancellationToken.None),
        Intents = new MemoryRecords(),
        LastingRecords = new MemoryRecords(),
        Clock = Clock,
    };

    public FakeTimeProvider Clock { get; } = new(DateTimeOffset.UnixEpoch);

    public SimulatedPciHost Pci { get; } = new();

    public SimulatedAerFeed Aer { get; } = new();

    public GuestGrants Grants { get; } = new();

    public GuestPorts Ports { get; } = new();

    public XenHost Host { get; }

    public void Dispose() => Host.Dispose();
}
