//! linux/rcupdate.h.

mod common;

use common::{EXECUTIONS, explored, panic_text, passes, passes_n, smp_once, threads, unchecked};
use core::mem::offset_of;
use freebsd_sys::atomic::OwnedUsize;
use freebsd_sys::cpu::{self, cpuid};
use freebsd_sys::machine::{Config, Verdict};
use freebsd_sys::sched::{pri, sched_pin, sched_relinquish, sched_unpin, settle};
use freebsd_sys::thread::{Kthread, State, curthread, kthread_add};
use linuxkpi::delay::{cond_resched, msleep, udelay};
use linuxkpi::rcupdate::{
    RcuGuard, RcuHead, RcuPtr, call_rcu, kfree_rcu, rcu_assign_pointer, rcu_barrier, rcu_dereference, rcu_read_lock,
    rcu_read_lock_held, rcu_read_unlock, synchronize_rcu,
};
use linuxkpi::slab::{Gfp, kmalloc, ksize};
use std::sync::Arc;

/// Something that an updater removes and then marks as gone.
#[repr(C)]
struct Object {
    gone: OwnedUsize,
    rcu: RcuHead,
}

struct Shared {
    pointer: RcuPtr<Object>,
    object: Object,
}

fn shared() -> Arc<Shared> {
    let object = Object { gone: OwnedUsize::new(0), rcu: RcuHead::new() };
    let shared = Arc::new(Shared { pointer: RcuPtr::null(), object });
    rcu_assign_pointer(&shared.pointer, (&raw const shared.object).cast_mut());
    shared
}

/// What the pointer leads to stays for the section.
fn read(shared: &Shared, pause: impl Fn()) {
    let section = RcuGuard::new();
    let object = rcu_dereference(&shared.pointer);
    pause();
    // SAFETY: the memory itself lives as long as the test.
    if let Some(object) = unsafe { object.as_ref() } {
        assert_eq!(object.gone.get(), 0, "the grace period did not wait for a reader");
    }
    drop(section);
}

fn update(shared: &Shared, grace_period: impl Fn()) {
    rcu_assign_pointer(&shared.pointer, core::ptr::null_mut());
    grace_period();
    shared.object.gone.set(1);
}

#[test]
fn the_grace_period_waits_for_readers() {
    passes_n("grace period", 3000, || {
        let shared = shared();
        threads(3, move |i| match i {
            0 => update(&shared, synchronize_rcu),
            _ => (0..3).for_each(|_| read(&shared, || udelay(1))),
        });
    });
}

#[test]
fn without_a_grace_period_readers_notice() {
    let verdict = explored(Config::default(), 3000, || {
        let shared = shared();
        threads(3, move |i| match i {
            0 => update(&shared, || ()),
            _ => read(&shared, || udelay(1)),
        });
    });
    assert!(verdict.message().contains("the grace period did not wait"), "{verdict}");
}

#[test]
fn it_waits_for_readers_that_sleep_and_yield() {
    passes("sleep", || {
        let shared = shared();
        threads(3, move |i| match i {
            0 => update(&shared, synchronize_rcu),
            1 => read(&shared, || msleep(5)),
            _ => read(&shared, cond_resched),
        });
    });
}

#[test]
fn it_ends_while_new_readers_keep_coming_and_updaters_compete() {
    passes("many", || {
        let shared = shared();
        threads(5, move |i| match i {
            0 => update(&shared, synchronize_rcu),
            1 => (0..3).for_each(|_| synchronize_rcu()),
            // Long enough for both updaters to be at work.
            2 => read(&shared, || msleep(5)),
            _ => (0..6).for_each(|_| read(&shared, || udelay(1))),
        });
    });
}

#[test]
fn grace_periods_hold_on_smp_under_load() {
    let body = || {
        let objects = Arc::new([const { Object { gone: OwnedUsize::new(0), rcu: RcuHead::new() } }; 16]);
        let pointer = Arc::new(RcuPtr::null());
        rcu_assign_pointer(&pointer, (&raw const objects[0]).cast_mut());
        // 0: nobody reads yet, 1: the reader is there, 2: the updater has finished.
        let stage = OwnedUsize::new(0);
        threads(2, move |i| {
            if i == 0 {
                while stage.get() == 0 {
                    msleep(1);
                }
                for n in 0..1000 {
                    let (old, new) = (&objects[n % 16], &objects[(n + 1) % 16]);
                    new.gone.set(0);
                    rcu_assign_pointer(&pointer, core::ptr::from_ref(new).cast_mut());
                    synchronize_rcu();
                    old.gone.set(1);
                }
                stage.set(2);
                return;
            }
            while stage.get() != 2 {
                let section = RcuGuard::new();
                // SAFETY: never null, and the memory lives as long as the test.
                let object = unsafe { &*rcu_dereference(&pointer) };
                for _ in 0..5_000 {
                    assert_eq!(object.gone.get(), 0, "the grace period did not wait for a reader");
                }
                drop(section);
                if stage.get() == 0 {
                    stage.set(1);
                }
            }
        });
    };
    for seed in 0..3 {
        assert_eq!(smp_once(Config::default(), seed, &body), Verdict::Pass);
        assert_eq!(smp_once(unchecked(), seed, &body), Verdict::Pass, "checks off");
    }
}

/// Without checks a thread that RCU knows goes the short way, which wakes an updater like the long one. The way needs fences that cost
/// nothing, membarrier(2)'s: where those are refused there is none, and an updater is woken all the same.
#[test]
fn the_short_way_wakes_the_updater() {
    let short = Arc::new(OwnedUsize::new(0));
    let found = Arc::clone(&short);
    let verdict = smp_once(Config { cpus: 2, ..unchecked() }, 0, &move || {
        // The first section makes the thread known.
        drop(RcuGuard::new());
        for _ in 0..20 {
            // The updater has the other CPU, so that the reader keeps its own and its section may end the short way.
            let other = Some(1 - cpuid());
            let section = RcuGuard::new();
            let td =
                kthread_add(Kthread { name: "updater", priority: pri::PUSER, flags: 0, cpu: other }, synchronize_rcu);
            while !td.is_sleeping() {
                assert!(td.state() != State::Inactive, "the grace period did not wait for a reader");
                cpu::spinwait();
            }
            found.add(usize::from(curthread().pinned.get() == 0));
            drop(section);
            assert!(!td.is_sleeping(), "nobody woke it");
            while td.state() != State::Inactive {
                sched_relinquish();
            }
        }
    });
    assert_eq!(verdict, Verdict::Pass);
    assert_eq!(short.get() != 0, cpu::fences_are_light(), "sections that ended the short way: {}", short.get());
}

/// On the short way the word stands for the pin, until somebody looks at `td_pinned` or the thread leaves its CPU. The long way pins at
/// once.
#[test]
fn the_short_way_owes_its_pin() {
    let verdict = smp_once(Config { cpus: 1, ..unchecked() }, 0, &|| {
        let pinned = || curthread().pinned.get();
        drop(RcuGuard::new());
        for round in 0..2 {
            let section = RcuGuard::new();
            assert_eq!(pinned(), i32::from(!cpu::fences_are_light()), "round {round}");
            settle();
            assert_eq!((pinned(), rcu_read_lock_held()), (1, true));
            // A section inside counts on the pin that is there.
            drop(RcuGuard::new());
            assert_eq!(pinned(), 1);
            drop(section);
            assert_eq!((pinned(), rcu_read_lock_held()), (0, false));

            // Nested, and looked at inside the inner one.
            let (outer, inner) = (RcuGuard::new(), RcuGuard::new());
            settle();
            drop(inner);
            assert_eq!((pinned(), rcu_read_lock_held()), (1, true));
            drop(outer);
            assert_eq!((pinned(), rcu_read_lock_held()), (0, false));

            // Nobody looks but the scheduler.
            let section = RcuGuard::new();
            sched_relinquish();
            assert_eq!(pinned(), 1);
            drop(section);

            // A pin of the thread's own outlives the section.
            let section = RcuGuard::new();
            sched_pin();
            drop(section);
            assert_eq!(pinned(), 1);
            sched_unpin();
            assert_eq!(pinned(), 0);
        }
    });
    assert_eq!(verdict, Verdict::Pass);
}

#[test]
fn nested_sections_end_with_the_outermost() {
    passes("nested", || {
        let shared = shared();
        threads(2, move |i| match i {
            0 => update(&shared, synchronize_rcu),
            _ => read(&shared, || {
                read(&shared, || udelay(1));
                assert!(rcu_read_lock_held());
                assert_eq!(curthread().pinned.get(), 1);
                udelay(1);
            }),
        });
        assert!(!rcu_read_lock_held());
        assert_eq!(curthread().pinned.get(), 0);
    });
}

#[test]
fn an_unlock_too_many_is_linuxkpis_assertion() {
    let text = panic_text(|| {
        rcu_read_lock();
        rcu_read_unlock();
        rcu_read_unlock();
    });
    assert!(text.starts_with("Assertion ts->rcu_recurse[type] > 0 failed at "), "{text}");
    assert!(text.contains("rcupdate.rs:"), "{text}");
}

#[test]
fn synchronizing_inside_a_section_is_a_deadlock() {
    let verdict = explored(Config::default(), 1, || {
        let section = RcuGuard::new();
        synchronize_rcu();
        drop(section);
    });
    assert!(matches!(&verdict, Verdict::Deadlock(text) if text.contains("sleeps on \"rcusync\"")), "{verdict}");
}

unsafe extern "C-unwind" fn mark(head: *mut RcuHead) {
    // SAFETY: the head is part of an `Object`.
    unsafe { (*head.byte_sub(offset_of!(Object, rcu)).cast::<Object>()).gone.set(1) };
}

#[test]
fn callbacks_run_after_the_grace_period_and_barrier_waits_for_them() {
    passes_n("call_rcu", 3000, || {
        let shared = shared();
        let end = Arc::clone(&shared);
        threads(3, move |i| match i {
            0 => {
                rcu_assign_pointer(&shared.pointer, core::ptr::null_mut());
                // SAFETY: the head is queued once, and the object outlives the barrier below.
                unsafe { call_rcu((&raw const shared.object.rcu).cast_mut(), mark) };
            }
            1 => (0..2).for_each(|_| read(&shared, || udelay(1))),
            // Asleep in its section, while nothing else keeps the callbacks' thread from its work.
            _ => read(&shared, || msleep(5)),
        });
        rcu_barrier();
        assert_eq!(end.object.gone.get(), 1, "the barrier did not wait for the callback");
    });
}

#[test]
fn kfree_rcu_frees_after_the_grace_period() {
    passes("kfree_rcu", || {
        threads(2, |i| {
            if i == 0 {
                let object = kmalloc(size_of::<Object>(), Gfp::KERNEL).cast::<Object>();
                // SAFETY: fresh memory; the head is queued once.
                unsafe {
                    object.write(Object { gone: OwnedUsize::new(0), rcu: RcuHead::new() });
                    kfree_rcu(&raw mut (*object).rcu, offset_of!(Object, rcu));
                }
            } else {
                drop(RcuGuard::new());
            }
        });
        linuxkpi::exit();
    });
}

#[test]
fn a_block_that_waits_for_its_grace_period_is_not_yet_free() {
    let verdict = explored(Config::default(), EXECUTIONS, || {
        let section = RcuGuard::new();
        let object = kmalloc(size_of::<Object>(), Gfp::KERNEL).cast::<Object>();
        // SAFETY: fresh memory; the head is queued once.
        unsafe {
            object.write(Object { gone: OwnedUsize::new(0), rcu: RcuHead::new() });
            kfree_rcu(&raw mut (*object).rcu, offset_of!(Object, rcu));
        }
        msleep(2);
        assert_ne!(ksize(object.cast()), 0, "it was freed inside the section");
        drop(section);
        rcu_barrier();
        assert_eq!(ksize(object.cast()), 0, "it was not freed after the section");
    });
    assert_eq!(verdict, Verdict::Pass);
}
