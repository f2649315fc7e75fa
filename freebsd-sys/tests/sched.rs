//! The scheduler: pinning, binding, priorities, who preempts whom, and stealing.

mod common;

use common::{Log, explore_random, once, passes, spawn_at, threads, up};
use freebsd_sys::atomic::{Owned32, Shared32};
use freebsd_sys::cpu::cpuid;
use freebsd_sys::host::explore;
use freebsd_sys::machine::{Budget, Config, Preemption, Verdict};
use freebsd_sys::sched::{self, pri};
use freebsd_sys::thread::{Kthread, curthread, kthread_add};
use freebsd_sys::{cpu, critical, sleep};
use std::sync::Arc;

fn boundary() {
    critical::critical_enter();
    critical::critical_exit();
}

fn three_cpus() -> Config {
    Config { cpus: 3, budget: Budget { migrations: 4, ..Budget::default() }, ..Config::default() }
}

#[test]
fn pinned_thread_stays_on_its_cpu() {
    passes(three_cpus(), 500, || {
        threads(4, |_| {
            sched::sched_pin();
            let cpu = cpuid();
            for _ in 0..3 {
                sched::sched_relinquish();
                assert_eq!(cpuid(), cpu);
                sleep::pause("nap", 1);
                assert_eq!(cpuid(), cpu);
            }
            sched::sched_unpin();
        });
    });
}

#[test]
fn thread_that_is_not_pinned_migrates() {
    let found = explore_random(three_cpus(), 500, &|| {
        threads(4, |_| {
            let cpu = cpuid();
            for _ in 0..3 {
                sched::sched_relinquish();
                sleep::pause("nap", 1);
                assert_eq!(cpuid(), cpu);
            }
        });
    });
    assert!(found.is_some(), "nobody ever migrated");
}

#[test]
fn bound_thread_moves_there_and_stays() {
    passes(three_cpus(), 200, || {
        threads(2, |_| {
            for cpu in [2, 0, 1] {
                sched::sched_bind(cpu);
                assert_eq!(cpuid(), cpu);
                sleep::pause("nap", 1);
                sched::sched_relinquish();
                assert_eq!(cpuid(), cpu);
                sched::sched_unbind();
            }
            assert_eq!(curthread().pinned.get(), 0);
        });
    });
}

#[test]
fn rebinding_counts_one_pin() {
    let e = once(three_cpus(), || {
        sched::sched_bind(1);
        sched::sched_bind(2);
        assert_eq!((cpuid(), curthread().pinned.get()), (2, 1));
        sched::sched_unbind();
        assert_eq!(curthread().pinned.get(), 0);
    });
    assert_eq!(e.verdict, Verdict::Pass);
}

#[test]
fn best_priority_runs_first_and_equals_in_order() {
    let order = Arc::new(Log::default());
    let log = Arc::clone(&order);
    let e = once(up(), move || {
        for (name, priority) in [("c", 90), ("a1", 60), ("b", 70), ("a2", 60)] {
            let log = Arc::clone(&log);
            spawn_at(name, priority, Some(0), move || log.push(name));
        }
        sleep::pause("wait", 1);
    });
    assert_eq!(e.verdict, Verdict::Pass);
    assert_eq!(order.take(), ["a1", "a2", "b", "c"]);
}

/// Whether a new thread of `priority` runs before its maker, of user priority, goes on.
fn preempts(preemption: Preemption, priority: u32) -> bool {
    let early = Arc::new(Owned32::new(0));
    let note = Arc::clone(&early);
    let e = once(Config { preemption, ..up() }, move || {
        let ran = Arc::new(Owned32::new(0));
        let set = Arc::clone(&ran);
        spawn_at("other", priority, Some(0), move || set.set(1));
        boundary();
        note.set(ran.get());
        sleep::pause("wait", 1);
        assert_eq!(ran.get(), 1);
    });
    assert_eq!(e.verdict, Verdict::Pass);
    early.get() != 0
}

#[test]
fn ule_preempts_up_to_its_threshold() {
    assert!(preempts(Preemption::Ule, pri::PI_REALTIME));
    assert!(preempts(Preemption::Ule, pri::PRI_MIN_KERN));
    assert!(!preempts(Preemption::Ule, pri::PRI_MIN_KERN + 1));
    assert!(!preempts(Preemption::Ule, pri::PUSER));
}

#[test]
fn full_preempts_whenever_better() {
    for preemption in [Preemption::Full, Preemption::Any] {
        assert!(preempts(preemption, pri::PRI_MIN_KERN + 1));
        assert!(preempts(preemption, pri::PUSER - 1));
        assert!(!preempts(preemption, pri::PUSER));
        assert!(!preempts(preemption, pri::PRI_MAX_TIMESHARE));
    }
}

/// Waits, spinning, until `word` is set.
fn wait_for(word: &Shared32) {
    while word.get() == 0 {
        cpu::observe(word.as_ptr().cast(), 4);
        if !cpu::spinwait() {
            return;
        }
    }
}

#[test]
fn better_thread_preempts_on_the_cpu_that_it_is_queued_on() {
    passes(Config::default(), 200, || {
        let words = Arc::new([const { Shared32::new(0) }; 3]);
        sched::sched_bind(0);
        explore::begin();
        let shared = Arc::clone(&words);
        spawn_at("worse", pri::PUSER, Some(1), move || {
            sched::sched_bind(1);
            let [here, queued, ran] = &*shared;
            here.set(1);
            wait_for(queued);
            // The IPI is taken at a boundary, or a few later.
            for _ in 0..1000 {
                boundary();
                if ran.get() != 0 {
                    break;
                }
            }
            assert_eq!(ran.get(), 1, "the CPU was not told");
            here.set(0);
        });
        let [here, queued, ran] = &*words;
        wait_for(here);
        let shared = Arc::clone(&words);
        spawn_at("better", pri::PRI_MIN_KERN, Some(1), move || shared[2].set(1));
        queued.set(1);
        // This CPU is not idle meanwhile, or it would steal the thread.
        wait_for(ran);
        explore::end();
        sched::sched_unbind();
        sleep::pause("wait", 2);
    });
}

/// Explores whether two threads of equal priority on one CPU can interleave without giving it away.
fn interleave(preemption: Preemption) -> bool {
    explore_random(Config { preemption, ..up() }, 1000, &|| {
        let inside = Arc::new(Owned32::new(0));
        threads(2, move |_| {
            assert_eq!(inside.get(), 0);
            inside.set(1);
            boundary();
            boundary();
            inside.set(0);
        });
    })
    .is_some()
}

#[test]
fn only_any_preempts_an_equal_at_a_tick() {
    assert!(!interleave(Preemption::Ule));
    assert!(!interleave(Preemption::Full));
    assert!(interleave(Preemption::Any));
}

#[test]
fn idle_cpu_steals_but_never_a_pinned_thread() {
    let stolen = |pin: bool| {
        explore_random(Config::default(), 500, &move || {
            let done = Arc::new(Owned32::new(0));
            let (at, set) = (Arc::new(Owned32::new(9)), Arc::clone(&done));
            let cpu = Arc::clone(&at);
            let td = kthread_add(Kthread { name: "victim", priority: pri::PUSER, flags: 0, cpu: Some(0) }, move || {
                cpu.set(cpuid() as u32);
                set.set(1);
            });
            if pin {
                // As if it had pinned itself before it lost the CPU.
                td.pinned.set(1);
            }
            explore::begin();
            for _ in 0..20 {
                boundary();
            }
            explore::end();
            while done.get() == 0 {
                sleep::pause("wait", 1);
            }
            td.pinned.set(0);
            assert_eq!(at.get(), 0);
        })
    };
    assert!(stolen(false).is_some(), "nothing was stolen");
    assert!(stolen(true).is_none(), "a pinned thread was stolen");
}

#[test]
fn priorities_are_those_of_freebsd_15() {
    assert_eq!((pri::PVM, pri::PWAIT, pri::PLOCK), (41, 47, 48));
    assert_eq!((pri::PRI_MAX_INTERACT, pri::PRI_MIN_BATCH), (119, 120));
}

#[test]
fn unpinning_an_unpinned_thread_panics() {
    let e = once(up(), sched::sched_unpin);
    assert!(
        matches!(&e.verdict, Verdict::Panic(text) if text.starts_with("Assertion curthread->td_pinned > 0 failed at ")),
        "{}",
        e.verdict
    );
}

/// Runs `main` until a thread of priority 200 gets the only CPU, which ends the pause of whoever pauses.
fn order_of(main: impl Fn(&Arc<Log>)) -> Vec<&'static str> {
    let order = Arc::new(Log::default());
    let e = once(up(), || {
        main(&order);
        sleep::pause("wait", 50);
    });
    assert_eq!(e.verdict, Verdict::Pass);
    order.take()
}

#[test]
fn preempted_thread_queues_first_unless_its_slice_is_over() {
    let run = |slice_over: bool| {
        order_of(move |order| {
            let (a, b) = (Arc::clone(order), Arc::clone(order));
            spawn_at("a", 60, Some(0), move || {
                if slice_over {
                    curthread().flags.or(freebsd_sys::thread::tdf::SLICEEND);
                }
                spawn_at("best", pri::PI_SOFT, Some(0), || ());
                a.push("a");
            });
            spawn_at("b", 60, Some(0), move || b.push("b"));
        })
    };
    assert_eq!(run(false), ["a", "b"]);
    assert_eq!(run(true), ["b", "a"]);
}

#[test]
fn kern_yield_lets_the_others_run() {
    let e = once(up(), || {
        let ran = Arc::new(Owned32::new(0));
        let set = Arc::clone(&ran);
        spawn_at("other", pri::PUSER + 10, Some(0), move || set.set(1));
        sched::sched_relinquish();
        assert_eq!(ran.get(), 0, "a worse thread does not get the CPU");
        sched::kern_yield(pri::PUSER + 20);
        assert_eq!(ran.get(), 1);
        assert_eq!(curthread().priority.get(), pri::PUSER + 20);
    });
    assert_eq!(e.verdict, Verdict::Pass);
}

#[test]
fn sleeping_threads_leave_their_cpu_to_others() {
    passes(up(), 200, || {
        let n = Arc::new(Owned32::new(0));
        let seen = Arc::clone(&n);
        threads(5, move |i| {
            sleep::pause("nap", 5 - i as u64);
            n.set(n.get() + 1);
        });
        assert_eq!(seen.get(), 5);
    });
}
