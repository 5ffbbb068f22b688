using System.Security.Cryptography;
using System.Text;
using XenPciBack.Lab.Images;

namespace XenPciBack.Lab;

/// <summary>Programs of this repository, published self-contained so that dom0 needs no .NET.</summary>
internal static class Published
{
    /// <summary>The daemon under test; the executable is called xenpciback.</summary>
    public static Task<string> DaemonAsync(TextWriter progress) => PublishAsync("src/XenPciBack.Daemon", progress);

    /// <summary>The xenstore client's tests, as one executable.</summary>
    public static Task<string> XenStoreTestsAsync(TextWriter progress) =>
        PublishAsync("tests/XenPciBack.XenStore.Tests", progress, "-p:PublishReadyToRun=true");

    /// <summary>
    /// Publishes a project, which takes minutes, where the last time was not from the same sources. Two callers publish
    /// once.
    /// </summary>
    private static async Task<string> PublishAsync(string project, TextWriter progress, params string[] properties)
    {
        var repository = Repository();
        // Two clones of the repository do not publish over each other.
        var clone = Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(repository)))[..8];
        var folder = Path.Combine(LabImages.Cache, "published", clone, Path.GetFileName(project));
        string[] arguments =
        [
            "publish", Path.Combine(repository, project), "-c", "Release", "-r", "linux-x64", "--self-contained",
            "-o", folder, "-v", "quiet", "--nologo", .. properties,
        ];
        var sdk = await ChildProcess.RunAsync("dotnet", ["--version"]);
        var key = PublishKey.Of(repository, project, [sdk.Trim(), .. arguments]);
        var keyFile = $"{folder}.key";
        Directory.CreateDirectory(Path.GetDirectoryName(folder)!);
        await using var publishing = await LabImages.LockAsync($"{folder}.lock", progress);
        if (File.Exists(keyFile) && await File.ReadAllTextAsync(keyFile) == key) return folder;

        progress.WriteLine($"publishing {project}");
        File.Delete(keyFile);
        await ChildProcess.RunAsync("dotnet", arguments);
        await File.WriteAllTextAsync(keyFile, key);
        return folder;
    }

    private static string Repository()
    {
        for (var folder = new DirectoryInfo(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
            if (File.Exists(Path.Combine(folder.FullName, "XenPciBack.sln"))) return folder.FullName;
        throw new LabException($"{AppContext.BaseDirectory} lies in no clone of XenPciBack: no XenPciBack.sln above it");
    }
}
