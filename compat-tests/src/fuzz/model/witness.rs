//! witness(4): who is known to hold what. Orders are not modelled: their violations are printed and end nothing.

use super::{At, Call, Mutation, kpanic};
use crate::fuzz::program::Kind;

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

    fn class(&self) -> &'static str {
        match self.kind() {
            Kind::Mtx | Kind::MtxRecurse => "sleep mutex",
            Kind::Spin | Kind::SpinRecurse => "spin mutex",
            Kind::Rw | Kind::RwRecurse => "rw",
            Kind::Sx | Kind::SxRecurse => "sx",
            Kind::Rm | Kind::RmRecurse => "rm",
        }
    }

    /// `(class) name`.
    fn label(&self) -> Label {
        Label(self.class(), self.name())
    }

    /// `witness_checkorder()`.
    pub(super) fn checkorder(&mut self, exclusive: bool) -> Call {
        if !self.enrolled() {
            return Ok(());
        }
        if !self.kind().is_spin() && self.me().critnest != 0 {
            let (label, loc) = (self.label(), self.loc());
            kpanic!("acquiring blockable sleep lock with spinlock or critical section held {label} @ {loc}");
        }
        let lock = self.lock;
        let held = self.me().held[lock];
        if held.depth == 0 || self.mutated(Mutation::BlindWitness) {
            return Ok(());
        }
        match (held.exclusive, exclusive) {
            (true, false) => kpanic!("excl->share"),
            (false, true) => kpanic!("share->excl"),
            _ => Ok(()),
        }
    }

    /// `witness_lock()`.
    pub(super) fn witness_lock(&mut self, exclusive: bool) {
        if self.enrolled() {
            let lock = self.lock;
            let held = &mut self.me().held[lock];
            if held.depth == 0 {
                held.exclusive = exclusive;
            }
            held.depth += 1;
        }
    }

    /// `witness_unlock()`.
    pub(super) fn witness_unlock(&mut self, exclusive: bool) -> Call {
        if !self.enrolled() {
            return Ok(());
        }
        let (label, loc, lock) = (self.label(), self.loc(), self.lock);
        let held = &mut self.me().held[lock];
        if held.depth == 0 {
            kpanic!("lock {label} not locked @ {loc}");
        }
        match (held.exclusive, exclusive) {
            (true, false) => kpanic!("excl->ushare"),
            (false, true) => kpanic!("share->uexcl"),
            _ => held.depth -= 1,
        }
        Ok(())
    }

    /// `witness_upgrade()` and `witness_downgrade()`.
    pub(super) fn witness_change(&mut self, what: &str, exclusive: bool) -> Call {
        if !self.enrolled() {
            return Ok(());
        }
        let (label, loc, lock) = (self.label(), self.loc(), self.lock);
        let held = &mut self.me().held[lock];
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
        let held = self.me().held[lock];
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
