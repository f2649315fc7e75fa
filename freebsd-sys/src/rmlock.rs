//! rmlock(9): read-mostly locks: readers write only to their own CPU's memory, writers pay for it.
//!
//! # State
//!
//! | | |
//! |---|---|
//! | `rm_writecpus` has this CPU | readers here must ask: take the backing lock once, and the bit goes |
//! | it has not | this CPU has a read token: readers here only put a tracker on the CPU's queue |
//! | tracker on `pc_rm_queue` | read-held by its thread, which is pinned to this CPU |
//! | tracker in the seam's block | the same, later than those on the queue, of `curthread`, and one pin more than td_pinned says |
//! | queued tracker on `rm_activeReaders` | a writer knows of it (RMPF_ONQUEUE) and may wait for it (RMPF_SIGNAL) |
//! | backing lock owned | write-held, or a writer or an asking reader is at work |
//! | `rm_activeReaders` is RM_DESTROYED | destroyed |
//!
//! # Algorithm
//!
//! A reader queues its tracker and pins itself, in what FreeBSD makes a critical section by hand and what lies between two
//! boundaries here: no atomic operation and no fence. If its CPU has a token it holds the lock. Else it takes the tracker back and
//! waits for the backing lock (a mutex, or an sx if the lock is sleepable), which makes it wait for the writer; with it, it gives its
//! CPU a token and queues the tracker.
//!
//! The usual reader is gone before anybody looks. In `smp` it neither queues nor pins itself but leaves its tracker in the block that
//! `%gs` points at, with nothing in it but the lock. Whoever looks at the queue or at `td_pinned`, and the scheduler before it gives the CPU
//! to another thread, makes up for the rest first ([`sched::settle`]): always on that CPU, and before anybody but the reader could be running there.
//! That nobody has is then one comparison. A sleepable lock has more to do than that: there, `rm_writecpus` has a bit (ASKS)
//! that is in no CPU's mask of tokens but in the mask of those who want to go this way.
//!
//! A writer takes the backing lock and then all tokens back: a rendezvous runs on each CPU that had one and moves the trackers
//! it finds to `rm_activeReaders`. Then the writer waits on the lock's turnstile for one active reader after the other,
//! lending it its priority. Further writes find all tokens here already and cost one mutex.
//!
//! A reader of a recursive lock whose thread holds it already is let in even though a writer waits.
//!
//! # Memory ordering
//!
//! A CPU's queue is touched by that CPU alone, outside of interrupts. An IPI is taken at a boundary, never inside a reader's
//! primitive: a reader that was done before it has its tracker on the queue, one that begins after it sees `rm_writecpus`,
//! which was written before the IPI was posted. The writer's wait for acknowledgements acquires what the handlers moved.
//!
//! # Deviations from FreeBSD
//!
//! The recall has a rendezvous of its own beside `smp`'s, with no functions to call. In `explore` all CPUs share a host thread and
//! stand at boundaries while one moves: the writer moves the trackers itself, as if each CPU had taken the IPI at once, which is
//! the only order that matters since the handler commutes with everything but primitives of this lock. A reader does not test
//! whether the IPI granted it the lock between its two looks, because none can arrive there. A CPU whose interrupts are off is not
//! waited for there. A failed try for a sleepable lock gives THREAD_NO_SLEEPING back, which FreeBSD forgets.
//!
//! References: kern/kern_rmlock.c, sys/_rmlock.h, rmlock(9).

use crate::atomic::{Owned32, OwnedPtr, RawWord, Shared32, thread_fence_acq};
use crate::cpu::{self, Pcpu, curcpu, machine, pending};
use crate::critical;
use crate::lock::{ChainLock, Lo, Loc, LockClass, LockObject};
use crate::mutex::{Mtx, Mtxf};
use crate::panic::{kassert, kpanic};
use crate::sched;
use crate::sx::{Sx, Sxf};
use crate::thread::{self, Thread, curthread};
use crate::{turnstile, witness};
use bitflags::bitflags;
use core::ffi::CStr;
use core::mem::{ManuallyDrop, MaybeUninit};
use core::ops::Deref;

bitflags! {
    /// Options of [`Rm::init`]: `RM_*`.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Rmf: u32 {
        /// `RM_NOWITNESS`: invisible to WITNESS.
        const NOWITNESS = 0x01;
        /// `RM_RECURSE`: readers may take it again.
        const RECURSE = 0x02;
        /// `RM_SLEEPABLE`: writers may sleep; readers may not, but wait for writers that do.
        const SLEEPABLE = 0x04;
        /// `RM_NEW`: re-initialising is fine.
        const NEW = 0x08;
        /// `RM_DUPOK`.
        const DUPOK = 0x10;
    }
}

/// What [`Rm::assert`] is to check: `RA_*`.
pub use crate::rwlock::ra;

/// `RMPF_ONQUEUE`: on `rm_activeReaders`.
const RMPF_ONQUEUE: u32 = 1;
/// `RMPF_SIGNAL`: the writer waits for this one.
const RMPF_SIGNAL: u32 = 2;

/// `RM_DESTROYED`, as the head of `rm_activeReaders`.
const RM_DESTROYED: *mut PrioTracker = core::ptr::without_provenance_mut(0xdead);

/// Words of a `cpuset_t`, for MAXCPU 1024 as on amd64; a machine uses the first.
const CPUSET_WORDS: usize = 16;

/// `struct rm_priotracker`: one read acquisition, on its thread's stack.
#[repr(C)]
pub struct PrioTracker {
    /// (k) `rmp_cpuQueue`.
    next: Unwritten<OwnedPtr<PrioTracker>>,
    prev: Unwritten<OwnedPtr<PrioTracker>>,
    /// (b) `rmp_rmlock`.
    rmlock: Unwritten<OwnedPtr<Rm>>,
    /// (b) `rmp_thread`; null in a tracker that was never used.
    thread: OwnedPtr<Thread>,
    /// (r) `rmp_flags`; the reader may look without the lock once the tracker has left the CPU's queue.
    flags: Unwritten<Owned32>,
    /// (r) `rmp_qentry`.
    active_next: Unwritten<OwnedPtr<PrioTracker>>,
    active_prev: Unwritten<OwnedPtr<PrioTracker>>,
}

// Locking key: (b) before it is queued, (k) the CPU whose queue it is, outside of interrupts, (r) rm_spinlock.

/// A field of a tracker, which is on the stack and, as in C, not zeroed: what queues or lists the tracker writes it first.
#[repr(transparent)]
struct Unwritten<T>(MaybeUninit<T>);

impl<T> Unwritten<T> {
    const fn new() -> Self {
        Self(MaybeUninit::uninit())
    }
}

impl<T> Deref for Unwritten<T> {
    type Target = T;
    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: `T` is a cell of `atomic`, whose memory is there; its `set` comes before any `get`: the links and the flags are
        // read of queued and listed trackers only, `rmlock` likewise, and `add`, `active_add` and the readers wrote them.
        unsafe { &*self.0.as_ptr() }
    }
}

impl core::fmt::Debug for PrioTracker {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "rm_priotracker of {:p}", self.thread.get())
    }
}

impl Default for PrioTracker {
    fn default() -> Self {
        Self::new()
    }
}

impl PrioTracker {
    /// A tracker for [`Rm::rlock`].
    #[inline(always)]
    pub const fn new() -> Self {
        Self {
            next: Unwritten::new(),
            prev: Unwritten::new(),
            rmlock: Unwritten::new(),
            thread: OwnedPtr::null(),
            flags: Unwritten::new(),
            active_next: Unwritten::new(),
            active_prev: Unwritten::new(),
        }
    }

    #[inline(always)]
    fn ptr(&self) -> *mut Self {
        core::ptr::from_ref(self).cast_mut()
    }
}

/// `pc_rm_queue`: the trackers of a CPU's readers, latest first.
#[derive(Debug)]
pub(crate) struct PcpuQueue {
    /// But for a later one in the seam's block, which [`PcpuQueue::head`] puts here.
    head: OwnedPtr<PrioTracker>,
}

/// In `rm_writecpus`, which has no CPU here: readers of this lock do more than queue a tracker. Not in `explore`, where all do.
const ASKS: usize = 1 << (usize::BITS - 1);

/// What `rm_writecpus` may not have for a reader on `cpu` that only leaves its tracker.
pub(crate) fn readmask(cpu: &Pcpu) -> usize {
    cpu.cpumask | ASKS
}

/// What the running thread left in the seam's block is made what other readers have; part of [`sched::settle`].
#[inline]
pub(crate) fn settle() {
    if !cpu::reader().is_null() {
        curcpu().rm_queue.head();
    }
}

impl PcpuQueue {
    pub(crate) fn new() -> Self {
        Self { head: OwnedPtr::null() }
    }

    pub(crate) fn reset(&self) {
        self.head.set(core::ptr::null_mut());
    }

    /// The latest tracker. The caller's CPU is the queue's, or this is `explore`, whose blocks have no reader.
    #[inline]
    fn head(&self) -> *mut PrioTracker {
        let reader = cpu::reader();
        if !reader.is_null() {
            self.queue(reader);
        }
        self.head.get()
    }

    /// Queues what the running thread left in the seam's block, of which only the lock is written, and pins the thread.
    #[cold]
    fn queue(&self, reader: *mut PrioTracker) {
        cpu::set_reader(core::ptr::null_mut());
        let (head, td) = (self.head.get(), curthread());
        td.pinned.add(1);
        // SAFETY: a tracker that its reader has left there, or that is queued, is alive: its reader holds it.
        unsafe {
            (*reader).next.set(head);
            (*reader).prev.set(core::ptr::null_mut());
            (*reader).flags.set(0);
            (*reader).thread.set(td.ptr());
            if !head.is_null() {
                (*head).prev.set(reader);
            }
        }
        self.head.set(reader);
    }

    /// `rm_tracker_add()`.
    #[inline]
    fn add(&self, tracker: &PrioTracker) {
        let head = self.head();
        tracker.next.set(head);
        tracker.prev.set(core::ptr::null_mut());
        if !head.is_null() {
            // SAFETY: queued trackers are alive: their readers hold them.
            unsafe { (*head).prev.set(tracker.ptr()) };
        }
        self.head.set(tracker.ptr());
    }

    /// `rm_tracker_remove()`.
    #[inline]
    fn remove(&self, tracker: &PrioTracker) {
        // If it was left in the block, its links are not written yet.
        self.head();
        let (next, prev) = (tracker.next.get(), tracker.prev.get());
        // SAFETY: queued trackers are alive, and these are this one's neighbours.
        unsafe {
            if prev.is_null() {
                self.head.set(next);
            } else {
                (*prev).next.set(next);
            }
            if !next.is_null() {
                (*next).prev.set(prev);
            }
        }
    }

    fn iter(&self) -> impl Iterator<Item = &PrioTracker> {
        // SAFETY: queued trackers are alive, and the queue does not change while its CPU looks.
        let deref = |tracker: *mut PrioTracker| unsafe { tracker.cast_const().as_ref() };
        core::iter::successors(deref(self.head()), move |tracker| deref(tracker.next.get()))
    }

    /// The trackers by which `td` holds `rm` for reading.
    fn by<'a>(&'a self, rm: &'a Rm, td: &'a Thread) -> impl Iterator<Item = &'a PrioTracker> {
        self.iter()
            .filter(move |tracker| core::ptr::eq(tracker.rmlock.get(), rm) && core::ptr::eq(tracker.thread.get(), td))
    }

    /// `rm_trackers_present()`: how often `td` holds `rm` for reading.
    fn present(&self, rm: &Rm, td: &Thread) -> usize {
        self.by(rm, td).count()
    }

    /// The latest tracker by which `td` holds `rm` for reading.
    fn find<'a>(&'a self, rm: &'a Rm, td: &'a Thread) -> Option<&'a PrioTracker> {
        self.by(rm, td).next()
    }

    /// `rm_cleanIPI()`: shows this CPU's readers of `rm` to the writer; rm_spinlock is held.
    fn clean(&self, rm: &Rm) {
        for tracker in self.iter() {
            if core::ptr::eq(tracker.rmlock.get(), rm) && tracker.flags.get() == 0 {
                tracker.flags.set(RMPF_ONQUEUE);
                rm.active_add(tracker);
            }
        }
    }
}

/// `smp_rendezvous_cpus()` as rmlocks use it, and `rm_spinlock`.
#[derive(Debug)]
pub(crate) struct Rendezvous {
    /// `rm_spinlock`: all lists of active readers.
    spinlock: ChainLock,
    /// `smp_ipi_mtx`: 1 while a rendezvous is under way. Waited for with interrupts on.
    busy: Shared32,
    /// (busy) The lock whose readers are looked for; null in a mere barrier.
    rm: OwnedPtr<Rm>,
    /// CPUs that have yet to take the IPI.
    waiting: Shared32,
}

impl Rendezvous {
    pub(crate) fn new() -> Self {
        Self { spinlock: ChainLock::new(), busy: Shared32::new(0), rm: OwnedPtr::null(), waiting: Shared32::new(0) }
    }

    pub(crate) fn reset(&self) {
        self.spinlock.unlock_raw();
        self.busy.reset();
        self.rm.set(core::ptr::null_mut());
        self.waiting.reset();
    }

    /// A rendezvous of all CPUs that does nothing else: what this thread did before it is seen by each primitive that begins on
    /// another CPU after it, and what a primitive did that had begun there before is seen by this thread. For epoch(9).
    pub(crate) fn barrier(&self) {
        self.run(None, Rm::all_cpus() & !(1 << curcpu().cpuid));
    }

    /// Runs [`PcpuQueue::clean`] on `cpus`, if there is a lock; this thread stays on its CPU meanwhile.
    fn run(&self, rm: Option<&Rm>, cpus: usize) {
        let m = machine();
        let targets =
            |cpus: usize| m.cpus.iter().map(|cpu| &**cpu).filter(move |cpu: &&Pcpu| cpus & 1 << cpu.cpuid != 0);
        let td = curthread();
        critical::enter(td);
        if sched::explored() {
            // See the module: nobody else is between two boundaries, so this is each CPU's IPI. At `insn` somebody may have
            // rm_spinlock, which all of them would wait for.
            if let Some(rm) = rm {
                self.spinlock.lock();
                targets(cpus).for_each(|cpu| cpu.rm_queue.clean(rm));
                self.spinlock.unlock();
            }
        } else {
            while self.busy.or(1) != 0 {
                if !cpu::spinwait() {
                    return;
                }
            }
            let me = curcpu();
            let others = cpus & !(1 << me.cpuid);
            self.rm.set(rm.map_or(core::ptr::null_mut(), |rm| core::ptr::from_ref(rm).cast_mut()));
            self.waiting.set(others as u32);
            targets(others).for_each(|cpu| cpu.post(pending::RENDEZVOUS));
            if let Some(rm) = rm.filter(|_| cpus != others) {
                self.spinlock.lock();
                me.rm_queue.clean(rm);
                self.spinlock.unlock();
            }
            // An idle CPU is woken by the post and takes the IPI at once; a stopped machine ends the wait.
            while self.waiting.get() != 0 {
                if !cpu::spinwait() {
                    return;
                }
            }
            thread_fence_acq();
            self.rm.set(core::ptr::null_mut());
            self.busy.set(0);
        }
        critical::exit(td);
    }
}

/// The rendezvous IPI's handler, in an interrupt frame of its CPU.
pub(crate) fn ipi_rendezvous() {
    let (rendezvous, cpu) = (&machine().rendezvous, curcpu());
    let bit = cpu.cpumask as u32;
    if rendezvous.waiting.get() & bit != 0 {
        thread_fence_acq();
        // SAFETY: the writer keeps its lock alive and waits until this CPU's bit is gone.
        if let Some(rm) = unsafe { rendezvous.rm.get().as_ref() } {
            rendezvous.spinlock.lock();
            cpu.rm_queue.clean(rm);
            rendezvous.spinlock.unlock();
        }
        rendezvous.waiting.clear(bit);
    }
}

/// The lock behind: `rm_lock_mtx` or `rm_lock_sx`, as the class says.
#[repr(C)]
union Backing {
    mtx: ManuallyDrop<Mtx>,
    sx: ManuallyDrop<Sx>,
}

/// [`Backing`], typed.
enum Back<'a> {
    Mtx(&'a Mtx),
    Sx(&'a Sx),
}

/// `struct rmlock`.
#[repr(C)]
pub struct Rm {
    lock_object: LockObject,
    /// `rm_writecpus`: CPUs without a read token. Set by a writer, cleared by a reader, both with the backing lock.
    writecpus: [RawWord; CPUSET_WORDS],
    /// (r) `rm_activeReaders`.
    active: OwnedPtr<PrioTracker>,
    backing: Backing,
}

const _: () = {
    assert!(size_of::<PrioTracker>() == 56);
    assert!(core::mem::offset_of!(PrioTracker, flags) == 32);
    assert!(size_of::<Rm>() == 192);
    assert!(core::mem::offset_of!(Rm, backing) == 160);
    assert!(cpu::MAXCPU <= usize::BITS as usize);
};

impl Drop for Rm {
    /// As any lock that goes without `rm_destroy`: the machine must not look at the backing lock either.
    fn drop(&mut self) {
        // SAFETY: dropped once, here; a mutex and an sx lock are a lock object and a word, and only the former has a destructor.
        unsafe { ManuallyDrop::drop(&mut self.backing.mtx) };
    }
}

impl core::fmt::Debug for Rm {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{:?} writecpus {:?}", self.lock_object, self.writecpus[0])
    }
}

impl Rm {
    /// A lock that was not initialised: zeroed memory.
    pub const fn zeroed() -> Self {
        Self {
            lock_object: LockObject::zeroed(),
            writecpus: [const { RawWord::new(0) }; CPUSET_WORDS],
            active: OwnedPtr::null(),
            backing: Backing { mtx: ManuallyDrop::new(Mtx::zeroed()) },
        }
    }

    /// `lock_object`.
    pub fn object(&self) -> &LockObject {
        &self.lock_object
    }

    fn name(&self) -> &'static str {
        self.lock_object.name()
    }

    fn sleepable(&self) -> bool {
        self.lock_object.flags().contains(Lo::SLEEPABLE)
    }

    #[inline]
    fn backing(&self) -> Back<'_> {
        // SAFETY: both are a lock_object and a word, valid for any bits; `init` made the one that the class says.
        unsafe { if self.sleepable() { Back::Sx(&self.backing.sx) } else { Back::Mtx(&self.backing.mtx) } }
    }

    fn all_cpus() -> usize {
        (1 << cpu::mp_ncpus()) - 1
    }

    /// `rm_init_flags()`.
    ///
    /// # Panics
    ///
    /// `lock "%s" %p already initialized` (INVARIANTS).
    #[track_caller]
    pub fn init(&self, name: &'static CStr, opts: Rmf) {
        if !cpu::step("rm_init", self.lock_object.id()) {
            return;
        }
        let mut lo = Lo::empty();
        lo.set(Lo::WITNESS, !opts.contains(Rmf::NOWITNESS));
        lo.set(Lo::RECURSABLE, opts.contains(Rmf::RECURSE));
        lo.set(Lo::NEW, opts.contains(Rmf::NEW));
        lo.set(Lo::DUPOK, opts.contains(Rmf::DUPOK));
        let sleepable = opts.contains(Rmf::SLEEPABLE);
        let class = if sleepable { LockClass::RmSleepable } else { LockClass::Rm };
        // FreeBSD initialises the lock behind first, which is then the first to mind that it is initialised. A mutex goes by the lock's
        // name, an sx lock by its own.
        let behind = if sleepable { c"rmlock_sx" } else { name };
        // SAFETY: both are a lock_object and a word, valid for any bits.
        let object = unsafe { if sleepable { self.backing.sx.object() } else { self.backing.mtx.object() } };
        object.check_fresh(behind, lo);
        self.lock_object.init(class, name, 0, lo);
        let asks = if sleepable && !sched::explored() { ASKS } else { 0 };
        self.writecpus[0].set(Self::all_cpus() | asks);
        self.active.set(core::ptr::null_mut());
        let new = opts.contains(Rmf::NEW);
        match self.backing() {
            Back::Mtx(mtx) => {
                let flags = Mtxf::NOWITNESS | if new { Mtxf::NEW } else { Mtxf::DEF };
                mtx.init_typed(behind, c"rmlock_mtx", flags);
            }
            Back::Sx(sx) => sx.init(behind, Sxf::NOWITNESS | if new { Sxf::NEW } else { Sxf::empty() }),
        }
    }

    /// `rm_destroy()`: the caller may not hold it.
    ///
    /// # Panics
    ///
    /// Rows 59 and 60 of the misuse table, and those of the backing lock if another thread holds it (INVARIANTS).
    #[track_caller]
    pub fn destroy(&self) {
        if !cpu::step("rm_destroy", self.lock_object.id()) {
            return;
        }
        self.assert_at(ra::UNLOCKED, Loc::caller());
        self.active.set(RM_DESTROYED);
        match self.backing() {
            Back::Mtx(mtx) => mtx.destroy(),
            Back::Sx(sx) => sx.destroy(),
        }
        self.lock_object.destroy();
    }

    /// `rm_wowned()`: whether the caller holds it for writing.
    pub fn wowned(&self) -> bool {
        match self.backing() {
            Back::Mtx(mtx) => mtx.owned(),
            Back::Sx(sx) => sx.xlocked(),
        }
    }

    /// The same inside a primitive.
    fn owns(&self) -> bool {
        match self.backing() {
            Back::Mtx(mtx) => mtx.owns(),
            Back::Sx(sx) => sx.owns(),
        }
    }

    /// `rm_initialized()`.
    pub fn initialized(&self) -> bool {
        self.lock_object.flags().contains(Lo::INITIALIZED)
    }

    /// How often the caller holds it for reading. A reader is pinned: its trackers are on this CPU.
    fn held(&self) -> usize {
        curcpu().rm_queue.present(self, curthread())
    }

    /// The rmlock that `lock` is the head of.
    ///
    /// # Safety
    ///
    /// `lock` is the first member of a live `Rm`.
    pub(crate) unsafe fn from_object(lock: &LockObject) -> &Self {
        // SAFETY: the caller's promise.
        unsafe { &*core::ptr::from_ref(lock).cast() }
    }

    /// `lc_owner`: whether somebody has the backing lock, and who.
    pub(crate) fn backing_owner(&self) -> (bool, *const Thread) {
        let owner = match self.backing() {
            Back::Mtx(mtx) => mtx.owner(),
            Back::Sx(sx) => sx.xholder(),
        };
        (!owner.is_null(), owner)
    }

    /// `lc_unlock`: releases it however the caller holds it. Returns 0 to a writer, to a reader the address of its tracker.
    ///
    /// # Safety
    ///
    /// A reader's tracker stays where it is until the reader is done with the address.
    ///
    /// # Panics
    ///
    /// Rows 61 and 62 of the misuse table (INVARIANTS), else `page fault` if the caller does not hold it.
    pub(crate) unsafe fn unlock_either(&self, loc: Loc) -> usize {
        self.assert_at(ra::LOCKED | ra::NOTRECURSED, loc);
        if self.owns() {
            self.wunlock_at(loc);
            return 0;
        }
        // A reader is pinned: its tracker is on this CPU, and there is no other, since it has not recursed.
        let Some(tracker) = curcpu().rm_queue.find(self, curthread()) else {
            // rm_runlock() of a null tracker.
            kpanic!("page fault");
        };
        // SAFETY: the caller holds the lock by this tracker.
        unsafe { self.runlock_at(tracker, loc) };
        core::ptr::from_ref(tracker).expose_provenance()
    }

    /// `lc_lock`: takes it as [`Rm::unlock_either`] left it.
    ///
    /// # Safety
    ///
    /// `how` is 0 or the address of a tracker as for [`Rm::rlock`].
    pub(crate) unsafe fn lock_either(&self, how: usize, loc: Loc) {
        if how == 0 {
            self.wlock_at(loc);
        } else {
            // SAFETY: the caller's promise.
            unsafe { self.rlock_at(&*core::ptr::with_exposed_provenance::<PrioTracker>(how), false, loc) };
        }
    }

    /// `TD_LOCKS_INC` and `TD_LOCKS_DEC`: INVARIANTS only. A write counts twice, here and in the backing lock.
    fn count(&self, n: i32) {
        if cpu::invariants() {
            curthread().locks.add(n);
        }
    }

    /// Inserts into `rm_activeReaders`; rm_spinlock is held.
    fn active_add(&self, tracker: &PrioTracker) {
        let head = self.active.get();
        tracker.active_next.set(head);
        tracker.active_prev.set(core::ptr::null_mut());
        if !head.is_null() {
            // SAFETY: listed trackers are alive: their readers hold them.
            unsafe { (*head).active_prev.set(tracker.ptr()) };
        }
        self.active.set(tracker.ptr());
    }

    /// Removes from `rm_activeReaders`; rm_spinlock is held.
    fn active_remove(&self, tracker: &PrioTracker) {
        let (next, prev) = (tracker.active_next.get(), tracker.active_prev.get());
        // SAFETY: listed trackers are alive, and these are this one's neighbours.
        unsafe {
            if prev.is_null() {
                self.active.set(next);
            } else {
                (*prev).active_next.set(next);
            }
            if !next.is_null() {
                (*next).active_prev.set(prev);
            }
        }
    }

    fn check(&self, what: &str, loc: Loc) {
        let td = curthread();
        kassert!(!td.is_idle(), "{what}() by idle thread {:p} on rmlock {} @ {loc}", td.ptr(), self.name());
        self.check_destroyed(what, loc);
    }

    fn check_destroyed(&self, what: &str, loc: Loc) {
        kassert!(self.active.get() != RM_DESTROYED, "{what}() of destroyed rmlock @ {loc}");
    }

    /// Calls `body` with the lock held for reading.
    ///
    /// # Panics
    ///
    /// As [`Rm::rlock`].
    #[track_caller]
    pub fn read<R>(&self, body: impl FnOnce() -> R) -> R {
        let (tracker, loc) = (PrioTracker::new(), Loc::caller());
        // SAFETY: the tracker stays in this frame until runlock. An unwinding frame belongs to a machine that has ended, whose
        // queues nobody walks any more.
        unsafe {
            self.rlock_at(&tracker, false, loc);
            let result = body();
            self.runlock_at(&tracker, loc);
            result
        }
    }

    /// `rm_rlock()`: blocks until the caller is one of the readers, and pins it.
    ///
    /// # Panics
    ///
    /// Rows 55 to 58 and 64 of the misuse table, and mi_switch's if it blocks in a critical section.
    ///
    /// # Safety
    ///
    /// `tracker` is not in use, and stays where it is until this thread's [`Rm::runlock`] with it.
    #[track_caller]
    #[inline(always)]
    pub unsafe fn rlock(&self, tracker: &PrioTracker) {
        if !self.rlock_alone(tracker) {
            // SAFETY: the caller's promise.
            unsafe { self.rlock_at(tracker, false, Loc::caller()) };
        }
    }

    /// `_rm_rlock()` on a CPU that has a token, with the seam's word 0, so in `smp`, and its block free. False, and nothing done,
    /// otherwise. What is left in the block does not depend on what was there but for a branch, so the processor need not wait for the
    /// last reader's store.
    #[inline(always)]
    fn rlock_alone(&self, tracker: &PrioTracker) -> bool {
        // No boundary lies between these looks and the stores, so no IPI takes the token in between. td_owepreempt need not be looked
        // at: between primitives it is set in critical sections only, where `rlock_hard` would leave it.
        if cpu::busy() | cpu::readmasked(self.writecpus[0].read()) != 0 {
            return false;
        }
        tracker.rmlock.set(core::ptr::from_ref(self).cast_mut());
        cpu::set_reader(tracker.ptr());
        true
    }

    /// Undoes [`Rm::rlock_alone`], if nothing is to be done at the boundary and nobody has looked at the tracker.
    #[inline(always)]
    fn runlock_alone(&self, tracker: &PrioTracker) -> bool {
        if !cpu::quiet() || !cpu::reader_is(tracker.ptr()) {
            return false;
        }
        cpu::set_reader(core::ptr::null_mut());
        true
    }

    /// `rm_try_rlock()`: fails if a writer has taken this CPU's token and still holds the lock.
    ///
    /// # Panics
    ///
    /// Rows 55 and 56 of the misuse table.
    ///
    /// # Safety
    ///
    /// As for [`Rm::rlock`], if it succeeds.
    #[track_caller]
    pub unsafe fn try_rlock(&self, tracker: &PrioTracker) -> bool {
        // SAFETY: the caller's promise.
        unsafe { self.rlock_at(tracker, true, Loc::caller()) }
    }

    /// `_rm_rlock_debug()`: what C calls.
    ///
    /// # Safety
    ///
    /// As for [`Rm::rlock`].
    #[cold]
    #[inline(never)]
    pub unsafe fn rlock_at(&self, tracker: &PrioTracker, try_only: bool, loc: Loc) -> bool {
        if !cpu::step_at("rm_rlock", self.lock_object.id(), loc) {
            return true;
        }
        kassert!(
            try_only || self.lock_object.flags().contains(Lo::RECURSABLE) || self.held() == 0,
            "rm_rlock: recursed on non-recursive rmlock {} @ {loc}",
            self.name()
        );
        self.check("rm_rlock", loc);
        if !try_only {
            kassert!(!self.owns(), "rm_rlock: wlock already held for {} @ {loc}", self.name());
            crate::lint::blocking("rm_rlock", &self.lock_object, loc);
            witness::checkorder(&self.lock_object, false, false, None, loc);
        }
        let taken = self.rlock_int(tracker, try_only, loc);
        if cpu::scheduler_stopped() {
            return true;
        }
        if taken {
            if try_only {
                witness::lock_try(&self.lock_object, false, loc);
            } else {
                witness::lock(&self.lock_object, false, loc);
            }
            self.count(1);
        }
        taken
    }

    /// `_rm_rlock()`.
    fn rlock_int(&self, tracker: &PrioTracker, try_only: bool, loc: Loc) -> bool {
        let td = curthread();
        tracker.flags.set(0);
        tracker.thread.set(td.ptr());
        tracker.rmlock.set(core::ptr::from_ref(self).cast_mut());
        if self.sleepable() {
            thread::thread_no_sleeping();
        }
        let pc = Self::queue_here(td, tracker);
        td.owepreempt.get() == 0 && self.token_gone(pc) == 0 || self.rlock_hard(tracker, try_only, loc)
    }

    /// Puts the tracker on this CPU's queue and pins the thread; a preemption that is due stays due.
    #[inline(always)]
    fn queue_here(td: &Thread, tracker: &PrioTracker) -> &'static Pcpu {
        // FreeBSD raises td_critnest around this. Here no boundary lies inside, so nobody could see it raised.
        let pc = curcpu();
        pc.rm_queue.add(tracker);
        td.pinned.add(1);
        pc
    }

    /// Not 0 if readers on this CPU have to ask.
    #[inline(always)]
    fn token_gone(&self, pc: &Pcpu) -> usize {
        self.writecpus[0].read() & pc.cpumask
    }

    /// `_rm_rlock_hard()`.
    #[cold]
    #[inline(never)]
    fn rlock_hard(&self, tracker: &PrioTracker, try_only: bool, loc: Loc) -> bool {
        let td = curthread();
        critical::enter(td);
        let pc = curcpu();
        if self.token_gone(pc) == 0 {
            critical::exit(td);
            return true;
        }
        pc.rm_queue.remove(tracker);
        if self.lock_object.flags().contains(Lo::RECURSABLE) && pc.rm_queue.present(self, td) != 0 {
            // The writer, if it waits already, has this thread's first tracker on its list: this one joins it.
            let spinlock = &machine().rendezvous.spinlock;
            spinlock.lock();
            self.active_add(tracker);
            tracker.flags.set(RMPF_ONQUEUE);
            spinlock.unlock();
            pc.rm_queue.add(tracker);
            critical::exit(td);
            return true;
        }
        td.pinned.sub(1);
        critical::exit(td);
        if !self.backing_rlock(try_only, loc) {
            return false;
        }
        if cpu::scheduler_stopped() {
            return true;
        }
        critical::enter(td);
        let pc = curcpu();
        self.writecpus[0].clear(pc.cpumask);
        Self::queue_here(td, tracker);
        critical::exit(td);
        match self.backing() {
            Back::Mtx(mtx) => mtx.unlock_at(loc),
            Back::Sx(sx) => sx.xunlock_at(loc),
        }
        true
    }

    /// A reader takes the backing lock; it may wait although readers may not sleep.
    fn backing_rlock(&self, try_only: bool, loc: Loc) -> bool {
        match (self.backing(), try_only) {
            (Back::Mtx(mtx), true) => return mtx.trylock_at(0, loc),
            (Back::Mtx(mtx), false) => mtx.lock_at(0, loc),
            (Back::Sx(sx), true) => {
                if !sx.try_xlock_at(loc) {
                    thread::thread_sleeping_ok();
                    return false;
                }
            }
            (Back::Sx(sx), false) => {
                thread::thread_sleeping_ok();
                sx.xlock_at(0, loc);
                thread::thread_no_sleeping();
            }
        }
        true
    }

    /// `rm_runlock()`: by the thread and with the tracker that took it.
    ///
    /// # Panics
    ///
    /// Rows 56 and 61 of the misuse table.
    ///
    /// # Safety
    ///
    /// `tracker` is in use by this thread's [`Rm::rlock`] of this lock; under INVARIANTS it is enough that the thread holds the
    /// lock or none at all.
    #[track_caller]
    #[inline(always)]
    pub unsafe fn runlock(&self, tracker: &PrioTracker) {
        if !self.runlock_alone(tracker) {
            // SAFETY: the caller's promise.
            unsafe { self.runlock_at(tracker, Loc::caller()) };
        }
    }

    /// `_rm_runlock_debug()`: what C calls.
    ///
    /// # Safety
    ///
    /// As for [`Rm::runlock`].
    #[cold]
    #[inline(never)]
    pub unsafe fn runlock_at(&self, tracker: &PrioTracker, loc: Loc) {
        if !cpu::step_at("rm_runlock", self.lock_object.id(), loc) {
            return;
        }
        settle();
        self.check_destroyed("rm_runlock", loc);
        self.assert_at(ra::RLOCKED, loc);
        witness::unlock(&self.lock_object, false, loc);
        if tracker.thread.get().is_null() {
            // A tracker that was never used names no reader; FreeBSD writes to its td_critnest.
            kpanic!("page fault");
        }
        self.runlock_int(tracker);
        self.count(-1);
    }

    /// `_rm_runlock()`.
    #[inline(always)]
    fn runlock_int(&self, tracker: &PrioTracker) {
        let td = curthread();
        // As in `queue_here`: no boundary inside, so td_critnest need not be raised for others to see.
        curcpu().rm_queue.remove(tracker);
        td.pinned.sub(1);
        if self.sleepable() {
            thread::thread_sleeping_ok();
        }
        if td.owepreempt.get() != 0 || tracker.flags.get() != 0 {
            self.runlock_hard(tracker);
        }
    }

    /// `_rm_unlock_hard()`: takes a due preemption, and wakes the writer that waits for this reader.
    #[cold]
    #[inline(never)]
    fn runlock_hard(&self, tracker: &PrioTracker) {
        let td = curthread();
        if td.owepreempt.get() != 0 {
            critical::enter(td);
            critical::exit(td);
        }
        if tracker.flags.get() == 0 || cpu::scheduler_stopped() {
            return;
        }
        let spinlock = &machine().rendezvous.spinlock;
        spinlock.lock();
        self.active_remove(tracker);
        if tracker.flags.get() & RMPF_SIGNAL == 0 {
            spinlock.unlock();
            return;
        }
        turnstile::chain_lock();
        spinlock.unlock();
        turnstile::broadcast(&self.lock_object, turnstile::EXCLUSIVE);
        turnstile::chain_unlock();
    }

    /// `rm_wlock()`: blocks until nobody else holds it.
    ///
    /// # Panics
    ///
    /// Rows 55, 56, 59, 60, 64 and 97 of the misuse table, and mi_switch's if it blocks in a critical section.
    #[track_caller]
    pub fn wlock(&self) {
        self.wlock_at(Loc::caller());
    }

    /// `_rm_wlock_debug()`: what C calls.
    pub fn wlock_at(&self, loc: Loc) {
        if !cpu::step_at("rm_wlock", self.lock_object.id(), loc) {
            return;
        }
        self.check("rm_wlock", loc);
        self.assert_at(ra::UNLOCKED, loc);
        crate::lint::blocking("rm_wlock", &self.lock_object, loc);
        witness::checkorder(&self.lock_object, true, false, None, loc);
        self.wlock_int(loc);
        if cpu::scheduler_stopped() {
            return;
        }
        witness::lock(&self.lock_object, true, loc);
        self.count(1);
    }

    /// `_rm_wlock()`.
    fn wlock_int(&self, loc: Loc) {
        match self.backing() {
            Back::Mtx(mtx) => mtx.lock_at(0, loc),
            Back::Sx(sx) => _ = sx.xlock_at(0, loc),
        }
        let all = Self::all_cpus();
        let gone = self.writecpus[0].read();
        let tokens = all & !gone;
        if tokens == 0 || cpu::scheduler_stopped() {
            return;
        }
        self.writecpus[0].set(all | gone & ASKS);
        let rendezvous = &machine().rendezvous;
        rendezvous.run(Some(self), tokens);
        while !cpu::scheduler_stopped() {
            rendezvous.spinlock.lock();
            let reader = self.active.get();
            if reader.is_null() {
                rendezvous.spinlock.unlock();
                break;
            }
            turnstile::trywait();
            // SAFETY: a listed tracker is alive: its reader needs rm_spinlock to take it off.
            let owner = unsafe {
                (*reader).flags.set(RMPF_ONQUEUE | RMPF_SIGNAL);
                (*reader).thread.get()
            };
            rendezvous.spinlock.unlock();
            turnstile::wait(&self.lock_object, owner, turnstile::EXCLUSIVE);
        }
    }

    /// `rm_wunlock()`.
    ///
    /// # Panics
    ///
    /// Rows 56 and 62 of the misuse table.
    #[track_caller]
    pub fn wunlock(&self) {
        self.wunlock_at(Loc::caller());
    }

    /// `_rm_wunlock_debug()`: what C calls.
    pub fn wunlock_at(&self, loc: Loc) {
        if !cpu::step_at("rm_wunlock", self.lock_object.id(), loc) {
            return;
        }
        self.check_destroyed("rm_wunlock", loc);
        self.assert_at(ra::WLOCKED, loc);
        witness::unlock(&self.lock_object, true, loc);
        match self.backing() {
            Back::Mtx(mtx) => mtx.unlock_at(loc),
            Back::Sx(sx) => sx.xunlock_at(loc),
        }
        self.count(-1);
    }

    /// `rm_assert()`: exact, since readers are known by their trackers.
    ///
    /// # Panics
    ///
    /// Rows 59 to 63 of the misuse table (INVARIANTS).
    #[track_caller]
    pub fn assert(&self, what: u32) {
        self.assert_at(what, Loc::caller());
    }

    /// `_rm_assert()`.
    pub fn assert_at(&self, what: u32, loc: Loc) {
        if !cpu::invariants() {
            return;
        }
        let recursion = what & (ra::RECURSED | ra::NOTRECURSED);
        match what & !(ra::RECURSED | ra::NOTRECURSED) {
            // FreeBSD lists what it knows, and nothing that is both.
            _ if recursion == ra::RECURSED | ra::NOTRECURSED => kpanic!("Unknown rm lock assertion: {what} @ {loc}"),
            ra::LOCKED | ra::RLOCKED => {
                let must_read = what & ra::RLOCKED != 0;
                if self.owns() {
                    if must_read {
                        kpanic!("Lock {} exclusively locked @ {loc}", self.name());
                    }
                    if recursion & ra::RECURSED != 0 {
                        kpanic!("Lock {} not recursed @ {loc}", self.name());
                    }
                    return;
                }
                match self.held() {
                    0 => kpanic!("Lock {} not {}locked @ {loc}", self.name(), if must_read { "read " } else { "" }),
                    1 if recursion & ra::RECURSED != 0 => kpanic!("Lock {} not recursed @ {loc}", self.name()),
                    2.. if recursion & ra::NOTRECURSED != 0 => kpanic!("Lock {} recursed @ {loc}", self.name()),
                    _ => {}
                }
            }
            ra::WLOCKED if recursion == 0 => {
                if !self.owns() {
                    kpanic!("Lock {} not exclusively locked @ {loc}", self.name());
                }
            }
            ra::UNLOCKED if recursion == 0 => {
                if self.owns() {
                    kpanic!("Lock {} exclusively locked @ {loc}", self.name());
                }
                if self.held() != 0 {
                    kpanic!("Lock {} read locked @ {loc}", self.name());
                }
            }
            _ => kpanic!("Unknown rm lock assertion: {what} @ {loc}"),
        }
    }
}

// SAFETY: a lock is made to be shared; see the module for who touches which field.
unsafe impl Sync for Rm {}
// SAFETY: a lock that moves is not held, and belongs to no thread.
unsafe impl Send for Rm {}
