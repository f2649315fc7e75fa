/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * linux/kthread.h
 */

#ifndef _LINUX_KTHREAD_H_
#define _LINUX_KTHREAD_H_

#include <linux/err.h>
#include <linux/kernel.h>
#include <linux/sched.h>

struct task_struct *lkpi_kthread_run(int (*)(void *), void *, const char *);
bool lkpi_kthread_should_stop(void);
int lkpi_kthread_stop(struct task_struct *);

#define kthread_run(func, data, ...) ({					\
	char lkpi_name_[32];						\
									\
	snprintf(lkpi_name_, sizeof(lkpi_name_), __VA_ARGS__);		\
	lkpi_kthread_run((func), (data), lkpi_name_);			\
})
#define kthread_should_stop() lkpi_kthread_should_stop()
#define kthread_stop(task) lkpi_kthread_stop(task)

#endif /* _LINUX_KTHREAD_H_ */
