//! `critical-before-spinlock`: drm-kmod #424. preempt_disable(), then a plain spin_lock, whose owner may be off CPU.

use super::harness::compete;
use crate::cell::Pair;
use linuxkpi::LockMapping;
use linuxkpi::preempt::{preempt_disable, preempt_enable};
use linuxkpi::spinlock::SpinLock;
use std::sync::Arc;

/// thread0's main.
pub(super) fn run<M: LockMapping>() {
    let lock = Arc::new(SpinLock::<Pair, M>::with_mapping(Pair::default()));
    lock.init();
    let handler = Arc::clone(&lock);
    compete(
        ("vblank", move || handler.lock().bump()),
        ("commit", move || {
            preempt_disable::<M>();
            lock.lock().bump();
            preempt_enable::<M>();
        }),
    );
}
