using System.Text;
using Akka.Actor;
using XenPciBack.Backend.Status;
using XenPciBack.Fleet.Wire;
using XenPciBack.Protocol;
using XenPciBack.Protocol.Slots;
using XenPciBack.Protocol.Xenbus;

namespace XenPciBack.Fleet.Tests.Wire;

/// <summary>The bytes in Recorded/ are what daemons of version 1 send, and stay what they are.</summary>
public sealed class FleetSerializerTests : IDisposable
{
    private static readonly ConfigView View = new(new DomainId(1), Some.Nic, [1, 2, 3, 4], [4, 3, 2, 1], [new ConfigField(0, 2, "Vendor ID", null), new ConfigField(2, 2, "Device ID", "the host's")]);

    private readonly ActorSystem _system = ActorSystem.Create("fleet-serializer", "akka { loglevel = OFF, stdout-loglevel = OFF }");

    private FleetSerializer Serializer => new((ExtendedActorSystem)_system);

    public static TheoryData<string, string> Recorded => new()
    {
        { "report-1.json", "report/1" },
        { "report-seen-1.json", "report-seen/1" },
        { "config-view-wanted-1.json", "config-view-wanted/1" },
        { "config-view-found-1.json", "config-view-found/1" },
    };

    public void Dispose() => _system.Dispose();

    private static object MessageOf(string manifest) => manifest switch
    {
        "report/1" => new Report("dom0.example", Some.Noon, Some.Status("dom0.example", 7), [Some.Incident(1), Some.Incident(2, IncidentKind.Restarted)]),
        "report-seen/1" => new ReportSeen("dom0.example", Some.Noon, 7, 2),
        "config-view-wanted/1" => new ConfigViewWanted(new DomainId(1), Some.Nic),
        _ => new ConfigViewFound(View),
    };

    [Theory]
    [MemberData(nameof(Recorded))]
    public void What_version_1_has_sent_is_understood(string file, string manifest)
    {
        var bytes = File.ReadAllBytes(Path.Combine(AppContext.BaseDirectory, "Wire/Recorded", file));
        Assert.Equivalent(MessageOf(manifest), Serializer.FromBinary(bytes, manifest), strict: true);
    }

    [Theory]
    [MemberData(nameof(Recorded))]
    public void What_this_version_sends_version_1_understands(string file, string manifest)
    {
        var message = MessageOf(manifest);
        Assert.Equal(manifest, Serializer.Manifest(message));
        var recorded = File.ReadAllText(Path.Combine(AppContext.BaseDirectory, "Wire/Recorded", file)).TrimEnd();
        Assert.Equal(recorded, Encoding.UTF8.GetString(Serializer.ToBinary(message)));
    }

    [Fact]
    public void What_a_newer_version_adds_is_ignored_and_its_words_are_not_taken_for_others()
    {
        var report = Assert.IsType<Report>(Read("report/1", """
            { "host": "a", "daemon": "2026-11-25T12:00:00+00:00", "mood": { "deep": [1, 2] },
              "status": { "number": 1, "guests": [ { "domain": 1, "state": "Dreaming", "topology": "moebius", "moons": 3 }, { "domain": 2, "state": "77" } ] },
              "incidents": [ { "number": 1, "kind": "Levitated", "summary": "Guest 1 floats" } ] }
            """));
        Assert.Equal((XenbusState.Unknown, Topology.Vpci), (report.Status!.Guests[0].State, report.Status.Guests[0].Topology));
        Assert.Equal(XenbusState.Unknown, report.Status.Guests[1].State);
        Assert.Equal((IncidentKind.DeviceError, "Guest 1 floats"), (report.Incidents[0].Kind, report.Incidents[0].Summary));
    }

    [Fact]
    public void What_an_older_version_leaves_out_is_empty()
    {
        var report = Assert.IsType<Report>(Read("report/1", """{ "host": "a", "status": { "guests": [ { } ] }, "incidents": [ { } ] }"""));
        Assert.Equal(("", 0L, 1, 0), (report.Status!.Version, report.Status.Number, report.Status.Guests.Length, report.Status.Quarantine.Length));
        Assert.Equal((0, 0), (report.Status.Guests[0].Devices.Length, report.Status.Guests[0].Operations.Length));
        Assert.Equal((0, 0, null, null), (report.Incidents[0].Details.Length, report.Incidents[0].Path.Length, report.Incidents[0].Guest, report.Incidents[0].Device));
        Assert.Empty(Assert.IsType<Report>(Read("report/1", """{ "host": "a" }""")).Incidents);
    }

    [Theory]
    [InlineData("report/2", "{}")]
    [InlineData("", "{}")]
    [InlineData("System.Diagnostics.Process, System", "{}")]
    [InlineData("report/1", "null")]
    [InlineData("report/1", "{")]
    [InlineData("report/1", "{ \"status\": null }")]
    [InlineData("report/1", "{ \"host\": 7 }")]
    [InlineData("report/1", "{ \"host\": \"a\", \"incidents\": [ { \"guest\": 99999 } ] }")]
    [InlineData("config-view-wanted/1", "{ \"guest\": 1, \"device\": \"/etc/passwd\" }")]
    [InlineData("report/1", "{ \"host\": \"a\", \"x\": [[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]] }")]
    public void What_is_not_understood_is_refused(string manifest, string text) => Assert.IsType<Refused>(Read(manifest, text));

    [Fact]
    public void A_huge_message_is_refused_unread_and_never_sent()
    {
        Assert.IsType<Refused>(Serializer.FromBinary(new byte[FleetSerializer.Largest + 1], "report/1"));
        var huge = new ReportSeen(new string('x', FleetSerializer.Largest), Some.Noon, 0, 0);
        Assert.Contains("expected at most 1048576", Assert.Throws<System.Runtime.Serialization.SerializationException>(() => Serializer.ToBinary(huge)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Of_more_incidents_than_a_report_has_the_first_ones_are_read()
    {
        var many = string.Join(", ", Enumerable.Range(1, Report.MostIncidents + 1).Select(number => $$"""{ "number": {{number}} }"""));
        var incidents = Assert.IsType<Report>(Read("report/1", $$"""{ "host": "a", "incidents": [ {{many}} ] }""")).Incidents;
        Assert.Equal((Report.MostIncidents, Report.MostIncidents), (incidents.Length, (int)incidents[^1].Number));
    }

    private object Read(string manifest, string text) => Serializer.FromBinary(Encoding.UTF8.GetBytes(text), manifest);
}
