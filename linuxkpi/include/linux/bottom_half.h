/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * linux/bottom_half.h
 */

#ifndef _LINUX_BOTTOM_HALF_H_
#define _LINUX_BOTTOM_HALF_H_

#include <linuxkpi/mapping.h>

void LKPI(local_bh_disable)(void);
void LKPI(local_bh_enable)(void);

#define local_bh_disable() LKPI(local_bh_disable)()
#define local_bh_enable() LKPI(local_bh_enable)()

#endif /* _LINUX_BOTTOM_HALF_H_ */
