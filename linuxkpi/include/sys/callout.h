/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * sys/callout.h: callout(9). Opaque, in the room that FreeBSD/amd64 gives it.
 */

#ifndef _SYS_CALLOUT_H_
#define _SYS_CALLOUT_H_

#include <sys/lock.h>
#include <sys/pcpu.h>
#include <sys/systm.h>

#define CALLOUT_RETURNUNLOCKED 0x0010
#define CALLOUT_SHAREDLOCK 0x0020
#define C_DIRECT_EXEC 0x0001
#define CS_DRAIN 0x0001

struct callout {
	uint64_t lkpi_room[8];
};

_Static_assert(sizeof(struct callout) == 64, "callout");

typedef void callout_func_t(void *);

void callout_init(struct callout *, int);
void _callout_init_lock(struct callout *, struct lock_object *, int);
int callout_reset_sbt_on(struct callout *, sbintime_t, sbintime_t, callout_func_t *, void *, int, int);
int _callout_stop_safe(struct callout *, int);
int callout_schedule(struct callout *, int);
int callout_schedule_on(struct callout *, int, int);
/* When it would be, for one that is set with C_PRECALC. */
void callout_when(sbintime_t, sbintime_t, int, sbintime_t *, sbintime_t *);
int lkpi_callout_schedule_sbt_on(struct callout *, sbintime_t, int, int);
int lkpi_callout_active(const struct callout *);
void lkpi_callout_deactivate(struct callout *);
int lkpi_callout_pending(const struct callout *);

#define callout_init_mtx(c, mtx, flags) _callout_init_lock((c), &(mtx)->lock_object, (flags))
#define callout_init_rw(c, rw, flags) _callout_init_lock((c), &(rw)->lock_object, (flags))
#define callout_init_rm(c, rm, flags) _callout_init_lock((c), &(rm)->lock_object, (flags))
#define callout_reset_sbt(c, sbt, pr, fn, arg, flags)			\
	callout_reset_sbt_on((c), (sbt), (pr), (fn), (arg), -1, (flags))
#define callout_reset_sbt_curcpu(c, sbt, pr, fn, arg, flags)		\
	callout_reset_sbt_on((c), (sbt), (pr), (fn), (arg), curcpu, (flags))
#define callout_reset_on(c, on_tick, fn, arg, cpu)			\
	callout_reset_sbt_on((c), tick_sbt * (on_tick), 0, (fn), (arg), (cpu), C_HARDCLOCK)
#define callout_reset(c, on_tick, fn, arg) callout_reset_on((c), (on_tick), (fn), (arg), -1)
#define callout_reset_curcpu(c, on_tick, fn, arg) callout_reset_on(c, on_tick, fn, arg, curcpu)
#define callout_schedule_curcpu(c, on_tick) callout_schedule_on((c), (on_tick), curcpu)
#define callout_schedule_sbt(c, sbt, pr, flags) callout_schedule_sbt_on((c), (sbt), (pr), -1, (flags))
#define callout_schedule_sbt_curcpu(c, sbt, pr, flags) callout_schedule_sbt_on((c), (sbt), (pr), curcpu, (flags))
#define callout_schedule_sbt_on(c, sbt, pr, cpu, flags)			\
	lkpi_callout_schedule_sbt_on((c), (sbt), (cpu), (flags))
#define callout_stop(c) _callout_stop_safe((c), 0)
#define callout_drain(c) _callout_stop_safe((c), CS_DRAIN)
#define callout_active(c) lkpi_callout_active(c)
#define callout_deactivate(c) lkpi_callout_deactivate(c)
#define callout_pending(c) lkpi_callout_pending(c)

#endif /* _SYS_CALLOUT_H_ */
