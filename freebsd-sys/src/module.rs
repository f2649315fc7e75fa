//! What a kernel module's variables are in an emulation that runs several kernels in one process: [`ModuleData`] for a
//! `static`, [`Dpcpu`] for `DPCPU_DEFINE` (pcpu(9)).
//!
//! Beside them what such variables are made of: `Once`, for what its first user makes, and `Kept`, for what lives as long as the
//! execution.
//!
//! The definition is a Rust `static` with a number, its slot; each machine, or each CPU, has a table of values by slot. A look
//! is one load and no lock: it lies on the fast path of a lock.

use crate::atomic::{Guarded, RawWord, Shared32};
use crate::cpu::{self, curcpu, machine};
use crate::critical;
use crate::lock::ChainLock;
use crate::thread::curthread;
use core::fmt;
use core::marker::PhantomData;
use std::any::Any;

/// Most definitions of a process.
const MAXSLOTS: usize = 64;

/// Number of definitions used so far in this process.
static SLOTS: RawWord = RawWord::new(0);

/// A definition's number: 0 until first used, then the same for good.
#[derive(Debug)]
struct Slot(RawWord);

impl Slot {
    /// Gives the definition its number.
    #[cold]
    #[inline(never)]
    fn number(&self) -> usize {
        match self.0.read() {
            0 => {
                let fresh = SLOTS.fetchadd(1) + 1;
                assert!(fresh < MAXSLOTS, "at most {} definitions of ModuleData and Dpcpu", MAXSLOTS - 1);
                // Machines of several host threads may race here: whoever comes second uses the first one's number.
                match self.0.fcmpset_acq(0, fresh) {
                    Ok(()) => fresh,
                    Err(first) => first,
                }
            }
            slot => slot,
        }
    }
}

/// The values of all definitions, of one machine or of one CPU.
pub(crate) struct Values {
    /// Each value's address, 0 until it is made.
    table: [RawWord; MAXSLOTS],
    lock: ChainLock,
    /// (lock) Owns the values.
    owned: Guarded<Vec<Box<dyn Any>>>,
}

impl fmt::Debug for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Values")
    }
}

impl Values {
    pub(crate) fn new() -> Self {
        Self { table: [const { RawWord::new(0) }; MAXSLOTS], lock: ChainLock::new(), owned: Guarded::new(Vec::new()) }
    }

    pub(crate) fn reset(&self) {
        self.lock.unlock_raw();
        // SAFETY: between executions nobody else is running, and no reference of the last one is left.
        let owned = unsafe { self.owned.get() };
        if !owned.is_empty() {
            // Not its memory either: what an execution left in it would be in the next one's states.
            *owned = Vec::new();
            self.table.iter().for_each(|value| value.set(0));
        }
    }

    #[inline(always)]
    fn get<T: Any + Default>(&'static self, slot: &Slot) -> &'static T {
        let number = slot.0.read();
        // SAFETY: `number` gives out no other numbers than the table has; 0, of a definition not used yet, has no value.
        let mut value = unsafe { self.table.get_unchecked(number) }.load_acq() as *const T;
        if value.is_null() {
            value = self.make(slot.number());
        }
        // SAFETY: a slot belongs to one definition, so the value is a `T`; it lives until the machine is reset.
        unsafe { &*value }
    }

    /// Makes the value of `slot`, unless somebody else just did.
    #[cold]
    #[inline(never)]
    fn make<T: Any + Default>(&self, slot: usize) -> *const T {
        self.lock.lock_raw();
        let mut value = self.table[slot].read();
        if value == 0 {
            let made = Box::new(T::default());
            value = core::ptr::from_ref::<T>(&made) as usize;
            // SAFETY: (lock). The boxed value does not move when the table grows.
            unsafe { self.owned.get() }.push(made);
            self.table[slot].store_rel(value);
        }
        self.lock.unlock_raw();
        value as *const T
    }
}

/// State that a kernel module keeps per machine: what a `static` is in a real kernel.
///
/// The definition is a `static`; each machine has its own value, made by `Default` when first asked for, and made anew for
/// each execution.
#[derive(Debug)]
pub struct ModuleData<T> {
    slot: Slot,
    marker: PhantomData<fn() -> T>,
}

impl<T: Any + Default + Send + Sync> ModuleData<T> {
    /// A definition.
    pub const fn new() -> Self {
        Self { slot: Slot(RawWord::new(0)), marker: PhantomData }
    }

    /// The current machine's value.
    ///
    /// The reference stays valid for the execution. `T` is shared by all CPUs of the machine and guards itself.
    #[inline(always)]
    pub fn get(&self) -> &'static T {
        machine().modules.get(&self.slot)
    }
}

impl<T: Any + Default + Send + Sync> Default for ModuleData<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// `DPCPU_DEFINE`: a variable of which each CPU has its own, made by `Default` when first asked for, and made anew for each
/// execution.
#[derive(Debug)]
pub struct Dpcpu<T> {
    slot: Slot,
    marker: PhantomData<fn() -> T>,
}

impl<T: Any + Default + Send + Sync> Dpcpu<T> {
    /// A definition.
    pub const fn new() -> Self {
        Self { slot: Slot(RawWord::new(0)), marker: PhantomData }
    }

    /// `DPCPU_PTR`: this CPU's value. It stays this CPU's only as long as the caller cannot migrate.
    #[inline(always)]
    pub fn get(&self) -> &'static T {
        curcpu().dynamic.get(&self.slot)
    }

    /// `DPCPU_ID_PTR`: the value of CPU `cpu`.
    ///
    /// # Panics
    ///
    /// A Rust panic if the machine has no such CPU.
    pub fn of(&self, cpu: usize) -> &'static T {
        machine().cpus[cpu].dynamic.get(&self.slot)
    }
}

impl<T: Any + Default + Send + Sync> Default for Dpcpu<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// Whether something was made that its first user makes, which may take boundaries: the others wait.
#[derive(Debug)]
pub(crate) struct Once(Shared32);

impl Once {
    const BEGUN: u32 = 1;
    const MADE: u32 = 2;

    pub(crate) const fn new() -> Self {
        Self(Shared32::new(0))
    }

    /// Nobody has made it, or begun to.
    #[inline]
    pub(crate) fn is_fresh(&self) -> bool {
        self.0.get() == 0
    }

    /// Somebody has made it.
    #[inline]
    fn is_made(&self) -> bool {
        self.0.get() == Self::MADE
    }

    /// Between executions: it is to be made anew.
    pub(crate) fn reset(&self) {
        self.0.reset();
    }

    /// Makes it with `make`, unless somebody else has or does. False if the machine stopped meanwhile.
    #[inline]
    pub(crate) fn ensure(&self, make: impl FnOnce()) -> bool {
        self.is_made() || self.make_or_wait(make)
    }

    /// [`Once::ensure`] of what blocks on nothing: whoever makes it is not preempted meanwhile, or a thread of a better priority would
    /// spin on its CPU until it is there.
    #[inline]
    pub(crate) fn ensure_unpreempted(&self, make: impl FnOnce()) {
        if !self.is_made() {
            let td = curthread();
            critical::enter(td);
            self.make_or_wait(make);
            critical::exit(td);
        }
    }

    #[cold]
    fn make_or_wait(&self, make: impl FnOnce()) -> bool {
        if self.0.fcmpset(0, Self::BEGUN).is_ok() {
            make();
            self.0.set(Self::MADE);
        }
        while self.0.get() != Self::MADE {
            cpu::observe(self.0.as_ptr().cast(), 4);
            if !cpu::spinwait() {
                return false;
            }
        }
        true
    }
}

/// Things that others refer to until the execution is over, whatever else is kept meanwhile.
pub(crate) struct Kept<T> {
    lock: ChainLock,
    /// (lock)
    things: Guarded<Vec<Box<T>>>,
}

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self { lock: ChainLock::new(), things: Guarded::new(Vec::new()) }
    }
}

impl<T> Kept<T> {
    /// Keeps what `make` makes of the number of those that are kept already. Not in an interrupt that may come while it is made.
    pub(crate) fn keep(&'static self, make: impl FnOnce(usize) -> Box<T>) -> &'static T {
        self.lock.lock();
        // SAFETY: (lock). The box does not move when the table grows, and stays until the execution is over, as `ModuleData`'s own
        // references do.
        let thing = unsafe {
            let things = self.things.get();
            things.push(make(things.len()));
            &*core::ptr::from_ref::<T>(&things[things.len() - 1])
        };
        self.lock.unlock();
        thing
    }
}
