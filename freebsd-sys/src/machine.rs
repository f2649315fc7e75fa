//! A machine: the virtual CPUs, threads and tables of one emulated kernel.
//!
//! Everything hangs off the machine, so that several live in one process. A machine is booted once and runs many executions;
//! between them it resets what they dirtied and keeps its memory.

use crate::atomic::{Guarded, Line, RawWord};
use crate::cpu::{MAXCPU, Pcpu};
use crate::host::coroutine::{Context, StackPool};
use crate::host::explore::Explorer;
use crate::host::explore::state::Hash;
use crate::host::gs::word;
use crate::host::heap;
use crate::lock::{ChainLock, LockObject};
use crate::module::Values;
use crate::thread::{Flag, Thread};
use core::ffi::c_void;
use core::fmt;

/// How sched_shouldpreempt decides, `kern.sched.preempt_thresh`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Preemption {
    /// ULE's default: only priorities up to PRI_MIN_KERN preempt.
    #[default]
    Ule,
    /// Options FULL_PREEMPTION: any better priority does.
    Full,
    /// A tick preempts at any boundary: finds more, and may be more than a FreeBSD kernel does.
    Any,
}

impl Preemption {
    /// The name used on the command line and in schedules.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ule => "ule",
            Self::Full => "full",
            Self::Any => "any",
        }
    }

    /// The inverse of [`Preemption::name`].
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Ule, Self::Full, Self::Any].into_iter().find(|p| p.name() == name)
    }
}

/// What is one transition in `explore`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Granularity {
    /// A kernel primitive.
    #[default]
    Op,
    /// An atomic operation: of a lock's word, of a chain lock, a look at whether a lock's owner runs. What happens under the
    /// scheduler's lock stays one, and rmlock(9), whose writer `explore` helps, is explored as at `Op`.
    Insn,
}

impl Granularity {
    /// Its name on the command line and in schedules.
    pub fn name(self) -> &'static str {
        match self {
            Self::Op => "op",
            Self::Insn => "insn",
        }
    }

    /// The inverse of [`Granularity::name`].
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Op, Self::Insn].into_iter().find(|granularity| granularity.name() == name)
    }
}

/// Events that a schedule may insert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Clock ticks.
    pub ticks: u32,
    /// Interrupts of sources that come at any time.
    pub interrupts: u32,
    /// Wake-ups on another CPU than the default one.
    pub migrations: u32,
}

impl Budget {
    /// Whether it allows whatever `other` does.
    pub fn covers(self, other: Self) -> bool {
        self.ticks >= other.ticks && self.interrupts >= other.interrupts && self.migrations >= other.migrations
    }
}

impl Default for Budget {
    fn default() -> Self {
        Self { ticks: 2, interrupts: 2, migrations: 1 }
    }
}

/// Which engine drives the CPUs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// One host thread; a schedule decides at each boundary.
    Explore,
    /// A host thread per virtual CPU, real time.
    Smp,
}

/// A machine's options.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Virtual CPUs, 1 to [`MAXCPU`].
    pub cpus: usize,
    /// Options INVARIANTS.
    pub invariants: bool,
    /// Options WITNESS.
    pub witness: bool,
    /// Reports what FreeBSD itself does not detect.
    pub lint: bool,
    /// Options LOCK_PROFILING: see [`crate::lock_profile`].
    pub profile: bool,
    /// Preemption.
    pub preemption: Preemption,
    /// Options EPOCH_TRACE: see [`crate::epoch`].
    pub epoch_trace: bool,
    /// `hw.intr_storm_threshold`: interrupts back to back after which a source is throttled; 0 for never. See [`crate::interrupt`].
    pub intr_storm_threshold: u32,
    /// Without options NO_ADAPTIVE_MUTEXES, NO_ADAPTIVE_RWLOCKS and NO_ADAPTIVE_SX: whoever finds a lock's owner running spins.
    pub adaptive: bool,
    /// `explore`: a waiter that is overtaken more often than this is the verdict starvation. See [`crate::host::starvation`].
    pub starvation: Option<u32>,
    /// What is a transition in `explore`.
    pub granularity: Granularity,
    /// Budget of a schedule.
    pub budget: Budget,
    /// Boundaries after which an execution that has not ended is an error.
    pub step_limit: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            cpus: 2,
            invariants: true,
            witness: true,
            lint: false,
            profile: false,
            preemption: Preemption::Ule,
            epoch_trace: false,
            intr_storm_threshold: 0,
            adaptive: true,
            starvation: None,
            granularity: Granularity::Op,
            budget: Budget::default(),
            step_limit: 20_000,
        }
    }
}

/// How an execution ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Everything ran to its end.
    Pass,
    /// FreeBSD's panic, with its text.
    Panic(String),
    /// Blocked threads with nobody left to wake them.
    Deadlock(String),
    /// Nothing can move except by spinning on values that nothing pending can change.
    Livelock(String),
    /// A waiter was overtaken too often.
    Starvation(String),
    /// Torn data, a broken invariant, or a data race.
    Corruption(String),
    /// Not the kernel's doing: a Rust panic or a fault in driver code, no progress, a leak in the harness.
    Error(String),
}

impl Verdict {
    /// The verdict's name in tables and JSON.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Panic(_) => "panic",
            Self::Deadlock(_) => "deadlock",
            Self::Livelock(_) => "livelock",
            Self::Starvation(_) => "starvation",
            Self::Corruption(_) => "corruption",
            Self::Error(_) => "error",
        }
    }

    /// The message; empty for a pass.
    pub fn message(&self) -> &str {
        match self {
            Self::Pass => "",
            Self::Panic(m)
            | Self::Deadlock(m)
            | Self::Livelock(m)
            | Self::Starvation(m)
            | Self::Corruption(m)
            | Self::Error(m) => m,
        }
    }
}

impl Verdict {
    pub(crate) fn message_mut(&mut self) -> Option<&mut String> {
        match self {
            Self::Pass => None,
            Self::Panic(m)
            | Self::Deadlock(m)
            | Self::Livelock(m)
            | Self::Starvation(m)
            | Self::Corruption(m)
            | Self::Error(m) => Some(m),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pass => f.write_str("pass"),
            other => write!(f, "{}: {}", other.name(), other.message()),
        }
    }
}

/// Static memory of a compiled unit, restored before each execution, and its SYSINITs.
#[derive(Debug, Clone, Copy)]
pub struct Unit {
    /// Its name.
    pub name: &'static str,
    /// Start and end of its writable section.
    pub data: (*mut u8, *mut u8),
    /// Its linker set of SYSINITs, called at boot.
    pub sysinits: &'static [Sysinit],
}

// SAFETY: they are addresses; who uses the memory there leases the unit first.
unsafe impl Send for Unit {}
// SAFETY: as above.
unsafe impl Sync for Unit {}

/// A SYSINIT: `struct lkpi_sysinit` of `linuxkpi/include/sys/kernel.h`.
#[repr(C, align(32))]
#[derive(Debug, Clone, Copy)]
pub struct Sysinit {
    /// The function.
    pub func: unsafe extern "C-unwind" fn(*mut c_void),
    /// Its argument.
    pub arg: *mut c_void,
    /// `SI_SUB_*`: lower ones are called first.
    pub subsystem: u32,
    /// `SI_ORDER_*`, within the subsystem.
    pub order: u32,
}

const _: () = assert!(size_of::<Sysinit>() == 32);

// SAFETY: an entry is constant; what its argument points at is used by the machine that leases the unit.
unsafe impl Send for Sysinit {}
// SAFETY: as above.
unsafe impl Sync for Sysinit {}

/// Most kernel threads of a machine at a time: FreeBSD's `kern.maxthread` of a small system.
const MAXTHREADS: usize = 4096;

/// Kernel threads that `smp` makes before it uses one again that has ended.
const THREADS_BEFORE_REUSE: usize = 64;

/// One emulated kernel.
#[derive(Debug)]
pub struct Machine {
    pub(crate) config: Config,
    pub(crate) engine: Engine,
    #[expect(
        clippy::vec_box,
        reason = "a CPU writes its own structure all the time: apart, they do not share cache lines"
    )]
    pub(crate) cpus: Vec<Box<Pcpu>>,
    /// (stack_lock) All threads ever made. Never grows beyond its first capacity, so that others can look meanwhile.
    #[expect(clippy::vec_box, reason = "threads are type-stable: referred to while the table grows")]
    threads: Guarded<Vec<Box<Thread>>>,
    /// Where `threads` begins; the first `live` are in use.
    first_thread: *const Box<Thread>,
    live: RawWord,
    pub(crate) sched: Line<crate::sched::Sched>,
    pub(crate) turnstiles: Line<crate::turnstile::Turnstiles>,
    pub(crate) sleepqueues: Line<crate::sleepqueue::Sleepqueues>,
    pub(crate) interrupts: crate::interrupt::Interrupts,
    pub(crate) witness: crate::witness::Witness,
    pub(crate) callouts: crate::callout::Callouts,
    pub(crate) malloc: crate::malloc::Arena,
    pub(crate) rendezvous: crate::rmlock::Rendezvous,
    pub(crate) smp_rv: crate::smp::Rendezvous,
    pub(crate) giant: crate::giant::Giant,
    pub(crate) modules: Values,
    pub(crate) profile: crate::lock_profile::Profile,
    console_lock: ChainLock,
    /// (console_lock)
    console: Guarded<Vec<String>>,
    /// (console_lock) First verdict of the execution.
    verdict: Guarded<Option<Verdict>>,
    /// (console_lock) `show alllocks` at the panic.
    pub(crate) locks_at_panic: Guarded<Vec<String>>,
    /// (console_lock) Copies of locks that went while somebody held them.
    #[expect(clippy::vec_box, reason = "a list of held locks points into each")]
    pub(crate) freed_locks: Guarded<Vec<Box<LockObject>>>,
    /// Locks initialised in this execution, for traces and descriptions; (console_lock).
    locks: Guarded<Vec<*const LockObject>>,
    /// `explore`: the next event is a move of a CPU, and only the schedule wants to know of it.
    pub(crate) only_moves: Flag,
    /// (explore) only its host thread.
    pub(crate) explorer: Guarded<Explorer>,
    stack_lock: ChainLock,
    /// (stack_lock)
    pub(crate) stacks: Guarded<StackPool>,
    pub(crate) smp: crate::host::smp::Shared,
}

// SAFETY: a machine is shared by its CPUs' host threads; each field names the lock or the phase that guards it.
unsafe impl Sync for Machine {}
// SAFETY: no field depends on the host thread that made it.
unsafe impl Send for Machine {}

impl Machine {
    /// A machine that will be driven by `engine`.
    ///
    /// # Panics
    ///
    /// A Rust panic if `config.cpus` is not in 1..=[`MAXCPU`].
    pub fn new(config: Config, engine: Engine) -> Box<Self> {
        assert!((1..=MAXCPU).contains(&config.cpus), "a machine has 1 to {MAXCPU} CPUs, not {}", config.cpus);
        crate::host::fault::install();
        let cpus = (0..config.cpus).map(|id| Box::new(Pcpu::new(id))).collect();
        let threads: Vec<Box<Thread>> = Vec::with_capacity(MAXTHREADS);
        Box::new(Self {
            explorer: Guarded::new(Explorer::new(&config)),
            malloc: crate::malloc::Arena::new(engine),
            config,
            engine,
            cpus,
            first_thread: threads.as_ptr(),
            threads: Guarded::new(threads),
            live: RawWord::new(0),
            sched: Line(crate::sched::Sched::new()),
            turnstiles: Line(crate::turnstile::Turnstiles::new()),
            sleepqueues: Line(crate::sleepqueue::Sleepqueues::new()),
            interrupts: crate::interrupt::Interrupts::new(),
            witness: crate::witness::Witness::new(),
            callouts: crate::callout::Callouts::new(),
            rendezvous: crate::rmlock::Rendezvous::new(),
            smp_rv: crate::smp::Rendezvous::new(),
            giant: crate::giant::Giant::new(),
            modules: Values::new(),
            profile: crate::lock_profile::Profile::new(),
            console_lock: ChainLock::new(),
            console: Guarded::new(Vec::new()),
            verdict: Guarded::new(None),
            locks_at_panic: Guarded::new(Vec::new()),
            freed_locks: Guarded::new(Vec::new()),
            locks: Guarded::new(Vec::new()),
            only_moves: Flag::new(),
            stack_lock: ChainLock::new(),
            stacks: Guarded::new(StackPool::default()),
            smp: crate::host::smp::Shared::new(),
        })
    }

    /// The machine's options.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The seam's word of a running machine without pending work.
    pub(crate) fn base_word(&self) -> u32 {
        let mut w = 0;
        if self.engine == Engine::Explore {
            w |= word::EXPLORE;
        }
        if self.config.invariants {
            w |= word::INVARIANTS;
        }
        if self.config.witness {
            w |= word::WITNESS;
        }
        if self.config.lint {
            w |= word::LINT;
        }
        if self.config.profile {
            w |= word::PROFILE;
        }
        if self.config.epoch_trace {
            w |= word::EPOCH_TRACE;
        }
        w
    }

    /// Forgets an execution.
    pub(crate) fn reset(&self) {
        for cpu in &self.cpus {
            cpu.reset();
        }
        self.sched.queued.set(0);
        self.only_moves.set(false);
        self.live.set(0);
        for lock in [&self.sched.lock, &self.console_lock, &self.stack_lock] {
            lock.unlock_raw();
        }
        self.turnstiles.reset();
        self.sleepqueues.reset();
        self.interrupts.reset();
        self.witness.reset();
        self.callouts.reset();
        self.malloc.reset();
        self.rendezvous.reset();
        self.smp_rv.reset();
        self.giant.reset();
        self.modules.reset();
        self.profile.reset();
        // SAFETY: between executions nobody else is running.
        unsafe {
            self.console.get().clear();
            *self.verdict.get() = None;
            self.locks_at_panic.get().clear();
            self.freed_locks.get().clear();
            self.locks.get().clear();
        }
    }

    /// What happens next depends on it: see [`mod@crate::host::explore::state`].
    pub(crate) fn state(&self, h: &mut Hash) {
        h.address(self.live.read());
        h.bytes_of(&self.sched);
        self.turnstiles.state(h);
        self.sleepqueues.state(h);
        h.bytes_of(&self.interrupts);
        self.callouts.state(h);
        self.malloc.state(h);
        h.bytes_of(&self.rendezvous);
        h.bytes_of(&self.smp_rv);
        h.bytes_of(&self.giant);
        h.bytes_of(&self.modules);
        // SAFETY: (console_lock) all threads are suspended.
        unsafe { self.freed_locks.get() }.iter().for_each(|lock| h.bytes_of(&**lock));
    }

    /// Whether `at` lies in something that [`Machine::state`] and [`mod@crate::host::explore::state`] know of.
    pub(crate) fn contains(&self, at: usize) -> bool {
        fn within<T>(thing: &T, at: usize) -> bool {
            at.wrapping_sub(core::ptr::from_ref(thing) as usize) < size_of::<T>()
        }
        let stack = |td: &Thread| {
            // SAFETY: `explore` has one host thread.
            unsafe { td.context.get() }.as_ref().is_some_and(|context| context.owns_stack_pointer(at))
        };
        within(self, at)
            || self.malloc.contains(at)
            || self.cpus.iter().any(|cpu| within(&**cpu, at))
            || self.threads().iter().any(|td| within(&**td, at) || stack(td))
    }

    /// A thread structure to use.
    pub(crate) fn alloc_thread(&self) -> &'static Thread {
        self.stack_lock.lock_raw();
        // A thread that has ended is used again in `smp`, where runs are long; but late, so that who still has its address (a lock
        // whose owner is gone) does not meet somebody else.
        let reuse = self.engine == Engine::Smp && self.live.read() >= THREADS_BEFORE_REUSE;
        let free = if reuse { self.threads().iter().find(|td| td.ended.take() != 0) } else { None };
        let td: Option<&Thread> = match free {
            Some(td) => Some(td),
            None => {
                // SAFETY: (stack_lock)
                let threads = unsafe { self.threads.get() };
                let at = self.live.read();
                if at < threads.len() || at < MAXTHREADS {
                    if at == threads.len() {
                        add_thread(threads);
                    }
                    self.live.store_rel(at + 1);
                    Some(&threads[at])
                } else {
                    None
                }
            }
        };
        // SAFETY: boxes do not move when the table grows, and live as long as the machine.
        let td = td.map(|td| unsafe { &*core::ptr::from_ref(td) });
        self.stack_lock.unlock_raw();
        let Some(td) = td else {
            crate::host::end(Verdict::Error(format!("more than {MAXTHREADS} kernel threads at a time")));
        };
        td
    }

    /// Threads of this execution.
    pub(crate) fn threads(&self) -> &[Box<Thread>] {
        // SAFETY: the table never moves, and its first `live` entries are not written again.
        unsafe { core::slice::from_raw_parts(self.first_thread, self.live.load_acq()) }
    }

    /// A context that runs `body` as `td`.
    pub(crate) fn new_context(&self, td: &'static Thread, body: impl FnOnce() + Send + 'static) -> Context {
        self.stack_lock.lock_raw();
        // SAFETY: (stack_lock)
        let pool = unsafe { self.stacks.get() };
        let context = Context::new(pool, move || {
            // fork_exit: the new thread drops what mi_switch held for it.
            crate::critical::spinlock_exit_internal();
            if td.flags.get() & crate::thread::tdf::KPROC != 0 {
                // The kernel's own begin by a look at what they are to do. What others do up to their first boundary is nobody else's
                // business: one here would only repeat each schedule.
                crate::sched::resumed();
            }
            body();
            if crate::sched::explored() {
                crate::host::explore::met_a_boundary();
            }
            crate::sched::thread_exit();
        });
        self.stack_lock.unlock_raw();
        td.control.set(core::ptr::from_ref(context.control()).cast_mut());
        context
    }

    /// Ends `td`'s context, unwinding it if it has frames to drop.
    pub(crate) fn end_context(&self, td: &Thread, context: Context) {
        td.control.set(core::ptr::null_mut());
        let parked = td.flags.get() & (crate::thread::tdf::PARKED | crate::thread::tdf::DISCARD) != 0;
        // SAFETY: (h) the host loop that ran it calls this.
        let pool = || unsafe { self.stacks.get() };
        // What unwinding drops may take locks, so it goes without this one; but then the machine has stopped, and this host thread is
        // alone. A thread that ended by itself has nothing to unwind, and other CPUs use the pool meanwhile.
        if parked || context.done() {
            self.stack_lock.lock_raw();
            context.discard(pool());
            self.stack_lock.unlock_raw();
        } else {
            context.unwind(pool());
        }
    }

    /// Between executions: ends the contexts that the last one kept.
    pub(crate) fn end_contexts(&self) {
        // SAFETY: between executions nobody else is running.
        for td in unsafe { self.threads.get() } {
            // SAFETY: as above.
            if let Some(context) = unsafe { td.context.get() }.take() {
                self.end_context(td, context);
            }
        }
    }

    /// Adds a line to the console.
    pub(crate) fn console(&self, line: String) {
        self.console_lock.lock_raw();
        // SAFETY: (console_lock) is held.
        unsafe { self.console.get().push(line) };
        self.console_lock.unlock_raw();
    }

    /// Takes what the execution printed.
    pub(crate) fn take_console(&self) -> Vec<String> {
        // SAFETY: after the execution.
        unsafe { core::mem::take(self.console.get()) }
    }

    /// Records how the execution ends; the first one counts. Returns whether it was the first.
    pub(crate) fn set_verdict(&self, verdict: Verdict) -> bool {
        self.console_lock.lock_raw();
        // SAFETY: (console_lock) is held.
        let slot = unsafe { self.verdict.get() };
        let first = slot.is_none();
        if first {
            *slot = Some(verdict);
            // Nothing comes after it.
            self.only_moves.set(false);
        }
        self.console_lock.unlock_raw();
        first
    }

    /// Whether the execution has its verdict.
    pub(crate) fn has_verdict(&self) -> bool {
        // SAFETY: a stale answer is corrected at the next boundary.
        unsafe { self.verdict.get().is_some() }
    }

    /// Whether the verdict is a panic.
    pub(crate) fn has_panicked(&self) -> bool {
        // SAFETY: asked when no CPU runs.
        matches!(unsafe { self.verdict.get() }, Some(Verdict::Panic(_)))
    }

    /// Takes the verdict.
    pub(crate) fn take_verdict(&self) -> Option<Verdict> {
        // SAFETY: after the execution.
        unsafe { self.verdict.get().take() }
    }

    /// At a panic: what each thread holds, like ddb's `show alllocks`.
    pub(crate) fn note_panic_state(&self) {
        let lines = crate::witness::show_alllocks(self);
        self.console_lock.lock_raw();
        // SAFETY: (console_lock) is held.
        let slot = unsafe { self.locks_at_panic.get() };
        if slot.is_empty() {
            *slot = lines;
        }
        self.console_lock.unlock_raw();
    }

    /// A lock was initialised.
    pub(crate) fn lock_born(&self, lock: &LockObject) {
        if self.engine == Engine::Explore {
            // SAFETY: `explore` has one host thread.
            let locks = unsafe { self.locks.get() };
            let lock = core::ptr::from_ref(lock);
            if !locks.contains(&lock) {
                heap::aside(|| locks.push(lock));
            }
        }
    }

    /// A lock was destroyed.
    pub(crate) fn lock_died(&self, lock: &LockObject) {
        self.unlist_locks(lock.id(), 1);
    }

    /// Memory is about to be freed: the locks in it go.
    pub(crate) fn locks_in_freed(&self, start: usize, size: usize) {
        crate::witness::freed(start..start + size);
        self.unlist_locks(start, size);
    }

    /// No lock that begins in this memory is listed any more.
    pub(crate) fn unlist_locks(&self, start: usize, size: usize) {
        if self.engine == Engine::Explore {
            // SAFETY: `explore` has one host thread.
            unsafe { self.locks.get() }.retain(|&lock| !(start..start + size).contains(&(lock as usize)));
        }
    }

    /// Keeps a copy of a lock that goes while somebody holds it, until the execution is over.
    pub(crate) fn remember(&self, lock: &LockObject) -> *const LockObject {
        heap::aside(|| {
            let copy = Box::new(lock.remembered());
            let at = core::ptr::from_ref(&*copy);
            self.console_lock.lock_raw();
            // SAFETY: (console_lock) is held.
            unsafe { self.freed_locks.get() }.push(copy);
            self.console_lock.unlock_raw();
            at
        })
    }

    /// Locks that live now, in order of initialisation.
    pub(crate) fn live_locks(&self) -> &[*const LockObject] {
        // SAFETY: `explore` has one host thread.
        unsafe { self.locks.get() }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.end_contexts();
    }
}

/// A further thread for the table.
// Apart: the thread is made on the stack.
#[cold]
#[inline(never)]
#[expect(clippy::vec_box, reason = "as in `Machine`")]
fn add_thread(threads: &mut Vec<Box<Thread>>) {
    heap::aside(|| threads.push(Box::new(Thread::new(100_001 + threads.len()))));
}

/// The name of the lock object at `id`, with its number among the execution's locks where it is listed.
pub(crate) fn lock_name(id: usize) -> String {
    let m = crate::cpu::machine();
    // SAFETY: `id` is the address of a live lock object: what primitives name as their object, and what threads block on.
    let name = unsafe { (*(id as *const LockObject)).name() };
    match m.live_locks().iter().position(|&lock| lock as usize == id) {
        Some(at) => format!("{name}#{at}"),
        None => name.to_owned(),
    }
}
