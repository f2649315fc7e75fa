//! FreeBSD's symbols of kthread(9) and kproc(9); `linuxkpi/include/sys/kthread.h` declares them.
//!
//! # Context
//!
//! All may sleep, but for `kthread_resume()` and `kproc_resume()`, which only take a process's mutex. A thread of a kernel process ends by
//! `kthread_exit()` or `kproc_exit()`, with no lock held; C's frames have nothing to drop.
//!
//! References: sys/kthread.h, kern/kern_kthread.c.

use super::{deref, text};
use crate::kproc::{self, Proc};
use crate::panic::kpanic;
use crate::thread::{self, Argument, Thread};
use core::ffi::{c_char, c_int, c_void};

/// A thread's main function.
pub type Main = unsafe extern "C-unwind" fn(*mut c_void);

/// `RFSTOPPED`: the thread is not to run until its creator puts it on a run queue.
const RFSTOPPED: c_int = 1 << 17;

/// Of the flags, the one that would not be without consequences.
fn check(func: &str, flags: c_int) {
    if flags & RFSTOPPED != 0 {
        kpanic!("{func}: RFSTOPPED is not emulated: C cannot put a thread on a run queue");
    }
}

/// Adds a thread to `proc`; `newtd` knows it before it runs.
///
/// # Safety
///
/// `func` may be called with `arg` in another thread; `newtd` is null or has room.
unsafe fn add(proc: &'static Proc, name: &str, newtd: *mut *const Thread, func: Main, arg: *mut c_void) {
    let made = |td: &'static Thread| {
        if !newtd.is_null() {
            // SAFETY: the caller's promise.
            unsafe { newtd.write(td) };
        }
    };
    let arg = Argument::new(arg);
    // SAFETY: the caller's promise.
    kproc::add(proc, name, made, move || unsafe { func(arg.get()) });
}

/// Makes a process; `newpp` knows it before it runs.
///
/// # Safety
///
/// `newpp` is null or has room.
unsafe fn make(name: &str, newpp: *mut *const Proc) -> &'static Proc {
    let proc = kproc::new(name);
    if !newpp.is_null() {
        // SAFETY: the caller's promise.
        unsafe { newpp.write(proc) };
    }
    proc
}

/// `curproc`.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn lkpi_curproc() -> *const Proc {
    kproc::curproc()
}

/// `td_proc`.
///
/// # Safety
///
/// `td` is a thread.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn lkpi_td_proc(td: *const Thread) -> *const Proc {
    // SAFETY: the caller's promise.
    kproc::of(unsafe { deref(td) })
}

/// `kthread_add()`: a thread of priority PVM, of proc0 if `proc` is null; returns 0.
///
/// # Safety
///
/// `func` may be called with `arg` in another thread; `proc` is null or a process; `newtd` is null or has room; `name` is a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn lkpi_kthread_add(
    func: Main,
    arg: *mut c_void,
    proc: *const Proc,
    newtd: *mut *const Thread,
    flags: c_int,
    name: *const c_char,
) -> c_int {
    check("kthread_add", flags);
    // SAFETY: the caller's promise; the name is copied, and processes live as long as the execution.
    unsafe { add(proc.as_ref().unwrap_or_else(kproc::proc0), text(name), newtd, func, arg) };
    0
}

/// `kproc_create()`: returns 0.
///
/// # Safety
///
/// `func` may be called with `arg` in another thread; `newpp` is null or has room; `name` is a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn lkpi_kproc_create(
    func: Main,
    arg: *mut c_void,
    newpp: *mut *const Proc,
    flags: c_int,
    name: *const c_char,
) -> c_int {
    check("kproc_create", flags);
    // SAFETY: the caller's promise; the name is copied.
    unsafe { add(make(text(name), newpp), text(name), core::ptr::null_mut(), func, arg) };
    0
}

/// `kproc_kthread_add()`: a thread of `*procptr`, which is made with this thread if it is null; returns 0.
///
/// # Safety
///
/// `func` may be called with `arg` in another thread; `*procptr` is null or a process; `tdptr` is null or has room; the names are C strings.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn lkpi_kproc_kthread_add(
    func: Main,
    arg: *mut c_void,
    procptr: *mut *const Proc,
    tdptr: *mut *const Thread,
    flags: c_int,
    procname: *const c_char,
    name: *const c_char,
) -> c_int {
    check("kproc_kthread_add", flags);
    // SAFETY: the caller's promise; the names are copied, and processes live as long as the execution.
    unsafe {
        let proc = match deref(procptr).as_ref() {
            Some(proc) => proc,
            None => make(text(procname), procptr),
        };
        add(proc, text(name), tdptr, func, arg);
    }
    0
}

/// `kproc_exit()`: the exit code is nobody's.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn kproc_exit(_code: c_int) -> ! {
    kproc::kproc_exit()
}

/// `kproc_suspend()`.
///
/// # Safety
///
/// `proc` is a process.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn kproc_suspend(proc: *const Proc, timo: c_int) -> c_int {
    // SAFETY: the caller's promise.
    kproc::kproc_suspend(unsafe { deref(proc) }, u64::try_from(timo).unwrap_or(0))
}

/// `kproc_resume()`.
///
/// # Safety
///
/// `proc` is a process.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn kproc_resume(proc: *const Proc) -> c_int {
    // SAFETY: the caller's promise.
    kproc::kproc_resume(unsafe { deref(proc) })
}

/// `kproc_shutdown()`.
///
/// # Safety
///
/// `proc` is a process.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn kproc_shutdown(proc: *const Proc, _howto: c_int) {
    // SAFETY: the caller's promise.
    kproc::kproc_shutdown(unsafe { deref(proc) });
}

/// `kthread_shutdown()`.
///
/// # Safety
///
/// `td` is a thread.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn kthread_shutdown(td: *const Thread, _howto: c_int) {
    // SAFETY: the caller's promise.
    kproc::kthread_shutdown(unsafe { deref(td) });
}

/// `kproc_suspend_check()`.
///
/// # Safety
///
/// `proc` is a process.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn kproc_suspend_check(proc: *const Proc) {
    // SAFETY: the caller's promise.
    kproc::kproc_suspend_check(unsafe { deref(proc) });
}

/// `struct kproc_desc` and `struct kthread_desc`, which differ in the type of what is saved.
#[repr(C)]
#[derive(Debug)]
pub struct Desc<T> {
    name: *const c_char,
    func: unsafe extern "C-unwind" fn(),
    save: *mut *const T,
}

const _: () = assert!(size_of::<Desc<Proc>>() == 24);

/// The main function of what a description starts.
///
/// # Safety
///
/// `func` is a function without arguments that may be called in this thread.
unsafe extern "C-unwind" fn start(func: *mut c_void) {
    // SAFETY: `kproc_start` and `kthread_start` made the pointer of such a function.
    unsafe { core::mem::transmute::<*mut c_void, unsafe extern "C-unwind" fn()>(func)() };
}

/// `kproc_start()`: for SYSINIT.
///
/// # Safety
///
/// `desc` is a live `struct kproc_desc`, whose function may be called in another thread.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn kproc_start(desc: *const c_void) {
    // SAFETY: the caller's promise.
    unsafe {
        let desc: &Desc<Proc> = deref(desc.cast());
        lkpi_kproc_create(start, desc.func as *mut c_void, desc.save, 0, desc.name);
    }
}

/// `kthread_start()`: for SYSINIT.
///
/// # Safety
///
/// `desc` is a live `struct kthread_desc`, whose function may be called in another thread.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn kthread_start(desc: *const c_void) {
    // SAFETY: the caller's promise.
    unsafe {
        let desc: &Desc<Thread> = deref(desc.cast());
        lkpi_kthread_add(start, desc.func as *mut c_void, core::ptr::null(), desc.save, 0, desc.name);
    }
}

/// `kthread_exit()`.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn kthread_exit() -> ! {
    thread::kthread_exit()
}

/// `kthread_suspend()`.
///
/// # Safety
///
/// `td` is a thread.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn kthread_suspend(td: *const Thread, timo: c_int) -> c_int {
    // SAFETY: the caller's promise.
    thread::kthread_suspend(unsafe { deref(td) }, u64::try_from(timo).unwrap_or(0))
}

/// `kthread_resume()`.
///
/// # Safety
///
/// `td` is a thread.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn kthread_resume(td: *const Thread) -> c_int {
    // SAFETY: the caller's promise.
    thread::kthread_resume(unsafe { deref(td) })
}

/// `kthread_suspend_check()`.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn kthread_suspend_check() {
    thread::kthread_suspend_check();
}
