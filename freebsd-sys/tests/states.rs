//! Searches that do not go on from where they have been before.

use freebsd_sys::atomic::Owned32;
use freebsd_sys::callout::{Callout, Cf};
use freebsd_sys::host::explore::{self, Options};
use freebsd_sys::host::schedule::dfs::Dfs;
use freebsd_sys::host::schedule::dpor::{Counts, Dpor};
use freebsd_sys::host::schedule::{Rng, Schedule};
use freebsd_sys::machine::{Budget, Config, Engine, Machine, Verdict};
use freebsd_sys::mutex::{Mtx, Mtxf};
use freebsd_sys::sched::pri;
use freebsd_sys::thread::{Kthread, kthread_add};
use freebsd_sys::{cpu, interrupt, panic, sleep};
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

#[global_allocator]
static HEAP: freebsd_sys::host::heap::Heap = freebsd_sys::host::heap::Heap;

fn machine(budget: Budget) -> Box<Machine> {
    Machine::new(Config { cpus: 2, budget, ..Config::default() }, Engine::Explore)
}

const NOTHING: Budget = Budget { ticks: 0, interrupts: 0, migrations: 0 };

fn search(m: &Machine, mut dpor: Dpor, memory: &[Range<usize>], main: &dyn Fn()) -> (BTreeSet<String>, Counts) {
    let mut verdicts = BTreeSet::new();
    loop {
        let e = explore::run(m, &mut dpor, Options { memory, ..Options::default() }, main);
        if !dpor.lost() {
            assert!(e.diverged.is_none(), "{:?}", e.diverged);
            verdicts.insert(format!("{:?}", e.verdict));
        }
        if !dpor.end(e.events.len()) {
            assert!(dpor.exhausted());
            return (verdicts, dpor.counts());
        }
    }
}

fn compute(times: u32) {
    for _ in 0..times {
        cpu::step("compute", 0);
    }
}

fn write(x: &Owned32, value: u32) {
    explore::access(x.as_ptr() as usize, 4, true, true);
    x.set(value);
}

fn read(x: &Owned32) -> u32 {
    explore::access(x.as_ptr() as usize, 4, false, true);
    x.get()
}

/// Runs `first` on CPU 0 and `second` on CPU 1.
fn both(first: impl FnOnce(), second: impl FnOnce() + Send + 'static) {
    let spec = Kthread { name: "T", priority: pri::PUSER, flags: 0, cpu: Some(1) };
    let td = kthread_add(spec, second);
    explore::begin();
    first();
    explore::join(td);
    explore::end();
}

#[test]
fn who_had_the_lock_first_is_forgotten() {
    let main = || {
        let shared = Arc::new(Mtx::zeroed());
        shared.init(c"mutex", Mtxf::empty());
        let other = Arc::clone(&shared);
        let rounds = |mutex: &Mtx| {
            for _ in 0..6 {
                mutex.lock();
                mutex.unlock();
            }
        };
        both(|| rounds(&shared), move || rounds(&other));
    };
    let m = machine(NOTHING);
    let (verdicts, plain) = search(&m, Dpor::new(), &[], &main);
    let (same, by_states) = search(&m, Dpor::of_states(), &[], &main);
    println!("{plain:?} {by_states:?}");
    assert_eq!(verdicts, same);
    // The orders of two times six, and the places where one of them may be.
    assert_eq!(plain.executions, 924);
    assert!(by_states.executions + by_states.met < 70, "{by_states:?}");
    // A machine's first execution makes what later ones use again.
    let (_, first) = search(&machine(NOTHING), Dpor::of_states(), &[], &main);
    assert_eq!(first, by_states);
}

#[test]
fn interrupts_that_nobody_notices_lead_back() {
    let main = || {
        let shared = Arc::new(Mtx::zeroed());
        shared.init(c"mutex", Mtxf::empty());
        interrupt::bystanders();
        let other = Arc::clone(&shared);
        let body = |mutex: &Mtx| {
            compute(4);
            mutex.lock();
            mutex.unlock();
        };
        both(|| body(&shared), move || body(&other));
    };
    let m = machine(Budget { interrupts: 2, ..NOTHING });
    let (verdicts, plain) = search(&m, Dpor::new(), &[], &main);
    let (same, by_states) = search(&m, Dpor::of_states(), &[], &main);
    println!("{plain:?} {by_states:?}");
    assert_eq!(verdicts, same);
    assert!(by_states.executions * 4 < plain.executions, "{plain:?} {by_states:?}");
}

/// What differs in what two executions have met so far is found wherever the kernel keeps it.
#[test]
fn states_differ_by_whatever_matters_later() {
    /// Each comes to the same place in two ways, and panics there after one of them.
    type Program = (&'static str, Budget, fn());
    let programs: [Program; 4] = [
        ("a word of the heap", NOTHING, || {
            let x = Arc::new(Owned32::new(0));
            let other = Arc::clone(&x);
            let body = |x: &Owned32, value: u32| {
                compute(1);
                write(x, value);
                compute(2);
            };
            let last = Arc::clone(&x);
            both(move || body(&x, 1), move || body(&other, 2));
            if last.get() == 1 {
                panic::panic_args(format_args!("the first was last"));
            }
        }),
        ("who sleeps first", NOTHING, || {
            let shared = Arc::new((Mtx::zeroed(), Owned32::new(0)));
            shared.0.init(c"mutex", Mtxf::empty());
            let chan = Arc::as_ptr(&shared) as usize;
            let sleeper = |shared: Arc<(Mtx, Owned32)>, name: u32| {
                move || {
                    shared.0.lock();
                    sleep::sleep(chan, Some(shared.0.object()), sleep::How::default(), "queue");
                    if shared.1.get() == 0 {
                        shared.1.set(name);
                    }
                    shared.0.unlock();
                }
            };
            let spec = |cpu| Kthread { name: "S", priority: pri::PUSER, flags: 0, cpu: Some(cpu) };
            let a = kthread_add(spec(0), sleeper(Arc::clone(&shared), 1));
            let b = kthread_add(spec(1), sleeper(Arc::clone(&shared), 2));
            explore::begin();
            // Both sleep once nothing else can move.
            sleep::pause("both", 10);
            sleep::wakeup_one(chan);
            sleep::pause("one", 10);
            if shared.1.get() == 2 {
                panic::panic_args(format_args!("the second slept first"));
            }
            sleep::wakeup(chan);
            explore::join(a);
            explore::join(b);
            explore::end();
        }),
        ("what time it is", Budget { ticks: 1, ..NOTHING }, || {
            let before = sleep::ticks();
            let far = Arc::new(Callout::new());
            let handler: Arc<dyn Fn() + Send + Sync> = Arc::new(|| ());
            far.reset(100, handler, None, Cf::empty());
            let disarm = || {
                compute(2);
                far.stop();
                // From here on no tick comes.
                compute(3);
            };
            both(disarm, || compute(3));
            if sleep::ticks() != before {
                panic::panic_args(format_args!("the clock ticked"));
            }
        }),
        ("where an allocation is", NOTHING, || {
            let blocks = Arc::new((Owned32::new(0), Owned32::new(0)));
            let other = Arc::clone(&blocks);
            let allocate = |into: &Owned32| {
                let at = freebsd_sys::malloc::malloc(64, "temp", freebsd_sys::malloc::M::NOWAIT);
                into.set(at as usize as u32);
                freebsd_sys::malloc::free(at, "temp");
            };
            let kept = Arc::clone(&blocks);
            both(move || allocate(&blocks.0), move || allocate(&other.1));
            if kept.0.get() > kept.1.get() {
                panic::panic_args(format_args!("the first came second"));
            }
        }),
    ];
    for (name, budget, main) in programs {
        let m = machine(budget);
        let (verdicts, plain) = search(&m, Dpor::new(), &[], &main);
        let (same, by_states) = search(&m, Dpor::of_states(), &[], &main);
        println!("{name}: {verdicts:?} {plain:?} {by_states:?}");
        assert_eq!(verdicts, same, "{name}");
        assert!(verdicts.len() >= 2, "{name}: {verdicts:?}");
    }
}

/// Memory of the test's own, which no machine knows of.
#[test]
fn memory_that_is_in_no_state() {
    thread_local! {
        static OUTSIDE: &'static Owned32 = Box::leak(Box::new(Owned32::new(0)));
    }
    let x = OUTSIDE.with(|x| *x);
    let bump = move || {
        for _ in 0..3 {
            explore::access(x.as_ptr() as usize, 4, true, true);
            x.set(x.get() * 3 % 1000 + 1);
        }
    };
    let m = machine(NOTHING);
    let main = || {
        x.set(0);
        let twice = move || {
            for _ in 0..3 {
                explore::access(x.as_ptr() as usize, 4, true, true);
                x.set(x.get() * 2 % 1000);
            }
        };
        both(bump, twice);
        panic::panic_args(format_args!("{}", x.get()));
    };
    let (verdicts, plain) = search(&m, Dpor::new(), &[], &main);
    assert!(verdicts.len() > 5 && plain.executions == 20, "{verdicts:?} {plain:?}");
    let (same, unknown) = search(&m, Dpor::of_states(), &[], &main);
    assert_eq!(verdicts, same);
    assert_eq!((unknown.met, unknown.executions), (0, 20), "{unknown:?}");
    let at = x.as_ptr() as usize;
    let memory = at..at + 4;
    let (same, known) = search(&m, Dpor::of_states(), core::slice::from_ref(&memory), &main);
    assert_eq!(verdicts, same);
    assert!(known.states > 0, "{known:?}");
}

/// An interrupt looks at what another CPU writes only after the search has been where the interrupt leads back to.
#[test]
fn what_followed_a_state_conflicts_with_what_led_to_it() {
    let m = machine(Budget { interrupts: 1, ..NOTHING });
    let main = || {
        let shared = Arc::new((Owned32::new(0), Owned32::new(0)));
        let irq = interrupt::create("looks", interrupt::Arrival::AnyTime, pri::PI_REALTIME, Some(0));
        let (looks, writes) = (Arc::clone(&shared), Arc::clone(&shared));
        let handler = move || {
            if read(&looks.0) == 1 && read(&looks.1) == 1 {
                panic::panic_args(format_args!("both were written"));
            }
        };
        interrupt::setup(irq, None, Some(Box::new(handler)), 1);
        both(
            || {
                write(&shared.0, 1);
                write(&shared.0, 0);
            },
            move || {
                // So long that the handler is through before.
                compute(40);
                write(&writes.1, 1);
            },
        );
    };
    let (verdicts, plain) = search(&m, Dpor::new(), &[], &main);
    let (same, by_states) = search(&m, Dpor::of_states(), &[], &main);
    println!("{verdicts:?} {plain:?} {by_states:?}");
    assert_eq!(verdicts, same);
    assert_eq!(verdicts.len(), 2);
    assert!(by_states.met > 0);
}

/// The search comes first with nothing left of its budget to where it needs some.
#[test]
fn a_state_was_searched_with_less_of_the_budget() {
    let m = machine(Budget { interrupts: 1, ..NOTHING });
    let main = || {
        let shared = Arc::new((Owned32::new(0), Owned32::new(0)));
        let irq = interrupt::create("looks", interrupt::Arrival::AnyTime, pri::PI_REALTIME, Some(0));
        let (looks, late) = (Arc::clone(&shared), Arc::clone(&shared));
        let handler = move || {
            if read(&looks.1) == 1 {
                panic::panic_args(format_args!("the window was open"));
            }
        };
        interrupt::setup(irq, None, Some(Box::new(handler)), 1);
        both(
            || {
                write(&shared.0, 1);
                compute(3);
            },
            move || {
                if read(&late.0) == 0 {
                    write(&late.1, 1);
                    compute(1);
                    write(&late.1, 0);
                }
            },
        );
    };
    let (verdicts, plain) = search(&m, Dpor::new(), &[], &main);
    let (same, by_states) = search(&m, Dpor::of_states(), &[], &main);
    println!("{verdicts:?} {plain:?} {by_states:?}");
    assert_eq!(verdicts, same);
    assert_eq!(verdicts.len(), 2);
    assert!(by_states.met > 0);
}

/// What threads and handlers of random programs share. What they compute forgets most of its history, so that states meet, and ends as
/// the verdict, so that none may be lost.
struct Numbers {
    x: Owned32,
    y: Owned32,
    mutex: Mtx,
}

const MODULUS: u32 = 5;

fn perform(ops: &[u8], n: &Numbers) {
    for op in ops {
        match op {
            0 => write(&n.x, (2 * read(&n.x) + 1) % MODULUS),
            1 => write(&n.y, (read(&n.x) + 3 * read(&n.y)) % MODULUS),
            2 => {
                n.mutex.lock();
                write(&n.x, (read(&n.x) + 3) % MODULUS);
                n.mutex.unlock();
            }
            3 => {
                if n.mutex.trylock() {
                    write(&n.y, (read(&n.y) + 1) % MODULUS);
                    n.mutex.unlock();
                } else {
                    write(&n.x, (read(&n.x) + 2) % MODULUS);
                }
            }
            4 => compute(1),
            _ if read(&n.x) == read(&n.y) => write(&n.y, (read(&n.y) + 2) % MODULUS),
            _ => {}
        }
    }
}

/// Three bodies, the second and the third on CPU 1, and what an ithread does on a CPU.
#[derive(Debug, Clone)]
struct Random {
    bodies: [Vec<u8>; 3],
    handler: Option<(usize, Vec<u8>)>,
}

impl Random {
    fn new(rng: &mut Rng) -> Self {
        let mut ops = |most: usize| (0..rng.below(most + 1)).map(|_| rng.below(6) as u8).collect::<Vec<_>>();
        let bodies = [ops(3), ops(2), ops(1)];
        let handler = ops(1);
        Self { bodies, handler: (!handler.is_empty()).then(|| (rng.below(2), handler)) }
    }

    fn run(&self) {
        let n = Arc::new(Numbers { x: Owned32::new(0), y: Owned32::new(0), mutex: Mtx::zeroed() });
        n.mutex.init(c"mutex", Mtxf::NOWITNESS);
        if let Some((cpu, ops)) = self.handler.clone() {
            let irq = interrupt::create("any", interrupt::Arrival::AnyTime, pri::PI_REALTIME, Some(cpu));
            let n = Arc::clone(&n);
            interrupt::setup(irq, None, Some(Box::new(move || perform(&ops, &n))), 1);
        }
        let spec = Kthread { name: "T", priority: pri::PUSER, flags: 0, cpu: Some(1) };
        let threads = self.bodies[1..].iter().filter(|ops| !ops.is_empty()).cloned().map(|ops| {
            let n = Arc::clone(&n);
            kthread_add(spec, move || perform(&ops, &n))
        });
        let threads: Vec<_> = threads.collect();
        explore::begin();
        perform(&self.bodies[0], &n);
        threads.into_iter().for_each(explore::join);
        // An ithread may not be through.
        let (x, y) = (read(&n.x), read(&n.y));
        compute(1);
        explore::end();
        panic::panic_args(format_args!("{x} {y}"));
    }
}

/// All that `main` can end as; `None` if that takes too many executions.
fn unreduced(m: &Machine, main: &dyn Fn()) -> Option<BTreeSet<String>> {
    let (mut dfs, mut verdicts) = (Dfs::new(), BTreeSet::new());
    for _ in 0..MOST {
        let e = explore::run(m, &mut dfs, Options::default(), main);
        verdicts.insert(format!("{:?}", e.verdict));
        if !dfs.end(e.events.len()) {
            return Some(verdicts);
        }
    }
    None
}

const MOST: u32 = 1_000;

#[test]
fn random_programs_end_as_they_do_without_reduction() {
    let programs = std::env::var("LKPI_PROGRAMS").map_or(60, |text| text.parse().expect("a number"));
    let machines = [0, 1, 2].map(|interrupts| machine(Budget { interrupts, ..NOTHING }));
    let (mut by_dfs, mut plain, mut by_states) = (0, Counts::default(), Counts::default());
    for index in 0..programs {
        let mut rng = Rng::new(1, index);
        let program = Random::new(&mut rng);
        let m = &machines[if program.handler.is_some() { 1 + rng.below(2) } else { 0 }];
        let main = || program.run();
        let (verdicts, counts) = search(m, Dpor::new(), &[], &main);
        if let Some(all) = unreduced(m, &main) {
            by_dfs += 1;
            assert_eq!(verdicts, all, "program {index}, reduced: {program:?}");
        }
        plain.executions += counts.executions;
        let (same, counts) = search(m, Dpor::of_states(), &[], &main);
        assert_eq!(same, verdicts, "program {index}, by states: {program:?}");
        by_states.executions += counts.executions;
        by_states.met += counts.met;
    }
    println!("{programs} programs, {by_dfs} also unreduced; {plain:?}; {by_states:?}");
    assert!(by_dfs > programs / 5 && by_states.met > programs);
}

/// A CPU that idles takes a thread that a handler keeps from going on, if it idles by then.
#[test]
fn when_a_cpu_begins_to_idle_decides_what_it_may_take() {
    let program = Random { bodies: [vec![1], vec![2], vec![]], handler: Some((0, vec![0])) };
    let m = machine(Budget { interrupts: 2, ..NOTHING });
    let main = || program.run();
    let (verdicts, _) = search(&m, Dpor::new(), &[], &main);
    // The handler reads x before, and writes it after CPU 1 is through with its own thread and with the interrupted one's read of x.
    assert!(verdicts.contains("Panic(\"3 4\")"), "{verdicts:?}");
    assert_eq!(search(&m, Dpor::of_states(), &[], &main).0, verdicts);
}

#[test]
fn a_panic_is_not_lost() {
    let m = machine(Budget { interrupts: 2, ticks: 1, migrations: 1 });
    let main = || {
        let shared = Arc::new((Mtx::zeroed(), Owned32::new(0)));
        shared.0.init(c"mutex", Mtxf::empty());
        interrupt::bystanders();
        let other = Arc::clone(&shared);
        both(
            || {
                shared.0.lock();
                shared.1.set(1);
                cpu::step("compute", 0);
                shared.1.set(0);
                shared.0.unlock();
            },
            move || {
                if !other.0.trylock() {
                    panic::panic_args(format_args!("it was taken"));
                }
                other.0.unlock();
            },
        );
    };
    let (verdicts, counts) = search(&m, Dpor::of_states(), &[], &main);
    println!("{counts:?}");
    assert!(verdicts.contains(&format!("{:?}", Verdict::Panic("it was taken".to_owned()))), "{verdicts:?}");
    assert!(verdicts.contains("Pass"));
}
