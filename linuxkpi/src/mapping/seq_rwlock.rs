//! The first alternative from the review of 02ea6033020e, in the form that drm-kmod shipped (c254f5f47b, PR #138).
//!
//! **Keeps** `linuxkpi_today`'s spinlocks; sequence writers never enter a critical section; readers stay optimistic and, when
//! the count is odd, take and drop the read side of an rwlock that the writer holds, so they block and lend priority.
//! **Loses** readers in a critical section or under a lock that forbids blocking: they block in it. The rwlock sits in the
//! object, so zeroed, copied or read-only counts do not work.
//! **Costs** an rwlock pair per write section; readers pay only when they meet a writer.
//!
//! Source: drm-kmod c254f5f47b; the mailing-list thread of 02ea6033020e.

use super::LockMapping;
use crate::backend::{LkpiSeqlock, LockedCount, MtxPin, RwDef};
use freebsd_sys::rwlock::Rw;

/// See the module.
#[derive(Debug)]
pub struct SeqRwlock;

impl LockMapping for SeqRwlock {
    const NAME: &'static str = "seq_rwlock";
    const ABOUT: &'static str = "today's spinlocks; readers of an odd count wait on an rwlock";
    type Spin = MtxPin;
    type RawSpin = MtxPin;
    type Rw = RwDef;
    type Seqcount = LockedCount<Rw>;
    type SeqcountMutex = LockedCount<Rw>;
    type Seqlock = LkpiSeqlock<LockedCount<Rw>>;
}
