//! Rows 110 to 114: callout(9).

use super::tools::{mtx, sx};
use super::{Row, case, page_fault, row};
use freebsd_sys::atomic::Owned32;
use freebsd_sys::callout::{Callout, Cf};
use freebsd_sys::mutex::Mtxf;
use freebsd_sys::sx::Sxf;
use std::sync::Arc;

/// A handler that does nothing.
fn nothing() -> Arc<dyn Fn() + Send + Sync> {
    Arc::new(|| ())
}

pub(super) fn rows() -> Vec<Row> {
    vec![
        row(
            110,
            [
                case("callout_init_lock with an unknown flag", || {
                    let m = mtx(c"m", Mtxf::DEF);
                    Callout::new().init_lock(Some(m.object()), Cf::from_bits_retain(0x400));
                })
                .invariants("callout_init_lock: bad flags 1024"),
                case("callout_init_lock with C_DIRECT_EXEC", || {
                    let m = mtx(c"m", Mtxf::DEF);
                    Callout::new().init_lock(Some(m.object()), Cf::DIRECT_EXEC);
                })
                .invariants("callout_init_lock: bad flags 1"),
                case("CALLOUT_RETURNUNLOCKED without a lock", || Callout::new().init_lock(None, Cf::RETURNUNLOCKED))
                    .invariants("callout_init_lock: CALLOUT_RETURNUNLOCKED with no lock"),
            ],
        ),
        row(
            111,
            [case("callout_init_lock with an sx lock", || {
                let sx = sx(c"sx", Sxf::empty());
                Callout::new().init_lock(Some(sx.object()), Cf::empty());
            })
            .invariants("_callout_init_lock: callout %p has sleepable lock")],
        ),
        row(
            112,
            [
                case("a direct callout with a sleep mutex", || {
                    let (m, c) = (mtx(c"m", Mtxf::DEF), Callout::new());
                    c.init_lock(Some(m.object()), Cf::empty());
                    c.reset(10, nothing(), None, Cf::DIRECT_EXEC);
                    c.stop();
                })
                .invariants("callout_reset_sbt_on: direct callout %p has non-spin lock"),
                case("a direct callout with a spin mutex runs", || {
                    let (s, c) = (mtx(c"s", Mtxf::SPIN), Arc::new(Callout::new()));
                    c.init_lock(Some(s.object()), Cf::empty());
                    let owned = Arc::new(Owned32::new(0));
                    let (saw, lock) = (Arc::clone(&owned), s.clone());
                    let handler: Arc<dyn Fn() + Send + Sync> = Arc::new(move || saw.set(lock.owned().into()));
                    c.reset(1, handler, None, Cf::DIRECT_EXEC);
                    super::tools::settle();
                    assert!(owned.get() == 1 && !s.owned());
                }),
            ],
        ),
        row(
            113,
            [case("callout_reset_on a CPU that is not there", || {
                let c = Callout::new();
                c.reset(10, nothing(), Some(7), Cf::empty());
                c.stop();
            })
            .invariants("callout_reset_sbt_on: invalid cpu 7")
            // Its callout wheel was never made.
            .bare(page_fault())],
        ),
        row(
            114,
            [
                case("callout_drain with a mutex", || {
                    let m = mtx(c"m", Mtxf::DEF);
                    m.lock();
                    Callout::new().drain();
                    m.unlock();
                })
                .prints(&[
                    "calling _callout_stop_safe with the following non-sleepable locks held:",
                    "exclusive sleep mutex m (m) r = 0 (%p) locked @ %s:%d",
                ]),
                case("callout_stop with a mutex", || {
                    let m = mtx(c"m", Mtxf::DEF);
                    m.lock();
                    Callout::new().stop();
                    m.unlock();
                }),
            ],
        ),
    ]
}
