using System.Globalization;
using XenPciBack.Lab.Machine;

namespace XenPciBack.Lab.Churn;

/// <summary>What the daemon holds, and what dom0 holds for it.</summary>
/// <param name="MemoryKiB">The daemon's resident memory.</param>
internal sealed record Holdings(int Files, int GrantMappings, int Threads, int EventChannels, int DeviceRecords, int MemoryKiB)
{
    public static async Task<Holdings> ReadAsync(DomainZero dom0)
    {
        var said = await dom0.RunAsync("""
            count() { echo $#; }
            daemon=/proc/$(< /run/xenpciback.pid)
            count $daemon/fd/*
            grep -c gntdev $daemon/maps
            count $daemon/task/*
            /usr/lib/xen-*/bin/lsevtchn 0 > /run/ports && grep -c . /run/ports
            count /run/xenpciback/devices/*
            awk '/^VmRSS/ { print $2 }' $daemon/status
            """);
        var numbers = said.Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(line => int.TryParse(line, CultureInfo.InvariantCulture, out var number) ? number : throw new LabException($"expected six numbers, dom0 said: {said}")).ToList();
        return new Holdings(numbers[0], numbers[1], numbers[2], numbers[3], numbers[4], numbers[5]);
    }
}
