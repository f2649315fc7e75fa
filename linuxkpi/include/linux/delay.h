/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * linux/delay.h: virtual time.
 */

#ifndef _LINUX_DELAY_H_
#define _LINUX_DELAY_H_

#include <linux/jiffies.h>

void lkpi_msleep(unsigned int);
void lkpi_udelay(unsigned int);

/* Not FreeBSD's, of sys/systm.h. */
#undef msleep
#define msleep(ms) lkpi_msleep(ms)
#define usleep_range(min, max) lkpi_msleep(((min) + 999) / 1000)
#define udelay(us) lkpi_udelay(us)
#define ndelay(ns) lkpi_udelay(((ns) + 999) / 1000)
#define mdelay(ms) lkpi_udelay((ms) * 1000)

#endif /* _LINUX_DELAY_H_ */
