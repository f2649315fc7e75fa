//! linux/completion.h.

mod common;

use common::{explored, panic_text, passes, passes_n, threads};
use freebsd_sys::critical::critical_enter;
use freebsd_sys::machine::{Config, Verdict};
use linuxkpi::completion::Completion;
use linuxkpi::delay::msleep;
use linuxkpi::sched::jiffies;
use std::sync::Arc;

#[test]
fn each_complete_lets_one_wait_pass() {
    passes_n("count", 3000, || {
        let done = Arc::new(Completion::new());
        let end = Arc::clone(&done);
        threads(4, move |i| if i < 2 { done.wait() } else { done.complete() });
        assert!(!end.done(), "two waits took two completions");
        assert!(!end.try_wait());
    });
}

#[test]
fn a_wait_without_complete_is_a_deadlock() {
    let verdict = explored(Config::default(), 10, || {
        let done = Arc::new(Completion::new());
        threads(3, move |i| if i < 2 { done.wait() } else { done.complete() });
    });
    assert!(matches!(&verdict, Verdict::Deadlock(text) if text.contains("sleeps on \"completion\"")), "{verdict}");
}

#[test]
fn complete_all_lets_every_wait_pass_until_reinit() {
    passes("all", || {
        let done = Arc::new(Completion::new());
        let end = Arc::clone(&done);
        threads(3, move |i| if i < 2 { done.wait() } else { done.complete_all() });
        end.wait();
        assert!(end.done() && end.try_wait() && end.done());
        end.reinit();
        assert!(!end.done());
    });
}

#[test]
fn completions_are_counted_before_anybody_waits() {
    passes("early", || {
        let done = Completion::new();
        done.complete();
        done.complete();
        done.wait();
        assert!(done.try_wait());
        assert!(!done.try_wait());
    });
}

#[test]
fn a_timeout_returns_zero_and_takes_its_time() {
    passes("timeout", || {
        let done = Completion::new();
        let start = jiffies();
        assert_eq!(done.wait_timeout(20), 0);
        assert!(jiffies() - start >= 20);
        done.complete();
        assert!(done.wait_timeout(20) > 0);
    });
}

#[test]
fn a_completion_in_time_returns_what_is_left() {
    passes("in time", || {
        let done = Arc::new(Completion::new());
        threads(2, move |i| {
            if i == 0 {
                let left = done.wait_timeout(1000);
                assert!((1..=1000).contains(&left), "{left}");
            } else {
                msleep(3);
                done.complete();
            }
        });
    });
}

#[test]
fn waiting_in_a_critical_section_panics_as_freebsd_does() {
    let text = panic_text(|| {
        let done = Completion::new();
        critical_enter();
        done.wait();
    });
    assert_eq!(text, "mi_switch: switch in a critical section");
}
