using XenPciBack.Protocol;
using XenPciBack.Simulation.Guests;

namespace XenPciBack.Simulation;

/// <summary>A running guest of the simulated host.</summary>
public sealed record SimulatedGuest(DomainId Id, string Name, SimulatedFrontend Frontend);
