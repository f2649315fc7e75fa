//! Host threads for those who run machines: work spread over processors, and Ctrl-C.
//!
//! A host thread inherits its parent's GS, so none is started outside `host`: who wants machines to run side by side asks here.

use super::gs;
use crate::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::time::Duration;

/// A counter that workers add to while somebody watches.
#[derive(Debug, Default)]
pub struct Tally(AtomicU64);

impl Tally {
    /// Zero.
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// Adds one; the sum before.
    pub fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }

    /// The sum so far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The number of processors that this process may use.
pub fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Applies `work` to each item on up to `workers` host threads; the results come in the order of the items.
///
/// A Rust panic in `work` costs its own item only: its text is the error. Meanwhile the caller's thread calls `watch` with the
/// number of items that are done, each time that it grows and ten times a second.
///
/// # Panics
///
/// A Rust panic when called from inside a machine, or when the host has no thread to give.
pub fn map<T: Sync, R: Send>(
    workers: usize,
    items: &[T],
    work: impl Fn(&T) -> R + Sync,
    mut watch: impl FnMut(usize),
) -> Vec<Result<R, String>> {
    assert!(!crate::cpu::in_machine(), "host threads are started outside of machines");
    let mut results: Vec<Option<Result<R, String>>> = items.iter().map(|_| None).collect();
    let next = AtomicUsize::new(0);
    let (sender, done) = mpsc::channel();
    std::thread::scope(|scope| {
        for at in 0..workers.clamp(1, items.len().max(1)) {
            let (sender, next, work) = (sender.clone(), &next, &work);
            let body = move || {
                gs::leave();
                while let Some((at, item)) = take(items, next) {
                    let result = catch_unwind(AssertUnwindSafe(|| work(item))).map_err(|payload| text_of(&*payload));
                    if sender.send((at, result)).is_err() {
                        return;
                    }
                }
            };
            let spawned = std::thread::Builder::new().name(format!("worker{at}")).spawn_scoped(scope, body);
            spawned.expect("no host thread for a worker");
        }
        drop(sender);
        let mut count = 0;
        watch(count);
        loop {
            match done.recv_timeout(Duration::from_millis(100)) {
                Ok((at, result)) => {
                    results[at] = Some(result);
                    count += 1;
                }
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
            }
            watch(count);
        }
    });
    results.into_iter().map(|result| result.unwrap_or_else(|| Err("its worker vanished".to_owned()))).collect()
}

fn take<'a, T>(items: &'a [T], next: &AtomicUsize) -> Option<(usize, &'a T)> {
    let at = next.fetch_add(1, Ordering::Relaxed);
    Some((at, items.get(at)?))
}

/// The text of a caught Rust panic.
fn text_of(payload: &(dyn std::any::Any + Send)) -> String {
    payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a text".to_owned())
}

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

extern "C" fn on_interrupt(_signal: i32) {
    INTERRUPTED.store(true, Ordering::Relaxed);
}

/// Makes the first Ctrl-C a request that [`interrupted`] reports; a second one ends the process.
pub fn catch_interrupt() {
    // SAFETY: a plain sigaction(2); the handler only stores to a static, on the host thread's signal stack. A kernel thread's
    // stack may have no room for a frame.
    unsafe {
        let mut action: libc::sigaction = core::mem::zeroed();
        action.sa_sigaction = on_interrupt as *const () as usize;
        action.sa_flags = libc::SA_ONSTACK | libc::SA_RESTART | libc::SA_RESETHAND;
        libc::sigemptyset(&mut action.sa_mask);
        libc::sigaction(libc::SIGINT, &action, core::ptr::null_mut());
    }
}

/// Whether Ctrl-C was pressed since [`catch_interrupt`].
pub fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_keep_the_order_of_items_and_a_panic_costs_one() {
        let items: Vec<u64> = (0..50).collect();
        for workers in [1, 2, 7] {
            let seen = Tally::new();
            let results = map(
                workers,
                &items,
                |&n| {
                    seen.add(1);
                    assert!(n != 13, "thirteen");
                    n * 2
                },
                |_| (),
            );
            assert_eq!(seen.get(), 50);
            for (n, result) in results.iter().enumerate() {
                match result {
                    Ok(double) => assert_eq!(*double, n as u64 * 2),
                    Err(text) => assert_eq!((n, text.as_str()), (13, "thirteen")),
                }
            }
        }
        assert!(map(4, &[] as &[u8], |_| (), |_| ()).is_empty());
    }
}
