//! linux/wait.h: wait queues.
//!
//! # Algorithm
//!
//! A waiter puts its entry on the queue and announces its task state under the queue's lock, then looks at its condition, then
//! sleeps on its own task unless a waker has changed the state meanwhile (`sched`). A waker makes the condition true, takes the
//! queue's lock and wakes the tasks on it. Whichever took the lock second saw what the other did before it: no wake-up is lost.
//! The lock is the mapping's spinlock, so what a wake-up may be called under depends on the mapping.
//!
//! # Invariants
//!
//! 1. The list is changed and walked only with the lock held.
//! 2. An entry on a list is alive and does not move: [`WaitQueueHead::wait_event`] takes its own off before it returns, callers of
//!    [`WaitQueueHead::prepare_to_wait`] promise it.
//!
//! # Deviations from Linux (LinuxKPI's)
//!
//! `wake_up` wakes one task, exclusive or not, where Linux wakes all that are not exclusive. [`WaitQueueHead::is_active`] takes the
//! lock. A sleep warns of no held locks. `wait_event_timeout` sleeps for the whole time again when it was woken and the
//! condition does not hold. From LinuxKPI: with MAX_SCHEDULE_TIMEOUT it returns what is left, as Linux's does, where LinuxKPI says 0.
//!
//! References: sys/compat/linuxkpi/common/src/linux_schedule.c, linux/wait.h.

use crate::Loc;
use crate::ffi::SPINLOCK_SIZE;
use crate::mapping::{self, Context, How, LockMapping, SpinBackend};
use crate::sched::{self, TASK_INTERRUPTIBLE, TASK_NORMAL, TASK_RUNNING, TASK_UNINTERRUPTIBLE, Task, current, jiffies};
use core::ffi::{c_int, c_uint, c_void};
use core::fmt;
use core::mem::ManuallyDrop;
use freebsd_sys::atomic::{Owned32, OwnedPtr, OwnedUsize};
use freebsd_sys::cpu;
use freebsd_sys::sleepqueue::{self, EWOULDBLOCK, Type};

pub use crate::sched::{
    ERESTARTSYS, MAX_SCHEDULE_TIMEOUT, schedule, schedule_timeout, set_current_state, wake_up_process, wake_up_state,
};

/// `wait_queue_func_t`: wakes the entry's task; whether it did. Called with the queue's lock held.
pub type WaitQueueFunc = unsafe extern "C-unwind" fn(*mut WaitQueueEntry, c_uint, c_int, *mut c_void) -> c_int;

/// `struct list_head`: 16 bytes. Null links are an empty list, like links to itself.
#[repr(C)]
#[derive(Debug)]
struct ListHead {
    next: OwnedPtr<ListHead>,
    prev: OwnedPtr<ListHead>,
}

impl ListHead {
    const fn new() -> Self {
        Self { next: OwnedPtr::null(), prev: OwnedPtr::null() }
    }

    fn ptr(&self) -> *mut Self {
        core::ptr::from_ref(self).cast_mut()
    }

    fn init(&self) {
        self.next.set(self.ptr());
        self.prev.set(self.ptr());
    }

    fn is_empty(&self) -> bool {
        self.next.get().is_null() || self.next.get() == self.ptr()
    }

    /// `list_add()`.
    fn push(&self, new: &Self) {
        if self.next.get().is_null() {
            self.init();
        }
        let first = self.next.get();
        new.next.set(first);
        new.prev.set(self.ptr());
        // SAFETY: invariants 1 and 2: the neighbours are alive and nobody else looks.
        unsafe { (*first).prev.set(new.ptr()) };
        self.next.set(new.ptr());
    }

    /// `list_del_init()`.
    fn unlink(&self) {
        if !self.is_empty() {
            let (next, prev) = (self.next.get(), self.prev.get());
            // SAFETY: as in `push`.
            unsafe {
                (*next).prev.set(prev);
                (*prev).next.set(next);
            }
        }
        self.init();
    }
}

/// `struct wait_queue_entry`: 40 bytes, caller-owned.
#[repr(C)]
#[derive(Debug)]
pub struct WaitQueueEntry {
    flags: Owned32,
    private: OwnedPtr<Task>,
    func: OwnedUsize,
    entry: ListHead,
}

const _: () = {
    assert!(size_of::<WaitQueueEntry>() == 40);
    assert!(core::mem::offset_of!(WaitQueueEntry, entry) == 24);
};

impl WaitQueueEntry {
    /// `DEFINE_WAIT()`: for the calling thread; leaves the queue when it is woken.
    pub fn new() -> Self {
        Self::with_func(autoremove_wake_function)
    }

    /// `DEFINE_WAIT_FUNC()`.
    pub fn with_func(func: WaitQueueFunc) -> Self {
        let entry = Self {
            flags: Owned32::new(0),
            private: OwnedPtr::null(),
            func: OwnedUsize::new(func as usize),
            entry: ListHead::new(),
        };
        entry.private.set(core::ptr::from_ref(current()).cast_mut());
        entry
    }

    /// Calls the entry's wake function, as the waker: whether it woke somebody.
    fn wake(&self, mask: u32) -> bool {
        let this = core::ptr::from_ref(self).cast_mut();
        match self.func.get() {
            // SAFETY: no function means the default one, and the entry is alive.
            0 => unsafe { default_wake_function(this, mask, 0, core::ptr::null_mut()) != 0 },
            // SAFETY: `with_func` and C's initialisers store a `WaitQueueFunc` there; the entry is alive (invariant 2).
            func => unsafe {
                core::mem::transmute::<usize, WaitQueueFunc>(func)(this, mask, 0, core::ptr::null_mut()) != 0
            },
        }
    }
}

impl Default for WaitQueueEntry {
    fn default() -> Self {
        Self::new()
    }
}

/// `default_wake_function()`: wakes the entry's task.
///
/// # Safety
///
/// `entry` is alive and its queue's lock is held.
pub unsafe extern "C-unwind" fn default_wake_function(
    entry: *mut WaitQueueEntry,
    mode: c_uint,
    _flags: c_int,
    _key: *mut c_void,
) -> c_int {
    // SAFETY: the caller's promise; tasks are type-stable like their threads.
    unsafe { c_int::from(sched::wake_up_task(&*(*entry).private.get(), mode)) }
}

/// `autoremove_wake_function()`: wakes the entry's task, and takes the entry off the queue if that was asleep.
///
/// # Safety
///
/// As [`default_wake_function`].
pub unsafe extern "C-unwind" fn autoremove_wake_function(
    entry: *mut WaitQueueEntry,
    mode: c_uint,
    flags: c_int,
    key: *mut c_void,
) -> c_int {
    // SAFETY: the caller's promise. The entry's thread needs the queue's lock to let it go.
    unsafe {
        let woken = default_wake_function(entry, mode, flags, key);
        if woken != 0 {
            (*entry).entry.unlink();
        }
        woken
    }
}

/// A lock in the room that C's `spinlock_t` has, so that what follows it lies at the same place under every mapping.
#[repr(C)]
union Room<L> {
    lock: ManuallyDrop<L>,
    room: [u64; SPINLOCK_SIZE / 8],
}

/// `wake_up_bit()`: wakes one task that waits for what `address` stands for. Does not sleep; any context.
pub fn wake_up_address(address: usize) {
    if cpu::step("wake_up_bit", 0) {
        sleepqueue::lock(address);
        sleepqueue::signal(address, Type::Sleep, 0, 0);
        sleepqueue::release(address);
    }
}

/// `wait_on_bit_timeout()`: sleeps until `done` holds, which is looked at with the lock of the sleep queue of `address` held: 0,
/// `-EWOULDBLOCK` or `-ERESTARTSYS`. `address` stands for the bit, and need not be memory.
///
/// # Panics
///
/// As [`schedule`], if it has to sleep.
#[track_caller]
pub fn wait_on_address(address: usize, mut done: impl FnMut() -> bool, timeout: i64, state: u32) -> i32 {
    if !cpu::step("wait_on_bit", 0) {
        return 0;
    }
    let timeout = timeout.clamp(1, MAX_SCHEDULE_TIMEOUT);
    let error = loop {
        sleepqueue::lock(address);
        if done() || cpu::scheduler_stopped() {
            sleepqueue::release(address);
            break 0;
        }
        sched::store_state(state);
        let error = sched::sleep_on(address, "wbit", timeout, state, Loc::caller());
        if error != 0 {
            break error;
        }
    };
    sched::store_state(TASK_RUNNING);
    error
}

/// `wait_queue_head_t`: the mapping's spinlock and a list, which drivers walk themselves.
///
/// Usable after `init`. It must not move while somebody waits.
#[repr(C)]
pub struct WaitQueueHead<M: LockMapping = mapping::Default> {
    lock: Room<M::Spin>,
    task_list: ListHead,
}

impl WaitQueueHead {
    /// A queue under the default mapping.
    #[expect(clippy::new_without_default, reason = "a lock is made deliberately, in place")]
    pub const fn new() -> Self {
        Self::with_mapping()
    }
}

impl<M: LockMapping> WaitQueueHead<M> {
    const SIZE: () = assert!(size_of::<Self>() == 48 && core::mem::offset_of!(Self, task_list) == SPINLOCK_SIZE);

    /// A queue under the mapping `M`.
    pub const fn with_mapping() -> Self {
        let () = Self::SIZE;
        let lock = Room { lock: ManuallyDrop::new(<M::Spin as SpinBackend>::ZEROED) };
        Self { lock, task_list: ListHead::new() }
    }

    /// `init_waitqueue_head()`; may be repeated while nobody waits.
    pub fn init(&self) {
        self.lock().init();
        self.task_list.init();
    }

    /// `DECLARE_WAIT_QUEUE_HEAD`'s SYSINIT: the lock is enrolled in WITNESS.
    pub fn init_static(&self) {
        self.lock().init_static();
        self.task_list.init();
    }

    /// The lock, for the `_locked` forms.
    pub fn lock(&self) -> &M::Spin {
        // SAFETY: every constructor stores a lock there; C's memory is one once `init` was called, and all-zero bytes are one before.
        unsafe { &self.lock.lock }
    }

    fn locked<R>(&self, loc: Loc, body: impl FnOnce() -> R) -> R {
        let how = How::new(Context::Plain, loc);
        let flags = self.lock().lock(how);
        let result = body();
        self.lock().unlock(how, flags);
        result
    }

    /// `prepare_to_wait()`: puts `entry` on the queue, unless it is there, and announces `state`.
    ///
    /// # Safety
    ///
    /// Until [`WaitQueueHead::finish_wait`], `entry` lives, does not move, and is on no other queue.
    #[track_caller]
    pub unsafe fn prepare_to_wait(&self, entry: &WaitQueueEntry, state: u32) {
        self.locked(Loc::caller(), || {
            if entry.entry.is_empty() && !cpu::scheduler_stopped() {
                self.task_list.push(&entry.entry);
            }
            sched::store_state(state);
        });
    }

    /// `finish_wait()`: the caller runs again, and its entry is on no queue.
    #[track_caller]
    pub fn finish_wait(&self, entry: &WaitQueueEntry) {
        self.locked(Loc::caller(), || {
            sched::store_state(TASK_RUNNING);
            if !cpu::scheduler_stopped() {
                entry.entry.unlink();
            }
        });
    }

    /// `linux_wait_event_common()`: one sleep of a prepared wait; 0, `-EWOULDBLOCK` or `-ERESTARTSYS`.
    ///
    /// # Panics
    ///
    /// As [`schedule`].
    #[track_caller]
    pub fn sleep_prepared(&self, timeout: i64, state: u32) -> i32 {
        if !cpu::step("wait_event", 0) {
            return 0;
        }
        sched::sleep_as_announced("wevent", timeout.clamp(1, MAX_SCHEDULE_TIMEOUT), state, Loc::caller())
    }

    /// All forms of `wait_event`.
    #[track_caller]
    fn wait_common(&self, mut condition: impl FnMut() -> bool, timeout: i64, state: u32) -> i64 {
        let timeout = timeout.max(1);
        let start = jiffies() as i64;
        let entry = WaitQueueEntry::new();
        let waiting = Waiting { head: self, entry: &entry };
        let mut error = 0;
        loop {
            // SAFETY: `waiting` finishes the wait before `entry` goes, also when `condition` unwinds.
            unsafe { self.prepare_to_wait(&entry, state) };
            if condition() || cpu::scheduler_stopped() {
                break;
            }
            error = self.sleep_prepared(timeout, state);
            if error != 0 {
                break;
            }
        }
        drop(waiting);
        if error == -ERESTARTSYS {
            i64::from(error)
        } else if error == -EWOULDBLOCK {
            i64::from(condition())
        } else {
            (start + timeout - jiffies() as i64).max(1)
        }
    }

    /// `wait_event()`: sleeps until `condition` holds. The condition runs with the task state announced: it must not sleep itself.
    ///
    /// # Panics
    ///
    /// As [`schedule`], if it has to sleep.
    #[track_caller]
    pub fn wait_event(&self, condition: impl FnMut() -> bool) {
        self.wait_common(condition, MAX_SCHEDULE_TIMEOUT, TASK_UNINTERRUPTIBLE);
    }

    /// `wait_event_timeout()`: 0 if time ran out and `condition` does not hold, else the jiffies left, at least 1.
    ///
    /// # Panics
    ///
    /// As [`WaitQueueHead::wait_event`].
    #[track_caller]
    pub fn wait_event_timeout(&self, timeout: i64, condition: impl FnMut() -> bool) -> i64 {
        self.wait_common(condition, timeout, TASK_UNINTERRUPTIBLE)
    }

    /// `wait_event_interruptible()`: 0, or `-ERESTARTSYS` if a signal came.
    ///
    /// # Panics
    ///
    /// As [`WaitQueueHead::wait_event`].
    #[track_caller]
    pub fn wait_event_interruptible(&self, condition: impl FnMut() -> bool) -> i32 {
        self.wait_common(condition, MAX_SCHEDULE_TIMEOUT, TASK_INTERRUPTIBLE).min(0) as i32
    }

    /// `wait_event_interruptible_timeout()`: as [`WaitQueueHead::wait_event_timeout`], or `-ERESTARTSYS`.
    ///
    /// # Panics
    ///
    /// As [`WaitQueueHead::wait_event`].
    #[track_caller]
    pub fn wait_event_interruptible_timeout(&self, timeout: i64, condition: impl FnMut() -> bool) -> i64 {
        self.wait_common(condition, timeout, TASK_INTERRUPTIBLE)
    }

    /// `__wake_up_locked()`: wakes up to `nr` tasks in `mask` (0: all), the last to come first, as in Linux those that are
    /// not exclusive are; the lock is held.
    pub fn wake_up_locked(&self, mask: u32, nr: usize) {
        if cpu::scheduler_stopped() {
            return;
        }
        let mut left = nr;
        let mut at = self.task_list.next.get();
        while !at.is_null() && at != self.task_list.ptr() {
            // SAFETY: invariants 1 and 2. The next link is read before the function may take the entry off.
            let (next, woken) = unsafe {
                let next = (*at).next.get();
                let entry = at.byte_sub(core::mem::offset_of!(WaitQueueEntry, entry)).cast::<WaitQueueEntry>();
                (next, (*entry).wake(mask))
            };
            if woken && left > 0 {
                left -= 1;
                if left == 0 {
                    return;
                }
            }
            at = next;
        }
    }

    #[track_caller]
    fn wake(&self, mask: u32, nr: usize) {
        self.locked(Loc::caller(), || self.wake_up_locked(mask, nr));
    }

    /// `wake_up()`: wakes the last task to come. Takes the queue's lock, so its context is that of the mapping's `spin_lock`.
    ///
    /// # Panics
    ///
    /// As the mapping's `spin_lock`.
    #[track_caller]
    pub fn wake_up(&self) {
        self.wake(TASK_NORMAL, 1);
    }

    /// `wake_up_nr()`.
    ///
    /// # Panics
    ///
    /// As [`WaitQueueHead::wake_up`].
    #[track_caller]
    pub fn wake_up_nr(&self, nr: usize) {
        self.wake(TASK_NORMAL, nr);
    }

    /// `wake_up_all()`.
    ///
    /// # Panics
    ///
    /// As [`WaitQueueHead::wake_up`].
    #[track_caller]
    pub fn wake_up_all(&self) {
        self.wake(TASK_NORMAL, 0);
    }

    /// `wake_up_interruptible()`: the last to come of those that wait interruptibly.
    ///
    /// # Panics
    ///
    /// As [`WaitQueueHead::wake_up`].
    #[track_caller]
    pub fn wake_up_interruptible(&self) {
        self.wake(TASK_INTERRUPTIBLE, 1);
    }

    /// `wake_up_interruptible_all()`.
    ///
    /// # Panics
    ///
    /// As [`WaitQueueHead::wake_up`].
    #[track_caller]
    pub fn wake_up_interruptible_all(&self) {
        self.wake(TASK_INTERRUPTIBLE, 0);
    }

    /// `waitqueue_active()`. Takes the lock, which Linux's does not.
    ///
    /// # Panics
    ///
    /// As [`WaitQueueHead::wake_up`]; with the queue's lock held, about recursion.
    #[track_caller]
    pub fn is_active(&self) -> bool {
        self.locked(Loc::caller(), || !self.task_list.is_empty())
    }
}

impl<M: LockMapping> fmt::Debug for WaitQueueHead<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WaitQueueHead")
    }
}

// SAFETY: the lock orders all access to the list; the mapping promises exclusion.
unsafe impl<M: LockMapping> Sync for WaitQueueHead<M> {}
// SAFETY: a queue without waiters is its words.
unsafe impl<M: LockMapping> Send for WaitQueueHead<M> {}

/// A wait under way: finished when it goes, also by unwinding.
struct Waiting<'a, M: LockMapping> {
    head: &'a WaitQueueHead<M>,
    entry: &'a WaitQueueEntry,
}

impl<M: LockMapping> Drop for Waiting<'_, M> {
    fn drop(&mut self) {
        self.head.finish_wait(self.entry);
    }
}
