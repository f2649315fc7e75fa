//! Executions per second of the `explore` engine, beside those of loom and shuttle: threads that lock and unlock a mutex, main being
//! one of them.
//!
//! An execution is what a search repeats: the machine is set up, the threads are made, run under a schedule, joined and taken apart.
//! loom explores exhaustively, here as many executions as are asked for; the others draw random schedules.

use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use freebsd_sys::host::explore::{self, Options};
use freebsd_sys::host::schedule::random::Random;
use freebsd_sys::host::workers;
use freebsd_sys::machine::{Budget, Config, Engine, Machine, Verdict};
use freebsd_sys::mutex::{Mtx, Mtxf};
use freebsd_sys::sched::pri;
use freebsd_sys::thread::{Kthread, Thread, kthread_add};
use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// `threads` threads, each locking and unlocking `rounds` times.
fn program(threads: usize, rounds: usize, cpus: usize) {
    let mutex = Arc::new(Mtx::zeroed());
    mutex.init(c"mutex", Mtxf::NOWITNESS);
    let body = |mutex: Arc<Mtx>| {
        move || {
            for _ in 0..rounds {
                mutex.lock();
                mutex.unlock();
            }
        }
    };
    explore::begin();
    let mut others: [Option<&Thread>; 8] = [None; 8];
    for (at, other) in others.iter_mut().enumerate().take(threads).skip(1) {
        let spec = Kthread { name: "T", priority: pri::PUSER, flags: 0, cpu: Some(at.min(cpus - 1)) };
        *other = Some(kthread_add(spec, body(Arc::clone(&mutex))));
    }
    body(mutex)();
    others.into_iter().flatten().for_each(explore::join);
    explore::end();
}

/// A machine, and what decides on it.
struct Search {
    machine: Box<Machine>,
    schedule: Random,
}

impl Search {
    fn new(cpus: usize) -> Self {
        let budget = Budget { ticks: 0, interrupts: 0, migrations: 0 };
        let machine = Machine::new(Config { cpus, budget, ..Config::default() }, Engine::Explore);
        Self { machine, schedule: Random::new(1) }
    }

    /// Runs the executions with these numbers.
    fn run(&mut self, threads: usize, rounds: usize, indices: std::ops::Range<u64>) {
        let cpus = self.machine.config().cpus;
        for index in indices {
            let options = Options { index, ..Options::default() };
            let main = || program(threads, rounds, cpus);
            let execution = explore::run(&self.machine, &mut self.schedule, options, &main);
            assert_eq!(execution.verdict, Verdict::Pass);
        }
    }
}

type Group<'a> = BenchmarkGroup<'a, criterion::measurement::WallTime>;

fn ours(group: &mut Group<'_>) {
    for (threads, rounds, cpus) in [(2, 1, 2), (3, 1, 3), (3, 2, 3), (3, 2, 2)] {
        let mut search = Search::new(cpus);
        let next = Cell::new(0);
        group.bench_function(format!("mutex {threads}x{rounds} on {cpus} CPUs, random"), |b| {
            b.iter(|| search.run(threads, rounds, next.replace(next.get() + 1)..next.get()));
        });
    }
}

/// Two host threads, a machine each: the time is that of the slower one, for twice as many executions.
fn two_workers(group: &mut Group<'_>) {
    group.throughput(Throughput::Elements(2));
    group.bench_function("mutex 3x2 on 3 CPUs, random, two workers, each", |b| {
        b.iter_custom(|executions| {
            let times = workers::map(
                2,
                &[0, executions],
                |&from| {
                    let mut search = Search::new(3);
                    search.run(3, 2, 0..100);
                    let start = Instant::now();
                    search.run(3, 2, from..from + executions);
                    start.elapsed()
                },
                |_| {},
            );
            times.into_iter().map(|time| time.expect("no panic")).max().unwrap_or_default()
        });
    });
    group.throughput(Throughput::Elements(1));
}

/// loom's exhaustive search of the same program, begun anew whenever it has ended.
fn loom(group: &mut Group<'_>) {
    use std::sync::Arc;
    group.bench_function("mutex 3x2, loom", |b| {
        b.iter_custom(|executions| {
            let count = Arc::new(workers::Tally::new());
            let mut builder = loom::model::Builder::new();
            // How often it looks at the limit.
            builder.checkpoint_interval = 1;
            let start = Instant::now();
            while count.get() < executions {
                builder.max_permutations = Some((executions - count.get()) as usize + 1);
                let count = Arc::clone(&count);
                builder.check(move || {
                    count.add(1);
                    let mutex = Arc::new(loom::sync::Mutex::new(()));
                    let body = |mutex: Arc<loom::sync::Mutex<()>>| move || (0..2).for_each(|_| drop(mutex.lock()));
                    let others: Vec<_> = (0..2).map(|_| loom::thread::spawn(body(Arc::clone(&mutex)))).collect();
                    body(mutex)();
                    others.into_iter().for_each(|other| other.join().expect("no panic"));
                });
            }
            per(start.elapsed(), count.get(), executions)
        });
    });
}

fn shuttle(group: &mut Group<'_>) {
    use shuttle::scheduler::RandomScheduler;
    use std::sync::Arc;
    group.bench_function("mutex 3x2, shuttle, random", |b| {
        b.iter_custom(|executions| {
            let scheduler = RandomScheduler::new_from_seed(1, executions as usize);
            let runner = shuttle::Runner::new(scheduler, shuttle::Config::new());
            let start = Instant::now();
            let count = runner.run(|| {
                let mutex = Arc::new(shuttle::sync::Mutex::new(()));
                let body = |mutex: Arc<shuttle::sync::Mutex<()>>| move || (0..2).for_each(|_| drop(mutex.lock()));
                let others: Vec<_> = (0..2).map(|_| shuttle::thread::spawn(body(Arc::clone(&mutex)))).collect();
                body(mutex)();
                others.into_iter().for_each(|other| other.join().expect("no panic"));
            });
            per(start.elapsed(), count as u64, executions)
        });
    });
}

/// The time of `executions` if `count` took `time`.
fn per(time: Duration, count: u64, executions: u64) -> Duration {
    time.mul_f64(executions as f64 / count as f64)
}

fn executions(c: &mut Criterion) {
    let mut group = c.benchmark_group("explore, executions");
    group.throughput(Throughput::Elements(1));
    ours(&mut group);
    two_workers(&mut group);
    loom(&mut group);
    shuttle(&mut group);
    group.finish();
}

criterion_group!(benches, executions);
criterion_main!(benches);
