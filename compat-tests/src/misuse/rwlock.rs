//! Rows 36 to 47: rwlock(9).

use super::tools::{as_idle_thread, by_another, rw};
use super::{Case, End, Row, case, page_fault, row};
use freebsd_sys::rwlock::{RW_LOCK_WRITE_SPINNER, Rw, Rwf, ra};
use freebsd_sys::thread::curthread;

/// Something done to a lock.
type Op = fn(&Rw);

/// Each operation, and what a kernel without INVARIANTS makes of it on a destroyed lock, whose word has both waiters' flags and no
/// owner.
const OPS: [(&str, Op, bool); 8] = [
    ("rw_wlock", |lock| lock.wlock(), true),
    ("rw_wunlock", |lock| lock.wunlock(), true),
    ("rw_rlock", |lock| lock.rlock(), true),
    ("rw_runlock", |lock| lock.runlock(), true),
    ("rw_try_rlock", |lock| assert!(!lock.try_rlock()), false),
    ("rw_try_wlock", |lock| assert!(!lock.try_wlock()), false),
    ("rw_try_upgrade", |lock| _ = lock.try_upgrade(), true),
    ("rw_downgrade", |lock| lock.downgrade(), true),
];

/// `body` with a fresh lock.
fn with(name: impl Into<String>, opts: Rwf, body: Op) -> Case {
    case(name, move || body(&rw(c"rw", opts)))
}

pub(super) fn rows() -> Vec<Row> {
    [contexts(), owners(), asserts(), ends()].concat()
}

/// Rows 36 and 37.
fn contexts() -> Vec<Row> {
    let idle: [(&str, Op, Op); 4] = [
        ("rw_wlock", |lock| lock.wlock(), Rw::wunlock),
        ("rw_rlock", |lock| lock.rlock(), Rw::runlock),
        ("rw_try_wlock", |lock| assert!(lock.try_wlock()), Rw::wunlock),
        ("rw_try_rlock", |lock| assert!(lock.try_rlock()), Rw::runlock),
    ];
    let by_idle = |(name, take, release): (&str, Op, Op)| {
        case(format!("{name} by the idle thread"), move || {
            let lock = rw(c"rw", Rwf::empty());
            as_idle_thread(move || {
                take(&lock);
                release(&lock);
            });
        })
        .invariants(&format!("{name}() by idle thread %p on rwlock rw @ %s:%d"))
    };
    let destroyed = |(name, op, faults): (&str, Op, bool)| {
        case(format!("{name} of a destroyed lock"), move || {
            let lock = rw(c"rw", Rwf::empty());
            lock.destroy();
            op(&lock);
        })
        .invariants(&format!("{name}() of destroyed rwlock @ %s:%d"))
        .bare(if faults { page_fault() } else { End::Pass })
    };
    vec![row(36, idle.map(by_idle)), row(37, OPS.map(destroyed))]
}

/// Rows 38 to 41: taking and releasing.
fn owners() -> Vec<Row> {
    let not_owned = "Lock rw not exclusively locked @ %s:%d";
    let not_read = "Lock rw not read locked @ %s:%d";
    vec![
        row(
            38,
            [with("rw_rlock of one's own write lock", Rwf::empty(), |lock| {
                lock.wlock();
                lock.rlock();
            })
            .invariants("rw_rlock: wlock already held for rw @ %s:%d")
            // It waits for an owner who runs: itself.
            .bare(End::Deadlock)],
        ),
        row(
            39,
            [with("recursion on a non-recursive lock", Rwf::empty(), |lock| {
                lock.wlock();
                lock.wlock();
                lock.wunlock();
                assert!(lock.wowned());
                lock.wunlock();
            })
            .invariants("__rw_wlock_hard: recursing but non-recursive rw rw @ %s:%d")],
        ),
        row(
            40,
            [
                with("rw_wunlock of a free lock", Rwf::empty(), |lock| lock.wunlock())
                    .invariants(not_owned)
                    .bare(page_fault()),
                with("rw_wunlock of a read lock", Rwf::empty(), |lock| {
                    lock.rlock();
                    lock.wunlock();
                })
                .invariants(not_owned)
                .bare(page_fault()),
                case("rw_wunlock by another thread", || {
                    let lock = rw(c"rw", Rwf::empty());
                    lock.wlock();
                    by_another(move || lock.wunlock());
                })
                .one_cpu()
                .invariants(not_owned)
                .bare(page_fault()),
                with("RA_WLOCKED of a read lock", Rwf::empty(), |lock| {
                    lock.rlock();
                    lock.assert(ra::WLOCKED);
                    lock.runlock();
                })
                .invariants(not_owned),
            ],
        ),
        row(
            41,
            [
                // The count of readers wraps.
                with("rw_runlock of a free lock", Rwf::empty(), |lock| lock.runlock())
                    .without_witness(not_read)
                    .witness("Lock (rw) rw not locked @ %s:%d."),
                with("rw_runlock of a write lock", Rwf::empty(), |lock| {
                    lock.wlock();
                    lock.runlock();
                })
                .without_witness(not_read)
                .witness("Lock (rw) rw exclusively locked @ %s:%d."),
                with("rw_runlock of a free lock that is not enrolled", Rwf::NOWITNESS, |lock| {
                    lock.runlock();
                    assert_eq!(curthread().rw_rlocks.get(), -1);
                })
                .without_witness(not_read),
                case("rw_runlock of another thread's read lock", || {
                    let lock = rw(c"rw", Rwf::empty());
                    lock.rlock();
                    // Readers are not known: only WITNESS, who keeps lists, can tell.
                    by_another(move || lock.runlock());
                })
                .one_cpu()
                .witness("Lock (rw) rw not locked @ %s:%d."),
            ],
        ),
    ]
}

/// Rows 42 to 44: rw_assert.
fn asserts() -> Vec<Row> {
    vec![
        row(
            42,
            [
                with("RA_NOTRECURSED of a recursed lock", Rwf::RECURSE, |lock| {
                    lock.wlock();
                    lock.wlock();
                    lock.assert(ra::WLOCKED | ra::NOTRECURSED);
                })
                .invariants("Lock rw recursed @ %s:%d"),
                with("RA_RECURSED of a lock held once", Rwf::RECURSE, |lock| {
                    lock.wlock();
                    lock.assert(ra::WLOCKED | ra::RECURSED);
                })
                .invariants("Lock rw not recursed @ %s:%d"),
                with("RA_LOCKED and RA_RECURSED of a lock held once", Rwf::RECURSE, |lock| {
                    lock.wlock();
                    lock.assert(ra::LOCKED | ra::RECURSED);
                })
                .without_witness("Lock rw not recursed @ %s:%d")
                .witness("Lock (rw) rw not recursed @ %s:%d."),
                with("RA_LOCKED and RA_NOTRECURSED of a recursed lock", Rwf::RECURSE, |lock| {
                    lock.wlock();
                    lock.wlock();
                    lock.assert(ra::LOCKED | ra::NOTRECURSED);
                })
                .without_witness("Lock rw recursed @ %s:%d")
                .witness("Lock (rw) rw recursed @ %s:%d."),
            ],
        ),
        row(
            43,
            [
                with("RA_UNLOCKED of one's own write lock", Rwf::empty(), |lock| {
                    lock.wlock();
                    lock.assert(ra::UNLOCKED);
                })
                .without_witness("Lock rw exclusively locked @ %s:%d")
                .witness("Lock (rw) rw locked @ %s:%d."),
                with("RA_UNLOCKED of one's own read lock", Rwf::empty(), |lock| {
                    lock.rlock();
                    lock.assert(ra::UNLOCKED);
                })
                .witness("Lock (rw) rw locked @ %s:%d."),
                with("RA_LOCKED of a free lock", Rwf::empty(), |lock| lock.assert(ra::LOCKED))
                    .without_witness("Lock rw not locked @ %s:%d")
                    .witness("Lock (rw) rw not locked @ %s:%d."),
            ],
        ),
        row(
            44,
            [
                with("no assertion's number", Rwf::empty(), |lock| lock.assert(64))
                    .invariants("Unknown rw lock assertion: 64 @ %s:%d"),
                with("RA_UNLOCKED and RA_RECURSED", Rwf::empty(), |lock| lock.assert(ra::UNLOCKED | ra::RECURSED))
                    .invariants("Unknown rw lock assertion: 8 @ %s:%d"),
            ],
        ),
    ]
}

/// Rows 45 to 47: destroying, and words that cannot be.
fn ends() -> Vec<Row> {
    vec![
        row(
            45,
            [
                with("rw_destroy of a read lock", Rwf::empty(), |lock| {
                    lock.rlock();
                    lock.destroy();
                })
                .invariants("rw lock %p not unlocked"),
                with("rw_destroy of one's own write lock", Rwf::empty(), |lock| {
                    lock.wlock();
                    lock.destroy();
                })
                .invariants("rw lock %p not unlocked"),
                with("rw_destroy of a free lock with a recursion count", Rwf::RECURSE, |lock| {
                    // A stray store's doing: no operation leaves this.
                    lock.object().data.set(1);
                    lock.destroy();
                })
                .invariants("rw lock %p still recursed"),
            ],
        ),
        row(
            46,
            [with("rw_wunlock without a waiters' flag", Rwf::empty(), |lock| {
                lock.wlock();
                // A stray store's doing: the spinner's flag on a writer's word.
                let word = (lock.object().id() + size_of_val(lock.object())) as *mut usize;
                // SAFETY: the lock word follows its lock object, and this is the only host thread.
                unsafe { *word |= RW_LOCK_WRITE_SPINNER };
                lock.wunlock();
            })
            .invariants("__rw_wunlock_hard: neither of the waiter flags are set")
            .bare(page_fault())],
        ),
        row(
            47,
            [with("rw_downgrade of a recursed lock", Rwf::RECURSE, |lock| {
                lock.wlock();
                lock.wlock();
                lock.downgrade();
            })
            .always("downgrade of a recursed lock")
            .invariants("Lock rw recursed @ %s:%d")],
        ),
    ]
}
