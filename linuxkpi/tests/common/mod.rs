//! What the tests share: threads that stand for system calls and are joined, and running a body on both engines.

#![allow(
    dead_code,
    reason = "each test binary uses its part; an expectation would be unfulfilled in one that uses all"
)]

use freebsd_sys::host::explore::{self, Options};
use freebsd_sys::host::schedule::random::Random;
use freebsd_sys::host::smp;
use freebsd_sys::machine::{Config, Engine, Machine, Verdict};
use freebsd_sys::thread::{Kthread, kthread_add};
use freebsd_sys::{sched, userret};
use linuxkpi::completion::Completion;
use std::sync::Arc;
use std::time::Duration;

/// Explored executions of a body that must pass.
pub(crate) const EXECUTIONS: u64 = 500;

/// A kernel thread of user priority, audited by userret; `done` is completed after that.
fn spawn(name: &str, body: impl FnOnce() + Send + 'static, done: Arc<Completion>) {
    kthread_add(Kthread { name, priority: sched::pri::PUSER, flags: 0, cpu: None }, move || {
        body();
        userret::userret();
        done.complete();
    });
}

/// Runs `body(0..n)` in `n` threads and waits for them; this part is explored.
pub(crate) fn threads(n: usize, body: impl Fn(usize) + Send + Sync + 'static) {
    let done = Arc::new(Completion::new());
    let body = Arc::new(body);
    explore::begin();
    for i in 0..n {
        let body = Arc::clone(&body);
        spawn(&format!("T{i}"), move || body(i), Arc::clone(&done));
    }
    for _ in 0..n {
        done.wait();
    }
    explore::end();
}

/// The first verdict other than a pass in `n` random executions on `explore`.
pub(crate) fn explored(config: Config, n: u64, main: impl Fn()) -> Verdict {
    let machine = Machine::new(config, Engine::Explore);
    let mut schedule = Random::new(1);
    for index in 0..n {
        let verdict = explore::run(&machine, &mut schedule, Options { index, ..Options::default() }, &main).verdict;
        if verdict != Verdict::Pass {
            return verdict;
        }
    }
    Verdict::Pass
}

/// One run on `smp`.
pub(crate) fn smp_once(config: Config, seed: u64, main: &(dyn Fn() + Sync)) -> Verdict {
    let machine = Machine::new(config, Engine::Smp);
    smp::run(&machine, smp::Options { limit: Duration::from_secs(300), seed, units: &[] }, main).verdict
}

/// A kernel without its checks: the configuration in which the locks' fast paths run.
pub(crate) fn unchecked() -> Config {
    Config { invariants: false, witness: false, ..Config::default() }
}

/// `main` passes in `n` random executions, and 5 times on `smp`, with the checks on and off.
#[track_caller]
pub(crate) fn passes_n(what: &str, n: u64, main: impl Fn() + Sync) {
    assert_eq!(explored(Config::default(), n, &main), Verdict::Pass, "{what}");
    for seed in 0..5 {
        assert_eq!(smp_once(Config::default(), seed, &main), Verdict::Pass, "{what} on smp, seed {seed}");
        assert_eq!(smp_once(unchecked(), seed, &main), Verdict::Pass, "{what} on smp, checks off, seed {seed}");
    }
}

/// [`passes_n`] with the usual number of executions.
#[track_caller]
pub(crate) fn passes(what: &str, main: impl Fn() + Sync) {
    passes_n(what, EXECUTIONS, main);
}

/// The text of the panic that some of 1,000 executions end in.
#[track_caller]
pub(crate) fn panic_text(main: impl Fn()) -> String {
    match explored(Config::default(), 1000, main) {
        Verdict::Panic(text) => text,
        other => panic!("no FreeBSD panic: {other}"),
    }
}
