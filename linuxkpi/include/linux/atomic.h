/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * linux/atomic.h: atomic_t, atomic64_t, atomic_long_t, cmpxchg, xchg.
 *
 * The operations are the compiler's atomic built-ins, which -fsanitize=thread turns into calls: each is a boundary
 * and a marked access.
 */

#ifndef _LINUX_ATOMIC_H_
#define _LINUX_ATOMIC_H_

#include <linux/compiler.h>
#include <linux/types.h>

#define ATOMIC_INIT(i) { (i) }
#define ATOMIC64_INIT(i) { (i) }
#define ATOMIC_LONG_INIT(i) { (i) }

static inline int
atomic_read(const atomic_t *v)
{
	return (__atomic_load_n(&v->counter, __ATOMIC_RELAXED));
}

static inline int
atomic_read_acquire(const atomic_t *v)
{
	return (__atomic_load_n(&v->counter, __ATOMIC_ACQUIRE));
}

static inline void
atomic_set(atomic_t *v, int i)
{
	__atomic_store_n(&v->counter, i, __ATOMIC_RELAXED);
}

static inline void
atomic_set_release(atomic_t *v, int i)
{
	__atomic_store_n(&v->counter, i, __ATOMIC_RELEASE);
}

static inline void
atomic_add(int i, atomic_t *v)
{
	(void)__atomic_fetch_add(&v->counter, i, __ATOMIC_RELAXED);
}

static inline int
atomic_fetch_add(int i, atomic_t *v)
{
	return (__atomic_fetch_add(&v->counter, i, __ATOMIC_SEQ_CST));
}

static inline void
atomic_sub(int i, atomic_t *v)
{
	(void)__atomic_fetch_sub(&v->counter, i, __ATOMIC_RELAXED);
}

static inline int
atomic_fetch_sub(int i, atomic_t *v)
{
	return (__atomic_fetch_sub(&v->counter, i, __ATOMIC_SEQ_CST));
}

static inline void
atomic_and(int i, atomic_t *v)
{
	(void)__atomic_fetch_and(&v->counter, i, __ATOMIC_RELAXED);
}

static inline int
atomic_fetch_and(int i, atomic_t *v)
{
	return (__atomic_fetch_and(&v->counter, i, __ATOMIC_SEQ_CST));
}

static inline void
atomic_or(int i, atomic_t *v)
{
	(void)__atomic_fetch_or(&v->counter, i, __ATOMIC_RELAXED);
}

static inline int
atomic_fetch_or(int i, atomic_t *v)
{
	return (__atomic_fetch_or(&v->counter, i, __ATOMIC_SEQ_CST));
}

static inline void
atomic_xor(int i, atomic_t *v)
{
	(void)__atomic_fetch_xor(&v->counter, i, __ATOMIC_RELAXED);
}

static inline int
atomic_fetch_xor(int i, atomic_t *v)
{
	return (__atomic_fetch_xor(&v->counter, i, __ATOMIC_SEQ_CST));
}

static inline int
atomic_add_return(int i, atomic_t *v)
{
	return (__atomic_add_fetch(&v->counter, i, __ATOMIC_SEQ_CST));
}

static inline int
atomic_sub_return(int i, atomic_t *v)
{
	return (__atomic_sub_fetch(&v->counter, i, __ATOMIC_SEQ_CST));
}

static inline void
atomic_inc(atomic_t *v)
{
	atomic_add(1, v);
}

static inline int
atomic_inc_return(atomic_t *v)
{
	return (atomic_add_return(1, v));
}

static inline int
atomic_fetch_inc(atomic_t *v)
{
	return (atomic_fetch_add(1, v));
}

static inline bool
atomic_inc_and_test(atomic_t *v)
{
	return (atomic_add_return(1, v) == 0);
}

static inline void
atomic_dec(atomic_t *v)
{
	atomic_sub(1, v);
}

static inline int
atomic_dec_return(atomic_t *v)
{
	return (atomic_sub_return(1, v));
}

static inline int
atomic_fetch_dec(atomic_t *v)
{
	return (atomic_fetch_sub(1, v));
}

static inline bool
atomic_dec_and_test(atomic_t *v)
{
	return (atomic_sub_return(1, v) == 0);
}

static inline bool
atomic_sub_and_test(int i, atomic_t *v)
{
	return (atomic_sub_return(i, v) == 0);
}

static inline bool
atomic_add_negative(int i, atomic_t *v)
{
	return (atomic_add_return(i, v) < 0);
}

static inline int
atomic_xchg(atomic_t *v, int i)
{
	return (__atomic_exchange_n(&v->counter, i, __ATOMIC_SEQ_CST));
}

static inline bool
atomic_try_cmpxchg(atomic_t *v, int *old, int i)
{
	return (__atomic_compare_exchange_n(&v->counter, old, i, false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED));
}

static inline int
atomic_cmpxchg(atomic_t *v, int old, int i)
{
	(void)atomic_try_cmpxchg(v, &old, i);
	return (old);
}

static inline int
atomic_fetch_add_unless(atomic_t *v, int i, int unless)
{
	int old = atomic_read(v);

	while (old != unless && !atomic_try_cmpxchg(v, &old, (int)((unsigned int)old + (unsigned int)i)))
		;
	return (old);
}

static inline bool
atomic_add_unless(atomic_t *v, int i, int unless)
{
	return (atomic_fetch_add_unless(v, i, unless) != unless);
}

static inline bool
atomic_inc_not_zero(atomic_t *v)
{
	return (atomic_add_unless(v, 1, 0));
}

static inline int
atomic_dec_if_positive(atomic_t *v)
{
	int old = atomic_read(v);

	while (old > 0 && !atomic_try_cmpxchg(v, &old, old - 1))
		;
	return ((int)((unsigned int)old - 1));
}

static inline s64
atomic64_read(const atomic64_t *v)
{
	return (__atomic_load_n(&v->counter, __ATOMIC_RELAXED));
}

static inline s64
atomic64_read_acquire(const atomic64_t *v)
{
	return (__atomic_load_n(&v->counter, __ATOMIC_ACQUIRE));
}

static inline void
atomic64_set(atomic64_t *v, s64 i)
{
	__atomic_store_n(&v->counter, i, __ATOMIC_RELAXED);
}

static inline void
atomic64_set_release(atomic64_t *v, s64 i)
{
	__atomic_store_n(&v->counter, i, __ATOMIC_RELEASE);
}

static inline void
atomic64_add(s64 i, atomic64_t *v)
{
	(void)__atomic_fetch_add(&v->counter, i, __ATOMIC_RELAXED);
}

static inline s64
atomic64_fetch_add(s64 i, atomic64_t *v)
{
	return (__atomic_fetch_add(&v->counter, i, __ATOMIC_SEQ_CST));
}

static inline void
atomic64_sub(s64 i, atomic64_t *v)
{
	(void)__atomic_fetch_sub(&v->counter, i, __ATOMIC_RELAXED);
}

static inline s64
atomic64_fetch_sub(s64 i, atomic64_t *v)
{
	return (__atomic_fetch_sub(&v->counter, i, __ATOMIC_SEQ_CST));
}

static inline void
atomic64_and(s64 i, atomic64_t *v)
{
	(void)__atomic_fetch_and(&v->counter, i, __ATOMIC_RELAXED);
}

static inline s64
atomic64_fetch_and(s64 i, atomic64_t *v)
{
	return (__atomic_fetch_and(&v->counter, i, __ATOMIC_SEQ_CST));
}

static inline void
atomic64_or(s64 i, atomic64_t *v)
{
	(void)__atomic_fetch_or(&v->counter, i, __ATOMIC_RELAXED);
}

static inline s64
atomic64_fetch_or(s64 i, atomic64_t *v)
{
	return (__atomic_fetch_or(&v->counter, i, __ATOMIC_SEQ_CST));
}

static inline void
atomic64_xor(s64 i, atomic64_t *v)
{
	(void)__atomic_fetch_xor(&v->counter, i, __ATOMIC_RELAXED);
}

static inline s64
atomic64_fetch_xor(s64 i, atomic64_t *v)
{
	return (__atomic_fetch_xor(&v->counter, i, __ATOMIC_SEQ_CST));
}

static inline s64
atomic64_add_return(s64 i, atomic64_t *v)
{
	return (__atomic_add_fetch(&v->counter, i, __ATOMIC_SEQ_CST));
}

static inline s64
atomic64_sub_return(s64 i, atomic64_t *v)
{
	return (__atomic_sub_fetch(&v->counter, i, __ATOMIC_SEQ_CST));
}

static inline void
atomic64_inc(atomic64_t *v)
{
	atomic64_add(1, v);
}

static inline s64
atomic64_inc_return(atomic64_t *v)
{
	return (atomic64_add_return(1, v));
}

static inline s64
atomic64_fetch_inc(atomic64_t *v)
{
	return (atomic64_fetch_add(1, v));
}

static inline bool
atomic64_inc_and_test(atomic64_t *v)
{
	return (atomic64_add_return(1, v) == 0);
}

static inline void
atomic64_dec(atomic64_t *v)
{
	atomic64_sub(1, v);
}

static inline s64
atomic64_dec_return(atomic64_t *v)
{
	return (atomic64_sub_return(1, v));
}

static inline s64
atomic64_fetch_dec(atomic64_t *v)
{
	return (atomic64_fetch_sub(1, v));
}

static inline bool
atomic64_dec_and_test(atomic64_t *v)
{
	return (atomic64_sub_return(1, v) == 0);
}

static inline bool
atomic64_sub_and_test(s64 i, atomic64_t *v)
{
	return (atomic64_sub_return(i, v) == 0);
}

static inline bool
atomic64_add_negative(s64 i, atomic64_t *v)
{
	return (atomic64_add_return(i, v) < 0);
}

static inline s64
atomic64_xchg(atomic64_t *v, s64 i)
{
	return (__atomic_exchange_n(&v->counter, i, __ATOMIC_SEQ_CST));
}

static inline bool
atomic64_try_cmpxchg(atomic64_t *v, s64 *old, s64 i)
{
	return (__atomic_compare_exchange_n(&v->counter, old, i, false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED));
}

static inline s64
atomic64_cmpxchg(atomic64_t *v, s64 old, s64 i)
{
	(void)atomic64_try_cmpxchg(v, &old, i);
	return (old);
}

static inline s64
atomic64_fetch_add_unless(atomic64_t *v, s64 i, s64 unless)
{
	s64 old = atomic64_read(v);

	while (old != unless && !atomic64_try_cmpxchg(v, &old, (s64)((u64)old + (u64)i)))
		;
	return (old);
}

static inline bool
atomic64_add_unless(atomic64_t *v, s64 i, s64 unless)
{
	return (atomic64_fetch_add_unless(v, i, unless) != unless);
}

static inline bool
atomic64_inc_not_zero(atomic64_t *v)
{
	return (atomic64_add_unless(v, 1, 0));
}

static inline s64
atomic64_dec_if_positive(atomic64_t *v)
{
	s64 old = atomic64_read(v);

	while (old > 0 && !atomic64_try_cmpxchg(v, &old, old - 1))
		;
	return ((s64)((u64)old - 1));
}

static inline void
atomic_andnot(int i, atomic_t *v)
{
	atomic_and(~i, v);
}

static inline int
atomic_fetch_andnot(int i, atomic_t *v)
{
	return (atomic_fetch_and(~i, v));
}

static inline bool
atomic_inc_unless_negative(atomic_t *v)
{
	int old = atomic_read(v);

	while (old >= 0 && !atomic_try_cmpxchg(v, &old, (int)((unsigned int)old + 1)))
		;
	return (old >= 0);
}

static inline bool
atomic_dec_unless_positive(atomic_t *v)
{
	int old = atomic_read(v);

	while (old <= 0 && !atomic_try_cmpxchg(v, &old, (int)((unsigned int)old - 1)))
		;
	return (old <= 0);
}

static inline void
atomic64_andnot(s64 i, atomic64_t *v)
{
	atomic64_and(~i, v);
}

static inline s64
atomic64_fetch_andnot(s64 i, atomic64_t *v)
{
	return (atomic64_fetch_and(~i, v));
}

static inline bool
atomic64_inc_unless_negative(atomic64_t *v)
{
	s64 old = atomic64_read(v);

	while (old >= 0 && !atomic64_try_cmpxchg(v, &old, (s64)((u64)old + 1)))
		;
	return (old >= 0);
}

static inline bool
atomic64_dec_unless_positive(atomic64_t *v)
{
	s64 old = atomic64_read(v);

	while (old <= 0 && !atomic64_try_cmpxchg(v, &old, (s64)((u64)old - 1)))
		;
	return (old <= 0);
}

/* LP64: a long has 64 bits. */
typedef atomic64_t atomic_long_t;
#define atomic_long_read(v) atomic64_read(v)
#define atomic_long_set(v, i) atomic64_set((v), (i))
#define atomic_long_add(i, v) atomic64_add((i), (v))
#define atomic_long_sub(i, v) atomic64_sub((i), (v))
#define atomic_long_inc(v) atomic64_inc(v)
#define atomic_long_dec(v) atomic64_dec(v)
#define atomic_long_inc_return(v) atomic64_inc_return(v)
#define atomic_long_dec_return(v) atomic64_dec_return(v)
#define atomic_long_xchg(v, i) atomic64_xchg((v), (i))
#define atomic_long_cmpxchg(v, old, i) atomic64_cmpxchg((v), (old), (i))

#define atomic_long_add_return(i, v) atomic64_add_return((i), (v))
#define atomic_long_sub_return(i, v) atomic64_sub_return((i), (v))
#define atomic_long_fetch_add(i, v) atomic64_fetch_add((i), (v))
#define atomic_long_fetch_sub(i, v) atomic64_fetch_sub((i), (v))
#define atomic_long_fetch_inc(v) atomic64_fetch_inc(v)
#define atomic_long_fetch_dec(v) atomic64_fetch_dec(v)
#define atomic_long_inc_and_test(v) atomic64_inc_and_test(v)
#define atomic_long_dec_and_test(v) atomic64_dec_and_test(v)
#define atomic_long_sub_and_test(i, v) atomic64_sub_and_test((i), (v))
#define atomic_long_add_negative(i, v) atomic64_add_negative((i), (v))
#define atomic_long_add_unless(v, i, unless) atomic64_add_unless((v), (i), (unless))
#define atomic_long_fetch_add_unless(v, i, unless) atomic64_fetch_add_unless((v), (i), (unless))
#define atomic_long_inc_not_zero(v) atomic64_inc_not_zero(v)
#define atomic_long_dec_if_positive(v) atomic64_dec_if_positive(v)
#define atomic_long_and(i, v) atomic64_and((i), (v))
#define atomic_long_or(i, v) atomic64_or((i), (v))
#define atomic_long_xor(i, v) atomic64_xor((i), (v))
#define atomic_long_fetch_and(i, v) atomic64_fetch_and((i), (v))
#define atomic_long_fetch_or(i, v) atomic64_fetch_or((i), (v))
#define atomic_long_fetch_xor(i, v) atomic64_fetch_xor((i), (v))
#define atomic_long_andnot(i, v) atomic64_andnot((i), (v))
#define atomic_long_read_acquire(v) atomic64_read_acquire(v)
#define atomic_long_set_release(v, i) atomic64_set_release((v), (i))
/* A long is no s64 to the compiler, though both have 64 bits. */
#define atomic_long_try_cmpxchg(v, oldp, i)				\
	__atomic_compare_exchange_n(&(v)->counter, (s64 *)(oldp), (i), false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED)

/* Weaker orders are as good as the strongest. */
#define atomic_add_return_relaxed(i, v) atomic_add_return((i), (v))
#define atomic_fetch_add_relaxed(i, v) atomic_fetch_add((i), (v))
#define atomic_cmpxchg_acquire(v, old, i) atomic_cmpxchg((v), (old), (i))
#define atomic_cmpxchg_release(v, old, i) atomic_cmpxchg((v), (old), (i))
#define atomic_cmpxchg_relaxed(v, old, i) atomic_cmpxchg((v), (old), (i))
#define atomic_try_cmpxchg_acquire(v, oldp, i) atomic_try_cmpxchg((v), (oldp), (i))
#define atomic_try_cmpxchg_release(v, oldp, i) atomic_try_cmpxchg((v), (oldp), (i))
#define atomic_try_cmpxchg_relaxed(v, oldp, i) atomic_try_cmpxchg((v), (oldp), (i))

#define xchg(ptr, value) __atomic_exchange_n((ptr), (value), __ATOMIC_SEQ_CST)
#define try_cmpxchg(ptr, oldp, value)					\
	__atomic_compare_exchange_n((ptr), (oldp), (value), false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED)
#define cmpxchg(ptr, old, value) ({					\
	__typeof__(*(ptr)) lkpi_old_ = (old);				\
									\
	(void)try_cmpxchg((ptr), &lkpi_old_, (value));			\
	lkpi_old_;							\
})
#define cmpxchg64(ptr, old, value) cmpxchg((ptr), (old), (value))
#define cmpxchg_relaxed(ptr, old, value) cmpxchg((ptr), (old), (value))
#define xchg_relaxed(ptr, value) xchg((ptr), (value))

#endif /* _LINUX_ATOMIC_H_ */
