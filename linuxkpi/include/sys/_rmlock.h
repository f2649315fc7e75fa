/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * sys/_rmlock.h: freebsd_sys::rmlock::Rm and PrioTracker have the same layout, for a cpuset_t of 1024 CPUs.
 */

#ifndef _SYS__RMLOCK_H_
#define _SYS__RMLOCK_H_

#include <sys/_mutex.h>
#include <sys/_sx.h>

struct rm_queue {
	struct rm_queue *volatile rmq_next;
	struct rm_queue *volatile rmq_prev;
};

struct rmlock {
	struct lock_object lock_object;
	volatile uint64_t rm_writecpus[16];
	void *rm_activeReaders;
	union {
		struct mtx _rm_wlock_mtx;
		struct sx _rm_wlock_sx;
	} _rm_lock;
};

struct rm_priotracker {
	struct rm_queue rmp_cpuQueue;
	struct rmlock *rmp_rmlock;
	struct thread *rmp_thread;
	int rmp_flags;
	void *rmp_qentry[2];
};

_Static_assert(sizeof(struct rmlock) == 192, "rmlock");
_Static_assert(offsetof(struct rmlock, _rm_lock) == 160, "_rm_lock");
_Static_assert(sizeof(struct rm_priotracker) == 56, "rm_priotracker");
_Static_assert(offsetof(struct rm_priotracker, rmp_flags) == 32, "rmp_flags");

#endif /* _SYS__RMLOCK_H_ */
