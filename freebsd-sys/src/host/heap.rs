//! An allocator whose addresses depend only on what is allocated, not on the order in which things were freed before.
//!
//! The reduced search compares addresses that one execution touched with those of another. malloc(3) hands out what was
//! freed last, so the same allocation of the same program gets another address when the threads of the execution before ended in another
//! order. Here, what kernel threads allocate while the search runs gets the lowest free slot of its size. Everything else goes to
//! the system's allocator.
//!
//! Programs that search exhaustively install it: `#[global_allocator] static HEAP: Heap = Heap;`.

use super::explore::state::Hash;
use core::alloc::{GlobalAlloc, Layout};
use core::cell::Cell;
use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};
use std::alloc::System;

/// See the module.
#[derive(Debug)]
pub struct Heap;

/// Sizes are powers of two from here.
const SMALLEST: usize = 16;
const CLASSES: usize = 12;
/// Bytes that the slots of one size have.
const CLASS_BYTES: usize = 1 << 20;
const ARENA_BYTES: usize = CLASSES * CLASS_BYTES;
/// Host threads that search at one time; further ones use the system's allocator.
const ARENAS: usize = 32;
const WORDS: usize = CLASS_BYTES / SMALLEST / 64;

/// One size's slots.
struct Class {
    used: [u64; WORDS],
    /// No slot is free in words before this one.
    from: usize,
    /// No slot was ever in use in words from this one.
    top: usize,
}

struct Arena {
    lock: AtomicBool,
    taken: AtomicBool,
    /// Something did not fit, and is with the system.
    full: AtomicBool,
    classes: AtomicPtr<[Class; CLASSES]>,
}

static ARENA: [Arena; ARENAS] = [const {
    Arena {
        lock: AtomicBool::new(false),
        taken: AtomicBool::new(false),
        full: AtomicBool::new(false),
        classes: AtomicPtr::new(ptr::null_mut()),
    }
}; ARENAS];
/// Where no process has memory: the middle of the address space, far from what is mapped below as from what is above.
const NOWHERE: usize = 1 << (usize::BITS - 1);

/// Where the arenas' slots are; [`NOWHERE`] before the first search, since memory may lie at low addresses.
static BASE: AtomicUsize = AtomicUsize::new(NOWHERE);

thread_local! {
    /// The arena that allocations of this host thread come from now; `ARENAS` for none.
    static CURRENT: Cell<usize> = const { Cell::new(ARENAS) };
}

/// An arena for the searching host thread.
#[derive(Debug)]
pub(crate) struct Lease(usize);

impl Lease {
    /// `None` if all are taken or the host has no memory.
    pub(crate) fn new() -> Option<Self> {
        let at = ARENA.iter().position(|arena| !arena.taken.swap(true, Ordering::Acquire))?;
        let lease = Self(at);
        let arena = &ARENA[at];
        arena.full.store(false, Ordering::Relaxed);
        if arena.classes.load(Ordering::Relaxed).is_null() {
            let layout = Layout::new::<[Class; CLASSES]>();
            // SAFETY: the layout is not empty, and all zeroes is a class of which nothing is used.
            let classes = unsafe { System.alloc_zeroed(layout) };
            arena.classes.store(classes.cast(), Ordering::Release);
        }
        (!arena.classes.load(Ordering::Relaxed).is_null() && base() != NOWHERE).then_some(lease)
    }

    /// Allocations come from the arena, or (`false`) from the system.
    pub(crate) fn used(&self, on: bool) {
        CURRENT.set(if on { self.0 } else { ARENAS });
    }
}

impl Lease {
    /// Whether all that was allocated from it since it was taken lies in it.
    pub(crate) fn holds_all(&self) -> bool {
        !ARENA[self.0].full.load(Ordering::Relaxed)
    }

    /// Whether `at` lies in the arena.
    pub(crate) fn contains(&self, at: usize) -> bool {
        at.wrapping_sub(BASE.load(Ordering::Relaxed) + self.0 * ARENA_BYTES) < ARENA_BYTES
    }

    /// What lies in the slots in use, and which they are: see [`mod@super::explore::state`].
    pub(crate) fn state(&self, h: &mut Hash) {
        let base = BASE.load(Ordering::Relaxed) + self.0 * ARENA_BYTES;
        ARENA[self.0].with(|classes| {
            for (n, class) in classes.iter().enumerate() {
                for (at, &word) in class.used[..class.top].iter().enumerate() {
                    h.word(word);
                    let mut left = word;
                    while left != 0 {
                        let slot = at * 64 + left.trailing_zeros() as usize;
                        left &= left - 1;
                        // SAFETY: a slot that was handed out.
                        unsafe { h.memory(base + n * CLASS_BYTES + slot * (SMALLEST << n), SMALLEST << n) };
                    }
                }
            }
        });
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.used(false);
        ARENA[self.0].taken.store(false, Ordering::Release);
    }
}

/// Allocations of `body` come from the system.
pub(crate) fn aside<T>(body: impl FnOnce() -> T) -> T {
    let current = CURRENT.replace(ARENAS);
    let result = body();
    CURRENT.set(current);
    result
}

/// Where the slots are, reserved when first asked for; [`NOWHERE`] if that failed.
fn base() -> usize {
    let base = BASE.load(Ordering::Acquire);
    if base != NOWHERE {
        return base;
    }
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: a fresh anonymous mapping.
    let at =
        unsafe { libc::mmap(ptr::null_mut(), ARENAS * ARENA_BYTES, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0) };
    if at == libc::MAP_FAILED {
        return NOWHERE;
    }
    match BASE.compare_exchange(NOWHERE, at as usize, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => at as usize,
        Err(other) => {
            // SAFETY: mapped above, and nobody knows it.
            unsafe { libc::munmap(at, ARENAS * ARENA_BYTES) };
            other
        }
    }
}

impl Arena {
    /// Runs `body` on the arena's classes, alone.
    fn with<T>(&self, body: impl FnOnce(&mut [Class; CLASSES]) -> T) -> T {
        while self.lock.swap(true, Ordering::Acquire) {
            core::hint::spin_loop();
        }
        // SAFETY: set before the arena was first used and never again; (lock) is held.
        let result = body(unsafe { &mut *self.classes.load(Ordering::Acquire) });
        self.lock.store(false, Ordering::Release);
        result
    }
}

impl Class {
    /// The lowest free of `slots` slots.
    fn take(&mut self, slots: usize) -> Option<usize> {
        let words = slots.div_ceil(64);
        let word = (self.from..words).find(|&word| self.used[word] != u64::MAX)?;
        let slot = word * 64 + self.used[word].trailing_ones() as usize;
        if slot >= slots {
            return None;
        }
        self.from = word;
        self.top = self.top.max(word + 1);
        self.used[word] |= 1 << (slot % 64);
        Some(slot)
    }

    fn give(&mut self, slot: usize) {
        self.used[slot / 64] &= !(1 << (slot % 64));
        self.from = self.from.min(slot / 64);
    }
}

// SAFETY: a slot is handed out once until it is given back, is as large and as aligned as its class, which is no smaller
// than the layout asks for; the rest is the system's allocator.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let current = CURRENT.get();
        let class = layout.size().max(layout.align()).max(SMALLEST).next_power_of_two().ilog2() - SMALLEST.ilog2();
        if current < ARENAS && (class as usize) < CLASSES {
            let class = class as usize;
            let slots = CLASS_BYTES / (SMALLEST << class);
            if let Some(slot) = ARENA[current].with(|classes| classes[class].take(slots)) {
                let offset = current * ARENA_BYTES + class * CLASS_BYTES + slot * (SMALLEST << class);
                let at = ptr::with_exposed_provenance_mut::<u8>(BASE.load(Ordering::Relaxed) + offset);
                // What was there before is no part of the state that the search compares.
                // SAFETY: the slot is nobody else's.
                unsafe { at.write_bytes(0, SMALLEST << class) };
                return at;
            }
        }
        if current < ARENAS {
            ARENA[current].full.store(true, Ordering::Relaxed);
        }
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        let offset = (at as usize).wrapping_sub(BASE.load(Ordering::Relaxed));
        if offset >= ARENAS * ARENA_BYTES {
            // SAFETY: the caller's promise; it is not ours.
            return unsafe { System.dealloc(at, layout) };
        }
        let class = offset % ARENA_BYTES / CLASS_BYTES;
        let slot = offset % CLASS_BYTES / (SMALLEST << class);
        ARENA[offset / ARENA_BYTES].with(|classes| classes[class].give(slot));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_free_slot_is_next() {
        let lease = Lease::new().expect("an arena");
        let layout = Layout::new::<[u64; 5]>();
        let alloc = || {
            lease.used(true);
            // SAFETY: the layout is not empty.
            let at = unsafe { Heap.alloc(layout) };
            lease.used(false);
            at
        };
        let slots: Vec<_> = (0..100).map(|_| alloc()).collect();
        assert!(slots.windows(2).all(|pair| pair[0] < pair[1]) && slots[0].addr().is_multiple_of(64));
        for at in [70, 3, 5] {
            // SAFETY: allocated above.
            unsafe { Heap.dealloc(slots[at], layout) };
        }
        assert_eq!([alloc(), alloc(), alloc()], [slots[3], slots[5], slots[70]]);
        for at in slots {
            // SAFETY: allocated above.
            unsafe { Heap.dealloc(at, layout) };
        }
    }
}
