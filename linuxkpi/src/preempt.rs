//! linux/preempt.h.

use crate::mapping::{self, LockMapping};

/// `preempt_disable()`: until [`preempt_enable`], nothing else runs on this CPU that Linux would keep out. Must not sleep.
pub fn preempt_disable<M: LockMapping>() {
    M::preempt_disable();
}

/// `preempt_enable()`.
pub fn preempt_enable<M: LockMapping>() {
    M::preempt_enable();
}

/// Runs `body` with preemption disabled under the default mapping.
pub fn without_preemption<R>(body: impl FnOnce() -> R) -> R {
    let guard = PreemptGuard::<mapping::Default>::new();
    let result = body();
    drop(guard);
    result
}

/// Preemption stays disabled while it lives. Not `Send`: the section belongs to the thread.
#[derive(Debug)]
#[must_use = "preemption is enabled again when the guard is dropped"]
pub struct PreemptGuard<M: LockMapping>(core::marker::PhantomData<(*const (), M)>);

impl<M: LockMapping> PreemptGuard<M> {
    /// `preempt_disable()`.
    #[expect(clippy::new_without_default, reason = "making one has an effect")]
    pub fn new() -> Self {
        M::preempt_disable();
        Self(core::marker::PhantomData)
    }
}

impl<M: LockMapping> Drop for PreemptGuard<M> {
    fn drop(&mut self) {
        M::preempt_enable();
    }
}
