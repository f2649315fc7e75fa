//! linux/kthread.h, and threads that stand for a system call.
//!
//! A kthread runs at softirq priority, as LinuxKPI's do. Its function ends by returning when it sees [`kthread_should_stop`];
//! [`kthread_stop`] waits for that and returns what it returned. The thread lingers until its code was read, which is what the
//! task's reference does in Linux.
//!
//! References: sys/compat/linuxkpi/common/src/linux_kthread.c.

use crate::sched::{Task, current, of, wake_up_process};
use core::ffi::{c_int, c_void};
use freebsd_sys::atomic::thread_fence_seq_cst;
use freebsd_sys::sched::pri;
use freebsd_sys::thread::{Kthread, kthread_add};
use freebsd_sys::userret::userret;

/// The function of a kthread.
pub type KthreadFunc = unsafe extern "C-unwind" fn(*mut c_void) -> c_int;

/// `kthread_run()`: a thread that runs `body`. The name may be formatted. Not under a spin mutex.
///
/// The thread may be another host thread, so what it runs must be fit to be sent there.
///
/// ```compile_fail
/// let cell = std::rc::Rc::new(0);
/// linuxkpi::kthread::kthread_run("thread", move || *cell);
/// ```
pub fn kthread_run(name: &str, body: impl FnOnce() -> i32 + Send + 'static) -> &'static Task {
    of(kthread_add(Kthread { name, priority: pri::PI_SOFT, flags: 0, cpu: None }, move || {
        let task = current();
        if !kthread_should_stop_task(task) {
            task.ret.set(body() as usize);
        }
        if kthread_should_stop_task(task) {
            task.exited.complete();
            task.reaped.wait();
        }
    }))
}

/// [`kthread_run`] as C has it.
///
/// # Safety
///
/// `func` may be called with `data` from another thread.
pub unsafe fn kthread_run_fn(func: KthreadFunc, data: *mut c_void, name: &str) -> &'static Task {
    let data = data.expose_provenance();
    // SAFETY: the caller's promise.
    kthread_run(name, move || unsafe { func(core::ptr::with_exposed_provenance_mut(data)) })
}

/// Whether `kthread_stop` was called for `task`.
pub fn kthread_should_stop_task(task: &Task) -> bool {
    task.should_stop.get() != 0
}

/// `kthread_should_stop()`: whether the calling kthread is to return. Look after announcing a task state, before sleeping.
pub fn kthread_should_stop() -> bool {
    freebsd_sys::cpu::scheduler_stopped() || kthread_should_stop_task(current())
}

/// `kthread_stop()`: asks the thread to end, wakes it, waits, and returns what its function returned (0 if it never ran). Sleeps.
///
/// The thread must not have ended by itself: then nobody completes the wait.
///
/// # Panics
///
/// Those of a sleep.
pub fn kthread_stop(task: &Task) -> i32 {
    task.should_stop.set(1);
    // ORDERING: pairs with the fence in `set_current_state`, as a condition of the thread's sleep.
    thread_fence_seq_cst();
    wake_up_process(task);
    task.exited.wait();
    let ret = task.ret.get() as i32;
    task.reaped.complete();
    ret
}

/// A user thread inside a system call: `body` at user priority, then FreeBSD's audit at the return to user mode.
///
/// Not Linux's: scenarios start their threads so. Panics of the new thread: rows 101 to 105 of the misuse table (INVARIANTS,
/// WITNESS).
pub fn kthread_syscall(name: &str, body: impl FnOnce() + Send + 'static) -> &'static Task {
    of(kthread_add(Kthread { name, priority: pri::PUSER, flags: 0, cpu: None }, move || {
        body();
        userret();
    }))
}
