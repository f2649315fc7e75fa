//! condvar(9): condition variables.
//!
//! # State
//!
//! | `cv_waiters` | meaning |
//! |---|---|
//! | 0 | signal and broadcast have nothing to do |
//! | n | at most n threads sleep on the condition: a sleeper whose time ran out, or that a signal woke, is still counted |
//!
//! # Algorithm
//!
//! A waiter goes on the sleep queue of the condition's address before it drops its lock, and takes the lock back in the
//! mode in which it held it. Any lock that one may sleep with serves: sleep mutex, rwlock, sx. There are no spurious wake-ups
//! of the kernel's making, but what was signalled may be gone before the waiter has its lock again.
//!
//! # Memory ordering
//!
//! `cv_waiters` is written under the sleep queue's chain lock. Signal and broadcast look at it first without that lock, which
//! is enough for a caller who holds the waiters' lock, as condvar(9) recommends; a caller who does not may miss a thread that
//! is just about to wait, whatever the kernel does.
//!
//! # Deviations from FreeBSD
//!
//! Timeouts are in ticks. The count is not bounded. A waiter drops its lock without the chain lock whatever the lock's class
//! (FreeBSD: only for sleepable ones), if with interrupts off; being on the queue first is what counts.
//!
//! References: kern/kern_condvar.c, sys/condvar.h, condvar(9).

use crate::atomic::{Owned32, OwnedPtr};
use crate::cpu::{self, touch};
use crate::giant;
use crate::lock::{Loc, LockObject, lc_assert_interlock, lc_lock, lc_unlock};
use crate::mutex::ma;
use crate::panic::kassert;
use crate::sleepqueue::{self, Type};
use crate::thread::curthread;
use crate::witness;
use core::ffi::{CStr, c_char};

/// `struct cv`.
#[repr(C)]
#[derive(Debug)]
pub struct Cv {
    description: OwnedPtr<c_char>,
    /// (s) Threads that wait, or a few more. (s): the sleep queue's chain lock.
    waiters: Owned32,
}

const _: () = {
    assert!(size_of::<Cv>() == 16);
    assert!(core::mem::offset_of!(Cv, waiters) == 8);
};

/// How a wait may end besides a wake-up, and whether the lock is taken back.
#[derive(Clone, Copy)]
struct How {
    ticks: Option<u64>,
    catch: bool,
    relock: bool,
}

impl Default for Cv {
    fn default() -> Self {
        Self::zeroed()
    }
}

impl Cv {
    /// A condition that was not initialised: zeroed memory.
    pub const fn zeroed() -> Self {
        Self { description: OwnedPtr::null(), waiters: Owned32::new(0) }
    }

    fn wchan(&self) -> usize {
        core::ptr::from_ref(self) as usize
    }

    /// `cv_init()`.
    pub fn init(&self, description: &'static CStr) {
        if cpu::step("cv_init", 0) {
            self.description.set(description.as_ptr().cast_mut());
            self.waiters.set(0);
        }
    }

    /// `cv_wmesg()`.
    pub fn wmesg(&self) -> &'static str {
        let description = self.description.get();
        if description.is_null() {
            return "(null)";
        }
        // SAFETY: `init` took a string that lives for ever.
        unsafe { CStr::from_ptr(description) }.to_str().unwrap_or("(not text)")
    }

    /// `cv_destroy()`: nobody may wait.
    ///
    /// # Panics
    ///
    /// `cv_destroy: associated sleep queue non-empty` (INVARIANTS).
    pub fn destroy(&self) {
        if !cpu::step("cv_destroy", 0) {
            return;
        }
        sleepqueue::lock(self.wchan());
        let asleep = sleepqueue::sleepcnt(self.wchan(), 0);
        sleepqueue::release(self.wchan());
        kassert!(asleep == 0, "cv_destroy: associated sleep queue non-empty");
    }

    /// `CV_ASSERT`, for callers that come from C with pointers; `func` is FreeBSD's `__func__`.
    ///
    /// # Panics
    ///
    /// Row 125 of the misuse table (INVARIANTS).
    pub fn check_pointers(func: &str, cvp: *const Self, lock: *const LockObject) {
        kassert!(!cvp.is_null(), "{func}: cvp NULL");
        kassert!(!lock.is_null(), "{func}: lock NULL");
    }

    /// `cv_wait()`: sleeps, without `lock`, until the condition is signalled.
    ///
    /// # Panics
    ///
    /// Rows 81, 83, 91, 95 and 125 of the misuse table, and mi_switch's in a critical section.
    #[track_caller]
    pub fn wait(&self, lock: &LockObject) {
        self.wait_from(lock, Loc::caller());
    }

    /// `_cv_wait()`, called from `loc`.
    pub fn wait_from(&self, lock: &LockObject, loc: Loc) {
        self.wait_at("_cv_wait", lock, How { ticks: None, catch: false, relock: true }, loc);
    }

    /// `_cv_timedwait_sbt()`, called from `loc`.
    pub fn timedwait_from(&self, lock: &LockObject, ticks: u64, loc: Loc) -> i32 {
        self.wait_at("_cv_timedwait_sbt", lock, How { ticks: Some(ticks), catch: false, relock: true }, loc)
    }

    /// `cv_wait_unlock()`: as [`Cv::wait`], but returns without the lock.
    #[track_caller]
    pub fn wait_unlock(&self, lock: &LockObject) {
        self.wait_unlock_from(lock, Loc::caller());
    }

    /// `_cv_wait_unlock()`, called from `loc`.
    pub fn wait_unlock_from(&self, lock: &LockObject, loc: Loc) {
        self.wait_at("_cv_wait_unlock", lock, How { ticks: None, catch: false, relock: false }, loc);
    }

    /// `cv_wait_sig()`: as [`Cv::wait`]; returns 0, or [`sleepqueue::EINTR`] if a signal ended it.
    #[track_caller]
    pub fn wait_sig(&self, lock: &LockObject) -> i32 {
        self.wait_sig_from(lock, Loc::caller())
    }

    /// `_cv_wait_sig()`, called from `loc`.
    pub fn wait_sig_from(&self, lock: &LockObject, loc: Loc) -> i32 {
        self.wait_at("_cv_wait_sig", lock, How { ticks: None, catch: true, relock: true }, loc)
    }

    /// `_cv_timedwait_sig_sbt()`, called from `loc`.
    pub fn timedwait_sig_from(&self, lock: &LockObject, ticks: u64, loc: Loc) -> i32 {
        self.wait_at("_cv_timedwait_sig_sbt", lock, How { ticks: Some(ticks), catch: true, relock: true }, loc)
    }

    /// `cv_timedwait()`: as [`Cv::wait`]; returns 0, or [`sleepqueue::EWOULDBLOCK`] after `ticks`.
    #[track_caller]
    pub fn timedwait(&self, lock: &LockObject, ticks: u64) -> i32 {
        self.timedwait_from(lock, ticks, Loc::caller())
    }

    /// `cv_timedwait_sig()`: returns 0, [`sleepqueue::EWOULDBLOCK`] or [`sleepqueue::EINTR`].
    #[track_caller]
    pub fn timedwait_sig(&self, lock: &LockObject, ticks: u64) -> i32 {
        self.timedwait_sig_from(lock, ticks, Loc::caller())
    }

    /// The body of all waits; `func` is FreeBSD's `__func__`.
    fn wait_at(&self, func: &'static str, lock: &LockObject, how: How, loc: Loc) -> i32 {
        if !cpu::step(&func[1..], lock.id()) {
            return 0;
        }
        kassert!(curthread().is_running(), "{func}: not TDS_RUNNING");
        let relock = !giant::is(lock);
        witness::warn(Some(lock), loc, format_args!("Waiting on \"{}\"", self.wmesg()));
        kassert!(relock || how.relock, "cv_wait_unlock cannot be used with Giant");
        if !relock {
            giant::giant().assert_at(ma::OWNED, loc);
        }
        let wchan = self.wchan();
        sleepqueue::lock(wchan);
        self.waiters.add(1);
        sleepqueue::add(wchan, lock.id(), self.wmesg(), Type::Condvar, 0);
        if let Some(ticks) = how.ticks {
            sleepqueue::set_timeout(ticks);
        }
        let released = sleepqueue::release_for(wchan, giant::or_owned(relock.then_some(lock)));
        if relock && giant::owned() {
            witness::save(lock);
            // What is asserted of the interlock nobody comes before: FreeBSD's chain is locked.
            // SAFETY: the lock is alive.
            unsafe { lc_assert_interlock(lock, loc) };
        }
        let dropped = released.drop_giant(loc);
        let saved = if relock { witness::save(lock) } else { None };
        // SAFETY: the caller holds the lock, which is alive.
        let state = if relock { unsafe { lc_unlock(lock, loc) } } else { 0 };
        released.lock_again(wchan);
        let error = match (how.ticks.is_some(), how.catch) {
            (true, true) => sleepqueue::timedwait_sig(wchan),
            (true, false) => sleepqueue::timedwait(wchan),
            (false, true) => sleepqueue::wait_sig(wchan),
            (false, false) => {
                sleepqueue::wait(wchan);
                0
            }
        };
        dropped.pickup(loc);
        if how.relock && relock {
            // SAFETY: the caller held the lock and gets it back, so it is alive.
            unsafe { lc_lock(lock, state, loc) };
            witness::restore(lock, saved);
        }
        error
    }

    /// `cv_waiters != 0`, without the lock.
    fn has_waiters(&self) -> bool {
        touch(core::ptr::from_ref(self) as usize, 1, false);
        self.waiters.get() != 0
    }

    /// `cv_signal()`: wakes the best waiter, the longest waiting among equals.
    ///
    /// # Panics
    ///
    /// Row 93 of the misuse table (INVARIANTS).
    pub fn signal(&self) {
        if !cpu::step("cv_signal", 0) || !self.has_waiters() {
            return;
        }
        sleepqueue::lock(self.wchan());
        if self.waiters.get() > 0 {
            self.waiters.sub(1);
            sleepqueue::signal(self.wchan(), Type::Condvar, 0, 0);
        }
        sleepqueue::release(self.wchan());
    }

    /// `cv_broadcast()`: wakes all waiters.
    ///
    /// # Panics
    ///
    /// Row 93 of the misuse table (INVARIANTS).
    pub fn broadcast(&self) {
        self.broadcastpri(0);
    }

    /// `cv_broadcastpri()`: wakes all waiters and gives them `priority`, 0 to keep theirs.
    ///
    /// # Panics
    ///
    /// Row 93 of the misuse table (INVARIANTS).
    pub fn broadcastpri(&self, priority: u32) {
        if !cpu::step("cv_broadcast", 0) || !self.has_waiters() {
            return;
        }
        sleepqueue::lock(self.wchan());
        self.waiters.set(0);
        sleepqueue::broadcast(self.wchan(), Type::Condvar, priority, 0);
        sleepqueue::release(self.wchan());
    }
}

// SAFETY: made to be shared: the count is written under the sleep queue's chain lock, the description before use.
unsafe impl Sync for Cv {}
// SAFETY: a condition variable without waiters is a description and a count, which belong to no thread.
unsafe impl Send for Cv {}
