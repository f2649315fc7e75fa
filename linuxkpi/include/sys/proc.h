/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * sys/proc.h: the fields of struct thread and struct proc that drivers read. The first fields of
 * freebsd_sys::thread::Thread and freebsd_sys::kproc::Proc, in their order; both sides assert the offsets.
 */

#ifndef _SYS_PROC_H_
#define _SYS_PROC_H_

#include <sys/types.h>

struct thread {
	volatile u_int td_critnest;
	volatile u_int td_intr_nesting_level;
	volatile int td_pinned;
	volatile int td_no_sleeping;
	volatile u_int td_owepreempt;
	volatile u_int td_priority;
	void *td_lkpi_task;
};

_Static_assert(offsetof(struct thread, td_critnest) == 0, "td_critnest");
_Static_assert(offsetof(struct thread, td_intr_nesting_level) == 4, "td_intr_nesting_level");
_Static_assert(offsetof(struct thread, td_pinned) == 8, "td_pinned");
_Static_assert(offsetof(struct thread, td_no_sleeping) == 12, "td_no_sleeping");
_Static_assert(offsetof(struct thread, td_owepreempt) == 16, "td_owepreempt");
_Static_assert(offsetof(struct thread, td_priority) == 20, "td_priority");
_Static_assert(offsetof(struct thread, td_lkpi_task) == 24, "td_lkpi_task");

#define MAXCOMLEN 19

struct proc {
	int p_pid;
	char p_comm[MAXCOMLEN + 1];
};

_Static_assert(offsetof(struct proc, p_pid) == 0, "p_pid");
_Static_assert(offsetof(struct proc, p_comm) == 4, "p_comm");

/* A user thread's process is no kernel process, and the same for all. */
struct proc *lkpi_curproc(void);
struct proc *lkpi_td_proc(struct thread *);
#define curproc lkpi_curproc()

void kern_yield(int);
void maybe_yield(void);
bool should_yield(void);

#define THREAD_NO_SLEEPING() (curthread->td_no_sleeping++)
#define THREAD_SLEEPING_OK() (curthread->td_no_sleeping--)
#define THREAD_CAN_SLEEP() (curthread->td_no_sleeping == 0)

#endif /* _SYS_PROC_H_ */
