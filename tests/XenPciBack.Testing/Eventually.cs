using System.Diagnostics;
using System.Runtime.CompilerServices;

namespace XenPciBack.Testing;

/// <summary>Waits for a condition instead of for a time.</summary>
public static class Eventually
{
    /// <summary>The limit of every wait: long enough for the busiest machine, and spent only by a test that fails.</summary>
    public static readonly TimeSpan Patience = TimeSpan.FromSeconds(60);

    private static readonly TimeSpan Pause = TimeSpan.FromMilliseconds(2);

    /// <summary>Is cancelled after <see cref="Patience"/>.</summary>
    public static CancellationToken Limit => new CancellationTokenSource(Patience).Token;

    /// <param name="otherwise">What a failure says beside the condition: the circumstances.</param>
    /// <exception cref="TimeoutException">The condition was not true in time.</exception>
    public static Task IsTrueAsync(
        Func<bool> condition, Func<string>? otherwise = null,
        [CallerArgumentExpression(nameof(condition))] string what = "") =>
        IsTrueAsync(() => Task.FromResult(condition()), otherwise, what);

    /// <inheritdoc cref="IsTrueAsync(Func{bool}, Func{string}?, string)"/>
    public static async Task IsTrueAsync(
        Func<Task<bool>> condition, Func<string>? otherwise = null,
        [CallerArgumentExpression(nameof(condition))] string what = "")
    {
        for (var clock = Stopwatch.StartNew(); !await condition().ConfigureAwait(false);)
        {
            if (clock.Elapsed > Patience)
                throw new TimeoutException($"not true within {Patience.TotalSeconds} s: {what}\n{otherwise?.Invoke()}");
            await Task.Delay(Pause).ConfigureAwait(false);
        }
    }

    /// <exception cref="TimeoutException">The value was not the expected one in time; the last value is in the message.</exception>
    public static Task EqualAsync<T>(
        T expected, Func<T> actual, [CallerArgumentExpression(nameof(actual))] string what = "") =>
        EqualAsync(expected, () => Task.FromResult(actual()), what);

    /// <inheritdoc cref="EqualAsync{T}(T, Func{T}, string)"/>
    public static async Task EqualAsync<T>(
        T expected, Func<Task<T>> actual, [CallerArgumentExpression(nameof(actual))] string what = "")
    {
        for (var clock = Stopwatch.StartNew(); ;)
        {
            var value = await actual().ConfigureAwait(false);
            if (EqualityComparer<T>.Default.Equals(expected, value)) return;
            if (clock.Elapsed > Patience)
                throw new TimeoutException($"{what} is {value} after {Patience.TotalSeconds} s; expected {expected}");
            await Task.Delay(Pause).ConfigureAwait(false);
        }
    }
}
