/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * sys/sleepqueue.h: sleepqueue(9).
 */

#ifndef _SYS_SLEEPQUEUE_H_
#define _SYS_SLEEPQUEUE_H_

#include <sys/systm.h>

struct lock_object;
struct thread;

#define SLEEPQ_TYPE 0x0ff
#define SLEEPQ_SLEEP 0x00
#define SLEEPQ_CONDVAR 0x01
#define SLEEPQ_PAUSE 0x02
#define SLEEPQ_SX 0x03
#define SLEEPQ_LK 0x04
#define SLEEPQ_INTERRUPTIBLE 0x100
#define SLEEPQ_UNFAIR 0x200
#define SLEEPQ_DROP 0x400

#define NR_SLEEPQS 2

void sleepq_lock(const void *);
void sleepq_release(const void *);
void sleepq_add(const void *, struct lock_object *, const char *, int, int);
void sleepq_set_timeout_sbt(const void *, sbintime_t, sbintime_t, int);
void sleepq_wait(const void *, int);
int sleepq_wait_sig(const void *, int);
int sleepq_timedwait(const void *, int);
int sleepq_timedwait_sig(const void *, int);
int sleepq_signal(const void *, int, int, int);
int sleepq_broadcast(const void *, int, int, int);
u_int sleepq_sleepcnt(const void *, int);
int sleepq_type(const void *);
void sleepq_remove(struct thread *, const void *);

#define sleepq_set_timeout(wchan, timo)					\
	sleepq_set_timeout_sbt((wchan), tick_sbt * (timo), 0, C_HARDCLOCK)

#endif /* _SYS_SLEEPQUEUE_H_ */
