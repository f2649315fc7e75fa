//! Rows 101 to 105: what a thread may not take back to user mode.

use super::tools::{mtx, rm, rw, sx};
use super::{Case, Row, case, row};
use freebsd_sys::critical::{critical_enter, spinlock_enter};
use freebsd_sys::mutex::Mtxf;
use freebsd_sys::rmlock::{PrioTracker, Rmf};
use freebsd_sys::rwlock::Rwf;
use freebsd_sys::sched::sched_pin;
use freebsd_sys::sx::Sxf;
use freebsd_sys::thread::{curthread, thread_no_sleeping, vm_fault_disable_pagefaults, vm_fault_enable_pagefaults};
use freebsd_sys::userret::userret;

/// `body`, then the return to user mode.
fn returning(name: &str, body: fn()) -> Case {
    case(name, move || {
        body();
        userret();
    })
}

/// A lock that the thread keeps when its variable is gone.
fn keep<T>(lock: T) {
    std::mem::forget(lock);
}

pub(super) fn rows() -> Vec<Row> {
    let critical = "userret: Returning in a critical section";
    let one = "userret: Returning with 1 locks held";
    let held = "userret: returning with the following locks held:";
    vec![
        row(
            101,
            [
                returning("in a critical section", critical_enter).invariants(critical),
                returning("with interrupts off", spinlock_enter).invariants(critical),
                returning("with a spin mutex that is not enrolled", || {
                    let s = mtx(c"s", Mtxf::SPIN | Mtxf::NOWITNESS);
                    s.lock_spin();
                    keep(s);
                })
                .invariants(critical),
            ],
        ),
        row(
            102,
            [
                returning("with a mutex that is not enrolled", || {
                    let m = mtx(c"m", Mtxf::NOWITNESS);
                    m.lock();
                    keep(m);
                })
                .invariants(one),
                returning("with a read lock that is not enrolled", || {
                    let rw = rw(c"rw", Rwf::NOWITNESS);
                    rw.rlock();
                    keep(rw);
                })
                .invariants(one),
                returning("with two sx locks that are not enrolled", || {
                    let (a, b) = (sx(c"a", Sxf::NOWITNESS), sx(c"b", Sxf::NOWITNESS));
                    a.xlock();
                    b.slock();
                    keep((a, b));
                })
                .invariants("userret: Returning with 2 locks held"),
            ],
        ),
        // td_locks counts shared holds too and is looked at first: these show only where the counts disagree, as when one thread
        // takes and another releases. The tests miscount.
        row(
            103,
            [
                returning("with a rwlock in the count of read locks", || curthread().rw_rlocks.add(1))
                    .invariants("userret: Returning with 1 rwlocks held in read mode"),
                returning("with an sx lock in the count of shared locks", || curthread().sx_slocks.add(1))
                    .invariants("userret: Returning with 1 sx locks held in shared mode"),
                returning("with a lockmgr lock in the count of shared locks", || curthread().lk_slocks.add(1))
                    .invariants("userret: Returning with 1 lockmanager locks held in shared mode"),
                returning("with a read lock too many released", || {
                    let (rw, sx) = (rw(c"rw", Rwf::NOWITNESS), sx(c"sx", Sxf::NOWITNESS));
                    // Another thread's read lock, for INVARIANTS without WITNESS, which takes any reader for this one.
                    rw.rlock();
                    curthread().rw_rlocks.sub(1);
                    curthread().locks.sub(1);
                    sx.slock();
                    rw.runlock();
                    keep(sx);
                })
                .invariants("userret: Returning with -1 rwlocks held in read mode"),
            ],
        ),
        row(
            104,
            [
                returning("with sleeping prohibited", thread_no_sleeping)
                    .invariants("userret: Returning with sleep disabled"),
                returning("pinned", sched_pin).invariants("userret: Returning with pinned thread"),
                returning("with page faults disabled", || _ = vm_fault_disable_pagefaults())
                    .invariants("userret: Returning with pagefaults disabled"),
                returning("with page faults enabled again", || {
                    let outer = vm_fault_disable_pagefaults();
                    let inner = vm_fault_disable_pagefaults();
                    vm_fault_enable_pagefaults(inner);
                    vm_fault_enable_pagefaults(outer);
                }),
            ],
        ),
        row(
            105,
            [
                returning("with an enrolled mutex", || {
                    let m = mtx(c"m", Mtxf::DEF);
                    m.lock();
                    keep(m);
                })
                .without_witness(one)
                .prints(&[held, "exclusive sleep mutex m (m) r = 0 (%p) locked @ %s:%d"])
                .witness("witness_warn"),
                returning("with an enrolled shared sx lock, sleepable or not", || {
                    let sx = sx(c"sx", Sxf::empty());
                    sx.slock();
                    keep(sx);
                })
                .without_witness(one)
                .prints(&[held, "shared sx sx (sx) r = 0 (%p) locked @ %s:%d"])
                .witness("witness_warn"),
                returning("with an enrolled spin mutex", || {
                    let s = mtx(c"s", Mtxf::SPIN);
                    s.lock_spin();
                    keep(s);
                })
                .without_witness(critical)
                .prints(&[held, "exclusive spin mutex s (s) r = 0 (%p) locked @ %s:%d"])
                .witness("witness_warn"),
                returning("with an enrolled rmlock", || {
                    let (rm, tracker) = (rm(c"rm", Rmf::empty()), Box::leak(Box::new(PrioTracker::new())));
                    // SAFETY: the tracker stays for ever.
                    unsafe { rm.rlock(tracker) };
                    keep(rm);
                })
                .without_witness(one)
                .prints(&[held, "shared rm rm (rm) r = 0 (%p) locked @ %s:%d"])
                .witness("witness_warn"),
            ],
        ),
    ]
}
