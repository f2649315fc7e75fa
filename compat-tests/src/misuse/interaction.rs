//! locking(9), the first table: what may be taken while holding what. A row is what is held, a case what is wanted; each lock is
//! free, so that the kernel only says what it checks beforehand.
//!
//! | have \ want | spin mtx | mutex/rw | rmlock | sleep rm | sx, lockmgr | sleep |
//! |---|---|---|---|---|---|---|
//! | spin mtx | ok | no | no | no | no | no |
//! | mutex/rw | ok | ok | ok | no | no | no |
//! | rmlock | ok | ok | ok | no | no | no |
//! | sleep rm | ok | ok | ok | as a writer | as a writer | as a writer |
//! | sx, lockmgr | ok | ok | ok | ok | ok | ok |
//!
//! What is forbidden and not noticed: reading a sleepable rmlock where one may not sleep, for WITNESS takes its readers for those
//! of any rmlock.

use super::tools::{lockmgr, mtx, rm, rw, sx};
use super::{Case, Id, Row, case};
use freebsd_sys::lockmgr::lk;
use freebsd_sys::mutex::Mtxf;
use freebsd_sys::rmlock::Rmf;
use freebsd_sys::rwlock::Rwf;
use freebsd_sys::sleep;
use freebsd_sys::sx::Sxf;

/// A primitive that a piece of code wants.
#[derive(Clone, Copy)]
pub(super) struct Want {
    pub(super) name: &'static str,
    /// What WITNESS calls it: class and name. Nothing for a sleep.
    pub(super) class: &'static str,
    /// The first words of what it says to an idle thread.
    pub(super) idle: &'static str,
    /// Takes it and gives it back.
    pub(super) take: fn(),
}

/// Where sleeping is prohibited.
pub(super) const PROHIBITED: &str = "sleepq_add: td %p to sleep on wchan %p with sleeping prohibited";

/// All that one may want, each lock named `w`.
pub(super) const WANTS: [Want; 13] = [
    Want {
        name: "spin mtx",
        class: "spin mutex",
        idle: "",
        take: || {
            let w = mtx(c"w", Mtxf::SPIN);
            w.lock_spin();
            w.unlock_spin();
        },
    },
    Want {
        name: "mutex",
        class: "sleep mutex",
        idle: "mtx_lock() by idle thread %p on sleep mutex",
        take: || {
            let w = mtx(c"w", Mtxf::DEF);
            w.lock();
            w.unlock();
        },
    },
    Want {
        name: "rw, read",
        class: "rw",
        idle: "rw_rlock() by idle thread %p on rwlock",
        take: || {
            let w = rw(c"w", Rwf::empty());
            w.rlock();
            w.runlock();
        },
    },
    Want {
        name: "rw, write",
        class: "rw",
        idle: "rw_wlock() by idle thread %p on rwlock",
        take: || {
            let w = rw(c"w", Rwf::empty());
            w.wlock();
            w.wunlock();
        },
    },
    Want {
        name: "rm, read",
        class: "rm",
        idle: "rm_rlock() by idle thread %p on rmlock",
        take: || rm(c"w", Rmf::empty()).read(|| ()),
    },
    Want {
        name: "rm, write",
        class: "rm",
        idle: "rm_wlock() by idle thread %p on rmlock",
        take: || {
            let w = rm(c"w", Rmf::empty());
            w.wlock();
            w.wunlock();
        },
    },
    Want {
        name: "sleep rm, read",
        class: "sleepable rm",
        idle: "rm_rlock() by idle thread %p on rmlock",
        take: || rm(c"w", Rmf::SLEEPABLE).read(|| ()),
    },
    Want {
        name: "sleep rm, write",
        class: "sleepable rm",
        idle: "rm_wlock() by idle thread %p on rmlock",
        take: || {
            let w = rm(c"w", Rmf::SLEEPABLE);
            w.wlock();
            w.wunlock();
        },
    },
    Want {
        name: "sx, shared",
        class: "sx",
        idle: "sx_slock() by idle thread %p on sx",
        take: || {
            let w = sx(c"w", Sxf::empty());
            w.slock();
            w.sunlock();
        },
    },
    Want {
        name: "sx, exclusive",
        class: "sx",
        idle: "sx_xlock() by idle thread %p on sx",
        take: || {
            let w = sx(c"w", Sxf::empty());
            w.xlock();
            w.xunlock();
        },
    },
    Want {
        name: "lockmgr, shared",
        class: "lockmgr",
        idle: "__lockmgr_args: idle thread %p on lockmgr",
        take: || {
            let w = lockmgr(c"w", 0);
            w.lockmgr(lk::SHARED);
            w.lockmgr(lk::RELEASE);
        },
    },
    Want {
        name: "lockmgr, exclusive",
        class: "lockmgr",
        idle: "__lockmgr_args: idle thread %p on lockmgr",
        take: || {
            let w = lockmgr(c"w", 0);
            w.lockmgr(lk::EXCLUSIVE);
            w.lockmgr(lk::RELEASE);
        },
    },
    Want { name: "sleep", class: "", idle: "", take: || _ = sleep::pause("nap", 1) },
];

impl Want {
    pub(super) fn is_spin(self) -> bool {
        self.name == "spin mtx"
    }

    pub(super) fn is_sleep(self) -> bool {
        self.name == "sleep"
    }

    /// Whether WITNESS takes it for a lock that one may sleep with.
    fn is_sleepable(self) -> bool {
        matches!(self.class, "sx" | "lockmgr") || self.name == "sleep rm, write"
    }

    /// WITNESS's words for taking it in a critical section.
    pub(super) fn critical(self) -> String {
        let held = "acquiring blockable sleep lock with spinlock or critical section held";
        format!("{held} ({}) w @ %s:%d", self.class)
    }
}

/// What is held: a lock named `h`.
#[derive(Clone, Copy)]
struct Have {
    id: &'static str,
    class: &'static str,
    exclusive: bool,
    /// Runs the body with it.
    hold: fn(&dyn Fn()),
}

const HAVES: [Have; 12] = [
    Have {
        id: "spin-mtx",
        class: "spin mutex",
        exclusive: true,
        hold: |body| {
            let h = mtx(c"h", Mtxf::SPIN);
            h.lock_spin();
            body();
            h.unlock_spin();
        },
    },
    Have {
        id: "mutex",
        class: "sleep mutex",
        exclusive: true,
        hold: |body| {
            let h = mtx(c"h", Mtxf::DEF);
            h.lock();
            body();
            h.unlock();
        },
    },
    Have {
        id: "rw-read",
        class: "rw",
        exclusive: false,
        hold: |body| {
            let h = rw(c"h", Rwf::empty());
            h.rlock();
            body();
            h.runlock();
        },
    },
    Have {
        id: "rw-write",
        class: "rw",
        exclusive: true,
        hold: |body| {
            let h = rw(c"h", Rwf::empty());
            h.wlock();
            body();
            h.wunlock();
        },
    },
    Have { id: "rm-read", class: "rm", exclusive: false, hold: |body| rm(c"h", Rmf::empty()).read(body) },
    Have {
        id: "rm-write",
        class: "rm",
        exclusive: true,
        hold: |body| {
            let h = rm(c"h", Rmf::empty());
            h.wlock();
            body();
            h.wunlock();
        },
    },
    Have {
        id: "sleep-rm-read",
        class: "sleepable rm",
        exclusive: false,
        hold: |body| rm(c"h", Rmf::SLEEPABLE).read(body),
    },
    Have {
        id: "sleep-rm-write",
        class: "sleepable rm",
        exclusive: true,
        hold: |body| {
            let h = rm(c"h", Rmf::SLEEPABLE);
            h.wlock();
            body();
            h.wunlock();
        },
    },
    Have {
        id: "sx-shared",
        class: "sx",
        exclusive: false,
        hold: |body| {
            let h = sx(c"h", Sxf::empty());
            h.slock();
            body();
            h.sunlock();
        },
    },
    Have {
        id: "sx-exclusive",
        class: "sx",
        exclusive: true,
        hold: |body| {
            let h = sx(c"h", Sxf::empty());
            h.xlock();
            body();
            h.xunlock();
        },
    },
    Have {
        id: "lockmgr-shared",
        class: "lockmgr",
        exclusive: false,
        hold: |body| {
            let h = lockmgr(c"h", 0);
            h.lockmgr(lk::SHARED);
            body();
            h.lockmgr(lk::RELEASE);
        },
    },
    Have {
        id: "lockmgr-exclusive",
        class: "lockmgr",
        exclusive: true,
        hold: |body| {
            let h = lockmgr(c"h", 0);
            h.lockmgr(lk::EXCLUSIVE);
            body();
            h.lockmgr(lk::RELEASE);
        },
    },
];

impl Have {
    /// Whether one may sleep with it.
    fn is_sleepable(self) -> bool {
        matches!(self.class, "sx" | "lockmgr") || self.id == "sleep-rm-write"
    }

    /// A cell of the table.
    fn want(self, want: Want) -> Case {
        let cell = case(want.name, move || (self.hold)(&want.take));
        let Self { class, .. } = self;
        if self.id == "spin-mtx" && !want.is_spin() && !want.is_sleep() {
            return cell.witness(&want.critical());
        }
        if self.is_sleepable() {
            return cell;
        }
        if want.is_sleep() {
            let how = if self.exclusive { "exclusive" } else { "shared" };
            let lines = [
                "Sleeping on \"nap\" with the following non-sleepable locks held:".to_owned(),
                format!("{how} {class} h (h) r = 0 (%p) locked @ %s:%d"),
            ];
            let cell = cell.prints(&lines);
            return if self.id == "sleep-rm-read" { cell.invariants(PROHIBITED) } else { cell };
        }
        if want.is_sleepable() {
            return cell.prints(&[
                "lock order reversal: (sleepable after non-sleepable)".to_owned(),
                format!(" 1st %p h (h, {class}) @ %s:%d"),
                format!(" 2nd %p w (w, {}) @ %s:%d", want.class),
            ]);
        }
        cell
    }
}

pub(super) fn rows() -> Vec<Row> {
    HAVES.map(|have| Row { id: Id::Name(have.id), cases: WANTS.map(|want| have.want(want)).into() }).into()
}
