//! `dma-resv-preempt-disabled`: drm-kmod #116 as it was: a literal preempt_disable() and a plain seqcount around adding a fence.

use super::driver::{Device, Fences};
use super::harness::compete;
use linuxkpi::LockMapping;
use linuxkpi::preempt::{preempt_disable, preempt_enable};
use linuxkpi::seqlock::Seqcount;
use std::sync::Arc;

/// thread0's main.
pub(super) fn run<M: LockMapping>() {
    let fences = Fences::<M>::new();
    let device = Device::new(&fences);
    let count = Arc::new(Seqcount::<M>::new());
    count.init();
    let emitter = Arc::clone(&fences);
    compete(
        ("submit", move || emitter.emit()),
        ("ioctl", move || {
            preempt_disable::<M>();
            count.write(|| {
                fences.is_signaled(|| ());
            });
            preempt_enable::<M>();
        }),
    );
    drop(device);
}
