//! The second alternative from the review of 02ea6033020e: an rmlock in the sequence lock.
//!
//! **Keeps** what `seq_rwlock` keeps. Linux's reader API has no room for a tracker between begin and retry, so the rmlock is
//! used for waiting only, like the rwlock there.
//! **Loses** what `seq_rwlock` loses.
//! **Costs** an rmlock write section per sequence write: a rendezvous of all CPUs when a reader has been there.
//!
//! Source: the mailing-list thread of 02ea6033020e; rmlock(9).

use super::LockMapping;
use crate::backend::{LkpiSeqlock, LockedCount, MtxPin, RwDef};
use freebsd_sys::rmlock::Rm;

/// See the module.
#[derive(Debug)]
pub struct SeqRmlock;

impl LockMapping for SeqRmlock {
    const NAME: &'static str = "seq_rmlock";
    const ABOUT: &'static str = "today's spinlocks; readers of an odd count wait on an rmlock";
    type Spin = MtxPin;
    type RawSpin = MtxPin;
    type Rw = RwDef;
    type Seqcount = LockedCount<Rm>;
    type SeqcountMutex = LockedCount<Rm>;
    type Seqlock = LkpiSeqlock<LockedCount<Rm>>;
}
