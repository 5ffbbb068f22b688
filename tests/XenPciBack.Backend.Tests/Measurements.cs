using System.Collections.Concurrent;
using System.Diagnostics.Metrics;
using XenPciBack.Backend.Status;

namespace XenPciBack.Backend.Tests;

/// <summary>What an exporter would make of a backend's instruments.</summary>
public sealed class Measurements : IDisposable
{
    private readonly MeterListener _listener = new();
    private readonly ConcurrentDictionary<string, long> _recorded = new();
    private readonly List<Series> _observed = [];

    public sealed record Series(string Name, long Value, IReadOnlyDictionary<string, string?> Tags);

    internal Measurements(BackendMeters meters)
    {
        _listener.InstrumentPublished = (instrument, listener) =>
        {
            if (instrument.Meter == meters.Meter) listener.EnableMeasurementEvents(instrument);
        };
        _listener.SetMeasurementEventCallback<long>((instrument, value, tags, _) => _observed.Add(new Series(
            instrument.Name, value, tags.ToArray().ToDictionary(tag => tag.Key, tag => (string?)tag.Value))));
        _listener.SetMeasurementEventCallback<double>((instrument, _, _, _) =>
            _recorded.AddOrUpdate(instrument.Name, 1, (_, before) => before + 1));
        _listener.Start();
    }

    /// <summary>Every series there is now.</summary>
    public IReadOnlyList<Series> Scrape()
    {
        lock (_observed)
        {
            _observed.Clear();
            _listener.RecordObservableInstruments();
            return [.. _observed];
        }
    }

    /// <summary>The sum of the series of this name that have these tags.</summary>
    public long Sum(string name, params (string Key, string Value)[] tags) =>
        Scrape().Where(series => series.Name == name && tags.All(tag => series.Tags[tag.Key] == tag.Value))
            .Sum(series => series.Value);

    /// <summary>How many measurements a histogram has got.</summary>
    public long Recorded(string histogram) => _recorded.GetValueOrDefault(histogram);

    public void Dispose() => _listener.Dispose();
}
