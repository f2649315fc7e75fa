//! What lockmgr(9) says where the table has the words of sx(9), and WITNESS of an interlock: cases of rows 48, 50 to 54 and 73.

use super::tools::{as_idle_thread, lockmgr, mtx};
use super::{Case, End, case};
use freebsd_sys::lockmgr::{EBUSY, Lock, ka, lk};
use freebsd_sys::mutex::Mtxf;
use freebsd_sys::sleep::{self, How};

/// Something done to a lock.
type Op = fn(&Lock);

/// `body` with a fresh lock.
fn with(name: &str, flags: u32, body: Op) -> Case {
    case(name, move || body(&lockmgr(c"lk", flags)))
}

/// The cases that lockmgr(9) adds to a row.
pub(super) fn cases(row: u16) -> Vec<Case> {
    match row {
        48 => contexts(),
        50 => recursion(),
        51 => not_owned(),
        52 => not_shared(),
        53 => asserts(),
        54 => destroyed(),
        73 => interlocks(),
        _ => Vec::new(),
    }
}

/// Row 48.
fn contexts() -> Vec<Case> {
    vec![
        case("lockmgr by the idle thread", || {
            let lock = lockmgr(c"lk", 0);
            as_idle_thread(move || {
                lock.lockmgr(lk::SHARED);
                lock.lockmgr(lk::RELEASE);
            });
        })
        .invariants("__lockmgr_args: idle thread %p on lockmgr lk @ %s:%d"),
    ]
}

/// Row 50.
fn recursion() -> Vec<Case> {
    vec![
        with("LK_EXCLUSIVE twice", 0, |lock| {
            lock.lockmgr(lk::EXCLUSIVE);
            lock.lockmgr(lk::EXCLUSIVE);
        })
        .always("lockmgr_xlock_hard: recursing on non recursive lockmgr %p @ %s:%d"),
        with("LK_EXCLUSIVE twice with LK_CANRECURSE", 0, |lock| {
            lock.lockmgr(lk::EXCLUSIVE);
            lock.lockmgr(lk::EXCLUSIVE | lk::CANRECURSE);
            lock.lockmgr(lk::RELEASE);
            lock.lockmgr(lk::RELEASE);
        }),
        with("LK_EXCLUSIVE twice with LK_NOWAIT", 0, |lock| {
            lock.lockmgr(lk::EXCLUSIVE);
            assert_eq!(lock.lockmgr(lk::EXCLUSIVE | lk::NOWAIT), EBUSY);
            lock.lockmgr(lk::RELEASE);
        }),
        with("LK_DRAIN of one's own lock", 0, |lock| {
            lock.lockmgr(lk::EXCLUSIVE);
            lock.lockmgr(lk::DRAIN);
        })
        .always("__lockmgr_args: draining lk with the lock held @ %s:%d"),
        with("LK_DOWNGRADE of a recursed lock", lk::CANRECURSE, |lock| {
            lock.lockmgr(lk::EXCLUSIVE);
            lock.lockmgr(lk::EXCLUSIVE);
            lock.lockmgr(lk::DOWNGRADE);
        })
        .always("__lockmgr_args: downgrade a recursed lockmgr lk @ %s:%d")
        .witness("downgrade of recursed lock (lockmgr) lk r=1 @ %s:%d"),
    ]
}

/// Row 51.
fn not_owned() -> Vec<Case> {
    vec![
        with("LK_DOWNGRADE of a lock that is not held", 0, |lock| _ = lock.lockmgr(lk::DOWNGRADE))
            .invariants("Lock lk not exclusively locked @ %s:%d")
            // It waits for the lock's word to become the caller's.
            .bare(End::Livelock),
        with("lockmgr_disown of a lock that is not held", 0, |lock| lock.disown())
            .invariants("Lock lk not exclusively locked @ %s:%d"),
        with("lockmgr_disown of a recursed lock", lk::CANRECURSE, |lock| {
            lock.lockmgr(lk::EXCLUSIVE);
            lock.lockmgr(lk::EXCLUSIVE);
            lock.disown();
        })
        .always("_lockmgr_disown: disown a recursed lockmgr @ %s:%d"),
    ]
}

/// Row 52.
fn not_shared() -> Vec<Case> {
    vec![
        with("LK_RELEASE of a free lock", 0, |lock| _ = lock.lockmgr(lk::RELEASE))
            .without_witness("Lock lk not locked @ %s:%d")
            .witness("Lock (lockmgr) lk not locked @ %s:%d."),
        with("LK_TRYUPGRADE of an exclusive lock", 0, |lock| {
            lock.lockmgr(lk::EXCLUSIVE);
            lock.lockmgr(lk::TRYUPGRADE);
            lock.lockmgr(lk::RELEASE);
        })
        .without_witness("Lock lk not sharelocked @ %s:%d")
        .witness("Lock (lockmgr) lk exclusively locked @ %s:%d."),
    ]
}

/// Row 53.
fn asserts() -> Vec<Case> {
    let owned = |name: &str, what: u32| {
        case(name, move || {
            let lock = lockmgr(c"lk", lk::CANRECURSE);
            lock.lockmgr(lk::EXCLUSIVE);
            if what & ka::NOTRECURSED != 0 {
                lock.lockmgr(lk::EXCLUSIVE);
                lock.assert(what);
                lock.lockmgr(lk::RELEASE);
            } else {
                lock.assert(what);
            }
            lock.lockmgr(lk::RELEASE);
        })
    };
    vec![
        owned("KA_UNLOCKED of one's own lock", ka::UNLOCKED).invariants("Lock lk exclusively locked @ %s:%d"),
        owned("KA_XLOCKED and KA_NOTRECURSED of a recursed lock", ka::XLOCKED | ka::NOTRECURSED)
            .invariants("Lock lk recursed @ %s:%d"),
        owned("KA_LOCKED and KA_RECURSED of a lock held once", ka::LOCKED | ka::RECURSED)
            .invariants("Lock lk not recursed @ %s:%d"),
        owned("no assertion's number of lockmgr", 64).invariants("Unknown lockmgr assertion: 64 @ %s:%d"),
        with("lockmgr without an operation", 0, |lock| _ = lock.lockmgr(0))
            .always("__lockmgr_args: unknown lockmgr request 0x0"),
        with("LK_RELEASE and LK_NOWAIT", 0, |lock| {
            lock.lockmgr(lk::EXCLUSIVE);
            lock.lockmgr(lk::RELEASE | lk::NOWAIT);
        })
        .invariants("__lockmgr_args: Invalid flags in regard of the operation desired @ %s:%d"),
        with("LK_SHARED and LK_EXCLUSIVE", 0, |lock| _ = lock.lockmgr(lk::SHARED | lk::EXCLUSIVE))
            .always("__lockmgr_args: unknown lockmgr request 0x280000")
            .invariants("__lockmgr_args: Invalid requested operation @ %s:%d"),
    ]
}

/// Row 54.
fn destroyed() -> Vec<Case> {
    vec![
        with("lockdestroy of a held lock", 0, |lock| {
            lock.lockmgr(lk::EXCLUSIVE);
            lock.destroy();
        })
        .invariants("lockmgr still held"),
    ]
}

/// Row 73.
fn interlocks() -> Vec<Case> {
    vec![
        case("LK_INTERLOCK with a mutex that is not held", || {
            let (held, lock, i) = (lockmgr(c"held", 0), lockmgr(c"lk", 0), mtx(c"i", Mtxf::DEF));
            held.lockmgr(lk::EXCLUSIVE);
            lock.lockmgr_interlock(lk::EXCLUSIVE, i.object());
        })
        .without_witness("mutex i not owned at %s:%d")
        .witness("interlock (sleep mutex) i not locked @ %s:%d")
        .bare(End::Panic("page fault".to_owned())),
        case("LK_INTERLOCK with a mutex that is held once", || {
            let (lock, i) = (lockmgr(c"lk", 0), mtx(c"i", Mtxf::DEF));
            i.lock();
            lock.lockmgr_interlock(lk::EXCLUSIVE, i.object());
            lock.lockmgr(lk::RELEASE);
        }),
        case("a lockmgr lock as the lock of a sleep", || {
            let lock = lockmgr(c"lk", 0);
            lock.lockmgr(lk::EXCLUSIVE);
            sleep::sleep(8, Some(lock.object()), How::default(), "nap");
        })
        .always("lockmgr locks do not support sleep interlocking"),
    ]
}
