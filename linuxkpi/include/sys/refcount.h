/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * sys/refcount.h: refcount(9). A count that wraps is a panic under INVARIANTS; otherwise it says so, stays far from zero, and what it
 * counts is never freed.
 */

#ifndef _SYS_REFCOUNT_H_
#define _SYS_REFCOUNT_H_

#include <machine/atomic.h>
#include <sys/systm.h>

/* Half way between where a count is too large and where it would be zero again. */
#define REFCOUNT_SATURATION_VALUE (3U << 30)
#define LKPI_REFCOUNT_SATURATED(n) (((n) & (1U << 31)) != 0)

static __inline void
lkpi_refcount_wraparound(volatile u_int *count)
{

	atomic_store_int(count, REFCOUNT_SATURATION_VALUE);
	if (lkpi_invariants())
		panic("refcount %p wraparound", (const volatile void *)count);
	printf("refcount %p wraparound\n", (const volatile void *)count);
}

static __inline void
refcount_init(volatile u_int *count, u_int value)
{

	KASSERT(!LKPI_REFCOUNT_SATURATED(value), ("invalid initial refcount value %u", value));
	atomic_store_int(count, value);
}

static __inline u_int
refcount_load(volatile u_int *count)
{

	return (atomic_load_int(count));
}

/* Return what there was before. */
static __inline u_int
refcount_acquiren(volatile u_int *count, u_int n)
{
	u_int old;

	KASSERT(n < REFCOUNT_SATURATION_VALUE / 2, ("refcount_acquiren: n=%u too large", n));
	old = atomic_fetchadd_int(count, n);
	if (__predict_false(LKPI_REFCOUNT_SATURATED(old)))
		lkpi_refcount_wraparound(count);
	return (old);
}

static __inline u_int
refcount_acquire(volatile u_int *count)
{

	return (refcount_acquiren(count, 1));
}

/* Not if it would saturate. */
static __inline bool
refcount_acquire_checked(volatile u_int *count)
{
	u_int old = atomic_load_int(count);

	do {
		if (__predict_false(LKPI_REFCOUNT_SATURATED(old + 1)))
			return (false);
	} while (!atomic_fcmpset_int(count, &old, old + 1));
	return (true);
}

/* A saturated count stays as it is: nobody will ever free what it counts. */
static __inline bool
refcount_acquire_if_gt(volatile u_int *count, u_int n)
{
	u_int old = atomic_load_int(count);

	do {
		if (old <= n)
			return (false);
		if (__predict_false(LKPI_REFCOUNT_SATURATED(old)))
			return (true);
	} while (!atomic_fcmpset_int(count, &old, old + 1));
	return (true);
}

static __inline bool
refcount_acquire_if_not_zero(volatile u_int *count)
{

	return (refcount_acquire_if_gt(count, 0));
}

/* True for the last: what others did before they let go is seen by whoever frees. */
static __inline bool
refcount_releasen(volatile u_int *count, u_int n)
{
	u_int old;

	KASSERT(n < REFCOUNT_SATURATION_VALUE / 2, ("refcount_releasen: n=%u too large", n));
	atomic_thread_fence_rel();
	old = atomic_fetchadd_int(count, -n);
	if (__predict_false(old < n || LKPI_REFCOUNT_SATURATED(old))) {
		lkpi_refcount_wraparound(count);
		return (false);
	}
	if (old > n)
		return (false);
	atomic_thread_fence_acq();
	return (true);
}

static __inline bool
refcount_release(volatile u_int *count)
{

	return (refcount_releasen(count, 1));
}

static __inline bool
refcount_release_if_gt(volatile u_int *count, u_int n)
{
	u_int old = atomic_load_int(count);

	KASSERT(n > 0, ("refcount_release_if_gt: Use refcount_release for final ref"));
	do {
		if (old <= n)
			return (false);
		if (__predict_false(LKPI_REFCOUNT_SATURATED(old)))
			return (true);
	} while (!atomic_fcmpset_rel_int(count, &old, old - 1));
	return (true);
}

static __inline bool
refcount_release_if_not_last(volatile u_int *count)
{

	return (refcount_release_if_gt(count, 1));
}

static __inline bool
refcount_release_if_last(volatile u_int *count)
{
	u_int one = 1;

	if (!atomic_fcmpset_rel_int(count, &one, 0))
		return (false);
	atomic_thread_fence_acq();
	return (true);
}

#endif /* _SYS_REFCOUNT_H_ */
