using XenPciBack.Protocol.SharedPage;

namespace XenPciBack.Backend.Status;

/// <summary>
/// Operations by opcode and result, both from fixed lists, whatever a guest sends. One thread writes at a time; others read whenever they like.
/// </summary>
internal sealed class OperationCounts
{
    /// <summary>As xen/interface/io/pciif.h names them; the last one stands for those it does not know.</summary>
    public static readonly string[] Operations = ["conf_read", "conf_write", "enable_msi", "disable_msi", "enable_msix", "disable_msix", "unknown"];

    /// <summary>Likewise; <c>errno</c> stands for every error that is handed through, <c>late</c> for an answer the guest had given up waiting for.</summary>
    public static readonly string[] Results = ["ok", "dev_not_found", "invalid_offset", "access_denied", "not_implemented", "op_failed", "errno", "late"];

    private const int Errno = 6, Late = 7;

    private readonly long[] _counts = new long[Operations.Length * Results.Length];

    /// <summary>The place of an opcode in <see cref="Operations"/>.</summary>
    public static int IndexOf(PciOpCode code) => (int)Math.Min((uint)code, (uint)Operations.Length - 1);

    public void Add(int operation, PciOpError error, bool isLate) => _counts[operation * Results.Length + (isLate ? Late : IndexOf(error))]++;

    public void Add(OperationCounts others)
    {
        for (var i = 0; i < _counts.Length; i++) _counts[i] += others._counts[i];
    }

    /// <summary>Those that have happened.</summary>
    public IEnumerable<OperationCount> All
    {
        get
        {
            for (var i = 0; i < _counts.Length; i++)
                if (Volatile.Read(ref _counts[i]) is > 0 and var count)
                    yield return new OperationCount(Operations[i / Results.Length], Results[i % Results.Length], count);
        }
    }

    private static int IndexOf(PciOpError error) => (uint)-(int)error < Errno ? -(int)error : Errno;
}
