//! Scenarios written in C: what `build.rs` compiled from `suites/c`, once per mapping.

use freebsd_sys::machine::{Sysinit, Unit};
// Its symbols are what the C code calls.
use linuxkpi as _;

/// A scenario of a C file, compiled for a mapping.
#[derive(Debug, Clone, Copy)]
pub struct CUnit {
    /// The scenario's name; in C it has underscores for hyphens.
    pub scenario: &'static str,
    /// The mapping's name.
    pub mapping: &'static str,
    /// thread0's main.
    pub run: fn(),
    /// The file's static memory and SYSINITs; several scenarios may share them.
    pub units: fn() -> Vec<Unit>,
}

/// Start and end of a section whose name is a C identifier.
macro_rules! bounds {
    ($section:literal) => {{
        unsafe extern "C" {
            #[link_name = concat!("__start_", $section)]
            static START: u8;
            #[link_name = concat!("__stop_", $section)]
            static STOP: u8;
        }
        (&raw const START, &raw const STOP)
    }};
}

macro_rules! c_unit {
    ($scenario:literal, $mapping:literal, $unit:literal, $entry:literal, $data:expr, $sysinits:expr) => {{
        fn run() {
            unsafe extern "C-unwind" {
                #[link_name = $entry]
                fn entry();
            }
            // SAFETY: a scenario takes nothing; it runs as thread0 of a machine that leases its unit.
            unsafe { entry() }
        }
        fn units() -> Vec<Unit> {
            let data: (*const u8, *const u8) = $data;
            let set: (*const u8, *const u8) = $sysinits;
            vec![Unit { name: $unit, data: (data.0.cast_mut(), data.1.cast_mut()), sysinits: sysinits(set) }]
        }
        CUnit { scenario: $scenario, mapping: $mapping, run, units }
    }};
}

/// All C scenarios on all mappings, by file, then mapping.
pub fn units() -> Vec<CUnit> {
    include!(concat!(env!("OUT_DIR"), "/c_units.rs"))
}

/// The entries of a linker set.
pub(crate) fn sysinits((start, stop): (*const u8, *const u8)) -> &'static [Sysinit] {
    if start.is_null() {
        return &[];
    }
    let count = (stop as usize - start as usize) / size_of::<Sysinit>();
    // SAFETY: the set consists of constant `struct lkpi_sysinit`, and lives as long as the program.
    unsafe { core::slice::from_raw_parts(start.cast(), count) }
}
