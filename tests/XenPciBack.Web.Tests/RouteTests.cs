using System.Net;
using System.Net.Http.Json;
using System.Text.Json;
using System.Text.RegularExpressions;
using XenPciBack.Backend.Status;
using XenPciBack.Fleet;
using XenPciBack.Fleet.Web;
using XenPciBack.Protocol;
using XenPciBack.Web.Preview;

namespace XenPciBack.Web.Tests;

public sealed class RouteTests : IAsyncLifetime
{
    private static CancellationToken Stop => TestContext.Current.CancellationToken;

    private readonly FleetBoard _board = new();
    private PreviewServer? _server;
    private HttpClient? _client;

    private HttpClient Client => _client!;

    public async ValueTask InitializeAsync()
    {
        _board.Update(_ => MadeUpFleet.Begin(DateTimeOffset.UtcNow));
        _server = await PreviewServer.StartAsync(_board, MadeUpFleet.ConfigAsync);
        _client = new HttpClient { BaseAddress = _server.Address };
    }

    public async ValueTask DisposeAsync()
    {
        Client.Dispose();
        await _server!.DisposeAsync();
    }

    [Fact]
    public async Task The_page_and_all_it_refers_to_is_served_from_here_and_nothing_of_it_may_come_from_elsewhere()
    {
        var seen = new HashSet<string>();
        var waiting = new Queue<string>(["/"]);
        while (waiting.TryDequeue(out var path))
        {
            if (!seen.Add(path)) continue;
            var response = await Client.GetAsync(path, Stop);
            Assert.Equal((path, HttpStatusCode.OK), (path, response.StatusCode));
            var policy = response.Headers.GetValues("Content-Security-Policy").Single();
            Assert.StartsWith("default-src 'none'", policy, StringComparison.Ordinal);
            Assert.DoesNotContain("unsafe", policy, StringComparison.Ordinal);
            Assert.DoesNotContain("http", policy, StringComparison.Ordinal);
            var text = await response.Content.ReadAsStringAsync(Stop);
            foreach (Match reference in Regex.Matches(text, """(?:(?:href|src)="|from ")\.?(/[^"]+)""")) waiting.Enqueue(reference.Groups[1].Value);
            Assert.DoesNotMatch("https?://(?!www.w3.org/2000/svg)", text);
        }
        Assert.Contains("/config.js", seen);
        Assert.Contains("/dashboard.css", seen);
    }

    [Fact]
    public async Task What_has_not_changed_is_not_sent_again()
    {
        var first = await Client.GetAsync("/main.js", Stop);
        var request = new HttpRequestMessage(HttpMethod.Get, "/main.js");
        request.Headers.IfNoneMatch.Add(first.Headers.ETag!);
        Assert.Equal(HttpStatusCode.NotModified, (await Client.SendAsync(request, Stop)).StatusCode);
    }

    [Fact]
    public async Task The_fleet_is_told_host_by_host_with_addresses_as_text_and_incidents_newest_first()
    {
        _board.Update(state => state.WithPresence("gamma", Presence.Lost, DateTimeOffset.UtcNow));
        var fleet = await JsonAsync("/api/fleet");
        Assert.Equal(["alpha up", "beta up", "gamma lost"], fleet.GetProperty("hosts").EnumerateArray().Select(host => $"{host.GetProperty("host").GetString()} {host.GetProperty("presence").GetString()}"));
        var guest = fleet.GetProperty("hosts")[0].GetProperty("status").GetProperty("guests")[0];
        Assert.Equal((4, "connected", "0000:03:00.0", "0000:00:00.0"), (guest.GetProperty("domain").GetInt32(), guest.GetProperty("state").GetString(),
            guest.GetProperty("devices")[0].GetProperty("device").GetString(), guest.GetProperty("devices")[0].GetProperty("virtual").GetString()));
        var times = fleet.GetProperty("incidents").EnumerateArray().Select(incident => incident.GetProperty("at").GetDateTimeOffset()).ToList();
        Assert.Equal(4, times.Count);
        Assert.Equal(times.OrderDescending(), times);
    }

    [Fact]
    public async Task A_guest_is_told_with_the_incidents_that_concern_it()
    {
        var guest = await JsonAsync("/api/hosts/gamma/guests/12");
        Assert.Equal(("desktop", "misbehaved"), (guest.GetProperty("guest").GetProperty("name").GetString(), guest.GetProperty("incidents").EnumerateArray().Single().GetProperty("kind").GetString()));
    }

    [Fact]
    public async Task A_config_space_is_told_byte_by_byte_with_its_named_registers_and_their_rules()
    {
        var config = await JsonAsync("/api/hosts/alpha/guests/4/devices/0000:03:00.0/config");
        Assert.Equal((8192, "8680d310"), (config.GetProperty("guest").GetString()!.Length, config.GetProperty("device").GetString()![..8]));
        var line = config.GetProperty("fields").EnumerateArray().Single(field => field.GetProperty("name").GetString() == "Interrupt Line");
        Assert.Equal((0x3C, 1, "the host's value, read-only"), (line.GetProperty("offset").GetInt32(), line.GetProperty("size").GetInt32(), line.GetProperty("rule").GetString()));
    }

    [Fact]
    public async Task A_figure_that_is_no_number_spoils_nothing()
    {
        _board.Update(state => state.WithStatus(state.Hosts["alpha"].Status! with { Number = 2, Guests = [.. state.Hosts["alpha"].Status!.Guests.Select(guest => guest with { Rate = double.NaN })] }, DateTimeOffset.UtcNow));
        Assert.Equal(0, (await JsonAsync("/api/fleet")).GetProperty("hosts")[0].GetProperty("status").GetProperty("guests")[0].GetProperty("rate").GetDouble());
    }

    [Theory]
    [InlineData("/api/hosts/delta/guests/4", 404, "there is no host 'delta'")]
    [InlineData("/api/hosts/alpha/guests/99", 404, "host 'alpha' has no guest 99")]
    [InlineData("/api/hosts/alpha/guests/-1", 400, "'-1' is not a domain id; expected 0 to 32751")]
    [InlineData("/api/hosts/alpha/guests/4/devices/0000:04:00.0/config", 404, "guest 4 of host 'alpha' has no device 0000:04:00.0, or the host does not answer")]
    [InlineData("/api/hosts/alpha/guests/4/devices/03:00/config", 400, "'03:00' is not a PCI address; expected ssss:bb:dd.f in hexadecimal")]
    public Task What_cannot_be_told_is_refused_with_the_reason(string path, int status, string error) =>
        IsRefusedAsync(Client, path, status, error);

    [Fact]
    public async Task The_answer_of_a_host_is_waited_for_only_for_a_while()
    {
        var times = new DashboardTimes { AnswerPatience = TimeSpan.FromMilliseconds(100) };
        await using var server = await PreviewServer.StartAsync(_board, NoAnswerAsync, times);
        using var client = new HttpClient { BaseAddress = server.Address };
        const string path = "/api/hosts/gamma/guests/12/devices/0000:65:00.0/config";
        await IsRefusedAsync(client, path, 504, "host 'gamma' has not answered within 0.1 s");

        static async Task<ConfigView?> NoAnswerAsync(
            string host, DomainId guest, HostBdf device, CancellationToken stop)
        {
            await Task.Delay(Timeout.Infinite, stop);
            return null;
        }
    }

    [Theory]
    [InlineData("localhost", true)]
    [InlineData("127.0.0.1", true)]
    [InlineData("[::1]:8080", true)]
    [InlineData("monitor.example:8080", true)]
    [InlineData("evil.example", false)]
    [InlineData("127.0.0.1.evil.example", false)]
    public async Task A_name_that_is_not_this_nodes_leads_nowhere(string host, bool served)
    {
        foreach (var path in new[] { "/", "/api/fleet", "/api/events" })
        {
            var request = new HttpRequestMessage(HttpMethod.Get, path);
            request.Headers.Host = host;
            using var response = await Client.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, Stop);
            Assert.Equal(served ? HttpStatusCode.OK : HttpStatusCode.MisdirectedRequest, response.StatusCode);
        }
    }

    [Theory]
    [InlineData("cross-site", "cors", HttpStatusCode.Forbidden)]
    [InlineData("same-site", "no-cors", HttpStatusCode.Forbidden)]
    [InlineData("cross-site", "navigate", HttpStatusCode.OK)]
    [InlineData("same-origin", "cors", HttpStatusCode.OK)]
    public async Task Pages_of_other_sites_may_link_here_and_not_ask(string site, string mode, HttpStatusCode expected)
    {
        var request = new HttpRequestMessage(HttpMethod.Get, "/api/fleet");
        request.Headers.Add("Sec-Fetch-Site", site);
        request.Headers.Add("Sec-Fetch-Mode", mode);
        Assert.Equal(expected, (await Client.SendAsync(request, Stop)).StatusCode);
    }

    [Theory]
    [InlineData("POST")]
    [InlineData("PUT")]
    [InlineData("DELETE")]
    [InlineData("PATCH")]
    public async Task Nothing_can_be_done_only_looked_at(string method)
    {
        foreach (var path in new[] { "/", "/api/fleet", "/api/events", "/api/hosts/alpha/guests/4", "/api/hosts/alpha/guests/4/devices/0000:03:00.0/config" })
        {
            var answer = await Client.SendAsync(new HttpRequestMessage(new HttpMethod(method), path), Stop);
            Assert.Equal(HttpStatusCode.MethodNotAllowed, answer.StatusCode);
        }
    }

    private static async Task IsRefusedAsync(HttpClient client, string path, int status, string error)
    {
        var response = await client.GetAsync(path, Stop);
        var refusal = await response.Content.ReadFromJsonAsync<JsonElement>(Stop);
        Assert.Equal((status, error), ((int)response.StatusCode, refusal.GetProperty("error").GetString()));
    }

    private async Task<JsonElement> JsonAsync(string path)
    {
        var response = await Client.GetAsync(path, Stop);
        Assert.Equal(HttpStatusCode.OK, response.StatusCode);
        Assert.False(response.Headers.Contains("Set-Cookie"));
        return await response.Content.ReadFromJsonAsync<JsonElement>(Stop);
    }
}
