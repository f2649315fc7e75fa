//! Interrupts: filters and ithreads, when they come, what they may do, and what they preempt.

mod common;

use common::{Log, explore_random, explore_with, mtx, once, panic_text, passes, spawn_at, threads, up};
use freebsd_sys::atomic::{Owned32, OwnedPtr, Shared32};
use freebsd_sys::host::explore;
use freebsd_sys::host::schedule::random::Random;
use freebsd_sys::interrupt::{self, Arrival, Filter, Irq};
use freebsd_sys::machine::{Budget, Config, Verdict};
use freebsd_sys::mutex::Mtxf;
use freebsd_sys::sched::{self, pri};
use freebsd_sys::smp::{self, Phase};
use freebsd_sys::thread::{Thread, curthread};
use freebsd_sys::{cpu, critical, sleep};
use std::sync::Arc;

fn filter(arrival: Arrival, body: impl Fn() + Send + Sync + 'static) -> Irq {
    let irq = interrupt::create("dev", arrival, pri::PI_INTR, None);
    let body = move || {
        body();
        Filter::Handled
    };
    interrupt::setup(irq, Some(Box::new(body)), None, 1);
    irq
}

fn ithread(arrival: Arrival, body: impl Fn() + Send + Sync + 'static) -> Irq {
    let irq = interrupt::create("dev", arrival, pri::PI_INTR, None);
    interrupt::setup(irq, None, Some(Box::new(body)), 1);
    irq
}

fn raise_and_wait(irq: Irq) {
    explore::begin();
    interrupt::raise(irq);
    sleep::pause("wait", 20);
    explore::end();
}

fn counter() -> (Arc<Owned32>, Arc<Owned32>) {
    let n = Arc::new(Owned32::new(0));
    (Arc::clone(&n), n)
}

#[test]
fn filter_runs_in_a_critical_section_on_the_interrupted_thread() {
    passes(Config::default(), 100, || {
        let (ran, count) = counter();
        let irq = filter(Arrival::Raised, move || {
            let td = curthread();
            assert_eq!((td.critnest.get(), td.intr_nesting_level.get()), (1, 1));
            assert!(!td.name().starts_with("intr"), "a filter has no thread of its own");
            ran.set(ran.get() + 1);
        });
        raise_and_wait(irq);
        assert_eq!(count.get(), 1);
        assert_eq!((curthread().critnest.get(), curthread().intr_nesting_level.get()), (0, 0));
    });
}

#[test]
fn ithread_runs_outside_critical_sections_with_sleeping_prohibited() {
    passes(Config::default(), 100, || {
        let (ran, count) = counter();
        let irq = ithread(Arrival::Raised, move || {
            let td = curthread();
            assert_eq!((td.critnest.get(), td.intr_nesting_level.get()), (0, 0));
            assert_eq!((td.no_sleeping.get(), td.user_pri.get(), td.name()), (1, pri::PI_INTR, "intr: dev"));
            // At a tick an interrupt thread is demoted.
            assert!((pri::PI_INTR..pri::PRI_MAX_ITHD).contains(&td.priority.get()));
            ran.set(ran.get() + 1);
        });
        raise_and_wait(irq);
        assert_eq!(count.get(), 1);
    });
}

#[test]
fn filter_decides_whether_the_ithread_runs() {
    for (answer, runs) in [(Filter::ScheduleThread, 1), (Filter::Handled, 0), (Filter::Stray, 0)] {
        let e = once(Config::default(), move || {
            let (ran, count) = counter();
            let irq = interrupt::create("dev", Arrival::Raised, pri::PI_INTR, None);
            interrupt::setup(irq, Some(Box::new(move || answer)), Some(Box::new(move || ran.set(ran.get() + 1))), 1);
            raise_and_wait(irq);
            assert_eq!(count.get(), runs);
        });
        assert_eq!(e.verdict, Verdict::Pass);
    }
}

#[test]
fn filter_may_not_block_and_an_ithread_may_not_sleep() {
    let text = panic_text(Config::default(), || {
        let m = mtx(c"m", Mtxf::DEF);
        let irq = filter(Arrival::Raised, move || m.lock());
        // Keeps both CPUs busy: it is the witness, not the idle thread, that objects.
        explore::begin();
        interrupt::raise(irq);
        for _ in 0..50 {
            critical::critical_enter();
            critical::critical_exit();
        }
        explore::end();
    });
    assert!(
        text.starts_with("acquiring blockable sleep lock with spinlock or critical section held (sleep mutex) m @ ")
            || text.starts_with("mtx_lock() by idle thread 0x"),
        "{text}"
    );
    let text = panic_text(Config::default(), || {
        raise_and_wait(ithread(Arrival::Raised, || _ = sleep::pause("nap", 1)));
    });
    assert!(text.starts_with("sleepq_add: td 0x") && text.ends_with(" with sleeping prohibited"), "{text}");
}

/// The handler takes all that its device has for it, and an interrupt that comes meanwhile has it look again.
#[test]
fn interrupt_that_comes_while_the_ithread_runs_is_not_lost() {
    passes(Config::default(), 500, || {
        let (events, handled) = (Arc::new(Shared32::new(0)), Arc::new(Shared32::new(0)));
        let (device, done) = (Arc::clone(&events), Arc::clone(&handled));
        let irq = ithread(Arrival::Raised, move || {
            done.set(device.get());
            for _ in 0..4 {
                critical::critical_enter();
                critical::critical_exit();
            }
        });
        explore::begin();
        for _ in 0..3 {
            events.fetchadd(1);
            interrupt::raise(irq);
        }
        sleep::pause("wait", 20);
        explore::end();
        assert_eq!(handled.get(), 3);
    });
}

#[test]
fn ithread_may_block_on_a_mutex() {
    passes(Config::default(), 200, || {
        let m = mtx(c"m", Mtxf::DEF);
        let (ran, count) = counter();
        let other = Arc::clone(&m);
        let irq = ithread(Arrival::Raised, move || {
            other.lock();
            ran.set(ran.get() + 1);
            other.unlock();
        });
        explore::begin();
        m.lock();
        interrupt::raise(irq);
        critical::critical_enter();
        critical::critical_exit();
        m.unlock();
        sleep::pause("wait", 20);
        explore::end();
        assert_eq!(count.get(), 1);
    });
}

#[test]
fn no_interrupt_comes_under_a_spin_mutex_or_inside_a_filter() {
    let config = Config { budget: Budget { interrupts: 6, ..Budget::default() }, ..up() };
    passes(config, 500, || {
        let s = mtx(c"s", Mtxf::SPIN);
        let (inside, depth) = (counter().0, counter().0);
        let seen = Arc::clone(&inside);
        filter(Arrival::AnyTime, move || {
            assert_eq!(seen.get(), 0, "interrupted under a spin mutex");
            assert_eq!(depth.get(), 0, "interrupted inside a filter");
            depth.set(1);
            critical::critical_enter();
            critical::critical_exit();
            depth.set(0);
        });
        explore::begin();
        for _ in 0..3 {
            s.lock_spin();
            inside.set(1);
            critical::critical_enter();
            critical::critical_exit();
            inside.set(0);
            s.unlock_spin();
        }
        explore::end();
    });
}

#[test]
fn interrupts_do_come_in_a_critical_section() {
    // Which holds back preemption, not interrupts.
    let found = explore_random(up(), 500, &|| {
        let (inside, _) = counter();
        let seen = Arc::clone(&inside);
        filter(Arrival::AnyTime, move || assert_eq!(seen.get(), 0));
        explore::begin();
        critical::critical_enter();
        inside.set(1);
        critical::critical_enter();
        critical::critical_exit();
        inside.set(0);
        critical::critical_exit();
        explore::end();
    });
    assert!(found.is_some(), "never interrupted inside");
}

/// An ithread comes while the only CPU's thread owns what it wants.
fn shared_with_an_ithread(irqsave: bool) -> impl Fn() {
    move || {
        let (inside, _) = counter();
        let seen = Arc::clone(&inside);
        ithread(Arrival::AnyTime, move || assert_eq!(seen.get(), 0, "ran inside"));
        explore::begin();
        if irqsave {
            critical::spinlock_enter();
        }
        inside.set(1);
        critical::critical_enter();
        critical::critical_exit();
        inside.set(0);
        if irqsave {
            critical::spinlock_exit();
        }
        explore::end();
    }
}

#[test]
fn ithread_preempts_unless_interrupts_are_off() {
    let (_, e) = explore_random(up(), 500, &shared_with_an_ithread(false)).expect("never preempted");
    assert!(e.verdict.message().contains("ran inside"), "{}", e.verdict);
    assert!(explore_random(up(), 500, &shared_with_an_ithread(true)).is_none());
}

#[test]
fn a_bound_ithread_waits_for_its_cpu() {
    // An idle CPU steals what waits for another, unless it is bound.
    for bound in [false, true] {
        let config = Config { cpus: 2, ..Config::default() };
        let elsewhere = Arc::new(Owned32::new(0));
        let seen = Arc::clone(&elsewhere);
        passes(config, 200, move || {
            sched::sched_bind(0);
            let irq = interrupt::create("dev", Arrival::Raised, pri::PI_INTR, Some(0));
            let seen = Arc::clone(&seen);
            let body = move || seen.set(seen.get() | cpu::cpuid() as u32);
            interrupt::setup(irq, None, Some(Box::new(body)), 1);
            if bound {
                interrupt::bind(irq);
            }
            explore::begin();
            critical::critical_enter();
            interrupt::raise(irq);
            cpu::step("work", 0);
            critical::critical_exit();
            interrupt::drain(irq);
            explore::end();
        });
        assert_eq!(elsewhere.get() == 0, bound);
    }
}

#[test]
fn budget_limits_interrupts_that_come_by_themselves() {
    for budget in [0, 1, 3] {
        let most = Arc::new(Owned32::new(0));
        let seen = Arc::clone(&most);
        let config = Config { budget: Budget { interrupts: budget, ..Budget::default() }, ..up() };
        let failed = explore_random(config, 300, &move || {
            let (n, count) = counter();
            filter(Arrival::AnyTime, move || n.set(n.get() + 1));
            threads(2, |_| {
                for _ in 0..5 {
                    critical::critical_enter();
                    critical::critical_exit();
                }
            });
            seen.set(seen.get().max(count.get()));
        });
        assert!(failed.is_none(), "{failed:?}");
        assert_eq!(most.get(), budget);
    }
}

#[test]
fn bystander_preempts_a_lock_owner() {
    // Only a preempted owner lets the contender of equal priority block.
    let blocked = |bystanders: bool| {
        explore_random(Config { cpus: 2, ..Config::default() }, 1000, &move || {
            if bystanders {
                interrupt::bystanders();
            }
            let m = mtx(c"m", Mtxf::DEF);
            let tds: Arc<[OwnedPtr<Thread>; 2]> = Arc::new([const { OwnedPtr::null() }; 2]);
            threads(2, move |i| {
                tds[i].set(std::ptr::from_ref(curthread()).cast_mut());
                m.lock();
                critical::critical_enter();
                critical::critical_exit();
                // SAFETY: null, or a thread of this execution.
                assert!(unsafe { tds[1 - i].get().as_ref() }.is_none_or(|td| !td.is_on_lock()), "blocked");
                m.unlock();
                tds[i].set(std::ptr::null_mut());
            });
        })
    };
    assert!(blocked(true).is_some(), "the owner was never preempted");
}

#[test]
fn torn_down_handler_does_not_run() {
    passes(Config::default(), 100, || {
        let (ran, count) = counter();
        let irq = ithread(Arrival::Raised, move || ran.set(ran.get() + 1));
        raise_and_wait(irq);
        interrupt::teardown(irq, 1);
        raise_and_wait(irq);
        assert_eq!(count.get(), 1);
    });
}

#[test]
fn better_ithread_runs_first() {
    let e = once(up(), || {
        let order = Arc::new(Log::default());
        let mut irqs = Vec::new();
        for (name, priority) in [("soft", pri::PI_SOFT), ("hard", pri::PI_REALTIME)] {
            let log = Arc::clone(&order);
            let irq = interrupt::create(name, Arrival::Raised, priority, None);
            interrupt::setup(irq, None, Some(Box::new(move || log.push(name))), 1);
            irqs.push(irq);
        }
        let log = Arc::clone(&order);
        spawn_at("user", pri::PUSER, Some(0), move || log.push("user"));
        explore::begin();
        critical::critical_enter();
        irqs.iter().for_each(|&irq| interrupt::raise(irq));
        // Both are taken here, where nothing can be preempted yet.
        for _ in 0..40 {
            critical::critical_enter();
            critical::critical_exit();
        }
        critical::critical_exit();
        explore::end();
        sched::sched_relinquish();
        assert_eq!(order.take(), ["hard", "soft", "user"]);
    });
    assert_eq!(e.verdict, Verdict::Pass);
}

/// A machine that throttles.
fn storm(threshold: u32) -> Config {
    Config { intr_storm_threshold: threshold, ..Config::default() }
}

/// Runs an ithread `runs` times back to back; returns how many ticks that took.
fn back_to_back(runs: u32) -> u64 {
    let (taken, ran) = (Arc::new(Shared32::new(0)), Arc::new(Shared32::new(0)));
    let (taken2, taken3, ran2) = (Arc::clone(&taken), Arc::clone(&taken), Arc::clone(&ran));
    let irq = interrupt::create("dev", Arrival::Raised, pri::PI_INTR, None);
    let filter = move || {
        taken2.fetchadd(1);
        Filter::ScheduleThread
    };
    let handler = move || {
        if ran2.fetchadd(1) + 1 < runs {
            let before = taken3.get();
            interrupt::raise(irq);
            while taken3.get() == before {
                cpu::observe(taken3.as_ptr().cast(), 4);
                if !cpu::spinwait() {
                    return;
                }
            }
        }
    };
    interrupt::setup(irq, Some(Box::new(filter)), Some(Box::new(handler)), 1);
    let start = sleep::ticks();
    explore::begin();
    interrupt::raise(irq);
    while ran.get() < runs && !cpu::scheduler_stopped() {
        sleep::pause("storm", 1);
    }
    explore::end();
    sleep::ticks() - start
}

#[test]
fn storm_is_throttled_to_one_run_a_tick_and_reported_once_a_second() {
    let e = once(storm(3), || {
        let ticks = back_to_back(10);
        // The runs after the fourth wait for a tick each.
        assert!(ticks >= 6, "{ticks} ticks");
    });
    assert_eq!(e.verdict, Verdict::Pass);
    assert_eq!(e.console, ["interrupt storm detected on \"dev\"; throttling interrupt source"]);
    // Long enough for a second report.
    let e = once(Config { step_limit: 200_000, ..storm(3) }, || _ = back_to_back(1100));
    assert_eq!((e.verdict, e.console.len()), (Verdict::Pass, 2));
    // As many runs as the threshold allows, and no threshold at all.
    for (threshold, runs) in [(10, 10), (0, 50)] {
        let e = once(storm(threshold), move || _ = back_to_back(runs));
        assert_eq!((e.verdict, e.console.len()), (Verdict::Pass, 0), "{threshold} {runs}");
    }
}

#[test]
fn pauses_between_interrupts_end_a_storm() {
    let e = once(storm(3), || {
        let (ran, count) = counter();
        let irq = ithread(Arrival::Raised, move || ran.set(ran.get() + 1));
        for _ in 0..10 {
            raise_and_wait(irq);
        }
        assert_eq!(count.get(), 10);
    });
    assert_eq!((e.verdict, e.console.len()), (Verdict::Pass, 0));
}

#[test]
fn storm_on_smp() {
    let took = common::smp_once(storm(3), 1, &|| assert!(back_to_back(30) >= 20));
    assert_eq!(took, Verdict::Pass);
}

/// FreeBSD forbids it, and without INVARIANTS does not notice: the idle thread owns the mutex, its CPU has interrupts off for good, and what
/// others post to it is never taken. It must not look as if it had something to do.
#[test]
fn a_spin_mutex_that_a_filter_leaves_to_the_idle_thread_takes_the_cpu_away() {
    let config = Config { cpus: 2, invariants: false, witness: false, ..Config::default() };
    let main = || {
        sched::sched_bind(0);
        let left = mtx(c"left", Mtxf::SPIN);
        let irq = interrupt::create("dev", Arrival::Raised, pri::PI_INTR, Some(1));
        let (ran, seen) = counter();
        let body = move || {
            left.lock_spin();
            ran.set(1);
            Filter::Handled
        };
        interrupt::setup(irq, Some(Box::new(body)), None, 1);
        explore::begin();
        interrupt::raise(irq);
        while seen.get() == 0 {
            sleep::pause("wait", 1);
        }
        smp::smp_rendezvous(Phase::NoBarrier, Some(&|| ()), Phase::NoBarrier);
    };
    for seed in 0..50 {
        let (_, execution) = explore_with(config.clone(), 1, &mut Random::new(seed), &main).expect("nobody ends");
        assert!(matches!(execution.verdict, Verdict::Livelock(_)), "seed {seed}: {}", execution.verdict);
    }
}
