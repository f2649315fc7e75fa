/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * linux/errno.h: FreeBSD's numbers, as LinuxKPI has it, and the ones that only Linux has.
 */

#ifndef _LINUX_ERRNO_H_
#define _LINUX_ERRNO_H_

#include <sys/errno.h>

#define ETIME ETIMEDOUT
#define ERESTARTSYS 512
#define ENOTSUPP 524

#endif /* _LINUX_ERRNO_H_ */
