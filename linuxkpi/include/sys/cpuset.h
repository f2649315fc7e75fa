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
#define LKPI_CPU_WORDS(i) for (size_t i = 0; i < CPU_SETSIZE / 64; i++)
#define CPU_FILL(set) do {						\
	LKPI_CPU_WORDS(lkpi_i_)						\
		(set)->__bits[lkpi_i_] = -1L;				\
} while (0)
#define CPU_COPY(from, to) ((void)(*(to) = *(from)))
#define LKPI_CPU_EACH(to, from, op) do {				\
	LKPI_CPU_WORDS(lkpi_i_)						\
		(to)->__bits[lkpi_i_] op (from)->__bits[lkpi_i_];	\
} while (0)
#define CPU_ORS(to, from) LKPI_CPU_EACH((to), (from), |=)
#define CPU_ANDS(to, from) LKPI_CPU_EACH((to), (from), &=)
#define CPU_ANDNOTS(to, from) LKPI_CPU_EACH((to), (from), &= ~)

static __inline int
lkpi_cpu_count(const cpuset_t *set)
{
	int n = 0;

	LKPI_CPU_WORDS(i)
		n += __builtin_popcountl((unsigned long)set->__bits[i]);
	return (n);
}

static __inline int
lkpi_cpu_ffs(const cpuset_t *set)
{

	LKPI_CPU_WORDS(i) {
		if (set->__bits[i] != 0)
			return ((int)i * 64 + __builtin_ffsl(set->__bits[i]));
	}
	return (0);
}

/* Whether `outer` has all of `inner`. */
static __inline bool
lkpi_cpu_subset(const cpuset_t *outer, const cpuset_t *inner)
{

	LKPI_CPU_WORDS(i) {
		if ((inner->__bits[i] & ~outer->__bits[i]) != 0)
			return (false);
	}
	return (true);
}

#define CPU_COUNT(set) lkpi_cpu_count(set)
#define CPU_EMPTY(set) (lkpi_cpu_ffs(set) == 0)
/* The number of the first, and one more; 0 if there is none. */
#define CPU_FFS(set) lkpi_cpu_ffs(set)
#define CPU_SUBSET(outer, inner) lkpi_cpu_subset((outer), (inner))
#define CPU_CMP(a, b) (!lkpi_cpu_subset((a), (b)) || !lkpi_cpu_subset((b), (a)))
#define CPU_SETOF(n, set) do {						\
	CPU_ZERO(set);							\
	CPU_SET((n), (set));						\
} while (0)

#endif /* _SYS_CPUSET_H_ */
