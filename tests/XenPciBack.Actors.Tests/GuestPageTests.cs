using System.Buffers.Binary;
using XenPciBack.Protocol;
using XenPciBack.Protocol.SharedPage;
using XenPciBack.Simulation;
using XenPciBack.Simulation.Hypervisor;
using XenPciBack.Simulation.Pci;

namespace XenPciBack.Actors.Tests;

/// <summary>A request in hand and the guest's patience.</summary>
public sealed class GuestPageTests : IDisposable
{
    private static readonly DomainId Guest = new(5);
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(2);

    private readonly ManualTime _time = new();
    private readonly Simulation.Hypervisor.GuestPage _guestPage = new();
    private readonly XenPciBack.Host.XenHost _host;
    private readonly GuestPage _page;

    public GuestPageTests()
    {
        var (grants, ports, pci) = (new GuestGrants(), new GuestPorts(), new SimulatedPciHost());
        _host = new(new SimulatedGrantTable(grants), new SimulatedEventChannels(ports), new SimulatedHypervisor(_ => true, _ => true), new SimulatedGuestPirqs(new DomainPirqs(), pci), pci.OfOneProcess(), new SimulatedAerFeed())
        {
            Toolstack = null!,
            DeviceRecords = null!,
            LastingRecords = new MemoryRecords(),
        };
        _page = GuestPage.Connect(_host, Guest, grants.Grant(Guest, _guestPage), ports.Allocate(Guest).Number, () => { }, _time);
    }

    public void Dispose() => _host.Dispose();

    private void Post(int offset)
    {
        BinaryPrimitives.WriteInt32LittleEndian(_guestPage.Bytes[24..], offset);
        BinaryPrimitives.WriteInt32LittleEndian(_guestPage.Bytes[28..], 4);
        _guestPage.Bytes[0] |= 1;
    }

    private (bool Waiting, uint Value) Page => ((_guestPage.Bytes[0] & 1) != 0, BinaryPrimitives.ReadUInt32LittleEndian(_guestPage.Bytes[32..]));

    [Fact]
    public void A_second_request_is_not_taken_while_the_first_is_in_hand()
    {
        Post(0x10);
        Assert.Equal(0x10, _page.TakeRequest()!.Offset);
        Assert.Null(_page.TakeRequest());
        Assert.True(_page.Answer(new PciAnswer(PciOpError.Success, 0xBEEF), Patience));
        Assert.Equal((false, 0xBEEFu), Page);
    }

    [Fact]
    public void What_the_guest_changes_after_the_copy_does_not_count()
    {
        Post(0x10);
        var request = _page.TakeRequest()!;
        Post(0x14);
        Assert.Equal(0x10, request.Offset);
        Assert.True(_page.Answer(new PciAnswer(PciOpError.Success, 0xBEEF), Patience));
    }

    [Fact]
    public void A_late_answer_is_not_given_to_another_request()
    {
        Post(0x10);
        _page.TakeRequest();
        _time.Now += Patience;
        Post(0x14);
        Assert.False(_page.Answer(new PciAnswer(PciOpError.Success, 0xBEEF), Patience));
        Assert.Equal((true, 0u), Page);
        Assert.Equal(0x14, _page.TakeRequest()!.Offset);
    }

    [Fact]
    public void A_late_answer_that_is_still_waited_for_is_given()
    {
        Post(0x10);
        _page.TakeRequest();
        _time.Now += 2 * Patience;
        Assert.True(_page.Answer(new PciAnswer(PciOpError.Success, 0xBEEF), Patience));
        Assert.Equal((false, 0xBEEFu), Page);
    }

    private sealed class ManualTime : TimeProvider
    {
        public TimeSpan Now { get; set; }

        public override long TimestampFrequency => TimeSpan.TicksPerSecond;

        public override long GetTimestamp() => Now.Ticks;
    }
}
