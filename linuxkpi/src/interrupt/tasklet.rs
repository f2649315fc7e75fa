//! Tasklets: functions that a thread of the CPU runs where they were asked for, one after the other.
//!
//! Each CPU has a worker: a list of tasklets, a mutex for it, and a thread `softirqN` of priority PI_SOFT on a fast taskqueue, which stays on
//! its CPU. The mutex is a sleep mutex that WITNESS sees, so `tasklet_schedule` in a critical section panics, where Linux allows it
//! in any context; a tasklet that is scheduled already, or disabled, does not meet it.
//!
//! # State of a tasklet
//!
//! | state | meaning |
//! |---|---|
//! | IDLE | nobody asked for it |
//! | BUSY | on a worker's list |
//! | EXEC | its function runs |
//! | LOOP | its function runs, and is to run again |
//!
//! # Deviations
//!
//! From Linux, and as LinuxKPI has it: a tasklet that is scheduled while it is disabled is not run when it is enabled; one that was scheduled
//! before stays on its list until another one of that CPU is scheduled; `tasklet_hi_schedule` is `tasklet_schedule`.
//!
//! References: sys/compat/linuxkpi/common/src/linux_tasklet.c, linux/interrupt.h.

use crate::Loc;
use crate::mapping::LockMapping;
use crate::once::Once;
use core::ffi::{CStr, c_int, c_void};
use freebsd_sys::atomic::{OwnedPtr, OwnedUsize, Word};
use freebsd_sys::module::Dpcpu;
use freebsd_sys::mutex::{Mtx, Mtxf};
use freebsd_sys::sched::pri;
use freebsd_sys::taskqueue::{Task, Taskqueue};
use freebsd_sys::{cpu, sched, sleep, witness};

/// `TASKLET_ST_*`.
mod state {
    pub(super) const IDLE: usize = 0;
    pub(super) const BUSY: usize = 1;
    pub(super) const EXEC: usize = 2;
    pub(super) const LOOP: usize = 3;
}

/// A tasklet's function.
pub type TaskletFunc = unsafe extern "C-unwind" fn(*mut c_void);

/// `struct tasklet_struct`: 48 bytes, caller-owned.
#[repr(C)]
#[derive(Debug)]
pub struct Tasklet {
    /// (mtx of its worker)
    next: OwnedPtr<Tasklet>,
    func: OwnedUsize,
    data: OwnedUsize,
    /// Calls `func` as the mapping has softirqs run.
    run: OwnedUsize,
    state: Word,
    /// How often it is disabled.
    count: Word,
}

const _: () = assert!(size_of::<Tasklet>() == 48);

impl Default for Tasklet {
    fn default() -> Self {
        Self::new()
    }
}

impl Tasklet {
    /// A tasklet that was not initialised.
    pub const fn new() -> Self {
        Self {
            next: OwnedPtr::null(),
            func: OwnedUsize::new(0),
            data: OwnedUsize::new(0),
            run: OwnedUsize::new(0),
            state: Word::new(state::IDLE),
            count: Word::new(0),
        }
    }

    /// `tasklet_init()`: enabled.
    ///
    /// # Safety
    ///
    /// The tasklet is not scheduled. `func` may be called with `data` whenever it was, until [`Tasklet::kill`] has returned.
    pub unsafe fn init<M: LockMapping>(&self, func: TaskletFunc, data: *mut c_void) {
        self.func.set(func as usize);
        self.data.set(data.expose_provenance());
        self.run.set(Self::run::<M> as *const () as usize);
        self.state.set(state::IDLE);
        self.count.set(0);
    }

    extern "C-unwind" fn run<M: LockMapping>(tasklet: *mut c_void) {
        // SAFETY: called with the address of a scheduled tasklet.
        let (func, data) = unsafe {
            let tasklet = &*tasklet.cast_const().cast::<Self>();
            (tasklet.func.get(), tasklet.data.get())
        };
        // SAFETY: `init` stored a `TaskletFunc`, and its caller vouched for the pair.
        M::softirq_handler(|| unsafe {
            core::mem::transmute::<usize, TaskletFunc>(func)(core::ptr::with_exposed_provenance_mut(data));
        });
    }

    /// `TASKLET_ST_CMPSET`.
    fn moves(&self, old: usize, new: usize) -> bool {
        self.state.fcmpset_acq(old, new).is_ok()
    }

    /// `tasklet_schedule()`, `tasklet_hi_schedule()`: has this CPU's worker call the function, once more if it runs now. Does nothing if it is
    /// disabled or scheduled already. Does not sleep, but takes a sleep mutex.
    ///
    /// # Safety
    ///
    /// The tasklet is initialised, and lives and stays where it is until [`Tasklet::kill`] has returned.
    ///
    /// # Panics
    ///
    /// Row 64 of the misuse table, in a critical section or under a spin mutex: `acquiring blockable sleep lock with spinlock or critical
    /// section held`, for linux_tasklet.
    #[track_caller]
    pub unsafe fn schedule(&self) {
        if !cpu::step("tasklet_schedule", 0) || self.count.read() != 0 {
            return;
        }
        if !self.moves(state::EXEC, state::LOOP) && self.moves(state::IDLE, state::BUSY) {
            let worker = Worker::here();
            worker.mtx.lock();
            worker.append(self);
            // SAFETY: the task is part of the worker, which lives to the end of the execution.
            unsafe { worker.tq().enqueue(&worker.task) };
            worker.mtx.unlock();
        }
    }

    /// `tasklet_kill()`: waits until it is neither scheduled nor running. Sleeps.
    ///
    /// Prints `tasklet_kill() can sleep with the following non-sleepable locks held:` under WITNESS.
    ///
    /// # Panics
    ///
    /// Those of a sleep.
    #[track_caller]
    pub fn kill(&self) {
        if cpu::step("tasklet_kill", 0) {
            self.unlock_wait();
        }
    }

    /// `tasklet_unlock_wait()`: as [`Tasklet::kill`].
    #[track_caller]
    fn unlock_wait(&self) {
        witness::warn(None, Loc::caller(), "tasklet_kill() can sleep");
        while self.state.read() != state::IDLE && !cpu::scheduler_stopped() {
            sleep::pause("W", 1);
        }
    }

    /// `tasklet_disable()`: the function is not called before as many calls of [`Tasklet::enable`]; waits if it runs. Sleeps.
    ///
    /// Prints what [`Tasklet::kill`] does.
    ///
    /// # Panics
    ///
    /// Those of a sleep.
    #[track_caller]
    pub fn disable(&self) {
        if cpu::step("tasklet_disable", 0) {
            self.count.fetchadd(1);
            self.unlock_wait();
        }
    }

    /// `tasklet_enable()`.
    pub fn enable(&self) {
        if cpu::step("tasklet_enable", 0) {
            self.count.fetchadd(usize::MAX);
        }
    }

    /// `tasklet_trylock()`: takes it as its function would, if it is neither scheduled nor running.
    pub fn trylock(&self) -> bool {
        cpu::step("tasklet_trylock", 0) && self.moves(state::IDLE, state::BUSY)
    }

    /// `tasklet_unlock()`, after [`Tasklet::trylock`].
    pub fn unlock(&self) {
        if cpu::step("tasklet_unlock", 0) {
            self.state.store_rel(state::IDLE);
        }
    }

    /// Whether it is not disabled.
    pub fn is_enabled(&self) -> bool {
        self.count.read() == 0
    }

    /// Calls the function, and again as often as it is asked for meanwhile. Then the tasklet may be gone.
    ///
    /// # Safety
    ///
    /// It was taken off a worker's list.
    unsafe fn execute(this: *mut Self) {
        // SAFETY: it lives until its state is IDLE.
        let tasklet = unsafe { &*this };
        loop {
            tasklet.state.store_rel(state::EXEC);
            // SAFETY: `init` stored a function of this type.
            unsafe { core::mem::transmute::<usize, TaskletFunc>(tasklet.run.get())(this.cast()) };
            if !cpu::step("tasklet", 0) || tasklet.moves(state::EXEC, state::IDLE) {
                return;
            }
        }
    }
}

/// `struct tasklet_worker`: a CPU's.
#[derive(Debug)]
struct Worker {
    once: Once,
    mtx: Mtx,
    /// (mtx) The tasklets that are to run, first to last.
    first: OwnedPtr<Tasklet>,
    last: OwnedPtr<Tasklet>,
    task: Task,
    /// Keeps the thread on the CPU.
    binder: Task,
    tq: OwnedPtr<Taskqueue>,
}

impl Default for Worker {
    fn default() -> Self {
        Self {
            once: Once::default(),
            mtx: Mtx::zeroed(),
            first: OwnedPtr::null(),
            last: OwnedPtr::null(),
            task: Task::new(),
            binder: Task::new(),
            tq: OwnedPtr::null(),
        }
    }
}

static WORKER: Dpcpu<Worker> = Dpcpu::new();

/// Their threads' names.
const NAMES: [&CStr; cpu::MAXCPU] =
    [c"softirq0", c"softirq1", c"softirq2", c"softirq3", c"softirq4", c"softirq5", c"softirq6", c"softirq7"];

impl Worker {
    /// This CPU's, made when first asked for.
    fn here() -> &'static Self {
        Self::of(cpu::cpuid())
    }

    fn of(cpu: usize) -> &'static Self {
        let worker = WORKER.of(cpu);
        worker.once.call(|| {
            worker.mtx.init(c"linux_tasklet", Mtxf::DEF | Mtxf::NEW);
            let tq = Taskqueue::create_fast(NAMES[cpu]);
            tq.start_threads_on(1, pri::PI_SOFT, Some(cpu));
            worker.tq.set(core::ptr::from_ref(tq).cast_mut());
            // SAFETY: the worker lives to the end of the execution.
            unsafe {
                worker.task.init_fn(0, handler, core::ptr::from_ref(worker).cast_mut().cast());
                worker.binder.init_fn(0, bind, core::ptr::without_provenance_mut(cpu));
                tq.enqueue(&worker.binder);
            }
        });
        worker
    }

    fn tq(&self) -> &'static Taskqueue {
        // SAFETY: set when the worker was made; a taskqueue lives to the end of the execution.
        unsafe { &*self.tq.get() }
    }

    /// (mtx)
    fn append(&self, tasklet: &Tasklet) {
        let at = core::ptr::from_ref(tasklet).cast_mut();
        tasklet.next.set(core::ptr::null_mut());
        // SAFETY: (mtx) a listed tasklet is alive.
        match unsafe { self.last.get().as_ref() } {
            Some(last) => last.next.set(at),
            None => self.first.set(at),
        }
        self.last.set(at);
    }

    /// (mtx)
    fn take_first(&self) -> Option<*mut Tasklet> {
        let at = self.first.get();
        // SAFETY: (mtx) a listed tasklet is alive.
        let next = unsafe { at.as_ref()? }.next.get();
        self.first.set(next);
        if next.is_null() {
            self.last.set(next);
        }
        Some(at)
    }
}

/// `taskqgroup_binder()`: the worker's first task.
unsafe extern "C-unwind" fn bind(cpu: *mut c_void, _pending: c_int) {
    sched::sched_bind(cpu.addr());
}

/// `tasklet_handler()`: the worker's task.
unsafe extern "C-unwind" fn handler(worker: *mut c_void, _pending: c_int) {
    // SAFETY: the task was made with its worker, which lives to the end of the execution.
    let worker = unsafe { &*worker.cast::<Worker>() };
    worker.mtx.lock();
    // Those that are put back, and those that come meanwhile, are for another time.
    let last = worker.last.get();
    while let Some(tasklet) = worker.take_first() {
        // SAFETY: it was listed.
        if unsafe { (*tasklet).is_enabled() } {
            worker.mtx.unlock();
            // SAFETY: it was taken off the list.
            unsafe { Tasklet::execute(tasklet) };
            worker.mtx.lock();
        } else {
            // SAFETY: it is still scheduled.
            worker.append(unsafe { &*tasklet });
        }
        if tasklet == last || cpu::scheduler_stopped() {
            break;
        }
    }
    worker.mtx.unlock();
}

/// What LinuxKPI's SYSINIT does at load: makes every CPU's worker. Not needed, as [`crate::init`] is not, and apart from that, since it
/// takes a thread for each CPU. Thread context.
pub fn init_tasklets() {
    (0..cpu::mp_ncpus()).for_each(|cpu| _ = Worker::of(cpu));
}
