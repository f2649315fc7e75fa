/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * The locks as C sees them: opaque, of one size, large enough for every mapping (linuxkpi::ffi asserts it for each).
 *
 * A lock begins with a struct lock_object, which WITNESS, lockdep_assert_held() and FreeBSD code look at; a mapping
 * without one there (busted) says so in its lockdep function. A sequence count is no lock: some mappings put one into it.
 */

#ifndef _LINUXKPI_LAYOUT_H_
#define _LINUXKPI_LAYOUT_H_

#include <sys/_lock.h>
#include <sys/_mutex.h>

#define LKPI_SPINLOCK_SIZE 32
#define LKPI_RWLOCK_SIZE 32
#define LKPI_SEQCOUNT_SIZE 256
#define LKPI_SEQLOCK_SIZE (LKPI_SPINLOCK_SIZE + LKPI_SEQCOUNT_SIZE)

union lkpi_spinlock {
	struct lock_object lock_object;
	struct mtx m;
	uint64_t lkpi_room[LKPI_SPINLOCK_SIZE / 8];
};

union lkpi_rwlock {
	struct lock_object lock_object;
	uint64_t lkpi_room[LKPI_RWLOCK_SIZE / 8];
};

union lkpi_seqcount {
	struct lock_object lock_object;
	uint64_t lkpi_room[LKPI_SEQCOUNT_SIZE / 8];
};

union lkpi_seqlock {
	struct lock_object lock_object;
	uint64_t lkpi_room[LKPI_SEQLOCK_SIZE / 8];
};

_Static_assert(sizeof(union lkpi_spinlock) == LKPI_SPINLOCK_SIZE, "spinlock");
_Static_assert(sizeof(union lkpi_rwlock) == LKPI_RWLOCK_SIZE, "rwlock");
_Static_assert(sizeof(union lkpi_seqcount) == LKPI_SEQCOUNT_SIZE, "seqcount");
_Static_assert(sizeof(union lkpi_seqlock) == LKPI_SEQLOCK_SIZE, "seqlock");
_Static_assert(_Alignof(union lkpi_spinlock) == 8, "spinlock");
_Static_assert(_Alignof(union lkpi_seqcount) == 8, "seqcount");

#endif /* _LINUXKPI_LAYOUT_H_ */
