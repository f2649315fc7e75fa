//! Critical sections: `td_critnest` exactly, the preemption owed at their end.

mod common;

use common::{mtx, once, panic_text, passes, spawn_at, threads};
use freebsd_sys::atomic::Owned32;
use freebsd_sys::critical::{critical_enter, critical_exit, spinlock_enter, spinlock_exit};
use freebsd_sys::machine::{Config, Preemption, Verdict};
use freebsd_sys::mutex::Mtxf;
use freebsd_sys::sched::{self};
use freebsd_sys::sleep;
use freebsd_sys::thread::curthread;
use std::sync::Arc;

fn critnest() -> u32 {
    curthread().critnest.get()
}

#[test]
fn critnest_counts_sections_and_spinlock_enter_once() {
    passes(Config::default(), 50, || {
        threads(2, |_| {
            assert_eq!(critnest(), 0, "a new thread");
            critical_enter();
            critical_enter();
            assert_eq!(critnest(), 2);
            spinlock_enter();
            spinlock_enter();
            spinlock_enter();
            assert_eq!((critnest(), curthread().spinlock_count.get()), (3, 3));
            spinlock_exit();
            spinlock_exit();
            assert_eq!(critnest(), 3);
            spinlock_exit();
            assert_eq!(critnest(), 2);
            critical_exit();
            critical_exit();
            assert_eq!(critnest(), 0);
        });
    });
}

#[test]
fn nested_spin_mutexes_add_one() {
    passes(Config::default(), 100, || {
        let locks = [mtx(c"a", Mtxf::SPIN), mtx(c"b", Mtxf::SPIN), mtx(c"c", Mtxf::SPIN)];
        threads(2, move |_| {
            for lock in &locks {
                lock.lock_spin();
                assert_eq!(critnest(), 1);
            }
            for lock in &locks {
                assert_eq!(critnest(), 1);
                lock.unlock_spin();
            }
            assert_eq!(critnest(), 0);
        });
    });
}

#[test]
fn sleep_mutex_and_sleep_leave_critnest_alone() {
    passes(Config::default(), 200, || {
        let m = mtx(c"m", Mtxf::DEF);
        threads(3, move |_| {
            m.lock();
            assert_eq!(critnest(), 0);
            m.unlock();
            assert_eq!(critnest(), 0);
            sleep::pause("nap", 1);
            assert_eq!(critnest(), 0);
        });
    });
}

#[test]
fn preemption_waits_for_the_end_of_the_outermost_section() {
    let config = Config { cpus: 1, preemption: Preemption::Full, ..Config::default() };
    let e = once(config, || {
        let ran = Arc::new(Owned32::new(0));
        let set = Arc::clone(&ran);
        critical_enter();
        critical_enter();
        spawn_at("better", sched::pri::PRI_MIN_KERN, Some(0), move || set.set(1));
        assert_eq!((ran.get(), curthread().owepreempt.get()), (0, 1));
        critical_exit();
        assert_eq!((ran.get(), curthread().owepreempt.get()), (0, 1), "still inside");
        critical_exit();
        assert_eq!((ran.get(), curthread().owepreempt.get()), (1, 0), "taken at the end");
    });
    assert_eq!(e.verdict, Verdict::Pass);
}

#[test]
fn section_stays_on_its_cpu() {
    let text = panic_text(Config::default(), || {
        threads(2, |_| {
            critical_enter();
            sched::kern_yield(sched::pri::PUSER);
            critical_exit();
        });
    });
    assert_eq!(text, "mi_switch: switch in a critical section");
    passes(Config { cpus: 3, ..Config::default() }, 200, || {
        threads(4, |_| {
            critical_enter();
            let cpu = freebsd_sys::cpu::cpuid();
            for _ in 0..5 {
                critical_enter();
                critical_exit();
                assert_eq!(freebsd_sys::cpu::cpuid(), cpu);
            }
            critical_exit();
        });
    });
}
