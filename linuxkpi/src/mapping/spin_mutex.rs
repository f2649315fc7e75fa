//! MTX_SPIN for every spinlock: what Linux's documents say, literally.
//!
//! **Keeps** irq-off and preemption-off: a spin mutex disables interrupts on this CPU.
//! **Loses** everything that FreeBSD forbids under a spin mutex: malloc and free (even M_NOWAIT), sleep mutexes, wake-ups through
//! them; and rwlock_t, which stays rwlock(9), inside a spinlock.
//! **Costs** spinlock_enter and the owner-word pair; waiting burns a CPU.
//!
//! Source: Documentation/locking/locktypes.rst; mutex(9).

use super::{Context, How, LockMapping};
use crate::backend::seq::Seqlock;
use crate::backend::spin::{Around, MtxDef};
use crate::backend::{RwDef, SleepableCount};
use freebsd_sys::mutex::{Mtx, Mtxf};

/// See the module.
#[derive(Debug)]
pub struct SpinMutex;

/// The spin class.
#[derive(Debug)]
pub struct Spin;

// SAFETY: mtx_lock_spin and mtx_unlock_spin pair.
unsafe impl Around for Spin {
    const INIT: Mtxf = Mtxf::SPIN.union(Mtxf::NOWITNESS).union(Mtxf::NEW);
    #[inline(always)]
    fn take(mtx: &Mtx, how: How) {
        if how.nested {
            mtx.lock_spin_at(Mtxf::DUPOK.bits(), how.loc);
        } else {
            mtx.lock_spin_loc(how.loc);
        }
    }
    #[inline(always)]
    fn try_take(mtx: &Mtx, how: How) -> bool {
        mtx.trylock_spin_at(0, how.loc)
    }
    #[inline(always)]
    fn release(mtx: &Mtx, how: How) {
        mtx.unlock_spin_loc(how.loc);
    }
    #[inline(always)]
    fn inside(_context: Context) {}
    #[inline(always)]
    fn leave(_context: Context) {}
}

impl LockMapping for SpinMutex {
    const NAME: &'static str = "spin_mutex";
    const ABOUT: &'static str = "MTX_SPIN for every spinlock";
    type Spin = MtxDef<Spin>;
    type RawSpin = MtxDef<Spin>;
    type Rw = RwDef;
    type Seqcount = SleepableCount;
    type SeqcountMutex = SleepableCount;
    type Seqlock = Seqlock<MtxDef<Spin>, SleepableCount>;
}
