//! Locks nothing: the control that proves that the suites notice.
//!
//! **Keeps** nothing. **Loses** everything. **Costs** nothing.
//!
//! Source: the idea is `lock_busted` of Linux's locktorture.

use super::{How, LockMapping, RwBackend, SeqcountBackend, SeqlockBackend, SpinBackend};
use crate::{Flags, Loc};
use freebsd_sys::cpu;

/// See the module.
#[derive(Debug)]
pub struct Busted;

/// A lock that is none. Its operations are boundaries still, so that the schedule can show what is missing.
#[repr(C, align(8))]
#[derive(Debug)]
pub struct Nothing([u8; 8]);

impl Nothing {
    const NOTHING: Self = Self([0; 8]);

    fn pass(&self, what: &'static str) {
        cpu::step(what, 0);
    }
}

// SAFETY: none: this is the negative control. Its scenarios keep their data in cells whose tearing is defined behaviour.
unsafe impl SpinBackend for Nothing {
    const ZEROED: Self = Self::NOTHING;
    fn init(&self) {}
    fn init_static(&self) {}
    fn lock(&self, _how: How) -> Flags {
        self.pass("spin_lock");
        Flags(0)
    }
    fn trylock(&self, _how: How) -> Option<Flags> {
        self.pass("spin_trylock");
        Some(Flags(0))
    }
    fn unlock(&self, _how: How, _flags: Flags) {
        self.pass("spin_unlock");
    }
    fn is_locked(&self) -> bool {
        false
    }
    fn assert_held(&self, _loc: Loc) {}
}

// SAFETY: none: the negative control, whose scenarios keep their data in cells whose tearing is defined behaviour.
unsafe impl RwBackend for Nothing {
    const ZEROED: Self = Self::NOTHING;
    fn init(&self) {}
    fn read_lock(&self, _how: How) -> Flags {
        self.pass("read_lock");
        Flags(0)
    }
    fn read_trylock(&self, _how: How) -> Option<Flags> {
        self.pass("read_trylock");
        Some(Flags(0))
    }
    fn read_unlock(&self, _how: How, _flags: Flags) {
        self.pass("read_unlock");
    }
    fn write_lock(&self, _how: How) -> Flags {
        self.pass("write_lock");
        Flags(0)
    }
    fn write_trylock(&self, _how: How) -> Option<Flags> {
        self.pass("write_trylock");
        Some(Flags(0))
    }
    fn write_unlock(&self, _how: How, _flags: Flags) {
        self.pass("write_unlock");
    }
    fn is_locked(&self) -> bool {
        false
    }
}

// SAFETY: none: the negative control, whose scenarios keep their data in cells whose tearing is defined behaviour.
unsafe impl SeqcountBackend for Nothing {
    const ZEROED: Self = Self::NOTHING;
    fn init(&self) {}
    fn write_begin(&self, _loc: Loc) {
        self.pass("write_seqcount_begin");
    }
    fn write_end(&self, _loc: Loc) {
        self.pass("write_seqcount_end");
    }
    fn invalidate(&self) {}
    fn read_begin(&self, _loc: Loc) -> u32 {
        self.pass("read_seqcount_begin");
        0
    }
    fn raw_read(&self) -> u32 {
        0
    }
    fn read_retry(&self, _start: u32, _loc: Loc) -> bool {
        self.pass("read_seqcount_retry");
        false
    }
}

// SAFETY: none: the negative control, whose scenarios keep their data in cells whose tearing is defined behaviour.
unsafe impl SeqlockBackend for Nothing {
    const ZEROED: Self = Self::NOTHING;
    fn init(&self) {}
    fn write_lock(&self, _how: How) -> Flags {
        self.pass("write_seqlock");
        Flags(0)
    }
    fn write_unlock(&self, _how: How, _flags: Flags) {
        self.pass("write_sequnlock");
    }
    fn read_begin(&self, _loc: Loc) -> u32 {
        self.pass("read_seqbegin");
        0
    }
    fn read_retry(&self, _start: u32, _loc: Loc) -> bool {
        self.pass("read_seqretry");
        false
    }
    fn excl_lock(&self, _how: How) -> Flags {
        self.pass("read_seqlock_excl");
        Flags(0)
    }
    fn excl_unlock(&self, _how: How, _flags: Flags) {
        self.pass("read_sequnlock_excl");
    }
}

impl LockMapping for Busted {
    const NAME: &'static str = "busted";
    const ABOUT: &'static str = "locks nothing: the control";
    type Spin = Nothing;
    type RawSpin = Nothing;
    type Rw = Nothing;
    type Seqcount = Nothing;
    type SeqcountMutex = Nothing;
    type Seqlock = Nothing;

    fn preempt_disable() {
        cpu::step("preempt_disable", 0);
    }
    fn preempt_enable() {
        cpu::step("preempt_enable", 0);
    }
    fn local_bh_disable() {}
    fn local_bh_enable() {}
}
