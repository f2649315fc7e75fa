/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * linux/log2.h
 */

#ifndef _LINUX_LOG2_H_
#define _LINUX_LOG2_H_

#include <linux/bitops.h>
#include <linux/types.h>

/* Of 0 undefined, as in Linux. A constant for a constant. */
#define ilog2(n) (63 - __builtin_clzl((unsigned long)(n)))

static inline bool
is_power_of_2(unsigned long n)
{
	return (n != 0 && (n & (n - 1)) == 0);
}

static inline unsigned long
roundup_pow_of_two(unsigned long n)
{
	return (n <= 1 ? 1 : 1UL << fls64(n - 1));
}

static inline unsigned long
rounddown_pow_of_two(unsigned long n)
{
	return (1UL << (fls64(n) - 1));
}

#endif /* _LINUX_LOG2_H_ */
