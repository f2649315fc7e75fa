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
use freebsd_sys::atomic::{Owned32, OwnedUsize};
use freebsd_sys::cpu;
use freebsd_sys::lint;
use freebsd_sys::lock::{Lo, Loc, LockClass, LockObject};
use freebsd_sys::module::Dpcpu;
use freebsd_sys::sched::{sched_pin, sched_unpin};
use freebsd_sys::thread::{curthread, thread_no_sleeping, thread_sleeping_ok};
use freebsd_sys::turnstile;

/// `Task::level`: where a thread stands.
mod level {
    pub(super) const SOFTIRQ: usize = 1;
    pub(super) const HARDIRQ: usize = 2;
}

/// A lock that only threads of one CPU take, pinned there. Nesting is counted in the task, not here.
///
/// Nobody else touches the words, and a thread of the same CPU runs only when this one has been switched out, which is at a boundary:
/// plain loads and stores are enough (a real kernel brackets them with critical_enter and critical_exit). For the same reason a
/// contender never spins: it runs, so the owner does not. It blocks on the lock's turnstile and lends its priority.
#[derive(Debug)]
struct CpuLock {
    object: LockObject,
    owner: OwnedUsize,
    contested: Owned32,
}

impl CpuLock {
    const fn new(name: &'static CStr) -> Self {
        Self {
            object: LockObject::initialized(LockClass::MtxSleep, name, 0, Lo::RECURSABLE),
            owner: OwnedUsize::new(0),
            contested: Owned32::new(0),
        }
    }

    #[inline]
    #[track_caller]
    fn lock(&self) {
        if !cpu::step("own cpu", self.object.id()) {
            return;
        }
        lint::blocking("own cpu", &self.object, Loc::caller());
        while self.owner.get() != 0 {
            self.block();
            if cpu::scheduler_stopped() {
                return;
            }
        }
        self.owner.set(core::ptr::from_ref(curthread()) as usize);
    }

    #[cold]
    fn block(&self) {
        turnstile::trywait();
        self.contested.set(1);
        turnstile::wait(&self.object, self.owner.get() as *mut _, turnstile::EXCLUSIVE);
    }

    #[inline]
    fn unlock(&self) {
        if !cpu::step("disown cpu", self.object.id()) {
            return;
        }
        if self.contested.get() == 0 {
            self.owner.set(0);
        } else {
            self.wake();
        }
    }

    #[cold]
    fn wake(&self) {
        turnstile::chain_lock();
        self.contested.set(0);
        self.owner.set(0);
        turnstile::broadcast(&self.object, turnstile::EXCLUSIVE);
        turnstile::chain_unlock();
    }
}

/// One CPU's locks.
#[derive(Debug)]
struct Locks {
    preempt: CpuLock,
    bh: CpuLock,
    irq: CpuLock,
}

impl Default for Locks {
    fn default() -> Self {
        Self { preempt: CpuLock::new(c"lnxpreempt"), bh: CpuLock::new(c"lnxbh"), irq: CpuLock::new(c"lnxirq") }
    }
}

/// This CPU's locks are what a pinned caller gets.
static LOCKS: Dpcpu<Locks> = Dpcpu::new();

/// Opens one more "preemption off" of `task`: the first pins, forbids sleep, and takes P below softirq level.
#[inline]
fn enter(task: &Task) {
    let depth = task.preempt_depth.get();
    task.preempt_depth.set(depth + 1);
    if depth == 0 {
        sched_pin();
        thread_no_sleeping();
        if task.level.get() < level::SOFTIRQ {
            LOCKS.get().preempt.lock();
        }
    }
}

/// Undoes [`enter`].
#[inline]
fn exit(task: &Task) {
    let depth = task.preempt_depth.get() - 1;
    task.preempt_depth.set(depth);
    if depth == 0 {
        if task.level.get() < level::SOFTIRQ {
            LOCKS.get().preempt.unlock();
        }
        thread_sleeping_ok();
        sched_unpin();
    }
}

/// `preempt_disable`: P, below softirq level.
#[inline]
pub(crate) fn preempt_disable() {
    enter(current());
}

/// `preempt_enable`.
#[inline]
pub(crate) fn preempt_enable() {
    exit(current());
}

/// `local_bh_disable`: P and B, below softirq level.
#[inline]
pub(crate) fn bh_disable() {
    let task = current();
    enter(task);
    if task.bh_depth.get() == 0 && task.level.get() < level::SOFTIRQ {
        LOCKS.get().bh.lock();
    }
    task.bh_depth.add(1);
}

/// `local_bh_enable`.
#[inline]
pub(crate) fn bh_enable() {
    let task = current();
    task.bh_depth.sub(1);
    if task.bh_depth.get() == 0 && task.level.get() < level::SOFTIRQ {
        LOCKS.get().bh.unlock();
    }
    exit(task);
}

/// `local_irq_disable`: P and I, below hardirq level.
#[inline]
pub(crate) fn irq_disable() {
    let task = current();
    enter(task);
    if task.irq_depth.get() == 0 && task.level.get() < level::HARDIRQ {
        LOCKS.get().irq.lock();
    }
    task.irq_depth.add(1);
}

/// `local_irq_enable`.
#[inline]
pub(crate) fn irq_enable() {
    let task = current();
    task.irq_depth.sub(1);
    if task.irq_depth.get() == 0 && task.level.get() < level::HARDIRQ {
        LOCKS.get().irq.unlock();
    }
    exit(task);
}

/// Runs a handler at `hardirq` or softirq level: pinned, owning the lock of its level.
pub(crate) fn handler(hardirq: bool, body: impl FnOnce()) {
    let task = current();
    let old = task.level.get();
    sched_pin();
    let locks = LOCKS.get();
    let lock = if hardirq { &locks.irq } else { &locks.bh };
    lock.lock();
    task.level.set(if hardirq { level::HARDIRQ } else { level::SOFTIRQ });
    body();
    task.level.set(old);
    lock.unlock();
    sched_unpin();
}
