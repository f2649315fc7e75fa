//! What a machine needs of its host: about nine functions. No lock names anything in here.
//!
//! | function | `explore` | `smp` |
//! |---|---|---|
//! | `switch` | suspend to the engine's loop | the same, to this CPU's loop |
//! | `switch_to` | the next thread's stack | by this CPU's loop |
//! | `idle` | wait for an event of the schedule | futex(2) |
//! | `end` | the verdict | the verdict, and all CPUs stop |
//! | `park_forever` | until unwound | until unwound |
//! | `place`, `migrate` | the schedule chooses | least loaded, default |
//! | `explore::boundary`, `explore::spinwait`, `smp::relax`, `smp::wake` | | |

#![expect(clippy::disallowed_types, clippy::disallowed_methods, reason = "the host side is where std's threads belong")]

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
compile_error!(
    "the emulation runs on Linux/amd64: GS, the switch of stacks and what a fault leaves behind are written for it"
);

pub(crate) mod addresses;
pub(crate) mod callsite;
pub(crate) mod coroutine;
pub mod explore;
pub mod fault;
pub mod footprint;
pub mod gs;
pub mod heap;
pub(crate) mod membarrier;
pub mod schedule;
pub mod smp;
pub mod starvation;
pub mod tsan;
pub(crate) mod units;
pub mod workers;

use crate::cpu::{Pcpu, engine, machine};
use crate::machine::{Engine, Verdict};
use crate::thread::{Rest, Thread, curthread};

/// Suspends the running thread to the loop that drives its CPU; `Pcpu::next` says who runs next.
#[inline]
pub(crate) fn switch() {
    // SAFETY: the running thread's context runs.
    unsafe { (*curthread().control.get()).suspend() };
}

/// Suspends the running thread, whose CPU goes on with `next`.
#[inline]
pub(crate) fn switch_to(cpu: &Pcpu, next: &Thread) {
    match engine() {
        Engine::Explore => explore::switch_to(cpu, next),
        Engine::Smp => {
            cpu.next.set(next.ptr());
            switch();
        }
    }
}

/// The running thread, of which nothing is left to drop, has ended: its CPU goes on with `next`, at the latest once the thread's coroutine
/// has returned.
pub(crate) fn exit_to(cpu: &Pcpu, next: &Thread) {
    match engine() {
        Engine::Explore => explore::exit_to(cpu, next),
        Engine::Smp => cpu.next.set(next.ptr()),
    }
}

/// The idle thread has nothing to run: returns when that may have changed.
#[inline(always)]
pub(crate) fn idle() {
    match engine() {
        Engine::Explore => explore::idle(),
        Engine::Smp => smp::idle(),
    }
}

/// Ends the machine with `verdict`, unless it has one, and never returns: the thread is unwound later.
pub(crate) fn end(verdict: Verdict) -> ! {
    machine().set_verdict(verdict);
    if engine() == Engine::Smp {
        smp::stop(machine());
    }
    park_forever()
}

/// Suspends for good: the only way on is being unwound.
#[cold]
#[inline(never)]
pub(crate) fn park_forever() -> ! {
    // Also of an idle thread, which is not in its loop then.
    curthread().rest.set(Rest::NO);
    loop {
        switch();
        // A stopped machine resumes nobody; only the forced unwind comes through `switch`, as a panic.
    }
}

/// CPU for a new thread.
pub(crate) fn place(cpus: usize) -> usize {
    match engine() {
        Engine::Explore => explore::choose("place", cpus),
        Engine::Smp => smp::place(cpus),
    }
}

/// CPU for a thread that wakes up, `default` if the schedule has nothing against it.
pub(crate) fn migrate(default: usize) -> usize {
    match engine() {
        Engine::Explore => explore::migrate(default),
        Engine::Smp => default,
    }
}
