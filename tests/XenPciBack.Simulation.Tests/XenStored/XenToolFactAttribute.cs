using System.Runtime.CompilerServices;

namespace XenPciBack.Simulation.Tests.XenStored;

/// <summary>A test that runs a program of Debian's Xen packages; skipped, with the reason, where the program is missing.</summary>
internal sealed class XenToolFactAttribute : FactAttribute
{
    public XenToolFactAttribute(string program, string package, [CallerMemberName] string test = "")
    {
        if (XenTool.Find(program) is not null)
            return;
        Skip = $"needs {program} from Debian's package {package}";
        DisplayName = $"{test}: {Skip}"; // `dotnet test` prints the names of skipped tests and not the reasons
    }
}
