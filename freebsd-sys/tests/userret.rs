//! userret(): the end of a system call. What a thread may not take with it is in the misuse table of compat-tests.

mod common;

use common::{mtx, once, passes, spawn_at, threads, up};
use freebsd_sys::machine::{Config, Verdict};
use freebsd_sys::mutex::Mtxf;
use freebsd_sys::sched;
use freebsd_sys::thread::{curthread, thread_no_sleeping};
use freebsd_sys::userret::userret;

#[test]
fn clean_thread_returns() {
    passes(Config::default(), 50, || {
        let m = mtx(c"m", Mtxf::DEF);
        threads(2, move |_| {
            m.lock();
            m.unlock();
            userret();
        });
    });
}

#[test]
fn loans_are_asked_for_first() {
    let e = once(up(), || {
        let m = mtx(c"m", Mtxf::DEF);
        let other = std::sync::Arc::clone(&m);
        m.lock();
        spawn_at("best", sched::pri::PI_SOFT, Some(0), move || other.lock());
        userret();
    });
    assert_eq!(e.verdict, Verdict::Panic("thread with borrowed priority returning to userland".to_owned()));
}

#[test]
fn priority_is_the_users_again() {
    let e = once(up(), || {
        let td = curthread();
        sched::kern_yield(td.user_pri.get() + 10);
        assert_eq!(td.priority.get(), td.user_pri.get() + 10);
        userret();
        assert_eq!(td.priority.get(), td.user_pri.get());
        sched::sched_prio(td, sched::pri::PRI_MAX_TIMESHARE);
        freebsd_sys::sleep::pause("nap", 1);
        assert_eq!(td.priority.get(), sched::pri::PRI_MIN_BATCH, "static_boost");
    });
    assert_eq!(e.verdict, Verdict::Pass);
}

#[test]
fn nothing_is_checked_without_invariants() {
    let e = once(Config { invariants: false, witness: false, ..Config::default() }, || {
        sched::sched_pin();
        thread_no_sleeping();
        userret();
    });
    assert_eq!(e.verdict, Verdict::Pass);
}

#[test]
fn ended_time_slice_is_honoured_here() {
    use freebsd_sys::atomic::Owned32;
    use freebsd_sys::thread::tdf;
    use std::sync::Arc;
    let e = once(common::up(), || {
        let ran = Arc::new(Owned32::new(0));
        let set = Arc::clone(&ran);
        common::spawn("equal", move || set.set(1));
        userret();
        assert_eq!(ran.get(), 0);
        let td = curthread();
        td.flags.set(td.flags.get() | tdf::NEEDRESCHED);
        userret();
        assert_eq!(ran.get(), 1);
    });
    assert_eq!(e.verdict, Verdict::Pass);
}
