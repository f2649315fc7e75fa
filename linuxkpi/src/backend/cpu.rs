//! Owning the CPU: what "preemption off" and "interrupts off" are in `cpu_mutex`.
//!
//! Each CPU has three locks, P for preemption, B for bottom halves and I for interrupts, and a thread that Linux
//! would not let be interrupted owns its CPU's: it stays preemptible for FreeBSD, but nothing that Linux would keep out can run
//! between, since it takes the same mutex first. `td_critnest` stays 0, so malloc, free, taskqueues and blocking work, waiting
//! lends priority, and nothing switches in a critical section.
//!
//! # Order
//!
//! P, then B, then I, then the lock proper. A handler (hardirq or softirq level) stands above preemption: it takes only what
//! lies above its own level, as its Linux original would. Taking I before P, as first proposed, deadlocks: one thread holds P
//! (a plain spin_lock) and wants I (an irqsave inside), the other holds I and wants P.
//!
//! # Why a wait ends
//!
//! A thread waits holding only locks of its own CPU. Whoever holds this CPU's P, B or I, or a spinlock, is runnable or waits for
//! a lock that comes later, or for a lock of the same order on another CPU, whose owner holds that CPU. A cycle needs two
//! spinlocks in opposite orders, or a lock taken by a handler and held with the handler's level open: what lockdep reports.

use crate::sched::{Task, current};
use core::ffi::CStr;
use freebsd_sys::atomic::OwnedUsize;
use freebsd_sys::cpu;
use freebsd_sys::lint;
use freebsd_sys::lock::{Lo, Loc, LockClass, LockObject};
use freebsd_sys::module::Dpcpu;
use freebsd_sys::panic::kassert_args;
use freebsd_sys::sched::{sched_pin, sched_unpin};
use freebsd_sys::thread::{curthread, thread_no_sleeping, thread_sleeping_ok};
use freebsd_sys::turnstile;

/// A lock that only threads of one CPU take, pinned there. Nesting is counted in the task, not here.
///
/// Nobody else touches the word, and a thread of the same CPU runs only when this one has been switched out, which is at a boundary:
/// plain loads and stores are enough (a real kernel brackets them with critical_enter and critical_exit). For the same reason a
/// contender never spins: it runs, so the owner does not. It blocks on the lock's turnstile and lends its priority.
#[derive(Debug)]
struct CpuLock {
    /// 0, or the owner, with [`CONTESTED`] if somebody waits: a free lock and a lock that is given back without a wake-up are one
    /// comparison each.
    word: OwnedUsize,
    object: LockObject,
}

/// Threads wait on the turnstile.
const CONTESTED: usize = 1;

impl CpuLock {
    const fn new(name: &'static CStr) -> Self {
        Self { word: OwnedUsize::new(0), object: LockObject::initialized(LockClass::MtxSleep, name, 0, Lo::RECURSABLE) }
    }

    #[inline]
    #[track_caller]
    fn lock(&self) {
        if !cpu::step("own cpu", self.object.id()) {
            return;
        }
        lint::blocking("own cpu", &self.object, Loc::caller());
        while self.word.get() != 0 {
            self.block();
            if cpu::scheduler_stopped() {
                return;
            }
        }
        self.word.set(me());
    }

    #[cold]
    fn block(&self) {
        turnstile::trywait();
        let word = self.word.get();
        self.word.set(word | CONTESTED);
        turnstile::wait(&self.object, (word & !CONTESTED) as *mut _, turnstile::EXCLUSIVE);
    }

    #[inline]
    fn unlock(&self) {
        if !cpu::step("disown cpu", self.object.id()) {
            return;
        }
        if self.word.get() & CONTESTED == 0 {
            self.word.set(0);
        } else {
            self.wake();
        }
    }

    #[cold]
    fn wake(&self) {
        turnstile::chain_lock();
        self.word.set(0);
        turnstile::broadcast(&self.object, turnstile::EXCLUSIVE);
        turnstile::chain_unlock();
    }
}

/// The running thread, as an owner.
#[inline(always)]
fn me() -> usize {
    core::ptr::from_ref(curthread()) as usize
}

/// One CPU's locks; the two words that the usual section writes share a cache line.
#[derive(Debug)]
#[repr(C, align(64))]
struct Locks {
    preempt: CpuLock,
    irq: CpuLock,
    bh: CpuLock,
}

impl Default for Locks {
    fn default() -> Self {
        Self { preempt: CpuLock::new(c"lnxpreempt"), bh: CpuLock::new(c"lnxbh"), irq: CpuLock::new(c"lnxirq") }
    }
}

/// This CPU's locks are what a pinned caller gets.
static LOCKS: Dpcpu<Locks> = Dpcpu::new();

/// `Task::owns`: where the thread stands and what it has of its CPU, in one word, so that "at task level and nothing yet" is one
/// comparison.
///
/// | bits | |
/// |---|---|
/// | 0-15 | nested "preemption off", in whatever form |
/// | 16-31 | nested "bottom halves off" |
/// | 32-47 | nested "interrupts off" |
/// | 48-49 | the level: 0 task, 1 softirq, 2 hardirq |
mod owns {
    pub(super) const PREEMPT: usize = 1;
    pub(super) const BH: usize = 1 << 16;
    pub(super) const IRQ: usize = 1 << 32;
    pub(super) const SOFTIRQ: usize = 1 << 48;
    pub(super) const HARDIRQ: usize = 2 << 48;
    /// Bits of one of the counts.
    pub(super) const DEPTH: usize = 0xffff;
}

/// How deep "interrupts off" is nested: what `irqs_disabled()` asks.
pub(crate) fn irq_depth(task: &Task) -> usize {
    (task.owns.get() / owns::IRQ) & owns::DEPTH
}

/// Whether `task` runs below `level`.
fn below(task: &Task, level: usize) -> bool {
    task.owns.get() < level
}

/// Counts one more of `what`; true if it is the first.
#[inline]
fn first(task: &Task, what: usize) -> bool {
    let owned = task.owns.get();
    task.owns.set(owned + what);
    (owned / what) & owns::DEPTH == 0
}

/// Counts one less of `what`; true if it was the last.
///
/// # Panics
///
/// What was never counted is not given back: it would be borrowed from the next count (INVARIANTS). Without them nothing is done.
#[inline]
fn last(task: &Task, what: usize) -> bool {
    let counted = (task.owns.get() / what) & owns::DEPTH != 0;
    let name = match what {
        owns::PREEMPT => "preempt_enable",
        owns::BH => "local_bh_enable",
        _ => "local_irq_enable",
    };
    kassert_args(counted, format_args!("{name}: was not disabled"));
    if !counted {
        return false;
    }
    let owned = task.owns.get() - what;
    task.owns.set(owned);
    (owned / what) & owns::DEPTH == 0
}

/// Opens one more "preemption off" of `task`: the first pins, forbids sleep, and takes P below softirq level.
#[inline]
fn enter(task: &Task) {
    if first(task, owns::PREEMPT) {
        sched_pin();
        thread_no_sleeping();
        if below(task, owns::SOFTIRQ) {
            LOCKS.get().preempt.lock();
        }
    }
}

/// Undoes [`enter`].
#[inline]
fn exit(task: &Task) {
    if last(task, owns::PREEMPT) {
        if below(task, owns::SOFTIRQ) {
            LOCKS.get().preempt.unlock();
        }
        thread_sleeping_ok();
        sched_unpin();
    }
}

/// [`enter`], and for `IRQ` also I, all at once: at task level with nothing owned yet, neither pinned nor forbidden to sleep, both
/// locks free, and nothing to be done at the boundaries that lie between. False if the long way has to be gone.
#[inline(always)]
fn enter_fast<const IRQ: bool>(task: &Task) -> bool {
    if !cpu::quiet() {
        return false;
    }
    // Nothing switches between here and the end, so this CPU's locks are its own before the thread is pinned.
    let (locks, td) = (LOCKS.get(), curthread());
    let taken = locks.preempt.word.get() | if IRQ { locks.irq.word.get() } else { 0 };
    // One branch for all: what is stored then depends on nothing that the last section stored.
    if task.owns.get() | taken | td.pinned.get() as usize | td.no_sleeping.get() as usize != 0 {
        return false;
    }
    td.pinned.set(1);
    td.no_sleeping.set(1);
    task.owns.set(owns::PREEMPT + if IRQ { owns::IRQ } else { 0 });
    let me = core::ptr::from_ref(td) as usize;
    locks.preempt.word.set(me);
    if IRQ {
        locks.irq.word.set(me);
    }
    true
}

/// Undoes [`enter_fast`] at once, if nothing else is owned and nobody waits.
#[inline(always)]
fn exit_fast<const IRQ: bool>(task: &Task) -> bool {
    if !cpu::quiet() {
        return false;
    }
    let (locks, td) = (LOCKS.get(), curthread());
    let contested = (locks.preempt.word.get() | if IRQ { locks.irq.word.get() } else { 0 }) & CONTESTED;
    let owned = task.owns.get() ^ (owns::PREEMPT + if IRQ { owns::IRQ } else { 0 });
    if owned | contested | (td.pinned.get() ^ 1) as usize | (td.no_sleeping.get() ^ 1) as usize != 0 {
        return false;
    }
    if IRQ {
        locks.irq.word.set(0);
    }
    locks.preempt.word.set(0);
    task.owns.set(0);
    td.no_sleeping.set(0);
    td.pinned.set(0);
    true
}

/// `preempt_disable`: P, below softirq level.
#[inline(always)]
pub(crate) fn preempt_disable() {
    let task = current();
    if !enter_fast::<false>(task) {
        preempt_disable_slow(task);
    }
}

#[cold]
#[inline(never)]
fn preempt_disable_slow(task: &Task) {
    enter(task);
}

/// `preempt_enable`.
#[inline(always)]
pub(crate) fn preempt_enable() {
    let task = current();
    if !exit_fast::<false>(task) {
        preempt_enable_slow(task);
    }
}

#[cold]
#[inline(never)]
fn preempt_enable_slow(task: &Task) {
    exit(task);
}

/// `local_bh_disable`: P and B, below softirq level.
pub(crate) fn bh_disable() {
    let task = current();
    enter(task);
    if (task.owns.get() / owns::BH) & owns::DEPTH == 0 && below(task, owns::SOFTIRQ) {
        LOCKS.get().bh.lock();
    }
    first(task, owns::BH);
}

/// `local_bh_enable`.
pub(crate) fn bh_enable() {
    let task = current();
    if last(task, owns::BH) && below(task, owns::SOFTIRQ) {
        LOCKS.get().bh.unlock();
    }
    exit(task);
}

/// `local_irq_disable`: P and I, below hardirq level.
#[inline(always)]
pub(crate) fn irq_disable() {
    let task = current();
    if !enter_fast::<true>(task) {
        irq_disable_slow(task);
    }
}

#[cold]
#[inline(never)]
fn irq_disable_slow(task: &Task) {
    enter(task);
    if irq_depth(task) == 0 && below(task, owns::HARDIRQ) {
        LOCKS.get().irq.lock();
    }
    first(task, owns::IRQ);
}

/// `local_irq_enable`.
#[inline(always)]
pub(crate) fn irq_enable() {
    let task = current();
    if !exit_fast::<true>(task) {
        irq_enable_slow(task);
    }
}

#[cold]
#[inline(never)]
fn irq_enable_slow(task: &Task) {
    if last(task, owns::IRQ) && below(task, owns::HARDIRQ) {
        LOCKS.get().irq.unlock();
    }
    exit(task);
}

/// Runs a handler at `hardirq` or softirq level: pinned, owning the lock of its level.
pub(crate) fn handler(hardirq: bool, body: impl FnOnce()) {
    let task = current();
    sched_pin();
    let locks = LOCKS.get();
    let lock = if hardirq { &locks.irq } else { &locks.bh };
    lock.lock();
    // An interrupt thread runs one handler at a time, each from task level.
    let level = if hardirq { owns::HARDIRQ } else { owns::SOFTIRQ };
    let old = task.owns.get();
    task.owns.set(old % owns::SOFTIRQ + level);
    body();
    let now = task.owns.get();
    task.owns.set(now % owns::SOFTIRQ + old / owns::SOFTIRQ * owns::SOFTIRQ);
    lock.unlock();
    sched_unpin();
}
