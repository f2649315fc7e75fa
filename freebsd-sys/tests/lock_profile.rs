//! LOCK_PROFILING(9) on `smp`: counts, waits and holds, by lock and place.

mod common;

use common::{mtx, threads};
use freebsd_sys::host::smp;
use freebsd_sys::lock_profile::Row;
use freebsd_sys::machine::{Config, Engine, Machine, Verdict};
use freebsd_sys::mutex::Mtxf;
use freebsd_sys::sx::{Sx, Sxf};
use freebsd_sys::{cpu, sleep};
use std::sync::Arc;
use std::time::Duration;

fn profile(config: Config, main: &(dyn Fn() + Sync)) -> Vec<Row> {
    let m = Machine::new(config, Engine::Smp);
    let e = smp::run(&m, smp::Options { limit: Duration::from_secs(300), seed: 1, units: &[] }, main);
    assert_eq!(e.verdict, Verdict::Pass);
    e.profile
}

fn on() -> Config {
    Config { profile: true, ..Config::default() }
}

/// The only row of the lock `name`.
fn row<'a>(rows: &'a [Row], name: &str) -> &'a Row {
    let found: Vec<_> = rows.iter().filter(|row| row.name == name).collect();
    assert_eq!(found.len(), 1, "{rows:#?}");
    found[0]
}

#[test]
fn holds_are_counted_and_timed_by_place() {
    let rows = profile(on(), &|| {
        let m = mtx(c"counted", Mtxf::DEF | Mtxf::RECURSE);
        let quiet = mtx(c"quiet", Mtxf::DEF | Mtxf::NOPROFILE);
        for _ in 0..10 {
            m.lock();
            m.lock_flags(Mtxf::empty());
            m.unlock();
            quiet.lock();
            quiet.unlock();
            m.unlock();
        }
    });
    let counted = row(&rows, "counted");
    assert_eq!((counted.count, counted.contested, counted.wait_total), (10, 0, 0), "a recursion is no acquisition");
    assert!(counted.at.contains("lock_profile.rs:"), "{counted:?}");
    assert!(counted.hold_max > 0 && counted.hold_total >= counted.hold_max);
    assert!(rows.iter().all(|row| row.name != "quiet"));
}

#[test]
fn waits_are_timed_whether_they_spin_block_or_sleep() {
    let run = |_| {
        profile(Config { witness: false, ..on() }, &|| {
            let m = mtx(c"spun", Mtxf::DEF);
            let sx = Arc::new(Sx::zeroed());
            sx.init(c"slept", Sxf::empty());
            threads(2, move |_| {
                for _ in 0..20 {
                    m.lock();
                    // Long enough for the host to run the other thread, which then finds the lock held.
                    (0..5000).for_each(|_| _ = cpu::spinwait());
                    m.unlock();
                    sx.xlock();
                    sleep::pause("hold", 1);
                    sx.xunlock();
                }
            });
        })
    };
    // A busy host may run the threads one after the other, whatever they do.
    let both = |rows: &Vec<Row>| ["spun", "slept"].iter().all(|name| row(rows, name).contested > 0);
    let rows = (0..100).map(run).find(both).expect("the threads meet in some run");
    for name in ["spun", "slept"] {
        let lock = row(&rows, name);
        assert_eq!(lock.count, 40);
        assert!((1..=40).contains(&lock.contested), "{lock:?}");
        assert!(lock.wait_max > 1000 && lock.wait_total >= lock.wait_max, "{lock:?}");
    }
}

#[test]
fn nothing_is_kept_unless_asked_for() {
    let rows = profile(Config::default(), &|| {
        let m = mtx(c"m", Mtxf::DEF);
        threads(2, move |_| {
            m.lock();
            m.unlock();
        });
    });
    assert!(rows.is_empty());
}
