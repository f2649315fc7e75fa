//! rmlock(9) on both engines.

mod common;

use common::{explore_random, panic_text, passes, smp_once, spawn_at, stage, threads, verdict};
use freebsd_sys::atomic::{Owned32, Shared32};
use freebsd_sys::machine::{Config, Verdict};
use freebsd_sys::rmlock::{PrioTracker, Rm, Rmf, ra};
use freebsd_sys::sched::pri::PUSER;
use freebsd_sys::thread::{Kthread, State, curthread, kthread_add};
use freebsd_sys::{cpu, critical, sched, sleep};
use std::sync::Arc;

fn rm(opts: Rmf) -> Arc<Rm> {
    let rm = Arc::new(Rm::zeroed());
    rm.init(c"lnxrm", opts | Rmf::NOWITNESS);
    rm
}

/// A boundary.
fn boundary() {
    critical::critical_enter();
    critical::critical_exit();
}

fn readers_and_writers(opts: Rmf, rounds: usize) {
    let (lock, n) = (rm(opts), Arc::new([Owned32::new(0), Owned32::new(0)]));
    let (lock2, n2) = (Arc::clone(&lock), Arc::clone(&n));
    threads(4, move |i| {
        for _ in 0..rounds {
            if i < 2 {
                lock2.read(|| {
                    let seen = n2[0].get();
                    boundary();
                    assert!(seen == n2[1].get() || cpu::scheduler_stopped(), "a reader saw half a write");
                });
            } else {
                lock2.wlock();
                n2[0].set(n2[0].get() + 1);
                boundary();
                if opts.contains(Rmf::SLEEPABLE) {
                    sleep::pause("write", 1);
                }
                n2[1].set(n2[1].get() + 1);
                lock2.wunlock();
            }
        }
    });
    assert_eq!(n[1].get() as usize, 2 * rounds);
    lock.destroy();
}

#[test]
fn writers_exclude_each_other_and_readers() {
    for opts in [Rmf::empty(), Rmf::RECURSE, Rmf::SLEEPABLE] {
        for cpus in [1, 2, 4] {
            passes(Config { cpus, ..Config::default() }, 300, || readers_and_writers(opts, 2));
        }
    }
}

#[test]
fn without_any_checks_it_still_excludes() {
    let bare = Config { invariants: false, witness: false, cpus: 4, ..Config::default() };
    passes(bare, 100, || readers_and_writers(Rmf::empty(), 30));
}

/// Without checks a reader that has its token goes the short way: pinned, and not past a writer.
#[test]
fn the_short_way_is_for_readers_with_a_token() {
    let bare = Config { cpus: 1, invariants: false, witness: false, ..Config::default() };
    let verdict = smp_once(bare, 0, &|| {
        let lock = rm(Rmf::empty());
        let tracker = PrioTracker::new();
        // The first asks for the token, the second one has it.
        for _ in 0..2 {
            // SAFETY: the tracker stays where it is until this thread has given the lock back.
            unsafe {
                lock.rlock(&tracker);
                sched::settle();
                assert_eq!(curthread().pinned.get(), 1);
                lock.runlock(&tracker);
                assert_eq!(curthread().pinned.get(), 0);
                // Nobody looks but the scheduler.
                lock.rlock(&tracker);
                sched::sched_relinquish();
                assert_eq!(curthread().pinned.get(), 1);
                lock.runlock(&tracker);
                assert_eq!(curthread().pinned.get(), 0);
                lock.rlock(&tracker);
                sched::sched_unpin();
                sched::sched_pin();
                lock.runlock(&tracker);
            }
            assert_eq!(curthread().pinned.get(), 0);
        }
        lock.wlock();
        let other = Arc::clone(&lock);
        let td = kthread_add(Kthread { name: "reader", priority: PUSER, flags: 0, cpu: None }, move || {
            let tracker = PrioTracker::new();
            // SAFETY: as above.
            unsafe {
                other.rlock(&tracker);
                other.runlock(&tracker);
            }
        });
        while !td.is_on_lock() {
            assert!(td.state() != State::Inactive, "it read beside the writer");
            sched::sched_relinquish();
        }
        lock.wunlock();
    });
    assert_eq!(verdict, Verdict::Pass);
}

#[test]
fn readers_share() {
    passes(Config::default(), 300, || {
        let (lock, inside) = (rm(Rmf::empty()), Arc::new(Shared32::new(0)));
        threads(2, move |_| {
            lock.read(|| {
                inside.fetchadd(1);
                while inside.get() < 2 && !cpu::scheduler_stopped() {
                    sleep::pause("both", 1);
                }
            });
        });
    });
}

#[test]
fn a_reader_is_pinned_and_counted_and_not_in_a_critical_section() {
    for opts in [Rmf::empty(), Rmf::SLEEPABLE] {
        assert_eq!(
            verdict(Config::default(), || {
                let (lock, td) = (rm(opts), curthread());
                let banned = i32::from(opts.contains(Rmf::SLEEPABLE));
                // The first read asks for a token, the second one has it.
                for _ in 0..2 {
                    lock.read(|| {
                        assert_eq!((td.critnest.get(), td.pinned.get(), td.locks.get()), (0, 1, 1));
                        assert_eq!(td.no_sleeping.get(), banned);
                        lock.assert(ra::RLOCKED);
                    });
                    assert_eq!((td.critnest.get(), td.pinned.get(), td.locks.get()), (0, 0, 0));
                    assert_eq!(td.no_sleeping.get(), 0);
                }
                lock.wlock();
                assert_eq!(td.locks.get(), 2, "the backing lock counts too");
                lock.wunlock();
                assert_eq!(td.locks.get(), 0);
            }),
            Verdict::Pass
        );
    }
}

#[test]
fn a_recursive_reader_passes_a_waiting_writer() {
    passes(Config::default(), 500, || {
        let lock = rm(Rmf::RECURSE);
        threads(2, move |i| {
            if i == 0 {
                lock.read(|| {
                    boundary();
                    lock.read(|| {
                        boundary();
                        lock.assert(ra::RLOCKED | ra::RECURSED);
                    });
                    lock.assert(ra::RLOCKED | ra::NOTRECURSED);
                });
            } else {
                lock.wlock();
                lock.wunlock();
            }
        });
    });
}

#[test]
fn try_rlock_fails_beside_a_writer() {
    for opts in [Rmf::empty(), Rmf::SLEEPABLE] {
        assert_eq!(
            verdict(Config::default(), || {
                let lock = rm(opts);
                let lock2 = Arc::clone(&lock);
                lock.wlock();
                let seen = Arc::new(Shared32::new(0));
                let seen2 = Arc::clone(&seen);
                spawn_at("reader", sched::pri::PUSER, Some(1), move || {
                    let tracker = PrioTracker::new();
                    // SAFETY: the tracker stays in this frame.
                    let taken = unsafe { lock2.try_rlock(&tracker) };
                    assert!(!taken);
                    assert_eq!(curthread().no_sleeping.get(), 0);
                    assert_eq!(curthread().pinned.get(), 0);
                    seen2.set(1);
                });
                sleep::pause("reader", 5);
                assert_eq!(seen.get(), 1);
                lock.wunlock();
                let tracker = PrioTracker::new();
                // SAFETY: the tracker stays in this frame.
                unsafe {
                    assert!(lock.try_rlock(&tracker));
                    lock.runlock(&tracker);
                }
            }),
            Verdict::Pass
        );
    }
}

#[test]
fn a_waiting_writer_lends_its_priority_to_the_reader() {
    assert_eq!(
        verdict(Config { cpus: 1, ..Config::default() }, || {
            let lock = rm(Rmf::empty());
            let lock2 = Arc::clone(&lock);
            let lent = Arc::new(Shared32::new(0));
            let lent2 = Arc::clone(&lent);
            spawn_at("reader", 200, None, move || {
                let lock3 = Arc::clone(&lock2);
                lock2.read(|| {
                    spawn_at("writer", 60, None, move || {
                        lock3.wlock();
                        lock3.wunlock();
                    });
                    sched::sched_relinquish();
                    lent2.set(curthread().priority.get());
                });
                assert_eq!(curthread().priority.get(), 200, "the loan was not given back");
            });
            sleep::pause("reader", 50);
            assert_eq!(lent.get(), 60);
            lock.destroy();
        }),
        Verdict::Pass
    );
}

#[test]
fn a_writer_that_blocks_in_a_critical_section_panics() {
    let text = panic_text(Config::default(), || {
        let lock = rm(Rmf::empty());
        threads(2, move |i| {
            if i == 0 {
                critical::critical_enter();
                lock.wlock();
                lock.wunlock();
                critical::critical_exit();
            } else {
                lock.read(boundary);
            }
        });
    });
    assert_eq!(text, "mi_switch: switch in a critical section");
}

#[test]
fn readers_of_other_locks_do_not_matter() {
    passes(Config::default(), 200, || {
        let locks = Arc::new((rm(Rmf::empty()), rm(Rmf::empty())));
        threads(2, move |i| {
            if i == 0 {
                locks.0.read(|| {
                    boundary();
                    locks.1.read(boundary);
                });
            } else {
                locks.1.wlock();
                locks.1.wunlock();
            }
        });
    });
}

#[test]
fn smp_writers_recall_tokens_from_idle_cpus() {
    let config = Config { cpus: 4, ..Config::default() };
    for seed in 0..5 {
        let v = common::smp_once(config.clone(), seed, &|| {
            let lock = rm(Rmf::empty());
            // A token on every CPU, which then goes idle.
            for at in 0..4 {
                let lock = Arc::clone(&lock);
                spawn_at("reader", sched::pri::PUSER, Some(at), move || lock.read(|| ()));
            }
            sleep::pause("idle", 20);
            for _ in 0..100 {
                lock.wlock();
                lock.wunlock();
                lock.read(|| ());
            }
        });
        assert_eq!(v, Verdict::Pass);
    }
}

#[test]
fn the_exclusion_test_notices_a_writer_without_the_lock() {
    let found = explore_random(Config::default(), 2000, &|| {
        let (lock, n) = (rm(Rmf::empty()), Arc::new([Owned32::new(0), Owned32::new(0)]));
        threads(2, move |i| {
            if i == 0 {
                lock.read(|| {
                    let seen = n[0].get();
                    boundary();
                    assert_eq!(seen, n[1].get());
                });
            } else {
                n[0].set(1);
                boundary();
                n[1].set(1);
            }
        });
    });
    assert!(found.is_some());
}

#[test]
fn it_holds_under_contention_on_real_cpus() {
    for config in [Config::default(), Config { invariants: false, witness: false, cpus: 4, ..Config::default() }] {
        for (seed, opts) in [Rmf::empty(), Rmf::SLEEPABLE].into_iter().enumerate() {
            let v = common::smp_once(config.clone(), seed as u64, &|| {
                freebsd_sys::interrupt::bystanders();
                let (lock, n) = (rm(opts), Arc::new([Owned32::new(0), Owned32::new(0)]));
                let (lock2, n2) = (Arc::clone(&lock), Arc::clone(&n));
                threads(6, move |i| {
                    for round in 0..5_000 {
                        if (i + round) % 16 != 0 {
                            lock2.read(|| assert_eq!(n2[0].get(), n2[1].get()));
                        } else {
                            lock2.wlock();
                            n2[0].set(n2[0].get() + 1);
                            n2[1].set(n2[1].get() + 1);
                            lock2.wunlock();
                        }
                    }
                });
                assert!(n[0].get() > 1_800);
                lock.destroy();
            });
            assert_eq!(v, Verdict::Pass);
        }
    }
}

/// A reader that is in its section long after the writer has begun, and passes no boundary there.
#[test]
fn a_writer_waits_until_the_cpus_have_shown_their_readers() {
    for seed in 0..3 {
        let config = Config { cpus: 2, invariants: false, witness: false, ..Config::default() };
        let v = smp_once(config, seed, &|| {
            let lock = rm(Rmf::empty());
            let at = Shared32::new(0);
            threads(2, move |i| {
                sched::sched_bind(i);
                for round in (0..8).map(|round| 4 * round) {
                    if i == 0 {
                        stage(&at, round + 1);
                        at.set(round + 2);
                        lock.wlock();
                        assert!(at.get() == round + 3 || cpu::scheduler_stopped(), "a reader is inside");
                        lock.wunlock();
                        at.set(round + 4);
                    } else {
                        lock.read(|| {
                            at.set(round + 1);
                            stage(&at, round + 2);
                            (0..100_000).for_each(|_| core::hint::spin_loop());
                            at.set(round + 3);
                        });
                        stage(&at, round + 4);
                    }
                }
                sched::sched_unbind();
            });
        });
        assert_eq!(v, Verdict::Pass);
    }
}

/// Readers that go the short way, and leave their trackers for whoever looks: writers, readers of another lock inside, and other threads
/// that their CPU runs meanwhile.
#[test]
fn trackers_left_in_the_block_are_found_on_real_cpus() {
    for (cpus, opts) in [(1, Rmf::empty()), (4, Rmf::empty()), (4, Rmf::RECURSE), (4, Rmf::SLEEPABLE)] {
        let config = Config { cpus, invariants: false, witness: false, ..Config::default() };
        let v = smp_once(config, cpus as u64, &|| {
            freebsd_sys::interrupt::bystanders();
            let (lock, inner) = (rm(opts), rm(Rmf::empty()));
            let n = Arc::new([Owned32::new(0), Owned32::new(0)]);
            let (lock2, n2) = (Arc::clone(&lock), Arc::clone(&n));
            threads(6, move |i| {
                for round in 0..5_000 {
                    if (i + round) % 16 == 0 {
                        lock2.wlock();
                        n2[0].set(n2[0].get() + 1);
                        boundary();
                        n2[1].set(n2[1].get() + 1);
                        lock2.wunlock();
                        continue;
                    }
                    let (outside, inside) = (PrioTracker::new(), PrioTracker::new());
                    // SAFETY: both trackers stay where they are until this thread has given the locks back.
                    unsafe {
                        lock2.rlock(&outside);
                        let (here, seen) = (cpu::cpuid(), n2[0].get());
                        boundary();
                        match round % 8 {
                            0 => {
                                inner.rlock(&inside);
                                boundary();
                                inner.runlock(&inside);
                            }
                            1 => sched::sched_relinquish(),
                            _ => {}
                        }
                        assert_eq!((seen, here), (n2[1].get(), cpu::cpuid()));
                        lock2.runlock(&outside);
                    }
                    assert_eq!(curthread().pinned.get(), 0);
                }
            });
            assert!(n[0].get() > 1_800);
            lock.destroy();
        });
        assert_eq!(v, Verdict::Pass);
    }
}
