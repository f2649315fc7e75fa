//! linux/rcupdate.h: LinuxKPI's preemptible RCU.
//!
//! A reader is pinned and may be preempted, block and sleep. An updater that removed something calls [`synchronize_rcu`], which
//! returns when every reader that may have seen it has left, or [`call_rcu`], whose callback runs after that.
//!
//! # State
//!
//! A thread's word (`td.lkpi_rcu`) says how deep it is in read sections and in which *phase* the outermost one began; `index` is the
//! word of those that begin now. A section stores that word when it begins and when it ends, and nothing that another thread writes.
//!
//! The usual section is gone before anybody looks. Its word has [`RCU_SHORT`] and stands for its pin, which `td_pinned` lacks until
//! somebody asks for that or the thread leaves its CPU: [`freebsd_sys::sched::settle`] adds it and takes the bit, and the section ends
//! the long way.
//!
//! # Algorithm
//!
//! `synchronize_rcu`, twice: turn `index` over, and wait for each task that is in a section of the old phase.
//!
//! *It waits long enough.* Let a reader have found the removed pointer. It stored its word before it looked (fence R), and the
//! updater read all words, for both phases, after it removed the pointer (fence U). If an updater's read missed the word, R comes
//! after U in the order of fences, so the reader looked after the removal: a contradiction. So the updater saw the word
//! and waited until this section was over (fence L: what was done inside happened before). Which phase it began in does not matter,
//! since both are waited for; a reader that was about to begin in the old phase when `index` turned is covered too. A thread
//! that the updater's walk misses was made after U by somebody, and reads after that.
//!
//! *It does not wait for ever* when new sections keep coming: they begin in the other phase. A task can have read `index` before it
//! turned and begin in the old phase after at most once.
//!
//! *The updater pays.* R and L are light fences, U and W heavy ones ([`cpu::fence_heavy`]): the updater makes every CPU fence, and a
//! reader costs two plain stores, of its word. An updater that finds nobody after U has nothing to announce and needs
//! no W.
//!
//! *No wake-up is lost.* A leaving reader clears its word and then (fence L) reads its task's `rcu_awaited`; the updater sets that
//! and then (fence W) reads the word, and holds the sleep queue's lock from there until it is on the queue; the reader needs the same
//! lock to wake it. The wait is a sleep, so one without end (a reader that waits for its own updater) is a visible deadlock.
//!
//! # Deviations
//!
//! From LinuxKPI: it walks ck_epoch records and the readers on them, moving itself from CPU to CPU at the best priority; a walk over
//! all threads and a sleep take the place of that and of its pause("W"). All SRCU domains sharing one epoch is not emulated. From
//! Linux: a read section may sleep, and nothing says so; inside it the thread is pinned.
//!
//! References: sys/compat/linuxkpi/common/src/linux_rcu.c; Documentation/RCU/whatisRCU.rst.

use crate::Loc;
use crate::irq_work;
use crate::llist::{LlistHead, LlistNode, llist_reverse_order};
use crate::once::Once;
use crate::sched::of;
use core::ffi::{c_int, c_void};
use core::fmt;
use core::marker::PhantomData;
use freebsd_sys::atomic::{OwnedPtr, OwnedUsize, thread_fence_acq, thread_fence_rel};
use freebsd_sys::cpu;
use freebsd_sys::module::ModuleData;
use freebsd_sys::panic::kassert_args;
use freebsd_sys::sched::{self, sched_pin, sched_unpin};
use freebsd_sys::sleepqueue::{self, Type};
use freebsd_sys::thread::{RCU_DEPTH, RCU_SHORT, Thread, curthread, foreach_thread_in_proc};
use freebsd_sys::{taskqueue, witness};

/// `LINUX_KFREE_RCU_OFFSET_MAX`: a callback below it is the head's offset in a block to free.
const KFREE_RCU_OFFSET_MAX: usize = 4096;

/// Of a thread's word, the phase in which the outermost section began.
const PHASE: usize = 1 << 32;

/// The word of a section that goes the short way and is the only one, but for its phase: the lower half, so that a comparison needs
/// no mask.
const ALONE: u32 = (RCU_SHORT | 1) as u32;

const _: () = assert!((RCU_SHORT | RCU_DEPTH) as u32 == u32::MAX && PHASE > u32::MAX as usize);

/// The RCU state of a machine.
#[derive(Debug)]
struct Rcu {
    /// The word of a section that begins now the short way: depth 1 and its phase. Written by the updater that is `busy`.
    index: OwnedUsize,
    /// (sleep queue) An updater is at work; others wait for it.
    busy: OwnedUsize,
    once: Once,
    callbacks: LlistHead,
    task: taskqueue::Task,
}

impl Default for Rcu {
    fn default() -> Self {
        Self {
            index: OwnedUsize::new(ALONE as usize),
            busy: OwnedUsize::new(0),
            once: Once::default(),
            callbacks: LlistHead::new(),
            task: taskqueue::Task::new(),
        }
    }
}

static RCU: ModuleData<Rcu> = ModuleData::new();

/// What a thread does that has left all sections the long way: if readers need no fences, the next one goes the short way.
fn remember(td: &'static Thread, rcu: &'static Rcu) {
    if cpu::fences_are_light() {
        of(td).rcu.set(core::ptr::from_ref(rcu) as usize);
        td.lkpi_rcu.set(RCU_SHORT);
    }
}

/// What [`remember`] made the thread remember.
///
/// # Safety
///
/// The thread's word has [`RCU_SHORT`].
#[inline(always)]
unsafe fn remembered(td: &'static Thread) -> &'static Rcu {
    // SAFETY: the bit comes with the address of module data, which stays where it is for the execution; a task is zeroed with its thread.
    unsafe { &*(of(td).rcu.get() as *const Rcu) }
}

impl Rcu {
    /// What updaters and readers meet on.
    fn wchan(&self) -> usize {
        core::ptr::from_ref(&self.busy) as usize
    }

    /// Sleeps until `go` holds; it is evaluated with the sleep queue's lock held, and may take what it finds.
    fn wait(&self, wmesg: &'static str, mut go: impl FnMut() -> bool) {
        let wchan = self.wchan();
        loop {
            sleepqueue::lock(wchan);
            if go() {
                sleepqueue::release(wchan);
                return;
            }
            sleepqueue::add(wchan, 0, wmesg, Type::Sleep, 0);
            sleepqueue::wait(wchan);
            if cpu::scheduler_stopped() {
                return;
            }
        }
    }

    /// Wakes all who wait, after `body`.
    fn wake(&self, body: impl FnOnce()) {
        sleepqueue::lock(self.wchan());
        body();
        sleepqueue::broadcast(self.wchan(), Type::Sleep, 0, 0);
        sleepqueue::release(self.wchan());
    }

    /// A section has ended while an updater waits.
    #[cold]
    #[inline(never)]
    fn wake_updater(&self) {
        self.wake(|| ());
    }

    /// Waits until `td` is in no section of `phase`.
    fn wait_for(&self, td: &'static Thread, phase: usize) {
        let task = of(td);
        let inside = || {
            let word = td.lkpi_rcu.get();
            word & RCU_DEPTH != 0 && word & PHASE == phase
        };
        if !inside() {
            return;
        }
        self.wait("rcusync", || {
            task.rcu_awaited.set(1);
            // ORDERING: fence W, pairs with L in `rcu_read_unlock`: that reader sees `rcu_awaited`, or this load its leaving.
            cpu::fence_heavy();
            let gone = !inside();
            if gone {
                task.rcu_awaited.set(0);
            }
            gone
        });
    }

    fn synchronize(&self) {
        self.wait("rcubusy", || {
            self.busy.get() == 0 && {
                self.busy.set(1);
                true
            }
        });
        for _phase in 0..2 {
            if !cpu::step("synchronize_rcu", 0) {
                return;
            }
            let old = self.index.get();
            self.index.set(old ^ PHASE);
            // ORDERING: fence U, pairs with R in `rcu_read_lock`.
            cpu::fence_heavy();
            foreach_thread_in_proc().for_each(|td| self.wait_for(td, old & PHASE));
        }
        // ORDERING: what the readers did happens before what the updater does next.
        thread_fence_acq();
        self.wake(|| self.busy.set(0));
    }
}

/// `rcu_read_lock()`: until [`rcu_read_unlock`], what `rcu_dereference` returns stays valid. Any thread context; nests. The section
/// may be preempted, block and sleep; it ends on its own thread.
///
/// # Panics
///
/// MPASS `ts->rcu_recurse[type] != INT_MAX` (INVARIANTS).
#[track_caller]
#[inline(always)]
pub fn rcu_read_lock() {
    if !cpu::quiet() || !lock_alone() {
        lock_at(Loc::caller());
    }
}

/// [`rcu_read_lock`] of a thread that goes the short way and is in no section. False, and nothing done, for any other.
#[inline(always)]
fn lock_alone() -> bool {
    let td = curthread();
    if td.lkpi_rcu.get() != RCU_SHORT {
        return false;
    }
    // SAFETY: RCU_SHORT is what the word is.
    let rcu = unsafe { remembered(td) };
    td.lkpi_rcu.set(rcu.index.get());
    // ORDERING: fence R.
    cpu::fence_light_only();
    true
}

/// Undoes [`lock_alone`]; false, and nothing done, in a nested section or one whose thread was pinned meanwhile.
#[inline(always)]
fn unlock_alone() -> bool {
    let td = curthread();
    if td.lkpi_rcu.get() as u32 != ALONE {
        return false;
    }
    // ORDERING: what was done inside happens before the section is seen to have ended.
    thread_fence_rel();
    td.lkpi_rcu.set(RCU_SHORT);
    // ORDERING: fence L.
    cpu::fence_light_only();
    if of(td).rcu_awaited.get() != 0 {
        // SAFETY: the word has RCU_SHORT.
        unsafe { remembered(td) }.wake_updater();
    }
    true
}

/// [`rcu_read_lock`], the long way.
#[cold]
#[inline(never)]
fn lock_at(loc: Loc) {
    if !cpu::step("rcu_read_lock", 0) {
        return;
    }
    let sections = &curthread().lkpi_rcu;
    let word = sections.get();
    mpass!(word & RCU_DEPTH != RCU_DEPTH, "ts->rcu_recurse[type] != INT_MAX", loc);
    if word & RCU_DEPTH != 0 {
        sections.set(word + 1);
        return;
    }
    sched_pin();
    sections.set(RCU.get().index.get() & !RCU_SHORT);
    // ORDERING: fence R, pairs with U in `synchronize`: the word is stored before anything inside is read.
    cpu::fence_light();
}

/// `rcu_read_unlock()`.
///
/// # Panics
///
/// MPASS `ts->rcu_recurse[type] > 0` (INVARIANTS); without INVARIANTS an unlock too many does nothing.
#[track_caller]
#[inline(always)]
pub fn rcu_read_unlock() {
    if !cpu::quiet() || !unlock_alone() {
        unlock_at(Loc::caller());
    }
}

/// [`rcu_read_unlock`], the long way.
#[cold]
#[inline(never)]
fn unlock_at(loc: Loc) {
    if !cpu::step("rcu_read_unlock", 0) {
        return;
    }
    let td = curthread();
    // Not the short way's end, whatever the section's beginning: its pin is in td_pinned.
    sched::settle();
    let word = td.lkpi_rcu.get();
    mpass!(word & RCU_DEPTH > 0, "ts->rcu_recurse[type] > 0", loc);
    if word & RCU_DEPTH != 1 {
        td.lkpi_rcu.set(word - usize::from(word & RCU_DEPTH != 0));
        return;
    }
    // ORDERING: what was done inside happens before the section is seen to have ended.
    thread_fence_rel();
    td.lkpi_rcu.set(0);
    // ORDERING: fence L, pairs with W in `wait_for`.
    cpu::fence_light();
    let rcu = RCU.get();
    if of(td).rcu_awaited.get() != 0 {
        rcu.wake_updater();
    }
    remember(td, rcu);
    sched_unpin();
}

/// `rcu_read_lock_held()`.
pub fn rcu_read_lock_held() -> bool {
    curthread().lkpi_rcu.get() & RCU_DEPTH != 0
}

/// A read section: `guard(rcu)()`. Not `Send`: it ends on its thread.
///
/// ```compile_fail
/// fn send<T: Send>(_: T) {}
/// send(linuxkpi::rcupdate::RcuGuard::new());
/// ```
#[derive(Debug)]
#[must_use = "the section ends when the guard is dropped"]
pub struct RcuGuard(PhantomData<*const ()>);

impl RcuGuard {
    /// `rcu_read_lock()`.
    #[expect(clippy::new_without_default, reason = "making one has an effect")]
    #[track_caller]
    pub fn new() -> Self {
        rcu_read_lock();
        Self(PhantomData)
    }
}

impl Drop for RcuGuard {
    #[track_caller]
    fn drop(&mut self) {
        rcu_read_unlock();
    }
}

/// A pointer that RCU protects: `T __rcu *`.
#[repr(transparent)]
pub struct RcuPtr<T>(OwnedPtr<T>);

impl<T> RcuPtr<T> {
    /// `RCU_INITIALIZER(NULL)`.
    pub const fn null() -> Self {
        Self(OwnedPtr::null())
    }
}

impl<T> fmt::Debug for RcuPtr<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// `rcu_dereference()`: valid to the end of the caller's read section.
pub fn rcu_dereference<T>(pointer: &RcuPtr<T>) -> *mut T {
    cpu::step("rcu_dereference", 0);
    let value = pointer.0.get();
    // ORDERING: stands for the address dependency; pairs with the release in `rcu_assign_pointer`.
    thread_fence_acq();
    value
}

/// `rcu_assign_pointer()`: publishes what `value` points at. Updaters exclude each other.
pub fn rcu_assign_pointer<T>(pointer: &RcuPtr<T>, value: *mut T) {
    cpu::step("rcu_assign_pointer", 0);
    // ORDERING: release, pairs with `rcu_dereference`.
    thread_fence_rel();
    pointer.0.set(value);
}

/// `rcu_replace_pointer()`: publishes `value` and returns what was there.
pub fn rcu_replace_pointer<T>(pointer: &RcuPtr<T>, value: *mut T) -> *mut T {
    let old = pointer.0.get();
    rcu_assign_pointer(pointer, value);
    old
}

/// `synchronize_rcu()`: returns when every read section that had begun has ended. Sleeps. Inside a read section of its own it waits
/// for ever, and nothing says so.
///
/// Prints `linux_synchronize_rcu() can sleep with the following non-sleepable locks held:` under WITNESS.
///
/// # Panics
///
/// If it has to wait: `sleepq_add: td %p to sleep on wchan %p with sleeping prohibited`, and mi_switch's in a critical section.
#[track_caller]
pub fn synchronize_rcu() {
    if !cpu::step("synchronize_rcu", 0) {
        return;
    }
    witness::warn(None, Loc::caller(), "linux_synchronize_rcu() can sleep");
    RCU.get().synchronize();
}

/// `rcu_callback_t`.
pub type RcuCallback = unsafe extern "C-unwind" fn(*mut RcuHead);

/// `struct rcu_head`: 16 bytes, caller-owned.
#[repr(C)]
#[derive(Debug)]
pub struct RcuHead {
    next: LlistNode,
    func: OwnedUsize,
}

const _: () = assert!(size_of::<RcuHead>() == 16);

impl Default for RcuHead {
    fn default() -> Self {
        Self::new()
    }
}

impl RcuHead {
    /// A head; needs no initialisation.
    pub const fn new() -> Self {
        Self { next: LlistNode { next: OwnedPtr::null() }, func: OwnedUsize::new(0) }
    }
}

/// `call_rcu()`: calls `func(head)` from a thread after a grace period. Does not sleep; legal in any context, as LinuxKPI's is on its
/// fast taskqueue.
///
/// # Safety
///
/// `head` is valid, not queued, and RCU's until `func` is called; `func` may be called with it from another thread.
///
/// # Panics
///
/// `call_rcu: the head is queued already`, if it was the last that was (INVARIANTS).
pub unsafe fn call_rcu(head: *mut RcuHead, func: RcuCallback) {
    // SAFETY: the caller's promise.
    unsafe { enqueue(head, func as usize) };
}

/// `kfree_rcu()`: frees the kmalloc'ed block that contains `head`, `offset` bytes from its start, after a grace period. Context as
/// for [`call_rcu`].
///
/// # Safety
///
/// `head` is valid, not queued, `offset` (below 4096) bytes into a block of `kmalloc` that only readers still use.
pub unsafe fn kfree_rcu(head: *mut RcuHead, offset: usize) {
    debug_assert!(offset < KFREE_RCU_OFFSET_MAX);
    // SAFETY: the caller's promise.
    unsafe { enqueue(head, offset) };
}

/// Puts `head` on the list and asks the cleaner to look.
unsafe fn enqueue(head: *mut RcuHead, func: usize) {
    if !cpu::step("call_rcu", 0) {
        return;
    }
    let rcu = RCU.get();
    // SAFETY: the context is the machine's state.
    rcu.once.call(|| unsafe { rcu.task.init_fn(0, cleaner, core::ptr::from_ref(rcu).cast_mut().cast()) });
    // Twice in a row it would be its own successor. That it is further down only a walk would tell, and others may own what lies there.
    let queued = !head.is_null() && rcu.callbacks.begins_with(head.cast_const().cast());
    kassert_args(!queued, format_args!("call_rcu: the head is queued already"));
    // SAFETY: the head is ours from here on, and a node is its first member.
    unsafe {
        (*head).func.set(func);
        rcu.callbacks.add(head.cast());
    }
    // SAFETY: the task is the machine's.
    unsafe { irq_work::tq().enqueue(&rcu.task) };
}

/// `linux_rcu_cleaner_func()`: what was queued before the grace period is called after it, oldest first.
unsafe extern "C-unwind" fn cleaner(context: *mut c_void, _pending: c_int) {
    // SAFETY: `enqueue` passes the machine's state.
    let rcu = unsafe { &*context.cast::<Rcu>() };
    // SAFETY: taken off together, the nodes are ours alone.
    let mut node = unsafe { llist_reverse_order(rcu.callbacks.del_all()) };
    if node.is_null() {
        return;
    }
    synchronize_rcu();
    while !node.is_null() && !cpu::scheduler_stopped() {
        let head = node.cast::<RcuHead>();
        // SAFETY: nodes are heads that `enqueue` was given; the link is read before the callback may free the head. The grace
        // period is over, which is what the callback waits for.
        unsafe {
            node = (*node).next.get();
            match (*head).func.get() {
                offset if offset < KFREE_RCU_OFFSET_MAX => crate::slab::free(head.byte_sub(offset).cast()),
                func => core::mem::transmute::<usize, RcuCallback>(func)(head),
            }
        }
    }
}

/// `rcu_barrier()`: waits until every callback queued so far has returned. Sleeps. Without callbacks it returns at once.
///
/// # Panics
///
/// As [`synchronize_rcu`].
#[track_caller]
pub fn rcu_barrier() {
    if !cpu::step("rcu_barrier", 0) {
        return;
    }
    let rcu = RCU.get();
    if rcu.once.is_done() {
        irq_work::tq().drain(&rcu.task);
    }
}
