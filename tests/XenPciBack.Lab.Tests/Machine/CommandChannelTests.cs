using System.Net.Sockets;
using System.Text;
using XenPciBack.Lab.Machine;

namespace XenPciBack.Lab.Tests.Machine;

public class CommandChannelTests
{
    private static readonly TimeSpan Soon = TimeSpan.FromSeconds(10);

    [Fact]
    public async Task Answers_are_told_from_kernel_messages_and_from_each_other()
    {
        var (here, there) = await PairAsync();
        await using var channel = new CommandChannel(here, "guest pv1");
        var (one, two) = (channel.RunAsync("first", Soon), channel.RunAsync("second", Soon));

        // The first answer stands behind a kernel message without a line end
        await there.WriteAsync(Encoding.ASCII.GetBytes($"[ 1.0] noise\n[ 2.0] torn @lab 2 7 {Packed("two\n")}\n@lab 1 0 {Packed("one\n")}\n"));

        Assert.Equal(new CommandResult(0, "one\n"), await one);
        Assert.Equal(new CommandResult(7, "two\n"), await two);
        Assert.Equal("[ 1.0] noise\n", channel.Chatter);
    }

    [Fact]
    public async Task An_answer_is_found_behind_half_of_another_one()
    {
        var (here, there) = await PairAsync();
        await using var channel = new CommandChannel(here, "guest pv1");
        var answer = channel.RunAsync("true", Soon);
        await there.WriteAsync(Encoding.ASCII.GetBytes($"@lab 9 0 H4sIAA@lab 1 0 {Packed("whole\n")}\n"));
        Assert.Equal(new CommandResult(0, "whole\n"), await answer);
    }

    [Fact]
    public async Task Another_agent_at_the_other_end_announces_itself_and_answers_nothing_that_came_before()
    {
        var (here, there) = await PairAsync();
        await using var channel = new CommandChannel(here, "guest pv1", lastId: 40);
        var answer = channel.RunAsync("sleep 1000", Soon);
        channel.BeginAgent("guest pv2");
        var ended = await Assert.ThrowsAsync<LabException>(() => answer);
        Assert.Contains("guest pv1: it ended before it answered", ended.Message, StringComparison.Ordinal);

        var ready = channel.ReadyAsync(Soon);
        Assert.False(ready.IsCompleted);
        await there.WriteAsync(Encoding.ASCII.GetBytes($"@lab 0 0 {Packed("")}\n"));
        await ready;
        var next = channel.RunAsync("true", Soon);
        await there.WriteAsync(Encoding.ASCII.GetBytes($"@lab 42 0 {Packed("")}\n"));
        Assert.Equal(0, (await next).ExitCode);
    }

    [Fact]
    public async Task A_closed_line_fails_what_waits_for_it()
    {
        var (here, there) = await PairAsync();
        await using var channel = new CommandChannel(here, "guest pv1");
        var answer = channel.RunAsync("sleep 1000", Soon);
        await there.DisposeAsync();
        Assert.Contains("guest pv1: the line to it was closed", (await Assert.ThrowsAsync<LabException>(() => answer)).Message);
    }

    private static string Packed(string text)
    {
        using var packed = new MemoryStream();
        using (var gzip = new System.IO.Compression.GZipStream(packed, System.IO.Compression.CompressionLevel.Fastest))
            gzip.Write(Encoding.UTF8.GetBytes(text));
        return Convert.ToBase64String(packed.ToArray());
    }

    private static async Task<(Stream Here, Stream There)> PairAsync()
    {
        using var listener = new TcpListener(System.Net.IPAddress.Loopback, 0);
        listener.Start();
        var client = new TcpClient();
        await client.ConnectAsync((System.Net.IPEndPoint)listener.LocalEndpoint);
        return (client.GetStream(), (await listener.AcceptTcpClientAsync()).GetStream());
    }
}
