//! Starvation: a waiter that is overtaken more often than a bound allows, although each CPU gets its turns.
//!
//! A thread waits for a lock from the moment it first spins, blocks or sleeps on it (or spins after a failed try) until it has
//! it, or goes on with another lock. Each time somebody else takes the lock meanwhile, it has been overtaken. FreeBSD's locks
//! are not fair: whoever comes along may take what was released for those that wait (barging). So this is asked for with
//! [`Config::starvation`](crate::machine::Config::starvation), and says which locks bound the waiting.
//!
//! A schedule that never lets a CPU move starves its thread under any lock. Sampled schedules therefore count only what happens
//! while the schedule is fair to the waiter: its CPU was never passed over, while it could have moved, for more than 16
//! events in a row, and no other thread has it. In an exhaustive search everything counts, so that a pass is a proof for any
//! schedule.

use super::explore;
use super::gs::{self, word};
use crate::cpu::{machine, touch_thread};
use crate::machine::{Machine, Verdict};
use crate::thread::{State, Thread, curthread};

/// Events that a fair schedule lets pass while a CPU could move.
pub(crate) const TURNS: u32 = 16;

/// How long each CPU could have moved, and did not.
#[derive(Debug, Default)]
pub(crate) struct Turns(Vec<u32>);

impl Turns {
    /// All CPUs have had their turns.
    pub(crate) fn reset(&mut self, cpus: usize) {
        self.0.clear();
        self.0.resize(cpus, 0);
    }

    /// `moved` is the CPU of the event that comes; those in `enabled` could have moved.
    pub(crate) fn passed(&mut self, moved: Option<usize>, enabled: impl Iterator<Item = usize>) {
        let could = enabled.fold(0u32, |could, cpu| could | 1 << cpu);
        for (cpu, turns) in self.0.iter_mut().enumerate() {
            let waits = could & 1 << cpu != 0 && moved != Some(cpu);
            *turns = if waits { *turns + 1 } else { 0 };
        }
    }

    fn fair(&self, cpu: usize) -> bool {
        self.0.get(cpu).is_none_or(|&turns| turns <= TURNS)
    }
}

/// Whether anybody is counted.
#[inline]
pub(crate) fn counts() -> bool {
    gs::word() & (word::STARVATION | word::STOPPED) == word::STARVATION
}

/// The running thread waits for the lock `id`: a lock object's address, or that of any lock of a program's own.
#[inline]
pub fn waits(id: usize) {
    if counts() {
        begins_to_wait(id);
    }
}

#[cold]
fn begins_to_wait(id: usize) {
    let td = curthread();
    if id != 0 && td.waits_for.get() != id {
        td.waits_for.set(id);
        td.overtaken.set(0);
        touch_thread(td, true);
    }
}

/// The running thread has taken the lock `id`.
#[inline]
pub fn obtained(id: usize) {
    if counts() {
        overtakes(id);
    }
}

#[cold]
fn overtakes(id: usize) {
    let (m, td) = (machine(), curthread());
    if td.waits_for.get() == id {
        td.waits_for.set(0);
    }
    let Some(bound) = m.config.starvation else { return };
    for other in m.threads().iter().filter(|other| other.waits_for.get() == id) {
        if core::ptr::eq(other.ptr(), td.ptr()) || !still_waits(other, id) {
            continue;
        }
        touch_thread(other, true);
        if !fairly_treated(m, other) {
            other.overtaken.set(0);
            continue;
        }
        other.overtaken.add(1);
        if other.overtaken.get() > bound {
            let text = format!(
                "{} waits for {} and was overtaken {} times, the last time by {}",
                other.name(),
                explore::name_of(m, id),
                other.overtaken.get(),
                td.name()
            );
            super::end(Verdict::Starvation(text));
        }
    }
}

/// Whether the thread has not gone on with something else.
fn still_waits(td: &Thread, id: usize) -> bool {
    // SAFETY: `explore` has one host thread.
    let (_, obj) = unsafe { *td.op.get() };
    obj == 0 || obj == id
}

/// Whether nothing but the lock kept the thread waiting.
fn fairly_treated(m: &Machine, td: &Thread) -> bool {
    let Some(turns) = explore::turns(m) else { return true };
    match td.state() {
        State::Running => turns.fair(td.oncpu.get() as usize),
        // On an idle CPU, which has yet to look for it.
        State::RunQ => {
            let cpu = td.tscpu.get() as usize;
            m.cpus[cpu].is_idle() && turns.fair(cpu)
        }
        _ => true,
    }
}
