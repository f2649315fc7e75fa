//! callout(9): functions that run when virtual time has passed, and the clock itself.
//!
//! The clock interrupt ends timed sleeps and runs direct callouts; the others run in their CPU's softclock thread, an ithread of
//! priority PI_SOFT that may block on a mutex but not sleep.
//!
//! Virtual time in `explore`: it advances by one tick when the schedule says so, and jumps to the next deadline when nothing
//! else can move. In `smp` a tick is a millisecond.
//!
//! References: kern/kern_timeout.c, callout(9).

use crate::atomic::{Counter64, Guarded, OwnedPtr, Shared32};
use crate::cpu::{self, curcpu, machine};
use crate::lock::{ChainLock, Loc, LockClass, LockObject, lc_lock, lc_unlock};
use crate::panic::kassert;
use crate::sched::{self, pri, sw, swt};
use crate::thread::{self, Kthread, Thread, curthread, tdf, tdi};
use bitflags::bitflags;

bitflags! {
    /// Flags of a callout.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Cf: u32 {
        /// `CALLOUT_RETURNUNLOCKED`: the handler drops the lock.
        const RETURNUNLOCKED = 0x10;
        /// `CALLOUT_SHAREDLOCK`.
        const SHAREDLOCK = 0x20;
        /// `C_DIRECT_EXEC`: runs in the clock interrupt.
        const DIRECT_EXEC = 0x1;
    }
}

/// The clocks of a machine.
#[derive(Debug)]
pub(crate) struct Callouts {
    /// Virtual time, in ticks.
    ticks: Counter64,
    lock: ChainLock,
    /// (lock) Pending callouts of all CPUs, in the order in which they were set.
    pending: Guarded<Vec<Entry>>,
    /// (sched) softclock threads, by CPU.
    threads: [OwnedPtr<Thread>; cpu::MAXCPU],
    /// Work for the softclock threads.
    need: [Shared32; cpu::MAXCPU],
    /// (lock) The callout that each CPU runs.
    running: Guarded<[usize; cpu::MAXCPU]>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    callout: *const Callout,
    deadline: u64,
    cpu: usize,
}

impl Callouts {
    pub(crate) fn new() -> Self {
        Self {
            ticks: Counter64::new(1),
            lock: ChainLock::new(),
            pending: Guarded::new(Vec::new()),
            threads: [const { OwnedPtr::null() }; cpu::MAXCPU],
            need: [const { Shared32::new(0) }; cpu::MAXCPU],
            running: Guarded::new([0; cpu::MAXCPU]),
        }
    }

    pub(crate) fn reset(&self) {
        self.ticks.set(1);
        self.lock.unlock_raw();
        // SAFETY: between executions nobody else is running.
        unsafe {
            self.pending.get().clear();
            *self.running.get() = [0; cpu::MAXCPU];
        }
        for at in 0..cpu::MAXCPU {
            self.threads[at].set(core::ptr::null_mut());
            self.need[at].set(0);
        }
    }
}

/// `ticks`: virtual time in ticks of a millisecond.
pub fn now() -> u64 {
    machine().callouts.ticks.get()
}

/// What a callout runs.
#[derive(Clone)]
pub enum Handler {
    /// `callout_func_t` and its argument.
    Func(unsafe extern "C-unwind" fn(*mut core::ffi::c_void), *mut core::ffi::c_void),
    /// A closure.
    Closure(std::rc::Rc<dyn Fn()>),
}

impl Handler {
    fn call(&self) {
        match self {
            // SAFETY: who set the callout vouched for the function and its argument until the callout is drained.
            Self::Func(func, arg) => unsafe { func(*arg) },
            Self::Closure(closure) => closure(),
        }
    }
}

impl core::fmt::Debug for Handler {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Handler")
    }
}

impl From<std::rc::Rc<dyn Fn()>> for Handler {
    fn from(closure: std::rc::Rc<dyn Fn()>) -> Self {
        Self::Closure(closure)
    }
}

/// A callout: `struct callout`. Pinned by use: it must not move while pending.
pub struct Callout {
    lock: OwnedPtr<LockObject>,
    flags: Shared32,
    handler: Guarded<Option<Handler>>,
    active: Shared32,
    cpu: Shared32,
}

impl core::fmt::Debug for Callout {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Callout({})", if self.active.get() != 0 { "active" } else { "idle" })
    }
}

// SAFETY: the handler is set before the callout is pending and run by one softclock thread at a time.
unsafe impl Sync for Callout {}
// SAFETY: the count of the handler's `Rc` changes only under the callouts' lock, or alone at set-up, whatever the host thread.
unsafe impl Send for Callout {}

impl Default for Callout {
    fn default() -> Self {
        Self::new()
    }
}

impl Callout {
    /// A callout that was not initialised: like `callout_init(c, 1)`, mpsafe, without a lock.
    pub const fn new() -> Self {
        Self {
            lock: OwnedPtr::null(),
            flags: Shared32::new(0),
            handler: Guarded::new(None),
            active: Shared32::new(0),
            cpu: Shared32::new(u32::MAX),
        }
    }

    /// `_callout_init_lock()`: the handler runs with `lock` held.
    ///
    /// # Panics
    ///
    /// Rows 110 and 111 of the misuse table (INVARIANTS).
    pub fn init_lock(&self, lock: Option<&LockObject>, flags: Cf) {
        if !cpu::step("callout_init", 0) {
            return;
        }
        kassert!(
            flags.bits() & !(Cf::RETURNUNLOCKED | Cf::SHAREDLOCK).bits() == 0,
            "callout_init_lock: bad flags {}",
            flags.bits()
        );
        kassert!(
            lock.is_some() || !flags.contains(Cf::RETURNUNLOCKED),
            "callout_init_lock: CALLOUT_RETURNUNLOCKED with no lock"
        );
        kassert!(
            lock.is_none_or(|lock| !lock.class().is_sleepable()),
            "_callout_init_lock: callout {:p} has sleepable lock",
            core::ptr::from_ref(self)
        );
        self.lock.set(lock.map_or(core::ptr::null_mut(), |lock| core::ptr::from_ref(lock).cast_mut()));
        self.flags.set(flags.bits());
    }

    /// `callout_reset_sbt_on()`: runs `handler` after `ticks` on `cpu` (`None`: where it was, or here). Returns whether a
    /// pending one was replaced.
    ///
    /// # Panics
    ///
    /// Rows 112 and 113 of the misuse table (INVARIANTS).
    pub fn reset(&self, ticks: u64, handler: impl Into<Handler>, cpu: Option<usize>, flags: Cf) -> bool {
        if !cpu::step("callout_reset", 0) {
            return false;
        }
        let m = machine();
        if let Some(cpu) = cpu {
            kassert!(cpu < m.cpus.len(), "callout_reset_sbt_on: invalid cpu {cpu}");
        }
        let lock = self.lock.get();
        // SAFETY: the caller of init_lock keeps the lock alive as long as the callout.
        let spin_or_none = lock.is_null() || unsafe { (*lock).class() } == LockClass::MtxSpin;
        kassert!(
            !flags.contains(Cf::DIRECT_EXEC) || spin_or_none,
            "callout_reset_sbt_on: direct callout {:p} has non-spin lock",
            core::ptr::from_ref(self)
        );
        let cpu = cpu.unwrap_or_else(|| match self.cpu.get() {
            u32::MAX => curcpu().cpuid,
            cpu => cpu as usize,
        });
        softclock_thread(cpu);
        m.callouts.lock.lock();
        // SAFETY: (lock) is held.
        let replaced = unsafe {
            let pending = m.callouts.pending.get();
            let before = pending.len();
            pending.retain(|entry| !core::ptr::eq(entry.callout, self));
            let replaced = pending.len() != before;
            *self.handler.get() = Some(handler.into());
            self.cpu.set(cpu as u32);
            self.active.set(1);
            self.flags.set(self.flags.get() & !Cf::DIRECT_EXEC.bits() | flags.bits() & Cf::DIRECT_EXEC.bits());
            pending.push(Entry { callout: self, deadline: now() + ticks.max(1), cpu });
            replaced
        };
        m.callouts.lock.unlock();
        replaced
    }

    /// `callout_pending()`.
    pub fn pending(&self) -> bool {
        let m = machine();
        m.callouts.lock.lock();
        // SAFETY: (lock) is held.
        let pending = unsafe { m.callouts.pending.get() }.iter().any(|entry| core::ptr::eq(entry.callout, self));
        m.callouts.lock.unlock();
        pending
    }

    /// `callout_stop()`: returns 1 if it was pending, 0 if it runs now, -1 if neither.
    pub fn stop(&self) -> i32 {
        if !cpu::step("callout_stop", 0) {
            return 1;
        }
        let m = machine();
        m.callouts.lock.lock();
        // SAFETY: (lock) is held.
        let result = unsafe {
            let pending = m.callouts.pending.get();
            let before = pending.len();
            pending.retain(|entry| !core::ptr::eq(entry.callout, self));
            if pending.len() != before {
                self.active.set(0);
                1
            } else if m.callouts.running.get().contains(&(core::ptr::from_ref(self) as usize)) {
                0
            } else {
                -1
            }
        };
        m.callouts.lock.unlock();
        result
    }

    /// `callout_drain()`: stops it and waits until it does not run. May sleep.
    ///
    /// Prints `calling _callout_stop_safe with the following non-sleepable locks held:` under WITNESS.
    #[track_caller]
    pub fn drain(&self) -> i32 {
        crate::witness::warn(None, Loc::caller(), "calling _callout_stop_safe");
        let mut result = self.stop();
        let mut waited = false;
        while result == 0 && !cpu::scheduler_stopped() {
            crate::sleep::pause("codrain", 1);
            waited = true;
            result = self.stop();
        }
        if waited { 0 } else { result }
    }
}

/// The softclock thread of a CPU, made when first needed.
fn softclock_thread(cpu: usize) {
    let c = &machine().callouts;
    if !c.threads[cpu].get().is_null() {
        return;
    }
    let name = format!("clock ({cpu})");
    let td = thread::create(
        Kthread { name: &name, priority: pri::PI_SOFT, flags: tdf::KPROC | tdf::PARKED | tdf::BOUND, cpu: Some(cpu) },
        move || softclock(cpu),
    );
    td.inhibit(tdi::IWAIT);
    td.lastcpu.set(cpu as i32);
    td.tscpu.set(cpu as i32);
    td.pinned.set(1);
    c.threads[cpu].set(td.ptr());
}

/// `softclock_thread()`.
fn softclock(cpu: usize) {
    let td = curthread();
    loop {
        td.flags.clear(tdf::PARKED);
        let c = &machine().callouts;
        while c.need[cpu].take() != 0 {
            while let Some(due) = next_due(cpu, false) {
                run(due, cpu);
            }
        }
        sched::thread_lock(td);
        if c.need[cpu].get() == 0 && !cpu::scheduler_stopped() {
            td.inhibit(tdi::IWAIT);
            td.flags.or(tdf::PARKED);
            sched::mi_switch(sw::VOL | swt::IWAIT);
        } else {
            sched::thread_unlock(td);
        }
    }
}

/// What is to run, copied under the lock: the callout may be set again meanwhile.
struct Due {
    lock: *mut LockObject,
    flags: Cf,
    handler: Option<Handler>,
}

/// Takes the first due callout of `cpu` off the list.
fn next_due(cpu: usize, direct: bool) -> Option<Due> {
    let m = machine();
    let time = now();
    m.callouts.lock.lock();
    // SAFETY: (lock); a pending callout is alive.
    let due = unsafe {
        let pending = m.callouts.pending.get();
        let at = pending.iter().position(|entry| {
            entry.cpu == cpu
                && entry.deadline <= time
                && ((*entry.callout).flags.get() & Cf::DIRECT_EXEC.bits() != 0) == direct
        });
        at.map(|at| {
            let callout = pending.remove(at).callout;
            m.callouts.running.get()[cpu] = callout as usize;
            let c = &*callout;
            Due { lock: c.lock.get(), flags: Cf::from_bits_retain(c.flags.get()), handler: c.handler.get().clone() }
        })
    };
    m.callouts.lock.unlock();
    due
}

/// `softclock_call_cc()`.
fn run(due: Due, cpu: usize) {
    let Due { lock, flags, handler } = due;
    if !lock.is_null() {
        // SAFETY: whoever set the callout keeps its lock alive until the callout is drained.
        unsafe { lc_lock(&*lock, usize::from(flags.contains(Cf::SHAREDLOCK)), Loc::caller()) };
    }
    thread::thread_no_sleeping();
    cpu::step("callout", 0);
    let balance = crate::lint::Balance::now();
    if let Some(handler) = &handler {
        handler.call();
    }
    balance.check("callout");
    thread::thread_sleeping_ok();
    let m = machine();
    m.callouts.lock.lock();
    // SAFETY: (lock) is held.
    unsafe { m.callouts.running.get()[cpu] = 0 };
    // Here, since the count of an `Rc` is guarded by the same lock as the callout that has the other one.
    drop(handler);
    m.callouts.lock.unlock();
    if !lock.is_null() && !flags.contains(Cf::RETURNUNLOCKED) {
        // SAFETY: whoever set the callout keeps its lock alive until the callout is drained; the handler returned with it held.
        unsafe { lc_unlock(&*lock, Loc::caller()) };
    }
}

/// `hardclock()`: a tick on this CPU, in an interrupt frame.
pub(crate) fn hardclock() {
    let m = machine();
    let cpu = curcpu().cpuid;
    // In `smp` all CPUs tick; one of them is the clock. In `explore` a tick on any CPU is time passing.
    let time = if cpu == 0 || sched::explored() { m.callouts.ticks.fetchadd(1) + 1 } else { now() };
    crate::sleepqueue::expire(time);
    while let Some(due) = next_due(cpu, true) {
        run(due, cpu);
    }
    for at in 0..m.cpus.len() {
        if at == cpu || sched::explored() {
            wake_softclock(at, time);
        }
    }
    sched::sched_clock();
}

/// Makes the softclock thread of `cpu` runnable if it has something to do.
fn wake_softclock(cpu: usize, time: u64) {
    let m = machine();
    m.callouts.lock.lock();
    // SAFETY: (lock); a pending callout is alive.
    let due = unsafe { m.callouts.pending.get() }.iter().any(|entry| {
        // SAFETY: a pending callout is alive.
        let direct = unsafe { (*entry.callout).flags.get() } & Cf::DIRECT_EXEC.bits() != 0;
        entry.cpu == cpu && entry.deadline <= time && !direct
    });
    m.callouts.lock.unlock();
    if !due {
        return;
    }
    m.callouts.need[cpu].set(1);
    let td = m.callouts.threads[cpu].get();
    // SAFETY: threads are type-stable; the thread was made when the callout was set.
    let td = unsafe { &*td };
    let me = curthread();
    sched::thread_lock(me);
    if td.inhibitors.get() & tdi::IWAIT != 0 {
        td.uninhibit(tdi::IWAIT);
        sched::setrunnable(td);
    }
    sched::thread_unlock(me);
}

/// `explore`: whether time passing can change anything.
pub(crate) fn pending() -> bool {
    next_deadline().is_some()
}

fn next_deadline() -> Option<u64> {
    // SAFETY: between transitions, when no CPU is inside a primitive.
    let callouts = unsafe { machine().callouts.pending.get() }.iter().map(|entry| entry.deadline).min();
    callouts.into_iter().chain(crate::sleepqueue::next_deadline()).min()
}

/// `explore`: nothing can move; the next tick is the one before the earliest deadline.
pub(crate) fn skip_to_next() {
    if let Some(deadline) = next_deadline() {
        let time = now();
        machine().callouts.ticks.set(deadline.saturating_sub(1).max(time));
    }
}
