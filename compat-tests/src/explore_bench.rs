//! `explore-bench`: standard programs on the `explore` engine, counted and timed, for comparison with other tools.
//!
//! Each program is `threads` threads, one on each CPU, that take a lock `rounds` times and add to what it protects. The calling thread is
//! the first of them, and joins the others by a spin on their state, which it reads like any variable: so a program without contention has
//! one class of executions, and a mutex as many as there are orders in which its owners can follow each other. What is
//! protected is checked, so a lock that does not exclude fails.

use crate::cell::{SeqPair, Tracked};
use crate::run::Mix;
use freebsd_sys::atomic::Owned32;
use freebsd_sys::cpu;
use freebsd_sys::host::explore::{self, Execution, Options};
use freebsd_sys::host::schedule::{self, Schedule, dpor::Dpor, portfolio::Portfolio};
use freebsd_sys::host::starvation;
use freebsd_sys::host::workers;
use freebsd_sys::machine::{Budget, Config, Engine, Granularity, Machine, Preemption, Verdict};
use freebsd_sys::mutex::{Mtx, Mtxf};
use freebsd_sys::rwlock::{Rw, Rwf};
use freebsd_sys::sched::pri;
use freebsd_sys::seqc::Seqc;
use freebsd_sys::thread::{Kthread, kthread_add};
use serde::Serialize;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Instant;

/// A program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// mtx(9).
    Mutex,
    /// A test-and-set lock.
    Tas,
    /// rwlock(9): the first thread writes, the others read.
    Rwlock,
    /// seqc(9): the first thread writes, the others read until what they read was consistent.
    Seqlock,
    /// A ticket lock.
    Ticket,
}

impl Program {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mutex => "mutex",
            Self::Tas => "tas",
            Self::Rwlock => "rwlock",
            Self::Seqlock => "seqlock",
            Self::Ticket => "ticket",
        }
    }
}

/// What is run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The program.
    pub program: Program,
    /// Its threads.
    pub threads: usize,
    /// How often each takes the lock.
    pub rounds: usize,
    /// Virtual CPUs; threads too many share the last.
    pub cpus: usize,
    /// Clock ticks that a schedule may insert.
    pub ticks: u32,
    /// What is a transition.
    pub granularity: Granularity,
    /// Locks spin while their owner runs.
    pub adaptive: bool,
    /// A waiter may be overtaken so often.
    pub starvation: Option<u32>,
    /// One execution of each class, instead of samples.
    pub exhaustive: bool,
    /// How they are sampled.
    pub mix: Mix,
    /// Executions at most; with `exhaustive`, those that were given up included.
    pub schedules: Option<u64>,
    /// Seed of the samples.
    pub seed: u64,
}

/// What came of it.
#[derive(Debug, Clone, Serialize)]
pub struct Figures {
    program: &'static str,
    threads: usize,
    rounds: usize,
    cpus: usize,
    ticks: u32,
    granularity: &'static str,
    adaptive: bool,
    /// Executions that ended.
    pub executions: u64,
    /// (exhaustive) Executions that were begun and turned out to be of a class that had been seen.
    pub given_up: u64,
    seconds: f64,
    executions_per_s: f64,
    /// Every class was run.
    pub exhausted: bool,
    /// Ctrl-C ended it early.
    pub interrupted: bool,
    /// The first that is no pass.
    pub verdict: &'static str,
    /// Its message; empty for a pass.
    pub message: String,
    /// Its decisions, as in a printable schedule; none for a pass.
    pub schedule: Option<String>,
    #[serde(skip)]
    exhaustive: bool,
}

impl Figures {
    /// A line for people.
    pub fn text(&self) -> String {
        let Self { program, threads, rounds, cpus, ticks, granularity, executions, given_up, seconds, .. } = self;
        let all = match (self.exhausted, self.interrupted, self.exhaustive) {
            (true, ..) => ", all there are",
            (_, true, true) => ", interrupted, not exhausted",
            (_, true, false) => ", interrupted",
            (_, _, true) => ", not exhausted",
            _ => "",
        };
        let spins = if self.adaptive { "" } else { ", nobody spins" };
        let mut out = format!(
            "{program}, {threads} threads x {rounds} on {cpus} CPUs, {ticks} ticks, {granularity}{spins}: {}; {executions} executions{all}, {given_up} given \
             up, in {seconds:.3} s: {:.0} a second\n",
            self.verdict, self.executions_per_s
        );
        if let Some(schedule) = &self.schedule {
            // Writing to a String cannot fail.
            let _ = writeln!(out, "{}: {}\n  run={schedule}", self.verdict, self.message);
        }
        out
    }

    /// JSON.
    pub fn json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).unwrap_or_default();
        text.push('\n');
        text
    }
}

/// Samples, unless told otherwise.
const SCHEDULES: u64 = 10_000;

/// Most times that the threads of a program take the lock, all together.
pub const MOST_ROUNDS: usize = 1000;

/// Boundaries that an execution may pass for each: several times what any program has been seen to.
const STEPS: u64 = 200;

/// Executions between two looks for Ctrl-C.
const STRIDE: u64 = 64;

/// Runs a program until everything was run, enough was, or it failed.
pub fn run(plan: &Plan) -> Figures {
    let budget = Budget { ticks: plan.ticks, interrupts: 0, migrations: 0 };
    // What a tick is for here: another thread of the same CPU goes on.
    let Plan { cpus, granularity, adaptive, starvation, .. } = *plan;
    let preemption = Preemption::Any;
    let config = Config { cpus, budget, witness: false, preemption, granularity, ..Config::default() };
    let step_limit = config.step_limit + STEPS * (plan.threads * plan.rounds) as u64;
    let config = Config { adaptive, starvation, step_limit, ..config };
    let machine = Machine::new(config, Engine::Explore);
    let main = || perform(plan);
    let once = |schedule: &mut dyn Schedule, index| {
        explore::run(&machine, schedule, Options { index, ..Options::default() }, &main)
    };
    let started = Instant::now();
    let (mut executions, mut given_up, mut exhausted, mut interrupted) = (0, 0, false, false);
    let mut failure: Option<Execution> = None;
    if plan.exhaustive {
        let mut dpor = Dpor::new();
        for index in 0..plan.schedules.unwrap_or(u64::MAX) {
            let execution = once(&mut dpor, index);
            let failed = !dpor.lost() && execution.verdict != Verdict::Pass;
            let more = dpor.end(execution.events.len());
            failure = failed.then_some(execution);
            interrupted = more && index % STRIDE == 0 && workers::interrupted();
            if failure.is_some() || !more || interrupted {
                break;
            }
        }
        (executions, given_up) = (dpor.counts().executions, dpor.counts().given_up);
        exhausted = dpor.exhausted();
    } else {
        let mut schedule = Portfolio::new(&plan.mix.strategies, plan.seed, plan.mix.depth);
        while failure.is_none() && executions < plan.schedules.unwrap_or(SCHEDULES) {
            interrupted = executions % STRIDE == 0 && workers::interrupted();
            if interrupted {
                break;
            }
            let execution = once(&mut schedule, executions);
            failure = (execution.verdict != Verdict::Pass).then_some(execution);
            executions += 1;
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    let verdict = failure.as_ref().map_or(&Verdict::Pass, |execution| &execution.verdict);
    Figures {
        program: plan.program.name(),
        threads: plan.threads,
        rounds: plan.rounds,
        cpus: plan.cpus,
        ticks: plan.ticks,
        granularity: plan.granularity.name(),
        adaptive: plan.adaptive,
        executions,
        given_up,
        seconds,
        executions_per_s: (executions + given_up) as f64 / seconds.max(f64::MIN_POSITIVE),
        exhausted,
        interrupted,
        verdict: verdict.name(),
        message: verdict.message().to_owned(),
        schedule: failure.as_ref().map(|execution| schedule::print(&execution.events)),
        exhaustive: plan.exhaustive,
    }
}

/// What a thread does `rounds` times; it is told its number.
type Round = dyn Fn(usize) + Send + Sync;

/// The program: thread0's main.
fn perform(plan: &Plan) {
    let round: Arc<Round> = match plan.program {
        Program::Mutex => mutex(),
        Program::Tas => tas(),
        Program::Rwlock => rwlock(),
        Program::Seqlock => seqlock(),
        Program::Ticket => ticket(),
    };
    let rounds = plan.rounds;
    let threads: Vec<_> = (1..plan.threads)
        .map(|at| {
            let round = Arc::clone(&round);
            let cpu = Some(at.min(plan.cpus - 1));
            kthread_add(Kthread { name: "T", priority: pri::PUSER, flags: 0, cpu }, move || {
                (0..rounds).for_each(|_| round(at));
            })
        })
        .collect();
    explore::begin();
    (0..rounds).for_each(|_| round(0));
    threads.into_iter().for_each(explore::join);
    explore::end();
}

fn mutex() -> Arc<Round> {
    // A lock stays where it was initialised.
    let (lock, data) = (Arc::new(Mtx::zeroed()), Tracked::default());
    lock.init(c"mutex", Mtxf::NOWITNESS);
    let round = move |_| {
        lock.lock();
        data.bump();
        lock.unlock();
    };
    Arc::new(round)
}

fn tas() -> Arc<Round> {
    let (word, data) = (Owned32::new(0), Tracked::default());
    let round = move |_| {
        let id = word.as_ptr() as usize;
        // A boundary before the first exchange; the others come at the end of a wait, which is one.
        explore::access(id, 4, true, true);
        while word.get() != 0 {
            starvation::waits(id);
            // To write 1 over 1 is nothing that anybody sees.
            if !wait_for(&word) {
                return;
            }
        }
        word.set(1);
        starvation::obtained(id);
        data.bump();
        store(&word, 0);
    };
    Arc::new(round)
}

fn ticket() -> Arc<Round> {
    let (next, serving, data) = (Owned32::new(0), Owned32::new(0), Tracked::default());
    let round = move |_| {
        let id = serving.as_ptr() as usize;
        let own = fetch_add(&next);
        explore::access(id, 4, false, true);
        while serving.get() != own {
            starvation::waits(id);
            if !wait_for(&serving) {
                return;
            }
        }
        starvation::obtained(id);
        data.bump();
        store(&serving, own + 1);
    };
    Arc::new(round)
}

fn rwlock() -> Arc<Round> {
    let (lock, data) = (Arc::new(Rw::zeroed()), Tracked::default());
    lock.init(c"rwlock", Rwf::NOWITNESS);
    let round = move |at| {
        if at == 0 {
            lock.wlock();
            data.bump();
            lock.wunlock();
        } else {
            lock.rlock();
            data.get();
            lock.runlock();
        }
    };
    Arc::new(round)
}

fn seqlock() -> Arc<Round> {
    let (count, data) = (Seqc::new(), SeqPair::default());
    let round = move |at| {
        if at == 0 {
            count.sleepable_write_begin();
            data.write(count.peek() as usize);
            count.sleepable_write_end();
            return;
        }
        loop {
            let before = count.read();
            let seen = data.read();
            if count.consistent(before) {
                return data.check(seen);
            }
        }
    };
    Arc::new(round)
}

/// An atomic write.
fn store(word: &Owned32, value: u32) {
    explore::access(word.as_ptr() as usize, 4, true, true);
    word.set(value);
}

/// `cpu_spinwait()` until the word has changed; false if the machine has stopped. The caller looks at the word again in the same
/// transition, as the kernel's own locks do: with a boundary in between, to be woken and to try would be two, and every order of
/// one waiter's waking with another's trying a class of its own.
fn wait_for(word: &Owned32) -> bool {
    cpu::observe(word.as_ptr().cast(), 4);
    cpu::spinwait()
}

/// An atomic increment; what was there before. From one boundary to the next nobody else moves.
fn fetch_add(word: &Owned32) -> u32 {
    explore::access(word.as_ptr() as usize, 4, true, true);
    let old = word.get();
    word.set(old + 1);
    old
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(program: Program, threads: usize, rounds: usize) -> Plan {
        let (cpus, ticks, granularity, adaptive, starvation) = (threads, 0, Granularity::Op, true, None);
        let (exhaustive, mix, schedules, seed) = (false, Mix::default(), None, 1);
        Plan {
            program,
            threads,
            rounds,
            cpus,
            ticks,
            granularity,
            adaptive,
            starvation,
            exhaustive,
            mix,
            schedules,
            seed,
        }
    }

    fn exhaust(program: Program, threads: usize, rounds: usize) -> Figures {
        let exhaustive = Plan { schedules: Some(200_000), exhaustive: true, ..plan(program, threads, rounds) };
        run(&exhaustive)
    }

    #[test]
    fn a_lock_that_one_thread_holds_takes_as_many_executions_as_it_has_orders() {
        for program in [Program::Mutex, Program::Tas] {
            for (threads, rounds, orders) in [(2, 1, 2), (2, 2, 6), (3, 1, 6), (3, 2, 90)] {
                let found = exhaust(program, threads, rounds);
                assert!(found.exhausted && found.verdict == "pass", "{found:?}");
                assert_eq!(found.executions, orders, "{found:?}");
            }
        }
    }

    #[test]
    fn the_locks_themselves_are_exhausted() {
        // Nothing is known of their numbers, but that the same search finds them again. What an assertion looks at counts.
        for (program, adaptive, classes) in
            [(Program::Mutex, true, 774), (Program::Mutex, false, 7250), (Program::Rwlock, true, 24_128)]
        {
            let insn = Plan { exhaustive: true, granularity: Granularity::Insn, adaptive, ..plan(program, 3, 1) };
            let found = run(&insn);
            assert!(found.exhausted && found.verdict == "pass", "{found:?}");
            assert_eq!(found.executions, classes, "{found:?}");
        }
    }

    #[test]
    fn a_ticket_lock_bounds_the_waiting_and_one_that_is_there_for_the_taking_does_not() {
        let bound = |program, threads: usize, exhaustive, bound| {
            let plan = plan(program, threads, 4);
            run(&Plan { starvation: Some(bound), exhaustive, schedules: Some(20_000), ..plan }).verdict
        };
        // Two threads come before a third one that waits: a proof, for any schedule.
        assert_eq!(bound(Program::Ticket, 2, true, 1), "pass");
        assert_eq!(bound(Program::Ticket, 3, false, 2), "pass");
        assert_eq!(bound(Program::Ticket, 3, false, 1), "starvation");
        for program in [Program::Tas, Program::Mutex] {
            assert_eq!(bound(program, 2, false, 2), "starvation");
            // It cannot be overtaken more often than the other thread has rounds.
            assert_eq!(bound(program, 2, true, 4), "pass");
        }
    }

    #[test]
    fn every_program_passes() {
        for program in [Program::Mutex, Program::Tas, Program::Rwlock, Program::Seqlock, Program::Ticket] {
            let found = exhaust(program, 2, 2);
            assert!(found.exhausted && found.verdict == "pass", "{found:?}");
            let found = run(&Plan { cpus: 2, ticks: 1, schedules: Some(300), ..plan(program, 3, 2) });
            assert_eq!((found.executions, found.verdict), (300, "pass"), "{found:?}");
        }
    }
}
