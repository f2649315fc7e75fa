//! `abba`: two threads take two locks in opposite orders.

use super::harness::compete;
use crate::cell::Pair;
use linuxkpi::LockMapping;
use linuxkpi::spinlock::SpinLock;
use std::sync::Arc;

/// thread0's main.
pub(super) fn run<M: LockMapping>() {
    let locks = Arc::new([0, 1].map(|_| SpinLock::<Pair, M>::with_mapping(Pair::default())));
    locks.iter().for_each(SpinLock::init);
    let other = Arc::clone(&locks);
    let both = |first: &SpinLock<Pair, M>, second: &SpinLock<Pair, M>| {
        let outer = first.lock();
        second.lock_nested().bump();
        outer.bump();
    };
    compete(("ab", move || both(&other[0], &other[1])), ("ba", move || both(&locks[1], &locks[0])));
}
