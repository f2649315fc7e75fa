//! linux/irq_work.h: functions that any context may ask for, called soon by a thread.
//!
//! They run on a *fast* taskqueue: its lock is a spin mutex, so a work may be queued in a critical section, under a spin mutex and
//! in a filter, where an ordinary taskqueue's sleep mutex is a panic. One thread of priority PWAIT serves all; deferred `kfree`s
//! and RCU callbacks are tasks of the same queue.
//!
//! References: sys/compat/linuxkpi/common/src/linux_work.c (linux_irq_work_tq), D27171, drm-kmod #9.

use crate::once::Once;
use core::ffi::{c_int, c_void};
use freebsd_sys::atomic::{OwnedPtr, OwnedUsize};
use freebsd_sys::module::ModuleData;
use freebsd_sys::sched::pri;
use freebsd_sys::taskqueue::{Task, Taskqueue};

/// `linux_irq_work_tq`.
#[derive(Debug)]
struct IrqWorkTq {
    once: Once,
    tq: OwnedPtr<Taskqueue>,
}

impl Default for IrqWorkTq {
    fn default() -> Self {
        Self { once: Once::default(), tq: OwnedPtr::null() }
    }
}

static IRQ_WORK_TQ: ModuleData<IrqWorkTq> = ModuleData::new();

/// `linux_irq_work_tq`, made when first asked for.
pub(crate) fn tq() -> &'static Taskqueue {
    let queue = IRQ_WORK_TQ.get();
    queue.once.call(|| {
        let tq = Taskqueue::create_fast(c"linuxkpi_irq_wq");
        tq.start_threads(1, pri::PWAIT);
        queue.tq.set(core::ptr::from_ref(tq).cast_mut());
    });
    // SAFETY: set above, or the machine has stopped, and then nobody gets here: a queue lives to the end of the execution.
    unsafe { &*queue.tq.get() }
}

/// `irq_work_func_t`.
pub type IrqWorkFunc = unsafe extern "C-unwind" fn(*mut IrqWork);

/// `struct irq_work`: 40 bytes, caller-owned.
#[repr(C)]
#[derive(Debug)]
pub struct IrqWork {
    task: Task,
    func: OwnedUsize,
}

const _: () = assert!(size_of::<IrqWork>() == 40);

impl Default for IrqWork {
    fn default() -> Self {
        Self::new()
    }
}

impl IrqWork {
    /// A work that was not initialised.
    pub const fn new() -> Self {
        Self { task: Task::new(), func: OwnedUsize::new(0) }
    }

    /// `init_irq_work()`.
    ///
    /// # Safety
    ///
    /// The work is not queued. `func` may be called with its address whenever it was queued.
    pub unsafe fn init(&self, func: IrqWorkFunc) {
        self.func.set(func as usize);
        // SAFETY: `queue`'s caller keeps the work alive until it runs.
        unsafe { self.task.init_fn(0, run, core::ptr::from_ref(self).cast_mut().cast()) };
    }

    /// `irq_work_queue()`: any context. False, and nothing done, if it waits to run already.
    ///
    /// # Safety
    ///
    /// The work is initialised, stays where it is and lives until its function has begun.
    ///
    /// # Panics
    ///
    /// None of FreeBSD's in a critical section or under a spin mutex; that is what it is for.
    pub unsafe fn queue(&self) -> bool {
        // SAFETY: the caller's promise; the task is part of the work.
        unsafe { tq().enqueue_unless_pending(&self.task) }
    }

    /// `irq_work_sync()`: waits until it is neither queued nor running. Sleeps.
    pub fn sync(&self) {
        tq().drain(&self.task);
    }
}

/// The task's function.
unsafe extern "C-unwind" fn run(context: *mut c_void, _pending: c_int) {
    let work = context.cast::<IrqWork>();
    // SAFETY: `init` stored an `IrqWorkFunc`, and `queue`'s caller keeps the work alive.
    unsafe { core::mem::transmute::<usize, IrqWorkFunc>((*work).func.get())(work) };
}
