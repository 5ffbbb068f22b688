using System.Buffers.Binary;
using System.Collections.Immutable;
using System.Runtime.InteropServices;
using XenPciBack.Simulation.Hypervisor;

namespace XenPciBack.Simulation.Guests;

/// <summary>
/// The frontend's side of the shared page. The offsets are written down here a second time, from the specification and not
/// from the backend's code: a mistake in one of the two then shows.
/// </summary>
/// <remarks>Source: Linux include/xen/interface/io/pciif.h, struct xen_pci_sharedinfo and xen_pci_op.</remarks>
internal sealed class FrontendPage
{
    private const uint RequestActive = 0x1, TakesAer = 0x2, QuestionActive = 0x4;
    private const int OpStart = 4, OpLength = 548, MsixStart = 40, MostMsixEntries = 128, AerStart = 552;

    private readonly GuestPage _page;

    public FrontendPage(GuestPage page, bool takesAer)
    {
        _page = page;
        if (takesAer) Interlocked.Or(ref Flags, TakesAer);
    }

    /// <summary>A request is waiting for its answer.</summary>
    public bool IsRequestActive => (Volatile.Read(ref Flags) & RequestActive) != 0;

    private ref uint Flags => ref MemoryMarshal.AsRef<uint>(_page.Bytes);

    /// <summary>Writes the whole op, then sets the flag.</summary>
    public void Post(FrontendRequest request)
    {
        var op = _page.Bytes.Slice(OpStart, OpLength);
        op.Clear();
        BinaryPrimitives.WriteUInt32LittleEndian(op, request.Command);
        BinaryPrimitives.WriteUInt32LittleEndian(op[8..], request.Domain);
        BinaryPrimitives.WriteUInt32LittleEndian(op[12..], request.Bus);
        BinaryPrimitives.WriteUInt32LittleEndian(op[16..], request.DevFn);
        BinaryPrimitives.WriteInt32LittleEndian(op[20..], request.Offset);
        BinaryPrimitives.WriteInt32LittleEndian(op[24..], request.Size);
        BinaryPrimitives.WriteUInt32LittleEndian(op[28..], request.Value);
        for (var i = 0; i < Math.Min(request.MsixEntries.Length, MostMsixEntries); i++)
            BinaryPrimitives.WriteUInt16LittleEndian(_page.Bytes[(MsixStart + 4 * i + 2)..], request.MsixEntries[i]);
        Interlocked.Or(ref Flags, RequestActive);
    }

    /// <summary>Takes an unanswered request back.</summary>
    public void Withdraw() => Interlocked.And(ref Flags, ~RequestActive);

    /// <summary>The backend asks about an error and waits for the answer.</summary>
    public bool IsQuestionActive => (Volatile.Read(ref Flags) & QuestionActive) != 0;

    public ErrorQuestion ReadQuestion()
    {
        var aer = _page.Bytes[AerStart..];
        return new ErrorQuestion(BinaryPrimitives.ReadUInt32LittleEndian(aer), BinaryPrimitives.ReadInt32LittleEndian(aer[4..]), BinaryPrimitives.ReadUInt32LittleEndian(aer[8..]),
            BinaryPrimitives.ReadUInt32LittleEndian(aer[12..]), BinaryPrimitives.ReadUInt32LittleEndian(aer[16..]));
    }

    public void AnswerQuestion(int verdict)
    {
        BinaryPrimitives.WriteInt32LittleEndian(_page.Bytes[(AerStart + 4)..], verdict);
        Interlocked.And(ref Flags, ~QuestionActive);
    }

    public FrontendAnswer TakeAnswer(int vectors)
    {
        var op = _page.Bytes.Slice(OpStart, OpLength);
        var taken = ImmutableArray.CreateBuilder<ushort>(vectors);
        for (var i = 0; i < Math.Min(vectors, MostMsixEntries); i++)
            taken.Add(BinaryPrimitives.ReadUInt16LittleEndian(_page.Bytes[(MsixStart + 4 * i)..]));
        return new FrontendAnswer(BinaryPrimitives.ReadInt32LittleEndian(op[4..]), BinaryPrimitives.ReadUInt32LittleEndian(op[28..]), taken.ToImmutable());
    }
}
