/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * linux/seqlock.h: sequence counts and seqlock_t.
 *
 * Zeroed memory is a valid, even count under the mappings that keep nothing else in it; under those that do
 * (seq_rwlock, seq_rmlock), as under Linux with lockdep, a count wants its init function.
 */

#ifndef _LINUX_SEQLOCK_H_
#define _LINUX_SEQLOCK_H_

#include <linux/compiler.h>
#include <linux/spinlock.h>
#include <linux/types.h>
#include <linuxkpi/layout.h>
#include <linuxkpi/mapping.h>
#include <sys/kernel.h>

typedef struct seqcount {
	union lkpi_seqcount lkpi_count;
} seqcount_t;

/*
 * Counts that are associated with a lock. The type says how a writer has to protect itself from readers that preempt
 * it; the lock itself is remembered by nobody.
 */
#define LKPI_SEQCOUNT_TYPE(name)					\
	typedef struct seqcount_##name {				\
		union lkpi_seqcount lkpi_count;				\
	} seqcount_##name##_t

LKPI_SEQCOUNT_TYPE(spinlock);
LKPI_SEQCOUNT_TYPE(raw_spinlock);
LKPI_SEQCOUNT_TYPE(rwlock);
LKPI_SEQCOUNT_TYPE(mutex);
LKPI_SEQCOUNT_TYPE(ww_mutex);

typedef union lkpi_seqlock seqlock_t;

void LKPI(seqcount_init)(void *);
void LKPI(seqcount_write_begin)(void *, const char *, int);
void LKPI(seqcount_write_end)(void *, const char *, int);
void LKPI(seqcount_invalidate)(void *);
unsigned int LKPI(seqcount_read_begin)(const void *, const char *, int);
unsigned int LKPI(seqcount_raw_read)(const void *);
int LKPI(seqcount_read_retry)(const void *, unsigned int, const char *, int);

void LKPI(seqcount_mutex_init)(void *);
void LKPI(seqcount_mutex_write_begin)(void *, const char *, int);
void LKPI(seqcount_mutex_write_end)(void *, const char *, int);
void LKPI(seqcount_mutex_invalidate)(void *);
unsigned int LKPI(seqcount_mutex_read_begin)(const void *, const char *, int);
unsigned int LKPI(seqcount_mutex_raw_read)(const void *);
int LKPI(seqcount_mutex_read_retry)(const void *, unsigned int, const char *, int);

/* The functions for a count of *s's type: those of seqcount_mutex_t where Linux disables preemption itself. */
#define LKPI_SEQCOUNT(s, f) _Generic(*(s),				\
	seqcount_t: LKPI(seqcount_##f),					\
	seqcount_spinlock_t: LKPI(seqcount_##f),			\
	seqcount_raw_spinlock_t: LKPI(seqcount_##f),			\
	seqcount_rwlock_t: LKPI(seqcount_##f),				\
	seqcount_mutex_t: LKPI(seqcount_mutex_##f),			\
	seqcount_ww_mutex_t: LKPI(seqcount_mutex_##f))

#define SEQCNT_ZERO(name) { .lkpi_count = { .lkpi_room = { 0 } } }
#define SEQCNT_SPINLOCK_ZERO(name, lock) SEQCNT_ZERO(name)
#define SEQCNT_RAW_SPINLOCK_ZERO(name, lock) SEQCNT_ZERO(name)
#define SEQCNT_RWLOCK_ZERO(name, lock) SEQCNT_ZERO(name)
#define SEQCNT_MUTEX_ZERO(name, lock) SEQCNT_ZERO(name)
#define SEQCNT_WW_MUTEX_ZERO(name, lock) SEQCNT_ZERO(name)

#define seqcount_init(s) LKPI_SEQCOUNT((s), init)(s)
#define seqcount_spinlock_init(s, lock) ((void)(lock), seqcount_init(s))
#define seqcount_raw_spinlock_init(s, lock) ((void)(lock), seqcount_init(s))
#define seqcount_rwlock_init(s, lock) ((void)(lock), seqcount_init(s))
#define seqcount_mutex_init(s, lock) ((void)(lock), seqcount_init(s))
#define seqcount_ww_mutex_init(s, lock) ((void)(lock), seqcount_init(s))

#define write_seqcount_begin(s) LKPI_SEQCOUNT((s), write_begin)((s), LKPI_HERE)
#define write_seqcount_begin_nested(s, subclass) ((void)(subclass), write_seqcount_begin(s))
#define write_seqcount_end(s) LKPI_SEQCOUNT((s), write_end)((s), LKPI_HERE)
#define write_seqcount_invalidate(s) LKPI_SEQCOUNT((s), invalidate)(s)
/* Without lockdep: here the same, since LinuxKPI knows no other writer. */
#define do_write_seqcount_begin(s) write_seqcount_begin(s)
#define raw_write_seqcount_begin(s) write_seqcount_begin(s)
#define raw_write_seqcount_end(s) write_seqcount_end(s)

#define read_seqcount_begin(s) LKPI_SEQCOUNT((s), read_begin)((s), LKPI_HERE)
#define raw_read_seqcount_begin(s) read_seqcount_begin(s)
/* May be odd. */
#define raw_read_seqcount(s) LKPI_SEQCOUNT((s), raw_read)(s)
#define raw_seqcount_begin(s) (raw_read_seqcount(s) & ~1u)
#define seqprop_sequence(s) raw_read_seqcount(s)
#define read_seqcount_retry(s, start) LKPI_SEQCOUNT((s), read_retry)((s), (start), LKPI_HERE)
#define __read_seqcount_begin(s) read_seqcount_begin(s)
#define __read_seqcount_retry(s, start) read_seqcount_retry((s), (start))

void LKPI(seqlock_init)(void *);
unsigned long LKPI(seqlock_write_lock)(seqlock_t *, unsigned int, const char *, int);
void LKPI(seqlock_write_unlock)(seqlock_t *, unsigned int, unsigned long, const char *, int);
unsigned int LKPI(seqlock_read_begin)(const seqlock_t *, const char *, int);
int LKPI(seqlock_read_retry)(const seqlock_t *, unsigned int, const char *, int);
unsigned long LKPI(seqlock_excl_lock)(seqlock_t *, unsigned int, const char *, int);
void LKPI(seqlock_excl_unlock)(seqlock_t *, unsigned int, unsigned long, const char *, int);

#define seqlock_init(sl) LKPI(seqlock_init)(sl)
/* Initialised when the machine boots. */
#define DEFINE_SEQLOCK(name)						\
	seqlock_t name;							\
	LKPI_SYSINIT(name, LKPI(seqlock_init), &name)

#define read_seqbegin(sl) LKPI(seqlock_read_begin)((sl), LKPI_HERE)
#define read_seqretry(sl, start) LKPI(seqlock_read_retry)((sl), (start), LKPI_HERE)

#define write_seqlock(sl) ((void)LKPI(seqlock_write_lock)((sl), LKPI_PLAIN, LKPI_HERE))
#define write_sequnlock(sl) LKPI(seqlock_write_unlock)((sl), LKPI_PLAIN, 0, LKPI_HERE)
#define write_seqlock_bh(sl) ((void)LKPI(seqlock_write_lock)((sl), LKPI_BH, LKPI_HERE))
#define write_sequnlock_bh(sl) LKPI(seqlock_write_unlock)((sl), LKPI_BH, 0, LKPI_HERE)
#define write_seqlock_irq(sl) ((void)LKPI(seqlock_write_lock)((sl), LKPI_IRQ, LKPI_HERE))
#define write_sequnlock_irq(sl) LKPI(seqlock_write_unlock)((sl), LKPI_IRQ, 0, LKPI_HERE)
#define write_seqlock_irqsave(sl, flags) ((flags) = LKPI(seqlock_write_lock)((sl), LKPI_IRQSAVE, LKPI_HERE))
#define write_sequnlock_irqrestore(sl, flags) LKPI(seqlock_write_unlock)((sl), LKPI_IRQSAVE, (flags), LKPI_HERE)

#define read_seqlock_excl(sl) ((void)LKPI(seqlock_excl_lock)((sl), LKPI_PLAIN, LKPI_HERE))
#define read_sequnlock_excl(sl) LKPI(seqlock_excl_unlock)((sl), LKPI_PLAIN, 0, LKPI_HERE)
#define read_seqlock_excl_bh(sl) ((void)LKPI(seqlock_excl_lock)((sl), LKPI_BH, LKPI_HERE))
#define read_sequnlock_excl_bh(sl) LKPI(seqlock_excl_unlock)((sl), LKPI_BH, 0, LKPI_HERE)
#define read_seqlock_excl_irq(sl) ((void)LKPI(seqlock_excl_lock)((sl), LKPI_IRQ, LKPI_HERE))
#define read_sequnlock_excl_irq(sl) LKPI(seqlock_excl_unlock)((sl), LKPI_IRQ, 0, LKPI_HERE)
#define read_seqlock_excl_irqsave(sl, flags) ((flags) = LKPI(seqlock_excl_lock)((sl), LKPI_IRQSAVE, LKPI_HERE))
#define read_sequnlock_excl_irqrestore(sl, flags) LKPI(seqlock_excl_unlock)((sl), LKPI_IRQSAVE, (flags), LKPI_HERE)

/* A reader that first tries without the lock: *seq is even for that, odd for the second round. */
#define read_seqbegin_or_lock(sl, seq) do {				\
	if ((*(seq) & 1) == 0)						\
		*(seq) = (int)read_seqbegin(sl);			\
	else								\
		read_seqlock_excl(sl);					\
} while (0)
#define need_seqretry(sl, seq) (((seq) & 1) == 0 && read_seqretry((sl), (unsigned int)(seq)))
#define done_seqretry(sl, seq) do {					\
	if ((seq) & 1)							\
		read_sequnlock_excl(sl);				\
} while (0)

#endif /* _LINUX_SEQLOCK_H_ */
