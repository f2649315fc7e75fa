//! linux/interrupt.h: request_irq and friends.
//!
//! A handler is an ithread without a filter: what Linux calls hardirq context may block on a mutex here, and is preempted like
//! any thread. The mapping says what surrounds its body (`LockMapping::irq_handler`). A threaded handler's thread function runs in
//! the same ithread, after it, where it may sleep.
//!
//! # Deviations
//!
//! From LinuxKPI: the record of a request lies in a table of the machine, not in kmalloc'ed memory, so that one which is
//! never freed is no leak; one handler per interrupt.
//!
//! References: sys/compat/linuxkpi/common/src/linux_interrupt.c, BUS_SETUP_INTR(9).

mod tasklet;

pub use tasklet::{Tasklet, TaskletFunc, init_tasklets};

use crate::mapping::LockMapping;
use core::ffi::{c_int, c_void};
use freebsd_sys::atomic::{OwnedPtr, OwnedUsize};
use freebsd_sys::interrupt;
use freebsd_sys::module::ModuleData;
use freebsd_sys::thread::{thread_no_sleeping, thread_sleeping_ok};

pub use freebsd_sys::interrupt::Irq;

/// `irqreturn_t`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub struct IrqReturn(pub c_int);

/// `IRQ_NONE`: not this device's.
pub const IRQ_NONE: IrqReturn = IrqReturn(0);
/// `IRQ_HANDLED`.
pub const IRQ_HANDLED: IrqReturn = IrqReturn(1);
/// `IRQ_WAKE_THREAD`: the thread function is to run.
pub const IRQ_WAKE_THREAD: IrqReturn = IrqReturn(2);

/// `irq_handler_t`.
pub type IrqHandler = unsafe extern "C-unwind" fn(c_int, *mut c_void) -> IrqReturn;

/// `EBUSY`.
pub const EBUSY: i32 = 16;
/// `EINVAL`.
pub const EINVAL: i32 = 22;

/// Interrupt sources of a machine.
const SOURCES: usize = 32;

/// `struct irq_ent`. Written at set-up, while the handler is not installed.
#[derive(Debug)]
struct IrqEnt {
    irq: OwnedUsize,
    handler: OwnedUsize,
    thread_fn: OwnedUsize,
    dev: OwnedPtr<c_void>,
    /// The trampoline that calls them, in the requester's mapping.
    entry: OwnedUsize,
    /// `tag`: whether it is installed.
    installed: OwnedUsize,
}

/// The machine's requests, by interrupt.
#[derive(Debug)]
struct Table([IrqEnt; SOURCES]);

impl Default for Table {
    fn default() -> Self {
        Self(
            [const {
                IrqEnt {
                    irq: OwnedUsize::new(0),
                    handler: OwnedUsize::new(0),
                    thread_fn: OwnedUsize::new(0),
                    dev: OwnedPtr::null(),
                    entry: OwnedUsize::new(0),
                    installed: OwnedUsize::new(0),
                }
            }; SOURCES],
        )
    }
}

static TABLE: ModuleData<Table> = ModuleData::new();

/// The request for `irq`, if there is one.
fn requested(irq: Irq) -> Option<&'static IrqEnt> {
    TABLE.get().0.get(usize::from(irq.0)).filter(|ent| ent.handler.get() != 0)
}

/// `lkpi_irq_handler()`, under the mapping `M`.
unsafe extern "C-unwind" fn lkpi_irq_handler<M: LockMapping>(context: *mut c_void) {
    // SAFETY: `install` passes an entry of the table.
    let ent = unsafe { &*context.cast::<IrqEnt>() };
    let (irq, dev) = (ent.irq.get() as c_int, ent.dev.get());
    // SAFETY: what the requester promised; the fields hold `IrqHandler`s.
    let call = |func: usize| unsafe { core::mem::transmute::<usize, IrqHandler>(func)(irq, dev) };
    let mut result = IRQ_NONE;
    M::irq_handler(|| result = call(ent.handler.get()));
    if result == IRQ_WAKE_THREAD && ent.thread_fn.get() != 0 {
        thread_sleeping_ok();
        call(ent.thread_fn.get());
        thread_no_sleeping();
    }
}

/// `bus_setup_intr()` for `ent`.
fn install(ent: &'static IrqEnt) {
    let at = core::ptr::from_ref(ent);
    ent.installed.set(1);
    // SAFETY: `request_threaded_irq` stored a trampoline; the table lives to the end of the execution.
    unsafe {
        let entry = core::mem::transmute::<usize, unsafe extern "C-unwind" fn(*mut c_void)>(ent.entry.get());
        interrupt::setup_ithread(Irq(ent.irq.get() as u16), entry, at.cast_mut().cast(), at as usize);
    }
}

/// `bus_teardown_intr()` for `ent`; waits for a running handler.
fn uninstall(ent: &'static IrqEnt) {
    if ent.installed.get() != 0 {
        interrupt::teardown(Irq(ent.irq.get() as u16), core::ptr::from_ref(ent) as usize);
        ent.installed.set(0);
    }
}

/// `irq_default_primary_handler()`: what a request without a handler has for one.
pub(crate) unsafe extern "C-unwind" fn irq_default_primary_handler(_irq: c_int, _dev: *mut c_void) -> IrqReturn {
    IRQ_WAKE_THREAD
}

/// `request_irq()`: 0, `-EBUSY` if somebody has it, `-EINVAL` for no such interrupt. Thread context.
///
/// # Safety
///
/// Until [`free_irq`] or [`disable_irq`] has returned, `handler` may be called with `dev` from the interrupt's thread.
pub unsafe fn request_irq<M: LockMapping>(irq: Irq, handler: IrqHandler, dev: *mut c_void) -> i32 {
    // SAFETY: the caller's promise.
    unsafe { request_threaded_irq::<M>(irq, handler, None, dev) }
}

/// `request_threaded_irq()`: as [`request_irq`]; when `handler` returns [`IRQ_WAKE_THREAD`], `thread_fn` runs after it and may
/// sleep.
///
/// # Safety
///
/// As [`request_irq`], for both functions.
pub unsafe fn request_threaded_irq<M: LockMapping>(
    irq: Irq,
    handler: IrqHandler,
    thread_fn: Option<IrqHandler>,
    dev: *mut c_void,
) -> i32 {
    let Some(ent) = TABLE.get().0.get(usize::from(irq.0)).filter(|_| interrupt::exists(irq)) else { return -EINVAL };
    if ent.handler.get() != 0 {
        return -EBUSY;
    }
    ent.irq.set(irq.0.into());
    ent.handler.set(handler as usize);
    ent.thread_fn.set(thread_fn.map_or(0, |func| func as usize));
    ent.dev.set(dev);
    ent.entry.set(lkpi_irq_handler::<M> as *const () as usize);
    install(ent);
    0
}

/// `free_irq()`: the handler will not be called any more. Sleeps while it runs.
///
/// # Panics
///
/// Those of a sleep, if it has to wait.
pub fn free_irq(irq: Irq) {
    if let Some(ent) = requested(irq) {
        uninstall(ent);
        ent.handler.set(0);
    }
}

/// `disable_irq()`: LinuxKPI takes the handler off. Sleeps while it runs.
///
/// # Panics
///
/// As [`free_irq`].
pub fn disable_irq(irq: Irq) {
    if let Some(ent) = requested(irq) {
        uninstall(ent);
    }
}

/// `enable_irq()`: puts the handler back: 0, or `-EINVAL` if it is there or was never requested.
pub fn enable_irq(irq: Irq) -> i32 {
    match requested(irq) {
        Some(ent) if ent.installed.get() == 0 => {
            install(ent);
            0
        }
        _ => -EINVAL,
    }
}

/// `synchronize_irq()`: waits until the handler does not run. Sleeps. From the handler itself it waits for ever.
///
/// # Panics
///
/// Those of a sleep, if it has to wait.
pub fn synchronize_irq(irq: Irq) {
    if requested(irq).is_some() {
        interrupt::drain(irq);
    }
}
