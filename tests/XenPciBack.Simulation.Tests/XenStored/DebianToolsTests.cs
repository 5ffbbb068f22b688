using XenPciBack.Simulation.XenStored;

namespace XenPciBack.Simulation.Tests.XenStored;

/// <summary>Debian's own xenstore programs, unchanged, against the embedded xenstored.</summary>
public sealed class DebianToolsTests : IAsyncLifetime
{
    private const string Package = "xenstore-utils";
    private readonly EmbeddedXenStored _xenstored =
        EmbeddedXenStored.Start(Path.Combine(Path.GetTempPath(), $"xenstored-{Guid.NewGuid():n}"));

    public Task InitializeAsync() => Task.CompletedTask;

    public async Task DisposeAsync() => await _xenstored.DisposeAsync();

    [XenToolFact("xenstore-ls", Package)]
    public async Task Ls_prints_the_fresh_store() =>
        Assert.Equal((0, """
            local = ""
             domain = ""
              0 = ""
               domid = "0"
               name = "Domain-0"
            tool = ""
             xenstored = ""

            """), await RunAsync("xenstore-ls"));

    [XenToolFact("xenstore-ls", Package)]
    public async Task Ls_prints_permissions_and_whole_paths()
    {
        await RunAsync("xenstore-write", "/a/b", "1");
        await RunAsync("xenstore-chmod", "/a/b", "n0", "r5");
        Assert.Equal((0, "/a/b = \"1\"   (n0,r5)\n"), await RunAsync("xenstore-ls", "-f", "-p", "/a"));
    }

    [XenToolFact("xenstore-read", Package)]
    public async Task Write_read_list_exists_and_rm_do_what_they_say()
    {
        Assert.Equal((0, ""), await RunAsync("xenstore-write", "/a/b", "hello world", "/a/c", "2"));
        Assert.Equal((0, "hello world\n"), await RunAsync("xenstore-read", "/a/b"));
        Assert.Equal((0, "b\nc\n"), await RunAsync("xenstore-list", "/a"));
        Assert.Equal((0, ""), await RunAsync("xenstore-exists", "/a/b"));
        Assert.Equal((0, ""), await RunAsync("xenstore-rm", "/a/b"));
        Assert.Equal(1, (await RunAsync("xenstore-exists", "/a/b")).ExitCode);
        Assert.Equal((1, "xenstore-read: couldn't read path /a/b\n"), await RunAsync("xenstore-read", "/a/b"));
    }

    [XenToolFact("xenstore-list", Package)]
    public async Task A_directory_longer_than_a_message_is_listed_whole()
    {
        var names = Enumerable.Range(0, 500).Select(i => $"a-long-name-{i:d3}").ToArray();
        await RunAsync("xenstore-write", [.. names.SelectMany(name => new[] { $"/d/{name}", "1" })]);
        Assert.Equal((0, string.Concat(names.Select(name => name + "\n"))), await RunAsync("xenstore-list", "/d"));
    }

    [XenToolFact("xenstore-chmod", Package)]
    public async Task A_guest_sees_through_its_own_socket_what_it_may_read()
    {
        _xenstored.IntroduceDomain(5);
        await RunAsync("xenstore-write", "/be/state", "2", "/be/secret", "1");
        await RunAsync("xenstore-chmod", "/be/state", "n0", "r5");
        Assert.Equal((0, "2\n"), await XenTool.RunAsync(_xenstored.SocketPath + ".5", "xenstore-read", "/be/state"));
        Assert.Equal(1, (await XenTool.RunAsync(_xenstored.SocketPath + ".5", "xenstore-read", "/be/secret")).ExitCode);
    }

    [XenToolFact("xenstore-watch", Package)]
    public async Task Watch_prints_the_first_event_and_each_change()
    {
        using var watch = XenTool.Start(_xenstored.SocketPath, "xenstore-watch", "-n", "3", "/a");
        Assert.Equal("/a", await watch.StandardOutput.ReadLineAsync());
        await RunAsync("xenstore-write", "/a/b", "1");
        Assert.Equal("/a/b", await watch.StandardOutput.ReadLineAsync());
        await RunAsync("xenstore-rm", "/a");
        Assert.Equal("/a", await watch.StandardOutput.ReadLineAsync());
        await watch.WaitForExitAsync();
        Assert.Equal(0, watch.ExitCode);
    }

    [XenToolFact("test-xenstore", "xen-utils-4.17")]
    public async Task Xens_own_test_program_passes_all_its_tests_many_times()
    {
        var (exitCode, output) = await RunAsync("test-xenstore", "--iterations", "100");
        Assert.True(exitCode == 0 && output.Split("avg:").Length - 1 == 12, output);
    }

    [XenToolFact("test-xenstore", "xen-utils-4.17")]
    public async Task Xens_own_test_program_passes_its_random_mix()
    {
        var (exitCode, output) = await RunAsync("test-xenstore", "--random", "2");
        Assert.True(exitCode == 0, output);
    }

    private Task<(int ExitCode, string Output)> RunAsync(string program, params string[] arguments) =>
        XenTool.RunAsync(_xenstored.SocketPath, program, arguments);
}
