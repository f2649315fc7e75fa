//! sx(9) on both engines.

mod common;

use common::{explore_random, panic_text, passes, smp_once, spawn, spawn_at, threads, verdict};
use freebsd_sys::atomic::{Owned32, Shared32};
use freebsd_sys::host::explore;
use freebsd_sys::machine::{Config, Verdict};
use freebsd_sys::sched::pri::PUSER;
use freebsd_sys::sx::{Sx, Sxf, sa};
use freebsd_sys::thread::{Kthread, State, curthread, kthread_add, thread_no_sleeping, thread_sleeping_ok};
use freebsd_sys::{critical, giant, sched, sleep, sleepqueue};
use std::sync::Arc;

/// INVARIANTS without WITNESS: the lock's own checks speak.
fn plain() -> Config {
    Config { witness: false, ..Config::default() }
}

fn sx(opts: Sxf) -> Arc<Sx> {
    let sx = Arc::new(Sx::zeroed());
    sx.init(c"lnxsx", opts | Sxf::NOWITNESS);
    sx
}

/// A boundary.
fn boundary() {
    critical::critical_enter();
    critical::critical_exit();
}

#[test]
fn exclusive_holders_exclude_everybody() {
    passes(Config::default(), 1500, || {
        let (lock, n) = (sx(Sxf::empty()), Arc::new([Owned32::new(0), Owned32::new(0)]));
        let (lock2, n2) = (Arc::clone(&lock), Arc::clone(&n));
        threads(3, move |i| {
            for _ in 0..2 {
                if i == 0 {
                    lock2.slock();
                    let seen = n2[0].get();
                    boundary();
                    assert_eq!(seen, n2[1].get(), "a sharer saw half a write");
                    lock2.sunlock();
                } else {
                    lock2.xlock();
                    n2[0].set(n2[0].get() + 1);
                    boundary();
                    n2[1].set(n2[1].get() + 1);
                    lock2.xunlock();
                }
            }
        });
        assert_eq!(n[0].get(), 4);
        lock.destroy();
    });
}

#[test]
fn without_any_checks_it_still_excludes() {
    passes(Config { invariants: false, witness: false, ..Config::default() }, 500, || {
        let (lock, n) = (sx(Sxf::empty()), Arc::new(Owned32::new(0)));
        let (lock2, n2) = (Arc::clone(&lock), Arc::clone(&n));
        threads(4, move |i| {
            for _ in 0..20 {
                if i == 3 {
                    lock2.slock();
                    lock2.sunlock();
                } else {
                    lock2.xlock();
                    let seen = n2.get();
                    boundary();
                    n2.set(seen + 1);
                    lock2.xunlock();
                }
            }
        });
        assert_eq!(n.get(), 60);
    });
}

/// Without checks, and with nothing to be done at the boundaries, locks go the short way; one that somebody waits for does not.
#[test]
fn the_short_way_does_not_forget_a_waiter() {
    for exclusive in [true, false] {
        let bare = Config { cpus: 1, invariants: false, witness: false, ..Config::default() };
        let verdict = smp_once(bare, 0, &|| {
            let lock = sx(Sxf::empty());
            if exclusive {
                lock.xlock()
            } else {
                lock.slock()
            };
            let other = Arc::clone(&lock);
            let td = kthread_add(Kthread { name: "waiter", priority: PUSER, flags: 0, cpu: None }, move || {
                other.xlock();
                other.xunlock();
            });
            while !td.is_sleeping() {
                sched::sched_relinquish();
            }
            if exclusive {
                lock.xunlock()
            } else {
                lock.sunlock()
            };
            assert!(!td.is_sleeping(), "nobody woke it");
        });
        assert_eq!(verdict, Verdict::Pass);
    }
}

#[test]
fn a_holder_may_sleep() {
    passes(Config::default(), 300, || {
        let (lock, n) = (sx(Sxf::empty()), Arc::new(Owned32::new(0)));
        let n2 = Arc::clone(&n);
        threads(3, move |_| {
            lock.xlock();
            let seen = n2.get();
            sleep::pause("held", 1);
            n2.set(seen + 1);
            lock.xunlock();
        });
        assert_eq!(n.get(), 3);
    });
}

#[test]
fn sharers_share() {
    passes(Config::default(), 300, || {
        let (lock, inside) = (sx(Sxf::empty()), Arc::new(Shared32::new(0)));
        threads(2, move |_| {
            lock.slock();
            inside.fetchadd(1);
            while inside.get() < 2 && !freebsd_sys::cpu::scheduler_stopped() {
                sleep::pause("both", 1);
            }
            lock.sunlock();
        });
    });
}

/// thread0 shares, an exclusive taker waits; whether a second sharer gets in with `take`.
fn second_sharer(take: impl Fn(&Sx) -> bool + Send + Sync + 'static) -> bool {
    let lock = sx(Sxf::empty());
    let (lock2, lock3) = (Arc::clone(&lock), Arc::clone(&lock));
    lock.slock();
    spawn("exclusive", move || {
        lock2.xlock();
        lock2.xunlock();
    });
    sleep::pause("exclusive", 5);
    let got = Arc::new(Shared32::new(0));
    let got2 = Arc::clone(&got);
    spawn("sharer", move || {
        got2.set(1);
        if take(&lock3) {
            got2.set(2);
            lock3.sunlock();
        }
    });
    sleep::pause("sharer", 5);
    assert_ne!(got.get(), 0, "the sharer never ran");
    let early = got.get() == 2;
    lock.sunlock();
    sleep::pause("end", 5);
    lock.destroy();
    early
}

#[test]
fn a_waiting_exclusive_taker_keeps_new_sharers_out() {
    let slock = |lock: &Sx| {
        lock.slock();
        true
    };
    assert_eq!(verdict(Config::default(), || assert!(!second_sharer(slock))), Verdict::Pass);
}

#[test]
fn try_slock_ignores_a_waiting_exclusive_taker() {
    assert_eq!(verdict(Config::default(), || assert!(second_sharer(Sx::try_slock))), Verdict::Pass);
}

#[test]
fn a_sharer_of_any_sx_passes_a_waiting_exclusive_taker() {
    let nested = |lock: &Sx| {
        let other = sx(Sxf::empty());
        other.slock();
        lock.slock();
        other.sunlock();
        true
    };
    assert_eq!(verdict(Config::default(), || assert!(second_sharer(nested))), Verdict::Pass);
}

#[test]
fn exclusive_waiters_are_woken_before_shared_ones() {
    assert_eq!(
        verdict(Config { cpus: 1, ..Config::default() }, || {
            let (lock, order) = (sx(Sxf::empty()), Arc::new(Shared32::new(0)));
            lock.xlock();
            for exclusive in [false, true] {
                let (lock, order) = (Arc::clone(&lock), Arc::clone(&order));
                spawn("waiter", move || {
                    if exclusive {
                        lock.xlock()
                    } else {
                        lock.slock()
                    }
                    let place = (order.fetchadd(1 << 16) >> 16) + 1;
                    order.or(place << if exclusive { 8 } else { 0 });
                    lock.unlock();
                });
            }
            sleep::pause("queue", 5);
            lock.xunlock();
            sleep::pause("both", 5);
            assert_eq!(order.get() & 0xffff, 0x0102, "exclusive first, then shared");
        }),
        Verdict::Pass
    );
}

#[test]
fn no_priority_is_lent() {
    assert_eq!(
        verdict(Config { cpus: 1, ..Config::default() }, || {
            let lock = sx(Sxf::empty());
            let lock2 = Arc::clone(&lock);
            spawn_at("owner", 200, None, move || {
                lock2.xlock();
                let lock3 = Arc::clone(&lock2);
                spawn_at("waiter", 60, None, move || {
                    lock3.xlock();
                    lock3.xunlock();
                });
                sched::sched_relinquish();
                assert_eq!(curthread().priority.get(), 200);
                lock2.xunlock();
            });
            sleep::pause("owner", 50);
            lock.destroy();
        }),
        Verdict::Pass
    );
}

#[test]
fn a_signal_ends_an_interruptible_wait_and_nobody_is_lost() {
    passes(Config::default(), 200, || {
        let lock = sx(Sxf::empty());
        let lock2 = Arc::clone(&lock);
        let got = Arc::new(Shared32::new(0));
        let got2 = Arc::clone(&got);
        lock.xlock();
        let td = freebsd_sys::thread::kthread_add(
            freebsd_sys::thread::Kthread { name: "waiter", priority: sched::pri::PUSER, flags: 0, cpu: None },
            move || {
                let error = lock2.xlock_sig();
                assert_eq!(error, Err(sleepqueue::EINTR));
                assert_eq!(curthread().locks.get(), 0);
                got2.set(1);
            },
        );
        sleep::pause("wait", 5);
        sleepqueue::abort(td, sleepqueue::EINTR);
        while got.get() == 0 && !freebsd_sys::cpu::scheduler_stopped() {
            sleep::pause("got", 1);
        }
        // The waiters bit that it left behind wakes nobody, and hurts nobody.
        lock.xunlock();
        lock.slock();
        lock.sunlock();
        lock.destroy();
    });
}

#[test]
fn an_interrupted_exclusive_waiter_does_not_hide_the_shared_ones() {
    assert_eq!(
        verdict(Config::default(), || {
            let (lock, got) = (sx(Sxf::empty()), Arc::new(Shared32::new(0)));
            let (lock2, lock3, got3) = (Arc::clone(&lock), Arc::clone(&lock), Arc::clone(&got));
            lock.xlock();
            let td = freebsd_sys::thread::kthread_add(
                freebsd_sys::thread::Kthread { name: "waiter", priority: sched::pri::PUSER, flags: 0, cpu: None },
                move || assert_eq!(lock2.xlock_sig(), Err(sleepqueue::EINTR)),
            );
            spawn("sharer", move || {
                lock3.slock();
                got3.set(1);
                lock3.sunlock();
            });
            sleep::pause("wait", 5);
            sleepqueue::abort(td, sleepqueue::EINTR);
            sleep::pause("gone", 5);
            lock.xunlock();
            sleep::pause("sharer", 5);
            assert_eq!(got.get(), 1, "the sharer was never woken");
        }),
        Verdict::Pass
    );
}

/// An exclusive owner asks the sleep queue, the last sharer does not: FreeBSD's bug, which drivers with killable waits can meet.
#[test]
fn the_last_sharer_believes_an_interrupted_exclusive_waiters_bit() {
    assert_eq!(
        verdict(Config::default(), || {
            let (lock, got) = (sx(Sxf::empty()), Arc::new(Shared32::new(0)));
            let (lock2, lock3, got3) = (Arc::clone(&lock), Arc::clone(&lock), Arc::clone(&got));
            lock.slock();
            let td = kthread_add(Kthread { name: "waiter", priority: PUSER, flags: 0, cpu: None }, move || {
                assert_eq!(lock2.xlock_sig(), Err(sleepqueue::EINTR));
            });
            sleep::pause("wait", 5);
            sleepqueue::abort(td, sleepqueue::EINTR);
            spawn("sharer", move || {
                lock3.slock();
                got3.set(1);
                lock3.sunlock();
            });
            sleep::pause("gone", 5);
            lock.sunlock();
            sleep::pause("sharer", 5);
            assert_eq!(got.get(), 0, "woken by nobody");
            // The next one to free the lock finds only the sharer's bit.
            lock.slock();
            lock.sunlock();
            sleep::pause("sharer", 5);
            assert_eq!(got.get(), 1);
        }),
        Verdict::Pass
    );
}

/// Who shares an sx lock already gets in past a taker that waits. With INVARIANTS that is found out before Giant goes.
#[test]
fn a_sharer_that_need_not_wait_keeps_giant_with_invariants() {
    for invariants in [true, false] {
        let config = Config { invariants, adaptive: false, ..plain() };
        let found = explore_random(config, 500, &|| {
            let (lock, got) = (sx(Sxf::empty()), Arc::new(Shared32::new(0)));
            let (lock2, got2) = (Arc::clone(&lock), Arc::clone(&got));
            giant::giant().lock();
            lock.slock();
            let waits = |name, body: Box<dyn FnOnce() + Send>| {
                let td = kthread_add(Kthread { name, priority: PUSER, flags: 0, cpu: None }, body);
                while td.state() != State::Inhibited {
                    sched::sched_relinquish();
                }
            };
            waits(
                "taker",
                Box::new(move || {
                    lock2.xlock();
                    lock2.xunlock();
                }),
            );
            waits(
                "giant",
                Box::new(move || {
                    giant::giant().lock();
                    got2.set(1);
                    giant::giant().unlock();
                }),
            );
            explore::begin();
            lock.slock();
            explore::end();
            assert_eq!(got.get(), 0, "Giant was dropped");
            lock.sunlock();
            lock.sunlock();
            giant::giant().unlock();
            sleep::pause("rest", 5);
        });
        assert_eq!(found.is_none(), invariants, "{found:?}");
    }
}

#[test]
fn a_downgrade_wakes_the_sharers_that_wait() {
    passes(Config::default(), 50, || {
        let (lock, got) = (sx(Sxf::empty()), Arc::new(Shared32::new(0)));
        let (lock2, got2) = (Arc::clone(&lock), Arc::clone(&got));
        lock.xlock();
        spawn("sharer", move || {
            lock2.slock();
            got2.set(1);
            lock2.sunlock();
        });
        sleep::pause("wait", 5);
        lock.downgrade();
        while got.get() == 0 && !freebsd_sys::cpu::scheduler_stopped() {
            sleep::pause("sharer", 1);
        }
        lock.sunlock();
    });
}

#[test]
fn upgrade_needs_the_only_sharer() {
    passes(Config::default(), 300, || {
        let (lock, n) = (sx(Sxf::empty()), Arc::new(Owned32::new(0)));
        let n2 = Arc::clone(&n);
        threads(2, move |_| {
            lock.slock();
            boundary();
            if lock.try_upgrade() {
                let seen = n2.get();
                boundary();
                n2.set(seen + 1);
                lock.xunlock();
            } else {
                lock.sunlock();
                lock.xlock();
                n2.set(n2.get() + 1);
                lock.xunlock();
            }
        });
        assert_eq!(n.get(), 2);
    });
}

#[test]
fn downgrade_lets_sharers_in_and_keeps_others_out() {
    passes(Config::default(), 500, || {
        let (lock, n) = (sx(Sxf::empty()), Arc::new(Owned32::new(0)));
        let n2 = Arc::clone(&n);
        threads(3, move |i| {
            if i == 0 {
                lock.slock();
                boundary();
                lock.sunlock();
                return;
            }
            lock.xlock();
            let mine = n2.get() + 1;
            n2.set(mine);
            lock.downgrade();
            boundary();
            assert_eq!(n2.get(), mine, "somebody came in beside a sharer");
            lock.sunlock();
        });
        assert_eq!(n.get(), 2);
    });
}

#[test]
fn recursion_and_holds_are_counted() {
    assert_eq!(
        verdict(plain(), || {
            let lock = sx(Sxf::RECURSE);
            let td = curthread();
            lock.xlock();
            assert!(lock.try_xlock());
            lock.xlock();
            lock.assert(sa::XLOCKED | sa::RECURSED);
            assert_eq!(td.locks.get(), 3);
            lock.xunlock();
            lock.xunlock();
            lock.downgrade();
            assert_eq!((td.locks.get(), td.sx_slocks.get()), (1, 1));
            assert!(lock.try_upgrade());
            assert_eq!((td.locks.get(), td.sx_slocks.get()), (1, 0));
            lock.xunlock();
            assert_eq!(td.locks.get(), 0);
            lock.destroy();
        }),
        Verdict::Pass
    );
}

#[test]
fn only_a_wait_that_happens_is_checked_against_a_sleep_ban() {
    assert_eq!(
        verdict(Config::default(), || {
            let lock = sx(Sxf::empty());
            thread_no_sleeping();
            lock.xlock();
            lock.xunlock();
            thread_sleeping_ok();
        }),
        Verdict::Pass
    );
    let text = panic_text(Config::default(), || {
        let lock = sx(Sxf::empty());
        threads(2, move |i| {
            if i == 0 {
                thread_no_sleeping();
            }
            lock.xlock();
            if i == 1 {
                sleep::pause("held", 2);
            }
            lock.xunlock();
            if i == 0 {
                thread_sleeping_ok();
            }
        });
    });
    assert!(text.starts_with("sleepq_add: td 0x") && text.ends_with(" with sleeping prohibited"), "{text}");
}

#[test]
fn it_serves_as_a_sleep_interlock_in_both_modes() {
    passes(Config::default(), 200, || {
        let (lock, go) = (sx(Sxf::empty()), Arc::new(Owned32::new(0)));
        threads(2, move |i| {
            let ident = go.as_ptr() as usize;
            if i == 0 {
                lock.slock();
                while go.get() == 0 && !freebsd_sys::cpu::scheduler_stopped() {
                    sleep::sleep(ident, Some(lock.object()), sleep::How::default(), "go");
                }
                assert_eq!(curthread().sx_slocks.get(), 1);
                lock.sunlock();
            } else {
                lock.xlock();
                go.set(1);
                sleep::wakeup(ident);
                lock.xunlock();
            }
        });
    });
}

#[test]
fn it_holds_under_contention_on_real_cpus() {
    for config in [plain(), Config { invariants: false, cpus: 4, ..plain() }] {
        for seed in 0..3 {
            let v = common::smp_once(config.clone(), seed, &|| {
                freebsd_sys::interrupt::bystanders();
                let (lock, n) = (sx(Sxf::empty()), Arc::new([Owned32::new(0), Owned32::new(0)]));
                let (lock2, n2) = (Arc::clone(&lock), Arc::clone(&n));
                threads(6, move |i| {
                    for round in 0..20_000 {
                        if (i + round) % 4 != 0 {
                            lock2.slock();
                            assert_eq!(n2[0].get(), n2[1].get());
                            lock2.sunlock();
                        } else {
                            lock2.xlock();
                            n2[0].set(n2[0].get() + 1);
                            n2[1].set(n2[1].get() + 1);
                            if round % 64 == 0 {
                                lock2.downgrade();
                                lock2.sunlock();
                            } else {
                                lock2.xunlock();
                            }
                        }
                    }
                });
                assert_eq!(n[0].get(), 30_000);
                lock.destroy();
            });
            assert_eq!(v, Verdict::Pass);
        }
    }
}

/// Without INVARIANTS nobody asks whether the caller shares, but FreeBSD's SX_SHARERS makes many sharers of an owner's address.
#[test]
fn an_owners_lock_is_not_upgraded() {
    let bare = Config { invariants: false, ..plain() };
    let v = verdict(bare, || {
        let lock = sx(Sxf::empty());
        lock.xlock();
        assert!(!lock.try_upgrade());
        assert_eq!(curthread().sx_slocks.get(), 0);
        lock.xunlock();
    });
    assert_eq!(v, Verdict::Pass);
}

/// A release too many wraps the count of sharers, silently, and so does the next sharer back.
#[test]
fn the_count_of_sharers_wraps_both_ways() {
    let bare = Config { invariants: false, ..plain() };
    let v = verdict(bare, || {
        let lock = sx(Sxf::empty());
        lock.sunlock();
        lock.slock();
        assert!(lock.try_xlock());
        lock.xunlock();
        lock.sunlock();
        assert!(lock.try_slock());
        assert!(lock.try_xlock());
        lock.xunlock();
    });
    assert_eq!(v, Verdict::Pass);
}
