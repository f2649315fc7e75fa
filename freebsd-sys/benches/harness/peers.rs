//! The floor, and the locks that userspace has.

use super::contended::{Contender, Lock, Of, contender};
use super::{Subject, chain, subject};
use freebsd_sys::atomic::RawWord;
use std::cell::UnsafeCell;
use std::hint::black_box;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering, fence};

/// The floor: an owner word that is taken by one compare-and-exchange and given back by another, as FreeBSD's are. Who does not
/// get it spins, and now and then gives the processor away.
pub(crate) struct OwnerWord(RawWord);

impl OwnerWord {
    pub(crate) const fn new() -> Self {
        Self(RawWord::new(0))
    }
    #[inline(always)]
    pub(crate) fn pair(&self, body: impl FnOnce()) {
        let mut tries = 0u32;
        while self.0.fcmpset_acq(0, 64).is_err() {
            tries += 1;
            std::hint::spin_loop();
            if tries.is_multiple_of(512) {
                // SAFETY: a system call that touches no memory.
                unsafe { libc::sched_yield() };
            }
        }
        body();
        let _ = self.0.fcmpset_rel(64, 0);
    }
}

impl Lock for OwnerWord {
    fn exclusive(&self, body: impl FnOnce()) {
        self.pair(body);
    }
}

macro_rules! guards {
    ($($type:ty, $exclusive:ident $unwrap:ident, $shared:ident;)*) => {
        $(impl Lock for $type {
            #[inline]
            fn exclusive(&self, body: impl FnOnce()) {
                let guard = self.$exclusive().$unwrap();
                body();
                drop(guard);
            }
            #[inline]
            fn shared(&self, body: impl FnOnce()) {
                let guard = self.$shared().$unwrap();
                body();
                drop(guard);
            }
        })*
    };
}

/// What a guard that cannot fail has in place of `unwrap`.
trait Same: Sized {
    fn same(self) -> Self {
        self
    }
}
impl<T> Same for T {}

guards! {
    parking_lot::Mutex<()>, lock same, lock;
    parking_lot::RwLock<()>, write same, read;
    std::sync::Mutex<()>, lock unwrap, lock;
    std::sync::RwLock<()>, write unwrap, read;
    spin::Mutex<()>, lock same, lock;
    spin::RwLock<()>, write same, read;
    crossbeam_utils::sync::ShardedLock<()>, write unwrap, read;
}

macro_rules! pthread {
    ($($(#[$doc:meta])* $name:ident($type:ident), $new:expr, $exclusive:ident, $shared:ident, $unlock:ident;)*) => {
        $($(#[$doc])*
        pub(crate) struct $name(UnsafeCell<libc::$type>);

        // SAFETY: a lock is made to be shared; its memory is only touched by libc.
        unsafe impl Sync for $name {}

        impl $name {
            pub(crate) fn new() -> Self {
                Self(UnsafeCell::new($new))
            }
        }

        impl Lock for $name {
            #[inline]
            fn exclusive(&self, body: impl FnOnce()) {
                // SAFETY: initialised, does not move while it is used, and given back by its owner.
                unsafe { libc::$exclusive(self.0.get()) };
                body();
                // SAFETY: as above.
                unsafe { libc::$unlock(self.0.get()) };
            }
            #[inline]
            fn shared(&self, body: impl FnOnce()) {
                // SAFETY: initialised, does not move while it is used, and given back by its owner.
                unsafe { libc::$shared(self.0.get()) };
                body();
                // SAFETY: as above.
                unsafe { libc::$unlock(self.0.get()) };
            }
        })*
    };
}

/// A spinlock made by libc.
fn pthread_spin() -> libc::pthread_spinlock_t {
    let mut lock = std::mem::MaybeUninit::uninit();
    // SAFETY: the call initialises what it is given; a private spinlock is a word that may be copied before it is first used.
    unsafe {
        assert_eq!(libc::pthread_spin_init(lock.as_mut_ptr(), libc::PTHREAD_PROCESS_PRIVATE), 0);
        lock.assume_init()
    }
}

pthread! {
    /// `pthread_mutex_t`, the default kind.
    PthreadMutex(pthread_mutex_t), libc::PTHREAD_MUTEX_INITIALIZER,
        pthread_mutex_lock, pthread_mutex_lock, pthread_mutex_unlock;
    /// `pthread_spinlock_t`.
    PthreadSpin(pthread_spinlock_t), pthread_spin(), pthread_spin_lock, pthread_spin_lock, pthread_spin_unlock;
    /// `pthread_rwlock_t`.
    PthreadRwlock(pthread_rwlock_t), libc::PTHREAD_RWLOCK_INITIALIZER,
        pthread_rwlock_wrlock, pthread_rwlock_rdlock, pthread_rwlock_unlock;
}

/// Keeps `value` for good, on cache lines of its own.
pub(crate) fn leak<T>(value: T) -> &'static T {
    #[repr(align(128))]
    struct Line<T>(T);
    &Box::leak(Box::new(Line(value))).0
}

/// Rounds of a lock's exclusive side.
pub(crate) fn pairs<L: Lock>(name: &str, lock: L) -> Subject {
    let lock = leak(lock);
    subject(name, move || lock.init(), move || black_box(lock).exclusive(|| ()))
}

/// Rounds of a lock's shared side.
pub(crate) fn read_pairs<L: Lock>(name: &str, lock: L) -> Subject {
    let lock = leak(lock);
    subject(name, move || lock.init(), move || black_box(lock).shared(|| ()))
}

macro_rules! exclusive_peers {
    ($each:ident $(, $of:expr)?) => {
        [
            $each("parking_lot Mutex", $($of,)? parking_lot::Mutex::new(())),
            $each("std Mutex", $($of,)? std::sync::Mutex::new(())),
            $each("spin Mutex", $($of,)? spin::Mutex::new(())),
            $each("pthread_mutex", $($of,)? PthreadMutex::new()),
            $each("pthread_spin", $($of,)? PthreadSpin::new()),
        ]
    };
}

macro_rules! shared_peers {
    ($each:ident $(, $of:expr)?) => {
        [
            $each("std RwLock", $($of,)? std::sync::RwLock::new(())),
            $each("spin RwLock", $($of,)? spin::RwLock::new(())),
            $each("crossbeam ShardedLock", $($of,)? crossbeam_utils::sync::ShardedLock::new(())),
            $each("pthread_rwlock", $($of,)? PthreadRwlock::new()),
        ]
    };
}

/// The floor, `ours`, and what userspace excludes with.
pub(crate) fn beside_mutexes(ours: impl IntoIterator<Item = Subject>) -> Vec<Subject> {
    let floor = pairs("floor: two cmpxchg", OwnerWord::new());
    [floor].into_iter().chain(ours).chain(exclusive_peers!(pairs)).collect()
}

/// `ours` between parking_lot's RwLock, which the goals are relative to, and the others.
pub(crate) fn beside_rwlocks(ours: impl IntoIterator<Item = Subject>) -> Vec<Subject> {
    let floor = read_pairs("floor: parking_lot RwLock", parking_lot::RwLock::new(()));
    [floor].into_iter().chain(ours).chain(shared_peers!(read_pairs)).collect()
}

/// [`beside_mutexes`], contended.
pub(crate) fn against_mutexes(ours: impl IntoIterator<Item = Contender>) -> Vec<Contender> {
    let floor = contender("floor: two cmpxchg", Of::Host, OwnerWord::new());
    [floor].into_iter().chain(ours).chain(exclusive_peers!(contender, Of::Host)).collect()
}

/// [`beside_rwlocks`], contended.
pub(crate) fn against_rwlocks(ours: impl IntoIterator<Item = Contender>) -> Vec<Contender> {
    let floor = contender("floor: parking_lot RwLock", Of::Host, parking_lot::RwLock::new(()));
    [floor].into_iter().chain(ours).chain(shared_peers!(contender, Of::Host)).collect()
}

/// Four words that are read in a section, each found by the last.
pub(crate) struct Words([AtomicUsize; 4]);

impl Words {
    pub(crate) fn new() -> &'static Self {
        leak(Self([1, 2, 3, 0].map(AtomicUsize::new)))
    }
    #[inline(always)]
    pub(crate) fn read(&self, start: usize) -> usize {
        (0..4).fold(start, |at, _| self.0[at % 4].load(Ordering::Relaxed))
    }
}

/// A sequence lock's read section with nothing around it.
pub(crate) fn bare_seqlock() -> Subject {
    let (words, count) = (Words::new(), leak(AtomicU32::new(0)));
    chain(
        "floor: bare seqlock",
        || (),
        move |value| loop {
            let start = black_box(count).load(Ordering::Acquire);
            let found = words.read(value);
            fence(Ordering::Acquire);
            if start & 1 == 0 && count.load(Ordering::Relaxed) == start {
                break found;
            }
        },
    )
}
