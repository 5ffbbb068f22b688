using System.Collections.Immutable;
using System.Globalization;
using System.Text;
using XenPciBack.Backend.Tracing;
using XenPciBack.Protocol.ConfigSpace;
using XenPciBack.Protocol.SharedPage;

namespace XenPciBack.Daemon.Control;

/// <summary>One operation as it goes over the control socket, as a line of JSON, and as a person reads it.</summary>
/// <param name="At">When it was answered.</param>
/// <param name="Microseconds">From the request's copy to its answer.</param>
/// <param name="Device">The device's address on the host; null if the guest has none there.</param>
/// <param name="Place">The address the guest used.</param>
/// <param name="Code">The request's <c>cmd</c>.</param>
/// <param name="Value">What the guest sent: the value to write, or a count of vectors.</param>
/// <param name="Error">The answer's <c>err</c>.</param>
/// <param name="Answer">The answer's <c>value</c>.</param>
/// <param name="Accesses">What was done to the device.</param>
/// <param name="Missed">Operations before this one that could not be followed.</param>
internal sealed record TraceLine(
    DateTimeOffset At, double Microseconds, int Guest, string? Device, string Place, uint Code, int Offset, int Size, uint Value, IReadOnlyList<ushort> Entries,
    int Error, uint Answer, IReadOnlyList<ushort> Vectors, string? Reason, string Register, IReadOnlyList<FieldOutcome> Fields, ImmutableArray<DeviceAccess> Accesses, long Missed)
{
    private static readonly string[] Names = ["read", "write", "enable_msi", "disable_msi", "enable_msix", "disable_msix"];

    public static TraceLine Of(TracedOperation operation, long missed)
    {
        var (request, answer) = (operation.Request, operation.Answer);
        return new TraceLine(operation.At, operation.Took.TotalMicroseconds, operation.Guest.Value, operation.Device?.ToString(),
            string.Create(CultureInfo.InvariantCulture, $"{request.Segment:x4}:{request.Bus:x2}:{request.DevFn >> 3:x2}.{request.DevFn & 7}"),
            (uint)request.Code, request.Offset, request.Size, request.Value, request.MsixEntries,
            (int)answer.Error, answer.Value, answer.Vectors, answer.Reason, operation.Register, operation.Fields, operation.Accesses, missed);
    }

    /// <summary>One line for the operation, then one for each field that is not simply as the device has it.</summary>
    public string ToText()
    {
        var text = new StringBuilder();
        if (Missed > 0) text.AppendLine(CultureInfo.InvariantCulture, $"... {Missed} operations were too fast to be shown");
        text.Append(CultureInfo.InvariantCulture, $"{At.ToLocalTime():HH:mm:ss.ffffff} {Guest,3} {Device ?? Place + " (nothing there)"} {Name,-12} {Subject,-42} {Outcome,-24} {Microseconds,5:0} us");
        foreach (var field in Fields.Where(IsTelling))
            text.AppendLine().Append(' ', 20).Append(Describe(field));
        return text.ToString();
    }

    private string Name => Code < Names.Length ? Names[Code] : string.Create(CultureInfo.InvariantCulture, $"opcode {Code}");

    private string Subject => (PciOpCode)Code switch
    {
        PciOpCode.ConfRead or PciOpCode.ConfWrite => string.Create(CultureInfo.InvariantCulture, $"{Offset:x3}/{Size} {Register}"),
        PciOpCode.EnableMsix => $"{Value} vectors, entries {string.Join(' ', Entries)}",
        _ => "",
    };

    private string Outcome
    {
        get
        {
            var written = Code == (uint)PciOpCode.ConfWrite ? $"<- {Hex(Value, Size)} " : "";
            if (Error != 0) return string.Create(CultureInfo.InvariantCulture, $"{written}err {Error}{(Reason is null ? "" : ", " + Reason)}");
            return (PciOpCode)Code switch
            {
                PciOpCode.ConfRead => "= " + Hex(Answer, Size),
                PciOpCode.ConfWrite => written,
                PciOpCode.EnableMsi => string.Create(CultureInfo.InvariantCulture, $"PIRQ {Answer}"),
                PciOpCode.EnableMsix => $"PIRQs {string.Join(' ', Vectors)}",
                _ => "done",
            };
        }
    }

    // What is as the device has it, or was there already, needs no words.
    private static bool IsTelling(FieldOutcome field) => field.Effect is not (FieldEffect.AsOnDevice or FieldEffect.Unchanged);

    private static string Describe(FieldOutcome field)
    {
        var guest = Hex(field.Guest, field.Size);
        var device = field.Device is { } known ? $", the device has {Hex(known, field.Size)}" : "";
        var what = field.Effect switch
        {
            FieldEffect.Virtual => $"reads {guest}{device}",
            FieldEffect.Allowed => "allowed",
            FieldEffect.Filtered => $"filtered: {Hex(field.Asked ?? 0, field.Size)} asked, the guest reads {guest}{device}",
            FieldEffect.Dropped => $"dropped: stays {guest}",
            _ => "refused",
        };
        return string.Create(CultureInfo.InvariantCulture, $"{field.Offset:x3}/{field.Size} {what} ({field.Rule})");
    }

    private static string Hex(uint value, int size) => value.ToString("x8", CultureInfo.InvariantCulture)[(size is 1 or 2 ? 8 - 2 * size : 0)..];
}
