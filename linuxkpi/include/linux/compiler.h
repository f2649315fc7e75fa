/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * linux/compiler.h: likely, barrier, READ_ONCE and WRITE_ONCE.
 *
 * READ_ONCE and WRITE_ONCE are atomic built-ins, which -fsanitize=thread turns into calls: each is a boundary and a
 * marked access, which races with plain accesses only.
 */

#ifndef _LINUX_COMPILER_H_
#define _LINUX_COMPILER_H_

#include <linux/compiler_types.h>

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
#define barrier() __asm__ __volatile__("" ::: "memory")
#define unreachable() __builtin_unreachable()
#define OPTIMIZER_HIDE_VAR(var) __asm__("" : "+r"(var))

#define READ_ONCE(x) __atomic_load_n(&(x), __ATOMIC_RELAXED)
#define WRITE_ONCE(x, value) __atomic_store_n(&(x), (value), __ATOMIC_RELAXED)
#define ACCESS_ONCE(x) (*(volatile __typeof__(x) *)&(x))
#define data_race(expr) (expr)

#define __stringify_1(...) #__VA_ARGS__
#define __stringify(...) __stringify_1(__VA_ARGS__)
#define __PASTE(a, b) __CONCAT(a, b)
#define __UNIQUE_ID(prefix) __CONCAT(prefix, __COUNTER__)
#define __same_type(a, b) __builtin_types_compatible_p(__typeof__(a), __typeof__(b))
#define BUILD_BUG_ON(cond) _Static_assert(!(cond), "BUILD_BUG_ON: " #cond)
#define BUILD_BUG_ON_MSG(cond, msg) _Static_assert(!(cond), msg)
#ifndef static_assert
#define static_assert(cond, ...) _Static_assert(cond, #cond)
#endif

/* asm/barrier.h. Sequential consistency is all that `explore` shows; on `smp` these are real. */
#define smp_mb() __atomic_thread_fence(__ATOMIC_SEQ_CST)
#define smp_rmb() __atomic_thread_fence(__ATOMIC_ACQUIRE)
#define smp_wmb() __atomic_thread_fence(__ATOMIC_RELEASE)
#ifndef mb
#define mb() smp_mb()
#define rmb() smp_rmb()
#define wmb() smp_wmb()
#endif
#define smp_mb__before_atomic() smp_mb()
#define smp_mb__after_atomic() smp_mb()
#define smp_load_acquire(p) __atomic_load_n((p), __ATOMIC_ACQUIRE)
#define smp_store_release(p, value) __atomic_store_n((p), (value), __ATOMIC_RELEASE)
#define smp_store_mb(var, value) __atomic_store_n(&(var), (value), __ATOMIC_SEQ_CST)

#endif /* _LINUX_COMPILER_H_ */
