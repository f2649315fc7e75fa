//! Rows 7 to 28, 34 and 35: mutex(9).

use super::tools::{as_idle_thread, by_another, mtx, settle, spin_for_ever, thread};
use super::{End, Row, case, not_applicable, page_fault, row};
use freebsd_sys::condvar::Cv;
use freebsd_sys::critical::spinlock_exit;
use freebsd_sys::lock::Loc;
use freebsd_sys::mutex::{Mtx, Mtxf, ma};
use freebsd_sys::sched;
use freebsd_sys::sleep::{self, How};
use freebsd_sys::thread::curthread;
use std::sync::Arc;

/// A mutex that was destroyed.
fn dead(opts: Mtxf) -> Arc<Mtx> {
    let m = mtx(c"m", opts);
    m.destroy();
    m
}

pub(super) fn rows() -> Vec<Row> {
    [classes(), spins(), owners(), asserts(), ends()].concat()
}

/// Rows 7 to 15: the wrong thread, the wrong mutex.
fn classes() -> Vec<Row> {
    vec![
        row(
            7,
            [case("mtx_lock by the idle thread", || {
                let m = mtx(c"m", Mtxf::DEF);
                as_idle_thread(move || {
                    m.lock();
                    m.unlock();
                });
            })
            .invariants("mtx_lock() by idle thread %p on sleep mutex m @ %s:%d")],
        ),
        row(
            8,
            [case("mtx_trylock by the idle thread", || {
                let m = mtx(c"m", Mtxf::DEF);
                as_idle_thread(move || {
                    assert!(m.trylock());
                    m.unlock();
                });
            })
            .invariants("mtx_trylock() by idle thread %p on sleep mutex m @ %s:%d")],
        ),
        row(
            9,
            [case("mtx_lock of a destroyed mutex", || dead(Mtxf::DEF).lock())
                .invariants("mtx_lock() of destroyed mutex @ %s:%d")
                .bare(page_fault())],
        ),
        row(
            10,
            [case("mtx_unlock of a destroyed mutex", || dead(Mtxf::DEF).unlock())
                .invariants("mtx_unlock() of destroyed mutex @ %s:%d")
                .bare(page_fault())],
        ),
        row(
            11,
            [case("mtx_trylock of a destroyed mutex", || assert!(!dead(Mtxf::DEF).trylock()))
                .invariants("mtx_trylock() of destroyed mutex @ %s:%d")],
        ),
        row(
            12,
            [
                case("mtx_lock of a spin mutex", || {
                    let s = mtx(c"s", Mtxf::SPIN);
                    s.lock();
                    assert_eq!(curthread().critnest.get(), 0);
                    s.unlock();
                })
                .invariants("mtx_lock() of spin mutex s @ %s:%d"),
                case("mtx_lock of a mutex that was not initialised", || {
                    let m = Arc::new(Mtx::zeroed());
                    m.lock();
                    m.unlock();
                })
                .invariants("mtx_lock() of spin mutex (null) @ %s:%d"),
            ],
        ),
        row(
            13,
            [case("mtx_unlock of a spin mutex", || {
                let s = mtx(c"s", Mtxf::SPIN);
                s.lock_spin();
                s.unlock();
                // The mutex is free, the interrupts are still off.
                assert!(!s.owned());
                assert_eq!(curthread().critnest.get(), 1);
                spinlock_exit();
            })
            .invariants("mtx_unlock() of spin mutex s @ %s:%d")],
        ),
        row(
            14,
            [case("mtx_trylock of a spin mutex", || {
                let s = mtx(c"s", Mtxf::SPIN);
                assert!(s.trylock());
                s.unlock();
            })
            .invariants("mtx_trylock() of spin mutex s @ %s:%d")],
        ),
        row(
            15,
            [case("recursion on a non-recursive mutex", || {
                let m = mtx(c"m", Mtxf::DEF);
                m.lock();
                m.lock();
                m.unlock();
                assert!(m.owned());
                m.unlock();
                assert!(!m.owned());
            })
            .invariants("_mtx_lock_sleep: recursed on non-recursive mutex m @ %s:%d")],
        ),
    ]
}

/// Rows 16 to 23: spin mutexes.
fn spins() -> Vec<Row> {
    vec![
        row(
            16,
            [case("mtx_lock_spin of a sleep mutex", || {
                let m = mtx(c"m", Mtxf::DEF);
                m.lock_spin();
                m.unlock_spin();
            })
            .invariants("mtx_lock_spin() of sleep mutex m @ %s:%d")],
        ),
        row(
            17,
            [case("mtx_lock_spin of a destroyed mutex", || dead(Mtxf::SPIN).lock_spin())
                .invariants("mtx_lock_spin() of destroyed mutex @ %s:%d")
                // It has no owner whom the watchdog could name: that one goes on as well.
                .bare(End::Livelock)],
        ),
        row(
            18,
            [case("recursion on a non-recursive spin mutex", || {
                let s = mtx(c"s", Mtxf::SPIN);
                s.lock_spin();
                s.lock_spin();
                s.unlock_spin();
                assert!(s.owned());
                s.unlock_spin();
                assert!(!s.owned());
            })
            .invariants("mtx_lock_spin: recursed on non-recursive mutex s @ %s:%d")],
        ),
        row(
            19,
            [
                case("mtx_unlock_spin of a sleep mutex", || {
                    let m = mtx(c"m", Mtxf::DEF);
                    m.lock();
                    m.unlock_spin();
                })
                .invariants("mtx_unlock_spin() of sleep mutex m @ %s:%d"),
                case("mtx_unlock_spin of a destroyed mutex", || dead(Mtxf::SPIN).unlock_spin())
                    .invariants("mtx_unlock_spin() of destroyed mutex @ %s:%d"),
            ],
        ),
        row(
            20,
            [
                case("mtx_trylock_spin of a sleep mutex", || {
                    let m = mtx(c"m", Mtxf::DEF);
                    assert!(m.trylock_spin());
                    m.unlock_spin();
                })
                .invariants("mtx_trylock_spin() of sleep mutex m @ %s:%d"),
                case("mtx_trylock_spin of a destroyed mutex", || assert!(!dead(Mtxf::SPIN).trylock_spin()))
                    .invariants("mtx_trylock_spin() of destroyed mutex @ %s:%d"),
            ],
        ),
        row(
            21,
            [case("mtx_trylock_spin_flags with MTX_RECURSE", || {
                let s = mtx(c"s", Mtxf::SPIN);
                assert!(s.trylock_spin_at(Mtxf::RECURSE.bits(), Loc::caller()));
                s.unlock_spin();
            })
            .invariants("mtx_trylock_spin: unsupp. opt MTX_RECURSE on mutex s @ %s:%d")],
        ),
        row(
            22,
            [case("a spin mutex whose owner does not come back", || {
                let s = mtx(c"s", Mtxf::SPIN);
                let other = Arc::clone(&s);
                thread("owner", 1, move || {
                    other.lock_spin();
                    spin_for_ever();
                });
                settle();
                s.lock_spin();
            })
            .always("spin lock held too long")
            .always_prints(&["spin lock %p (s) held by %p (tid %d) too long"])
            .prints(&[
                "spin lock %p (s) held by %p (tid %d) too long",
                "exclusive spin mutex s (s) r = 0 (%p) locked @ %s:%d",
            ])
            .not_on_smp("the owner's CPU may be changing its list of spin mutexes, which is not looked at there")],
        ),
        row(
            23,
            [
                case("a spin mutex as the lock of _sleep", || {
                    let s = mtx(c"s", Mtxf::SPIN);
                    s.lock_spin();
                    sleep::sleep(1, Some(s.object()), How { ticks: 1, ..How::default() }, "nap");
                    s.unlock_spin();
                })
                .invariants("spin locks can only use msleep_spin"),
                // Since FreeBSD 14 a spin mutex can be dropped and taken by lc_unlock and lc_lock, for direct callouts; only
                // _sleep forbids it, and only where it checks.
                case("a spin mutex as the lock of cv_wait", || {
                    let (s, cv) = (mtx(c"s", Mtxf::SPIN), Cv::zeroed());
                    cv.init(c"cv");
                    s.lock_spin();
                    cv.timedwait(s.object(), 1);
                    assert!(s.owned());
                    s.unlock_spin();
                }),
            ],
        ),
    ]
}

/// Rows 24 and 25: unlocking what one does not own.
fn owners() -> Vec<Row> {
    let stolen = |opts: Mtxf| {
        move || {
            let m = mtx(c"m", opts);
            m.lock();
            by_another(move || m.unlock());
        }
    };
    let not_owned = "mutex m not owned at %s:%d";
    vec![
        row(
            24,
            [
                case("mtx_unlock of a free mutex, not enrolled", || mtx(c"m", Mtxf::NOWITNESS).unlock())
                    .invariants(not_owned)
                    .bare(page_fault()),
                case("mtx_unlock by another thread, not enrolled", stolen(Mtxf::NOWITNESS))
                    .one_cpu()
                    .invariants(not_owned)
                    .bare(page_fault()),
                case("mtx_unlock_spin of a free mutex, not enrolled", || {
                    mtx(c"m", Mtxf::SPIN | Mtxf::NOWITNESS).unlock_spin();
                })
                .invariants(not_owned),
            ],
        ),
        row(
            25,
            [
                case("mtx_unlock of a free mutex, enrolled", || mtx(c"m", Mtxf::DEF).unlock())
                    .without_witness(not_owned)
                    .witness("lock (sleep mutex) m not locked @ %s:%d")
                    .bare(page_fault()),
                case("mtx_unlock by another thread, enrolled", stolen(Mtxf::DEF))
                    .one_cpu()
                    .without_witness(not_owned)
                    .witness("lock (sleep mutex) m not locked @ %s:%d")
                    .bare(page_fault()),
                case("mtx_unlock_spin of a free mutex, enrolled", || mtx(c"m", Mtxf::SPIN).unlock_spin())
                    .without_witness(not_owned)
                    .witness("lock (spin mutex) m not locked @ %s:%d"),
            ],
        ),
    ]
}

/// Rows 26 and 27: mtx_assert.
fn asserts() -> Vec<Row> {
    let check = |name, times: u32, what: u32| {
        case(name, move || {
            let m = mtx(c"m", Mtxf::RECURSE);
            (0..times).for_each(|_| m.lock());
            m.assert(what);
            (0..times).for_each(|_| m.unlock());
        })
    };
    vec![
        row(
            26,
            [
                check("MA_OWNED of a free mutex", 0, ma::OWNED).invariants("mutex m not owned at %s:%d"),
                check("MA_NOTRECURSED of a recursed mutex", 2, ma::OWNED | ma::NOTRECURSED)
                    .invariants("mutex m recursed at %s:%d"),
                check("MA_RECURSED of a mutex held once", 1, ma::OWNED | ma::RECURSED)
                    .invariants("mutex m unrecursed at %s:%d"),
                check("MA_NOTOWNED of a held mutex", 1, ma::NOTOWNED).invariants("mutex m owned at %s:%d"),
                check("what holds is silent", 2, ma::OWNED | ma::RECURSED),
            ],
        ),
        row(
            27,
            [
                check("MA_RECURSED alone", 1, ma::RECURSED).invariants("unknown mtx_assert at %s:%d"),
                check("no assertion's number", 1, 0x40).invariants("unknown mtx_assert at %s:%d"),
            ],
        ),
    ]
}

/// Rows 28, 34 and 35: destroying, thread locks, waiting for a spin mutex.
fn ends() -> Vec<Row> {
    vec![
        row(
            28,
            [
                case("mtx_destroy of another thread's mutex", || {
                    let m = mtx(c"m", Mtxf::DEF);
                    m.lock();
                    by_another(move || m.destroy());
                })
                .one_cpu()
                .invariants("Assertion mtx_unowned(m) failed at %s:%d"),
                case("mtx_destroy of a recursed mutex", || {
                    let m = mtx(c"m", Mtxf::RECURSE);
                    m.lock();
                    m.lock();
                    m.destroy();
                })
                .invariants("Assertion (m->mtx_lock & (MTX_RECURSED|MTX_CONTESTED)) == 0 failed at %s:%d"),
                case("mtx_destroy of a contested mutex", || {
                    let m = mtx(c"m", Mtxf::DEF);
                    m.lock();
                    let other = Arc::clone(&m);
                    thread("waiter", 0, move || other.lock());
                    sched::sched_relinquish();
                    m.destroy();
                })
                .one_cpu()
                .invariants("Assertion (m->mtx_lock & (MTX_RECURSED|MTX_CONTESTED)) == 0 failed at %s:%d"),
            ],
        ),
        not_applicable(
            34,
            "thread_lock of a destroyed, sleep or recursive mutex",
            "one lock of the scheduler's own stands for all thread locks; nobody can point td_lock at a mutex",
        ),
        row(
            35,
            [
                case("mtx_spin_wait_unlocked of a destroyed mutex", || dead(Mtxf::SPIN).spin_wait_unlocked())
                    .invariants("mtx_spin_wait_unlocked() of destroyed mutex %p")
                    .bare(End::Livelock),
                case("mtx_spin_wait_unlocked of a sleep mutex", || mtx(c"m", Mtxf::DEF).spin_wait_unlocked())
                    .invariants("mtx_spin_wait_unlocked() of sleep mutex %p (m)"),
                case("mtx_spin_wait_unlocked of one's own mutex", || {
                    let s = mtx(c"s", Mtxf::SPIN);
                    s.lock_spin();
                    s.spin_wait_unlocked();
                })
                .invariants("mtx_spin_wait_unlocked() waiting on myself on lock %p (s)")
                .bare(End::Panic("spin lock held too long".to_owned()))
                .prints_bare(&["spin lock %p (s) held by %p (tid %d) too long"]),
            ],
        ),
    ]
}
