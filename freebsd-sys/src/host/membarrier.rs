//! membarrier(2): a full fence on every host thread that runs one of this process's virtual CPUs, paid for by the caller.
//!
//! What a kernel does with an IPI to each CPU. Where the kernel refuses (a seccomp filter, Linux before 4.14) both sides of the
//! pair fence for themselves.
//!
//! References: membarrier(2); Documentation/scheduler/membarrier.rst.

use crate::atomic::{AtomicBool, Ordering, thread_fence_seq_cst};
use std::sync::Once;

/// Not in libc's headers for every target: linux/membarrier.h.
const PRIVATE_EXPEDITED: libc::c_int = 1 << 3;
const REGISTER_PRIVATE_EXPEDITED: libc::c_int = 1 << 4;

/// Whether the process is registered, so that readers need no fence. It turns true once and stays.
static GRANTED: AtomicBool = AtomicBool::new(false);

fn membarrier(command: libc::c_int) -> bool {
    // SAFETY: a system call that touches no memory of ours.
    unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) == 0 }
}

/// Asks for the service, once for each process; called before the first virtual CPU of a run starts. `LKPI_NO_MEMBARRIER` in the
/// environment stands for a refusal, for tests.
pub(crate) fn register() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        if std::env::var_os("LKPI_NO_MEMBARRIER").is_none() && membarrier(REGISTER_PRIVATE_EXPEDITED) {
            GRANTED.store(true, Ordering::SeqCst);
        }
    });
}

/// Whether the reader's side may leave its fence out.
#[inline(always)]
pub(crate) fn granted() -> bool {
    // A reader that still sees false fences although it need not.
    GRANTED.load(Ordering::Relaxed)
}

/// The writer's side.
pub(crate) fn fence() {
    // Readers fence for themselves where it was refused. A registered process is never refused later; should it be, readers that
    // left the fence out could be missed, so that ends the process rather than a lock's promise.
    if GRANTED.load(Ordering::SeqCst) {
        assert!(membarrier(PRIVATE_EXPEDITED), "membarrier(2) refused although registered");
    }
    thread_fence_seq_cst();
}
