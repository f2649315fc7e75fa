/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * linux/ktime.h: virtual time in nanoseconds, which goes on by ticks.
 */

#ifndef _LINUX_KTIME_H_
#define _LINUX_KTIME_H_

#include <linux/jiffies.h>
#include <linux/types.h>

#define NSEC_PER_USEC 1000L
#define NSEC_PER_MSEC 1000000L
#define NSEC_PER_SEC 1000000000L
#define USEC_PER_MSEC 1000L
#define USEC_PER_SEC 1000000L
#define MSEC_PER_SEC 1000L
#define KTIME_MAX LONG_MAX

static inline ktime_t
ktime_get(void)
{
	return ((ktime_t)jiffies * (NSEC_PER_SEC / HZ));
}

#define ktime_get_ns() ((u64)ktime_get())
#define ktime_get_raw() ktime_get()
#define ktime_get_raw_ns() ktime_get_ns()
#define ktime_get_boottime() ktime_get()
#define ktime_set(seconds, ns) ((ktime_t)((s64)(seconds) * NSEC_PER_SEC + (s64)(ns)))
#define ns_to_ktime(ns) ((ktime_t)(ns))
#define ms_to_ktime(ms) ((ktime_t)((s64)(ms) * NSEC_PER_MSEC))
#define ktime_to_ns(kt) ((s64)(kt))
#define ktime_to_us(kt) ((s64)(kt) / NSEC_PER_USEC)
#define ktime_to_ms(kt) ((s64)(kt) / NSEC_PER_MSEC)
#define ktime_add(a, b) ((ktime_t)((a) + (b)))
#define ktime_sub(a, b) ((ktime_t)((a) - (b)))
#define ktime_add_ns(kt, ns) ktime_add((kt), (s64)(ns))
#define ktime_sub_ns(kt, ns) ktime_sub((kt), (s64)(ns))
#define ktime_add_us(kt, us) ktime_add_ns((kt), (us) * NSEC_PER_USEC)
#define ktime_add_ms(kt, ms) ktime_add_ns((kt), (ms) * NSEC_PER_MSEC)
#define ktime_us_delta(later, earlier) ktime_to_us(ktime_sub((later), (earlier)))
#define ktime_ms_delta(later, earlier) ktime_to_ms(ktime_sub((later), (earlier)))

static inline int
ktime_compare(ktime_t a, ktime_t b)
{
	return ((a > b) - (a < b));
}

static inline bool
ktime_after(ktime_t a, ktime_t b)
{
	return (a > b);
}

static inline bool
ktime_before(ktime_t a, ktime_t b)
{
	return (a < b);
}

#endif /* _LINUX_KTIME_H_ */
