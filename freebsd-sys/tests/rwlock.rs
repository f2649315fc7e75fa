//! rwlock(9) on both engines.

mod common;

use common::{explore_random, panic_text, passes, smp_once, spawn_at, threads, verdict};
use freebsd_sys::atomic::{Owned32, Shared32};
use freebsd_sys::machine::{Budget, Config, Verdict};
use freebsd_sys::rwlock::{RW_LOCK_WAITERS, Rw, Rwf, ra};
use freebsd_sys::sched::pri::PUSER;
use freebsd_sys::thread::{Kthread, curthread, kthread_add};
use freebsd_sys::{cpu, critical, sched, sleep};
use std::sync::Arc;

/// INVARIANTS without WITNESS: the lock's own checks speak.
fn plain() -> Config {
    Config { witness: false, ..Config::default() }
}

fn rw(opts: Rwf) -> Arc<Rw> {
    let rw = Arc::new(Rw::zeroed());
    rw.init(c"lnxrw", opts | Rwf::NOWITNESS);
    rw
}

/// A boundary.
fn boundary() {
    critical::critical_enter();
    critical::critical_exit();
}

#[test]
fn writers_exclude_each_other_and_readers() {
    passes(Config::default(), 1500, || {
        let (lock, n) = (rw(Rwf::empty()), Arc::new([Owned32::new(0), Owned32::new(0)]));
        let (lock2, n2) = (Arc::clone(&lock), Arc::clone(&n));
        threads(3, move |i| {
            for _ in 0..2 {
                if i == 0 {
                    lock2.rlock();
                    let seen = n2[0].get();
                    boundary();
                    assert_eq!(seen, n2[1].get(), "a reader saw half a write");
                    lock2.runlock();
                } else {
                    lock2.wlock();
                    n2[0].set(n2[0].get() + 1);
                    boundary();
                    n2[1].set(n2[1].get() + 1);
                    lock2.wunlock();
                }
            }
        });
        assert_eq!(n[0].get(), 4);
        lock.destroy();
    });
}

/// On real CPUs, since in `explore` a bounded spin gives up at once: the reader stays until the writer has given up spinning for it,
/// and has left its critical section before it blocked.
#[test]
fn a_writer_that_gives_up_spinning_blocks() {
    let verdict = smp_once(plain(), 0, &|| {
        sched::sched_bind(0);
        let lock = rw(Rwf::empty());
        lock.rlock();
        let other = Arc::clone(&lock);
        let td = kthread_add(Kthread { name: "writer", priority: PUSER, flags: 0, cpu: Some(1) }, move || {
            other.wlock();
            other.wunlock();
            assert_eq!(curthread().critnest.get(), 0);
        });
        while !td.is_on_lock() && !cpu::scheduler_stopped() {
            boundary();
        }
        lock.runlock();
        sched::sched_unbind();
    });
    assert_eq!(verdict, Verdict::Pass);
}

#[test]
fn without_any_checks_it_still_excludes() {
    passes(Config { invariants: false, witness: false, ..Config::default() }, 500, || {
        let (lock, n) = (rw(Rwf::empty()), Arc::new(Owned32::new(0)));
        let (lock2, n2) = (Arc::clone(&lock), Arc::clone(&n));
        threads(4, move |i| {
            for _ in 0..20 {
                if i == 3 {
                    lock2.rlock();
                    lock2.runlock();
                } else {
                    lock2.wlock();
                    let seen = n2.get();
                    boundary();
                    n2.set(seen + 1);
                    lock2.wunlock();
                }
            }
        });
        assert_eq!(n.get(), 60);
    });
}

#[test]
fn readers_share() {
    // Each waits inside the section for the other: only sharing ends this.
    passes(Config::default(), 300, || {
        let (lock, inside) = (rw(Rwf::empty()), Arc::new(Shared32::new(0)));
        threads(2, move |_| {
            lock.rlock();
            inside.fetchadd(1);
            while inside.get() < 2 && !freebsd_sys::cpu::scheduler_stopped() {
                sleep::pause("both", 1);
            }
            lock.runlock();
        });
    });
}

/// thread0 reads, a writer waits; returns what a second reader gets with `take`.
fn second_reader(take: impl Fn(&Rw) -> bool + Send + Sync + 'static) -> bool {
    let lock = rw(Rwf::empty());
    let (lock2, lock3) = (Arc::clone(&lock), Arc::clone(&lock));
    lock.rlock();
    spawn_at("writer", sched::pri::PUSER, None, move || {
        lock2.wlock();
        lock2.wunlock();
    });
    sleep::pause("writer", 5);
    let got = Arc::new(Shared32::new(0));
    let got2 = Arc::clone(&got);
    spawn_at("reader", sched::pri::PUSER, None, move || {
        got2.set(1);
        if take(&lock3) {
            got2.set(2);
            lock3.runlock();
        }
    });
    sleep::pause("reader", 5);
    assert_ne!(got.get(), 0, "the reader never ran");
    let early = got.get() == 2;
    lock.runlock();
    sleep::pause("end", 5);
    lock.destroy();
    early
}

#[test]
fn a_waiting_writer_keeps_new_readers_out() {
    assert_eq!(
        verdict(Config::default(), || assert!(!second_reader(|lock| {
            lock.rlock();
            true
        }))),
        Verdict::Pass
    );
}

#[test]
fn try_rlock_ignores_a_waiting_writer() {
    assert_eq!(verdict(Config::default(), || assert!(second_reader(Rw::try_rlock))), Verdict::Pass);
}

/// Without checks, and with nothing to be done at the boundaries, locks go the short way; one that somebody waits for does not.
#[test]
fn the_short_way_does_not_forget_a_waiter() {
    for write in [true, false] {
        let bare = Config { cpus: 1, invariants: false, witness: false, ..Config::default() };
        let verdict = smp_once(bare, 0, &|| {
            let lock = rw(Rwf::empty());
            if write {
                lock.wlock()
            } else {
                lock.rlock()
            };
            let other = Arc::clone(&lock);
            let td = kthread_add(Kthread { name: "waiter", priority: PUSER, flags: 0, cpu: None }, move || {
                other.wlock();
                other.wunlock();
            });
            while !td.is_on_lock() {
                sched::sched_relinquish();
            }
            if write {
                lock.wunlock()
            } else {
                lock.runlock()
            };
            assert!(!td.is_on_lock(), "nobody woke it");
        });
        assert_eq!(verdict, Verdict::Pass);
    }
}

#[test]
fn a_reader_of_any_rwlock_passes_a_waiting_writer() {
    assert_eq!(
        verdict(Config::default(), || {
            assert!(second_reader(|lock| {
                let other = rw(Rwf::empty());
                other.rlock();
                lock.rlock();
                other.runlock();
                true
            }));
        }),
        Verdict::Pass
    );
}

#[test]
fn waiting_writers_are_woken_before_waiting_readers() {
    assert_eq!(
        verdict(Config { cpus: 1, ..Config::default() }, || {
            let (lock, order) = (rw(Rwf::empty()), Arc::new(Shared32::new(0)));
            lock.wlock();
            for (name, shift) in [("reader", 0), ("writer", 8)] {
                let (lock, order) = (Arc::clone(&lock), Arc::clone(&order));
                spawn_at(name, sched::pri::PUSER, None, move || {
                    if shift == 0 {
                        lock.rlock();
                    } else {
                        lock.wlock();
                    }
                    let place = (order.fetchadd(1 << 16) >> 16) + 1;
                    order.or(place << shift);
                    if shift == 0 {
                        lock.runlock();
                    } else {
                        lock.wunlock();
                    }
                });
            }
            // Not the sleep of an owner: both find it running or runnable, and queue.
            for _ in 0..4 {
                sched::sched_relinquish();
            }
            lock.wunlock();
            sleep::pause("both", 5);
            assert_eq!(order.get() & 0xffff, 0x0102, "writer first, then reader");
        }),
        Verdict::Pass
    );
}

#[test]
fn upgrade_needs_the_only_reader() {
    passes(Config::default(), 300, || {
        let (lock, n) = (rw(Rwf::empty()), Arc::new(Owned32::new(0)));
        let n2 = Arc::clone(&n);
        threads(2, move |_| {
            lock.rlock();
            boundary();
            if lock.try_upgrade() {
                assert!(lock.wowned());
                let seen = n2.get();
                boundary();
                n2.set(seen + 1);
                lock.wunlock();
            } else {
                assert!(!lock.wowned());
                lock.runlock();
                lock.wlock();
                n2.set(n2.get() + 1);
                lock.wunlock();
            }
        });
        assert_eq!(n.get(), 2);
    });
}

#[test]
fn two_readers_can_both_fail_to_upgrade() {
    let found = explore_random(Config::default(), 500, &|| {
        let (lock, failed) = (rw(Rwf::empty()), Arc::new(Shared32::new(0)));
        let failed2 = Arc::clone(&failed);
        threads(2, move |_| {
            lock.rlock();
            if lock.try_upgrade() {
                lock.wunlock();
            } else {
                failed2.fetchadd(1);
                lock.runlock();
            }
        });
        assert!(failed.get() < 2);
    });
    assert!(found.is_some(), "never saw both fail");
}

#[test]
fn downgrade_lets_readers_in_and_keeps_writers_out() {
    passes(Config::default(), 500, || {
        let (lock, n) = (rw(Rwf::empty()), Arc::new(Owned32::new(0)));
        let n2 = Arc::clone(&n);
        threads(3, move |i| {
            if i == 0 {
                lock.rlock();
                boundary();
                lock.runlock();
                return;
            }
            lock.wlock();
            let mine = n2.get() + 1;
            n2.set(mine);
            lock.downgrade();
            assert!(!lock.wowned());
            boundary();
            assert_eq!(n2.get(), mine, "a writer came in beside a reader");
            lock.runlock();
        });
        assert_eq!(n.get(), 2);
    });
}

#[test]
fn a_recursive_lock_counts() {
    assert_eq!(
        verdict(plain(), || {
            let lock = rw(Rwf::RECURSE);
            lock.wlock();
            assert!(lock.try_wlock());
            lock.wlock();
            lock.assert(ra::WLOCKED | ra::RECURSED);
            lock.wunlock();
            lock.wunlock();
            lock.assert(ra::WLOCKED | ra::NOTRECURSED);
            assert_eq!(curthread().locks.get(), 1);
            lock.wunlock();
            lock.assert(ra::UNLOCKED);
            lock.destroy();
        }),
        Verdict::Pass
    );
}

#[test]
fn holds_are_counted() {
    assert_eq!(
        verdict(Config::default(), || {
            let lock = rw(Rwf::empty());
            let td = curthread();
            lock.rlock();
            lock.rlock();
            assert_eq!((td.locks.get(), td.rw_rlocks.get()), (2, 2));
            lock.runlock();
            assert!(lock.try_upgrade());
            assert_eq!((td.locks.get(), td.rw_rlocks.get()), (1, 0));
            lock.downgrade();
            assert_eq!((td.locks.get(), td.rw_rlocks.get()), (1, 1));
            lock.runlock();
            assert_eq!((td.locks.get(), td.rw_rlocks.get()), (0, 0));
        }),
        Verdict::Pass
    );
}

/// A waiter of priority 60 blocks on a lock whose owner, of priority 200, is off the CPU; the owner's priority then.
fn lent(hold: fn(&Rw), release: fn(&Rw)) -> u32 {
    let lent = Arc::new(Shared32::new(0));
    let lent2 = Arc::clone(&lent);
    spawn_at("owner", 200, None, move || {
        let lock = rw(Rwf::empty());
        hold(&lock);
        let lock2 = Arc::clone(&lock);
        spawn_at("waiter", 60, None, move || {
            lock2.wlock();
            lock2.wunlock();
        });
        // One CPU: the waiter runs now and finds the owner on the run queue.
        sched::sched_relinquish();
        lent2.set(curthread().priority.get());
        release(&lock);
        assert_eq!(curthread().priority.get(), 200, "the loan was not given back");
        sleep::pause("waiter", 5);
        lock.destroy();
    });
    sleep::pause("owner", 50);
    lent.get()
}

fn one_cpu() -> Config {
    Config { cpus: 1, budget: Budget { ticks: 0, interrupts: 0, migrations: 0 }, ..Config::default() }
}

#[test]
fn a_blocked_writer_lends_to_a_writer_but_not_to_readers() {
    assert_eq!(verdict(one_cpu(), || assert_eq!(lent(Rw::wlock, Rw::wunlock), 60)), Verdict::Pass);
    assert_eq!(verdict(one_cpu(), || assert_eq!(lent(Rw::rlock, Rw::runlock), 200)), Verdict::Pass);
}

#[test]
fn a_downgrade_gives_loans_back() {
    let downgrade: fn(&Rw) = |lock| {
        lock.downgrade();
        assert_eq!(curthread().priority.get(), 200, "readers are lent nothing");
        lock.runlock();
    };
    assert_eq!(verdict(one_cpu(), || assert_eq!(lent(Rw::wlock, downgrade), 60)), Verdict::Pass);
}

#[test]
fn a_writer_that_takes_over_is_lent_what_the_remaining_waiters_have() {
    assert_eq!(
        verdict(one_cpu(), || {
            let lent = Arc::new(Shared32::new(0));
            let lent2 = Arc::clone(&lent);
            spawn_at("first", 200, None, move || {
                let lock = rw(Rwf::empty());
                let (lock2, lock3) = (Arc::clone(&lock), Arc::clone(&lock));
                lock.wlock();
                spawn_at("second", 150, None, move || {
                    lock3.wlock();
                    lent2.set(curthread().priority.get());
                    lock3.wunlock();
                    assert_eq!(curthread().priority.get(), 150, "the loan was not given back");
                });
                sched::sched_relinquish();
                spawn_at("reader", 60, None, move || {
                    lock2.rlock();
                    lock2.runlock();
                });
                sched::sched_relinquish();
                assert_eq!(curthread().priority.get(), 60);
                assert!(both_wait(&lock));
                lock.wunlock();
                sleep::pause("both", 10);
            });
            sleep::pause("first", 50);
            assert_eq!(lent.get(), 60);
        }),
        Verdict::Pass
    );
}

fn both_wait(lock: &Rw) -> bool {
    // SAFETY: the lock word, on the one host thread there is.
    let word = unsafe { *((lock.object().id() + 24) as *const usize) };
    word & RW_LOCK_WAITERS == RW_LOCK_WAITERS
}

#[test]
fn a_downgrade_wakes_the_readers_that_wait() {
    passes(Config::default(), 50, || {
        let (lock, got) = (rw(Rwf::empty()), Arc::new(Shared32::new(0)));
        let (lock2, got2) = (Arc::clone(&lock), Arc::clone(&got));
        lock.wlock();
        spawn_at("reader", sched::pri::PUSER, None, move || {
            lock2.rlock();
            got2.set(1);
            lock2.runlock();
        });
        for _ in 0..50 {
            sched::sched_relinquish();
        }
        lock.downgrade();
        while got.get() == 0 && !freebsd_sys::cpu::scheduler_stopped() {
            sleep::pause("reader", 1);
        }
        lock.runlock();
    });
}

#[test]
fn it_serves_as_a_sleep_interlock_in_both_modes() {
    passes(Config::default(), 200, || {
        let (lock, go) = (rw(Rwf::empty()), Arc::new(Owned32::new(0)));
        threads(2, move |i| {
            let ident = go.as_ptr() as usize;
            if i == 0 {
                lock.rlock();
                while go.get() == 0 && !freebsd_sys::cpu::scheduler_stopped() {
                    sleep::sleep(ident, Some(lock.object()), sleep::How::default(), "go");
                }
                lock.assert(ra::LOCKED);
                assert_eq!(curthread().rw_rlocks.get(), 1);
                lock.runlock();
            } else {
                lock.wlock();
                go.set(1);
                sleep::wakeup(ident);
                lock.wunlock();
            }
        });
    });
}

#[test]
fn blocking_in_a_critical_section_panics() {
    let text = panic_text(Config::default(), || {
        freebsd_sys::interrupt::bystanders();
        let lock = rw(Rwf::empty());
        threads(2, move |i| {
            if i == 0 {
                critical::critical_enter();
            }
            lock.wlock();
            lock.wunlock();
            if i == 0 {
                critical::critical_exit();
            }
        });
    });
    assert_eq!(text, "mi_switch: switch in a critical section");
}

#[test]
fn the_cookie_is_the_lock_words_address() {
    assert_eq!(
        verdict(Config::default(), || {
            let lock = rw(Rwf::empty());
            let cookie = (lock.object().id() + 24) as *const usize;
            // SAFETY: the word's address.
            let same = unsafe { Rw::from_cookie(cookie) };
            assert!(core::ptr::eq(same, &*lock));
        }),
        Verdict::Pass
    );
}

#[test]
fn it_holds_under_contention_on_real_cpus() {
    for config in [plain(), Config { invariants: false, cpus: 4, ..plain() }] {
        for seed in 0..3 {
            let v = common::smp_once(config.clone(), seed, &|| {
                freebsd_sys::interrupt::bystanders();
                let (lock, n) = (rw(Rwf::empty()), Arc::new([Owned32::new(0), Owned32::new(0)]));
                let (lock2, n2) = (Arc::clone(&lock), Arc::clone(&n));
                threads(6, move |i| {
                    for round in 0..20_000 {
                        if (i + round) % 4 != 0 {
                            lock2.rlock();
                            assert_eq!(n2[0].get(), n2[1].get());
                            lock2.runlock();
                        } else {
                            lock2.wlock();
                            n2[0].set(n2[0].get() + 1);
                            n2[1].set(n2[1].get() + 1);
                            if round % 64 == 0 {
                                lock2.downgrade();
                                lock2.runlock();
                            } else {
                                lock2.wunlock();
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

/// Without INVARIANTS nobody asks whether the caller reads, but FreeBSD's RW_READERS makes many readers of a writer's address.
#[test]
fn a_writers_lock_is_not_upgraded() {
    let bare = Config { invariants: false, ..plain() };
    let v = verdict(bare, || {
        let lock = rw(Rwf::empty());
        lock.wlock();
        assert!(!lock.try_upgrade());
        assert_eq!(curthread().rw_rlocks.get(), 0);
        lock.wunlock();
    });
    assert_eq!(v, Verdict::Pass);
}

/// A release too many wraps the count of readers, silently, and so does the next reader back.
#[test]
fn the_count_of_readers_wraps_both_ways() {
    let bare = Config { invariants: false, ..plain() };
    let v = verdict(bare, || {
        let lock = rw(Rwf::empty());
        lock.runlock();
        lock.rlock();
        assert!(lock.try_wlock());
        lock.wunlock();
        lock.runlock();
        assert!(lock.try_rlock());
        assert!(lock.try_wlock());
        lock.wunlock();
    });
    assert_eq!(v, Verdict::Pass);
}
