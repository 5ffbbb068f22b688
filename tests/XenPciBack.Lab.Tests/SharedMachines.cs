using System.Diagnostics;
using System.Globalization;
using System.Runtime.CompilerServices;
using XenPciBack.Lab.Images;
using XenPciBack.Lab.Machine;
using Xunit.Abstractions;
using Xunit.Sdk;

namespace XenPciBack.Lab.Tests;

/// <summary>
/// What all scenarios share: a <see cref="SharedMachine"/> for each release, booted for the first scenario that wants
/// it. Only one runs at a time. How long each scenario has taken goes into the output of <c>dotnet test</c>.
/// </summary>
[CollectionDefinition(Name)]
public sealed class SharedMachines(IMessageSink output) : ICollectionFixture<SharedMachines>, IAsyncLifetime
{
    public const string Name = "real-Xen lab";

    private readonly Dictionary<Release, SharedMachine> _machines = [];
    private TimeSpan _inScenarios;
    private int _scenarios;

    /// <summary>Begins a scenario; disposing what is returned ends it.</summary>
    internal async Task<Scenario> BeginAsync(
        Moment moment, Release? release = null, [CallerFilePath] string file = "", [CallerMemberName] string name = "")
    {
        var wanted = release ?? Release.Bookworm;
        var clock = Stopwatch.StartNew();
        var machine = await MachineAsync(wanted);
        await machine.GoToAsync(moment);
        return new Scenario(this, machine, $"{Path.GetFileNameWithoutExtension(file)}.{name} ({wanted})", clock);
    }

    public Task InitializeAsync() => Task.CompletedTask;

    public async Task DisposeAsync()
    {
        Write($"{Seconds(_inScenarios)} s for {_scenarios} scenarios");
        foreach (var machine in _machines.Values) await machine.DisposeAsync();
    }

    private async Task<SharedMachine> MachineAsync(Release release)
    {
        foreach (var (other, machine) in _machines)
            if (other != release)
                await machine.SwitchOffAsync();
        if (_machines.TryGetValue(release, out var booted)) return booted;
        return _machines[release] = await SharedMachine.BootAsync(release);
    }

    private void End(Scenario scenario)
    {
        _scenarios++;
        _inScenarios += scenario.Elapsed;
        Write($"{Seconds(scenario.Elapsed)} s, of which {Seconds(scenario.Waited)} s for the machine: {scenario.Name}");
    }

    private void Write(string line) => output.OnMessage(new DiagnosticMessage(line));

    private static string Seconds(TimeSpan time) =>
        string.Create(CultureInfo.InvariantCulture, $"{time.TotalSeconds,6:0.0}");

    /// <summary>One scenario, from the moment it begins at until it is disposed.</summary>
    internal sealed class Scenario : IAsyncDisposable
    {
        private readonly SharedMachines _machines;
        private readonly Stopwatch _clock;

        /// <param name="clock">Runs since the machine was asked for.</param>
        internal Scenario(SharedMachines machines, SharedMachine machine, string name, Stopwatch clock) =>
            (_machines, Devices, Name, _clock, Waited) = (machines, machine, name, clock, clock.Elapsed);

        public string Name { get; }

        public XenMachine Machine => Devices.Machine;

        public DomainZero DomainZero => Devices.DomainZero;

        public SharedMachine Devices { get; }

        /// <summary>How long it has waited for the machine.</summary>
        public TimeSpan Waited { get; private set; }

        public TimeSpan Elapsed => _clock.Elapsed;

        /// <summary>Sets the machine to another moment.</summary>
        public async Task GoToAsync(Moment moment)
        {
            var before = _clock.Elapsed;
            await Devices.GoToAsync(moment);
            Waited += _clock.Elapsed - before;
        }

        public ValueTask DisposeAsync()
        {
            _machines.End(this);
            return ValueTask.CompletedTask;
        }
    }
}
