//! linux/seqlock.h: `seqcount_t`, the associated-lock counts, `seqlock_t`.
//!
//! A write section is a closure where a guard would be wrong: a count's section must end on the thread that began it, and in
//! order. Readers get `read`, the begin/retry loop, and the two halves for code that leaves early.

use crate::mapping::{self, Context, How, LockMapping, SeqcountBackend, SeqlockBackend};
use crate::{Flags, Loc};
use core::fmt;

macro_rules! seqcount {
    ($(#[$doc:meta])* $name:ident, $backend:ident) => {
        $(#[$doc])*
        ///
        /// Zeroed memory is a valid count only under mappings that keep nothing else in it: call `init`.
        #[repr(C)]
        pub struct $name<M: LockMapping = mapping::Default>(M::$backend);

        impl<M: LockMapping> $name<M> {
            /// A count that was not initialised.
            #[expect(clippy::new_without_default, reason = "a lock is made deliberately, in place")]
            pub const fn new() -> Self {
                Self(<M::$backend as SeqcountBackend>::ZEROED)
            }
            /// `seqcount_init()`; may be repeated.
            pub fn init(&self) {
                self.0.init();
            }
            /// The backend.
            pub fn raw(&self) -> &M::$backend {
                &self.0
            }
            /// `write_seqcount_begin()` .. `write_seqcount_end()` around `body`. Writers exclude each other by other means.
            #[track_caller]
            pub fn write<R>(&self, body: impl FnOnce() -> R) -> R {
                let loc = Loc::caller();
                self.0.write_begin(loc);
                let section = Section(&self.0, loc);
                let result = body();
                drop(section);
                result
            }
            /// `write_seqcount_invalidate()`.
            pub fn invalidate(&self) {
                self.0.invalidate();
            }
            /// `read_seqcount_begin()`.
            #[track_caller]
            pub fn read_begin(&self) -> u32 {
                self.0.read_begin(Loc::caller())
            }
            /// `raw_read_seqcount()`: may be odd.
            pub fn raw_read(&self) -> u32 {
                self.0.raw_read()
            }
            /// `read_seqcount_retry()`.
            #[track_caller]
            pub fn read_retry(&self, start: u32) -> bool {
                self.0.read_retry(start, Loc::caller())
            }
            /// Repeats `body` until no writer interfered.
            #[track_caller]
            pub fn read<R>(&self, mut body: impl FnMut() -> R) -> R {
                loop {
                    let start = self.read_begin();
                    let result = body();
                    if !self.read_retry(start) || freebsd_sys::cpu::scheduler_stopped() {
                        return result;
                    }
                }
            }
        }

        impl<M: LockMapping> fmt::Debug for $name<M> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(stringify!($name))
            }
        }
    };
}

seqcount!(
    /// `seqcount_t`; also what `seqcount_spinlock_t`, `seqcount_raw_spinlock_t` and `seqcount_rwlock_t` are.
    Seqcount, Seqcount);
seqcount!(
    /// `seqcount_mutex_t` and `seqcount_ww_mutex_t`: the associated lock may sleep, so Linux disables preemption for the writer.
    SeqcountMutex, SeqcountMutex);

/// Ends a write section, also when the machine is unwound.
struct Section<'a, C: SeqcountBackend>(&'a C, Loc);

impl<C: SeqcountBackend> Drop for Section<'_, C> {
    fn drop(&mut self) {
        self.0.write_end(self.1);
    }
}

/// `seqlock_t`: a spinlock for writers, a count for readers.
#[repr(C)]
pub struct SeqLock<M: LockMapping = mapping::Default>(M::Seqlock);

impl SeqLock {
    /// A lock under the default mapping.
    pub const fn new() -> Self {
        Self::with_mapping()
    }
}

impl Default for SeqLock {
    fn default() -> Self {
        Self::new()
    }
}

impl<M: LockMapping> SeqLock<M> {
    /// A lock under the mapping `M`.
    pub const fn with_mapping() -> Self {
        Self(<M::Seqlock as SeqlockBackend>::ZEROED)
    }
    /// `seqlock_init()`, once.
    ///
    /// # Panics
    ///
    /// `lock "seqlock" %p already initialized` (INVARIANTS), under mappings whose seqlock is LinuxKPI's.
    pub fn init(&self) {
        self.0.init();
    }
    /// The backend.
    pub fn raw(&self) -> &M::Seqlock {
        &self.0
    }
    /// `write_seqlock()` .. `write_sequnlock()` around `body`, in the form that `context` names.
    #[track_caller]
    pub fn write<R>(&self, context: Context, body: impl FnOnce() -> R) -> R {
        let how = How::new(context, Loc::caller());
        let flags = self.0.write_lock(how);
        let section = WriteSection(&self.0, how, flags);
        let result = body();
        drop(section);
        result
    }
    /// `read_seqbegin()`.
    #[track_caller]
    pub fn read_begin(&self) -> u32 {
        self.0.read_begin(Loc::caller())
    }
    /// `read_seqretry()`.
    #[track_caller]
    pub fn read_retry(&self, start: u32) -> bool {
        self.0.read_retry(start, Loc::caller())
    }
    /// Repeats `body` until no writer interfered.
    #[track_caller]
    pub fn read<R>(&self, mut body: impl FnMut() -> R) -> R {
        loop {
            let start = self.read_begin();
            let result = body();
            if !self.read_retry(start) || freebsd_sys::cpu::scheduler_stopped() {
                return result;
            }
        }
    }
    /// `read_seqlock_excl()` .. `read_sequnlock_excl()` around `body`: excludes writers and other exclusive readers, without
    /// making readers retry.
    #[track_caller]
    pub fn read_excl<R>(&self, context: Context, body: impl FnOnce() -> R) -> R {
        let how = How::new(context, Loc::caller());
        let flags = self.0.excl_lock(how);
        let section = ExclSection(&self.0, how, flags);
        let result = body();
        drop(section);
        result
    }
}

impl<M: LockMapping> fmt::Debug for SeqLock<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SeqLock")
    }
}

struct WriteSection<'a, L: SeqlockBackend>(&'a L, How, Flags);

impl<L: SeqlockBackend> Drop for WriteSection<'_, L> {
    fn drop(&mut self) {
        self.0.write_unlock(self.1, self.2);
    }
}

struct ExclSection<'a, L: SeqlockBackend>(&'a L, How, Flags);

impl<L: SeqlockBackend> Drop for ExclSection<'_, L> {
    fn drop(&mut self) {
        self.0.excl_unlock(self.1, self.2);
    }
}
