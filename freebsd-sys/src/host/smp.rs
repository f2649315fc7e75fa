//! The `smp` engine: a host thread per virtual CPU, real time.
//!
//! Kernel threads switch and migrate between host threads in nanoseconds. A clock thread ticks every millisecond and raises the
//! interrupts that may come at any time; they are taken at boundaries. An idle CPU sleeps in futex(2).

use super::coroutine::Stop;
use super::explore;
use super::gs::{self, Block, word};
use crate::atomic::{AtomicBool, AtomicU64, Guarded, Ordering, Shared32};
use crate::cpu::{Pcpu, curcpu, machine, pending};
use crate::interrupt::Irq;
use crate::lock_profile::Row;
use crate::machine::{Engine, Machine, Unit, Verdict};
use crate::sched;
use crate::thread::{self, Kthread, Thread, tdf};
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

/// A clock tick, `1/hz`.
const TICK: Duration = Duration::from_millis(1);

/// What the CPUs of a run share on the host side.
#[derive(Debug)]
pub(crate) struct Shared {
    stopped: AtomicBool,
    /// The clock ended the run.
    hung: AtomicBool,
    /// Wakes the clock thread when the run ends.
    ended: (Mutex<bool>, Condvar),
    /// CPU for the next new thread.
    next_place: Shared32,
    /// Seed of the interrupts' times.
    seed: AtomicU64,
    #[expect(clippy::vec_box, reason = "GS points at the blocks, which must not move while the table grows")]
    blocks: Guarded<Vec<Box<Block>>>,
}

impl Shared {
    pub(crate) fn new() -> Self {
        Self {
            stopped: AtomicBool::new(false),
            hung: AtomicBool::new(false),
            ended: (Mutex::new(false), Condvar::new()),
            next_place: Shared32::new(0),
            seed: AtomicU64::new(1),
            blocks: Guarded::new(Vec::new()),
        }
    }
}

/// `cpu_spinwait()`: a pause, and now and then the host's processor for somebody else.
#[inline]
pub(crate) fn relax() {
    core::hint::spin_loop();
    if gs::word() & word::OUTSIDE != 0 {
        // The host's own threads (the clock) share a block that nobody may write.
        return;
    }
    // SAFETY: GS points at a live block.
    let relaxed = unsafe { &(*gs::block_here()).relaxed };
    relaxed.add(1);
    if relaxed.get().is_multiple_of(512) {
        if !gs::curcpu().is_null() {
            progressed();
        }
        // SAFETY: a plain system call.
        unsafe { libc::sched_yield() };
    }
}

/// The watchdog sees that this CPU lives.
pub(crate) fn progressed() {
    let progress = &curcpu().progress;
    progress.set(progress.get().wrapping_add(1));
}

/// Wakes the CPU if it sleeps in the host.
pub(crate) fn wake(cpu: &Pcpu) {
    if cpu.asleep.take() != 0 {
        // SAFETY: the word lives as long as the machine.
        unsafe { libc::syscall(libc::SYS_futex, cpu.asleep.as_ptr(), libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG, 1) };
    }
}

/// The idle thread waits until something is posted, or a tick.
pub(crate) fn idle() {
    let cpu = curcpu();
    // Work that arrives within a few microseconds is cheaper to wait for than to sleep.
    for _ in 0..200 {
        if gs::word() & (word::PENDING | word::STOPPED) != 0 || sched::runnable(cpu) {
            break;
        }
        core::hint::spin_loop();
    }
    if gs::word() & (word::PENDING | word::STOPPED) == 0 && !sched::runnable(cpu) {
        cpu.asleep.set(1);
        if gs::word() & (word::PENDING | word::STOPPED) == 0 && !sched::runnable(cpu) {
            let timeout = libc::timespec { tv_sec: 0, tv_nsec: 2_000_000 };
            // SAFETY: the word lives as long as the machine; the timeout is a valid timespec.
            unsafe {
                libc::syscall(
                    libc::SYS_futex,
                    cpu.asleep.as_ptr(),
                    libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG,
                    1,
                    &raw const timeout,
                );
            }
        }
        cpu.asleep.take();
    }
    crate::cpu::step("idle", 0);
}

/// CPU for a new thread: round robin.
pub(crate) fn place(cpus: usize) -> usize {
    machine().smp.next_place.fetchadd(1) as usize % cpus
}

/// Stops all CPUs at their next boundary.
pub(crate) fn stop(m: &Machine) {
    m.smp.stopped.store(true, Ordering::SeqCst);
    for cpu in &m.cpus {
        let block = cpu.block.get();
        if !block.is_null() {
            // SAFETY: blocks live until the run's host threads are joined.
            unsafe { (*block).word.or(word::STOPPED) };
            wake(cpu);
        }
    }
    *m.smp.ended.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = true;
    m.smp.ended.1.notify_all();
}

/// How to run on `smp`.
#[derive(Debug, Clone, Copy)]
pub struct Options<'a> {
    /// Time after which the run is a hang, in the machine's ticks: more on a host that is too busy for them, up to four times as much.
    pub limit: Duration,
    /// Seed of the interrupts' times.
    pub seed: u64,
    /// Units whose static memory is restored first.
    pub units: &'a [Unit],
}

/// The result of a run.
#[derive(Debug, Clone)]
pub struct Execution {
    /// How it ended.
    pub verdict: Verdict,
    /// What the kernel printed.
    pub console: Vec<String>,
    /// Locks held at the panic.
    pub locks: Vec<String>,
    /// The locks' profile, if asked for.
    pub profile: Vec<Row>,
    /// How long it took.
    pub elapsed: Duration,
}

/// Runs `main` as thread0 of `m` on real CPUs, once.
///
/// # Panics
///
/// A Rust panic when called from inside a machine.
pub fn run(m: &Machine, options: Options<'_>, main: &(dyn Fn() + Sync)) -> Execution {
    assert!(!crate::cpu::in_machine(), "a machine cannot run inside a machine");
    assert!(m.engine == Engine::Smp, "this machine was made for the explore engine");
    super::membarrier::register();
    m.reset();
    m.smp.stopped.store(false, Ordering::SeqCst);
    m.smp.hung.store(false, Ordering::SeqCst);
    m.smp.seed.store(options.seed, Ordering::SeqCst);
    *m.smp.ended.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = false;
    // SAFETY: no CPU runs yet.
    let blocks = unsafe { m.smp.blocks.get() };
    blocks.clear();
    for _ in 0..=m.cpus.len() {
        let block = Box::new(Block::new(m.base_word()));
        block.machine.set(core::ptr::from_ref(m).cast_mut());
        blocks.push(block);
    }
    let started = Instant::now();
    // The last block is this host thread's, for booting and for the end.
    let own: *const Block = &raw const **blocks.last().expect("one more than CPUs");
    // SAFETY: the block lives until the next run.
    let guard = unsafe { gs::Entered::new(own) };
    explore::boot_idle(m);
    let lease = super::units::lease(options.units);
    let sysinits = super::units::sysinits(options.units);
    // SAFETY: every context is gone when this function returns, so nothing outlives `main`.
    let main: &'static (dyn Fn() + Sync) = unsafe { core::mem::transmute(main) };
    let td =
        thread::create(Kthread { name: "thread0", priority: sched::pri::PUSER, flags: 0, cpu: Some(0) }, move || {
            for sysinit in sysinits {
                // SAFETY: a SYSINIT is called at boot with its own argument.
                unsafe { (sysinit.func)(sysinit.arg) };
            }
            main();
            explore::finish();
        });
    m.cpus[0].curthread.set(td.ptr());
    td.oncpu.set(0);
    td.set_state(thread::State::Running);
    // The idle thread of CPU 0 waits its turn.
    // SAFETY: threads are type-stable.
    unsafe {
        let idle = &*m.cpus[0].idlethread.get();
        idle.set_state(thread::State::CanRun);
        idle.oncpu.set(thread::NOCPU);
    }
    for (cpu, block) in m.cpus.iter().zip(&*blocks) {
        block.curcpu.set(core::ptr::from_ref::<Pcpu>(cpu).cast_mut());
        block.readmask.set(crate::rmlock::readmask(cpu));
        cpu.block.set(core::ptr::from_ref::<Block>(block).cast_mut());
    }
    std::thread::scope(|scope| {
        for at in 0..m.cpus.len() {
            let name = format!("cpu{at}");
            let spawned = std::thread::Builder::new().name(name).spawn_scoped(scope, move || drive(m, at));
            spawned.expect("no host thread for a virtual CPU");
        }
        clock(m, started, options.limit);
    });
    for cpu in &m.cpus {
        cpu.block.set(core::ptr::null_mut());
    }
    if m.smp.hung.load(Ordering::SeqCst) && !m.has_verdict() {
        m.note_panic_state();
        m.set_verdict(explore::hang(m, options.limit));
    } else if m.has_panicked() {
        m.note_panic_state();
    }
    explore::teardown(m);
    drop(guard);
    drop(lease);
    Execution {
        verdict: m.take_verdict().unwrap_or_else(|| Verdict::Error("the run ended without a verdict".to_owned())),
        console: m.take_console(),
        // SAFETY: the run is over.
        locks: core::mem::take(unsafe { m.locks_at_panic.get() }),
        profile: m.profile.take(),
        elapsed: started.elapsed(),
    }
}

/// How long the machine has been stuck, as seen at ticks.
#[derive(Debug, Default)]
struct Still {
    /// Ticks at which nobody was at work, since one of the program's own threads moved.
    ticks: u32,
    ticks_since_a_move: u32,
    /// How often the program's own threads were given a CPU.
    switches: u32,
}

impl Still {
    /// Ticks after which nobody is expected to move any more. Interrupts that come at any time come some 80 times.
    const PATIENCE: u32 = 1000;

    /// A tick: whether it is time to give up. One in which some thread works, moved since the last, or waits for a callout begins
    /// the count anew.
    fn for_too_long(&mut self, m: &Machine) -> bool {
        let own = m.threads().iter().filter(|td| td.flags.get() & tdf::KPROC == 0);
        let switches = own.fold(0u32, |sum, td| sum.wrapping_add(td.switches.get()));
        if switches != self.switches || explore::busy(m).is_some() || m.callouts.any_pending() {
            *self = Self { ticks: 0, ticks_since_a_move: 0, switches };
        }
        self.ticks_since_a_move += 1;
        // A service thread may be at work for the others (or be a bystander that comes and goes).
        let serves = |td: &Thread| {
            td.flags.get() & (tdf::KPROC | tdf::PARKED) == tdf::KPROC && td.state() != thread::State::Inhibited
        };
        if !m.threads().iter().any(|td| serves(td)) {
            self.ticks += 1;
        }
        self.ticks > Self::PATIENCE
    }
}

/// How much longer than its limit a run may take on a host that is too busy to tick in time.
const LATE: u32 = 4;

/// The clock: ticks, interrupts at random times, and the limit. That is counted in ticks, as [`Still`]'s patience is: on a busy host, where
/// both come late, it is still the one that is meant to that comes first.
fn clock(m: &Machine, started: Instant, limit: Duration) {
    let mut still = Still::default();
    let mut rng = super::schedule::Rng::new(m.smp.seed.load(Ordering::SeqCst), 0);
    let mut left = limit.as_millis() / TICK.as_millis();
    let mut ended = m.smp.ended.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    while !*ended {
        (ended, _) = m.smp.ended.1.wait_timeout(ended, TICK).unwrap_or_else(std::sync::PoisonError::into_inner);
        if *ended {
            break;
        }
        left = left.saturating_sub(1);
        let mut hung = left == 0 || started.elapsed() > limit * LATE;
        if !hung && still.for_too_long(m) {
            // FreeBSD's own watchdog: who spins on a spin mutex panics instead of hanging.
            let spinner = m.threads().iter().find(|td| td.spinning_on_spin_mutex.get() && !td.spun_too_long.get());
            hung = spinner.is_none();
            if let Some(td) = spinner {
                td.spun_too_long.set(true);
                still = Still::default();
            }
        }
        if hung {
            drop(ended);
            m.smp.hung.store(true, Ordering::SeqCst);
            stop(m);
            return;
        }
        // On a busy host an ithread that an interrupt wakes is still at work at most ticks; rare ones leave ticks in which nobody is.
        let one_in = if still.ticks_since_a_move > Still::PATIENCE / 8 { 32 } else { 2 };
        for irq in 0..m.interrupts.len() as u16 {
            let at = rng.below(m.cpus.len());
            if rng.below(one_in) == 0 && m.interrupts.may_come(Irq(irq), at) {
                m.cpus[at].irqs.or(1 << irq);
                m.cpus[at].post(pending::INTR);
            }
        }
        for cpu in &m.cpus {
            cpu.post(pending::TICK);
        }
    }
}

/// A virtual CPU: resumes kernel threads until the machine stops.
fn drive(m: &Machine, at: usize) {
    let cpu = &m.cpus[at];
    let block: *const Block = cpu.block.get();
    // SAFETY: the block outlives the host thread.
    let guard = unsafe { gs::Entered::new(block) };
    // SAFETY: the block outlives the host thread, and its fields are cells that may be shared.
    let block = unsafe { &*block };
    let running = super::fault::Running::with_progress(cpu.progress.as_ptr());
    while !m.smp.stopped.load(Ordering::Relaxed) {
        let td = cpu.current();
        let mut over = None;
        block.curthread.set(td.ptr());
        progressed();
        // SAFETY: (h) this loop runs the CPU.
        let Some(context) = (unsafe { td.context.get() }) else {
            m.set_verdict(Verdict::Error(explore::NO_CONTEXT.to_owned()));
            stop(m);
            break;
        };
        // SAFETY: (h) this loop runs the CPU. Kernel threads move between host threads at each switch, and find theirs by GS alone.
        match unsafe { context.resume() } {
            Stop::Suspended => {}
            Stop::Returned => {
                // SAFETY: (h) this loop runs the CPU, and the context has just returned.
                if let Some(context) = unsafe { td.context.get() }.take() {
                    m.end_context(td, context);
                }
                over = Some(td);
            }
            stop => {
                m.set_verdict(explore::broken(td, stop));
                self::stop(m);
            }
        }
        let next = cpu.next.get();
        if !next.is_null() {
            cpu.next.set(core::ptr::null_mut());
            // SAFETY: threads are type-stable.
            sched::finish_switch(cpu, unsafe { &*next });
        }
        if let Some(td) = over {
            td.ended.set(1);
        }
    }
    drop(running);
    drop(guard);
}
