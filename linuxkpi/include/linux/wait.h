/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * linux/wait.h: wait queues, whose lock is the mapping's spinlock.
 */

#ifndef _LINUX_WAIT_H_
#define _LINUX_WAIT_H_

#include <linux/compiler.h>
#include <linux/list.h>
#include <linux/sched.h>
#include <linux/spinlock.h>
#include <linux/types.h>
#include <linuxkpi/mapping.h>

/* The list is where the mapping's lock ends: ask with waitqueue_active(). */
typedef struct wait_queue_head {
	spinlock_t lock;
	struct list_head lkpi_room;
} wait_queue_head_t;

struct wait_queue_entry;
typedef struct wait_queue_entry wait_queue_entry_t;
typedef int (*wait_queue_func_t)(wait_queue_entry_t *, unsigned int, int, void *);

struct wait_queue_entry {
	unsigned int flags;
	void *private;
	wait_queue_func_t func;
	struct list_head entry;
};

_Static_assert(sizeof(struct wait_queue_entry) == 40, "wait_queue_entry");

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

/* 0, -EWOULDBLOCK when the time is up, -ERESTARTSYS for a signal. */
#define LKPI_WAIT_EVENT(wqh, cond, timeout, state) ({			\
	wait_queue_entry_t lkpi_entry_;					\
	int lkpi_error_ = 0;						\
									\
	lkpi_init_wait(&lkpi_entry_);					\
	for (;;) {							\
		prepare_to_wait(&(wqh), &lkpi_entry_, (state));		\
		if ((cond) || SCHEDULER_STOPPED())			\
			break;						\
		lkpi_error_ = LKPI(wait_sleep)(&(wqh), (timeout), (state)); \
		if (lkpi_error_ != 0)					\
			break;						\
	}								\
	finish_wait(&(wqh), &lkpi_entry_);				\
	lkpi_error_;							\
})
#define LKPI_WAIT_EVENT_TIMEOUT(wqh, cond, timeout, state) ({		\
	long lkpi_end_ = (long)jiffies + (long)(timeout);		\
	long lkpi_left_ = LKPI_WAIT_EVENT(wqh, cond, (timeout), (state)); \
									\
	if (lkpi_left_ == -EWOULDBLOCK)					\
		lkpi_left_ = !!(cond);					\
	else if (lkpi_left_ == 0)					\
		lkpi_left_ = max(lkpi_end_ - (long)jiffies, 1L);	\
	lkpi_left_;							\
})
#define wait_event(wqh, cond)						\
	((void)LKPI_WAIT_EVENT(wqh, cond, MAX_SCHEDULE_TIMEOUT, TASK_UNINTERRUPTIBLE))
#define wait_event_interruptible(wqh, cond)				\
	LKPI_WAIT_EVENT(wqh, cond, MAX_SCHEDULE_TIMEOUT, TASK_INTERRUPTIBLE)
#define wait_event_killable(wqh, cond) wait_event_interruptible(wqh, cond)
#define wait_event_timeout(wqh, cond, timeout)				\
	LKPI_WAIT_EVENT_TIMEOUT(wqh, cond, timeout, TASK_UNINTERRUPTIBLE)
#define wait_event_interruptible_timeout(wqh, cond, timeout)		\
	LKPI_WAIT_EVENT_TIMEOUT(wqh, cond, timeout, TASK_INTERRUPTIBLE)

#endif /* _LINUX_WAIT_H_ */
