//! Rows 69 to 72: what WITNESS prints about the order of locks. None of it ends the kernel.

use super::tools::{mtx, settle, sx, thread};
use super::{Row, case, row};
use freebsd_sys::giant::giant;
use freebsd_sys::mutex::{Mtx, Mtxf};
use freebsd_sys::sleep::{self, How};
use freebsd_sys::sleepqueue::{self, Type};
use freebsd_sys::sx::Sxf;

/// `a` then `b`, released again.
fn nest(a: &Mtx, b: &Mtx) {
    a.lock();
    b.lock();
    b.unlock();
    a.unlock();
}

fn nest_spin(a: &Mtx, b: &Mtx) {
    a.lock_spin();
    b.lock_spin();
    b.unlock_spin();
    a.unlock_spin();
}

pub(super) fn rows() -> Vec<Row> {
    let reversal = |class: &str| {
        [
            "lock order reversal:".to_owned(),
            format!(" 1st %p B (B, {class}) @ %s:%d"),
            format!(" 2nd %p A (A, {class}) @ %s:%d"),
        ]
    };
    vec![
        row(
            69,
            [
                case("two mutexes in both orders", || {
                    let (a, b) = (mtx(c"A", Mtxf::DEF), mtx(c"B", Mtxf::DEF));
                    nest(&a, &b);
                    nest(&b, &a);
                    // Said once of each pair.
                    nest(&b, &a);
                })
                .prints(&reversal("sleep mutex")),
                case("two spin mutexes in both orders", || {
                    let (a, b) = (mtx(c"A", Mtxf::SPIN), mtx(c"B", Mtxf::SPIN));
                    nest_spin(&a, &b);
                    nest_spin(&b, &a);
                })
                .prints(&reversal("spin mutex")),
                case("a circle of three mutexes", || {
                    let (a, b, c) = (mtx(c"A", Mtxf::DEF), mtx(c"B", Mtxf::DEF), mtx(c"C", Mtxf::DEF));
                    nest(&a, &c);
                    nest(&c, &b);
                    nest(&b, &a);
                })
                .prints(&reversal("sleep mutex")),
                case("a mutex of a name that was taken before", || {
                    let (a, a2, b) = (mtx(c"A", Mtxf::DEF), mtx(c"A", Mtxf::DEF), mtx(c"B", Mtxf::DEF));
                    nest(&a, &b);
                    a.lock();
                    nest(&b, &a2);
                    a.unlock();
                })
                .prints(&[
                    "lock order reversal:",
                    " 1st %p A (A, sleep mutex) @ %s:%d",
                    " 2nd %p B (B, sleep mutex) @ %s:%d",
                    " 3rd %p A (A, sleep mutex) @ %s:%d",
                ]),
                case("mtx_trylock in the wrong order", || {
                    let (a, b) = (mtx(c"A", Mtxf::DEF), mtx(c"B", Mtxf::DEF));
                    nest(&a, &b);
                    b.lock();
                    assert!(a.trylock());
                    a.unlock();
                    b.unlock();
                }),
            ],
        ),
        row(
            70,
            [case("an sx lock under a mutex", || {
                let (m, sx) = (mtx(c"m", Mtxf::DEF), sx(c"sx", Sxf::empty()));
                for _ in 0..2 {
                    m.lock();
                    sx.xlock();
                    sx.xunlock();
                    m.unlock();
                }
            })
            .prints(&[
                "lock order reversal: (sleepable after non-sleepable)",
                " 1st %p m (m, sleep mutex) @ %s:%d",
                " 2nd %p sx (sx, sx) @ %s:%d",
            ])],
        ),
        row(
            71,
            [
                case("Giant after a mutex", || {
                    let m = mtx(c"m", Mtxf::DEF);
                    for _ in 0..2 {
                        m.lock();
                        giant().lock();
                        giant().unlock();
                        m.unlock();
                    }
                })
                .prints(&[
                    "lock order reversal: (Giant after non-sleepable)",
                    " 1st %p m (m, sleep mutex) @ %s:%d",
                    " 2nd %p Giant (Giant, sleep mutex) @ %s:%d",
                ]),
                case("Giant before and after an sx lock", || {
                    let sx = sx(c"sx", Sxf::empty());
                    giant().lock();
                    sx.xlock();
                    sx.xunlock();
                    giant().unlock();
                    sx.xlock();
                    giant().lock();
                    giant().unlock();
                    sx.xunlock();
                }),
                case("sleeping with Giant", || {
                    giant().lock();
                    sleep::pause("nap", 1);
                    giant().unlock();
                }),
                case("_sleep with Giant for a lock, without a timeout", || {
                    thread("waker", 1, || {
                        settle();
                        sleep::wakeup(8);
                    });
                    giant().lock();
                    sleep::sleep(8, None, How::default(), "nap");
                    giant().unlock();
                }),
                case("mi_switch to sleep with Giant", || {
                    giant().lock();
                    sleepqueue::lock(8);
                    sleepqueue::add(8, 0, "nap", Type::Sleep, 0);
                    sleepqueue::set_timeout(1);
                    sleepqueue::timedwait(8);
                    giant().unlock();
                })
                .invariants("mutex Giant owned at freebsd-sys/src/sched.rs:%d"),
            ],
        ),
        row(
            72,
            [
                case("two mutexes of one name", || {
                    let (a, b) = (mtx(c"twin", Mtxf::DEF), mtx(c"twin", Mtxf::DEF));
                    nest(&a, &b);
                    // Said once of each name.
                    nest(&a, &b);
                })
                .prints(&[
                    "acquiring duplicate lock of same type: \"twin\"",
                    " 1st twin @ %s:%d",
                    " 2nd twin @ %s:%d",
                ]),
                case("two mutexes of one name with MTX_DUPOK", || {
                    let (a, b) = (mtx(c"twin", Mtxf::DUPOK), mtx(c"twin", Mtxf::DUPOK));
                    nest(&a, &b);
                }),
                case("a recursed mutex", || {
                    let m = mtx(c"m", Mtxf::RECURSE);
                    nest(&m, &m);
                }),
            ],
        ),
    ]
}
