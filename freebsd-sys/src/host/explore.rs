//! The `explore` engine: all virtual CPUs on one host thread; at each boundary a [`Schedule`] decides what happens next.
//!
//! A boundary asks which event comes: a CPU performs its next primitive, an interrupt arrives, the clock ticks. If it is this
//! CPU's move, the primitive just goes on; otherwise the coroutine switches to the other CPU's. A
//! thread in `spinwait` is disabled until a value that it read has changed, so endless spinning costs nothing and is recognised:
//! when nothing is enabled, nothing pending can change that, and somebody spins, the execution is a livelock.
//!
//! Sequentially consistent, deterministic, virtual time.
//!
//! An idle thread that waits in its loop at the end of an execution waits there for the next one's first event: nothing is on its
//! stack that belongs to an execution.

use super::coroutine::{Context, Stop};
use super::footprint::{Footprint, Operand, key};
use super::gs::{self, Block, word};
use super::heap;
use super::schedule::{Choice, Diverged, Event, Pending, Performed, Rng, Schedule};
use super::starvation::{self, Turns};
use crate::cpu::{MAXCPU, Pcpu, curcpu, machine};
use crate::interrupt::{self, Irq};
use crate::lock::{Loc, LockObject};
use crate::machine::{Budget, Config, Engine, Granularity, Machine, Preemption, Unit, Verdict};
use crate::thread::{self, Kthread, Observed, PlainAccess, Rest, Thread, curthread, tdf};
use crate::{callout, sched};

/// The exploring side of a machine.
pub(crate) struct Explorer {
    schedule: Option<*mut dyn Schedule>,
    /// What the schedule decided, in order.
    record: Vec<Event>,
    /// What can happen, if that is more than moves of CPUs.
    enabled: Vec<Event>,
    /// The CPUs that neither idle nor wait, one bit each. A CPU begins and ends both only by its own move.
    running: usize,
    /// Those that idle.
    idle: usize,
    /// All of them.
    all: usize,
    /// What the schedule lent: see [`Schedule::lend`].
    rng: Option<Rng>,
    budget: Budget,
    full_budget: Budget,
    steps: u64,
    step_limit: u64,
    /// Preemptions that were forced because nothing else could move.
    forced: u32,
    /// How often time has passed for somebody who looks at the clock, because nothing else could move.
    passed: u32,
    /// The event being carried out.
    event: Event,
    /// Between `begin` and `end` of the explored part.
    exploring: bool,
    diverged: Option<Diverged>,
    trace: Option<Trace>,
    /// The schedule looks at what CPUs are about to do.
    looks_ahead: bool,
    /// Threads that are about to make an access that another may race with.
    racers: u32,
    /// The transition under way, for a schedule that asks.
    transition: Transition,
    /// What kernel threads allocate from, for such a schedule.
    heap: Option<heap::Lease>,
    /// Whether the schedule is fair, where that matters.
    turns: Option<Turns>,
    /// The host thread that ran the last execution; 0 before the first.
    host: libc::pthread_t,
    block: Block,
}

/// A transition under way: from the event that began it to the next.
#[derive(Debug, Default)]
struct Transition {
    /// The schedule wants to know.
    recorded: bool,
    event: Option<Event>,
    footprint: Footprint,
    /// What its primitive works on, and what was there when it began.
    operand: Operand,
    found: [u64; Operand::WORDS],
    /// It began with a primitive that names what it works on, or as a further round of a wait: if it comes to nothing but a wait,
    /// it may as well come later.
    repeatable: bool,
    /// It ended in `cpu_spinwait`.
    waits: bool,
    /// Something was chosen inside it.
    chose: bool,
    /// It began as a further round of a wait, and has done nothing yet: an atomic operation needs no boundary of its own.
    woken: bool,
}

// `Option<*mut dyn Schedule>` is why this is by hand.
impl core::fmt::Debug for Explorer {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Explorer").field("steps", &self.steps).field("event", &self.event).finish_non_exhaustive()
    }
}

/// One line of a replayed schedule.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Step {
    /// The CPU that moved.
    pub cpu: usize,
    /// The thread that it ran.
    pub thread: String,
    /// What it did: a primitive and its lock, an interrupt, `resume` on a CPU, `idle` looking for a thread; with `again`, what it
    /// spins in.
    pub what: String,
    /// The source line that asked for it, where the primitive was told.
    pub at: Option<String>,
    /// What that changed: threads that left a CPU or woke up, lock words, critical sections, priorities.
    pub changes: Vec<String>,
    /// What kind of step it is.
    pub kind: Kind,
    /// The machine as it left it.
    pub after: After,
}

/// What kind of step one is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Kind {
    /// A thread performs a primitive.
    #[default]
    Primitive,
    /// Another turn of the loop that it spins in.
    Again,
    /// A thread is back on a CPU.
    Resume,
    /// An idle CPU looks for a thread.
    Idle,
    /// An interrupt arrives.
    Interrupt,
    /// The clock ticks.
    Tick,
}

/// The machine as a step left it: what a picture shows. Readers of a lock have no names: its word only counts them, and an
/// rmlock's not even that.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct After {
    /// For each CPU, the index of its thread in `threads`; none if it idles.
    pub cpus: Vec<Option<usize>>,
    /// All threads but the idle ones.
    pub threads: Vec<ThreadAfter>,
    /// Locks that somebody holds.
    pub held: Vec<Held>,
}

/// A thread as a step left it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThreadAfter {
    /// Its name.
    pub name: String,
    /// Critical sections that it is in, without the one that mi_switch has while it is off CPU.
    pub critnest: u32,
    /// What it is about.
    pub doing: Doing,
}

/// What a thread is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Doing {
    /// On a CPU.
    Runs,
    /// On a CPU, in a loop that waits for this lock, if it is one.
    Spins(Option<String>),
    /// It could run, and has no CPU.
    Waits,
    /// On this lock's turnstile.
    Blocks(String),
    /// For something else than a lock.
    Sleeps,
    /// Not started, or exited.
    Nothing,
}

/// A lock that is held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Its name.
    pub lock: String,
    /// The index of its owner in `threads`; none if readers hold it.
    pub owner: Option<usize>,
    /// How many readers.
    pub readers: usize,
}

/// What a traced execution remembers.
#[derive(Debug, Default)]
struct Trace {
    steps: Vec<Step>,
    words: Vec<(usize, usize)>,
    threads: Vec<Seen>,
    /// The last step's primitive and lock, if the lock had no name yet.
    unnamed: Option<(&'static str, usize)>,
}

/// A thread as it was at the last step.
#[derive(Debug, Clone, Copy)]
struct Seen {
    state: thread::State,
    critnest: u32,
    priority: u32,
}

impl Seen {
    fn of(td: &Thread) -> Self {
        // A thread that is off CPU is inside mi_switch, whose own critical section is nobody's business.
        let own = u32::from(td.oncpu.get() == thread::NOCPU);
        Self { state: td.state(), critnest: td.critnest.get().saturating_sub(own), priority: td.priority.get() }
    }
}

/// The result of one execution.
#[derive(Debug, Clone)]
pub struct Execution {
    /// How it ended.
    pub verdict: Verdict,
    /// The schedule's decisions.
    pub events: Vec<Event>,
    /// Boundaries passed.
    pub steps: u64,
    /// What the kernel printed.
    pub console: Vec<String>,
    /// Locks held at the panic.
    pub locks: Vec<String>,
    /// Step by step, if asked for.
    pub trace: Vec<Step>,
    /// Why a replay stopped fitting.
    pub diverged: Option<Diverged>,
}

impl Explorer {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            schedule: None,
            record: Vec::with_capacity(256),
            enabled: Vec::with_capacity(32),
            running: 0,
            idle: 0,
            all: (1 << config.cpus) - 1,
            rng: None,
            budget: config.budget,
            full_budget: config.budget,
            steps: 0,
            step_limit: config.step_limit,
            forced: 0,
            passed: 0,
            event: Event::Run(0),
            exploring: false,
            diverged: None,
            trace: None,
            looks_ahead: true,
            racers: 0,
            transition: Transition::default(),
            heap: None,
            turns: None,
            host: 0,
            block: Block::new(0),
        }
    }

    /// Asks the schedule to pick an event of `enabled`. `None` if it does not fit, which is the verdict.
    // Inlined: what it saves and restores is a third of it.
    #[inline(always)]
    fn pick(&mut self, m: &Machine, current: usize, enabled: &[Event]) -> Option<usize> {
        let only = enabled.len() == 1;
        if only && !self.transition.recorded {
            return Some(0);
        }
        let choice = Choice { at: self.record.len(), current, enabled, pending: Pending::of(m) };
        // SAFETY: `run` keeps the schedule alive, and alone, while the execution lasts.
        let schedule = unsafe { &mut *self.schedule.expect("an execution has a schedule") };
        let lent = self.rng.take().map(|rng| schedule.give_back(rng));
        // What a schedule that records allocates is not the program's.
        let answer =
            if self.transition.recorded { heap::aside(|| schedule.next(&choice)) } else { schedule.next(&choice) };
        if lent.is_some() {
            self.rng = schedule.lend();
        }
        match answer {
            Ok(at) => {
                if !only {
                    self.record.push(enabled[at]);
                }
                Some(at)
            }
            Err(diverged) => self.diverges(m, diverged),
        }
    }

    #[cold]
    fn diverges(&mut self, m: &Machine, diverged: Diverged) -> Option<usize> {
        self.diverged = Some(diverged);
        m.set_verdict(Verdict::Error("the schedule does not fit".to_owned()));
        None
    }

    /// The CPUs that have a next primitive, one bit each. `current` has just moved, and is about to do `what`.
    // Where a schedule is random the processor cannot foresee a branch that depends on it: most CPUs are seen to run without one.
    #[inline(always)]
    fn cpus_enabled(&mut self, m: &Machine, current: &Pcpu, what: Next) -> usize {
        let mask = current.cpumask;
        self.running = if what == Next::Primitive { self.running | mask } else { self.running & !mask };
        self.idle = if what == Next::Idle { self.idle | mask } else { self.idle & !mask };
        let mut enabled = self.running;
        let mut others = self.all & !enabled;
        while others != 0 {
            let at = others.trailing_zeros();
            others &= others - 1;
            let goes_on = may_go_on(m, &m.cpus[at as usize], self.idle >> at & 1 != 0);
            enabled |= usize::from(goes_on) << at;
        }
        enabled
    }

    /// [`Explorer::next_event`] where [`Machine::only_moves`]; `None` if that is to decide all the same.
    #[inline(always)]
    fn next_move(&mut self, m: &Machine, current: &Pcpu, what: Next) -> Option<Turn> {
        let moves = &MOVES[self.cpus_enabled(m, current, what)];
        if moves.count == 0 || self.steps >= self.step_limit {
            return None;
        }
        self.steps += 1;
        let mut event = moves.events[0];
        if moves.count > 1 {
            let at = match &mut self.rng {
                Some(rng) => rng.below(moves.count),
                None => self.ask(m, current.cpuid, moves.as_slice())?,
            };
            event = moves.events[at];
            self.record.push(event);
        }
        self.event = event;
        Some(if event == Event::Run(current.cpuid as u8) { Turn::Own } else { Turn::Others })
    }

    /// Asks the schedule, which has lent nothing and records nothing.
    #[inline(never)]
    fn ask(&mut self, m: &Machine, current: usize, enabled: &[Event]) -> Option<usize> {
        let choice = Choice { at: self.record.len(), current, enabled, pending: Pending::of(m) };
        // SAFETY: `run` keeps the schedule alive, and alone, while the execution lasts.
        let schedule = unsafe { &mut *self.schedule.expect("an execution has a schedule") };
        schedule.next(&choice).map_or_else(|diverged| self.diverges(m, diverged), Some)
    }

    /// Whether, from here on, [`Explorer::next_move`] is to decide: nothing may come from outside, and nobody but the schedule wants to
    /// know of anything.
    fn only_moves(&self, m: &Machine) -> bool {
        self.exploring
            && !self.transition.recorded
            && self.trace.is_none()
            && self.turns.is_none()
            && !self.outside(m)
            && !m.has_verdict()
    }

    /// What may come from outside, after what the CPUs do by themselves.
    #[inline(never)]
    fn add_interrupts(&mut self, m: &Machine) {
        let sources = m.interrupts.len();
        let ticks = self.budget.ticks > 0;
        let timers = ticks && callout::pending();
        if sources == 0 && !timers && !(ticks && m.config.preemption == Preemption::Any) {
            return;
        }
        for cpu in &m.cpus {
            if !interrupt::enabled(cpu) {
                continue;
            }
            let id = cpu.cpuid as u8;
            for irq in 0..sources as u16 {
                let busy = !cpu.is_idle() || !self.enabled.is_empty();
                if m.interrupts.is_asserted(Irq(irq), cpu.cpuid)
                    || self.budget.interrupts > 0 && busy && m.interrupts.may_come(Irq(irq), cpu.cpuid)
                {
                    self.enabled.push(Event::Intr(id, irq));
                }
            }
            if timers || ticks && tick_preempts(m, cpu) {
                self.enabled.push(Event::Tick(id));
            }
        }
    }

    /// The transition under way is over: tells the schedule about it.
    #[inline]
    fn end_transition(&mut self, m: &Machine) {
        if self.transition.event.is_some() {
            self.end_recorded(m);
        }
    }

    #[inline(never)]
    fn end_recorded(&mut self, m: &Machine) {
        let Some(event) = self.transition.event.take() else { return };
        let transition = &mut self.transition;
        let last = m.has_verdict() || !self.exploring;
        let only_reads = transition.waits && !last;
        transition.footprint.touch_operand(transition.operand, only_reads);
        let cpu = event.cpu().unwrap_or(0);
        let nothing =
            only_reads && transition.repeatable && !transition.chose && !transition.footprint.writes_beyond(cpu);
        let performed = match () {
            () if last => Performed::Last,
            () if nothing => {
                // What it will do once it need not wait.
                transition.footprint.touch_operand(transition.operand, false);
                Performed::Nothing
            }
            () => Performed::Something,
        };
        // SAFETY: `run` keeps the schedule alive, and alone, while the execution lasts.
        let schedule = unsafe { &mut *self.schedule.expect("an execution has a schedule") };
        heap::aside(|| schedule.performed(event, &transition.footprint, performed));
    }

    /// A transition begins.
    #[inline(never)]
    fn begin_transition(&mut self, event: Event, forced: bool) {
        let transition = &mut self.transition;
        transition.event = Some(event);
        transition.footprint.clear();
        transition.operand = Operand::NONE;
        transition.repeatable = false;
        transition.waits = false;
        transition.chose = false;
        if let Some(cpu) = event.cpu() {
            transition.footprint.touch(key::CPU + cpu, 1, true);
        }
        if forced {
            transition.footprint.touch_everything();
        }
    }

    /// Decides on the next event: whose it is.
    #[inline(never)]
    fn next_event(&mut self, m: &Machine, cpu: &Pcpu, what: Next) -> Turn {
        let current = cpu.cpuid;
        self.end_transition(m);
        if m.has_verdict() {
            return Turn::Nobodys;
        }
        self.steps += 1;
        if self.steps > self.step_limit {
            return self.give_up(m);
        }
        let cpus = self.cpus_enabled(m, cpu, what);
        let own = cpus >> current & 1 != 0;
        let moves = MOVES[cpus].as_slice();
        let event = if !self.exploring && cpus != 0 {
            // Nobody is asked.
            if own { Event::Run(current as u8) } else { moves[0] }
        } else if cpus == 0 || self.transition.recorded || self.turns.is_some() || self.outside(m) {
            let Some(event) = self.next_of_all(m, current, moves) else { return Turn::Nobodys };
            event
        } else {
            let Some(at) = self.pick(m, current, moves) else { return Turn::Nobodys };
            moves[at]
        };
        self.event = event;
        if event.cpu() == Some(current) { Turn::Own } else { Turn::Others }
    }

    /// Whether anything may come from outside.
    #[inline]
    fn outside(&self, m: &Machine) -> bool {
        m.interrupts.len() > 0 || self.budget.ticks > 0
    }

    /// The next event, if it may be another than one of `moves`, or the schedule records.
    #[inline(never)]
    fn next_of_all(&mut self, m: &Machine, current: usize, moves: &[Event]) -> Option<Event> {
        self.enabled.clear();
        self.enabled.extend_from_slice(moves);
        if self.exploring && self.outside(m) {
            self.add_interrupts(m);
        }
        let forced = self.enabled.is_empty();
        if forced {
            self.quiescent(m);
            if m.has_verdict() {
                return None;
            }
        }
        if !self.exploring {
            return Some(self.enabled[0]);
        }
        let event = self.pick_enabled(m, current)?.1;
        if self.transition.recorded {
            self.begin_transition(event, forced);
        }
        if !matches!(event, Event::Run(_)) {
            self.pay(m, event, forced);
        }
        if self.turns.is_some() {
            self.note_turns(event);
        }
        Some(event)
    }

    /// [`Explorer::pick`] of `self.enabled`.
    fn pick_enabled(&mut self, m: &Machine, current: usize) -> Option<(usize, Event)> {
        let enabled = core::mem::take(&mut self.enabled);
        let at = self.pick(m, current, &enabled);
        self.enabled = enabled;
        at.map(|at| (at, self.enabled[at]))
    }

    /// Takes what `event` costs from the budget.
    #[inline(never)]
    fn pay(&mut self, m: &Machine, event: Event, forced: bool) {
        match event {
            Event::Intr(cpu, irq) if !m.interrupts.is_asserted(Irq(irq), cpu.into()) => {
                self.budget.interrupts -= 1;
                self.transition.touch(key::BUDGET, 1, true);
            }
            // Time that passes because nothing else can costs nothing.
            Event::Tick(_) if !forced => {
                self.budget.ticks -= 1;
                self.transition.touch(key::BUDGET, 1, true);
            }
            _ => {}
        }
    }

    #[cold]
    fn note_turns(&mut self, event: Event) {
        let could = |event: &Event| if let Event::Run(cpu) = event { Some(usize::from(*cpu)) } else { None };
        if let Some(turns) = &mut self.turns {
            turns.passed(event.cpu(), self.enabled.iter().filter_map(could));
        }
    }

    #[cold]
    fn give_up(&mut self, m: &Machine) -> Turn {
        m.set_verdict(Verdict::Error(format!("no progress after {} steps", self.step_limit)));
        Turn::Nobodys
    }

    /// Nothing is enabled: time passes if that helps, else the execution has ended badly.
    #[cold]
    #[inline(never)]
    fn quiescent(&mut self, m: &Machine) {
        // Who polls the clock is served a few ticks at a time, up to a bound: a loop without a deadline is none the less one for ever.
        let polled = self.passed < PASSED_MAX
            && m.cpus.iter().any(|cpu| cpu.current().awaiting.get() && watches_clock(cpu.current()));
        let within = polled.then(|| 1 << (self.passed / PASSED_ALIKE));
        if let Some(cpu) = callout::skip_to_next(|cpu| interrupt::enabled(&m.cpus[cpu]), within) {
            self.enabled.push(Event::Tick(cpu as u8));
            if polled {
                self.passed += 1;
                // Its slice ends before a long wait does, and somebody it waits for may be its equal.
                let cpu = &m.cpus[cpu];
                if self.passed.is_multiple_of(SLICE) && sched::time_preempts(cpu) {
                    sched::force_preemption(cpu);
                }
            }
            return;
        }
        // Threads that spin by turns would go on for ever.
        let watched =
            m.cpus.iter().find(|cpu| cpu.current().awaiting.get() && cpu.current().spinning_on_spin_mutex.get());
        if (self.forced < FORCED_MAX || watched.is_none() && self.forced < FORCED_MAX + LAST_TURNS)
            && let Some(cpu) = m.cpus.iter().find(|cpu| interrupt::enabled(cpu) && sched::time_preempts(cpu))
        {
            self.forced += 1;
            sched::force_preemption(cpu);
            self.enabled.push(Event::Tick(cpu.cpuid as u8));
            return;
        }
        if let Some(cpu) = watched {
            // FreeBSD's own watchdog: this one panics instead of hanging.
            cpu.current().spun_too_long.set(true);
            self.enabled.push(Event::Run(cpu.cpuid as u8));
            return;
        }
        m.note_panic_state();
        m.set_verdict(stuck(m));
    }
}

/// The verdict on a machine in which nothing can move but by spinning.
fn stuck(m: &Machine) -> Verdict {
    let mut text: Vec<_> =
        m.threads().iter().filter(|td| td.awaiting.get()).map(|td| describe_spinner(m, td)).collect();
    let spinning = !text.is_empty();
    let blocked = describe_blocked(m);
    if !blocked.is_empty() {
        text.push(blocked);
    }
    let text = text.join("; ");
    // Adaptive spinners that wait for each other are a deadlock, whether they spin or block: the schedule only decides how.
    if !spinning || waits_in_a_cycle(m) { Verdict::Deadlock(text) } else { Verdict::Livelock(text) }
}

/// `smp`: the verdict on a machine that its clock stopped `after` a time.
pub(crate) fn hang(m: &Machine, after: std::time::Duration) -> Verdict {
    match busy(m) {
        Some((td, what)) => Verdict::Error(format!("no end after {} s; {} {what}", after.as_secs(), td.name())),
        None => stuck(m),
    }
}

/// `smp`: a thread of the program's own that is at work, or that the clock will wake, and what it does. If there is none now
/// and none a moment later, the machine is stuck. The machine may be running: the answer is as of some moment.
pub(crate) fn busy(m: &Machine) -> Option<(&Thread, &'static str)> {
    m.threads().iter().find_map(|td| {
        if td.is_sleeping() && td.sleep_deadline.get() != 0 {
            return Some((&**td, "sleeps with a timeout"));
        }
        let service = td.is_idle() || td.flags.get() & tdf::KPROC != 0;
        let runs = matches!(td.state(), thread::State::Running | thread::State::RunQ | thread::State::CanRun);
        let polls = td.looked_at_clock.get() + POLLED > callout::now();
        let at_work = !service && runs && (polls || !td.awaiting.get()) && !waits_for_a_spinners_cpu(m, td);
        at_work.then_some((&**td, "was running"))
    })
}

/// `smp`: ticks after a look at the clock during which a thread that spins counts as one that waits for it.
const POLLED: u64 = 100;

/// Whether what `td` does next depends on the time.
pub(crate) fn watches_clock(td: &Thread) -> bool {
    let clock = callout::address().cast();
    // SAFETY: the thread is suspended or the running one, and the reference ends here.
    unsafe { td.read_set.get() }.iter().any(|seen| seen.at == clock)
}

/// A clock interrupt on the running thread's stack, inside its primitive.
pub(crate) fn tick() {
    let cpu = curcpu().cpuid as u8;
    interrupt(curthread(), Event::Tick(cpu));
}

/// Whether `td` is queued on a CPU that a spinning thread does not give up.
fn waits_for_a_spinners_cpu(m: &Machine, td: &Thread) -> bool {
    td.state() == thread::State::RunQ && m.cpus[td.tscpu.get() as usize].current().awaiting.get()
}

/// How often time passes by one tick for who polls the clock; as often by two, and so on.
const PASSED_ALIKE: u32 = 64;
/// And how often at all: up to about a quarter of an hour at once, which no driver polls for.
const PASSED_MAX: u32 = PASSED_ALIKE * 20;
/// How many times make up a slice.
const SLICE: u32 = 8;

/// How often an execution makes a spinner give its CPU to an equal, or to a better-demoted thread, before the spinning is a verdict.
const FORCED_MAX: u32 = 64;
/// And how often after that until one that has a watchdog is on its CPU: a spinner on a spin mutex panics, whoever spins besides.
const LAST_TURNS: u32 = 16;

/// Whether a CPU that idles or waits has something to do.
#[inline(always)]
fn may_go_on(m: &Machine, cpu: &Pcpu, idles: bool) -> bool {
    if idles {
        // Most of the time no thread waits for a CPU, and no idle one need look for it.
        return cpu.pending.get() != 0 || m.sched.queued.get() != 0 && sched::runnable(cpu);
    }
    read_set_changed(cpu.current()) || cpu.pending.get() != 0 && interrupt::enabled(cpu)
}

/// What a CPU is about to do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    /// To perform a primitive. An interrupt's filter does so on the idle thread's stack as well.
    Primitive,
    /// To look whether its wait is over.
    Wait,
    /// To look for a thread.
    Idle,
}

/// Whose the next event is: the CPU's at the boundary, another's, or the execution has ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    Own,
    Others,
    Nobodys,
}

/// Moves of CPUs, in the order of their numbers.
struct Moves {
    events: [Event; MAXCPU],
    count: usize,
}

impl Moves {
    /// Those of a set of CPUs, one bit each.
    const fn of(cpus: usize) -> Self {
        let mut moves = Self { events: [Event::Run(0); MAXCPU], count: 0 };
        let mut cpu = 0;
        while cpu < MAXCPU {
            if cpus >> cpu & 1 != 0 {
                moves.events[moves.count] = Event::Run(cpu as u8);
                moves.count += 1;
            }
            cpu += 1;
        }
        moves
    }

    #[inline]
    fn as_slice(&self) -> &[Event] {
        &self.events[..self.count]
    }
}

/// Those of each set of CPUs.
static MOVES: [Moves; 1 << MAXCPU] = {
    let mut all = [const { Moves::of(0) }; 1 << MAXCPU];
    let mut cpus = 0;
    while cpus < all.len() {
        all[cpus] = Moves::of(cpus);
        cpus += 1;
    }
    all
};

/// Whether a tick takes the CPU away from its thread, as it does under `any`.
fn tick_preempts(m: &Machine, cpu: &Pcpu) -> bool {
    m.config.preemption == Preemption::Any && cpu.queued.get() != 0 && !cpu.is_idle()
}

fn read_set_changed(td: &Thread) -> bool {
    // SAFETY: the thread is suspended.
    let set = unsafe { td.read_set.get() };
    set.iter().any(|seen| peek(seen.at, seen.size.into()) != seen.value)
}

/// Reads `size` bytes of kernel memory.
fn peek(at: *const (), size: usize) -> u64 {
    // SAFETY: `observe` is given the addresses of lock words, thread fields and tracked cells, which live as long as the
    // execution: threads and arenas are never freed within one, and a lock that is observed is in use.
    unsafe {
        match size {
            1 => at.cast::<u8>().read_volatile().into(),
            2 => at.cast::<u16>().read_unaligned().into(),
            4 => at.cast::<u32>().read_unaligned().into(),
            _ => at.cast::<u64>().read_unaligned(),
        }
    }
}

/// The thread that `td` waits for: the owner of the lock that it blocks on, or spins on while the owner runs.
fn waits_for<'a>(m: &'a Machine, td: &Thread) -> Option<&'a Thread> {
    if td.is_on_lock() {
        return crate::turnstile::owner_of(td.blocked_on.get());
    }
    match td.spinning_on.get() {
        0 => None,
        // SAFETY: a lock that a thread spins on is alive.
        lock => crate::lint::owner(m, unsafe { &*(lock as *const LockObject) }),
    }
}

/// Whether some threads wait for each other in a circle.
fn waits_in_a_cycle(m: &Machine) -> bool {
    m.threads().iter().any(|start| {
        let mut at = waits_for(m, start);
        // A chain that does not come back within the number of threads has entered another circle, which its own start finds.
        for _ in 0..m.threads().len() {
            match at {
                Some(td) if core::ptr::eq(td, &**start) => return true,
                Some(td) => at = waits_for(m, td),
                None => return false,
            }
        }
        false
    })
}

fn describe_spinner(m: &Machine, td: &Thread) -> String {
    let critical = if td.critnest.get() > 0 { " in a critical section" } else { "" };
    // SAFETY: the thread is suspended.
    let (what, obj) = unsafe { *td.op.get() };
    let what = match (m.engine, td.spinning_on.get()) {
        (Engine::Explore, _) if obj == 0 => format!(" in {what}"),
        (Engine::Explore, _) => format!(" in {what} on {}", crate::machine::lock_name(obj)),
        (Engine::Smp, 0) => String::new(),
        (Engine::Smp, lock) => format!(" on {}", crate::machine::lock_name(lock)),
    };
    let Some(cpu) = m.cpus.iter().find(|cpu| core::ptr::eq(cpu.curthread.get(), td.ptr())) else {
        return format!("{} spins{what}{critical}, and is off CPU", td.name());
    };
    // SAFETY: between transitions; threads are type-stable.
    let queued: Vec<_> = unsafe { cpu.runq.get().iter().map(|&td| (*td).name().to_owned()).collect() };
    let waiting =
        if queued.is_empty() { String::new() } else { format!(", with {} waiting for this CPU", queued.join(", ")) };
    format!("{} spins{what}{critical} on cpu{}{waiting}", td.name(), cpu.cpuid)
}

fn describe_blocked(m: &Machine) -> String {
    let mut text = Vec::new();
    for td in m.threads() {
        if td.flags.get() & tdf::PARKED != 0 {
            continue;
        }
        if td.is_on_lock() {
            let lock = td.blocked_on.get();
            let owner =
                crate::turnstile::owner_of(lock).map_or_else(|| "nobody known".to_owned(), |td| td.name().to_owned());
            text.push(format!("{} blocks on {} held by {owner}", td.name(), crate::machine::lock_name(lock)));
        } else if td.is_sleeping() {
            // SAFETY: the thread sleeps.
            text.push(format!("{} sleeps on \"{}\"", td.name(), unsafe { *td.wmesg.get() }));
        }
    }
    text.join("; ")
}

#[expect(clippy::mut_from_ref, reason = "explore has one host thread, and no reference outlives a suspension")]
fn explorer(m: &Machine) -> &mut Explorer {
    // SAFETY: one host thread; callers do not keep the reference across a switch.
    unsafe { m.explorer.get() }
}

impl Transition {
    fn touch(&mut self, at: usize, size: usize, write: bool) {
        if self.event.is_some() {
            self.footprint.touch(at, size, write);
        }
    }

    /// `td` performs its primitive, or the next round of its wait.
    #[inline]
    fn performs(&mut self, td: &Thread, again: bool) {
        if !self.recorded {
            return;
        }
        // SAFETY: `explore` has one host thread, and the reference ends here.
        self.operand = unsafe { *td.operand.get() };
        self.repeatable = again || self.operand.is_some();
        self.found = self.operand.contents();
    }

    /// The transition is an atomic operation, or goes on with one.
    fn operates(&mut self, operand: Operand) {
        if self.recorded {
            self.operand = operand;
            self.found = operand.contents();
        }
    }
}

/// See [`super::footprint::touch`].
#[cold]
pub(crate) fn touch(at: usize, size: usize, write: bool) {
    explorer(machine()).transition.touch(at, size, write);
}

/// What comes next has nothing to do with what `td` worked on.
pub(crate) fn forget_operand(td: &Thread) {
    if gs::word() & word::EXPLORE != 0 {
        // SAFETY: `explore` has one host thread, and the reference ends here.
        unsafe { *td.operand.get() = Operand::NONE };
    }
}

/// What the next primitive on `cpu` works on; nothing, if that is to look for a thread or to go on with what was begun.
pub(crate) fn pending(m: &Machine, cpu: usize) -> Operand {
    let td = m.cpus[cpu].current();
    let idle = td.is_idle() && td.intr_nesting_level.get() == 0;
    // SAFETY: between transitions.
    let ((what, _), operand) = unsafe { (*td.op.get(), *td.operand.get()) };
    if idle || what == RESUME { Operand::NONE } else { operand }
}

/// The counter that shows the watchdog an execution's progress.
pub(crate) fn progress(m: &Machine) -> *const u64 {
    &raw const explorer(m).steps
}

/// A boundary: see the module.
// Inlined, as is what waits: each return that follows a switch of stacks is one that the processor predicts wrongly.
#[inline(always)]
pub(crate) fn boundary(what: &'static str, obj: usize, loc: Option<Loc>) {
    let Explorer { looks_ahead, transition: Transition { recorded, .. }, .. } = *explorer(machine());
    // Who is on a CPU again goes on with what it waited for.
    if looks_ahead && what != RESUME {
        // Without an object, only footprints care what it is.
        let operand = if recorded || obj != 0 { Operand::of(what, obj) } else { Operand::NONE };
        // SAFETY: `explore` has one host thread, and the reference ends here.
        unsafe { *curthread().operand.get() = operand };
    }
    // A sequence count is no lock object, which has a name.
    boundary_before(what, if what.starts_with("seqc_") { 0 } else { obj }, loc);
}

/// [`boundary`] before what the running thread's operand says, in a trace `what` on `lock`.
#[inline(always)]
fn boundary_before(what: &'static str, lock: usize, loc: Option<Loc>) {
    let td = curthread();
    // SAFETY: `explore` has one host thread, and the reference ends here.
    unsafe { *td.op.get() = (what, lock) };
    // Then nobody traces it, and nobody asks what it touches.
    let only_moves = machine().only_moves.get();
    wait_for_turn(td, Next::Primitive);
    if !only_moves {
        explorer(machine()).transition.performs(td, false);
    }
    take_ipis();
    if !only_moves && let Some(trace) = &mut explorer(machine()).trace {
        trace.note(machine(), what, lock, loc);
    }
}

/// `cpu_spinwait()`.
// Inlined, as `boundary` is.
#[inline(always)]
pub(crate) fn spinwait() {
    let td = curthread();
    td.awaiting.set(true);
    let blind = td.read_too_much.get();
    // SAFETY: `explore` has one host thread, and the reference ends before the next boundary.
    unsafe {
        let set = td.read_set.get();
        if blind {
            set.clear();
        }
        if set.is_empty() {
            // A loop that reads nothing tracked, or more than is remembered: anybody's step may be what it waits for. What was
            // read before the loop counts too, so a first time may be due to that: the loop's next round tells.
            let steps = &raw const explorer(machine()).steps;
            let look_again = blind && !td.waited_blindly.get();
            explorer(machine()).transition.footprint.touch_everything();
            let seen = Observed { at: steps.cast(), size: 8, value: *steps + u64::from(!look_again) };
            heap::aside(|| set.push(seen));
        }
    }
    td.waited_blindly.set(blind);
    td.read_too_much.set(false);
    // SAFETY: the running thread's own field.
    let (what, obj) = unsafe { *td.op.get() };
    if starvation::counts() && td.spinning_on.get() == 0 && what.contains("try") {
        // Whoever tries again and again waits.
        starvation::waits(obj);
    }
    if let Some(trace) = &mut explorer(machine()).trace {
        trace.spins(machine(), obj);
    }
    let transition = &mut explorer(machine()).transition;
    if transition.recorded {
        transition.waits = true;
        if transition.operand.contents() != transition.found {
            // The primitive was performed, and what waits now is its caller's loop.
            transition.waits = false;
            forget_operand(td);
        }
    }
    wait_for_turn(td, Next::Wait);
    let transition = &mut explorer(machine()).transition;
    transition.performs(td, true);
    if transition.recorded {
        // What ended the wait: of a lock its word, whatever became of its owner; in a caller's loop what it read last, which comes after
        // what was read before the loop.
        // SAFETY: `explore` has one host thread, and the reference ends before the next boundary.
        let set = unsafe { &*td.read_set.get() };
        let mut changed = set.iter().filter(|seen| peek(seen.at, seen.size.into()) != seen.value);
        let word = changed.clone().find(|seen| transition.operand.covers(seen.at as usize));
        if let Some(seen) = word.or(changed.next_back()) {
            transition.touch(seen.at as usize, seen.size.into(), false);
        }
    }
    td.awaiting.set(false);
    explorer(machine()).transition.woken = true;
    // SAFETY: `explore` has one host thread, and no reference to the field lives across a boundary.
    unsafe { td.read_set.get().clear() };
    take_ipis();
    if let Some(trace) = &mut explorer(machine()).trace {
        trace.note_text(machine(), Kind::Again, format!("{} again", on_lock(what, obj)));
    }
}

/// Takes the IPIs that wait, unless the one that would preempt is late: its sender may already do what comes after it, and this
/// CPU one more primitive. That costs an interrupt of the budget.
#[inline]
fn take_ipis() {
    // One that takes the CPU away may find another one on the next.
    while curcpu().pending.get() != 0 && interrupt::enabled(curcpu()) && take_or_leave_ipis(curcpu()) {}
}

/// Whether they were taken. Apart, so that the look before it stays small.
#[inline(never)]
fn take_or_leave_ipis(cpu: &Pcpu) -> bool {
    let m = machine();
    if explorer(m).budget.interrupts > 0 && sched::ipi_preempts(cpu) {
        let late = choose("late IPI", 2) != 0;
        explorer(m).transition.touch(key::BUDGET, 1, late);
        if late {
            explorer(m).budget.interrupts -= 1;
            return false;
        }
    }
    if let Some(trace) = &mut explorer(m).trace {
        let rendezvous = cpu.pending.get() & crate::cpu::pending::RENDEZVOUS != 0;
        trace.note_text(
            m,
            Kind::Interrupt,
            format!("interrupt {}", if rendezvous { "IPI_RENDEZVOUS" } else { "IPI_PREEMPT" }),
        );
    }
    interrupt::take_ipis();
    true
}

/// Lets events happen until this thread's CPU is to perform its next primitive.
#[inline(always)]
fn wait_for_turn(td: &'static Thread, what: Next) {
    loop {
        // Whatever happened meanwhile, the event is one for the CPU that runs this thread.
        match wait_for_event(what) {
            Event::Run(_) => return,
            event => interrupt(td, event),
        }
    }
}

/// Lets events happen until one is for the CPU that runs the caller.
#[inline(always)]
fn wait_for_event(what: Next) -> Event {
    let (m, cpu) = (machine(), curcpu());
    let x = explorer(m);
    let moved = if m.only_moves.get() { x.next_move(m, cpu, what) } else { None };
    match moved.unwrap_or_else(|| x.next_event(m, cpu, what)) {
        Turn::Own => {}
        Turn::Others => go_on_with_event(m, x),
        Turn::Nobodys => super::park_forever(),
    }
    explorer(m).transition.woken = false;
    explorer(m).event
}

/// Suspends the running thread for the CPU whose event is next.
#[inline(always)]
fn go_on_with_event(m: &Machine, x: &Explorer) {
    match x.event.cpu() {
        Some(cpu) if x.exploring => {
            let cpu = &m.cpus[cpu];
            go_on_with(cpu, cpu.current());
        }
        // The CPUs are started one after the other.
        _ => super::switch(),
    }
}

/// Suspends the running thread and goes on with `next`, the one of `cpu`, as [`drive`] would.
#[inline(always)]
fn go_on_with(cpu: &Pcpu, next: &Thread) {
    let own = curthread().control.get();
    let control = next.control.get();
    if control.is_null() {
        // That is for the loop to say.
        return super::switch();
    }
    let block = gs::block_here();
    // SAFETY: GS points at the run's block, which consists of cells. The running thread's context is its own, and the other one is suspended:
    // there is one host thread, and the context of a thread that has ended is taken away.
    unsafe {
        (*block).curcpu.set(core::ptr::from_ref::<Pcpu>(cpu).cast_mut());
        (*block).curthread.set(next.ptr());
        (*own).switch_to(&*control);
    }
}

/// Suspends the running thread, whose CPU goes on with `next`.
pub(crate) fn switch_to(cpu: &Pcpu, next: &Thread) {
    if explorer(machine()).exploring {
        // Nobody sees that this thread's registers are not saved yet.
        sched::finish_switch(cpu, next);
        go_on_with(cpu, next);
    } else {
        cpu.next.set(next.ptr());
        super::switch();
    }
}

/// Carries out `event` on `td`'s stack.
#[inline(never)]
fn interrupt(td: &Thread, event: Event) {
    let interrupted = Interrupted::new(td);
    take(event);
    interrupted.resume(td);
}

/// What a thread was about to do, or waits for, while a handler that may do and wait for things itself runs on its stack.
struct Interrupted {
    awaiting: bool,
    on_spin_mutex: bool,
    read_set: Vec<Observed>,
    read_too_much: bool,
    waited_blindly: bool,
    op: (&'static str, usize),
    operand: Operand,
    access: Option<PlainAccess>,
}

impl Interrupted {
    fn new(td: &Thread) -> Self {
        // SAFETY: `explore` has one host thread, and no reference to the fields lives across a boundary.
        let (read_set, op, operand) = unsafe { (core::mem::take(td.read_set.get()), *td.op.get(), *td.operand.get()) };
        let access = announce(td, None);
        let interrupted = Self {
            awaiting: td.awaiting.get(),
            on_spin_mutex: td.spinning_on_spin_mutex.get(),
            read_set,
            read_too_much: td.read_too_much.get(),
            waited_blindly: td.waited_blindly.get(),
            op,
            operand,
            access,
        };
        td.awaiting.set(false);
        td.spinning_on_spin_mutex.set(false);
        td.read_too_much.set(false);
        interrupted
    }

    fn resume(self, td: &Thread) {
        td.awaiting.set(self.awaiting);
        td.spinning_on_spin_mutex.set(self.on_spin_mutex);
        td.read_too_much.set(self.read_too_much);
        td.waited_blindly.set(self.waited_blindly);
        // SAFETY: as in `new`.
        unsafe {
            *td.read_set.get() = self.read_set;
            *td.op.get() = self.op;
            *td.operand.get() = self.operand;
        }
        announce(td, self.access);
    }
}

/// Carries out an interrupt or a tick on this CPU.
fn take(event: Event) {
    if let Some(trace) = &mut explorer(machine()).trace {
        match event {
            Event::Intr(_, irq) => {
                let name = machine().interrupts.name(Irq(irq));
                trace.note_text(machine(), Kind::Interrupt, format!("interrupt {name}"));
            }
            _ => trace.note_text(machine(), Kind::Tick, "clock tick".to_owned()),
        }
    }
    match event {
        Event::Intr(_, irq) => interrupt::deliver(Irq(irq)),
        Event::Tick(_) => interrupt::tick(),
        Event::Run(_) | Event::Pick(_) => {}
    }
}

/// The idle thread waits for an event.
#[inline(always)]
pub(crate) fn idle() {
    let td = curthread();
    td.rest.set(Rest::WAITS);
    let event = wait_for_event(Next::Idle);
    let rest = td.rest.get();
    td.rest.set(Rest::NO);
    if rest == Rest::ANEW {
        // Another execution's event brought it here.
        return;
    }
    match event {
        Event::Run(_) => {
            if let Some(trace) = &mut explorer(machine()).trace {
                trace.note_text(machine(), Kind::Idle, IDLE.to_owned());
            }
            interrupt::take_ipis();
        }
        event => take(event),
    }
}

/// A choice of `n` alternatives inside a primitive.
pub(crate) fn choose(_what: &'static str, n: usize) -> usize {
    let m = machine();
    let x = explorer(m);
    if !x.exploring || n < 2 || m.has_verdict() {
        return 0;
    }
    x.transition.chose = true;
    x.enabled.clear();
    x.enabled.extend((0..n as u16).map(Event::Pick));
    x.pick_enabled(m, curcpu().cpuid).map_or(0, |(at, _)| at)
}

/// CPU for a thread that wakes up: another than `default` costs one migration.
pub(crate) fn migrate(default: usize) -> usize {
    let m = machine();
    let x = explorer(m);
    let cpus = m.cpus.len();
    if !x.exploring || x.budget.migrations == 0 || cpus < 2 {
        return default;
    }
    let pick = choose("migrate", cpus);
    explorer(m).transition.touch(key::BUDGET, 1, pick != 0);
    if pick == 0 {
        return default;
    }
    explorer(m).budget.migrations -= 1;
    (default + pick) % cpus
}

/// Notes what lies at `at`: the running thread's next decision depends on it.
pub(crate) fn observe(at: *const (), size: usize) {
    if machine().has_verdict() {
        return;
    }
    explorer(machine()).transition.touch(at as usize, size, false);
    if matches!(size, 4 | 8) {
        return observe_part(curthread(), at, size);
    }
    let mut done = 0;
    while done < size {
        let part = 1 << (size - done).min(8).ilog2();
        observe_part(curthread(), at.wrapping_byte_add(done), part);
        done += part;
    }
}

#[inline]
fn observe_part(td: &Thread, at: *const (), size: usize) {
    // SAFETY: `explore` has one host thread, and the reference ends before the next boundary.
    let set = unsafe { td.read_set.get() };
    let value = peek(at, size);
    if let Some(seen) = set.iter_mut().find(|seen| seen.at == at && usize::from(seen.size) == size) {
        seen.value = value;
        return;
    }
    // A thread that never waits only collects. Which of the reads belong to a wait shows when it begins: see `spinwait`.
    if set.len() >= READ_SET_MAX {
        set.remove(0);
        td.read_too_much.set(true);
    }
    let seen = Observed { at, size: size as u8, value };
    if set.len() < set.capacity() {
        set.push(seen);
    } else {
        heap::aside(|| set.push(seen));
    }
}

/// Forgets what the running thread's next decision was said to depend on.
pub(crate) fn forget_observed() {
    // SAFETY: `explore` has one host thread, and the reference ends before the next boundary.
    unsafe { curthread().read_set.get().clear() };
}

/// Values that a thread's read set holds.
const READ_SET_MAX: usize = 64;

/// A plain access to memory that threads may share: a boundary, and a data race if another thread is about to make a
/// conflicting one.
///
/// `marked` is for READ_ONCE, WRITE_ONCE and atomics, which do not race with each other.
#[track_caller]
pub fn access(at: usize, size: usize, write: bool, marked: bool) {
    access_at(at, size, write, marked, Some(Loc::caller()));
}

/// [`access`] from `loc`, if that is known.
pub(crate) fn access_at(at: usize, size: usize, write: bool, marked: bool, loc: Option<Loc>) {
    if !in_explore() {
        return;
    }
    let m = machine();
    let td = curthread();
    let idle = td.is_idle() && td.intr_nesting_level.get() == 0;
    if !explorer(m).exploring || idle || on_stack(at) {
        m.malloc.check_access(at, size);
        return;
    }
    announce(td, if marked { None } else { Some((at, size, write)) });
    // SAFETY: `explore` has one host thread, and the reference ends here.
    unsafe { *td.operand.get() = Operand::access(at, size, write) };
    // By a table: with a branch there would be two boundaries.
    boundary_before(["read", "write"][usize::from(write)], 0, loc);
    announce(td, None);
    m.malloc.check_access(at, size);
    let others = if explorer(m).racers > 0 { m.threads() } else { &[] };
    for other in others {
        // SAFETY: `explore` has one host thread.
        if let Some((their_at, their_size, their_write)) = unsafe { *other.access.get() }
            && (write || their_write)
            && at < their_at + their_size
            && their_at < at + size
        {
            crate::panic::corruption(format_args!(
                "data race: {} {} what {} is about to {}",
                td.name(),
                if write { "writes" } else { "reads" },
                other.name(),
                if their_write { "write" } else { "read" }
            ));
        }
    }
    if !write {
        observe(at as *const (), size);
    }
}

/// `td` is about to make the plain access, or none any longer; returns what it was about to make.
#[inline]
fn announce(td: &Thread, access: Option<PlainAccess>) -> Option<PlainAccess> {
    // SAFETY: `explore` has one host thread, and the reference ends here.
    let before = core::mem::replace(unsafe { td.access.get() }, access);
    let racers = &mut explorer(machine()).racers;
    *racers = *racers + u32::from(access.is_some()) - u32::from(before.is_some());
    before
}

/// An atomic operation of a primitive. At `op` granularity it is part of that; at `insn` it is a boundary, unless the thread has just been
/// woken from a wait. That a value has changed is what the operation sees as well; with a boundary in between, every order of one
/// waiter's waking with another's trying would be a class of its own.
#[cold]
pub(crate) fn instruction(what: &'static str, at: usize, size: usize, write: bool) {
    if gs::word() & word::INSN == 0 {
        touch(at, size, write);
        return;
    }
    let m = machine();
    let td = curthread();
    let idle = td.is_idle() && td.intr_nesting_level.get() == 0;
    // Under the scheduler's lock no other CPU moves.
    if idle || m.has_verdict() || m.sched.lock.is_taken() {
        return;
    }
    let operand = Operand::access(at, size, write);
    // SAFETY: `explore` has one host thread, and the reference ends before the next boundary.
    unsafe { *td.operand.get() = operand };
    if !core::mem::take(&mut explorer(m).transition.woken) {
        wait_for_turn(td, Next::Primitive);
        let transition = &mut explorer(machine()).transition;
        transition.operates(operand);
        transition.repeatable = false;
        take_ipis();
    } else {
        explorer(m).transition.operates(operand);
    }
    if let Some(trace) = &mut explorer(machine()).trace {
        trace.note_instruction(machine(), what, at);
    }
}

/// The [`instruction`] that writes the word at `at` if it is `old`.
#[cold]
pub(crate) fn fcmpset(at: *const usize, old: usize) {
    let size = size_of::<usize>();
    let writes = gs::word() & word::INSN != 0 || peek(at.cast(), size) == old as u64;
    instruction("fcmpset", at as usize, size, writes);
}

/// The atomic operation that goes on found another value than it wanted, and wrote none.
pub(crate) fn only_read() {
    let transition = &mut explorer(machine()).transition;
    transition.operand = transition.operand.read();
}

/// Whether `at` lies on the running thread's stack: nobody else's business.
pub(crate) fn on_stack(at: usize) -> bool {
    // SAFETY: (h) the running thread's own context.
    unsafe { curthread().context.get() }.as_ref().is_some_and(|context| context.owns_stack_pointer(at))
}

/// The explored part begins: from here the schedule decides, and interrupts arrive.
pub fn begin() {
    if in_explore() {
        let m = machine();
        let x = explorer(m);
        x.exploring = true;
        m.only_moves.set(x.only_moves(m));
        if m.config.starvation.is_some() {
            x.block.word.or(word::STARVATION);
        }
        if m.config.granularity == Granularity::Insn {
            x.block.word.or(word::INSN);
        }
    }
}

/// The explored part ends: what follows (final checks) runs undisturbed.
pub fn end() {
    if in_explore() {
        let m = machine();
        m.only_moves.set(false);
        let x = explorer(m);
        x.exploring = false;
        x.block.word.clear(word::INSN | word::STARVATION);
    }
}

/// Waits until `td` has ended, without sleeping. Of programs that are explored exhaustively: the look at the thread's state is a primitive
/// of its own, which comes to nothing but a wait until then, so that the join adds no order of its own. Takes a CPU to itself.
pub fn join(td: &Thread) {
    access(td.state_address() as usize, 4, false, true);
    while td.state() != thread::State::Inactive {
        td.observe_running();
        if !crate::cpu::spinwait() {
            return;
        }
    }
}

fn in_explore() -> bool {
    gs::word() & (word::EXPLORE | word::STOPPED) == word::EXPLORE
}

/// What an idle thread does when the schedule moves its CPU.
const IDLE: &str = "idle";

/// What mi_switch calls the boundary of a thread that is back on a CPU.
const RESUME: &str = "resume";

impl Trace {
    /// The running thread performs `what`; what the previous step changed is now visible.
    fn note(&mut self, m: &Machine, what: &'static str, obj: usize, loc: Option<Loc>) {
        let kind = if what == RESUME { Kind::Resume } else { Kind::Primitive };
        self.note_text(m, kind, on_lock(what, obj));
        if let Some(last) = self.steps.last_mut() {
            // A guard's drop cannot tell who dropped it: the location is in the standard library.
            last.at = loc.filter(|loc| !loc.file().contains("/library/core/")).map(|loc| loc.to_string());
        }
        // An initialisation names its lock only while it runs.
        self.unnamed = (obj != 0 && !is_listed(m, obj)).then_some((what, obj));
    }

    /// An atomic operation of the primitive under way.
    fn note_instruction(&mut self, m: &Machine, what: &'static str, at: usize) {
        // SAFETY: listed locks are alive; the running thread's own field.
        let (primitive, _) = unsafe { *curthread().op.get() };
        let word = m.live_locks().iter().map(|&lock| lock as usize).find(|&lock| at == lock + size_of::<LockObject>());
        let on = word.map(crate::machine::lock_name).unwrap_or_default();
        let owner = m.threads().iter().find(|td| td.state_address() as usize == at).map(|td| td.name().to_owned());
        let on = owner.unwrap_or(on);
        self.note_text(m, Kind::Primitive, format!("{primitive}: {what} {on}").trim_end().to_owned());
    }

    fn note_text(&mut self, m: &Machine, kind: Kind, what: String) {
        self.settle(m);
        let (cpu, thread) = (curcpu().cpuid, curthread().name().to_owned());
        self.steps.push(Step { cpu, thread, what, kind, ..Step::default() });
    }

    /// The running thread's primitive spins: says on whom.
    fn spins(&mut self, m: &Machine, obj: usize) {
        self.settle(m);
        // SAFETY: listed locks are alive.
        let lock = is_listed(m, obj).then(|| unsafe { &*(obj as *const crate::lock::LockObject) });
        let owner = lock.and_then(|lock| crate::lint::owner(m, lock));
        let mut text = format!("{} spins", curthread().name());
        if let Some(owner) = owner {
            text += &match owner.is_running() {
                true => format!(" while {} owns it and runs on cpu{}", owner.name(), owner.oncpu.get()),
                false => format!(" while {} owns it and is off CPU", owner.name()),
            };
        }
        if let Some(last) = self.steps.last_mut() {
            last.changes.push(text);
        }
    }

    /// Compares threads and lock words with what they were, and charges the difference to the last step.
    fn settle(&mut self, m: &Machine) {
        let named = self.unnamed.take().filter(|&(_, obj)| is_listed(m, obj));
        let mut changes = self.fates(m);
        self.words(m, &mut changes);
        let old = core::mem::replace(&mut self.threads, m.threads().iter().map(|td| Seen::of(td)).collect());
        for ((td, old), now) in m.threads().iter().zip(&old).zip(&self.threads) {
            if td.is_idle() {
                continue;
            }
            if old.critnest != now.critnest {
                changes.push(format!("{} critnest={}", td.name(), now.critnest));
            }
            if old.priority != now.priority {
                let lent = if td.flags.get() & tdf::BORROWING != 0 { "lent, " } else { "" };
                changes.push(format!("{} priority={} ({lent}was {})", td.name(), now.priority, old.priority));
            }
        }
        let Some(last) = self.steps.last_mut() else { return };
        if let Some((what, obj)) = named {
            last.what = on_lock(what, obj);
        }
        last.changes.append(&mut changes);
        last.after = after(m);
    }

    /// Threads that left their CPU, and threads that may have one now.
    fn fates(&self, m: &Machine) -> Vec<String> {
        use thread::{State, tdi};
        let mut left = Vec::new();
        let mut came = Vec::new();
        for (at, td) in m.threads().iter().enumerate().filter(|(_, td)| !td.is_idle()) {
            let (old, now) = (self.threads.get(at).map_or(State::Inactive, |old| old.state), td.state());
            let runs_on = |cpu: i32| m.cpus.get(cpu as usize).map_or("?", |cpu| cpu.current().name());
            let fate = match (old, now) {
                (State::Running, State::RunQ) => {
                    let asked = self.steps.last().is_some_and(|last| {
                        let gives_way = ["sched_relinquish", "kern_yield", "sched_bind", "sched_unbind"];
                        last.thread == td.name() && gives_way.contains(&last.what.as_str())
                    });
                    format!("{} {}", if asked { "yields to" } else { "preempted by" }, runs_on(td.lastcpu.get()))
                }
                (State::Running, State::Inactive) => "exits".to_owned(),
                (State::Running, State::Inhibited) if td.is_on_lock() => self.blocks(m, td),
                (State::Running, State::Inhibited) if td.inhibitors.get() & tdi::IWAIT != 0 => {
                    "waits for its interrupt".to_owned()
                }
                // SAFETY: the thread sleeps.
                (State::Running, State::Inhibited) => format!("sleeps on \"{}\"", unsafe { *td.wmesg.get() }),
                (State::Inhibited, State::RunQ | State::Running) => {
                    came.push(format!("wakes {} on cpu{}", td.name(), td.tscpu.get()));
                    continue;
                }
                (State::Inactive | State::CanRun, State::RunQ | State::Running) => {
                    came.push(format!("starts {} on cpu{}", td.name(), td.tscpu.get()));
                    continue;
                }
                _ => continue,
            };
            left.push(format!("{} {fate}", td.name()));
        }
        if let Some(last) = self.steps.last().filter(|last| last.what == IDLE) {
            let runs = m.cpus[last.cpu].current();
            if !runs.is_idle() {
                came.push(format!("runs {}", runs.name()));
            }
        }
        // What it did to others comes before what became of it.
        came.append(&mut left);
        came
    }

    /// What `td` blocks on, and whom it lends its priority.
    fn blocks(&self, m: &Machine, td: &Thread) -> String {
        let lock = td.blocked_on.get();
        let text = format!("blocks on {}", crate::machine::lock_name(lock));
        let Some(owner) = crate::turnstile::owner_of(lock) else { return text };
        let at = m.threads().iter().position(|other| core::ptr::eq(&**other, owner));
        let old = at.and_then(|at| self.threads.get(at)).map_or(0, |seen| seen.priority);
        match owner.priority.get() < old {
            true => format!("{text}, lends its priority to {}", owner.name()),
            false => format!("{text}, owned by {}", owner.name()),
        }
    }

    /// Lock words that changed.
    fn words(&mut self, m: &Machine, changes: &mut Vec<String>) {
        // Where a lock was, another may be made.
        self.words.retain(|&(id, _)| is_listed(m, id));
        for &lock in m.live_locks() {
            // SAFETY: listed locks are alive; the word of a mtx, rwlock and sx follows its lock object, and so do the CPUs that
            // an rmlock's writer has to wait for.
            let word = unsafe { *lock.byte_add(24).cast::<usize>() };
            let id = lock as usize;
            match self.words.iter_mut().find(|(other, _)| *other == id) {
                Some((_, old)) if *old == word => {}
                entry => {
                    if entry.is_some() || word > 1 {
                        // SAFETY: listed locks are alive.
                        let class = unsafe { (*lock).class() };
                        changes.push(format!("{}={}", crate::machine::lock_name(id), word_text(m, class, word)));
                    }
                    match entry {
                        Some((_, old)) => *old = word,
                        None => self.words.push((id, word)),
                    }
                }
            }
        }
    }
}

/// The machine as it is between two steps.
fn after(m: &Machine) -> After {
    let threads: Vec<&Thread> = m.threads().iter().map(|td| &**td).filter(|td| !td.is_idle()).collect();
    let index = |td: &Thread| threads.iter().position(|other| core::ptr::eq(*other, td));
    let held = m.live_locks().iter().filter_map(|&lock| {
        // SAFETY: listed locks are alive.
        let (owner, readers) = unsafe { (crate::lint::owner(m, &*lock).and_then(index), readers(&*lock)) };
        let lock = || crate::machine::lock_name(lock as usize);
        (owner.is_some() || readers > 0).then(|| Held { lock: lock(), owner, readers })
    });
    let doing = |td: &Thread| match td.state() {
        thread::State::Running if td.awaiting.get() => {
            // SAFETY: the thread is at a boundary.
            let (_, obj) = unsafe { *td.op.get() };
            Doing::Spins(is_listed(m, obj).then(|| crate::machine::lock_name(obj)))
        }
        thread::State::Running => Doing::Runs,
        thread::State::RunQ | thread::State::CanRun => Doing::Waits,
        thread::State::Inhibited if td.is_on_lock() => Doing::Blocks(crate::machine::lock_name(td.blocked_on.get())),
        thread::State::Inhibited => Doing::Sleeps,
        thread::State::Inactive => Doing::Nothing,
    };
    let seen =
        |td: &&Thread| ThreadAfter { name: td.name().to_owned(), critnest: Seen::of(td).critnest, doing: doing(td) };
    After {
        cpus: m.cpus.iter().map(|cpu| index(cpu.current())).collect(),
        held: held.collect(),
        threads: threads.iter().map(seen).collect(),
    }
}

/// How many readers hold the lock, if its word says that.
fn readers(lock: &LockObject) -> usize {
    use crate::lock::LockClass;
    use crate::rwlock::{RW_LOCK_READ, RW_ONE_READER};
    // An sx lock's word is laid out as an rwlock's, but for two flags.
    let counts = matches!(lock.class(), LockClass::Rw | LockClass::Sx | LockClass::Lockmgr);
    let word = crate::lint::lock_word(lock).filter(|word| counts && word & RW_LOCK_READ != 0);
    word.map_or(0, |word| word / RW_ONE_READER)
}

/// A primitive and what it works on.
fn on_lock(what: &str, obj: usize) -> String {
    if obj == 0 { what.to_owned() } else { format!("{what}({})", crate::machine::lock_name(obj)) }
}

/// The lock at `id`, or somebody's own.
pub(crate) fn name_of(m: &Machine, id: usize) -> String {
    if is_listed(m, id) { crate::machine::lock_name(id) } else { "a lock".to_owned() }
}

/// Whether the schedule is fair, where that matters.
pub(crate) fn turns(m: &Machine) -> Option<&Turns> {
    explorer(m).turns.as_ref()
}

fn is_listed(m: &Machine, obj: usize) -> bool {
    m.live_locks().iter().any(|&lock| lock as usize == obj)
}

/// A lock word in words.
fn word_text(m: &Machine, class: crate::lock::LockClass, word: usize) -> String {
    use crate::lock::LockClass;
    use crate::{lockmgr, mutex, rwlock, sx};
    let owner = |mask: usize| {
        m.threads()
            .iter()
            .find(|td| td.ptr() as usize == word & !mask)
            .map_or("?".to_owned(), |td| td.name().to_owned())
    };
    let (mut text, flags): (String, &[(usize, &str)]) = match class {
        LockClass::MtxSpin | LockClass::MtxSleep => match word {
            mutex::MTX_UNOWNED => return "free".to_owned(),
            mutex::MTX_DESTROYED => return "destroyed".to_owned(),
            _ => {
                let flags = &[(mutex::MTX_CONTESTED, "CONTESTED"), (mutex::MTX_RECURSED, "RECURSED")];
                (owner(mutex::MTX_FLAGMASK), flags)
            }
        },
        // An sx lock's word is laid out as an rwlock's, but for two flags.
        LockClass::Rw | LockClass::Sx | LockClass::Lockmgr => {
            let flags: &[_] = match class {
                LockClass::Rw => &[
                    (rwlock::RW_LOCK_READ_WAITERS, "READ_WAITERS"),
                    (rwlock::RW_LOCK_WRITE_WAITERS, "WRITE_WAITERS"),
                    (rwlock::RW_LOCK_WRITE_SPINNER, "WRITE_SPINNER"),
                    (rwlock::RW_LOCK_WRITER_RECURSED, "WRITER_RECURSED"),
                ],
                LockClass::Lockmgr => &[
                    (lockmgr::LK_SHARED_WAITERS, "SHARED_WAITERS"),
                    (lockmgr::LK_EXCLUSIVE_WAITERS, "EXCLUSIVE_WAITERS"),
                    (lockmgr::LK_WRITER_RECURSED, "WRITER_RECURSED"),
                ],
                _ => &[
                    (sx::SX_LOCK_SHARED_WAITERS, "SHARED_WAITERS"),
                    (sx::SX_LOCK_EXCLUSIVE_WAITERS, "EXCLUSIVE_WAITERS"),
                    (sx::SX_LOCK_RECURSED, "RECURSED"),
                    (sx::SX_LOCK_WRITE_SPINNER, "WRITE_SPINNER"),
                ],
            };
            let readers = word / rwlock::RW_ONE_READER;
            let text = match word & rwlock::RW_LOCK_READ {
                0 if word & !rwlock::RW_LOCK_FLAGMASK == 0 => "destroyed".to_owned(),
                0 => owner(rwlock::RW_LOCK_FLAGMASK),
                _ if readers == 0 => "free".to_owned(),
                _ => format!("{readers} reader{}", if readers == 1 { "" } else { "s" }),
            };
            (text, flags)
        }
        _ => return format!("writecpus {word:#x}"),
    };
    for (flag, name) in flags {
        if word & flag != 0 {
            text += "|";
            text += name;
        }
    }
    text
}

/// How to run one execution.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options<'a> {
    /// Remember it step by step.
    pub trace: bool,
    /// Number of the execution.
    pub index: u64,
    /// Units whose static memory is restored first.
    pub units: &'a [Unit],
}

/// Runs `main` as thread0 of `m` under `schedule`, once.
///
/// # Panics
///
/// A Rust panic when called from inside a machine.
pub fn run(m: &Machine, schedule: &mut dyn Schedule, options: Options<'_>, main: &dyn Fn()) -> Execution {
    assert!(!crate::cpu::in_machine(), "a machine cannot run inside a machine");
    assert!(m.engine == crate::machine::Engine::Explore, "this machine was made for the smp engine");
    m.reset();
    let lease = super::units::lease(options.units);
    schedule.begin(options.index);
    let x = explorer(m);
    x.record.clear();
    x.budget = x.full_budget;
    x.steps = 0;
    x.forced = 0;
    x.passed = 0;
    x.exploring = false;
    x.running = m.cpus[0].cpumask;
    x.idle = x.all & !x.running;
    x.event = Event::Run(0);
    x.diverged = None;
    x.transition.recorded = schedule.records();
    x.looks_ahead = schedule.looks_ahead() || x.transition.recorded;
    x.transition.event = None;
    x.racers = 0;
    x.rng = schedule.lend();
    // An exhaustive search counts everything.
    x.turns = (m.config.starvation.is_some() && !x.transition.recorded).then(Turns::default);
    if let Some(turns) = &mut x.turns {
        turns.reset(m.cpus.len());
    }
    if x.transition.recorded && x.heap.is_none() {
        x.heap = heap::Lease::new();
    }
    // SAFETY: a plain call about the calling thread.
    let host = unsafe { libc::pthread_self() };
    if x.host != host {
        // A suspended frame may know where thread-local storage is, which holds on its own host thread only.
        m.end_contexts();
        x.host = host;
    }
    x.trace = options.trace.then(Trace::default);
    // SAFETY: the pointer is used only until this function returns; the lifetime is that of this call.
    x.schedule =
        Some(unsafe { core::mem::transmute::<*mut (dyn Schedule + '_), *mut (dyn Schedule + 'static)>(schedule) });
    let block = &raw const x.block;
    // SAFETY: the explorer, and its block, lives in the machine, which outlives the guard.
    let guard = unsafe {
        (*block).machine.set(core::ptr::from_ref(m).cast_mut());
        (*block).word.set(m.base_word() | if x.transition.recorded { word::RECORD } else { 0 });
        gs::Entered::new(block)
    };
    let running = super::fault::Running::new(m);
    boot(m, options.units, main);
    drive(m);
    explorer(m).end_transition(m);
    teardown(m);
    drop(running);
    drop(guard);
    drop(lease);
    let x = explorer(m);
    x.schedule = None;
    let choices = x.record.len();
    let mut trace = x.trace.take().map(|trace| trace.steps).unwrap_or_default();
    if let Some(last) = trace.last_mut()
        && last.kind == Kind::Resume
    {
        // It did nothing more, but how the machine was left is to be seen from the last step.
        let after = core::mem::take(&mut last.after);
        trace.pop();
        if let Some(last) = trace.last_mut() {
            last.after = after;
        }
    }
    let verdict =
        m.take_verdict().unwrap_or_else(|| Verdict::Error("the execution ended without a verdict".to_owned()));
    let mut execution = Execution {
        verdict,
        events: x.record[..choices].to_vec(),
        steps: x.steps,
        console: m.take_console(),
        // SAFETY: the execution is over.
        locks: core::mem::take(unsafe { m.locks_at_panic.get() }),
        trace,
        diverged: x.diverged.take(),
    };
    execution.number_addresses();
    execution
}

impl Execution {
    /// Makes the texts the same in every process; the verdict's first, so that it does not depend on what else is asked for.
    fn number_addresses(&mut self) {
        let mut addresses = super::addresses::Addresses::default();
        if let Some(message) = self.verdict.message_mut() {
            addresses.replace(message);
        }
        self.locks.iter_mut().chain(&mut self.console).for_each(|line| addresses.replace(line));
        for step in &mut self.trace {
            addresses.replace(&mut step.what);
            step.changes.iter_mut().for_each(|change| addresses.replace(change));
        }
    }
}

/// Makes the idle threads and thread0, and restores static memory.
fn boot(m: &Machine, units: &[Unit], main: &dyn Fn()) {
    let block = &explorer(m).block;
    boot_idle(m);
    let cpu = &m.cpus[0];
    block.curcpu.set(core::ptr::from_ref::<Pcpu>(cpu).cast_mut());
    // SAFETY: every context is gone when `run` returns, so nothing outlives `main`.
    let main: &'static dyn Fn() = unsafe { core::mem::transmute(main) };
    let sysinits = super::units::sysinits(units);
    let td =
        thread::create(Kthread { name: "thread0", priority: sched::pri::PUSER, flags: 0, cpu: Some(0) }, move || {
            for sysinit in sysinits {
                // SAFETY: a SYSINIT is called at boot with its own argument.
                unsafe { (sysinit.func)(sysinit.arg) };
            }
            main();
            finish();
        });
    cpu.curthread.set(td.ptr());
    td.oncpu.set(0);
    td.set_state(thread::State::Running);
}

/// Makes each CPU's idle thread and lets it be the current one.
pub(crate) fn boot_idle(m: &Machine) {
    let block = gs::block_here();
    for cpu in &m.cpus {
        // SAFETY: GS points at a live block.
        unsafe { (*block).curcpu.set(core::ptr::from_ref::<Pcpu>(cpu).cast_mut()) };
        let spec = Kthread {
            name: &cpu.idle_name,
            priority: sched::pri::PRI_MAX,
            flags: tdf::IDLETD | tdf::KPROC | tdf::PARKED,
            cpu: None,
        };
        // The first CPU begins with thread0: its idle thread comes as the scheduler switches to it.
        let idle = thread::create_idle(spec, if cpu.cpuid == 0 { Rest::ANEW } else { Rest::WAITS });
        idle.lastcpu.set(cpu.cpuid as i32);
        idle.oncpu.set(cpu.cpuid as i32);
        idle.set_state(thread::State::Running);
        cpu.idlethread.set(idle.ptr());
        cpu.curthread.set(idle.ptr());
    }
}

/// thread0's main returned: the last checks, and the verdict.
pub(crate) fn finish() -> ! {
    end();
    if let Some(text) = machine().malloc.leaks() {
        super::end(Verdict::Error(text));
    }
    // What main owned is dropped, and what `boot` captured: nothing is left to unwind, which would take longer than the execution.
    curthread().flags.or(tdf::PARKED);
    super::end(Verdict::Pass)
}

/// Resumes coroutines until the execution has its verdict.
fn drive(m: &Machine) {
    // The other CPUs' idle threads first: until one has run, its CPU is as the scheduler left it, with interrupts off.
    let mut starting = m.cpus.len();
    let mut at = start_next(m, &mut starting);
    let recorded = explorer(m).transition.recorded;
    // The block consists of cells, so that others may use it meanwhile.
    let block = gs::block_here();
    // SAFETY: GS points at the run's block.
    let block = unsafe { &*block };
    while !m.has_verdict() {
        let cpu = &m.cpus[at];
        let td = cpu.current();
        block.curcpu.set(core::ptr::from_ref::<Pcpu>(cpu).cast_mut());
        block.curthread.set(td.ptr());
        // SAFETY: (h) this loop runs the CPU.
        let context = unsafe { td.context.get() };
        let Some(context) = context else {
            m.set_verdict(Verdict::Error(NO_CONTEXT.to_owned()));
            return;
        };
        // SAFETY: (h) this loop runs the CPUs, and `run` has seen to it that the context began on this host thread.
        let stop = unsafe { if recorded { resume_recorded(m, context) } else { context.resume() } };
        // They have gone on with each other meanwhile.
        let (td, cpu) = (curthread(), curcpu());
        match stop {
            Stop::Suspended => {}
            Stop::Returned => {
                // SAFETY: (h) this loop runs the CPU, and the context has just returned.
                if let Some(context) = unsafe { td.context.get() }.take() {
                    m.end_context(td, context);
                }
            }
            stop => _ = m.set_verdict(broken(td, stop)),
        }
        let next = cpu.next.get();
        if next.is_null() && starting > 0 {
            at = start_next(m, &mut starting);
        } else if next.is_null() {
            at = explorer(m).event.cpu().unwrap_or(at);
        } else {
            cpu.next.set(core::ptr::null_mut());
            // SAFETY: threads are type-stable.
            sched::finish_switch(cpu, unsafe { &*next });
            at = cpu.cpuid;
        }
    }
}

/// The next CPU to start, downwards from `at`: the first one, or one whose idle thread does not yet wait for an event, as an earlier
/// execution's does.
fn start_next(m: &Machine, at: &mut usize) -> usize {
    loop {
        *at -= 1;
        if *at == 0 || m.cpus[*at].current().rest.get() == Rest::NO {
            return *at;
        }
        // The boundary at which it would have begun to wait.
        explorer(m).steps += 1;
    }
}

/// [`Context::resume`], with what the context allocates from the search's heap.
///
/// # Safety
///
/// As for that.
unsafe fn resume_recorded(m: &Machine, context: &Context) -> Stop {
    let used = |on| {
        if let Some(heap) = &explorer(m).heap {
            heap.used(on);
        }
    };
    used(true);
    // SAFETY: the caller's promise.
    let stop = unsafe { context.resume() };
    used(false);
    stop
}

/// The error of a machine that has nothing to resume.
pub(crate) const NO_CONTEXT: &str = "a thread without a context was to run";

/// The verdict on a machine whose thread `td` came to such an end.
#[cold]
pub(crate) fn broken(td: &Thread, stop: Stop) -> Verdict {
    let name = td.name();
    if stop == Stop::Faulted {
        return Verdict::Error(format!("{} in thread {name}", super::fault::take_message()));
    }
    // SAFETY: the running thread's own context.
    let panic = unsafe { td.context.get() }.as_ref().and_then(Context::take_panic);
    let text = panic.as_deref().and_then(|panic| {
        panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str))
    });
    Verdict::Error(format!("Rust panic in thread {name}: {}", text.unwrap_or("a panic without a text")))
}

/// Drops what the threads have on their stacks, under SCHEDULER_STOPPED.
pub(crate) fn teardown(m: &Machine) {
    let block = gs::block_here();
    // SAFETY: GS points at the run's block.
    let block = unsafe { &*block };
    block.word.or(word::STOPPED);
    if let Some(trace) = (m.engine == crate::machine::Engine::Explore).then(|| explorer(m).trace.as_mut()).flatten() {
        trace.settle(m);
    }
    let count = m.threads().len();
    for at in 0..count {
        let td: &Thread = &m.threads()[at];
        if m.engine == Engine::Explore && thread::keeps_context(td) {
            continue;
        }
        // SAFETY: the execution is over; (h) this host thread ends every context.
        if let Some(context) = unsafe { td.context.get() }.take() {
            td.unwinding.set(true);
            block.curthread.set(td.ptr());
            m.end_context(td, context);
        }
    }
    block.curthread.set(core::ptr::null_mut());
}
