//! Interrupts: filters, ithreads, the clock, inter-processor interrupts.
//!
//! An interrupt is taken at an instruction boundary of a CPU whose interrupts are on. A filter runs on the interrupted thread's
//! stack, inside a critical section with `td_intr_nesting_level` raised; an ithread is made runnable and preempts when its
//! priority says so. A boundary is thus where FreeBSD's hardware would interrupt, in both engines.
//!
//! A source whose ithread has run so often without waiting in between as `hw.intr_storm_threshold` says (a machine's option; 0, as on
//! FreeBSD, for never) is in a storm: its ithread sleeps for a tick after each run, and the console says so once a second, until
//! the ithread finds nothing to do.
//!
//! # Deviations from FreeBSD
//!
//! All sources are edge-triggered, as MSIs are: none is masked while its ithread runs. `_intr_drain` looks once a tick whether the
//! ithread waits, where FreeBSD's ithread says so when it has nothing to do (IT_WAIT). Removing a handler does not have the ithread run
//! the other handlers of its source, as FreeBSD's does on the way. Handlers run in the order in which they were added.
//!
//! References: kern/kern_intr.c, amd64/amd64/exception.S, BUS_SETUP_INTR(9).

use crate::atomic::{Guarded, Owned32, Owned64, OwnedPtr, RawWord, Shared32, thread_fence_acq, thread_fence_seq_cst};
use crate::cpu::{self, Pcpu, curcpu, machine, pending};
use crate::critical;
use crate::epoch::{self, Tracker};
use crate::host::explore;
use crate::host::footprint::{touch, touch_thread};
use crate::lock::ChainLock;
use crate::module::Once;
use crate::panic::kprintf;
use crate::sched::{self, pri, sw, swt};
use crate::thread::{self, Argument, Kthread, Thread, curthread, tdf, tdi};

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

/// What a handler's filter is.
pub(crate) type FilterFn = Box<dyn Fn() -> Filter + Send + Sync>;

/// What its ithread runs.
pub(crate) type IthreadFn = Box<dyn Fn() + Send + Sync>;

/// One handler of an interrupt source: `struct intr_handler`.
struct Handler {
    filter: Option<FilterFn>,
    ithread: Option<IthreadFn>,
    cookie: usize,
    /// `ih_pri`, and the handler's number: of equals the first that came runs first.
    order: (u32, u32),
    net: bool,
}

/// What a handler is, besides what it does: of `INTR_*`, what concerns its source.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Traits {
    /// `ih_pri`: the better ones run first, and the ithread has the best one's priority.
    pub(crate) priority: u32,
    /// `INTR_EXCL`: alone on its source.
    pub(crate) exclusive: bool,
    /// `INTR_SLEEPABLE`: handlers of this source may sleep from now on.
    pub(crate) sleepable: bool,
    /// `INTR_TYPE_NET`: while there is one, the source's ithread runs in a section of the network's epoch.
    pub(crate) net: bool,
}

/// What a source's controller is told: `ie_pre_ithread` and its kin.
pub(crate) type Hook = Box<dyn Fn() + Send + Sync>;

/// Tells the controller which CPU is to take the interrupt; an error, or 0.
pub(crate) type AssignFn = Box<dyn Fn(i32) -> i32 + Send + Sync>;

/// `intr_event_create()`'s functions: before an ithread is scheduled, after it has run, and after filters if no ithread is.
#[derive(Default)]
pub(crate) struct Hooks {
    pub(crate) pre_ithread: Option<Hook>,
    pub(crate) post_ithread: Option<Hook>,
    pub(crate) post_filter: Option<Hook>,
    /// Another CPU is to take it; what it returns is an error, or 0.
    pub(crate) assign_cpu: Option<AssignFn>,
}

fn call(hook: &Option<Hook>) {
    if let Some(hook) = hook {
        hook();
    }
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
pub struct Source {
    name: String,
    arrival: Arrival,
    handlers_lock: ChainLock,
    /// (handlers_lock) By `order`, which a running interrupt knows its place by. A removed handler itself stays until [`remove`] has
    /// seen off who might run it.
    #[expect(clippy::vec_box, reason = "whoever runs a handler refers to it while the vector changes")]
    handlers: Guarded<Vec<Box<Handler>>>,
    /// (handlers_lock) How many there have been.
    added: Owned32,
    /// (handlers_lock) Its only handler is exclusive.
    exclusive: Owned32,
    /// Handlers, for looks without the lock.
    count: Shared32,
    /// `ie_phase` and `ie_active`: interrupts that run this source's filters, counted in the phase that they began in.
    phase: Shared32,
    active: [Shared32; 2],
    /// (t) Its ithread.
    thread: OwnedPtr<Thread>,
    /// `it_need`.
    need: Shared32,
    /// Interrupts raised and not yet taken.
    asserted: Shared32,
    /// (i) `ie_count`: runs of the ithread since it last waited.
    runs: Owned32,
    /// (i) `ie_warntm`: the tick after the one in which the console was told of a storm; 0 for never.
    warned: Owned64,
    priority: u32,
    /// CPU that takes it; [`ANY`] for any.
    cpu: Shared32,
    /// `IE_SOFT`: no device's. Its handlers may sleep, and no number of runs is a storm.
    pub(crate) soft: bool,
    /// `IE_SLEEPABLE`.
    sleepable: Shared32,
    /// Handlers with [`Traits::net`].
    net: Shared32,
    /// Whether its ithread was made.
    made: Once,
    /// `IT_DEAD`: its ithread is to end.
    dead: Shared32,
    pub(crate) hooks: Hooks,
}

/// Of [`Source::cpu`]: none.
const ANY: u32 = u32::MAX;

impl core::fmt::Debug for Source {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Source({})", self.name)
    }
}

// Locking key: (i) the source's ithread, (t) as in `sched`.

impl Source {
    fn new(name: &str, arrival: Arrival, priority: u32, cpu: Option<usize>) -> Self {
        Self {
            name: name.to_owned(),
            arrival,
            handlers_lock: ChainLock::new(),
            handlers: Guarded::new(Vec::new()),
            added: Owned32::new(0),
            exclusive: Owned32::new(0),
            count: Shared32::new(0),
            phase: Shared32::new(0),
            active: [const { Shared32::new(0) }; 2],
            thread: OwnedPtr::null(),
            need: Shared32::new(0),
            asserted: Shared32::new(0),
            runs: Owned32::new(0),
            warned: Owned64::new(0),
            priority,
            cpu: Shared32::new(cpu.map_or(ANY, |cpu| cpu as u32)),
            soft: false,
            sleepable: Shared32::new(0),
            net: Shared32::new(0),
            made: Once::new(),
            dead: Shared32::new(0),
            hooks: Hooks::default(),
        }
    }

    /// CPU that takes it; `None` for any.
    fn cpu(&self) -> Option<usize> {
        Some(self.cpu.get()).filter(|&cpu| cpu != ANY).map(|cpu| cpu as usize)
    }

    /// The handler after the one of that order; `None` at the end.
    ///
    /// # Safety
    ///
    /// Only what [`remove`] waits for may use the handler: this source's filters in an active phase, and its ithread.
    unsafe fn after(&self, order: Option<(u32, u32)>) -> Option<&Handler> {
        self.handlers_lock.lock_raw();
        // SAFETY: (handlers_lock). A box does not move when the table grows, and the caller's promise keeps it.
        let found = unsafe {
            let handlers = self.handlers.get();
            let at = order.map_or(0, |order| handlers.partition_point(|handler| handler.order <= order));
            handlers.get(at).map(|handler| &*core::ptr::from_ref::<Handler>(handler))
        };
        self.handlers_lock.unlock_raw();
        found
    }

    /// `ie_name`.
    pub(crate) fn event_name(&self) -> &str {
        &self.name
    }

    /// Whether somebody handles it.
    pub(crate) fn handled(&self) -> bool {
        self.count.get() != 0
    }

    /// `intr_event_barrier()`: waits until no CPU runs filters that it found before.
    fn barrier(&self) {
        let phase = self.phase.get();
        self.phase.set(phase ^ 1);
        thread_fence_seq_cst();
        while self.active[phase as usize].get() != 0 {
            cpu::observe(self.active[phase as usize].as_ptr().cast(), 4);
            if !cpu::spinwait() {
                break;
            }
        }
        thread_fence_acq();
    }
}

/// Most interrupt sources of a machine: a CPU's pending ones are the bits of a word.
const MAXSOURCES: usize = 32;

/// All interrupt sources of a machine.
pub(crate) struct Interrupts {
    lock: ChainLock,
    /// (lock) Owns the sources.
    #[expect(clippy::vec_box, reason = "`table` points at the sources, which must not move while the vector grows")]
    sources: Guarded<Vec<Box<Source>>>,
    /// Each source's address: what a look needs, without a lock.
    table: [OwnedPtr<Source>; MAXSOURCES],
    count: RawWord,
}

impl core::fmt::Debug for Interrupts {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Interrupts({})", self.len())
    }
}

/// An interrupt source's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Irq(pub u16);

impl Interrupts {
    pub(crate) fn new() -> Self {
        Self {
            lock: ChainLock::new(),
            sources: Guarded::new(Vec::new()),
            table: [const { OwnedPtr::null() }; MAXSOURCES],
            count: RawWord::new(0),
        }
    }

    pub(crate) fn reset(&self) {
        self.lock.unlock_raw();
        self.count.set(0);
        // SAFETY: between executions nobody else is running.
        unsafe { self.sources.get().clear() };
    }

    /// Number of sources.
    pub(crate) fn len(&self) -> usize {
        self.count.load_acq()
    }

    fn source(&self, irq: Irq) -> &Source {
        let at = usize::from(irq.0);
        assert!(at < self.len(), "interrupt source {at} does not exist");
        // SAFETY: a source counts only once it is in the table, and is never removed while the machine runs.
        unsafe { &*self.table[at].get() }
    }

    /// Whether `irq` waits to be taken because somebody raised it.
    pub(crate) fn is_asserted(&self, irq: Irq, cpu: usize) -> bool {
        let source = self.source(irq);
        source.asserted.get() > 0 && source.cpu().is_none_or(|only| only == cpu)
    }

    /// Whether `irq` may come by itself.
    pub(crate) fn may_come(&self, irq: Irq, cpu: usize) -> bool {
        let source = self.source(irq);
        source.arrival == Arrival::AnyTime && source.count.get() != 0 && source.cpu().is_none_or(|only| only == cpu)
    }

    /// The source's name.
    pub(crate) fn name(&self, irq: Irq) -> &str {
        &self.source(irq).name
    }
}

/// Creates an interrupt source: `intr_event_create()`. `cpu` binds it. It stays as long as the machine runs.
///
/// # Panics
///
/// A Rust panic if there are 32 already.
pub fn create(name: &str, arrival: Arrival, priority: u32, cpu: Option<usize>) -> Irq {
    let interrupts = &machine().interrupts;
    let source = Box::new(Source::new(name, arrival, priority, cpu));
    interrupts.lock.lock_raw();
    let at = interrupts.count.read();
    if at < MAXSOURCES {
        interrupts.table[at].set(core::ptr::from_ref::<Source>(&source).cast_mut());
        // SAFETY: (lock)
        unsafe { interrupts.sources.get().push(source) };
        interrupts.count.store_rel(at + 1);
        // From here on something may come from outside.
        machine().only_moves.set(false);
    }
    interrupts.lock.unlock_raw();
    assert!(at < MAXSOURCES, "at most {MAXSOURCES} interrupt sources");
    Irq(at as u16)
}

/// A source without an interrupt line, which somebody [`handle_event`]s, or a software interrupt: `intr_event_create()`. It stays as long as
/// the machine runs.
pub(crate) fn event(name: &str, priority: u32, soft: bool, hooks: Hooks) -> &'static Source {
    let interrupts = &machine().interrupts;
    let source = Box::new(Source { soft, hooks, ..Source::new(name, Arrival::Raised, priority, None) });
    let at = &raw const *source;
    interrupts.lock.lock_raw();
    // SAFETY: (lock)
    unsafe { interrupts.sources.get().push(source) };
    interrupts.lock.unlock_raw();
    // SAFETY: a box does not move, and stays until the machine is reset.
    unsafe { &*at }
}

/// The source of an interrupt line.
pub(crate) fn of(irq: Irq) -> &'static Source {
    machine().interrupts.source(irq)
}

/// `bus_setup_intr()`: adds a handler; `cookie` names it for [`teardown`].
///
/// The filter runs in interrupt context; the ithread handler in a thread that may block on a mutex but not sleep. A source is
/// set up by one thread at a time, as bus code does under its topology lock.
pub fn setup(irq: Irq, filter: Option<FilterFn>, ithread: Option<IthreadFn>, cookie: usize) {
    if !cpu::step("bus_setup_intr", 0) {
        return;
    }
    let source = machine().interrupts.source(irq);
    let traits = Traits { priority: source.priority, ..Traits::default() };
    add(source, filter, ithread, cookie, traits);
}

/// `ithread_create()`: the thread waits for its first interrupt.
fn make_thread(source: &'static Source, priority: u32) {
    let name = if source.soft { source.name.clone() } else { format!("intr: {}", source.name) };
    let td = thread::create(Kthread { name: &name, priority, flags: tdf::KPROC, cpu: source.cpu() }, move || {
        ithread_loop(source);
    });
    td.pri_class.set(pri::CLASS_ITHD);
    td.inhibit(tdi::IWAIT);
    td.flags.or(tdf::PARKED);
    let cpu = source.cpu().unwrap_or(0) as i32;
    td.lastcpu.set(cpu);
    td.tscpu.set(cpu);
    source.thread.set(td.ptr());
}

/// `intr_event_add_handler()`: false if it, or the one that is there, is to be alone.
pub(crate) fn add(
    source: &'static Source,
    filter: Option<FilterFn>,
    ithread: Option<IthreadFn>,
    cookie: usize,
    traits: Traits,
) -> bool {
    if source.handled() && (traits.exclusive || traits.sleepable || source.exclusive.get() != 0) {
        return false;
    }
    if ithread.is_some() {
        source.made.ensure(|| make_thread(source, traits.priority));
    }
    touch_source(source);
    source.handlers_lock.lock_raw();
    let order = (traits.priority, source.added.get());
    source.added.set(order.1 + 1);
    source.exclusive.set(traits.exclusive.into());
    source.sleepable.or(traits.sleepable.into());
    source.net.fetchadd(traits.net.into());
    let handler = Box::new(Handler { filter, ithread, cookie, order, net: traits.net });
    // SAFETY: (handlers_lock)
    let handlers = unsafe { source.handlers.get() };
    handlers.insert(handlers.partition_point(|other| other.order < order), handler);
    let best = handlers[0].order.0;
    source.count.fetchadd(1);
    source.handlers_lock.unlock_raw();
    set_priority(source, best);
    true
}

/// `ithread_update()`.
fn set_priority(source: &Source, priority: u32) {
    // SAFETY: threads are type-stable.
    let Some(td) = (unsafe { source.thread.get().as_ref() }) else { return };
    if td.user_pri.get() != priority {
        let me = curthread();
        sched::thread_lock(me);
        td.user_pri.set(priority);
        sched::prio_locked(td, priority);
        sched::thread_unlock(me);
    }
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
    let arg = Argument::new(arg);
    // SAFETY: the caller's promise.
    setup(irq, None, Some(Box::new(move || unsafe { handler(arg.get()) })), cookie);
}

/// `intr_event_bind()`: the ithread stays on the CPU that the source was created for, where until then it only begins. Nobody runs it yet.
pub fn bind(irq: Irq) {
    if !cpu::step("bus_bind_intr", 0) {
        return;
    }
    let source = machine().interrupts.source(irq);
    let td = source.thread.get();
    if let (Some(cpu), false) = (source.cpu(), td.is_null()) {
        let me = curthread();
        sched::thread_lock(me);
        // SAFETY: threads are type-stable.
        sched::bind_locked(unsafe { &*td }, cpu);
        sched::thread_unlock(me);
    }
}

/// Whether [`create`] made it.
pub fn exists(irq: Irq) -> bool {
    usize::from(irq.0) < machine().interrupts.len()
}

/// `bus_teardown_intr()`: removes the handler; waits for a running one. May sleep.
pub fn teardown(irq: Irq, cookie: usize) {
    if cpu::step("bus_teardown_intr", 0) {
        remove(machine().interrupts.source(irq), cookie);
    }
}

/// `intr_event_remove_handler()`: [`teardown`]; whether there was such a handler.
pub(crate) fn remove(source: &'static Source, cookie: usize) -> bool {
    touch_source(source);
    source.handlers_lock.lock_raw();
    // SAFETY: (handlers_lock)
    let handlers = unsafe { source.handlers.get() };
    let removed: Vec<_> = handlers.extract_if(.., |handler| handler.cookie == cookie).collect();
    for handler in &removed {
        source.count.fetchadd(u32::MAX);
        if handler.net {
            source.net.fetchadd(u32::MAX);
        }
    }
    let best = handlers.first().map(|handler| handler.order.0);
    source.handlers_lock.unlock_raw();
    // Who found it before it was gone may still run it.
    source.barrier();
    drain_event(source);
    if cpu::scheduler_stopped() {
        // The barrier did not hold: better a leak than a handler that goes under somebody's feet.
        core::mem::forget(removed);
        return true;
    }
    if let Some(best) = best {
        set_priority(source, best);
    }
    !removed.is_empty()
}

/// `intr_event_destroy()`: false if it has handlers. Its ithread ends; may sleep.
pub(crate) fn destroy(source: &'static Source) -> bool {
    if source.handled() {
        return false;
    }
    source.dead.set(1);
    loop {
        // SAFETY: threads are type-stable.
        let Some(td) = (unsafe { source.thread.get().as_ref() }) else { return true };
        if cpu::scheduler_stopped() {
            return true;
        }
        touch(source.need.as_ptr() as usize, 4, true);
        source.need.set(1);
        wake(td);
        crate::sleep::pause("ithd_dth", 1);
    }
}

/// `_intr_drain()`: waits until the source's ithread has nothing to do. May sleep.
pub fn drain(irq: Irq) {
    drain_event(machine().interrupts.source(irq));
}

/// [`drain`] of any source.
pub(crate) fn drain_event(source: &Source) {
    loop {
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

/// What [`Source::barrier`] and [`drain_event`] wait for: nobody runs a handler that is not to run any more.
pub(crate) fn settle(source: &Source) {
    source.barrier();
    drain_event(source);
}

/// `intr_event_bind()`: from now on `cpu` takes the interrupt (`None`: any). A waiting ithread goes there as well, and stays.
pub(crate) fn assign(source: &Source, cpu: Option<usize>) {
    source.cpu.set(cpu.map_or(ANY, |cpu| cpu as u32));
    // SAFETY: threads are type-stable.
    let Some(td) = (unsafe { source.thread.get().as_ref() }) else { return };
    let me = curthread();
    sched::thread_lock(me);
    if td.inhibitors.get() & tdi::IWAIT != 0 {
        match cpu {
            Some(cpu) => _ = sched::bind_locked(td, cpu),
            None => sched::unbind_locked(td),
        }
    }
    sched::thread_unlock(me);
}

/// A device asserts its interrupt line: the interrupt comes at some boundary from now on.
pub fn raise(irq: Irq) {
    if !cpu::step("raise", 0) {
        return;
    }
    let m = machine();
    let source = m.interrupts.source(irq);
    touch_source(source);
    source.asserted.fetchadd(1);
    if !sched::explored() {
        let to = source.cpu().unwrap_or_else(|| usize::from(irq.0) % m.cpus.len());
        m.cpus[to].irqs.or(1 << irq.0);
        m.cpus[to].post(pending::INTR);
    }
}

/// Whether this CPU takes interrupts now: not in a spinlock section or after intr_disable(), and not in an interrupt frame either, since amd64's gates
/// turn interrupts off. A thread that was preempted at a frame's end is in it until it has been back on a CPU.
pub(crate) fn enabled(cpu: &Pcpu) -> bool {
    let td = cpu.current();
    td.spinlock_count.get() == 0 && !td.intr_off.get() && td.intr_nesting_level.get() == 0 && !td.leaves_frame.get()
}

/// `intr_disable()`: this thread's CPU takes no interrupts until [`intr_restore`]; preemption stays possible. Returns whether it took any.
pub fn intr_disable() -> bool {
    let was = cpu::step("intr_disable", 0) && enabled(curcpu());
    if was {
        curthread().intr_off.set(true);
    }
    was
}

/// `intr_restore()`: as it was before.
pub fn intr_restore(was: bool) {
    cpu::step("intr_restore", 0);
    if was {
        curthread().intr_off.set(false);
    }
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
            crate::smp::ipi_rendezvous();
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
            crate::smp::ipi_rendezvous();
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
    td.leaves_frame.set(true);
    critical::exit(td);
    td.leaves_frame.set(false);
}

/// `explore`: the schedule says that `irq` arrives now.
pub(crate) fn deliver(irq: Irq) {
    frame(|| handle(irq));
}

/// `explore`: the schedule says that the clock ticks now.
pub(crate) fn tick() {
    frame(crate::callout::hardclock);
}

/// `explore`: [`tick`], inside the running thread's primitive.
pub(crate) fn tick_now() {
    explore::tick();
}

fn touch_source(source: &Source) {
    touch(core::ptr::from_ref(source) as usize, size_of::<Source>(), true);
}

/// `intr_event_handle()`.
fn handle(irq: Irq) {
    let source = machine().interrupts.source(irq);
    touch_source(source);
    if source.asserted.get() > 0 {
        source.asserted.set(source.asserted.get() - 1);
    }
    run_filters(source);
}

/// `intr_event_handle()` of a source that the caller demultiplexes: in an interrupt, or as one. False if nobody handles it.
pub(crate) fn handle_event(source: &Source) -> bool {
    touch_source(source);
    if !source.handled() {
        return false;
    }
    let td = curthread();
    td.intr_nesting_level.add(1);
    critical::enter(td);
    run_filters(source);
    critical::exit(td);
    td.intr_nesting_level.sub(1);
    true
}

/// Filters, and what they decide.
fn run_filters(source: &Source) {
    let mut wake = false;
    let active = &source.active[source.phase.get() as usize];
    active.fetchadd(1);
    thread_fence_seq_cst();
    let mut last = None;
    // SAFETY: the phase is active.
    while let Some(handler) = unsafe { source.after(last) } {
        last = Some(handler.order);
        wake |= match &handler.filter {
            Some(filter) => filter() == Filter::ScheduleThread,
            None => true,
        };
    }
    active.fetchadd(u32::MAX);
    if wake {
        call(&source.hooks.pre_ithread);
        schedule_thread(source);
    } else {
        call(&source.hooks.post_filter);
    }
}

/// `intr_event_schedule_thread()`: false if there is none, or nothing for it to do.
pub(crate) fn schedule_thread(source: &Source) -> bool {
    let td = source.thread.get();
    if td.is_null() || !source.handled() {
        return false;
    }
    touch(source.need.as_ptr() as usize, 4, true);
    source.need.set(1);
    // SAFETY: threads are type-stable.
    wake(unsafe { &*td });
    true
}

/// Ends an ithread's wait for work that its caller has posted.
pub(crate) fn wake(td: &Thread) {
    let me = curthread();
    touch_thread(td, true);
    sched::thread_lock(me);
    if td.inhibitors.get() & tdi::IWAIT != 0 {
        td.uninhibit(tdi::IWAIT);
        sched::setrunnable(td);
    }
    sched::thread_unlock(me);
}

/// The running ithread waits until [`wake`], unless `need` says that there is work already. Returns whether it waited.
pub(crate) fn wait(need: &Shared32) -> bool {
    let td = curthread();
    touch(need.as_ptr() as usize, 4, true);
    sched::thread_lock(td);
    if need.get() == 0 && !cpu::scheduler_stopped() {
        td.inhibit(tdi::IWAIT);
        td.flags.or(tdf::PARKED);
        sched::mi_switch(sw::VOL | swt::IWAIT);
        true
    } else {
        sched::thread_unlock(td);
        false
    }
}

/// What ithread_execute_handlers() does about interrupt storms. May sleep.
fn throttle(source: &Source) {
    let threshold = machine().config.intr_storm_threshold;
    // Nobody asks how often it ran where no number of runs is a storm.
    if threshold == 0 || source.soft {
        return;
    }
    if source.runs.get() < threshold {
        source.runs.add(1);
        return;
    }
    // ppsratecheck(): once a second.
    let now = crate::callout::now() + 1;
    if source.warned.get() == 0 || now - source.warned.get() >= HZ {
        source.warned.set(now);
        kprintf!("interrupt storm detected on \"{}\"; throttling interrupt source", source.name);
    }
    crate::sleep::pause("istorm", 1);
}

/// Ticks of a second.
pub(crate) const HZ: u64 = 1000;

/// Runs of the handlers of a source until it leaves the network's epoch for a moment: `intr_epoch_batch`.
const EPOCH_BATCH: u32 = 1000;

/// `ithread_loop()`.
fn ithread_loop(source: &'static Source) {
    let (td, tracker) = (curthread(), Tracker::new());
    loop {
        td.flags.clear(tdf::PARKED);
        if source.dead.get() != 0 {
            source.thread.set(core::ptr::null_mut());
            thread::kthread_exit();
        }
        let net = (source.net.get() != 0).then(epoch::net_epoch_preempt);
        let mut runs = 0;
        if let Some(net) = net {
            // SAFETY: the tracker is on this thread's stack, and free.
            unsafe { net.enter_preempt(&tracker) };
        }
        while source.need.take() != 0 {
            execute_handlers(source);
            throttle(source);
            call(&source.hooks.post_ithread);
            runs += 1;
            if let (Some(net), EPOCH_BATCH) = (net, runs) {
                // SAFETY: as above and below.
                unsafe {
                    net.exit_preempt(&tracker);
                    net.enter_preempt(&tracker);
                }
                runs = 0;
            }
        }
        if let Some(net) = net {
            // SAFETY: this thread entered with it.
            unsafe { net.exit_preempt(&tracker) };
        }
        crate::witness::warn_suspending_ithread();
        if wait(&source.need) {
            source.runs.set(0);
        }
    }
}

/// `ithread_execute_handlers()`.
fn execute_handlers(source: &Source) {
    let sleepable = source.soft || source.sleepable.get() != 0;
    if !sleepable {
        thread::thread_no_sleeping();
    }
    let mut last = None;
    // SAFETY: this is the ithread.
    while let Some(handler) = unsafe { source.after(last) } {
        last = Some(handler.order);
        if let Some(handler) = &handler.ithread {
            cpu::step("ithread", 0);
            let balance = crate::lint::Balance::now();
            handler();
            balance.check("handler");
        }
    }
    if !sleepable {
        thread::thread_sleeping_ok();
    }
}

/// A bystander: an unrelated ithread of the best priority per CPU that an interrupt may wake at any boundary. It does
/// nothing; it opens the windows in which a lock's owner is preempted.
pub fn bystanders() {
    for cpu in 0..cpu::mp_ncpus() {
        let irq = create(&format!("bystander{cpu}"), Arrival::AnyTime, pri::PI_REALTIME, Some(cpu));
        setup(irq, None, Some(Box::new(|| ())), irq.0.into());
    }
}
