using System.Text.Json;
using XenPciBack.Backend.Errors;
using XenPciBack.Host;
using XenPciBack.Protocol;

namespace XenPciBack.Backend.Supervision;

/// <summary>A device of a guest is lost. Kept below /run until the guest is crashed and the device in
/// quarantine.</summary>
/// <param name="Vm">
/// What xenstore's <c>vm</c> of the domain says, which names the guest by its UUID: a domain id is used again, and the
/// next domain with that id must not be crashed. null: the toolstack writes no such node.
/// </param>
internal sealed record Loss(DomainId Guest, string? Vm, HostBdf Device, DateTimeOffset Since, string Reason)
{
    private sealed record Entry(string? Vm, DateTimeOffset Since, string Reason);

    /// <summary>The name of its record, the same as that of the guest's device.</summary>
    public string Name => $"{Guest}-{Device}";

    public QuarantinedDevice Quarantined => new(Device, Guest, Since, Reason);

    /// <summary>What is on record of losses that a daemon before this one did not see to the end.</summary>
    /// <exception cref="IOException">It cannot be read.</exception>
    public static IReadOnlyList<Loss> Unfinished(IRecords intents) =>
        [.. intents.Names.Select(name => Parse(name, intents.Read(name))).OfType<Loss>()];

    /// <summary>Whether the guest is the domain that has its id now.</summary>
    /// <param name="vm">The domain's <c>vm</c>; null: xenstored has no such domain, so that no other can have the
    /// id.</param>
    public bool IsOf(string? vm) => vm is null || vm == Vm;

    public string ToText() => JsonSerializer.Serialize(new Entry(Vm, Since, Reason));

    private static Loss? Parse(string name, string? text)
    {
        if (text is null || name.Split('-') is not [var domain, var bdf]
            || !DomainId.TryParse(domain, out var guest) || !HostBdf.TryParse(bdf, out var device))
            return null;
        try
        {
            var entry = JsonSerializer.Deserialize<Entry>(text)!;
            return new Loss(guest, entry.Vm, device, entry.Since, entry.Reason);
        }
        catch (JsonException)
        {
            // A daemon meant to keep the device from guests. Which domain it meant to crash is not known.
            return new Loss(guest, "", device, default, "the record of its loss cannot be read");
        }
    }
}
