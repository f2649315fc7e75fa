//! linux/rcupdate.h: LinuxKPI's preemptible RCU.
//!
//! A reader is pinned and may be preempted, block and sleep. An updater that removed something calls [`synchronize_rcu`], which
//! returns when every reader that may have seen it has left, or [`call_rcu`], whose callback runs after that.
//!
//! # State
//!
//! Each CPU has two counters of the readers on it, one per *phase*; `index` names the phase that new readers count in. A
//! task remembers its depth and the counter that its outermost lock raised; nested sections touch nothing else.
//!
//! # Algorithm
//!
//! `synchronize_rcu`, twice: turn `index` over, and wait for each CPU's counter of the old phase to be 0.
//!
//! *It waits long enough.* Let a reader have found the removed pointer. It raised its counter before it looked (fence R), and the
//! updater read all counters of both phases after it removed the pointer (fence U). If an updater's read missed the raise, R comes
//! after U in the order of fences, so the reader looked after the removal: a contradiction. So the updater saw the raised
//! counter and waited until it was 0, that is, until this reader and all others of that phase on that CPU had left (fence L: what
//! they did inside happened before). Which phase the reader counted in does not matter, since both are waited for; a reader that
//! was about to count in the old phase when `index` turned is covered too.
//!
//! *It does not wait for ever* when new readers keep coming: they count in the other phase. At most one thread per CPU can have
//! read `index` before it turned and raise the old counter after.
//!
//! *Plain counters.* Only threads on its own CPU change a counter: a reader is pinned from before it raises until after it lowers.
//! Those threads take turns: a thread leaves its CPU only at a boundary, in a kernel primitive, and there is none between the
//! load and the store of an increment. No interrupt handler reads RCU in a filter. On `smp` the other CPUs only load the
//! counters, so no locked instruction is needed, only the fences.
//!
//! *The updater pays.* R and L are light fences, U and W heavy ones ([`cpu::fence_heavy`]): the updater makes every CPU fence, and a
//! reader costs what its counters cost. An updater that finds a counter at 0 after U has nothing to announce and needs no W.
//!
//! *No wake-up is lost.* A leaving reader lowers the counter and then (fence L) reads `waiting`; the updater sets `waiting` and then
//! (fence W) reads the counter, and holds the sleep queue's lock from there until it is on the queue; the reader needs the same
//! lock to wake it. The wait is a sleep, so one without end (a reader that waits for its own updater) is a visible deadlock.
//!
//! # Deviations
//!
//! From LinuxKPI: it walks ck_epoch records, moving itself from CPU to CPU at the best priority; a sleep takes the place of that and
//! of its pause("W"). All SRCU domains sharing one epoch is not emulated. From Linux: a read section may sleep, and nothing says
//! so; inside it the thread is pinned.
//!
//! References: sys/compat/linuxkpi/common/src/linux_rcu.c; Documentation/RCU/whatisRCU.rst.

use crate::Loc;
use crate::irq_work;
use crate::llist::{LlistHead, LlistNode, llist_reverse_order};
use crate::once::Once;
use crate::sched::{Task, current, of};
use core::ffi::{c_int, c_void};
use core::fmt;
use core::marker::PhantomData;
use freebsd_sys::atomic::{OwnedPtr, OwnedUsize, thread_fence_acq, thread_fence_rel};
use freebsd_sys::cpu::{self, MAXCPU};
use freebsd_sys::module::ModuleData;
use freebsd_sys::sched::{sched_pin, sched_unpin};
use freebsd_sys::sleepqueue::{self, Type};
use freebsd_sys::thread::curthread;
use freebsd_sys::{taskqueue, witness};

/// `LINUX_KFREE_RCU_OFFSET_MAX`: a callback below it is the head's offset in a block to free.
const KFREE_RCU_OFFSET_MAX: usize = 4096;

/// One CPU's readers, by phase, on a cache line of their own.
#[derive(Debug)]
#[repr(align(64))]
struct PerCpu {
    active: [OwnedUsize; 2],
}

/// The RCU state of a machine.
#[derive(Debug)]
struct Rcu {
    cpus: [PerCpu; MAXCPU],
    /// Phase of new readers; written by the updater that is `busy`.
    index: OwnedUsize,
    /// (sleep queue) An updater waits for readers.
    waiting: OwnedUsize,
    /// (sleep queue) An updater is at work; others wait for it.
    busy: OwnedUsize,
    once: Once,
    callbacks: LlistHead,
    task: taskqueue::Task,
}

impl Default for Rcu {
    fn default() -> Self {
        Self {
            cpus: [const { PerCpu { active: [const { OwnedUsize::new(0) }; 2] } }; MAXCPU],
            index: OwnedUsize::new(0),
            waiting: OwnedUsize::new(0),
            busy: OwnedUsize::new(0),
            once: Once::default(),
            callbacks: LlistHead::new(),
            task: taskqueue::Task::new(),
        }
    }
}

static RCU: ModuleData<Rcu> = ModuleData::new();

/// The machine's state, remembered by the task so that readers of different CPUs share nothing.
fn state(task: &Task) -> &'static Rcu {
    let at = task.rcu.get();
    if at == 0 {
        let rcu = RCU.get();
        task.rcu.set(core::ptr::from_ref(rcu) as usize);
        return rcu;
    }
    // SAFETY: module data stays where it is for the execution, and a task is zeroed with its thread.
    unsafe { &*(at as *const Rcu) }
}

impl Rcu {
    /// What updaters and readers meet on.
    fn wchan(&self) -> usize {
        core::ptr::from_ref(&self.waiting) as usize
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

    /// Waits until nobody counts in `phase` on some CPU.
    fn wait_for(&self, active: &OwnedUsize) {
        if active.get() == 0 {
            return;
        }
        self.wait("rcusync", || {
            self.waiting.set(1);
            // ORDERING: fence W, pairs with L in `rcu_read_unlock`: that reader sees `waiting`, or this load its leaving.
            cpu::fence_heavy();
            let gone = active.get() == 0;
            if gone {
                self.waiting.set(0);
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
            self.index.set(old ^ 1);
            // ORDERING: fence U, pairs with R in `rcu_read_lock`.
            cpu::fence_heavy();
            for cpu in &self.cpus[..cpu::mp_ncpus()] {
                self.wait_for(&cpu.active[old]);
            }
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
#[inline]
pub fn rcu_read_lock() {
    if !cpu::undisturbed() || !lock_alone() {
        lock_at(Loc::caller());
    }
}

/// [`rcu_read_lock`] of a thread that is not pinned and that RCU knows, the first reader of its phase on its CPU: what is stored then
/// depends on nothing that was read but for branches, so the processor need not wait for the last reader's stores. False, and
/// nothing done, for any other.
#[inline(always)]
fn lock_alone() -> bool {
    let td = curthread();
    let task = of(td);
    let rcu = task.rcu.get() as *const Rcu;
    if task.rcu_recurse.get() != 0 || td.pinned.get() != 0 || rcu.is_null() || !cpu::fences_are_light() {
        return false;
    }
    // SAFETY: as in `state`.
    let active = here(unsafe { &*rcu });
    if active.get() != 0 {
        return false;
    }
    td.pinned.set(1);
    active.set(1);
    task.rcu_section.set(core::ptr::from_ref(active) as usize);
    task.rcu_recurse.set(1);
    // ORDERING: fence R.
    cpu::fence_light_only();
    true
}

/// Undoes [`lock_alone`] in the same way.
#[inline(always)]
fn unlock_alone() -> bool {
    let td = curthread();
    let task = of(td);
    if task.rcu_recurse.get() != 1 || td.pinned.get() != 1 || !cpu::fences_are_light() {
        return false;
    }
    let active = section(task);
    if active.get() != 1 {
        return false;
    }
    task.rcu_recurse.set(0);
    // ORDERING: what was done inside happens before the counter is seen lowered.
    thread_fence_rel();
    active.set(0);
    // ORDERING: fence L.
    cpu::fence_light_only();
    // SAFETY: as in `state`; the section's beginning made the task remember it.
    let rcu = unsafe { &*(task.rcu.get() as *const Rcu) };
    if rcu.waiting.get() == 0 {
        td.pinned.set(0);
    } else {
        leave(task);
    }
    true
}

/// The counter of the caller's CPU, while it stays there, and of the current phase.
#[inline(always)]
fn here(rcu: &Rcu) -> &OwnedUsize {
    &rcu.cpus[cpu::cpuid() % MAXCPU].active[rcu.index.get() & 1]
}

/// The counter that the outermost section raised.
#[inline(always)]
fn section(task: &Task) -> &'static OwnedUsize {
    // SAFETY: `rcu_read_lock` stored the address of a counter of the machine's state.
    unsafe { &*(task.rcu_section.get() as *const OwnedUsize) }
}

/// [`rcu_read_lock`], the long way.
#[cold]
#[inline(never)]
fn lock_at(loc: Loc) {
    if !cpu::step("rcu_read_lock", 0) {
        return;
    }
    let task = current();
    let depth = task.rcu_recurse.get();
    mpass!(depth != i32::MAX as usize, "ts->rcu_recurse[type] != INT_MAX", loc);
    if depth == 0 {
        sched_pin();
        let active = here(state(task));
        active.add(1);
        task.rcu_section.set(core::ptr::from_ref(active) as usize);
        // ORDERING: fence R, pairs with U in `synchronize`: raised before anything inside is read.
        cpu::fence_light();
    }
    task.rcu_recurse.set(depth + 1);
}

/// `rcu_read_unlock()`.
///
/// # Panics
///
/// MPASS `ts->rcu_recurse[type] > 0` (INVARIANTS); without INVARIANTS an unlock too many does nothing.
#[track_caller]
#[inline]
pub fn rcu_read_unlock() {
    if !cpu::undisturbed() || !unlock_alone() {
        unlock_at(Loc::caller());
    }
}

/// The end of a section whose counter was lowered: wakes an updater that waits for that, and unpins.
#[cold]
#[inline(never)]
fn leave(task: &Task) {
    // ORDERING: fence L, pairs with W in `wait_for`.
    cpu::fence_light();
    let rcu = state(task);
    if rcu.waiting.get() != 0 {
        rcu.wake(|| ());
    }
    sched_unpin();
}

/// [`rcu_read_unlock`], the long way.
#[cold]
#[inline(never)]
fn unlock_at(loc: Loc) {
    if !cpu::step("rcu_read_unlock", 0) {
        return;
    }
    let task = current();
    let depth = task.rcu_recurse.get();
    mpass!(depth > 0, "ts->rcu_recurse[type] > 0", loc);
    if depth == 0 {
        return;
    }
    task.rcu_recurse.set(depth - 1);
    if depth > 1 {
        return;
    }
    // ORDERING: what was done inside happens before the counter is seen lowered.
    thread_fence_rel();
    section(task).sub(1);
    leave(task);
}

/// `rcu_read_lock_held()`.
pub fn rcu_read_lock_held() -> bool {
    current().rcu_recurse.get() != 0
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
    state(current()).synchronize();
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
    let rcu = state(current());
    // SAFETY: the context is the machine's state.
    rcu.once.call(|| unsafe { rcu.task.init_fn(0, cleaner, core::ptr::from_ref(rcu).cast_mut().cast()) });
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
    let rcu = state(current());
    if rcu.once.is_done() {
        irq_work::tq().drain(&rcu.task);
    }
}
