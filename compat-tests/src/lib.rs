//! Runs scenarios on the emulated kernel and compares mappings: the library behind `lkpi`.
//!
//! A *scenario* is something a driver does, a *mapping* is how Linux's locks become FreeBSD's; a [`registry::Cell`] is one of each.
//!
//! A cell's main runs on any machine, and a schedule that was found anywhere replays here:
//!
//! ```
//! use compat_tests::registry;
//! use freebsd_sys::host::explore::{self, Options};
//! use freebsd_sys::host::schedule::random::Random;
//! use freebsd_sys::machine::{Config, Engine, Machine, Verdict};
//!
//! let (_scenario, cell) = registry::cell("dma-resv-fence-callback", "linuxkpi_2021")?;
//! let machine = Machine::new(Config::default(), Engine::Explore);
//! let mut schedule = Random::new(1);
//! let panic = (0..2000)
//!     .map(|index| explore::run(&machine, &mut schedule, Options { index, ..Options::default() }, &cell.run))
//!     .find(|execution| execution.verdict != Verdict::Pass)
//!     .ok_or("not found")?;
//! assert_eq!(panic.verdict.message(), "mi_switch: switch in a critical section");
//! # Ok::<(), String>(())
//! ```
//!
//! A scenario of one's own is a function that is generic in [`linuxkpi::LockMapping`], as in that crate's example;
//! `CONTRIBUTING.md` says how the table gets to know of it.

/// The exhaustive search compares addresses between executions.
#[global_allocator]
static HEAP: freebsd_sys::host::heap::Heap = freebsd_sys::host::heap::Heap;

// -- what there is to run
mod c_compile;
pub mod c_load;
pub mod c_units;
pub mod cell;
pub mod registry;
mod scenarios;

// -- running it
pub mod explore_bench;
pub mod run;
pub mod schedule;
pub mod shard;
pub mod shrink;

// -- FreeBSD's own rules, one by one
pub mod fuzz;
pub mod misuse;

// -- judging and showing it
pub mod compare;
pub mod expected;
pub mod replay;
pub mod report;

// -- the command
pub mod cli;
