//! Kernel threads' stacks and contexts, and the emulation's `cpu_switch`: stackful coroutines on pooled stacks with guard pages.
//!
//! A kernel thread gives up its virtual CPU by suspending to the engine's loop, which is what makes the switch safe on several host
//! threads: the loop publishes the old thread only after its context is saved. `explore`, which has one host thread, also goes from
//! one context straight to the next, which is why this is not a library (ARCHITECTURE.md).
//!
//! A suspended context's RIP, RBX and RBP lie on its stack, from the saved stack pointer up; the compiler is told that all other registers
//! are lost. The floating-point control registers, which a function may not change, belong to the host thread.

use super::gs;
use core::arch::{asm, naked_asm};
use core::cell::Cell;
use core::ffi::c_void;
use core::num::NonZero;
use core::ptr::{self, NonNull};
use nix::sys::mman::{self, MapFlags, ProtFlags};
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// Usable bytes of a kernel stack. FreeBSD gives four pages; formatting a message and unoptimised Rust need more, and the
/// memory is committed only when touched.
const KSTACK_SIZE: usize = 256 * 1024;

/// Bytes below it that fault. C's frames are not probed page by page: a large one may step over a few pages.
const GUARD_SIZE: usize = 64 * 1024;

/// How a coroutine came back to the engine's loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Stop {
    /// It suspended itself: `Pcpu::next` or the explorer says what to do.
    Suspended,
    /// Its function returned.
    Returned,
    /// Its function ended with a Rust panic: [`Context::take_panic`].
    Panicked,
    /// It faulted; the message is in the machine. Its stack was abandoned.
    Faulted,
}

/// What a suspended context is told: to go on, or to unwind.
const GO_ON: usize = 0;
const UNWIND: usize = 1;

/// What [`UNWIND`] panics with.
struct ForcedUnwind;

/// Where a context has got to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    New,
    Started,
    Done,
}

/// A context's own words, at the top of its stack: they stay where they are.
pub(crate) struct Control {
    /// The stack pointer, while it is suspended.
    sp: Cell<usize>,
    /// The loop's, which waits while it runs: of who resumed it, or handed on by who switched to it.
    resumer: Cell<usize>,
    progress: Cell<Progress>,
    /// The Rust panic that ended it.
    panic: Cell<Option<Box<dyn Any + Send>>>,
    /// Runs the function that lies at `argument`, or drops it.
    function: unsafe fn(argument: *mut (), run: bool),
    argument: *mut (),
}

/// Saves the caller's registers on its stack and the stack pointer in `from`, and goes on with the context whose stack pointer is `to`,
/// which is told `what`. Returns what this one is told when somebody goes on with it.
///
/// # Safety
///
/// `to` was saved by this function or made by [`Context::new`], and nobody else goes on with it; nobody else looks at `from`. Whatever the
/// caller knew may have changed when it returns, the host thread included.
#[inline(always)]
unsafe fn switch_stacks(from: *mut usize, to: usize, what: usize) -> usize {
    let told;
    // SAFETY: the caller's promise. The registers that are neither saved nor the host thread's own are said to be lost, and what is
    // pushed here is popped by whoever comes back.
    unsafe {
        asm!(
            "push rbp",
            "push rbx",
            "lea rcx, [rip + 2f]",
            "push rcx",
            "mov [rdx], rsp",
            "mov rsp, rsi",
            "pop rcx",
            "jmp rcx",
            "2:",
            "pop rbx",
            "pop rbp",
            inout("rax") what => told,
            inout("rdx") from => _,
            inout("rsi") to => _,
            out("r12") _, out("r13") _, out("r14") _, out("r15") _,
            clobber_abi("sysv64"),
        );
    }
    told
}

/// Where a new context begins: its stack has the address of its [`Control`].
#[unsafe(naked)]
unsafe extern "C-unwind" fn begin() {
    // There is no frame above this one, as a debugger and a backtrace want to know.
    naked_asm!(
        ".cfi_startproc",
        ".cfi_undefined rip",
        "xor ebp, ebp",
        "pop rdi",
        "call {}",
        "ud2",
        ".cfi_endproc",
        sym run
    )
}

/// A context from its beginning to its end.
unsafe extern "C-unwind" fn run(control: *const Control) -> ! {
    // SAFETY: it lives as long as its stack, on which this runs.
    let control = unsafe { &*control };
    control.progress.set(Progress::Started);
    // SAFETY: `Context::new` put the function there; a context begins once.
    let ended = catch_unwind(AssertUnwindSafe(|| unsafe { (control.function)(control.argument, true) }));
    let mut stop = Stop::Returned;
    if let Err(panic) = ended
        && !panic.is::<ForcedUnwind>()
    {
        control.panic.set(Some(panic));
        stop = Stop::Panicked;
    }
    control.progress.set(Progress::Done);
    // SAFETY: the loop waits, as a context runs. Nobody goes on with one that is done.
    unsafe { switch_stacks(control.sp.as_ptr(), control.resumer.get(), stop as usize) };
    unreachable!("a context that is done goes on")
}

impl Control {
    /// Suspends the running context, which is this one, to the loop.
    ///
    /// # Safety
    ///
    /// It is this one.
    #[inline(always)]
    pub(crate) unsafe fn suspend(&self) {
        // SAFETY: the loop waits, as the context runs.
        obey(unsafe { switch_stacks(self.sp.as_ptr(), self.resumer.get(), Stop::Suspended as usize) });
    }

    /// Suspends the running context, which is this one, and goes on with `next` as the loop would.
    ///
    /// # Safety
    ///
    /// It is this one, and `next` is new or suspended, on this host thread.
    #[inline(always)]
    pub(crate) unsafe fn switch_to(&self, next: &Self) {
        next.resumer.set(self.resumer.get());
        // SAFETY: the caller's promise.
        obey(unsafe { switch_stacks(self.sp.as_ptr(), next.sp.get(), GO_ON) });
    }
}

/// A context goes on, or unwinds.
#[inline(always)]
fn obey(told: usize) {
    if told != GO_ON {
        unwind();
    }
}

#[cold]
#[inline(never)]
fn unwind() -> ! {
    resume_unwind(Box::new(ForcedUnwind))
}

/// A kernel thread's context.
pub(crate) struct Context {
    stack: Stack,
}

impl core::fmt::Debug for Context {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Context").field("progress", &self.control().progress.get()).finish()
    }
}

impl Context {
    /// A context that will run `f`, on a stack of `pool`.
    pub(crate) fn new<F: FnOnce() + Send + 'static>(pool: &mut StackPool, f: F) -> Self {
        const { assert!(align_of::<F>() <= 16 && size_of::<F>() <= KSTACK_SIZE / 4) };
        /// # Safety
        ///
        /// Once, with the address of an `F`.
        unsafe fn function<F: FnOnce()>(argument: *mut (), run: bool) {
            // SAFETY: the caller's promise.
            let f = unsafe { argument.cast::<F>().read() };
            if run {
                f();
            }
        }
        let stack = pool.take();
        let control = stack.control();
        // SAFETY: all of it lies at the top of a stack that nobody uses. Both addresses are multiples of 16, as the stack pointer is before
        // a call.
        unsafe {
            let argument = control.byte_sub(size_of::<F>().next_multiple_of(16)).cast::<F>();
            argument.write(f);
            let sp = argument.cast::<usize>().sub(2);
            sp.write(begin as *const () as usize);
            sp.add(1).write(control as usize);
            control.write(Control {
                sp: Cell::new(sp as usize),
                resumer: Cell::new(0),
                progress: Cell::new(Progress::New),
                panic: Cell::new(None),
                function: function::<F>,
                argument: argument.cast(),
            });
        }
        Self { stack }
    }

    /// Its words; as long as the context lives.
    #[inline(always)]
    pub(crate) fn control(&self) -> &Control {
        // SAFETY: `Context::new` wrote it, and `discard` ends it with the context.
        unsafe { &*self.stack.control() }
    }

    /// Runs it until it, or one that was switched to from it, suspends, returns, faults or panics: that is then the running thread's.
    ///
    /// # Safety
    ///
    /// It is new or suspended, and no context runs on this host thread. On another host thread than last time, nothing on its stack may
    /// know the old one's.
    #[inline(always)]
    pub(crate) unsafe fn resume(&self) -> Stop {
        // SAFETY: the caller's promise.
        unsafe { self.go_on(GO_ON) }
    }

    /// [`Context::resume`], or the same with [`UNWIND`].
    ///
    /// # Safety
    ///
    /// As for that.
    #[inline(always)]
    unsafe fn go_on(&self, what: usize) -> Stop {
        let control = self.control();
        // SAFETY: the caller's promise; what the loop is told is a `Stop`.
        unsafe { core::mem::transmute::<usize, Stop>(switch_stacks(control.resumer.as_ptr(), control.sp.get(), what)) }
    }

    /// The Rust panic that ended it.
    pub(crate) fn take_panic(&self) -> Option<Box<dyn Any + Send>> {
        self.control().panic.take()
    }

    /// Whether it has ever run.
    pub(crate) fn started(&self) -> bool {
        self.control().progress.get() != Progress::New
    }

    /// Whether its function has returned, or its frames were abandoned.
    pub(crate) fn done(&self) -> bool {
        self.control().progress.get() == Progress::Done
    }

    /// The part of the stack that is in use, while the context is suspended: from the saved registers to what it began with.
    pub(crate) fn live(&self) -> (usize, usize) {
        let control = core::ptr::from_ref(self.control()) as usize;
        if self.done() { (control, control) } else { (self.control().sp.get(), control) }
    }

    /// Clears what calls that have returned left below the live part of a suspended context: else later calls would have some of it in
    /// words that they never write.
    pub(crate) fn wipe_unused(&self) {
        if !self.done() {
            // SAFETY: nobody's.
            unsafe { self.stack.wipe(self.control().sp.get(), 512) };
        }
    }

    /// Whether `sp` lies on this stack, guard pages included.
    #[inline]
    pub(crate) fn owns_stack_pointer(&self, sp: usize) -> bool {
        self.stack.contains(sp)
    }

    /// Abandons the frames of the context, which runs. Returns the program counter, the stack pointer and RAX with which the loop goes
    /// on as if the context had suspended itself, and returned [`Stop::Faulted`].
    ///
    /// # Safety
    ///
    /// Called from a signal handler that interrupted this context on its own stack, and the registers are installed.
    pub(crate) unsafe fn abandon(&self) -> [usize; 3] {
        let control = self.control();
        control.progress.set(Progress::Done);
        let sp = control.resumer.get() as *const usize;
        // SAFETY: the loop waits, as the context runs: its program counter is the first of what it pushed.
        unsafe { [*sp, sp.add(1) as usize, Stop::Faulted as usize] }
    }

    /// Unwinds what is left of the context, dropping what lives on its stack, and gives the stack back. If that faults, as on a stack
    /// that is all but full, what is left is not dropped.
    pub(crate) fn unwind(self, pool: &mut StackPool) {
        if self.started() && !self.done() {
            // SAFETY: GS points at a live block. If that is a run's it is this host thread's own, and `self` stays where it is until the
            // pointer is taken away.
            let block = unsafe { &*gs::block() };
            let runs = !gs::machine().is_null();
            if runs {
                block.unwinding.set((&raw const self).cast_mut());
            }
            // SAFETY: the machine has stopped, and the context is suspended, on the host thread that is to end it. If it suspends itself
            // again, in a destructor, the rest of its frames is abandoned.
            unsafe { self.go_on(UNWIND) };
            if runs {
                block.unwinding.set(ptr::null_mut());
            }
        }
        self.discard(pool);
    }

    /// Gives the stack back without unwinding.
    ///
    /// For contexts that are done, and for kernel service threads parked where nothing on the stack needs dropping.
    pub(crate) fn discard(self, pool: &mut StackPool) {
        let control = self.control();
        if !self.started() {
            // SAFETY: the function was not run and will not be.
            unsafe { (control.function)(control.argument, false) };
        }
        drop(control.panic.take());
        pool.give(self.stack);
    }
}

/// Stacks are 10 microseconds to make and 8 nanoseconds to reuse.
#[derive(Debug, Default)]
pub(crate) struct StackPool {
    free: Vec<Stack>,
}

impl StackPool {
    fn take(&mut self) -> Stack {
        self.free.pop().unwrap_or_else(Stack::new)
    }
    /// Whoever takes them from now on gets the same, in the same order: the lowest one is next, and nothing is on them.
    pub(crate) fn tidy(&mut self) {
        self.free.sort_unstable_by_key(|stack| core::cmp::Reverse(stack.mapping));
        for stack in &self.free {
            // SAFETY: nobody is on it. The gap is for the frames of an unwinder, much of which is never written.
            unsafe { stack.wipe(stack.mapping.as_ptr() as usize + Stack::SIZE, 4096) };
        }
    }
    fn give(&mut self, stack: Stack) {
        self.free.push(stack);
    }
}

/// A stack of [`KSTACK_SIZE`], and below it [`GUARD_SIZE`].
#[derive(Debug)]
struct Stack {
    mapping: NonNull<c_void>,
}

impl Stack {
    const SIZE: usize = GUARD_SIZE + KSTACK_SIZE;

    fn new() -> Self {
        let size = NonZero::new(Self::SIZE).expect("not 0");
        // SAFETY: an anonymous mapping at a place of the kernel's choice, and its first pages.
        let mapping = unsafe {
            mman::mmap_anonymous(None, size, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, MapFlags::MAP_PRIVATE)
                .and_then(|mapping| mman::mprotect(mapping, GUARD_SIZE, ProtFlags::PROT_NONE).map(|()| mapping))
        };
        Self { mapping: mapping.expect("no memory for a kernel stack") }
    }

    /// Where the words of the context on it lie.
    #[inline(always)]
    fn control(&self) -> *mut Control {
        const SIZE: usize = size_of::<Control>().next_multiple_of(16);
        // SAFETY: within the mapping.
        unsafe { self.mapping.as_ptr().byte_add(Self::SIZE - SIZE).cast() }
    }

    #[inline]
    fn contains(&self, at: usize) -> bool {
        at.wrapping_sub(self.mapping.as_ptr() as usize) < Self::SIZE
    }

    /// Clears what lies below `top`, down to where `gap` bytes have been clear.
    ///
    /// # Safety
    ///
    /// `top` is on the stack or its end, and what lies below is nobody's.
    unsafe fn wipe(&self, top: usize, gap: usize) {
        const PIECE: usize = 256;
        let bottom = self.mapping.as_ptr() as usize + GUARD_SIZE;
        let (mut at, mut clear) = (top, 0);
        while clear < gap && at >= bottom + PIECE {
            at -= PIECE;
            // SAFETY: a piece of the stack that is nobody's. What is there need not be anything that Rust may read.
            unsafe {
                let any: usize;
                asm!(
                    "2:",
                    "or {any}, [{at}]",
                    "add {at}, 8",
                    "cmp {at}, {end}",
                    "jb 2b",
                    any = inout(reg) 0_usize => any,
                    at = inout(reg) at => _,
                    end = in(reg) at + PIECE,
                    options(readonly, nostack)
                );
                if any == 0 {
                    clear += PIECE;
                } else {
                    ptr::write_bytes(at as *mut u8, 0, PIECE);
                    clear = 0;
                }
            }
        }
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: nobody is on it.
        let unmapped = unsafe { mman::munmap(self.mapping, Self::SIZE) };
        unmapped.expect("a mapping of its own");
    }
}
