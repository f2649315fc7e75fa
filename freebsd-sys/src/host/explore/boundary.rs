//! Boundaries: where a thread lets others, interrupts and the clock go first, and the switch to whoever does.

use super::moves::{Next, Turn, choose};
use super::trace::{IDLE, Kind, on_lock};
use super::transition::{Transition, forget_operand, observe, peek, touch};
use super::{Explorer, explorer, in_explore};
use crate::cpu::{Pcpu, curcpu, machine};
use crate::host::footprint::{Operand, key};
use crate::host::gs::{self, word};
use crate::host::schedule::Event;
use crate::host::{heap, starvation};
use crate::interrupt::{self, Irq};
use crate::lock::Loc;
use crate::machine::Machine;
use crate::sched;
use crate::thread::{Observed, PlainAccess, Rest, Thread, curthread, tdf};

/// A clock interrupt on the running thread's stack, inside its primitive.
pub(crate) fn tick() {
    let cpu = curcpu().cpuid as u8;
    interrupt(curthread(), Event::Tick(cpu));
}

/// A boundary: see the module.
// Inlined, as is what waits: each return that follows a switch of stacks is one that the processor predicts wrongly.
#[inline(always)]
pub(crate) fn boundary(what: &'static str, obj: usize, loc: Option<Loc>) {
    let Explorer { looks_ahead, transition: Transition { recorded, .. }, .. } = *explorer(machine());
    // Who is on a CPU again goes on with what it waited for.
    if looks_ahead && what != RESUME {
        // Without an object, only footprints care what it is.
        let operand = if recorded || obj != 0 { Operand::of(what, obj) } else { Operand::NONE };
        // SAFETY: `explore` has one host thread, and the reference ends here.
        unsafe { *curthread().operand.get() = operand };
    }
    // A sequence count is no lock object, which has a name.
    boundary_before(what, if what.starts_with("seqc_") { 0 } else { obj }, loc);
}

/// [`boundary`] before what the running thread's operand says, in a trace `what` on `lock`.
#[inline(always)]
fn boundary_before(what: &'static str, lock: usize, loc: Option<Loc>) {
    let td = curthread();
    // SAFETY: `explore` has one host thread, and the reference ends here.
    unsafe { *td.op.get() = (what, lock) };
    // Then nobody traces it, and nobody asks what it touches.
    let only_moves = machine().only_moves.get();
    wait_for_turn(td, Next::Primitive);
    if !only_moves {
        explorer(machine()).transition.performs(td, false);
    }
    take_ipis();
    if !only_moves && let Some(trace) = &mut explorer(machine()).trace {
        trace.note(machine(), what, lock, loc);
    }
}

/// `cpu_spinwait()`.
// Inlined, as `boundary` is.
#[inline(always)]
pub(crate) fn spinwait() {
    let td = curthread();
    td.awaiting.set(true);
    let blind = td.read_too_much.get();
    // SAFETY: `explore` has one host thread, and the reference ends before the next boundary.
    unsafe {
        let set = td.read_set.get();
        if blind {
            set.clear();
        }
        if set.is_empty() {
            // A loop that reads nothing tracked, or more than is remembered: anybody's step may be what it waits for. What was
            // read before the loop counts too, so a first time may be due to that: the loop's next round tells.
            let steps = &raw const explorer(machine()).steps;
            let look_again = blind && !td.waited_blindly.get();
            explorer(machine()).transition.footprint.touch_everything();
            let seen = Observed { at: steps.cast(), size: 8, value: *steps + u64::from(!look_again) };
            set.push(seen);
        }
    }
    td.waited_blindly.set(blind);
    td.read_too_much.set(false);
    // SAFETY: the running thread's own field.
    let (what, obj) = unsafe { *td.op.get() };
    if starvation::counts() && td.spinning_on.get() == 0 && what.contains("try") {
        // Whoever tries again and again waits.
        starvation::waits(obj);
    }
    if let Some(trace) = &mut explorer(machine()).trace {
        trace.spins(machine(), obj);
    }
    let transition = &mut explorer(machine()).transition;
    if transition.recorded {
        transition.waits = true;
        if transition.operand.contents() != transition.found {
            // The primitive was performed, and what waits now is its caller's loop.
            transition.waits = false;
            forget_operand(td);
        }
    }
    wait_for_turn(td, Next::Wait);
    let transition = &mut explorer(machine()).transition;
    transition.performs(td, true);
    if transition.recorded {
        // What ended the wait: of a lock its word, whatever became of its owner; in a caller's loop what it read last, which comes after
        // what was read before the loop.
        // SAFETY: `explore` has one host thread, and the reference ends before the next boundary.
        let set = unsafe { &*td.read_set.get() };
        let mut changed = set.iter().filter(|seen| peek(seen.at, seen.size.into()) != seen.value);
        let word = changed.clone().find(|seen| transition.operand.covers(seen.at as usize));
        if let Some(seen) = word.or(changed.next_back()) {
            transition.touch(seen.at as usize, seen.size.into(), false);
        }
    }
    td.awaiting.set(false);
    explorer(machine()).transition.woken = true;
    // SAFETY: `explore` has one host thread, and no reference to the field lives across a boundary.
    unsafe { td.read_set.get().clear() };
    take_ipis();
    if let Some(trace) = &mut explorer(machine()).trace {
        trace.note_text(machine(), Kind::Again, format!("{} again", on_lock(what, obj)));
    }
}

/// Takes the IPIs that wait, unless the one that would preempt is late: its sender may already do what comes after it, and this
/// CPU one more primitive. That costs an interrupt of the budget.
#[inline]
fn take_ipis() {
    // One that takes the CPU away may find another one on the next.
    while curcpu().pending.get() != 0 && interrupt::enabled(curcpu()) && take_or_leave_ipis(curcpu()) {}
}

/// Whether they were taken. Apart, so that the look before it stays small.
#[inline(never)]
fn take_or_leave_ipis(cpu: &Pcpu) -> bool {
    let m = machine();
    if explorer(m).budget.interrupts > 0 && sched::ipi_preempts(cpu) {
        let late = choose("late IPI", 2) != 0;
        explorer(m).transition.touch(key::BUDGET, 1, late);
        if late {
            explorer(m).budget.interrupts -= 1;
            return false;
        }
    }
    if let Some(trace) = &mut explorer(m).trace {
        let rendezvous = cpu.pending.get() & crate::cpu::pending::RENDEZVOUS != 0;
        trace.note_text(
            m,
            Kind::Interrupt,
            format!("interrupt {}", if rendezvous { "IPI_RENDEZVOUS" } else { "IPI_PREEMPT" }),
        );
    }
    interrupt::take_ipis();
    true
}

/// Lets events happen until this thread's CPU is to perform its next primitive.
#[inline(always)]
fn wait_for_turn(td: &'static Thread, what: Next) {
    loop {
        // Whatever happened meanwhile, the event is one for the CPU that runs this thread.
        match wait_for_event(what) {
            Event::Run(_) => return,
            event => interrupt(td, event),
        }
    }
}

/// Lets events happen until one is for the CPU that runs the caller.
#[inline(always)]
fn wait_for_event(what: Next) -> Event {
    let (m, cpu) = (machine(), curcpu());
    let x = explorer(m);
    if x.compares {
        return ask_the_loop(m, x, cpu, what);
    }
    let moved = if m.only_moves.get() { x.next_move(m, cpu, what) } else { None };
    match moved.unwrap_or_else(|| x.next_event(m, cpu, what)) {
        Turn::Own => {}
        Turn::Others => go_on_with_event(m, x),
        Turn::Nobodys => crate::host::park_forever(),
    }
    explorer(m).transition.woken = false;
    explorer(m).event
}

/// [`wait_for_event`] where states are compared.
#[inline(never)]
fn ask_the_loop(m: &Machine, x: &mut Explorer, cpu: &Pcpu, what: Next) -> Event {
    x.asks = Some((cpu.cpuid, what));
    crate::host::switch();
    explorer(m).transition.woken = false;
    explorer(m).event
}

/// Suspends the running thread for the CPU whose event is next.
#[inline(always)]
fn go_on_with_event(m: &Machine, x: &Explorer) {
    match x.event.cpu() {
        Some(cpu) if x.exploring => {
            let cpu = &m.cpus[cpu];
            go_on_with(cpu, cpu.current());
        }
        // The CPUs are started one after the other.
        _ => crate::host::switch(),
    }
}

/// Suspends the running thread and goes on with `next`, the one of `cpu`, as [`super::drive`] would.
#[inline(always)]
fn go_on_with(cpu: &Pcpu, next: &Thread) {
    let own = curthread().control.get();
    let control = next.control.get();
    if control.is_null() {
        // That is for the loop to say.
        return crate::host::switch();
    }
    let block = gs::block_here();
    // SAFETY: GS points at the run's block, which consists of cells. The running thread's context is its own, and the other one is suspended:
    // there is one host thread, and the context of a thread that has ended is taken away.
    unsafe {
        (*block).curcpu.set(core::ptr::from_ref::<Pcpu>(cpu).cast_mut());
        (*block).curthread.set(next.ptr());
        (*own).switch_to(&*control);
    }
}

/// Suspends the running thread, whose CPU goes on with `next`.
pub(crate) fn switch_to(cpu: &Pcpu, next: &Thread) {
    if explorer(machine()).exploring {
        // Nobody sees that this thread's registers are not saved yet.
        sched::finish_switch(cpu, next);
        go_on_with(cpu, next);
    } else {
        cpu.next.set(next.ptr());
        crate::host::switch();
    }
}

/// The running thread has ended, and its CPU goes on with `next`: at once, since to go by the loop is another switch of stacks. Its own stack
/// is given back when the next thread has ended, or the execution.
pub(crate) fn exit_to(cpu: &Pcpu, next: &Thread) {
    let (m, td) = (machine(), curthread());
    if !explorer(m).exploring {
        cpu.next.set(next.ptr());
        return;
    }
    td.flags.or(tdf::PARKED);
    if let Some(before) = explorer(m).exited.replace(td) {
        // SAFETY: it never runs again, and this is another stack.
        if let Some(context) = unsafe { before.context.get() }.take() {
            heap::aside(|| m.end_context(before, context));
        }
    }
    sched::finish_switch(cpu, next);
    go_on_with(cpu, next);
}

/// Before the end of a thread: one that has met no boundary meets one now, so that an interrupt may come while it runs.
pub(crate) fn met_a_boundary() {
    // SAFETY: the running thread's own field.
    if unsafe { *curthread().op.get() }.0 == FORK_EXIT {
        sched::resumed();
    }
}

/// Carries out `event` on `td`'s stack.
#[inline(never)]
fn interrupt(td: &Thread, event: Event) {
    let interrupted = Interrupted::new(td);
    take(event);
    interrupted.resume(td);
}

/// What a thread was about to do, or waits for, while a handler that may do and wait for things itself runs on its stack.
struct Interrupted {
    awaiting: bool,
    on_spin_mutex: bool,
    /// Of [`crate::thread::ReadSet::begin`].
    read_set: usize,
    read_too_much: bool,
    waited_blindly: bool,
    op: (&'static str, usize),
    operand: Operand,
    access: Option<PlainAccess>,
}

impl Interrupted {
    fn new(td: &Thread) -> Self {
        // SAFETY: `explore` has one host thread, and no reference to the fields lives across a boundary.
        let (read_set, op, operand) = unsafe { (td.read_set.get().begin(), *td.op.get(), *td.operand.get()) };
        let access = announce(td, None);
        let interrupted = Self {
            awaiting: td.awaiting.get(),
            on_spin_mutex: td.spinning_on_spin_mutex.get(),
            read_set,
            read_too_much: td.read_too_much.get(),
            waited_blindly: td.waited_blindly.get(),
            op,
            operand,
            access,
        };
        td.awaiting.set(false);
        td.spinning_on_spin_mutex.set(false);
        td.read_too_much.set(false);
        interrupted
    }

    fn resume(self, td: &Thread) {
        td.awaiting.set(self.awaiting);
        td.spinning_on_spin_mutex.set(self.on_spin_mutex);
        td.read_too_much.set(self.read_too_much);
        td.waited_blindly.set(self.waited_blindly);
        // SAFETY: as in `new`.
        unsafe {
            td.read_set.get().end(self.read_set);
            *td.op.get() = self.op;
            *td.operand.get() = self.operand;
        }
        announce(td, self.access);
    }
}

/// Carries out an interrupt or a tick on this CPU.
fn take(event: Event) {
    if let Some(trace) = &mut explorer(machine()).trace {
        match event {
            Event::Intr(_, irq) => {
                let name = machine().interrupts.name(Irq(irq));
                trace.note_text(machine(), Kind::Interrupt, format!("interrupt {name}"));
            }
            _ => trace.note_text(machine(), Kind::Tick, "clock tick".to_owned()),
        }
    }
    match event {
        Event::Intr(_, irq) => interrupt::deliver(Irq(irq)),
        Event::Tick(_) => interrupt::tick(),
        Event::Run(_) | Event::Pick(_) => {}
    }
}

/// A CPU that begins to idle would have found a thread to take from another one.
#[inline(always)]
fn looks_for_threads(m: &Machine) {
    if explorer(m).transition.recorded {
        m.cpus.iter().for_each(|cpu| touch(key::STEAL + cpu.cpuid, 1, false));
    }
}

/// The idle thread waits for an event.
#[inline(always)]
pub(crate) fn idle() {
    let td = curthread();
    td.rest.set(Rest::WAITS);
    looks_for_threads(machine());
    let event = wait_for_event(Next::Idle);
    let rest = td.rest.get();
    td.rest.set(Rest::NO);
    if rest == Rest::ANEW {
        // Another execution's event brought it here.
        return;
    }
    match event {
        Event::Run(_) => {
            if let Some(trace) = &mut explorer(machine()).trace {
                trace.note_text(machine(), Kind::Idle, IDLE.to_owned());
            }
            interrupt::take_ipis();
        }
        event => take(event),
    }
}

/// A plain access to memory that threads may share: a boundary, and a data race if another thread is about to make a
/// conflicting one.
///
/// `marked` is for READ_ONCE, WRITE_ONCE and atomics, which do not race with each other.
#[track_caller]
pub fn access(at: usize, size: usize, write: bool, marked: bool) {
    access_at(at, size, write, marked, Some(Loc::caller()));
}

/// [`access`] from `loc`, if that is known.
pub(crate) fn access_at(at: usize, size: usize, write: bool, marked: bool, loc: Option<Loc>) {
    if !in_explore() {
        return;
    }
    let m = machine();
    let td = curthread();
    let idle = td.is_idle() && td.intr_nesting_level.get() == 0;
    if !explorer(m).exploring || idle || on_stack(at) {
        m.malloc.check_access(at, size);
        return;
    }
    announce(td, if marked { None } else { Some((at, size, write)) });
    // SAFETY: `explore` has one host thread, and the reference ends here.
    unsafe { *td.operand.get() = Operand::access(at, size, write) };
    // By a table: with a branch there would be two boundaries.
    boundary_before(["read", "write"][usize::from(write)], 0, loc);
    announce(td, None);
    m.malloc.check_access(at, size);
    let others = if explorer(m).racers > 0 { m.threads() } else { &[] };
    for other in others {
        // SAFETY: `explore` has one host thread.
        if let Some((their_at, their_size, their_write)) = unsafe { *other.access.get() }
            && (write || their_write)
            && at < their_at + their_size
            && their_at < at + size
        {
            crate::panic::corruption(format_args!(
                "data race: {} {} what {} is about to {}",
                td.name(),
                if write { "writes" } else { "reads" },
                other.name(),
                if their_write { "write" } else { "read" }
            ));
        }
    }
    if !write {
        observe(at as *const (), size);
    }
}

/// `td` is about to make the plain access, or none any longer; returns what it was about to make.
#[inline]
fn announce(td: &Thread, access: Option<PlainAccess>) -> Option<PlainAccess> {
    // SAFETY: `explore` has one host thread, and the reference ends here.
    let before = core::mem::replace(unsafe { td.access.get() }, access);
    let racers = &mut explorer(machine()).racers;
    *racers = *racers + u32::from(access.is_some()) - u32::from(before.is_some());
    before
}

/// An atomic operation of a primitive. At `op` granularity it is part of that; at `insn` it is a boundary, unless the thread has just been
/// woken from a wait. That a value has changed is what the operation sees as well; with a boundary in between, every order of one
/// waiter's waking with another's trying would be a class of its own.
#[cold]
pub(crate) fn instruction(what: &'static str, at: usize, size: usize, write: bool) {
    if gs::word() & word::INSN == 0 {
        touch(at, size, write);
        return;
    }
    let m = machine();
    let td = curthread();
    let idle = td.is_idle() && td.intr_nesting_level.get() == 0;
    // Under the scheduler's lock no other CPU moves.
    if idle || m.has_verdict() || m.sched.lock.is_taken() {
        return;
    }
    let operand = Operand::access(at, size, write);
    // SAFETY: `explore` has one host thread, and the reference ends before the next boundary.
    unsafe { *td.operand.get() = operand };
    if !core::mem::take(&mut explorer(m).transition.woken) {
        wait_for_turn(td, Next::Primitive);
        let transition = &mut explorer(machine()).transition;
        transition.operates(operand);
        transition.repeatable = false;
        take_ipis();
    } else {
        explorer(m).transition.operates(operand);
    }
    if let Some(trace) = &mut explorer(machine()).trace {
        trace.note_instruction(machine(), what, at);
    }
}

/// The [`instruction`] that writes the word at `at` if it is `old`.
#[cold]
pub(crate) fn fcmpset(at: *const usize, old: usize) {
    let size = size_of::<usize>();
    let writes = gs::word() & word::INSN != 0 || peek(at.cast(), size) == old as u64;
    instruction("fcmpset", at as usize, size, writes);
}

/// The atomic operation that goes on found another value than it wanted, and wrote none.
pub(crate) fn only_read() {
    let transition = &mut explorer(machine()).transition;
    transition.operand = transition.operand.read();
}

/// Whether `at` lies on the running thread's stack: nobody else's business.
pub(crate) fn on_stack(at: usize) -> bool {
    // SAFETY: (h) the running thread's own context.
    unsafe { curthread().context.get() }.as_ref().is_some_and(|context| context.owns_stack_pointer(at))
}

/// What a thread is said to be about that has met no boundary yet.
pub(crate) const FORK_EXIT: &str = "fork_exit";

/// What mi_switch calls the boundary of a thread that is back on a CPU.
pub(super) const RESUME: &str = "resume";
