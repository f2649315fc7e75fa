//! `rwlock-inside-rcu`: drm-kmod #237. The seqcount's reader is inside rcu_read_lock; the updater calls synchronize_rcu after its
//! section.

use super::harness::compete;
use crate::cell::SeqPair;
use linuxkpi::LockMapping;
use linuxkpi::rcupdate::{RcuGuard, synchronize_rcu};
use linuxkpi::seqlock::Seqcount;
use linuxkpi::spinlock::SpinLock;
use std::sync::Arc;

/// thread0's main.
pub(super) fn run<M: LockMapping>() {
    let shared = Arc::new((SpinLock::<(), M>::with_mapping(()), Seqcount::<M>::new(), SeqPair::default()));
    shared.0.init();
    shared.1.init();
    let updated = Arc::clone(&shared);
    compete(
        ("updater", move || {
            let guard = updated.0.lock();
            updated.1.write(|| updated.2.write(1));
            drop(guard);
            synchronize_rcu();
        }),
        ("reader", move || {
            let section = RcuGuard::new();
            let seen = shared.1.read(|| shared.2.read());
            drop(section);
            shared.2.check(seen);
        }),
    );
}
