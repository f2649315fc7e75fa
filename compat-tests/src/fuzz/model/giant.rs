//! Giant: a mutex that may be taken twice, and that who sleeps drops, however often it is held, and picks up afterwards.
//!
//! sleep(9), condvar(9) and lockmgr(9) drop it when they sleep, before the chain of the sleep queue is let go; sx(9) as soon as a lock is not to be had,
//! even if it only spins for it. Whoever waits for an rwlock or a mutex keeps it.

use super::{At, Call, Mutation, Stop};
use crate::fuzz::program::{Act, Kind};

/// Of [`super::Thread::giant`]: the lock was taken, and Giant is to follow.
pub(super) const REST: u8 = 0x80;
/// Of the same: it waits for an sx lock, and takes Giant only when it has that.
const WAITS: u8 = 0x40;

impl At<'_> {
    /// Whether the lock is Giant.
    pub(super) fn is_giant(&self) -> bool {
        self.kind() == Kind::Giant
    }

    /// `mtx_owned(&Giant)`.
    pub(super) fn owns_giant(&self) -> bool {
        !self.mutated(Mutation::StickyGiant)
            && self.rules.program.giant().is_some_and(|giant| self.state.words[giant].mine(self.td))
    }

    /// Does something to Giant instead of the call's lock.
    fn with_giant(&mut self, body: impl FnOnce(&mut Self) -> Call) -> Call {
        let Some(giant) = self.rules.program.giant() else { return Ok(()) };
        let lock = core::mem::replace(&mut self.lock, giant);
        let result = body(self);
        self.lock = lock;
        result
    }

    /// `DROP_GIANT()`.
    pub(super) fn drop_giant(&mut self) -> Call {
        if !self.owns_giant() {
            return Ok(());
        }
        self.with_giant(|at| {
            at.witness_save()?;
            while at.owns_giant() {
                if at.word().data > 16 {
                    // A count that was let go wrongly has wrapped.
                    return Err(Stop::Wild);
                }
                at.on_mtx(Act::Unlock)?;
                at.me().giant += 1;
            }
            Ok(())
        })
    }

    /// `PICKUP_GIANT()`.
    pub(super) fn pickup_giant(&mut self) -> Call {
        let times = self.me().giant & !(REST | WAITS);
        if times == 0 {
            return Ok(());
        }
        self.with_giant(|at| {
            for _ in 0..times {
                // The first may wait, and comes again then; the others need not.
                at.on_mtx(Act::Lock)?;
                at.me().waited = false;
            }
            at.witness_restore();
            Ok(())
        })?;
        self.me().giant = 0;
        Ok(())
    }

    /// The same, as a step before the rest of the call.
    pub(super) fn pickup_after_sleep(&mut self) -> Call {
        if self.me().giant == 0 || self.me().giant & (REST | WAITS) != 0 {
            return Ok(());
        }
        self.pickup_giant()?;
        Err(Stop::Again)
    }

    /// An sx lock is not to be had: from now on the call waits without Giant, and asks nothing again.
    pub(super) fn wait_without_giant(&mut self) -> Call {
        self.drop_giant()?;
        self.me().giant |= WAITS;
        self.me().waited = true;
        Err(Stop::Again)
    }

    /// The sx lock is taken: Giant follows, if it was dropped.
    pub(super) fn then_giant(&mut self) -> Call {
        if self.me().giant == 0 {
            return Ok(());
        }
        self.me().giant |= REST;
        self.me().waited = false;
        Err(Stop::Again)
    }

    /// Whether that is all that is left.
    pub(super) fn only_giant_is_left(&mut self) -> bool {
        self.me().giant & REST != 0
    }
}
