//! lockmgr(9), without interlocks, drains and sleeps that end by themselves.
//!
//! Of its own: a free lock's word is that of no sharers; who frees it wakes exclusive sleepers, unless all that sleep would only go
//! away; a downgrade wakes nobody; and a disowned lock is anybody's to release.

use super::{At, Call, KERNPROC, Mutation, Stop, kpanic};
use crate::fuzz::program::Act;

impl At<'_> {
    /// A call on a lockmgr lock.
    pub(super) fn on_lockmgr(&mut self, act: Act) -> Call {
        // Who has slept without Giant takes it back before it looks at the lock again.
        self.pickup_after_sleep()?;
        match act {
            Act::Lock | Act::Try | Act::SleepFail => {
                if act != Act::Try {
                    self.checkorder(true)?;
                }
                self.lk_xlock(act)
            }
            Act::RLock | Act::TryR => self.lk_slock(act),
            Act::Unlock | Act::RUnlock => self.lk_release(),
            Act::Upgrade | Act::UpgradeWait => self.lk_upgrade(act),
            Act::Downgrade => self.lk_downgrade(),
            Act::Disown => self.lk_disown(),
            Act::Assert(what) => self.lk_assert(what),
            _ => Ok(()),
        }
    }

    /// `sleeplk()`.
    fn lk_sleep(&mut self, exclusive: bool) -> Call {
        self.may_sleep()?;
        self.drop_giant()?;
        self.sleep(exclusive, false)
    }

    fn lk_disowned(&mut self) -> bool {
        self.word().owner == KERNPROC
    }

    /// `lockmgr_xlock_hard()`, but for what WITNESS is asked first.
    fn lk_xlock(&mut self, act: Act) -> Call {
        let (td, loc) = (self.td, self.loc());
        if act == Act::SleepFail && self.me().phase > 0 && !self.mutated(Mutation::NobodyGoesAway) {
            self.log(false);
            return Ok(());
        }
        let word = *self.word();
        if word.mine(td) {
            if !self.kind().recursable() {
                if act == Act::Try {
                    self.log(false);
                    return Ok(());
                }
                kpanic!("lockmgr_xlock_hard: recursing on non recursive lockmgr %p @ {loc}");
            }
            self.word().data = word.data.wrapping_add(1);
            self.word().recursed = true;
        } else if word.owner == 0 && word.readers == 0 && (word.free() || act != Act::Try) {
            // Who still waits for a free lock goes on doing so.
            self.word().take(td);
        } else if act == Act::Try {
            self.log(false);
            return Ok(());
        } else {
            self.word().waiters = true;
            if act == Act::SleepFail {
                self.word().exslpfail += 1;
                self.me().phase = 1;
            }
            return self.lk_sleep(true);
        }
        self.witness_lock(true);
        self.count(1);
        if act != Act::Lock {
            self.log(true);
        }
        Ok(())
    }

    /// `lockmgr_slock_hard()`.
    fn lk_slock(&mut self, act: Act) -> Call {
        if act == Act::RLock {
            self.checkorder(false)?;
        }
        let (td, word) = (self.td, *self.word());
        // A thread that shares any such lock already does not wait for exclusive sleepers.
        let shares = word.owner == 0 && (!word.waiters || self.me().lk_slocks != 0);
        if !shares {
            if word.mine(td) || act == Act::TryR {
                // EDEADLK or EBUSY.
                self.log(false);
                return Ok(());
            }
            self.word().read_waiters = true;
            return self.lk_sleep(false);
        }
        self.word().readers += 1;
        self.me().lk_slocks += 1;
        self.witness_lock(false);
        self.count(1);
        self.log(true);
        Ok(())
    }

    fn lk_release(&mut self) -> Call {
        let td = self.td;
        self.lk_assert(1)?;
        let word = *self.word();
        if word.owner == 0 {
            self.lk_no_sharer()?;
            if !matches!(word.readers, 0 | 1) || !word.waiters && !word.read_waiters {
                self.word().readers -= 1;
            } else if word.readers == 0 {
                // It tries for ever to take away the one sharer that is not there.
                return Err(Stop::Wild);
            } else {
                self.lk_next_turn();
            }
            return Ok(());
        }
        if !self.lk_disowned() {
            self.witness_unlock(true)?;
            self.count(-1);
        }
        if word.recursed {
            self.word().data = word.data.wrapping_sub(1);
            self.word().recursed = word.data != 1;
        } else if (word.mine(td) || self.lk_disowned()) && !word.waiters && !word.read_waiters {
            let exslpfail = word.exslpfail;
            self.word().drop_to(false);
            self.word().exslpfail = exslpfail;
        } else {
            self.lk_next_turn();
        }
        Ok(())
    }

    /// `lockmgr_note_shared_release()`.
    fn lk_no_sharer(&mut self) -> Call {
        self.witness_unlock(false)?;
        self.count(-1);
        self.me().lk_slocks -= 1;
        Ok(())
    }

    /// The lock is free, and whose turn it is wakes.
    fn lk_next_turn(&mut self) {
        let word = *self.word();
        let on = self.lock as u8;
        let asleep =
            |td: &&super::Thread| matches!(td.run, super::Run::Blocked { lock, exclusive: true, .. } if lock == on);
        let exclusive = self.state.threads.iter().filter(asleep).count();
        let some = word.waiters && exclusive > 0;
        // Those that only go away when they are woken do not count, but are woken too.
        let takers = some && usize::from(word.exslpfail) < exclusive;
        self.word().drop_to(takers && word.read_waiters);
        self.word().exslpfail = 0;
        if some {
            self.wake(true);
        }
        if !takers {
            self.wake(false);
        }
    }

    /// `lockmgr_upgrade()`.
    fn lk_upgrade(&mut self, act: Act) -> Call {
        if self.me().phase > 0 {
            return self.lk_xlock(act);
        }
        self.lk_assert(2)?;
        let (td, word) = (self.td, *self.word());
        if word.owner != 0 || !matches!(word.readers, 0 | 1) {
            // Of an owner's address it is some number of sharers.
            if act == Act::Upgrade {
                self.log(false);
                return Ok(());
            }
            if word.owner != 0 {
                return Err(Stop::Wild);
            }
            self.word().readers -= 1;
            self.lk_no_sharer()?;
            self.me().phase = 1;
            self.checkorder(true)?;
            return self.lk_xlock(act);
        }
        if self.rules.invariants && word.readers != 1 {
            kpanic!("Assertion (v & ~LK_ALL_WAITERS) == LK_SHARERS_LOCK(1) failed at %s:%d");
        }
        self.word().take(td);
        self.witness_change("upgrade", true)?;
        self.me().lk_slocks -= 1;
        self.log(true);
        Ok(())
    }

    fn lk_downgrade(&mut self) -> Call {
        let (td, name, loc) = (self.td, self.name(), self.loc());
        self.lk_assert(4)?;
        self.witness_change("downgrade", false)?;
        let word = *self.word();
        if !word.mine(td) {
            // It tries for ever: nobody else makes the word the caller's.
            return Err(if self.rules.program.alone() { Stop::Spins } else { Stop::Wild });
        }
        if word.recursed {
            kpanic!("__lockmgr_args: downgrade a recursed lockmgr {name} @ {loc}");
        }
        self.me().lk_slocks += 1;
        self.word().owner = 0;
        self.word().readers = 1;
        Ok(())
    }

    /// `lockmgr_disown()`.
    fn lk_disown(&mut self) -> Call {
        let (td, loc) = (self.td, self.loc());
        self.lk_assert(4)?;
        let word = *self.word();
        if !word.mine(td) {
            return Ok(());
        }
        if word.recursed {
            kpanic!("_lockmgr_disown: disown a recursed lockmgr @ {loc}");
        }
        self.witness_unlock(true)?;
        self.count(-1);
        self.word().owner = KERNPROC;
        Ok(())
    }

    /// `lockmgr_assert()`.
    fn lk_assert(&mut self, what: u32) -> Call {
        if !self.rules.invariants {
            return Ok(());
        }
        let (td, name, loc) = (self.td, self.name(), self.loc());
        let word = *self.word();
        let owned = word.mine(td) || self.lk_disowned();
        match what & !0x18 {
            1 | 2 if what & 0x18 != 0x18 => {
                let share = what & 2 != 0;
                // WITNESS knows nothing of locks that were disowned.
                if self.rules.witness && (share || word.owner == 0) {
                    return self.witness_assert(what);
                }
                if word.free() && word.data == 0 || word.owner != 0 && (share || !owned) {
                    kpanic!("Lock {name} not {}locked @ {loc}", if share { "share" } else { "" });
                }
                if word.owner == 0 {
                    return Ok(());
                }
            }
            4 if what & 0x18 != 0x18 => {
                if !owned {
                    kpanic!("Lock {name} not exclusively locked @ {loc}");
                }
            }
            0 if what == 0 => {
                if owned {
                    kpanic!("Lock {name} exclusively locked @ {loc}");
                }
                return Ok(());
            }
            _ => kpanic!("Unknown lockmgr assertion: {what} @ {loc}"),
        }
        if word.recursed && what & 0x10 != 0 {
            kpanic!("Lock {name} recursed @ {loc}");
        }
        if !word.recursed && what & 8 != 0 {
            kpanic!("Lock {name} not recursed @ {loc}");
        }
        Ok(())
    }
}
