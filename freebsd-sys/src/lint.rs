//! Lint: what FreeBSD itself does not detect. Off by default, and never in FreeBSD's words.
//!
//! | line on the console | what FreeBSD does |
//! |---|---|
//! | `lint: <op> of (<class>) <name> in a critical section @ file:line` | nothing, unless the lock happens to be contended (or is enrolled) |
//! | `lint: sleeping on "<wmesg>" with locks held that WITNESS does not see: ..` | nothing, until somebody wants the lock |
//! | `lint: <ithread or callout> ends with ..` | an ithread only looks at enrolled locks, a callout at nothing |

use crate::atomic::RawWord;
use crate::cpu::{self, machine};
use crate::lock::{Loc, LockClass, LockObject};
use crate::machine::{Engine, Machine};
use crate::panic::kprintf;
use crate::thread::{Thread, curthread};

/// A lock that may block is about to be taken: the first line of each such slow path, here and in whatever builds its own locks
/// on turnstiles or takes a lock only when it has to wait.
#[inline]
pub fn blocking(op: &str, lock: &LockObject, loc: Loc) {
    if cpu::lint() && curthread().critnest.get() != 0 {
        kprintf!("lint: {op} of ({}) {} in a critical section @ {loc}", lock.class().name(), lock.name());
    }
}

/// The caller goes to sleep; its interlock is released by now.
#[inline]
pub(crate) fn sleeping() {
    if cpu::lint() {
        sleeping_slow();
    }
}

#[cold]
fn sleeping_slow() {
    let td = curthread();
    // SAFETY: (s) the caller is on the sleep queue, and reads what it wrote there itself.
    let wmesg = unsafe { *td.wmesg.get() };
    let m = machine();
    if m.engine == Engine::Smp {
        // The locks are not listed there: count.
        let hidden = td.locks.get() - crate::witness::holds();
        if hidden > 0 {
            kprintf!("lint: sleeping on \"{wmesg}\" with locks held that WITNESS does not see: {hidden}");
        }
        return;
    }
    let mut names: Vec<_> = m
        .live_locks()
        .iter()
        // SAFETY: listed locks are alive.
        .map(|&lock| unsafe { &*lock })
        .filter(|lock| lock.witness.get() == 0 && lock.class().is_sleeplock() && !lock.class().is_sleepable())
        .filter(|lock| owner(m, lock).is_some_and(|owner| core::ptr::eq(owner, td)))
        .map(|lock| format!("({}) {}", lock.class().name(), lock.name()))
        .collect();
    // SAFETY: (k) the running thread's own list.
    let seen = unsafe { td.sleeplocks.get() };
    let seen = seen.iter().filter(|held| !held.exclusive && held.object().class() == LockClass::Rw);
    let readers = td.rw_rlocks.get() - seen.map(|held| held.recursed as i32 + 1).sum::<i32>();
    if readers > 0 {
        names.push(format!("{readers} read-held rw"));
    }
    if !names.is_empty() {
        kprintf!("lint: sleeping on \"{wmesg}\" with locks held that WITNESS does not see: {}", names.join(", "));
    }
}

/// What a handler may not leave behind.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Balance {
    locks: i32,
    readers: i32,
    pins: i32,
    critnest: u32,
}

impl Balance {
    /// As it is before the handler.
    #[inline]
    pub(crate) fn now() -> Self {
        let td = curthread();
        Self {
            locks: td.locks.get(),
            readers: td.rw_rlocks.get(),
            pins: crate::sched::pins(),
            critnest: td.critnest.get(),
        }
    }

    /// After it.
    #[inline]
    pub(crate) fn check(self, what: &str) {
        if cpu::lint() {
            self.check_slow(what);
        }
    }

    #[cold]
    fn check_slow(self, what: &str) {
        let now = Self::now();
        let who = curthread().name();
        if now.locks > self.locks {
            kprintf!("lint: {what} of {who} ends with {} locks held", now.locks - self.locks);
        } else if now.readers > self.readers {
            kprintf!("lint: {what} of {who} ends with {} rwlocks held in read mode", now.readers - self.readers);
        }
        if now.pins > self.pins {
            kprintf!("lint: {what} of {who} ends with {} pins", now.pins - self.pins);
        }
        if now.critnest > self.critnest {
            kprintf!("lint: {what} of {who} ends in a critical section");
        }
    }
}

/// The word behind a lock object, for the classes that have one there.
pub(crate) fn lock_word(lock: &LockObject) -> Option<usize> {
    matches!(
        lock.class(),
        LockClass::MtxSleep | LockClass::MtxSpin | LockClass::Rw | LockClass::Sx | LockClass::Lockmgr
    )
    .then(|| {
        // SAFETY: a live lock of these classes has its word right after the lock object.
        unsafe { (*core::ptr::from_ref(lock).byte_add(size_of::<LockObject>()).cast::<RawWord>()).read() }
    })
}

/// The exclusive owner of a lock, if it has one and its class names it.
pub(crate) fn owner<'a>(m: &'a Machine, lock: &LockObject) -> Option<&'a Thread> {
    let word = lock_word(lock)?;
    let flags = match lock.class() {
        LockClass::Rw | LockClass::Sx | LockClass::Lockmgr if word & 1 != 0 => return None,
        LockClass::Rw | LockClass::Sx | LockClass::Lockmgr => 0x1f,
        _ => 7,
    };
    m.threads().iter().find(|td| td.ptr() as usize == word & !flags).map(|td| &**td)
}
