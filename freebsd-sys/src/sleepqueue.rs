//! Sleep queues: unbounded sleep on an address, with timeouts and signals, without priority lending.
//!
//! Sleep queues honour `td_no_sleeping`; turnstiles do not. One queue per wait channel; its interlock and type must match
//! among all sleepers.
//!
//! # Deviations from FreeBSD
//!
//! One chain lock serves all queues. In `explore` no primitive is left with it held; a driver that calls these functions holds it between
//! them. A queue is a slot of a machine-wide table rather than donated by the first sleeper.
//!
//! References: kern/subr_sleepqueue.c, sleepqueue(9).

use crate::atomic::Guarded;
use crate::cpu::{self, aside, key, machine, touch, touch_thread};
use crate::critical;
use crate::giant;
use crate::host::explore::state::Hash;
use crate::lock::{ChainLock, Lo, Loc, LockObject};
use crate::panic::{kassert, kpanic, mpass};
use crate::sched::{self, sw, swt};
use crate::thread::{Thread, curthread, tdf, tdi};

/// `SLEEPQ_*`: what a queue is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// sleep(9).
    Sleep,
    /// condvar(9).
    Condvar,
    /// pause(9).
    Pause,
    /// sx(9).
    Sx,
    /// lockmgr(9).
    Lockmgr,
}

/// `EWOULDBLOCK`.
pub const EWOULDBLOCK: i32 = 35;
/// `EINTR`.
pub const EINTR: i32 = 4;

/// The wait channel that a null pointer is, where nobody asserts that there is none: a channel like any other. In a thread, 0 is none.
const NULL_CHANNEL: usize = usize::MAX;

/// What a channel is called in here.
fn channel(wchan: usize) -> usize {
    if wchan == 0 { NULL_CHANNEL } else { wchan }
}

#[derive(Debug)]
struct Sleepq {
    /// Meaningless while nobody sleeps on it: the slot is free then.
    wchan: usize,
    lock: usize,
    kind: Type,
    blocked: [Vec<*mut Thread>; 2],
}

/// All sleep queues of a machine.
#[derive(Debug)]
pub(crate) struct Sleepqueues {
    chain: ChainLock,
    /// (chain)
    table: Guarded<Vec<Sleepq>>,
}

impl Sleepqueues {
    pub(crate) fn new() -> Self {
        Self { chain: ChainLock::new(), table: Guarded::new(Vec::new()) }
    }

    pub(crate) fn reset(&self) {
        self.chain.unlock_raw();
        // SAFETY: between executions nobody else is running.
        for sq in unsafe { self.table.get() } {
            sq.blocked[0].clear();
            sq.blocked[1].clear();
        }
    }
}

impl Sleepqueues {
    /// What happens next depends on it: see [`mod@crate::host::explore::state`].
    pub(crate) fn state(&self, h: &mut Hash) {
        h.bytes_of(&self.chain);
        // SAFETY: (chain) all threads are suspended.
        for sq in unsafe { self.table.get() }.iter().filter(|sq| !sq.is_empty()) {
            h.address(sq.wchan);
            h.address(sq.lock);
            h.word(sq.kind as u64);
            for queue in &sq.blocked {
                h.bytes_of_all(queue);
            }
        }
    }
}

impl Sleepq {
    fn is_empty(&self) -> bool {
        self.blocked[0].is_empty() && self.blocked[1].is_empty()
    }
}

/// The table; the chain lock is held.
fn table() -> &'static mut Vec<Sleepq> {
    // SAFETY: (chain) every caller holds the chain lock.
    unsafe { machine().sleepqueues.table.get() }
}

fn find(wchan: usize) -> Option<&'static mut Sleepq> {
    table().iter_mut().find(|sq| sq.wchan == channel(wchan) && !sq.is_empty())
}

/// `sleepq_lock()`.
pub fn lock(wchan: usize) {
    touch(wchan, 1, true);
    machine().sleepqueues.chain.lock();
}

/// `sleepq_release()`.
pub fn release(_wchan: usize) {
    machine().sleepqueues.chain.unlock();
}

/// How a chain was released for the time in which an interlock goes.
#[must_use]
pub(crate) struct Released {
    /// Whether one may sleep with the interlock; `None` if nothing goes.
    sleepable: Option<bool>,
}

/// [`release`] for the time in which `interlock` goes; then [`Released::lock_again`]. FreeBSD keeps the chain locked if one may not sleep
/// with the interlock: no interrupt comes, and nobody preempts, between going on the queue and the switch. Here interrupts are off.
pub(crate) fn release_for(wchan: usize, interlock: Option<&LockObject>) -> Released {
    let sleepable = interlock.map(|lock| lock.flags().contains(Lo::SLEEPABLE));
    if sleepable == Some(false) {
        critical::spinlock_enter_internal();
    }
    release(wchan);
    Released { sleepable }
}

impl Released {
    /// `DROP_GIANT`, which FreeBSD does with the chain locked even if that is free while the interlock goes: no interrupt comes.
    pub(crate) fn drop_giant(&self, loc: Loc) -> giant::Dropped {
        let free = self.sleepable == Some(true) && giant::owned();
        if free {
            critical::spinlock_enter_internal();
        }
        let dropped = giant::drop_giant(loc);
        if free {
            critical::spinlock_exit_internal();
        }
        dropped
    }

    /// The chain is free from here on, for interrupts too.
    pub(crate) fn free(self) {
        if self.sleepable == Some(false) {
            critical::spinlock_exit_internal();
        }
    }

    /// `sleepq_lock()` again, once the interlock is gone. If FreeBSD's chain is free meanwhile, anything may have come in between. If it is
    /// not, nobody wakes the caller before it has switched; here a wake-up may have come, and must not spare a caller who may not switch
    /// its panic.
    ///
    /// # Panics
    ///
    /// `mi_switch: switch in a critical section` (INVARIANTS).
    pub(crate) fn lock_again(self, wchan: usize) {
        if self.sleepable == Some(true) {
            cpu::step("sleepq_lock", wchan);
        }
        lock(wchan);
        if self.sleepable == Some(false) {
            let td = curthread();
            if td.wchan.get() == 0 {
                // The chain lock counts as one, as the thread lock does in mi_switch().
                kassert!(td.critnest.get() == 1, "mi_switch: switch in a critical section");
            }
            // From here on the chain lock keeps interrupts off.
            critical::spinlock_exit_internal();
        }
    }
}

/// `sleepq_add()`: puts the caller on `wchan`'s queue. The chain lock is held.
///
/// # Panics
///
/// `sleepq_add: td %p to sleep on wchan %p with sleeping prohibited`, and the MPASS on the thread, the channel, interlock and type
/// (INVARIANTS).
pub fn add(wchan: usize, interlock: usize, wmesg: &'static str, kind: Type, queue: usize) {
    touch(wchan, 1, true);
    let td = curthread();
    mpass!(td.wchan.get() == 0, "td->td_sleepqueue != NULL", crate::lock::Loc::caller());
    mpass!(wchan != 0, "wchan != NULL", crate::lock::Loc::caller());
    if td.wchan.get() != 0 {
        // The thread gave its sleep queue away when it went on the first one; FreeBSD follows the null pointer.
        kpanic!("page fault");
    }
    if td.no_sleeping.get() != 0 {
        crate::epoch::trace_list(td);
    }
    kassert!(
        td.no_sleeping.get() == 0,
        "sleepq_add: td {:#x} to sleep on wchan {:#x} with sleeping prohibited",
        td.ptr() as usize,
        wchan
    );
    let sq = match find(wchan) {
        Some(sq) => {
            mpass!(interlock == sq.lock, "lock == sq->sq_lock", crate::lock::Loc::caller());
            mpass!(kind == sq.kind, "(flags & SLEEPQ_TYPE) == sq->sq_type", crate::lock::Loc::caller());
            sq
        }
        None => {
            let table = table();
            let at = table.iter().position(Sleepq::is_empty).unwrap_or_else(|| {
                aside(|| table.push(Sleepq { wchan: 0, lock: 0, kind, blocked: [Vec::new(), Vec::new()] }));
                table.len() - 1
            });
            let sq = &mut table[at];
            sq.wchan = channel(wchan);
            sq.lock = interlock;
            sq.kind = kind;
            sq
        }
    };
    aside(|| sq.blocked[queue].push(td.ptr()));
    td.wchan.set(channel(wchan));
    td.sqqueue.set(queue as u32);
    td.intrval.set(0);
    // SAFETY: (s) the chain lock is held.
    unsafe { *td.wmesg.get() = wmesg };
    td.sleep_deadline.set(0);
    td.flags.clear(tdf::TIMEOUT);
}

/// `sleepq_set_timeout()`: the sleep ends after `ticks` of virtual time. Between [`add`] and the wait.
pub fn set_timeout(ticks: u64) {
    let td = curthread();
    touch(key::CLOCK, 1, true);
    td.sleep_deadline.set(crate::callout::now() + ticks.max(1));
}

/// `sleepq_wait()`: sleeps until woken. The chain lock is held, and released.
pub fn wait(_wchan: usize) {
    switch();
}

/// `sleepq_timedwait()`: returns [`EWOULDBLOCK`] if the time is over when the caller runs again, whatever ended its sleep.
pub fn timedwait(_wchan: usize) -> i32 {
    switch();
    check_timeout()
}

/// `sleepq_wait_sig()`: returns [`EINTR`] if a signal ended it.
pub fn wait_sig(wchan: usize) -> i32 {
    catch_signals(wchan)
}

/// `sleepq_timedwait_sig()`.
pub fn timedwait_sig(wchan: usize) -> i32 {
    let error = catch_signals(wchan);
    let timeout = check_timeout();
    if error != 0 { error } else { timeout }
}

fn catch_signals(wchan: usize) -> i32 {
    let td = curthread();
    touch_thread(td, true);
    if td.flags.get() & tdf::SIGPENDING != 0 {
        // Which signal it is FreeBSD asks under the process's lock, a mutex, without the chain's: the caller is still on the queue, and
        // a wake-up that comes now is spent on it.
        machine().sleepqueues.chain.unlock();
        crate::witness::may_block("sleep mutex", "process lock", crate::lock::Loc::caller());
        cpu::step("sleepq_lock", wchan);
        lock(wchan);
        if td.wchan.get() != 0 {
            remove(td);
        }
        machine().sleepqueues.chain.unlock();
        return EINTR;
    }
    td.flags.or(tdf::SINTR);
    switch();
    td.flags.clear(tdf::SINTR);
    td.intrval.get()
}

/// `sleepq_check_timeout()`.
fn check_timeout() -> i32 {
    // Only the time counts, and not what ended the sleep: who was woken in time and runs too late is told that it is too late.
    let td = curthread();
    let deadline = td.sleep_deadline.get();
    td.sleep_deadline.set(0);
    td.flags.clear(tdf::TIMEOUT);
    if deadline != 0 && deadline <= crate::callout::now() { EWOULDBLOCK } else { 0 }
}

/// `sleepq_switch()`.
fn switch() {
    let td = curthread();
    if crate::cpu::scheduler_stopped() || td.wchan.get() == 0 {
        machine().sleepqueues.chain.unlock();
        return;
    }
    if td.flags.get() & tdf::TIMEOUT != 0 {
        // Its time ran out before it slept.
        remove(td);
        machine().sleepqueues.chain.unlock();
        return;
    }
    crate::lint::sleeping();
    sched::thread_lock(td);
    sched::sched_sleep(td);
    td.inhibit(tdi::SLEEPING);
    machine().sleepqueues.chain.unlock();
    sched::mi_switch(sw::VOL | swt::SLEEPQ);
}

/// Takes `td` off its queue; the chain lock is held.
fn remove(td: &Thread) {
    touch(td.wchan.get(), 1, true);
    touch_thread(td, true);
    if let Some(sq) = find(td.wchan.get()) {
        sq.blocked[td.sqqueue.get() as usize].retain(|&other| other != td.ptr());
    }
    td.wchan.set(0);
}

/// `sleepq_resume_thread()`: the chain lock is held.
fn resume(td: &Thread, priority: u32) {
    remove(td);
    let me = curthread();
    sched::thread_lock(me);
    if priority != 0 && td.priority.get() > priority && td.pri_class.get() == sched::pri::CLASS_TIMESHARE {
        sched::prio_locked(td, priority);
    }
    if td.is_sleeping() {
        td.uninhibit(tdi::SLEEPING);
        sched::setrunnable(td);
    }
    sched::thread_unlock(me);
}

/// `sleepq_signal()`: wakes the best sleeper (first come among equals). The chain lock is held and stays held.
///
/// # Panics
///
/// `%s: mismatch between sleep/wakeup and cv_*`, `sleepq_signal: invalid NULL wait channel` (INVARIANTS).
pub fn signal(wchan: usize, kind: Type, priority: u32, queue: usize) {
    signal_chosen(wchan, kind, priority, queue, |blocked| {
        // SAFETY: threads are type-stable.
        blocked.iter().copied().min_by_key(|&td| unsafe { (*td).priority.get() })
    });
}

/// [`signal`] with `SLEEPQ_UNFAIR`: the latest who sleeps already, whatever its priority; the first if all are still on their way.
///
/// # Panics
///
/// As [`signal`].
pub fn signal_unfair(wchan: usize, kind: Type, priority: u32, queue: usize) {
    signal_chosen(wchan, kind, priority, queue, |blocked| {
        // SAFETY: threads are type-stable.
        let asleep = blocked.iter().rfind(|&&td| unsafe { (*td).is_sleeping() });
        asleep.or(blocked.first()).copied()
    });
}

fn signal_chosen(
    wchan: usize,
    kind: Type,
    priority: u32,
    queue: usize,
    choose: impl FnOnce(&[*mut Thread]) -> Option<*mut Thread>,
) {
    kassert!(wchan != 0, "sleepq_signal: invalid NULL wait channel");
    touch(wchan, 1, true);
    let Some(sq) = find(wchan) else { return };
    kassert!(sq.kind == kind, "sleepq_signal: mismatch between sleep/wakeup and cv_*");
    if let Some(td) = choose(&sq.blocked[queue]) {
        // SAFETY: threads are type-stable, and queues name threads only.
        resume(unsafe { &*td }, priority);
    }
}

/// `sleepq_broadcast()`: wakes everybody on `queue`. The chain lock is held and stays held.
///
/// # Panics
///
/// As [`signal`].
pub fn broadcast(wchan: usize, kind: Type, priority: u32, queue: usize) {
    kassert!(wchan != 0, "sleepq_broadcast: invalid NULL wait channel");
    touch(wchan, 1, true);
    loop {
        let Some(sq) = find(wchan) else { return };
        kassert!(sq.kind == kind, "sleepq_broadcast: mismatch between sleep/wakeup and cv_*");
        let Some(&td) = sq.blocked[queue].first() else { return };
        // SAFETY: threads are type-stable.
        resume(unsafe { &*td }, priority);
    }
}

/// `sleepq_sleepcnt()`: sleepers on `queue`. The chain lock is held.
///
/// # Panics
///
/// `sleepq_sleepcnt: invalid NULL wait channel` (INVARIANTS).
pub fn sleepcnt(wchan: usize, queue: usize) -> usize {
    kassert!(wchan != 0, "sleepq_sleepcnt: invalid NULL wait channel");
    touch(wchan, 1, false);
    find(wchan).map_or(0, |sq| sq.blocked[queue].len())
}

/// `sleepq_type()`: what the sleepers on `wchan` use it for, if there are any. The chain lock is held.
///
/// # Panics
///
/// MPASS `wchan != NULL` (INVARIANTS).
pub fn kind_of(wchan: usize) -> Option<Type> {
    mpass!(wchan != 0, "wchan != NULL", crate::lock::Loc::caller());
    touch(wchan, 1, false);
    find(wchan).map(|sq| sq.kind)
}

/// `sleepq_remove()`: wakes `td` if it sleeps on `wchan`. Takes the chain lock itself.
///
/// # Panics
///
/// MPASS `wchan != NULL` (INVARIANTS).
pub fn remove_thread(td: &Thread, wchan: usize) {
    mpass!(wchan != 0, "wchan != NULL", crate::lock::Loc::caller());
    lock(wchan);
    if td.wchan.get() == channel(wchan) {
        resume(td, 0);
    }
    release(wchan);
}

/// Whether the clock may end the sleep of `td`, which is on a queue: the one of its own CPU does that in FreeBSD, where interrupts are off
/// between the queue and the sleep if one may not sleep with the interlock.
fn clock_reaches(td: &Thread) -> bool {
    // What is not on a CPU has none to keep interrupts from, whatever its count, which is its switch's.
    !td.is_running() || td.is_sleeping() || td.spinlock_count.get() == 0
}

/// Whether `td`, which is on a queue, has a deadline that the clock has not told it of.
fn awaits_time(td: &Thread) -> bool {
    td.sleep_deadline.get() != 0 && td.flags.get() & tdf::TIMEOUT == 0
}

/// Ends the timed sleeps whose deadline has passed: called from the clock interrupt.
pub(crate) fn expire(now: u64) {
    let m = machine();
    m.sleepqueues.chain.lock();
    for at in 0..table().len() {
        for queue in 0..2 {
            while let Some(td) = table()[at].blocked[queue].iter().copied().find(|&td| {
                // SAFETY: (s) the chain lock is held; threads are type-stable.
                let td = unsafe { &*td };
                let reached = clock_reaches(td) || td.ptr() == curthread().ptr();
                awaits_time(td) && td.sleep_deadline.get() <= now && reached
            }) {
                // SAFETY: threads are type-stable.
                let td = unsafe { &*td };
                touch_thread(td, true);
                td.flags.or(tdf::TIMEOUT);
                // Who does not sleep yet stays on the queue until it would, and a wake-up before that is spent on it.
                if td.is_sleeping() {
                    resume(td, 0);
                }
            }
        }
    }
    m.sleepqueues.chain.unlock();
}

/// The earliest deadline of a timed sleep, for virtual time.
pub(crate) fn next_deadline() -> Option<u64> {
    // SAFETY: called between transitions, when no CPU is inside a primitive.
    unsafe { machine().sleepqueues.table.get() }
        .iter()
        .flat_map(|sq| sq.blocked.iter().flatten())
        // SAFETY: threads are type-stable.
        .map(|&td| unsafe { &*td })
        .filter(|td| awaits_time(td) && clock_reaches(td))
        .map(|td| td.sleep_deadline.get())
        .min()
}

/// `sleepq_abort()`: a signal for `td`.
pub fn abort(td: &Thread, error: i32) {
    let m = machine();
    m.sleepqueues.chain.lock();
    touch_thread(td, true);
    td.flags.or(tdf::SIGPENDING);
    // Whose time ran out is no longer on a queue, or leaves it by itself.
    if td.is_sleeping() && td.flags.get() & tdf::SINTR != 0 {
        td.intrval.set(error);
        resume(td, 0);
    }
    m.sleepqueues.chain.unlock();
}
