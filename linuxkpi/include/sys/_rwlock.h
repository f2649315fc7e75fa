/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * sys/_rwlock.h: freebsd_sys::rwlock::Rw has the same layout.
 */

#ifndef _SYS__RWLOCK_H_
#define _SYS__RWLOCK_H_

#include <sys/_lock.h>

struct rwlock {
	struct lock_object lock_object;
	volatile uintptr_t rw_lock;
};

_Static_assert(sizeof(struct rwlock) == 32, "rwlock");
_Static_assert(offsetof(struct rwlock, rw_lock) == 24, "rw_lock");

/* On a cache line of its own. */
struct rwlock_padalign {
	struct lock_object lock_object;
	volatile uintptr_t rw_lock;
} __aligned(64);

_Static_assert(sizeof(struct rwlock_padalign) == 64, "rwlock_padalign");

#endif /* _SYS__RWLOCK_H_ */
