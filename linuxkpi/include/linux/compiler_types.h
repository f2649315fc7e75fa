/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * linux/compiler_types.h: Linux's attributes.
 */

#ifndef _LINUX_COMPILER_TYPES_H_
#define _LINUX_COMPILER_TYPES_H_

#include <sys/cdefs.h>

#undef __always_inline
#define __always_inline inline __attribute__((__always_inline__))
#define noinline __attribute__((__noinline__))
#define __must_check __attribute__((__warn_unused_result__))
#define __maybe_unused __attribute__((__unused__))
#define __always_unused __attribute__((__unused__))
#define __weak __attribute__((__weak__))
#define __noreturn __attribute__((__noreturn__))
#define __cold __attribute__((__cold__))
#define __malloc __attribute__((__malloc__))
#define __printf(fmt, first) __attribute__((__format__(__printf__, fmt, first)))
#define __aligned_largest __attribute__((__aligned__))
#define ____cacheline_aligned __attribute__((__aligned__(64)))
#define ____cacheline_aligned_in_smp ____cacheline_aligned
#define __read_mostly
#define fallthrough __attribute__((__fallthrough__))

/* sparse's annotations say nothing to a compiler. */
#define __user
#define __kernel
#define __iomem
#define __rcu
#define __percpu
#define __force
#define __bitwise
#define __nocast
#define __acquires(x)
#define __releases(x)
#define __acquire(x) ((void)0)
#define __release(x) ((void)0)
#define __must_hold(x)
#define __cond_lock(x, c) (c)

#endif /* _LINUX_COMPILER_TYPES_H_ */
