using System.Collections.Immutable;
using XenPciBack.Backend.Errors;
using XenPciBack.Backend.Guests;
using XenPciBack.Backend.Supervision;
using XenPciBack.Protocol;
using XenPciBack.Protocol.Aer;
using Xunit.Abstractions;
using DeviceOfGuest = XenPciBack.Backend.BackendEvents.DeviceOfGuest;

namespace XenPciBack.Backend.Tests;

/// <summary>What the ledger decides, without an actor, a host or a clock.</summary>
public class GuestLedgerTests(ITestOutputHelper output)
{
    private static readonly BackendDirectory Web = new(DomainId.Zero, new DomainId(1), 0),
        Lab = new(DomainId.Zero, new DomainId(2), 0);
    private static readonly HostBdf Port = HostBdf.Parse("0000:00:1c.0");

    private readonly List<LedgerEffect> _effects = [];
    private GuestLedger _ledger = GuestLedger.Empty;

    /// <summary>The effects of the last input.</summary>
    private LedgerEffect[] On(LedgerInput input)
    {
        (_ledger, var effects) = _ledger.On(input);
        _effects.AddRange(effects);
        return [.. effects];
    }

    private LedgerEffect[] List(params BackendDirectory[] directories) => On(new LedgerInput.Listed(
        [.. directories.Select(
            directory => new LedgerInput.FoundDirectory(directory, Vm(directory), DirectoryOwner.Nobody))],
        LedgerInput.Listed.NoneUnclaimed));

    private LedgerEffect[] ListUnclaimed(GuestLife life) => On(new LedgerInput.Listed(
        [], LedgerInput.Listed.NoneUnclaimed.Add(new(Web.Guest, Nic), life)));

    private LedgerEffect[] Meet(
        BackendDirectory guest, HostBdf device, AerResponse response = AerResponse.Kill,
            AerSeverity severity = AerSeverity.Fatal,
        HostBdf? source = null)
    {
        On(new LedgerInput.ErrorMet(source ?? device, 1));
        var act =
            new AerMonitor.Act(guest.Guest, device, severity, $"{severity}", response) { Source = source ?? device };
        return On(new LedgerInput.DeviceError(act, default, "a test"));
    }

    private LedgerEffect[] Tried(LedgerEffect[] effects, string? fault = null) =>
        On(new LedgerInput.Tried(effects.OfType<LedgerEffect.Try>().Single(), fault));

    private LedgerEffect[] Fail(BackendDirectory guest, TimeSpan at)
    {
        On(new LedgerInput.ActorEnds(guest, GuestStage.Serving, "a bug"));
        return On(new LedgerInput.ActorEnded(guest, at));
    }

    private static string Vm(BackendDirectory directory) => $"/vm/{directory.Guest}";

    private static Type[] Kinds(LedgerEffect[] effects) => [.. effects.Select(effect => effect.GetType())];

    // ---- Directories and actors -------------------------------------------------------------------------------------

    [Fact]
    public void Each_directory_is_served_once()
    {
        Assert.Equal([Web], List(Web).OfType<LedgerEffect.Serve>().Select(serve => serve.Directory));
        Assert.Equal([Lab], List(Web, Lab).OfType<LedgerEffect.Serve>().Select(serve => serve.Directory));
        Assert.Empty(List(Web, Lab));
    }

    [Fact]
    public void A_directory_of_the_kernels_is_left_to_it_until_it_is_gone()
    {
        var kernels = new LedgerInput.Listed(
            [new LedgerInput.FoundDirectory(Web, null, DirectoryOwner.Kernel)], LedgerInput.Listed.NoneUnclaimed);
        Assert.Equal([new LedgerEffect.SayLeftToKernel(Web)], On(kernels));
        Assert.Empty(List(Web));
        Assert.Empty(List());
        Assert.IsType<LedgerEffect.Serve>(Assert.Single(List(Web)));
    }

    [Fact]
    public void A_guest_whose_actor_has_finished_is_gone_and_the_directories_are_read_again()
    {
        List(Web);
        On(new LedgerInput.ActorEnds(Web, GuestStage.Finishing));
        Assert.Equal(
            [new LedgerEffect.SayGone(Web), new LedgerEffect.Look()], On(new LedgerInput.ActorEnded(Web, default)));
        Assert.Empty(_ledger.Guests);
    }

    [Fact]
    public void An_actor_that_starts_over_is_followed_by_one_that_reads_the_directory_again()
    {
        List(Web);
        Meet(Web, Nic, AerResponse.RecoverThenKill);
        On(new LedgerInput.ActorEnds(Web, GuestStage.StartingOver));
        var serve = Assert.IsType<LedgerEffect.Serve>(Assert.Single(On(new LedgerInput.ActorEnded(Web, default))));
        Assert.Equal([Nic], serve.Errors.Select(error => error.Device));
    }

    [Fact]
    public void A_guest_whose_actors_fail_too_often_within_the_window_is_left_alone_until_its_directory_is_gone()
    {
        List(Web);
        for (var i = 1; i < FailureTable.MostFailures; i++)
            Assert.Equal(
                [typeof(LedgerEffect.SayReplaced), typeof(LedgerEffect.Serve)], Kinds(Fail(Web, TimeSpan.Zero)));
        Assert.Equal([new LedgerEffect.SayAbandoned(Web, "a bug")], Fail(Web, FailureTable.FailureWindow));
        Assert.Empty(_ledger.Served);
        Assert.Empty(List(Web));
        List();
        Assert.IsType<LedgerEffect.Serve>(Assert.Single(List(Web)));
    }

    [Fact]
    public void Failures_of_longer_ago_than_the_window_do_not_count()
    {
        List(Web);
        for (var i = 0; i < 3 * FailureTable.MostFailures; i++)
            Assert.Contains(typeof(LedgerEffect.Serve), Kinds(Fail(Web, i * FailureTable.FailureWindow)));
    }

    [Fact]
    public void A_daemon_that_takes_over_tries_again_with_guests_that_were_left_alone()
    {
        List(Web);
        for (var i = 0; i < FailureTable.MostFailures; i++) Fail(Web, TimeSpan.Zero);
        On(new LedgerInput.TookOver());
        Assert.IsType<LedgerEffect.Serve>(Assert.Single(List(Web)));
    }

    // ---- Lost devices -----------------------------------------------------------------------------------------------

    [Fact]
    public void A_lost_device_is_held_and_its_guest_crashed_before_anybody_else_is_told()
    {
        List(Web, Lab);
        var effects = Meet(Web, Nic);
        Assert.Equal(
            [typeof(LedgerEffect.Hold), typeof(LedgerEffect.Try), typeof(LedgerEffect.SayLost)], Kinds(effects));
        var attempt = effects.OfType<LedgerEffect.Try>().Single();
        Assert.Equal((Remedy.Crash, Web.Guest, Vm(Web)), (attempt.Remedy, attempt.Loss.Guest, attempt.Loss.Vm));
        Assert.Equal(
            [typeof(LedgerEffect.SayQuarantined), typeof(LedgerEffect.ErrorsHandled), typeof(LedgerEffect.TellLost)],
            Kinds(Tried(effects)));
    }

    [Fact]
    public void A_quarantine_that_cannot_be_recorded_is_tried_again_without_a_second_crash_and_nothing_is_told_before()
    {
        List(Web);
        var failed = Tried(Meet(Web, Nic), "no space");
        Assert.Equal([typeof(LedgerEffect.SayQuarantined), typeof(LedgerEffect.TryLater)], Kinds(failed));
        var again = failed.OfType<LedgerEffect.TryLater>().Single().Attempt;
        Assert.Equal((Remedy.Intend, 2), (again.Remedy, again.Number));
        Assert.Contains(new LedgerEffect.TellLost(new(Web.Guest, Nic)), On(new LedgerInput.Tried(again, null)));
    }

    [Fact]
    public void A_storm_of_errors_is_one_crash_and_is_handled_with_it()
    {
        List(Web);
        var first = Meet(Web, Nic);
        for (var i = 0; i < 100; i++) Assert.Empty(Meet(Web, Nic));
        Assert.Contains(new LedgerEffect.ErrorsHandled(Nic, 101), Tried(first));
        Assert.Equal([new LedgerEffect.ErrorsHandled(Nic, 1)], Meet(Web, Nic));
    }

    [Fact]
    public void A_second_device_of_a_guest_that_is_being_crashed_goes_into_quarantine_and_crashes_nobody()
    {
        List(Web);
        Meet(Web, Nic, source: Port);
        var second = Meet(Web, Edu, source: Port);
        Assert.Equal(Remedy.Intend, second.OfType<LedgerEffect.Try>().Single().Remedy);
        Assert.Empty(_effects.OfType<LedgerEffect.ErrorsHandled>());
        foreach (var attempt in _effects.OfType<LedgerEffect.Try>().ToList()) On(new LedgerInput.Tried(attempt, null));
        Assert.Equal([new LedgerEffect.ErrorsHandled(Port, 2)], _effects.OfType<LedgerEffect.ErrorsHandled>());
    }

    [Fact]
    public void What_a_guests_driver_has_not_brought_back_is_lost_with_its_guest()
    {
        List(Web);
        Meet(Web, Edu, AerResponse.RecoverThenKill);
        var lost = Meet(Web, Nic).OfType<LedgerEffect.Try>();
        Assert.Equal(
            [(Nic, Remedy.Crash), (Edu, Remedy.Intend)], lost.Select(attempt => (attempt.Loss.Device, attempt.Remedy)));
    }

    [Fact]
    public void A_recovery_is_told_to_the_guests_actor_and_again_when_the_error_is_worse()
    {
        List(Web);
        const AerResponse recover = AerResponse.RecoverThenKill;
        Assert.Equal([typeof(LedgerEffect.TellError)], Kinds(Meet(Web, Nic, recover, AerSeverity.NonFatal)));
        Assert.Empty(Meet(Web, Nic, recover, AerSeverity.NonFatal));
        Assert.Equal([typeof(LedgerEffect.TellError)], Kinds(Meet(Web, Nic, recover, AerSeverity.Fatal)));
        Assert.Equal(
            [new LedgerEffect.ErrorsHandled(Nic, 3)], On(new LedgerInput.ErrorSettled(new(Web.Guest, Nic))));
    }

    [Fact]
    public void A_recovery_that_fails_crashes_the_guest_and_the_error_is_handled_with_that()
    {
        List(Web);
        Meet(Web, Nic, AerResponse.RecoverThenKill);
        var lost = On(new LedgerInput.DeviceLost(new(Web.Guest, Nic), "no handlers", default, "a test"));
        Assert.Equal(Remedy.Crash, lost.OfType<LedgerEffect.Try>().Single().Remedy);
        Assert.Empty(_effects.OfType<LedgerEffect.ErrorsHandled>());
        Assert.Contains(new LedgerEffect.ErrorsHandled(Nic, 1), Tried(lost));
    }

    [Fact]
    public void A_detached_device_is_handled_when_it_is_both_detached_and_in_quarantine()
    {
        List(Web);
        var effects = Meet(Web, Nic, AerResponse.Detach);
        Assert.Equal(Remedy.Quarantine, effects.OfType<LedgerEffect.Try>().Single().Remedy);
        Assert.Contains(new LedgerEffect.Detach(new(Web.Guest, Nic)), effects);
        Assert.DoesNotContain(typeof(LedgerEffect.ErrorsHandled), Kinds(Tried(effects)));
        Assert.Contains(
            new LedgerEffect.ErrorsHandled(Nic, 1), On(new LedgerInput.DetachEnded(new(Web.Guest, Nic), null)));
        Assert.Empty(_effects.OfType<LedgerEffect.TellLost>());
    }

    [Fact]
    public void A_device_that_is_lost_for_good_while_it_is_detached_crashes_its_guest()
    {
        List(Web);
        var detach = Meet(Web, Nic, AerResponse.Detach);
        var lost = Meet(Web, Nic);
        Assert.Equal(Remedy.Crash, lost.OfType<LedgerEffect.Try>().Single().Remedy);
        Assert.DoesNotContain(typeof(LedgerEffect.TellLost), Kinds(Tried(detach)));
        Assert.Contains(new LedgerEffect.ErrorsHandled(Nic, 2), Tried(lost));
    }

    [Fact]
    public void A_report_is_told_and_handled_at_once()
    {
        List(Web);
        Assert.Equal(
            [typeof(LedgerEffect.TellError), typeof(LedgerEffect.ErrorsHandled)],
                Kinds(Meet(Web, Nic, AerResponse.Report)));
    }

    [Fact]
    public void An_error_of_a_guest_that_is_gone_is_handled_and_nothing_is_done()
    {
        Assert.Equal([new LedgerEffect.ErrorsHandled(Nic, 1)], Meet(Web, Nic));
        Assert.Empty(_ledger.Lost);
    }

    [Fact]
    public void The_next_actor_of_a_guest_is_told_what_is_lost_and_what_is_not_settled()
    {
        List(Web);
        Meet(Web, Edu, AerResponse.RecoverThenKill);
        var serve = Fail(Web, TimeSpan.Zero).OfType<LedgerEffect.Serve>().Single();
        Assert.Equal([Edu], serve.Errors.Select(error => error.Device));
        Assert.Empty(serve.Lost);
        Meet(Web, Nic);
        serve = Fail(Web, TimeSpan.Zero).OfType<LedgerEffect.Serve>().Single();
        Assert.Empty(serve.Errors);
        Assert.Equal([Nic, Edu], serve.Lost.OrderBy(device => device.Bus));
    }

    [Fact]
    public void A_loss_is_kept_until_its_guest_is_gone_and_it_is_on_record()
    {
        List(Web);
        var lost = Meet(Web, Nic);
        On(new LedgerInput.ActorEnds(Web, GuestStage.Finishing));
        On(new LedgerInput.ActorEnded(Web, default));
        List();
        Assert.Single(_ledger.Lost);
        Tried(lost);
        List();
        Assert.Empty(_ledger.Lost);
    }

    // ---- What a daemon before this one has left ---------------------------------------------------------------------

    [Theory]
    [InlineData("/vm/1", true), InlineData(null, true), InlineData("/vm/of-another", false)]
    public void A_loss_on_record_crashes_the_guest_that_it_names_and_no_other(string? vm, bool isOfGuest)
    {
        var found = On(new LedgerInput.LossFound(new Loss(Web.Guest, "/vm/1", Nic, default, "fatal"), vm));
        Assert.Equal(isOfGuest ? Remedy.Crash : Remedy.Intend, found.OfType<LedgerEffect.Try>().Single().Remedy);
        var serve = List(Web).OfType<LedgerEffect.Serve>().Single();
        Assert.Equal(isOfGuest ? [Nic] : Array.Empty<HostBdf>(), serve.Lost);
    }

    [Fact]
    public void A_device_without_a_guest_is_taken_back_once_the_errors_of_before_are_known()
    {
        Assert.Empty(ListUnclaimed(GuestLife.Ended));
        Assert.Equal([new LedgerEffect.TakeBack(new(Web.Guest, Nic))], On(new LedgerInput.ErrorsKnown()));
        Assert.Empty(ListUnclaimed(GuestLife.Ended));
        On(new LedgerInput.TakenBack(new(Web.Guest, Nic), null, null));
        Assert.Equal([new LedgerEffect.TakeBack(new(Web.Guest, Nic))], ListUnclaimed(GuestLife.Ended));
    }

    [Fact]
    public void An_error_of_before_puts_a_device_without_a_guest_into_quarantine_before_it_is_taken_back()
    {
        ListUnclaimed(GuestLife.Ended);
        var lost = Meet(Web, Nic);
        Assert.Equal(Remedy.Quarantine, lost.OfType<LedgerEffect.Try>().Single().Remedy);
        Assert.Empty(On(new LedgerInput.ErrorsKnown()));
        Assert.Contains(new LedgerEffect.TakeBack(new(Web.Guest, Nic)), Tried(lost));
    }

    [Fact]
    public void A_guest_that_runs_without_a_connection_keeps_its_devices_and_is_said_once()
    {
        On(new LedgerInput.ErrorsKnown());
        Assert.Equal(
            [typeof(LedgerEffect.SayForgotten), typeof(LedgerEffect.LookLater)],
                Kinds(ListUnclaimed(GuestLife.Running)));
        Assert.Equal([typeof(LedgerEffect.LookLater)], Kinds(ListUnclaimed(GuestLife.Running)));
    }

    [Fact]
    public void A_lost_device_that_no_actor_has_open_is_taken_back_once_the_loss_is_on_record()
    {
        List(Web);
        var lost = Meet(Web, Nic);
        var closed = new LedgerInput.DeviceClosed(new(Web.Guest, Nic));
        Assert.Empty(On(closed));
        Tried(lost);
        Assert.Equal([new LedgerEffect.TakeBack(new(Web.Guest, Nic))], On(closed));
        Assert.Empty(On(closed));
    }

    // ---- Any sequence -----------------------------------------------------------------------------------------------

    [Fact]
    public void Whatever_happens_every_error_is_handled_once_and_a_lost_device_is_released_only_when_it_is_on_record()
    {
        var seed = int.TryParse(Environment.GetEnvironmentVariable("LEDGER_SEED"), out var given) ? given
            : Random.Shared.Next();
        output.WriteLine($"LEDGER_SEED={seed}");
        var random = new Random(seed);
        for (var run = 0; run < 300; run++) new AnySequence(random, $"LEDGER_SEED={seed}, run {run}").Run();
    }

    /// <summary>A supervisor that performs effects in any order, and a host on which anything happens.</summary>
    private sealed class AnySequence(Random random, string which)
    {
        private static readonly BackendDirectory[] Guests = [Web, Lab];
        private static readonly HostBdf[] Devices = [Nic, Edu];

        private readonly List<LedgerEffect.Try> _tries = [];
        private readonly List<LedgerInput.DetachEnded> _detaches = [];
        private readonly HashSet<BackendDirectory> _actors = [];
        private readonly HashSet<DeviceOfGuest> _recorded = [];
        private readonly Dictionary<DomainId, int> _crashes = [];
        private GuestLedger _ledger = GuestLedger.Empty;
        private int _met, _handled;

        public void Run()
        {
            for (var step = 0; step < 60; step++)
            {
                Step();
                Assert.True(
                    _actors.SetEquals(_ledger.Served.Select(guest => guest.Directory)), $"{which}: who is served");
            }
            // In the end everything that was begun comes to its end.
            while (_tries.Count > 0) On(new LedgerInput.Tried(Take(_tries), null));
            while (_detaches.Count > 0) On(Take(_detaches));
            foreach (var guest in Guests)
                foreach (var device in Devices)
                    On(new LedgerInput.ErrorSettled(new(guest.Guest, device)));
            Assert.True(_met == _handled, $"{which}: {_met} errors were met, {_handled} handled");
            Assert.All(
                _crashes, crashes =>
                Assert.True(crashes.Value == 1, $"{which}: guest {crashes.Key} was crashed {crashes.Value} times"));
        }

        private void Step()
        {
            var (guest, device) = (Guests[random.Next(2)], Devices[random.Next(2)]);
            switch (random.Next(9))
            {
                case 0:
                    var listed = Guests.Where(_ => random.Next(4) > 0).ToList();
                    // The next guest with that id is another one.
                    foreach (var gone in Guests.Except(listed).Where(gone => !_actors.Contains(gone))) _crashes.Remove(
                        gone.Guest);
                    On(new LedgerInput.Listed(
                        [.. listed.Select(one => new LedgerInput.FoundDirectory(one, Vm(one), DirectoryOwner.Nobody))],
                        LedgerInput.Listed.NoneUnclaimed));
                    break;
                case 1 or 2:
                    _met++;
                    On(new LedgerInput.ErrorMet(Port, 2));
                    foreach (var one in Devices)
                    {
                        var (severity, response) = ((AerSeverity)random.Next(3), (AerResponse)random.Next(4));
                        var act = new AerMonitor.Act(guest.Guest, one, severity, "", response) { Source = Port };
                        On(new LedgerInput.DeviceError(act, default, ""));
                    }
                    break;
                case 3:
                    On(new LedgerInput.DeviceLost(new(guest.Guest, device), "", default, ""));
                    break;
                case 4:
                    On(new LedgerInput.ErrorSettled(new(guest.Guest, device)));
                    break;
                case 5 when _tries.Count > 0:
                    On(new LedgerInput.Tried(Take(_tries), random.Next(3) == 0 ? "no space" : null));
                    break;
                case 6 when _detaches.Count > 0:
                    On(Take(_detaches));
                    break;
                case 7 when _actors.Remove(guest):
                    var stages = (GuestStage[])[GuestStage.Serving, GuestStage.StartingOver];
                    On(new LedgerInput.ActorEnds(guest, stages[random.Next(2)], "a bug"));
                    On(new LedgerInput.ActorEnded(guest, default));
                    break;
                case 8:
                    On(new LedgerInput.DeviceClosed(new(guest.Guest, device)));
                    break;
            }
        }

        private T Take<T>(List<T> from)
        {
            var taken = from[random.Next(from.Count)];
            from.Remove(taken);
            return taken;
        }

        private void On(LedgerInput input)
        {
            if (input is LedgerInput.Tried { Fault: null } tried && tried.Attempt.Remedy != Remedy.Quarantine)
                _recorded.Add(new(tried.Attempt.Loss.Guest, tried.Attempt.Loss.Device));
            (_ledger, var effects) = _ledger.On(input);
            foreach (var effect in effects) Perform(effect);
        }

        private void Perform(LedgerEffect effect)
        {
            switch (effect)
            {
                case LedgerEffect.Serve serve:
                    Assert.True(_actors.Add(serve.Directory), $"{which}: {serve.Directory} is served twice");
                    break;
                case LedgerEffect.Try attempt:
                    _tries.Add(attempt);
                    if (attempt.Remedy == Remedy.Crash) _crashes[attempt.Loss.Guest] =
                        _crashes.GetValueOrDefault(attempt.Loss.Guest) + 1;
                    break;
                case LedgerEffect.TryLater later:
                    _tries.Add(later.Attempt);
                    break;
                case LedgerEffect.Detach detach:
                    _detaches.Add(new(detach.Device, null));
                    break;
                case LedgerEffect.TellLost(var device):
                    Assert.True(
                        _recorded.Contains(device), $"{which}: {device} is released before its loss is on record");
                    break;
                case LedgerEffect.TakeBack(var device):
                    Assert.True(
                        _recorded.Contains(device), $"{which}: {device} is taken back before its loss is on record");
                    On(new LedgerInput.TakenBack(device, null, null));
                    break;
                case LedgerEffect.TellError tell:
                    Assert.True(
                        _actors.Contains(tell.Directory),
                        $"{which}: {tell.Directory} has no actor to tell of an error");
                    break;
                case LedgerEffect.ErrorsHandled(_, var errors):
                    _handled += errors;
                    break;
            }
        }
    }
}
