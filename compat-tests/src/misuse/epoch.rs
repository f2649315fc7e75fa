//! Rows 115 to 118: epoch(9). Row 116's sections and row 118's trackers are those of preemptible epochs.

use super::tools::{mtx, settle, thread};
use super::{Case, End, Row, Switches, case, page_fault, row};
use freebsd_sys::atomic::OwnedPtr;
use freebsd_sys::critical::{critical_enter, critical_exit};
use freebsd_sys::epoch::{Epoch, Epochf, Tracker, global_epoch, global_epoch_preempt, net_epoch_preempt};
use freebsd_sys::mutex::Mtxf;
use freebsd_sys::sched;
use freebsd_sys::thread::curthread;
use std::sync::Arc;

pub(super) fn rows() -> Vec<Row> {
    vec![waits_inside(), locks(), critical_sections(), trackers()]
}

/// Row 115.
fn waits_inside() -> Row {
    row(
        115,
        [
            case("epoch_wait_preempt in a section of the same epoch", || {
                net_epoch_preempt().section(|| net_epoch_preempt().wait_preempt());
            })
            .invariants("epoch_wait_preempt() called in the middle of an epoch section of the same epoch")
            // It waits for itself, and nobody else can run.
            .bare(End::Livelock),
            case("epoch_wait_preempt in a section of another epoch", || {
                net_epoch_preempt().section(|| global_epoch_preempt().wait_preempt());
            }),
            case("epoch_wait in a section of the same epoch", || {
                global_epoch().enter();
                global_epoch().wait();
                global_epoch().exit();
            })
            .ends(&Switches::ALL, &End::Livelock),
        ],
    )
}

/// Row 116.
fn locks() -> Row {
    let long = "epoch_wait() can be long running with the following non-sleepable locks held:";
    row(
        116,
        [
            case("epoch_wait_preempt while a reader counts a lock for the caller", || {
                let waiter = curthread();
                thread("reader", 0, || {
                    net_epoch_preempt().section(|| {
                        sched::sched_relinquish();
                        waiter.locks.add(1);
                    });
                });
                sched::sched_relinquish();
                net_epoch_preempt().wait_preempt();
            })
            .one_cpu()
            .invariants("1 residual locks held"),
            case("epoch_wait_preempt with a mutex", || {
                let m = mtx(c"m", Mtxf::DEF);
                m.lock();
                net_epoch_preempt().wait_preempt();
                m.unlock();
            })
            .prints(&[long, "exclusive sleep mutex m (m) r = 0 (%p) locked @ %s:%d"]),
            case("epoch_wait_preempt of an EPOCH_LOCKED epoch with a mutex", || {
                let (m, epoch) = (mtx(c"m", Mtxf::DEF), Epoch::alloc(c"mine", Epochf::PREEMPT | Epochf::LOCKED));
                m.lock();
                epoch.expect("there is room").wait_preempt();
                m.unlock();
            }),
            case("epoch_drain_callbacks with a mutex", || {
                let m = mtx(c"m", Mtxf::DEF);
                m.lock();
                global_epoch().drain_callbacks();
                m.unlock();
            })
            .prints(&[
                "epoch_drain_callbacks() may sleep! with the following non-sleepable locks held:",
                "exclusive sleep mutex m (m) r = 0 (%p) locked @ %s:%d",
                "lock order reversal: (sleepable after non-sleepable)",
                " 1st %p m (m, sleep mutex) @ %s:%d",
                " 2nd %p epoch-drain-sx (epoch-drain-sx, sx) @ %s:%d",
                "Sleeping on \"EDRAIN\" with the following non-sleepable locks held:",
                "exclusive sleep mutex m (m) r = 0 (%p) locked @ %s:%d",
            ]),
            Case::not_applicable(
                "locks gained between a reader's being blocked and its turnstile",
                "one lock guards all turnstiles: no reader is found unblocked that was blocked a moment before",
            ),
        ],
    )
}

/// Row 117.
fn critical_sections() -> Row {
    row(
        117,
        [
            case("critical_exit in a section", || {
                global_epoch().enter();
                critical_exit();
                assert!(!global_epoch().in_epoch());
                critical_enter();
                global_epoch().exit();
            })
            .invariants("re-entered critical section in epoch 'Global', from cpu 0"),
            case("critical_exit in a section, and critical_enter on another CPU", || {
                global_epoch().enter();
                critical_exit();
                sched::sched_bind(1);
                critical_enter();
                assert!(!global_epoch().in_epoch());
                critical_exit();
                sched::sched_bind(0);
                critical_enter();
                global_epoch().exit();
                sched::sched_unbind();
            })
            .invariants("exited critical section in epoch 'Global', from cpu 0"),
            case("another thread enters after critical_exit in a section", || {
                global_epoch().enter();
                critical_exit();
                thread("other", 0, || {
                    global_epoch().enter();
                    global_epoch().exit();
                });
                settle();
                critical_enter();
                global_epoch().exit();
            })
            // Or the other CPU might steal the thread, which would enter its record there.
            .one_cpu()
            .invariants("Assertion er->er_td == curthread failed at %s:%d"),
        ],
    )
}

/// Row 118.
fn trackers() -> Row {
    row(
        118,
        [
            case("epoch_exit_preempt with another thread's tracker", || {
                let theirs = Arc::new(OwnedPtr::null());
                let shown = Arc::clone(&theirs);
                thread("other", 0, move || {
                    let tracker = Tracker::new();
                    // SAFETY: the thread stays in the section until the machine is gone.
                    unsafe { net_epoch_preempt().enter_preempt(&tracker) };
                    shown.set((&raw const tracker).cast_mut());
                    sched::sched_relinquish();
                    // SAFETY: it is this section's.
                    unsafe { net_epoch_preempt().exit_preempt(&tracker) };
                });
                let mine = Tracker::new();
                // SAFETY: the tracker outlives the section; the other thread's is on a stack that stays.
                unsafe {
                    net_epoch_preempt().enter_preempt(&mine);
                    sched::sched_relinquish();
                    net_epoch_preempt().exit_preempt(&*theirs.get());
                }
            })
            .one_cpu()
            .invariants("Assertion et->et_td == td failed at %s:%d"),
            case("epoch_exit_preempt twice", || {
                let (a, b) = (Tracker::new(), Tracker::new());
                // SAFETY: both were in use, and stay here.
                unsafe {
                    net_epoch_preempt().enter_preempt(&a);
                    net_epoch_preempt().enter_preempt(&b);
                    net_epoch_preempt().exit_preempt(&b);
                    net_epoch_preempt().exit_preempt(&b);
                }
            })
            .invariants("Assertion et->et_td == td failed at %s:%d"),
            case("epoch_exit_preempt without epoch_enter_preempt", || {
                let a = Tracker::new();
                // SAFETY: the tracker is on no list, as its null links say.
                unsafe { net_epoch_preempt().exit_preempt(&a) };
            })
            .invariants("Assertion curthread->td_pinned > 0 failed at %s:%d"),
            case("a tracker in an object", || {
                let tracker = Box::new(Tracker::new());
                // SAFETY: it outlives the section.
                unsafe {
                    net_epoch_preempt().enter_preempt(&tracker);
                    net_epoch_preempt().exit_preempt(&tracker);
                }
            })
            .invariants("Assertion kstack_contains(td, (vm_offset_t)et, sizeof(*et)) failed at %s:%d"),
            case("epoch_enter_preempt of an epoch that is not", || global_epoch().section(|| ()))
                .invariants("Assertion epoch->e_flags & EPOCH_PREEMPT failed at %s:%d"),
            case("epoch_wait_preempt of an epoch that is not", || global_epoch().wait_preempt())
                .invariants("Assertion epoch->e_flags & EPOCH_PREEMPT failed at %s:%d"),
            case("epoch_wait of a preemptible epoch", || net_epoch_preempt().wait())
                .invariants("Assertion epoch->e_flags == 0 failed at %s:%d"),
            case("epoch_free twice", || {
                let epoch = Epoch::alloc(c"mine", Epochf::empty()).expect("there is room");
                epoch.free();
                epoch.free();
            })
            .invariants("Assertion epoch->e_in_use != 0 failed at %s:%d")
            .bare(page_fault()),
        ],
    )
}
