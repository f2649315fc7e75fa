/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * sys/epoch.h: epoch(9). freebsd_sys::epoch::Tracker and Context have the same layouts.
 */

#ifndef _SYS_EPOCH_H_
#define _SYS_EPOCH_H_

#include <sys/lock.h>
#include <sys/pcpu.h>
#include <sys/systm.h>

struct epoch_context {
	void *data[2];
} __aligned(sizeof(void *));

typedef struct epoch_context *epoch_context_t;
typedef void epoch_callback_t(epoch_context_t);

struct epoch;
typedef struct epoch *epoch_t;

#define EPOCH_PREEMPT 0x1
#define EPOCH_LOCKED 0x2

struct epoch_tracker {
	struct epoch_tracker *et_link[2];
	struct thread *et_td;
	unsigned int et_section;
	uint8_t et_old_priority;
} __aligned(sizeof(void *));

typedef struct epoch_tracker *epoch_tracker_t;

_Static_assert(sizeof(struct epoch_context) == 16, "epoch_context");
_Static_assert(sizeof(struct epoch_tracker) == 32, "epoch_tracker");
_Static_assert(offsetof(struct epoch_tracker, et_td) == 16, "et_td");
_Static_assert(offsetof(struct epoch_tracker, et_section) == 24, "et_section");
_Static_assert(offsetof(struct epoch_tracker, et_old_priority) == 28, "et_old_priority");

epoch_t epoch_alloc(const char *, int);
void epoch_free(epoch_t);
void epoch_wait(epoch_t);
void epoch_wait_preempt(epoch_t);
void epoch_drain_callbacks(epoch_t);
void epoch_call(epoch_t, epoch_callback_t *, epoch_context_t);
int in_epoch(epoch_t);
void _epoch_enter_preempt(epoch_t, epoch_tracker_t);
void _epoch_exit_preempt(epoch_t, epoch_tracker_t);
void epoch_enter(epoch_t);
void epoch_exit(epoch_t);

void lkpi_epoch_enter_preempt(epoch_t, epoch_tracker_t, const char *, int);
void lkpi_epoch_exit_preempt(epoch_t, epoch_tracker_t, const char *, int);
void epoch_trace_list(struct thread *);
void epoch_where_report(epoch_t);

/* As in a kernel with options EPOCH_TRACE, which is the machine's choice here. */
#define epoch_enter_preempt(epoch, et) lkpi_epoch_enter_preempt((epoch), (et), __FILE__, __LINE__)
#define epoch_exit_preempt(epoch, et) lkpi_epoch_exit_preempt((epoch), (et), __FILE__, __LINE__)

/* Each machine has its own. */
epoch_t lkpi_global_epoch(void);
epoch_t lkpi_global_epoch_preempt(void);
epoch_t lkpi_net_epoch_preempt(void);
#define global_epoch lkpi_global_epoch()
#define global_epoch_preempt lkpi_global_epoch_preempt()
#define net_epoch_preempt lkpi_net_epoch_preempt()

#define NET_EPOCH_ENTER(et) epoch_enter_preempt(net_epoch_preempt, &(et))
#define NET_EPOCH_EXIT(et) epoch_exit_preempt(net_epoch_preempt, &(et))
#define NET_EPOCH_WAIT() epoch_wait_preempt(net_epoch_preempt)
#define NET_EPOCH_CALL(f, c) epoch_call(net_epoch_preempt, (f), (c))
#define NET_EPOCH_DRAIN_CALLBACKS() epoch_drain_callbacks(net_epoch_preempt)
#define NET_EPOCH_ASSERT() MPASS(in_epoch(net_epoch_preempt))

#endif /* _SYS_EPOCH_H_ */
