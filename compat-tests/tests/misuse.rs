//! FreeBSD's rules, each as a test: the misuse table, and the two tables of locking(9).

use compat_tests::misuse::{self, Suite};
use freebsd_sys::machine::Engine;

/// Runs all rows; a failure shows what was expected and what came.
#[track_caller]
fn all(suite: Suite, engine: Engine, at_least: usize) {
    let report = misuse::run(suite, &[], engine).expect("all rows");
    assert_eq!(report.count("fail"), 0, "\n{}", report.failures());
    assert!(report.count("pass") >= at_least, "only {} cases", report.count("pass"));
}

#[test]
fn every_misuse_shows_what_the_kernel_shows() {
    all(Suite::Misuse, Engine::Explore, 600);
}

#[test]
fn locking_9_is_kept_cell_by_cell() {
    all(Suite::Locking, Engine::Explore, 150);
}

/// Cases that end because nobody moves take a second each, so that this is the slowest test.
#[test]
fn every_misuse_shows_the_same_on_smp() {
    all(Suite::Misuse, Engine::Smp, 600);
}

#[test]
fn locking_9_is_kept_on_smp() {
    all(Suite::Locking, Engine::Smp, 150);
}
