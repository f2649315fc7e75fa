//! kproc(9): kernel processes, and which process a thread is of.
//!
//! There is one address space, and nothing is inherited or waited for: a process is a name, a number, and its threads. Threads that the
//! kernel's own code makes are of proc0; [`kproc_create`] makes a process of its own with one thread, to which kthread_add() adds more. All
//! other threads, thread0 with a scenario's main among them, count as one user process.
//!
//! # Context
//!
//! `kproc_create`, `kproc_suspend` and `kproc_suspend_check` may sleep. `kproc_exit` may not be called with a lock held.
//!
//! # Deviations from FreeBSD
//!
//! A process's memory goes with the execution. Numbers count from 100 on. An exiting process has no parent to tell: who waits for its end
//! sleeps on the process's address. exit1() stops the process's other threads where they are; here it waits for them to end. Nothing
//! shuts the kernel down: who wants to see [`kproc_shutdown`] at work calls it.
//!
//! References: kern/kern_kthread.c, kern/kern_exit.c, sys/kthread.h, kproc(9).

use crate::atomic::Owned32;
use crate::cpu;
use crate::interrupt;
use crate::module::{Kept, ModuleData, Once};
use crate::mutex::{Mtx, Mtxf};
use crate::panic::kprintf;
use crate::sched::{self, pri};
use crate::sleep::{self, How};
use crate::thread::{self, EINVAL, Kthread, Thread, curthread, tdf};
use core::ffi::{CStr, c_char, c_int};
use core::mem::offset_of;

/// `MAXCOMLEN`, with the end.
const COMM: usize = 20;

/// `struct proc`. The first fields are what C sees (`linuxkpi/include/sys/proc.h`), in that order.
#[repr(C)]
#[derive(Debug)]
pub struct Proc {
    /// (b) `p_pid`.
    pid: c_int,
    /// (b) `p_comm`.
    comm: [c_char; COMM],
    /// `p_mtx`.
    mtx: Mtx,
    /// (b) `P_KPROC`.
    kernel: bool,
    /// (p) SIGSTOP in `p_siglist`.
    stop: Owned32,
    /// (p) `p_numthreads` of a process that [`new`] made.
    threads: Owned32,
}

// Locking key: (b) before anybody knows of it, (p) p_mtx.

const _: () = {
    assert!(offset_of!(Proc, pid) == 0);
    assert!(offset_of!(Proc, comm) == 4);
};

impl Proc {
    fn new(pid: c_int, name: &str, kernel: bool) -> Self {
        let mut comm = [0; COMM];
        // The last byte stays 0.
        for (to, &from) in comm[..COMM - 1].iter_mut().zip(name.as_bytes()) {
            *to = from as c_char;
        }
        let mtx = Mtx::zeroed();
        Self { pid, comm, mtx, kernel, stop: Owned32::new(0), threads: Owned32::new(0) }
    }

    /// `p_pid`.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// `p_comm`.
    fn comm(&self) -> &str {
        // SAFETY: the last byte is 0.
        let comm = unsafe { CStr::from_ptr(self.comm.as_ptr()) };
        // A name may have been cut within a character.
        comm.to_str().unwrap_or("?")
    }

    /// `p_mtx`.
    pub(crate) fn mtx(&self) -> &Mtx {
        &self.mtx
    }

    fn object(&self) -> usize {
        self.mtx.object().id()
    }

    /// What who waits for its end sleeps on: the process's address.
    pub fn wchan(&self) -> usize {
        core::ptr::from_ref(self) as usize
    }

    /// `&p->p_siglist`.
    fn siglist(&self) -> usize {
        self.stop.as_ptr() as usize
    }

    fn threads_wchan(&self) -> usize {
        self.threads.as_ptr() as usize
    }
}

// SAFETY: see the locking key.
unsafe impl Sync for Proc {}

/// The processes that were there from the start.
#[derive(Debug)]
struct Known {
    proc0: Proc,
    user: Proc,
    /// Their mutexes are initialised.
    usable: Once,
}

impl Default for Known {
    fn default() -> Self {
        Self { proc0: Proc::new(0, "kernel", true), user: Proc::new(2, "user", false), usable: Once::new() }
    }
}

static KNOWN: ModuleData<Known> = ModuleData::new();

fn known() -> &'static Known {
    let known = KNOWN.get();
    known.usable.ensure_unpreempted(|| {
        for proc in [&known.proc0, &known.user] {
            proc.mtx.init(c"process lock", Mtxf::DUPOK);
            // Its other threads never end.
            proc.threads.set(u32::MAX);
        }
    });
    known
}

/// The processes made since.
static MADE: ModuleData<Kept<Proc>> = ModuleData::new();

/// `proc0`.
pub(crate) fn proc0() -> &'static Proc {
    &known().proc0
}

/// `td_proc`.
pub fn of(td: &Thread) -> &'static Proc {
    let proc = td.proc.get();
    if !proc.is_null() {
        // SAFETY: `add` wrote it, and processes live as long as the execution.
        return unsafe { &*proc };
    }
    if td.flags.get() & tdf::KPROC != 0 { proc0() } else { &known().user }
}

/// `curproc`.
pub fn curproc() -> &'static Proc {
    of(curthread())
}

/// A kernel process without a thread yet. Valid until the execution ends.
pub(crate) fn new(name: &str) -> &'static Proc {
    const FIRST: usize = 100;
    let proc = MADE.get().keep(|others| Box::new(Proc::new((FIRST + others) as c_int, name, true)));
    proc.mtx.init(c"process lock", Mtxf::DUPOK);
    proc
}

/// `kthread_add()`: a thread of `proc`, which `made` is told before it runs. Returning from `body` is an error, as in FreeBSD, but the thread
/// ends all the same.
pub(crate) fn add(
    proc: &'static Proc,
    name: &str,
    made: impl FnOnce(&'static Thread),
    body: impl FnOnce() + Send + 'static,
) -> &'static Thread {
    let spec = Kthread { name, priority: pri::PVM, flags: tdf::KPROC, cpu: None };
    let td = thread::create(spec, move || {
        body();
        // What fork_exit() does with a thread of a kernel process whose function returns.
        let (name, pid) = (curthread().name(), curproc().pid);
        kprintf!("Kernel thread \"{name}\" (pid {pid}) exited prematurely.");
        thread::kthread_exit();
    });
    if !core::ptr::eq(proc, proc0()) {
        td.proc.set(core::ptr::from_ref(proc).cast_mut());
        proc.mtx.lock();
        proc.threads.set(proc.threads.get() + 1);
        proc.mtx.unlock();
    }
    made(td);
    sched::add_new(td, None);
    td
}

/// `kproc_create()`: a kernel process whose one thread runs `body`, which ends by [`kproc_exit`]. Valid until the execution ends.
///
/// FreeBSD's text if `body` returns: `Kernel thread "%s" (pid %d) exited prematurely.`
pub fn kproc_create(name: &str, body: impl FnOnce() + Send + 'static) -> &'static Proc {
    let proc = new(name);
    add(proc, name, |_| (), body);
    proc
}

/// `kproc_exit()`: wakes who waits for the calling process's end, waits until the process's other threads have ended, and ends.
///
/// As in C, nothing on its stack is dropped.
///
/// # Panics
///
/// Row 78 of the misuse table.
pub fn kproc_exit() -> ! {
    let proc = curproc();
    if cpu::step("kproc_exit", proc.object()) {
        sleep::wakeup(proc.wchan());
        proc.mtx.lock();
        while proc.threads.get() > 1 && !cpu::scheduler_stopped() {
            sleep::sleep(proc.threads_wchan(), Some(proc.mtx.object()), How::default(), "thrsgl");
        }
        proc.threads.set(0);
        proc.mtx.unlock();
        thread::end();
    }
    crate::host::park_forever()
}

/// What kthread_exit() does for the calling thread's process: the last thread ends it.
pub(crate) fn leave(td: &Thread) {
    if td.proc.get().is_null() {
        return;
    }
    let proc = of(td);
    proc.mtx.lock();
    let others = proc.threads.get().saturating_sub(1);
    if others == 0 {
        proc.mtx.unlock();
        kproc_exit();
    }
    proc.threads.set(others);
    sleep::wakeup(proc.threads_wchan());
    proc.mtx.unlock();
}

/// `kproc_suspend()`: asks `proc` to stop at its next [`kproc_suspend_check`], wakes it if it sleeps on its own address, and sleeps until it
/// has stopped, or for `timo` ticks (0: for ever). Returns 0, [`EINVAL`] for a user process, or what a sleep returns. May sleep.
#[track_caller]
pub fn kproc_suspend(proc: &Proc, timo: u64) -> i32 {
    if !cpu::step("kproc_suspend", proc.object()) {
        return 0;
    }
    if !proc.kernel {
        return EINVAL;
    }
    proc.mtx.lock();
    proc.stop.set(1);
    sleep::wakeup(proc.wchan());
    let how = How { drop: true, ticks: timo, ..How::default() };
    sleep::sleep(proc.siglist(), Some(proc.mtx.object()), how, "suspkp")
}

/// `kproc_resume()`: lets `proc` go on. Returns 0 or [`EINVAL`].
pub fn kproc_resume(proc: &Proc) -> i32 {
    if !cpu::step("kproc_resume", proc.object()) {
        return 0;
    }
    if !proc.kernel {
        return EINVAL;
    }
    proc.mtx.lock();
    proc.stop.set(0);
    proc.mtx.unlock();
    sleep::wakeup(proc.siglist());
    0
}

/// `kern.shutdown.kproc_shutdown_wait` in ticks.
const SHUTDOWN_WAIT: u64 = 60 * interrupt::HZ;

/// `kproc_shutdown()`, a handler of the events of a shutdown: suspends `proc`, and says on the console whether it stopped within a minute. May
/// sleep.
#[track_caller]
pub fn kproc_shutdown(proc: &Proc) {
    shut_down("process", proc.comm(), || kproc_suspend(proc, SHUTDOWN_WAIT));
}

/// `kthread_shutdown()`: the same for a thread. May sleep.
#[track_caller]
pub fn kthread_shutdown(td: &Thread) {
    shut_down("thread", td.name(), || thread::kthread_suspend(td, SHUTDOWN_WAIT));
}

fn shut_down(what: &str, name: &str, suspend: impl FnOnce() -> i32) {
    if cpu::scheduler_stopped() {
        return;
    }
    let end = if suspend() == sleep::EWOULDBLOCK { "timed out" } else { "done" };
    // FreeBSD prints the first part before it waits; the console here has whole lines.
    let wait = SHUTDOWN_WAIT / interrupt::HZ;
    kprintf!("Waiting (max {wait} seconds) for system {what} `{name}' to stop... {end}");
}

/// `kproc_suspend_check()`: the calling process, `proc`, stops as long as [`kproc_suspend`] wants. May sleep.
#[track_caller]
pub fn kproc_suspend_check(proc: &Proc) {
    if !cpu::step("kproc_suspend_check", proc.object()) {
        return;
    }
    proc.mtx.lock();
    while proc.stop.get() != 0 && !cpu::scheduler_stopped() {
        sleep::wakeup(proc.siglist());
        sleep::sleep(proc.siglist(), Some(proc.mtx.object()), How::default(), "kpsusp");
    }
    proc.mtx.unlock();
}
