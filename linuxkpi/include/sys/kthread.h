/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * sys/kthread.h: kthread(9), kproc(9).
 */

#ifndef _SYS_KTHREAD_H_
#define _SYS_KTHREAD_H_

#include <sys/proc.h>
#include <sys/systm.h>

/* Started by SYSINIT. */
struct kproc_desc {
	const char *arg0;
	void (*func)(void);
	struct proc **global_procpp;
};

struct kthread_desc {
	const char *arg0;
	void (*func)(void);
	struct thread **global_threadpp;
};

_Static_assert(sizeof(struct kproc_desc) == 24, "kproc_desc");
_Static_assert(sizeof(struct kthread_desc) == 24, "kthread_desc");

int lkpi_kproc_create(void (*)(void *), void *, struct proc **, int, const char *);
int lkpi_kproc_kthread_add(void (*)(void *), void *, struct proc **, struct thread **, int, const char *, const char *);
int lkpi_kthread_add(void (*)(void *), void *, struct proc *, struct thread **, int, const char *);
void kproc_exit(int) __dead2;
int kproc_resume(struct proc *);
void kproc_shutdown(void *, int);
void kproc_start(const void *);
int kproc_suspend(struct proc *, int);
void kproc_suspend_check(struct proc *);
void kthread_exit(void) __dead2;
int kthread_resume(struct thread *);
void kthread_shutdown(void *, int);
void kthread_start(const void *);
int kthread_suspend(struct thread *, int);
void kthread_suspend_check(void);

/* RFSTOPPED, the one flag that a driver might give, is a panic. */
#define kthread_add(func, arg, proc, newtdp, flags, pages, ...) __extension__ ({	\
	char lkpi_name_[32];						\
									\
	snprintf(lkpi_name_, sizeof(lkpi_name_), __VA_ARGS__);		\
	lkpi_kthread_add((func), (arg), (proc), (newtdp), (flags), lkpi_name_);	\
})
#define kproc_create(func, arg, newpp, flags, pages, ...) __extension__ ({	\
	char lkpi_name_[32];						\
									\
	snprintf(lkpi_name_, sizeof(lkpi_name_), __VA_ARGS__);		\
	lkpi_kproc_create((func), (arg), (newpp), (flags), lkpi_name_);	\
})
#define kproc_kthread_add(func, arg, procptr, tdptr, flags, pages, procname, ...) __extension__ ({	\
	char lkpi_name_[32];						\
									\
	snprintf(lkpi_name_, sizeof(lkpi_name_), __VA_ARGS__);		\
	lkpi_kproc_kthread_add((func), (arg), (procptr), (tdptr), (flags), (procname), lkpi_name_);	\
})

#endif /* _SYS_KTHREAD_H_ */
