//! `seq-reader-in-critical`: the reader has preemption disabled, the writer is on its CPU.

use super::harness::compete;
use crate::cell::SeqPair;
use linuxkpi::LockMapping;
use linuxkpi::preempt::{preempt_disable, preempt_enable};
use linuxkpi::seqlock::Seqcount;
use linuxkpi::spinlock::SpinLock;
use std::sync::Arc;

/// thread0's main.
pub(super) fn run<M: LockMapping>() {
    let shared = Arc::new((SpinLock::<(), M>::with_mapping(()), Seqcount::<M>::new(), SeqPair::default()));
    shared.0.init();
    shared.1.init();
    let written = Arc::clone(&shared);
    compete(
        ("writer", move || {
            for value in 1..=2 {
                let guard = written.0.lock();
                written.1.write(|| written.2.write(value));
                drop(guard);
            }
        }),
        ("reader", move || {
            preempt_disable::<M>();
            let seen = shared.1.read(|| shared.2.read());
            preempt_enable::<M>();
            shared.2.check(seen);
        }),
    );
}
