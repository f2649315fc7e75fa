//! FreeBSD's symbols of `smp_rendezvous()`, and what DPCPU is made of; `linuxkpi/include/sys/smp.h` and `pcpu.h` declare them.
//!
//! References: sys/smp.h, sys/pcpu.h, kern/subr_pcpu.c.

use super::deref;
use crate::cpu;
use crate::panic::{kassert, kpanic};
use crate::smp::{self, Phase};
use crate::thread::Argument;
use core::ffi::{c_int, c_long, c_uint, c_void};

/// `cpuset_t`, of 1024 CPUs.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Cpuset {
    bits: [c_long; 16],
}

const _: () = assert!(size_of::<Cpuset>() == 128);

/// A function that a rendezvous calls.
pub type Action = unsafe extern "C-unwind" fn(*mut c_void);

/// `all_cpus`.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn lkpi_all_cpus() -> Cpuset {
    let mut set = Cpuset { bits: [0; 16] };
    set.bits[0] = smp::all_cpus() as c_long;
    set
}

/// `mp_ncpus`.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn lkpi_mp_ncpus() -> c_int {
    cpu::mp_ncpus() as c_int
}

/// `struct lkpi_dpcpu` of a `DPCPU_DEFINE`.
#[repr(C)]
#[derive(Debug)]
pub struct DpcpuArgs {
    cpus: *mut u8,
    initial: *const u8,
    size: usize,
}

/// `dpcpu_init()`, of one variable: each CPU's is what it was defined as.
///
/// # Safety
///
/// `args` is a `struct lkpi_dpcpu`, whose array nobody uses yet.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn lkpi_dpcpu_init(args: *const c_void) {
    // SAFETY: the caller's promise; the array has `MAXCPU` elements, as both sides assert.
    unsafe {
        let args: &DpcpuArgs = deref(args.cast());
        for cpu in 0..cpu::MAXCPU {
            args.cpus.add(cpu * args.size).copy_from_nonoverlapping(args.initial, args.size);
        }
    }
}

/// `dpcpu_off[]`: the CPU, if it is there.
///
/// # Panics
///
/// `page fault`.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn lkpi_dpcpu_id(cpu: c_int) -> usize {
    match usize::try_from(cpu) {
        Ok(cpu) if cpu < cpu::mp_ncpus() => cpu,
        _ => kpanic!("page fault (DPCPU of cpu {cpu}, which is not there)"),
    }
}

/// `smp_no_rendezvous_barrier()`: its address says that CPUs need not wait for each other. Nobody calls it.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn smp_no_rendezvous_barrier(_arg: *mut c_void) {
    kassert!(false, "smp_no_rendezvous called and smp is started");
}

/// `smp_rendezvous_cpus()`.
///
/// # Safety
///
/// Each function is null or may be called with `arg`, on several CPUs at once.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn smp_rendezvous_cpus(
    map: Cpuset,
    setup: Option<Action>,
    action: Option<Action>,
    teardown: Option<Action>,
    arg: *mut c_void,
) {
    let arg = Argument::new(arg);
    // SAFETY: the caller's promise, for all three.
    let call = |func: Option<Action>| move || func.into_iter().for_each(|func| unsafe { func(arg.get()) });
    let (setup_call, action_call, teardown_call) = (call(setup), call(action), call(teardown));
    fn phase<'a>(func: Option<Action>, call: &'a (dyn Fn() + Sync)) -> Phase<'a> {
        let barrier: unsafe extern "C-unwind" fn(*mut c_void) = smp_no_rendezvous_barrier;
        match func {
            None => Phase::Barrier,
            Some(func) if core::ptr::fn_addr_eq(func, barrier) => Phase::NoBarrier,
            Some(_) => Phase::Run(call),
        }
    }
    smp::smp_rendezvous_cpus(
        map.bits[0] as usize,
        phase(setup, &setup_call),
        Some(&action_call),
        phase(teardown, &teardown_call),
    );
}

/// `smp_rendezvous()`.
///
/// # Safety
///
/// As for [`smp_rendezvous_cpus`].
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn smp_rendezvous(
    setup: Option<Action>,
    action: Option<Action>,
    teardown: Option<Action>,
    arg: *mut c_void,
) {
    // SAFETY: the caller's promise.
    unsafe { smp_rendezvous_cpus(lkpi_all_cpus(), setup, action, teardown, arg) };
}

/// `smp_rendezvous_cpu()`.
///
/// # Safety
///
/// As for [`smp_rendezvous_cpus`].
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn smp_rendezvous_cpu(
    cpu: c_uint,
    setup: Option<Action>,
    action: Option<Action>,
    teardown: Option<Action>,
    arg: *mut c_void,
) {
    let mut set = Cpuset { bits: [0; 16] };
    set.bits[0] = c_long::from(cpu < 64) << (cpu % 64);
    // SAFETY: the caller's promise.
    unsafe { smp_rendezvous_cpus(set, setup, action, teardown, arg) };
}
