using System.CommandLine;
using System.Diagnostics;

namespace XenPciBack.Daemon.Commands;

/// <summary>
/// Processes of this executable that end when the one that has started them does, however it ends: each has an end of a pipe as its standard input, and the kernel closes the other.
/// </summary>
internal sealed class ChildProcesses : IDisposable
{
    private static readonly TimeSpan EndPatience = TimeSpan.FromSeconds(10);

    private readonly List<Process> _started = [];

    /// <summary>The option by which a child knows that it is one.</summary>
    public static Option<bool> EndsWithParent() => new("--ends-with-parent") { Description = "End when standard input does", Hidden = true };

    /// <summary>Cancelled when the command is to stop, or, for a child, its parent has gone.</summary>
    public static CancellationTokenSource EndOf(bool isChild, CancellationToken stop)
    {
        var end = CancellationTokenSource.CreateLinkedTokenSource(stop);
        if (isChild)
            new Thread(() =>
            {
                using var input = Console.OpenStandardInput();
                while (input.ReadByte() >= 0) { }
                end.Cancel();
            })
            { IsBackground = true, Name = "parent" }.Start();
        return end;
    }

    /// <param name="show">Gets each line that the child prints.</param>
    public Process Start(string[] arguments, Action<string> show)
    {
        var process = Process.Start(new ProcessStartInfo(Environment.ProcessPath!, [.. arguments, EndsWithParent().Name]) { RedirectStandardInput = true, RedirectStandardOutput = true })!;
        process.OutputDataReceived += (_, line) =>
        {
            if (line.Data is { } text) show(text);
        };
        process.BeginOutputReadLine();
        _started.Add(process);
        return process;
    }

    public void Dispose()
    {
        foreach (var process in _started) process.StandardInput.Close();
        foreach (var process in _started)
        {
            if (!process.WaitForExit(EndPatience)) process.Kill();
            process.Dispose();
        }
    }
}
