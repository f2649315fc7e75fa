//! Giant on both engines: who sleeps drops it.

mod common;

use common::{mtx, passes, threads, verdict};
use freebsd_sys::atomic::Owned32;
use freebsd_sys::condvar::Cv;
use freebsd_sys::epoch::net_epoch_preempt;
use freebsd_sys::giant::{drop_giant, giant};
use freebsd_sys::host::explore::{self, Options};
use freebsd_sys::host::schedule::random::Random;
use freebsd_sys::lock::{Loc, LockObject};
use freebsd_sys::lockmgr::{Lock, lk};
use freebsd_sys::machine::{Budget, Config, Engine, Machine, Verdict};
use freebsd_sys::mutex::Mtxf;
use freebsd_sys::sleep::{self, How};
use freebsd_sys::sx::{Sx, Sxf};
use freebsd_sys::thread::curthread;
use freebsd_sys::{cpu, critical, sched};
use std::sync::Arc;

#[test]
fn it_excludes() {
    for cpus in [1, 2] {
        passes(Config { cpus, ..Config::default() }, 300, || {
            let n = Arc::new(Owned32::new(0));
            let n2 = Arc::clone(&n);
            threads(3, move |_| {
                giant().lock();
                let seen = n2.get();
                sched::sched_relinquish();
                n2.set(seen + 1);
                giant().unlock();
            });
            assert!(n.get() == 3 || cpu::scheduler_stopped());
        });
    }
}

/// Holds Giant twice and calls `sleep`, while another thread needs Giant to go on and wake it.
fn sleeper_and_waker(sleep: impl Fn() + Send + Sync + 'static, wake: impl Fn() + Send + Sync + 'static) {
    let state = Arc::new(Owned32::new(0));
    threads(2, move |i| {
        if i == 0 {
            giant().lock();
            giant().lock();
            state.set(1);
            // A sleep that time ends may be too short for the other thread on a busy host: it is nobody's fault but the host's.
            for _ in 0..100 {
                sleep();
                assert!(cpu::scheduler_stopped() || giant().owned() && giant().recursed());
                if state.get() == 2 {
                    break;
                }
            }
            assert!(cpu::scheduler_stopped() || state.get() == 2, "nobody could take Giant meanwhile");
            giant().unlock();
            giant().unlock();
            assert!(cpu::scheduler_stopped() || curthread().locks.get() == 0);
        } else {
            while state.get() == 0 && !cpu::scheduler_stopped() {
                sleep::pause("first", 1);
            }
            giant().lock();
            state.set(2);
            wake();
            giant().unlock();
        }
    });
}

#[test]
fn every_sleep_drops_it_and_takes_it_back() {
    passes(Config::default(), 200, || sleeper_and_waker(|| _ = sleep::pause("nap", 20), || ()));
    passes(Config::default(), 200, || {
        // Giant itself as the interlock.
        let how = How::default();
        sleeper_and_waker(move || _ = sleep::sleep(8, Some(giant().object()), how, "nap"), || sleep::wakeup(8));
    });
    passes(Config::default(), 200, || {
        let cv = Arc::new(Cv::zeroed());
        cv.init(c"cv");
        let waker = Arc::clone(&cv);
        sleeper_and_waker(move || cv.wait(giant().object()), move || waker.signal());
    });
    passes(Config::default(), 200, || {
        let (m, cv) = (mtx(c"m", Mtxf::DEF), Arc::new(Cv::zeroed()));
        cv.init(c"cv");
        let (m2, waker) = (Arc::clone(&m), Arc::clone(&cv));
        sleeper_and_waker(
            move || {
                // Giant comes before the mutex, which goes first and comes back last.
                m.lock();
                cv.timedwait(m.object(), 20);
                m.unlock();
            },
            move || {
                m2.lock();
                waker.broadcast();
                m2.unlock();
            },
        );
    });
}

#[test]
fn waiting_for_a_sleepable_lock_drops_it() {
    passes(Config::default(), 300, || {
        let sx = Arc::new(Sx::zeroed());
        sx.init(c"sx", Sxf::empty());
        threads(2, move |i| {
            if i == 0 {
                sx.xlock();
                sleep::pause("owner", 2);
                // The other one may wait for the sx lock by now: were it to keep Giant, this would be the end.
                giant().lock();
                giant().unlock();
                sx.xunlock();
            } else {
                giant().lock();
                sx.slock();
                assert!(cpu::scheduler_stopped() || giant().owned());
                sx.sunlock();
                giant().unlock();
            }
        });
    });
    passes(Config::default(), 300, || {
        let lock = Arc::new(Lock::zeroed());
        lock.init(0, c"lk", 0, 0);
        threads(2, move |i| {
            if i == 0 {
                lock.lockmgr(lk::EXCLUSIVE);
                sleep::pause("owner", 2);
                giant().lock();
                giant().unlock();
                lock.lockmgr(lk::RELEASE);
            } else {
                giant().lock();
                lock.lockmgr(lk::SHARED);
                assert!(cpu::scheduler_stopped() || giant().owned());
                lock.lockmgr(lk::RELEASE);
                giant().unlock();
            }
        });
    });
}

#[test]
fn waiting_for_an_epoch_drops_it() {
    passes(Config::default(), 300, || {
        threads(2, |i| {
            if i == 0 {
                net_epoch_preempt().section(|| {
                    giant().lock();
                    giant().unlock();
                });
            } else {
                giant().lock();
                net_epoch_preempt().wait_preempt();
                assert!(cpu::scheduler_stopped() || giant().owned());
                giant().unlock();
            }
        });
    });
}

#[test]
fn dropping_what_one_does_not_hold() {
    assert_eq!(
        verdict(Config::default(), || {
            drop_giant(Loc::caller()).pickup(Loc::caller());
            assert!(!giant().owned());
            giant().lock();
            let dropped = drop_giant(Loc::caller());
            assert!(!giant().owned());
            dropped.pickup(Loc::caller());
            assert!(giant().owned() && !giant().recursed());
            giant().unlock();
        }),
        Verdict::Pass
    );
}

#[test]
fn as_an_interlock_it_has_to_be_held() {
    fn cv() -> Cv {
        let cv = Cv::zeroed();
        cv.init(c"cv");
        cv
    }
    let waits: [(&str, fn()); 3] = [
        ("mutex Giant not owned at", || cv().wait(giant().object())),
        ("mutex Giant not owned at", || _ = sleep::sleep(1, Some(giant().object()), How::default(), "w")),
        ("cv_wait_unlock cannot be used with Giant", || {
            giant().lock();
            cv().wait_unlock(giant().object());
        }),
    ];
    for (expected, wait) in waits {
        let text = verdict(Config::default(), wait);
        assert!(matches!(&text, Verdict::Panic(text) if text.starts_with(expected)), "{text}");
    }
}

/// From the sleep queue to the switch nothing comes in between, though Giant goes meanwhile: time that runs out spares nobody the panic.
#[test]
fn who_drops_it_is_as_good_as_asleep() {
    let config =
        || Config { cpus: 1, invariants: true, budget: Budget { ticks: 1, ..Budget::default() }, ..Config::default() };
    let timed = || How { ticks: 1, ..How::default() };
    let cv = |lock: &LockObject| {
        let cv = Cv::zeroed();
        cv.init(c"cv");
        cv.timedwait(lock, 1);
    };
    for sleep in 0..4 {
        for seed in 0..200 {
            let m = Machine::new(config(), Engine::Explore);
            let body = || {
                explore::begin();
                giant().lock();
                critical::critical_enter();
                match sleep {
                    0 => _ = sleep::sleep(8, Some(giant().object()), timed(), "nap"),
                    1 => _ = sleep::sleep(8, None, timed(), "nap"),
                    2 => cv(giant().object()),
                    _ => _ = sleep::pause("nap", 1),
                }
            };
            let verdict = explore::run(&m, &mut Random::new(seed), Options::default(), &body).verdict;
            assert_eq!(verdict, Verdict::Panic("mi_switch: switch in a critical section".into()), "{sleep}, {seed}");
        }
    }
}

/// Who takes the interlock of a thread that sleeps finds Giant free.
#[test]
fn it_goes_before_the_interlock() {
    for spin in [false, true] {
        passes(Config { cpus: 2, ..Config::default() }, 300, move || {
            let sleeps = Arc::new(Owned32::new(0));
            let interlock = mtx(c"interlock", if spin { Mtxf::SPIN } else { Mtxf::empty() });
            threads(2, move |i| {
                let lock = || if spin { interlock.lock_spin() } else { interlock.lock() };
                let unlock = || if spin { interlock.unlock_spin() } else { interlock.unlock() };
                let chan = Arc::as_ptr(&sleeps) as usize;
                if i == 0 {
                    giant().lock();
                    lock();
                    sleeps.set(1);
                    if spin {
                        sleep::msleep_spin(chan, &interlock, "nap", 0);
                    } else {
                        sleep::sleep(chan, Some(interlock.object()), How::default(), "nap");
                    }
                    unlock();
                    giant().unlock();
                    return;
                }
                lock();
                let slept = sleeps.get() == 1;
                unlock();
                // It sleeps until it is told otherwise, or is yet to come.
                if slept && !cpu::scheduler_stopped() {
                    assert!(giant().trylock(), "it sleeps, and has Giant");
                    giant().unlock();
                }
                while sleeps.get() == 0 && !cpu::scheduler_stopped() {
                    sleep::pause("first", 1);
                }
                lock();
                sleep::wakeup(chan);
                unlock();
            });
        });
    }
}
