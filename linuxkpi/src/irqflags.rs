//! linux/irqflags.h.

use crate::Flags;
use crate::mapping::LockMapping;
use freebsd_sys::thread::curthread;

/// `local_irq_save(flags)`.
pub fn local_irq_save<M: LockMapping>() -> Flags {
    M::local_irq_save()
}

/// `local_irq_restore(flags)`.
pub fn local_irq_restore<M: LockMapping>(flags: Flags) {
    M::local_irq_restore(flags);
}

/// `local_irq_disable()`.
pub fn local_irq_disable<M: LockMapping>() {
    M::local_irq_save();
}

/// `local_irq_enable()`.
pub fn local_irq_enable<M: LockMapping>() {
    M::local_irq_enable();
}

/// `irqs_disabled()`, as drm-kmod defines it.
pub fn irqs_disabled() -> bool {
    let td = curthread();
    td.critnest.get() != 0 || td.intr_nesting_level.get() != 0 || crate::backend::cpu::irqs_off(crate::sched::current())
}

/// `in_interrupt()`, as LinuxKPI defines it: false inside an irq handler, which is an ithread; true in any critical section.
pub fn in_interrupt() -> bool {
    let td = curthread();
    td.intr_nesting_level.get() != 0 || td.critnest.get() != 0
}
