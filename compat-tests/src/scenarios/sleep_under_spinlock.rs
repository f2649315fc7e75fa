//! `sleep-under-spinlock`: kms-drm #21. The owner of a spinlock sleeps until a second thread, which wants the lock, wakes it:
//! forbidden.

use super::harness::{compete, gate};
use crate::cell::Pair;
use linuxkpi::LockMapping;
use linuxkpi::spinlock::SpinLock;
use std::sync::Arc;

/// thread0's main.
pub(super) fn run<M: LockMapping>() {
    let lock = Arc::new(SpinLock::<Pair, M>::with_mapping(Pair::default()));
    lock.init();
    let (locked, wake) = (gate(), gate());
    let (owned, locking, woken) = (Arc::clone(&lock), Arc::clone(&locked), Arc::clone(&wake));
    compete(
        ("owner", move || {
            let pair = owned.lock();
            pair.bump();
            locking.complete();
            woken.wait();
            pair.bump();
        }),
        ("waker", move || {
            locked.wait();
            lock.lock().bump();
            wake.complete();
        }),
    );
}
