//! `struct thread`, `curthread`, and kthread(9).
//!
//! Fields keep FreeBSD's names without the `td_` prefix; the C name is a doc alias. Threads are type-stable: a machine never
//! frees one while it lives, so adaptive spinning may look at an owner that has just exited.

use crate::atomic::{Guarded, Owned32, Owned64, OwnedI32, OwnedPtr, OwnedUsize, Shared32, zero};
use crate::cpu::{self, machine};
use crate::host::coroutine::{Context, Control};
use crate::host::explore::state::Hash;
use crate::host::footprint::{Operand, key, touch, touch_thread};
use crate::host::{gs, heap};
use crate::kproc::{self, Proc};
use crate::lock::LockInstance;
use crate::panic::kpanic;
use crate::sleep::How;

/// Thread flags, `td_flags`.
pub mod tdf {
    /// Priority is borrowed (turnstile).
    pub const BORROWING: u32 = 0x0000_0001;
    /// The time slice ended: honoured at return to user mode.
    pub const NEEDRESCHED: u32 = 0x0001_0000;
    /// ... and if the thread is preempted, it queues behind its equals.
    pub const SLICEEND: u32 = 0x0010_0000;
    /// Bound to a CPU by sched_bind(9).
    pub const BOUND: u32 = 0x0000_0004;
    /// The idle thread.
    pub const IDLETD: u32 = 0x0000_0020;
    /// A timed sleep ran out.
    pub const TIMEOUT: u32 = 0x0000_0010;
    /// The sleep may be interrupted by a signal.
    pub const SINTR: u32 = 0x0000_0008;
    /// A signal waits.
    pub const SIGPENDING: u32 = 0x0002_0000;
    /// The thread belongs to the kernel itself (ithread, softclock, taskqueue): its stack needs no unwinding.
    pub const KPROC: u32 = 0x0004_0000;
    /// Page faults are errors: `TDP_NOFAULTING`, of the thread's private flags.
    pub const NOFAULTING: u32 = 0x0020_0000;
    /// kthread_suspend(9) wants it to stop.
    pub const KTH_SUSP: u32 = 0x0040_0000;
    /// A service thread waits in its base loop: nothing on its stack needs dropping.
    pub const PARKED: u32 = 0x0008_0000;
    /// The thread said that nothing on its stack needs dropping: see [`super::discard_stack`].
    pub const DISCARD: u32 = 0x0080_0000;
}

/// `td_state`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum State {
    /// Not started, or exited.
    Inactive = 0,
    /// Waits: see [`tdi`].
    Inhibited = 1,
    /// Can run, is on no queue.
    CanRun = 2,
    /// On a run queue.
    RunQ = 3,
    /// On a CPU.
    Running = 4,
}

/// Inhibitors, `td_inhibitors`.
pub mod tdi {
    /// Sleeping on a sleep queue.
    pub const SLEEPING: u32 = 0x02;
    /// Blocked on a turnstile.
    pub const LOCK: u32 = 0x08;
    /// An ithread that waits for its interrupt.
    pub const IWAIT: u32 = 0x10;
}

/// `td_oncpu` of a thread that is on none.
pub const NOCPU: i32 = -1;

/// Words of `Thread::lkpi_area`.
pub const LKPI_AREA: usize = 16;

/// Of `Thread::lkpi_rcu`, how many sections it is in, ..
pub const RCU_DEPTH: usize = 0x7fff_ffff;
/// .. and whether it goes the short way: inside a section, that its pin is missing in `Thread::pinned`.
pub const RCU_SHORT: usize = 1 << 31;

/// A value that one thread reads up to a boundary: a spin loop's read set.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Observed {
    pub(crate) at: *const (),
    pub(crate) size: u8,
    pub(crate) value: u64,
}

/// What a thread has read since its last wait; and below that, what it had read when a handler began on its stack. No thread's own stack
/// holds any of it: those of abandoned executions are not unwound.
#[derive(Debug)]
pub(crate) struct ReadSet {
    all: Vec<Observed>,
    /// The running handler's begin here.
    from: usize,
}

impl ReadSet {
    fn new() -> Self {
        Self { all: Vec::with_capacity(8), from: 0 }
    }

    fn reset(&mut self) {
        self.all.clear();
        self.from = 0;
    }

    pub(crate) fn clear(&mut self) {
        self.all.truncate(self.from);
    }

    #[inline]
    pub(crate) fn push(&mut self, seen: Observed) {
        if self.all.len() < self.all.capacity() {
            self.all.push(seen);
        } else {
            heap::aside(|| self.all.push(seen));
        }
    }

    pub(crate) fn forget_oldest(&mut self) {
        self.all.remove(self.from);
    }

    /// A handler begins, which has read nothing yet. Returns what [`ReadSet::end`] wants.
    pub(crate) fn begin(&mut self) -> usize {
        core::mem::replace(&mut self.from, self.all.len())
    }

    /// It ends.
    pub(crate) fn end(&mut self, began: usize) {
        self.clear();
        self.from = began;
    }
}

impl core::ops::Deref for ReadSet {
    type Target = [Observed];
    #[inline]
    fn deref(&self) -> &[Observed] {
        &self.all[self.from..]
    }
}

impl core::ops::DerefMut for ReadSet {
    #[inline]
    fn deref_mut(&mut self) -> &mut [Observed] {
        &mut self.all[self.from..]
    }
}

/// A plain access: address, size, is a write.
pub(crate) type PlainAccess = (usize, usize, bool);

/// A kernel thread.
///
/// The first fields are what C sees as `struct thread` (`linuxkpi/include/sys/proc.h`), in that order.
#[repr(C, align(64))]
#[derive(Debug)]
pub struct Thread {
    /// Depth of critical sections.
    #[doc(alias = "td_critnest")]
    pub critnest: Owned32,
    /// Depth of interrupt frames.
    #[doc(alias = "td_intr_nesting_level")]
    pub intr_nesting_level: Owned32,
    /// Forbids migration, not preemption. The running thread's own may be less than it should while it reads under an rmlock or in
    /// a section of RCU: whoever looks at that calls [`crate::sched::settle`] first.
    #[doc(alias = "td_pinned")]
    pub pinned: OwnedI32,
    /// Sleep is forbidden while not zero; blocking on a turnstile is not.
    #[doc(alias = "td_no_sleeping")]
    pub no_sleeping: OwnedI32,
    /// A preemption is due at the end of the critical section.
    #[doc(alias = "td_owepreempt")]
    pub owepreempt: Owned32,
    /// Lower is more important.
    #[doc(alias = "td_priority")]
    pub priority: Owned32,
    /// What LinuxKPI hangs onto a thread.
    #[doc(alias = "td_lkpi_task")]
    pub lkpi_task: OwnedUsize,
    /// The room for it: a kernel would allocate the task with the thread's first use of LinuxKPI. Zeroed when a thread starts.
    pub lkpi_area: [OwnedUsize; LKPI_AREA],
    /// Its sections of LinuxKPI's RCU: [`RCU_DEPTH`], [`RCU_SHORT`], and what RCU itself adds.
    #[doc(alias = "rcu_recurse")]
    pub lkpi_rcu: OwnedUsize,

    /// Sleep mutexes, rwlocks, sx locks and rmlocks held (INVARIANTS).
    #[doc(alias = "td_locks")]
    pub locks: OwnedI32,
    /// Read-held rwlocks.
    #[doc(alias = "td_rw_rlocks")]
    pub rw_rlocks: OwnedI32,
    /// Share-held sx locks.
    #[doc(alias = "td_sx_slocks")]
    pub sx_slocks: OwnedI32,
    /// Share-held lockmgr locks.
    #[doc(alias = "td_lk_slocks")]
    pub lk_slocks: OwnedI32,
    /// Nested spinlock_enter calls.
    #[doc(alias = "md_spinlock_count")]
    pub spinlock_count: Owned32,
    /// It has interrupts off by intr_disable().
    pub(crate) intr_off: Flag,

    /// (t) [`tdi`].
    pub inhibitors: Owned32,
    /// (t) Priority without loans.
    #[doc(alias = "td_base_pri")]
    pub base_pri: Owned32,
    /// (t) Priority it will have in user mode; of an interrupt thread, `td_base_ithread_pri`.
    #[doc(alias = "td_user_pri")]
    pub user_pri: Owned32,
    /// (t) `PRI_ITHD`, `PRI_REALTIME`, `PRI_TIMESHARE`, `PRI_IDLE`.
    #[doc(alias = "td_pri_class")]
    pub pri_class: Owned32,
    /// (t) CPU it last ran on.
    #[doc(alias = "td_lastcpu")]
    pub lastcpu: OwnedI32,
    /// (t) ULE's `ts_cpu`: whose queue it is on, or where it is bound.
    pub(crate) tscpu: OwnedI32,
    /// (c) Lock it is blocked on; `td_blocked`'s `ts_lockobj`.
    #[doc(alias = "td_blocked")]
    pub(crate) blocked_on: OwnedUsize,
    /// (c) Turnstile queue it is on.
    #[doc(alias = "td_tsqueue")]
    pub(crate) tsqueue: Owned32,
    /// (s) Which of the sleep queue's two lists.
    #[doc(alias = "td_sqqueue")]
    pub(crate) sqqueue: Owned32,
    /// (s) What it sleeps on.
    #[doc(alias = "td_wchan")]
    pub(crate) wchan: OwnedUsize,
    /// (t) How often it was given a CPU: `ru_nvcsw` and `ru_nivcsw`.
    pub(crate) switches: Owned32,
    /// (s) Error of an interrupted sleep.
    pub(crate) intrval: OwnedI32,
    /// (s) Virtual time at which a timed sleep ends; 0 for none.
    pub(crate) sleep_deadline: Owned64,
    /// (b) `td_proc`, of a process that kproc(9) made; else null.
    pub(crate) proc: OwnedPtr<Proc>,

    // -- the emulation's own
    /// `smp`: it has exited and its context is gone, so that it may be used again.
    pub(crate) ended: Shared32,
    /// The machine ended and this thread's frames are being dropped.
    pub(crate) unwinding: Flag,
    /// It is about to leave an interrupt frame, or was preempted there: until it has, its CPU takes no interrupts.
    pub(crate) leaves_frame: Flag,
    /// It spins: in `explore` it is disabled until its read set changes.
    pub(crate) awaiting: Flag,
    /// When it last looked at the clock.
    pub(crate) looked_at_clock: Owned64,
    /// Whether it has since its last DELAY.
    pub(crate) looks: Owned32,
    /// `explore`: microseconds, less than a tick, that it has let pass, and how often it has after a look at the clock.
    pub(crate) delayed: Owned32,
    pub(crate) delays: Owned32,
    /// `explore`: it spins on a spin mutex, so an endless wait is a panic rather than a livelock.
    pub(crate) spinning_on_spin_mutex: Flag,
    /// The lock whose running owner it spins on; 0 for none.
    pub(crate) spinning_on: OwnedUsize,
    /// The lock that it waits for and how often others had it meanwhile: see [`crate::host::starvation`].
    pub(crate) waits_for: OwnedUsize,
    pub(crate) overtaken: Owned32,
    /// `explore`: the wait on a spin mutex turned out to be endless.
    pub(crate) spun_too_long: Flag,
    /// `explore`: it read more than `read_set` holds.
    pub(crate) read_too_much: Flag,
    /// `explore`: its last wait began with such a set.
    pub(crate) waited_blindly: Flag,
    /// `explore`: where an idle thread's context is: [`Rest`].
    pub(crate) rest: Rest,
    /// Interrupt flag word of the handler bookkeeping: the ithread's event, if it is one.
    pub(crate) ithread: OwnedUsize,

    // -- from here on, what does not begin as zero
    /// `td_tid`.
    pub tid: usize,
    /// (b) `td_name`.
    name: Guarded<String>,
    /// [`tdf`]; several CPUs set and clear bits.
    pub flags: Shared32,
    /// (t) [`State`] as a number, so that adaptive spinning can watch it.
    pub(crate) state: Owned32,
    /// (t) CPU it runs on, or [`NOCPU`].
    #[doc(alias = "td_oncpu")]
    pub oncpu: OwnedI32,
    /// (s) Why it sleeps.
    #[doc(alias = "td_wmesg")]
    pub(crate) wmesg: Guarded<&'static str>,
    /// (k) WITNESS's list of held sleep locks, oldest first.
    #[doc(alias = "td_sleeplocks")]
    pub(crate) sleeplocks: Guarded<Vec<LockInstance>>,
    /// (k) `td_epochs`: with options EPOCH_TRACE.
    pub(crate) epochs: Guarded<Vec<crate::epoch::Section>>,
    /// (k) `td_lprof`.
    pub(crate) profile: Guarded<crate::lock_profile::Thread>,
    /// (h) Its stack and registers.
    pub(crate) context: Guarded<Option<Context>>,
    /// (h) That context's words; null if there is none.
    pub(crate) control: OwnedPtr<Control>,
    /// `explore`: what it read since its last wait.
    pub(crate) read_set: Guarded<ReadSet>,
    /// `explore`: the primitive it is about to perform.
    pub(crate) op: Guarded<(&'static str, usize)>,
    /// `explore`: what that works on.
    pub(crate) operand: Guarded<Operand>,
    /// `explore`: plain access it is about to perform.
    pub(crate) access: Guarded<Option<PlainAccess>>,
}

// Locking key: (b) before it runs, (c) turnstile chain lock, (h) the host loop that runs it, (k) only the thread itself,
// (s) sleep queue chain lock, (t) the scheduler's lock.

/// A bool that only its owner writes.
#[repr(transparent)]
pub(crate) struct Flag(Owned32);

impl Flag {
    pub(crate) const fn new() -> Self {
        Self(Owned32::new(0))
    }
    #[inline]
    pub(crate) fn get(&self) -> bool {
        self.0.get() != 0
    }
    #[inline]
    pub(crate) fn set(&self, on: bool) {
        self.0.set(u32::from(on));
    }
}

impl core::fmt::Debug for Flag {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}", self.get())
    }
}

/// Whether an idle thread of `explore` is suspended in its base loop, where the next execution can go on with it.
#[derive(Debug)]
pub(crate) struct Rest(Owned32);

impl Rest {
    /// It is not.
    pub(crate) const NO: u32 = 0;
    /// It waits for an event.
    pub(crate) const WAITS: u32 = 1;
    /// It is to begin its loop anew, whatever the event.
    pub(crate) const ANEW: u32 = 2;

    const fn new() -> Self {
        Self(Owned32::new(Self::NO))
    }
    #[inline]
    pub(crate) fn get(&self) -> u32 {
        self.0.get()
    }
    #[inline]
    pub(crate) fn set(&self, rest: u32) {
        self.0.set(rest);
    }
}

impl Thread {
    pub(crate) fn new(tid: usize) -> Self {
        Self {
            critnest: Owned32::new(0),
            intr_nesting_level: Owned32::new(0),
            pinned: OwnedI32::new(0),
            no_sleeping: OwnedI32::new(0),
            owepreempt: Owned32::new(0),
            priority: Owned32::new(0),
            lkpi_task: OwnedUsize::new(0),
            lkpi_area: [const { OwnedUsize::new(0) }; LKPI_AREA],
            lkpi_rcu: OwnedUsize::new(0),
            locks: OwnedI32::new(0),
            rw_rlocks: OwnedI32::new(0),
            sx_slocks: OwnedI32::new(0),
            lk_slocks: OwnedI32::new(0),
            spinlock_count: Owned32::new(0),
            intr_off: Flag::new(),
            tid,
            name: Guarded::new(String::new()),
            flags: Shared32::new(0),
            state: Owned32::new(State::Inactive as u32),
            inhibitors: Owned32::new(0),
            base_pri: Owned32::new(0),
            user_pri: Owned32::new(0),
            pri_class: Owned32::new(0),
            oncpu: OwnedI32::new(NOCPU),
            lastcpu: OwnedI32::new(0),
            tscpu: OwnedI32::new(0),
            blocked_on: OwnedUsize::new(0),
            tsqueue: Owned32::new(0),
            wchan: OwnedUsize::new(0),
            wmesg: Guarded::new(""),
            sqqueue: Owned32::new(0),
            switches: Owned32::new(0),
            intrval: OwnedI32::new(0),
            sleep_deadline: Owned64::new(0),
            sleeplocks: Guarded::new(Vec::with_capacity(8)),
            epochs: Guarded::new(Vec::new()),
            profile: Guarded::new(crate::lock_profile::Thread::new()),
            context: Guarded::new(None),
            control: OwnedPtr::null(),
            ended: Shared32::new(0),
            unwinding: Flag::new(),
            leaves_frame: Flag::new(),
            awaiting: Flag::new(),
            looked_at_clock: Owned64::new(0),
            looks: Owned32::new(0),
            delayed: Owned32::new(0),
            delays: Owned32::new(0),
            spinning_on_spin_mutex: Flag::new(),
            spinning_on: OwnedUsize::new(0),
            waits_for: OwnedUsize::new(0),
            overtaken: Owned32::new(0),
            spun_too_long: Flag::new(),
            read_set: Guarded::new(ReadSet::new()),
            read_too_much: Flag::new(),
            waited_blindly: Flag::new(),
            op: Guarded::new(("", 0)),
            operand: Guarded::new(Operand::NONE),
            access: Guarded::new(None),
            rest: Rest::new(),
            ithread: OwnedUsize::new(0),
            proc: OwnedPtr::null(),
        }
    }

    /// Makes a used thread new, keeping its allocations, name and flags.
    fn reset(&self) {
        // SAFETY: these are cells, of which zero is a value.
        unsafe { zero(core::ptr::from_ref(self).cast_mut().cast(), core::mem::offset_of!(Self, tid)) };
        self.critnest.set(1);
        self.spinlock_count.set(1);
        self.set_state(State::CanRun);
        self.oncpu.set(NOCPU);
        // SAFETY: nobody runs this thread: it is new, or its last execution ended.
        unsafe {
            *self.wmesg.get() = "";
            self.sleeplocks.get().clear();
            self.epochs.get().clear();
            self.profile.get().reset();
            self.read_set.get().reset();
            *self.op.get() = (crate::host::explore::FORK_EXIT, 0);
            *self.operand.get() = Operand::NONE;
            *self.access.get() = None;
        }
    }

    /// What happens next depends on it: see [`mod@crate::host::explore::state`]. `steps` is what a wait looks at that reads nothing.
    pub(crate) fn state_of(&self, h: &mut Hash, steps: *const u64) {
        h.word(self.state.get().into());
        h.word(self.flags.get().into());
        if self.state() == State::Inactive {
            return;
        }
        let switches = core::mem::offset_of!(Self, switches);
        let (before, after) = (switches, switches + size_of::<Owned32>());
        let at = core::ptr::from_ref(self) as usize;
        // SAFETY: within the structure, and its thread is suspended.
        unsafe {
            h.memory(at, before);
            h.memory(at + after, core::mem::offset_of!(Self, tid) - after);
        }
        h.bytes_of(&self.oncpu);
        if self.is_parked() {
            return;
        }
        h.pointer(self.control.get());
        // SAFETY: the thread is suspended.
        unsafe {
            h.bytes_of(&*self.wmesg.get());
            h.bytes_of_all(self.sleeplocks.get());
            h.bytes_of_all(self.epochs.get());
            let (what, on) = *self.op.get();
            h.pointer(what.as_ptr());
            h.address(on);
            h.bytes_of(&*self.operand.get());
            let (at, size, write) = (*self.access.get()).unwrap_or_default();
            h.address(at);
            h.address(size << 1 | usize::from(write));
            let set = self.read_set.get();
            h.address(set.from);
            h.address(set.all.len());
            for seen in &set.all {
                let counts = core::ptr::eq(seen.at.cast(), steps);
                h.pointer(seen.at);
                h.word(seen.size.into());
                h.word(if counts { seen.value.saturating_sub(*steps) } else { seen.value });
            }
        }
    }

    /// Whether it is an interrupt thread that waits for work, or that was never given any: which of them makes no difference.
    pub(crate) fn is_parked(&self) -> bool {
        self.flags.get() & tdf::PARKED != 0 && self.inhibitors.get() & tdi::IWAIT != 0
    }

    /// `td_name`.
    pub fn name(&self) -> &str {
        // SAFETY: the name is written before the thread first runs and not after.
        unsafe { self.name.get() }
    }

    /// `td_state`.
    #[inline]
    pub fn state(&self) -> State {
        match self.state.get() {
            0 => State::Inactive,
            1 => State::Inhibited,
            2 => State::CanRun,
            3 => State::RunQ,
            _ => State::Running,
        }
    }

    #[inline]
    pub(crate) fn set_state(&self, state: State) {
        touch_thread(self, true);
        self.state.set(state as u32);
    }

    /// `TD_IS_RUNNING`: what adaptive spinning asks of a lock's owner.
    #[inline]
    pub fn is_running(&self) -> bool {
        self.state.get() == State::Running as u32
    }

    /// [`Thread::is_running`] of the owner of a lock, which may change meanwhile: a boundary at `insn` granularity.
    #[inline]
    pub fn still_runs(&self) -> bool {
        crate::cpu::instruction("load state", self.state.as_ptr().cast(), false);
        self.is_running()
    }

    /// Whether to spin for this thread, which owns a lock: it runs, and the kernel spins adaptively.
    pub(crate) fn worth_spinning(&self) -> bool {
        crate::cpu::machine().config.adaptive && self.still_runs()
    }

    /// Where [`Thread::state`] is.
    pub(crate) fn state_address(&self) -> *const u32 {
        self.state.as_ptr()
    }

    /// Notes that the caller's next decision depends on whether this thread runs (see [`crate::cpu::observe`]).
    pub fn observe_running(&self) {
        crate::cpu::observe(self.state.as_ptr().cast(), 4);
    }

    /// `TD_IS_SLEEPING`.
    pub fn is_sleeping(&self) -> bool {
        self.inhibitors.get() & tdi::SLEEPING != 0
    }

    /// `TD_ON_LOCK`.
    pub fn is_on_lock(&self) -> bool {
        self.inhibitors.get() & tdi::LOCK != 0
    }

    /// `TD_IS_IDLETHREAD`.
    #[inline]
    pub fn is_idle(&self) -> bool {
        self.flags.get() & tdf::IDLETD != 0
    }

    pub(crate) fn inhibit(&self, why: u32) {
        self.inhibitors.set(self.inhibitors.get() | why);
        self.set_state(State::Inhibited);
    }

    pub(crate) fn uninhibit(&self, why: u32) {
        self.inhibitors.set(self.inhibitors.get() & !why);
        if self.inhibitors.get() == 0 {
            self.set_state(State::CanRun);
        }
    }

    pub(crate) fn ptr(&self) -> *mut Thread {
        core::ptr::from_ref(self).cast_mut()
    }

    /// What kthread_suspend(9) and its thread sleep on.
    fn flags_wchan(&self) -> usize {
        self.flags.as_ptr() as usize
    }
}

/// The running thread.
#[inline(always)]
pub fn curthread() -> &'static Thread {
    let td = gs::curthread();
    debug_assert!(!td.is_null(), "curthread outside a machine");
    // SAFETY: inside a machine the block names a live thread, and threads are type-stable for the machine's life.
    unsafe { &*td }
}

/// `FOREACH_THREAD_IN_PROC()`: the machine's threads, which are all the kernel's; those made after the call are not among them.
pub fn foreach_thread_in_proc() -> impl Iterator<Item = &'static Thread> {
    machine().threads().iter().map(|td| &**td)
}

/// The running thread's address: the owner that lock words carry.
#[inline(always)]
pub(crate) fn curthread_word() -> usize {
    gs::curthread() as usize
}

/// What C passes to a function of its own, on whatever thread that is called.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Argument(*mut core::ffi::c_void);

// SAFETY: it is an address here and no more. Only C's function looks at what is there, and who passed it vouched for that.
unsafe impl Send for Argument {}
// SAFETY: as above.
unsafe impl Sync for Argument {}

impl Argument {
    pub(crate) fn new(arg: *mut core::ffi::c_void) -> Self {
        Self(arg)
    }

    pub(crate) fn get(self) -> *mut core::ffi::c_void {
        self.0
    }
}

/// What [`kthread_add`] is to make.
#[derive(Debug, Clone, Copy)]
pub struct Kthread<'a> {
    /// `td_name`.
    pub name: &'a str,
    /// Priority, [`crate::sched::pri`].
    pub priority: u32,
    /// [`tdf`] bits to start with.
    pub flags: u32,
    /// CPU whose queue it starts on; `None` lets sched_pickcpu (and the schedule) decide.
    pub cpu: Option<usize>,
}

/// Creates a kernel thread and puts it on a run queue: kthread_add(9).
///
/// The name may be formatted; the body is dropped when it ends. Must not be called with a spin mutex held.
///
/// On `smp` it may run on another host thread, hence `Send`; what callouts, tasks and interrupts call is `Sync` as well.
///
/// ```compile_fail,E0277
/// use freebsd_sys::sched::pri;
/// use freebsd_sys::thread::{Kthread, kthread_add};
/// use std::rc::Rc;
///
/// let shared = Rc::new(0);
/// kthread_add(Kthread { name: "other", priority: pri::PUSER, flags: 0, cpu: None }, move || drop(shared));
/// ```
pub fn kthread_add(spec: Kthread<'_>, body: impl FnOnce() + Send + 'static) -> &'static Thread {
    let td = create(spec, body);
    crate::sched::add_new(td, spec.cpu);
    td
}

/// `kthread_exit()`: ends the calling thread, and wakes who sleeps on its `struct thread`. May not be called with a lock held.
///
/// As in C, nothing on its stack is dropped: what the thread's body owns is leaked. Code in Rust returns from the body instead.
///
/// # Panics
///
/// Row 78 of the misuse table.
pub fn kthread_exit() -> ! {
    if cpu::step("kthread_exit", 0) {
        let td = curthread();
        crate::sleep::wakeup(td.ptr() as usize);
        kproc::leave(td);
        end();
    }
    crate::host::park_forever()
}

/// Ends the calling thread, and drops nothing.
pub(crate) fn end() {
    curthread().flags.or(tdf::PARKED);
    crate::sched::thread_exit();
}

/// `EINVAL`: not a kernel thread.
pub const EINVAL: i32 = 22;

/// `kthread_suspend()`: asks `td` to stop at its next [`kthread_suspend_check`], and sleeps until it has, or for `timo` ticks (0: for ever).
/// Returns 0, [`EINVAL`], or what a sleep returns. May sleep.
#[track_caller]
pub fn kthread_suspend(td: &Thread, timo: u64) -> i32 {
    if !cpu::step("kthread_suspend", 0) {
        return 0;
    }
    if td.flags.get() & tdf::KPROC == 0 {
        return EINVAL;
    }
    let lock = kproc::of(td).mtx();
    lock.lock();
    td.flags.or(tdf::KTH_SUSP);
    let how = How { drop: true, ticks: timo, ..How::default() };
    crate::sleep::sleep(td.flags_wchan(), Some(lock.object()), how, "suspkt")
}

/// `kthread_resume()`: lets `td` go on. Returns 0 or [`EINVAL`].
pub fn kthread_resume(td: &Thread) -> i32 {
    if !cpu::step("kthread_resume", 0) {
        return 0;
    }
    if td.flags.get() & tdf::KPROC == 0 {
        return EINVAL;
    }
    let lock = kproc::of(td).mtx();
    lock.lock();
    td.flags.clear(tdf::KTH_SUSP);
    crate::sleep::wakeup(td.flags_wchan());
    lock.unlock();
    0
}

/// `kthread_suspend_check()`: the calling kernel thread stops as long as [`kthread_suspend`] wants. May sleep.
///
/// # Panics
///
/// `kthread_suspend_check: curthread is not a valid kthread`.
#[track_caller]
pub fn kthread_suspend_check() {
    if !cpu::step("kthread_suspend_check", 0) {
        return;
    }
    let td = curthread();
    if td.flags.get() & tdf::KPROC == 0 {
        kpanic!("kthread_suspend_check: curthread is not a valid kthread");
    }
    let lock = kproc::of(td).mtx();
    lock.lock();
    while td.flags.get() & tdf::KTH_SUSP != 0 && !cpu::scheduler_stopped() {
        crate::sleep::wakeup(td.flags_wchan());
        crate::sleep::sleep(td.flags_wchan(), Some(lock.object()), How::default(), "ktsusp");
    }
    lock.unlock();
}

/// [`kthread_add`] without making it runnable.
pub(crate) fn create(spec: Kthread<'_>, body: impl FnOnce() + Send + 'static) -> &'static Thread {
    let td = prepare(spec);
    // SAFETY: the thread does not run yet.
    unsafe { *td.context.get() = Some(machine().new_context(td, body)) };
    td
}

/// [`create`] of an idle thread. If [`keeps_context`] kept the context that it had in the last execution, it goes on with that one.
pub(crate) fn create_idle(spec: Kthread<'_>, rest: u32) -> &'static Thread {
    let td = prepare(spec);
    // SAFETY: the thread does not run yet.
    match unsafe { td.context.get() } {
        Some(context) if context.started() => {
            // What it did on its way into the loop.
            td.critnest.set(0);
            td.spinlock_count.set(0);
            td.no_sleeping.set(1);
            td.rest.set(rest);
        }
        Some(_) => {}
        none => *none = Some(machine().new_context(td, || crate::sched::idletd())),
    }
    td
}

/// Whether the thread, at the end of an execution, is an idle one whose context is as good for the next: not started, or in its loop.
pub(crate) fn keeps_context(td: &Thread) -> bool {
    // SAFETY: the execution is over.
    let context = unsafe { td.context.get() };
    td.is_idle()
        && context.as_ref().is_some_and(|context| !context.started() || !context.done() && td.rest.get() != Rest::NO)
}

/// A thread without a context.
fn prepare(spec: Kthread<'_>) -> &'static Thread {
    let m = machine();
    touch(key::THREADS, 1, true);
    let td = m.alloc_thread();
    td.reset();
    if td.flags.get() != spec.flags {
        td.flags.set(spec.flags);
    }
    td.priority.set(spec.priority);
    td.base_pri.set(spec.priority);
    td.user_pri.set(spec.priority);
    td.pri_class.set(crate::sched::pri::class_of(spec.priority));
    if td.name() != spec.name {
        // SAFETY: the thread does not run yet.
        let name = unsafe { td.name.get() };
        name.clear();
        name.push_str(spec.name);
    }
    td
}

/// Lets the machine, when it ends, take the calling thread's stack away as it is instead of unwinding it: for who runs so many small
/// programs that unwinding would be half of the work.
///
/// # Safety
///
/// No frame of the thread has, now or later, a value on whose destructor anything relies. (What a primitive itself keeps on the stack
/// belongs to the machine, whose next run begins by forgetting it.)
pub unsafe fn discard_stack() {
    curthread().flags.or(tdf::DISCARD);
}

/// The current LinuxKPI-visible thread id.
pub fn curtid() -> usize {
    curthread().tid
}

/// `kstack_contains()`: whether `size` bytes at `at` lie on the caller's stack.
pub(crate) fn kstack_contains(at: usize, size: usize) -> bool {
    crate::host::explore::on_stack(at) && crate::host::explore::on_stack(at + size - 1)
}

/// `vm_fault_disable_pagefaults()`: what pagefault_disable() becomes. Returns what [`vm_fault_enable_pagefaults`] is to restore. No
/// access faults here: the flag only has to be gone at the return to user mode.
pub fn vm_fault_disable_pagefaults() -> bool {
    curthread().flags.or(tdf::NOFAULTING) & tdf::NOFAULTING != 0
}

/// `vm_fault_enable_pagefaults()`.
pub fn vm_fault_enable_pagefaults(disabled_before: bool) {
    if !disabled_before {
        curthread().flags.clear(tdf::NOFAULTING);
    }
}

/// `THREAD_NO_SLEEPING()`.
#[inline]
pub fn thread_no_sleeping() {
    let td = curthread();
    td.no_sleeping.nest();
}

/// `THREAD_SLEEPING_OK()`.
#[inline]
pub fn thread_sleeping_ok() {
    let td = curthread();
    td.no_sleeping.unnest();
}

/// `THREAD_CAN_SLEEP()`.
#[inline]
pub fn thread_can_sleep() -> bool {
    curthread().no_sleeping.get() == 0
}
