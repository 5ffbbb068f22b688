using System.Net;
using System.Net.Sockets;
using System.Text;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.Extensions.Logging;
using XenPciBack.Fleet;
using XenPciBack.Fleet.Web;
using XenPciBack.Web.Preview;

namespace XenPciBack.Web.Tests;

public sealed class StreamTests : IAsyncLifetime
{
    private static CancellationToken Stop => TestContext.Current.CancellationToken;

    private static readonly DashboardTimes Times = new()
    {
        Beat = TimeSpan.FromMilliseconds(300), WritePatience = TimeSpan.FromSeconds(2),
    };

    private readonly FleetBoard _board = new();
    private FleetStream? _stream;
    private WebApplication? _app;
    private HttpClient? _client;

    private HttpClient Client => _client!;

    public async ValueTask InitializeAsync()
    {
        _board.Update(_ => MadeUpFleet.Begin(DateTimeOffset.UtcNow));
        _stream = new FleetStream(_board, Times);
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.UseUrls("http://127.0.0.1:0");
        _app = builder.Build();
        _app.MapGet("/api/events", _stream.ServeAsync);
        await _app.StartAsync(Stop);
        _client = new HttpClient { BaseAddress = new Uri(_app.Urls.Single()) };
    }

    public async ValueTask DisposeAsync()
    {
        Client.Dispose();
        await _app!.DisposeAsync();
    }

    [Fact]
    public async Task Everything_is_told_at_first_and_then_only_what_has_changed()
    {
        using var viewer = await EventStream.OpenAsync(Client);
        Assert.Equal(("fleet", 3), await viewer.NextAsync() is var (name, data) ? (name, data.GetProperty("hosts").GetArrayLength()) : default);
        _board.Update(state => MadeUpFleet.Break(state, DateTimeOffset.UtcNow));
        Assert.Equal(["host beta", "incident 1", "incident 2"], await ToldAsync(viewer, 3));
        _board.Update(state => state.WithIncident(MadeUpFleet.Told("beta", 3, DateTimeOffset.UtcNow, Backend.Status.IncidentKind.Recovered, null, MadeUpFleet.Nic, "one more"), DateTimeOffset.UtcNow));
        _board.Update(state => state.WithPresence("gamma", Presence.Lost, DateTimeOffset.UtcNow));
        Assert.Equal(["host gamma", "incident 3"], (await ToldAsync(viewer, 2)).Order());
        Assert.Equal("beat", (await viewer.NextAsync())?.Name);
    }

    [Fact]
    public async Task An_incident_and_a_state_that_are_told_again_are_no_news()
    {
        using var viewer = await EventStream.OpenAsync(Client);
        await viewer.NextAsync();
        var known = _board.State;
        _board.Update(state => known.Incidents.Aggregate(state, (so, told) => so.WithIncident(told, DateTimeOffset.UtcNow)).WithStatus(known.Hosts["alpha"].Status!, DateTimeOffset.UtcNow));
        Assert.Equal("beat", (await viewer.NextAsync())?.Name);
    }

    [Fact]
    public async Task A_viewer_is_told_the_difference_however_much_has_happened_meanwhile()
    {
        using var viewer = await EventStream.OpenAsync(Client);
        await viewer.NextAsync();
        var fleet = new MadeUpFleet(seed: 1);
        const int changes = 3000;
        for (var i = 0; i < changes; i++) _board.Update(state => fleet.Next(state, DateTimeOffset.UtcNow));
        var events = 0;
        long last;
        do
        {
            var (name, data) = (await viewer.NextAsync())!.Value;
            events++;
            last = name == "host" && data.GetProperty("host").GetString() == "gamma" ? data.GetProperty("status").GetProperty("number").GetInt64() : 0;
        }
        while (last < changes + 1);
        Assert.InRange(events, 3, changes / 10);
    }

    [Fact]
    public async Task There_is_room_for_so_many_viewers_and_for_another_when_one_has_gone()
    {
        var viewers = new List<EventStream>();
        for (var i = 0; i < FleetStream.MostViewers; i++) viewers.Add(await EventStream.OpenAsync(Client));
        var refused = await Client.GetAsync("/api/events", Stop);
        Assert.Equal((HttpStatusCode.ServiceUnavailable, TimeSpan.FromSeconds(10)), (refused.StatusCode, refused.Headers.RetryAfter?.Delta));
        viewers[0].Dispose();
        await Eventually.IsTrueAsync(() => _stream!.Viewers < FleetStream.MostViewers);
        viewers[0] = await EventStream.OpenAsync(Client);
        viewers.ForEach(viewer => viewer.Dispose());
    }

    [Fact]
    public async Task A_viewer_that_does_not_read_is_dropped()
    {
        using var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp) { ReceiveBufferSize = 4096 };
        await socket.ConnectAsync(IPAddress.Loopback, Client.BaseAddress!.Port, Stop);
        await socket.SendAsync(Encoding.ASCII.GetBytes("GET /api/events HTTP/1.1\r\nHost: localhost\r\n\r\n"), Stop);
        await Eventually.IsTrueAsync(() => _stream!.Viewers == 1);
        await Eventually.IsTrueAsync(() =>
        {
            _board.Update(state => state.WithStatus(state.Hosts["alpha"].Status! with { Number = state.Hosts["alpha"].Status!.Number + 1, Xen = new string('x', 4 << 20) }, DateTimeOffset.UtcNow));
            return _stream!.Viewers == 0;
        });
    }

    [Fact]
    public async Task The_nodes_end_waits_for_no_viewer()
    {
        using var viewer = await EventStream.OpenAsync(Client);
        await viewer.NextAsync();
        // Kestrel itself waits half a minute for requests that do not end.
        await _app!.StopAsync(Stop).WaitAsync(TimeSpan.FromSeconds(20), Stop);
        Assert.Equal(0, _stream!.Viewers);
    }

    /// <summary>What the viewer is told next, apart from beats.</summary>
    private static async Task<List<string>> ToldAsync(EventStream viewer, int count)
    {
        var told = new List<string>();
        while (told.Count < count)
        {
            if (await viewer.NextAsync() is not var (name, data)) told.Add("the end");
            else if (name == "host") told.Add($"host {data.GetProperty("host")}");
            else if (name != "beat") told.Add($"{name} {data.GetProperty("number")}");
        }
        return told;
    }
}
