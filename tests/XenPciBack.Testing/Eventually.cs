using System.Diagnostics;
using System.Runtime.CompilerServices;

namespace XenPciBack.Testing;

/// <summary>Waits for a condition instead of for a time.</summary>
public static class Eventually
{
    /// <summary>The limit of every wait: long enough for the busiest machine, and spent only by a test that fails.</summary>
    public static readonly TimeSpan Patience = TimeSpan.FromMinutes(3);

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
            await PauseAsync(clock).ConfigureAwait(false);
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
            await PauseAsync(clock).ConfigureAwait(false);
        }
    }

    // A wait ends at most a twentieth later than its condition is true; a long wait costs the machine little.
    private static Task PauseAsync(Stopwatch waited) =>
        Task.Delay((int)Math.Clamp(waited.ElapsedMilliseconds / 20, 2, 50));
}
