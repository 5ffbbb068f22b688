using System.Buffers.Binary;

namespace XenPciBack.Lab.Images;

/// <summary>
/// Linux's bzImage: the kernel itself is a packed ELF file in it (Documentation/arch/x86/boot.rst: setup_sects,
/// payload_offset, payload_length). Xen boots the ELF file too, as dom0 and as a guest, and unpacking it takes ten
/// seconds and more under emulation.
/// </summary>
internal static class KernelImage
{
    private const int SetupSectorsAt = 0x1f1, PayloadOffsetAt = 0x248, PayloadLengthAt = 0x24c, SectorSize = 512;

    /// <summary>Behind the packed kernel stands its unpacked size.</summary>
    private const int SizeLength = 4;

    /// <summary>Which program unpacks what, by the first bytes.</summary>
    private static readonly (byte[] Magic, string Program)[] Packers =
        [([0xfd, (byte)'7', (byte)'z'], "xz"), ([0x28, 0xb5, 0x2f, 0xfd], "zstd")];

    public static async Task UnpackAsync(string image, string destination)
    {
        var packed = $"{destination}.packed";
        var payload = Payload(await File.ReadAllBytesAsync(image)).ToArray();
        var program = Packers.FirstOrDefault(packer => payload.AsSpan().StartsWith(packer.Magic)).Program
            ?? throw new LabException($"{image}: the kernel in it begins with {Convert.ToHexString(payload, 0, 4)}; "
                + "expected what xz or zstd writes");
        await File.WriteAllBytesAsync(packed, payload);
        await ChildProcess.RunAsync("sh", ["-c", "\"$0\" -dc < \"$1\" > \"$2\"", program, packed, destination]);
        File.Delete(packed);
    }

    internal static ReadOnlySpan<byte> Payload(ReadOnlySpan<byte> image)
    {
        var offset = BinaryPrimitives.ReadInt32LittleEndian(image[PayloadOffsetAt..]);
        var length = BinaryPrimitives.ReadInt32LittleEndian(image[PayloadLengthAt..]);
        return image.Slice((image[SetupSectorsAt] + 1) * SectorSize + offset, length - SizeLength);
    }
}
