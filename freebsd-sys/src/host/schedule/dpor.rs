//! Dynamic partial-order reduction: every execution within the budget, but of those that differ only in the order of transitions
//! that do not conflict, one.
//!
//! The processes of the literature are here the events: a CPU that moves, an interrupt source on a CPU, a CPU's clock. Two
//! transitions conflict if their footprints do (see [`Footprint`]); those of a CPU, and its interrupts, always do: the CPU itself is in each. After each transition,
//! for every earlier one that conflicts with it and need not come first, the search makes sure that the other order is tried
//! too: it adds, where the earlier one was chosen, an event with which the rest without it can begin (a *source set*). *Sleep sets*
//! keep what has been tried from being tried again before something conflicts with it, so no two executions that end are
//! equivalent; an execution in which everything that is left sleeps is given up, and counted apart.
//!
//! # Waits
//!
//! A primitive that comes to nothing but a wait (an owner that runs has the lock) is erased: its CPU counts as not enabled until what
//! it read changes, as if the primitive had not begun. Where a CPU is known to wait, a transition that conflicts with its own
//! is not turned round with it, unless something else in between may end the wait; the one that made it wait is.
//! Who waits is enabled all the same if what it read before it began to has changed by then, and if the engine makes it go on since nobody
//! else can move (FreeBSD's watchdog of spin mutexes).
//!
//! # States
//!
//! [`Dpor::of_states`] also gives up where it comes to a state that it has searched, with as much of the budget left and with no more
//! asleep: an interrupt that came and went unnoticed, or threads that had a lock one after the other, often lead there. What followed from the
//! state then, as the footprints that each event had, may conflict with what came before it this time: the other order is tried as if it
//! had happened. Of an event that follows it is not known what comes before it there, so where the path does not tell how the other order can
//! begin, more may be tried than would be without states.
//!
//! # What is left out
//!
//! An alternative inside a primitive (a migration, a late IPI) is searched in full. The last transition of an execution is not turned
//! round with earlier ones; but whatever could still happen then is tried before it.
//! An interrupt that comes while its CPU waits counts as one that came before the wait began: only a filter that leaves a lock in the
//! waiting thread's name, which FreeBSD forbids, tells the two apart.
//!
//! References: Flanagan, Godefroid, "Dynamic partial-order reduction for model checking software", POPL 2005; Abdulla, Aronis,
//! Jonsson, Sagonas, "Source sets: a foundation for optimal dynamic partial order reduction", JACM 2017; Godefroid,
//! "Partial-order methods for the verification of concurrent systems", 1996 (sleep sets, and with them the caching of states); Yang, Chen,
//! Gopalakrishnan, Kirby, "Efficient stateful dynamic partial order reduction", SPIN 2008.

use super::{Choice, Diverged, Event, Performed, Schedule, State};
use crate::host::footprint::Footprint;
use crate::machine::Budget;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

/// See the module.
#[derive(Debug, Default)]
pub struct Dpor {
    /// The transitions of the execution, and the alternatives taken inside them.
    path: Vec<Item>,
    /// Where in `path` the execution is.
    at: usize,
    /// How many of the node's waits have been repeated.
    waits: usize,
    /// `path` up to here is as in the execution before.
    known: usize,
    /// The node whose event is under way.
    running: Option<usize>,
    given_up: bool,
    /// An execution touched other addresses than the one before with the same events: see [`crate::host::heap`].
    moved: bool,
    restarts: u32,
    /// The first execution is a rehearsal for a search by states: what it makes, as stacks, lies elsewhere from then on.
    rehearses: bool,
    exhausted: bool,
    counts: Counts,
    /// States that have been searched, if they are compared.
    seen: Option<HashMap<State, Vec<Visit>>>,
    /// What events touch after states: many states have the same.
    footprints: HashSet<Rc<Footprint>>,
    /// What follows the known state in which this execution was given up.
    follows: Option<Known>,
}

/// What each event touches in all executions that begin in a state.
type Future = Vec<(Event, Footprint)>;

/// A state was searched with this much of the budget left, but for what slept.
#[derive(Debug)]
struct Visit {
    budget: Budget,
    sleep: Box<[Event]>,
    future: Known,
}

/// A [`Future`] that is kept.
type Known = Rc<[(Event, Rc<Footprint>)]>;

/// When the event comes of which [`Dpor::race`] is told.
#[derive(Debug, Clone, Copy)]
enum When {
    /// It is its CPU's next.
    Now,
    /// After others that are not on the path.
    Later,
}

/// States that are remembered: some hundred bytes each.
const MOST_STATES: u64 = 2_000_000;

fn add(future: &mut Future, event: Event, footprint: &Footprint) {
    let at = match future.binary_search_by_key(&event, |(event, _)| *event) {
        Ok(at) => at,
        Err(at) => {
            future.insert(at, (event, Footprint::default()));
            at
        }
    };
    future[at].1.add(footprint);
}

/// Searches that are begun anew because addresses moved, before the program is called one that moves them.
const MOST_RESTARTS: u32 = 100;

/// How far the search came.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Executions that ended.
    pub executions: u64,
    /// Executions that were given up: what was left of them had been seen.
    pub given_up: u64,
    /// Of those, executions that came to a state that had been searched.
    pub met: u64,
    /// States that have been searched.
    pub states: u64,
}

#[derive(Debug)]
enum Item {
    Node(Box<Node>),
    /// Inside the transition before: the alternative taken, out of how many.
    Alternative(u16, u16),
}

/// A state of the execution, and what is tried from it.
#[derive(Debug, Default)]
struct Node {
    enabled: Vec<Event>,
    /// CPUs whose primitives came to nothing but a wait here, in order, with what they would touch.
    waiting: Vec<(Event, Footprint)>,
    /// Those of them that looked again, and then went on.
    again: Vec<Event>,
    chosen: Option<Event>,
    /// What is to be tried, what is being tried, and what has been.
    source: Vec<Event>,
    /// What needs no trial any more, with what it touches.
    sleep: Vec<(Event, Footprint)>,
    /// What the chosen event touched this time, and in all its alternatives.
    footprint: Footprint,
    all: Footprint,
    /// Earlier nodes whose transitions come first in every equivalent execution.
    before: Bits,
    /// The state, and what was left of the budget; what slept when the search came here; and what has followed so far.
    state: Option<(State, Budget)>,
    slept: usize,
    future: Future,
}

impl Node {
    fn waits(&self, event: Event) -> bool {
        self.waiting.iter().any(|(waiting, _)| *waiting == event)
    }

    fn sleeps(&self, event: Event) -> bool {
        self.sleep.iter().any(|(sleeping, _)| *sleeping == event)
    }

    fn can(&self, event: Event) -> bool {
        self.enabled.contains(&event) && (!self.waits(event) || self.again.contains(&event))
    }

    fn try_also(&mut self, events: impl IntoIterator<Item = Event>) {
        for event in events {
            if !self.source.contains(&event) {
                self.source.push(event);
            }
        }
    }
}

/// A set of node numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Bits(Vec<u64>);

impl Bits {
    fn insert(&mut self, n: usize) {
        if self.0.len() <= n / 64 {
            self.0.resize(n / 64 + 1, 0);
        }
        self.0[n / 64] |= 1 << (n % 64);
    }

    fn contains(&self, n: usize) -> bool {
        self.0.get(n / 64).is_some_and(|word| word & 1 << (n % 64) != 0)
    }

    fn meets(&self, other: &Self) -> bool {
        self.0.iter().zip(&other.0).any(|(a, b)| a & b != 0)
    }

    fn add(&mut self, other: &Self) {
        if self.0.len() < other.0.len() {
            self.0.resize(other.0.len(), 0);
        }
        for (word, more) in self.0.iter_mut().zip(&other.0) {
            *word |= more;
        }
    }
}

impl Dpor {
    /// A search from the beginning.
    pub fn new() -> Self {
        Self::default()
    }

    /// One that also gives up where it comes to a state that it has searched. For machines of which nobody asks how often something came
    /// before: starvation.
    pub fn of_states() -> Self {
        Self { seen: Some(HashMap::new()), rehearses: true, ..Self::default() }
    }

    /// Whether every execution has been run.
    pub fn exhausted(&self) -> bool {
        self.exhausted
    }

    /// Whether the last execution was given up.
    pub fn gave_up(&self) -> bool {
        self.given_up
    }

    /// Whether the last execution's verdict says nothing: it was given up, or the search is to begin anew.
    pub fn lost(&self) -> bool {
        self.given_up || self.moved || self.rehearses
    }

    /// How far the search came.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// A guess at the part of the search that is done, from 0 to 1: at each node on the way, what has been tried of what is known
    /// to be worth it.
    pub fn progress(&self) -> f64 {
        let mut done = 0.0;
        let mut share = 1.0;
        for item in &self.path {
            let (before, of) = match item {
                Item::Node(node) => {
                    let tried = node.source.iter().filter(|event| node.sleeps(**event)).count();
                    (tried, node.source.len().max(tried + 1))
                }
                Item::Alternative(taken, of) => (usize::from(*taken), usize::from(*of)),
            };
            done += share * before as f64 / of as f64;
            share /= of as f64;
        }
        if self.exhausted { 1.0 } else { done }
    }

    fn node(&self, at: usize) -> &Node {
        match &self.path[at] {
            Item::Node(node) => node,
            Item::Alternative(..) => unreachable!("asked only of nodes"),
        }
    }

    fn node_mut(&mut self, at: usize) -> &mut Node {
        match &mut self.path[at] {
            Item::Node(node) => node,
            Item::Alternative(..) => unreachable!("asked only of nodes"),
        }
    }

    /// The nodes before `at`, last first.
    fn earlier(&self, at: usize) -> impl Iterator<Item = (usize, &Node)> {
        self.path[..at].iter().enumerate().rev().filter_map(|(i, item)| match item {
            Item::Node(node) => Some((i, &**node)),
            Item::Alternative(..) => None,
        })
    }

    /// What the new node at the end of the path need not try: what slept before and does not conflict with what has happened.
    fn inherited(&self) -> Vec<(Event, Footprint)> {
        let Some((_, last)) = self.earlier(self.path.len()).next() else { return Vec::new() };
        last.sleep.iter().filter(|(_, footprint)| !footprint.conflicts(&last.footprint)).cloned().collect()
    }

    /// `before` of an event with `footprint` at `at`: what conflicts, and what comes before that.
    fn order(&self, at: usize, footprint: &Footprint) -> Bits {
        let mut before = Bits::default();
        for (i, node) in self.earlier(at) {
            if node.chosen.is_some() && !before.contains(i) && node.footprint.conflicts(footprint) {
                before.add(&node.before);
                before.insert(i);
            }
        }
        before
    }

    /// What could happen before the last transition and cannot now, since only that one was chosen, is to be tried before it.
    fn disabled(&mut self, enabled: &[Event]) {
        let Some((at, last)) = self.earlier(self.path.len()).next() else { return };
        let gone = |event: &Event| last.can(*event) && Some(*event) != last.chosen && !enabled.contains(event);
        let gone: Vec<Event> = last.enabled.iter().copied().filter(gone).collect();
        self.node_mut(at).try_also(gone);
    }

    /// Makes sure that `event`, which touches `footprint` and came (or waits) at `at` or comes later, is also tried before each
    /// earlier transition that it conflicts with and that it may precede.
    fn race(&mut self, at: usize, event: Event, footprint: &Footprint, when: When) {
        // What comes before `event`'s CPU gets there at all.
        let own = self.earlier(at).find(|(_, node)| node.chosen == Some(event)).map(|(i, _)| i);
        let settled = own.map(|own| {
            let mut bits = self.node(own).before.clone();
            bits.insert(own);
            bits
        });
        let mut i = at;
        while i > 0 {
            i -= 1;
            let Item::Node(node) = &self.path[i] else { continue };
            let Some(chosen) = node.chosen else { continue };
            if chosen == event || settled.as_ref().is_some_and(|bits| bits.contains(i)) {
                continue;
            }
            if !node.footprint.conflicts(footprint) {
                continue;
            }
            // The rest without `chosen` and what depends on it, and then `event`.
            let mut first: Vec<Event> = Vec::new();
            let mut seen = Bits::default();
            let (mut may_enable, mut depends) = (false, false);
            for (j, later) in self.path.iter().enumerate().take(at).skip(i + 1) {
                let Item::Node(later) = later else { continue };
                let Some(what) = later.chosen else { continue };
                if later.before.contains(i) {
                    continue;
                }
                may_enable = may_enable || later.footprint.writes_for(footprint);
                depends = depends || later.footprint.conflicts(footprint);
                if !later.before.meets(&seen) && !first.contains(&what) {
                    first.push(what);
                }
                seen.insert(j);
            }
            match when {
                When::Now => {
                    let there = own.is_none_or(|own| own < i);
                    if there && !node.can(event) && !may_enable {
                        // It waits for `chosen`, or for something that depends on it.
                        continue;
                    }
                    if !depends && !first.contains(&event) {
                        first.push(event);
                    }
                }
                // What else comes before it is not known. Where the path says nothing of how the rest can begin, its own CPU moves: what
                // that needs shows then.
                When::Later if first.is_empty() => first.push(event),
                When::Later => {}
            }
            first.retain(|&event| node.can(event));
            if first.is_empty() {
                // Not known how it can come about: everything is worth a try.
                first = node.enabled.iter().copied().filter(|&event| node.can(event)).collect();
                self.node_mut(i).try_also(first);
                continue;
            }
            if first.iter().any(|&event| node.source.contains(&event) || node.sleeps(event)) {
                continue;
            }
            let add = if first.contains(&event) { event } else { first[0] };
            self.node_mut(i).source.push(add);
        }
    }

    /// What follows `state`, if it has been searched with as much of the budget left, and with no more asleep.
    fn known_future(&self, (state, budget): (State, Budget), sleep: &[(Event, Footprint)]) -> Option<Known> {
        let covers = |visit: &&Visit| {
            visit.budget.covers(budget)
                && visit.sleep.iter().all(|event| sleep.iter().any(|(sleeping, _)| sleeping == event))
        };
        self.seen.as_ref()?.get(&state)?.iter().find(covers).map(|visit| Rc::clone(&visit.future))
    }

    /// [`Dpor::race`] of all that follows the state at the end of the path, which has been searched.
    fn races_of(&mut self, future: &[(Event, Rc<Footprint>)]) {
        let at = self.path.len();
        for (event, footprint) in future {
            self.race(at, *event, footprint, When::Later);
        }
    }

    /// The node's search is over.
    fn searched(&mut self, node: Node) {
        let Some(seen) = &mut self.seen else { return };
        let Node { state, sleep, slept, future, .. } = node;
        let keep = |(event, mut footprint): (Event, Footprint)| {
            footprint.tidy();
            let known = self.footprints.get(&footprint).map(Rc::clone);
            let kept = known.unwrap_or_else(|| {
                let kept = Rc::new(footprint);
                self.footprints.insert(Rc::clone(&kept));
                kept
            });
            (event, kept)
        };
        let future: Known = future.into_iter().map(keep).collect();
        if let Some((state, budget)) = state
            && self.counts.states < MOST_STATES
        {
            let sleep: Box<[Event]> = sleep[..slept].iter().map(|(event, _)| *event).collect();
            let visits = seen.entry(state).or_default();
            let covered =
                |visit: &Visit| budget.covers(visit.budget) && sleep.iter().all(|event| visit.sleep.contains(event));
            self.counts.states += u64::from(visits.is_empty());
            visits.retain(|visit| !covered(visit));
            visits.push(Visit { budget, sleep, future: Rc::clone(&future) });
        }
        self.precedes(&future);
    }

    /// In executions that go through the node at `at`, `event` touches `footprint` there.
    fn follows_at(&mut self, at: usize, event: Event, footprint: &Footprint) {
        if self.seen.is_some() {
            add(&mut self.node_mut(at).future, event, footprint);
        }
    }

    /// What the last node began is followed by `future`.
    fn precedes(&mut self, future: &[(Event, Rc<Footprint>)]) {
        let Some(at) = self.earlier(self.path.len()).next().map(|(i, _)| i) else { return };
        let node = self.node_mut(at);
        for (event, footprint) in future {
            add(&mut node.future, *event, footprint);
        }
    }

    fn fail(&self, choice: &Choice<'_>, expected: Option<Event>) -> Diverged {
        Diverged { at: choice.at, expected, enabled: choice.enabled.to_vec() }
    }

    fn position(&self, choice: &Choice<'_>, event: Event) -> Result<usize, Diverged> {
        choice.enabled.iter().position(|&other| other == event).ok_or_else(|| self.fail(choice, Some(event)))
    }

    fn choose(&mut self, at: usize, event: Event) {
        let node = self.node_mut(at);
        node.chosen = Some(event);
        node.all.clear();
        if !node.source.contains(&event) {
            node.source.push(event);
        }
    }

    fn perform(&mut self, choice: &Choice<'_>, at: usize, event: Event) -> Result<usize, Diverged> {
        self.running = Some(at);
        self.at = at + 1;
        self.position(choice, event)
    }

    /// An alternative inside a transition.
    fn alternative(&mut self, choice: &Choice<'_>) -> Result<usize, Diverged> {
        let n = choice.enabled.len() as u16;
        if self.at == self.path.len() {
            self.path.push(Item::Alternative(0, n));
        }
        match self.path[self.at] {
            Item::Alternative(taken, of) if of == n => {
                self.at += 1;
                Ok(taken.into())
            }
            _ => Err(self.fail(choice, None)),
        }
    }
}

impl Schedule for Dpor {
    fn begin(&mut self, _index: u64) {
        self.at = 0;
        self.waits = 0;
        self.running = None;
        self.given_up = false;
    }

    fn records(&self) -> bool {
        true
    }

    fn compares_states(&self) -> bool {
        self.seen.is_some()
    }

    fn next(&mut self, choice: &Choice<'_>) -> Result<usize, Diverged> {
        if let Event::Pick(_) = choice.enabled[0] {
            return self.alternative(choice);
        }
        if self.at == self.path.len() {
            self.disabled(choice.enabled);
            let sleep = self.inherited();
            let state = self.seen.is_some().then(|| choice.pending.state()).flatten();
            if let Some(state) = state
                && let Some(future) = self.known_future(state, &sleep)
            {
                self.races_of(&future);
                self.follows = Some(future);
                self.counts.met += 1;
                self.given_up = true;
                return Err(self.fail(choice, None));
            }
            let (enabled, slept) = (choice.enabled.to_vec(), sleep.len());
            self.path.push(Item::Node(Box::new(Node { enabled, sleep, state, slept, ..Node::default() })));
            self.waits = 0;
        }
        let at = self.at;
        let Item::Node(node) = &mut self.path[at] else { return Err(self.fail(choice, None)) };
        for event in choice.enabled {
            // What is possible only because nobody but waits.
            if !node.enabled.contains(event) {
                node.enabled.push(*event);
            }
        }
        let node = self.node(at);
        if let Some((event, _)) = node.waiting.get(self.waits) {
            let event = *event;
            return self.perform(choice, at, event);
        }
        if let Some(event) = node.chosen {
            return self.perform(choice, at, event);
        }
        // What it read before it began to wait has changed, or nobody else can move: it looks again.
        let looks = |event: &&Event| node.waits(**event) && !node.can(**event) && !node.sleeps(**event);
        if let Some(&event) = choice.enabled.iter().find(looks) {
            self.choose(at, event);
            return self.perform(choice, at, event);
        }
        let free = |event: &Event| node.can(*event) && !node.sleeps(*event);
        // First what is known to be worth it; else who has not moved for longest: whether it has to wait shows early then.
        let chosen = match node.source.iter().copied().find(free) {
            Some(event) => Some(event),
            None if node.source.iter().any(|&event| node.sleeps(event)) => None,
            None => {
                let age = |event: Event| {
                    self.earlier(at).find(|(_, node)| node.chosen == Some(event)).map_or(0, |(i, _)| i + 1)
                };
                let runs = |event: &&Event| matches!(event, Event::Run(_));
                let free: Vec<Event> = node.enabled.iter().copied().filter(free).collect();
                free.iter().filter(runs).min_by_key(|event| age(**event)).or(free.first()).copied()
            }
        };
        let Some(event) = chosen else {
            self.given_up = true;
            return Err(self.fail(choice, None));
        };
        self.choose(at, event);
        self.perform(choice, at, event)
    }

    fn performed(&mut self, event: Event, footprint: &Footprint, performed: Performed) {
        let Some(at) = self.running.take() else { return };
        if performed == Performed::Nothing {
            let waits = self.waits;
            self.waits += 1;
            self.at = at;
            let node = self.node_mut(at);
            if waits < node.waiting.len() {
                return;
            }
            node.waiting.push((event, footprint.clone()));
            node.chosen = None;
            node.source.retain(|&other| other != event);
            self.follows_at(at, event, footprint);
            self.race(at, event, footprint, When::Now);
            return;
        }
        self.waits = 0;
        if at < self.known {
            // The same as the last time, unless what it touches has moved.
            self.moved |= self.node(at).footprint != *footprint;
            return;
        }
        let before = self.order(at, footprint);
        let node = self.node_mut(at);
        if node.waits(event) && !node.again.contains(&event) {
            node.again.push(event);
        }
        node.before = before;
        node.footprint = footprint.clone();
        node.all.add(footprint);
        self.follows_at(at, event, footprint);
        self.race(at, event, footprint, When::Now);
        // The alternatives on this CPU; and what could still happen, if nothing will.
        let last = performed == Performed::Last;
        let node = self.node_mut(at);
        if last {
            // It is another thing after something else has happened: it cuts off less.
            node.all.touch_everything();
        }
        let also = |other: &Event| node.can(*other) && (last || other.cpu() == event.cpu());
        let also: Vec<Event> = node.enabled.iter().copied().filter(also).collect();
        node.try_also(also);
    }

    fn end(&mut self, _choices: usize) -> bool {
        if core::mem::take(&mut self.moved) | core::mem::take(&mut self.rehearses) {
            // The kernel's tables have grown in between. They do so a few times only.
            self.restarts += 1;
            self.path.clear();
            self.known = 0;
            self.follows = None;
            if let Some(seen) = &mut self.seen {
                seen.clear();
            }
            self.counts = Counts::default();
            return self.restarts < MOST_RESTARTS;
        }
        if let Some(future) = self.follows.take() {
            self.precedes(&future);
        }
        if self.given_up {
            self.counts.given_up += 1;
        } else {
            self.disabled(&[]);
            self.counts.executions += 1;
        }
        while let Some(item) = self.path.pop() {
            match item {
                Item::Alternative(taken, of) if taken + 1 < of => {
                    self.path.push(Item::Alternative(taken + 1, of));
                    // The transition around it is another one now.
                    let around = self.earlier(self.path.len()).next().map_or(0, |(i, _)| i);
                    self.known = around;
                    return true;
                }
                Item::Alternative(..) => {}
                Item::Node(mut node) => {
                    if let Some(event) = node.chosen.take() {
                        let all = core::mem::take(&mut node.all);
                        node.sleep.push((event, all));
                    }
                    if node.source.iter().any(|&event| node.can(event) && !node.sleeps(event)) {
                        self.known = self.path.len();
                        self.path.push(Item::Node(node));
                        return true;
                    }
                    self.searched(*node);
                }
            }
        }
        self.exhausted = true;
        false
    }
}
