//! seqc(9): sequence counters, for readers that never write and retry instead.
//!
//! # State
//!
//! | count | meaning |
//! |---|---|
//! | even | the data is whole |
//! | odd | a writer is in its section |
//!
//! # Algorithm
//!
//! A writer, whom something else keeps alone, makes the count odd, writes, and makes it even. A reader waits for an even
//! count, reads, and looks again: an unchanged count says that what it read belongs together. The plain writer's section is a
//! critical section, so that its readers wait for a thread that runs; the sleepable one's is not, and a reader of better
//! priority on its CPU then spins for ever. Readers lend nothing and are bounded by nothing.
//!
//! # Memory ordering
//!
//! The counter's accesses are plain, the fences order them. `write_begin` fences its odd count before the data (release),
//! `write_end` the data before its even count (release); `read` fences the count before the data (acquire), `consistent` the
//! data before its second look (acquire). They pair crosswise: a reader that saw new data sees the odd count that came before
//! it, one that saw the even count sees the data before it.
//!
//! # Deviations from FreeBSD
//!
//! None in behaviour. The counter wraps as FreeBSD's does.
//!
//! References: sys/seqc.h, seqc(9).

use crate::atomic::{Owned32, thread_fence_acq, thread_fence_rel};
use crate::cpu::{self, observe};
use crate::critical::{critical_enter, critical_exit};
use crate::lock::Loc;
use crate::panic::mpass;

/// `SEQC_MOD`.
pub const SEQC_MOD: u32 = 1;

/// `seqc_in_modify()`: whether this count was read inside a writer's section.
#[inline]
pub fn seqc_in_modify(count: u32) -> bool {
    count & SEQC_MOD != 0
}

/// `seqc_t`. Zeroed memory is a valid counter.
#[repr(transparent)]
#[derive(Debug)]
pub struct Seqc(Owned32);

const _: () = assert!(size_of::<Seqc>() == 4);

impl Default for Seqc {
    fn default() -> Self {
        Self::new()
    }
}

impl Seqc {
    /// A counter at 0.
    pub const fn new() -> Self {
        Self(Owned32::new(0))
    }

    /// `seqc_write_begin()`: enters a critical section and makes the count odd.
    ///
    /// # Panics
    ///
    /// Row 119 of the misuse table (INVARIANTS), if it is odd already.
    #[track_caller]
    #[inline]
    pub fn write_begin(&self) {
        self.write_begin_at(Loc::caller());
    }

    /// [`Seqc::write_begin`] on behalf of code at `loc`.
    #[inline]
    pub fn write_begin_at(&self, loc: Loc) {
        critical_enter();
        self.sleepable_write_begin_at(loc);
    }

    /// `seqc_sleepable_write_begin()`: makes the count odd; the writer may be preempted, block and sleep.
    ///
    /// # Panics
    ///
    /// Row 119 of the misuse table (INVARIANTS), if it is odd already.
    #[track_caller]
    #[inline]
    pub fn sleepable_write_begin(&self) {
        self.sleepable_write_begin_at(Loc::caller());
    }

    /// [`Seqc::sleepable_write_begin`] on behalf of code at `loc`.
    #[inline]
    pub fn sleepable_write_begin_at(&self, loc: Loc) {
        if !cpu::step_at("seqc_write_begin", self.0.as_ptr() as usize, loc) {
            return;
        }
        let count = self.0.get();
        mpass!(!seqc_in_modify(count), "!seqc_in_modify(*seqcp)", loc);
        self.0.set(count.wrapping_add(1));
        // ORDERING: the odd count before the data; pairs with the fence in `consistent`.
        thread_fence_rel();
    }

    /// `seqc_write_end()`: makes the count even and leaves the critical section.
    ///
    /// # Panics
    ///
    /// Row 119 of the misuse table (INVARIANTS), if it was even; row 6 without a critical section.
    #[track_caller]
    #[inline]
    pub fn write_end(&self) {
        self.write_end_at(Loc::caller());
    }

    /// [`Seqc::write_end`] on behalf of code at `loc`.
    #[inline]
    pub fn write_end_at(&self, loc: Loc) {
        self.sleepable_write_end_at(loc);
        critical_exit();
    }

    /// `seqc_sleepable_write_end()`: makes the count even.
    ///
    /// # Panics
    ///
    /// Row 119 of the misuse table (INVARIANTS), if it was even.
    #[track_caller]
    #[inline]
    pub fn sleepable_write_end(&self) {
        self.sleepable_write_end_at(Loc::caller());
    }

    /// [`Seqc::sleepable_write_end`] on behalf of code at `loc`.
    #[inline]
    pub fn sleepable_write_end_at(&self, loc: Loc) {
        if !cpu::step_at("seqc_write_end", self.0.as_ptr() as usize, loc) {
            return;
        }
        let count = self.0.get().wrapping_add(1);
        // ORDERING: the data before the even count; pairs with the fence in `load`.
        thread_fence_rel();
        self.0.set(count);
        mpass!(!seqc_in_modify(count), "!seqc_in_modify(*seqcp)", loc);
    }

    /// `seqc_read_any()`: the count, odd or even.
    #[inline]
    pub fn read_any(&self) -> u32 {
        cpu::step("seqc_read_any", self.0.as_ptr() as usize);
        self.load()
    }

    /// A look at the count; the caller's next wait depends on it.
    #[inline]
    fn load(&self) -> u32 {
        observe(self.0.as_ptr().cast(), 4);
        let count = self.0.get();
        // ORDERING: the count before the data; pairs with the fence in `sleepable_write_end`.
        thread_fence_acq();
        count
    }

    /// The count, without a boundary: for code that decides whether to wait while it holds the kernel's internal locks.
    #[inline]
    pub fn peek(&self) -> u32 {
        self.load()
    }

    /// Sets the count: for (re-)initialising it.
    pub fn set(&self, count: u32) {
        thread_fence_rel();
        self.0.set(count);
    }

    /// `seqc_read()`: spins until the count is even.
    #[inline]
    pub fn read(&self) -> u32 {
        cpu::step("seqc_read", self.0.as_ptr() as usize);
        loop {
            let count = self.load();
            if !seqc_in_modify(count) || !cpu::spinwait() {
                return count & !SEQC_MOD;
            }
        }
    }

    /// `seqc_read_notmodify()`: the count, rounded down to even: a reader inside a writer's section will retry.
    #[inline]
    pub fn read_notmodify(&self) -> u32 {
        self.read_any() & !SEQC_MOD
    }

    /// `seqc_consistent()`: whether no writer has been here since `old` was read.
    ///
    /// # Panics
    ///
    /// Row 120 of the misuse table (INVARIANTS), if `old` is odd.
    #[track_caller]
    #[inline]
    pub fn consistent(&self, old: u32) -> bool {
        self.consistent_at(old, Loc::caller())
    }

    /// [`Seqc::consistent`] on behalf of code at `loc`.
    #[inline]
    pub fn consistent_at(&self, old: u32, loc: Loc) -> bool {
        // ORDERING: the data before the second look; pairs with the fence in `sleepable_write_begin`.
        thread_fence_acq();
        self.consistent_no_fence_at(old, loc)
    }

    /// `seqc_consistent_no_fence()`: as [`Seqc::consistent`]; the caller has fenced.
    ///
    /// # Panics
    ///
    /// Row 120 of the misuse table (INVARIANTS), if `old` is odd.
    #[track_caller]
    #[inline]
    pub fn consistent_no_fence(&self, old: u32) -> bool {
        self.consistent_no_fence_at(old, Loc::caller())
    }

    #[inline]
    fn consistent_no_fence_at(&self, old: u32, loc: Loc) -> bool {
        if !cpu::step_at("seqc_consistent", self.0.as_ptr() as usize, loc) {
            return true;
        }
        mpass!(!seqc_in_modify(old), "!(seqc_in_modify(__oldseqc))", loc);
        observe(self.0.as_ptr().cast(), 4);
        self.0.get() == old
    }
}
