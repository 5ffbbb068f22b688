namespace XenPciBack.Host;

/// <summary>Small texts by name that outlive this process. A name is one component of a file name.</summary>
public interface IRecords
{
    IReadOnlyList<string> Names { get; }

    /// <returns>null if there is no record of that name.</returns>
    /// <exception cref="IOException">It cannot be read.</exception>
    string? Read(string name);

    /// <summary>Replaces the record, all or nothing, even if the power fails.</summary>
    /// <exception cref="IOException">It cannot be written.</exception>
    void Write(string name, string text);

    /// <summary>Nothing happens if there is none.</summary>
    /// <exception cref="IOException">It cannot be removed.</exception>
    void Remove(string name);
}
