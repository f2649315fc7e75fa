/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * linux/sched.h: current, task states, giving up the CPU.
 */

#ifndef _LINUX_SCHED_H_
#define _LINUX_SCHED_H_

#include <linux/completion.h>
#include <linux/jiffies.h>
#include <linux/preempt.h>
#include <linux/types.h>

#define TASK_RUNNING 0x0000
#define TASK_INTERRUPTIBLE 0x0001
#define TASK_UNINTERRUPTIBLE 0x0002
#define TASK_NORMAL (TASK_INTERRUPTIBLE | TASK_UNINTERRUPTIBLE)
#define TASK_WAKING 0x0100
#define TASK_PARKED 0x0200
/* To be killed is as good as any signal, as LinuxKPI has it. */
#define TASK_KILLABLE TASK_INTERRUPTIBLE
#define MAX_SCHEDULE_TIMEOUT ((long)INT_MAX)

struct task_struct;

struct task_struct *lkpi_current(void);
void lkpi_set_current_state(unsigned int);
long lkpi_schedule_timeout(long);
bool lkpi_wake_up_process(struct task_struct *);
bool lkpi_wake_up_state(struct task_struct *, unsigned int);
bool lkpi_signal_pending(struct task_struct *);
int lkpi_cond_resched(void);

#define current lkpi_current()
#define set_current_state(state) lkpi_set_current_state(state)
#define __set_current_state(state) lkpi_set_current_state(state)
#define schedule() ((void)lkpi_schedule_timeout(MAX_SCHEDULE_TIMEOUT))
#define schedule_timeout(timeout) lkpi_schedule_timeout(timeout)
#define schedule_timeout_interruptible(timeout)				\
	(set_current_state(TASK_INTERRUPTIBLE), schedule_timeout(timeout))
#define schedule_timeout_uninterruptible(timeout)			\
	(set_current_state(TASK_UNINTERRUPTIBLE), schedule_timeout(timeout))
#define wake_up_process(task) lkpi_wake_up_process(task)
#define wake_up_state(task, state) lkpi_wake_up_state((task), (state))
#define signal_pending(task) lkpi_signal_pending(task)
#define fatal_signal_pending(task) signal_pending(task)
#define cond_resched() lkpi_cond_resched()
#define yield() ((void)cond_resched())

static inline bool
signal_pending_state(unsigned int state, struct task_struct *task)
{
	return ((state & TASK_INTERRUPTIBLE) != 0 && signal_pending(task));
}

#define need_resched() (curthread->td_owepreempt != 0)

/* cpu_spinwait(): the loop cannot go on until another CPU moves. */
void lkpi_cpu_relax(void);
#define cpu_relax() lkpi_cpu_relax()

#endif /* _LINUX_SCHED_H_ */
