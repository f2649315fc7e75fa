//! Interrupts: filters, ithreads, the clock, inter-processor interrupts.
//!
//! An interrupt is taken at an instruction boundary of a CPU whose interrupts are on. A filter runs on the interrupted thread's
//! stack, inside a critical section with `td_intr_nesting_level` raised; an ithread is made runnable and preempts when its
//! priority says so. A boundary is thus where FreeBSD's hardware would interrupt, in both engines.
//!
//! References: kern/kern_intr.c, amd64/amd64/exception.S, BUS_SETUP_INTR(9).

use crate::atomic::{Guarded, OwnedPtr, Shared32};
use crate::cpu::{self, Pcpu, curcpu, machine, pending};
use crate::critical;
use crate::sched::{self, pri, sw, swt};
use crate::thread::{self, Kthread, Thread, curthread, tdf, tdi};
use std::rc::Rc;

/// What a filter returns, `FILTER_*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filter {
    /// Not this device's interrupt.
    Stray,
    /// Done.
    Handled,
    /// The ithread is to run.
    ScheduleThread,
}

/// One handler of an interrupt source.
#[derive(Clone)]
struct Handler {
    filter: Option<Rc<dyn Fn() -> Filter>>,
    ithread: Option<Rc<dyn Fn()>>,
    cookie: usize,
}

/// When a source may interrupt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// Only after [`raise`].
    Raised,
    /// At any boundary, as often as the budget for interrupts allows (`explore`), or now and then (`smp`).
    AnyTime,
}

/// An interrupt source: `struct intr_event`.
struct Source {
    name: String,
    arrival: Arrival,
    /// Written at set-up and by [`teardown`], while the source is quiet.
    handlers: Guarded<Vec<Handler>>,
    /// (t) Its ithread.
    thread: OwnedPtr<Thread>,
    /// `it_need`.
    need: Shared32,
    /// Interrupts raised and not yet taken.
    asserted: Shared32,
    priority: u32,
    /// CPU that takes it; `None` for any.
    cpu: Option<usize>,
}

impl Source {
    fn handlers(&self) -> &[Handler] {
        // SAFETY: handlers come and go only at set-up or while the source is quiet (see `teardown`), so nobody writes now.
        unsafe { self.handlers.get() }
    }
}

/// All interrupt sources of a machine.
#[derive(Default)]
pub(crate) struct Interrupts {
    sources: Guarded<Vec<Source>>,
    count: Shared32,
}

impl Default for Guarded<Vec<Source>> {
    fn default() -> Self {
        Self::new(Vec::new())
    }
}

impl Default for Shared32 {
    fn default() -> Self {
        Self::new(0)
    }
}

impl core::fmt::Debug for Interrupts {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Interrupts({})", self.count.get())
    }
}

/// An interrupt source's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Irq(pub u16);

impl Interrupts {
    pub(crate) fn reset(&self) {
        // SAFETY: between executions nobody else is running.
        unsafe { self.sources.get().clear() };
        self.count.set(0);
    }

    /// Number of sources.
    pub(crate) fn len(&self) -> usize {
        self.count.get() as usize
    }

    fn source(&self, irq: Irq) -> &Source {
        // SAFETY: sources are added at set-up only, before any other thread can look, and never removed while a machine runs.
        unsafe { &self.sources.get()[usize::from(irq.0)] }
    }

    /// Whether `irq` waits to be taken because somebody raised it.
    pub(crate) fn is_asserted(&self, irq: Irq, cpu: usize) -> bool {
        let source = self.source(irq);
        source.asserted.get() > 0 && source.cpu.is_none_or(|only| only == cpu)
    }

    /// Whether `irq` may come by itself.
    pub(crate) fn may_come(&self, irq: Irq, cpu: usize) -> bool {
        let source = self.source(irq);
        source.arrival == Arrival::AnyTime && !source.handlers().is_empty() && source.cpu.is_none_or(|only| only == cpu)
    }

    /// The source's name.
    pub(crate) fn name(&self, irq: Irq) -> &str {
        &self.source(irq).name
    }
}

/// Creates an interrupt source: `intr_event_create()`. `cpu` binds it.
///
/// At set-up only: sources are never removed while a machine runs.
pub fn create(name: &str, arrival: Arrival, priority: u32, cpu: Option<usize>) -> Irq {
    let interrupts = &machine().interrupts;
    // SAFETY: at set-up, before any other thread can look.
    let sources = unsafe { interrupts.sources.get() };
    let irq = Irq(u16::try_from(sources.len()).unwrap_or(u16::MAX));
    assert!(irq.0 < 32, "at most 32 interrupt sources");
    sources.push(Source {
        name: name.to_owned(),
        arrival,
        handlers: Guarded::new(Vec::new()),
        thread: OwnedPtr::null(),
        need: Shared32::new(0),
        asserted: Shared32::new(0),
        priority,
        cpu,
    });
    interrupts.count.set(sources.len() as u32);
    irq
}

/// `bus_setup_intr()`: adds a handler; `cookie` names it for [`teardown`].
///
/// The filter runs in interrupt context; the ithread handler in a thread that may block on a mutex but not sleep.
pub fn setup(irq: Irq, filter: Option<Rc<dyn Fn() -> Filter>>, ithread: Option<Rc<dyn Fn()>>, cookie: usize) {
    if !cpu::step("bus_setup_intr", 0) {
        return;
    }
    let source = machine().interrupts.source(irq);
    if ithread.is_some() && source.thread.get().is_null() {
        let name = format!("intr: {}", source.name);
        let td = thread::create(
            Kthread { name: &name, priority: source.priority, flags: tdf::KPROC, cpu: source.cpu },
            move || ithread_loop(irq),
        );
        td.inhibit(tdi::IWAIT);
        td.flags.or(tdf::PARKED);
        td.lastcpu.set(source.cpu.unwrap_or(0) as i32);
        source.thread.set(td.ptr());
    }
    // SAFETY: at set-up nobody looks at the handlers; no reference to them lives across a boundary.
    unsafe { source.handlers.get() }.push(Handler { filter, ithread, cookie });
}

/// [`setup`] of an ithread handler as C has it: a function and its argument, for callers that have no allocator.
///
/// # Safety
///
/// Until [`teardown`] with the same `cookie` has returned, `handler` may be called with `arg`, from the source's ithread.
pub unsafe fn setup_ithread(
    irq: Irq,
    handler: unsafe extern "C-unwind" fn(*mut core::ffi::c_void),
    arg: *mut core::ffi::c_void,
    cookie: usize,
) {
    // SAFETY: the caller's promise.
    setup(irq, None, Some(Rc::new(move || unsafe { handler(arg) })), cookie);
}

/// `bus_teardown_intr()`: removes the handler; waits for a running one. May sleep.
pub fn teardown(irq: Irq, cookie: usize) {
    if !cpu::step("bus_teardown_intr", 0) {
        return;
    }
    drain(irq);
    // SAFETY: drained, the source is quiet, and no reference to its handlers lives across a boundary.
    unsafe { machine().interrupts.source(irq).handlers.get() }.retain(|handler| handler.cookie != cookie);
}

/// `_intr_drain()`: waits until the source's ithread has nothing to do. May sleep.
pub fn drain(irq: Irq) {
    loop {
        let source = machine().interrupts.source(irq);
        let td = source.thread.get();
        // SAFETY: threads are type-stable.
        if td.is_null() || source.need.get() == 0 && unsafe { (*td).inhibitors.get() } & tdi::IWAIT != 0 {
            return;
        }
        if cpu::scheduler_stopped() {
            return;
        }
        crate::sleep::pause("idrain", 1);
    }
}

/// A device asserts its interrupt line: the interrupt comes at some boundary from now on.
pub fn raise(irq: Irq) {
    if !cpu::step("raise", 0) {
        return;
    }
    let m = machine();
    let source = m.interrupts.source(irq);
    source.asserted.fetchadd(1);
    if !sched::explored() {
        let to = source.cpu.unwrap_or_else(|| usize::from(irq.0) % m.cpus.len());
        m.cpus[to].irqs.or(1 << irq.0);
        m.cpus[to].post(pending::INTR);
    }
}

/// Whether this CPU takes interrupts now: not in a spinlock section, and not in an interrupt frame either, since amd64's gates
/// turn interrupts off.
pub(crate) fn enabled(cpu: &Pcpu) -> bool {
    let td = cpu.current();
    td.spinlock_count.get() == 0 && td.intr_nesting_level.get() == 0
}

/// `smp`: takes what is pending on this CPU, if its interrupts are on.
#[cold]
pub(crate) fn take_pending() {
    let cpu = curcpu();
    if !enabled(cpu) {
        return;
    }
    let block = cpu.block.get();
    if !block.is_null() {
        // SAFETY: the block lives as long as the run.
        unsafe { (*block).word.clear(crate::host::gs::word::PENDING) };
    }
    crate::host::smp::progressed();
    let bits = cpu.pending.take();
    frame(|| {
        if bits & pending::RENDEZVOUS != 0 {
            crate::rmlock::ipi_rendezvous();
        }
        if bits & pending::INTR != 0 {
            let mut irqs = cpu.irqs.take();
            while irqs != 0 {
                let irq = Irq(irqs.trailing_zeros() as u16);
                irqs &= irqs - 1;
                handle(irq);
            }
        }
        if bits & pending::TICK != 0 {
            crate::callout::hardclock();
        }
        if bits & pending::IPI_PREEMPT != 0 {
            sched::ipi_preempt();
        }
    });
}

/// `explore`: takes IPIs, which are not events of the schedule, before a CPU's next primitive.
pub(crate) fn take_ipis() {
    let cpu = curcpu();
    if cpu.pending.get() == 0 || !enabled(cpu) {
        return;
    }
    let bits = cpu.pending.take();
    frame(|| {
        if bits & pending::RENDEZVOUS != 0 {
            crate::rmlock::ipi_rendezvous();
        }
        if bits & pending::IPI_PREEMPT != 0 {
            sched::ipi_preempt();
        }
    });
}

/// An interrupt frame around `body`: nested, critical, and a preemption point at its end.
fn frame(body: impl FnOnce()) {
    let td = curthread();
    td.intr_nesting_level.add(1);
    critical::enter(td);
    body();
    td.intr_nesting_level.sub(1);
    critical::exit(td);
}

/// `explore`: the schedule says that `irq` arrives now.
pub(crate) fn deliver(irq: Irq) {
    frame(|| handle(irq));
}

/// `explore`: the schedule says that the clock ticks now.
pub(crate) fn tick() {
    frame(crate::callout::hardclock);
}

/// `intr_event_handle()`.
fn handle(irq: Irq) {
    let source = machine().interrupts.source(irq);
    if source.asserted.get() > 0 {
        source.asserted.set(source.asserted.get() - 1);
    }
    let mut wake = false;
    for at in 0..source.handlers().len() {
        let handler = source.handlers()[at].clone();
        match &handler.filter {
            Some(filter) => wake |= filter() == Filter::ScheduleThread,
            None => wake |= handler.ithread.is_some(),
        }
    }
    if wake {
        schedule_thread(source);
    }
}

/// `intr_event_schedule_thread()`.
fn schedule_thread(source: &Source) {
    let td = source.thread.get();
    if td.is_null() {
        return;
    }
    source.need.set(1);
    // SAFETY: threads are type-stable.
    let td = unsafe { &*td };
    let me = curthread();
    sched::thread_lock(me);
    if td.inhibitors.get() & tdi::IWAIT != 0 {
        td.uninhibit(tdi::IWAIT);
        sched::setrunnable(td);
    }
    sched::thread_unlock(me);
}

/// `ithread_loop()`.
fn ithread_loop(irq: Irq) {
    let td = curthread();
    loop {
        td.flags.clear(tdf::PARKED);
        let source = machine().interrupts.source(irq);
        while source.need.take() != 0 {
            thread::thread_no_sleeping();
            for at in 0..source.handlers().len() {
                if let Some(handler) = source.handlers().get(at).and_then(|handler| handler.ithread.clone()) {
                    cpu::step("ithread", 0);
                    let balance = crate::lint::Balance::now();
                    handler();
                    balance.check("handler");
                }
            }
            thread::thread_sleeping_ok();
        }
        crate::witness::warn_suspending_ithread();
        sched::thread_lock(td);
        if source.need.get() == 0 && !cpu::scheduler_stopped() {
            td.inhibit(tdi::IWAIT);
            td.flags.or(tdf::PARKED);
            sched::mi_switch(sw::VOL | swt::IWAIT);
        } else {
            sched::thread_unlock(td);
        }
    }
}

/// A bystander: an unrelated ithread of the best priority per CPU that an interrupt may wake at any boundary. It does
/// nothing; it opens the windows in which a lock's owner is preempted.
pub fn bystanders() {
    for cpu in 0..cpu::mp_ncpus() {
        let irq = create(&format!("bystander{cpu}"), Arrival::AnyTime, pri::PI_REALTIME, Some(cpu));
        setup(irq, None, Some(Rc::new(|| ())), irq.0.into());
    }
}
