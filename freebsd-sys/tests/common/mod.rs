//! What the tests of the primitives share: threads that are joined, and running a body on both engines.

#![allow(
    dead_code,
    reason = "each test binary uses its part; an expectation would be unfulfilled in one that uses all"
)]

use freebsd_sys::atomic::{Owned32, Shared32};
use freebsd_sys::host::explore::{self, Execution, Options};
use freebsd_sys::host::schedule::{Schedule, random::Random};
use freebsd_sys::host::smp;
use freebsd_sys::machine::{Config, Engine, Machine, Verdict};
use freebsd_sys::mutex::{Mtx, Mtxf};
use freebsd_sys::sleep::{self, How};
use freebsd_sys::thread::{Kthread, kthread_add};
use freebsd_sys::{cpu, sched, userret};
use std::sync::Arc;
use std::time::Duration;

/// A kernel thread of user priority.
pub(crate) fn spawn(name: &str, body: impl FnOnce() + Send + 'static) {
    spawn_at(name, sched::pri::PUSER, None, body);
}

/// A kernel thread of a given priority and CPU.
pub(crate) fn spawn_at(name: &str, priority: u32, cpu: Option<usize>, body: impl FnOnce() + Send + 'static) {
    kthread_add(Kthread { name, priority, flags: 0, cpu }, body);
}

/// Waits until `stage` is at `n`, spinning without a boundary: on real CPUs.
pub(crate) fn stage(stage: &Shared32, n: u32) {
    while stage.get() < n && !cpu::scheduler_stopped() {
        core::hint::spin_loop();
    }
}

/// Counts threads down.
pub(crate) struct Latch {
    lock: Mtx,
    left: Owned32,
}

impl Latch {
    pub(crate) fn new(n: usize) -> Arc<Self> {
        let latch = Arc::new(Self { lock: Mtx::zeroed(), left: Owned32::new(n as u32) });
        latch.lock.init(c"latch", Mtxf::NOWITNESS);
        latch
    }
    pub(crate) fn done(&self) {
        self.lock.lock();
        self.left.sub(1);
        sleep::wakeup(self.left.as_ptr() as usize);
        self.lock.unlock();
    }
    pub(crate) fn wait(&self) {
        self.lock.lock();
        while self.left.get() > 0 && !freebsd_sys::cpu::scheduler_stopped() {
            sleep::sleep(self.left.as_ptr() as usize, Some(self.lock.object()), How::default(), "latch");
        }
        self.lock.unlock();
    }
}

/// What happened, in order.
#[derive(Debug, Default)]
#[expect(clippy::disallowed_types, reason = "nobody meets a boundary while it is locked")]
pub(crate) struct Log(std::sync::Mutex<Vec<&'static str>>);

impl Log {
    pub(crate) fn push(&self, what: &'static str) {
        self.0.lock().expect("nobody panics in here").push(what);
    }

    pub(crate) fn take(&self) -> Vec<&'static str> {
        std::mem::take(&mut *self.0.lock().expect("nobody panics in here"))
    }
}

/// Runs `body(0..n)` in `n` threads, each ending with userret, and waits for them.
pub(crate) fn threads(n: usize, body: impl Fn(usize) + Send + Sync + 'static) {
    let latch = Latch::new(n);
    let body = Arc::new(body);
    explore::begin();
    for i in 0..n {
        let (latch, body) = (Arc::clone(&latch), Arc::clone(&body));
        spawn(&format!("T{i}"), move || {
            body(i);
            drop(body);
            userret::userret();
            latch.done();
        });
    }
    latch.wait();
    explore::end();
}

/// Explores `n` executions under `schedule`; the first that does not pass, and its number.
pub(crate) fn explore_with(
    config: Config,
    n: u64,
    schedule: &mut dyn Schedule,
    main: &dyn Fn(),
) -> Option<(u64, Execution)> {
    let m = Machine::new(config, Engine::Explore);
    for index in 0..n {
        let execution = explore::run(&m, schedule, Options { index, ..Options::default() }, main);
        if execution.verdict != Verdict::Pass {
            return Some((index, execution));
        }
        if !schedule.end(execution.events.len()) {
            break;
        }
    }
    None
}

/// Explores `n` random executions.
pub(crate) fn explore_random(config: Config, n: u64, main: &dyn Fn()) -> Option<(u64, Execution)> {
    explore_with(config, n, &mut Random::new(1), main)
}

/// The verdict of a body that needs no particular schedule: one execution.
pub(crate) fn verdict(config: Config, main: impl Fn()) -> Verdict {
    let m = Machine::new(config, Engine::Explore);
    explore::run(&m, &mut Random::new(1), Options::default(), &main).verdict
}

/// The panic's text of a body that panics in some of 3,000 random executions.
pub(crate) fn panic_text(config: Config, main: impl Fn()) -> String {
    match explore_random(config, 3000, &main) {
        Some((_, Execution { verdict: Verdict::Panic(text), .. })) => text,
        other => panic!("no FreeBSD panic: {other:?}"),
    }
}

/// `main` passes in `n` random executions, and 20 times on `smp`.
pub(crate) fn passes(config: Config, n: u64, main: impl Fn() + Sync) {
    if let Some((index, execution)) = explore_random(config.clone(), n, &main) {
        panic!("execution {index}: {} {:?}", execution.verdict, execution.console);
    }
    for seed in 0..20 {
        let verdict = smp_once(config.clone(), seed, &main);
        assert_eq!(verdict, Verdict::Pass, "on smp, seed {seed}");
    }
}

/// One run on `smp`.
pub(crate) fn smp_once(config: Config, seed: u64, main: &(dyn Fn() + Sync)) -> Verdict {
    let m = Machine::new(config, Engine::Smp);
    smp::run(&m, smp::Options { limit: Duration::from_secs(300), seed, units: &[] }, main).verdict
}

/// One execution that needs no particular schedule.
pub(crate) fn once(config: Config, main: impl Fn()) -> Execution {
    let m = Machine::new(config, Engine::Explore);
    explore::run(&m, &mut Random::new(1), Options::default(), &main)
}

/// A sleep mutex of this name, for the rest of the execution.
pub(crate) fn mtx(name: &'static std::ffi::CStr, opts: Mtxf) -> Arc<Mtx> {
    let mtx = Arc::new(Mtx::zeroed());
    mtx.init(name, opts);
    mtx
}

/// Config without options WITNESS.
pub(crate) fn no_witness() -> Config {
    Config { witness: false, ..Config::default() }
}

/// Config with one CPU.
pub(crate) fn up() -> Config {
    Config { cpus: 1, ..Config::default() }
}

/// `text` is `what` followed by a source location in a test, and `end`.
#[track_caller]
pub(crate) fn assert_at(text: &str, what: &str, end: &str) {
    let rest = text.strip_prefix(what).unwrap_or_else(|| panic!("{text:?} does not begin with {what:?}"));
    let rest = rest.strip_suffix(end).unwrap_or_else(|| panic!("{text:?} does not end with {end:?}"));
    let line = rest.rsplit_once(".rs:").unwrap_or_else(|| panic!("no source location in {text:?}")).1;
    assert!(line.parse::<u32>().is_ok(), "no line number in {text:?}");
}
