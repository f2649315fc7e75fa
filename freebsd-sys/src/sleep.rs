//! sleep(9): tsleep, msleep, rw_sleep, pause, wakeup.
//!
//! References: kern/kern_synch.c, sleep(9).

use crate::callout;
use crate::cpu;
use crate::giant;
use crate::lock::{Lo, Loc, LockClass, LockObject, lc_assert_interlock, lc_lock, lc_unlock};
use crate::mutex::ma;
use crate::panic::kassert;
use crate::sleepqueue::{self, Type};
use crate::thread::curthread;

pub use crate::sleepqueue::{EINTR, EWOULDBLOCK};

/// How a sleep ends besides a wake-up.
#[derive(Debug, Clone, Copy, Default)]
pub struct How {
    /// `PRI*` of the sleep's flags: ULE ignores it (see `sched::sched_sleep`).
    pub priority: u32,
    /// `PCATCH`: a signal ends it.
    pub catch: bool,
    /// `PDROP`: the interlock is not taken back.
    pub drop: bool,
    /// Ends after so many ticks; 0 for never.
    pub ticks: u64,
}

/// `_sleep()`: sleeps on `ident`, dropping `interlock` meanwhile. Returns 0, [`EWOULDBLOCK`] or [`EINTR`].
///
/// # Panics
///
/// Rows 83 to 88 and 91 of the misuse table; mi_switch's in a critical section.
#[track_caller]
pub fn sleep(ident: usize, interlock: Option<&LockObject>, how: How, wmesg: &'static str) -> i32 {
    sleep_from(ident, interlock, how, wmesg, Loc::caller())
}

/// `_sleep()`, called from `loc`.
///
/// # Panics
///
/// As [`sleep`].
pub fn sleep_from(ident: usize, interlock: Option<&LockObject>, how: How, wmesg: &'static str, loc: Loc) -> i32 {
    if !cpu::step("_sleep", 0) {
        return 0;
    }
    let td = curthread();
    crate::witness::warn(interlock, loc, format_args!("Sleeping on \"{wmesg}\""));
    kassert!(how.ticks != 0 || interlock.is_some() || giant::owned(), "sleeping without a lock");
    kassert!(ident != 0, "_sleep: NULL ident");
    kassert!(td.is_running(), "_sleep: curthread not running");
    kassert!(!how.drop || interlock.is_some_and(|lock| !giant::is(lock)), "PDROP requires a non-Giant lock");
    kassert!(td.wchan.get() == 0, "recursive sleep");
    kassert!(interlock.is_none_or(|lock| lock.class() != LockClass::MtxSpin), "spin locks can only use msleep_spin");
    // Giant goes by itself, however often it is held.
    let relock = interlock.filter(|lock| !giant::is(lock));
    if interlock.is_some() && relock.is_none() {
        giant::giant().assert_at(ma::OWNED, loc);
    }
    // FreeBSD drops a mutex with the chain locked, before the caller goes on the queue, and a sleepable lock without, afterwards. Being
    // on the queue before the interlock goes is what counts: a wake-up in between takes the thread off again, and the wait returns at
    // once. But what is asserted of a mutex comes first.
    if let Some(lock) = relock.filter(|lock| !lock.flags().contains(Lo::SLEEPABLE)) {
        crate::witness::save(lock);
        // SAFETY: the lock is alive.
        unsafe { lc_assert_interlock(lock, loc) };
    }
    sleepqueue::lock(ident);
    sleepqueue::add(ident, interlock.map_or(0, LockObject::id), wmesg, Type::Sleep, 0);
    if how.ticks != 0 {
        sleepqueue::set_timeout(how.ticks);
    }
    let released = sleepqueue::release_for(ident, giant::or_owned(relock));
    if let Some(lock) = relock.filter(|_| giant::owned()) {
        crate::witness::save(lock);
        // Nobody comes before what is asserted of the interlock.
        // SAFETY: the lock is alive.
        unsafe { lc_assert_interlock(lock, loc) };
    }
    let dropped = released.drop_giant(loc);
    let saved = relock.and_then(crate::witness::save);
    // SAFETY: the caller holds the interlock, which is alive.
    let lock_state = relock.map_or(0, |lock| unsafe { lc_unlock(lock, loc) });
    released.lock_again(ident);
    let error = match (how.ticks != 0, how.catch) {
        (true, true) => sleepqueue::timedwait_sig(ident),
        (true, false) => sleepqueue::timedwait(ident),
        (false, true) => sleepqueue::wait_sig(ident),
        (false, false) => {
            sleepqueue::wait(ident);
            0
        }
    };
    dropped.pickup(loc);
    if let Some(lock) = relock
        && !how.drop
    {
        // SAFETY: the caller held the interlock and gets it back, so it is alive.
        unsafe { lc_lock(lock, lock_state, loc) };
        crate::witness::restore(lock, saved);
    }
    error
}

/// `tsleep()` with a timeout.
#[track_caller]
pub fn tsleep(ident: usize, wmesg: &'static str, ticks: u64) -> i32 {
    sleep(ident, None, How { ticks, ..How::default() }, wmesg)
}

/// `msleep_spin_sbt()`: sleeps with a spin mutex as interlock.
///
/// # Panics
///
/// Row 89 of the misuse table.
#[track_caller]
pub fn msleep_spin(ident: usize, mtx: &crate::mutex::Mtx, wmesg: &'static str, ticks: u64) -> i32 {
    msleep_spin_from(ident, mtx, wmesg, ticks, Loc::caller())
}

/// [`msleep_spin`], called from `loc`.
///
/// # Panics
///
/// As [`msleep_spin`].
pub fn msleep_spin_from(ident: usize, mtx: &crate::mutex::Mtx, wmesg: &'static str, ticks: u64, loc: Loc) -> i32 {
    if !cpu::step("msleep_spin", 0) {
        return 0;
    }
    kassert!(ident != 0, "msleep_spin_sbt: NULL ident");
    kassert!(curthread().is_running(), "msleep_spin_sbt: curthread not running");
    // Giant as its own interlock is gone before it is looked for.
    let gone = giant::is(mtx.object()).then(|| giant::drop_giant(loc));
    mtx.assert_at(crate::mutex::ma::OWNED | crate::mutex::ma::NOTRECURSED, loc);
    sleepqueue::lock(ident);
    sleepqueue::add(ident, mtx.object().id(), wmesg, Type::Sleep, 0);
    if ticks != 0 {
        sleepqueue::set_timeout(ticks);
    }
    let released = sleepqueue::release_for(ident, Some(mtx.object()));
    // Giant goes first: who finds the spin mutex free finds Giant free, too.
    let dropped = gone.unwrap_or_else(|| giant::drop_giant(loc));
    let saved = crate::witness::save(mtx.object());
    mtx.unlock_spin_at(loc);
    if cpu::witness() {
        // WITNESS would find the chain's lock: it goes for as long as that takes, and a wake-up may come.
        released.free();
        crate::witness::warn(None, loc, format_args!("Sleeping on \"{wmesg}\""));
        cpu::step("sleepq_lock", ident);
        sleepqueue::lock(ident);
    } else {
        released.lock_again(ident);
    }
    let error = if ticks != 0 {
        sleepqueue::timedwait(ident)
    } else {
        sleepqueue::wait(ident);
        0
    };
    dropped.pickup(loc);
    mtx.lock_spin_at(0, loc);
    crate::witness::restore(mtx.object(), saved);
    error
}

/// `pause()`: sleeps for `ticks`.
#[track_caller]
pub fn pause(wmesg: &'static str, ticks: u64) -> i32 {
    pause_at(wmesg, ticks, false, Loc::caller())
}

/// `pause_sig()`: [`pause`], which a signal ends with [`sleepqueue::EINTR`].
#[track_caller]
pub fn pause_sig(wmesg: &'static str, ticks: u64) -> i32 {
    pause_at(wmesg, ticks, true, Loc::caller())
}

fn pause_at(wmesg: &'static str, ticks: u64, catch: bool, loc: Loc) -> i32 {
    if !cpu::step("pause", 0) {
        return 0;
    }
    crate::witness::warn(None, loc, format_args!("Sleeping on \"{wmesg}\""));
    let ident = core::ptr::from_ref(&curcpu_pause()[cpu::cpuid()]) as usize;
    sleepqueue::lock(ident);
    sleepqueue::add(ident, 0, wmesg, Type::Pause, 0);
    sleepqueue::set_timeout(ticks);
    let dropped = if let Some(giant) = giant::or_owned(None) {
        let released = sleepqueue::release_for(ident, Some(giant));
        let dropped = giant::drop_giant(loc);
        released.lock_again(ident);
        dropped
    } else {
        giant::drop_giant(loc)
    };
    let error = if catch { sleepqueue::timedwait_sig(ident) } else { sleepqueue::timedwait(ident) };
    dropped.pickup(loc);
    error
}

/// `pause_wchan[]`: an address per CPU to pause on.
fn curcpu_pause() -> &'static [u8; cpu::MAXCPU] {
    static PAUSE_WCHAN: [u8; cpu::MAXCPU] = [0; cpu::MAXCPU];
    &PAUSE_WCHAN
}

/// `wakeup()`: wakes everybody who sleeps on `ident`.
pub fn wakeup(ident: usize) {
    if cpu::step("wakeup", 0) {
        sleepqueue::lock(ident);
        sleepqueue::broadcast(ident, Type::Sleep, 0, 0);
        sleepqueue::release(ident);
    }
}

/// `wakeup_one()`: wakes the best of them.
pub fn wakeup_one(ident: usize) {
    if cpu::step("wakeup_one", 0) {
        sleepqueue::lock(ident);
        sleepqueue::signal(ident, Type::Sleep, 0, 0);
        sleepqueue::release(ident);
    }
}

/// `wakeup_any()`: wakes the one who has slept for the shortest time, whose caches are warm.
pub fn wakeup_any(ident: usize) {
    if cpu::step("wakeup_any", 0) {
        sleepqueue::lock(ident);
        sleepqueue::signal_unfair(ident, Type::Sleep, 0, 0);
        sleepqueue::release(ident);
    }
}

/// Virtual time in ticks of a millisecond.
///
/// In `explore` a loop that spins until it has changed lets it.
pub fn ticks() -> u64 {
    callout::look()
}

/// `DELAY()`: busy for `us` microseconds, in any context.
///
/// In `explore` a thread's delays add up to ticks that pass; they are no time of other threads, which may be busy meanwhile. One that
/// looks at the clock in between, again and again, waits for it: its delays grow, as others' interrupts would let them, so that its
/// loop has some hundred rounds, however long. In `smp` a delay is a boundary, and the time is real.
pub fn delay(us: u32) {
    if !cpu::step("DELAY", 0) || !crate::sched::explored() {
        return;
    }
    let td = curthread();
    let mut passed = u64::from(us);
    if td.looks.get() != 0 {
        td.looks.set(0);
        passed <<= (td.delays.get() / DELAYS_ALIKE).min(DELAY_GROWS);
        td.delays.set(td.delays.get() + 1);
    }
    passed += u64::from(td.delayed.get());
    td.delayed.set((passed % US_PER_TICK) as u32);
    if passed >= US_PER_TICK {
        callout::pass(passed / US_PER_TICK);
    }
}

/// Microseconds in a tick.
const US_PER_TICK: u64 = 1000;
/// Delays of a thread that waits for the clock, until they are twice as long.
const DELAYS_ALIKE: u32 = 64;
/// And how often they become so.
const DELAY_GROWS: u32 = 20;
