//! linux/interrupt.h.

mod common;

use common::{EXECUTIONS, explored, panic_text, passes, passes_n, threads};
use core::ffi::{c_int, c_void};
use freebsd_sys::atomic::OwnedUsize;
use freebsd_sys::cpu;
use freebsd_sys::critical::{critical_enter, critical_exit};
use freebsd_sys::interrupt::{Arrival, create, raise};
use freebsd_sys::machine::{Config, Verdict};
use freebsd_sys::sched::{pri, sched_bind};
use linuxkpi::LockMapping;
use linuxkpi::completion::Completion;
use linuxkpi::delay::{msleep, udelay};
use linuxkpi::interrupt::{
    IRQ_HANDLED, IRQ_WAKE_THREAD, Irq, IrqReturn, Tasklet, disable_irq, enable_irq, free_irq, init_tasklets,
    request_irq, request_threaded_irq, synchronize_irq,
};
use linuxkpi::mapping;
use linuxkpi::spinlock::SpinLock;
use std::sync::Arc;

/// A device: what its handler and its threads share.
struct Device<M: LockMapping> {
    lock: SpinLock<u64, M>,
    seen: Completion,
}

fn device<M: LockMapping>() -> Arc<Device<M>> {
    let device = Arc::new(Device { lock: SpinLock::with_mapping(0), seen: Completion::new() });
    device.lock.init();
    device
}

fn dev<M: LockMapping>(device: &Arc<Device<M>>) -> *mut c_void {
    Arc::as_ptr(device).cast_mut().cast()
}

fn add<M: LockMapping>(device: &Device<M>) {
    let mut n = device.lock.lock_irqsave();
    let old = *n;
    udelay(1);
    *n = old + 1;
}

unsafe extern "C-unwind" fn handler<M: LockMapping>(_irq: c_int, dev: *mut c_void) -> IrqReturn {
    // SAFETY: requested with a `Device` that outlives `free_irq`.
    let device = unsafe { &*dev.cast::<Device<M>>() };
    add(device);
    device.seen.complete();
    IRQ_HANDLED
}

fn line() -> Irq {
    create("gpu", Arrival::Raised, pri::PI_INTR, None)
}

fn counts_under<M: LockMapping>(irq: Irq) {
    let device = device::<M>();
    let end = Arc::clone(&device);
    // SAFETY: the device outlives `free_irq`.
    assert_eq!(unsafe { request_irq::<M>(irq, handler::<M>, dev(&device)) }, 0);
    threads(2, move |i| {
        if i == 0 {
            raise(irq);
            device.seen.wait();
        } else {
            add(&device);
        }
    });
    free_irq(irq);
    assert_eq!(*end.lock.lock(), 2, "an update was lost");
}

#[test]
fn handler_and_thread_share_a_lock() {
    macro_rules! case {
        ($m:ty, "busted") => {
            let verdict = explored(Config::default(), 3000, || counts_under::<$m>(line()));
            assert!(verdict.message().contains("an update was lost"), "busted: {verdict}");
        };
        ($m:ty, $name:literal) => {
            passes_n($name, EXECUTIONS, || counts_under::<$m>(line()));
        };
    }
    linuxkpi::for_each_mapping!(case);
}

unsafe extern "C-unwind" fn wakes(_irq: c_int, _dev: *mut c_void) -> IrqReturn {
    IRQ_WAKE_THREAD
}

unsafe extern "C-unwind" fn sleeps(_irq: c_int, dev: *mut c_void) -> IrqReturn {
    msleep(1);
    // SAFETY: as in `handler`.
    unsafe { &*dev.cast::<Device<mapping::Default>>() }.seen.complete();
    IRQ_HANDLED
}

#[test]
fn a_thread_function_may_sleep_and_a_handler_may_not() {
    passes_n("threaded", EXECUTIONS, || {
        let irq = line();
        let device = device::<mapping::Default>();
        // SAFETY: the device outlives `free_irq`.
        unsafe { request_threaded_irq::<mapping::Default>(irq, wakes, Some(sleeps), dev(&device)) };
        let seen = Arc::clone(&device);
        threads(1, move |_| {
            raise(irq);
            seen.seen.wait();
        });
        free_irq(irq);
    });
    let text = panic_text(|| {
        let irq = line();
        let device = device::<mapping::Default>();
        // SAFETY: the machine panics while the device is alive.
        unsafe { request_irq::<mapping::Default>(irq, sleeps, dev(&device)) };
        threads(1, move |_| {
            raise(irq);
            device.seen.wait();
        });
    });
    assert!(text.contains("with sleeping prohibited"), "{text}");
}

#[test]
fn a_disabled_interrupt_is_not_handled_until_it_is_enabled() {
    passes_n("disable", EXECUTIONS, || {
        let irq = line();
        let device = device::<mapping::Default>();
        // SAFETY: the device outlives `free_irq`.
        unsafe {
            assert_eq!(request_irq::<mapping::Default>(irq, handler::<mapping::Default>, dev(&device)), 0);
            let again = request_irq::<mapping::Default>(irq, handler::<mapping::Default>, dev(&device));
            assert_eq!(again, -linuxkpi::interrupt::EBUSY);
        }
        let end = Arc::clone(&device);
        threads(1, move |_| {
            disable_irq(irq);
            raise(irq);
            msleep(2);
            assert!(!device.seen.done(), "the handler ran");
            assert_eq!(enable_irq(irq), 0);
            assert!(enable_irq(irq) < 0);
            raise(irq);
            device.seen.wait();
            synchronize_irq(irq);
        });
        // The line may have stayed asserted meanwhile.
        assert!((1..=2).contains(&*end.lock.lock()));
        free_irq(irq);
        assert!(enable_irq(irq) < 0);
    });
}

#[test]
fn free_waits_for_the_running_handler() {
    let verdict = explored(Config::default(), 3000, || {
        let irq = line();
        let device = device::<mapping::Default>();
        // SAFETY: the device outlives `free_irq`.
        unsafe { request_irq::<mapping::Default>(irq, handler::<mapping::Default>, dev(&device)) };
        threads(2, move |i| {
            if i == 0 {
                raise(irq);
            } else {
                free_irq(irq);
                let before = *device.lock.lock();
                msleep(2);
                assert_eq!(*device.lock.lock(), before, "the handler ran after free_irq");
            }
        });
    });
    assert_eq!(verdict, Verdict::Pass);
}

/// A tasklet and what it counts.
struct Counter {
    tasklet: Tasklet,
    runs: OwnedUsize,
    cpu: OwnedUsize,
    running: OwnedUsize,
    /// It schedules itself so often.
    again: OwnedUsize,
}

impl Counter {
    fn new() -> Arc<Self> {
        init_tasklets();
        let none = || OwnedUsize::new(0);
        let (tasklet, runs, cpu, running, again) = (Tasklet::new(), none(), none(), none(), none());
        let counter = Arc::new(Self { tasklet, runs, cpu, running, again });
        // SAFETY: it is new, and each test kills it before it goes.
        unsafe { counter.tasklet.init::<mapping::Default>(count, Arc::as_ptr(&counter).cast_mut().cast()) };
        counter
    }

    fn schedule(&self) {
        // SAFETY: each test kills it before it goes.
        unsafe { self.tasklet.schedule() };
    }
}

unsafe extern "C-unwind" fn count(counter: *mut c_void) {
    // SAFETY: set with a `Counter` that outlives its tasklet.
    let counter = unsafe { &*counter.cast::<Counter>() };
    assert_eq!(counter.running.get(), 0, "twice at a time");
    counter.running.set(1);
    udelay(1);
    counter.running.set(0);
    counter.runs.add(1);
    counter.cpu.set(cpu::cpuid());
    if counter.again.get() > 0 {
        counter.again.sub(1);
        counter.schedule();
    }
}

#[test]
fn a_tasklet_runs_on_the_cpu_that_asked_for_it() {
    passes_n("cpu", 300, || {
        let counter = Counter::new();
        for cpu in [1, 0] {
            sched_bind(cpu);
            counter.schedule();
            counter.tasklet.kill();
            assert_eq!(counter.cpu.get(), cpu);
        }
        assert_eq!(counter.runs.get(), 2);
    });
}

#[test]
fn a_tasklet_runs_once_more_if_asked_meanwhile_and_never_twice_at_a_time() {
    passes_n("tasklet", 3000, || {
        let counter = Counter::new();
        let end = Arc::clone(&counter);
        threads(2, move |_| {
            counter.schedule();
            counter.schedule();
        });
        end.tasklet.kill();
        let runs = end.runs.get();
        assert!((1..=4).contains(&runs), "{runs}");
        msleep(3);
        assert_eq!(end.runs.get(), runs, "it ran after tasklet_kill");
        end.again.set(2);
        end.schedule();
        end.tasklet.kill();
        assert_eq!(end.runs.get(), runs + 3, "it asked for itself twice");
    });
}

#[test]
fn a_disabled_tasklet_is_not_scheduled() {
    passes("disabled", || {
        let counter = Counter::new();
        counter.tasklet.disable();
        assert!(!counter.tasklet.is_enabled());
        counter.schedule();
        msleep(2);
        counter.tasklet.enable();
        msleep(2);
        assert_eq!(counter.runs.get(), 0, "as LinuxKPI has it");
        assert!(counter.tasklet.trylock() && !counter.tasklet.trylock());
        counter.schedule();
        counter.tasklet.unlock();
        counter.schedule();
        counter.tasklet.kill();
        assert_eq!(counter.runs.get(), 1);
    });
}

unsafe extern "C-unwind" fn schedules(_irq: c_int, counter: *mut c_void) -> IrqReturn {
    // SAFETY: requested with a `Counter` that outlives `free_irq`.
    unsafe { &*counter.cast::<Counter>() }.schedule();
    IRQ_HANDLED
}

#[test]
fn an_interrupt_handler_schedules_a_tasklet() {
    passes_n("handler", 300, || {
        let counter = Counter::new();
        let irq = line();
        // SAFETY: the counter outlives `free_irq`.
        unsafe { request_irq::<mapping::Default>(irq, schedules, Arc::as_ptr(&counter).cast_mut().cast()) };
        let end = Arc::clone(&counter);
        threads(1, move |_| {
            raise(irq);
            while counter.runs.get() == 0 {
                msleep(1);
            }
        });
        free_irq(irq);
        end.tasklet.kill();
        assert_eq!(end.runs.get(), 1);
    });
}

#[test]
fn scheduling_a_tasklet_in_a_critical_section_panics_as_freebsd_does() {
    let text = panic_text(|| {
        let counter = Counter::new();
        critical_enter();
        counter.schedule();
        critical_exit();
    });
    assert!(text.starts_with("acquiring blockable sleep lock with spinlock or critical section held"), "{text}");
    assert!(text.contains("linux_tasklet"), "{text}");
}
