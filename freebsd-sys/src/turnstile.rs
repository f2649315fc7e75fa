//! Turnstiles: bounded sleep on a lock, with priority lending.
//!
//! A turnstile is the queue of threads that are blocked on one lock, keyed by the lock's address so that a lock costs one
//! word. The owner of the lock is lent the priority of the best waiter, along the chain of owners that are themselves blocked.
//! Turnstiles ignore `td_no_sleeping`: blocking on a mutex is bounded, sleeping is not. They do not test `td_critnest`
//! either: mi_switch does.
//!
//! # Deviations from FreeBSD
//!
//! One chain lock serves all turnstiles and the contested lists (FreeBSD: a hash of chains, a lock per turnstile and
//! `td_contested_lock`). A turnstile is a slot of a machine-wide table rather than donated by the first waiter, so no
//! allocation happens either.
//!
//! References: kern/subr_turnstile.c, turnstile(9).

use crate::atomic::Guarded;
use crate::cpu::{aside, machine, touch, touch_thread};
use crate::host::explore::state::Hash;
use crate::lock::{ChainLock, Loc, LockObject};
use crate::lock_profile;
use crate::panic::{kassert, kpanic, kprintf, mpass};
use crate::sched::{self, sw, swt};
use crate::thread::{Thread, curthread, tdi};

/// `TS_EXCLUSIVE_QUEUE`.
pub const EXCLUSIVE: usize = 0;
/// `TS_SHARED_QUEUE`.
pub const SHARED: usize = 1;

/// One lock's waiters.
#[derive(Debug)]
struct Turnstile {
    lock: usize,
    owner: *mut Thread,
    blocked: [Vec<*mut Thread>; 2],
    pending: Vec<*mut Thread>,
}

/// All turnstiles of a machine.
#[derive(Debug)]
pub(crate) struct Turnstiles {
    chain: ChainLock,
    /// (chain)
    table: Guarded<Vec<Turnstile>>,
}

impl Turnstiles {
    pub(crate) fn new() -> Self {
        Self { chain: ChainLock::new(), table: Guarded::new(Vec::new()) }
    }

    pub(crate) fn reset(&self) {
        self.chain.unlock_raw();
        // SAFETY: between executions nobody else is running.
        for ts in unsafe { self.table.get() } {
            ts.clear();
        }
    }
}

impl Turnstiles {
    /// What happens next depends on it: see [`mod@crate::host::explore::state`].
    pub(crate) fn state(&self, h: &mut Hash) {
        h.bytes_of(&self.chain);
        // SAFETY: (chain) all threads are suspended.
        for ts in unsafe { self.table.get() }.iter().filter(|ts| ts.lock != 0) {
            h.address(ts.lock);
            h.pointer(ts.owner);
            for queue in ts.blocked.iter().chain([&ts.pending]) {
                h.bytes_of_all(queue);
            }
        }
    }
}

impl Turnstile {
    fn clear(&mut self) {
        self.lock = 0;
        self.owner = core::ptr::null_mut();
        self.blocked[0].clear();
        self.blocked[1].clear();
        self.pending.clear();
    }

    /// The best waiter's priority.
    fn best(&self) -> Option<u32> {
        // SAFETY: threads are type-stable.
        self.blocked.iter().filter_map(|queue| queue.first()).map(|&td| unsafe { (*td).priority.get() }).min()
    }

    fn is_empty(&self) -> bool {
        self.blocked[0].is_empty() && self.blocked[1].is_empty()
    }
}

/// The table; the chain lock is held.
fn table() -> &'static mut Vec<Turnstile> {
    // SAFETY: (chain) every caller holds the chain lock.
    unsafe { machine().turnstiles.table.get() }
}

fn find(lock: &LockObject) -> Option<&'static mut Turnstile> {
    table().iter_mut().find(|ts| ts.lock == lock.id())
}

/// The turnstile that a lock must have whose word says that somebody waits; the chain lock is held.
///
/// Without INVARIANTS a release of what the caller does not own comes here, and FreeBSD follows a null pointer.
fn existing(lock: &LockObject) -> &'static mut Turnstile {
    match find(lock) {
        Some(ts) => ts,
        None => {
            machine().turnstiles.chain.unlock();
            kpanic!("page fault")
        }
    }
}

/// `turnstile_trywait()`: takes the chain lock; follow with [`wait`] or [`cancel`].
pub fn trywait() {
    machine().turnstiles.chain.lock();
}

/// `turnstile_cancel()`.
pub fn cancel() {
    machine().turnstiles.chain.unlock();
}

/// `turnstile_chain_lock()`, for releasing a contested lock.
pub fn chain_lock() {
    machine().turnstiles.chain.lock();
}

/// `turnstile_chain_unlock()`.
pub fn chain_unlock() {
    machine().turnstiles.chain.unlock();
}

/// `turnstile_lookup() != NULL`: whether anybody waits on `lock`; the chain lock is held.
pub fn exists(lock: &LockObject) -> bool {
    find(lock).is_some()
}

/// Inserts by priority, behind equals.
fn insert(queue: &mut Vec<*mut Thread>, td: &Thread) {
    // SAFETY: threads are type-stable.
    let at = queue.iter().position(|&other| unsafe { (*other).priority.get() } > td.priority.get());
    aside(|| queue.insert(at.unwrap_or(queue.len()), td.ptr()));
}

/// `turnstile_wait()`: blocks on `lock`, lending to `owner` (null: unknown, as for readers). Entered with the chain lock held,
/// returns without it.
///
/// # Panics
///
/// `sleeping thread`, if the owner (or one it waits for) sleeps; MPASS `owner == ts->ts_owner`, if the others that wait were told of
/// another one (INVARIANTS); and mi_switch's, above all in a critical section.
#[track_caller]
pub fn wait(lock: &LockObject, owner: *mut Thread, queue: usize) {
    lock_profile::waits(lock);
    let td = curthread();
    if crate::cpu::scheduler_stopped() {
        cancel();
        return;
    }
    let ts = match find(lock) {
        Some(ts) => {
            mpass!(owner == ts.owner, "owner == ts->ts_owner", Loc::caller());
            ts
        }
        None => {
            let table = table();
            let at = table.iter().position(|ts| ts.lock == 0).unwrap_or_else(|| {
                let (lock, owner) = (0, core::ptr::null_mut());
                let empty = Turnstile { lock, owner, blocked: [Vec::new(), Vec::new()], pending: Vec::new() };
                aside(|| table.push(empty));
                table.len() - 1
            });
            let ts = &mut table[at];
            ts.lock = lock.id();
            ts.owner = owner;
            ts
        }
    };
    insert(&mut ts.blocked[queue], td);
    touch(lock.id(), size_of::<LockObject>(), true);
    sched::thread_lock(td);
    td.blocked_on.set(lock.id());
    td.tsqueue.set(queue as u32);
    td.inhibit(tdi::LOCK);
    propagate_priority(td);
    // The chain lock goes while the scheduler's is held: a waker needs both.
    machine().turnstiles.chain.unlock();
    sched::mi_switch(sw::VOL | swt::TURNSTILE);
}

/// `turnstile_lock()` and `turnstile_wait()`: blocks on what `reader` is blocked on, lending to its owner like any other waiter. For
/// epoch_wait_preempt(). Entered in a critical section, which it leaves if it blocks; returns false if `reader` is not blocked
/// any more.
pub(crate) fn wait_with(reader: &Thread) -> bool {
    trywait();
    let found = table().iter().find(|ts| ts.lock != 0 && ts.lock == reader.blocked_on.get());
    let Some(&Turnstile { lock, owner, .. }) = found else {
        cancel();
        return false;
    };
    // The chain lock keeps a preemption away until mi_switch.
    crate::critical::exit(curthread());
    // SAFETY: a lock on which threads wait is alive, and a turnstile is named by its address.
    wait(unsafe { &*(lock as *const LockObject) }, owner, reader.tsqueue.get() as usize);
    true
}

/// `propagate_priority()`: the scheduler's lock and the chain lock are held.
fn propagate_priority(td: &Thread) {
    let priority = td.priority.get();
    let mut lock = td.blocked_on.get();
    loop {
        let Some(ts) = table().iter_mut().find(|ts| ts.lock == lock) else { return };
        if ts.owner.is_null() {
            return;
        }
        // SAFETY: threads are type-stable.
        let owner = unsafe { &*ts.owner };
        touch_thread(owner, true);
        if owner.is_sleeping() {
            let m = machine();
            m.turnstiles.chain.unlock_raw();
            m.sched.lock.unlock_raw();
            kprintf!("Sleeping thread (tid {}, pid {}) owns a non-sleepable lock", owner.tid, 0);
            kpanic!("sleeping thread");
        }
        if owner.priority.get() <= priority {
            return;
        }
        sched::lend_prio(owner, priority);
        if owner.is_running() || owner.state() == crate::thread::State::RunQ {
            return;
        }
        kassert!(
            owner.is_on_lock(),
            "thread {}({}):{} holds {} but isn't blocked on a lock",
            owner.tid,
            owner.name(),
            owner.state() as u32,
            // SAFETY: a lock on which threads wait is alive, and a turnstile is named by its address.
            unsafe { &*(lock as *const LockObject) }.name()
        );
        if owner.blocked_on.get() == 0 {
            return;
        }
        requeue(owner);
        lock = owner.blocked_on.get();
    }
}

/// `turnstile_adjust_thread()`: `td`'s priority changed while it is blocked.
fn requeue(td: &Thread) {
    touch(td.blocked_on.get(), size_of::<LockObject>(), true);
    if let Some(ts) = table().iter_mut().find(|ts| ts.lock == td.blocked_on.get()) {
        let queue = &mut ts.blocked[td.tsqueue.get() as usize];
        queue.retain(|&other| other != td.ptr());
        insert(queue, td);
    }
}

/// `turnstile_claim()`: the caller has just become the owner of a lock that still has waiters. Entered with the chain lock held, since
/// before the lock was taken, so that nobody joins the waiters before they have their owner; returns without it.
pub(crate) fn claim(lock: &LockObject) {
    let m = machine();
    touch(lock.id(), size_of::<LockObject>(), true);
    touch_thread(curthread(), true);
    let ts = existing(lock);
    ts.owner = curthread().ptr();
    if let Some(best) = ts.best() {
        let td = curthread();
        sched::thread_lock(td);
        if best < td.priority.get() {
            sched::lend_prio(td, best);
        }
        sched::thread_unlock(td);
    }
    m.turnstiles.chain.unlock();
}

/// `turnstile_broadcast()` and `turnstile_unpend()`: wakes everybody on `queue` and takes back what they lent. The chain lock
/// is held and stays held. The lock has a turnstile: see [`exists`].
///
/// # Panics
///
/// MPASS `ts->ts_owner == curthread || ts->ts_owner == NULL` (INVARIANTS).
pub fn broadcast(lock: &LockObject, queue: usize) {
    touch(lock.id(), size_of::<LockObject>(), true);
    let ts = existing(lock);
    let td = curthread();
    kassert!(
        ts.owner == td.ptr() || ts.owner.is_null(),
        "Assertion ts->ts_owner == curthread || ts->ts_owner == NULL failed at {}:{}",
        file!(),
        line!()
    );
    let mut woken = core::mem::take(&mut ts.pending);
    aside(|| woken.append(&mut ts.blocked[queue]));
    ts.owner = core::ptr::null_mut();
    if ts.is_empty() {
        ts.lock = 0;
    }
    sched::thread_lock(td);
    // First give back what was lent: a waiter is to be compared with the priority that the caller goes on with, or it would
    // never preempt the thread that ran at its own priority until now.
    unlend(td);
    for &waiter in &woken {
        // SAFETY: threads are type-stable.
        let waiter = unsafe { &*waiter };
        waiter.blocked_on.set(0);
        waiter.uninhibit(tdi::LOCK);
        sched::setrunnable(waiter);
    }
    sched::thread_unlock(td);
    woken.clear();
    if let Some(ts) = table().iter_mut().find(|ts| ts.pending.capacity() == 0) {
        ts.pending = woken;
    }
}

/// `turnstile_disown()`: the caller downgraded; the waiters stay, the loans go back. The chain lock is held.
pub(crate) fn disown(lock: &LockObject) {
    touch(lock.id(), size_of::<LockObject>(), true);
    existing(lock).owner = core::ptr::null_mut();
    let td = curthread();
    sched::thread_lock(td);
    unlend(td);
    sched::thread_unlock(td);
}

/// Gives back what no remaining contested lock lends.
fn unlend(td: &Thread) {
    touch_thread(td, true);
    let best = table().iter().filter(|ts| ts.lock != 0 && ts.owner == td.ptr()).filter_map(Turnstile::best).min();
    sched::unlend_prio(td, best.unwrap_or(sched::pri::PRI_MAX));
}

/// What `owner`-less and owned locks the blocked threads of a machine wait for, for a deadlock's description.
pub(crate) fn owner_of(lock: usize) -> Option<&'static Thread> {
    // SAFETY: called when no thread can move; threads are type-stable.
    unsafe {
        let ts = machine().turnstiles.table.get().iter().find(|ts| ts.lock == lock)?;
        if ts.owner.is_null() { None } else { Some(&*ts.owner) }
    }
}
