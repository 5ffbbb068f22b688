using XenPciBack.Backend.Errors;
using XenPciBack.Host;
using XenPciBack.Protocol;
using XenPciBack.Simulation;

namespace XenPciBack.Backend.Tests;

/// <summary>Which devices no guest gets.</summary>
public class QuarantineTests
{
    private static readonly QuarantinedDevice Nic = new(HostBdf.Parse("0000:03:00.0"), new DomainId(5), DateTimeOffset.UnixEpoch, "fatal: Malformed TLP");

    [Fact]
    public void A_device_that_is_put_on_record_while_they_are_listed_is_not_left_out()
    {
        var records = new Listed();
        var quarantine = new Quarantine(records);
        quarantine.Hold(Nic);
        records.AfterNames = () => quarantine.Record(Nic);
        Assert.Equal([Nic], quarantine.Devices);
        Assert.Equal([Nic], quarantine.Devices);
    }

    private sealed class Listed : IRecords
    {
        private readonly MemoryRecords _records = new();

        public Action AfterNames { get; set; } = () => { };

        public IReadOnlyList<string> Names
        {
            get
            {
                var names = _records.Names;
                AfterNames();
                return names;
            }
        }

        public string? Read(string name) => _records.Read(name);

        public void Write(string name, string text) => _records.Write(name, text);

        public void Remove(string name) => _records.Remove(name);
    }
}
