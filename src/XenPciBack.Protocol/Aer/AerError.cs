using System.Collections.Immutable;
using System.Globalization;

namespace XenPciBack.Protocol.Aer;

/// <summary>Who has told of an error.</summary>
public enum AerSource
{
    /// <summary>The kernel's trace event <c>ras:aer_event</c>: one record for each error, with everything there is to know.</summary>
    Trace,

    /// <summary>The counters <c>aer_dev_*</c> in sysfs: severity and status, no header; several errors may come as one.</summary>
    Counters,

    /// <summary>The kernel object's event ERROR_EVENT: that there was an uncorrectable error at or beside the device, nothing more.</summary>
    Uevent,
}

/// <summary>An error, or several alike, that a function of the host has reported.</summary>
/// <param name="Status">Bits of the status register that belongs to the severity; 0 if they are not known.</param>
/// <param name="TlpHeader">The four dwords of the packet that met the error; empty if none was recorded.</param>
/// <param name="Count">1, or how many the counters rose by when nothing else told of them.</param>
public sealed record AerError(HostBdf Device, AerSeverity Severity, uint Status, ImmutableArray<uint> TlpHeader, AerSource Source, long Count = 1)
{
    /// <summary>The bit of <see cref="Status"/> that was set first, where the device remembers; null if it does not.</summary>
    public int? First { get; init; }

    public bool IsUncorrectable => Severity != AerSeverity.Correctable;

    /// <summary>One line for logs and error nodes: "fatal: Malformed TLP, TLP header 4a000001 00000004 01000000 00000000".</summary>
    public override string ToString()
    {
        var what = Source == AerSource.Uevent ? "uncorrectable, status unknown" : $"{Severity.ToText()}: {AerStatus.Describe(Severity, Status)}";
        var first = First is { } bit ? $", first {AerStatus.NameOf(Severity, bit)}" : "";
        var header = TlpHeader.IsEmpty ? "" : ", TLP header " + string.Join(' ', TlpHeader.Select(dword => dword.ToString("x8", CultureInfo.InvariantCulture)));
        var count = Count == 1 ? "" : string.Create(CultureInfo.InvariantCulture, $", {Count} times");
        return what + first + header + count;
    }
}
