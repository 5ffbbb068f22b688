namespace XenPciBack.Protocol.Aer;

/// <summary>How fast the errors of one device and severity come: counted in windows that begin with an error.</summary>
/// <param name="Count">Errors in the present window.</param>
public sealed record ErrorRate(TimeSpan Began, long Count)
{
    public static readonly ErrorRate None = new(TimeSpan.MinValue, 0);

    /// <param name="at">A clock that only moves forward.</param>
    /// <param name="errors">How many have come at once.</param>
    public ErrorRate Add(long errors, TimeSpan at, TimeSpan window) =>
        Began == TimeSpan.MinValue || at - Began >= window ? new ErrorRate(at, errors) : this with { Count = Count + errors };

    /// <summary>Worth a line in a log: the first of a window, then each time their number has grown tenfold.</summary>
    public bool IsNews(ErrorRate before) => before.Began != Began || Magnitude(Count) > Magnitude(before.Count);

    private static int Magnitude(long count) => count <= 0 ? -1 : (int)Math.Log10(count);
}
