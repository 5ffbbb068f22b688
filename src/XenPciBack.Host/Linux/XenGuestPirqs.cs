using System.Collections.Immutable;
using System.Globalization;
using XenPciBack.Protocol;
using XenPciBack.Protocol.Interrupts;

namespace XenPciBack.Host.Linux;

/// <summary>
/// PIRQs mapped by hypercall, recorded below /run, which is emptied when the domains end too: at the host's boot. One file for each
/// guest and function, <c>DOMID-SSSS:BB:DD.F</c>, one decimal number a line.
/// </summary>
/// <param name="map">PHYSDEVOP_map_pirq.</param>
/// <param name="unmap">PHYSDEVOP_unmap_pirq.</param>
/// <param name="restore">PHYSDEVOP_restore_msi_ext.</param>
/// <param name="root">Where the file system begins; other than <c>/</c> only in tests.</param>
internal sealed class XenGuestPirqs(XenGuestPirqs.MapCall map, XenGuestPirqs.UnmapCall unmap, Func<HostBdf, int> restore, string root = "/") : IGuestPirqs
{
    private readonly string _directory = root.TrimEnd('/') + "/run/xenpciback/pirqs";

    public delegate int MapCall(DomainId domain, HostBdf function, ushort entry, ulong tableBar, out Pirq pirq);

    public delegate int UnmapCall(DomainId domain, Pirq pirq);

    public IPirqMap Open(DomainId guest, HostBdf function)
    {
        Directory.CreateDirectory(_directory);
        foreach (var (other, recorded) in OnRecord())
            if (recorded == function && other != guest) MapOf(other, recorded).UnmapAll();
        return MapOf(guest, function);
    }

    public IReadOnlyList<(DomainId Guest, HostBdf Function)> Forget(Func<DomainId, bool> isServed)
    {
        var gone = OnRecord().Where(entry => !isServed(entry.Guest)).ToList();
        foreach (var (guest, function) in gone) MapOf(guest, function).UnmapAll();
        return gone;
    }

    private List<(DomainId Guest, HostBdf Function)> OnRecord()
    {
        var found = new List<(DomainId, HostBdf)>();
        if (!Directory.Exists(_directory)) return found;
        foreach (var path in Directory.GetFiles(_directory))
            if (Path.GetFileName(path).Split('-') is [var domain, var bdf] && DomainId.TryParse(domain, out var guest) && HostBdf.TryParse(bdf, out var function))
                found.Add((guest, function));
        return found;
    }

    private Map MapOf(DomainId guest, HostBdf function) => new(this, guest, function, $"{_directory}/{guest}-{function}");

    private int MapPirq(DomainId guest, HostBdf function, ushort entry, ulong tableBar, out Pirq pirq) => map(guest, function, entry, tableBar, out pirq);

    private int RestoreMessages(HostBdf function) => restore(function);

    private int UnmapPirq(DomainId guest, Pirq pirq) => unmap(guest, pirq) switch
    {
        // The domain is gone, or its PIRQ is: nothing is left to unmap.
        Errnos.ESRCH or Errnos.EINVAL => 0,
        var errno => errno,
    };

    private sealed class Map : IPirqMap
    {
        private readonly XenGuestPirqs _owner;
        private readonly DomainId _guest;
        private readonly HostBdf _function;
        private readonly string _record;

        public Map(XenGuestPirqs owner, DomainId guest, HostBdf function, string record)
        {
            (_owner, _guest, _function, _record) = (owner, guest, function, record);
            // What follows the last line's end was cut short, and never reported to the guest. Other text is not ours.
            if (File.Exists(record))
                Mapped = [.. File.ReadAllText(record).Split('\n')[..^1]
                    .Select(line => int.TryParse(line, NumberStyles.None, CultureInfo.InvariantCulture, out var number) ? number : 0)
                    .Where(number => number > 0).Select(number => new Pirq(number))];
        }

        public ImmutableArray<Pirq> Mapped { get; private set; } = [];

        public int MapMsi(out Pirq pirq) => MapAndRecord(0, 0, out pirq);

        public int MapMsix(ushort entry, ulong tableBar, out Pirq pirq) => MapAndRecord(entry, tableBar, out pirq);

        public int Restore() => _owner.RestoreMessages(_function);

        public int UnmapAll()
        {
            if (Mapped.IsEmpty) return 0;
            var result = 0;
            var left = Mapped.RemoveAll(pirq =>
            {
                var errno = _owner.UnmapPirq(_guest, pirq);
                if (errno != 0 && result == 0) result = errno;
                return errno == 0;
            });
            Mapped = left;
            var written = Record(() =>
            {
                if (left.IsEmpty) File.Delete(_record);
                else File.WriteAllLines(_record, left.Select(pirq => pirq.ToString()));
            });
            return result != 0 ? result : written;
        }

        private int MapAndRecord(ushort entry, ulong tableBar, out Pirq pirq)
        {
            var errno = _owner.MapPirq(_guest, _function, entry, tableBar, out pirq);
            if (errno != 0) return errno;
            Mapped = Mapped.Add(pirq);
            var line = $"{pirq}\n";
            return Record(() => File.AppendAllText(_record, line));
        }

        /// <returns>0, or EIO: what is not on record might never be unmapped.</returns>
        private static int Record(Action write)
        {
            try
            {
                write();
                return 0;
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                return Errnos.EIO;
            }
        }
    }
}
