using System.Collections.Immutable;

namespace XenPciBack.Protocol.ConfigSpace;

/// <summary>All that the rules know of a device before they see a request.</summary>
/// <param name="IsFresh">No request has been performed yet since the guest got it.</param>
/// <param name="Config">Its registers, 256 or 4096 bytes.</param>
public sealed record DeviceDescription(PciFunctionFacts Facts, int Irq, ConfigPolicy Policy, bool IsFresh, ImmutableArray<byte> Config);
