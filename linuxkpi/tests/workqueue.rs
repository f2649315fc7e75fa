//! linux/workqueue.h and linux/irq_work.h.

mod common;

use common::{panic_text, passes, passes_n, threads};
use core::mem::offset_of;
use freebsd_sys::atomic::OwnedUsize;
use freebsd_sys::critical::{critical_enter, critical_exit};
use linuxkpi::completion::Completion;
use linuxkpi::delay::msleep;
use linuxkpi::irq_work::IrqWork;
use linuxkpi::sched::jiffies;
use linuxkpi::workqueue::{DelayedWork, WorkStruct, schedule_delayed_work, schedule_work, system_wq};
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

/// A delayed work and what it counts.
#[repr(C)]
struct Later {
    dwork: DelayedWork,
    runs: OwnedUsize,
    ran_at: OwnedUsize,
    gate: Completion,
    started: Completion,
}

fn later(func: unsafe extern "C-unwind" fn(*mut WorkStruct)) -> Arc<Later> {
    let later = Arc::new(Later {
        dwork: DelayedWork::new(),
        runs: OwnedUsize::new(0),
        ran_at: OwnedUsize::new(0),
        gate: Completion::new(),
        started: Completion::new(),
    });
    // SAFETY: the work is new; each test waits for it, or cancels it, before it goes.
    unsafe { later.dwork.init(func) };
    later
}

/// `schedule_delayed_work()`.
fn schedule(later: &Later, delay: u64) -> bool {
    // SAFETY: each test waits for the work, or cancels it, before it goes.
    unsafe { schedule_delayed_work(&later.dwork, delay) }
}

unsafe fn of_later<'a>(work: *mut WorkStruct) -> &'a Later {
    // SAFETY: every such work here is the first member of a `Later`.
    unsafe { &*work.cast() }
}

unsafe extern "C-unwind" fn count_later(work: *mut WorkStruct) {
    // SAFETY: the function is set only as that of a `Later`'s work.
    let later = unsafe { of_later(work) };
    later.runs.add(1);
    later.ran_at.set(jiffies() as usize);
}

unsafe extern "C-unwind" fn count_later_behind_gate(work: *mut WorkStruct) {
    // SAFETY: the function is set only as that of a `Later`'s work.
    let later = unsafe { of_later(work) };
    later.started.complete();
    later.gate.wait();
    later.runs.add(1);
}

unsafe extern "C-unwind" fn count_and_again(work: *mut WorkStruct) {
    // SAFETY: the function is set only as that of a `Later`'s work.
    let later = unsafe { of_later(work) };
    later.runs.add(1);
    schedule(later, 1);
}

#[test]
fn a_delayed_work_runs_when_its_time_has_come() {
    passes("delayed", || {
        let later = later(count_later);
        let before = jiffies() as usize;
        assert!(schedule(&later, 1_000_000));
        assert!(later.dwork.pending() && later.dwork.work.busy());
        assert!(!schedule(&later, 1), "it is pending");
        assert!((before..=jiffies() as usize).contains(&(later.dwork.expires() - 1_000_000)));
        // SAFETY: the work is waited for below.
        unsafe { system_wq().mod_delayed_work(&later.dwork, 5) };
        while later.runs.get() == 0 {
            msleep(1);
        }
        later.dwork.work.flush();
        assert_eq!(later.runs.get(), 1);
        assert!(later.ran_at.get() >= before + 5, "{} of {}", later.ran_at.get(), before + 5);
        assert!(!later.dwork.pending());
    });
}

#[test]
fn a_delayed_work_without_delay_is_a_work() {
    passes("no delay", || {
        let later = later(count_later_behind_gate);
        assert!(schedule(&later, 0));
        later.started.wait();
        assert!(schedule(&later, 0), "it runs, so it can be queued");
        assert!(!schedule(&later, 7), "now it is queued");
        later.gate.complete_all();
        later.dwork.work.flush();
        assert_eq!(later.runs.get(), 2);
    });
}

#[test]
fn flush_and_modify_bring_its_time_forward() {
    passes("forward", || {
        let later = later(count_later);
        assert!(schedule(&later, 1_000_000));
        later.dwork.flush();
        assert_eq!(later.runs.get(), 1);
        assert!(schedule(&later, 1_000_000));
        // SAFETY: the work is flushed below.
        assert!(unsafe { system_wq().mod_delayed_work(&later.dwork, 2) }, "it was pending");
        msleep(5);
        later.dwork.flush();
        assert_eq!(later.runs.get(), 2);
        // SAFETY: the work is cancelled below.
        assert!(!unsafe { system_wq().mod_delayed_work(&later.dwork, 1_000_000) }, "it was not");
        assert!(later.dwork.cancel());
    });
}

#[test]
fn a_cancelled_delayed_work_does_not_run() {
    passes("cancelled", || {
        let later = later(count_later);
        assert!(!later.dwork.cancel() && !later.dwork.cancel_sync(), "nothing to cancel");
        for sync in [false, true] {
            // Long, for a host that is busy with other things.
            assert!(schedule(&later, 200));
            assert!(if sync { later.dwork.cancel_sync() } else { later.dwork.cancel() });
            msleep(210);
            assert_eq!(later.runs.get(), 0);
            assert!(!later.dwork.pending());
        }
    });
}

#[test]
fn cancelling_a_delayed_work_races_with_its_time() {
    passes_n("race", 3000, || {
        let later = later(count_later);
        linuxkpi::init();
        let end = Arc::clone(&later);
        threads(2, move |i| {
            if i == 0 {
                schedule(&later, 1);
            } else {
                later.dwork.cancel();
                later.dwork.cancel_sync();
            }
        });
        let cancelled = end.dwork.cancel_sync();
        let runs = end.runs.get();
        assert!(runs + usize::from(cancelled) <= 1);
        msleep(5);
        assert_eq!(end.runs.get(), runs, "it ran after cancel_delayed_work_sync");
        assert!(!end.dwork.pending());
    });
}

#[test]
fn a_delayed_work_that_queues_itself_can_be_cancelled() {
    passes_n("again", 500, || {
        let later = later(count_and_again);
        assert!(schedule(&later, 1));
        while later.runs.get() < 2 {
            msleep(1);
        }
        later.dwork.cancel_sync();
        let runs = later.runs.get();
        msleep(4);
        assert_eq!(later.runs.get(), runs);
    });
}

#[test]
fn a_delayed_work_in_a_critical_section_panics_where_a_work_does() {
    let text = panic_text(|| {
        let later = later(count_later);
        critical_enter();
        schedule(&later, 0);
        critical_exit();
    });
    assert!(text.starts_with("acquiring blockable sleep lock with spinlock or critical section held"), "{text}");
    assert!(text.contains("linuxkpi_short_wq"), "{text}");
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
            assert!(unsafe { irq.work.queue() });
            critical_exit();
        });
        end.work.sync();
        assert_eq!(end.runs.get(), 1);
    });
}
