//! FreeBSD's symbols of what runs later: callouts and taskqueues; `linuxkpi/include/sys` declares them.
//!
//! References: sys/callout.h, sys/taskqueue.h.

use super::locks::{C_ABSOLUTE, C_PRECALC, literal, ticks, timeout};
use super::{deref, place, text};
use crate::atomic::OwnedUsize;
use crate::callout::{Callout, Cf, Handler};
use crate::cpu;
use crate::lock::LockObject;
use crate::panic::kpanic;
use crate::taskqueue::{self, Task, TaskFn, Taskqueue, TimeoutTask};
use crate::thread::Thread;
use core::ffi::{c_char, c_int, c_uint, c_void};

// The room of `struct callout` and of `struct task`.
const _: () = {
    assert!(size_of::<CCallout>() <= 64 && align_of::<CCallout>() <= 8);
    assert!(size_of::<Task>() == 32);
};

/// `callout_func_t`.
type Func = unsafe extern "C-unwind" fn(*mut c_void);

/// `struct callout`: with what callout_schedule() sets it again.
///
/// The fields besides the callout are written under the driver's lock, which FreeBSD demands of it.
#[repr(C)]
#[derive(Debug)]
pub struct CCallout {
    callout: Callout,
    /// `c_func`.
    func: OwnedUsize,
    /// `c_arg`.
    arg: OwnedUsize,
}

impl CCallout {
    /// Sets it; `cpu` is -1 for where it was, at first CPU 0.
    fn set(&self, sbt: i64, func: Func, arg: *mut c_void, cpu: c_int, options: c_int) -> c_int {
        self.func.set(func as usize);
        self.arg.set(arg.expose_provenance());
        self.callout
            .reset(timeout(sbt, options), Handler::Func(func, arg), (cpu != -1).then_some(cpu as usize), flags(options))
            .into()
    }
}

/// `C_DIRECT_EXEC` and the other flags of a callout that FreeBSD's header shares one word for.
fn flags(flags: c_int) -> Cf {
    Cf::from_bits_truncate(flags as u32)
}

/// `callout_init()`: mpsafe, or under Giant.
///
/// # Safety
///
/// `c` is room for a callout, which is neither pending nor running.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn callout_init(c: *mut CCallout, mpsafe: c_int) {
    let lock = if mpsafe != 0 { core::ptr::null() } else { core::ptr::from_ref(crate::giant::giant().object()) };
    // SAFETY: the caller's promise.
    unsafe { _callout_init_lock(c, lock, 0) };
}

/// `_callout_init_lock()`.
///
/// # Safety
///
/// As for [`callout_init`]; `lock` is null or the head of a lock that lives as long as the callout.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn _callout_init_lock(c: *mut CCallout, lock: *const LockObject, options: c_int) {
    // SAFETY: the caller's promise; what the room held before is not to be dropped.
    unsafe {
        deref(c.cast_const());
        c.write(CCallout { callout: Callout::new(), func: OwnedUsize::new(0), arg: OwnedUsize::new(0) });
        (*c).callout.init_lock(lock.as_ref(), Cf::from_bits_retain(options as u32));
    }
}

/// `callout_reset_sbt_on()`; CPU -1 is where it was, at first CPU 0.
///
/// # Safety
///
/// `c` is a live callout; `func` may be called with `arg` until the callout is stopped or drained.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn callout_reset_sbt_on(
    c: *const CCallout,
    sbt: i64,
    _pr: i64,
    func: Func,
    arg: *mut c_void,
    cpu: c_int,
    options: c_int,
) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { deref(c) }.set(sbt, func, arg, cpu, options)
}

/// `callout_schedule_sbt_on()`: again, with the function and the argument of the last time.
///
/// # Safety
///
/// As for [`callout_reset_sbt_on`].
///
/// # Panics
///
/// `page fault` if there was no last time, where FreeBSD's is the softclock thread's.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn lkpi_callout_schedule_sbt_on(
    c: *const CCallout,
    sbt: i64,
    cpu: c_int,
    options: c_int,
) -> c_int {
    // SAFETY: the caller's promise.
    let c = unsafe { deref(c) };
    let (func, arg) = (c.func.get(), c.arg.get());
    if func == 0 {
        kpanic!("page fault");
    }
    // SAFETY: `set` stored such a function.
    let func = unsafe { core::mem::transmute::<*const (), Func>(core::ptr::with_exposed_provenance(func)) };
    c.set(sbt, func, core::ptr::with_exposed_provenance_mut(arg), cpu, options)
}

/// `tick_sbt`.
const TICK: i64 = (1 << 32) / 1000;

/// `callout_schedule_on()`: [`lkpi_callout_schedule_sbt_on`] after so many ticks.
///
/// # Safety
///
/// As for [`callout_reset_sbt_on`].
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn callout_schedule_on(c: *const CCallout, to_ticks: c_int, cpu: c_int) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { lkpi_callout_schedule_sbt_on(c, TICK * i64::from(to_ticks), cpu, 0) }
}

/// `callout_when()`: the time, of sbinuptime(), that a callout set now would have, and how exact it would be: what `C_PRECALC` wants.
///
/// # Safety
///
/// `when` and `exact` have room.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn callout_when(sbt: i64, precision: i64, flags: c_int, when: *mut i64, exact: *mut i64) {
    const HARDCLOCK: c_int = 0x100;
    /// `tc_precexp`: of 5 %.
    const PRECEXP: u32 = 4;
    let (mut at, mut precision) = (sbt, precision);
    if flags & (C_ABSOLUTE | C_PRECALC) == 0 {
        let sbt = if flags & HARDCLOCK != 0 { sbt.max(TICK) } else { sbt };
        at = sbinuptime().saturating_add(sbt);
        // C_PRELGET
        let shift = ((flags >> 1) & 0x7f).checked_sub(1).and_then(|n| u32::try_from(n).ok()).unwrap_or(PRECEXP);
        precision = precision.max(sbt.checked_shr(shift).unwrap_or(0));
    }
    // SAFETY: the caller's promise.
    unsafe {
        when.write(at);
        exact.write(precision);
    }
}

/// `sbinuptime()`, as `sys/time.h` has it: rounded up.
fn sbinuptime() -> i64 {
    let ms = crate::callout::look();
    (u128::from(ms) << 32).div_ceil(1000) as i64
}

/// `callout_schedule()`: [`callout_schedule_on`] the CPU where it was.
///
/// # Safety
///
/// As for [`callout_reset_sbt_on`].
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn callout_schedule(c: *const CCallout, to_ticks: c_int) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { callout_schedule_on(c, to_ticks, -1) }
}

/// `callout_active()`: it was set, and neither stopped since nor called inactive.
///
/// # Safety
///
/// `c` is a live callout.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn lkpi_callout_active(c: *const CCallout) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { deref(c) }.callout.active().into()
}

/// `callout_deactivate()`.
///
/// # Safety
///
/// `c` is a live callout.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn lkpi_callout_deactivate(c: *const CCallout) {
    cpu::step("callout_deactivate", 0);
    // SAFETY: the caller's promise.
    unsafe { deref(c) }.callout.deactivate();
}

/// `CS_DRAIN`.
const CS_DRAIN: c_int = 1;

/// `_callout_stop_safe()`: stopped, or running and drained, it is active no more.
///
/// # Safety
///
/// `c` is a live callout.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn _callout_stop_safe(c: *const CCallout, options: c_int) -> c_int {
    // SAFETY: the caller's promise.
    let c = unsafe { deref(c) };
    if options & CS_DRAIN != 0 { c.callout.drain() } else { c.callout.stop() }
}

/// `callout_pending()`.
///
/// # Safety
///
/// `c` is a live callout.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn lkpi_callout_pending(c: *const CCallout) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { deref(c) }.callout.pending().into()
}

/// `taskqueue_thread`, `taskqueue_swi`, `taskqueue_swi_giant` and `taskqueue_fast`: each machine has its own.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn lkpi_taskqueue_known(which: c_int) -> *const Taskqueue {
    match which {
        0 => taskqueue::taskqueue_thread(),
        1 => taskqueue::taskqueue_swi(),
        2 => taskqueue::taskqueue_swi_giant(),
        _ => taskqueue::taskqueue_fast(),
    }
}

/// `taskqueue_create()` and `taskqueue_create_fast()`. `own`: the driver wants to be told of a task by a function of its own, which a queue
/// here does not call.
///
/// # Safety
///
/// `name` is a literal.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn lkpi_taskqueue_create(
    name: *const c_char,
    fast: c_int,
    own: c_int,
) -> *const Taskqueue {
    if own != 0 {
        kpanic!("taskqueue_create: only taskqueue_thread_enqueue is emulated");
    }
    // SAFETY: the caller's promise.
    let name = unsafe { literal(name) };
    if fast != 0 { Taskqueue::create_fast(name) } else { Taskqueue::create(name) }
}

/// `taskqueue_start_threads()`.
///
/// # Safety
///
/// `queue` is a live queue, and `name` a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn lkpi_taskqueue_start_threads(
    queue: *const Taskqueue,
    count: c_int,
    priority: c_int,
    name: *const c_char,
) -> c_int {
    const EINVAL: c_int = 22;
    let Ok(count @ 1..) = usize::try_from(count) else { return EINVAL };
    // SAFETY: the caller's promise; queues live as long as the execution, and the name is copied.
    unsafe { deref(queue).start_threads_named(count, priority as u32, None, text(name)) };
    0
}

/// `taskqueue_enqueue()`.
///
/// # Safety
///
/// `queue` is a live queue, and `task` an initialised task that stays where it is until it has run.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn taskqueue_enqueue(queue: *const Taskqueue, task: *const Task) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { deref(queue).enqueue(deref(task)) };
    0
}

/// `taskqueue_cancel()`.
///
/// # Safety
///
/// As for [`taskqueue_enqueue`]; `pending` is null or has room.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn taskqueue_cancel(
    queue: *const Taskqueue,
    task: *const Task,
    pending: *mut c_uint,
) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { report(deref(queue).cancel(deref(task)), pending) }
}

/// What a cancellation returns, and what it writes.
///
/// # Safety
///
/// `pending` is null or has room.
unsafe fn report(cancelled: Result<usize, (c_int, usize)>, pending: *mut c_uint) -> c_int {
    let (error, was) = match cancelled {
        Ok(was) => (0, was),
        Err(busy) => busy,
    };
    if !pending.is_null() {
        // SAFETY: the caller's promise.
        unsafe { pending.write(was as c_uint) };
    }
    error
}

/// `taskqueue_drain()`.
///
/// # Safety
///
/// As for [`taskqueue_enqueue`].
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn taskqueue_drain(queue: *const Taskqueue, task: *const Task) {
    // SAFETY: the caller's promise.
    unsafe { deref(queue).drain(deref(task)) };
}

/// `taskqueue_drain_all()`.
///
/// # Safety
///
/// `queue` is a live queue.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn taskqueue_drain_all(queue: *const Taskqueue) {
    // SAFETY: the caller's promise.
    unsafe { deref(queue) }.drain_all();
}

/// `taskqueue_quiesce()`.
///
/// # Safety
///
/// `queue` is a live queue.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn taskqueue_quiesce(queue: *const Taskqueue) {
    // SAFETY: the caller's promise.
    unsafe { deref(queue) }.quiesce();
}

/// `taskqueue_block()`.
///
/// # Safety
///
/// `queue` is a live queue.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn taskqueue_block(queue: *const Taskqueue) {
    // SAFETY: the caller's promise.
    unsafe { deref(queue) }.block();
}

/// `taskqueue_unblock()`.
///
/// # Safety
///
/// `queue` is a live queue.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn taskqueue_unblock(queue: *const Taskqueue) {
    // SAFETY: the caller's promise.
    unsafe { deref(queue) }.unblock();
}

/// `taskqueue_poll_is_busy()`.
///
/// # Safety
///
/// As for [`taskqueue_enqueue`].
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn taskqueue_poll_is_busy(queue: *const Taskqueue, task: *const Task) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { deref(queue).poll_is_busy(deref(task)) }.into()
}

/// `taskqueue_member()`.
///
/// # Safety
///
/// `queue` is a live queue, and `td` a thread.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn taskqueue_member(queue: *const Taskqueue, td: *const Thread) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { deref(queue).member(deref(td)) }.into()
}

/// `taskqueue_free()`.
///
/// # Safety
///
/// `queue` is a live queue.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn taskqueue_free(queue: *const Taskqueue) {
    // SAFETY: the caller's promise.
    unsafe { deref(queue) }.free();
}

/// `taskqueue_enqueue_flags()`, of which `TASKQUEUE_FAIL_IF_PENDING` is known.
///
/// # Safety
///
/// As for [`taskqueue_enqueue`].
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn taskqueue_enqueue_flags(
    queue: *const Taskqueue,
    task: *const Task,
    flags: c_int,
) -> c_int {
    const FAIL_IF_PENDING: c_int = 1;
    const EEXIST: c_int = 17;
    if flags & !FAIL_IF_PENDING != 0 {
        kpanic!("taskqueue_enqueue_flags: flags {flags:#x} are not emulated");
    }
    // SAFETY: the caller's promise.
    unsafe {
        if flags & FAIL_IF_PENDING == 0 {
            return taskqueue_enqueue(queue, task);
        }
        if deref(queue).enqueue_unless_pending(deref(task)) { 0 } else { EEXIST }
    }
}

/// `_timeout_task_init()`.
///
/// # Safety
///
/// `queue` is a live queue, and `timeout` room for a task that is neither armed, on a queue nor running; else as
/// [`TimeoutTask::init_fn`].
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn _timeout_task_init(
    queue: *const Taskqueue,
    timeout: *mut TimeoutTask,
    priority: c_int,
    func: TaskFn,
    context: *mut c_void,
) {
    // SAFETY: the caller's promise; what the room held before is not to be dropped, and queues live as long as the execution.
    unsafe { place(timeout, TimeoutTask::new()).init_fn(deref(queue), priority as u8, func, context) };
}

/// `taskqueue_enqueue_timeout_sbt()`.
///
/// # Safety
///
/// As for [`taskqueue_enqueue`], of the timeout as a whole.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn taskqueue_enqueue_timeout_sbt(
    queue: *const Taskqueue,
    timeout: *const TimeoutTask,
    sbt: i64,
    _pr: i64,
    _flags: c_int,
) -> c_int {
    let after = ticks(sbt.saturating_abs()) as i64;
    // SAFETY: the caller's promise.
    unsafe { deref(queue).enqueue_timeout(deref(timeout), if sbt < 0 { -after } else { after }) }
}

/// `taskqueue_enqueue_timeout()`.
///
/// # Safety
///
/// As for [`taskqueue_enqueue_timeout_sbt`].
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn taskqueue_enqueue_timeout(
    queue: *const Taskqueue,
    timeout: *const TimeoutTask,
    to_ticks: c_int,
) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { deref(queue).enqueue_timeout(deref(timeout), to_ticks.into()) }
}

/// `taskqueue_cancel_timeout()`.
///
/// # Safety
///
/// As for [`taskqueue_enqueue_timeout_sbt`]; `pending` is null or has room.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn taskqueue_cancel_timeout(
    queue: *const Taskqueue,
    timeout: *const TimeoutTask,
    pending: *mut c_uint,
) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { report(deref(queue).cancel_timeout(deref(timeout)), pending) }
}

/// `taskqueue_drain_timeout()`.
///
/// # Safety
///
/// As for [`taskqueue_enqueue_timeout_sbt`].
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn taskqueue_drain_timeout(queue: *const Taskqueue, timeout: *const TimeoutTask) {
    // SAFETY: the caller's promise.
    unsafe { deref(queue).drain_timeout(deref(timeout)) };
}
