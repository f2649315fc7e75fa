//! Rows 115 to 118: epoch(9), which is not emulated yet.

use super::{Row, not_applicable};

pub(super) fn rows() -> Vec<Row> {
    let reason = "epoch(9) is not emulated";
    vec![
        not_applicable(115, "epoch_wait_preempt in a section of the same epoch", reason),
        not_applicable(116, "epoch_wait_preempt with other locks than before, or with any", reason),
        not_applicable(117, "leaving a critical section inside epoch_enter", reason),
        not_applicable(118, "a tracker on another thread, off the stack, or of another kind of epoch", reason),
    ]
}
