//! The transition under way: what it touches, for a schedule that reduces, and what its thread's next decision depends on.

use super::boundary::RESUME;
use super::{Explorer, explorer};
use crate::cpu::machine;
use crate::host::footprint::{Footprint, Operand, key};
use crate::host::gs::{self, word};
use crate::host::heap;
use crate::host::schedule::{Event, Performed};
use crate::machine::Machine;
use crate::thread::{Observed, Thread, curthread};

/// A transition under way: from the event that began it to the next.
#[derive(Debug, Default)]
pub(super) struct Transition {
    /// The schedule wants to know.
    pub(super) recorded: bool,
    pub(super) event: Option<Event>,
    pub(super) footprint: Footprint,
    /// What its primitive works on, and what was there when it began.
    pub(super) operand: Operand,
    pub(super) found: [u64; Operand::WORDS],
    /// It began with a primitive that names what it works on, or as a further round of a wait: if it comes to nothing but a wait,
    /// it may as well come later.
    pub(super) repeatable: bool,
    /// It ended in `cpu_spinwait`.
    pub(super) waits: bool,
    /// Something was chosen inside it.
    pub(super) chose: bool,
    /// It began as a further round of a wait, and has done nothing yet: an atomic operation needs no boundary of its own.
    pub(super) woken: bool,
}

pub(super) fn read_set_changed(td: &Thread) -> bool {
    // SAFETY: the thread is suspended.
    let set = unsafe { td.read_set.get() };
    set.iter().any(|seen| peek(seen.at, seen.size.into()) != seen.value)
}

/// Reads `size` bytes of kernel memory.
pub(super) fn peek(at: *const (), size: usize) -> u64 {
    // SAFETY: `observe` is given the addresses of lock words, thread fields and tracked cells, which live as long as the
    // execution: threads and arenas are never freed within one, and a lock that is observed is in use.
    unsafe {
        match size {
            1 => at.cast::<u8>().read_volatile().into(),
            2 => at.cast::<u16>().read_unaligned().into(),
            4 => at.cast::<u32>().read_unaligned().into(),
            _ => at.cast::<u64>().read_unaligned(),
        }
    }
}

impl Transition {
    pub(super) fn touch(&mut self, at: usize, size: usize, write: bool) {
        if self.event.is_some() {
            self.footprint.touch(at, size, write);
        }
    }

    /// `td` performs its primitive, or the next round of its wait.
    #[inline]
    pub(super) fn performs(&mut self, td: &Thread, again: bool) {
        if !self.recorded {
            return;
        }
        // SAFETY: `explore` has one host thread, and the reference ends here.
        self.operand = unsafe { *td.operand.get() };
        self.repeatable = again || self.operand.is_some();
        self.found = self.operand.contents();
    }

    /// The transition is an atomic operation, or goes on with one.
    pub(super) fn operates(&mut self, operand: Operand) {
        if self.recorded {
            self.operand = operand;
            self.found = operand.contents();
        }
    }
}

impl Explorer {
    /// The transition under way is over: tells the schedule about it.
    #[inline]
    pub(super) fn end_transition(&mut self, m: &Machine) {
        if self.transition.event.is_some() {
            self.end_recorded(m);
        }
    }

    #[inline(never)]
    fn end_recorded(&mut self, m: &Machine) {
        let Some(event) = self.transition.event.take() else { return };
        let transition = &mut self.transition;
        let last = m.has_verdict() || !self.exploring;
        let only_reads = transition.waits && !last;
        transition.footprint.touch_operand(transition.operand, only_reads);
        let cpu = event.cpu().unwrap_or(0);
        let nothing =
            only_reads && transition.repeatable && !transition.chose && !transition.footprint.writes_beyond(cpu);
        let performed = match () {
            () if last => Performed::Last,
            () if nothing => {
                // What it will do once it need not wait.
                transition.footprint.touch_operand(transition.operand, false);
                Performed::Nothing
            }
            () => Performed::Something,
        };
        if self.compares {
            self.look_beyond(m);
        }
        // SAFETY: `run` keeps the schedule alive, and alone, while the execution lasts.
        let schedule = unsafe { &mut *self.schedule.expect("an execution has a schedule") };
        heap::aside(|| schedule.performed(event, &self.transition.footprint, performed));
    }

    /// A transition begins.
    #[inline(never)]
    pub(super) fn begin_transition(&mut self, event: Event, forced: bool) {
        let transition = &mut self.transition;
        transition.event = Some(event);
        transition.footprint.clear();
        transition.operand = Operand::NONE;
        transition.repeatable = false;
        transition.waits = false;
        transition.chose = false;
        if let Some(cpu) = event.cpu() {
            transition.footprint.touch(key::CPU + cpu, 1, true);
        }
        if forced {
            transition.footprint.touch_everything();
        }
    }
}

/// See [`crate::host::footprint::touch`].
#[cold]
pub(crate) fn touch(at: usize, size: usize, write: bool) {
    explorer(machine()).transition.touch(at, size, write);
}

/// What comes next has nothing to do with what `td` worked on.
pub(crate) fn forget_operand(td: &Thread) {
    if gs::word() & word::EXPLORE != 0 {
        // SAFETY: `explore` has one host thread, and the reference ends here.
        unsafe { *td.operand.get() = Operand::NONE };
    }
}

/// What the next primitive on `cpu` works on; nothing, if that is to look for a thread or to go on with what was begun.
pub(crate) fn pending(m: &Machine, cpu: usize) -> Operand {
    let td = m.cpus[cpu].current();
    let idle = td.is_idle() && td.intr_nesting_level.get() == 0;
    // SAFETY: between transitions.
    let ((what, _), operand) = unsafe { (*td.op.get(), *td.operand.get()) };
    if idle || what == RESUME { Operand::NONE } else { operand }
}

/// Notes what lies at `at`: the running thread's next decision depends on it.
pub(crate) fn observe(at: *const (), size: usize) {
    if machine().has_verdict() {
        return;
    }
    explorer(machine()).transition.touch(at as usize, size, false);
    if matches!(size, 4 | 8) {
        return observe_part(curthread(), at, size);
    }
    let mut done = 0;
    while done < size {
        let part = 1 << (size - done).min(8).ilog2();
        observe_part(curthread(), at.wrapping_byte_add(done), part);
        done += part;
    }
}

#[inline]
fn observe_part(td: &Thread, at: *const (), size: usize) {
    // SAFETY: `explore` has one host thread, and the reference ends before the next boundary.
    let set = unsafe { td.read_set.get() };
    let value = peek(at, size);
    if let Some(seen) = set.iter_mut().find(|seen| seen.at == at && usize::from(seen.size) == size) {
        seen.value = value;
        return;
    }
    // A thread that never waits only collects. Which of the reads belong to a wait shows when it begins: see `spinwait`.
    if set.len() >= READ_SET_MAX {
        set.forget_oldest();
        td.read_too_much.set(true);
    }
    set.push(Observed { at, size: size as u8, value });
}

/// Forgets what the running thread's next decision was said to depend on.
pub(crate) fn forget_observed() {
    // SAFETY: `explore` has one host thread, and the reference ends before the next boundary.
    unsafe { curthread().read_set.get().clear() };
}

/// Values that a thread's read set holds.
const READ_SET_MAX: usize = 64;
