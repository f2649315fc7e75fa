//! linux/timer.h: `struct timer_list` over callout(9).
//!
//! The function runs in the softclock thread of the CPU that the timer was set on, at softirq level: it may take spinlocks and
//! must not sleep.
//!
//! Deviation from Linux: none known for one-shot timers; `mod_timer` takes a relative number of jiffies.

use crate::mapping::LockMapping;
use core::ffi::c_void;
use freebsd_sys::atomic::OwnedUsize;
use freebsd_sys::callout::{Callout, Cf, Handler};
use freebsd_sys::cpu;
use freebsd_sys::panic::panic_args;

/// A timer's function.
pub type TimerFunc = unsafe extern "C-unwind" fn(*mut c_void);

/// `struct timer_list`. Must not move while it is pending.
#[derive(Debug)]
#[repr(C)]
pub struct Timer {
    callout: Callout,
    func: OwnedUsize,
    arg: OwnedUsize,
    run: OwnedUsize,
}

impl Default for Timer {
    fn default() -> Self {
        Self::new()
    }
}

impl Timer {
    /// A timer that was not set up.
    pub const fn new() -> Self {
        Self { callout: Callout::new(), func: OwnedUsize::new(0), arg: OwnedUsize::new(0), run: OwnedUsize::new(0) }
    }

    /// `timer_setup()`.
    ///
    /// # Safety
    ///
    /// `func` may be called with `arg` until [`Timer::delete_sync`] has returned; until then the timer lives and stays where it is.
    pub unsafe fn setup<M: LockMapping>(&self, func: TimerFunc, arg: *mut c_void) {
        self.callout.init_lock(None, Cf::empty());
        self.func.set(func as usize);
        self.arg.set(arg as usize);
        self.run.set(Self::run::<M> as *const () as usize);
    }

    extern "C-unwind" fn run<M: LockMapping>(timer: *mut c_void) {
        // SAFETY: the callout was set with the address of a timer that lives until it is drained.
        let timer = unsafe { &*timer.cast_const().cast::<Self>() };
        // SAFETY: `setup` stored a `TimerFunc`.
        let func: TimerFunc = unsafe { core::mem::transmute(timer.func.get()) };
        // SAFETY: the caller of `setup` vouched for the pair.
        M::softirq_handler(|| unsafe { func(timer.arg.get() as *mut c_void) });
    }

    /// `mod_timer()`: runs the function `jiffies` from now, on this CPU. Returns whether it was pending.
    ///
    /// # Panics
    ///
    /// `mod_timer: the timer was not set up`, as Linux's BUG_ON has it.
    pub fn modify(&self, jiffies: u64) -> bool {
        if self.run.get() == 0 {
            panic_args(format_args!("mod_timer: the timer was not set up"));
        }
        // SAFETY: `setup` stored `run::<M>`, which has this type.
        let run: TimerFunc = unsafe { core::mem::transmute(self.run.get()) };
        let arg = core::ptr::from_ref(self).cast_mut().cast();
        self.callout.reset(jiffies, Handler::Func(run, arg), Some(cpu::cpuid()), Cf::empty())
    }

    /// `del_timer()`: returns whether it was pending.
    pub fn delete(&self) -> bool {
        self.callout.stop_pending()
    }

    /// `del_timer_sync()`: also waits until the function does not run. May sleep.
    #[track_caller]
    pub fn delete_sync(&self) -> bool {
        self.callout.drain() > 0
    }

    /// `timer_pending()`.
    pub fn pending(&self) -> bool {
        self.callout.pending()
    }
}
