//! FreeBSD's symbols of lock classes, and of locks that C makes itself: `linuxkpi/include/sys/lock.h` declares them.
//!
//! # Context
//!
//! `lock_init()` and `lock_destroy()` may be called anywhere. A class's functions are those of its locks, with their contexts: `lc_lock` of a
//! sleep mutex may block, that of a spin mutex raises `td_critnest`.
//!
//! # Deviations from FreeBSD
//!
//! The table and the classes are constants, so no class can be added: FreeBSD's are variables, which nobody changes. `lc_ddb_show` is null, as
//! in a kernel without DDB. What a class's function says names this file, where FreeBSD's names the lock's own.
//!
//! References: sys/lock.h, kern/subr_lock.c; the classes of kern_mutex.c, kern_rwlock.c, kern_sx.c, kern_rmlock.c, kern_lock.c.

use super::deref;
use super::locks::name_and_type;
use crate::cpu;
use crate::lock::{Lo, Loc, LockClass, LockObject};
use crate::thread::Thread;
use core::ffi::{c_char, c_int, c_uint};
use core::mem::offset_of;

/// `struct lock_class`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Class {
    name: *const c_char,
    flags: c_uint,
    assert: unsafe extern "C-unwind" fn(*const LockObject, c_int),
    ddb_show: Option<unsafe extern "C-unwind" fn(*const LockObject)>,
    lock: unsafe extern "C-unwind" fn(*const LockObject, usize),
    owner: unsafe extern "C-unwind" fn(*const LockObject, *mut *const Thread) -> c_int,
    unlock: unsafe extern "C-unwind" fn(*const LockObject) -> usize,
    trylock: Option<unsafe extern "C-unwind" fn(*const LockObject, usize) -> c_int>,
}

// `linuxkpi/include/sys/lock.h` asserts the same.
const _: () = {
    assert!(size_of::<Class>() == 64);
    assert!(offset_of!(Class, name) == 0);
    assert!(offset_of!(Class, flags) == 8);
    assert!(offset_of!(Class, assert) == 16);
    assert!(offset_of!(Class, ddb_show) == 24);
    assert!(offset_of!(Class, lock) == 32);
    assert!(offset_of!(Class, owner) == 40);
    assert!(offset_of!(Class, unlock) == 48);
    assert!(offset_of!(Class, trylock) == 56);
};

// SAFETY: the name is a literal, and nothing in a class changes.
unsafe impl Sync for Class {}

/// `LC_*` of a class.
const fn flags(class: LockClass) -> u32 {
    const SLEEPLOCK: u32 = 0x01;
    const SPINLOCK: u32 = 0x02;
    const SLEEPABLE: u32 = 0x04;
    const RECURSABLE: u32 = 0x08;
    const UPGRADABLE: u32 = 0x10;
    let implied = class.implied();
    let mut flags = if class.is_sleeplock() { SLEEPLOCK } else { SPINLOCK };
    if class.is_sleepable() {
        flags |= SLEEPABLE;
    }
    if implied.contains(Lo::RECURSABLE) {
        flags |= RECURSABLE;
    }
    if implied.contains(Lo::UPGRADABLE) {
        flags |= UPGRADABLE;
    }
    flags
}

/// The class whose index is `CLASS`.
const fn class<const CLASS: usize>() -> Class {
    let class = LockClass::ALL[CLASS];
    let trylock: Option<unsafe extern "C-unwind" fn(*const LockObject, usize) -> c_int> = match class {
        LockClass::MtxSpin | LockClass::MtxSleep | LockClass::Rw => Some(lc_trylock::<CLASS>),
        _ => None,
    };
    Class {
        name: class.c_name().as_ptr(),
        flags: flags(class),
        assert: lc_assert::<CLASS>,
        ddb_show: None,
        lock: lc_lock::<CLASS>,
        owner: lc_owner::<CLASS>,
        unlock: lc_unlock::<CLASS>,
        trylock,
    }
}

/// `lc_assert`.
///
/// # Safety
///
/// `lock` is the head of a live lock of the class.
unsafe extern "C-unwind" fn lc_assert<const CLASS: usize>(lock: *const LockObject, what: c_int) {
    // SAFETY: the caller's promise.
    unsafe { LockClass::ALL[CLASS].assert(deref(lock), what as u32, Loc::caller()) };
}

/// `lc_lock`.
///
/// # Safety
///
/// `lock` is the head of a live lock of the class; `how` is 0 or, for shared, 1 or the address of an rmlock's tracker.
unsafe extern "C-unwind" fn lc_lock<const CLASS: usize>(lock: *const LockObject, how: usize) {
    // SAFETY: the caller's promise.
    unsafe { LockClass::ALL[CLASS].lock(deref(lock), how, Loc::caller()) };
}

/// `lc_owner`: not 0 if anybody holds it; who, if exclusively, goes to `owner`.
///
/// # Safety
///
/// `lock` is the head of a live lock of the class; `owner` has room.
unsafe extern "C-unwind" fn lc_owner<const CLASS: usize>(lock: *const LockObject, owner: *mut *const Thread) -> c_int {
    // SAFETY: the caller's promise.
    unsafe {
        let (held, by) = LockClass::ALL[CLASS].owner(deref(lock));
        owner.write(by);
        held.into()
    }
}

/// `lc_unlock`: returns what `lc_lock` takes it back with.
///
/// # Safety
///
/// `lock` is the head of a live lock of the class that the caller holds; a reader's tracker stays where it is until the lock is taken back.
unsafe extern "C-unwind" fn lc_unlock<const CLASS: usize>(lock: *const LockObject) -> usize {
    // SAFETY: the caller's promise.
    unsafe { LockClass::ALL[CLASS].unlock(deref(lock), Loc::caller()) }
}

/// `lc_trylock`, of the classes that have one.
///
/// # Safety
///
/// As for [`lc_lock`].
unsafe extern "C-unwind" fn lc_trylock<const CLASS: usize>(lock: *const LockObject, how: usize) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { LockClass::ALL[CLASS].trylock(deref(lock), how, Loc::caller()) }.unwrap_or(false).into()
}

/// `LOCK_CLASS_MAX`.
const LOCK_CLASS_MAX: usize = 15;

macro_rules! classes {
    ($($(#[$doc:meta])* $symbol:ident: $class:ident;)*) => {
        $(
            $(#[$doc])*
            #[unsafe(no_mangle)]
            pub static $symbol: Class = class::<{ LockClass::$class as usize }>();
        )*

        /// `lock_classes[]`: a class's place is its index in `lo_flags`.
        #[unsafe(no_mangle)]
        pub static lock_classes: [Option<&'static Class>; LOCK_CLASS_MAX + 1] = {
            let mut all: [Option<&'static Class>; LOCK_CLASS_MAX + 1] = [None; LOCK_CLASS_MAX + 1];
            $(all[LockClass::$class as usize] = Some(&$symbol);)*
            all
        };
    };
}

classes! {
    /// `lock_class_mtx_spin`.
    lock_class_mtx_spin: MtxSpin;
    /// `lock_class_mtx_sleep`.
    lock_class_mtx_sleep: MtxSleep;
    /// `lock_class_sx`.
    lock_class_sx: Sx;
    /// `lock_class_rm`.
    lock_class_rm: Rm;
    /// `lock_class_rm_sleepable`.
    lock_class_rm_sleepable: RmSleepable;
    /// `lock_class_rw`.
    lock_class_rw: Rw;
    /// `lock_class_lockmgr`.
    lock_class_lockmgr: Lockmgr;
}

/// `lock_init()`: the head of a lock that the caller implements; `flags` are `LO_*`. WITNESS orders it by `kind` or, if that is null, by its
/// name. With `LO_WITNESS` it is destroyed before its memory goes.
///
/// # Safety
///
/// `lock` is memory for a `struct lock_object`, zeroed or destroyed unless `LO_NEW` is set; the texts are literals.
///
/// # Panics
///
/// `lock "%s" %p already initialized` and `unknown lock class %p` (INVARIANTS), and row 79 of the misuse table.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn lock_init(
    lock: *const LockObject,
    class: *const Class,
    name: *const c_char,
    kind: *const c_char,
    flags: c_int,
) {
    // SAFETY: the caller's promise.
    unsafe {
        let lock = deref(lock);
        if !cpu::step("lock_init", lock.id()) {
            return;
        }
        // As FreeBSD looks for it: a null pointer is found in the first empty place.
        let at =
            |known: &Option<&'static Class>| core::ptr::eq(known.map_or(core::ptr::null(), core::ptr::from_ref), class);
        let index = lock_classes[..LOCK_CLASS_MAX].iter().position(at);
        let (name, kind) = name_and_type(name, kind);
        lock.init_raw(index.map(|index| index as u32), class.cast(), name, kind, flags as u32);
    }
}

/// `lock_destroy()`.
///
/// # Safety
///
/// `lock` is live memory for a `struct lock_object`.
///
/// # Panics
///
/// `lock %p is not initialized` (INVARIANTS).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn lock_destroy(lock: *const LockObject) {
    // SAFETY: the caller's promise.
    let lock = unsafe { deref(lock) };
    if cpu::step("lock_destroy", lock.id()) {
        lock.destroy();
    }
}
