//! `sleep-in-critical`: drm-kmod #375. schedule_timeout() with preemption disabled: forbidden on Linux too.

use super::harness::compete;
use crate::cell::Pair;
use linuxkpi::LockMapping;
use linuxkpi::preempt::{preempt_disable, preempt_enable};
use linuxkpi::sched::schedule_timeout_uninterruptible;
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
            lock.lock().bump();
            preempt_disable::<M>();
            schedule_timeout_uninterruptible(1);
            preempt_enable::<M>();
        }),
    );
}
