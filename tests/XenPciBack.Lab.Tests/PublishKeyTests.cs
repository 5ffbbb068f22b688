namespace XenPciBack.Lab.Tests;

/// <summary>When a program is published once more.</summary>
public sealed class PublishKeyTests : IDisposable
{
    private const string Project = "src/App";

    private readonly string _repository = Directory.CreateTempSubdirectory("publish-key-").FullName;

    public PublishKeyTests()
    {
        Write("global.json", "{}");
        Write("config/rules", "1");
        Write("src/App/App.cs", "a");
        Write("src/Library/Library.cs", "b");
        Write("tests/Other/Other.cs", "c");
    }

    [Fact]
    public void The_same_sources_have_the_same_key_whatever_a_build_or_another_project_adds()
    {
        var before = Key();
        Write("src/App/obj/App.dll", "built");
        Write("src/Library/bin/Release/Library.dll", "built");
        Write("tests/Other/Other.cs", "changed");
        Write("README.md", "changed");
        Assert.Equal(before, Key());
    }

    [Theory]
    [InlineData("global.json")]
    [InlineData("Directory.Build.props")]
    [InlineData("config/rules")]
    [InlineData("src/Directory.Build.props")]
    [InlineData("src/App/App.cs")]
    [InlineData("src/App/Page/index.html")]
    [InlineData("src/Library/Library.cs")]
    public void A_source_that_changes_or_comes_changes_the_key(string path)
    {
        var before = Key();
        Write(path, "changed");
        Assert.NotEqual(before, Key());
    }

    [Fact]
    public void A_source_with_another_name_changes_the_key()
    {
        var before = Key();
        File.Move(Path.Combine(_repository, "src/App/App.cs"), Path.Combine(_repository, "src/App/Main.cs"));
        Assert.NotEqual(before, Key());
    }

    [Fact]
    public void Another_sdk_or_another_command_changes_the_key() => Assert.NotEqual(Key("10.0.100"), Key("10.0.200"));

    public void Dispose() => Directory.Delete(_repository, recursive: true);

    private string Key(string sdk = "10.0.100") => PublishKey.Of(_repository, Project, [sdk]);

    private void Write(string path, string content)
    {
        var file = Path.Combine(_repository, path);
        Directory.CreateDirectory(Path.GetDirectoryName(file)!);
        File.WriteAllText(file, content);
    }
}
