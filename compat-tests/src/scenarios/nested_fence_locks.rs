//! `nested-fence-locks`: locks of the same class nested with _nested: fence arrays, chains, the scheduler's two fences.

use super::driver::{Device, Fences};
use super::harness::compete;
use linuxkpi::LockMapping;
use std::sync::Arc;

/// thread0's main.
pub(super) fn run<M: LockMapping>() {
    let (array, child) = (Fences::<M>::new(), Fences::<M>::new());
    let device = Device::new(&child);
    let (emit_array, emit_child) = (Arc::clone(&array), Arc::clone(&child));
    compete(
        ("emit", move || {
            emit_child.emit();
            emit_array.emit();
        }),
        // enable_signaling() of an array adds itself to the child, the array's lock held.
        ("enable", move || {
            let outer = array.lock.lock_irqsave();
            child.lock.lock_irqsave_nested().waiters.bump();
            outer.waiters.bump();
        }),
    );
    drop(device);
}
