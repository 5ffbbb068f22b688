using System.Buffers.Binary;
using System.Buffers.Text;
using System.Collections.Immutable;
using System.Globalization;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using XenPciBack.Protocol;
using XenPciBack.Protocol.ConfigSpace;
using XenPciBack.Protocol.SharedPage;

namespace XenPciBack.Host.Linux;

/// <summary>One function under /sys/bus/pci/devices. Reading and writing registers allocates nothing.</summary>
internal sealed class SysfsPciFunction : IPciFunction
{
    private const int ConventionalSize = 256, ExtendedSize = 4096;

    private readonly string _directory;
    private readonly SafeFileHandle _config;
    private readonly SafeFileHandle _irq;
    private readonly SafeFileHandle? _physicalConfig;
    private readonly Action _onClose;

    private SysfsPciFunction(HostBdf bdf, string directory, string kernelIrqs, byte cacheLineSize, Action onClose)
    {
        (_directory, _onClose) = (directory, onClose);
        var isVirtualFunction = Path.Exists($"{directory}/physfn");
        _config = File.OpenHandle($"{directory}/config", FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite);
        _irq = File.OpenHandle($"{directory}/irq", FileMode.Open, FileAccess.Read, FileShare.ReadWrite);
        if (isVirtualFunction) _physicalConfig = File.OpenHandle($"{directory}/physfn/config", FileMode.Open, FileAccess.Read, FileShare.ReadWrite);
        Facts = new PciFunctionFacts(bdf, ReadHexId("vendor"), ReadHexId("device"),
            new FileInfo($"{directory}/config").Length >= ExtendedSize ? ExtendedSize : ConventionalSize, isVirtualFunction, [.. BridgesAbove(bdf, directory)],
            [.. File.ReadLines($"{directory}/resource").Take(7).Select(ParseResource)], [.. SharersOf(kernelIrqs)], cacheLineSize);
    }

    /// <param name="kernelIrqs">/sys/kernel/irq: who listens on which line.</param>
    /// <param name="onClose">Runs once, when the function is disposed.</param>
    /// <exception cref="PciFunctionUnavailableException">Its files cannot be used, or its header is of no kind a guest can be given.</exception>
    public static SysfsPciFunction Open(HostBdf bdf, string directory, string kernelIrqs, byte cacheLineSize, Action onClose)
    {
        try
        {
            var function = new SysfsPciFunction(bdf, directory, kernelIrqs, cacheLineSize, onClose);
            if (function.Objection() is not { } objection) return function;
            function.Dispose();
            throw new PciFunctionUnavailableException(bdf, objection);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or FormatException)
        {
            throw new PciFunctionUnavailableException(bdf, $"{directory} cannot be used: {e.Message}");
        }
    }

    public PciFunctionFacts Facts { get; }

    public bool DecodesMemory
    {
        get
        {
            const int command = 0x04;
            const byte memory = 0x02;
            Span<byte> low = stackalloc byte[1];
            return Interop.Libc.ReadAt(_physicalConfig ?? _config, low, command) == 1 && (low[0] & memory) != 0;
        }
    }

    public int Irq
    {
        get
        {
            Span<byte> text = stackalloc byte[16];
            var length = Interop.Libc.ReadAt(_irq, text, 0);
            return length > 0 && Utf8Parser.TryParse(text[..length], out int irq, out _) ? irq : 0;
        }
    }

    public PciOpError Read(int offset, int size, out uint value)
    {
        value = uint.MaxValue >> (32 - 8 * size);
        if (offset >= Facts.ConfigSize) return PciOpError.Success;

        // One system call of the register's own width: the kernel turns it into one bus access of that width.
        Span<byte> bytes = stackalloc byte[sizeof(uint)];
        var read = Interop.Libc.ReadAt(_config, bytes[..size], offset);
        if (read == size) value = BinaryPrimitives.ReadUInt32LittleEndian(bytes);
        return Outcome(read, size);
    }

    public PciOpError Write(int offset, int size, uint value)
    {
        if (offset >= Facts.ConfigSize) return PciOpError.Success;

        Span<byte> bytes = stackalloc byte[sizeof(uint)];
        BinaryPrimitives.WriteUInt32LittleEndian(bytes, value);
        return Outcome(Interop.Libc.WriteAt(_config, bytes[..size], offset), size);
    }

    public ImmutableArray<byte> ReadAll()
    {
        var config = new byte[Facts.ConfigSize];
        var read = Math.Max(0, Interop.Libc.ReadAt(_config, config, 0));
        config.AsSpan(read).Fill(0xFF);
        return ImmutableCollectionsMarshal.AsImmutableArray(config);
    }

    public string? TryReset()
    {
        var path = $"{_directory}/reset";
        if (!File.Exists(path)) return "the kernel knows no way to reset this device alone";
        try
        {
            using var reset = File.OpenHandle(path, FileMode.Open, FileAccess.Write, FileShare.ReadWrite);
            var written = Interop.Libc.WriteAt(reset, "1"u8, 0);
            return written > 0 ? null : $"writing 1 to {path} failed: {Errnos.Name(-written)}";
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return e.Message;
        }
    }

    public void Dispose()
    {
        if (_config.IsClosed) return;
        _config.Dispose();
        _irq.Dispose();
        _physicalConfig?.Dispose();
        _onClose();
    }

    /// <summary>A file that shows less than it should, or a header neither of a device nor of a bridge.</summary>
    private string? Objection()
    {
        // Without CAP_SYS_ADMIN the kernel shows 64 bytes and lets the rest look like the end of the file.
        if (Interop.Libc.ReadAt(_config, stackalloc byte[4], ConventionalSize - 4) != 4)
            return $"only part of {_directory}/config can be read; run as root (CAP_SYS_ADMIN)";
        if (Read(0x0E, 1, out var headerType) != PciOpError.Success) return "its config space cannot be read";
        return (headerType & 0x7F) is 0 or 1 ? null : $"header type 0x{headerType:x2} is neither a device (0) nor a PCI bridge (1)";
    }

    /// <param name="moved">Bytes transferred or the negated errno.</param>
    private static PciOpError Outcome(int moved, int size) => moved switch
    {
        _ when moved == size => PciOpError.Success,
        // The file outlives the device, for whoever has it open.
        -Errnos.ENODEV => PciOpError.DeviceNotFound,
        < 0 => (PciOpError)moved,
        _ => PciOpError.OperationFailed,
    };

    // "ahci[0000:00:1f.2],eth0"; the kernel's own backend listens on the lines of its guests' devices.
    private IEnumerable<string> SharersOf(string kernelIrqs)
    {
        var actions = $"{kernelIrqs}/{Irq}/actions";
        if (Irq == 0 || !File.Exists(actions)) return [];
        return File.ReadAllText(actions).Trim().Split(',', StringSplitOptions.RemoveEmptyEntries)
            .Where(name => !name.StartsWith("xen-pciback[", StringComparison.Ordinal));
    }

    // The device's real directory lies in those of its bridges: /sys/devices/pci0000:00/0000:00:1c.0/0000:03:00.0.
    internal static IEnumerable<HostBdf> BridgesAbove(HostBdf bdf, string directory)
    {
        var real = directory;
        try
        {
            real = Directory.ResolveLinkTarget(directory, returnFinalTarget: true)?.FullName ?? directory;
        }
        catch (IOException)
        {
            // The device has been pulled out: there is nothing above it any more.
        }
        foreach (var name in real.Split('/'))
            if (HostBdf.TryParse(name, out var above) && above != bdf)
                yield return above;
    }

    private ushort ReadHexId(string file) => (ushort)ParseHex(File.ReadAllText($"{_directory}/{file}").Trim());

    /// <summary>One line of <c>resource</c>: first address, last address, flags, each <c>0x</c> and 16 digits.</summary>
    private static PciResource ParseResource(string line) =>
        line.Split(' ', StringSplitOptions.RemoveEmptyEntries) is [var start, var end, var flags]
            ? new PciResource(ParseHex(start), ParseHex(end), ParseHex(flags))
            : throw new FormatException($"'{line}' is not a line of a resource table");

    private static ulong ParseHex(string text) =>
        text.StartsWith("0x", StringComparison.Ordinal) && ulong.TryParse(text.AsSpan(2), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out var value)
            ? value
            : throw new FormatException($"'{text}' is not a hexadecimal number");
}
