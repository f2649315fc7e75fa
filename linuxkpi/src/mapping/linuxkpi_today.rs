//! LinuxKPI as it is now (2025).
//!
//! **Keeps** exclusion, and malloc, free and blocking under spinlocks and in sequence writers of `seqcount_t` and `seqlock_t`.
//! **Loses** irq-off and preemption-off under a spinlock; a reader of higher priority spins without end on a writer that was
//! preempted on its CPU (D35021); writers of `seqcount_mutex_t`, `seqcount_ww_mutex_t` and `write_seqlock_irqsave` are in a
//! critical section and may not block; preempt_disable before spin_lock is a panic under contention (drm-kmod #424).
//! **Costs** the owner-word pair and the pin.
//!
//! Source: sys/compat/linuxkpi/common/include/linux/{spinlock,seqlock,preempt}.h of FreeBSD main, 2025.

use super::LockMapping;
use crate::backend::seq::CriticalIrqsave;
use crate::backend::{CriticalCount, LkpiSeqlock, MtxPin, RwDef, SleepableCount};

/// See the module.
#[derive(Debug)]
pub struct LinuxkpiToday;

impl LockMapping for LinuxkpiToday {
    const NAME: &'static str = "linuxkpi_today";
    const ABOUT: &'static str =
        "sleep mutex, then pinned; sleepable counts but for mutex-associated and irqsave writers";
    type Spin = MtxPin;
    type RawSpin = MtxPin;
    type Rw = RwDef;
    type Seqcount = SleepableCount;
    type SeqcountMutex = CriticalCount;
    type Seqlock = LkpiSeqlock<SleepableCount, CriticalIrqsave>;
}
