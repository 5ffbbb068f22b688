using System.Collections.Concurrent;
using System.Collections.Immutable;
using System.Globalization;
using XenPciBack.Protocol;
using XenPciBack.Protocol.ConfigSpace;

namespace XenPciBack.Host.Linux;

/// <summary>
/// The host's PCI functions as the kernel shows them in sysfs. The kernel's own pciback driver stays bound as a stub: it keeps
/// other drivers off, is what xl looks for, and has the hypervisor prepare MSI-X.
/// </summary>
/// <param name="root">Where the file system begins; other than <c>/</c> only in tests.</param>
public sealed class SysfsPciHost(string root = "/") : IPciHost
{
    /// <summary>The driver that keeps a device for guests.</summary>
    public const string StubDriver = "pciback";

    private readonly string _root = root.TrimEnd('/');
    private readonly string _bus = root.TrimEnd('/') + "/sys/bus";
    private readonly string _cacheLine = root.TrimEnd('/') + "/sys/devices/system/cpu/cpu0/cache/index0/coherency_line_size";

    /// <summary>The functions that are with a guest now.</summary>
    private readonly ConcurrentDictionary<HostBdf, bool> _given = new();

    public IPciFunction Open(HostBdf bdf)
    {
        var directory = DirectoryOf(bdf);
        if (!Exists(bdf)) throw new PciFunctionUnavailableException(bdf, $"no such device: {directory} does not exist");

        var driver = DriverOf(bdf);
        if (driver != StubDriver)
            throw new PciFunctionUnavailableException(bdf,
                $"not set aside for guests: {(driver is null ? "it has no driver" : $"driver {driver} has it")}, {StubDriver} should; run: xl pci-assignable-add {bdf}");

        if (!_given.TryAdd(bdf, true))
            throw new PciFunctionUnavailableException(bdf, "already given to a guest; detach it there first: xl pci-detach") { IsInUse = true };
        try
        {
            return SysfsPciFunction.Open(bdf, directory, $"{_root}/sys/kernel/irq", ReadCacheLineSize(), onClose: () => _given.TryRemove(bdf, out _));
        }
        catch
        {
            _given.TryRemove(bdf, out _);
            throw;
        }
    }

    public string? ObjectionToMore => FileDescriptors.Objection;

    /// <summary>
    /// The stub driver's switches: its attributes <c>permissive</c> (set by xl for a device configured so) and
    /// <c>allow_interrupt_control</c>, and the module's parameter <c>permissive</c>. The stub forgets them when the device is unbound from it.
    /// </summary>
    public ConfigPolicy PolicyOf(HostBdf bdf)
    {
        var allDevices = ReadOrEmpty($"{_root}/sys/module/xen_pciback/parameters/permissive").Trim() == "Y";
        return new ConfigPolicy(allDevices || IsListed("permissive", bdf), IsListed("allow_interrupt_control", bdf));
    }

    /// <summary>Every function there is, by address.</summary>
    public IReadOnlyList<HostBdf> Functions => FunctionsIn($"{_bus}/pci/devices");

    public bool Exists(HostBdf bdf) => Directory.Exists(DirectoryOf(bdf));

    /// <summary>The driver that has the function; null if none has.</summary>
    public string? DriverOf(HostBdf bdf) => Path.GetFileName(new FileInfo($"{DirectoryOf(bdf)}/driver").LinkTarget);

    /// <summary>Vendor, device and class code (three bytes: class, subclass, programming interface) as the kernel has read them; null if the function has gone.</summary>
    public (int Vendor, int Device, int Class)? IdentityOf(HostBdf bdf)
    {
        int? Number(string file) => int.TryParse(ReadOrEmpty($"{DirectoryOf(bdf)}/{file}").Trim().TrimStart('0').TrimStart('x'), NumberStyles.HexNumber, CultureInfo.InvariantCulture, out var number) ? number : null;
        return (Number("vendor"), Number("device"), Number("class")) is ({ } vendor, { } device, { } classCode) ? (vendor, device, classCode) : null;
    }

    public ImmutableArray<HostBdf> BridgesAbove(HostBdf bdf) => [.. SysfsPciFunction.BridgesAbove(bdf, DirectoryOf(bdf))];

    public bool KernelBackendServes(DomainId guest, int deviceId) =>
        Path.Exists($"{_bus}/xen-backend/drivers/xen-pciback/pci-{guest}-{deviceId}");

    /// <summary>The functions that have an entry in a directory of sysfs, by address.</summary>
    /// <exception cref="IOException">It is not there.</exception>
    internal static IReadOnlyList<HostBdf> FunctionsIn(string directory) =>
        [.. Directory.EnumerateFileSystemEntries(directory).Select(path => Path.GetFileName(path)).Order(StringComparer.Ordinal)
            .SelectMany(name => HostBdf.TryParse(name, out var bdf) ? [bdf] : Array.Empty<HostBdf>())];

    private string DirectoryOf(HostBdf bdf) => $"{_bus}/pci/devices/{bdf}";

    private bool IsListed(string attribute, HostBdf bdf) =>
        ReadOrEmpty($"{_bus}/pci/drivers/{StubDriver}/{attribute}").Split('\n').Any(line => HostBdf.TryParse(line.Trim(), out var listed) && listed == bdf);

    // An older kernel has not every switch.
    private static string ReadOrEmpty(string path) => File.Exists(path) ? File.ReadAllText(path) : "";

    /// <summary>In units of 4 bytes. Where the kernel does not tell, 16: the 64 bytes of every x86 processor Xen runs on.</summary>
    private byte ReadCacheLineSize()
    {
        try
        {
            return byte.CreateChecked(int.Parse(File.ReadAllText(_cacheLine)) / 4);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or FormatException or OverflowException)
        {
            return 16;
        }
    }
}
