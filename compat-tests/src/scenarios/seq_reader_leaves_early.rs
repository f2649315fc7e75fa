//! `seq-reader-leaves-early`: a reader returns between begin and retry, again and again, as drm-kmod's readers do.

use super::harness::compete;
use crate::cell::SeqPair;
use linuxkpi::LockMapping;
use linuxkpi::mapping::Context;
use linuxkpi::seqlock::SeqLock;
use std::sync::Arc;

/// thread0's main.
pub(super) fn run<M: LockMapping>() {
    let shared = Arc::new((SeqLock::<M>::with_mapping(), SeqPair::default()));
    shared.0.init();
    let written = Arc::clone(&shared);
    compete(
        ("reader", move || {
            for _ in 0..3 {
                // The fence is found at once: no second look at the count.
                shared.0.read_begin();
                shared.1.read();
            }
            let seen = shared.0.read(|| shared.1.read());
            shared.1.check(seen);
        }),
        ("writer", move || {
            for value in 1..=2 {
                written.0.write(Context::Plain, || written.1.write(value));
            }
        }),
    );
}
