/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * sys/rman.h: resources, of which a device here has its interrupt.
 */

#ifndef _SYS_RMAN_H_
#define _SYS_RMAN_H_

#include <sys/types.h>

#define RF_ALLOCATED 0x0001
#define RF_ACTIVE 0x0002
#define RF_SHAREABLE 0x0004

struct resource;

/* The interrupt's number, and the last of its range. */
rman_res_t rman_get_start(struct resource *);
u_int rman_get_flags(struct resource *);
#define rman_get_end(r) rman_get_start(r)
#define rman_get_size(r) ((rman_res_t)1)
#define rman_get_rid(r) ((void)(r), 0)
#define rman_get_type(r) ((void)(r), 1)

#endif /* _SYS_RMAN_H_ */
