using XenPciBack.Lab.Machine;

namespace XenPciBack.Lab.Churn;

/// <summary>What xl is asked to do with devices and guests, again and again. Each xl is timed, from its start to its end.</summary>
internal static class Cycles
{
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(5);

    /// <summary>Functions of bash. The state is read when xl has ended: what comes after that is not xl's time.</summary>
    internal const string Functions = """
        now() { echo $(( $(date +%s%N) / 1000000 )); }
        timed() {
            local what=$1 began=$(now); shift
            "$@" > /run/said.$what 2>&1 || { echo "$* failed:"; cat /run/said.$what; exit 1; }
            echo $what $(( $(now) - began ))
        }
        waits() {
            local what=$1 began=$SECONDS; shift
            until eval "$@"; do
                [ $(( SECONDS - began )) -lt 120 ] || { echo "waited 120 s for $what: $*"; xenstore-ls -f | grep /pci; exit 1; }
                sleep 0.1
            done
        }
        state() { xenstore-read /local/domain/0/backend/pci/$1/0/state 2> /dev/null; }

        """;

    /// <summary>Attaches a device to a guest that runs and takes it away again, without a pause in between.</summary>
    /// <returns>"attach" and "detach" with their times, a line each.</returns>
    public static Task<string> HotPlugAsync(DomainZero dom0, Guest guest, string device, int cycles) => dom0.RunAsync($"""
        {Functions}
        for cycle in $(seq {cycles}); do
            timed attach xl pci-attach {guest.Name} {device}
            waits 'the device to be there' '[ "$(state {guest.DomainId})" = 4 ]'
            xl pci-list {guest.Name} | grep -q {device} || {"{"} echo 'xl does not list it'; exit 1; {"}"}
            timed detach xl pci-detach {guest.Name} {device}
            waits 'the device to be gone' '[ "$(state {guest.DomainId})" = 4 ]'
        done
        """, Patience + cycles * TimeSpan.FromMinutes(1));

    /// <summary>Creates the guests whose configuration has been written, with on_crash and on_reboot = "restart".</summary>
    public static Task<string> CreateAsync(DomainZero dom0, params IEnumerable<string> guests) => dom0.RunAsync($"""
        {Functions}
        for guest in {string.Join(' ', guests)}; do
            timed create xl create /run/$guest.cfg
            waits "guest $guest to be connected" '[ "$(state $(xl domid $guest))" = 4 ]'
        done
        """, Patience);

    /// <summary>
    /// One guest is destroyed and created, one reboots, and one crashes and is restarted, all at the same time; then all are connected
    /// again. A reboot and a crash count from the command to when nothing is left of the old domain, the guest's own part with it.
    /// </summary>
    /// <returns>"destroy", "create", "reboot" and "crash" with their times, a line each.</returns>
    public static Task<string> EndAsync(DomainZero dom0, string destroyed, string rebooted, string crashed) => dom0.RunAsync($$"""
        {{Functions}}
        ends() { # WHAT GUEST COMMAND...
            local what=$1 guest=$2 old=$(xl domid $2) began=$(now); shift 2
            "$@" || exit
            waits "xl to take guest $guest down after its $what" "! xenstore-exists /local/domain/$old"
            echo $what $(( $(now) - began ))
            waits "guest $guest to be connected again" "next=\$(xl domid $guest 2> /dev/null) && [ \"\$(state \$next)\" = 4 ]"
        }
        (
            timed destroy xl destroy {{destroyed}}
            timed create xl create /run/{{destroyed}}.cfg
            waits "guest {{destroyed}} to be connected" '[ "$(state $(xl domid {{destroyed}}))" = 4 ]'
        ) > /run/cycle.destroyed 2>&1 & destroyed=$!
        (ends reboot {{rebooted}} xl reboot {{rebooted}}) > /run/cycle.rebooted 2>&1 & rebooted=$!
        (ends crash {{crashed}} xl sysrq {{crashed}} c) > /run/cycle.crashed 2>&1 & crashed=$!
        failed=0
        for job in $destroyed $rebooted $crashed; do wait $job || failed=1; done
        cat /run/cycle.*
        exit $failed
        """, Patience);
}
