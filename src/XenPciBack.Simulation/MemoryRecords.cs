using System.Collections.Concurrent;
using XenPciBack.Host;

namespace XenPciBack.Simulation;

/// <summary>Records that outlive a daemon, and end with the simulated host.</summary>
public sealed class MemoryRecords : IRecords
{
    private readonly ConcurrentDictionary<string, string> _records = new();

    public IReadOnlyList<string> Names => [.. _records.Keys.Order(StringComparer.Ordinal)];

    public string? Read(string name) => _records.GetValueOrDefault(name);

    public void Write(string name, string text) => _records[name] = text;

    public void Remove(string name) => _records.TryRemove(name, out _);
}
