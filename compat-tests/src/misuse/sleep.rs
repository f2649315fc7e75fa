//! Rows 83 to 96 and 125: sleep(9), sleepqueue(9), condvar(9).

use super::tools::{in_callout, in_ithread, mtx, rm, rw, settle, thread};
use super::{Case, End, Row, case, not_applicable, page_fault, row};
use freebsd_sys::callout::Cf;
use freebsd_sys::condvar::Cv;
use freebsd_sys::epoch::{global_epoch, net_epoch_preempt};
use freebsd_sys::ffi;
use freebsd_sys::giant::giant;
use freebsd_sys::mutex::{Mtx, Mtxf};
use freebsd_sys::rmlock::Rmf;
use freebsd_sys::rwlock::Rwf;
use freebsd_sys::sleep::{self, How, msleep_spin, pause, tsleep, wakeup, wakeup_one};
use freebsd_sys::sleepqueue::{self, Type};
use freebsd_sys::thread::{thread_no_sleeping, thread_sleeping_ok};
use std::ffi::c_void;
use std::ptr::null;
use std::sync::Arc;

/// A wait channel.
const CHAN: usize = 0x1000;

/// A sleep with an interlock that ends after a tick.
fn nap(interlock: &Mtx) {
    sleep::sleep(CHAN, Some(interlock.object()), How { ticks: 1, ..How::default() }, "nap");
}

pub(super) fn rows() -> Vec<Row> {
    [held(), arguments(), prohibited(), channels(), condvar()].concat()
}

/// Rows 83 and 84: what WITNESS prints of who sleeps with locks.
fn held() -> Vec<Row> {
    let sleeping = "Sleeping on \"nap\" with the following non-sleepable locks held:";
    let mutex = "exclusive sleep mutex held (held) r = 0 (%p) locked @ %s:%d";
    // The body runs with a mutex named `held`.
    let with_mutex = |name: &str, body: fn()| {
        case(name, move || {
            let m = mtx(c"held", Mtxf::DEF);
            m.lock();
            body();
            m.unlock();
        })
    };
    vec![
        row(
            83,
            [
                with_mutex("pause with a mutex", || _ = pause("nap", 1)).prints(&[sleeping, mutex]),
                with_mutex("tsleep with a mutex", || _ = tsleep(CHAN, "nap", 1)).prints(&[sleeping, mutex]),
                with_mutex("msleep with another mutex", || {
                    let i = mtx(c"i", Mtxf::DEF);
                    i.lock();
                    nap(&i);
                    i.unlock();
                })
                .prints(&[sleeping, mutex]),
                with_mutex("msleep_spin with a mutex", || {
                    let i = mtx(c"i", Mtxf::SPIN);
                    i.lock_spin();
                    msleep_spin(CHAN, &i, "nap", 1);
                    i.unlock_spin();
                })
                .prints(&[sleeping, mutex]),
                with_mutex("cv_timedwait with another mutex", || {
                    let (i, cv) = (mtx(c"i", Mtxf::DEF), Cv::zeroed());
                    cv.init(c"cv");
                    i.lock();
                    cv.timedwait(i.object(), 1);
                    i.unlock();
                })
                .prints(&["Waiting on \"cv\" with the following non-sleepable locks held:", mutex]),
                case("pause with a read lock", || {
                    let rw = rw(c"held", Rwf::empty());
                    rw.rlock();
                    pause("nap", 1);
                    rw.runlock();
                })
                .prints(&[sleeping, "shared rw held (held) r = 0 (%p) locked @ %s:%d"]),
                case("msleep with its own mutex alone", || {
                    let i = mtx(c"i", Mtxf::DEF);
                    i.lock();
                    nap(&i);
                    i.unlock();
                }),
            ],
        ),
        row(
            84,
            [
                with_mutex("might_sleep with a mutex", ::linuxkpi::sched::might_sleep)
                    .prints(&["might_sleep() with the following non-sleepable locks held:", mutex]),
                case("might_sleep with a spin mutex", || {
                    let s = mtx(c"s", Mtxf::SPIN);
                    s.lock_spin();
                    ::linuxkpi::sched::might_sleep();
                    s.unlock_spin();
                })
                .prints(&[
                    "might_sleep() with the following non-sleepable locks held:",
                    "exclusive spin mutex s (s) r = 0 (%p) locked @ %s:%d",
                ]),
                case("might_sleep with a mutex that is not enrolled", || {
                    let m = mtx(c"m", Mtxf::NOWITNESS);
                    m.lock();
                    ::linuxkpi::sched::might_sleep();
                    m.unlock();
                }),
            ],
        ),
    ]
}

/// Rows 85 to 90: arguments.
fn arguments() -> Vec<Row> {
    vec![
        row(
            85,
            [case("_sleep without a lock and without a timeout", || {
                sleep::sleep(CHAN, None, How::default(), "nap");
            })
            .invariants("sleeping without a lock")
            .bare(End::Deadlock)],
        ),
        row(
            86,
            [
                case("_sleep on a null pointer", || _ = tsleep(0, "nap", 1)).invariants("_sleep: NULL ident"),
                case("_sleep on a sleep queue already", || {
                    on_a_queue();
                    tsleep(CHAN + 8, "nap", 1);
                })
                .invariants("recursive sleep")
                .bare(page_fault()),
                case("sleepq_add twice", || {
                    on_a_queue();
                    sleepqueue::lock(CHAN + 8);
                    sleepqueue::add(CHAN + 8, 0, "nap", Type::Sleep, 0);
                })
                .invariants("Assertion td->td_sleepqueue != NULL failed at %s:%d")
                .bare(page_fault()),
                Case::not_applicable("_sleep by a thread that does not run", "the caller runs, or it could not call"),
            ],
        ),
        row(
            87,
            [
                case("PDROP without a lock", || {
                    sleep::sleep(CHAN, None, How { drop: true, ticks: 1, ..How::default() }, "nap");
                })
                .invariants("PDROP requires a non-Giant lock"),
                case("PDROP with Giant", || {
                    giant().lock();
                    let how = How { drop: true, ticks: 1, ..How::default() };
                    sleep::sleep(CHAN, Some(giant().object()), how, "nap");
                    // It is taken back all the same.
                    giant().unlock();
                })
                .invariants("PDROP requires a non-Giant lock"),
            ],
        ),
        row(
            88,
            [case("_sleep with a spin mutex", || {
                let s = mtx(c"s", Mtxf::SPIN);
                s.lock_spin();
                // Where nobody checks it is dropped and taken back like any other lock.
                nap(&s);
                assert!(s.owned());
                s.unlock_spin();
            })
            .invariants("spin locks can only use msleep_spin")],
        ),
        row(
            89,
            [
                case("msleep_spin on a null pointer", || {
                    let s = mtx(c"s", Mtxf::SPIN);
                    s.lock_spin();
                    msleep_spin(0, &s, "nap", 1);
                    s.unlock_spin();
                })
                .invariants("msleep_spin_sbt: NULL ident"),
                case("msleep_spin with a mutex that is not held", || {
                    msleep_spin(CHAN, &mtx(c"s", Mtxf::SPIN), "nap", 1);
                })
                .invariants("mutex s not owned at %s:%d"),
                case("msleep_spin without a mutex", || {
                    // SAFETY: a null pointer is refused.
                    unsafe {
                        ffi::locks::msleep_spin_sbt(CHAN as *const c_void, null(), c"nap".as_ptr(), 0, 0, 0);
                    }
                })
                .invariants("sleeping without a mutex")
                .bare(End::Panic("page fault (fault virtual address %p, freebsd_sys::mutex::Mtx)".to_owned())),
                Case::not_applicable(
                    "msleep_spin by a thread that does not run",
                    "the caller runs, or it could not call",
                ),
            ],
        ),
        row(
            90,
            [case("pause for a negative time", || {
                // SAFETY: the text is a literal.
                unsafe { ffi::locks::pause_sbt(c"nap".as_ptr(), -1, 0, 0) };
            })
            .invariants("pause_sbt: timeout must be >= 0")],
        ),
    ]
}

/// The caller is on a sleep queue, and does not sleep.
fn on_a_queue() {
    sleepqueue::lock(CHAN);
    sleepqueue::add(CHAN, 0, "first", Type::Sleep, 0);
    sleepqueue::release(CHAN);
}

/// Rows 91 and 92: where sleeping is prohibited.
fn prohibited() -> Vec<Row> {
    let text = "sleepq_add: td %p to sleep on wchan %p with sleeping prohibited";
    let sleepers = "Sleeping on \"nap\" with the following non-sleepable locks held:";
    vec![
        row(
            91,
            [
                case("pause after THREAD_NO_SLEEPING", || {
                    thread_no_sleeping();
                    pause("nap", 1);
                    thread_sleeping_ok();
                })
                .invariants(text),
                case("pause in an interrupt thread", || in_ithread(|| _ = pause("nap", 1))).invariants(text),
                case("pause in a callout", || in_callout(Cf::empty(), || _ = pause("nap", 1))).invariants(text),
                case("pause with a sleepable rmlock read", || {
                    let rm = rm(c"rm", Rmf::SLEEPABLE);
                    rm.read(|| _ = pause("nap", 1));
                })
                .prints(&[sleepers, "shared sleepable rm rm (rm) r = 0 (%p) locked @ %s:%d"])
                .invariants(text),
                case("pause with an rmlock read, which prohibits nothing", || {
                    let rm = rm(c"rm", Rmf::empty());
                    rm.read(|| _ = pause("nap", 1));
                })
                .prints(&[sleepers, "shared rm rm (rm) r = 0 (%p) locked @ %s:%d"]),
                case("pause in a section of a preemptible epoch", || {
                    net_epoch_preempt().section(|| _ = pause("nap", 1));
                })
                .invariants(text),
                case("pause in a section of another epoch, which is a critical section", || {
                    global_epoch().enter();
                    pause("nap", 1);
                    global_epoch().exit();
                })
                .invariants("mi_switch: switch in a critical section"),
            ],
        ),
        not_applicable(92, "sleeping where it is prohibited, before 2018", "row 91's text took its place"),
    ]
}

/// Rows 93 to 96: wait channels.
fn channels() -> Vec<Row> {
    // A thread waits on CHAN as of a condition variable while `body` runs.
    let beside_condvar = |name: &str, body: fn()| {
        case(name, move || {
            thread("waiter", 1, || {
                sleepqueue::lock(CHAN);
                sleepqueue::add(CHAN, 0, "cv", Type::Condvar, 0);
                sleepqueue::wait(CHAN);
            });
            settle();
            body();
        })
    };
    let null = |name: &str, body: fn()| case(name, body);
    vec![
        row(
            93,
            [
                beside_condvar("wakeup of a condition variable", || wakeup(CHAN))
                    .invariants("sleepq_broadcast: mismatch between sleep/wakeup and cv_*"),
                beside_condvar("wakeup_one of a condition variable", || wakeup_one(CHAN))
                    .invariants("sleepq_signal: mismatch between sleep/wakeup and cv_*"),
            ],
        ),
        row(
            94,
            [
                null("wakeup of a null pointer", || wakeup(0))
                    .invariants("sleepq_broadcast: invalid NULL wait channel"),
                null("wakeup_one of a null pointer", || wakeup_one(0))
                    .invariants("sleepq_signal: invalid NULL wait channel"),
                null("sleepq_sleepcnt of a null pointer", || {
                    sleepqueue::lock(0);
                    _ = sleepqueue::sleepcnt(0, 0);
                    sleepqueue::release(0);
                })
                .invariants("sleepq_sleepcnt: invalid NULL wait channel"),
                null("sleepq_add on a null pointer", || {
                    sleepqueue::lock(0);
                    sleepqueue::add(0, 0, "nap", Type::Sleep, 0);
                    sleepqueue::release(0);
                })
                .invariants("Assertion wchan != NULL failed at %s:%d"),
            ],
        ),
        row(
            95,
            [
                case("sleepers on one channel with different locks", || {
                    for cpu in [0, 1] {
                        thread("sleeper", cpu, || {
                            let m = mtx(c"m", Mtxf::DEF);
                            m.lock();
                            nap(&m);
                            m.unlock();
                        });
                    }
                    settle();
                })
                .invariants("Assertion lock == sq->sq_lock failed at %s:%d"),
                beside_condvar("a sleeper on a condition variable", || _ = tsleep(CHAN, "nap", 1))
                    .invariants("Assertion (flags & SLEEPQ_TYPE) == sq->sq_type failed at %s:%d"),
            ],
        ),
        not_applicable(96, "a timed sleep before timers work", "a machine boots with its timers working"),
    ]
}

/// Rows 23 and 125: condvar(9).
fn condvar() -> Vec<Row> {
    /// A condition variable on which a thread waits.
    fn waited() -> (Arc<Mtx>, Arc<Cv>) {
        let (m, cv) = (Arc::new(Mtx::zeroed()), Arc::new(Cv::zeroed()));
        m.init(c"m", Mtxf::DEF);
        cv.init(c"cv");
        let (m2, cv2) = (Arc::clone(&m), Arc::clone(&cv));
        thread("waiter", 1, move || {
            m2.lock();
            cv2.wait(m2.object());
            m2.unlock();
        });
        settle();
        (m, cv)
    }
    vec![row(
        125,
        [
            case("cv_destroy with a waiter", || waited().1.destroy())
                .invariants("cv_destroy: associated sleep queue non-empty"),
            case("cv_wait with another lock than the waiter's", || {
                let (_m, cv) = waited();
                let other = mtx(c"other", Mtxf::DEF);
                other.lock();
                cv.timedwait(other.object(), 1);
                other.unlock();
            })
            .invariants("Assertion lock == sq->sq_lock failed at %s:%d"),
            case("cv_wait with a null condition", || {
                Cv::check_pointers("_cv_wait", std::ptr::null(), std::ptr::null());
            })
            .invariants("_cv_wait: cvp NULL"),
            case("cv_wait with a null lock", || {
                Cv::check_pointers("_cv_wait", &Cv::zeroed(), std::ptr::null());
            })
            .invariants("_cv_wait: lock NULL"),
            case("cv_wait with a mutex that is not held", || {
                let (m, cv) = (mtx(c"m", Mtxf::DEF), Cv::zeroed());
                cv.init(c"cv");
                cv.timedwait(m.object(), 1);
            })
            .without_witness("mutex m not owned at %s:%d")
            .witness("witness_save: lock (sleep mutex) m not locked")
            .bare(page_fault()),
            Case::not_applicable(
                "cv_wait by no thread, or by one that does not run",
                "the caller runs, or it could not call",
            ),
        ],
    )]
}
