//! What C drivers use besides locks and interrupts, as `suites/c/selftest_kernel.c` has it: DPCPU, intr_disable(), callout_when(),
//! EVENTHANDLER.

mod c_common;

use c_common::{explore, panics, passes};

/// The corruption that `scenario` comes to, when it is left to itself.
fn corrupts(scenario: &str) -> String {
    let execution = explore(scenario, 2000).unwrap_or_else(|| panic!("{scenario} passes"));
    assert_eq!(execution.verdict.name(), "corruption", "{scenario}: {}", execution.verdict);
    execution.verdict.message().to_owned()
}

#[test]
fn each_cpu_has_its_own() {
    passes("selftest-kernel-dpcpu", 200);
    corrupts("selftest-kernel-dpcpu-careless");
    assert_eq!(panics("selftest-kernel-dpcpu-absent"), "page fault (DPCPU of cpu 2, which is not there)");
}

#[test]
fn no_interrupt_comes_while_they_are_off() {
    passes("selftest-kernel-intr-disable", 500);
    assert_eq!(corrupts("selftest-kernel-intr-enabled"), "torn == 0 does not hold");
}

#[test]
fn when_a_callout_would_run() {
    passes("selftest-kernel-callout-when", 50);
    passes("selftest-kernel-time", 5);
}

#[test]
fn event_handlers() {
    passes("selftest-kernel-eventhandler", 20);
    passes("selftest-kernel-deregister", 500);
    corrupts("selftest-kernel-deregister-nowait");
}
