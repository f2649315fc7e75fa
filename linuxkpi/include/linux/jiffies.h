/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * linux/jiffies.h: virtual time in ticks.
 */

#ifndef _LINUX_JIFFIES_H_
#define _LINUX_JIFFIES_H_

#include <linux/kernel.h>
#include <linux/types.h>

#define HZ 1000
#define MAX_JIFFY_OFFSET INT_MAX

/* Of 64 bits, as FreeBSD's ticksl: it does not wrap. */
unsigned long lkpi_jiffies(void);
#define jiffies lkpi_jiffies()
#define get_jiffies_64() ((u64)jiffies)

#define time_after(a, b) ((long)((b) - (a)) < 0)
#define time_before(a, b) time_after((b), (a))
#define time_after_eq(a, b) ((long)((a) - (b)) >= 0)
#define time_before_eq(a, b) time_after_eq((b), (a))
#define time_in_range(a, from, to) (time_after_eq((a), (from)) && time_before_eq((a), (to)))
#define time_is_before_jiffies(a) time_after(jiffies, (a))
#define time_is_after_jiffies(a) time_before(jiffies, (a))

static inline unsigned long
msecs_to_jiffies(unsigned int ms)
{
	return (ms > MAX_JIFFY_OFFSET ? (unsigned long)MAX_JIFFY_OFFSET : (unsigned long)ms * HZ / 1000);
}

static inline unsigned long
usecs_to_jiffies(unsigned int us)
{
	return (((unsigned long)us * HZ + 999999) / 1000000);
}

static inline u64
nsecs_to_jiffies64(u64 ns)
{
	return (ns / (1000000000 / HZ));
}

static inline unsigned long
nsecs_to_jiffies(u64 ns)
{
	return (nsecs_to_jiffies64(ns));
}

static inline unsigned int
jiffies_to_usecs(unsigned long j)
{
	return ((unsigned int)(j * (1000000 / HZ)));
}

static inline unsigned int
jiffies_to_msecs(unsigned long j)
{
	return ((unsigned int)(j * 1000 / HZ));
}

#endif /* _LINUX_JIFFIES_H_ */
