/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * sys/rwlock.h: rwlock(9) as modules see it: every operation is a call with file and line, and takes the address of the
 * lock word.
 */

#ifndef _SYS_RWLOCK_H_
#define _SYS_RWLOCK_H_

#include <sys/_rwlock.h>
#include <sys/kernel.h>
#include <sys/lock.h>
#include <sys/systm.h>

#define RW_DUPOK 0x01
#define RW_NOPROFILE 0x02
#define RW_NOWITNESS 0x04
#define RW_QUIET 0x08
#define RW_RECURSE 0x10
#define RW_NEW 0x20

#define RA_LOCKED LA_LOCKED
#define RA_RLOCKED LA_SLOCKED
#define RA_WLOCKED LA_XLOCKED
#define RA_UNLOCKED LA_UNLOCKED
#define RA_RECURSED LA_RECURSED
#define RA_NOTRECURSED LA_NOTRECURSED

void _rw_init_flags(volatile uintptr_t *, const char *, int);
void _rw_destroy(volatile uintptr_t *);
void rw_sysinit(void *);
int _rw_wowned(const volatile uintptr_t *);
void _rw_wlock_cookie(volatile uintptr_t *, const char *, int);
void _rw_wunlock_cookie(volatile uintptr_t *, const char *, int);
void __rw_rlock(volatile uintptr_t *, const char *, int);
void _rw_runlock_cookie(volatile uintptr_t *, const char *, int);
int __rw_try_rlock(volatile uintptr_t *, const char *, int);
int __rw_try_wlock(volatile uintptr_t *, const char *, int);
int __rw_try_upgrade(volatile uintptr_t *, const char *, int);
void __rw_downgrade(volatile uintptr_t *, const char *, int);
void __rw_assert(const volatile uintptr_t *, int, const char *, int);

#define rw_init(rw, n) _rw_init_flags(&(rw)->rw_lock, n, 0)
#define rw_init_flags(rw, n, o) _rw_init_flags(&(rw)->rw_lock, n, o)
#define rw_destroy(rw) _rw_destroy(&(rw)->rw_lock)
#define rw_wowned(rw) _rw_wowned(&(rw)->rw_lock)
#define rw_wlock(rw) _rw_wlock_cookie(&(rw)->rw_lock, __FILE__, __LINE__)
#define rw_wunlock(rw) _rw_wunlock_cookie(&(rw)->rw_lock, __FILE__, __LINE__)
#define rw_rlock(rw) __rw_rlock(&(rw)->rw_lock, __FILE__, __LINE__)
#define rw_runlock(rw) _rw_runlock_cookie(&(rw)->rw_lock, __FILE__, __LINE__)
#define rw_try_rlock(rw) __rw_try_rlock(&(rw)->rw_lock, __FILE__, __LINE__)
#define rw_try_wlock(rw) __rw_try_wlock(&(rw)->rw_lock, __FILE__, __LINE__)
#define rw_try_upgrade(rw) __rw_try_upgrade(&(rw)->rw_lock, __FILE__, __LINE__)
#define rw_downgrade(rw) __rw_downgrade(&(rw)->rw_lock, __FILE__, __LINE__)
#define rw_unlock(rw) do {						\
	if (rw_wowned(rw))						\
		rw_wunlock(rw);						\
	else								\
		rw_runlock(rw);						\
} while (0)
#define rw_assert(rw, what) __rw_assert(&(rw)->rw_lock, (what), __FILE__, __LINE__)
#define rw_initialized(rw) (((rw)->lock_object.lo_flags & 0x00010000) != 0)
#define rw_sleep(chan, rw, pri, wmesg, timo)				\
	_sleep((chan), &(rw)->lock_object, (pri), (wmesg), tick_sbt * (timo), 0, C_HARDCLOCK)

struct rw_args {
	void *ra_rw;
	const char *ra_desc;
	int ra_flags;
};

#define RW_SYSINIT_FLAGS(name, rw, desc, flags)				\
	static struct rw_args name##_args = { (rw), (desc), (flags) };	\
	LKPI_SYSINIT(name, rw_sysinit, &name##_args)
#define RW_SYSINIT(name, rw, desc) RW_SYSINIT_FLAGS(name, rw, desc, 0)

#endif /* _SYS_RWLOCK_H_ */
