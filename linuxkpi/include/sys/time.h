/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * sys/time.h: sbintime_t, seconds in fixed point with 32 bits behind it, and virtual time in it, which goes on by ticks.
 */

#ifndef _SYS_TIME_H_
#define _SYS_TIME_H_

#include <sys/kernel.h>
#include <sys/systm.h>

#define SBT_1M (SBT_1S * 60)
#define SBT_1US (SBT_1S / 1000000)
#define SBT_1NS (SBT_1S / 1000000000)
#define SBT_MAX 0x7fffffffffffffffLL

/* Without losing what the product does not hold: whole seconds apart. To time is rounded up, so that nothing is 0 but 0. */
#define LKPI_FROM_SBT(sbt, unit)					\
	(((sbt) >> 32) * (unit) + (int64_t)(((uint64_t)((sbt) & 0xffffffff) * (unit)) >> 32))
#define LKPI_TO_SBT(n, unit)						\
	(((n) / (unit)) * SBT_1S +					\
	    (sbintime_t)((((uint64_t)((n) % (unit)) << 32) + (unit) - 1) / (unit)))

static __inline int64_t
sbttons(sbintime_t sbt)
{

	return (LKPI_FROM_SBT(sbt, 1000000000LL));
}

static __inline int64_t
sbttous(sbintime_t sbt)
{

	return (LKPI_FROM_SBT(sbt, 1000000LL));
}

static __inline int64_t
sbttoms(sbintime_t sbt)
{

	return (LKPI_FROM_SBT(sbt, 1000LL));
}

static __inline sbintime_t
nstosbt(int64_t ns)
{

	return (LKPI_TO_SBT(ns, 1000000000LL));
}

static __inline sbintime_t
ustosbt(int64_t us)
{

	return (LKPI_TO_SBT(us, 1000000LL));
}

static __inline sbintime_t
mstosbt(int64_t ms)
{

	return (LKPI_TO_SBT(ms, 1000LL));
}

struct timespec {
	time_t tv_sec;
	long tv_nsec;
};

struct timeval {
	time_t tv_sec;
	suseconds_t tv_usec;
};

_Static_assert(sizeof(struct timespec) == 16 && offsetof(struct timespec, tv_nsec) == 8, "timespec");
_Static_assert(sizeof(struct timeval) == 16 && offsetof(struct timeval, tv_usec) == 8, "timeval");

static __inline struct timespec
sbttots(sbintime_t sbt)
{

	return ((struct timespec){ sbt >> 32, (long)sbttons(sbt & 0xffffffff) });
}

static __inline sbintime_t
tstosbt(struct timespec ts)
{

	return ((sbintime_t)ts.tv_sec * SBT_1S + nstosbt(ts.tv_nsec));
}

static __inline struct timeval
sbttotv(sbintime_t sbt)
{

	return ((struct timeval){ sbt >> 32, (suseconds_t)sbttous(sbt & 0xffffffff) });
}

static __inline sbintime_t
tvtosbt(struct timeval tv)
{

	return ((sbintime_t)tv.tv_sec * SBT_1S + ustosbt(tv.tv_usec));
}

static __inline sbintime_t
sbinuptime(void)
{

	return (mstosbt((int64_t)lkpi_ticks()));
}
#define getsbinuptime() sbinuptime()
#define nanouptime(ts) ((void)(*(ts) = sbttots(sbinuptime())))
#define getnanouptime(ts) nanouptime(ts)
#define microuptime(tv) ((void)(*(tv) = sbttotv(sbinuptime())))
#define getmicrouptime(tv) microuptime(tv)

#endif /* _SYS_TIME_H_ */
