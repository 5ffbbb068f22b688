using System.Globalization;
using XenPciBack.Protocol;
using XenPciBack.Simulation.Guests;

namespace XenPciBack.Actors.Tests;

/// <summary>What counts the memory and the sockets of this process runs when no other test does.</summary>
[CollectionDefinition(nameof(AloneInTheProcess), DisableParallelization = true)]
public sealed class AloneInTheProcess;

/// <summary>Hundreds of guests, and how much of it is up to whoever runs the test.</summary>
[Collection(nameof(AloneInTheProcess))]
public abstract class ManyGuestsTest : BackendTest
{
    // A guest on a busy machine may be kept waiting; it must never be forgotten.
    protected static readonly FrontendOptions Patient = new() { RequestTimeout = Patience, PollTimeout = TimeSpan.FromMilliseconds(200) };

    /// <summary>A number from the environment.</summary>
    protected static int Number(string name, int usual) => int.TryParse(Environment.GetEnvironmentVariable(name), NumberStyles.None, CultureInfo.InvariantCulture, out var number) ? number : usual;

    /// <summary>The address of the one device of the guest at an index.</summary>
    protected static HostBdf DeviceOf(int index) => new(0, (byte)(index / 8 + 0x10), (byte)(index % 8), 0);
}
