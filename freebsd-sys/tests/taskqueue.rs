//! taskqueue(9) on both engines.

mod common;

use common::{passes, threads, verdict};
use freebsd_sys::atomic::{Owned32, Shared32};
use freebsd_sys::giant::giant;
use freebsd_sys::host::explore;
use freebsd_sys::machine::{Config, Verdict};
use freebsd_sys::sched::pri::{PI_SOFT, PWAIT};
use freebsd_sys::taskqueue::{
    EBUSY, Task, Taskqueue, TimeoutTask, taskqueue_fast, taskqueue_swi, taskqueue_swi_giant, taskqueue_thread,
};
use freebsd_sys::thread::curthread;
use freebsd_sys::{cpu, critical, sleep, thread};
use std::sync::Arc;

/// WITNESS is on for normal queues' mutexes; these tests are about the queues.
fn config() -> Config {
    Config { witness: false, ..Config::default() }
}

fn queue(fast: bool, count: usize) -> &'static Taskqueue {
    let tq = if fast { Taskqueue::create_fast(c"fast_tq") } else { Taskqueue::create(c"tq") };
    tq.start_threads(count, PWAIT);
    tq
}

fn task(priority: u8, body: impl Fn(usize) + Send + Sync + 'static) -> Arc<Task> {
    let task = Arc::new(Task::new());
    task.init(priority, Arc::new(body));
    task
}

fn enqueue(tq: &Taskqueue, task: &Arc<Task>) {
    // SAFETY: every test drains its tasks before they go.
    unsafe { tq.enqueue(task) };
}

#[test]
fn every_request_is_counted_in_some_run() {
    for fast in [false, true] {
        passes(config(), 300, || {
            let tq = queue(fast, 2);
            let sum = Arc::new(Shared32::new(0));
            let sum2 = Arc::clone(&sum);
            let t = task(0, move |pending| _ = sum2.fetchadd(pending as u32));
            let t2 = Arc::clone(&t);
            threads(2, move |_| {
                for _ in 0..3 {
                    enqueue(tq, &t2);
                }
            });
            tq.drain(&t);
            assert_eq!(sum.get(), 6);
            assert_eq!(t.pending(), 0);
        });
    }
}

#[test]
fn drain_waits_for_the_running_handler() {
    for fast in [false, true] {
        passes(config(), 200, || {
            let tq = queue(fast, 1);
            let done = Arc::new(Owned32::new(0));
            let done2 = Arc::clone(&done);
            let t = task(0, move |_| {
                sleep::pause("work", 3);
                done2.set(1);
            });
            enqueue(tq, &t);
            tq.drain(&t);
            assert_eq!(done.get(), 1);
            done.set(0);
            enqueue(tq, &t);
            // This time it runs already.
            sleep::pause("running", 1);
            tq.drain(&t);
            assert_eq!(done.get(), 1);
        });
    }
}

#[test]
fn drain_all_waits_for_everything() {
    passes(config(), 200, || {
        let tq = queue(false, 2);
        let done = Arc::new(Shared32::new(0));
        let tasks: Vec<_> = (0..4)
            .map(|i| {
                let done = Arc::clone(&done);
                task(i, move |_| {
                    sleep::pause("work", 1 + u64::from(i));
                    done.fetchadd(1);
                })
            })
            .collect();
        for t in &tasks {
            enqueue(tq, t);
        }
        tq.drain_all();
        assert_eq!(done.get(), 4);
    });
}

#[test]
fn higher_priorities_run_first_and_equals_in_order() {
    assert_eq!(
        verdict(config(), || {
            let tq = queue(false, 1);
            let order = Arc::new(Shared32::new(0));
            let tasks: Vec<_> = [(1, 1), (5, 2), (1, 3), (9, 4)]
                .into_iter()
                .map(|(priority, digit)| {
                    let order = Arc::clone(&order);
                    task(priority, move |_| order.set(order.get() * 10 + digit))
                })
                .collect();
            sleep::pause("asleep", 2);
            tq.block();
            for t in &tasks {
                enqueue(tq, t);
            }
            sleep::pause("blocked", 5);
            assert_eq!(order.get(), 0, "a blocked queue ran something");
            tq.unblock();
            tq.drain_all();
            assert_eq!(order.get(), 4213);
        }),
        Verdict::Pass
    );
}

#[test]
fn cancel_takes_a_pending_task_off_and_reports_a_running_one() {
    assert_eq!(
        verdict(config(), || {
            let tq = queue(false, 1);
            let runs = Arc::new(Shared32::new(0));
            let runs2 = Arc::clone(&runs);
            let t = task(0, move |_| {
                runs2.fetchadd(1);
                sleep::pause("work", 10);
            });
            sleep::pause("asleep", 2);
            tq.block();
            enqueue(tq, &t);
            enqueue(tq, &t);
            assert_eq!(tq.cancel(&t), Ok(2));
            assert_eq!(tq.cancel(&t), Ok(0));
            tq.unblock();
            sleep::pause("nothing", 5);
            assert_eq!(runs.get(), 0);
            enqueue(tq, &t);
            sleep::pause("running", 3);
            assert_eq!(tq.cancel(&t), Err((EBUSY, 0)));
            enqueue(tq, &t);
            assert_eq!(tq.cancel(&t), Err((EBUSY, 1)));
            tq.drain(&t);
            assert_eq!(runs.get(), 1);
        }),
        Verdict::Pass
    );
}

#[test]
fn two_threads_run_two_tasks_at_once() {
    passes(config(), 100, || {
        let tq = queue(false, 2);
        let inside = Arc::new(Shared32::new(0));
        let tasks: Vec<_> = (0..2)
            .map(|_| {
                let inside = Arc::clone(&inside);
                task(0, move |_| {
                    inside.fetchadd(1);
                    while inside.get() < 2 && !cpu::scheduler_stopped() {
                        sleep::pause("both", 1);
                    }
                })
            })
            .collect();
        for t in &tasks {
            enqueue(tq, t);
        }
        tq.drain_all();
    });
}

#[test]
fn a_handler_runs_in_the_queues_thread_and_may_enqueue_itself() {
    passes(config(), 100, || {
        let tq = queue(true, 1);
        let left = Arc::new(Shared32::new(3));
        let again = Arc::new(Task::new());
        let (left2, weak) = (Arc::clone(&left), Arc::downgrade(&again));
        again.init(
            0,
            Arc::new(move |_| {
                assert!(tq.member(thread::curthread()));
                if left2.fetchadd(u32::MAX) > 1
                    && let Some(task) = weak.upgrade()
                {
                    enqueue(tq, &task);
                }
            }),
        );
        enqueue(tq, &again);
        tq.drain(&again);
        assert_eq!(left.get(), 0);
        assert!(!tq.member(thread::curthread()));
    });
}

#[test]
fn a_fast_queue_serves_critical_sections() {
    passes(Config::default(), 200, || {
        let tq = queue(true, 1);
        let runs = Arc::new(Shared32::new(0));
        let runs2 = Arc::clone(&runs);
        let t = task(0, move |_| _ = runs2.fetchadd(1));
        let t2 = Arc::clone(&t);
        threads(2, move |_| {
            critical::critical_enter();
            enqueue(tq, &t2);
            critical::critical_exit();
        });
        tq.drain(&t);
        assert!(runs.get() > 0);
    });
}

#[test]
fn free_finishes_what_is_queued() {
    for fast in [false, true] {
        passes(config(), 100, || {
            let tq = queue(fast, 2);
            let runs = Arc::new(Shared32::new(0));
            let runs2 = Arc::clone(&runs);
            let t = task(0, move |_| _ = runs2.fetchadd(1));
            enqueue(tq, &t);
            tq.free();
            assert_eq!(runs.get(), 1);
        });
    }
}

#[test]
fn handlers_are_dropped_when_their_task_goes() {
    let seen = Arc::new(Shared32::new(0));
    for _ in 0..3 {
        let seen2 = Arc::clone(&seen);
        let v = verdict(config(), move || {
            let tq = queue(false, 1);
            let seen = Arc::clone(&seen2);
            let t = task(0, move |_| _ = seen.fetchadd(1));
            enqueue(tq, &t);
            tq.drain(&t);
        });
        assert_eq!(v, Verdict::Pass);
    }
    assert_eq!(seen.get(), 3);
    assert_eq!(Arc::strong_count(&seen), 1, "a handler was leaked");
}

#[test]
fn draining_a_task_from_its_own_handler_deadlocks() {
    let v = verdict(config(), || {
        let tq = queue(false, 1);
        let t = Arc::new(Task::new());
        let weak = Arc::downgrade(&t);
        t.init(
            0,
            Arc::new(move |_| {
                if let Some(task) = weak.upgrade() {
                    tq.drain(&task);
                }
            }),
        );
        enqueue(tq, &t);
        tq.drain(&t);
    });
    assert!(matches!(&v, Verdict::Deadlock(text) if text.contains("tq_drain")), "{v:?}");
}

/// A timeout task that counts its runs in the second value.
fn timeout(tq: &'static Taskqueue) -> (Arc<TimeoutTask>, Arc<Shared32>) {
    let runs = Arc::new(Shared32::new(0));
    let count = Arc::clone(&runs);
    let task = Arc::new(TimeoutTask::new());
    task.init(tq, 0, Arc::new(move |pending| _ = count.fetchadd(pending as u32)));
    (task, runs)
}

#[test]
fn timeout_task_runs_when_its_time_has_come_and_is_set_anew() {
    passes(config(), 100, || {
        let tq = queue(false, 1);
        let (task, runs) = timeout(tq);
        // SAFETY: the task is drained before it goes.
        unsafe {
            assert_eq!(tq.enqueue_timeout(&task, 5000), 0);
            assert_eq!(tq.enqueue_timeout(&task, 3), 1, "armed already");
        }
        // On a busy host its thread may be late.
        for _ in 0..100 {
            sleep::pause("wait", 20);
            if runs.get() == 1 {
                break;
            }
        }
        assert_eq!(runs.get(), 1);
        // SAFETY: the task is drained before it goes.
        assert_eq!(unsafe { tq.enqueue_timeout(&task, 0) }, 0);
        tq.drain_timeout(&task);
        assert_eq!(runs.get(), 2);
        tq.free();
    });
}

#[test]
fn cancelled_or_drained_timeout_task_does_not_run_later() {
    passes(config(), 300, || {
        let tq = queue(false, 1);
        let (task, runs) = timeout(tq);
        explore::begin();
        // SAFETY: the task is drained before it goes.
        unsafe { tq.enqueue_timeout(&task, 1) };
        sleep::pause("wait", 1);
        match tq.cancel_timeout(&task) {
            Ok(0) => {}
            Ok(1) => assert_eq!(runs.get(), 0),
            Err((EBUSY, 0)) => tq.drain(task.task()),
            other => panic!("{other:?}"),
        }
        let before = runs.get();
        sleep::pause("wait", 5);
        assert_eq!(runs.get(), before, "it ran after it was cancelled");
        // SAFETY: as above.
        unsafe { tq.enqueue_timeout(&task, 5000) };
        tq.drain_timeout(&task);
        explore::end();
        assert_eq!(runs.get(), before);
        tq.free();
    });
}

#[test]
fn a_negative_time_leaves_an_armed_timeout_task_as_it_is() {
    passes(config(), 50, || {
        for fast in [false, true] {
            let tq = queue(fast, 1);
            let (task, runs) = timeout(tq);
            // SAFETY: the task is drained before it goes.
            unsafe {
                assert_eq!(tq.enqueue_timeout(&task, -5000), 0);
                assert_eq!(tq.enqueue_timeout(&task, -1), 1);
            }
            sleep::pause("wait", 20);
            assert_eq!(runs.get(), 0);
            // SAFETY: as above.
            assert_eq!(unsafe { tq.enqueue_timeout(&task, 0) }, 0, "for now: what is armed is not asked for yet");
            tq.drain_timeout(&task);
            assert_eq!(runs.get(), 1);
            tq.free();
        }
    });
}

#[test]
fn a_timeout_task_is_not_armed_while_it_is_drained() {
    passes(config(), 100, || {
        let tq = queue(false, 1);
        let task: &'static TimeoutTask = Box::leak(Box::new(TimeoutTask::new()));
        let handler = move |_| {
            // SAFETY: it is never freed.
            while unsafe { tq.enqueue_timeout(task, 5000) } != -1 {
                sleep::pause("not yet", 1);
            }
        };
        task.init(tq, 0, Arc::new(handler));
        // SAFETY: it is never freed.
        unsafe { tq.enqueue_timeout(task, 0) };
        sleep::pause("runs", 3);
        tq.drain_timeout(task);
        tq.free();
    });
}

#[test]
fn timeout_task_belongs_to_one_queue_and_is_disarmed_before_that_goes() {
    let migrated = verdict(config(), || {
        let (task, _) = timeout(queue(false, 1));
        let other = queue(false, 1);
        // SAFETY: the machine panics.
        unsafe { other.enqueue_timeout(&task, 1) };
    });
    assert_eq!(migrated, Verdict::Panic("Migrated queue".to_owned()));
    let armed = verdict(config(), || {
        let tq = queue(false, 1);
        let (task, _) = timeout(tq);
        // SAFETY: the machine panics while the task is alive.
        unsafe { tq.enqueue_timeout(&task, 5000) };
        tq.free();
    });
    assert_eq!(armed, Verdict::Panic("Armed timeout tasks".to_owned()));
}

#[test]
fn the_kernels_own_queues_run_tasks_each_in_its_way() {
    passes(config(), 100, || {
        let queues = [taskqueue_thread(), taskqueue_swi(), taskqueue_swi_giant(), taskqueue_fast()];
        for (at, tq) in queues.into_iter().enumerate() {
            let ran = Arc::new(Owned32::new(0));
            let ran2 = Arc::clone(&ran);
            let t = task(0, move |_| {
                let priority = curthread().user_pri.get();
                assert_eq!(priority, if at == 0 { PWAIT } else { PI_SOFT });
                assert_eq!(giant().owned(), at == 2);
                // Neither is an interrupt thread's handler.
                sleep::pause("task", 1);
                ran2.set(ran2.get() + 1);
            });
            if at == 3 {
                critical::critical_enter();
            }
            enqueue(tq, &t);
            if at == 3 {
                critical::critical_exit();
            }
            tq.drain(&t);
            assert_eq!(ran.get(), 1);
        }
        assert!(std::ptr::eq(queues[0], taskqueue_thread()), "it is made once");
    });
}

#[test]
fn drain_all_does_not_wait_for_what_comes_later() {
    assert_eq!(
        verdict(config(), || {
            let tq = queue(false, 1);
            let order = Arc::new(Shared32::new(0));
            let digit = |priority, digit| {
                let order = Arc::clone(&order);
                task(priority, move |_| order.set(order.get() * 10 + digit))
            };
            let (early, late) = (digit(1, 1), digit(9, 2));
            tq.block();
            enqueue(tq, &early);
            let (seen, order2) = (Arc::new(Owned32::new(0)), Arc::clone(&order));
            let seen2 = Arc::clone(&seen);
            common::spawn("drainer", move || {
                tq.drain_all();
                seen2.set(order2.get());
            });
            sleep::pause("drains", 2);
            // More urgent than what is there, but behind the barrier.
            enqueue(tq, &late);
            tq.unblock();
            tq.drain(&late);
            assert_eq!(order.get(), 12);
            sleep::pause("drained", 2);
            assert!(seen.get() == 1 || seen.get() == 12);
        }),
        Verdict::Pass
    );
}

#[test]
fn closure_of_a_task_goes_with_it() {
    assert_eq!(
        verdict(config(), || {
            let alive = Arc::new(());
            let (first, second) = (Arc::clone(&alive), Arc::clone(&alive));
            let t = Task::new();
            t.init(0, Arc::new(move |_| drop(Arc::clone(&first))));
            assert_eq!(Arc::strong_count(&alive), 3);
            t.init(0, Arc::new(move |_| drop(Arc::clone(&second))));
            assert_eq!(Arc::strong_count(&alive), 2);
            drop(t);
            assert_eq!(Arc::strong_count(&alive), 1);
        }),
        Verdict::Pass
    );
}
