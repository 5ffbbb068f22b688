namespace XenPciBack.Fleet.Web;

/// <summary>How long the dashboard waits for what.</summary>
public sealed record DashboardTimes
{
    /// <summary>Changes that follow each other within this time are told to viewers together.</summary>
    public TimeSpan Pause { get; init; } = TimeSpan.FromMilliseconds(200);

    /// <summary>After this time without a change viewers are told that there is none; fleet.js relies on it.</summary>
    public TimeSpan Beat { get; init; } = TimeSpan.FromSeconds(5);

    /// <summary>A viewer that has not taken what was written to it for this long is dropped.</summary>
    public TimeSpan WritePatience { get; init; } = TimeSpan.FromSeconds(15);

    /// <summary>A host answers within this time with a config space. Longer waits would only pile up.</summary>
    public TimeSpan AnswerPatience { get; init; } = TimeSpan.FromSeconds(5);
}
