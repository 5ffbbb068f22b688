namespace XenPciBack.Host.Linux;

/// <summary>A directory with a file for each record, made when the first one is written; files that are only half written carry another name.</summary>
internal sealed class FileRecords(string directory) : IRecords
{
    private const string Unfinished = ".new";

    public IReadOnlyList<string> Names => Directory.Exists(directory)
        ? [.. Directory.EnumerateFiles(directory).Select(file => Path.GetFileName(file)).Where(name => !name.EndsWith(Unfinished, StringComparison.Ordinal)).Order(StringComparer.Ordinal)]
        : [];

    public string? Read(string name) => Guard(() => File.Exists(PathOf(name)) ? File.ReadAllText(PathOf(name)) : null);

    public void Write(string name, string text) => Guard(() =>
    {
        Directory.CreateDirectory(directory);
        var path = PathOf(name);
        using (var file = new FileStream(path + Unfinished, FileMode.Create, FileAccess.Write))
        {
            using var writer = new StreamWriter(file, leaveOpen: true);
            writer.Write(text);
            writer.Flush();
            file.Flush(flushToDisk: true);
        }
        File.Move(path + Unfinished, path, overwrite: true);
        return true;
    });

    public void Remove(string name) => Guard(() =>
    {
        if (File.Exists(PathOf(name))) File.Delete(PathOf(name));
        return true;
    });

    private string PathOf(string name) => Path.Combine(directory, name);

    // One kind of exception for the caller: to it there is no difference.
    private static T Guard<T>(Func<T> work)
    {
        try
        {
            return work();
        }
        catch (UnauthorizedAccessException e)
        {
            throw new IOException(e.Message, e);
        }
    }
}
