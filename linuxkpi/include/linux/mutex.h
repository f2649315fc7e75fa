/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * linux/mutex.h: struct mutex is an sx(9), not enrolled in WITNESS unless it is static, as LinuxKPI has it.
 */

#ifndef _LINUX_MUTEX_H_
#define _LINUX_MUTEX_H_

#include <linux/atomic.h>
#include <linux/lockdep.h>
#include <linux/spinlock.h>
#include <linuxkpi/mapping.h>
#include <sys/_sx.h>
#include <sys/kernel.h>

struct mutex {
	struct sx sx;
};

_Static_assert(sizeof(struct mutex) == 32, "mutex");

void lkpi_mutex_init(struct mutex *);
void lkpi_mutex_init_static(void *);
void lkpi_mutex_destroy(struct mutex *);
void lkpi_mutex_lock(struct mutex *, const char *, int);
int lkpi_mutex_lock_interruptible(struct mutex *, const char *, int);
int lkpi_mutex_trylock(struct mutex *, const char *, int);
void lkpi_mutex_unlock(struct mutex *, const char *, int);
int lkpi_mutex_is_locked(const struct mutex *);

#define mutex_init(m) lkpi_mutex_init(m)
#define mutex_destroy(m) lkpi_mutex_destroy(m)
#define mutex_lock(m) lkpi_mutex_lock((m), LKPI_HERE)
#define mutex_lock_nested(m, subclass) ((void)(subclass), mutex_lock(m))
/* Returns 0, or -EINTR if a signal came. To be killed is as good as any, as LinuxKPI has it. */
#define mutex_lock_interruptible(m) lkpi_mutex_lock_interruptible((m), LKPI_HERE)
#define mutex_lock_interruptible_nested(m, subclass) ((void)(subclass), mutex_lock_interruptible(m))
#define mutex_lock_killable(m) mutex_lock_interruptible(m)
#define mutex_lock_killable_nested(m, subclass) mutex_lock_interruptible_nested(m, subclass)
#define mutex_trylock(m) lkpi_mutex_trylock((m), LKPI_HERE)
#define mutex_unlock(m) lkpi_mutex_unlock((m), LKPI_HERE)
#define mutex_is_locked(m) lkpi_mutex_is_locked(m)

#define mutex_lock_io(m) mutex_lock(m)
#define mutex_lock_nest_lock(m, outer) mutex_lock_nested((m), sizeof(outer))

/* The mutex is held only where the count has come to zero, and is taken before that. */
static inline int
atomic_dec_and_mutex_lock(atomic_t *count, struct mutex *mutex)
{
	if (atomic_add_unless(count, -1, 1))
		return (0);
	mutex_lock(mutex);
	if (atomic_dec_and_test(count))
		return (1);
	mutex_unlock(mutex);
	return (0);
}

#define DEFINE_MUTEX(name)						\
	struct mutex name;						\
	LKPI_SYSINIT(name, lkpi_mutex_init_static, &name)

#endif /* _LINUX_MUTEX_H_ */
