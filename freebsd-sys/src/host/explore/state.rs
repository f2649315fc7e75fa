//! A machine's state as a number, for a search that does not go on from where it has been before.
//!
//! Two executions in the same state, with the same events left in their budgets, have the same futures. So everything that what happens
//! next may depend on goes into the number: the live part of each stack (all threads are suspended, with their registers on it), the
//! structures of CPUs and threads, the kernel's queues, what the program's threads have allocated, malloc(9)'s arena, the units' static
//! memory and what else the caller says they share. Bytes go in as they are: one too many makes the search longer, one too few might
//! lose a verdict. If threads touch memory that is in none of these, there is no state ([`Explorer::look_beyond`]).
//!
//! Left out is what WITNESS remembers of lock orders, what the console says, the list of locks that descriptions are made with, how often
//! threads were switched to, and what service threads have on their stacks while they wait in their loops. What is left of the
//! budget is told apart.
//!
//! Words that a function never reads again stay on the stack and tell states apart that are the same; so what calls leave below the
//! live part is cleared at each boundary, and slots of the heap when they are handed out.

use super::{Explorer, explorer};
use crate::host::tsan;
use crate::machine::{Budget, Machine};
use crate::thread;
use core::arch::asm;

/// Four sums, so that the processor works on four words at once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hash {
    lanes: [u64; 4],
}

/// A state, as far as 128 bits can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct State(u128);

const ODD: u64 = 0x9e37_79b9_7f4a_7c15;

impl Hash {
    pub(crate) fn new() -> Self {
        Self { lanes: [1, 2, 3, 4] }
    }

    #[inline(always)]
    fn mix(lane: &mut u64, word: u64) {
        // One to one for each word, and for each lane.
        *lane = (lane.rotate_left(29) ^ word).wrapping_mul(ODD);
    }

    pub(crate) fn word(&mut self, word: u64) {
        Self::mix(&mut self.lanes[0], word);
    }

    pub(crate) fn address(&mut self, at: usize) {
        self.word(at as u64);
    }

    pub(crate) fn pointer<T: ?Sized>(&mut self, at: *const T) {
        self.address(at.cast::<()>() as usize);
    }

    /// The bytes of `thing`.
    pub(crate) fn bytes_of<T>(&mut self, thing: &T) {
        // SAFETY: the memory of a reference.
        unsafe { self.memory(core::ptr::from_ref(thing) as usize, size_of::<T>()) };
    }

    /// The bytes of `things`, and how many there are.
    pub(crate) fn bytes_of_all<T>(&mut self, things: &[T]) {
        self.word(things.len() as u64);
        // SAFETY: the memory of a slice.
        unsafe { self.memory(things.as_ptr() as usize, size_of_val(things)) };
    }

    /// `size` bytes at `at`, whatever they are.
    ///
    /// # Safety
    ///
    /// They can be read, and nobody writes them meanwhile.
    pub(crate) unsafe fn memory(&mut self, at: usize, size: usize) {
        let mut lanes = self.lanes;
        let quads = size / 32;
        for quad in 0..quads {
            for (i, lane) in lanes.iter_mut().enumerate() {
                // SAFETY: within `size` bytes.
                Self::mix(lane, unsafe { load(at + quad * 32 + i * 8) });
            }
        }
        let mut done = quads * 32;
        while done + 8 <= size {
            // SAFETY: within `size` bytes.
            Self::mix(&mut lanes[done / 8 % 4], unsafe { load(at + done) });
            done += 8;
        }
        while done < size {
            // SAFETY: within `size` bytes.
            Self::mix(&mut lanes[3], unsafe { load_byte(at + done) });
            done += 1;
        }
        self.lanes = lanes;
    }

    pub(crate) fn finish(self) -> u128 {
        let fold = |a: u64, b: u64| {
            let product = u128::from(a ^ ODD) * u128::from(b ^ 0xe703_7ed1_a0b4_28db);
            (product ^ product >> 64) as u64
        };
        let [a, b, c, d] = self.lanes;
        let (low, high) = (fold(a, b.rotate_left(32)), fold(c, d.rotate_left(32)));
        let (x, y) = (fold(low, high ^ a), fold(high ^ c, low ^ d));
        u128::from(x) << 64 | u128::from(y)
    }
}

/// Eight bytes that may be padding, which Rust's own reads must not meet.
///
/// # Safety
///
/// They can be read.
#[inline(always)]
unsafe fn load(at: usize) -> u64 {
    let word;
    // SAFETY: the caller's promise.
    unsafe { asm!("mov {}, [{}]", out(reg) word, in(reg) at, options(pure, readonly, nostack, preserves_flags)) };
    word
}

/// [`load`] of one byte.
///
/// # Safety
///
/// As for that.
#[inline(always)]
unsafe fn load_byte(at: usize) -> u64 {
    let word: u64;
    // SAFETY: the caller's promise.
    unsafe {
        asm!("movzx {:e}, byte ptr [{}]", out(reg) word, in(reg) at, options(pure, readonly, nostack, preserves_flags))
    };
    word
}

/// The state of `m`, whose threads are all suspended, and what is left of its budget. `None` if the threads have touched memory that nobody
/// knows of.
pub(crate) fn state(m: &Machine) -> Option<(State, Budget)> {
    let x = explorer(m);
    let heap = x.heap.as_ref().filter(|heap| !x.beyond && heap.holds_all())?;
    let mut hash = Hash::new();
    let h = &mut hash;
    x.state(h);
    m.state(h);
    for cpu in &m.cpus {
        cpu.state(h);
    }
    for td in m.threads() {
        td.state_of(h, &raw const x.steps);
        if td.is_parked() || td.state() == thread::State::Inactive {
            continue;
        }
        // SAFETY: between transitions, on the engine's host thread.
        let Some(context) = (unsafe { td.context.get() }) else { continue };
        let (start, end) = context.live();
        h.address(start);
        // What an idle thread has on its stack belongs to no execution; but a filter may have interrupted it.
        let end = if td.is_idle() && td.intr_nesting_level.get() == 0 { start + size_of::<usize>() } else { end };
        // SAFETY: within the live part of a suspended context's stack, which begins with where it goes on.
        unsafe { h.memory(start, end - start) };
    }
    heap.state(h);
    for memory in &x.memory {
        // SAFETY: the execution has leased the units, and was given the rest; all threads are suspended.
        unsafe { h.memory(memory.start, memory.len()) };
    }
    Some((State(hash.finish()), x.budget))
}

impl Explorer {
    /// Notes whether what the transition has touched is part of a state; what nobody writes (a channel to sleep on may be) need not be.
    pub(super) fn look_beyond(&mut self, m: &Machine) {
        if !self.beyond {
            let within = |at: usize| {
                self.memory.iter().any(|memory| memory.contains(&at))
                    || self.heap.as_ref().is_some_and(|heap| heap.contains(at))
                    || m.contains(at)
                    || tsan::read_only(at)
            };
            self.beyond = !self.transition.footprint.addresses().all(within);
        }
    }
}

impl Explorer {
    fn state(&self, h: &mut Hash) {
        for word in [self.running, self.idle, self.forced as usize, self.passed as usize] {
            h.address(word);
        }
    }
}
