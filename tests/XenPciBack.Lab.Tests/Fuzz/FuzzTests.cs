using XenPciBack.Lab.Fuzz;
using XenPciBack.Protocol.ConfigSpace;

namespace XenPciBack.Lab.Tests.Fuzz;

public class FuzzTests
{
    private static readonly byte[] Config = MakeConfig();

    private static IReadOnlyList<FuzzOperation> Sequence(int seed, bool permissive = false) => FuzzSequence.Create(seed, 2000, Config, permissive, (0, 0, 8));

    [Fact]
    public void The_same_seed_gives_the_same_requests_and_another_one_others()
    {
        Assert.Equal(Sequence(7).Select(op => op.Line), Sequence(7).Select(op => op.Line));
        Assert.NotEqual(Sequence(7).Select(op => op.Line), Sequence(8).Select(op => op.Line));
    }

    [Fact]
    public void Every_kind_of_request_occurs_and_the_whole_config_space_is_read_at_the_end()
    {
        var operations = Sequence(1);
        foreach (var command in (uint[])[0, 1, 2, 3, 4, 5]) Assert.Contains(operations, op => op.Command == command);
        Assert.Contains(operations, op => op.Command > 5);
        Assert.Contains(operations, op => op.DevFn != 8);
        Assert.Contains(operations, op => op.Offset < 0);
        Assert.Equal(Enumerable.Range(0, 64).Select(i => 4 * i), operations.TakeLast(64).Select(op => op.Offset));
    }

    /// <summary>The kernel's backend would write into the config space of another device.</summary>
    [Fact]
    public void Nothing_is_written_before_the_beginning_of_config_space() =>
        Assert.DoesNotContain(Sequence(1, permissive: true), op => op is { Command: FuzzOperation.Write, Offset: < 0 });

    [Fact]
    public void A_disable_of_one_kind_is_always_beside_one_of_the_other()
    {
        var disables = Sequence(3).Index().Where(op => op.Item is { Bus: 0, Command: FuzzOperation.DisableMsi or FuzzOperation.DisableMsix }).Chunk(2).ToList();
        Assert.NotEmpty(disables);
        foreach (var pair in disables)
        {
            Assert.Equal(pair[0].Index + 1, pair[1].Index);
            Assert.NotEqual(pair[0].Item.Command, pair[1].Item.Command);
        }
    }

    [Fact]
    public void A_difference_is_named_with_its_register_and_a_wanted_one_is_counted()
    {
        FuzzOperation[] operations = [new(FuzzOperation.Read, 0, 0, 8, 0x04, 1, 0), new(FuzzOperation.Write, 0, 0, 8, 0x04, 2, 7)];
        var (kernel, daemon) = (Run(new(0, 0x0103, [], false), new(0, 7, [], false)), Run(new(0, 0x03, [], false), new(-3, 7, [], false)));
        var findings = FuzzComparison.Compare(operations, kernel, daemon, new RegisterNames(Config));
        Assert.Equal("1: conf_write 0000:00:01.0 offset 004 size 2 value 7 (Command): kernel err 0 value 7, daemon err -3 value 7", Assert.Single(findings[0].Differences));
        Assert.Equal("1 differ: Bits of a config read above the access width", findings[1].Agreement);
    }

    [Fact]
    public void Every_wanted_difference_stands_in_the_list_of_deviations()
    {
        var root = AppContext.BaseDirectory;
        while (!File.Exists(Path.Combine(root, "XenPciBack.sln"))) root = Path.GetDirectoryName(root)!;
        var listed = File.ReadAllText(Path.Combine(root, "src/DEVIATIONS.md"));
        foreach (var deviation in KnownDeviation.All) Assert.Contains($"| {deviation.Name} |", listed, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("0 55 3 4 changed", 0, 55u, true), InlineData("-22 129", -22, 129u, false)]
    public void An_answer_of_the_guests_frontend_is_read(string line, int error, uint value, bool changed)
    {
        var outcome = FuzzOutcome.Parse(line);
        Assert.Equal((error, value, changed), (outcome.Error, outcome.Value, outcome.FieldsChanged));
    }

    private static FuzzRun Run(params FuzzOutcome[] outcomes) => new() { Outcomes = outcomes, HostConfig = [], HostConfigAfterDestroy = [], BackendNodes = [] };

    private static byte[] MakeConfig()
    {
        var config = new byte[256];
        (config[0x34], config[0x40], config[0x41], config[0x50], config[0x52]) = (0x40, 0x01, 0x50, 0x11, 0x04);
        return config;
    }
}
