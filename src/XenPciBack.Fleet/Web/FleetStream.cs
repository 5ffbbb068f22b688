using System.Runtime.CompilerServices;
using System.Text.Json;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;

namespace XenPciBack.Fleet.Web;

/// <summary>
/// Tells viewers of every change, as server-sent events: <c>fleet</c> with everything at first, then <c>host</c> and <c>incident</c>, and <c>beat</c> so that a viewer
/// knows that silence means no news. What waits for a viewer is never more than the difference between what it has seen and what is so now: one that reads slowly is
/// told less often, one that does not read at all is dropped.
/// </summary>
internal sealed class FleetStream(FleetBoard board, DashboardTimes times)
{
    /// <summary>Viewers at a time; one more is asked to come back later.</summary>
    internal const int MostViewers = 32;

    // Each host is made text once for all viewers.
    private readonly ConditionalWeakTable<HostEntry, byte[]> _hosts = [];

    private int _viewers;

    public int Viewers => Volatile.Read(ref _viewers);

    public async Task ServeAsync(HttpContext context)
    {
        try
        {
            if (Interlocked.Increment(ref _viewers) > MostViewers)
            {
                context.Response.Headers.RetryAfter = "10";
                await Dashboard.RefuseAsync(context, StatusCodes.Status503ServiceUnavailable, $"{MostViewers} viewers are served already, which is the most");
                return;
            }
            // The node's end does not wait for viewers.
            var ending = context.RequestServices.GetRequiredService<IHostApplicationLifetime>().ApplicationStopping;
            using var stop = CancellationTokenSource.CreateLinkedTokenSource(context.RequestAborted, ending);
            await TellAsync(context, stop.Token);
        }
        catch (OperationCanceledException)
        {
            // The viewer has gone or was dropped, or the node ends.
        }
        finally
        {
            Interlocked.Decrement(ref _viewers);
        }
    }

    private async Task TellAsync(HttpContext context, CancellationToken stop)
    {
        context.Response.ContentType = "text/event-stream";
        var seen = board.State;
        Write("fleet", JsonSerializer.SerializeToUtf8Bytes(FleetJson.Fleet(seen), FleetJson.Options));
        while (true)
        {
            await FlushAsync();
            await Task.Delay(times.Pause, stop);
            if (await ChangeAsync(seen, stop) is not { } now)
            {
                Write("beat", JsonSerializer.SerializeToUtf8Bytes(new { At = DateTimeOffset.UtcNow }, FleetJson.Options));
                continue;
            }
            foreach (var (host, entry) in now.Hosts)
            {
                var before = seen.Hosts.GetValueOrDefault(host);
                if (entry == before) continue;
                if (entry.Status != before?.Status || entry.Presence != before?.Presence) Write("host", _hosts.GetValue(entry, _ => JsonSerializer.SerializeToUtf8Bytes(FleetJson.Host(host, entry), FleetJson.Options)));
                // A state a second is the usual change, and has no incident with it.
                if (entry.Incidents == before?.Incidents) continue;
                foreach (var told in entry.Incidents.Reverse().Where(told => before?.Incidents.Any(told.IsSame) != true))
                    Write("incident", JsonSerializer.SerializeToUtf8Bytes(FleetJson.Incident(told), FleetJson.Options));
            }
            seen = now;
        }

        // JSON has no line feed outside of strings and none within, so it is one line of an event.
        void Write(string name, byte[] json)
        {
            var writer = context.Response.BodyWriter;
            Append("event: "u8);
            Append(System.Text.Encoding.ASCII.GetBytes(name));
            Append("\ndata: "u8);
            Append(json);
            Append("\n\n"u8);

            void Append(ReadOnlySpan<byte> bytes) => System.Buffers.BuffersExtensions.Write(writer, bytes);
        }

        async Task FlushAsync()
        {
            using var patience = CancellationTokenSource.CreateLinkedTokenSource(stop);
            patience.CancelAfter(times.WritePatience);
            try
            {
                await context.Response.BodyWriter.FlushAsync(patience.Token);
            }
            catch (OperationCanceledException)
            {
                context.Abort();
                throw;
            }
        }
    }

    /// <returns>null if there was no change for as long as a beat.</returns>
    private async Task<FleetState?> ChangeAsync(FleetState seen, CancellationToken stop)
    {
        using var beat = CancellationTokenSource.CreateLinkedTokenSource(stop);
        beat.CancelAfter(times.Beat);
        try
        {
            return await board.NextAsync(seen, beat.Token);
        }
        catch (OperationCanceledException) when (!stop.IsCancellationRequested)
        {
            return null;
        }
    }
}
