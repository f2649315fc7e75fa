//! Containment: a fault, a stack overflow, an endless loop or a Rust panic in driver code is a verdict, never the end of the
//! process.
//!
//! * A fault on a kernel stack (guard page included) makes the coroutine return, by rewriting the registers of the signal frame;
//!   its frames are abandoned, not unwound. A fault anywhere else goes to whoever handled the signal before.
//! * A thread that passes no boundary for [`PATIENCE`] of its own processor time is sent a signal that ends the same way.
//! * A Rust panic is noted by a hook, which stops the machine before the unwinding begins, so that destructors find
//!   `SCHEDULER_STOPPED` and cannot switch.

use super::gs::{self, word};
use super::{callsite, heap};
use crate::machine::{Engine, Machine, Verdict};
use core::marker::PhantomData;
use nix::sys::signal::Signal;
use std::sync::{Arc, Mutex, Once};
use std::time::Duration;

/// Processor time without a boundary after which driver code is called an endless loop.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// How often the watchdog looks.
const PERIOD: Duration = Duration::from_millis(100);

/// The signal that interrupts an endless loop: unused by libc, Rust and the tools that people attach.
fn watchdog_signal() -> i32 {
    libc::SIGRTMIN() + 5
}

static OLD: Mutex<Vec<(i32, libc::sigaction)>> = Mutex::new(Vec::new());
static WATCHED: Mutex<Vec<Arc<Watch>>> = Mutex::new(Vec::new());

std::thread_local! {
    /// This host thread's entry, from its first run to its end: a run is shorter than it takes to make one.
    static MINE: Registered = Registered::new();
}

/// A host thread that runs kernel threads now and then.
#[derive(Debug)]
struct Watch {
    thread: libc::pthread_t,
    clock: libc::clockid_t,
    run: Mutex<Run>,
}

/// What a watched host thread does.
#[derive(Debug)]
struct Run {
    /// Counts boundaries (or handled ticks): no change means no progress. Null while no machine runs.
    progress: *const u64,
    /// What the watchdog saw first of the present value: the counter, and the thread's processor time then.
    seen: Option<(u64, Duration)>,
}

// SAFETY: the progress counter lives until `Running` has taken it away, and is read, with the mutex held, racily on purpose.
unsafe impl Send for Run {}

/// Installs the handlers, the hook and the watchdog, once per process.
pub(crate) fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        super::tsan::install();
        for signal in [Signal::SIGSEGV, Signal::SIGBUS, Signal::SIGILL, Signal::SIGFPE] {
            handle(signal as i32);
        }
        handle(watchdog_signal());
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !on_panic(info) {
                previous(info);
            }
        }));
        let spawned = std::thread::Builder::new().name("watchdog".to_owned()).spawn(|| {
            gs::leave();
            loop {
                std::thread::sleep(PERIOD);
                watch();
            }
        });
        drop(spawned.expect("no host thread for the watchdog"));
    });
}

fn handle(signal: i32) {
    // SAFETY: a plain sigaction(2) with a handler of the right type; the structures are zero-initialised plain data.
    unsafe {
        let mut action: libc::sigaction = core::mem::zeroed();
        action.sa_sigaction = on_signal as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        libc::sigemptyset(&mut action.sa_mask);
        let mut old: libc::sigaction = core::mem::zeroed();
        if libc::sigaction(signal, &action, &mut old) == 0 {
            OLD.lock().expect("no panic while held").push((signal, old));
        }
    }
}

/// Stops the machine that a Rust panic happened on; false if it happened outside kernel threads.
fn on_panic(info: &std::panic::PanicHookInfo<'_>) -> bool {
    let machine = gs::machine();
    let td = gs::curthread();
    if machine.is_null() || td.is_null() {
        return false;
    }
    // SAFETY: inside a machine both are live.
    let (m, td) = unsafe { (&*machine, &*td) };
    let text = info.payload_as_str().unwrap_or("a panic without a text");
    let at = info.location().map(|at| format!(" at {}:{}", at.file(), at.line())).unwrap_or_default();
    m.set_verdict(Verdict::Error(format!("Rust panic in thread {}: {text}{at}", td.name())));
    td.unwinding.set(true);
    // SAFETY: GS points at this run's block.
    unsafe { (*gs::block()).word.or(word::STOPPED) };
    if m.engine == Engine::Smp {
        super::smp::stop(m);
    }
    true
}

/// A host thread's entry in the watchdog's list.
struct Registered(Arc<Watch>);

impl Registered {
    fn new() -> Self {
        // SAFETY: plain calls about the calling thread.
        let (thread, clock) = unsafe {
            let thread = libc::pthread_self();
            let mut clock = 0;
            libc::pthread_getcpuclockid(thread, &mut clock);
            (thread, clock)
        };
        let watch = Arc::new(Watch { thread, clock, run: Mutex::new(Run { progress: core::ptr::null(), seen: None }) });
        WATCHED.lock().expect("no panic while held").push(Arc::clone(&watch));
        Self(watch)
    }

    fn runs(&self, progress: *const u64) {
        *self.0.run.lock().expect("no panic while held") = Run { progress, seen: None };
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        WATCHED.lock().expect("no panic while held").retain(|other| !Arc::ptr_eq(other, &self.0));
    }
}

/// Lets the watchdog look at this host thread while a machine runs on it.
#[derive(Debug)]
pub(crate) struct Running(PhantomData<*const u64>);

impl Running {
    /// Watches the `explore` engine's only host thread.
    pub(crate) fn new(m: &Machine) -> Self {
        Self::with_progress(super::explore::progress(m))
    }

    /// Watches a host thread whose progress shows in `progress`, which outlives the value.
    pub(crate) fn with_progress(progress: *const u64) -> Self {
        MINE.with(|mine| mine.runs(progress));
        Self(PhantomData)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        MINE.with(|mine| mine.runs(core::ptr::null()));
    }
}

/// The watchdog's round.
fn watch() {
    for watch in WATCHED.lock().expect("no panic while held").iter() {
        let mut run = watch.run.lock().expect("no panic while held");
        if run.progress.is_null() {
            continue;
        }
        // SAFETY: see `Run`; clock_gettime of a live thread's clock.
        let (progress, used) = unsafe {
            let mut now: libc::timespec = core::mem::zeroed();
            libc::clock_gettime(watch.clock, &mut now);
            (run.progress.read_volatile(), Duration::new(now.tv_sec as u64, now.tv_nsec as u32))
        };
        match run.seen {
            Some((seen, since)) if seen == progress => {
                if used.saturating_sub(since) >= PATIENCE {
                    run.seen = Some((progress, used));
                    // SAFETY: the thread is registered, so it has not ended.
                    unsafe { libc::pthread_kill(watch.thread, watchdog_signal()) };
                }
            }
            _ => run.seen = Some((progress, used)),
        }
    }
}

/// A program counter as a driver's source line; or, without one, as file and offset: the same in every process, and what addr2line(1) takes.
fn place(pc: usize) -> String {
    if let Some(line) = heap::aside(|| callsite::line_at(pc)) {
        return line;
    }
    // SAFETY: dladdr fills the plain structure, and its strings live as long as the object.
    unsafe {
        let mut info: libc::Dl_info = core::mem::zeroed();
        if libc::dladdr(pc as *const libc::c_void, &mut info) == 0 || info.dli_fname.is_null() {
            return format!("pc {pc:#x}");
        }
        let file = core::ffi::CStr::from_ptr(info.dli_fname).to_string_lossy();
        let file = file.rsplit('/').next().unwrap_or_default();
        format!("{file}+{:#x}", pc - info.dli_fbase as usize)
    }
}

/// What the last abandoned context of this host thread died of.
pub(crate) fn take_message() -> String {
    // SAFETY: GS points at this run's block.
    let block = unsafe { &*gs::block() };
    let [signal, address, pc] = [0, 1, 2].map(|at| block.fault[at].get());
    if signal as i32 == watchdog_signal() {
        return format!("endless loop in driver code (no boundary for {} s) at {}", PATIENCE.as_secs(), place(pc));
    }
    let name = Signal::try_from(signal as i32).map_or_else(|_| format!("signal {signal}"), |signal| signal.to_string());
    // SAFETY: the current thread's context, which has just returned.
    let overflow =
        unsafe { (*gs::curthread()).context.get() }.as_ref().is_some_and(|context| context.owns_stack_pointer(address));
    if overflow {
        format!("kernel stack overflow ({name}) at {}", place(pc))
    } else {
        format!("fault in driver code ({name}, address {address:#x}) at {}", place(pc))
    }
}

extern "C" fn on_signal(signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel passes a siginfo_t and a ucontext_t; GS points at a live block.
    unsafe {
        let ucontext = &mut *context.cast::<libc::ucontext_t>();
        let registers = &mut ucontext.uc_mcontext.gregs;
        let sp = registers[libc::REG_RSP as usize] as usize;
        let td = gs::curthread();
        let block = &*gs::block();
        let context = if td.is_null() { None } else { (*td).context.get().as_ref() };
        let contexts = [context, block.unwinding.get().as_ref()];
        if let Some(running) = contexts.into_iter().flatten().find(|context| context.owns_stack_pointer(sp)) {
            block.fault[0].set(signal as usize);
            block.fault[1].set((*info).si_addr() as usize);
            block.fault[2].set(registers[libc::REG_RIP as usize] as usize);
            let [pc, sp, told] = running.abandon();
            registers[libc::REG_RIP as usize] = pc as i64;
            registers[libc::REG_RSP as usize] = sp as i64;
            registers[libc::REG_RAX as usize] = told as i64;
            return;
        }
        if signal == watchdog_signal() {
            // The loop ended, or is in the host's own code, which comes back by itself.
            return;
        }
        // Not ours: give the signal back to its former handler and let the instruction fault again.
        if let Ok(old) = OLD.try_lock()
            && let Some((_, action)) = old.iter().find(|(other, _)| *other == signal)
        {
            libc::sigaction(signal, action, core::ptr::null_mut());
        } else {
            libc::signal(signal, libc::SIG_DFL);
        }
    }
}
