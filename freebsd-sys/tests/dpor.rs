//! The reduced search against the unreduced one: the same classes of executions, each once.

use freebsd_sys::atomic::{Owned32, Word};
use freebsd_sys::host::explore::{self, Options};
use freebsd_sys::host::footprint::Footprint;
use freebsd_sys::host::schedule::dfs::Dfs;
use freebsd_sys::host::schedule::dpor::{Counts, Dpor};
use freebsd_sys::host::schedule::{Choice, Diverged, Event, Performed, Schedule};
use freebsd_sys::machine::{Budget, Config, Engine, Granularity, Machine, Preemption, Verdict};
use freebsd_sys::mutex::{Mtx, Mtxf};
use freebsd_sys::rwlock::{Rw, Rwf, ra};
use freebsd_sys::sched::pri;
use freebsd_sys::thread::{Kthread, kthread_add};
use freebsd_sys::{cpu, critical, interrupt, panic, sleep};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

#[global_allocator]
static HEAP: freebsd_sys::host::heap::Heap = freebsd_sys::host::heap::Heap;

/// What is the same in equivalent executions: each event, named by its process and its place in it, and what comes before it.
type Class = Vec<((String, usize), Vec<usize>)>;

/// A schedule that also says which class each execution is of.
struct Classes<S> {
    inner: S,
    trace: Vec<(Event, Footprint, Vec<u16>)>,
    picks: Vec<u16>,
    /// Only one thing could happen at the last choice.
    alone: bool,
}

impl<S: Schedule> Schedule for Classes<S> {
    fn begin(&mut self, index: u64) {
        self.trace.clear();
        self.picks.clear();
        self.inner.begin(index);
    }
    fn next(&mut self, choice: &Choice<'_>) -> Result<usize, Diverged> {
        if !matches!(choice.enabled[0], Event::Pick(_)) {
            self.alone = choice.enabled.len() == 1;
        }
        if choice.enabled.len() == 1 && !self.inner.records() {
            return Ok(0);
        }
        let at = self.inner.next(choice)?;
        if let Event::Pick(n) = choice.enabled[at] {
            self.picks.push(n);
        }
        Ok(at)
    }
    fn end(&mut self, choices: usize) -> bool {
        self.inner.end(choices)
    }
    fn records(&self) -> bool {
        true
    }
    fn compares_states(&self) -> bool {
        self.inner.compares_states()
    }
    fn performed(&mut self, event: Event, footprint: &Footprint, performed: Performed) {
        let picks = std::mem::take(&mut self.picks);
        if performed != Performed::Nothing {
            self.trace.push((event, footprint.clone(), picks));
        }
        self.inner.performed(event, footprint, performed);
    }
}

impl<S> Classes<S> {
    fn new(inner: S) -> Self {
        Self { inner, trace: Vec::new(), picks: Vec::new(), alone: false }
    }

    /// The class of an execution; `None` of one that ended when something else could still have happened: that is part of
    /// longer ones. One that panicked ends wherever the others are: of it counts what led to the panic.
    fn class(&self, verdict: &Verdict) -> Option<Class> {
        let class = self.whole();
        if !matches!(verdict, Verdict::Panic(_)) {
            return self.alone.then_some(class);
        }
        let Some((last, _, picks)) = self.trace.last() else { return Some(class) };
        let n = self.trace.iter().filter(|(event, ..)| event == last).count() - 1;
        let last = class.iter().position(|(name, _)| *name == (format!("{last}{picks:?}"), n)).expect("it is there");
        let mut past = BTreeSet::from([last]);
        let mut new = vec![last];
        while let Some(at) = new.pop() {
            new.extend(class[at].1.iter().copied().filter(|&before| past.insert(before)));
        }
        Some(past.into_iter().map(|at| (class[at].0.clone(), Vec::new())).collect())
    }

    fn whole(&self) -> Class {
        let mut counts = BTreeMap::new();
        let mut names = Vec::new();
        for (event, _, picks) in &self.trace {
            let n = counts.entry(event.to_string()).or_insert(0);
            names.push((format!("{event}{picks:?}"), *n));
            *n += 1;
        }
        let mut order: Vec<_> = (0..names.len()).collect();
        order.sort_by(|&a, &b| names[a].cmp(&names[b]));
        let place: BTreeMap<_, _> = order.iter().enumerate().map(|(place, &i)| (i, place)).collect();
        order
            .iter()
            .map(|&i| {
                let (event, footprint, _) = &self.trace[i];
                let mut before: Vec<_> = (0..i)
                    .filter(|&j| self.trace[j].0.cpu() == event.cpu() || self.trace[j].1.conflicts(footprint))
                    .map(|j| place[&j])
                    .collect();
                before.sort_unstable();
                (names[i].clone(), before)
            })
            .collect()
    }
}

/// What an exhaustive search found.
struct Found {
    classes: BTreeSet<Class>,
    verdicts: BTreeSet<String>,
    executions: u64,
}

/// Every execution, without reduction; `None` if there are too many.
fn unreduced(machine: &Machine, main: &dyn Fn(), most: u64) -> Option<Found> {
    let mut schedule = Classes::new(Dfs::new());
    let mut found = Found { classes: BTreeSet::new(), verdicts: BTreeSet::new(), executions: 0 };
    loop {
        let e = explore::run(machine, &mut schedule, Options::default(), main);
        assert!(e.diverged.is_none(), "{:?}", e.diverged);
        found.executions += 1;
        if let Some(class) = schedule.class(&e.verdict) {
            found.classes.insert(class);
        }
        found.verdicts.insert(format!("{:?}", e.verdict));
        if !schedule.end(e.events.len()) {
            return Some(found);
        }
        if found.executions == most {
            return None;
        }
    }
}

/// One execution of each class.
fn reduced(machine: &Machine, main: &dyn Fn()) -> (Found, Counts) {
    search(machine, main, Dpor::new())
}

/// What is found where no execution goes on from a state that was searched.
fn by_states(machine: &Machine, main: &dyn Fn()) -> (BTreeSet<String>, Counts) {
    let (found, counts) = search(machine, main, Dpor::of_states());
    (found.verdicts, counts)
}

fn search(machine: &Machine, main: &dyn Fn(), dpor: Dpor) -> (Found, Counts) {
    let mut schedule = Classes::new(dpor);
    let mut found = Found { classes: BTreeSet::new(), verdicts: BTreeSet::new(), executions: 0 };
    loop {
        let e = explore::run(machine, &mut schedule, Options::default(), main);
        if !schedule.inner.gave_up() {
            assert!(e.diverged.is_none(), "{:?}", e.diverged);
            found.executions += 1;
            if let Some(class) = schedule.class(&e.verdict)
                && !found.classes.insert(class)
            {
                assert!(matches!(e.verdict, Verdict::Panic(_)), "a class twice: {:#?}", schedule.trace);
            }
            found.verdicts.insert(format!("{:?}", e.verdict));
        }
        let more = schedule.end(e.events.len());
        if schedule.inner.counts() == Counts::default() {
            // Begun anew.
            found = Found { classes: BTreeSet::new(), verdicts: BTreeSet::new(), executions: 0 };
        }
        if !more {
            return (found, schedule.inner.counts());
        }
    }
}

fn machine(cpus: usize, ticks: u32) -> Box<Machine> {
    let budget = Budget { ticks, interrupts: 0, migrations: 0 };
    Machine::new(
        Config { cpus, budget, witness: false, preemption: Preemption::Any, ..Config::default() },
        Engine::Explore,
    )
}

/// Runs a body per thread, the first on the calling thread and the others on the other CPUs; those too many share the last.
fn run_bodies(bodies: Vec<Box<dyn FnOnce() + Send>>, cpus: usize) {
    let mut bodies = bodies.into_iter();
    let first = bodies.next().expect("a body");
    let spec = |cpu| Kthread { name: "T", priority: pri::PUSER, flags: 0, cpu: Some(cpu) };
    let threads: Vec<_> = bodies.enumerate().map(|(i, body)| kthread_add(spec((i + 1).min(cpus - 1)), body)).collect();
    explore::begin();
    first();
    threads.into_iter().for_each(explore::join);
    explore::end();
}

fn mutex_program(threads: usize, rounds: usize, cpus: usize) {
    let shared = Arc::new(Mtx::zeroed());
    shared.init(c"mutex", Mtxf::NOWITNESS);
    let body = || {
        let shared = Arc::clone(&shared);
        Box::new(move || {
            for _ in 0..rounds {
                shared.lock();
                shared.unlock();
            }
        }) as Box<dyn FnOnce() + Send>
    };
    run_bodies((0..threads).map(|_| body()).collect(), cpus);
}

#[test]
fn a_mutex_takes_as_many_executions_as_it_has_orders() {
    for (threads, rounds, orders) in [(2, 1, 2), (2, 2, 6), (3, 1, 6), (3, 2, 90)] {
        let m = machine(threads, 0);
        let (found, counts) = reduced(&m, &|| mutex_program(threads, rounds, threads));
        println!("{threads}x{rounds}: {counts:?}");
        assert_eq!(found.verdicts.iter().map(String::as_str).collect::<Vec<_>>(), ["Pass"]);
        assert_eq!(counts.executions, orders, "{threads} threads x {rounds}");
    }
}

#[test]
fn every_class_of_the_unreduced_search() {
    for (threads, rounds, cpus, ticks) in [(2, 1, 2, 0), (2, 2, 2, 0), (3, 1, 3, 0), (3, 1, 2, 0), (3, 1, 2, 1)] {
        let m = machine(cpus, ticks);
        let main = || mutex_program(threads, rounds, cpus);
        let (found, counts) = reduced(&m, &main);
        let all = unreduced(&m, &main, 2_000_000).expect("few enough");
        println!("{threads}x{rounds} on {cpus}, {ticks} ticks: {counts:?}, {} unreduced", all.executions);
        assert_eq!(found.verdicts, all.verdicts);
        if let Some(class) = all.classes.difference(&found.classes).next() {
            for class in &found.classes {
                println!("FOUND {class:?}");
            }
            panic!("a class is missed: {class:?}");
        }
        assert_eq!(found.classes.len(), all.classes.len());
    }
}

/// What generated programs share.
struct Shared {
    a: Mtx,
    b: Mtx,
    spin: Mtx,
    rw: Rw,
    x: Owned32,
    word: Word,
}

/// A body by letters; a capital takes what the small letter gives back.
///
/// A, B: sleep mutexes. S: a spin mutex. R, W: an rwlock; L: asserts that somebody has it. C: a critical section. T: an attempt at A. x: writes a variable. g: reads it.
/// !: panics if it was written. q: an atomic operation that makes a word 1, in a primitive that shares nothing; p: panics if it was. z: sleeps with A as the interlock, k: wakes who does.
/// d: polls the variable, for at most two ticks; D, e: by an access in each round, e without an end. t: lets a tick pass. l: panics if one has.
fn perform(letters: &str, shared: &Shared) {
    let chan = core::ptr::from_ref(&shared.b) as usize + 1;
    let x = shared.x.as_ptr() as usize;
    for letter in letters.chars() {
        match letter {
            'A' => shared.a.lock(),
            'a' => shared.a.unlock(),
            'B' => shared.b.lock(),
            'b' => shared.b.unlock(),
            'S' => shared.spin.lock_spin(),
            's' => shared.spin.unlock_spin(),
            'R' => shared.rw.rlock(),
            'r' => shared.rw.runlock(),
            'W' => shared.rw.wlock(),
            'w' => shared.rw.wunlock(),
            'L' => shared.rw.assert(ra::LOCKED),
            'C' => critical::critical_enter(),
            'c' => critical::critical_exit(),
            'T' => {
                if shared.a.trylock() {
                    shared.a.unlock();
                }
            }
            'x' => {
                explore::access(x, 4, true, true);
                shared.x.set(1);
            }
            'g' => explore::access(x, 4, false, true),
            '!' => {
                explore::access(x, 4, false, true);
                if shared.x.get() != 0 {
                    panic::panic_args(format_args!("it was written"));
                }
            }
            'q' => {
                critical::critical_enter();
                _ = shared.word.fcmpset_acq(0, 1);
                critical::critical_exit();
            }
            'p' => {
                critical::critical_enter();
                if shared.word.read() != 0 {
                    panic::panic_args(format_args!("it was 1"));
                }
                critical::critical_exit();
            }
            'z' => {
                sleep::sleep(chan, Some(shared.a.object()), sleep::How::default(), "z");
            }
            'k' => sleep::wakeup(chan),
            'd' => {
                let end = sleep::ticks() + 2;
                explore::access(x, 4, false, true);
                // No boundary in the loop: a round that comes to nothing would not be a wait.
                while shared.x.get() == 0 && sleep::ticks() < end && cpu::spinwait() {
                    cpu::observe(shared.x.as_ptr().cast(), 4);
                }
            }
            'D' | 'e' => {
                let end = if letter == 'D' { sleep::ticks() + 2 } else { u64::MAX };
                loop {
                    explore::access(x, 4, false, true);
                    if shared.x.get() != 0 || letter == 'D' && sleep::ticks() >= end || !cpu::spinwait() {
                        break;
                    }
                }
            }
            't' => sleep::delay(1000),
            'l' => {
                if sleep::ticks() != 1 {
                    panic::panic_args(format_args!("time has passed"));
                }
            }
            other => unreachable!("{other} is no letter"),
        }
    }
}

/// Runs the bodies on `cpus` CPUs; `interrupt` is what an ithread does when its interrupt comes at any time on the last CPU.
fn generated(bodies: &[&str], interrupt: Option<&'static str>, cpus: usize) {
    let shared = Arc::new(Shared {
        a: Mtx::zeroed(),
        b: Mtx::zeroed(),
        spin: Mtx::zeroed(),
        rw: Rw::zeroed(),
        x: Owned32::new(0),
        word: Word::new(0),
    });
    shared.a.init(c"a", Mtxf::NOWITNESS);
    shared.b.init(c"b", Mtxf::NOWITNESS);
    shared.spin.init(c"spin", Mtxf::SPIN | Mtxf::NOWITNESS);
    shared.rw.init(c"rw", Rwf::NOWITNESS);
    if let Some(letters) = interrupt {
        let irq = interrupt::create("any", interrupt::Arrival::AnyTime, pri::PI_REALTIME, Some(cpus - 1));
        let shared = Arc::clone(&shared);
        interrupt::setup(irq, None, Some(Box::new(move || perform(letters, &shared))), 1);
    }
    let body = |letters: &&str| {
        let (shared, letters) = (Arc::clone(&shared), (*letters).to_owned());
        Box::new(move || perform(&letters, &shared)) as Box<dyn FnOnce() + Send>
    };
    run_bodies(bodies.iter().map(body).collect(), cpus);
}

/// Compares the two searches on a program; the number of executions, or `None` if the unreduced search is too long.
fn compare(m: &Machine, name: &str, main: &dyn Fn(), most: u64) -> Option<(u64, Counts)> {
    let all = unreduced(m, main, most)?;
    let (found, counts) = reduced(m, main);
    assert_eq!(found.verdicts, all.verdicts, "{name}");
    if let Some(class) = all.classes.difference(&found.classes).next() {
        panic!("{name}: of {} classes one is missed: {class:?}", all.classes.len());
    }
    assert_eq!(found.classes.len(), all.classes.len(), "{name}");
    let (verdicts, states) = by_states(m, main);
    assert_eq!(verdicts, all.verdicts, "{name}, by states");
    assert!(states.executions <= counts.executions, "{name}, by states: {states:?}, {counts:?}");
    Some((all.executions, counts))
}

const BODIES: [&str; 22] = [
    "Aa", "ABba", "BAab", "AaBb", "Ss", "Rr", "Ww", "RAar", "x", "g", "xx", "T", "Cc", "CAac", "CSsc", "Axa", "A!a",
    "!", "Aza", "Aka", "q", "p",
];

/// Executions of an unreduced search that is not too long; `LKPI_LONGEST` raises it.
fn longest() -> u64 {
    std::env::var("LKPI_LONGEST").ok().and_then(|text| text.parse().ok()).unwrap_or(2_000)
}

/// Sums over programs.
#[derive(Debug, Default)]
struct Sums {
    programs: u64,
    unreduced: u64,
    reduced: u64,
    given_up: u64,
    too_long: u64,
}

impl Sums {
    fn add(&mut self, m: &Machine, name: &str, main: &dyn Fn()) {
        match compare(m, name, main, longest()) {
            Some((unreduced, counts)) => {
                self.programs += 1;
                self.unreduced += unreduced;
                self.reduced += counts.executions;
                self.given_up += counts.given_up;
            }
            None => self.too_long += 1,
        }
    }
}

#[test]
fn generated_programs() {
    let m = machine(2, 0);
    let mut sums = Sums::default();
    for (i, &first) in BODIES.iter().enumerate() {
        for &second in &BODIES[i..] {
            sums.add(&m, &format!("{first} {second}"), &|| generated(&[first, second], None, 2));
        }
    }
    println!("{sums:?}");
    assert_eq!(sums.too_long, 0);
}

#[test]
fn generated_programs_of_two_statements() {
    const STATEMENTS: [&str; 10] = ["Aa", "Bb", "Ss", "Rr", "Ww", "x", "g", "T", "!", "k"];
    let m = machine(2, 0);
    let mut sums = Sums::default();
    let mut nth = 0;
    for first in STATEMENTS.iter().flat_map(|a| STATEMENTS.map(|b| format!("{a}{b}"))) {
        for second in STATEMENTS.iter().flat_map(|a| STATEMENTS.map(|b| format!("{a}{b}"))) {
            nth += 1;
            if first <= second && (nth % 7 == 0 || longest() > 2_000) {
                sums.add(&m, &format!("{first} {second}"), &|| generated(&[&first, &second], None, 2));
            }
        }
    }
    println!("{sums:?}");
    assert!(sums.programs >= 100);
}

#[test]
fn generated_programs_with_a_tick() {
    // The second CPU has two threads, and a tick may take it from the first.
    let m = machine(2, 1);
    let mut sums = Sums::default();
    for first in BODIES {
        for second in ["Aa", "x", "Ww", "Ss", "CAac", "!"] {
            for third in ["Aa", "x", "Rr"] {
                let name = format!("{first} {second} {third}");
                sums.add(&m, &name, &|| generated(&[first, second, third], None, 2));
            }
        }
    }
    println!("{sums:?}");
    assert!(sums.programs >= 100);
}

/// An assertion is part of what comes before it.
#[test]
fn assertions_of_others_locks() {
    let m = machine(2, 0);
    for first in ["xL", "AaL", "xLgL"] {
        for second in ["Rr", "Ww", "RrWw", "xRr"] {
            let (_, counts) =
                compare(&m, first, &|| generated(&[first, second], None, 2), 2_000).expect("few enough executions");
            assert!(counts.executions >= 2, "{first} {second}: {counts:?}");
        }
    }
}

/// What is asked of the clock, and what makes it go on, is shared.
#[test]
fn generated_programs_with_the_clock() {
    const CLOCKS: [&str; 6] = ["d", "t", "l", "Ada", "dl", "CtSsc"];
    let mut sums = Sums::default();
    for ticks in [0, 1] {
        let m = machine(2, ticks);
        for first in CLOCKS {
            for second in CLOCKS.into_iter().chain(["Aa", "x", "!", "Axa", "Sxs"]) {
                sums.add(&m, &format!("{first} {second}, {ticks} ticks"), &|| generated(&[first, second], None, 2));
            }
        }
    }
    println!("{sums:?}");
    assert!(sums.programs >= 100);
}

#[test]
fn generated_programs_with_an_interrupt() {
    let budget = Budget { ticks: 0, interrupts: 1, migrations: 0 };
    let m = Machine::new(Config { cpus: 2, budget, witness: false, ..Config::default() }, Engine::Explore);
    let mut sums = Sums::default();
    for first in BODIES {
        for second in ["Aa", "x", "Ww", "Ss", "CAac", "Cc"] {
            for handler in ["x", "Aa", "T"] {
                let name = format!("{first} {second}, {handler} in an ithread");
                sums.add(&m, &name, &|| generated(&[first, second], Some(handler), 2));
            }
        }
    }
    println!("{sums:?}");
    assert!(sums.programs >= 100);
}

/// A round of these is two transitions, an access and a wait, of which only the one that ends in the wait is erased. So how often somebody
/// looked in vain tells classes apart that are otherwise the same, and it is the verdicts that are compared.
#[test]
fn verdicts_of_programs_that_poll() {
    const POLLS: [&str; 10] = ["Se", "D", "e", "ADa", "Ae!a", "ge", "De", "Dl", "D!", "eq"];
    const OTHERS: [&str; 15] = ["Ss", "Aa", "x", "!", "Axa", "Sxs", "tx", "l", "gx", "xx", "q", "p", "td", "lx", "x!"];
    let (mut programs, mut too_long, mut verdicts) = (0, 0, BTreeSet::new());
    for (ticks, interrupt) in [(0, None), (1, None), (0, Some("x")), (0, Some("q"))] {
        let budget = Budget { ticks, interrupts: u32::from(interrupt.is_some()), migrations: 0 };
        let m = Machine::new(
            Config { cpus: 2, budget, witness: false, preemption: Preemption::Any, ..Config::default() },
            Engine::Explore,
        );
        for first in POLLS {
            for second in POLLS.into_iter().chain(OTHERS) {
                let main = || generated(&[first, second], interrupt, 2);
                let Some(all) = unreduced(&m, &main, longest()) else {
                    too_long += 1;
                    continue;
                };
                let (found, _) = reduced(&m, &main);
                let name = format!("{first} {second}, {ticks} ticks, {interrupt:?} in an ithread");
                assert_eq!(found.verdicts, all.verdicts, "{name}");
                assert_eq!(by_states(&m, &main).0, all.verdicts, "{name}, by states");
                programs += 1;
                verdicts.extend(found.verdicts);
            }
        }
    }
    println!("{programs} programs, {too_long} too long, {} verdicts", verdicts.len());
    assert!(programs >= 300 && verdicts.len() >= 6);
    assert!(verdicts.contains("Panic(\"spin lock held too long\")"), "{verdicts:?}");
}

/// A machine on which each atomic operation is a transition.
fn by_instruction(cpus: usize, interrupts: u32, adaptive: bool) -> Box<Machine> {
    let (budget, granularity) = (Budget { ticks: 0, interrupts, migrations: 0 }, Granularity::Insn);
    Machine::new(Config { cpus, budget, granularity, adaptive, witness: false, ..Config::default() }, Engine::Explore)
}

#[test]
fn generated_programs_by_instruction() {
    const BODIES: [&str; 8] = ["Aa", "Ss", "Rr", "Ww", "T", "x", "Aka", "A!a"];
    for adaptive in [true, false] {
        let m = by_instruction(2, 0, adaptive);
        let mut sums = Sums::default();
        for (i, &first) in BODIES.iter().enumerate() {
            for &second in &BODIES[i..] {
                let name = format!("{first} {second} by instruction, adaptive: {adaptive}");
                sums.add(&m, &name, &|| generated(&[first, second], None, 2));
            }
        }
        println!("adaptive: {adaptive}: {sums:?}");
        assert!(sums.programs >= 20);
    }
}

#[test]
fn generated_programs_by_instruction_with_an_interrupt() {
    let m = by_instruction(2, 1, true);
    let mut sums = Sums::default();
    for first in ["Aa", "x", "Ss", "T"] {
        for second in ["Aa", "x", "Ss", "Ww"] {
            for handler in ["x", "T"] {
                let name = format!("{first} {second}, {handler} in an ithread, by instruction");
                sums.add(&m, &name, &|| generated(&[first, second], Some(handler), 2));
            }
        }
    }
    println!("{sums:?}");
    assert!(sums.programs >= 6);
}
