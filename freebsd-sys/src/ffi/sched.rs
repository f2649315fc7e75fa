//! FreeBSD's symbols of the scheduler that drivers call, and of witness_warn(); `linuxkpi/include/sys/sched.h` and `lock.h` declare them.
//!
//! # Context
//!
//! `sched_bind()`, `sched_unbind()`, `sched_prio()` and `mi_switch()` want the thread's lock held, `sched_relinquish()` and `kern_yield()` do
//! not. Those that may switch may not be called in a critical section.
//!
//! # Deviations from FreeBSD
//!
//! A thread lock that C holds is a spinlock section and no more: what it guards is the scheduler's own, which takes its one lock in each of
//! these functions. WITNESS does not see it. That nobody holds it is found out by the section.
//!
//! `maybe_yield()` yields when the thread's time slice is over; FreeBSD's, when it has not given up its CPU for two slices of its own will.
//!
//! References: sys/sched.h, sys/proc.h, sys/mutex.h, kern/sched_ule.c, kern/kern_synch.c, kern/subr_witness.c.

use super::{deref, text};
use crate::cpu::{self, curcpu, machine};
use crate::critical::{spinlock_enter, spinlock_enter_internal, spinlock_exit};
use crate::giant;
use crate::interrupt;
use crate::lock::{Loc, LockObject};
use crate::mutex::Mtx;
use crate::panic::{kassert, kpanic};
use crate::sched::{self, sw, swt};
use crate::thread::{Thread, curthread, tdf};
use crate::witness::{self, Exempt};
use core::ffi::{c_char, c_int, c_long};

/// `_thread_lock()`.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn _thread_lock(_td: *const Thread, _opts: c_int, _file: *const c_char, _line: c_int) {
    spinlock_enter();
}

/// `thread_lock_flags_()`.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn thread_lock_flags_(_td: *const Thread, _opts: c_int, _file: *const c_char, _line: c_int) {
    spinlock_enter();
}

/// `thread_unlock()`.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn lkpi_thread_unlock(_td: *const Thread) {
    spinlock_exit();
}

/// `THREAD_LOCK_ASSERT(td, MA_OWNED)`.
#[track_caller]
fn assert_locked() {
    kassert!(
        curthread().spinlock_count.get() != 0,
        "mutex sched lock {} not owned at {}",
        curcpu().cpuid,
        Loc::caller()
    );
}

/// Whether `func` is to go on: with the running thread alone, whose lock is held.
///
/// # Safety
///
/// `td` is a thread.
#[track_caller]
unsafe fn begin(func: &'static str, td: *const Thread) -> bool {
    if !cpu::step(func, 0) {
        return false;
    }
    assert_locked();
    // SAFETY: the caller's promise.
    let own = core::ptr::eq(unsafe { deref(td) }, curthread());
    kassert!(own, "{func}: can only bind curthread");
    true
}

/// `sched_bind()`.
///
/// # Safety
///
/// `td` is a thread.
///
/// # Panics
///
/// `sched_bind: can only bind curthread`, `%p must be migratable`, and those of mi_switch() (INVARIANTS).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn sched_bind(td: *const Thread, cpu: c_int) {
    // SAFETY: the caller's promise.
    if !unsafe { begin("sched_bind", td) } {
        return;
    }
    let td = curthread();
    let Some(cpu) = usize::try_from(cpu).ok().filter(|&cpu| cpu < cpu::mp_ncpus()) else {
        // A run queue that is not there.
        kpanic!("page fault");
    };
    sched::assert_migratable(td);
    machine().sched.lock.lock_raw();
    if sched::bind_locked(td, cpu) {
        sched::mi_switch(sw::VOL | swt::BIND);
        spinlock_enter_internal();
    } else {
        machine().sched.lock.unlock_raw();
    }
}

/// `sched_unbind()`.
///
/// # Safety
///
/// `td` is a thread.
///
/// # Panics
///
/// `sched_unbind: can only bind curthread` (INVARIANTS).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn sched_unbind(td: *const Thread) {
    // SAFETY: the caller's promise.
    if unsafe { begin("sched_unbind", td) } {
        machine().sched.lock.lock_raw();
        sched::unbind_locked(curthread());
        machine().sched.lock.unlock_raw();
    }
}

/// `sched_prio()`.
///
/// # Safety
///
/// `td` is a thread.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn sched_prio(td: *const Thread, priority: u8) {
    if cpu::step("sched_prio", 0) {
        assert_locked();
        // SAFETY: the caller's promise.
        sched::sched_prio(unsafe { deref(td) }, priority.into());
    }
}

/// `sched_relinquish()`: of the running thread.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn sched_relinquish(_td: *const Thread) {
    sched::sched_relinquish();
}

/// `PRI_USER`, of kern_yield(): the thread's user priority. Any other negative number leaves the priority as it is.
const PRI_USER: c_int = -2;

/// `kern_yield()`: without Giant meanwhile.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn kern_yield(priority: c_int) {
    let loc = Loc::caller();
    let dropped = giant::drop_giant(loc);
    match u32::try_from(priority) {
        Ok(priority) => sched::kern_yield(priority),
        Err(_) if priority == PRI_USER => sched::kern_yield(curthread().user_pri.get()),
        Err(_) => sched::sched_relinquish(),
    }
    dropped.pickup(loc);
}

/// `should_yield()`: whether the thread has had its CPU for long.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn should_yield() -> bool {
    cpu::step("should_yield", 0) && curthread().flags.get() & tdf::SLICEEND != 0
}

/// `maybe_yield()`.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn maybe_yield() {
    if should_yield() {
        kern_yield(PRI_USER);
    }
}

/// `PSL_I` of rflags, and the bit that is always set.
const PSL_I: c_long = 0x200;
const PSL_RESERVED: c_long = 2;

/// `intr_disable()`: returns rflags.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn lkpi_intr_disable() -> c_long {
    PSL_RESERVED | if interrupt::intr_disable() { PSL_I } else { 0 }
}

/// `intr_restore()`.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn lkpi_intr_restore(rflags: c_long) {
    interrupt::intr_restore(rflags & PSL_I != 0);
}

/// `sched_is_bound()`.
///
/// # Safety
///
/// `td` is a thread.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn sched_is_bound(td: *const Thread) -> c_int {
    // SAFETY: the caller's promise.
    sched::is_bound(unsafe { deref(td) }).into()
}

/// `sched_pin()`.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn lkpi_sched_pin() {
    sched::sched_pin();
}

/// `sched_unpin()`.
///
/// # Panics
///
/// MPASS `curthread->td_pinned > 0` (INVARIANTS).
#[unsafe(no_mangle)]
pub extern "C-unwind" fn lkpi_sched_unpin() {
    sched::sched_unpin();
}

/// `mi_switch()`: entered with the running thread's lock held, returns without it.
///
/// # Panics
///
/// Rows 1 to 4 of the misuse table (INVARIANTS).
#[unsafe(no_mangle)]
pub extern "C-unwind" fn mi_switch(flags: c_int) {
    if cpu::step("mi_switch", 0) {
        machine().sched.lock.lock_raw();
        sched::mi_switch(flags as u32);
    }
}

/// `mtx_spin_wait_unlocked()`.
///
/// # Safety
///
/// `mtx` is a live mutex.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn mtx_spin_wait_unlocked(mtx: *const Mtx) {
    // SAFETY: the caller's promise.
    unsafe { deref(mtx) }.spin_wait_unlocked();
}

/// `mtx_wait_unlocked()`: returns once nobody owns the mutex, or its owner of now has let it go.
///
/// # Safety
///
/// `mtx` is a live mutex.
///
/// # Panics
///
/// `mtx_wait_unlocked() of destroyed mutex %p`, `... not a sleep mutex ...`, `... waiting on myself on lock ...` (INVARIANTS), and those of
/// mtx_lock().
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn mtx_wait_unlocked(mtx: *const Mtx) {
    // SAFETY: the caller's promise.
    unsafe { deref(mtx) }.wait_unlocked_at(Loc::caller());
}

/// What `WITNESS_SAVE()` keeps: `struct lkpi_witness_place`.
#[repr(C)]
#[derive(Debug)]
pub struct Place {
    saved: Option<Loc>,
}

const _: () = assert!(size_of::<Place>() <= 24 && align_of::<Place>() <= 8);

/// `WITNESS_SAVE()`.
///
/// # Safety
///
/// `lock` is the head of a live lock, and `place` has room.
///
/// # Panics
///
/// Row 81 of the misuse table.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn lkpi_witness_save(lock: *const LockObject, place: *mut Place) {
    // SAFETY: the caller's promise.
    unsafe { place.write(Place { saved: witness::save(deref(lock)) }) };
}

/// `WITNESS_RESTORE()`.
///
/// # Safety
///
/// `lock` is the head of a live lock, and `place` what [`lkpi_witness_save`] made of it.
///
/// # Panics
///
/// Row 81 of the misuse table.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn lkpi_witness_restore(lock: *const LockObject, place: *const Place) {
    // SAFETY: the caller's promise.
    unsafe { witness::restore(deref(lock), deref(place).saved) };
}

/// `witness_warn()` with the text ready; returns how many locks it has listed.
///
/// # Safety
///
/// `lock` is null or the head of a live lock; `what` is a C string.
///
/// # Panics
///
/// `witness_warn`, if the flags have WARN_PANIC and there was one.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn lkpi_witness_warn(flags: c_int, lock: *const LockObject, what: *const c_char) -> c_int {
    const GIANTOK: c_int = 1;
    const PANIC: c_int = 2;
    const SLEEPOK: c_int = 4;
    if !cpu::step("witness_warn", 0) {
        return 0;
    }
    let exempt = Exempt { giant: flags & GIANTOK != 0, sleepable: flags & SLEEPOK != 0 };
    // SAFETY: the caller's promise.
    let n = unsafe { witness::warn_held(lock.as_ref(), &text(what), exempt) };
    if flags & PANIC != 0 && n != 0 {
        kpanic!("witness_warn");
    }
    n as c_int
}
