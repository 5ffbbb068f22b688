using XenPciBack.Host.Linux;
using XenPciBack.Protocol;

namespace XenPciBack.Host.Tests.Linux;

/// <summary>Records of guests' devices, which have to say the truth after any end of the daemon.</summary>
public sealed class MappedDeviceRecordsTests : IDisposable
{
    private static readonly DomainId Guest = new(5), Other = new(6);
    private static readonly HostBdf Nic = HostBdf.Parse("0000:03:00.0");

    private readonly TemporaryDirectory _root = new();

    public void Dispose() => _root.Dispose();

    [Fact]
    public void What_one_daemon_has_stored_the_next_one_finds_though_nobody_closed_it()
    {
        var record = Start().Open(Guest, Nic);
        record.TryAdd(new Pirq(55));
        record.Shadow = record.Shadow with { Command = 0x0546 };
        using var next = Start().Open(Guest, Nic);
        Assert.Equal((0x0546, 55), (next.Shadow.Command, next.Mapped.Single().Value));
    }

    [Fact]
    public void A_new_record_is_empty_and_its_file_as_long_as_it_will_ever_be()
    {
        using var record = Start().Open(Guest, Nic);
        Assert.True(record.IsEmpty);
        Assert.Equal(16384, new FileInfo($"{_root.Path}/devices/5-0000:03:00.0").Length);
    }

    [Fact]
    public void A_file_that_was_cut_short_is_made_anew()
    {
        Directory.CreateDirectory($"{_root.Path}/devices");
        File.WriteAllBytes($"{_root.Path}/devices/5-0000:03:00.0", [1, 2, 3]);
        using var record = Start().Open(Guest, Nic);
        Assert.True(record.IsEmpty);
    }

    [Fact]
    public void Records_that_nobody_has_open_are_listed_and_other_files_are_not()
    {
        var records = Start();
        Assert.Empty(records.Unopened);
        var open = records.Open(Guest, Nic);
        records.Open(Other, Nic).Dispose();
        File.WriteAllText($"{_root.Path}/devices/README", "");
        Assert.Equal([(Other, Nic)], records.Unopened);
        open.Dispose();
        Assert.Equal(2, records.Unopened.Count);
    }

    [Fact]
    public void A_record_has_one_user_in_a_process()
    {
        var records = Start();
        using var open = records.Open(Guest, Nic);
        Assert.Contains("5-0000:03:00.0: its record is in use", Assert.Throws<IOException>(() => records.Open(Guest, Nic)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_record_is_removed_whether_or_not_it_is_open()
    {
        var records = Start();
        using (records.Open(Guest, Nic)) records.Remove(Guest, Nic);
        records.Remove(Guest, Nic);
        Assert.Empty(records.Unopened);
    }

    [Fact]
    public void A_record_that_cannot_be_made_is_refused_by_name()
    {
        Directory.CreateDirectory($"{_root.Path}/devices/5-0000:03:00.0");
        var records = Start();
        Assert.Contains("/devices/5-0000:03:00.0: the record of a guest's device cannot be kept", Assert.Throws<IOException>(() => records.Open(Guest, Nic)).Message, StringComparison.Ordinal);
        Directory.Delete($"{_root.Path}/devices/5-0000:03:00.0");
        records.Open(Guest, Nic).Dispose();
    }

    [Theory]
    [InlineData(0, 0), InlineData(Errnos.ESRCH, 0), InlineData(Errnos.EINVAL, 0), InlineData(Errnos.EBUSY, Errnos.EBUSY)]
    public void A_domain_or_pirq_that_is_gone_counts_as_unmapped(int errno, int outcome) => Assert.Equal(outcome, XenGuestPirqs.OutcomeOfUnmapping(errno));

    private MappedDeviceRecords Start() => new($"{_root.Path}/devices");
}
