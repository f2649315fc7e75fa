//! taskqueue(9): functions that a kernel thread runs later, where one may sleep.
//!
//! # State of a task
//!
//! | | |
//! |---|---|
//! | `ta_pending` 0 | on no queue; it may be running |
//! | n | on a queue, asked for n times since its last run: the handler is told n and called once |
//!
//! A task with a closure has a function of this file for `ta_func`, and the closure's box for `ta_context`.
//!
//! # Algorithm
//!
//! A queue's mutex guards its list, in order of the tasks' priorities and first come among equals. A *normal* queue's is a
//! sleep mutex that WITNESS sees, so that enqueuing in a critical section is an error; a *fast* queue's is a spin mutex, for
//! interrupt filters and critical sections. Enqueuing wakes one thread, after the mutex is dropped. A thread takes the first
//! task off, counts itself busy with it, and calls it without the mutex. Draining sleeps on the task's address, which the
//! thread wakes after each run.
//!
//! # Memory ordering
//!
//! The queue's mutex orders everything: what an enqueuer wrote before is seen by the handler, and what the handler wrote by
//! whoever drains.
//!
//! # Deviations from FreeBSD
//!
//! A queue's memory goes with the execution, also after `free`. A queue is a table of tasks, so that
//! `ta_link` stays unused, and so are the flags in `ta_flags`. The queues that a kernel has from the start are made when first asked for;
//! the swi threads of three of them wait for work like the others.
//!
//! References: kern/subr_taskqueue.c, sys/_task.h, taskqueue(9).

use crate::atomic::{Guarded, Owned8, Owned16, Owned32, OwnedPtr, OwnedUsize};
use crate::callout::{self, Callout, Cf};
use crate::cpu;
use crate::giant;
use crate::lock::Loc;
use crate::module::{Kept, ModuleData, Once};
use crate::mutex::{Mtx, Mtxf, ma};
use crate::panic::kassert;
use crate::sched::{self, pri};
use crate::sleep::{self, How};
use crate::thread::{Kthread, Thread, curthread, kthread_add, tdf};
use crate::witness;
use core::ffi::{CStr, c_int, c_void};
use core::mem::offset_of;
use std::sync::Arc;

/// `EBUSY`.
pub const EBUSY: i32 = 16;

/// What a task calls with its pending count.
pub type Handler = Arc<dyn Fn(usize) + Send + Sync>;

/// `task_fn_t`: a function that takes the context and the pending count.
pub type TaskFn = unsafe extern "C-unwind" fn(*mut c_void, c_int);

/// `struct task`: 32 bytes.
#[repr(C)]
pub struct Task {
    /// `ta_link`.
    link: OwnedUsize,
    /// (q) `ta_pending`, which stops counting at its largest value.
    pending: Owned16,
    /// (b) `ta_priority`: higher runs first.
    priority: Owned8,
    /// (b) `ta_flags`.
    flags: Owned8,
    /// (b) `ta_func` and `ta_context`, copied (q) for each run, so that the function may free its task. Of [`closure`], the context is a
    /// boxed [`Handler`] that is the task's own; it is cloned (q) for each run, likewise.
    func: Guarded<Option<TaskFn>>,
    context: OwnedPtr<c_void>,
}

// `linuxkpi/include/sys/taskqueue.h` asserts the same.
const _: () = {
    assert!(size_of::<Task>() == 32);
    assert!(offset_of!(Task, pending) == 8);
    assert!(offset_of!(Task, priority) == 10);
    assert!(offset_of!(Task, flags) == 11);
    assert!(offset_of!(Task, func) == 16);
    assert!(offset_of!(Task, context) == 24);
};

/// `ta_func` of a task with a closure: a mark, which is never called.
unsafe extern "C-unwind" fn closure(_context: *mut c_void, _pending: c_int) {
    unreachable!("a queue calls the closure itself");
}

// Locking key: (b) before it is enqueued, (q) the queue's mutex.

impl core::fmt::Debug for Task {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Task({} pending)", self.pending.get())
    }
}

// SAFETY: see the locking key.
unsafe impl Sync for Task {}
// SAFETY: a task that moves is not enqueued; its closure may be sent, and for a function with its context C vouched.
unsafe impl Send for Task {}

impl Default for Task {
    fn default() -> Self {
        Self::new()
    }
}

impl Task {
    /// A task that was not initialised: it does nothing.
    pub const fn new() -> Self {
        Self {
            link: OwnedUsize::new(0),
            pending: Owned16::new(0),
            priority: Owned8::new(0),
            flags: Owned8::new(0),
            func: Guarded::new(None),
            context: OwnedPtr::null(),
        }
    }

    /// `TASK_INIT()`. Not while it is on a queue or runs.
    pub fn init(&self, priority: u8, handler: Handler) {
        self.drop_closure();
        let boxed: *mut Handler = Box::into_raw(Box::new(handler));
        self.set(priority, closure, boxed.cast());
    }

    fn set(&self, priority: u8, func: TaskFn, context: *mut c_void) {
        self.link.set(0);
        self.pending.set(0);
        self.priority.set(priority);
        self.flags.set(0);
        // SAFETY: (b)
        unsafe { *self.func.get() = Some(func) };
        self.context.set(context);
    }

    /// The closure, if it has one; before it is enqueued, or with the queue's mutex.
    fn handler(&self) -> Option<&Handler> {
        // SAFETY: (b), (q)
        let func = unsafe { *self.func.get() };
        // SAFETY: only `init` pairs this function with a context, which `drop_closure` alone frees.
        func.filter(|&func| core::ptr::fn_addr_eq(func, closure as TaskFn))
            .map(|_| unsafe { &*self.context.get().cast::<Handler>() })
    }

    /// The task loses its closure, if it has one.
    fn drop_closure(&self) {
        if let Some(handler) = self.handler() {
            let boxed = core::ptr::from_ref(handler).cast_mut();
            // SAFETY: (b)
            unsafe { *self.func.get() = None };
            // SAFETY: `init` made the box, and nobody else refers to it: a run has its own clone.
            drop(unsafe { Box::from_raw(boxed) });
        }
    }

    /// [`Task::init`] as C has it, in memory that may hold anything but a task with a closure.
    ///
    /// # Safety
    ///
    /// Whenever the task was enqueued, `func` may be called with `context`, from a thread of the queue.
    pub unsafe fn init_fn(&self, priority: u8, func: TaskFn, context: *mut c_void) {
        self.set(priority, func, context);
    }

    /// `ta_pending`.
    pub fn pending(&self) -> usize {
        self.pending.get() as usize
    }

    fn wchan(&self) -> usize {
        core::ptr::from_ref(self) as usize
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.drop_closure();
    }
}

/// `struct timeout_task`: a task that a queue runs some time later. Pinned by use.
#[repr(C)]
#[derive(Debug)]
pub struct TimeoutTask {
    /// (b)
    queue: OwnedPtr<Taskqueue>,
    task: Task,
    callout: Callout,
    /// (q) `DT_CALLOUT_ARMED`.
    armed: Owned32,
    /// (q) `DT_DRAIN_IN_PROGRESS`.
    draining: Owned32,
}

// `linuxkpi/include/sys/taskqueue.h` asserts the same.
const _: () = {
    assert!(offset_of!(TimeoutTask, task) == 8);
    assert!(size_of::<TimeoutTask>() <= 112);
};

impl Default for TimeoutTask {
    fn default() -> Self {
        Self::new()
    }
}

impl TimeoutTask {
    /// A task that was not initialised.
    pub const fn new() -> Self {
        Self {
            queue: OwnedPtr::null(),
            task: Task::new(),
            callout: Callout::new(),
            armed: Owned32::new(0),
            draining: Owned32::new(0),
        }
    }

    /// `TIMEOUT_TASK_INIT()`: for `queue` alone. Not while it is armed, on the queue, or runs.
    pub fn init(&self, queue: &'static Taskqueue, priority: u8, handler: Handler) {
        self.task.init(priority, handler);
        self.init_rest(queue);
    }

    /// [`TimeoutTask::init`] as C has it, in memory that may hold anything but a task with a closure.
    ///
    /// # Safety
    ///
    /// As for [`Task::init_fn`].
    pub unsafe fn init_fn(&self, queue: &'static Taskqueue, priority: u8, func: TaskFn, context: *mut c_void) {
        // SAFETY: the caller's promise.
        unsafe { self.task.init_fn(priority, func, context) };
        self.init_rest(queue);
    }

    fn init_rest(&self, queue: &'static Taskqueue) {
        self.callout.init_lock(Some(queue.mutex.object()), Cf::RETURNUNLOCKED);
        self.queue.set(core::ptr::from_ref(queue).cast_mut());
        self.armed.set(0);
        self.draining.set(0);
    }

    /// The task: what the handler's queue knows.
    pub fn task(&self) -> &Task {
        &self.task
    }
}

/// `taskqueue_timeout_func()`: a callout's function, with the queue's mutex held, which it returns without.
unsafe extern "C-unwind" fn timed_out(arg: *mut c_void) {
    // SAFETY: who armed the timeout keeps it alive until it has run, was cancelled or drained; its queue lives as long.
    let timeout = unsafe { &*arg.cast::<TimeoutTask>() };
    // SAFETY: as above.
    let queue = unsafe { &*timeout.queue.get() };
    kassert!(timeout.armed.get() != 0, "Stray timeout");
    queue.disarm(timeout);
    queue.enqueue_locked(&timeout.task, Loc::caller());
}

/// `struct taskqueue_busy`: what a thread runs.
#[derive(Debug, Clone, Copy)]
struct Busy {
    thread: *const Thread,
    task: *const Task,
    seq: u64,
}

/// What the mutex guards.
#[derive(Debug)]
struct State {
    /// `tq_queue`.
    queue: Vec<*const Task>,
    /// `tq_active`.
    active: Vec<Busy>,
    /// `tq_seq`: runs so far.
    seq: u64,
    /// `tq_threadcount`.
    threads: usize,
    /// `tq_callouts`: armed timeouts.
    callouts: usize,
    /// Not `TQ_FLAGS_ACTIVE`.
    ending: bool,
    /// `TQ_FLAGS_BLOCKED`.
    blocked: bool,
}

/// `struct taskqueue`.
#[derive(Debug)]
pub struct Taskqueue {
    mutex: Mtx,
    spin: bool,
    /// Its tasks run under Giant.
    giant: bool,
    name: &'static CStr,
    /// (mutex)
    state: Guarded<State>,
}

/// The queues of an execution: they own the memory that threads and callers refer to.
static REGISTRY: ModuleData<Kept<Taskqueue>> = ModuleData::new();

/// A queue that the kernel has from the start: the index is C's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
enum Known {
    Thread,
    Swi,
    SwiGiant,
    Fast,
}

/// The queues that the kernel has from the start, once somebody has asked for them.
#[derive(Debug, Default)]
struct Queues([OnceQueue; 4]);

/// A queue, once it is made.
#[derive(Debug)]
struct OnceQueue {
    queue: OwnedPtr<Taskqueue>,
    made: Once,
}

impl Default for OnceQueue {
    fn default() -> Self {
        Self { queue: OwnedPtr::null(), made: Once::new() }
    }
}

static QUEUES: ModuleData<Queues> = ModuleData::new();

fn known(which: Known) -> &'static Taskqueue {
    let OnceQueue { queue, made } = &QUEUES.get().0[which as usize];
    let there = made.ensure(|| {
        let (name, kind, priority) = match which {
            Known::Thread => (c"thread taskq", Mtxf::DEF, pri::PWAIT),
            Known::Swi => (c"swi6: task queue", Mtxf::DEF, pri::PI_SOFT),
            Known::SwiGiant => (c"swi5: Giant taskq", Mtxf::DEF, pri::PI_SOFT),
            Known::Fast => (c"swi6: fast taskq", Mtxf::SPIN, pri::PI_SOFT),
        };
        let made = Taskqueue::create_with(name, kind, which == Known::SwiGiant);
        made.start_threads(1, priority);
        queue.set(core::ptr::from_ref(made).cast_mut());
    });
    if !there {
        // The machine has stopped while it was made; whatever is done with this one comes to nothing.
        return Taskqueue::create(c"taskq");
    }
    // SAFETY: queues live as long as the execution.
    unsafe { &*queue.get() }
}

/// `taskqueue_thread`: run by a thread, where one may sleep. Not with a spin mutex held the first time.
pub fn taskqueue_thread() -> &'static Taskqueue {
    known(Known::Thread)
}

/// `taskqueue_swi`: run at the priority of software interrupts. Not with a spin mutex held the first time.
pub fn taskqueue_swi() -> &'static Taskqueue {
    known(Known::Swi)
}

/// `taskqueue_swi_giant`: [`taskqueue_swi`] under Giant.
pub fn taskqueue_swi_giant() -> &'static Taskqueue {
    known(Known::SwiGiant)
}

/// `taskqueue_fast`: [`taskqueue_swi`] for interrupt filters and critical sections.
pub fn taskqueue_fast() -> &'static Taskqueue {
    known(Known::Fast)
}

impl Taskqueue {
    /// `taskqueue_create()`: a queue under a sleep mutex, without threads yet. Valid until the execution ends.
    #[track_caller]
    pub fn create(name: &'static CStr) -> &'static Self {
        Self::create_with(name, Mtxf::DEF, false)
    }

    /// `taskqueue_create_fast()`: a queue under a spin mutex, for critical sections and interrupt filters.
    #[track_caller]
    pub fn create_fast(name: &'static CStr) -> &'static Self {
        Self::create_with(name, Mtxf::SPIN, false)
    }

    #[track_caller]
    fn create_with(name: &'static CStr, kind: Mtxf, giant: bool) -> &'static Self {
        let state = State {
            queue: Vec::new(),
            active: Vec::new(),
            seq: 0,
            threads: 0,
            callouts: 0,
            ending: false,
            blocked: false,
        };
        let spin = kind == Mtxf::SPIN;
        let tq = Box::new(Self { mutex: Mtx::zeroed(), spin, giant, name, state: Guarded::new(state) });
        tq.mutex.init(name, kind);
        REGISTRY.get().keep(|_| tq)
    }

    /// `taskqueue_start_threads()`: `count` threads of `priority`; one is called as its queue, more get numbers.
    ///
    /// # Panics
    ///
    /// A Rust panic if `count` is 0 (FreeBSD returns EINVAL).
    #[track_caller]
    pub fn start_threads(&'static self, count: usize, priority: u32) {
        self.start_threads_on(count, priority, None);
    }

    /// [`Taskqueue::start_threads`] that begin on a given CPU.
    #[track_caller]
    pub fn start_threads_on(&'static self, count: usize, priority: u32, cpu: Option<usize>) {
        self.start_threads_named(count, priority, cpu, self.name.to_str().unwrap_or("taskq"));
    }

    /// [`Taskqueue::start_threads_on`], of another name than the queue's.
    #[track_caller]
    pub fn start_threads_named(&'static self, count: usize, priority: u32, cpu: Option<usize>, base: &str) {
        assert!(count > 0, "taskqueue_start_threads: EINVAL");
        let loc = Loc::caller();
        for at in 0..count {
            let name = if count == 1 { base.to_owned() } else { format!("{base}_{at}") };
            self.lock(loc);
            self.state().threads += 1;
            self.unlock(loc);
            kthread_add(Kthread { name: &name, priority, flags: tdf::KPROC, cpu }, move || self.thread_loop());
        }
    }

    fn lock(&self, loc: Loc) {
        if self.spin { self.mutex.lock_spin_at(0, loc) } else { self.mutex.lock_at(0, loc) }
    }

    fn unlock(&self, loc: Loc) {
        if self.spin { self.mutex.unlock_spin_at(loc) } else { self.mutex.unlock_at(loc) }
    }

    /// What the mutex guards; it is held, and the reference does not outlive the statement.
    #[expect(clippy::mut_from_ref, reason = "the mutex makes it exclusive")]
    fn state(&self) -> &mut State {
        // SAFETY: (mutex) every caller holds it, and uses the reference for one expression.
        unsafe { self.state.get() }
    }

    /// `TQ_SLEEP()`.
    #[track_caller]
    fn sleep(&self, wchan: usize, wmesg: &'static str) {
        if self.spin {
            sleep::msleep_spin(wchan, &self.mutex, wmesg, 0);
        } else {
            sleep::sleep(wchan, Some(self.mutex.object()), How::default(), wmesg);
        }
    }

    fn wchan(&self) -> usize {
        core::ptr::from_ref(self) as usize
    }

    /// What `free` sleeps on, `tq_threads`.
    fn threads_wchan(&self) -> usize {
        core::ptr::from_ref(&self.state) as usize
    }

    /// `taskqueue_enqueue()`: asks for one more run of `task`.
    ///
    /// # Panics
    ///
    /// Those of its mutex: on a normal queue row 64 of the misuse table, in a critical section.
    ///
    /// # Safety
    ///
    /// The task stays where it is until it has run or was cancelled, and is used with one queue at a time. Its handler may free it;
    /// anybody else drains it first.
    #[track_caller]
    pub unsafe fn enqueue(&self, task: &Task) {
        if !cpu::step("taskqueue_enqueue", self.mutex.object().id()) {
            return;
        }
        let loc = Loc::caller();
        self.lock(loc);
        self.enqueue_locked(task, loc);
    }

    /// `taskqueue_enqueue_flags(.., TASKQUEUE_FAIL_IF_PENDING)`: as [`Taskqueue::enqueue`], unless `task` is queued; whether it was not.
    ///
    /// # Panics
    ///
    /// As [`Taskqueue::enqueue`].
    ///
    /// # Safety
    ///
    /// As [`Taskqueue::enqueue`].
    #[track_caller]
    pub unsafe fn enqueue_unless_pending(&self, task: &Task) -> bool {
        if !cpu::step("taskqueue_enqueue_flags", self.mutex.object().id()) {
            return false;
        }
        let loc = Loc::caller();
        self.lock(loc);
        if task.pending.get() != 0 {
            self.unlock(loc);
            return false;
        }
        self.enqueue_locked(task, loc);
        true
    }

    /// `taskqueue_enqueue_locked()`: entered with the mutex held, returns without it.
    fn enqueue_locked(&self, task: &Task, loc: Loc) {
        // SAFETY: set before the task is first enqueued, and then only while nobody does.
        let known = unsafe { task.func.get() }.is_some();
        kassert!(known, "enqueueing task with NULL func");
        let pending = task.pending.get();
        if pending != 0 {
            task.pending.set(pending.saturating_add(1));
            self.unlock(loc);
            return;
        }
        self.insert(task);
        let blocked = self.state().blocked;
        self.unlock(loc);
        if !blocked {
            sleep::wakeup_any(self.wchan());
        }
    }

    /// Queues by priority, behind equals and behind any barrier; the mutex is held.
    fn insert(&self, task: &Task) {
        let queue = &mut self.state().queue;
        // SAFETY: queued tasks are alive.
        let before = queue.iter().rposition(|&other| unsafe { (*other).priority.get() } >= task.priority.get());
        queue.insert(before.map_or(0, |at| at + 1), task);
        task.pending.set(1);
    }

    /// `task_is_running()`; the mutex is held.
    fn is_running(&self, task: &Task) -> bool {
        self.state().active.iter().any(|busy| core::ptr::eq(busy.task, task))
    }

    /// `taskqueue_cancel()`: takes the task off; returns how many runs were pending.
    ///
    /// # Errors
    ///
    /// [`EBUSY`] and the pending count, if it is running: it was taken off nevertheless.
    #[track_caller]
    pub fn cancel(&self, task: &Task) -> Result<usize, (i32, usize)> {
        if !cpu::step("taskqueue_cancel", self.mutex.object().id()) {
            return Ok(0);
        }
        let loc = Loc::caller();
        self.lock(loc);
        let cancelled = self.cancel_locked(task);
        self.unlock(loc);
        cancelled
    }

    /// `taskqueue_cancel_locked()`.
    fn cancel_locked(&self, task: &Task) -> Result<usize, (i32, usize)> {
        let pending = task.pending();
        if pending > 0 {
            self.state().queue.retain(|&other| !core::ptr::eq(other, task));
            task.pending.set(0);
        }
        if self.is_running(task) { Err((EBUSY, pending)) } else { Ok(pending) }
    }

    /// `taskqueue_enqueue_timeout()`: asks for a run of the task after `ticks`; 0 is now. An armed timeout is set anew, unless `ticks` is
    /// negative: one that is not armed is then set by as many. Returns how many runs were asked for before and have not begun, the
    /// armed one not counted if this is for now.
    ///
    /// While the task is drained it is not armed, and -1 is returned.
    ///
    /// # Panics
    ///
    /// `Migrated queue` (INVARIANTS), and those of [`Taskqueue::enqueue`].
    ///
    /// # Safety
    ///
    /// As for [`Taskqueue::enqueue`].
    #[track_caller]
    pub unsafe fn enqueue_timeout(&self, timeout: &TimeoutTask, ticks: i64) -> i32 {
        if !cpu::step("taskqueue_enqueue_timeout", self.mutex.object().id()) {
            return 0;
        }
        let loc = Loc::caller();
        self.lock(loc);
        kassert!(core::ptr::eq(timeout.queue.get(), self), "Migrated queue");
        let mut pending = timeout.task.pending() as i32;
        if timeout.draining.get() != 0 {
            self.unlock(loc);
            return -1;
        }
        if ticks == 0 {
            self.enqueue_locked(&timeout.task, loc);
            return pending;
        }
        let was_armed = timeout.armed.get() != 0;
        if was_armed {
            pending += 1;
        } else {
            timeout.armed.set(1);
            self.state().callouts += 1;
        }
        if ticks > 0 || !was_armed {
            let arg = core::ptr::from_ref(timeout).cast_mut().cast();
            // A spin mutex is taken in the clock interrupt: softclock may sleep on none.
            let flags = if self.spin { Cf::DIRECT_EXEC } else { Cf::empty() };
            timeout.callout.reset(ticks.unsigned_abs(), callout::Handler::Func(timed_out, arg), None, flags);
        }
        self.unlock(loc);
        pending
    }

    /// `taskqueue_cancel_timeout()`: disarms the timeout and takes the task off; returns how many runs were pending.
    ///
    /// # Errors
    ///
    /// As for [`Taskqueue::cancel`].
    #[track_caller]
    pub fn cancel_timeout(&self, timeout: &TimeoutTask) -> Result<usize, (i32, usize)> {
        if !cpu::step("taskqueue_cancel_timeout", self.mutex.object().id()) {
            return Ok(0);
        }
        let loc = Loc::caller();
        self.lock(loc);
        let stopped = usize::from(timeout.callout.stop() > 0);
        let cancelled = self.cancel_locked(&timeout.task);
        self.disarm(timeout);
        self.unlock(loc);
        cancelled.map(|pending| pending + stopped).map_err(|(error, pending)| (error, pending + stopped))
    }

    /// `taskqueue_drain_timeout()`: disarms the timeout and sleeps until the task is neither pending nor running.
    ///
    /// # Panics
    ///
    /// `Drain already in progress` (INVARIANTS).
    #[track_caller]
    pub fn drain_timeout(&self, timeout: &TimeoutTask) {
        if !cpu::step("taskqueue_drain_timeout", self.mutex.object().id()) {
            return;
        }
        let loc = Loc::caller();
        self.lock(loc);
        kassert!(timeout.draining.get() == 0, "Drain already in progress");
        timeout.draining.set(1);
        self.unlock(loc);
        timeout.callout.drain();
        self.drain(&timeout.task);
        self.lock(loc);
        self.disarm(timeout);
        timeout.draining.set(0);
        self.unlock(loc);
    }

    /// The timeout's callout is stopped or has run; the mutex is held.
    fn disarm(&self, timeout: &TimeoutTask) {
        if timeout.armed.get() != 0 {
            timeout.armed.set(0);
            self.state().callouts -= 1;
        }
    }

    /// `taskqueue_poll_is_busy()`: whether the task is pending or running.
    #[track_caller]
    pub fn poll_is_busy(&self, task: &Task) -> bool {
        if !cpu::step("taskqueue_poll_is_busy", self.mutex.object().id()) {
            return false;
        }
        let loc = Loc::caller();
        self.lock(loc);
        let busy = task.pending.get() != 0 || self.is_running(task);
        self.unlock(loc);
        busy
    }

    /// `taskqueue_drain()`: sleeps until the task is neither pending nor running.
    ///
    /// Prints `taskqueue_drain with the following non-sleepable locks held:` under WITNESS.
    #[track_caller]
    pub fn drain(&self, task: &Task) {
        if !cpu::step("taskqueue_drain", self.mutex.object().id()) {
            return;
        }
        let loc = Loc::caller();
        if !self.spin {
            witness::warn(None, loc, "taskqueue_drain");
        }
        self.lock(loc);
        while (task.pending.get() != 0 || self.is_running(task)) && !cpu::scheduler_stopped() {
            self.sleep(task.wchan(), "tq_drain");
        }
        self.unlock(loc);
    }

    /// `taskqueue_drain_all()`: sleeps until everything that is pending or running now has run.
    ///
    /// Prints `taskqueue_drain_all with the following non-sleepable locks held:` under WITNESS.
    #[track_caller]
    pub fn drain_all(&self) {
        if !cpu::step("taskqueue_drain_all", self.mutex.object().id()) {
            return;
        }
        let loc = Loc::caller();
        if !self.spin {
            witness::warn(None, loc, "taskqueue_drain_all");
        }
        self.lock(loc);
        self.drain_queued();
        self.drain_active();
        self.unlock(loc);
    }

    /// `taskqueue_quiesce()`: sleeps until nothing is pending or running, whatever is enqueued meanwhile. May sleep; unlike
    /// [`Taskqueue::drain_all`] it does not tell WITNESS so.
    #[track_caller]
    pub fn quiesce(&self) {
        if !cpu::step("taskqueue_quiesce", self.mutex.object().id()) {
            return;
        }
        let loc = Loc::caller();
        self.lock(loc);
        while !cpu::scheduler_stopped() && (self.drain_queued() || self.drain_active()) {}
        self.unlock(loc);
    }

    /// `taskqueue_drain_tq_queue()`: sleeps until what is queued has begun; returns whether anything was. The mutex is held.
    #[track_caller]
    fn drain_queued(&self) -> bool {
        if self.state().queue.is_empty() {
            return false;
        }
        // A task without a handler, behind everything that is there, whatever its priority.
        let barrier = Task::new();
        barrier.priority.set(u8::MAX);
        barrier.pending.set(1);
        self.state().queue.push(&raw const barrier);
        while barrier.pending.get() != 0 && !cpu::scheduler_stopped() {
            self.sleep(barrier.wchan(), "tq_qdrain");
        }
        true
    }

    /// `taskqueue_drain_tq_active()`: sleeps until what runs has returned; returns whether anything did. The mutex is held.
    #[track_caller]
    fn drain_active(&self) -> bool {
        if self.state().active.is_empty() {
            return false;
        }
        let seq = self.state().seq;
        while !cpu::scheduler_stopped() {
            let Some(busy) = self.state().active.iter().copied().find(|busy| busy.seq <= seq) else { break };
            self.sleep(busy.task as usize, "tq_adrain");
        }
        true
    }

    /// `taskqueue_block()`: enqueuing wakes nobody until [`Taskqueue::unblock`]. A thread that is awake goes on.
    #[track_caller]
    pub fn block(&self) {
        let loc = Loc::caller();
        if cpu::step("taskqueue_block", self.mutex.object().id()) {
            self.lock(loc);
            self.state().blocked = true;
            self.unlock(loc);
        }
    }

    /// `taskqueue_unblock()`.
    #[track_caller]
    pub fn unblock(&self) {
        let loc = Loc::caller();
        if cpu::step("taskqueue_unblock", self.mutex.object().id()) {
            self.lock(loc);
            self.state().blocked = false;
            let wake = !self.state().queue.is_empty();
            self.unlock(loc);
            if wake {
                sleep::wakeup_any(self.wchan());
            }
        }
    }

    /// `taskqueue_member()`: whether `td` runs one of this queue's tasks.
    #[track_caller]
    pub fn member(&self, td: &Thread) -> bool {
        let loc = Loc::caller();
        self.lock(loc);
        let member = self.state().active.iter().any(|busy| core::ptr::eq(busy.thread, td));
        self.unlock(loc);
        member
    }

    /// `taskqueue_free()`: lets the threads finish what is queued, and waits for their end. May sleep.
    ///
    /// # Panics
    ///
    /// `Tasks still running?` and `Armed timeout tasks` (INVARIANTS).
    #[track_caller]
    pub fn free(&self) {
        if !cpu::step("taskqueue_free", self.mutex.object().id()) {
            return;
        }
        let loc = Loc::caller();
        self.lock(loc);
        self.state().ending = true;
        while self.state().threads > 0 && !cpu::scheduler_stopped() {
            sleep::wakeup(self.wchan());
            self.sleep(self.threads_wchan(), "tq_destroy");
        }
        kassert!(self.state().active.is_empty(), "Tasks still running?");
        kassert!(self.state().callouts == 0, "Armed timeout tasks");
        self.mutex.destroy();
    }

    /// `taskqueue_run_locked()`.
    fn run_locked(&self, loc: Loc) {
        self.mutex.assert_at(ma::OWNED, loc);
        let thread: *const Thread = curthread();
        while !cpu::scheduler_stopped() {
            if self.state().queue.is_empty() {
                return;
            }
            let task = self.state().queue.remove(0);
            self.state().seq += 1;
            let seq = self.state().seq;
            self.state().active.push(Busy { thread, task, seq });
            // SAFETY: a queued task is alive, and (q) the mutex is held. After this the task is an address only: the handler
            // may free it.
            let (pending, func, context, handler) = unsafe {
                let pending = (*task).pending();
                (*task).pending.set(0);
                (pending, *(*task).func.get(), (*task).context.get(), (*task).handler().cloned())
            };
            self.unlock(loc);
            if let Some(handler) = &handler {
                handler(pending);
            } else if let Some(func) = func {
                // SAFETY: `init_fn`'s caller promised it.
                unsafe { func(context, pending as c_int) };
            }
            self.lock(loc);
            drop(handler);
            self.state().active.retain(|busy| !core::ptr::eq(busy.thread, thread));
            sleep::wakeup(task as usize);
        }
    }

    /// `taskqueue_thread_loop()`.
    fn thread_loop(&self) {
        let loc = Loc::caller();
        self.lock(loc);
        while !cpu::scheduler_stopped() {
            if self.giant && !self.state().queue.is_empty() {
                // Giant comes first.
                self.unlock(loc);
                giant::giant().lock_at(0, loc);
                self.lock(loc);
                self.run_locked(loc);
                self.unlock(loc);
                giant::giant().unlock_at(loc);
                self.lock(loc);
                continue;
            }
            self.run_locked(loc);
            if self.state().ending {
                break;
            }
            // Nothing on this stack needs dropping while it waits for work.
            park(true);
            self.sleep(self.wchan(), "-");
            park(false);
        }
        self.state().threads -= 1;
        sleep::wakeup_one(self.threads_wchan());
        self.unlock(loc);
    }
}

/// Marks the calling thread as waiting in its base loop, or not. The flags are the scheduler's.
fn park(on: bool) {
    let td = curthread();
    sched::thread_lock(td);
    let flags = td.flags.get() & !tdf::PARKED;
    td.flags.set(if on { flags | tdf::PARKED } else { flags });
    sched::thread_unlock(td);
}

// SAFETY: the mutex guards the state; the rest does not change.
unsafe impl Sync for Taskqueue {}
// SAFETY: a queue that moves is not in use, and belongs to no thread.
unsafe impl Send for Taskqueue {}
