//! What each mapping costs when nobody contends: spin_lock_irqsave and its restore, beside the owner-word floor, in one run.
//!
//! Checks off, `smp` engine, one virtual CPU; the time is that of the loop alone, measured inside the machine.

#![expect(clippy::disallowed_types, reason = "a measured time leaves the machine through a host mutex")]

use criterion::{Criterion, criterion_group, criterion_main};
use freebsd_sys::atomic::Word;
use freebsd_sys::host::smp;
use freebsd_sys::machine::{Config, Engine, Machine, Verdict};
use linuxkpi::LockMapping;
use linuxkpi::seqlock::Seqcount;
use linuxkpi::spinlock::SpinLock;
use std::hint::black_box;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Times `iters` rounds of `body` in a kernel thread; `init` runs there first.
fn in_machine(iters: u64, init: impl Fn() + Sync, body: impl Fn() + Sync) -> Duration {
    let config = Config { cpus: 1, invariants: false, witness: false, ..Config::default() };
    let machine = Machine::new(config, Engine::Smp);
    let elapsed = Mutex::new(Duration::ZERO);
    let options = smp::Options { limit: Duration::from_secs(600), seed: 1, units: &[] };
    let run = smp::run(&machine, options, &|| {
        init();
        let start = Instant::now();
        for _ in 0..iters {
            body();
        }
        *elapsed.lock().expect("not poisoned") = start.elapsed();
    });
    assert_eq!(run.verdict, Verdict::Pass);
    elapsed.into_inner().expect("not poisoned")
}

fn mapping<M: LockMapping>(c: &mut Criterion) {
    let lock = SpinLock::<(), M>::with_mapping(());
    c.benchmark_group("spin_lock_irqsave pair").bench_function(M::NAME, |b| {
        b.iter_custom(|iters| in_machine(iters, || lock.init(), || drop(black_box(&lock).lock_irqsave())));
    });
    let count = Seqcount::<M>::new();
    c.benchmark_group("seqcount write section").bench_function(M::NAME, |b| {
        b.iter_custom(|iters| in_machine(iters, || count.init(), || black_box(&count).write(|| ())));
    });
    c.benchmark_group("seqcount read section").bench_function(M::NAME, |b| {
        b.iter_custom(|iters| in_machine(iters, || count.init(), || black_box(&count).read(|| ())));
    });
}

fn uncontended(c: &mut Criterion) {
    let word = Word::new(0);
    c.benchmark_group("spin_lock_irqsave pair").bench_function("floor: two cmpxchg", |b| {
        b.iter(|| {
            let word = black_box(&word);
            let _ = black_box(word.fcmpset_acq(0, 64));
            let _ = black_box(word.fcmpset_rel(64, 0));
        });
    });
    macro_rules! row {
        ($mapping:ty, $name:literal) => {
            mapping::<$mapping>(c);
        };
    }
    linuxkpi::for_each_mapping!(row);
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    targets = uncontended
}
criterion_main!(benches);
