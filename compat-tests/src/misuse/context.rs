//! locking(9), the second table: which context allows what. A row is where code runs, a case what it wants.
//!
//! | context | spin mtx | mutex/rw | rmlock | sleep rm | sx | sleep |
//! |---|---|---|---|---|---|---|
//! | interrupt filter | ok | no | no | no | no | no |
//! | interrupt thread | ok | ok | ok | no | no | no |
//! | callout | ok | ok | ok | no | no | no |
//! | direct callout | ok | no | no | no | no | no |
//! | system call | ok | ok | ok | ok | ok | ok |
//!
//! Where sleeping is prohibited, a free sx lock is taken without a word: only who has to wait is noticed. Both are here.

use super::interaction::{PROHIBITED, WANTS, Want};
use super::tools::{in_callout, in_ithread, in_own_filter, rest, rm, settle, sx, thread};
use super::{Case, Id, Row, case};
use freebsd_sys::callout::Cf;
use freebsd_sys::rmlock::Rmf;
use freebsd_sys::sx::Sxf;
use freebsd_sys::userret::userret;
use std::sync::Arc;

/// Runs code in its context.
type Run = fn(Box<dyn Fn() + Send + Sync>);

pub(super) fn rows() -> Vec<Row> {
    let row = |id, cell: &dyn Fn(Want) -> Case, more: Vec<Case>| Row {
        id: Id::Name(id),
        cases: WANTS.map(cell).into_iter().chain(more).collect(),
    };
    vec![
        row("interrupt-filter", &filter, vec![]),
        row("interrupt-thread", &|want| thread_like(want, ithread), contended(ithread)),
        row("callout", &|want| thread_like(want, callout), contended(callout)),
        row("direct-callout", &direct, vec![]),
        row(
            "system-call",
            &|want| {
                case(want.name, move || {
                    (want.take)();
                    userret();
                })
            },
            vec![],
        ),
    ]
}

fn ithread(body: Box<dyn Fn() + Send + Sync>) {
    in_ithread(body);
}

fn callout(body: Box<dyn Fn() + Send + Sync>) {
    in_callout(Cf::empty(), body);
}

/// A filter runs in a critical section, on the stack of the thread that it interrupts.
fn filter(want: Want) -> Case {
    let cell = case(want.name, move || in_own_filter(want.take));
    match want {
        _ if want.is_spin() => cell,
        _ if want.is_sleep() => cell.invariants("mi_switch: switch in a critical section"),
        _ => cell.witness(&want.critical()),
    }
}

/// An ithread or softclock: a thread that may block and not sleep.
fn thread_like(want: Want, run: Run) -> Case {
    let cell = case(want.name, move || run(Box::new(want.take)));
    if want.is_sleep() { cell.invariants(PROHIBITED) } else { cell }
}

/// Locks whose owner is away, wanted where one may not sleep.
fn contended(run: Run) -> Vec<Case> {
    vec![
        case("sx, held by a thread that sleeps", move || {
            let sx = sx(c"w", Sxf::NOWITNESS);
            let owner = Arc::clone(&sx);
            thread("owner", 1, move || {
                owner.xlock();
                rest("owner", 40);
                owner.xunlock();
            });
            settle();
            run(Box::new(move || {
                sx.slock();
                sx.sunlock();
            }));
            rest("owner", 80);
        })
        .invariants(PROHIBITED),
        case("sleep rm, held by a writer that sleeps", move || {
            let rm = rm(c"w", Rmf::SLEEPABLE | Rmf::NOWITNESS);
            let owner = Arc::clone(&rm);
            thread("owner", 1, move || {
                owner.wlock();
                rest("owner", 40);
                owner.wunlock();
            });
            settle();
            run(Box::new(move || rm.read(|| ())));
            rest("owner", 80);
        })
        .invariants(PROHIBITED),
    ]
}

/// A direct callout runs in the clock interrupt; here that comes when every thread waits, so it interrupts an idle one.
fn direct(want: Want) -> Case {
    let cell = case(want.name, move || in_callout(Cf::DIRECT_EXEC, want.take));
    match want {
        _ if want.is_spin() => cell,
        _ if want.is_sleep() => cell.invariants(PROHIBITED),
        _ => cell.invariants(&format!("{} w @ %s:%d", want.idle)),
    }
}
