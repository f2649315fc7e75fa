//! Work that is done once per execution of a machine: what a module's SYSINIT would have done at load.
//!
//! [`crate::init`] does all of it up front. A user that comes first does its part itself, so that a program which never defers
//! anything pays for no threads.

use freebsd_sys::atomic::Word;
use freebsd_sys::cpu;

const BUSY: usize = 1;
const READY: usize = 2;

/// 0: not done; [`BUSY`]: being done by some thread; [`READY`].
#[derive(Debug)]
pub(crate) struct Once(Word);

impl Default for Once {
    fn default() -> Self {
        Self(Word::new(0))
    }
}

impl Once {
    /// Runs `body` if nobody has; returns when it has run.
    pub(crate) fn call(&self, body: impl FnOnce()) {
        if self.0.load_acq() == READY {
            return;
        }
        if self.0.fcmpset_acq(0, BUSY).is_ok() {
            body();
            // ORDERING: release, pairs with the acquires here.
            self.0.store_rel(READY);
            return;
        }
        while self.0.load_acq() != READY {
            cpu::observe(self.0.as_ptr().cast(), size_of::<usize>());
            if !cpu::spinwait() {
                return;
            }
        }
    }

    /// Whether it was done.
    pub(crate) fn is_done(&self) -> bool {
        self.0.load_acq() == READY
    }
}
