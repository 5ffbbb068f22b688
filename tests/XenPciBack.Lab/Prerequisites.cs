using XenPciBack.Lab.Images;

namespace XenPciBack.Lab;

/// <summary>What the lab needs of the machine it runs on.</summary>
public static class Prerequisites
{
    /// <summary>Room for one release's images, in GiB, while they are built.</summary>
    private const int RoomGiB = 3;

    /// <summary>Programs and the Debian packages they come from.</summary>
    private static readonly (string Program, string Package)[] Always =
    [
        ("qemu-system-x86_64", "qemu-system-x86"), ("qemu-img", "qemu-utils"),
        ("setpriv", "util-linux"), ("mke2fs", "e2fsprogs"),
    ];

    private static readonly (string Program, string Package)[] ToBuild =
    [
        ("mmdebstrap", "mmdebstrap"), ("chroot", "coreutils"), ("xz", "xz-utils"), ("zstd", "zstd"), ("apt-get", "apt"),
    ];

    /// <summary>One line that names everything missing, or null where the lab can run.</summary>
    public static string? Missing(Release release)
    {
        var built = LabImages.Exist(release);
        var missing = (built ? Always : [.. Always, .. ToBuild])
            .Where(tool => !IsOnPath(tool.Program))
            .Select(tool => $"{tool.Program} (package {tool.Package})").ToList();
        if (!OperatingSystem.IsLinux()) missing.Add("Linux");
        if (!built && !Environment.IsPrivilegedProcess) missing.Add("root, which building the images takes");
        if (!built && RoomInGiB() is < RoomGiB and var room) missing.Add($"{RoomGiB} GiB of room for {LabImages.Cache}, there are {room}");
        return missing.Count == 0 ? null : $"the real-Xen lab ({release}) lacks {string.Join(", ", missing)}";
    }

    private static bool IsOnPath(string program) =>
        $"{Environment.GetEnvironmentVariable("PATH")}:/usr/sbin:/sbin".Split(':').Any(folder => File.Exists(Path.Combine(folder, program)));

    private static long RoomInGiB()
    {
        var folder = new DirectoryInfo(LabImages.Cache);
        while (!folder.Exists) folder = folder.Parent!;
        return new DriveInfo(folder.FullName).AvailableFreeSpace >> 30;
    }
}
