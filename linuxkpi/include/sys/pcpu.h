/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * sys/pcpu.h: curthread, which CPU this is, and variables of which each CPU has its own.
 */

#ifndef _SYS_PCPU_H_
#define _SYS_PCPU_H_

#include <sys/kernel.h>
#include <sys/param.h>

struct thread;

/* Constant for the thread that asks, however often it migrates. */
struct thread *lkpi_curthread(void) __pure2;
int lkpi_curcpu(void);

#define curthread lkpi_curthread()
#define curcpu lkpi_curcpu()
#define LKPI_PCPU_curthread lkpi_curthread()
#define LKPI_PCPU_cpuid ((u_int)lkpi_curcpu())
#define PCPU_GET(member) (LKPI_PCPU_##member)

/*
 * DPCPU: an array, which is filled with what the variable is initialised with before anything else runs. A thread that may migrate
 * between finding its CPU's and using it uses another's, as on FreeBSD.
 */
struct lkpi_dpcpu {
	void *cpus;
	const void *initial;
	size_t size;
};

void lkpi_dpcpu_init(void *);
/* The number, if there is such a CPU; else it is a page fault. */
size_t lkpi_dpcpu_id(int);

#define LKPI_DPCPU_NAME(n) pcpu_entry_##n
#define LKPI_DPCPU_DEFINE(storage, t, n)				\
	storage t LKPI_DPCPU_NAME(n)[MAXCPU];				\
	static t lkpi_dpcpu_initial_##n;				\
	static struct lkpi_dpcpu lkpi_dpcpu_##n = {			\
		LKPI_DPCPU_NAME(n), &lkpi_dpcpu_initial_##n, sizeof(lkpi_dpcpu_initial_##n) }; \
	LKPI_SYSINIT_AT(dpcpu_##n, SI_SUB_DUMMY, SI_ORDER_FIRST, lkpi_dpcpu_init, &lkpi_dpcpu_##n); \
	static t lkpi_dpcpu_initial_##n
#define DPCPU_DECLARE(t, n) extern t LKPI_DPCPU_NAME(n)[MAXCPU]
/* What follows in the source is the initialiser, if there is one. */
#define DPCPU_DEFINE(t, n) LKPI_DPCPU_DEFINE(, t, n)
#define DPCPU_DEFINE_STATIC(t, n) LKPI_DPCPU_DEFINE(static, t, n)

#define DPCPU_PTR(n) (&LKPI_DPCPU_NAME(n)[curcpu])
#define DPCPU_GET(n) (*DPCPU_PTR(n))
#define DPCPU_SET(n, v) (*DPCPU_PTR(n) = (v))
#define DPCPU_ID_PTR(i, n) (&LKPI_DPCPU_NAME(n)[lkpi_dpcpu_id((int)(i))])
#define DPCPU_ID_GET(i, n) (*DPCPU_ID_PTR((i), n))
#define DPCPU_ID_SET(i, n, v) (*DPCPU_ID_PTR((i), n) = (v))

/* Of all CPUs, and of a field of each. */
int lkpi_mp_ncpus(void);
#define LKPI_DPCPU_FOLD(type, value) __extension__ ({			\
	type lkpi_sum_ = 0;						\
									\
	for (int lkpi_cpu_ = 0; lkpi_cpu_ < lkpi_mp_ncpus(); lkpi_cpu_++)	\
		lkpi_sum_ += (value);					\
	lkpi_sum_;							\
})
#define DPCPU_SUM(n)							\
	LKPI_DPCPU_FOLD(__typeof__(LKPI_DPCPU_NAME(n)[0]), *DPCPU_ID_PTR(lkpi_cpu_, n))
#define DPCPU_VARSUM(n, var)						\
	LKPI_DPCPU_FOLD(__typeof__(LKPI_DPCPU_NAME(n)[0].var), DPCPU_ID_PTR(lkpi_cpu_, n)->var)
#define DPCPU_ZERO(n) do {						\
	for (int lkpi_cpu_ = 0; lkpi_cpu_ < lkpi_mp_ncpus(); lkpi_cpu_++)	\
		__tsan_memset(DPCPU_ID_PTR(lkpi_cpu_, n), 0, sizeof(LKPI_DPCPU_NAME(n)[0])); \
} while (0)
void *__tsan_memset(void *, int, size_t);

#endif /* _SYS_PCPU_H_ */
