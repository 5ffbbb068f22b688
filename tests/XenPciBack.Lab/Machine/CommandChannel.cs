using System.Collections.Concurrent;
using System.Globalization;
using System.IO.Compression;
using System.Text;

namespace XenPciBack.Lab.Machine;

/// <summary>How a script ended.</summary>
/// <param name="ExitCode">0 to 255; 128 + n when signal n ended it.</param>
/// <param name="Output">Standard output and standard error in the order written.</param>
public sealed record CommandResult(int ExitCode, string Output);

/// <summary>
/// The lab's end of a line to a command agent (Scripts/command-agent describes the protocol). Lines that are no answer,
/// a guest kernel's messages say, are kept as <see cref="Chatter"/>.
/// </summary>
internal sealed class CommandChannel : IAsyncDisposable
{
    private const string Marker = "@lab ";
    private readonly Stream _line;
    private readonly Task _reading;
    private readonly SemaphoreSlim _writing = new(1);
    private readonly ConcurrentDictionary<int, TaskCompletionSource<CommandResult>> _pending = new();
    private TaskCompletionSource<CommandResult> _ready = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private string _owner;
    private readonly StringBuilder _chatter = new();
    private int _lastId;

    /// <param name="owner">Who runs the scripts, for messages: "dom0", "guest pv1".</param>
    /// <param name="lastId">Scripts are numbered from here on.</param>
    public CommandChannel(Stream line, string owner, int lastId = 0)
    {
        (_line, _owner, _lastId) = (line, owner, lastId);
        _pending[0] = _ready;
        _reading = ReadAsync();
    }

    public string Chatter
    {
        get { lock (_chatter) return _chatter.ToString(); }
    }

    /// <summary>Another agent begins at the other end: nothing that was asked of the one before is answered.</summary>
    public void BeginAgent(string owner)
    {
        foreach (var id in _pending.Keys)
            if (_pending.TryRemove(id, out var answer))
                answer.TrySetException(new LabException($"{_owner}: it ended before it answered"));
        lock (_chatter) _chatter.Clear();
        _owner = owner;
        _pending[0] = _ready = new(TaskCreationOptions.RunContinuationsAsynchronously);
    }

    /// <summary>Completes when the agent has announced itself.</summary>
    public Task ReadyAsync(TimeSpan timeout) => AnswerAsync(_ready, "its command agent to start", timeout);

    /// <summary>Runs a script and returns how it ended, whatever the exit code.</summary>
    public async Task<CommandResult> RunAsync(string script, TimeSpan timeout)
    {
        var id = Interlocked.Increment(ref _lastId);
        var answer = new TaskCompletionSource<CommandResult>(TaskCreationOptions.RunContinuationsAsynchronously);
        _pending[id] = answer;
        if (_reading.IsCompleted) Break();

        var request = $"{id} {Convert.ToBase64String(Encoding.UTF8.GetBytes(script))}\n";
        await _writing.WaitAsync();
        try
        {
            await _line.WriteAsync(Encoding.ASCII.GetBytes(request));
        }
        catch (Exception gone) when (gone is IOException or ObjectDisposedException)
        {
            Break();
        }
        finally
        {
            _writing.Release();
        }
        return await AnswerAsync(answer, script, timeout);
    }

    public async ValueTask DisposeAsync()
    {
        await _line.DisposeAsync();
        await _reading.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        _writing.Dispose();
    }

    private async Task<CommandResult> AnswerAsync(TaskCompletionSource<CommandResult> answer, string awaited, TimeSpan timeout)
    {
        try
        {
            return await answer.Task.WaitAsync(timeout);
        }
        catch (TimeoutException timedOut)
        {
            var what = $"no answer within {timeout.TotalSeconds:0} s; waited for: {awaited.Trim()}";
            throw new LabException($"{_owner}: {what}\n{LabException.Tail(Chatter)}", timedOut);
        }
    }

    private async Task ReadAsync()
    {
        using var lines = new StreamReader(_line, Encoding.Latin1);
        try
        {
            while (await lines.ReadLineAsync() is { } line) Receive(line);
        }
        catch (Exception end) when (end is IOException or ObjectDisposedException)
        {
            // The other end is gone: same as the end of the stream.
        }
        Break();
    }

    private void Receive(string line)
    {
        // Before the marker may stand a kernel message without a line end, or half an answer of an agent that ended.
        var marker = line.LastIndexOf(Marker, StringComparison.Ordinal);
        if (marker >= 0 && TryParse(line[(marker + Marker.Length)..]) is var (id, result))
        {
            if (_pending.TryRemove(id, out var answer)) answer.TrySetResult(result);
            return;
        }
        lock (_chatter) _chatter.Append(line).Append('\n');
    }

    private static (int Id, CommandResult Result)? TryParse(string text)
    {
        if (text.Split(' ') is not [var id, var code, var packed]) return null;
        try
        {
            using var unpacked = new GZipStream(new MemoryStream(Convert.FromBase64String(packed)), CompressionMode.Decompress);
            using var output = new StreamReader(unpacked, Encoding.UTF8);
            return (int.Parse(id, CultureInfo.InvariantCulture),
                new CommandResult(int.Parse(code, CultureInfo.InvariantCulture), output.ReadToEnd()));
        }
        catch (Exception torn) when (torn is FormatException or InvalidDataException)
        {
            return null;
        }
    }

    private void Break()
    {
        foreach (var answer in _pending.Values)
            answer.TrySetException(new LabException($"{_owner}: the line to it was closed\n{LabException.Tail(Chatter)}"));
    }
}
