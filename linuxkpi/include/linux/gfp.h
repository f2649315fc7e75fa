/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * linux/gfp.h
 */

#ifndef _LINUX_GFP_H_
#define _LINUX_GFP_H_

#include <linux/types.h>

/* M_WAITOK, M_NOWAIT and M_ZERO, as LinuxKPI has it. */
#define __GFP_NOWAIT 0x0001u
#define __GFP_WAITOK 0x0002u
#define __GFP_ZERO 0x0100u
#define __GFP_NOWARN 0u
#define __GFP_NORETRY 0u
#define GFP_KERNEL __GFP_WAITOK
#define GFP_ATOMIC __GFP_NOWAIT
#define GFP_NOWAIT __GFP_NOWAIT
#define GFP_NOFS __GFP_WAITOK
#define GFP_NOIO __GFP_WAITOK
#define GFP_USER __GFP_WAITOK
#define GFP_HIGHUSER __GFP_WAITOK
#define __GFP_NOFAIL __GFP_WAITOK
#define __GFP_RETRY_MAYFAIL 0u
#define __GFP_COMP 0u

#endif /* _LINUX_GFP_H_ */
