//! Rows 29 to 33: what all locks check when they are made and destroyed.

use super::tools::{mtx, rm, rw, sx};
use super::{End, Row, case, not_applicable, row};
use freebsd_sys::ffi;
use freebsd_sys::mutex::{Mtx, Mtxf};
use freebsd_sys::rmlock::{Rm, Rmf};
use freebsd_sys::rwlock::{Rw, Rwf};
use freebsd_sys::sx::{Sx, Sxf};
use std::sync::Arc;

pub(super) fn rows() -> Vec<Row> {
    vec![
        row(
            29,
            [
                case("mtx_init with an unknown option", || _ = mtx(c"m", Mtxf::from_bits_retain(0x8000))).invariants(
                    "Assertion (opts & ~(MTX_SPIN | MTX_QUIET | MTX_RECURSE | MTX_NOWITNESS | MTX_DUPOK | \
                     MTX_NOPROFILE | MTX_NEW)) == 0 failed at %s:%d",
                ),
                case("rw_init_flags with an unknown option", || _ = rw(c"rw", Rwf::from_bits_retain(0x8000)))
                    .invariants(
                        "Assertion (opts & ~(RW_DUPOK | RW_NOPROFILE | RW_NOWITNESS | RW_QUIET | RW_RECURSE | \
                         RW_NEW)) == 0 failed at %s:%d",
                    ),
                case("sx_init_flags with an unknown option", || _ = sx(c"sx", Sxf::from_bits_retain(0x8000)))
                    .invariants(
                        "Assertion (opts & ~(SX_QUIET | SX_RECURSE | SX_NOWITNESS | SX_DUPOK | SX_NOPROFILE | \
                         SX_NEW)) == 0 failed at %s:%d",
                    ),
            ],
        ),
        row(
            30,
            [
                case("mtx_init twice", || mtx(c"m", Mtxf::DEF).init(c"again", Mtxf::DEF))
                    .invariants("lock \"again\" %p already initialized"),
                case("rw_init twice", || rw(c"rw", Rwf::empty()).init(c"again", Rwf::empty()))
                    .invariants("lock \"again\" %p already initialized"),
                case("sx_init twice", || sx(c"sx", Sxf::empty()).init(c"again", Sxf::empty()))
                    .invariants("lock \"again\" %p already initialized"),
                case("rm_init twice", || rm(c"rm", Rmf::empty()).init(c"again", Rmf::empty()))
                    .invariants("lock \"again\" %p already initialized"),
                case("mtx_init twice with MTX_NEW", || mtx(c"m", Mtxf::DEF).init(c"again", Mtxf::NEW)),
            ],
        ),
        not_applicable(31, "lock_init with an unknown class", "a class is a value of an enum here: there is no other"),
        row(
            32,
            [
                case("mtx_destroy of zeroed memory", || Arc::new(Mtx::zeroed()).destroy())
                    .invariants("lock %p is not initialized"),
                case("rw_destroy of zeroed memory", || Arc::new(Rw::zeroed()).destroy())
                    // Zero is no unlocked rwlock's word.
                    .invariants("rw lock %p not unlocked"),
                case("sx_destroy of zeroed memory", || Arc::new(Sx::zeroed()).destroy())
                    .invariants("sx lock still held"),
                case("rm_destroy of zeroed memory", || Arc::new(Rm::zeroed()).destroy())
                    .invariants("lock %p is not initialized"),
            ],
        ),
        row(
            33,
            [
                case("mtx_init of misaligned memory", || {
                    let room = [0usize; 8];
                    let word = room.as_ptr().wrapping_byte_add(25);
                    // SAFETY: never followed: the address is refused first.
                    unsafe { ffi::_mtx_init(word, c"m".as_ptr(), std::ptr::null(), 0) };
                })
                .invariants("_mtx_init: mtx_lock not aligned for m: %p")
                // The processor would let it pass; a reference may not be misaligned.
                .bare(End::Panic("page fault (fault virtual address %p, freebsd_sys::mutex::Mtx)".to_owned())),
                case("rw_init of misaligned memory", || {
                    let room = [0usize; 8];
                    let word = room.as_ptr().wrapping_byte_add(25);
                    // SAFETY: never followed: the address is refused first.
                    unsafe { ffi::locks::_rw_init_flags(word, c"rw".as_ptr(), 0) };
                })
                .invariants("_rw_init_flags: rw_lock not aligned for rw: %p")
                .bare(End::Panic("page fault (fault virtual address %p, freebsd_sys::rwlock::Rw)".to_owned())),
                case("sx_init of misaligned memory", || {
                    let room = [0usize; 8];
                    let at = room.as_ptr().wrapping_byte_add(1).cast();
                    // SAFETY: never followed: the address is refused first.
                    unsafe { ffi::locks::sx_init_flags(at, c"sx".as_ptr(), 0) };
                })
                .invariants("sx_init_flags: sx_lock not aligned for sx: %p")
                .bare(End::Panic("page fault (fault virtual address %p, freebsd_sys::sx::Sx)".to_owned())),
                case("lockinit of misaligned memory", || {
                    let room = [0usize; 8];
                    let at = room.as_ptr().wrapping_byte_add(1).cast();
                    // SAFETY: never followed: the address is refused first.
                    unsafe { ffi::locks::lockinit(at, 0, c"lk".as_ptr(), 0, 0) };
                })
                .invariants("lockinit: lockmgr not aligned for lk: %p")
                .bare(End::Panic("page fault (fault virtual address %p, freebsd_sys::lockmgr::Lock)".to_owned())),
            ],
        ),
    ]
}
