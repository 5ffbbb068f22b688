using System.Xml.Linq;

namespace XenPciBack.Daemon.Tests;

/// <summary>Who may know whom, as README's architecture section has it; the project files are read and compared.</summary>
public class ArchitectureTests
{
    [Theory]
    [InlineData("Protocol")]
    [InlineData("XenStore", "Protocol")]
    [InlineData("Host", "Protocol")]
    [InlineData("Simulation", "Host", "Protocol", "XenStore")]
    [InlineData("Backend", "Host", "Protocol", "XenStore")]
    [InlineData("Fleet", "Backend", "Protocol")]
    [InlineData("Daemon", "Backend", "Fleet", "Simulation")]
    public void A_project_references_only_what_its_room_may_know(string project, params string[] allowed)
    {
        var file = Path.Combine(Root(), "src", $"XenPciBack.{project}", $"XenPciBack.{project}.csproj");
        var references = XDocument.Load(file).Descendants("ProjectReference").Select(r => Path.GetFileNameWithoutExtension((string)r.Attribute("Include")!));
        Assert.Equal(allowed.Select(a => $"XenPciBack.{a}").Order(), references.Order());
    }

    [Fact]
    public void The_pure_heart_has_no_package() =>
        Assert.Empty(XDocument.Load(Path.Combine(Root(), "src/XenPciBack.Protocol/XenPciBack.Protocol.csproj")).Descendants("PackageReference"));

    private static string Root()
    {
        var directory = AppContext.BaseDirectory;
        while (!File.Exists(Path.Combine(directory, "XenPciBack.sln"))) directory = Path.GetDirectoryName(directory)!;
        return directory;
    }
}
