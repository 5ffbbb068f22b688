using System.ComponentModel;
using System.Diagnostics;

namespace XenPciBack.Host.Linux;

/// <summary>A program of the host, run to its end.</summary>
internal static class HostCommand
{
    /// <param name="patience">After this long it is killed.</param>
    /// <returns>What it wrote to standard output; null for the fault, or what the program said when it failed.</returns>
    public static async Task<(string Output, string? Fault)> RunAsync(TimeSpan patience, string program, params string[] arguments)
    {
        using var limit = new CancellationTokenSource(patience);
        try
        {
            using var process = Process.Start(new ProcessStartInfo(program, arguments) { RedirectStandardOutput = true, RedirectStandardError = true })!;
            try
            {
                var (output, said) = (process.StandardOutput.ReadToEndAsync(limit.Token), process.StandardError.ReadToEndAsync(limit.Token));
                await Task.WhenAll(output, said).ConfigureAwait(false);
                await process.WaitForExitAsync(limit.Token).ConfigureAwait(false);
                return (output.Result, process.ExitCode == 0 ? null : $"{program} {arguments[0]} ended with {process.ExitCode}: {said.Result.Trim()}");
            }
            catch (OperationCanceledException)
            {
                process.Kill();
                return ("", $"{program} {arguments[0]} was not done within {patience.TotalSeconds} s");
            }
        }
        catch (Win32Exception e)
        {
            return ("", $"{program} cannot be started: {e.Message}");
        }
    }
}
