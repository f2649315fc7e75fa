/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * sys/cpuset.h: cpuset(9), of 1024 CPUs. freebsd_sys::ffi::smp::Cpuset has the same layout.
 */

#ifndef _SYS_CPUSET_H_
#define _SYS_CPUSET_H_

#include <sys/systm.h>

#define CPU_SETSIZE 1024

typedef struct _cpuset {
	long __bits[CPU_SETSIZE / 64];
} cpuset_t;

_Static_assert(sizeof(cpuset_t) == 128, "cpuset_t");

#define LKPI_CPU_BIT(n) (1L << ((n) % 64))
#define CPU_ZERO(set) ((void)(*(set) = (cpuset_t){ { 0 } }))
#define CPU_SET(n, set) ((void)((set)->__bits[(n) / 64] |= LKPI_CPU_BIT(n)))
#define CPU_CLR(n, set) ((void)((set)->__bits[(n) / 64] &= ~LKPI_CPU_BIT(n)))
#define CPU_ISSET(n, set) (((set)->__bits[(n) / 64] & LKPI_CPU_BIT(n)) != 0)
#define CPU_SETOF(n, set) do {						\
	CPU_ZERO(set);							\
	CPU_SET((n), (set));						\
} while (0)

#endif /* _SYS_CPUSET_H_ */
