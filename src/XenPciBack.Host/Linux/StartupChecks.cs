using System.Runtime.InteropServices;

namespace XenPciBack.Host.Linux;

/// <summary>One thing that keeps the backend from running: what, where it was looked for, what to do.</summary>
internal sealed record StartupProblem(string Message, int ExitCode);

/// <summary>
/// What must be true before the backend can serve anybody. All that fails is reported at once, most fundamental first, except
/// for what merely follows from not running on Xen.
/// </summary>
internal sealed class StartupChecks(string root)
{
    private const int ExitUnavailable = 69, ExitNoPermission = 77;

    /// <summary>Native libraries and the Debian packages that bring them.</summary>
    private static readonly (string Soname, string Package)[] Libraries =
    [
        (Interop.Libraries.XenGntTab, "libxengnttab1"),
        (Interop.Libraries.XenEvtchn, "libxenevtchn1"),
        (Interop.Libraries.XenCall, "libxencall1"),
    ];

    /// <summary>Device nodes and the kernel modules behind them.</summary>
    private static readonly (string Path, string Module)[] Devices =
    [
        ("/dev/xen/gntdev", "xen-gntdev"),
        ("/dev/xen/evtchn", "xen-evtchn"),
        ("/dev/xen/privcmd", "xen-privcmd"),
    ];

    private readonly string _root = root.TrimEnd('/');

    public IReadOnlyList<StartupProblem> Run()
    {
        var notDom0 = Dom0();
        IEnumerable<StartupProblem?> everywhere = [notDom0, Root(Interop.Libc.geteuid()), .. Libraries.Select(l => Library(l.Soname, l.Package))];
        IEnumerable<StartupProblem?> onDom0 = notDom0 is null ? [.. Devices.Select(d => Device(d.Path, d.Module)), Lockdown(), Stub()] : [];
        return [.. everywhere.Concat(onDom0).OfType<StartupProblem>()];
    }

    internal StartupProblem? Dom0()
    {
        const string type = "/sys/hypervisor/type", capabilities = "/proc/xen/capabilities";
        if (ReadLine(type) is not "xen")
            return Unavailable($"not running on Xen: {type} does not say xen. Boot the machine with Xen, or try: xenpciback demo");
        return ReadLine(capabilities) switch
        {
            null => Unavailable($"cannot tell whether this is dom0: {capabilities} is missing. Run: mount -t xenfs xenfs /proc/xen"),
            var text when text.Contains("control_d", StringComparison.Ordinal) => null,
            _ => Unavailable($"not running in dom0: {capabilities} does not contain control_d. The backend runs in the domain that owns the PCI devices"),
        };
    }

    internal static StartupProblem? Root(uint effectiveUser) =>
        effectiveUser == 0 ? null : new($"running as user {effectiveUser}: mapping guests' pages and writing config space need root. Start it as root", ExitNoPermission);

    internal static StartupProblem? Library(string soname, string package)
    {
        if (!NativeLibrary.TryLoad(soname, out var handle))
            return Unavailable($"library {soname} cannot be loaded. Install the Debian package {package}");
        NativeLibrary.Free(handle);
        return null;
    }

    internal StartupProblem? Device(string path, string module)
    {
        if (!File.Exists(_root + path))
            return Unavailable($"{path} is missing. Run: modprobe {module}");
        try
        {
            File.OpenHandle(_root + path, FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite).Dispose();
            return null;
        }
        catch (UnauthorizedAccessException)
        {
            return new($"{path} may not be opened. Start the daemon as root, and see that its confinement (systemd DeviceAllow=, AppArmor) lets it have this device", ExitNoPermission);
        }
        catch (IOException e)
        {
            return Unavailable($"{path} cannot be opened: {e.Message}. See the kernel log (dmesg)");
        }
    }

    /// <summary>The file lists every mode with the chosen one in brackets: <c>none [integrity] confidentiality</c>.</summary>
    internal StartupProblem? Lockdown()
    {
        const string file = "/sys/kernel/security/lockdown";
        var chosen = ReadLine(file) is { } modes && modes.IndexOf('[') is >= 0 and var open && modes.IndexOf(']', open) is > 0 and var close
            ? modes[(open + 1)..close]
            : "none";
        return chosen == "none"
            ? null
            : new($"the kernel is locked down ({chosen} in {file}) and refuses config-space writes from user space. Boot with lockdown=none, which usually means without secure boot", ExitNoPermission);
    }

    internal StartupProblem? Stub()
    {
        const string directory = "/sys/bus/pci/drivers/pciback";
        return Directory.Exists(_root + directory)
            ? null
            : Unavailable($"{directory} is missing: xl and this daemon need the kernel's pciback driver to hold the devices. Run: modprobe xen-pciback");
    }

    /// <summary>The first line of a small file; null where it cannot be read, which for these files means it is not there.</summary>
    private string? ReadLine(string path)
    {
        try
        {
            return File.ReadLines(_root + path).FirstOrDefault("");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }

    private static StartupProblem Unavailable(string message) => new(message, ExitUnavailable);
}
