/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * sys/rmlock.h: rmlock(9) as modules see it: every operation is a call with file and line.
 */

#ifndef _SYS_RMLOCK_H_
#define _SYS_RMLOCK_H_

#include <sys/_rmlock.h>
#include <sys/kernel.h>
#include <sys/lock.h>
#include <sys/systm.h>

#define RM_NOWITNESS 0x01
#define RM_RECURSE 0x02
#define RM_SLEEPABLE 0x04
#define RM_NEW 0x08
#define RM_DUPOK 0x10

#ifndef RA_LOCKED
#define RA_LOCKED LA_LOCKED
#define RA_RLOCKED LA_SLOCKED
#define RA_WLOCKED LA_XLOCKED
#define RA_UNLOCKED LA_UNLOCKED
#define RA_RECURSED LA_RECURSED
#define RA_NOTRECURSED LA_NOTRECURSED
#endif

void rm_init(struct rmlock *, const char *);
void rm_init_flags(struct rmlock *, const char *, int);
void rm_destroy(struct rmlock *);
void rm_sysinit(void *);
int rm_wowned(const struct rmlock *);
int _rm_rlock_debug(struct rmlock *, struct rm_priotracker *, int, const char *, int);
void _rm_runlock_debug(struct rmlock *, struct rm_priotracker *, const char *, int);
void _rm_wlock_debug(struct rmlock *, const char *, int);
void _rm_wunlock_debug(struct rmlock *, const char *, int);
void _rm_assert(const struct rmlock *, int, const char *, int);

#define rm_rlock(rm, tracker) ((void)_rm_rlock_debug((rm), (tracker), 0, __FILE__, __LINE__))
#define rm_try_rlock(rm, tracker) _rm_rlock_debug((rm), (tracker), 1, __FILE__, __LINE__)
#define rm_runlock(rm, tracker) _rm_runlock_debug((rm), (tracker), __FILE__, __LINE__)
#define rm_wlock(rm) _rm_wlock_debug((rm), __FILE__, __LINE__)
#define rm_wunlock(rm) _rm_wunlock_debug((rm), __FILE__, __LINE__)
#define rm_assert(rm, what) _rm_assert((rm), (what), __FILE__, __LINE__)
#define rm_sleep(chan, rm, pri, wmesg, timo)				\
	_sleep((chan), &(rm)->lock_object, (pri), (wmesg), tick_sbt * (timo), 0, C_HARDCLOCK)

struct rm_args {
	struct rmlock *ra_rm;
	const char *ra_desc;
	int ra_flags;
};

#define RM_SYSINIT_FLAGS(name, rm, desc, flags)				\
	static struct rm_args name##_args = { (rm), (desc), (flags) };	\
	LKPI_SYSINIT(name, rm_sysinit, &name##_args)
#define RM_SYSINIT(name, rm, desc) RM_SYSINIT_FLAGS(name, rm, desc, 0)

#endif /* _SYS_RMLOCK_H_ */
