/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * linux/init.h
 */

#ifndef _LINUX_INIT_H_
#define _LINUX_INIT_H_

#include <linux/compiler_types.h>
#define __init
#define __exit
#define __initdata

#endif /* _LINUX_INIT_H_ */
