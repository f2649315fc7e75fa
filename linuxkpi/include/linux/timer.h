/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * linux/timer.h: callouts. Opaque; the function runs in a softclock thread, in the mapping's softirq context.
 */

#ifndef _LINUX_TIMER_H_
#define _LINUX_TIMER_H_

#include <linux/container_of.h>
#include <linux/jiffies.h>
#include <linux/types.h>
#include <linuxkpi/mapping.h>

#define LKPI_TIMER_SIZE 256

struct timer_list {
	uint64_t lkpi_room[LKPI_TIMER_SIZE / 8];
};

void LKPI(timer_setup)(struct timer_list *, void (*)(struct timer_list *));
bool lkpi_mod_timer(struct timer_list *, unsigned long);
bool lkpi_del_timer(struct timer_list *);
bool lkpi_del_timer_sync(struct timer_list *);
bool lkpi_timer_pending(struct timer_list *);

#define timer_setup(timer, func, flags) LKPI(timer_setup)((timer), (func))
#define mod_timer(timer, expires) lkpi_mod_timer((timer), (expires) - jiffies)
#define del_timer(timer) lkpi_del_timer(timer)
#define timer_delete(timer) lkpi_del_timer(timer)
#define del_timer_sync(timer) lkpi_del_timer_sync(timer)
#define timer_delete_sync(timer) lkpi_del_timer_sync(timer)
#define timer_setup_on_stack(timer, func, flags) timer_setup((timer), (func), (flags))
#define destroy_timer_on_stack(timer) ((void)(timer))
#define del_singleshot_timer_sync(timer) del_timer_sync(timer)
#define timer_container_of(var, timer, member) from_timer(var, timer, member)
#define timer_pending(timer) lkpi_timer_pending(timer)
#define from_timer(var, timer, member) container_of((timer), __typeof__(*(var)), member)

#endif /* _LINUX_TIMER_H_ */
