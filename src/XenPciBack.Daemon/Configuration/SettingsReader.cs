using System.Collections.Immutable;
using System.Globalization;
using System.Text.Json;
using Akka.Configuration;
using Akka.Configuration.Hocon;
using Serilog.Events;
using XenPciBack.Backend;
using XenPciBack.Backend.Errors;
using XenPciBack.Protocol;
using XenPciBack.Protocol.ConfigSpace;
using XenPciBack.Protocol.Hiding;
using XenPciBack.Protocol.Slots;
using XenPciBack.XenStore;

namespace XenPciBack.Daemon.Configuration;

/// <summary>
/// Reads hocon.conf, the operator's file over it, into <see cref="DaemonSettings"/>. All faults are collected, so that one start
/// shows them all. No default stands in code: the built-in hocon.conf has them.
/// </summary>
internal sealed partial class SettingsReader
{
    public const string DefaultPath = "/etc/xenpciback/hocon.conf";
    private const string Root = "xenpciback";

    /// <summary>Groups in which the names are the operator's own.</summary>
    private static readonly string[] OperatorsOwn = [$"{Root}.guests", $"{Root}.devices"];

    private static readonly string[] GuestKeys = ["topology"], DeviceKeys = ["permissive", "allow-interrupt-control", "allow-shared-line", "aer-response"];

    private readonly Config _config;
    private readonly string _source;
    private readonly List<string> _faults = [];

    private SettingsReader(Config config, string source) => (_config, _source) = (config, source);

    /// <param name="path">The operator's file; null: <see cref="DefaultPath"/> if it exists.</param>
    /// <exception cref="SettingsException">The file cannot be read, or settings in it are unknown or wrong.</exception>
    public static DaemonSettings Load(string? path)
    {
        if (path is null && !File.Exists(DefaultPath)) return Read(operatorText: "", source: "built-in hocon.conf");
        path ??= DefaultPath;
        try
        {
            return Read(File.ReadAllText(path), path);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new SettingsException([$"{path}: cannot be read: {e.Message}"]);
        }
    }

    public static DaemonSettings Read(string operatorText, string source)
    {
        var builtIn = ConfigurationFactory.ParseString(BuiltInText());
        Config own;
        try
        {
            own = string.IsNullOrWhiteSpace(operatorText) ? Config.Empty : ConfigurationFactory.ParseString(operatorText);
        }
        catch (Exception e) when (e is not OutOfMemoryException)
        {
            // The parser has no exception type of its own.
            throw new SettingsException([$"{source}: is not HOCON: {e.Message}"]);
        }
        var reader = new SettingsReader(own.WithFallback(builtIn), source);
        var hasShape = reader.CheckKeys(own, builtIn);
        if (!hasShape) throw new SettingsException(reader._faults);
        var settings = reader.Read();
        return reader._faults.Count == 0 ? settings : throw new SettingsException(reader._faults);
    }

    private DaemonSettings Read()
    {
        var backend = new BackendSettings(
            Domain: new DomainId(Number("backend-domain", 0, DomainId.FirstReserved - 1)),
            Loops: Number("data-plane.loops", 1, 4096),
            Turn: Duration("data-plane.turn", TimeSpan.FromMilliseconds(1), TimeSpan.FromMilliseconds(100)),
            GuestPatience: Duration("data-plane.guest-patience", TimeSpan.FromMilliseconds(100), TimeSpan.FromHours(1)),
            HotPlugPatience: Duration("hot-plug.patience", TimeSpan.FromMilliseconds(100), TimeSpan.FromHours(1)),
            StoreRetry: Duration("xenstore.retry-pause", TimeSpan.FromMilliseconds(10), TimeSpan.FromMinutes(10)))
        {
            Topologies = new Topologies(OneOf<Topology>("topology", Topology.Passthrough))
            {
                ByGuest = Named("guests", GuestKeys).Where(guest => _config.HasPath($"{Root}.{guest.Path}.topology"))
                    .ToDictionary(guest => guest.Name, guest => OneOf<Topology>($"{guest.Path}.topology", Topology.Passthrough)),
            },
            Aer = new AerPolicies(
                OneOf<AerResponse>("aer.response", AerResponse.Report),
                StepPatience: Duration("aer.step-patience", TimeSpan.FromMilliseconds(100), TimeSpan.FromHours(1)),
                CorrectableLimit: Number("aer.correctable.limit", 0, int.MaxValue),
                CorrectableWindow: Duration("aer.correctable.window", TimeSpan.FromSeconds(1), TimeSpan.FromDays(1)))
            {
                ByDevice = ReadAerResponses(),
            },
            Devices = new DevicePolicies(Switch("permissive")) { ByDevice = ReadDevices(), Quirks = ReadQuirks(), ReportErrors = Switch("aer.enable-reporting") },
        };
        var xenStore = new XenStoreClientOptions
        {
            ReconnectPatience = Duration("xenstore.reconnect-patience", TimeSpan.FromMilliseconds(100), TimeSpan.FromHours(1)),
            FirstReconnectPause = Duration("xenstore.first-reconnect-pause", TimeSpan.FromMilliseconds(1), TimeSpan.FromMinutes(1)),
            LongestReconnectPause = Duration("xenstore.longest-reconnect-pause", TimeSpan.FromMilliseconds(1), TimeSpan.FromMinutes(1)),
            TransactionTries = Number("xenstore.transaction-tries", 1, 10000),
        };
        var socket = Text("xenstore.socket");
        return new DaemonSettings(backend, socket.Length == 0 ? null : socket, xenStore, OneOf<LogEventLevel>("log.level", LogEventLevel.Error),
            SocketPath("control-socket"), HidePatterns("hide"), Switch("fleet.enabled"), ReadFleet(), ReadWeb(), _config);
    }

    private ImmutableArray<HidePattern> HidePatterns(string key)
    {
        var patterns = HidePattern.Parse(Text(key), out var fault);
        if (fault is not null) _faults.Add($"{_source}: {Root}.{key}: {fault}");
        return patterns;
    }

    private ImmutableDictionary<HostBdf, ConfigPolicy> ReadDevices()
    {
        var devices = ImmutableDictionary.CreateBuilder<HostBdf, ConfigPolicy>();
        foreach (var (name, path) in Named("devices", DeviceKeys))
        {
            if (!HostBdf.TryParse(name, out var bdf)) _faults.Add($"{_source}: {Root}.devices has '{name}'; expected a PCI address, ssss:bb:dd.f in hexadecimal");
            else if (!devices.TryAdd(bdf, new ConfigPolicy(Switch($"{path}.permissive", absent: false), Switch($"{path}.allow-interrupt-control", absent: false))
            {
                AllowSharedLine = Switch($"{path}.allow-shared-line", absent: false),
            }))
                _faults.Add($"{_source}: {Root}.devices has {bdf} twice");
        }
        return devices.ToImmutable();
    }

    private ImmutableDictionary<HostBdf, AerResponse> ReadAerResponses() => Named("devices", DeviceKeys)
        .Where(device => HostBdf.TryParse(device.Name, out _) && _config.HasPath($"{Root}.{device.Path}.aer-response"))
        .DistinctBy(device => HostBdf.Parse(device.Name))
        .ToImmutableDictionary(device => HostBdf.Parse(device.Name), device => OneOf<AerResponse>($"{device.Path}.aer-response", AerResponse.Report));

    private ImmutableArray<ConfigQuirk> ReadQuirks()
    {
        var path = Text("quirks");
        if (path.Length == 0 || !File.Exists(path)) return [];
        var quirks = ImmutableArray.CreateBuilder<ConfigQuirk>();
        try
        {
            foreach (var (number, line) in File.ReadLines(path).Index())
            {
                var text = line.Split('#')[0].Trim();
                if (text.Length == 0) continue;
                if (ConfigQuirk.TryParse(text, out var quirk) is { } fault) _faults.Add($"{path}:{number + 1}: {fault}");
                else quirks.Add(quirk!);
            }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            _faults.Add($"{path}: cannot be read: {e.Message}");
        }
        return quirks.ToImmutable();
    }

    /// <summary>The members of a group whose names are the operator's own, with the path of each.</summary>
    /// <param name="known">The settings each of them may have.</param>
    private List<(string Name, string Path)> Named(string group, string[] known)
    {
        var found = new List<(string, string)>();
        foreach (var (name, value) in _config.GetValue($"{Root}.{group}").GetObject().Items)
        {
            // Names have dots in them; in a path they stand in quotes.
            var path = $"{group}.\"{name}\"";
            if (!value.IsObject())
            {
                _faults.Add($"{_source}: {Root}.{path} is '{value}'; expected a group with: {string.Join(", ", known)}");
                continue;
            }
            foreach (var key in value.GetObject().Items.Keys.Except(known))
                _faults.Add($"{_source}: {Root}.{path}.{key} is not a setting; known here: {string.Join(", ", known)}");
            found.Add((name, path));
        }
        return found;
    }

    private bool Switch(string key, bool absent) => _config.HasPath($"{Root}.{key}") ? Switch(key) : absent;

    private bool Switch(string key)
    {
        var text = Text(key);
        switch (text.ToLowerInvariant())
        {
            case "on" or "true" or "yes":
                return true;
            case "off" or "false" or "no":
                return false;
            default:
                Fault(key, text, "on or off");
                return false;
        }
    }

    private string Text(string key) => _config.GetString($"{Root}.{key}");

    private string SocketPath(string key)
    {
        // The kernel's limit for the name of a Unix socket, with its final NUL.
        const int longest = 107;
        var text = Text(key);
        if (!Path.IsPathRooted(text) || text.Length > longest) Fault(key, text, $"an absolute path of at most {longest} bytes");
        return text;
    }

    private int Number(string key, int least, int most)
    {
        var text = Text(key);
        if (int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var value) && value >= least && value <= most) return value;
        Fault(key, text, string.Create(CultureInfo.InvariantCulture, $"a whole number from {least} to {most}"));
        return least;
    }

    private TimeSpan Duration(string key, TimeSpan least, TimeSpan most)
    {
        try
        {
            var value = _config.GetTimeSpan($"{Root}.{key}", allowInfinite: false);
            if (value >= least && value <= most) return value;
        }
        catch (Exception e) when (e is FormatException or OverflowException or InvalidCastException)
        {
            // Reported below with the text that could not be read.
        }
        Fault(key, Text(key), $"a duration with its unit, from {Show(least)} to {Show(most)}");
        return least;
    }

    private TEnum OneOf<TEnum>(string key, TEnum last) where TEnum : struct, Enum
    {
        var text = Text(key);
        var allowed = Enum.GetValues<TEnum>().Where(v => Comparer<TEnum>.Default.Compare(v, last) <= 0).ToList();
        foreach (var value in allowed)
            if (string.Equals(text, NameOf(value), StringComparison.OrdinalIgnoreCase))
                return value;
        Fault(key, text, "one of " + string.Join(", ", allowed.Select(NameOf)));
        return last;

        // RecoverThenKill is recover-then-kill.
        static string NameOf(TEnum value) => JsonNamingPolicy.KebabCaseLower.ConvertName(value.ToString());
    }

    private void Fault(string key, string value, string expected) => _faults.Add($"{_source}: {Root}.{key} is '{value}'; expected {expected}");

    private static string Show(TimeSpan time) => time switch
    {
        { TotalHours: >= 1 } => $"{time.TotalHours.ToString(CultureInfo.InvariantCulture)} h",
        { TotalMinutes: >= 1 } => $"{time.TotalMinutes.ToString(CultureInfo.InvariantCulture)} min",
        { TotalSeconds: >= 1 } => $"{time.TotalSeconds.ToString(CultureInfo.InvariantCulture)} s",
        _ => $"{time.TotalMilliseconds.ToString(CultureInfo.InvariantCulture)} ms",
    };

    /// <summary>Reports keys that mean nothing here.</summary>
    /// <returns>false if a group stands where a value belongs or the other way round, so that values cannot be read at all.</returns>
    private bool CheckKeys(Config own, Config builtIn)
    {
        return own.IsEmpty || !own.HasPath(Root) || Check(Root, own.GetValue(Root), builtIn.GetValue(Root));

        bool Check(string path, HoconValue mine, HoconValue known)
        {
            if (mine.IsObject() != known.IsObject())
            {
                _faults.Add(known.IsObject()
                    ? $"{_source}: {path} is '{mine}'; expected a group with: {string.Join(", ", known.GetObject().Items.Keys)}"
                    : $"{_source}: {path} is a group; expected a value");
                return false;
            }
            if (!known.IsObject() || OperatorsOwn.Contains(path)) return true;
            var hasShape = true;
            foreach (var (key, value) in mine.GetObject().Items)
            {
                if (known.GetObject().Items.TryGetValue(key, out var counterpart)) hasShape &= Check($"{path}.{key}", value, counterpart);
                else _faults.Add($"{_source}: {path}.{key} is not a setting; known here: {string.Join(", ", known.GetObject().Items.Keys)}");
            }
            return hasShape;
        }
    }

    private static string BuiltInText()
    {
        using var stream = typeof(SettingsReader).Assembly.GetManifestResourceStream("hocon.conf")!;
        using var text = new StreamReader(stream);
        return text.ReadToEnd();
    }
}
