//! Runs scenarios on the emulated kernel and compares mappings: the library behind `lkpi`.
//!
//! A *scenario* is something a driver does, a *mapping* is how Linux's locks become FreeBSD's; a [`registry::Cell`] is one of each.

/// The exhaustive search compares addresses between executions.
#[global_allocator]
static HEAP: freebsd_sys::host::heap::Heap = freebsd_sys::host::heap::Heap;

// -- what there is to run
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
