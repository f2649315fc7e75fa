//! linux/spinlock.h: the guards under every mapping.

mod common;

use common::{EXECUTIONS, explored, panic_text, passes_n, threads};
use freebsd_sys::atomic::OwnedUsize;
use freebsd_sys::machine::{Config, Verdict};
use freebsd_sys::thread::curthread;
use linuxkpi::LockMapping;
use linuxkpi::delay::udelay;
use linuxkpi::mapping::{Context, linuxkpi_today::LinuxkpiToday};
use linuxkpi::spinlock::{RawSpinLock, SpinLock};
use std::sync::Arc;

fn bump(n: &mut u64) {
    let old = *n;
    udelay(1);
    *n = old + 1;
}

fn counts<M: LockMapping>() {
    let lock = Arc::new(SpinLock::<u64, M>::with_mapping(0));
    lock.init();
    let end = Arc::clone(&lock);
    threads(2, move |i| {
        bump(&mut lock.lock());
        bump(&mut *if i == 0 { lock.lock_irqsave() } else { lock.lock_bh() });
    });
    assert_eq!(*end.lock(), 4, "an update was lost");
}

#[test]
fn a_spinlock_excludes() {
    macro_rules! case {
        ($m:ty, "busted") => {
            let verdict = explored(Config::default(), 3000, counts::<$m>);
            assert!(verdict.message().contains("an update was lost"), "busted: {verdict}");
        };
        ($m:ty, $name:literal) => {
            passes_n($name, EXECUTIONS, counts::<$m>);
        };
    }
    linuxkpi::for_each_mapping!(case);
}

/// FreeBSD's own headers: the holder of a spinlock is pinned, of the `_bh` form twice.
#[test]
fn linuxkpis_spinlocks_pin() {
    let verdict = explored(Config::default(), 1, || {
        let (lock, td) = (SpinLock::<u64, LinuxkpiToday>::with_mapping(0), curthread());
        lock.init();
        let held = lock.lock();
        assert_eq!((td.pinned.get(), td.critnest.get()), (1, 0));
        drop(held);
        let held = lock.lock_bh();
        assert_eq!((td.pinned.get(), td.critnest.get()), (2, 0));
        drop(held);
        clean();
    });
    assert_eq!(verdict, Verdict::Pass);
}

/// What a thread must not take home.
fn clean() {
    let td = curthread();
    assert_eq!((td.critnest.get(), td.pinned.get(), td.no_sleeping.get(), td.locks.get()), (0, 0, 0, 0));
}

fn nests_and_releases_in_any_order<M: LockMapping>() {
    let locks = Arc::new((SpinLock::<u64, M>::with_mapping(0), RawSpinLock::<u64, M>::with_mapping(0)));
    locks.0.init();
    locks.1.init();
    let end = Arc::clone(&locks);
    threads(2, move |i| {
        let mut a = locks.0.lock_irqsave();
        let mut b = locks.1.lock_irqsave();
        bump(&mut a);
        bump(&mut b);
        if i == 0 {
            drop(b);
            drop(a);
        } else {
            drop(a);
            bump(&mut b);
            drop(b);
        }
        clean();
    });
    if M::NAME != "busted" {
        assert_eq!((*end.0.lock(), *end.1.lock()), (2, 3));
    }
}

#[test]
fn irqsave_nests_and_is_released_in_any_order() {
    macro_rules! case {
        ($m:ty, $name:literal) => {
            passes_n($name, EXECUTIONS, nests_and_releases_in_any_order::<$m>);
        };
    }
    linuxkpi::for_each_mapping!(case);
}

fn trylock_excludes<M: LockMapping>() {
    let lock = Arc::new((SpinLock::<u64, M>::with_mapping(0), [const { OwnedUsize::new(0) }; 2]));
    lock.0.init();
    for context in [Context::Plain, Context::Bh, Context::Irq, Context::IrqSave] {
        let guard = lock.0.trylock(context).expect("free");
        assert!(lock.0.is_locked());
        drop(guard);
        assert!(!lock.0.is_locked());
        clean();
    }
    let end = Arc::clone(&lock);
    threads(2, move |i| {
        let (lock, taken) = &*lock;
        for _ in 0..2 {
            if let Some(mut n) = lock.trylock(if i == 0 { Context::Plain } else { Context::IrqSave }) {
                lock.assert_held();
                bump(&mut n);
                taken[i].add(1);
            }
            clean();
        }
    });
    let taken = end.1[0].get() + end.1[1].get();
    assert_eq!(*end.0.lock(), taken as u64, "two held it at a time");
    assert!(taken >= 1);
}

#[test]
fn trylock_takes_a_free_lock_in_every_context_and_leaves_nothing_behind() {
    macro_rules! case {
        ($m:ty, "busted") => {};
        ($m:ty, $name:literal) => {
            passes_n($name, EXECUTIONS, trylock_excludes::<$m>);
        };
    }
    linuxkpi::for_each_mapping!(case);
}

#[test]
fn assert_held_by_nobody_is_freebsds_assertion() {
    let text = panic_text(|| {
        let lock = SpinLock::new(());
        lock.init();
        lock.assert_held();
    });
    assert!(text.starts_with("mutex lnxspin not owned at "), "{text}");
}

/// Otherwise two guards, and two exclusive references to the data, would be had without `unsafe`.
#[test]
fn a_held_lock_is_not_made_new() {
    let verdict = explored(Config::default(), 1, || {
        let lock = SpinLock::<u64, LinuxkpiToday>::with_mapping(0);
        lock.init();
        lock.init();
        let held = lock.lock();
        lock.init();
        drop(held);
    });
    assert!(verdict.message().contains("spin_lock_init: the lock is held"), "{verdict}");
}
