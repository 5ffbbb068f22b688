using System.Buffers.Binary;

namespace XenPciBack.Protocol.ConfigSpace;

/// <summary>Names the registers of a config space, for people: header fields, and capabilities with the fields of the usual ones.</summary>
public sealed class RegisterNames
{
    private static readonly (int Offset, string Name)[] CommonHeader =
    [
        (0x00, "Vendor ID"), (0x02, "Device ID"), (0x04, "Command"), (0x06, "Status"), (0x08, "Revision ID"), (0x09, "Class Code"),
        (0x0C, "Cache Line Size"), (0x0D, "Latency Timer"), (0x0E, "Header Type"), (0x0F, "BIST"),
    ];

    private static readonly (int Offset, string Name)[] EndpointHeader =
    [
        (0x10, "BAR 0"), (0x14, "BAR 1"), (0x18, "BAR 2"), (0x1C, "BAR 3"), (0x20, "BAR 4"), (0x24, "BAR 5"), (0x28, "CardBus CIS"),
        (0x2C, "Subsystem Vendor ID"), (0x2E, "Subsystem ID"), (0x30, "Expansion ROM"), (0x34, "Capabilities Pointer"), (0x35, "reserved"),
        (0x3C, "Interrupt Line"), (0x3D, "Interrupt Pin"), (0x3E, "Min_Gnt"), (0x3F, "Max_Lat"),
    ];

    private static readonly (int Offset, string Name)[] BridgeHeader =
    [
        (0x10, "BAR 0"), (0x14, "BAR 1"), (0x18, "Primary Bus"), (0x19, "Secondary Bus"), (0x1A, "Subordinate Bus"),
        (0x1B, "Secondary Latency Timer"), (0x1C, "I/O Base"), (0x1D, "I/O Limit"), (0x1E, "Secondary Status"), (0x20, "Memory Base"),
        (0x22, "Memory Limit"), (0x24, "Prefetchable Base"), (0x26, "Prefetchable Limit"), (0x28, "Prefetchable Base Upper"),
        (0x2C, "Prefetchable Limit Upper"), (0x30, "I/O Base Upper"), (0x32, "I/O Limit Upper"), (0x34, "Capabilities Pointer"),
        (0x35, "reserved"), (0x38, "Expansion ROM"), (0x3C, "Interrupt Line"), (0x3D, "Interrupt Pin"), (0x3E, "Bridge Control"),
    ];

    private const int Msi = 0x05;

    /// <summary>Capability IDs, their length in bytes and their fields (PCI Code and ID Assignment Specification).</summary>
    private static readonly Dictionary<int, (string Name, int Length, (int Offset, string Name)[] Fields)> Capabilities = new()
    {
        [0x01] = ("Power Management", 8, [(2, "PMC"), (4, "PMCSR"), (6, "PMCSR_BSE"), (7, "Data")]),
        [0x03] = ("VPD", 8, [(2, "Address"), (4, "Data")]),
        [0x04] = ("Slot Identification", 4, []),
        [Msi] = ("MSI", 12, [(2, "Message Control"), (4, "Message Address"), (8, "Upper Address or Data"), (12, "Data or Mask")]),
        [0x07] = ("PCI-X", 8, [(2, "Command"), (4, "Status")]),
        [0x09] = ("Vendor Specific", 3, [(2, "Length")]),
        [0x0D] = ("Subsystem IDs", 8, [(4, "Subsystem Vendor ID"), (6, "Subsystem ID")]),
        [0x10] = ("PCI Express", 60,
        [
            (2, "Capabilities"), (4, "Device Capabilities"), (8, "Device Control"), (10, "Device Status"), (12, "Link Capabilities"),
            (16, "Link Control"), (18, "Link Status"), (20, "Slot Capabilities"), (24, "Slot Control"), (26, "Slot Status"),
            (28, "Root Control"), (30, "Root Capabilities"), (32, "Root Status"), (36, "Device Capabilities 2"), (40, "Device Control 2"),
            (42, "Device Status 2"), (44, "Link Capabilities 2"), (48, "Link Control 2"), (50, "Link Status 2"),
        ]),
        [0x11] = ("MSI-X", 12, [(2, "Message Control"), (4, "Table"), (8, "PBA")]),
        [0x12] = ("SATA", 8, []),
        [0x13] = ("Advanced Features", 6, []),
    };

    private const int AdvancedErrorReporting = 0x01, AdvancedErrorReportingLength = 0x48;

    private static readonly (int Offset, string Name)[] AdvancedErrorReportingFields =
    [
        (4, "Uncorrectable Status"), (8, "Uncorrectable Mask"), (12, "Uncorrectable Severity"), (16, "Correctable Status"),
        (20, "Correctable Mask"), (24, "Control"), (28, "Header Log"), (44, "Root Error Command"), (48, "Root Error Status"),
        (52, "Error Source"), (56, "TLP Prefix Log"),
    ];

    /// <summary>The other extended capabilities are named as a whole, which may be longer.</summary>
    private const int ExtendedLength = 12;

    private static readonly Dictionary<int, string> ExtendedCapabilities = new()
    {
        [AdvancedErrorReporting] = "Advanced Error Reporting", [0x02] = "Virtual Channel", [0x03] = "Device Serial Number", [0x04] = "Power Budgeting",
        [0x0B] = "Vendor Specific Extended", [0x0D] = "Access Control Services", [0x0E] = "ARI", [0x0F] = "ATS", [0x10] = "SR-IOV",
        [0x13] = "Page Request", [0x15] = "Resizable BAR", [0x18] = "Latency Tolerance Reporting", [0x1B] = "PASID",
    };

    private readonly SortedList<int, string> _starts = [];

    /// <param name="config">As much of it as can be read: 256 or 4096 bytes.</param>
    public RegisterNames(ReadOnlySpan<byte> config)
    {
        if (config.Length < 0x40) return;
        var bridge = (config[0x0E] & 0x7F) == 1;
        foreach (var (offset, name) in CommonHeader.Concat(bridge ? BridgeHeader : EndpointHeader)) _starts[offset] = name;
        _starts[0x40] = "";
        AddCapabilities(config);
        AddExtendedCapabilities(config);
    }

    /// <summary>The register an offset lies in, such as "Command" or "MSI-X: Message Control"; empty where none is known.</summary>
    public string NameOf(int offset)
    {
        var name = "";
        foreach (var (start, register) in _starts)
        {
            if (start > offset) break;
            name = register;
        }
        return name;
    }

    /// <summary>Every register that has a name, in ascending order; none overlaps another.</summary>
    /// <param name="end">Bytes of the config space.</param>
    public IEnumerable<(int Offset, int Size, string Name)> Registers(int end)
    {
        for (var i = 0; i < _starts.Count; i++)
        {
            var (offset, name) = (_starts.GetKeyAtIndex(i), _starts.GetValueAtIndex(i));
            var next = i + 1 < _starts.Count ? _starts.GetKeyAtIndex(i + 1) : end;
            if (name.Length > 0 && offset < end) yield return (offset, Math.Min(next, end) - offset, name);
        }
    }

    private void AddCapabilities(ReadOnlySpan<byte> config)
    {
        var visited = new HashSet<int>();
        for (var at = config[0x34] & ~3; at >= 0x40 && at + 1 < Math.Min(256, config.Length) && visited.Add(at); at = config[at + 1] & ~3)
        {
            var (name, length, fields) = Capabilities.GetValueOrDefault(config[at], ($"capability {config[at]:x2}", 2, []));
            _starts[at] = $"{name}: ID";
            _starts[at + 1] = $"{name}: Next";
            if (length > 2) _starts[at + 2] = name;
            if (config[at] == Msi) length = MsiLength(config[at + 2] | config[at + 3] << 8);
            // Where the next capability follows at once, it has written or will write its own name.
            _starts.TryAdd(at + length, "");
            foreach (var (offset, field) in fields) _starts[at + offset] = $"{name}: {field}";
        }
    }

    // Twelve bytes, four more for a 64-bit address, and eight for mask and pending bits.
    private static int MsiLength(int control) => 12 + ((control & 0x80) != 0 ? 4 : 0) + ((control & 0x100) != 0 ? 8 : 0);

    private void AddExtendedCapabilities(ReadOnlySpan<byte> config)
    {
        if (config.Length <= 0x100) return;
        _starts[0x100] = "";
        var visited = new HashSet<int>();
        for (var at = 0x100; at >= 0x100 && at + 4 <= config.Length && visited.Add(at);)
        {
            var header = BinaryPrimitives.ReadUInt32LittleEndian(config[at..]);
            if (header is 0 or uint.MaxValue) return;
            var id = (int)(header & 0xFFFF);
            var name = ExtendedCapabilities.GetValueOrDefault(id, $"extended capability {id:x4}");
            _starts[at] = name;
            _starts.TryAdd(at + (id == AdvancedErrorReporting ? AdvancedErrorReportingLength : ExtendedLength), "");
            if (id == AdvancedErrorReporting)
                foreach (var (offset, field) in AdvancedErrorReportingFields) _starts[at + offset] = $"{name}: {field}";
            at = (int)(header >> 20) & ~3;
        }
    }
}
