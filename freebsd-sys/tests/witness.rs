//! WITNESS: order across threads and executions, what it must not see, and where its lists appear. What it detects is in the
//! misuse table of compat-tests.

mod common;

use common::{assert_at, mtx, once, passes, threads, up};
use freebsd_sys::lock::Loc;
use freebsd_sys::machine::{Config, Verdict};
use freebsd_sys::mutex::{Mtx, Mtxf};
use freebsd_sys::rwlock::{Rw, Rwf};
use freebsd_sys::{critical, interrupt, sched, sleep, thread, userret, witness};
use std::sync::Arc;

/// `a` then `b`, released again.
fn nest(a: &Mtx, b: &Mtx) {
    a.lock();
    b.lock();
    b.unlock();
    a.unlock();
}

#[test]
fn order_is_learnt_across_threads_and_forgotten_between_executions() {
    // A fresh graph each time: the reversal is found in every execution, whatever ran before on this machine.
    let m = freebsd_sys::machine::Machine::new(up(), freebsd_sys::machine::Engine::Explore);
    for reversed in [true, false, true] {
        let e = freebsd_sys::host::explore::run(
            &m,
            &mut freebsd_sys::host::schedule::random::Random::new(1),
            Default::default(),
            &|| {
                let (a, b) = (mtx(c"A", Mtxf::DEF), mtx(c"B", Mtxf::DEF));
                threads(2, move |i| if i == 0 || !reversed { nest(&a, &b) } else { nest(&b, &a) });
            },
        );
        assert_eq!((e.verdict, e.console.len()), (Verdict::Pass, if reversed { 3 } else { 0 }));
    }
}

/// An order that follows from two others, and one against a lock that is not the last one taken.
#[test]
fn order_is_transitive_and_counts_all_held_locks() {
    let e = once(Config::default(), || {
        let (a, b, c) = (mtx(c"A", Mtxf::DEF), mtx(c"B", Mtxf::DEF), mtx(c"C", Mtxf::DEF));
        nest(&a, &b);
        nest(&b, &c);
        nest(&c, &a);
    });
    assert_eq!((e.verdict, e.console.len()), (Verdict::Pass, 3), "A before B before C");
    assert!(
        e.console[1].contains(" C (C, sleep mutex)") && e.console[2].contains(" A (A, sleep mutex)"),
        "{:?}",
        e.console
    );
    let e = once(Config::default(), || {
        let (a, b, c) = (mtx(c"A", Mtxf::DEF), mtx(c"B", Mtxf::DEF), mtx(c"C", Mtxf::DEF));
        nest(&b, &a);
        a.lock();
        // Taken without an order, so that nothing is known of B and C.
        assert!(c.trylock());
        b.lock();
        b.unlock();
        c.unlock();
        a.unlock();
    });
    assert_eq!((e.verdict, e.console.len()), (Verdict::Pass, 3), "B before A");
    assert!(e.console[1].contains(" A (A, sleep mutex)") && e.console[2].contains(" B (B, sleep mutex)"));
}

#[test]
fn a_free_sleep_mutex_may_not_be_taken_in_a_critical_section() {
    let e = once(Config::default(), || {
        let (seen, unseen) = (mtx(c"A", Mtxf::DEF), mtx(c"B", Mtxf::NOWITNESS));
        critical::critical_enter();
        unseen.lock();
        unseen.unlock();
        seen.lock();
    });
    let Verdict::Panic(text) = e.verdict else { panic!("{}", e.verdict) };
    let what = "acquiring blockable sleep lock with spinlock or critical section held (sleep mutex) A @ ";
    assert_at(&text, what, "");
}

#[test]
fn an_upgraded_lock_counts_as_exclusive() {
    let e = once(Config::default(), || {
        let rw = Arc::new(Rw::zeroed());
        rw.init(c"rw", Rwf::empty());
        rw.rlock();
        assert!(rw.try_upgrade());
        rw.wunlock();
        rw.wlock();
        rw.downgrade();
        rw.runlock();
    });
    assert_eq!(e.verdict, Verdict::Pass);
}

#[test]
fn order_of_trylocks_is_not_checked_but_they_count_as_held() {
    let e = once(Config::default(), || {
        let (a, b, c) = (mtx(c"A", Mtxf::DEF), mtx(c"B", Mtxf::DEF), mtx(c"C", Mtxf::DEF));
        nest(&a, &b);
        b.lock();
        assert!(a.trylock());
        a.unlock();
        b.unlock();
        nest(&a, &c);
        assert!(c.trylock());
        a.lock();
        a.unlock();
        c.unlock();
    });
    assert_eq!(e.verdict, Verdict::Pass);
    assert_eq!(e.console.len(), 3, "only the last is a reversal: {:?}", e.console);
    assert!(e.console[1].contains(" C (C, sleep mutex)"), "{:?}", e.console);
}

#[test]
fn two_locks_of_one_type_are_reported_once() {
    let two = |opts: Mtxf, flags: Mtxf| {
        once(Config::default(), move || {
            let (a, b) = (mtx(c"twin", opts), mtx(c"twin", opts));
            for _ in 0..2 {
                a.lock();
                b.lock_flags(flags);
                b.unlock();
                a.unlock();
            }
        })
    };
    let e = two(Mtxf::DEF, Mtxf::DEF);
    assert_eq!((e.verdict, e.console.len()), (Verdict::Pass, 3));
    assert_eq!(e.console[0], "acquiring duplicate lock of same type: \"twin\"");
    assert_at(&e.console[1], " 1st twin @ ", "");
    assert_at(&e.console[2], " 2nd twin @ ", "");
    assert_eq!(two(Mtxf::DUPOK, Mtxf::DEF).console, Vec::<String>::new());
    assert_eq!(two(Mtxf::DEF, Mtxf::DUPOK).console, Vec::<String>::new());
}

#[test]
fn recursion_is_no_duplicate() {
    let e = once(Config::default(), || {
        let m = mtx(c"m", Mtxf::RECURSE);
        m.lock();
        m.lock();
        m.unlock();
        m.unlock();
        userret::userret();
    });
    assert_eq!((e.verdict, e.console), (Verdict::Pass, vec![]));
}

#[test]
fn interlock_keeps_the_place_where_it_was_taken() {
    for spin in [false, true] {
        let e = once(Config::default(), move || {
            let m = mtx(c"m", if spin { Mtxf::SPIN } else { Mtxf::DEF });
            let line = line!() + 2;
            if spin {
                m.lock_spin();
                sleep::msleep_spin(1, &m, "nap", 1);
            } else {
                m.lock_flags(Mtxf::QUIET);
                let how = sleep::How { ticks: 1, ..Default::default() };
                sleep::sleep(1, Some(m.object()), how, "nap");
            }
            assert_eq!(witness::warn(None, Loc::caller(), format!("{}", line + if spin { 0 } else { 3 })), 1);
            if spin {
                m.unlock_spin();
            } else {
                m.unlock();
            }
        });
        assert_eq!((e.verdict, e.console.len()), (Verdict::Pass, 2));
        let line = e.console[0].split_once(' ').unwrap().0;
        assert!(e.console[1].ends_with(&format!("witness.rs:{line}")), "{:?}", e.console);
    }
}

#[test]
fn warning_names_spin_mutexes_and_returns_their_number() {
    let e = once(Config::default(), || {
        let (m, s) = (mtx(c"m", Mtxf::DEF), mtx(c"s", Mtxf::SPIN));
        m.lock();
        s.lock_spin();
        assert_eq!(witness::warn(None, Loc::caller(), "might_sleep()"), 2);
        assert_eq!(witness::warn(Some(m.object()), Loc::caller(), "x"), 1);
        s.unlock_spin();
        assert_eq!(witness::warn(Some(m.object()), Loc::caller(), "y"), 0);
        m.unlock();
        s.lock_spin();
        assert_eq!(witness::warn(Some(s.object()), Loc::caller(), "z"), 0);
        s.unlock_spin();
    });
    assert_eq!(e.verdict, Verdict::Pass);
    assert_eq!(e.console[0], "might_sleep() with the following non-sleepable locks held:");
    assert!(e.console[1].starts_with("exclusive sleep mutex m "), "{:?}", e.console);
    assert_eq!(e.console[2], e.console[0]);
    assert!(e.console[3].starts_with("exclusive spin mutex s "), "{:?}", e.console);
    assert_eq!(e.console[4], "x with the following non-sleepable locks held:");
    assert_eq!(e.console.len(), 6, "{:?}", e.console);
}

#[test]
fn allocating_with_waitok_under_a_mutex_is_printed() {
    use freebsd_sys::malloc::{M, free, malloc};
    let e = once(Config::default(), || {
        let m = mtx(c"m", Mtxf::DEF);
        m.lock();
        free(malloc(100, "kmalloc", M::WAITOK), "kmalloc");
        m.unlock();
    });
    assert_eq!(e.verdict, Verdict::Pass);
    assert_eq!(e.console[0], "uma_zalloc_debug: zone \"malloc-128\" with the following non-sleepable locks held:");
}

/// malloc(9)'s own assertions come first, and the allocator never sees the call.
#[test]
fn allocating_with_a_spin_mutex_held_prints_nothing_and_panics() {
    use freebsd_sys::malloc::{M, malloc};
    let e = once(Config::default(), || {
        let m = mtx(c"m", Mtxf::SPIN);
        m.lock_spin();
        malloc(100, "kmalloc", M::WAITOK);
    });
    assert_eq!(e.verdict, Verdict::Panic("malloc: called with spinlock or critical section held".to_owned()));
    assert_eq!(e.console, [""; 0]);
}

#[test]
fn ithread_may_not_wait_with_an_enrolled_lock() {
    let e = once(Config::default(), || {
        let m = mtx(c"m", Mtxf::DEF);
        let irq = interrupt::create("dev", interrupt::Arrival::Raised, sched::pri::PI_INTR, None);
        interrupt::setup(irq, None, Some(Box::new(move || m.lock())), 1);
        freebsd_sys::host::explore::begin();
        interrupt::raise(irq);
        sleep::pause("wait", 10);
    });
    assert_eq!(e.verdict, Verdict::Panic("witness_warn".to_owned()));
    assert_eq!(e.console[0], "suspending ithread with the following locks held:");
}

#[test]
fn locks_at_a_panic_are_listed_with_their_owners() {
    let e = once(Config::default(), || {
        let (seen, hidden) = (mtx(c"seen", Mtxf::DEF), mtx(c"hidden", Mtxf::NOWITNESS));
        seen.lock();
        hidden.lock();
        critical::critical_exit();
    });
    assert_eq!(e.verdict, Verdict::Panic("critical_exit: td_critnest == 0".to_owned()));
    assert_eq!(e.locks.len(), 3, "{:?}", e.locks);
    assert!(e.locks[0].starts_with("Process 0 (kernel) thread 0x"), "{:?}", e.locks);
    assert!(e.locks[1].starts_with("exclusive sleep mutex seen (seen) r = 0 (0x"), "{:?}", e.locks);
    assert!(e.locks[2].starts_with("exclusive sleep mutex hidden (0x"), "{:?}", e.locks);
    assert!(e.locks[2].ends_with(") owned by thread0 (not enrolled)"), "{:?}", e.locks);
}

#[test]
fn lock_whose_memory_is_gone_is_not_listed() {
    let e = once(Config::default(), || {
        let hidden = mtx(c"hidden", Mtxf::NOWITNESS);
        hidden.lock();
        drop(hidden);
        critical::critical_exit();
    });
    assert_eq!(e.verdict, Verdict::Panic("critical_exit: td_critnest == 0".to_owned()));
    assert_eq!(e.locks, Vec::<String>::new());
}

#[test]
fn ordered_locks_on_many_cpus_print_nothing() {
    passes(Config { cpus: 3, ..Config::default() }, 300, || {
        let locks: Arc<Vec<_>> = Arc::new((0..4).map(|i| mtx([c"a", c"b", c"c", c"d"][i], Mtxf::DEF)).collect());
        threads(3, move |i| {
            nest(&locks[i], &locks[i + 1]);
            nest(&locks[0], &locks[i + 1]);
            userret::userret();
        });
        assert_eq!(witness::warn(None, Loc::caller(), "end"), 0);
    });
}

#[test]
fn lint_reports_what_freebsd_does_not() {
    let lint = Config { lint: true, ..Config::default() };
    let main = || {
        let hidden = mtx(c"lnxspin", Mtxf::NOWITNESS);
        critical::critical_enter();
        hidden.lock();
        critical::critical_exit();
        sleep::pause("nap", 1);
        hidden.unlock();
        let irq = interrupt::create("dev", interrupt::Arrival::Raised, sched::pri::PI_INTR, None);
        let m = hidden.clone();
        interrupt::setup(
            irq,
            None,
            Some(Box::new(move || {
                m.lock();
                sched::sched_pin();
            })),
            1,
        );
        freebsd_sys::host::explore::begin();
        interrupt::raise(irq);
        sleep::pause("wait", 10);
    };
    let e = once(lint, main);
    assert_eq!(e.verdict, Verdict::Pass);
    assert_at(&e.console[0], "lint: mtx_lock of (sleep mutex) lnxspin in a critical section @ ", "");
    assert_eq!(
        e.console[1..],
        [
            "lint: sleeping on \"nap\" with locks held that WITNESS does not see: (sleep mutex) lnxspin",
            "lint: handler of intr: dev ends with 1 locks held",
            "lint: handler of intr: dev ends with 1 pins",
        ]
    );
    let silent = once(Config::default(), main);
    assert_eq!((silent.verdict, silent.console), (Verdict::Pass, vec![]));
}

#[test]
fn lint_is_silent_about_a_clean_program() {
    let e = once(Config { lint: true, ..Config::default() }, || {
        let hidden = mtx(c"lnxspin", Mtxf::NOWITNESS);
        threads(2, move |_| {
            hidden.lock();
            hidden.unlock();
            thread::thread_no_sleeping();
            thread::thread_sleeping_ok();
        });
        sleep::pause("nap", 1);
    });
    assert_eq!((e.verdict, e.console), (Verdict::Pass, vec![]));
}

#[test]
fn lint_sees_the_other_locks_too() {
    use freebsd_sys::rwlock::{Rw, Rwf};
    let e = once(Config { lint: true, ..Config::default() }, || {
        let rw = std::sync::Arc::new(Rw::zeroed());
        rw.init(c"lnxrw", Rwf::NOWITNESS);
        critical::critical_enter();
        rw.rlock();
        critical::critical_exit();
        sleep::pause("nap", 1);
        rw.runlock();
    });
    assert_eq!(e.verdict, Verdict::Pass);
    assert_at(&e.console[0], "lint: rw_rlock of (rw) lnxrw in a critical section @ ", "");
    let text = "lint: sleeping on \"nap\" with locks held that WITNESS does not see: 1 read-held rw";
    assert_eq!(e.console[1..], [text]);
}

/// On `smp` an order that is known is not looked up again: what is wrong is found all the same, once, in the same words.
#[test]
fn what_is_known_hides_nothing_that_is_wrong() {
    let m =
        freebsd_sys::machine::Machine::new(Config { cpus: 1, ..Config::default() }, freebsd_sys::machine::Engine::Smp);
    // A machine forgets what it knew: the same three lines each time.
    for _ in 0..2 {
        let options =
            freebsd_sys::host::smp::Options { limit: std::time::Duration::from_secs(60), seed: 1, units: &[] };
        let e = freebsd_sys::host::smp::run(&m, options, &|| {
            let (a, b, c) = (mtx(c"A", Mtxf::DEF), mtx(c"B", Mtxf::DEF), mtx(c"C", Mtxf::DEF));
            for _ in 0..4 {
                nest(&a, &b);
                nest(&b, &c);
            }
            assert_eq!(thread::curthread().locks.get(), 0);
            // Not in the order in which they were taken.
            a.lock();
            b.lock();
            a.unlock();
            b.unlock();
            for _ in 0..4 {
                nest(&c, &a);
            }
            assert_eq!(thread::curthread().locks.get(), 0);
        });
        assert_eq!((e.verdict, e.console.len()), (Verdict::Pass, 3), "{:?}", e.console);
        assert!(e.console[0].starts_with("lock order reversal"));
        assert!(e.console[1].contains(" C (C, sleep mutex)") && e.console[2].contains(" A (A, sleep mutex)"));
    }
    // A recursion and a second release go the long way.
    let e = common::smp_once(Config { cpus: 1, ..Config::default() }, 0, &|| {
        let a = mtx(c"A", Mtxf::RECURSE);
        a.lock();
        a.lock();
        assert!(a.recursed());
        a.unlock();
        assert!(!a.recursed() && a.owned());
        a.unlock();
        a.unlock();
    });
    let Verdict::Panic(text) = e else { panic!("{e}") };
    assert!(text.starts_with("lock (sleep mutex) A not locked @ "), "{text}");
}
