//! mutex(9): sleep mutexes (adaptive, turnstile) and spin mutexes.
//!
//! # State of `mtx_lock`
//!
//! | word | meaning |
//! |---|---|
//! | 0 | free |
//! | owner | held, nobody waits |
//! | owner + RECURSED | held more than once; the count is in `lo_data` |
//! | owner + CONTESTED | held, threads wait on the turnstile; the owner must broadcast |
//! | DESTROYED | destroyed |
//!
//! # Algorithm
//!
//! A sleep mutex is taken by one cmpxchg. A contender spins while the owner runs, and blocks on the lock's turnstile
//! when it does not, lending its priority. Unlocking a contested mutex wakes all waiters, who compete again with whoever comes
//! along: there is no hand-off.
//!
//! A spin mutex is taken inside `spinlock_enter`, which a contender leaves while it waits.
//!
//! # Memory ordering
//!
//! The taking cmpxchg is an acquire, the releasing one (or the store under the chain lock) a release; they pair. Nothing else in
//! the word publishes data.
//!
//! # Deviations from FreeBSD
//!
//! `lock_delay`'s backoff is the engine's (`cpu::spinwait`); on `smp` the first rounds of adaptive spinning try for the mutex without
//! looking first, which is one transfer of the cache line instead of two. Spinning on a spin mutex is bounded by the engine's verdict in
//! `explore`, by a count in `smp`.
//!
//! References: kern/kern_mutex.c, sys/mutex.h, mutex(9).

use crate::atomic::Word;
use crate::cpu::{self, observe};
use crate::critical;
use crate::lock::{Lo, Loc, LockClass, LockObject};
use crate::panic::{kassert, kpanic, kprintf, mpass};
use crate::thread::{Thread, curthread, curthread_word};
use crate::{lint, lock_profile, turnstile, witness};
use bitflags::bitflags;
use core::ffi::CStr;

bitflags! {
    /// Options of [`Mtx::init`] and of lock operations.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Mtxf: u32 {
        /// `MTX_DEF`: a sleep mutex.
        const DEF = 0;
        /// `MTX_SPIN`.
        const SPIN = 0x0000_0001;
        /// `MTX_RECURSE`.
        const RECURSE = 0x0000_0004;
        /// `MTX_NOWITNESS`: invisible to WITNESS.
        const NOWITNESS = 0x0000_0008;
        /// `MTX_NOPROFILE`.
        const NOPROFILE = 0x0000_0020;
        /// `MTX_NEW`: re-initialising is fine.
        const NEW = 0x0000_0040;
        /// `MTX_QUIET`, `LOP_QUIET`.
        const QUIET = 0x0000_0002;
        /// `MTX_DUPOK`, `LOP_DUPOK`.
        const DUPOK = 0x0000_0010;
    }
}

/// `MTX_UNOWNED`.
pub const MTX_UNOWNED: usize = 0;
/// `MTX_RECURSED`.
pub const MTX_RECURSED: usize = 1;
/// `MTX_CONTESTED`.
pub const MTX_CONTESTED: usize = 2;
/// `MTX_DESTROYED`.
pub const MTX_DESTROYED: usize = 4;
/// `MTX_FLAGMASK`.
pub const MTX_FLAGMASK: usize = 7;

/// What [`Mtx::assert`] is to check: `MA_*`, which are `LA_*`.
pub mod ma {
    /// `MA_OWNED`.
    pub const OWNED: u32 = 4;
    /// `MA_NOTOWNED`.
    pub const NOTOWNED: u32 = 0;
    /// `LA_LOCKED`, which assert_mtx takes for owned.
    pub const LOCKED: u32 = 1;
    /// `MA_RECURSED`.
    pub const RECURSED: u32 = 8;
    /// `MA_NOTRECURSED`.
    pub const NOTRECURSED: u32 = 0x10;
}

/// How often a spin mutex is tried before `smp` calls it held too long.
const SPIN_LIMIT: u64 = 60_000_000;

/// `struct mtx`.
#[repr(C)]
#[derive(Debug)]
pub struct Mtx {
    lock_object: LockObject,
    mtx_lock: Word,
}

const _: () = {
    assert!(size_of::<Mtx>() == 32);
    assert!(core::mem::offset_of!(Mtx, mtx_lock) == 24);
};

/// Rounds of [`Mtx::spin_trying`].
const TRIES: u32 = 32;

impl Mtx {
    /// A mutex that was not initialised: zeroed memory. Using it is an error that FreeBSD reports in its own way (as a spin mutex
    /// without a name).
    pub const fn zeroed() -> Self {
        Self { lock_object: LockObject::zeroed(), mtx_lock: Word::new(MTX_UNOWNED) }
    }

    /// The mutex that `lock` is the head of.
    ///
    /// # Safety
    ///
    /// `lock` is the first member of a live `Mtx`.
    pub(crate) unsafe fn from_object(lock: &LockObject) -> &Self {
        // SAFETY: the caller's promise.
        unsafe { &*core::ptr::from_ref(lock).cast() }
    }

    /// The mutex whose lock word is at `cookie`: the C functions take `&m->mtx_lock`.
    ///
    /// # Safety
    ///
    /// `cookie` is the address of the `mtx_lock` of a live mutex.
    pub unsafe fn from_cookie<'a>(cookie: *const usize) -> &'a Self {
        // SAFETY: the caller's promise; the word is at offset 24.
        unsafe { &*cookie.byte_sub(core::mem::offset_of!(Self, mtx_lock)).cast() }
    }

    /// `lock_object`.
    pub fn object(&self) -> &LockObject {
        &self.lock_object
    }

    /// `mtx_init()`.
    ///
    /// # Panics
    ///
    /// MPASS on the options, `lock "%s" %p already initialized` (INVARIANTS).
    #[track_caller]
    pub fn init(&self, name: &'static CStr, opts: Mtxf) {
        self.init_typed(name, name, opts);
    }

    /// [`Mtx::init`] of a mutex whose order WITNESS knows by its type, and not by its name.
    ///
    /// # Panics
    ///
    /// Those of [`Mtx::init`].
    #[track_caller]
    pub fn init_typed(&self, name: &'static CStr, kind: &'static CStr, opts: Mtxf) {
        if !cpu::step("mtx_init", self.lock_object.id()) {
            return;
        }
        mpass!(
            // `!` of bitflags drops unknown bits, which are what this is about.
            opts.bits() & !Mtxf::all().bits() == 0,
            "(opts & ~(MTX_SPIN | MTX_QUIET | MTX_RECURSE | MTX_NOWITNESS | MTX_DUPOK | MTX_NOPROFILE | MTX_NEW)) == 0",
            Loc::caller()
        );
        let class = if opts.contains(Mtxf::SPIN) { LockClass::MtxSpin } else { LockClass::MtxSleep };
        let mut lo = Lo::empty();
        lo.set(Lo::QUIET, opts.contains(Mtxf::QUIET));
        lo.set(Lo::RECURSABLE, opts.contains(Mtxf::RECURSE));
        lo.set(Lo::WITNESS, !opts.contains(Mtxf::NOWITNESS));
        lo.set(Lo::DUPOK, opts.contains(Mtxf::DUPOK));
        lo.set(Lo::NOPROFILE, opts.contains(Mtxf::NOPROFILE));
        lo.set(Lo::NEW, opts.contains(Mtxf::NEW));
        self.lock_object.init_typed(class, name, kind, 0, lo);
        self.mtx_lock.set(MTX_UNOWNED);
    }

    /// `mtx_destroy()`: the caller may own it, once.
    ///
    /// # Panics
    ///
    /// MPASS if it is owned by another, recursed or contested (INVARIANTS).
    #[track_caller]
    pub fn destroy(&self) {
        if !cpu::step("mtx_destroy", self.lock_object.id()) {
            return;
        }
        let loc = Loc::caller();
        if self.owns() {
            mpass!(
                self.mtx_lock.peek() & (MTX_RECURSED | MTX_CONTESTED) == 0,
                "(m->mtx_lock & (MTX_RECURSED|MTX_CONTESTED)) == 0",
                loc
            );
            if self.is_spin() {
                critical::spinlock_exit_internal();
            } else {
                self.count(-1);
            }
            witness::unlock(&self.lock_object, true, loc);
        } else {
            mpass!(self.mtx_lock.peek() == MTX_UNOWNED, "mtx_unowned(m)", loc);
        }
        self.mtx_lock.set(MTX_DESTROYED);
        self.lock_object.destroy();
    }

    fn is_spin(&self) -> bool {
        self.lock_object.class() == LockClass::MtxSpin
    }

    fn name(&self) -> &'static str {
        self.lock_object.name()
    }

    /// `lv_mtx_owner()`.
    fn owner_of(word: usize) -> *mut Thread {
        (word & !MTX_FLAGMASK) as *mut Thread
    }

    /// The owner, for `show alllocks` and for tests.
    pub fn owner(&self) -> *const Thread {
        Self::owner_of(self.mtx_lock.peek())
    }

    /// `mtx_owned()`.
    #[inline]
    pub fn owned(&self) -> bool {
        self.mtx_lock.look() & !MTX_FLAGMASK == curthread_word()
    }

    /// The same inside a primitive, which touches the lock anyway.
    #[inline]
    pub(crate) fn owns(&self) -> bool {
        self.mtx_lock.peek() & !MTX_FLAGMASK == curthread_word()
    }

    /// `mtx_recursed()`: by the count, since a spin mutex's word says nothing of it.
    pub fn recursed(&self) -> bool {
        self.lock_object.data.get() != 0
    }

    /// `mtx_initialized()`.
    pub fn initialized(&self) -> bool {
        self.lock_object.flags().contains(Lo::INITIALIZED)
    }

    /// `mtx_lock()`: blocks until the mutex is the caller's. May not be used with a spin mutex held.
    ///
    /// # Panics
    ///
    /// Rows 7, 9, 12, 15, 64 and 97 of the misuse table.
    #[track_caller]
    #[inline]
    pub fn lock(&self) {
        self.lock_loc(Loc::caller());
    }

    /// [`Mtx::lock`] on behalf of code at `loc`.
    #[inline(always)]
    pub fn lock_loc(&self, loc: Loc) {
        if !self.lock_alone() {
            self.lock_at(0, loc);
        }
    }

    /// Takes a free mutex, if nothing is to be done at the boundary.
    #[inline(always)]
    pub(crate) fn lock_alone(&self) -> bool {
        cpu::word() == 0 && self.mtx_lock.raw().fcmpset_acq(MTX_UNOWNED, curthread_word()).is_ok()
    }

    /// `mtx_unlock()`.
    ///
    /// # Panics
    ///
    /// Rows 10, 13, 24, 25 of the misuse table.
    #[track_caller]
    #[inline]
    pub fn unlock(&self) {
        self.unlock_loc(Loc::caller());
    }

    /// [`Mtx::unlock`] on behalf of code at `loc`.
    #[inline(always)]
    pub fn unlock_loc(&self, loc: Loc) {
        if !self.unlock_alone() {
            self.unlock_at(loc);
        }
    }

    /// Gives back a mutex that is neither contested nor recursed, if nothing is to be done at the boundary.
    #[inline(always)]
    pub(crate) fn unlock_alone(&self) -> bool {
        cpu::word() == 0 && self.mtx_lock.raw().fcmpset_rel(curthread_word(), MTX_UNOWNED).is_ok()
    }

    /// `mtx_trylock()`: no critnest test, no lock order test, no priority lending. The owner of a recursive mutex gets it again
    /// only while it holds it once and nobody waits: FreeBSD compares the whole word, flags included.
    #[track_caller]
    #[inline]
    pub fn trylock(&self) -> bool {
        self.lock_alone() || self.trylock_at(0, Loc::caller())
    }

    /// `mtx_lock_flags()` with options, e.g. `MTX_DUPOK`.
    #[track_caller]
    pub fn lock_flags(&self, opts: Mtxf) {
        self.lock_at(opts.bits(), Loc::caller());
    }

    /// `__mtx_lock_flags()`, when something is to be done besides taking a free mutex.
    #[cold]
    #[inline(never)]
    pub fn lock_at(&self, opts: u32, loc: Loc) {
        if opts != 0 || !self.lock_checked(loc) {
            self.lock_slow(opts, loc);
        }
    }

    /// Takes a free mutex if checks are all that there is to do, and have nothing to say. False, and nothing done, otherwise.
    #[inline(always)]
    fn lock_checked(&self, loc: Loc) -> bool {
        // Without checks, the caller has found the mutex taken just now, or does not hurry.
        let (word, td) = (cpu::word(), curthread());
        if !cpu::only_checks(word)
            || !self.lock_object.is(LockClass::MtxSleep)
            || td.is_idle()
            || !witness::may_take(&self.lock_object, td)
        {
            return false;
        }
        // That the mutex was free says that it is not destroyed.
        if self.mtx_lock.raw().fcmpset_acq(MTX_UNOWNED, td.ptr() as usize).is_err() {
            return false;
        }
        // SAFETY: asked above; nothing but this mutex's word has changed since.
        unsafe { witness::took(&self.lock_object, td, loc) };
        if cpu::checks_invariants(word) {
            td.locks.add(1);
        }
        true
    }

    /// [`Mtx::lock_at`], the long way.
    #[inline(never)]
    fn lock_slow(&self, opts: u32, loc: Loc) {
        if !cpu::step_here("mtx_lock", self.lock_object.id(), loc) {
            return;
        }
        self.check_usable("mtx_lock", loc);
        lint::blocking("mtx_lock", &self.lock_object, loc);
        witness::checkorder(&self.lock_object, true, opts & Mtxf::DUPOK.bits() != 0, None, loc);
        // Without checks, most callers have found it taken just now, and the owner wants the cache line back.
        if cpu::word() == 0 && self.mtx_lock.peek() != MTX_UNOWNED
            || self.mtx_lock.fcmpset_acq(MTX_UNOWNED, curthread_word()).is_err()
        {
            self.lock_sleep(opts, loc);
            if cpu::scheduler_stopped() {
                return;
            }
        }
        witness::lock(&self.lock_object, true, loc);
        self.count(1);
    }

    /// What mtx_lock and mtx_trylock, `what`, assert first.
    #[inline(always)]
    fn check_usable(&self, what: &str, loc: Loc) {
        // One look at whether there is anything to say, before those at whether it is to be said.
        let td = curthread();
        if td.is_idle() || self.mtx_lock.peek() == MTX_DESTROYED || self.lock_object.is(LockClass::MtxSpin) {
            kassert!(!td.is_idle(), "{what}() by idle thread {:p} on sleep mutex {} @ {loc}", td.ptr(), self.name());
            kassert!(self.mtx_lock.peek() != MTX_DESTROYED, "{what}() of destroyed mutex @ {loc}");
            kassert!(!self.is_spin(), "{what}() of spin mutex {} @ {loc}", self.name());
        }
    }

    /// `__mtx_lock_sleep()`.
    fn lock_sleep(&self, opts: u32, loc: Loc) {
        let td = curthread();
        if Self::owner_of(self.mtx_lock.peek()) == td.ptr() {
            kassert!(
                self.lock_object.flags().contains(Lo::RECURSABLE) || opts & Mtxf::RECURSE.bits() != 0,
                "_mtx_lock_sleep: recursed on non-recursive mutex {} @ {loc}",
                self.name()
            );
            self.lock_object.data.add(1);
            self.mtx_lock.fetch_or(MTX_RECURSED);
            return;
        }
        if self.spin_trying() {
            return;
        }
        loop {
            let v = self.mtx_lock.read();
            if v == MTX_UNOWNED {
                if self.mtx_lock.fcmpset_acq(MTX_UNOWNED, curthread_word()).is_ok() {
                    return;
                }
                continue;
            }
            let owner = Self::owner_of(v);
            if owner.is_null() {
                // Without INVARIANTS, a destroyed mutex: FreeBSD reads td_state at a small address.
                kpanic!("page fault");
            }
            if self.spin_while_running(v, owner) {
                if cpu::scheduler_stopped() {
                    return;
                }
                continue;
            }
            turnstile::trywait();
            let v = self.mtx_lock.read();
            let owner = Self::owner_of(v);
            // SAFETY: threads are type-stable, and the word names one.
            if owner.is_null() || unsafe { (*owner).worth_spinning() } {
                turnstile::cancel();
                continue;
            }
            if v & MTX_CONTESTED == 0 && self.mtx_lock.fcmpset_acq(v, v | MTX_CONTESTED).is_err() {
                turnstile::cancel();
                continue;
            }
            turnstile::wait(&self.lock_object, owner, turnstile::EXCLUSIVE);
            if cpu::scheduler_stopped() {
                return;
            }
        }
    }

    /// Adaptive spinning on `smp`, its first rounds: tries instead of looking whether it is worth trying. A look brings the cache line to
    /// this CPU, and the try that follows takes it from the owner's: where CPUs are far apart each is a good part of a hand-off. True
    /// if it has the mutex now.
    ///
    /// Only the first rounds, since many that try hinder the owner.
    fn spin_trying(&self) -> bool {
        lock_profile::waits(&self.lock_object);
        for _ in 0..TRIES {
            if !cpu::may_hurry() {
                return false;
            }
            core::hint::spin_loop();
            core::hint::spin_loop();
            match self.mtx_lock.raw().fcmpset_acq(MTX_UNOWNED, curthread_word()) {
                Ok(()) => return true,
                Err(v) => {
                    let owner = Self::owner_of(v);
                    // SAFETY: threads are type-stable, and the word named one.
                    if owner.is_null() || !unsafe { (*owner).worth_spinning() } {
                        return false;
                    }
                }
            }
        }
        false
    }

    /// Adaptive spinning: true if it waited for a running owner, so that the word is to be read again.
    fn spin_while_running(&self, v: usize, owner: *mut Thread) -> bool {
        // SAFETY: threads are type-stable, and the word named one.
        if !unsafe { (*owner).worth_spinning() } {
            return false;
        }
        // SAFETY: threads are type-stable: `is_running` may be stale but reads a thread.
        while self.mtx_lock.peek() == v && unsafe { (*owner).is_running() } {
            cpu::observe_only(self.mtx_lock.as_ptr().cast(), 8);
            // SAFETY: threads are type-stable: only the state word is watched.
            unsafe { (*owner).observe_running() };
            if !cpu::spinwait_on(&self.lock_object) {
                break;
            }
        }
        true
    }

    /// `mtx_trylock_flags_()`.
    #[cold]
    #[inline(never)]
    pub fn trylock_at(&self, opts: u32, loc: Loc) -> bool {
        if !cpu::step_here("mtx_trylock", self.lock_object.id(), loc) {
            return true;
        }
        self.check_usable("mtx_trylock", loc);
        let taken = match self.mtx_lock.fcmpset_acq(MTX_UNOWNED, curthread_word()) {
            Ok(()) => true,
            Err(v)
                if v == curthread_word()
                    && (self.lock_object.flags().contains(Lo::RECURSABLE) || opts & Mtxf::RECURSE.bits() != 0) =>
            {
                self.lock_object.data.add(1);
                self.mtx_lock.fetch_or(MTX_RECURSED);
                true
            }
            Err(_) => {
                observe(self.mtx_lock.as_ptr().cast(), 8);
                false
            }
        };
        if taken {
            witness::lock_try(&self.lock_object, true, loc);
            self.count(1);
        }
        taken
    }

    /// `__mtx_unlock_flags()`, when something is to be done besides freeing the mutex.
    #[cold]
    #[inline(never)]
    pub fn unlock_at(&self, loc: Loc) {
        if !self.unlock_checked() {
            self.unlock_slow(loc);
        }
    }

    /// Gives back the mutex taken last, if checks are all that there is to do, and have nothing to say. False, and nothing done, otherwise.
    #[inline(always)]
    fn unlock_checked(&self) -> bool {
        let (word, td) = (cpu::word(), curthread());
        if !cpu::only_checks(word) || !self.lock_object.is(LockClass::MtxSleep) {
            return false;
        }
        let Some(listed) = witness::is_latest(&self.lock_object, td) else { return false };
        // That it was the caller's, and no more than that, says that it is neither destroyed nor another's nor recursed nor contested.
        if self.mtx_lock.raw().fcmpset_rel(td.ptr() as usize, MTX_UNOWNED).is_err() {
            return false;
        }
        // The mutex may be another's from here on, or gone.
        if listed {
            // SAFETY: asked above; nothing but the mutex's word has changed since.
            unsafe { witness::forget_latest(td) };
        }
        if cpu::checks_invariants(word) {
            td.locks.sub(1);
        }
        true
    }

    /// [`Mtx::unlock_at`], the long way.
    #[inline(never)]
    fn unlock_slow(&self, loc: Loc) {
        if !cpu::step_here("mtx_unlock", self.lock_object.id(), loc) {
            return;
        }
        if self.mtx_lock.peek() == MTX_DESTROYED || self.lock_object.is(LockClass::MtxSpin) {
            kassert!(self.mtx_lock.peek() != MTX_DESTROYED, "mtx_unlock() of destroyed mutex @ {loc}");
            kassert!(!self.is_spin(), "mtx_unlock() of spin mutex {} @ {loc}", self.name());
        }
        witness::unlock(&self.lock_object, true, loc);
        self.assert_at(ma::OWNED, loc);
        if self.mtx_lock.fcmpset_rel(curthread_word(), MTX_UNOWNED).is_err() {
            self.unlock_sleep();
        }
        self.count(-1);
    }

    /// `__mtx_unlock_sleep()`.
    fn unlock_sleep(&self) {
        let v = self.mtx_lock.read();
        if v & MTX_RECURSED != 0 {
            self.lock_object.data.sub(1);
            if self.lock_object.data.get() == 0 {
                self.mtx_lock.clear(MTX_RECURSED);
            }
            return;
        }
        turnstile::chain_lock();
        self.mtx_lock.store_rel(MTX_UNOWNED);
        turnstile::broadcast(&self.lock_object, turnstile::EXCLUSIVE);
        turnstile::chain_unlock();
    }

    /// `TD_LOCKS_INC` and `TD_LOCKS_DEC`: INVARIANTS only.
    fn count(&self, n: i32) {
        if cpu::invariants() {
            curthread().locks.add(n);
        }
    }

    /// `mtx_lock_spin()`: interrupts stay off until [`Mtx::unlock_spin`].
    ///
    /// # Panics
    ///
    /// Rows 16, 17, 18 and 22 of the misuse table.
    #[track_caller]
    #[inline]
    pub fn lock_spin(&self) {
        self.lock_spin_loc(Loc::caller());
    }

    /// [`Mtx::lock_spin`] on behalf of code at `loc`.
    #[inline(always)]
    pub fn lock_spin_loc(&self, loc: Loc) {
        if !self.lock_spin_alone() {
            self.lock_spin_at(0, loc);
        }
    }

    /// Takes a free spin mutex, if nothing is to be done at the boundary.
    #[inline(always)]
    pub(crate) fn lock_spin_alone(&self) -> bool {
        if cpu::word() != 0 {
            return false;
        }
        critical::spinlock_enter_internal();
        let taken = self.mtx_lock.raw().fcmpset_acq(MTX_UNOWNED, curthread_word()).is_ok();
        if !taken {
            critical::spinlock_exit_internal();
        }
        taken
    }

    /// `__mtx_lock_spin_flags()`, the long way.
    #[cold]
    #[inline(never)]
    pub fn lock_spin_at(&self, opts: u32, loc: Loc) {
        if !cpu::step_at("mtx_lock_spin", self.lock_object.id(), loc) {
            return;
        }
        kassert!(self.mtx_lock.peek() != MTX_DESTROYED, "mtx_lock_spin() of destroyed mutex @ {loc}");
        kassert!(self.is_spin(), "mtx_lock_spin() of sleep mutex {} @ {loc}", self.name());
        if self.owns() {
            kassert!(
                self.lock_object.flags().contains(Lo::RECURSABLE) || opts & Mtxf::RECURSE.bits() != 0,
                "mtx_lock_spin: recursed on non-recursive mutex {} @ {loc}",
                self.name()
            );
        }
        witness::checkorder(&self.lock_object, true, opts & Mtxf::DUPOK.bits() != 0, None, loc);
        critical::spinlock_enter_internal();
        // The whole word: flags, which only a sleep mutex has, are not expected here, and FreeBSD spins on them.
        if self.mtx_lock.peek() == curthread_word() {
            self.lock_object.data.add(1);
        } else {
            let mut tries = 0u64;
            while let Err(v) = self.mtx_lock.fcmpset_acq(MTX_UNOWNED, curthread_word()) {
                critical::spinlock_exit_internal();
                tries += 1;
                if !self.spin_wait(v, &mut tries) {
                    return;
                }
                critical::spinlock_enter_internal();
            }
            curthread().spinning_on_spin_mutex.set(false);
        }
        witness::lock(&self.lock_object, true, loc);
    }

    /// One round of waiting for a spin mutex; false when the machine has stopped. The caller clears `spinning_on_spin_mutex` after the
    /// last: a watchdog that looks between two rounds is to find it.
    fn spin_wait(&self, v: usize, tries: &mut u64) -> bool {
        let td = curthread();
        cpu::observe_only(self.mtx_lock.as_ptr().cast(), 8);
        let owner = Self::owner_of(v);
        // Of a word without an owner, a destroyed mutex's, FreeBSD's watchdog says nothing.
        td.spinning_on_spin_mutex.set(!owner.is_null());
        let go_on = cpu::spinwait_on(&self.lock_object);
        if (td.spun_too_long.get() || *tries > SPIN_LIMIT) && !owner.is_null() {
            // SAFETY: threads are type-stable, and the word named one.
            self.spun_too_long(unsafe { &*owner });
        }
        go_on
    }

    /// `_mtx_lock_indefinite_check()`.
    #[cold]
    fn spun_too_long(&self, owner: &Thread) -> ! {
        kprintf!(
            "spin lock {:p} ({}) held by {:p} (tid {}) too long",
            core::ptr::from_ref(self),
            self.name(),
            owner.ptr(),
            owner.tid
        );
        witness::display_spinlock(&self.lock_object, owner);
        kpanic!("spin lock held too long");
    }

    /// `mtx_spin_wait_unlocked()`: spins until nobody owns it, without taking it.
    ///
    /// # Panics
    ///
    /// Rows 22 and 35 of the misuse table.
    pub fn spin_wait_unlocked(&self) {
        if !cpu::step("mtx_spin_wait_unlocked", self.lock_object.id()) {
            return;
        }
        let at = core::ptr::from_ref(self);
        let (func, name) = ("mtx_spin_wait_unlocked", self.name());
        kassert!(self.mtx_lock.peek() != MTX_DESTROYED, "{func}() of destroyed mutex {at:p}");
        kassert!(self.is_spin(), "{func}() of sleep mutex {at:p} ({name})");
        kassert!(!self.owns(), "{func}() waiting on myself on lock {at:p} ({name})");
        let mut tries = 0;
        loop {
            // ORDERING: acquire, pairs with the owner's release.
            let v = self.mtx_lock.load_acq();
            tries += 1;
            if v == MTX_UNOWNED || !self.spin_wait(v, &mut tries) {
                break;
            }
        }
        curthread().spinning_on_spin_mutex.set(false);
    }

    /// `mtx_wait_unlocked()`: returns once nobody owns it, or its owner of now has let it go.
    ///
    /// # Panics
    ///
    /// `mtx_wait_unlocked() of destroyed mutex %p`, `... not a sleep mutex ...`, `... waiting on myself on lock ...` (INVARIANTS), and those of
    /// mtx_lock().
    pub fn wait_unlocked_at(&self, loc: Loc) {
        if !cpu::step("mtx_wait_unlocked", self.lock_object.id()) {
            return;
        }
        let at = core::ptr::from_ref(self);
        let (func, name) = ("mtx_wait_unlocked", self.name());
        kassert!(self.mtx_lock.peek() != MTX_DESTROYED, "{func}() of destroyed mutex {at:p}");
        kassert!(!self.is_spin(), "{func}() not a sleep mutex {at:p} ({name})");
        kassert!(!self.owns(), "{func}() waiting on myself on lock {at:p} ({name})");
        loop {
            // ORDERING: acquire, pairs with the owner's release.
            let v = self.mtx_lock.load_acq();
            if v == MTX_UNOWNED {
                return;
            }
            let owner = Self::owner_of(v);
            if owner.is_null() {
                // A destroyed mutex, without INVARIANTS.
                kpanic!("page fault");
            }
            // SAFETY: threads are type-stable, and the word named one.
            let owner = unsafe { &*owner };
            if !owner.still_runs() {
                self.lock_at(0, loc);
                self.unlock_at(loc);
                return;
            }
            cpu::observe_only(self.mtx_lock.as_ptr().cast(), 8);
            owner.observe_running();
            if !cpu::spinwait_on(&self.lock_object) {
                return;
            }
        }
    }

    /// `mtx_trylock_spin()`.
    #[track_caller]
    pub fn trylock_spin(&self) -> bool {
        self.trylock_spin_at(0, Loc::caller())
    }

    /// `__mtx_trylock_spin_flags()`.
    pub fn trylock_spin_at(&self, opts: u32, loc: Loc) -> bool {
        if !cpu::step_at("mtx_trylock_spin", self.lock_object.id(), loc) {
            return true;
        }
        kassert!(self.mtx_lock.peek() != MTX_DESTROYED, "mtx_trylock_spin() of destroyed mutex @ {loc}");
        kassert!(self.is_spin(), "mtx_trylock_spin() of sleep mutex {} @ {loc}", self.name());
        kassert!(
            opts & Mtxf::RECURSE.bits() == 0,
            "mtx_trylock_spin: unsupp. opt MTX_RECURSE on mutex {} @ {loc}",
            self.name()
        );
        critical::spinlock_enter_internal();
        if self.mtx_lock.fcmpset_acq(MTX_UNOWNED, curthread_word()).is_ok() {
            witness::lock_try(&self.lock_object, true, loc);
            return true;
        }
        observe(self.mtx_lock.as_ptr().cast(), 8);
        critical::spinlock_exit_internal();
        false
    }

    /// `mtx_unlock_spin()`.
    ///
    /// # Panics
    ///
    /// Row 19 of the misuse table, and 24 or 25 if the caller does not own it.
    #[track_caller]
    #[inline]
    pub fn unlock_spin(&self) {
        self.unlock_spin_loc(Loc::caller());
    }

    /// [`Mtx::unlock_spin`] on behalf of code at `loc`.
    #[inline(always)]
    pub fn unlock_spin_loc(&self, loc: Loc) {
        if !self.unlock_spin_alone() {
            self.unlock_spin_at(loc);
        }
    }

    /// Gives back a spin mutex that is not recursed, if nothing is to be done at the boundary.
    #[inline(always)]
    pub(crate) fn unlock_spin_alone(&self) -> bool {
        if cpu::word() != 0 || self.lock_object.data.get() != 0 {
            return false;
        }
        self.mtx_lock.raw().store_rel(MTX_UNOWNED);
        critical::spinlock_exit_internal();
        true
    }

    /// `__mtx_unlock_spin_flags()`, the long way.
    #[cold]
    #[inline(never)]
    pub fn unlock_spin_at(&self, loc: Loc) {
        if !cpu::step_at("mtx_unlock_spin", self.lock_object.id(), loc) {
            return;
        }
        kassert!(self.mtx_lock.peek() != MTX_DESTROYED, "mtx_unlock_spin() of destroyed mutex @ {loc}");
        kassert!(self.is_spin(), "mtx_unlock_spin() of sleep mutex {} @ {loc}", self.name());
        witness::unlock(&self.lock_object, true, loc);
        self.assert_at(ma::OWNED, loc);
        if self.lock_object.data.get() > 0 {
            self.lock_object.data.sub(1);
        } else {
            self.mtx_lock.store_rel(MTX_UNOWNED);
        }
        critical::spinlock_exit_internal();
    }

    /// `mtx_assert()`.
    ///
    /// # Panics
    ///
    /// Rows 24, 26 and 27 of the misuse table (INVARIANTS).
    #[track_caller]
    pub fn assert(&self, what: u32) {
        self.assert_at(what, Loc::caller());
    }

    /// `__mtx_assert()`.
    pub fn assert_at(&self, what: u32, loc: Loc) {
        if !cpu::invariants() {
            return;
        }
        let recursion = what & (ma::RECURSED | ma::NOTRECURSED);
        match what & !(ma::RECURSED | ma::NOTRECURSED) {
            // FreeBSD lists what it knows, and nothing that is both.
            _ if recursion == ma::RECURSED | ma::NOTRECURSED => kpanic!("unknown mtx_assert at {loc}"),
            ma::OWNED => {
                if !self.owns() {
                    kpanic!("mutex {} not owned at {loc}", self.name());
                }
                if self.recursed() {
                    if recursion & ma::NOTRECURSED != 0 {
                        kpanic!("mutex {} recursed at {loc}", self.name());
                    }
                } else if recursion & ma::RECURSED != 0 {
                    kpanic!("mutex {} unrecursed at {loc}", self.name());
                }
            }
            ma::NOTOWNED if recursion == 0 => {
                if self.owns() {
                    kpanic!("mutex {} owned at {loc}", self.name());
                }
            }
            _ => kpanic!("unknown mtx_assert at {loc}"),
        }
    }
}

// SAFETY: a mutex is made to be shared; its word orders all access to what it guards.
unsafe impl Sync for Mtx {}
// SAFETY: a mutex that moves is not locked, and belongs to no thread.
unsafe impl Send for Mtx {}
