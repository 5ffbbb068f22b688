using Akka.Event;
using XenPciBack.Protocol;

namespace XenPciBack.Backend;

/// <summary>
/// The ids of log lines that a script or a test may wait for. An id stays when the text behind it gets better. On the
/// console and in the journal a line begins with its id, then the guest and the device that it is about:
/// <c>[device-given] Guest 3 0000:03:00.0: ...</c>.
/// </summary>
public static class LogEvents
{
    /// <summary>The daemon serves the guests of this host.</summary>
    public const string Ready = "ready";

    /// <summary>Another daemon serves, and this one gets ready to take over from it.</summary>
    public const string PreparingStandby = "preparing-standby";

    /// <summary>The daemon is ready to take over from the one that serves.</summary>
    public const string Standby = "standby";

    /// <summary>The daemon that served is gone, and the standby takes over.</summary>
    public const string TakingOver = "taking-over";

    /// <summary>The daemon has stopped.</summary>
    public const string Stopped = "stopped";

    /// <summary>A guest and the backend are connected.</summary>
    public const string Connected = "connected";

    /// <summary>A guest has closed its connection.</summary>
    public const string Disconnected = "disconnected";

    /// <summary>A guest's shared page is mapped and its port bound: its requests are answered from now on.</summary>
    public const string PageMapped = "page-mapped";

    /// <summary>A guest's shared page is unmapped and its port closed.</summary>
    public const string PageReleased = "page-released";

    /// <summary>A guest and its directory are gone.</summary>
    public const string GuestGone = "guest-gone";

    /// <summary>xenstored does not know a guest any more that still runs.</summary>
    public const string GuestForgotten = "guest-forgotten";

    /// <summary>A guest was crashed, because its device is lost.</summary>
    public const string GuestCrashed = "guest-crashed";

    /// <summary>The hypervisor did not crash a guest whose device is lost.</summary>
    public const string GuestNotCrashed = "guest-not-crashed";

    /// <summary>The actor of a guest failed, and another one adopts the guest.</summary>
    public const string GuestActorReplaced = "guest-actor-replaced";

    /// <summary>The actor of a guest failed too often, and the guest is no longer served.</summary>
    public const string GuestAbandoned = "guest-abandoned";

    /// <summary>A guest is served by the kernel's backend and not by this daemon.</summary>
    public const string LeftToKernel = "left-to-kernel";

    /// <summary>A guest has a device.</summary>
    public const string DeviceGiven = "device-given";

    /// <summary>What a frontend or a toolstack asked for is refused; the guest's error node has the text.</summary>
    public const string Refused = "refused";

    /// <summary>A device was taken from its guest and is assignable again.</summary>
    public const string DeviceReleased = "device-released";

    /// <summary>A guest without a daemon has ended, and its device was taken back.</summary>
    public const string DeviceTakenBack = "device-taken-back";

    /// <summary>A guest has a device without its interrupt line.</summary>
    public const string LineSilent = "line-silent";

    /// <summary>A device reports an error. Of a storm the first has a line, the tenth, the hundredth, ...</summary>
    public const string DeviceError = "device-error";

    /// <summary>
    /// A device has not answered an access for a second, or has answered such an access. The first one of a device has
    /// a line, the tenth, the hundredth, ...
    /// </summary>
    public const string DeviceSlow = "device-slow";

    /// <summary>A guest's driver has answered a step of the recovery from an error.</summary>
    public const string RecoveryStep = "recovery-step";

    /// <summary>A device works again after an error.</summary>
    public const string DeviceRecovered = "device-recovered";

    /// <summary>A device is in quarantine.</summary>
    public const string DeviceQuarantined = "device-quarantined";

    /// <summary>An operator has ended the quarantine of a device.</summary>
    public const string QuarantineCleared = "quarantine-cleared";

    /// <summary>A device was detached from a guest after an error, or by a drain.</summary>
    public const string DeviceDetached = "device-detached";

    /// <summary>A device could not be detached from a guest after an error.</summary>
    public const string DeviceNotDetached = "device-not-detached";

    /// <summary>A device is hidden from the host, as the settings or the kernel's command line want it.</summary>
    public const string DeviceHidden = "device-hidden";

    /// <summary>A device that the settings or the kernel's command line want hidden stays with the host.</summary>
    public const string DeviceNotHidden = "device-not-hidden";

    /// <summary>The connection to xenstored is lost.</summary>
    public const string XenStoreLost = "xenstore-lost";

    /// <summary>The connection to xenstored is back.</summary>
    public const string XenStoreBack = "xenstore-back";

    /// <summary>The properties of a log event with its id, with the guest and with the device it is about.</summary>
    public const string EventProperty = "Event", GuestProperty = "Guest", DeviceProperty = "Device";

    /// <summary>The lines that are written through the result have this id.</summary>
    internal static ILoggingAdapter As(this ILoggingAdapter log, string id) => log.WithContext(EventProperty, id);

    /// <summary>The lines that are written through the result are about this guest.</summary>
    internal static ILoggingAdapter About(this ILoggingAdapter log, DomainId guest) =>
        log.WithContext(GuestProperty, guest.Value);

    /// <summary>The lines that are written through the result are about this device.</summary>
    internal static ILoggingAdapter About(this ILoggingAdapter log, HostBdf device) =>
        log.WithContext(DeviceProperty, device.ToString());
}
