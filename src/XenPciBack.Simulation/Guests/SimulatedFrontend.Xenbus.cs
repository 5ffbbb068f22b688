using System.Globalization;
using System.Threading.Channels;
using XenPciBack.Protocol.XenStoreWire;
using XenPciBack.XenStore;

namespace XenPciBack.Simulation.Guests;

// The handshake: what the frontend does when the store changes.
public sealed partial class SimulatedFrontend
{
    private const int ENOENT = 2, EINVAL = 22;

    // One bit: something below a watched node is no longer as last seen.
    private readonly Channel<bool> _storeChanged = Channel.CreateBounded<bool>(new BoundedChannelOptions(1) { FullMode = BoundedChannelFullMode.DropWrite });
    private XenStoreWatch? _ownWatch;
    private XenStoreWatch? _backendWatch;
    private XenStorePath _backend;

    private void Wake() => _storeChanged.Writer.TryWrite(true);

    private async Task RunAsync()
    {
        try
        {
            while (true)
            {
                await _storeChanged.Reader.ReadAsync(_stopping.Token).ConfigureAwait(false);
                _ownWatch!.Accept();
                _backendWatch?.Accept();
                try
                {
                    await LookAsync().WaitAsync(_stopping.Token).ConfigureAwait(false);
                }
                catch (XenStoreConnectionLostException)
                {
                    // Linux waits for its xenstore however long that takes.
                    Wake();
                }
            }
        }
        catch (Exception e) when (_stopping.IsCancellationRequested && e is OperationCanceledException or ObjectDisposedException)
        {
        }
    }

    private async Task LookAsync()
    {
        if (await _store.ReadAsync(_directory / "state").ConfigureAwait(false) is not { } own)
        {
            Forget();
            return;
        }
        if (_backendWatch is null && !await FindBackendAsync().ConfigureAwait(false)) return;
        if (ParseState(own) == Initialising) await PublishAsync().ConfigureAwait(false);
        try
        {
            await FollowBackendAsync(ParseState(await _store.ReadAsync(_backend / "state").ConfigureAwait(false))).ConfigureAwait(false);
        }
        catch (XenStoreErrorReplyException e) when (e.ErrorName is XenStoreErrorName.ENOENT or XenStoreErrorName.EACCES)
        {
            // The toolstack is taking the directories away; the watch has more to say.
        }
    }

    private async Task<bool> FindBackendAsync()
    {
        if (!XenStorePath.TryParse(await _store.ReadAsync(_directory / "backend").ConfigureAwait(false), out _backend)) return false;
        _backendWatch = await _store.WatchAsync(_backend / "state", Wake).ConfigureAwait(false);
        return true;
    }

    private async Task PublishAsync()
    {
        await _store.TransactAsync(async tx =>
        {
            await _store.WriteAsync(_directory / "pci-op-ref", $"{_options.PublishedGrant ?? _grant}", tx).ConfigureAwait(false);
            await _store.WriteAsync(_directory / "event-channel", $"{_options.PublishedPort ?? _port.Number}", tx).ConfigureAwait(false);
            if (_options.Magic is { } magic) await _store.WriteAsync(_directory / "magic", magic, tx).ConfigureAwait(false);
            if (_options.SwitchesStateInTransaction) await _store.WriteAsync(_directory / "state", $"{Initialised}", tx).ConfigureAwait(false);
        }).ConfigureAwait(false);
        await WriteStateAsync(_options.ConnectsEarly ? Connected : Initialised).ConfigureAwait(false);
    }

    private Task FollowBackendAsync(int backend) => (backend, State) switch
    {
        (Connected, Initialised) => ConnectAsync(),
        (Reconfiguring, Connected or Initialised) => DetachAsync(),
        (Reconfigured, Reconfiguring) => ConnectAsync(),
        // Numerically: a frontend that is reconfiguring (7, 8) does not listen to Closing either.
        (Closing, < Closing) => DropAllAsync(),
        (Closed, not Closed) => DropAllAsync(),
        _ => Task.CompletedTask,
    };

    private async Task ConnectAsync()
    {
        if (await ReadRootsAsync().ConfigureAwait(false) is not { } roots) return;
        foreach (var (domain, bus) in _options.LooksForDevices ? roots : [])
        {
            var found = await new PciScan(this, domain, bus).RunAsync().ConfigureAwait(false);
            Devices = [.. Devices.Concat(found).DistinctBy(d => d.Address).OrderBy(d => d.Address, StringComparer.Ordinal)];
        }
        await WriteStateAsync(Connected).ConfigureAwait(false);
    }

    /// <summary>null after an error the frontend does not go on from.</summary>
    private async Task<IReadOnlyList<(uint Domain, uint Bus)>?> ReadRootsAsync()
    {
        if (await _store.ReadAsync(_backend / "root_num").ConfigureAwait(false) is not { } countText)
        {
            await RecordErrorAsync(ENOENT, "No PCI Roots found, trying 0000:00").ConfigureAwait(false);
            return [(0, 0)];
        }
        if (!int.TryParse(countText, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var count)) return await FailAsync($"root_num is '{countText}'").ConfigureAwait(false);

        var roots = new List<(uint, uint)>();
        for (var i = 0; i < count; i++)
        {
            var text = await _store.ReadAsync(_backend / $"root-{i}").ConfigureAwait(false) ?? "";
            if (text.Split(':') is not [var domain, var bus] || !TryParseHex(domain, out var domainNumber) || !TryParseHex(bus, out var busNumber))
                return await FailAsync($"root-{i} is '{text}'").ConfigureAwait(false);
            roots.Add((domainNumber, busNumber));
        }
        return roots;
    }

    private async Task DetachAsync()
    {
        var count = int.Parse(await _store.ReadAsync(_backend / "num_devs").ConfigureAwait(false) ?? "0", CultureInfo.InvariantCulture);
        for (var i = 0; i < count; i++)
        {
            if (ParseState(await _store.ReadAsync(_backend / $"state-{i}").ConfigureAwait(false)) != Closing) continue;
            var text = await _store.ReadAsync(_backend / $"vdev-{i}").ConfigureAwait(false) ?? "";
            if (!TryParseAddress(text, out var address))
            {
                await FailAsync($"vdev-{i} is '{text}'").ConfigureAwait(false);
                return;
            }
            Devices = [.. Devices.Where(d => d.Address != address)];
        }
        await WriteStateAsync(Reconfiguring).ConfigureAwait(false);
    }

    private Task DropAllAsync()
    {
        Devices = [];
        return WriteStateAsync(Closed);
    }

    private void Forget()
    {
        if (State == Unknown) return;
        (State, Devices) = (Unknown, []);
        Signal();
    }

    private async Task<IReadOnlyList<(uint, uint)>?> FailAsync(string text)
    {
        await RecordErrorAsync(EINVAL, text).ConfigureAwait(false);
        await WriteStateAsync(Closing).ConfigureAwait(false);
        return null;
    }

    private Task RecordErrorAsync(int errno, string text) => _store.WriteAsync(_home / "error/device/pci/0/error", $"{errno} {text}");

    private static int ParseState(string? text) => int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var state) ? state : Unknown;

    /// <summary>Four hexadecimal parts, the function of one or two digits: <c>0000:00:01.00</c> is <c>0000:00:01.0</c>.</summary>
    private static bool TryParseAddress(string text, out string address)
    {
        address = "";
        if (text.Split(':', '.') is not [var domain, var bus, var slot, var function]) return false;
        if (!TryParseHex(domain, out var d) || !TryParseHex(bus, out var b) || !TryParseHex(slot, out var s) || !TryParseHex(function, out var f)) return false;
        address = GuestPciDevice.Format(d, b, s << 3 | f);
        return true;
    }

    private static bool TryParseHex(string text, out uint value) => uint.TryParse(text, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out value);
}
