/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * linux/workqueue.h: taskqueue threads. Works are opaque; their size is the same under each mapping. Drivers read a delayed work's
 * timer.expires.
 */

#ifndef _LINUX_WORKQUEUE_H_
#define _LINUX_WORKQUEUE_H_

#include <linux/container_of.h>
#include <linux/types.h>
#include <sys/_mutex.h>
#include <sys/callout.h>
#include <sys/systm.h>

struct work_struct {
	uint64_t lkpi_room[7];
};
struct delayed_work {
	struct work_struct work;
	struct {
		struct callout callout;
		struct mtx mtx;
		unsigned long expires;
	} timer;
};
_Static_assert(sizeof(struct delayed_work) == 160, "delayed_work");

struct workqueue_struct;
typedef void (*work_func_t)(struct work_struct *);

void lkpi_init_work(struct work_struct *, work_func_t);
struct workqueue_struct *lkpi_system_wq(void);
struct workqueue_struct *lkpi_alloc_workqueue(const char *, int);
void lkpi_destroy_workqueue(struct workqueue_struct *);
bool lkpi_queue_work(struct workqueue_struct *, struct work_struct *);
bool lkpi_flush_work(struct work_struct *);
bool lkpi_cancel_work_sync(struct work_struct *);
void lkpi_flush_workqueue(struct workqueue_struct *);
bool lkpi_work_pending(struct work_struct *);
bool lkpi_work_busy(struct work_struct *);
void lkpi_init_delayed_work(struct delayed_work *, work_func_t);
bool lkpi_queue_delayed_work(struct workqueue_struct *, struct delayed_work *, unsigned long);
bool lkpi_mod_delayed_work(struct workqueue_struct *, struct delayed_work *, unsigned long);
bool lkpi_cancel_delayed_work(struct delayed_work *);
bool lkpi_cancel_delayed_work_sync(struct delayed_work *);
bool lkpi_flush_delayed_work(struct delayed_work *);

#define WQ_HIGHPRI 0x0010
#define WQ_UNBOUND 0x0002
#define WQ_MEM_RECLAIM 0x0008
#define WQ_FREEZABLE 0x0004

#define INIT_WORK(work, func) lkpi_init_work((work), (func))
#define INIT_WORK_ONSTACK(work, func) lkpi_init_work((work), (func))
#define destroy_work_on_stack(work) ((void)(work))
#define system_wq lkpi_system_wq()
#define system_unbound_wq lkpi_system_wq()
#define system_highpri_wq lkpi_system_wq()
#define system_long_wq lkpi_system_wq()
#define system_power_efficient_wq lkpi_system_wq()
#define schedule_work(work) lkpi_queue_work(system_wq, (work))
#define queue_work(wq, work) lkpi_queue_work((wq), (work))
#define flush_work(work) lkpi_flush_work(work)
#define cancel_work_sync(work) lkpi_cancel_work_sync(work)
#define queue_work_on(cpu, wq, work) ((void)(cpu), queue_work((wq), (work)))
#define flush_scheduled_work() lkpi_flush_workqueue(system_wq)
#define flush_workqueue(wq) lkpi_flush_workqueue(wq)
#define work_pending(work) lkpi_work_pending(work)
#define work_busy(work) lkpi_work_busy(work)

#define INIT_DELAYED_WORK(dwork, func) lkpi_init_delayed_work((dwork), (func))
#define INIT_DELAYED_WORK_ONSTACK(dwork, func) lkpi_init_delayed_work((dwork), (func))
#define INIT_DEFERRABLE_WORK(dwork, func) lkpi_init_delayed_work((dwork), (func))
#define to_delayed_work(w) container_of((w), struct delayed_work, work)
#define queue_delayed_work(wq, dwork, delay) lkpi_queue_delayed_work((wq), (dwork), (delay))
#define schedule_delayed_work(dwork, delay) lkpi_queue_delayed_work(system_wq, (dwork), (delay))
#define mod_delayed_work(wq, dwork, delay) lkpi_mod_delayed_work((wq), (dwork), (delay))
#define cancel_delayed_work(dwork) lkpi_cancel_delayed_work(dwork)
#define cancel_delayed_work_sync(dwork) lkpi_cancel_delayed_work_sync(dwork)
#define flush_delayed_work(dwork) lkpi_flush_delayed_work(dwork)
#define delayed_work_pending(dwork) lkpi_work_pending(&(dwork)->work)
/* The name is a literal. */
#define alloc_workqueue(name, flags, max_active, ...) lkpi_alloc_workqueue((name), (max_active))
#define alloc_ordered_workqueue(name, flags, ...) lkpi_alloc_workqueue((name), 1)
#define create_singlethread_workqueue(name) lkpi_alloc_workqueue((name), 1)
#define destroy_workqueue(wq) lkpi_destroy_workqueue(wq)

#endif /* _LINUX_WORKQUEUE_H_ */
