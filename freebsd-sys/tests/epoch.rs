//! epoch(9) on both engines.

mod common;

use common::{explore_random, mtx, passes, smp_once, spawn_at, stage, threads, up, verdict};
use freebsd_sys::atomic::{Owned32, OwnedPtr, Shared32};
use freebsd_sys::epoch::{Context, Epoch, Epochf, Tracker, global_epoch, net_epoch_preempt};
use freebsd_sys::machine::{Config, Verdict};
use freebsd_sys::mutex::Mtxf;
use freebsd_sys::sched::pri;
use freebsd_sys::thread::curthread;
use freebsd_sys::{cpu, critical, sched};
use std::sync::Arc;

/// A boundary.
fn boundary() {
    critical::critical_enter();
    critical::critical_exit();
}

/// An object that readers find through a pointer; 1 while it may be looked at.
struct Published {
    objects: [Owned32; 4],
    at: OwnedPtr<Owned32>,
}

impl Published {
    fn new() -> Arc<Self> {
        let all = Arc::new(Self { objects: [const { Owned32::new(1) }; 4], at: OwnedPtr::null() });
        all.at.set(all.object(0));
        all
    }

    fn object(&self, n: usize) -> *mut Owned32 {
        core::ptr::from_ref(&self.objects[n]).cast_mut()
    }

    /// Looks at what is published, twice.
    fn look(&self, meanwhile: impl Fn()) {
        let object = self.at.get();
        meanwhile();
        // SAFETY: it names one of `objects`.
        let alive = unsafe { (*object).get() };
        assert!(alive == 1 || cpu::scheduler_stopped(), "a reader saw what was freed");
    }

    /// Publishes object `n`; the one before is freed after `wait`.
    fn replace(&self, n: usize, wait: impl Fn()) {
        self.at.set(self.object(n));
        wait();
        self.objects[n - 1].set(0);
    }
}

/// Two readers in sections of a preemptible epoch, or of another, and a writer that frees what they look at after `wait`.
fn readers_and_writer(preempt: bool, wait: fn(&Epoch), rounds: usize) {
    let (epoch, all) = (if preempt { net_epoch_preempt() } else { global_epoch() }, Published::new());
    threads(3, move |i| {
        if i == 0 {
            (1..4).for_each(|n| all.replace(n, || wait(epoch)));
        } else {
            for _ in 0..rounds {
                if preempt {
                    epoch.section(|| all.look(boundary));
                } else {
                    epoch.enter();
                    all.look(boundary);
                    epoch.exit();
                }
            }
        }
    });
}

#[test]
fn a_wait_outlasts_the_sections_that_were_open() {
    for cpus in [1, 2, 4] {
        let config = Config { cpus, ..Config::default() };
        passes(config.clone(), 300, || readers_and_writer(false, Epoch::wait, 2));
        passes(config, 300, || readers_and_writer(true, Epoch::wait_preempt, 2));
    }
}

#[test]
fn without_any_checks_as_well() {
    let bare = Config { invariants: false, witness: false, cpus: 2, ..Config::default() };
    passes(bare.clone(), 50, || readers_and_writer(false, Epoch::wait, 300));
    passes(bare, 50, || readers_and_writer(true, Epoch::wait_preempt, 300));
}

/// Without checks, and with nothing to be done at the boundaries, sections are entered the short way. On real CPUs: one is in its
/// section long after the other has begun to wait.
#[test]
fn a_section_that_was_entered_the_short_way_is_waited_for() {
    for preempt in [false, true] {
        for seed in 0..5 {
            let bare = Config { invariants: false, witness: false, cpus: 2, ..Config::default() };
            let verdict = smp_once(bare, seed, &|| {
                let epoch = if preempt { net_epoch_preempt() } else { global_epoch() };
                let at = Shared32::new(0);
                threads(2, move |i| {
                    sched::sched_bind(i);
                    // A tick that waits sends one the long way now and then.
                    for round in (0..8).map(|round| 4 * round) {
                        if i == 0 {
                            stage(&at, round + 1);
                            at.set(round + 2);
                            if preempt {
                                epoch.wait_preempt()
                            } else {
                                epoch.wait()
                            }
                            assert!(at.get() == round + 3 || cpu::scheduler_stopped(), "the section is open");
                            at.set(round + 4);
                        } else {
                            let tracker = Tracker::new();
                            if preempt {
                                // SAFETY: the tracker stays where it is until the section is over.
                                unsafe { epoch.enter_preempt(&tracker) }
                            } else {
                                epoch.enter()
                            };
                            at.set(round + 1);
                            stage(&at, round + 2);
                            (0..100_000).for_each(|_| core::hint::spin_loop());
                            at.set(round + 3);
                            if preempt {
                                // SAFETY: as above.
                                unsafe { epoch.exit_preempt(&tracker) }
                            } else {
                                epoch.exit()
                            };
                            // The writer may have come to this CPU, if a tick's thread ran here when it looked.
                            while at.get() < round + 4 && !cpu::scheduler_stopped() {
                                sched::sched_relinquish();
                            }
                        }
                    }
                    sched::sched_unbind();
                });
            });
            assert_eq!(verdict, Verdict::Pass);
        }
    }
}

#[test]
fn who_does_not_wait_is_found_out() {
    for preempt in [true, false] {
        let found = explore_random(Config::default(), 3000, &|| readers_and_writer(preempt, |_| (), 2));
        let Some((_, execution)) = found else { panic!("nobody saw what was freed") };
        assert!(execution.verdict.message().contains("a reader saw what was freed"), "{:?}", execution.verdict);
    }
}

#[test]
fn a_preemptible_reader_may_block() {
    for cpus in [1, 2] {
        passes(Config { cpus, ..Config::default() }, 500, || {
            let (epoch, all, m) = (net_epoch_preempt(), Published::new(), mtx(c"m", Mtxf::DEF));
            threads(3, move |i| match i {
                0 => (1..3).for_each(|n| all.replace(n, || epoch.wait_preempt())),
                1 => {
                    m.lock();
                    boundary();
                    sched::sched_relinquish();
                    m.unlock();
                }
                _ => epoch.section(|| {
                    all.look(|| {
                        m.lock();
                        m.unlock();
                    });
                }),
            });
        });
    }
}

#[test]
fn who_waits_lends_to_whom_the_reader_waits_for() {
    passes(Config { cpus: 1, ..Config::default() }, 100, || {
        let (td, epoch, m) = (curthread(), net_epoch_preempt(), mtx(c"m", Mtxf::DEF));
        let m2 = Arc::clone(&m);
        let before = td.priority.get();
        m.lock();
        // Either preempts at once, and blocks: the reader on the mutex, and on the same turnstile the one that waits for it.
        spawn_at("reader", pri::PRI_MIN_REALTIME + 9, Some(0), move || {
            epoch.section(|| {
                m2.lock();
                m2.unlock();
            });
        });
        assert!(cpu::scheduler_stopped() || td.priority.get() == pri::PRI_MIN_REALTIME + 9);
        spawn_at("waiter", pri::PRI_MIN_REALTIME, Some(0), || epoch.wait_preempt());
        assert!(cpu::scheduler_stopped() || td.priority.get() == pri::PRI_MIN_REALTIME);
        m.unlock();
        assert!(cpu::scheduler_stopped() || td.priority.get() == before);
    });
}

#[test]
fn a_section_pins_bans_sleep_and_is_no_critical_section() {
    assert_eq!(
        verdict(Config::default(), || {
            let (td, epoch) = (curthread(), net_epoch_preempt());
            assert!(!epoch.in_epoch());
            epoch.section(|| {
                assert_eq!((td.critnest.get(), td.pinned.get(), td.no_sleeping.get()), (0, 1, 1));
                assert!(epoch.in_epoch());
                epoch.section(|| assert_eq!((td.pinned.get(), td.no_sleeping.get()), (2, 2)));
                assert!(epoch.in_epoch());
                global_epoch().enter();
                assert_eq!(td.critnest.get(), 1);
                assert!(global_epoch().in_epoch());
                global_epoch().exit();
                assert!(!global_epoch().in_epoch());
            });
            assert_eq!((td.critnest.get(), td.pinned.get(), td.no_sleeping.get()), (0, 0, 0));
            assert!(!epoch.in_epoch());
        }),
        Verdict::Pass
    );
}

#[test]
fn sections_may_overlap() {
    passes(Config::default(), 300, || {
        let epoch = net_epoch_preempt();
        threads(2, move |i| {
            if i == 0 {
                let (a, b) = (Tracker::new(), Tracker::new());
                // SAFETY: the trackers outlive their sections.
                unsafe {
                    epoch.enter_preempt(&a);
                    epoch.enter_preempt(&b);
                    epoch.exit_preempt(&a);
                    boundary();
                    epoch.exit_preempt(&b);
                }
            } else {
                epoch.wait_preempt();
            }
        });
        // A section that never ends would show here.
        epoch.wait_preempt();
    });
}

#[test]
fn a_section_that_began_late_is_not_waited_for() {
    passes(Config { cpus: 1, ..Config::default() }, 50, || {
        let (epoch, done) = (net_epoch_preempt(), Arc::new(Shared32::new(0)));
        let (a, b, done2) = (Tracker::new(), Tracker::new(), Arc::clone(&done));
        // SAFETY: the trackers outlive their sections.
        unsafe {
            epoch.enter_preempt(&a);
            // Preempts at once, advances the count past what `a` saw, and lends this thread its priority.
            spawn_at("waiter", pri::PRI_MIN_REALTIME, Some(0), move || {
                epoch.wait_preempt();
                done2.set(1);
            });
            epoch.enter_preempt(&b);
            epoch.exit_preempt(&a);
            // The record has caught up with `b`, which is still open.
            while done.get() == 0 && !cpu::scheduler_stopped() {
                sched::sched_relinquish();
            }
            epoch.exit_preempt(&b);
        }
    });
}

#[test]
fn a_wait_leaves_pins_bindings_and_priority_alone() {
    passes(Config::default(), 300, || {
        let epoch = net_epoch_preempt();
        threads(2, move |i| {
            if i == 0 {
                let td = curthread();
                let priority = td.priority.get();
                sched::sched_pin();
                let here = cpu::cpuid();
                epoch.wait_preempt();
                assert!(cpu::scheduler_stopped() || cpu::cpuid() == here && td.pinned.get() == 1);
                sched::sched_unpin();
                sched::sched_bind(1);
                epoch.wait_preempt();
                assert!(cpu::scheduler_stopped() || cpu::cpuid() == 1 && td.pinned.get() == 1);
                sched::sched_unbind();
                assert!(cpu::scheduler_stopped() || td.pinned.get() == 0 && td.priority.get() == priority);
            } else {
                (0..3).for_each(|_| epoch.section(boundary));
            }
        });
    });
}

/// An object with room for the callback that frees it.
#[repr(C)]
struct Object {
    context: Context,
    alive: Owned32,
    freed: Arc<Shared32>,
}

unsafe extern "C-unwind" fn free(context: *mut Context) {
    // SAFETY: the context is the first field of an `Object` that was boxed for this.
    let object = unsafe { Box::from_raw(context.cast::<Object>()) };
    object.alive.set(0);
    object.freed.fetchadd(1);
}

/// epoch_wait_preempt() ends with sched_prio() to the priority that it began with, and so keeps one that was only lent.
#[test]
fn a_wait_keeps_a_priority_that_was_lent() {
    let config = Config { adaptive: false, ..up() };
    assert_eq!(
        verdict(config, || {
            let m = mtx(c"m", Mtxf::NOWITNESS);
            let (m2, own) = (Arc::clone(&m), curthread().priority.get());
            let epoch = Epoch::alloc(c"e", Epochf::PREEMPT | Epochf::LOCKED).unwrap();
            m.lock();
            spawn_at("better", pri::PRI_MIN_REALTIME, None, move || {
                m2.lock();
                m2.unlock();
            });
            sched::sched_relinquish();
            assert_eq!(curthread().priority.get(), pri::PRI_MIN_REALTIME);
            epoch.wait_preempt();
            m.unlock();
            assert_eq!(curthread().priority.get(), pri::PRI_MIN_REALTIME);
            sched::sched_prio(curthread(), own);
            epoch.free();
        }),
        Verdict::Pass
    );
}

/// Replaces the object at `at` and has the old one freed.
fn replace(epoch: &Epoch, at: &OwnedPtr<Object>, freed: &Arc<Shared32>) {
    let new = Object { context: Context::new(), alive: Owned32::new(1), freed: Arc::clone(freed) };
    let old = at.get();
    at.set(Box::into_raw(Box::new(new)));
    if !old.is_null() {
        // SAFETY: nobody finds the old object any more, and its callback owns it.
        unsafe { epoch.call(free, old.cast()) };
    }
}

#[test]
fn callbacks_come_when_nobody_looks_any_more() {
    for cpus in [1, 2] {
        for preempt in [true, false] {
            passes(Config { cpus, ..Config::default() }, 200, || {
                let epoch = if preempt { net_epoch_preempt() } else { global_epoch() };
                let (at, freed) = (Arc::new(OwnedPtr::null()), Arc::new(Shared32::new(0)));
                replace(epoch, &at, &freed);
                let (at2, freed2) = (Arc::clone(&at), Arc::clone(&freed));
                threads(2, move |i| {
                    if i == 0 {
                        (0..3).for_each(|_| replace(epoch, &at2, &freed2));
                        return;
                    }
                    let look = || {
                        let object = at2.get();
                        // Long enough for the clock to come, and the callbacks' thread.
                        (0..20).for_each(|_| boundary());
                        // SAFETY: the section keeps it alive.
                        assert_eq!(unsafe { (*object).alive.get() }, 1);
                    };
                    for _ in 0..2 {
                        if preempt {
                            epoch.section(look);
                        } else {
                            epoch.enter();
                            look();
                            epoch.exit();
                        }
                    }
                });
                epoch.drain_callbacks();
                if cpu::scheduler_stopped() {
                    return;
                }
                assert_eq!(freed.get(), 3, "drained");
                // SAFETY: the threads are gone.
                drop(unsafe { Box::from_raw(at.get()) });
            });
        }
    }
}

#[test]
fn draining_waits_for_callbacks_of_all_cpus() {
    passes(Config::default(), 200, || {
        let epoch = Epoch::alloc(c"mine", Epochf::PREEMPT).expect("there is room");
        let freed = Arc::new(Shared32::new(0));
        for cpu in [0, 1] {
            sched::sched_bind(cpu);
            let at = OwnedPtr::null();
            replace(epoch, &at, &freed);
            replace(epoch, &at, &freed);
            // SAFETY: it was never shown to anybody.
            drop(unsafe { Box::from_raw(at.get()) });
        }
        sched::sched_unbind();
        epoch.free();
        assert!(freed.get() == 2 || cpu::scheduler_stopped());
    });
}

#[test]
fn there_are_64_epochs_and_a_freed_one_makes_room() {
    assert_eq!(
        verdict(Config::default(), || {
            // The kernel's own one that freeing waits for.
            global_epoch();
            let mine: Vec<_> = std::iter::from_fn(|| Epoch::alloc(c"mine", Epochf::empty())).collect();
            assert_eq!(mine.len(), 63);
            mine[17].free();
            assert!(Epoch::alloc(c"mine", Epochf::empty()).is_some());
            assert!(Epoch::alloc(c"mine", Epochf::empty()).is_none());
        }),
        Verdict::Pass
    );
}

/// A machine with options EPOCH_TRACE.
fn traced() -> Config {
    Config { epoch_trace: true, ..Config::default() }
}

/// Console lines with what varies, places in this file and addresses, left out.
fn texts(console: &[String]) -> Vec<String> {
    let plain = |word: &str| !(word.contains("tests/epoch.rs:") || word.starts_with("0x"));
    let text = |line: &String| line.split(' ').filter(|&word| plain(word)).collect::<Vec<_>>().join(" ");
    console.iter().map(text).collect()
}

#[test]
fn trace_reports_recursion_once_per_place() {
    let body = || {
        for _ in 0..3 {
            net_epoch_preempt().section(|| net_epoch_preempt().section(boundary));
        }
        // Another place, and another epoch.
        let other = Epoch::alloc(c"other", Epochf::PREEMPT).expect("there is room");
        net_epoch_preempt().section(|| other.section(|| net_epoch_preempt().section(boundary)));
    };
    let e = common::once(traced(), body);
    assert_eq!(e.verdict, Verdict::Pass);
    assert_eq!(texts(&e.console), ["Recursively entering epoch Net preemptible at previously entered at"; 2]);
    // Without the option nobody says anything, and without INVARIANTS the option works as well.
    assert!(common::once(Config::default(), body).console.is_empty());
    let bare = Config { invariants: false, witness: false, ..traced() };
    assert_eq!(common::once(bare, body).console.len(), 2);
}

#[test]
fn trace_reports_sections_that_do_not_nest() {
    let e = common::once(traced(), || {
        let other = Epoch::alloc(c"other", Epochf::PREEMPT).expect("there is room");
        let (a, b) = (Tracker::new(), Tracker::new());
        // SAFETY: both stay here until the sections are over.
        unsafe {
            net_epoch_preempt().enter_preempt(&a);
            other.enter_preempt(&b);
            net_epoch_preempt().exit_preempt(&a);
            other.exit_preempt(&b);
        }
    });
    assert_eq!(e.verdict, Verdict::Pass);
    let text = "Exiting epoch Net preemptible in a not nested order at Most recently entered other at";
    assert_eq!(texts(&e.console), [text]);
}

#[test]
fn trace_lists_the_sections_of_a_thread_that_must_not_sleep() {
    let nap = || {
        let other = Epoch::alloc(c"other", Epochf::PREEMPT).expect("there is room");
        net_epoch_preempt().section(|| other.section(|| _ = freebsd_sys::sleep::pause("nap", 1)));
    };
    let e = common::once(traced(), nap);
    assert!(e.verdict.message().ends_with("with sleeping prohibited"), "{}", e.verdict);
    let list = ["Epoch other entered at", "Epoch Net preemptible entered at"];
    assert_eq!(texts(&e.console), list);
    assert!(common::once(Config::default(), nap).console.is_empty());
    let allocate = || {
        net_epoch_preempt().section(|| _ = freebsd_sys::malloc::malloc(8, "test", freebsd_sys::malloc::M::WAITOK));
    };
    assert_eq!(texts(&common::once(traced(), allocate).console), list[1..]);
    let leave = || {
        let tracker = Tracker::new();
        // SAFETY: the machine panics while the tracker is there.
        unsafe { net_epoch_preempt().enter_preempt(&tracker) };
        freebsd_sys::userret::userret();
    };
    let e = common::once(Config { witness: false, ..traced() }, leave);
    assert_eq!(e.verdict, Verdict::Panic("userret: Returning with sleep disabled".to_owned()));
    assert_eq!(texts(&e.console), list[1..]);
}

#[test]
fn trace_says_where_a_section_ends() {
    let e = common::once(traced(), || {
        net_epoch_preempt().section(|| net_epoch_preempt().where_report());
        net_epoch_preempt().section(boundary);
    });
    assert_eq!(e.verdict, Verdict::Pass);
    let expected = ["Td entered epoch Net preemptible at", "Td exiting epoch Net preemptible at"];
    assert_eq!(texts(&e.console), expected);
    let outside = common::once(traced(), || net_epoch_preempt().where_report());
    assert!(outside.verdict.message().starts_with("Assertion !THREAD_CAN_SLEEP() failed at"), "{}", outside.verdict);
}

#[test]
fn trace_on_smp() {
    let bare = Config { invariants: false, witness: false, ..traced() };
    let m = freebsd_sys::machine::Machine::new(bare, freebsd_sys::machine::Engine::Smp);
    let options = freebsd_sys::host::smp::Options { limit: std::time::Duration::from_secs(300), seed: 1, units: &[] };
    let run = freebsd_sys::host::smp::run(&m, options, &|| {
        net_epoch_preempt().section(|| net_epoch_preempt().section(boundary));
    });
    assert_eq!((run.verdict, run.console.len()), (Verdict::Pass, 1));
}
