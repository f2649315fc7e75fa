//! rwlock(9) and sx(9): the same words, and different queues.

use super::{At, Call, Mutation, Stop, kpanic};
use crate::fuzz::program::Act;

impl At<'_> {
    fn is_sx(&self) -> bool {
        self.kind().is_sx()
    }

    /// How the kind calls its readers.
    fn shared(&self) -> &'static str {
        if self.is_sx() { "share" } else { "read" }
    }

    /// `td_rw_rlocks` or `td_sx_slocks`.
    fn reads(&mut self) -> &mut i8 {
        if self.is_sx() { &mut self.me().sx_slocks } else { &mut self.me().rw_rlocks }
    }

    /// Blocks as the kind does.
    fn wait(&mut self, exclusive: bool, catches: bool) -> Call {
        if self.is_sx() { self.sleep(exclusive, catches) } else { self.block(exclusive) }
    }

    /// `RW_READERS()`: of a word that has wrapped, as many as fit; of an owner's address, as many as that comes to.
    fn several_readers(&mut self) -> bool {
        let word = self.word();
        word.owner != 0 || !matches!(word.readers, 0 | 1)
    }

    /// A call on an rwlock or sx lock.
    pub(super) fn on_rw(&mut self, act: Act) -> Call {
        match act {
            Act::Lock => self.write_lock(false)?,
            Act::LockSig | Act::RLockSig => self.lock_sig(act)?,
            Act::Unlock => self.write_unlock()?,
            Act::Try => self.try_write(),
            Act::RLock => self.read_lock(false)?,
            Act::RUnlock => self.read_unlock()?,
            Act::TryR => self.try_read(),
            Act::Upgrade => self.upgrade()?,
            Act::Downgrade => self.downgrade()?,
            Act::Assert(what) => self.rw_assert(what)?,
            _ => {}
        }
        Ok(())
    }

    fn write_lock(&mut self, catches: bool) -> Call {
        let (td, name, loc) = (self.td, self.name(), self.loc());
        if self.only_giant_is_left() {
            self.pickup_giant()?;
            self.witness_lock(true);
            self.count(1);
            return Ok(());
        }
        self.checkorder(true)?;
        if self.word().free() {
            self.word().take(td);
        } else if self.word().mine(td) && !self.me().waited {
            if self.rules.invariants && !self.kind().recursable() {
                if self.is_sx() {
                    kpanic!("_sx_xlock_hard: recursed on non-recursive sx {name} @ {loc}");
                }
                kpanic!("__rw_wlock_hard: recursing but non-recursive rw {name} @ {loc}");
            }
            self.recurse();
        } else if self.is_sx() && self.owns_giant() {
            return self.wait_without_giant();
        } else if self.owner_runs() {
            return Err(Stop::Spins);
        } else if self.word().owner == 0 && self.word().readers == 0 {
            // Free, and somebody still waits: their flags stay.
            self.word().take(td);
        } else {
            self.word().waiters = true;
            return self.wait(true, catches);
        }
        self.then_giant()?;
        self.witness_lock(true);
        self.count(1);
        Ok(())
    }

    /// `sx_xlock_sig()` and `sx_slock_sig()`: a signal ends the sleep and leaves the flags of waiters as they are.
    fn lock_sig(&mut self, act: Act) -> Call {
        let me = self.me();
        let aborted = me.phase > 0 || me.aborted;
        (me.leaving, me.aborted) = (0, false);
        if aborted && self.me().giant != 0 {
            self.me().phase = 1;
            self.pickup_giant()?;
        }
        if !aborted && act == Act::LockSig {
            self.write_lock(true)?;
        } else if !aborted {
            self.read_lock(true)?;
        }
        self.log(!aborted);
        Ok(())
    }

    fn recurse(&mut self) {
        self.word().data = self.word().data.wrapping_add(1);
        self.word().recursed = true;
    }

    fn write_unlock(&mut self) -> Call {
        let td = self.td;
        self.rw_assert(4)?;
        self.witness_unlock(true)?;
        if self.word().exactly(td) {
            self.word().drop_to(false);
        } else if self.word().recursed {
            self.word().data = self.word().data.wrapping_sub(1);
            self.word().recursed = self.word().data != 0;
        } else {
            let anybody = self.anybody_waits();
            let sleepers = !self.is_sx() || self.waits(true);
            self.pass_on(sleepers);
            if !anybody && !self.is_sx() {
                kpanic!("page fault");
            }
        }
        self.count(-1);
        Ok(())
    }

    /// Frees the word and wakes whose turn it is: writers, if any wait. An sx lock's exclusive owner looks whether any still do,
    /// since a signal takes them away and not their flag (`sleepers`); a sharer does not.
    fn pass_on(&mut self, sleepers: bool) {
        self.unlend();
        let writers = self.word().waiters && sleepers;
        let keep = writers && self.word().read_waiters;
        self.word().drop_to(keep);
        self.wake(writers);
    }

    fn try_write(&mut self) {
        let td = self.td;
        let mut taken = self.word().free();
        if taken {
            self.word().take(td);
        } else if self.word().exactly(td) && self.kind().recursable() {
            self.recurse();
            taken = true;
        }
        if taken {
            self.witness_lock(true);
            self.count(1);
        }
        self.log(taken);
    }

    fn read_lock(&mut self, catches: bool) -> Call {
        let (td, name, loc) = (self.td, self.name(), self.loc());
        if self.only_giant_is_left() {
            self.pickup_giant()?;
            self.witness_lock(false);
            self.count(1);
            return Ok(());
        }
        if self.rules.invariants && !self.is_sx() && self.word().mine(td) && !self.me().waited {
            kpanic!("rw_rlock: wlock already held for {name} @ {loc}");
        }
        self.checkorder(false)?;
        let word = *self.word();
        // A thread that reads any lock of the kind already does not wait for waiting writers.
        let polite = *self.reads() == 0 && !self.mutated(Mutation::ReadersFirst);
        if word.owner != 0 || word.waiters && polite {
            if self.is_sx() && self.owns_giant() {
                return self.wait_without_giant();
            }
            if self.owner_runs() {
                return Err(Stop::Spins);
            }
            self.word().read_waiters = true;
            return self.wait(false, catches);
        }
        self.add_reader();
        self.then_giant()?;
        self.witness_lock(false);
        self.count(1);
        Ok(())
    }

    fn add_reader(&mut self) {
        self.word().readers += 1;
        *self.reads() += 1;
    }

    fn read_unlock(&mut self) -> Call {
        self.rw_assert(2)?;
        self.witness_unlock(false)?;
        let word = *self.word();
        if word.owner != 0 {
            // The owner's address becomes another.
            return Err(Stop::Wild);
        }
        if self.several_readers() || !word.waiters && !word.read_waiters {
            self.word().readers -= 1;
        } else {
            self.pass_on(true);
        }
        *self.reads() -= 1;
        self.count(-1);
        Ok(())
    }

    fn try_read(&mut self) {
        let taken = self.word().owner == 0;
        if taken {
            self.add_reader();
            self.witness_lock(false);
            self.count(1);
        }
        self.log(taken);
    }

    fn upgrade(&mut self) -> Call {
        let td = self.td;
        self.rw_assert(2)?;
        let greedy = self.mutated(Mutation::GreedyUpgrade) && self.word().owner == 0;
        let upgraded = greedy || !self.several_readers();
        if upgraded {
            self.word().take(td);
            *self.reads() -= 1;
            self.witness_change("upgrade", true)?;
        }
        self.log(upgraded);
        Ok(())
    }

    fn downgrade(&mut self) -> Call {
        let td = self.td;
        self.rw_assert(4 | 0x10)?;
        if self.word().data != 0 {
            kpanic!("downgrade of a recursed lock");
        }
        self.witness_change("downgrade", false)?;
        let word = *self.word();
        let anybody = self.anybody_waits();
        if !self.is_sx() && !word.exactly(td) && !anybody {
            kpanic!("page fault");
        }
        if !word.exactly(td) {
            self.unlend();
        }
        let readers_wait = word.read_waiters;
        self.word().drop_to(false);
        self.word().readers = 1;
        self.word().waiters = word.waiters;
        if self.is_sx() {
            // Sharers are woken, whoever else waits.
            if readers_wait {
                self.wake(false);
            }
        } else if word.waiters {
            self.word().read_waiters = readers_wait;
        } else {
            self.wake(false);
        }
        *self.reads() += 1;
        Ok(())
    }

    /// `rw_assert()` and `sx_assert()`.
    pub(super) fn rw_assert(&mut self, what: u32) -> Call {
        if !self.rules.invariants {
            return Ok(());
        }
        let (td, name, loc, shared) = (self.td, self.name(), self.loc(), self.shared());
        let word = *self.word();
        let mine = word.mine(td);
        match what & !0x18 {
            1 | 2 if what & 0x18 != 0x18 => {
                if self.rules.witness {
                    return self.witness_assert(what);
                }
                let read = word.owner == 0;
                if word.free() || !read && (what & 2 != 0 || !mine) {
                    let how = if what & 2 != 0 { format!("{shared} ") } else { String::new() };
                    kpanic!("Lock {name} not {how}locked @ {loc}");
                }
                if !read {
                    self.assert_recursion(what)?;
                }
            }
            4 if what & 0x18 != 0x18 => {
                if !mine {
                    kpanic!("Lock {name} not exclusively locked @ {loc}");
                }
                self.assert_recursion(what)?;
            }
            0 if what == 0 => {
                if self.rules.witness {
                    return self.witness_assert(what);
                }
                if mine {
                    kpanic!("Lock {name} exclusively locked @ {loc}");
                }
            }
            _ => kpanic!("Unknown {} lock assertion: {what} @ {loc}", if self.is_sx() { "sx" } else { "rw" }),
        }
        Ok(())
    }

    fn assert_recursion(&mut self, what: u32) -> Call {
        let (name, loc, recursed) = (self.name(), self.loc(), self.word().data != 0);
        if recursed && what & 0x10 != 0 {
            kpanic!("Lock {name} recursed @ {loc}");
        }
        if !recursed && what & 8 != 0 {
            kpanic!("Lock {name} not recursed @ {loc}");
        }
        Ok(())
    }
}
