//! Ours: "preemption off" is owning the CPU, not a critical section.
//!
//! **Keeps** Linux's rules as they are meant: nothing that Linux would keep out runs between, malloc, free, taskqueues and
//! blocking work everywhere, waiting lends priority, and nothing ever switches in a critical section.
//! **Loses** true irq-off latency: a handler waits for the CPU's lock instead of a flag.
//! **Costs** a recursive per-CPU mutex (two, for the irqsave form) before each lock.
//!
//! Source: ours; the order of the per-CPU locks and why a wait ends are in `backend/cpu.rs`.

use super::{Context, How, LockMapping, RwBackend};
use crate::Flags;
use crate::backend::seq::Seqlock;
use crate::backend::spin::{Around, MtxDef};
use crate::backend::turnstile::TurnstileCount;
use crate::backend::{RwDef, cpu};

/// See the module.
#[derive(Debug)]
pub struct CpuMutex;

/// Owning the CPU around the mutex.
#[derive(Debug)]
pub struct OwnCpu;

#[inline(always)]
fn enter(context: Context) -> Flags {
    match context {
        Context::Plain => cpu::preempt_disable(),
        Context::Bh => cpu::lock_bh(),
        Context::Irq | Context::IrqSave => return cpu::lock_irqsave(),
    }
    Flags(0)
}

#[inline(always)]
fn exit(context: Context, flags: Flags) {
    match context {
        Context::Plain => cpu::preempt_enable(),
        Context::Bh => cpu::unlock_bh(),
        Context::Irq => cpu::unlock_irq(),
        Context::IrqSave => cpu::unlock_irqrestore(flags),
    }
}

// SAFETY: `after` undoes `before`.
unsafe impl Around for OwnCpu {
    #[inline(always)]
    fn before(context: Context) -> Flags {
        enter(context)
    }
    #[inline(always)]
    fn inside(_context: Context) {}
    #[inline(always)]
    fn leave(_context: Context) {}
    #[inline(always)]
    fn after(context: Context, flags: Flags) {
        exit(context, flags);
    }
}

/// An rwlock inside the owned CPU.
#[repr(transparent)]
#[derive(Debug)]
pub struct CpuRw(RwDef);

// SAFETY: the rwlock excludes; the CPU is owned around it.
unsafe impl RwBackend for CpuRw {
    const ZEROED: Self = Self(RwDef::ZEROED);

    fn init(&self) {
        self.0.init();
    }
    fn read_lock(&self, how: How) -> Flags {
        let flags = enter(how.context);
        self.0.read_lock(how);
        flags
    }
    fn read_trylock(&self, how: How) -> Option<Flags> {
        let flags = enter(how.context);
        if self.0.read_trylock(how).is_some() {
            return Some(flags);
        }
        exit(how.context, flags);
        None
    }
    fn read_unlock(&self, how: How, flags: Flags) {
        self.0.read_unlock(how, flags);
        exit(how.context, flags);
    }
    fn write_lock(&self, how: How) -> Flags {
        let flags = enter(how.context);
        self.0.write_lock(how);
        flags
    }
    fn write_trylock(&self, how: How) -> Option<Flags> {
        let flags = enter(how.context);
        if self.0.write_trylock(how).is_some() {
            return Some(flags);
        }
        exit(how.context, flags);
        None
    }
    fn write_unlock(&self, how: How, flags: Flags) {
        self.0.write_unlock(how, flags);
        exit(how.context, flags);
    }
    fn is_locked(&self) -> bool {
        self.0.is_locked()
    }
}

impl LockMapping for CpuMutex {
    const NAME: &'static str = "cpu_mutex";
    const ABOUT: &'static str = "preemption off is owning the CPU's mutex; turnstile counts";
    type Spin = MtxDef<OwnCpu>;
    type RawSpin = MtxDef<OwnCpu>;
    type Rw = CpuRw;
    type Seqcount = TurnstileCount;
    type SeqcountMutex = TurnstileCount;
    type Seqlock = Seqlock<MtxDef<OwnCpu>, TurnstileCount>;

    fn preempt_disable() {
        cpu::preempt_disable();
    }
    fn preempt_enable() {
        cpu::preempt_enable();
    }
    fn local_irq_save() -> Flags {
        cpu::irq_save()
    }
    fn local_irq_restore(flags: Flags) {
        cpu::irq_restore(flags);
    }
    fn local_irq_enable() {
        cpu::irq_enable();
    }
    fn local_bh_disable() {
        cpu::bh_disable();
    }
    fn local_bh_enable() {
        cpu::bh_enable();
    }
    fn irq_handler(body: impl FnOnce()) {
        cpu::handler(true, body);
    }
    fn softirq_handler(body: impl FnOnce()) {
        cpu::handler(false, body);
    }
    fn kfree_defers() -> bool {
        false
    }
}
