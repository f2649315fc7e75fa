//! Static memory of units (compiled C, or a Rust scenario's section): what it held before anything ran, and who uses it now.
//!
//! A unit's memory exists once per process while several machines run in parallel, so an execution leases its units: another
//! that wants one of them waits. Leasing puts the memory back to its first state.

use crate::machine::{Sysinit, Unit};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

#[derive(Debug, Default)]
struct Table {
    /// Start of each unit ever leased, and its first contents.
    images: Vec<(usize, Box<[u8]>)>,
    /// Starts of the units in use.
    leased: Vec<usize>,
}

static TABLE: Mutex<Table> = Mutex::new(Table { images: Vec::new(), leased: Vec::new() });
static RETURNED: Condvar = Condvar::new();

fn table() -> MutexGuard<'static, Table> {
    TABLE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The units are the holder's until it is dropped.
#[derive(Debug)]
pub(crate) struct Lease(Vec<usize>);

/// Waits for the units, and restores their memory.
pub(crate) fn lease(units: &[Unit]) -> Lease {
    let mut starts = Vec::new();
    let with_data = || units.iter().filter(|unit| unit.data.0 < unit.data.1);
    for unit in with_data() {
        let start = unit.data.0 as usize;
        if !starts.contains(&start) {
            starts.push(start);
        }
    }
    if starts.is_empty() {
        return Lease(starts);
    }
    let mut table = RETURNED
        .wait_while(table(), |table| starts.iter().any(|start| table.leased.contains(start)))
        .unwrap_or_else(PoisonError::into_inner);
    table.leased.extend(&starts);
    for unit in with_data() {
        let (start, end) = (unit.data.0 as usize, unit.data.1 as usize);
        // SAFETY: the unit says that it owns the section; nobody else has the lease, and no thread of ours runs yet.
        unsafe {
            if let Some((_, image)) = table.images.iter().find(|(at, _)| *at == start) {
                core::ptr::copy_nonoverlapping(image.as_ptr(), start as *mut u8, image.len());
            } else {
                // Nobody ever ran with it: this is its first state.
                let image = core::slice::from_raw_parts(start as *const u8, end - start).into();
                table.images.push((start, image));
            }
        }
    }
    Lease(starts)
}

/// The units' SYSINITs in the order in which they are called: by subsystem and order, equals as the linker left them.
pub(crate) fn sysinits(units: &[Unit]) -> Vec<Sysinit> {
    let mut all: Vec<_> = units.iter().flat_map(|unit| unit.sysinits).copied().collect();
    all.sort_by_key(|sysinit| (sysinit.subsystem, sysinit.order));
    all
}

impl Drop for Lease {
    fn drop(&mut self) {
        if !self.0.is_empty() {
            table().leased.retain(|start| !self.0.contains(start));
            RETURNED.notify_all();
        }
    }
}
