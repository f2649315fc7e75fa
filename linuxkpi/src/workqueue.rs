//! linux/workqueue.h: works run by the threads of a taskqueue(9), where they may sleep.
//!
//! # State of a work
//!
//! | state | meaning |
//! |---|---|
//! | IDLE | never queued, or cancelled |
//! | TIMER | a delayed work: its time has not come, or it was queued without any |
//! | TASK | queued |
//! | EXEC | taken off by a thread; stays so when the function has returned, since that may have freed the work |
//! | CANCEL | a delayed work that is being cancelled, by somebody who does not wait |
//!
//! # Algorithm
//!
//! Queuing sets TASK. From EXEC the work may be running now, so its executor must be told to run it once more instead of a
//! second thread taking it: the queuer looks for it in the list of executors, under `linux_wq_exec`. That is a sleep mutex that
//! WITNESS sees, as is the taskqueue's own; a work that was queued before meets it each time. This is why `queue_work` in a
//! critical section panics.
//!
//! # Deviations
//!
//! From LinuxKPI: two threads serve a queue where it has at least four; works that wait for two others deadlock.
//! From Linux (LinuxKPI's): no per-CPU pools, no ordered queues unless made with one thread.
//!
//! References: sys/compat/linuxkpi/common/src/linux_work.c, linux/workqueue.h.

mod delayed;

pub use delayed::{DelayedWork, schedule_delayed_work};

use crate::Loc;
use crate::once::Once;
use core::ffi::{CStr, c_int, c_void};
use freebsd_sys::atomic::{Owned32, OwnedPtr, OwnedUsize, Word};
use freebsd_sys::module::ModuleData;
use freebsd_sys::mutex::{Mtx, Mtxf};
use freebsd_sys::sched::pri;
use freebsd_sys::taskqueue::{Task, Taskqueue};
use freebsd_sys::{cpu, witness};

/// Threads of a queue; one that waits for another's work needs a second.
pub(crate) const THREADS: usize = 2;

/// `WORK_ST_*`.
mod state {
    pub(super) const IDLE: usize = 0;
    pub(super) const TIMER: usize = 1;
    pub(super) const TASK: usize = 2;
    pub(super) const EXEC: usize = 3;
    pub(super) const CANCEL: usize = 4;

    /// Somebody has asked for the work, and no thread has taken it yet.
    pub(super) fn is_pending(state: usize) -> bool {
        matches!(state, TIMER | TASK | CANCEL)
    }
}

/// `work_func_t`.
pub type WorkFunc = unsafe extern "C-unwind" fn(*mut WorkStruct);

/// `struct work_struct`: 56 bytes, caller-owned.
#[repr(C)]
#[derive(Debug)]
pub struct WorkStruct {
    task: Task,
    work_queue: OwnedPtr<WorkqueueStruct>,
    func: OwnedUsize,
    state: Word,
}

const _: () = assert!(size_of::<WorkStruct>() == 56);

impl Default for WorkStruct {
    fn default() -> Self {
        Self::new()
    }
}

impl WorkStruct {
    /// A work that was not initialised.
    pub const fn new() -> Self {
        Self {
            task: Task::new(),
            work_queue: OwnedPtr::null(),
            func: OwnedUsize::new(0),
            state: Word::new(state::IDLE),
        }
    }

    /// `INIT_WORK()`.
    ///
    /// # Safety
    ///
    /// The work is not queued and does not run. `func` may be called with its address whenever it was queued.
    pub unsafe fn init(&self, func: WorkFunc) {
        self.work_queue.set(core::ptr::null_mut());
        self.func.set(func as usize);
        self.state.set(state::IDLE);
        // SAFETY: who queues the work keeps it alive until it runs.
        unsafe { self.task.init_fn(0, linux_work_fn, core::ptr::from_ref(self).cast_mut().cast()) };
    }

    /// `linux_update_state()`: moves the state as `next` says; returns what it was.
    fn update(&self, next: impl Fn(usize) -> usize) -> usize {
        let mut old = self.state.read();
        loop {
            // ORDERING: acquire on success. Handing the work over is the taskqueue's mutex's business.
            match self.state.fcmpset_acq(old, next(old)) {
                Ok(()) => return old,
                Err(now) => old = now,
            }
        }
    }

    /// `work_pending()`: queued, or its time has not come; not yet taken off.
    pub fn pending(&self) -> bool {
        state::is_pending(self.state.read())
    }

    /// `work_busy()`: whether it is pending or runs.
    ///
    /// # Panics
    ///
    /// As the taskqueue's mutex.
    #[track_caller]
    pub fn busy(&self) -> bool {
        match self.state.read() {
            state::IDLE => false,
            state::EXEC => self.queue().is_some_and(|wq| wq.tq().poll_is_busy(&self.task)),
            _ => true,
        }
    }

    /// The queue that it was last put on.
    fn queue(&self) -> Option<&WorkqueueStruct> {
        // SAFETY: a queue outlives the works that were put on it.
        unsafe { self.work_queue.get().as_ref() }
    }

    /// `flush_work()`: waits until it is neither queued nor running; whether it was. Sleeps.
    ///
    /// Prints `linux_flush_work() might sleep with the following non-sleepable locks held:` under WITNESS.
    ///
    /// # Panics
    ///
    /// Those of a sleep.
    #[track_caller]
    pub fn flush(&self) -> bool {
        if !cpu::step("flush_work", 0) {
            return false;
        }
        witness::warn(None, Loc::caller(), "linux_flush_work() might sleep");
        self.state.read() != state::IDLE && self.wait()
    }

    /// Waits until its queue has done with it; whether there was anything to wait for.
    #[track_caller]
    fn wait(&self) -> bool {
        let Some(wq) = self.queue() else { return false };
        let busy = wq.tq().poll_is_busy(&self.task);
        wq.tq().drain(&self.task);
        busy
    }

    /// `cancel_work_sync()`: takes it off its queue, and waits for it if it runs; whether it was queued. Sleeps.
    ///
    /// Prints `linux_cancel_work_sync() might sleep with the following non-sleepable locks held:` under WITNESS.
    ///
    /// # Panics
    ///
    /// Those of a sleep.
    #[track_caller]
    pub fn cancel_sync(&self) -> bool {
        if !cpu::step("cancel_work_sync", 0) {
            return false;
        }
        witness::warn(None, Loc::caller(), "linux_cancel_work_sync() might sleep");
        let mut cancelled = false;
        // The work may queue itself again while it is waited for.
        while !cpu::scheduler_stopped() {
            let old = self.update(|_| state::IDLE);
            if old == state::IDLE {
                break;
            }
            if let Some(wq) = self.queue()
                && wq.tq().cancel(&self.task).is_err()
            {
                wq.tq().drain(&self.task);
            }
            cancelled |= old == state::TASK;
        }
        cancelled
    }

    /// Tells the thread that runs it, if one does, to run it again.
    #[track_caller]
    fn runs_again(&self) -> bool {
        self.queue().is_some_and(|wq| wq.unblock(self))
    }

    /// Calls the function.
    unsafe fn call(this: *mut Self) {
        // SAFETY: `init` stored a `WorkFunc`, and the work is alive until it is called.
        unsafe { core::mem::transmute::<usize, WorkFunc>((*this).func.get())(this) };
    }
}

/// `struct work_exec`: a thread that runs a work; lies on its stack.
#[derive(Debug)]
struct WorkExec {
    next: OwnedPtr<WorkExec>,
    /// The work; null once somebody has asked for it again.
    target: OwnedPtr<WorkStruct>,
}

/// `struct workqueue_struct`: 56 bytes.
#[repr(C)]
#[derive(Debug)]
pub struct WorkqueueStruct {
    taskqueue: OwnedPtr<Taskqueue>,
    exec_mtx: Mtx,
    /// (exec_mtx) Threads that run a work.
    exec_head: OwnedPtr<WorkExec>,
    draining: Owned32,
}

const _: () = assert!(size_of::<WorkqueueStruct>() == 56);

impl Default for WorkqueueStruct {
    fn default() -> Self {
        Self {
            taskqueue: OwnedPtr::null(),
            exec_mtx: Mtx::zeroed(),
            exec_head: OwnedPtr::null(),
            draining: Owned32::new(0),
        }
    }
}

impl WorkqueueStruct {
    /// `alloc_workqueue()`, in the caller's memory, with `threads` threads.
    ///
    /// # Safety
    ///
    /// The queue stays where it is until the execution ends.
    pub unsafe fn init(&self, name: &'static CStr, threads: usize) {
        self.exec_mtx.init(c"linux_wq_exec", Mtxf::DEF | Mtxf::NEW);
        self.exec_head.set(core::ptr::null_mut());
        self.draining.set(0);
        let tq = Taskqueue::create(name);
        tq.start_threads(threads, pri::PWAIT);
        self.taskqueue.set(core::ptr::from_ref(tq).cast_mut());
    }

    fn tq(&self) -> &'static Taskqueue {
        // SAFETY: set by `init`, before the queue is used; a taskqueue lives to the end of the execution.
        unsafe { &*self.taskqueue.get() }
    }

    /// `queue_work()`: has a thread call the work's function; false if it is queued already. Does not sleep, but takes sleep
    /// mutexes.
    ///
    /// # Safety
    ///
    /// The work is initialised, and lives and stays where it is until its function has begun.
    ///
    /// # Panics
    ///
    /// Row 64 of the misuse table, in a critical section or under a spin mutex: `acquiring blockable sleep lock with spinlock or
    /// critical section held`, for linux_wq_exec or the taskqueue's own mutex.
    #[track_caller]
    pub unsafe fn queue_work(&self, work: &WorkStruct) -> bool {
        if !cpu::step("queue_work", 0) {
            return false;
        }
        if self.draining.get() != 0 {
            return !work.pending();
        }
        match work.update(|old| if old == state::TIMER { old } else { state::TASK }) {
            state::TIMER | state::TASK => return false,
            state::EXEC | state::CANCEL if work.runs_again() => return true,
            _ => {}
        }
        work.work_queue.set(core::ptr::from_ref(self).cast_mut());
        // SAFETY: the caller's promise; the task is part of the work.
        unsafe { self.tq().enqueue(&work.task) };
        true
    }

    /// `linux_work_exec_unblock()`: tells the thread that runs `work`, if one does, to run it again.
    #[track_caller]
    fn unblock(&self, work: &WorkStruct) -> bool {
        self.exec_mtx.lock();
        let mut at = self.exec_head.get();
        let mut found = false;
        // SAFETY: (exec_mtx) executors take themselves off before they go.
        while let Some(exec) = unsafe { at.as_ref() } {
            if core::ptr::eq(exec.target.get(), work) {
                exec.target.set(core::ptr::null_mut());
                found = true;
                break;
            }
            at = exec.next.get();
        }
        self.exec_mtx.unlock();
        found
    }

    /// Takes `exec` off the list; exec_mtx is held.
    fn remove(&self, exec: &WorkExec) {
        let mut link = &self.exec_head;
        // SAFETY: (exec_mtx) as in `unblock`.
        while let Some(at) = unsafe { link.get().as_ref() } {
            if core::ptr::eq(at, exec) {
                link.set(exec.next.get());
                return;
            }
            link = &at.next;
        }
    }

    /// Runs `work` on this thread, and again as often as it is asked for meanwhile.
    ///
    /// # Safety
    ///
    /// The work is alive until its function is called.
    unsafe fn execute(&self, work: *mut WorkStruct) {
        let exec = WorkExec { next: OwnedPtr::null(), target: OwnedPtr::null() };
        exec.target.set(work);
        self.exec_mtx.lock();
        exec.next.set(self.exec_head.get());
        self.exec_head.set(core::ptr::from_ref(&exec).cast_mut());
        loop {
            // SAFETY: the work is alive: not called yet, or asked for again.
            let old = unsafe { (*work).update(|old| if state::is_pending(old) { state::EXEC } else { state::IDLE }) };
            if !state::is_pending(old) || cpu::scheduler_stopped() {
                break;
            }
            self.exec_mtx.unlock();
            // SAFETY: somebody asked for the work, which is alive until its function is called.
            unsafe { WorkStruct::call(work) };
            self.exec_mtx.lock();
            // Unless somebody asked for it, the work may be gone.
            if core::ptr::eq(exec.target.get(), work) {
                break;
            }
            exec.target.set(work);
        }
        self.remove(&exec);
        self.exec_mtx.unlock();
    }

    /// `flush_workqueue()`: waits until all works that are queued now have run. Sleeps.
    #[track_caller]
    pub fn flush(&self) {
        self.tq().drain_all();
    }

    /// `drain_workqueue()`: as [`WorkqueueStruct::flush`]; works that are queued meanwhile are dropped. Sleeps.
    #[track_caller]
    pub fn drain(&self) {
        self.draining.add(1);
        self.tq().drain_all();
        self.draining.sub(1);
    }

    /// `destroy_workqueue()`: drains it and ends its threads. Sleeps.
    #[track_caller]
    pub fn destroy(&self) {
        self.drain();
        self.tq().free();
    }
}

/// `linux_work_fn()`: the task's function.
unsafe extern "C-unwind" fn linux_work_fn(context: *mut c_void, _pending: c_int) {
    let work = context.cast::<WorkStruct>();
    // SAFETY: the work lives until its function is called, and its queue until the execution ends.
    unsafe {
        let wq = (*work).work_queue.get();
        (*wq).execute(work);
    }
}

/// `linux_system_short_wq`.
#[derive(Debug, Default)]
struct SystemWq {
    once: Once,
    wq: WorkqueueStruct,
}

static SYSTEM_WQ: ModuleData<SystemWq> = ModuleData::new();

/// `system_wq`, made when first asked for.
pub fn system_wq() -> &'static WorkqueueStruct {
    let system = SYSTEM_WQ.get();
    // SAFETY: module data stays where it is for the execution.
    system.once.call(|| unsafe { system.wq.init(c"linuxkpi_short_wq", THREADS) });
    &system.wq
}

/// `schedule_work()`: [`WorkqueueStruct::queue_work`] on `system_wq`.
///
/// # Safety
///
/// As [`WorkqueueStruct::queue_work`].
///
/// # Panics
///
/// As [`WorkqueueStruct::queue_work`].
#[track_caller]
pub unsafe fn schedule_work(work: &WorkStruct) -> bool {
    // SAFETY: the caller's promise.
    unsafe { system_wq().queue_work(work) }
}

/// Waits until `system_wq` is idle, if it was ever used. Sleeps.
pub(crate) fn drain() {
    let system = SYSTEM_WQ.get();
    if system.once.is_done() {
        system.wq.flush();
    }
}
