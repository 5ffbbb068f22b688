using System.Globalization;

namespace XenPciBack.Lab.Machine;

/// <summary>The files of one run (disks, sockets, logs) below the temporary folder; deleted with the run.</summary>
internal sealed class RunFolder : IDisposable
{
    private const string Prefix = "xenpciback-lab-";

    public RunFolder()
    {
        RemoveOrphans();
        Path = Directory.CreateTempSubdirectory($"{Prefix}{Environment.ProcessId}-").FullName;
    }

    public string Path { get; }

    public string this[string name] => System.IO.Path.Combine(Path, name);

    public void Dispose() => Directory.Delete(Path, recursive: true);

    /// <summary>A lab that was killed could not clean up: the next one does.</summary>
    private static void RemoveOrphans()
    {
        foreach (var folder in Directory.EnumerateDirectories(System.IO.Path.GetTempPath(), Prefix + "*"))
        {
            var owner = System.IO.Path.GetFileName(folder)[Prefix.Length..].Split('-')[0];
            if (int.TryParse(owner, CultureInfo.InvariantCulture, out var process) && !Directory.Exists($"/proc/{process}"))
                Directory.Delete(folder, recursive: true);
        }
    }
}
