//! What each mapping costs, beside its floor and its peers in the same run: spinlocks, sequence counts, RCU.
//!
//! Checks off, `smp` engine. The floor is the owner-word pair; see freebsd-sys's `harness`, which this shares.

#[path = "../../freebsd-sys/benches/harness/mod.rs"]
mod harness;

use harness::contended::{Contender, Contest, Load, Lock, Of, contender};
use harness::peers::{
    OwnerWord, Words, against_mutexes, against_rwlocks, bare_seqlock, beside_mutexes, beside_rwlocks, leak, read_pairs,
};
use harness::{Group, Subject, Suite, chain, subject};
use linuxkpi::LockMapping;
use linuxkpi::mapping::{cpu_mutex::CpuMutex, linuxkpi_today::LinuxkpiToday, spin_mutex::SpinMutex};
use linuxkpi::rcupdate::{rcu_read_lock, rcu_read_unlock, synchronize_rcu};
use linuxkpi::seqlock::Seqcount;
use linuxkpi::spinlock::SpinLock;
use std::hint::black_box;

/// `spinlock_t` in its irqsave form, with a handler that takes it.
struct Irqsave<M: LockMapping>(SpinLock<(), M>);

impl<M: LockMapping> Lock for Irqsave<M> {
    fn init(&self) {
        self.0.init();
    }
    #[inline]
    fn exclusive(&self, body: impl FnOnce()) {
        let guard = self.0.lock_irqsave();
        body();
        drop(guard);
    }
    fn handler(&self) {
        M::irq_handler(move || drop(self.0.lock()));
    }
}

/// Read sections of RCU; an "exclusive" one waits for a grace period.
struct Rcu;

impl Lock for Rcu {
    fn exclusive(&self, body: impl FnOnce()) {
        synchronize_rcu();
        body();
    }
    #[inline]
    fn shared(&self, body: impl FnOnce()) {
        rcu_read_lock();
        body();
        rcu_read_unlock();
    }
}

/// A mapping's row in each group.
fn rows<M: LockMapping>([irqsave, plain, write, section]: [&mut Vec<Subject>; 4]) {
    let lock = leak(SpinLock::<(), M>::with_mapping(()));
    irqsave.push(subject(M::NAME, move || lock.init(), move || drop(black_box(lock).lock_irqsave())));
    plain.push(subject(M::NAME, move || lock.init(), move || drop(black_box(lock).lock())));
    let count = leak(Seqcount::<M>::new());
    write.push(subject(M::NAME, move || count.init(), move || black_box(count).write(|| ())));
    let words = Words::new();
    section.push(chain(M::NAME, move || count.init(), move |value| black_box(count).read(|| words.read(value))));
}

fn groups() -> Vec<Group> {
    let (mut irqsave, mut plain, mut write, mut section) = (Vec::new(), Vec::new(), Vec::new(), vec![bare_seqlock()]);
    macro_rules! row {
        ($mapping:ty, $name:literal) => {
            rows::<$mapping>([&mut irqsave, &mut plain, &mut write, &mut section]);
        };
    }
    linuxkpi::for_each_mapping!(row);
    let group = |bench, subjects| Group { bench, checks: false, subjects };
    vec![
        group("spin_lock_irqsave pair", beside_mutexes(irqsave)),
        group("spin_lock pair", beside_mutexes(plain)),
        group("seqcount write section", beside_mutexes(write)),
        group("seqcount read section of four words", section),
        group("rcu read pair", beside_rwlocks([read_pairs("rcu_read_lock", Rcu)])),
    ]
}

fn mapping<M: LockMapping>() -> Contender {
    contender(M::NAME, Of::Kernel, Irqsave(SpinLock::<(), M>::with_mapping(())))
}

/// Those that survive a holder without its CPU; the others' sections may not be left.
fn sleepers() -> Vec<Contender> {
    against_mutexes([mapping::<LinuxkpiToday>(), mapping::<CpuMutex>()])
}

fn spinlocks() -> Vec<Contender> {
    against_mutexes([mapping::<LinuxkpiToday>(), mapping::<CpuMutex>(), mapping::<SpinMutex>()])
}

/// The floor and the mappings in machines, with a handler that takes them.
fn interrupted() -> Vec<Contender> {
    let floor = contender("floor: two cmpxchg", Of::Kernel, OwnerWord::new());
    vec![floor, mapping::<LinuxkpiToday>(), mapping::<CpuMutex>(), mapping::<SpinMutex>()]
}

fn rcu() -> Vec<Contender> {
    against_rwlocks([contender("rcu", Of::Kernel, Rcu)])
}

fn main() {
    let work = Load { inside: 100, outside: 200, ..Load::default() };
    let contest = |bench, load, contenders| Contest { bench, load, contenders };
    let contests = vec![
        contest("irqsave, 2 threads, empty section", Load { threads: 2, ..Load::default() }, spinlocks()),
        contest("irqsave, 2 threads, 100 ns in, 200 out", Load { threads: 2, ..work }, spinlocks()),
        contest("irqsave, 4 threads, empty section", Load { threads: 4, ..Load::default() }, spinlocks()),
        contest("irqsave, 4 threads, 100 ns in, 200 out", Load { threads: 4, ..work }, spinlocks()),
        contest("irqsave, 16 threads, 100 ns in, 200 out", Load { threads: 16, ..work }, spinlocks()),
        contest("irqsave, 4 threads, holder gives its CPU away", Load { threads: 4, yields: 1, ..work }, sleepers()),
        contest("irqsave, 2 threads, interrupts", Load { threads: 2, interrupts: 64, ..work }, interrupted()),
        contest("rcu, 1 thread, readers", Load { threads: 1, readers: u64::MAX, ..Load::default() }, rcu()),
        contest("rcu, 2 threads, readers", Load { threads: 2, readers: u64::MAX, ..Load::default() }, rcu()),
        contest("rcu, 2 threads, 1 of 1000 synchronizes", Load { threads: 2, readers: 1000, ..Load::default() }, rcu()),
    ];
    Suite { groups: groups(), contests }.main();
}
