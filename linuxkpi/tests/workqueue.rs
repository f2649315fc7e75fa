//! linux/workqueue.h and linux/irq_work.h.

mod common;

use common::{panic_text, passes, passes_n, threads};
use core::mem::offset_of;
use freebsd_sys::atomic::OwnedUsize;
use freebsd_sys::critical::{critical_enter, critical_exit};
use linuxkpi::completion::Completion;
use linuxkpi::delay::msleep;
use linuxkpi::irq_work::IrqWork;
use linuxkpi::workqueue::{WorkStruct, schedule_work, system_wq};
use std::sync::Arc;

/// A work and what it counts.
#[repr(C)]
struct Job {
    work: WorkStruct,
    runs: OwnedUsize,
    gate: Completion,
    started: Completion,
}

fn job(func: unsafe extern "C-unwind" fn(*mut WorkStruct)) -> Arc<Job> {
    let (gate, started) = (Completion::new(), Completion::new());
    let job = Arc::new(Job { work: WorkStruct::new(), runs: OwnedUsize::new(0), gate, started });
    // SAFETY: the work is new; each test waits for it before the job goes.
    unsafe { job.work.init(func) };
    job
}

fn queue(job: &Job) -> bool {
    // SAFETY: each test waits for the work before the job goes.
    unsafe { schedule_work(&job.work) }
}

unsafe fn of<'a>(work: *mut WorkStruct) -> &'a Job {
    // SAFETY: every work here is the first member of a job.
    unsafe { &*work.byte_sub(offset_of!(Job, work)).cast() }
}

unsafe extern "C-unwind" fn count(work: *mut WorkStruct) {
    // SAFETY: the function is set only as that of a job's work.
    unsafe { of(work) }.runs.add(1);
}

unsafe extern "C-unwind" fn count_behind_gate(work: *mut WorkStruct) {
    // SAFETY: the function is set only as that of a job's work.
    let job = unsafe { of(work) };
    job.started.complete();
    job.gate.wait();
    job.runs.add(1);
}

#[test]
fn a_work_runs_once_however_often_it_is_queued_before() {
    passes_n("once", 3000, || {
        let job = job(count);
        let end = Arc::clone(&job);
        let queued = Arc::new(OwnedUsize::new(0));
        let times = Arc::clone(&queued);
        threads(2, move |_| {
            if queue(&job) {
                times.add(1);
            }
        });
        end.work.flush();
        // A second run needs a second successful queuing.
        assert_eq!(end.runs.get(), queued.get());
        assert!(queued.get() >= 1);
    });
}

#[test]
fn flush_waits_for_the_running_function() {
    passes("flush", || {
        let job = job(count_behind_gate);
        threads(2, move |i| {
            if i == 0 {
                assert!(queue(&job));
                job.work.flush();
                assert_eq!(job.runs.get(), 1, "flush returned before the function");
            } else {
                msleep(3);
                job.gate.complete();
            }
        });
    });
}

#[test]
fn a_work_queued_while_it_runs_runs_again_and_never_twice_at_a_time() {
    passes("again", || {
        let job = job(count_behind_gate);
        assert!(queue(&job));
        job.started.wait();
        assert!(queue(&job), "it runs, so it can be queued");
        assert!(!queue(&job), "now it is queued");
        msleep(2);
        assert!(!job.started.done(), "another thread took it");
        job.gate.complete_all();
        job.work.flush();
        assert_eq!(job.runs.get(), 2);
    });
}

#[test]
fn cancel_takes_it_off_or_waits_for_it() {
    passes_n("cancel", 3000, || {
        let job = job(count);
        let end = Arc::clone(&job);
        linuxkpi::init();
        threads(2, move |i| {
            if i == 0 {
                queue(&job);
            } else {
                job.work.cancel_sync();
                assert!(!job.work.busy() || job.work.pending() || job.runs.get() == 0);
            }
        });
        let cancelled = end.work.cancel_sync();
        let runs = end.runs.get();
        assert!(runs + usize::from(cancelled) <= 1);
        msleep(5);
        assert_eq!(end.runs.get(), runs, "it ran after cancel_work_sync");
        assert!(!end.work.cancel_sync(), "nothing is left to cancel");
    });
}

#[test]
fn a_cancelled_work_does_not_run() {
    passes("cancelled", || {
        let (first, second, third) = (job(count_behind_gate), job(count_behind_gate), job(count));
        // Both threads of the queue are busy.
        assert!(queue(&first) && queue(&second));
        first.started.wait();
        second.started.wait();
        assert!(queue(&third));
        assert!(third.work.cancel_sync(), "it was queued");
        first.gate.complete();
        second.gate.complete();
        system_wq().flush();
        assert_eq!((first.runs.get(), second.runs.get(), third.runs.get()), (1, 1, 0));
    });
}

#[test]
fn queuing_in_a_critical_section_panics_as_freebsd_does() {
    let text = panic_text(|| {
        let job = job(count);
        queue(&job);
        job.work.flush();
        critical_enter();
        queue(&job);
        critical_exit();
    });
    assert!(text.starts_with("acquiring blockable sleep lock with spinlock or critical section held"), "{text}");
    assert!(text.contains("linux_wq_exec"), "{text}");
}

#[repr(C)]
struct Irq {
    work: IrqWork,
    runs: OwnedUsize,
}

unsafe extern "C-unwind" fn irq_count(work: *mut IrqWork) {
    // SAFETY: the work is the first member of an `Irq`.
    unsafe { &*work.cast::<Irq>() }.runs.add(1);
}

#[test]
fn irq_work_may_be_queued_in_a_critical_section() {
    passes("irq_work", || {
        let irq = Arc::new(Irq { work: IrqWork::new(), runs: OwnedUsize::new(0) });
        // SAFETY: the work is new, and is waited for below.
        unsafe { irq.work.init(irq_count) };
        let end = Arc::clone(&irq);
        threads(1, move |_| {
            critical_enter();
            // SAFETY: the work is initialised, and is waited for below.
            unsafe { irq.work.queue() };
            critical_exit();
        });
        end.work.sync();
        assert_eq!(end.runs.get(), 1);
    });
}
