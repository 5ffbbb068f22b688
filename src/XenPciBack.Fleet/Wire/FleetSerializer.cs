using System.Runtime.Serialization;
using System.Text.Json;
using System.Text.Json.Serialization.Metadata;
using Akka.Actor;
using Akka.Event;
using Akka.Serialization;

namespace XenPciBack.Fleet.Wire;

/// <summary>Turns the fleet's messages into bytes and back; each kind and version has a manifest. What it does not know, or what is too large, is refused with a line in the log.</summary>
public sealed class FleetSerializer(ExtendedActorSystem system) : SerializerWithStringManifest(system)
{
    /// <summary>Of one message, in bytes: some 500 guests with two devices each.</summary>
    public const int Largest = 1 << 20;

    private const string ReportV1 = "report/1", ReportSeenV1 = "report-seen/1", ConfigViewWantedV1 = "config-view-wanted/1", ConfigViewFoundV1 = "config-view-found/1";

    /// <summary>Written in front of every message, so it never changes.</summary>
    public override int Identifier => 1019;

    public override string Manifest(object o) => o switch
    {
        Report => ReportV1,
        ReportSeen => ReportSeenV1,
        ConfigViewWanted => ConfigViewWantedV1,
        ConfigViewFound => ConfigViewFoundV1,
        _ => throw new SerializationException($"{o.GetType()} is no message of the fleet"),
    };

    /// <exception cref="SerializationException">It is no message of the fleet, or larger than <see cref="Largest"/>.</exception>
    public override byte[] ToBinary(object obj)
    {
        var bytes = obj switch
        {
            Report report => JsonSerializer.SerializeToUtf8Bytes(Version1.TextOf(report), Version1Json.Default.ReportText),
            ReportSeen seen => JsonSerializer.SerializeToUtf8Bytes(Version1.TextOf(seen), Version1Json.Default.ReportSeenText),
            ConfigViewWanted wanted => JsonSerializer.SerializeToUtf8Bytes(Version1.TextOf(wanted), Version1Json.Default.ConfigViewWantedText),
            ConfigViewFound found => JsonSerializer.SerializeToUtf8Bytes(Version1.TextOf(found), Version1Json.Default.ConfigViewFoundText),
            _ => throw new SerializationException($"{obj.GetType()} is no message of the fleet"),
        };
        return bytes.Length <= Largest ? bytes : throw new SerializationException($"{Manifest(obj)} has {bytes.Length} bytes; expected at most {Largest}");
    }

    public override object FromBinary(byte[] bytes, string manifest)
    {
        if (bytes.Length > Largest) return Refuse(manifest, $"it has {bytes.Length} bytes; expected at most {Largest}");
        try
        {
            return manifest switch
            {
                ReportV1 => Version1.Read(Parse(bytes, Version1Json.Default.ReportText)),
                ReportSeenV1 => Version1.Read(Parse(bytes, Version1Json.Default.ReportSeenText)),
                ConfigViewWantedV1 => Version1.Read(Parse(bytes, Version1Json.Default.ConfigViewWantedText)),
                ConfigViewFoundV1 => Version1.Read(Parse(bytes, Version1Json.Default.ConfigViewFoundText)),
                _ => Refuse(manifest, "this daemon does not know it"),
            };
        }
        catch (JsonException e)
        {
            return Refuse(manifest, e.Message);
        }
    }

    private static T Parse<T>(byte[] bytes, JsonTypeInfo<T> type) => JsonSerializer.Deserialize(bytes, type) ?? throw new JsonException("it is null");

    private Refused Refuse(string manifest, string reason)
    {
        const int shown = 40;
        // There is no logger yet when a system makes its serializers.
        Logging.GetLogger(system, typeof(FleetSerializer)).Warning("A message of another node is refused, {Manifest}: {Reason}", manifest.Length > shown ? manifest[..shown] : manifest, reason);
        return Refused.Instance;
    }
}
