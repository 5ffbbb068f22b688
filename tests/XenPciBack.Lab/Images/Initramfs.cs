using System.Reflection;

namespace XenPciBack.Lab.Images;

/// <summary>The initramfs of dom0 and of guests: the cached archive of Debian's files, then one of the lab's scripts.</summary>
internal static class Initramfs
{
    /// <summary>Writes dom0's initramfs. /lab in it, which dom0 keeps, holds all that dom0 needs from us.</summary>
    public static async Task WriteAsync(LabImages images, string path)
    {
        await using var output = File.Create(path);
        await CopyAsync(images.DomainZeroBase, output);
        using var archive = new CpioArchive(output);
        archive.AddFile("init", Script("dom0-initramfs-init"), executable: true);
        foreach (var script in new[] { "dom0-init", "command-agent", "guest-console", "port", "shell-rc" })
            archive.AddFile($"lab/{script}", Script(script), executable: true);
        archive.AddFile("lab/guest.initrd", await GuestAsync(images));
    }

    /// <summary>The text of an embedded script.</summary>
    public static byte[] Script(string name)
    {
        using var resource = Assembly.GetExecutingAssembly().GetManifestResourceStream(name)
            ?? throw new InvalidOperationException($"no embedded script {name}");
        using var content = new MemoryStream();
        resource.CopyTo(content);
        return content.ToArray();
    }

    private static async Task<byte[]> GuestAsync(LabImages images)
    {
        using var output = new MemoryStream();
        using (var archive = new CpioArchive(output))
        {
            archive.AddFile("init", Script("guest-init"), executable: true);
            archive.AddFile("lab/command-agent", Script("command-agent"), executable: true);
        }
        await CopyAsync(images.GuestBase, output);
        return output.ToArray();
    }

    /// <summary>Copies an archive, zero-filled to four bytes: the alignment the next archive's header needs.</summary>
    private static async Task CopyAsync(string archive, Stream output)
    {
        var content = await File.ReadAllBytesAsync(archive);
        await output.WriteAsync(content);
        await output.WriteAsync(new byte[-content.Length & 3]);
    }
}
