//! linux/slab.h.

mod common;

use common::{EXECUTIONS, explored, panic_text, passes, threads};
use freebsd_sys::cpu::mp_ncpus;
use freebsd_sys::critical::{critical_enter, critical_exit};
use freebsd_sys::machine::{Config, Verdict};
use linuxkpi::LockMapping;
use linuxkpi::mapping;
use linuxkpi::slab::{Gfp, KBox, KmemCache, kcalloc, kfree, kmalloc, kmalloc_array, ksize, kzalloc};
use linuxkpi::spinlock::SpinLock;
use std::sync::Arc;

fn free(at: *mut core::ffi::c_void) {
    // SAFETY: each test frees what it allocated.
    unsafe { kfree::<mapping::Default>(at) };
}

#[test]
fn memory_is_zeroed_where_asked_and_large_enough() {
    passes("kzalloc", || {
        let at = kzalloc(100, Gfp::ATOMIC).cast::<u8>();
        // SAFETY: 100 fresh bytes.
        assert!(unsafe { core::slice::from_raw_parts(at, 100) }.iter().all(|&byte| byte == 0));
        assert!(ksize(at.cast()) >= 100);
        free(at.cast());
        assert!(kmalloc_array(usize::MAX, 2, Gfp::KERNEL).is_null());
        free(kcalloc(3, 8, Gfp::KERNEL));
        free(core::ptr::null_mut());
    });
}

#[test]
fn what_is_never_freed_is_a_leak() {
    let verdict = explored(Config::default(), 1, || {
        kmalloc(10, Gfp::KERNEL);
    });
    assert!(matches!(&verdict, Verdict::Error(text) if text.contains("of lkpikmalloc were never freed")), "{verdict}");
}

fn kfree_in_a_critical_section() {
    threads(2, |_| {
        let at = kmalloc(16, Gfp::KERNEL);
        critical_enter();
        free(at);
        // On one CPU nobody else has run yet.
        assert!(mp_ncpus() > 1 || ksize(at) == 16, "it was freed at once");
        critical_exit();
    });
    linuxkpi::exit();
}

#[test]
fn kfree_in_a_critical_section_is_deferred_and_nothing_leaks() {
    passes("deferred", kfree_in_a_critical_section);
    let one = Config { cpus: 1, ..Config::default() };
    assert_eq!(explored(one, EXECUTIONS, kfree_in_a_critical_section), Verdict::Pass);
}

#[test]
fn without_exit_a_deferred_kfree_may_come_too_late() {
    let verdict = explored(Config::default(), 1, || {
        let at = kmalloc(16, Gfp::KERNEL);
        critical_enter();
        free(at);
        critical_exit();
    });
    assert!(matches!(&verdict, Verdict::Error(text) if text.contains("never freed")), "{verdict}");
}

#[test]
fn kmalloc_in_a_critical_section_panics_even_if_it_may_not_sleep() {
    for flags in [Gfp::ATOMIC, Gfp::KERNEL] {
        let text = panic_text(|| {
            critical_enter();
            kmalloc(16, flags);
        });
        assert_eq!(text, "malloc: called with spinlock or critical section held");
    }
    let text = panic_text(|| {
        let cache = KmemCache::new("requests", 64, None);
        critical_enter();
        cache.alloc(Gfp::ATOMIC);
    });
    assert_eq!(text, "uma_zalloc_arg: called with spinlock or critical section held");
}

fn kfree_under_a_spinlock<M: LockMapping>() {
    passes(M::NAME, || {
        let lock = Arc::new(SpinLock::<(), M>::with_mapping(()));
        lock.init();
        linuxkpi::init();
        threads(2, move |_| {
            let value = KBox::<u64, M>::new(7, Gfp::KERNEL).expect("memory");
            let guard = lock.lock_irqsave();
            assert_eq!(*value, 7);
            drop(value);
            drop(guard);
        });
        linuxkpi::exit();
    });
}

#[test]
fn kfree_is_legal_under_every_mappings_spinlock() {
    macro_rules! case {
        ($m:ty, $name:literal) => {
            kfree_under_a_spinlock::<$m>();
        };
    }
    linuxkpi::for_each_mapping!(case);
}
