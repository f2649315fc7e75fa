//! The scheduler: run queues, priorities, preemption, pinning, binding, and `mi_switch`.
//!
//! The rules are ULE's: a better thread preempts at once only if its priority is at or above `preempt_thresh`, a time slice's
//! end only marks the thread, an idle CPU steals from a CPU that runs one thread and queues another, and never a pinned or
//! bound thread. A wake-up by an interrupt handler stays on its CPU; another goes to the CPU it last ran on if that is
//! idle, else to an idle one, else back.
//!
//! # Deviations from FreeBSD
//!
//! One lock (`Machine::sched`) stands for all thread locks: it is held across the switch and, on `smp`, released by the
//! host loop once the old thread's context is saved, which is what makes migration between host threads safe. Interactivity scores are
//! not computed: a timesharing thread keeps the priority that it was given, apart from what it is lent. A time slice is one tick
//! (FreeBSD: 94 ms shared by the load). One queue per CPU is ordered by priority: the rotation that lets every batch thread
//! run some time is not there, nor is the periodic balancing between busy CPUs. A runnable thread that is lent a priority
//! stays on its CPU's queue, where FreeBSD picks a CPU anew; idle CPUs steal it all the same. sched_prio does not resort a
//! turnstile that its thread is blocked on. A runnable thread whose priority gets worse goes behind those that are better now; FreeBSD leaves
//! it where it is until it has run.
//!
//! References: kern/kern_synch.c (mi_switch), kern/sched_ule.c, sched(9), kern/kern_switch.c.

use crate::atomic::Owned32;
use crate::cpu::{Pcpu, curcpu, machine, pending};
use crate::critical;
use crate::host;
use crate::host::footprint::{key, touch, touch_thread};
use crate::lock::ChainLock;
use crate::machine::{Engine, Preemption};
use crate::panic::{kassert, kpanic, mpass};
use crate::thread::{NOCPU, RCU_DEPTH, RCU_SHORT, State, Thread, curthread, tdf};

/// Priorities (sys/priority.h of FreeBSD 15): lower is more important.
pub mod pri {
    /// Interrupt threads.
    pub const PI_REALTIME: u32 = 0;
    /// Interrupt threads of devices; `PI_AV`, `PI_NET`, `PI_DISK`, `PI_TTY` and `PI_DULL` are the same.
    pub const PI_INTR: u32 = 1;
    /// Software interrupts, softclock among them.
    pub const PI_SOFT: u32 = 2;
    /// Worst of the interrupt threads: where one ends that uses up its time slices.
    pub const PRI_MAX_ITHD: u32 = PRI_MIN_REALTIME - 1;
    /// Best of the real-time class.
    pub const PRI_MIN_REALTIME: u32 = 8;
    /// Best of the kernel's "top half" priorities, of threads of the time-sharing class.
    pub const PRI_MIN_KERN: u32 = 40;
    /// `PVM`: thread0's.
    pub const PVM: u32 = PRI_MIN_KERN + 1;
    /// Default of a sleeping taskqueue or kernel process.
    pub const PWAIT: u32 = PRI_MIN_KERN + 7;
    /// `PLOCK`.
    pub const PLOCK: u32 = PRI_MIN_KERN + 8;
    /// Best time-sharing priority.
    pub const PRI_MIN_TIMESHARE: u32 = 56;
    /// Default of a user thread.
    pub const PUSER: u32 = PRI_MIN_TIMESHARE;
    /// Worst interactive priority: half of the time-sharing range without the 40 that nice needs.
    pub const PRI_MAX_INTERACT: u32 = PRI_MIN_TIMESHARE + (PRI_MAX_TIMESHARE - PRI_MIN_TIMESHARE + 1 - 40) / 2 - 1;
    /// Best priority of a thread that is not interactive.
    pub const PRI_MIN_BATCH: u32 = PRI_MAX_INTERACT + 1;
    /// Worst time-sharing priority.
    pub const PRI_MAX_TIMESHARE: u32 = 223;
    /// Best idle priority.
    pub const PRI_MIN_IDLE: u32 = 224;
    /// Worst priority.
    pub const PRI_MAX: u32 = 255;

    /// `PRI_ITHD`.
    pub const CLASS_ITHD: u32 = 1;
    /// `PRI_REALTIME`.
    pub const CLASS_REALTIME: u32 = 2;
    /// `PRI_TIMESHARE`.
    pub const CLASS_TIMESHARE: u32 = 3;
    /// `PRI_IDLE`.
    pub const CLASS_IDLE: u32 = 4;

    /// The class of a thread that nobody gives one to: kernel threads inherit thread0's, whatever their priority; the others are taken
    /// for user threads that rtprio(2) or idprio(2) was called for.
    pub(crate) fn class_of(priority: u32) -> u32 {
        match priority {
            PRI_MIN_REALTIME..PRI_MIN_KERN => CLASS_REALTIME,
            PRI_MIN_IDLE.. => CLASS_IDLE,
            _ => CLASS_TIMESHARE,
        }
    }
}

/// `SW_*`.
pub mod sw {
    /// `SW_TYPE_MASK`.
    pub const TYPE_MASK: u32 = 0xff;
    /// Voluntary.
    pub const VOL: u32 = 0x100;
    /// Involuntary.
    pub const INVOL: u32 = 0x200;
    /// A preemption.
    pub const PREEMPT: u32 = 0x400;
}

/// `SWT_*`: why a switch happens.
pub mod swt {
    /// No reason: an error.
    pub const NONE: u32 = 0;
    /// Of a critical section's end.
    pub const OWEPREEMPT: u32 = 1;
    /// Blocking on a turnstile.
    pub const TURNSTILE: u32 = 2;
    /// Sleeping on a sleep queue.
    pub const SLEEPQ: u32 = 3;
    /// `sched_relinquish`.
    pub const RELINQUISH: u32 = 4;
    /// The end of a time slice at the return to user mode.
    pub const NEEDRESCHED: u32 = 5;
    /// The idle thread found work.
    pub const IDLE: u32 = 6;
    /// An ithread waits for its interrupt.
    pub const IWAIT: u32 = 7;
    /// `SWT_SUSPEND`.
    pub const SUSPEND: u32 = 8;
    /// A remote CPU queued a better thread.
    pub const REMOTEPREEMPT: u32 = 9;
    /// The idle thread was asked by another CPU.
    pub const REMOTEWAKEIDLE: u32 = 10;
    /// `sched_bind`.
    pub const BIND: u32 = 11;
    /// Number of reasons.
    pub const COUNT: u32 = 12;
}

/// What a machine's CPUs share to schedule.
#[derive(Debug)]
pub(crate) struct Sched {
    /// Stands for all thread locks.
    pub(crate) lock: ChainLock,
    /// (t) Threads in the run queues of all CPUs.
    pub(crate) queued: Owned32,
}

impl Sched {
    pub(crate) fn new() -> Self {
        Self { lock: ChainLock::new(), queued: Owned32::new(0) }
    }
}

/// `thread_lock()`.
pub(crate) fn thread_lock(_td: &Thread) {
    critical::spinlock_enter_internal();
    machine().sched.lock.lock_raw();
}

/// `thread_unlock()`.
pub(crate) fn thread_unlock(_td: &Thread) {
    machine().sched.lock.unlock_raw();
    critical::spinlock_exit_internal();
}

/// `mi_switch()`: gives the CPU away; entered with the thread lock held, returns without it.
///
/// # Panics
///
/// FreeBSD's own, in its order, under INVARIANTS; above all `mi_switch: switch in a critical section`.
pub fn mi_switch(flags: u32) {
    let td = curthread();
    kassert!(td.state() != State::RunQ, "mi_switch: called by old code");
    if !td.is_on_lock() && !td.is_running() {
        crate::giant::assert_not_owned();
    }
    kassert!(td.critnest.get() == 1, "mi_switch: switch in a critical section");
    kassert!(flags & (sw::INVOL | sw::VOL) != 0, "mi_switch: switch must be voluntary or involuntary");
    kassert!(flags & sw::TYPE_MASK != swt::NONE, "mi_switch: a switch reason (type) must be specified");
    kassert!(flags & sw::TYPE_MASK < swt::COUNT, "mi_switch: invalid switch reason {}", flags & sw::TYPE_MASK);
    if crate::cpu::scheduler_stopped() {
        machine().sched.lock.unlock_raw();
        return;
    }
    sched_switch(td, flags);
    critical::spinlock_exit_internal();
    if flags & sw::VOL == 0 {
        // Who gave its CPU up goes on with what it waited for; who was preempted, with something else.
        host::explore::forget_operand(td);
    }
    resumed();
}

/// What every thread does when it is on a CPU again.
#[inline]
pub(crate) fn resumed() {
    if !curthread().is_idle() {
        crate::cpu::step("resume", 0);
    }
}

/// `sched_switch()`: puts `td` where it belongs and runs the best thread. Returns when `td` runs again, with `td`'s
/// spinlock section still open and the scheduler's lock free.
fn sched_switch(td: &Thread, flags: u32) {
    let cpu = curcpu();
    settle();
    td.lastcpu.set(cpu.cpuid as i32);
    td.owepreempt.set(0);
    // A preempted thread is first among its equals, unless its time slice is over.
    let preempted = flags & sw::PREEMPT != 0 && td.flags.get() & tdf::SLICEEND == 0;
    if td.flags.get() & (tdf::NEEDRESCHED | tdf::SLICEEND) != 0 {
        td.flags.clear(tdf::NEEDRESCHED | tdf::SLICEEND);
    }
    if td.is_idle() {
        td.set_state(State::CanRun);
    } else if td.state() == State::Running {
        let at = if td.flags.get() & tdf::BOUND != 0 { td.tscpu.get() as usize } else { cpu.cpuid };
        runq_add(&machine().cpus[at], td, preempted);
        if at != cpu.cpuid {
            notify(&machine().cpus[at], td.priority.get());
        }
    }
    td.oncpu.set(NOCPU);
    let next = choosethread(cpu);
    if core::ptr::eq(next, td) {
        td.set_state(State::Running);
        td.oncpu.set(cpu.cpuid as i32);
        machine().sched.lock.unlock_raw();
        return;
    }
    host::switch_to(cpu, next);
}

/// Called by the host with the scheduler's lock held and the old thread's context saved, or where nobody else could go on with that.
pub(crate) fn finish_switch(cpu: &Pcpu, next: &Thread) {
    touch(key::LOAD + cpu.cpuid, 1, true);
    cpu.curthread.set(next.ptr());
    next.oncpu.set(cpu.cpuid as i32);
    next.set_state(State::Running);
    next.switches.add(1);
    machine().sched.lock.unlock_raw();
}

/// The end of a thread: its CPU goes on with another. Comes back, if at all, to let the coroutine return.
pub(crate) fn thread_exit() {
    let td = curthread();
    crate::witness::thread_exit(td);
    settle();
    thread_lock(td);
    td.set_state(State::Inactive);
    td.oncpu.set(NOCPU);
    let cpu = curcpu();
    host::exit_to(cpu, choosethread(cpu));
}

/// `sched_choose()`: dequeues the best thread of this CPU, or the idle thread.
fn choosethread(cpu: &Pcpu) -> &'static Thread {
    touch(key::LOAD + cpu.cpuid, 1, true);
    // SAFETY: (t) the scheduler's lock is held; threads are type-stable.
    unsafe {
        let runq = cpu.runq.get();
        if runq.is_empty() {
            return &*cpu.idlethread.get();
        }
        touch_queue(cpu);
        queued_less(cpu);
        &*runq.remove(0)
    }
}

/// `tdq_runq_add()`: best priority first; behind its equals, or before them if it was preempted.
fn runq_add(cpu: &Pcpu, td: &Thread, preempted: bool) {
    touch(key::LOAD + cpu.cpuid, 1, true);
    let priority = td.priority.get();
    td.tscpu.set(cpu.cpuid as i32);
    td.set_state(State::RunQ);
    // SAFETY: (t) the scheduler's lock is held.
    let runq = unsafe { cpu.runq.get() };
    let at = runq
        .iter()
        // SAFETY: threads are type-stable.
        .position(|&other| unsafe {
            let other = (*other).priority.get();
            if preempted { other >= priority } else { other > priority }
        })
        .unwrap_or(runq.len());
    touch_queue(cpu);
    host::heap::aside(|| runq.insert(at, td.ptr()));
    cpu.queued.add(1);
    machine().sched.queued.add(1);
}

/// The CPU's queue changes, by one: so may whether others find a thread to take. Of one that idles they take none; it goes on with the
/// first of its own.
fn touch_queue(cpu: &Pcpu) {
    if !cpu.is_idle() || cpu.queued.get() > 1 {
        touch(key::STEAL + cpu.cpuid, 1, true);
    }
}

/// A thread was taken from the CPU's queue; the scheduler's lock is held.
fn queued_less(cpu: &Pcpu) {
    cpu.queued.sub(1);
    machine().sched.queued.sub(1);
}

/// `sched_rem()`.
fn runq_remove(td: &Thread) {
    let cpu = &machine().cpus[td.tscpu.get() as usize];
    touch(key::LOAD + cpu.cpuid, 1, true);
    touch_queue(cpu);
    // SAFETY: (t) the scheduler's lock is held.
    unsafe { cpu.runq.get() }.retain(|&other| other != td.ptr());
    queued_less(cpu);
}

/// `sched_add()` for a thread that becomes runnable; the scheduler's lock is held.
fn sched_add(td: &Thread) {
    let cpu = pickcpu(td);
    runq_add(cpu, td, false);
    if cpu.cpuid == curcpu().cpuid {
        setpreempt(td.priority.get());
        // An idle CPU's own interrupt queued work for it.
    } else {
        notify(cpu, td.priority.get());
    }
}

/// `sched_pickcpu()`.
fn pickcpu(td: &Thread) -> &'static Pcpu {
    let m = machine();
    let me = curcpu();
    if m.cpus.len() == 1 {
        return me;
    }
    let last = td.lastcpu.get() as usize;
    if td.flags.get() & tdf::BOUND != 0 {
        return &m.cpus[td.tscpu.get() as usize];
    }
    if td.pinned.get() != 0 {
        return &m.cpus[last];
    }
    // "Prefer to run interrupt threads on the processors that generate the interrupt."
    if td.priority.get() < pri::PRI_MIN_REALTIME && curthread().intr_nesting_level.get() != 0 {
        return me;
    }
    let idle = |cpu: &Pcpu| {
        touch(key::LOAD + cpu.cpuid, 1, false);
        // SAFETY: (t) the scheduler's lock is held.
        cpu.is_idle() && unsafe { cpu.runq.get() }.is_empty()
    };
    let default =
        if idle(&m.cpus[last]) { last } else { m.cpus.iter().find(|cpu| idle(cpu)).map_or(last, |cpu| cpu.cpuid) };
    &m.cpus[host::migrate(default)]
}

/// `sched_shouldpreempt()`.
fn shouldpreempt(priority: u32, current: u32, remote: bool) -> bool {
    if priority >= current {
        return false;
    }
    if current >= pri::PRI_MIN_IDLE {
        return true;
    }
    let threshold = match machine().config.preemption {
        Preemption::Ule => pri::PRI_MIN_KERN,
        Preemption::Full | Preemption::Any => pri::PRI_MAX,
    };
    priority <= threshold || remote && priority <= pri::PRI_MAX_INTERACT && current > pri::PRI_MAX_INTERACT
}

/// `sched_setpreempt()`: a thread of `priority` was queued on this CPU.
fn setpreempt(priority: u32) {
    let td = curthread();
    touch_thread(td, false);
    let current = td.priority.get();
    if priority < current {
        td.flags.or(tdf::NEEDRESCHED);
    }
    if td.state() == State::Inhibited || !shouldpreempt(priority, current, false) {
        return;
    }
    td.owepreempt.set(1);
}

/// `tdq_notify()`: a thread of `priority` was queued on another CPU.
fn notify(cpu: &Pcpu, priority: u32) {
    touch(key::LOAD + cpu.cpuid, 1, false);
    touch_thread(cpu.current(), false);
    if cpu.is_idle() || shouldpreempt(priority, cpu.current().priority.get(), true) {
        cpu.post(pending::IPI_PREEMPT);
    }
}

/// `explore`: whether the IPI that waits on `cpu` would take it away from its thread at once.
pub(crate) fn ipi_preempts(cpu: &Pcpu) -> bool {
    let td = cpu.current();
    // SAFETY: between transitions; threads are type-stable.
    let best = unsafe { cpu.runq.get().first().map(|&td| (*td).priority.get()) };
    !td.is_idle()
        && td.critnest.get() == 0
        && cpu.pending.get() & pending::IPI_PREEMPT != 0
        && best.is_some_and(|best| best < td.priority.get())
}

/// `ipi_preempt`: runs in an interrupt frame, that is, inside a critical section.
pub(crate) fn ipi_preempt() {
    let td = curthread();
    let m = machine();
    // Interrupts are off while the lock is held, so this frame cannot have interrupted its holder on this CPU.
    m.sched.lock.lock_raw();
    touch(key::LOAD + curcpu().cpuid, 1, false);
    touch_thread(td, false);
    // SAFETY: (t) the scheduler's lock is held; threads are type-stable.
    let best = unsafe { curcpu().runq.get() }.first().map(|&td| unsafe { (*td).priority.get() });
    m.sched.lock.unlock_raw();
    if best.is_some_and(|best| best < td.priority.get()) && !td.is_idle() {
        td.owepreempt.set(1);
    }
}

/// The end of a time slice: `sched_clock()`. Marks the thread; in [`Preemption::Any`] preempts it. An interrupt thread is
/// preempted, and demoted so that others of its old priority get their turn.
pub(crate) fn sched_clock() {
    let td = curthread();
    if td.is_idle() {
        return;
    }
    if td.pri_class.get() == pri::CLASS_ITHD {
        thread_lock(td);
        td.owepreempt.set(1);
        if td.base_pri.get() + 1 < pri::PRI_MAX_ITHD {
            prio_locked(td, td.base_pri.get() + 1);
        }
        thread_unlock(td);
        return;
    }
    td.flags.or(tdf::NEEDRESCHED | tdf::SLICEEND);
    touch(key::LOAD + curcpu().cpuid, 1, false);
    if machine().config.preemption == Preemption::Any && curcpu().queued.get() != 0 {
        td.owepreempt.set(1);
    }
}

/// Whether time, and interrupts that have nothing to do with the matter, would take `cpu` away from the thread that spins there:
/// in [`Preemption::Any`] a tick does. Otherwise an interrupt thread is demoted at the end of each time slice, down to the worst
/// but one of its class; and any interrupt thread that comes along puts a thread whose slice is over behind its equals.
pub(crate) fn time_preempts(cpu: &Pcpu) -> bool {
    let td = cpu.current();
    if td.is_idle() || td.critnest.get() != 0 {
        return false;
    }
    // SAFETY: between transitions; threads are type-stable.
    let Some(best) = (unsafe { cpu.runq.get().first().map(|&td| (*td).priority.get()) }) else { return false };
    match machine().config.preemption {
        Preemption::Any => true,
        _ if td.pri_class.get() == pri::CLASS_ITHD => {
            td.flags.get() & tdf::BORROWING == 0 && best < pri::PRI_MAX_ITHD - 1
        }
        _ => best <= td.priority.get(),
    }
}

/// What [`time_preempts`] foresees comes with the next tick.
pub(crate) fn force_preemption(cpu: &Pcpu) {
    let td = cpu.current();
    if td.pri_class.get() != pri::CLASS_ITHD {
        td.flags.or(tdf::SLICEEND);
    }
    td.owepreempt.set(1);
}

/// `setrunnable()`/`sched_wakeup()`: if the thread's last inhibitor is gone, it queues. The scheduler's lock is held.
///
/// # Panics
///
/// `setrunnable: state 0x%x`: the thread has exited.
pub(crate) fn setrunnable(td: &Thread) {
    match td.state() {
        State::CanRun => {}
        State::Running | State::RunQ | State::Inhibited => return,
        State::Inactive => kpanic!("setrunnable: state 0x{:x}", td.state() as u32),
    }
    // An interrupt thread that waits for its interrupt was demoted for what it did for an earlier one.
    if td.pri_class.get() == pri::CLASS_ITHD
        && td.flags.get() & tdf::PARKED != 0
        && td.base_pri.get() != td.user_pri.get()
    {
        prio_locked(td, td.user_pri.get());
    }
    sched_add(td);
}

/// `sched_sleep()`: sleeping makes a thread of the time-sharing class as good as the best that is not interactive
/// (`kern.sched.static_boost`; the priority that sleep(9) is given counts for nothing by default). The scheduler's lock is held.
pub(crate) fn sched_sleep(td: &Thread) {
    if td.pri_class.get() == pri::CLASS_TIMESHARE && td.priority.get() > pri::PRI_MIN_BATCH {
        prio_locked(td, pri::PRI_MIN_BATCH);
    }
}

/// `sched_userret()`: user mode runs at user priority.
///
/// # Panics
///
/// `thread with borrowed priority returning to userland` (INVARIANTS): a lock that somebody waits for is still held.
pub(crate) fn userret(td: &Thread) {
    kassert!(td.flags.get() & tdf::BORROWING == 0, "thread with borrowed priority returning to userland");
    if td.priority.get() != td.user_pri.get() {
        thread_lock(td);
        td.priority.set(td.user_pri.get());
        td.base_pri.set(td.user_pri.get());
        thread_unlock(td);
    }
}

/// A new thread's way onto a run queue.
pub(crate) fn add_new(td: &'static Thread, cpu: Option<usize>) {
    let me = curthread();
    let to = match cpu {
        Some(cpu) if cpu < machine().cpus.len() => cpu,
        _ => host::place(machine().cpus.len()),
    };
    thread_lock(me);
    td.lastcpu.set(to as i32);
    let to = &machine().cpus[to];
    runq_add(to, td, false);
    if to.cpuid == curcpu().cpuid {
        setpreempt(td.priority.get());
    } else {
        notify(to, td.priority.get());
    }
    thread_unlock(me);
}

/// Whether an idle `cpu` finds a thread: its own, or one to steal.
pub(crate) fn runnable(cpu: &Pcpu) -> bool {
    touch(key::LOAD + cpu.cpuid, 1, false);
    if cpu.queued.get() != 0 {
        return true;
    }
    if explored() {
        // SAFETY: between transitions, on the only host thread.
        return unsafe { steal_from(cpu) }.is_some();
    }
    // A stale look: who acts on it looks again under the lock.
    machine().cpus.iter().any(|other| other.cpuid != cpu.cpuid && !other.is_idle() && other.queued.get() != 0)
}

/// `tdq_idled()`: the CPU and the place in its queue of the first thread that an idle `cpu` may steal.
///
/// # Safety
///
/// The run queues do not change meanwhile.
unsafe fn steal_from(cpu: &Pcpu) -> Option<(usize, usize)> {
    let m = machine();
    m.cpus.iter().filter(|other| other.cpuid != cpu.cpuid).find_map(|other| {
        touch(key::LOAD + other.cpuid, 1, false);
        if other.queued.get() == 0 || other.is_idle() {
            return None;
        }
        // SAFETY: the caller's promise; threads are type-stable.
        let queue = unsafe { other.runq.get() };
        let at = queue.iter().position(|&td| {
            // SAFETY: threads are type-stable.
            let td = unsafe { &*td };
            td.pinned.get() == 0 && td.flags.get() & tdf::BOUND == 0 && td.tscpu.get() as usize == other.cpuid
        })?;
        Some((other.cpuid, at))
    })
}

/// The idle thread's body: takes what this CPU has or can steal, else waits in the host.
pub(crate) fn idletd() -> ! {
    crate::thread::thread_no_sleeping();
    loop {
        let td = curthread();
        let cpu = curcpu();
        if runnable(cpu) {
            thread_lock(td);
            // SAFETY: (t) the scheduler's lock is held.
            unsafe {
                if cpu.runq.get().is_empty()
                    && let Some((other, at)) = steal_from(cpu)
                {
                    let other = &machine().cpus[other];
                    touch(key::LOAD + other.cpuid, 1, true);
                    touch_queue(other);
                    let stolen = other.runq.get().remove(at);
                    queued_less(other);
                    runq_add(cpu, &*stolen, false);
                }
                if cpu.runq.get().is_empty() {
                    thread_unlock(td);
                } else {
                    mi_switch(sw::VOL | swt::IDLE);
                }
            }
        }
        host::idle();
    }
}

/// Before the running thread's `td_pinned` is looked at or it leaves its CPU: adds the pins of a reader under an rmlock that has only
/// left its tracker, and of one in a section of RCU whose word has to stand for its pin.
#[inline]
pub fn settle() {
    crate::rmlock::settle();
    let td = curthread();
    let sections = td.lkpi_rcu.get();
    if sections & RCU_SHORT != 0 && sections & RCU_DEPTH != 0 {
        td.lkpi_rcu.set(sections & !RCU_SHORT);
        td.pinned.add(1);
    }
}

/// `td_pinned` of the running thread.
pub(crate) fn pins() -> i32 {
    settle();
    curthread().pinned.get()
}

/// What sched_bind() asserts of `td`, the running thread.
pub(crate) fn assert_migratable(td: &Thread) {
    kassert!(pins() == i32::from(is_bound(td)), "{:p} must be migratable", td.ptr());
}

/// `sched_pin()`: no migration until [`sched_unpin`]. Preemption stays possible.
#[inline]
pub fn sched_pin() {
    if crate::cpu::step("sched_pin", 0) {
        curthread().pinned.nest();
    }
}

/// `sched_unpin()`.
///
/// # Panics
///
/// MPASS `curthread->td_pinned > 0` (INVARIANTS).
#[inline]
#[track_caller]
pub fn sched_unpin() {
    if crate::cpu::step("sched_unpin", 0) {
        let td = curthread();
        mpass!(pins() > 0, "curthread->td_pinned > 0", crate::lock::Loc::caller());
        td.pinned.unnest();
    }
}

/// `sched_bind()`: moves the caller to `cpu` and keeps it there. May switch, so not in a critical section.
///
/// # Panics
///
/// `%p must be migratable` if the caller is pinned (INVARIANTS); FreeBSD's mi_switch checks when it has to move.
pub fn sched_bind(cpu: usize) {
    if !crate::cpu::step("sched_bind", 0) {
        return;
    }
    let td = curthread();
    assert_migratable(td);
    thread_lock(td);
    if bind_locked(td, cpu) {
        mi_switch(sw::VOL | swt::BIND);
    } else {
        thread_unlock(td);
    }
}

/// `sched_is_bound()`.
pub(crate) fn is_bound(td: &Thread) -> bool {
    td.flags.get() & tdf::BOUND != 0
}

/// [`sched_bind`] with the scheduler's lock held; returns whether the caller has to switch.
pub(crate) fn bind_locked(td: &Thread, cpu: usize) -> bool {
    unbind_locked(td);
    td.flags.or(tdf::BOUND);
    td.tscpu.set(cpu as i32);
    td.pinned.add(1);
    curcpu().cpuid != cpu
}

/// `sched_unbind()`.
pub fn sched_unbind() {
    if !crate::cpu::step("sched_unbind", 0) {
        return;
    }
    let td = curthread();
    thread_lock(td);
    unbind_locked(td);
    thread_unlock(td);
}

/// [`sched_unbind`] with the scheduler's lock held.
pub(crate) fn unbind_locked(td: &Thread) {
    if is_bound(td) {
        td.flags.clear(tdf::BOUND);
        td.pinned.sub(1);
    }
}

/// `sched_relinquish()`: yields to threads of equal or better priority.
pub fn sched_relinquish() {
    if !crate::cpu::step("sched_relinquish", 0) {
        return;
    }
    let td = curthread();
    thread_lock(td);
    mi_switch(sw::VOL | swt::RELINQUISH);
}

/// `kern_yield()`: drops to `priority` first.
pub fn kern_yield(priority: u32) {
    if !crate::cpu::step("kern_yield", 0) {
        return;
    }
    let td = curthread();
    thread_lock(td);
    prio_locked(td, priority);
    mi_switch(sw::VOL | swt::RELINQUISH);
}

/// `sched_thread_priority()`: the scheduler's lock is held.
fn thread_priority(td: &Thread, priority: u32) {
    touch_thread(td, true);
    if td.priority.get() == priority {
        return;
    }
    td.priority.set(priority);
    if td.state() == State::RunQ {
        let cpu = &machine().cpus[td.tscpu.get() as usize];
        runq_remove(td);
        runq_add(cpu, td, false);
        if cpu.cpuid == curcpu().cpuid {
            setpreempt(priority);
        } else {
            notify(cpu, priority);
        }
    }
}

/// `sched_lend_prio()`: the scheduler's lock is held.
pub(crate) fn lend_prio(td: &Thread, priority: u32) {
    td.flags.or(tdf::BORROWING);
    thread_priority(td, priority);
}

/// `sched_unlend_prio()`: `priority` is the best that other contested locks still lend. The scheduler's lock is held.
pub(crate) fn unlend_prio(td: &Thread, priority: u32) {
    let base = if td.base_pri.get() >= pri::PRI_MIN_TIMESHARE && td.base_pri.get() <= pri::PRI_MAX_TIMESHARE {
        td.user_pri.get()
    } else {
        td.base_pri.get()
    };
    if priority >= base {
        td.flags.clear(tdf::BORROWING);
        thread_priority(td, base);
    } else {
        lend_prio(td, priority);
    }
}

/// `sched_prio()`: changes the caller-visible base priority of `td`.
pub fn sched_prio(td: &Thread, priority: u32) {
    let me = curthread();
    thread_lock(me);
    prio_locked(td, priority);
    thread_unlock(me);
}

/// [`sched_prio`] with the scheduler's lock held.
pub(crate) fn prio_locked(td: &Thread, priority: u32) {
    td.base_pri.set(priority);
    if td.flags.get() & tdf::BORROWING == 0 || td.priority.get() > priority {
        thread_priority(td, priority);
    }
}

/// Whether the run must drive CPUs itself.
pub(crate) fn explored() -> bool {
    machine().engine == Engine::Explore
}
