using System.Runtime.CompilerServices;
using System.Text.Json;
using XenPciBack.Daemon.Commands;

namespace XenPciBack.Daemon.Tests;

/// <summary>What a node knows of the hosts, as <c>xenpciback fleet status --json</c> asks for it.</summary>
internal sealed class FleetView
{
    private readonly JsonElement _fleet;

    private FleetView(JsonElement fleet) => _fleet = fleet;

    public static async Task<FleetView> OfAsync(string socket) =>
        Of(await FleetCommand.GetAsync(socket, "/api/fleet", CancellationToken.None));

    public static FleetView Of(string json) => new(JsonDocument.Parse(json).RootElement);

    public static async Task<FleetView> WhenAsync(
        string socket, Func<FleetView, bool> condition, [CallerArgumentExpression(nameof(condition))] string what = "")
    {
        FleetView? view = null;
        await Eventually.IsTrueAsync(
            async () => condition(view = await OfAsync(socket)), () => $"the fleet is\n{view?._fleet}", what);
        return view!;
    }

    /// <summary>Its presence, or null if it has not reported.</summary>
    public string? PresenceOf(string host) => Find(host)?.GetProperty("presence").GetString();

    public int Connected(string host) =>
        Find(host)?.GetProperty("status") is { ValueKind: JsonValueKind.Object } status ? status.GetProperty("guests").EnumerateArray().Count(guest => guest.GetProperty("state").GetString() == "connected") : 0;

    /// <summary>Kinds and numbers, newest first.</summary>
    public IReadOnlyList<(string Kind, long Number)> IncidentsOf(string host) =>
        [.. _fleet.GetProperty("incidents").EnumerateArray().Where(incident => incident.GetProperty("host").GetString() == host)
            .Select(incident => (incident.GetProperty("kind").GetString()!, incident.GetProperty("number").GetInt64()))];

    private JsonElement? Find(string host)
    {
        foreach (var entry in _fleet.GetProperty("hosts").EnumerateArray())
            if (entry.GetProperty("host").GetString() == host) return entry;
        return null;
    }
}
