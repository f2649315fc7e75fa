//! turnstile(9): who lends what to whom, while threads come, are lent to themselves, and go.

mod common;

use common::{Log, mtx, once, spawn_at};
use freebsd_sys::atomic::Owned32;
use freebsd_sys::machine::{Config, Preemption, Verdict};
use freebsd_sys::mutex::{Mtx, Mtxf};
use freebsd_sys::thread::{Kthread, State, Thread, curthread, kthread_add};
use freebsd_sys::{sched, sleep};
use std::sync::Arc;

/// One CPU, on which a better thread runs at once.
fn full() -> Config {
    Config { cpus: 1, preemption: Preemption::Full, ..Config::default() }
}

/// Runs `body` at priority 100; the threads that it makes are better and go first.
#[track_caller]
fn low(body: impl Fn() + Clone + Send + Sync + 'static) {
    let ran = Arc::new(Owned32::new(0));
    let end = Arc::clone(&ran);
    let e = once(full(), move || {
        let (body, ran) = (body.clone(), Arc::clone(&ran));
        spawn_at("low", 100, Some(0), move || {
            body();
            ran.set(1);
        });
        sleep::pause("wait", 5);
    });
    assert_eq!(e.verdict, Verdict::Pass, "{:?}", e.console);
    assert_eq!(end.get(), 1);
}

fn lock(name: &'static core::ffi::CStr) -> Arc<Mtx> {
    mtx(name, Mtxf::NOWITNESS)
}

/// A thread that takes the locks in turn, and waits for the last. Better than who calls, whatever that was lent, or it would not
/// run yet.
fn waiter<const N: usize>(name: &str, priority: u32, locks: [&Arc<Mtx>; N]) -> &'static Thread {
    let locks = locks.map(Arc::clone);
    let td = kthread_add(Kthread { name, priority, flags: 0, cpu: Some(0) }, move || {
        locks.iter().for_each(|lock| lock.lock());
        locks.iter().rev().for_each(|lock| lock.unlock());
    });
    assert!(td.is_on_lock());
    td
}

#[test]
fn another_locks_waiters_go_on_lending() {
    low(|| {
        let (a, b) = (lock(c"A"), lock(c"B"));
        a.lock();
        b.lock();
        waiter("b", 80, [&b]);
        waiter("a", 60, [&a]);
        assert_eq!(curthread().priority.get(), 60);
        a.unlock();
        assert_eq!(curthread().priority.get(), 80, "B is still waited for");
        b.unlock();
        assert_eq!(curthread().priority.get(), 100);
    });
}

#[test]
fn a_borrowers_own_priority_does_not_take_the_loan_away() {
    low(|| {
        let a = lock(c"A");
        a.lock();
        waiter("a", 60, [&a]);
        sched::sched_prio(curthread(), 110);
        assert_eq!(curthread().priority.get(), 60);
        a.unlock();
        assert_eq!(curthread().priority.get(), 100, "back to what a time-sharing thread has in user mode");
    });
}

#[test]
fn the_best_waiter_lends_whoever_came_first() {
    low(|| {
        let (a, b) = (lock(c"A"), lock(c"B"));
        a.lock();
        b.lock();
        waiter("b", 90, [&b]);
        waiter("first", 80, [&a]);
        waiter("best", 60, [&a]);
        // What is left to be lent is found in the queue of A's waiters.
        b.unlock();
        assert_eq!(curthread().priority.get(), 60);
        a.unlock();
    });
}

#[test]
fn everybody_who_waits_is_woken() {
    low(|| {
        let a = lock(c"A");
        a.lock();
        let waiters = [90, 80, 70].map(|priority| waiter("w", priority, [&a]));
        a.unlock();
        assert!(waiters.iter().all(|td| td.state() == State::Inactive), "they are better, and had their turns");
    });
}

#[test]
fn a_waiter_that_is_lent_to_moves_up() {
    low(|| {
        let (a, b, c) = (lock(c"A"), lock(c"B"), lock(c"C"));
        a.lock();
        c.lock();
        waiter("c", 90, [&c]);
        let mid = waiter("mid", 80, [&b, &a]);
        waiter("better", 70, [&a]);
        waiter("high", 60, [&b]);
        assert_eq!((mid.priority.get(), curthread().priority.get()), (60, 60));
        c.unlock();
        assert_eq!(curthread().priority.get(), 60, "mid is the best of A's waiters now");
        a.unlock();
    });
}

#[test]
fn a_runnable_owner_that_is_lent_to_goes_first() {
    let order = Arc::new(Log::default());
    let log = Arc::clone(&order);
    low(move || {
        log.take();
        let a = lock(c"A");
        a.lock();
        let (other, high, a2) = (Arc::clone(&log), Arc::clone(&log), Arc::clone(&a));
        spawn_at("high", 60, Some(0), move || {
            // Better than the owner, which was preempted, and worse than this thread.
            spawn_at("other", 80, Some(0), move || other.push("other"));
            a2.lock();
            high.push("high");
            a2.unlock();
        });
        // Without the loan the other would have run until here.
        log.push("owner");
        a.unlock();
    });
    assert_eq!(order.take(), ["owner", "high", "other"]);
}
