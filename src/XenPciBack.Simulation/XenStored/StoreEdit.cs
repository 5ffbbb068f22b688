using System.Collections.Immutable;
using XenPciBack.Protocol.XenStoreWire;

namespace XenPciBack.Simulation.XenStored;

/// <summary>
/// A change of the store that has passed every check. Transactions keep theirs and apply them again on commit.
/// </summary>
/// <param name="Path">Absolute.</param>
internal abstract record StoreEdit(XenStorePath Path)
{
    /// <param name="Creator">
    /// The unprivileged domain that will own the nodes created on the way; null to inherit the owner as well.
    /// </param>
    public sealed record Write(XenStorePath Path, byte[] Value, int? Creator) : StoreEdit(Path);

    /// <inheritdoc cref="Write"/>
    public sealed record MakeDirectory(XenStorePath Path, int? Creator) : StoreEdit(Path);

    public sealed record SetPermissions(XenStorePath Path, ImmutableArray<XenStorePermission> Permissions) : StoreEdit(Path);

    /// <summary>The node and everything below it.</summary>
    public sealed record Remove(XenStorePath Path) : StoreEdit(Path);
}

/// <summary>What one or more edits did to a node: enough to decide which watches fire and who may hear of it.</summary>
/// <param name="Before">Null when the node was created.</param>
/// <param name="After">Null when it is gone.</param>
/// <param name="Parent">The root is its own.</param>
/// <param name="WasRemoved">With everything below it, though it may have been created again.</param>
internal readonly record struct StoreChange(
    XenStorePath Path, StoreNode? Before, StoreNode? After, StoreNode Parent, bool WasRemoved);
