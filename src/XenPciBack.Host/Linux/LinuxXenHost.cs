namespace XenPciBack.Host.Linux;

/// <summary>The real host: this machine, if it is dom0 of a Xen that lets us serve PCI devices.</summary>
public static class LinuxXenHost
{
    private const int ExitSystemError = 71;

    /// <summary>Checks everything the backend depends on and opens it.</summary>
    /// <param name="root">Where /proc, /sys and /dev are looked for; other than <c>/</c> only in tests.</param>
    /// <exception cref="HostUnavailableException">Something is missing; the message lists all of it, a line each.</exception>
    public static XenHost Open(string root = "/")
    {
        var problems = new StartupChecks(root).Run();
        if (problems is [var first, ..])
            throw new HostUnavailableException(string.Join(Environment.NewLine, problems.Select(p => p.Message)), first.ExitCode);

        var opened = new Stack<IDisposable>();
        try
        {
            T Keep<T>(T part) where T : IDisposable
            {
                opened.Push(part);
                return part;
            }
            var (grants, channels, hypervisor) = (Keep(XenGrantTable.Open()), Keep(XenEventChannels.Open()), Keep(XenHypervisor.Open()));
            return new XenHost(grants, channels, hypervisor, new XenGuestPirqs(hypervisor), new SysfsPciHost(root),
                new LinuxAerFeed(new FileRecords($"{root.TrimEnd('/')}/run/xenpciback/aer"), root))
            {
                Toolstack = new XlToolstack(),
                DeviceRecords = new MappedDeviceRecords($"{root.TrimEnd('/')}/run/xenpciback/devices"),
                Intents = new FileRecords($"{root.TrimEnd('/')}/run/xenpciback/intents"),
                LastingRecords = OpenLastingRecords(root),
            };
        }
        catch (HostCallException e)
        {
            while (opened.TryPop(out var part)) part.Dispose();
            throw new HostUnavailableException($"{e.Message}. The device is there but does not work; see the kernel log (dmesg)", ExitSystemError);
        }
    }

    /// <summary>The quarantine's records; no Xen is needed to look at them.</summary>
    public static IRecords OpenLastingRecords(string root = "/") => new FileRecords($"{root.TrimEnd('/')}/var/lib/xenpciback/quarantine");
}
