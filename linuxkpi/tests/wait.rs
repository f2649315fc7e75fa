//! linux/wait.h, and the task states under it.

mod common;

use common::{explored, panic_text, passes, passes_n, threads};
use freebsd_sys::atomic::OwnedUsize;
use freebsd_sys::critical::critical_enter;
use freebsd_sys::machine::{Config, Verdict};
use linuxkpi::LockMapping;
use linuxkpi::completion::Completion;
use linuxkpi::delay::{msleep, schedule_timeout_uninterruptible};
use linuxkpi::kthread::{kthread_run, kthread_should_stop, kthread_stop, kthread_syscall};
use linuxkpi::sched::{
    TASK_INTERRUPTIBLE, TASK_RUNNING, TASK_UNINTERRUPTIBLE, current, jiffies, schedule, schedule_timeout,
    set_current_state, wake_up_process,
};
use linuxkpi::wait::{WaitQueueEntry, WaitQueueHead};
use std::sync::Arc;

struct Event<M: LockMapping> {
    queue: WaitQueueHead<M>,
    happened: OwnedUsize,
}

fn event<M: LockMapping>() -> Arc<Event<M>> {
    let event = Arc::new(Event { queue: WaitQueueHead::with_mapping(), happened: OwnedUsize::new(0) });
    event.queue.init();
    event
}

fn no_wake_up_is_lost_under<M: LockMapping>() {
    let body = || {
        let event = event::<M>();
        threads(3, move |i| {
            if i < 2 {
                event.queue.wait_event(|| event.happened.get() != 0);
            } else {
                event.happened.set(1);
                event.queue.wake_up_all();
            }
        });
    };
    if M::NAME == "busted" {
        // Its list is nobody's: only where a step is whole does it work at all.
        assert_eq!(explored(Config::default(), 200, body), Verdict::Pass);
    } else {
        passes_n(M::NAME, 3000, body);
    }
}

#[test]
fn no_wake_up_is_lost() {
    macro_rules! case {
        ($m:ty, $name:literal) => {
            no_wake_up_is_lost_under::<$m>();
        };
    }
    linuxkpi::for_each_mapping!(case);
}

#[test]
fn a_state_announced_too_late_loses_the_wake_up() {
    let verdict = explored(Config::default(), 3000, || {
        let event = event::<linuxkpi::mapping::Default>();
        threads(2, move |i| {
            if i == 0 {
                let entry = WaitQueueEntry::new();
                if event.happened.get() == 0 {
                    // SAFETY: the entry stays here until finish_wait.
                    unsafe { event.queue.prepare_to_wait(&entry, TASK_UNINTERRUPTIBLE) };
                    schedule();
                }
                event.queue.finish_wait(&entry);
            } else {
                event.happened.set(1);
                event.queue.wake_up();
            }
        });
    });
    assert!(matches!(&verdict, Verdict::Deadlock(text) if text.contains("sleeps on \"sched\"")), "{verdict}");
}

#[test]
fn wake_up_wakes_one_and_wake_up_all_the_rest() {
    passes("one", || {
        let event = event::<linuxkpi::mapping::Default>();
        threads(3, move |i| {
            if i < 2 {
                event.queue.wait_event(|| {
                    let tickets = event.happened.get();
                    if tickets > 0 {
                        event.happened.set(tickets - 1);
                    }
                    tickets > 0
                });
            } else {
                while !event.queue.is_active() {
                    msleep(1);
                }
                event.happened.set(1);
                event.queue.wake_up();
                msleep(1);
                event.happened.set(event.happened.get() + 1);
                event.queue.wake_up_all();
            }
        });
    });
}

#[test]
fn a_timeout_ends_the_wait_and_says_so() {
    passes("timeout", || {
        let event = event::<linuxkpi::mapping::Default>();
        let start = jiffies();
        assert_eq!(event.queue.wait_event_timeout(10, || false), 0);
        assert!(jiffies() - start >= 10);
        assert!(!event.queue.is_active(), "the entry was left behind");
        assert!(event.queue.wait_event_timeout(10, || true) >= 1);
        assert_eq!(event.queue.wait_event_interruptible(|| true), 0);
        assert_eq!(current().state.get(), TASK_RUNNING as usize);
    });
}

#[test]
fn wake_up_interruptible_leaves_uninterruptible_waits_asleep() {
    passes("mask", || {
        let event = event::<linuxkpi::mapping::Default>();
        threads(2, move |i| {
            if i == 0 {
                let looked = OwnedUsize::new(0);
                event.queue.wait_event(|| {
                    looked.add(1);
                    event.happened.get() == 2
                });
                assert!(looked.get() <= 2, "it was woken {} times", looked.get());
            } else {
                event.happened.set(1);
                event.queue.wake_up_interruptible_all();
                event.happened.set(2);
                event.queue.wake_up_all();
            }
        });
    });
}

#[test]
fn schedule_timeout_returns_what_is_left() {
    passes("left", || {
        assert_eq!(schedule_timeout_uninterruptible(5), 0);
        let done = Arc::new(Completion::new());
        let ended = Arc::clone(&done);
        let sleeper = kthread_run("sleeper", move || {
            set_current_state(TASK_INTERRUPTIBLE);
            let left = schedule_timeout(1000);
            ended.complete();
            left as i32
        });
        msleep(5);
        assert!(wake_up_process(sleeper));
        done.wait();
    });
}

#[test]
fn schedule_in_a_running_state_sleeps_and_nobody_can_wake_it() {
    let verdict = explored(Config::default(), 1, || {
        let sleeper = kthread_run("sleeper", || {
            schedule();
            0
        });
        msleep(5);
        assert!(!wake_up_process(sleeper));
        Completion::new().wait();
    });
    assert!(matches!(&verdict, Verdict::Deadlock(text) if text.contains("sleeper sleeps on \"sched\"")), "{verdict}");
}

#[test]
fn a_bad_task_state_is_linuxkpis_assertion() {
    let text = panic_text(|| {
        set_current_state(0x40);
        schedule_timeout(1);
    });
    assert!(text.starts_with("Assertion (state & ~(TASK_PARKED | TASK_NORMAL)) == 0 failed at "), "{text}");
}

#[test]
fn sleeping_in_a_critical_section_panics_as_freebsd_does() {
    let text = panic_text(|| {
        critical_enter();
        schedule_timeout_uninterruptible(1);
    });
    assert_eq!(text, "mi_switch: switch in a critical section");
}

#[test]
fn a_stopped_kthread_returns_its_code() {
    passes_n("kthread", 3000, || {
        threads(1, |_| {
            let task = kthread_run("worker", || {
                loop {
                    set_current_state(TASK_INTERRUPTIBLE);
                    if kthread_should_stop() {
                        break;
                    }
                    schedule();
                }
                set_current_state(TASK_RUNNING);
                42
            });
            let code = kthread_stop(task);
            // Stopped before it ran, its function is not called.
            assert!(code == 42 || code == 0, "{code}");
        });
    });
}

#[test]
fn a_system_call_that_returns_in_a_critical_section_is_audited() {
    let text = panic_text(|| {
        kthread_syscall("ioctl", critical_enter);
        msleep(1);
    });
    assert_eq!(text, "userret: Returning in a critical section");
}
