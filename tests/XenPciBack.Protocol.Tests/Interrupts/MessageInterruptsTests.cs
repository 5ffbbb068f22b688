using System.Collections.Immutable;
using XenPciBack.Protocol.ConfigSpace;
using XenPciBack.Protocol.Interrupts;
using XenPciBack.Protocol.Records;
using XenPciBack.Protocol.SharedPage;
using XenPciBack.Protocol.Tests.ConfigSpace;

namespace XenPciBack.Protocol.Tests.Interrupts;

/// <summary>What a guest's four requests about message interrupts do, and what they answer.</summary>
public class MessageInterruptsTests
{
    private const int Power = 0x40, Msi = 0x50, Msix = 0x70;
    private const ulong Bar0 = 0xFEB4_0000;

    private readonly RegisterFile _device = new RegisterFile
    {
        Irq = 11,
        Resources = [new PciResource(Bar0, Bar0 + 0x3FFF, 0x40200), .. new PciResource[6]],
    }.WithCapabilities((Power, 0x01), (Msi, 0x05), (Msix, 0x11)).Poke(0x04, 2, 0x0002).Poke(Msix + 2, 2, 0x0004).Poke(Msix + 4, 4, 0x2000);

    private readonly FakePirqs _pirqs = new();
    private readonly DeviceRecord _record = new();

    [Fact]
    public void Enable_msi_answers_the_pirq_once_the_message_is_on_and_the_line_off()
    {
        var interrupts = Interrupts();
        Assert.Equal((0, 55u), Ask(interrupts, PciOpCode.EnableMsi));
        Assert.Equal((1u, 0x0402u), (_device.Peek(Msi + 2, 2), _device.Peek(0x04, 2)));
    }

    [Theory]
    [InlineData(PciOpCode.DisableMsi), InlineData(PciOpCode.DisableMsix)]
    public void Either_disable_ends_msi_and_answers_the_lines_pirq(PciOpCode disable)
    {
        var interrupts = Interrupts();
        Ask(interrupts, PciOpCode.EnableMsi);
        Assert.Equal((0, 11u), Ask(interrupts, disable));
        Assert.Equal((0u, 0x0002u, 0), (_device.Peek(Msi + 2, 2), _device.Peek(0x04, 2), _pirqs.Mapped.Length));
    }

    [Theory]
    [InlineData(PciOpCode.DisableMsi), InlineData(PciOpCode.DisableMsix)]
    public void Either_disable_ends_msix_and_the_guest_can_have_it_again(PciOpCode disable)
    {
        var interrupts = Interrupts();
        for (var i = 0; i < 3; i++)
        {
            Assert.Equal<ushort>([55, 54, 53], AskMsix(interrupts, 0, 1, 2).Vectors);
            Assert.Equal((0x8004u, 0x0402u), (_device.Peek(Msix + 2, 2), _device.Peek(0x04, 2)));
            Assert.Equal((0, 11u), Ask(interrupts, disable));
            Assert.Equal((0x0004u, 0x0002u, 0), (_device.Peek(Msix + 2, 2), _device.Peek(0x04, 2), _pirqs.Mapped.Length));
        }
    }

    [Fact]
    public void Enable_msix_maps_each_entry_with_the_bar_of_the_table()
    {
        var answer = AskMsix(Interrupts(), 4, 0);
        Assert.Equal((PciOpError.Success, 0u), (answer.Error, answer.Value));
        Assert.Equal([(4, Bar0), (0, Bar0)], _pirqs.Asked);
    }

    [Fact]
    public void Disable_without_enable_touches_nothing()
    {
        Assert.Equal((0, 11u), Ask(Interrupts(), PciOpCode.DisableMsi));
        Assert.Equal((0, 11u), Ask(Interrupts(), PciOpCode.DisableMsix));
        Assert.Empty(_device.Writes);
    }

    /// <summary>XSA-157: every ordered pair and triple has a defined answer and no effect on the host beyond it.</summary>
    [Fact]
    public void Every_sequence_of_four_requests_answers_by_what_is_on()
    {
        PciOpCode[] codes = [PciOpCode.EnableMsi, PciOpCode.DisableMsi, PciOpCode.EnableMsix, PciOpCode.DisableMsix];
        foreach (var sequence in from a in codes from b in codes from c in codes from d in codes select new[] { a, b, c, d })
        {
            var interrupts = Interrupts();
            var on = "";
            foreach (var code in sequence)
            {
                var error = (int)(code == PciOpCode.EnableMsix ? AskMsix(interrupts, 0, 1) : interrupts.Perform(Request(code))).Error;
                (var expected, on) = (code, on) switch
                {
                    (PciOpCode.EnableMsi, "") => (0, "MSI"),
                    (PciOpCode.EnableMsi, _) => (-5, on),
                    (PciOpCode.EnableMsix, "") => (0, "MSI-X"),
                    (PciOpCode.EnableMsix, "MSI") => (-6, on),
                    (PciOpCode.EnableMsix, _) => (-114, on),
                    _ => (0, ""),
                };
                Assert.Equal(expected, error);
                Assert.Equal(on switch { "MSI" => 1, "MSI-X" => 2, _ => 0 }, _pirqs.Mapped.Length);
                Assert.Equal((on == "MSI", on == "MSI-X"), ((_device.Peek(Msi + 2, 2) & 1) != 0, (_device.Peek(Msix + 2, 2) & 0x8000) != 0));
            }
            interrupts.Release();
        }
    }

    [Theory]
    [InlineData(129u, -22, 129u)]
    [InlineData(uint.MaxValue, -22, uint.MaxValue)]
    [InlineData(0u, -22, unchecked((uint)-22))]
    [InlineData(6u, -28, unchecked((uint)-28))]
    public void A_wrong_count_of_msix_vectors_is_refused(uint count, int error, uint value)
    {
        var entries = Enumerable.Range(0, (int)Math.Min(count, 128)).Select(i => (ushort)i).ToImmutableArray();
        var answer = Interrupts().Perform(Request(PciOpCode.EnableMsix) with { Value = count, MsixEntries = entries });
        Assert.Equal((error, value), ((int)answer.Error, answer.Value));
        Assert.Empty(_pirqs.Asked);
    }

    [Theory]
    [InlineData(0, 5), InlineData(0, 0xFFFF), InlineData(1, 1)]
    public void An_entry_outside_the_table_or_asked_for_twice_is_refused(int first, int second)
    {
        var answer = AskMsix(Interrupts(), (ushort)first, (ushort)second);
        Assert.Equal((-22, unchecked((uint)-22), 0), ((int)answer.Error, answer.Value, answer.Vectors.Length));
        Assert.Empty(_pirqs.Asked);
    }

    [Fact]
    public void Msix_needs_memory_decoding()
    {
        _device.Poke(0x04, 2, 0);
        var answer = AskMsix(Interrupts(), 0, 1);
        Assert.Equal((-6, 2u), ((int)answer.Error, answer.Value));
    }

    [Fact]
    public void A_device_that_sleeps_gets_neither()
    {
        _device.Poke(Power + 4, 2, 3);
        Assert.Equal((-5, 0u), Ask(Interrupts(), PciOpCode.EnableMsi));
        Assert.Equal(-22, (int)AskMsix(Interrupts(), 0).Error);
    }

    [Fact]
    public void A_device_without_the_capability_gets_neither()
    {
        var bare = new RegisterFile().Poke(0x04, 2, 2);
        var interrupts = new MessageInterrupts(bare, new ConfigPolicy(), _pirqs, _record);
        Assert.Equal((-5, 0u), Ask(interrupts, PciOpCode.EnableMsi));
        Assert.Equal(-22, (int)AskMsix(interrupts, 0).Error);
        Assert.Empty(bare.Writes);
    }

    [Fact]
    public void A_table_moved_after_the_start_is_not_believed()
    {
        var interrupts = Interrupts();
        _device.Poke(Msix + 2, 2, 0x07FF).Poke(Msix + 4, 4, 0x2001);
        Assert.Equal(-22, (int)AskMsix(interrupts, 0x500).Error);
        Assert.Equal(0, (int)AskMsix(interrupts, 0).Error);
        Assert.Equal([(0, Bar0)], _pirqs.Asked);
    }

    [Theory]
    [InlineData(Errnos.ENODEV), InlineData(Errnos.ENOSPC)]
    public void A_refusal_of_the_hypervisor_leaves_nothing_mapped_and_nothing_enabled(int errno)
    {
        _pirqs.Refuse = errno;
        Assert.Equal((-5, 0u), Ask(Interrupts(), PciOpCode.EnableMsi));
        _pirqs.RefuseAfter = 2;
        var answer = AskMsix(Interrupts(), 0, 1, 2);
        Assert.Equal((-errno, unchecked((uint)-errno), 0), ((int)answer.Error, answer.Value, answer.Vectors.Length));
        Assert.Empty(_pirqs.Mapped);
        Assert.Empty(_device.Writes);
    }

    [Fact]
    public void A_pirq_wider_than_the_page_can_say_is_a_refusal()
    {
        _pirqs.First = 0x10000;
        Assert.Equal(-5, Ask(Interrupts(), PciOpCode.EnableMsi).Error);
        Assert.Equal(-34, (int)AskMsix(Interrupts(), 0).Error);
        Assert.Empty(_pirqs.Mapped);
    }

    [Fact]
    public void What_an_earlier_daemon_enabled_stays_on_and_can_be_disabled()
    {
        AskMsix(Interrupts(), 0, 1);
        var next = Interrupts();
        Assert.Equal(-114, (int)AskMsix(next, 0).Error);
        Assert.Equal(0, Ask(next, PciOpCode.DisableMsix).Error);
        Assert.Equal((0, 0x0004u), (_pirqs.Mapped.Length, _device.Peek(Msix + 2, 2)));
    }

    [Fact]
    public void A_guest_whose_daemon_ended_before_it_answered_has_the_same_answer_from_the_next()
    {
        Ask(Interrupts(), PciOpCode.EnableMsi);
        var next = Interrupts();
        Assert.Equal((0, 55u), Ask(next, PciOpCode.EnableMsi));
        Assert.Equal((-5, 0u), Ask(next, PciOpCode.EnableMsi));

        Ask(next, PciOpCode.DisableMsi);
        AskMsix(next, 0, 1, 2);
        next = Interrupts();
        Assert.Equal<ushort>([55, 54, 53], AskMsix(next, 0, 1, 2).Vectors);
        Assert.Equal(-114, (int)AskMsix(next, 0, 1, 2).Error);
        Assert.Equal(3, _pirqs.Mapped.Length);
    }

    [Fact]
    public void What_cannot_be_unmapped_stays_on_record_for_a_later_try()
    {
        var interrupts = Interrupts();
        AskMsix(interrupts, 0, 1, 2);
        _pirqs.Keeps = new Pirq(54);
        Assert.Equal(0, Ask(interrupts, PciOpCode.DisableMsix).Error);
        Assert.Equal<Pirq>([new Pirq(54)], _record.Mapped);
        _pirqs.Keeps = null;
        Assert.Equal(0, Interrupts().Release());
        Assert.Empty(_pirqs.Mapped);
        Assert.Empty(_record.Mapped);
    }

    [Fact]
    public void A_pirq_for_which_the_record_has_no_room_is_not_kept()
    {
        for (var i = 0; i < DeviceRecord.MostPirqs; i++) _record.TryAdd(new Pirq(1000 + i));
        _pirqs.Keeps = new Pirq(1000);
        var interrupts = Interrupts();
        Assert.Equal<Pirq>([new Pirq(1000)], _record.Mapped);
        for (var i = 1; i < DeviceRecord.MostPirqs; i++) _record.TryAdd(new Pirq(1000 + i));
        Assert.Equal(-28, (int)AskMsix(interrupts, 0).Error);
        Assert.Empty(_pirqs.Mapped);
    }

    [Fact]
    public void What_an_earlier_daemon_mapped_but_did_not_enable_is_unmapped()
    {
        _pirqs.MapMsix(0, Bar0, out var pirq);
        _record.TryAdd(pirq);
        Interrupts();
        Assert.Empty(_pirqs.Mapped);
    }

    [Fact]
    public void What_another_daemon_is_about_to_enable_is_let_be_until_the_turn_comes()
    {
        _pirqs.MapMsi(out var pirq);
        _record.TryAdd(pirq);
        var standby = new MessageInterrupts(_device, new ConfigPolicy(), _pirqs, _record);
        Assert.Single(_pirqs.Mapped);
        _device.Poke(Msi + 2, 2, 0x0001);
        standby.TakeUp();
        Assert.Equal((0, 55u), Ask(standby, PciOpCode.EnableMsi));
        Assert.Equal(0, Ask(standby, PciOpCode.DisableMsi).Error);
        Assert.Empty(_pirqs.Mapped);
    }

    [Fact]
    public void Release_disables_and_unmaps()
    {
        var interrupts = Interrupts();
        AskMsix(interrupts, 0, 1);
        Assert.Equal(0, interrupts.Release());
        Assert.Equal((0x0004u, 0x0002u, 0), (_device.Peek(Msix + 2, 2), _device.Peek(0x04, 2), _pirqs.Mapped.Length));
    }

    [Fact]
    public void Every_refusal_says_why_in_words_without_a_guests_values()
    {
        var interrupts = Interrupts();
        Ask(interrupts, PciOpCode.EnableMsi);
        var reasons = Enumerable.Range(0, 1000).Select(i => AskMsix(interrupts, (ushort)i).Reason).Distinct();
        Assert.Equal(["MSI is on"], reasons);
    }

    private MessageInterrupts Interrupts()
    {
        var interrupts = new MessageInterrupts(_device, new ConfigPolicy(), _pirqs, _record);
        interrupts.TakeUp();
        return interrupts;
    }

    private static PciRequest Request(PciOpCode code) => new(code, 0, 0, 0, 0, 0, 0);

    private static (int Error, uint Value) Ask(MessageInterrupts interrupts, PciOpCode code)
    {
        var answer = interrupts.Perform(Request(code));
        return ((int)answer.Error, answer.Value);
    }

    private static PciAnswer AskMsix(MessageInterrupts interrupts, params ushort[] entries) =>
        interrupts.Perform(Request(PciOpCode.EnableMsix) with { Value = (uint)entries.Length, MsixEntries = [.. entries] });

    /// <summary>A hypervisor that hands out PIRQs from 55 downwards.</summary>
    private sealed class FakePirqs : IPirqs
    {
        public List<(int Entry, ulong TableBar)> Asked { get; } = [];
        public int First { get; set; } = 55;
        public int Refuse { get; set; }
        public int RefuseAfter { get; set; }
        public ImmutableArray<Pirq> Mapped { get; private set; } = [];

        public int MapMsi(out Pirq pirq) => MapMsix(0, 0, out pirq);

        public int MapMsix(ushort entry, ulong tableBar, out Pirq pirq)
        {
            Asked.Add((entry, tableBar));
            pirq = new Pirq(First - Mapped.Length);
            if (Refuse != 0 && Mapped.Length >= RefuseAfter) return Refuse;
            Mapped = Mapped.Add(pirq);
            return 0;
        }

        public int Restored { get; private set; }

        public int Restore()
        {
            Restored++;
            return Refuse;
        }

        public Pirq? Keeps { get; set; }

        public int Unmap(Pirq pirq)
        {
            if (pirq == Keeps) return Errnos.EBUSY;
            Mapped = Mapped.Remove(pirq);
            return 0;
        }
    }
}
