//! Calls that are about the thread, and which rules a call follows.

use super::one_cpu::IDLE;
use super::{At, Call, Mutation, Run, Stop, kpanic};
use crate::fuzz::program::Act;

impl At<'_> {
    /// Makes the call.
    pub(super) fn call(&mut self, act: Act) -> Call {
        if self.state.cpu.on && self.td == IDLE && act.takes_lock() {
            self.by_idle(act)?;
        }
        if act.takes_lock() {
            let kind = self.kind();
            return if act.waits() {
                self.cv_wait(act)
            } else if kind.is_mtx() {
                self.on_mtx(act)
            } else if kind.is_rm() {
                self.on_rm(act)
            } else {
                self.on_rw(act)
            };
        }
        let invariants = self.rules.invariants;
        let alone = self.rules.program.alone() || self.state.cpu.on;
        match act {
            Act::CriticalEnter => self.me().critnest += 1,
            Act::CriticalExit => self.critical_exit()?,
            Act::NoSleeping => self.me().no_sleeping += 1,
            Act::SleepingOk => self.me().no_sleeping -= 1,
            Act::Pin => self.me().pinned += 1,
            // A thread that has a CPU of its own undoes its own pins only, and not a reader's.
            Act::Unpin if !alone && self.me().pinned <= self.me().rm.iter().sum::<u8>() as i8 => {}
            Act::Unpin => {
                if invariants && self.me().pinned <= 0 {
                    kpanic!("Assertion curthread->td_pinned > 0 failed at %s:%d");
                }
                self.me().pinned -= 1;
            }
            Act::CvSignal | Act::CvBroadcast => self.cv_wake(act == Act::CvBroadcast)?,
            Act::Wakeup | Act::WakeupOne => self.sleepq_wake(act == Act::Wakeup, true)?,
            Act::Pause => {
                self.warn("Sleeping on \"nap\"", None);
                self.may_sleep()?;
                self.switch()?;
                self.me().run = Run::Paused;
            }
            Act::MallocWait | Act::MallocNowait if self.me().phase > 0 => self.free()?,
            Act::MallocWait | Act::MallocNowait => {
                if invariants && act == Act::MallocWait && self.state.cpu.interrupts(self.td) {
                    kpanic!("malloc(M_WAITOK) in interrupt context");
                }
                if invariants && act == Act::MallocWait && self.me().no_sleeping != 0 {
                    kpanic!("malloc(M_WAITOK) with sleeping prohibited");
                }
                if invariants && self.me().critnest != 0 {
                    kpanic!("malloc: called with spinlock or critical section held");
                }
                if act == Act::MallocWait {
                    // The zone allocator's check, which knows the size only.
                    self.warn("uma_zalloc_debug: zone \"malloc-16\"", None);
                }
                if self.state.cpu.on {
                    // An interrupt may come before free(9), and its filter leave something behind.
                    return Err(Stop::Later);
                }
            }
            Act::Userret => {
                self.userret()?;
                if self.state.cpu.on {
                    self.reschedule()?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// `free()`.
    fn free(&mut self) -> Call {
        if self.rules.invariants && self.me().critnest != 0 {
            kpanic!("free: called with spinlock or critical section held");
        }
        Ok(())
    }

    /// `critical_exit()`.
    pub(super) fn critical_exit(&mut self) -> Call {
        if self.rules.invariants && self.me().critnest == 0 {
            kpanic!("critical_exit: td_critnest == 0");
        }
        self.me().critnest -= 1;
        Ok(())
    }

    /// `spinlock_enter()`: one critical section, however deep.
    pub(super) fn spinlock_enter(&mut self) {
        let me = self.me();
        if me.spinlocks == 0 {
            me.critnest += 1;
        }
        me.spinlocks += 1;
    }

    /// `spinlock_exit()`.
    pub(super) fn spinlock_exit(&mut self) -> Call {
        self.me().spinlocks -= 1;
        if self.me().spinlocks == 0 { self.critical_exit() } else { Ok(()) }
    }

    /// `userret()`: WITNESS first, then the counters, in FreeBSD's order.
    fn userret(&mut self) -> Call {
        let (invariants, witness) = (self.rules.invariants, self.rules.witness);
        // The scheduler asks before everybody.
        if self.state.cpu.on && !self.rules.is_ithread(self.td) && self.rules.urgent(self.state, self.td) {
            if !invariants {
                // It loses what it was lent, and nobody lends it again.
                return Err(Stop::Wild);
            }
            kpanic!("thread with borrowed priority returning to userland");
        }
        if witness && self.holds_any() {
            self.warn_panic("userret: returning");
            kpanic!("witness_warn");
        }
        if !invariants {
            return Ok(());
        }
        let me = self.me();
        if me.critnest != 0 {
            kpanic!("userret: Returning in a critical section");
        }
        for (n, what) in [
            (me.locks, "locks held"),
            (me.rw_rlocks, "rwlocks held in read mode"),
            (me.sx_slocks, "sx locks held in shared mode"),
        ] {
            if n != 0 {
                kpanic!("userret: Returning with {n} {what}");
            }
        }
        if me.no_sleeping != 0 {
            kpanic!("userret: Returning with sleep disabled");
        }
        if me.pinned != 0 {
            kpanic!("userret: Returning with pinned thread");
        }
        Ok(())
    }

    /// Whether a rule was changed.
    pub(super) fn mutated(&self, mutation: Mutation) -> bool {
        self.rules.mutation == mutation
    }
}
