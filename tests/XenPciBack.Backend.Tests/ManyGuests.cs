using System.Globalization;
using XenPciBack.Protocol;
using XenPciBack.Simulation.Guests;

namespace XenPciBack.Backend.Tests;

/// <summary>What counts the memory and the sockets of this process runs when no other test does.</summary>
[CollectionDefinition(nameof(AloneInTheProcess), DisableParallelization = true)]
public sealed class AloneInTheProcess;

/// <summary>What the proofs with many guests have in common; their size comes from the environment.</summary>
internal static class ManyGuests
{
    // A guest on a busy machine may be kept waiting; it must never be forgotten.
    public static readonly FrontendOptions Patient = new()
    {
        RequestTimeout = Eventually.Patience, PollTimeout = TimeSpan.FromMilliseconds(200),
    };

    /// <summary>A number from the environment.</summary>
    public static int Number(string name, int usual)
    {
        var text = Environment.GetEnvironmentVariable(name);
        return int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var number) ? number : usual;
    }

    /// <summary>The address of the one device of the guest at an index.</summary>
    public static HostBdf DeviceOf(int index) => new(0, (byte)(index / 8 + 0x10), (byte)(index % 8), 0);
}
