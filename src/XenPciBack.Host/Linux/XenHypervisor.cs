using System.Buffers.Binary;
using System.Text;
using XenPciBack.Protocol;

namespace XenPciBack.Host.Linux;

/// <summary>Hypercalls through libxencall and /dev/xen/privcmd.</summary>
public sealed class XenHypervisor : IHypervisor
{
    private readonly Interop.LibXenCall.Handle _library;

    private XenHypervisor(Interop.LibXenCall.Handle library) => (_library, Version) = (library, ReadVersion(library));

    public string Version { get; }

    /// <exception cref="HostCallException">/dev/xen/privcmd cannot be opened, or the hypervisor does not answer.</exception>
    /// <exception cref="DllNotFoundException">libxencall.so.1 is not installed.</exception>
    public static XenHypervisor Open()
    {
        var library = Interop.LibXenCall.Open();
        try
        {
            return new XenHypervisor(library);
        }
        catch
        {
            library.Dispose();
            throw;
        }
    }

    public void Dispose() => _library.Dispose();

    /// <summary>PHYSDEVOP_map_pirq for one message: the hypervisor chooses the PIRQ.</summary>
    /// <param name="entry">Index in the MSI-X table; 0 for MSI.</param>
    /// <param name="tableBar">Start of the BAR with the MSI-X table; 0 for MSI.</param>
    /// <returns>0 or a positive errno.</returns>
    internal int MapPirq(DomainId domain, HostBdf function, ushort entry, ulong tableBar, out Pirq pirq)
    {
        var errno = MapPirq(domain, function, MapPirqTypeMsiSegment, entry, tableBar, out pirq);
        // A hypervisor that does not know segments knows the first one under another type.
        return errno == Errnos.EINVAL && function.Segment == 0 ? MapPirq(domain, function, MapPirqTypeMsi, entry, tableBar, out pirq) : errno;
    }

    /// <summary>PHYSDEVOP_unmap_pirq.</summary>
    /// <returns>0 or a positive errno: ESRCH for a domain that is gone, EINVAL for a PIRQ that is not mapped.</returns>
    internal int UnmapPirq(DomainId domain, Pirq pirq)
    {
        using var argument = Interop.LibXenCall.AllocateBuffer(_library, UnmapPirqSize);
        argument.Bytes.Clear();
        BinaryPrimitives.WriteUInt16LittleEndian(argument.Bytes, (ushort)domain.Value);
        BinaryPrimitives.WriteInt32LittleEndian(argument.Bytes[4..], pirq.Value);
        return Interop.LibXenCall.TryCall(_library, HYPERVISOR_physdev_op, PHYSDEVOP_unmap_pirq, argument);
    }

    /// <summary>PHYSDEVOP_restore_msi_ext: the hypervisor writes the messages of a function into it again.</summary>
    /// <returns>0 or a positive errno.</returns>
    internal int RestoreMessages(HostBdf function)
    {
        using var argument = Interop.LibXenCall.AllocateBuffer(_library, PciDeviceSize);
        BinaryPrimitives.WriteUInt16LittleEndian(argument.Bytes, function.Segment);
        argument.Bytes[2] = function.Bus;
        argument.Bytes[3] = function.DevFn;
        return Interop.LibXenCall.TryCall(_library, HYPERVISOR_physdev_op, PHYSDEVOP_restore_msi_ext, argument);
    }

    public int Crash(DomainId domain)
    {
        using var argument = Interop.LibXenCall.AllocateBuffer(_library, RemoteShutdownSize);
        BinaryPrimitives.WriteUInt16LittleEndian(argument.Bytes, (ushort)domain.Value);
        BinaryPrimitives.WriteUInt16LittleEndian(argument.Bytes[2..], 0);
        BinaryPrimitives.WriteUInt32LittleEndian(argument.Bytes[4..], SHUTDOWN_crash);
        return Interop.LibXenCall.TryCall(_library, HYPERVISOR_sched_op, SCHEDOP_remote_shutdown, argument);
    }

    public bool IsAlive(DomainId domain)
    {
        using var argument = Interop.LibXenCall.AllocateBuffer(_library, EventChannelStatusSize);
        for (var port = 1u; port <= EarlyPorts; port++)
        {
            argument.Bytes.Clear();
            BinaryPrimitives.WriteUInt16LittleEndian(argument.Bytes, (ushort)domain.Value);
            BinaryPrimitives.WriteUInt32LittleEndian(argument.Bytes[4..], port);
            var errno = Interop.LibXenCall.TryCall(_library, HYPERVISOR_event_channel_op, EVTCHNOP_status, argument);
            if (errno == 0 && BinaryPrimitives.ReadUInt32LittleEndian(argument.Bytes[8..]) != EVTCHNSTAT_closed) return true;
        }
        return false;
    }

    // xen/include/public/event_channel.h: struct evtchn_status, 24 bytes. The toolstack allocates a domain's channels to xenstored and
    // to its console before it runs, so they are among the first.
    private const uint HYPERVISOR_event_channel_op = 32, EVTCHNSTAT_closed = 0;
    private const ulong EVTCHNOP_status = 5;
    private const int EventChannelStatusSize = 24;
    private const uint EarlyPorts = 8;

    // xen/include/public/sched.h: struct sched_remote_shutdown, 8 bytes.
    private const uint HYPERVISOR_sched_op = 29, SHUTDOWN_crash = 3;
    private const ulong SCHEDOP_remote_shutdown = 4;
    private const int RemoteShutdownSize = 8;

    // xen/include/public/physdev.h: struct physdev_map_pirq (40 bytes), physdev_unmap_pirq (8) and physdev_pci_device (4), as on x86-64.
    private const uint HYPERVISOR_physdev_op = 33;
    private const ulong PHYSDEVOP_map_pirq = 13, PHYSDEVOP_unmap_pirq = 14, PHYSDEVOP_restore_msi_ext = 27;
    private const int MapPirqTypeMsi = 0, MapPirqTypeMsiSegment = 3;
    private const int MapPirqSize = 40, UnmapPirqSize = 8, PciDeviceSize = 4;
    private const int ChooseForMe = -1;

    private int MapPirq(DomainId domain, HostBdf function, int type, ushort entry, ulong tableBar, out Pirq pirq)
    {
        using var argument = Interop.LibXenCall.AllocateBuffer(_library, MapPirqSize);
        var bytes = argument.Bytes;
        bytes.Clear();
        BinaryPrimitives.WriteUInt16LittleEndian(bytes, (ushort)domain.Value);
        BinaryPrimitives.WriteInt32LittleEndian(bytes[4..], type);
        BinaryPrimitives.WriteInt32LittleEndian(bytes[8..], ChooseForMe);
        BinaryPrimitives.WriteInt32LittleEndian(bytes[12..], ChooseForMe);
        BinaryPrimitives.WriteInt32LittleEndian(bytes[16..], function.Segment << 16 | function.Bus);
        BinaryPrimitives.WriteInt32LittleEndian(bytes[20..], function.DevFn);
        BinaryPrimitives.WriteInt32LittleEndian(bytes[24..], entry);
        BinaryPrimitives.WriteUInt64LittleEndian(bytes[32..], tableBar);
        var errno = Interop.LibXenCall.TryCall(_library, HYPERVISOR_physdev_op, PHYSDEVOP_map_pirq, argument);
        pirq = new Pirq(BinaryPrimitives.ReadInt32LittleEndian(bytes[12..]));
        return errno;
    }

    // xen/include/public/version.h: the hypercall's number, its commands, and the size of xen_extraversion_t.
    private const uint HYPERVISOR_xen_version = 17;
    private const ulong XENVER_version = 0, XENVER_extraversion = 1;
    private const int ExtraVersionSize = 16;

    private static string ReadVersion(Interop.LibXenCall.Handle library)
    {
        var number = Interop.LibXenCall.Call(library, "xen_version(XENVER_version)", HYPERVISOR_xen_version, XENVER_version, null);
        using var extra = Interop.LibXenCall.AllocateBuffer(library, ExtraVersionSize);
        extra.Bytes.Clear();
        Interop.LibXenCall.Call(library, "xen_version(XENVER_extraversion)", HYPERVISOR_xen_version, XENVER_extraversion, extra);
        return FormatVersion(number, extra.Bytes);
    }

    /// <summary>Major in the upper and minor in the lower 16 bits; then the extra text, NUL-terminated, for example <c>.7</c>.</summary>
    internal static string FormatVersion(int number, ReadOnlySpan<byte> extra)
    {
        var end = extra.IndexOf((byte)0);
        return $"{number >> 16}.{number & 0xFFFF}{Encoding.ASCII.GetString(end < 0 ? extra : extra[..end])}";
    }
}
