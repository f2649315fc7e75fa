/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * linux/bug.h: BUG stops the machine, with LinuxKPI's texts; WARN prints.
 */

#ifndef _LINUX_BUG_H_
#define _LINUX_BUG_H_

#include <linux/compiler.h>
#include <linux/printk.h>

#define BUG() panic("BUG at %s:%d", __FILE__, __LINE__)
#define BUG_ON(cond) do {						\
	if (unlikely(cond))						\
		panic("BUG ON %s failed at %s:%d", #cond, __FILE__, __LINE__); \
} while (0)

#define WARN_ON(cond) ({						\
	bool lkpi_warn_ = !!(cond);					\
									\
	if (unlikely(lkpi_warn_))					\
		printk("WARNING %s failed at %s:%d", #cond, __FILE__, __LINE__); \
	unlikely(lkpi_warn_);						\
})
#define WARN(cond, ...) ({						\
	bool lkpi_warn_ = !!(cond);					\
									\
	if (unlikely(lkpi_warn_))					\
		printk(__VA_ARGS__);					\
	unlikely(lkpi_warn_);						\
})
#define WARN_ON_ONCE(cond) ({						\
	static bool lkpi_warned_;					\
	bool lkpi_warn_once_ = !!(cond);				\
									\
	if (lkpi_warn_once_ && !__atomic_exchange_n(&lkpi_warned_, true, __ATOMIC_RELAXED)) \
		printk("WARNING %s failed at %s:%d", #cond, __FILE__, __LINE__); \
	unlikely(lkpi_warn_once_);					\
})
#define WARN_ONCE(cond, ...) ({						\
	static bool lkpi_warned_;					\
	bool lkpi_warn_once_ = !!(cond);				\
									\
	if (lkpi_warn_once_ && !__atomic_exchange_n(&lkpi_warned_, true, __ATOMIC_RELAXED)) \
		WARN(true, __VA_ARGS__);				\
	unlikely(lkpi_warn_once_);					\
})

#endif /* _LINUX_BUG_H_ */
