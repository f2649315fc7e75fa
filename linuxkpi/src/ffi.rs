//! What C calls: the functions behind `linuxkpi/include`, one set of symbols per mapping.
//!
//! Thin: cast, forward. Only symbols whose body depends on the mapping carry its name (`lkpi_<mapping>_spin_lock`); the macros
//! of `linuxkpi/mapping.h` put it there. All are `extern "C-unwind"`, since an ended machine unwinds its threads through C.
//!
//! # Safety
//!
//! Common to all functions here: a lock's address is that of live memory of the type that the header declares, initialised
//! unless the function initialises it; `file` is a literal; flags are what the matching lock operation returned. A null or
//! misaligned address is a `page fault`, as it would be in a kernel.

use crate::mapping::{Context, How, LockMapping, RwBackend, SeqcountBackend, SeqlockBackend, SpinBackend};
use crate::{Flags, Loc, irqflags};
use core::ffi::{c_char, c_int, c_uint, c_ulong, c_void};
use freebsd_sys::ffi::deref;
use freebsd_sys::lock::LockObject;
use freebsd_sys::sleepqueue::EINTR;
use freebsd_sys::sx::{SX_INTERRUPTIBLE, Sx, Sxf};

mod headers;

/// Bytes of C's `spinlock_t` and `raw_spinlock_t`: `linuxkpi/include/linuxkpi/layout.h`.
pub const SPINLOCK_SIZE: usize = 32;
/// Bytes of C's `rwlock_t`.
pub const RWLOCK_SIZE: usize = 32;
/// Bytes of C's sequence counts.
pub const SEQCOUNT_SIZE: usize = 256;
/// Bytes of C's `seqlock_t`.
pub const SEQLOCK_SIZE: usize = SPINLOCK_SIZE + SEQCOUNT_SIZE;
/// Alignment of all of them.
pub const LOCK_ALIGN: usize = 8;

const fn fits<T>(size: usize) -> bool {
    size_of::<T>() <= size && align_of::<T>() <= LOCK_ALIGN
}

fn here(file: *const c_char, line: c_int) -> Loc {
    Loc::c(file, line as u32)
}

/// `LKPI_PLAIN`, `LKPI_BH`, `LKPI_IRQ`, `LKPI_IRQSAVE`, with or without `LKPI_NESTED`.
fn how(bits: c_uint, file: *const c_char, line: c_int) -> How {
    let context = match bits & 3 {
        0 => Context::Plain,
        1 => Context::Bh,
        2 => Context::Irq,
        _ => Context::IrqSave,
    };
    How { context, nested: bits & 4 != 0, loc: here(file, line) }
}

/// A lock was initialised, perhaps in a C function's frame.
fn on_stack<T>(lock: *const T) {
    freebsd_sys::ffi::lock_on_stack(lock.cast(), size_of::<T>());
}

/// Stores the flags of a successful trylock; forms without flags pass null.
///
/// # Safety
///
/// `flags` is null or the caller's variable.
unsafe fn tried(taken: Option<Flags>, flags: *mut c_ulong) -> c_int {
    match taken {
        Some(Flags(value)) => {
            if !flags.is_null() {
                // SAFETY: the caller's promise.
                unsafe { flags.write(value as c_ulong) };
            }
            1
        }
        None => 0,
    }
}

/// The bodies, generic in the backend. Their safety is the module's.
mod body {
    use super::*;

    pub(super) unsafe fn spin_init<L: SpinBackend>(lock: *const c_void) {
        // SAFETY: the module's: unless no address at all, `lock` is that of a live object of this type.
        unsafe { deref(lock.cast::<L>()) }.init();
        on_stack(lock.cast::<L>());
    }
    pub(super) unsafe fn spin_init_static<L: SpinBackend>(lock: *const c_void) {
        // SAFETY: the module's: unless no address at all, `lock` is that of a live object of this type.
        unsafe { deref(lock.cast::<L>()) }.init_static();
    }
    pub(super) unsafe fn spin_lock<L: SpinBackend>(
        lock: *const c_void,
        bits: c_uint,
        file: *const c_char,
        line: c_int,
    ) -> c_ulong {
        // SAFETY: the module's: unless no address at all, `lock` is that of a live object of this type.
        unsafe { deref(lock.cast::<L>()) }.lock(how(bits, file, line)).0 as c_ulong
    }
    pub(super) unsafe fn spin_trylock<L: SpinBackend>(
        lock: *const c_void,
        bits: c_uint,
        flags: *mut c_ulong,
        file: *const c_char,
        line: c_int,
    ) -> c_int {
        // SAFETY: the module's: unless no address at all, `lock` is that of a live object of this type.
        unsafe { tried(deref(lock.cast::<L>()).trylock(how(bits, file, line)), flags) }
    }
    pub(super) unsafe fn spin_unlock<L: SpinBackend>(
        lock: *const c_void,
        bits: c_uint,
        flags: c_ulong,
        file: *const c_char,
        line: c_int,
    ) {
        // SAFETY: the module's: unless no address at all, `lock` is that of a live object of this type.
        unsafe { deref(lock.cast::<L>()) }.unlock(how(bits, file, line), Flags(flags as usize));
    }
    pub(super) unsafe fn spin_is_locked<L: SpinBackend>(lock: *const c_void) -> c_int {
        // SAFETY: the module's: unless no address at all, `lock` is that of a live object of this type.
        unsafe { deref(lock.cast::<L>()) }.is_locked().into()
    }
    pub(super) unsafe fn spin_assert<L: SpinBackend>(lock: *const c_void, file: *const c_char, line: c_int) {
        // SAFETY: the module's: unless no address at all, `lock` is that of a live object of this type.
        unsafe { deref(lock.cast::<L>()) }.assert_held(here(file, line));
    }

    pub(super) unsafe fn rwlock_init<L: RwBackend>(lock: *const c_void) {
        // SAFETY: the module's: unless no address at all, `lock` is that of a live object of this type.
        unsafe { deref(lock.cast::<L>()) }.init();
        on_stack(lock.cast::<L>());
    }
    pub(super) unsafe fn read_lock<L: RwBackend>(
        lock: *const c_void,
        bits: c_uint,
        file: *const c_char,
        line: c_int,
    ) -> c_ulong {
        // SAFETY: the module's: unless no address at all, `lock` is that of a live object of this type.
        unsafe { deref(lock.cast::<L>()) }.read_lock(how(bits, file, line)).0 as c_ulong
    }
    pub(super) unsafe fn read_trylock<L: RwBackend>(
        lock: *const c_void,
        bits: c_uint,
        flags: *mut c_ulong,
        file: *const c_char,
        line: c_int,
    ) -> c_int {
        // SAFETY: the module's: unless no address at all, `lock` is that of a live object of this type.
        unsafe { tried(deref(lock.cast::<L>()).read_trylock(how(bits, file, line)), flags) }
    }
    pub(super) unsafe fn read_unlock<L: RwBackend>(
        lock: *const c_void,
        bits: c_uint,
        flags: c_ulong,
        file: *const c_char,
        line: c_int,
    ) {
        // SAFETY: the module's: unless no address at all, `lock` is that of a live object of this type.
        unsafe { deref(lock.cast::<L>()) }.read_unlock(how(bits, file, line), Flags(flags as usize));
    }
    pub(super) unsafe fn write_lock<L: RwBackend>(
        lock: *const c_void,
        bits: c_uint,
        file: *const c_char,
        line: c_int,
    ) -> c_ulong {
        // SAFETY: the module's: unless no address at all, `lock` is that of a live object of this type.
        unsafe { deref(lock.cast::<L>()) }.write_lock(how(bits, file, line)).0 as c_ulong
    }
    pub(super) unsafe fn write_trylock<L: RwBackend>(
        lock: *const c_void,
        bits: c_uint,
        flags: *mut c_ulong,
        file: *const c_char,
        line: c_int,
    ) -> c_int {
        // SAFETY: the module's: unless no address at all, `lock` is that of a live object of this type.
        unsafe { tried(deref(lock.cast::<L>()).write_trylock(how(bits, file, line)), flags) }
    }
    pub(super) unsafe fn write_unlock<L: RwBackend>(
        lock: *const c_void,
        bits: c_uint,
        flags: c_ulong,
        file: *const c_char,
        line: c_int,
    ) {
        // SAFETY: the module's: unless no address at all, `lock` is that of a live object of this type.
        unsafe { deref(lock.cast::<L>()) }.write_unlock(how(bits, file, line), Flags(flags as usize));
    }

    pub(super) unsafe fn count_init<C: SeqcountBackend>(count: *const c_void) {
        // SAFETY: the module's: unless no address at all, `count` is that of a live object of this type.
        unsafe { deref(count.cast::<C>()) }.init();
        on_stack(count.cast::<C>());
    }
    pub(super) unsafe fn count_write_begin<C: SeqcountBackend>(count: *const c_void, file: *const c_char, line: c_int) {
        // SAFETY: the module's: unless no address at all, `count` is that of a live object of this type.
        unsafe { deref(count.cast::<C>()) }.write_begin(here(file, line));
    }
    pub(super) unsafe fn count_write_end<C: SeqcountBackend>(count: *const c_void, file: *const c_char, line: c_int) {
        // SAFETY: the module's: unless no address at all, `count` is that of a live object of this type.
        unsafe { deref(count.cast::<C>()) }.write_end(here(file, line));
    }
    pub(super) unsafe fn count_invalidate<C: SeqcountBackend>(count: *const c_void) {
        // SAFETY: the module's: unless no address at all, `count` is that of a live object of this type.
        unsafe { deref(count.cast::<C>()) }.invalidate();
    }
    pub(super) unsafe fn count_read_begin<C: SeqcountBackend>(
        count: *const c_void,
        file: *const c_char,
        line: c_int,
    ) -> c_uint {
        // SAFETY: the module's: unless no address at all, `count` is that of a live object of this type.
        unsafe { deref(count.cast::<C>()) }.read_begin(here(file, line))
    }
    pub(super) unsafe fn count_raw_read<C: SeqcountBackend>(count: *const c_void) -> c_uint {
        // SAFETY: the module's: unless no address at all, `count` is that of a live object of this type.
        unsafe { deref(count.cast::<C>()) }.raw_read()
    }
    pub(super) unsafe fn count_read_retry<C: SeqcountBackend>(
        count: *const c_void,
        start: c_uint,
        file: *const c_char,
        line: c_int,
    ) -> c_int {
        // SAFETY: the module's: unless no address at all, `count` is that of a live object of this type.
        let retry = unsafe { deref(count.cast::<C>()) }.read_retry(start, here(file, line));
        // A reader of a stopped machine would never see an end.
        (retry && !freebsd_sys::cpu::scheduler_stopped()).into()
    }

    pub(super) unsafe fn seqlock_init<L: SeqlockBackend>(lock: *const c_void) {
        // SAFETY: the module's: unless no address at all, `lock` is that of a live object of this type.
        unsafe { deref(lock.cast::<L>()) }.init();
        on_stack(lock.cast::<L>());
    }
    pub(super) unsafe fn seqlock_write_lock<L: SeqlockBackend>(
        lock: *const c_void,
        bits: c_uint,
        file: *const c_char,
        line: c_int,
    ) -> c_ulong {
        // SAFETY: the module's: unless no address at all, `lock` is that of a live object of this type.
        unsafe { deref(lock.cast::<L>()) }.write_lock(how(bits, file, line)).0 as c_ulong
    }
    pub(super) unsafe fn seqlock_write_unlock<L: SeqlockBackend>(
        lock: *const c_void,
        bits: c_uint,
        flags: c_ulong,
        file: *const c_char,
        line: c_int,
    ) {
        // SAFETY: the module's: unless no address at all, `lock` is that of a live object of this type.
        unsafe { deref(lock.cast::<L>()) }.write_unlock(how(bits, file, line), Flags(flags as usize));
    }
    pub(super) unsafe fn seqlock_read_begin<L: SeqlockBackend>(
        lock: *const c_void,
        file: *const c_char,
        line: c_int,
    ) -> c_uint {
        // SAFETY: the module's: unless no address at all, `lock` is that of a live object of this type.
        unsafe { deref(lock.cast::<L>()) }.read_begin(here(file, line))
    }
    pub(super) unsafe fn seqlock_read_retry<L: SeqlockBackend>(
        lock: *const c_void,
        start: c_uint,
        file: *const c_char,
        line: c_int,
    ) -> c_int {
        // SAFETY: the module's: unless no address at all, `lock` is that of a live object of this type.
        let retry = unsafe { deref(lock.cast::<L>()) }.read_retry(start, here(file, line));
        (retry && !freebsd_sys::cpu::scheduler_stopped()).into()
    }
    pub(super) unsafe fn seqlock_excl_lock<L: SeqlockBackend>(
        lock: *const c_void,
        bits: c_uint,
        file: *const c_char,
        line: c_int,
    ) -> c_ulong {
        // SAFETY: the module's: unless no address at all, `lock` is that of a live object of this type.
        unsafe { deref(lock.cast::<L>()) }.excl_lock(how(bits, file, line)).0 as c_ulong
    }
    pub(super) unsafe fn seqlock_excl_unlock<L: SeqlockBackend>(
        lock: *const c_void,
        bits: c_uint,
        flags: c_ulong,
        file: *const c_char,
        line: c_int,
    ) {
        // SAFETY: the module's: unless no address at all, `lock` is that of a live object of this type.
        unsafe { deref(lock.cast::<L>()) }.excl_unlock(how(bits, file, line), Flags(flags as usize));
    }

    pub(super) unsafe fn preempt_disable<M: LockMapping>() {
        M::preempt_disable();
    }
    pub(super) unsafe fn preempt_enable<M: LockMapping>() {
        M::preempt_enable();
    }
    pub(super) unsafe fn local_irq_save<M: LockMapping>() -> c_ulong {
        M::local_irq_save().0 as c_ulong
    }
    pub(super) unsafe fn local_irq_restore<M: LockMapping>(flags: c_ulong) {
        M::local_irq_restore(Flags(flags as usize));
    }
    pub(super) unsafe fn local_irq_enable<M: LockMapping>() {
        M::local_irq_enable();
    }
    pub(super) unsafe fn local_bh_disable<M: LockMapping>() {
        M::local_bh_disable();
    }
    pub(super) unsafe fn local_bh_enable<M: LockMapping>() {
        M::local_bh_enable();
    }

    /// The lock's object, if the mapping's locks have one.
    unsafe fn object<'a, M: LockMapping>(lock: *const c_void) -> Option<&'a LockObject> {
        // SAFETY: the module's: every lock begins with it.
        (size_of::<M::Spin>() >= size_of::<LockObject>()).then(|| unsafe { deref(lock.cast()) })
    }
    pub(super) unsafe fn lockdep_assert_held<M: LockMapping>(lock: *const c_void, file: *const c_char, line: c_int) {
        // SAFETY: the module's: unless no address at all, `lock` is that of a live object of this type.
        if let Some(object) = unsafe { object::<M>(lock) } {
            // SAFETY: the object is the head of a lock of its class.
            unsafe { freebsd_sys::lock::lc_assert(object, here(file, line)) };
        }
    }
    pub(super) unsafe fn lockdep_is_held<M: LockMapping>(lock: *const c_void) -> bool {
        // SAFETY: the module's: unless no address at all, `lock` is that of a live object of this type.
        match unsafe { object::<M>(lock) } {
            // SAFETY: the object is the head of a lock of its class.
            Some(object) => unsafe { freebsd_sys::lock::lc_held(object) },
            None => true,
        }
    }
}

/// Exports `body`'s functions under one mapping's names.
macro_rules! symbols {
    ($name:literal; $($symbol:literal = $body:ident<$backend:ty>($($arg:ident: $type:ty),*) $(-> $result:ty)?;)*) => { $(
        const _: () = {
            #[doc = concat!("`", $symbol, "`.")]
            ///
            /// # Safety
            ///
            /// The module's.
            #[unsafe(export_name = concat!("lkpi_", $name, "_", $symbol))]
            unsafe extern "C-unwind" fn symbol($($arg: $type),*) $(-> $result)? {
                // SAFETY: the caller's promise.
                unsafe { body::$body::<$backend>($($arg),*) }
            }
        };
    )* };
}

use symbols;

/// The lock functions of one mapping.
macro_rules! locks {
    ($mapping:ty, $name:literal) => {
        const _: () = {
            type M = $mapping;
            type Spin = <M as LockMapping>::Spin;
            type RawSpin = <M as LockMapping>::RawSpin;
            type Rw = <M as LockMapping>::Rw;
            type Seqcount = <M as LockMapping>::Seqcount;
            type SeqcountMutex = <M as LockMapping>::SeqcountMutex;
            type Seqlock = <M as LockMapping>::Seqlock;

            assert!(fits::<Spin>(SPINLOCK_SIZE), $name);
            assert!(fits::<RawSpin>(SPINLOCK_SIZE), $name);
            assert!(fits::<Rw>(RWLOCK_SIZE), $name);
            assert!(fits::<Seqcount>(SEQCOUNT_SIZE), $name);
            assert!(fits::<SeqcountMutex>(SEQCOUNT_SIZE), $name);
            assert!(fits::<Seqlock>(SEQLOCK_SIZE), $name);

            symbols! { $name;
                "spin_init" = spin_init<Spin>(lock: *const c_void);
                "spin_init_static" = spin_init_static<Spin>(lock: *const c_void);
                "spin_lock" = spin_lock<Spin>(lock: *const c_void, bits: c_uint, file: *const c_char, line: c_int) -> c_ulong;
                "spin_trylock" = spin_trylock<Spin>(lock: *const c_void, bits: c_uint, flags: *mut c_ulong, file: *const c_char, line: c_int) -> c_int;
                "spin_unlock" = spin_unlock<Spin>(lock: *const c_void, bits: c_uint, flags: c_ulong, file: *const c_char, line: c_int);
                "spin_is_locked" = spin_is_locked<Spin>(lock: *const c_void) -> c_int;
                "spin_assert" = spin_assert<Spin>(lock: *const c_void, file: *const c_char, line: c_int);
                "raw_spin_init" = spin_init<RawSpin>(lock: *const c_void);
                "raw_spin_init_static" = spin_init_static<RawSpin>(lock: *const c_void);
                "raw_spin_lock" = spin_lock<RawSpin>(lock: *const c_void, bits: c_uint, file: *const c_char, line: c_int) -> c_ulong;
                "raw_spin_trylock" = spin_trylock<RawSpin>(lock: *const c_void, bits: c_uint, flags: *mut c_ulong, file: *const c_char, line: c_int) -> c_int;
                "raw_spin_unlock" = spin_unlock<RawSpin>(lock: *const c_void, bits: c_uint, flags: c_ulong, file: *const c_char, line: c_int);
                "raw_spin_is_locked" = spin_is_locked<RawSpin>(lock: *const c_void) -> c_int;
                "raw_spin_assert" = spin_assert<RawSpin>(lock: *const c_void, file: *const c_char, line: c_int);
                "rwlock_init" = rwlock_init<Rw>(lock: *const c_void);
                "read_lock" = read_lock<Rw>(lock: *const c_void, bits: c_uint, file: *const c_char, line: c_int) -> c_ulong;
                "read_trylock" = read_trylock<Rw>(lock: *const c_void, bits: c_uint, flags: *mut c_ulong, file: *const c_char, line: c_int) -> c_int;
                "read_unlock" = read_unlock<Rw>(lock: *const c_void, bits: c_uint, flags: c_ulong, file: *const c_char, line: c_int);
                "write_lock" = write_lock<Rw>(lock: *const c_void, bits: c_uint, file: *const c_char, line: c_int) -> c_ulong;
                "write_trylock" = write_trylock<Rw>(lock: *const c_void, bits: c_uint, flags: *mut c_ulong, file: *const c_char, line: c_int) -> c_int;
                "write_unlock" = write_unlock<Rw>(lock: *const c_void, bits: c_uint, flags: c_ulong, file: *const c_char, line: c_int);
                "seqcount_init" = count_init<Seqcount>(count: *const c_void);
                "seqcount_write_begin" = count_write_begin<Seqcount>(count: *const c_void, file: *const c_char, line: c_int);
                "seqcount_write_end" = count_write_end<Seqcount>(count: *const c_void, file: *const c_char, line: c_int);
                "seqcount_invalidate" = count_invalidate<Seqcount>(count: *const c_void);
                "seqcount_read_begin" = count_read_begin<Seqcount>(count: *const c_void, file: *const c_char, line: c_int) -> c_uint;
                "seqcount_raw_read" = count_raw_read<Seqcount>(count: *const c_void) -> c_uint;
                "seqcount_read_retry" = count_read_retry<Seqcount>(count: *const c_void, start: c_uint, file: *const c_char, line: c_int) -> c_int;
                "seqcount_mutex_init" = count_init<SeqcountMutex>(count: *const c_void);
                "seqcount_mutex_write_begin" = count_write_begin<SeqcountMutex>(count: *const c_void, file: *const c_char, line: c_int);
                "seqcount_mutex_write_end" = count_write_end<SeqcountMutex>(count: *const c_void, file: *const c_char, line: c_int);
                "seqcount_mutex_invalidate" = count_invalidate<SeqcountMutex>(count: *const c_void);
                "seqcount_mutex_read_begin" = count_read_begin<SeqcountMutex>(count: *const c_void, file: *const c_char, line: c_int) -> c_uint;
                "seqcount_mutex_raw_read" = count_raw_read<SeqcountMutex>(count: *const c_void) -> c_uint;
                "seqcount_mutex_read_retry" = count_read_retry<SeqcountMutex>(count: *const c_void, start: c_uint, file: *const c_char, line: c_int) -> c_int;
                "seqlock_init" = seqlock_init<Seqlock>(lock: *const c_void);
                "seqlock_write_lock" = seqlock_write_lock<Seqlock>(lock: *const c_void, bits: c_uint, file: *const c_char, line: c_int) -> c_ulong;
                "seqlock_write_unlock" = seqlock_write_unlock<Seqlock>(lock: *const c_void, bits: c_uint, flags: c_ulong, file: *const c_char, line: c_int);
                "seqlock_excl_lock" = seqlock_excl_lock<Seqlock>(lock: *const c_void, bits: c_uint, file: *const c_char, line: c_int) -> c_ulong;
                "seqlock_excl_unlock" = seqlock_excl_unlock<Seqlock>(lock: *const c_void, bits: c_uint, flags: c_ulong, file: *const c_char, line: c_int);
                "seqlock_read_begin" = seqlock_read_begin<Seqlock>(lock: *const c_void, file: *const c_char, line: c_int) -> c_uint;
                "seqlock_read_retry" = seqlock_read_retry<Seqlock>(lock: *const c_void, start: c_uint, file: *const c_char, line: c_int) -> c_int;
                "preempt_disable" = preempt_disable<M>();
                "preempt_enable" = preempt_enable<M>();
                "local_bh_disable" = local_bh_disable<M>();
                "local_bh_enable" = local_bh_enable<M>();
                "local_irq_save" = local_irq_save<M>() -> c_ulong;
                "local_irq_restore" = local_irq_restore<M>(flags: c_ulong);
                "local_irq_enable" = local_irq_enable<M>();
                "lockdep_assert_held" = lockdep_assert_held<M>(lock: *const c_void, file: *const c_char, line: c_int);
                "lockdep_is_held" = lockdep_is_held<M>(lock: *const c_void) -> bool;
            }
        };
    };
}

for_each_mapping!(locks);

/// `in_interrupt()`.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn lkpi_in_interrupt() -> c_int {
    irqflags::in_interrupt().into()
}

/// `irqs_disabled()`.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn lkpi_irqs_disabled() -> c_int {
    irqflags::irqs_disabled().into()
}

/// `mutex_init()`.
///
/// # Safety
///
/// The module's.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn lkpi_mutex_init(lock: *const Sx) {
    // SAFETY: the module's: unless no address at all, `lock` is that of a live object of this type.
    unsafe { deref(lock) }.init(c"lnxmutex", Sxf::NOWITNESS | Sxf::NEW);
    on_stack(lock);
}

/// `DEFINE_MUTEX()`'s SYSINIT: the mutex is enrolled in WITNESS.
///
/// # Safety
///
/// The module's.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn lkpi_mutex_init_static(lock: *const Sx) {
    // SAFETY: the module's: unless no address at all, `lock` is that of a live object of this type.
    unsafe { deref(lock) }.init(c"lnxmutex", Sxf::DUPOK | Sxf::NEW);
}

/// `mutex_destroy()`. Unlike LinuxKPI's, does not unlock it first.
///
/// # Safety
///
/// The module's.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn lkpi_mutex_destroy(lock: *const Sx) {
    // SAFETY: the module's: unless no address at all, `lock` is that of a live object of this type.
    unsafe { deref(lock) }.destroy();
}

/// `mutex_lock()`.
///
/// # Safety
///
/// The module's.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn lkpi_mutex_lock(lock: *const Sx, file: *const c_char, line: c_int) {
    // SAFETY: the module's: unless no address at all, `lock` is that of a live object of this type.
    unsafe { deref(lock) }.xlock_at(0, here(file, line));
}

/// `mutex_lock_interruptible()`: returns 0, or `-EINTR` without the lock.
///
/// # Safety
///
/// The module's.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn lkpi_mutex_lock_interruptible(
    lock: *const Sx,
    file: *const c_char,
    line: c_int,
) -> c_int {
    // SAFETY: the module's: unless no address at all, `lock` is that of a live object of this type.
    match unsafe { deref(lock) }.xlock_at(SX_INTERRUPTIBLE, here(file, line)) {
        0 => 0,
        // ERESTART as well.
        _ => -EINTR,
    }
}

/// `mutex_trylock()`.
///
/// # Safety
///
/// The module's.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn lkpi_mutex_trylock(lock: *const Sx, file: *const c_char, line: c_int) -> c_int {
    // SAFETY: the module's: unless no address at all, `lock` is that of a live object of this type.
    unsafe { deref(lock) }.try_xlock_at(here(file, line)).into()
}

/// `mutex_unlock()`.
///
/// # Safety
///
/// The module's.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn lkpi_mutex_unlock(lock: *const Sx, file: *const c_char, line: c_int) {
    // SAFETY: the module's: unless no address at all, `lock` is that of a live object of this type.
    unsafe { deref(lock) }.xunlock_at(here(file, line));
}

/// `mutex_is_locked()`.
///
/// # Safety
///
/// The module's.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn lkpi_mutex_is_locked(lock: *const Sx) -> c_int {
    // SAFETY: the module's: unless no address at all, `lock` is that of a live object of this type.
    (!unsafe { deref(lock) }.xholder().is_null()).into()
}
