//! Rows 48 to 54: sx(9).

use super::tools::{as_idle_thread, by_another, sx};
use super::{Case, End, Row, case, page_fault, row};
use freebsd_sys::sx::{Sx, Sxf, sa};
use freebsd_sys::thread::curthread;

/// Something done to a lock.
type Op = fn(&Sx);

/// Each operation, and whether a kernel without INVARIANTS faults on a destroyed lock: who waits looks for the owner, who
/// releases only at the word.
const OPS: [(&str, Op, bool); 8] = [
    ("sx_xlock", |lock| lock.xlock(), true),
    ("sx_slock", |lock| lock.slock(), true),
    ("sx_xunlock", |lock| lock.xunlock(), false),
    ("sx_sunlock", |lock| lock.sunlock(), false),
    ("sx_try_slock", |lock| assert!(!lock.try_slock()), false),
    ("sx_try_xlock", |lock| assert!(!lock.try_xlock()), false),
    ("sx_try_upgrade", |lock| _ = lock.try_upgrade(), false),
    ("sx_downgrade", |lock| lock.downgrade(), false),
];

/// `body` with a fresh lock.
fn with(name: &str, opts: Sxf, body: Op) -> Case {
    case(name, move || body(&sx(c"sx", opts)))
}

pub(super) fn rows() -> Vec<Row> {
    [contexts(), owners(), asserts()].concat()
}

/// Rows 48 and 49.
fn contexts() -> Vec<Row> {
    let idle: [(&str, Op, Op); 4] = [
        ("sx_xlock", |lock| lock.xlock(), Sx::xunlock),
        ("sx_slock", |lock| lock.slock(), Sx::sunlock),
        ("sx_try_xlock", |lock| assert!(lock.try_xlock()), Sx::xunlock),
        ("sx_try_slock", |lock| assert!(lock.try_slock()), Sx::sunlock),
    ];
    let by_idle = |(name, take, release): (&str, Op, Op)| {
        case(format!("{name} by the idle thread"), move || {
            let lock = sx(c"sx", Sxf::empty());
            as_idle_thread(move || {
                take(&lock);
                release(&lock);
            });
        })
        .invariants(&format!("{name}() by idle thread %p on sx sx @ %s:%d"))
    };
    let destroyed = |(name, op, faults): (&str, Op, bool)| {
        case(format!("{name} of a destroyed lock"), move || {
            let lock = sx(c"sx", Sxf::empty());
            lock.destroy();
            op(&lock);
        })
        .invariants(&format!("{name}() of destroyed sx @ %s:%d"))
        .bare(if faults { page_fault() } else { End::Pass })
    };
    vec![row(48, idle.map(by_idle)), row(49, OPS.map(destroyed))]
}

/// Rows 50 to 52: taking and releasing.
fn owners() -> Vec<Row> {
    let not_owned = "Lock sx not exclusively locked @ %s:%d";
    let not_shared = "Lock sx not share locked @ %s:%d";
    vec![
        row(
            50,
            [with("recursion on a non-recursive lock", Sxf::empty(), |lock| {
                lock.xlock();
                lock.xlock();
                lock.xunlock();
                assert!(lock.xlocked());
                lock.xunlock();
            })
            .invariants("_sx_xlock_hard: recursed on non-recursive sx sx @ %s:%d")],
        ),
        row(
            51,
            [
                with("sx_xunlock of a free lock", Sxf::empty(), |lock| lock.xunlock()).invariants(not_owned),
                with("sx_xunlock of a shared lock", Sxf::empty(), |lock| {
                    lock.slock();
                    lock.xunlock();
                })
                .invariants(not_owned),
                case("sx_xunlock by another thread", || {
                    let lock = sx(c"sx", Sxf::empty());
                    lock.xlock();
                    let stolen = lock.clone();
                    by_another(move || stolen.xunlock());
                    // Nobody noticed: the lock is free.
                    assert!(!lock.xlocked());
                })
                .one_cpu()
                .invariants(not_owned),
            ],
        ),
        row(
            52,
            [
                // The count of sharers wraps.
                with("sx_sunlock of a free lock", Sxf::empty(), |lock| lock.sunlock())
                    .without_witness(not_shared)
                    .witness("Lock (sx) sx not locked @ %s:%d."),
                with("sx_sunlock of an exclusive lock", Sxf::empty(), |lock| {
                    lock.xlock();
                    lock.sunlock();
                })
                .without_witness(not_shared)
                .witness("Lock (sx) sx exclusively locked @ %s:%d."),
                with("sx_sunlock of a free lock that is not enrolled", Sxf::NOWITNESS, |lock| {
                    lock.sunlock();
                    assert_eq!(curthread().sx_slocks.get(), -1);
                })
                .without_witness(not_shared),
            ],
        ),
    ]
}

/// Rows 53 and 54: sx_assert, destroying.
fn asserts() -> Vec<Row> {
    vec![
        row(
            53,
            [
                with("SA_XLOCKED of a shared lock", Sxf::empty(), |lock| {
                    lock.slock();
                    lock.assert(sa::XLOCKED);
                })
                .invariants("Lock sx not exclusively locked @ %s:%d"),
                with("SA_NOTRECURSED of a recursed lock", Sxf::RECURSE, |lock| {
                    lock.xlock();
                    lock.xlock();
                    lock.assert(sa::XLOCKED | sa::NOTRECURSED);
                })
                .invariants("Lock sx recursed @ %s:%d"),
                with("SA_RECURSED of a lock held once", Sxf::RECURSE, |lock| {
                    lock.xlock();
                    lock.assert(sa::XLOCKED | sa::RECURSED);
                })
                .invariants("Lock sx not recursed @ %s:%d"),
                with("SA_UNLOCKED of one's own exclusive lock", Sxf::empty(), |lock| {
                    lock.xlock();
                    lock.assert(sa::UNLOCKED);
                })
                .without_witness("Lock sx exclusively locked @ %s:%d")
                .witness("Lock (sx) sx locked @ %s:%d."),
                with("SA_LOCKED of a free lock", Sxf::empty(), |lock| lock.assert(sa::LOCKED))
                    .without_witness("Lock sx not locked @ %s:%d")
                    .witness("Lock (sx) sx not locked @ %s:%d."),
                with("SA_SLOCKED of an exclusive lock", Sxf::empty(), |lock| {
                    lock.xlock();
                    lock.assert(sa::SLOCKED);
                })
                .without_witness("Lock sx not share locked @ %s:%d")
                .witness("Lock (sx) sx exclusively locked @ %s:%d."),
                with("no assertion's number", Sxf::empty(), |lock| lock.assert(64))
                    .invariants("Unknown sx lock assertion: 64 @ %s:%d"),
                with("sx_downgrade of a recursed lock", Sxf::RECURSE, |lock| {
                    lock.xlock();
                    lock.xlock();
                    lock.downgrade();
                })
                .always("downgrade of a recursed lock")
                .invariants("Lock sx recursed @ %s:%d"),
            ],
        ),
        row(
            54,
            [
                with("sx_destroy of a shared lock", Sxf::empty(), |lock| {
                    lock.slock();
                    lock.destroy();
                })
                .invariants("sx lock still held"),
                with("sx_destroy of one's own exclusive lock", Sxf::empty(), |lock| {
                    lock.xlock();
                    lock.destroy();
                })
                .invariants("sx lock still held"),
                with("sx_destroy of a free lock with a recursion count", Sxf::RECURSE, |lock| {
                    // A stray store's doing: no operation leaves this.
                    lock.object().data.set(1);
                    lock.destroy();
                })
                .invariants("sx lock still recursed"),
            ],
        ),
    ]
}
