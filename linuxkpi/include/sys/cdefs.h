/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * sys/cdefs.h: the compiler's attributes under FreeBSD's names.
 */

#ifndef _SYS_CDEFS_H_
#define _SYS_CDEFS_H_

#define __CONCAT1(a, b) a##b
#define __CONCAT(a, b) __CONCAT1(a, b)
#define __STRING1(a) #a
#define __STRING(a) __STRING1(a)

#define __unused __attribute__((__unused__))
#define __used __attribute__((__used__))
#define __packed __attribute__((__packed__))
#define __aligned(n) __attribute__((__aligned__(n)))
#define __section(name) __attribute__((__section__(name)))
#define __dead2 __attribute__((__noreturn__))
#define __pure2 __attribute__((__const__))
#define __printflike(fmt, first) __attribute__((__format__(__printf__, fmt, first)))
#define __predict_true(e) __builtin_expect((e) != 0, 1)
#define __predict_false(e) __builtin_expect((e) != 0, 0)
#define __compiler_membar() __asm__ __volatile__("" ::: "memory")

#endif /* _SYS_CDEFS_H_ */
