/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * sys/mutex.h: mutex(9) as modules see it: every operation is a call with file and line, and takes the address of
 * the lock word.
 */

#ifndef _SYS_MUTEX_H_
#define _SYS_MUTEX_H_

#include <sys/_mutex.h>
#include <sys/kernel.h>
#include <sys/lock.h>
#include <sys/pcpu.h>
#include <sys/proc.h>
#include <sys/sched.h>
#include <sys/systm.h>

#define MTX_DEF 0x00000000
#define MTX_SPIN 0x00000001
#define MTX_QUIET LOP_QUIET
#define MTX_RECURSE 0x00000004
#define MTX_NOWITNESS 0x00000008
#define MTX_DUPOK LOP_DUPOK
#define MTX_NOPROFILE 0x00000020
#define MTX_NEW 0x00000040

#define MTX_UNOWNED 0x00000000
#define MTX_RECURSED 0x00000001
#define MTX_CONTESTED 0x00000002
#define MTX_DESTROYED 0x00000004
#define MTX_FLAGMASK (MTX_RECURSED | MTX_CONTESTED | MTX_DESTROYED)

#define MA_OWNED LA_XLOCKED
#define MA_NOTOWNED LA_UNLOCKED
#define MA_RECURSED LA_RECURSED
#define MA_NOTRECURSED LA_NOTRECURSED

void _mtx_init(volatile uintptr_t *, const char *, const char *, int);
void _mtx_destroy(volatile uintptr_t *);
void __mtx_lock_flags(volatile uintptr_t *, int, const char *, int);
void __mtx_unlock_flags(volatile uintptr_t *, int, const char *, int);
int _mtx_trylock_flags_(volatile uintptr_t *, int, const char *, int);
void __mtx_lock_spin_flags(volatile uintptr_t *, int, const char *, int);
void __mtx_unlock_spin_flags(volatile uintptr_t *, int, const char *, int);
int __mtx_trylock_spin_flags(volatile uintptr_t *, int, const char *, int);
void mtx_spin_wait_unlocked(struct mtx *);
void mtx_wait_unlocked(struct mtx *);
void __mtx_assert(const volatile uintptr_t *, int, const char *, int);

#define mtx_init(m, n, t, o) _mtx_init(&(m)->mtx_lock, n, t, o)
#define mtx_destroy(m) _mtx_destroy(&(m)->mtx_lock)
#define mtx_lock(m) mtx_lock_flags((m), 0)
#define mtx_lock_flags(m, o) __mtx_lock_flags(&(m)->mtx_lock, (o), __FILE__, __LINE__)
#define mtx_unlock(m) mtx_unlock_flags((m), 0)
#define mtx_unlock_flags(m, o) __mtx_unlock_flags(&(m)->mtx_lock, (o), __FILE__, __LINE__)
#define mtx_trylock(m) mtx_trylock_flags((m), 0)
#define mtx_trylock_flags(m, o) _mtx_trylock_flags_(&(m)->mtx_lock, (o), __FILE__, __LINE__)
#define mtx_lock_spin(m) mtx_lock_spin_flags((m), 0)
#define mtx_lock_spin_flags(m, o) __mtx_lock_spin_flags(&(m)->mtx_lock, (o), __FILE__, __LINE__)
#define mtx_unlock_spin(m) mtx_unlock_spin_flags((m), 0)
#define mtx_unlock_spin_flags(m, o) __mtx_unlock_spin_flags(&(m)->mtx_lock, (o), __FILE__, __LINE__)
#define mtx_trylock_spin(m) mtx_trylock_spin_flags((m), 0)
#define mtx_trylock_spin_flags(m, o) __mtx_trylock_spin_flags(&(m)->mtx_lock, (o), __FILE__, __LINE__)
#define mtx_assert(m, what) __mtx_assert(&(m)->mtx_lock, (what), __FILE__, __LINE__)
#define mtx_assert_(m, what, file, line) __mtx_assert(&(m)->mtx_lock, (what), (file), (line))

#define mtx_sleep(chan, mtx, pri, wmesg, timo)				\
	_sleep((chan), &(mtx)->lock_object, (pri), (wmesg), tick_sbt * (timo), 0, C_HARDCLOCK)

#define MTX_READ_VALUE(m) ((m)->mtx_lock)
#define lv_mtx_owner(v) ((struct thread *)((v) & ~(uintptr_t)MTX_FLAGMASK))
#define mtx_owner(m) lv_mtx_owner(MTX_READ_VALUE(m))
#define mtx_owned(m) (((m)->mtx_lock & ~(uintptr_t)MTX_FLAGMASK) == (uintptr_t)curthread)
#define mtx_recurse lock_object.lo_data
#define mtx_recursed(m) ((m)->mtx_recurse != 0)
#define mtx_initialized(m) (((m)->lock_object.lo_flags & 0x00010000) != 0)
#define mtx_name(m) ((m)->lock_object.lo_name)

struct mtx_args {
	struct mtx *ma_mtx;
	const char *ma_desc;
	int ma_opts;
};

void mtx_sysinit(void *);

#define MTX_SYSINIT(name, mtx, desc, opts)				\
	static struct mtx_args name##_args = { (mtx), (desc), (opts) };	\
	LKPI_SYSINIT(name, mtx_sysinit, &name##_args)

/* Each machine has its own. */
struct mtx *lkpi_giant(void);
#define Giant (*lkpi_giant())

#define GIANT_REQUIRED mtx_assert(&Giant, MA_OWNED)

/* It is taken again where it was, as far as WITNESS is concerned. */
#define DROP_GIANT() do {						\
	int lkpi_giantcnt_ = 0;						\
	WITNESS_SAVE_DECL(lkpi_giant_);					\
									\
	if (mtx_owned(&Giant)) {					\
		WITNESS_SAVE(&Giant.lock_object, lkpi_giant_);		\
		for (; mtx_owned(&Giant) && !SCHEDULER_STOPPED(); lkpi_giantcnt_++) \
			mtx_unlock(&Giant);				\
	}
#define PARTIAL_PICKUP_GIANT()						\
	mtx_assert(&Giant, MA_NOTOWNED);				\
	if (lkpi_giantcnt_ > 0) {					\
		while (lkpi_giantcnt_-- > 0)				\
			mtx_lock(&Giant);				\
		WITNESS_RESTORE(&Giant.lock_object, lkpi_giant_);	\
	}
#define PICKUP_GIANT()							\
	PARTIAL_PICKUP_GIANT();						\
} while (0)

#endif /* _SYS_MUTEX_H_ */
