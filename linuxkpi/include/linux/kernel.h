/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * linux/kernel.h
 */

#ifndef _LINUX_KERNEL_H_
#define _LINUX_KERNEL_H_

#include <linux/bug.h>
#include <linux/compiler.h>
#include <linux/container_of.h>
#include <linux/errno.h>
#include <linux/printk.h>
#include <linux/types.h>

#define ARRAY_SIZE(x) (sizeof(x) / sizeof((x)[0]))
#define DIV_ROUND_UP(n, d) (((n) + (d) - 1) / (d))
#define ALIGN(x, a) (((x) + ((__typeof__(x))(a) - 1)) & ~((__typeof__(x))(a) - 1))
#define INT_MAX __INT_MAX__
#define UINT_MAX (__INT_MAX__ * 2U + 1)
#define LONG_MAX __LONG_MAX__
#define ULONG_MAX (__LONG_MAX__ * 2UL + 1)
#define INT_MIN (-INT_MAX - 1)
#define LONG_MIN (-LONG_MAX - 1)
#ifndef SIZE_MAX
#define SIZE_MAX ULONG_MAX
#endif
#define S32_MAX INT_MAX
#define S64_MAX LONG_MAX
#define U8_MAX ((u8)~0U)
#define U16_MAX ((u16)~0U)
#define IS_ALIGNED(x, a) (((x) & ((__typeof__(x))(a) - 1)) == 0)
#define PTR_ALIGN(p, a) ((__typeof__(p))ALIGN((uintptr_t)(p), (a)))
#define round_down(x, a) ((x) & ~((__typeof__(x))(a) - 1))
#define round_up(x, a) ALIGN(x, a)
#define lower_32_bits(x) ((u32)(x))
#define upper_32_bits(x) ((u32)((u64)(x) >> 32))
#define clamp(x, low, high) min(max((x), (low)), (high))
#define clamp_t(type, x, low, high) min_t(type, max_t(type, (x), (low)), (high))
#define U32_MAX ((u32)~0U)
#define U64_MAX ((u64)~0ULL)

#define min(a, b) ({							\
	__typeof__(a) lkpi_a_ = (a);					\
	__typeof__(b) lkpi_b_ = (b);					\
									\
	lkpi_a_ < lkpi_b_ ? lkpi_a_ : lkpi_b_;				\
})
#define max(a, b) ({							\
	__typeof__(a) lkpi_a_ = (a);					\
	__typeof__(b) lkpi_b_ = (b);					\
									\
	lkpi_a_ > lkpi_b_ ? lkpi_a_ : lkpi_b_;				\
})
#define min_t(type, a, b) min((type)(a), (type)(b))
#define max_t(type, a, b) max((type)(a), (type)(b))
#define swap(a, b) do {							\
	__typeof__(a) lkpi_swap_ = (a);					\
									\
	(a) = (b);							\
	(b) = lkpi_swap_;						\
} while (0)

/* Prints, and does not see td_critnest or NOWITNESS locks: as on FreeBSD. */
void lkpi_might_sleep(const char *, int);
#define might_sleep() lkpi_might_sleep(__FILE__, __LINE__)
#define might_sleep_if(cond) do {					\
	if (cond)							\
		might_sleep();						\
} while (0)

#endif /* _LINUX_KERNEL_H_ */
