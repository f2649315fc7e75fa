//! FreeBSD's symbols of the locks besides mutexes, and of sleeping: what `linuxkpi/include/sys` declares.
//!
//! As for mutexes, a module calls the out-of-line functions with file and line, and an rwlock's take the address of its word.
//!
//! References: sys/rwlock.h, sys/sx.h, sys/rmlock.h, sys/condvar.h, sys/seqc.h, sys/epoch.h, sys/lockmgr.h, sys/systm.h.

use super::{deref, here, lock_on_stack, text};
use crate::condvar::Cv;
use crate::epoch::{self, Callback, Context, Epoch, Epochf, Tracker};
use crate::lock::{Loc, LockObject};
use crate::lockmgr::{Lock, PCATCH, Wait};
use crate::mutex::Mtx;
use crate::panic::{kassert, mpass};
use crate::rmlock::{PrioTracker, Rm, Rmf};
use crate::rwlock::{Rw, Rwf};
use crate::seqc::Seqc;
use crate::sleep::{self, How};
use crate::sx::{Sx, Sxf};
use crate::thread::Thread;
use core::ffi::{CStr, c_char, c_int, c_uint, c_void};

/// A lock's name: a literal, or FreeBSD's text for a null pointer.
///
/// # Safety
///
/// `name` is null or a literal.
pub(super) unsafe fn literal(name: *const c_char) -> &'static CStr {
    // SAFETY: the caller's promise.
    if name.is_null() { c"(null)" } else { unsafe { CStr::from_ptr(name) } }
}

/// A lock's name and its type, which is its name unless it is given one.
///
/// # Safety
///
/// Both are null or literals.
pub(super) unsafe fn name_and_type(name: *const c_char, kind: *const c_char) -> (&'static CStr, &'static CStr) {
    // SAFETY: the caller's promise.
    unsafe { (literal(name), literal(if kind.is_null() { name } else { kind })) }
}

/// The rwlock whose word is at `cookie`.
///
/// # Safety
///
/// `cookie` is the address of a live rwlock's `rw_lock`, or no address at all (null plus the word's offset).
unsafe fn rw<'a>(cookie: *const usize) -> &'a Rw {
    let word = size_of::<LockObject>();
    // SAFETY: the caller's promise; the word is at offset 24, as asserted in `rwlock`.
    unsafe { deref(cookie.wrapping_byte_sub(word).cast()) }
}

/// `C_ABSOLUTE`: the time is one of sbinuptime(), and not from now.
pub(super) const C_ABSOLUTE: c_int = 0x200;

/// `C_PRECALC`: likewise, as callout_when() has calculated it.
pub(super) const C_PRECALC: c_int = 0x400;

/// Ticks of a millisecond in a `sbintime_t`, rounded up; whole ticks and less than a microsecond are sums of what mstosbt() has rounded up.
pub(super) fn ticks(sbt: i64) -> u64 {
    const ROUNDED: u128 = 1 << 12;
    let sbt = u128::try_from(sbt).unwrap_or(0);
    let whole = (sbt.saturating_sub(ROUNDED) * 1000 + u128::from(u32::MAX)) >> 32;
    (whole as u64).max((sbt != 0).into())
}

/// [`ticks`] from now, of a time as `flags` have it. 0 is none, and a time that is over one tick.
pub(super) fn timeout(sbt: i64, flags: c_int) -> u64 {
    let ticks = ticks(sbt);
    if ticks == 0 || flags & (C_ABSOLUTE | C_PRECALC) == 0 {
        return ticks;
    }
    ticks.saturating_sub(crate::callout::now()).max(1)
}

/// `_rw_init_flags()`.
///
/// # Safety
///
/// `cookie` is `&rw->rw_lock` of memory that holds no held rwlock; the name is a literal.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn _rw_init_flags(cookie: *const usize, name: *const c_char, opts: c_int) {
    // SAFETY: the caller's promise.
    unsafe {
        kassert!(
            cookie.is_aligned(),
            "_rw_init_flags: rw_lock not aligned for {}: {cookie:p}",
            text(literal(name).as_ptr())
        );
        let lock = rw(cookie);
        lock.init(literal(name), Rwf::from_bits_retain(opts as u32));
        lock_on_stack(core::ptr::from_ref(lock).cast(), size_of::<Rw>());
    }
}

/// `_rw_destroy()`.
///
/// # Safety
///
/// `cookie` is `&rw->rw_lock` of a live rwlock, `file` a literal.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn _rw_destroy(cookie: *const usize) {
    // SAFETY: the caller's promise.
    unsafe { rw(cookie) }.destroy();
}

/// `_rw_wowned()`.
///
/// # Safety
///
/// `cookie` is `&rw->rw_lock` of a live rwlock, `file` a literal.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn _rw_wowned(cookie: *const usize) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { rw(cookie) }.wowned().into()
}

/// `_rw_wlock_cookie()`.
///
/// # Safety
///
/// `cookie` is `&rw->rw_lock` of a live rwlock, `file` a literal.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn _rw_wlock_cookie(cookie: *const usize, file: *const c_char, line: c_int) {
    // SAFETY: the caller's promise.
    unsafe { rw(cookie) }.wlock_at(here(file, line));
}

/// `_rw_wunlock_cookie()`.
///
/// # Safety
///
/// `cookie` is `&rw->rw_lock` of a live rwlock, `file` a literal.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn _rw_wunlock_cookie(cookie: *const usize, file: *const c_char, line: c_int) {
    // SAFETY: the caller's promise.
    unsafe { rw(cookie) }.wunlock_at(here(file, line));
}

/// `__rw_rlock()`.
///
/// # Safety
///
/// `cookie` is `&rw->rw_lock` of a live rwlock, `file` a literal.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn __rw_rlock(cookie: *const usize, file: *const c_char, line: c_int) {
    // SAFETY: the caller's promise.
    unsafe { rw(cookie) }.rlock_at(here(file, line));
}

/// `_rw_runlock_cookie()`.
///
/// # Safety
///
/// `cookie` is `&rw->rw_lock` of a live rwlock, `file` a literal.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn _rw_runlock_cookie(cookie: *const usize, file: *const c_char, line: c_int) {
    // SAFETY: the caller's promise.
    unsafe { rw(cookie) }.runlock_at(here(file, line));
}

/// `__rw_try_rlock()`.
///
/// # Safety
///
/// `cookie` is `&rw->rw_lock` of a live rwlock, `file` a literal.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn __rw_try_rlock(cookie: *const usize, file: *const c_char, line: c_int) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { rw(cookie) }.try_rlock_at(here(file, line)).into()
}

/// `__rw_try_wlock()`.
///
/// # Safety
///
/// `cookie` is `&rw->rw_lock` of a live rwlock, `file` a literal.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn __rw_try_wlock(cookie: *const usize, file: *const c_char, line: c_int) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { rw(cookie) }.try_wlock_at(here(file, line)).into()
}

/// `__rw_try_upgrade()`.
///
/// # Safety
///
/// `cookie` is `&rw->rw_lock` of a live rwlock, `file` a literal.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn __rw_try_upgrade(cookie: *const usize, file: *const c_char, line: c_int) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { rw(cookie) }.try_upgrade_at(here(file, line)).into()
}

/// `__rw_downgrade()`.
///
/// # Safety
///
/// `cookie` is `&rw->rw_lock` of a live rwlock, `file` a literal.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn __rw_downgrade(cookie: *const usize, file: *const c_char, line: c_int) {
    // SAFETY: the caller's promise.
    unsafe { rw(cookie) }.downgrade_at(here(file, line));
}

/// `__rw_assert()`.
///
/// # Safety
///
/// `cookie` is `&rw->rw_lock` of a live rwlock, `file` a literal.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn __rw_assert(cookie: *const usize, what: c_int, file: *const c_char, line: c_int) {
    // SAFETY: the caller's promise.
    unsafe { rw(cookie) }.assert_at(what as u32, here(file, line));
}

/// `sx_init_flags()`.
///
/// # Safety
///
/// `sx` is memory that holds no held sx lock; the name is a literal.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn sx_init_flags(sx: *const Sx, name: *const c_char, opts: c_int) {
    // SAFETY: the caller's promise.
    unsafe {
        let word = sx.wrapping_byte_add(size_of::<LockObject>());
        kassert!(
            word.is_aligned(),
            "sx_init_flags: sx_lock not aligned for {}: {word:p}",
            text(literal(name).as_ptr())
        );
        deref(sx).init(literal(name), Sxf::from_bits_retain(opts as u32));
        lock_on_stack(sx.cast(), size_of::<Sx>());
    }
}

/// `sx_destroy()`.
///
/// # Safety
///
/// `sx` is a live sx lock, `file` a literal.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn sx_destroy(sx: *const Sx) {
    // SAFETY: the caller's promise.
    unsafe { deref(sx) }.destroy();
}

/// `_sx_xlock()`.
///
/// # Safety
///
/// `sx` is a live sx lock, `file` a literal.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn _sx_xlock(sx: *const Sx, opts: c_int, file: *const c_char, line: c_int) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { deref(sx) }.xlock_at(opts as u32, here(file, line))
}

/// `_sx_slock()`.
///
/// # Safety
///
/// `sx` is a live sx lock, `file` a literal.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn _sx_slock(sx: *const Sx, opts: c_int, file: *const c_char, line: c_int) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { deref(sx) }.slock_at(opts as u32, here(file, line))
}

/// `_sx_xunlock()`.
///
/// # Safety
///
/// `sx` is a live sx lock, `file` a literal.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn _sx_xunlock(sx: *const Sx, file: *const c_char, line: c_int) {
    // SAFETY: the caller's promise.
    unsafe { deref(sx) }.xunlock_at(here(file, line));
}

/// `_sx_sunlock()`.
///
/// # Safety
///
/// `sx` is a live sx lock, `file` a literal.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn _sx_sunlock(sx: *const Sx, file: *const c_char, line: c_int) {
    // SAFETY: the caller's promise.
    unsafe { deref(sx) }.sunlock_at(here(file, line));
}

/// `sx_try_xlock_()`.
///
/// # Safety
///
/// `sx` is a live sx lock, `file` a literal.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn sx_try_xlock_(sx: *const Sx, file: *const c_char, line: c_int) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { deref(sx) }.try_xlock_at(here(file, line)).into()
}

/// `sx_try_slock_()`.
///
/// # Safety
///
/// `sx` is a live sx lock, `file` a literal.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn sx_try_slock_(sx: *const Sx, file: *const c_char, line: c_int) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { deref(sx) }.try_slock_at(here(file, line)).into()
}

/// `sx_try_upgrade_()`.
///
/// # Safety
///
/// `sx` is a live sx lock, `file` a literal.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn sx_try_upgrade_(sx: *const Sx, file: *const c_char, line: c_int) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { deref(sx) }.try_upgrade_at(here(file, line)).into()
}

/// `sx_downgrade_()`.
///
/// # Safety
///
/// `sx` is a live sx lock, `file` a literal.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn sx_downgrade_(sx: *const Sx, file: *const c_char, line: c_int) {
    // SAFETY: the caller's promise.
    unsafe { deref(sx) }.downgrade_at(here(file, line));
}

/// `_sx_assert()`.
///
/// # Safety
///
/// `sx` is a live sx lock, `file` a literal.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn _sx_assert(sx: *const Sx, what: c_int, file: *const c_char, line: c_int) {
    // SAFETY: the caller's promise.
    unsafe { deref(sx) }.assert_at(what as u32, here(file, line));
}

/// `rm_init_flags()`.
///
/// # Safety
///
/// `rm` is memory that holds no held rmlock; the name is a literal.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn rm_init_flags(rm: *const Rm, name: *const c_char, opts: c_int) {
    // SAFETY: the caller's promise.
    unsafe {
        deref(rm).init(literal(name), Rmf::from_bits_retain(opts as u32));
        lock_on_stack(rm.cast(), size_of::<Rm>());
    }
}

/// `rm_init()`.
///
/// # Safety
///
/// As for [`rm_init_flags`].
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn rm_init(rm: *const Rm, name: *const c_char) {
    // SAFETY: the caller's promise.
    unsafe { rm_init_flags(rm, name, 0) };
}

/// `rm_destroy()`.
///
/// # Safety
///
/// `rm` is a live rmlock, `file` a literal.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn rm_destroy(rm: *const Rm) {
    // SAFETY: the caller's promise.
    unsafe { deref(rm) }.destroy();
}

/// `rm_wowned()`.
///
/// # Safety
///
/// `rm` is a live rmlock, `file` a literal.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn rm_wowned(rm: *const Rm) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { deref(rm) }.wowned().into()
}

/// `_rm_rlock_debug()`.
///
/// # Safety
///
/// `rm` is a live rmlock, `tracker` stays where it is until it is released by this thread, `file` is a literal.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn _rm_rlock_debug(
    rm: *const Rm,
    tracker: *const PrioTracker,
    trylock: c_int,
    file: *const c_char,
    line: c_int,
) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { deref(rm).rlock_at(deref(tracker), trylock != 0, here(file, line)).into() }
}

/// `_rm_runlock_debug()`.
///
/// # Safety
///
/// `rm` is a live rmlock, `tracker` stays where it is until it is released by this thread, `file` is a literal.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn _rm_runlock_debug(
    rm: *const Rm,
    tracker: *const PrioTracker,
    file: *const c_char,
    line: c_int,
) {
    // SAFETY: the caller's promise.
    unsafe { deref(rm).runlock_at(deref(tracker), here(file, line)) };
}

/// `_rm_wlock_debug()`.
///
/// # Safety
///
/// `rm` is a live rmlock, `file` a literal.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn _rm_wlock_debug(rm: *const Rm, file: *const c_char, line: c_int) {
    // SAFETY: the caller's promise.
    unsafe { deref(rm) }.wlock_at(here(file, line));
}

/// `_rm_wunlock_debug()`.
///
/// # Safety
///
/// `rm` is a live rmlock, `file` a literal.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn _rm_wunlock_debug(rm: *const Rm, file: *const c_char, line: c_int) {
    // SAFETY: the caller's promise.
    unsafe { deref(rm) }.wunlock_at(here(file, line));
}

/// `_rm_assert()`.
///
/// # Safety
///
/// `rm` is a live rmlock, `file` a literal.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn _rm_assert(rm: *const Rm, what: c_int, file: *const c_char, line: c_int) {
    // SAFETY: the caller's promise.
    unsafe { deref(rm) }.assert_at(what as u32, here(file, line));
}

/// `cv_init()`.
///
/// # Safety
///
/// `cv` is memory that nobody waits on; the name is a literal.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn cv_init(cv: *const Cv, name: *const c_char) {
    // SAFETY: the caller's promise.
    unsafe { deref(cv).init(literal(name)) };
}

/// `cv_destroy()`.
///
/// # Safety
///
/// `cv` is a live condition variable.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn cv_destroy(cv: *const Cv) {
    // SAFETY: the caller's promise.
    unsafe { deref(cv) }.destroy();
}

/// `_cv_wait()`.
///
/// # Safety
///
/// `cv` is null or a live condition variable, `lock` null or the head of a live lock that the caller holds.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn _cv_wait(cv: *const Cv, lock: *const LockObject) {
    Cv::check_pointers("_cv_wait", cv, lock);
    // SAFETY: the caller's promise.
    unsafe { deref(cv).wait(deref(lock)) };
}

/// `_cv_wait_unlock()`.
///
/// # Safety
///
/// `cv` is null or a live condition variable, `lock` null or the head of a live lock that the caller holds.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn _cv_wait_unlock(cv: *const Cv, lock: *const LockObject) {
    Cv::check_pointers("_cv_wait_unlock", cv, lock);
    // SAFETY: the caller's promise.
    unsafe { deref(cv).wait_unlock(deref(lock)) };
}

/// `_cv_wait_sig()`.
///
/// # Safety
///
/// `cv` is null or a live condition variable, `lock` null or the head of a live lock that the caller holds.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn _cv_wait_sig(cv: *const Cv, lock: *const LockObject) -> c_int {
    Cv::check_pointers("_cv_wait_sig", cv, lock);
    // SAFETY: the caller's promise.
    unsafe { deref(cv).wait_sig(deref(lock)) }
}

/// `_cv_timedwait_sbt()`.
///
/// # Safety
///
/// `cv` is null or a live condition variable, `lock` null or the head of a live lock that the caller holds.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn _cv_timedwait_sbt(
    cv: *const Cv,
    lock: *const LockObject,
    sbt: i64,
    _pr: i64,
    flags: c_int,
) -> c_int {
    Cv::check_pointers("_cv_timedwait_sbt", cv, lock);
    // SAFETY: the caller's promise.
    unsafe { deref(cv).timedwait(deref(lock), timeout(sbt, flags)) }
}

/// `_cv_timedwait_sig_sbt()`.
///
/// # Safety
///
/// `cv` is null or a live condition variable, `lock` null or the head of a live lock that the caller holds.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn _cv_timedwait_sig_sbt(
    cv: *const Cv,
    lock: *const LockObject,
    sbt: i64,
    _pr: i64,
    flags: c_int,
) -> c_int {
    Cv::check_pointers("_cv_timedwait_sig_sbt", cv, lock);
    // SAFETY: the caller's promise.
    unsafe { deref(cv).timedwait_sig(deref(lock), timeout(sbt, flags)) }
}

/// `cv_signal()`.
///
/// # Safety
///
/// `cv` is a live condition variable.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn cv_signal(cv: *const Cv) {
    // SAFETY: the caller's promise.
    unsafe { deref(cv) }.signal();
}

/// `cv_broadcastpri()`.
///
/// # Safety
///
/// `cv` is a live condition variable.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn cv_broadcastpri(cv: *const Cv, priority: c_int) {
    // SAFETY: the caller's promise.
    unsafe { deref(cv) }.broadcastpri(priority as u32);
}

/// `seqc_write_begin()`.
///
/// # Safety
///
/// `seqc` is a live sequence count, `file` a literal.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn lkpi_seqc_write_begin(seqc: *const Seqc, file: *const c_char, line: c_int) {
    // SAFETY: the caller's promise.
    unsafe { deref(seqc) }.write_begin_at(here(file, line));
}

/// `seqc_write_end()`.
///
/// # Safety
///
/// `seqc` is a live sequence count, `file` a literal.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn lkpi_seqc_write_end(seqc: *const Seqc, file: *const c_char, line: c_int) {
    // SAFETY: the caller's promise.
    unsafe { deref(seqc) }.write_end_at(here(file, line));
}

/// `seqc_sleepable_write_begin()`.
///
/// # Safety
///
/// `seqc` is a live sequence count, `file` a literal.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn lkpi_seqc_sleepable_write_begin(seqc: *const Seqc, file: *const c_char, line: c_int) {
    // SAFETY: the caller's promise.
    unsafe { deref(seqc) }.sleepable_write_begin_at(here(file, line));
}

/// `seqc_sleepable_write_end()`.
///
/// # Safety
///
/// `seqc` is a live sequence count, `file` a literal.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn lkpi_seqc_sleepable_write_end(seqc: *const Seqc, file: *const c_char, line: c_int) {
    // SAFETY: the caller's promise.
    unsafe { deref(seqc) }.sleepable_write_end_at(here(file, line));
}

/// `seqc_read()`.
///
/// # Safety
///
/// `seqc` is a live sequence count, `file` a literal.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn lkpi_seqc_read(seqc: *const Seqc) -> c_uint {
    // SAFETY: the caller's promise.
    unsafe { deref(seqc) }.read()
}

/// `seqc_read_any()`.
///
/// # Safety
///
/// `seqc` is a live sequence count, `file` a literal.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn lkpi_seqc_read_any(seqc: *const Seqc) -> c_uint {
    // SAFETY: the caller's promise.
    unsafe { deref(seqc) }.read_any()
}

/// `seqc_consistent()`.
///
/// # Safety
///
/// `seqc` is a live sequence count, `file` a literal.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn lkpi_seqc_consistent(
    seqc: *const Seqc,
    old: c_uint,
    file: *const c_char,
    line: c_int,
) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { deref(seqc) }.consistent_at(old, here(file, line)).into()
}

/// `epoch_alloc()`.
///
/// # Safety
///
/// `name` is a literal.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn epoch_alloc(name: *const c_char, flags: c_int) -> *const Epoch {
    // SAFETY: the caller's promise.
    let name = unsafe { literal(name) };
    Epoch::alloc(name, Epochf::from_bits_retain(flags as u32)).map_or(core::ptr::null(), core::ptr::from_ref)
}

/// `epoch_free()`.
///
/// # Safety
///
/// `epoch` is a live epoch.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn epoch_free(epoch: *const Epoch) {
    // SAFETY: the caller's promise.
    unsafe { deref(epoch) }.free();
}

/// `epoch_wait()`.
///
/// # Safety
///
/// `epoch` is a live epoch.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn epoch_wait(epoch: *const Epoch) {
    // SAFETY: the caller's promise.
    unsafe { deref(epoch) }.wait();
}

/// `epoch_wait_preempt()`.
///
/// # Safety
///
/// `epoch` is a live epoch.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn epoch_wait_preempt(epoch: *const Epoch) {
    // SAFETY: the caller's promise.
    unsafe { deref(epoch) }.wait_preempt();
}

/// `epoch_drain_callbacks()`.
///
/// # Safety
///
/// `epoch` is a live epoch.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn epoch_drain_callbacks(epoch: *const Epoch) {
    // SAFETY: the caller's promise.
    unsafe { deref(epoch) }.drain_callbacks();
}

/// `epoch_enter()`.
///
/// # Safety
///
/// `epoch` is a live epoch.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn epoch_enter(epoch: *const Epoch) {
    // SAFETY: the caller's promise.
    unsafe { deref(epoch) }.enter();
}

/// `epoch_exit()`.
///
/// # Safety
///
/// `epoch` is a live epoch.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn epoch_exit(epoch: *const Epoch) {
    // SAFETY: the caller's promise.
    unsafe { deref(epoch) }.exit();
}

/// `in_epoch()`.
///
/// # Safety
///
/// `epoch` is a live epoch.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn in_epoch(epoch: *const Epoch) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { deref(epoch) }.in_epoch().into()
}

/// `_epoch_enter_preempt()`.
///
/// # Safety
///
/// `epoch` is a live epoch; `tracker` stays where it is until this thread leaves the section with it.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn _epoch_enter_preempt(epoch: *const Epoch, tracker: *const Tracker) {
    // SAFETY: the caller's promise.
    unsafe { deref(epoch).enter_preempt(deref(tracker)) };
}

/// `_epoch_exit_preempt()`.
///
/// # Safety
///
/// `epoch` is a live epoch; `tracker` stays where it is until this thread leaves the section with it.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn _epoch_exit_preempt(epoch: *const Epoch, tracker: *const Tracker) {
    // SAFETY: the caller's promise.
    unsafe { deref(epoch).exit_preempt(deref(tracker)) };
}

/// `_epoch_enter_preempt()` as a kernel with options EPOCH_TRACE has it.
///
/// # Safety
///
/// As for [`_epoch_enter_preempt`]; `file` is a literal.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn lkpi_epoch_enter_preempt(
    epoch: *const Epoch,
    tracker: *const Tracker,
    file: *const c_char,
    line: c_int,
) {
    // SAFETY: the caller's promise.
    unsafe { deref(epoch).enter_preempt_at(deref(tracker), here(file, line)) };
}

/// `_epoch_exit_preempt()`, likewise.
///
/// # Safety
///
/// As for [`_epoch_exit_preempt`]; `file` is a literal.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn lkpi_epoch_exit_preempt(
    epoch: *const Epoch,
    tracker: *const Tracker,
    file: *const c_char,
    line: c_int,
) {
    // SAFETY: the caller's promise.
    unsafe { deref(epoch).exit_preempt_at(deref(tracker), here(file, line)) };
}

/// `epoch_trace_list()`.
///
/// # Safety
///
/// `td` is the calling thread, or one that does not run.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn epoch_trace_list(td: *const Thread) {
    // SAFETY: the caller's promise.
    epoch::trace_list(unsafe { deref(td) });
}

/// `epoch_where_report()`.
///
/// # Safety
///
/// `epoch` is a live epoch.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn epoch_where_report(epoch: *const Epoch) {
    // SAFETY: the caller's promise.
    unsafe { deref(epoch) }.where_report();
}

/// `epoch_call()`.
///
/// # Safety
///
/// `epoch` is a live epoch, `context` in no other epoch_call, and both `callback` and `context` are there until it was called.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn epoch_call(epoch: *const Epoch, callback: Option<Callback>, context: *const Context) {
    mpass!(callback.is_some(), "callback", Loc::caller());
    if let Some(callback) = callback {
        // SAFETY: the caller's promise.
        unsafe { deref(epoch).call(callback, context) };
    }
}

/// `global_epoch`.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn lkpi_global_epoch() -> *const Epoch {
    epoch::global_epoch()
}

/// `global_epoch_preempt`.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn lkpi_global_epoch_preempt() -> *const Epoch {
    epoch::global_epoch_preempt()
}

/// `net_epoch_preempt`.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn lkpi_net_epoch_preempt() -> *const Epoch {
    epoch::net_epoch_preempt()
}

/// `Giant`.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn lkpi_giant() -> *const Mtx {
    crate::giant::giant()
}

/// `lockinit()`.
///
/// # Safety
///
/// `lk` is memory that holds no held lock; the name is a literal.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn lockinit(lk: *const Lock, pri: c_int, wmesg: *const c_char, timo: c_int, flags: c_int) {
    // SAFETY: the caller's promise.
    unsafe {
        let word = lk.wrapping_byte_add(size_of::<LockObject>());
        kassert!(word.is_aligned(), "lockinit: lockmgr not aligned for {}: {word:p}", text(literal(wmesg).as_ptr()));
        deref(lk).init(pri, literal(wmesg), timo, flags as u32);
        lock_on_stack(lk.cast(), size_of::<Lock>());
    }
}

/// `lockdestroy()`.
///
/// # Safety
///
/// `lk` is a live lockmgr lock, `file` a literal.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn lockdestroy(lk: *const Lock) {
    // SAFETY: the caller's promise.
    unsafe { deref(lk) }.destroy();
}

/// `__lockmgr_args()`.
///
/// # Safety
///
/// `lk` is a live lockmgr lock, `interlock` null or the head of a live lock that the caller holds; the texts are literals.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn __lockmgr_args(
    lk: *const Lock,
    flags: c_uint,
    interlock: *const LockObject,
    wmesg: *const c_char,
    pri: c_int,
    timo: c_int,
    file: *const c_char,
    line: c_int,
) -> c_int {
    // SAFETY: the caller's promise.
    unsafe {
        let wmesg = (!wmesg.is_null()).then(|| text(wmesg));
        deref(lk).args(flags, interlock.as_ref(), Wait { wmesg, pri, timo }, here(file, line))
    }
}

/// `_lockmgr_assert()`.
///
/// # Safety
///
/// `lk` is a live lockmgr lock, `file` a literal.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn _lockmgr_assert(lk: *const Lock, what: c_int, file: *const c_char, line: c_int) {
    // SAFETY: the caller's promise.
    unsafe { deref(lk) }.assert_at(what as u32, here(file, line));
}

/// `_lockmgr_disown()`.
///
/// # Safety
///
/// `lk` is a live lockmgr lock, `file` a literal.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn _lockmgr_disown(lk: *const Lock, file: *const c_char, line: c_int) {
    // SAFETY: the caller's promise.
    unsafe { deref(lk) }.disown_at(here(file, line));
}

/// `lockstatus()`.
///
/// # Safety
///
/// `lk` is a live lockmgr lock, `file` a literal.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn lockstatus(lk: *const Lock) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { deref(lk) }.status() as c_int
}

/// `PDROP`, in a priority.
const PDROP: c_int = 0x200;
/// `PRIMASK`.
const PRIMASK: c_int = 0xff;

/// `_sleep()`.
///
/// # Safety
///
/// `lock` is null or the head of a live lock that the caller holds; the text is a literal.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn _sleep(
    ident: *const c_void,
    lock: *const LockObject,
    priority: c_int,
    wmesg: *const c_char,
    sbt: i64,
    _pr: i64,
    flags: c_int,
) -> c_int {
    // SAFETY: the caller's promise.
    unsafe {
        let how = How {
            priority: (priority & PRIMASK) as u32,
            catch: priority & PCATCH != 0,
            drop: priority & PDROP != 0,
            ticks: timeout(sbt, flags),
        };
        sleep::sleep(ident as usize, lock.as_ref(), how, text(wmesg))
    }
}

/// `msleep_spin_sbt()`.
///
/// # Safety
///
/// `mtx` is a live spin mutex; the text is a literal.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn msleep_spin_sbt(
    ident: *const c_void,
    mtx: *const Mtx,
    wmesg: *const c_char,
    sbt: i64,
    _pr: i64,
    flags: c_int,
) -> c_int {
    kassert!(!mtx.is_null(), "sleeping without a mutex");
    // SAFETY: the caller's promise.
    unsafe { sleep::msleep_spin(ident as usize, deref(mtx), text(wmesg), timeout(sbt, flags)) }
}

/// `pause_sbt()`.
///
/// # Safety
///
/// `wmesg` is a literal.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn pause_sbt(wmesg: *const c_char, sbt: i64, _pr: i64, flags: c_int) -> c_int {
    kassert!(sbt >= 0, "pause_sbt: timeout must be >= 0");
    const C_CATCH: c_int = 0x800;
    let pause = if flags & C_CATCH != 0 { sleep::pause_sig } else { sleep::pause };
    // SAFETY: the caller's promise.
    pause(unsafe { text(wmesg) }, timeout(sbt, flags).max(1))
}

/// `wakeup()`.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn wakeup(ident: *const c_void) {
    sleep::wakeup(ident as usize);
}

/// `wakeup_one()`.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn wakeup_one(ident: *const c_void) {
    sleep::wakeup_one(ident as usize);
}

/// `wakeup_any()`.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn wakeup_any(ident: *const c_void) {
    sleep::wakeup_any(ident as usize);
}

/// `struct rw_args` of RW_SYSINIT.
#[repr(C)]
#[derive(Debug)]
pub struct RwArgs {
    lock: *const Rw,
    desc: *const c_char,
    flags: c_int,
}

/// `rw_sysinit()`.
///
/// # Safety
///
/// `args` is a `struct rw_args` of a static lock.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn rw_sysinit(args: *const c_void) {
    // SAFETY: the caller's promise.
    unsafe {
        let args: &RwArgs = deref(args.cast());
        deref(args.lock).init(literal(args.desc), Rwf::from_bits_retain(args.flags as u32));
    }
}

/// `struct sx_args` of SX_SYSINIT.
#[repr(C)]
#[derive(Debug)]
pub struct SxArgs {
    lock: *const Sx,
    desc: *const c_char,
    flags: c_int,
}

/// `sx_sysinit()`.
///
/// # Safety
///
/// `args` is a `struct sx_args` of a static lock.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn sx_sysinit(args: *const c_void) {
    // SAFETY: the caller's promise.
    unsafe {
        let args: &SxArgs = deref(args.cast());
        deref(args.lock).init(literal(args.desc), Sxf::from_bits_retain(args.flags as u32));
    }
}

/// `struct rm_args` of RM_SYSINIT.
#[repr(C)]
#[derive(Debug)]
pub struct RmArgs {
    lock: *const Rm,
    desc: *const c_char,
    flags: c_int,
}

/// `rm_sysinit()`.
///
/// # Safety
///
/// `args` is a `struct rm_args` of a static lock.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn rm_sysinit(args: *const c_void) {
    // SAFETY: the caller's promise.
    unsafe {
        let args: &RmArgs = deref(args.cast());
        deref(args.lock).init(literal(args.desc), Rmf::from_bits_retain(args.flags as u32));
    }
}
