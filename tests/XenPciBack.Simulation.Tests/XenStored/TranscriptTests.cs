using System.Text;
using XenPciBack.Protocol.XenStoreWire;
using XenPciBack.Simulation.XenStored;

namespace XenPciBack.Simulation.Tests.XenStored;

/// <summary>
/// What C xenstored 4.17 answers, as transcripts: "who: REQUEST arguments -> answer", and lines "who &lt;- path token" for the watch
/// events that the request causes, which come before its answer. "who" is a domid, with letters where one domain has
/// several connections. "#n" after the type is a transaction, numbered per connection. "|" stands for a NUL.
/// </summary>
public sealed class TranscriptTests
{
    private readonly XenStoredCore _core = new();
    private readonly Dictionary<string, StoreClient> _clients = [];
    private readonly List<string> _events = [];

    public TranscriptTests()
    {
        _core.Introduce(5);
        _core.Introduce(6);
    }

    [Fact]
    public void A_fresh_store_has_what_xenstored_and_dom0_put_there() => Play("""
        0: Directory / -> local|tool|
        0: Directory /tool -> xenstored|
        0: Read /local/domain/0/name -> Domain-0
        0: GetPerms / -> n0|
        """);

    [Fact]
    public void Nodes() => Play("""
        0: Read /a -> ENOENT
        0: Write /a/b 1 -> OK|
        0: Read /a/b -> 1
        0: Read /a ->
        0: Directory /a -> b|
        0: Mkdir /a/b -> OK|
        0: Read /a/b -> 1
        0: Mkdir /a/c -> OK|
        0: Directory /a -> b|c|
        0: Rm /a/missing -> OK|
        0: Rm /a/missing/child -> ENOENT
        0: Rm /a -> OK|
        0: Read /a/b -> ENOENT
        0: Rm / -> EINVAL
        """);

    [Fact]
    public void Malformed_requests() => Play("""
        0: Read! /tool -> EINVAL
        0: Read /tool/ -> EINVAL
        0: Read //tool -> EINVAL
        0: Read /0000:03:00.0 -> EINVAL
        0: Read @releaseDomain -> EINVAL
        0: Read! -> EINVAL
        0: Watch /a t 1 -> EINVAL
        0: Watch /a -> EINVAL
        0: SetPerms /tool x0 -> EINVAL
        0: SetPerms /tool -> EINVAL
        0: TransactionEnd T -> ENOENT
        0: TransactionEnd X -> EINVAL
        0: SetPerms @nothing n0 -> EINVAL
        0: GetPerms @releaseDomain -> EINVAL
        0: GetDomainPath#7 5 -> ENOENT
        0: GetFeature#7 0 -> ENOSYS
        0: 20 /a -> ENOSYS
        0: GetFeature 0 -> ENOSYS
        0: 4711 -> ENOSYS
        """);

    [Fact]
    public void Relative_paths_start_at_the_home_of_the_domain_that_sends_them() => Play("""
        0: Write /local/domain/5/data 1 -> OK|
        0: SetPerms /local/domain/5 n5 -> OK|
        0: SetPerms /local/domain/5/data n5 -> OK|
        5: Read data -> 1
        5: Write device/pci/0/state 1 -> OK|
        0: Read /local/domain/5/device/pci/0/state -> 1
        5: Watch device t -> OK|
          5 <- device t
        5: Write device/pci/0/state 2 -> OK|
          5 <- device/pci/0/state t
        0: Read name -> Domain-0
        """);

    [Fact]
    public void A_guest_reads_and_writes_what_its_permissions_say() => Play("""
        0: Write /be/state 2 -> OK|
        0: SetPerms /be/state n0 r5 -> OK|
        5: Read /be/state -> 2
        5: Write /be/state 4 -> EACCES
        5: Rm /be/state -> EACCES
        6: Read /be/state -> EACCES
        6: GetPerms /be/state -> EACCES
        0: SetPerms /be/state r0 w5 -> OK|
        6: Read /be/state -> 2
        5: Read /be/state -> EACCES
        5: Write /be/state 4 -> OK|
        0: SetPerms /be/state n0 b5 -> OK|
        5: Read /be/state -> 4
        """);

    [Fact]
    public void Whether_a_node_exists_is_told_to_those_who_may_access_its_nearest_ancestor() => Play("""
        5: Read /secret -> EACCES
        5: Write /mine 1 -> EACCES
        5: Mkdir /mine -> EACCES
        0: Write /open 1 -> OK|
        0: SetPerms /open r0 -> OK|
        5: Read /open/missing/child -> ENOENT
        5: Write /open/missing/child 1 -> EACCES
        5: Rm /open/missing -> EACCES
        """);

    [Fact]
    public void Children_inherit_permissions_and_a_guest_owns_what_it_creates() => Play("""
        0: Write /a 1 -> OK|
        0: SetPerms /a r0 b5 n6 -> OK|
        0: Write /a/b/c 1 -> OK|
        0: GetPerms /a/b/c -> r0|b5|n6|
        5: Write /a/x/y 1 -> OK|
        0: GetPerms /a/x -> r5|b5|n6|
        0: GetPerms /a/x/y -> r5|b5|n6|
        """);

    [Fact]
    public void Permissions_are_changed_by_the_owner_and_the_owner_by_dom0_only() => Play("""
        0: Write /a 1 -> OK|
        0: SetPerms /a b0 -> OK|
        5: SetPerms /a b5 -> EACCES
        0: SetPerms /a n5 r0 -> OK|
        5: SetPerms /a n5 r6 -> OK|
        6: Read /a -> 1
        5: SetPerms /a n6 -> EPERM
        0: SetPerms /a n6 -> OK|
        5: Read /a -> EACCES
        """);

    [Fact]
    public void A_target_is_acted_for() => Play("""
        0: Write /a 1 -> OK|
        0: SetPerms /a n5 -> OK|
        6: Read /a -> EACCES
        6: SetTarget 6 5 -> EACCES
        0: SetTarget 6 7 -> ENOENT
        0: SetTarget 6 5 -> OK|
        6: Write /a 2 -> OK|
        """);

    [Fact]
    public void A_transaction_sees_its_own_writes_and_the_store_as_it_was() => Play("""
        0: Write /a 1 -> OK|
        0a: TransactionStart -> 1|
        0a: Read#1 /a -> 1
        0a: Write#1 /b 1 -> OK|
        0a: Read#1 /b -> 1
        0: Read /b -> ENOENT
        0: Write /c 1 -> OK|
        0a: Read#1 /c -> ENOENT
        0a: TransactionEnd#1 F -> OK|
        0: Read /b -> ENOENT
        0a: Read#1 /a -> ENOENT
        """);

    [Fact]
    public void A_commit_fails_when_a_node_that_was_read_has_changed() => Play("""
        0: Write /a 1 -> OK|
        0a: TransactionStart -> 1|
        0a: Read#1 /a -> 1
        0a: Write#1 /b 1 -> OK|
        0: Write /a 1 -> OK|
        0a: TransactionEnd#1 T -> EAGAIN
        0: Read /b -> ENOENT
        0a: TransactionEnd#1 T -> ENOENT
        """);

    [Fact]
    public void A_commit_fails_when_a_node_that_was_missing_exists() => Play("""
        0a: TransactionStart -> 1|
        0a: Read#1 /a -> ENOENT
        0: Write /a 1 -> OK|
        0a: TransactionEnd#1 T -> EAGAIN
        """);

    [Fact]
    public void A_commit_fails_when_a_directory_that_was_listed_has_another_child() => Play("""
        0: Write /d/one 1 -> OK|
        0a: TransactionStart -> 1|
        0a: Directory#1 /d -> one|
        0: Write /d/two 2 -> OK|
        0a: TransactionEnd#1 T -> EAGAIN
        """);

    [Fact]
    public void A_commit_fails_when_something_appeared_below_a_node_it_removes() => Play("""
        0: Write /d/one/x 1 -> OK|
        0a: TransactionStart -> 1|
        0a: Rm#1 /d -> OK|
        0: Write /d/one/x 2 -> OK|
        0a: TransactionEnd#1 T -> EAGAIN
        0: Read /d/one/x -> 2
        """);

    [Fact]
    public void Transactions_that_do_not_meet_both_commit() => Play("""
        0: Write /a 1 -> OK|
        0: Write /b 1 -> OK|
        0a: TransactionStart -> 1|
        0b: TransactionStart -> 1|
        0a: Write#1 /a 2 -> OK|
        0b: Write#1 /b 2 -> OK|
        0a: TransactionEnd#1 T -> OK|
        0b: TransactionEnd#1 T -> OK|
        0: Read /a -> 2
        0: Read /b -> 2
        """);

    [Fact]
    public void Two_transactions_that_add_to_one_directory_conflict() => Play("""
        0: Mkdir /d -> OK|
        0a: TransactionStart -> 1|
        0b: TransactionStart -> 1|
        0a: Write#1 /d/a 1 -> OK|
        0b: Write#1 /d/b 1 -> OK|
        0a: TransactionEnd#1 T -> OK|
        0b: TransactionEnd#1 T -> EAGAIN
        """);

    [Fact]
    public void Transactions_do_not_nest_and_belong_to_their_connection() => Play("""
        0a: TransactionStart -> 1|
        0a: TransactionStart#1 -> EBUSY
        0b: Read#1 /tool -> ENOENT
        0a: TransactionStart -> 2|
        """);

    [Fact]
    public void A_watch_fires_at_once_then_for_the_node_and_below_before_the_writer_is_answered() => Play("""
        0: Watch /a t -> OK|
          0 <- /a t
        0: Write /a/b/c 1 -> OK|
          0 <- /a/b/c t
        0: Mkdir /a/b/c -> OK|
        0: SetPerms /a r0 -> OK|
          0 <- /a t
        0: Write /ab 1 -> OK|
        0: Rm /a/missing -> OK|
        0: Rm /a/b -> OK|
          0 <- /a/b t
        """);

    [Fact]
    public void A_watch_fires_when_an_ancestor_is_removed_with_its_node() => Play("""
        0: Write /a/b/c 1 -> OK|
        0: Watch /a/b/c deep -> OK|
          0 <- /a/b/c deep
        0: Watch /a/b/missing none -> OK|
          0 <- /a/b/missing none
        0: Rm /a -> OK|
          0 <- /a/b/c deep
        """);

    [Fact]
    public void A_transaction_fires_upon_its_commit_only() => Play("""
        0: Watch /a t -> OK|
          0 <- /a t
        0a: TransactionStart -> 1|
        0a: Write#1 /a/x 1 -> OK|
        0a: Write#1 /a/y 1 -> OK|
        0a: TransactionEnd#1 T -> OK|
          0 <- /a/x t
          0 <- /a/y t
        0a: TransactionStart -> 2|
        0a: Write#2 /a/z 1 -> OK|
        0a: TransactionEnd#2 F -> OK|
        0a: TransactionStart -> 3|
        0a: Write#3 /a/z 1 -> OK|
        0a: Rm#3 /a/z -> OK|
        0a: TransactionEnd#3 T -> OK|
        0: Watch /a/x/deep u -> OK|
          0 <- /a/x/deep u
        0: Write /a/x/deep 1 -> OK|
          0 <- /a/x/deep t
          0 <- /a/x/deep u
        0a: TransactionStart -> 4|
        0a: Rm#4 /a/x -> OK|
        0a: Write#4 /a/x 2 -> OK|
        0a: TransactionEnd#4 T -> OK|
          0 <- /a/x t
          0 <- /a/x/deep u
        """);

    [Fact]
    public void A_watch_is_known_by_path_and_token_together() => Play("""
        0: Watch /a t -> OK|
          0 <- /a t
        0: Watch /a t -> EEXIST
        0: Watch /a u -> OK|
          0 <- /a u
        0: Unwatch /a v -> ENOENT
        0: Unwatch /a t -> OK|
        0: Write /a 1 -> OK|
          0 <- /a u
        0: ResetWatches -> OK|
        0: Write /a 2 -> OK|
        0: Unwatch /a u -> ENOENT
        """);

    [Fact]
    public void A_reset_ends_transactions_as_well() => Play("""
        0: TransactionStart -> 1|
        0: ResetWatches -> OK|
        0: Read#1 /tool -> ENOENT
        """);

    [Fact]
    public void Events_go_to_those_who_may_read_the_node_before_or_after_or_its_parent() => Play("""
        5: Watch /a t -> OK|
          5 <- /a t
        0: Write /a/b 1 -> OK|
        0: SetPerms /a/b n0 r5 -> OK|
          5 <- /a/b t
        0: Write /a/b 2 -> OK|
          5 <- /a/b t
        0: SetPerms /a/b n0 -> OK|
          5 <- /a/b t
        0: Write /a/b 3 -> OK|
        0: SetPerms /a r0 -> OK|
          5 <- /a t
        0: Write /a/b 4 -> OK|
          5 <- /a/b t
        """);

    [Fact]
    public void Domains_come_and_go() => Play("""
        0: Watch @introduceDomain in -> OK|
          0 <- @introduceDomain in
        0: Watch @releaseDomain out -> OK|
          0 <- @releaseDomain out
        0: IsDomainIntroduced 0 -> T|
        0: IsDomainIntroduced 9 -> F|
        0: GetDomainPath 9 -> /local/domain/9|
        0: Introduce 9 1000 2 -> OK|
          0 <- @introduceDomain in
        0: IsDomainIntroduced 9 -> T|
        0: Introduce 9 1000 2 -> OK|
        0: Resume 9 -> OK|
        0: Release 9 -> OK|
          0 <- @releaseDomain out
        0: Release 9 -> ENOENT
        0: Resume 9 -> ENOENT
        0: Release 0 -> EINVAL
        0: Introduce 9 -> EINVAL
        5: Introduce 9 1000 2 -> EACCES
        5: Release 6 -> EACCES
        5: Resume 6 -> EACCES
        """);

    [Fact]
    public void Guests_hear_of_domains_only_when_dom0_allows_it() => Play("""
        5: Watch @releaseDomain t -> OK|
          5 <- @releaseDomain t
        0: Release 6 -> OK|
        5: SetPerms @releaseDomain n5 -> EACCES
        0: SetPerms @releaseDomain n0 r5 -> OK|
        0: Introduce 6 1000 2 -> OK|
        0: Release 6 -> OK|
          5 <- @releaseDomain t
        """);

    [Fact]
    public void A_released_domain_leaves_neither_nodes_nor_rights() => Play("""
        0: Write /be 1 -> OK|
        0: SetPerms /be n0 r5 r6 -> OK|
        0: Write /fe/state 1 -> OK|
        0: SetPerms /fe/state n5 r0 -> OK|
        0: Release 5 -> OK|
        0: Directory /fe ->
        0: GetPerms /be -> n0|r6|
        """);

    [Fact]
    public void Control_answers_dom0_only() => Play("""
        0: Control check -> OK|
        0: Control print hello -> OK|
        0: Control nonsense -> EINVAL
        0: Control! -> EINVAL
        5: Control check -> EACCES
        """);

    [Fact]
    public void A_long_directory_is_handed_out_in_parts_with_whole_names()
    {
        Play("0: Mkdir /d -> OK|");
        var names = Enumerable.Range(0, 450).Select(i => $"name-{i:d4}").ToArray(); // 10 bytes each with its NUL
        foreach (var name in names)
            Play($"0: Write /d/{name} 1 -> OK|");
        Play("0: Directory /d -> E2BIG");

        var first = Ask("0", XenStoreMessageType.DirectoryPart, 0, Bytes("/d\00\0")).Payload;
        Assert.True(first.Length is <= XenStoreLimits.SentPayload and > XenStoreLimits.SentPayload - 10);
        Assert.True(XenStorePayload.TrySplit(first, out var start));
        var offset = 10 * (start.Count - 1);
        Assert.True(XenStorePayload.TrySplit(Ask("0", XenStoreMessageType.DirectoryPart, 0, Bytes($"/d\0{offset}\0")).Payload, out var end));
        Assert.Equal(start[0], end[0]);
        Assert.Equal(names.Append(""), start.Skip(1).Concat(end.Skip(1)));
        Assert.True(XenStorePayload.TrySplit(Ask("0", XenStoreMessageType.DirectoryPart, 0, Bytes("/d\099999\0")).Payload, out var behind));
        Assert.Equal([start[0], ""], behind);
    }

    [Fact]
    public void Quotas_bind_guests_and_not_dom0()
    {
        Play("""
            0: Mkdir /g -> OK|
            0: SetPerms /g n5 -> OK|
            """);
        var atLimit = new string('x', StoreQuota.NodeSize);
        Play($"5: Write /g/big {atLimit} -> OK|");
        Play($"5: Write /g/big {atLimit}x -> ENOSPC");
        Play($"0: Write /g/big {atLimit}x -> OK|");
        Play("5: SetPerms /g n5 r1 r2 r3 r4 -> OK|");
        Play("5: SetPerms /g n5 r1 r2 r3 r4 r6 -> ENOSPC");
        for (var i = 1; i <= StoreQuota.Transactions; i++)
            Play($"5: TransactionStart -> {i}|");
        Play("5: TransactionStart -> ENOSPC");
        for (var i = 0; i < StoreQuota.Watches; i++)
            Play($"5: Watch /w {i} -> OK|\n 5 <- /w {i}");
        Play("5: Watch /w more -> E2BIG");
    }

    [Fact]
    public void A_guest_owns_at_most_its_quota_of_nodes()
    {
        Play("""
            0: Mkdir /g -> OK|
            0: SetPerms /g n5 -> OK|
            """);
        // Spread over directories, for a directory of a guest cannot hold this many names.
        for (var owned = 1; owned < StoreQuota.NodesPerDomain; owned++)
            Play(owned % 100 == 1 ? $"5: Mkdir /g/{owned / 100} -> OK|" : $"5: Mkdir /g/{owned / 100}/{owned} -> OK|");
        Play("5: Mkdir /g/more -> ENOSPC");
        Play("5: Write /g/0 changing-is-free -> OK|");
        Play("0: Mkdir /g/more -> OK|");
    }

    private void Play(string transcript)
    {
        var lines = transcript.Split('\n').Select(line => line.TrimEnd()).ToArray();
        for (var i = 0; i < lines.Length;)
        {
            var request = lines[i++];
            var expected = new List<string>();
            while (i < lines.Length && lines[i].StartsWith(' '))
                expected.Add(lines[i++].Trim());
            var halves = request.Split(" ->", 2);
            Assert.Equal(request, halves[0] + Answer(halves[0]));
            Assert.Equal(expected, _events);
            _events.Clear();
        }
    }

    /// <summary>" -> answer" to "who: TYPE[#transaction][!] arguments"; "!" leaves out the last NUL.</summary>
    private string Answer(string request)
    {
        var words = request.Split(' ', StringSplitOptions.RemoveEmptyEntries);
        var isCut = words[1].EndsWith('!');
        var typeAndTransaction = words[1].TrimEnd('!').Split('#');
        var type = Enum.Parse<XenStoreMessageType>(typeAndTransaction[0]);
        var payload = string.Join('\0', words[2..]);
        if (type != XenStoreMessageType.Write && !isCut)
            payload += "\0";
        var reply = Ask(words[0].TrimEnd(':'), type, typeAndTransaction is [_, var id] ? uint.Parse(id) : 0, Bytes(payload));
        var answer = reply.ErrorName ?? XenStorePayload.Text(reply.Payload).Replace('\0', '|');
        return answer == "" ? " ->" : " -> " + answer;
    }

    private StoreReply Ask(string who, XenStoreMessageType type, uint transactionId, byte[] payload)
    {
        if (!_clients.TryGetValue(who, out var client))
        {
            client = new StoreClient(int.Parse(who.TrimEnd('a', 'b')), (path, token) => _events.Add($"{who} <- {path} {token}"));
            _clients.Add(who, client);
            _core.Add(client);
        }
        var reply = _core.Handle(client, new(type, 1, transactionId, (uint)payload.Length), payload);
        if (reply.FirstEvent is { } watch)
            client.Send(watch.Given, watch.Token);
        return reply;
    }

    private static byte[] Bytes(string text) => Encoding.Latin1.GetBytes(text);
}
