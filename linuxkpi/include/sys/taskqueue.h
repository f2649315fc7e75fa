/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * sys/taskqueue.h: taskqueue(9). Threads are named after their queue. freebsd_sys::taskqueue::Task has the same layout.
 */

#ifndef _SYS_TASKQUEUE_H_
#define _SYS_TASKQUEUE_H_

#include <sys/systm.h>

struct taskqueue;
struct thread;

typedef void task_fn_t(void *, int);

struct task {
	struct task *ta_link;
	uint16_t ta_pending;
	uint8_t ta_priority;
	uint8_t ta_flags;
	task_fn_t *ta_func;
	void *ta_context;
};

_Static_assert(sizeof(struct task) == 32, "task");
_Static_assert(offsetof(struct task, ta_pending) == 8, "ta_pending");
_Static_assert(offsetof(struct task, ta_priority) == 10, "ta_priority");
_Static_assert(offsetof(struct task, ta_flags) == 11, "ta_flags");
_Static_assert(offsetof(struct task, ta_func) == 16, "ta_func");
_Static_assert(offsetof(struct task, ta_context) == 24, "ta_context");

struct taskqueue *lkpi_taskqueue_create(const char *, int);
int lkpi_taskqueue_start_threads(struct taskqueue *, int, int);
int taskqueue_enqueue(struct taskqueue *, struct task *);
int taskqueue_cancel(struct taskqueue *, struct task *, u_int *);
void taskqueue_drain(struct taskqueue *, struct task *);
void taskqueue_drain_all(struct taskqueue *);
void taskqueue_quiesce(struct taskqueue *);
void taskqueue_block(struct taskqueue *);
void taskqueue_unblock(struct taskqueue *);
void taskqueue_free(struct taskqueue *);
int taskqueue_poll_is_busy(struct taskqueue *, struct task *);
int taskqueue_member(struct taskqueue *, struct thread *);

/* Each machine has its own. */
struct taskqueue *lkpi_taskqueue_known(int);
#define taskqueue_thread lkpi_taskqueue_known(0)
#define taskqueue_swi lkpi_taskqueue_known(1)
#define taskqueue_swi_giant lkpi_taskqueue_known(2)
#define taskqueue_fast lkpi_taskqueue_known(3)

/* A queue's threads wait for it by themselves; the enqueue function and its context are those of all. */
#define taskqueue_thread_enqueue NULL
#define taskqueue_create(name, mflags, enqueue, context) lkpi_taskqueue_create((name), 0)
#define taskqueue_create_fast(name, mflags, enqueue, context) lkpi_taskqueue_create((name), 1)
#define taskqueue_start_threads(tqp, count, pri, ...) lkpi_taskqueue_start_threads(*(tqp), (count), (pri))

/* A macro's parameter must not be called as a field or a structure is. */
#define TASK_INITIALIZER(pri, fn, arg)					\
	{ .ta_priority = (pri), .ta_func = (fn), .ta_context = (arg) }
#define TASK_INIT(t, pri, fn, arg) do {					\
	struct task *lkpi_task_ = (t);					\
									\
	MPASS((pri) >= 0 && (pri) <= 255);				\
	*lkpi_task_ = (struct task)TASK_INITIALIZER((pri), (fn), (arg));	\
} while (0)

#endif /* _SYS_TASKQUEUE_H_ */
