//! Virtual CPUs: per-CPU data (pcpu(9)), the seam (`step`), and `cpu_spinwait`.
//!
//! Every kernel primitive begins with [`step`]: an instruction boundary, where a CPU takes interrupts. One word says whether
//! anything is to be done there; zero is the fast path, one load and one branch not taken.

use crate::atomic::{
    Counter64, Guarded, Line, Owned32, OwnedPtr, Shared32, thread_fence_compiler, thread_fence_seq_cst,
};
use crate::host::explore::state::Hash;
pub(crate) use crate::host::footprint::{key, touch, touch_thread};
use crate::host::gs::{self, word as bits};
pub(crate) use crate::host::heap::aside;
use crate::host::{explore, membarrier, smp};
use crate::lock::{Loc, LockInstance, LockObject};
use crate::machine::{Engine, Machine};
use crate::module::Values;
use crate::sched;
use crate::thread::{Thread, curthread};

/// Most virtual CPUs of a machine.
pub const MAXCPU: usize = 8;

/// Per-CPU data: FreeBSD's `struct pcpu`.
///
/// What others write to make this CPU do something comes last, on cache lines of its own.
#[derive(Debug)]
#[repr(C, align(128))]
pub struct Pcpu {
    /// `pc_cpuid`.
    pub cpuid: usize,
    /// `pc_cpumask`: this CPU's bit.
    pub(crate) cpumask: usize,
    /// `pc_curthread`; (h) written by the host loop that drives this CPU.
    pub curthread: OwnedPtr<Thread>,
    /// `pc_idlethread`.
    pub idlethread: OwnedPtr<Thread>,
    /// Its name.
    pub(crate) idle_name: String,
    /// The thread that the host loop is to run next, after a suspend in mi_switch.
    pub(crate) next: OwnedPtr<Thread>,
    /// (k) `pc_spinlocks`: WITNESS's list of spin mutexes held by this CPU.
    pub(crate) spinlocks: Guarded<Vec<LockInstance>>,
    /// Trackers of read-held rmlocks; see `rmlock`.
    pub(crate) rm_queue: crate::rmlock::PcpuQueue,
    /// `pc_dynamic`: see [`crate::module::Dpcpu`].
    pub(crate) dynamic: Values,
    /// The seam's block while the CPU runs.
    pub(crate) block: OwnedPtr<gs::Block>,
    /// Signs of life, for the watchdog: resumed threads, interrupts taken, rounds of spinning.
    pub(crate) progress: Counter64,
    _apart: Line<()>,
    /// (t) Run queue, best priority first; see `sched`.
    pub(crate) runq: Guarded<Vec<*mut Thread>>,
    /// (t) Length of `runq`, for looks without the lock.
    pub(crate) queued: Owned32,
    /// Interrupts, IPIs and ticks that wait to be taken.
    pub(crate) pending: Shared32,
    /// Interrupt sources that wait, one bit each.
    pub(crate) irqs: Shared32,
    /// Nesting of `idle` in the host kernel (`smp`).
    pub(crate) asleep: Shared32,
}

// Locking key: (h) this CPU's host loop, (k) only this CPU, interrupts off, (t) the scheduler's lock.

/// Bits of `Pcpu::pending`.
pub(crate) mod pending {
    /// A remote CPU queued a better thread here.
    pub(crate) const IPI_PREEMPT: u32 = 1;
    /// The clock ticked.
    pub(crate) const TICK: u32 = 2;
    /// A device interrupt; the source is in `Pcpu::irqs`.
    pub(crate) const INTR: u32 = 4;
    /// `smp_rendezvous`: a function to run is posted.
    pub(crate) const RENDEZVOUS: u32 = 8;
}

impl Pcpu {
    pub(crate) fn new(cpuid: usize) -> Self {
        Self {
            cpuid,
            cpumask: 1 << cpuid,
            curthread: OwnedPtr::null(),
            idlethread: OwnedPtr::null(),
            idle_name: format!("idle: cpu{cpuid}"),
            next: OwnedPtr::null(),
            spinlocks: Guarded::new(Vec::with_capacity(8)),
            rm_queue: crate::rmlock::PcpuQueue::new(),
            dynamic: Values::new(),
            block: OwnedPtr::null(),
            progress: Counter64::new(0),
            _apart: Line(()),
            runq: Guarded::new(Vec::with_capacity(16)),
            queued: Owned32::new(0),
            pending: Shared32::new(0),
            irqs: Shared32::new(0),
            asleep: Shared32::new(0),
        }
    }

    pub(crate) fn reset(&self) {
        self.curthread.set(core::ptr::null_mut());
        self.idlethread.set(core::ptr::null_mut());
        self.pending.reset();
        self.irqs.reset();
        self.next.set(core::ptr::null_mut());
        self.queued.set(0);
        // SAFETY: between executions nobody else is running.
        unsafe {
            self.runq.get().clear();
            self.spinlocks.get().clear();
        }
        self.rm_queue.reset();
        self.dynamic.reset();
    }

    /// What happens next depends on it: see [`mod@crate::host::explore::state`].
    pub(crate) fn state(&self, h: &mut Hash) {
        h.pointer(self.curthread.get());
        h.pointer(self.next.get());
        // SAFETY: (k) and (t): all threads are suspended.
        unsafe {
            h.bytes_of_all(self.spinlocks.get());
            h.bytes_of_all(self.runq.get());
        }
        h.bytes_of(&self.rm_queue);
        h.bytes_of(&self.dynamic);
        for word in [&self.pending, &self.irqs] {
            h.word(word.get().into());
        }
    }

    /// The thread this CPU runs.
    pub(crate) fn current(&self) -> &Thread {
        // SAFETY: set at boot, before the CPU runs, and threads live as long as their machine.
        unsafe { &*self.curthread.get() }
    }

    /// Whether the idle thread runs.
    pub(crate) fn is_idle(&self) -> bool {
        self.curthread.get() == self.idlethread.get()
    }

    /// Posts `bits` and makes the CPU look at its next boundary.
    pub(crate) fn post(&self, bits: u32) {
        touch(key::CPU + self.cpuid, 1, true);
        self.pending.or(bits);
        let block = self.block.get();
        if !block.is_null() {
            // SAFETY: the block lives as long as the run, and is cleared from here before it goes.
            unsafe { (*block).word.or(bits::PENDING) };
            smp::wake(self);
        }
    }
}

/// The virtual CPU that runs the caller. Stays true only as long as the caller cannot migrate.
#[inline(always)]
pub fn curcpu() -> &'static Pcpu {
    let cpu = gs::curcpu();
    debug_assert!(!cpu.is_null(), "curcpu outside a machine");
    // SAFETY: inside a machine the block names a live `Pcpu`; the machine outlives every thread that can ask.
    unsafe { &*cpu }
}

/// `curcpu`'s number, FreeBSD's `PCPU_GET(cpuid)`.
#[inline(always)]
pub fn cpuid() -> usize {
    curcpu().cpuid
}

/// The seam's word; for primitives' fast paths.
#[inline(always)]
pub(crate) fn word() -> u32 {
    gs::word()
}

/// Whether, by the seam's `word`, there are checks (INVARIANTS, WITNESS) to do at a boundary and nothing else: nothing waits, nobody
/// explores, profiles or lints, and the machine goes on.
#[inline(always)]
pub(crate) fn only_checks(word: u32) -> bool {
    word != 0 && word & !(bits::INVARIANTS | bits::WITNESS | bits::EPOCH_TRACE) == 0
}

/// Whether nothing waits for this CPU, and nobody explores: a wait of a microsecond need not tell anybody.
#[inline(always)]
pub(crate) fn may_hurry() -> bool {
    gs::word() & (bits::PENDING | bits::EXPLORE | bits::STOPPED | bits::OUTSIDE) == 0
}

/// [`invariants`] by a word of which [`only_checks`] is true.
#[inline(always)]
pub(crate) fn checks_invariants(word: u32) -> bool {
    word & bits::INVARIANTS != 0
}

/// The seam's place for this CPU's latest rmlock reader, and what that one's lock may not have in `rm_writecpus`; see `rmlock`.
pub(crate) use crate::host::gs::{busy, reader, reader_is, readmasked, set_reader};

/// The machine that the caller runs on.
#[inline(always)]
pub(crate) fn machine() -> &'static Machine {
    let machine = gs::machine();
    debug_assert!(!machine.is_null(), "outside a machine");
    // SAFETY: as in `curcpu`.
    unsafe { &*machine }
}

/// An instruction boundary: the beginning of a kernel primitive.
///
/// `what` is the primitive's name, `obj` the address of what it works on (0 for none). Returns false when the machine has
/// stopped (`SCHEDULER_STOPPED`) and the primitive must return at once.
///
/// # Panics
///
/// A Rust panic when called outside a machine.
#[inline(always)]
pub fn step(what: &'static str, obj: usize) -> bool {
    if gs::word() == 0 { true } else { step_slow(what, obj, None) }
}

/// [`step`] of a primitive that knows who called it, for traces.
#[inline(always)]
pub(crate) fn step_at(what: &'static str, obj: usize, loc: Loc) -> bool {
    if gs::word() == 0 { true } else { step_slow(what, obj, Some(loc)) }
}

/// [`step_at`] of a primitive's long way that is no inlined function: after a switch of stacks, which a boundary may be, the processor
/// predicts each return wrongly, so there is one less.
#[inline(always)]
pub(crate) fn step_here(what: &'static str, obj: usize, loc: Loc) -> bool {
    if gs::word() == 0 { true } else { step_now(what, obj, Some(loc)) }
}

/// [`step`] with the word already found to be non-zero.
#[cold]
#[inline(never)]
fn step_slow(what: &'static str, obj: usize, loc: Option<Loc>) -> bool {
    step_now(what, obj, loc)
}

#[inline(always)]
fn step_now(what: &'static str, obj: usize, loc: Option<Loc>) -> bool {
    let w = gs::word();
    if w & bits::OUTSIDE != 0 {
        panic!("{what}: called outside a machine (a kernel primitive needs Machine::run)");
    }
    if w & bits::STOPPED != 0 {
        return stopped();
    }
    if w & bits::EXPLORE != 0 {
        explore::boundary(what, obj, loc);
    } else if w & bits::PENDING != 0 {
        crate::interrupt::take_pending();
    }
    gs::word() & bits::STOPPED == 0 || stopped()
}

/// The machine has stopped: a thread that is being unwound passes, any other parks here for good.
fn stopped() -> bool {
    if !curthread().unwinding.get() {
        crate::host::park_forever();
    }
    false
}

/// `cpu_spinwait()`: the caller's loop cannot go on until another CPU moves.
///
/// In `explore` the thread is disabled until something that it read since its last wait has changed (see [`observe`]).
/// Returns false when the machine has stopped.
#[inline]
pub fn spinwait() -> bool {
    let w = gs::word();
    if w & (bits::EXPLORE | bits::STOPPED | bits::OUTSIDE) != 0 {
        return spinwait_slow();
    }
    let td = curthread();
    td.awaiting.set(true);
    if w & bits::PENDING != 0 {
        crate::interrupt::take_pending();
    }
    smp::relax();
    td.awaiting.set(false);
    true
}

/// [`spinwait`] for the owner of the lock object `lock`: what a deadlock's description needs.
pub(crate) fn spinwait_on(lock: &LockObject) -> bool {
    crate::lock_profile::waits(lock);
    let td = curthread();
    td.spinning_on.set(lock.id());
    let go_on = spinwait();
    td.spinning_on.set(0);
    go_on
}

#[cold]
#[inline(never)]
fn spinwait_slow() -> bool {
    let w = gs::word();
    if w & bits::OUTSIDE != 0 {
        panic!("cpu_spinwait: called outside a machine");
    }
    if w & bits::STOPPED != 0 {
        curthread().awaiting.set(true);
        return stopped();
    }
    explore::spinwait();
    gs::word() & bits::STOPPED == 0 || stopped()
}

/// Notes that the caller's next decision depends on the `size` (1, 2, 4 or 8) bytes at `at`: a failed trylock its word, a
/// sequence reader the count, an adaptive spinner its owner's run state.
#[inline]
pub fn observe(at: *const (), size: usize) {
    if gs::word() & bits::EXPLORE != 0 {
        explore::observe(at, size);
    }
}

/// [`observe`] by a lock that goes on only when its word changes: what the thread read before it asked for the lock matters no
/// longer, and may be in freed memory, whose contents differ from process to process.
#[inline]
pub(crate) fn observe_only(at: *const (), size: usize) {
    if gs::word() & bits::EXPLORE != 0 {
        explore::forget_observed();
        explore::observe(at, size);
    }
}

/// An atomic operation of a primitive: a boundary of its own at `insn` granularity, part of the primitive's footprint at `op`. It works
/// on the word at `at`, and may write it.
#[inline(always)]
pub(crate) fn instruction(what: &'static str, at: *const usize, write: bool) {
    if gs::word() & (bits::INSN | bits::RECORD) != 0 {
        explore::instruction(what, at as usize, size_of::<usize>(), write);
    }
}

/// The [`instruction`] that writes the word if it is `old`: see [`only_read`].
#[inline(always)]
pub(crate) fn fcmpset(at: *const usize, old: usize) {
    if gs::word() & (bits::INSN | bits::RECORD) != 0 {
        explore::fcmpset(at, old);
    }
}

/// A chain lock's word is about to be cleared, for footprints at `insn` granularity.
#[inline(always)]
pub(crate) fn released(at: *const usize) {
    if gs::word() & bits::INSN != 0 {
        touch(at as usize, size_of::<usize>(), true);
    }
}

/// The [`fcmpset`] found another value.
#[inline(always)]
pub(crate) fn only_read() {
    if gs::word() & bits::INSN != 0 {
        explore::only_read();
    }
}

/// Whether nothing is to be done at a boundary now: a primitive made of several may then run through all of them at once.
#[inline(always)]
pub fn quiet() -> bool {
    gs::quiet()
}

/// The cheap side of a pair of fences of which one side runs often: only the compiler is kept from reordering. The other side,
/// [`fence_heavy`], makes every CPU fence, as an IPI would. Of "store here, light fence, load there" and "store there, heavy fence,
/// load here" at least one load sees the other's store.
#[inline(always)]
pub fn fence_light() {
    thread_fence_compiler();
    if !membarrier::granted() && !sched::explored() {
        thread_fence_seq_cst();
    }
}

/// Whether [`fence_light`] costs nothing: membarrier(2) is not refused.
#[inline(always)]
pub fn fences_are_light() -> bool {
    membarrier::granted()
}

/// [`fence_light`] of a caller that found [`fences_are_light`].
#[inline(always)]
pub fn fence_light_only() {
    thread_fence_compiler();
}

/// The costly side of [`fence_light`]: a full fence on every CPU.
pub fn fence_heavy() {
    if sched::explored() {
        // One host thread runs all CPUs.
        thread_fence_compiler();
    } else {
        membarrier::fence();
    }
}

/// Whether options INVARIANTS is on.
#[inline(always)]
pub(crate) fn invariants() -> bool {
    gs::word() & (bits::INVARIANTS | bits::STOPPED) == bits::INVARIANTS
}

/// Whether options WITNESS is on.
#[inline(always)]
pub(crate) fn witness() -> bool {
    gs::word() & (bits::WITNESS | bits::STOPPED) == bits::WITNESS
}

/// Whether options LOCK_PROFILING is on.
#[inline(always)]
pub(crate) fn profiling() -> bool {
    gs::word() & (bits::PROFILE | bits::STOPPED) == bits::PROFILE
}

/// Whether options EPOCH_TRACE is on.
#[inline(always)]
pub(crate) fn epoch_trace() -> bool {
    gs::word() & (bits::EPOCH_TRACE | bits::STOPPED) == bits::EPOCH_TRACE
}

/// Whether to report what FreeBSD does not detect.
#[inline(always)]
pub(crate) fn lint() -> bool {
    gs::word() & (bits::LINT | bits::STOPPED) == bits::LINT
}

/// `SCHEDULER_STOPPED()`.
#[inline(always)]
pub fn scheduler_stopped() -> bool {
    gs::word() & bits::STOPPED != 0
}

/// Whether the caller runs on a machine at all.
pub fn in_machine() -> bool {
    gs::word() & bits::OUTSIDE == 0
}

/// Number of virtual CPUs, `mp_ncpus`.
pub fn mp_ncpus() -> usize {
    machine().cpus.len()
}

/// Tells the engines apart where their hypercalls differ.
pub(crate) fn engine() -> Engine {
    machine().engine
}

/// [`bounded_spin`] for a lock that has no owner to watch; none in a kernel that does not spin adaptively.
pub(crate) fn adaptive_spins(limit: u32) -> u32 {
    if machine().config.adaptive { bounded_spin(limit) } else { 0 }
}

/// How often a bounded spin tries before it gives up. In `explore` it gives up at once: how long such a spin lasts is a
/// choice, and giving up is the one that leads anywhere new.
#[inline]
pub(crate) fn bounded_spin(limit: u32) -> u32 {
    if gs::word() & bits::EXPLORE != 0 { 0 } else { limit }
}
