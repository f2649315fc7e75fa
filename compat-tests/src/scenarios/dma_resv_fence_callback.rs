//! `dma-resv-fence-callback`: drm-kmod #116, without its preempt_disable.
//!
//! An ioctl adds a fence to a reservation object inside write_seqlock(). An old fence turns out signalled; signalling it takes
//! the fence lock, which another thread and an interrupt handler also take. There is no reader.

use super::driver::{Device, Fences};
use super::harness::compete;
use linuxkpi::LockMapping;
use linuxkpi::mapping::Context;
use linuxkpi::seqlock::SeqLock;
use std::sync::Arc;

/// thread0's main.
pub(super) fn run<M: LockMapping>() {
    let fences = Fences::<M>::new();
    let device = Device::new(&fences);
    let resv = Arc::new(SeqLock::<M>::with_mapping());
    resv.init();
    let emitter = Arc::clone(&fences);
    compete(
        ("submit", move || emitter.emit()),
        // dma_resv_add_shared_fence()
        ("ioctl", move || {
            resv.write(Context::Plain, || {
                fences.is_signaled(|| ());
            });
        }),
    );
    drop(device);
}
