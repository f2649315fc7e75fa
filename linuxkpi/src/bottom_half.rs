//! linux/bottom_half.h.

use crate::mapping::LockMapping;

/// `local_bh_disable()`.
pub fn local_bh_disable<M: LockMapping>() {
    M::local_bh_disable();
}

/// `local_bh_enable()`.
pub fn local_bh_enable<M: LockMapping>() {
    M::local_bh_enable();
}
