//! `lock_object`, `lock_class`, and what all locks share: names, flags, source locations, the kernel's internal spin lock.
//!
//! Every lock begins with a [`LockObject`], in FreeBSD/amd64's layout: C code and WITNESS look at it without knowing the lock.
//!
//! References: sys/_lock.h, sys/lock.h, kern/subr_lock.c.

use crate::atomic::{Owned32, OwnedPtr, OwnedUsize, RawWord};
use crate::cpu::machine;
use crate::host::gs::{self, word};
use crate::mutex::{Mtx, ma};
use crate::panic::{kassert, kpanic};
use crate::rmlock::Rm;
use crate::rwlock::{Rw, ra};
use crate::sx::Sx;
use crate::thread::Thread;
use bitflags::bitflags;
use core::ffi::{CStr, c_char};
use core::fmt;
use core::panic::Location;

bitflags! {
    /// `lo_flags` above the class's own 16 bits.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Lo: u32 {
        /// `LO_INITIALIZED`.
        const INITIALIZED = 0x0001_0000;
        /// `LO_WITNESS`: enrolled.
        const WITNESS = 0x0002_0000;
        /// `LO_QUIET`.
        const QUIET = 0x0004_0000;
        /// `LO_RECURSABLE`.
        const RECURSABLE = 0x0008_0000;
        /// `LO_SLEEPABLE`.
        const SLEEPABLE = 0x0010_0000;
        /// `LO_UPGRADABLE`.
        const UPGRADABLE = 0x0020_0000;
        /// `LO_DUPOK`.
        const DUPOK = 0x0040_0000;
        /// `LO_NOPROFILE`.
        const NOPROFILE = 0x1000_0000;
        /// `LO_NEW`: re-initialising is fine.
        const NEW = 0x2000_0000;
    }
}

/// `LO_CLASSSHIFT`: where `lo_flags` keeps the class's index.
pub const LO_CLASSSHIFT: u32 = 24;

/// `lock_classes[]`, in its order. Index 0 is the spin mutex: a zeroed lock is taken for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum LockClass {
    /// `lock_class_mtx_spin`.
    MtxSpin = 0,
    /// `lock_class_mtx_sleep`.
    MtxSleep = 1,
    /// `lock_class_sx`.
    Sx = 2,
    /// `lock_class_rm`.
    Rm = 3,
    /// `lock_class_rm_sleepable`.
    RmSleepable = 4,
    /// `lock_class_rw`.
    Rw = 5,
    /// `lock_class_lockmgr`.
    Lockmgr = 6,
}

impl LockClass {
    pub(crate) const ALL: [Self; 7] =
        [Self::MtxSpin, Self::MtxSleep, Self::Sx, Self::Rm, Self::RmSleepable, Self::Rw, Self::Lockmgr];

    /// `lc_name`, as C has it.
    pub(crate) const fn c_name(self) -> &'static CStr {
        match self {
            Self::MtxSpin => c"spin mutex",
            Self::MtxSleep => c"sleep mutex",
            Self::Sx => c"sx",
            Self::Rm => c"rm",
            Self::RmSleepable => c"sleepable rm",
            Self::Rw => c"rw",
            Self::Lockmgr => c"lockmgr",
        }
    }

    /// `lc_name`.
    pub fn name(self) -> &'static str {
        self.c_name().to_str().expect("the names are text")
    }

    /// `LC_SLEEPLOCK`.
    pub const fn is_sleeplock(self) -> bool {
        !matches!(self, Self::MtxSpin)
    }

    /// `LC_SLEEPABLE`: one may sleep while holding it.
    pub const fn is_sleepable(self) -> bool {
        self.implied().contains(Lo::SLEEPABLE)
    }

    /// The `lo_flags` that the class's flags imply (lock_init).
    pub(crate) const fn implied(self) -> Lo {
        match self {
            Self::MtxSpin | Self::MtxSleep | Self::Rm => Lo::RECURSABLE,
            Self::Sx | Self::Lockmgr => Lo::RECURSABLE.union(Lo::SLEEPABLE).union(Lo::UPGRADABLE),
            Self::RmSleepable => Lo::RECURSABLE.union(Lo::SLEEPABLE),
            Self::Rw => Lo::RECURSABLE.union(Lo::UPGRADABLE),
        }
    }
}

/// `struct lock_object`.
#[repr(C)]
pub struct LockObject {
    name: OwnedPtr<c_char>,
    flags: Owned32,
    /// `lo_data`: recursion count of most classes.
    pub data: Owned32,
    /// `lo_witness`: 0 when the lock is not enrolled, else WITNESS's number for the lock's name plus one.
    pub(crate) witness: OwnedUsize,
}

const _: () = {
    assert!(size_of::<LockObject>() == 24);
    assert!(core::mem::offset_of!(LockObject, flags) == 8);
    assert!(core::mem::offset_of!(LockObject, witness) == 16);
};

impl fmt::Debug for LockObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({}) {}", self.class().name(), self.name())
    }
}

impl LockObject {
    /// A zeroed lock: what static memory holds before SYSINIT, and what an uninitialised lock looks like.
    pub const fn zeroed() -> Self {
        Self { name: OwnedPtr::null(), flags: Owned32::new(0), data: Owned32::new(0), witness: OwnedUsize::new(0) }
    }

    /// A lock object as lock_init leaves it, not enrolled in WITNESS: for locks that exist from the kernel's start.
    pub const fn initialized(class: LockClass, name: &'static CStr, own: u32, lo: Lo) -> Self {
        let flags = lo.bits() | Lo::INITIALIZED.bits() | own | (class as u32) << LO_CLASSSHIFT;
        Self {
            name: OwnedPtr::new(name.as_ptr().cast_mut()),
            flags: Owned32::new(flags),
            data: Owned32::new(0),
            witness: OwnedUsize::new(0),
        }
    }

    /// A copy to read after the lock is gone: its name, class and place in WITNESS's graph.
    pub(crate) fn remembered(&self) -> Self {
        Self {
            name: OwnedPtr::new(self.name.get()),
            // Not initialised: nobody is told when the copy goes.
            flags: Owned32::new(self.flags.get() & !Lo::INITIALIZED.bits()),
            data: Owned32::new(self.data.get()),
            witness: OwnedUsize::new(self.witness.get()),
        }
    }

    /// `lo_name`, or FreeBSD's printf for a null pointer.
    pub fn name(&self) -> &'static str {
        let name = self.name.get();
        if name.is_null() {
            return "(null)";
        }
        // SAFETY: `init` took a string that outlives the lock; lock names are literals.
        unsafe { CStr::from_ptr(name) }.to_str().unwrap_or("(not text)")
    }

    /// `LOCK_CLASS()`.
    pub fn class(&self) -> LockClass {
        let index = (self.flags.get() >> LO_CLASSSHIFT & 0xf) as usize;
        LockClass::ALL.get(index).copied().unwrap_or(LockClass::Lockmgr)
    }

    /// Whether [`Self::class`] is `class`, without a table.
    #[inline(always)]
    pub(crate) fn is(&self, class: LockClass) -> bool {
        self.flags.get() >> LO_CLASSSHIFT & 0xf == class as u32
    }

    /// `lo_flags`.
    pub fn flags(&self) -> Lo {
        Lo::from_bits_retain(self.flags.get())
    }

    /// The class's own flags in the low bits of `lo_flags`.
    pub fn class_flags(&self) -> u32 {
        self.flags.get() & 0xffff
    }

    /// `lock_init()`: `own` are the class's own flag bits, `lo` the extra ones.
    ///
    /// # Panics
    ///
    /// `lock "%s" %p already initialized` (INVARIANTS), unless [`Lo::NEW`] is among the flags.
    pub(crate) fn init(&self, class: LockClass, name: &'static CStr, own: u32, lo: Lo) {
        self.init_typed(class, name, name, own, lo);
    }

    /// [`LockObject::init`] of a lock whose order is that of its type, `kind`, and not that of its name.
    pub(crate) fn init_typed(&self, class: LockClass, name: &'static CStr, kind: &'static CStr, own: u32, lo: Lo) {
        self.check_fresh(name, lo);
        let mut flags = lo | (class.implied() - Lo::RECURSABLE);
        if lo.contains(Lo::RECURSABLE) {
            flags |= Lo::RECURSABLE;
        }
        self.data.set(0);
        self.fill(name, kind, (class as u32) << LO_CLASSSHIFT | own | flags.bits());
        machine().lock_born(self);
    }

    /// `lock_init()` as C calls it, for locks of its own: all flags are the caller's, and `index` is the class's in `lock_classes[]`. The
    /// machine does not list the lock: it knows nothing of what follows the head.
    ///
    /// # Panics
    ///
    /// `lock "%s" %p already initialized` and, if there is no index, `unknown lock class %p` (INVARIANTS).
    pub(crate) fn init_raw(
        &self,
        index: Option<u32>,
        class: *const (),
        name: &'static CStr,
        kind: &'static CStr,
        lo: u32,
    ) {
        self.check_fresh(name, Lo::from_bits_retain(lo));
        kassert!(index.is_some(), "unknown lock class {class:p}");
        // Without INVARIANTS what was in the memory stays: zeros make a spin mutex of it.
        let before = index.map_or(self.flags.get(), |index| index << LO_CLASSSHIFT);
        self.fill(name, kind, before | lo);
    }

    /// The first check of `lock_init()`.
    pub(crate) fn check_fresh(&self, name: &CStr, lo: Lo) {
        kassert!(
            !self.flags().contains(Lo::INITIALIZED) || lo.contains(Lo::NEW),
            "lock \"{}\" {:p} already initialized",
            name.to_str().unwrap_or(""),
            core::ptr::from_ref(self)
        );
    }

    /// The rest of `lock_init()`.
    fn fill(&self, name: &'static CStr, kind: &'static CStr, flags: u32) {
        self.name.set(name.as_ptr().cast_mut());
        self.flags.set(flags | Lo::INITIALIZED.bits());
        self.witness.set(0);
        crate::witness::init(self, kind);
    }

    /// `lock_destroy()`.
    ///
    /// # Panics
    ///
    /// `lock %p is not initialized` (INVARIANTS).
    pub(crate) fn destroy(&self) {
        kassert!(self.flags().contains(Lo::INITIALIZED), "lock {:p} is not initialized", core::ptr::from_ref(self));
        crate::witness::destroy(self);
        self.flags.set(self.flags.get() & !Lo::INITIALIZED.bits());
        machine().lock_died(self);
    }

    /// The address, as the lock's identity within one execution.
    #[inline]
    pub fn id(&self) -> usize {
        core::ptr::from_ref(self) as usize
    }
}

impl Drop for LockObject {
    /// Linux has no destructors for locks, so Rust owners drop initialised ones: the machine must not look at them afterwards.
    fn drop(&mut self) {
        if self.flags().contains(Lo::INITIALIZED) && crate::cpu::in_machine() {
            machine().lock_died(self);
            if self.witness.get() != 0 {
                crate::witness::freed(self.id()..self.id() + size_of::<Self>());
            }
        }
    }
}

/// Where a lock operation was written, for messages: a Rust location, or C's `__FILE__` and `__LINE__`.
///
/// A pair of two plain words, and no enum, because it is passed to every lock function: a pair travels in registers, an enum is stored
/// piece by piece and read back as a whole, which no processor forwards from its store buffer.
#[derive(Clone, Copy)]
pub struct Loc {
    /// The Rust location, or the C file: a literal.
    at: *const (),
    /// The C line, or [`Loc::RUST`].
    line: u32,
}

impl Loc {
    /// No line of C: the location is Rust's.
    const RUST: u32 = u32::MAX;

    /// The Rust caller's location.
    #[track_caller]
    #[inline(always)]
    pub fn caller() -> Self {
        Self { at: core::ptr::from_ref(Location::caller()).cast(), line: Self::RUST }
    }

    /// What a C macro gave; `file` is a literal.
    #[inline(always)]
    pub fn c(file: *const c_char, line: u32) -> Self {
        Self { at: file.cast(), line: line.min(Self::RUST - 1) }
    }

    /// The same for the same place.
    pub(crate) fn key(&self) -> (usize, u32) {
        (self.at as usize, self.line)
    }

    fn rust(&self) -> Option<&'static Location<'static>> {
        // SAFETY: `caller` alone gives this line, with a location that lives for ever.
        (self.line == Self::RUST).then(|| unsafe { &*self.at.cast() })
    }

    /// `file`.
    pub fn file(&self) -> &'static str {
        match self.rust() {
            Some(at) => at.file(),
            None if self.at.is_null() => "(null)",
            // SAFETY: C passes `__FILE__`, a literal.
            None => unsafe { CStr::from_ptr(self.at.cast()) }.to_str().unwrap_or("(not text)"),
        }
    }

    /// `line`.
    pub fn line(&self) -> u32 {
        self.rust().map_or(self.line, Location::line)
    }
}

impl fmt::Display for Loc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file(), self.line())
    }
}

impl fmt::Debug for Loc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// WITNESS's `struct lock_instance`: one held lock.
#[derive(Debug, Clone, Copy)]
pub struct LockInstance {
    /// The lock.
    pub lock: *const LockObject,
    /// Where it was last acquired.
    pub loc: Loc,
    /// `LI_EXCLUSIVE`.
    pub exclusive: bool,
    /// `li_flags & LI_RECURSEMASK`.
    pub recursed: u32,
    /// `LI_NORELEASE`.
    pub norelease: bool,
}

/// The kernel's internal spin lock (turnstile chains, sleep queue chains, the scheduler): a word under `spinlock_enter`.
///
/// FreeBSD uses spin mutexes here, which themselves need a scheduler: this type breaks the circle. It is invisible to
/// WITNESS. At `insn` granularity to take a chain is a boundary; to give it back is not, since whoever wants it might as well come
/// later. The scheduler's is taken raw, and what happens under it is one transition always.
#[derive(Debug)]
pub(crate) struct ChainLock(RawWord);

impl ChainLock {
    pub(crate) const fn new() -> Self {
        Self(RawWord::new(0))
    }

    /// `mtx_lock_spin` of a chain: raises critnest as it does.
    pub(crate) fn lock(&self) {
        crate::critical::spinlock_enter_internal();
        crate::cpu::instruction("chain lock", self.0.as_ptr(), true);
        while !self.take() {
            if !crate::sched::explored() {
                self.lock_raw();
                return;
            }
            // At `op` granularity no primitive is left with a chain locked, but a driver that calls sleepqueue(9) may be between two.
            crate::cpu::observe_only(self.0.as_ptr().cast(), 8);
            if !crate::cpu::spinwait() {
                return;
            }
        }
    }

    /// `mtx_unlock_spin` of a chain.
    pub(crate) fn unlock(&self) {
        crate::cpu::released(self.0.as_ptr());
        self.unlock_raw();
        crate::critical::spinlock_exit_internal();
    }

    /// The word alone.
    #[inline]
    pub(crate) fn lock_raw(&self) {
        if !self.take() {
            self.wait_raw();
        }
    }

    /// Takes it if it is free. `explore` has one host thread, which need not pay for a locked instruction.
    #[inline]
    fn take(&self) -> bool {
        if gs::word() & word::EXPLORE == 0 {
            return self.0.fcmpset_acq(0, 1).is_ok();
        }
        let free = self.0.read() == 0;
        if free {
            self.0.set(1);
        }
        free
    }

    #[cold]
    fn wait_raw(&self) {
        while !self.take() {
            // A stopped machine's CPUs never give it back; nothing below it matters any more.
            if crate::cpu::scheduler_stopped() {
                if crate::thread::curthread().unwinding.get() {
                    return;
                }
                crate::host::park_forever();
            }
            crate::host::smp::relax();
        }
    }

    /// Whether somebody has it.
    pub(crate) fn is_taken(&self) -> bool {
        self.0.read() != 0
    }

    /// The word alone.
    pub(crate) fn unlock_raw(&self) {
        self.0.store_rel(0);
    }
}

/// What [`lc_unlock`] asserts first of an interlock.
///
/// # Safety
///
/// `lock` is the lock object of a live lock.
///
/// # Panics
///
/// The class's own text if the caller does not hold it, or holds it more than once (INVARIANTS).
pub(crate) unsafe fn lc_assert_interlock(lock: &LockObject, loc: Loc) {
    // SAFETY: the class says what the object is the head of, and the caller that it is alive.
    unsafe {
        match lock.class() {
            LockClass::MtxSleep | LockClass::MtxSpin => {
                Mtx::from_object(lock).assert_at(ma::OWNED | ma::NOTRECURSED, loc);
            }
            LockClass::Rw => Rw::from_object(lock).assert_at(ra::LOCKED | ra::NOTRECURSED, loc),
            LockClass::Rm => Rm::from_object(lock).assert_at(ra::LOCKED | ra::NOTRECURSED, loc),
            LockClass::Sx => Sx::from_object(lock).assert_at(ra::LOCKED | ra::NOTRECURSED, loc),
            LockClass::RmSleepable | LockClass::Lockmgr => {}
        }
    }
}

impl LockClass {
    /// `lc_unlock()`: gives up the lock, however the caller holds it; returns the "how" to give back to [`LockClass::lock`].
    ///
    /// # Safety
    ///
    /// `lock` is the lock object of a live lock of this class, and `loc` lives as long as the program. A reader of an rmlock leaves its
    /// tracker where it is until it has the lock again.
    ///
    /// # Panics
    ///
    /// The class's own text if the caller does not hold it, or holds it more than once (INVARIANTS).
    /// `lockmgr locks do not support sleep interlocking`.
    pub(crate) unsafe fn unlock(self, lock: &LockObject, loc: Loc) -> usize {
        // SAFETY: the caller says what the object is the head of, and that it is alive.
        unsafe {
            match self {
                Self::MtxSleep | Self::MtxSpin => {
                    let mtx = Mtx::from_object(lock);
                    mtx.assert_at(ma::OWNED | ma::NOTRECURSED, loc);
                    if self == Self::MtxSpin {
                        mtx.unlock_spin_at(loc)
                    } else {
                        mtx.unlock_at(loc)
                    }
                    0
                }
                Self::Rw => Rw::from_object(lock).unlock_either(loc),
                Self::Sx => Sx::from_object(lock).unlock_either(loc),
                Self::Rm | Self::RmSleepable => Rm::from_object(lock).unlock_either(loc),
                Self::Lockmgr => kpanic!("lockmgr locks do not support sleep interlocking"),
            }
        }
    }

    /// `lc_lock()`: takes the lock; `how` is 0 for exclusively. Anything else is shared, and of an rmlock the address of the tracker.
    ///
    /// # Safety
    ///
    /// As for [`LockClass::unlock`]; the tracker is none in use, and stays where it is until the lock is released.
    ///
    /// # Panics
    ///
    /// Those of the lock's own function. `lockmgr locks do not support sleep interlocking`.
    pub(crate) unsafe fn lock(self, lock: &LockObject, how: usize, loc: Loc) {
        // SAFETY: as in `unlock`.
        unsafe {
            match self {
                Self::MtxSleep => Mtx::from_object(lock).lock_at(0, loc),
                Self::MtxSpin => Mtx::from_object(lock).lock_spin_at(0, loc),
                Self::Rw => Rw::from_object(lock).lock_either(how, loc),
                Self::Sx => Sx::from_object(lock).lock_either(how, loc),
                Self::Rm | Self::RmSleepable => Rm::from_object(lock).lock_either(how, loc),
                Self::Lockmgr => kpanic!("lockmgr locks do not support sleep interlocking"),
            }
        }
    }

    /// `lc_trylock()`, of the classes that have one: mutexes and rwlocks. Else `None`.
    ///
    /// # Safety
    ///
    /// As for [`LockClass::unlock`].
    ///
    /// # Panics
    ///
    /// Those of the lock's own function.
    pub(crate) unsafe fn trylock(self, lock: &LockObject, how: usize, loc: Loc) -> Option<bool> {
        // SAFETY: as in `unlock`.
        unsafe {
            match self {
                Self::MtxSleep => Some(Mtx::from_object(lock).trylock_at(0, loc)),
                Self::MtxSpin => Some(Mtx::from_object(lock).trylock_spin_at(0, loc)),
                Self::Rw if how != 0 => Some(Rw::from_object(lock).try_rlock_at(loc)),
                Self::Rw => Some(Rw::from_object(lock).try_wlock_at(loc)),
                _ => None,
            }
        }
    }

    /// `lc_assert()`: `what` is made of `LA_*`.
    ///
    /// # Safety
    ///
    /// As for [`LockClass::unlock`].
    ///
    /// # Panics
    ///
    /// The class's own text, e.g. `mutex %s not owned at %s:%d` (INVARIANTS). `lockmgr locks do not support assertions`.
    pub(crate) unsafe fn assert(self, lock: &LockObject, what: u32, loc: Loc) {
        // SAFETY: as in `unlock`.
        unsafe {
            match self {
                Self::MtxSpin | Self::MtxSleep => {
                    // Of a mutex LA_LOCKED says what LA_XLOCKED does: here, and not in mtx_assert().
                    let what = if what & ma::LOCKED != 0 { what & !ma::LOCKED | ma::OWNED } else { what };
                    Mtx::from_object(lock).assert_at(what, loc);
                }
                Self::Rw => Rw::from_object(lock).assert_at(what, loc),
                Self::Sx => Sx::from_object(lock).assert_at(what, loc),
                Self::Rm | Self::RmSleepable => Rm::from_object(lock).assert_at(what, loc),
                Self::Lockmgr => kpanic!("lockmgr locks do not support assertions"),
            }
        }
    }

    /// `lc_owner()`: whether anybody holds the lock, and who, if it is held exclusively.
    ///
    /// # Safety
    ///
    /// As for [`LockClass::unlock`].
    ///
    /// # Panics
    ///
    /// `lockmgr locks do not support owner inquiring`.
    pub(crate) unsafe fn owner(self, lock: &LockObject) -> (bool, *const Thread) {
        // SAFETY: as in `unlock`.
        let (shared, owner) = unsafe {
            match self {
                Self::MtxSpin | Self::MtxSleep => (false, Mtx::from_object(lock).owner()),
                Self::Rw => Rw::from_object(lock).holders(),
                Self::Sx => Sx::from_object(lock).holders(),
                // Of an rmlock, its backing lock's: who reads is known to the CPUs only.
                Self::Rm | Self::RmSleepable => return Rm::from_object(lock).backing_owner(),
                Self::Lockmgr => kpanic!("lockmgr locks do not support owner inquiring"),
            }
        };
        (shared || !owner.is_null(), owner)
    }
}

/// [`LockClass::unlock`] of a sleep's interlock.
///
/// # Safety
///
/// `lock` is the lock object of a live lock that the caller holds.
///
/// # Panics
///
/// The class's own text if the caller does not hold it, or holds it more than once (INVARIANTS).
pub(crate) unsafe fn lc_unlock(lock: &LockObject, loc: Loc) -> usize {
    // SAFETY: the class says what the object is the head of, and the caller that it is alive.
    unsafe { lock.class().unlock(lock, loc) }
}

/// [`LockClass::lock`]: takes the interlock back the way [`lc_unlock`] left it.
///
/// # Safety
///
/// As for [`lc_unlock`]; `how` is what it returned.
pub(crate) unsafe fn lc_lock(lock: &LockObject, how: usize, loc: Loc) {
    // SAFETY: as in `lc_unlock`.
    unsafe { lock.class().lock(lock, how, loc) }
}

/// `lc_assert(LA_LOCKED)`: what lockdep_assert_held() becomes.
///
/// # Safety
///
/// `lock` is the lock object of a live lock.
///
/// # Panics
///
/// The class's own text, e.g. `mutex %s not owned at %s:%d` (INVARIANTS).
pub unsafe fn lc_assert(lock: &LockObject, loc: Loc) {
    // SAFETY: the class says what the object is the head of, and the caller that it is alive.
    unsafe { lock.class().assert(lock, crate::witness::la::LOCKED, loc) }
}

/// `lc_owner() != 0`: whether anybody holds the lock.
///
/// # Safety
///
/// `lock` is the lock object of a live lock.
pub unsafe fn lc_held(lock: &LockObject) -> bool {
    // SAFETY: see `lc_assert`.
    unsafe { lock.class().owner(lock).0 }
}
