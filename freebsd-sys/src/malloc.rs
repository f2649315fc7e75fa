//! malloc(9) and free(9): part of the kernel, since they assert.
//!
//! In `explore` memory comes from an arena that a machine owns: the same addresses in every execution, nothing reused within
//! one, so that a use after free, a double free and a leak are exact. In `smp`, where runs are long, it comes from the host.
//!
//! References: kern/kern_malloc.c, malloc(9).

use crate::atomic::Guarded;
use crate::cpu::{self, aside, key, machine, touch};
use crate::host::explore::state::Hash;
use crate::lock::{ChainLock, Loc};
use crate::machine::{Engine, Verdict};
use crate::panic::{kassert, kpanic};
use crate::thread::curthread;
use bitflags::bitflags;
use std::alloc::{Layout, alloc, alloc_zeroed, dealloc};

bitflags! {
    /// `M_*`.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct M: u32 {
        /// `M_NOWAIT`: returns null rather than sleep.
        const NOWAIT = 0x0001;
        /// `M_WAITOK`: may sleep.
        const WAITOK = 0x0002;
        /// `M_ZERO`.
        const ZERO = 0x0100;
    }
}

/// Bytes of the arena; a scenario that needs more is told what a kernel out of memory is.
const ARENA: usize = 4 << 20;
const ALIGN: usize = 16;
/// Freed memory's pattern, UMA's trash.
const TRASH: u8 = 0xde;

#[derive(Debug, Clone, Copy)]
struct Block {
    start: usize,
    size: usize,
    freed: bool,
    what: &'static str,
}

/// A machine's memory.
#[derive(Debug)]
pub(crate) struct Arena {
    lock: ChainLock,
    /// (lock)
    inner: Guarded<Inner>,
    engine: Engine,
}

#[derive(Debug)]
struct Inner {
    base: *mut u8,
    used: usize,
    /// In order of address.
    blocks: Vec<Block>,
}

impl Arena {
    pub(crate) fn new(engine: Engine) -> Self {
        Self {
            lock: ChainLock::new(),
            inner: Guarded::new(Inner { base: core::ptr::null_mut(), used: 0, blocks: Vec::new() }),
            engine,
        }
    }

    pub(crate) fn reset(&self) {
        self.lock.unlock_raw();
        // SAFETY: between executions nobody else is running.
        let inner = unsafe { self.inner.get() };
        if self.engine == Engine::Smp {
            for block in &inner.blocks {
                // SAFETY: allocated below with this layout.
                unsafe { dealloc(block.start as *mut u8, layout(block.size)) };
            }
        }
        inner.used = 0;
        inner.blocks.clear();
    }

    /// Whether `at` lies in the arena.
    pub(crate) fn contains(&self, at: usize) -> bool {
        // SAFETY: `explore` has one host thread.
        let inner = unsafe { self.inner.get() };
        !inner.base.is_null() && at.wrapping_sub(inner.base as usize) < ARENA
    }

    /// What happens next depends on it: see [`mod@crate::host::explore::state`].
    pub(crate) fn state(&self, h: &mut Hash) {
        // SAFETY: (lock) all threads are suspended.
        let inner = unsafe { self.inner.get() };
        h.bytes_of_all(&inner.blocks);
        // SAFETY: what has been handed out lies in the arena.
        unsafe { h.memory(inner.base as usize, if inner.base.is_null() { 0 } else { inner.used }) };
    }

    /// Reports what was allocated and never freed.
    pub(crate) fn leaks(&self) -> Option<String> {
        // SAFETY: (lock) is free: the last thread asks.
        let inner = unsafe { self.inner.get() };
        let mut left = inner.blocks.iter().filter(|block| !block.freed);
        let first = left.next()?;
        let more = left.count();
        Some(format!("memory leak: {} bytes of {} were never freed ({} more)", first.size, first.what, more))
    }

    /// Ends the execution if the access touches freed memory.
    pub(crate) fn check_access(&self, at: usize, size: usize) {
        if self.engine != Engine::Explore {
            return;
        }
        // SAFETY: `explore` has one host thread.
        let inner = unsafe { self.inner.get() };
        let base = inner.base as usize;
        if base == 0 || at < base || at >= base + inner.used {
            return;
        }
        let next = inner.blocks.partition_point(|block| block.start <= at);
        if let Some(block) = next.checked_sub(1).map(|i| inner.blocks[i]) {
            if block.freed && at < block.start + block.size {
                crate::panic::corruption(format_args!("use after free of {} ({size} bytes)", block.what));
            }
            if at + size > block.start + block.size {
                crate::panic::corruption(format_args!("access beyond the end of {} ({size} bytes)", block.what));
            }
        }
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        self.reset();
        // SAFETY: the machine goes, and nobody uses its memory.
        let inner = unsafe { self.inner.get() };
        if !inner.base.is_null() {
            // SAFETY: allocated in `alloc_at` with this layout.
            unsafe { dealloc(inner.base, layout(ARENA)) };
        }
    }
}

fn layout(size: usize) -> Layout {
    Layout::from_size_align(size.max(1), ALIGN).expect("a sane size")
}

/// `malloc()` of `what` (the malloc type's name). Null if memory is short.
///
/// # Panics
///
/// Rows 106 and 108 of the misuse table (INVARIANTS). [`M::WAITOK`] that finds no memory ends the run as an error.
#[track_caller]
pub fn malloc(size: usize, what: &'static str, flags: M) -> *mut u8 {
    if !cpu::step("malloc", 0) {
        return core::ptr::null_mut();
    }
    if flags.contains(M::WAITOK) {
        kassert!(curthread().intr_nesting_level.get() == 0, "malloc(M_WAITOK) in interrupt context");
        if !crate::thread::thread_can_sleep() {
            crate::epoch::trace_list(curthread());
        }
        kassert!(crate::thread::thread_can_sleep(), "malloc(M_WAITOK) with sleeping prohibited");
    }
    kassert!(curthread().critnest.get() == 0, "malloc: called with spinlock or critical section held");
    if flags.contains(M::WAITOK) {
        // The check is the zone allocator's, which comes after malloc(9)'s own and knows the size and not the type.
        let zone = size.checked_next_power_of_two().unwrap_or(0).max(16);
        crate::witness::warn(None, Loc::caller(), format_args!("uma_zalloc_debug: zone \"malloc-{zone}\""));
    }
    let at = alloc_at(size, what, flags);
    if at.is_null() && flags.contains(M::WAITOK) {
        // The kernel would wait for memory. Here none comes back, so that a use after free shows.
        let mib = ARENA >> 20;
        crate::host::end(Verdict::Error(format!(
            "malloc(M_WAITOK) of {size} bytes: the {mib} MiB of an execution are used up, or too few"
        )));
    }
    at
}

fn alloc_at(size: usize, what: &'static str, flags: M) -> *mut u8 {
    // A size that no memory has, such as a negative one: nothing below may round it up to a small one.
    if size > isize::MAX as usize / 2 {
        return core::ptr::null_mut();
    }
    let arena = &machine().malloc;
    arena.lock.lock();
    // SAFETY: (lock) is held.
    let inner = unsafe { arena.inner.get() };
    // SAFETY: plain allocations; the arena is ARENA bytes.
    let at = unsafe {
        if arena.engine == Engine::Smp {
            alloc_zeroed(layout(size))
        } else {
            if inner.base.is_null() {
                inner.base = aside(|| alloc(layout(ARENA)));
            }
            // A gap after each block makes a small overrun visible.
            let need = size.next_multiple_of(ALIGN) + ALIGN;
            if inner.base.is_null() || inner.used + need > ARENA {
                core::ptr::null_mut()
            } else {
                let at = inner.base.add(inner.used);
                inner.used += need;
                at.write_bytes(if flags.contains(M::ZERO) { 0 } else { TRASH }, size);
                at
            }
        }
    };
    touch(key::ARENA, 1, true);
    if !at.is_null() {
        aside(|| inner.blocks.push(Block { start: at as usize, size, freed: false, what }));
    }
    arena.lock.unlock();
    at
}

/// `free()`; null is fine.
///
/// # Panics
///
/// Row 107 of the misuse table (INVARIANTS). A double free or a foreign pointer ends the run as corruption.
#[expect(
    clippy::not_unsafe_ptr_arg_deref,
    reason = "nothing but the start of a live block of this machine's table is touched; any other address is reported"
)]
pub fn free(at: *mut u8, what: &'static str) {
    if !cpu::step("free", 0) || at.is_null() {
        return;
    }
    kassert!(curthread().critnest.get() == 0, "free: called with spinlock or critical section held");
    let arena = &machine().malloc;
    arena.lock.lock();
    // SAFETY: (lock) is held.
    let inner = unsafe { arena.inner.get() };
    let found = inner.blocks.iter().position(|block| block.start == at as usize);
    let state = found.map(|i| inner.blocks[i].freed);
    if let (Some(i), Some(false)) = (found, state) {
        if arena.engine == Engine::Smp {
            let block = inner.blocks.swap_remove(i);
            machine().locks_in_freed(block.start, block.size);
            // SAFETY: allocated above with this layout.
            unsafe { dealloc(at, layout(block.size)) };
        } else {
            touch(at as usize, inner.blocks[i].size.max(1), true);
            inner.blocks[i].freed = true;
            machine().locks_in_freed(at as usize, inner.blocks[i].size);
            // SAFETY: the block is in the arena.
            unsafe { at.write_bytes(TRASH, inner.blocks[i].size) };
        }
    }
    arena.lock.unlock();
    match state {
        Some(false) => {}
        Some(true) => crate::panic::corruption(format_args!("double free of {what}")),
        None => kpanic!("free: address {:#x}({:#x}) has not been allocated", at as usize, at as usize & !0xfff),
    }
}

/// Size of the allocation at `at`, as realloc and `ksize` need it.
pub fn allocation_size(at: *const u8) -> Option<usize> {
    let arena = &machine().malloc;
    arena.lock.lock();
    // SAFETY: (lock) is held.
    let size = unsafe { arena.inner.get() }
        .blocks
        .iter()
        .find(|block| block.start == at as usize && !block.freed)
        .map(|block| block.size);
    arena.lock.unlock();
    size
}
