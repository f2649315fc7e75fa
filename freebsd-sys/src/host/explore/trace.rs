//! A replayed schedule step by step: what each event did, in texts for a list and in types for a picture.

use super::boundary::RESUME;
use crate::cpu::curcpu;
use crate::host::callsite;
use crate::lock::{Loc, LockObject};
use crate::machine::Machine;
use crate::thread::{self, Thread, curthread, tdf};

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
    /// The source line that asked for it, outside the kernel and the shim if there is one; none for most of what they do by
    /// themselves, and where a build has no debug information.
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
pub(super) struct Trace {
    pub(super) steps: Vec<Step>,
    words: Vec<(usize, usize)>,
    threads: Vec<Seen>,
    /// The stacks of the steps that were not told which driver asked for them.
    stacks: Vec<(usize, callsite::Stack)>,
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

/// What an idle thread does when the schedule moves its CPU.
pub(super) const IDLE: &str = "idle";

impl Trace {
    /// The running thread performs `what`; what the previous step changed is now visible.
    pub(super) fn note(&mut self, m: &Machine, what: &'static str, obj: usize, loc: Option<Loc>) {
        let kind = if what == RESUME { Kind::Resume } else { Kind::Primitive };
        self.note_text(m, kind, on_lock(what, obj));
        if let Some(last) = self.steps.last_mut() {
            // A guard's drop is told a place in the standard library.
            last.at = loc.filter(|loc| !loc.file().contains("/library/core/")).map(|loc| loc.to_string());
        }
        if loc.is_none_or(|loc| callsite::is_kernel(loc.file())) {
            self.stacks.push((self.steps.len() - 1, callsite::stack()));
        }
        // An initialisation names its lock only while it runs.
        self.unnamed = (obj != 0 && !is_listed(m, obj)).then_some((what, obj));
    }

    /// Finds the source lines that were not told, when the machine has ended. What the kernel does by itself keeps its own.
    pub(super) fn find_callers(&mut self) {
        let mut lines = callsite::Lines::default();
        for (at, stack) in self.stacks.drain(..) {
            if let Some(line) = lines.caller(&stack) {
                self.steps[at].at = Some(line);
            }
        }
    }

    /// An atomic operation of the primitive under way.
    pub(super) fn note_instruction(&mut self, m: &Machine, what: &'static str, at: usize) {
        // SAFETY: listed locks are alive; the running thread's own field.
        let (primitive, _) = unsafe { *curthread().op.get() };
        let word = m.live_locks().iter().map(|&lock| lock as usize).find(|&lock| at == lock + size_of::<LockObject>());
        let on = word.map(crate::machine::lock_name).unwrap_or_default();
        let owner = m.threads().iter().find(|td| td.state_address() as usize == at).map(|td| td.name().to_owned());
        let on = owner.unwrap_or(on);
        self.note_text(m, Kind::Primitive, format!("{primitive}: {what} {on}").trim_end().to_owned());
    }

    pub(super) fn note_text(&mut self, m: &Machine, kind: Kind, what: String) {
        self.settle(m);
        let (cpu, thread) = (curcpu().cpuid, curthread().name().to_owned());
        self.steps.push(Step { cpu, thread, what, kind, ..Step::default() });
    }

    /// The running thread's primitive spins: says on whom.
    pub(super) fn spins(&mut self, m: &Machine, obj: usize) {
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
    pub(super) fn settle(&mut self, m: &Machine) {
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
pub(super) fn on_lock(what: &str, obj: usize) -> String {
    if obj == 0 { what.to_owned() } else { format!("{what}({})", crate::machine::lock_name(obj)) }
}

/// The lock at `id`, or somebody's own.
pub(crate) fn name_of(m: &Machine, id: usize) -> String {
    if is_listed(m, id) { crate::machine::lock_name(id) } else { "a lock".to_owned() }
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
