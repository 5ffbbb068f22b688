using System.Net.Sockets;
using System.Text;
using XenPciBack.XenStore.Interop;
using XenPciBack.XenStore.Transport;

namespace XenPciBack.XenStore;

/// <summary>
/// Where xenstored is to be found: one or more places, tried in order each time a connection is made.
/// </summary>
public sealed class XenStoreEndpoint
{
    /// <summary>By its mode a regular file, by what it does the same device as /dev/xen/xenbus (Linux: drivers/xen/xenfs).</summary>
    private const string XenFsDevice = "/proc/xen/xenbus";

    private readonly Place[] _places;

    private XenStoreEndpoint(params Place[] places) => _places = places;

    /// <summary>xenstored's Unix socket.</summary>
    public static XenStoreEndpoint Socket(string path) => new(new Place(path, FileKind.Socket));

    /// <summary>The kernel's device node, usually /dev/xen/xenbus.</summary>
    public static XenStoreEndpoint Device(string path) => new(new Place(path, FileKind.CharacterDevice));

    /// <summary>
    /// libxenstore's search order (tools/libs/store/xs.c): $XENSTORED_PATH, or else $XENSTORED_RUNDIR/socket (default
    /// /var/run/xenstored/socket); then, without $XENSTORED_PATH, /dev/xen/xenbus if it exists, or else
    /// /proc/xen/xenbus. Whether a place is a socket or a device is looked up when it is opened.
    /// </summary>
    public static XenStoreEndpoint Discover() => Discover(Environment.GetEnvironmentVariable, File.Exists);

    internal static XenStoreEndpoint Discover(Func<string, string?> environment, Func<string, bool> exists)
    {
        // libxenstore would open $XENSTORED_PATH a second time; once is enough for the same answer.
        if (environment("XENSTORED_PATH") is { Length: > 0 } path)
            return FirstOf(path);
        var directory = environment("XENSTORED_RUNDIR") is { Length: > 0 } set ? set : "/var/run/xenstored";
        return FirstOf(directory + "/socket", exists("/dev/xen/xenbus") ? "/dev/xen/xenbus" : XenFsDevice);
    }

    internal static XenStoreEndpoint FirstOf(params string[] paths) =>
        new([.. paths.Select(path => new Place(path, null))]);

    /// <summary>The places, in the order in which they are tried.</summary>
    public override string ToString() => string.Join(", then ", _places.Select(place => place.Path));

    /// <exception cref="XenStoreUnreachableException">No place answered; the message says why for each.</exception>
    internal async Task<XenStoreTransport> OpenAsync(CancellationToken ct)
    {
        var failures = new StringBuilder("no xenstored found, so no Xen here?");
        Exception? cause = null;
        foreach (var place in _places)
        {
            try
            {
                return await place.OpenAsync(ct).ConfigureAwait(false);
            }
            catch (Exception failure) when (failure is IOException or SocketException or ArgumentException)
            {
                failures.Append($"\n  {place.Path}: {failure.Message}");
                cause = failure;
            }
        }
        throw new XenStoreUnreachableException(failures.ToString(), cause);
    }

    private readonly record struct Place(string Path, FileKind? Expected)
    {
        public Task<XenStoreTransport> OpenAsync(CancellationToken ct) => (Expected ?? Libc.KindOf(Path)) switch
        {
            FileKind.Socket => SocketTransport.ConnectAsync(Path, ct),
            FileKind.CharacterDevice => DeviceTransport.OpenAsync(Path),
            FileKind.Other when Path == XenFsDevice => DeviceTransport.OpenAsync(Path),
            FileKind.Missing => throw new IOException("does not exist (or may not be seen by this user)"),
            _ => throw new IOException("is neither a socket nor a character device"),
        };
    }
}
