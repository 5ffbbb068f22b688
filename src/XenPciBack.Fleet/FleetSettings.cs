using System.Collections.Immutable;
using System.Net;
using System.Security.Cryptography.X509Certificates;

namespace XenPciBack.Fleet;

/// <summary>A node's part in the fleet.</summary>
/// <param name="Name">The host's name in the fleet; each has its own.</param>
/// <param name="Listen">An address of this machine, at which the others find it; port 0: any.</param>
/// <param name="Seeds">Nodes to join the fleet through; the first of them founds it. Empty: this node founds one of its own.</param>
/// <param name="Tls">null: plain text, which only goes over loopback.</param>
/// <param name="LostAfter">A node that has not been heard of for about this long is lost.</param>
/// <param name="GiveUpAfter">A node that is lost for this long has to join again.</param>
public sealed record FleetSettings(
    string Name, IPEndPoint Listen, ImmutableArray<DnsEndPoint> Seeds, FleetTls? Tls,
    TimeSpan LostAfter, TimeSpan GiveUpAfter)
{
    /// <summary>
    /// A node does its periodic work once in this time: it tells the others who is a member, decides who becomes one,
    /// and reports a changed status. After two beats it tries again what has failed.
    /// </summary>
    public TimeSpan Beat { get; init; } = TimeSpan.FromSeconds(1);
}

/// <summary>Who this node is, and by whom the others must have been certified: both sides of each connection show a certificate.</summary>
/// <param name="Certificate">With its private key.</param>
public sealed record FleetTls(X509Certificate2 Certificate, X509Certificate2Collection Authorities);

/// <summary>Where dashboard, metrics and health are served, to be read only.</summary>
/// <param name="Listen">Port 0: any; null: nowhere but at the socket.</param>
/// <param name="Socket">A Unix socket for this machine's own command line.</param>
/// <param name="Certificate">With its private key; null: plain text, which only goes over loopback.</param>
/// <param name="Otlp">Where metrics are sent besides, by OTLP over gRPC; null: nowhere.</param>
public sealed record WebSettings(IPEndPoint? Listen, string Socket, X509Certificate2? Certificate, Uri? Otlp);

/// <summary>What a node is to show to others cannot be shown as it is set up.</summary>
public sealed class FleetException(string message) : Exception(message);
