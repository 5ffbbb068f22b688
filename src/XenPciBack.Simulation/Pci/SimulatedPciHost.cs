using System.Collections.Concurrent;
using System.Collections.Immutable;
using XenPciBack.Host;
using XenPciBack.Protocol;
using XenPciBack.Protocol.ConfigSpace;
using XenPciBack.Protocol.SharedPage;

namespace XenPciBack.Simulation.Pci;

/// <summary>The PCI devices of the simulated host. Opens those the toolstack has set aside, refuses the others as the real host does.</summary>
public sealed class SimulatedPciHost
{
    private const string StubDriver = "pciback";

    private readonly Lock _lock = new();
    private readonly HostAddressSpace _addresses = new();
    private readonly ConcurrentDictionary<HostBdf, PciFunctionModel> _functions = new();
    private readonly ConcurrentDictionary<HostBdf, string> _drivers = new();
    private readonly ConcurrentDictionary<(DomainId, int), bool> _servedByKernel = new();
    private readonly ConcurrentDictionary<HostBdf, ConfigPolicy> _policies = new();
    private int _open;

    /// <summary>Functions opened and not disposed. 0 when the backend has let go of everything.</summary>
    public int OpenFunctions => Volatile.Read(ref _open);

    public IEnumerable<PciFunctionModel> Functions => _functions.Values.OrderBy(f => f.Bdf.ToString(), StringComparer.Ordinal);

    public PciFunctionModel this[HostBdf bdf] => _functions[bdf];

    /// <summary>Puts a function into the machine, gives its BARs addresses, and binds it to a driver.</summary>
    /// <param name="driver">pciback, which sets it aside for guests, or null for none.</param>
    public PciFunctionModel Plug(PciFunctionDescription description, string? driver = StubDriver)
    {
        lock (_lock)
        {
            var function = new PciFunctionModel(description, _addresses);
            if (!_functions.TryAdd(function.Bdf, function)) throw new ArgumentException($"{function.Bdf} is taken", nameof(description));
            SetDriver(function.Bdf, driver);
            return function;
        }
    }

    /// <summary>Binds a function to another driver, as <c>xl pci-assignable-add</c> and <c>-remove</c> do. null: none.</summary>
    public void SetDriver(HostBdf bdf, string? driver)
    {
        if (driver is null) _drivers.TryRemove(bdf, out _);
        else _drivers[bdf] = driver;
    }

    /// <summary>Lets the kernel's own xen-pciback serve a guest, so that the daemon must keep off.</summary>
    public void ServeByKernel(DomainId guest, int deviceId) => _servedByKernel[(guest, deviceId)] = true;

    /// <summary>Sets the host's own switches for a function, as <c>echo BDF &gt; permissive</c> does on a real one.</summary>
    public void SetPolicy(HostBdf bdf, ConfigPolicy policy) => _policies[bdf] = policy;

    /// <summary>Why guests are given no more devices: as if the process were at a limit.</summary>
    public string? ObjectionToMore { get; set; }

    /// <summary>The devices as one process has them: it opens each for one guest at a time, and nothing keeps another process from doing so.</summary>
    public IPciHost OfOneProcess() => new Process(this);

    private sealed class Process(SimulatedPciHost host) : IPciHost
    {
        private readonly ConcurrentDictionary<HostBdf, bool> _given = new();

        public string? ObjectionToMore => host.ObjectionToMore;

        public bool KernelBackendServes(DomainId guest, int deviceId) => host._servedByKernel.ContainsKey((guest, deviceId));

        public ConfigPolicy PolicyOf(HostBdf bdf) => host._policies.GetValueOrDefault(bdf) ?? new ConfigPolicy();

        public ImmutableArray<HostBdf> BridgesAbove(HostBdf bdf) => host._functions.TryGetValue(bdf, out var function) ? function.Bridges : [];

        public IPciFunction Open(HostBdf bdf)
        {
            if (!host._functions.TryGetValue(bdf, out var function)) throw new PciFunctionUnavailableException(bdf, "no such device");
            var driver = host._drivers.GetValueOrDefault(bdf);
            if (driver != StubDriver)
                throw new PciFunctionUnavailableException(bdf,
                    $"not set aside for guests: {(driver is null ? "it has no driver" : $"driver {driver} has it")}, {StubDriver} should; run: xl pci-assignable-add {bdf}");
            if ((function.Read(0x0E, 1) & 0x7F) > 1) throw new PciFunctionUnavailableException(bdf, "neither a device nor a PCI bridge");
            if (!_given.TryAdd(bdf, true)) throw new PciFunctionUnavailableException(bdf, "already given to a guest; detach it there first: xl pci-detach") { IsInUse = true };
            Interlocked.Increment(ref host._open);
            return new OpenFunction(function, onClose: () =>
            {
                Interlocked.Decrement(ref host._open);
                _given.TryRemove(bdf, out _);
            });
        }
    }

    /// <summary>One owner's handle, with the error rules of sysfs.</summary>
    private sealed class OpenFunction(PciFunctionModel function, Action onClose) : IPciFunction
    {
        private int _disposed;

        public PciFunctionFacts Facts { get; } = new(function.Bdf, function.VendorId, function.DeviceId, function.ConfigSize, function.IsVirtualFunction,
            function.Bridges, function.Resources, function.LineSharers, CacheLineSize: 16);

        // The physical function of a simulated VF is not in the machine; its driver would have memory decoding on.
        public bool DecodesMemory => function.IsVirtualFunction || (function.Read(0x04, 2) & 0x2) != 0;
        public int Irq => function.Irq;

        public PciOpError Read(int offset, int size, out uint value)
        {
            ObjectDisposedException.ThrowIf(Volatile.Read(ref _disposed) != 0, this);
            value = function.Read(offset, size);
            return Outcome;
        }

        public PciOpError Write(int offset, int size, uint value)
        {
            ObjectDisposedException.ThrowIf(Volatile.Read(ref _disposed) != 0, this);
            function.Write(offset, size, value);
            return Outcome;
        }

        public ImmutableArray<byte> ReadAll() => [.. Enumerable.Range(0, function.ConfigSize).Select(offset => (byte)function.Read(offset, 1))];

        public string? TryReset()
        {
            ObjectDisposedException.ThrowIf(Volatile.Read(ref _disposed) != 0, this);
            return function.TryReset();
        }

        public void Dispose()
        {
            if (Interlocked.Exchange(ref _disposed, 1) == 0) onClose();
        }

        private PciOpError Outcome => function.IsPresent ? PciOpError.Success : PciOpError.DeviceNotFound;
    }
}
