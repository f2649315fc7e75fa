/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * linux/spinlock.h: spinlock_t and raw_spinlock_t.
 *
 * A mapping makes mutexes of them, so under most a spin_lock() may block. Re-initialising a lock is fine. After a
 * panic nothing is locked any more: the operations return at once, and a trylock succeeds.
 */

#ifndef _LINUX_SPINLOCK_H_
#define _LINUX_SPINLOCK_H_

#include <linux/bottom_half.h>
#include <linux/compiler.h>
#include <linux/irqflags.h>
#include <linux/kernel.h>
#include <linux/lockdep.h>
#include <linux/preempt.h>
#include <linux/rwlock.h>
#include <linux/spinlock_types.h>
#include <linuxkpi/mapping.h>
#include <sys/kernel.h>

void LKPI(spin_init)(spinlock_t *);
void LKPI(spin_init_static)(void *);
unsigned long LKPI(spin_lock)(spinlock_t *, unsigned int, const char *, int);
int LKPI(spin_trylock)(spinlock_t *, unsigned int, unsigned long *, const char *, int);
void LKPI(spin_unlock)(spinlock_t *, unsigned int, unsigned long, const char *, int);
int LKPI(spin_is_locked)(const spinlock_t *);
void LKPI(spin_assert)(const spinlock_t *, const char *, int);

void LKPI(raw_spin_init)(raw_spinlock_t *);
void LKPI(raw_spin_init_static)(void *);
unsigned long LKPI(raw_spin_lock)(raw_spinlock_t *, unsigned int, const char *, int);
int LKPI(raw_spin_trylock)(raw_spinlock_t *, unsigned int, unsigned long *, const char *, int);
void LKPI(raw_spin_unlock)(raw_spinlock_t *, unsigned int, unsigned long, const char *, int);
int LKPI(raw_spin_is_locked)(const raw_spinlock_t *);
void LKPI(raw_spin_assert)(const raw_spinlock_t *, const char *, int);

#define spin_lock_init(lock) LKPI(spin_init)(lock)

#define spin_lock(lock) ((void)LKPI(spin_lock)((lock), LKPI_PLAIN, LKPI_HERE))
#define spin_lock_bh(lock) ((void)LKPI(spin_lock)((lock), LKPI_BH, LKPI_HERE))
#define spin_lock_irq(lock) ((void)LKPI(spin_lock)((lock), LKPI_IRQ, LKPI_HERE))
#define spin_lock_irqsave(lock, flags) ((flags) = LKPI(spin_lock)((lock), LKPI_IRQSAVE, LKPI_HERE))
#define spin_lock_nested(lock, subclass) ((void)(subclass), (void)LKPI(spin_lock)((lock), LKPI_PLAIN | LKPI_NESTED, LKPI_HERE))
#define spin_lock_bh_nested(lock, subclass) ((void)(subclass), (void)LKPI(spin_lock)((lock), LKPI_BH | LKPI_NESTED, LKPI_HERE))
#define spin_lock_nest_lock(lock, outer) spin_lock_nested((lock), sizeof(outer))
#define spin_lock_irqsave_nested(lock, flags, subclass)		\
	((void)(subclass), (flags) = LKPI(spin_lock)((lock), LKPI_IRQSAVE | LKPI_NESTED, LKPI_HERE))

#define spin_unlock(lock) LKPI(spin_unlock)((lock), LKPI_PLAIN, 0, LKPI_HERE)
#define spin_unlock_bh(lock) LKPI(spin_unlock)((lock), LKPI_BH, 0, LKPI_HERE)
#define spin_unlock_irq(lock) LKPI(spin_unlock)((lock), LKPI_IRQ, 0, LKPI_HERE)
#define spin_unlock_irqrestore(lock, flags) LKPI(spin_unlock)((lock), LKPI_IRQSAVE, (flags), LKPI_HERE)

#define spin_trylock(lock) LKPI(spin_trylock)((lock), LKPI_PLAIN, NULL, LKPI_HERE)
#define spin_trylock_bh(lock) LKPI(spin_trylock)((lock), LKPI_BH, NULL, LKPI_HERE)
#define spin_trylock_irq(lock) LKPI(spin_trylock)((lock), LKPI_IRQ, NULL, LKPI_HERE)
#define spin_trylock_irqsave(lock, flags) LKPI(spin_trylock)((lock), LKPI_IRQSAVE, &(flags), LKPI_HERE)

#define spin_is_locked(lock) LKPI(spin_is_locked)(lock)
#define spin_is_contended(lock) ((void)(lock), 0)
#define assert_spin_locked(lock) LKPI(spin_assert)((lock), LKPI_HERE)

/* Initialised when the machine boots, and enrolled in WITNESS, as LinuxKPI's are. */
#define DEFINE_SPINLOCK(name)						\
	spinlock_t name;							\
	LKPI_SYSINIT(name, LKPI(spin_init_static), &name)

#define raw_spin_lock_init(lock) LKPI(raw_spin_init)(lock)

#define raw_spin_lock(lock) ((void)LKPI(raw_spin_lock)((lock), LKPI_PLAIN, LKPI_HERE))
#define raw_spin_lock_bh(lock) ((void)LKPI(raw_spin_lock)((lock), LKPI_BH, LKPI_HERE))
#define raw_spin_lock_irq(lock) ((void)LKPI(raw_spin_lock)((lock), LKPI_IRQ, LKPI_HERE))
#define raw_spin_lock_irqsave(lock, flags) ((flags) = LKPI(raw_spin_lock)((lock), LKPI_IRQSAVE, LKPI_HERE))
#define raw_spin_lock_nested(lock, subclass) ((void)(subclass), (void)LKPI(raw_spin_lock)((lock), LKPI_PLAIN | LKPI_NESTED, LKPI_HERE))
#define raw_spin_lock_bh_nested(lock, subclass) ((void)(subclass), (void)LKPI(raw_spin_lock)((lock), LKPI_BH | LKPI_NESTED, LKPI_HERE))
#define raw_spin_lock_nest_lock(lock, outer) raw_spin_lock_nested((lock), sizeof(outer))
#define raw_spin_lock_irqsave_nested(lock, flags, subclass)		\
	((void)(subclass), (flags) = LKPI(raw_spin_lock)((lock), LKPI_IRQSAVE | LKPI_NESTED, LKPI_HERE))

#define raw_spin_unlock(lock) LKPI(raw_spin_unlock)((lock), LKPI_PLAIN, 0, LKPI_HERE)
#define raw_spin_unlock_bh(lock) LKPI(raw_spin_unlock)((lock), LKPI_BH, 0, LKPI_HERE)
#define raw_spin_unlock_irq(lock) LKPI(raw_spin_unlock)((lock), LKPI_IRQ, 0, LKPI_HERE)
#define raw_spin_unlock_irqrestore(lock, flags) LKPI(raw_spin_unlock)((lock), LKPI_IRQSAVE, (flags), LKPI_HERE)

#define raw_spin_trylock(lock) LKPI(raw_spin_trylock)((lock), LKPI_PLAIN, NULL, LKPI_HERE)
#define raw_spin_trylock_bh(lock) LKPI(raw_spin_trylock)((lock), LKPI_BH, NULL, LKPI_HERE)
#define raw_spin_trylock_irq(lock) LKPI(raw_spin_trylock)((lock), LKPI_IRQ, NULL, LKPI_HERE)
#define raw_spin_trylock_irqsave(lock, flags) LKPI(raw_spin_trylock)((lock), LKPI_IRQSAVE, &(flags), LKPI_HERE)

#define raw_spin_is_locked(lock) LKPI(raw_spin_is_locked)(lock)
#define raw_spin_is_contended(lock) ((void)(lock), 0)
#define assert_raw_spin_locked(lock) LKPI(raw_spin_assert)((lock), LKPI_HERE)

/* Initialised when the machine boots, and enrolled in WITNESS, as LinuxKPI's are. */
#define DEFINE_RAW_SPINLOCK(name)						\
	raw_spinlock_t name;							\
	LKPI_SYSINIT(name, LKPI(raw_spin_init_static), &name)

/* Unlike LinuxKPI's, the lock is taken before the count can reach zero. */
#define atomic_dec_and_lock(count, lock)				\
	(!atomic_add_unless((count), -1, 1) &&				\
	    ({								\
		bool lkpi_zero_;					\
									\
		spin_lock(lock);					\
		lkpi_zero_ = atomic_dec_and_test(count);		\
		if (!lkpi_zero_)					\
			spin_unlock(lock);				\
		lkpi_zero_;						\
	    }))
#define atomic_dec_and_lock_irqsave(count, lock, flags)		\
	(!atomic_add_unless((count), -1, 1) &&				\
	    ({								\
		bool lkpi_zero_;					\
									\
		spin_lock_irqsave((lock), (flags));			\
		lkpi_zero_ = atomic_dec_and_test(count);		\
		if (!lkpi_zero_)					\
			spin_unlock_irqrestore((lock), (flags));	\
		lkpi_zero_;						\
	    }))

#include <linux/atomic.h>

#endif /* _LINUX_SPINLOCK_H_ */
