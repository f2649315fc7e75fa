/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * sys/systm.h: panic(9), printf(9), KASSERT(9), critical sections, string functions.
 */

#ifndef _SYS_SYSTM_H_
#define _SYS_SYSTM_H_

#include <machine/cpu.h>
#include <machine/cpufunc.h>
#include <sys/param.h>

/* KBI symbols: the form that modules call. */
void critical_enter_KBI(void);
void critical_exit_KBI(void);
#define critical_enter() critical_enter_KBI()
#define critical_exit() critical_exit_KBI()
#define CRITICAL_ASSERT(td) KASSERT((td)->td_critnest >= 1, ("Not in critical section"))
/* A critical section without interrupts. */
void spinlock_enter(void);
void spinlock_exit(void);

/* Formatting is the host's; what it means to stop, or to print, is the machine's. */
int snprintf(char *, size_t, const char *, ...) __printflike(3, 4);
void lkpi_panic(const char *) __dead2;
void lkpi_printf(const char *);

#define LKPI_FORMAT(function, ...) do {					\
	char lkpi_text_[256];						\
									\
	snprintf(lkpi_text_, sizeof(lkpi_text_), __VA_ARGS__);		\
	function(lkpi_text_);						\
} while (0)

#define panic(...) do {							\
	LKPI_FORMAT(lkpi_panic, __VA_ARGS__);				\
	__builtin_unreachable();					\
} while (0)
#define kassert_panic(...) panic(__VA_ARGS__)
#define printf(...) LKPI_FORMAT(lkpi_printf, __VA_ARGS__)

/*
 * The argument of KASSERT comes with its own parentheses: KASSERT(x, ("text %d", 1)). Whether the kernel has options
 * INVARIANTS is the machine's choice; without them nothing is evaluated.
 */
int lkpi_invariants(void);
#define LKPI_PANIC_ARGS(...) panic(__VA_ARGS__)
#define KASSERT(exp, msg) do {						\
	if (lkpi_invariants() && __predict_false(!(exp)))		\
		LKPI_PANIC_ARGS msg;					\
} while (0)
#define MPASS(exp) MPASS4(exp, #exp, __FILE__, __LINE__)
#define MPASS4(exp, text, file, line)					\
	KASSERT((exp), ("Assertion %s failed at %s:%d", text, file, line))

int lkpi_scheduler_stopped(void);
#define SCHEDULER_STOPPED() __predict_false(lkpi_scheduler_stopped())
#define KERNEL_PANICKED() SCHEDULER_STOPPED()
#define kdb_active 0
#define cold 0

/* Sleeping. A tick is a millisecond. */
#define SBT_1S ((sbintime_t)1 << 32)
#define SBT_1MS (SBT_1S / 1000)
#define tick_sbt SBT_1MS
/* How exact a time is to be is nothing to a clock of ticks. */
#define C_PRELBITS 7
#define C_PRELRANGE ((1 << C_PRELBITS) - 1)
#define C_PREL(x) (((x) + 1) << 1)
#define C_PRELGET(x) ((int)(((x) >> 1) & C_PRELRANGE) - 1)
#define C_HARDCLOCK 0x0100
#define C_ABSOLUTE 0x0200
#define C_PRECALC 0x0400
#define C_CATCH 0x0800
#define PRIMASK 0x0ff
#define PCATCH 0x100
#define PDROP 0x200

struct lock_object;
struct mtx;

int _sleep(const void *, struct lock_object *, int, const char *, sbintime_t, sbintime_t, int);
int msleep_spin_sbt(const void *, struct mtx *, const char *, sbintime_t, sbintime_t, int);
int pause_sbt(const char *, sbintime_t, sbintime_t, int);
void wakeup(const void *);
void wakeup_one(const void *);
void wakeup_any(const void *);

#define msleep(chan, mtx, pri, wmesg, timo)				\
	_sleep((chan), &(mtx)->lock_object, (pri), (wmesg), tick_sbt * (timo), 0, C_HARDCLOCK)
#define msleep_sbt(chan, mtx, pri, wmesg, bt, pr, flags)			\
	_sleep((chan), &(mtx)->lock_object, (pri), (wmesg), (bt), (pr), (flags))
#define msleep_spin(chan, mtx, wmesg, timo)				\
	msleep_spin_sbt((chan), (mtx), (wmesg), tick_sbt * (timo), 0, C_HARDCLOCK)
#define tsleep(chan, pri, wmesg, timo)					\
	_sleep((chan), NULL, (pri), (wmesg), tick_sbt * (timo), 0, C_HARDCLOCK)
#define tsleep_sbt(chan, pri, wmesg, bt, pr, flags)			\
	_sleep((chan), NULL, (pri), (wmesg), (bt), (pr), (flags))
#define pause(wmesg, timo) pause_sbt((wmesg), tick_sbt * (timo), 0, C_HARDCLOCK)
#define pause_sig(wmesg, timo) pause_sbt((wmesg), tick_sbt * (timo), 0, C_HARDCLOCK | C_CATCH)

/* Busy for so many microseconds. */
void lkpi_delay(unsigned int);
#define DELAY(us) lkpi_delay((unsigned int)(us))

/* Through the hooks, so that they count as accesses of the caller. */
void *__tsan_memcpy(void *, const void *, size_t);
void *__tsan_memmove(void *, const void *, size_t);
void *__tsan_memset(void *, int, size_t);
#define memcpy(to, from, n) __tsan_memcpy((to), (from), (n))
#define memmove(to, from, n) __tsan_memmove((to), (from), (n))
#define memset(at, c, n) __tsan_memset((at), (c), (n))
#define bzero(at, n) ((void)__tsan_memset((at), 0, (n)))
int memcmp(const void *, const void *, size_t);
size_t strlen(const char *);
int strcmp(const char *, const char *);
int strncmp(const char *, const char *, size_t);

#endif /* _SYS_SYSTM_H_ */
