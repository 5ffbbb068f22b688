using System.Buffers.Binary;
using System.Globalization;
using XenPciBack.Lab.Compare;
using XenPciBack.Lab.Machine;
using XenPciBack.Protocol.ConfigSpace;

namespace XenPciBack.Lab.Fuzz;

/// <summary>How a device is given to the guest that sends the requests.</summary>
internal sealed record FuzzMode(bool Permissive, bool Passthrough)
{
    public static readonly IReadOnlyList<FuzzMode> All = [new(false, false), new(true, false), new(false, true), new(true, true)];

    public override string ToString() => $"{(Permissive ? "permissive" : "default")} mode, {(Passthrough ? "passthrough" : "vpci")} topology";
}

/// <summary>The whole differential fuzz on a booted machine: the same requests under the kernel's backend, then under the daemon.</summary>
internal static class BackendFuzz
{
    public static async Task<Section> RunAsync(XenMachine machine, QemuDevice device, int seed, int count, FuzzMode mode, TextWriter progress)
    {
        var dom0 = machine.DomainZero;
        await dom0.ReloadStubAsync(mode.Passthrough, device.Bdf);
        var before = await FuzzRun.HostConfigAsync(dom0, device);
        var operations = FuzzSequence.Create(seed, count, before, mode.Permissive, VirtualAddress(device.Bdf, mode.Passthrough));

        progress.WriteLine($"{device.Model}, seed {seed}, {mode}: {operations.Count} requests under the kernel's backend");
        await dom0.UseAsync(BackendKind.Kernel);
        var kernel = await FuzzRun.CarryOutAsync(dom0, device, mode.Permissive, operations, closed: 6);

        await dom0.ReloadStubAsync(mode.Passthrough, device.Bdf);
        await PutBackAsync(dom0, device, before);
        progress.WriteLine($"{device.Model}, seed {seed}, {mode}: the same under the daemon");
        await dom0.StartDaemonAsync(mode.Passthrough ? "run --config /run/passthrough.conf" : "run");
        // It offers the connection again (src/DEVIATIONS.md).
        var daemon = await FuzzRun.CarryOutAsync(dom0, device, mode.Permissive, operations, closed: 3);
        await dom0.StopDaemonAsync();

        var registers = new RegisterNames(before);
        return new Section(string.Create(CultureInfo.InvariantCulture, $"{device.Model}, {device.Bdf} in dom0, seed {seed}, {mode}"),
        [
            .. FuzzComparison.Compare(operations, kernel, daemon, registers),
            Comparison.Nodes("backend directory", "kernel", kernel.BackendNodes, "daemon", daemon.BackendNodes),
            Comparison.Bytes("dom0's view after the requests", registers, "kernel", kernel.HostConfig, "daemon", daemon.HostConfig),
            AfterDestroy(registers, before, kernel.HostConfigAfterDestroy, daemon.HostConfigAfterDestroy, mode),
        ]);
    }

    /// <summary>The same as the kernel's backend leaves, but that a permissive guest's changes are undone everywhere (src/DEVIATIONS.md).</summary>
    private static Finding AfterDestroy(RegisterNames registers, byte[] before, byte[] kernel, byte[] daemon, FuzzMode mode)
    {
        const string subject = "dom0's view after xl destroy";
        if (!mode.Permissive) return Comparison.Bytes(subject, registers, "kernel", kernel, "daemon", daemon);
        var putBack = Comparison.Bytes(subject, registers, "before", before, "daemon", daemon);
        var left = before.Zip(kernel).Count(pair => pair.First != pair.Second);
        return putBack with { Agreement = $"{putBack.Agreement} with before the guest; the kernel's backend leaves {left} changed" };
    }

    /// <summary>Registers that the kernel's backend leaves as its guest had them (an MSI address, say) must not be the next guest's start.</summary>
    private static async Task PutBackAsync(DomainZero dom0, QemuDevice device, byte[] config)
    {
        var now = await FuzzRun.HostConfigAsync(dom0, device);
        var different = Enumerable.Range(0, config.Length / 4).Where(dword => !now.AsSpan(4 * dword, 4).SequenceEqual(config.AsSpan(4 * dword, 4)));
        foreach (var offset in different.Select(dword => 4 * dword))
            await dom0.RunAsync(string.Create(CultureInfo.InvariantCulture, $"setpci -s {device.Bdf} {offset:x}.l={BinaryPrimitives.ReadUInt32LittleEndian(config.AsSpan(offset)):x}"));
    }

    private static (uint Domain, uint Bus, uint DevFn) VirtualAddress(string hostBdf, bool passthrough)
    {
        // ssss:bb:dd.f; alone on the virtual bus a device is in slot 0.
        var parts = hostBdf.Split(':', '.').Select(part => uint.Parse(part, NumberStyles.HexNumber, CultureInfo.InvariantCulture)).ToArray();
        return passthrough ? (parts[0], parts[1], parts[2] << 3 | parts[3]) : (0, 0, parts[3]);
    }
}
