using XenPciBack.Lab.Machine;

namespace XenPciBack.Lab.Churn;

/// <summary>What became of a device's interrupts over many loads of its driver and many guests.</summary>
/// <param name="Loads">How the driver interrupted the guest after each load: "MSI-X", "MSI" or "INTx".</param>
/// <param name="LeakedByReloads">Lines of <see cref="InterruptListing"/> that were not there before the first load, or are gone.</param>
/// <param name="LeakedByGuests">The same before the first and after the last guest.</param>
internal sealed record ChurnResult(IReadOnlyList<string> Loads, IReadOnlyList<string> LeakedByReloads, IReadOnlyList<string> LeakedByGuests)
{
    /// <summary>"50 x MSI-X", or "25 x MSI-X, 25 x INTx".</summary>
    public string LoadsInWords => string.Join(", ", Loads.CountBy(kind => kind).Select(kind => $"{kind.Value} x {kind.Key}"));
}

/// <summary>Loads and unloads the driver of an e1000e in a guest, then creates and destroys guests that use it.</summary>
internal static class DriverChurn
{
    public static async Task<ChurnResult> RunAsync(
        DomainZero dom0, QemuDevice card, BackendKind backend, int reloads, int guests, TextWriter progress)
    {
        string[] devices = [card.Bdf];
        await dom0.UseAsync(backend);
        var before = await InterruptListing.ReadAsync(dom0);
        var loads = new List<string>();
        IReadOnlyList<string> afterReloads;
        await using (var guest = await dom0.CreateGuestAsync("pv1", devices))
        {
            // The listing with the guest there and its driver gone: nothing but the line xl itself has mapped.
            var idle = await InterruptListing.ReadAsync(dom0);
            for (var i = 0; i < reloads; i++)
            {
                loads.Add(await LoadAsync(guest));
                await guest.UnloadCardDriverAsync();
                if (i % 10 == 9) progress.WriteLine($"{backend}: {i + 1} loads, the last with {loads[^1]}");
            }
            afterReloads = Difference(idle, await InterruptListing.ReadAsync(dom0));
            await guest.DestroyAsync();
        }
        for (var i = 0; i < guests; i++)
        {
            await using var guest = await dom0.CreateGuestAsync("pv1", devices);
            await LoadAsync(guest);
            // With the driver loaded and interrupts on.
            await guest.DestroyAsync();
            if (i % 5 == 4) progress.WriteLine($"{backend}: {i + 1} guests");
        }
        return new ChurnResult(loads, afterReloads, Difference(before, await InterruptListing.ReadAsync(dom0)));
    }

    private static async Task<string> LoadAsync(Guest guest)
    {
        await guest.LoadCardDriverAsync();
        var interrupts = await guest.RunAsync("grep eth0 /proc/interrupts");
        return interrupts.Contains("-msi-x ", StringComparison.Ordinal) ? "MSI-X" : interrupts.Contains("-msi ", StringComparison.Ordinal) ? "MSI" : "INTx";
    }

    private static IReadOnlyList<string> Difference(IReadOnlyList<string> before, IReadOnlyList<string> after) =>
        [.. after.Except(before).Select(line => $"new: {line}"), .. before.Except(after).Select(line => $"gone: {line}")];
}
