/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * linux/string.h: memcpy and its kin lie in sys/systm.h, where they count as accesses.
 */

#ifndef _LINUX_STRING_H_
#define _LINUX_STRING_H_

#include <linux/types.h>
#include <sys/systm.h>

#endif /* _LINUX_STRING_H_ */
