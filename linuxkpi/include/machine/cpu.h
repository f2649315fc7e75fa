/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * machine/cpu.h: one round of a loop that waits for another CPU.
 */

#ifndef _MACHINE_CPU_H_
#define _MACHINE_CPU_H_

void lkpi_cpu_spinwait(void);
#define cpu_spinwait() lkpi_cpu_spinwait()
/* A spin without a lock's help is not told from another. */
#define cpu_lock_delay() lkpi_cpu_spinwait()

#endif /* _MACHINE_CPU_H_ */
