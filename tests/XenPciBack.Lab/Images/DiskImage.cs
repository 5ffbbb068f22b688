namespace XenPciBack.Lab.Images;

/// <summary>ext4 file systems made from folders, without mounting anything.</summary>
internal static class DiskImage
{
    /// <param name="label">What dom0 finds it by, at most 16 characters: its kernel probes disks in no fixed order.</param>
    /// <param name="sizeMiB">The file system's size in MiB; the file is sparse. By default what the folder needs.</param>
    public static async Task CreateAsync(string folder, string image, string label, int? sizeMiB = null, CancellationToken cancellation = default)
    {
        var size = sizeMiB ?? SizeMiB(folder) * 5 / 4 + 16;
        await ChildProcess.RunAsync("mke2fs",
            ["-q", "-t", "ext4", "-O", "^has_journal", "-E", "root_owner=0:0", "-L", label, "-d", folder, image, $"{size}M"], cancellation: cancellation);
    }

    private static int SizeMiB(string folder) =>
        (int)(new DirectoryInfo(folder).EnumerateFiles("*", SearchOption.AllDirectories).Sum(file => file.Length + 4096) >> 20);
}
