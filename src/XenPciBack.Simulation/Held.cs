namespace XenPciBack.Simulation;

/// <summary>What dom0 holds of guests: mapped pages, bound ports, open functions and mapped PIRQs.</summary>
public readonly record struct Held(int Pages = 0, int Ports = 0, int Functions = 0, int Pirqs = 0)
{
    /// <summary>A backend without guests has released everything.</summary>
    public static readonly Held Nothing;

    public override string ToString() =>
        this == Nothing ? "nothing" : $"{Pages} pages, {Ports} ports, {Functions} functions, {Pirqs} PIRQs";
}
