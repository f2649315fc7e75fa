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

static inline int
fls(unsigned int x)
{
	return (x == 0 ? 0 : 32 - __builtin_clz(x));
}

#define ffs(x) __builtin_ffs(x)
#define __ffs(x) ((unsigned long)__builtin_ctzl(x))
#define hweight32(x) ((unsigned int)__builtin_popcount(x))
#define hweight64(x) ((unsigned int)__builtin_popcountl(x))

#endif /* _LINUX_BITOPS_H_ */
