//! FreeBSD's symbols of malloc(9); `linuxkpi/include/sys/malloc.h` declares them.
//!
//! References: sys/malloc.h, kern/kern_malloc.c.

use super::text;
use crate::cpu;
use crate::malloc::{self, M};
use crate::panic::kprintf;
use core::ffi::{c_char, c_int, c_void};

/// `malloc()`: null if memory is short, which it is here with `M_WAITOK` too.
///
/// Prints `Bad malloc flags: %x` of flags that say neither `M_NOWAIT` nor `M_WAITOK`, or both, and waits then (INVARIANTS; FreeBSD prints
/// it once).
///
/// # Safety
///
/// `what` is a literal.
///
/// # Panics
///
/// Rows 106 and 108 of the misuse table (INVARIANTS).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn lkpi_malloc(size: usize, what: *const c_char, flags: c_int) -> *mut c_void {
    let mut flags = M::from_bits_truncate(flags as u32);
    let wait = flags & (M::NOWAIT | M::WAITOK);
    if cpu::invariants() && wait != M::NOWAIT && wait != M::WAITOK {
        kprintf!("Bad malloc flags: {:x}", wait.bits());
        flags |= M::WAITOK;
    }
    // SAFETY: the caller's promise.
    malloc::malloc(size, unsafe { text(what) }, flags).cast()
}

/// `free()`; null is fine.
///
/// # Safety
///
/// `what` is a literal.
///
/// # Panics
///
/// Row 107 of the misuse table (INVARIANTS).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn lkpi_free(at: *mut c_void, what: *const c_char) {
    // SAFETY: the caller's promise.
    malloc::free(at.cast(), unsafe { text(what) });
}

/// What realloc() copies: the size of the block at `at`, 0 if there is none.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn lkpi_malloc_size(at: *const c_void) -> usize {
    malloc::allocation_size(at.cast()).unwrap_or(0)
}
