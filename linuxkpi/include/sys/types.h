/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * sys/types.h
 */

#ifndef _SYS_TYPES_H_
#define _SYS_TYPES_H_

#include <sys/cdefs.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef unsigned char u_char;
typedef unsigned short u_short;
typedef unsigned int u_int;
typedef unsigned long u_long;
typedef uint8_t u_int8_t;
typedef uint16_t u_int16_t;
typedef uint32_t u_int32_t;
typedef uint64_t u_int64_t;
typedef int64_t sbintime_t;
typedef __INTPTR_TYPE__ ssize_t;
typedef int64_t off_t;
typedef int64_t register_t;
typedef int64_t time_t;
typedef long suseconds_t;
typedef uint64_t rman_res_t;
/* Opaque. */
typedef struct _device *device_t;

#endif /* _SYS_TYPES_H_ */
