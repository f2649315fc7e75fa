/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * sys/taskqueue.h: taskqueue(9). Threads are named after their queue. freebsd_sys::taskqueue::Task has the same layout.
 */

#ifndef _SYS_TASKQUEUE_H_
#define _SYS_TASKQUEUE_H_

#include <sys/kernel.h>
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

/* Runs some time later; what waits for the time is opaque. */
struct timeout_task {
	struct taskqueue *q;
	struct task t;
	uint64_t lkpi_room[9];
};

_Static_assert(sizeof(struct timeout_task) == 112, "timeout_task");
_Static_assert(offsetof(struct timeout_task, t) == 8, "t");

struct taskqueue *lkpi_taskqueue_create(const char *, int, int);
int lkpi_taskqueue_start_threads(struct taskqueue *, int, int, const char *);
int taskqueue_enqueue(struct taskqueue *, struct task *);
#define TASKQUEUE_FAIL_IF_PENDING 0x1
int taskqueue_enqueue_flags(struct taskqueue *, struct task *, int);
int taskqueue_enqueue_timeout(struct taskqueue *, struct timeout_task *, int);
int taskqueue_enqueue_timeout_sbt(struct taskqueue *, struct timeout_task *, sbintime_t, sbintime_t, int);
int taskqueue_cancel(struct taskqueue *, struct task *, u_int *);
int taskqueue_cancel_timeout(struct taskqueue *, struct timeout_task *, u_int *);
void taskqueue_drain_timeout(struct taskqueue *, struct timeout_task *);
void _timeout_task_init(struct taskqueue *, struct timeout_task *, int, task_fn_t *, void *);
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

/* A queue's threads wait for it by themselves. Another enqueue function than this is a panic; its context is not looked at. */
typedef void (*taskqueue_enqueue_fn)(void *);
#define taskqueue_thread_enqueue ((taskqueue_enqueue_fn)NULL)
#define taskqueue_create(name, mflags, enqueue, context)		\
	lkpi_taskqueue_create((name), 0, (enqueue) != taskqueue_thread_enqueue)
#define taskqueue_create_fast(name, mflags, enqueue, context)		\
	lkpi_taskqueue_create((name), 1, (enqueue) != taskqueue_thread_enqueue)
#define taskqueue_start_threads(tqp, count, pri, ...) __extension__ ({	\
	char lkpi_name_[32];						\
									\
	snprintf(lkpi_name_, sizeof(lkpi_name_), __VA_ARGS__);		\
	lkpi_taskqueue_start_threads(*(tqp), (count), (pri), lkpi_name_); \
})

/* A queue that SYSINIT makes, with a thread. */
#define TASKQUEUE_DECLARE(name) extern struct taskqueue *taskqueue_##name
#define LKPI_TASKQUEUE_DEFINE_THREAD(name, fast)			\
	struct taskqueue *taskqueue_##name;				\
	static void							\
	taskqueue_define_##name(void *arg)				\
	{								\
		taskqueue_##name = lkpi_taskqueue_create(#name, (fast), 0); \
		taskqueue_start_threads(&taskqueue_##name, 1, PWAIT, "%s taskq", #name); \
	}								\
	SYSINIT(taskqueue_##name, SI_SUB_TASKQ, SI_ORDER_SECOND, taskqueue_define_##name, NULL); \
	struct lkpi_hungry_semicolon
#define TASKQUEUE_DEFINE_THREAD(name) LKPI_TASKQUEUE_DEFINE_THREAD(name, 0)
#define TASKQUEUE_FAST_DEFINE_THREAD(name) LKPI_TASKQUEUE_DEFINE_THREAD(name, 1)

/* A macro's parameter must not be called as a field or a structure is. */
#define TASK_INITIALIZER(pri, fn, arg)					\
	{ .ta_priority = (pri), .ta_func = (fn), .ta_context = (arg) }
#define TASK_INIT(t, pri, fn, arg) do {					\
	struct task *lkpi_task_ = (t);					\
									\
	MPASS((pri) >= 0 && (pri) <= 255);				\
	*lkpi_task_ = (struct task)TASK_INITIALIZER((pri), (fn), (arg));	\
} while (0)

#define TIMEOUT_TASK_INIT(queue, timeout_task, priority, func, context)	\
	_timeout_task_init((queue), (timeout_task), (priority), (func), (context))

#endif /* _SYS_TASKQUEUE_H_ */
