//! What a transition reads and writes of what CPUs share: two transitions with footprints that do not conflict commute.
//!
//! A transition is what a CPU does from one boundary to the next. Its footprint has four sources: the primitive's object (a lock
//! with all that its owner protects by it, a tracked address), the places in the kernel that reach across CPUs (`touch`:
//! run queues, threads' states and priorities, wait channels, interrupt sources), the values that a wait was said to depend on
//! ([`crate::cpu::observe`]), and the budget. A primitive that names no object and is not in `PRIVATE` is taken to conflict with
//! all others of its kind.
//!
//! What WITNESS remembers of lock orders and what the console says are left out: neither changes what happens next.

use super::explore;
use super::gs::{self, word};
use crate::thread::Thread;

/// What no address names.
pub(crate) mod key {
    /// CPU `n`'s own: each of its transitions, and whatever is posted to it.
    pub(crate) const CPU: usize = 0x100;
    /// What CPU `n` runs and has queued.
    pub(crate) const LOAD: usize = 0x200;
    /// Whether CPU `n`, which does not idle, has threads that wait: an idle CPU may take one.
    pub(crate) const STEAL: usize = 0x280;
    /// Primitives without an object.
    pub(crate) const GLOBAL: usize = 0x300;
    /// The budget of interrupts, ticks and migrations.
    pub(crate) const BUDGET: usize = 0x301;
    /// The thread table.
    pub(crate) const THREADS: usize = 0x302;
    /// malloc(9)'s arena: the order of two allocations decides their addresses.
    pub(crate) const ARENA: usize = 0x303;
    /// Callouts and timed sleeps.
    pub(crate) const CLOCK: usize = 0x304;
}

/// Primitives without an object that touch only what is their thread's or CPU's own, or say themselves what they touch.
#[rustfmt::skip]
const PRIVATE: &[&str] = &[
    "", "fork_exit", "resume", "idle", "compute", "might_sleep", "userret",
    "critical_enter", "critical_exit", "spinlock_enter", "spinlock_exit", "preempt_disable", "preempt_enable",
    "sched_pin", "sched_unpin", "sched_relinquish", "kern_yield",
    "malloc", "free",
    "_sleep", "msleep_spin", "pause", "wakeup", "wakeup_one", "cv_signal", "cv_broadcast",
    "complete", "complete_all", "wait_for_completion", "try_wait_for_completion", "completion_done",
    "raise", "ithread",
];

/// ... that read what others of their kind write: readers mark their own thread, and only updaters look.
const READERS: &[&str] = &["rcu_read_lock", "rcu_read_unlock", "rcu_dereference"];

/// Whether a primitive's effects on others are all atomic operations that are transitions of their own at `insn` granularity.
#[cold]
fn by_instruction(what: &str) -> bool {
    let locks = ["mtx_", "rw_", "sx_", "lockmgr"].iter().any(|prefix| what.starts_with(prefix));
    locks && !what.ends_with("init") && !what.ends_with("destroy")
}

/// Every key is below, and every address above.
const FIRST_ADDRESS: usize = 0x1000;

/// Bytes of a lock that a primitive names by its object: `struct lock_object` and the word behind it.
const LOCK: usize = 32;

/// Notes that the running transition reads or writes `size` bytes at `at`, which other CPUs use too.
#[inline]
pub(crate) fn touch(at: usize, size: usize, write: bool) {
    if gs::word() & word::RECORD != 0 {
        explore::touch(at, size, write);
    }
}

/// [`touch`] of all that others may look at in a thread.
#[inline]
pub(crate) fn touch_thread(td: &Thread, write: bool) {
    touch(core::ptr::from_ref(td) as usize, size_of::<Thread>(), write);
}

/// What a thread's primitive works on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Operand {
    at: usize,
    /// Its size, and in the lowest bit whether it is written: one word, since operands are copied and compared at each boundary.
    extent: usize,
}

impl Operand {
    /// Nothing that is shared.
    pub(crate) const NONE: Self = Self::access(0, 0, false);

    /// Of the primitive `what` on `obj`.
    #[inline]
    pub(crate) fn of(what: &str, obj: usize) -> Self {
        match obj {
            0 if PRIVATE.contains(&what) => Self::NONE,
            0 => Self::access(key::GLOBAL, 1, !READERS.contains(&what)),
            // Each of its atomic operations says what it touches.
            _ if gs::word() & word::INSN != 0 && by_instruction(what) => Self::NONE,
            _ if what.starts_with("seqc_") => Self::access(obj, 4, what.starts_with("seqc_write")),
            _ => Self::access(obj, LOCK, true),
        }
    }

    /// Of a plain or atomic access.
    pub(crate) const fn access(at: usize, size: usize, write: bool) -> Self {
        Self { at, extent: size << 1 | write as usize }
    }

    fn size(self) -> usize {
        self.extent >> 1
    }

    fn writes(self) -> bool {
        self.extent & 1 != 0
    }

    /// Words of an operand that are compared.
    pub(crate) const WORDS: usize = LOCK / 8;

    /// What is there: a lock, or an accessed value. A key of this module has no contents.
    pub(crate) fn contents(self) -> [u64; Self::WORDS] {
        let mut contents = [0; Self::WORDS];
        if self.at >= FIRST_ADDRESS {
            let size = self.size().min(LOCK);
            // SAFETY: a primitive's object lives while it is performed, and so does what is accessed; plain bytes on both sides.
            unsafe { core::ptr::copy_nonoverlapping(self.at as *const u8, contents.as_mut_ptr().cast(), size) };
        }
        contents
    }

    /// Whether both are of the same object, and one of them writes. By where they begin: how near others lie to each other may
    /// differ from process to process.
    pub(crate) fn races(self, other: Self) -> bool {
        self.is_some() && other.is_some() && self.at == other.at && (self.writes() || other.writes())
    }

    /// Whether `at` is part of it.
    pub(crate) fn covers(self, at: usize) -> bool {
        self.at <= at && at < self.at + self.size()
    }

    /// The same, read only.
    pub(crate) fn read(self) -> Self {
        Self::access(self.at, self.size(), false)
    }

    /// Whether there is one.
    pub(crate) fn is_some(self) -> bool {
        self.size() != 0
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Range {
    start: usize,
    end: usize,
    write: bool,
}

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Footprint {
    ranges: Vec<Range>,
    /// A bit for each line of memory touched, by its hash: what shares none does not conflict.
    lines: u64,
    /// It was possible only because nothing else was, or nothing comes after it.
    everything: bool,
}

impl Footprint {
    /// One that need not grow: while a kernel thread runs, what is allocated is the program's.
    pub(crate) fn with_room() -> Self {
        Self { ranges: Vec::with_capacity(256), ..Self::default() }
    }

    pub(crate) fn clear(&mut self) {
        self.ranges.clear();
        self.lines = 0;
        self.everything = false;
    }

    pub(crate) fn touch(&mut self, start: usize, size: usize, write: bool) {
        if size == 0 {
            return;
        }
        let end = start + size;
        for range in &mut self.ranges {
            if range.start <= start && end <= range.end && (range.write || !write) {
                return;
            }
            if range.start == start && range.end == end {
                range.write = true;
                return;
            }
        }
        self.ranges.push(Range { start, end, write });
        for line in start / LOCK..=(end - 1) / LOCK {
            self.lines |= 1 << (line.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 58);
        }
    }

    /// The primitive's own operand; read only, if all that came of it was a wait.
    pub(crate) fn touch_operand(&mut self, operand: Operand, only_read: bool) {
        if operand.is_some() {
            self.touch(operand.at, operand.size(), operand.writes() && !only_read);
        }
    }

    pub(crate) fn touch_everything(&mut self) {
        self.everything = true;
    }

    /// Whether anything but `cpu`'s own is written.
    pub(crate) fn writes_beyond(&self, cpu: usize) -> bool {
        self.everything || self.ranges.iter().any(|range| range.write && range.start != key::CPU + cpu)
    }

    /// Whether the order of the two matters.
    pub fn conflicts(&self, other: &Self) -> bool {
        self.everything
            || other.everything
            || self.lines & other.lines != 0
                && self
                    .ranges
                    .iter()
                    .any(|a| other.ranges.iter().any(|b| (a.write || b.write) && a.start < b.end && b.start < a.end))
    }

    /// Whether `self` writes something that `other` reads or writes: it may enable or disable it.
    pub fn writes_for(&self, other: &Self) -> bool {
        self.everything
            || self.lines & other.lines != 0
                && self
                    .ranges
                    .iter()
                    .any(|a| a.write && other.ranges.iter().any(|b| a.start < b.end && b.start < a.end))
    }

    /// Where what it names by address begins.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = usize> {
        self.ranges.iter().map(|range| range.start).filter(|&start| start >= FIRST_ADDRESS)
    }

    /// The same in an order that does not depend on which came first, in as little memory as it takes.
    pub(crate) fn tidy(&mut self) {
        self.ranges.sort_unstable();
        self.ranges.shrink_to_fit();
    }

    /// Adds what `other` touches.
    pub fn add(&mut self, other: &Self) {
        self.everything |= other.everything;
        for range in &other.ranges {
            self.touch(range.start, range.end - range.start, range.write);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(ranges: &[(usize, usize, bool)]) -> Footprint {
        let mut footprint = Footprint::default();
        for &(start, size, write) in ranges {
            footprint.touch(start, size, write);
        }
        footprint
    }

    #[test]
    fn reads_do_not_conflict_and_writes_do() {
        let read = of(&[(0x1000, 8, false)]);
        let write = of(&[(0x1004, 4, true)]);
        assert!(!read.conflicts(&read) && read.conflicts(&write) && write.conflicts(&read));
        assert!(write.writes_for(&read) && !read.writes_for(&write));
        assert!(!of(&[(0x1008, 4, true)]).conflicts(&read));
        let mut everything = Footprint::default();
        everything.touch_everything();
        assert!(everything.conflicts(&Footprint::default()));
    }

    #[test]
    fn a_write_covers_a_read_of_the_same() {
        let mut footprint = of(&[(0x1000, 8, false), (0x1000, 8, true), (0x1000, 4, false)]);
        assert_eq!(footprint, of(&[(0x1000, 8, true)]));
        footprint.add(&of(&[(key::CPU, 1, true)]));
        assert!(footprint.writes_beyond(0));
        assert!(!of(&[(key::CPU + 1, 1, true), (0x1000, 8, false)]).writes_beyond(1));
    }

    #[test]
    fn primitives_without_an_object_conflict_unless_they_are_private() {
        assert!(!Operand::of("critical_enter", 0).is_some());
        assert_eq!(Operand::of("epoch_enter", 0), Operand::of("call_rcu", 0));
        assert_ne!(Operand::of("mtx_lock", 0x1000), Operand::of("mtx_lock", 0x2000));
    }
}
