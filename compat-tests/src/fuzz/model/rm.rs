//! rmlock(9): readers leave a tracker on their CPU, writers collect them.
//!
//! The mutex behind is taken and dropped in steps of their own, where others can come in between. Its waiters are the exclusive ones of
//! the lock here, the writer that waits for readers is the shared one.

use super::{At, Call, Mutation, Stop, kpanic};
use crate::fuzz::program::{Act, Kind, THREADS};

/// Trackers that a program can have at a time, of one lock.
const TRACKERS: usize = 16;

/// `rm_activeReaders`: the readers that a writer knows of, latest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Active {
    list: [Tracker; TRACKERS],
}

/// A thread's tracker; the default stands for none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Tracker {
    /// The thread's number plus one.
    owner: u8,
    /// It is the thread's so-many-eth, from 1.
    depth: u8,
    /// RMPF_SIGNAL: the writer waits for it.
    signal: bool,
}

impl Active {
    /// For a hash: most lists are empty or short.
    pub(super) fn digest(&self) -> u64 {
        let byte = |tracker: &Tracker| u64::from(tracker.owner << 5 | tracker.depth << 1 | u8::from(tracker.signal));
        self.list.iter().take_while(|tracker| tracker.owner != 0).fold(0, |hash, tracker| hash << 8 ^ byte(tracker))
    }

    fn position(&self, owner: u8, depth: u8) -> Option<usize> {
        self.list.iter().position(|tracker| (tracker.owner, tracker.depth) == (owner, depth))
    }

    /// Puts a tracker in front, unless it is listed.
    fn add(&mut self, owner: u8, depth: u8) {
        if self.position(owner, depth).is_none() {
            self.list.rotate_right(1);
            self.list[0] = Tracker { owner, depth, signal: false };
        }
    }

    /// Whose tracker, as in a word, is to wake the writer.
    pub(super) fn signals(&self) -> u8 {
        self.list.iter().find(|tracker| tracker.signal).map_or(0, |tracker| tracker.owner)
    }

    /// Takes a tracker off, if it is listed; whether a writer waits for it.
    fn remove(&mut self, owner: u8, depth: u8) -> bool {
        let Some(at) = self.position(owner, depth) else { return false };
        let signal = self.list[at].signal;
        self.list[at..].rotate_left(1);
        self.list[TRACKERS - 1] = Tracker::default();
        signal
    }
}

/// `pc_rm_queue`, of one lock: whose trackers, latest first, in two bits each; a thread's so-many-eth from the end is its so-many-eth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct Queue(u32);

impl Queue {
    fn push(&mut self, owner: u8) {
        self.0 = self.0 << 2 | u32::from(owner);
    }

    /// Takes the owner's latest away.
    fn remove(&mut self, owner: u8) {
        if let Some(at) = self.iter().position(|tracker| tracker == owner) {
            let newer = (1 << (2 * at)) - 1;
            self.0 = self.0 & newer | self.0 >> 2 & !newer;
        }
    }

    fn iter(self) -> impl Iterator<Item = u8> {
        (0..TRACKERS).map(move |at| (self.0 >> (2 * at) & 3) as u8).take_while(|owner| *owner != 0)
    }
}

impl At<'_> {
    /// How often the caller reads the lock.
    pub(super) fn rm_held(&mut self) -> u8 {
        let lock = self.lock;
        self.me().rm[lock]
    }

    fn owner_number(&self) -> u8 {
        self.td as u8 + 1
    }

    /// A call on an rmlock.
    pub(super) fn on_rm(&mut self, act: Act) -> Call {
        match act {
            Act::Lock => self.rm_wlock(),
            Act::Unlock => self.rm_wunlock(),
            Act::RLock | Act::TryR => self.rm_rlock(act == Act::TryR),
            Act::RUnlock => self.rm_runlock(),
            Act::Assert(what) => self.rm_assert(what),
            _ => Ok(()),
        }
    }

    /// Whether the call is in its part `n`; the one before it ends with [`Stop::Later`].
    fn phase(&mut self, n: u8) -> bool {
        self.me().phase == self.base + n
    }

    /// `mtx_lock()` of the mutex behind, which counts as a lock like any other.
    fn behind_take(&mut self) -> Call {
        if self.sleepable_rm() {
            self.behind_sx_take()?;
        } else {
            self.mtx_take(self.name())?;
        }
        self.count(1);
        Ok(())
    }

    pub(super) fn sleepable_rm(&self) -> bool {
        self.kind() == Kind::RmSleepable
    }

    /// `sx_xlock()` of the sx lock behind: exclusive only, never recursive, not enrolled.
    fn behind_sx_take(&mut self) -> Call {
        let (td, loc) = (self.td, self.loc());
        if self.word().mine(td) {
            if self.rules.invariants {
                kpanic!("_sx_xlock_hard: recursed on non-recursive sx rmlock_sx @ {loc}");
            }
            self.word().data = self.word().data.wrapping_add(1);
            self.word().recursed = true;
        } else if self.word().owner == 0 {
            self.word().take(td);
        } else if self.owner_runs() {
            return Err(Stop::Spins);
        } else {
            self.word().waiters = true;
            return self.sleep(true, false);
        }
        Ok(())
    }

    /// `THREAD_NO_SLEEPING()` of a sleepable rmlock's readers.
    fn forbid_sleep(&mut self, n: i8) {
        if self.sleepable_rm() && !self.mutated(Mutation::SleepyReaders) {
            self.me().no_sleeping += n;
        }
    }

    fn behind_release(&mut self) -> Call {
        let (td, loc) = (self.td, self.loc());
        let sx = self.sleepable_rm();
        if self.rules.invariants && !self.word().mine(td) {
            if sx {
                kpanic!("Lock rmlock_sx not exclusively locked @ {loc}");
            }
            let name = self.name();
            kpanic!("mutex {name} not owned at {loc}");
        }
        if sx && !self.word().exactly(td) && !self.word().recursed {
            // Unlike a mutex it does not look for a turnstile.
            self.word().drop_to(false);
            self.wake(true);
        } else {
            self.mtx_release()?;
        }
        self.count(-1);
        Ok(())
    }

    fn rm_wlock(&mut self) -> Call {
        if self.phase(0) {
            self.rm_assert(0)?;
            self.checkorder(true)?;
            return Err(Stop::Later);
        }
        if self.phase(1) {
            self.behind_take()?;
            if self.word().tokens != 0 {
                self.collect();
                self.me().phase = self.base + 2;
            }
        }
        // Readers that came before are waited for, one after the other: by a writer that has taken tokens. One that found none counts on
        // whoever did, even if the mutex was released behind that one's back.
        let collected = self.phase(2);
        let first = &mut self.state.readers[self.lock].list[0];
        if first.owner != 0 && collected {
            first.signal = true;
            let owner = first.owner;
            return self.block_on(false, owner);
        }
        self.witness_lock(true);
        self.count(1);
        Ok(())
    }

    /// The rendezvous: CPU after CPU, latest tracker first.
    fn collect(&mut self) {
        let (lock, tokens) = (self.lock, self.word().tokens);
        self.word().tokens = 0;
        if self.state.cpu.on {
            let mut depths = self.state.threads.map(|td| td.rm[lock]);
            for cpu in (0..2).filter(|cpu| tokens & 1 << cpu != 0) {
                for owner in self.state.trackers[lock].iter() {
                    let td = usize::from(owner) - 1;
                    if usize::from(!self.state.here(td)) == cpu {
                        self.state.readers[lock].add(owner, depths[td]);
                        depths[td] -= 1;
                    }
                }
            }
            return;
        }
        for td in (0..THREADS).filter(|td| tokens & 1 << td != 0) {
            for depth in (1..=self.state.threads[td].rm[lock]).rev() {
                self.state.readers[lock].add(td as u8 + 1, depth);
            }
        }
    }

    fn rm_wunlock(&mut self) -> Call {
        if self.phase(0) {
            self.rm_assert(4)?;
            self.witness_unlock(true)?;
            return Err(Stop::Later);
        }
        self.behind_release()?;
        self.count(-1);
        Ok(())
    }

    fn rm_rlock(&mut self, try_only: bool) -> Call {
        let (td, name, loc) = (self.td, self.name(), self.loc());
        let token = if self.state.cpu.on { 1 << u8::from(!self.state.here(td)) } else { 1 << td };
        if self.phase(0) {
            if !try_only {
                if self.rules.invariants && !self.kind().recursable() && self.rm_held() > 0 {
                    kpanic!("rm_rlock: recursed on non-recursive rmlock {name} @ {loc}");
                }
                if self.rules.invariants && self.word().mine(td) {
                    kpanic!("rm_rlock: wlock already held for {name} @ {loc}");
                }
                self.checkorder(false)?;
            }
            let joins = self.kind().recursable() && self.rm_held() > 0;
            if self.word().tokens & token == 0 {
                if !joins {
                    if try_only {
                        // A try for a sleepable one's token asks with sleep forbidden already.
                        self.forbid_sleep(1);
                    }
                    return Err(Stop::Later);
                }
                // A writer that waits for the first tracker waits for this one as well.
                let (lock, owner, depth) = (self.lock, self.owner_number(), self.rm_held() + 1);
                self.state.readers[lock].add(owner, depth);
            }
            self.read();
        } else if self.phase(1) {
            // Who waits for the writer may sleep, unlike who has the lock.
            if !try_only {
                self.behind_take()?;
            } else {
                self.forbid_sleep(-1);
                if !self.mtx_try() {
                    self.log(false);
                    return Ok(());
                }
                self.count(1);
            }
            self.word().tokens |= token;
            self.read();
            return Err(Stop::Later);
        } else {
            self.behind_release()?;
        }
        self.witness_lock(false);
        self.count(1);
        if try_only {
            self.log(true);
        }
        Ok(())
    }

    /// The caller's next tracker is on its CPU's queue, and it is pinned there.
    fn read(&mut self) {
        let lock = self.lock;
        let me = self.me();
        me.rm[lock] += 1;
        me.pinned += 1;
        self.forbid_sleep(1);
        if self.state.cpu.on {
            let owner = self.owner_number();
            self.state.trackers[lock].push(owner);
        }
    }

    fn rm_runlock(&mut self) -> Call {
        self.rm_assert(2)?;
        self.witness_unlock(false)?;
        let (lock, owner, depth) = (self.lock, self.owner_number(), self.rm_held());
        if depth == 0 {
            // Without INVARIANTS: a tracker that nobody queued.
            return Err(Stop::Wild);
        }
        let me = self.me();
        me.rm[lock] -= 1;
        me.pinned -= 1;
        self.forbid_sleep(-1);
        self.state.trackers[lock].remove(owner);
        if self.state.readers[lock].remove(owner, depth) {
            self.unlend_reader();
            self.wake(false);
        }
        self.count(-1);
        Ok(())
    }

    /// `rm_assert()`.
    pub(super) fn rm_assert(&mut self, what: u32) -> Call {
        if !self.rules.invariants {
            return Ok(());
        }
        let (td, name, loc) = (self.td, self.name(), self.loc());
        let (mine, held) = (self.word().mine(td), self.rm_held());
        match what & !0x18 {
            1 | 2 if what & 0x18 != 0x18 => {
                if mine {
                    if what & 2 != 0 {
                        kpanic!("Lock {name} exclusively locked @ {loc}");
                    }
                    if what & 8 != 0 {
                        kpanic!("Lock {name} not recursed @ {loc}");
                    }
                } else if held == 0 {
                    kpanic!("Lock {name} not {}locked @ {loc}", if what & 2 != 0 { "read " } else { "" });
                } else if held == 1 && what & 8 != 0 {
                    kpanic!("Lock {name} not recursed @ {loc}");
                } else if held > 1 && what & 0x10 != 0 {
                    kpanic!("Lock {name} recursed @ {loc}");
                }
            }
            4 if what == 4 => {
                if !mine {
                    kpanic!("Lock {name} not exclusively locked @ {loc}");
                }
            }
            0 if what == 0 => {
                if mine {
                    kpanic!("Lock {name} exclusively locked @ {loc}");
                }
                if held > 0 {
                    kpanic!("Lock {name} read locked @ {loc}");
                }
            }
            _ => kpanic!("Unknown rm lock assertion: {what} @ {loc}"),
        }
        Ok(())
    }
}
