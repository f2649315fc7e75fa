/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * sys/taskqueue.h: taskqueue(9). A task takes 40 bytes here, for 32 of FreeBSD's; threads are named after their queue.
 */

#ifndef _SYS_TASKQUEUE_H_
#define _SYS_TASKQUEUE_H_

#include <sys/systm.h>

struct taskqueue;

typedef void task_fn_t(void *, int);

struct task {
	uint64_t lkpi_room[5];
};

void lkpi_task_init(struct task *, u_char, task_fn_t *, void *);
struct taskqueue *lkpi_taskqueue_create(const char *, int);
int lkpi_taskqueue_start_threads(struct taskqueue *, int, int);
int taskqueue_enqueue(struct taskqueue *, struct task *);
int taskqueue_cancel(struct taskqueue *, struct task *, u_int *);
void taskqueue_drain(struct taskqueue *, struct task *);
void taskqueue_drain_all(struct taskqueue *);
void taskqueue_block(struct taskqueue *);
void taskqueue_unblock(struct taskqueue *);
void taskqueue_free(struct taskqueue *);

/* A queue's threads wait for it by themselves; the enqueue function and its context are those of all. */
#define taskqueue_thread_enqueue NULL
#define taskqueue_create(name, mflags, enqueue, context) lkpi_taskqueue_create((name), 0)
#define taskqueue_create_fast(name, mflags, enqueue, context) lkpi_taskqueue_create((name), 1)
#define taskqueue_start_threads(tqp, count, pri, ...) lkpi_taskqueue_start_threads(*(tqp), (count), (pri))
#define TASK_INIT(task, priority, func, context) lkpi_task_init((task), (priority), (func), (context))

#endif /* _SYS_TASKQUEUE_H_ */
