using System.Diagnostics;
using System.Text;

namespace XenPciBack.Lab;

/// <summary>Runs a program of this machine to its end; failure is an exception with the command and its last lines.</summary>
internal static class ChildProcess
{
    public static async Task<string> RunAsync(
        string program, IEnumerable<string> arguments, IReadOnlyDictionary<string, string>? environment = null,
        CancellationToken cancellation = default)
    {
        var start = new ProcessStartInfo(program, arguments) { RedirectStandardOutput = true, RedirectStandardError = true };
        foreach (var (name, value) in environment ?? new Dictionary<string, string>()) start.Environment[name] = value;

        using var process = new Process { StartInfo = start };
        var output = new StringBuilder();
        void Collect(object _, DataReceivedEventArgs line)
        {
            lock (output) if (line.Data is not null) output.Append(line.Data).Append('\n');
        }
        process.OutputDataReceived += Collect;
        process.ErrorDataReceived += Collect;
        process.Start();
        process.BeginOutputReadLine();
        process.BeginErrorReadLine();
        try
        {
            await process.WaitForExitAsync(cancellation);
        }
        catch (OperationCanceledException)
        {
            process.Kill(entireProcessTree: true);
            throw;
        }
        if (process.ExitCode != 0)
            throw new LabException($"{program} {string.Join(' ', start.ArgumentList)}: exit code {process.ExitCode}\n{LabException.Tail(output.ToString())}");
        return output.ToString();
    }
}
