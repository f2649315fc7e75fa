//! The parts that mappings are put together from. No part knows which mapping uses it.

pub mod cpu;
pub mod rw;
pub mod seq;
pub mod spin;
pub mod turnstile;

pub use rw::RwDef;
pub use seq::{CriticalCount, LkpiSeqlock, LockedCount, SleepableCount};
pub use spin::{MtxDef, MtxPin};

/// `preempt_disable()` as LinuxKPI has it: a critical section.
pub(crate) fn preempt_disable() {
    freebsd_sys::critical::critical_enter();
}

/// `preempt_enable()`.
pub(crate) fn preempt_enable() {
    freebsd_sys::critical::critical_exit();
}

/// Names that LinuxKPI gives its locks.
pub(crate) mod name {
    use core::ffi::CStr;
    pub(crate) const SPIN: &CStr = c"lnxspin";
    pub(crate) const RW: &CStr = c"lnxrw";
    pub(crate) const SEQLOCK: &CStr = c"seqlock";
    pub(crate) const SEQCOUNT: &CStr = c"lnxseq";
}
