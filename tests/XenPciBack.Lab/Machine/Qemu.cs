using System.Diagnostics;

namespace XenPciBack.Lab.Machine;

/// <summary>A QEMU process of ours. It never outlives us: it is killed on dispose, and by the kernel if we are killed.</summary>
internal sealed class Qemu : IAsyncDisposable
{
    /// <summary>
    /// A guest's xen-pcifront gives an access up after 2 s, and a machine busy with other work makes emulation that slow:
    /// where we may, QEMU runs before that work. With the kernel's autogroups a nice value counts only among the processes
    /// of a session, so the session gets one too.
    /// </summary>
    private const string Script = """
        log=$1; shift
        { echo -10 > /proc/self/autogroup; } 2> /dev/null
        exec nice -n -10 qemu-system-x86_64 "$@" > "$log" 2>&1 < /dev/null
        """;

    private readonly Process _process;
    private readonly string _errors;

    private Qemu(Process process, string errors) => (_process, _errors) = (process, errors);

    /// <summary>Completes when QEMU ends, for whatever reason.</summary>
    public Task Exited => _process.WaitForExitAsync();

    public bool HasExited => _process.HasExited;

    /// <summary>What QEMU complained about, without the noise of emulating a big processor.</summary>
    public string Errors => string.Join('\n', File.ReadLines(_errors)
        .Where(line => !line.Contains("TCG doesn't support requested feature", StringComparison.Ordinal) && !line.StartsWith("nice:", StringComparison.Ordinal))
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
                    ["--pdeathsig", "KILL", "setsid", "sh", "-c", Script, "sh", errors, .. arguments]))!;
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
