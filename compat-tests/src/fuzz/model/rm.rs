//! rmlock(9) with one CPU: whether its readers must ask, and the mutex behind.
//!
//! A call on an rmlock takes and drops the mutex behind it in steps of their own; with one thread nobody can come in between.

use super::{At, Call, Stop, kpanic};
use crate::fuzz::program::Act;

/// The name of the mutex behind.
const BEHIND: &str = "rmlock_mtx";

impl At<'_> {
    fn rm_held(&mut self) -> u8 {
        let lock = self.lock;
        self.me().rm[lock]
    }

    /// A call on an rmlock.
    pub(super) fn on_rm(&mut self, act: Act) -> Call {
        if self.rules.program.threads.len() > 1 {
            return Err(Stop::Wild);
        }
        match act {
            Act::Lock => self.rm_wlock(),
            Act::Unlock => {
                self.rm_assert(4)?;
                self.witness_unlock(true)?;
                self.behind_release()?;
                self.count(-1);
                Ok(())
            }
            Act::RLock => self.rm_rlock(),
            Act::RUnlock => self.rm_runlock(),
            Act::TryR => {
                let taken = self.rm_read(true)?;
                if taken {
                    self.witness_lock(false);
                    self.count(1);
                }
                self.log(taken);
                Ok(())
            }
            Act::Assert(what) => self.rm_assert(what),
            _ => Ok(()),
        }
    }

    /// `mtx_lock()` of the mutex behind, which counts as a lock like any other.
    fn behind_take(&mut self) -> Call {
        self.mtx_take(BEHIND)?;
        self.count(1);
        Ok(())
    }

    fn behind_release(&mut self) -> Call {
        let (td, loc) = (self.td, self.loc());
        if self.rules.invariants && !self.word().mine(td) {
            kpanic!("mutex {BEHIND} not owned at {loc}");
        }
        self.mtx_release()?;
        self.count(-1);
        Ok(())
    }

    fn rm_wlock(&mut self) -> Call {
        self.rm_assert(0)?;
        self.checkorder(true)?;
        self.behind_take()?;
        self.word().token = false;
        if self.rm_held() > 0 {
            // Only without INVARIANTS: it waits for itself.
            return self.block(true);
        }
        self.witness_lock(true);
        self.count(1);
        Ok(())
    }

    fn rm_rlock(&mut self) -> Call {
        let (td, name, loc) = (self.td, self.name(), self.loc());
        if self.rules.invariants && !self.kind().recursable() && self.rm_held() > 0 {
            kpanic!("rm_rlock: recursed on non-recursive rmlock {name} @ {loc}");
        }
        if self.rules.invariants && self.word().mine(td) {
            kpanic!("rm_rlock: wlock already held for {name} @ {loc}");
        }
        self.checkorder(false)?;
        self.rm_read(false)?;
        self.witness_lock(false);
        self.count(1);
        Ok(())
    }

    /// `_rm_rlock()`.
    fn rm_read(&mut self, try_only: bool) -> Call<bool> {
        let joins = self.kind().recursable() && self.rm_held() > 0;
        if !self.word().token && !joins {
            if !try_only {
                self.behind_take()?;
            } else if self.mtx_try() {
                self.count(1);
            } else {
                return Ok(false);
            }
            self.word().token = true;
            self.behind_release()?;
        }
        let lock = self.lock;
        let me = self.me();
        me.rm[lock] += 1;
        me.pinned += 1;
        Ok(true)
    }

    fn rm_runlock(&mut self) -> Call {
        self.rm_assert(2)?;
        self.witness_unlock(false)?;
        if self.rm_held() == 0 {
            // Without INVARIANTS: a tracker that nobody queued.
            return Err(Stop::Wild);
        }
        let lock = self.lock;
        let me = self.me();
        me.rm[lock] -= 1;
        me.pinned -= 1;
        self.count(-1);
        Ok(())
    }

    /// `rm_assert()`.
    fn rm_assert(&mut self, what: u32) -> Call {
        if !self.rules.invariants {
            return Ok(());
        }
        let (td, name, loc) = (self.td, self.name(), self.loc());
        let (mine, held) = (self.word().mine(td), self.rm_held());
        match what & !0x18 {
            1 | 2 => {
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
