namespace XenPciBack.Host.Linux;

/// <summary>
/// The kernel's bus of backend devices. Its driver for PCI would take every new guest before this daemon does, and cannot be told not
/// to; all drivers of the bus can. udev then has those of other kinds (vif, vbd) take their devices as ever.
/// </summary>
/// <param name="root">Where the file system begins; other than <c>/</c> only in tests.</param>
/// <param name="reloadRules">Tells udev of a rule that has come or gone; null, or what went wrong.</param>
public sealed class XenBackendBus(string root, Func<Task<string?>> reloadRules)
{
    private const string Bus = "/sys/bus/xen-backend", Off = "0", On = "1";
    private const string RuleFile = "90-xenpciback.rules";

    private const int ExitUnavailable = 69;

    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(10);

    private readonly string _root = root.TrimEnd('/');

    public XenBackendBus() : this("/", async () => (await HostCommand.RunAsync(Patience, "udevadm", "control", "--reload").ConfigureAwait(false)).Fault)
    {
    }

    private string Autoprobe => $"{_root}{Bus}/drivers_autoprobe";

    private string Rule => $"{_root}/run/udev/rules.d/{RuleFile}";

    /// <summary>That it was switched off by a daemon, which may be gone: it is to be switched on again.</summary>
    private string Note => $"{_root}/run/xenpciback/autoprobe-is-off";

    /// <summary>New PCI backends are left to this daemon from now on. Where an administrator has seen to it, nothing is changed.</summary>
    /// <returns>null, or why backends of other kinds may not be taken by their drivers.</returns>
    /// <exception cref="HostUnavailableException">The kernel goes on taking them.</exception>
    public async Task<string?> TakeAsync()
    {
        if (!File.Exists(Autoprobe) || Read() == Off) return null;
        Directory.CreateDirectory(Path.GetDirectoryName(Note)!);
        File.WriteAllText(Note, "");
        Directory.CreateDirectory(Path.GetDirectoryName(Rule)!);
        using (var rule = File.Create(Rule))
        using (var text = typeof(XenBackendBus).Assembly.GetManifestResourceStream(RuleFile)!)
            text.CopyTo(rule);
        var failure = await reloadRules().ConfigureAwait(false);
        File.WriteAllText(Autoprobe, Off);
        if (Read() is not Off and var state) throw new HostUnavailableException($"{Autoprobe} stays {state}: the kernel's own PCI backend would take every new guest first", ExitUnavailable);
        ProbeOthers();
        return failure is null ? null : $"{failure}; until udev knows {Rule}, write the names of new backends to {Bus}/drivers_probe";
    }

    /// <summary>The service has ended: everything as it was before <see cref="TakeAsync"/>.</summary>
    /// <exception cref="IOException">The switch cannot be written.</exception>
    public async Task GiveBackAsync()
    {
        if (!File.Exists(Note)) return;
        File.WriteAllText(Autoprobe, On);
        File.Delete(Rule);
        File.Delete(Note);
        await reloadRules().ConfigureAwait(false);
    }

    /// <summary>Those that came when the kernel did not take them any more and udev did not know yet.</summary>
    private void ProbeOthers()
    {
        foreach (var device in Directory.EnumerateFileSystemEntries($"{_root}{Bus}/devices"))
        {
            var name = Path.GetFileName(device);
            if (name.StartsWith("pci-", StringComparison.Ordinal) || Path.Exists($"{device}/driver")) continue;
            try
            {
                File.WriteAllText($"{_root}{Bus}/drivers_probe", name);
            }
            catch (IOException)
            {
                // It has gone, or its driver refuses it; the kernel's log says why.
            }
        }
    }

    private string Read() => File.ReadAllText(Autoprobe).Trim();
}
