using XenPciBack.Host;
using XenPciBack.Protocol;

namespace XenPciBack.Backend.DataPlane;

/// <summary>
/// Our end of a guest's event channel, bound to an event loop. All members are for the leader of that loop. Disposing
/// unbinds it; afterwards Notify and Unmask throw <see cref="ObjectDisposedException"/>.
/// </summary>
/// <param name="onUnbound">Called once the port is closed.</param>
internal sealed class BoundPort(IEventHandle handle, LocalPort port, Action onEvent, Action<LocalPort> onUnbound)
    : IDisposable
{
    private bool _disposed;

    public LocalPort Port => port;

    public void OnEvent() => onEvent();

    /// <summary>Sends one event to the guest.</summary>
    public void Notify()
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        handle.Notify(port);
    }

    /// <summary>
    /// Lets the next event in. Events that arrived while the port was masked are delivered once, now.
    /// </summary>
    public void Unmask()
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        handle.Unmask(port);
    }

    public void Dispose()
    {
        if (_disposed) return;
        _disposed = true;
        try
        {
            handle.Unbind(port);
        }
        catch (ObjectDisposedException)
        {
            // The process has closed all its ports.
        }
        onUnbound(port);
    }
}
