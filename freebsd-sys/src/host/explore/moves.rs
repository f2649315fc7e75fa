//! What happens next: the events that are enabled, and which of them the schedule picks.

use super::stuck::{stuck, watches_clock};
use super::transition::read_set_changed;
use super::{Explorer, explorer};
use crate::cpu::{MAXCPU, Pcpu, curcpu, machine};
use crate::host::footprint::key;
use crate::host::heap;
use crate::host::schedule::{Choice, Diverged, Event, Pending};
use crate::host::starvation::Turns;
use crate::interrupt::{self, Irq};
use crate::machine::{Machine, Preemption, Verdict};
use crate::{callout, sched};

/// What a CPU is about to do.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// To perform a primitive. An interrupt's filter does so on the idle thread's stack as well.
    Primitive,
    /// To look whether its wait is over.
    Wait,
    /// To look for a thread.
    Idle,
}

/// Whose the next event is: the CPU's at the boundary, another's, or the execution has ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    Own,
    Others,
    Nobodys,
}

/// Moves of CPUs, in the order of their numbers.
struct Moves {
    events: [Event; MAXCPU],
    count: usize,
}

impl Moves {
    /// Those of a set of CPUs, one bit each.
    const fn of(cpus: usize) -> Self {
        let mut moves = Self { events: [Event::Run(0); MAXCPU], count: 0 };
        let mut cpu = 0;
        while cpu < MAXCPU {
            if cpus >> cpu & 1 != 0 {
                moves.events[moves.count] = Event::Run(cpu as u8);
                moves.count += 1;
            }
            cpu += 1;
        }
        moves
    }

    #[inline]
    fn as_slice(&self) -> &[Event] {
        &self.events[..self.count]
    }
}

/// Those of each set of CPUs.
static MOVES: [Moves; 1 << MAXCPU] = {
    let mut all = [const { Moves::of(0) }; 1 << MAXCPU];
    let mut cpus = 0;
    while cpus < all.len() {
        all[cpus] = Moves::of(cpus);
        cpus += 1;
    }
    all
};

impl Explorer {
    /// Asks the schedule to pick an event of `enabled`. `None` if it does not fit, which is the verdict.
    // Inlined: what it saves and restores is a third of it.
    #[inline(always)]
    fn pick(&mut self, m: &Machine, current: usize, enabled: &[Event]) -> Option<usize> {
        let only = enabled.len() == 1;
        if only && !self.transition.recorded {
            return Some(0);
        }
        let choice = Choice { at: self.record.len(), current, enabled, pending: Pending::of(m) };
        // SAFETY: `run` keeps the schedule alive, and alone, while the execution lasts.
        let schedule = unsafe { &mut *self.schedule.expect("an execution has a schedule") };
        let lent = self.rng.take().map(|rng| schedule.give_back(rng));
        // What a schedule that records allocates is not the program's.
        let answer =
            if self.transition.recorded { heap::aside(|| schedule.next(&choice)) } else { schedule.next(&choice) };
        if lent.is_some() {
            self.rng = schedule.lend();
        }
        match answer {
            Ok(at) => {
                if !only {
                    self.record.push(enabled[at]);
                }
                Some(at)
            }
            Err(diverged) => self.diverges(m, diverged),
        }
    }

    #[cold]
    fn diverges(&mut self, m: &Machine, diverged: Diverged) -> Option<usize> {
        self.diverged = Some(diverged);
        m.set_verdict(Verdict::Error("the schedule does not fit".to_owned()));
        None
    }

    /// The CPUs that have a next primitive, one bit each. `current` has just moved, and is about to do `what`.
    // Where a schedule is random the processor cannot foresee a branch that depends on it: most CPUs are seen to run without one.
    #[inline(always)]
    fn cpus_enabled(&mut self, m: &Machine, current: &Pcpu, what: Next) -> usize {
        let mask = current.cpumask;
        self.running = if what == Next::Primitive { self.running | mask } else { self.running & !mask };
        self.idle = if what == Next::Idle { self.idle | mask } else { self.idle & !mask };
        let mut enabled = self.running;
        let mut others = self.all & !enabled;
        while others != 0 {
            let at = others.trailing_zeros();
            others &= others - 1;
            let goes_on = may_go_on(m, &m.cpus[at as usize], self.idle >> at & 1 != 0);
            enabled |= usize::from(goes_on) << at;
        }
        enabled
    }

    /// [`Explorer::next_event`] where [`Machine::only_moves`]; `None` if that is to decide all the same.
    #[inline(always)]
    pub(super) fn next_move(&mut self, m: &Machine, current: &Pcpu, what: Next) -> Option<Turn> {
        let moves = &MOVES[self.cpus_enabled(m, current, what)];
        if moves.count == 0 || self.steps >= self.step_limit {
            return None;
        }
        self.steps += 1;
        let mut event = moves.events[0];
        if moves.count > 1 {
            let at = match &mut self.rng {
                Some(rng) => rng.below(moves.count),
                None => self.ask(m, current.cpuid, moves.as_slice())?,
            };
            event = moves.events[at];
            self.record.push(event);
        }
        self.event = event;
        Some(if event == Event::Run(current.cpuid as u8) { Turn::Own } else { Turn::Others })
    }

    /// Asks the schedule, which has lent nothing and records nothing.
    #[inline(never)]
    fn ask(&mut self, m: &Machine, current: usize, enabled: &[Event]) -> Option<usize> {
        let choice = Choice { at: self.record.len(), current, enabled, pending: Pending::of(m) };
        // SAFETY: `run` keeps the schedule alive, and alone, while the execution lasts.
        let schedule = unsafe { &mut *self.schedule.expect("an execution has a schedule") };
        schedule.next(&choice).map_or_else(|diverged| self.diverges(m, diverged), Some)
    }

    /// Whether, from here on, [`Explorer::next_move`] is to decide: nothing may come from outside, and nobody but the schedule wants to
    /// know of anything.
    pub(super) fn only_moves(&self, m: &Machine) -> bool {
        self.exploring
            && !self.transition.recorded
            && self.trace.is_none()
            && self.turns.is_none()
            && !self.outside(m)
            && !m.has_verdict()
    }

    /// What may come from outside, after what the CPUs do by themselves.
    #[inline(never)]
    fn add_interrupts(&mut self, m: &Machine) {
        let sources = m.interrupts.len();
        let ticks = self.budget.ticks > 0;
        let timers = ticks && callout::pending();
        if sources == 0 && !timers && !(ticks && m.config.preemption == Preemption::Any) {
            return;
        }
        // A machine without work waits for what is pending only. One that spins has work: what can come must not depend on whether a
        // spinner has already found that it waits.
        let busy = !self.enabled.is_empty() || m.cpus.iter().any(|cpu| !cpu.is_idle());
        for cpu in &m.cpus {
            if !interrupt::enabled(cpu) {
                continue;
            }
            let id = cpu.cpuid as u8;
            for irq in 0..sources as u16 {
                if m.interrupts.is_asserted(Irq(irq), cpu.cpuid)
                    || self.budget.interrupts > 0 && busy && m.interrupts.may_come(Irq(irq), cpu.cpuid)
                {
                    self.enabled.push(Event::Intr(id, irq));
                }
            }
            if timers || ticks && tick_preempts(m, cpu) {
                self.enabled.push(Event::Tick(id));
            }
        }
    }

    /// Decides on the next event: whose it is.
    #[inline(never)]
    pub(super) fn next_event(&mut self, m: &Machine, cpu: &Pcpu, what: Next) -> Turn {
        let current = cpu.cpuid;
        self.end_transition(m);
        if m.has_verdict() {
            return Turn::Nobodys;
        }
        self.steps += 1;
        if self.steps > self.step_limit {
            return self.give_up(m);
        }
        let cpus = self.cpus_enabled(m, cpu, what);
        let own = cpus >> current & 1 != 0;
        let moves = MOVES[cpus].as_slice();
        let event = if !self.exploring && cpus != 0 {
            // Nobody is asked.
            if own { Event::Run(current as u8) } else { moves[0] }
        } else if cpus == 0 || self.transition.recorded || self.turns.is_some() || self.outside(m) {
            let Some(event) = self.next_of_all(m, current, moves) else { return Turn::Nobodys };
            event
        } else {
            let Some(at) = self.pick(m, current, moves) else { return Turn::Nobodys };
            moves[at]
        };
        self.event = event;
        if event.cpu() == Some(current) { Turn::Own } else { Turn::Others }
    }

    /// Whether anything may come from outside.
    #[inline]
    fn outside(&self, m: &Machine) -> bool {
        m.interrupts.len() > 0 || self.budget.ticks > 0
    }

    /// The next event, if it may be another than one of `moves`, or the schedule records.
    #[inline(never)]
    fn next_of_all(&mut self, m: &Machine, current: usize, moves: &[Event]) -> Option<Event> {
        self.enabled.clear();
        self.enabled.extend_from_slice(moves);
        if self.exploring && self.outside(m) {
            self.add_interrupts(m);
        }
        let forced = self.enabled.is_empty();
        if forced {
            self.quiescent(m);
            if m.has_verdict() {
                return None;
            }
        }
        if !self.exploring {
            return Some(self.enabled[0]);
        }
        let event = self.pick_enabled(m, current)?.1;
        if self.transition.recorded {
            self.begin_transition(event, forced);
        }
        if !matches!(event, Event::Run(_)) {
            self.pay(m, event, forced);
        }
        if self.turns.is_some() {
            self.note_turns(event);
        }
        Some(event)
    }

    /// [`Explorer::pick`] of `self.enabled`.
    pub(super) fn pick_enabled(&mut self, m: &Machine, current: usize) -> Option<(usize, Event)> {
        let enabled = core::mem::take(&mut self.enabled);
        let at = self.pick(m, current, &enabled);
        self.enabled = enabled;
        at.map(|at| (at, self.enabled[at]))
    }

    /// Takes what `event` costs from the budget.
    #[inline(never)]
    fn pay(&mut self, m: &Machine, event: Event, forced: bool) {
        match event {
            Event::Intr(cpu, irq) if !m.interrupts.is_asserted(Irq(irq), cpu.into()) => {
                self.budget.interrupts -= 1;
                self.transition.touch(key::BUDGET, 1, true);
            }
            // Time that passes because nothing else can costs nothing.
            Event::Tick(_) if !forced => {
                self.budget.ticks -= 1;
                self.transition.touch(key::BUDGET, 1, true);
            }
            _ => {}
        }
    }

    #[cold]
    fn note_turns(&mut self, event: Event) {
        let could = |event: &Event| if let Event::Run(cpu) = event { Some(usize::from(*cpu)) } else { None };
        if let Some(turns) = &mut self.turns {
            turns.passed(event.cpu(), self.enabled.iter().filter_map(could));
        }
    }

    #[cold]
    fn give_up(&mut self, m: &Machine) -> Turn {
        m.set_verdict(Verdict::Error(format!("no progress after {} steps", self.step_limit)));
        Turn::Nobodys
    }

    /// Nothing is enabled: time passes if that helps, else the execution has ended badly.
    #[cold]
    #[inline(never)]
    fn quiescent(&mut self, m: &Machine) {
        // Who polls the clock is served a few ticks at a time, up to a bound: a loop without a deadline is none the less one for ever.
        let polled = self.passed < PASSED_MAX
            && m.cpus.iter().any(|cpu| cpu.current().awaiting.get() && watches_clock(cpu.current()));
        let within = polled.then(|| 1 << (self.passed / PASSED_ALIKE));
        if let Some(cpu) = callout::skip_to_next(|cpu| interrupt::enabled(&m.cpus[cpu]), within) {
            self.enabled.push(Event::Tick(cpu as u8));
            if polled {
                self.passed += 1;
                // Its slice ends before a long wait does, and somebody it waits for may be its equal.
                let cpu = &m.cpus[cpu];
                if self.passed.is_multiple_of(SLICE) && sched::time_preempts(cpu) {
                    sched::force_preemption(cpu);
                }
            }
            return;
        }
        // Threads that spin by turns would go on for ever.
        let watched =
            m.cpus.iter().find(|cpu| cpu.current().awaiting.get() && cpu.current().spinning_on_spin_mutex.get());
        if (self.forced < FORCED_MAX || watched.is_none() && self.forced < FORCED_MAX + LAST_TURNS)
            && let Some(cpu) = m.cpus.iter().find(|cpu| interrupt::enabled(cpu) && sched::time_preempts(cpu))
        {
            self.forced += 1;
            sched::force_preemption(cpu);
            self.enabled.push(Event::Tick(cpu.cpuid as u8));
            return;
        }
        if let Some(cpu) = watched {
            // FreeBSD's own watchdog: this one panics instead of hanging.
            cpu.current().spun_too_long.set(true);
            self.enabled.push(Event::Run(cpu.cpuid as u8));
            return;
        }
        m.note_panic_state();
        m.set_verdict(stuck(m));
    }
}

/// How often time passes by one tick for who polls the clock; as often by two, and so on.
const PASSED_ALIKE: u32 = 64;

/// And how often at all: up to about a quarter of an hour at once, which no driver polls for.
const PASSED_MAX: u32 = PASSED_ALIKE * 20;

/// How many times make up a slice.
const SLICE: u32 = 8;

/// How often an execution makes a spinner give its CPU to an equal, or to a better-demoted thread, before the spinning is a verdict.
const FORCED_MAX: u32 = 64;

/// And how often after that until one that has a watchdog is on its CPU: a spinner on a spin mutex panics, whoever spins besides.
const LAST_TURNS: u32 = 16;

/// Whether a CPU that idles or waits has something to do.
#[inline(always)]
fn may_go_on(m: &Machine, cpu: &Pcpu, idles: bool) -> bool {
    if idles {
        // Most of the time no thread waits for a CPU, and no idle one need look for it. A filter that left a spin mutex in the idle thread's
        // name, which FreeBSD forbids, left its interrupts off.
        return cpu.pending.get() != 0 && interrupt::enabled(cpu) || m.sched.queued.get() != 0 && sched::runnable(cpu);
    }
    read_set_changed(cpu.current()) || cpu.pending.get() != 0 && interrupt::enabled(cpu)
}

/// Whether a tick takes the CPU away from its thread, as it does under `any`.
fn tick_preempts(m: &Machine, cpu: &Pcpu) -> bool {
    m.config.preemption == Preemption::Any && cpu.queued.get() != 0 && !cpu.is_idle()
}

/// A choice of `n` alternatives inside a primitive.
pub(crate) fn choose(_what: &'static str, n: usize) -> usize {
    let m = machine();
    let x = explorer(m);
    if !x.exploring || n < 2 || m.has_verdict() {
        return 0;
    }
    x.transition.chose = true;
    x.enabled.clear();
    x.enabled.extend((0..n as u16).map(Event::Pick));
    x.pick_enabled(m, curcpu().cpuid).map_or(0, |(at, _)| at)
}

/// CPU for a thread that wakes up: another than `default` costs one migration.
pub(crate) fn migrate(default: usize) -> usize {
    let m = machine();
    let x = explorer(m);
    let cpus = m.cpus.len();
    if !x.exploring || x.budget.migrations == 0 || cpus < 2 {
        return default;
    }
    let pick = choose("migrate", cpus);
    explorer(m).transition.touch(key::BUDGET, 1, pick != 0);
    if pick == 0 {
        return default;
    }
    explorer(m).budget.migrations -= 1;
    (default + pick) % cpus
}

/// Whether the schedule is fair, where that matters.
pub(crate) fn turns(m: &Machine) -> Option<&Turns> {
    explorer(m).turns.as_ref()
}
