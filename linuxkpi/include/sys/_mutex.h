/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * sys/_mutex.h: freebsd_sys::mutex::Mtx has the same layout.
 */

#ifndef _SYS__MUTEX_H_
#define _SYS__MUTEX_H_

#include <sys/_lock.h>

struct mtx {
	struct lock_object lock_object;
	volatile uintptr_t mtx_lock;
};

_Static_assert(sizeof(struct mtx) == 32, "mtx");
_Static_assert(offsetof(struct mtx, mtx_lock) == 24, "mtx_lock");

/* On a cache line of its own. */
struct mtx_padalign {
	struct lock_object lock_object;
	volatile uintptr_t mtx_lock;
} __aligned(64);

_Static_assert(sizeof(struct mtx_padalign) == 64, "mtx_padalign");

#endif /* _SYS__MUTEX_H_ */
