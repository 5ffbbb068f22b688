namespace XenPciBack.Lab.Images;

/// <summary>A Debian release, which fixes one generation of hypervisor, toolstack and kernel.</summary>
/// <param name="Name">Debian's code name, as mirrors spell it.</param>
/// <param name="Xen">The version in the names of Debian's Xen packages.</param>
public sealed record Release(string Name, string Xen)
{
    /// <summary>Debian 12: Xen 4.17, Linux 6.1.</summary>
    public static Release Bookworm { get; } = new("bookworm", "4.17");

    /// <summary>Debian 13: Xen 4.20, Linux 6.12.</summary>
    public static Release Trixie { get; } = new("trixie", "4.20");

    public static IReadOnlyList<Release> All { get; } = [Bookworm, Trixie];

    public static Release Parse(string name) =>
        All.FirstOrDefault(release => release.Name == name)
        ?? throw new LabException($"unknown release \"{name}\": the lab knows {string.Join(" and ", All.Select(release => release.Name))}");

    /// <summary>What dom0's root disk holds besides Debian's essential packages.</summary>
    internal IReadOnlyList<string> Packages =>
    [
        "linux-image-amd64", $"xen-hypervisor-{Xen}-amd64", $"xen-utils-{Xen}", "xenstore-utils",
        "busybox-static", "gzip", "iproute2", "kmod", "pciutils", "procps", "strace", "udev", "util-linux", "xz-utils",
    ];

    public override string ToString() => Name;
}
