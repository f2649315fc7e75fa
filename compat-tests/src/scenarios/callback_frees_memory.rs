//! `callback-frees-memory`: the section of `dma-resv-fence-callback`, whose callback frees, allocates and queues work.
//!
//! What drm-kmod's callbacks do: kfree (#9), a GFP_ATOMIC allocation (72a418286b), queue_work (62a8a74a90).

use super::driver::Fences;
use super::harness::compete;
use linuxkpi::LockMapping;
use linuxkpi::mapping::Context;
use linuxkpi::seqlock::SeqLock;
use linuxkpi::slab::{Gfp, kfree, kmalloc};
use linuxkpi::workqueue::{WorkStruct, schedule_work};
use std::sync::Arc;

unsafe extern "C-unwind" fn wake(_work: *mut WorkStruct) {}

/// thread0's main.
pub(super) fn run<M: LockMapping>() {
    linuxkpi::init();
    let fences = Fences::<M>::new();
    let resv = Arc::new(SeqLock::<M>::with_mapping());
    resv.init();
    let work = Arc::new(WorkStruct::new());
    // SAFETY: the work is flushed before it goes, and `wake` takes any pointer.
    unsafe { work.init(wake) };
    let (emitter, queued) = (Arc::clone(&fences), Arc::clone(&work));
    compete(
        ("submit", move || emitter.emit()),
        ("ioctl", move || {
            let callback = kmalloc(64, Gfp::KERNEL);
            let mut job = core::ptr::null_mut();
            resv.write(Context::Plain, || {
                // SAFETY: nobody else uses the callback; the work is flushed before it goes.
                fences.is_signaled(|| unsafe {
                    kfree::<M>(callback);
                    job = kmalloc(32, Gfp::ATOMIC);
                    schedule_work(&queued);
                });
            });
            // SAFETY: null, or allocated above.
            unsafe { kfree::<M>(job) };
        }),
    );
    work.flush();
    linuxkpi::exit();
}
