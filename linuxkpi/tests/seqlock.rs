//! linux/seqlock.h under every mapping.

mod common;

use common::{EXECUTIONS, explored, passes_n, threads};
use freebsd_sys::atomic::OwnedUsize;
use freebsd_sys::critical::{critical_enter, critical_exit};
use freebsd_sys::host::explore::{self, Options};
use freebsd_sys::host::schedule::random::Random;
use freebsd_sys::machine::{Config, Engine, Machine, Verdict};
use freebsd_sys::sched::{pri, sched_relinquish};
use freebsd_sys::thread::{Kthread, State, Thread, curthread, kthread_add};
use linuxkpi::LockMapping;
use linuxkpi::delay::udelay;
use linuxkpi::mapping::Context;
use linuxkpi::mapping::{
    cpu_mutex::CpuMutex, linuxkpi_2021::Linuxkpi2021, linuxkpi_today::LinuxkpiToday, seq_rmlock::SeqRmlock,
    seq_rwlock::SeqRwlock, seq_turnstile::SeqTurnstile, trylock_spin::TrylockSpin,
};
use linuxkpi::seqlock::{SeqLock, Seqcount, SeqcountMutex};
use std::sync::Arc;

/// Two words that are always equal outside a write section.
struct Pair([OwnedUsize; 2]);

impl Pair {
    fn new() -> Self {
        Self([const { OwnedUsize::new(0) }; 2])
    }
    fn write(&self) {
        self.0[0].add(1);
        udelay(1);
        self.0[1].add(1);
    }
    fn read(&self) -> (usize, usize) {
        let first = self.0[0].get();
        udelay(1);
        (first, self.0[1].get())
    }
}

fn seqlock<M: LockMapping>() {
    let shared = Arc::new((SeqLock::<M>::with_mapping(), Pair::new()));
    shared.0.init();
    let end = Arc::clone(&shared);
    threads(2, move |i| {
        let (lock, pair) = &*shared;
        if i == 0 {
            lock.write(Context::Plain, || pair.write());
            lock.write(Context::IrqSave, || pair.write());
        } else {
            for _ in 0..2 {
                let (a, b) = lock.read(|| pair.read());
                assert_eq!(a, b, "torn data");
            }
            lock.read_excl(Context::Plain, || assert_eq!(pair.0[0].get(), pair.0[1].get(), "torn data"));
        }
    });
    assert_eq!(end.1.read(), (2, 2));
}

fn writers_exclude_each_other<M: LockMapping>() {
    let shared = Arc::new((SeqLock::<M>::with_mapping(), OwnedUsize::new(0)));
    shared.0.init();
    let end = Arc::clone(&shared);
    threads(2, move |i| {
        let context = if i == 0 { Context::Plain } else { Context::IrqSave };
        shared.0.write(context, || {
            let old = shared.1.get();
            udelay(1);
            shared.1.set(old + 1);
        });
    });
    assert_eq!(end.1.get(), 2, "an update was lost");
}

fn seqcounts<M: LockMapping>() {
    let shared = Arc::new((Seqcount::<M>::new(), SeqcountMutex::<M>::new(), Pair::new(), Pair::new()));
    shared.0.init();
    shared.1.init();
    threads(2, move |i| {
        let (plain, mutex, first, second) = &*shared;
        if i == 0 {
            plain.write(|| first.write());
            mutex.write(|| second.write());
        } else {
            let (a, b) = plain.read(|| first.read());
            assert_eq!(a, b, "torn data");
            let (a, b) = mutex.read(|| second.read());
            assert_eq!(a, b, "torn data");
        }
    });
}

macro_rules! under_every_mapping {
    ($test:ident, $body:ident, $complaint:literal) => {
        #[test]
        fn $test() {
            macro_rules! case {
                ($m:ty, "busted") => {
                    let verdict = explored(Config::default(), 3000, $body::<$m>);
                    assert!(verdict.message().contains($complaint), "busted: {verdict}");
                };
                ($m:ty, $name:literal) => {
                    passes_n($name, EXECUTIONS, $body::<$m>);
                };
            }
            linuxkpi::for_each_mapping!(case);
        }
    };
}

under_every_mapping!(readers_of_a_seqlock_never_see_torn_data, seqlock, "torn data");
under_every_mapping!(writers_of_a_seqlock_exclude_each_other, writers_exclude_each_other, "an update was lost");
under_every_mapping!(readers_of_a_seqcount_never_see_torn_data, seqcounts, "torn data");

/// A reader of seq_turnstile's that is better than the writer that it preempted.
fn better_reader(count: &Arc<Seqcount<SeqTurnstile>>, critical: bool) -> &'static Thread {
    let count = Arc::clone(count);
    kthread_add(Kthread { name: "reader", priority: pri::PRI_MIN_KERN, flags: 0, cpu: Some(0) }, move || {
        if critical {
            critical_enter();
        }
        count.read(|| ());
        if critical {
            critical_exit();
        }
    })
}

#[test]
fn a_reader_blocks_on_a_preempted_writer_and_lends_to_it() {
    let one = Config { cpus: 1, ..Config::default() };
    for config in [one.clone(), Config { invariants: false, witness: false, ..one }] {
        let verdict = explored(config, 1, || {
            let count = Arc::new(Seqcount::<SeqTurnstile>::new());
            count.init();
            let before = curthread().priority.get();
            let mut reader = None;
            count.write(|| {
                let td = better_reader(&count, false);
                sched_relinquish();
                assert!(td.is_on_lock(), "it spins, or has read half a write");
                assert_eq!(curthread().priority.get(), pri::PRI_MIN_KERN);
                reader = Some(td);
            });
            assert!(reader.is_some_and(|td| td.state() == State::Inactive), "it is better, and had its turn");
            assert_eq!(curthread().priority.get(), before);
        });
        assert_eq!(verdict, Verdict::Pass);
    }
}

#[test]
fn a_reader_that_may_not_block_spins() {
    let verdict = explored(Config { cpus: 1, ..Config::default() }, 1, || {
        let count = Arc::new(Seqcount::<SeqTurnstile>::new());
        count.init();
        count.write(|| {
            better_reader(&count, true);
            sched_relinquish();
        });
    });
    assert!(matches!(verdict, Verdict::Livelock(_)), "{verdict}");
}

/// The console of one execution with the opt-in checks.
fn linted(main: impl Fn()) -> Vec<String> {
    let machine = Machine::new(Config { lint: true, ..Config::default() }, Engine::Explore);
    let e = explore::run(&machine, &mut Random::new(1), Options::default(), &main);
    assert_eq!(e.verdict, Verdict::Pass);
    e.console
}

fn reader_in_a_critical_section<M: LockMapping>() -> Vec<String> {
    linted(|| {
        let count = Seqcount::<M>::new();
        count.init();
        M::preempt_disable();
        let start = count.read_begin();
        assert!(!count.read_retry(start));
        M::preempt_enable();
    })
}

#[test]
fn readers_that_might_block_in_a_critical_section_are_linted() {
    for console in [reader_in_a_critical_section::<SeqRwlock>(), reader_in_a_critical_section::<SeqRmlock>()] {
        let line = console.first().expect("a line");
        assert!(
            line.starts_with("lint: read_seqcount_begin of (r") && line.contains(" in a critical section @ "),
            "{line}"
        );
    }
    assert!(reader_in_a_critical_section::<LinuxkpiToday>().is_empty());
}

#[test]
fn owning_the_cpu_in_a_critical_section_is_linted() {
    let console = linted(|| {
        critical_enter();
        CpuMutex::preempt_disable();
        CpuMutex::preempt_enable();
        critical_exit();
    });
    assert!(
        console[0].starts_with("lint: own cpu of (sleep mutex) lnxpreempt in a critical section @ "),
        "{console:?}"
    );
}

#[test]
fn linuxkpis_seqlock_is_initialised_once() {
    let twice = || {
        let lock = SeqLock::<LinuxkpiToday>::with_mapping();
        lock.init();
        lock.init();
    };
    let Verdict::Panic(text) = explored(Config::default(), 1, twice) else { panic!("no FreeBSD panic") };
    assert!(text.starts_with("lock \"seqlock\" 0x") && text.ends_with(" already initialized"), "{text}");
}

#[test]
fn local_irq_save_had_no_effect_at_first() {
    fn critnest<M: LockMapping>() -> u32 {
        let seen = Arc::new(OwnedUsize::new(9));
        let note = Arc::clone(&seen);
        let verdict = explored(Config::default(), 1, move || {
            let flags = M::local_irq_save();
            note.set(curthread().critnest.get() as usize);
            M::local_irq_restore(flags);
        });
        assert_eq!(verdict, Verdict::Pass);
        seen.get() as u32
    }
    assert_eq!((critnest::<Linuxkpi2021>(), critnest::<TrylockSpin>(), critnest::<LinuxkpiToday>()), (0, 0, 1));
}
