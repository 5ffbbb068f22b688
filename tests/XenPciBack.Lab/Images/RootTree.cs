using System.IO.Compression;

namespace XenPciBack.Lab.Images;

/// <summary>An unpacked Debian root: where things are in it, and what a program or module in it needs.</summary>
internal sealed class RootTree(string folder)
{
    public string Folder => folder;

    /// <summary>The kernel's version string, as in /lib/modules.</summary>
    public string KernelVersion { get; } = Path.GetFileName(Directory.GetDirectories(Path.Combine(folder, "lib/modules")).Single());

    public string Kernel => PathOf($"boot/vmlinuz-{KernelVersion}");

    private string Modules => $"lib/modules/{KernelVersion}";

    /// <summary>Adds programs with the shared libraries ldd names.</summary>
    public async Task AddProgramsAsync(CpioArchive archive, params string[] programs)
    {
        var files = new SortedSet<string>(programs);
        foreach (var program in programs)
        {
            var ldd = await ChildProcess.RunAsync("chroot", [folder, "ldd", "/" + program]);
            // "libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x...)" and the loader: "/lib64/ld-linux-x86-64.so.2 (0x...)"
            files.UnionWith(ldd.Split([' ', '\t', '\n']).Where(word => word.StartsWith('/')).Select(word => word[1..]));
        }
        foreach (var file in files) AddFile(archive, file, executable: true);
    }

    public void AddFile(CpioArchive archive, string path, bool executable = false) =>
        archive.AddFile(path, File.ReadAllBytes(PathOf(path)), executable);

    /// <summary>
    /// Adds modules with all they depend on, uncompressed, and a modules.dep that names only these. Names the kernel
    /// has built in, or this release does not know, are passed over.
    /// </summary>
    public async Task AddModulesAsync(CpioArchive archive, params string[] names)
    {
        var dependencies = File.ReadLines(PathOf($"{Modules}/modules.dep"))
            .Select(line => line.Split(':'))
            .ToDictionary(pair => pair[0], pair => pair[1].Split(' ', StringSplitOptions.RemoveEmptyEntries));
        var wanted = dependencies.Where(module => names.Contains(ModuleName(module.Key)))
            .SelectMany(module => module.Value.Prepend(module.Key)).ToHashSet();

        var index = new StringWriter();
        foreach (var path in wanted)
        {
            archive.AddFile($"{Modules}/{Uncompressed(path)}", await DecompressAsync(PathOf($"{Modules}/{path}")));
            index.Write($"{Uncompressed(path)}: {string.Join(' ', dependencies[path].Select(Uncompressed))}\n");
        }
        archive.AddFile($"{Modules}/modules.dep", System.Text.Encoding.ASCII.GetBytes(index.ToString()));
    }

    /// <summary>A file's path on this machine; absolute links inside the tree are followed inside the tree.</summary>
    public string PathOf(string path)
    {
        var file = new FileInfo(Path.Combine(folder, path.TrimStart('/')));
        return file.LinkTarget is not { } target ? file.FullName
            : target.StartsWith('/') ? PathOf(target)
            : PathOf(Path.GetRelativePath(folder, Path.Combine(file.DirectoryName!, target)));
    }

    public static async Task GunzipAsync(string source, string destination)
    {
        await using var input = new GZipStream(File.OpenRead(source), CompressionMode.Decompress);
        await using var output = File.Create(destination);
        await input.CopyToAsync(output);
    }

    private static string ModuleName(string path) => Path.GetFileName(Uncompressed(path)).Replace(".ko", "").Replace('-', '_');

    private static string Uncompressed(string path) => path.EndsWith(".ko.xz", StringComparison.Ordinal) ? path[..^3] : path;

    private static async Task<byte[]> DecompressAsync(string path)
    {
        if (!path.EndsWith(".xz", StringComparison.Ordinal)) return await File.ReadAllBytesAsync(path);
        var unpacked = Path.GetTempFileName();
        try
        {
            await ChildProcess.RunAsync("sh", ["-c", "xz -dc \"$0\" > \"$1\"", path, unpacked]);
            return await File.ReadAllBytesAsync(unpacked);
        }
        finally
        {
            File.Delete(unpacked);
        }
    }
}
