/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * sys/kernel.h: SYSINIT through a linker set. The build renames the set once per unit and mapping; the machine
 * calls its entries at the start of each execution.
 */

#ifndef _SYS_KERNEL_H_
#define _SYS_KERNEL_H_

#include <sys/types.h>

struct lkpi_sysinit {
	void (*func)(void *);
	void *arg;
};

/*
 * Not "static const ... __section" of a plain pointer: with an argument it works for locks at block scope, too.
 */
#define LKPI_SYSINIT(unique, func_, arg_)				\
	static const struct lkpi_sysinit __CONCAT(lkpi_sysinit_, unique)	\
	    __used __section("lkpi_sysinit") = { (func_), (arg_) }

#define SYSINIT(unique, subsystem, order, func, udata)			\
	LKPI_SYSINIT(unique, (void (*)(void *))(func), (void *)(udata))
#define SYSUNINIT(unique, subsystem, order, func, udata)		\
	_Static_assert(sizeof(func) != 0, "a machine is never shut down")

#endif /* _SYS_KERNEL_H_ */
