//! Every spinlock takes its mutex and then enters a critical section: the committer's own alternative to 02ea6033020e.
//!
//! **Keeps** exclusion and preemption-off inside the section, so a sequence writer is not preempted.
//! **Loses** malloc, free, taskqueues and every contended lock inside a spinlock: nested spinlocks block in the outer one's
//! critical section when the inner owner is off its CPU, which it can be between its mtx_lock and its critical_enter.
//! **Costs** the owner-word pair and critnest, which is cheap.
//!
//! Source: the mailing-list thread of 02ea6033020e; drm-kmod #388 and #439 for the order.

use super::{Context, LockMapping};
use crate::backend::seq::Seqlock;
use crate::backend::spin::{Around, MtxDef};
use crate::backend::{RwDef, SleepableCount, preempt_disable, preempt_enable};

/// See the module.
#[derive(Debug)]
pub struct LockThenCritical;

/// A critical section inside the mutex.
#[derive(Debug)]
pub struct Critical;

// SAFETY: enters and leaves equally often.
unsafe impl Around for Critical {
    #[inline]
    fn inside(_context: Context) {
        preempt_disable();
    }
    #[inline]
    fn leave(_context: Context) {
        preempt_enable();
    }
}

impl LockMapping for LockThenCritical {
    const NAME: &'static str = "lock_then_critical";
    const ABOUT: &'static str = "sleep mutex, then a critical section";
    type Spin = MtxDef<Critical>;
    type RawSpin = MtxDef<Critical>;
    type Rw = RwDef;
    type Seqcount = SleepableCount;
    type SeqcountMutex = SleepableCount;
    type Seqlock = Seqlock<MtxDef<Critical>, SleepableCount>;
}
