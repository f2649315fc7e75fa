/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * linux/module.h: a unit is loaded when its machine boots; module_init is a SYSINIT.
 */

#ifndef _LINUX_MODULE_H_
#define _LINUX_MODULE_H_

#include <linux/export.h>
#include <linux/init.h>
#include <linux/kernel.h>
#include <sys/kernel.h>

#define MODULE_LICENSE(x)
#define MODULE_AUTHOR(x)
#define MODULE_DESCRIPTION(x)
#define THIS_MODULE ((struct module *)0)

struct module;

#define module_init(f)							\
	static void							\
	lkpi_module_init_##f(void *arg __unused)			\
	{								\
		if ((f)() != 0)						\
			panic(#f " failed");				\
	}								\
	SYSINIT(module_##f, SI_SUB_DRIVERS, SI_ORDER_ANY,			\
	    lkpi_module_init_##f, NULL)
#define module_exit(f) _Static_assert(sizeof(f) != 0, "a machine is never shut down")

#endif /* _LINUX_MODULE_H_ */
