namespace XenPciBack.XenStore.Tests;

/// <summary>Where xenstored is looked for: libxenstore's order.</summary>
public sealed class EndpointTests
{
    [Theory]
    [InlineData("/x", "/y", true, "/x")]
    [InlineData(null, "/y", true, "/y/socket, then /dev/xen/xenbus")]
    [InlineData(null, null, true, "/var/run/xenstored/socket, then /dev/xen/xenbus")]
    [InlineData(null, null, false, "/var/run/xenstored/socket, then /proc/xen/xenbus")]
    [InlineData("", "", false, "/var/run/xenstored/socket, then /proc/xen/xenbus")]
    public void Discovery_follows_the_environment_then_the_defaults(string? path, string? rundir, bool deviceExists, string order) =>
        Assert.Equal(order, XenStoreEndpoint.Discover(
            name => name switch { "XENSTORED_PATH" => path, "XENSTORED_RUNDIR" => rundir, _ => null },
            file => file == "/dev/xen/xenbus" && deviceExists).ToString());

    [Fact]
    public async Task Where_there_is_no_xen_the_message_names_every_place_and_its_flaw()
    {
        var endpoint = XenStoreEndpoint.FirstOf("/nowhere/socket", "/nowhere/xenbus");
        var failure = await Assert.ThrowsAsync<XenStoreUnreachableException>(() => XenStoreClient.ConnectAsync(endpoint, TestContext.Current.CancellationToken));
        Assert.Equal("""
            no xenstored found, so no Xen here?
              /nowhere/socket: does not exist (or may not be seen by this user)
              /nowhere/xenbus: does not exist (or may not be seen by this user)
            """, failure.Message);
    }

    [Fact]
    public async Task A_file_that_is_neither_socket_nor_device_is_named_as_such()
    {
        var file = Path.GetTempFileName();
        try
        {
            var endpoint = XenStoreEndpoint.Discover(name => name == "XENSTORED_PATH" ? file : null, _ => false);
            var failure = await Assert.ThrowsAsync<XenStoreUnreachableException>(() => XenStoreClient.ConnectAsync(endpoint, TestContext.Current.CancellationToken));
            Assert.Contains($"{file}: is neither a socket nor a character device", failure.Message, StringComparison.Ordinal);
        }
        finally
        {
            File.Delete(file);
        }
    }

    [Fact]
    public async Task A_socket_nobody_listens_on_is_refused_by_name()
    {
        var path = TemporarySocket.NewPath();
        using (var dead = new System.Net.Sockets.Socket(System.Net.Sockets.AddressFamily.Unix, System.Net.Sockets.SocketType.Stream, 0))
        {
            dead.Bind(new System.Net.Sockets.UnixDomainSocketEndPoint(path));
            var failure = await Assert.ThrowsAsync<XenStoreUnreachableException>(
                () => XenStoreClient.ConnectAsync(XenStoreEndpoint.Socket(path), TestContext.Current.CancellationToken));
            Assert.Contains($"{path}: Connection refused", failure.Message, StringComparison.Ordinal);
        }
        File.Delete(path);
    }
}
