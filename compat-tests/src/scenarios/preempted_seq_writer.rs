//! `preempted-seq-writer`: D35021. A plain seqcount_t is written inside spin_lock; the reader is a timer, in the softclock thread
//! of the writer's CPU.

use super::harness::{BATCH, run as run_threads, syscall};
use crate::cell::SeqPair;
use core::ffi::c_void;
use linuxkpi::LockMapping;
use linuxkpi::seqlock::Seqcount;
use linuxkpi::spinlock::SpinLock;
use linuxkpi::timer::Timer;
use std::sync::Arc;

#[derive(Debug)]
struct Stats<M: LockMapping> {
    lock: SpinLock<(), M>,
    count: Seqcount<M>,
    data: SeqPair,
    timer: Timer,
}

unsafe extern "C-unwind" fn sample<M: LockMapping>(stats: *mut c_void) {
    // SAFETY: the timer is drained before the object goes.
    let stats = unsafe { &*stats.cast_const().cast::<Stats<M>>() };
    let seen = stats.count.read(|| stats.data.read());
    stats.data.check(seen);
}

/// thread0's main.
pub(super) fn run<M: LockMapping>() {
    let stats = Arc::new(Stats::<M> {
        lock: SpinLock::with_mapping(()),
        count: Seqcount::new(),
        data: SeqPair::default(),
        timer: Timer::new(),
    });
    stats.lock.init();
    stats.count.init();
    let update = {
        let stats = Arc::clone(&stats);
        syscall("update", BATCH, move || {
            // SAFETY: as in `sample`.
            unsafe { stats.timer.setup::<M>(sample::<M>, Arc::as_ptr(&stats).cast_mut().cast()) };
            stats.timer.modify(1);
            for value in 1..=2 {
                let guard = stats.lock.lock();
                stats.count.write(|| stats.data.write(value));
                drop(guard);
            }
        })
    };
    run_threads(vec![update]);
    stats.timer.delete_sync();
}
