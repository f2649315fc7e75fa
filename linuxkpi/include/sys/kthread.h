/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * sys/kthread.h: kthread(9).
 */

#ifndef _SYS_KTHREAD_H_
#define _SYS_KTHREAD_H_

#include <sys/proc.h>
#include <sys/systm.h>

int lkpi_kthread_add(void (*)(void *), void *, struct thread **, const char *);
void kthread_exit(void) __dead2;
int kthread_suspend(struct thread *, int);
int kthread_resume(struct thread *);
void kthread_suspend_check(void);

#define kthread_add(func, arg, proc, newtdp, flags, pages, ...) __extension__ ({	\
	char lkpi_name_[32];						\
									\
	snprintf(lkpi_name_, sizeof(lkpi_name_), __VA_ARGS__);		\
	lkpi_kthread_add((func), (arg), (newtdp), lkpi_name_);		\
})

#endif /* _SYS_KTHREAD_H_ */
