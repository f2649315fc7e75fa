//! Ours: `linuxkpi_today`'s spinlocks, and counts whose readers wait on the writer's turnstile.
//!
//! **Keeps** what `linuxkpi_today` keeps; no writer enters a critical section, and a reader of an odd count spins while the
//! writer runs, else blocks and lends it priority. Zeroed memory is a valid count; readers never write into the object.
//! **Loses** readers in a critical section whose writer was preempted on their CPU: they may not block.
//! **Costs** a table slot per write section, and a full fence at its end; readers pay only when they meet a writer.
//!
//! Source: ours; turnstile(9), and the algorithm in `backend/turnstile.rs`.

use super::LockMapping;
use crate::backend::turnstile::TurnstileCount;
use crate::backend::{LkpiSeqlock, MtxPin, RwDef};

/// See the module.
#[derive(Debug)]
pub struct SeqTurnstile;

impl LockMapping for SeqTurnstile {
    const NAME: &'static str = "seq_turnstile";
    const ABOUT: &'static str = "today's spinlocks; readers of an odd count block on the writer's turnstile";
    type Spin = MtxPin;
    type RawSpin = MtxPin;
    type Rw = RwDef;
    type Seqcount = TurnstileCount;
    type SeqcountMutex = TurnstileCount;
    type Seqlock = LkpiSeqlock<TurnstileCount>;
}
