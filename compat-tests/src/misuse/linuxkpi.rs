//! Rows 121 to 124: what LinuxKPI asserts in FreeBSD's ways.

use super::tools::mtx;
use super::{Case, Row, case, row};
use ::linuxkpi::interrupt::Tasklet;
use ::linuxkpi::rcupdate::{rcu_read_lock, rcu_read_unlock, synchronize_rcu};
use ::linuxkpi::sched::{schedule_timeout, set_current_state};
use ::linuxkpi::workqueue::{DelayedWork, WorkStruct};
use freebsd_sys::mutex::Mtxf;
use freebsd_sys::thread::{RCU_DEPTH, curthread};

/// A delayed work for which nobody asked.
fn delayed_work() -> Box<DelayedWork> {
    unsafe extern "C-unwind" fn nothing(_work: *mut WorkStruct) {}
    let dwork = Box::new(DelayedWork::new());
    // SAFETY: it is new, and its function does nothing.
    unsafe { dwork.init(nothing) };
    dwork
}

pub(super) fn rows() -> Vec<Row> {
    // The body runs with an enrolled mutex, and WITNESS says so.
    let with_mutex = |name: &str, says: &str, body: fn()| {
        let heading = format!("{says} with the following non-sleepable locks held:");
        case(name, move || {
            let m = mtx(c"m", Mtxf::DEF);
            m.lock();
            body();
            m.unlock();
        })
        .prints(&[heading.as_str(), "exclusive sleep mutex m (m) r = 0 (%p) locked @ %s:%d"])
    };
    vec![
        row(
            121,
            [
                case("rcu_read_unlock without rcu_read_lock", rcu_read_unlock)
                    .invariants("Assertion ts->rcu_recurse[type] > 0 failed at %s:%d"),
                case("rcu_read_lock at its deepest", || {
                    rcu_read_lock();
                    let sections = &curthread().lkpi_rcu;
                    let depth = sections.get();
                    sections.set(RCU_DEPTH);
                    rcu_read_lock();
                    sections.set(depth);
                    rcu_read_unlock();
                })
                .invariants("Assertion ts->rcu_recurse[type] != INT_MAX failed at %s:%d"),
                Case::not_applicable("RCU of an unknown type", "there is one type: all SRCU domains are separate here"),
            ],
        ),
        row(122, [with_mutex("synchronize_rcu with a mutex", "linux_synchronize_rcu() can sleep", synchronize_rcu)]),
        row(
            123,
            [
                with_mutex("flush_work with a mutex", "linux_flush_work() might sleep", || {
                    WorkStruct::new().flush();
                }),
                with_mutex("cancel_work_sync with a mutex", "linux_cancel_work_sync() might sleep", || {
                    WorkStruct::new().cancel_sync();
                }),
                with_mutex("tasklet_kill with a mutex", "tasklet_kill() can sleep", || Tasklet::new().kill()),
                with_mutex(
                    "cancel_delayed_work_sync with a mutex",
                    "linux_cancel_delayed_work_sync() might sleep",
                    || {
                        let dwork = delayed_work();
                        dwork.cancel_sync();
                    },
                ),
                with_mutex("flush_delayed_work with a mutex", "linux_flush_delayed_work() might sleep", || {
                    delayed_work().flush();
                }),
            ],
        ),
        row(
            124,
            [case("schedule_timeout in a state that no wake-up matches", || {
                // __TASK_STOPPED: who is TASK_PARKED may sleep.
                set_current_state(0x0004);
                schedule_timeout(1);
            })
            .invariants("Assertion (state & ~(TASK_PARKED | TASK_NORMAL)) == 0 failed at %s:%d")],
        ),
    ]
}
