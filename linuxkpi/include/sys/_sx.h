/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * sys/_sx.h: freebsd_sys::sx::Sx has the same layout.
 */

#ifndef _SYS__SX_H_
#define _SYS__SX_H_

#include <sys/_lock.h>

struct sx {
	struct lock_object lock_object;
	volatile uintptr_t sx_lock;
};

_Static_assert(sizeof(struct sx) == 32, "sx");
_Static_assert(offsetof(struct sx, sx_lock) == 24, "sx_lock");

#endif /* _SYS__SX_H_ */
