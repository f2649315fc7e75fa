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

	while (old != unless && !atomic_try_cmpxchg(v, &old, old + i))
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
	return (old - 1);
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

	while (old != unless && !atomic64_try_cmpxchg(v, &old, old + i))
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
	return (old - 1);
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

#define xchg(ptr, value) __atomic_exchange_n((ptr), (value), __ATOMIC_SEQ_CST)
#define try_cmpxchg(ptr, oldp, value)					\
	__atomic_compare_exchange_n((ptr), (oldp), (value), false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED)
#define cmpxchg(ptr, old, value) ({					\
	__typeof__(*(ptr)) lkpi_old_ = (old);				\
									\
	(void)try_cmpxchg((ptr), &lkpi_old_, (value));			\
	lkpi_old_;							\
})

#endif /* _LINUX_ATOMIC_H_ */
