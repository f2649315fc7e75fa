//! `irq-handler-takes-lock`: a request_irq handler and a thread share a lock: why irqsave exists.

use super::driver::{Device, Fences};
use super::harness::compete;
use linuxkpi::LockMapping;
use std::sync::Arc;

/// thread0's main.
pub(super) fn run<M: LockMapping>() {
    let fences = Fences::<M>::new();
    let device = Device::new(&fences);
    let other = Arc::clone(&fences);
    compete(("first", move || other.emit()), ("second", move || fences.emit()));
    drop(device);
}
