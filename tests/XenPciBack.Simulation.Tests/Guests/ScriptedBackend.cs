using XenPciBack.Host;
using XenPciBack.Protocol;
using XenPciBack.Protocol.ConfigSpace;
using XenPciBack.Protocol.SharedPage;
using XenPciBack.Protocol.XenStoreWire;
using XenPciBack.Simulation.Toolstack;
using XenPciBack.XenStore;

namespace XenPciBack.Simulation.Tests.Guests;

/// <summary>
/// The least a frontend needs on the other side: the test plays the handshake line by line, requests are answered from the
/// hardware without any policy but the address, each device in the slot of its index.
/// </summary>
internal sealed class ScriptedBackend(SimulatedXenHost machine, DomainId guest) : IAsyncDisposable
{
    private readonly XenHost _host = machine.OpenHost();
    private readonly SortedDictionary<uint, IPciFunction> _byDevFn = [];
    private XenStoreClient _store = null!;
    private IGrantMapping? _page;
    private IEventHandle? _handle;
    private Thread? _reader;

    public XenStorePath Directory { get; } = SimulatedToolstack.BackendOf(guest);

    public static async Task<ScriptedBackend> StartAsync(SimulatedXenHost machine, DomainId guest)
    {
        var backend = new ScriptedBackend(machine, guest);
        backend._store = await XenStoreClient.ConnectAsync(machine.XenStored.Endpoint);
        return backend;
    }

    public Task<string?> ReadAsync(XenStorePath path) => _store.ReadAsync(path);

    public Task WriteAsync(string name, string value) => _store.WriteAsync(Directory / name, value);

    public void Export(string bdf, uint devFn) => _byDevFn[devFn] = _host.Pci.Open(HostBdf.Parse(bdf));

    public void Withdraw(uint devFn)
    {
        _byDevFn.Remove(devFn, out var function);
        function?.Dispose();
    }

    /// <summary>Publishes one root, waits for the guest's page and port, and connects.</summary>
    public async Task ConnectAsync(string root = "0000:00")
    {
        await WriteAsync("root-0", root);
        await WriteAsync("root_num", "1");
        await WriteAsync("state", "3");
        var frontend = SimulatedToolstack.FrontendOf(guest);
        await WaitForAsync(frontend / "state", "3");
        _page = _host.Grants.Map(guest, new GrantReference(uint.Parse((await _store.ReadAsync(frontend / "pci-op-ref"))!)));
        _handle = _host.EventChannels.Open();
        var remotePort = uint.Parse((await _store.ReadAsync(frontend / "event-channel"))!);
        var port = _handle.Bind(guest, new RemotePort(remotePort));
        _reader = new Thread(() => Serve(_handle, port)) { IsBackground = true };
        _reader.Start();
        await WriteAsync("state", "4");
    }

    public Task WaitForAsync(XenStorePath path, string value) =>
        Eventually.EqualAsync(value, () => _store.ReadAsync(path));

    public async ValueTask DisposeAsync()
    {
        foreach (var function in _byDevFn.Values) function.Dispose();
        _host.Dispose();
        _reader?.Join();
        await _store.DisposeAsync();
    }

    private void Serve(IEventHandle handle, LocalPort port)
    {
        var events = new LocalPort[1];
        try
        {
            while (handle.Read(events, wait: true) >= 0)
            {
                var page = new SharedPageView(_page!.Page);
                while (page.HasRequest)
                {
                    page.Complete(Answer(page.CopyRequest()));
                    handle.Notify(port);
                }
                handle.Unmask(port);
            }
        }
        catch (ObjectDisposedException)
        {
            // The end of the process.
        }
    }

    private PciAnswer Answer(PciRequest request)
    {
        if (request.Segment != 0 || request.Bus != 0 || !_byDevFn.TryGetValue(request.DevFn, out var function)) return new(PciOpError.DeviceNotFound, request.Value);
        switch (request.Code)
        {
            case PciOpCode.ConfRead:
                return new(function.Read(request.Offset, request.Size, out var value), value);
            case PciOpCode.ConfWrite:
                return new(function.Write(request.Offset, request.Size, request.Value), request.Value);
            case PciOpCode.EnableMsix:
                return new(PciOpError.Success, 0, [.. request.MsixEntries.Select(e => (ushort)(100 + e))]);
            default:
                return new(PciOpError.NotImplemented, request.Value);
        }
    }
}
