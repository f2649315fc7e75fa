//! FreeBSD's locks in a machine with its checks off, beside their floor and their peers in userspace, in the same run.
//!
//! The floor is the owner-word pair, two bare compare-and-exchanges: what FreeBSD's mutexes are made of. See `harness`.

mod harness;

use freebsd_sys::critical::{critical_enter, critical_exit};
use freebsd_sys::ffi;
use freebsd_sys::lock::LockObject;
use freebsd_sys::mutex::{Mtx, Mtxf};
use freebsd_sys::rmlock::{PrioTracker, Rm, Rmf};
use freebsd_sys::rwlock::{Rw, Rwf};
use freebsd_sys::seqc::Seqc;
use freebsd_sys::sx::{Sx, Sxf};
use harness::contended::{Contender, Contest, Load, Lock, Of, contender};
use harness::peers::{
    OwnerWord, Words, against_mutexes, against_rwlocks, bare_seqlock, beside_mutexes, beside_rwlocks, leak, pairs,
    read_pairs,
};
use harness::{Group, Suite, chain, subject};
use std::ffi::{c_char, c_int};
use std::hint::black_box;
use tracing_mutex::stdsync::tracing::Mutex as TracingMutex;

/// mtx(9), a sleep mutex.
struct SleepMutex(Mtx);
/// mtx(9), a spin mutex.
struct SpinMutex(Mtx);
/// sx(9), whose holder may sleep.
struct Exclusive(Sx);
/// rwlock(9).
struct Rwlock(Rw);
/// rmlock(9).
struct Rmlock(Rm);

/// mtx(9), a sleep mutex, by the functions that C calls.
struct FromC(Mtx);
/// Two sleep mutexes, the second inside the first, enrolled in WITNESS.
struct Nested(Mtx, Mtx);
/// The same of tracing-mutex, which checks the order as well.
struct NestedTracing(TracingMutex<()>, TracingMutex<()>);

impl Lock for FromC {
    fn init(&self) {
        self.0.init(c"bench", Mtxf::NOWITNESS | Mtxf::NEW);
    }
    #[inline]
    fn exclusive(&self, body: impl FnOnce()) {
        type Function = unsafe extern "C-unwind" fn(*const usize, c_int, *const c_char, c_int);
        let (lock, unlock): (Function, Function) = black_box((ffi::__mtx_lock_flags, ffi::__mtx_unlock_flags));
        // `mtx_lock`: right after the lock object.
        let cookie = core::ptr::from_ref(&self.0).cast::<usize>().wrapping_byte_add(size_of::<LockObject>());
        // SAFETY: the word of a live mutex; the file is a literal.
        unsafe { lock(cookie, 0, c"bench".as_ptr(), 0) };
        body();
        // SAFETY: as above.
        unsafe { unlock(cookie, 0, c"bench".as_ptr(), 0) };
    }
}

impl Lock for Nested {
    fn init(&self) {
        self.0.init(c"bench a", Mtxf::NEW);
        self.1.init(c"bench b", Mtxf::NEW);
    }
    #[inline]
    fn exclusive(&self, body: impl FnOnce()) {
        self.0.lock();
        self.1.lock();
        body();
        self.1.unlock();
        self.0.unlock();
    }
}

impl Lock for NestedTracing {
    #[inline]
    fn exclusive(&self, body: impl FnOnce()) {
        let outer = self.0.lock().unwrap();
        let inner = self.1.lock().unwrap();
        body();
        drop(inner);
        drop(outer);
    }
}

impl Lock for SleepMutex {
    fn init(&self) {
        self.0.init(c"bench", Mtxf::NOWITNESS | Mtxf::NEW);
    }
    #[inline]
    fn exclusive(&self, body: impl FnOnce()) {
        self.0.lock();
        body();
        self.0.unlock();
    }
}

impl Lock for SpinMutex {
    fn init(&self) {
        self.0.init(c"bench", Mtxf::SPIN | Mtxf::NOWITNESS | Mtxf::NEW);
    }
    #[inline]
    fn exclusive(&self, body: impl FnOnce()) {
        self.0.lock_spin();
        body();
        self.0.unlock_spin();
    }
}

impl Lock for Exclusive {
    fn init(&self) {
        self.0.init(c"bench", Sxf::NOWITNESS | Sxf::NEW);
    }
    #[inline]
    fn exclusive(&self, body: impl FnOnce()) {
        self.0.xlock();
        body();
        self.0.xunlock();
    }
}

impl Lock for Rwlock {
    fn init(&self) {
        self.0.init(c"bench", Rwf::NOWITNESS | Rwf::NEW);
    }
    #[inline]
    fn exclusive(&self, body: impl FnOnce()) {
        self.0.wlock();
        body();
        self.0.wunlock();
    }
    #[inline]
    fn shared(&self, body: impl FnOnce()) {
        self.0.rlock();
        body();
        self.0.runlock();
    }
}

impl Lock for Rmlock {
    fn init(&self) {
        self.0.init(c"bench", Rmf::NOWITNESS | Rmf::NEW);
    }
    #[inline]
    fn exclusive(&self, body: impl FnOnce()) {
        self.0.wlock();
        body();
        self.0.wunlock();
    }
    #[inline]
    fn shared(&self, body: impl FnOnce()) {
        let tracker = PrioTracker::new();
        // SAFETY: the tracker stays in this frame until runlock.
        unsafe { self.0.rlock(&tracker) };
        body();
        // SAFETY: taken above, by this thread.
        unsafe { self.0.runlock(&tracker) };
    }
}

fn groups() -> Vec<Group> {
    let exclusive = beside_mutexes([
        pairs("mtx", SleepMutex(Mtx::zeroed())),
        pairs("mtx, called from C", FromC(Mtx::zeroed())),
        pairs("mtx, spin", SpinMutex(Mtx::zeroed())),
        pairs("rw, write", Rwlock(Rw::zeroed())),
        subject(
            "critical section",
            || (),
            || {
                critical_enter();
                critical_exit();
            },
        ),
    ]);
    let shared = beside_rwlocks([read_pairs("rm", Rmlock(Rm::zeroed())), read_pairs("rw", Rwlock(Rw::zeroed()))]);
    let (words, seqc) = (Words::new(), leak(Seqc::new()));
    let section = chain(
        "seqc",
        || (),
        move |value| loop {
            let count = black_box(seqc).read();
            let found = words.read(value);
            if seqc.consistent(count) {
                break found;
            }
        },
    );
    let nested = vec![
        pairs("floor: tracing-mutex", NestedTracing(TracingMutex::new(()), TracingMutex::new(()))),
        pairs("mtx", Nested(Mtx::zeroed(), Mtx::zeroed())),
    ];
    let group = |bench, subjects| Group { bench, checks: false, subjects };
    vec![
        group("uncontended pair", exclusive),
        group("uncontended read pair", shared),
        group("read section of four words", vec![bare_seqlock(), section]),
        Group { bench: "two nested, order checked", checks: true, subjects: nested },
    ]
}

fn mutexes() -> Vec<Contender> {
    against_mutexes([contender("mtx", Of::Kernel, SleepMutex(Mtx::zeroed()))])
}

/// Nobody sleeps with a mutex of FreeBSD's.
fn sleepable() -> Vec<Contender> {
    against_mutexes([contender("sx", Of::Kernel, Exclusive(Sx::zeroed()))])
}

fn rwlocks() -> Vec<Contender> {
    against_rwlocks([
        contender("rm", Of::Kernel, Rmlock(Rm::zeroed())),
        contender("rw", Of::Kernel, Rwlock(Rw::zeroed())),
    ])
}

/// The floor and the mutexes in machines, with a handler that takes them.
fn interrupted() -> Vec<Contender> {
    vec![
        contender("floor: two cmpxchg", Of::Kernel, OwnerWord::new()),
        contender("mtx", Of::Kernel, SleepMutex(Mtx::zeroed())),
        contender("mtx, spin", Of::Kernel, SpinMutex(Mtx::zeroed())),
    ]
}

fn main() {
    let work = Load { inside: 100, outside: 200, ..Load::default() };
    let contest = |bench, load, contenders| Contest { bench, load, contenders };
    let contests = vec![
        contest("2 threads, empty section", Load { threads: 2, ..Load::default() }, mutexes()),
        contest("2 threads, 100 ns in, 200 out", Load { threads: 2, ..work }, mutexes()),
        contest("4 threads, empty section", Load { threads: 4, ..Load::default() }, mutexes()),
        contest("4 threads, 100 ns in, 200 out", Load { threads: 4, ..work }, mutexes()),
        contest("16 threads, 100 ns in, 200 out", Load { threads: 16, ..work }, mutexes()),
        contest("4 threads, holder gives its CPU away", Load { threads: 4, yields: 1, ..work }, mutexes()),
        contest("4 threads, 1 of 64 holders gives its CPU away", Load { threads: 4, yields: 64, ..work }, mutexes()),
        contest("4 threads, holder sleeps", Load { threads: 4, asks: 1, ..work }, sleepable()),
        contest("4 threads, 1 of 64 holders sleeps", Load { threads: 4, asks: 64, ..work }, sleepable()),
        contest("2 threads, interrupts", Load { threads: 2, interrupts: 64, ..work }, interrupted()),
        contest("1 thread, readers", Load { threads: 1, readers: u64::MAX, ..Load::default() }, rwlocks()),
        contest("2 threads, readers", Load { threads: 2, readers: u64::MAX, ..Load::default() }, rwlocks()),
        contest("2 threads, 1 of 1000 writes", Load { threads: 2, readers: 1000, ..Load::default() }, rwlocks()),
        contest("4 threads, 1 of 1000 writes", Load { threads: 4, readers: 1000, ..Load::default() }, rwlocks()),
    ];
    Suite { groups: groups(), contests }.main();
}
