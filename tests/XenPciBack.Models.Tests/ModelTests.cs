using System.Reflection;
using Xunit.Abstractions;

namespace XenPciBack.Models.Tests;

/// <summary>All states of the models in tests/models are searched, with every step and with one left out.</summary>
public class ModelTests(ITestOutputHelper output)
{
    private const string
        Answered = Spin.EveryRequestIsAnswered,
        ServedOnce = "each request is served at most once",
        RightAnswer = "no answer is taken for that of another request",
        RoomInRing = "the ring does not overflow",
        OneServer = "never two daemons answer one guest",
        OneAtDevice = "never two daemons access one device",
        DoneOnce = "what was done is done once, and on record",
        AnswerIsTrue = "what was answered is so",
        NotRefused = "no request is refused because a daemon before has done it already",
        Crashed = "the guest is crashed if its device has failed",
        Quarantined = "the device of a crashed guest is in quarantine",
        NotGivenAgain = "no guest gets the device",
        Finished = "what is on record is finished";

    /// <summary>Switches with which everything still holds, with what they show.</summary>
    public static TheoryData<string, string> Variants => new()
    {
        { "request", "" },
        { "request", "TODAYS_LOOP" },
        // These two cost events and system calls, and never a request: the kernel keeps an event behind the mask.
        { "request", "NO_LOOK_AGAIN" },
        { "request", "UNMASK_FIRST" },
        { "handover", "" },
        // The lock alone keeps two daemons apart; the port alone does not.
        { "handover", "PORT_OF_MANY" },
        { "handover", "ANOTHER_GUEST_HANGS DESCRIPTORS_OF_ITS_OWN" },
        { "crash", "" },
    };

    /// <summary>Steps left out, and the property that each of them breaks.</summary>
    public static TheoryData<string, string, string> StepsLeftOut => new()
    {
        { "request", "NOTIFY_FIRST", Answered },
        { "request", "NO_NOTIFY", Answered },
        { "request", "NO_UNMASK", Answered },
        { "request", "UNMASK_ONLY_AFTER_ANSWER", Answered },
        { "request", "ACKNOWLEDGE_AT_UNMASK", Answered },
        { "request", "NO_LOOK_AT_MAILBOX", Answered },
        { "request", "POST_AFTER_WAKE", Answered },
        { "request", "NO_UNMASK_OF_WAKE", Answered },
        { "request", "NO_REQUEST_IN_HAND", ServedOnce },
        { "request", "FLAG_FIRST", RightAnswer },
        { "request", "NO_CHECK", RightAnswer },
        { "request", "CHECK_LATE_ANSWERS_ONLY", RightAnswer },
        { "request", "NO_MASK", RoomInRing },
        // Limits that the shared page sets.
        { "request", "GIVES_UP_AT_ANY_MOMENT", RightAnswer },
        { "request", "SAME_QUESTION_IS_ANOTHER", $"{RightAnswer} that asks for the same" },

        { "handover", "NO_LOCK", DoneOnce },
        { "handover", "NO_LOCK PORT_OF_MANY", OneServer },
        { "handover", "UNLOCK_FIRST", AnswerIsTrue },
        { "handover", "CLEAN_UP_AT_ONCE", OneAtDevice },
        { "handover", "NO_BIND_RETRY", Answered },
        { "handover", "NO_EVENT_AT_BIND", Answered },
        { "handover", "NO_NOTIFY_AT_CONNECT", Answered },
        { "handover", "NO_TAKE_UP", NotRefused },
        { "handover", "NO_RECORD", DoneOnce },
        // Limits.
        { "handover", "KILLED_BEFORE_STORE", DoneOnce },
        { "handover", "ANOTHER_GUEST_HANGS", Answered },

        { "crash", "NO_INTENT_RECORD", NotGivenAgain },
        { "crash", "NO_FINISH", Finished },
        { "crash", "WAIT_FOR_RECORD", Crashed },
        { "crash", "CRASH_BEHIND_ACCESS", Crashed },
        { "crash", "STOP_FIRST", Crashed },
        { "crash", "TOLD_FIRST", NotGivenAgain },
        { "crash", "INTENT_REMOVED_FIRST", NotGivenAgain },
        { "crash", "GIVE_BACK_FIRST", NotGivenAgain },
        { "crash", "GIVE_BEFORE_FEED", NotGivenAgain },
        { "crash", "NO_RETRY", Quarantined },
        // A limit: a loss that only this daemon has seen, no record of it can be written, and the daemon is killed.
        { "crash", "RECORDS_FAIL_FOR_WHAT_ONE_DAEMON_SAW", NotGivenAgain },
    };

    [SpinTheory]
    [MemberData(nameof(Variants))]
    public async Task Every_property_holds_in_every_state(string model, string switches)
    {
        var found = await Spin.SearchAsync(Model.Named(model), Split(switches), expected: null);
        output.WriteLine($"{model} {switches}: {found.States} states, all properties hold");
        Assert.True(found.Broken is null, $"{found.Broken}: not so, after\n{string.Join('\n', found.CounterExample)}");
    }

    [SpinTheory]
    [MemberData(nameof(StepsLeftOut))]
    public async Task A_step_left_out_breaks_a_property(string model, string switches, string property)
    {
        var found = await Spin.SearchAsync(Model.Named(model), Split(switches), property);
        output.WriteLine($"{model} {switches}: {found.States} states, broken: {found.Broken ?? "nothing"}");
        foreach (var step in found.CounterExample) output.WriteLine(step);
        Assert.Equal(property, found.Broken);
    }

    [Fact]
    public void Every_switch_of_a_model_is_tried()
    {
        var tried = Variants.Concat<object[]>(StepsLeftOut)
            .SelectMany(row => Split((string)row[1]).Select(name => $"{row[0]} {name}"));
        var offered = Model.All.SelectMany(model => model.Switches.Select(name => $"{model.Name} {name}"));
        Assert.Equal(offered.Order(), tried.Distinct().Order());
    }

    [Fact]
    public void Every_method_that_a_model_names_exists()
    {
        var named = Model.All.SelectMany(model => model.Members).ToList();
        Assert.NotEmpty(named);
        Assert.DoesNotContain(named, name => !Exists(name));
    }

    private static bool Exists(string typeAndMember)
    {
        var (type, member) = typeAndMember.Split('.') is [var first, var second] ? (first, second) : default;
        return Sources.Where(candidate => candidate.Name == type).Any(candidate => candidate.GetMember(member,
            BindingFlags.Public | BindingFlags.NonPublic | BindingFlags.Instance | BindingFlags.Static).Length > 0);
    }

    /// <summary>The types of src/.</summary>
    private static readonly IReadOnlyList<Type> Sources =
    [
        .. new DirectoryInfo(AppContext.BaseDirectory).GetFiles("XenPciBack.*.dll")
            .Where(file => !file.Name.Contains("Test")).Select(file => file.FullName)
            .Append($"{AppContext.BaseDirectory}/xenpciback.dll")
            .SelectMany(file => Assembly.LoadFrom(file).GetTypes()),
    ];

    private static string[] Split(string switches) => switches.Split(' ', StringSplitOptions.RemoveEmptyEntries);
}
