//! `smp_rendezvous()`: functions that all CPUs, or some, run at the same time.
//!
//! # Algorithm
//!
//! Who calls takes a spin mutex, publishes what is to be done, and sends each of the other CPUs an interrupt; then it does its part like
//! them, and waits until all are done. Every CPU waits for the others to arrive, runs the setup function, waits for the others, runs the
//! action, waits for the others, and runs the teardown function. The two waits in the middle can be left out ([`Phase::NoBarrier`]).
//!
//! All of it happens with interrupts off and in a critical section. A function may not sleep, block or make a thread runnable.
//!
//! # Memory ordering
//!
//! Each arrival is a sequentially consistent addition and each wait ends with an acquire: what a CPU did before a wait is seen by all after
//! it, and by who called when it returns.
//!
//! # Deviations from FreeBSD
//!
//! The mutex is initialised when first asked for. rmlock(9), RCU and epoch(9) interrupt CPUs by a way of their own, without this mutex.
//!
//! References: kern/subr_smp.c, sys/smp.h.

use crate::atomic::{Guarded, Shared32, thread_fence_acq};
use crate::cpu::{self, curcpu, machine, observe, pending};
use crate::critical;
use crate::lock::Loc;
use crate::module::Once;
use crate::mutex::{Mtx, Mtxf};
use crate::panic::{kassert, kpanic, mpass};
use crate::thread::curthread;

/// What a rendezvous does before or after its action.
#[derive(Clone, Copy)]
pub enum Phase<'a> {
    /// A null pointer: the CPUs wait for each other.
    Barrier,
    /// `smp_no_rendezvous_barrier`: they do not.
    NoBarrier,
    /// A function, besides. All CPUs have run it before the action begins; all have run the action before it.
    Run(&'a (dyn Fn() + Sync)),
}

impl core::fmt::Debug for Phase<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Barrier => "Barrier",
            Self::NoBarrier => "NoBarrier",
            Self::Run(_) => "Run(..)",
        })
    }
}

/// `smp_rv_setup_func` and the others.
#[derive(Debug, Clone, Copy)]
struct Work<'a> {
    setup: Phase<'a>,
    action: Phase<'a>,
    teardown: Phase<'a>,
}

/// The `smp_rv_` variables of a machine.
#[derive(Debug)]
pub(crate) struct Rendezvous {
    /// `smp_ipi_mtx`: zeroed until somebody asks for it.
    mtx: Mtx,
    /// It is initialised.
    usable: Once,
    /// (mtx) `smp_rv_ncpus`.
    ncpus: Shared32,
    /// (mtx)
    work: Guarded<Option<Work<'static>>>,
    /// `smp_rv_waiters`: CPUs that have arrived, done the setup, done the action, and are through.
    waiters: [Shared32; 4],
    /// CPUs that have yet to take the interrupt.
    targets: Shared32,
}

impl Rendezvous {
    pub(crate) fn new() -> Self {
        Self {
            mtx: Mtx::zeroed(),
            usable: Once::new(),
            ncpus: Shared32::new(0),
            work: Guarded::new(None),
            waiters: [const { Shared32::new(0) }; 4],
            targets: Shared32::new(0),
        }
    }

    pub(crate) fn reset(&self) {
        self.targets.reset();
        if !self.usable.is_fresh() {
            self.usable.reset();
            // SAFETY: between executions nobody else is running, and a mutex consists of nothing but cells. The old value is not
            // dropped: it lies on no list any more.
            unsafe { core::ptr::from_ref(&self.mtx).cast_mut().write(Mtx::zeroed()) };
        }
    }

    /// `smp_ipi_mtx`.
    fn mutex(&self) -> &Mtx {
        self.usable.ensure(|| self.mtx.init(c"smp rendezvous", Mtxf::SPIN));
        &self.mtx
    }

    /// Waits until `ncpus` CPUs have come to `at`; false when the machine has stopped.
    fn wait(&self, at: usize, ncpus: u32) -> bool {
        let waiters = &self.waiters[at];
        while waiters.get() < ncpus {
            observe(waiters.as_ptr().cast(), 4);
            if !cpu::spinwait() {
                return false;
            }
        }
        thread_fence_acq();
        true
    }

    fn arrive(&self, at: usize, ncpus: u32) -> bool {
        self.waiters[at].fetchadd(1);
        self.wait(at, ncpus)
    }

    /// `smp_rendezvous_action()`: this CPU's part. Interrupts are off.
    fn act(&self) {
        let ncpus = self.ncpus.get();
        if !self.arrive(0, ncpus) {
            return;
        }
        // SAFETY: (mtx) who called holds it, and changes nothing until this CPU is through.
        let Some(Work { setup, action, teardown }) = (unsafe { *self.work.get() }) else { return };
        let td = curthread();
        td.critnest.add(1);
        let owepreempt = td.owepreempt.get();
        if !matches!(setup, Phase::NoBarrier) {
            run(setup);
            if !self.arrive(1, ncpus) {
                return;
            }
        }
        run(action);
        if !matches!(teardown, Phase::NoBarrier) {
            if !self.arrive(2, ncpus) {
                return;
            }
            run(teardown);
        }
        self.waiters[3].fetchadd(1);
        td.critnest.sub(1);
        kassert!(owepreempt == td.owepreempt.get(), "rendezvous action changed td_owepreempt");
    }
}

fn run(phase: Phase<'_>) {
    if let Phase::Run(function) = phase {
        function();
    }
}

/// The rendezvous IPI's handler, in an interrupt frame of its CPU.
pub(crate) fn ipi_rendezvous() {
    let (rendezvous, bit) = (&machine().smp_rv, 1 << curcpu().cpuid);
    if rendezvous.targets.get() & bit != 0 {
        rendezvous.targets.clear(bit);
        rendezvous.act();
    }
}

/// `all_cpus`.
pub fn all_cpus() -> usize {
    (1 << machine().cpus.len()) - 1
}

/// `smp_rendezvous_cpus()`: runs the functions on the CPUs of `map`, a bit each, and returns when all are through. Does not sleep. Not with a
/// spin mutex held, nor in an interrupt filter. A machine with one CPU runs them there, whatever `map` says.
///
/// # Panics
///
/// MPASS `curthread->td_md.md_spinlock_count == 0` (INVARIANTS): with a spin mutex held. `ncpus is 0 with non-zero map`; `rendezvous action changed td_owepreempt`, if a function made a better thread runnable (INVARIANTS).
#[track_caller]
pub fn smp_rendezvous_cpus(map: usize, setup: Phase<'_>, action: Option<&(dyn Fn() + Sync)>, teardown: Phase<'_>) {
    let loc = Loc::caller();
    if !cpu::step_at("smp_rendezvous_cpus", 0, loc) {
        return;
    }
    let rendezvous = &machine().smp_rv;
    let td = curthread();
    if machine().cpus.len() == 1 {
        // `smp_started` is 0: nobody to wait for, and the map is not looked at.
        critical::spinlock_enter_internal();
        run(setup);
        action.inspect(|action| action());
        run(teardown);
        critical::spinlock_exit_internal();
        return;
    }
    // With interrupts off it would wait for ever for a CPU that sends this one an interrupt.
    mpass!(td.spinlock_count.get() == 0, "curthread->td_md.md_spinlock_count == 0", loc);
    let map = map & all_cpus();
    let ncpus = map.count_ones();
    if ncpus == 0 {
        kpanic!("ncpus is 0 with non-zero map");
    }
    let action = action.map_or(Phase::NoBarrier, Phase::Run);
    let mtx = rendezvous.mutex();
    mtx.lock_spin_at(0, loc);
    // SAFETY: all that differs is the lifetime of the functions, which are called only until the last CPU is through; this function
    // waits for that. If the machine stops meanwhile, no CPU gets beyond its wait.
    let work = unsafe { core::mem::transmute::<Work<'_>, Work<'static>>(Work { setup, action, teardown }) };
    // SAFETY: (mtx)
    unsafe { *rendezvous.work.get() = Some(work) };
    rendezvous.ncpus.set(ncpus);
    rendezvous.waiters.iter().for_each(|waiters| waiters.set(0));
    let me = 1 << curcpu().cpuid;
    rendezvous.targets.set((map & !me) as u32);
    for cpu in &machine().cpus {
        if map & !me & 1 << cpu.cpuid != 0 {
            cpu.post(pending::RENDEZVOUS);
        }
    }
    if map & me != 0 {
        rendezvous.act();
    }
    if rendezvous.wait(3, ncpus) {
        mtx.unlock_spin_at(loc);
    }
}

/// `smp_rendezvous()`: [`smp_rendezvous_cpus`] on all CPUs.
///
/// # Panics
///
/// As [`smp_rendezvous_cpus`].
#[track_caller]
pub fn smp_rendezvous(setup: Phase<'_>, action: Option<&(dyn Fn() + Sync)>, teardown: Phase<'_>) {
    smp_rendezvous_cpus(all_cpus(), setup, action, teardown);
}
