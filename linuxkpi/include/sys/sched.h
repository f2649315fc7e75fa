/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * sys/sched.h: what drivers call of the scheduler. A thread lock is a spinlock section: what it guards is not C's.
 */

#ifndef _SYS_SCHED_H_
#define _SYS_SCHED_H_

#include <sys/pcpu.h>
#include <sys/priority.h>
#include <sys/proc.h>

#define SW_TYPE_MASK 0xff
#define SW_VOL 0x0100
#define SW_INVOL 0x0200
#define SW_PREEMPT 0x0400

enum {
	SWT_NONE, SWT_OWEPREEMPT, SWT_TURNSTILE, SWT_SLEEPQ, SWT_RELINQUISH, SWT_NEEDRESCHED, SWT_IDLE, SWT_IWAIT,
	SWT_SUSPEND, SWT_REMOTEPREEMPT, SWT_REMOTEWAKEIDLE, SWT_BIND, SWT_COUNT
};

void _thread_lock(struct thread *, int, const char *, int);
void thread_lock_flags_(struct thread *, int, const char *, int);
void lkpi_thread_unlock(struct thread *);
#define thread_lock(td) _thread_lock((td), 0, __FILE__, __LINE__)
#define thread_lock_flags(td, opt) thread_lock_flags_((td), (opt), __FILE__, __LINE__)
#define thread_unlock(td) lkpi_thread_unlock((td))

void sched_bind(struct thread *, int);
void sched_unbind(struct thread *);
int sched_is_bound(struct thread *);
void sched_prio(struct thread *, u_char);
void sched_relinquish(struct thread *);
void lkpi_sched_pin(void);
void lkpi_sched_unpin(void);
#define sched_pin() lkpi_sched_pin()
#define sched_unpin() lkpi_sched_unpin()
void mi_switch(int);

#endif /* _SYS_SCHED_H_ */
