//! `seqcount-type-dispatch`: `dma-resv-fence-callback` with a seqcount_ww_mutex_t, whose writer LinuxKPI puts into a critical
//! section because of the count's type (drm-kmod 223d108caf).

use super::driver::{Device, Fences};
use super::harness::compete;
use linuxkpi::LockMapping;
use linuxkpi::seqlock::SeqcountMutex;
use std::sync::Arc;

/// thread0's main.
pub(super) fn run<M: LockMapping>() {
    let fences = Fences::<M>::new();
    let device = Device::new(&fences);
    let count = Arc::new(SeqcountMutex::<M>::new());
    count.init();
    let emitter = Arc::clone(&fences);
    compete(
        ("submit", move || emitter.emit()),
        // The reservation's ww_mutex is this thread's: nobody else writes the count.
        ("ioctl", move || {
            count.write(|| {
                fences.is_signaled(|| ());
            });
        }),
    );
    drop(device);
}
