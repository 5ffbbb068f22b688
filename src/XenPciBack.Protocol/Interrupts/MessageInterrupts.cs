using System.Collections.Immutable;
using XenPciBack.Protocol.ConfigSpace;
using XenPciBack.Protocol.ConfigSpace.Rules;
using XenPciBack.Protocol.Records;
using XenPciBack.Protocol.SharedPage;

namespace XenPciBack.Protocol.Interrupts;

public enum MessageKind
{
    None,
    Msi,
    Msix,
}

/// <summary>
/// MSI and MSI-X of one function, switched by its guest's requests: map first, then enable; disable first, then unmap. One kind
/// at a time, and nothing is done twice (XSA-157). The results are those of Linux drivers/xen/xen-pciback/pciback_ops.c.
/// </summary>
/// <remarks>Registers: PCI Local Bus Specification 3.0, section 6.8.</remarks>
public sealed class MessageInterrupts
{
    private const int Control = 2, TableOffset = 4;
    private const uint MsiEnable = 0x0001, MsixEnable = 0x8000, MsixMaskAll = 0x4000, MsixLastEntry = 0x07FF, TableBar = 0x7;
    private const int MostBars = 6;

    private readonly IPciFunction _device;
    private readonly IPirqs _mapping;
    private readonly DeviceRecord _record;
    private readonly bool _keepLineSilent;
    private readonly int _msi;
    private readonly int _msix;
    private readonly PowerManagement _power;

    // Read once, before the guest has touched anything: later the hardware is not to be trusted with it (XSA-337).
    private readonly int _tableEntries;
    private readonly ulong _tableBar;

    // The device and the mapping, or these with a log in front of them.
    private IPciFunction _function;
    private IPirqs _pirqs;

    private MessageKind _kind;

    // On since before this daemon: a guest that asks for it once more may have been left without an answer.
    private bool _isAnswerDue;

    /// <param name="record">The PIRQs in it were mapped by an earlier daemon for the same guest, which may still use them.</param>
    public MessageInterrupts(IPciFunction function, ConfigPolicy policy, IPirqs pirqs, DeviceRecord record)
    {
        (_device, _function, _mapping, _pirqs) = (function, function, pirqs, pirqs);
        (_record, _keepLineSilent) = (record, policy.KeepLineSilent);
        _msi = CapabilityList.Find(function, CapabilityId.Msi);
        _msix = CapabilityList.Find(function, CapabilityId.Msix);
        _power = PowerManagement.Of(function);
        if (_msix != 0 && function.Read(_msix + Control, 2, out var control) == PciOpError.Success
            && function.Read(_msix + TableOffset, 4, out var table) == PciOpError.Success)
        {
            _tableEntries = (int)(control & MsixLastEntry) + 1;
            var bar = (int)(table & TableBar);
            _tableBar = bar < MostBars && function.Resources[bar] is { IsMemory: true, IsUsable: true } resource ? resource.Start : 0;
        }
    }

    /// <summary>Writes every access to the device and every mapping to a log from now on; null: to none.</summary>
    public void LogTo(DeviceAccessLog? log)
    {
        _function = log?.Watch(_device) ?? _device;
        _pirqs = log?.Watch(_mapping) ?? _mapping;
    }

    /// <summary>Which kind is on.</summary>
    public MessageKind InUse => _kind;

    /// <summary>How many messages are on.</summary>
    public int Vectors => _kind == MessageKind.None ? 0 : _record.Mapped.Length;

    /// <summary>From now on nobody else switches them: finds out what is on.</summary>
    public void TakeUp()
    {
        _kind = _record.Mapped.IsEmpty ? MessageKind.None : IsSet(_msix, MsixEnable) ? MessageKind.Msix : IsSet(_msi, MsiEnable) ? MessageKind.Msi : MessageKind.None;
        _isAnswerDue = _kind != MessageKind.None;
        // Mapped and never enabled: the daemon before this one did not get to its answer, and its guest's request is still there.
        if (_kind == MessageKind.None) _record.UnmapAll(_pirqs);
    }

    /// <summary>Performs enable_msi, disable_msi, enable_msix or disable_msix.</summary>
    public PciAnswer Perform(PciRequest request)
    {
        var answer = request.Code switch
        {
            PciOpCode.EnableMsi => EnableMsi(),
            PciOpCode.EnableMsix => EnableMsix(request),
            PciOpCode.DisableMsi or PciOpCode.DisableMsix => Disable(),
            _ => throw new ArgumentException($"{request.Code} is no request about interrupts", nameof(request)),
        };
        _isAnswerDue = false;
        return answer;
    }

    /// <summary>The guest has let go: disabled and unmapped.</summary>
    /// <returns>0, or the positive errno of what could not be unmapped.</returns>
    public int Release() => TurnOff();

    /// <summary>The function has lost its messages in a reset and has its other registers back: enabled as before.</summary>
    /// <returns>0, or the positive errno with which the hypervisor refused.</returns>
    public int Recover()
    {
        if (_kind == MessageKind.None) return 0;
        SetIntx(disabled: true);
        if (_pirqs.Restore() is not 0 and var errno) return errno;
        if (_kind == MessageKind.Msi) Change(_msi + Control, MsiEnable, MsiEnable);
        else Change(_msix + Control, MsixEnable | MsixMaskAll, MsixEnable);
        return 0;
    }

    private PciAnswer EnableMsi()
    {
        if (_isAnswerDue && _kind == MessageKind.Msi && _record.Mapped is [var due]) return new PciAnswer(PciOpError.Success, (uint)due.Value);
        if (_kind != MessageKind.None) return MsiRefused(_kind == MessageKind.Msi ? "MSI is on already" : "MSI-X is on");
        if (_msi == 0) return MsiRefused("the device has no MSI");
        if (!_power.IsD0(_function)) return MsiRefused("the device is not in power state D0");
        var errno = Record(_pirqs.MapMsi(out var pirq), pirq);
        if (errno != 0)
        {
            _record.UnmapAll(_pirqs);
            return MsiRefused($"its PIRQ cannot be mapped: {Errnos.Name(errno)}");
        }
        SetIntx(disabled: true);
        Change(_msi + Control, MsiEnable, MsiEnable);
        _kind = MessageKind.Msi;
        return new PciAnswer(PciOpError.Success, (uint)pirq.Value);
    }

    private PciAnswer EnableMsix(PciRequest request)
    {
        var count = request.Value;
        if (_isAnswerDue && _kind == MessageKind.Msix && _record.Mapped is var due && due.Length == count) return MsixEnabled(due);
        if (count > SharedPageLayout.MaxMsixEntries) return MsixRefused(request, Errnos.EINVAL, "more vectors than the page has entries");
        if (_kind == MessageKind.Msix) return MsixRefused(request, Errnos.EALREADY, "MSI-X is on already");
        if (_kind == MessageKind.Msi) return MsixRefused(request, Errnos.ENXIO, "MSI is on");
        if (!_function.DecodesMemory) return MsixRefused(request, Errnos.ENXIO, "the device does not decode memory, where its table lies");

        if (count == 0) return MsixFailed(Errnos.EINVAL, "no vector was asked for");
        if (_msix == 0) return MsixFailed(Errnos.EINVAL, "the device has no MSI-X");
        if (!_power.IsD0(_function)) return MsixFailed(Errnos.EINVAL, "the device is not in power state D0");
        if (count > _tableEntries) return MsixFailed(Errnos.ENOSPC, "more vectors than its table has entries");
        if (ObjectionTo(request.MsixEntries) is { } objection) return MsixFailed(Errnos.EINVAL, objection);
        if (_tableBar == 0) return MsixFailed(Errnos.EINVAL, "the BAR of its table has no address");

        var mapped = ImmutableArray.CreateBuilder<Pirq>(request.MsixEntries.Length);
        foreach (var entry in request.MsixEntries)
        {
            var errno = Record(_pirqs.MapMsix(entry, _tableBar, out var pirq), pirq);
            if (errno != 0)
            {
                _record.UnmapAll(_pirqs);
                return MsixFailed(errno, $"a PIRQ cannot be mapped: {Errnos.Name(errno)}");
            }
            mapped.Add(pirq);
        }
        SetIntx(disabled: true);
        Change(_msix + Control, MsixEnable | MsixMaskAll, MsixEnable);
        _kind = MessageKind.Msix;
        return MsixEnabled(mapped.MoveToImmutable());
    }

    // Plain loops: the first use of a generic query costs a tenth of the guest's patience on a slow host.
    private string? ObjectionTo(ImmutableArray<ushort> entries)
    {
        for (var i = 0; i < entries.Length; i++)
        {
            if (entries[i] >= _tableEntries) return "an entry lies outside its table";
            for (var j = 0; j < i; j++)
                if (entries[i] == entries[j]) return "an entry was asked for twice";
        }
        return null;
    }

    // Linux 6.1's frontend sends disable_msi for MSI-X too, because its core has forgotten by then which one it was. A guest has
    // one kind on at most, so either request means that one.
    private PciAnswer Disable()
    {
        var errno = TurnOff();
        return new PciAnswer(PciOpError.Success, (uint)_function.Irq)
        {
            Reason = errno == 0 ? null : $"a PIRQ cannot be unmapped: {Errnos.Name(errno)}",
        };
    }

    private int TurnOff()
    {
        if (_kind != MessageKind.None)
        {
            if (_kind == MessageKind.Msi) Change(_msi + Control, MsiEnable, 0);
            else Change(_msix + Control, MsixEnable, 0);
            SetIntx(disabled: false);
            _kind = MessageKind.None;
        }
        return _record.UnmapAll(_pirqs);
    }

    /// <param name="errno">Of the mapping.</param>
    /// <returns>0, or the errno with which the mapping has failed, or why it is of no use; it is on record then, to be unmapped.</returns>
    private int Record(int errno, Pirq pirq)
    {
        if (errno != 0) return errno;
        if (!_record.TryAdd(pirq))
        {
            _pirqs.Unmap(pirq);
            return Errnos.ENOSPC;
        }
        // The page has 16 bits for it.
        return pirq.Value > ushort.MaxValue ? Errnos.ERANGE : 0;
    }

    private static PciAnswer MsixEnabled(ImmutableArray<Pirq> pirqs)
    {
        var vectors = ImmutableArray.CreateBuilder<ushort>(pirqs.Length);
        foreach (var pirq in pirqs) vectors.Add((ushort)pirq.Value);
        return new PciAnswer(PciOpError.Success, 0, vectors.MoveToImmutable());
    }

    private static PciAnswer MsiRefused(string reason) => new(PciOpError.OperationFailed, 0) { Reason = reason };

    // Refused before the host was asked: the value stays as it was sent.
    private static PciAnswer MsixRefused(PciRequest request, int errno, string reason) => new((PciOpError)(-errno), request.Value) { Reason = reason };

    private static PciAnswer MsixFailed(int errno, string reason) => new((PciOpError)(-errno), (uint)-errno) { Reason = reason };

    private bool IsSet(int capability, uint bit) =>
        capability != 0 && _function.Read(capability + Control, 2, out var control) == PciOpError.Success && (control & bit) != 0;

    // With a message enabled the device must not pull its line as well.
    private void SetIntx(bool disabled) => Change(Register.Command, CommandBits.IntxDisable, disabled || _keepLineSilent ? CommandBits.IntxDisable : 0);

    private void Change(int offset, uint mask, uint bits)
    {
        if (_function.Read(offset, 2, out var old) != PciOpError.Success) return;
        var changed = (old & ~mask) | bits;
        if (changed != old) _function.Write(offset, 2, changed);
    }
}
