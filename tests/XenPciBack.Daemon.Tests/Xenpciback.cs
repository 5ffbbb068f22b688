using System.Diagnostics;

namespace XenPciBack.Daemon.Tests;

/// <summary>The executable, as a person or a script starts it.</summary>
internal static class Xenpciback
{
    public static readonly string Executable = Path.Combine(AppContext.BaseDirectory, "xenpciback");

    public static async Task<(int ExitCode, string Output, string Errors)> RunAsync(params string[] arguments)
    {
        using var process = Process.Start(new ProcessStartInfo(Executable, arguments) { RedirectStandardOutput = true, RedirectStandardError = true })!;
        var (output, errors) = (process.StandardOutput.ReadToEndAsync(), process.StandardError.ReadToEndAsync());
        using var patience = new CancellationTokenSource(Eventually.Patience);
        try
        {
            await process.WaitForExitAsync(patience.Token);
        }
        catch (OperationCanceledException)
        {
            process.Kill();
            throw;
        }
        return (process.ExitCode, await output, await errors);
    }

    public static Process Start(params string[] arguments) =>
        Process.Start(new ProcessStartInfo(Executable, arguments) { RedirectStandardOutput = true })!;

    public static async Task<string> WaitForLineAsync(Process process, string text)
    {
        using var patience = new CancellationTokenSource(Eventually.Patience);
        while (await process.StandardOutput.ReadLineAsync(patience.Token) is { } line)
            if (line.Contains(text, StringComparison.Ordinal)) return line;
        throw new InvalidOperationException($"the process ended before it said: {text}");
    }
}
