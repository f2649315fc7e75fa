//! callout(9): functions that run when virtual time has passed, and the clock itself.
//!
//! The clock interrupt ends timed sleeps and runs direct callouts; the others run in their CPU's softclock thread, an ithread of
//! priority PI_SOFT that may block on a mutex but not sleep.
//!
//! Virtual time in `explore`: it advances by one tick when the schedule says so, and jumps to the next deadline when nothing
//! else can move. It also goes on, by fewer ticks, when somebody spins who looks at it; and DELAY(9) lets its own pass. In `smp` a tick
//! is a millisecond.
//!
//! # Deviations from FreeBSD
//!
//! In `explore` a tick on one CPU ends timed sleeps and wakes softclock threads of all; only direct callouts want their own
//! CPU's. softclock threads are not bound, as on FreeBSD without its tunables `pin_default_swi` and `pin_pcpu_swi`.
//!
//! References: kern/kern_timeout.c, callout(9).

use crate::atomic::{Counter64, Guarded, Owned32, OwnedPtr, Shared32};
use crate::cpu::{self, curcpu, key, machine, touch};
use crate::giant;
use crate::host::explore::state::Hash;
use crate::interrupt;
use crate::lock::{ChainLock, Loc, LockClass, LockObject, lc_lock, lc_unlock};
use crate::panic::{kassert, kpanic};
use crate::rmlock::PrioTracker;
use crate::sched::{self, pri};
use crate::sleepqueue;
use crate::thread::{self, Kthread, Thread, curthread, tdf, tdi};
use crate::witness::la;
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
    /// Somebody looks at it: to pass changes something, with nothing pending too.
    looked: Owned32,
    lock: ChainLock,
    /// (lock) Pending callouts of all CPUs, in the order in which they were set.
    pending: Guarded<Vec<Entry>>,
    /// (sched) softclock threads, by CPU.
    threads: [OwnedPtr<Thread>; cpu::MAXCPU],
    /// Work for the softclock threads.
    need: [Shared32; cpu::MAXCPU],
    /// (lock) What each CPU's softclock does, and what its clock interrupt, which may interrupt that: `cc_exec_entity`.
    running: Guarded<[[Running; 2]; cpu::MAXCPU]>,
}

/// What a CPU's softclock or its clock interrupt runs: `struct cc_exec`.
#[derive(Debug, Clone, Copy, Default)]
struct Running {
    /// `cc_curr`: the callout's address.
    callout: usize,
    /// `cc_cancel`: it is not to begin; set as well once it has begun and it is too late for that.
    cancel: bool,
    /// `cc_waiting`: somebody drains it, so it is not to be set again.
    drained: bool,
}

impl Callouts {
    /// Whether a callout waits for its time, or runs.
    pub(crate) fn any_pending(&self) -> bool {
        self.lock.lock_raw();
        // SAFETY: (lock) is held.
        let any = unsafe {
            !self.pending.get().is_empty() || self.running.get().iter().flatten().any(|running| running.callout != 0)
        };
        self.lock.unlock_raw();
        any
    }

    /// What happens next depends on it: see [`mod@crate::host::explore::state`].
    pub(crate) fn state(&self, h: &mut Hash) {
        h.bytes_of(self);
        // SAFETY: (lock) all threads are suspended.
        h.bytes_of_all(unsafe { self.pending.get() });
    }

    /// Whether the softclock thread of `cpu` has begun, so that it will look for what is due before it waits.
    fn running_on(&self, cpu: usize) -> bool {
        // SAFETY: threads are type-stable.
        unsafe { self.threads[cpu].get().as_ref() }.is_none_or(|td| td.inhibitors.get() & tdi::IWAIT == 0)
    }

    /// What the end of `callout`'s run is slept for on, if it runs: `cc_exec_waiting`. `wait`: somebody is about to.
    fn wchan(&self, callout: &Callout, wait: bool) -> Option<usize> {
        self.lock.lock();
        // SAFETY: (lock) is held.
        let wchan = unsafe { self.runs(callout) }.map(|running| {
            running.drained |= wait;
            core::ptr::from_ref(running) as usize
        });
        self.lock.unlock();
        wchan
    }

    /// Sleeps until `callout`, if it runs, has run.
    fn wait_for(&self, callout: &Callout, loc: Loc) {
        let Some(wchan) = self.wchan(callout, false) else { return };
        sleepqueue::lock(wchan);
        // Said only now: this run may be another one than before, whose end would not have been told of.
        if self.wchan(callout, true) != Some(wchan) {
            // Its end came before anybody could be woken, or it runs elsewhere: who drains it will look again.
            sleepqueue::release(wchan);
            return;
        }
        let dropped = giant::drop_giant(loc);
        sleepqueue::add(wchan, 0, "codrain", sleepqueue::Type::Sleep, 0);
        sleepqueue::wait(wchan);
        dropped.pickup(loc);
    }

    /// What runs `callout` now.
    ///
    /// # Safety
    ///
    /// (lock)
    #[expect(clippy::mut_from_ref, reason = "the lock is what makes it exclusive")]
    unsafe fn runs(&self, callout: &Callout) -> Option<&mut Running> {
        // SAFETY: the caller's promise.
        let running = unsafe { self.running.get() };
        running.iter_mut().flatten().find(|running| running.callout == core::ptr::from_ref(callout) as usize)
    }
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
            looked: Owned32::new(0),
            lock: ChainLock::new(),
            pending: Guarded::new(Vec::new()),
            threads: [const { OwnedPtr::null() }; cpu::MAXCPU],
            need: [const { Shared32::new(0) }; cpu::MAXCPU],
            running: Guarded::new([[Running::default(); 2]; cpu::MAXCPU]),
        }
    }

    pub(crate) fn reset(&self) {
        self.ticks.set(1);
        self.looked.set(0);
        self.lock.unlock_raw();
        // SAFETY: between executions nobody else is running.
        let pending = unsafe { self.pending.get() };
        if pending.capacity() == 0 {
            // None was ever set on this machine, so that none has run either.
            return;
        }
        pending.clear();
        // SAFETY: as above.
        unsafe { *self.running.get() = [[Running::default(); 2]; cpu::MAXCPU] };
        for at in 0..cpu::MAXCPU {
            self.threads[at].set(core::ptr::null_mut());
            self.need[at].reset();
        }
    }
}

/// `ticks`: virtual time in ticks of a millisecond.
pub fn now() -> u64 {
    touch(key::CLOCK, 1, false);
    machine().callouts.ticks.get()
}

/// [`now`], for a thread that may wait for it to change: what the explorer takes a loop to depend on.
pub(crate) fn look() -> u64 {
    cpu::observe(address().cast(), 8);
    let (time, looked) = (now(), &machine().callouts.looked);
    if looked.get() == 0 {
        // Those who look later find it so.
        touch(key::CLOCK, 1, true);
        looked.set(1);
    }
    let td = curthread();
    td.looked_at_clock.set(time);
    td.looks.set(1);
    time
}

/// Where the time is.
pub(crate) fn address() -> *const u64 {
    machine().callouts.ticks.as_ptr()
}

/// It is now `time`.
fn set_time(time: u64) {
    touch(key::CLOCK, 1, true);
    touch(address() as usize, 8, true);
    machine().callouts.ticks.set(time);
}

/// `explore`: the running thread lets `ticks` pass, and the clock interrupts that belong to them come on its CPU, unless it has interrupts
/// off; what is due then waits for the next.
pub(crate) fn pass(ticks: u64) {
    let end = now() + ticks;
    while now() < end && !cpu::scheduler_stopped() {
        let time = now();
        let next = next_deadline().map_or(end, |deadline| deadline.clamp(time + 1, end));
        if interrupt::enabled(curcpu()) {
            set_time(next - 1);
            interrupt::tick_now();
        } else {
            set_time(next);
        }
    }
}

/// What a callout runs.
#[derive(Clone)]
pub enum Handler {
    /// `callout_func_t` and its argument.
    Func(unsafe extern "C-unwind" fn(*mut core::ffi::c_void), *mut core::ffi::c_void),
    /// A closure.
    Closure(std::sync::Arc<dyn Fn() + Send + Sync>),
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

impl From<std::sync::Arc<dyn Fn() + Send + Sync>> for Handler {
    fn from(closure: std::sync::Arc<dyn Fn() + Send + Sync>) -> Self {
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
// SAFETY: the handler is a closure that may be sent, or C's function and its argument, for which who set the callout vouched.
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

    /// `callout_reset_sbt_on()`: runs `handler` after `ticks` on `cpu` (`None`: where it was, at first CPU 0). Returns whether
    /// a pending one was replaced.
    ///
    /// # Panics
    ///
    /// Rows 112 and 113 of the misuse table (INVARIANTS); without INVARIANTS, for row 113, `page fault`.
    pub fn reset(&self, ticks: u64, handler: impl Into<Handler>, cpu: Option<usize>, flags: Cf) -> bool {
        if !cpu::step("callout_reset", 0) {
            return false;
        }
        let m = machine();
        if let Some(cpu) = cpu {
            // FreeBSD's number is an int.
            kassert!(cpu < m.cpus.len(), "callout_reset_sbt_on: invalid cpu {}", cpu as i32);
            if cpu >= m.cpus.len() {
                // The callout wheel of a CPU that is not there.
                kpanic!("page fault");
            }
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
            // `cc_default_cpu`
            u32::MAX => 0,
            cpu => cpu as usize,
        });
        m.callouts.lock.lock();
        softclock_thread(cpu);
        // SAFETY: (lock) is held.
        let replaced = unsafe {
            let mut cancelled = false;
            if let Some(running) = m.callouts.runs(self) {
                // "If there is a lock then we can cancel the callout if it has not really started."
                cancelled = !lock.is_null() && !running.cancel;
                running.cancel |= cancelled;
                if running.drained {
                    m.callouts.lock.unlock();
                    return cancelled;
                }
            }
            let pending = m.callouts.pending.get();
            let before = pending.len();
            pending.retain(|entry| !core::ptr::eq(entry.callout, self));
            let replaced = cancelled || pending.len() != before;
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

    /// `callout_stop()`: returns 1 if it was pending or has not got its lock yet, 0 if it runs now, -1 if neither. One that runs and is
    /// pending again will not run again, and it is 0 nevertheless.
    ///
    /// # Panics
    ///
    /// That of its lock's assertion, unless the caller holds it exclusively (INVARIANTS). Giant need not be held.
    #[track_caller]
    pub fn stop(&self) -> i32 {
        self.stop_unless_stopped().0
    }

    #[track_caller]
    fn stop_unless_stopped(&self) -> (i32, bool) {
        if !cpu::step("callout_stop", 0) {
            return (1, true);
        }
        let locked = self.lock().is_some_and(|lock| {
            if giant::is(lock) {
                return giant::owned();
            }
            // SAFETY: the lock is alive.
            unsafe { lock.class().assert(lock, la::XLOCKED, Loc::caller()) };
            true
        });
        let (result, pending) = self.stop_safe(locked, false);
        if result != -1 {
            self.deactivate();
        }
        (result, pending)
    }

    /// [`Callout::stop`], for whoever wants to know whether it was pending, as Linux's `del_timer()` says: of one that runs FreeBSD's answer
    /// does not tell.
    ///
    /// # Panics
    ///
    /// As [`Callout::stop`].
    #[track_caller]
    pub fn stop_pending(&self) -> bool {
        let (result, pending) = self.stop_unless_stopped();
        result == 1 || pending
    }

    /// `callout_active()`: it was set, and neither stopped since nor called inactive, which is the driver's to say.
    pub fn active(&self) -> bool {
        // A boundary: it may be asked without a lock, and its time may come before the answer.
        cpu::step("callout_active", 0);
        self.active.get() != 0
    }

    /// `callout_deactivate()`.
    pub fn deactivate(&self) {
        self.active.set(0);
    }

    fn lock(&self) -> Option<&LockObject> {
        // SAFETY: the caller of init_lock keeps the lock alive as long as the callout.
        unsafe { self.lock.get().as_ref() }
    }

    /// `callout_drain()`: stops it and waits until it does not run. May sleep.
    ///
    /// Returns what [`Callout::stop`] does of one that does not run: 1 as well if it was set again in the run that was waited for. Prints
    /// `calling _callout_stop_safe with the following non-sleepable locks held:` under WITNESS, unless that is its own.
    #[track_caller]
    pub fn drain(&self) -> i32 {
        crate::witness::warn(self.lock(), Loc::caller(), "calling _callout_stop_safe");
        if !cpu::step("callout_drain", 0) {
            return 1;
        }
        loop {
            let (result, _) = self.stop_safe(false, true);
            if result != 0 || cpu::scheduler_stopped() {
                // FreeBSD does not say so of one that had neither to be stopped nor waited for.
                self.deactivate();
                return result;
            }
            machine().callouts.wait_for(self, Loc::caller());
        }
    }

    /// `_callout_stop_safe()`: its answer, and whether the callout was pending, which it is no more. `locked`: the caller holds the callout's
    /// lock. To `drain` one that runs is to wait first, whatever is pending.
    fn stop_safe(&self, locked: bool, drain: bool) -> (i32, bool) {
        let m = machine();
        m.callouts.lock.lock();
        // SAFETY: (lock) is held.
        let result = unsafe {
            match m.callouts.runs(self) {
                Some(_) if drain => (0, false),
                // It waits for the lock that the caller holds, and will find that it is not to begin; what it is set for besides stays.
                Some(running) if locked && !running.cancel => {
                    running.cancel = true;
                    (1, true)
                }
                running => {
                    let runs = running.is_some();
                    let pending = m.callouts.pending.get();
                    let before = pending.len();
                    pending.retain(|entry| !core::ptr::eq(entry.callout, self));
                    let was_pending = pending.len() != before;
                    let answer = match (runs, was_pending) {
                        (true, _) => 0,
                        (false, true) => 1,
                        (false, false) => -1,
                    };
                    (answer, was_pending)
                }
            }
        };
        m.callouts.lock.unlock();
        result
    }
}

/// The softclock thread of a CPU, made when first needed; the callouts' lock is held.
fn softclock_thread(cpu: usize) {
    let c = &machine().callouts;
    if !c.threads[cpu].get().is_null() {
        return;
    }
    let name = format!("clock ({cpu})");
    let td = thread::create(
        Kthread { name: &name, priority: pri::PI_SOFT, flags: tdf::KPROC | tdf::PARKED, cpu: Some(cpu) },
        move || softclock(cpu),
    );
    td.pri_class.set(pri::CLASS_ITHD);
    td.inhibit(tdi::IWAIT);
    td.lastcpu.set(cpu as i32);
    td.tscpu.set(cpu as i32);
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
                run(due, cpu, false);
            }
        }
        interrupt::wait(&c.need[cpu]);
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
            m.callouts.running.get()[cpu][usize::from(direct)] =
                Running { callout: callout as usize, ..Running::default() };
            let c = &*callout;
            Due { lock: c.lock.get(), flags: Cf::from_bits_retain(c.flags.get()), handler: c.handler.get().clone() }
        })
    };
    m.callouts.lock.unlock();
    due
}

/// How a callout's lock is taken, as `lc_lock` has it.
fn how(lock: &LockObject, flags: Cf, tracker: &PrioTracker) -> usize {
    match lock.class() {
        _ if !flags.contains(Cf::SHAREDLOCK) => 0,
        LockClass::Rm => core::ptr::from_ref(tracker).expose_provenance(),
        _ => 1,
    }
}

/// `softclock_call_cc()`.
fn run(due: Due, cpu: usize, direct: bool) {
    let Due { lock, flags, handler } = due;
    let tracker = PrioTracker::new();
    if !lock.is_null() {
        // SAFETY: whoever set the callout keeps its lock alive until the callout is drained; the tracker outlives the lock's being held
        // unless the handler returns without it.
        unsafe { lc_lock(&*lock, how(&*lock, flags, &tracker), Loc::caller()) };
    }
    let m = machine();
    m.callouts.lock.lock();
    // SAFETY: (lock) is held.
    let begins = unsafe { &mut m.callouts.running.get()[cpu][usize::from(direct)].cancel };
    let cancelled = core::mem::replace(begins, true) && !lock.is_null();
    m.callouts.lock.unlock();
    if !cancelled {
        thread::thread_no_sleeping();
        cpu::step("callout", 0);
        let balance = crate::lint::Balance::now();
        if let Some(handler) = &handler {
            handler.call();
        }
        balance.check("callout");
        thread::thread_sleeping_ok();
    }
    if !lock.is_null() && (cancelled || !flags.contains(Cf::RETURNUNLOCKED)) {
        // SAFETY: whoever set the callout keeps its lock alive until the callout is drained; the handler returned with it held.
        unsafe { lc_unlock(&*lock, Loc::caller()) };
    }
    m.callouts.lock.lock();
    // SAFETY: (lock) is held.
    let running = unsafe { &mut m.callouts.running.get()[cpu][usize::from(direct)] };
    let wchan = core::ptr::from_ref(running) as usize;
    let Running { drained, .. } = core::mem::take(running);
    // Here, since the count of an `Rc` is guarded by the same lock as the callout that has the other one.
    drop(handler);
    m.callouts.lock.unlock();
    if drained {
        crate::sleep::wakeup(wchan);
    }
}

/// `hardclock()`: a tick on this CPU, in an interrupt frame.
pub(crate) fn hardclock() {
    touch(key::CLOCK, 1, true);
    touch(key::GLOBAL, 1, true);
    touch(address() as usize, 8, true);
    let m = machine();
    let cpu = curcpu().cpuid;
    // In `smp` all CPUs tick; one of them is the clock. In `explore` a tick on any CPU is time passing.
    let time = if cpu == 0 || sched::explored() { m.callouts.ticks.fetchadd(1) + 1 } else { now() };
    crate::sleepqueue::expire(time);
    while let Some(due) = next_due(cpu, true) {
        run(due, cpu, true);
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
    interrupt::wake(unsafe { &*td });
}

/// `explore`: whether time passing can change anything.
pub(crate) fn pending() -> bool {
    machine().callouts.looked.get() != 0 || next_deadline().is_some()
}

fn next_deadline() -> Option<u64> {
    // SAFETY: between transitions, when no CPU is inside a primitive.
    let callouts = unsafe { machine().callouts.pending.get() }.iter().map(|entry| entry.deadline).min();
    callouts.into_iter().chain(crate::sleepqueue::next_deadline()).min()
}

/// `explore`: nothing can move. Advances time to right before the earliest timer that a tick would run out, or before `within` ticks
/// have passed, and returns the CPU that is to take the tick: a direct callout runs in the clock interrupt of its own CPU. `None` if no
/// tick would help: a callout that is due already, and known to its softclock thread, waits for that, which cannot run.
pub(crate) fn skip_to_next(takes_interrupts: impl Fn(usize) -> bool, within: Option<u64>) -> Option<usize> {
    let m = machine();
    let time = now();
    let any = (0..m.cpus.len()).find(|&cpu| takes_interrupts(cpu))?;
    let sleeps = crate::sleepqueue::next_deadline().map(|deadline| (deadline, any));
    // SAFETY: between transitions, when no CPU is inside a primitive.
    let callouts = unsafe { m.callouts.pending.get() }.iter().filter_map(|entry| {
        // SAFETY: a pending callout is alive.
        let direct = unsafe { (*entry.callout).flags.get() } & Cf::DIRECT_EXEC.bits() != 0;
        let known = m.callouts.need[entry.cpu].get() != 0 || m.callouts.running_on(entry.cpu);
        let helps = if direct { takes_interrupts(entry.cpu) } else { entry.deadline > time || !known };
        helps.then_some((entry.deadline, if direct { entry.cpu } else { any }))
    });
    let soon = within.map(|ticks| (time + ticks, any));
    let (deadline, cpu) = sleeps.into_iter().chain(callouts).chain(soon).min()?;
    m.callouts.ticks.set(deadline.saturating_sub(1).max(time));
    Some(cpu)
}
