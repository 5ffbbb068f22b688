using System.Buffers.Binary;
using XenPciBack.Lab.Images;

namespace XenPciBack.Lab.Tests.Images;

public class KernelImageTests
{
    [Fact]
    public void The_packed_kernel_stands_behind_the_setup_sectors_and_ends_before_its_unpacked_size()
    {
        // A boot sector and two of setup, 16 bytes of the unpacking program, 8 bytes of kernel, and its size.
        var image = new byte[3 * 512 + 16 + 8 + 4];
        image[0x1f1] = 2;
        BinaryPrimitives.WriteInt32LittleEndian(image.AsSpan(0x248), 16);
        BinaryPrimitives.WriteInt32LittleEndian(image.AsSpan(0x24c), 12);
        "KERNEL!!size"u8.CopyTo(image.AsSpan(3 * 512 + 16));
        Assert.Equal("KERNEL!!"u8.ToArray(), KernelImage.Payload(image).ToArray());
    }
}
