namespace XenPciBack.Lab.Fuzz;

/// <summary>
/// A difference from the kernel's backend that is wanted. Its name is the first column of src/DEVIATIONS.md, word for word.
/// </summary>
internal sealed record KnownDeviation(string Name, Func<FuzzOperation, FuzzOutcome, FuzzOutcome, bool> Explains)
{
    private const int InterruptLine = 0x3C;

    public static readonly IReadOnlyList<KnownDeviation> All =
    [
        new("Config offset below 0 or from 4096 on", (op, _, daemon) =>
            op.Command <= FuzzOperation.Write && (op.Offset < 0 || op.Offset > 4096 - op.Size) && daemon.Error == -2),
        new("Bits of a config read above the access width", (op, kernel, daemon) =>
            op.Command == FuzzOperation.Read && kernel.Error == daemon.Error && (kernel.Value & op.Mask) == daemon.Value),
        new("Virtual devfn above 0xFF in a request", (op, _, daemon) => op.DevFn > 0xFF && daemon.Error == -1),
        new("Interrupt line register (0x3C) while MSI is on", (op, kernel, daemon) =>
            op.Command == FuzzOperation.Read && op.Touches(InterruptLine) && kernel.Error == daemon.Error
            && ((kernel.Value ^ daemon.Value) & op.Mask & ~(0xFFu << (8 * (InterruptLine - op.Offset)))) == 0),
        new("disable_msi while MSI-X is on, which Linux 6.1's frontend sends when a driver is unloaded", (op, kernel, daemon) =>
            op.Command is FuzzOperation.DisableMsi or FuzzOperation.DisableMsix && (kernel.Error, daemon.Error) == (0, 0)),
    ];
}
