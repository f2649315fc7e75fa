/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * linux/bitops.h: atomic bit operations on arrays of long, and their plain forms.
 */

#ifndef _LINUX_BITOPS_H_
#define _LINUX_BITOPS_H_

#include <linux/compiler.h>
#include <linux/types.h>

#define BITS_PER_BYTE 8
#define BITS_PER_LONG 64
#define BIT(n) (1UL << (n))
#define BIT_ULL(n) (1ULL << (n))
#define BIT_MASK(n) (1UL << ((n) % BITS_PER_LONG))
#define BIT_WORD(n) ((n) / BITS_PER_LONG)
#define BITS_TO_LONGS(n) (((n) + BITS_PER_LONG - 1) / BITS_PER_LONG)
#define GENMASK(h, l) ((~0UL << (l)) & (~0UL >> (BITS_PER_LONG - 1 - (h))))
#define DECLARE_BITMAP(name, bits) unsigned long name[BITS_TO_LONGS(bits)]

static inline void
set_bit(long nr, volatile unsigned long *at)
{
	(void)__atomic_fetch_or(at + BIT_WORD(nr), BIT_MASK(nr), __ATOMIC_RELAXED);
}

static inline void
clear_bit(long nr, volatile unsigned long *at)
{
	(void)__atomic_fetch_and(at + BIT_WORD(nr), ~BIT_MASK(nr), __ATOMIC_RELAXED);
}

static inline void
change_bit(long nr, volatile unsigned long *at)
{
	(void)__atomic_fetch_xor(at + BIT_WORD(nr), BIT_MASK(nr), __ATOMIC_RELAXED);
}

static inline bool
test_bit(long nr, const volatile unsigned long *at)
{
	return ((__atomic_load_n(at + BIT_WORD(nr), __ATOMIC_RELAXED) & BIT_MASK(nr)) != 0);
}

static inline bool
test_and_set_bit(long nr, volatile unsigned long *at)
{
	return ((__atomic_fetch_or(at + BIT_WORD(nr), BIT_MASK(nr), __ATOMIC_SEQ_CST) & BIT_MASK(nr)) != 0);
}

static inline bool
test_and_clear_bit(long nr, volatile unsigned long *at)
{
	return ((__atomic_fetch_and(at + BIT_WORD(nr), ~BIT_MASK(nr), __ATOMIC_SEQ_CST) & BIT_MASK(nr)) != 0);
}

static inline void
clear_bit_unlock(long nr, volatile unsigned long *at)
{
	(void)__atomic_fetch_and(at + BIT_WORD(nr), ~BIT_MASK(nr), __ATOMIC_RELEASE);
}

static inline bool
test_and_change_bit(long nr, volatile unsigned long *at)
{
	return ((__atomic_fetch_xor(at + BIT_WORD(nr), BIT_MASK(nr), __ATOMIC_SEQ_CST) & BIT_MASK(nr)) != 0);
}

/* Whether somebody has it: like a trylock, but the other way round. */
static inline bool
test_and_set_bit_lock(long nr, volatile unsigned long *at)
{
	return ((__atomic_fetch_or(at + BIT_WORD(nr), BIT_MASK(nr), __ATOMIC_ACQUIRE) & BIT_MASK(nr)) != 0);
}

static inline bool
test_bit_acquire(long nr, const volatile unsigned long *at)
{
	return ((__atomic_load_n(at + BIT_WORD(nr), __ATOMIC_ACQUIRE) & BIT_MASK(nr)) != 0);
}

static inline void
__set_bit(long nr, volatile unsigned long *at)
{
	at[BIT_WORD(nr)] |= BIT_MASK(nr);
}

static inline void
__clear_bit(long nr, volatile unsigned long *at)
{
	at[BIT_WORD(nr)] &= ~BIT_MASK(nr);
}

static inline bool
__test_and_set_bit(long nr, volatile unsigned long *at)
{
	bool was = (at[BIT_WORD(nr)] & BIT_MASK(nr)) != 0;

	at[BIT_WORD(nr)] |= BIT_MASK(nr);
	return (was);
}

static inline bool
__test_and_clear_bit(long nr, volatile unsigned long *at)
{
	bool was = (at[BIT_WORD(nr)] & BIT_MASK(nr)) != 0;

	at[BIT_WORD(nr)] &= ~BIT_MASK(nr);
	return (was);
}

static inline int
fls64(uint64_t x)
{
	return (x == 0 ? 0 : 64 - __builtin_clzl(x));
}

/* The first bit from `from` that is not in the words of `skip` (all zeros or all ones); `bits` if there is none. */
static inline unsigned long
lkpi_find_bit(const unsigned long *at, unsigned long bits, unsigned long from, unsigned long skip)
{
	for (; from < bits; from = (BIT_WORD(from) + 1) * BITS_PER_LONG) {
		unsigned long word = (at[BIT_WORD(from)] ^ skip) & (~0UL << (from % BITS_PER_LONG));

		if (word != 0) {
			from = BIT_WORD(from) * BITS_PER_LONG + (unsigned long)__builtin_ctzl(word);
			return (from < bits ? from : bits);
		}
	}
	return (bits);
}

#define find_first_bit(at, bits) lkpi_find_bit((at), (bits), 0, 0)
#define find_next_bit(at, bits, from) lkpi_find_bit((at), (bits), (from), 0)
#define find_first_zero_bit(at, bits) lkpi_find_bit((at), (bits), 0, ~0UL)
#define find_next_zero_bit(at, bits, from) lkpi_find_bit((at), (bits), (from), ~0UL)
#define for_each_set_bit(bit, at, bits)					\
	for ((bit) = find_first_bit((at), (bits)); (bit) < (bits);	\
	    (bit) = find_next_bit((at), (bits), (bit) + 1))

static inline int
fls(unsigned int x)
{
	return (x == 0 ? 0 : 32 - __builtin_clz(x));
}

#define ffs(x) __builtin_ffs(x)
#define __fls(x) ((unsigned long)(63 - __builtin_clzl(x)))
#define ffz(x) __ffs(~(unsigned long)(x))
#define hweight_long(x) hweight64(x)
#define __ffs(x) ((unsigned long)__builtin_ctzl(x))
#define hweight32(x) ((unsigned int)__builtin_popcount(x))
#define hweight64(x) ((unsigned int)__builtin_popcountl(x))

#endif /* _LINUX_BITOPS_H_ */
