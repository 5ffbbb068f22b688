using XenPciBack.Protocol;

namespace XenPciBack.Host;

/// <summary>Event channels of this domain, as /dev/xen/evtchn offers them. Disposing closes every handle.</summary>
public interface IEventChannels : IDisposable
{
    /// <summary>Opens a handle without a port.</summary>
    /// <exception cref="HostCallException">The device cannot be opened.</exception>
    IEventHandle Open();

    /// <summary>Lets the calling thread, for which guests wait, run before the other threads of this host.</summary>
    void PreferThisThread();
}

/// <summary>
/// One open /dev/xen/evtchn: the ports bound to it and the ring of those that have an event. It belongs to one thread;
/// only
/// <see cref="Wake"/> and <see cref="IDisposable.Dispose"/> may be called from others.
/// </summary>
/// <remarks>
/// A port that was read stays masked until <see cref="Unmask"/>; events that come meanwhile are delivered as one. Once
/// the handle is disposed, every member but Dispose and Wake throws <see cref="ObjectDisposedException"/>.
/// </remarks>
public interface IEventHandle : IDisposable
{
    /// <summary>Binds to a port that the domain has allocated for us. The fresh port has an event at once.</summary>
    /// <exception cref="HostCallException">The port does not exist, is not meant for us, or is bound
    /// already.</exception>
    LocalPort Bind(DomainId domain, RemotePort remotePort);

    /// <summary>Closes our end. An event of the port that is in the ring already is still read.</summary>
    void Unbind(LocalPort port);

    /// <summary>Sends one event to the other end.</summary>
    void Notify(LocalPort port);

    /// <summary>Lets the next event of the port in.</summary>
    void Unmask(LocalPort port);

    /// <summary>Reads the ports that have an event, as many as fit, and masks them.</summary>
    /// <param name="ports">Filled from the start.</param>
    /// <param name="wait">Whether to block until a port has an event or <see cref="Wake"/> is called.</param>
    /// <returns>How many ports were read; 0 after <see cref="Wake"/> alone; -1 if the ring has overflowed and events
    /// were lost.</returns>
    int Read(Span<LocalPort> ports, bool wait);

    /// <summary>
    /// Empties a ring that has overflowed. Every bound port may have lost an event, and is masked if it has.
    /// </summary>
    void Reset();

    /// <summary>Lets the present <see cref="Read"/>, or the next one, return.</summary>
    void Wake();
}
