//! `owner-preempted-same-cpu`: preempt_disable(), then irqsave on a lock whose owner was preempted on this CPU: the reviewer's
//! objection to 02ea6033020e.

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
    let owned = Arc::clone(&lock);
    compete(
        ("owner", move || owned.lock_irqsave().bump()),
        ("spinner", move || {
            preempt_disable::<M>();
            lock.lock_irqsave().bump();
            preempt_enable::<M>();
        }),
    );
}
