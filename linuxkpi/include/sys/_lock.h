/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * sys/_lock.h: the head of every lock. freebsd_sys::lock::LockObject has the same layout.
 */

#ifndef _SYS__LOCK_H_
#define _SYS__LOCK_H_

#include <sys/types.h>

struct lock_object {
	const char *lo_name;
	u_int lo_flags;
	u_int lo_data;
	void *lo_witness;
};

_Static_assert(sizeof(struct lock_object) == 24, "lock_object");
_Static_assert(offsetof(struct lock_object, lo_flags) == 8, "lo_flags");
_Static_assert(offsetof(struct lock_object, lo_data) == 12, "lo_data");
_Static_assert(offsetof(struct lock_object, lo_witness) == 16, "lo_witness");

#endif /* _SYS__LOCK_H_ */
