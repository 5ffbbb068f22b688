namespace XenPciBack.Simulation.Tests.XenStored;

/// <summary>A test that runs a program of Debian's Xen packages; skipped, with the reason, where the program is missing.</summary>
internal sealed class XenToolFactAttribute : FactAttribute
{
    public XenToolFactAttribute(string program, string package)
    {
        if (XenTool.Find(program) is null)
            Skip = $"needs {program} from Debian's package {package}";
    }
}
