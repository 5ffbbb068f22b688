using System.Buffers.Binary;
using CsCheck;
using XenPciBack.Protocol.SharedPage;

namespace XenPciBack.Protocol.Tests.SharedPage;

public class SharedPageViewTests
{
    private readonly byte[] _page = new byte[4096];

    private void Put(int offset, uint value) => BinaryPrimitives.WriteUInt32LittleEndian(_page.AsSpan(offset), value);
    private uint Get(int offset) => BinaryPrimitives.ReadUInt32LittleEndian(_page.AsSpan(offset));

    [Fact]
    public void The_layout_is_that_of_the_kernels_header()
    {
        Assert.Equal((572, 548, 20, 552), (SharedPageLayout.UsedSize, SharedPageLayout.OpSize, SharedPageLayout.AerOpSize, SharedPageLayout.AerOp));
        Assert.Equal((4, 8, 12, 16, 20), (SharedPageLayout.OpCmd, SharedPageLayout.OpErr, SharedPageLayout.OpDomain, SharedPageLayout.OpBus, SharedPageLayout.OpDevFn));
        Assert.Equal((24, 28, 32, 36, 40), (SharedPageLayout.OpOffset, SharedPageLayout.OpAccessSize, SharedPageLayout.OpValue, SharedPageLayout.OpInfo, SharedPageLayout.OpMsixEntries));
        Assert.Equal(SharedPageLayout.AerOp, SharedPageLayout.OpMsixEntries + SharedPageLayout.MaxMsixEntries * SharedPageLayout.MsixEntrySize);
    }

    [Fact]
    public void A_request_is_read_from_its_offsets()
    {
        Put(0, 0x3); Put(4, 1); Put(12, 0xA); Put(16, 0xB); Put(20, 0x1FF); Put(24, unchecked((uint)-4)); Put(28, 2); Put(32, 0xCAFE);
        var page = new SharedPageView(_page);
        Assert.True(page.HasRequest);
        Assert.Equal(new PciRequest(PciOpCode.ConfWrite, 0xA, 0xB, 0x1FF, -4, 2, 0xCAFE), page.CopyRequest());
    }

    [Fact]
    public void Entries_come_with_enable_msix_only_and_never_more_than_the_page_holds()
    {
        Put(4, (uint)PciOpCode.EnableMsix); Put(32, 3);
        for (var i = 0; i < 128; i++) Put(40 + 4 * i, (uint)(i << 16) | 0xFFFF);
        Assert.Equal(new ushort[] { 0, 1, 2 }, new SharedPageView(_page).CopyRequest().MsixEntries);
        Put(32, uint.MaxValue);
        Assert.Equal(128, new SharedPageView(_page).CopyRequest().MsixEntries.Length);
        Put(4, (uint)PciOpCode.ConfRead);
        Assert.Empty(new SharedPageView(_page).CopyRequest().MsixEntries);
    }

    [Fact]
    public void An_answer_changes_the_result_and_one_flag_bit_and_nothing_else() =>
        Gen.Byte.Array[4096].Sample(content =>
        {
            var page = (byte[])content.Clone();
            new SharedPageView(page).Complete(new PciAnswer((PciOpError)(-22), 0x1122_3344, [7, 8]));
            var expected = (byte[])content.Clone();
            expected[0] &= 0xFE;
            BinaryPrimitives.WriteInt32LittleEndian(expected.AsSpan(8), -22);
            BinaryPrimitives.WriteUInt32LittleEndian(expected.AsSpan(32), 0x1122_3344);
            (expected[40], expected[41], expected[44], expected[45]) = (7, 0, 8, 0);
            return expected.AsSpan().SequenceEqual(page);
        }, iter: 200);

    [Fact]
    public void Neither_side_loses_a_flag_while_both_change_them()
    {
        const int rounds = 20_000;
        var guest = new Thread(() =>
        {
            for (var i = 0; i < rounds; i++)
            {
                Interlocked.Or(ref System.Runtime.InteropServices.MemoryMarshal.AsRef<uint>(_page.AsSpan()), 0x4u);
                Interlocked.And(ref System.Runtime.InteropServices.MemoryMarshal.AsRef<uint>(_page.AsSpan()), ~0x4u);
                Interlocked.Add(ref System.Runtime.InteropServices.MemoryMarshal.AsRef<uint>(_page.AsSpan()), 0x100u);
            }
        });
        guest.Start();
        for (var i = 0; i < rounds; i++) new SharedPageView(_page).Complete(new PciAnswer(PciOpError.Success, 0));
        guest.Join();
        Assert.Equal(rounds * 0x100u, Get(0));
    }

    [Fact]
    public void A_request_that_was_replaced_or_withdrawn_is_noticed()
    {
        Put(0, 1); Put(24, 0x10); Put(28, 4);
        var page = new SharedPageView(_page);
        var request = page.CopyRequest();
        Assert.True(page.StillHolds(request));
        Put(24, 0x14);
        Assert.False(page.StillHolds(request));
        Put(24, 0x10); Put(0, 0);
        Assert.False(page.StillHolds(request));
    }
}
