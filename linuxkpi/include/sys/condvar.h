/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * sys/condvar.h: condvar(9). freebsd_sys::condvar::Cv has the same layout.
 */

#ifndef _SYS_CONDVAR_H_
#define _SYS_CONDVAR_H_

#include <sys/_lock.h>
#include <sys/systm.h>

struct cv {
	const char *cv_description;
	int cv_waiters;
};

_Static_assert(sizeof(struct cv) == 16, "cv");
_Static_assert(offsetof(struct cv, cv_waiters) == 8, "cv_waiters");

void cv_init(struct cv *, const char *);
void cv_destroy(struct cv *);
void _cv_wait(struct cv *, struct lock_object *);
void _cv_wait_unlock(struct cv *, struct lock_object *);
int _cv_wait_sig(struct cv *, struct lock_object *);
int _cv_timedwait_sbt(struct cv *, struct lock_object *, sbintime_t, sbintime_t, int);
int _cv_timedwait_sig_sbt(struct cv *, struct lock_object *, sbintime_t, sbintime_t, int);
void cv_signal(struct cv *);
void cv_broadcastpri(struct cv *, int);

#define cv_wait(cvp, lock) _cv_wait((cvp), &(lock)->lock_object)
#define cv_wait_unlock(cvp, lock) _cv_wait_unlock((cvp), &(lock)->lock_object)
#define cv_wait_sig(cvp, lock) _cv_wait_sig((cvp), &(lock)->lock_object)
#define cv_timedwait_sbt(cvp, lock, sbt, pr, flags)			\
	_cv_timedwait_sbt((cvp), &(lock)->lock_object, (sbt), (pr), (flags))
#define cv_timedwait(cvp, lock, timo) cv_timedwait_sbt(cvp, lock, tick_sbt * (timo), 0, C_HARDCLOCK)
#define cv_timedwait_sig_sbt(cvp, lock, sbt, pr, flags)			\
	_cv_timedwait_sig_sbt((cvp), &(lock)->lock_object, (sbt), (pr), (flags))
#define cv_timedwait_sig(cvp, lock, timo) cv_timedwait_sig_sbt(cvp, lock, tick_sbt * (timo), 0, C_HARDCLOCK)
#define cv_broadcast(cvp) cv_broadcastpri(cvp, 0)
#define cv_wmesg(cvp) ((cvp)->cv_description)

#endif /* _SYS_CONDVAR_H_ */
