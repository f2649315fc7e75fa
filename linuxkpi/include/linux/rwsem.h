/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * linux/rwsem.h: struct rw_semaphore is an sx(9), not enrolled in WITNESS unless it is static, as LinuxKPI has it.
 */

#ifndef _LINUX_RWSEM_H_
#define _LINUX_RWSEM_H_

#include <linux/errno.h>
#include <linux/lockdep.h>
#include <linux/types.h>
#include <sys/pcpu.h>
#include <sys/sx.h>

struct rw_semaphore {
	struct sx sx;
};

#define init_rwsem(sem) sx_init_flags(&(sem)->sx, "lnxrw", SX_NOWITNESS | SX_NEW)
#define DECLARE_RWSEM(name)						\
	struct rw_semaphore name;					\
	SX_SYSINIT_FLAGS(name, &(name).sx, "lnxrw", SX_DUPOK | SX_NEW)

#define down_read(sem) sx_slock(&(sem)->sx)
#define up_read(sem) sx_sunlock(&(sem)->sx)
#define down_read_trylock(sem) (sx_try_slock(&(sem)->sx) != 0)
#define down_write(sem) sx_xlock(&(sem)->sx)
#define up_write(sem) sx_xunlock(&(sem)->sx)
#define down_write_trylock(sem) (sx_try_xlock(&(sem)->sx) != 0)
#define downgrade_write(sem) sx_downgrade(&(sem)->sx)
/* Return 0, or -EINTR if a signal came. */
#define down_read_killable(sem) (sx_slock_sig(&(sem)->sx) != 0 ? -EINTR : 0)
#define down_read_interruptible(sem) down_read_killable(sem)
#define down_write_killable(sem) (sx_xlock_sig(&(sem)->sx) != 0 ? -EINTR : 0)
#define down_read_nested(sem, subclass) ((void)(subclass), down_read(sem))
#define down_write_nested(sem, subclass) ((void)(subclass), down_write(sem))

static inline bool
rwsem_is_locked(const struct rw_semaphore *sem)
{
	uintptr_t word = __atomic_load_n(&sem->sx.sx_lock, __ATOMIC_RELAXED);

	/* Free is "shared, by nobody": what is above the flags counts the holders, or is the owner. */
	return ((word & SX_LOCK_SHARED) == 0 || (word & ~(uintptr_t)SX_LOCK_FLAGMASK) != 0);
}

#endif /* _LINUX_RWSEM_H_ */
