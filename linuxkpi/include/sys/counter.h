/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * sys/counter.h: counter(9), a word per CPU. What is read while others add is the sum of some moments' words.
 */

#ifndef _SYS_COUNTER_H_
#define _SYS_COUNTER_H_

#include <machine/atomic.h>
#include <sys/malloc.h>
#include <sys/pcpu.h>

typedef uint64_t *counter_u64_t;

static __inline counter_u64_t
counter_u64_alloc(int flags)
{

	return (lkpi_malloc(MAXCPU * sizeof(uint64_t), "pcpu", flags | M_ZERO));
}

static __inline void
counter_u64_free(counter_u64_t c)
{

	lkpi_free(c, "pcpu");
}

/* One instruction on amd64: whoever migrates before it adds on the CPU where it was, which counts as well. */
static __inline void
counter_u64_add(counter_u64_t c, int64_t n)
{

	atomic_add_64(&c[curcpu], (uint64_t)n);
}

#define counter_enter() critical_enter()
#define counter_exit() critical_exit()
#define counter_u64_add_protected(c, n) counter_u64_add((c), (n))

static __inline uint64_t
counter_u64_fetch(counter_u64_t c)
{
	uint64_t sum = 0;
	int i;

	for (i = 0; i < MAXCPU; i++)
		sum += atomic_load_64(&c[i]);
	return (sum);
}

/* Whoever adds meanwhile adds before or after. */
static __inline void
counter_u64_zero(counter_u64_t c)
{
	int i;

	for (i = 0; i < MAXCPU; i++)
		atomic_store_64(&c[i], 0);
}

#endif /* _SYS_COUNTER_H_ */
