//! linux/completion.h: `struct completion`.
//!
//! # State of `done`
//!
//! | value | meaning |
//! |---|---|
//! | 0 | nothing to take: waiters sleep |
//! | n | n waits succeed without sleeping |
//! | UINT_MAX | `complete_all`: every wait succeeds until `reinit_completion` |
//!
//! The counter is guarded by the lock of the sleep queue of the completion's own address, so there is no lock to initialise, and
//! zeroed memory is a completion.
//!
//! # Deviations from Linux (LinuxKPI's)
//!
//! A wait does not warn about held locks: WITNESS hears nothing of it. `complete` saturates at UINT_MAX. As in Linux, and not in
//! LinuxKPI, which makes 25 days of it, MAX_SCHEDULE_TIMEOUT is for ever.
//!
//! References: sys/compat/linuxkpi/common/src/linux_compat.c (linux_complete_common), linux/completion.h.

use crate::sched::{ERESTARTSYS, MAX_SCHEDULE_TIMEOUT, jiffies};
use freebsd_sys::atomic::Owned32;
use freebsd_sys::cpu;
use freebsd_sys::sleepqueue::{self, EWOULDBLOCK, Type};

/// `complete_all` was called.
const ALL: u32 = u32::MAX;

/// `struct completion`: 4 bytes. It must not move while somebody waits.
#[repr(C)]
#[derive(Debug)]
pub struct Completion {
    done: Owned32,
}

const _: () = assert!(size_of::<Completion>() == 4);

impl Default for Completion {
    fn default() -> Self {
        Self::new()
    }
}

impl Completion {
    /// `COMPLETION_INITIALIZER`.
    pub const fn new() -> Self {
        Self { done: Owned32::new(0) }
    }

    fn wchan(&self) -> usize {
        core::ptr::from_ref(self) as usize
    }

    /// Runs `body` with the counter's lock held.
    fn locked<R>(&self, body: impl FnOnce() -> R) -> R {
        sleepqueue::lock(self.wchan());
        let result = body();
        sleepqueue::release(self.wchan());
        result
    }

    /// `init_completion()`.
    pub fn init(&self) {
        self.done.set(0);
    }

    /// `reinit_completion()`.
    pub fn reinit(&self) {
        if cpu::step("reinit_completion", 0) {
            self.done.set(0);
        }
    }

    /// `complete()`: one wait succeeds. Does not sleep; legal in a critical section and under a spin mutex.
    pub fn complete(&self) {
        if cpu::step("complete", 0) {
            self.locked(|| {
                self.done.set(self.done.get().saturating_add(1));
                sleepqueue::signal(self.wchan(), Type::Sleep, 0, 0);
            });
        }
    }

    /// `complete_all()`: every wait succeeds from now on. Context as for [`Completion::complete`].
    pub fn complete_all(&self) {
        if cpu::step("complete_all", 0) {
            self.locked(|| {
                self.done.set(ALL);
                sleepqueue::broadcast(self.wchan(), Type::Sleep, 0, 0);
            });
        }
    }

    /// Takes one completion; the lock is held.
    fn take(&self) -> bool {
        match self.done.get() {
            0 => false,
            ALL => true,
            n => {
                self.done.set(n - 1);
                true
            }
        }
    }

    /// `wait_for_completion()`. Sleeps.
    ///
    /// # Panics
    ///
    /// `sleepq_add: td %p to sleep on wchan %p with sleeping prohibited`, and mi_switch's in a critical section; only if it has
    /// to wait.
    pub fn wait(&self) {
        self.wait_common(false, None);
    }

    /// `wait_for_completion_interruptible()`: 0, or `-ERESTARTSYS` if a signal came. Sleeps.
    ///
    /// # Panics
    ///
    /// As [`Completion::wait`].
    pub fn wait_interruptible(&self) -> i32 {
        self.wait_common(true, None) as i32
    }

    /// `wait_for_completion_timeout()`: 0 if time ran out, else the jiffies left, at least 1. Sleeps.
    ///
    /// # Panics
    ///
    /// As [`Completion::wait`].
    pub fn wait_timeout(&self, timeout: i64) -> i64 {
        self.wait_common(false, Some(timeout))
    }

    /// `wait_for_completion_interruptible_timeout()`: as [`Completion::wait_timeout`], or `-ERESTARTSYS`. Sleeps.
    ///
    /// # Panics
    ///
    /// As [`Completion::wait`].
    pub fn wait_interruptible_timeout(&self, timeout: i64) -> i64 {
        self.wait_common(true, Some(timeout))
    }

    /// All forms of waiting. Without a timeout success is 0, with one the time left.
    fn wait_common(&self, interruptible: bool, timeout: Option<i64>) -> i64 {
        if !cpu::step("wait_for_completion", 0) {
            return 0;
        }
        let wchan = self.wchan();
        // For ever is no time at all: virtual time would come to its end where nothing else can move.
        let forever = timeout.is_some_and(|timeout| timeout >= MAX_SCHEDULE_TIMEOUT);
        let end = timeout.filter(|_| !forever).map(|timeout| jiffies() as i64 + timeout.max(1));
        loop {
            sleepqueue::lock(wchan);
            if self.take() {
                sleepqueue::release(wchan);
                let none = if forever { MAX_SCHEDULE_TIMEOUT } else { 0 };
                return end.map_or(none, |end| (end - jiffies() as i64).max(1));
            }
            sleepqueue::add(wchan, 0, "completion", Type::Sleep, 0);
            if let Some(end) = end {
                sleepqueue::set_timeout((end - jiffies() as i64).max(1) as u64);
            }
            let error = match (end.is_some(), interruptible) {
                (true, true) => sleepqueue::timedwait_sig(wchan),
                (true, false) => sleepqueue::timedwait(wchan),
                (false, true) => sleepqueue::wait_sig(wchan),
                (false, false) => {
                    sleepqueue::wait(wchan);
                    0
                }
            };
            match error {
                0 if cpu::scheduler_stopped() => return 0,
                0 => {}
                EWOULDBLOCK => return 0,
                _ => return -i64::from(ERESTARTSYS),
            }
        }
    }

    /// `try_wait_for_completion()`: takes one if there is one. Does not sleep.
    pub fn try_wait(&self) -> bool {
        cpu::step("try_wait_for_completion", 0) && self.locked(|| self.take())
    }

    /// `completion_done()`: whether a wait would succeed now. Does not sleep.
    pub fn done(&self) -> bool {
        cpu::step("completion_done", 0) && self.locked(|| self.done.get() != 0)
    }
}
