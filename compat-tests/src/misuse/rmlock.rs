//! Rows 55 to 63: rmlock(9). Its readers are known by their trackers, so its checks need no WITNESS.

use super::tools::{as_idle_thread, rm};
use super::{Case, End, Row, case, page_fault, row};
use freebsd_sys::rmlock::{PrioTracker, Rm, Rmf, ra};

/// Something done to a lock.
type Op = fn(&Rm);

/// `body` with a fresh lock.
fn with(name: &str, opts: Rmf, body: Op) -> Case {
    case(name, move || body(&rm(c"rm", opts)))
}

/// rm_runlock with a tracker that was never used.
fn runlock(lock: &Rm) {
    // SAFETY: either the check panics, or the trap does, before the tracker is looked at.
    unsafe { lock.runlock(&PrioTracker::new()) };
}

pub(super) fn rows() -> Vec<Row> {
    [contexts(), owners()].concat()
}

/// Rows 55 and 56.
fn contexts() -> Vec<Row> {
    let idle: [(&str, Op); 2] = [
        ("rm_wlock", |lock| {
            lock.wlock();
            lock.wunlock();
        }),
        ("rm_rlock", |lock| lock.read(|| ())),
    ];
    let by_idle = |(name, op): (&str, Op)| {
        case(format!("{name} by the idle thread"), move || {
            let lock = rm(c"rm", Rmf::empty());
            as_idle_thread(move || op(&lock));
        })
        .invariants(&format!("{name}() by idle thread %p on rmlock rm @ %s:%d"))
    };
    let destroyed: [(&str, Op); 4] = [
        ("rm_wlock", |lock| lock.wlock()),
        ("rm_wunlock", |lock| lock.wunlock()),
        ("rm_rlock", |lock| lock.read(|| ())),
        ("rm_runlock", runlock),
    ];
    let destroyed = destroyed.map(|(name, op)| {
        case(format!("{name} of a destroyed lock"), move || {
            let lock = rm(c"rm", Rmf::empty());
            lock.destroy();
            op(&lock);
        })
        .invariants(&format!("{name}() of destroyed rmlock @ %s:%d"))
        .bare(page_fault())
    });
    vec![row(55, idle.map(by_idle)), row(56, destroyed)]
}

/// Rows 57 to 63: taking, releasing, rm_assert.
fn owners() -> Vec<Row> {
    vec![
        row(
            57,
            [
                with("recursion of a reader", Rmf::empty(), |lock| lock.read(|| lock.read(|| ())))
                    .invariants("rm_rlock: recursed on non-recursive rmlock rm @ %s:%d"),
                with("recursion of a reader of a recursive lock", Rmf::RECURSE, |lock| lock.read(|| lock.read(|| ()))),
            ],
        ),
        row(
            58,
            [with("rm_rlock of one's own write lock", Rmf::empty(), |lock| {
                lock.wlock();
                // The mutex behind recurses, as mutexes do where nobody checks.
                lock.read(|| ());
                lock.wunlock();
            })
            .invariants("rm_rlock: wlock already held for rm @ %s:%d")],
        ),
        row(
            59,
            [with("rm_wlock while reading", Rmf::empty(), |lock| lock.read(|| lock.wlock()))
                .invariants("Lock rm read locked @ %s:%d")
                // It waits for its own tracker.
                .bare(End::Deadlock)],
        ),
        row(
            60,
            [
                with("rm_wlock twice", Rmf::empty(), |lock| {
                    lock.wlock();
                    lock.wlock();
                    lock.wunlock();
                    lock.wunlock();
                })
                .invariants("Lock rm exclusively locked @ %s:%d"),
                with("rm_wlock of a sleepable lock twice", Rmf::SLEEPABLE, |lock| {
                    lock.wlock();
                    lock.wlock();
                    lock.wunlock();
                    lock.wunlock();
                })
                .invariants("Lock rm exclusively locked @ %s:%d"),
            ],
        ),
        row(
            61,
            [
                with("rm_runlock of a free lock", Rmf::empty(), runlock)
                    .invariants("Lock rm not read locked @ %s:%d")
                    .bare(page_fault()),
                with("RA_LOCKED of a free lock", Rmf::empty(), |lock| lock.assert(ra::LOCKED))
                    .invariants("Lock rm not locked @ %s:%d"),
                with("RA_RLOCKED of a write lock", Rmf::empty(), |lock| {
                    lock.wlock();
                    lock.assert(ra::RLOCKED);
                })
                .invariants("Lock rm exclusively locked @ %s:%d"),
                with("RA_RECURSED of a lock read once", Rmf::RECURSE, |lock| {
                    lock.read(|| lock.assert(ra::RLOCKED | ra::RECURSED));
                })
                .invariants("Lock rm not recursed @ %s:%d"),
                with("RA_NOTRECURSED of a lock read twice", Rmf::RECURSE, |lock| {
                    lock.read(|| lock.read(|| lock.assert(ra::RLOCKED | ra::NOTRECURSED)));
                })
                .invariants("Lock rm recursed @ %s:%d"),
            ],
        ),
        row(
            62,
            [
                with("rm_wunlock of a free lock", Rmf::empty(), |lock| lock.wunlock())
                    .invariants("Lock rm not exclusively locked @ %s:%d")
                    .bare(page_fault()),
                // An sx lock's word is overwritten without a look at who waits.
                with("rm_wunlock of a free sleepable lock", Rmf::SLEEPABLE, |lock| lock.wunlock())
                    .invariants("Lock rm not exclusively locked @ %s:%d"),
            ],
        ),
        row(
            63,
            [
                with("no assertion's number", Rmf::empty(), |lock| lock.assert(64))
                    .invariants("Unknown rm lock assertion: 64 @ %s:%d"),
                with("RA_WLOCKED and RA_RECURSED", Rmf::empty(), |lock| lock.assert(ra::WLOCKED | ra::RECURSED))
                    .invariants("Unknown rm lock assertion: 12 @ %s:%d"),
            ],
        ),
    ]
}
