//! malloc(9): leaks, double frees, use after free.

mod common;

use common::{once, passes, smp_once, threads};
use freebsd_sys::host::explore::access;
use freebsd_sys::machine::{Config, Verdict};
use freebsd_sys::malloc::{M, allocation_size, free, malloc};

fn verdict(main: impl Fn()) -> Verdict {
    once(Config::default(), main).verdict
}

#[test]
fn memory_is_usable_and_zeroed_on_request() {
    passes(Config::default(), 20, || {
        threads(3, |i| {
            let size = 24 + i * 100;
            let at = malloc(size, "t", M::WAITOK | M::ZERO);
            assert!(!at.is_null() && (at as usize).is_multiple_of(16));
            assert!(allocation_size(at).is_some_and(|n| n >= size));
            for at in (0..size).map(|offset| at.wrapping_add(offset)) {
                // SAFETY: inside the allocation.
                unsafe {
                    assert_eq!(at.read(), 0);
                    at.write(i as u8 + 1);
                }
            }
            free(at, "t");
        });
        free(std::ptr::null_mut(), "t");
    });
}

#[test]
fn leak_is_reported_at_the_end() {
    let main = || {
        malloc(40, "fence", M::NOWAIT);
        malloc(8, "other", M::NOWAIT);
    };
    let text = "memory leak: 40 bytes of fence were never freed (1 more)".to_owned();
    assert_eq!(verdict(main), Verdict::Error(text));
    assert!(matches!(smp_once(Config::default(), 1, &main), Verdict::Error(text) if text.starts_with("memory leak: ")));
}

#[test]
fn double_free_and_foreign_free_are_found() {
    let twice = verdict(|| {
        let at = malloc(8, "fence", M::NOWAIT);
        free(at, "fence");
        free(at, "fence");
    });
    assert_eq!(twice, Verdict::Corruption("double free of fence".to_owned()));
    let foreign = verdict(|| {
        let mut local = 0u64;
        free((&raw mut local).cast(), "fence");
    });
    let Verdict::Panic(text) = foreign else { panic!("{foreign}") };
    assert!(text.starts_with("free: address 0x") && text.ends_with(") has not been allocated"), "{text}");
}

#[test]
fn use_after_free_and_overrun_are_found() {
    for write in [false, true] {
        let after = verdict(move || {
            let at = malloc(8, "fence", M::NOWAIT);
            access(at as usize, 8, write, false);
            free(at, "fence");
            access(at as usize, 4, write, false);
        });
        assert_eq!(after, Verdict::Corruption("use after free of fence (4 bytes)".to_owned()));
    }
    let beyond = verdict(|| {
        let at = malloc(8, "fence", M::NOWAIT);
        access(at as usize + 4, 8, true, false);
    });
    assert_eq!(beyond, Verdict::Corruption("access beyond the end of fence (8 bytes)".to_owned()));
}

#[test]
fn freed_memory_is_not_reused_within_an_execution() {
    let ok = verdict(|| {
        let first = malloc(8, "t", M::NOWAIT);
        free(first, "t");
        let second = malloc(8, "t", M::NOWAIT);
        assert_ne!(first, second);
        free(second, "t");
    });
    assert_eq!(ok, Verdict::Pass);
}

#[test]
fn memory_runs_out_without_harm() {
    let ok = verdict(|| assert!(malloc(1 << 30, "t", M::NOWAIT).is_null()));
    assert_eq!(ok, Verdict::Pass);
    let waits = verdict(|| _ = malloc(1 << 30, "t", M::WAITOK));
    let Verdict::Error(text) = &waits else { panic!("{waits:?}") };
    assert!(text.starts_with("malloc(M_WAITOK) of 1073741824 bytes: the 4 MiB of an execution are used up"), "{text}");
}

#[test]
fn addresses_are_the_same_in_every_execution() {
    use freebsd_sys::host::explore::{Options, run};
    use freebsd_sys::host::schedule::random::Random;
    use freebsd_sys::machine::{Engine, Machine};
    let m = Machine::new(Config::default(), Engine::Explore);
    let seen = std::cell::Cell::new(0);
    for index in 0..5 {
        let e = run(&m, &mut Random::new(index), Options { index, ..Options::default() }, &|| {
            let at = malloc(8, "t", M::NOWAIT);
            assert!(seen.get() == 0 || seen.get() == at as usize);
            seen.set(at as usize);
            free(at, "t");
        });
        assert_eq!(e.verdict, Verdict::Pass);
    }
}
