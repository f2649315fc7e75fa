//! LinuxKPI before commit 02ea6033020e (January 2022).
//!
//! **Keeps** exclusion, and malloc, free and blocking under a spinlock: a spinlock is a sleep mutex, then the thread is pinned.
//! **Loses** irq-off (the flags are 0, local_irq_save does nothing), preemption-off under a spinlock, and blocking inside a sequence lock's write section:
//! every writer enters a critical section, so a contended spinlock inside it panics in mi_switch (drm-kmod #116).
//! **Costs** the owner-word pair and the pin.
//!
//! Source: sys/compat/linuxkpi/common/include/linux/{spinlock,seqlock}.h of 13-STABLE, October 2021; D31006.

use super::LockMapping;
use crate::Flags;
use crate::backend::{CriticalCount, LkpiSeqlock, MtxPin, RwDef};

/// See the module.
#[derive(Debug)]
pub struct Linuxkpi2021;

impl LockMapping for Linuxkpi2021 {
    const NAME: &'static str = "linuxkpi_2021";
    const ABOUT: &'static str = "sleep mutex, then pinned; sequence writers in a critical section";
    type Spin = MtxPin;
    type RawSpin = MtxPin;
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
