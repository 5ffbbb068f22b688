using System.Collections.Immutable;
using System.Globalization;
using System.Net;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using XenPciBack.Fleet;

namespace XenPciBack.Daemon.Configuration;

/// <summary>The settings of what a node shows to others, and to whom.</summary>
internal sealed partial class SettingsReader
{
    private FleetSettings ReadFleet()
    {
        var certificate = Certificate("fleet.tls");
        var authorities = Authorities("fleet.tls.authorities", isWanted: certificate is not null);
        var name = Text("fleet.name");
        return new FleetSettings(
            name.Length == 0 ? Environment.MachineName : name,
            Endpoint("fleet.listen", certificate is not null, "fleet.tls.certificate, key and authorities") ?? new IPEndPoint(IPAddress.Loopback, 0),
            Nodes("fleet.seeds"),
            certificate is null ? null : new FleetTls(certificate, authorities),
            LostAfter: Duration("fleet.lost-after", TimeSpan.FromSeconds(1), TimeSpan.FromMinutes(10)),
            GiveUpAfter: Duration("fleet.give-up-after", TimeSpan.FromSeconds(3), TimeSpan.FromHours(1)));
    }

    private WebSettings ReadWeb()
    {
        var certificate = Certificate("web.tls");
        var listen = Text("web.listen").Length == 0 ? null : Endpoint("web.listen", certificate is not null, "web.tls.certificate and key");
        var otlp = Text("web.otlp");
        if (otlp.Length > 0 && !(Uri.TryCreate(otlp, UriKind.Absolute, out var collector) && collector.Scheme is "http" or "https")) Fault("web.otlp", otlp, "an address that begins with http:// or https://, or nothing");
        return new WebSettings(listen, SocketPath("web.socket"), certificate, otlp.Length == 0 ? null : new Uri(otlp, UriKind.RelativeOrAbsolute));
    }

    /// <param name="tls">The settings that make an address possible which other machines reach.</param>
    private IPEndPoint? Endpoint(string key, bool isSecure, string tls)
    {
        var text = Text(key);
        if (!text.Contains(':', StringComparison.Ordinal) || text.EndsWith(']') || !IPEndPoint.TryParse(text, out var endpoint))
            Fault(key, text, "an IP address of this machine and a port, for example 127.0.0.1:4053 or [::1]:4053");
        else if (!isSecure && !IPAddress.IsLoopback(endpoint.Address))
            _faults.Add($"{_source}: {Root}.{key} is '{text}', which other machines reach; expected {Root}.{tls} with it, or a loopback address");
        else return endpoint;
        return null;
    }

    private ImmutableArray<DnsEndPoint> Nodes(string key)
    {
        var value = _config.GetValue($"{Root}.{key}");
        // An empty list is no array to this library.
        if (value.IsString())
        {
            Fault(key, value.ToString(), "a list of nodes, for example [\"192.0.2.1:4053\"]");
            return [];
        }
        var nodes = ImmutableArray.CreateBuilder<DnsEndPoint>();
        foreach (var text in value.GetStringList())
        {
            var colon = text.LastIndexOf(':');
            if (colon > 0 && int.TryParse(text[(colon + 1)..], NumberStyles.None, CultureInfo.InvariantCulture, out var port) && port is > 0 and <= IPEndPoint.MaxPort)
                nodes.Add(new DnsEndPoint(text[..colon], port));
            else
                Fault(key, text, "a node's address and port, for example 192.0.2.1:4053");
        }
        return nodes.ToImmutable();
    }

    private X509Certificate2? Certificate(string group)
    {
        var (certificate, key) = (Text($"{group}.certificate"), Text($"{group}.key"));
        if (certificate.Length == 0 && key.Length == 0) return null;
        try
        {
            return X509Certificate2.CreateFromPemFile(certificate, key);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or CryptographicException or ArgumentException)
        {
            _faults.Add($"{_source}: {Root}.{group}.certificate '{certificate}' with key '{key}' cannot be taken: {e.Message}; expected two files in PEM form that belong together");
            return null;
        }
    }

    private X509Certificate2Collection Authorities(string key, bool isWanted)
    {
        var authorities = new X509Certificate2Collection();
        if (!isWanted) return authorities;
        var path = Text(key);
        try
        {
            authorities.ImportFromPemFile(path);
            if (authorities.Count == 0) Fault(key, path, "a file in PEM form with the certificates of those who certify the nodes; it has none");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or CryptographicException or ArgumentException)
        {
            Fault(key, path, $"a file in PEM form with the certificates of those who certify the nodes; {e.Message}");
        }
        return authorities;
    }
}
