//! `userret()`: the audit of a thread at the end of a system call.
//!
//! ithreads and callouts get FreeBSD's own, weaker checks instead; more is `lint`.
//!
//! Reference: kern/subr_trap.c.

use crate::cpu;
use crate::panic::kassert;
use crate::sched::{self, sw, swt};
use crate::thread::{curthread, tdf};

/// `userret()`.
///
/// # Panics
///
/// Rows 101 to 105 of the misuse table; before them, `thread with borrowed priority returning to userland` if somebody waits
/// for a lock that the thread still holds.
pub fn userret() {
    if !cpu::step("userret", 0) {
        return;
    }
    let td = curthread();
    sched::userret(td);
    if cpu::witness() {
        crate::witness::warn_panic("userret: returning");
    }
    kassert!(td.critnest.get() == 0, "userret: Returning in a critical section");
    kassert!(td.locks.get() == 0, "userret: Returning with {} locks held", td.locks.get());
    kassert!(td.rw_rlocks.get() == 0, "userret: Returning with {} rwlocks held in read mode", td.rw_rlocks.get());
    kassert!(td.sx_slocks.get() == 0, "userret: Returning with {} sx locks held in shared mode", td.sx_slocks.get());
    kassert!(
        td.lk_slocks.get() == 0,
        "userret: Returning with {} lockmanager locks held in shared mode",
        td.lk_slocks.get()
    );
    kassert!(td.flags.get() & tdf::NOFAULTING == 0, "userret: Returning with pagefaults disabled");
    if td.no_sleeping.get() != 0 {
        crate::epoch::trace_list(td);
    }
    kassert!(td.no_sleeping.get() == 0, "userret: Returning with sleep disabled");
    kassert!(sched::pins() == 0, "userret: Returning with pinned thread");
    if td.flags.get() & tdf::NEEDRESCHED != 0 {
        sched::thread_lock(td);
        sched::mi_switch(sw::INVOL | swt::NEEDRESCHED);
    }
}
