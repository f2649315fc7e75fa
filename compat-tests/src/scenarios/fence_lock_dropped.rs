//! `fence-lock-dropped`: PR 253461. Callbacks run with the fence lock dropped, so removing one does not wait for it: forbidden.
//!
//! The waiter takes dma_fence_remove_callback()'s "not on the list" for "has run", and frees the callback, which is running.

use super::harness::compete;
use crate::cell::{Pair, Tracked};
use core::ffi::c_void;
use linuxkpi::LockMapping;
use linuxkpi::slab::{Gfp, kfree, kmalloc};
use linuxkpi::spinlock::SpinLock;
use std::sync::Arc;

#[derive(Debug, Default)]
struct List {
    queued: Tracked,
    pair: Pair,
}

/// thread0's main.
pub(super) fn run<M: LockMapping>() {
    linuxkpi::init();
    let fence = Arc::new(SpinLock::<List, M>::with_mapping(List::default()));
    fence.init();
    let callback = kmalloc(16, Gfp::KERNEL) as usize;
    fence.lock().queued.set(1);
    let signaled = Arc::clone(&fence);
    compete(
        ("signal", move || {
            let list = signaled.lock_irqsave();
            list.pair.bump();
            if list.queued.get() != 0 {
                list.queued.set(0);
                drop(list);
                // The callback: marks itself done.
                freebsd_sys::host::explore::access(callback, 8, true, true);
                signaled.lock_irqsave().pair.bump();
            }
        }),
        ("wait", move || {
            let list = fence.lock_irqsave();
            list.pair.bump();
            list.queued.set(0);
            drop(list);
            // SAFETY: the address came from kmalloc; that the callback may still run is what this scenario is about.
            unsafe { kfree::<M>(callback as *mut c_void) };
        }),
    );
    linuxkpi::exit();
}
