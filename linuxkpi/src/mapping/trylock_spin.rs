//! Commit 02ea6033020e (D33887, January 2022) on top of `linuxkpi_2021`.
//!
//! **Keeps** what `linuxkpi_2021` keeps, and no longer panics: in a critical section `spin_lock_irqsave` spins on trylock
//! instead of blocking.
//! **Loses** the end of the wait. The spinner cannot be preempted, trylock lends no priority and does not look whether the owner
//! runs; the owner is pinned. If it was preempted on the spinner's CPU, it never runs again.
//! **Costs** one test of `td_critnest` per irqsave.
//!
//! Source: the diff of 02ea6033020e as quoted in its mailing-list thread (`__spin_trylock_nested`, MTX_DUPOK).

use super::{Context, How, LockMapping};
use crate::Flags;
use crate::backend::spin::{Around, MtxDef, Pin, spin_on_trylock};
use crate::backend::{CriticalCount, LkpiSeqlock, RwDef};
use freebsd_sys::mutex::{Mtx, Mtxf};
use freebsd_sys::thread::curthread;

/// See the module.
#[derive(Debug)]
pub struct TrylockSpin;

/// LinuxKPI's pin, with the irqsave form's spinning.
#[derive(Debug)]
pub struct PinOrSpin;

// SAFETY: `Pin` pins and unpins equally often; the loop ends with the mutex taken.
unsafe impl Around for PinOrSpin {
    #[inline]
    fn take(mtx: &Mtx, how: How) {
        if how.context == Context::IrqSave && curthread().critnest.get() != 0 {
            spin_on_trylock(mtx, how);
        } else if how.nested {
            mtx.lock_at(Mtxf::DUPOK.bits(), how.loc);
        } else {
            mtx.lock_loc(how.loc);
        }
    }
    #[inline]
    fn inside(context: Context) {
        Pin::inside(context);
    }
    #[inline]
    fn leave(context: Context) {
        Pin::leave(context);
    }
}

impl LockMapping for TrylockSpin {
    const NAME: &'static str = "trylock_spin";
    const ABOUT: &'static str = "linuxkpi_2021, whose irqsave spins on trylock in a critical section";
    type Spin = MtxDef<PinOrSpin>;
    type RawSpin = MtxDef<PinOrSpin>;
    type Rw = RwDef;
    type Seqcount = CriticalCount;
    type SeqcountMutex = CriticalCount;
    type Seqlock = LkpiSeqlock<CriticalCount>;

    // spinlock.h had it with no effect; irqflags.h, and with it the critical section, came later.
    fn local_irq_save() -> Flags {
        Flags(0)
    }
    fn local_irq_restore(_flags: Flags) {}
}
