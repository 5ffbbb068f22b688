using System.Globalization;
using System.Net;
using System.Net.Sockets;
using XenPciBack.Daemon.Demo;

namespace XenPciBack.Daemon.Commands;

/// <summary><c>xenpciback demo --fleet N</c>: so many embedded Xen hosts and a monitor, each a process of its own, as one fleet on loopback.</summary>
internal static class DemoFleet
{
    public const int MostHosts = 16;

    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(3);

    public static async Task<int> RunAsync(int hosts, CancellationToken stop)
    {
        using var temporary = new TemporaryDirectory();
        var directory = temporary.Path;
        var monitorAt = $"127.0.0.1:{FreePort().ToString(CultureInfo.InvariantCulture)}";

        using var children = new ChildProcesses();
        var dashboard = new TaskCompletionSource<string>(TaskCreationOptions.RunContinuationsAsynchronously);
        await File.WriteAllTextAsync(Path.Combine(directory, "monitor.conf"), $$"""
            xenpciback {
              fleet { name = monitor, listen = "{{monitorAt}}" }
              web { listen = "127.0.0.1:0", socket = "{{directory}}/monitor.web" }
            }
            """, stop);
        var monitor = children.Start(["monitor", "--config", Path.Combine(directory, "monitor.conf")], line =>
        {
            const string announced = "The dashboard: ";
            if (line.StartsWith(announced, StringComparison.Ordinal)) dashboard.TrySetResult(line[announced.Length..]);
            else Console.WriteLine($"monitor: {line}");
        });
        _ = EndedAsync();

        for (var i = 1; i <= hosts; i++)
        {
            var name = string.Create(CultureInfo.InvariantCulture, $"host-{i}");
            await File.WriteAllTextAsync(Path.Combine(directory, $"{name}.conf"), $$"""
                xenpciback {
                  fleet { enabled = on, name = {{name}}, listen = "127.0.0.1:0", seeds = ["{{monitorAt}}"] }
                  web.listen = ""
                }
                """, stop);
            var process = children.Start(["demo", "--xenstored-socket", Path.Combine(directory, name), "--config", Path.Combine(directory, $"{name}.conf")], line =>
            {
                if (line.StartsWith("guest ", StringComparison.Ordinal) || line.Contains(" guests connected, ", StringComparison.Ordinal)) Console.WriteLine($"{name}: {line}");
            });
            Console.WriteLine($"{name} is process {process.Id}; something breaks there with: xenpciback fault NAME --socket {directory}/{name}.control");
        }
        Console.WriteLine($"All hosts: xenpciback fleet status --socket {directory}/monitor.web");
        if (await Task.WhenAny(dashboard.Task, Task.Delay(Patience, stop)) != dashboard.Task || dashboard.Task.IsCanceled)
            return stop.IsCancellationRequested ? ExitCode.Success : ExitCode.Refuse("the monitor of the demo has not started", ExitCode.Failure);
        Console.WriteLine($"The dashboard of {hosts} hosts: {await dashboard.Task}");
        Console.WriteLine("Serving until Ctrl-C.");
        await ((Task)Task.Delay(Timeout.Infinite, stop)).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        return ExitCode.Success;

        async Task EndedAsync()
        {
            await monitor.WaitForExitAsync(stop);
            dashboard.TrySetCanceled(CancellationToken.None);
        }
    }

    internal static int FreePort()
    {
        using var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        socket.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        return ((IPEndPoint)socket.LocalEndPoint!).Port;
    }
}
