//! userret(): what a thread may not take back to user mode (rows 101 to 105).

mod common;

use common::{mtx, no_witness, once, passes, spawn_at, threads, up};
use freebsd_sys::machine::{Config, Verdict};
use freebsd_sys::mutex::Mtxf;
use freebsd_sys::thread::{curthread, thread_no_sleeping};
use freebsd_sys::userret::userret;
use freebsd_sys::{critical, sched};

#[track_caller]
fn panics(config: Config, text: &str, main: impl Fn()) {
    let main = || {
        main();
        userret();
    };
    assert_eq!(once(config, main).verdict, Verdict::Panic(text.to_owned()));
}

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
fn critical_section_does_not_return() {
    panics(Config::default(), "userret: Returning in a critical section", critical::critical_enter);
    panics(Config::default(), "userret: Returning in a critical section", critical::spinlock_enter);
}

#[test]
fn locks_do_not_return_enrolled_or_not() {
    for (config, opts) in [(no_witness(), Mtxf::DEF), (Config::default(), Mtxf::NOWITNESS)] {
        panics(config, "userret: Returning with 2 locks held", || {
            mtx(c"a", opts).lock();
            mtx(c"b", opts).lock();
        });
    }
}

#[test]
fn read_locks_do_not_return() {
    let config = Config::default;
    panics(config(), "userret: Returning with 1 rwlocks held in read mode", || curthread().rw_rlocks.add(1));
    panics(config(), "userret: Returning with 1 sx locks held in shared mode", || curthread().sx_slocks.add(1));
    panics(config(), "userret: Returning with 1 lockmanager locks held in shared mode", || {
        curthread().lk_slocks.add(1);
    });
}

#[test]
fn sleep_bans_and_pins_do_not_return() {
    panics(Config::default(), "userret: Returning with sleep disabled", thread_no_sleeping);
    panics(Config::default(), "userret: Returning with pinned thread", sched::sched_pin);
}

#[test]
fn loans_are_asked_for_first() {
    panics(up(), "thread with borrowed priority returning to userland", || {
        let m = mtx(c"m", Mtxf::DEF);
        let other = std::sync::Arc::clone(&m);
        m.lock();
        spawn_at("best", sched::pri::PI_SOFT, Some(0), move || other.lock());
    });
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
fn witness_speaks_first() {
    let e = once(Config::default(), || {
        let m = mtx(c"m", Mtxf::DEF);
        m.lock();
        userret();
    });
    assert_eq!(e.verdict, Verdict::Panic("witness_warn".to_owned()));
    assert_eq!(e.console[0], "userret: returning with the following locks held:");
    assert!(e.console[1].starts_with("exclusive sleep mutex m r = 0 (0x"), "{:?}", e.console);
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
