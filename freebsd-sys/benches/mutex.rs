//! What the seam costs: a mutex pair inside a machine, checks off, beside its floor and its peers in the same run.
//!
//! The floor is the owner-word pair: two bare compare-and-exchanges. The bodies run as a kernel thread of the `smp` engine; what
//! criterion sees is the time of the loop alone, measured inside.

#![expect(clippy::disallowed_types, reason = "std's mutex is a peer here")]

use criterion::{Criterion, criterion_group, criterion_main};
use freebsd_sys::atomic::Word;
use freebsd_sys::critical::{critical_enter, critical_exit};
use freebsd_sys::host::smp;
use freebsd_sys::machine::{Config, Engine, Machine, Verdict};
use freebsd_sys::mutex::{Mtx, Mtxf};
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

fn uncontended(c: &mut Criterion) {
    let mut group = c.benchmark_group("uncontended pair");
    let word = Word::new(0);
    group.bench_function("floor: two cmpxchg", |b| {
        b.iter(|| {
            let word = black_box(&word);
            let _ = black_box(word.fcmpset_acq(0, 64));
            let _ = black_box(word.fcmpset_rel(64, 0));
        });
    });
    let mtx = Mtx::zeroed();
    group.bench_function("mtx, checks off", |b| {
        b.iter_custom(|iters| {
            in_machine(
                iters,
                || mtx.init(c"bench", Mtxf::NOWITNESS | Mtxf::NEW),
                || {
                    let mtx = black_box(&mtx);
                    mtx.lock();
                    mtx.unlock();
                },
            )
        });
    });
    group.bench_function("critical section, checks off", |b| {
        b.iter_custom(|iters| {
            in_machine(
                iters,
                || {},
                || {
                    critical_enter();
                    critical_exit();
                },
            )
        });
    });
    let parking_lot = parking_lot::Mutex::new(());
    group.bench_function("parking_lot", |b| b.iter(|| drop(black_box(&parking_lot).lock())));
    let std = Mutex::new(());
    group.bench_function("std", |b| b.iter(|| drop(black_box(&std).lock())));
    group.finish();
}

criterion_group!(benches, uncontended);
criterion_main!(benches);
