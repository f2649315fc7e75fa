/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * linux/container_of.h
 */

#ifndef _LINUX_CONTAINER_OF_H_
#define _LINUX_CONTAINER_OF_H_

#include <linux/compiler.h>
#include <sys/types.h>

#define container_of(ptr, type, member) ({				\
	const __typeof__(((type *)0)->member) *lkpi_member_ = (ptr);	\
									\
	(type *)((char *)(uintptr_t)lkpi_member_ - offsetof(type, member)); \
})
#define typeof_member(type, member) __typeof__(((type *)0)->member)

#endif /* _LINUX_CONTAINER_OF_H_ */
