//! The per-host-thread block that GS points at: how `curthread` and the seam's word are found in one instruction.
//!
//! FreeBSD/amd64 keeps its per-CPU data behind `%gs`; Linux leaves GS to userspace, so the emulation can do the same. GS
//! points at a block per *host thread*. The `smp` engine gives each virtual CPU one host thread, hence one block; `explore`
//! swaps the contents of its single block and never GS itself.
//!
//! A new host thread inherits its parent's GS. Therefore the process starts with GS at `OUTSIDE`, a block whose word is not
//! zero and whose slow path is a clear panic ("outside a machine"), and only `host` starts threads from inside a machine.
//!
//! GS is set by the instruction for it where the kernel lets processes use it, else by arch_prctl(2): an execution enters and leaves
//! its machine, and a system call is a tenth of a short one.
//!
//! References: amd64's `machine/pcpu_aux.h` (`__PCPU_GET`), arch_prctl(2), Linux's Documentation/arch/x86/x86_64/fsgs.rst.

use super::coroutine::Context;
use crate::atomic::{Owned32, OwnedPtr, OwnedUsize, Shared32};
use crate::cpu::Pcpu;
use crate::machine::Machine;
use crate::rmlock::PrioTracker;
use crate::thread::Thread;
use core::arch::asm;

/// Bits of the seam's word. Zero is the fast path.
pub mod word {
    /// An interrupt, IPI or tick waits on this virtual CPU.
    pub const PENDING: u32 = 0x01;
    /// Every boundary asks the schedule: the `explore` engine.
    pub const EXPLORE: u32 = 0x02;
    /// Options INVARIANTS.
    pub const INVARIANTS: u32 = 0x04;
    /// Options WITNESS.
    pub const WITNESS: u32 = 0x08;
    /// `SCHEDULER_STOPPED()`: lock operations return at once.
    pub const STOPPED: u32 = 0x10;
    /// No machine runs on this host thread.
    pub const OUTSIDE: u32 = 0x20;
    /// Reports what FreeBSD does not detect: see `lint`.
    pub const LINT: u32 = 0x40;
    /// Options LOCK_PROFILING.
    pub const PROFILE: u32 = 0x80;
    /// Options EPOCH_TRACE.
    pub const EPOCH_TRACE: u32 = 0x100;
    /// The schedule wants to know what each transition touches.
    pub const RECORD: u32 = 0x200;
    /// Every atomic operation of a primitive is a boundary: `insn` granularity, between `explore::begin` and `end`.
    pub const INSN: u32 = 0x400;
    /// Overtaken waiters are counted, between `explore::begin` and `end`.
    pub const STARVATION: u32 = 0x800;
}

/// What GS points at. The offsets are part of the accessors below.
#[repr(C, align(64))]
#[derive(Debug)]
pub struct Block {
    pub(crate) curthread: OwnedPtr<Thread>,
    pub(crate) curcpu: OwnedPtr<Pcpu>,
    pub(crate) word: Shared32,
    pub(crate) machine: OwnedPtr<Machine>,
    /// Its own address, set when GS is pointed at it.
    this: OwnedPtr<Block>,
    /// The tracker of this CPU's latest rmlock reader while nobody has looked at it; `smp`. See `rmlock`.
    pub(crate) reader: OwnedPtr<PrioTracker>,
    /// What a reader's lock may not have in `rm_writecpus` if it is to be that one.
    pub(crate) readmask: OwnedUsize,
    /// The fault that abandoned the current context: signal number, address, program counter.
    pub(crate) fault: [OwnedUsize; 3],
    /// The context that is being unwound, which is no thread's any more; a fault may end that, too.
    pub(crate) unwinding: OwnedPtr<Context>,
    /// `smp::relax` calls, to give the host processor away now and then.
    pub(crate) relaxed: Owned32,
}

const _: () = {
    assert!(core::mem::offset_of!(Block, curthread) == 0);
    assert!(core::mem::offset_of!(Block, curcpu) == 8);
    assert!(core::mem::offset_of!(Block, word) == 16);
    assert!(core::mem::offset_of!(Block, machine) == 24);
    assert!(core::mem::offset_of!(Block, this) == 32);
    assert!(core::mem::offset_of!(Block, reader) == 40);
    assert!(core::mem::offset_of!(Block, readmask) == 48);
};

impl Block {
    pub(crate) const fn new(word: u32) -> Self {
        Self {
            curthread: OwnedPtr::null(),
            curcpu: OwnedPtr::null(),
            word: Shared32::new(word),
            machine: OwnedPtr::null(),
            this: OwnedPtr::null(),
            reader: OwnedPtr::null(),
            readmask: OwnedUsize::new(usize::MAX),
            fault: [const { OwnedUsize::new(0) }; 3],
            unwinding: OwnedPtr::null(),
            relaxed: Owned32::new(0),
        }
    }
}

/// The block of every host thread that runs no virtual CPU.
static OUTSIDE: Block = Block::new(word::OUTSIDE);

macro_rules! load {
    ($off:literal) => {{
        let value: usize;
        // SAFETY: GS points at a live `Block` from the process's start (`start`) to its end.
        unsafe {
            asm!(concat!("mov {}, qword ptr gs:[", $off, "]"), out(reg) value,
                 options(nostack, preserves_flags, readonly));
        }
        value
    }};
}

/// The running kernel thread; null outside a machine.
#[inline(always)]
pub(crate) fn curthread() -> *const Thread {
    load!("0") as *const Thread
}

/// The virtual CPU that this host thread is driving; null outside a machine.
#[inline(always)]
pub(crate) fn curcpu() -> *const Pcpu {
    load!("8") as *const Pcpu
}

/// The machine that this host thread belongs to; null outside a machine.
#[inline(always)]
pub(crate) fn machine() -> *const Machine {
    load!("24") as *const Machine
}

/// The seam's word.
#[inline(always)]
pub(crate) fn word() -> u32 {
    let value: u32;
    // SAFETY: as in `load`.
    unsafe {
        asm!("mov {:e}, dword ptr gs:[16]", out(reg) value, options(nostack, preserves_flags, readonly));
    }
    value
}

/// Whether [`word()`] is 0: a comparison and a branch, where a load would be one instruction more, at each boundary.
#[inline(always)]
pub(crate) fn quiet() -> bool {
    // SAFETY: as in `load`. Both ways out leave registers and stack as they were.
    unsafe {
        asm!("cmp dword ptr gs:[16], 0", "jne {}", label { return false }, options(nostack, readonly));
    }
    true
}

/// [`Block::reader`] of this host thread.
#[inline(always)]
pub(crate) fn reader() -> *mut PrioTracker {
    load!("40") as *mut PrioTracker
}

/// Sets [`Block::reader`] of this host thread.
#[inline(always)]
pub(crate) fn set_reader(reader: *mut PrioTracker) {
    // SAFETY: as in `load`; the block's fields are cells, and this one is written by its own host thread alone.
    unsafe { asm!("mov qword ptr gs:[40], {}", in(reg) reader, options(nostack, preserves_flags)) };
}

/// Whether [`reader`] is `reader`.
#[inline(always)]
pub(crate) fn reader_is(reader: *mut PrioTracker) -> bool {
    // SAFETY: as in `quiet`.
    unsafe {
        asm!("cmp qword ptr gs:[40], {}", "jne {}", in(reg) reader, label { return false }, options(nostack, readonly));
    }
    true
}

/// Not 0 if there is something to do at a boundary or a [`reader`].
#[inline(always)]
pub(crate) fn busy() -> usize {
    let busy: usize;
    // SAFETY: as in `load`. Writing the lower half of a register clears the upper one.
    unsafe {
        asm!("mov {0:e}, dword ptr gs:[16]", "or {0}, qword ptr gs:[40]", out(reg) busy, options(nostack, readonly));
    }
    busy
}

/// What `word` has of [`Block::readmask`].
#[inline(always)]
pub(crate) fn readmasked(word: usize) -> usize {
    let masked: usize;
    // SAFETY: as in `load`.
    unsafe { asm!("and {}, qword ptr gs:[48]", inout(reg) word => masked, options(nostack, readonly)) };
    masked
}

/// This host thread's block, by a system call: for `host` only.
pub(crate) fn block() -> *const Block {
    get() as *const Block
}

/// This host thread's block, without a system call: the block holds its own address.
#[inline(always)]
pub(crate) fn block_here() -> *const Block {
    load!("32") as *const Block
}

const ARCH_SET_GS: libc::c_int = 0x1001;
const ARCH_GET_GS: libc::c_int = 0x1004;

/// `HWCAP2_FSGSBASE`: processes may use `wrgsbase` and its kin.
const HWCAP2_FSGSBASE: libc::c_ulong = 1 << 1;

/// Whether [`HWCAP2_FSGSBASE`] is there: 0 before [`start`] has asked, so that nothing is assumed.
static INSTRUCTIONS: Owned32 = Owned32::new(0);

fn get() -> usize {
    let mut base = 0usize;
    if INSTRUCTIONS.get() != 0 {
        // SAFETY: the kernel says that processes may use the instruction; it only reads a register.
        unsafe { asm!("rdgsbase {}", out(reg) base, options(nomem, nostack, preserves_flags)) };
        return base;
    }
    // SAFETY: ARCH_GET_GS writes one word through the pointer.
    let rc = unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_GET_GS, &raw mut base) };
    assert_eq!(rc, 0, "arch_prctl(ARCH_GET_GS) is refused here");
    base
}

fn set(base: usize) {
    if INSTRUCTIONS.get() != 0 {
        // SAFETY: the kernel says that processes may use the instruction, and nothing in a Linux process but this module uses GS.
        // What it changes is what the accessors read, so it may not be moved across them.
        unsafe { asm!("wrgsbase {}", in(reg) base, options(nostack, preserves_flags)) };
        return;
    }
    // SAFETY: nothing in a Linux process but this module uses GS.
    let rc = unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_SET_GS, base) };
    assert_eq!(rc, 0, "arch_prctl(ARCH_SET_GS) is refused here");
}

extern "C" fn start() {
    // SAFETY: a plain call.
    let instructions = unsafe { libc::getauxval(libc::AT_HWCAP2) } & HWCAP2_FSGSBASE != 0;
    INSTRUCTIONS.set(instructions.into());
    set(&raw const OUTSIDE as usize);
}

/// Runs before main: threads started later inherit the value.
#[used]
#[unsafe(link_section = ".init_array")]
static START: extern "C" fn() = start;

/// Points GS at a machine's block until dropped.
#[derive(Debug)]
pub(crate) struct Entered(usize);

impl Entered {
    /// # Safety
    ///
    /// `block` outlives the guard, and the guard is dropped on the host thread that made it.
    pub(crate) unsafe fn new(block: *const Block) -> Self {
        let old = get();
        // SAFETY: the caller's promise.
        unsafe { (*block).this.set(block.cast_mut()) };
        set(block as usize);
        Self(old)
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        set(self.0);
    }
}

/// Points a new host thread's GS back at [`OUTSIDE`], whatever its parent ran.
pub(crate) fn leave() {
    set(&raw const OUTSIDE as usize);
}
