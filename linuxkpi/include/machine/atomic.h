/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * machine/atomic.h: atomic(9).
 *
 * The operations are the compiler's atomic built-ins, which -fsanitize=thread turns into calls: each is a boundary and a marked access.
 */

#ifndef _MACHINE_ATOMIC_H_
#define _MACHINE_ATOMIC_H_

#include <sys/types.h>

/* An operation without a result, in its three orders. */
#define LKPI_ATOMIC_OP(op, name, type, expr)				\
static __inline void							\
atomic_##op##_##name(volatile type *p, type v)				\
{									\
	(void)expr(p, v, __ATOMIC_RELAXED);				\
}									\
static __inline void							\
atomic_##op##_acq_##name(volatile type *p, type v)			\
{									\
	(void)expr(p, v, __ATOMIC_ACQUIRE);				\
}									\
static __inline void							\
atomic_##op##_rel_##name(volatile type *p, type v)			\
{									\
	(void)expr(p, v, __ATOMIC_RELEASE);				\
}
#define LKPI_ATOMIC_ANDNOT(p, v, order) __atomic_fetch_and((p), (__typeof__(v))~(v), (order))

/* cmpset has the old value, fcmpset its address, where it writes what it saw. */
#define LKPI_ATOMIC_CMPSET(order, name, type, success)			\
static __inline int							\
atomic_cmpset_##order##name(volatile type *p, type old, type new)	\
{									\
	return (__atomic_compare_exchange_n(p, &old, new, 0, success, __ATOMIC_RELAXED)); \
}									\
static __inline int							\
atomic_fcmpset_##order##name(volatile type *p, type *old, type new)	\
{									\
	return (__atomic_compare_exchange_n(p, old, new, 0, success, __ATOMIC_RELAXED)); \
}

#define LKPI_ATOMIC(name, type)						\
static __inline type							\
atomic_load_##name(const volatile type *p)				\
{									\
	return (__atomic_load_n(p, __ATOMIC_RELAXED));			\
}									\
static __inline type							\
atomic_load_acq_##name(const volatile type *p)				\
{									\
	return (__atomic_load_n(p, __ATOMIC_ACQUIRE));			\
}									\
static __inline void							\
atomic_store_##name(volatile type *p, type v)				\
{									\
	__atomic_store_n(p, v, __ATOMIC_RELAXED);			\
}									\
static __inline void							\
atomic_store_rel_##name(volatile type *p, type v)			\
{									\
	__atomic_store_n(p, v, __ATOMIC_RELEASE);			\
}									\
static __inline type							\
atomic_fetchadd_##name(volatile type *p, type v)			\
{									\
	return (__atomic_fetch_add(p, v, __ATOMIC_RELAXED));		\
}									\
static __inline type							\
atomic_swap_##name(volatile type *p, type v)				\
{									\
	return (__atomic_exchange_n(p, v, __ATOMIC_SEQ_CST));		\
}									\
static __inline type							\
atomic_readandclear_##name(volatile type *p)				\
{									\
	return (__atomic_exchange_n(p, (type)0, __ATOMIC_SEQ_CST));	\
}									\
/* The bit's number is taken modulo the width of the word. */		\
static __inline int							\
atomic_testandset_##name(volatile type *p, u_int v)			\
{									\
	type bit = (type)((type)1 << (v % (8 * sizeof(type))));		\
									\
	return ((__atomic_fetch_or(p, bit, __ATOMIC_SEQ_CST) & bit) != 0); \
}									\
static __inline int							\
atomic_testandclear_##name(volatile type *p, u_int v)			\
{									\
	type bit = (type)((type)1 << (v % (8 * sizeof(type))));		\
									\
	return ((__atomic_fetch_and(p, (type)~bit, __ATOMIC_SEQ_CST) & bit) != 0); \
}									\
LKPI_ATOMIC_OP(add, name, type, __atomic_fetch_add)			\
LKPI_ATOMIC_OP(subtract, name, type, __atomic_fetch_sub)		\
LKPI_ATOMIC_OP(set, name, type, __atomic_fetch_or)			\
LKPI_ATOMIC_OP(clear, name, type, LKPI_ATOMIC_ANDNOT)			\
LKPI_ATOMIC_CMPSET(, name, type, __ATOMIC_RELAXED)			\
LKPI_ATOMIC_CMPSET(acq_, name, type, __ATOMIC_ACQUIRE)			\
LKPI_ATOMIC_CMPSET(rel_, name, type, __ATOMIC_RELEASE)

LKPI_ATOMIC(char, u_char)
LKPI_ATOMIC(short, u_short)
LKPI_ATOMIC(int, u_int)
LKPI_ATOMIC(long, u_long)
LKPI_ATOMIC(ptr, uintptr_t)
LKPI_ATOMIC(8, uint8_t)
LKPI_ATOMIC(16, uint16_t)
LKPI_ATOMIC(32, uint32_t)
LKPI_ATOMIC(64, uint64_t)

#define atomic_load_bool(p) __atomic_load_n((p), __ATOMIC_RELAXED)
#define atomic_store_bool(p, v) __atomic_store_n((p), (v), __ATOMIC_RELAXED)
/* Of a pointer to any type, where the functions have uintptr_t. */
#define atomic_load_ptr(p) __atomic_load_n((p), __ATOMIC_RELAXED)
#define atomic_store_ptr(p, v) __atomic_store_n((p), (v), __ATOMIC_RELAXED)
#define atomic_load_consume_ptr(p) __atomic_load_n((p), __ATOMIC_CONSUME)

#define atomic_thread_fence_acq() __atomic_thread_fence(__ATOMIC_ACQUIRE)
#define atomic_thread_fence_rel() __atomic_thread_fence(__ATOMIC_RELEASE)
#define atomic_thread_fence_acq_rel() __atomic_thread_fence(__ATOMIC_ACQ_REL)
#define atomic_thread_fence_seq_cst() __atomic_thread_fence(__ATOMIC_SEQ_CST)
#define atomic_interrupt_fence() __atomic_signal_fence(__ATOMIC_SEQ_CST)

/* amd64's barriers, which drivers call by their names. */
#ifndef mb
#define mb() __atomic_thread_fence(__ATOMIC_SEQ_CST)
#define rmb() __atomic_thread_fence(__ATOMIC_ACQUIRE)
#define wmb() __atomic_thread_fence(__ATOMIC_RELEASE)
#endif

#endif /* _MACHINE_ATOMIC_H_ */
