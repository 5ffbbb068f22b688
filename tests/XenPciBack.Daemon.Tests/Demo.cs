using System.Diagnostics;

namespace XenPciBack.Daemon.Tests;

/// <summary>An <c>xenpciback demo</c> that serves its guests, as a process.</summary>
public sealed class Demo : IAsyncLifetime
{
    private readonly TemporaryDirectory _directory = new();

    public Process Process { get; private set; } = null!;

    /// <summary>Where its commands find it.</summary>
    public string Socket => _directory["xenstored.control"];

    /// <summary>The path of a file of the test's own.</summary>
    public string this[string name] => _directory[name];

    /// <param name="line">Part of the last line that is waited for.</param>
    internal static async Task<(Demo Demo, string Line)> StartAsync(string line = "Serving until Ctrl-C.")
    {
        var demo = new Demo();
        return (demo, await demo.StartUntilAsync(line));
    }

    public Task InitializeAsync() => StartUntilAsync("Serving until Ctrl-C.");

    public async Task DisposeAsync()
    {
        Process.Kill();
        await Process.WaitForExitAsync();
        Process.Dispose();
        _directory.Dispose();
    }

    private Task<string> StartUntilAsync(string line)
    {
        Process = Xenpciback.Start("demo", "--xenstored-socket", _directory["xenstored"]);
        return Xenpciback.WaitForLineAsync(Process, line);
    }
}
