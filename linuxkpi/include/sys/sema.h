/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * sys/sema.h: sema(9), a count under a mutex and a condition variable, as in FreeBSD. Nobody owns it, so nobody is lent a priority.
 */

#ifndef _SYS_SEMA_H_
#define _SYS_SEMA_H_

#include <sys/condvar.h>
#include <sys/mutex.h>

struct sema {
	struct mtx sema_mtx;
	struct cv sema_cv;
	int sema_waiters;
	int sema_value;
};

static __inline void
sema_init(struct sema *sema, int value, const char *description)
{

	KASSERT(value >= 0, ("sema_init(): negative value\n"));
	bzero(sema, sizeof(*sema));
	mtx_init(&sema->sema_mtx, description, "sema backing lock", MTX_DEF | MTX_NOWITNESS | MTX_QUIET);
	cv_init(&sema->sema_cv, description);
	sema->sema_value = value;
}

static __inline void
sema_destroy(struct sema *sema)
{

	KASSERT(sema->sema_waiters == 0, ("sema_destroy(): waiters\n"));
	mtx_destroy(&sema->sema_mtx);
	cv_destroy(&sema->sema_cv);
}

#define sema_post(sema) _sema_post((sema), __FILE__, __LINE__)
#define sema_wait(sema) _sema_wait((sema), __FILE__, __LINE__)
#define sema_timedwait(sema, timo) _sema_timedwait((sema), (timo), __FILE__, __LINE__)
#define sema_trywait(sema) _sema_trywait((sema), __FILE__, __LINE__)

static __inline void
_sema_post(struct sema *sema, const char *file, int line)
{

	mtx_lock(&sema->sema_mtx);
	sema->sema_value++;
	if (sema->sema_waiters != 0 && sema->sema_value > 0)
		cv_signal(&sema->sema_cv);
	mtx_unlock(&sema->sema_mtx);
}

/* 0, or EWOULDBLOCK once a wait took so many ticks; 0 ticks are for ever. */
static __inline int
lkpi_sema_wait(struct sema *sema, int timo)
{
	int error = 0;

	mtx_lock(&sema->sema_mtx);
	while (sema->sema_value == 0 && error == 0) {
		sema->sema_waiters++;
		if (timo == 0)
			cv_wait(&sema->sema_cv, &sema->sema_mtx);
		else
			error = cv_timedwait(&sema->sema_cv, &sema->sema_mtx, timo);
		sema->sema_waiters--;
	}
	/* It may have come with the last tick. */
	if (sema->sema_value > 0) {
		sema->sema_value--;
		error = 0;
	}
	mtx_unlock(&sema->sema_mtx);
	return (error);
}

static __inline void
_sema_wait(struct sema *sema, const char *file, int line)
{

	(void)lkpi_sema_wait(sema, 0);
}

static __inline int
_sema_timedwait(struct sema *sema, int timo, const char *file, int line)
{

	/* A time of 0 is over at the first tick. */
	return (lkpi_sema_wait(sema, timo == 0 ? 1 : timo));
}

/* Whether it had one. */
static __inline int
_sema_trywait(struct sema *sema, const char *file, int line)
{
	int had;

	mtx_lock(&sema->sema_mtx);
	had = sema->sema_value > 0;
	if (had)
		sema->sema_value--;
	mtx_unlock(&sema->sema_mtx);
	return (had);
}

static __inline int
sema_value(struct sema *sema)
{
	int value;

	mtx_lock(&sema->sema_mtx);
	value = sema->sema_value;
	mtx_unlock(&sema->sema_mtx);
	return (value);
}

#endif /* _SYS_SEMA_H_ */
