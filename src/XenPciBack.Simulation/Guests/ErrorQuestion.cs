namespace XenPciBack.Simulation.Guests;

/// <summary>What a backend asks a guest's driver when its device has met an error.</summary>
/// <param name="Command">6 detected, 7 resume, 8 mmio enabled, 9 slot reset.</param>
/// <param name="Channel">1 normal, 2 frozen, 3 gone for good.</param>
/// <param name="Domain">Address of the device as the guest sees it.</param>
public sealed record ErrorQuestion(uint Command, int Channel, uint Domain, uint Bus, uint DevFn);
