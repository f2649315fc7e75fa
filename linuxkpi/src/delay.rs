//! linux/delay.h, and the other ways to let time pass (linux/jiffies.h, linux/sched.h).
//!
//! References: sys/compat/linuxkpi/common/include/linux/delay.h.

use freebsd_sys::sleep;

pub use crate::sched::{
    cond_resched, jiffies, might_sleep, schedule_timeout_interruptible, schedule_timeout_uninterruptible,
};

/// `HZ`: jiffies per second.
pub const HZ: u64 = 1000;

/// `msleep()`: sleeps for at least `ms` milliseconds, and at least one.
///
/// # Panics
///
/// Row 83 of the misuse table (a print), `sleepq_add: td %p to sleep on wchan %p with sleeping prohibited`, and mi_switch's in a
/// critical section.
#[track_caller]
pub fn msleep(ms: u32) {
    sleep::pause("lnxsleep", u64::from(ms.max(1)));
}

/// `udelay()`: busy for `us` microseconds, in any context.
///
/// In `explore` a thread's delays add up to ticks of virtual time.
pub fn udelay(us: u32) {
    sleep::delay(us);
}

/// `msecs_to_jiffies()`: a jiffy is a millisecond.
pub const fn msecs_to_jiffies(ms: u32) -> i64 {
    ms as i64
}
