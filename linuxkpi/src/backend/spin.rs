//! Spinlocks made of mutexes.

use super::name;
use crate::mapping::{Context, How, SpinBackend};
use crate::{Flags, Loc};
use core::ffi::CStr;
use core::marker::PhantomData;
use freebsd_sys::cpu;
use freebsd_sys::mutex::{Mtx, Mtxf, ma};
use freebsd_sys::sched::{sched_pin, sched_unpin};

/// What a spinlock does around its mutex, and how it takes it.
///
/// # Safety
///
/// `after` undoes `before` and `inside`; the mutex is the caller's between `take` and its release.
pub unsafe trait Around: Sync + 'static {
    /// Options of `spin_lock_init`.
    const INIT: Mtxf = Mtxf::DEF.union(Mtxf::NOWITNESS).union(Mtxf::NEW);
    /// The lock's name.
    const NAME: &'static CStr = name::SPIN;
    /// Before the mutex is taken; `flags` for the irqsave form.
    #[inline(always)]
    fn before(_context: Context) -> Flags {
        Flags(0)
    }
    /// Takes the mutex.
    #[inline(always)]
    fn take(mtx: &Mtx, how: How) {
        if how.nested {
            mtx.lock_at(Mtxf::DUPOK.bits(), how.loc);
        } else {
            mtx.lock_loc(how.loc);
        }
    }
    /// Tries to take the mutex.
    #[inline(always)]
    fn try_take(mtx: &Mtx, how: How) -> bool {
        mtx.trylock_at(0, how.loc)
    }
    /// Gives the mutex back.
    #[inline(always)]
    fn release(mtx: &Mtx, how: How) {
        mtx.unlock_loc(how.loc);
    }
    /// Right after the mutex is taken.
    fn inside(context: Context);
    /// Right before the mutex is given back.
    fn leave(context: Context);
    /// After the mutex is given back.
    #[inline(always)]
    fn after(_context: Context, _flags: Flags) {}
}

/// A spinlock that is a mutex with `A` around it.
#[repr(transparent)]
#[derive(Debug)]
pub struct MtxDef<A> {
    mtx: Mtx,
    around: PhantomData<fn() -> A>,
}

impl<A: Around> MtxDef<A> {
    /// The mutex.
    pub fn mtx(&self) -> &Mtx {
        &self.mtx
    }
}

// SAFETY: the mutex excludes; `Around` promises not to lose it.
unsafe impl<A: Around> SpinBackend for MtxDef<A> {
    const ZEROED: Self = Self { mtx: Mtx::zeroed(), around: PhantomData };

    fn init(&self) {
        self.mtx.init(A::NAME, A::INIT);
    }

    fn init_static(&self) {
        // DEFINE_SPINLOCK enrols the lock in WITNESS.
        self.mtx.init(A::NAME, (A::INIT - Mtxf::NOWITNESS) | Mtxf::NEW);
    }

    #[inline(always)]
    fn lock(&self, how: How) -> Flags {
        let flags = A::before(how.context);
        A::take(&self.mtx, how);
        A::inside(how.context);
        flags
    }

    #[inline(always)]
    fn trylock(&self, how: How) -> Option<Flags> {
        let flags = A::before(how.context);
        if A::try_take(&self.mtx, how) {
            A::inside(how.context);
            Some(flags)
        } else {
            A::after(how.context, flags);
            None
        }
    }

    #[inline(always)]
    fn unlock(&self, how: How, flags: Flags) {
        A::leave(how.context);
        A::release(&self.mtx, how);
        A::after(how.context, flags);
    }

    fn is_locked(&self) -> bool {
        !self.mtx.owner().is_null()
    }

    fn assert_held(&self, loc: Loc) {
        self.mtx.assert_at(ma::OWNED, loc);
    }
}

/// LinuxKPI's spinlock: a sleep mutex, then the thread is pinned; the `_bh` form pins twice.
#[derive(Debug)]
pub struct Pin;

// SAFETY: pins and unpins equally often.
unsafe impl Around for Pin {
    #[inline(always)]
    fn inside(context: Context) {
        sched_pin();
        if context == Context::Bh {
            sched_pin();
        }
    }
    #[inline(always)]
    fn leave(context: Context) {
        sched_unpin();
        if context == Context::Bh {
            sched_unpin();
        }
    }
}

/// LinuxKPI's spinlock.
pub type MtxPin = MtxDef<Pin>;

/// The trylock loop of 02ea6033020e: spins inside the caller's critical section instead of blocking.
pub(crate) fn spin_on_trylock(mtx: &Mtx, how: How) {
    let opts = if how.nested { Mtxf::DUPOK.bits() } else { 0 };
    while !mtx.trylock_at(opts, how.loc) {
        if !cpu::spinwait() {
            return;
        }
    }
}
