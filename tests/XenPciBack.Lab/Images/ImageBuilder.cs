using System.IO.Compression;
using System.Text.RegularExpressions;

namespace XenPciBack.Lab.Images;

/// <summary>Builds a release's images with mmdebstrap from the mirror this machine's apt is configured with.</summary>
internal sealed partial class ImageBuilder(Release release, TextWriter progress)
{
    /// <summary>Sparse size of dom0's root disk, in MiB; the packages take about 700.</summary>
    private const int RootDiskMiB = 3072;

    /// <summary>What dom0's initramfs needs to mount its root disk.</summary>
    private static readonly string[] DomainZeroModules = ["crc32c_generic", "ext4", "ahci", "sd_mod"];

    /// <summary>
    /// The guest's side of PCI passthrough, what a frontend in user space needs (Scripts/raw-frontend.pl), and drivers for the
    /// devices QEMU can emulate.
    /// </summary>
    private static readonly string[] GuestModules =
    [
        "xen_pcifront", "xen_gntalloc", "xen_evtchn", "xen_privcmd", "sd_mod", "ne2k_pci", "e1000e", "e1000", "igb", "8139cp", "8139too", "pcnet32", "vmxnet3", "virtio_pci", "virtio_net", "virtio_rng",
        "virtio_blk", "nvme", "ahci", "xhci_pci", "sdhci_pci", "vmw_pvscsi",
    ];

    private static readonly string[] GuestPrograms = ["usr/bin/flock", "usr/bin/lspci", "usr/bin/setpci", "usr/bin/perl"];

    /// <summary>Documentation stays out of the disk; the Debian initramfs stays unbuilt, the lab makes its own.</summary>
    private static readonly string[] Options =
    [
        "--mode=root", "--variant=minbase", "--format=directory", "--quiet",
        "--dpkgopt=path-exclude=/usr/share/doc/*", "--dpkgopt=path-exclude=/usr/share/man/*",
        "--dpkgopt=path-exclude=/usr/share/locale/*",
    ];

    /// <summary>Everything the images depend on; its hash names the folder in the cache. Raise the first number when the code below changes.</summary>
    public static string Recipe(Release release) => string.Join(' ',
    [
        "3", release.Name, $"{RootDiskMiB}", .. release.Packages,
        .. DomainZeroModules, .. GuestModules, .. GuestPrograms, .. Options,
    ]);

    public async Task BuildAsync(string folder, CancellationToken cancellation)
    {
        progress.WriteLine($"building the {release} images (Xen {release.Xen}); this is done once");
        var root = Path.Combine(folder, "root");
        await ChildProcess.RunAsync("mmdebstrap",
            [.. Options, $"--include={string.Join(',', release.Packages)}", release.Name, root, await MirrorAsync()],
            new Dictionary<string, string> { ["INITRD"] = "No" }, cancellation);

        progress.WriteLine("packages installed; making the root disk and the initramfs archives");
        var tree = new RootTree(root);
        await RootTree.GunzipAsync(tree.PathOf($"boot/xen-{release.Xen}-amd64.gz"), Path.Combine(folder, "xen"));
        var kernel = Path.Combine(folder, "vmlinux");
        await KernelImage.UnpackAsync(tree.Kernel, kernel);
        File.Copy(kernel, Path.Combine(root, "boot/vmlinux"));
        await WriteDomainZeroBaseAsync(tree, Path.Combine(folder, "dom0.cpio.gz"));
        await WriteGuestBaseAsync(tree, Path.Combine(folder, "guest.cpio"));
        await DiskImage.CreateAsync(root, Path.Combine(folder, "root.img"), "lab-root", RootDiskMiB, cancellation);
        Directory.Delete(root, recursive: true);
    }

    private static async Task WriteDomainZeroBaseAsync(RootTree tree, string path)
    {
        await using var packed = new GZipStream(File.Create(path), CompressionLevel.Fastest);
        using var archive = new CpioArchive(packed);
        foreach (var mountPoint in new[] { "dev", "proc", "sys", "root" }) archive.AddDirectory(mountPoint);
        tree.AddFile(archive, "bin/busybox", executable: true);
        await tree.AddModulesAsync(archive, DomainZeroModules);
    }

    private static async Task WriteGuestBaseAsync(RootTree tree, string path)
    {
        // Not packed: each guest would unpack it under emulation.
        await using var output = File.Create(path);
        using var archive = new CpioArchive(output);
        foreach (var mountPoint in new[] { "dev", "proc", "sys", "run", "tmp" }) archive.AddDirectory(mountPoint);
        tree.AddFile(archive, "bin/busybox", executable: true);
        await tree.AddProgramsAsync(archive, GuestPrograms);
        tree.AddFile(archive, "usr/share/misc/pci.ids");
        foreach (var module in new[] { "strict.pm", "warnings.pm" }) tree.AddFile(archive, $"usr/lib/x86_64-linux-gnu/perl-base/{module}");
        await tree.AddModulesAsync(archive, GuestModules);
    }

    /// <summary>The mirror of this machine's own release, which holds the other release as well.</summary>
    private static async Task<string> MirrorAsync()
    {
        var codename = CodenameLine().Match(await File.ReadAllTextAsync("/etc/os-release")).Groups[1].Value;
        var targets = await ChildProcess.RunAsync("apt-get",
            ["indextargets", "--format", "$(RELEASE) $(COMPONENT) $(REPO_URI)", "Created-By: Packages"]);
        return targets.Split('\n').Select(line => line.Split(' '))
            .FirstOrDefault(target => target is [var suite, "main", _] && suite == codename)?[2]
            ?? throw new LabException($"apt is configured with no \"{codename} main\" source, so the lab knows no Debian mirror; apt-get indextargets said:\n{targets}");
    }

    [GeneratedRegex("^VERSION_CODENAME=(.*)$", RegexOptions.Multiline | RegexOptions.CultureInvariant)]
    private static partial Regex CodenameLine();
}
