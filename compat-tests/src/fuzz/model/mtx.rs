//! mutex(9), and the mutex behind an rmlock.

use super::{At, Call, Mutation, Stop, kpanic};
use crate::fuzz::program::Act;

impl At<'_> {
    /// A call on a mutex: of its own kind, or of the other.
    pub(super) fn on_mtx(&mut self, act: Act) -> Call {
        let (spin, name, loc) = (self.kind().is_spin(), self.name(), self.loc());
        let (call, of_spin) = match act {
            Act::Lock => ("mtx_lock", false),
            Act::Unlock => ("mtx_unlock", false),
            Act::Try => ("mtx_trylock", false),
            Act::SpinLock => ("mtx_lock_spin", true),
            Act::SpinUnlock => ("mtx_unlock_spin", true),
            Act::SpinTry => ("mtx_trylock_spin", true),
            Act::Assert(what) => return self.mtx_assert(what),
            _ => return Ok(()),
        };
        if spin != of_spin {
            if self.rules.invariants {
                kpanic!("{call}() of {} mutex {name} @ {loc}", if spin { "spin" } else { "sleep" });
            }
            if !self.rules.program.alone() {
                // A turnstile that a spin mutex's release forgets keeps a stale owner.
                return Err(Stop::Wild);
            }
        }
        match act {
            Act::Lock => {
                self.checkorder(true)?;
                self.mtx_take(name)?;
                self.witness_lock(true);
                self.count(1);
            }
            Act::Unlock => {
                self.witness_unlock(true)?;
                self.mtx_assert(4)?;
                self.mtx_release()?;
                self.count(-1);
            }
            Act::Try => {
                let taken = self.mtx_try();
                if taken {
                    self.witness_lock(true);
                    self.count(1);
                }
                self.log(taken);
            }
            Act::SpinLock => self.lock_spin()?,
            Act::SpinTry => {
                self.spinlock_enter();
                let (td, taken) = (self.td, self.word().free());
                if taken {
                    self.word().take(td);
                    self.witness_lock(true);
                } else {
                    self.spinlock_exit()?;
                }
                self.log(taken);
            }
            _ => {
                self.witness_unlock(true)?;
                self.mtx_assert(4)?;
                if self.word().data > 0 {
                    self.word().data -= 1;
                } else {
                    self.word().drop_to(false);
                }
                self.spinlock_exit()?;
            }
        }
        Ok(())
    }

    fn lock_spin(&mut self) -> Call {
        let (td, name, loc) = (self.td, self.name(), self.loc());
        let waited = self.me().waited;
        if self.rules.invariants && self.word().mine(td) && !self.kind().recursable() && !waited {
            kpanic!("mtx_lock_spin: recursed on non-recursive mutex {name} @ {loc}");
        }
        self.checkorder(true)?;
        self.spinlock_enter();
        if self.word().free() {
            self.word().take(td);
        } else if self.word().exactly(td) && !waited {
            self.word().data = self.word().data.wrapping_add(1);
        } else {
            // It leaves spinlock_enter while it waits; a thread whose count is broken is told so there.
            self.spinlock_exit()?;
            return Err(Stop::Spins);
        }
        self.witness_lock(true);
        Ok(())
    }

    /// `__mtx_lock_sleep()` and the try before it; `name` is the mutex's.
    pub(super) fn mtx_take(&mut self, name: &str) -> Call {
        let td = self.td;
        if self.word().free() {
            self.word().take(td);
            return Ok(());
        }
        if self.word().mine(td) && !self.me().waited {
            // The mutex behind an rmlock is never recursive.
            let may = self.kind().recursable() && self.kind().is_mtx() || self.mutated(Mutation::EverybodyRecurses);
            if self.rules.invariants && !may {
                let loc = self.loc();
                kpanic!("_mtx_lock_sleep: recursed on non-recursive mutex {name} @ {loc}");
            }
            self.word().data = self.word().data.wrapping_add(1);
            self.word().recursed = true;
            return Ok(());
        }
        if self.owner_runs() {
            return Err(Stop::Spins);
        }
        self.word().waiters = true;
        self.block(true)
    }

    /// `mtx_trylock()`: the whole word is compared.
    pub(super) fn mtx_try(&mut self) -> bool {
        let td = self.td;
        if self.word().free() {
            self.word().take(td);
            return true;
        }
        let again = self.word().exactly(td) && self.kind().recursable() && self.kind().is_mtx();
        if again {
            self.word().data = self.word().data.wrapping_add(1);
            self.word().recursed = true;
        }
        again
    }

    /// `__mtx_unlock_sleep()` and the try before it.
    pub(super) fn mtx_release(&mut self) -> Call {
        let td = self.td;
        if self.word().exactly(td) {
            self.word().drop_to(false);
            return Ok(());
        }
        if self.word().recursed {
            self.word().data = self.word().data.wrapping_sub(1);
            self.word().recursed = self.word().data != 0;
            return Ok(());
        }
        let anybody = self.waits(true);
        self.unlend();
        self.word().drop_to(false);
        if !anybody {
            // There is no turnstile to look into.
            kpanic!("page fault");
        }
        self.wake(true);
        Ok(())
    }

    /// `mtx_assert()`.
    pub(super) fn mtx_assert(&mut self, what: u32) -> Call {
        if !self.rules.invariants {
            return Ok(());
        }
        let (td, name, loc) = (self.td, self.name(), self.loc());
        let (mine, recursed) = (self.word().mine(td), self.word().data != 0);
        match what & !0x18 {
            4 if what & 0x18 != 0x18 => {
                if !mine {
                    kpanic!("mutex {name} not owned at {loc}");
                }
                if recursed && what & 0x10 != 0 {
                    kpanic!("mutex {name} recursed at {loc}");
                }
                if !recursed && what & 8 != 0 {
                    kpanic!("mutex {name} unrecursed at {loc}");
                }
            }
            0 if what == 0 => {
                if mine {
                    kpanic!("mutex {name} owned at {loc}");
                }
            }
            _ => kpanic!("unknown mtx_assert at {loc}"),
        }
        Ok(())
    }
}
