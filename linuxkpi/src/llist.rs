//! linux/llist.h: a list to which any context may add without a lock.
//!
//! # Memory ordering
//!
//! Adding is a release, taking all an acquire: whoever takes a node sees what its owner wrote before adding it. Nodes are only
//! taken all together, so the compare-and-swap cannot mistake a node that left and came back.

use freebsd_sys::atomic::{OwnedPtr, Word};

/// `struct llist_node`: 8 bytes.
#[repr(C)]
#[derive(Debug)]
pub struct LlistNode {
    pub(crate) next: OwnedPtr<LlistNode>,
}

/// `struct llist_head`: 8 bytes; zeroed memory is an empty list.
#[repr(C)]
#[derive(Debug)]
pub struct LlistHead {
    first: Word,
}

impl Default for LlistHead {
    fn default() -> Self {
        Self::new()
    }
}

impl LlistHead {
    /// `LLIST_HEAD`.
    pub const fn new() -> Self {
        Self { first: Word::new(0) }
    }

    /// `llist_add()`: whether the list was empty.
    ///
    /// # Safety
    ///
    /// `node` is valid, on no list, and the list's until it is taken off.
    pub unsafe fn add(&self, node: *mut LlistNode) -> bool {
        let mut first = self.first.read();
        loop {
            // SAFETY: the caller's promise.
            unsafe { (*node).next.set(first as *mut LlistNode) };
            match self.first.fcmpset_rel(first, node as usize) {
                Ok(()) => return first == 0,
                Err(now) => first = now,
            }
        }
    }

    /// `llist_del_all()`: the first node, newest first.
    pub fn del_all(&self) -> *mut LlistNode {
        let mut first = self.first.read();
        while first != 0 {
            match self.first.fcmpset_acq(first, 0) {
                Ok(()) => break,
                Err(now) => first = now,
            }
        }
        first as *mut LlistNode
    }

    /// Whether `node` was the last one added and nothing was taken off since.
    pub(crate) fn begins_with(&self, node: *const LlistNode) -> bool {
        self.first.read() == node as usize
    }

    /// `llist_empty()`.
    pub fn is_empty(&self) -> bool {
        self.first.read() == 0
    }
}

/// `llist_reverse_order()`.
///
/// # Safety
///
/// `node` heads a list that is the caller's alone.
pub unsafe fn llist_reverse_order(mut node: *mut LlistNode) -> *mut LlistNode {
    let mut reversed = core::ptr::null_mut();
    while !node.is_null() {
        // SAFETY: the caller's promise.
        let next = unsafe { (*node).next.get() };
        // SAFETY: the list is the caller's alone, and `next` was read before it is overwritten.
        unsafe { (*node).next.set(reversed) };
        reversed = node;
        node = next;
    }
    reversed
}
