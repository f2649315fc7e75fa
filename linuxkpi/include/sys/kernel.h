/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * sys/kernel.h: SYSINIT through a linker set. The build renames the set once per unit and mapping; the machine
 * calls the entries of all its units at the start of each execution, by subsystem, then by order.
 */

#ifndef _SYS_KERNEL_H_
#define _SYS_KERNEL_H_

#include <sys/types.h>

/* Virtual time in ticks of a millisecond. The macro is FreeBSD's variable, so that no other can be called so. */
unsigned long lkpi_ticks(void);
#define ticks ((int)lkpi_ticks())

/* FreeBSD's numbers, of the subsystems that a module names. */
enum sysinit_sub_id {
	SI_SUB_DUMMY	= 0x0000000,
	SI_SUB_TUNABLES	= 0x0700000,
	SI_SUB_VM	= 0x1000000,
	SI_SUB_KMEM	= 0x1800000,
	SI_SUB_WITNESS	= 0x1a80000,
	SI_SUB_LOCK	= 0x1b00000,
	SI_SUB_EVENTHANDLER = 0x1c00000,
	SI_SUB_KLD	= 0x2000000,
	SI_SUB_CPU	= 0x2100000,
	SI_SUB_INTRINSIC = 0x2200000,
	SI_SUB_RUN_QUEUE = 0x2400000,
	SI_SUB_INTR	= 0x2800000,
	SI_SUB_TASKQ	= 0x2880000,
	SI_SUB_DRIVERS	= 0x3100000,
	SI_SUB_CONFIGURE = 0x3800000,
	SI_SUB_KTHREAD_INIT = 0xe000000,
	SI_SUB_KTHREAD_PAGE = 0xe400000,
	SI_SUB_KTHREAD_VM = 0xe800000,
	SI_SUB_KTHREAD_BUF = 0xea00000,
	SI_SUB_KTHREAD_UPDATE = 0xec00000,
	SI_SUB_KTHREAD_IDLE = 0xee00000,
	SI_SUB_LAST	= 0xfffffff
};

enum sysinit_elem_order {
	SI_ORDER_FIRST	= 0x0000000,
	SI_ORDER_SECOND	= 0x0000001,
	SI_ORDER_THIRD	= 0x0000002,
	SI_ORDER_FOURTH	= 0x0000003,
	SI_ORDER_MIDDLE	= 0x1000000,
	SI_ORDER_ANY	= 0xfffffff
};

/* As large as its alignment, which a compiler would otherwise raise and so leave gaps in the set. */
struct lkpi_sysinit {
	void (*func)(void *);
	void *arg;
	unsigned int subsystem;
	unsigned int order;
} __aligned(32);
_Static_assert(sizeof(struct lkpi_sysinit) == 32, "one entry of the set");

/*
 * Not "static const ... __section" of a plain pointer: with an argument it works for locks at block scope, too.
 */
#define LKPI_SYSINIT_AT(unique, subsystem_, order_, func_, arg_)		\
	static const struct lkpi_sysinit __CONCAT(lkpi_sysinit_, unique)	\
	    __used __section("lkpi_sysinit") = {				\
		(func_), (arg_), (subsystem_), (order_) }

/* A lock's, as MTX_SYSINIT's. */
#define LKPI_SYSINIT(unique, func_, arg_)				\
	LKPI_SYSINIT_AT(unique, SI_SUB_LOCK, SI_ORDER_MIDDLE, func_, arg_)

#define SYSINIT(unique, subsystem, order, func, udata)			\
	LKPI_SYSINIT_AT(unique, subsystem, order,				\
	    (void (*)(void *))(func), (void *)(udata))
#define SYSUNINIT(unique, subsystem, order, func, udata)		\
	_Static_assert(sizeof(func) != 0, "a machine is never shut down")

#endif /* _SYS_KERNEL_H_ */
