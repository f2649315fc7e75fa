/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * sys/lockmgr.h: lockmgr(9), which is lock(9).
 */

#ifndef _SYS_LOCKMGR_H_
#define _SYS_LOCKMGR_H_

#include <sys/_lockmgr.h>
#include <sys/lock.h>
#include <sys/mutex.h>
#include <sys/rwlock.h>

#define LK_CANRECURSE 0x000001
#define LK_NODUP 0x000002
#define LK_NOPROFILE 0x000004
#define LK_NOSHARE 0x000008
#define LK_NOWITNESS 0x000010
#define LK_QUIET 0x000020
#define LK_IS_VNODE 0x000080
#define LK_NEW 0x000100

#define LK_INTERLOCK 0x000100
#define LK_NOWAIT 0x000200
#define LK_RETRY 0x000400
#define LK_SLEEPFAIL 0x000800
#define LK_TIMELOCK 0x001000
#define LK_NODDLKTREAT 0x002000
#define LK_ADAPTIVE 0x004000

#define LK_TYPE_MASK 0xFF0000
#define LK_DOWNGRADE 0x010000
#define LK_DRAIN 0x020000
#define LK_EXCLOTHER 0x040000
#define LK_EXCLUSIVE 0x080000
#define LK_RELEASE 0x100000
#define LK_SHARED 0x200000
#define LK_UPGRADE 0x400000
#define LK_TRYUPGRADE 0x800000

/* Of lk_lock. */
#define LK_WRITER_RECURSED 0x10

#define LK_WMESG_DEFAULT (NULL)
#define LK_PRIO_DEFAULT (0)
#define LK_TIMO_DEFAULT (0)

#define KA_LOCKED LA_LOCKED
#define KA_SLOCKED LA_SLOCKED
#define KA_XLOCKED LA_XLOCKED
#define KA_UNLOCKED LA_UNLOCKED
#define KA_RECURSED LA_RECURSED
#define KA_NOTRECURSED LA_NOTRECURSED

void lockinit(struct lock *, int, const char *, int, int);
void lockdestroy(struct lock *);
int __lockmgr_args(struct lock *, u_int, struct lock_object *, const char *, int, int, const char *, int);
void _lockmgr_assert(const struct lock *, int, const char *, int);
void _lockmgr_disown(struct lock *, const char *, int);
int lockstatus(const struct lock *);

static __inline struct lock_object *
lkpi_interlock(struct mtx *mtx)
{

	return (mtx != NULL ? &mtx->lock_object : NULL);
}

static __inline struct lock_object *
lkpi_interlock_rw(struct rwlock *rw)
{

	return (rw != NULL ? &rw->lock_object : NULL);
}

#define lockmgr(lk, flags, mtx)						\
	lockmgr_args(lk, flags, mtx, LK_WMESG_DEFAULT, LK_PRIO_DEFAULT, LK_TIMO_DEFAULT)
#define lockmgr_args(lk, flags, mtx, wmesg, prio, timo)			\
	__lockmgr_args((lk), (flags), lkpi_interlock(mtx), (wmesg), (prio), (timo), __FILE__, __LINE__)
#define lockmgr_rw(lk, flags, rw)					\
	lockmgr_args_rw(lk, flags, rw, LK_WMESG_DEFAULT, LK_PRIO_DEFAULT, LK_TIMO_DEFAULT)
#define lockmgr_args_rw(lk, flags, rw, wmesg, prio, timo)		\
	__lockmgr_args((lk), (flags), lkpi_interlock_rw(rw), (wmesg), (prio), (timo), __FILE__, __LINE__)
#define lockmgr_recursed(lk) (((lk)->lk_lock & LK_WRITER_RECURSED) != 0)
#define lockmgr_assert(lk, what) _lockmgr_assert((lk), (what), __FILE__, __LINE__)
#define lockmgr_disown(lk) _lockmgr_disown((lk), __FILE__, __LINE__)

/* Who owns it alone may change what lockinit() said of it. */
#define lockallowrecurse(lk) LKPI_LOCK_CHANGE((lk), |= LO_RECURSABLE)
#define lockdisablerecurse(lk) LKPI_LOCK_CHANGE((lk), &= ~LO_RECURSABLE)
#define lockallowshare(lk) LKPI_LOCK_CHANGE((lk), &= ~LK_NOSHARE)
#define lockdisableshare(lk) LKPI_LOCK_CHANGE((lk), |= LK_NOSHARE)
#define LKPI_LOCK_CHANGE(lk, how) do {					\
	lockmgr_assert((lk), KA_XLOCKED);				\
	(lk)->lock_object.lo_flags how;					\
} while (0)

#endif /* _SYS_LOCKMGR_H_ */
