/*
 * Crash first: a device of a guest is lost, so the guest must die and no guest may get the device.
 *
 * CrashSequence.Run has the order: intent on record, hypercall, quarantine, intent removed; only then the guest's actors
 * are told and the device is given back. The daemon can be killed KILLS times, at any step; the next daemon starts from
 * what is on record. "In the end" is the moment when nothing can happen any more.
 *
 * What outlives what:
 *   the process   the guest and its state in Xen; the kernel's error counters; the records below /run (intent, device
 *                 record, errors told); the quarantine below /var/lib
 *   the host      the quarantine only. A host that dies takes its guests along, so its death is not modelled.
 * All else is memory of the daemon and dies with it. What xenstore is told of the loss (aerState, error) decides
 * nothing here, and is left out.
 *
 * Taken for granted: the next daemon can start (handover.pml is about that), and /var/lib can be written in the end. A
 * loss that only one daemon has seen, and that it can put on record nowhere before it is killed, is forgotten
 * (RECORDS_FAIL_FOR_WHAT_ONE_DAEMON_SAW).
 */

#define KILLS 2
#define FAILED_WRITES 1             /* of the quarantine, by all daemons together */
#define THREADS 2                   /* of a daemon: the feed's, and the one that is made for a loss; neither waits for a loop */

/* Xen, the kernel, the toolstack. */
bool hasFailed;                     /* the device, while its guest runs */
bool isCounted;                     /* the kernel counts the error: the next daemon can read it again */
bool isCrashed;                     /* the guest */
bool isGone;                        /* the toolstack has taken the crashed guest down */
bool isGivenAgain;                  /* the device, to the next guest */
bool accessHangs;                   /* the device never answers, and the loop of its guest hangs with it */

/* On record below /run. */
bool intent;                        /* the guest must die and its device goes into quarantine */
bool told;                          /* the error needs not be told again */
bool deviceRecord = true;           /* the guest has the device */
bool runIsBroken;                   /* no intent can be written */

/* On record below /var/lib. */
bool isQuarantined;
byte failedWrites;

/* The daemon's memory. */
bool report;                        /* the error, on its way to the supervisor */
bool hasLooked;                     /* the feed has looked at the counters for the first time */
bool mustDie;                       /* the supervisor knows that the guest must die */
bool isHeld;                        /* Quarantine.Hold */

bool isAlive = true;
byte threads;                       /* that run */
byte kills;
bool wasIntended;                   /* for the properties: the intent was on record at some time */

/* A thread lives with each daemon, and dies with it at any step. The threads of a daemon start together. */
#define LIVE    do :: atomic { isAlive -> threads++ }; {
#define DIES    } unless { !isAlive }; threads-- od

/* ---- Around the daemon --------------------------------------------------------------------- */

active proctype Device() {
    if
    :: isCounted = true
    :: isCounted = false            /* only this daemon has seen it: a device that is gone, a recovery that failed */
    fi;
    if :: accessHangs = true :: true fi;
#ifdef RECORDS_FAIL_FOR_WHAT_ONE_DAEMON_SAW
    if :: runIsBroken = true :: true fi;
#else
    if :: isCounted -> runIsBroken = true :: true fi;
#endif
    hasFailed = true
}

active proctype Killer() {
end:
    do
    :: atomic { kills < KILLS && isAlive && threads == THREADS -> kills++; isAlive = false }
    od
}

active proctype ServiceManager() {
end:
    do
    :: atomic {
        !isAlive && threads == 0 ->
        report = false; hasLooked = false; mustDie = false; isHeld = false;
        isAlive = true
        }
    od
}

active proctype Toolstack() {
end:
    isCrashed -> isGone = true;
end_next_guest:
    /* AssignedDevice.Open: Quarantine.Find, after Quarantine.WhenComplete */
    atomic {
        (isAlive && !isHeld && !isQuarantined
        && !intent && !mustDie && !report           /* BackendSupervisor.OnFirstListed: intents are read first */
#ifndef GIVE_BEFORE_FEED
        && hasLooked                                /* BackendSupervisor.OnPastErrorsTold */
#endif
        ) -> isGivenAgain = true
    }
}

active proctype Judge() {
end:
    timeout ->
    assert(!isGivenAgain);                          /* no guest gets the device */
    assert(!wasIntended || (isCrashed && isQuarantined));               /* what is on record is finished */
    assert(!isCrashed || isQuarantined);            /* the device of a crashed guest is in quarantine */
    assert(!isCounted || isCrashed)                 /* the guest is crashed if its device has failed */
}

/* ---- The feed: what the kernel knows of errors --------------------------------------------- */

active proctype Feed() {
    bool isKnown;

end:
    LIVE
        isKnown = told;                             /* Watcher.Remember */
        if
        :: isCounted && hasFailed && !isKnown -> isKnown = true; report = true;
#ifdef TOLD_FIRST
            told = true
#endif
        :: else
        fi;
        hasLooked = true;                           /* Watcher.Look, Watcher.TellPastErrorsTold */
end_look:
        do
        :: isCounted && hasFailed && !isKnown ->
            isKnown = true;
            report = true;                          /* Watcher.Tell, AerMonitor.OnError */
#ifdef TOLD_FIRST
            told = true                             /* before anything has been done about it */
#endif
        :: atomic { !isCounted && hasFailed && kills == 0 && !isKnown -> isKnown = true; report = true }
        od
    DIES
}

/* ---- The supervisor ------------------------------------------------------------------------ */

inline write_intent() {
#ifdef NO_INTENT_RECORD
    skip
#else
    if
    :: !runIsBroken -> atomic { intent = true; wasIntended = true }
#ifndef WAIT_FOR_RECORD
    :: runIsBroken                                  /* it fails, or takes over 10 ms: the hypercall does not wait */
#endif
    fi
#endif
}

inline give_back() {                                /* AssignedDevice.GiveBack */
    deviceRecord = false
}

active proctype Supervisor() {
end:
    LIVE
#ifdef NO_FINISH
        skip;
#else
        if :: intent -> mustDie = true :: else fi;  /* Loss.Unfinished, GuestLedger.OnLossFound */
#endif
end_serving:
        if
        :: atomic { report -> report = false; mustDie = true }  /* BackendSupervisor.OnDeviceError */
        :: mustDie
        fi;
        if
        :: isGone && !deviceRecord -> told = true   /* nobody has the device, and nobody had it: nothing to do */
        :: else ->
            write_intent();                         /* CrashSequence.Run: one small write below /run */
#ifdef STOP_FIRST
            !accessHangs;                           /* the actors end when the access does */
#endif
#ifdef CRASH_BEHIND_ACCESS
            !accessHangs;                           /* the order waits in the mailbox of the device */
#endif
            isCrashed = true;                       /* XenHypervisor.Crash */
            isHeld = true;                          /* Quarantine.Hold, in fact before the crash */
#ifdef INTENT_REMOVED_FIRST
            intent = false;
#endif
#ifdef GIVE_BACK_FIRST
            give_back();
#endif
            do                                      /* Quarantine.Record */
            :: isQuarantined = true; break
            :: failedWrites < FAILED_WRITES -> failedWrites++;
#ifdef NO_RETRY
                break
#else
                write_intent()                      /* GuestLedger.OnTried: both are tried again */
#endif
            od;
            intent = false;
            told = true;                            /* LinuxAerFeed.Handled, Watcher.Record */
            if                                      /* GuestActor.OnGuestLost */
            :: !accessHangs -> give_back()
            :: accessHangs                          /* nobody gives it back before the access returns */
            fi
        fi;
        mustDie = false;
end_done:
        false
    DIES
}

