using System.Collections.Frozen;
using System.Net;
using System.Reflection;
using System.Security.Cryptography;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Routing;
using XenPciBack.Backend.Status;
using XenPciBack.Protocol;

namespace XenPciBack.Fleet.Web;

/// <summary>
/// The web view of a fleet. It only reads: every route is a GET, nothing is kept of a viewer, and there is no cookie. The page and all it needs is in this assembly.
/// What is awaited here goes on where it began, so that answers are worked out on the threads that the caller has for them.
/// </summary>
public static class Dashboard
{
    private const string ContentSecurityPolicy =
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        // The browser itself then refuses to make markup of what hosts have sent.
        + "require-trusted-types-for 'script'";

    /// <param name="names">Names, besides addresses and <c>localhost</c>, under which a browser may ask for this node.</param>
    public static void MapDashboard(
        this IEndpointRouteBuilder app, FleetBoard board, ConfigViewSource config, DashboardTimes times,
        params string[] names)
    {
        var stream = new FleetStream(board, times);
        // One device at a time is read for viewers, however many they are.
        var reading = new SemaphoreSlim(1);
        foreach (var (path, asset) in Assets) Get(path, asset.WriteAsync);
        Get("/api/fleet", context => FleetJson.WriteAsync(context, FleetJson.Fleet(board.State)));
        Get("/api/events", stream.ServeAsync);
        Get("/api/hosts/{host}/guests/{domid}", context => GuestAsync(context, board.State));
        Get("/api/hosts/{host}/guests/{domid}/devices/{bdf}/config",
            context => ConfigAsync(context, config, reading, times.AnswerPatience));

        void Get(string path, RequestDelegate serve) => app.MapGet(path, context =>
        {
            var headers = context.Response.Headers;
            headers.ContentSecurityPolicy = ContentSecurityPolicy;
            headers.XContentTypeOptions = "nosniff";
            headers["Referrer-Policy"] = "no-referrer";
            headers["Cross-Origin-Resource-Policy"] = headers["Cross-Origin-Opener-Policy"] = "same-origin";
            headers.CacheControl = path.StartsWith("/api/", StringComparison.Ordinal) ? "no-store" : "no-cache";
            if (!IsOurs(context.Request.Host.Host, names))
                return RefuseAsync(context, StatusCodes.Status421MisdirectedRequest, $"'{context.Request.Host.Host}' is not a name of this node; expected an address, localhost, or a name that its settings list");
            if (IsForeign(context.Request))
                return RefuseAsync(context, StatusCodes.Status403Forbidden, "the page of another site has asked; expected the dashboard's own");
            return serve(context);
        });
    }

    /// <summary>A name that leads here only because somebody's name server says so (DNS rebinding) is none of ours. An address cannot be made to lead elsewhere.</summary>
    private static bool IsOurs(string host, string[] names) =>
        host.Equals("localhost", StringComparison.OrdinalIgnoreCase) || IPAddress.TryParse(host.Trim('[', ']'), out _) || names.Contains(host, StringComparer.OrdinalIgnoreCase);

    /// <summary>A browser says so when a page of another site asks; to follow a link from there is fine.</summary>
    private static bool IsForeign(HttpRequest request) =>
        request.Headers["Sec-Fetch-Site"].ToString() is "cross-site" or "same-site" && request.Headers["Sec-Fetch-Mode"] != "navigate";

    private static Task GuestAsync(HttpContext context, FleetState fleet)
    {
        if (!TryGuest(context, out var host, out var domain, out var refusal)) return refusal;
        if (!fleet.Hosts.TryGetValue(host, out var entry)) return RefuseAsync(context, StatusCodes.Status404NotFound, $"there is no host '{host}'");
        return entry.Status?.Guests.FirstOrDefault(guest => guest.Domain == domain) is { } found
            ? FleetJson.WriteAsync(context, FleetJson.Guest(host, entry, found))
            : RefuseAsync(context, StatusCodes.Status404NotFound, $"host '{host}' has no guest {domain}");
    }

    private static async Task ConfigAsync(
        HttpContext context, ConfigViewSource config, SemaphoreSlim reading, TimeSpan patience)
    {
        if (!TryGuest(context, out var host, out var domain, out var refusal))
        {
            await refusal;
            return;
        }
        var text = (string)context.Request.RouteValues["bdf"]!;
        if (!HostBdf.TryParse(text, out var device))
        {
            await RefuseAsync(context, StatusCodes.Status400BadRequest, $"'{text}' is not a PCI address; expected ssss:bb:dd.f in hexadecimal");
            return;
        }
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(context.RequestAborted);
        stop.CancelAfter(patience);
        ConfigView? view;
        try
        {
            await reading.WaitAsync(stop.Token);
            try
            {
                view = await config(host, domain, device, stop.Token).WaitAsync(stop.Token);
            }
            finally
            {
                reading.Release();
            }
        }
        catch (OperationCanceledException)
        {
            if (!context.RequestAborted.IsCancellationRequested)
                await RefuseAsync(
                    context, StatusCodes.Status504GatewayTimeout,
                    $"host '{host}' has not answered within {patience.TotalSeconds:0.#} s");
            return;
        }
        await (view is null
            ? RefuseAsync(context, StatusCodes.Status404NotFound, $"guest {domain} of host '{host}' has no device {device}, or the host does not answer")
            : FleetJson.WriteAsync(context, view));
    }

    private static bool TryGuest(HttpContext context, out string host, out DomainId domain, out Task refusal)
    {
        host = (string)context.Request.RouteValues["host"]!;
        var text = (string)context.Request.RouteValues["domid"]!;
        var ok = DomainId.TryParse(text, out domain);
        refusal = ok ? Task.CompletedTask : RefuseAsync(context, StatusCodes.Status400BadRequest, $"'{text}' is not a domain id; expected 0 to {DomainId.FirstReserved - 1}");
        return ok;
    }

    internal static Task RefuseAsync(HttpContext context, int status, string error)
    {
        context.Response.StatusCode = status;
        return FleetJson.WriteAsync(context, new { error });
    }

    /// <summary>The page's files by path.</summary>
    private static readonly FrozenDictionary<string, Asset> Assets = ReadAssets();

    private static FrozenDictionary<string, Asset> ReadAssets()
    {
        const string prefix = "page/";
        var assembly = Assembly.GetExecutingAssembly();
        return assembly.GetManifestResourceNames().Where(name => name.StartsWith(prefix, StringComparison.Ordinal)).ToFrozenDictionary(
            name => name == "page/index.html" ? "/" : $"/{name[prefix.Length..]}",
            name =>
            {
                using var resource = assembly.GetManifestResourceStream(name)!;
                var content = new byte[resource.Length];
                resource.ReadExactly(content);
                return new Asset(content, TypeOf(Path.GetExtension(name)), $"\"{Convert.ToHexStringLower(SHA256.HashData(content)[..8])}\"");
            });
    }

    private static string TypeOf(string extension) => extension switch
    {
        ".html" => "text/html; charset=utf-8",
        ".css" => "text/css; charset=utf-8",
        ".js" => "text/javascript; charset=utf-8",
        ".svg" => "image/svg+xml",
        _ => throw new InvalidOperationException($"No media type is known for {extension}"),
    };

    private sealed record Asset(byte[] Content, string Type, string Tag)
    {
        public Task WriteAsync(HttpContext context)
        {
            context.Response.Headers.ETag = Tag;
            if (context.Request.Headers.IfNoneMatch == Tag)
            {
                context.Response.StatusCode = StatusCodes.Status304NotModified;
                return Task.CompletedTask;
            }
            context.Response.ContentType = Type;
            context.Response.ContentLength = Content.Length;
            return context.Response.Body.WriteAsync(Content, context.RequestAborted).AsTask();
        }
    }
}
