//! System calls of user threads, started together and audited at their end: how a scenario gets its threads.

use crate::atomic::Owned32;
use crate::cpu;
use crate::host::explore;
use crate::mutex::{Mtx, Mtxf};
use crate::sched::pri;
use crate::sleep::{self, How};
use crate::thread::{Kthread, kthread_add};
use crate::userret::userret;
use std::sync::Arc;

/// A better priority than [`BATCH`]: an interactive program in a system call. Both are above ULE's preemption threshold,
/// so neither preempts the other; after an interrupt the better one goes first.
pub const INTERACTIVE: u32 = pri::PUSER;
/// A program that has used its share of the CPU, not niced.
pub const BATCH: u32 = pri::PRI_MIN_BATCH + 20;

/// A user thread that makes one system call.
pub struct Syscall {
    name: String,
    priority: u32,
    cpu: Option<usize>,
    body: Box<dyn FnOnce() + Send>,
}

/// A user thread of `priority` whose system call is `body`.
pub fn syscall(name: &str, priority: u32, body: impl FnOnce() + Send + 'static) -> Syscall {
    Syscall { name: name.to_owned(), priority, cpu: None, body: Box::new(body) }
}

impl Syscall {
    /// It starts on `cpu` (modulo the machine's number).
    #[must_use]
    pub fn on(mut self, cpu: usize) -> Self {
        self.cpu = Some(cpu % cpu::mp_ncpus());
        self
    }
}

impl core::fmt::Debug for Syscall {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Syscall").field("name", &self.name).field("priority", &self.priority).finish_non_exhaustive()
    }
}

/// Counts the threads down.
struct Latch {
    lock: Mtx,
    left: Owned32,
}

/// Starts the threads, lets the schedule decide until all have returned to user mode, and returns then.
pub fn run(threads: Vec<Syscall>) {
    let latch = Arc::new(Latch { lock: Mtx::zeroed(), left: Owned32::new(threads.len() as u32) });
    latch.lock.init(c"scenario", Mtxf::NOWITNESS);
    explore::begin();
    for Syscall { name, priority, cpu, body } in threads {
        let latch = Arc::clone(&latch);
        kthread_add(Kthread { name: &name, priority, flags: 0, cpu }, move || {
            body();
            userret();
            latch.lock.lock();
            latch.left.sub(1);
            if latch.left.get() == 0 {
                sleep::wakeup(latch.left.as_ptr() as usize);
            }
            latch.lock.unlock();
        });
    }
    latch.lock.lock();
    while latch.left.get() > 0 && !cpu::scheduler_stopped() {
        sleep::sleep(latch.left.as_ptr() as usize, Some(latch.lock.object()), How::default(), "scenario");
    }
    latch.lock.unlock();
    explore::end();
}

/// Programs that compute, one per CPU but the first, so that no CPU idles while the other threads compete: an idle CPU would
/// steal whatever waits behind a preempted thread, which is luck that a loaded machine does not have.
pub fn crowd() -> impl Iterator<Item = Syscall> {
    (1..cpu::mp_ncpus()).map(|cpu| {
        let body = || {
            for _ in 0..24 {
                cpu::step("compute", 0);
            }
        };
        syscall("compute", BATCH + 1, body).on(cpu)
    })
}
