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
use freebsd_sys::thread::curthread;
use freebsd_sys::{cpu, critical, sleep};
use std::rc::Rc;
use std::sync::Arc;

#[track_caller]
fn text(config: Config, main: impl Fn()) -> String {
    match once(config, main).verdict {
        Verdict::Panic(text) => text,
        other => panic!("no FreeBSD panic: {other}"),
    }
}

/// A handler.
fn does(body: impl Fn() + 'static) -> Rc<dyn Fn()> {
    Rc::new(body)
}

fn counting() -> (Rc<dyn Fn()>, Arc<Owned32>) {
    let n = Arc::new(Owned32::new(0));
    let count = Arc::clone(&n);
    (Rc::new(move || n.set(n.get() + 1)), count)
}

#[test]
fn callout_runs_once_when_its_time_has_come() {
    passes(Config::default(), 50, || {
        let c = Rc::new(Callout::new());
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
        let c = Rc::new(Callout::new());
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
            let c = Rc::new(Callout::new());
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
        let c = Rc::new(Callout::new());
        c.reset(1, does(|| _ = sleep::pause("nap", 1)), None, Cf::empty());
        sleep::pause("wait", 10);
    });
    assert!(text.starts_with("sleepq_add: td 0x") && text.ends_with(" with sleeping prohibited"), "{text}");
}

#[test]
fn direct_callout_runs_in_the_clock_interrupt() {
    passes(Config::default(), 20, || {
        let c = Rc::new(Callout::new());
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
        let c = Rc::new(Callout::new());
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
        let c = Rc::new(Callout::new());
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
        let c = Rc::new(Callout::new());
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
        let c = Rc::new(Callout::new());
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
        let c = Rc::new(Callout::new());
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

#[test]
fn stop_wants_its_lock_exclusively() {
    let text = text(Config::default(), || {
        let rw = Rc::new(Rw::zeroed());
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
        let c = Rc::new(Callout::new());
        let (handler, count) = counting();
        c.init_lock(Some(giant().object()), Cf::empty());
        assert_eq!(c.stop(), -1);
        c.reset(5, Rc::clone(&handler), None, Cf::empty());
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
            let c = Rc::new(Callout::new());
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
