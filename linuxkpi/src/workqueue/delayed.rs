//! Delayed works: a work, and the callout that queues it.
//!
//! The callout runs with `timer.mtx`, under which works are queued, timed and cancelled: whoever has it finds the callout and the state in
//! step. WITNESS does not see that mutex, but the taskqueue's, which is taken under it: a delayed work may be used where a work may, and
//! panics where a work does.
//!
//! The thread that runs the work drains the callout first, since the work may free itself.
//!
//! References: sys/compat/linuxkpi/common/src/linux_work.c, linux/workqueue.h.

use super::{WorkFunc, WorkStruct, WorkqueueStruct, linux_work_fn, state, system_wq};
use crate::Loc;
use crate::sched::jiffies;
use core::ffi::{c_int, c_void};
use core::mem::offset_of;
use freebsd_sys::atomic::OwnedUsize;
use freebsd_sys::callout::{Callout, Cf, Handler};
use freebsd_sys::mutex::{Mtx, Mtxf};
use freebsd_sys::{cpu, witness};

/// `struct delayed_work`: 160 bytes, caller-owned.
#[repr(C)]
#[derive(Debug)]
pub struct DelayedWork {
    /// The work, which is what its function gets: `to_delayed_work()` is a cast.
    pub work: WorkStruct,
    timer: Timer,
}

/// `timer` of a `struct delayed_work`, whose `expires` drivers read (drm's scheduler).
#[repr(C)]
#[derive(Debug)]
struct Timer {
    callout: Callout,
    /// C's `struct callout` is 64 bytes.
    room: [usize; ROOM],
    mtx: Mtx,
    /// (mtx) In jiffies, when it is or was to be queued.
    expires: OwnedUsize,
}

const ROOM: usize = (64 - size_of::<Callout>()) / size_of::<usize>();

const _: () = assert!(size_of::<DelayedWork>() == 160 && offset_of!(DelayedWork, timer.expires) == 152);

impl Default for DelayedWork {
    fn default() -> Self {
        Self::new()
    }
}

impl DelayedWork {
    /// A work that was not initialised.
    pub const fn new() -> Self {
        let timer = Timer { callout: Callout::new(), room: [0; ROOM], mtx: Mtx::zeroed(), expires: OwnedUsize::new(0) };
        Self { work: WorkStruct::new(), timer }
    }

    /// `INIT_DELAYED_WORK()`.
    ///
    /// # Safety
    ///
    /// The work is not queued and does not run. `func` may be called with the address of [`DelayedWork::work`] whenever it was queued.
    pub unsafe fn init(&self, func: WorkFunc) {
        // SAFETY: the caller's promise, and who queues the work keeps it alive until it runs.
        unsafe {
            self.work.init(func);
            self.work.task.init_fn(0, linux_delayed_work_fn, core::ptr::from_ref(self).cast_mut().cast());
        }
        self.timer.mtx.init(c"lkpi-dwork", Mtxf::DEF | Mtxf::NOWITNESS | Mtxf::NEW);
        self.timer.callout.init_lock(Some(self.timer.mtx.object()), Cf::empty());
        self.timer.expires.set(0);
    }

    /// `delayed_work_pending()`: waits for its time, or is queued.
    pub fn pending(&self) -> bool {
        self.work.pending()
    }

    /// `timer.expires`: the jiffy at which it is or was to be queued.
    pub fn expires(&self) -> usize {
        self.timer.expires.get()
    }

    /// Puts the work on its queue.
    #[track_caller]
    fn enqueue(&self) {
        if let Some(wq) = self.work.queue() {
            // SAFETY: who queued the work promised that it lives and stays where it is until its function has begun.
            unsafe { wq.tq().enqueue(&self.work.task) };
        }
    }

    /// Takes the work off its queue: how many runs were pending there, and whether it runs.
    #[track_caller]
    fn dequeue(&self) -> (usize, bool) {
        let Some(wq) = self.work.queue() else { return (0, false) };
        match wq.tq().cancel(&self.work.task) {
            Ok(pending) => (pending, false),
            Err((_, pending)) => (pending, true),
        }
    }

    /// `callout_stop(..) == 1`; timer.mtx is held.
    #[track_caller]
    fn stop(&self) -> bool {
        self.timer.callout.stop() == 1
    }

    /// `cancel_delayed_work()`: takes it off its queue or stops its timer; whether it was pending. Does not wait for the function. Does not
    /// sleep, but takes sleep mutexes.
    ///
    /// # Panics
    ///
    /// As [`WorkqueueStruct::queue_work`].
    #[track_caller]
    pub fn cancel(&self) -> bool {
        if !cpu::step("cancel_delayed_work", 0) {
            return false;
        }
        self.timer.mtx.lock();
        let old = self.work.update(|old| match old {
            state::IDLE | state::EXEC => old,
            _ => state::CANCEL,
        });
        let cancelled = match old {
            state::IDLE | state::EXEC => false,
            state::TASK => !self.dequeue().1,
            _ => self.stop() || !self.dequeue().1,
        };
        if cancelled {
            // Unless it was queued once more.
            self.work.update(|old| if old == state::CANCEL { state::IDLE } else { old });
        }
        self.timer.mtx.unlock();
        cancelled
    }

    /// `cancel_delayed_work_sync()`: as [`DelayedWork::cancel`], and waits for the function if it runs. Sleeps.
    ///
    /// Prints `linux_cancel_delayed_work_sync() might sleep with the following non-sleepable locks held:` under WITNESS.
    ///
    /// # Panics
    ///
    /// Those of a sleep.
    #[track_caller]
    pub fn cancel_sync(&self) -> bool {
        if !cpu::step("cancel_delayed_work_sync", 0) {
            return false;
        }
        let mut cancelled = false;
        // The work may queue itself again while it is waited for.
        while !cpu::scheduler_stopped() {
            let (pending, again) = self.cancel_once();
            cancelled |= pending;
            if !pending && !again {
                break;
            }
        }
        cancelled
    }

    /// Whether it was pending, and whether it ran, so that it may be so again.
    #[track_caller]
    fn cancel_once(&self) -> (bool, bool) {
        witness::warn(None, Loc::caller(), "linux_cancel_delayed_work_sync() might sleep");
        self.timer.mtx.lock();
        let old = self.work.update(|_| state::IDLE);
        if old == state::IDLE {
            self.timer.mtx.unlock();
            return (false, false);
        }
        let timed = matches!(old, state::TIMER | state::CANCEL);
        let stopped = timed && self.stop();
        let (pending, runs) = self.dequeue();
        self.timer.mtx.unlock();
        if timed {
            self.timer.callout.drain();
        }
        if timed || runs {
            self.work.wait();
        }
        (stopped || pending != 0, runs)
    }

    /// `flush_delayed_work()`: if its time has not come it comes now; waits until the function has run. Whether there was anything to wait
    /// for. Sleeps.
    ///
    /// Prints `linux_flush_delayed_work() might sleep with the following non-sleepable locks held:` under WITNESS.
    ///
    /// # Panics
    ///
    /// Those of a sleep.
    #[track_caller]
    pub fn flush(&self) -> bool {
        if !cpu::step("flush_delayed_work", 0) {
            return false;
        }
        witness::warn(None, Loc::caller(), "linux_flush_delayed_work() might sleep");
        match self.work.state.read() {
            state::IDLE => return false,
            state::TIMER => {
                self.timer.mtx.lock();
                let stopped = self.stop();
                self.timer.mtx.unlock();
                self.timer.callout.drain();
                if stopped {
                    self.enqueue();
                }
            }
            _ => {}
        }
        self.work.wait()
    }
}

impl WorkqueueStruct {
    /// `queue_delayed_work()`: queues the work in `delay` jiffies; false if it is pending already. Does not sleep, but takes sleep mutexes.
    ///
    /// # Safety
    ///
    /// The work is initialised, and lives and stays where it is until its function has begun.
    ///
    /// # Panics
    ///
    /// As [`WorkqueueStruct::queue_work`].
    #[track_caller]
    pub unsafe fn queue_delayed_work(&self, dwork: &DelayedWork, delay: u64) -> bool {
        if !cpu::step("queue_delayed_work", 0) {
            return false;
        }
        if self.draining.get() != 0 {
            return !dwork.pending();
        }
        // Some ask for MAX_SCHEDULE_TIMEOUT.
        let delay = delay.min(c_int::MAX as u64);
        let (work, timer) = (&dwork.work, &dwork.timer);
        timer.mtx.lock();
        let old = work.update(|old| if old == state::TASK { old } else { state::TIMER });
        let queued = !matches!(old, state::TIMER | state::TASK);
        if queued {
            timer.expires.set(jiffies() as usize + delay as usize);
            let again = delay == 0 && old != state::IDLE && work.runs_again();
            if !again {
                work.work_queue.set(core::ptr::from_ref(self).cast_mut());
                if delay == 0 {
                    dwork.enqueue();
                } else {
                    let handler = Handler::Func(timer_fn, core::ptr::from_ref(dwork).cast_mut().cast());
                    timer.callout.reset(delay, handler, None, Cf::empty());
                }
            }
        }
        timer.mtx.unlock();
        queued
    }

    /// `mod_delayed_work()`: as [`WorkqueueStruct::queue_delayed_work`], with the new delay even if the work is pending; whether it was.
    ///
    /// # Safety
    ///
    /// As [`WorkqueueStruct::queue_delayed_work`].
    ///
    /// # Panics
    ///
    /// As [`WorkqueueStruct::queue_work`].
    #[track_caller]
    pub unsafe fn mod_delayed_work(&self, dwork: &DelayedWork, delay: u64) -> bool {
        let pending = dwork.cancel();
        // SAFETY: the caller's promise.
        unsafe { self.queue_delayed_work(dwork, delay) };
        pending
    }
}

/// `schedule_delayed_work()`: [`WorkqueueStruct::queue_delayed_work`] on `system_wq`.
///
/// # Safety
///
/// As [`WorkqueueStruct::queue_delayed_work`].
///
/// # Panics
///
/// As [`WorkqueueStruct::queue_work`].
#[track_caller]
pub unsafe fn schedule_delayed_work(dwork: &DelayedWork, delay: u64) -> bool {
    // SAFETY: the caller's promise.
    unsafe { system_wq().queue_delayed_work(dwork, delay) }
}

/// `linux_delayed_work_timer_fn()`: the callout's function; timer.mtx is held.
unsafe extern "C-unwind" fn timer_fn(dwork: *mut c_void) {
    // SAFETY: a work whose callout was not stopped is alive.
    let dwork = unsafe { &*dwork.cast::<DelayedWork>() };
    let waits = |old| matches!(old, state::TIMER | state::CANCEL);
    if waits(dwork.work.update(|old| if waits(old) { state::TASK } else { old })) {
        dwork.enqueue();
    }
}

/// `linux_delayed_work_fn()`: the task's function.
unsafe extern "C-unwind" fn linux_delayed_work_fn(dwork: *mut c_void, pending: c_int) {
    let dwork = dwork.cast::<DelayedWork>();
    // SAFETY: the work is alive until its function is called. The callout's mutex may still be in use, and the function may free it.
    unsafe {
        (*dwork).timer.callout.drain();
        linux_work_fn((&raw mut (*dwork).work).cast(), pending);
    }
}
