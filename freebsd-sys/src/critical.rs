//! Critical sections (critical_enter(9)) and `spinlock_enter`.
//!
//! `td_critnest` is counted exactly: a critical section adds one, and any number of nested spin mutexes adds one together,
//! as on FreeBSD since spinlock_enter keeps its own count.
//!
//! References: sys/systm.h, kern/kern_switch.c (critical_exit_preempt), amd64/amd64/machdep.c (spinlock_enter).

use crate::cpu;
use crate::panic::kassert;
use crate::sched::{self, sw, swt};
use crate::thread::{Thread, curthread};

/// `critical_enter()`: this thread stays on its CPU until [`critical_exit`].
#[inline]
pub fn critical_enter() {
    if cpu::step("critical_enter", 0) {
        enter(curthread());
    }
}

/// `critical_exit()`: takes a preemption that became due inside.
///
/// # Panics
///
/// `critical_exit: td_critnest == 0` (INVARIANTS).
#[inline]
pub fn critical_exit() {
    if cpu::step("critical_exit", 0) {
        exit(curthread());
    }
}

#[inline(always)]
pub(crate) fn enter(td: &Thread) {
    td.critnest.nest();
}

#[inline(always)]
pub(crate) fn exit(td: &Thread) {
    kassert!(td.critnest.get() != 0, "critical_exit: td_critnest == 0");
    td.critnest.unnest();
    if td.owepreempt.get() != 0 {
        exit_preempt(td);
    }
}

/// `critical_exit_preempt()`.
#[cold]
#[inline(never)]
fn exit_preempt(td: &Thread) {
    if td.critnest.get() != 0 || cpu::scheduler_stopped() {
        return;
    }
    td.critnest.set(1);
    sched::thread_lock(td);
    td.critnest.sub(1);
    sched::mi_switch(sw::INVOL | sw::PREEMPT | swt::OWEPREEMPT);
}

/// `spinlock_enter()`: interrupts off on this CPU, plus a critical section, however deeply nested.
#[inline]
pub fn spinlock_enter() {
    if cpu::step("spinlock_enter", 0) {
        spinlock_enter_internal();
    }
}

/// `spinlock_exit()`.
#[inline]
pub fn spinlock_exit() {
    if !cpu::scheduler_stopped() {
        spinlock_exit_internal();
    }
}

#[inline(always)]
pub(crate) fn spinlock_enter_internal() {
    let td = curthread();
    td.spinlock_count.nest();
    if td.spinlock_count.get() == 1 {
        enter(td);
    }
}

#[inline(always)]
pub(crate) fn spinlock_exit_internal() {
    let td = curthread();
    td.spinlock_count.unnest();
    if td.spinlock_count.get() == 0 {
        // Interrupts come back first, as far as the emulation is concerned: one that waits is taken at the next boundary,
        // which in `smp` is this one.
        exit(td);
    }
}
