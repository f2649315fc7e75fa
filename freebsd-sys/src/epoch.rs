//! epoch(9): readers that write to their CPU's memory only, and writers that wait until nobody can still see what they removed.
//!
//! # State
//!
//! | of a CPU's record | |
//! |---|---|
//! | `active` 0 | no section of this epoch is open on this CPU |
//! | n | n sections are open, the first of which saw the global count `epoch` |
//! | `buckets` | of a preemptible epoch: open sections by the parity of the count that they saw |
//! | `tdlist` | of a preemptible epoch: the trackers of the open sections, oldest first |
//! | `td` | of another: who is in the section (INVARIANTS) |
//! | `pending` | callbacks by the count, modulo 4, at which they were asked for |
//!
//! # Algorithm
//!
//! Concurrency kit's. A section notes the epoch's global count. Who waits advances the count by two, each time after every open
//! section has seen the present one: then no section is left that was open when the wait began. If none is open at all, that
//! will do. A callback runs when the count has advanced by two since, or when no section is open.
//!
//! `epoch_enter` is a critical section, so its reader runs: who waits for it spins. `epoch_enter_preempt` pins its thread and bans
//! sleeping; the reader may be preempted, and may block on a mutex. Who waits for it moves to the reader's CPU, lends it its
//! priority, joins it on the turnstile that it is blocked on, or yields.
//!
//! Callbacks run in a thread per CPU, which the clock wakes while there are any; it begins with the first callback.
//!
//! # Memory ordering
//!
//! A reader needs no fence when it enters: a CPU takes the waiter's rendezvous at a boundary, never inside a primitive. A section
//! that was begun before it has written its record in the order of that CPU's program, which the acknowledgement publishes; one
//! that begins after it sees what was unlinked before the rendezvous was posted. The end of a section is a release (a store), the
//! waiter's look at the record an acquire. Another waiter may advance the count once on the strength of a look that is older than
//! this one's rendezvous, and no more; hence the third step of the goal, as in Concurrency kit.
//!
//! # Deviations from FreeBSD
//!
//! FreeBSD's readers execute a locked instruction instead of the rendezvous. The trackers are looked at without the thread lock, in a
//! critical section. A waiter that is alone on its CPU spins instead of switching to itself over and over. FreeBSD starts the
//! threads for callbacks at boot, has one task for all epochs of a CPU as here, and looks at each clock interrupt; here the clock is a
//! callout of one tick. An epoch that was freed keeps its memory until the execution ends. The three epochs of the kernel are made
//! when first used. With options EPOCH_TRACE (a machine's option) a thread keeps its list of sections apart from the trackers, which are
//! the same with and without; a report comes once per place in the program, for which FreeBSD has the stack, and no stack is printed.
//!
//! References: kern/subr_epoch.c, sys/epoch.h, ck_epoch.h, epoch(9).

use crate::atomic::{Guarded, Owned32, OwnedPtr, Shared32, thread_fence_acq, thread_fence_rel};
use crate::callout::{Callout, Cf, Handler};
use crate::cpu::{self, curcpu, machine, observe};
use crate::critical;
use crate::giant;
use crate::lock::{ChainLock, Loc};
use crate::module::{Dpcpu, ModuleData};
use crate::mutex::{Mtx, Mtxf};
use crate::panic::{kassert, kpanic, kprintf, mpass};
use crate::sched::{self, pri, sw, swt};
use crate::sleep::{self, How};
use crate::sx::{Sx, Sxf};
use crate::taskqueue::{Task, Taskqueue};
use crate::thread::{self, Thread, curthread, tdf};
use crate::{turnstile, witness};
use bitflags::bitflags;
use core::ffi::{CStr, c_void};
use core::mem::offset_of;

bitflags! {
    /// Flags of [`Epoch::alloc`].
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Epochf: u32 {
        /// `EPOCH_PREEMPT`: its readers may be preempted, and may block on a mutex.
        const PREEMPT = 0x1;
        /// `EPOCH_LOCKED`: one may wait for it with locks held.
        const LOCKED = 0x2;
    }
}

/// `MAX_EPOCHS`.
pub const MAX_EPOCHS: usize = 64;

/// `MAX_ADAPTIVE_SPIN`: looks at another CPU's record before a waiter goes there.
const MAX_ADAPTIVE_SPIN: u32 = 100;

/// `CK_EPOCH_LENGTH`: lists of callbacks.
const LENGTH: usize = 4;
/// `CK_EPOCH_GRACE`: a count that is ahead by so much has seen all sections end.
const GRACE: u32 = 3;

/// What `et_td` is after the section (INVARIANTS).
const DEAD: *mut Thread = core::ptr::without_provenance_mut(0xdead_beef);

/// `struct epoch_tracker`: one section of a preemptible epoch, on its thread's stack.
#[repr(C)]
#[derive(Debug)]
pub struct Tracker {
    /// (k) `et_link`.
    next: OwnedPtr<Tracker>,
    prev: OwnedPtr<Tracker>,
    /// `et_td`.
    td: OwnedPtr<Thread>,
    /// `et_section`: the parity of the count that it saw.
    section: Owned32,
    /// `et_old_priority`, the thread's on entry; 8 bits of it in FreeBSD, whose priorities fit as well.
    old_priority: Owned32,
}

/// `epoch_callback_t`.
pub type Callback = unsafe extern "C-unwind" fn(*mut Context);

/// `struct epoch_context`: room in an object for the callback that frees it.
#[repr(C)]
#[derive(Debug)]
pub struct Context {
    /// (p)
    func: Guarded<Option<Callback>>,
    /// (p) The next one of the same list.
    next: OwnedPtr<Context>,
}

// Locking key: (k) the CPU of the record, outside of interrupts and in a critical section; (p) likewise from epoch_call on, and
// then the thread that runs the callbacks.

const _: () = {
    assert!(size_of::<Tracker>() == 32);
    assert!(offset_of!(Tracker, td) == 16);
    assert!(offset_of!(Tracker, section) == 24);
    assert!(offset_of!(Tracker, old_priority) == 28);
    assert!(size_of::<Context>() == 16);
};

impl Default for Tracker {
    fn default() -> Self {
        Self::new()
    }
}

impl Tracker {
    /// A tracker for [`Epoch::enter_preempt`].
    pub const fn new() -> Self {
        Self {
            next: OwnedPtr::null(),
            prev: OwnedPtr::null(),
            td: OwnedPtr::null(),
            section: Owned32::new(0),
            old_priority: Owned32::new(0),
        }
    }

    fn ptr(&self) -> *mut Self {
        core::ptr::from_ref(self).cast_mut()
    }
}

impl Default for Context {
    fn default() -> Self {
        Self::new()
    }
}

impl Context {
    /// A context for [`Epoch::call`].
    pub const fn new() -> Self {
        Self { func: Guarded::new(None), next: OwnedPtr::null() }
    }
}

/// A section, as options EPOCH_TRACE knows it: `et_epoch`, `et_file`, `et_line` and `et_flags`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Section {
    epoch: *const Epoch,
    tracker: *const Tracker,
    loc: Loc,
    /// `ET_REPORT_EXIT`.
    report_exit: bool,
}

/// `epoch_stacks`: from where reports have come.
#[derive(Debug)]
struct Reported {
    lock: ChainLock,
    /// (lock)
    places: Guarded<Vec<String>>,
}

impl Default for Reported {
    fn default() -> Self {
        Self { lock: ChainLock::new(), places: Guarded::new(Vec::new()) }
    }
}

static REPORTED: ModuleData<Reported> = ModuleData::new();

/// `epoch_trace_report()`: prints, once per place.
fn report(loc: Loc, text: core::fmt::Arguments<'_>) {
    let (reported, place) = (REPORTED.get(), loc.to_string());
    reported.lock.lock();
    // SAFETY: (lock)
    let places = unsafe { reported.places.get() };
    let fresh = !places.contains(&place);
    if fresh {
        places.push(place);
    }
    reported.lock.unlock();
    if fresh {
        kprintf!("{text}");
    }
}

/// `epoch_trace_list()`: prints the sections that `td` is in, the latest first. What asserts that a thread may sleep calls it before
/// it panics. With options EPOCH_TRACE only.
pub fn trace_list(td: &Thread) {
    if cpu::epoch_trace() {
        // SAFETY: (k) `td` is the caller, or it does not run.
        for section in unsafe { td.epochs.get() }.iter().rev() {
            // SAFETY: epochs live as long as the execution.
            kprintf!("Epoch {} entered at {}", unsafe { &*section.epoch }.name(), section.loc);
        }
    }
}

/// `struct ck_epoch_ref`: sections that saw one count.
#[derive(Debug)]
struct Bucket {
    epoch: Owned32,
    count: Owned32,
}

/// `struct epoch_record`: what one CPU knows of an epoch. Two cache lines, as on amd64.
#[derive(Debug)]
#[repr(C, align(128))]
struct Record {
    /// (k) The global count that the oldest open section saw.
    epoch: Owned32,
    /// (k) Open sections.
    active: Owned32,
    /// (k) `er_gen`: sections that have ended.
    generation: Owned32,
    /// (k) Callbacks in `pending`.
    n_pending: Owned32,
    /// (k)
    buckets: [Bucket; 2],
    /// (k) `er_tdlist`.
    head: OwnedPtr<Tracker>,
    tail: OwnedPtr<Tracker>,
    /// (k) `er_td`.
    td: OwnedPtr<Thread>,
    /// (k) Callbacks, latest first.
    pending: [OwnedPtr<Context>; LENGTH],
    /// `er_drain_ctx`.
    drain: Context,
    /// (b) `er_parent`.
    parent: OwnedPtr<Epoch>,
    /// (b) `er_cpuid`.
    cpuid: usize,
}

// (b) before anybody uses the epoch.

impl Record {
    fn new(cpuid: usize) -> Self {
        Self {
            epoch: Owned32::new(0),
            active: Owned32::new(0),
            generation: Owned32::new(0),
            n_pending: Owned32::new(0),
            buckets: [const { Bucket { epoch: Owned32::new(0), count: Owned32::new(0) } }; 2],
            head: OwnedPtr::null(),
            tail: OwnedPtr::null(),
            td: OwnedPtr::null(),
            pending: [const { OwnedPtr::null() }; LENGTH],
            drain: Context::new(),
            parent: OwnedPtr::null(),
            cpuid,
        }
    }

    /// `ck_epoch_begin()`: the first section of a CPU sees the present count.
    #[inline]
    fn begin(&self, global: u32) {
        if self.active.get() == 0 {
            self.epoch.set(global);
        }
        self.active.add(1);
    }

    /// `ck_epoch_addref()`: of a section that does not nest with the others of its CPU.
    #[inline]
    fn add(&self, tracker: &Tracker, global: u32) {
        let at = global & 1;
        let bucket = &self.buckets[at as usize];
        if bucket.count.get() == 0 {
            bucket.epoch.set(global);
        }
        bucket.count.add(1);
        tracker.section.set(at);
        let last = self.tail.get();
        tracker.next.set(core::ptr::null_mut());
        tracker.prev.set(last);
        if last.is_null() {
            self.head.set(tracker.ptr());
        } else {
            // SAFETY: listed trackers are alive: their readers are in their sections.
            unsafe { (*last).next.set(tracker.ptr()) };
        }
        self.tail.set(tracker.ptr());
    }

    /// `ck_epoch_end()`.
    #[inline]
    fn end(&self) {
        // What the reader did comes before the section's end, for whoever finds that it has ended.
        thread_fence_rel();
        self.active.sub(1);
    }

    /// `ck_epoch_delref()`: when the last section of the older count goes, the record has caught up with the newer one.
    #[inline]
    fn remove(&self, tracker: &Tracker) {
        let mine = &self.buckets[tracker.section.get() as usize & 1];
        mine.count.sub(1);
        if mine.count.get() == 0 {
            let other = &self.buckets[tracker.section.get() as usize & 1 ^ 1];
            if other.count.get() > 0 && (mine.epoch.get().wrapping_sub(other.epoch.get()) as i32) < 0 {
                self.epoch.set(other.epoch.get());
            }
        }
        let (next, prev) = (tracker.next.get(), tracker.prev.get());
        // SAFETY: listed trackers are alive, and these are this one's neighbours.
        unsafe {
            if prev.is_null() {
                self.head.set(next);
            } else {
                (*prev).next.set(next);
            }
            if next.is_null() {
                self.tail.set(prev);
            } else {
                (*next).prev.set(prev);
            }
        }
    }

    /// The trackers on the list, oldest first; on the record's CPU, in a critical section.
    fn trackers(&self) -> impl Iterator<Item = &Tracker> {
        // SAFETY: listed trackers are alive, and the list does not change while its CPU looks.
        let deref = |tracker: *mut Tracker| unsafe { tracker.cast_const().as_ref() };
        core::iter::successors(deref(self.head.get()), move |tracker| deref(tracker.next.get()))
    }

    /// Notes that the caller waits for a section of this record.
    fn observe(&self) {
        observe(self.epoch.as_ptr().cast(), 4);
        observe(self.active.as_ptr().cast(), 4);
    }

    /// `ck_epoch_dispatch()`: moves one list of callbacks to `ready`, which ends up latest first as well.
    fn dispatch(&self, list: u32, ready: &mut *mut Context) -> u32 {
        let mut n = 0;
        let list = &self.pending[list as usize % LENGTH];
        let mut next = list.get();
        list.set(core::ptr::null_mut());
        while !next.is_null() {
            // SAFETY: (p) a context stays where it is until its callback has run.
            let context = unsafe { &*next };
            let rest = context.next.get();
            context.next.set(*ready);
            *ready = next;
            next = rest;
            n += 1;
        }
        self.n_pending.sub(n);
        n
    }
}

/// `struct epoch`.
#[derive(Debug)]
pub struct Epoch {
    /// `e_epoch`: the global count; only waiters write to it.
    global: Shared32,
    /// `e_pcpu_record`.
    records: Box<[Record]>,
    in_use: Shared32,
    flags: Epochf,
    drain_sx: Sx,
    drain_mtx: Mtx,
    /// (drain_mtx; decremented without it) `e_drain_count`.
    drain_count: Shared32,
    name: &'static CStr,
}

/// `epoch_array[]`: the epochs of an execution.
struct Table {
    /// `epoch_sx`.
    lock: ChainLock,
    /// (lock) Owns them.
    #[expect(clippy::vec_box, reason = "epochs are referred to while the table grows")]
    owned: Guarded<Vec<Box<Epoch>>>,
    /// The epochs in use, by slot; looked at without the lock.
    slots: [OwnedPtr<Epoch>; MAX_EPOCHS],
    /// `global_epoch`, `global_epoch_preempt`, `net_epoch_preempt`.
    known: [OwnedPtr<Epoch>; 3],
}

impl Default for Table {
    fn default() -> Self {
        Self {
            lock: ChainLock::new(),
            owned: Guarded::new(Vec::new()),
            slots: [const { OwnedPtr::null() }; MAX_EPOCHS],
            known: [const { OwnedPtr::null() }; 3],
        }
    }
}

static TABLE: ModuleData<Table> = ModuleData::new();

impl Table {
    /// An epoch that the kernel has from the start.
    fn known(&'static self, at: usize) -> &'static Epoch {
        let known = self.known[at].get();
        // SAFETY: epochs live as long as the execution.
        if let Some(epoch) = unsafe { known.as_ref() } {
            return epoch;
        }
        self.make(at)
    }

    #[cold]
    fn make(&'static self, at: usize) -> &'static Epoch {
        let (name, flags) = [
            (c"Global", Epochf::empty()),
            (c"Global preemptible", Epochf::PREEMPT),
            (c"Net preemptible", Epochf::PREEMPT),
        ][at];
        let made = self.add(name, flags).expect("the kernel's own epochs come first");
        self.lock.lock();
        let known = &self.known[at];
        let lost = !known.get().is_null();
        if !lost {
            known.set(core::ptr::from_ref(made).cast_mut());
        }
        self.lock.unlock();
        if lost {
            // Another CPU was faster; nobody has seen this one.
            self.remove(made);
        }
        self.known(at)
    }

    fn add(&'static self, name: &'static CStr, flags: Epochf) -> Option<&'static Epoch> {
        let epoch = Box::new(Epoch {
            global: Shared32::new(1),
            records: (0..cpu::mp_ncpus()).map(Record::new).collect(),
            in_use: Shared32::new(0),
            flags,
            drain_sx: Sx::zeroed(),
            drain_mtx: Mtx::zeroed(),
            drain_count: Shared32::new(0),
            name,
        });
        epoch.drain_sx.init(c"epoch-drain-sx", Sxf::empty());
        epoch.drain_mtx.init(c"epoch-drain-mtx", Mtxf::DEF);
        let at = &raw const *epoch;
        epoch.records.iter().for_each(|record| record.parent.set(at.cast_mut()));
        self.lock.lock();
        let free = self.slots.iter().find(|slot| slot.get().is_null());
        if let Some(slot) = free {
            // Last, since from here on the callbacks' threads look.
            epoch.in_use.set(1);
            // SAFETY: (lock). The box does not move when the table grows, and stays until the execution is over, as
            // `ModuleData`'s own references do.
            unsafe { self.owned.get() }.push(epoch);
            slot.set(at.cast_mut());
        }
        self.lock.unlock();
        // SAFETY: as above.
        free.map(|_| unsafe { &*at })
    }

    fn remove(&self, epoch: &Epoch) {
        epoch.in_use.set(0);
        self.lock.lock();
        if let Some(slot) = self.slots.iter().find(|slot| core::ptr::eq(slot.get(), epoch)) {
            slot.set(core::ptr::null_mut());
        }
        self.lock.unlock();
    }
}

/// `global_epoch`.
pub fn global_epoch() -> &'static Epoch {
    TABLE.get().known(0)
}

/// `global_epoch_preempt`.
pub fn global_epoch_preempt() -> &'static Epoch {
    TABLE.get().known(1)
}

/// `net_epoch_preempt`: the network stack's.
pub fn net_epoch_preempt() -> &'static Epoch {
    TABLE.get().known(2)
}

/// What a wait on other CPUs takes away from its thread, to give it back.
struct Binding {
    cpu: usize,
    bound: u32,
    pinned: i32,
}

impl Binding {
    /// Binds the caller to the CPU that it is on, whatever it was before.
    fn take(td: &Thread) -> Self {
        sched::thread_lock(td);
        let saved = Self { cpu: curcpu().cpuid, bound: td.flags.get() & tdf::BOUND, pinned: sched::pins() };
        td.flags.or(tdf::BOUND);
        td.tscpu.set(saved.cpu as i32);
        td.pinned.set(1);
        sched::thread_unlock(td);
        saved
    }

    /// Back to where it was, if it was not free to be anywhere.
    fn restore(self, td: &Thread) {
        if self.pinned != 0 {
            go_to(self.cpu);
        }
        sched::thread_lock(td);
        if self.bound == 0 {
            td.flags.clear(tdf::BOUND);
        }
        td.pinned.set(self.pinned);
        sched::thread_unlock(td);
    }
}

/// `sched_bind()` of a thread that is bound already.
fn go_to(cpu: usize) {
    if curcpu().cpuid != cpu {
        sched::sched_bind(cpu);
    }
}

impl Epoch {
    /// `epoch_alloc()`: an epoch, until [`Epoch::free`]. None if there are [`MAX_EPOCHS`]. Takes locks' memory only: may be called
    /// anywhere.
    pub fn alloc(name: &'static CStr, flags: Epochf) -> Option<&'static Self> {
        if cpu::step("epoch_alloc", 0) { TABLE.get().add(name, flags) } else { Some(global_epoch()) }
    }

    /// `epoch_free()`: waits for its callbacks. Nobody may use it any more. May sleep.
    ///
    /// # Panics
    ///
    /// MPASS `epoch->e_in_use != 0`, `er->er_td == NULL` and `TAILQ_EMPTY(&er->er_tdlist)` (INVARIANTS).
    #[track_caller]
    pub fn free(&self) {
        let loc = Loc::caller();
        mpass!(self.in_use.get() != 0, "epoch->e_in_use != 0", loc);
        self.drain_callbacks();
        TABLE.get().remove(self);
        global_epoch().wait();
        if cpu::scheduler_stopped() {
            return;
        }
        for record in &self.records {
            mpass!(record.td.get().is_null(), "er->er_td == NULL", loc);
            mpass!(record.head.get().is_null(), "TAILQ_EMPTY(&er->er_tdlist)", loc);
        }
        self.drain_mtx.destroy();
        self.drain_sx.destroy();
    }

    /// `e_name`.
    pub fn name(&self) -> &'static str {
        self.name.to_str().unwrap_or("(not text)")
    }

    fn is_preempt(&self) -> bool {
        self.flags.contains(Epochf::PREEMPT)
    }

    /// `epoch_currecord()`: stays this CPU's as long as the caller cannot migrate.
    #[inline]
    fn currecord(&self) -> &Record {
        &self.records[curcpu().cpuid]
    }

    /// `epoch_enter()`: a section, in a critical section, until [`Epoch::exit`].
    ///
    /// # Panics
    ///
    /// MPASS `er->er_td == NULL` or `er->er_td == curthread`: the CPU is in another thread's section, which left its critical
    /// section (INVARIANTS).
    #[track_caller]
    #[inline]
    pub fn enter(&self) {
        if cpu::word() == 0 {
            critical::enter(curthread());
            self.currecord().begin(self.global.get());
        } else {
            self.enter_at(Loc::caller());
        }
    }

    /// [`Epoch::enter`] on behalf of code at `loc`.
    #[cold]
    #[inline(never)]
    pub fn enter_at(&self, loc: Loc) {
        if !cpu::step_at("epoch_enter", 0, loc) {
            return;
        }
        let td = curthread();
        critical::enter(td);
        let record = self.currecord();
        if cpu::invariants() {
            if record.active.get() == 0 {
                mpass!(record.td.get().is_null(), "er->er_td == NULL", loc);
                record.td.set(td.ptr());
            } else {
                mpass!(core::ptr::eq(record.td.get(), td), "er->er_td == curthread", loc);
            }
        }
        record.begin(self.global.get());
    }

    /// `epoch_exit()`.
    ///
    /// # Panics
    ///
    /// MPASS `er->er_td == curthread`, and `critical_exit: td_critnest == 0` (INVARIANTS).
    #[track_caller]
    #[inline]
    pub fn exit(&self) {
        if cpu::word() == 0 {
            self.currecord().end();
            critical::exit(curthread());
        } else {
            self.exit_at(Loc::caller());
        }
    }

    /// [`Epoch::exit`] on behalf of code at `loc`.
    #[cold]
    #[inline(never)]
    pub fn exit_at(&self, loc: Loc) {
        if !cpu::step_at("epoch_exit", 0, loc) {
            return;
        }
        let (td, record) = (curthread(), self.currecord());
        record.end();
        mpass!(core::ptr::eq(record.td.get(), td), "er->er_td == curthread", loc);
        if record.active.get() == 0 {
            record.td.set(core::ptr::null_mut());
        }
        critical::exit(td);
    }

    /// Runs `body` in a section of a preemptible epoch.
    #[track_caller]
    pub fn section<R>(&self, body: impl FnOnce() -> R) -> R {
        let loc = Loc::caller();
        let tracker = Tracker::new();
        // SAFETY: the tracker stays here until the section is over; when the machine stops in between, the body unwinds and nobody
        // walks the record's list any more.
        unsafe {
            self.enter_preempt_at(&tracker, loc);
            let result = body();
            self.exit_preempt_at(&tracker, loc);
            result
        }
    }

    /// `epoch_enter_preempt()`: a section until [`Epoch::exit_preempt`] with the same tracker. The thread is pinned and may not
    /// sleep meanwhile; it may be preempted and block on a mutex.
    ///
    /// # Panics
    ///
    /// Row 118 of the misuse table (INVARIANTS).
    ///
    /// # Safety
    ///
    /// `tracker` is not in use, and stays where it is until this thread's [`Epoch::exit_preempt`] with it.
    #[track_caller]
    #[inline]
    pub unsafe fn enter_preempt(&self, tracker: &Tracker) {
        if cpu::word() == 0 {
            self.enter_preempt_int(curthread(), tracker);
        } else {
            // SAFETY: the caller's promise.
            unsafe { self.enter_preempt_at(tracker, Loc::caller()) };
        }
    }

    /// [`Epoch::enter_preempt`] on behalf of code at `loc`.
    ///
    /// # Safety
    ///
    /// As for [`Epoch::enter_preempt`].
    #[cold]
    #[inline(never)]
    pub unsafe fn enter_preempt_at(&self, tracker: &Tracker, loc: Loc) {
        if !cpu::step_at("epoch_enter_preempt", 0, loc) {
            return;
        }
        mpass!(
            thread::kstack_contains(tracker.ptr() as usize, size_of::<Tracker>()),
            "kstack_contains(td, (vm_offset_t)et, sizeof(*et))",
            loc
        );
        mpass!(self.is_preempt(), "epoch->e_flags & EPOCH_PREEMPT", loc);
        if cpu::epoch_trace() {
            self.trace_enter(tracker, loc);
        }
        let record = self.enter_preempt_int(curthread(), tracker);
        mpass!(record.td.get().is_null(), "er->er_td == NULL", loc);
    }

    #[inline]
    fn enter_preempt_int(&self, td: &Thread, tracker: &Tracker) -> &Record {
        tracker.td.set(td.ptr());
        td.no_sleeping.add(1);
        critical::enter(td);
        td.pinned.add(1);
        tracker.old_priority.set(td.priority.get());
        let (record, global) = (self.currecord(), self.global.get());
        record.begin(global);
        record.add(tracker, global);
        critical::exit(td);
        record
    }

    /// `epoch_exit_preempt()`: by the thread and with the tracker that entered.
    ///
    /// # Panics
    ///
    /// Row 118 of the misuse table; `curthread->td_pinned > 0` (INVARIANTS).
    ///
    /// # Safety
    ///
    /// `tracker` is in use by this thread's [`Epoch::enter_preempt`] of this epoch, or has been in use.
    #[track_caller]
    #[inline]
    pub unsafe fn exit_preempt(&self, tracker: &Tracker) {
        if cpu::word() == 0 {
            let td = curthread();
            critical::enter(td);
            self.exit_preempt_int(td, tracker);
        } else {
            // SAFETY: the caller's promise.
            unsafe { self.exit_preempt_at(tracker, Loc::caller()) };
        }
    }

    /// [`Epoch::exit_preempt`] on behalf of code at `loc`.
    ///
    /// # Safety
    ///
    /// As for [`Epoch::exit_preempt`].
    #[cold]
    #[inline(never)]
    pub unsafe fn exit_preempt_at(&self, tracker: &Tracker, loc: Loc) {
        if !cpu::step_at("epoch_exit_preempt", 0, loc) {
            return;
        }
        let td = curthread();
        critical::enter(td);
        mpass!(sched::pins() > 0, "curthread->td_pinned > 0", loc);
        mpass!(self.is_preempt(), "epoch->e_flags & EPOCH_PREEMPT", loc);
        mpass!(core::ptr::eq(tracker.td.get(), td), "et->et_td == td", loc);
        if cpu::invariants() {
            tracker.td.set(DEAD);
        }
        mpass!(self.currecord().td.get().is_null(), "er->er_td == NULL", loc);
        self.exit_preempt_int(td, tracker);
        if cpu::epoch_trace() {
            self.trace_exit(tracker, loc);
        }
    }

    /// `epoch_trace_enter()`.
    fn trace_enter(&self, tracker: &Tracker, loc: Loc) {
        // SAFETY: (k) the running thread's own, and no boundary lies within.
        let sections = unsafe { curthread().epochs.get() };
        for section in sections.iter().rev().filter(|section| core::ptr::eq(section.epoch, self)) {
            let (name, earlier) = (self.name(), section.loc);
            report(loc, format_args!("Recursively entering epoch {name} at {loc}, previously entered at {earlier}"));
        }
        sections.push(Section { epoch: self, tracker, loc, report_exit: false });
    }

    /// `epoch_trace_exit()`.
    fn trace_exit(&self, tracker: &Tracker, loc: Loc) {
        let td = curthread();
        // SAFETY: (k) the running thread's own, and no boundary lies within.
        let sections = unsafe { td.epochs.get() };
        let Some(at) = sections.iter().rposition(|section| core::ptr::eq(section.tracker, tracker)) else {
            // SLIST_REMOVE() follows the list to its end, and beyond.
            kpanic!("page fault");
        };
        if at + 1 != sections.len() {
            let latest = sections[sections.len() - 1];
            // SAFETY: epochs live as long as the execution.
            let (name, entered) = (self.name(), unsafe { &*latest.epoch }.name());
            report(
                loc,
                format_args!(
                    "Exiting epoch {name} in a not nested order at {loc}. Most recently entered {entered} at {}",
                    latest.loc
                ),
            );
        }
        if sections.remove(at).report_exit {
            kprintf!("Td {:p} exiting epoch {} at {loc}", td.ptr(), self.name());
        }
    }

    /// `epoch_where_report()`: says on the console where the caller entered its latest section of this preemptible epoch, and later where
    /// it leaves it. With options EPOCH_TRACE only.
    ///
    /// # Panics
    ///
    /// MPASS `(epoch->e_flags & EPOCH_PREEMPT) != 0` and `!THREAD_CAN_SLEEP()` (INVARIANTS).
    #[track_caller]
    pub fn where_report(&self) {
        if !cpu::epoch_trace() || !cpu::step("epoch_where_report", 0) {
            return;
        }
        mpass!(self.is_preempt(), "(epoch->e_flags & EPOCH_PREEMPT) != 0", Loc::caller());
        let td = curthread();
        mpass!(td.no_sleeping.get() != 0, "!THREAD_CAN_SLEEP()", Loc::caller());
        // SAFETY: (k) the running thread's own, and no boundary lies within.
        let mut sections = unsafe { td.epochs.get() }.iter_mut();
        if let Some(section) = sections.find(|section| core::ptr::eq(section.epoch, self)) {
            section.report_exit = true;
            kprintf!("Td {:p} entered epoch {} at {}", td.ptr(), self.name(), section.loc);
        }
    }

    /// The rest, in a critical section, which it ends.
    #[inline]
    fn exit_preempt_int(&self, td: &Thread, tracker: &Tracker) {
        let record = self.currecord();
        td.pinned.sub(1);
        td.no_sleeping.sub(1);
        record.end();
        record.remove(tracker);
        record.generation.add(1);
        if tracker.old_priority.get() != td.priority.get() {
            sched::sched_prio(td, tracker.old_priority.get());
        }
        critical::exit(td);
    }

    /// `in_epoch()`: whether the caller is in a section.
    ///
    /// # Panics
    ///
    /// Row 117 of the misuse table: it left, or left and entered again, the critical section of its [`Epoch::enter`]; MPASS
    /// `er->er_td == td` (INVARIANTS).
    #[track_caller]
    pub fn in_epoch(&self) -> bool {
        let td = curthread();
        if self.is_preempt() {
            if td.no_sleeping.get() == 0 {
                return false;
            }
            critical::enter(td);
            let found = self.currecord().trackers().any(|tracker| core::ptr::eq(tracker.td.get(), td));
            critical::exit(td);
            return found;
        }
        if td.critnest.get() == 0 || self.currecord().active.get() == 0 {
            self.assert_nocpu(td);
            return false;
        }
        mpass!(core::ptr::eq(self.currecord().td.get(), td), "er->er_td == td", Loc::caller());
        true
    }

    /// `epoch_assert_nocpu()`.
    fn assert_nocpu(&self, td: &Thread) {
        let how = if td.critnest.get() > 0 { "exited" } else { "re-entered" };
        for record in &self.records {
            kassert!(
                !core::ptr::eq(record.td.get(), td),
                "{how} critical section in epoch '{}', from cpu {}",
                self.name(),
                record.cpuid
            );
        }
    }

    /// `ck_epoch_scan()`: the first record with a section that has not seen `count`, and whether any section is open. Latest
    /// registered first.
    fn scan(&self, count: u32) -> (Option<&Record>, bool) {
        let mut any = false;
        for record in self.records.iter().rev() {
            let active = record.active.get() != 0;
            // Pairs with the release in `Record::end`.
            thread_fence_acq();
            any |= active;
            if active && record.epoch.get() != count {
                return (Some(record), any);
            }
        }
        (None, any)
    }

    /// `ck_epoch_synchronize_wait()`: `block` waits for a section of a record. False: the machine has stopped.
    fn synchronize(&self, block: impl Fn(&Record) -> bool) -> bool {
        machine().rendezvous.barrier();
        let begun = self.global.get();
        let goal = begun.wrapping_add(GRACE);
        let mut count = begun;
        for _ in 0..GRACE - 1 {
            let any = loop {
                let (behind, any) = self.scan(count);
                let Some(record) = behind else { break any };
                let seen = self.global.get();
                if seen != count {
                    count = seen;
                    // Somebody else advanced it, perhaps far enough.
                    if goal.wrapping_sub(count) as i32 <= 0 {
                        return true;
                    }
                }
                observe(self.global.as_ptr().cast(), 4);
                if !block(record) {
                    return false;
                }
            };
            if !any {
                break;
            }
            count = match self.global.fcmpset(count, count.wrapping_add(1)) {
                Ok(()) => count.wrapping_add(1),
                Err(seen) => seen,
            };
        }
        thread_fence_acq();
        true
    }

    /// `epoch_wait()`: spins until no section is left that is open now. Of an epoch without flags.
    ///
    /// # Panics
    ///
    /// MPASS `epoch->e_flags == 0` (INVARIANTS).
    #[track_caller]
    pub fn wait(&self) {
        let loc = Loc::caller();
        if !cpu::step_at("epoch_wait", 0, loc) {
            return;
        }
        mpass!(self.flags.is_empty(), "epoch->e_flags == 0", loc);
        let td = curthread();
        critical::enter(td);
        if self.synchronize(|record| {
            record.observe();
            cpu::spinwait()
        }) {
            critical::exit(td);
        }
    }

    /// `epoch_wait_preempt()`: waits until no section is left that is open now. Moves from CPU to CPU, may block on what a reader is
    /// blocked on. Prints `epoch_wait() can be long running with the following non-sleepable locks held:` under WITNESS.
    ///
    /// # Panics
    ///
    /// Rows 115 and 116 of the misuse table; MPASS `epoch->e_flags & EPOCH_PREEMPT`; mi_switch's in a critical section.
    #[track_caller]
    pub fn wait_preempt(&self) {
        let loc = Loc::caller();
        if !cpu::step_at("epoch_wait_preempt", 0, loc) {
            return;
        }
        let td = curthread();
        let locks = td.locks.get();
        if cpu::invariants() {
            mpass!(self.is_preempt(), "epoch->e_flags & EPOCH_PREEMPT", loc);
            if !self.flags.contains(Epochf::LOCKED) {
                witness::warn(None, loc, "epoch_wait() can be long running");
            }
            kassert!(
                !self.in_epoch(),
                "epoch_wait_preempt() called in the middle of an epoch section of the same epoch"
            );
        }
        let dropped = giant::drop_giant(loc);
        let priority = td.priority.get();
        let binding = Binding::take(td);
        if !self.synchronize(block_preempt) || cpu::scheduler_stopped() {
            return;
        }
        binding.restore(td);
        // In any case: a priority that the caller was lent is its own from now on.
        sched::sched_prio(td, priority);
        dropped.pickup(loc);
        kassert!(td.locks.get() == locks, "{} residual locks held", td.locks.get() - locks);
    }

    /// `epoch_call()`: calls `callback` with `context` in a thread of this CPU, when no section is left that is open now. Never
    /// blocks; not from an interrupt filter.
    ///
    /// # Safety
    ///
    /// `context` is in no other epoch_call, and stays where it is until the callback, which may be called with it from another thread.
    pub unsafe fn call(&self, callback: Callback, context: *const Context) {
        if cpu::step("epoch_call", 0) {
            // SAFETY: the caller's promise.
            unsafe { self.call_int(callback, context) };
        }
    }

    /// # Safety
    ///
    /// As for [`Epoch::call`].
    unsafe fn call_int(&self, callback: Callback, context: *const Context) {
        let td = curthread();
        critical::enter(td);
        let record = self.currecord();
        // SAFETY: (p) the context is the caller's until it is on the list.
        unsafe {
            *(*context).func.get() = Some(callback);
            let list = &record.pending[self.global.get() as usize % LENGTH];
            (*context).next.set(list.get());
            list.set(context.cast_mut());
        }
        record.n_pending.add(1);
        let calls = CALLS.get();
        calls.count.add(1);
        calls.arm(record.cpuid);
        critical::exit(td);
    }

    /// `epoch_drain_callbacks()`: sleeps until the callbacks that are pending now have run. Prints `epoch_drain_callbacks() may sleep!
    /// with the following non-sleepable locks held:` under WITNESS.
    #[track_caller]
    pub fn drain_callbacks(&self) {
        let loc = Loc::caller();
        if !cpu::step_at("epoch_drain_callbacks", 0, loc) {
            return;
        }
        witness::warn(None, loc, "epoch_drain_callbacks() may sleep!");
        let dropped = giant::drop_giant(loc);
        self.drain_sx.xlock_at(0, loc);
        self.drain_mtx.lock_at(0, loc);
        let td = curthread();
        let binding = Binding::take(td);
        self.drain_count.set(self.records.len() as u32);
        for record in &self.records {
            go_to(record.cpuid);
            if cpu::scheduler_stopped() {
                return;
            }
            // SAFETY: the record lives as long as the execution, and the sx lock is held until its callback has run.
            unsafe { self.call_int(drain_callback, &raw const record.drain) };
        }
        binding.restore(td);
        while self.drain_count.get() != 0 && !cpu::scheduler_stopped() {
            sleep::sleep(self.drain_wchan(), Some(self.drain_mtx.object()), How::default(), "EDRAIN");
        }
        self.drain_mtx.unlock_at(loc);
        self.drain_sx.xunlock_at(loc);
        dropped.pickup(loc);
    }

    fn drain_wchan(&self) -> usize {
        core::ptr::from_ref(self) as usize
    }
}

/// `epoch_drain_cb()`.
unsafe extern "C-unwind" fn drain_callback(context: *mut Context) {
    // SAFETY: only called with the `drain` of a record, which lives as long as the execution, like its epoch.
    let epoch = unsafe { &*(*context.byte_sub(offset_of!(Record, drain)).cast::<Record>()).parent.get() };
    if epoch.drain_count.fetchadd(u32::MAX) == 1 {
        epoch.drain_mtx.lock();
        sleep::wakeup(epoch.drain_wchan());
        epoch.drain_mtx.unlock();
    }
}

/// `epoch_block_handler_preempt()`: one step of waiting for the sections of a record. False: the machine has stopped.
fn block_preempt(record: &Record) -> bool {
    let td = curthread();
    if record.head.get().is_null() {
        // They have ended, or are those of epoch_enter, whose end can only be watched.
        record.observe();
        return record.active.get() == 0 || cpu::spinwait();
    }
    if record.cpuid != curcpu().cpuid {
        let generation = record.generation.get();
        for _ in 0..cpu::bounded_spin(MAX_ADAPTIVE_SPIN) {
            if !cpu::spinwait() {
                return false;
            }
            if record.head.get().is_null() || record.generation.get() != generation {
                return true;
            }
        }
        sched::sched_bind(record.cpuid);
        return !cpu::scheduler_stopped();
    }
    // The readers' CPU: none of them runs, and none can begin or end in the critical section.
    let locks = td.locks.get();
    critical::enter(td);
    for tracker in record.trackers() {
        // SAFETY: threads are type-stable.
        let reader = unsafe { &*tracker.td.get() };
        let blocked = reader.state() == thread::State::Inhibited;
        if !blocked && reader.priority.get() > td.priority.get() {
            sched::sched_prio(reader, td.priority.get());
        }
        if blocked && reader.is_on_lock() {
            if turnstile::wait_with(reader) {
                return !cpu::scheduler_stopped();
            }
            kassert!(td.locks.get() == locks, "{} extra locks held", td.locks.get() - locks);
        }
    }
    record.observe();
    sched::thread_lock(td);
    critical::exit(td);
    // SAFETY: (t) the scheduler's lock is held; threads are type-stable.
    let best = unsafe { curcpu().runq.get().first().map(|&other| (*other).priority.get()) };
    if best.is_some_and(|best| best <= td.priority.get()) {
        sched::mi_switch(sw::VOL | swt::RELINQUISH);
        !cpu::scheduler_stopped()
    } else {
        sched::thread_unlock(td);
        cpu::spinwait()
    }
}

/// `epoch_cb_count` and `epoch_cb_task` of a CPU.
#[derive(Debug)]
struct Calls {
    /// (k) Callbacks of all epochs that wait on this CPU.
    count: Owned32,
    /// (k) The clock is to look at them.
    armed: Owned32,
    clock: Callout,
    task: Task,
    /// (k) The queue whose thread runs them, once there was one.
    queue: OwnedPtr<Taskqueue>,
}

static CALLS: Dpcpu<Calls> = Dpcpu::new();

impl Default for Calls {
    fn default() -> Self {
        Self {
            count: Owned32::new(0),
            armed: Owned32::new(0),
            clock: Callout::new(),
            task: Task::new(),
            queue: OwnedPtr::null(),
        }
    }
}

impl Calls {
    /// Has the next clock interrupt look at the callbacks. On their CPU, in a critical section.
    fn arm(&'static self, cpu: usize) {
        if self.queue.get().is_null() {
            let queue = Taskqueue::create_fast(c"softirq");
            queue.start_threads_on(1, pri::PI_SOFT, Some(cpu));
            self.task.init(0, std::sync::Arc::new(move |_| call_task(cpu)));
            self.queue.set(core::ptr::from_ref(queue).cast_mut());
        }
        if self.armed.get() == 0 {
            self.armed.set(1);
            let tick = Handler::Func(tick, core::ptr::without_provenance_mut(cpu));
            self.clock.reset(1, tick, Some(cpu), Cf::DIRECT_EXEC);
        }
    }
}

/// What hardclock() does about callbacks, in the clock interrupt of their CPU.
unsafe extern "C-unwind" fn tick(cpu: *mut c_void) {
    let calls = CALLS.of(cpu.addr());
    calls.armed.set(0);
    // SAFETY: the queue was made before the callout was set, and like the task it lives as long as the execution.
    unsafe { (*calls.queue.get()).enqueue(&calls.task) };
}

/// `epoch_call_task()`: runs the callbacks of `cpu` whose time has come.
fn call_task(cpu: usize) {
    if curthread().flags.get() & tdf::BOUND == 0 {
        sched::sched_bind(cpu);
    }
    let td = curthread();
    critical::enter(td);
    // Once for all epochs: whatever is on the lists now was unlinked before.
    machine().rendezvous.barrier();
    let mut ready = core::ptr::null_mut();
    let mut total = 0;
    for slot in &TABLE.get().slots {
        // SAFETY: epochs live as long as the execution.
        if let Some(epoch) = unsafe { slot.get().as_ref() }
            && epoch.in_use.get() != 0
        {
            total += epoch.poll(&epoch.records[cpu], &mut ready);
        }
    }
    let calls = CALLS.get();
    calls.count.sub(total);
    if calls.count.get() != 0 {
        calls.arm(cpu);
    }
    critical::exit(td);
    while let Some(context) = core::ptr::NonNull::new(ready) {
        // SAFETY: (p) off its list, a context is this thread's until its callback, which may free it.
        let callback = unsafe {
            ready = context.as_ref().next.get();
            (*context.as_ref().func.get()).take()
        };
        if let Some(callback) = callback {
            // SAFETY: who called epoch_call vouched for both.
            unsafe { callback(context.as_ptr()) };
        }
    }
}

impl Epoch {
    /// `ck_epoch_poll_deferred()`: the callbacks of `record` that no open section can mind.
    fn poll(&self, record: &Record, ready: &mut *mut Context) -> u32 {
        if record.n_pending.get() == 0 {
            return 0;
        }
        let count = self.global.get();
        let before = record.dispatch(count.wrapping_sub(2), ready);
        match self.scan(count) {
            (Some(_), _) => before,
            (None, false) => before + (0..LENGTH as u32).map(|list| record.dispatch(list, ready)).sum::<u32>(),
            (None, true) => {
                // If another CPU was faster, the count is ahead all the same.
                _ = self.global.fcmpset(count, count.wrapping_add(1));
                before + record.dispatch(count.wrapping_sub(1), ready)
            }
        }
    }
}

// SAFETY: an epoch is made to be shared; see the module for who touches which field.
unsafe impl Sync for Epoch {}
