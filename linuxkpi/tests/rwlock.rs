//! linux/rwlock.h under every mapping.

mod common;

use common::{EXECUTIONS, explored, passes_n, threads};
use freebsd_sys::machine::Config;
use linuxkpi::LockMapping;
use linuxkpi::delay::udelay;
use linuxkpi::mapping::Context;
use linuxkpi::rwlock::RwLock;
use std::sync::Arc;

fn writers_exclude<M: LockMapping>() {
    let lock = Arc::new(RwLock::<[u64; 2], M>::with_mapping([0; 2]));
    lock.init();
    let end = Arc::clone(&lock);
    threads(3, move |i| {
        if i < 2 {
            let mut pair = lock.write(if i == 0 { Context::Plain } else { Context::IrqSave });
            pair[0] += 1;
            udelay(1);
            pair[1] += 1;
        } else {
            let pair = lock.read(Context::Plain);
            let first = pair[0];
            udelay(1);
            assert_eq!(first, pair[1], "a reader saw half a write");
        }
    });
    let pair = end.read(Context::Plain);
    assert_eq!(*pair, [2, 2]);
}

#[test]
fn a_writer_excludes_everybody() {
    macro_rules! case {
        ($m:ty, "busted") => {
            let verdict = explored(Config::default(), 3000, writers_exclude::<$m>);
            assert!(verdict.message().contains("a reader saw half a write"), "busted: {verdict}");
        };
        ($m:ty, $name:literal) => {
            passes_n($name, EXECUTIONS, writers_exclude::<$m>);
        };
    }
    linuxkpi::for_each_mapping!(case);
}

fn readers_share<M: LockMapping>() {
    let lock = RwLock::<u32, M>::with_mapping(7);
    lock.init();
    let first = lock.read(Context::Plain);
    assert!(lock.try_write(Context::Plain).is_none(), "a writer beside a reader");
    let second = lock.try_read(Context::Plain).expect("readers share");
    assert_eq!(*first, *second);
    drop(second);
    drop(first);
    drop(lock.try_write(Context::IrqSave).expect("free"));
}

#[test]
fn readers_share_and_keep_a_writer_out() {
    macro_rules! case {
        ($m:ty, "busted") => {};
        ($m:ty, $name:literal) => {
            passes_n($name, 10, readers_share::<$m>);
        };
    }
    linuxkpi::for_each_mapping!(case);
}

/// A guard's data stays its own: what is held is not made free.
#[test]
fn a_held_lock_is_not_initialised() {
    for context in [Context::Plain, Context::Irq] {
        for reads in [false, true] {
            let verdict = explored(Config::default(), 1, move || {
                let lock = RwLock::<u64>::new(0);
                lock.init();
                lock.init();
                if reads {
                    let _held = lock.read(context);
                    lock.init();
                } else {
                    let _held = lock.write(context);
                    lock.init();
                }
            });
            assert!(verdict.message().contains("rwlock_init: the lock is held"), "{verdict}");
        }
    }
}
