using System.Buffers.Binary;
using System.Numerics;

namespace XenPciBack.Protocol.Aer;

/// <summary>Which of several uncorrectable errors came first, as the function remembers it.</summary>
/// <remarks>First Error Pointer, bits 4:0 of the Advanced Error Capabilities and Control register (PCI Express Base Specification, 7.8.4.7).</remarks>
public static class FirstError
{
    private const int FirstExtended = 0x100, Control = 0x18, MostCapabilities = (4096 - FirstExtended) / 8;
    private const uint ErrorReporting = 0x0001, Pointer = 0x1F;

    /// <param name="config">The function's config space, 4096 bytes; less has no such register.</param>
    /// <param name="status">The Uncorrectable Error Status that was reported.</param>
    /// <returns>A bit of <paramref name="status"/>; null if there is but one, or the register points to none of them any more.</returns>
    public static int? Of(ReadOnlySpan<byte> config, uint status)
    {
        if (BitOperations.PopCount(status) < 2) return null;
        var offset = FirstExtended;
        for (var i = 0; i < MostCapabilities && offset >= FirstExtended && offset + Control + 4 <= config.Length; i++)
        {
            var header = BinaryPrimitives.ReadUInt32LittleEndian(config[offset..]);
            if ((header & 0xFFFF) == ErrorReporting)
            {
                var bit = (int)(BinaryPrimitives.ReadUInt32LittleEndian(config[(offset + Control)..]) & Pointer);
                return (status >> bit & 1) != 0 ? bit : null;
            }
            offset = (int)(header >> 20) & ~3;
        }
        return null;
    }
}
