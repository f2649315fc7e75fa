//! linux/rwlock.h: `rwlock_t`.

use crate::mapping::{self, Context, How, LockMapping, RwBackend};
use crate::{Flags, Loc};
use core::cell::UnsafeCell;
use core::fmt;
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};

/// `rwlock_t`. Usable after `init`; must not move afterwards.
#[repr(C)]
pub struct RwLock<T = (), M: LockMapping = mapping::Default> {
    raw: M::Rw,
    data: UnsafeCell<T>,
}

// SAFETY: writers are alone with the data, readers only look.
unsafe impl<T: Send + Sync, M: LockMapping> Sync for RwLock<T, M> {}

impl<T> RwLock<T> {
    /// A lock under the default mapping.
    pub const fn new(data: T) -> Self {
        Self::with_mapping(data)
    }
}

impl<T, M: LockMapping> RwLock<T, M> {
    /// A lock under the mapping `M`.
    pub const fn with_mapping(data: T) -> Self {
        Self { raw: <M::Rw as RwBackend>::ZEROED, data: UnsafeCell::new(data) }
    }
    /// `rwlock_init()`; may be repeated while nobody holds the lock.
    ///
    /// # Panics
    ///
    /// A Rust panic if somebody does: the lock would be free, and its data another holder's as well.
    #[track_caller]
    pub fn init(&self) {
        assert!(!self.raw.is_locked(), "rwlock_init: the lock is held");
        self.raw.init();
    }
    /// The backend, for forms of taking and giving back that no guard has.
    ///
    /// # Safety
    ///
    /// Whoever takes the lock by it gives it back by it, and nobody gives back, initialises or destroys what a guard holds.
    pub unsafe fn raw(&self) -> &M::Rw {
        &self.raw
    }
    /// `read_lock()` and, by `context`, its `_bh`, `_irq`, `_irqsave` forms. Must not be followed by a sleep.
    #[track_caller]
    pub fn read(&self, context: Context) -> ReadGuard<'_, T, M> {
        let flags = self.raw.read_lock(How::new(context, Loc::caller()));
        ReadGuard { lock: self, context, flags, not_send: PhantomData }
    }
    /// `write_lock()` and its forms. Must not be followed by a sleep.
    #[track_caller]
    pub fn write(&self, context: Context) -> WriteGuard<'_, T, M> {
        let flags = self.raw.write_lock(How::new(context, Loc::caller()));
        WriteGuard { lock: self, context, flags, not_send: PhantomData }
    }
    /// `read_trylock()`.
    #[track_caller]
    pub fn try_read(&self, context: Context) -> Option<ReadGuard<'_, T, M>> {
        let flags = self.raw.read_trylock(How::new(context, Loc::caller()))?;
        Some(ReadGuard { lock: self, context, flags, not_send: PhantomData })
    }
    /// `write_trylock()`.
    #[track_caller]
    pub fn try_write(&self, context: Context) -> Option<WriteGuard<'_, T, M>> {
        let flags = self.raw.write_trylock(How::new(context, Loc::caller()))?;
        Some(WriteGuard { lock: self, context, flags, not_send: PhantomData })
    }
}

impl<T, M: LockMapping> fmt::Debug for RwLock<T, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RwLock(..)")
    }
}

macro_rules! guard {
    ($(#[$doc:meta])* $guard:ident, $unlock:ident) => {
        $(#[$doc])*
        #[must_use = "the lock is given back when the guard is dropped"]
        pub struct $guard<'a, T, M: LockMapping> {
            lock: &'a RwLock<T, M>,
            context: Context,
            flags: Flags,
            not_send: PhantomData<*const ()>,
        }

        impl<T, M: LockMapping> Deref for $guard<'_, T, M> {
            type Target = T;
            fn deref(&self) -> &T {
                // SAFETY: the lock is held, at least for reading.
                unsafe { &*self.lock.data.get() }
            }
        }

        impl<T, M: LockMapping> Drop for $guard<'_, T, M> {
            #[track_caller]
            fn drop(&mut self) {
                self.lock.raw.$unlock(How::new(self.context, Loc::caller()), self.flags.counted());
            }
        }

        impl<T, M: LockMapping> fmt::Debug for $guard<'_, T, M> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({:?})", stringify!($guard), self.context)
            }
        }
    };
}

guard!(
    /// The lock is held for reading while it lives. Not `Send`.
    ReadGuard, read_unlock);
guard!(
    /// The lock is held for writing while it lives. Not `Send`.
    WriteGuard, write_unlock);

impl<T, M: LockMapping> DerefMut for WriteGuard<'_, T, M> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the lock is held for writing, and the guard is borrowed alone.
        unsafe { &mut *self.lock.data.get() }
    }
}
