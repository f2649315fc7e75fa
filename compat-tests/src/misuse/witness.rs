//! Rows 64 to 68 and 73 to 82: what makes WITNESS panic. What it only prints is in `witness_console`.

use super::tools::{head, mtx, rest, rm, rw, settle, sx, thread};
use super::{Case, End, Row, case, page_fault, row};
use freebsd_sys::critical::{critical_enter, critical_exit};
use freebsd_sys::ffi::lock_class::lock_class_mtx_spin;
use freebsd_sys::lock::{Lo, Loc, LockObject};
use freebsd_sys::mutex::{Mtx, Mtxf};
use freebsd_sys::rmlock::{Rm, Rmf};
use freebsd_sys::rwlock::Rwf;
use freebsd_sys::sleep::{self, How, pause};
use freebsd_sys::sx::Sxf;
use freebsd_sys::witness::{self, la};
use std::ffi::CString;
use std::sync::{Arc, OnceLock};

pub(super) fn rows() -> Vec<Row> {
    [critical(), modes(), interlocks(), upgrades(), asserts(), holders(), names()].concat()
}

/// Row 64.
fn critical() -> Vec<Row> {
    let held = "acquiring blockable sleep lock with spinlock or critical section held";
    let inside = |name: &str, lock: &str, take: fn()| {
        case(name, move || {
            critical_enter();
            take();
            critical_exit();
        })
        .witness(&format!("{held} {lock} @ %s:%d"))
    };
    vec![row(
        64,
        [
            inside("mtx_lock in a critical section", "(sleep mutex) m", || {
                let m = mtx(c"m", Mtxf::DEF);
                m.lock();
                m.unlock();
            }),
            inside("rw_rlock in a critical section", "(rw) rw", || {
                let rw = rw(c"rw", Rwf::empty());
                rw.rlock();
                rw.runlock();
            }),
            inside("rw_wlock in a critical section", "(rw) rw", || {
                let rw = rw(c"rw", Rwf::empty());
                rw.wlock();
                rw.wunlock();
            }),
            inside("sx_xlock in a critical section", "(sx) sx", || {
                let sx = sx(c"sx", Sxf::empty());
                sx.xlock();
                sx.xunlock();
            }),
            inside("rm_rlock in a critical section", "(rm) rm", || rm(c"rm", Rmf::empty()).read(|| ())),
            case("mtx_lock under a spin mutex", || {
                let (s, m) = (mtx(c"s", Mtxf::SPIN), mtx(c"m", Mtxf::DEF));
                s.lock_spin();
                m.lock();
                m.unlock();
                s.unlock_spin();
            })
            .witness(&format!("{held} (sleep mutex) m @ %s:%d")),
            case("mtx_lock of a mutex that is not enrolled", || {
                let m = mtx(c"m", Mtxf::NOWITNESS);
                critical_enter();
                m.lock();
                m.unlock();
                critical_exit();
            }),
            case("mtx_trylock", || {
                let m = mtx(c"m", Mtxf::DEF);
                critical_enter();
                assert!(m.trylock());
                m.unlock();
                critical_exit();
            }),
        ],
    )]
}

/// Rows 65 to 68: shared and exclusive.
fn modes() -> Vec<Row> {
    vec![
        row(
            65,
            [case("sx_slock of one's own exclusive lock", || {
                let sx = sx(c"sx", Sxf::empty());
                sx.xlock();
                sx.slock();
            })
            .prints(&["shared lock of (sx) sx @ %s:%d", "while exclusively locked from %s:%d"])
            .witness("excl->share")
            .unwitnessed(End::Deadlock)],
        ),
        row(
            66,
            [
                case("rw_wlock of one's own read lock", || {
                    let rw = rw(c"rw", Rwf::empty());
                    rw.rlock();
                    rw.wlock();
                })
                .prints(&["exclusive lock of (rw) rw @ %s:%d", "while share locked from %s:%d"])
                .witness("share->excl")
                .unwitnessed(End::Deadlock),
                case("sx_xlock of one's own shared lock", || {
                    let sx = sx(c"sx", Sxf::empty());
                    sx.slock();
                    sx.xlock();
                })
                .prints(&["exclusive lock of (sx) sx @ %s:%d", "while share locked from %s:%d"])
                .witness("share->excl")
                .unwitnessed(End::Deadlock),
                case("rw_wlock of one's own read lock that is not enrolled", || {
                    let rw = rw(c"rw", Rwf::NOWITNESS);
                    rw.rlock();
                    rw.wlock();
                })
                .unwitnessed(End::Deadlock)
                .witnessed(End::Deadlock),
            ],
        ),
        // rwlocks and sx locks assert their mode themselves, before they tell WITNESS: here it is told directly.
        row(
            67,
            [case("WITNESS_UNLOCK shared of an exclusive lock", || {
                let sx = sx(c"sx", Sxf::empty());
                sx.xlock();
                witness::unlock(sx.object(), false, Loc::caller());
                sx.xunlock();
            })
            .prints(&["shared unlock of (sx) sx @ %s:%d", "while exclusively locked from %s:%d"])
            .witness("excl->ushare")],
        ),
        row(
            68,
            [case("WITNESS_UNLOCK exclusive of a shared lock", || {
                let sx = sx(c"sx", Sxf::empty());
                sx.slock();
                witness::unlock(sx.object(), true, Loc::caller());
                sx.sunlock();
            })
            .prints(&["exclusive unlock of (sx) sx @ %s:%d", "while share locked from %s:%d"])
            .witness("share->uexcl")],
        ),
    ]
}

/// Row 73: a lock that is dropped while another is waited for. Only lockmgr(9) has one, see there; here WITNESS is told directly.
fn interlocks() -> Vec<Row> {
    vec![row(
        73,
        [
            case("WITNESS_CHECKORDER with an interlock that is not held", || {
                let (held, sx, i) = (sx(c"held", Sxf::empty()), sx(c"sx", Sxf::empty()), mtx(c"i", Mtxf::DEF));
                held.xlock();
                witness::checkorder(sx.object(), true, false, Some(i.object()), Loc::caller());
                held.xunlock();
            })
            .witness("interlock (sleep mutex) i not locked @ %s:%d"),
            case("WITNESS_CHECKORDER with an interlock that is recursed", || {
                let (sx, i) = (sx(c"sx", Sxf::empty()), mtx(c"i", Mtxf::RECURSE));
                i.lock();
                i.lock();
                witness::checkorder(sx.object(), true, false, Some(i.object()), Loc::caller());
                i.unlock();
                i.unlock();
            })
            .witness("interlock (sleep mutex) i recursed @ %s:%d"),
            case("WITNESS_CHECKORDER with an interlock that is held once", || {
                let (sx, i) = (sx(c"sx", Sxf::empty()), mtx(c"i", Mtxf::DEF));
                i.lock();
                witness::checkorder(sx.object(), true, false, Some(i.object()), Loc::caller());
                i.unlock();
            }),
        ],
    )]
}

/// Rows 74 and 75. The locks' own operations assert before they tell WITNESS: here it is told directly.
fn upgrades() -> Vec<Row> {
    type Change = fn(&LockObject, Loc);
    let cases = |what: &'static str, change: Change, wrong: &'static str, exclusive: bool| {
        let take = move |rw: &freebsd_sys::rwlock::Rw, exclusive: bool| if exclusive { rw.wlock() } else { rw.rlock() };
        let drop =
            move |rw: &freebsd_sys::rwlock::Rw, exclusive: bool| if exclusive { rw.wunlock() } else { rw.runlock() };
        vec![
            case(format!("{what} of a mutex"), move || {
                let m = mtx(c"m", Mtxf::DEF);
                m.lock();
                change(m.object(), Loc::caller());
                m.unlock();
            })
            .witness(&format!("{what} of non-upgradable lock (sleep mutex) m @ %s:%d")),
            case(format!("{what} of a spin mutex"), move || {
                let s = mtx(c"s", Mtxf::SPIN);
                s.lock_spin();
                change(s.object(), Loc::caller());
                s.unlock_spin();
            })
            .witness(&format!("{what} of non-upgradable lock (spin mutex) s @ %s:%d")),
            // No lock of the kernel's is both, but a lock's flags are its maker's.
            case(format!("{what} of a spin lock that says it is upgradable"), move || {
                let object = head(&lock_class_mtx_spin, c"s", Lo::WITNESS | Lo::UPGRADABLE);
                change(&object, Loc::caller());
            })
            .witness(&format!("{what} of non-sleep lock (spin mutex) s @ %s:%d")),
            Case::not_applicable(
                format!("{what} while WITNESS is cold"),
                "FreeBSD's is cold until SI_SUB_WITNESS, a machine's is never: it is there before the first thread runs",
            ),
            case(format!("{what} of a free lock"), move || change(rw(c"rw", Rwf::empty()).object(), Loc::caller()))
                .witness(&format!("{what} of unlocked lock (rw) rw @ %s:%d")),
            case(format!("{what} of a lock that is {wrong}"), move || {
                let rw = rw(c"rw", Rwf::empty());
                take(&rw, exclusive);
                change(rw.object(), Loc::caller());
                drop(&rw, exclusive);
            })
            .witness(&format!("{what} of {wrong} lock (rw) rw @ %s:%d")),
            case(format!("{what} of a recursed lock"), move || {
                let rw = rw(c"rw", Rwf::RECURSE);
                take(&rw, !exclusive);
                take(&rw, !exclusive);
                change(rw.object(), Loc::caller());
                drop(&rw, !exclusive);
                drop(&rw, !exclusive);
            })
            .witness(&format!("{what} of recursed lock (rw) rw r=1 @ %s:%d")),
            case(format!("{what} of a lock that is held as it should be"), move || {
                let rw = rw(c"rw", Rwf::empty());
                take(&rw, !exclusive);
                change(rw.object(), Loc::caller());
                // WITNESS believes it; the lock does not.
                witness::assert(rw.object(), if exclusive { la::XLOCKED } else { la::SLOCKED }, Loc::caller());
            }),
        ]
    };
    vec![
        row(74, cases("upgrade", witness::upgrade, "exclusive", true)),
        row(75, cases("downgrade", witness::downgrade, "shared", false)),
    ]
}

/// Row 77: witness_assert.
fn asserts() -> Vec<Row> {
    // How often and how it is held, what is asserted, and what that gives.
    let check = |name, times: u32, exclusive: bool, what: u32| {
        case(name, move || {
            let rw = rw(c"rw", Rwf::RECURSE);
            (0..times).for_each(|_| if exclusive { rw.wlock() } else { rw.rlock() });
            witness::assert(rw.object(), what, Loc::caller());
            (0..times).for_each(|_| if exclusive { rw.wunlock() } else { rw.runlock() });
        })
    };
    vec![row(
        77,
        [
            check("LA_UNLOCKED of a shared lock", 1, false, la::UNLOCKED).witness("Lock (rw) rw locked @ %s:%d."),
            check("LA_LOCKED of a free lock", 0, false, la::LOCKED).witness("Lock (rw) rw not locked @ %s:%d."),
            check("LA_XLOCKED of a shared lock", 1, false, la::XLOCKED)
                .witness("Lock (rw) rw not exclusively locked @ %s:%d."),
            check("LA_SLOCKED of an exclusive lock", 1, true, la::SLOCKED)
                .witness("Lock (rw) rw exclusively locked @ %s:%d."),
            check("LA_RECURSED of a lock held once", 1, true, la::XLOCKED | la::RECURSED)
                .witness("Lock (rw) rw not recursed @ %s:%d."),
            check("LA_NOTRECURSED of a recursed lock", 2, true, la::XLOCKED | la::NOTRECURSED)
                .witness("Lock (rw) rw recursed @ %s:%d."),
            check("LA_RECURSED alone", 1, true, la::RECURSED).witness("Invalid lock assertion at %s:%d."),
            check("what holds is silent", 2, false, la::SLOCKED | la::RECURSED),
            Case::not_applicable(
                "a lock that is neither sleep nor spin",
                "every class of lock_classes[] is one of them",
            ),
        ],
    )]
}

/// Rows 76, 78 and 81: who holds what.
fn holders() -> Vec<Row> {
    vec![
        row(
            76,
            [
                case("mtx_unlock of a mutex that may not be released", || {
                    let m = mtx(c"m", Mtxf::DEF);
                    m.lock();
                    witness::norelease(m.object());
                    m.unlock();
                })
                .prints(&["forbidden unlock of (sleep mutex) m @ %s:%d"])
                .witness("lock marked norelease"),
                case("WITNESS_NORELEASE of a free mutex", || witness::norelease(mtx(c"m", Mtxf::DEF).object()))
                    .witness("witness_setflag: lock (sleep mutex) m not locked"),
                case("mtx_unlock of a mutex that may be released again", || {
                    let m = mtx(c"m", Mtxf::DEF);
                    m.lock();
                    witness::norelease(m.object());
                    witness::releaseok(m.object());
                    m.unlock();
                }),
            ],
        ),
        row(
            78,
            [
                case("a thread ends with a mutex", || {
                    let m = mtx(c"m", Mtxf::DEF);
                    thread("leaver", 1, move || m.lock());
                    settle();
                })
                .prints(&[
                    "Thread %p exiting with the following locks held:",
                    "exclusive sleep mutex m (m) r = 0 (%p) locked @ %s:%d",
                ])
                .witness("Thread %p cannot exit while holding sleeplocks"),
                case("a thread ends with a recursed and a shared lock", || {
                    let (m, sx) = (mtx(c"m", Mtxf::RECURSE), sx(c"sx", Sxf::empty()));
                    thread("leaver", 1, move || {
                        sx.slock();
                        m.lock();
                        m.lock();
                    });
                    settle();
                })
                .prints(&[
                    "Thread %p exiting with the following locks held:",
                    "exclusive sleep mutex m (m) r = 1 (%p) locked @ %s:%d",
                    "shared sx sx (sx) r = 0 (%p) locked @ %s:%d",
                ])
                .witness("Thread %p cannot exit while holding sleeplocks"),
            ],
        ),
        row(
            81,
            [
                case("a sleep with an interlock that is not held", || {
                    let m = mtx(c"m", Mtxf::DEF);
                    sleep::sleep(1, Some(m.object()), How { ticks: 1, ..How::default() }, "nap");
                })
                .without_witness("mutex m not owned at %s:%d")
                .witness("witness_save: lock (sleep mutex) m not locked")
                .bare(page_fault()),
                case("WITNESS_RESTORE of a lock that was given away", || {
                    let m = mtx(c"m", Mtxf::DEF);
                    m.lock();
                    let saved = witness::save(m.object());
                    m.unlock();
                    witness::restore(m.object(), saved);
                })
                .witness("witness_restore: lock (sleep mutex) m not locked"),
            ],
        ),
    ]
}

/// A reader of `x` takes `y`, after `before` and after `x` has been destroyed, which its readers do not prevent, and its name given to a
/// spin mutex.
fn renamed(before: fn(&Rm, &Mtx)) {
    let (x, y) = (rm(c"x", Rmf::empty()), mtx(c"y", Mtxf::DEF));
    before(&x, &y);
    let reader = Arc::clone(&x);
    thread("reader", 1, move || {
        reader.read(|| {
            rest("meanwhile", 20);
            y.lock();
            y.unlock();
        });
    });
    settle();
    x.destroy();
    let _spin = mtx(c"x", Mtxf::SPIN);
    rest("reader", 40);
}

/// Rows 79, 80 and 82: names.
fn names() -> Vec<Row> {
    let destroyed = "rm_runlock() of destroyed rmlock @ %s:%d";
    let meanwhile = [
        "Sleeping on \"meanwhile\" with the following non-sleepable locks held:",
        "shared rm x (x) r = 0 (%p) locked @ %s:%d",
    ];
    vec![
        row(
            79,
            [
                case("a spin mutex named like a sleep mutex", || {
                    let _both = (mtx(c"x", Mtxf::DEF), mtx(c"x", Mtxf::SPIN));
                })
                .witness("lock (x) spin mutex does not match earlier (sleep mutex) lock"),
                case("an sx lock named like a rwlock", || _ = (rw(c"x", Rwf::empty()), sx(c"x", Sxf::empty())))
                    .witness("lock (x) sx does not match earlier (rw) lock"),
                case("a name used again when its lock is gone", || {
                    mtx(c"x", Mtxf::DEF).destroy();
                    mtx(c"x", Mtxf::SPIN).destroy();
                }),
            ],
        ),
        row(
            80,
            [
                case("a sleep lock after one whose name became a spin mutex's", || renamed(|_, _| ()))
                    .prints(&meanwhile)
                    .witness(
                        "itismychild: parent \"x\" (spin mutex) and child \"y\" (sleep mutex) are not the same lock type",
                    )
                    .without_witness(destroyed),
                case("the same, in an order known before", || {
                    renamed(|x, y| {
                        x.read(|| {
                            y.lock();
                            y.unlock();
                        });
                    });
                })
                .prints(&meanwhile)
                .invariants(destroyed),
                case("the same, in the other order before", || {
                    renamed(|x, y| {
                        y.lock();
                        x.read(|| ());
                        y.unlock();
                    });
                })
                .prints(&[
                    meanwhile[0],
                    meanwhile[1],
                    "lock order reversal:",
                    " 1st %p x (x, spin mutex) @ %s:%d",
                    " 2nd %p y (y, sleep mutex) @ %s:%d",
                ])
                .invariants(destroyed),
            ],
        ),
        row(
            82,
            [
                case("more names of locks than there are witnesses", || {
                    // Taken before WITNESS gives up and released after.
                    let early = mtx(c"early", Mtxf::RECURSE);
                    early.lock();
                    early.lock();
                    name_locks(1535);
                    early.unlock();
                    early.unlock();
                    // Nobody notices any more.
                    let late = mtx(c"late", Mtxf::DEF);
                    late.lock();
                    pause("with a mutex", 1);
                    late.unlock();
                })
                .prints(&["WITNESS: unable to allocate a new witness object"]),
                case("as many names of locks as there are witnesses", || {
                    name_locks(1535);
                    let late = mtx(c"name 7", Mtxf::DEF);
                    late.lock();
                    pause("nap", 1);
                    late.unlock();
                })
                .prints(&[
                    "Sleeping on \"nap\" with the following non-sleepable locks held:",
                    "exclusive sleep mutex name 7 (name 7) r = 0 (%p) locked @ %s:%d",
                ]),
                Case::not_applicable("more locks held than there are list entries", "the lists of held locks grow"),
            ],
        ),
    ]
}

/// Makes and destroys mutexes of so many different names: WITNESS keeps the names.
fn name_locks(n: usize) {
    static NAMES: OnceLock<Vec<CString>> = OnceLock::new();
    let names = NAMES.get_or_init(|| (0..2000).map(|i| CString::new(format!("name {i}")).expect("no NUL")).collect());
    for name in &names[..n] {
        mtx(name, Mtxf::DEF).destroy();
    }
}
