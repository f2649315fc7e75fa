//! Giant: the mutex that once guarded the whole kernel, and that a thread drops when it sleeps.
//!
//! A recursive sleep mutex like any other, with three privileges: sleep(9), condvar(9), sx(9), lockmgr(9) and epoch(9) drop it,
//! however often it is held, before they sleep and take it back afterwards; WITNESS does not mind sleeping with it; and it comes after
//! the sleepable locks, whichever is taken first.
//!
//! # Deviations from FreeBSD
//!
//! It is initialised when first asked for: a machine that does not use it has one lock less to list.
//!
//! References: kern/kern_mutex.c, sys/mutex.h (DROP_GIANT, PICKUP_GIANT), locking(9).

use crate::cpu::{self, machine};
use crate::lock::{Loc, LockObject};
use crate::module::Once;
use crate::mutex::{Mtx, Mtxf, ma};
use crate::witness;

/// A machine's Giant.
#[derive(Debug)]
pub(crate) struct Giant {
    /// Zeroed until somebody asks for it, so that nobody owns it.
    mtx: Mtx,
    /// It is initialised.
    usable: Once,
}

impl Giant {
    pub(crate) fn new() -> Self {
        Self { mtx: Mtx::zeroed(), usable: Once::new() }
    }

    pub(crate) fn reset(&self) {
        if !self.usable.is_fresh() {
            self.usable.reset();
            // SAFETY: between executions nobody else is running, and a mutex consists of nothing but cells. The old value is not
            // dropped: it lies on no list any more.
            unsafe { core::ptr::from_ref(&self.mtx).cast_mut().write(Mtx::zeroed()) };
        }
    }
}

/// The mutex, initialised or not.
fn mtx() -> &'static Mtx {
    &machine().giant.mtx
}

/// `Giant`.
pub fn giant() -> &'static Mtx {
    machine().giant.usable.ensure_unpreempted(|| mtx().init(c"Giant", Mtxf::RECURSE));
    mtx()
}

/// Whether `lock` is Giant.
#[inline]
pub(crate) fn is(lock: &LockObject) -> bool {
    core::ptr::eq(lock, mtx().object())
}

/// Whether the caller owns Giant.
#[inline]
pub(crate) fn owned() -> bool {
    mtx().owned()
}

/// What goes while a sleeper has its sleep queue's chain locked: its interlock, or Giant alone.
pub(crate) fn or_owned(interlock: Option<&LockObject>) -> Option<&LockObject> {
    interlock.or_else(|| owned().then(|| mtx().object()))
}

/// What mi_switch() asks of a thread that goes to sleep.
///
/// # Panics
///
/// `mutex Giant owned at %s:%d` (INVARIANTS).
#[track_caller]
#[inline]
pub(crate) fn assert_not_owned() {
    mtx().assert_at(ma::NOTOWNED, Loc::caller());
}

/// What [`drop_giant`] dropped: to be picked up by the same thread.
#[derive(Debug)]
#[must_use = "Giant is to be picked up again"]
pub struct Dropped {
    count: u32,
    saved: Option<Loc>,
}

/// `DROP_GIANT()`: releases Giant, as often as the caller holds it.
#[inline]
pub fn drop_giant(loc: Loc) -> Dropped {
    if owned() { drop_owned(loc) } else { Dropped { count: 0, saved: None } }
}

#[cold]
fn drop_owned(loc: Loc) -> Dropped {
    let mut dropped = Dropped { count: 0, saved: witness::save(mtx().object()) };
    while owned() && !cpu::scheduler_stopped() {
        mtx().unlock_at(loc);
        dropped.count += 1;
    }
    dropped
}

impl Dropped {
    /// `PICKUP_GIANT()`: takes it as often as it was dropped.
    ///
    /// # Panics
    ///
    /// `mutex Giant owned at %s:%d` if it was taken meanwhile (INVARIANTS).
    #[inline]
    pub fn pickup(self, loc: Loc) {
        mtx().assert_at(ma::NOTOWNED, loc);
        if self.count != 0 {
            for _ in 0..self.count {
                mtx().lock_at(0, loc);
            }
            witness::restore(mtx().object(), self.saved);
        }
    }
}
