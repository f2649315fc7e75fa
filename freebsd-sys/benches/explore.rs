//! Executions per second of the `explore` engine: threads that lock and unlock a mutex, random schedules, one CPU per thread.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use freebsd_sys::host::explore::{self, Options};
use freebsd_sys::host::schedule::random::Random;
use freebsd_sys::machine::{Budget, Config, Engine, Machine, Verdict};
use freebsd_sys::mutex::{Mtx, Mtxf};
use freebsd_sys::sched::pri;
use freebsd_sys::sleep;
use freebsd_sys::thread::{Kthread, kthread_add};
use std::cell::Cell;
use std::rc::Rc;

/// `threads` threads, each locking and unlocking `rounds` times.
fn program(threads: usize, rounds: usize) {
    let shared = Rc::new((Mtx::zeroed(), Cell::new(threads)));
    shared.0.init(c"mutex", Mtxf::NOWITNESS);
    explore::begin();
    for cpu in 0..threads {
        let shared = Rc::clone(&shared);
        kthread_add(Kthread { name: "T", priority: pri::PUSER, flags: 0, cpu: Some(cpu) }, move || {
            for _ in 0..rounds {
                shared.0.lock();
                shared.0.unlock();
            }
            shared.1.set(shared.1.get() - 1);
            if shared.1.get() == 0 {
                sleep::wakeup(Rc::as_ptr(&shared) as usize);
            }
        });
    }
    while shared.1.get() > 0 {
        sleep::tsleep(Rc::as_ptr(&shared) as usize, "join", 1_000_000);
    }
    explore::end();
}

fn executions(c: &mut Criterion) {
    let mut group = c.benchmark_group("explore, executions");
    for (threads, rounds, cpus) in [(2, 1, 2), (3, 1, 3), (3, 2, 3), (3, 2, 2)] {
        let budget = Budget { ticks: 0, interrupts: 0, migrations: 0 };
        let machine = Machine::new(Config { cpus, budget, ..Config::default() }, Engine::Explore);
        let mut schedule = Random::new(1);
        let mut index = 0;
        group.throughput(Throughput::Elements(1));
        group.bench_function(format!("mutex {threads}x{rounds} on {cpus} CPUs, random"), |b| {
            b.iter(|| {
                let options = Options { index, ..Options::default() };
                let execution = explore::run(&machine, &mut schedule, options, &|| program(threads, rounds));
                assert_eq!(execution.verdict, Verdict::Pass);
                index += 1;
            });
        });
    }
    group.finish();
}

criterion_group!(benches, executions);
criterion_main!(benches);
