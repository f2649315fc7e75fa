/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * linux/errno.h: FreeBSD's numbers, as LinuxKPI has it, and the ones that only Linux has.
 */

#ifndef _LINUX_ERRNO_H_
#define _LINUX_ERRNO_H_

#define EPERM 1
#define ENOENT 2
#define ESRCH 3
#define EINTR 4
#define EIO 5
#define ENXIO 6
#define E2BIG 7
#define EBADF 9
#define EDEADLK 11
#define ENOMEM 12
#define EACCES 13
#define EFAULT 14
#define EBUSY 16
#define EEXIST 17
#define ENODEV 19
#define EINVAL 22
#define ENOTTY 25
#define ENOSPC 28
#define EPIPE 32
#define EDOM 33
#define ERANGE 34
#define EAGAIN 35
#define EWOULDBLOCK EAGAIN
#define EINPROGRESS 36
#define EALREADY 37
#define EMSGSIZE 40
#define EOPNOTSUPP 45
#define ENOTSUP EOPNOTSUPP
#define ENOBUFS 55
#define ETIMEDOUT 60
#define ENOSYS 78
#define EOVERFLOW 84
#define ECANCELED 85
#define EPROTO 92

#define ETIME ETIMEDOUT
#define ERESTARTSYS 512
#define ENOTSUPP 524

#endif /* _LINUX_ERRNO_H_ */
