//! smp_rendezvous() on both engines.

mod common;

use common::{explore_random, panic_text, passes, smp_once, spawn_at, threads, up};
use freebsd_sys::atomic::{Shared32, Word};
use freebsd_sys::cpu;
use freebsd_sys::host::explore;
use freebsd_sys::machine::{Config, Verdict};
use freebsd_sys::mutex::Mtxf;
use freebsd_sys::sched::{self, pri};
use freebsd_sys::sleep;
use freebsd_sys::smp::{Phase, all_cpus, smp_rendezvous, smp_rendezvous_cpus};
use freebsd_sys::thread::curthread;
use std::sync::Arc;

fn config(cpus: usize) -> Config {
    Config { cpus, ..Config::default() }
}

fn shared() -> Arc<Shared32> {
    Arc::new(Shared32::new(0))
}

/// Ors this CPU's bit into `set`, which must not have it.
fn mark(set: &Shared32) {
    assert_eq!(set.or(1 << cpu::cpuid()) & 1 << cpu::cpuid(), 0, "twice on one CPU");
}

#[test]
fn every_cpu_sees_every_phase_in_order() {
    for cpus in [1, 2, 4] {
        passes(config(cpus), 100, move || {
            let (setup, action, teardown) = (shared(), shared(), shared());
            let all = all_cpus() as u32;
            explore::begin();
            smp_rendezvous(
                Phase::Run(&|| {
                    assert_eq!(action.get(), 0, "an action began before all setups had ended");
                    mark(&setup);
                }),
                Some(&|| {
                    let td = curthread();
                    assert!(td.critnest.get() > 0 && td.spinlock_count.get() + td.intr_nesting_level.get() > 0);
                    assert_eq!(setup.get(), all);
                    assert_eq!(teardown.get(), 0);
                    mark(&action);
                }),
                Phase::Run(&|| {
                    assert_eq!(action.get(), all);
                    mark(&teardown);
                }),
            );
            explore::end();
            assert_eq!((setup.get(), action.get(), teardown.get()), (all, all, all));
            assert_eq!((curthread().critnest.get(), curthread().spinlock_count.get()), (0, 0));
        });
    }
}

#[test]
fn only_the_cpus_of_the_map_take_part() {
    passes(config(4), 100, || {
        for map in [0b0001, 0b0110, 0b1010, 0b1111] {
            let ran = shared();
            smp_rendezvous_cpus(map, Phase::NoBarrier, Some(&|| mark(&ran)), Phase::NoBarrier);
            assert_eq!(ran.get(), map as u32);
        }
    });
}

#[test]
fn without_barriers_nobody_waits_for_the_others() {
    // Some CPU's action ends before another's begins, which barriers alone prevent from being seen: with them, at the teardown all
    // have run, without them not always.
    let overlaps = |teardown_waits: bool| {
        explore_random(config(2), 500, &move || {
            let ran = shared();
            let check = || assert_eq!(ran.get(), 0b11, "alone");
            explore::begin();
            smp_rendezvous(
                Phase::NoBarrier,
                Some(&|| {
                    mark(&ran);
                    if !teardown_waits {
                        freebsd_sys::critical::critical_enter();
                        check();
                        freebsd_sys::critical::critical_exit();
                    }
                }),
                if teardown_waits { Phase::Run(&check) } else { Phase::NoBarrier },
            );
            explore::end();
        })
    };
    assert!(overlaps(true).is_none());
    let (_, execution) = overlaps(false).expect("both actions always overlap");
    assert!(execution.verdict.message().contains("alone"), "{}", execution.verdict);
}

#[test]
fn several_callers_take_turns() {
    passes(config(2), 300, || {
        let sum = shared();
        let sum2 = Arc::clone(&sum);
        threads(3, move |_| {
            let mine = Shared32::new(0);
            smp_rendezvous(Phase::Barrier, Some(&|| mark(&mine)), Phase::Barrier);
            assert_eq!(mine.get(), 0b11);
            sum2.fetchadd(1);
        });
        assert_eq!(sum.get(), 3);
    });
}

#[test]
fn cpus_that_are_busy_or_wait_for_a_mutex_take_part() {
    passes(config(2), 300, || {
        let m = common::mtx(c"m", Mtxf::DEF);
        threads(2, move |_| {
            m.lock();
            let ran = Shared32::new(0);
            smp_rendezvous(Phase::Barrier, Some(&|| mark(&ran)), Phase::Barrier);
            assert_eq!(ran.get(), 0b11);
            m.unlock();
        });
    });
}

#[test]
fn a_map_without_cpus_panics() {
    let text = panic_text(config(2), || smp_rendezvous_cpus(0b1100, Phase::Barrier, None, Phase::Barrier));
    assert_eq!(text, "ncpus is 0 with non-zero map");
}

#[test]
fn an_action_may_not_make_a_better_thread_runnable() {
    static CHAN: u32 = 0;
    let wake = || {
        spawn_at("better", pri::PRI_MIN_REALTIME, Some(0), || {
            sched::sched_bind(0);
            sleep::tsleep(&raw const CHAN as usize, "nap", 50);
        });
        sched::sched_bind(0);
        sleep::pause("asleep", 2);
        smp_rendezvous_cpus(1, Phase::Barrier, Some(&|| sleep::wakeup(&raw const CHAN as usize)), Phase::Barrier);
    };
    assert_eq!(panic_text(config(2), wake), "rendezvous action changed td_owepreempt");
    let bare = Config { invariants: false, witness: false, ..config(2) };
    assert_eq!(common::verdict(bare, wake), Verdict::Pass);
    // Nor is it asked where there is one CPU.
    assert_eq!(common::verdict(up(), wake), Verdict::Pass);
}

#[test]
fn with_a_spin_mutex_held_there_is_no_rendezvous() {
    let held = || {
        let m = common::mtx(c"s", Mtxf::SPIN);
        m.lock_spin();
        smp_rendezvous(Phase::Barrier, None, Phase::Barrier);
        m.unlock_spin();
    };
    let text = panic_text(config(2), held);
    assert!(text.starts_with("Assertion curthread->td_md.md_spinlock_count == 0 failed at "), "{text}");
    assert_eq!(common::verdict(Config { invariants: false, witness: false, ..config(2) }, held), Verdict::Pass);
    assert_eq!(common::verdict(up(), held), Verdict::Pass);
}

#[test]
fn one_cpu_does_it_alone_whatever_the_map() {
    passes(up(), 1, || {
        let ran = shared();
        smp_rendezvous_cpus(0, Phase::Barrier, Some(&|| mark(&ran)), Phase::Barrier);
        assert_eq!(ran.get(), 1);
    });
}

/// A word on cache lines of its own.
#[repr(align(128))]
struct Line(Word);

/// Who stores, fences lightly and loads, and who stores, fences heavily and loads: one of them sees the other. On x86 this can fail
/// without the heavy fence, since a store may wait while a later load is done; the two meet at every distance from each other.
#[test]
fn of_a_light_and_a_heavy_fence_one_sees_the_other() {
    let bare = Config { cpus: 2, invariants: false, witness: false, ..Config::default() };
    let verdict = smp_once(bare, 0, &|| {
        let stored = Arc::new([const { Line(Word::new(0)) }; 2]);
        // Twice the round, plus 1 if the other's store of this round was seen.
        let results = Arc::new([const { Line(Word::new(0)) }; 2]);
        threads(2, move |i| {
            sched::sched_bind(i);
            let other = &results[1 - i].0;
            for round in 1..=20_000 {
                (0..if i == 0 { 32 } else { round % 64 }).for_each(|_| core::hint::spin_loop());
                stored[i].0.set(round);
                if i == 0 {
                    cpu::fence_light()
                } else {
                    cpu::fence_heavy()
                }
                let seen = usize::from(stored[1 - i].0.read() == round);
                results[i].0.store_rel(2 * round + seen);
                let theirs = loop {
                    let theirs = other.load_acq();
                    if theirs >= 2 * round {
                        break theirs;
                    }
                    // A boundary: this may take long, where the host runs something else on the other's processor.
                    if !cpu::spinwait() {
                        return;
                    }
                };
                // One that has gone on to the next round has looked at this one.
                let both_missed = theirs == 2 * round && seen == 0;
                assert!(!both_missed, "neither saw the other in round {round}");
            }
            sched::sched_unbind();
        });
    });
    assert_eq!(verdict, Verdict::Pass);
}
