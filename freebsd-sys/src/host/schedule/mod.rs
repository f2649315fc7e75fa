//! Schedules: who moves at each boundary. One search strategy per file, and the printable form.
//!
//! # Printable form
//!
//! A schedule is a line of `;`-separated fields: `lkpi1` (format and version), `key=value` pairs that say what it belongs
//! to (scenario, mapping, CPUs, switches, budget), and last `run=` with the events, comma-separated, equal neighbours
//! counted: `0*12` is CPU 0 moving twelve times, `1!3` interrupt source 3 on CPU 1, `0t` a clock tick on CPU 0, `?2` the second
//! alternative (counted from 0) of a choice inside a primitive, such as a new thread's CPU.

pub mod dfs;
pub mod dpor;
pub mod pct;
pub mod portfolio;
pub mod pos;
pub mod random;
pub mod replay;
pub mod urw;

use super::explore;
pub use super::explore::State;
use super::footprint::{Footprint, Operand};
use crate::machine::{Budget, Machine};
use core::fmt;

/// One event of a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Event {
    /// The CPU performs its thread's next primitive (or, if idle, takes or steals a thread).
    Run(u8),
    /// The interrupt source arrives on the CPU.
    Intr(u8, u16),
    /// The clock ticks on the CPU.
    Tick(u8),
    /// An alternative inside a primitive.
    Pick(u16),
}

impl Event {
    /// The CPU that moves; none for an alternative.
    pub fn cpu(self) -> Option<usize> {
        match self {
            Self::Run(cpu) | Self::Intr(cpu, _) | Self::Tick(cpu) => Some(cpu.into()),
            Self::Pick(_) => None,
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let number = |text: &str| text.parse::<u8>().ok();
        if let Some(pick) = text.strip_prefix('?') {
            return pick.parse().ok().map(Self::Pick);
        }
        if let Some(cpu) = text.strip_suffix('t') {
            return number(cpu).map(Self::Tick);
        }
        if let Some((cpu, irq)) = text.split_once('!') {
            return Some(Self::Intr(number(cpu)?, irq.parse().ok()?));
        }
        number(text).map(Self::Run)
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Run(cpu) => write!(f, "{cpu}"),
            Self::Intr(cpu, irq) => write!(f, "{cpu}!{irq}"),
            Self::Tick(cpu) => write!(f, "{cpu}t"),
            Self::Pick(n) => write!(f, "?{n}"),
        }
    }
}

/// The events of an execution in their printable form.
pub fn print(events: &[Event]) -> String {
    use fmt::Write as _;
    let mut out = String::new();
    let mut rest = events;
    while let Some(&event) = rest.first() {
        let n = rest.iter().take_while(|&&other| other == event).count();
        if !out.is_empty() {
            out.push(',');
        }
        // Writing to a String cannot fail.
        let _ = if n == 1 { write!(out, "{event}") } else { write!(out, "{event}*{n}") };
        rest = &rest[n..];
    }
    out
}

/// The inverse of [`print()`]; the error names the token.
pub fn parse(text: &str) -> Result<Vec<Event>, String> {
    /// No execution is this long; a larger count would only exhaust memory.
    const MOST: usize = 10_000_000;
    let mut events = Vec::new();
    for token in text.split(',').map(str::trim).filter(|token| !token.is_empty()) {
        let (event, n) = match token.split_once('*') {
            Some((event, n)) => (event, n.parse::<usize>().map_err(|_| format!("bad count in '{token}'"))?),
            None => (token, 1),
        };
        let event = Event::parse(event).ok_or_else(|| format!("bad event '{token}'"))?;
        if n == 0 || n > MOST - events.len() {
            return Err(format!("bad count in '{token}'"));
        }
        events.resize(events.len() + n, event);
    }
    Ok(events)
}

/// What a schedule sees when it is asked.
#[derive(Debug)]
pub struct Choice<'a> {
    /// Number of choices made before in this execution.
    pub at: usize,
    /// The CPU that moved last.
    pub current: usize,
    /// What can happen; at least two.
    pub enabled: &'a [Event],
    /// What the CPUs are about to do.
    pub pending: Pending<'a>,
}

/// What the CPUs of a machine are about to do; looked up when asked, since most schedules do not.
#[derive(Clone, Copy)]
pub struct Pending<'a>(Option<&'a Machine>);

impl<'a> Pending<'a> {
    /// Nothing that works on anything.
    pub const NOTHING: Self = Self(None);

    pub(crate) fn of(m: &'a Machine) -> Self {
        Self(Some(m))
    }

    /// The state that the machine is in, and what is left of its budget, for a schedule that compares them. `None` if it cannot be told.
    pub fn state(self) -> Option<(State, Budget)> {
        self.0.and_then(explore::state)
    }

    /// What the next primitive on `cpu` works on.
    pub fn on(self, cpu: usize) -> Operand {
        self.0.map_or(Operand::NONE, |m| explore::pending(m, cpu))
    }
}

impl fmt::Debug for Pending<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending").finish_non_exhaustive()
    }
}

/// A replay whose recorded event cannot happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diverged {
    /// Number of the choice.
    pub at: usize,
    /// What the recording says; `None` if it had ended.
    pub expected: Option<Event>,
    /// What can happen.
    pub enabled: Vec<Event>,
}

impl fmt::Display for Diverged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let enabled: Vec<_> = self.enabled.iter().map(ToString::to_string).collect();
        match self.expected {
            Some(expected) => {
                write!(f, "diverged at step {}: expected {expected}, enabled {}", self.at, enabled.join(" "))
            }
            None => write!(f, "diverged at step {}: the schedule ends, enabled {}", self.at, enabled.join(" ")),
        }
    }
}

/// What came of a transition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Performed {
    /// A wait: it read, and wrote nothing that others see. The CPU is where it was.
    Nothing,
    /// Something.
    Something,
    /// Something, and nothing comes after it: the verdict, or the end of the explored part.
    Last,
}

/// A search strategy: an oracle asked at every choice.
pub trait Schedule {
    /// A new execution begins, the `index`-th.
    fn begin(&mut self, index: u64);

    /// Index into `choice.enabled` of what happens next.
    fn next(&mut self, choice: &Choice<'_>) -> Result<usize, Diverged>;

    /// The execution ended after `choices` choices. Returns whether there is another to run.
    fn end(&mut self, choices: usize) -> bool;

    /// Whether it wants [`Schedule::performed`], and to be asked also where only one thing can happen.
    fn records(&self) -> bool {
        false
    }

    /// Whether it asks for [`Pending::state`]; such a schedule records.
    fn compares_states(&self) -> bool {
        false
    }

    /// Whether it looks at [`Choice::pending`] in the execution that began.
    fn looks_ahead(&self) -> bool {
        true
    }

    /// The generator that it draws with, if it does nothing else than to draw one of several moves of CPUs, each as likely as the others:
    /// [`Rng::below`] their number. Where nothing but such moves can come, the engine then draws by itself, which costs less than to
    /// ask. Called after [`Schedule::begin`]. The generator comes back before [`Schedule::next`] is called, and is lent again.
    fn lend(&mut self) -> Option<Rng> {
        None
    }

    /// Takes back what it lent.
    fn give_back(&mut self, _rng: Rng) {}

    /// The transition that `event` began is over.
    fn performed(&mut self, _event: Event, _footprint: &Footprint, _performed: Performed) {}
}

/// SplitMix64: small, seedable, the same everywhere.
///
/// Reference: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
#[derive(Debug, Clone)]
pub struct Rng(u64);

impl Rng {
    /// The generator of execution `index` under `seed`: independent of which executions ran before.
    pub fn new(seed: u64, index: u64) -> Self {
        let mut rng = Self(seed ^ index.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        rng.next();
        rng
    }

    /// The next 64 bits.
    #[expect(clippy::should_implement_trait, reason = "not an iterator: it never ends")]
    #[inline]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// A number below `n`.
    #[inline]
    pub fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.next()) * n as u128) >> 64) as usize
    }
}

/// When a random walk takes an event of the budget: executions differ in pace, some are left alone for long stretches, some are
/// interrupted at once.
#[derive(Debug, Clone, Copy, Default)]
struct Pace {
    /// Events of the budget come with 2 chances in so many.
    length: usize,
}

impl Pace {
    /// That of a new execution.
    fn new(rng: &mut Rng) -> Self {
        Self { length: 8 << rng.below(5) }
    }

    /// The index of the event of the budget that comes now; `None` if a CPU moves, which come first in `enabled`.
    #[inline]
    fn outside(self, rng: &mut Rng, enabled: &[Event]) -> Option<usize> {
        let runs = free(enabled);
        let others = enabled.len() - runs;
        let comes = others > 0 && (runs == 0 || rng.below(self.length) < 2);
        comes.then(|| runs + rng.below(others))
    }
}

/// How many of the events, of which these come first, no budget limits.
#[inline]
fn free(enabled: &[Event]) -> usize {
    /// Apart, so that the usual answer takes no more than a look.
    #[inline(never)]
    fn count(enabled: &[Event]) -> usize {
        enabled.iter().take_while(|&event| is_free(event)).count()
    }
    fn is_free(event: &Event) -> bool {
        matches!(event, Event::Run(_) | Event::Pick(_))
    }
    if enabled.last().is_none_or(is_free) { enabled.len() } else { count(enabled) }
}
