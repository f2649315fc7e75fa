//! FreeBSD's symbols as C modules import them, and what C scenarios need of the machine.
//!
//! A module calls the out-of-line functions with file and line, whatever the kernel's options; the mutex functions take the
//! address of the lock word, not of the mutex. All are `extern "C-unwind"`: an ended machine unwinds its threads through C.
//!
//! References: sys/mutex.h, sys/systm.h, kern/kern_mutex.c; `linuxkpi/include/sys` is the other side.

pub mod deferred;
pub mod eventhandler;
pub mod interrupt;
pub mod kthread;
pub mod lock_class;
pub mod locks;
pub mod memory;
pub mod newbus;
pub mod sched;
pub mod sleepqueue;
pub mod smp;

use crate::cpu;
use crate::lock::Loc;
use crate::mutex::{Mtx, Mtxf};
use crate::panic::{corruption, kassert, panic_args, printf_args};
use crate::syscall;
use crate::thread::{Argument, Thread, curthread};
use core::ffi::{CStr, c_char, c_int, c_uint, c_void};
use core::mem::offset_of;

// The fields that `linuxkpi/include/sys/proc.h` shows; it asserts the same numbers.
const _: () = {
    assert!(offset_of!(Thread, critnest) == 0);
    assert!(offset_of!(Thread, intr_nesting_level) == 4);
    assert!(offset_of!(Thread, pinned) == 8);
    assert!(offset_of!(Thread, no_sleeping) == 12);
    assert!(offset_of!(Thread, owepreempt) == 16);
    assert!(offset_of!(Thread, priority) == 20);
    assert!(offset_of!(Thread, lkpi_task) == 24);
};

/// The text at `at`, for messages.
///
/// # Safety
///
/// `at` is null or a C string that lives as long as `'a`.
pub unsafe fn text<'a>(at: *const c_char) -> &'a str {
    if at.is_null() {
        return "(null)";
    }
    // SAFETY: the caller's promise.
    unsafe { CStr::from_ptr(at) }.to_str().unwrap_or("(not text)")
}

/// What C passed as the address of a `T`: a null or misaligned one is the trap that it would be in a kernel.
///
/// # Safety
///
/// Unless null or misaligned, `at` is the address of a live `T` that is not referenced exclusively.
///
/// # Panics
///
/// `page fault`.
pub unsafe fn deref<'a, T>(at: *const T) -> &'a T {
    check(at);
    // SAFETY: the caller's promise.
    unsafe { &*at }
}

/// Makes `value` of the memory whose address C passed; what is wrong with an address is said as [`deref()`] says it.
///
/// # Safety
///
/// Unless null or misaligned, `at` is the address of memory for a `T` that is the caller's alone.
///
/// # Panics
///
/// `page fault`.
pub unsafe fn place<'a, T>(at: *mut T, value: T) -> &'a T {
    check(at);
    // SAFETY: the caller's promise.
    unsafe {
        at.write(value);
        &*at
    }
}

fn check<T>(at: *const T) {
    if at.is_null() || !at.is_aligned() {
        panic_args(format_args!(
            "page fault (fault virtual address {:#x}, {})",
            at as usize,
            core::any::type_name::<T>()
        ));
    }
}

/// A lock of `size` bytes was initialised at `at`: if in a frame of the running thread, the machine does not list it.
///
/// C has no destructors: a frame ends, and the list would name memory that is something else.
pub fn lock_on_stack(at: *const (), size: usize) {
    if cpu::engine() == crate::machine::Engine::Explore && crate::host::explore::on_stack(at as usize) {
        cpu::machine().unlist_locks(at as usize, size);
    }
}

fn here(file: *const c_char, line: c_int) -> Loc {
    Loc::c(file, line as u32)
}

/// The mutex whose word is at `cookie`.
///
/// # Safety
///
/// `cookie` is the address of a live mutex's `mtx_lock`, or no address at all (null plus the word's offset).
unsafe fn mtx<'a>(cookie: *const usize) -> &'a Mtx {
    let word = size_of::<crate::lock::LockObject>();
    // SAFETY: the caller's promise; the word is at offset 24, as asserted in `mutex`.
    unsafe { deref(cookie.wrapping_byte_sub(word).cast()) }
}

/// `_mtx_init()`.
///
/// # Safety
///
/// `cookie` is `&m->mtx_lock` of memory that holds no held mutex; the names are literals.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn _mtx_init(cookie: *const usize, name: *const c_char, kind: *const c_char, opts: c_int) {
    // SAFETY: the caller's promise.
    unsafe {
        let (name, kind) = locks::name_and_type(name, kind);
        kassert!(cookie.is_aligned(), "_mtx_init: mtx_lock not aligned for {}: {cookie:p}", text(name.as_ptr()));
        let lock = mtx(cookie);
        lock.init_typed(name, kind, Mtxf::from_bits_retain(opts as u32));
        lock_on_stack(core::ptr::from_ref(lock).cast(), size_of::<Mtx>());
    }
}

/// `_mtx_destroy()`.
///
/// # Safety
///
/// `cookie` is `&m->mtx_lock` of a live mutex.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn _mtx_destroy(cookie: *const usize) {
    // SAFETY: the caller's promise.
    unsafe { mtx(cookie) }.destroy();
}

/// `struct mtx_args` of MTX_SYSINIT.
#[repr(C)]
#[derive(Debug)]
pub struct MtxArgs {
    mtx: *const Mtx,
    desc: *const c_char,
    opts: c_int,
}

/// `mtx_sysinit()`.
///
/// # Safety
///
/// `args` is a `struct mtx_args` of a static mutex.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn mtx_sysinit(args: *const c_void) {
    // SAFETY: the caller's promise.
    unsafe {
        let args: &MtxArgs = deref(args.cast());
        deref(args.mtx).init(CStr::from_ptr(args.desc), Mtxf::from_bits_retain(args.opts as u32));
    }
}

/// `__mtx_lock_flags()`.
///
/// # Safety
///
/// `cookie` is `&m->mtx_lock` of a live mutex, `file` a literal.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn __mtx_lock_flags(cookie: *const usize, opts: c_int, file: *const c_char, line: c_int) {
    // SAFETY: the caller's promise.
    let mtx = unsafe { mtx(cookie) };
    if !mtx.lock_alone() {
        mtx.lock_at(opts as u32, here(file, line));
    }
}

/// `__mtx_unlock_flags()`.
///
/// # Safety
///
/// As for [`__mtx_lock_flags`].
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn __mtx_unlock_flags(
    cookie: *const usize,
    _opts: c_int,
    file: *const c_char,
    line: c_int,
) {
    // SAFETY: the caller's promise.
    unsafe { mtx(cookie) }.unlock_loc(here(file, line));
}

/// `_mtx_trylock_flags_()`.
///
/// # Safety
///
/// As for [`__mtx_lock_flags`].
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn _mtx_trylock_flags_(
    cookie: *const usize,
    opts: c_int,
    file: *const c_char,
    line: c_int,
) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { mtx(cookie) }.trylock_at(opts as u32, here(file, line)).into()
}

/// `__mtx_lock_spin_flags()`.
///
/// # Safety
///
/// As for [`__mtx_lock_flags`].
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn __mtx_lock_spin_flags(
    cookie: *const usize,
    opts: c_int,
    file: *const c_char,
    line: c_int,
) {
    // SAFETY: the caller's promise.
    let mtx = unsafe { mtx(cookie) };
    if !mtx.lock_spin_alone() {
        mtx.lock_spin_at(opts as u32, here(file, line));
    }
}

/// `__mtx_unlock_spin_flags()`.
///
/// # Safety
///
/// As for [`__mtx_lock_flags`].
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn __mtx_unlock_spin_flags(
    cookie: *const usize,
    _opts: c_int,
    file: *const c_char,
    line: c_int,
) {
    // SAFETY: the caller's promise.
    unsafe { mtx(cookie) }.unlock_spin_loc(here(file, line));
}

/// `__mtx_trylock_spin_flags()`.
///
/// # Safety
///
/// As for [`__mtx_lock_flags`].
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn __mtx_trylock_spin_flags(
    cookie: *const usize,
    opts: c_int,
    file: *const c_char,
    line: c_int,
) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { mtx(cookie) }.trylock_spin_at(opts as u32, here(file, line)).into()
}

/// `__mtx_assert()`.
///
/// # Safety
///
/// As for [`__mtx_lock_flags`].
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn __mtx_assert(cookie: *const usize, what: c_int, file: *const c_char, line: c_int) {
    // SAFETY: the caller's promise.
    unsafe { mtx(cookie) }.assert_at(what as u32, here(file, line));
}

/// `critical_enter_KBI()`.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn critical_enter_KBI() {
    crate::critical::critical_enter();
}

/// `critical_exit_KBI()`.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn critical_exit_KBI() {
    crate::critical::critical_exit();
}

/// `spinlock_enter()`.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn spinlock_enter() {
    crate::critical::spinlock_enter();
}

/// `spinlock_exit()`.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn spinlock_exit() {
    crate::critical::spinlock_exit();
}

/// `curthread`.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn lkpi_curthread() -> *const Thread {
    // C reads td_pinned.
    crate::sched::settle();
    curthread()
}

/// `curcpu`.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn lkpi_curcpu() -> c_int {
    cpu::cpuid() as c_int
}

/// Whether KASSERT and MPASS are evaluated: options INVARIANTS.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn lkpi_invariants() -> c_int {
    cpu::invariants().into()
}

/// `SCHEDULER_STOPPED()`.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn lkpi_scheduler_stopped() -> c_int {
    cpu::scheduler_stopped().into()
}

/// panic(9) with the text ready.
///
/// # Safety
///
/// `message` is a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn lkpi_panic(message: *const c_char) -> ! {
    // SAFETY: the caller's promise.
    panic_args(format_args!("{}", unsafe { text(message) }))
}

/// printf(9) with the text ready; the console is in lines.
///
/// # Safety
///
/// `message` is a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn lkpi_printf(message: *const c_char) {
    // SAFETY: the caller's promise.
    printf_args(format_args!("{}", unsafe { text(message) }.trim_end_matches('\n')));
}

/// The verdict `corruption`.
///
/// # Safety
///
/// `message` is a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn lkpi_corruption(message: *const c_char) -> ! {
    // SAFETY: the caller's promise.
    corruption(format_args!("{}", unsafe { text(message) }))
}

/// `ticks`, before it is made an `int`.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn lkpi_ticks() -> u64 {
    crate::sleep::ticks()
}

/// `DELAY()`.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn lkpi_delay(us: c_uint) {
    crate::sleep::delay(us);
}

/// `cpu_spinwait()`.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn lkpi_cpu_spinwait() {
    cpu::spinwait();
}

/// [`crate::interrupt::bystanders`].
#[unsafe(no_mangle)]
pub extern "C-unwind" fn lkpi_bystanders() {
    crate::interrupt::bystanders();
}

/// A signal for `td`: what `PCATCH` and Linux's interruptible forms wait for.
///
/// # Safety
///
/// `td` is a thread.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn lkpi_signal(td: *const Thread) {
    if cpu::step("signal", 0) {
        // SAFETY: the caller's promise.
        crate::sleepqueue::abort(unsafe { deref(td) }, crate::sleepqueue::EINTR);
    }
}

/// [`crate::host::explore::begin`].
#[unsafe(no_mangle)]
pub extern "C-unwind" fn lkpi_explore_begin() {
    crate::host::explore::begin();
}

/// [`crate::host::explore::end`].
#[unsafe(no_mangle)]
pub extern "C-unwind" fn lkpi_explore_end() {
    crate::host::explore::end();
}

/// [`crate::userret::userret`].
#[unsafe(no_mangle)]
pub extern "C-unwind" fn lkpi_userret() {
    crate::userret::userret();
}

/// A user thread that makes one system call: `struct lkpi_syscall` of `linuxkpi/scenario.h`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Syscall {
    name: *const c_char,
    priority: c_uint,
    /// The CPU that it starts on, or -1.
    cpu: c_int,
    func: unsafe extern "C-unwind" fn(*mut c_void),
    arg: *mut c_void,
}

/// [`syscall::run`] of the threads and a [`syscall::crowd`].
///
/// # Safety
///
/// `threads` are `count` live descriptions, whose functions may be called with their arguments on other threads.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn lkpi_syscalls(threads: *const Syscall, count: usize) {
    // SAFETY: the caller's promise.
    let threads: &[Syscall] = unsafe { core::slice::from_raw_parts(threads, count) };
    let calls = threads.iter().map(|&Syscall { name, priority, cpu, func, arg }| {
        let arg = Argument::new(arg);
        // SAFETY: the caller's promise; the name is copied.
        let call = unsafe { syscall::syscall(text(name), priority, move || func(arg.get())) };
        match usize::try_from(cpu) {
            Ok(cpu) => call.on(cpu),
            Err(_) => call,
        }
    });
    syscall::run(calls.chain(syscall::crowd()).collect());
}

/// An interrupt source that may interrupt at any time: what `request_irq` is given.
///
/// # Safety
///
/// `name` is a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn lkpi_device_irq(name: *const c_char) -> c_uint {
    // SAFETY: the caller's promise; the name is copied.
    let name = unsafe { text(name) };
    let irq = crate::interrupt::create(name, crate::interrupt::Arrival::AnyTime, crate::sched::pri::PI_INTR, None);
    irq.0.into()
}
