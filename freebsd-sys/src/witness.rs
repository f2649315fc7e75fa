//! witness(4): the order in which locks are taken, and which may be held where.
//!
//! A lock is enrolled when it is initialised, unless it was given NOWITNESS or the machine has no WITNESS; `lo_witness` is then the
//! number of its *witness* plus one. Locks of one type, which is their name unless they are given one, share a witness. A lock that is
//! not enrolled is invisible: every function here returns at once for it.
//!
//! # State
//!
//! | what | where |
//! |---|---|
//! | sleep locks held | `td_sleeplocks`, oldest first |
//! | spin mutexes held | `pc_spinlocks` of the CPU: interrupts are off meanwhile |
//! | the order graph | bit matrices, a row per witness: direct children, descendants, pairs already reported |
//!
//! # Algorithm
//!
//! Before a lock is taken, `checkorder` compares it with what is held, in FreeBSD's order of checks. A lock taken after another
//! becomes its child; taking an ancestor while a descendant is held is a reversal, reported once per pair of witnesses. The
//! descendants are kept transitively closed: an insertion is a few words per ancestor, a test is one bit.
//!
//! Reversals, duplicates and warnings are printed and do not panic (`debug.witness.kdb` is 0); misuse panics.
//!
//! What the checks nearly always find is an order seen before. Such pairs are noted beside the graph (`Known`) and found there without
//! its lock. A lock whose checks come down to that, in a machine that does nothing but check, is taken and released in one go
//! (`may_take`, `is_latest`): all looks come first, then the lock's word changes, then the list. If a look or the word says no,
//! nothing has happened yet, and everything is checked anew the long way, which also says what is wrong.
//!
//! # Memory ordering
//!
//! The graph is guarded by its `ChainLock`, taken raw: it never waits for anything, and no boundary lies inside. The noted pairs are
//! written under it and read without: each is one word that nothing else depends on. The lists of held locks belong to the running
//! thread and CPU.
//!
//! # Deviations from FreeBSD
//!
//! No static order list (`order_lists[]`), no blessed reversals: but for Giant no lock of the real kernel exists here. No stacks
//! under "lock order .. established at". The pool of witnesses is as large as FreeBSD's, where the kernel's own locks take most of it; the
//! pool of list entries grows instead of running out. Each execution starts with an empty graph, so that it does not depend on the ones
//! before; witnesses are numbered in order of enrolment.
//!
//! References: kern/subr_witness.c, sys/lock.h, witness(4).

use crate::atomic::{Guarded, Owned32, Shared32};
use crate::cpu::{self, aside, curcpu, machine};
use crate::giant;
use crate::lock::{ChainLock, Lo, Loc, LockClass, LockInstance, LockObject};
use crate::lock_profile;
use crate::machine::{Engine, Machine};
use crate::panic::{kpanic, kprintf};
use crate::sched;
use crate::thread::{Thread, curthread};
use core::ffi::CStr;
use core::fmt;

/// `LA_*`: what `assert` is to check.
pub mod la {
    /// `LA_UNLOCKED`.
    pub const UNLOCKED: u32 = 0;
    /// `LA_LOCKED`.
    pub const LOCKED: u32 = 1;
    /// `LA_SLOCKED`.
    pub const SLOCKED: u32 = 2;
    /// `LA_XLOCKED`.
    pub const XLOCKED: u32 = 4;
    /// `LA_RECURSED`.
    pub const RECURSED: u32 = 8;
    /// `LA_NOTRECURSED`.
    pub const NOTRECURSED: u32 = 0x10;
}

/// `struct witness`: a name, and what locks of that name have in common.
#[derive(Debug)]
struct Class {
    name: &'static str,
    class: LockClass,
    refcount: u32,
}

/// The order graph: `w_data` and `w_rmatrix`.
#[derive(Debug)]
struct Graph {
    classes: Vec<Class>,
    /// Words per row.
    stride: usize,
    /// Taken right after.
    children: Vec<u64>,
    /// Taken after, transitively.
    descendants: Vec<u64>,
    /// Pairs (and, on the diagonal, duplicates) already reported.
    reversed: Vec<u64>,
}

impl Graph {
    fn bit(&self, matrix: &[u64], row: usize, column: usize) -> bool {
        matrix[row * self.stride + column / 64] >> (column % 64) & 1 != 0
    }

    fn is_child(&self, parent: usize, child: usize) -> bool {
        self.bit(&self.children, parent, child)
    }

    fn is_descendant(&self, ancestor: usize, descendant: usize) -> bool {
        self.bit(&self.descendants, ancestor, descendant)
    }

    /// Marks the pair as reported; false if it was.
    fn mark_reversed(&mut self, a: usize, b: usize) -> bool {
        let fresh = !self.bit(&self.reversed, a, b);
        self.reversed[a * self.stride + b / 64] |= 1 << (b % 64);
        self.reversed[b * self.stride + a / 64] |= 1 << (a % 64);
        fresh
    }

    /// `adopt()`: `child` and what comes after it now come after `parent` and what comes before that.
    fn adopt(&mut self, parent: usize, child: usize) {
        let stride = self.stride;
        self.children[parent * stride + child / 64] |= 1 << (child % 64);
        if self.is_descendant(parent, child) {
            return;
        }
        for ancestor in 0..self.classes.len() {
            if ancestor == parent || self.is_descendant(ancestor, parent) {
                for word in 0..stride {
                    let more = self.descendants[child * stride + word];
                    self.descendants[ancestor * stride + word] |= more;
                }
                self.descendants[ancestor * stride + child / 64] |= 1 << (child % 64);
            }
        }
    }

    /// Adds a row to each matrix, and columns if they ran out.
    fn grow(&mut self) {
        let rows = self.classes.len();
        if rows > self.stride * 64 {
            let (old, new) = (self.stride, self.stride * 2);
            for matrix in [&mut self.children, &mut self.descendants, &mut self.reversed] {
                let mut wide = vec![0; (rows - 1) * new];
                for (from, to) in matrix.chunks(old).zip(wide.chunks_mut(new)) {
                    to[..old].copy_from_slice(from);
                }
                *matrix = wide;
            }
            self.stride = new;
        }
        for matrix in [&mut self.children, &mut self.descendants, &mut self.reversed] {
            matrix.resize(rows * self.stride, 0);
        }
    }
}

/// Witnesses that there are: `WITNESS_COUNT`, of which the first is not used.
const WITNESS_COUNT: usize = 1536 - 1;

/// Orders that the graph has found to be right: pairs of a witness and its child, of which taking the child next needs no further look.
/// A pair lies at one place, which others may take from it; the graph still knows it then.
#[derive(Debug)]
struct Known {
    /// (lock) to write: the pair's numbers as `lo_witness` has them, or 0.
    pairs: [Owned32; KNOWN],
    /// (lock) Whether there may be any.
    any: Owned32,
}

/// Pairs of [`Known`]: a power of two.
const KNOWN: usize = 256;

// A number fits into its half of a pair.
const _: () = assert!(WITNESS_COUNT < 1 << 16);

impl Known {
    const fn new() -> Self {
        Self { pairs: [const { Owned32::new(0) }; KNOWN], any: Owned32::new(0) }
    }

    /// The pair, and where it lies.
    #[inline(always)]
    fn place(&self, parent: usize, child: usize) -> (u32, &Owned32) {
        let pair = (parent << 16 | child) as u32;
        // Fibonacci hashing: the upper bits of the product depend on all bits of the pair.
        (pair, &self.pairs[(pair.wrapping_mul(0x9e37_79b9) >> (32 - KNOWN.ilog2())) as usize])
    }

    /// Whether `child` is known to be a child of `parent`. Needs no lock: a pair is one word, and says nothing about other memory.
    #[inline(always)]
    fn has(&self, parent: usize, child: usize) -> bool {
        let (pair, place) = self.place(parent, child);
        place.get() == pair
    }

    /// (lock) Notes what the graph says.
    fn note(&self, parent: usize, child: usize) {
        let (pair, place) = self.place(parent, child);
        place.set(pair);
        self.any.set(1);
    }

    /// (lock) Asks the graph again from now on.
    fn forget(&self) {
        if self.any.get() != 0 {
            self.pairs.iter().for_each(|pair| pair.set(0));
            self.any.set(0);
        }
    }
}

/// WITNESS of a machine.
#[derive(Debug)]
pub(crate) struct Witness {
    known: Known,
    /// `witness_watch` is -1: there was no witness left for a lock, and nothing is checked any more.
    exhausted: Shared32,
    /// `w_mtx`.
    lock: ChainLock,
    /// (lock)
    graph: Guarded<Graph>,
}

impl Witness {
    pub(crate) fn new() -> Self {
        Self {
            known: Known::new(),
            exhausted: Shared32::new(0),
            lock: ChainLock::new(),
            graph: Guarded::new(Graph {
                classes: Vec::with_capacity(16),
                stride: 1,
                children: Vec::with_capacity(16),
                descendants: Vec::with_capacity(16),
                reversed: Vec::with_capacity(16),
            }),
        }
    }

    /// Forgets an execution; costs nothing but what enrolling writes again.
    pub(crate) fn reset(&self) {
        self.lock.unlock_raw();
        self.exhausted.reset();
        self.known.forget();
        // SAFETY: between executions nobody else is running.
        let graph = unsafe { self.graph.get() };
        graph.classes.clear();
        for matrix in [&mut graph.children, &mut graph.descendants, &mut graph.reversed] {
            matrix.clear();
        }
    }

    /// Runs `body` with the graph locked; it must not panic or print.
    fn with<R>(&self, body: impl FnOnce(&mut Graph) -> R) -> R {
        self.lock.lock_raw();
        // SAFETY: (lock) is held.
        let result = body(unsafe { self.graph.get() });
        self.lock.unlock_raw();
        result
    }
}

/// Whether WITNESS gave up.
fn exhausted() -> bool {
    machine().witness.exhausted.get() != 0
}

/// The witness of an enrolled lock, unless there is nothing to check: not enrolled, the machine has stopped, or WITNESS gave up.
#[inline]
fn enrolled(lock: &LockObject) -> Option<usize> {
    match lock.witness.get() {
        0 => None,
        _ if cpu::scheduler_stopped() || exhausted() => None,
        number => Some(number - 1),
    }
}

/// The list of held locks that `lock` belongs on.
#[expect(
    clippy::mut_from_ref,
    reason = "the list belongs to the running thread, or to its CPU while it cannot leave it"
)]
fn list(lock: &LockObject) -> &mut Vec<LockInstance> {
    // SAFETY: (k) `td_sleeplocks` is the running thread's own; `pc_spinlocks` is this CPU's, and no switch happens before the
    // caller is done with it. No caller keeps the reference while it calls anything that takes another.
    unsafe { if lock.class().is_sleeplock() { curthread().sleeplocks.get() } else { curcpu().spinlocks.get() } }
}

/// Whether one may sleep with `lock` so held. rmlocks are told to WITNESS with `LOP_NOSLEEP` when they are taken for reading: their
/// readers may not sleep, sleepable or not.
fn sleepable(lock: &LockObject, exclusive: bool) -> bool {
    lock.flags().contains(Lo::SLEEPABLE) && (exclusive || lock.class() != LockClass::RmSleepable)
}

/// `find_instance()`: a copy.
fn find(held: &[LockInstance], lock: &LockObject) -> Option<LockInstance> {
    held.iter().rev().find(|held| core::ptr::eq(held.lock, lock)).copied()
}

/// A lock in a message: `(class) name`. Finding a name reads it to its end, so it is left until somebody prints it.
struct Called<'a>(&'a LockObject);

impl fmt::Display for Called<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({}) {}", self.0.class().name(), self.0.name())
    }
}

impl LockInstance {
    pub(crate) fn object(&self) -> &LockObject {
        // SAFETY: a lock that is held is alive: destroying one takes it off the lists, and `freed` leaves a copy.
        unsafe { &*self.lock }
    }

    /// `LI_SLEEPABLE`.
    fn sleepable(&self) -> bool {
        sleepable(self.object(), self.exclusive)
    }

    fn witness(&self) -> usize {
        self.object().witness.get().wrapping_sub(1)
    }
}

/// `witness_list_lock()`'s line about a lock that is held on a machine.
struct Line<'a>(&'a Machine, &'a LockInstance);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(m, held) = self;
        let lock = held.object();
        let how = if held.exclusive { "exclusive" } else { "shared" };
        write!(
            f,
            "{how} {} {} ({}) r = {} ({:p}) locked @ {}",
            lock.class().name(),
            lock.name(),
            // FreeBSD leaves the type out if it is the name, but compares addresses, and a witness has a copy.
            kind_on(m, held.witness()),
            held.recursed,
            held.lock,
            held.loc
        )
    }
}

/// `witness_init()`: enrols `lock`, whose type is `kind`, if it wants to and the machine has WITNESS. Prints row 82 of the misuse table,
/// and WITNESS is off from then on, if there are too many types of locks.
///
/// # Panics
///
/// Row 79 of the misuse table.
pub(crate) fn init(lock: &LockObject, kind: &'static CStr) {
    if !cpu::witness() || exhausted() || !lock.flags().contains(Lo::WITNESS) {
        return;
    }
    let (name, class) = (kind.to_str().unwrap_or("(not text)"), lock.class());
    let enrolled = machine().witness.with(|graph| {
        if let Some(number) = graph.classes.iter().position(|other| other.name == name) {
            let known = &mut graph.classes[number];
            known.refcount += 1;
            if known.refcount == 1 {
                known.class = class;
            }
            return Some((number, known.class));
        }
        if graph.classes.len() == WITNESS_COUNT {
            return None;
        }
        aside(|| graph.classes.push(Class { name, class, refcount: 1 }));
        graph.grow();
        Some((graph.classes.len() - 1, class))
    });
    let Some((number, earlier)) = enrolled else {
        machine().witness.exhausted.set(1);
        kprintf!("WITNESS: unable to allocate a new witness object");
        return;
    };
    if class != earlier {
        kpanic!("lock ({name}) {} does not match earlier ({}) lock", class.name(), earlier.name());
    }
    lock.witness.set(number + 1);
}

/// `witness_destroy()`: the name stays, its class may change once no lock has it.
pub(crate) fn destroy(lock: &LockObject) {
    if let Some(number) = enrolled(lock) {
        machine().witness.with(|graph| {
            if let Some(class) = graph.classes.get_mut(number) {
                class.refcount = class.refcount.saturating_sub(1);
            }
        });
    }
}

/// Whether taking the sleep lock `lock` exclusively, with nothing else to it, is an order that is known to be right, and there is room to
/// record it. The lock may be in no mode in which the caller has it already; `td` is the caller.
#[inline(always)]
pub(crate) fn may_take(lock: &LockObject, td: &Thread) -> bool {
    let number = lock.witness.get();
    if number == 0 {
        return true;
    }
    // SAFETY: (k) the running thread's own list; the reference ends with this function, which calls nothing that takes another.
    let held: &Vec<LockInstance> = unsafe { td.sleeplocks.get() };
    if td.critnest.get() != 0 || held.len() == held.capacity() {
        return false;
    }
    let witness = &machine().witness;
    if witness.exhausted.get() != 0 {
        return false;
    }
    let Some(last) = held.last() else { return true };
    witness.known.has(last.object().witness.get(), number) && held.iter().all(|held| !core::ptr::eq(held.lock, lock))
}

/// Records what [`may_take`] allowed.
///
/// # Safety
///
/// `may_take` was true of `lock` and `td`, in this primitive, and nothing has been recorded since.
#[inline(always)]
pub(crate) unsafe fn took(lock: &LockObject, td: &Thread, loc: Loc) {
    if lock.witness.get() != 0 {
        // SAFETY: (k) as in `may_take`. Only this thread changes the list, which had room there: what is written is spare capacity, and
        // after that initialised.
        unsafe {
            let held = td.sleeplocks.get();
            let len = held.len();
            held.as_mut_ptr().add(len).write(LockInstance {
                lock,
                loc,
                exclusive: true,
                recursed: 0,
                norelease: false,
            });
            held.set_len(len + 1);
        }
    }
}

/// Whether releasing the sleep lock `lock`, held exclusively, takes no more than taking the last entry off the list of `td`, the caller, or
/// (`Some(false)`) nothing. `None`: there is more to it.
#[inline(always)]
pub(crate) fn is_latest(lock: &LockObject, td: &Thread) -> Option<bool> {
    if lock.witness.get() == 0 {
        return Some(false);
    }
    // SAFETY: (k) as in `may_take`.
    let held: &Vec<LockInstance> = unsafe { td.sleeplocks.get() };
    // Should WITNESS have given up meanwhile, taking it off the list is all that is left to do as well.
    let plain = |last: &&LockInstance| {
        core::ptr::eq(last.lock, lock) && last.exclusive && last.recursed == 0 && !last.norelease
    };
    held.last().filter(plain).map(|_| true)
}

/// Takes off the list the entry that [`is_latest`] found. It does not look at the lock, which may be gone.
///
/// # Safety
///
/// `is_latest` found it on the list of `td`, the caller, in this primitive, and the list has not changed since.
#[inline(always)]
pub(crate) unsafe fn forget_latest(td: &Thread) {
    // SAFETY: (k) as in `may_take`. The list has an entry, the last of which goes; entries have no destructor.
    unsafe {
        let held = td.sleeplocks.get();
        held.set_len(held.len() - 1);
    }
}

/// What the graph says about taking a lock, found under its lock and reported without.
enum Finding {
    Fine,
    Duplicate,
    /// The held lock (by its place in the list) that comes after the one to be taken.
    Reversal(usize),
    Mixed(usize),
}

/// `witness_checkorder()`: before `lock` is taken. `interlock` is the one that will be dropped while waiting.
///
/// # Panics
///
/// Rows 64, 65, 66, 73 and 80 of the misuse table; rows 69, 70 and 72 are printed.
#[inline]
pub fn checkorder(lock: &LockObject, exclusive: bool, dupok: bool, interlock: Option<&LockObject>, loc: Loc) {
    if let Some(number) = enrolled(lock) {
        checkorder_enrolled(lock, number, exclusive, dupok, interlock, loc);
    }
}

/// What [`checkorder`] says of a sleep lock that FreeBSD has and the emulation has not: nobody else takes it.
///
/// # Panics
///
/// Row 64 of the misuse table.
pub(crate) fn may_block(class: &str, name: &str, loc: Loc) {
    if cpu::witness() && !exhausted() && curthread().critnest.get() != 0 {
        kpanic!("acquiring blockable sleep lock with spinlock or critical section held ({class}) {name} @ {loc}");
    }
}

fn checkorder_enrolled(
    lock: &LockObject,
    number: usize,
    exclusive: bool,
    dupok: bool,
    interlock: Option<&LockObject>,
    loc: Loc,
) {
    let called = Called(lock);
    if lock.class().is_sleeplock() && curthread().critnest.get() != 0 {
        kpanic!("acquiring blockable sleep lock with spinlock or critical section held {called} @ {loc}");
    }
    let held: &[LockInstance] = list(lock);
    if held.is_empty() {
        return;
    }
    if let Some(mine) = find(held, lock) {
        if mine.exclusive && !exclusive {
            kprintf!("shared lock of {called} @ {loc}");
            kprintf!("while exclusively locked from {}", mine.loc);
            kpanic!("excl->share");
        }
        if !mine.exclusive && exclusive {
            kprintf!("exclusive lock of {called} @ {loc}");
            kprintf!("while share locked from {}", mine.loc);
            kpanic!("share->excl");
        }
        return;
    }
    if let Some(interlock) = interlock {
        let called = Called(interlock);
        match find(held, interlock) {
            None => kpanic!("interlock {called} not locked @ {loc}"),
            Some(held) if held.recursed != 0 => kpanic!("interlock {called} recursed @ {loc}"),
            Some(_) => {}
        }
    }
    let is_interlock = |held: &LockInstance| interlock.is_some_and(|interlock| core::ptr::eq(held.lock, interlock));
    // The last one taken, not counting an interlock on top.
    let last = match held {
        [.., below, top] if is_interlock(top) => below,
        [top] if is_interlock(top) => return,
        [.., top] => top,
        [] => return,
    };
    let sleepable = sleepable(lock, exclusive);
    let before = last.witness();
    if machine().witness.known.has(before.wrapping_add(1), number + 1) {
        return;
    }
    let finding = machine().witness.with(|graph| {
        if before == number {
            let ok = dupok || lock.flags().contains(Lo::DUPOK) || !graph.mark_reversed(number, number);
            return if ok { Finding::Fine } else { Finding::Duplicate };
        }
        if graph.is_child(before, number) {
            if !sched::explored() {
                machine().witness.known.note(before + 1, number + 1);
            }
            return Finding::Fine;
        }
        for (at, other) in held.iter().enumerate().rev() {
            if is_interlock(other) {
                continue;
            }
            // Giant is dropped by who sleeps, so it comes after the sleepable locks, in whichever order they are taken.
            let is_giant = giant::is(lock);
            if is_giant && other.sleepable() || sleepable && giant::is(other.object()) {
                continue;
            }
            let wrong = (sleepable || is_giant) && !other.sleepable();
            if wrong || graph.is_descendant(number, other.witness()) {
                let fresh = graph.mark_reversed(other.witness(), number);
                return if fresh { Finding::Reversal(at) } else { Finding::Fine };
            }
        }
        if !(sleepable && giant::is(last.object())) {
            // A name that has become one of the other kind is minded where the order is new, and only there.
            if graph.classes[before].class.is_sleeplock() != graph.classes[number].class.is_sleeplock() {
                return Finding::Mixed(before);
            }
            graph.adopt(before, number);
        }
        Finding::Fine
    });
    match finding {
        Finding::Fine => {}
        Finding::Duplicate => {
            kprintf!("acquiring duplicate lock of same type: \"{}\"", kind(number));
            kprintf!(" 1st {} @ {}", last.object().name(), last.loc);
            kprintf!(" 2nd {} @ {loc}", lock.name());
        }
        Finding::Reversal(at) => report_reversal(held, at, lock, number, sleepable, loc),
        Finding::Mixed(parent) => {
            let (parent, of) = machine().witness.with(|graph| {
                let parent = &graph.classes[parent];
                (parent.name, parent.class.name())
            });
            let (class, name) = (lock.class().name(), kind(number));
            kpanic!(
                "itismychild: parent \"{parent}\" ({of}) and child \"{name}\" ({class}) are not the same lock type"
            );
        }
    }
}

/// `w_name`: the type that locks have in common.
fn kind(witness: usize) -> &'static str {
    kind_on(machine(), witness)
}

fn kind_on(m: &Machine, witness: usize) -> &'static str {
    m.witness.with(|graph| graph.classes.get(witness).map_or("(no type)", |class| class.name))
}

/// Prints a reversal: `lock` is to be taken after `held[at]`, which comes after it.
#[cold]
fn report_reversal(held: &[LockInstance], at: usize, lock: &LockObject, number: usize, sleepable: bool, loc: Loc) {
    let other = &held[at];
    if sleepable && !other.sleepable() {
        kprintf!("lock order reversal: (sleepable after non-sleepable)");
    } else if !other.sleepable() && giant::is(lock) {
        kprintf!("lock order reversal: (Giant after non-sleepable)");
    } else {
        kprintf!("lock order reversal:");
    }
    let line = |nth: &str, lock: &LockObject, loc: Loc| {
        let name = lock.name();
        // The witness's class, which is that of whoever had the name last.
        let (kind, class) = machine().witness.with(|graph| {
            let witness = graph.classes.get(lock.witness.get().wrapping_sub(1));
            witness.map_or(("(no type)", "(no class)"), |witness| (witness.name, witness.class.name()))
        });
        kprintf!(" {nth} {:p} {name} ({kind}, {class}) @ {loc}", core::ptr::from_ref(lock));
    };
    match held[..=at].iter().rev().find(|earlier| earlier.witness() == number) {
        None => {
            line("1st", other.object(), other.loc);
            line("2nd", lock, loc);
        }
        Some(earlier) => {
            line("1st", earlier.object(), earlier.loc);
            line("2nd", other.object(), other.loc);
            line("3rd", lock, loc);
        }
    }
}

/// `witness_lock()`: `lock` was taken.
#[inline]
pub(crate) fn lock(lock: &LockObject, exclusive: bool, loc: Loc) {
    lock_profile::obtained(lock, loc);
    if enrolled(lock).is_none() {
        return;
    }
    let held = list(lock);
    match held.iter_mut().rev().find(|held| core::ptr::eq(held.lock, lock)) {
        Some(mine) => {
            mine.recursed += 1;
            mine.loc = loc;
        }
        None => aside(|| held.push(LockInstance { lock, loc, exclusive, recursed: 0, norelease: false })),
    }
}

/// `witness_lock()` with `LOP_TRYLOCK`: recorded like any other; its order was not checked.
#[inline]
pub(crate) fn lock_try(object: &LockObject, exclusive: bool, loc: Loc) {
    lock(object, exclusive, loc);
}

/// `witness_unlock()`: `lock` is about to be released.
///
/// # Panics
///
/// Rows 25, 67, 68 and 76 of the misuse table.
#[inline]
pub fn unlock(lock: &LockObject, exclusive: bool, loc: Loc) {
    lock_profile::released(lock);
    if enrolled(lock).is_some() {
        unlock_enrolled(lock, exclusive, loc);
    } else if lock.witness.get() != 0 && exhausted() {
        forget(lock);
    }
}

/// A lock is released that was taken before WITNESS gave up: it goes off its list, without a word.
#[cold]
fn forget(lock: &LockObject) {
    let held = list(lock);
    if let Some(at) = held.iter().position(|held| core::ptr::eq(held.lock, lock)) {
        if held[at].recursed > 0 {
            held[at].recursed -= 1;
        } else {
            held.remove(at);
        }
    }
}

fn unlock_enrolled(lock: &LockObject, exclusive: bool, loc: Loc) {
    let called = Called(lock);
    let Some(at) = list(lock).iter().position(|held| core::ptr::eq(held.lock, lock)) else {
        kpanic!("lock {called} not locked @ {loc}");
    };
    let mine = list(lock)[at];
    if mine.exclusive && !exclusive {
        kprintf!("shared unlock of {called} @ {loc}");
        kprintf!("while exclusively locked from {}", mine.loc);
        kpanic!("excl->ushare");
    }
    if !mine.exclusive && exclusive {
        kprintf!("exclusive unlock of {called} @ {loc}");
        kprintf!("while share locked from {}", mine.loc);
        kpanic!("share->uexcl");
    }
    if mine.recursed > 0 {
        list(lock)[at].recursed -= 1;
        return;
    }
    if mine.norelease {
        kprintf!("forbidden unlock of {called} @ {loc}");
        kpanic!("lock marked norelease");
    }
    list(lock).remove(at);
}

/// `witness_upgrade()`.
///
/// # Panics
///
/// Row 74 of the misuse table.
pub fn upgrade(lock: &LockObject, loc: Loc) {
    change(lock, loc, "upgrade", true);
}

/// `witness_downgrade()`.
///
/// # Panics
///
/// Row 75 of the misuse table.
pub fn downgrade(lock: &LockObject, loc: Loc) {
    change(lock, loc, "downgrade", false);
}

fn change(lock: &LockObject, loc: Loc, what: &str, to_exclusive: bool) {
    if enrolled(lock).is_none() {
        return;
    }
    let (class, name) = (lock.class().name(), lock.name());
    if !lock.flags().contains(Lo::UPGRADABLE) {
        kpanic!("{what} of non-upgradable lock ({class}) {name} @ {loc}");
    }
    if !lock.class().is_sleeplock() {
        kpanic!("{what} of non-sleep lock ({class}) {name} @ {loc}");
    }
    let Some(mine) = find(list(lock), lock) else {
        kpanic!("{what} of unlocked lock ({class}) {name} @ {loc}");
    };
    if mine.exclusive == to_exclusive {
        let is = if mine.exclusive { "exclusive" } else { "shared" };
        kpanic!("{what} of {is} lock ({class}) {name} @ {loc}");
    }
    if mine.recursed != 0 {
        kpanic!("{what} of recursed lock ({class}) {name} r={} @ {loc}", mine.recursed);
    }
    if let Some(held) = list(lock).iter_mut().find(|held| core::ptr::eq(held.lock, lock)) {
        held.exclusive = to_exclusive;
    }
}

/// `witness_assert()`: `what` is made of [`la`].
///
/// # Panics
///
/// Row 77 of the misuse table.
pub fn assert(lock: &LockObject, what: u32, loc: Loc) {
    if enrolled(lock).is_none() {
        return;
    }
    let (class, name) = (lock.class().name(), lock.name());
    let mine = find(list(lock), lock);
    let recursion = what & (la::RECURSED | la::NOTRECURSED);
    match what & !recursion {
        la::UNLOCKED if recursion == 0 => {
            if mine.is_some() {
                kpanic!("Lock ({class}) {name} locked @ {loc}.");
            }
        }
        how @ (la::LOCKED | la::SLOCKED | la::XLOCKED) if recursion != la::RECURSED | la::NOTRECURSED => {
            let Some(mine) = mine else { kpanic!("Lock ({class}) {name} not locked @ {loc}.") };
            if how == la::XLOCKED && !mine.exclusive {
                kpanic!("Lock ({class}) {name} not exclusively locked @ {loc}.");
            }
            if how == la::SLOCKED && mine.exclusive {
                kpanic!("Lock ({class}) {name} exclusively locked @ {loc}.");
            }
            if recursion == la::RECURSED && mine.recursed == 0 {
                kpanic!("Lock ({class}) {name} not recursed @ {loc}.");
            }
            if recursion == la::NOTRECURSED && mine.recursed != 0 {
                kpanic!("Lock ({class}) {name} recursed @ {loc}.");
            }
        }
        _ => kpanic!("Invalid lock assertion at {loc}."),
    }
}

/// `WITNESS_NORELEASE()`: releasing `lock` panics until [`releaseok`].
///
/// # Panics
///
/// `witness_setflag: lock (%s) %s not locked`.
pub fn norelease(lock: &LockObject) {
    set_norelease(lock, true);
}

/// `WITNESS_RELEASEOK()`.
///
/// # Panics
///
/// As [`norelease`].
pub fn releaseok(lock: &LockObject) {
    set_norelease(lock, false);
}

fn set_norelease(lock: &LockObject, on: bool) {
    if enrolled(lock).is_none() {
        return;
    }
    match list(lock).iter_mut().rev().find(|held| core::ptr::eq(held.lock, lock)) {
        Some(held) => held.norelease = on,
        None => kpanic!("witness_setflag: lock ({}) {} not locked", lock.class().name(), lock.name()),
    }
}

/// `WITNESS_SAVE()`: where an interlock was taken, for [`restore`] after the sleep. `None` if it is not enrolled.
///
/// # Panics
///
/// Row 81 of the misuse table.
pub fn save(lock: &LockObject) -> Option<Loc> {
    enrolled(lock)?;
    match find(list(lock), lock) {
        Some(held) => Some(held.loc),
        None => kpanic!("witness_save: lock ({}) {} not locked", lock.class().name(), lock.name()),
    }
}

/// `WITNESS_RESTORE()`.
///
/// # Panics
///
/// Row 81 of the misuse table.
pub fn restore(lock: &LockObject, saved: Option<Loc>) {
    let (Some(loc), Some(_)) = (saved, enrolled(lock)) else { return };
    match list(lock).iter_mut().rev().find(|held| core::ptr::eq(held.lock, lock)) {
        Some(held) => held.loc = loc,
        None => kpanic!("witness_restore: lock ({}) {} not locked", lock.class().name(), lock.name()),
    }
}

/// `witness_thread_exit()`.
///
/// # Panics
///
/// Row 78 of the misuse table.
pub(crate) fn thread_exit(td: &Thread) {
    // SAFETY: (k) `td` is the running thread.
    let held: &[LockInstance] = unsafe { td.sleeplocks.get() };
    if held.is_empty() || cpu::scheduler_stopped() {
        return;
    }
    kprintf!("Thread {:p} exiting with the following locks held:", td.ptr());
    print(held);
    kpanic!("Thread {:p} cannot exit while holding sleeplocks", td.ptr());
}

/// `witness_list_locks()`: newest first.
fn print(held: &[LockInstance]) {
    for held in held.iter().rev() {
        kprintf!("{}", Line(machine(), held));
    }
}

/// `WITNESS_WARN(WARN_GIANTOK | WARN_SLEEPOK, ..)`: prints `what` and the non-sleepable locks that the caller holds besides
/// `interlock` and Giant, if any. Returns their number.
pub fn warn(interlock: Option<&LockObject>, _loc: Loc, what: impl fmt::Display) -> usize {
    warn_held(interlock, &what, Exempt::GIANT_AND_SLEEPABLE)
}

/// `WITNESS_WARN(WARN_PANIC, NULL, ..)`: any enrolled lock held is a panic.
///
/// # Panics
///
/// `witness_warn`, after the list (row 105 of the misuse table).
pub(crate) fn warn_panic(what: &str) {
    if warn_held(None, &what, Exempt::NOTHING) != 0 {
        kpanic!("witness_warn");
    }
}

/// What ithread_loop() checks before it waits for the next interrupt.
///
/// # Panics
///
/// `witness_warn`, after `suspending ithread with the following locks held:`.
pub(crate) fn warn_suspending_ithread() {
    warn_panic("suspending ithread");
}

/// What [`warn_held`] does not count.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Exempt {
    /// `WARN_GIANTOK`.
    pub(crate) giant: bool,
    /// `WARN_SLEEPOK`.
    pub(crate) sleepable: bool,
}

impl Exempt {
    const NOTHING: Self = Self { giant: false, sleepable: false };
    const GIANT_AND_SLEEPABLE: Self = Self { giant: true, sleepable: true };
}

/// `witness_warn()`.
pub(crate) fn warn_held(interlock: Option<&LockObject>, what: &dyn fmt::Display, exempt: Exempt) -> usize {
    if !cpu::witness() || exhausted() {
        return 0;
    }
    let kind = if exempt.sleepable { "non-sleepable " } else { "" };
    let mut n = 0;
    // SAFETY: (k) the running thread's own list.
    let held: &[LockInstance] = unsafe { curthread().sleeplocks.get() };
    for held in held.iter().rev() {
        let fine = interlock.is_some_and(|interlock| core::ptr::eq(held.lock, interlock))
            || exempt.sleepable && held.sleepable()
            || exempt.giant && giant::is(held.object());
        if !fine {
            if n == 0 {
                kprintf!("{what} with the following {kind}locks held:");
            }
            n += 1;
            kprintf!("{}", Line(machine(), held));
        }
    }
    // SAFETY: (k) this CPU's list; a caller without spin mutexes finds it empty.
    let spin: &[LockInstance] = unsafe { curcpu().spinlocks.get() };
    match spin {
        [] => {}
        [only] if n == 0 && interlock.is_some_and(|interlock| core::ptr::eq(only.lock, interlock)) => {}
        _ => {
            // FreeBSD prints the heading again if there were sleep locks.
            kprintf!("{what} with the following {kind}locks held:");
            print(spin);
            n += spin.len();
        }
    }
    n
}

/// Enrolled sleep locks that the caller holds, recursions counted, as `td_locks` counts them.
pub(crate) fn holds() -> i32 {
    // SAFETY: (k) the running thread's own list.
    unsafe { curthread().sleeplocks.get() }.iter().map(|held| held.recursed as i32 + 1).sum()
}

/// `witness_display_spinlock()`: the line of a spin mutex in the list of its owner's CPU.
pub(crate) fn display_spinlock(lock: &LockObject, owner: &Thread) {
    let m = machine();
    // In `smp` that CPU may be changing its list just now, which a kernel about to panic puts up with.
    let cpu =
        usize::try_from(owner.oncpu.get()).ok().filter(|_| m.engine == Engine::Explore && owner.critnest.get() != 0);
    if let Some(cpu) = cpu.and_then(|cpu| m.cpus.get(cpu)) {
        // SAFETY: (k) in `explore` no other CPU moves meanwhile.
        let held = find(unsafe { cpu.spinlocks.get() }, lock);
        if let Some(held) = held {
            kprintf!("{}", Line(m, &held));
        }
    }
}

/// This memory goes, and whoever holds a lock in it holds what nobody can release. FreeBSD would read on in what becomes of the memory;
/// here the lists go on with a copy.
///
/// In `smp` the lists of other threads cannot be looked at while they run: a lock that goes while another thread holds it is that
/// thread's danger, as it is in a kernel.
pub(crate) fn freed(memory: core::ops::Range<usize>) {
    if !cpu::witness() {
        return;
    }
    let m = machine();
    let forget = |held: &mut [LockInstance]| {
        for held in held.iter_mut().filter(|held| memory.contains(&(held.lock as usize))) {
            held.lock = m.remember(held.object());
        }
    };
    // SAFETY: (k) in `explore` nobody else moves; in `smp` the lists are the running thread's own and that of the CPU that it is on, which
    // it does not leave here.
    unsafe {
        if m.engine == Engine::Explore {
            m.threads().iter().for_each(|td| forget(td.sleeplocks.get()));
            m.cpus.iter().for_each(|cpu| forget(cpu.spinlocks.get()));
        } else {
            forget(curthread().sleeplocks.get());
            if curthread().critnest.get() != 0 {
                forget(curcpu().spinlocks.get());
            }
        }
    }
}

/// ddb's `show alllocks`, and the owned locks that are not enrolled. In `smp` all CPUs have stopped.
pub(crate) fn show_alllocks(m: &Machine) -> Vec<String> {
    let mut lines = Vec::new();
    for td in m.threads() {
        // SAFETY: (k) nobody runs: `explore` has one host thread, and `smp` asks when the others are joined.
        let sleep: &[LockInstance] = unsafe { td.sleeplocks.get() };
        let cpu = m.cpus.iter().find(|cpu| core::ptr::eq(cpu.curthread.get(), td.ptr()));
        // SAFETY: (k) nobody runs, as said of the sleep locks.
        let spin: &[LockInstance] = cpu.map_or(&[], |cpu| unsafe { cpu.spinlocks.get() });
        if sleep.is_empty() && spin.is_empty() {
            continue;
        }
        lines.push(format!("Process 0 (kernel) thread {:p} ({}) {}", td.ptr(), td.tid, td.name()));
        lines.extend(sleep.iter().rev().chain(spin.iter().rev()).map(|held| Line(m, held).to_string()));
    }
    if m.engine == Engine::Explore {
        // SAFETY: listed locks are alive.
        lines.extend(m.live_locks().iter().filter_map(|&lock| not_enrolled(m, unsafe { &*lock })));
    }
    lines
}

/// The line of an owned lock that WITNESS does not see.
fn not_enrolled(m: &Machine, lock: &LockObject) -> Option<String> {
    if lock.witness.get() != 0 {
        return None;
    }
    let word = crate::lint::lock_word(lock)?;
    let (class, name) = (lock.class().name(), lock.name());
    match crate::lint::owner(m, lock) {
        Some(td) => Some(format!("exclusive {class} {name} ({lock:p}) owned by {} (not enrolled)", td.name())),
        None if matches!(lock.class(), LockClass::Rw | LockClass::Sx) && word & 1 != 0 && word >> 5 != 0 => {
            Some(format!("shared {class} {name} ({lock:p}) owned by {} readers (not enrolled)", word >> 5))
        }
        None => None,
    }
}

#[cfg(test)]
mod tests {
    //! What looks inside; the rest is in `tests/witness.rs` and in the misuse table of compat-tests.

    use super::*;
    use crate::host::explore::{self, Execution, Options};
    use crate::host::schedule::random::Random;
    use crate::machine::{Config, Verdict};

    fn run(main: impl Fn()) -> Execution {
        let m = Machine::new(Config::default(), Engine::Explore);
        explore::run(&m, &mut Random::new(1), Options::default(), &main)
    }

    fn here() -> Loc {
        Loc::c(c"a.c".as_ptr(), 7)
    }

    fn object(class: LockClass, name: &'static CStr) -> Box<LockObject> {
        let object = Box::new(LockObject::zeroed());
        // The class index is what `name()` and the checks look at; no lock word is touched through the object.
        object.init(class, name, 0, Lo::WITNESS);
        machine().lock_died(&object);
        object
    }

    fn take(object: &LockObject, exclusive: bool) {
        checkorder(object, exclusive, false, None, here());
        lock(object, exclusive, here());
    }

    #[test]
    fn sleepable_locks_may_be_held_asleep() {
        let execution = run(|| {
            let sx = object(LockClass::Sx, c"sx");
            take(&sx, false);
            assert_eq!(warn(None, here(), "Sleeping on \"x\""), 0);
            assert_eq!(warn_held(None, &"userret: returning", Exempt::NOTHING), 1);
            unlock(&sx, false, here());
        });
        assert_eq!(execution.verdict, Verdict::Pass);
        assert_eq!(execution.console[0], "userret: returning with the following locks held:");
        assert!(execution.console[1].starts_with("shared sx sx (sx) r = 0 (0x"), "{:?}", execution.console);
        assert!(execution.console[1].ends_with(") locked @ a.c:7"), "{:?}", execution.console);
    }

    #[test]
    fn graph_grows_and_stays_transitive() {
        let execution = run(|| {
            // 200 names: the matrices grow twice.
            let names: Vec<&'static CStr> = (0..200)
                .map(|i| {
                    let name = std::ffi::CString::new(format!("lock{i}")).unwrap();
                    &*Box::leak(name.into_boxed_c_str())
                })
                .collect();
            let locks: Vec<_> = names.iter().map(|name| object(LockClass::MtxSleep, name)).collect();
            for pair in locks.windows(2) {
                take(&pair[0], true);
                take(&pair[1], true);
                unlock(&pair[1], true, here());
                unlock(&pair[0], true, here());
            }
            machine().witness.with(|graph| {
                for a in 0..200 {
                    for b in 0..200 {
                        assert_eq!(graph.is_descendant(a, b), a < b, "{a} {b}");
                        assert_eq!(graph.is_child(a, b), a + 1 == b, "{a} {b}");
                    }
                }
            });
            take(&locks[199], true);
            take(&locks[0], true);
        });
        assert_eq!(execution.console[0], "lock order reversal:");
    }
}
