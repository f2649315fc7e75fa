//! LOCK_PROFILING(9): how often each lock was taken, where, how long it was waited for and held.
//!
//! On with [`Config::profile`](crate::machine::Config::profile). Every lock reports to WITNESS when it is taken and released, and
//! that is where its profile is kept too, enrolled or not; a wait begins where a thread first spins or blocks.
//!
//! Times are nanoseconds of the host's clock, on `smp`. A lock with `*_NOPROFILE` is left out. A recursion counts as part of the
//! first hold.
//!
//! References: kern/subr_lock.c (lock_profile_obtain_lock_success, lock_profile_release_lock), LOCK_PROFILING(9).

use crate::atomic::Guarded;
use crate::cpu::{self, machine};
use crate::host::starvation;
use crate::lock::{ChainLock, Lo, Loc, LockObject};
use crate::thread::curthread;
use std::time::Instant;

/// What is known of the locks of one name that were taken at one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The lock's name.
    pub name: String,
    /// Where it was taken.
    pub at: String,
    /// `max`: longest hold, ns.
    pub hold_max: u64,
    /// `total`: time held, ns.
    pub hold_total: u64,
    /// `wait_max`: longest wait, ns.
    pub wait_max: u64,
    /// `wait_total`: time waited, ns.
    pub wait_total: u64,
    /// `count`: acquisitions.
    pub count: u64,
    /// Acquisitions that had to wait.
    pub contested: u64,
}

impl Row {
    /// Adds what another run found of the same locks.
    pub fn add(&mut self, other: &Self) {
        self.hold_max = self.hold_max.max(other.hold_max);
        self.hold_total += other.hold_total;
        self.wait_max = self.wait_max.max(other.wait_max);
        self.wait_total += other.wait_total;
        self.count += other.count;
        self.contested += other.contested;
    }
}

/// A lock that a thread holds.
#[derive(Debug, Clone, Copy)]
struct Held {
    lock: *const LockObject,
    /// Its row.
    row: usize,
    since: Instant,
    recursed: u32,
}

/// A thread's side.
#[derive(Debug, Default)]
pub(crate) struct Thread {
    /// (k) The thread's own.
    held: Vec<Held>,
    /// (k) The lock that it waits for, and since when.
    waiting: Option<(*const LockObject, Instant)>,
}

impl Thread {
    pub(crate) const fn new() -> Self {
        Self { held: Vec::new(), waiting: None }
    }

    pub(crate) fn reset(&mut self) {
        self.held.clear();
        self.waiting = None;
    }
}

/// A place's identity: its file's address and its line.
type Place = (usize, u32);

/// A machine's side.
pub(crate) struct Profile {
    lock: ChainLock,
    /// (lock) By name and place.
    rows: Guarded<Vec<((usize, Place), Row)>>,
}

impl core::fmt::Debug for Profile {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Profile")
    }
}

impl Profile {
    pub(crate) fn new() -> Self {
        Self { lock: ChainLock::new(), rows: Guarded::new(Vec::new()) }
    }

    pub(crate) fn reset(&self) {
        self.lock.unlock_raw();
        // SAFETY: between executions nobody else is running.
        unsafe { self.rows.get() }.clear();
    }

    /// What was found, the longest waits first.
    pub(crate) fn take(&self) -> Vec<Row> {
        // SAFETY: after the run.
        let rows = core::mem::take(unsafe { self.rows.get() });
        let mut rows: Vec<_> = rows.into_iter().map(|(_, row)| row).collect();
        rows.sort_by(|a, b| (b.wait_total, b.count, &a.name).cmp(&(a.wait_total, a.count, &b.name)));
        rows
    }

    /// Runs `body` on the rows.
    fn with<R>(&self, body: impl FnOnce(&mut Vec<((usize, Place), Row)>) -> R) -> R {
        self.lock.lock_raw();
        // SAFETY: (lock)
        let result = body(unsafe { self.rows.get() });
        self.lock.unlock_raw();
        result
    }
}

fn mine() -> &'static mut Thread {
    // SAFETY: (k) the running thread's own, and no reference lives across a boundary.
    unsafe { curthread().profile.get() }
}

/// The running thread waits for `lock`: `lock_profile_obtain_lock_failed()`.
#[inline]
pub(crate) fn waits(lock: &LockObject) {
    starvation::waits(lock.id());
    if cpu::profiling() {
        let waiting = &mut mine().waiting;
        if waiting.is_none_or(|(other, _)| !core::ptr::eq(other, lock)) {
            *waiting = Some((lock, Instant::now()));
        }
    }
}

/// The running thread has `lock`: `lock_profile_obtain_lock_success()`.
#[inline]
pub(crate) fn obtained(lock: &LockObject, loc: Loc) {
    starvation::obtained(lock.id());
    if cpu::profiling() {
        obtained_slow(lock, loc);
    }
}

#[cold]
fn obtained_slow(lock: &LockObject, loc: Loc) {
    let now = Instant::now();
    let td = mine();
    let waited = td.waiting.take_if(|(other, _)| core::ptr::eq(*other, lock)).map(|(_, since)| nanos(since, now));
    if lock.flags().contains(Lo::NOPROFILE) {
        return;
    }
    if let Some(held) = td.held.iter_mut().rev().find(|held| core::ptr::eq(held.lock, lock)) {
        held.recursed += 1;
        return;
    }
    let key = (lock.name().as_ptr() as usize, loc.key());
    let row = machine().profile.with(|rows| {
        let at = rows.iter().position(|(other, _)| *other == key).unwrap_or_else(|| {
            let row = Row {
                name: lock.name().to_owned(),
                at: loc.to_string(),
                hold_max: 0,
                hold_total: 0,
                wait_max: 0,
                wait_total: 0,
                count: 0,
                contested: 0,
            };
            rows.push((key, row));
            rows.len() - 1
        });
        let row = &mut rows[at].1;
        row.count += 1;
        if let Some(waited) = waited {
            row.contested += 1;
            row.wait_total += waited;
            row.wait_max = row.wait_max.max(waited);
        }
        at
    });
    td.held.push(Held { lock, row, since: now, recursed: 0 });
}

/// The running thread is about to release `lock`: `lock_profile_release_lock()`.
#[inline]
pub(crate) fn released(lock: &LockObject) {
    if cpu::profiling() {
        released_slow(lock);
    }
}

#[cold]
fn released_slow(lock: &LockObject) {
    let held = &mut mine().held;
    let Some(at) = held.iter().rposition(|held| core::ptr::eq(held.lock, lock)) else { return };
    if held[at].recursed > 0 {
        held[at].recursed -= 1;
        return;
    }
    let Held { row, since, .. } = held.remove(at);
    let time = nanos(since, Instant::now());
    machine().profile.with(|rows| {
        let row = &mut rows[row].1;
        row.hold_total += time;
        row.hold_max = row.hold_max.max(time);
    });
}

fn nanos(since: Instant, now: Instant) -> u64 {
    now.saturating_duration_since(since).as_nanos() as u64
}
