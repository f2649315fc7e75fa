/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * sys/lock.h
 */

#ifndef _SYS_LOCK_H_
#define _SYS_LOCK_H_

#include <sys/_lock.h>

#define LOP_NEWORDER 0x01
#define LOP_QUIET 0x02
#define LOP_TRYLOCK 0x04
#define LOP_EXCLUSIVE 0x08
#define LOP_DUPOK 0x10

#define LA_UNLOCKED 0x00
#define LA_LOCKED 0x01
#define LA_SLOCKED 0x02
#define LA_XLOCKED 0x04
#define LA_RECURSED 0x08
#define LA_NOTRECURSED 0x10

#endif /* _SYS_LOCK_H_ */
