//! panic(9), KASSERT(9), MPASS, printf(9), and `SCHEDULER_STOPPED`.
//!
//! A panic stops the whole machine and never the host process: the message becomes the execution's verdict, the other CPUs
//! stop at their next boundary, and every thread's frames are dropped later under `SCHEDULER_STOPPED`, where lock operations
//! return at once.

use crate::cpu::machine;
use crate::machine::Verdict;
use core::fmt;

/// `panic()`: see the macro `kpanic!`.
#[cold]
#[inline(never)]
pub fn panic_args(message: fmt::Arguments<'_>) -> ! {
    // The frame stays on the stack until the thread is unwound, which may never be: it owns nothing when it calls `end`.
    let mut message = message.to_string();
    message.truncate(message.trim_end().len());
    if machine().engine == crate::machine::Engine::Explore {
        // In `smp` the other CPUs still run: it is noted when they have stopped.
        machine().note_panic_state();
    }
    crate::host::end(Verdict::Panic(message))
}

/// KASSERT(9) for other crates: under INVARIANTS, `message` is a panic unless `holds`.
///
/// # Panics
///
/// With the message.
#[inline]
pub fn kassert_args(holds: bool, message: fmt::Arguments<'_>) {
    if !holds && crate::cpu::invariants() {
        panic_args(message);
    }
}

/// Prints to the machine's console: printf(9).
#[cold]
pub fn printf_args(text: fmt::Arguments<'_>) {
    machine().console(text.to_string());
}

/// Ends the run because its data is wrong: a scenario's invariant broke, something was torn.
///
/// Not FreeBSD's: a suite's way to say `corruption`.
#[cold]
pub fn corruption(message: fmt::Arguments<'_>) -> ! {
    crate::host::end(Verdict::Corruption(message.to_string()))
}

/// panic(9) with Rust's formatting; the text is FreeBSD's.
macro_rules! kpanic {
    ($($arg:tt)*) => { $crate::panic::panic_args(format_args!($($arg)*)) };
}

/// KASSERT(9): checked under INVARIANTS.
macro_rules! kassert {
    ($cond:expr, $($arg:tt)*) => {
        if $crate::cpu::invariants() && !$cond {
            $crate::panic::panic_args(format_args!($($arg)*))
        }
    };
}

/// MPASS(9): `$text` is the C expression that FreeBSD prints, `$loc` where.
macro_rules! mpass {
    ($cond:expr, $text:literal, $loc:expr) => {
        if $crate::cpu::invariants() && !$cond {
            $crate::panic::panic_args(format_args!(concat!("Assertion ", $text, " failed at {}"), $loc))
        }
    };
}

/// printf(9).
macro_rules! kprintf {
    ($($arg:tt)*) => { $crate::panic::printf_args(format_args!($($arg)*)) };
}

pub(crate) use {kassert, kpanic, kprintf, mpass};
