//! FreeBSD's own primitives from C: the headers of `linuxkpi/include/sys`, as `suites/c/selftest_sys.c`, `selftest_kproc.c` and
//! `selftest_driver.c` use them.

mod c_common;

use c_common::{explore, explore_with, once, passes, passes_on_smp};
use freebsd_sys::machine::{Config, Verdict};

#[test]
fn locks() {
    for scenario in ["rwlock", "sx", "rmlock", "seqc", "lockmgr", "giant", "lock-class"] {
        passes(&format!("selftest-sys-{scenario}"), 3);
    }
}

#[test]
fn locks_are_ordered_by_type() {
    let execution = explore("selftest-sys-lock-type", 1).expect("it panics");
    assert_eq!(execution.console.len(), 3, "{:?}", execution.console);
    assert_eq!(execution.console[0], "lock order reversal:");
    assert!(execution.console[2].contains(" b (device, sleep mutex) @ "), "{:?}", execution.console);
}

#[test]
fn sleeping_and_waking() {
    passes("selftest-sys-sleep", 200);
    passes("selftest-sys-wait-unlocked", 300);
    let Verdict::Panic(text) = explore("selftest-sys-wait-for-oneself", 1).expect("it panics").verdict else {
        panic!()
    };
    assert!(
        text.starts_with("mtx_wait_unlocked() waiting on myself on lock 0x") && text.ends_with(" (guard)"),
        "{text}"
    );
}

#[test]
fn sections_and_callbacks() {
    passes("selftest-sys-epoch", 300);
}

#[test]
fn callouts_tasks_and_threads() {
    passes("selftest-sys-deferred", 20);
    passes("selftest-sys-callout", 50);
    passes("selftest-sys-kthread", 20);
}

#[test]
fn kernel_processes() {
    passes("selftest-sys-kproc", 50);
    passes("selftest-sys-kproc-threads", 50);
}

#[test]
fn a_kernel_process_does_not_return() {
    let execution = explore("selftest-sys-kproc-returns", 1).expect("it panics");
    assert_eq!(execution.console, ["Kernel thread \"returns\" (pid 101) exited prematurely."]);
}

#[test]
fn sleep_queues_themselves() {
    passes("selftest-sys-sleepqueue", 300);
}

#[test]
fn a_sleep_queue_that_is_not_there() {
    let assertion = "Assertion (queue >= 0) && (queue < NR_SLEEPQS) failed at ";
    let execution = explore("selftest-sys-sleepq-queue", 1).expect("it panics");
    let Verdict::Panic(text) = execution.verdict else { panic!("{}", execution.verdict) };
    assert!(text.starts_with(assertion), "{text}");
    let without = Config { invariants: false, ..Config::default() };
    let execution = explore_with(without, "selftest-sys-sleepq-queue", 1).expect("it panics");
    assert_eq!(execution.verdict, Verdict::Panic("page fault".to_owned()));
}

#[test]
fn rendezvous_of_cpus() {
    passes("selftest-sys-smp", 50);
}

#[test]
fn the_scheduler() {
    passes("selftest-sys-sched", 50);
    let execution = explore("selftest-sys-sched-unlocked", 1).expect("it panics");
    let text = execution.verdict.to_string();
    assert!(text.contains("mutex sched lock 0 not owned at "), "{text}");
}

#[test]
fn a_thread_yields_when_its_time_is_over() {
    // `explore` lets so little time pass as its budget says.
    passes_on_smp(Config { cpus: 1, ..Config::default() }, "selftest-sys-maybe-yield");
}

#[test]
fn witness_knows_where_a_dropped_lock_was_taken() {
    let execution = explore("selftest-sys-witness-place", 1).expect("it panics");
    let [_, own, giant] = &execution.console[..] else { panic!("{:?}", execution.console) };
    assert!(own.contains(" own ") && own.ends_with(" @ driver.c:3301"), "{own}");
    assert!(giant.contains(" Giant ") && giant.ends_with(" @ driver.c:3300"), "{giant}");
    let without = Config { witness: false, ..Config::default() };
    assert!(explore_with(without, "selftest-sys-witness-place", 1).is_none());
}

#[test]
fn held_locks_are_warned_of() {
    let execution = explore("selftest-sys-witness-warn", 1).expect("it panics");
    assert_eq!(execution.verdict, Verdict::Panic("witness_warn".to_owned()));
    let [second, sx, third, other] = &execution.console[..] else { panic!("{:?}", execution.console) };
    assert_eq!(second, "second 2 with the following locks held:");
    assert!(sx.starts_with("shared sx static sx (static sx) r = 0 ("), "{sx}");
    assert_eq!(third, "third with the following non-sleepable locks held:");
    assert!(other.starts_with("exclusive sleep mutex other (other) r = 0 ("), "{other}");
}

#[test]
fn assertions_are_evaluated_under_invariants_alone() {
    let without = || Config { invariants: false, ..Config::default() };
    passes("selftest-sys-assertions", 1);
    assert!(explore_with(without(), "selftest-sys-assertions", 1).is_none());
    for (name, message) in [
        ("kassert", "seven is 7"),
        ("critical-assert", "Not in critical section"),
        ("giant-required", "mutex Giant not owned at driver.c:3200"),
        ("mpass", "Assertion evaluate(0) == 1 failed at driver.c:3000"),
        ("net-epoch-assert", "Assertion in_epoch(net_epoch_preempt) failed at driver.c:3100"),
    ] {
        let scenario = format!("selftest-sys-{name}");
        let execution = explore(&scenario, 1).expect("it panics");
        assert_eq!(execution.verdict, Verdict::Panic(message.to_owned()));
        let execution = explore_with(without(), &scenario, 1);
        assert!(execution.is_none(), "{name}: {execution:?}");
    }
}

#[test]
fn what_modules_import_is_there() {
    // Where it is not, linking fails.
    passes("selftest-sys-imports", 1);
}

#[test]
fn messages_name_the_line_in_c() {
    let execution = explore("selftest-sys-message", 1).expect("it recurses");
    let expected = "_sx_xlock_hard: recursed on non-recursive sx static sx @ driver.c:2000";
    assert_eq!(execution.verdict, Verdict::Panic(expected.to_owned()));
}

#[test]
fn what_drivers_use_besides() {
    for scenario in ["queue", "counts"] {
        passes(&format!("selftest-driver-{scenario}"), 1);
    }
    passes("selftest-driver-pause-sig", 100);
    passes("selftest-driver-timeout-task", 50);
    passes("selftest-driver-sema", 100);
    // On `smp` time goes on by itself.
    let execution = explore("selftest-driver-time", 20);
    assert!(execution.is_none(), "{execution:?}");
}

#[test]
fn counts_do_not_wrap() {
    let execution = explore("selftest-driver-refcount-wraps", 1).expect("it panics");
    let Verdict::Panic(text) = execution.verdict else { panic!("{}", execution.verdict) };
    assert!(text.starts_with("refcount 0x") && text.ends_with(" wraparound"), "{text}");
    let without = Config { invariants: false, ..Config::default() };
    assert!(explore_with(without, "selftest-driver-refcount-wraps", 1).is_none());
}

#[test]
fn memory_of_drivers() {
    let execution = once(Config::default(), "selftest-driver-malloc");
    assert_eq!((execution.verdict, execution.console), (Verdict::Pass, vec!["Bad malloc flags: 0".to_owned()]));
    let execution = explore("selftest-driver-mallocarray-overflows", 1).expect("it panics");
    let text = "mallocarray: 4611686018427387904 * 8 overflowed";
    assert_eq!(execution.verdict, Verdict::Panic(text.to_owned()));
}

#[test]
fn a_callout_of_no_cpu_is_refused() {
    let execution = explore("selftest-driver-callout-cpu", 1).expect("it panics");
    assert_eq!(execution.verdict, Verdict::Panic("callout_reset_sbt_on: invalid cpu -5".to_owned()));
    let without = Config { invariants: false, ..Config::default() };
    let execution = explore_with(without, "selftest-driver-callout-cpu", 1).expect("it panics");
    assert_eq!(execution.verdict, Verdict::Panic("page fault".to_owned()));
}

#[test]
fn a_queue_has_no_enqueue_function_of_its_driver() {
    let execution = explore("selftest-driver-own-enqueue", 1).expect("it panics");
    let text = "taskqueue_create: only taskqueue_thread_enqueue is emulated";
    assert_eq!(execution.verdict, Verdict::Panic(text.to_owned()));
}
