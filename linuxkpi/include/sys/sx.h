/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * sys/sx.h: sx(9) as modules see it: every operation is a call with file and line.
 */

#ifndef _SYS_SX_H_
#define _SYS_SX_H_

#include <sys/_sx.h>
#include <sys/kernel.h>
#include <sys/lock.h>
#include <sys/pcpu.h>
#include <sys/systm.h>

#define SX_DUPOK 0x01
#define SX_NOPROFILE 0x02
#define SX_NOWITNESS 0x04
#define SX_QUIET 0x08
#define SX_RECURSE 0x20
#define SX_NEW 0x40

/* Of _sx_xlock() and _sx_slock(). */
#define SX_INTERRUPTIBLE 0x40

#define SX_LOCK_SHARED 0x01
#define SX_LOCK_FLAGMASK 0x1f

#define SA_LOCKED LA_LOCKED
#define SA_SLOCKED LA_SLOCKED
#define SA_XLOCKED LA_XLOCKED
#define SA_UNLOCKED LA_UNLOCKED
#define SA_RECURSED LA_RECURSED
#define SA_NOTRECURSED LA_NOTRECURSED

void sx_init_flags(struct sx *, const char *, int);
void sx_destroy(struct sx *);
void sx_sysinit(void *);
int _sx_xlock(struct sx *, int, const char *, int);
int _sx_slock(struct sx *, int, const char *, int);
void _sx_xunlock(struct sx *, const char *, int);
void _sx_sunlock(struct sx *, const char *, int);
int sx_try_xlock_(struct sx *, const char *, int);
int sx_try_slock_(struct sx *, const char *, int);
int sx_try_upgrade_(struct sx *, const char *, int);
void sx_downgrade_(struct sx *, const char *, int);
void _sx_assert(const struct sx *, int, const char *, int);

#define sx_init(sx, desc) sx_init_flags((sx), (desc), 0)
#define sx_xlock(sx) ((void)_sx_xlock((sx), 0, __FILE__, __LINE__))
#define sx_xlock_sig(sx) _sx_xlock((sx), SX_INTERRUPTIBLE, __FILE__, __LINE__)
#define sx_slock(sx) ((void)_sx_slock((sx), 0, __FILE__, __LINE__))
#define sx_slock_sig(sx) _sx_slock((sx), SX_INTERRUPTIBLE, __FILE__, __LINE__)
#define sx_xunlock(sx) _sx_xunlock((sx), __FILE__, __LINE__)
#define sx_sunlock(sx) _sx_sunlock((sx), __FILE__, __LINE__)
#define sx_try_xlock(sx) sx_try_xlock_((sx), __FILE__, __LINE__)
#define sx_try_slock(sx) sx_try_slock_((sx), __FILE__, __LINE__)
#define sx_try_upgrade(sx) sx_try_upgrade_((sx), __FILE__, __LINE__)
#define sx_downgrade(sx) sx_downgrade_((sx), __FILE__, __LINE__)
#define sx_assert(sx, what) _sx_assert((sx), (what), __FILE__, __LINE__)
#define sx_xlocked(sx)							\
	(((sx)->sx_lock & ~(uintptr_t)(SX_LOCK_FLAGMASK & ~SX_LOCK_SHARED)) == (uintptr_t)curthread)
/* Who holds it exclusively, or NULL. */
#define sx_xholder(sx)							\
	(((sx)->sx_lock & SX_LOCK_SHARED) != 0 ? NULL :			\
	    (struct thread *)((sx)->sx_lock & ~(uintptr_t)SX_LOCK_FLAGMASK))
#define sx_unlock(sx) do {						\
	if (sx_xlocked(sx))						\
		sx_xunlock(sx);						\
	else								\
		sx_sunlock(sx);						\
} while (0)
#define sx_sleep(chan, sx, pri, wmesg, timo)				\
	_sleep((chan), &(sx)->lock_object, (pri), (wmesg), tick_sbt * (timo), 0, C_HARDCLOCK)

struct sx_args {
	struct sx *sa_sx;
	const char *sa_desc;
	int sa_flags;
};

#define SX_SYSINIT_FLAGS(name, sxa, desc, flags)			\
	static struct sx_args name##_args = { (sxa), (desc), (flags) };	\
	LKPI_SYSINIT(name, sx_sysinit, &name##_args)
#define SX_SYSINIT(name, sxa, desc) SX_SYSINIT_FLAGS(name, sxa, desc, 0)

#endif /* _SYS_SX_H_ */
