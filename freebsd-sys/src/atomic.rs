//! atomic(9) and the two kinds of plain fields that the kernel's own structures need.
//!
//! The only file besides `host` that names `core::sync::atomic`. Lock words are [`Word`]s: at `op` granularity a whole kernel
//! primitive is one transition, at `insn` each operation on a word is one. The functions of atomic(9) proper, which drivers
//! call, are primitives themselves and therefore boundaries at both.

#![expect(clippy::disallowed_types, reason = "this file is the wrapper that everybody else uses")]

use crate::cpu;
use crate::host::footprint::touch;
use core::cell::UnsafeCell;
use core::fmt;
use core::sync::atomic as core_atomic;
pub use core::sync::atomic::Ordering;
use core_atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

/// A word of the emulation's own, or of a lock where no boundary may be: its operations are the processor's.
///
/// They are those that the lock files use, with their orderings in the names, as in atomic(9).
#[repr(transparent)]
pub struct RawWord(core_atomic::AtomicUsize);

impl RawWord {
    /// A word holding `value`.
    pub const fn new(value: usize) -> Self {
        Self(core_atomic::AtomicUsize::new(value))
    }
    /// `atomic_load`, relaxed.
    #[inline(always)]
    pub fn read(&self) -> usize {
        self.0.load(Relaxed)
    }
    /// `atomic_load_acq`.
    #[inline(always)]
    pub fn load_acq(&self) -> usize {
        self.0.load(Acquire)
    }
    /// `atomic_store`, relaxed.
    #[inline(always)]
    pub fn set(&self, value: usize) {
        self.0.store(value, Relaxed);
    }
    /// `atomic_store_rel`.
    #[inline(always)]
    pub fn store_rel(&self, value: usize) {
        self.0.store(value, Release);
    }
    /// `atomic_fcmpset_acq`: the value found is the error.
    #[inline(always)]
    pub fn fcmpset_acq(&self, old: usize, new: usize) -> Result<(), usize> {
        self.0.compare_exchange(old, new, Acquire, Relaxed).map(drop)
    }
    /// `atomic_fcmpset_rel`: the value found is the error.
    #[inline(always)]
    pub fn fcmpset_rel(&self, old: usize, new: usize) -> Result<(), usize> {
        self.0.compare_exchange(old, new, Release, Relaxed).map(drop)
    }
    /// `atomic_set_int`: ors bits in, returns the old value.
    #[inline(always)]
    pub fn fetch_or(&self, bits: usize) -> usize {
        self.0.fetch_or(bits, AcqRel)
    }
    /// `atomic_clear_int`: clears bits, returns the old value.
    #[inline(always)]
    pub fn clear(&self, bits: usize) -> usize {
        self.0.fetch_and(!bits, AcqRel)
    }
    /// `atomic_fetchadd`.
    #[inline(always)]
    pub fn fetchadd(&self, n: usize) -> usize {
        self.0.fetch_add(n, AcqRel)
    }
    /// The word's address.
    pub fn as_ptr(&self) -> *const usize {
        self.0.as_ptr().cast_const()
    }
}

impl fmt::Debug for RawWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.read())
    }
}

/// A lock word: what `mtx_lock`, `rw_lock` and `sx_lock` are in FreeBSD.
///
/// An exhaustive search takes each operation into account; at `insn` granularity it is a boundary, but for [`peek`](Self::peek), [`look`](Self::look),
/// [`set`](Self::set) and what is done to the [`raw`](Self::raw) word.
#[repr(transparent)]
pub struct Word(RawWord);

impl Word {
    /// A word holding `value`.
    pub const fn new(value: usize) -> Self {
        Self(RawWord::new(value))
    }
    /// The word without boundaries, for fast paths that have found that there is nothing to do at one.
    #[inline(always)]
    pub fn raw(&self) -> &RawWord {
        &self.0
    }
    /// A look that is no part of the lock's algorithm: the owner's at what is its own, or one that a wait repeats.
    #[inline(always)]
    pub fn peek(&self) -> usize {
        self.0.read()
    }
    /// [`Word::peek`] at what others may change, outside of a primitive: an assertion's. No boundary, but an exhaustive search knows of it.
    #[inline]
    pub fn look(&self) -> usize {
        touch(self.as_ptr() as usize, size_of::<usize>(), false);
        self.0.read()
    }
    /// A plain store, for a word that nobody else may look at yet or any more.
    #[inline(always)]
    pub fn set(&self, value: usize) {
        self.0.set(value);
    }
    /// `atomic_load`, relaxed: FreeBSD's `MTX_READ_VALUE` and friends.
    #[inline(always)]
    pub fn read(&self) -> usize {
        cpu::instruction("load", self.as_ptr(), false);
        self.0.read()
    }
    /// `atomic_load_acq`.
    #[inline(always)]
    pub fn load_acq(&self) -> usize {
        cpu::instruction("load", self.as_ptr(), false);
        self.0.load_acq()
    }
    /// `atomic_store_rel`.
    #[inline(always)]
    pub fn store_rel(&self, value: usize) {
        cpu::instruction("store", self.as_ptr(), true);
        self.0.store_rel(value);
    }
    /// `atomic_fcmpset_acq`: the value found is the error.
    #[inline(always)]
    pub fn fcmpset_acq(&self, old: usize, new: usize) -> Result<(), usize> {
        cpu::fcmpset(self.as_ptr(), old);
        self.0.fcmpset_acq(old, new).inspect_err(|_| cpu::only_read())
    }
    /// `atomic_fcmpset_rel`: the value found is the error.
    #[inline(always)]
    pub fn fcmpset_rel(&self, old: usize, new: usize) -> Result<(), usize> {
        cpu::fcmpset(self.as_ptr(), old);
        self.0.fcmpset_rel(old, new).inspect_err(|_| cpu::only_read())
    }
    /// `atomic_set_int`: ors bits in, returns the old value.
    #[inline(always)]
    pub fn fetch_or(&self, bits: usize) -> usize {
        cpu::instruction("set", self.as_ptr(), true);
        self.0.fetch_or(bits)
    }
    /// `atomic_clear_int`: clears bits, returns the old value.
    #[inline(always)]
    pub fn clear(&self, bits: usize) -> usize {
        cpu::instruction("clear", self.as_ptr(), true);
        self.0.clear(bits)
    }
    /// `atomic_fetchadd`.
    #[inline(always)]
    pub fn fetchadd(&self, n: usize) -> usize {
        cpu::instruction("fetchadd", self.as_ptr(), true);
        self.0.fetchadd(n)
    }
    /// The word's address, as a lock's identity and for [`cpu::observe`].
    pub fn as_ptr(&self) -> *const usize {
        self.0.as_ptr()
    }
}

impl fmt::Debug for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

macro_rules! owned {
    ($(#[$doc:meta])* $name:ident, $atomic:ident, $int:ty) => {
        $(#[$doc])*
        #[derive(Default)]
        #[repr(transparent)]
        pub struct $name(core_atomic::$atomic);

        impl $name {
            /// A field holding `value`.
            pub const fn new(value: $int) -> Self {
                Self(core_atomic::$atomic::new(value))
            }
            /// Reads the field.
            #[inline(always)]
            pub fn get(&self) -> $int {
                self.0.load(Relaxed)
            }
            /// Writes the field.
            #[inline(always)]
            pub fn set(&self, value: $int) {
                self.0.store(value, Relaxed);
            }
            /// Adds `n` without a locked instruction; only the field's owner may.
            #[inline(always)]
            pub fn add(&self, n: $int) {
                self.set(self.get().wrapping_add(n));
            }
            /// Subtracts `n` without a locked instruction; only the field's owner may.
            #[inline(always)]
            pub fn sub(&self, n: $int) {
                self.set(self.get().wrapping_sub(n));
            }
            /// `add(1)` of a nesting count that is 0 most of the time. What is stored then does not depend on what was read, but for a
            /// branch that is predicted: the processor need not wait for the store that made it 0.
            #[inline(always)]
            pub fn nest(&self) {
                if self.get() == 0 {
                    self.set(1);
                } else {
                    self.nest_deeper();
                }
            }
            // A call: inlined, both arms would become one addition.
            #[cold]
            #[inline(never)]
            fn nest_deeper(&self) {
                self.add(1);
            }
            /// `sub(1)` of what [`nest`](Self::nest) counts.
            #[inline(always)]
            pub fn unnest(&self) {
                if self.get() == 1 {
                    self.set(0);
                } else {
                    self.unnest_deeper();
                }
            }
            #[cold]
            #[inline(never)]
            fn unnest_deeper(&self) {
                self.sub(1);
            }
            /// The field's address, for [`crate::cpu::observe`].
            pub fn as_ptr(&self) -> *const $int {
                self.0.as_ptr().cast_const()
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.get())
            }
        }
    };
}

owned!(
    /// [`Owned32`] of 8 bits.
    Owned8, AtomicU8, u8);
owned!(
    /// [`Owned32`] of 16 bits.
    Owned16, AtomicU16, u16);
owned!(
    /// A field that one thread (or the holder of one lock) writes and anybody may peek at: a plain load and a plain store
    /// on every processor, so `td_critnest++` costs what it costs in the kernel.
    Owned32, AtomicU32, u32);
owned!(
    /// [`Owned32`] of 64 bits.
    Owned64, AtomicU64, u64);
owned!(
    /// [`Owned32`], signed.
    OwnedI32, AtomicI32, i32);
owned!(
    /// [`Owned32`] of pointer size.
    OwnedUsize, AtomicUsize, usize);

/// A pointer field under the same rule as [`Owned32`].
#[repr(transparent)]
pub struct OwnedPtr<T>(core_atomic::AtomicPtr<T>);

impl<T> OwnedPtr<T> {
    /// A null pointer.
    pub const fn null() -> Self {
        Self::new(core::ptr::null_mut())
    }
    /// A field holding `value`.
    pub const fn new(value: *mut T) -> Self {
        Self(core_atomic::AtomicPtr::new(value))
    }
    /// Reads the field.
    #[inline(always)]
    pub fn get(&self) -> *mut T {
        self.0.load(Relaxed)
    }
    /// Writes the field.
    #[inline(always)]
    pub fn set(&self, value: *mut T) {
        self.0.store(value, Relaxed);
    }
}

/// What several CPUs write, on cache lines of its own (two: processors fetch them in pairs), lest everybody who reads a neighbour waits.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Line<T>(pub(crate) T);

impl<T> core::ops::Deref for Line<T> {
    type Target = T;
    #[inline(always)]
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> fmt::Debug for OwnedPtr<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:p}", self.get())
    }
}

/// 32 bits that several CPUs write: pending flags, counters.
#[repr(transparent)]
pub struct Shared32(core_atomic::AtomicU32);

impl Shared32 {
    /// A word holding `value`.
    pub const fn new(value: u32) -> Self {
        Self(core_atomic::AtomicU32::new(value))
    }
    /// A relaxed load.
    #[inline(always)]
    pub fn get(&self) -> u32 {
        self.0.load(Relaxed)
    }
    /// A sequentially consistent store.
    pub fn set(&self, value: u32) {
        self.0.store(value, Ordering::SeqCst);
    }
    /// A plain store of 0, between executions: nobody else looks.
    #[inline(always)]
    pub(crate) fn reset(&self) {
        self.0.store(0, Relaxed);
    }
    /// Ors bits in; sequentially consistent, since it announces work to a CPU that may be about to go idle.
    pub fn or(&self, bits: u32) -> u32 {
        self.0.fetch_or(bits, Ordering::SeqCst)
    }
    /// Clears bits.
    pub fn clear(&self, bits: u32) -> u32 {
        self.0.fetch_and(!bits, Ordering::SeqCst)
    }
    /// Adds, returning the old value.
    pub fn fetchadd(&self, n: u32) -> u32 {
        self.0.fetch_add(n, Ordering::SeqCst)
    }
    /// `atomic_fcmpset_int`: stores `new` if the word is `old`; otherwise returns what it is.
    pub fn fcmpset(&self, old: u32, new: u32) -> Result<(), u32> {
        self.0.compare_exchange(old, new, Ordering::SeqCst, Relaxed).map(|_| ())
    }
    /// Takes the value and leaves zero.
    pub fn take(&self) -> u32 {
        self.0.swap(0, Ordering::SeqCst)
    }
    /// The address, for futex(2).
    pub fn as_ptr(&self) -> *const u32 {
        self.0.as_ptr().cast_const()
    }
}

impl fmt::Debug for Shared32 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.get())
    }
}

/// A clock or a counter that several CPUs advance: it orders nothing else.
#[repr(transparent)]
pub(crate) struct Counter64(core_atomic::AtomicU64);

impl Counter64 {
    /// A counter at `value`.
    pub(crate) const fn new(value: u64) -> Self {
        Self(core_atomic::AtomicU64::new(value))
    }
    /// A relaxed load.
    #[inline(always)]
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
    /// A relaxed store.
    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Relaxed);
    }
    /// Adds, returning the old value.
    pub(crate) fn fetchadd(&self, n: u64) -> u64 {
        self.0.fetch_add(n, Relaxed)
    }
    /// The counter's address, for a racy look.
    pub(crate) fn as_ptr(&self) -> *const u64 {
        self.0.as_ptr()
    }
}

impl fmt::Debug for Counter64 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.get())
    }
}

/// Data guarded by an internal lock of the kernel (or by being the only user, at boot and at the end of a run).
pub struct Guarded<T>(UnsafeCell<T>);

// SAFETY: `Guarded` hands out access only through `get`, whose caller vouches for exclusion.
unsafe impl<T> Sync for Guarded<T> {}
// SAFETY: the value is reached only through `get`, whose caller excludes the host thread that it came from.
unsafe impl<T> Send for Guarded<T> {}

impl<T> Guarded<T> {
    /// Wraps `value`.
    pub const fn new(value: T) -> Self {
        Self(UnsafeCell::new(value))
    }
    /// The value.
    ///
    /// # Safety
    ///
    /// The caller holds the lock that the field's comment names, and no other reference from `get` is alive.
    #[expect(clippy::mut_from_ref, reason = "the lock named in the field's comment is what makes it exclusive")]
    #[inline(always)]
    pub unsafe fn get(&self) -> &mut T {
        // SAFETY: exclusion is the caller's promise.
        unsafe { &mut *self.0.get() }
    }
}

impl<T> fmt::Debug for Guarded<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Guarded(..)")
    }
}

/// Zeroes the `size` bytes of cells at `start`, 32 or more. Somebody may look at one meanwhile, who sees what it was or 0: the processor's
/// own stores, of more than a cell each.
///
/// # Safety
///
/// They are fields of a structure that are cells, and zero is a value of each.
#[inline(always)]
pub(crate) unsafe fn zero(start: *mut u8, size: usize) {
    debug_assert!(size >= 32);
    // SAFETY: the caller's promise; the last store begins so that it ends with the cells.
    unsafe {
        core::arch::asm!(
            "pxor {zero}, {zero}",
            "2:",
            "movups [{at}], {zero}",
            "movups [{at} + 16], {zero}",
            "add {at}, 32",
            "cmp {at}, {last}",
            "jb 2b",
            "movups [{last}], {zero}",
            "movups [{last} + 16], {zero}",
            zero = out(xmm_reg) _,
            at = inout(reg) start => _,
            last = in(reg) start.wrapping_add(size - 32),
            options(nostack),
        );
    }
}

/// `atomic_thread_fence_acq`.
#[inline(always)]
pub fn thread_fence_acq() {
    core_atomic::fence(Acquire);
}

/// `atomic_thread_fence_rel`.
#[inline(always)]
pub fn thread_fence_rel() {
    core_atomic::fence(Release);
}

/// `atomic_interrupt_fence`: orders for the compiler only.
#[inline(always)]
pub(crate) fn thread_fence_compiler() {
    core_atomic::compiler_fence(Ordering::SeqCst);
}

/// `atomic_thread_fence_seq_cst`.
#[inline(always)]
pub fn thread_fence_seq_cst() {
    core_atomic::fence(Ordering::SeqCst);
}

// For `host` only, which `clippy.toml` exempts as it does this file.
pub(crate) use core_atomic::{AtomicBool, AtomicU64, AtomicUsize};
