//! The driver that the dma-resv scenarios stand for: fences that share one lock, callbacks that run under it, a device that
//! interrupts.

use crate::cell::{Marked, Pair, Tracked};
use core::ffi::{c_int, c_void};
use freebsd_sys::interrupt::{Arrival, Irq, create};
use linuxkpi::LockMapping;
use linuxkpi::interrupt::{IRQ_HANDLED, IrqReturn, free_irq, request_irq};
use linuxkpi::spinlock::SpinLock;
use std::sync::Arc;

/// A fence context: radeon's `fence_queue.lock`, i915's `rq->lock`. All fences of a context share the lock.
#[derive(Debug)]
pub(super) struct Fences<M: LockMapping> {
    /// The lock, and what it guards.
    pub(super) lock: SpinLock<Guarded, M>,
    /// The sequence number that the hardware has reached.
    pub(super) seqno: Marked,
}

/// What the fence lock guards.
#[derive(Debug, Default)]
pub(super) struct Guarded {
    /// DMA_FENCE_FLAG_SIGNALED_BIT of the old fence.
    pub(super) signaled: Tracked,
    /// What callbacks work on.
    pub(super) waiters: Pair,
}

impl<M: LockMapping> Fences<M> {
    /// A context with one unsignalled fence, whose hardware is done.
    pub(super) fn new() -> Arc<Self> {
        let fences = Arc::new(Self { lock: SpinLock::with_mapping(Guarded::default()), seqno: Marked::default() });
        fences.lock.init();
        fences.seqno.write_once(1);
        fences
    }

    /// `dma_fence_is_signaled()`: asks the hardware, and signals if it is done. `callback` runs under the fence lock, once.
    pub(super) fn is_signaled(&self, callback: impl FnOnce()) -> bool {
        if self.seqno.read_once() == 0 {
            return false;
        }
        let guarded = self.lock.lock_irqsave();
        if guarded.signaled.get() == 0 {
            guarded.signaled.set(1);
            guarded.waiters.bump();
            callback();
        }
        true
    }

    /// Another user of the context: emits a request under the fence lock.
    pub(super) fn emit(&self) {
        let guarded = self.lock.lock_irqsave();
        guarded.waiters.bump();
    }

    /// The interrupt handler: looks at the context under its lock.
    unsafe extern "C-unwind" fn interrupt(_irq: c_int, fences: *mut c_void) -> IrqReturn {
        // SAFETY: `Device` keeps the context alive until the handler is gone.
        let fences = unsafe { &*fences.cast_const().cast::<Self>() };
        fences.emit();
        IRQ_HANDLED
    }
}

/// A device whose interrupt may come at any time, with the context's handler.
#[derive(Debug)]
pub(super) struct Device<M: LockMapping> {
    irq: Irq,
    fences: Arc<Fences<M>>,
}

impl<M: LockMapping> Device<M> {
    /// `request_irq()`.
    pub(super) fn new(fences: &Arc<Fences<M>>) -> Self {
        let irq = create("gpu", Arrival::AnyTime, freebsd_sys::sched::pri::PI_INTR, None);
        let dev = Arc::as_ptr(fences).cast_mut().cast();
        // SAFETY: `free_irq` comes before the context goes, in `drop`.
        let error = unsafe { request_irq::<M>(irq, Fences::<M>::interrupt, dev) };
        assert_eq!(error, 0, "request_irq");
        Self { irq, fences: Arc::clone(fences) }
    }
}

impl<M: LockMapping> Drop for Device<M> {
    fn drop(&mut self) {
        free_irq(self.irq);
        let _still_alive = &self.fences;
    }
}
