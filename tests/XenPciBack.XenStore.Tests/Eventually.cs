using System.Diagnostics;

namespace XenPciBack.XenStore.Tests;

/// <summary>Waits for a condition instead of for time. The limit is for broken code only.</summary>
internal static class Eventually
{
    public static readonly TimeSpan Limit = TimeSpan.FromSeconds(30);

    public static async Task True(Func<bool> condition, string what)
    {
        for (var clock = Stopwatch.StartNew(); !condition();)
        {
            Assert.True(clock.Elapsed < Limit, $"waited {Limit} in vain until {what}");
            await Task.Delay(1, TestContext.Current.CancellationToken);
        }
    }
}
