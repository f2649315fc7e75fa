//! The machine itself: both engines run a body, whatever driver code does stays inside, and machines do not disturb each other.

mod common;

use common::{Latch, explore_random, mtx, no_witness, once, smp_once, spawn, threads, up};
use freebsd_sys::atomic::Owned32;
use freebsd_sys::host::explore::{self, Options};
use freebsd_sys::host::schedule::random::Random;
use freebsd_sys::host::schedule::{Choice, Diverged, Event, Schedule};
use freebsd_sys::host::smp;
use freebsd_sys::machine::{Budget, Config, Engine, Machine, Preemption, Verdict};
use freebsd_sys::module::{Dpcpu, ModuleData};
use freebsd_sys::mutex::{Mtx, Mtxf};
use freebsd_sys::{cpu, critical, interrupt, sched, sleep};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What driver code can do to a process.
fn disasters() -> [(&'static str, fn()); 4] {
    fn overflow(n: u64) -> u64 {
        let frame = [n; 64];
        std::hint::black_box(&frame);
        if n == 0 { 0 } else { overflow(n + 1) + frame[3] }
    }
    [
        // SAFETY: none; the fault is the test.
        ("fault", || unsafe { (8 as *mut u32).write_volatile(1) }),
        ("overflow", || _ = std::hint::black_box(overflow(1))),
        ("endless", || {
            loop {
                std::hint::spin_loop();
            }
        }),
        ("Rust panic", || panic!("driver bug")),
    ]
}

#[test]
fn disaster_in_driver_code_is_a_verdict() {
    for (what, disaster) in disasters() {
        let e = once(Config::default(), || {
            let m = mtx(c"m", Mtxf::DEF);
            m.lock();
            disaster();
        });
        assert!(matches!(&e.verdict, Verdict::Error(text) if text.contains(what)), "{what}: {}", e.verdict);
    }
}

#[test]
fn disaster_in_any_thread_is_a_verdict() {
    for (what, disaster) in disasters() {
        let e = once(Config::default(), || {
            threads(2, move |i| {
                if i == 1 {
                    disaster()
                }
            })
        });
        assert!(matches!(&e.verdict, Verdict::Error(text) if text.contains(what)), "{what}: {}", e.verdict);
    }
}

/// Of threads that go on with each other, as the schedule says, one after the other meets it on one machine.
#[test]
fn disaster_between_locks_is_a_verdict() {
    let m = Machine::new(no_witness(), Engine::Explore);
    for (what, disaster) in disasters() {
        for index in 0..if what == "endless" { 1 } else { 50 } {
            let e = explore::run(&m, &mut Random::new(1), Options { index, ..Options::default() }, &|| {
                let m = mtx(c"m", Mtxf::DEF);
                threads(3, move |i| {
                    for round in 0..3 {
                        m.lock();
                        m.unlock();
                        if i == 1 && round == 2 {
                            disaster();
                        }
                    }
                });
            });
            assert!(matches!(&e.verdict, Verdict::Error(text) if text.contains(what)), "{what}: {}", e.verdict);
        }
    }
}

#[test]
fn machine_works_on_after_a_disaster() {
    let m = Machine::new(Config::default(), Engine::Explore);
    for (what, disaster) in disasters() {
        let e = explore::run(&m, &mut Random::new(1), Options::default(), &|| disaster());
        assert_ne!(e.verdict, Verdict::Pass, "{what}");
        let e = explore::run(&m, &mut Random::new(1), Options::default(), &|| threads(2, |_| _ = sleep::pause("x", 1)));
        assert_eq!(e.verdict, Verdict::Pass, "after {what}");
    }
}

#[test]
fn disaster_on_smp_is_a_verdict() {
    for (what, disaster) in disasters() {
        if what == "endless" {
            // Real time: the watchdog waits for seconds.
            continue;
        }
        let verdict = smp_once(Config::default(), 1, &|| {
            threads(2, move |i| {
                if i == 1 {
                    disaster()
                }
            })
        });
        assert!(matches!(&verdict, Verdict::Error(text) if text.contains(what)), "{what}: {verdict}");
    }
}

/// Counts its drops.
struct Dropped(Arc<Owned32>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 1);
    }
}

#[test]
fn frames_of_all_threads_are_dropped_after_a_panic() {
    let drops = Arc::new(Owned32::new(0));
    let count = Arc::clone(&drops);
    let e = once(no_witness(), move || {
        let own = Dropped(Arc::clone(&count));
        let m = mtx(c"m", Mtxf::DEF);
        m.lock();
        for name in ["blocked", "asleep"] {
            let (guard, m) = (Dropped(Arc::clone(&count)), Arc::clone(&m));
            spawn(name, move || {
                let _guard = guard;
                if name == "blocked" {
                    m.lock();
                    m.unlock();
                } else {
                    sleep::tsleep(1, "asleep", 1000);
                }
            });
        }
        for _ in 0..20 {
            critical::critical_enter();
            critical::critical_exit();
        }
        critical::critical_exit();
        drop(own);
    });
    assert_eq!(e.verdict, Verdict::Panic("critical_exit: td_critnest == 0".to_owned()));
    assert_eq!(drops.get(), 3);
}

#[test]
fn what_a_thread_that_never_ran_owns_is_dropped() {
    let drops = Arc::new(Owned32::new(0));
    let count = Arc::clone(&drops);
    let e = once(Config { cpus: 1, ..no_witness() }, move || {
        let owned = Dropped(Arc::clone(&count));
        spawn("never", move || drop(owned));
        critical::critical_exit();
    });
    assert_eq!(e.verdict, Verdict::Panic("critical_exit: td_critnest == 0".to_owned()));
    assert_eq!(drops.get(), 1);
}

#[test]
fn locks_return_at_once_while_a_stopped_machine_unwinds() {
    struct Locks(Arc<Mtx>);
    impl Drop for Locks {
        fn drop(&mut self) {
            // Owned by nobody who could ever release it.
            self.0.lock();
            assert!(self.0.trylock());
            self.0.unlock();
        }
    }
    let e = once(no_witness(), || {
        let m = mtx(c"m", Mtxf::DEF);
        m.lock();
        let _guard = Locks(m);
        critical::critical_exit();
    });
    assert_eq!(e.verdict, Verdict::Panic("critical_exit: td_critnest == 0".to_owned()));
}

#[test]
fn primitive_outside_a_machine_says_so() {
    let payload = std::panic::catch_unwind(critical::critical_enter).unwrap_err();
    let text = payload.downcast_ref::<String>().unwrap();
    assert!(text.starts_with("critical_enter: called outside a machine"), "{text}");
    assert!(!cpu::in_machine());
}

#[test]
fn machines_run_in_parallel_and_keep_their_own_module_data() {
    static DATA: ModuleData<Owned> = ModuleData::new();
    #[derive(Default)]
    struct Owned(Owned32);
    let body = |n: u32| {
        let e = explore_random(Config::default(), 200, &|| {
            assert_eq!(DATA.get().0.get(), 0, "made anew for each execution");
            threads(2, move |_| DATA.get().0.set(DATA.get().0.get() + n));
            assert_eq!(DATA.get().0.get(), 2 * n);
        });
        assert!(e.is_none(), "{e:?}");
    };
    #[expect(clippy::disallowed_methods, reason = "host threads outside any machine, which is what is tested")]
    std::thread::scope(|scope| {
        for n in 1..=3 {
            scope.spawn(move || body(n));
        }
    });
}

#[test]
fn each_cpu_has_its_own_dpcpu_data() {
    static COUNT: Dpcpu<Owned32> = Dpcpu::new();
    common::passes(Config::default(), 200, || {
        threads(3, |_| {
            sched::sched_pin();
            let here = COUNT.get();
            assert!(std::ptr::eq(here, COUNT.of(cpu::cpuid())));
            here.set(here.get() + 1);
            sched::sched_unpin();
        });
        assert_eq!(COUNT.of(0).get() + COUNT.of(1).get(), 3);
    });
}

#[test]
fn leaking_scenario_does_not_hide_behind_a_pass() {
    let e = once(up(), || _ = freebsd_sys::malloc::malloc(8, "t", freebsd_sys::malloc::M::NOWAIT));
    assert!(matches!(e.verdict, Verdict::Error(_)), "{}", e.verdict);
}

#[test]
fn endless_progress_is_an_error() {
    let e = once(Config { step_limit: 1000, ..up() }, || {
        loop {
            critical::critical_enter();
            critical::critical_exit();
        }
    });
    assert_eq!(e.verdict, Verdict::Error("no progress after 1000 steps".to_owned()));
}

#[test]
fn smp_runs_on_several_cpus_at_once() {
    let m = Machine::new(Config { witness: false, ..Config::default() }, Engine::Smp);
    let e = smp::run(&m, smp::Options { limit: Duration::from_secs(300), seed: 1, units: &[] }, &|| {
        interrupt::bystanders();
        let (lock, n) = (mtx(c"counter", Mtxf::DEF), Arc::new(Owned32::new(0)));
        let (total, latch) = (Arc::clone(&n), Latch::new(4));
        for i in 0..4 {
            let (lock, n, latch) = (Arc::clone(&lock), Arc::clone(&n), Arc::clone(&latch));
            spawn(&format!("T{i}"), move || {
                for _ in 0..50_000 {
                    lock.lock();
                    n.set(n.get() + 1);
                    lock.unlock();
                }
                latch.done();
            });
        }
        latch.wait();
        assert_eq!(total.get(), 200_000);
    });
    assert_eq!(e.verdict, Verdict::Pass);
}

#[test]
fn smp_lists_the_locks_at_a_panic() {
    let m = Machine::new(Config::default(), Engine::Smp);
    let e = smp::run(&m, smp::Options { limit: Duration::from_secs(300), seed: 1, units: &[] }, &|| {
        mtx(c"seen", Mtxf::DEF).lock();
        critical::critical_exit();
    });
    assert_eq!(e.verdict, Verdict::Panic("critical_exit: td_critnest == 0".to_owned()));
    assert!(
        e.locks.iter().any(|line| line.starts_with("exclusive sleep mutex seen (seen) r = 0 (0x")),
        "{:?}",
        e.locks
    );
}

#[test]
fn held_lock_whose_memory_is_gone_keeps_its_name() {
    for engine in [Engine::Explore, Engine::Smp] {
        let m = Machine::new(Config::default(), engine);
        let main = || {
            let (gone, next) = (mtx(c"gone", Mtxf::DEF), mtx(c"next", Mtxf::DEF));
            gone.lock();
            drop(gone);
            // What the memory becomes is not what the list names.
            let other = mtx(c"other", Mtxf::DEF);
            next.lock();
            next.unlock();
            other.lock();
            critical::critical_exit();
        };
        let (verdict, locks) = match engine {
            Engine::Explore => {
                let e = explore::run(&m, &mut Random::new(1), explore::Options::default(), &main);
                (e.verdict, e.locks)
            }
            Engine::Smp => {
                let options = smp::Options { limit: Duration::from_secs(300), seed: 1, units: &[] };
                let e = smp::run(&m, options, &main);
                (e.verdict, e.locks)
            }
        };
        assert_eq!(verdict, Verdict::Panic("critical_exit: td_critnest == 0".to_owned()));
        let held: Vec<_> = locks.iter().filter_map(|line| line.strip_prefix("exclusive sleep mutex ")).collect();
        assert_eq!(held.len(), 2, "{locks:?}");
        assert!(
            held[0].starts_with("other (other) r = 0 (0x") && held[1].starts_with("gone (gone) r = 0 (0x"),
            "{locks:?}"
        );
    }
}

/// What a run on `smp` with a limit of so many seconds ends in. The watchdog counts ticks, which come late on a busy host: how
/// long it takes is not the test's business, as long as it is not the whole of a long limit.
fn gives_up(limit: u64, main: &(dyn Fn() + Sync)) -> Verdict {
    let m = Machine::new(Config::default(), Engine::Smp);
    let started = Instant::now();
    let e = smp::run(&m, smp::Options { limit: Duration::from_secs(limit), seed: 1, units: &[] }, main);
    assert!(started.elapsed() < Duration::from_secs(limit.max(60)), "only the limit ended it");
    e.verdict
}

#[test]
fn smp_gives_up_after_its_limit_and_says_what_it_was_doing() {
    let verdict = gives_up(1, &|| {
        sleep::tsleep(1, "never", 1_000_000);
    });
    assert_eq!(verdict, Verdict::Error("no end after 1 s; thread0 sleeps with a timeout".to_owned()));
    let verdict = gives_up(1, &|| {
        loop {
            critical::critical_enter();
            critical::critical_exit();
        }
    });
    assert_eq!(verdict, Verdict::Error("no end after 1 s; thread0 was running".to_owned()));
}

#[test]
fn smp_notices_that_nobody_can_move() {
    let verdict = gives_up(600, &|| {
        interrupt::bystanders();
        let m = mtx(c"interlock", Mtxf::DEF);
        m.lock();
        sleep::sleep(1, Some(m.object()), sleep::How::default(), "never");
    });
    assert_eq!(verdict, Verdict::Deadlock("thread0 sleeps on \"never\"".to_owned()));
    let verdict = gives_up(600, &|| {
        critical::critical_enter();
        while cpu::spinwait() {}
    });
    assert_eq!(verdict, Verdict::Livelock("thread0 spins in a critical section on cpu0".to_owned()));
}

#[test]
fn stacks_of_threads_that_come_and_go_are_not_shared() {
    // Threads end on one CPU while others are made on another: both touch the pool of stacks.
    let config = Config { cpus: 4, invariants: false, witness: false, ..Config::default() };
    for seed in 0..3 {
        let v = smp_once(config.clone(), seed, &|| {
            threads(4, |at| {
                for _ in 0..2_000 {
                    let latch = Latch::new(2);
                    for cpu in [at, at + 1] {
                        let latch = Arc::clone(&latch);
                        common::spawn_at("short", freebsd_sys::sched::pri::PUSER, Some(cpu % 4), move || latch.done());
                    }
                    latch.wait();
                }
            });
        });
        assert_eq!(v, Verdict::Pass);
    }
}

/// Whenever the clock may tick it does.
struct Ticks;

impl Schedule for Ticks {
    fn begin(&mut self, _index: u64) {}
    fn next(&mut self, choice: &Choice<'_>) -> Result<usize, Diverged> {
        Ok(choice.enabled.iter().position(|event| matches!(event, Event::Tick(_))).unwrap_or(0))
    }
    fn end(&mut self, _choices: usize) -> bool {
        false
    }
}

/// Each tick takes the CPU away, and the thread comes back in the interrupt's frame: the next tick waits until it has left that.
#[test]
fn interrupts_do_not_nest() {
    let budget = Budget { ticks: 5000, interrupts: 0, migrations: 0 };
    let config = Config { cpus: 1, budget, preemption: Preemption::Any, ..no_witness() };
    let m = Machine::new(config, Engine::Explore);
    let e = explore::run(&m, &mut Ticks, Options::default(), &|| {
        threads(2, |_| {
            critical::critical_enter();
            critical::critical_exit();
        });
    });
    assert_eq!(e.verdict, Verdict::Pass);
    assert!(e.steps > 5000, "{} steps", e.steps);
}

/// A thread that waits for ever with hardly any stack left is unwound on it, which takes more.
#[test]
fn a_full_stack_is_given_up_when_it_cannot_be_unwound() {
    /// Drops something in each frame.
    struct Dropped(u64);
    impl Drop for Dropped {
        fn drop(&mut self) {
            std::hint::black_box(self.0);
        }
    }
    fn deep(bottom: usize, left: usize) {
        let dropped = Dropped(1);
        let here = (&raw const dropped).addr();
        if bottom - here < 256 * 1024 - left {
            deep(bottom, left);
        } else {
            sleep::sleep(1, None, sleep::How { ticks: 0, ..sleep::How::default() }, "ever");
        }
        drop(dropped);
    }
    for left in (2..40).map(|kib| kib * 1024) {
        let e = once(Config { invariants: false, ..no_witness() }, || {
            let bottom = 0u64;
            deep((&raw const bottom).addr(), left);
        });
        assert!(!matches!(e.verdict, Verdict::Pass), "{left}: {}", e.verdict);
    }
}
