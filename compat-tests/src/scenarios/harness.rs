//! The shape that most scenarios share: two threads that compete on a loaded machine.

pub(super) use freebsd_sys::syscall::{BATCH, INTERACTIVE, run, syscall};

use freebsd_sys::syscall::crowd;
use linuxkpi::completion::Completion;
use std::sync::Arc;

/// Two threads compete on a loaded machine: `batch` begins, and `interactive`, which is more important, starts after it has
/// begun. A bystander may preempt either at any boundary; after it the more important thread goes first, on the same CPU if that
/// is where it waits.
pub(super) fn compete(
    batch: (&'static str, impl FnOnce() + Send + 'static),
    interactive: (&'static str, impl FnOnce() + Send + 'static),
) {
    freebsd_sys::interrupt::bystanders();
    let begun = gate();
    let begins = Arc::clone(&begun);
    let mut threads = vec![
        syscall(batch.0, BATCH, move || {
            begins.complete();
            (batch.1)();
        })
        .on(0),
        syscall(interactive.0, INTERACTIVE, move || {
            begun.wait();
            (interactive.1)();
        })
        .on(0),
    ];
    threads.extend(crowd());
    run(threads);
}

/// A completion, made.
pub(super) fn gate() -> Arc<Completion> {
    let gate = Arc::new(Completion::new());
    gate.init();
    gate
}
