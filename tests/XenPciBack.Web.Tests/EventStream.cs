using System.Text.Json;

namespace XenPciBack.Web.Tests;

/// <summary>A viewer that reads server-sent events as a browser does.</summary>
internal sealed class EventStream : IDisposable
{
    private static CancellationToken Stop => TestContext.Current.CancellationToken;

    private readonly HttpResponseMessage _response;
    private readonly StreamReader _lines;

    private EventStream(HttpResponseMessage response, Stream body) => (_response, _lines) = (response, new StreamReader(body));

    public static async Task<EventStream> OpenAsync(HttpClient client)
    {
        var response = await client.GetAsync("/api/events", HttpCompletionOption.ResponseHeadersRead, Stop);
        response.EnsureSuccessStatusCode();
        return new EventStream(response, await response.Content.ReadAsStreamAsync(Stop));
    }

    /// <summary>The next event; null when the stream has ended.</summary>
    public async Task<(string Name, JsonElement Data)?> NextAsync()
    {
        var (name, data) = ("", "");
        while (await _lines.ReadLineAsync(Eventually.Limit) is { } line)
        {
            if (line.StartsWith("event: ", StringComparison.Ordinal)) name = line["event: ".Length..];
            else if (line.StartsWith("data: ", StringComparison.Ordinal)) data = line["data: ".Length..];
            else if (line.Length == 0) return (name, JsonDocument.Parse(data).RootElement);
        }
        return null;
    }

    public void Dispose()
    {
        _lines.Dispose();
        _response.Dispose();
    }
}
