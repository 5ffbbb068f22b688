using System.Diagnostics;

namespace XenPciBack.Lab.Machine;

/// <summary>A QEMU process of ours. It never outlives us: it is killed on dispose, and by the kernel if we are killed.</summary>
internal sealed class Qemu : IAsyncDisposable
{
    private readonly Process _process;
    private readonly string _errors;

    private Qemu(Process process, string errors) => (_process, _errors) = (process, errors);

    /// <summary>Completes when QEMU ends, for whatever reason.</summary>
    public Task Exited => _process.WaitForExitAsync();

    public bool HasExited => _process.HasExited;

    /// <summary>What QEMU complained about, without the noise of emulating a big processor.</summary>
    public string Errors => string.Join('\n', File.ReadLines(_errors)
        .Where(line => !line.Contains("TCG doesn't support requested feature", StringComparison.Ordinal))
        .Select(line => line.Replace("qemu-system-x86_64: ", "", StringComparison.Ordinal)));

    /// <param name="errors">The file QEMU's standard output and error go to.</param>
    public static Qemu Start(IEnumerable<string> arguments, string errors)
    {
        // The parent death signal is sent when the thread that started the process ends, and pool threads end when idle:
        // a thread of its own starts QEMU and stays as long as QEMU does.
        var started = new TaskCompletionSource<Process>();
        new Thread(() =>
        {
            try
            {
                var process = Process.Start(new ProcessStartInfo("setpriv",
                    ["--pdeathsig", "KILL", "sh", "-c", "log=$1; shift; exec \"$@\" > \"$log\" 2>&1 < /dev/null",
                        "sh", errors, "qemu-system-x86_64", .. arguments]))!;
                started.SetResult(process);
                process.WaitForExit();
            }
            catch (Exception failure)
            {
                started.TrySetException(failure);
            }
        })
        { IsBackground = true, Name = "qemu" }.Start();
        return new Qemu(started.Task.GetAwaiter().GetResult(), errors);
    }

    public async ValueTask DisposeAsync()
    {
        if (!_process.HasExited) _process.Kill();
        await _process.WaitForExitAsync();
        _process.Dispose();
    }
}
