//! seqc(9) on both engines.

mod common;

use common::{explore_random, passes, spawn_at, threads, verdict};
use freebsd_sys::atomic::Owned32;
use freebsd_sys::machine::{Config, Verdict};
use freebsd_sys::mutex::{Mtx, Mtxf};
use freebsd_sys::seqc::{Seqc, seqc_in_modify};
use freebsd_sys::thread::curthread;
use freebsd_sys::{cpu, critical, sched, sleep};
use std::sync::Arc;

/// One wrong operation.
type Op = fn(&Seqc);

struct Data {
    lock: Mtx,
    seqc: Seqc,
    words: [Owned32; 2],
}

fn data() -> Arc<Data> {
    let data = Arc::new(Data { lock: Mtx::zeroed(), seqc: Seqc::new(), words: [const { Owned32::new(0) }; 2] });
    data.lock.init(c"writers", Mtxf::NOWITNESS);
    data
}

/// A boundary.
fn boundary() {
    critical::critical_enter();
    critical::critical_exit();
}

fn write(data: &Data, sleepable: bool) {
    data.lock.lock();
    if sleepable {
        data.seqc.sleepable_write_begin()
    } else {
        data.seqc.write_begin()
    }
    data.words[0].set(data.words[0].get() + 1);
    boundary();
    data.words[1].set(data.words[1].get() + 1);
    if sleepable {
        data.seqc.sleepable_write_end()
    } else {
        data.seqc.write_end()
    }
    data.lock.unlock();
}

fn read(data: &Data) -> [u32; 2] {
    loop {
        let count = data.seqc.read();
        let first = data.words[0].get();
        boundary();
        let seen = [first, data.words[1].get()];
        if data.seqc.consistent(count) {
            return seen;
        }
    }
}

#[test]
fn readers_never_see_half_a_write() {
    for sleepable in [false, true] {
        passes(Config::default(), 1000, || {
            let data = data();
            let data2 = Arc::clone(&data);
            threads(3, move |i| {
                for _ in 0..3 {
                    if i == 0 {
                        write(&data2, sleepable);
                    } else {
                        let [a, b] = read(&data2);
                        assert!(a == b || cpu::scheduler_stopped(), "torn: {a} {b}");
                    }
                }
            });
            assert_eq!(read(&data), [3, 3]);
        });
    }
}

#[test]
fn a_reader_that_does_not_retry_sees_half_a_write() {
    let found = explore_random(Config::default(), 2000, &|| {
        let data = data();
        threads(2, move |i| {
            if i == 0 {
                write(&data, false);
            } else {
                data.seqc.read();
                let first = data.words[0].get();
                boundary();
                assert_eq!(first, data.words[1].get(), "torn");
            }
        });
    });
    assert!(found.is_some(), "the test above proves nothing");
}

#[test]
fn the_plain_writer_is_in_a_critical_section_and_the_sleepable_one_is_not() {
    assert_eq!(
        verdict(Config::default(), || {
            let seqc = Seqc::new();
            seqc.write_begin();
            assert_eq!(curthread().critnest.get(), 1);
            assert!(seqc_in_modify(seqc.read_any()));
            assert_eq!(seqc.read_notmodify(), 0);
            seqc.write_end();
            assert_eq!(curthread().critnest.get(), 0);
            seqc.sleepable_write_begin();
            assert_eq!(curthread().critnest.get(), 0);
            sleep::pause("inside", 1);
            seqc.sleepable_write_end();
            assert_eq!(seqc.read(), 4);
            assert!(seqc.consistent(4));
            assert!(!seqc.consistent_no_fence(2));
        }),
        Verdict::Pass
    );
}

#[test]
fn a_better_reader_spins_for_ever_on_a_preempted_sleepable_writer() {
    let preempted = |sleepable: bool| {
        move || {
            let data = data();
            let data2 = Arc::clone(&data);
            spawn_at("writer", sched::pri::PUSER, Some(0), move || write(&data2, sleepable));
            spawn_at("reader", sched::pri::PI_SOFT, Some(0), move || {
                sleep::pause("window", 1);
                read(&data);
            });
            freebsd_sys::host::explore::begin();
            sleep::pause("end", 100);
            freebsd_sys::host::explore::end();
        }
    };
    let one = Config { cpus: 1, ..Config::default() };
    let found = explore_random(one.clone(), 3000, &preempted(true));
    let (_, execution) = found.expect("the writer was never preempted inside its section");
    assert!(matches!(execution.verdict, Verdict::Livelock(_)), "{}", execution.verdict);
    assert!(execution.verdict.message().contains("reader spins in seqc_read"), "{}", execution.verdict);
    assert!(explore_random(one, 1000, &preempted(false)).is_none(), "the plain writer cannot be preempted");
}

#[test]
fn misuse_panics_with_the_kernels_words() {
    let cases: [(&str, Op); 4] = [
        ("!seqc_in_modify(*seqcp)", |seqc| {
            seqc.sleepable_write_begin();
            seqc.sleepable_write_begin();
        }),
        ("!seqc_in_modify(*seqcp)", |seqc| seqc.sleepable_write_end()),
        ("!(seqc_in_modify(__oldseqc))", |seqc| _ = seqc.consistent(1)),
        ("!(seqc_in_modify(__oldseqc))", |seqc| _ = seqc.consistent_no_fence(3)),
    ];
    for (expected, op) in cases {
        let v = verdict(Config::default(), || op(&Seqc::new()));
        assert_eq!(v.name(), "panic");
        let text = v.message();
        assert!(text.starts_with(&format!("Assertion {expected} failed at ")), "{text}");
        assert!(text.contains("tests/seqc.rs:"), "{text}");
    }
    let text = verdict(Config::default(), || {
        let seqc = Seqc::new();
        seqc.sleepable_write_begin();
        seqc.write_end();
    });
    assert_eq!(text, Verdict::Panic("critical_exit: td_critnest == 0".into()));
}

#[test]
fn it_holds_under_contention_on_real_cpus() {
    let bare = Config { invariants: false, witness: false, ..Config::default() };
    let v = common::smp_once(bare, 1, &|| {
        let data = data();
        let data2 = Arc::clone(&data);
        threads(4, move |i| {
            for _ in 0..20_000 {
                if i == 0 {
                    write(&data2, false);
                } else {
                    let [a, b] = read(&data2);
                    assert_eq!(a, b, "torn");
                }
            }
        });
        assert_eq!(read(&data), [20_000, 20_000]);
    });
    assert_eq!(v, Verdict::Pass);
}
