//! Rows 97 to 100: turnstile(9).

use super::tools::{mtx, rw, settle, thread, thread_at};
use super::{Case, Row, case, not_applicable, row};
use freebsd_sys::mutex::Mtxf;
use freebsd_sys::rmlock::{Rm, Rmf};
use freebsd_sys::rwlock::Rwf;
use freebsd_sys::sched::{self, pri};
use freebsd_sys::thread::curthread;
use freebsd_sys::{sleep, turnstile};
use std::sync::Arc;

pub(super) fn rows() -> Vec<Row> {
    let owner_sleeps = "Sleeping thread (tid %d, pid %d) owns a non-sleepable lock";
    vec![
        row(
            97,
            [
                case("blocking on a mutex whose owner sleeps", || {
                    let m = mtx(c"m", Mtxf::NOWITNESS);
                    let other = Arc::clone(&m);
                    m.lock();
                    thread("waiter", 0, move || other.lock());
                    sleep::pause("nap", 5);
                })
                .one_cpu()
                .always_prints(&[owner_sleeps])
                .always("sleeping thread"),
                case("blocking on a rwlock whose writer sleeps", || {
                    let rw = rw(c"rw", Rwf::NOWITNESS);
                    let other = Arc::clone(&rw);
                    rw.wlock();
                    thread("waiter", 0, move || other.rlock());
                    sleep::pause("nap", 5);
                })
                .one_cpu()
                .always_prints(&[owner_sleeps])
                .always("sleeping thread"),
                case("blocking on an rmlock whose reader sleeps", || {
                    let rm = Arc::new(Rm::zeroed());
                    rm.init(c"rm", Rmf::NOWITNESS);
                    let other = Arc::clone(&rm);
                    rm.read(|| {
                        thread("writer", 0, move || other.wlock());
                        sleep::pause("nap", 5);
                    });
                })
                .one_cpu()
                .always_prints(&[owner_sleeps])
                .always("sleeping thread"),
                case("blocking on a rwlock whose reader sleeps: nobody knows the reader", || {
                    let rw = rw(c"rw", Rwf::NOWITNESS);
                    let other = Arc::clone(&rw);
                    rw.rlock();
                    thread("waiter", 0, move || {
                        other.wlock();
                        other.wunlock();
                    });
                    sleep::pause("nap", 5);
                    rw.runlock();
                    settle();
                })
                .one_cpu(),
            ],
        ),
        row(
            98,
            [case("blocking on a mutex whose owner is gone", || {
                let m = mtx(c"m", Mtxf::NOWITNESS);
                let other = Arc::clone(&m);
                thread("owner", 0, move || other.lock());
                settle();
                // Better than the owner was, so that there is something to lend.
                thread_at("waiter", pri::PRI_MIN_REALTIME, 0, move || m.lock());
                settle();
            })
            .one_cpu()
            .invariants("thread %d(owner):0 holds m but isn't blocked on a lock")],
        ),
        not_applicable(
            99,
            "blocking on oneself on a kernel for one CPU",
            "the kernel is SMP whatever the number of CPUs",
        ),
        row(
            100,
            [
                case("turnstile_broadcast by another than the owner", || {
                    let m = mtx(c"m", Mtxf::NOWITNESS);
                    m.lock();
                    let (waits, wakes) = (Arc::clone(&m), Arc::clone(&m));
                    thread("waiter", 0, move || {
                        waits.lock();
                        waits.unlock();
                    });
                    sched::sched_relinquish();
                    thread("intruder", 0, move || {
                        turnstile::chain_lock();
                        turnstile::broadcast(wakes.object(), turnstile::EXCLUSIVE);
                        turnstile::chain_unlock();
                    });
                    // Both have their turn; the waiter, woken in vain, blocks again.
                    sched::sched_relinquish();
                    sched::sched_relinquish();
                    m.unlock();
                    settle();
                })
                .one_cpu()
                .invariants("Assertion ts->ts_owner == curthread || ts->ts_owner == NULL failed at %s:%d"),
                case("turnstile_wait with another owner than the other waiters'", || {
                    let m = mtx(c"m", Mtxf::NOWITNESS);
                    m.lock();
                    let waits = Arc::clone(&m);
                    thread("waiter", 0, move || {
                        waits.lock();
                        waits.unlock();
                    });
                    sched::sched_relinquish();
                    let joins = Arc::clone(&m);
                    thread("intruder", 0, move || {
                        turnstile::trywait();
                        let me = std::ptr::from_ref(curthread()).cast_mut();
                        turnstile::wait(joins.object(), me, turnstile::EXCLUSIVE);
                    });
                    sched::sched_relinquish();
                    m.unlock();
                    settle();
                })
                .one_cpu()
                .invariants("Assertion owner == ts->ts_owner failed at %s:%d"),
                Case::not_applicable(
                    "a thread's turnstile that is not empty, or has a lock already",
                    "threads have none: a lock's turnstile is a slot of the machine's table",
                ),
            ],
        ),
    ]
}
