//! Threads that compete: throughput, the wait's percentiles, fairness.
//!
//! FreeBSD's locks are contended by kernel threads on two virtual CPUs, userspace's by host threads, all in the same process, one
//! after the other. All are bound to CPUs by turns, so that the same number shares each: what is compared are locks, not how soon a
//! scheduler moves threads. Kernel threads that share a CPU are not preempted for each other inside the kernel; where there are more
//! threads than CPUs all of them, host threads too, yield after so many rounds.
//!
//! The processor's time stamp may advance in steps of some 10 ns: a wait of one or two steps says that there was none.

use super::peers::leak;
use super::{Row, in_machine, quantile, sorted};
use freebsd_sys::atomic::{Owned32, Shared32};
use freebsd_sys::cpu;
use freebsd_sys::interrupt::{self, Arrival};
use freebsd_sys::mutex::{Mtx, Mtxf};
use freebsd_sys::sched::{pri, sched_bind, sched_relinquish};
use freebsd_sys::sleep::{self, How};
use freebsd_sys::thread::{Kthread, kthread_add};
use hdrhistogram::Histogram;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

const CPUS: usize = 2;
/// How long a subject is measured in a launch, after `WARM_UP`.
const WINDOW: Duration = Duration::from_millis(50);
const WARM_UP: Duration = Duration::from_millis(4);
/// Rounds after which a thread yields that shares its CPU.
const TURN: u64 = 256;

/// What threads compete for.
pub(crate) trait Lock: Sync + 'static {
    /// Makes it usable, in the machine.
    fn init(&self) {}
    /// Runs `body` alone.
    fn exclusive(&self, body: impl FnOnce());
    /// Runs `body` among readers.
    fn shared(&self, body: impl FnOnce()) {
        self.exclusive(body);
    }
    /// What an interrupt handler does with it.
    fn handler(&self) {
        self.exclusive(|| ());
    }
}

/// What the threads do.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Load {
    pub(crate) threads: usize,
    /// Nanoseconds inside and outside.
    pub(crate) inside: u64,
    pub(crate) outside: u64,
    /// One section in so many is exclusive; 0: all are. A thread's first one is.
    pub(crate) readers: u64,
    /// In one section of so many the holder gives its CPU away; 0: never.
    pub(crate) yields: u64,
    /// In one section of so many the holder sleeps until a thread of the same CPU, which it asks, has answered; 0: never.
    pub(crate) asks: u64,
    /// A thread raises an interrupt after so many rounds, whose handler takes the lock; 0: never.
    pub(crate) interrupts: u64,
}

/// What was seen.
struct Outcome {
    rounds: Vec<u64>,
    wait: Histogram<u64>,
}

/// A lock that takes part.
pub(crate) struct Contender {
    name: String,
    run: Box<dyn Fn(Load) -> Outcome>,
}

/// Where the threads are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Of {
    Kernel,
    Host,
}

/// `lock`, on a cache line of its own, contended by threads `of` the kernel or of the host.
pub(crate) fn contender<L: Lock>(name: &str, of: Of, lock: L) -> Contender {
    let lock = leak(lock);
    let run = move |load| if of == Of::Kernel { kernel(lock, load) } else { host(lock, load) };
    Contender { name: name.to_owned(), run: Box::new(run) }
}

/// How far apart the CPUs are: nanoseconds for a cache line to go to the other one and come back. A virtual machine's may be the two hardware
/// threads of a core at one moment and cores with no cache in common at the next, with a factor of five between them; whatever
/// hands a lock from CPU to CPU pays that several times.
#[expect(clippy::disallowed_methods, reason = "host threads that measure the host")]
pub(crate) fn distance() -> Row {
    const ROUNDS: u32 = 10_000;
    let pass = |line: &AtomicU32, from: u32| {
        while line.load(Ordering::Acquire) != from {
            std::hint::spin_loop();
        }
        line.store(from.wrapping_add(1), Ordering::Release);
    };
    let line = leak(AtomicU32::new(0));
    let once = || {
        line.store(0, Ordering::Relaxed);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                bind(1);
                (0..ROUNDS).for_each(|round| pass(line, 2 * round + 1));
            });
            let here = scope.spawn(|| {
                bind(0);
                pass(line, 0);
                let start = Instant::now();
                (1..ROUNDS).for_each(|round| pass(line, 2 * round));
                start.elapsed().as_nanos() as f64 / f64::from(ROUNDS - 1)
            });
            here.join().expect("no panic")
        })
    };
    let value = quantile(&sorted((0..9).map(|_| once()).collect()), 0.5);
    let (bench, subject) = ("2 CPUs".to_owned(), "a cache line there and back".to_owned());
    Row { bench, subject, unit: "ns", value, ratio_to_floor: 1.0 }
}

/// Contenders under one load; the first is the floor.
pub(crate) struct Contest {
    pub(crate) bench: &'static str,
    pub(crate) load: Load,
    pub(crate) contenders: Vec<Contender>,
}

impl Contest {
    /// The rows.
    pub(crate) fn run(&self) -> Vec<Row> {
        let outcomes: Vec<_> = self.contenders.iter().map(|contender| (contender.run)(self.load)).collect();
        let figures: Vec<_> = outcomes.iter().map(Outcome::figures).collect();
        let mut rows = Vec::new();
        for (contender, subject) in self.contenders.iter().zip(&figures) {
            for (&(unit, value), &(_, floor)) in subject.iter().zip(&figures[0]) {
                let (bench, subject) = (self.bench.to_owned(), contender.name.clone());
                rows.push(Row { bench, subject, unit, value, ratio_to_floor: value / floor.max(f64::MIN_POSITIVE) });
            }
        }
        rows
    }
}

impl Outcome {
    fn figures(&self) -> [(&'static str, f64); 5] {
        let rounds = sorted(self.rounds.iter().map(|&rounds| rounds as f64).collect());
        let total: f64 = rounds.iter().sum();
        let wait = |part| (self.wait.value_at_quantile(part) as f64 / ticks_per_ns()).max(1.0);
        [
            ("Mop/s", total / WINDOW.as_secs_f64() / 1e6),
            ("ns, wait p50", wait(0.5)),
            ("ns, wait p99", wait(0.99)),
            ("ns, wait p99.9", wait(0.999)),
            ("slowest/fastest", quantile(&rounds, 0.0) / quantile(&rounds, 1.0).max(1.0)),
        ]
    }
}

/// A clock that costs a few nanoseconds.
#[inline(always)]
fn now() -> u64 {
    // SAFETY: every x86-64 processor has the instruction, and Linux lets programs use it.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// How fast [`now`] goes.
fn ticks_per_ns() -> f64 {
    static RATE: OnceLock<f64> = OnceLock::new();
    *RATE.get_or_init(|| {
        let (start, ticks) = (Instant::now(), now());
        while start.elapsed() < Duration::from_millis(20) {}
        (now() - ticks) as f64 / start.elapsed().as_nanos() as f64
    })
}

fn ticks(ns: u64) -> u64 {
    (ns as f64 * ticks_per_ns()) as u64
}

/// Works for so many ticks.
#[inline]
fn work(ticks: u64) {
    if ticks > 0 {
        let start = now();
        while now().wrapping_sub(start) < ticks {}
    }
}

/// A thread's part: rounds until the time is over; those in the window count.
fn compete<L: Lock>(
    lock: &L,
    load: Load,
    begin: u64,
    yields: fn(),
    ask: impl Fn(),
    raise: impl Fn(),
) -> (u64, Histogram<u64>) {
    let mut wait = Histogram::new_with_bounds(1, 1 << 40, 2).expect("bounds that make sense");
    let (inside, outside) = (ticks(load.inside), ticks(load.outside));
    let from = begin + ticks(WARM_UP.as_nanos() as u64);
    let until = from + ticks(WINDOW.as_nanos() as u64);
    let mut rounds = 0;
    for round in 0u64.. {
        let asked = now();
        if asked >= until {
            break;
        }
        let mut waited = 0;
        let section = || {
            waited = now().saturating_sub(asked);
            work(inside);
            if load.yields != 0 && round % load.yields == 0 {
                yields();
            }
            if load.asks != 0 && round % load.asks == 0 {
                ask();
            }
        };
        if load.readers == 0 || round % load.readers == 0 {
            lock.exclusive(section);
        } else {
            lock.shared(section);
        }
        if asked >= from {
            rounds += 1;
            wait.saturating_record(waited.max(1));
        }
        work(outside);
        if load.interrupts != 0 && round % load.interrupts == 0 {
            raise();
        }
        if load.threads > CPUS && round % TURN == TURN - 1 {
            yields();
        }
    }
    (rounds, wait)
}

fn outcome(parts: Vec<(u64, Histogram<u64>)>) -> Outcome {
    let mut wait = parts[0].1.clone();
    parts[1..].iter().for_each(|part| wait.add(&part.1).expect("equal bounds"));
    Outcome { rounds: parts.iter().map(|part| part.0).collect(), wait }
}

/// Where a kernel thread asks another one, and both sleep meanwhile.
struct Desk {
    lock: Mtx,
    asked: Owned32,
    answered: Owned32,
}

impl Desk {
    fn new() -> Arc<Self> {
        let desk = Self { lock: Mtx::zeroed(), asked: Owned32::new(0), answered: Owned32::new(0) };
        desk.lock.init(c"desk", Mtxf::NOWITNESS | Mtxf::NEW);
        Arc::new(desk)
    }

    fn sleep(&self, on: &Owned32) {
        sleep::sleep(on.as_ptr() as usize, Some(self.lock.object()), How::default(), "desk");
    }

    /// Asks, and waits for the answer: one thread at a time.
    fn ask(&self) {
        self.lock.lock();
        self.asked.add(1);
        sleep::wakeup(self.asked.as_ptr() as usize);
        while self.answered.get() != self.asked.get() {
            self.sleep(&self.answered);
        }
        self.lock.unlock();
    }

    /// Answers until the machine ends.
    fn serve(&self) {
        self.lock.lock();
        while !cpu::scheduler_stopped() {
            while self.answered.get() == self.asked.get() && !cpu::scheduler_stopped() {
                self.sleep(&self.asked);
            }
            self.answered.set(self.asked.get());
            sleep::wakeup(self.answered.as_ptr() as usize);
        }
    }
}

/// The same for host threads: two words and futex(2), the least that it takes.
#[derive(Default)]
struct HostDesk {
    asked: AtomicU32,
    answered: AtomicU32,
    closed: AtomicBool,
}

impl HostDesk {
    fn change(word: &AtomicU32) {
        word.fetch_add(1, Ordering::SeqCst);
        // SAFETY: the call wakes who waits on a live word.
        unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG, 1) };
    }

    fn wait_until(word: &AtomicU32, over: impl Fn(u32) -> bool) {
        loop {
            let value = word.load(Ordering::SeqCst);
            if over(value) {
                return;
            }
            // SAFETY: the call reads a live word; there is no timeout.
            unsafe {
                let never = core::ptr::null::<libc::timespec>();
                libc::syscall(
                    libc::SYS_futex,
                    word.as_ptr(),
                    libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG,
                    value,
                    never,
                );
            }
        }
    }

    fn ask(&self) {
        let answer = self.answered.load(Ordering::SeqCst).wrapping_add(1);
        Self::change(&self.asked);
        Self::wait_until(&self.answered, |answered| answered == answer);
    }

    fn serve(&self) {
        for question in 1u32.. {
            Self::wait_until(&self.asked, |asked| asked == question);
            if self.closed.load(Ordering::SeqCst) {
                return;
            }
            Self::change(&self.answered);
        }
    }

    fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        Self::change(&self.asked);
    }
}

/// Kernel threads.
fn kernel<L: Lock>(lock: &'static L, load: Load) -> Outcome {
    ticks_per_ns();
    let parts = Arc::new(Mutex::new(Vec::new()));
    in_machine(CPUS, false, &|| {
        lock.init();
        let irq = interrupt::create("bench", Arrival::Raised, pri::PI_INTR, Some(0));
        if load.interrupts != 0 {
            interrupt::setup(irq, None, Some(Box::new(|| lock.handler())), 1);
        }
        let desks: [_; CPUS] = std::array::from_fn(|_| Desk::new());
        for (at, desk) in desks.iter().enumerate() {
            let (spec, desk) =
                (Kthread { name: "desk", priority: pri::PUSER, flags: 0, cpu: Some(at) }, Arc::clone(desk));
            kthread_add(spec, move || {
                sched_bind(at);
                desk.serve();
            });
        }
        let left = Arc::new(Shared32::new(load.threads as u32));
        let channel = Arc::as_ptr(&left) as usize;
        let begin = now();
        for at in 0..load.threads {
            let (left, parts, desk) = (Arc::clone(&left), Arc::clone(&parts), Arc::clone(&desks[at % CPUS]));
            let spec = Kthread { name: "bench", priority: pri::PUSER, flags: 0, cpu: Some(at % CPUS) };
            kthread_add(spec, move || {
                sched_bind(at % CPUS);
                let part = compete(lock, load, begin, sched_relinquish, || desk.ask(), || interrupt::raise(irq));
                parts.lock().expect("not poisoned").push(part);
                if left.fetchadd(u32::MAX) == 1 {
                    sleep::wakeup(channel);
                }
            });
        }
        while left.get() > 0 {
            sleep::tsleep(channel, "join", 10);
        }
    });
    let parts = std::mem::take(&mut *parts.lock().expect("not poisoned"));
    outcome(parts)
}

/// Binds the calling host thread to the `at`-th of the first `CPUS` processors that it may use, counted round.
fn bind(at: usize) {
    use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
    use nix::unistd::Pid;
    let this = Pid::from_raw(0);
    let allowed = sched_getaffinity(this).expect("a thread has an affinity");
    let usable: Vec<_> = (0..CpuSet::count()).filter(|&cpu| allowed.is_set(cpu) == Ok(true)).take(CPUS).collect();
    let mut one = CpuSet::new();
    one.set(usable[at % usable.len()]).expect("a processor that it has");
    sched_setaffinity(this, &one).expect("a processor that it may use");
}

/// Host threads; they have no interrupts.
#[expect(clippy::disallowed_methods, reason = "threads of a peer, which are in no machine")]
fn host<L: Lock>(lock: &'static L, load: Load) -> Outcome {
    let begin = now();
    let yields: fn() = || {
        // SAFETY: a system call that touches no memory.
        unsafe { libc::sched_yield() };
    };
    let desks: [HostDesk; CPUS] = Default::default();
    std::thread::scope(|scope| {
        for (at, desk) in desks.iter().enumerate() {
            scope.spawn(move || {
                bind(at);
                desk.serve();
            });
        }
        let thread = |at| {
            let desk = &desks[at % CPUS];
            scope.spawn(move || {
                bind(at);
                compete(lock, load, begin, yields, || desk.ask(), || ())
            })
        };
        let threads: Vec<_> = (0..load.threads).map(thread).collect();
        let parts = threads.into_iter().map(|thread| thread.join().expect("no panic")).collect();
        desks.iter().for_each(HostDesk::close);
        outcome(parts)
    })
}
