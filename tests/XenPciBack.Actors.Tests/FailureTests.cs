using System.Collections.Immutable;
using XenPciBack.Host;
using XenPciBack.Protocol;
using XenPciBack.Protocol.ConfigSpace;
using XenPciBack.Protocol.SharedPage;

namespace XenPciBack.Actors.Tests;

/// <summary>What fails, and who else notices: nobody.</summary>
public class FailureTests : BackendTest
{
    [Fact]
    public async Task A_fault_in_one_device_ends_its_guest_only_and_gives_everything_of_it_back()
    {
        await StopBackendAsync();
        await StartBackendAsync(host => host with { Pci = new FaultyPciHost(host.Pci, Nic) });
        var bystander = await ConnectedGuestAsync("lab", Edu);
        var guest = await Xen.CreateGuestAsync("web", [Nic, Sata]);

        await EventuallyAsync("1 pages, 1 ports, 1 functions, 0 PIRQs", () => Xen.HeldByDom0);
        Assert.Equal(0x11E8_1234u, await ReadConfigAsync(bystander, 0, 0, 4));
        GC.KeepAlive(guest);
    }

    [Fact]
    public async Task A_xenstored_that_goes_away_and_comes_back_costs_no_guest_anything()
    {
        var guest = await ConnectedGuestAsync("web", Nic);
        await Xen.XenStored.RestartAsync(keepState: true);
        Assert.Equal(0x10D3_8086u, await ReadConfigAsync(guest, 0, 0, 4));

        var next = await ConnectedGuestAsync("lab", Edu);
        Assert.Equal(0x11E8_1234u, await ReadConfigAsync(next, 0, 0, 4));
        await Xen.DestroyGuestAsync(guest);
        await EventuallyAsync("1 pages, 1 ports, 1 functions, 0 PIRQs", () => Xen.HeldByDom0);
    }

    /// <summary>A host whose one device throws at every read of its revision, as a bug in our own code would.</summary>
    private sealed class FaultyPciHost(IPciHost host, HostBdf faulty) : IPciHost
    {
        public IPciFunction Open(HostBdf bdf) => bdf == faulty ? new FaultyFunction(host.Open(bdf)) : host.Open(bdf);

        public ConfigPolicy PolicyOf(HostBdf bdf) => host.PolicyOf(bdf);

        public bool KernelBackendServes(DomainId guest, int deviceId) => host.KernelBackendServes(guest, deviceId);
    }

    private sealed class FaultyFunction(IPciFunction function) : IPciFunction
    {
        public HostBdf Bdf => function.Bdf;
        public ushort VendorId => function.VendorId;
        public ushort DeviceId => function.DeviceId;
        public int ConfigSize => function.ConfigSize;
        public bool IsVirtualFunction => function.IsVirtualFunction;
        public ImmutableArray<HostBdf> Bridges => function.Bridges;
        public bool DecodesMemory => function.DecodesMemory;
        public ImmutableArray<PciResource> Resources => function.Resources;
        public int Irq => function.Irq;
        public ImmutableArray<string> LineSharers => function.LineSharers;
        public byte CacheLineSize => function.CacheLineSize;

        public PciOpError Read(int offset, int size, out uint value) =>
            offset == 0x08 ? throw new InvalidOperationException("a bug") : function.Read(offset, size, out value);

        public PciOpError Write(int offset, int size, uint value) => function.Write(offset, size, value);
        public string? TryReset() => function.TryReset();
        public void Dispose() => function.Dispose();
    }
}
