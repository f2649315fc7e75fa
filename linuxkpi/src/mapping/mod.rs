//! Mappings: how Linux's locks become FreeBSD's. One file each; this one says what a mapping is, and lists them.
//!
//! A mapping is a type that implements [`LockMapping`]. Its associated backends are the bodies that differ between mappings;
//! everything else in this crate is generic in it. The parts that several mappings share lie in [`crate::backend`]: no mapping's
//! file uses another's, so each can be deleted alone. A new mapping is one file here and one line in `mappings!`.

use crate::{Flags, Loc};

/// The mapping that the library's types default to.
pub type Default = linuxkpi_today::LinuxkpiToday;

/// Declares the mappings' modules and `for_each_mapping!`. The first token is a dollar sign, for the macro that it writes; a
/// name is a `tt`, so that a caller's macro can have a rule for one mapping.
macro_rules! mappings {
    ($d:tt $($module:ident::$mapping:ident = $name:tt,)*) => {
        $(pub mod $module;)*

        /// Calls `$m!(Type, "name")` for each mapping, in the order of the tables.
        #[macro_export]
        macro_rules! for_each_mapping {
            ($d m:ident) => {
                $($d m!($crate::mapping::$module::$mapping, $name);)*
            };
        }
    };
}

mappings! { $
    linuxkpi_2021::Linuxkpi2021 = "linuxkpi_2021",
    trylock_spin::TrylockSpin = "trylock_spin",
    linuxkpi_today::LinuxkpiToday = "linuxkpi_today",
    seq_rwlock::SeqRwlock = "seq_rwlock",
    seq_rmlock::SeqRmlock = "seq_rmlock",
    lock_then_critical::LockThenCritical = "lock_then_critical",
    spin_mutex::SpinMutex = "spin_mutex",
    seq_turnstile::SeqTurnstile = "seq_turnstile",
    cpu_mutex::CpuMutex = "cpu_mutex",
    busted::Busted = "busted",
}

/// Which of Linux's variants of a lock operation is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Context {
    /// `spin_lock`.
    Plain,
    /// `spin_lock_bh`.
    Bh,
    /// `spin_lock_irq`.
    Irq,
    /// `spin_lock_irqsave`.
    IrqSave,
}

/// How a lock is taken.
#[derive(Debug, Clone, Copy)]
pub struct How {
    /// The variant.
    pub context: Context,
    /// `_nested`: another lock of the same class may be held.
    pub nested: bool,
    /// Where.
    pub loc: Loc,
}

impl How {
    /// An operation that is not nested.
    pub const fn new(context: Context, loc: Loc) -> Self {
        Self { context, nested: false, loc }
    }
}

/// `spinlock_t` or `raw_spinlock_t` under a mapping.
///
/// # Safety
///
/// Between `lock` and `unlock` no other thread, and no handler that Linux's rules keep out, is between them on the same lock
/// (`busted` breaks this on purpose, for data that its scenarios may tear). All-zero bytes are a valid, uninitialised value.
pub unsafe trait SpinBackend: Send + Sync + 'static {
    /// An uninitialised lock.
    const ZEROED: Self;
    /// `spin_lock_init()`; may be repeated.
    fn init(&self);
    /// What `DEFINE_SPINLOCK`'s SYSINIT does.
    fn init_static(&self);
    /// Takes the lock; the flags are `unsigned long flags` of the irqsave form.
    fn lock(&self, how: How) -> Flags;
    /// `spin_trylock*`: `None` if the lock is held.
    fn trylock(&self, how: How) -> Option<Flags>;
    /// Gives the lock back in the context that `how` names.
    fn unlock(&self, how: How, flags: Flags);
    /// `spin_is_locked`.
    fn is_locked(&self) -> bool;
    /// `assert_spin_locked`.
    fn assert_held(&self, loc: Loc);
}

/// `rwlock_t` under a mapping.
///
/// # Safety
///
/// As for [`SpinBackend`], with readers sharing.
pub unsafe trait RwBackend: Send + Sync + 'static {
    /// An uninitialised lock.
    const ZEROED: Self;
    /// `rwlock_init()`; may be repeated.
    fn init(&self);
    /// `read_lock*`.
    fn read_lock(&self, how: How) -> Flags;
    /// `read_trylock`.
    fn read_trylock(&self, how: How) -> Option<Flags>;
    /// `read_unlock*`.
    fn read_unlock(&self, how: How, flags: Flags);
    /// `write_lock*`.
    fn write_lock(&self, how: How) -> Flags;
    /// `write_trylock`.
    fn write_trylock(&self, how: How) -> Option<Flags>;
    /// `write_unlock*`.
    fn write_unlock(&self, how: How, flags: Flags);
    /// Whether a writer or a reader has it.
    fn is_locked(&self) -> bool;
}

/// A sequence count under a mapping. The caller serialises writers.
///
/// # Safety
///
/// `read_retry` returns false only if no write section overlapped the reads since `read_begin`. All-zero bytes are a valid,
/// even count.
pub unsafe trait SeqcountBackend: Send + Sync + 'static {
    /// An even count.
    const ZEROED: Self;
    /// `seqcount_init()`; may be repeated.
    fn init(&self);
    /// `write_seqcount_begin`.
    fn write_begin(&self, loc: Loc);
    /// `write_seqcount_end`.
    fn write_end(&self, loc: Loc);
    /// `write_seqcount_invalidate`: makes readers retry without a section.
    fn invalidate(&self);
    /// `read_seqcount_begin`: an even count.
    fn read_begin(&self, loc: Loc) -> u32;
    /// `raw_read_seqcount`: whatever the count is.
    fn raw_read(&self) -> u32;
    /// `read_seqcount_retry`: whether the reads since `start` must be repeated.
    fn read_retry(&self, start: u32, loc: Loc) -> bool;
}

/// `seqlock_t` under a mapping: a lock for writers and a count for readers.
///
/// # Safety
///
/// As for [`SpinBackend`] (writers and exclusive readers) and [`SeqcountBackend`] (readers).
pub unsafe trait SeqlockBackend: Send + Sync + 'static {
    /// An uninitialised lock.
    const ZEROED: Self;
    /// `seqlock_init()`, once: LinuxKPI's own may not be repeated.
    fn init(&self);
    /// `write_seqlock*`.
    fn write_lock(&self, how: How) -> Flags;
    /// `write_sequnlock*`.
    fn write_unlock(&self, how: How, flags: Flags);
    /// `read_seqbegin`.
    fn read_begin(&self, loc: Loc) -> u32;
    /// `read_seqretry`.
    fn read_retry(&self, start: u32, loc: Loc) -> bool;
    /// `read_seqlock_excl*`.
    fn excl_lock(&self, how: How) -> Flags;
    /// `read_sequnlock_excl*`.
    fn excl_unlock(&self, how: How, flags: Flags);
}

/// A mapping.
pub trait LockMapping: Sized + 'static {
    /// Its name in C symbols, on the command line and in tables.
    const NAME: &'static str;
    /// One line: what it is.
    const ABOUT: &'static str;
    /// `spinlock_t`; also the lock inside wait queues and xarrays.
    type Spin: SpinBackend;
    /// `raw_spinlock_t`.
    type RawSpin: SpinBackend;
    /// `rwlock_t`.
    type Rw: RwBackend;
    /// `seqcount_t`, and `seqcount_spinlock_t`, `_rwlock_t`, `_raw_spinlock_t`.
    type Seqcount: SeqcountBackend;
    /// `seqcount_mutex_t` and `seqcount_ww_mutex_t`, whose writers Linux makes non-preemptible.
    type SeqcountMutex: SeqcountBackend;
    /// `seqlock_t`.
    type Seqlock: SeqlockBackend;

    /// `preempt_disable`.
    fn preempt_disable() {
        crate::backend::preempt_disable();
    }
    /// `preempt_enable`.
    fn preempt_enable() {
        crate::backend::preempt_enable();
    }
    /// `local_irq_save`; `local_irq_disable` is the same without the flags.
    fn local_irq_save() -> Flags {
        Self::preempt_disable();
        Flags(0)
    }
    /// `local_irq_restore`.
    fn local_irq_restore(_flags: Flags) {
        Self::preempt_enable();
    }
    /// `local_irq_enable`: on, whatever they were.
    fn local_irq_enable() {
        Self::local_irq_restore(Flags(0));
    }
    /// `local_bh_disable`.
    fn local_bh_disable() {
        freebsd_sys::sched::sched_pin();
    }
    /// `local_bh_enable`.
    fn local_bh_enable() {
        freebsd_sys::sched::sched_unpin();
    }
    /// Runs an irq handler's body in the context that the mapping gives handlers; the caller is the handler's ithread.
    fn irq_handler(body: impl FnOnce()) {
        body();
    }
    /// Runs a tasklet's or timer's body.
    fn softirq_handler(body: impl FnOnce()) {
        body();
    }
    /// Whether `kfree` must be deferred where it is called from.
    fn kfree_defers() -> bool {
        freebsd_sys::thread::curthread().critnest.get() != 0
    }
}
