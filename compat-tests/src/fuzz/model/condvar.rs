//! condvar(9): the program's one condition, and its sleep queue.

use super::{At, Call, Run, Stop, kpanic};
use crate::fuzz::program::{Act, THREADS};

/// A condition's sleep queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct Queue {
    /// Who is on it, longest first: numbers plus one.
    waiters: [u8; THREADS],
    /// `sq_lock`: the interlock of who was first, plus one.
    interlock: u8,
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
    /// It was taken off because its time ran out.
    TimedOut,
}

impl Queue {
    /// Few bits, for a hash.
    pub(super) fn digest(&self) -> u64 {
        let [a, b, c] = self.waiters.map(u64::from);
        a << 6 | b << 4 | c << 2 | u64::from(self.interlock) << 8
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
    /// `cv_wait()` and `cv_timedwait()`.
    pub(super) fn cv_wait(&mut self, timed: bool) -> Call {
        match self.me().phase {
            0 => self.cv_queue(timed),
            1 => self.cv_sleep(),
            _ => {
                let how = self.me().how;
                self.interlock_call(how.lock())?;
                self.witness_restore();
                let worked = self.me().place != Place::TimedOut;
                self.me().place = Place::None;
                if timed {
                    self.log(worked);
                }
                Ok(())
            }
        }
    }

    /// What comes before the interlock goes.
    fn cv_queue(&mut self, timed: bool) -> Call {
        let (lock, td) = (self.lock, self.td);
        self.warn("Waiting on \"cv\"", Some(lock));
        self.may_sleep()?;
        let queue = self.state.cv;
        if self.rules.invariants && queue.waiters[0] != 0 && usize::from(queue.interlock) != lock + 1 {
            kpanic!("Assertion lock == sq->sq_lock failed at %s:%d");
        }
        if queue.waiters[0] == 0 {
            self.state.cv.interlock = lock as u8 + 1;
        }
        self.state.cv.push(td);
        let me = self.me();
        (me.place, me.timed) = (Place::Queued, timed);
        self.witness_save()?;
        // lc_unlock(): what it asserts, and in which mode the lock is held.
        let how = if self.kind().is_mtx() {
            self.mtx_assert(4 | 0x10)?;
            if self.kind().is_spin() { How::Spin } else { How::Exclusive }
        } else {
            self.rw_assert(1 | 0x10)?;
            if self.word().owner == 0 { How::Shared } else { How::Exclusive }
        };
        self.me().how = how;
        Err(Stop::Later)
    }

    /// The interlock goes, and the thread sleeps if it is still on the queue.
    fn cv_sleep(&mut self) -> Call {
        let how = self.me().how;
        self.interlock_call(how.unlock())?;
        // A sleep mutex or an rwlock goes with the chain locked, so that no signal comes between: who may not switch is told so,
        // unless its time has run out. A spin mutex likewise.
        let early = self.me().place;
        let signalled_between = early == Place::Signalled && self.kind().is_sx();
        if early != Place::TimedOut && !signalled_between {
            self.switch()?;
        }
        if early == Place::Queued {
            self.me().run = Run::Waiting;
        }
        Err(Stop::Later)
    }

    /// A call on the interlock as if the thread had made it.
    fn interlock_call(&mut self, act: Act) -> Call {
        if self.kind().is_mtx() { self.on_mtx(act) } else { self.on_rw(act) }
    }

    /// `cv_signal()`: of equals, who has waited longest.
    pub(super) fn cv_signal(&mut self) {
        let first = self.state.cv.waiters[0];
        if first != 0 {
            self.state.leave_cv(usize::from(first) - 1, Place::Signalled);
        }
    }

    /// `cv_broadcast()`.
    pub(super) fn cv_broadcast(&mut self) {
        while self.state.cv.waiters[0] != 0 {
            self.cv_signal();
        }
    }
}

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
