//! Programs with one CPU: threads that share it, and an interrupt that may come once or twice, at any moment. Or with two: the second
//! thread has one to itself, and the interrupt comes on that of the first.
//!
//! * The CPU runs one thread until that gives it up, by blocking, sleeping, or spinning until its time slice is over. Then comes the best
//!   that can run; of equals, who has waited longest.
//! * There are two kinds of priority: an interrupt thread's, which preempts at once, and everybody else's. Who owns a lock that
//!   somebody is blocked on is as good as whoever that is.
//! * Spin mutexes keep interrupts off; critical sections put off preemption, and nothing else.
//! * A filter runs on the interrupted thread's stack, in a critical section of its own, with interrupts off. Between the calls of a
//!   program, that thread may be the idle one.
//! * Whom another CPU wakes, and who is better, comes before the next call, if interrupts are on: the other CPU may be faster.
//! * Time is everybody's: a tick on either CPU ends all sleeps.

use super::callout::Callout;
use super::{At, Call, Model, Mutation, Outcome, Rules, Run, State, Step, Stop, Thread, Verdict, kpanic};
use crate::fuzz::program::{Act, FILTER, ITHREAD, LISTS, THREADS};
use std::collections::BTreeSet;

/// The idle thread's number.
pub(super) const IDLE: usize = THREADS;
/// The thread that has the other CPU, if there are two.
const ELSEWHERE: usize = 1;

/// The one CPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct Cpu {
    /// Whether threads share it; otherwise nothing here counts.
    pub(super) on: bool,
    /// Who waits for it, first to come first: numbers plus one.
    queue: [u8; THREADS],
    /// So often will the interrupt come yet.
    raised: u8,
    /// `it_need`: it has come, and its thread has not begun for it.
    pub(super) need: bool,
    /// The interrupt thread is making its calls.
    pub(super) handling: bool,
    /// A tick has ended the running thread's time slice.
    sliced: bool,
    /// Threads that keep what they were lent for a lock that somebody else has released: a bit for each.
    kept: u8,
    pub(super) callout: Callout,
    /// There is another CPU, the second thread's.
    pub(super) two: bool,
    /// The other CPU says that there is somebody better.
    ipi: bool,
    frame: Option<Frame>,
}

/// A filter under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Frame {
    td: u8,
    /// Of the interrupted call.
    pc: u8,
    phase: u8,
    waited: bool,
    log: u32,
}

impl Cpu {
    /// Few bits, for a hash.
    pub(super) fn digest(&self) -> u64 {
        let [a, b, c] = self.queue.map(u64::from);
        let frame = self.frame.map_or(0, |frame| {
            u64::from(frame.log) << 32
                | u64::from(frame.pc) << 24
                | u64::from(frame.waited) << 23
                | u64::from(frame.phase) << 20
                | u64::from(frame.td + 1) << 16
        });
        frame
            | u64::from(self.kept) << 11
            | a << 8
            | b << 5
            | c << 2
            | u64::from(self.raised) << 62
            | u64::from(self.need) << 61
            | u64::from(self.handling) << 60
            | u64::from(self.ipi) << 1
            | u64::from(self.sliced)
    }

    fn push(&mut self, td: usize, first: bool) {
        if let Some(free) = self.queue.iter().position(|&waits| waits == 0) {
            self.queue[free] = td as u8 + 1;
            if first {
                self.queue[..=free].rotate_right(1);
            }
        }
    }

    fn remove(&mut self, td: usize) {
        if let Some(at) = self.queue.iter().position(|&waits| usize::from(waits) == td + 1) {
            self.queue[at..].rotate_left(1);
            self.queue[THREADS - 1] = 0;
        }
    }

    /// Whether a filter is under way on `td`'s stack.
    pub(super) fn interrupts(&self, td: usize) -> bool {
        self.frame.is_some_and(|frame| usize::from(frame.td) == td)
    }
}

impl State {
    /// Who is on the CPU, if it is not the idle thread.
    fn running(&self) -> Option<usize> {
        (0..THREADS).find(|&td| self.here(td) && self.threads[td].run == Run::Running)
    }

    /// Whether `td` is one of the CPU's, and not the other's.
    pub(super) fn here(&self, td: usize) -> bool {
        !self.cpu.two || td != ELSEWHERE
    }

    /// `td` can run, and waits for a CPU.
    pub(super) fn make_runnable(&mut self, td: usize) {
        self.threads[td].run = Run::Woken;
        if self.cpu.on && self.here(td) {
            self.cpu.push(td, false);
        }
    }

    /// How many wait for the CPU.
    fn queued(&self) -> usize {
        self.cpu.queue.iter().filter(|waits| **waits != 0).count()
    }

    /// `td` gets the CPU.
    fn dispatch(&mut self, td: usize) {
        self.cpu.remove(td);
        (self.cpu.sliced, self.cpu.ipi) = (false, false);
        self.threads[td].run = Run::Running;
    }

    /// `td` has to give the CPU to `best`.
    fn preempt(&mut self, td: usize, best: usize, first: bool) {
        self.threads[td].run = Run::Woken;
        self.cpu.push(td, first);
        self.dispatch(best);
    }

    /// A filter begins on the stack of `td`, or of the idle thread.
    fn interrupt(&mut self) {
        let td = self.running().unwrap_or(IDLE);
        let thread = &mut self.threads[td];
        self.cpu.raised -= 1;
        let Thread { pc, phase, waited, log, .. } = *thread;
        self.cpu.frame = Some(Frame { td: td as u8, pc, phase, waited, log });
        (thread.pc, thread.phase, thread.waited, thread.log) = (0, 0, false, self.filter_log);
        thread.critnest += 1;
    }

    /// The interrupt thread begins to make its calls, for all interrupts that have come.
    fn handle(&mut self) {
        (self.cpu.need, self.cpu.handling) = (false, true);
        let thread = &mut self.threads[ITHREAD];
        thread.no_sleeping += 1;
        (thread.pc, thread.phase, thread.waited) = (0, 0, false);
    }

    /// Whether a filter has left its critical section, and is in somebody's way.
    fn left_frame(&self) -> bool {
        self.cpu.frame.is_some_and(|frame| self.threads[usize::from(frame.td)].critnest == 0) && self.cpu.queue[0] != 0
    }

    /// Whether a tick would end a sleep, or come before somebody runs again who was woken in time.
    fn timers(&self) -> bool {
        let late = |thread: &Thread| thread.woken_in_time() && !thread.expired;
        (0..THREADS).any(|td| self.sleeps_a_tick(td)) || self.cpu.callout.waits() || self.threads.iter().any(late)
    }

    fn sleeps_a_tick(&self, td: usize) -> bool {
        self.threads[td].run == Run::Paused || self.may_time_out(td)
    }

    /// A tick ends all sleeps of those `tds`. Who was woken in time and has not run since is too late as well.
    fn tick(&mut self, tds: [usize; THREADS]) {
        for thread in &mut self.threads {
            thread.expired |= thread.woken_in_time();
        }
        for td in tds {
            if self.threads[td].run == Run::Paused {
                self.make_runnable(td);
            } else if self.may_time_out(td) {
                self.time_out(td);
            }
        }
        self.callout_due();
    }
}

impl Thread {
    /// Whether somebody ended its timed wait, and it has not been told so yet: it asks the clock first.
    fn woken_in_time(&self) -> bool {
        self.timed && self.place == super::condvar::Place::Signalled
    }

    /// Whether its counts say nothing any more about interrupts and preemption.
    fn miscounts(&self) -> bool {
        self.critnest < 0 || self.spinlocks < 0 || self.spinlocks > 0 && self.critnest == 0
    }
}

/// All orders of threads; any two come in both of theirs in the first two.
const ORDERS: [[usize; THREADS]; 6] = [[0, 1, 2], [2, 1, 0], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1]];

impl Rules<'_> {
    /// Whether `td` is the interrupt thread.
    pub(super) fn is_ithread(&self, td: usize) -> bool {
        td == ITHREAD && self.program.interrupt.is_some()
    }

    /// To whom, as in a word, a thread lends that is blocked on `lock`: to its owner, or one that waits for an rmlock's readers to the
    /// reader that is to wake it.
    fn debtor(&self, state: &State, lock: u8, exclusive: bool) -> u8 {
        let lock = usize::from(lock);
        if self.program.locks[lock].kind.is_rm() && !exclusive {
            return state.readers[lock].signals();
        }
        state.words[lock].owner
    }

    /// Whether `td` is as good as an interrupt thread: it is one, or one waits for a lock of `td`'s, directly or not.
    pub(super) fn urgent(&self, state: &State, td: usize) -> bool {
        // A chain of three threads has two links.
        self.urgent_by(state, td, 2)
    }

    fn urgent_by(&self, state: &State, td: usize, links: u8) -> bool {
        let lends = |other: &usize| {
            matches!(state.threads[*other].run, Run::Blocked { lock, exclusive, asleep: false }
                if usize::from(self.debtor(state, lock, exclusive)) == td + 1)
        };
        let lending = links > 0 && self.mutation != Mutation::NoLending;
        self.is_ithread(td)
            || state.cpu.kept & 1 << td != 0
            || lending && (0..THREADS).filter(lends).any(|other| self.urgent_by(state, other, links - 1))
    }

    /// Who comes next.
    fn best(&self, state: &State) -> Option<usize> {
        let waiting = || state.cpu.queue.iter().filter(|waits| **waits != 0).map(|&waits| usize::from(waits) - 1);
        waiting().find(|&td| self.urgent(state, td)).or_else(|| waiting().next())
    }

    /// Whether somebody who waits for the CPU is better than who has it.
    fn better(&self, state: &State) -> bool {
        match (self.best(state), state.running()) {
            (Some(best), Some(td)) => self.urgent(state, best) && !self.urgent(state, td),
            (best, _) => best.is_some(),
        }
    }

    /// Gives the CPU to whom it belongs now. `idle`: nobody had it before.
    fn settle(&self, state: &mut State, idle: bool) -> Call {
        let Some(best) = self.best(state) else { return Ok(()) };
        if state.cpu.frame.is_some() {
            return Ok(());
        }
        if let Some(td) = state.running() {
            let better = self.better(state);
            let may = state.threads[td].critnest == 0 || self.mutation == Mutation::PreemptAnywhere;
            if better && may && self.mutation != Mutation::NoPreemption {
                let first = !state.cpu.sliced;
                state.preempt(td, best, first);
            }
            return Ok(());
        }
        if idle {
            At { rules: self, state, td: IDLE, lock: 0, line: 0, base: 0 }.switch()?;
        }
        state.dispatch(best);
        Ok(())
    }

    /// Whether an interrupt would be taken now.
    fn interrupts_on(&self, state: &State) -> bool {
        let td = state.running().unwrap_or(IDLE);
        let thread = &state.threads[td];
        let masked = thread.spinlocks != 0 && self.mutation != Mutation::InterruptsAnywhere
            || thread.critnest != 0 && self.mutation == Mutation::CriticalMasks;
        state.cpu.frame.is_none() && !masked
    }

    /// Which list `td` makes calls from.
    pub(super) fn list(&self, state: &State, td: usize) -> usize {
        if state.cpu.interrupts(td) { FILTER } else { td }
    }

    /// The CPU's own next step, if it has one.
    fn own(&self, state: &mut State) -> Option<Step> {
        let frame = state.cpu.frame.map(|frame| usize::from(frame.td));
        if state.cpu.two && frame.is_none() {
            let idle = state.running().is_none();
            if idle && state.queued() > 0 || state.cpu.ipi && self.interrupts_on(state) {
                state.cpu.ipi = false;
                let running = state.running();
                if let Err(stop) = self.settle(state, idle) {
                    return Some(Step::of(Err(stop)));
                }
                if state.running() != running {
                    return Some(Step::Done);
                }
            }
        }
        let td = frame.or(state.running())?;
        let softclock = frame.is_none() && td == ITHREAD && self.program.callout().is_some();
        if softclock && !state.cpu.handling {
            let before = *state;
            let step = Step::of(At { rules: self, state, td, lock: 0, line: 0, base: 0 }.softclock());
            if matches!(step, Step::Spins) {
                *state = before;
            }
            return Some(step);
        }
        if frame.is_none() && self.is_ithread(td) && !state.cpu.handling {
            state.handle();
            return Some(Step::Done);
        }
        if usize::from(state.threads[td].pc) < self.program.list(self.list(state, td)).len() {
            return Some(self.step(state, td));
        }
        let mut at = At { rules: self, state, td, lock: 0, line: 0, base: 0 };
        Some(match (frame, td) {
            (Some(_), _) => Step::of(at.filter_ends()),
            (None, _) if softclock => Step::of(at.handler_ends()),
            (None, td) if self.is_ithread(td) => Step::of(at.ithread_ends()),
            // That it has ended is a step of its own; then it waits for the others.
            (None, 1..) if at.me().phase == 0 => {
                at.me().phase = 1;
                Step::Done
            }
            _ => Step::Spins,
        })
    }

    /// Whether a spinner's time slice ends with somebody else's turn; then that comes.
    fn rotate(&self, state: &mut State) -> bool {
        let (Some(td), Some(best)) = (state.running(), self.best(state)) else { return false };
        let turn = if self.urgent(state, td) { self.urgent(state, best) } else { true };
        if state.cpu.frame.is_some() || state.threads[td].critnest != 0 || !turn {
            return false;
        }
        state.threads[td].waited = true;
        state.preempt(td, best, false);
        true
    }

    /// Whether all threads have made all their calls, and the first, for whom the others wait, says so.
    fn ended(&self, state: &State) -> bool {
        let done = |(td, calls): (usize, &Vec<_>)| {
            let thread = &state.threads[td];
            let last = if state.here(td) { td == 0 || thread.phase == 1 } else { thread.run == Run::Running };
            usize::from(thread.pc) == calls.len() && last
        };
        state.cpu.frame.is_none()
            && !(state.cpu.ipi && state.threads[0].critnest == 0 && self.better(state))
            && state.threads[0].run == Run::Running
            && self.program.threads.iter().enumerate().all(done)
    }

    /// What calls returned.
    fn logs(&self, state: &State) -> [u32; LISTS] {
        let log = |td: usize| state.threads[td].log;
        [log(0), log(1), log(2), state.filter_log]
    }

    /// Every state that may come right after `state`; what it may end in goes to `found`.
    fn successors(&self, state: &State, found: &mut BTreeSet<Outcome>, to: &mut dyn FnMut(State)) -> Call {
        let idle = state.running().is_none();
        let mut moved = false;
        let settles = |next: &mut State| {
            // What the other CPU wants waits for the next call.
            let later = next.cpu.ipi || next.cpu.two && self.mutation == Mutation::NoIpi;
            if !idle && later && next.queued() <= state.queued() { Ok(()) } else { self.settle(next, idle) }
        };
        let mut outside = |change: &dyn Fn(&mut State)| {
            let mut next = *state;
            change(&mut next);
            moved = true;
            settles(&mut next).map(|()| to(next))
        };
        let on = self.interrupts_on(state);
        let mut ends = Ok(());
        if on && state.cpu.raised > 0 {
            ends = ends.and(outside(&State::interrupt));
        }
        if on && state.timers() {
            // It also ends a time slice.
            let sliced = state.running().is_some_and(|td| !self.is_ithread(td));
            let asleep = (0..THREADS).filter(|&td| state.sleeps_a_tick(td)).count();
            for tds in ORDERS.into_iter().take([1, 1, 2, 6][asleep]) {
                ends = ends.and(outside(&|state| {
                    state.tick(tds);
                    state.cpu.sliced = sliced;
                }));
            }
        }
        if state.cpu.two {
            moved |= self.other_cpu(state, found, to)?;
        }
        if self.ended(state) {
            found.insert(Outcome::Ends(self.logs(state)));
            return ends;
        }
        let mut next = *state;
        match self.own(&mut next) {
            Some(Step::Done | Step::Blocked) => {
                if (0..=THREADS).any(|td| state.here(td) && next.threads[td].miscounts()) || next.left_frame() {
                    return Err(Stop::Wild);
                }
                ends = ends.and(settles(&mut next).map(|()| to(next)));
            }
            Some(Step::Ends(outcome)) => _ = found.insert(outcome),
            Some(Step::Wild) => return Err(Stop::Wild),
            Some(Step::Spins) | None => {
                let spinner = state.cpu.frame.map(|frame| usize::from(frame.td)).or(state.running());
                if let Some(td) = spinner.filter(|&td| state.cpu.two && self.calls(state, td)) {
                    // It has asked what it asks once.
                    moved |= !state.threads[td].waited;
                    next.threads[td].waited = true;
                    to(next);
                }
                if moved {
                } else if self.somebody_works(state) && self.rotate(&mut next) {
                    to(next);
                } else {
                    found.insert(self.stuck(state));
                }
            }
        }
        ends
    }

    /// Whether `td` has calls to make.
    fn calls(&self, state: &State, td: usize) -> bool {
        usize::from(state.threads[td].pc) < self.program.list(self.list(state, td)).len()
    }

    /// What may come right after `state` from the other CPU; whether anything may.
    fn other_cpu(&self, state: &State, found: &mut BTreeSet<Outcome>, to: &mut dyn FnMut(State)) -> Call<bool> {
        let mut moved = false;
        let mut posts = |mut next: State| {
            let woken = next.queued() > state.queued() && self.mutation != Mutation::NoIpi;
            next.cpu.ipi |= woken && self.better(&next);
            moved = true;
            to(next);
        };
        let other = &state.threads[ELSEWHERE];
        if state.timers() && (other.run != Run::Running || other.spinlocks == 0) {
            let mut next = *state;
            next.tick(ORDERS[0]);
            posts(next);
        }
        let mut next = *state;
        match self.own_cpu(&mut next, ELSEWHERE) {
            Some(Step::Done | Step::Blocked) => posts(next),
            Some(Step::Ends(outcome)) => {
                moved = true;
                found.insert(outcome);
            }
            Some(Step::Wild) => return Err(Stop::Wild),
            Some(Step::Spins) | None => {}
        }
        Ok(moved)
    }

    /// Whether one of those that spin by turns, as their time slices end, would do anything else.
    fn somebody_works(&self, state: &State) -> bool {
        let mut turns = *state;
        (0..THREADS).any(|_| self.rotate(&mut turns) && !self.only_spins(&turns))
    }

    fn only_spins(&self, state: &State) -> bool {
        let outside = self.interrupts_on(state) && (state.cpu.raised > 0 || state.timers());
        let mut next = *state;
        !outside && !self.ended(state) && matches!(self.own(&mut next), Some(Step::Spins))
    }

    /// How it ends if nothing moves any more: who spins on a spin mutex has a watchdog, unless somebody else keeps the CPU.
    fn stuck(&self, state: &State) -> Outcome {
        let (mut turns, mut watched) = (*state, false);
        for _ in 0..2 * THREADS {
            let last = self.watched(&turns);
            watched |= last;
            if !self.rotate(&mut turns) {
                watched = last;
                break;
            }
        }
        if state.cpu.two && state.threads[ELSEWHERE].run == Run::Running && !self.has_ended(state, ELSEWHERE) {
            watched |= self.waits_for_spin_mutex(state, ELSEWHERE);
        }
        if watched { Outcome::Panics("spin lock held too long".to_owned()) } else { Outcome::Stuck }
    }

    fn watched(&self, state: &State) -> bool {
        let frame = state.cpu.frame.map(|frame| usize::from(frame.td));
        let Some(td) = frame.or(state.running()) else { return false };
        self.calls(state, td) && self.waits_for_spin_mutex(state, td)
    }
}

impl At<'_> {
    /// The filter returns: its interrupt thread is to run, and the interrupted thread goes on.
    fn filter_ends(&mut self) -> Call {
        let Some(frame) = self.state.cpu.frame.take() else { return Ok(()) };
        let threaded = !self.rules.program.list(ITHREAD).is_empty();
        if threaded && self.me().critnest == 0 {
            // The thread would preempt a filter that has left its critical section.
            return Err(Stop::Wild);
        }
        self.state.filter_log = self.me().log;
        let me = self.me();
        (me.pc, me.phase, me.waited, me.log) = (frame.pc, frame.phase, frame.waited, frame.log);
        if threaded {
            self.state.cpu.need = true;
            if self.state.threads[ITHREAD].run == Run::Parked {
                self.state.make_runnable(ITHREAD);
            }
        }
        self.critical_exit()
    }

    /// The interrupt thread has made its calls, and makes them again if the interrupt came meanwhile, or waits for it.
    fn ithread_ends(&mut self) -> Call {
        self.me().no_sleeping -= 1;
        if self.state.cpu.need {
            self.state.handle();
            return Ok(());
        }
        self.state.cpu.handling = false;
        if self.rules.witness && self.holds_any() {
            kpanic!("witness_warn");
        }
        if self.rules.invariants && self.owns_giant() {
            // mi_switch() asks it of everybody who does not go on running and waits for no lock.
            kpanic!("mutex Giant owned at %s:%d");
        }
        self.switch()?;
        self.me().run = Run::Parked;
        Ok(())
    }

    /// What no idle thread may do, and a filter may do on one: take locks that others wait for without spinning.
    pub(super) fn by_idle(&mut self, act: Act) -> Call {
        let kind = self.kind();
        if kind.is_spin() && matches!(act, Act::WaitUnlocked | Act::SpinLock | Act::SpinTry | Act::SpinUnlock)
            || matches!(act, Act::Assert(_) | Act::Owned)
        {
            return Ok(());
        }
        if !self.rules.invariants || act == Act::Upgrade {
            // It may end with what it cannot own.
            return Err(Stop::Wild);
        }
        let (name, loc) = (self.name(), self.loc());
        let (prefix, what) = match () {
            () if kind.is_mtx() => ("mtx", "sleep mutex"),
            () if kind.is_sx() => ("sx", "sx"),
            () => ("rw", "rwlock"),
        };
        let call = match (act, prefix) {
            (Act::Lock, "mtx") => "lock",
            (Act::Try, "mtx") => "trylock",
            (Act::Lock | Act::LockSig, "sx") => "xlock",
            (Act::Try, "sx") => "try_xlock",
            (Act::RLock | Act::RLockSig, "sx") => "slock",
            (Act::TryR, "sx") => "try_slock",
            (Act::Lock, _) => "wlock",
            (Act::Try, _) => "try_wlock",
            (Act::RLock, _) => "rlock",
            (Act::TryR, _) => "try_rlock",
            _ => return Ok(()),
        };
        kpanic!("{prefix}_{call}() by idle thread %p on {what} {name} @ {loc}")
    }

    /// The return to user mode gives the CPU to who is better, and to others if the time slice is over.
    pub(super) fn reschedule(&mut self) -> Call {
        let (rules, td) = (self.rules, self.td);
        if td == IDLE {
            return Err(Stop::Wild);
        }
        let better = rules.best(self.state).is_some_and(|best| rules.urgent(self.state, best));
        if self.state.cpu.sliced || better && !rules.urgent(self.state, td) {
            self.switch()?;
            self.state.make_runnable(td);
        }
        Ok(())
    }

    /// `turnstile_unpend()`, before the lock's word changes: the caller gives back what it was lent. If it is not the owner, that one does
    /// not, until it releases a lock that somebody waits for.
    pub(super) fn unlend(&mut self) {
        let (owner, td) = (self.word().owner, self.td);
        if !self.state.cpu.on || td == IDLE || self.kind().is_sx() {
            return;
        }
        self.state.cpu.kept &= !(1 << td);
        if let Some(owner) = usize::from(owner).checked_sub(1)
            && owner != td
            && self.rules.urgent(self.state, owner)
        {
            self.state.cpu.kept |= 1 << owner;
        }
    }

    /// The same for a reader of an rmlock that wakes the writer.
    pub(super) fn unlend_reader(&mut self) {
        self.state.cpu.kept &= !(1 << self.td);
    }

    /// `propagate_priority()`, where the blocked thread is better than the owner: the owner's owner is asked as well.
    pub(super) fn propagate(&mut self, owner: u8) -> Call {
        let (mut owner, urgent) = (owner, self.rules.urgent(self.state, self.td));
        for _ in 0..THREADS {
            let Some(td) = usize::from(owner).checked_sub(1) else { break };
            let thread = &self.state.threads[td];
            if thread.sleeps() {
                kpanic!("sleeping thread");
            }
            if !urgent || self.rules.urgent(self.state, td) {
                break;
            }
            let Run::Blocked { lock, exclusive, asleep: false } = thread.run else { break };
            owner = self.rules.debtor(self.state, lock, exclusive);
        }
        Ok(())
    }
}

impl Model {
    /// [`Model::outcomes`] of a program with one CPU.
    pub(super) fn on_one_cpu(&mut self, rules: &Rules<'_>, mut start: State) -> Verdict {
        let timer = rules.program.callout().is_some();
        let interrupt = rules.program.interrupt.as_ref().filter(|_| !timer);
        let raised = interrupt.map_or(0, |interrupt| 1 + u8::from(interrupt.again));
        let two = rules.program.two_cpus();
        start.cpu = Cpu { on: true, raised, two, callout: Callout::set(timer), ..Cpu::default() };
        start.threads[1..].iter_mut().for_each(|td| td.run = Run::Parked);
        start.threads[IDLE].no_sleeping = 1;
        if two {
            start.threads[ELSEWHERE].run = Run::Running;
        } else {
            (1..rules.program.threads.len()).for_each(|td| start.make_runnable(td));
        }
        self.search(start, |state, found, to| rules.successors(state, found, to))
    }
}
