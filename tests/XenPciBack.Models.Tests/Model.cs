using System.Text.RegularExpressions;

namespace XenPciBack.Models.Tests;

/// <summary>A Promela model of tests/models.</summary>
internal sealed partial class Model
{
    private Model(string path) => (Path, Lines) = (path, File.ReadAllLines(path));

    public static IReadOnlyList<Model> All { get; } =
        [.. Directory.GetFiles($"{AppContext.BaseDirectory}/models", "*.pml").Order().Select(path => new Model(path))];

    public string Path { get; }
    public string Name => System.IO.Path.GetFileNameWithoutExtension(Path);
    public IReadOnlyList<string> Lines { get; }

    public static Model Named(string name) => All.Single(model => model.Name == name);

    /// <summary>What <c>-D</c> of spin can change in it.</summary>
    public IEnumerable<string> Switches =>
        Lines.SelectMany(line => Condition().Matches(line)).Select(match => match.Groups[1].Value).Distinct();

    /// <summary>The C# methods and properties that its comments name, as "type.member".</summary>
    public IEnumerable<string> Members => Comment().Matches(string.Join('\n', Lines))
        .SelectMany(comment => Member().Matches(comment.Value)).Select(member => member.Value).Distinct();

    /// <summary>What an assertion says, in the words of its comment.</summary>
    /// <param name="line">Counted from 1.</param>
    public string PropertyAt(int line) =>
        Assertion().Match(Lines[line - 1]) is { Success: true } assertion ? assertion.Groups[1].Value
            : throw new InvalidDataException(
                $"{Name}.pml:{line} is '{Lines[line - 1].Trim()}'; expected: assert(...) /* what it says */");

    [GeneratedRegex(@"(?:^#ifn?def\s+|defined\()([A-Z_]+)")]
    private static partial Regex Condition();

    [GeneratedRegex(@"/\*.*?\*/", RegexOptions.Singleline)]
    private static partial Regex Comment();

    [GeneratedRegex(@"\b[A-Z]\w+\.[A-Z]\w+\b")]
    private static partial Regex Member();

    [GeneratedRegex(@"assert\(.*/\* (.+) \*/$")]
    private static partial Regex Assertion();
}
