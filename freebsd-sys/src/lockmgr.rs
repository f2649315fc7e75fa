//! lockmgr(9): the shared/exclusive locks of vnodes and buffers, which may be held across an unbounded sleep.
//!
//! # State of `lk_lock`
//!
//! | word | meaning |
//! |---|---|
//! | SHARE (1) | free: shared mode without sharers |
//! | SHARE + n * 32 | n sharers, who are not known by name |
//! | owner | held exclusively |
//! | KERNPROC | held exclusively by nobody: any thread may release it |
//! | ... + SHARED_WAITERS, EXCLUSIVE_WAITERS | threads sleep on queue 1, 0 of the lock's sleep queue |
//! | owner + WRITER_RECURSED | held more than once; the count is in `lo_data` |
//!
//! # Algorithm
//!
//! One function, [`Lock::args`], does everything that its flags name. Who has to wait sleeps, for ever, for a time, or until a signal
//! comes; a mutex may be dropped on the way (`LK_INTERLOCK`), and is not taken back. Who frees the lock wakes the exclusive sleepers
//! if there are any that will take it, else the others; it prefers neither of the two when it is downgraded, which wakes nobody.
//! A sleeper with `LK_SLEEPFAIL` goes away when woken: `lk_exslpfail` counts those, so that a wake-up is not spent on them alone.
//!
//! With `LK_ADAPTIVE` and without an interlock who finds an exclusive owner that runs spins, as long as it does and nobody sleeps on the lock:
//! the sleepers' turn is not to be taken from them.
//!
//! # Memory ordering
//!
//! As of an sx lock: what takes is an acquire, what releases a release; the waiters' flags are ordered by the chain lock.
//!
//! # Deviations from FreeBSD
//!
//! `debug.lockmgr.adaptive_spinning` is on. A thread never has `TDP_DEADLKTREAT`. FreeBSD's LK_DRAIN, having woken exclusive sleepers of
//! a free lock, sleeps without having set their flag again, and nobody need wake it; here it looks anew. `lockmgr_printinfo` and the fast paths of
//! vnodes are not there.
//!
//! References: kern/kern_lock.c, sys/lockmgr.h, sys/_lockmgr.h, lock(9).

use crate::atomic::{Owned32, OwnedI32, Word};
use crate::cpu;
use crate::giant;
use crate::lock::{Lo, Loc, LockClass, LockObject, lc_unlock};
use crate::panic::{kassert, kpanic, mpass};
use crate::sleepqueue::{self, Type};
use crate::thread::{Thread, curthread, curthread_word};
use crate::witness;
use core::ffi::CStr;

/// `LK_*`: flags of [`Lock::init`] and of [`Lock::args`].
pub mod lk {
    /// `LK_CANRECURSE`: its exclusive owner may take it again. Of either function.
    pub const CANRECURSE: u32 = 0x1;
    /// `LK_NODUP`.
    pub const NODUP: u32 = 0x2;
    /// `LK_NOPROFILE`.
    pub const NOPROFILE: u32 = 0x4;
    /// `LK_NOSHARE`: sharers are exclusive owners.
    pub const NOSHARE: u32 = 0x8;
    /// `LK_NOWITNESS`: invisible to WITNESS.
    pub const NOWITNESS: u32 = 0x10;
    /// `LK_QUIET`.
    pub const QUIET: u32 = 0x20;
    /// `LK_IS_VNODE`.
    pub const IS_VNODE: u32 = 0x80;
    /// `LK_NEW`: re-initialising is fine.
    pub const NEW: u32 = 0x100;
    /// `LK_INIT_MASK`: flags of [`super::Lock::init`].
    pub const INIT_MASK: u32 = 0x1ff;
    /// `LK_INTERLOCK`: an interlock is to be dropped.
    pub const INTERLOCK: u32 = 0x100;
    /// `LK_NOWAIT`.
    pub const NOWAIT: u32 = 0x200;
    /// `LK_RETRY`: for vn_lock.
    pub const RETRY: u32 = 0x400;
    /// `LK_SLEEPFAIL`: who slept does not get it.
    pub const SLEEPFAIL: u32 = 0x800;
    /// `LK_TIMELOCK`: sleeps for `lk_timo` at most.
    pub const TIMELOCK: u32 = 0x1000;
    /// `LK_NODDLKTREAT`: a thread that shares another lock waits for exclusive sleepers all the same.
    pub const NODDLKTREAT: u32 = 0x2000;
    /// `LK_ADAPTIVE`.
    pub const ADAPTIVE: u32 = 0x4000;
    /// `LK_EATTR_MASK`.
    pub const EATTR_MASK: u32 = 0xff00;
    /// `LK_TYPE_MASK`: what to do.
    pub const TYPE_MASK: u32 = 0xff_0000;
    /// `LK_DOWNGRADE`.
    pub const DOWNGRADE: u32 = 0x1_0000;
    /// `LK_DRAIN`: takes it when nobody holds it or waits for it.
    pub const DRAIN: u32 = 0x2_0000;
    /// `LK_EXCLOTHER`: an answer of [`super::Lock::status`].
    pub const EXCLOTHER: u32 = 0x4_0000;
    /// `LK_EXCLUSIVE`.
    pub const EXCLUSIVE: u32 = 0x8_0000;
    /// `LK_RELEASE`.
    pub const RELEASE: u32 = 0x10_0000;
    /// `LK_SHARED`.
    pub const SHARED: u32 = 0x20_0000;
    /// `LK_UPGRADE`: gives the shared lock up if it cannot be upgraded at once, and takes it anew.
    pub const UPGRADE: u32 = 0x40_0000;
    /// `LK_TRYUPGRADE`.
    pub const TRYUPGRADE: u32 = 0x80_0000;
    /// `LK_TOTAL_MASK`.
    pub const TOTAL_MASK: u32 = INIT_MASK | EATTR_MASK | TYPE_MASK;
}

/// What [`Lock::assert`] is to check: `KA_*`, which are `LA_*`.
pub use crate::sx::sa as ka;

/// `LK_SHARE`.
pub const LK_SHARE: usize = 0x01;
/// `LK_SHARED_WAITERS`.
pub const LK_SHARED_WAITERS: usize = 0x02;
/// `LK_EXCLUSIVE_WAITERS`.
pub const LK_EXCLUSIVE_WAITERS: usize = 0x04;
/// `LK_WRITER_RECURSED`.
pub const LK_WRITER_RECURSED: usize = 0x10;
/// `LK_ALL_WAITERS`.
pub const LK_ALL_WAITERS: usize = LK_SHARED_WAITERS | LK_EXCLUSIVE_WAITERS;
/// `LK_FLAGMASK`, with `LK_EXCLUSIVE_SPINNERS`, which nobody sets.
pub const LK_FLAGMASK: usize = 0x1f;
/// `LK_ONE_SHARER`.
pub const LK_ONE_SHARER: usize = 1 << 5;
/// `LK_UNLOCKED`.
pub const LK_UNLOCKED: usize = LK_SHARE;
/// `LK_KERNPROC`: the owner of a disowned lock.
pub const LK_KERNPROC: usize = usize::MAX & !LK_FLAGMASK;

/// `EBUSY`: it would have to sleep, and has `LK_NOWAIT`.
pub const EBUSY: i32 = 16;
/// `EDEADLK`: the caller, who wants to share it, owns it.
pub const EDEADLK: i32 = 11;
/// `ENOLCK`: it slept, and has `LK_SLEEPFAIL`.
pub const ENOLCK: i32 = 77;

/// `SQ_EXCLUSIVE_QUEUE`.
const EXCLUSIVE: usize = 0;
/// `SQ_SHARED_QUEUE`.
const SHARED: usize = 1;

/// `PCATCH`, in a priority.
pub const PCATCH: i32 = 0x100;

/// `struct lock`.
#[repr(C)]
#[derive(Debug)]
pub struct Lock {
    lock_object: LockObject,
    lk_lock: Word,
    /// (s) `lk_exslpfail`: sleepers on the exclusive queue that will go away, at most.
    exslpfail: Owned32,
    /// (b) `lk_timo`, in ticks.
    timo: OwnedI32,
    /// (b) `lk_pri`.
    pri: OwnedI32,
}

// Locking key: (b) before it is used, (s) the sleep queue's chain lock.

const _: () = {
    assert!(size_of::<Lock>() == 48);
    assert!(core::mem::offset_of!(Lock, lk_lock) == 24);
    assert!(core::mem::offset_of!(Lock, exslpfail) == 32);
    assert!(core::mem::offset_of!(Lock, timo) == 36);
    assert!(core::mem::offset_of!(Lock, pri) == 40);
    assert!(align_of::<Thread>() > LK_FLAGMASK);
};

/// How a request sleeps: the arguments of `lockmgr_args()`. The default is what [`Lock::init`] was given.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wait {
    /// Why, for whoever looks; the lock's name by default.
    pub wmesg: Option<&'static str>,
    /// A priority, which ULE ignores, with [`PCATCH`] if a signal is to end it. 0: the lock's.
    pub pri: i32,
    /// Ticks, with [`lk::TIMELOCK`]. 0: the lock's.
    pub timo: i32,
}

/// `LK_HOLDER()`.
fn holder(x: usize) -> usize {
    x & !LK_FLAGMASK
}

/// `LK_SHARERS()`.
fn sharers(x: usize) -> usize {
    if x & LK_SHARE == 0 { 0 } else { x / LK_ONE_SHARER }
}

/// `LK_CAN_SHARE()`.
fn can_share(x: usize, flags: u32) -> bool {
    x & (LK_SHARE | LK_EXCLUSIVE_WAITERS) == LK_SHARE
        || x & LK_SHARE != 0 && curthread().lk_slocks.get() != 0 && flags & lk::NODDLKTREAT == 0
}

/// A request on its way.
struct Request<'a> {
    flags: u32,
    interlock: Option<&'a LockObject>,
    wait: Wait,
    loc: Loc,
}

impl Request<'_> {
    /// `LK_CAN_WITNESS()`, and the check itself.
    fn checkorder(&self, lock: &LockObject, exclusive: bool) {
        crate::lint::blocking("lockmgr", lock, self.loc);
        if self.flags & (lk::NOWITNESS | lk::NOWAIT) == 0 {
            witness::checkorder(lock, exclusive, false, self.interlock, self.loc);
        }
    }

    /// Drops the interlock, once.
    fn drop_interlock(&mut self) {
        if let Some(interlock) = self.interlock.take() {
            // SAFETY: the caller of lockmgr holds it, so it is alive.
            unsafe { lc_unlock(interlock, self.loc) };
        }
    }

    fn nowait(&self) -> bool {
        self.flags & lk::NOWAIT != 0
    }

    /// `LK_ADAPTIVE` counts only without an interlock, or once a sleep has dropped it: its holder might be who the owner waits for.
    fn may_spin(&self) -> bool {
        self.flags & lk::ADAPTIVE != 0 && self.interlock.is_none()
    }
}

impl Lock {
    /// A lock that was not initialised: zeroed memory.
    pub const fn zeroed() -> Self {
        Self {
            lock_object: LockObject::zeroed(),
            lk_lock: Word::new(0),
            exslpfail: Owned32::new(0),
            timo: OwnedI32::new(0),
            pri: OwnedI32::new(0),
        }
    }

    /// `lock_object`.
    pub fn object(&self) -> &LockObject {
        &self.lock_object
    }

    fn name(&self) -> &'static str {
        self.lock_object.name()
    }

    /// `lockinit()`: `pri`, `wmesg` and `timo` are what a request sleeps with that brings none of its own.
    ///
    /// # Panics
    ///
    /// MPASS `(flags & ~LK_INIT_MASK) == 0`, `lock "%s" %p already initialized` (INVARIANTS).
    #[track_caller]
    pub fn init(&self, pri: i32, wmesg: &'static CStr, timo: i32, flags: u32) {
        if !cpu::step("lockinit", self.lock_object.id()) {
            return;
        }
        mpass!(flags & !lk::INIT_MASK == 0, "(flags & ~LK_INIT_MASK) == 0", Loc::caller());
        let mut lo = Lo::empty();
        lo.set(Lo::RECURSABLE, flags & lk::CANRECURSE != 0);
        lo.set(Lo::DUPOK, flags & lk::NODUP == 0);
        lo.set(Lo::NOPROFILE, flags & lk::NOPROFILE != 0);
        lo.set(Lo::WITNESS, flags & lk::NOWITNESS == 0);
        lo.set(Lo::QUIET, flags & lk::QUIET != 0);
        lo.set(Lo::NEW, flags & lk::NEW != 0);
        self.lock_object.init(LockClass::Lockmgr, wmesg, flags & lk::NOSHARE, lo);
        self.lk_lock.set(LK_UNLOCKED);
        self.exslpfail.set(0);
        self.timo.set(timo);
        self.pri.set(pri);
    }

    /// `lockdestroy()`: nobody may hold it.
    ///
    /// # Panics
    ///
    /// `lockmgr still held`, `lockmgr still recursed`, `lockmgr still exclusive waiters` (INVARIANTS).
    pub fn destroy(&self) {
        if !cpu::step("lockdestroy", self.lock_object.id()) {
            return;
        }
        kassert!(self.lk_lock.peek() == LK_UNLOCKED, "lockmgr still held");
        kassert!(self.lock_object.data.get() == 0, "lockmgr still recursed");
        kassert!(self.exslpfail.get() == 0, "lockmgr still exclusive waiters");
        self.lock_object.destroy();
    }

    /// `lockmgr_xlocked()`.
    fn xlocked(&self) -> bool {
        let x = self.lk_lock.peek();
        x & LK_SHARE == 0 && holder(x) == curthread_word()
    }

    /// `lockmgr_disowned()`.
    fn disowned(&self) -> bool {
        let x = self.lk_lock.peek();
        x & LK_SHARE == 0 && holder(x) == LK_KERNPROC
    }

    /// `lockmgr_recursed()`.
    fn recursed(&self) -> bool {
        self.lk_lock.peek() & LK_WRITER_RECURSED != 0
    }

    /// `lockstatus()`: [`lk::EXCLUSIVE`] if the caller or nobody owns it, [`lk::EXCLOTHER`], [`lk::SHARED`], or 0.
    pub fn status(&self) -> u32 {
        let x = self.lk_lock.look();
        match (x & LK_SHARE != 0, holder(x)) {
            (true, _) if x == LK_UNLOCKED => 0,
            (true, _) => lk::SHARED,
            (false, LK_KERNPROC) => lk::EXCLUSIVE,
            (false, owner) if owner == curthread_word() => lk::EXCLUSIVE,
            (false, _) => lk::EXCLOTHER,
        }
    }

    /// `TD_LOCKS_INC` and `TD_LOCKS_DEC`: INVARIANTS only.
    fn count(&self, n: i32) {
        if cpu::invariants() {
            curthread().locks.add(n);
        }
    }

    /// `lockmgr()`: does what `flags` say, and returns 0 or an error.
    ///
    /// # Panics
    ///
    /// Rows 51 to 53, 64, 74, 75 and 91 of the misuse table in lockmgr's words, and mi_switch's if it sleeps in a critical section.
    #[track_caller]
    pub fn lockmgr(&self, flags: u32) -> i32 {
        self.args(flags, None, Wait::default(), Loc::caller())
    }

    /// [`Lock::lockmgr`] with [`lk::INTERLOCK`]: drops `interlock`, which the caller holds, before it returns.
    #[track_caller]
    pub fn lockmgr_interlock(&self, flags: u32, interlock: &LockObject) -> i32 {
        self.args(flags | lk::INTERLOCK, Some(interlock), Wait::default(), Loc::caller())
    }

    /// `__lockmgr_args()`: what C calls.
    pub fn args(&self, flags: u32, interlock: Option<&LockObject>, wait: Wait, loc: Loc) -> i32 {
        if !cpu::step_at("lockmgr", self.lock_object.id(), loc) {
            return 0;
        }
        let op = flags & lk::TYPE_MASK;
        mpass!(flags & !lk::TOTAL_MASK == 0, "(flags & ~LK_TOTAL_MASK) == 0", loc);
        kassert!(op & op.wrapping_sub(1) == 0, "__lockmgr_args: Invalid requested operation @ {loc}");
        kassert!(
            flags & (lk::NOWAIT | lk::SLEEPFAIL) == 0 || op != lk::DOWNGRADE && op != lk::RELEASE,
            "__lockmgr_args: Invalid flags in regard of the operation desired @ {loc}"
        );
        let wants_interlock = flags & lk::INTERLOCK != 0;
        kassert!(
            !wants_interlock || interlock.is_some(),
            "__lockmgr_args: LK_INTERLOCK passed without valid interlock @ {loc}"
        );
        let td = curthread();
        kassert!(!td.is_idle(), "__lockmgr_args: idle thread {:p} on lockmgr {} @ {loc}", td.ptr(), self.name());
        let mut request = Request { flags, interlock: interlock.filter(|_| wants_interlock), wait, loc };
        let noshare = self.lock_object.class_flags() & lk::NOSHARE != 0;
        let error = match op {
            lk::UPGRADE | lk::TRYUPGRADE | lk::DOWNGRADE if noshare => {
                self.assert_at(ka::XLOCKED | ka::NOTRECURSED, loc);
                0
            }
            lk::SHARED if !noshare => self.slock(&mut request),
            lk::SHARED | lk::EXCLUSIVE => self.xlock(&mut request),
            lk::UPGRADE | lk::TRYUPGRADE => self.upgrade(&mut request, op),
            lk::DOWNGRADE => self.downgrade(&mut request),
            lk::RELEASE => self.release(loc),
            lk::DRAIN => self.drain(&mut request),
            _ => {
                request.drop_interlock();
                kpanic!("__lockmgr_args: unknown lockmgr request 0x{op:x}");
            }
        };
        if !cpu::scheduler_stopped() {
            request.drop_interlock();
        }
        error
    }

    /// `sleeplk()`: entered with the chain locked, returns without it.
    fn sleep(&self, request: &mut Request<'_>, queue: usize) -> i32 {
        let Request { flags, wait, loc, .. } = *request;
        let wchan = self.lock_object.id();
        let pri = if wait.pri == 0 { self.pri.get() } else { wait.pri };
        let timo = if wait.timo == 0 { self.timo.get() } else { wait.timo };
        let timed = flags & lk::TIMELOCK != 0 && timo > 0;
        if queue == EXCLUSIVE && flags & lk::SLEEPFAIL != 0 {
            self.exslpfail.add(1);
        }
        sleepqueue::add(wchan, 0, wait.wmesg.unwrap_or(self.name()), Type::Lockmgr, queue);
        if timed {
            sleepqueue::set_timeout(timo as u64);
        }
        // On the queue already: a wake-up that comes while these are dropped takes the thread off again, and the wait returns at once.
        let released = sleepqueue::release_for(
            wchan,
            giant::or_owned(request.interlock.filter(|lock| !lock.flags().contains(Lo::SLEEPABLE))),
        );
        request.drop_interlock();
        let dropped = giant::drop_giant(loc);
        released.lock_again(wchan);
        let error = match (timed, pri & PCATCH != 0) {
            (true, true) => sleepqueue::timedwait_sig(wchan),
            (true, false) => sleepqueue::timedwait(wchan),
            (false, true) => sleepqueue::wait_sig(wchan),
            (false, false) => {
                sleepqueue::wait(wchan);
                0
            }
        };
        dropped.pickup(loc);
        if flags & lk::SLEEPFAIL != 0 && error == 0 { ENOLCK } else { error }
    }

    /// `lockmgr_slock_hard()`.
    fn slock(&self, request: &mut Request<'_>) -> i32 {
        request.checkorder(&self.lock_object, false);
        let wchan = self.lock_object.id();
        loop {
            let x = self.lk_lock.read();
            if can_share(x, request.flags) {
                if self.lk_lock.fcmpset_acq(x, x.wrapping_add(LK_ONE_SHARER)).is_ok() {
                    break;
                }
                continue;
            }
            if x & LK_SHARE == 0 && holder(x) == curthread_word() {
                return EDEADLK;
            }
            if request.may_spin() && self.owner_runs_alone(x) {
                if !self.spin(x) {
                    return 0;
                }
                continue;
            }
            if request.nowait() {
                cpu::observe(self.lk_lock.as_ptr().cast(), 8);
                return EBUSY;
            }
            sleepqueue::lock(wchan);
            let x = self.lk_lock.read();
            if can_share(x, request.flags) || self.lk_lock.fcmpset_acq(x, x | LK_SHARED_WAITERS).is_err() {
                sleepqueue::release(wchan);
                continue;
            }
            let error = self.sleep(request, SHARED);
            if error != 0 || cpu::scheduler_stopped() {
                return error;
            }
        }
        witness::lock(&self.lock_object, false, request.loc);
        self.count(1);
        curthread().lk_slocks.add(1);
        0
    }

    /// `lockmgr_xlock_hard()`.
    fn xlock(&self, request: &mut Request<'_>) -> i32 {
        request.checkorder(&self.lock_object, true);
        if self.xlocked() {
            let recursable = self.lock_object.flags().contains(Lo::RECURSABLE);
            if request.flags & lk::CANRECURSE == 0 && !recursable {
                if request.nowait() {
                    return EBUSY;
                }
                request.drop_interlock();
                let (at, loc) = (core::ptr::from_ref(self), request.loc);
                kpanic!("lockmgr_xlock_hard: recursing on non recursive lockmgr {at:p} @ {loc}");
            }
            self.lock_object.data.add(1);
            self.lk_lock.fetch_or(LK_WRITER_RECURSED);
        } else {
            loop {
                if self.lk_lock.fcmpset_acq(LK_UNLOCKED, curthread_word()).is_ok() {
                    break;
                }
                let x = self.lk_lock.read();
                if request.may_spin() && self.owner_runs_alone(x) {
                    if !self.spin(x) {
                        return 0;
                    }
                    continue;
                }
                if request.nowait() {
                    cpu::observe(self.lk_lock.as_ptr().cast(), 8);
                    return EBUSY;
                }
                match self.xlock_block() {
                    Some(true) => break,
                    Some(false) => {
                        let error = self.sleep(request, EXCLUSIVE);
                        if error != 0 || cpu::scheduler_stopped() {
                            return error;
                        }
                    }
                    None => {}
                }
            }
        }
        self.note_xlock(request.loc);
        0
    }

    /// What lockmgr_slock_adaptive() and lockmgr_xlock_adaptive() go on for: `x` names an owner that runs, and nobody sleeps on the lock.
    fn owner_runs_alone(&self, x: usize) -> bool {
        if x & (LK_SHARE | LK_ALL_WAITERS) != 0 || matches!(holder(x), 0 | LK_KERNPROC) {
            return false;
        }
        // SAFETY: the word names a thread, and threads are type-stable.
        unsafe { &*(holder(x) as *const Thread) }.still_runs()
    }

    /// One round of it; false when the machine has stopped.
    fn spin(&self, x: usize) -> bool {
        cpu::observe_only(self.lk_lock.as_ptr().cast(), 8);
        // SAFETY: as above.
        unsafe { &*(holder(x) as *const Thread) }.observe_running();
        self.lk_lock.peek() != x || cpu::spinwait_on(&self.lock_object)
    }

    fn note_xlock(&self, loc: Loc) {
        witness::lock(&self.lock_object, true, loc);
        self.count(1);
    }

    /// The second look, with the chain locked: true if the lock was claimed, false if the caller has to sleep, and then the
    /// chain stays locked; none if it is free now.
    fn xlock_block(&self) -> Option<bool> {
        let wchan = self.lock_object.id();
        sleepqueue::lock(wchan);
        let mut x = self.lk_lock.read();
        loop {
            if x == LK_UNLOCKED {
                sleepqueue::release(wchan);
                return None;
            }
            // Free, but for threads that were not woken: they stay who waits.
            let claim = x & !LK_ALL_WAITERS == LK_UNLOCKED;
            let wanted = if claim { curthread_word() | x & LK_ALL_WAITERS } else { x | LK_EXCLUSIVE_WAITERS };
            if wanted != x
                && let Err(seen) = self.lk_lock.fcmpset_acq(x, wanted)
            {
                x = seen;
                continue;
            }
            if claim {
                sleepqueue::release(wchan);
            }
            return Some(claim);
        }
    }

    /// `lockmgr_upgrade()`.
    fn upgrade(&self, request: &mut Request<'_>, op: u32) -> i32 {
        self.assert_at(ka::SLOCKED, request.loc);
        let mut x = self.lk_lock.read();
        loop {
            // LK_SHARERS() does not look at LK_SHARE: without INVARIANTS, a lock that nobody holds is upgraded, and an owner's address is many.
            if x / LK_ONE_SHARER > 1 {
                if op == lk::TRYUPGRADE {
                    cpu::observe(self.lk_lock.as_ptr().cast(), 8);
                    return EBUSY;
                }
                match self.lk_lock.fcmpset_rel(x, x - LK_ONE_SHARER) {
                    Ok(()) => break,
                    Err(seen) => x = seen,
                }
                continue;
            }
            mpass!(
                x & !LK_ALL_WAITERS == LK_SHARE | LK_ONE_SHARER,
                "(v & ~LK_ALL_WAITERS) == LK_SHARERS_LOCK(1)",
                request.loc
            );
            match self.lk_lock.fcmpset_acq(x, curthread_word() | x & LK_ALL_WAITERS) {
                Ok(()) => {
                    witness::upgrade(&self.lock_object, request.loc);
                    curthread().lk_slocks.sub(1);
                    return 0;
                }
                Err(seen) => x = seen,
            }
        }
        self.note_sunlock(request.loc);
        self.xlock(request)
    }

    /// `lockmgr_note_shared_release()`.
    fn note_sunlock(&self, loc: Loc) {
        witness::unlock(&self.lock_object, false, loc);
        self.count(-1);
        curthread().lk_slocks.sub(1);
    }

    fn downgrade(&self, request: &mut Request<'_>) -> i32 {
        let loc = request.loc;
        self.assert_at(ka::XLOCKED, loc);
        witness::downgrade(&self.lock_object, loc);
        if self.xlocked() && self.recursed() {
            request.drop_interlock();
            let wmesg = request.wait.wmesg.unwrap_or(self.name());
            kpanic!("__lockmgr_args: downgrade a recursed lockmgr {wmesg} @ {loc}");
        }
        curthread().lk_slocks.add(1);
        // The waiters keep waiting, as in FreeBSD: also those that could share it now.
        loop {
            let waiters = self.lk_lock.read() & LK_ALL_WAITERS;
            let shared = LK_SHARE | LK_ONE_SHARER | waiters;
            if self.lk_lock.fcmpset_rel(curthread_word() | waiters, shared).is_ok() {
                return 0;
            }
            // A disowned lock's word never becomes the caller's: FreeBSD's loop does not end either.
            cpu::observe_only(self.lk_lock.as_ptr().cast(), 8);
            if !cpu::spinwait() {
                return 0;
            }
        }
    }

    fn release(&self, loc: Loc) -> i32 {
        self.assert_at(ka::LOCKED, loc);
        if self.lk_lock.peek() & LK_SHARE != 0 {
            self.sunlock(loc)
        } else {
            self.xunlock(loc)
        }
        0
    }

    /// Whom to wake, and the word of the free lock; the chain is locked. Sleepers that would only go away are woken here.
    fn next_turn(&self, x: usize) -> (usize, usize) {
        let wchan = self.lock_object.id();
        let asleep = sleepqueue::sleepcnt(wchan, EXCLUSIVE);
        let fail = self.exslpfail.get();
        self.exslpfail.set(0);
        if x & LK_EXCLUSIVE_WAITERS == 0 || asleep == 0 {
            return (LK_UNLOCKED, SHARED);
        }
        if (fail as usize) < asleep {
            return (LK_UNLOCKED | x & LK_SHARED_WAITERS, EXCLUSIVE);
        }
        sleepqueue::broadcast(wchan, Type::Lockmgr, 0, EXCLUSIVE);
        (LK_UNLOCKED, SHARED)
    }

    /// `wakeupshlk()`.
    fn sunlock(&self, loc: Loc) {
        let wchan = self.lock_object.id();
        let mut x = self.lk_lock.read();
        loop {
            if sharers(x) > 1 || x & LK_ALL_WAITERS == 0 {
                match self.lk_lock.fcmpset_rel(x, x.wrapping_sub(LK_ONE_SHARER)) {
                    Ok(()) => break,
                    Err(seen) => x = seen,
                }
                continue;
            }
            sleepqueue::lock(wchan);
            let (free, queue) = self.next_turn(x);
            let outcome = self.lk_lock.fcmpset_rel(x, free);
            if outcome.is_ok() {
                sleepqueue::broadcast(wchan, Type::Lockmgr, 0, queue);
            }
            sleepqueue::release(wchan);
            match outcome {
                Ok(()) => break,
                Err(seen) => x = seen,
            }
        }
        self.note_sunlock(loc);
    }

    /// `lockmgr_xunlock_hard()`.
    fn xunlock(&self, loc: Loc) {
        let x = self.lk_lock.read();
        let owner = holder(x);
        if owner != LK_KERNPROC {
            witness::unlock(&self.lock_object, true, loc);
            self.count(-1);
        }
        if x & LK_WRITER_RECURSED != 0 {
            self.lock_object.data.sub(1);
            if self.lock_object.data.get() == 0 {
                self.lk_lock.clear(LK_WRITER_RECURSED);
            }
            return;
        }
        if self.lk_lock.fcmpset_rel(owner, LK_UNLOCKED).is_ok() {
            return;
        }
        let wchan = self.lock_object.id();
        sleepqueue::lock(wchan);
        let (free, queue) = self.next_turn(self.lk_lock.read());
        self.lk_lock.store_rel(free);
        sleepqueue::broadcast(wchan, Type::Lockmgr, 0, queue);
        sleepqueue::release(wchan);
    }

    /// `LK_DRAIN`: an exclusive lock that lets all others go first.
    fn drain(&self, request: &mut Request<'_>) -> i32 {
        request.checkorder(&self.lock_object, true);
        if self.xlocked() {
            request.drop_interlock();
            let wmesg = request.wait.wmesg.unwrap_or(self.name());
            kpanic!("__lockmgr_args: draining {wmesg} with the lock held @ {}", request.loc);
        }
        let wchan = self.lock_object.id();
        while self.lk_lock.fcmpset_acq(LK_UNLOCKED, curthread_word()).is_err() {
            if request.nowait() {
                cpu::observe(self.lk_lock.as_ptr().cast(), 8);
                return EBUSY;
            }
            sleepqueue::lock(wchan);
            let x = self.lk_lock.read();
            if x == LK_UNLOCKED {
                sleepqueue::release(wchan);
                continue;
            }
            if x & !LK_ALL_WAITERS == LK_UNLOCKED {
                // Free, with threads that were not woken: it is their turn.
                let (free, queue) = self.next_turn(x);
                if self.lk_lock.fcmpset_rel(x, free).is_ok() {
                    sleepqueue::broadcast(wchan, Type::Lockmgr, 0, queue);
                }
                sleepqueue::release(wchan);
                // One of them takes it, or nobody was there.
                if self.lk_lock.read() == free && free != LK_UNLOCKED {
                    cpu::observe_only(self.lk_lock.as_ptr().cast(), 8);
                    if !cpu::spinwait() {
                        return 0;
                    }
                }
                continue;
            }
            if self.lk_lock.fcmpset_acq(x, x | LK_EXCLUSIVE_WAITERS).is_err() {
                sleepqueue::release(wchan);
                continue;
            }
            // Neither LK_SLEEPFAIL nor a time or signal ends this wait.
            let mut patient = Request {
                flags: request.flags & !(lk::SLEEPFAIL | lk::TIMELOCK),
                interlock: request.interlock.take(),
                wait: Wait { pri: 1, ..request.wait },
                loc: request.loc,
            };
            self.sleep(&mut patient, EXCLUSIVE);
            if cpu::scheduler_stopped() {
                return 0;
            }
        }
        self.note_xlock(request.loc);
        0
    }

    /// `lockmgr_disown()`: an exclusive lock that any thread may release from now on.
    ///
    /// # Panics
    ///
    /// Row 51 of the misuse table; `_lockmgr_disown: disown a recursed lockmgr @ %s:%d`.
    #[track_caller]
    pub fn disown(&self) {
        self.disown_at(Loc::caller());
    }

    /// `_lockmgr_disown()`.
    pub fn disown_at(&self, loc: Loc) {
        if !cpu::step_at("lockmgr_disown", self.lock_object.id(), loc) {
            return;
        }
        self.assert_at(ka::XLOCKED, loc);
        if self.xlocked() && self.recursed() {
            kpanic!("_lockmgr_disown: disown a recursed lockmgr @ {loc}");
        }
        if !self.xlocked() {
            return;
        }
        witness::unlock(&self.lock_object, true, loc);
        self.count(-1);
        let mut x = self.lk_lock.read();
        while let Err(seen) = self.lk_lock.fcmpset_rel(x, LK_KERNPROC | x & LK_ALL_WAITERS) {
            x = seen;
        }
    }

    /// `lockmgr_assert()`. Who shares is not known: without WITNESS any sharer satisfies [`ka::SLOCKED`].
    ///
    /// # Panics
    ///
    /// Rows 51 to 53 and 77 of the misuse table (INVARIANTS).
    #[track_caller]
    pub fn assert(&self, what: u32) {
        self.assert_at(what, Loc::caller());
    }

    /// `_lockmgr_assert()`.
    pub fn assert_at(&self, what: u32, loc: Loc) {
        if !cpu::invariants() {
            return;
        }
        let recursion = what & (ka::RECURSED | ka::NOTRECURSED);
        let x = self.lk_lock.look();
        let shared = x & LK_SHARE != 0;
        match what & !(ka::RECURSED | ka::NOTRECURSED) {
            // FreeBSD lists what it knows, and nothing that is both.
            _ if recursion == ka::RECURSED | ka::NOTRECURSED => kpanic!("Unknown lockmgr assertion: {what} @ {loc}"),
            how @ (ka::LOCKED | ka::SLOCKED) => {
                let must_share = how == ka::SLOCKED;
                // WITNESS does not know of a lock that was disowned, so it is not asked about exclusive ones.
                if cpu::witness() && (must_share || shared) {
                    witness::assert(&self.lock_object, what, loc);
                    return;
                }
                if x == LK_UNLOCKED || !shared && (must_share || !self.xlocked() && !self.disowned()) {
                    kpanic!("Lock {} not {}locked @ {loc}", self.name(), if must_share { "share" } else { "" });
                }
                if !shared {
                    self.assert_recursion(recursion, loc);
                }
            }
            ka::XLOCKED => {
                if !self.xlocked() && !self.disowned() {
                    kpanic!("Lock {} not exclusively locked @ {loc}", self.name());
                }
                self.assert_recursion(recursion, loc);
            }
            ka::UNLOCKED if recursion == 0 => {
                if self.xlocked() || self.disowned() {
                    kpanic!("Lock {} exclusively locked @ {loc}", self.name());
                }
            }
            _ => kpanic!("Unknown lockmgr assertion: {what} @ {loc}"),
        }
    }

    fn assert_recursion(&self, recursion: u32, loc: Loc) {
        if self.recursed() {
            if recursion & ka::NOTRECURSED != 0 {
                kpanic!("Lock {} recursed @ {loc}", self.name());
            }
        } else if recursion & ka::RECURSED != 0 {
            kpanic!("Lock {} not recursed @ {loc}", self.name());
        }
    }
}

// SAFETY: a lock is made to be shared; its word orders all access to what it guards.
unsafe impl Sync for Lock {}
// SAFETY: a lock that moves is not held, and belongs to no thread.
unsafe impl Send for Lock {}
