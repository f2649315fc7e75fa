//! linux/seqlock.h under every mapping.

mod common;

use common::{EXECUTIONS, explored, passes_n, threads};
use freebsd_sys::atomic::OwnedUsize;
use freebsd_sys::machine::Config;
use linuxkpi::LockMapping;
use linuxkpi::delay::udelay;
use linuxkpi::mapping::Context;
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
