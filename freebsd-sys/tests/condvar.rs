//! condvar(9) on both engines.

mod common;

use common::{once, passes, spawn, spawn_at, threads, verdict};
use freebsd_sys::atomic::{Owned32, Shared32};
use freebsd_sys::condvar::Cv;
use freebsd_sys::host::explore::{self, Options};
use freebsd_sys::host::schedule::random::Random;
use freebsd_sys::interrupt::{Arrival, Filter};
use freebsd_sys::machine::{Config, Engine, Machine, Verdict};
use freebsd_sys::mutex::{Mtx, Mtxf};
use freebsd_sys::rwlock::{Rw, Rwf};
use freebsd_sys::sleepqueue::{EINTR, EWOULDBLOCK};
use freebsd_sys::sx::{Sx, Sxf};
use freebsd_sys::thread::{Kthread, curthread, kthread_add};
use freebsd_sys::{cpu, critical, interrupt, sched, sleep, sleepqueue};
use std::sync::Arc;

struct Shared {
    mtx: Mtx,
    cv: Cv,
    n: Owned32,
}

fn shared() -> Arc<Shared> {
    let s = Arc::new(Shared { mtx: Mtx::zeroed(), cv: Cv::zeroed(), n: Owned32::new(0) });
    s.mtx.init(c"mtx", Mtxf::NOWITNESS);
    s.cv.init(c"cond");
    s
}

#[test]
fn a_waiter_is_woken_with_its_mutex_held() {
    passes(Config::default(), 500, || {
        let s = shared();
        let s2 = Arc::clone(&s);
        threads(2, move |i| {
            s2.mtx.lock();
            if i == 0 {
                while s2.n.get() == 0 && !cpu::scheduler_stopped() {
                    s2.cv.wait(s2.mtx.object());
                }
                assert!(s2.mtx.owned() || cpu::scheduler_stopped());
            } else {
                s2.n.set(1);
                s2.cv.signal();
            }
            s2.mtx.unlock();
        });
        s.cv.destroy();
    });
}

#[test]
fn broadcast_wakes_everybody() {
    passes(Config::default(), 300, || {
        let s = shared();
        threads(4, move |i| {
            s.mtx.lock();
            if i == 3 {
                s.n.set(1);
                s.cv.broadcast();
            }
            while s.n.get() == 0 && !cpu::scheduler_stopped() {
                s.cv.wait(s.mtx.object());
            }
            s.mtx.unlock();
        });
    });
}

/// FreeBSD keeps the chain locked from the queue to the switch, so no signal comes early enough to spare a waiter its panic.
#[test]
fn a_signal_before_the_sleep_does_not_hide_that_one_may_not_sleep() {
    let m = Machine::new(Config::default(), Engine::Explore);
    let main = || {
        let s = shared();
        threads(2, move |i| {
            if i == 1 {
                s.cv.signal();
                return;
            }
            s.mtx.lock();
            critical::critical_enter();
            s.cv.wait(s.mtx.object());
            critical::critical_exit();
            s.mtx.unlock();
        });
    };
    let mut random = Random::new(1);
    for index in 0..500 {
        let execution = explore::run(&m, &mut random, Options { index, ..Options::default() }, &main);
        assert_eq!(execution.verdict, Verdict::Panic("mi_switch: switch in a critical section".to_owned()), "{index}");
    }
}

#[test]
fn signal_wakes_only_the_best_waiter() {
    assert_eq!(
        verdict(Config::default(), || {
            let s = shared();
            let woken = Arc::new(Shared32::new(0));
            for priority in [100, 80, 120] {
                let (s, woken) = (Arc::clone(&s), Arc::clone(&woken));
                spawn_at("waiter", priority, None, move || {
                    s.mtx.lock();
                    s.cv.wait(s.mtx.object());
                    woken.fetchadd(priority);
                    s.mtx.unlock();
                });
            }
            sleep::pause("wait", 5);
            s.cv.signal();
            sleep::pause("one", 5);
            assert_eq!(woken.get(), 80);
            s.cv.broadcast();
            sleep::pause("all", 5);
            assert_eq!(woken.get(), 300);
            s.cv.destroy();
        }),
        Verdict::Pass
    );
}

#[test]
fn wait_unlock_returns_without_the_lock() {
    assert_eq!(
        verdict(Config::default(), || {
            let s = shared();
            let s2 = Arc::clone(&s);
            spawn("waiter", move || {
                s2.mtx.lock();
                s2.cv.wait_unlock(s2.mtx.object());
                assert!(!s2.mtx.owned());
                assert_eq!(curthread().locks.get(), 0);
                s2.n.set(1);
            });
            sleep::pause("wait", 5);
            s.mtx.lock();
            s.cv.signal();
            sleep::pause("with it held", 0);
            s.mtx.unlock();
            sleep::pause("end", 5);
            assert_eq!(s.n.get(), 1);
        }),
        Verdict::Pass
    );
}

#[test]
fn a_timed_wait_ends_and_says_why() {
    passes(Config::default(), 50, || {
        let s = shared();
        s.mtx.lock();
        let before = sleep::ticks();
        assert_eq!(s.cv.timedwait(s.mtx.object(), 5), EWOULDBLOCK);
        assert!(sleep::ticks() >= before + 5);
        assert_eq!(s.cv.timedwait_sig(s.mtx.object(), 1), EWOULDBLOCK);
        s.mtx.unlock();
        // The waiters that left are still counted; that must not hurt.
        s.cv.signal();
        s.cv.broadcast();
        s.cv.destroy();
    });
}

#[test]
fn witness_remembers_where_the_lock_was_first_taken() {
    let line = line!() + 5;
    let e = once(Config::default(), || {
        let (m, cv) = (Mtx::zeroed(), Cv::zeroed());
        m.init(c"mtx", Mtxf::DEF);
        cv.init(c"cond");
        m.lock();
        cv.timedwait(m.object(), 1);
        sleep::pause("nap", 1);
        m.unlock();
    });
    let held = e.console.iter().find(|text| text.contains("locked @")).expect("pause() names the lock");
    assert!(held.contains(&format!("condvar.rs:{line}")), "{held}");
}

#[test]
fn a_timed_wait_that_is_signalled_returns_0() {
    assert_eq!(
        verdict(Config::default(), || {
            let s = shared();
            let s2 = Arc::clone(&s);
            spawn("waiter", move || {
                s2.mtx.lock();
                assert_eq!(s2.cv.timedwait(s2.mtx.object(), 1000), 0);
                s2.n.set(1);
                s2.mtx.unlock();
            });
            sleep::pause("wait", 5);
            s.cv.signal();
            sleep::pause("end", 5);
            assert_eq!(s.n.get(), 1);
        }),
        Verdict::Pass
    );
}

#[test]
fn a_signal_ends_an_interruptible_wait() {
    assert_eq!(
        verdict(Config::default(), || {
            let s = shared();
            let s2 = Arc::clone(&s);
            let td =
                kthread_add(Kthread { name: "waiter", priority: sched::pri::PUSER, flags: 0, cpu: None }, move || {
                    s2.mtx.lock();
                    assert_eq!(s2.cv.wait_sig(s2.mtx.object()), EINTR);
                    assert!(s2.mtx.owned());
                    s2.n.set(1);
                    s2.mtx.unlock();
                });
            sleep::pause("wait", 5);
            sleepqueue::abort(td, EINTR);
            sleep::pause("end", 5);
            assert_eq!(s.n.get(), 1);
        }),
        Verdict::Pass
    );
}

#[test]
fn rwlocks_and_sx_locks_are_taken_back_as_they_were_held() {
    passes(Config::default(), 100, || {
        let rw = Arc::new((Rw::zeroed(), Sx::zeroed(), Cv::zeroed()));
        rw.0.init(c"rw", Rwf::NOWITNESS);
        rw.1.init(c"sx", Sxf::NOWITNESS);
        rw.2.init(c"cond");
        rw.0.rlock();
        assert_eq!(rw.2.timedwait(rw.0.object(), 1), EWOULDBLOCK);
        assert_eq!(curthread().rw_rlocks.get(), 1);
        rw.0.runlock();
        rw.0.wlock();
        assert_eq!(rw.2.timedwait(rw.0.object(), 1), EWOULDBLOCK);
        assert!(rw.0.wowned());
        rw.0.wunlock();
        rw.1.slock();
        assert_eq!(rw.2.timedwait(rw.1.object(), 1), EWOULDBLOCK);
        assert_eq!(curthread().sx_slocks.get(), 1);
        rw.1.sunlock();
        rw.1.xlock();
        assert_eq!(rw.2.timedwait(rw.1.object(), 1), EWOULDBLOCK);
        assert!(rw.1.xlocked());
        rw.1.xunlock();
    });
}

/// Whether an interrupt finds the thread that waits with a mutex, or an sx lock, already without it and not yet asleep.
fn interrupted_between_interlock_and_sleep(sleepable: bool) -> bool {
    let m = Machine::new(Config { cpus: 1, ..Config::default() }, Engine::Explore);
    let mut schedule = Random::new(1);
    (0..500).any(|index| {
        let seen = Arc::new(Owned32::new(0));
        let seen2 = Arc::clone(&seen);
        let main = move || {
            let (cv, mtx, sx) = (Arc::new(Cv::zeroed()), Arc::new(Mtx::zeroed()), Arc::new(Sx::zeroed()));
            cv.init(c"cond");
            mtx.init(c"mtx", Mtxf::DEF);
            sx.init(c"sx", Sxf::empty());
            let td = curthread();
            let (cv2, mtx2, sx2, seen) = (Arc::clone(&cv), Arc::clone(&mtx), Arc::clone(&sx), Arc::clone(&seen2));
            let irq = interrupt::create("irq", Arrival::AnyTime, sched::pri::PI_REALTIME, Some(0));
            let filter = move || {
                let queued = sleepqueue::sleepcnt(Arc::as_ptr(&cv2) as usize, 0) == 1;
                let owned = if sleepable { sx2.xlocked() } else { mtx2.owned() };
                if core::ptr::eq(curthread(), td) && queued && !owned {
                    seen.set(1);
                }
                Filter::Handled
            };
            interrupt::setup(irq, Some(Box::new(filter)), None, 1);
            explore::begin();
            if sleepable {
                sx.xlock();
                cv.timedwait(sx.object(), 1);
                sx.xunlock();
            } else {
                mtx.lock();
                cv.timedwait(mtx.object(), 1);
                mtx.unlock();
            }
            explore::end();
        };
        let e = explore::run(&m, &mut schedule, Options { index, ..Options::default() }, &main);
        assert_eq!(e.verdict, Verdict::Pass);
        seen.get() == 1
    })
}

/// FreeBSD keeps the chain locked while a mutex goes, and frees it while an sx lock does.
#[test]
fn interrupts_come_between_the_interlock_and_the_sleep_only_if_it_is_sleepable() {
    assert!(interrupted_between_interlock_and_sleep(true));
    assert!(!interrupted_between_interlock_and_sleep(false));
}
