//! What `lkpi fuzz` does, with programs that coverage leads to instead of a seed.

#![no_main]

use compat_tests::fuzz::program::Program;
use compat_tests::fuzz::{Effort, Judge};
use std::cell::RefCell;

thread_local! {
    /// Machines are expensive to make, and libFuzzer calls from one thread.
    static JUDGE: RefCell<Judge> = RefCell::default();
}

libfuzzer_sys::fuzz_target!(|program: Program| {
    JUDGE.with_borrow_mut(|judge| {
        if let Err(found) = judge.judge(&program, 1, Effort { schedules: 4, search: 0 }) {
            panic!("kernel and model disagree\n{}", judge.shrink(*found));
        }
    });
});
