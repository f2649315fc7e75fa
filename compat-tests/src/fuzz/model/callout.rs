//! callout(9): the program's one callout, and the softclock thread, which stands where an interrupt thread would.
//!
//! * A tick makes a pending callout due. softclock takes it off the queue, takes its lock, if it was given one, and runs the handler unless
//!   somebody was quicker with the lock and cancelled it.
//! * Who stops it with the lock held cancels what waits for that lock; without, what runs goes on, and the next time is off.
//! * Who drains it sleeps as long as it runs, and only then is the next time off: it may even come.

use super::{At, Call, Mutation, Run, State, Stop};
use crate::fuzz::program::{Act, ITHREAD, THREADS};

/// The callout, and `struct cc_exec`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct Callout {
    /// CALLOUT_PENDING.
    pending: bool,
    /// Its time has come.
    due: bool,
    /// `cc_curr`: softclock has taken it.
    current: bool,
    /// `cc_cancel`.
    cancel: bool,
    /// `cc_waiting`.
    drained: bool,
    /// What softclock does with it next, but for the handler.
    next: Next,
}

/// See [`Callout`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
enum Next {
    #[default]
    Look,
    Lock,
    Unlock,
}

impl Callout {
    /// One that is set, if there is one.
    pub(super) fn set(pending: bool) -> Self {
        Self { pending, ..Self::default() }
    }

    /// Few bits, for a hash.
    pub(super) fn digest(&self) -> u8 {
        let flags = [self.pending, self.due, self.current, self.cancel, self.drained];
        flags.into_iter().fold(self.next as u8, |hash, flag| hash << 1 | u8::from(flag))
    }

    /// Whether a tick makes it due.
    pub(super) fn waits(&self) -> bool {
        self.pending && !self.due
    }
}

impl State {
    /// A tick: softclock has something to do.
    pub(super) fn callout_due(&mut self) {
        if !self.cpu.callout.pending {
            return;
        }
        (self.cpu.callout.due, self.cpu.need) = (true, true);
        if self.threads[ITHREAD].run == Run::Parked {
            self.make_runnable(ITHREAD);
        }
    }
}

impl At<'_> {
    fn callout(&mut self) -> &mut Callout {
        &mut self.state.cpu.callout
    }

    /// Whether the callout has a lock; what is done to it from now on is done there, and is not told where.
    fn at_callouts_lock(&mut self) -> bool {
        let lock = self.rules.program.callout().and_then(|callout| callout.lock);
        (self.lock, self.line) = (lock.unwrap_or(0).into(), 0);
        lock.is_some()
    }

    /// A call on the callout's lock.
    fn on_callouts_lock(&mut self, act: Act) -> Call {
        if self.kind().is_mtx() { self.on_mtx(act) } else { self.on_rw(act) }
    }

    /// The softclock thread's next step, outside the handler.
    pub(super) fn softclock(&mut self) -> Call {
        let locked = self.at_callouts_lock();
        match self.callout().next {
            Next::Look => {
                self.state.cpu.need = false;
                if !self.callout().due {
                    self.switch()?;
                    self.me().run = Run::Parked;
                    return Ok(());
                }
                *self.callout() = Callout { current: true, ..Callout::default() };
                if locked {
                    self.callout().next = Next::Lock;
                } else {
                    self.handler_begins();
                }
            }
            Next::Lock => {
                self.on_callouts_lock(Act::Lock)?;
                self.me().waited = false;
                if self.callout().cancel {
                    self.asserts_held()?;
                    self.callout().next = Next::Unlock;
                } else {
                    self.handler_begins();
                }
            }
            Next::Unlock => {
                let reads = !self.kind().is_mtx() && self.word().owner == 0;
                self.on_callouts_lock(if reads { Act::RUnlock } else { Act::Unlock })?;
                self.callout_ends();
            }
        }
        Ok(())
    }

    fn handler_begins(&mut self) {
        // It cannot be stopped now.
        self.callout().cancel = true;
        self.state.cpu.handling = true;
        let sleepy = self.mutated(Mutation::SleepyHandlers);
        let me = self.me();
        me.no_sleeping += i8::from(!sleepy);
        (me.pc, me.phase, me.waited) = (0, 0, false);
    }

    /// The handler returns.
    pub(super) fn handler_ends(&mut self) -> Call {
        self.me().no_sleeping -= i8::from(!self.mutated(Mutation::SleepyHandlers));
        self.state.cpu.handling = false;
        if !self.at_callouts_lock() {
            self.callout_ends();
            return Ok(());
        }
        self.asserts_held()?;
        self.callout().next = Next::Unlock;
        Ok(())
    }

    /// What lc_unlock() asserts.
    fn asserts_held(&mut self) -> Call {
        if self.kind().is_mtx() { self.mtx_assert(4 | 0x10) } else { self.rw_assert(1 | 0x10) }
    }

    /// It has run, or was cancelled.
    fn callout_ends(&mut self) {
        let drained = self.callout().drained;
        let callout = self.callout();
        (callout.current, callout.cancel, callout.drained, callout.next) = (false, false, false, Next::Look);
        if !drained {
            return;
        }
        let mut sleepers: Vec<_> = (0..THREADS).filter(|&td| self.state.threads[td].run == Run::Draining).collect();
        sleepers.sort_by_key(|&td| (!self.rules.urgent(self.state, td), self.state.threads[td].since));
        for td in sleepers {
            self.state.threads[td].since = 0;
            self.state.make_runnable(td);
        }
    }

    /// `callout_reset()`.
    pub(super) fn callout_reset(&mut self) {
        let locked = self.at_callouts_lock();
        let callout = self.callout();
        let mut cancelled = callout.current && locked && !callout.cancel;
        callout.cancel |= cancelled;
        if !(callout.current && callout.drained) {
            cancelled |= callout.pending;
            (callout.pending, callout.due) = (true, false);
        }
        self.log(cancelled);
    }

    /// `callout_stop()`.
    pub(super) fn callout_stop(&mut self) -> Call {
        let locked = self.at_callouts_lock();
        if locked && self.kind().is_mtx() {
            self.mtx_assert(4)?;
        } else if locked {
            self.rw_assert(4)?;
        }
        let callout = self.callout();
        let result = if callout.current && locked && !callout.cancel {
            callout.cancel = true;
            Some(true)
        } else {
            let result = if callout.pending || callout.current { Some(!callout.current) } else { None };
            (callout.pending, callout.due) = (false, false);
            result
        };
        self.log(result == Some(true));
        self.log(result == Some(false));
        Ok(())
    }

    /// `callout_drain()`.
    pub(super) fn callout_drain(&mut self) -> Call {
        let callout = self.callout();
        if callout.current {
            callout.drained = true;
            self.may_sleep()?;
            self.switch()?;
            let draining = |td: &&super::Thread| td.run == Run::Draining;
            self.me().since = 1 + self.state.threads.iter().filter(draining).map(|td| td.since).max().unwrap_or(0);
            self.me().run = Run::Draining;
            return Err(Stop::Blocked);
        }
        let pending = callout.pending;
        (callout.pending, callout.due) = (false, false);
        self.log(pending);
        Ok(())
    }
}
