namespace XenPciBack.Lab.Machine;

/// <summary>A virtio-serial port of dom0 for the console of one guest at a time.</summary>
/// <param name="Port">The port's name in dom0.</param>
/// <param name="Agent">The line to the guest's command agent.</param>
internal sealed record GuestConsole(string Port, CommandChannel Agent);
