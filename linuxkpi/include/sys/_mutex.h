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

#endif /* _SYS__MUTEX_H_ */
