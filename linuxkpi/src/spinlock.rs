//! linux/spinlock.h: `spinlock_t` and `raw_spinlock_t`.

use crate::mapping::{self, Context, How, LockMapping, SpinBackend};
use crate::{Flags, Loc};
use core::cell::UnsafeCell;
use core::fmt;
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};

macro_rules! spinlock {
    ($(#[$doc:meta])* $lock:ident, $guard:ident, $backend:ident, $init:literal) => {
        $(#[$doc])*
        ///
        /// Made by `new` (default mapping) or `with_mapping`, usable after `init`, as in Linux; using it before is FreeBSD's own
        /// panic about an uninitialised mutex. It must not move once initialised.
        #[repr(C)]
        pub struct $lock<T = (), M: LockMapping = mapping::Default> {
            raw: M::$backend,
            data: UnsafeCell<T>,
        }

        // SAFETY: the backend excludes, so only one thread at a time reaches the data.
        unsafe impl<T: Send, M: LockMapping> Sync for $lock<T, M> {}

        impl<T> $lock<T> {
            /// A lock under the default mapping.
            pub const fn new(data: T) -> Self {
                Self::with_mapping(data)
            }
        }

        impl<T, M: LockMapping> $lock<T, M> {
            /// A lock under the mapping `M`.
            pub const fn with_mapping(data: T) -> Self {
                Self { raw: <M::$backend as SpinBackend>::ZEROED, data: UnsafeCell::new(data) }
            }

            #[doc = concat!("`", $init, "()`; may be repeated while nobody holds the lock.")]
            ///
            /// # Panics
            ///
            /// A Rust panic if somebody does: the lock would be free, and its data another holder's as well.
            #[track_caller]
            pub fn init(&self) {
                assert!(!self.raw.is_locked(), concat!($init, ": the lock is held"));
                self.raw.init();
            }

            /// The backend, for forms of taking and giving back that no guard has.
            ///
            /// # Safety
            ///
            /// Whoever takes the lock by it gives it back by it, and nobody gives back, initialises or destroys what a guard holds.
            pub unsafe fn raw(&self) -> &M::$backend {
                &self.raw
            }

            #[track_caller]
            #[inline(always)]
            fn take(&self, context: Context, nested: bool) -> $guard<'_, T, M> {
                let how = How { context, nested, loc: Loc::caller() };
                let flags = self.raw.lock(how);
                $guard { lock: self, context, flags, not_send: PhantomData }
            }

            /// `spin_lock()`. Must not be followed by a sleep; may itself block under most mappings.
            #[track_caller]
            #[inline]
            pub fn lock(&self) -> $guard<'_, T, M> {
                self.take(Context::Plain, false)
            }
            /// `spin_lock_nested()`: another lock of the same class is held.
            #[track_caller]
            #[inline]
            pub fn lock_nested(&self) -> $guard<'_, T, M> {
                self.take(Context::Plain, true)
            }
            /// `spin_lock_bh()`.
            #[track_caller]
            #[inline]
            pub fn lock_bh(&self) -> $guard<'_, T, M> {
                self.take(Context::Bh, false)
            }
            /// `spin_lock_irq()`.
            #[track_caller]
            #[inline]
            pub fn lock_irq(&self) -> $guard<'_, T, M> {
                self.take(Context::Irq, false)
            }
            /// `spin_lock_irqsave()`.
            #[track_caller]
            #[inline]
            pub fn lock_irqsave(&self) -> $guard<'_, T, M> {
                self.take(Context::IrqSave, false)
            }
            /// `spin_lock_irqsave_nested()`.
            #[track_caller]
            #[inline]
            pub fn lock_irqsave_nested(&self) -> $guard<'_, T, M> {
                self.take(Context::IrqSave, true)
            }
            /// `spin_trylock()` and, by `context`, its `_bh`, `_irq`, `_irqsave` forms.
            #[track_caller]
            pub fn trylock(&self, context: Context) -> Option<$guard<'_, T, M>> {
                let flags = self.raw.trylock(How::new(context, Loc::caller()))?;
                Some($guard { lock: self, context, flags, not_send: PhantomData })
            }
            /// `spin_is_locked()`.
            pub fn is_locked(&self) -> bool {
                self.raw.is_locked()
            }
            /// `assert_spin_locked()`.
            ///
            /// # Panics
            ///
            /// `mutex %s not owned at %s:%d` (INVARIANTS).
            #[track_caller]
            pub fn assert_held(&self) {
                self.raw.assert_held(Loc::caller());
            }
        }

        impl<T, M: LockMapping> fmt::Debug for $lock<T, M> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($lock), "({})"), if self.is_locked() { "locked" } else { "free" })
            }
        }

        /// The lock is held while it lives. Not `Send`: it belongs to the thread that took it.
        ///
        /// ```compile_fail
        /// fn send<T: Send>(_: T) {}
        #[doc = concat!("fn f(lock: &linuxkpi::spinlock::", stringify!($lock), "<u32>) { send(lock.lock()); }")]
        /// ```
        #[must_use = "the lock is given back when the guard is dropped"]
        pub struct $guard<'a, T, M: LockMapping> {
            lock: &'a $lock<T, M>,
            context: Context,
            flags: Flags,
            not_send: PhantomData<*const ()>,
        }

        impl<T, M: LockMapping> Deref for $guard<'_, T, M> {
            type Target = T;
            #[inline]
            fn deref(&self) -> &T {
                // SAFETY: the lock is held.
                unsafe { &*self.lock.data.get() }
            }
        }

        impl<T, M: LockMapping> DerefMut for $guard<'_, T, M> {
            #[inline]
            fn deref_mut(&mut self) -> &mut T {
                // SAFETY: the lock is held, and the guard is borrowed alone.
                unsafe { &mut *self.lock.data.get() }
            }
        }

        impl<T, M: LockMapping> Drop for $guard<'_, T, M> {
            #[track_caller]
            #[inline]
            fn drop(&mut self) {
                self.lock.raw.unlock(How::new(self.context, Loc::caller()), self.flags.counted());
            }
        }

        impl<T, M: LockMapping> fmt::Debug for $guard<'_, T, M> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({:?})", stringify!($guard), self.context)
            }
        }
    };
}

spinlock!(
    /// `spinlock_t`.
    SpinLock, SpinLockGuard, Spin, "spin_lock_init");
spinlock!(
    /// `raw_spinlock_t`: the innermost lock; on PREEMPT_RT the one that still spins.
    RawSpinLock, RawSpinLockGuard, RawSpin, "raw_spin_lock_init");
