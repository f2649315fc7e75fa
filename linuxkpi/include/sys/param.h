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
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))
#define howmany(x, y) (((x) + ((y) - 1)) / (y))
#define rounddown(x, y) (((x) / (y)) * (y))
#define roundup(x, y) (howmany((x), (y)) * (y))
#define rounddown2(x, y) ((x) & ~((__typeof__(x))(y) - 1))
#define roundup2(x, y) (((x) + ((y) - 1)) & ~((__typeof__(x))(y) - 1))
#define powerof2(x) ((((x) - 1) & (x)) == 0)
#define MAXCPU 8
#define hz 1000

#endif /* _SYS_PARAM_H_ */
