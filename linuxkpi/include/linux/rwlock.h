/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * linux/rwlock.h: rwlock_t. LinuxKPI's is not enrolled in WITNESS, and its holder is not pinned.
 */

#ifndef _LINUX_RWLOCK_H_
#define _LINUX_RWLOCK_H_

#include <linux/types.h>
#include <linuxkpi/layout.h>
#include <linuxkpi/mapping.h>
#include <sys/kernel.h>

typedef union lkpi_rwlock rwlock_t;

void LKPI(rwlock_init)(void *);
unsigned long LKPI(read_lock)(rwlock_t *, unsigned int, const char *, int);
int LKPI(read_trylock)(rwlock_t *, unsigned int, unsigned long *, const char *, int);
void LKPI(read_unlock)(rwlock_t *, unsigned int, unsigned long, const char *, int);
unsigned long LKPI(write_lock)(rwlock_t *, unsigned int, const char *, int);
int LKPI(write_trylock)(rwlock_t *, unsigned int, unsigned long *, const char *, int);
void LKPI(write_unlock)(rwlock_t *, unsigned int, unsigned long, const char *, int);

#define rwlock_init(lock) LKPI(rwlock_init)(lock)
/* Initialised when the machine boots. */
#define DEFINE_RWLOCK(name)						\
	rwlock_t name;							\
	LKPI_SYSINIT(name, LKPI(rwlock_init), &name)

#define read_lock(lock) ((void)LKPI(read_lock)((lock), LKPI_PLAIN, LKPI_HERE))
#define read_lock_bh(lock) ((void)LKPI(read_lock)((lock), LKPI_BH, LKPI_HERE))
#define read_lock_irq(lock) ((void)LKPI(read_lock)((lock), LKPI_IRQ, LKPI_HERE))
#define read_lock_irqsave(lock, flags) ((flags) = LKPI(read_lock)((lock), LKPI_IRQSAVE, LKPI_HERE))
#define read_lock_nested(lock, subclass) ((void)(subclass), (void)LKPI(read_lock)((lock), LKPI_NESTED, LKPI_HERE))
#define read_unlock(lock) LKPI(read_unlock)((lock), LKPI_PLAIN, 0, LKPI_HERE)
#define read_unlock_bh(lock) LKPI(read_unlock)((lock), LKPI_BH, 0, LKPI_HERE)
#define read_unlock_irq(lock) LKPI(read_unlock)((lock), LKPI_IRQ, 0, LKPI_HERE)
#define read_unlock_irqrestore(lock, flags) LKPI(read_unlock)((lock), LKPI_IRQSAVE, (flags), LKPI_HERE)
#define read_trylock(lock) LKPI(read_trylock)((lock), LKPI_PLAIN, NULL, LKPI_HERE)
#define read_trylock_irqsave(lock, flags) LKPI(read_trylock)((lock), LKPI_IRQSAVE, &(flags), LKPI_HERE)

#define write_lock(lock) ((void)LKPI(write_lock)((lock), LKPI_PLAIN, LKPI_HERE))
#define write_lock_bh(lock) ((void)LKPI(write_lock)((lock), LKPI_BH, LKPI_HERE))
#define write_lock_irq(lock) ((void)LKPI(write_lock)((lock), LKPI_IRQ, LKPI_HERE))
#define write_lock_irqsave(lock, flags) ((flags) = LKPI(write_lock)((lock), LKPI_IRQSAVE, LKPI_HERE))
#define write_lock_nested(lock, subclass) ((void)(subclass), (void)LKPI(write_lock)((lock), LKPI_NESTED, LKPI_HERE))
#define write_unlock(lock) LKPI(write_unlock)((lock), LKPI_PLAIN, 0, LKPI_HERE)
#define write_unlock_bh(lock) LKPI(write_unlock)((lock), LKPI_BH, 0, LKPI_HERE)
#define write_unlock_irq(lock) LKPI(write_unlock)((lock), LKPI_IRQ, 0, LKPI_HERE)
#define write_unlock_irqrestore(lock, flags) LKPI(write_unlock)((lock), LKPI_IRQSAVE, (flags), LKPI_HERE)
#define write_trylock(lock) LKPI(write_trylock)((lock), LKPI_PLAIN, NULL, LKPI_HERE)
#define write_trylock_irqsave(lock, flags) LKPI(write_trylock)((lock), LKPI_IRQSAVE, &(flags), LKPI_HERE)

#endif /* _LINUX_RWLOCK_H_ */
