//! Which line of a driver called the kernel, by the stack of its thread: for a trace of what was not told, as a function of C's is not,
//! whose signature is FreeBSD's or Linux's, nor the destructor of a guard.

use std::collections::HashMap;
use std::path::Path;

/// Return addresses, innermost first.
pub(crate) type Stack = Vec<usize>;

/// The most frames that are looked at: below the kernel's own, a driver's call is one of the next.
const FRAMES: usize = 48;

/// The calling thread's.
pub(crate) fn stack() -> Stack {
    let mut stack = Stack::new();
    // SAFETY: `_Unwind_Backtrace` may be called by several threads; the lock that the safe function takes is for other systems' unwinders,
    // and would stay taken if a driver that has overwritten its stack made this one fault.
    unsafe {
        backtrace::trace_unsynchronized(|frame| {
            stack.push(frame.ip() as usize);
            stack.len() < FRAMES
        });
    }
    stack
}

/// Finds lines. That takes more stack than kernel threads have, so it is for the host's.
#[derive(Debug, Default)]
pub(crate) struct Lines(HashMap<usize, Option<String>>);

impl Lines {
    /// The innermost line outside the kernel, as `file:line`; none without debug information, or in a thread of the kernel's own.
    pub(crate) fn caller(&mut self, stack: &[usize]) -> Option<String> {
        stack.iter().find_map(|&at| self.0.entry(at).or_insert_with(|| line_of(at)).clone())
    }
}

/// The innermost line outside the kernel that the return address lies in: of the call itself, which lies before.
fn line_of(at: usize) -> Option<String> {
    line_at(at.wrapping_sub(1))
}

/// The innermost line outside the kernel that the instruction is of, of functions that were inlined into each other.
pub(crate) fn line_at(pc: usize) -> Option<String> {
    let mut line = None;
    backtrace::resolve(pc as *mut core::ffi::c_void, |symbol| {
        if line.is_none()
            && let (Some(file), Some(number)) = (symbol.filename(), symbol.lineno())
        {
            let file = relative(file).to_string_lossy();
            line = (!is_kernel(&file)).then(|| format!("{file}:{number}"));
        }
    });
    line
}

/// As `file!()` has it in this workspace, and `__FILE__` in a file that was compiled where the process runs.
fn relative(file: &Path) -> &Path {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_owned);
    let mut folders = [workspace, std::env::current_dir().ok()].into_iter().flatten();
    folders.find_map(|folder| file.strip_prefix(folder).ok()).unwrap_or(file)
}

/// Whether the file is the kernel's, the shim's, or a library's.
pub(crate) fn is_kernel(file: &str) -> bool {
    ["freebsd-sys/src/", "linuxkpi/src/", "linuxkpi/include/", "/library/", "/registry/src/"]
        .iter()
        .any(|own| file.contains(own))
}
