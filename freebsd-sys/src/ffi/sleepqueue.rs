//! FreeBSD's symbols of sleepqueue(9); `linuxkpi/include/sys/sleepqueue.h` declares them. LinuxKPI's completions and tasks sleep by them.
//!
//! Where FreeBSD says whether the swapper is to be woken, 0 is returned.
//!
//! References: sys/sleepqueue.h, sleepqueue(9).

use super::locks::timeout;
use super::{deref, text};
use crate::cpu;
use crate::lock::{Loc, LockObject};
use crate::panic::{kpanic, mpass};
use crate::sleepqueue::{self, Type};
use crate::thread::Thread;
use core::ffi::{c_char, c_int, c_uint, c_void};

/// `SLEEPQ_TYPE`.
const TYPE: c_int = 0xff;
/// `SLEEPQ_UNFAIR`.
const UNFAIR: c_int = 0x200;
/// `SLEEPQ_DROP`: the chain lock goes.
const DROP: c_int = 0x400;

fn kind(flags: c_int) -> Type {
    match flags & TYPE {
        0 => Type::Sleep,
        1 => Type::Condvar,
        2 => Type::Pause,
        3 => Type::Sx,
        _ => Type::Lockmgr,
    }
}

/// `NR_SLEEPQS`: queues of a wait channel.
const QUEUES: usize = 2;

/// One of a wait channel's queues.
///
/// # Panics
///
/// MPASS `(queue >= 0) && (queue < NR_SLEEPQS)` (INVARIANTS), else `page fault`: FreeBSD goes beyond the end of a table.
fn which(queue: c_int) -> usize {
    let known = usize::try_from(queue).ok().filter(|&queue| queue < QUEUES);
    mpass!(known.is_some(), "(queue >= 0) && (queue < NR_SLEEPQS)", Loc::caller());
    known.unwrap_or_else(|| kpanic!("page fault"))
}

/// `sleepq_lock()`.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn sleepq_lock(wchan: *const c_void) {
    // A boundary of its own: the functions of sleep(9) have theirs before they get here.
    cpu::step("sleepq_lock", 0);
    sleepqueue::lock(wchan.addr());
}

/// `sleepq_release()`.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn sleepq_release(wchan: *const c_void) {
    sleepqueue::release(wchan.addr());
}

/// `sleepq_add()`. `SLEEPQ_INTERRUPTIBLE` is what the wait says as well.
///
/// # Safety
///
/// The chain is locked; `wmesg` is a literal; `lock` is only compared with the other sleepers'.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn sleepq_add(
    wchan: *const c_void,
    lock: *const LockObject,
    wmesg: *const c_char,
    flags: c_int,
    queue: c_int,
) {
    // SAFETY: the caller's promise.
    let wmesg = unsafe { text(wmesg) };
    sleepqueue::add(wchan.addr(), lock.addr(), wmesg, kind(flags), which(queue));
}

/// `sleepq_set_timeout_sbt()`.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn sleepq_set_timeout_sbt(_wchan: *const c_void, sbt: i64, _pr: i64, flags: c_int) {
    sleepqueue::set_timeout(timeout(sbt, flags));
}

/// `sleepq_wait()`.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn sleepq_wait(wchan: *const c_void, _pri: c_int) {
    sleepqueue::wait(wchan.addr());
}

/// `sleepq_wait_sig()`.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn sleepq_wait_sig(wchan: *const c_void, _pri: c_int) -> c_int {
    sleepqueue::wait_sig(wchan.addr())
}

/// `sleepq_timedwait()`.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn sleepq_timedwait(wchan: *const c_void, _pri: c_int) -> c_int {
    sleepqueue::timedwait(wchan.addr())
}

/// `sleepq_timedwait_sig()`.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn sleepq_timedwait_sig(wchan: *const c_void, _pri: c_int) -> c_int {
    sleepqueue::timedwait_sig(wchan.addr())
}

/// A priority to wake with: 0 leaves it as it is.
fn priority(pri: c_int) -> u32 {
    u32::try_from(pri).unwrap_or(0)
}

/// `sleepq_signal()`.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn sleepq_signal(wchan: *const c_void, flags: c_int, pri: c_int, queue: c_int) -> c_int {
    let signal = if flags & UNFAIR != 0 { sleepqueue::signal_unfair } else { sleepqueue::signal };
    signal(wchan.addr(), kind(flags), priority(pri), which(queue));
    if flags & DROP != 0 {
        sleepqueue::release(wchan.addr());
    }
    0
}

/// `sleepq_broadcast()`.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn sleepq_broadcast(wchan: *const c_void, flags: c_int, pri: c_int, queue: c_int) -> c_int {
    sleepqueue::broadcast(wchan.addr(), kind(flags), priority(pri), which(queue));
    0
}

/// `sleepq_sleepcnt()`.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn sleepq_sleepcnt(wchan: *const c_void, queue: c_int) -> c_uint {
    sleepqueue::sleepcnt(wchan.addr(), which(queue)) as c_uint
}

/// `sleepq_type()`: -1 if nobody sleeps there. The chain is locked.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn sleepq_type(wchan: *const c_void) -> c_int {
    sleepqueue::kind_of(wchan.addr()).map_or(-1, |kind| kind as c_int)
}

/// `sleepq_remove()`.
///
/// # Safety
///
/// `td` is a thread.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn sleepq_remove(td: *const Thread, wchan: *const c_void) {
    // SAFETY: the caller's promise.
    sleepqueue::remove_thread(unsafe { deref(td) }, wchan.addr());
}
