//! rwlock(9): reader/writer locks that may be held in a bounded section, with priority lending to writers.
//!
//! # State of `rw_lock`
//!
//! | word | meaning |
//! |---|---|
//! | READ (1) | free: read mode without readers |
//! | READ + n * 32 | n readers, who are not known by name |
//! | owner | held by a writer |
//! | ... + READ_WAITERS, WRITE_WAITERS | threads wait in the turnstile's shared, exclusive queue |
//! | READ + ... + WRITE_SPINNER | a writer spins for the readers to leave |
//! | owner + WRITER_RECURSED | held more than once; the count is in `lo_data` |
//! | READ_WAITERS + WRITE_WAITERS | destroyed |
//!
//! # Algorithm
//!
//! A reader adds one to the count, unless a writer waits or spins; but a thread that holds *any* rwlock for reading may always
//! add another (`td_rw_rlocks`), or it would wait for a writer that waits for it. A writer swaps its name in for the free word.
//! A contender spins while a writer that holds the lock runs. A writer that finds readers spins a bounded while, announced by
//! WRITE_SPINNER and inside a critical section that it has left before it blocks. Everybody else blocks on the turnstile,
//! lending priority to a writer and to nobody if readers hold the lock.
//!
//! Who frees the lock wakes all waiting writers, or all waiting readers if no writer waits. There is no hand-off: they
//! compete again, and a writer that takes the lock while others still wait claims the turnstile.
//!
//! try_rlock ignores waiting writers altogether. wlock by a reader is not noticed here, only by WITNESS.
//!
//! # Memory ordering
//!
//! Every cmpxchg that takes is an acquire, every one (or store under the chain lock) that releases a release; they pair. The
//! flags are set by acquiring cmpxchgs and publish nothing; what they announce is ordered by the turnstile's chain lock.
//!
//! # Deviations from FreeBSD
//!
//! Backoff is the engine's (`cpu::spinwait`); bounded spins last as long as `cpu::bounded_spin` says. A writer that gave up waiting for an
//! owner, and finds readers once the chain is locked, blocks, where FreeBSD's first spins for them. A zeroed lock looks
//! write-locked by thread null, which on FreeBSD ends in a page fault: here in a panic of that text.
//!
//! References: kern/kern_rwlock.c, sys/rwlock.h, rwlock(9).

use crate::atomic::Word;
use crate::cpu::{self, observe};
use crate::critical;
use crate::lock::{Lo, Loc, LockClass, LockObject};
use crate::panic::{kassert, kpanic, mpass};
use crate::thread::{Thread, curthread, curthread_word};
use crate::{turnstile, witness};
use bitflags::bitflags;
use core::ffi::CStr;

bitflags! {
    /// Options of [`Rw::init`]: `RW_*`.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Rwf: u32 {
        /// `RW_DUPOK`.
        const DUPOK = 0x01;
        /// `RW_NOPROFILE`.
        const NOPROFILE = 0x02;
        /// `RW_NOWITNESS`: invisible to WITNESS.
        const NOWITNESS = 0x04;
        /// `RW_QUIET`.
        const QUIET = 0x08;
        /// `RW_RECURSE`: a writer may take it again.
        const RECURSE = 0x10;
        /// `RW_NEW`: re-initialising is fine.
        const NEW = 0x20;
    }
}

/// `RW_LOCK_READ`.
pub const RW_LOCK_READ: usize = 0x01;
/// `RW_LOCK_READ_WAITERS`.
pub const RW_LOCK_READ_WAITERS: usize = 0x02;
/// `RW_LOCK_WRITE_WAITERS`.
pub const RW_LOCK_WRITE_WAITERS: usize = 0x04;
/// `RW_LOCK_WRITE_SPINNER`.
pub const RW_LOCK_WRITE_SPINNER: usize = 0x08;
/// `RW_LOCK_WRITER_RECURSED`.
pub const RW_LOCK_WRITER_RECURSED: usize = 0x10;
/// `RW_LOCK_FLAGMASK`.
pub const RW_LOCK_FLAGMASK: usize = 0x1f;
/// `RW_LOCK_WAITERS`.
pub const RW_LOCK_WAITERS: usize = RW_LOCK_READ_WAITERS | RW_LOCK_WRITE_WAITERS;
/// `RW_ONE_READER`.
pub const RW_ONE_READER: usize = 1 << 5;
/// `RW_UNLOCKED`.
pub const RW_UNLOCKED: usize = RW_LOCK_READ;
/// `RW_DESTROYED`.
pub const RW_DESTROYED: usize = RW_LOCK_WAITERS;

/// What [`Rw::assert`] is to check: `RA_*`, which are `LA_*`.
pub mod ra {
    /// `RA_UNLOCKED`.
    pub const UNLOCKED: u32 = 0;
    /// `RA_LOCKED`: either way.
    pub const LOCKED: u32 = 1;
    /// `RA_RLOCKED`.
    pub const RLOCKED: u32 = 2;
    /// `RA_WLOCKED`.
    pub const WLOCKED: u32 = 4;
    /// `RA_RECURSED`.
    pub const RECURSED: u32 = 8;
    /// `RA_NOTRECURSED`.
    pub const NOTRECURSED: u32 = 0x10;
}

/// Looks that a bounded spin takes at the word: `rowner_retries` times a scaled `rowner_loops`.
const SPINS: u32 = 10 * 64;

/// `struct rwlock`.
#[repr(C)]
#[derive(Debug)]
pub struct Rw {
    lock_object: LockObject,
    rw_lock: Word,
}

const _: () = {
    assert!(size_of::<Rw>() == 32);
    assert!(core::mem::offset_of!(Rw, rw_lock) == 24);
    // Thread pointers leave the flags free.
    assert!(align_of::<Thread>() > RW_LOCK_FLAGMASK);
};

/// `RW_READERS()`.
fn readers(v: usize) -> usize {
    if v & RW_LOCK_READ == 0 { 0 } else { v / RW_ONE_READER }
}

/// Whether a reader leaves nobody behind that it would have to wake.
fn may_leave(v: usize) -> bool {
    v / RW_ONE_READER > 1 || v & RW_LOCK_WAITERS == 0
}

/// `__rw_can_read()`; `fast` leaves `td_rw_rlocks` to the slow path.
fn can_read(td: &Thread, v: usize, fast: bool) -> bool {
    v & (RW_LOCK_READ | RW_LOCK_WRITE_WAITERS | RW_LOCK_WRITE_SPINNER) == RW_LOCK_READ
        || !fast && td.rw_rlocks.get() != 0 && v & RW_LOCK_READ != 0
}

/// `lv_rw_wowner()`: the writer that holds it; null for readers.
fn wowner(v: usize) -> *mut Thread {
    if v & RW_LOCK_READ != 0 { core::ptr::null_mut() } else { (v & !RW_LOCK_FLAGMASK) as *mut Thread }
}

/// Whether a writer holds it that runs on another CPU.
fn owner_runs(v: usize) -> bool {
    if v & RW_LOCK_READ != 0 {
        return false;
    }
    let owner = wowner(v);
    if owner.is_null() {
        // Zeroed or, without INVARIANTS, destroyed memory: FreeBSD reads td_state at a small address.
        kpanic!("page fault");
    }
    // SAFETY: threads are type-stable, and the word names one.
    unsafe { (*owner).worth_spinning() }
}

impl Rw {
    /// A lock that was not initialised: zeroed memory.
    pub const fn zeroed() -> Self {
        Self { lock_object: LockObject::zeroed(), rw_lock: Word::new(0) }
    }

    /// The rwlock that `lock` is the head of.
    ///
    /// # Safety
    ///
    /// `lock` is the first member of a live `Rw`.
    pub(crate) unsafe fn from_object(lock: &LockObject) -> &Self {
        // SAFETY: the caller's promise.
        unsafe { &*core::ptr::from_ref(lock).cast() }
    }

    /// The rwlock whose lock word is at `cookie`: the C functions take `&rw->rw_lock`.
    ///
    /// # Safety
    ///
    /// `cookie` is the address of the `rw_lock` of a live rwlock.
    pub unsafe fn from_cookie<'a>(cookie: *const usize) -> &'a Self {
        // SAFETY: the caller's promise; the word is at offset 24.
        unsafe { &*cookie.byte_sub(core::mem::offset_of!(Self, rw_lock)).cast() }
    }

    /// `lock_object`.
    pub fn object(&self) -> &LockObject {
        &self.lock_object
    }

    fn name(&self) -> &'static str {
        self.lock_object.name()
    }

    /// `rw_init_flags()`.
    ///
    /// # Panics
    ///
    /// MPASS on the options, `lock "%s" %p already initialized` (INVARIANTS).
    #[track_caller]
    pub fn init(&self, name: &'static CStr, opts: Rwf) {
        if !cpu::step("rw_init", self.lock_object.id()) {
            return;
        }
        mpass!(
            // `!` of bitflags drops unknown bits, which are what this is about.
            opts.bits() & !Rwf::all().bits() == 0,
            "(opts & ~(RW_DUPOK | RW_NOPROFILE | RW_NOWITNESS | RW_QUIET | RW_RECURSE | RW_NEW)) == 0",
            Loc::caller()
        );
        let mut lo = Lo::empty();
        lo.set(Lo::DUPOK, opts.contains(Rwf::DUPOK));
        lo.set(Lo::NOPROFILE, opts.contains(Rwf::NOPROFILE));
        lo.set(Lo::WITNESS, !opts.contains(Rwf::NOWITNESS));
        lo.set(Lo::RECURSABLE, opts.contains(Rwf::RECURSE));
        lo.set(Lo::QUIET, opts.contains(Rwf::QUIET));
        lo.set(Lo::NEW, opts.contains(Rwf::NEW));
        self.lock_object.init(LockClass::Rw, name, 0, lo);
        self.rw_lock.set(RW_UNLOCKED);
    }

    /// `rw_destroy()`: nobody may hold it.
    ///
    /// # Panics
    ///
    /// Row 45 of the misuse table (INVARIANTS).
    pub fn destroy(&self) {
        if !cpu::step("rw_destroy", self.lock_object.id()) {
            return;
        }
        kassert!(self.rw_lock.peek() == RW_UNLOCKED, "rw lock {:p} not unlocked", core::ptr::from_ref(self));
        kassert!(self.lock_object.data.get() == 0, "rw lock {:p} still recursed", core::ptr::from_ref(self));
        self.rw_lock.set(RW_DESTROYED);
        self.lock_object.destroy();
    }

    /// `rw_wowned()`: whether the caller holds it for writing.
    #[inline]
    pub fn wowned(&self) -> bool {
        let v = self.rw_lock.look();
        v & RW_LOCK_READ == 0 && v & !RW_LOCK_FLAGMASK == curthread_word()
    }

    /// The same inside a primitive, which touches the lock anyway.
    #[inline]
    fn owns(&self) -> bool {
        let v = self.rw_lock.peek();
        v & RW_LOCK_READ == 0 && v & !RW_LOCK_FLAGMASK == curthread_word()
    }

    /// The writer that holds it, if one does; for `show alllocks` and for tests.
    pub fn owner(&self) -> *const Thread {
        wowner(self.rw_lock.peek())
    }

    /// Whether a writer or a reader holds it, as far as can be seen without it.
    pub fn is_locked(&self) -> bool {
        let (readers, writer) = self.holders();
        readers || !writer.is_null()
    }

    /// Whether there are readers, and the writer.
    pub(crate) fn holders(&self) -> (bool, *const Thread) {
        let v = self.rw_lock.look();
        (v & RW_LOCK_READ != 0 && readers(v) != 0, wowner(v))
    }

    /// `rw_recursed()`.
    fn recursed(&self) -> bool {
        self.lock_object.data.get() != 0
    }

    /// `rw_initialized()`.
    pub fn initialized(&self) -> bool {
        self.lock_object.flags().contains(Lo::INITIALIZED)
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
        kassert!(!td.is_idle(), "{what}() by idle thread {:p} on rwlock {} @ {loc}", td.ptr(), self.name());
        self.check_destroyed(what, loc);
    }

    fn check_destroyed(&self, what: &str, loc: Loc) {
        kassert!(self.rw_lock.peek() != RW_DESTROYED, "{what}() of destroyed rwlock @ {loc}");
    }

    /// `rw_rlock()`: blocks until the caller is one of the readers. Waits for waiting writers, unless the caller reads
    /// any rwlock already.
    ///
    /// # Panics
    ///
    /// Rows 36 to 38 and 64 of the misuse table, and mi_switch's if it blocks in a critical section.
    #[track_caller]
    #[inline]
    pub fn rlock(&self) {
        if !self.rlock_alone() {
            self.rlock_at(Loc::caller());
        }
    }

    /// Takes a lock that a reader may have at once, if nothing is to be done at the boundary.
    #[inline(always)]
    fn rlock_alone(&self) -> bool {
        let (td, word) = (curthread(), self.rw_lock.raw());
        let v = word.read();
        let taken =
            cpu::word() == 0 && can_read(td, v, true) && word.fcmpset_acq(v, v.wrapping_add(RW_ONE_READER)).is_ok();
        if taken {
            td.rw_rlocks.add(1);
        }
        taken
    }

    /// `__rw_rlock()`: what C calls.
    #[cold]
    #[inline(never)]
    pub fn rlock_at(&self, loc: Loc) {
        if !cpu::step_at("rw_rlock", self.lock_object.id(), loc) {
            return;
        }
        let td = curthread();
        self.check("rw_rlock", loc);
        kassert!(!self.owns(), "rw_rlock: wlock already held for {} @ {loc}", self.name());
        crate::lint::blocking("rw_rlock", &self.lock_object, loc);
        witness::checkorder(&self.lock_object, false, false, None, loc);
        if !self.rlock_try(td, true) {
            self.rlock_hard(td);
            if cpu::scheduler_stopped() {
                return;
            }
        }
        witness::lock(&self.lock_object, false, loc);
        self.count(1);
    }

    /// `__rw_rlock_try()`.
    #[inline]
    fn rlock_try(&self, td: &Thread, fast: bool) -> bool {
        let mut v = self.rw_lock.read();
        while can_read(td, v, fast) {
            match self.rw_lock.fcmpset_acq(v, v.wrapping_add(RW_ONE_READER)) {
                Ok(()) => {
                    td.rw_rlocks.add(1);
                    return true;
                }
                Err(seen) => v = seen,
            }
        }
        false
    }

    /// `__rw_rlock_hard()`.
    fn rlock_hard(&self, td: &Thread) {
        let mut tries = cpu::adaptive_spins(SPINS);
        while !self.rlock_try(td, false) {
            let v = self.rw_lock.read();
            if can_read(td, v, false) {
                continue;
            }
            // A writer that spins for readers is about to have the lock: waiting in the queue would be longer.
            let taken_soon = v & RW_LOCK_WRITE_SPINNER != 0 && readers(v) == 0;
            if owner_runs(v) || taken_soon || tries > 0 && v & RW_LOCK_READ != 0 {
                tries = tries.saturating_sub(1);
                if !self.spin(v) {
                    return;
                }
                continue;
            }
            turnstile::trywait();
            if self.rlock_block(td) {
                turnstile::wait(&self.lock_object, wowner(self.rw_lock.read()), turnstile::SHARED);
            } else {
                turnstile::cancel();
            }
            if cpu::scheduler_stopped() {
                return;
            }
        }
    }

    /// The second look, with the chain locked: sets READ_WAITERS and returns true if the reader has to block.
    fn rlock_block(&self, td: &Thread) -> bool {
        let mut v = self.rw_lock.read();
        loop {
            if can_read(td, v, false) || v & RW_LOCK_WRITE_SPINNER != 0 && readers(v) == 0 || owner_runs(v) {
                return false;
            }
            if v & RW_LOCK_READ_WAITERS != 0 {
                return true;
            }
            match self.rw_lock.fcmpset_acq(v, v | RW_LOCK_READ_WAITERS) {
                Ok(()) => return true,
                Err(seen) => v = seen,
            }
        }
    }

    /// One wait for the word to change from `v`, or for its running owner to stop. False: the machine has stopped.
    fn spin(&self, v: usize) -> bool {
        cpu::observe_only(self.rw_lock.as_ptr().cast(), 8);
        let owner = wowner(v);
        if !owner.is_null() {
            // SAFETY: threads are type-stable, and the word names one.
            observe(unsafe { (*owner).state.as_ptr() }.cast(), 4);
        }
        self.rw_lock.peek() != v || cpu::spinwait_on(&self.lock_object)
    }

    /// `rw_runlock()`.
    ///
    /// # Panics
    ///
    /// Rows 37 and 41 of the misuse table.
    #[track_caller]
    #[inline]
    pub fn runlock(&self) {
        if !self.runlock_alone() {
            self.runlock_at(Loc::caller());
        }
    }

    /// Leaves a lock that has more readers or no waiters, if nothing is to be done at the boundary.
    #[inline(always)]
    fn runlock_alone(&self) -> bool {
        let word = self.rw_lock.raw();
        let v = word.read();
        let left = cpu::word() == 0 && may_leave(v) && word.fcmpset_rel(v, v.wrapping_sub(RW_ONE_READER)).is_ok();
        if left {
            curthread().rw_rlocks.sub(1);
        }
        left
    }

    /// `_rw_runlock_cookie()`: what C calls.
    #[cold]
    #[inline(never)]
    pub fn runlock_at(&self, loc: Loc) {
        if !cpu::step_at("rw_runlock", self.lock_object.id(), loc) {
            return;
        }
        self.check_destroyed("rw_runlock", loc);
        self.assert_at(ra::RLOCKED, loc);
        witness::unlock(&self.lock_object, false, loc);
        let td = curthread();
        if !self.runlock_try(td) {
            self.runlock_hard(td);
        }
        self.count(-1);
    }

    /// `__rw_runlock_try()`: leaves unless the caller is the last reader and somebody waits.
    #[inline]
    fn runlock_try(&self, td: &Thread) -> bool {
        let mut v = self.rw_lock.read();
        while may_leave(v) {
            // Of a lock that nobody reads the count wraps: FreeBSD notices as little without WITNESS's help.
            match self.rw_lock.fcmpset_rel(v, v.wrapping_sub(RW_ONE_READER)) {
                Ok(()) => {
                    td.rw_rlocks.sub(1);
                    return true;
                }
                Err(seen) => v = seen,
            }
        }
        false
    }

    /// `__rw_runlock_hard()`: the last reader wakes whose turn it is.
    fn runlock_hard(&self, td: &Thread) {
        while !self.runlock_try(td) {
            turnstile::chain_lock();
            let v = self.rw_lock.read();
            let (free, queue) = Self::next_turn(v);
            let left = readers(v) <= 1 && self.rw_lock.fcmpset_rel(v, free | v & RW_LOCK_WRITE_SPINNER).is_ok();
            if left {
                self.wake(queue);
                td.rw_rlocks.sub(1);
            }
            turnstile::chain_unlock();
            if left {
                return;
            }
        }
    }

    /// The free word after a release with waiters in `v`, and the queue to wake: writers first.
    fn next_turn(v: usize) -> (usize, usize) {
        if v & RW_LOCK_WRITE_WAITERS != 0 {
            (RW_UNLOCKED | v & RW_LOCK_READ_WAITERS, turnstile::EXCLUSIVE)
        } else {
            (RW_UNLOCKED, turnstile::SHARED)
        }
    }

    /// Wakes a queue; the chain lock is held.
    fn wake(&self, queue: usize) {
        mpass!(turnstile::exists(&self.lock_object), "ts != NULL", Loc::caller());
        turnstile::broadcast(&self.lock_object, queue);
    }

    /// `rw_wlock()`: blocks until the caller is the only one.
    ///
    /// # Panics
    ///
    /// Rows 36, 37, 39, 64 and 97 of the misuse table, and mi_switch's if it blocks in a critical section.
    #[track_caller]
    #[inline]
    pub fn wlock(&self) {
        if cpu::word() != 0 || self.rw_lock.raw().fcmpset_acq(RW_UNLOCKED, curthread_word()).is_err() {
            self.wlock_at(Loc::caller());
        }
    }

    /// `_rw_wlock_cookie()`: what C calls.
    #[cold]
    #[inline(never)]
    pub fn wlock_at(&self, loc: Loc) {
        if !cpu::step_at("rw_wlock", self.lock_object.id(), loc) {
            return;
        }
        self.check("rw_wlock", loc);
        crate::lint::blocking("rw_wlock", &self.lock_object, loc);
        witness::checkorder(&self.lock_object, true, false, None, loc);
        if self.rw_lock.fcmpset_acq(RW_UNLOCKED, curthread_word()).is_err() {
            self.wlock_hard(loc);
            if cpu::scheduler_stopped() {
                return;
            }
        }
        witness::lock(&self.lock_object, true, loc);
        self.count(1);
    }

    /// `__rw_wlock_hard()`.
    fn wlock_hard(&self, loc: Loc) {
        if self.owns() {
            kassert!(
                self.lock_object.flags().contains(Lo::RECURSABLE),
                "__rw_wlock_hard: recursing but non-recursive rw {} @ {loc}",
                self.name()
            );
            self.recurse();
            return;
        }
        let td = curthread();
        let mut tries = cpu::adaptive_spins(SPINS);
        // Inside a critical section, with WRITE_SPINNER set by this thread.
        let mut spinner = false;
        loop {
            let v = self.rw_lock.read();
            if v == RW_UNLOCKED || v == RW_UNLOCKED | RW_LOCK_WRITE_SPINNER {
                if self.rw_lock.fcmpset_acq(v, curthread_word()).is_ok() {
                    break;
                }
                continue;
            }
            if spinner && v & RW_LOCK_READ == 0 {
                // A writer has it, who took our flag away with the word.
                spinner = false;
                critical::exit(td);
            }
            if owner_runs(v) {
                if !self.spin(v) {
                    return;
                }
                continue;
            }
            if readers(v) > 0 && tries > 0 {
                // If another spins for them already, its flag serves this thread too, which then may be preempted. If the flag is gone,
                // with who took the lock in between or with who gave up spinning, it is set anew.
                if v & RW_LOCK_WRITE_SPINNER == 0 {
                    if !core::mem::replace(&mut spinner, true) {
                        critical::enter(td);
                    }
                    if self.rw_lock.fcmpset_acq(v, v | RW_LOCK_WRITE_SPINNER).is_err() {
                        spinner = false;
                        critical::exit(td);
                        continue;
                    }
                }
                tries -= 1;
                if !cpu::spinwait() {
                    return;
                }
                continue;
            }
            turnstile::trywait();
            match self.wlock_block(spinner) {
                Queued::Taken { waiters } => {
                    if waiters {
                        turnstile::claim(&self.lock_object);
                    } else {
                        turnstile::cancel();
                    }
                    break;
                }
                Queued::Retry => turnstile::cancel(),
                Queued::Block(owner) => {
                    if core::mem::take(&mut spinner) {
                        // The chain lock keeps a preemption away until mi_switch.
                        critical::exit(td);
                    }
                    turnstile::wait(&self.lock_object, owner, turnstile::EXCLUSIVE);
                    tries = cpu::adaptive_spins(SPINS);
                }
            }
            if cpu::scheduler_stopped() {
                return;
            }
        }
        if spinner {
            critical::exit(td);
        }
    }

    /// The second look, with the chain locked.
    fn wlock_block(&self, spinner: bool) -> Queued {
        let mut v = self.rw_lock.read();
        loop {
            if owner_runs(v) {
                return Queued::Retry;
            }
            let flags = v & (RW_LOCK_WAITERS | RW_LOCK_WRITE_SPINNER);
            let (wanted, outcome) = if v & !flags == RW_UNLOCKED {
                let waiters = v & RW_LOCK_WAITERS;
                (curthread_word() | waiters, Queued::Taken { waiters: waiters != 0 })
            } else {
                let spinning = if spinner { RW_LOCK_WRITE_SPINNER } else { 0 };
                (v & !spinning | RW_LOCK_WRITE_WAITERS, Queued::Block(wowner(v)))
            };
            if wanted == v {
                return outcome;
            }
            match self.rw_lock.fcmpset_acq(v, wanted) {
                Ok(()) => return outcome,
                Err(seen) => v = seen,
            }
        }
    }

    fn recurse(&self) {
        self.lock_object.data.add(1);
        self.rw_lock.fetch_or(RW_LOCK_WRITER_RECURSED);
    }

    /// `rw_wunlock()`.
    ///
    /// # Panics
    ///
    /// Rows 37, 40 and 46 of the misuse table.
    #[track_caller]
    #[inline]
    pub fn wunlock(&self) {
        if cpu::word() != 0 || self.rw_lock.raw().fcmpset_rel(curthread_word(), RW_UNLOCKED).is_err() {
            self.wunlock_at(Loc::caller());
        }
    }

    /// `_rw_wunlock_cookie()`: what C calls.
    #[cold]
    #[inline(never)]
    pub fn wunlock_at(&self, loc: Loc) {
        if !cpu::step_at("rw_wunlock", self.lock_object.id(), loc) {
            return;
        }
        self.check_destroyed("rw_wunlock", loc);
        self.assert_at(ra::WLOCKED, loc);
        witness::unlock(&self.lock_object, true, loc);
        if self.rw_lock.fcmpset_rel(curthread_word(), RW_UNLOCKED).is_err() {
            self.wunlock_hard();
        }
        self.count(-1);
    }

    /// `__rw_wunlock_hard()`.
    fn wunlock_hard(&self) {
        if self.rw_lock.peek() & RW_LOCK_WRITER_RECURSED != 0 {
            self.lock_object.data.sub(1);
            if self.lock_object.data.get() == 0 {
                self.rw_lock.clear(RW_LOCK_WRITER_RECURSED);
            }
            return;
        }
        kassert!(self.rw_lock.peek() & RW_LOCK_WAITERS != 0, "__rw_wunlock_hard: neither of the waiter flags are set");
        turnstile::chain_lock();
        let (free, queue) = Self::next_turn(self.rw_lock.read());
        self.rw_lock.store_rel(free);
        self.wake(queue);
        turnstile::chain_unlock();
    }

    /// `rw_try_rlock()`: pays no attention to waiting writers.
    ///
    /// # Panics
    ///
    /// Rows 36 and 37 of the misuse table.
    #[track_caller]
    pub fn try_rlock(&self) -> bool {
        self.try_rlock_at(Loc::caller())
    }

    /// `__rw_try_rlock()`: what C calls.
    pub fn try_rlock_at(&self, loc: Loc) -> bool {
        if !cpu::step_at("rw_try_rlock", self.lock_object.id(), loc) {
            return true;
        }
        self.check("rw_try_rlock", loc);
        let mut v = self.rw_lock.read();
        while v & RW_LOCK_READ != 0 {
            match self.rw_lock.fcmpset_acq(v, v.wrapping_add(RW_ONE_READER)) {
                Ok(()) => {
                    witness::lock_try(&self.lock_object, false, loc);
                    self.count(1);
                    curthread().rw_rlocks.add(1);
                    return true;
                }
                Err(seen) => v = seen,
            }
        }
        observe(self.rw_lock.as_ptr().cast(), 8);
        false
    }

    /// `rw_try_wlock()`: fails also while the lock is free and somebody still waits, and to the owner of a recursive lock who
    /// holds it twice already or is waited for: FreeBSD compares the whole word.
    ///
    /// # Panics
    ///
    /// Rows 36 and 37 of the misuse table.
    #[track_caller]
    pub fn try_wlock(&self) -> bool {
        self.try_wlock_at(Loc::caller())
    }

    /// `__rw_try_wlock()`: what C calls.
    pub fn try_wlock_at(&self, loc: Loc) -> bool {
        if !cpu::step_at("rw_try_wlock", self.lock_object.id(), loc) {
            return true;
        }
        self.check("rw_try_wlock", loc);
        let mut taken = self.rw_lock.fcmpset_acq(RW_UNLOCKED, curthread_word()).is_ok();
        if !taken && self.rw_lock.peek() == curthread_word() && self.lock_object.flags().contains(Lo::RECURSABLE) {
            self.recurse();
            taken = true;
        }
        if taken {
            witness::lock_try(&self.lock_object, true, loc);
            self.count(1);
        } else {
            observe(self.rw_lock.as_ptr().cast(), 8);
        }
        taken
    }

    /// `rw_try_upgrade()`: the only reader becomes the writer.
    ///
    /// # Panics
    ///
    /// Rows 37, 41 and 74 of the misuse table.
    #[track_caller]
    pub fn try_upgrade(&self) -> bool {
        self.try_upgrade_at(Loc::caller())
    }

    /// `__rw_try_upgrade()`: what C calls.
    pub fn try_upgrade_at(&self, loc: Loc) -> bool {
        if !cpu::step_at("rw_try_upgrade", self.lock_object.id(), loc) {
            return true;
        }
        self.check_destroyed("rw_try_upgrade", loc);
        self.assert_at(ra::RLOCKED, loc);
        loop {
            let v = self.rw_lock.read();
            // As RW_READERS() does, of a writer's word as well: nobody becomes the owner of another's lock.
            if v / RW_ONE_READER > 1 {
                observe(self.rw_lock.as_ptr().cast(), 8);
                return false;
            }
            let waiters = v & RW_LOCK_WAITERS;
            // With waiters the chain is locked first, or another could block before the turnstile has its owner.
            if waiters != 0 {
                turnstile::chain_lock();
            }
            let upgraded = self.rw_lock.fcmpset_acq(v, curthread_word() | waiters).is_ok();
            if waiters != 0 {
                if upgraded {
                    turnstile::claim(&self.lock_object);
                } else {
                    turnstile::chain_unlock();
                }
            }
            if upgraded {
                curthread().rw_rlocks.sub(1);
                witness::upgrade(&self.lock_object, loc);
                return true;
            }
        }
    }

    /// `rw_downgrade()`: the writer becomes a reader; readers that wait come in if no writer waits.
    ///
    /// # Panics
    ///
    /// Rows 37, 40, 42, 47 and 75 of the misuse table.
    #[track_caller]
    pub fn downgrade(&self) {
        self.downgrade_at(Loc::caller());
    }

    /// `__rw_downgrade()`: what C calls.
    pub fn downgrade_at(&self, loc: Loc) {
        if !cpu::step_at("rw_downgrade", self.lock_object.id(), loc) {
            return;
        }
        self.check_destroyed("rw_downgrade", loc);
        self.assert_at(ra::WLOCKED | ra::NOTRECURSED, loc);
        if self.recursed() {
            kpanic!("downgrade of a recursed lock");
        }
        witness::downgrade(&self.lock_object, loc);
        if self.rw_lock.fcmpset_rel(curthread_word(), RW_LOCK_READ | RW_ONE_READER).is_err() {
            turnstile::chain_lock();
            let waiters = self.rw_lock.read() & RW_LOCK_WAITERS;
            mpass!(waiters != 0, "rwait | wwait", loc);
            let writers = waiters & RW_LOCK_WRITE_WAITERS != 0;
            self.rw_lock.store_rel(RW_LOCK_READ | RW_ONE_READER | if writers { waiters } else { 0 });
            if writers {
                turnstile::disown(&self.lock_object);
            } else {
                self.wake(turnstile::SHARED);
            }
            turnstile::chain_unlock();
        }
        curthread().rw_rlocks.add(1);
    }

    /// `lc_unlock`: releases it however the caller holds it; 1 means it was read-held.
    pub(crate) fn unlock_either(&self, loc: Loc) -> usize {
        self.assert_at(ra::LOCKED | ra::NOTRECURSED, loc);
        if self.rw_lock.peek() & RW_LOCK_READ != 0 {
            self.runlock_at(loc);
            1
        } else {
            self.wunlock_at(loc);
            0
        }
    }

    /// `lc_lock`: takes it as [`Rw::unlock_either`] left it.
    pub(crate) fn lock_either(&self, how: usize, loc: Loc) {
        if how != 0 {
            self.rlock_at(loc);
        } else {
            self.wlock_at(loc);
        }
    }

    /// `rw_assert()`. Who reads is not known: without WITNESS any reader satisfies [`ra::RLOCKED`].
    ///
    /// # Panics
    ///
    /// Rows 40 to 44 and 77 of the misuse table (INVARIANTS).
    #[track_caller]
    pub fn assert(&self, what: u32) {
        self.assert_at(what, Loc::caller());
    }

    /// `__rw_assert()`.
    pub fn assert_at(&self, what: u32, loc: Loc) {
        if !cpu::invariants() {
            return;
        }
        let recursion = what & (ra::RECURSED | ra::NOTRECURSED);
        match what & !(ra::RECURSED | ra::NOTRECURSED) {
            // FreeBSD lists what it knows, and nothing that is both.
            _ if recursion == ra::RECURSED | ra::NOTRECURSED => kpanic!("Unknown rw lock assertion: {what} @ {loc}"),
            ra::LOCKED | ra::RLOCKED if cpu::witness() => witness::assert(&self.lock_object, what, loc),
            ra::LOCKED | ra::RLOCKED => {
                let v = self.rw_lock.look();
                let (read, must_read) = (v & RW_LOCK_READ != 0, what & ra::RLOCKED != 0);
                if v == RW_UNLOCKED || !read && (must_read || !self.owns()) {
                    kpanic!("Lock {} not {}locked @ {loc}", self.name(), if must_read { "read " } else { "" });
                }
                if !read {
                    self.assert_recursion(recursion, loc);
                }
            }
            ra::WLOCKED => {
                if !self.owns() {
                    kpanic!("Lock {} not exclusively locked @ {loc}", self.name());
                }
                self.assert_recursion(recursion, loc);
            }
            ra::UNLOCKED if recursion == 0 => {
                if cpu::witness() {
                    witness::assert(&self.lock_object, what, loc);
                } else if self.owns() {
                    kpanic!("Lock {} exclusively locked @ {loc}", self.name());
                }
            }
            _ => kpanic!("Unknown rw lock assertion: {what} @ {loc}"),
        }
    }

    fn assert_recursion(&self, recursion: u32, loc: Loc) {
        if self.recursed() {
            if recursion & ra::NOTRECURSED != 0 {
                kpanic!("Lock {} recursed @ {loc}", self.name());
            }
        } else if recursion & ra::RECURSED != 0 {
            kpanic!("Lock {} not recursed @ {loc}", self.name());
        }
    }
}

/// What a writer's second look found.
enum Queued {
    /// The lock was free; `waiters` remain in the turnstile.
    Taken { waiters: bool },
    /// Its owner runs.
    Retry,
    /// WRITE_WAITERS is set; the owner to lend to, null if readers hold it.
    Block(*mut Thread),
}

// SAFETY: a lock is made to be shared; its word orders all access to what it guards.
unsafe impl Sync for Rw {}
// SAFETY: a lock that moves is not held, and belongs to no thread.
unsafe impl Send for Rw {}
