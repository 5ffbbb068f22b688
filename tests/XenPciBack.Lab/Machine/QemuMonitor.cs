using System.Text.Json;
using System.Text.Json.Nodes;

namespace XenPciBack.Lab.Machine;

/// <summary>QEMU's machine protocol, used to run the human monitor's commands (device_add, pcie_aer_inject_error, ...).</summary>
internal sealed class QemuMonitor : IAsyncDisposable
{
    private readonly StreamReader _replies;
    private readonly StreamWriter _requests;
    private readonly SemaphoreSlim _turn = new(1);

    private QemuMonitor(Stream line) => (_replies, _requests) = (new StreamReader(line), new StreamWriter(line) { AutoFlush = true });

    public static async Task<QemuMonitor> OpenAsync(Stream line)
    {
        var monitor = new QemuMonitor(line);
        await monitor._replies.ReadLineAsync(); // the greeting
        await monitor.ExecuteAsync("qmp_capabilities", []);
        return monitor;
    }

    /// <summary>Runs a command of the human monitor and returns what it prints.</summary>
    public async Task<string> RunAsync(string command)
    {
        var reply = await ExecuteAsync("human-monitor-command", new JsonObject { ["command-line"] = command });
        return reply.GetString() ?? "";
    }

    public ValueTask DisposeAsync()
    {
        _replies.Dispose();
        _turn.Dispose();
        return ValueTask.CompletedTask;
    }

    private async Task<JsonElement> ExecuteAsync(string command, JsonObject arguments)
    {
        await _turn.WaitAsync();
        try
        {
            await _requests.WriteLineAsync(new JsonObject { ["execute"] = command, ["arguments"] = arguments }.ToJsonString());
            while (await _replies.ReadLineAsync() is { } line)
            {
                using var reply = JsonDocument.Parse(line);
                if (reply.RootElement.TryGetProperty("return", out var result)) return result.Clone();
                if (reply.RootElement.TryGetProperty("error", out var error))
                    throw new LabException($"QEMU monitor: {command}: {error.GetProperty("desc").GetString()}");
                // anything else is an event
            }
            throw new LabException($"QEMU monitor: {command}: QEMU is gone");
        }
        finally
        {
            _turn.Release();
        }
    }
}
