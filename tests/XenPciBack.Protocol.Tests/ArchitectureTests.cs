using XenPciBack.Protocol.ConfigSpace;

namespace XenPciBack.Protocol.Tests;

public class ArchitectureTests
{
    [Fact]
    public void The_protocol_depends_on_the_runtime_and_nothing_else() =>
        Assert.All(typeof(VirtualConfigSpace).Assembly.GetReferencedAssemblies(), a => Assert.StartsWith("System.", a.Name, StringComparison.Ordinal));
}
