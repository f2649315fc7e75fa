//! Rows 1 to 6: mi_switch(9) and critical sections.

use super::tools::{mtx, rw, settle, sx, thread};
use super::{Case, Row, case, not_applicable, row};
use freebsd_sys::condvar::Cv;
use freebsd_sys::critical::{critical_enter, critical_exit, spinlock_enter, spinlock_exit};
use freebsd_sys::mutex::Mtxf;
use freebsd_sys::rwlock::Rwf;
use freebsd_sys::sched::{self, pri, sw, swt};
use freebsd_sys::sleep;
use freebsd_sys::sx::Sxf;
use std::sync::Arc;

pub(super) fn rows() -> Vec<Row> {
    let critical = |name, body: fn()| {
        case(name, move || {
            critical_enter();
            body();
            critical_exit();
        })
        .invariants("mi_switch: switch in a critical section")
    };
    let flags = |name, flags: u32| {
        case(name, move || {
            // Stands for the thread lock, which mi_switch is entered with.
            spinlock_enter();
            sched::mi_switch(flags);
        })
    };
    vec![
        row(
            1,
            [
                critical("pause", || _ = sleep::pause("nap", 1)),
                critical("tsleep", || _ = sleep::tsleep(1, "nap", 1)),
                critical("yield", sched::sched_relinquish),
                critical("kern_yield", || sched::kern_yield(pri::PUSER)),
                critical("sched_bind to another CPU", || sched::sched_bind(1)),
                condvar(),
                blocked("block on a mutex", |taken| {
                    let m = mtx(c"m", Mtxf::NOWITNESS);
                    m.lock();
                    let other = Arc::clone(&m);
                    taken(Box::new(move || other.lock()));
                    m.unlock();
                }),
                blocked("block on a rwlock", |taken| {
                    let rw = rw(c"rw", Rwf::NOWITNESS);
                    rw.wlock();
                    let other = Arc::clone(&rw);
                    taken(Box::new(move || other.rlock()));
                    rw.wunlock();
                }),
                blocked("sleep on an sx lock", |taken| {
                    let sx = sx(c"sx", Sxf::NOWITNESS);
                    sx.xlock();
                    let other = Arc::clone(&sx);
                    taken(Box::new(move || other.slock()));
                    sx.xunlock();
                }),
                case("switch inside spinlock_enter", || {
                    // The thread lock's own spinlock_enter nests in it and adds nothing: critnest is 1.
                    spinlock_enter();
                    sched::sched_relinquish();
                    spinlock_exit();
                }),
            ],
        ),
        row(
            2,
            [flags("mi_switch without SW_VOL and SW_INVOL", swt::SLEEPQ)
                .invariants("mi_switch: switch must be voluntary or involuntary")],
        ),
        row(
            3,
            [flags("mi_switch without a reason", sw::VOL)
                .invariants("mi_switch: a switch reason (type) must be specified")],
        ),
        row(
            4,
            [flags("mi_switch with an unknown reason", sw::INVOL | 200)
                .invariants("mi_switch: invalid switch reason 200")],
        ),
        not_applicable(
            5,
            "mi_switch of a thread on a run queue",
            "only the scheduler puts threads on run queues, and no function that others may call does it to the caller",
        ),
        row(
            6,
            [
                case("critical_exit without critical_enter", critical_exit)
                    .invariants("critical_exit: td_critnest == 0"),
                case("critical_exit once too often", || {
                    critical_enter();
                    critical_exit();
                    critical_exit();
                })
                .invariants("critical_exit: td_critnest == 0"),
            ],
        ),
    ]
}

fn condvar() -> Case {
    case("cv_wait", || {
        let (m, cv) = (mtx(c"m", Mtxf::DEF), Cv::zeroed());
        cv.init(c"cv");
        m.lock();
        critical_enter();
        // Where nobody checks, the wait ends, and takes its lock back in the critical section.
        cv.timedwait(m.object(), 1);
        critical_exit();
        m.unlock();
    })
    .invariants("mi_switch: switch in a critical section")
}

/// Has another thread take a lock.
type Taken<'a> = &'a dyn Fn(Box<dyn FnOnce() + Send>);

/// `hold` takes a lock, has another thread take it too in a critical section, and releases it.
fn blocked(name: &str, hold: fn(Taken<'_>)) -> Case {
    case(name, move || {
        hold(&|take| {
            thread("waiter", 0, move || {
                critical_enter();
                take();
                critical_exit();
            });
            // The owner is off the CPU, so the waiter blocks.
            sched::sched_relinquish();
        });
        settle();
    })
    .one_cpu()
    .invariants("mi_switch: switch in a critical section")
}
