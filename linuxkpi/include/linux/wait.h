/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * linux/wait.h: wait queues, whose lock is the mapping's spinlock.
 */

#ifndef _LINUX_WAIT_H_
#define _LINUX_WAIT_H_

#include <linux/bitops.h>
#include <linux/compiler.h>
#include <linux/list.h>
#include <linux/sched.h>
#include <linux/spinlock.h>
#include <linux/types.h>
#include <linuxkpi/layout.h>
#include <linuxkpi/mapping.h>

/* Drivers walk the list with the lock held; LinuxKPI has it by both names. */
typedef struct wait_queue_head {
	spinlock_t lock;
	union {
		struct list_head task_list;
		struct list_head head;
	};
} wait_queue_head_t;

struct wait_queue_entry;
typedef struct wait_queue_entry wait_queue_entry_t;
typedef int (*wait_queue_func_t)(wait_queue_entry_t *, unsigned int, int, void *);

struct wait_queue_entry {
	unsigned int flags;
	void *private;
	wait_queue_func_t func;
	union {
		struct list_head task_list;
		struct list_head entry;
	};
};

typedef wait_queue_entry_t wait_queue_t;

_Static_assert(sizeof(struct wait_queue_head) == LKPI_SPINLOCK_SIZE + 16, "wait_queue_head");
_Static_assert(offsetof(struct wait_queue_head, head) == LKPI_SPINLOCK_SIZE, "wait_queue_head");
_Static_assert(sizeof(struct wait_queue_entry) == 40, "wait_queue_entry");
_Static_assert(offsetof(struct wait_queue_entry, entry) == 24, "wait_queue_entry");

void LKPI(init_waitqueue_head)(wait_queue_head_t *);
void LKPI(init_waitqueue_head_static)(void *);
void lkpi_init_wait(wait_queue_entry_t *);
void LKPI(prepare_to_wait)(wait_queue_head_t *, wait_queue_entry_t *, unsigned int);
void LKPI(finish_wait)(wait_queue_head_t *, wait_queue_entry_t *);
int LKPI(wait_sleep)(wait_queue_head_t *, long, unsigned int);
void LKPI(wake_up)(wait_queue_head_t *, unsigned int, unsigned int, bool, const char *, int);
bool LKPI(waitqueue_active)(wait_queue_head_t *);

#define init_waitqueue_head(wqh) LKPI(init_waitqueue_head)(wqh)
#define DECLARE_WAIT_QUEUE_HEAD(name)					\
	wait_queue_head_t name;						\
	LKPI_SYSINIT(name, LKPI(init_waitqueue_head_static), &name)
#define init_wait(entry) lkpi_init_wait(entry)
#define DEFINE_WAIT(name)						\
	wait_queue_entry_t name;					\
	lkpi_init_wait(&name)
int lkpi_default_wake_function(wait_queue_entry_t *, unsigned int, int, void *);
int lkpi_autoremove_wake_function(wait_queue_entry_t *, unsigned int, int, void *);
#define default_wake_function lkpi_default_wake_function
#define autoremove_wake_function lkpi_autoremove_wake_function

#define DEFINE_WAIT_FUNC(name, function)				\
	wait_queue_entry_t name = {					\
		.private = current,					\
		.func = (function),					\
		.entry = LIST_HEAD_INIT((name).entry),			\
	}
/* Without a function of its own: default_wake_function(), which leaves it on the queue. */
#define DECLARE_WAITQUEUE(name, task)					\
	wait_queue_entry_t name = {					\
		.private = (task),					\
		.entry = LIST_HEAD_INIT((name).entry),			\
	}

static inline void
init_waitqueue_entry(wait_queue_entry_t *entry, struct task_struct *task)
{
	entry->flags = 0;
	entry->private = task;
	entry->func = default_wake_function;
	INIT_LIST_HEAD(&entry->entry);
}

static inline void
init_waitqueue_func_entry(wait_queue_entry_t *entry, wait_queue_func_t func)
{
	entry->flags = 0;
	entry->private = NULL;
	entry->func = func;
	INIT_LIST_HEAD(&entry->entry);
}

/* The queue's lock is held. */
static inline void
__add_wait_queue(wait_queue_head_t *wqh, wait_queue_entry_t *entry)
{
	list_add(&entry->entry, &wqh->head);
}

static inline void
__add_wait_queue_entry_tail(wait_queue_head_t *wqh, wait_queue_entry_t *entry)
{
	list_add_tail(&entry->entry, &wqh->head);
}

static inline void
__remove_wait_queue(wait_queue_head_t *wqh, wait_queue_entry_t *entry)
{
	list_del(&entry->entry);
}

static inline void
add_wait_queue(wait_queue_head_t *wqh, wait_queue_entry_t *entry)
{
	spin_lock(&wqh->lock);
	__add_wait_queue(wqh, entry);
	spin_unlock(&wqh->lock);
}

static inline void
remove_wait_queue(wait_queue_head_t *wqh, wait_queue_entry_t *entry)
{
	spin_lock(&wqh->lock);
	__remove_wait_queue(wqh, entry);
	spin_unlock(&wqh->lock);
}

#define prepare_to_wait(wqh, entry, state) LKPI(prepare_to_wait)((wqh), (entry), (state))
#define finish_wait(wqh, entry) LKPI(finish_wait)((wqh), (entry))
#define waitqueue_active(wqh) LKPI(waitqueue_active)(wqh)

#define wake_up(wqh) LKPI(wake_up)((wqh), TASK_NORMAL, 1, false, LKPI_HERE)
#define wake_up_nr(wqh, nr) LKPI(wake_up)((wqh), TASK_NORMAL, (nr), false, LKPI_HERE)
#define wake_up_all(wqh) LKPI(wake_up)((wqh), TASK_NORMAL, 0, false, LKPI_HERE)
#define wake_up_interruptible(wqh) LKPI(wake_up)((wqh), TASK_INTERRUPTIBLE, 1, false, LKPI_HERE)
#define wake_up_interruptible_all(wqh) LKPI(wake_up)((wqh), TASK_INTERRUPTIBLE, 0, false, LKPI_HERE)
#define wake_up_locked(wqh) LKPI(wake_up)((wqh), TASK_NORMAL, 1, true, LKPI_HERE)
#define wake_up_all_locked(wqh) LKPI(wake_up)((wqh), TASK_NORMAL, 0, true, LKPI_HERE)

/*
 * 0, -EWOULDBLOCK when the time is up, -ERESTARTSYS for a signal. The condition is the only argument that is evaluated more
 * than once. What the caller has to give up while it sleeps comes last.
 */
#define LKPI_WAIT_EVENT(wqh, cond, timeout, state, drop, retake) ({	\
	const long lkpi_sleep_ = (timeout);				\
	wait_queue_entry_t lkpi_entry_;					\
	int lkpi_error_ = 0;						\
									\
	lkpi_init_wait(&lkpi_entry_);					\
	for (;;) {							\
		prepare_to_wait(&(wqh), &lkpi_entry_, (state));		\
		if ((cond) || SCHEDULER_STOPPED())			\
			break;						\
		drop;							\
		lkpi_error_ = LKPI(wait_sleep)(&(wqh), lkpi_sleep_, (state)); \
		retake;							\
		if (lkpi_error_ != 0)					\
			break;						\
	}								\
	finish_wait(&(wqh), &lkpi_entry_);				\
	lkpi_error_;							\
})
#define LKPI_WAIT_EVENT_TIMEOUT(wqh, cond, timeout, state, drop, retake) ({ \
	const long lkpi_timeout_ = (timeout);				\
	const long lkpi_end_ = (long)jiffies + lkpi_timeout_;		\
	long lkpi_left_ = LKPI_WAIT_EVENT(wqh, cond, lkpi_timeout_, (state), drop, retake); \
									\
	if (lkpi_left_ == -EWOULDBLOCK)					\
		lkpi_left_ = !!(cond);					\
	else if (lkpi_left_ == 0)					\
		lkpi_left_ = max(lkpi_end_ - (long)jiffies, 1L);	\
	lkpi_left_;							\
})
#define LKPI_NO_LOCK ((void)0)
#define wait_event(wqh, cond)						\
	((void)LKPI_WAIT_EVENT(wqh, cond, MAX_SCHEDULE_TIMEOUT, TASK_UNINTERRUPTIBLE, LKPI_NO_LOCK, LKPI_NO_LOCK))
#define wait_event_interruptible(wqh, cond)				\
	LKPI_WAIT_EVENT(wqh, cond, MAX_SCHEDULE_TIMEOUT, TASK_INTERRUPTIBLE, LKPI_NO_LOCK, LKPI_NO_LOCK)
#define wait_event_killable(wqh, cond) wait_event_interruptible(wqh, cond)
#define wait_event_timeout(wqh, cond, timeout)				\
	LKPI_WAIT_EVENT_TIMEOUT(wqh, cond, timeout, TASK_UNINTERRUPTIBLE, LKPI_NO_LOCK, LKPI_NO_LOCK)
#define wait_event_interruptible_timeout(wqh, cond, timeout)		\
	LKPI_WAIT_EVENT_TIMEOUT(wqh, cond, timeout, TASK_INTERRUPTIBLE, LKPI_NO_LOCK, LKPI_NO_LOCK)
/* The lock is held when the condition is looked at and afterwards, and not during the sleep. */
#define wait_event_lock_irq(wqh, cond, lock)				\
	((void)LKPI_WAIT_EVENT(wqh, cond, MAX_SCHEDULE_TIMEOUT, TASK_UNINTERRUPTIBLE,	\
	    spin_unlock_irq(&(lock)), spin_lock_irq(&(lock))))
#define wait_event_interruptible_lock_irq(wqh, cond, lock)		\
	LKPI_WAIT_EVENT(wqh, cond, MAX_SCHEDULE_TIMEOUT, TASK_INTERRUPTIBLE,		\
	    spin_unlock_irq(&(lock)), spin_lock_irq(&(lock)))
#define wait_event_lock_irq_timeout(wqh, cond, lock, timeout)		\
	LKPI_WAIT_EVENT_TIMEOUT(wqh, cond, timeout, TASK_UNINTERRUPTIBLE,	\
	    spin_unlock_irq(&(lock)), spin_lock_irq(&(lock)))
/* The queue's own lock is held, but not while the condition is looked at: LinuxKPI's, where Linux's is. */
#define wait_event_interruptible_locked(wqh, cond) ({			\
	int lkpi_locked_;						\
									\
	spin_unlock(&(wqh).lock);					\
	lkpi_locked_ = wait_event_interruptible(wqh, cond);		\
	spin_lock(&(wqh).lock);						\
	lkpi_locked_;							\
})

/*
 * Bits. What waits for one sleeps on an address that stands for it, as LinuxKPI has it: not on a queue that others share.
 */
void lkpi_wake_up_address(uintptr_t);
int lkpi_wait_on_bit(uintptr_t, const unsigned long *, unsigned long, unsigned int, long);

static inline uintptr_t
lkpi_bit_address(const void *word, int bit)
{
	return ((uintptr_t)word << 6 | (unsigned int)bit);
}

#define wake_up_bit(word, bit) lkpi_wake_up_address(lkpi_bit_address((word), (bit)))

static inline int
wait_on_bit_timeout(unsigned long *word, int bit, unsigned int state, unsigned long timeout)
{
	return (lkpi_wait_on_bit(lkpi_bit_address(word, bit), word, 1UL << bit, state, (long)timeout));
}

static inline int
wait_on_bit(unsigned long *word, int bit, unsigned int state)
{
	return (wait_on_bit_timeout(word, bit, state, MAX_SCHEDULE_TIMEOUT));
}

static inline void
clear_and_wake_up_bit(int bit, unsigned long *word)
{
	clear_bit_unlock(bit, word);
	wake_up_bit(word, bit);
}

#endif /* _LINUX_WAIT_H_ */
