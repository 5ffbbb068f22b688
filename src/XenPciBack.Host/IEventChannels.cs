using XenPciBack.Protocol;

namespace XenPciBack.Host;

/// <summary>Event channels of this domain. One reader thread serves them all.</summary>
public interface IEventChannels : IDisposable
{
    /// <summary>
    /// Binds to a port the guest has allocated for us. <paramref name="onEvent"/> runs on the reader thread each time an event
    /// arrives (a fresh binding counts as one, so it may run before this method returns); the port then stays masked until
    /// <see cref="IEventChannel.Unmask"/>. It must not block: every guest waits for that thread.
    /// </summary>
    /// <exception cref="HostCallException">The port does not exist, is not meant for us, or is bound already.</exception>
    IEventChannel Bind(DomainId domain, RemotePort remotePort, Action onEvent);

    /// <summary>Done when the reader thread has come to the end of what it is at: sooner or later if it works, and never if something holds it up.</summary>
    Task ComeRoundAsync();
}

/// <summary>
/// Our end of one event channel. Disposing unbinds it; an event that is already on its way is dropped, but a callback that has
/// begun on the reader thread may still be running. Afterwards Notify and Unmask throw <see cref="ObjectDisposedException"/>.
/// </summary>
public interface IEventChannel : IDisposable
{
    LocalPort Port { get; }

    /// <summary>Sends one event to the guest.</summary>
    void Notify();

    /// <summary>Lets the next event in. Events that arrived while masked are delivered once, now.</summary>
    void Unmask();
}
