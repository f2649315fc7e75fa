//! Linux's locking and synchronisation API over FreeBSD's primitives, with the *mapping* as a replaceable part.
//!
//! One module per Linux header. User-facing types carry the mapping as a defaulted type parameter, as `HashMap` does its hasher;
//! most code never names it. The crate touches `freebsd_sys` only through FreeBSD's KPI, and is `no_std` without `alloc`, so
//! that one day it links against the real kernel's symbols.
//!
//! A mapping of one's own, a scenario that runs on any mapping, and what FreeBSD makes of the two together:
//!
//! ```
//! use freebsd_sys::host::explore::{self, Options};
//! use freebsd_sys::host::schedule::random::Random;
//! use freebsd_sys::machine::{Config, Engine, Machine, Verdict};
//! use freebsd_sys::syscall::{BATCH, run, syscall};
//! use linuxkpi::LockMapping;
//! use linuxkpi::backend::{LkpiSeqlock, MtxPin, RwDef, SleepableCount};
//! use linuxkpi::spinlock::SpinLock;
//! use std::sync::Arc;
//!
//! struct Mine;
//!
//! impl LockMapping for Mine {
//!     const NAME: &'static str = "mine";
//!     const ABOUT: &'static str = "a spinlock is a sleep mutex, then the thread is pinned";
//!     type Spin = MtxPin;
//!     type RawSpin = MtxPin;
//!     type Rw = RwDef;
//!     type Seqcount = SleepableCount;
//!     type SeqcountMutex = SleepableCount;
//!     type Seqlock = LkpiSeqlock<SleepableCount>;
//! }
//!
//! /// thread0's main: two system calls take two locks in opposite orders.
//! fn abba<M: LockMapping>() {
//!     let a = Arc::new(SpinLock::<u64, M>::with_mapping(0));
//!     let b = Arc::new(SpinLock::<u64, M>::with_mapping(0));
//!     a.init();
//!     b.init();
//!     let both = |first: &Arc<SpinLock<u64, M>>, second: &Arc<SpinLock<u64, M>>| {
//!         let (first, second) = (Arc::clone(first), Arc::clone(second));
//!         move || {
//!             let mut outer = first.lock();
//!             *second.lock() += 1;
//!             *outer += 1;
//!         }
//!     };
//!     run(vec![syscall("ab", BATCH, both(&a, &b)), syscall("ba", BATCH, both(&b, &a))]);
//! }
//!
//! let machine = Machine::new(Config::default(), Engine::Explore);
//! let mut schedule = Random::new(1);
//! let verdict = (0..1000)
//!     .map(|index| explore::run(&machine, &mut schedule, Options { index, ..Options::default() }, &abba::<Mine>).verdict)
//!     .find(|verdict| *verdict != Verdict::Pass);
//! assert!(matches!(verdict, Some(Verdict::Deadlock(_))), "{verdict:?}");
//! ```
//!
//! To see either in `lkpi compare`, beside the others: `CONTRIBUTING.md`.
#![no_std]

/// MPASS(9): `$text` is the C expression that FreeBSD prints, `$loc` where.
macro_rules! mpass {
    ($cond:expr, $text:literal, $loc:expr) => {
        ::freebsd_sys::panic::kassert_args($cond, format_args!(concat!("Assertion ", $text, " failed at {}"), $loc))
    };
}

pub mod backend;
#[macro_use]
pub mod mapping;

// -- locks
pub mod bottom_half;
pub mod irqflags;
pub mod preempt;
pub mod rwlock;
pub mod seqlock;
pub mod spinlock;

// -- waiting
pub mod completion;
pub mod delay;
pub mod rcupdate;
pub mod wait;

// -- threads, deferred work, interrupts
pub mod interrupt;
pub mod irq_work;
pub mod kthread;
pub mod sched;
pub mod timer;
pub mod workqueue;

// -- memory
pub mod llist;
pub mod slab;

mod once;

// -- for C
pub mod ffi;

pub use freebsd_sys::lock::Loc;
pub use mapping::LockMapping;

/// `unsigned long flags` of the irqsave forms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub struct Flags(pub usize);

impl Flags {
    /// Of a guard: guards are dropped in any order, so the last one restores, as Rust-for-Linux counts `local_interrupt_disable`s.
    pub(crate) const COUNTED: usize = 2;

    /// These, for a guard's end.
    #[inline(always)]
    pub(crate) const fn counted(self) -> Self {
        Self(self.0 | Self::COUNTED)
    }
}

/// What LinuxKPI's SYSINITs do at load: makes the queues of deferred work and their threads.
///
/// Not needed: a queue is made when first used. A scenario whose first use lies in the explored part, or in a critical section,
/// calls it first, so that making threads is not part of what is explored. Thread context.
pub fn init() {
    irq_work::tq();
    workqueue::system_wq();
}

/// What unloading the module would wait for: works, RCU callbacks, deferred `kfree`s. Sleeps.
///
/// A run that defers anything calls it before it ends: the check for leaks comes right after, and a block that waits to be freed
/// counts as leaked.
pub fn exit() {
    workqueue::drain();
    rcupdate::rcu_barrier();
    slab::drain();
}
