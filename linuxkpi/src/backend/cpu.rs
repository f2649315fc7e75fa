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
//! With interrupts off there is no softirq either. So I is taken only while nobody else has B, and a softirq begins only while nobody has I;
//! neither waits for the second with the first, which would be B and I in both orders. Whoever has I therefore gets B at once, if it
//! closes bottom halves after interrupts.
//!
//! # Why a wait ends
//!
//! A thread waits holding only locks of its own CPU. Whoever holds this CPU's P, B or I, or a spinlock, is runnable or waits for
//! a lock that comes later, or for a lock of the same order on another CPU, whose owner holds that CPU. A cycle needs two
//! spinlocks in opposite orders, or a lock taken by a handler and held with the handler's level open: what lockdep reports.

use crate::Flags;
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

    /// [`CpuLock::lock`], once nobody else has `other` either. Owning neither until both are to be had: see the module.
    fn lock_unless(&self, other: &Self) {
        if !cpu::step("own cpu", self.object.id()) {
            return;
        }
        lint::blocking("own cpu", &self.object, Loc::caller());
        loop {
            if self.word.get() != 0 {
                self.block();
            } else if !matches!(other.word.get() & !CONTESTED, owner if owner == 0 || owner == me()) {
                other.block();
            } else {
                break;
            }
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

/// `Task::owns`: where the thread stands and what it has closed, in one word, so that "at task level and nothing yet" is one
/// comparison.
///
/// The two counts and the flag are Linux's own and do not know of each other: `spin_lock` adds to the first and nothing else,
/// whatever form takes the lock and whatever form gives it back. What a thread owns of its CPU follows from them: P if any of
/// them is not zero, B and I each with its own.
///
/// | bits | |
/// |---|---|
/// | 0-15 | nested "preemption off", one for each spinlock too |
/// | 16-31 | nested "bottom halves off" |
/// | 32 | interrupts are off, however often they were switched off |
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

/// `Flags` of who found interrupts on; what `local_irq_restore` takes for "on".
const IRQS_ON: Flags = Flags(0);
/// And off.
const IRQS_OFF: Flags = Flags(1);

/// Whether "interrupts off": what `irqs_disabled()` asks.
pub(crate) fn irqs_off(task: &Task) -> bool {
    task.owns.get() & owns::IRQ != 0
}

/// Whether `task` runs below `level`.
fn below(task: &Task, level: usize) -> bool {
    task.owns.get() < level
}

/// How often `what` is counted.
fn depth(owned: usize, what: usize) -> usize {
    (owned / what) & owns::DEPTH
}

/// Whether anything is closed.
fn any(owned: usize) -> bool {
    owned & (owns::SOFTIRQ - 1) != 0
}

/// Closes more, from what `task` has closed to `owned`: the first of all pins, forbids sleep, and takes P below softirq level; then
/// the locks of what was open, each below its handlers' level.
#[inline]
fn close(task: &Task, owned: usize) {
    let old = task.owns.get();
    if !any(old) {
        sched_pin();
        thread_no_sleeping();
        if below(task, owns::SOFTIRQ) {
            LOCKS.get().preempt.lock();
        }
    }
    if depth(old, owns::BH) == 0 && depth(owned, owns::BH) != 0 && below(task, owns::SOFTIRQ) {
        LOCKS.get().bh.lock();
    }
    if old & owns::IRQ < owned & owns::IRQ && below(task, owns::HARDIRQ) {
        let locks = LOCKS.get();
        locks.irq.lock_unless(&locks.bh);
    }
    task.owns.set(owned);
}

/// Undoes [`close`], down to `owned`.
#[inline]
fn open(task: &Task, owned: usize) {
    let old = task.owns.get();
    task.owns.set(owned);
    if old & owns::IRQ > owned & owns::IRQ && below(task, owns::HARDIRQ) {
        LOCKS.get().irq.unlock();
    }
    if depth(old, owns::BH) != 0 && depth(owned, owns::BH) == 0 && below(task, owns::SOFTIRQ) {
        LOCKS.get().bh.unlock();
    }
    if any(old) && !any(owned) {
        if below(task, owns::SOFTIRQ) {
            LOCKS.get().preempt.unlock();
        }
        thread_sleeping_ok();
        sched_unpin();
    }
}

/// Closes one more of each of `what`.
#[inline]
fn close_one(task: &Task, what: usize) {
    close(task, task.owns.get() + what);
}

/// `owned` with one less of `what`, for [`open`].
///
/// # Panics
///
/// What was never counted is not given back: it would be borrowed from the next count (INVARIANTS). Without them nothing is done.
#[inline]
fn one_less(owned: usize, what: usize) -> usize {
    let counted = depth(owned, what) != 0;
    let name = if what == owns::PREEMPT { "preempt_enable" } else { "local_bh_enable" };
    kassert_args(counted, format_args!("{name}: was not disabled"));
    if counted { owned - what } else { owned }
}

/// `WHAT`, of `owns::PREEMPT` and `owns::IRQ`, all at once: at task level with nothing owned yet, neither pinned nor forbidden to
/// sleep, the locks free, and nothing to be done at the boundaries that lie between. False if the long way has to be gone.
#[inline(always)]
fn enter_fast<const WHAT: usize>(task: &Task) -> bool {
    if !cpu::quiet() {
        return false;
    }
    let irq = WHAT & owns::IRQ != 0;
    // Nothing switches between here and the end, so this CPU's locks are its own before the thread is pinned.
    let (locks, td) = (LOCKS.get(), curthread());
    let taken = locks.preempt.word.get() | if irq { locks.irq.word.get() | locks.bh.word.get() } else { 0 };
    // One branch for all: what is stored then depends on nothing that the last section stored.
    if task.owns.get() | taken | td.pinned.get() as usize | td.no_sleeping.get() as usize != 0 {
        return false;
    }
    td.pinned.set(1);
    td.no_sleeping.set(1);
    task.owns.set(WHAT);
    let me = core::ptr::from_ref(td) as usize;
    locks.preempt.word.set(me);
    if irq {
        locks.irq.word.set(me);
    }
    true
}

/// Undoes [`enter_fast`] at once, if nothing else is owned, nobody waits, and interrupts are to be on again.
#[inline(always)]
fn exit_fast<const WHAT: usize>(task: &Task, flags: Flags) -> bool {
    if !cpu::quiet() {
        return false;
    }
    let irq = WHAT & owns::IRQ != 0;
    let (locks, td) = (LOCKS.get(), curthread());
    let contested = (locks.preempt.word.get() | if irq { locks.irq.word.get() } else { 0 }) & CONTESTED;
    let owned = task.owns.get() ^ WHAT | flags.0 & IRQS_OFF.0;
    if owned | contested | (td.pinned.get() ^ 1) as usize | (td.no_sleeping.get() ^ 1) as usize != 0 {
        return false;
    }
    if irq {
        locks.irq.word.set(0);
    }
    locks.preempt.word.set(0);
    task.owns.set(0);
    td.no_sleeping.set(0);
    td.pinned.set(0);
    true
}

/// `preempt_disable`, and what `spin_lock` begins with: P, below softirq level.
#[inline(always)]
pub(crate) fn preempt_disable() {
    let task = current();
    if !enter_fast::<{ owns::PREEMPT }>(task) {
        preempt_disable_slow(task);
    }
}

#[cold]
#[inline(never)]
fn preempt_disable_slow(task: &Task) {
    close_one(task, owns::PREEMPT);
}

/// `preempt_enable`, and what `spin_unlock` ends with.
#[inline(always)]
pub(crate) fn preempt_enable() {
    let task = current();
    if !exit_fast::<{ owns::PREEMPT }>(task, IRQS_ON) {
        preempt_enable_slow(task);
    }
}

#[cold]
#[inline(never)]
fn preempt_enable_slow(task: &Task) {
    open(task, one_less(task.owns.get(), owns::PREEMPT));
}

/// `local_bh_disable`: P and B, below softirq level.
pub(crate) fn bh_disable() {
    close_one(current(), owns::BH);
}

/// `local_bh_enable`.
pub(crate) fn bh_enable() {
    let task = current();
    open(task, one_less(task.owns.get(), owns::BH));
}

/// What `spin_lock_bh` begins with: both counts.
pub(crate) fn lock_bh() {
    close_one(current(), owns::BH + owns::PREEMPT);
}

/// What `spin_unlock_bh` ends with.
pub(crate) fn unlock_bh() {
    let task = current();
    open(task, one_less(one_less(task.owns.get(), owns::PREEMPT), owns::BH));
}

/// `local_irq_save` (`LOCK` 0), and what `spin_lock_irqsave` begins with (`owns::PREEMPT`): P and I, below hardirq level.
#[inline(always)]
fn irq_close<const LOCK: usize, const FAST: usize>() -> Flags {
    const { assert!(FAST == LOCK | owns::IRQ) };
    let task = current();
    if enter_fast::<FAST>(task) { IRQS_ON } else { irq_close_slow(task, LOCK) }
}

#[cold]
#[inline(never)]
fn irq_close_slow(task: &Task, lock: usize) -> Flags {
    let owned = task.owns.get();
    close(task, (owned | owns::IRQ) + lock);
    if owned & owns::IRQ == 0 {
        return IRQS_ON;
    }
    task.irqs_off_again.set(task.irqs_off_again.get() + 1);
    IRQS_OFF
}

/// `local_irq_save`, `local_irq_disable`.
#[inline(always)]
pub(crate) fn irq_save() -> Flags {
    irq_close::<0, { owns::IRQ }>()
}

/// What `spin_lock_irqsave` and `spin_lock_irq` begin with.
#[inline(always)]
pub(crate) fn lock_irqsave() -> Flags {
    irq_close::<{ owns::PREEMPT }, { owns::PREEMPT | owns::IRQ }>()
}

/// `local_irq_restore` (`LOCK` 0), and what `spin_unlock_irqrestore` ends with: interrupts are what they were, whatever they are.
#[inline(always)]
fn irq_restore_as<const LOCK: usize, const FAST: usize>(flags: Flags) {
    const { assert!(FAST == LOCK | owns::IRQ) };
    let task = current();
    if !exit_fast::<FAST>(task, flags) {
        irq_restore_slow(task, LOCK, flags);
    }
}

#[cold]
#[inline(never)]
fn irq_restore_slow(task: &Task, lock: usize, flags: Flags) {
    let again = task.irqs_off_again.get();
    let on = if flags.0 & Flags::COUNTED == 0 { flags == IRQS_ON } else { again == 0 };
    if !on {
        task.irqs_off_again.set(again.saturating_sub(1));
        if flags.0 & Flags::COUNTED == 0 {
            close(task, task.owns.get() | owns::IRQ);
        }
    }
    irq_open(task, lock, on);
}

/// Gives a `lock`'s count back, and lets interrupts in if `on`.
fn irq_open(task: &Task, lock: usize, on: bool) {
    let mut owned = task.owns.get();
    if on {
        owned &= !owns::IRQ;
    }
    open(task, if lock == 0 { owned } else { one_less(owned, lock) });
}

/// `local_irq_restore`.
#[inline(always)]
pub(crate) fn irq_restore(flags: Flags) {
    irq_restore_as::<0, { owns::IRQ }>(flags);
}

/// What `spin_unlock_irqrestore` ends with.
#[inline(always)]
pub(crate) fn unlock_irqrestore(flags: Flags) {
    irq_restore_as::<{ owns::PREEMPT }, { owns::PREEMPT | owns::IRQ }>(flags);
}

/// `local_irq_enable` (`LOCK` 0), and what `spin_unlock_irq` ends with: interrupts are on, whatever they were.
#[inline(always)]
fn irq_enable_as<const LOCK: usize, const FAST: usize>() {
    const { assert!(FAST == LOCK | owns::IRQ) };
    let task = current();
    if !exit_fast::<FAST>(task, IRQS_ON) {
        irq_enable_slow(task, LOCK);
    }
}

/// # Panics
///
/// Linux lets interrupts be switched on that are on. Who has switched them off as often has a reason to: an inner `spin_unlock_irq`
/// has let them in before the outer one does. Anybody else has no section to end (INVARIANTS).
#[cold]
#[inline(never)]
fn irq_enable_slow(task: &Task, lock: usize) {
    if !irqs_off(task) {
        let again = task.irqs_off_again.get();
        kassert_args(again != 0, format_args!("local_irq_enable: was not disabled"));
        task.irqs_off_again.set(again.saturating_sub(1));
    }
    irq_open(task, lock, true);
}

/// `local_irq_enable`.
#[inline(always)]
pub(crate) fn irq_enable() {
    irq_enable_as::<0, { owns::IRQ }>();
}

/// What `spin_unlock_irq` ends with.
#[inline(always)]
pub(crate) fn unlock_irq() {
    irq_enable_as::<{ owns::PREEMPT }, { owns::PREEMPT | owns::IRQ }>();
}

/// Runs a handler at `hardirq` or softirq level: pinned, owning the lock of its level.
pub(crate) fn handler(hardirq: bool, body: impl FnOnce()) {
    let task = current();
    sched_pin();
    let locks = LOCKS.get();
    let lock = if hardirq { &locks.irq } else { &locks.bh };
    if hardirq {
        lock.lock();
    } else {
        lock.lock_unless(&locks.irq);
    }
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
