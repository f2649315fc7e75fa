//! Sequence counts whose readers block on the writer's turnstile and lend it their priority.
//!
//! # State
//!
//! The count is in the object; who writes, and whether anybody waits, is in a table of the machine, keyed by the count's
//! address. Readers never write into the object: it may be read-only, type-stable memory that was freed, or a copy. Zeroed
//! memory is a valid, even count.
//!
//! # Algorithm
//!
//! Begin: record the owner, then make the count odd. End: make it even, light fence, and if somebody registered, broadcast under
//! the chain lock; then give the slot back. A reader that finds the count odd spins while the owner runs. When the owner does
//! not run, it registers in the slot under the chain lock, heavy fence, looks again (still odd, same slot, same owner, not
//! running) and blocks on the slot's turnstile, lending its priority.
//!
//! A count's slot is the first free one from where its address points, and is looked for in that order.
//!
//! # Memory ordering
//!
//! The two fences are a Dekker pair ([`cpu::fence_heavy`]): either the writer sees the registration, or the reader sees the even
//! count. The reader pays: it blocks.
//!
//! # What a reader that may not block does
//!
//! With `td_critnest` raised, blocking would panic, so it can only lend and spin: it re-checks, having lent nothing, since
//! turnstile(9) lends only to waiters. A writer that was preempted on the reader's CPU then never runs: the livelock is
//! Linux's own rule broken (a reader that cannot be preempted by its writer), see the scenario `seq-reader-in-critical`.

use crate::Loc;
use crate::mapping::SeqcountBackend;
use freebsd_sys::atomic::{OwnedUsize, Word};
use freebsd_sys::cpu;
use freebsd_sys::lock::{Lo, LockClass, LockObject};
use freebsd_sys::module::ModuleData;
use freebsd_sys::panic::panic_args;
use freebsd_sys::seqc::Seqc;
use freebsd_sys::thread::{Thread, curthread};
use freebsd_sys::turnstile;

/// Writers at one time, on one machine.
const SLOTS: usize = 64;

/// A writer at work.
#[derive(Debug)]
struct Slot {
    /// Address of the count; 0 if free.
    key: Word,
    /// The writer.
    owner: OwnedUsize,
    /// (turnstile chain) Whether a reader registered; writers look without it.
    waiters: Word,
    /// What the turnstile is keyed by.
    object: LockObject,
}

impl Slot {
    fn owner(&self) -> *mut Thread {
        self.owner.get() as *mut Thread
    }

    /// Wakes who registered. A registration is forgotten here only: one that comes late, as the slot is given to the next writer, must
    /// not be lost to it.
    #[cold]
    #[inline(never)]
    fn wake(&self) {
        turnstile::chain_lock();
        self.waiters.set(0);
        // Who announced itself may have found that it need not wait.
        if turnstile::exists(&self.object) {
            turnstile::broadcast(&self.object, turnstile::SHARED);
        }
        turnstile::chain_unlock();
    }
}

#[derive(Debug)]
struct Table {
    slots: [Slot; SLOTS],
}

impl Default for Table {
    fn default() -> Self {
        Self {
            slots: [const {
                Slot {
                    key: Word::new(0),
                    owner: OwnedUsize::new(0),
                    waiters: Word::new(0),
                    object: LockObject::initialized(LockClass::MtxSleep, c"lnxseqcount", 0, Lo::empty()),
                }
            }; SLOTS],
        }
    }
}

static TABLE: ModuleData<Table> = ModuleData::new();

impl Table {
    /// All slots, in the order in which one is looked for.
    #[inline(always)]
    fn probe(&self, key: usize) -> impl Iterator<Item = &Slot> {
        let start = key / align_of::<TurnstileCount>();
        (start..start + SLOTS).map(|at| &self.slots[at % SLOTS])
    }
}

/// The slot that holds `key`.
#[inline(always)]
fn find(key: usize) -> Option<&'static Slot> {
    TABLE.get().probe(key).find(|slot| slot.key.load_acq() == key)
}

/// A count under `seq_turnstile`.
#[repr(transparent)]
#[derive(Debug)]
pub struct TurnstileCount(Seqc);

impl TurnstileCount {
    fn key(&self) -> usize {
        core::ptr::from_ref(self) as usize
    }

    /// Waits until the count may have become even.
    #[cold]
    fn wait(&self) {
        let Some(slot) = find(self.key()) else {
            // Between the odd count and the slot lies the writer's own step; it runs.
            self.spin();
            return;
        };
        let owner = slot.owner();
        if core::ptr::eq(owner, curthread()) {
            panic_args(format_args!("read_seqcount_begin: the writer of the sequence count reads it"));
        }
        if owner.is_null() {
            self.spin();
            return;
        }
        // SAFETY: threads are type-stable.
        let running = || unsafe { (*owner).still_runs() };
        if running() || curthread().critnest.get() != 0 {
            // SAFETY: threads are type-stable: only the state word is watched.
            unsafe { (*owner).observe_running() };
            self.spin();
            return;
        }
        turnstile::trywait();
        slot.waiters.store_rel(1);
        // ORDERING: pairs with the light fence in `write_end`.
        cpu::fence_heavy();
        if self.0.peek() & 1 != 0 && slot.key.load_acq() == self.key() && slot.owner() == owner && !running() {
            turnstile::wait(&slot.object, owner, turnstile::SHARED);
        } else {
            turnstile::cancel();
        }
    }

    fn spin(&self) {
        // `peek` notes the count, so the wait ends when it changes.
        if self.0.peek() & 1 != 0 {
            cpu::spinwait();
        }
    }
}

// SAFETY: the count decides whether a read was torn.
unsafe impl SeqcountBackend for TurnstileCount {
    const ZEROED: Self = Self(Seqc::new());

    fn init(&self) {
        self.0.set(0);
    }

    #[inline]
    fn write_begin(&self, loc: Loc) {
        if !cpu::step("write_seqcount_begin", 0) {
            return;
        }
        let mut slots = TABLE.get().probe(self.key());
        let slot = slots.find(|slot| slot.key.read() == 0 && slot.key.fcmpset_acq(0, self.key()).is_ok());
        let Some(slot) = slot else {
            panic_args(format_args!("write_seqcount_begin: more than {SLOTS} writers at one time @ {loc}"));
        };
        slot.owner.set(core::ptr::from_ref(curthread()) as usize);
        self.0.sleepable_write_begin_at(loc);
    }

    #[inline]
    fn write_end(&self, loc: Loc) {
        if !cpu::step("write_seqcount_end", 0) {
            return;
        }
        let Some(slot) = find(self.key()) else {
            panic_args(format_args!("write_seqcount_end: no write section is open @ {loc}"));
        };
        if !core::ptr::eq(slot.owner(), curthread()) {
            panic_args(format_args!("write_seqcount_end: another thread's write section @ {loc}"));
        }
        self.0.sleepable_write_end_at(loc);
        // ORDERING: pairs with the heavy fence in `wait`.
        cpu::fence_light();
        if slot.waiters.read() != 0 {
            slot.wake();
        }
        slot.owner.set(0);
        slot.key.store_rel(0);
    }

    fn invalidate(&self) {
        super::seq::invalidate(&self.0);
    }

    fn read_begin(&self, _loc: Loc) -> u32 {
        loop {
            let start = self.0.read_any();
            if start & 1 == 0 || cpu::scheduler_stopped() {
                return start;
            }
            self.wait();
        }
    }

    fn raw_read(&self) -> u32 {
        self.0.read_any()
    }

    fn read_retry(&self, start: u32, loc: Loc) -> bool {
        if start & 1 != 0 {
            if self.0.peek() == start {
                self.wait();
            }
            return true;
        }
        !self.0.consistent_at(start, loc)
    }
}
