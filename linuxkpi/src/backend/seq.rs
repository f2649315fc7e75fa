//! Sequence counts and seqlocks.

use super::{name, preempt_disable, preempt_enable};
use crate::mapping::{Context, How, SeqcountBackend, SeqlockBackend, SpinBackend};
use crate::{Flags, Loc};
use freebsd_sys::lock::LockObject;
use freebsd_sys::mutex::Mtxf;
use freebsd_sys::rmlock::{PrioTracker, Rm, Rmf};
use freebsd_sys::rwlock::{Rw, Rwf};
use freebsd_sys::seqc::Seqc;
use freebsd_sys::{cpu, lint};

/// A count whose writer stays preemptible: `seqc_sleepable_write_begin`.
#[repr(transparent)]
#[derive(Debug)]
pub struct SleepableCount(Seqc);

/// A count whose writer is in a critical section: `seqc_write_begin`.
#[repr(transparent)]
#[derive(Debug)]
pub struct CriticalCount(Seqc);

/// `write_seqcount_invalidate()`: two steps on, so that every reader retries.
pub(super) fn invalidate(count: &Seqc) {
    if cpu::step("write_seqcount_invalidate", 0) {
        count.set(count.peek().wrapping_add(2));
    }
}

macro_rules! plain_count {
    ($name:ident, $begin:ident, $end:ident) => {
        // SAFETY: seqc(9) promises it.
        unsafe impl SeqcountBackend for $name {
            const ZEROED: Self = Self(Seqc::new());

            fn init(&self) {
                self.0.set(0);
            }
            #[inline]
            fn write_begin(&self, loc: Loc) {
                self.0.$begin(loc);
            }
            #[inline]
            fn write_end(&self, loc: Loc) {
                self.0.$end(loc);
            }
            fn invalidate(&self) {
                invalidate(&self.0);
            }
            #[inline]
            fn read_begin(&self, _loc: Loc) -> u32 {
                self.0.read()
            }
            fn raw_read(&self) -> u32 {
                self.0.read_any()
            }
            #[inline]
            fn read_retry(&self, start: u32, loc: Loc) -> bool {
                !self.0.consistent_at(start, loc)
            }
        }
    };
}

plain_count!(SleepableCount, sleepable_write_begin_at, sleepable_write_end_at);
plain_count!(CriticalCount, write_begin_at, write_end_at);

/// A lock that readers of an odd count take and drop, only to have something to block on.
///
/// # Safety
///
/// `wait` returns after a writer that held the lock when it was called has given it back.
pub unsafe trait WaitLock: Send + Sync + 'static {
    /// Uninitialised.
    const ZEROED: Self;
    /// Its lock object.
    fn object(&self) -> &LockObject;
    /// Makes it usable; may be repeated.
    fn init(&self);
    /// A writer's section begins.
    fn write_lock(&self, loc: Loc);
    /// A writer's section ends.
    fn write_unlock(&self, loc: Loc);
    /// Waits for the writer.
    fn wait(&self, loc: Loc);
}

// SAFETY: the read lock is granted only when no writer holds it.
unsafe impl WaitLock for Rw {
    const ZEROED: Self = Rw::zeroed();

    fn object(&self) -> &LockObject {
        Rw::object(self)
    }
    fn init(&self) {
        Rw::init(self, name::SEQCOUNT, Rwf::NOWITNESS | Rwf::NEW);
    }
    fn write_lock(&self, loc: Loc) {
        self.wlock_at(loc);
    }
    fn write_unlock(&self, loc: Loc) {
        self.wunlock_at(loc);
    }
    fn wait(&self, loc: Loc) {
        self.rlock_at(loc);
        self.runlock_at(loc);
    }
}

// SAFETY: the read lock is granted only when no writer holds it.
unsafe impl WaitLock for Rm {
    const ZEROED: Self = Rm::zeroed();

    fn object(&self) -> &LockObject {
        Rm::object(self)
    }
    fn init(&self) {
        Rm::init(self, name::SEQCOUNT, Rmf::NOWITNESS | Rmf::NEW);
    }
    fn write_lock(&self, loc: Loc) {
        self.wlock_at(loc);
    }
    fn write_unlock(&self, loc: Loc) {
        self.wunlock_at(loc);
    }
    fn wait(&self, loc: Loc) {
        let tracker = PrioTracker::new();
        // SAFETY: the tracker stays on this stack until the lock is given back, right below, by the same thread.
        unsafe {
            self.rlock_at(&tracker, false, loc);
            self.runlock_at(&tracker, loc);
        }
    }
}

/// A sleepable count whose writer also holds `W`, on which readers of an odd count wait.
#[repr(C)]
#[derive(Debug)]
pub struct LockedCount<W> {
    lock: W,
    count: Seqc,
}

// SAFETY: the count decides whether a read was torn; the lock only makes readers wait.
unsafe impl<W: WaitLock> SeqcountBackend for LockedCount<W> {
    const ZEROED: Self = Self { lock: W::ZEROED, count: Seqc::new() };

    fn init(&self) {
        self.lock.init();
        self.count.set(0);
    }
    fn write_begin(&self, loc: Loc) {
        self.lock.write_lock(loc);
        self.count.sleepable_write_begin_at(loc);
    }
    fn write_end(&self, loc: Loc) {
        self.count.sleepable_write_end_at(loc);
        self.lock.write_unlock(loc);
    }
    fn invalidate(&self) {
        invalidate(&self.count);
    }
    fn read_begin(&self, loc: Loc) -> u32 {
        // Whether it waits is chance; the lock itself says so only when it does.
        lint::blocking("read_seqcount_begin", self.lock.object(), loc);
        loop {
            let start = self.count.read_any();
            if start & 1 == 0 || cpu::scheduler_stopped() {
                return start;
            }
            self.lock.wait(loc);
        }
    }
    fn raw_read(&self) -> u32 {
        self.count.read_any()
    }
    fn read_retry(&self, start: u32, loc: Loc) -> bool {
        if start & 1 != 0 {
            self.lock.wait(loc);
            return true;
        }
        !self.count.consistent_at(start, loc)
    }
}

/// What a seqlock's writer does beyond its lock and its count.
pub trait Writer {
    /// After the lock is taken, before the count is odd.
    fn enter(_context: Context) {}
    /// After the count is even, before the lock is given back.
    fn exit(_context: Context) {}
}

/// Nothing.
#[derive(Debug)]
pub struct Nothing;
impl Writer for Nothing {}

/// The irqsave form is in a critical section: today's LinuxKPI, so that a reader of higher priority cannot starve it.
#[derive(Debug)]
pub struct CriticalIrqsave;
impl Writer for CriticalIrqsave {
    fn enter(context: Context) {
        if context == Context::IrqSave {
            preempt_disable();
        }
    }
    fn exit(context: Context) {
        if context == Context::IrqSave {
            preempt_enable();
        }
    }
}

/// A seqlock of the lock `S`, the count `C` and what `W` adds.
#[repr(C)]
#[derive(Debug)]
pub struct Seqlock<S, C, W = Nothing> {
    lock: S,
    count: C,
    writer: core::marker::PhantomData<fn() -> W>,
}

// SAFETY: the lock excludes writers and exclusive readers; the count serves the others.
unsafe impl<S: SpinBackend, C: SeqcountBackend, W: Writer + 'static> SeqlockBackend for Seqlock<S, C, W> {
    const ZEROED: Self = Self { lock: S::ZEROED, count: C::ZEROED, writer: core::marker::PhantomData };

    fn init(&self) {
        self.lock.init();
        self.count.init();
    }
    fn write_lock(&self, how: How) -> Flags {
        let flags = self.lock.lock(how);
        W::enter(how.context);
        self.count.write_begin(how.loc);
        flags
    }
    fn write_unlock(&self, how: How, flags: Flags) {
        self.count.write_end(how.loc);
        W::exit(how.context);
        self.lock.unlock(how, flags);
    }
    fn read_begin(&self, loc: Loc) -> u32 {
        self.count.read_begin(loc)
    }
    fn read_retry(&self, start: u32, loc: Loc) -> bool {
        self.count.read_retry(start, loc)
    }
    fn excl_lock(&self, how: How) -> Flags {
        self.lock.lock(how)
    }
    fn excl_unlock(&self, how: How, flags: Flags) {
        self.lock.unlock(how, flags);
    }
}

/// The lock of LinuxKPI's `seqlock_t`: a mutex named "seqlock", not pinned.
#[derive(Debug)]
pub struct Bare;

// SAFETY: nothing to undo.
unsafe impl super::spin::Around for Bare {
    // Without MTX_NEW, unlike spin_lock_init(): a second seqlock_init() is a panic under INVARIANTS.
    const INIT: Mtxf = Mtxf::DEF.union(Mtxf::NOWITNESS);
    const NAME: &'static core::ffi::CStr = name::SEQLOCK;
    fn inside(_context: Context) {}
    fn leave(_context: Context) {}
}

/// LinuxKPI's seqlock with a count of kind `C`.
pub type LkpiSeqlock<C, W = Nothing> = Seqlock<super::MtxDef<Bare>, C, W>;
