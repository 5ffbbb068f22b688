namespace XenPciBack.Daemon.Demo;

/// <summary>A new directory that is gone with everything in it when disposed.</summary>
internal sealed class TemporaryDirectory : IDisposable
{
    public string Path { get; } = Directory.CreateTempSubdirectory("xenpciback-").FullName;

    public void Dispose() => Directory.Delete(Path, recursive: true);
}
