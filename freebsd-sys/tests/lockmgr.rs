//! lockmgr(9) on both engines.

mod common;

use common::{explore_random, mtx, passes, threads, verdict};
use freebsd_sys::atomic::{Owned32, Shared32};
use freebsd_sys::critical::{critical_enter, critical_exit};
use freebsd_sys::host::explore;
use freebsd_sys::lock::Loc;
use freebsd_sys::lockmgr::{EBUSY, EDEADLK, ENOLCK, Lock, Wait, ka, lk};
use freebsd_sys::machine::{Config, Verdict};
use freebsd_sys::mutex::Mtxf;
use freebsd_sys::sched::pri::PUSER;
use freebsd_sys::sleep::EWOULDBLOCK;
use freebsd_sys::thread::{curthread, thread_no_sleeping, thread_sleeping_ok};
use freebsd_sys::{cpu, sleep};
use std::sync::Arc;

fn lock(flags: u32) -> Arc<Lock> {
    let lock = Arc::new(Lock::zeroed());
    lock.init(0, c"lk", 0, flags);
    lock
}

#[test]
fn owners_exclude_each_other_and_sharers() {
    for cpus in [1, 2, 4] {
        passes(Config { cpus, ..Config::default() }, 300, || {
            let (lk, n) = (lock(0), Arc::new([Owned32::new(0), Owned32::new(0)]));
            let (lk2, n2) = (Arc::clone(&lk), Arc::clone(&n));
            threads(4, move |i| {
                for _ in 0..2 {
                    lk2.lockmgr(if i < 2 { lk::SHARED } else { lk::EXCLUSIVE });
                    let seen = n2[0].get();
                    if i >= 2 {
                        n2[0].set(seen + 1);
                    }
                    sleep::pause("held", 1);
                    assert!(i >= 2 || n2[1].get() == seen || cpu::scheduler_stopped(), "a sharer saw half a write");
                    if i >= 2 {
                        n2[1].set(seen + 1);
                    }
                    lk2.lockmgr(lk::RELEASE);
                }
            });
            assert!(n[1].get() == 4 || cpu::scheduler_stopped());
            assert_eq!(lk.status(), 0);
            lk.destroy();
        });
    }
}

#[test]
fn sharers_share() {
    passes(Config::default(), 300, || {
        let (lk, inside) = (lock(0), Arc::new(Shared32::new(0)));
        threads(2, move |_| {
            lk.lockmgr(lk::SHARED);
            inside.fetchadd(1);
            while inside.get() < 2 && !cpu::scheduler_stopped() {
                sleep::pause("both", 1);
            }
            lk.lockmgr(lk::RELEASE);
        });
    });
}

#[test]
fn states_and_counts() {
    assert_eq!(
        verdict(Config::default(), || {
            let (lk, td) = (lock(lk::CANRECURSE), curthread());
            assert_eq!(lk.lockmgr(lk::SHARED), 0);
            assert_eq!((lk.status(), td.locks.get(), td.lk_slocks.get()), (lk::SHARED, 1, 1));
            assert_eq!(lk.lockmgr(lk::UPGRADE), 0);
            assert_eq!((lk.status(), td.locks.get(), td.lk_slocks.get()), (lk::EXCLUSIVE, 1, 0));
            lk.assert(ka::XLOCKED | ka::NOTRECURSED);
            // WITNESS would panic first, if it were asked.
            assert_eq!(lk.lockmgr(lk::SHARED | lk::NOWAIT), EDEADLK);
            assert_eq!(lk.lockmgr(lk::EXCLUSIVE), 0);
            lk.assert(ka::XLOCKED | ka::RECURSED);
            lk.lockmgr(lk::RELEASE);
            assert_eq!(lk.lockmgr(lk::DOWNGRADE), 0);
            assert_eq!((lk.status(), td.locks.get(), td.lk_slocks.get()), (lk::SHARED, 1, 1));
            assert_eq!(lk.lockmgr(lk::TRYUPGRADE), 0);
            lk.lockmgr(lk::RELEASE);
            assert_eq!((lk.status(), td.locks.get(), td.lk_slocks.get()), (0, 0, 0));
            assert_eq!(lk.lockmgr(lk::DRAIN), 0);
            assert_eq!(lk.status(), lk::EXCLUSIVE);
            lk.disown();
            assert_eq!((lk.status(), td.locks.get()), (lk::EXCLUSIVE, 0));
            lk.lockmgr(lk::RELEASE);
            lk.destroy();
        }),
        Verdict::Pass
    );
}

#[test]
fn a_lock_that_nobody_shares() {
    assert_eq!(
        verdict(Config::default(), || {
            let lk = lock(lk::NOSHARE);
            assert_eq!(lk.lockmgr(lk::SHARED), 0);
            assert_eq!(lk.status(), lk::EXCLUSIVE);
            assert_eq!(lk.lockmgr(lk::DOWNGRADE), 0);
            assert_eq!(lk.lockmgr(lk::UPGRADE), 0);
            assert_eq!(lk.status(), lk::EXCLUSIVE);
            lk.lockmgr(lk::RELEASE);
        }),
        Verdict::Pass
    );
}

/// What a request gives while another thread owns the lock, or shares it.
fn beside(held: u32, flags: u32, wait: Wait) -> i32 {
    let error = Arc::new(Owned32::new(u32::MAX));
    let (error2, lk) = (Arc::clone(&error), lock(0));
    threads(2, move |i| {
        if i == 0 {
            lk.lockmgr(held);
            error2.set(0);
            sleep::pause("held", 20);
            lk.lockmgr(lk::RELEASE);
        } else {
            while error2.get() != 0 && !cpu::scheduler_stopped() {
                sleep::pause("first", 1);
            }
            let got = lk.args(flags, None, wait, Loc::caller());
            error2.set(got as u32);
            if got == 0 {
                lk.lockmgr(lk::RELEASE);
            }
        }
    });
    error.get() as i32
}

#[test]
fn requests_that_do_not_wait_for_ever() {
    let expect = |held, flags, timo, error| {
        // Not on smp, where the request may come too late.
        let found = explore_random(Config::default(), 50, &|| {
            let wait = Wait { timo, ..Wait::default() };
            assert_eq!(beside(held, flags, wait), error, "{flags:#x}");
        });
        assert!(found.is_none(), "{found:?}");
    };
    expect(lk::EXCLUSIVE, lk::SHARED | lk::NOWAIT, 0, EBUSY);
    expect(lk::EXCLUSIVE, lk::EXCLUSIVE | lk::NOWAIT, 0, EBUSY);
    expect(lk::SHARED, lk::DRAIN | lk::NOWAIT, 0, EBUSY);
    expect(lk::SHARED, lk::SHARED | lk::NOWAIT, 0, 0);
    expect(lk::EXCLUSIVE, lk::EXCLUSIVE | lk::SLEEPFAIL, 0, ENOLCK);
    expect(lk::EXCLUSIVE, lk::SHARED | lk::SLEEPFAIL, 0, ENOLCK);
    expect(lk::SHARED, lk::EXCLUSIVE | lk::TIMELOCK, 3, EWOULDBLOCK);
    expect(lk::EXCLUSIVE, lk::SHARED, 0, 0);
}

#[test]
fn two_that_upgrade_take_turns() {
    passes(Config::default(), 500, || {
        let (lk, n) = (lock(0), Arc::new(Owned32::new(0)));
        let n2 = Arc::clone(&n);
        threads(2, move |_| {
            lk.lockmgr(lk::SHARED);
            sleep::pause("shared", 1);
            // Whoever does not get it at once has given the shared lock up, so nobody waits for himself.
            lk.lockmgr(lk::UPGRADE);
            n2.set(n2.get() + 1);
            lk.lockmgr(lk::RELEASE);
        });
        assert!(n.get() == 2 || cpu::scheduler_stopped());
    });
}

#[test]
fn a_drain_waits_for_sharers_and_owners() {
    passes(Config::default(), 500, || {
        let (lk, inside) = (lock(0), Arc::new(Shared32::new(0)));
        threads(3, move |i| {
            if i < 2 {
                lk.lockmgr(if i == 0 { lk::SHARED } else { lk::EXCLUSIVE });
                inside.fetchadd(1);
                sleep::pause("held", 2);
                inside.fetchadd(u32::MAX);
                lk.lockmgr(lk::RELEASE);
            } else {
                lk.lockmgr(lk::DRAIN);
                assert!(inside.get() == 0 || cpu::scheduler_stopped());
                lk.assert(ka::XLOCKED);
                lk.lockmgr(lk::RELEASE);
            }
        });
    });
}

#[test]
fn the_interlock_is_dropped_whether_or_not_one_sleeps() {
    passes(Config::default(), 300, || {
        let (lk, m) = (lock(0), mtx(c"interlock", Mtxf::DEF));
        threads(2, move |_| {
            m.lock();
            assert_eq!(lk.lockmgr_interlock(lk::EXCLUSIVE, m.object()), 0);
            assert!(!m.owned());
            sleep::pause("held", 1);
            m.lock();
            lk.lockmgr_interlock(lk::RELEASE, m.object());
            assert!(!m.owned());
        });
    });
}

/// The owner may give the lock back as soon as the interlock is dropped: who waits is on the sleep queue by then.
#[test]
fn no_release_is_lost_once_the_interlock_is_dropped() {
    passes(Config::default(), 1000, || {
        let (lk, m) = (lock(0), mtx(c"interlock", Mtxf::DEF));
        threads(2, move |_| {
            m.lock();
            assert_eq!(lk.lockmgr_interlock(lk::EXCLUSIVE, m.object()), 0);
            critical_enter();
            critical_exit();
            lk.lockmgr(lk::RELEASE);
        });
    });
}

#[test]
fn a_sleeper_that_fails_spends_no_wakeup() {
    passes(Config::default(), 500, || {
        let lk = lock(0);
        threads(3, move |i| {
            let flags = if i == 0 { lk::EXCLUSIVE | lk::SLEEPFAIL } else { lk::SHARED };
            if i == 1 {
                lk.lockmgr(lk::EXCLUSIVE);
                sleep::pause("held", 2);
                lk.lockmgr(lk::RELEASE);
            } else if lk.lockmgr(flags) == 0 {
                lk.lockmgr(lk::RELEASE);
            }
        });
    });
}

/// A thread that may not sleep wants a lock whose owner, in a critical section on the other CPU, runs on.
fn wanted_without_sleeping(flags: u32, op: u32) -> impl Fn() {
    move || {
        let lk = lock(lk::NOWITNESS);
        let other = Arc::clone(&lk);
        let latch = common::Latch::new(1);
        let done = Arc::clone(&latch);
        explore::begin();
        common::spawn_at("taker", PUSER, Some(1), move || {
            thread_no_sleeping();
            assert_eq!(other.lockmgr(op | flags), 0);
            assert!(other.lockmgr(lk::RELEASE) == 0 || cpu::scheduler_stopped());
            thread_sleeping_ok();
            done.done();
        });
        critical_enter();
        if lk.lockmgr(lk::EXCLUSIVE | lk::NOWAIT) == 0 {
            for _ in 0..2 {
                critical_enter();
                critical_exit();
            }
            lk.lockmgr(lk::RELEASE);
        }
        critical_exit();
        explore::end();
        latch.wait();
    }
}

#[test]
fn adaptive_taker_spins_while_the_owner_runs() {
    for op in [lk::EXCLUSIVE, lk::SHARED] {
        passes(Config::default(), 300, wanted_without_sleeping(lk::ADAPTIVE, op));
        let slept = explore_random(Config::default(), 300, &wanted_without_sleeping(0, op)).expect("never slept");
        assert!(slept.1.verdict.message().ends_with("with sleeping prohibited"), "{}", slept.1.verdict);
    }
}

#[test]
fn adaptive_taker_sleeps_when_the_owner_does() {
    for cpus in [1, 2, 4] {
        passes(Config { cpus, ..Config::default() }, 300, || {
            let (lk, n) = (lock(0), Arc::new(Owned32::new(0)));
            let (lk2, n2) = (Arc::clone(&lk), Arc::clone(&n));
            threads(4, move |i| {
                let op = if i == 3 { lk::SHARED } else { lk::EXCLUSIVE };
                assert_eq!(lk2.lockmgr(op | lk::ADAPTIVE), 0);
                if i == 3 {
                    let seen = n2.get();
                    sleep::pause("held", 1);
                    assert!(n2.get() == seen || cpu::scheduler_stopped());
                } else {
                    let seen = n2.get();
                    sleep::pause("held", 1);
                    n2.set(seen + 1);
                }
                lk2.lockmgr(lk::RELEASE);
            });
            assert_eq!((n.get(), lk.status()), (3, 0));
        });
    }
}

#[test]
fn adaptive_taker_with_an_interlock_does_not_spin() {
    // Its holder might be who the owner waits for.
    let found = explore_random(Config::default(), 300, &|| {
        let lk = lock(lk::NOWITNESS);
        let other = Arc::clone(&lk);
        let latch = common::Latch::new(1);
        let done = Arc::clone(&latch);
        explore::begin();
        common::spawn_at("taker", PUSER, Some(1), move || {
            let i = mtx(c"i", Mtxf::NOWITNESS);
            i.lock();
            thread_no_sleeping();
            _ = other.lockmgr_interlock(lk::EXCLUSIVE | lk::ADAPTIVE, i.object());
            thread_sleeping_ok();
            other.lockmgr(lk::RELEASE);
            done.done();
        });
        critical_enter();
        if lk.lockmgr(lk::EXCLUSIVE | lk::NOWAIT) == 0 {
            critical_enter();
            critical_exit();
            lk.lockmgr(lk::RELEASE);
        }
        critical_exit();
        explore::end();
        latch.wait();
    });
    let (_, execution) = found.expect("it never slept");
    assert!(execution.verdict.message().ends_with("with sleeping prohibited"), "{}", execution.verdict);
}
