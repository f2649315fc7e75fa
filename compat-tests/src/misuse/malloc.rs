//! Rows 106 to 109: malloc(9), free(9), zone(9).

use super::{Row, case, row};
use ::linuxkpi::mapping::linuxkpi_today::LinuxkpiToday;
use ::linuxkpi::slab::{Gfp, KmemCache};
use freebsd_sys::critical::{critical_enter, critical_exit, spinlock_enter, spinlock_exit};
use freebsd_sys::malloc::{M, free, malloc};
use freebsd_sys::thread::{thread_no_sleeping, thread_sleeping_ok};

pub(super) fn rows() -> Vec<Row> {
    vec![
        row(
            106,
            [
                case("malloc(M_NOWAIT) in a critical section", || {
                    critical_enter();
                    let at = malloc(8, "t", M::NOWAIT);
                    critical_exit();
                    free(at, "t");
                })
                .invariants("malloc: called with spinlock or critical section held"),
                case("malloc(M_WAITOK) with interrupts off", || {
                    spinlock_enter();
                    let at = malloc(8, "t", M::WAITOK);
                    spinlock_exit();
                    free(at, "t");
                })
                .invariants("malloc: called with spinlock or critical section held"),
            ],
        ),
        row(
            107,
            [case("free in a critical section", || {
                let at = malloc(8, "t", M::NOWAIT);
                critical_enter();
                free(at, "t");
                critical_exit();
            })
            .invariants("free: called with spinlock or critical section held")],
        ),
        row(
            108,
            [
                case("malloc(M_WAITOK) where sleeping is prohibited", || {
                    thread_no_sleeping();
                    let at = malloc(8, "t", M::WAITOK);
                    thread_sleeping_ok();
                    free(at, "t");
                })
                .invariants("malloc(M_WAITOK) with sleeping prohibited"),
                case("malloc(M_NOWAIT) where sleeping is prohibited", || {
                    thread_no_sleeping();
                    let at = malloc(8, "t", M::NOWAIT);
                    thread_sleeping_ok();
                    free(at, "t");
                }),
            ],
        ),
        row(
            109,
            [case("an object of a zone, allocated in a critical section", || {
                let cache = KmemCache::new("t", 8, None);
                critical_enter();
                let at = cache.alloc(Gfp::ATOMIC);
                critical_exit();
                // SAFETY: it comes from this cache, and nobody else has it.
                unsafe { cache.free::<LinuxkpiToday>(at) };
            })
            .invariants("uma_zalloc_arg: called with spinlock or critical section held")],
        ),
    ]
}
