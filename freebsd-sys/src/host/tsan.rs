//! The hooks of `-fsanitize=thread`: how the machine sees what C does to memory. There is no runtime library; these are all.
//!
//! A plain access is a boundary of the `explore` engine, part of a spin loop's read set, and checked for data races and use
//! after free (`explore::access`). Accesses to the running thread's own stack and to read-only memory are nobody
//! else's business and pass at once; on the `smp` engine, and outside a machine, all do. Atomic built-ins are calls too:
//! they are boundaries in both engines, and race with plain accesses only.
//!
//! The compilers' names are the interface: gcc's `sanitizer.def`, LLVM's `ThreadSanitizer.cpp`.

use super::explore;
use super::gs::{self, word};
use crate::cpu;
use core::ffi::{c_int, c_void};
use core::sync::atomic::Ordering::SeqCst;
use std::sync::OnceLock;

/// Addresses that no thread can map: an access there faults by itself, at the place that did it.
const NULL_PAGE: usize = 4096;

/// The program's segments that nobody writes, as address ranges.
static READ_ONLY: OnceLock<Vec<(usize, usize)>> = OnceLock::new();

/// Looks up the program's read-only segments, once; called before a machine runs, since it allocates.
pub(crate) fn install() {
    READ_ONLY.get_or_init(|| {
        let mut ranges = Vec::new();
        // SAFETY: `collect` has the callback's type, and `data` is the vector it casts back to.
        unsafe { libc::dl_iterate_phdr(Some(collect), (&raw mut ranges).cast()) };
        ranges
    });
}

/// Adds an object's read-only segments and those that are read-only once relocated.
unsafe extern "C" fn collect(info: *mut libc::dl_phdr_info, _size: usize, data: *mut c_void) -> c_int {
    // SAFETY: dl_iterate_phdr passes a valid description, and our vector.
    unsafe {
        let ranges = &mut *data.cast::<Vec<(usize, usize)>>();
        let info = &*info;
        let headers = core::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into());
        for header in headers {
            let load = header.p_type == libc::PT_LOAD && header.p_flags & libc::PF_W == 0;
            if load || header.p_type == libc::PT_GNU_RELRO {
                let start = info.dlpi_addr as usize + header.p_vaddr as usize;
                ranges.push((start, start + header.p_memsz as usize));
            }
        }
    }
    0
}

/// Whether `at` lies in one.
pub(crate) fn read_only(at: usize) -> bool {
    READ_ONLY.get().is_some_and(|ranges| ranges.iter().any(|&(start, end)| (start..end).contains(&at)))
}

/// A plain (or, `marked`, a volatile) access of C.
#[inline]
fn access(at: usize, size: usize, write: bool, marked: bool) {
    if gs::word() & (word::EXPLORE | word::STOPPED | word::OUTSIDE) == word::EXPLORE {
        access_explored(at, size, write, marked);
    }
}

#[cold]
fn access_explored(at: usize, size: usize, write: bool, marked: bool) {
    if size == 0 || at < NULL_PAGE || !write && read_only(at) {
        return;
    }
    // The compiler's hooks say no source line.
    explore::access_at(at, size, write, marked, None);
}

/// An atomic built-in's boundary.
#[inline]
fn atomic(at: usize, size: usize, write: bool) {
    let w = gs::word();
    if w & word::OUTSIDE != 0 {
        return;
    }
    if w & (word::EXPLORE | word::STOPPED) == word::EXPLORE {
        access_explored(at, size, write, true);
    } else {
        cpu::step("atomic", 0);
    }
}

/// The compiler's constructor in each instrumented object.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn __tsan_init() {}

/// A function begins.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn __tsan_func_entry(_pc: *const c_void) {}

/// A function ends.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn __tsan_func_exit() {}

macro_rules! accesses {
    ($($name:ident($size:expr, $write:expr, $marked:expr);)*) => { $(
        #[doc = concat!("`", stringify!($name), "`.")]
        #[unsafe(no_mangle)]
        pub extern "C-unwind" fn $name(at: *const c_void) {
            access(at as usize, $size, $write, $marked);
        }
    )* };
}

accesses! {
    __tsan_read1(1, false, false);
    __tsan_read2(2, false, false);
    __tsan_read4(4, false, false);
    __tsan_read8(8, false, false);
    __tsan_read16(16, false, false);
    __tsan_write1(1, true, false);
    __tsan_write2(2, true, false);
    __tsan_write4(4, true, false);
    __tsan_write8(8, true, false);
    __tsan_write16(16, true, false);
    __tsan_unaligned_read2(2, false, false);
    __tsan_unaligned_read4(4, false, false);
    __tsan_unaligned_read8(8, false, false);
    __tsan_unaligned_read16(16, false, false);
    __tsan_unaligned_write2(2, true, false);
    __tsan_unaligned_write4(4, true, false);
    __tsan_unaligned_write8(8, true, false);
    __tsan_unaligned_write16(16, true, false);
    __tsan_read_write1(1, true, false);
    __tsan_read_write2(2, true, false);
    __tsan_read_write4(4, true, false);
    __tsan_read_write8(8, true, false);
    __tsan_read_write16(16, true, false);
    __tsan_unaligned_read_write2(2, true, false);
    __tsan_unaligned_read_write4(4, true, false);
    __tsan_unaligned_read_write8(8, true, false);
    __tsan_unaligned_read_write16(16, true, false);
    __tsan_volatile_read1(1, false, true);
    __tsan_volatile_read2(2, false, true);
    __tsan_volatile_read4(4, false, true);
    __tsan_volatile_read8(8, false, true);
    __tsan_volatile_read16(16, false, true);
    __tsan_volatile_write1(1, true, true);
    __tsan_volatile_write2(2, true, true);
    __tsan_volatile_write4(4, true, true);
    __tsan_volatile_write8(8, true, true);
    __tsan_volatile_write16(16, true, true);
    __tsan_unaligned_volatile_read2(2, false, true);
    __tsan_unaligned_volatile_read4(4, false, true);
    __tsan_unaligned_volatile_read8(8, false, true);
    __tsan_unaligned_volatile_read16(16, false, true);
    __tsan_unaligned_volatile_write2(2, true, true);
    __tsan_unaligned_volatile_write4(4, true, true);
    __tsan_unaligned_volatile_write8(8, true, true);
    __tsan_unaligned_volatile_write16(16, true, true);
}

/// A structure is read.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn __tsan_read_range(at: *const c_void, size: usize) {
    access(at as usize, size, false, false);
}

/// A structure is written.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn __tsan_write_range(at: *const c_void, size: usize) {
    access(at as usize, size, true, false);
}

/// memcpy(3), as accesses.
///
/// # Safety
///
/// As for memcpy(3).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn __tsan_memcpy(to: *mut c_void, from: *const c_void, size: usize) -> *mut c_void {
    access(from as usize, size, false, false);
    access(to as usize, size, true, false);
    // SAFETY: the caller's promise.
    unsafe { libc::memcpy(to, from, size) }
}

/// memmove(3), as accesses.
///
/// # Safety
///
/// As for memmove(3).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn __tsan_memmove(to: *mut c_void, from: *const c_void, size: usize) -> *mut c_void {
    access(from as usize, size, false, false);
    access(to as usize, size, true, false);
    // SAFETY: the caller's promise.
    unsafe { libc::memmove(to, from, size) }
}

/// memset(3), as an access.
///
/// # Safety
///
/// As for memset(3).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn __tsan_memset(at: *mut c_void, byte: c_int, size: usize) -> *mut c_void {
    access(at as usize, size, true, false);
    // SAFETY: the caller's promise.
    unsafe { libc::memset(at, byte, size) }
}

/// `__atomic_thread_fence`: nothing to see in a sequentially consistent engine.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn __tsan_atomic_thread_fence(_order: c_int) {
    crate::atomic::thread_fence_seq_cst();
}

/// `__atomic_signal_fence`.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn __tsan_atomic_signal_fence(_order: c_int) {
    core::sync::atomic::compiler_fence(SeqCst);
}

/// The atomic built-ins of one size. All are sequentially consistent, the strongest of the orders that C may ask for.
macro_rules! atomics {
    ($int:ty, $atomic:ident, $load:ident, $store:ident, $strong:ident, $weak:ident, $val:ident, [$($rmw:ident $op:ident),*]) => {
        /// `__atomic_load_n`.
        ///
        /// # Safety
        ///
        /// `at` is an aligned address, valid or faulting.
        #[unsafe(no_mangle)]
        pub unsafe extern "C-unwind" fn $load(at: *mut $int, _order: c_int) -> $int {
            atomic(at as usize, size_of::<$int>(), false);
            // SAFETY: the caller's promise.
            unsafe { core::sync::atomic::$atomic::from_ptr(at) }.load(SeqCst)
        }
        /// `__atomic_store_n`.
        ///
        /// # Safety
        ///
        /// `at` is an aligned address, valid or faulting.
        #[unsafe(no_mangle)]
        pub unsafe extern "C-unwind" fn $store(at: *mut $int, value: $int, _order: c_int) {
            atomic(at as usize, size_of::<$int>(), true);
            // SAFETY: the caller's promise.
            unsafe { core::sync::atomic::$atomic::from_ptr(at) }.store(value, SeqCst);
        }
        /// `__atomic_compare_exchange_n`, strong.
        ///
        /// # Safety
        ///
        /// `at` is an aligned address, valid or faulting; `old` is valid and the caller's.
        #[unsafe(no_mangle)]
        pub unsafe extern "C-unwind" fn $strong(
            at: *mut $int, old: *mut $int, new: $int, _order: c_int, _failure: c_int,
        ) -> c_int {
            atomic(at as usize, size_of::<$int>(), true);
            // SAFETY: the caller's promise.
            unsafe {
                match core::sync::atomic::$atomic::from_ptr(at).compare_exchange(old.read(), new, SeqCst, SeqCst) {
                    Ok(_) => 1,
                    Err(found) => {
                        old.write(found);
                        // A failed attempt is all that a loop around it has to wait for.
                        cpu::observe(at.cast_const().cast(), size_of::<$int>());
                        0
                    }
                }
            }
        }
        /// `__atomic_compare_exchange_n`, weak: never fails by itself.
        ///
        /// # Safety
        ///
        /// As for the strong form.
        #[unsafe(no_mangle)]
        pub unsafe extern "C-unwind" fn $weak(
            at: *mut $int, old: *mut $int, new: $int, order: c_int, failure: c_int,
        ) -> c_int {
            // SAFETY: the caller's promise.
            unsafe { $strong(at, old, new, order, failure) }
        }
        /// `__sync_val_compare_and_swap`.
        ///
        /// # Safety
        ///
        /// `at` is an aligned address, valid or faulting.
        #[unsafe(no_mangle)]
        pub unsafe extern "C-unwind" fn $val(
            at: *mut $int, mut old: $int, new: $int, order: c_int, failure: c_int,
        ) -> $int {
            // SAFETY: the caller's promise; `old` is ours.
            unsafe { $strong(at, &raw mut old, new, order, failure) };
            old
        }
        $(
            #[doc = concat!("`__atomic_", stringify!($op), "`.")]
            ///
            /// # Safety
            ///
            /// `at` is an aligned address, valid or faulting.
            #[unsafe(no_mangle)]
            pub unsafe extern "C-unwind" fn $rmw(at: *mut $int, value: $int, _order: c_int) -> $int {
                atomic(at as usize, size_of::<$int>(), true);
                // SAFETY: the caller's promise.
                unsafe { core::sync::atomic::$atomic::from_ptr(at) }.$op(value, SeqCst)
            }
        )*
    };
}

atomics!(u8, AtomicU8, __tsan_atomic8_load, __tsan_atomic8_store, __tsan_atomic8_compare_exchange_strong,
    __tsan_atomic8_compare_exchange_weak, __tsan_atomic8_compare_exchange_val,
    [__tsan_atomic8_exchange swap, __tsan_atomic8_fetch_add fetch_add, __tsan_atomic8_fetch_sub fetch_sub,
     __tsan_atomic8_fetch_and fetch_and, __tsan_atomic8_fetch_or fetch_or, __tsan_atomic8_fetch_xor fetch_xor,
     __tsan_atomic8_fetch_nand fetch_nand]);
atomics!(u16, AtomicU16, __tsan_atomic16_load, __tsan_atomic16_store, __tsan_atomic16_compare_exchange_strong,
    __tsan_atomic16_compare_exchange_weak, __tsan_atomic16_compare_exchange_val,
    [__tsan_atomic16_exchange swap, __tsan_atomic16_fetch_add fetch_add, __tsan_atomic16_fetch_sub fetch_sub,
     __tsan_atomic16_fetch_and fetch_and, __tsan_atomic16_fetch_or fetch_or, __tsan_atomic16_fetch_xor fetch_xor,
     __tsan_atomic16_fetch_nand fetch_nand]);
atomics!(u32, AtomicU32, __tsan_atomic32_load, __tsan_atomic32_store, __tsan_atomic32_compare_exchange_strong,
    __tsan_atomic32_compare_exchange_weak, __tsan_atomic32_compare_exchange_val,
    [__tsan_atomic32_exchange swap, __tsan_atomic32_fetch_add fetch_add, __tsan_atomic32_fetch_sub fetch_sub,
     __tsan_atomic32_fetch_and fetch_and, __tsan_atomic32_fetch_or fetch_or, __tsan_atomic32_fetch_xor fetch_xor,
     __tsan_atomic32_fetch_nand fetch_nand]);
atomics!(u64, AtomicU64, __tsan_atomic64_load, __tsan_atomic64_store, __tsan_atomic64_compare_exchange_strong,
    __tsan_atomic64_compare_exchange_weak, __tsan_atomic64_compare_exchange_val,
    [__tsan_atomic64_exchange swap, __tsan_atomic64_fetch_add fetch_add, __tsan_atomic64_fetch_sub fetch_sub,
     __tsan_atomic64_fetch_and fetch_and, __tsan_atomic64_fetch_or fetch_or, __tsan_atomic64_fetch_xor fetch_xor,
     __tsan_atomic64_fetch_nand fetch_nand]);
