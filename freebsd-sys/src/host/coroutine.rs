//! Kernel threads' stacks and contexts: stackful coroutines on pooled stacks with guard pages.
//!
//! A kernel thread gives up its virtual CPU by suspending to whoever resumed it (the engine's loop), which is what makes the
//! switch safe on several host threads: the loop publishes the old thread only after its context is saved.

use super::gs;
use corosensei::stack::DefaultStack;
use corosensei::{Coroutine, CoroutineResult, Yielder};

/// Usable bytes of a kernel stack. FreeBSD gives four pages; formatting a message and unoptimised Rust need more, and the
/// memory is committed only when touched.
const KSTACK_SIZE: usize = 256 * 1024;

/// How a coroutine came back to the engine's loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// It suspended itself: `Pcpu::next` or the explorer says what to do.
    Suspended,
    /// Its function returned.
    Returned,
    /// It faulted; the message is in the machine. Its stack was abandoned.
    Faulted,
}

type Inner = Coroutine<(), (), Stop, DefaultStack>;

/// A kernel thread's context.
pub(crate) struct Context {
    inner: Inner,
}

impl core::fmt::Debug for Context {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Context").field("started", &self.inner.started()).field("done", &self.inner.done()).finish()
    }
}

/// What a context suspends itself with; valid as long as the context runs.
pub(crate) type YielderPtr = *const Yielder<(), ()>;

impl Context {
    /// A context that will run `f`, on a stack of `pool`.
    pub(crate) fn new(pool: &mut StackPool, f: impl FnOnce(YielderPtr) + 'static) -> Self {
        let stack = pool.take();
        let inner = Coroutine::with_stack(stack, move |yielder: &Yielder<(), ()>, ()| {
            f(core::ptr::from_ref(yielder));
            Stop::Returned
        });
        Self { inner }
    }

    /// Runs it until it suspends, returns, faults or panics (a Rust panic continues in the caller).
    #[inline]
    pub(crate) fn resume(&mut self) -> Stop {
        match self.inner.resume(()) {
            CoroutineResult::Yield(()) => Stop::Suspended,
            CoroutineResult::Return(stop) => stop,
        }
    }

    /// Whether it has ever run.
    pub(crate) fn started(&self) -> bool {
        self.inner.started()
    }

    /// Whether its function has returned.
    pub(crate) fn done(&self) -> bool {
        self.inner.done()
    }

    /// Whether `sp` lies on this stack, guard pages included.
    pub(crate) fn owns_stack_pointer(&self, sp: usize) -> bool {
        self.inner.trap_handler().stack_ptr_in_bounds(sp)
    }

    /// Registers with which a signal handler makes the context return [`Stop::Faulted`].
    ///
    /// # Safety
    ///
    /// Called from a signal handler that interrupted this context on its own stack, and the registers are installed.
    pub(crate) unsafe fn trap(&self) -> corosensei::trap::TrapHandlerRegs {
        // SAFETY: the caller's promise; the closure touches nothing.
        unsafe { self.inner.trap_handler().setup_trap_handler(|| Stop::Faulted) }
    }

    /// Unwinds what is left of the context, dropping what lives on its stack, and gives the stack back. If that faults, as on a stack
    /// that is all but full, what is left is not dropped.
    pub(crate) fn unwind(mut self, pool: &mut StackPool) {
        if self.inner.started() && !self.inner.done() {
            // SAFETY: GS points at a live block. If that is a run's it is this host thread's own, and `self` stays where it is until the
            // pointer is taken away.
            let block = unsafe { &*gs::block() };
            let runs = !gs::machine().is_null();
            if runs {
                block.unwinding.set(&raw mut self);
            }
            self.inner.force_unwind();
            if runs {
                block.unwinding.set(core::ptr::null_mut());
            }
        }
        self.discard(pool);
    }

    /// Gives the stack back without unwinding.
    ///
    /// For contexts that are done, and for kernel service threads parked where nothing on the stack needs dropping.
    pub(crate) fn discard(mut self, pool: &mut StackPool) {
        if !self.inner.done() {
            // SAFETY: the service loops keep no droppable value across their park point (see `kproc`), and a context that
            // never started owns only its closure, which `force_unwind` drops.
            unsafe {
                if self.inner.started() {
                    self.inner.force_reset();
                } else {
                    self.inner.force_unwind();
                }
            }
        }
        pool.give(self.inner.into_stack());
    }
}

/// Stacks are 10 microseconds to make and 8 nanoseconds to reuse.
#[derive(Default)]
pub(crate) struct StackPool {
    free: Vec<DefaultStack>,
}

impl core::fmt::Debug for StackPool {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "StackPool({})", self.free.len())
    }
}

impl StackPool {
    fn take(&mut self) -> DefaultStack {
        self.free.pop().unwrap_or_else(|| DefaultStack::new(KSTACK_SIZE).expect("no memory for a kernel stack"))
    }
    fn give(&mut self, stack: DefaultStack) {
        self.free.push(stack);
    }
}
