using System.Buffers.Binary;
using System.Runtime.InteropServices;
using XenPciBack.Simulation;

namespace XenPciBack.Backend.Tests.Cases;

/// <summary>A guest's shared page by its offsets, for what no frontend would do with it.</summary>
internal sealed class RawPage(SimulatedGuest guest)
{
    public const int Command = 4, Error = 8, Segment = 12, Bus = 16, DevFn = 20, Offset = 24, Size = 28, Value = 32;
    public const int Info = 36, MsixEntries = 40, Aer = 552;
    public const uint ConfRead = 0, ConfWrite = 1, EnableMsix = 4;
    public const uint Request = 0x1, TakesAer = 0x2, AerRequest = 0x4;

    public Span<byte> Bytes => guest.Frontend.Page.Bytes;

    public ref uint Flags => ref MemoryMarshal.AsRef<uint>(Bytes);

    /// <summary>A request is there and has no answer yet.</summary>
    public bool IsWaiting => (Volatile.Read(ref Flags) & Request) != 0;

    public Task WaitForAnswerAsync() => Eventually.IsTrueAsync(() => !IsWaiting);

    /// <summary>The error and the value of the last answer.</summary>
    public (int Error, uint Value) Answer => ((int)this[Error], this[Value]);

    /// <summary>The four bytes at an offset.</summary>
    public uint this[int at]
    {
        get => BinaryPrimitives.ReadUInt32LittleEndian(Bytes[at..]);
        set => BinaryPrimitives.WriteUInt32LittleEndian(Bytes[at..], value);
    }

    public ushort VectorAt(int index) => BinaryPrimitives.ReadUInt16LittleEndian(Bytes[(MsixEntries + 4 * index)..]);

    public ushort EntryAt(int index) => BinaryPrimitives.ReadUInt16LittleEndian(Bytes[(MsixEntries + 4 * index + 2)..]);

    /// <summary>Asks for a table entry at the same index, with Linux's filler for its vector.</summary>
    public void AskForVector(int index) => this[MsixEntries + 4 * index] = (uint)index << 16 | 0xFFFF;

    /// <summary>A request to the guest's first device, without an event. The rest of the page stays as it is.</summary>
    public void Post(uint command, int offset = 0, int size = 0, uint value = 0)
    {
        (this[Command], this[Segment], this[Bus], this[DevFn]) = (command, 0, 0, 0);
        (this[Offset], this[Size], this[Value]) = ((uint)offset, (uint)size, value);
        Interlocked.Or(ref Flags, Request);
    }

    /// <summary>The same with its event.</summary>
    public void Send(uint command, int offset = 0, int size = 0, uint value = 0)
    {
        Post(command, offset, size, value);
        guest.Frontend.Port.Notify();
    }

    /// <inheritdoc cref="Post(uint, int, int, uint)"/>
    public void Post(uint command, Register register, uint value = 0) =>
        Post(command, register.Offset, register.Size, value);

    /// <inheritdoc cref="Send(uint, int, int, uint)"/>
    public void Send(uint command, Register register, uint value = 0) =>
        Send(command, register.Offset, register.Size, value);
}
