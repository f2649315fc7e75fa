//! mutex(9): sleep mutexes and spin mutexes, contention and lending.

mod common;

use common::{explore_random, mtx, no_witness, once, panic_text, passes, smp_once, spawn_at, threads, up};
use freebsd_sys::atomic::{Owned32, Shared32};
use freebsd_sys::machine::{Config, Preemption, Verdict};
use freebsd_sys::mutex::{Mtxf, ma};
use freebsd_sys::sched::pri::{self, PUSER};
use freebsd_sys::thread::{Kthread, Thread, curthread, kthread_add};
use freebsd_sys::{cpu, critical, host::explore, interrupt, sched, sleep};
use std::sync::Arc;

fn bare() -> Config {
    Config { invariants: false, witness: false, ..Config::default() }
}

fn thread(name: &str, priority: u32, cpu: usize, body: impl FnOnce() + Send + 'static) -> &'static Thread {
    kthread_add(Kthread { name, priority, flags: 0, cpu: Some(cpu) }, body)
}

#[test]
fn only_one_thread_is_inside() {
    for config in [Config::default(), no_witness(), bare(), up(), Config { cpus: 4, ..Config::default() }] {
        passes(config, 300, || {
            let m = mtx(c"m", Mtxf::DEF);
            let n = Arc::new(Owned32::new(0));
            let total = Arc::clone(&n);
            threads(3, move |_| {
                for _ in 0..3 {
                    m.lock();
                    let seen = n.get();
                    critical::critical_enter();
                    critical::critical_exit();
                    n.set(seen + 1);
                    m.unlock();
                }
            });
            assert_eq!(total.get(), 9);
        });
    }
}

#[test]
fn spin_mutex_excludes() {
    passes(Config::default(), 300, || {
        let m = mtx(c"s", Mtxf::SPIN);
        let n = Arc::new(Owned32::new(0));
        let total = Arc::clone(&n);
        threads(3, move |_| {
            for _ in 0..3 {
                m.lock_spin();
                let seen = n.get();
                critical::critical_enter();
                critical::critical_exit();
                n.set(seen + 1);
                m.unlock_spin();
            }
        });
        assert_eq!(total.get(), 9);
    });
}

#[test]
fn nothing_excludes_without_a_mutex() {
    // The control: the two tests above can fail.
    let found = explore_random(Config::default(), 300, &|| {
        let n = Arc::new(Owned32::new(0));
        let total = Arc::clone(&n);
        threads(2, move |_| {
            let seen = n.get();
            critical::critical_enter();
            critical::critical_exit();
            n.set(seen + 1);
        });
        assert_eq!(total.get(), 2);
    });
    assert!(matches!(found, Some((_, ref e)) if matches!(e.verdict, Verdict::Error(_))), "{found:?}");
}

#[test]
fn recursion_is_counted_where_it_was_asked_for() {
    passes(Config::default(), 1, || {
        let (m, s) = (mtx(c"m", Mtxf::RECURSE), mtx(c"s", Mtxf::SPIN | Mtxf::RECURSE));
        for _ in 0..4 {
            m.lock();
        }
        assert!(m.recursed());
        for left in (0..4).rev() {
            m.unlock();
            assert_eq!(m.owned(), left > 0);
            assert_eq!(m.recursed(), left > 1);
        }
        s.lock_spin();
        s.lock_spin();
        s.unlock_spin();
        assert!(s.owned());
        s.unlock_spin();
        assert!(!s.owned());
        assert_eq!(curthread().critnest.get(), 0);
        m.lock();
        assert!(m.trylock());
        assert!(m.recursed());
        m.unlock();
        assert!(m.owned() && !m.recursed());
        m.unlock();
        assert!(!m.owned());
    });
}

#[test]
fn trylock_never_waits() {
    passes(Config::default(), 200, || {
        let (m, s) = (mtx(c"m", Mtxf::DEF), mtx(c"s", Mtxf::SPIN));
        m.lock();
        assert!(!m.trylock(), "trylock of one's own mutex fails instead of recursing");
        let other = Arc::clone(&m);
        threads(1, move |_| assert!(!other.trylock()));
        m.unlock();
        assert!(m.trylock());
        m.unlock();
        assert!(s.trylock_spin());
        assert_eq!(curthread().critnest.get(), 1);
        assert!(!s.trylock_spin());
        assert_eq!(curthread().critnest.get(), 1);
        s.unlock_spin();
        assert_eq!(curthread().critnest.get(), 0);
    });
}

#[test]
fn destroy_takes_the_callers_hold_away() {
    passes(Config::default(), 1, || {
        let (m, s) = (mtx(c"m", Mtxf::DEF), mtx(c"s", Mtxf::SPIN));
        m.lock();
        m.destroy();
        s.lock_spin();
        s.destroy();
        assert!(!m.initialized());
        assert_eq!((curthread().locks.get(), curthread().critnest.get()), (0, 0));
    });
}

#[test]
fn spin_mutexes_in_a_cycle_are_held_too_long() {
    let (_, e) = explore_random(no_witness(), 1000, &|| {
        let locks = [mtx(c"A", Mtxf::SPIN), mtx(c"B", Mtxf::SPIN)];
        threads(2, move |i| {
            locks[i].lock_spin();
            locks[1 - i].lock_spin();
            locks[1 - i].unlock_spin();
            locks[i].unlock_spin();
        });
    })
    .expect("the cycle was not found");
    assert_eq!(e.verdict, Verdict::Panic("spin lock held too long".to_owned()));
    let line = e.console.last().unwrap();
    assert!(line.starts_with("spin lock 0x") && line.ends_with(") too long"), "{line}");
    assert!(line.contains(") held by 0x") && line.contains(" (tid 10"), "{line}");
}

/// The owner waits for an interrupt on the contender's CPU: it comes, since the contender waits outside of its spinlock section.
#[test]
fn interrupts_come_while_a_spin_mutex_is_waited_for() {
    passes(Config::default(), 200, || {
        let s = mtx(c"s", Mtxf::SPIN | Mtxf::NOWITNESS);
        let ran = Arc::new(Shared32::new(0));
        let seen = Arc::clone(&ran);
        let irq = interrupt::create("dev", interrupt::Arrival::Raised, pri::PI_INTR, Some(1));
        let filter = move || {
            ran.set(1);
            interrupt::Filter::Handled
        };
        interrupt::setup(irq, Some(Box::new(filter)), None, 1);
        threads(2, move |i| {
            sched::sched_bind(i);
            s.lock_spin();
            if i == 0 {
                interrupt::raise(irq);
                while seen.get() == 0 {
                    cpu::observe(seen.as_ptr().cast(), 4);
                    if !cpu::spinwait() {
                        return;
                    }
                }
            }
            s.unlock_spin();
            sched::sched_unbind();
        });
    });
}

#[test]
fn contender_spins_while_the_owner_runs() {
    // CPU 1 keeps the contender: the owner never leaves CPU 0, so adaptive spinning never blocks.
    passes(Config::default(), 300, || {
        let m = mtx(c"m", Mtxf::DEF);
        m.lock();
        explore::begin();
        let other = Arc::clone(&m);
        let td = thread("contender", PUSER, 1, move || {
            sched::sched_pin();
            other.lock();
            other.unlock();
            sched::sched_unpin();
        });
        for _ in 0..10 {
            critical::critical_enter();
            critical::critical_exit();
            assert!(!td.is_on_lock(), "blocked on a running owner");
        }
        m.unlock();
        explore::end();
        sleep::pause("wait", 2);
    });
}

#[test]
fn contender_blocks_when_the_owner_does_not_run() {
    let e = once(up(), || {
        let m = mtx(c"m", Mtxf::DEF);
        m.lock();
        let other = Arc::clone(&m);
        let td = thread("contender", PUSER, 0, move || {
            other.lock();
            other.unlock();
        });
        assert!(!td.is_on_lock());
        sched::sched_relinquish();
        assert!(td.is_on_lock(), "spun for an owner that is not on a CPU");
        m.unlock();
        assert!(!td.is_on_lock());
        sched::sched_relinquish();
    });
    assert_eq!(e.verdict, Verdict::Pass);
}

/// Without checks, and with nothing to be done at the boundaries, locks go the short way; one that somebody waits for, or that is held twice, does not.
#[test]
fn the_short_way_does_not_forget_waiters_and_recursion() {
    let config = Config { cpus: 1, ..bare() };
    let verdict = smp_once(config, 0, &|| {
        let m = mtx(c"m", Mtxf::DEF);
        m.lock();
        let other = Arc::clone(&m);
        let td = thread("contender", PUSER, 0, move || {
            other.lock();
            other.unlock();
        });
        while !td.is_on_lock() {
            sched::sched_relinquish();
        }
        m.unlock();
        assert!(!td.is_on_lock(), "nobody woke it");
        let s = mtx(c"s", Mtxf::SPIN | Mtxf::RECURSE);
        s.lock_spin();
        s.lock_spin();
        s.unlock_spin();
        assert!(s.owned(), "held once more");
        s.unlock_spin();
    });
    assert_eq!(verdict, Verdict::Pass);
}

/// Nobody waits that long by trying alone: the mutex is the owner's however often others try.
#[test]
fn sections_longer_than_anybody_tries() {
    for config in [Config::default(), bare(), Config { cpus: 4, ..bare() }] {
        let verdict = smp_once(config, 0, &|| {
            let m = mtx(c"m", Mtxf::DEF);
            let n = Arc::new(Owned32::new(0));
            let total = Arc::clone(&n);
            threads(3, move |_| {
                for _ in 0..100 {
                    m.lock();
                    let seen = n.get();
                    for _ in 0..2_000 {
                        core::hint::spin_loop();
                    }
                    n.set(seen + 1);
                    m.unlock();
                }
            });
            assert_eq!(total.get(), 300);
        });
        assert_eq!(verdict, Verdict::Pass);
    }
}

#[test]
fn woken_waiters_may_be_overtaken() {
    // No hand-off: the owner takes the mutex again before the thread that it woke, which goes on waiting.
    let e = once(up(), || {
        let m = mtx(c"m", Mtxf::DEF);
        m.lock();
        let other = Arc::clone(&m);
        let td = thread("waiter", PUSER, 0, move || {
            other.lock();
            other.unlock();
        });
        sched::sched_relinquish();
        assert!(td.is_on_lock());
        m.unlock();
        assert!(!td.is_on_lock() && !m.owned(), "woken, and the mutex is nobody's");
        m.lock();
        sched::sched_relinquish();
        assert!(td.is_on_lock(), "it lost, and waits again");
        m.unlock();
        sched::sched_relinquish();
        assert!(m.trylock(), "it had its turn");
        m.unlock();
    });
    assert_eq!(e.verdict, Verdict::Pass);
}

#[test]
fn priority_is_lent_through_a_chain_of_two_locks() {
    let config = Config { cpus: 1, preemption: Preemption::Full, ..Config::default() };
    let done = Arc::new(Owned32::new(0));
    let count = Arc::clone(&done);
    let e = once(config, move || {
        let (a, b) = (mtx(c"A", Mtxf::DEF), mtx(c"B", Mtxf::DEF));
        let count = Arc::clone(&count);
        spawn_at("low", 100, Some(0), move || {
            let low = curthread();
            a.lock();
            let (a2, b2, count2) = (Arc::clone(&a), Arc::clone(&b), Arc::clone(&count));
            // Better than low: runs at once, and blocks on low's lock.
            let mid = thread("mid", 80, 0, move || {
                b2.lock();
                a2.lock();
                assert_eq!(curthread().priority.get(), 60, "mid keeps what B lends it");
                a2.unlock();
                b2.unlock();
                assert_eq!(curthread().priority.get(), 80);
                count2.set(count2.get() + 1);
            });
            assert!(mid.is_on_lock());
            assert_eq!(low.priority.get(), 80);
            let (b3, count3) = (Arc::clone(&b), Arc::clone(&count));
            let high = thread("high", 60, 0, move || {
                b3.lock();
                b3.unlock();
                count3.set(count3.get() + 1);
            });
            assert!(high.is_on_lock());
            assert_eq!((mid.priority.get(), low.priority.get()), (60, 60), "lent along the chain");
            a.unlock();
            assert_eq!(low.priority.get(), 100, "given back");
            count.set(count.get() + 1);
        });
        sleep::pause("wait", 5);
    });
    assert_eq!(e.verdict, Verdict::Pass);
    assert_eq!(done.get(), 3);
}

#[test]
fn blocking_in_a_critical_section_panics() {
    let text = panic_text(Config::default(), || {
        interrupt::bystanders();
        let m = mtx(c"lnxspin", Mtxf::NOWITNESS);
        threads(2, move |i| {
            if i == 0 {
                critical::critical_enter();
            }
            m.lock();
            m.unlock();
            if i == 0 {
                critical::critical_exit();
            }
        });
    });
    assert_eq!(text, "mi_switch: switch in a critical section");
}

#[test]
fn abba_deadlocks() {
    let (_, e) = explore_random(no_witness(), 1000, &|| {
        let locks = [mtx(c"A", Mtxf::DEF), mtx(c"B", Mtxf::DEF)];
        threads(2, move |i| {
            locks[i].lock();
            locks[1 - i].lock();
            locks[1 - i].unlock();
            locks[i].unlock();
        });
    })
    .expect("the cycle was not found");
    // Two owners that run spin for each other; two that were descheduled block.
    assert!(matches!(e.verdict, Verdict::Livelock(_) | Verdict::Deadlock(_)), "{}", e.verdict);
}

#[test]
fn held_locks_are_counted_under_invariants() {
    for (config, n) in [(no_witness(), 2), (bare(), 0)] {
        let e = once(config, move || {
            let (a, b, s) = (mtx(c"A", Mtxf::DEF), mtx(c"B", Mtxf::NOWITNESS), mtx(c"s", Mtxf::SPIN));
            a.lock();
            assert!(b.trylock());
            s.lock_spin();
            assert_eq!(curthread().locks.get(), n, "spin mutexes do not count");
            s.unlock_spin();
            b.unlock();
            a.unlock();
            assert_eq!(curthread().locks.get(), 0);
        });
        assert_eq!(e.verdict, Verdict::Pass);
    }
}

/// Without INVARIANTS a sleep mutex can be taken as a spin mutex. FreeBSD's recursion compares the whole word: of one that was
/// recursed on as a sleep mutex it waits for itself.
#[test]
fn a_spin_lock_of_a_recursed_sleep_mutex_waits_for_itself() {
    let execution = once(bare(), || {
        let m = mtx(c"m", Mtxf::RECURSE);
        m.lock();
        m.lock_spin();
        m.unlock_spin();
        m.lock();
        m.lock_spin();
    });
    assert_eq!(execution.verdict, Verdict::Panic("spin lock held too long".to_owned()));
}

/// A spin mutex's word does not say that it is held more than once, the count does.
#[test]
fn a_recursed_spin_mutex_is_known_to_be() {
    passes(Config::default(), 20, || {
        let m = mtx(c"s", Mtxf::SPIN | Mtxf::RECURSE);
        m.lock_spin();
        assert!(!m.recursed());
        m.lock_spin();
        assert!(m.recursed());
        m.assert(ma::OWNED | ma::RECURSED);
        m.unlock_spin();
        m.assert(ma::OWNED | ma::NOTRECURSED);
        m.unlock_spin();
    });
    let e = once(Config::default(), || {
        let m = mtx(c"s", Mtxf::SPIN | Mtxf::RECURSE);
        m.lock_spin();
        m.lock_spin();
        sleep::msleep_spin(1, &m, "w", 0);
    });
    assert!(matches!(&e.verdict, Verdict::Panic(text) if text.starts_with("mutex s recursed at")), "{}", e.verdict);
}
