//! The `explore` engine: all virtual CPUs on one host thread; at each boundary a [`Schedule`] decides what happens next.
//!
//! A boundary asks which event comes: a CPU performs its next primitive, an interrupt arrives, the clock ticks. If it is this
//! CPU's move, the primitive just goes on; otherwise the coroutine switches to the other CPU's. A
//! thread in `spinwait` is disabled until a value that it read has changed, so endless spinning costs nothing and is recognised:
//! when nothing is enabled, nothing pending can change that, and somebody spins, the execution is a livelock.
//!
//! Sequentially consistent, deterministic, virtual time.
//!
//! Here is an execution from its boot to its end; in `boundary` what threads do at one, in `moves` which event comes, in `transition` what
//! it touches, in `stuck` why none comes, and in `trace` how a replay is told.
//!
//! An idle thread that waits in its loop at the end of an execution waits there for the next one's first event: nothing is on its
//! stack that belongs to an execution.

mod boundary;
mod moves;
pub(crate) mod state;
mod stuck;
mod trace;
mod transition;

pub use boundary::access;
pub(crate) use boundary::{
    FORK_EXIT, access_at, boundary, exit_to, fcmpset, idle, instruction, met_a_boundary, on_stack, only_read, spinwait,
    switch_to, tick,
};
pub(crate) use moves::{choose, migrate, turns};
pub use state::State;
pub(crate) use state::state;
pub(crate) use stuck::{busy, hang};
pub(crate) use trace::name_of;
pub use trace::{After, Doing, Held, Kind, Step, ThreadAfter};
pub(crate) use transition::{forget_observed, forget_operand, observe, pending, touch};

use super::coroutine::{Context, Stop};
use super::footprint::Footprint;
use super::gs::{self, Block, word};
use super::heap;
use super::schedule::{Diverged, Event, Rng, Schedule};
use super::starvation::Turns;
use crate::cpu::{Pcpu, curcpu, machine};
use crate::machine::{Budget, Config, Engine, Granularity, Machine, Unit, Verdict};
use crate::sched;
use crate::thread::{self, Kthread, Rest, Thread, curthread, tdf};
use core::ops::Range;
use trace::Trace;
use transition::Transition;

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
    /// The schedule compares states: whoever comes to a boundary suspends itself there, so that a thread looks the same whether it moved last
    /// or not, and the loop asks.
    compares: bool,
    /// What the loop is to ask: see [`Explorer::next_event`].
    asks: Option<(usize, moves::Next)>,
    /// What the threads share that they did not allocate.
    memory: Vec<Range<usize>>,
    /// They have touched something that is in no state.
    beyond: bool,
    /// The thread that has ended last while exploring: its stack may be used until another one ends.
    exited: Option<&'static Thread>,
    /// The host thread that ran the last execution; 0 before the first.
    host: libc::pthread_t,
    block: Block,
}

// `Option<*mut dyn Schedule>` is why this is by hand.
impl core::fmt::Debug for Explorer {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Explorer").field("steps", &self.steps).field("event", &self.event).finish_non_exhaustive()
    }
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
            transition: Transition { footprint: Footprint::with_room(), ..Transition::default() },
            heap: None,
            turns: None,
            compares: false,
            asks: None,
            memory: Vec::new(),
            beyond: false,
            exited: None,
            host: 0,
            block: Block::new(0),
        }
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

#[expect(clippy::mut_from_ref, reason = "explore has one host thread, and no reference outlives a suspension")]
fn explorer(m: &Machine) -> &mut Explorer {
    // SAFETY: one host thread; callers do not keep the reference across a switch.
    unsafe { m.explorer.get() }
}

/// The counter that shows the watchdog an execution's progress.
pub(crate) fn progress(m: &Machine) -> *const u64 {
    &raw const explorer(m).steps
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

/// How to run one execution.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options<'a> {
    /// Remember it step by step.
    pub trace: bool,
    /// Number of the execution.
    pub index: u64,
    /// Units whose static memory is restored first.
    pub units: &'a [Unit],
    /// What else the threads share that they did not allocate, for schedules that compare states. Nobody else uses it. Padding counts:
    /// where it differs from one execution's beginning to the next, states do.
    pub memory: &'a [Range<usize>],
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
    x.compares = x.transition.recorded && schedule.compares_states();
    x.asks = None;
    x.memory.clear();
    x.beyond = false;
    if x.compares {
        x.memory.extend(options.units.iter().map(|unit| unit.data.0 as usize..unit.data.1 as usize));
        x.memory.extend_from_slice(options.memory);
    }
    x.exited = None;
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
    if x.host != host || x.compares {
        // A suspended frame may know where thread-local storage is, which holds on its own host thread only.
        m.end_contexts();
        x.host = host;
    }
    if x.compares {
        // The same threads get the same stacks.
        // SAFETY: (stack_lock) nobody is running.
        unsafe { m.stacks.get() }.tidy();
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
    let mut trace = x
        .trace
        .take()
        .map(|mut trace| {
            trace.find_callers();
            trace.steps
        })
        .unwrap_or_default();
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
    /// `run`'s main. It need not be `Sync`, as that of `smp` must.
    struct Main(&'static dyn Fn());
    // SAFETY: all kernel threads of a machine run on the host thread that called `run`.
    unsafe impl Send for Main {}
    impl Main {
        fn call(&self) {
            (self.0)();
        }
    }
    // SAFETY: every context is gone when `run` returns, so nothing outlives `main`.
    let main = Main(unsafe { core::mem::transmute::<&dyn Fn(), &'static dyn Fn()>(main) });
    let sysinits = super::units::sysinits(units);
    let td =
        thread::create(Kthread { name: "thread0", priority: sched::pri::PUSER, flags: 0, cpu: Some(0) }, move || {
            for sysinit in sysinits {
                // SAFETY: a SYSINIT is called at boot with its own argument.
                unsafe { (sysinit.func)(sysinit.arg) };
            }
            main.call();
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
        if let Some((cpu, what)) = explorer(m).asks.take() {
            // SAFETY: (h) this loop runs the CPU.
            if let Some(context) = unsafe { td.context.get() } {
                context.wipe_unused();
            }
            // If there is no next event there is a verdict.
            _ = explorer(m).next_event(m, &m.cpus[cpu], what);
        }
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
