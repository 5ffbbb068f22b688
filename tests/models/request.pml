/*
 * One guest's requests: the shared page, the event channel, the loop of the daemon that serves it, its frontend.
 *
 * Each step names the method that does it. "target:" marks what issue 16 adds: the loop watches the page before it
 * sleeps. TODAYS_LOOP is the loop that does not, and to which every message is an event.
 *
 * Every execution is finite. A lost wake-up is therefore an invalid end state: the frontend still waits.
 *
 * What the model takes for granted, each with a switch that shows why it has to:
 *   - a frontend does not give up in the microseconds of a look at the page (GIVES_UP_AT_ANY_MOMENT);
 *   - a request that asks for the same as the one before it may get that one's answer (SAME_QUESTION_IS_ANOTHER).
 * Memory is sequentially consistent here: the code needs a full barrier where the loop says that it sleeps, and where a
 * message is posted.
 */

#define REQUESTS 2                  /* a third makes four times as many states and shows nothing more */
#define STORM    1                  /* events that the guest sends without a request */
#define NOTHING  0

#define GUEST    0                  /* the port of the guest */
#define WAKE     1                  /* the port that the loop has for itself */
#define PORTS    2

/* The page: the guest's memory. */
bool flag;                        /* bit 0 of the flags: a request waits for its answer */
byte content;                       /* what the request asks for */
byte value;                         /* the answer, as the content that it is the answer to */

/* The event channel: Xen's bits, and the ring of /dev/xen/evtchn with one entry for each bound port. */
bool pending[PORTS];
bool masked[PORTS];
chan ring = [PORTS] of { byte };
bool answerEvent;                   /* pending at the frontend's end */

/* The loop, and what another thread of the daemon shares with it. */
byte inHand;                        /* the content of the request that was taken and has no answer yet */
bool sleeps;
bool message;                       /* in the mailbox: the device has been brought back, the request can be answered */
chan recovery = [1] of { bool };    /* work for the other thread */

/* Both patiences are 2 s. The frontend's begins when it posts, the daemon's when it takes: they can differ. */
bool frontendIsImpatient, answerIsLate;

/* For the properties only. */
bool isOwn;                         /* the request in hand is the one in the page, and not one before it */
bool isPerformed;                   /* the request in the page */
bool isAnswered;                    /* the request in the page */
bool isAnsweredByOther;             /* it got the answer to one before it, which asked for the same */
bool looking;                       /* between two accesses to the page that belong together */

/* ---- Xen and the kernel of dom0 ------------------------------------------------------------ */

inline raise(port) {                /* a pending port gets an entry in the ring, and is masked until written back */
    if
    :: pending[port] && !masked[port] ->
#ifndef ACKNOWLEDGE_AT_UNMASK
        pending[port] = false;
#endif
#ifndef NO_MASK
        masked[port] = true;
#endif
        assert(nfull(ring));        /* the ring does not overflow */
        ring!port
    :: else
    fi
}

inline send(port) { atomic { pending[port] = true; raise(port) } }

inline unmask(port) {               /* the mask first, then the pending bit */
#ifdef ACKNOWLEDGE_AT_UNMASK
    pending[port] = false;
#endif
    masked[port] = false;
    atomic { raise(port) }
}

/* ---- The frontend: Linux's pcifront -------------------------------------------------------- */

inline write_request() {
    atomic {                        /* FrontendPage.Post: the request ... */
        posted++;
        if :: content = 1 :: content = 2 fi;
        asked = content; value = NOTHING;
        isOwn = false; isPerformed = false; isAnswered = false
    }
}

inline set_flag() {                 /* FrontendPage.Post: ... and then its flag */
    atomic { flag = true; frontendIsImpatient = false }
}

inline take_answer() {              /* FrontendPage.TakeAnswer */
    assert(value == asked);         /* no answer is taken for that of another request */
#ifdef SAME_QUESTION_IS_ANOTHER
    assert(!isAnsweredByOther)      /* no answer is taken for that of another request that asks for the same */
#endif
}

active proctype Frontend() {
    byte posted, asked;
    bool hasGivenUp;                /* once: after that it waits for ever, as Mini-OS does */

    do
    :: posted < REQUESTS ->         /* SimulatedFrontend.SendAsync */
        write_request();
#ifdef NOTIFY_FIRST
        send(GUEST); set_flag();
#else
        set_flag(); send(GUEST);    /* GuestPort.Notify */
#endif
        do
        :: answerEvent ->           /* SimulatedFrontend.WaitForEventAsync */
            answerEvent = false;
            if
            :: !flag -> take_answer(); break
            :: else
            fi
        :: atomic {
#ifdef GIVES_UP_AT_ANY_MOMENT
            frontendIsImpatient && !hasGivenUp ->
#else
            frontendIsImpatient && !hasGivenUp && !looking ->
#endif
            hasGivenUp = true;
            flag = false          /* FrontendPage.Withdraw */
            };
            break
        od
    :: else -> break
    od
}

/* A guest can notify whenever it likes. */
active proctype Storm() {
    byte sent;

    do
    :: sent < STORM -> sent++; send(GUEST)      /* GuestPort.Notify */
    :: break
    od
}

active proctype Clock() {
end:
    do
    :: d_step { flag && !frontendIsImpatient -> frontendIsImpatient = true; answerIsLate = inHand != NOTHING }
    od
}

/* ---- The daemon ---------------------------------------------------------------------------- */

inline take_request() {
#ifdef NO_REQUEST_IN_HAND
    atomic { flag -> looking = true };
#else
    atomic { flag && inHand == NOTHING -> looking = true };           /* GuestPage.IsBusy, SharedPageView.HasRequest */
#endif
    atomic {
        inHand = content; isOwn = true;          /* SharedPageView.CopyRequest */
        looking = false
    }
}

inline perform() {                  /* DeviceActor.Perform */
    atomic {
        assert(!isOwn || !isPerformed);                                 /* each request is served at most once */
        isPerformed = isPerformed || isOwn
    }
}

inline clear_flag() {
    atomic {
        assert(!flag || !isAnswered);                                   /* each request is served at most once */
        isAnswered = isAnswered || flag;
#ifdef SAME_QUESTION_IS_ANOTHER
        isAnsweredByOther = !isOwn;
#endif
        flag = false
    }
}

inline publish() {                  /* GuestPage.Answer */
    looking = true;
    if
#if defined(NO_CHECK)
    :: true ->
#elif defined(CHECK_LATE_ANSWERS_ONLY)
    :: !answerIsLate || (flag && content == inHand) ->                /* SharedPageView.StillHolds */
#else
    :: flag && content == inHand ->                                   /* SharedPageView.StillHolds */
#endif
#ifdef FLAG_FIRST
        clear_flag(); value = inHand;
#else
        value = inHand; clear_flag();                                   /* SharedPageView.Complete */
#endif
        looking = false;
#ifndef NO_NOTIFY
        answerEvent = true                                              /* GuestPage.Notify */
#endif
    :: else -> looking = false      /* the frontend has given up */
    fi;
    atomic { inHand = NOTHING; isOwn = false; answerIsLate = false }
}

active proctype Loop() {
    byte port;
    bool owesGuest, owesWake;       /* ports that are masked until they are written back */
    bool hasServed, hasWatched;

asleep:
end:
    ring?port;                      /* EventLoop.ReadEvents */
    sleeps = false;
    if
    :: port == GUEST -> owesGuest = true
    :: else -> owesWake = true
    fi;
    d_step { hasServed = false; hasWatched = false };
#ifdef UNMASK_FIRST
    if :: owesGuest -> owesGuest = false; unmask(GUEST) :: else fi;
#endif

mailbox:
    if
    :: message -> message = false; publish(); hasServed = true;         /* GuestActor.OnAnswer */
#ifdef NO_LOOK_AGAIN
        goto unmasking
#endif
    :: else
    fi;

look:                               /* GuestActor.ServeOrUnmask */
    if
    :: take_request();              /* GuestPage.TakeRequest */
        perform();
        if
        :: publish(); hasServed = true;                                 /* GuestActor.Publish */
#ifdef NO_LOOK_AGAIN
            goto unmasking
#else
            goto look
#endif
        :: recovery!true            /* DeviceActor.BringBack: its guest waits, the loop does not */
        fi
    :: !flag || inHand != NOTHING
    fi;
#ifndef TODAYS_LOOP
    if
    :: !hasWatched && inHand == NOTHING -> hasWatched = true; goto look /* target: watches the page for a while */
    :: true
    fi;
#endif

unmasking:
#ifdef UNMASK_ONLY_AFTER_ANSWER
    if :: owesGuest && hasServed -> owesGuest = false; unmask(GUEST) :: else fi;
#else
#ifndef NO_UNMASK
    if
    :: owesGuest && inHand == NOTHING -> owesGuest = false; unmask(GUEST)   /* GuestPage.Unmask */
    :: else
    fi;
#endif
#endif
#ifndef NO_UNMASK_OF_WAKE
    if
    :: owesWake -> owesWake = false; unmask(WAKE)                       /* EventHandle.UnmaskWake */
    :: else
    fi;
#endif
#ifdef NO_LOOK_AT_MAILBOX
    sleeps = true;                  /* says that it sleeps, and does not look at its mailbox any more */
#else
    sleeps = true;                  /* EventLoop.Deliver: about to sleep, it looks at its mailbox again */
    if
    :: message -> sleeps = false; goto mailbox
    :: else
    fi;
#endif
    goto asleep
}

active proctype OtherThread() {
    bool isAsleep;
end:
    do
    :: recovery?_ ->                /* DeviceActor.Recover */
#ifdef POST_AFTER_WAKE
        isAsleep = sleeps;
        message = true;
#else
        message = true;             /* EventLoop.Post */
        isAsleep = sleeps;
#endif
#ifdef TODAYS_LOOP
        isAsleep = true;
#endif
        if
        :: isAsleep -> send(WAKE)   /* EventLoop.Wake */
        :: else
        fi
    od
}
