using System.Buffers.Binary;
using System.Collections.Immutable;
using System.Runtime.InteropServices;
using XenPciBack.Protocol.Aer;
using static XenPciBack.Protocol.SharedPage.SharedPageLayout;

namespace XenPciBack.Protocol.SharedPage;

/// <summary>
/// The backend's side of a shared page. The guest can change every byte at any moment, so a request is copied out once
/// (XSA-155) and <c>flags</c> is only ever changed by an interlocked operation on single bits, never stored as a word.
/// </summary>
public readonly ref struct SharedPageView
{
    private readonly Span<byte> _page;

    /// <param name="page">The mapped page; at least <see cref="UsedSize"/> bytes, 4-byte aligned.</param>
    public SharedPageView(Span<byte> page)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(page.Length, UsedSize);
        _page = page;
    }

    private ref uint FlagBits => ref MemoryMarshal.AsRef<uint>(_page[Flags..]);

    public uint ReadFlags() => Volatile.Read(ref FlagBits);

    /// <summary>Whether the frontend has posted a request that nobody has answered yet.</summary>
    public bool HasRequest => (ReadFlags() & FrontendActive) != 0;

    /// <summary>Copies the 548-byte op out of the page, once, and decodes the copy.</summary>
    public PciRequest CopyRequest()
    {
        Span<byte> op = stackalloc byte[OpSize];
        _page.Slice(Op, OpSize).CopyTo(op);
        // Nothing below may read the page again; the barrier keeps the compiler and the JIT from doing so.
        Interlocked.MemoryBarrier();

        var code = (PciOpCode)Field(op, OpCmd);
        var value = Field(op, OpValue);
        return new PciRequest(
            code,
            Segment: Field(op, OpDomain), Bus: Field(op, OpBus), DevFn: Field(op, OpDevFn),
            Offset: (int)Field(op, OpOffset), Size: (int)Field(op, OpAccessSize), Value: value,
            MsixEntries: code == PciOpCode.EnableMsix ? CopyMsixEntries(op, value) : []);
    }

    /// <summary>
    /// Whether the request copied earlier is still the one that waits: a frontend gives up after 2 s, clears the flag itself
    /// and may post another one.
    /// </summary>
    public bool StillHolds(PciRequest request) => HasRequest && CopyRequest() is var now
        && now with { MsixEntries = request.MsixEntries } == request && now.MsixEntries.SequenceEqual(request.MsixEntries);

    /// <summary>
    /// Publishes the answer: <c>err</c>, <c>value</c> and the vectors first, then the active flag is cleared. Everything else
    /// in the op stays as the guest wrote it. The caller notifies the guest afterwards.
    /// </summary>
    public void Complete(in PciAnswer answer)
    {
        for (var i = 0; i < answer.Vectors.Length; i++)
            BinaryPrimitives.WriteUInt16LittleEndian(_page[(OpMsixEntries + i * MsixEntrySize)..], answer.Vectors[i]);
        BinaryPrimitives.WriteUInt32LittleEndian(_page[OpValue..], answer.Value);
        BinaryPrimitives.WriteInt32LittleEndian(_page[OpErr..], (int)answer.Error);
        Interlocked.And(ref FlagBits, ~FrontendActive);
    }

    /// <summary>The guest can be asked about errors; it says so when it makes the page.</summary>
    public bool TakesAer => (ReadFlags() & AerHandler) != 0;

    /// <summary>The guest has been asked and has not answered.</summary>
    public bool HasAerRequest => (ReadFlags() & BackendActive) != 0;

    /// <summary>Writes the whole <c>aer_op</c>, then sets its flag. The caller notifies the guest afterwards.</summary>
    public void PostAer(AerStep step, AerChannel channel, VirtualBdf device)
    {
        BinaryPrimitives.WriteUInt32LittleEndian(_page[AerCmd..], (uint)step);
        BinaryPrimitives.WriteInt32LittleEndian(_page[AerErr..], (int)channel);
        BinaryPrimitives.WriteUInt32LittleEndian(_page[AerDomain..], device.Segment);
        BinaryPrimitives.WriteUInt32LittleEndian(_page[AerBus..], device.Bus);
        BinaryPrimitives.WriteUInt32LittleEndian(_page[AerDevFn..], device.DevFn);
        Interlocked.Or(ref FlagBits, BackendActive);
    }

    /// <summary>What the guest answered, whatever it is; only once <see cref="HasAerRequest"/> is false.</summary>
    public int ReadAerVerdict() => BinaryPrimitives.ReadInt32LittleEndian(_page[AerErr..]);

    /// <summary>Takes an unanswered question back, with "none" as the verdict.</summary>
    public void WithdrawAer()
    {
        Interlocked.And(ref FlagBits, ~BackendActive);
        BinaryPrimitives.WriteInt32LittleEndian(_page[AerErr..], (int)AerVerdict.None);
    }

    private static ImmutableArray<ushort> CopyMsixEntries(ReadOnlySpan<byte> op, uint count)
    {
        var entries = ImmutableArray.CreateBuilder<ushort>((int)Math.Min(count, MaxMsixEntries));
        for (var i = 0; i < entries.Capacity; i++)
            entries.Add(BinaryPrimitives.ReadUInt16LittleEndian(op[(OpMsixEntries - Op + i * MsixEntrySize + 2)..]));
        return entries.MoveToImmutable();
    }

    private static uint Field(ReadOnlySpan<byte> op, int pageOffset) => BinaryPrimitives.ReadUInt32LittleEndian(op[(pageOffset - Op)..]);
}
