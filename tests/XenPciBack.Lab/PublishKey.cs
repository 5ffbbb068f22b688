using System.Security.Cryptography;
using System.Text;

namespace XenPciBack.Lab;

/// <summary>A hash of everything that goes into a published program: the same key, the same program.</summary>
internal static class PublishKey
{
    /// <param name="repository">The clone's root.</param>
    /// <param name="project">The published project's folder, relative to it.</param>
    /// <param name="publishing">What the result depends on besides files: the SDK's version, the command.</param>
    public static string Of(string repository, string project, IEnumerable<string> publishing)
    {
        // What any project may reference or embed, and what the SDK looks for in the folders above a project.
        var files = Directory.EnumerateFiles(repository)
            .Concat(Directory.EnumerateFiles(Path.Combine(repository, project, "..")))
            .Concat(new[] { "src", "config", project }.SelectMany(folder => Sources(Path.Combine(repository, folder))))
            .Where(file => Path.GetExtension(file) is not ".md")
            .Select(Path.GetFullPath).Distinct().Order(StringComparer.Ordinal);

        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        foreach (var word in publishing) hash.AppendData(Encoding.UTF8.GetBytes(word + '\n'));
        foreach (var file in files)
        {
            var content = File.ReadAllBytes(file);
            hash.AppendData(Encoding.UTF8.GetBytes($"{Path.GetRelativePath(repository, file)} {content.Length}\n"));
            hash.AppendData(content);
        }
        return Convert.ToHexStringLower(hash.GetHashAndReset());
    }

    /// <summary>The files of a folder and of the folders in it, without what a build puts there.</summary>
    private static IEnumerable<string> Sources(string folder) => !Directory.Exists(folder) ? [] :
        Directory.EnumerateFiles(folder).Concat(Directory.EnumerateDirectories(folder)
            .Where(inner => Path.GetFileName(inner) is not ("bin" or "obj")).SelectMany(Sources));
}
