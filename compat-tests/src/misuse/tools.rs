//! What the cases share: locks of each kind, threads, and the contexts that code may run in.

use freebsd_sys::atomic::{Owned32, Shared32};
use freebsd_sys::callout::{Callout, Cf};
use freebsd_sys::ffi::lock_class::{Class, lock_init};
use freebsd_sys::host::explore;
use freebsd_sys::interrupt::{self, Arrival, Filter};
use freebsd_sys::lock::{Lo, LockObject};
use freebsd_sys::lockmgr::Lock;
use freebsd_sys::mutex::{Mtx, Mtxf};
use freebsd_sys::rmlock::{Rm, Rmf};
use freebsd_sys::rwlock::{Rw, Rwf};
use freebsd_sys::sched::pri;
use freebsd_sys::sx::{Sx, Sxf};
use freebsd_sys::thread::{Kthread, Thread, kthread_add};
use freebsd_sys::{cpu, sched, sleep};
use std::ffi::CStr;
use std::sync::Arc;

/// An initialised mutex.
pub(crate) fn mtx(name: &'static CStr, opts: Mtxf) -> Arc<Mtx> {
    let mtx = Arc::new(Mtx::zeroed());
    mtx.init(name, opts);
    mtx
}

/// An initialised rwlock.
pub(crate) fn rw(name: &'static CStr, opts: Rwf) -> Arc<Rw> {
    let rw = Arc::new(Rw::zeroed());
    rw.init(name, opts);
    rw
}

/// An initialised sx lock.
pub(crate) fn sx(name: &'static CStr, opts: Sxf) -> Arc<Sx> {
    let sx = Arc::new(Sx::zeroed());
    sx.init(name, opts);
    sx
}

/// An initialised lockmgr lock.
pub(crate) fn lockmgr(name: &'static CStr, flags: u32) -> Arc<Lock> {
    let lock = Arc::new(Lock::zeroed());
    lock.init(0, name, 0, flags);
    lock
}

/// An initialised rmlock.
pub(crate) fn rm(name: &'static CStr, opts: Rmf) -> Arc<Rm> {
    let rm = Arc::new(Rm::zeroed());
    rm.init(name, opts);
    rm
}

/// The head of a lock that C code makes itself, by `lock_init`.
pub(crate) fn head(class: *const Class, name: &'static CStr, flags: Lo) -> Arc<LockObject> {
    let object = Arc::new(LockObject::zeroed());
    // SAFETY: the memory is zeroed, and whoever drops it tells WITNESS.
    unsafe { lock_init(&*object, class, name.as_ptr(), std::ptr::null(), flags.bits() as i32) };
    object
}

/// A thread of user priority on `cpu`.
pub(crate) fn thread(name: &str, cpu: usize, body: impl FnOnce() + Send + 'static) -> &'static Thread {
    thread_at(name, pri::PUSER, cpu, body)
}

/// A thread of a given priority on `cpu`.
pub(crate) fn thread_at(
    name: &str,
    priority: u32,
    cpu: usize,
    body: impl FnOnce() + Send + 'static,
) -> &'static Thread {
    kthread_add(Kthread { name, priority, flags: 0, cpu: Some(cpu) }, body)
}

/// Runs `body` in another thread, on a machine with one CPU. The caller does not sleep, whatever it holds.
pub(crate) fn by_another(body: impl FnOnce() + Send + 'static) {
    thread("other", 0, body);
    sched::sched_relinquish();
}

/// How much longer than usual [`settle`] takes: `smp` needs more time on a host that is busy, and virtual time costs nothing.
pub(super) static PATIENCE: Shared32 = Shared32::new(1);

/// Lets everybody else run until they wait.
pub(crate) fn settle() {
    rest("settle", 5);
}

/// Sleeps longer than so many ticks' worth of the others' [`settle`]s.
pub(crate) fn rest(wmesg: &'static str, ticks: u64) {
    sleep::pause(wmesg, ticks * u64::from(PATIENCE.get()));
}

/// Spins for ever, with what the caller holds.
pub(crate) fn spin_for_ever() {
    let never = Owned32::new(0);
    loop {
        cpu::observe(never.as_ptr().cast(), 4);
        if !cpu::spinwait() {
            return;
        }
    }
}

/// Runs `body` as the idle thread of CPU 1: an interrupt filter is on the stack of whom it interrupts.
pub(crate) fn as_idle_thread(body: impl Fn() + Send + Sync + 'static) {
    // An idle thread's interrupts are off until it has run once.
    thread("first", 1, || ());
    settle();
    in_filter(Some(1), body);
}

/// Runs `body` in an interrupt filter, on `cpu` if one is given.
pub(crate) fn in_filter(cpu: Option<usize>, body: impl Fn() + Send + Sync + 'static) {
    let irq = interrupt::create("filter", Arrival::Raised, pri::PI_INTR, cpu);
    let filter = move || {
        body();
        Filter::Handled
    };
    interrupt::setup(irq, Some(Box::new(filter)), None, 1);
    arrive(irq);
}

/// Runs `body` in an interrupt filter on the stack of the calling thread, which computes meanwhile.
pub(crate) fn in_own_filter(body: impl Fn() + Send + Sync + 'static) {
    // The thread moves to the interrupt's CPU and stays.
    sched::sched_bind(0);
    let irq = interrupt::create("filter", Arrival::Raised, pri::PI_INTR, Some(0));
    let done = Arc::new(Owned32::new(0));
    let set = Arc::clone(&done);
    let filter = move || {
        body();
        set.set(1);
        Filter::Handled
    };
    interrupt::setup(irq, Some(Box::new(filter)), None, 1);
    explore::begin();
    interrupt::raise(irq);
    while done.get() == 0 && cpu::step("compute", 0) {}
    explore::end();
    sched::sched_unbind();
}

/// Runs `body` in an interrupt thread.
pub(crate) fn in_ithread(body: impl Fn() + Send + Sync + 'static) {
    let irq = interrupt::create("dev", Arrival::Raised, pri::PI_INTR, None);
    interrupt::setup(irq, None, Some(Box::new(body)), 1);
    arrive(irq);
}

/// Interrupts only arrive in the explored part.
fn arrive(irq: interrupt::Irq) {
    explore::begin();
    interrupt::raise(irq);
    settle();
    explore::end();
}

/// Runs `body` as a callout.
pub(crate) fn in_callout(flags: Cf, body: impl Fn() + Send + Sync + 'static) {
    let callout = Arc::new(Callout::new());
    let body: Arc<dyn Fn() + Send + Sync> = Arc::new(body);
    callout.reset(1, body, None, flags);
    settle();
}
