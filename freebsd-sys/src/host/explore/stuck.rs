//! Why nothing moves: deadlock, livelock, or a thread that is at work.

use crate::callout;
use crate::lock::LockObject;
use crate::machine::{Engine, Machine, Verdict};
use crate::thread::{self, Thread, tdf};

/// The verdict on a machine in which nothing can move but by spinning.
pub(super) fn stuck(m: &Machine) -> Verdict {
    let mut text: Vec<_> =
        m.threads().iter().filter(|td| td.awaiting.get()).map(|td| describe_spinner(m, td)).collect();
    let spinning = !text.is_empty();
    let blocked = describe_blocked(m);
    if !blocked.is_empty() {
        text.push(blocked);
    }
    let text = text.join("; ");
    // Adaptive spinners that wait for each other are a deadlock, whether they spin or block: the schedule only decides how.
    if !spinning || waits_in_a_cycle(m) { Verdict::Deadlock(text) } else { Verdict::Livelock(text) }
}

/// `smp`: the verdict on a machine that its clock stopped `after` a time.
pub(crate) fn hang(m: &Machine, after: std::time::Duration) -> Verdict {
    match busy(m) {
        Some((td, what)) => Verdict::Error(format!("no end after {} s; {} {what}", after.as_secs(), td.name())),
        None => stuck(m),
    }
}

/// `smp`: a thread of the program's own that is at work, or that the clock will wake, and what it does. If there is none now
/// and none a moment later, the machine is stuck. The machine may be running: the answer is as of some moment.
pub(crate) fn busy(m: &Machine) -> Option<(&Thread, &'static str)> {
    m.threads().iter().find_map(|td| {
        if td.is_sleeping() && td.sleep_deadline.get() != 0 {
            return Some((&**td, "sleeps with a timeout"));
        }
        let service = td.is_idle() || td.flags.get() & tdf::KPROC != 0;
        let runs = matches!(td.state(), thread::State::Running | thread::State::RunQ | thread::State::CanRun);
        let polls = td.looked_at_clock.get() + POLLED > callout::now();
        let at_work = !service && runs && (polls || !td.awaiting.get()) && !waits_for_a_spinners_cpu(m, td);
        at_work.then_some((&**td, "was running"))
    })
}

/// `smp`: ticks after a look at the clock during which a thread that spins counts as one that waits for it.
const POLLED: u64 = 100;

/// Whether what `td` does next depends on the time.
pub(crate) fn watches_clock(td: &Thread) -> bool {
    let clock = callout::address().cast();
    // SAFETY: the thread is suspended or the running one, and the reference ends here.
    unsafe { td.read_set.get() }.iter().any(|seen| seen.at == clock)
}

/// Whether `td` is queued on a CPU that a spinning thread does not give up.
fn waits_for_a_spinners_cpu(m: &Machine, td: &Thread) -> bool {
    td.state() == thread::State::RunQ && m.cpus[td.tscpu.get() as usize].current().awaiting.get()
}

/// The thread that `td` waits for: the owner of the lock that it blocks on, or spins on while the owner runs.
fn waits_for<'a>(m: &'a Machine, td: &Thread) -> Option<&'a Thread> {
    if td.is_on_lock() {
        return crate::turnstile::owner_of(td.blocked_on.get());
    }
    match td.spinning_on.get() {
        0 => None,
        // SAFETY: a lock that a thread spins on is alive.
        lock => crate::lint::owner(m, unsafe { &*(lock as *const LockObject) }),
    }
}

/// Whether some threads wait for each other in a circle.
fn waits_in_a_cycle(m: &Machine) -> bool {
    m.threads().iter().any(|start| {
        let mut at = waits_for(m, start);
        // A chain that does not come back within the number of threads has entered another circle, which its own start finds.
        for _ in 0..m.threads().len() {
            match at {
                Some(td) if core::ptr::eq(td, &**start) => return true,
                Some(td) => at = waits_for(m, td),
                None => return false,
            }
        }
        false
    })
}

fn describe_spinner(m: &Machine, td: &Thread) -> String {
    let critical = if td.critnest.get() > 0 { " in a critical section" } else { "" };
    // SAFETY: the thread is suspended.
    let (what, obj) = unsafe { *td.op.get() };
    let what = match (m.engine, td.spinning_on.get()) {
        (Engine::Explore, _) if obj == 0 => format!(" in {what}"),
        (Engine::Explore, _) => format!(" in {what} on {}", crate::machine::lock_name(obj)),
        (Engine::Smp, 0) => String::new(),
        (Engine::Smp, lock) => format!(" on {}", crate::machine::lock_name(lock)),
    };
    let Some(cpu) = m.cpus.iter().find(|cpu| core::ptr::eq(cpu.curthread.get(), td.ptr())) else {
        return format!("{} spins{what}{critical}, and is off CPU", td.name());
    };
    // SAFETY: between transitions; threads are type-stable.
    let queued: Vec<_> = unsafe { cpu.runq.get().iter().map(|&td| (*td).name().to_owned()).collect() };
    let waiting =
        if queued.is_empty() { String::new() } else { format!(", with {} waiting for this CPU", queued.join(", ")) };
    format!("{} spins{what}{critical} on cpu{}{waiting}", td.name(), cpu.cpuid)
}

fn describe_blocked(m: &Machine) -> String {
    let mut text = Vec::new();
    for td in m.threads() {
        if td.flags.get() & tdf::PARKED != 0 {
            continue;
        }
        if td.is_on_lock() {
            let lock = td.blocked_on.get();
            let owner =
                crate::turnstile::owner_of(lock).map_or_else(|| "nobody known".to_owned(), |td| td.name().to_owned());
            text.push(format!("{} blocks on {} held by {owner}", td.name(), crate::machine::lock_name(lock)));
        } else if td.is_sleeping() {
            // SAFETY: the thread sleeps.
            text.push(format!("{} sleeps on \"{}\"", td.name(), unsafe { *td.wmesg.get() }));
        }
    }
    text.join("; ")
}
