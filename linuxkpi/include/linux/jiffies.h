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

int lkpi_jiffies(void);
#define jiffies ((unsigned long)lkpi_jiffies())

#define time_after(a, b) ((long)((b) - (a)) < 0)
#define time_before(a, b) time_after((b), (a))
#define time_after_eq(a, b) ((long)((a) - (b)) >= 0)
#define time_before_eq(a, b) time_after_eq((b), (a))

static inline unsigned long
msecs_to_jiffies(unsigned int ms)
{
	return ((unsigned long)ms * HZ / 1000);
}

static inline unsigned int
jiffies_to_msecs(unsigned long j)
{
	return ((unsigned int)(j * 1000 / HZ));
}

#endif /* _LINUX_JIFFIES_H_ */
