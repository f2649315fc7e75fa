/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * sys/priority.h: priorities, of which a lower one is better, by FreeBSD 15's numbers. freebsd_sys::sched::pri has the same.
 */

#ifndef _SYS_PRIORITY_H_
#define _SYS_PRIORITY_H_

/* Classes. */
#define PRI_ITHD 1
#define PRI_REALTIME 2
#define PRI_TIMESHARE 3
#define PRI_IDLE 4

#define PRI_MIN 0
#define PRI_MAX 255

#define PRI_MIN_ITHD PRI_MIN
#define PRI_MAX_ITHD (PRI_MIN_REALTIME - 1)

#define PI_REALTIME (PRI_MIN_ITHD + 0)
#define PI_INTR (PRI_MIN_ITHD + 1)
#define PI_AV PI_INTR
#define PI_NET PI_INTR
#define PI_DISK PI_INTR
#define PI_TTY PI_INTR
#define PI_DULL PI_INTR
#define PI_SOFT (PRI_MIN_ITHD + 2)
#define PI_SOFTCLOCK PI_SOFT
#define PI_SWI(x) PI_SOFT

#define PRI_MIN_REALTIME 8
#define PRI_MAX_REALTIME (PRI_MIN_KERN - 1)

#define PRI_MIN_KERN 40
#define PRI_MAX_KERN (PRI_MIN_TIMESHARE - 1)

#define PSWP (PRI_MIN_KERN + 0)
#define PVM (PRI_MIN_KERN + 1)
#define PINOD (PRI_MIN_KERN + 2)
#define PRIBIO (PRI_MIN_KERN + 3)
#define PVFS (PRI_MIN_KERN + 4)
#define PZERO (PRI_MIN_KERN + 5)
#define PSOCK (PRI_MIN_KERN + 6)
#define PWAIT (PRI_MIN_KERN + 7)
#define PLOCK (PRI_MIN_KERN + 8)
#define PPAUSE (PRI_MIN_KERN + 9)

#define PRI_MIN_TIMESHARE 56
#define PRI_MAX_TIMESHARE (PRI_MIN_IDLE - 1)
#define PUSER PRI_MIN_TIMESHARE

#define PRI_MIN_IDLE 224
#define PRI_MAX_IDLE PRI_MAX

/* For kern_yield(). */
#define PRI_UNCHANGED (-1)
#define PRI_USER (-2)

#endif /* _SYS_PRIORITY_H_ */
