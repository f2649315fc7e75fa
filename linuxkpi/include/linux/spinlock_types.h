/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * linux/spinlock_types.h
 */

#ifndef _LINUX_SPINLOCK_TYPES_H_
#define _LINUX_SPINLOCK_TYPES_H_

#include <linux/types.h>
#include <linuxkpi/layout.h>

typedef union lkpi_spinlock spinlock_t;

/* Another type than spinlock_t: under some mappings another lock. */
typedef struct raw_spinlock {
	union lkpi_spinlock raw_lock;
} raw_spinlock_t;

#endif /* _LINUX_SPINLOCK_TYPES_H_ */
