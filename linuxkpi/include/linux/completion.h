/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * linux/completion.h
 */

#ifndef _LINUX_COMPLETION_H_
#define _LINUX_COMPLETION_H_

#include <linux/types.h>

struct completion {
	unsigned int done;
};

#define COMPLETION_INITIALIZER(name) { 0 }
#define COMPLETION_INITIALIZER_ONSTACK(name) COMPLETION_INITIALIZER(name)
#define DECLARE_COMPLETION(name) struct completion name = COMPLETION_INITIALIZER(name)
#define DECLARE_COMPLETION_ONSTACK(name) DECLARE_COMPLETION(name)

void lkpi_init_completion(struct completion *);
void lkpi_reinit_completion(struct completion *);
void lkpi_complete(struct completion *);
void lkpi_complete_all(struct completion *);
void lkpi_wait_for_completion(struct completion *);
long lkpi_wait_for_completion_timeout(struct completion *, long);
int lkpi_wait_for_completion_interruptible(struct completion *);
long lkpi_wait_for_completion_interruptible_timeout(struct completion *, long);
bool lkpi_try_wait_for_completion(struct completion *);
bool lkpi_completion_done(struct completion *);

#define init_completion(c) lkpi_init_completion(c)
#define reinit_completion(c) lkpi_reinit_completion(c)
#define complete(c) lkpi_complete(c)
#define complete_all(c) lkpi_complete_all(c)
#define wait_for_completion(c) lkpi_wait_for_completion(c)
#define wait_for_completion_timeout(c, timeout)				\
	((unsigned long)lkpi_wait_for_completion_timeout((c), (long)(timeout)))
#define wait_for_completion_interruptible(c) lkpi_wait_for_completion_interruptible(c)
#define wait_for_completion_interruptible_timeout(c, timeout)		\
	lkpi_wait_for_completion_interruptible_timeout((c), (long)(timeout))
/* To be killed is as good as any signal, as LinuxKPI has it. */
#define wait_for_completion_killable(c) wait_for_completion_interruptible(c)
#define wait_for_completion_killable_timeout(c, timeout) wait_for_completion_interruptible_timeout((c), (timeout))
#define try_wait_for_completion(c) lkpi_try_wait_for_completion(c)
#define completion_done(c) lkpi_completion_done(c)

#endif /* _LINUX_COMPLETION_H_ */
