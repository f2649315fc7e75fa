//! condvar(9) and sleep(9): the program's one condition, and the sleep queue of its address, which _sleep() and wakeup() may use too.

use super::{At, Call, DESTROYED, Mutation, Run, Stop, kpanic};
use crate::fuzz::program::{Act, THREADS};

/// A condition's sleep queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct Queue {
    /// Who is on it, longest first: numbers plus one.
    waiters: [u8; THREADS],
    /// `sq_lock`: the interlock of who was first, plus one.
    interlock: u8,
    /// `sq_type` is SLEEPQ_SLEEP and not SLEEPQ_CONDVAR.
    of_sleep: bool,
    /// `cv_waiters`: whose time ran out is still counted.
    count: u8,
}

/// A waiter's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) enum Place {
    /// It is on no queue.
    #[default]
    None,
    /// It is on the queue, asleep or about to be.
    Queued,
    /// It was taken off by cv_signal or cv_broadcast.
    Signalled,
}

impl Queue {
    /// Few bits, for a hash.
    pub(super) fn digest(&self) -> u64 {
        let [a, b, c] = self.waiters.map(u64::from);
        let rest = u64::from(self.count) << 16 | u64::from(self.of_sleep) << 12 | u64::from(self.interlock) << 8;
        a << 6 | b << 4 | c << 2 | rest
    }

    fn push(&mut self, td: usize) {
        if let Some(free) = self.waiters.iter_mut().find(|waiter| **waiter == 0) {
            *free = td as u8 + 1;
        }
    }

    /// Takes `td` off. A queue without a waiter is given away, and with it goes what it knew of the interlock.
    pub(super) fn remove(&mut self, td: usize) {
        if let Some(at) = self.waiters.iter().position(|&waiter| usize::from(waiter) == td + 1) {
            self.waiters[at..].rotate_left(1);
            self.waiters[THREADS - 1] = 0;
        }
        if self.waiters[0] == 0 {
            self.interlock = 0;
        }
    }
}

impl At<'_> {
    /// `cv_wait()`, `cv_timedwait()` and `_sleep()`.
    pub(super) fn cv_wait(&mut self, act: Act) -> Call {
        let timed = act.times_out();
        match self.me().phase {
            0 => self.cv_queue(timed, act),
            1 => self.cv_unlock(act),
            2 => self.cv_sleep(act),
            3 => self.cv_abort(),
            4 if timed => {
                // It asks the clock: what time passes until it has its interlock again does not count.
                self.me().timed = false;
                Err(Stop::Later)
            }
            _ => {
                self.pickup_after_sleep()?;
                if !act.drops() && !self.is_giant() {
                    let how = self.me().how;
                    self.base = if timed { 5 } else { 4 };
                    self.interlock_call(how.lock())?;
                    self.witness_restore();
                }
                let expired = self.me().expired && !self.mutated(Mutation::NoTimeouts);
                let aborted = self.me().aborted;
                let me = self.me();
                (me.place, me.expired, me.aborted) = (Place::None, false, false);
                if timed || act.catches() {
                    self.log(!expired && !aborted);
                }
                if timed && act.catches() {
                    self.log(aborted);
                }
                Ok(())
            }
        }
    }

    /// What comes before the interlock goes.
    fn cv_queue(&mut self, timed: bool, act: Act) -> Call {
        let of_sleep = act.sleeps();
        if act.sleeps_spin() {
            if !self.kind().is_spin() && !self.rules.invariants {
                return Err(Stop::Wild);
            }
        } else {
            self.warn(if of_sleep { SLEEPING } else { "Waiting on \"cv\"" }, Some(self.lock));
        }
        if of_sleep && !act.sleeps_spin() && self.rules.invariants && self.kind().is_spin() {
            kpanic!("spin locks can only use msleep_spin");
        }
        let giant = self.is_giant();
        if giant && act.drops() && self.rules.invariants {
            let call =
                if of_sleep { "PDROP requires a non-Giant lock" } else { "cv_wait_unlock cannot be used with Giant" };
            kpanic!("{call}");
        }
        if giant && act == Act::CvWaitUnlock {
            // It is let go once more than it is held.
            return Err(Stop::Wild);
        }
        if giant && !act.sleeps_spin() {
            self.mtx_assert(4)?;
            self.me().how = How::Exclusive;
        }
        self.state.cv.count += u8::from(!of_sleep);
        if giant && act.sleeps_spin() {
            // It is dropped before it is looked for.
            self.drop_giant()?;
        }
        // _sleep() drops what one may not sleep with before it goes on the queue, cv_wait() after that; both with the chain locked.
        if giant && !act.sleeps_spin() {
            // It goes by itself, and that is all.
            self.queue(timed, of_sleep, self.lock as u8 + 1)?;
        } else if of_sleep && !self.sleepable_interlock() {
            self.interlock_goes(act.sleeps_spin())?;
            self.queue(timed, of_sleep, self.lock as u8 + 1)?;
        } else {
            self.queue(timed, of_sleep, self.lock as u8 + 1)?;
            self.interlock_goes(act.sleeps_spin())?;
        }
        if self.sleepable_rm() && self.me().how == How::Shared && self.rm_held() == 0 {
            // Nobody's tracker: it is looked for at once.
            kpanic!("page fault");
        }
        if !(giant && act.sleeps_spin()) {
            self.drop_giant()?;
        }
        if !self.sleepable_interlock() {
            // The chain stays locked until the thread sleeps: neither a signal, nor the clock, nor any interrupt comes between.
            self.spinlock_enter();
        }
        Err(Stop::Later)
    }

    /// LC_SLEEPABLE.
    fn sleepable_interlock(&self) -> bool {
        self.kind().is_sx() || self.sleepable_rm()
    }

    /// Whether the chain is locked from when the interlock goes until the thread sleeps. msleep_spin() unlocks it for what WITNESS has to say.
    fn chain_locked(&self, act: Act) -> bool {
        let lets_go = act.sleeps_spin() && self.rules.witness;
        !self.sleepable_interlock() && !lets_go
    }

    /// `tsleep()` up to the sleep, all with the chain locked.
    pub(super) fn tsleep(&mut self) -> Call {
        self.warn(SLEEPING, None);
        self.queue(true, true, 0)?;
        self.drop_giant()?;
        self.switch()?;
        self.me().run = Run::Waiting;
        Err(Stop::Later)
    }

    /// `cv_destroy()`: nobody may sleep on the address.
    pub(super) fn cv_destroy(&mut self) -> Call {
        if self.rules.invariants && self.state.cv.waiters[0] != 0 {
            kpanic!("cv_destroy: associated sleep queue non-empty");
        }
        Ok(())
    }

    /// `sleepq_add()`; `interlock` is a lock's number plus one, or 0.
    fn queue(&mut self, timed: bool, of_sleep: bool, interlock: u8) -> Call {
        let td = self.td;
        self.may_sleep()?;
        let queue = &mut self.state.cv;
        if queue.waiters[0] == 0 {
            (queue.interlock, queue.of_sleep) = (interlock, of_sleep);
        } else if self.rules.invariants {
            if queue.interlock != interlock {
                kpanic!("Assertion lock == sq->sq_lock failed at %s:%d");
            }
            if queue.of_sleep != of_sleep {
                kpanic!("Assertion (flags & SLEEPQ_TYPE) == sq->sq_type failed at %s:%d");
            }
        }
        self.state.cv.push(td);
        let me = self.me();
        (me.place, me.timed) = (Place::Queued, timed);
        Ok(())
    }

    /// What is asserted of the interlock.
    fn interlock_goes(&mut self, spin: bool) -> Call {
        if spin {
            // msleep_spin() asserts before WITNESS is told.
            self.mtx_assert(4 | 0x10)?;
        }
        self.witness_save()?;
        // lc_unlock(): what it asserts, and in which mode the lock is held.
        let how = if self.kind().is_mtx() {
            self.mtx_assert(4 | 0x10)?;
            if self.kind().is_spin() { How::Spin } else { How::Exclusive }
        } else if self.kind().is_rm() {
            self.rm_assert(1 | 0x10)?;
            let td = self.td;
            if self.word().mine(td) { How::Exclusive } else { How::Shared }
        } else {
            self.rw_assert(1 | 0x10)?;
            if self.word().owner == 0 { How::Shared } else { How::Exclusive }
        };
        self.me().how = how;
        Ok(())
    }

    /// The interlock goes. If it is an sx lock, the chain is free meanwhile, and the thread may be preempted before it sleeps.
    fn cv_unlock(&mut self, act: Act) -> Call {
        let how = self.me().how;
        if self.is_giant() && !act.sleeps_spin() {
            self.me().phase += 1;
            return self.cv_sleep(act);
        }
        if self.kind().is_rm() && how == How::Shared && self.rm_held() == 0 {
            // Nobody's tracker.
            kpanic!("page fault");
        }
        if act.sleeps_spin() && !self.kind().is_spin() {
            let (name, loc) = (self.name(), self.loc());
            kpanic!("mtx_unlock_spin() of sleep mutex {name} @ {loc}");
        }
        self.base = 1;
        match self.interlock_call(how.unlock()) {
            // An rmlock's writer goes in two steps, of which the first is nobody else's business.
            Err(Stop::Later) => {
                self.base = 0;
                self.interlock_call(how.unlock())?;
            }
            other => other?,
        }
        if self.chain_locked(act) {
            self.me().phase += 1;
            return self.cv_sleep(act);
        }
        if act.sleeps_spin() {
            self.spinlock_exit()?;
            self.warn(SLEEPING, None);
        }
        Err(Stop::Later)
    }

    /// The thread sleeps if it is still on the queue.
    fn cv_sleep(&mut self, act: Act) -> Call {
        // Who may not switch is told so, though a signal came in time.
        let (queued, locked) = (self.me().place == Place::Queued, self.chain_locked(act));
        if act.catches() && self.me().signalled && !self.mutated(Mutation::DeafSleepers) {
            if locked {
                self.spinlock_exit()?;
            }
            self.catches_signal()?;
            return Err(Stop::Later);
        }
        let expired = self.me().expired;
        if queued && !expired || locked {
            self.switch()?;
        }
        if locked {
            self.spinlock_exit()?;
        }
        if queued && expired {
            let td = self.td;
            self.state.leave_cv(td, Place::None);
        } else if queued {
            let me = self.me();
            (me.run, me.catches) = (Run::Waiting, act.catches());
        } else {
            // Woken before it slept, it asks the clock at once.
            self.me().timed = false;
        }
        // There is no signal to be asked about.
        self.me().phase += 1;
        Err(Stop::Later)
    }

    /// A signal keeps the thread from sleeping, even if it was woken.
    fn cv_abort(&mut self) -> Call {
        let td = self.td;
        self.state.leave_cv(td, Place::None);
        self.me().aborted = true;
        Err(Stop::Later)
    }

    /// A call on the interlock as if the thread had made it.
    fn interlock_call(&mut self, act: Act) -> Call {
        if self.word().owner == DESTROYED {
            return self.on_destroyed(act);
        }
        match self.kind() {
            kind if kind.is_mtx() => self.on_mtx(act),
            kind if kind.is_rm() => self.on_rm(act),
            _ => self.on_rw(act),
        }
    }

    /// `cv_signal()` and `cv_broadcast()`, which look at the count first.
    pub(super) fn cv_wake(&mut self, all: bool) -> Call {
        let count = self.state.cv.count;
        if count == 0 {
            return Ok(());
        }
        self.state.cv.count = if all { 0 } else { count - 1 };
        self.sleepq_wake(all, false)
    }

    /// `wakeup_any()`: who went to sleep last, if possible one who is asleep already.
    pub(super) fn wakeup_any(&mut self) -> Call {
        let queue = self.state.cv;
        if self.rules.invariants && queue.waiters[0] != 0 && !queue.of_sleep {
            kpanic!("sleepq_signal: mismatch between sleep/wakeup and cv_*");
        }
        let waiters = || queue.waiters.iter().filter(|waiter| **waiter != 0).map(|&waiter| usize::from(waiter) - 1);
        let asleep = |td: &usize| self.state.threads[*td].run == Run::Waiting;
        if let Some(td) = waiters().rfind(asleep).or(waiters().next()) {
            self.state.leave_cv(td, Place::Signalled);
        }
        Ok(())
    }

    /// `sleepq_signal()` and `sleepq_broadcast()`: of equals, who has waited longest.
    pub(super) fn sleepq_wake(&mut self, all: bool, of_sleep: bool) -> Call {
        let queue = self.state.cv;
        if self.rules.invariants && queue.waiters[0] != 0 && queue.of_sleep != of_sleep {
            let func = if all { "sleepq_broadcast" } else { "sleepq_signal" };
            kpanic!("{func}: mismatch between sleep/wakeup and cv_*");
        }
        let mut waiters = queue.waiters;
        let urgent = |&waiter: &u8| waiter != 0 && self.rules.urgent(self.state, usize::from(waiter) - 1);
        if self.state.cpu.on
            && let Some(best) = waiters.iter().position(urgent)
        {
            // The first is the best, and the others stay in order.
            waiters[..=best].rotate_right(1);
        }
        let n = if all { THREADS } else { 1 };
        for waiter in waiters.into_iter().take(n).filter(|waiter| *waiter != 0) {
            self.state.leave_cv(usize::from(waiter) - 1, Place::Signalled);
        }
        Ok(())
    }
}

/// What WITNESS may warn of.
const SLEEPING: &str = "Sleeping on \"sl\"";

/// How a waiter held its interlock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) enum How {
    #[default]
    Exclusive,
    Shared,
    Spin,
}

impl How {
    fn lock(self) -> Act {
        match self {
            Self::Exclusive => Act::Lock,
            Self::Shared => Act::RLock,
            Self::Spin => Act::SpinLock,
        }
    }

    fn unlock(self) -> Act {
        match self {
            Self::Exclusive => Act::Unlock,
            Self::Shared => Act::RUnlock,
            Self::Spin => Act::SpinUnlock,
        }
    }
}
