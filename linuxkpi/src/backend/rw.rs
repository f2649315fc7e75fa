//! `rwlock_t` made of rwlock(9).

use super::name;
use crate::Flags;
use crate::mapping::{How, RwBackend};
use freebsd_sys::rwlock::{Rw, Rwf};

/// LinuxKPI's rwlock: rwlock(9), NOWITNESS, nothing around it; no pin either.
#[repr(transparent)]
#[derive(Debug)]
pub struct RwDef(Rw);

// SAFETY: rwlock(9) excludes writers and lets readers share.
unsafe impl RwBackend for RwDef {
    const ZEROED: Self = Self(Rw::zeroed());

    fn init(&self) {
        self.0.init(name::RW, Rwf::NOWITNESS | Rwf::NEW);
    }
    fn read_lock(&self, how: How) -> Flags {
        self.0.rlock_at(how.loc);
        Flags(0)
    }
    fn read_trylock(&self, how: How) -> Option<Flags> {
        self.0.try_rlock_at(how.loc).then_some(Flags(0))
    }
    fn read_unlock(&self, how: How, _flags: Flags) {
        self.0.runlock_at(how.loc);
    }
    fn write_lock(&self, how: How) -> Flags {
        self.0.wlock_at(how.loc);
        Flags(0)
    }
    fn write_trylock(&self, how: How) -> Option<Flags> {
        self.0.try_wlock_at(how.loc).then_some(Flags(0))
    }
    fn write_unlock(&self, how: How, _flags: Flags) {
        self.0.wunlock_at(how.loc);
    }
    fn is_locked(&self) -> bool {
        self.0.is_locked()
    }
}
