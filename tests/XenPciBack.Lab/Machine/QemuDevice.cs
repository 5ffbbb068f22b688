using System.Globalization;

namespace XenPciBack.Lab.Machine;

/// <summary>A PCIe root port of the emulated machine.</summary>
/// <param name="Id">QEMU's id of it; its monitor commands take it.</param>
/// <param name="Bdf">The address dom0 sees it at.</param>
public sealed record QemuRootPort(string Id, string Bdf);

/// <summary>
/// A PCI device of the emulated machine, named as QEMU names it, with QEMU's own properties after colons:
/// <c>e1000e</c>, <c>virtio-rng-pci:aer=on:disable-legacy=on</c>. The word <c>root-port</c> puts the device behind a
/// PCIe root port of its own, and <c>same-port</c> behind that of the device before it, as the next function (the first one then
/// needs <c>multifunction=on</c>); without them the device sits directly on pcie.0, in slots 0x10, 0x11, ... in the order given,
/// unless <c>addr=SLOT.FUNCTION</c> says otherwise.
/// </summary>
/// <param name="Model">QEMU's device name.</param>
/// <param name="Bdf">The address dom0 sees it at, such as 0000:00:10.0.</param>
public sealed record QemuDevice(string Model, string Bdf)
{
    private const int FirstSlot = 0x10;

    /// <summary>Slots 0x10 to 0x1e; 0x1f belongs to the chipset.</summary>
    private const int SlotCount = 15;

    /// <summary>QEMU's network cards that are PCI devices. They are joined by a hub, and so is one of dom0's own.</summary>
    private static readonly string[] NetworkCards =
        ["e1000", "e1000-82544gc", "e1000-82545em", "e1000e", "igb", "rtl8139", "pcnet", "ne2k_pci", "vmxnet3", "tulip", "virtio-net", "i82550", "i82551", "i82557b", "i82559er"];

    internal IReadOnlyList<string> Arguments { get; private init; } = [];

    /// <summary>Whether the device is a network card.</summary>
    internal bool IsNetworkCard => NetworkCards.Contains(FamilyOf(Model));

    /// <summary>QEMU's id of the device: dev0, dev1, ... in the order given. Its monitor commands take it.</summary>
    public string Id { get; private init; } = "";

    /// <summary>The root port the device is behind, if there is one.</summary>
    public QemuRootPort? RootPort { get; private init; }

    private int Function { get; init; }

    /// <summary>Gives each device its place. <paramref name="specifications"/> are as described at the type.</summary>
    public static IReadOnlyList<QemuDevice> Place(IEnumerable<string> specifications)
    {
        var devices = new List<QemuDevice>();
        var (slots, rootPorts) = (-1, 0);
        foreach (var specification in specifications)
        {
            var index = devices.Count;
            var words = specification.Trim().Split(':');
            // The next function of a device has no slot of its own.
            if (!words.Contains("same-port")) slots++;
            if (slots == SlotCount) throw new LabException($"at most {SlotCount} devices fit on pcie.0");
            var model = words[0];
            if (model.Length == 0) throw new LabException($"device \"{specification}\" has no name before the colon");
            var properties = words[1..].Where(word => word is not ("root-port" or "same-port")).ToList();
            var slot = $"{FirstSlot + slots:x}";

            var arguments = new List<string>();
            string bdf;
            QemuRootPort? port = null;
            var function = 0;
            if (words.Contains("root-port"))
            {
                port = new QemuRootPort($"rp{index}", $"0000:00:{slot}.0");
                // The firmware numbers the buses behind root ports in slot order, from 1.
                bdf = $"0000:{++rootPorts:x2}:00.0";
                arguments.AddRange(["-device", $"pcie-root-port,id={port.Id},bus=pcie.0,addr={slot},slot={rootPorts},chassis={rootPorts}"]);
                properties.Add($"bus={port.Id}");
            }
            else if (words.Contains("same-port"))
            {
                if (devices is not [.., { RootPort: not null } before]) throw new LabException($"device \"{specification}\": the device before it is behind no root port");
                (port, function) = (before.RootPort, before.Function + 1);
                bdf = $"0000:{rootPorts:x2}:00.{function}";
                properties.AddRange([$"bus={port.Id}", $"addr=0.{function}"]);
            }
            else if (properties.Find(property => property.StartsWith("addr=", StringComparison.Ordinal)) is { } addr)
            {
                bdf = BdfOf(addr["addr=".Length..], specification);
                properties.Add("bus=pcie.0");
            }
            else
            {
                bdf = $"0000:00:{slot}.0";
                properties.AddRange(["bus=pcie.0", $"addr={slot}"]);
            }
            arguments.AddRange(Backend(model, index, properties));
            arguments.AddRange(["-device", string.Join(',', [model, $"id=dev{index}", .. properties])]);
            devices.Add(new QemuDevice(model, bdf) { Id = $"dev{index}", RootPort = port, Function = function, Arguments = arguments });
        }
        return devices;
    }

    /// <summary>What QEMU insists on behind some devices: a disk that reads as zeros, random numbers, memory, a cipher.</summary>
    private static string[] Backend(string model, int index, List<string> properties)
    {
        string[] Give(string property, string id, string option, string value)
        {
            if (properties.Exists(given => given.StartsWith(property + "=", StringComparison.Ordinal))) return [];
            properties.Add($"{property}={id}");
            return [option, value];
        }

        if (model == "nvme" && !properties.Exists(given => given.StartsWith("serial=", StringComparison.Ordinal)))
            properties.Add($"serial=lab{index}");
        return FamilyOf(model) switch
        {
            var family when NetworkCards.Contains(family) => Give("netdev", $"net{index}", "-netdev", $"hubport,id=net{index},hubid=0"),
            "nvme" or "virtio-blk" =>
                Give("drive", $"drive{index}", "-drive", $"if=none,id=drive{index},driver=null-co,size=64M,read-zeroes=on"),
            "virtio-rng" =>
                Give("rng", $"rng{index}", "-object", $"rng-random,id=rng{index},filename=/dev/urandom"),
            "virtio-crypto" =>
                Give("cryptodev", $"crypto{index}", "-object", $"cryptodev-backend-builtin,id=crypto{index}"),
            "ivshmem-plain" => Give("memdev", $"memory{index}", "-object", $"memory-backend-ram,id=memory{index},size=1M,share=on"),
            _ => [],
        };
    }

    /// <summary>virtio devices come as virtio-X-pci, virtio-X-pci-transitional and virtio-X-pci-non-transitional.</summary>
    private static string FamilyOf(string model) => model.Split("-pci")[0];

    private static string BdfOf(string addr, string specification)
    {
        var parts = addr.Split('.');
        if (parts.Length <= 2
            && int.TryParse(parts[0], NumberStyles.HexNumber, CultureInfo.InvariantCulture, out var slot) && slot is >= 0 and < 32
            && int.TryParse(parts.ElementAtOrDefault(1) ?? "0", NumberStyles.None, CultureInfo.InvariantCulture, out var function) && function < 8)
            return $"0000:00:{slot:x2}.{function}";
        throw new LabException($"device \"{specification}\": addr is SLOT or SLOT.FUNCTION, slot 0-1f in hexadecimal, function 0-7");
    }
}
