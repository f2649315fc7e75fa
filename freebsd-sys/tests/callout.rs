//! callout(9): when callouts run, with which lock, what they may do, stopping and draining.

mod common;

use common::{mtx, once, passes};
use freebsd_sys::atomic::Owned32;
use freebsd_sys::callout::{Callout, Cf};
use freebsd_sys::giant::giant;
use freebsd_sys::host::explore::{self, Options};
use freebsd_sys::host::schedule::random::Random;
use freebsd_sys::machine::{Config, Engine, Machine, Verdict};
use freebsd_sys::mutex::Mtxf;
use freebsd_sys::rwlock::{Rw, Rwf};
use freebsd_sys::thread::{Kthread, State, curthread, kthread_add};
use freebsd_sys::{cpu, critical, sleep};
use std::sync::Arc;

#[track_caller]
fn text(config: Config, main: impl Fn()) -> String {
    match once(config, main).verdict {
        Verdict::Panic(text) => text,
        other => panic!("no FreeBSD panic: {other}"),
    }
}

/// A handler.
fn does(body: impl Fn() + Send + Sync + 'static) -> Arc<dyn Fn() + Send + Sync> {
    Arc::new(body)
}

fn counting() -> (Arc<dyn Fn() + Send + Sync>, Arc<Owned32>) {
    let n = Arc::new(Owned32::new(0));
    let count = Arc::clone(&n);
    (Arc::new(move || n.set(n.get() + 1)), count)
}

#[test]
fn callout_runs_once_when_its_time_has_come() {
    passes(Config::default(), 50, || {
        let c = Arc::new(Callout::new());
        let (handler, count) = counting();
        assert!(!c.reset(5, handler, None, Cf::empty()));
        assert!(c.pending());
        assert_eq!(count.get(), 0);
        sleep::pause("wait", 20);
        assert_eq!(count.get(), 1);
        assert!(!c.pending());
        c.drain();
    });
}

#[test]
fn setting_it_again_replaces_it() {
    passes(Config::default(), 20, || {
        let c = Arc::new(Callout::new());
        let (first, never) = counting();
        let (second, count) = counting();
        c.reset(5000, first, None, Cf::empty());
        assert!(c.reset(3, second, None, Cf::empty()));
        sleep::pause("wait", 20);
        assert_eq!((never.get(), count.get()), (0, 1));
        c.drain();
    });
}

#[test]
fn handler_runs_in_softclock_with_sleeping_prohibited() {
    for cpu in [0, 1] {
        passes(Config::default(), 20, move || {
            let c = Arc::new(Callout::new());
            let handler = move || {
                let td = curthread();
                assert_eq!(td.name(), format!("clock ({cpu})"));
                assert_eq!((td.critnest.get(), td.no_sleeping.get()), (0, 1));
            };
            c.reset(2, does(handler), Some(cpu), Cf::empty());
            sleep::pause("wait", 10);
            c.drain();
        });
    }
    let text = text(Config::default(), || {
        let c = Arc::new(Callout::new());
        c.reset(1, does(|| _ = sleep::pause("nap", 1)), None, Cf::empty());
        sleep::pause("wait", 10);
    });
    assert!(text.starts_with("sleepq_add: td 0x") && text.ends_with(" with sleeping prohibited"), "{text}");
}

#[test]
fn direct_callout_runs_in_the_clock_interrupt() {
    passes(Config::default(), 20, || {
        let c = Arc::new(Callout::new());
        let n = Arc::new(Owned32::new(0));
        let count = Arc::clone(&n);
        let handler = move || {
            assert!(curthread().critnest.get() > 0 && curthread().intr_nesting_level.get() == 1);
            n.set(n.get() + 1);
        };
        c.reset(2, does(handler), None, Cf::DIRECT_EXEC);
        sleep::pause("wait", 20);
        assert_eq!(count.get(), 1);
        c.drain();
    });
}

#[test]
fn handler_runs_with_its_lock() {
    passes(Config::default(), 200, || {
        let m = mtx(c"m", Mtxf::DEF);
        let c = Arc::new(Callout::new());
        c.init_lock(Some(m.object()), Cf::empty());
        let inside = Arc::new(Owned32::new(0));
        let (lock, seen) = (Arc::clone(&m), Arc::clone(&inside));
        c.reset(
            1,
            does(move || {
                assert!(lock.owned());
                assert_eq!(seen.get(), 0);
            }),
            None,
            Cf::empty(),
        );
        explore::begin();
        for _ in 0..3 {
            m.lock();
            inside.set(1);
            critical::critical_enter();
            critical::critical_exit();
            inside.set(0);
            m.unlock();
        }
        explore::end();
        sleep::pause("wait", 10);
        assert!(!m.owned());
        c.drain();
    });
}

#[test]
fn handler_may_return_the_lock_itself() {
    passes(Config::default(), 20, || {
        let m = mtx(c"m", Mtxf::DEF);
        let c = Arc::new(Callout::new());
        c.init_lock(Some(m.object()), Cf::RETURNUNLOCKED);
        let lock = Arc::clone(&m);
        c.reset(1, does(move || lock.unlock()), None, Cf::empty());
        sleep::pause("wait", 10);
        assert!(m.trylock());
        m.unlock();
        c.drain();
    });
}

#[test]
fn stopped_callout_does_not_run() {
    passes(Config::default(), 50, || {
        let c = Arc::new(Callout::new());
        let (handler, count) = counting();
        c.reset(500, handler, None, Cf::empty());
        assert_eq!(c.stop(), 1);
        assert_eq!(c.stop(), -1);
        sleep::pause("wait", 5);
        assert_eq!(count.get(), 0);
    });
}

#[test]
fn callout_that_is_stopped_under_its_lock_never_begins() {
    passes(Config::default(), 500, || {
        let m = mtx(c"m", Mtxf::DEF);
        let c = Arc::new(Callout::new());
        c.init_lock(Some(m.object()), Cf::empty());
        let (handler, count) = counting();
        explore::begin();
        m.lock();
        c.reset(1, handler, None, Cf::empty());
        m.unlock();
        sleep::pause("wait", 1);
        m.lock();
        let before = count.get();
        let stopped = c.stop();
        assert_ne!(stopped, 0, "it cannot run while its lock is held");
        m.unlock();
        sleep::pause("wait", 3);
        assert_eq!(count.get(), before, "it began after it was stopped");
        explore::end();
        c.drain();
    });
    let text = text(Config::default(), || {
        let m = mtx(c"m", Mtxf::DEF);
        let c = Callout::new();
        c.init_lock(Some(m.object()), Cf::empty());
        c.stop();
    });
    common::assert_at(&text, "mutex m not owned at ", "");
}

/// Its next time is off, which is no answer to what it does now.
#[test]
fn a_callout_that_is_pending_and_runs_is_not_stopped() {
    passes(Config::default(), 100, || {
        let c: &'static Callout = Box::leak(Box::new(Callout::new()));
        let m: &'static _ = Box::leak(Box::new(mtx(c"m", Mtxf::DEF)));
        let (begun, seen) = (Arc::new(Owned32::new(0)), Arc::new(Owned32::new(0)));
        let begins = Arc::clone(&begun);
        let handler = move || {
            begins.set(1);
            m.lock();
            m.unlock();
        };
        m.lock();
        c.reset(1, does(handler), None, Cf::empty());
        while begun.get() == 0 {
            cpu::observe(begun.as_ptr().cast(), 4);
            if !cpu::spinwait() {
                return;
            }
        }
        let again = Arc::clone(&seen);
        assert!(!c.reset(5, does(move || again.set(1)), None, Cf::empty()));
        assert_eq!(c.stop(), 0);
        assert!(!c.pending());
        m.unlock();
        sleep::pause("wait", 10);
        assert_eq!((seen.get(), c.stop()), (0, -1));
    });
}

/// Who drains it waits first, and takes the next time off the queue afterwards.
#[test]
fn a_callout_that_is_pending_and_runs_is_drained_of_its_next_time() {
    passes(Config { cpus: 2, ..Config::default() }, 300, || {
        let c: &'static Callout = Box::leak(Box::new(Callout::new()));
        let begun = Arc::new(Owned32::new(0));
        let begins = Arc::clone(&begun);
        let handler = move || {
            begins.set(1);
            for _ in 0..5 {
                critical::critical_enter();
                critical::critical_exit();
            }
        };
        c.reset(1, does(handler), Some(1), Cf::empty());
        explore::begin();
        while begun.get() == 0 {
            cpu::observe(begun.as_ptr().cast(), 4);
            if !cpu::spinwait() {
                return;
            }
        }
        c.reset(5000, does(|| ()), Some(1), Cf::empty());
        assert_eq!(c.drain(), 1);
        explore::end();
    });
}

#[test]
fn drained_callout_cannot_set_itself_again() {
    passes(Config::default(), 200, || {
        let c: &'static Callout = Box::leak(Box::new(Callout::new()));
        let count = Arc::new(Owned32::new(0));
        let again = Arc::clone(&count);
        let handler = move || {
            again.set(1);
            c.reset(1, does(|| ()), None, Cf::empty());
            critical::critical_enter();
            critical::critical_exit();
            again.set(2);
        };
        explore::begin();
        c.reset(1, does(handler), None, Cf::empty());
        sleep::pause("wait", 1);
        c.drain();
        assert!(!c.pending());
        assert_ne!(count.get(), 1, "the handler still runs, although it had set itself again");
        explore::end();
    });
}

#[test]
fn drain_waits_for_the_handler() {
    passes(Config::default(), 300, || {
        let c = Arc::new(Callout::new());
        let state = Arc::new(Owned32::new(0));
        let inside = Arc::clone(&state);
        let handler = move || {
            inside.set(1);
            critical::critical_enter();
            critical::critical_exit();
            inside.set(2);
        };
        c.reset(1, does(handler), Some(1), Cf::empty());
        explore::begin();
        for _ in 0..5 {
            critical::critical_enter();
            critical::critical_exit();
        }
        c.drain();
        assert_ne!(state.get(), 1, "drained while the handler ran");
        let after = state.get();
        sleep::pause("wait", 10);
        explore::end();
        assert_eq!(state.get(), after, "ran after it was drained");
    });
}

/// What it set itself to is gone, and that it runs is what the answer says.
#[test]
fn a_callout_that_runs_and_is_pending_is_stopped_with_0() {
    passes(Config::default(), 100, || {
        let c: &'static Callout = Box::leak(Box::new(Callout::new()));
        let runs = Arc::new(Owned32::new(0));
        let again = Arc::clone(&runs);
        let handler = move || {
            again.set(again.get() + 1);
            c.reset(5, does(|| panic!("it was stopped")), None, Cf::empty());
            assert!(c.active() && c.pending());
            assert_eq!(c.stop(), 0);
            assert!(!c.active() && !c.pending());
        };
        c.reset(1, does(handler), None, Cf::empty());
        sleep::pause("wait", 10);
        assert_eq!((runs.get(), c.drain()), (1, -1));
    });
}

/// Who drains it waits for the run, and then takes off what that set.
#[test]
fn draining_tells_of_what_the_run_set() {
    passes(Config::default(), 300, || {
        let c: &'static Callout = Box::leak(Box::new(Callout::new()));
        let begun = Arc::new(Owned32::new(0));
        let (set, seen) = (Arc::clone(&begun), Arc::clone(&begun));
        let lock = mtx(c"lock", Mtxf::DEF);
        let blocks = Arc::clone(&lock);
        let handler = move || {
            c.reset(1000, does(|| panic!("it was drained")), None, Cf::empty());
            set.set(1);
            blocks.lock();
            blocks.unlock();
        };
        lock.lock();
        c.reset(1, does(handler), Some(1), Cf::empty());
        while seen.get() == 0 {
            sleep::ticks();
            cpu::spinwait();
        }
        explore::begin();
        lock.unlock();
        assert_eq!(c.drain(), 1);
        assert!(!c.pending());
        explore::end();
    });
}

/// The clock interrupt runs callouts of its own, whatever it interrupts softclock in.
#[test]
fn a_direct_callout_leaves_the_one_it_interrupts_running() {
    passes(Config::default(), 300, || {
        let (c, direct) = (Arc::new(Callout::new()), Arc::new(Callout::new()));
        let lock = mtx(c"lock", Mtxf::DEF);
        let state = Arc::new(Owned32::new(0));
        let (blocks, inside) = (Arc::clone(&lock), Arc::clone(&state));
        let handler = move || {
            inside.set(1);
            blocks.lock();
            blocks.unlock();
            inside.set(2);
        };
        lock.lock();
        c.reset(1, does(handler), Some(0), Cf::empty());
        let (count, runs) = counting();
        direct.reset(4, count, Some(0), Cf::DIRECT_EXEC);
        while runs.get() == 0 {
            // The handler waits for the mutex, and softclock with it.
            sleep::ticks();
            cpu::spinwait();
        }
        let now = state.get();
        lock.unlock();
        explore::begin();
        c.drain();
        assert!(now != 1 || state.get() == 2, "drained while the handler ran");
        explore::end();
        direct.drain();
    });
}

/// Two callouts that nobody gave a CPU share one softclock, and never run at a time.
#[test]
fn callouts_are_cpu_0s_unless_one_says_otherwise() {
    passes(Config::default(), 50, || {
        let done = Arc::new(Owned32::new(0));
        let ends = Arc::clone(&done);
        common::spawn_at("setter", freebsd_sys::sched::pri::PUSER, Some(1), move || {
            freebsd_sys::sched::sched_pin();
            let c = Callout::new();
            c.reset(1, does(|| assert_eq!(curthread().name(), "clock (0)")), None, Cf::empty());
            sleep::pause("wait", 5);
            assert_eq!(c.drain(), -1);
            freebsd_sys::sched::sched_unpin();
            ends.set(1);
            sleep::wakeup(ends.as_ptr() as usize);
        });
        while done.get() == 0 {
            sleep::tsleep(done.as_ptr() as usize, "setter", 10);
        }
    });
}

#[test]
fn stop_wants_its_lock_exclusively() {
    let text = text(Config::default(), || {
        let rw = Arc::new(Rw::zeroed());
        rw.init(c"rw", Rwf::empty());
        let c = Callout::new();
        c.init_lock(Some(rw.object()), Cf::empty());
        rw.rlock();
        c.stop();
    });
    assert!(text.starts_with("Lock rw not exclusively locked @"), "{text}");
}

#[test]
fn a_callout_of_giant_is_stopped_with_giant_or_without() {
    passes(Config::default(), 20, || {
        let c = Arc::new(Callout::new());
        let (handler, count) = counting();
        c.init_lock(Some(giant().object()), Cf::empty());
        assert_eq!(c.stop(), -1);
        c.reset(5, Arc::clone(&handler), None, Cf::empty());
        giant().lock();
        assert_eq!(c.stop(), 1);
        giant().unlock();
        c.reset(5, handler, None, Cf::empty());
        assert_eq!(c.stop(), 1);
        sleep::pause("wait", 10);
        assert_eq!((count.get(), c.drain()), (0, -1));
    });
}

#[test]
fn drain_has_nothing_against_the_callouts_own_lock() {
    let e = once(Config::default(), || {
        let m = mtx(c"own", Mtxf::DEF);
        let c = Callout::new();
        c.init_lock(Some(m.object()), Cf::empty());
        m.lock();
        c.drain();
        m.unlock();
    });
    assert_eq!((e.verdict, e.console), (Verdict::Pass, vec![]));
}

/// The handler wants a mutex that who drains it holds, and neither goes on: whoever comes last finds out, or nobody does.
#[test]
fn draining_with_the_handlers_lock_held_is_a_deadlock() {
    let m = Machine::new(Config { witness: false, ..Config::default() }, Engine::Explore);
    let mut deadlocks = 0;
    for seed in 0..50 {
        let e = explore::run(&m, &mut Random::new(seed), Options::default(), &|| {
            let lock = mtx(c"m", Mtxf::DEF);
            let lock2 = Arc::clone(&lock);
            let c = Arc::new(Callout::new());
            let handler = does(move || {
                lock2.lock();
                lock2.unlock();
            });
            explore::begin();
            lock.lock();
            c.reset(1, handler, None, Cf::empty());
            while c.pending() && cpu::spinwait() {}
            c.drain();
        });
        match &e.verdict {
            Verdict::Deadlock(text) => {
                assert!(text.contains("codrain"), "{text}");
                deadlocks += 1;
            }
            Verdict::Panic(text) => assert_eq!(text, "sleeping thread"),
            other => panic!("{other}"),
        }
    }
    assert!(deadlocks > 0);
}

/// Runs `main` under random schedules on `cpus` CPUs; the first verdict that is no pass.
fn verdict_on(cpus: usize, main: impl Fn()) -> Verdict {
    let machine = Machine::new(Config { cpus, ..Config::default() }, Engine::Explore);
    let mut schedule = Random::new(1);
    (0..50)
        .map(|index| explore::run(&machine, &mut schedule, Options { index, ..Options::default() }, &main).verdict)
        .find(|verdict| *verdict != Verdict::Pass)
        .unwrap_or(Verdict::Pass)
}

/// A driver that polls with a deadline: the time comes, soon, and no later than a timer that is earlier.
#[test]
fn who_polls_the_clock_lets_it_go_on() {
    for cpus in [1, 2] {
        for far in [1, 5, 3_000, 10_000] {
            let verdict = verdict_on(cpus, || {
                let c = Arc::new(Callout::new());
                let (handler, count) = counting();
                c.reset(4, handler, None, Cf::DIRECT_EXEC);
                let end = sleep::ticks() + far;
                while sleep::ticks() < end && cpu::spinwait() {
                    assert_eq!(count.get(), u32::from(sleep::ticks() >= 5), "a timer was passed over");
                }
                assert!(sleep::ticks() < end + end / 2, "far beyond its deadline");
                c.drain();
            });
            assert_eq!(verdict, Verdict::Pass, "{far} ticks on {cpus} CPUs");
        }
    }
}

/// What it polls for may be done by an equal that waits for its CPU: its slice ends before a long deadline.
#[test]
fn who_polls_the_clock_has_slices() {
    let verdict = verdict_on(1, || {
        let done = Arc::new(Owned32::new(0));
        let does = Arc::clone(&done);
        let spec = Kthread { name: "device", priority: curthread().priority.get(), flags: 0, cpu: Some(0) };
        let td = kthread_add(spec, move || does.set(1));
        let end = sleep::ticks() + 100;
        while done.get() == 0 && sleep::ticks() < end && cpu::spinwait() {}
        assert_eq!(done.get(), 1, "timed out");
        while td.state() != State::Inactive {
            sleep::pause("end", 1);
        }
    });
    assert_eq!(verdict, Verdict::Pass);
}

/// Who does not look at the clock waits for ever; who looks at it and has no deadline, too.
#[test]
fn time_does_not_end_a_livelock() {
    for looks in [false, true] {
        for cpus in [1, 2] {
            let verdict = verdict_on(cpus, || {
                let flag = Owned32::new(0);
                sleep::ticks();
                while flag.get() == 0 {
                    cpu::observe(flag.as_ptr().cast(), 4);
                    if looks {
                        sleep::ticks();
                    }
                    if !cpu::spinwait() {
                        return;
                    }
                }
            });
            assert!(matches!(verdict, Verdict::Livelock(_)), "{verdict}");
        }
    }
}

#[test]
fn delays_add_up_and_timers_run_meanwhile() {
    for cpus in [1, 2] {
        let verdict = verdict_on(cpus, || {
            let c = Arc::new(Callout::new());
            let (handler, count) = counting();
            let start = sleep::ticks();
            c.reset(3, handler, None, Cf::DIRECT_EXEC);
            for _ in 0..8 {
                sleep::delay(250);
            }
            assert_eq!((sleep::ticks() - start, count.get()), (2, 0));
            sleep::delay(5_500);
            assert_eq!((sleep::ticks() - start, count.get()), (7, 1));
            c.drain();
            // Interrupts off: time passes all the same, and what is due comes when they are on.
            let (handler, count) = counting();
            c.reset(2, handler, Some(0), Cf::empty());
            let start = sleep::ticks();
            critical::spinlock_enter();
            sleep::delay(10_000);
            assert_eq!((sleep::ticks() - start, count.get()), (10, 0));
            critical::spinlock_exit();
            sleep::pause("softclock", 2);
            assert_eq!(count.get(), 1);
            c.drain();
        });
        assert_eq!(verdict, Verdict::Pass, "{cpus} CPUs");
    }
}

/// However short its delays are and however far its deadline.
#[test]
fn who_delays_until_a_deadline_gets_there() {
    let verdict = verdict_on(2, || {
        let end = sleep::ticks() + 2_000;
        while sleep::ticks() < end {
            sleep::delay(1);
        }
        assert!(sleep::ticks() < 2 * end, "far beyond its deadline");
    });
    assert_eq!(verdict, Verdict::Pass);
}

/// A tick of the budget may come while what is polled for is on its way: both ends of the race are found.
#[test]
fn a_poll_may_time_out_and_may_not() {
    for times_out in [false, true] {
        let verdict = verdict_on(2, || {
            let done = Arc::new(Owned32::new(0));
            let does = Arc::clone(&done);
            let spec = Kthread { name: "device", priority: curthread().priority.get(), flags: 0, cpu: Some(1) };
            let td = kthread_add(spec, move || {
                sleep::delay(1);
                does.set(1);
            });
            explore::begin();
            let end = sleep::ticks() + 1;
            while done.get() == 0 && sleep::ticks() < end && cpu::spinwait() {
                cpu::observe(done.as_ptr().cast(), 4);
            }
            let found = done.get() == 0;
            explore::join(td);
            explore::end();
            assert!(found != times_out, "found");
        });
        assert!(verdict.message().contains("found"), "{times_out}: {verdict}");
    }
}
