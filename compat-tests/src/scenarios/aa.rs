//! `aa`: a thread takes a lock that it holds.

use super::harness::compete;
use crate::cell::Pair;
use linuxkpi::LockMapping;
use linuxkpi::spinlock::SpinLock;
use std::sync::Arc;

/// thread0's main.
pub(super) fn run<M: LockMapping>() {
    let lock = Arc::new(SpinLock::<Pair, M>::with_mapping(Pair::default()));
    lock.init();
    let other = Arc::clone(&lock);
    compete(
        ("other", move || other.lock().bump()),
        ("twice", move || {
            let outer = lock.lock();
            outer.bump();
            lock.lock().bump();
        }),
    );
}
