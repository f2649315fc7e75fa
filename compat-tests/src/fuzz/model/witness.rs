//! witness(4): who is known to hold what, and for programs with one thread what comes of it on the console.

use super::one_cpu::IDLE;
use super::{At, Call, Mutation, kpanic};
use crate::fuzz::program::{Kind, LOCKS};

/// What WITNESS remembers and prints, with one thread.
#[derive(Debug, Default)]
pub(super) struct Console {
    /// What was printed.
    pub(super) lines: Vec<String>,
    /// Locks held, and on which line each was taken last, oldest first.
    held: Vec<(usize, u32)>,
    /// By lock: what is known to come right after it, and after it at all.
    children: [u8; LOCKS],
    descendants: [u8; LOCKS],
    /// By lock: with what it has been reported to be in the wrong order.
    reported: [u8; LOCKS],
    /// By lock: where the interlock of a wait was taken, or Giant.
    saved: [u32; LOCKS],
}

impl Console {
    /// `child` is taken right after `parent`.
    fn adopt(&mut self, parent: usize, child: usize) {
        self.children[parent] |= 1 << child;
        let more = self.descendants[child] | 1 << child;
        for at in 0..LOCKS {
            if at == parent || self.descendants[at] >> parent & 1 != 0 {
                self.descendants[at] |= more;
            }
        }
    }
}

/// `(class) name`, printed where a message needs it.
#[derive(Clone, Copy)]
struct Label(&'static str, &'static str);

impl std::fmt::Display for Label {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "({}) {}", self.0, self.1)
    }
}

impl At<'_> {
    fn enrolled(&self) -> bool {
        self.rules.witness && self.rules.program.locks[self.lock].enrolled
    }

    /// Of threads that share a CPU, spin mutexes are held by the CPU, for which the idle thread stands here.
    fn held(&mut self, lock: usize) -> &mut super::Held {
        let of_cpu = self.state.cpu.on && self.state.here(self.td) && self.is_spin(lock);
        let td = if of_cpu { IDLE } else { self.td };
        &mut self.state.threads[td].held[lock]
    }

    /// Whether the thread, or its CPU, is known to hold anything.
    pub(super) fn holds_any(&mut self) -> bool {
        (0..self.rules.program.locks.len()).any(|lock| self.held(lock).depth > 0)
    }

    fn class(&self) -> &'static str {
        self.class_of(self.lock)
    }

    fn class_of(&self, lock: usize) -> &'static str {
        match self.rules.program.locks[lock].kind {
            Kind::Mtx | Kind::MtxRecurse | Kind::Giant => "sleep mutex",
            Kind::Spin | Kind::SpinRecurse => "spin mutex",
            Kind::Rw | Kind::RwRecurse => "rw",
            Kind::Sx | Kind::SxRecurse => "sx",
            Kind::Rm | Kind::RmRecurse => "rm",
            Kind::RmSleepable => "sleepable rm",
            Kind::Lockmgr | Kind::LockmgrRecurse => "lockmgr",
        }
    }

    /// `(class) name`.
    fn label(&self) -> Label {
        Label(self.class(), self.name())
    }

    /// `witness_checkorder()`.
    pub(super) fn checkorder(&mut self, exclusive: bool) -> Call {
        if !self.enrolled() || self.me().waited {
            return Ok(());
        }
        if !self.kind().is_spin() && self.me().critnest != 0 {
            let (label, loc) = (self.label(), self.loc());
            kpanic!("acquiring blockable sleep lock with spinlock or critical section held {label} @ {loc}");
        }
        let lock = self.lock;
        let held = *self.held(lock);
        if held.depth == 0 {
            if !self.mutated(Mutation::AnyOrder) {
                self.check_lock_order(exclusive);
            }
            return Ok(());
        }
        if self.mutated(Mutation::BlindWitness) {
            return Ok(());
        }
        let (label, loc, from) = (self.label(), self.loc(), self.taken_at());
        match (held.exclusive, exclusive) {
            (true, false) => {
                self.print(|| format!("shared lock of {label} @ {loc}"));
                self.print(|| format!("while exclusively locked from {from}"));
                kpanic!("excl->share");
            }
            (false, true) => {
                self.print(|| format!("exclusive lock of {label} @ {loc}"));
                self.print(|| format!("while share locked from {from}"));
                kpanic!("share->excl");
            }
            _ => Ok(()),
        }
    }

    /// Prints a line, if the console is modelled.
    fn print(&self, line: impl FnOnce() -> String) {
        if let Some(console) = &self.rules.console {
            console.borrow_mut().lines.push(line());
        }
    }

    /// Where the lock was taken last, if that is modelled.
    fn taken_at(&self) -> super::Loc {
        let line = self.rules.console.as_ref().and_then(|console| {
            console.borrow().held.iter().find(|(lock, _)| *lock == self.lock).map(|(_, line)| *line)
        });
        super::Loc(line.unwrap_or(0))
    }

    /// Whether one may sleep with `lock` so held: a sleepable rmlock's reader may not.
    fn sleepable(&self, lock: usize, exclusive: bool) -> bool {
        let kind = self.rules.program.locks[lock].kind;
        kind.is_sx() || kind.is_lockmgr() || kind == Kind::RmSleepable && exclusive
    }

    fn is_spin(&self, lock: usize) -> bool {
        self.rules.program.locks[lock].kind.is_spin()
    }

    /// The order in which locks are taken: sleepable ones first, and otherwise as it was the first time.
    fn check_lock_order(&mut self, exclusive: bool) {
        let Some(console) = &self.rules.console else { return };
        let (lock, spin) = (self.lock, self.is_spin(self.lock));
        let mut console = console.borrow_mut();
        // Spin mutexes are a list of their own.
        let held: Vec<_> = console.held.iter().rev().copied().filter(|&(held, _)| self.is_spin(held) == spin).collect();
        let Some(&(last, _)) = held.first() else { return };
        if console.children[last] >> lock & 1 != 0 {
            return;
        }
        let is_giant = |lock: usize| self.rules.program.giant() == Some(lock);
        for (other, line) in held {
            let later = self.sleepable(lock, exclusive);
            let earlier = self.sleepable(other, self.state.threads[self.td].held[other].exclusive);
            if is_giant(lock) && earlier || is_giant(other) && later {
                // Giant comes after the sleepable locks, and is dropped for them.
                continue;
            }
            let sleeps = later && !earlier;
            let giant = is_giant(lock) && !earlier;
            if !sleeps && !giant && console.descendants[lock] >> other & 1 == 0 {
                continue;
            }
            if console.reported[lock] >> other & 1 == 0 {
                console.reported[lock] |= 1 << other;
                console.reported[other] |= 1 << lock;
                let why = match (sleeps, giant) {
                    (true, _) => " (sleepable after non-sleepable)",
                    (_, true) => " (Giant after non-sleepable)",
                    _ => "",
                };
                console.lines.push(format!("lock order reversal:{why}"));
                for (nth, lock, line) in [("1st", other, line), ("2nd", lock, self.line)] {
                    let name = self.rules.program.name(lock);
                    let (class, loc) = (self.class_of(lock), super::Loc(line));
                    console.lines.push(format!(" {nth} %p {name} ({name}, {class}) @ {loc}"));
                }
            }
            return;
        }
        if !(is_giant(last) && self.sleepable(lock, exclusive)) {
            console.adopt(last, lock);
        }
    }

    /// `WITNESS_WARN(WARN_GIANTOK | WARN_SLEEPOK, ..)`: prints what may not be held asleep, but for the interlock.
    pub(super) fn warn(&mut self, what: &str, interlock: Option<usize>) {
        self.warn_of(&format!("{what} with the following non-sleepable locks held:"), interlock, true);
    }

    /// `WITNESS_WARN(WARN_PANIC, ..)`, up to the panic.
    pub(super) fn warn_panic(&mut self, what: &str) {
        self.warn_of(&format!("{what} with the following locks held:"), None, false);
    }

    fn warn_of(&mut self, heading: &str, interlock: Option<usize>, sleepok: bool) {
        let Some(console) = &self.rules.console else { return };
        let mut console = console.borrow_mut();
        let line = |&(lock, line): &(usize, u32)| {
            let held = self.state.threads[self.td].held[lock];
            let how = if held.exclusive { "exclusive" } else { "shared" };
            let (class, name, loc) = (self.class_of(lock), self.rules.program.name(lock), super::Loc(line));
            format!("{how} {class} {name} ({name}) r = {} (%p) locked @ {loc}", held.depth - 1)
        };
        let (spin, sleep): (Vec<_>, Vec<_>) =
            console.held.iter().rev().copied().partition(|&(lock, _)| self.is_spin(lock));
        let matter = |&&(lock, _): &&(usize, u32)| {
            let exclusive = self.state.threads[self.td].held[lock].exclusive;
            let may = self.sleepable(lock, exclusive) || self.rules.program.giant() == Some(lock);
            Some(lock) != interlock && !(sleepok && may)
        };
        let sleep: Vec<_> = sleep.iter().filter(matter).map(line).collect();
        if !sleep.is_empty() {
            console.lines.push(heading.to_owned());
        }
        let alone = sleep.is_empty();
        console.lines.extend(sleep);
        // The interlock may be a spin mutex, if it is the only lock.
        let exempt = alone && spin.len() == 1 && Some(spin[0].0) == interlock;
        if !spin.is_empty() && !exempt {
            console.lines.push(heading.to_owned());
            console.lines.extend(spin.iter().map(line));
        }
    }

    /// `WITNESS_SAVE()`: an interlock that goes for a while is held.
    pub(super) fn witness_save(&mut self) -> Call {
        let (label, lock) = (self.label(), self.lock);
        if self.enrolled() && self.held(lock).depth == 0 {
            kpanic!("witness_save: lock {label} not locked");
        }
        let super::Loc(line) = self.taken_at();
        if let Some(console) = &self.rules.console {
            console.borrow_mut().saved[lock] = line;
        }
        Ok(())
    }

    /// `WITNESS_RESTORE()`: it is held as if it had never gone.
    pub(super) fn witness_restore(&self) {
        if let Some(console) = &self.rules.console {
            let mut console = console.borrow_mut();
            let (lock, saved) = (self.lock, console.saved[self.lock]);
            console.held.iter_mut().filter(|held| held.0 == lock).for_each(|held| held.1 = saved);
        }
    }

    /// `witness_lock()`.
    pub(super) fn witness_lock(&mut self, exclusive: bool) {
        if self.enrolled() {
            let lock = self.lock;
            let held = self.held(lock);
            if held.depth == 0 {
                held.exclusive = exclusive;
            }
            held.depth += 1;
            let (fresh, line) = (held.depth == 1, self.line);
            if let Some(console) = &self.rules.console {
                let mut console = console.borrow_mut();
                if fresh {
                    console.held.push((lock, line));
                } else {
                    console.held.iter_mut().filter(|held| held.0 == lock).for_each(|held| held.1 = line);
                }
            }
        }
    }

    /// `witness_unlock()`.
    pub(super) fn witness_unlock(&mut self, exclusive: bool) -> Call {
        if !self.enrolled() {
            return Ok(());
        }
        let (label, loc, lock, from) = (self.label(), self.loc(), self.lock, self.taken_at());
        let held = *self.held(lock);
        if held.depth == 0 {
            kpanic!("lock {label} not locked @ {loc}");
        }
        match (held.exclusive, exclusive) {
            (true, false) => {
                self.print(|| format!("shared unlock of {label} @ {loc}"));
                self.print(|| format!("while exclusively locked from {from}"));
                kpanic!("excl->ushare");
            }
            (false, true) => {
                self.print(|| format!("exclusive unlock of {label} @ {loc}"));
                self.print(|| format!("while share locked from {from}"));
                kpanic!("share->uexcl");
            }
            _ => self.held(lock).depth -= 1,
        }
        if held.depth == 1
            && let Some(console) = &self.rules.console
        {
            console.borrow_mut().held.retain(|&(held, _)| held != lock);
        }
        Ok(())
    }

    /// `witness_upgrade()` and `witness_downgrade()`.
    pub(super) fn witness_change(&mut self, what: &str, exclusive: bool) -> Call {
        if !self.enrolled() {
            return Ok(());
        }
        let (label, loc, lock) = (self.label(), self.loc(), self.lock);
        let held = self.held(lock);
        if held.depth == 0 {
            kpanic!("{what} of unlocked lock {label} @ {loc}");
        }
        if held.exclusive == exclusive {
            let is = if exclusive { "exclusive" } else { "shared" };
            kpanic!("{what} of {is} lock {label} @ {loc}");
        }
        if held.depth > 1 {
            kpanic!("{what} of recursed lock {label} r={} @ {loc}", held.depth - 1);
        }
        held.exclusive = exclusive;
        Ok(())
    }

    /// `witness_assert()`: of an enrolled lock only.
    pub(super) fn witness_assert(&mut self, what: u32) -> Call {
        if !self.enrolled() {
            return Ok(());
        }
        let (label, loc, lock) = (self.label(), self.loc(), self.lock);
        let held = *self.held(lock);
        match what {
            0 if held.depth > 0 => kpanic!("Lock {label} locked @ {loc}."),
            0 => return Ok(()),
            _ => {}
        }
        // One mode, and at most one of RECURSED and NOTRECURSED.
        if !matches!(what & 7, 1 | 2 | 4) || what & !0x1f != 0 || what & 0x18 == 0x18 {
            kpanic!("Invalid lock assertion at {loc}.");
        }
        if held.depth == 0 {
            kpanic!("Lock {label} not locked @ {loc}.");
        }
        if what & 4 != 0 && !held.exclusive {
            kpanic!("Lock {label} not exclusively locked @ {loc}.");
        }
        if what & 2 != 0 && held.exclusive {
            kpanic!("Lock {label} exclusively locked @ {loc}.");
        }
        if what & 8 != 0 && held.depth == 1 {
            kpanic!("Lock {label} not recursed @ {loc}.");
        }
        if what & 0x10 != 0 && held.depth > 1 {
            kpanic!("Lock {label} recursed @ {loc}.");
        }
        Ok(())
    }
}
