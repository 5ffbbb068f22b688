/*
 * Two daemons and one guest. One daemon serves; the other stands by and takes over when the first one is killed, at any
 * step, or hands over in good order. The guest asks first for MSI, which must not be enabled twice, and then reads.
 *
 * What outlives a daemon: the page and the frontend (the guest's), the device, the PIRQ that Xen has mapped, and the
 * device record below /run, which is a mapped file: a store is on record at once. The kernel takes the lock, the port
 * and the mapping from a process that is killed, in any order, and not before its accesses to devices have returned.
 * The port's mask and the ring are not modelled here; request.pml is about those.
 *
 * Every execution is finite, and the frontend waits for ever: a request that is lost is an invalid end state.
 *
 * What the model takes for granted, each with a switch that shows why it has to:
 *   - a daemon is not killed between the hypercall that maps a PIRQ and the store that records it; it would leave a
 *     PIRQ that nobody unmaps while the guest lives (KILLED_BEFORE_STORE);
 *   - no access of another guest's device lasts for ever; nothing is taken from the process before it returns
 *     (ANOTHER_GUEST_HANGS), unless each loop has a table of descriptors of its own, without copies of the others'
 *     (DESCRIPTORS_OF_ITS_OWN).
 */

#define NOBODY      2
#define DAEMONS     2

mtype = { ENABLE_MSI, READ, DONE, REFUSED };

/* The guest. */
bool flag;                          /* bit 0 of the page's flags */
mtype operation, answer;
bool answerEvent;

/* The device, and Xen. */
byte mappedPirqs;
bool msiIsOn;
byte port = NOBODY;                 /* the daemon that the guest's port is bound to */
bool pending;                       /* an event for it */

/* The kernel, and the record below /run. */
byte serving = NOBODY;              /* holder of serving.lock */
bool isMapped[DAEMONS];             /* the page */
bool pirqOnRecord;                  /* DeviceRecord.Mapped */

/* Of each daemon. */
bool isKilled[DAEMONS], handsOver[DAEMONS];   /* never the last one that is left */
bool inHand[DAEMONS];               /* it has taken a request and can still answer it */
bool inAccess[DAEMONS];             /* a thread of it is in the kernel, enabling MSI */
bool wantsHandover;

/* ---- The guest ----------------------------------------------------------------------------- */

inline ask(what) {                  /* SimulatedFrontend.SendAsync */
    operation = what;
    flag = true;
    if                              /* GuestPort.Notify: dropped while nobody has the port */
    :: atomic { port != NOBODY -> pending = true }
    :: port == NOBODY
    fi;
    do
    :: answerEvent -> answerEvent = false;
        if
        :: !flag -> break
        :: else
        fi
    od;
    assert(answer == DONE)          /* no request is refused because a daemon before has done it already */
}

active proctype Frontend() {
    ask(ENABLE_MSI);
    assert(msiIsOn && mappedPirqs > 0);                                 /* what was answered is so */
    ask(READ);
    assert(msiIsOn && mappedPirqs == 1 && pirqOnRecord)                 /* what was done is done once, and on record */
}

/* ---- The end of the first daemon ----------------------------------------------------------- */

active proctype Operator() {
    if
    :: wantsHandover = true;        /* Handover.WantedAsync */
#ifdef UNLOCK_FIRST
        serving = NOBODY            /* before the actors have come to an end */
#endif
    :: true
    fi
}

active proctype Killer() {
    if
    :: atomic { !handsOver[1] -> isKilled[0] = true }
    :: atomic { !handsOver[0] -> isKilled[1] = true }
    :: true
    fi
}

inline clean_up(d) {                /* the kernel, after SIGKILL */
#ifndef CLEAN_UP_AT_ONCE
    if
    :: atomic { inAccess[d] -> msiIsOn = true; inAccess[d] = false }
    :: !inAccess[d]
    fi;
#endif
#ifdef ANOTHER_GUEST_HANGS
#ifndef DESCRIPTORS_OF_ITS_OWN
end_hang:
    false;                          /* its access never returns, and all threads share one table of descriptors */
#endif
#endif
    inHand[d] = false;
    do
    :: atomic { serving == d -> serving = NOBODY }
    :: atomic { port == d -> port = NOBODY; pending = false }
    :: isMapped[d] -> isMapped[d] = false
    :: serving != d && port != d && !isMapped[d] -> break
    od
}

/* ---- A daemon ------------------------------------------------------------------------------ */

inline take_up() {                  /* MessageInterrupts.TakeUp */
#ifndef NO_TAKE_UP
    if
    :: pirqOnRecord && msiIsOn -> kindIsMsi = true; isAnswerDue = true
    :: pirqOnRecord && !msiIsOn -> atomic { mappedPirqs--; pirqOnRecord = false }   /* DeviceRecord.UnmapAll */
    :: !pirqOnRecord
    fi
#else
    kindIsMsi = pirqOnRecord && msiIsOn
#endif
}

inline connect(d) {                 /* GuestPage.Connect: the port first, which one process has at a time */
    if
    :: atomic {
#ifdef PORT_OF_MANY
        true ->
#else
        port == NOBODY ->
#endif
        port = d;                   /* EventLoop.Bind */
#ifndef NO_EVENT_AT_BIND
        pending = true              /* Xen: a port is pending when it is bound */
#endif
        }
#ifdef NO_BIND_RETRY
    :: port != NOBODY -> goto refused
#endif
    fi;                             /* GuestActor.Connect: tried again until the other's port is free */
    isMapped[d] = true;             /* XenGrantTable.Map */
#ifndef NO_NOTIFY_AT_CONNECT
    answerEvent = true              /* GuestPage.Notify: the daemon before may have answered, and not come to notify */
#endif
}

inline enable_msi(d) {              /* MessageInterrupts.EnableMsi */
    if
    :: isAnswerDue && kindIsMsi -> outcome = DONE
    :: !isAnswerDue && kindIsMsi -> outcome = REFUSED
    :: else ->
#if defined(NO_RECORD)
        mappedPirqs++;
#elif defined(KILLED_BEFORE_STORE)
        mappedPirqs++; pirqOnRecord = true;
#else
        atomic { mappedPirqs++; pirqOnRecord = true };                  /* XenHypervisor.MapPirq, DeviceRecord.TryAdd */
#endif
        assert(!inAccess[1 - d]);                                       /* never two daemons access one device */
        inAccess[d] = true;
        atomic { msiIsOn = true; inAccess[d] = false };                 /* MessageInterrupts.Change */
        kindIsMsi = true;
        outcome = DONE
    fi;
    isAnswerDue = false
}

inline serve(d) {                   /* GuestActor.ServeOrUnmask */
    do
    :: flag ->
        assert(!inHand[1 - d]);                                         /* never two daemons answer one guest */
        inHand[d] = true;                                               /* GuestPage.TakeRequest */
        if                                                              /* DeviceActor.Perform */
        :: operation == ENABLE_MSI -> enable_msi(d)
        :: operation == READ -> outcome = DONE
        fi;
        answer = outcome;                                               /* SharedPageView.Complete */
        atomic { flag = false; inHand[d] = false };
        answerEvent = true                                              /* GuestPage.Notify */
    :: !flag -> break
    od
}

inline unlock(d) { if :: serving == d -> serving = NOBODY :: else fi }  /* HostLock.Dispose */

active [DAEMONS] proctype Daemon() {
    byte d = _pid - 3;
    bool kindIsMsi, isAnswerDue;
    mtype outcome;

end_standby:
    {
#ifndef NO_LOCK
        atomic { serving == NOBODY -> serving = d };                    /* Turn.TakeAsync: flock */
#endif
        take_up();                                                      /* GuestActor.OnTurn, DeviceActor.OnBegin */
end_bind:
        connect(d);
end_serving:
        do
        :: atomic { port == d && pending -> pending = false };          /* EventLoop.ReadEvents */
            serve(d)
        :: atomic { wantsHandover && !isKilled[1 - d] -> wantsHandover = false; handsOver[d] = true };
            break
        od;
        atomic { port = NOBODY; pending = false };                      /* GuestPage.Unbind */
        isMapped[d] = false;                                            /* GuestPage.Unmap */
#ifdef NO_BIND_RETRY
refused:
#endif
        unlock(d)
    } unless { isKilled[d] };
    clean_up(d)
}
