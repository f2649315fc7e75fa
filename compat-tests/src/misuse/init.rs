//! Rows 29 to 33: what all locks check when they are made and destroyed.

use super::tools::{head, mtx, rm, rw, sx};
use super::{End, Row, case, row};
use freebsd_sys::ffi;
use freebsd_sys::ffi::lock_class::{self, Class};
use freebsd_sys::lock::{Lo, LockClass, LockObject};
use freebsd_sys::mutex::{Mtx, Mtxf};
use freebsd_sys::rmlock::{Rm, Rmf};
use freebsd_sys::rwlock::{Rw, Rwf};
use freebsd_sys::sx::{Sx, Sxf};
use std::sync::Arc;

/// `lock_destroy()`.
fn destroy(object: &LockObject) {
    // SAFETY: the object is alive.
    unsafe { lock_class::lock_destroy(object) };
}

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
                case("rm_init twice of a sleepable lock", || rm(c"rm", Rmf::SLEEPABLE).init(c"again", Rmf::SLEEPABLE))
                    .invariants("lock \"rmlock_sx\" %p already initialized"),
                case("lock_init twice", || {
                    let class = &lock_class::lock_class_rw;
                    let object = head(class, c"x", Lo::empty());
                    // SAFETY: the object is alive.
                    unsafe { lock_class::lock_init(&*object, class, c"again".as_ptr(), std::ptr::null(), 0) };
                })
                .invariants("lock \"again\" %p already initialized"),
                case("mtx_init twice with MTX_NEW", || mtx(c"m", Mtxf::DEF).init(c"again", Mtxf::NEW)),
            ],
        ),
        row(
            31,
            [
                case("lock_init with a class of the caller's own", || {
                    // What the table has is looked for by address, so a copy is no class.
                    static STRANGER: Class = lock_class::lock_class_mtx_sleep;
                    head(&STRANGER, c"x", Lo::empty());
                })
                .invariants("unknown lock class %p"),
                case("lock_init with a class of the caller's own, for WITNESS", || {
                    static STRANGER: Class = lock_class::lock_class_sx;
                    // Without INVARIANTS the zeros in the memory are the spin mutexes' index.
                    let object = head(&STRANGER, c"x", Lo::WITNESS);
                    assert_eq!(object.class(), LockClass::MtxSpin);
                })
                .invariants("unknown lock class %p"),
                case("lock_init with each class that there is", || {
                    for class in lock_class::lock_classes.into_iter().flatten() {
                        destroy(&head(class, c"x", Lo::empty()));
                    }
                }),
                case("lock_init with no class", || {
                    // It is found: the table's unused places are empty, too.
                    destroy(&head(std::ptr::null(), c"x", Lo::empty()));
                }),
            ],
        ),
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
                case("lock_destroy of zeroed memory", || destroy(&LockObject::zeroed()))
                    .invariants("lock %p is not initialized"),
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
