//! Interrupts in C: newbus, interrupt events and software interrupts, as `suites/c/selftest_interrupt.c` uses them.

mod c_common;

use c_common::{explore, panics, passes};

#[test]
fn newbus_sets_up_and_tears_down() {
    passes("selftest-intr-newbus", 100);
    passes("selftest-intr-shared", 50);
    passes("selftest-intr-bind", 50);
    passes("selftest-intr-types", 50);
}

#[test]
fn teardown_waits_for_the_handler() {
    passes("selftest-intr-teardown", 1000);
}

#[test]
fn handlers_that_are_not_mpsafe_run_with_giant() {
    passes("selftest-intr-giant", 500);
    let execution = explore("selftest-intr-no-type", 1).expect("it panics");
    assert!(execution.console.is_empty(), "{:?}", execution.console);
}

#[test]
fn software_interrupts() {
    passes("selftest-intr-swi", 300);
}

#[test]
fn events_of_a_driver_s_own() {
    passes("selftest-intr-event", 100);
}

#[test]
fn misuses() {
    for (name, message) in [
        ("wrong-filter", "intr_event_handle: incorrect return value 0x3 from foo7:tx"),
        ("no-type", "intr_priority: no interrupt type in flags"),
        ("no-resource", "nexus_setup_intr: NULL irq resource!"),
        ("twice", "interrupt handler \"foo7\" not found in interrupt event \"device\""),
        ("stray-swi", "stray software interrupt"),
        ("setup-in-critical", "malloc: called with spinlock or critical section held"),
    ] {
        assert_eq!(panics(&format!("selftest-intr-{name}")), message);
    }
    let text = panics("selftest-intr-own-teardown");
    assert!(text.starts_with("sleepq_add: td 0x") && text.ends_with(" with sleeping prohibited"), "{text}");
}
