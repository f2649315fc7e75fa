//! linux/sched.h: `current`, task states, `schedule()`, `wake_up_process()`.
//!
//! The task lies in the room that `struct thread` has for it (`td_lkpi_task` in a kernel), zeroed when a thread starts.
//!
//! # State of a task
//!
//! | value | meaning |
//! |---|---|
//! | `TASK_RUNNING` | does not intend to sleep |
//! | `TASK_INTERRUPTIBLE`, `TASK_UNINTERRUPTIBLE` | announced by the task itself, before it looks at its condition |
//! | `TASK_WAKING` | a waker was here: a sleep returns at once |
//!
//! A task sleeps on the address of its own `Task`. A waker changes the state and signals under that address's sleep queue lock, the
//! sleeper looks at the state under the same lock: a wake-up between the announcement and the sleep is never lost.
//!
//! # Memory ordering
//!
//! `set_current_state` is a store and a full fence, a wake-up a full fence and a load: of "state announced, condition read" and
//! "condition made true, state read" at least one side sees the other's store.
//!
//! # Deviations from Linux (LinuxKPI's)
//!
//! `schedule()` in `TASK_RUNNING` sleeps, and nobody can wake it. Timeouts are `int` ticks; INT_MAX and above is forever.
//!
//! References: sys/compat/linuxkpi/common/src/linux_schedule.c, linux/sched.h.

use crate::Loc;
use crate::completion::Completion;
use freebsd_sys::atomic::{OwnedUsize, thread_fence_seq_cst};
use freebsd_sys::sleepqueue::{self, EWOULDBLOCK, Type};
use freebsd_sys::thread::{LKPI_AREA, Thread, curthread, tdf};
use freebsd_sys::{cpu, sched, sleep, witness};

/// `TASK_RUNNING`.
pub const TASK_RUNNING: u32 = 0x0000;
/// `TASK_INTERRUPTIBLE`: a wake-up or a signal ends the sleep.
pub const TASK_INTERRUPTIBLE: u32 = 0x0001;
/// `TASK_UNINTERRUPTIBLE`: only a wake-up does.
pub const TASK_UNINTERRUPTIBLE: u32 = 0x0002;
/// `TASK_NORMAL`: both.
pub const TASK_NORMAL: u32 = TASK_INTERRUPTIBLE | TASK_UNINTERRUPTIBLE;
/// `TASK_WAKING`: woken and not yet running again.
pub const TASK_WAKING: u32 = 0x0100;
/// `TASK_PARKED`.
pub const TASK_PARKED: u32 = 0x0200;

/// `MAX_SCHEDULE_TIMEOUT`: for ever.
pub const MAX_SCHEDULE_TIMEOUT: i64 = i32::MAX as i64;
/// `ERESTARTSYS`: a signal came.
pub const ERESTARTSYS: i32 = 512;

/// `struct task_struct`, as far as the shim needs it. Only its own thread writes it, unless a field says otherwise.
#[repr(C)]
#[derive(Debug)]
pub struct Task {
    /// `state`: `TASK_RUNNING` is 0. Written by wakers under the sleep queue's lock.
    pub state: OwnedUsize,
    /// This machine's RCU state, once the thread has used it.
    pub rcu: OwnedUsize,
    /// An updater waits for this task's section to end. Written by that updater, under the sleep queue's lock.
    pub rcu_awaited: OwnedUsize,
    /// `cpu_mutex`: the level that the thread runs at, and what it has of its CPU: see [`crate::backend::cpu`].
    pub owns: OwnedUsize,
    /// `cpu_mutex`: how often interrupts were switched off that were off, which as many enablings may ask to undo.
    pub irqs_off_again: OwnedUsize,
    /// `kthread_flags`: `kthread_stop` was called. Written by that caller.
    pub should_stop: OwnedUsize,
    /// `task_ret`: what the kthread's function returned.
    pub ret: OwnedUsize,
    /// `exited`: a stopped kthread's function has returned.
    pub exited: Completion,
    /// `kthread_stop` has read `ret`: the task may go.
    pub reaped: Completion,
}

const _: () = assert!(size_of::<Task>() <= LKPI_AREA * size_of::<usize>());

impl Task {
    /// The wait channel that the task sleeps on.
    fn wchan(&self) -> usize {
        core::ptr::from_ref(self) as usize
    }
}

/// `current`.
#[inline]
pub fn current() -> &'static Task {
    of(curthread())
}

/// `current->comm`.
pub fn current_name() -> &'static str {
    curthread().name()
}

/// The task of `td`.
#[inline]
pub fn of(td: &'static Thread) -> &'static Task {
    // SAFETY: the area is larger than `Task`, which consists of words for which zero is valid; threads are type-stable.
    unsafe { &*td.lkpi_area.as_ptr().cast() }
}

/// `set_current_state()`, `__set_current_state()` with the fence of the former.
///
/// Call it before looking at the condition that the following [`schedule`] waits for.
pub fn set_current_state(state: u32) {
    if cpu::step("set_current_state", 0) {
        store_state(state);
    }
}

/// [`set_current_state`] inside a primitive.
pub(crate) fn store_state(state: u32) {
    current().state.set(state as usize);
    thread_fence_seq_cst();
}

/// `schedule()`: gives the CPU away until woken. Sleeps.
///
/// # Panics
///
/// As [`schedule_timeout`].
#[track_caller]
pub fn schedule() {
    schedule_timeout(MAX_SCHEDULE_TIMEOUT);
}

/// `schedule_timeout()`: as [`schedule`], for at most `timeout` jiffies; returns those that are left. Sleeps.
///
/// # Panics
///
/// Rows 83 and 124 of the misuse table, `sleepq_add: td %p to sleep on wchan %p with sleeping prohibited`, and mi_switch's in a
/// critical section.
#[track_caller]
pub fn schedule_timeout(timeout: i64) -> i64 {
    let loc = Loc::caller();
    if !cpu::step("schedule_timeout", 0) {
        return timeout;
    }
    let forever = timeout >= MAX_SCHEDULE_TIMEOUT;
    let timeout = timeout.clamp(1, MAX_SCHEDULE_TIMEOUT);
    let end = jiffies() as i64 + timeout;
    let error = sleep_as_announced("sched", timeout, current().state.get() as u32, loc);
    store_state(TASK_RUNNING);
    if forever {
        return MAX_SCHEDULE_TIMEOUT;
    }
    let left = end - jiffies() as i64;
    if error == -ERESTARTSYS && left < 1 { 1 } else { left.clamp(0, timeout) }
}

/// `schedule_timeout_interruptible()`. Sleeps.
///
/// # Panics
///
/// As [`schedule_timeout`].
#[track_caller]
pub fn schedule_timeout_interruptible(timeout: i64) -> i64 {
    set_current_state(TASK_INTERRUPTIBLE);
    schedule_timeout(timeout)
}

/// `schedule_timeout_uninterruptible()`. Sleeps.
///
/// # Panics
///
/// As [`schedule_timeout`].
#[track_caller]
pub fn schedule_timeout_uninterruptible(timeout: i64) -> i64 {
    set_current_state(TASK_UNINTERRUPTIBLE);
    schedule_timeout(timeout)
}

/// Sleeps on the caller's own task, unless a waker has been here since it announced `state`: 0, `-EWOULDBLOCK` or
/// `-ERESTARTSYS`.
pub(crate) fn sleep_as_announced(wmesg: &'static str, timeout: i64, state: u32, loc: Loc) -> i32 {
    let task = current();
    let wchan = task.wchan();
    sleepqueue::lock(wchan);
    if task.state.get() as u32 == TASK_WAKING {
        sleepqueue::release(wchan);
        return 0;
    }
    sleep_on(wchan, wmesg, timeout, state, loc)
}

/// `linux_add_to_sleepqueue()`, and what it returns when the sleep is over; the lock of `wchan`'s sleep queue is held, and released.
pub(crate) fn sleep_on(wchan: usize, wmesg: &'static str, timeout: i64, state: u32, loc: Loc) -> i32 {
    mpass!(state & !(TASK_PARKED | TASK_NORMAL) == 0, "(state & ~(TASK_PARKED | TASK_NORMAL)) == 0", loc);
    sleepqueue::add(wchan, 0, wmesg, Type::Sleep, 0);
    let interruptible = state & TASK_INTERRUPTIBLE != 0;
    let error = if timeout < MAX_SCHEDULE_TIMEOUT {
        sleepqueue::set_timeout(timeout.max(1) as u64);
        if interruptible { sleepqueue::timedwait_sig(wchan) } else { sleepqueue::timedwait(wchan) }
    } else if interruptible {
        sleepqueue::wait_sig(wchan)
    } else {
        sleepqueue::wait(wchan);
        0
    };
    match error {
        0 => 0,
        EWOULDBLOCK => -EWOULDBLOCK,
        _ => -ERESTARTSYS,
    }
}

/// `signal_pending()`: whether a signal waits for `task`, so that an interruptible sleep would end at once.
pub fn signal_pending(task: &Task) -> bool {
    cpu::step("signal_pending", 0) && thread_of(task).flags.get() & tdf::SIGPENDING != 0
}

/// The thread that `task` lies in.
fn thread_of(task: &Task) -> &Thread {
    // SAFETY: a task is what `of` returns: the area of a thread, and threads are type-stable.
    unsafe { &*core::ptr::from_ref(task).byte_sub(core::mem::offset_of!(Thread, lkpi_area)).cast() }
}

/// `wake_up_state()`: wakes `task` if it has announced one of `mask`. Does not sleep; legal in a critical section and under a spin
/// mutex. Returns whether it did.
pub fn wake_up_state(task: &Task, mask: u32) -> bool {
    if !cpu::step("wake_up_process", 0) {
        return false;
    }
    wake_up_task(task, mask)
}

/// `wake_up_process()`: [`wake_up_state`] of a normal sleep.
pub fn wake_up_process(task: &Task) -> bool {
    wake_up_state(task, TASK_NORMAL)
}

/// `wake_up_task()`.
pub(crate) fn wake_up_task(task: &Task, mask: u32) -> bool {
    thread_fence_seq_cst();
    let wchan = task.wchan();
    sleepqueue::lock(wchan);
    let wake = task.state.get() as u32 & mask != 0;
    if wake {
        task.state.set(TASK_WAKING as usize);
        sleepqueue::signal(wchan, Type::Sleep, 0, 0);
    }
    sleepqueue::release(wchan);
    wake
}

/// `jiffies`: ticks of a millisecond.
pub fn jiffies() -> u64 {
    sleep::ticks()
}

/// `cond_resched()`: LinuxKPI relinquishes the CPU each time, whether or not somebody waits for it.
///
/// # Panics
///
/// `mi_switch: switch in a critical section`.
pub fn cond_resched() {
    sched::sched_relinquish();
}

/// `might_sleep()`: prints `might_sleep() with the following non-sleepable locks held:` for locks enrolled in WITNESS.
///
/// As in LinuxKPI it looks neither at critical sections nor at RCU nor at `spin_lock_init`'s locks, which are not enrolled.
#[track_caller]
pub fn might_sleep() {
    if cpu::step("might_sleep", 0) {
        witness::warn(None, Loc::caller(), "might_sleep()");
    }
}
