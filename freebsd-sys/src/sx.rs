//! sx(9): shared/exclusive locks that may be held across an unbounded sleep.
//!
//! # State of `sx_lock`
//!
//! | word | meaning |
//! |---|---|
//! | SHARED (1) | free: shared mode without sharers |
//! | SHARED + n * 32 | n sharers, who are not known by name |
//! | owner | held exclusively |
//! | ... + SHARED_WAITERS, EXCLUSIVE_WAITERS | threads sleep on queue 1, 0 of the lock's sleep queue |
//! | SHARED + ... + WRITE_SPINNER | an exclusive taker spins for the sharers to leave |
//! | owner + RECURSED | held more than once; the count is in `lo_data` |
//! | SHARED_WAITERS + EXCLUSIVE_WAITERS | destroyed |
//!
//! # Algorithm
//!
//! The algorithm of rwlock(9), on a sleep queue instead of a turnstile. Hence no priority is lent, a holder may sleep, and
//! a contender must be allowed to sleep: sleepq_add says so, and only when it really has to. A wait may be interruptible;
//! since a sleeper that was interrupted leaves its waiters bit behind, an exclusive owner that frees the lock asks the queue whether
//! anybody is left. The last sharer does not, in FreeBSD as here: the bit then keeps sharers out, and asleep, for whom nobody waits.
//!
//! # Memory ordering
//!
//! Every cmpxchg that takes is an acquire, every one (or store under the chain lock) that releases a release; they pair. What the
//! flags announce is ordered by the sleep queue's chain lock.
//!
//! # Deviations from FreeBSD
//!
//! As rwlock.
//!
//! References: kern/kern_sx.c, sys/sx.h, sx(9).

use crate::atomic::Word;
use crate::cpu::{self, observe};
use crate::critical;
use crate::giant;
use crate::lock::{Lo, Loc, LockClass, LockObject};
use crate::lock_profile;
use crate::panic::{kassert, kpanic, mpass};
use crate::sleepqueue::{self, Type};
use crate::thread::{Thread, curthread, curthread_word};
use crate::witness;
use bitflags::bitflags;
use core::ffi::CStr;

bitflags! {
    /// Options of [`Sx::init`]: `SX_*`.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Sxf: u32 {
        /// `SX_DUPOK`.
        const DUPOK = 0x01;
        /// `SX_NOPROFILE`.
        const NOPROFILE = 0x02;
        /// `SX_NOWITNESS`: invisible to WITNESS.
        const NOWITNESS = 0x04;
        /// `SX_QUIET`.
        const QUIET = 0x08;
        /// `SX_RECURSE`: its exclusive owner may take it again.
        const RECURSE = 0x20;
        /// `SX_NEW`: re-initialising is fine.
        const NEW = 0x40;
    }
}

/// `SX_INTERRUPTIBLE`, an option of [`Sx::xlock_at`] and [`Sx::slock_at`].
pub const SX_INTERRUPTIBLE: u32 = 0x40;

/// `SX_LOCK_SHARED`.
pub const SX_LOCK_SHARED: usize = 0x01;
/// `SX_LOCK_SHARED_WAITERS`.
pub const SX_LOCK_SHARED_WAITERS: usize = 0x02;
/// `SX_LOCK_EXCLUSIVE_WAITERS`.
pub const SX_LOCK_EXCLUSIVE_WAITERS: usize = 0x04;
/// `SX_LOCK_RECURSED`.
pub const SX_LOCK_RECURSED: usize = 0x08;
/// `SX_LOCK_WRITE_SPINNER`.
pub const SX_LOCK_WRITE_SPINNER: usize = 0x10;
/// `SX_LOCK_FLAGMASK`.
pub const SX_LOCK_FLAGMASK: usize = 0x1f;
/// `SX_LOCK_WAITERS`.
pub const SX_LOCK_WAITERS: usize = SX_LOCK_SHARED_WAITERS | SX_LOCK_EXCLUSIVE_WAITERS;
/// `SX_ONE_SHARER`.
pub const SX_ONE_SHARER: usize = 1 << 5;
/// `SX_LOCK_UNLOCKED`.
pub const SX_LOCK_UNLOCKED: usize = SX_LOCK_SHARED;
/// `SX_LOCK_DESTROYED`.
pub const SX_LOCK_DESTROYED: usize = SX_LOCK_WAITERS;

/// What [`Sx::assert`] is to check: `SA_*`, which are `LA_*`.
pub mod sa {
    /// `SA_UNLOCKED`.
    pub const UNLOCKED: u32 = 0;
    /// `SA_LOCKED`: either way.
    pub const LOCKED: u32 = 1;
    /// `SA_SLOCKED`.
    pub const SLOCKED: u32 = 2;
    /// `SA_XLOCKED`.
    pub const XLOCKED: u32 = 4;
    /// `SA_RECURSED`.
    pub const RECURSED: u32 = 8;
    /// `SA_NOTRECURSED`.
    pub const NOTRECURSED: u32 = 0x10;
}

/// `SQ_EXCLUSIVE_QUEUE`.
const EXCLUSIVE: usize = 0;
/// `SQ_SHARED_QUEUE`.
const SHARED: usize = 1;

/// Looks that a bounded spin takes at the word: `asx_retries` times a scaled `asx_loops`.
const SPINS: u32 = 10 * 64;

/// `struct sx`.
#[repr(C)]
#[derive(Debug)]
pub struct Sx {
    lock_object: LockObject,
    sx_lock: Word,
}

const _: () = {
    assert!(size_of::<Sx>() == 32);
    assert!(core::mem::offset_of!(Sx, sx_lock) == 24);
    // Thread pointers leave the flags free.
    assert!(align_of::<Thread>() > SX_LOCK_FLAGMASK);
};

/// `SX_SHARERS()`.
fn sharers(x: usize) -> usize {
    if x & SX_LOCK_SHARED == 0 { 0 } else { x / SX_ONE_SHARER }
}

/// `__sx_can_read()`; `fast` leaves `td_sx_slocks` to the slow path.
fn can_read(td: &Thread, x: usize, fast: bool) -> bool {
    x & (SX_LOCK_SHARED | SX_LOCK_EXCLUSIVE_WAITERS | SX_LOCK_WRITE_SPINNER) == SX_LOCK_SHARED
        || !fast && td.sx_slocks.get() != 0 && x & SX_LOCK_SHARED != 0
}

/// `lv_sx_owner()`: the exclusive owner; null for sharers.
fn owner_of(x: usize) -> *mut Thread {
    if x & SX_LOCK_SHARED != 0 { core::ptr::null_mut() } else { (x & !SX_LOCK_FLAGMASK) as *mut Thread }
}

/// Whether a sharer leaves nobody behind that it would have to wake.
fn may_leave(x: usize) -> bool {
    x / SX_ONE_SHARER > 1 || x & SX_LOCK_WAITERS == 0
}

/// Whether an exclusive owner has it that runs on another CPU.
fn owner_runs(x: usize) -> bool {
    if x & SX_LOCK_SHARED != 0 {
        return false;
    }
    let owner = owner_of(x);
    if owner.is_null() {
        // Zeroed or, without INVARIANTS, destroyed memory: FreeBSD reads td_state at a small address.
        kpanic!("page fault");
    }
    // SAFETY: threads are type-stable, and the word names one.
    unsafe { (*owner).worth_spinning() }
}

impl Sx {
    /// A lock that was not initialised: zeroed memory.
    pub const fn zeroed() -> Self {
        Self { lock_object: LockObject::zeroed(), sx_lock: Word::new(0) }
    }

    /// The sx lock that `lock` is the head of.
    ///
    /// # Safety
    ///
    /// `lock` is the first member of a live `Sx`.
    pub(crate) unsafe fn from_object(lock: &LockObject) -> &Self {
        // SAFETY: the caller's promise.
        unsafe { &*core::ptr::from_ref(lock).cast() }
    }

    /// `lock_object`.
    pub fn object(&self) -> &LockObject {
        &self.lock_object
    }

    fn name(&self) -> &'static str {
        self.lock_object.name()
    }

    /// `sx_init_flags()`.
    ///
    /// # Panics
    ///
    /// MPASS on the options, `lock "%s" %p already initialized` (INVARIANTS).
    #[track_caller]
    pub fn init(&self, name: &'static CStr, opts: Sxf) {
        if !cpu::step("sx_init", self.lock_object.id()) {
            return;
        }
        mpass!(
            // `!` of bitflags drops unknown bits, which are what this is about.
            opts.bits() & !Sxf::all().bits() == 0,
            "(opts & ~(SX_QUIET | SX_RECURSE | SX_NOWITNESS | SX_DUPOK | SX_NOPROFILE | SX_NEW)) == 0",
            Loc::caller()
        );
        let mut lo = Lo::empty();
        lo.set(Lo::DUPOK, opts.contains(Sxf::DUPOK));
        lo.set(Lo::NOPROFILE, opts.contains(Sxf::NOPROFILE));
        lo.set(Lo::WITNESS, !opts.contains(Sxf::NOWITNESS));
        lo.set(Lo::RECURSABLE, opts.contains(Sxf::RECURSE));
        lo.set(Lo::QUIET, opts.contains(Sxf::QUIET));
        lo.set(Lo::NEW, opts.contains(Sxf::NEW));
        self.lock_object.init(LockClass::Sx, name, 0, lo);
        self.sx_lock.set(SX_LOCK_UNLOCKED);
    }

    /// `sx_destroy()`: nobody may hold it.
    ///
    /// # Panics
    ///
    /// Row 54 of the misuse table (INVARIANTS).
    pub fn destroy(&self) {
        if !cpu::step("sx_destroy", self.lock_object.id()) {
            return;
        }
        kassert!(self.sx_lock.peek() == SX_LOCK_UNLOCKED, "sx lock still held");
        kassert!(self.lock_object.data.get() == 0, "sx lock still recursed");
        self.sx_lock.set(SX_LOCK_DESTROYED);
        self.lock_object.destroy();
    }

    /// `sx_xlocked()`: whether the caller holds it exclusively.
    #[inline]
    pub fn xlocked(&self) -> bool {
        let x = self.sx_lock.look();
        x & SX_LOCK_SHARED == 0 && x & !SX_LOCK_FLAGMASK == curthread_word()
    }

    /// The same inside a primitive, which touches the lock anyway.
    #[inline]
    pub(crate) fn owns(&self) -> bool {
        let x = self.sx_lock.peek();
        x & SX_LOCK_SHARED == 0 && x & !SX_LOCK_FLAGMASK == curthread_word()
    }

    /// `sx_xholder()`: the exclusive owner, if there is one.
    pub fn xholder(&self) -> *const Thread {
        owner_of(self.sx_lock.look())
    }

    /// Whether there are sharers, and the exclusive holder.
    pub(crate) fn holders(&self) -> (bool, *const Thread) {
        let x = self.sx_lock.peek();
        (x & SX_LOCK_SHARED != 0 && x / SX_ONE_SHARER != 0, owner_of(x))
    }

    /// `sx_recursed()`.
    fn recursed(&self) -> bool {
        self.lock_object.data.get() != 0
    }

    /// Whether it was initialised and not destroyed since.
    pub fn initialized(&self) -> bool {
        self.lock_object.flags().contains(Lo::INITIALIZED)
    }

    /// Whether it was destroyed.
    fn destroyed(&self) -> bool {
        self.sx_lock.peek() == SX_LOCK_DESTROYED
    }

    /// `TD_LOCKS_INC` and `TD_LOCKS_DEC`: INVARIANTS only.
    fn count(&self, n: i32) {
        if cpu::invariants() {
            curthread().locks.add(n);
        }
    }

    /// Asserts what every operation asks first: not the idle thread, not a destroyed lock.
    fn check(&self, what: &str, loc: Loc) {
        let td = curthread();
        kassert!(!td.is_idle(), "{what}() by idle thread {:p} on sx {} @ {loc}", td.ptr(), self.name());
        self.check_destroyed(what, loc);
    }

    fn check_destroyed(&self, what: &str, loc: Loc) {
        kassert!(!self.destroyed(), "{what}() of destroyed sx @ {loc}");
    }

    /// `sx_slock()`: sleeps until the caller is one of the sharers.
    ///
    /// # Panics
    ///
    /// Rows 48, 49, 64 and 91 of the misuse table, and mi_switch's if it sleeps in a critical section.
    #[track_caller]
    #[inline]
    pub fn slock(&self) {
        if !self.slock_alone() {
            self.slock_at(0, Loc::caller());
        }
    }

    /// Takes a lock that a sharer may have at once, if nothing is to be done at the boundary.
    #[inline(always)]
    fn slock_alone(&self) -> bool {
        let (td, word) = (curthread(), self.sx_lock.raw());
        let x = word.read();
        let taken =
            cpu::word() == 0 && can_read(td, x, true) && word.fcmpset_acq(x, x.wrapping_add(SX_ONE_SHARER)).is_ok();
        if taken {
            td.sx_slocks.add(1);
        }
        taken
    }

    /// `sx_slock_sig()`: [`Sx::slock`] that a signal ends.
    ///
    /// # Errors
    ///
    /// [`sleepqueue::EINTR`]: the lock is not held.
    #[track_caller]
    pub fn slock_sig(&self) -> Result<(), i32> {
        match self.slock_at(SX_INTERRUPTIBLE, Loc::caller()) {
            0 => Ok(()),
            error => Err(error),
        }
    }

    /// `_sx_slock()`: what C calls. Returns 0, or an error with [`SX_INTERRUPTIBLE`].
    #[cold]
    #[inline(never)]
    pub fn slock_at(&self, opts: u32, loc: Loc) -> i32 {
        if !cpu::step_at("sx_slock", self.lock_object.id(), loc) {
            return 0;
        }
        let td = curthread();
        self.check("sx_slock", loc);
        crate::lint::blocking("sx_slock", &self.lock_object, loc);
        witness::checkorder(&self.lock_object, false, false, None, loc);
        if !self.slock_try(td, true) {
            let error = self.slock_hard(td, opts, loc);
            if error != 0 || cpu::scheduler_stopped() {
                return error;
            }
        }
        witness::lock(&self.lock_object, false, loc);
        self.count(1);
        0
    }

    /// `__sx_slock_try()`.
    #[inline]
    fn slock_try(&self, td: &Thread, fast: bool) -> bool {
        let mut x = self.sx_lock.read();
        while can_read(td, x, fast) {
            match self.sx_lock.fcmpset_acq(x, x.wrapping_add(SX_ONE_SHARER)) {
                Ok(()) => {
                    td.sx_slocks.add(1);
                    return true;
                }
                Err(seen) => x = seen,
            }
        }
        false
    }

    /// `_sx_slock_hard()`: who waits, spinning or asleep, does so without Giant.
    fn slock_hard(&self, td: &Thread, opts: u32, loc: Loc) -> i32 {
        // Who shares another sx lock need not wait for waiting takers. With INVARIANTS Giant goes after that look, without before it.
        if cpu::invariants() && self.slock_try(td, false) {
            return 0;
        }
        let dropped = giant::drop_giant(loc);
        let error = self.slock_wait(td, opts);
        dropped.pickup(loc);
        error
    }

    fn slock_wait(&self, td: &Thread, opts: u32) -> i32 {
        let mut tries = cpu::adaptive_spins(SPINS);
        while !self.slock_try(td, false) {
            let x = self.sx_lock.read();
            if can_read(td, x, false) {
                continue;
            }
            let taken_soon = x & SX_LOCK_WRITE_SPINNER != 0 && sharers(x) == 0;
            if owner_runs(x) || taken_soon || tries > 0 && x & SX_LOCK_SHARED != 0 {
                tries = tries.saturating_sub(1);
                if !self.spin(x) {
                    return 0;
                }
                continue;
            }
            sleepqueue::lock(self.lock_object.id());
            if self.slock_block(td) {
                let error = self.sleep(SHARED, opts);
                if error != 0 {
                    return error;
                }
            } else {
                sleepqueue::release(self.lock_object.id());
            }
            if cpu::scheduler_stopped() {
                return 0;
            }
        }
        0
    }

    /// The second look, with the chain locked: sets SHARED_WAITERS and returns true if the sharer has to sleep.
    fn slock_block(&self, td: &Thread) -> bool {
        let mut x = self.sx_lock.read();
        loop {
            if can_read(td, x, false) || x & SX_LOCK_WRITE_SPINNER != 0 && sharers(x) == 0 || owner_runs(x) {
                return false;
            }
            if x & SX_LOCK_SHARED_WAITERS != 0 {
                return true;
            }
            match self.sx_lock.fcmpset_acq(x, x | SX_LOCK_SHARED_WAITERS) {
                Ok(()) => return true,
                Err(seen) => x = seen,
            }
        }
    }

    /// Sleeps on `queue`; entered with the chain locked, returns without it.
    fn sleep(&self, queue: usize, opts: u32) -> i32 {
        lock_profile::waits(&self.lock_object);
        let wchan = self.lock_object.id();
        sleepqueue::add(wchan, 0, self.name(), Type::Sx, queue);
        if opts & SX_INTERRUPTIBLE != 0 {
            return sleepqueue::wait_sig(wchan);
        }
        sleepqueue::wait(wchan);
        0
    }

    /// One wait for the word to change from `x`, or for its running owner to stop. False: the machine has stopped.
    fn spin(&self, x: usize) -> bool {
        cpu::observe_only(self.sx_lock.as_ptr().cast(), 8);
        let owner = owner_of(x);
        if !owner.is_null() {
            // SAFETY: threads are type-stable, and the word names one.
            observe(unsafe { (*owner).state.as_ptr() }.cast(), 4);
        }
        self.sx_lock.peek() != x || cpu::spinwait_on(&self.lock_object)
    }

    /// `sx_sunlock()`.
    ///
    /// # Panics
    ///
    /// Rows 49 and 52 of the misuse table.
    #[track_caller]
    #[inline]
    pub fn sunlock(&self) {
        if !self.sunlock_alone() {
            self.sunlock_at(Loc::caller());
        }
    }

    /// Leaves a lock that has more sharers or no waiters, if nothing is to be done at the boundary.
    #[inline(always)]
    fn sunlock_alone(&self) -> bool {
        let word = self.sx_lock.raw();
        let x = word.read();
        let left = cpu::word() == 0 && may_leave(x) && word.fcmpset_rel(x, x.wrapping_sub(SX_ONE_SHARER)).is_ok();
        if left {
            curthread().sx_slocks.sub(1);
        }
        left
    }

    /// `_sx_sunlock()`: what C calls.
    #[cold]
    #[inline(never)]
    pub fn sunlock_at(&self, loc: Loc) {
        if !cpu::step_at("sx_sunlock", self.lock_object.id(), loc) {
            return;
        }
        self.check_destroyed("sx_sunlock", loc);
        self.assert_at(sa::SLOCKED, loc);
        witness::unlock(&self.lock_object, false, loc);
        let td = curthread();
        if !self.sunlock_try(td) {
            self.sunlock_hard(td);
        }
        self.count(-1);
    }

    /// `_sx_sunlock_try()`: leaves unless the caller is the last sharer and somebody waits.
    #[inline]
    fn sunlock_try(&self, td: &Thread) -> bool {
        let mut x = self.sx_lock.read();
        while may_leave(x) {
            // Of a lock that nobody shares the count wraps: FreeBSD notices as little without WITNESS's help.
            match self.sx_lock.fcmpset_rel(x, x.wrapping_sub(SX_ONE_SHARER)) {
                Ok(()) => {
                    td.sx_slocks.sub(1);
                    return true;
                }
                Err(seen) => x = seen,
            }
        }
        false
    }

    /// `_sx_sunlock_hard()`: the last sharer wakes whose turn it is.
    fn sunlock_hard(&self, td: &Thread) {
        let wchan = self.lock_object.id();
        sleepqueue::lock(wchan);
        while !self.sunlock_try(td) {
            let x = self.sx_lock.read();
            // Unlike an exclusive owner, the last sharer takes the bit's word for it that somebody sleeps there. If a signal has taken
            // that one away, nobody is woken, and sharers that sleep wait for the next one to free the lock.
            let exclusive = x & SX_LOCK_EXCLUSIVE_WAITERS != 0;
            let (free, queue) = if exclusive {
                (SX_LOCK_UNLOCKED | x & SX_LOCK_SHARED_WAITERS, EXCLUSIVE)
            } else {
                (SX_LOCK_UNLOCKED, SHARED)
            };
            if sharers(x) <= 1 && self.sx_lock.fcmpset_rel(x, free | x & SX_LOCK_WRITE_SPINNER).is_ok() {
                sleepqueue::broadcast(wchan, Type::Sx, 0, queue);
                td.sx_slocks.sub(1);
                break;
            }
        }
        sleepqueue::release(wchan);
    }

    /// The free word after an exclusive owner's release with waiters in `x`, and the queue to wake: exclusive first, if anybody still
    /// sleeps there. The chain is locked.
    fn next_turn(&self, x: usize) -> (usize, usize) {
        if x & SX_LOCK_EXCLUSIVE_WAITERS != 0 && sleepqueue::sleepcnt(self.lock_object.id(), EXCLUSIVE) != 0 {
            (SX_LOCK_UNLOCKED | x & SX_LOCK_SHARED_WAITERS, EXCLUSIVE)
        } else {
            (SX_LOCK_UNLOCKED, SHARED)
        }
    }

    /// `sx_xlock()`: sleeps until the caller is the only one.
    ///
    /// # Panics
    ///
    /// Rows 48 to 50, 64 and 91 of the misuse table, and mi_switch's if it sleeps in a critical section.
    #[track_caller]
    #[inline]
    pub fn xlock(&self) {
        if cpu::word() != 0 || self.sx_lock.raw().fcmpset_acq(SX_LOCK_UNLOCKED, curthread_word()).is_err() {
            self.xlock_at(0, Loc::caller());
        }
    }

    /// `sx_xlock_sig()`: [`Sx::xlock`] that a signal ends.
    ///
    /// # Errors
    ///
    /// [`sleepqueue::EINTR`]: the lock is not held.
    #[track_caller]
    pub fn xlock_sig(&self) -> Result<(), i32> {
        match self.xlock_at(SX_INTERRUPTIBLE, Loc::caller()) {
            0 => Ok(()),
            error => Err(error),
        }
    }

    /// `_sx_xlock()`: what C calls. Returns 0, or an error with [`SX_INTERRUPTIBLE`].
    #[cold]
    #[inline(never)]
    pub fn xlock_at(&self, opts: u32, loc: Loc) -> i32 {
        if !cpu::step_at("sx_xlock", self.lock_object.id(), loc) {
            return 0;
        }
        self.check("sx_xlock", loc);
        crate::lint::blocking("sx_xlock", &self.lock_object, loc);
        witness::checkorder(&self.lock_object, true, false, None, loc);
        if self.sx_lock.fcmpset_acq(SX_LOCK_UNLOCKED, curthread_word()).is_err() {
            let error = self.xlock_hard(opts, loc);
            if error != 0 || cpu::scheduler_stopped() {
                return error;
            }
        }
        witness::lock(&self.lock_object, true, loc);
        self.count(1);
        0
    }

    /// `_sx_xlock_hard()`: as in [`Sx::slock_hard`], who waits does so without Giant.
    fn xlock_hard(&self, opts: u32, loc: Loc) -> i32 {
        if self.owns() {
            kassert!(
                self.lock_object.flags().contains(Lo::RECURSABLE),
                "_sx_xlock_hard: recursed on non-recursive sx {} @ {loc}",
                self.name()
            );
            self.recurse();
            return 0;
        }
        let dropped = giant::drop_giant(loc);
        let error = self.xlock_wait(opts);
        dropped.pickup(loc);
        error
    }

    fn xlock_wait(&self, opts: u32) -> i32 {
        let td = curthread();
        let wchan = self.lock_object.id();
        let mut tries = cpu::adaptive_spins(SPINS);
        // Inside a critical section, with WRITE_SPINNER set by this thread.
        let mut spinner = false;
        let error = loop {
            let x = self.sx_lock.read();
            if x == SX_LOCK_UNLOCKED || x == SX_LOCK_UNLOCKED | SX_LOCK_WRITE_SPINNER {
                if self.sx_lock.fcmpset_acq(x, curthread_word()).is_ok() {
                    break 0;
                }
                continue;
            }
            if spinner && x & SX_LOCK_SHARED == 0 {
                // Somebody has it, who took our flag away with the word.
                spinner = false;
                critical::exit(td);
            }
            if owner_runs(x) {
                if !self.spin(x) {
                    return 0;
                }
                continue;
            }
            if sharers(x) > 0 && tries > 0 {
                // If another spins for them already, its flag serves this thread too, which then may be preempted. If the flag is gone,
                // with who took the lock in between or with who gave up spinning, it is set anew.
                if x & SX_LOCK_WRITE_SPINNER == 0 {
                    if !core::mem::replace(&mut spinner, true) {
                        critical::enter(td);
                    }
                    if self.sx_lock.fcmpset_acq(x, x | SX_LOCK_WRITE_SPINNER).is_err() {
                        spinner = false;
                        critical::exit(td);
                        continue;
                    }
                }
                tries -= 1;
                if !cpu::spinwait() {
                    return 0;
                }
                continue;
            }
            sleepqueue::lock(wchan);
            match self.xlock_block(spinner) {
                Queued::Taken => {
                    sleepqueue::release(wchan);
                    break 0;
                }
                Queued::Retry => sleepqueue::release(wchan),
                Queued::Sleep => {
                    if core::mem::take(&mut spinner) {
                        // The chain lock keeps a preemption away until mi_switch.
                        critical::exit(td);
                    }
                    let error = self.sleep(EXCLUSIVE, opts);
                    // Unlike rwlock(9) it does not spin for sharers once more.
                    if error != 0 {
                        break error;
                    }
                }
            }
            if cpu::scheduler_stopped() {
                return 0;
            }
        };
        if spinner {
            critical::exit(td);
        }
        error
    }

    /// The second look, with the chain locked.
    fn xlock_block(&self, spinner: bool) -> Queued {
        let mut x = self.sx_lock.read();
        loop {
            if owner_runs(x) {
                return Queued::Retry;
            }
            let flags = x & (SX_LOCK_WAITERS | SX_LOCK_WRITE_SPINNER);
            let (wanted, outcome) = if x & !flags == SX_LOCK_UNLOCKED {
                (curthread_word() | x & SX_LOCK_WAITERS, Queued::Taken)
            } else {
                let spinning = if spinner { SX_LOCK_WRITE_SPINNER } else { 0 };
                (x & !spinning | SX_LOCK_EXCLUSIVE_WAITERS, Queued::Sleep)
            };
            if wanted == x {
                return outcome;
            }
            match self.sx_lock.fcmpset_acq(x, wanted) {
                Ok(()) => return outcome,
                Err(seen) => x = seen,
            }
        }
    }

    fn recurse(&self) {
        self.lock_object.data.add(1);
        self.sx_lock.fetch_or(SX_LOCK_RECURSED);
    }

    /// `sx_xunlock()`.
    ///
    /// # Panics
    ///
    /// Rows 49 and 51 of the misuse table.
    #[track_caller]
    #[inline]
    pub fn xunlock(&self) {
        if cpu::word() != 0 || self.sx_lock.raw().fcmpset_rel(curthread_word(), SX_LOCK_UNLOCKED).is_err() {
            self.xunlock_at(Loc::caller());
        }
    }

    /// `_sx_xunlock()`: what C calls.
    #[cold]
    #[inline(never)]
    pub fn xunlock_at(&self, loc: Loc) {
        if !cpu::step_at("sx_xunlock", self.lock_object.id(), loc) {
            return;
        }
        self.check_destroyed("sx_xunlock", loc);
        self.assert_at(sa::XLOCKED, loc);
        witness::unlock(&self.lock_object, true, loc);
        if self.sx_lock.fcmpset_rel(curthread_word(), SX_LOCK_UNLOCKED).is_err() {
            self.xunlock_hard();
        }
        self.count(-1);
    }

    /// `_sx_xunlock_hard()`.
    fn xunlock_hard(&self) {
        if self.sx_lock.peek() & SX_LOCK_RECURSED != 0 {
            self.lock_object.data.sub(1);
            if self.lock_object.data.get() == 0 {
                self.sx_lock.clear(SX_LOCK_RECURSED);
            }
            return;
        }
        let wchan = self.lock_object.id();
        sleepqueue::lock(wchan);
        let x = self.sx_lock.read();
        mpass!(x & SX_LOCK_WAITERS != 0, "x & (SX_LOCK_SHARED_WAITERS | SX_LOCK_EXCLUSIVE_WAITERS)", Loc::caller());
        let (free, queue) = self.next_turn(x);
        self.sx_lock.store_rel(free);
        sleepqueue::broadcast(wchan, Type::Sx, 0, queue);
        sleepqueue::release(wchan);
    }

    /// `sx_try_slock()`: pays no attention to waiting exclusive takers.
    ///
    /// # Panics
    ///
    /// Rows 48 and 49 of the misuse table.
    #[track_caller]
    pub fn try_slock(&self) -> bool {
        self.try_slock_at(Loc::caller())
    }

    /// `sx_try_slock_()`: what C calls.
    pub fn try_slock_at(&self, loc: Loc) -> bool {
        if !cpu::step_at("sx_try_slock", self.lock_object.id(), loc) {
            return true;
        }
        self.check("sx_try_slock", loc);
        let mut x = self.sx_lock.read();
        while x & SX_LOCK_SHARED != 0 {
            match self.sx_lock.fcmpset_acq(x, x.wrapping_add(SX_ONE_SHARER)) {
                Ok(()) => {
                    witness::lock_try(&self.lock_object, false, loc);
                    self.count(1);
                    curthread().sx_slocks.add(1);
                    return true;
                }
                Err(seen) => x = seen,
            }
        }
        observe(self.sx_lock.as_ptr().cast(), 8);
        false
    }

    /// `sx_try_xlock()`.
    ///
    /// # Panics
    ///
    /// Rows 48 and 49 of the misuse table.
    #[track_caller]
    pub fn try_xlock(&self) -> bool {
        self.try_xlock_at(Loc::caller())
    }

    /// `sx_try_xlock_()`: what C calls.
    pub fn try_xlock_at(&self, loc: Loc) -> bool {
        if !cpu::step_at("sx_try_xlock", self.lock_object.id(), loc) {
            return true;
        }
        self.check("sx_try_xlock", loc);
        let mut taken = self.sx_lock.fcmpset_acq(SX_LOCK_UNLOCKED, curthread_word()).is_ok();
        // FreeBSD compares the whole word: who holds it twice already, or is waited for, does not get it again.
        if !taken && self.sx_lock.peek() == curthread_word() && self.lock_object.flags().contains(Lo::RECURSABLE) {
            self.recurse();
            taken = true;
        }
        if taken {
            witness::lock_try(&self.lock_object, true, loc);
            self.count(1);
        } else {
            observe(self.sx_lock.as_ptr().cast(), 8);
        }
        taken
    }

    /// `sx_try_upgrade()`: the only sharer becomes the exclusive owner.
    ///
    /// # Panics
    ///
    /// Rows 49, 52 and 74 of the misuse table.
    #[track_caller]
    pub fn try_upgrade(&self) -> bool {
        self.try_upgrade_at(Loc::caller())
    }

    /// `sx_try_upgrade_()`: what C calls.
    pub fn try_upgrade_at(&self, loc: Loc) -> bool {
        if !cpu::step_at("sx_try_upgrade", self.lock_object.id(), loc) {
            return true;
        }
        self.check_destroyed("sx_try_upgrade", loc);
        self.assert_at(sa::SLOCKED, loc);
        let mut x = self.sx_lock.read();
        // As SX_SHARERS() does, of an exclusive owner's word as well: nobody becomes the owner of another's lock.
        while x / SX_ONE_SHARER <= 1 {
            // The waiters' flags stay, so that they are woken when the lock is dropped.
            match self.sx_lock.fcmpset_acq(x, curthread_word() | x & SX_LOCK_WAITERS) {
                Ok(()) => {
                    curthread().sx_slocks.sub(1);
                    witness::upgrade(&self.lock_object, loc);
                    return true;
                }
                Err(seen) => x = seen,
            }
        }
        observe(self.sx_lock.as_ptr().cast(), 8);
        false
    }

    /// `sx_downgrade()`: the exclusive owner becomes a sharer and lets the waiting ones in.
    ///
    /// # Panics
    ///
    /// Rows 49, 51, 53 and 75 of the misuse table; `downgrade of a recursed lock`.
    #[track_caller]
    pub fn downgrade(&self) {
        self.downgrade_at(Loc::caller());
    }

    /// `sx_downgrade_()`: what C calls.
    pub fn downgrade_at(&self, loc: Loc) {
        if !cpu::step_at("sx_downgrade", self.lock_object.id(), loc) {
            return;
        }
        self.check_destroyed("sx_downgrade", loc);
        self.assert_at(sa::XLOCKED | sa::NOTRECURSED, loc);
        if self.recursed() {
            kpanic!("downgrade of a recursed lock");
        }
        witness::downgrade(&self.lock_object, loc);
        let shared = |x: usize| SX_LOCK_SHARED | SX_ONE_SHARER | x & SX_LOCK_EXCLUSIVE_WAITERS;
        let x = self.sx_lock.read();
        if x & SX_LOCK_SHARED_WAITERS != 0 || self.sx_lock.fcmpset_rel(x, shared(x)).is_err() {
            let wchan = self.lock_object.id();
            sleepqueue::lock(wchan);
            let x = self.sx_lock.read();
            self.sx_lock.store_rel(shared(x));
            if x & SX_LOCK_SHARED_WAITERS != 0 {
                sleepqueue::broadcast(wchan, Type::Sx, 0, SHARED);
            }
            sleepqueue::release(wchan);
        }
        curthread().sx_slocks.add(1);
    }

    /// `sx_unlock()`: releases it however the caller holds it.
    #[track_caller]
    pub fn unlock(&self) {
        let loc = Loc::caller();
        if self.owns() { self.xunlock_at(loc) } else { self.sunlock_at(loc) }
    }

    /// `lc_unlock`: releases it however the caller holds it; 1 means shared.
    pub(crate) fn unlock_either(&self, loc: Loc) -> usize {
        self.assert_at(sa::LOCKED | sa::NOTRECURSED, loc);
        if self.sx_lock.peek() & SX_LOCK_SHARED != 0 {
            self.sunlock_at(loc);
            1
        } else {
            self.xunlock_at(loc);
            0
        }
    }

    /// `lc_lock`: takes it as [`Sx::unlock_either`] left it.
    pub(crate) fn lock_either(&self, how: usize, loc: Loc) {
        // Neither is interruptible, so there is no error to look at.
        if how != 0 {
            self.slock_at(0, loc)
        } else {
            self.xlock_at(0, loc)
        };
    }

    /// `sx_assert()`. Who shares is not known: without WITNESS any sharer satisfies [`sa::SLOCKED`].
    ///
    /// # Panics
    ///
    /// Rows 51 to 53 and 77 of the misuse table (INVARIANTS).
    #[track_caller]
    pub fn assert(&self, what: u32) {
        self.assert_at(what, Loc::caller());
    }

    /// `_sx_assert()`.
    pub fn assert_at(&self, what: u32, loc: Loc) {
        if !cpu::invariants() {
            return;
        }
        let recursion = what & (sa::RECURSED | sa::NOTRECURSED);
        match what & !(sa::RECURSED | sa::NOTRECURSED) {
            // FreeBSD lists what it knows, and nothing that is both.
            _ if recursion == sa::RECURSED | sa::NOTRECURSED => kpanic!("Unknown sx lock assertion: {what} @ {loc}"),
            sa::LOCKED | sa::SLOCKED if cpu::witness() => witness::assert(&self.lock_object, what, loc),
            sa::LOCKED | sa::SLOCKED => {
                let x = self.sx_lock.look();
                let (shared, must_share) = (x & SX_LOCK_SHARED != 0, what & sa::SLOCKED != 0);
                if x == SX_LOCK_UNLOCKED || !shared && (must_share || !self.owns()) {
                    kpanic!("Lock {} not {}locked @ {loc}", self.name(), if must_share { "share " } else { "" });
                }
                if !shared {
                    self.assert_recursion(recursion, loc);
                }
            }
            sa::XLOCKED => {
                if !self.owns() {
                    kpanic!("Lock {} not exclusively locked @ {loc}", self.name());
                }
                self.assert_recursion(recursion, loc);
            }
            sa::UNLOCKED if recursion == 0 => {
                if cpu::witness() {
                    witness::assert(&self.lock_object, what, loc);
                } else if self.owns() {
                    kpanic!("Lock {} exclusively locked @ {loc}", self.name());
                }
            }
            _ => kpanic!("Unknown sx lock assertion: {what} @ {loc}"),
        }
    }

    fn assert_recursion(&self, recursion: u32, loc: Loc) {
        if self.recursed() {
            if recursion & sa::NOTRECURSED != 0 {
                kpanic!("Lock {} recursed @ {loc}", self.name());
            }
        } else if recursion & sa::RECURSED != 0 {
            kpanic!("Lock {} not recursed @ {loc}", self.name());
        }
    }
}

/// What an exclusive taker's second look found.
enum Queued {
    /// The lock was free, with or without waiters.
    Taken,
    /// Its owner runs.
    Retry,
    /// EXCLUSIVE_WAITERS is set.
    Sleep,
}

// SAFETY: a lock is made to be shared; its word orders all access to what it guards.
unsafe impl Sync for Sx {}
// SAFETY: a lock that moves is not held, and belongs to no thread.
unsafe impl Send for Sx {}
