/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * machine/cpufunc.h: interrupts off and on, on this thread's CPU. Unlike spinlock_enter() it leaves preemption possible, so
 * the CPU may go to another thread, whose interrupts are its own matter.
 */

#ifndef _MACHINE_CPUFUNC_H_
#define _MACHINE_CPUFUNC_H_

#include <machine/cpu.h>
#include <sys/types.h>

register_t lkpi_intr_disable(void);
void lkpi_intr_restore(register_t);

static __inline register_t
intr_disable(void)
{

	return (lkpi_intr_disable());
}

static __inline void
intr_restore(register_t rflags)
{

	lkpi_intr_restore(rflags);
}

#define disable_intr() ((void)lkpi_intr_disable())
#define enable_intr() lkpi_intr_restore(0x200)
#define ia32_pause() lkpi_cpu_spinwait()

#endif /* _MACHINE_CPUFUNC_H_ */
