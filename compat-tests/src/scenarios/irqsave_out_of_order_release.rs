//! `irqsave-out-of-order-release`: a, then b taken by irqsave; a is released first, and b's handler comes (Rust guards may be
//! dropped in any order; Rust-for-Linux #998).

use super::driver::{Device, Fences};
use super::harness::compete;
use linuxkpi::LockMapping;
use std::sync::Arc;

/// thread0's main.
pub(super) fn run<M: LockMapping>() {
    let (a, b) = (Fences::<M>::new(), Fences::<M>::new());
    let device = Device::new(&b);
    let both = move |(a, b): (Arc<Fences<M>>, Arc<Fences<M>>)| {
        let outer = a.lock.lock_irqsave();
        let inner = b.lock.lock_irqsave_nested();
        outer.waiters.bump();
        drop(outer);
        inner.waiters.bump();
    };
    let pair = (Arc::clone(&a), Arc::clone(&b));
    compete(("first", move || both(pair)), ("second", move || both((a, b))));
    drop(device);
}
