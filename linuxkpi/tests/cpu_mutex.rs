//! mapping/cpu_mutex: nesting. P, B and I are taken in one order whatever the order in which a driver nests its sections, handlers take
//! only what lies above their level, and everything is given back.

mod common;

use common::{EXECUTIONS, explored, passes_n, smp_once, threads, unchecked};
use core::ffi::{c_int, c_void};
use freebsd_sys::atomic::OwnedUsize;
use freebsd_sys::cpu::cpuid;
use freebsd_sys::interrupt::{Arrival, bystanders, create, raise};
use freebsd_sys::machine::{Config, Verdict};
use freebsd_sys::sched::{pri, sched_relinquish};
use freebsd_sys::syscall::{BATCH, INTERACTIVE, crowd, run, syscall};
use freebsd_sys::thread::{Kthread, State, curthread, kthread_add};
use linuxkpi::bottom_half::{local_bh_disable, local_bh_enable};
use linuxkpi::completion::Completion;
use linuxkpi::delay::udelay;
use linuxkpi::interrupt::{IRQ_HANDLED, Irq, IrqReturn, free_irq, request_irq};
use linuxkpi::irqflags::{irqs_disabled, local_irq_disable, local_irq_enable, local_irq_restore, local_irq_save};
use linuxkpi::mapping::cpu_mutex::CpuMutex;
use linuxkpi::mapping::{Context, How, RwBackend, SpinBackend};
use linuxkpi::preempt::{preempt_disable, preempt_enable};
use linuxkpi::rwlock::RwLock;
use linuxkpi::sched::current;
use linuxkpi::spinlock::SpinLock;
use linuxkpi::timer::Timer;
use linuxkpi::{Flags, Loc};
use std::sync::Arc;

type Lock = SpinLock<u64, CpuMutex>;

fn lock() -> Arc<Lock> {
    let lock = Arc::new(Lock::with_mapping(0));
    lock.init();
    lock
}

fn bump(n: &mut u64) {
    let old = *n;
    udelay(1);
    *n = old + 1;
}

/// What a thread must not take home.
fn clean() {
    let (td, task) = (curthread(), current());
    assert_eq!((td.critnest.get(), td.pinned.get(), td.no_sleeping.get(), td.locks.get()), (0, 0, 0, 0));
    assert_eq!(task.owns.get(), 0);
}

/// Passes on 1, 2 and 4 CPUs, and on smp.
#[track_caller]
fn passes(what: &str, main: impl Fn() + Sync) {
    for cpus in [1, 4] {
        let config = Config { cpus, ..Config::default() };
        assert_eq!(explored(config, EXECUTIONS, &main), Verdict::Pass, "{what} on {cpus} CPUs");
    }
    passes_n(what, EXECUTIONS, &main);
}

/// A critical section of this mapping is none of FreeBSD's: it may block, and it may not sleep.
fn inside() {
    let td = curthread();
    assert_eq!(td.critnest.get(), 0, "owning the CPU is no critical section");
    assert!(td.pinned.get() > 0 && td.no_sleeping.get() > 0);
}

/// `section(0..3)` in three threads passes, whichever of them begins: it is the least important, and the others start on its CPU
/// once it has. A bystander may preempt it at any boundary; then the others go first, into whatever it has closed.
#[track_caller]
fn compete(what: &str, section: impl Fn(usize, &Lock, &Lock) + Copy + Send + Sync + 'static) {
    let main = |first: usize| {
        let locks = [lock(), lock()];
        let end = locks.clone();
        let begun = Arc::new(Completion::new());
        begun.init();
        let thread = |i: usize| {
            let (locks, begun) = (locks.clone(), Arc::clone(&begun));
            syscall(&format!("T{i}"), if i == first { BATCH } else { INTERACTIVE }, move || {
                if i == first {
                    begun.complete_all();
                } else {
                    begun.wait();
                }
                section(i, &locks[0], &locks[1]);
                clean();
            })
        };
        bystanders();
        run((0..3).map(|i| thread(i).on(0)).chain(crowd()).collect());
        assert_eq!((*end[0].lock(), *end[1].lock()), (3, 3), "an update was lost");
        clean();
    };
    for first in 0..3 {
        passes(&format!("{what}, T{first} first"), || main(first));
    }
}

/// Thread 0 holds P alone when it asks for I, the others hold both: the order of the levels decides whether that is a deadlock.
#[test]
fn plain_then_irqsave_and_irqsave_then_plain() {
    compete("plain/irqsave", |i, a, b| {
        let (mut a, mut b) = match i {
            0 => {
                let a = a.lock();
                assert!(!irqs_disabled());
                (a, b.lock_irqsave())
            }
            _ => (a.lock_irqsave(), b.lock()),
        };
        inside();
        assert!(irqs_disabled());
        bump(&mut a);
        bump(&mut b);
        drop(b);
        assert_eq!(irqs_disabled(), i != 0);
    });
}

#[test]
fn irqsave_inside_bh_and_bh_inside_plain() {
    compete("bh/irqsave", |i, a, b| {
        let mut outer = if i == 0 { a.lock_bh() } else { a.lock() };
        let mut inner = if i == 0 { b.lock_irqsave() } else { b.lock_bh() };
        inside();
        bump(&mut outer);
        bump(&mut inner);
    });
}

#[test]
fn bare_sections_around_and_inside_locks() {
    compete("bare sections", |i, a, b| {
        match i {
            0 => {
                preempt_disable::<CpuMutex>();
                let flags = local_irq_save::<CpuMutex>();
                bump(&mut a.lock());
                // irq-on first: P stays.
                local_irq_restore::<CpuMutex>(flags);
                assert!(!irqs_disabled());
                inside();
                preempt_enable::<CpuMutex>();
            }
            1 => {
                local_bh_disable::<CpuMutex>();
                bump(&mut a.lock_irqsave());
                local_bh_enable::<CpuMutex>();
            }
            _ => {
                let mut outer = a.lock_irqsave();
                preempt_disable::<CpuMutex>();
                bump(&mut outer);
                // Unbalanced in order, balanced in number: as Linux allows.
                drop(outer);
                inside();
                preempt_enable::<CpuMutex>();
            }
        }
        clean();
        local_irq_disable::<CpuMutex>();
        bump(&mut b.lock());
        local_irq_enable::<CpuMutex>();
    });
}

#[test]
fn released_out_of_order() {
    compete("out of order", |i, a, b| {
        let mut outer = if i == 0 { a.lock_irqsave() } else { a.lock() };
        let mut inner = if i == 1 { b.lock_irqsave() } else { b.lock_bh() };
        bump(&mut outer);
        drop(outer);
        inside();
        // The second lock's level outlives the first lock's, and only that.
        assert_eq!(irqs_disabled(), i == 1);
        bump(&mut inner);
    });
}

#[test]
fn trylock_fails_while_another_cpu_owns_it_and_gives_the_cpu_back() {
    passes("trylock", || {
        let lock = lock();
        let end = Arc::clone(&lock);
        let taken = Arc::new(OwnedUsize::new(0));
        let count = Arc::clone(&taken);
        threads(3, move |i| {
            if i == 0 {
                bump(&mut lock.lock_irqsave());
            } else if let Some(mut n) = lock.trylock(linuxkpi::mapping::Context::IrqSave) {
                count.set(count.get() + 1);
                bump(&mut n);
            }
            clean();
        });
        assert_eq!(*end.lock() as usize, 1 + taken.get());
    });
}

/// Without checks, and with nothing to be done at the boundaries, the CPU is owned the short way: not past an owner, and not when
/// somebody waits.
#[test]
fn the_short_way_minds_owners_and_waiters() {
    for irq in [false, true] {
        let verdict = smp_once(Config { cpus: 1, ..unchecked() }, 0, &|| {
            let (enter, exit): (fn(), fn()) = if irq {
                (local_irq_disable::<CpuMutex>, local_irq_enable::<CpuMutex>)
            } else {
                (preempt_disable::<CpuMutex>, preempt_enable::<CpuMutex>)
            };
            enter();
            let spec = Kthread { name: "other", priority: pri::PUSER, flags: 0, cpu: None };
            let td = kthread_add(spec, move || {
                enter();
                exit();
            });
            while !td.is_on_lock() {
                assert!(td.state() != State::Inactive, "it passed the owner");
                sched_relinquish();
            }
            exit();
            assert!(!td.is_on_lock(), "nobody woke it");
            clean();
        });
        assert_eq!(verdict, Verdict::Pass);
    }
}

/// A section keeps the other threads of its CPU out, wherever the thread came from while it asked for it.
#[test]
fn a_section_has_its_cpu_to_itself() {
    for cpus in [1, 2, 4] {
        let config = Config { cpus, ..Config::default() };
        let verdict = explored(config, EXECUTIONS, || {
            let inside = Arc::new([const { OwnedUsize::new(0) }; 4]);
            bystanders();
            threads(4, move |_| {
                for _ in 0..2 {
                    preempt_disable::<CpuMutex>();
                    let here = &inside[cpuid()];
                    assert_eq!(here.get(), 0, "another thread is in its section on this CPU");
                    here.set(1);
                    udelay(1);
                    here.set(0);
                    preempt_enable::<CpuMutex>();
                    clean();
                }
            });
        });
        assert_eq!(verdict, Verdict::Pass, "{cpus} CPUs");
    }
}

/// What a thread has closed, without any lock that a handler would wait for.
#[derive(Debug)]
struct Closed {
    now: OwnedUsize,
    handled: Completion,
    fired: Completion,
    timer: Timer,
}

unsafe extern "C-unwind" fn open_handler(_irq: c_int, dev: *mut c_void) -> IrqReturn {
    // SAFETY: requested with a `Closed` that outlives `free_irq`.
    let closed = unsafe { &*dev.cast_const().cast::<Closed>() };
    assert_eq!(closed.now.get(), 0, "a handler ran with interrupts off");
    closed.handled.complete();
    IRQ_HANDLED
}

unsafe extern "C-unwind" fn open_timer(dev: *mut c_void) {
    // SAFETY: set up with a `Closed` that outlives `delete_sync`.
    let closed = unsafe { &*dev.cast_const().cast::<Closed>() };
    assert_eq!(closed.now.get(), 0, "a timer ran with bottom halves off");
    closed.fired.complete();
}

/// The levels themselves keep handlers out, also where no lock does.
#[test]
fn handlers_do_not_run_inside_a_section_that_closes_their_level() {
    let main = || {
        let irq = create("gpu", Arrival::Raised, pri::PI_INTR, Some(0));
        let (handled, fired) = (Completion::new(), Completion::new());
        let closed = Arc::new(Closed { now: OwnedUsize::new(0), handled, fired, timer: Timer::new() });
        closed.handled.init();
        closed.fired.init();
        let dev = Arc::as_ptr(&closed).cast_mut().cast();
        // SAFETY: it outlives `free_irq` and `delete_sync`.
        unsafe {
            assert_eq!(request_irq::<CpuMutex>(irq, open_handler, dev), 0);
            closed.timer.setup::<CpuMutex>(open_timer, dev);
        }
        let end = Arc::clone(&closed);
        threads(1, move |_| {
            let section = |enter: fn(), exit: fn()| {
                enter();
                closed.now.set(1);
                (0..3).for_each(|_| udelay(1));
                closed.now.set(0);
                exit();
            };
            raise(irq);
            section(local_irq_disable::<CpuMutex>, local_irq_enable::<CpuMutex>);
            closed.handled.wait();
            // With interrupts off there is no softirq either.
            for (enter, exit) in [
                (local_bh_disable::<CpuMutex> as fn(), local_bh_enable::<CpuMutex> as fn()),
                (local_irq_disable::<CpuMutex>, local_irq_enable::<CpuMutex>),
            ] {
                closed.timer.modify(1);
                section(enter, exit);
                closed.fired.wait();
                clean();
            }
        });
        end.timer.delete_sync();
        free_irq(irq);
    };
    assert_eq!(explored(Config { cpus: 1, ..Config::default() }, 4 * EXECUTIONS, main), Verdict::Pass);
}

/// A device with a handler and a timer; a lock of the handler's, one of the timer's.
#[derive(Debug)]
struct Device {
    hard: Arc<Lock>,
    soft: Arc<Lock>,
    timer: Timer,
    handled: Completion,
    fired: Completion,
}

unsafe extern "C-unwind" fn handler(_irq: c_int, dev: *mut c_void) -> IrqReturn {
    // SAFETY: requested with a `Device` that outlives `free_irq`.
    let device = unsafe { &*dev.cast_const().cast::<Device>() };
    bump(&mut device.hard.lock());
    device.handled.complete();
    IRQ_HANDLED
}

unsafe extern "C-unwind" fn fires(dev: *mut c_void) {
    // SAFETY: set up with a `Device` that outlives `delete_sync`.
    let device = unsafe { &*dev.cast_const().cast::<Device>() };
    let mut soft = device.soft.lock();
    bump(&mut soft);
    // A softirq is interrupted by hardirqs, so it closes their level before it takes their lock.
    bump(&mut device.hard.lock_irqsave());
    drop(soft);
    device.fired.complete();
}

fn device() -> Arc<Device> {
    let (handled, fired) = (Completion::new(), Completion::new());
    let device = Arc::new(Device { hard: lock(), soft: lock(), timer: Timer::new(), handled, fired });
    device.handled.init();
    device.fired.init();
    device
}

fn dev(device: &Arc<Device>) -> *mut c_void {
    Arc::as_ptr(device).cast_mut().cast()
}

fn handlers(irq: Irq) {
    let device = device();
    // SAFETY: the device outlives `free_irq` and `delete_sync`.
    unsafe {
        assert_eq!(request_irq::<CpuMutex>(irq, handler, dev(&device)), 0);
        device.timer.setup::<CpuMutex>(fires, dev(&device));
    }
    let end = Arc::clone(&device);
    threads(2, move |i| {
        if i == 0 {
            device.timer.modify(1);
            raise(irq);
            // Both levels closed, in the order in which a driver nests them, and the handlers wait for this CPU outside.
            let mut soft = device.soft.lock_bh();
            bump(&mut device.hard.lock_irqsave());
            bump(&mut soft);
        } else {
            bump(&mut device.hard.lock_irqsave());
            device.handled.wait();
            device.fired.wait();
        }
        clean();
    });
    end.timer.delete_sync();
    free_irq(irq);
    assert_eq!((*end.hard.lock_irqsave(), *end.soft.lock_bh()), (4, 2), "an update was lost");
}

#[test]
fn a_handler_and_a_timer_wait_for_the_level_that_a_thread_has_closed() {
    passes("handlers", || handlers(create("gpu", Arrival::Raised, pri::PI_INTR, None)));
}

unsafe extern "C-unwind" fn closes_irqs(dev: *mut c_void) {
    // SAFETY: set up with a `Device` that outlives `delete_sync`.
    let device = unsafe { &*dev.cast_const().cast::<Device>() };
    bump(&mut device.hard.lock_irqsave());
    device.fired.complete();
}

/// A softirq that is to begin owns its level and waits for nothing with it: who has switched interrupts off may close it too.
#[test]
fn bottom_halves_inside_interrupts_off() {
    passes("bh inside irq", || {
        let device = device();
        // SAFETY: the device outlives `delete_sync`.
        unsafe { device.timer.setup::<CpuMutex>(closes_irqs, dev(&device)) };
        let end = Arc::clone(&device);
        threads(1, move |_| {
            device.timer.modify(1);
            local_irq_disable::<CpuMutex>();
            (0..2).for_each(|_| udelay(1));
            local_bh_disable::<CpuMutex>();
            local_irq_enable::<CpuMutex>();
            inside();
            local_bh_enable::<CpuMutex>();
            device.fired.wait();
            clean();
        });
        end.timer.delete_sync();
    });
}

/// A thread holds the handler's lock with interrupts on, raises the interrupt, and goes on with `section`.
fn interrupts_on(section: impl Fn() + Send + Sync + 'static) {
    let irq = create("gpu", Arrival::Raised, pri::PI_INTR, None);
    let device = device();
    // SAFETY: the device outlives `free_irq`.
    assert_eq!(unsafe { request_irq::<CpuMutex>(irq, handler, dev(&device)) }, 0);
    let end = Arc::clone(&device);
    threads(1, move |_| {
        let mut n = device.hard.lock();
        raise(irq);
        section();
        bump(&mut n);
        drop(n);
        device.handled.wait();
        clean();
    });
    free_irq(irq);
    assert_eq!(*end.hard.lock_irqsave(), 2);
}

/// lockdep's "inconsistent lock state": Linux would spin in the handler for ever. Here the handler is a thread, and lends its
/// priority; but it owns I meanwhile, and who then asks for I is in a deadlock.
#[test]
fn a_handlers_lock_taken_with_interrupts_on() {
    passes("interrupts on", || interrupts_on(|| ()));
    let verdict = explored(Config::default(), EXECUTIONS, || interrupts_on(|| drop(lock().lock_irqsave())));
    let Verdict::Deadlock(text) = verdict else { panic!("no deadlock: {verdict}") };
    assert!(text.contains("T0 blocks on lnxirq held by intr: gpu"), "{text}");
}

/// The levels belong to a CPU: a thread that owns its CPU keeps no thread of another CPU out.
#[test]
fn two_cpus_own_themselves_at_the_same_time() {
    let main = || {
        let inside = Arc::new(OwnedUsize::new(0));
        let both = Arc::new(OwnedUsize::new(0));
        let end = Arc::clone(&both);
        threads(2, move |_| {
            preempt_disable::<CpuMutex>();
            inside.set(inside.get() + 1);
            udelay(1);
            both.set(both.get().max(inside.get()));
            udelay(1);
            inside.set(inside.get() - 1);
            preempt_enable::<CpuMutex>();
            clean();
        });
        assert!(end.get() < 2, "both were in their sections");
    };
    let one = Config { cpus: 1, ..Config::default() };
    assert_eq!(explored(one, EXECUTIONS, main), Verdict::Pass);
    let verdict = explored(Config::default(), EXECUTIONS, main);
    assert!(verdict.message().contains("both were in their sections"), "{verdict}");
}

/// `lock`, by hand: what Linux lets a driver mix, guards do not.
fn take(lock: &Lock, context: Context) -> Flags {
    // SAFETY: given back by `give`.
    unsafe { lock.raw() }.lock(How::new(context, Loc::caller()))
}

fn give(lock: &Lock, context: Context, flags: Flags) {
    // SAFETY: it was taken by `take`.
    unsafe { lock.raw() }.unlock(How::new(context, Loc::caller()), flags);
}

/// Whether interrupts are on or off, and whether the CPU is owned at all.
#[track_caller]
fn state(off: bool, owned: bool) {
    assert_eq!(irqs_disabled(), off, "interrupts off");
    let td = curthread();
    assert_eq!((td.pinned.get() != 0, td.no_sleeping.get() != 0), (owned, owned), "preemption off");
}

/// The count of preemption and the interrupts' flag do not know of each other.
#[test]
fn forms_of_taking_and_giving_mix() {
    use Context::{Bh, Irq, IrqSave, Plain};
    let sections: [fn(&Lock, &Lock); 12] = [
        |a, _| {
            let flags = local_irq_save::<CpuMutex>();
            take(a, Plain);
            give(a, IrqSave, flags);
        },
        |a, _| {
            take(a, Irq);
            give(a, Plain, Flags(0));
            state(true, true);
            local_irq_enable::<CpuMutex>();
        },
        |a, b| {
            let flags = take(a, IrqSave);
            take(b, Plain);
            give(a, Plain, Flags(0));
            state(true, true);
            give(b, IrqSave, flags);
        },
        |a, _| {
            let flags = local_irq_save::<CpuMutex>();
            local_irq_restore::<CpuMutex>(flags);
            take(a, Irq);
            give(a, IrqSave, flags);
        },
        |a, _| {
            let flags = take(a, IrqSave);
            give(a, Plain, Flags(0));
            state(true, true);
            local_irq_restore::<CpuMutex>(flags);
        },
        |a, _| {
            take(a, Plain);
            local_irq_disable::<CpuMutex>();
            give(a, Irq, Flags(0));
        },
        |a, _| {
            take(a, Bh);
            give(a, Plain, Flags(0));
            inside();
            local_bh_enable::<CpuMutex>();
        },
        |a, _| {
            local_bh_disable::<CpuMutex>();
            take(a, Plain);
            give(a, Bh, Flags(0));
        },
        |a, b| {
            // An inner section that does not ask what was: Linux lets interrupts in at its end, and so for the outer one.
            take(a, Irq);
            take(b, Irq);
            give(b, Irq, Flags(0));
            state(false, true);
            give(a, Irq, Flags(0));
        },
        |a, b| {
            // The flags find their way, whichever lock goes first.
            let outer = take(a, IrqSave);
            let inner = take(b, IrqSave);
            give(a, IrqSave, inner);
            state(true, true);
            give(b, IrqSave, outer);
        },
        |a, _| {
            // Switched on in between, and off again by what was saved.
            local_irq_disable::<CpuMutex>();
            let flags = local_irq_save::<CpuMutex>();
            local_irq_enable::<CpuMutex>();
            state(false, false);
            local_irq_restore::<CpuMutex>(flags);
            state(true, true);
            take(a, Plain);
            give(a, Irq, Flags(0));
        },
        |a, _| {
            // A trylock that fails gives back what it asked for.
            let flags = take(a, IrqSave);
            assert!(a.trylock(IrqSave).is_none());
            state(true, true);
            local_irq_enable::<CpuMutex>();
            state(false, true);
            assert!(a.trylock(Irq).is_none());
            state(false, true);
            give(a, IrqSave, flags);
        },
    ];
    let main = || {
        let locks = [lock(), lock()];
        bystanders();
        let end = locks.clone();
        threads(2, move |i| {
            for section in sections.iter().skip(i).step_by(2) {
                section(&locks[0], &locks[1]);
                state(false, false);
                clean();
            }
        });
        assert!(!end[0].is_locked() && !end[1].is_locked());
    };
    passes("mixes", main);
    // The short ways, on either side of a mix.
    assert_eq!(smp_once(Config { cpus: 1, ..unchecked() }, 0, &main), Verdict::Pass);
}

/// Readers and writers of an rwlock are sections as well.
#[test]
fn forms_of_an_rwlock_mix() {
    passes("rwlock", || {
        let lock: Arc<RwLock<u64, CpuMutex>> = Arc::new(RwLock::with_mapping(0));
        lock.init();
        threads(2, move |_| {
            let how = |context| How::new(context, Loc::caller());
            let flags = local_irq_save::<CpuMutex>();
            // SAFETY: no guard is made of it, and what is taken is given back.
            let raw = unsafe { lock.raw() };
            raw.read_lock(how(Context::Plain));
            raw.read_unlock(how(Context::IrqSave), flags);
            clean();
            raw.write_lock(how(Context::Irq));
            raw.write_unlock(how(Context::Plain), Flags(0));
            state(true, true);
            local_irq_enable::<CpuMutex>();
            clean();
            raw.read_lock(how(Context::Bh));
            raw.read_unlock(how(Context::Plain), Flags(0));
            inside();
            local_bh_enable::<CpuMutex>();
            clean();
        });
    });
}

/// Whoever ends what was never begun is told so, however often others were switched off before.
#[test]
fn an_enable_without_a_disable_is_a_panic() {
    let ends: [(&str, fn()); 3] = [
        ("local_irq_enable", || {
            local_irq_disable::<CpuMutex>();
            local_irq_disable::<CpuMutex>();
            local_irq_enable::<CpuMutex>();
            local_irq_enable::<CpuMutex>();
            local_irq_enable::<CpuMutex>();
        }),
        ("preempt_enable", || {
            local_irq_disable::<CpuMutex>();
            preempt_enable::<CpuMutex>();
        }),
        ("local_bh_enable", || {
            preempt_disable::<CpuMutex>();
            local_bh_enable::<CpuMutex>();
        }),
    ];
    for (name, end) in ends {
        let verdict = explored(Config::default(), 1, || threads(1, move |_| end()));
        assert_eq!(verdict, Verdict::Panic(format!("{name}: was not disabled")));
    }
}
