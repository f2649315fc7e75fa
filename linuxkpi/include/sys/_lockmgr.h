/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * sys/_lockmgr.h: freebsd_sys::lockmgr::Lock has the same layout.
 */

#ifndef _SYS__LOCKMGR_H_
#define _SYS__LOCKMGR_H_

#include <sys/_lock.h>

struct lock {
	struct lock_object lock_object;
	volatile uintptr_t lk_lock;
	u_int lk_exslpfail;
	int lk_timo;
	int lk_pri;
};

_Static_assert(sizeof(struct lock) == 48, "lock");
_Static_assert(offsetof(struct lock, lk_lock) == 24, "lk_lock");
_Static_assert(offsetof(struct lock, lk_exslpfail) == 32, "lk_exslpfail");
_Static_assert(offsetof(struct lock, lk_timo) == 36, "lk_timo");
_Static_assert(offsetof(struct lock, lk_pri) == 40, "lk_pri");

#endif /* _SYS__LOCKMGR_H_ */
