using System.Collections.Immutable;

namespace XenPciBack.Protocol.Xenbus;

/// <summary>What a <see cref="GuestConnection"/> wants done, in the order given.</summary>
public abstract record ConnectionEffect
{
    private ConnectionEffect() { }

    /// <summary>Write nodes of the backend directory in one transaction, unless its <c>state</c> has vanished meanwhile.</summary>
    public sealed record WriteNodes(ImmutableArray<(string Name, string Value)> Nodes) : ConnectionEffect;

    /// <summary>Write the error node: <c>"&lt;errno&gt; &lt;text&gt;"</c>.</summary>
    public sealed record RecordError(int Errno, string Text) : ConnectionEffect
    {
        /// <summary>What the frontend has published cannot be used; false: the toolstack's or the host's doing.</summary>
        public bool IsFrontends { get; init; }
    }

    /// <summary>Open the device; answered by <see cref="ConnectionInput.DeviceOpened"/> or <see cref="ConnectionInput.DeviceRefused"/>.</summary>
    /// <param name="Permissive">The toolstack has asked for it (<c>permissive=1</c> in the domain's configuration).</param>
    public sealed record OpenDevice(HostBdf Device, bool Permissive) : ConnectionEffect
    {
        /// <summary>The guest has it already; whether it may be given to a guest is no question any more.</summary>
        public bool IsTakenUp { get; init; }
    }

    /// <summary>Reset the device and give it back to the host.</summary>
    public sealed record ReleaseDevice(HostBdf Device) : ConnectionEffect;

    /// <summary>Map the page, bind the port; answered by <see cref="ConnectionInput.Connected"/> or <see cref="ConnectionInput.ConnectRefused"/>.</summary>
    public sealed record Connect(GrantReference Page, RemotePort Port) : ConnectionEffect;

    /// <summary>Unbind the port, let the request in hand finish, unmap the page, in this order.</summary>
    public sealed record Disconnect : ConnectionEffect;

    /// <summary>Nothing can be done with this directory as it is; tell the administrator, once.</summary>
    public sealed record Explain(string Text) : ConnectionEffect;
}
