//! What FreeBSD's rules say of a program: every way in which it may end.
//!
//! Written from the manual pages and FreeBSD's sources, in terms of lock words, counters and who waits for what; it knows nothing of
//! schedules or stacks. A thread does one call at a time; a call happens at once, or does not happen yet because its thread
//! waits. [`Model::outcomes`] tries all orders.
//!
//! # What a thread can be
//!
//! A thread runs, is blocked on a lock, pauses, or was woken and does not run yet. That matters because of who waits for its
//! locks: a waiter spins while the owner runs and blocks when it does not, and blocking is where most rules are broken.
//!
//! # What the model leaves out
//!
//! Threads share a CPU where there is one: see `one_cpu`. Interrupts come there, or on one CPU of two; a callout there only. Of
//! lockmgr(9) see `lockmgr`. Of epoch(9) there are sections, where each thread has a CPU: see `epoch`. Giant meets neither sleepable
//! rmlocks nor callouts nor filters.
//!
//! A call after which FreeBSD works on memory that is no lock any more (a reader's release of a write-locked word takes 32 off the
//! owner's address) has no rules: see [`Verdict::Wild`]. The console is predicted of programs with one
//! thread only.

mod callout;
mod condvar;
mod epoch;
mod giant;
mod lockmgr;
mod misc;
mod mtx;
mod one_cpu;
mod rm;
mod rw;
mod witness;

use super::Switches;
use super::program::{Act, LISTS, LOCKS, Program, THREADS, line};
use std::cell::RefCell;
use std::collections::{BTreeSet, HashSet};
use std::hash::{BuildHasherDefault, Hasher};

/// How a program ends.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// All threads made all calls; of each list of calls, what those that may fail returned, oldest first, after a leading 1.
    Ends([u32; LISTS]),
    /// A panic with this text.
    Panics(String),
    /// Some threads wait for ever.
    Stuck,
    /// What it printed: compared besides how it ends.
    Prints(Vec<String>),
    /// Not of the kernel: a Rust panic, a fault, a hang. The model never says so.
    Broken(String),
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ends(log) => {
                f.write_str("ends")?;
                for (thread, &log) in log.iter().enumerate().filter(|(_, log)| **log > 1) {
                    let tries: Vec<_> = (0..log.ilog2()).rev().map(|bit| log >> bit & 1 != 0).collect();
                    // A third thread is an interrupt thread where there are filters.
                    write!(f, ", {}'s tries: {tries:?}", ["thread 0", "thread 1", "thread 2", "filter"][thread])?;
                }
                Ok(())
            }
            Self::Panics(text) => write!(f, "panic: {text}"),
            Self::Stuck => f.write_str("threads wait for ever"),
            Self::Prints(lines) => write!(f, "prints {lines:#?}"),
            Self::Broken(text) => write!(f, "BROKEN: {text}"),
        }
    }
}

/// What the model says of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It ends in one of these ways.
    Outcomes(BTreeSet<Outcome>),
    /// Some order of its calls leaves the rules.
    Wild,
    /// It has too many orders.
    TooLarge,
}

/// A rule changed on purpose, to see that a wrong model is noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mutation {
    /// The model as it is.
    #[default]
    None,
    /// Any sleep mutex may be taken twice.
    EverybodyRecurses,
    /// A reader lets nobody pass: waiting writers do not keep readers out.
    ReadersFirst,
    /// Blocking in a critical section is allowed.
    SwitchAnywhere,
    /// `rw_try_upgrade` succeeds with other readers.
    GreedyUpgrade,
    /// A release wakes nobody.
    LostWakeups,
    /// WITNESS does not ask in which mode a lock is held.
    BlindWitness,
    /// WITNESS has nothing against any order.
    AnyOrder,
    /// A wait whose time runs out says that it was woken.
    NoTimeouts,
    /// Who reads a sleepable rmlock may sleep.
    SleepyReaders,
    /// Critical sections keep interrupts off.
    CriticalMasks,
    /// Spin mutexes do not keep interrupts off.
    InterruptsAnywhere,
    /// An interrupt thread preempts within critical sections.
    PreemptAnywhere,
    /// An interrupt thread waits until the CPU is given up.
    NoPreemption,
    /// Who owns a lock is as good as it was, whoever waits for it.
    NoLending,
    /// Who sleeps for a lockmgr lock gets it, LK_SLEEPFAIL or not.
    NobodyGoesAway,
    /// A signal that waits already ends no sleep.
    DeafSleepers,
    /// A callout's handler may sleep.
    SleepyHandlers,
    /// Who is woken by another CPU waits until its own is given up.
    NoIpi,
    /// Who sleeps keeps Giant.
    StickyGiant,
    /// One may sleep in a section of a preemptible epoch.
    SleepySections,
}

impl Mutation {
    /// All that are wrong.
    pub const ALL: [Self; 20] = [
        Self::EverybodyRecurses,
        Self::ReadersFirst,
        Self::SwitchAnywhere,
        Self::GreedyUpgrade,
        Self::LostWakeups,
        Self::BlindWitness,
        Self::AnyOrder,
        Self::NoTimeouts,
        Self::SleepyReaders,
        Self::CriticalMasks,
        Self::InterruptsAnywhere,
        Self::PreemptAnywhere,
        Self::NoPreemption,
        Self::NoLending,
        Self::NobodyGoesAway,
        Self::DeafSleepers,
        Self::SleepyHandlers,
        Self::NoIpi,
        Self::StickyGiant,
        Self::SleepySections,
    ];
}

/// What a thread is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
enum Run {
    #[default]
    Running,
    /// On a turnstile or sleep queue of this lock, exclusive or shared.
    Blocked {
        lock: u8,
        exclusive: bool,
        asleep: bool,
    },
    Paused,
    /// Asleep on the condition.
    Waiting,
    /// Woken, and not on a CPU yet.
    Woken,
    /// Asleep until the callout has run.
    Draining,
    /// An interrupt thread that waits for its interrupt; or there is no such thread.
    Parked,
}

/// A lock that WITNESS knows to be held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
struct Held {
    /// 0: it is not; else one more than WITNESS's `r`.
    depth: u8,
    exclusive: bool,
}

/// `struct thread`, as far as it counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
struct Thread {
    pc: u8,
    /// How far the call has come, of those that happen in several steps.
    phase: u8,
    run: Run,
    critnest: i8,
    spinlocks: i8,
    no_sleeping: i8,
    pinned: i8,
    locks: i8,
    rw_rlocks: i8,
    sx_slocks: i8,
    lk_slocks: i8,
    held: [Held; LOCKS],
    /// rmlocks held for reading, how often.
    rm: [u8; LOCKS],
    log: u32,
    /// Of a wait for the condition: where it is, whether it ends by itself, how the interlock was held.
    place: condvar::Place,
    timed: bool,
    how: condvar::How,
    /// A signal waits for it.
    signalled: bool,
    /// It sleeps so that a signal ends that.
    catches: bool,
    /// Of its sleep: a signal, or the clock, has ended it or will.
    aborted: bool,
    expired: bool,
    /// It is on this sx lock's queue (4 for the exclusive one, with the lock's number, plus one) and will not sleep there, for a signal.
    leaving: u8,
    /// Open sections of the epoch, and of the preemptible one.
    sections: u8,
    preemptible: u8,
    /// So often has it dropped Giant, which it is to pick up; [`giant::REST`]: nothing else is left of its wait.
    giant: u8,
    /// With one CPU: of those that are blocked on locks, which it was.
    since: u8,
    /// With one CPU: it has waited in its call, which asks nothing again of what it asked before that.
    waited: bool,
}

/// A lock's word: whose it is, or how many read it, and its flags. For an rmlock, of the mutex behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
struct Word {
    /// 0, or a thread's number plus one.
    owner: u8,
    readers: i8,
    recursed: bool,
    /// CONTESTED, or WRITE_WAITERS.
    waiters: bool,
    read_waiters: bool,
    /// `lo_data`.
    data: u8,
    /// rmlock: the CPUs (a thread has one) whose readers need not ask.
    tokens: u8,
    /// lockmgr: exclusive sleepers that will go away, at most.
    exslpfail: u8,
}

/// The owner of a lockmgr lock that was disowned.
const KERNPROC: u8 = 0xfe;

/// The owner of a lock that was destroyed: nobody.
const DESTROYED: u8 = 0xff;

impl Word {
    /// Whether the word is that of a free lock, without a flag.
    fn free(&self) -> bool {
        *self == Self { data: self.data, tokens: self.tokens, exslpfail: self.exslpfail, ..Self::default() }
    }

    /// Whether the word is exactly `thread`'s address.
    fn exactly(&self, thread: usize) -> bool {
        self.mine(thread) && !self.recursed && !self.waiters && !self.read_waiters
    }

    fn mine(&self, thread: usize) -> bool {
        usize::from(self.owner) == thread + 1
    }

    fn take(&mut self, thread: usize) {
        self.owner = thread as u8 + 1;
        self.readers = 0;
    }

    /// A free word; waiters' flags go, but for those of readers if they are to stay.
    fn drop_to(&mut self, read_waiters: bool) {
        *self = Self { data: self.data, tokens: self.tokens, read_waiters, ..Self::default() };
    }
}

/// All there is at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct State {
    /// The idle thread is the last.
    threads: [Thread; THREADS + 1],
    words: [Word; LOCKS],
    readers: [rm::Active; LOCKS],
    /// With one CPU: whose trackers are on its queue.
    trackers: [rm::Queue; LOCKS],
    cv: condvar::Queue,
    cpu: one_cpu::Cpu,
    /// What the filter's calls returned.
    filter_log: u32,
}

impl std::hash::Hash for State {
    /// The fields of few bits side by side: hashing them one by one would be most of the model's work.
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        let pack = |bytes: [u8; 8]| u64::from_le_bytes(bytes);
        let count = if self.cpu.on { THREADS + 1 } else { THREADS };
        for td in &self.threads[..count] {
            let run = match td.run {
                Run::Running => 0,
                Run::Paused => 1,
                Run::Woken => 2,
                Run::Waiting => 3,
                Run::Parked => 0x80,
                Run::Draining => 0x81,
                Run::Blocked { lock, exclusive, asleep } => {
                    4 + (lock << 2 | u8::from(exclusive) << 1 | u8::from(asleep))
                }
            };
            let signed = [td.critnest, td.spinlocks, td.no_sleeping, td.pinned, td.locks, td.rw_rlocks, td.sx_slocks];
            let [a, b, c, d, e, f, g] = signed.map(|n| n as u8);
            let [h, i, j, k] = td.held.map(|held| held.depth << 1 | u8::from(held.exclusive));
            let [l, m, n, o] = td.rm;
            hasher.write_u64(pack([a, b, c, d, e, f, g, run]));
            hasher.write_u64(pack([h, i, j, k, l, m, n, o]));
            hasher.write_u64(
                u64::from(td.log) << 32
                    | u64::from(td.giant) << 24
                    | u64::from(td.since) << 16
                    | u64::from(td.pc) << 8
                    | u64::from(td.waited) << 7
                    | u64::from(td.phase),
            );
            hasher.write_u64(
                u64::from(td.signalled) << 28
                    | u64::from(td.catches) << 27
                    | u64::from(td.aborted) << 26
                    | u64::from(td.expired) << 25
                    | u64::from(td.leaving) << 32
                    | u64::from(td.sections) << 40
                    | u64::from(td.preemptible) << 48
                    | u64::from(td.lk_slocks as u8) << 16
                    | u64::from(td.timed) << 8
                    | (td.how as u64) << 4
                    | td.place as u64,
            );
        }
        for word in &self.words {
            let flags = u8::from(word.recursed) << 2 | u8::from(word.waiters) << 1 | u8::from(word.read_waiters);
            hasher.write_u64(pack([
                word.owner,
                word.readers as u8,
                flags,
                word.data,
                word.tokens,
                word.exslpfail,
                0,
                0,
            ]));
        }
        self.readers.iter().for_each(|active| hasher.write_u64(active.digest()));
        hasher.write_u64(self.cv.digest());
        hasher.write_u64(self.cpu.digest());
        if self.cpu.on {
            self.trackers.iter().for_each(|queue| queue.hash(hasher));
            hasher.write_u8(self.cpu.callout.digest());
        }
    }
}

/// What comes of trying a call.
enum Step {
    /// It happened.
    Done,
    /// Nothing yet: the thread spins on the lock that it wants.
    Spins,
    /// The thread has blocked, and will try again.
    Blocked,
    /// The machine has ended.
    Ends(Outcome),
    /// There are no rules for this.
    Wild,
}

impl Step {
    fn of(call: Call) -> Self {
        match call {
            Ok(()) | Err(Stop::Later | Stop::Again) => Self::Done,
            Err(Stop::Spins) => Self::Spins,
            Err(Stop::Blocked) => Self::Blocked,
            Err(Stop::Ends(outcome)) => Self::Ends(outcome),
            Err(Stop::Wild) => Self::Wild,
        }
    }
}

/// `return` of a panic.
macro_rules! kpanic {
    ($($arg:tt)*) => { return Err(crate::fuzz::model::Stop::Ends(crate::fuzz::model::Outcome::Panics(format!($($arg)*)))) };
}
use kpanic;

/// Why a call does not come to its end.
enum Stop {
    /// The next part of the call is a step of its own.
    Later,
    /// The same, and the call's phase says nothing of it.
    Again,
    Spins,
    Blocked,
    Ends(Outcome),
    Wild,
}

/// A call's end: what it logs, or why it has none.
type Call<T = ()> = Result<T, Stop>;

/// The rules for one program on one kernel.
struct Rules<'a> {
    program: &'a Program,
    invariants: bool,
    witness: bool,
    mutation: Mutation,
    /// What is printed, if it is predicted.
    console: Option<RefCell<witness::Console>>,
}

/// One thread about to make one call.
struct At<'a> {
    rules: &'a Rules<'a>,
    state: &'a mut State,
    /// The thread's number.
    td: usize,
    /// The lock's number.
    lock: usize,
    line: u32,
    /// The phase of the call in which the part begins that is under way.
    base: u8,
}

/// Where a call stands, as FreeBSD prints it.
#[derive(Clone, Copy)]
struct Loc(u32);

impl std::fmt::Display for Loc {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // 0: a call that is not told where it stands.
        if self.0 == 0 { f.write_str("%s:%d") } else { write!(f, "program:{}", self.0) }
    }
}

impl At<'_> {
    fn me(&mut self) -> &mut Thread {
        &mut self.state.threads[self.td]
    }

    fn word(&mut self) -> &mut Word {
        &mut self.state.words[self.lock]
    }

    fn name(&self) -> &'static str {
        self.rules.program.name(self.lock)
    }

    /// File and line.
    fn loc(&self) -> Loc {
        Loc(self.line)
    }

    fn kind(&self) -> super::program::Kind {
        self.rules.program.locks[self.lock].kind
    }

    /// `TD_LOCKS_INC`, which only kernels with INVARIANTS have.
    fn count(&mut self, n: i8) {
        if self.rules.invariants {
            self.me().locks += n;
        }
    }

    fn log(&mut self, worked: bool) {
        let me = self.me();
        me.log = me.log << 1 | u32::from(worked);
    }

    /// Whether the owner of the lock, if it has one, is on a CPU: waiting for it means spinning.
    fn owner_runs(&mut self) -> bool {
        let owner = self.word().owner;
        owner != 0 && self.state.threads[usize::from(owner) - 1].run == Run::Running
    }

    /// `turnstile_wait()` on the lock's owner.
    fn block(&mut self, exclusive: bool) -> Call {
        let owner = self.word().owner;
        self.block_on(exclusive, owner)
    }

    /// `turnstile_wait()`; `owner` as in a word.
    fn block_on(&mut self, exclusive: bool, owner: u8) -> Call {
        // Who would lend its priority to a thread that sleeps has found a bug.
        if self.state.cpu.on {
            self.propagate(owner)?;
        } else if owner != 0 && self.state.threads[usize::from(owner) - 1].sleeps() {
            kpanic!("sleeping thread");
        }
        self.switch()?;
        self.blocks(exclusive, false)
    }

    /// `sleepq_add()` and `sleepq_wait()` on an sx lock, or `sleepq_wait_sig()`.
    fn sleep(&mut self, exclusive: bool, catches: bool) -> Call {
        self.may_sleep()?;
        if catches && self.catches_signal()? {
            let leaving = self.lock as u8 + 1 + 4 * u8::from(exclusive);
            self.me().leaving = leaving;
            return Err(Stop::Later);
        }
        self.me().catches = catches;
        self.switch()?;
        self.blocks(exclusive, true)
    }

    /// The thread is on one of the lock's queues.
    fn blocks(&mut self, exclusive: bool, asleep: bool) -> Call {
        if self.state.cpu.on {
            self.me().waited = true;
            let blocked = |td: &&Thread| matches!(td.run, Run::Blocked { .. });
            self.me().since = 1 + self.state.threads.iter().filter(blocked).map(|td| td.since).max().unwrap_or(0);
        }
        self.me().run = Run::Blocked { lock: self.lock as u8, exclusive, asleep };
        Err(Stop::Blocked)
    }

    /// Whether a signal spares the thread its sleep. Which one it is, FreeBSD asks under the process's lock, without the queue's.
    fn catches_signal(&mut self) -> Call<bool> {
        if !self.me().signalled || self.mutated(Mutation::DeafSleepers) {
            return Ok(false);
        }
        if self.rules.witness && self.me().critnest != 0 {
            kpanic!(
                "acquiring blockable sleep lock with spinlock or critical section held (sleep mutex) process lock @ %s:%d"
            );
        }
        Ok(true)
    }

    /// What sleepq_add() asserts.
    fn may_sleep(&mut self) -> Call {
        if self.rules.invariants && (self.me().place == condvar::Place::Queued || self.me().leaving != 0) {
            // The filter of an interrupt that came after the thread went on another queue.
            kpanic!("Assertion td->td_sleepqueue != NULL failed at %s:%d");
        }
        if self.rules.invariants && self.me().no_sleeping != 0 {
            kpanic!("sleepq_add: td %p to sleep on wchan %p with sleeping prohibited");
        }
        Ok(())
    }

    /// What mi_switch() asserts: its own thread lock adds one to td_critnest, unless a spin mutex has already.
    fn switch(&mut self) -> Call {
        let me = self.me();
        let nest = me.critnest + i8::from(me.spinlocks == 0);
        if self.rules.invariants && nest != 1 && self.rules.mutation != Mutation::SwitchAnywhere {
            kpanic!("mi_switch: switch in a critical section");
        }
        if self.state.cpu.interrupts(self.td) {
            // A filter that gives the CPU away takes its interrupt's end with it.
            return Err(Stop::Wild);
        }
        Ok(())
    }

    /// Whether anybody waits on the lock's queues.
    fn anybody_waits(&self) -> bool {
        self.waits(true) || self.waits(false)
    }

    /// Whether anybody waits on one of the lock's queues.
    fn waits(&self, wanted: bool) -> bool {
        let lock = self.lock as u8;
        let leaving = lock + 1 + 4 * u8::from(wanted);
        if self.state.threads.iter().any(|td| td.leaving == leaving) {
            return true;
        }
        let waits = |td: &Thread| matches!(td.run, Run::Blocked { lock: on, exclusive, .. } if on == lock && exclusive == wanted);
        self.state.threads.iter().any(waits)
    }

    /// Wakes everybody on one of the lock's queues.
    fn wake(&mut self, wanted: bool) {
        if self.rules.mutation == Mutation::LostWakeups {
            return;
        }
        let lock = self.lock as u8;
        let waits = |td: &Thread| matches!(td.run, Run::Blocked { lock: on, exclusive, .. } if on == lock && exclusive == wanted);
        let leaving = lock + 1 + 4 * u8::from(wanted);
        self.state.threads.iter_mut().filter(|td| td.leaving == leaving).for_each(|td| td.leaving = 0);
        // Who has waited longest comes first, as far as that is known.
        while let Some((td, thread)) =
            self.state.threads.iter_mut().enumerate().filter(|(_, td)| waits(td)).min_by_key(|(_, td)| td.since)
        {
            (thread.since, thread.catches) = (0, false);
            self.state.make_runnable(td);
        }
    }
}

impl Thread {
    /// `TD_IS_SLEEPING`.
    fn sleeps(&self) -> bool {
        matches!(self.run, Run::Paused | Run::Waiting | Run::Draining | Run::Blocked { asleep: true, .. })
    }
}

impl State {
    /// Takes `td` off the condition's queue, and wakes it if it sleeps there.
    fn leave_cv(&mut self, td: usize, place: condvar::Place) {
        self.cv.remove(td);
        let thread = &mut self.threads[td];
        (thread.place, thread.catches) = (place, false);
        if thread.run == Run::Waiting {
            self.make_runnable(td);
        }
    }

    /// Whether `td`'s wait for the condition may run out of time now.
    fn may_time_out(&self, td: usize) -> bool {
        let thread = &self.threads[td];
        let clock = thread.run == Run::Waiting || thread.spinlocks == 0;
        thread.timed && !thread.expired && thread.place == condvar::Place::Queued && clock
    }

    /// The time of `td`'s wait for the condition is over. Who does not sleep yet stays on the queue until it would.
    fn time_out(&mut self, td: usize) {
        self.threads[td].expired = true;
        if self.threads[td].run == Run::Waiting {
            self.leave_cv(td, condvar::Place::None);
        }
    }

    /// A signal for `td`.
    fn signal(&mut self, td: usize) {
        let thread = &mut self.threads[td];
        thread.signalled = true;
        if !thread.catches {
            return;
        }
        (thread.aborted, thread.catches) = (true, false);
        if thread.run == Run::Waiting {
            self.leave_cv(td, condvar::Place::None);
        } else {
            thread.since = 0;
            self.make_runnable(td);
        }
    }
}

impl Rules<'_> {
    /// Thread `td` tries its next call.
    fn step(&self, state: &mut State, td: usize) -> Step {
        let pc = usize::from(state.threads[td].pc);
        let list = self.list(state, td);
        let call = self.program.list(list)[pc];
        let before = *state;
        let mut at = At { rules: self, state, td, lock: call.lock.into(), line: line(list, pc), base: 0 };
        match at.call(call.act) {
            Ok(()) => {
                state.threads[td].pc += 1;
                (state.threads[td].phase, state.threads[td].waited) = (0, false);
                Step::Done
            }
            Err(Stop::Later) => {
                state.threads[td].phase += 1;
                state.threads[td].waited = false;
                Step::Done
            }
            Err(Stop::Spins) => {
                // Spinning leaves nothing behind.
                *state = before;
                Step::Spins
            }
            other => Step::of(other),
        }
    }

    /// Whether the call that `td` waits in is for a spin mutex, whose waiters have a watchdog.
    fn waits_for_spin_mutex(&self, state: &State, td: usize) -> bool {
        let call = self.program.list(self.list(state, td))[usize::from(state.threads[td].pc)];
        let relocks = call.act.waits() && state.threads[td].giant == 0;
        let looks = call.act == Act::WaitUnlocked && self.program.locks[usize::from(call.lock)].kind.is_spin();
        call.act == Act::SpinLock || looks || relocks && state.threads[td].how == condvar::How::Spin
    }
}

/// A hasher for [`State`]s, whose hashing is a good part of the work: nobody chooses them to collide.
#[derive(Default)]
struct Quick(u64);

impl Hasher for Quick {
    fn write(&mut self, bytes: &[u8]) {
        for part in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..part.len()].copy_from_slice(part);
            self.write_u64(u64::from_le_bytes(word));
        }
    }
    fn write_u8(&mut self, n: u8) {
        self.write_u64(n.into());
    }
    fn write_u32(&mut self, n: u32) {
        self.write_u64(n.into());
    }
    fn write_u64(&mut self, n: u64) {
        self.0 = (self.0.rotate_left(5) ^ n).wrapping_mul(0x517c_c1b7_2722_0a95);
    }
    fn finish(&self) -> u64 {
        self.0
    }
}

/// States that a program may have before it is given up.
const STATES: usize = 20_000;

/// The model, and memory that it uses again.
#[derive(Debug, Default)]
pub struct Model {
    seen: HashSet<State, BuildHasherDefault<Quick>>,
    todo: Vec<State>,
    console: Option<Vec<String>>,
}

/// States for which memory is kept: emptying a table costs as much as its size.
const KEPT: usize = 2000;

impl Model {
    /// Every way in which `program` may end on a kernel with these options.
    pub fn outcomes(&mut self, program: &Program, switches: Switches, mutation: Mutation) -> Verdict {
        let rules = Rules {
            program,
            invariants: switches != Switches::None,
            witness: switches == Switches::Witness,
            mutation,
            console: program.alone().then(RefCell::default),
        };
        let mut threads = [Thread::default(); THREADS + 1];
        threads.iter_mut().for_each(|td| td.log = 1);
        let start = State { threads, filter_log: 1, ..State::default() };
        if program.alone() {
            let verdict = alone(&rules, start);
            self.console = rules.console.map(|console| console.into_inner().lines);
            return verdict;
        }
        self.console = None;
        self.seen.clear();
        self.seen.shrink_to(KEPT);
        self.todo.clear();
        if program.one_cpu() || program.two_cpus() {
            self.on_one_cpu(&rules, start)
        } else {
            self.all_orders(&rules, start)
        }
    }

    /// What the last program prints, addresses as `%p`; `None` if that is not predicted.
    pub fn console(&self) -> Option<&[String]> {
        self.console.as_deref()
    }

    /// [`Model::outcomes`] of a program with several threads.
    fn all_orders(&mut self, rules: &Rules<'_>, start: State) -> Verdict {
        self.search(start, |state, found, to| rules.orders(state, found, to))
    }

    /// All that `start` may end in: `successors` says of a state what may come right after it, and what it may end in.
    fn search(
        &mut self,
        start: State,
        mut successors: impl FnMut(&State, &mut BTreeSet<Outcome>, &mut dyn FnMut(State)) -> Call,
    ) -> Verdict {
        let (seen, todo, mut found) = (&mut self.seen, &mut self.todo, BTreeSet::new());
        seen.insert(start);
        todo.push(start);
        while let Some(state) = todo.pop() {
            if seen.len() > STATES {
                return Verdict::TooLarge;
            }
            let ends = successors(&state, &mut found, &mut |next| {
                if seen.insert(next) {
                    todo.push(next);
                }
            });
            match ends {
                Err(Stop::Ends(outcome)) => _ = found.insert(outcome),
                Err(_) => return Verdict::Wild,
                Ok(()) => {}
            }
        }
        Verdict::Outcomes(found)
    }
}

impl Rules<'_> {
    /// Whether `td` has made all its calls, and is on its CPU.
    fn has_ended(&self, state: &State, td: usize) -> bool {
        let thread = &state.threads[td];
        usize::from(thread.pc) == self.program.threads[td].len() && thread.run == Run::Running
    }

    /// What comes next on the CPU that `td` has to itself, if anything does.
    fn own_cpu(&self, state: &mut State, td: usize) -> Option<Step> {
        match state.threads[td].run {
            Run::Woken => state.threads[td].run = Run::Running,
            Run::Running if !self.has_ended(state, td) => return Some(self.step(state, td)),
            _ => return None,
        }
        Some(Step::Done)
    }

    /// Every state that may come right after `state`, where each thread has a CPU; what it may end in goes to `found`.
    fn orders(&self, state: &State, found: &mut BTreeSet<Outcome>, to: &mut dyn FnMut(State)) -> Call {
        let program = self.program;
        let (mut moved, mut left, mut watched) = (false, false, false);
        for td in 0..program.threads.len() {
            if state.may_time_out(td) {
                moved = true;
                let mut next = *state;
                next.time_out(td);
                to(next);
            }
            let mut next = *state;
            let thread = &mut next.threads[td];
            left |= !self.has_ended(state, td);
            if thread.run == Run::Paused {
                moved = true;
                thread.run = Run::Woken;
                to(next);
                continue;
            }
            match self.own_cpu(&mut next, td) {
                Some(Step::Done | Step::Blocked) => {
                    moved = true;
                    to(next);
                }
                Some(Step::Spins) => watched |= self.waits_for_spin_mutex(state, td),
                Some(Step::Ends(outcome)) => {
                    moved = true;
                    found.insert(outcome);
                }
                Some(Step::Wild) => return Err(Stop::Wild),
                None => {}
            }
        }
        if !moved {
            found.insert(match (left, watched) {
                (false, _) => Outcome::Ends(state.threads.map(|td| td.log)),
                (true, true) => Outcome::Panics("spin lock held too long".to_owned()),
                (true, false) => Outcome::Stuck,
            });
        }
        Ok(())
    }
}

/// [`Model::outcomes`] of a program with one thread: there is one order.
fn alone(rules: &Rules<'_>, mut state: State) -> Verdict {
    let outcome = loop {
        if usize::from(state.threads[0].pc) == rules.program.threads[0].len() {
            break Outcome::Ends(state.threads.map(|td| td.log));
        }
        match rules.step(&mut state, 0) {
            Step::Done => {}
            Step::Spins if rules.waits_for_spin_mutex(&state, 0) => {
                break Outcome::Panics("spin lock held too long".to_owned());
            }
            Step::Spins | Step::Blocked => break Outcome::Stuck,
            Step::Ends(outcome) => break outcome,
            Step::Wild => return Verdict::Wild,
        }
        match state.threads[0].run {
            Run::Waiting if !state.threads[0].timed => break Outcome::Stuck,
            Run::Waiting => state.time_out(0),
            _ => {}
        }
        state.threads[0].run = Run::Running;
    };
    Verdict::Outcomes(BTreeSet::from([outcome]))
}
