using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;

namespace XenPciBack.Fleet.Tests;

/// <summary>An authority that certifies nodes.</summary>
internal sealed class Certificates : IDisposable
{
    private readonly ECDsa _key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
    private readonly X509Certificate2 _own;

    public Certificates(string name)
    {
        var request = new CertificateRequest($"CN={name}", _key, HashAlgorithmName.SHA256);
        request.CertificateExtensions.Add(new X509BasicConstraintsExtension(certificateAuthority: true, hasPathLengthConstraint: false, 0, critical: true));
        _own = request.CreateSelfSigned(DateTimeOffset.UtcNow.AddDays(-1), DateTimeOffset.UtcNow.AddDays(1));
    }

    public FleetTls Of(string node)
    {
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var request = new CertificateRequest($"CN={node}", key, HashAlgorithmName.SHA256);
        using var certificate = request.Create(_own, DateTimeOffset.UtcNow.AddHours(-1), DateTimeOffset.UtcNow.AddHours(1), [1, .. RandomNumberGenerator.GetBytes(8)]);
        return new FleetTls(certificate.CopyWithPrivateKey(key), [_own]);
    }

    public void Dispose()
    {
        _own.Dispose();
        _key.Dispose();
    }
}
