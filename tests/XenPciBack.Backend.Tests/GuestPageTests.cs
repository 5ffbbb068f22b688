using System.Buffers.Binary;
using XenPciBack.Backend.DataPlane;
using XenPciBack.Backend.Guests;
using XenPciBack.Protocol;
using XenPciBack.Protocol.SharedPage;

namespace XenPciBack.Backend.Tests;

/// <summary>A request in hand and the guest's patience.</summary>
public sealed class GuestPageTests : IDisposable
{
    private static readonly DomainId Guest = new(5);
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(2);

    private readonly Simulation.Hypervisor.GuestPage _guestPage = new();
    private readonly BareHost _bare = new();
    private readonly GuestPage _page;

    public GuestPageTests()
    {
        var (grant, port) = (_bare.Grants.Grant(Guest, _guestPage), _bare.Ports.Allocate(Guest).Number);
        var handle = _bare.Host.EventChannels.Open();
        _page = GuestPage.Connect(
            () => new BoundPort(handle, handle.Bind(Guest, port), onEvent: () => { }, onUnbound: _ => { }),
            () => _bare.Host.Grants.Map(Guest, grant), _bare.Clock);
    }

    public void Dispose() => _bare.Dispose();

    private void Post(int offset)
    {
        BinaryPrimitives.WriteInt32LittleEndian(_guestPage.Bytes[24..], offset);
        BinaryPrimitives.WriteInt32LittleEndian(_guestPage.Bytes[28..], 4);
        _guestPage.Bytes[0] |= 1;
    }

    private (bool Waiting, uint Value) Page =>
        ((_guestPage.Bytes[0] & 1) != 0, BinaryPrimitives.ReadUInt32LittleEndian(_guestPage.Bytes[32..]));

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
        _bare.Clock.Advance(Patience);
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
        _bare.Clock.Advance(2 * Patience);
        Assert.True(_page.Answer(new PciAnswer(PciOpError.Success, 0xBEEF), Patience));
        Assert.Equal((false, 0xBEEFu), Page);
    }
}
