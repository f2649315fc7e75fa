//! Calls that are about the thread, and which rules a call follows.

use super::one_cpu::IDLE;
use super::{At, Call, DESTROYED, KERNPROC, Mutation, Run, Stop, Word, kpanic};
use crate::fuzz::program::{Act, Kind};

impl At<'_> {
    /// Makes the call.
    pub(super) fn call(&mut self, act: Act) -> Call {
        if self.state.cpu.on && self.td == IDLE && act.takes_lock() {
            self.by_idle(act)?;
        }
        if act.takes_lock() {
            let kind = self.kind();
            if matches!(act, Act::Owned | Act::Destroy | Act::Init) {
                return self.on_any(act);
            }
            if act == Act::WaitUnlocked {
                return self.wait_unlocked();
            }
            if self.word().owner == DESTROYED && !act.waits() && !matches!(act, Act::Assert(_)) {
                return self.on_destroyed(act);
            }
            return if act.waits() {
                self.cv_wait(act)
            } else if kind.is_mtx() {
                self.on_mtx(act)
            } else if kind.is_rm() {
                self.on_rm(act)
            } else if kind.is_lockmgr() {
                self.on_lockmgr(act)
            } else {
                self.on_rw(act)
            };
        }
        let invariants = self.rules.invariants;
        let alone = self.rules.program.alone() || self.state.cpu.on && !self.state.cpu.two;
        match act {
            Act::CriticalEnter => self.me().critnest += 1,
            Act::CriticalExit => self.critical_exit()?,
            Act::NoSleeping => self.me().no_sleeping += 1,
            Act::SleepingOk => self.me().no_sleeping -= 1,
            Act::Pin => self.me().pinned += 1,
            // A thread that has a CPU of its own undoes its own pins only, and not a reader's.
            Act::Unpin
                if !alone && self.me().pinned <= (self.me().rm.iter().sum::<u8>() + self.me().preemptible) as i8 => {}
            Act::Unpin => {
                if invariants && self.me().pinned <= 0 {
                    kpanic!("Assertion curthread->td_pinned > 0 failed at %s:%d");
                }
                self.me().pinned -= 1;
            }
            Act::CvSignal | Act::CvBroadcast => self.cv_wake(act == Act::CvBroadcast)?,
            Act::Wakeup | Act::WakeupOne => self.sleepq_wake(act == Act::Wakeup, true)?,
            Act::WakeupAny => self.wakeup_any()?,
            Act::Signal(to) if usize::from(to) < self.rules.program.threads.len() => self.state.signal(to.into()),
            Act::Relinquish => {
                self.switch()?;
                let td = self.td;
                // Whoever is as good comes first; or it goes on at once.
                self.state.make_runnable(td);
            }
            Act::Tsleep if self.me().phase == 0 => self.tsleep()?,
            Act::Tsleep => {
                self.pickup_after_sleep()?;
                let expired = self.me().expired && !self.mutated(Mutation::NoTimeouts);
                let me = self.me();
                (me.place, me.expired) = (super::condvar::Place::None, false);
                self.log(!expired);
            }
            Act::CvDestroy => self.cv_destroy()?,
            act if act.is_epochs() => self.on_epoch(act)?,
            act if act.is_callouts() && self.rules.program.callout().is_none() => {}
            Act::CalloutReset => self.callout_reset(),
            Act::CalloutStop => self.callout_stop()?,
            Act::CalloutDrain => self.callout_drain()?,
            Act::Pause if self.me().phase > 0 => {
                // pause(9) is not told where it stands.
                self.line = 0;
                self.pickup_giant()?;
            }
            Act::Pause => {
                self.warn("Sleeping on \"nap\"", None);
                self.may_sleep()?;
                self.drop_giant()?;
                self.switch()?;
                self.me().run = Run::Paused;
                if self.me().giant != 0 {
                    return Err(Stop::Later);
                }
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

    /// `mtx_wait_unlocked()` and `mtx_spin_wait_unlocked()`: who waits for a running owner spins, for another sleep mutex's takes it.
    fn wait_unlocked(&mut self) -> Call {
        match self.me().phase {
            0 => {}
            1 => {
                self.on_mtx(Act::Lock)?;
                return Err(Stop::Later);
            }
            _ => return self.on_mtx(Act::Unlock),
        }
        let (td, name, spin, invariants) = (self.td, self.name(), self.kind().is_spin(), self.rules.invariants);
        let call = if spin { "mtx_spin_wait_unlocked" } else { "mtx_wait_unlocked" };
        let owner = self.word().owner;
        if owner == DESTROYED && invariants {
            kpanic!("{call}() of destroyed mutex %p");
        }
        if owner == DESTROYED {
            return Err(Stop::Wild);
        }
        if self.word().mine(td) && invariants && !self.me().waited {
            kpanic!("{call}() waiting on myself on lock %p ({name})");
        }
        if owner == 0 && self.word().free() {
            return Ok(());
        }
        if spin || self.owner_runs() { Err(Stop::Spins) } else { Err(Stop::Later) }
    }

    /// A call that all kinds of locks have.
    fn on_any(&mut self, act: Act) -> Call {
        let (td, kind, name, invariants) = (self.td, self.kind(), self.name(), self.rules.invariants);
        let word = *self.word();
        match act {
            Act::Owned => {
                self.log(word.mine(td) || word.owner == KERNPROC);
                return Ok(());
            }
            Act::Init => {
                if invariants && word.owner != DESTROYED {
                    // Of an rmlock the lock behind minds first; a mutex has its name, an sx lock does not.
                    let name = if self.sleepable_rm() { "rmlock_sx" } else { name };
                    kpanic!("lock \"{name}\" %p already initialized");
                }
                if self.rm_held() > 0 {
                    // Trackers of a lock that is new.
                    return Err(Stop::Wild);
                }
                *self.word() = Word::default();
                self.state.readers[self.lock] = super::rm::Active::default();
                return Ok(());
            }
            _ => {}
        }
        let mine = kind.is_mtx() && word.exactly(td);
        if !invariants && (!word.free() && !mine || word.data > 0 || self.rm_held() > 0) {
            // Somebody goes on holding it.
            return Err(Stop::Wild);
        }
        if kind.is_mtx() && word.mine(td) {
            if invariants && (word.recursed || word.waiters) {
                kpanic!("Assertion (m->mtx_lock & (MTX_RECURSED|MTX_CONTESTED)) == 0 failed at %s:%d");
            }
            if word.data > 0 {
                // A spin mutex's word does not say so, and WITNESS goes on holding it.
                return Err(Stop::Wild);
            }
            if kind.is_spin() {
                self.spinlock_exit()?;
            } else {
                self.count(-1);
            }
            self.witness_unlock(true)?;
        } else if invariants {
            if kind.is_rm() && word.mine(td) {
                kpanic!("Lock {name} exclusively locked @ %s:%d");
            }
            if kind.is_rm() && self.rm_held() > 0 {
                kpanic!("Lock {name} read locked @ %s:%d");
            }
            if !word.free() {
                match kind {
                    _ if kind.is_mtx() => kpanic!("Assertion mtx_unowned(m) failed at %s:%d"),
                    Kind::Rm | Kind::RmRecurse => kpanic!("Assertion mtx_unowned(m) failed at %s:%d"),
                    Kind::Rw | Kind::RwRecurse => kpanic!("rw lock %p not unlocked"),
                    _ => kpanic!("sx lock still held"),
                }
            }
        }
        *self.word() = Word { owner: DESTROYED, ..Word::default() };
        Ok(())
    }

    /// Every call but an assertion asks first whether there is a lock.
    pub(super) fn on_destroyed(&mut self, act: Act) -> Call {
        if !self.rules.invariants {
            return Err(Stop::Wild);
        }
        let (kind, loc) = (self.kind(), self.loc());
        let (prefix, what) = match () {
            () if kind.is_mtx() => ("mtx", "mutex"),
            () if kind.is_rm() => ("rm", "rmlock"),
            () if kind.is_sx() => ("sx", "sx"),
            () => ("rw", "rwlock"),
        };
        let call = match (act, prefix) {
            (Act::Lock, "mtx") => "lock",
            (Act::Unlock, "mtx") => "unlock",
            (Act::Try, "mtx") => "trylock",
            (Act::SpinLock, _) => "lock_spin",
            (Act::SpinTry, _) => "trylock_spin",
            (Act::SpinUnlock, _) => "unlock_spin",
            (Act::Lock | Act::LockSig, "sx") => "xlock",
            (Act::Unlock, "sx") => "xunlock",
            (Act::Try, "sx") => "try_xlock",
            (Act::RLock | Act::RLockSig, "sx") => "slock",
            (Act::RUnlock, "sx") => "sunlock",
            (Act::TryR, "sx") => "try_slock",
            (Act::Lock, _) => "wlock",
            (Act::Unlock, _) => "wunlock",
            (Act::Try, _) => "try_wlock",
            (Act::RUnlock, _) => "runlock",
            // A try for an rmlock is one of rm_rlock's ways.
            (Act::RLock, _) | (Act::TryR, "rm") => "rlock",
            (Act::TryR, _) => "try_rlock",
            (Act::Upgrade, _) => "try_upgrade",
            _ => "downgrade",
        };
        kpanic!("{prefix}_{call}() of destroyed {what} @ {loc}")
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
            (me.lk_slocks, "lockmanager locks held in shared mode"),
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
