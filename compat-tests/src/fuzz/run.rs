//! Running a program on the emulated kernel.

use super::Switches;
use super::model::Outcome;
use super::program::{Act, Call, Kind, Program, THREADS, line, lock_name};
use freebsd_sys::atomic::Owned32;
use freebsd_sys::host::explore::{self, Options};
use freebsd_sys::host::schedule::Schedule;
use freebsd_sys::lock::Loc;
use freebsd_sys::machine::{Budget, Config, Engine, Machine, Verdict};
use freebsd_sys::malloc::{self, M};
use freebsd_sys::mutex::{Mtx, Mtxf};
use freebsd_sys::rmlock::{PrioTracker, Rm, Rmf};
use freebsd_sys::rwlock::{Rw, Rwf};
use freebsd_sys::sched::pri;
use freebsd_sys::sx::{Sx, Sxf};
use freebsd_sys::thread::{self, Kthread, kthread_add};
use freebsd_sys::{cpu, critical, sched, sleep, userret};
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// The machines that programs run on, made when first needed.
#[derive(Debug, Default)]
pub struct Machines(Vec<(Config, Box<Machine>)>);

impl Machines {
    /// The machine for `program`: a CPU for each thread, and a tick for each pause, which a schedule may let pass at any time.
    fn get(&mut self, program: &Program, switches: Switches) -> &Machine {
        let cpus = program.threads.len();
        // A thread on its own sleeps until nothing else can move anyway.
        let ticks = if cpus == 1 { 0 } else { program.pauses() as u32 };
        let config = Config {
            cpus,
            invariants: switches != Switches::None,
            witness: switches == Switches::Witness,
            budget: Budget { ticks, interrupts: 0, migrations: 0 },
            ..Config::default()
        };
        let at = self.0.iter().position(|(of, _)| *of == config).unwrap_or_else(|| {
            self.0.push((config.clone(), Machine::new(config, Engine::Explore)));
            self.0.len() - 1
        });
        &self.0[at].1
    }

    /// How `program` ends under `schedule`, and the number of choices that the schedule had.
    pub fn run(
        &mut self,
        program: &Rc<Program>,
        switches: Switches,
        schedule: &mut dyn Schedule,
        index: u64,
    ) -> (Outcome, usize) {
        let machine = self.get(program, switches);
        let log: Rc<[Cell<u32>; THREADS]> = Rc::new([const { Cell::new(1) }; THREADS]);
        let kept = Rc::new(RefCell::new(Vec::new()));
        let main = || {
            let shared = Rc::new(Shared {
                locks: program.locks.iter().map(|lock| Lock::zeroed(lock.kind)).collect(),
                program: Rc::clone(program),
                log: Rc::clone(&log),
                kept: Rc::clone(&kept),
                invariants: switches != Switches::None,
                go: Owned32::new(0),
                done: Owned32::new(0),
            });
            shared.main();
        };
        let execution = explore::run(machine, schedule, Options { index, ..Options::default() }, &main);
        let outcome = match execution.verdict {
            Verdict::Pass => Outcome::Ends([log[0].get(), log[1].get(), log[2].get()]),
            Verdict::Panic(text) => Outcome::Panics(normal(&text)),
            Verdict::Deadlock(_) | Verdict::Livelock(_) => Outcome::Stuck,
            other => Outcome::Broken(other.to_string()),
        };
        (outcome, execution.events.len())
    }
}

/// A panic's text without what differs from kernel to kernel: addresses, and where an MPASS stands in the source.
fn normal(text: &str) -> String {
    let text = match text.split_once(" failed at ") {
        Some((what, _)) => format!("{what} failed at %s:%d"),
        None => text.to_owned(),
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
}

impl Lock {
    fn zeroed(kind: Kind) -> Self {
        match kind {
            Kind::Mtx | Kind::MtxRecurse | Kind::Spin | Kind::SpinRecurse => Self::Mtx(Mtx::zeroed()),
            Kind::Rw | Kind::RwRecurse => Self::Rw(Rw::zeroed()),
            Kind::Sx | Kind::SxRecurse => Self::Sx(Sx::zeroed()),
            Kind::Rm | Kind::RmRecurse => Self::Rm(Rm::zeroed()),
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
                opts.set(Rmf::NOWITNESS, hidden);
                lock.init(name, opts);
            }
        }
    }
}

/// Trackers in use, latest last. Each is on its CPU's queue, and stays where it is while the list grows.
type Trackers = Vec<Box<PrioTracker>>;

/// What the threads of an execution share.
struct Shared {
    locks: Vec<Lock>,
    program: Rc<Program>,
    log: Rc<[Cell<u32>; THREADS]>,
    kept: Rc<RefCell<Trackers>>,
    invariants: bool,
    go: Owned32,
    done: Owned32,
}

/// Spins until `word` is at least `value`. False: the machine has stopped.
fn wait_for(word: &Owned32, value: u32) -> bool {
    while word.get() < value {
        cpu::observe(word.as_ptr().cast(), 4);
        if !cpu::spinwait() {
            return false;
        }
    }
    true
}

impl Shared {
    /// thread0: the program's first thread.
    fn main(self: &Rc<Self>) {
        for (at, (lock, spec)) in self.locks.iter().zip(&self.program.locks).enumerate() {
            lock.init(at, spec.kind, spec.enrolled);
        }
        let others = self.program.threads.len() - 1;
        if others == 0 {
            self.thread(0);
            return;
        }
        sched::sched_bind(0);
        for at in 1..=others {
            let shared = Rc::clone(self);
            let name = ["", "T1", "T2"][at];
            kthread_add(Kthread { name, priority: pri::PUSER, flags: 0, cpu: Some(at) }, move || {
                sched::sched_bind(at);
                if !wait_for(&shared.go, 1) {
                    return;
                }
                shared.thread(at);
                shared.done.add(1);
                // It keeps what it holds and goes on running: that is what its end means.
                wait_for(&shared.done, u32::MAX);
            });
        }
        // Everybody is bound to a CPU and running before the part begins in which the schedule decides.
        sleep::pause("start", 1);
        explore::begin();
        self.go.set(1);
        self.thread(0);
        wait_for(&self.done, others as u32);
    }

    fn thread(&self, at: usize) {
        let mut state = State { trackers: Default::default(), pinned: 0 };
        for (pc, call) in self.program.threads[at].iter().enumerate() {
            if cpu::scheduler_stopped() {
                return;
            }
            let result = self.call(at, call, Loc::c(c"program".as_ptr(), line(at, pc)), &mut state);
            if let Some(result) = result {
                let log = &self.log[at];
                log.set(log.get() << 1 | u32::from(result));
            }
        }
        // What is still on a CPU's queue must stay where it is until the execution ends.
        self.kept.borrow_mut().extend(state.trackers.into_iter().flatten());
    }

    /// Makes a call; what it returned, if it returns whether it worked.
    fn call(&self, at: usize, call: &Call, loc: Loc, state: &mut State) -> Option<bool> {
        if call.act.takes_lock() {
            if matches!(call.act, Act::Assert(_)) && !cpu::step("assert", 0) {
                // An assertion is no boundary of its own, and what it looks at may change before it.
                return None;
            }
            return match &self.locks[usize::from(call.lock)] {
                Lock::Mtx(lock) => on_mtx(lock, call.act, loc),
                Lock::Rw(lock) => on_rw(lock, call.act, loc),
                Lock::Sx(lock) => on_sx(lock, call.act, loc),
                Lock::Rm(lock) => self.on_rm(lock, call, loc, &mut state.trackers[usize::from(call.lock)]),
            };
        }
        let alone = self.program.threads.len() == 1;
        match call.act {
            Act::CriticalEnter => critical::critical_enter(),
            Act::CriticalExit => critical::critical_exit(),
            Act::NoSleeping => thread::thread_no_sleeping(),
            Act::SleepingOk => thread::thread_sleeping_ok(),
            Act::Pin => {
                sched::sched_pin();
                state.pinned += 1;
            }
            Act::Unpin if alone || state.pinned > 0 => {
                sched::sched_unpin();
                state.pinned -= 1;
            }
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

    fn on_rm(&self, lock: &Rm, call: &Call, loc: Loc, trackers: &mut Trackers) -> Option<bool> {
        match call.act {
            Act::Lock => lock.wlock_at(loc),
            Act::Unlock => lock.wunlock_at(loc),
            Act::RLock | Act::TryR => {
                let tracker = Box::new(PrioTracker::new());
                // SAFETY: a fresh tracker, in a box that lives until this thread's runlock with it, or is forgotten.
                let taken = unsafe { lock.rlock_at(&tracker, call.act == Act::TryR, loc) };
                if taken {
                    trackers.push(tracker);
                }
                return (call.act == Act::TryR).then_some(taken);
            }
            Act::RUnlock => {
                // Without INVARIANTS, a release of what is not held is a write to wild memory: the model has none of it.
                if trackers.is_empty() && !self.invariants {
                    return None;
                }
                let tracker = trackers.pop().unwrap_or_default();
                // SAFETY: the tracker of this thread's last rlock of this lock; or the thread does not hold it, under INVARIANTS.
                unsafe { lock.runlock_at(&tracker, loc) };
            }
            Act::Assert(what) => lock.assert_at(what, loc),
            _ => {}
        }
        None
    }
}

/// What a thread remembers.
struct State {
    trackers: [Trackers; super::program::LOCKS],
    pinned: i32,
}

fn on_mtx(lock: &Mtx, act: Act, loc: Loc) -> Option<bool> {
    match act {
        Act::Lock => lock.lock_at(0, loc),
        Act::Unlock => lock.unlock_at(loc),
        Act::Try => return Some(lock.trylock_at(0, loc)),
        Act::SpinLock => lock.lock_spin_at(0, loc),
        Act::SpinUnlock => lock.unlock_spin_at(loc),
        Act::SpinTry => return Some(lock.trylock_spin_at(0, loc)),
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
