using System.Collections.Immutable;

namespace XenPciBack.Protocol.SharedPage;

/// <summary>What a request asks for (<c>cmd</c>; xen/interface/io/pciif.h).</summary>
public enum PciOpCode : uint
{
    ConfRead = 0,
    ConfWrite = 1,
    EnableMsi = 2,
    DisableMsi = 3,
    EnableMsix = 4,
    DisableMsix = 5,
    AerDetected = 6,
    AerResume = 7,
    AerMmio = 8,
    AerSlotReset = 9,
}

/// <summary>
/// The result of a request (<c>err</c>, signed). Zero and the five XEN_PCI_ERR values have names; any other value is a
/// negated errno or a PCIBIOS code handed through from the host, which the frontend passes on unchanged.
/// </summary>
public enum PciOpError
{
    Success = 0,
    DeviceNotFound = -1,
    InvalidOffset = -2,
    AccessDenied = -3,
    NotImplemented = -4,
    OperationFailed = -5,
}

/// <summary>
/// One request, copied out of the shared page once. The address is as the guest wrote it, in full width:
/// it has to be found among the guest's devices before it means anything.
/// </summary>
/// <param name="Segment">Virtual PCI segment (field <c>domain</c>).</param>
/// <param name="Bus">Virtual bus.</param>
/// <param name="DevFn">Virtual slot &lt;&lt; 3 | function; bits above 7 are not ours to ignore.</param>
/// <param name="Offset">Config register, bytes, signed in the ABI.</param>
/// <param name="Size">Access width, bytes, signed in the ABI.</param>
/// <param name="Value">Value to write, or the vector count of enable_msix.</param>
/// <param name="MsixEntries">Table indices asked for, only for enable_msix; at most 128.</param>
public sealed record PciRequest(
    PciOpCode Code, uint Segment, uint Bus, uint DevFn, int Offset, int Size, uint Value, ImmutableArray<ushort> MsixEntries)
{
    public PciRequest(PciOpCode code, uint segment, uint bus, uint devFn, int offset, int size, uint value)
        : this(code, segment, bus, devFn, offset, size, value, []) { }
}

/// <summary>The answer to one request: what goes into <c>err</c>, <c>value</c> and, after enable_msix, the vectors.</summary>
/// <param name="Vectors">One PIRQ for each entry asked for; empty unless enable_msix succeeded.</param>
public readonly record struct PciAnswer(PciOpError Error, uint Value, ImmutableArray<ushort> Vectors)
{
    public PciAnswer(PciOpError error, uint value) : this(error, value, []) { }

    /// <summary>Why the request was refused or not done in full, for logs only; a fixed set of texts, none with a guest's values in it.</summary>
    public string? Reason { get; init; }
}
