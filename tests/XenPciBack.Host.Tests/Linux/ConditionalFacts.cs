using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace XenPciBack.Host.Tests.Linux;

/// <summary>Runs where Xen's libraries are installed but no Xen is below, as on a build machine.</summary>
public sealed class LibrariesWithoutXenFactAttribute : FactAttribute
{
    public LibrariesWithoutXenFactAttribute([CallerMemberName] string test = "")
    {
        if (File.Exists("/dev/xen/gntdev")) Skip = "needs a machine without /dev/xen";
        else if (!Loads("libxengnttab.so.1") || !Loads("libxenevtchn.so.1") || !Loads("libxencall.so.1"))
            Skip = "needs the Debian packages libxengnttab1, libxenevtchn1 and libxencall1";
        // `dotnet test` prints the names of skipped tests and not the reasons.
        if (Skip is not null) DisplayName = $"{test}: {Skip}";
    }

    private static bool Loads(string soname)
    {
        if (!NativeLibrary.TryLoad(soname, out var handle)) return false;
        NativeLibrary.Free(handle);
        return true;
    }
}

/// <summary>Runs where this machine has a PCI function and lets us read all of its config space.</summary>
public sealed class RealPciFactAttribute : FactAttribute
{
    public RealPciFactAttribute([CallerMemberName] string test = "")
    {
        if (AnyDevice is null) Skip = "needs a machine with PCI devices in /sys/bus/pci/devices";
        else if (!Environment.IsPrivilegedProcess) Skip = "needs root, or config space ends after 64 bytes";
        if (Skip is not null) DisplayName = $"{test}: {Skip}";
    }

    /// <summary>A function of this machine, by its sysfs name; null if it has none.</summary>
    public static string? AnyDevice { get; } = Directory.Exists("/sys/bus/pci/devices")
        ? Directory.EnumerateFileSystemEntries("/sys/bus/pci/devices").Select(Path.GetFileName).Order().FirstOrDefault()
        : null;
}
