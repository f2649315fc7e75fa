/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * sys/pcpu.h: curthread, and which CPU this is.
 */

#ifndef _SYS_PCPU_H_
#define _SYS_PCPU_H_

#include <sys/types.h>

struct thread;

/* Constant for the thread that asks, however often it migrates. */
struct thread *lkpi_curthread(void) __pure2;
int lkpi_curcpu(void);

#define curthread lkpi_curthread()
#define curcpu lkpi_curcpu()

#endif /* _SYS_PCPU_H_ */
