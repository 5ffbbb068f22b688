using System.Collections.Immutable;
using XenPciBack.Protocol.Interrupts;
using XenPciBack.Protocol.SharedPage;

namespace XenPciBack.Protocol.ConfigSpace;

public enum DeviceAccessKind
{
    /// <summary>A register was read.</summary>
    Read,

    /// <summary>A register was written.</summary>
    Write,

    /// <summary>A PIRQ was mapped for the MSI message.</summary>
    MapMsi,

    /// <summary>A PIRQ was mapped for one MSI-X message.</summary>
    MapMsix,
}

/// <summary>One thing that was done to a device of the host while a request was performed.</summary>
/// <param name="Offset">The register, or the entry of the MSI-X table.</param>
/// <param name="Size">Bytes of the register; 0 for a mapping.</param>
/// <param name="Value">What was read or written, or the PIRQ.</param>
/// <param name="Error">As <see cref="IPciFunction"/> and <see cref="IPirqs"/> have it; 0 for success.</param>
public sealed record DeviceAccess(DeviceAccessKind Kind, int Offset, int Size, uint Value, int Error);

/// <summary>What was done to one device for one request. Used on one thread at a time.</summary>
public sealed class DeviceAccessLog
{
    private readonly ImmutableArray<DeviceAccess>.Builder _accesses = ImmutableArray.CreateBuilder<DeviceAccess>();

    /// <summary>Everything so far, in order.</summary>
    public ImmutableArray<DeviceAccess> Accesses => _accesses.ToImmutable();

    /// <summary>The same function; its accesses are written to this log.</summary>
    internal IPciFunction Watch(IPciFunction function) => new WatchedFunction(function, this);

    /// <summary>The same PIRQs; their mapping is written to this log.</summary>
    internal IPirqs Watch(IPirqs pirqs) => new WatchedPirqs(pirqs, this);

    private sealed class WatchedFunction(IPciFunction function, DeviceAccessLog log) : IPciFunction
    {
        public PciFunctionFacts Facts => function.Facts;
        public bool DecodesMemory => function.DecodesMemory;
        public int Irq => function.Irq;

        public PciOpError Read(int offset, int size, out uint value)
        {
            var error = function.Read(offset, size, out value);
            log._accesses.Add(new DeviceAccess(DeviceAccessKind.Read, offset, size, value, (int)error));
            return error;
        }

        public PciOpError Write(int offset, int size, uint value)
        {
            var error = function.Write(offset, size, value);
            log._accesses.Add(new DeviceAccess(DeviceAccessKind.Write, offset, size, value, (int)error));
            return error;
        }

        public ImmutableArray<byte> ReadAll() => function.ReadAll();

        public string? TryReset() => function.TryReset();

        public void Dispose() => function.Dispose();
    }

    private sealed class WatchedPirqs(IPirqs pirqs, DeviceAccessLog log) : IPirqs
    {
        public int MapMsi(out Pirq pirq)
        {
            var errno = pirqs.MapMsi(out pirq);
            log._accesses.Add(new DeviceAccess(DeviceAccessKind.MapMsi, 0, 0, (uint)pirq.Value, errno));
            return errno;
        }

        public int MapMsix(ushort entry, ulong tableBar, out Pirq pirq)
        {
            var errno = pirqs.MapMsix(entry, tableBar, out pirq);
            log._accesses.Add(new DeviceAccess(DeviceAccessKind.MapMsix, entry, 0, (uint)pirq.Value, errno));
            return errno;
        }

        public int Restore() => pirqs.Restore();

        public int Unmap(Pirq pirq) => pirqs.Unmap(pirq);
    }
}
