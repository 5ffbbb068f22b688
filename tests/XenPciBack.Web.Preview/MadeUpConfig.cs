using System.Buffers.Binary;
using System.Collections.Immutable;
using XenPciBack.Backend.Status;
using XenPciBack.Protocol;
using XenPciBack.Protocol.ConfigSpace;
using ConfigField = XenPciBack.Backend.Status.ConfigField;

namespace XenPciBack.Web.Preview;

/// <summary>The config space of an Intel 82574L, as a guest that uses MSI-X sees it.</summary>
internal static class MadeUpConfig
{
    private static readonly Dictionary<string, string> Rules = new()
    {
        ["Command"] = "decoding goes on and never off, bus mastering and MWI are the guest's, the rest is kept for the guest alone",
        ["BIST"] = "the self-test may be started, nothing else changed",
        ["BAR 0"] = Address, ["BAR 1"] = Address, ["BAR 2"] = Address, ["BAR 3"] = Address, ["Expansion ROM"] = Address,
        ["Interrupt Line"] = "the host's value, read-only",
        ["Power Management: PMC"] = "read-only, without PME support",
        ["Power Management: PMCSR"] = "power state, data select and PME status are the guest's, PME enable is not",
        ["MSI: Message Control"] = "switched by requests, not by writes", ["MSI-X: Message Control"] = "switched by requests, not by writes",
    };

    private const string Address = "the host's address; its size can be asked for, and the address written back after a reset";

    public static ConfigView OfNic(DomainId guest, HostBdf device)
    {
        var own = new byte[4096];
        foreach (var (offset, dword) in new (int, uint)[]
        {
            (0x00, 0x10D38086), (0x04, 0x00100507), (0x08, 0x02000000), (0x0C, 0x00000010), (0x10, 0xFEB80000), (0x14, 0xFEBA0000), (0x18, 0x0000C041), (0x1C, 0xFEBD4000),
            (0x2C, 0x00008086), (0x30, 0xFEB40000), (0x34, 0x000000C8), (0x3C, 0x0000010A),
            (0xC8, 0xC823D001), (0xCC, 0x00002100), (0xD0, 0x0080E005), (0xE0, 0x0001A010), (0xE4, 0x00008CC0), (0xE8, 0x00092810), (0xEC, 0x00031C11), (0xF0, 0x10110000), (0x104 - 8, 0x0000001F),
            (0xA0, 0x80040011), (0xA4, 0x00000003), (0xA8, 0x00002003),
            (0x100, 0x14020001), (0x10C, 0x00462030), (0x114, 0x00002000), (0x118, 0x000000A0), (0x140, 0x00010003), (0x144, 0xFF123456), (0x148, 0x525400FF),
        })
            BinaryPrimitives.WriteUInt32LittleEndian(own.AsSpan(offset), dword);
        var seen = own.ToArray();
        (seen[0x05], seen[0x3C], seen[0xCB], seen[0xCD]) = (0x01, 0x14, 0x00, 0x20);

        var names = new RegisterNames(own);
        var fields = ImmutableArray.CreateBuilder<ConfigField>();
        for (var offset = 0; offset < own.Length;)
        {
            var name = names.NameOf(offset);
            var end = offset + 1;
            while (end < own.Length && names.NameOf(end) == name) end++;
            if (name.Length > 0) fields.Add(new ConfigField(offset, end - offset, name, Rules.GetValueOrDefault(name)));
            offset = end;
        }
        return new ConfigView(guest, device, [.. seen], [.. own], fields.ToImmutable());
    }
}
