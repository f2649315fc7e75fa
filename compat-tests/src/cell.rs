//! Cells for data that kernel threads share: every access is a boundary of the exploration.
//!
//! A [`Tracked`] cell is what a plain C variable is: two accesses that conflict without a lock between them are a data race, a
//! verdict. A [`Marked`] cell is accessed by READ_ONCE and WRITE_ONCE: it may be raced for, and shows torn sequences.

use freebsd_sys::atomic::OwnedUsize;
use freebsd_sys::host::explore;

/// A plain variable.
#[derive(Debug, Default)]
pub struct Tracked(Word);

/// A variable accessed by READ_ONCE and WRITE_ONCE.
#[derive(Debug, Default)]
pub struct Marked(Word);

/// The storage of either: racy use is defined behaviour, so that `busted` may tear.
#[derive(Debug, Default)]
struct Word(OwnedUsize);

impl Word {
    #[track_caller]
    fn touch(&self, write: bool, marked: bool) {
        explore::access(self.0.as_ptr() as usize, size_of::<usize>(), write, marked);
    }
}

impl Tracked {
    /// Reads it.
    #[track_caller]
    pub fn get(&self) -> usize {
        self.0.touch(false, false);
        self.0.0.get()
    }
    /// Writes it.
    #[track_caller]
    pub fn set(&self, value: usize) {
        self.0.touch(true, false);
        self.0.0.set(value);
    }
    /// `x++`: a read and a write.
    #[track_caller]
    pub fn bump(&self) -> usize {
        let value = self.get() + 1;
        self.set(value);
        value
    }
}

impl Marked {
    /// READ_ONCE.
    #[track_caller]
    pub fn read_once(&self) -> usize {
        self.0.touch(false, true);
        self.0.0.get()
    }
    /// WRITE_ONCE.
    #[track_caller]
    pub fn write_once(&self, value: usize) {
        self.0.touch(true, true);
        self.0.0.set(value);
    }
}

/// Two counters that a lock keeps equal: what every scenario checks for tearing.
#[derive(Debug, Default)]
pub struct Pair(Tracked, Tracked);

impl Pair {
    /// Bumps both; ends the run as corruption if they differ.
    #[track_caller]
    pub fn bump(&self) {
        let (a, b) = (self.0.bump(), self.1.bump());
        self.check(a, b);
    }
    /// Looks at both.
    #[track_caller]
    pub fn look(&self) -> usize {
        let (a, b) = (self.0.get(), self.1.get());
        self.check(a, b);
        a
    }
    fn check(&self, a: usize, b: usize) {
        if a != b && !freebsd_sys::cpu::scheduler_stopped() {
            freebsd_sys::panic::corruption(format_args!("torn data: {a} and {b} should be equal"));
        }
    }
}

/// Two values that a sequence count keeps consistent; readers race with the writer by design.
#[derive(Debug, Default)]
pub struct SeqPair(Marked, Marked);

impl SeqPair {
    /// Writes both.
    #[track_caller]
    pub fn write(&self, value: usize) {
        self.0.write_once(value);
        self.1.write_once(value);
    }
    /// Reads both.
    #[track_caller]
    pub fn read(&self) -> (usize, usize) {
        (self.0.read_once(), self.1.read_once())
    }
    /// Ends the run as corruption if a validated read was torn.
    pub fn check(&self, (a, b): (usize, usize)) {
        if a != b && !freebsd_sys::cpu::scheduler_stopped() {
            freebsd_sys::panic::corruption(format_args!("torn read: {a} and {b} were never together"));
        }
    }
}
