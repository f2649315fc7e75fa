//! Everything at once on `smp`: 16 kernel threads take locks of all kinds, sleep, wait, migrate and change priority, while
//! interrupts, callouts and taskqueues do the same. What a lock guards must never be seen torn, and nothing may leak.
//!
//! `LKPI_STRESS_SECONDS` (default 2 for each configuration) and `LKPI_STRESS_SEED` say how long and which random choices.

mod common;

use common::{Latch, spawn};
use freebsd_sys::atomic::{Owned32, OwnedUsize, Shared32};
use freebsd_sys::callout::{Callout, Cf};
use freebsd_sys::condvar::Cv;
use freebsd_sys::host::smp;
use freebsd_sys::interrupt::{self, Arrival, Filter};
use freebsd_sys::machine::{Config, Engine, Machine, Verdict};
use freebsd_sys::malloc::{self, M};
use freebsd_sys::mutex::{Mtx, Mtxf};
use freebsd_sys::rmlock::{Rm, Rmf};
use freebsd_sys::rwlock::{Rw, Rwf};
use freebsd_sys::sched::{self, pri};
use freebsd_sys::seqc::Seqc;
use freebsd_sys::sx::{Sx, Sxf};
use freebsd_sys::taskqueue::{Task, Taskqueue};
use freebsd_sys::{cpu, critical, sleep, thread, userret};
use std::sync::Arc;
use std::time::Duration;

const THREADS: usize = 16;

/// Two words that are equal whenever nobody who may write is inside.
struct Pair([OwnedUsize; 2]);

impl Pair {
    const fn new() -> Self {
        Self([const { OwnedUsize::new(0) }; 2])
    }
    fn bump(&self) {
        let next = self.0[0].get() + 1;
        self.0[0].set(next);
        linger(next % 7);
        assert_eq!(self.0[1].get() + 1, next, "two writers at a time");
        self.0[1].set(next);
    }
    fn check(&self) {
        let first = self.0[0].get();
        linger(first % 5);
        assert_eq!(self.0[1].get(), first, "a reader inside a writer's section");
    }
}

/// Some work, with boundaries, where interrupts come.
fn linger(n: usize) {
    for _ in 0..n {
        critical::critical_enter();
        critical::critical_exit();
    }
}

/// Every kind of lock, and what it guards. The order in which they nest is that of the fields.
struct World {
    sx: Sx,
    by_sx: Pair,
    mtx: [Mtx; 2],
    by_mtx: [Pair; 2],
    rw: Rw,
    by_rw: Pair,
    rm: Rm,
    by_rm: Pair,
    spin: Mtx,
    by_spin: Pair,
    seqc: Seqc,
    by_seqc: Pair,
    cv: Cv,
    /// Guarded by `mtx[0]`.
    tokens: Owned32,
    by_callout: Owned32,
    by_task: Shared32,
    by_filter: Owned32,
    by_ithread: Owned32,
    stop: Shared32,
}

impl World {
    fn new() -> Arc<Self> {
        let world = Arc::new(Self {
            sx: Sx::zeroed(),
            by_sx: Pair::new(),
            mtx: [const { Mtx::zeroed() }; 2],
            by_mtx: [const { Pair::new() }; 2],
            rw: Rw::zeroed(),
            by_rw: Pair::new(),
            rm: Rm::zeroed(),
            by_rm: Pair::new(),
            spin: Mtx::zeroed(),
            by_spin: Pair::new(),
            seqc: Seqc::new(),
            by_seqc: Pair::new(),
            cv: Cv::zeroed(),
            tokens: Owned32::new(0),
            by_callout: Owned32::new(0),
            by_task: Shared32::new(0),
            by_filter: Owned32::new(0),
            by_ithread: Owned32::new(0),
            stop: Shared32::new(0),
        });
        world.sx.init(c"stress sx", Sxf::empty());
        world.mtx[0].init(c"stress mtx 0", Mtxf::DEF);
        world.mtx[1].init(c"stress mtx 1", Mtxf::DEF);
        world.rw.init(c"stress rw", Rwf::empty());
        world.rm.init(c"stress rm", Rmf::empty());
        world.spin.init(c"stress spin", Mtxf::SPIN | Mtxf::NOWITNESS);
        world.cv.init(c"stress cv");
        world
    }

    /// Each lock is free at the end, and what it guards is whole.
    fn check(&self) {
        for pair in
            [&self.by_sx, &self.by_mtx[0], &self.by_mtx[1], &self.by_rw, &self.by_rm, &self.by_spin, &self.by_seqc]
        {
            pair.check();
        }
        assert!(self.sx.try_xlock());
        self.sx.xunlock();
        for mtx in &self.mtx {
            assert!(mtx.trylock());
            mtx.unlock();
        }
        assert!(self.rw.try_wlock());
        self.rw.wunlock();
        self.rm.wlock();
        self.rm.wunlock();
    }
}

/// xorshift64: each thread has its own.
struct Rng(u64);

impl Rng {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 33) as usize % n
    }
}

/// One random thing that a kernel thread may do.
fn act(w: &World, rng: &mut Rng, callout: &Arc<Callout>, task: &Task, tq: &Taskqueue) {
    match rng.below(24) {
        0..3 => {
            w.mtx[0].lock();
            w.by_mtx[0].bump();
            if rng.below(2) == 0 {
                w.mtx[1].lock();
                w.by_mtx[1].bump();
                w.mtx[1].unlock();
            }
            w.mtx[0].unlock();
        }
        3 => {
            if w.mtx[1].trylock() {
                w.by_mtx[1].bump();
                w.mtx[1].unlock();
            }
        }
        4..6 => {
            w.rw.rlock();
            w.by_rw.check();
            if w.rw.try_upgrade() {
                w.by_rw.bump();
                w.rw.downgrade();
                w.by_rw.check();
            }
            w.rw.runlock();
        }
        6 => {
            w.rw.wlock();
            w.by_rw.bump();
            w.rw.wunlock();
        }
        7..9 => w.rm.read(|| w.by_rm.check()),
        9 => {
            w.rm.wlock();
            w.by_rm.bump();
            w.rm.wunlock();
        }
        10 => {
            w.sx.slock();
            w.by_sx.check();
            if rng.below(8) == 0 {
                sleep::pause("stress", 1);
                w.by_sx.check();
            }
            if w.sx.try_upgrade() {
                w.by_sx.bump();
                w.sx.downgrade();
            }
            w.sx.sunlock();
        }
        11 => {
            w.sx.xlock();
            w.by_sx.bump();
            w.mtx[0].lock();
            w.by_mtx[0].bump();
            w.mtx[0].unlock();
            w.sx.xunlock();
        }
        12 => {
            w.spin.lock_spin();
            w.by_spin.bump();
            w.spin.unlock_spin();
        }
        13 => {
            w.mtx[1].lock();
            w.seqc.write_begin();
            w.by_seqc.bump();
            w.seqc.write_end();
            w.mtx[1].unlock();
        }
        14..16 => loop {
            let count = w.seqc.read();
            let seen = [w.by_seqc.0[0].get(), w.by_seqc.0[1].get()];
            if w.seqc.consistent(count) {
                assert_eq!(seen[0], seen[1], "a torn read");
                break;
            }
        },
        16 => {
            w.mtx[0].lock();
            w.tokens.add(1);
            w.cv.signal();
            w.mtx[0].unlock();
        }
        17 => {
            w.mtx[0].lock();
            while w.tokens.get() == 0 {
                if w.cv.timedwait(w.mtx[0].object(), 2) != 0 {
                    break;
                }
            }
            if w.tokens.get() != 0 {
                w.tokens.sub(1);
            }
            w.mtx[0].unlock();
        }
        18 => {
            let n = rng.below(cpu::mp_ncpus());
            sched::sched_bind(n);
            assert_eq!(cpu::cpuid(), n);
            w.mtx[0].lock();
            w.by_mtx[0].check();
            w.mtx[0].unlock();
            assert_eq!(cpu::cpuid(), n, "a bound thread moved");
            sched::sched_unbind();
        }
        19 => {
            sched::sched_pin();
            let here = cpu::cpuid();
            w.rw.wlock();
            w.by_rw.bump();
            w.rw.wunlock();
            assert_eq!(cpu::cpuid(), here, "a pinned thread moved");
            sched::sched_unpin();
        }
        20 => sched::sched_prio(thread::curthread(), pri::PUSER + rng.below(100) as u32),
        21 => {
            let w: &'static World = unsafe_static(w);
            callout.reset(
                1 + rng.below(3) as u64,
                (Arc::new(|| w.by_callout.add(1))) as Arc<dyn Fn() + Send + Sync>,
                None,
                Cf::empty(),
            );
        }
        22 => {
            // SAFETY: the thread drains its task before it ends.
            unsafe { tq.enqueue(task) };
        }
        _ => {
            let size = 16 << rng.below(5);
            let at = malloc::malloc(size, "stress", M::WAITOK);
            linger(3);
            malloc::free(at, "stress");
        }
    }
}

/// The world outlives what is set up in it: every callout and handler is drained before the run ends.
fn unsafe_static(w: &World) -> &'static World {
    // SAFETY: as said above.
    unsafe { &*core::ptr::from_ref(w) }
}

fn seconds() -> u64 {
    std::env::var("LKPI_STRESS_SECONDS").ok().map_or(2, |text| text.parse().expect("LKPI_STRESS_SECONDS is a number"))
}

fn seed() -> u64 {
    std::env::var("LKPI_STRESS_SEED").ok().map_or(1, |text| text.parse().expect("LKPI_STRESS_SEED is a number"))
}

fn run(config: Config) {
    let (seed, ticks) = (seed(), seconds() * 1000);
    println!("seed {seed}, {config:?}");
    let m = Machine::new(config, Engine::Smp);
    // Ticks that a busy host is late for are not made up.
    let options = smp::Options { limit: Duration::from_secs(4 * seconds() + 60), seed, units: &[] };
    let e = smp::run(&m, options, &|| {
        let w = World::new();
        interrupt::bystanders();
        let irq = interrupt::create("stress", Arrival::AnyTime, pri::PI_INTR, None);
        let (in_filter, in_ithread) = (Arc::clone(&w), Arc::clone(&w));
        let filter = move || {
            in_filter.spin.lock_spin();
            in_filter.by_spin.bump();
            in_filter.by_filter.add(1);
            in_filter.spin.unlock_spin();
            Filter::ScheduleThread
        };
        let ithread = move || {
            in_ithread.mtx[1].lock();
            in_ithread.by_mtx[1].bump();
            in_ithread.by_ithread.add(1);
            in_ithread.mtx[1].unlock();
        };
        interrupt::setup(irq, Some(Box::new(filter)), Some(Box::new(ithread)), 1);
        let tq = Taskqueue::create(c"stress tq");
        tq.start_threads(2, pri::PWAIT);
        let latch = Latch::new(THREADS);
        for i in 0..THREADS {
            let (w, latch) = (Arc::clone(&w), Arc::clone(&latch));
            spawn(&format!("stress {i}"), move || {
                let mut rng = Rng::new(seed * 1000 + i as u64);
                let callout = Arc::new(Callout::new());
                let task = Box::new(Task::new());
                let for_task = Arc::clone(&w);
                task.init(0, Arc::new(move |pending| _ = for_task.by_task.fetchadd(pending as u32)));
                while w.stop.get() == 0 {
                    act(&w, &mut rng, &callout, &task, tq);
                    userret::userret();
                }
                callout.drain();
                tq.drain(&task);
                latch.done();
            });
        }
        // A thread that keeps making others, and removing and adding a handler.
        let end = sleep::ticks() + ticks;
        while sleep::ticks() < end {
            let short = Latch::new(2);
            for _ in 0..2 {
                let (w, short) = (Arc::clone(&w), Arc::clone(&short));
                spawn("short", move || {
                    w.rm.read(|| w.by_rm.check());
                    short.done();
                });
            }
            short.wait();
            let more = Arc::clone(&w);
            interrupt::setup(irq, None, Some(Box::new(move || more.rm.read(|| more.by_rm.check()))), 2);
            sleep::pause("more", 1);
            interrupt::teardown(irq, 2);
        }
        w.stop.set(1);
        latch.wait();
        interrupt::teardown(irq, 1);
        tq.free();
        w.check();
        let counts = [w.by_filter.get(), w.by_ithread.get(), w.by_callout.get(), w.by_task.get()];
        assert!(counts.iter().all(|&n| n > 0), "filter, ithread, callout, task: {counts:?}");
        let writes = [&w.by_sx, &w.by_mtx[0], &w.by_mtx[1], &w.by_rw, &w.by_rm, &w.by_spin, &w.by_seqc]
            .map(|pair| pair.0[0].get());
        println!(
            "filter, ithread, callout, task: {counts:?}; writes under sx, mtx, mtx, rw, rm, spin, seqc: {writes:?}"
        );
    });
    assert_eq!(e.verdict, Verdict::Pass, "seed {seed}: {:#?} {:#?}", e.console, e.locks);
    assert!(e.console.is_empty(), "seed {seed}: {:#?}", e.console);
}

#[test]
fn all_invariants_hold_with_all_checks_on() {
    run(Config { cpus: 2, ..Config::default() });
}

#[test]
fn all_invariants_hold_on_four_cpus_without_checks() {
    run(Config { cpus: 4, invariants: false, witness: false, ..Config::default() });
}
