using System.Security.Cryptography;
using System.Text;

namespace XenPciBack.Lab.Images;

/// <summary>
/// What one release boots from, built once from Debian packages and kept in the cache. Nothing of the lab's own is in
/// these files (see <see cref="Initramfs"/>), so a changed script builds no image anew.
/// </summary>
public sealed class LabImages
{
    private readonly string _folder;

    private LabImages(Release release, string folder) => (Release, _folder) = (release, folder);

    public Release Release { get; }

    /// <summary>The hypervisor, unpacked: QEMU boots it as a multiboot kernel.</summary>
    public string Xen => Path.Combine(_folder, "xen");

    /// <summary>Debian's kernel, unpacked, for dom0; for guests dom0 has it as <see cref="GuestKernel"/>.</summary>
    public string Kernel => Path.Combine(_folder, "vmlinux");

    /// <summary>Where the kernel of guests is in dom0.</summary>
    internal const string GuestKernel = "/boot/vmlinux";

    /// <summary>dom0's root: a raw ext4 file system without partitions. Used with snapshot=on, never written.</summary>
    public string RootDisk => Path.Combine(_folder, "root.img");

    internal string DomainZeroBase => Path.Combine(_folder, "dom0.cpio.gz");

    internal string GuestBase => Path.Combine(_folder, "guest.cpio");

    /// <summary>$XENPCIBACK_LAB_CACHE, or ~/.cache/xenpciback-lab.</summary>
    public static string Cache =>
        Environment.GetEnvironmentVariable("XENPCIBACK_LAB_CACHE") is { Length: > 0 } folder ? Path.GetFullPath(folder)
        : Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.UserProfile), ".cache", "xenpciback-lab");

    public static bool Exist(Release release) => Directory.Exists(FolderOf(release));

    /// <summary>The release's images, built first where the cache lacks them (1-2 minutes). Two callers build once.</summary>
    public static async Task<LabImages> EnsureAsync(Release release, TextWriter? progress = null, CancellationToken cancellation = default)
    {
        var folder = FolderOf(release);
        Directory.CreateDirectory(Cache);
        await using var building = await LockAsync(Path.Combine(Cache, $"{release}.lock"), progress, cancellation);
        if (!Directory.Exists(folder))
        {
            // Built beside its final place and renamed: what carries the final name is complete.
            var unfinished = Path.Combine(Cache, $"{release}.unfinished");
            DeleteTree(unfinished);
            Directory.CreateDirectory(unfinished);
            try
            {
                await new ImageBuilder(release, progress ?? TextWriter.Null).BuildAsync(unfinished, cancellation);
                Directory.Move(unfinished, folder);
            }
            finally
            {
                DeleteTree(unfinished);
            }
        }
        return new LabImages(release, folder);
    }

    private static string FolderOf(Release release) => Path.Combine(Cache, $"{release}-{Hash(ImageBuilder.Recipe(release))}");

    private static string Hash(string recipe) => Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(recipe)))[..12];

    private static void DeleteTree(string folder)
    {
        if (Directory.Exists(folder)) Directory.Delete(folder, recursive: true);
    }

    /// <summary>Waits until no other lab holds a file, and holds it until disposed.</summary>
    internal static async Task<FileStream> LockAsync(
        string path, TextWriter? progress, CancellationToken cancellation = default)
    {
        for (var announced = false; ; announced = true)
        {
            try
            {
                return new FileStream(path, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None);
            }
            catch (IOException)
            {
                if (!announced) progress?.WriteLine($"waiting for another lab that holds {path}");
                await Task.Delay(500, cancellation);
            }
        }
    }
}
