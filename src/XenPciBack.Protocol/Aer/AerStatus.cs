using System.Collections.Frozen;

namespace XenPciBack.Protocol.Aer;

/// <summary>
/// Bits of the two AER status registers by name: uncorrectable at capability offset 0x04, correctable at 0x10 (PCI Express Base
/// Specification 7.8.4). Each has a short name, of the kernel's counters in sysfs, and a long one, of its trace event.
/// </summary>
public static class AerStatus
{
    private static readonly (int Bit, string Counter, string Name)[] Correctable =
    [
        (0, "RxErr", "Receiver Error"),
        (6, "BadTLP", "Bad TLP"),
        (7, "BadDLLP", "Bad DLLP"),
        (8, "Rollover", "RELAY_NUM Rollover"),
        (12, "Timeout", "Replay Timer Timeout"),
        (13, "NonFatalErr", "Advisory Non-Fatal Error"),
        (14, "CorrIntErr", "Corrected Internal Error"),
        (15, "HeaderOF", "Header Log Overflow"),
    ];

    private static readonly (int Bit, string Counter, string Name)[] Uncorrectable =
    [
        (0, "Undefined", "Undefined"),
        (4, "DLP", "Data Link Protocol Error"),
        (5, "SDES", "Surprise Down Error"),
        (12, "TLP", "Poisoned TLP"),
        (13, "FCP", "Flow Control Protocol Error"),
        (14, "CmpltTO", "Completion Timeout"),
        (15, "CmpltAbrt", "Completer Abort"),
        (16, "UnxCmplt", "Unexpected Completion"),
        (17, "RxOF", "Receiver Overflow"),
        (18, "MalfTLP", "Malformed TLP"),
        (19, "ECRC", "ECRC Error"),
        (20, "UnsupReq", "Unsupported Request Error"),
        (21, "ACSViol", "ACS Violation"),
        (22, "UncorrIntErr", "Uncorrectable Internal Error"),
        (23, "BlockedTLP", "MC Blocked TLP"),
        (24, "AtomicOpBlocked", "AtomicOp Egress Blocked"),
        (25, "TLPBlockedErr", "TLP Prefix Blocked Error"),
        (26, "PoisonTLPBlocked", "Poisoned TLP Egress Blocked"),
        (27, "DMWrReqBlocked", "DMWr Request Egress Blocked"),
        (28, "IDECheck", "IDE Check Failed"),
        (29, "MisIDETLP", "Misrouted IDE TLP"),
        (30, "PCRC_CHECK", "PCRC Check Failed"),
        (31, "TLPXlatBlocked", "TLP Translation Egress Blocked"),
    ];

    private static readonly FrozenDictionary<string, int> CorrectableBits = BitsByName(Correctable);
    private static readonly FrozenDictionary<string, int> UncorrectableBits = BitsByName(Uncorrectable);

    /// <summary>The long names of the bits that are set, the lowest first, joined by " | "; a bit without a name is "bit N".</summary>
    public static string Describe(AerSeverity severity, uint status) => status == 0 ? "no status"
        : string.Join(" | ", Enumerable.Range(0, 32).Where(bit => (status >> bit & 1) != 0).Select(bit => NameOf(severity, bit)));

    /// <summary>The long name of one bit, 0..31.</summary>
    public static string NameOf(AerSeverity severity, int bit) =>
        (severity == AerSeverity.Correctable ? Correctable : Uncorrectable).FirstOrDefault(known => known.Bit == bit).Name ?? $"bit {bit}";

    /// <summary>The bit with this short or long name; null if no bit is called so.</summary>
    public static int? BitOf(AerSeverity severity, string name) =>
        (severity == AerSeverity.Correctable ? CorrectableBits : UncorrectableBits).TryGetValue(name, out var bit) ? bit : null;

    private static FrozenDictionary<string, int> BitsByName((int Bit, string Counter, string Name)[] known) =>
        known.SelectMany(k => new[] { (k.Counter, k.Bit), (k.Name, k.Bit) }).Distinct().ToFrozenDictionary(n => n.Item1, n => n.Bit, StringComparer.OrdinalIgnoreCase);
}
