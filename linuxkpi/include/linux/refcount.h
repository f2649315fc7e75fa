/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * linux/refcount.h: counts that saturate instead of wrapping. LinuxKPI's are plain atomics; these are Linux's: a count that would
 * overflow, is taken from zero or falls below it stays at REFCOUNT_SATURATED, says so, and what it counts is never freed.
 */

#ifndef _LINUX_REFCOUNT_H_
#define _LINUX_REFCOUNT_H_

#include <linux/atomic.h>
#include <linux/bug.h>
#include <linux/compiler.h>
#include <linux/kernel.h>
#include <linux/spinlock.h>
#include <linux/types.h>

typedef struct refcount_struct {
	atomic_t refs;
} refcount_t;

#define REFCOUNT_INIT(n) { .refs = ATOMIC_INIT(n) }
#define REFCOUNT_MAX INT_MAX
#define REFCOUNT_SATURATED (-1 - INT_MAX / 2)

static inline void
lkpi_refcount_saturate(refcount_t *r, const char *what)
{
	atomic_set(&r->refs, REFCOUNT_SATURATED);
	WARN(true, "refcount_t: %s\n", what);
}

static inline void
refcount_set(refcount_t *r, int n)
{
	atomic_set(&r->refs, n);
}

static inline unsigned int
refcount_read(const refcount_t *r)
{
	return ((unsigned int)atomic_read(&r->refs));
}

static inline bool
refcount_add_not_zero(int i, refcount_t *r)
{
	int old = atomic_fetch_add_unless(&r->refs, i, 0);

	if (unlikely(old != 0 && (old < 0 || i > REFCOUNT_MAX - old)))
		lkpi_refcount_saturate(r, "saturated; leaking memory.");
	return (old != 0);
}

static inline void
refcount_add(int i, refcount_t *r)
{
	int old = atomic_fetch_add(i, &r->refs);

	if (unlikely(old == 0))
		lkpi_refcount_saturate(r, "addition on 0; use-after-free.");
	else if (unlikely(old < 0 || i > REFCOUNT_MAX - old))
		lkpi_refcount_saturate(r, "saturated; leaking memory.");
}

static inline bool
refcount_inc_not_zero(refcount_t *r)
{
	return (refcount_add_not_zero(1, r));
}

static inline void
refcount_inc(refcount_t *r)
{
	refcount_add(1, r);
}

static inline bool
refcount_sub_and_test(int i, refcount_t *r)
{
	int old = atomic_fetch_sub(i, &r->refs);

	if (old > 0 && old == i)
		return (true);
	if (unlikely(old <= 0 || old < i))
		lkpi_refcount_saturate(r, "underflow; use-after-free.");
	return (false);
}

static inline bool
refcount_dec_and_test(refcount_t *r)
{
	return (refcount_sub_and_test(1, r));
}

static inline void
refcount_dec(refcount_t *r)
{
	if (unlikely(atomic_fetch_sub(1, &r->refs) <= 1))
		lkpi_refcount_saturate(r, "decrement hit 0; leaking memory.");
}

static inline bool
refcount_dec_if_one(refcount_t *r)
{
	int one = 1;

	return (atomic_try_cmpxchg(&r->refs, &one, 0));
}

static inline bool
refcount_dec_not_one(refcount_t *r)
{
	int old = atomic_read(&r->refs);

	do {
		if (unlikely(old == REFCOUNT_SATURATED))
			return (true);
		if (old == 1)
			return (false);
		if (unlikely(old <= 0)) {
			lkpi_refcount_saturate(r, "underflow; use-after-free.");
			return (true);
		}
	} while (!atomic_try_cmpxchg(&r->refs, &old, old - 1));
	return (true);
}

/* The lock is held only where the count has come to zero. */
static inline bool
refcount_dec_and_lock(refcount_t *r, spinlock_t *lock)
{
	if (refcount_dec_not_one(r))
		return (false);
	spin_lock(lock);
	if (refcount_dec_and_test(r))
		return (true);
	spin_unlock(lock);
	return (false);
}

static inline bool
refcount_dec_and_lock_irqsave(refcount_t *r, spinlock_t *lock, unsigned long *flags)
{
	if (refcount_dec_not_one(r))
		return (false);
	spin_lock_irqsave(lock, *flags);
	if (refcount_dec_and_test(r))
		return (true);
	spin_unlock_irqrestore(lock, *flags);
	return (false);
}

#endif /* _LINUX_REFCOUNT_H_ */
