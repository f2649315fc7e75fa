/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * sys/param.h
 */

#ifndef _SYS_PARAM_H_
#define _SYS_PARAM_H_

#include <sys/priority.h>
#include <sys/types.h>

#define __FreeBSD_version 1500000

#ifndef nitems
#define nitems(x) (sizeof((x)) / sizeof((x)[0]))
#endif
#define MAXCPU 8
#define hz 1000

#endif /* _SYS_PARAM_H_ */
