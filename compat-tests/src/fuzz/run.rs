//! Running a program on the emulated kernel.

use super::Switches;
use super::model::Outcome;
use super::program::{Act, CALLS, Call, FILTER, ITHREAD, Kind, LISTS, Program, THREADS, line, lock_name};
use freebsd_sys::atomic::{Owned8, Owned32, OwnedPtr, Word};
use freebsd_sys::callout::{Callout, Cf};
use freebsd_sys::condvar::Cv;
use freebsd_sys::epoch::{self, global_epoch, global_epoch_preempt};
use freebsd_sys::giant::giant;
use freebsd_sys::host::explore::{self, Options};
use freebsd_sys::host::schedule::Schedule;
use freebsd_sys::interrupt::{self, Arrival, Filter};
use freebsd_sys::lock::{Loc, LockObject};
use freebsd_sys::lockmgr::{self, Wait, lk};
use freebsd_sys::machine::{Budget, Config, Engine, Machine, Verdict};
use freebsd_sys::malloc::{self, M};
use freebsd_sys::mutex::{Mtx, Mtxf};
use freebsd_sys::rmlock::{PrioTracker, Rm, Rmf};
use freebsd_sys::rwlock::{Rw, Rwf};
use freebsd_sys::sched::pri;
use freebsd_sys::sleep::How;
use freebsd_sys::sx::{SX_INTERRUPTIBLE, Sx, Sxf};
use freebsd_sys::thread::{self, Kthread, Thread, curthread, kthread_add};
use freebsd_sys::{cpu, critical, sched, sleep, sleepqueue, userret};
use std::mem::MaybeUninit;
use std::ops::Range;
use std::sync::Arc;

/// What came of running a program.
#[derive(Debug)]
pub struct Run {
    /// How it ended.
    pub outcome: Outcome,
    /// Choices that the schedule had.
    pub choices: usize,
    console: Vec<String>,
}

impl Run {
    /// What it printed, addresses as `%p`.
    pub fn console(&self) -> Vec<String> {
        self.console.iter().map(|line| normal(line)).collect()
    }
}

/// The machines that programs run on, made when first needed.
#[derive(Default)]
pub struct Machines {
    machines: Vec<(Config, Box<Machine>)>,
    /// Where the locks and trackers of the last program were: a search compares the addresses of its executions.
    room: Room,
    image: Image,
}

impl std::fmt::Debug for Machines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Machines").field("machines", &self.machines).finish_non_exhaustive()
    }
}

/// Where the locks and trackers of a program are.
#[derive(Default)]
struct Room {
    locks: Vec<Lock>,
    /// By list and call. A tracker stays on its CPU's queue until the execution ends, if nobody releases it.
    trackers: [Vec<Tracker>; LISTS],
}

/// The memory that threads share, as it was when a search's first execution began. Padding, and the part of a lock's place that is
/// another kind's, is what it was before: it would tell states apart that are the same.
#[derive(Default)]
struct Image {
    of: Vec<Range<usize>>,
    bytes: Vec<MaybeUninit<u8>>,
}

impl Image {
    /// If this is the first execution, or `memory` is elsewhere, keeps what is in it; else puts back what was kept.
    ///
    /// # Safety
    ///
    /// It is the caller's, and its values are what they were the first time.
    unsafe fn settle(&mut self, memory: &[Range<usize>], first: bool) {
        let keep = first || self.of != memory;
        if keep {
            self.of = memory.to_vec();
            self.bytes.resize(memory.iter().map(Range::len).sum(), MaybeUninit::uninit());
        }
        let mut image = &mut self.bytes[..];
        for range in memory {
            let (part, rest) = image.split_at_mut(range.len());
            let at = core::ptr::with_exposed_provenance_mut::<MaybeUninit<u8>>(range.start);
            // SAFETY: the caller's promise; bytes are copied whatever they are.
            unsafe {
                if keep {
                    at.copy_to_nonoverlapping(part.as_mut_ptr(), part.len());
                } else {
                    at.copy_from_nonoverlapping(part.as_ptr(), part.len());
                }
            }
            image = rest;
        }
    }
}

impl Machines {
    /// The machine for `program`: a CPU for each thread, unless they share one, and a tick for each pause, which a schedule may let pass at any time.
    fn get(&mut self, program: &Program, switches: Switches) -> &Machine {
        let cpus = if program.one_cpu() { 1 } else { program.threads.len() };
        // A thread on its own sleeps until nothing else can move anyway.
        let ticks = if program.alone() { 0 } else { program.pauses() as u32 };
        let config = Config {
            cpus,
            invariants: switches != Switches::None,
            witness: switches == Switches::Witness,
            budget: Budget { ticks, interrupts: 0, migrations: 0 },
            ..Config::default()
        };
        let at = self.machines.iter().position(|(of, _)| *of == config).unwrap_or_else(|| {
            self.machines.push((config.clone(), Machine::new(config, Engine::Explore)));
            self.machines.len() - 1
        });
        &self.machines[at].1
    }

    /// Runs `program` under `schedule`.
    pub fn run(&mut self, program: &Program, switches: Switches, schedule: &mut dyn Schedule, index: u64) -> Run {
        let room = core::mem::take(&mut self.room);
        let mut shared = Shared::new(program, switches, room);
        // SAFETY: every thread of the execution is gone when `explore::run` returns, and nobody else keeps the reference.
        let for_threads: &'static Shared<'static> =
            unsafe { core::mem::transmute::<&Shared<'_>, &'static Shared<'static>>(&shared) };
        let main = || for_threads.main();
        let memory = shared.memory();
        if schedule.compares_states() {
            // SAFETY: what the threads are going to share is this function's until they run, and has just been made as it was for the
            // search's first execution.
            unsafe { self.image.settle(&memory, index == 0) };
        }
        let machine = self.get(program, switches);
        let options = Options { index, memory: &memory, ..Options::default() };
        let execution = explore::run(machine, schedule, options, &main);
        let outcome = match execution.verdict {
            Verdict::Pass => Outcome::Ends(shared.log.each_ref().map(Owned32::get)),
            Verdict::Panic(text) => Outcome::Panics(normal(&text)),
            Verdict::Deadlock(_) | Verdict::Livelock(_) => Outcome::Stuck,
            other => Outcome::Broken(match execution.diverged {
                Some(diverged) => format!("{other}: {diverged}"),
                None => other.to_string(),
            }),
        };
        self.room = core::mem::take(&mut shared.room);
        Run { outcome, choices: execution.events.len(), console: execution.console }
    }
}

/// A panic's text without what differs from kernel to kernel: addresses, and where an MPASS stands in the source.
fn normal(text: &str) -> String {
    let text = match text.split_once(" failed at ") {
        Some((what, _)) => format!("{what} failed at %s:%d"),
        // An assertion of a call that is not told where it stands.
        None => match text.rsplit_once(" @ ") {
            Some((what, at)) if at.contains(".rs:") => {
                format!("{what} @ %s:%d{}", if at.ends_with('.') { "." } else { "" })
            }
            _ => match text.rsplit_once(" at ") {
                Some((what, at)) if at.contains(".rs:") => format!("{what} at %s:%d"),
                _ => text.to_owned(),
            },
        },
    };
    let mut parts = text.split("0x");
    let mut out = parts.next().unwrap_or("").to_owned();
    for part in parts {
        out.push_str("%p");
        out.push_str(part.trim_start_matches(|c: char| c.is_ascii_hexdigit()));
    }
    out
}

/// A lock of the program.
enum Lock {
    Mtx(Mtx),
    Rw(Rw),
    Sx(Sx),
    Rm(Rm),
    Lockmgr(lockmgr::Lock),
    /// The machine has it.
    Giant,
}

impl Lock {
    fn zeroed(kind: Kind) -> Self {
        match kind {
            Kind::Mtx | Kind::MtxRecurse | Kind::Spin | Kind::SpinRecurse => Self::Mtx(Mtx::zeroed()),
            Kind::Rw | Kind::RwRecurse => Self::Rw(Rw::zeroed()),
            Kind::Sx | Kind::SxRecurse => Self::Sx(Sx::zeroed()),
            Kind::Rm | Kind::RmRecurse | Kind::RmSleepable => Self::Rm(Rm::zeroed()),
            Kind::Lockmgr | Kind::LockmgrRecurse => Self::Lockmgr(lockmgr::Lock::zeroed()),
            Kind::Giant => Self::Giant,
        }
    }

    fn object(&self) -> &LockObject {
        match self {
            Self::Mtx(lock) => lock.object(),
            Self::Rw(lock) => lock.object(),
            Self::Sx(lock) => lock.object(),
            Self::Rm(lock) => lock.object(),
            Self::Lockmgr(lock) => lock.object(),
            Self::Giant => giant().object(),
        }
    }

    fn owned(&self) -> bool {
        match self {
            Self::Mtx(lock) => lock.owned(),
            Self::Rw(lock) => lock.wowned(),
            Self::Sx(lock) => lock.xlocked(),
            Self::Rm(lock) => lock.wowned(),
            Self::Lockmgr(lock) => lock.status() == lk::EXCLUSIVE,
            Self::Giant => giant().owned(),
        }
    }

    fn destroy(&self) {
        match self {
            Self::Mtx(lock) => lock.destroy(),
            Self::Rw(lock) => lock.destroy(),
            Self::Sx(lock) => lock.destroy(),
            Self::Rm(lock) => lock.destroy(),
            Self::Lockmgr(lock) => lock.destroy(),
            Self::Giant => {}
        }
    }

    /// Initialises it, where it will stay.
    fn init(&self, at: usize, kind: Kind, enrolled: bool) {
        let (name, recurse, hidden) = (lock_name(at), kind.recursable(), !enrolled);
        match self {
            Self::Mtx(lock) => {
                let mut opts = if kind.is_spin() { Mtxf::SPIN } else { Mtxf::DEF };
                opts.set(Mtxf::RECURSE, recurse);
                opts.set(Mtxf::NOWITNESS, hidden);
                lock.init(name, opts);
            }
            Self::Rw(lock) => {
                let mut opts = Rwf::empty();
                opts.set(Rwf::RECURSE, recurse);
                opts.set(Rwf::NOWITNESS, hidden);
                lock.init(name, opts);
            }
            Self::Sx(lock) => {
                let mut opts = Sxf::empty();
                opts.set(Sxf::RECURSE, recurse);
                opts.set(Sxf::NOWITNESS, hidden);
                lock.init(name, opts);
            }
            Self::Rm(lock) => {
                let mut opts = Rmf::empty();
                opts.set(Rmf::RECURSE, recurse);
                opts.set(Rmf::SLEEPABLE, kind == Kind::RmSleepable);
                opts.set(Rmf::NOWITNESS, hidden);
                lock.init(name, opts);
            }
            Self::Lockmgr(lock) => {
                let opts = if recurse { lk::CANRECURSE } else { 0 } | if hidden { lk::NOWITNESS } else { 0 };
                lock.init(0, name, 0, opts);
            }
            Self::Giant => _ = giant(),
        }
    }
}

/// A tracker, and the lock that its call reads, if it does: its number plus one.
#[derive(Default)]
struct Tracker {
    tracker: PrioTracker,
    reads: Owned8,
}

/// What the threads of an execution share. It is not theirs, so that their stacks own nothing and need no unwinding.
struct Shared<'a> {
    room: Room,
    cv: Cv,
    program: &'a Program,
    /// By list of calls.
    log: [Owned32; LISTS],
    /// To whom signals go, by list.
    threads: [OwnedPtr<Thread>; THREADS],
    invariants: bool,
    callout: Callout,
    go: Word,
    done: Word,
}

/// A thread's sections of the preemptible epoch: their trackers, one for each call, and which of them are in use.
struct Sections {
    trackers: [epoch::Tracker; CALLS],
    open: Owned32,
}

impl Sections {
    fn new() -> Self {
        Self { trackers: std::array::from_fn(|_| epoch::Tracker::new()), open: Owned32::new(0) }
    }
}

/// Spins until `word` is at least `value`. False: the machine has stopped.
fn wait_for(word: &Word, value: usize) -> bool {
    // A transition of its own: in that of a call that failed without writing anything, the whole would count as a wait, and not as a failure.
    explore::access(word.as_ptr() as usize, 8, false, true);
    while word.read() < value {
        cpu::observe(word.as_ptr().cast(), 8);
        if !cpu::spinwait() {
            return false;
        }
    }
    true
}

impl<'a> Shared<'a> {
    fn new(program: &'a Program, switches: Switches, mut room: Room) -> Self {
        room.locks.clear();
        room.locks.extend(program.locks.iter().map(|lock| Lock::zeroed(lock.kind)));
        let reads = program.locks.iter().any(|lock| lock.kind.is_rm());
        for (at, trackers) in room.trackers.iter_mut().enumerate() {
            trackers.clear();
            let calls = if reads { program.list(at) } else { &[] };
            trackers.extend(calls.iter().map(|_| Tracker::default()));
        }
        Self {
            room,
            cv: Cv::zeroed(),
            program,
            log: [const { Owned32::new(1) }; LISTS],
            threads: [const { OwnedPtr::null() }; THREADS],
            invariants: switches != Switches::None,
            callout: Callout::new(),
            go: Word::new(0),
            done: Word::new(0),
        }
    }
}

impl Shared<'_> {
    /// Where it is.
    fn memory(&self) -> [Range<usize>; LISTS + 2] {
        fn all<T>(things: &[T]) -> Range<usize> {
            let range = things.as_ptr_range();
            range.start as usize..range.end as usize
        }
        let mut memory = [const { 0..0 }; LISTS + 2];
        memory[0] = all(core::slice::from_ref(self));
        memory[1] = all(&self.room.locks);
        for (memory, trackers) in memory[2..].iter_mut().zip(&self.room.trackers) {
            *memory = all(trackers);
        }
        memory
    }
}

impl Shared<'static> {
    /// thread0: the program's first thread.
    fn main(&'static self) {
        // SAFETY: the frames from here on hold numbers and references, and so do those of the primitives that they call.
        unsafe { thread::discard_stack() };
        for (at, (lock, spec)) in self.room.locks.iter().zip(&self.program.locks).enumerate() {
            lock.init(at, spec.kind, spec.enrolled);
        }
        self.cv.init(c"cv");
        if self.program.calls().any(|call| call.act.is_epochs()) {
            // They are made when first asked for.
            _ = (global_epoch(), global_epoch_preempt());
        }
        let sections = Sections::new();
        self.threads[0].set(std::ptr::from_ref(curthread()).cast_mut());
        let others = self.program.threads.len() - 1;
        if self.program.one_cpu() {
            self.share(others);
            return;
        }
        if others == 0 {
            self.thread(0, Some(&sections));
            return;
        }
        sched::sched_bind(0);
        for at in 1..=others {
            let name = ["", "T1", "T2"][at];
            let td = kthread_add(Kthread { name, priority: pri::PUSER, flags: 0, cpu: Some(at) }, move || {
                // SAFETY: as of the first thread.
                unsafe { thread::discard_stack() };
                sched::sched_bind(at);
                let sections = Sections::new();
                if !wait_for(&self.go, 1) {
                    return;
                }
                self.thread(at, Some(&sections));
                self.done.fetchadd(1);
                // It keeps what it holds and goes on running: that is what its end means.
                wait_for(&self.done, usize::MAX);
            });
            self.threads[at].set(std::ptr::from_ref(td).cast_mut());
        }
        // Everybody is bound to a CPU and running before the part begins in which the schedule decides.
        sleep::pause("start", 1);
        self.interrupt();
        explore::begin();
        self.go.store_rel(1);
        self.thread(0, Some(&sections));
        wait_for(&self.done, others);
        if self.program.interrupt.is_some() {
            cpu::step("end", 0);
        }
    }

    /// thread0 of a program with one CPU, where there are so many others, all as good as it is.
    fn share(&'static self, others: usize) {
        for at in 1..=others {
            let td = kthread_add(
                Kthread { name: ["", "T1", "T2"][at], priority: pri::PUSER, flags: 0, cpu: Some(0) },
                move || {
                    // SAFETY: as of the first thread.
                    unsafe { thread::discard_stack() };
                    self.thread(at, None);
                    if !cpu::step("done", 0) {
                        return;
                    }
                    self.done.fetchadd(1);
                    // It spins on what it holds until its time slice is over.
                    wait_for(&self.done, usize::MAX);
                },
            );
            self.threads[at].set(std::ptr::from_ref(td).cast_mut());
        }
        self.interrupt();
        explore::begin();
        self.thread(0, None);
        wait_for(&self.done, others);
        // What has not come yet may come now.
        cpu::step("end", 0);
    }

    /// Sets the callout.
    fn reset_callout(&'static self) -> bool {
        let handler: Arc<dyn Fn() + Send + Sync> = Arc::new(|| {
            self.thread(ITHREAD, None);
            cpu::step("end", 0);
        });
        self.callout.reset(1, handler, None, Cf::empty())
    }

    /// From now on the interrupt, or the callout, may come.
    fn interrupt(&'static self) {
        if let Some(callout) = self.program.callout() {
            self.callout.init_lock(callout.lock.map(|lock| self.room.locks[usize::from(lock)].object()), Cf::empty());
            self.reset_callout();
            return;
        }
        if let Some(interrupt) = &self.program.interrupt {
            let irq = interrupt::create("fuzz", Arrival::Raised, pri::PI_INTR, Some(0));
            let threaded = !interrupt.ithread.is_empty();
            let filter = move || {
                self.thread(FILTER, None);
                if threaded { Filter::ScheduleThread } else { Filter::Handled }
            };
            let ithread = || {
                self.thread(ITHREAD, None);
                // The interrupt may come again before its thread waits for it.
                cpu::step("end", 0);
            };
            let ithread: Option<Box<dyn Fn() + Send + Sync>> = if threaded { Some(Box::new(ithread)) } else { None };
            interrupt::setup(irq, Some(Box::new(filter)), ithread, 1);
            if self.program.two_cpus() {
                interrupt::bind(irq);
            }
            interrupt::raise(irq);
            if interrupt.again {
                interrupt::raise(irq);
            }
        }
    }

    /// Makes the calls of list `at`.
    fn thread(&'static self, at: usize, sections: Option<&Sections>) {
        let mut pinned = 0;
        for (pc, call) in self.program.list(at).iter().enumerate() {
            if cpu::scheduler_stopped() {
                return;
            }
            let result = match sections {
                Some(sections) if call.act.is_epochs() => self.on_epoch(call.act, sections, at, pc),
                _ => self.call(at, pc, call, &mut pinned),
            };
            if let Some(result) = result {
                self.log(at, result);
            }
        }
    }

    /// A call about an epoch.
    fn on_epoch(&self, act: Act, sections: &Sections, at: usize, pc: usize) -> Option<bool> {
        let (loc, open) = (Loc::c(c"program".as_ptr(), line(at, pc)), sections.open.get());
        match act {
            Act::EpochEnter => global_epoch().enter_at(loc),
            Act::EpochExit => global_epoch().exit_at(loc),
            Act::InEpoch | Act::InPreempt if !cpu::step("in_epoch", 0) => {}
            Act::InEpoch => return Some(global_epoch().in_epoch()),
            Act::InPreempt => return Some(global_epoch_preempt().in_epoch()),
            Act::EnterPreempt => {
                sections.open.set(open | 1 << pc);
                // SAFETY: each call has a tracker of its own, in a frame of this thread that lasts as long as the execution has others.
                unsafe { global_epoch_preempt().enter_preempt_at(&sections.trackers[pc], loc) };
            }
            // Without INVARIANTS, a tracker that is not in use is wild memory: the model has none of it.
            _ if open == 0 && !self.invariants => {}
            _ => {
                let of = match (open, act) {
                    (0, _) => pc,
                    (_, Act::ExitOldest) => open.trailing_zeros() as usize,
                    _ => open.ilog2() as usize,
                };
                sections.open.set(open & !(1 << of));
                // SAFETY: the tracker of a section of this thread's; or it has never been in use, under INVARIANTS, which says so.
                unsafe { global_epoch_preempt().exit_preempt_at(&sections.trackers[of], loc) };
            }
        }
        None
    }

    fn log(&self, at: usize, result: bool) {
        let log = &self.log[at];
        log.set(log.get() << 1 | u32::from(result));
    }

    /// Makes call `pc` of list `at`, whose thread has pinned itself `pinned` times; what it returned, if it returns whether it worked.
    fn call(&'static self, at: usize, pc: usize, call: &Call, pinned: &mut i32) -> Option<bool> {
        let loc = Loc::c(c"program".as_ptr(), line(at, pc));
        let ident = std::ptr::from_ref(&self.cv) as usize;
        if call.act.takes_lock() {
            if matches!(call.act, Act::Assert(_) | Act::Owned) && !cpu::step("assert", 0) {
                // An assertion is no boundary of its own, and what it looks at may change before it.
                return None;
            }
            let spec = self.program.locks[usize::from(call.lock)];
            let lock = &self.room.locks[usize::from(call.lock)];
            let tracker = self.room.trackers[at].iter().rfind(|tracker| tracker.reads.get() == call.lock + 1);
            if let Some(tracker) = tracker
                && call.act.drops()
                && !lock.owned()
            {
                tracker.reads.set(0);
            }
            match call.act {
                Act::Owned => return Some(lock.owned()),
                Act::Destroy => {
                    lock.destroy();
                    return None;
                }
                Act::Init => {
                    lock.init(call.lock.into(), spec.kind, spec.enrolled);
                    return None;
                }
                Act::CvWaitUnlock => {
                    self.cv.wait_unlock_from(lock.object(), loc);
                    return None;
                }
                Act::SleepDrop => {
                    let how = How { drop: true, ..How::default() };
                    sleep::sleep_from(ident, Some(lock.object()), how, "sl", loc);
                    return None;
                }
                Act::SpinSleep | Act::TimedSpinSleep => {
                    let lock = match lock {
                        Lock::Mtx(lock) => lock,
                        Lock::Giant => giant(),
                        _ => return None,
                    };
                    let timed = call.act.times_out();
                    let error = sleep::msleep_spin_from(ident, lock, "sl", u64::from(timed), loc);
                    return timed.then_some(error == 0);
                }
                Act::CvWaitSig | Act::CvTimedwaitSig | Act::SleepSig | Act::TimedSleepSig => {
                    let ticks = u64::from(call.act.times_out());
                    let error = if call.act.sleeps() {
                        let how = How { ticks, catch: true, ..How::default() };
                        sleep::sleep_from(ident, Some(lock.object()), how, "sl", loc)
                    } else if ticks == 0 {
                        self.cv.wait_sig_from(lock.object(), loc)
                    } else {
                        self.cv.timedwait_sig_from(lock.object(), ticks, loc)
                    };
                    if ticks == 0 {
                        return Some(error == 0);
                    }
                    self.log(at, error == 0);
                    return Some(error == sleep::EINTR);
                }
                Act::CvWait => {
                    self.cv.wait_from(lock.object(), loc);
                    return None;
                }
                Act::CvTimedwait => return Some(self.cv.timedwait_from(lock.object(), 1, loc) == 0),
                Act::Sleep => {
                    sleep::sleep_from(ident, Some(lock.object()), How::default(), "sl", loc);
                    return None;
                }
                Act::TimedSleep => {
                    let how = How { ticks: 1, ..How::default() };
                    return Some(sleep::sleep_from(ident, Some(lock.object()), how, "sl", loc) == 0);
                }
                _ => {}
            }
            return match lock {
                Lock::Mtx(lock) => on_mtx(lock, spec.kind.is_spin(), call.act, loc),
                Lock::Giant => on_mtx(giant(), false, call.act, loc),
                Lock::Rw(lock) => on_rw(lock, call.act, loc),
                Lock::Sx(lock) => on_sx(lock, call.act, loc),
                Lock::Lockmgr(lock) => on_lockmgr(lock, call.act, loc),
                Lock::Rm(lock) => self.on_rm(lock, call, loc, &self.room.trackers[at][..=pc]),
            };
        }
        // Where there is one CPU, nobody is bound to it.
        let alone = self.program.alone() || self.program.one_cpu();
        match call.act {
            Act::CriticalEnter => critical::critical_enter(),
            Act::CriticalExit => critical::critical_exit(),
            // These two are no boundaries of their own, and an interrupt may come before them.
            Act::NoSleeping | Act::SleepingOk
                if (self.program.one_cpu() || self.program.two_cpus()) && !cpu::step("sleeping", 0) => {}
            Act::NoSleeping => thread::thread_no_sleeping(),
            Act::SleepingOk => thread::thread_sleeping_ok(),
            Act::Pin => {
                sched::sched_pin();
                *pinned += 1;
            }
            Act::Unpin if alone || *pinned > 0 => {
                sched::sched_unpin();
                *pinned -= 1;
            }
            Act::CvSignal => self.cv.signal(),
            Act::CvBroadcast => self.cv.broadcast(),
            Act::Wakeup => sleep::wakeup(ident),
            Act::WakeupOne => sleep::wakeup_one(ident),
            Act::WakeupAny => sleep::wakeup_any(ident),
            Act::Signal(to) => {
                // SAFETY: null, or a thread of this execution.
                if let Some(td) = unsafe { self.threads[usize::from(to)].get().as_ref() }
                    && cpu::step("signal", 0)
                {
                    sleepqueue::abort(td, sleep::EINTR);
                }
            }
            Act::Relinquish => sched::sched_relinquish(),
            act if act.is_callouts() && self.program.callout().is_none() => {}
            Act::CalloutReset => return Some(self.reset_callout()),
            Act::CalloutStop => {
                let result = self.callout.stop();
                self.log(at, result > 0);
                return Some(result == 0);
            }
            Act::CalloutDrain => return Some(self.callout.drain() > 0),
            Act::Tsleep => {
                let how = How { ticks: 1, ..How::default() };
                return Some(sleep::sleep_from(ident, None, how, "sl", loc) == 0);
            }
            Act::CvDestroy => self.cv.destroy(),
            Act::Pause => _ = sleep::pause("nap", 1),
            Act::MallocWait => malloc::free(malloc::malloc(16, "fuzz", M::WAITOK), "fuzz"),
            Act::MallocNowait => malloc::free(malloc::malloc(16, "fuzz", M::NOWAIT), "fuzz"),
            Act::Userret if alone => userret::userret(),
            Act::Userret => {
                sched::sched_unbind();
                userret::userret();
                sched::sched_bind(at);
            }
            _ => {}
        }
        None
    }

    /// `trackers` are those of the thread's calls up to this one.
    fn on_rm(&self, lock: &Rm, call: &Call, loc: Loc, trackers: &[Tracker]) -> Option<bool> {
        let reads = call.lock + 1;
        match call.act {
            Act::Lock => lock.wlock_at(loc),
            Act::Unlock => lock.wunlock_at(loc),
            Act::RLock | Act::TryR => {
                let mine = trackers.last()?;
                // SAFETY: each call has a tracker of its own, which outlives the execution.
                let taken = unsafe { lock.rlock_at(&mine.tracker, call.act == Act::TryR, loc) };
                if taken {
                    mine.reads.set(reads);
                }
                return (call.act == Act::TryR).then_some(taken);
            }
            Act::RUnlock => {
                let last = trackers.iter().rfind(|tracker| tracker.reads.get() == reads);
                // Without INVARIANTS, a release of what is not held is a write to wild memory: the model has none of it.
                if last.is_none() && !self.invariants {
                    return None;
                }
                let mine = last.or(trackers.last())?;
                mine.reads.set(0);
                // SAFETY: the tracker of this thread's last rlock of this lock; or the thread does not hold it, under INVARIANTS.
                unsafe { lock.runlock_at(&mine.tracker, loc) };
            }
            Act::Assert(what) => lock.assert_at(what, loc),
            _ => {}
        }
        None
    }
}

fn on_lockmgr(lock: &lockmgr::Lock, act: Act, loc: Loc) -> Option<bool> {
    let flags = match act {
        Act::Lock => lk::EXCLUSIVE,
        Act::Unlock | Act::RUnlock => lk::RELEASE,
        Act::Try => lk::EXCLUSIVE | lk::NOWAIT,
        Act::SleepFail => lk::EXCLUSIVE | lk::SLEEPFAIL,
        Act::RLock => lk::SHARED,
        Act::TryR => lk::SHARED | lk::NOWAIT,
        Act::Upgrade => lk::TRYUPGRADE,
        Act::UpgradeWait => lk::UPGRADE,
        Act::Downgrade => lk::DOWNGRADE,
        Act::Disown => {
            lock.disown_at(loc);
            return None;
        }
        Act::Assert(what) => {
            lock.assert_at(what, loc);
            return None;
        }
        _ => return None,
    };
    let error = lock.args(flags, None, Wait::default(), loc);
    let fails = !matches!(act, Act::Lock | Act::Unlock | Act::RUnlock | Act::Downgrade);
    fails.then_some(error == 0)
}

fn on_mtx(lock: &Mtx, spin: bool, act: Act, loc: Loc) -> Option<bool> {
    match act {
        Act::Lock => lock.lock_at(0, loc),
        Act::Unlock => lock.unlock_at(loc),
        Act::Try => return Some(lock.trylock_at(0, loc)),
        Act::SpinLock => lock.lock_spin_at(0, loc),
        Act::SpinUnlock => lock.unlock_spin_at(loc),
        Act::SpinTry => return Some(lock.trylock_spin_at(0, loc)),
        Act::WaitUnlocked if spin => lock.spin_wait_unlocked(),
        Act::WaitUnlocked => lock.wait_unlocked_at(loc),
        Act::Assert(what) => lock.assert_at(what, loc),
        _ => {}
    }
    None
}

fn on_rw(lock: &Rw, act: Act, loc: Loc) -> Option<bool> {
    match act {
        Act::Lock => lock.wlock_at(loc),
        Act::Unlock => lock.wunlock_at(loc),
        Act::Try => return Some(lock.try_wlock_at(loc)),
        Act::RLock => lock.rlock_at(loc),
        Act::RUnlock => lock.runlock_at(loc),
        Act::TryR => return Some(lock.try_rlock_at(loc)),
        Act::Upgrade => return Some(lock.try_upgrade_at(loc)),
        Act::Downgrade => lock.downgrade_at(loc),
        Act::Assert(what) => lock.assert_at(what, loc),
        _ => {}
    }
    None
}

fn on_sx(lock: &Sx, act: Act, loc: Loc) -> Option<bool> {
    match act {
        Act::Lock => _ = lock.xlock_at(0, loc),
        Act::LockSig => return Some(lock.xlock_at(SX_INTERRUPTIBLE, loc) == 0),
        Act::RLockSig => return Some(lock.slock_at(SX_INTERRUPTIBLE, loc) == 0),
        Act::Unlock => lock.xunlock_at(loc),
        Act::Try => return Some(lock.try_xlock_at(loc)),
        Act::RLock => _ = lock.slock_at(0, loc),
        Act::RUnlock => lock.sunlock_at(loc),
        Act::TryR => return Some(lock.try_slock_at(loc)),
        Act::Upgrade => return Some(lock.try_upgrade_at(loc)),
        Act::Downgrade => lock.downgrade_at(loc),
        Act::Assert(what) => lock.assert_at(what, loc),
        _ => {}
    }
    None
}
