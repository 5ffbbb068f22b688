using System.Collections.Concurrent;
using System.Diagnostics;
using System.Text.Json;
using Microsoft.Win32.SafeHandles;
using XenPciBack.Protocol;
using XenPciBack.Protocol.Aer;

namespace XenPciBack.Host.Linux;

/// <summary>
/// The errors of this machine's functions, from the kernel's trace, the counters in sysfs and the kernel objects' events. What
/// was told and handled is on record, so that the next daemon tells the rest, and nothing twice.
/// </summary>
/// <param name="records">Of this uptime: the kernel counts from its boot on.</param>
/// <param name="root">Where the file system begins; other than <c>/</c> only in tests.</param>
internal sealed class LinuxAerFeed(IRecords records, string root = "/") : IAerFeed
{
    // Errors that were told and are not handled yet.
    private readonly ConcurrentDictionary<HostBdf, int> _unhandled = new();

    // What was told so far; a watch goes on where the one before it has ended.
    private AerMerge? _told;

    public IDisposable Watch(Action<AerReport> tell) => new Watcher(this, records, root.TrimEnd('/'), tell);

    public void Handled(HostBdf device, int errors) =>
        _unhandled.AddOrUpdate(device, 0, (_, unhandled) => unhandled - errors);

    private sealed class Watcher : IDisposable
    {
        /// <summary>How often the counters are looked at when nothing has happened.</summary>
        private static readonly TimeSpan Round = TimeSpan.FromSeconds(1);

        /// <summary>How long a source that was lost is left alone.</summary>
        private static readonly TimeSpan Retry = TimeSpan.FromSeconds(10);

        /// <summary>An error that the counters have at the start is told after <see cref="AerMerge.Grace"/>.</summary>
        private static readonly TimeSpan LongestFirstLook = 2 * AerMerge.Grace;

        private static readonly (AerSeverity Severity, string File)[] Counters =
            [(AerSeverity.Correctable, "aer_dev_correctable"), (AerSeverity.NonFatal, "aer_dev_nonfatal"), (AerSeverity.Fatal, "aer_dev_fatal")];

        private readonly LinuxAerFeed _feed;
        private readonly IRecords _records;
        private readonly string _root;
        private readonly Action<AerReport> _tell;
        private readonly SafeFileHandle _wakeup = Interop.Libc.OpenWakeup();
        private readonly Thread _thread;
        private readonly long _started = Stopwatch.GetTimestamp();
        private readonly HashSet<HostBdf> _watched = [];
        private readonly Dictionary<HostBdf, string> _recorded = [];
        private readonly Dictionary<AerSource, TimeSpan> _lost = [];
        private readonly byte[] _datagram = new byte[8192];

        private bool _pastErrorsTold;
        private AerMerge _merge;
        private AerTrace? _trace;
        private SafeFileHandle? _events;

        public Watcher(LinuxAerFeed feed, IRecords records, string root, Action<AerReport> tell)
        {
            (_feed, _records, _root, _tell) = (feed, records, root, tell);
            _merge = feed._told ?? new AerMerge();
            if (feed._told is null) Remember();
            _thread = new Thread(Run) { Name = "aer", IsBackground = true };
            _thread.Start();
        }

        private TimeSpan Now => Stopwatch.GetElapsedTime(_started);

        public void Dispose()
        {
            Interop.Libc.Wake(_wakeup);
            if (Thread.CurrentThread != _thread) _thread.Join();
        }

        private void Run()
        {
            using var wakeup = _wakeup;
            var readable = new bool[3];
            while (!readable[2])
            {
                Open();
                // First what tells more.
                ReadTrace();
                Look();
                TellPastErrorsTold();
                Interop.Libc.WaitReadable([_trace?.Descriptor ?? -1, (int?)_events?.DangerousGetHandle() ?? -1, (int)wakeup.DangerousGetHandle()], readable,
                    (int)(_watched.Any(_merge.Awaits) ? AerMerge.Grace : Round).TotalMilliseconds);
                if (readable[1]) ReadEvents();
            }
            _feed._told = _merge;
            _trace?.Dispose();
            _events?.Dispose();
        }

        private void Open()
        {
            if (_trace is null) Try(AerSource.Trace, () => _trace = AerTrace.Open(_root));
            if (_events is null) Try(AerSource.Uevent, () => _events = Interop.Libc.OpenKernelEvents());
        }

        private void Try(AerSource source, Action open)
        {
            if (_lost.TryGetValue(source, out var since) && Now - since < Retry) return;
            try
            {
                open();
                if (_lost.Remove(source)) _tell(new AerReport.SourceBack(source));
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException or HostCallException)
            {
                Lose(source, e.Message);
            }
        }

        private void Lose(AerSource source, string what)
        {
            if (!_lost.ContainsKey(source)) _tell(new AerReport.SourceLost(source, what));
            _lost[source] = Now;
        }

        private void ReadTrace()
        {
            if (_trace is null) return;
            try
            {
                _trace.Read(line =>
                {
                    if (AerTraceLine.LostBefore(line) is > 0 and var lost) _tell(new AerReport.RecordsLost(lost));
                    if (AerTraceLine.TryParse(line) is not { } error) return;
                    (_merge, var errors) = _merge.Traced(error with { First = FirstOf(error) }, Now);
                    Tell(errors);
                });
            }
            catch (IOException e)
            {
                _trace.Dispose();
                _trace = null;
                Lose(AerSource.Trace, e.Message);
            }
        }

        // The trace does not say; the function may still know.
        private int? FirstOf(AerError error)
        {
            try
            {
                return error.IsUncorrectable ? FirstError.Of(File.ReadAllBytes($"{DirectoryOf(error.Device)}/config"), error.Status) : null;
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                return null;
            }
        }

        private void ReadEvents()
        {
            while (true)
            {
                var got = Interop.Libc.Read(_events!, _datagram);
                if (got == -Errnos.EAGAIN) return;
                // ENOBUFS: the kernel had more to say than fits; the counters know.
                if (got == -Errnos.ENOBUFS) continue;
                if (got <= 0)
                {
                    _events!.Dispose();
                    _events = null;
                    Lose(AerSource.Uevent, $"the kernel's events cannot be read: {Errnos.Name(-got)}");
                    return;
                }
                if (PciErrorEvent.TryParse(_datagram.AsSpan(0, got)) is { } told) OnEvent(told);
            }
        }

        // The event comes for every function below the port, whoever has failed; it counts where nothing better is to be had.
        private void OnEvent(PciErrorEvent told)
        {
            if (told.Stage == PciErrorStage.BeginRecovery && _trace is null && !HasCounters(told.Device))
                Tell(new AerError(told.Device, AerSeverity.NonFatal, 0, [], AerSource.Uevent));
        }

        /// <summary>The functions that the stub holds, and the bridges above them.</summary>
        private void Look()
        {
            var devices = new HashSet<HostBdf>();
            foreach (var device in HeldByStub()) devices.UnionWith([device, .. SysfsPciFunction.BridgesAbove(device, DirectoryOf(device))]);
            foreach (var gone in _watched.Except(devices).ToList()) _merge = _merge.Forget(gone);
            _watched.Clear();
            _watched.UnionWith(devices);
            foreach (var device in devices)
                foreach (var (severity, file) in Counters)
                    if (ReadCounters(device, severity, file) is { } counters)
                    {
                        (_merge, var errors) = _merge.Counted(device, severity, counters, Now);
                        Tell(errors);
                    }
            Record();
        }

        private IReadOnlyList<HostBdf> HeldByStub()
        {
            try
            {
                return SysfsPciHost.FunctionsIn(StubDirectory);
            }
            catch (IOException)
            {
                // The module is not loaded, or is being unloaded at this moment.
                return [];
            }
        }

        private void Tell(IEnumerable<AerError> errors)
        {
            foreach (var error in errors) Tell(error);
        }

        private void Tell(AerError error)
        {
            _feed._unhandled.AddOrUpdate(error.Device, 1, (_, unhandled) => unhandled + 1);
            _tell(new AerReport.Met(error));
        }

        // Not while a rise of the counters waits for the trace; a device that reports errors all the time does not hold
        // it up.
        private void TellPastErrorsTold()
        {
            if (_pastErrorsTold || (_watched.Any(_merge.Awaits) && Now < LongestFirstLook)) return;
            _pastErrorsTold = true;
            _tell(AerReport.PastErrorsTold.Instance);
        }

        private string StubDirectory => $"{_root}/sys/bus/pci/drivers/pciback";

        private string DirectoryOf(HostBdf device) => $"{_root}/sys/bus/pci/devices/{device}";

        private bool HasCounters(HostBdf device) => File.Exists($"{DirectoryOf(device)}/{Counters[0].File}");

        // No file: the function cannot report errors, or is gone.
        private AerCounters? ReadCounters(HostBdf device, AerSeverity severity, string file)
        {
            try
            {
                var path = $"{DirectoryOf(device)}/{file}";
                return File.Exists(path) ? AerCounters.TryParse(severity, File.ReadAllText(path)) : null;
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                return null;
            }
        }

        // One record for each function: what was told of it and acted on, by severity.
        private void Record()
        {
            foreach (var device in _merge.Told.GroupBy(told => told.Device))
            {
                if (_feed._unhandled.GetValueOrDefault(device.Key) != 0) continue;
                var text = JsonSerializer.Serialize(device.ToDictionary(told => told.Severity, told => told.Told));
                if (_recorded.GetValueOrDefault(device.Key) == text) continue;
                try
                {
                    _records.Write(device.Key.ToString(), text);
                    _recorded[device.Key] = text;
                }
                catch (IOException)
                {
                    // Tried again at the next look; without a record the next daemon takes what was counted until then for history.
                }
            }
        }

        private void Remember()
        {
            foreach (var name in _records.Names)
            {
                if (!HostBdf.TryParse(name, out var device)) continue;
                try
                {
                    foreach (var (severity, told) in JsonSerializer.Deserialize<Dictionary<AerSeverity, AerCounters>>(_records.Read(name) ?? "{}")!)
                        _merge = _merge.Remember(device, severity, told);
                }
                catch (Exception e) when (e is IOException or JsonException)
                {
                    // As if there were no record.
                }
            }
        }
    }
}
