namespace XenPciBack.Simulation.Hypervisor;

/// <summary>One page of a guest's memory: 4096 bytes that stay where they are, so that both sides may use interlocked operations on them.</summary>
public sealed class GuestPage
{
    public const int Size = 4096;

    private readonly byte[] _bytes = GC.AllocateArray<byte>(Size, pinned: true);

    public Span<byte> Bytes => _bytes;
}
