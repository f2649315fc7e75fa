/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * sys/lock.h: lock classes, and locks that C makes itself. freebsd_sys::ffi::lock_class has the same layout; both sides
 * assert it.
 */

#ifndef _SYS_LOCK_H_
#define _SYS_LOCK_H_

#include <sys/_lock.h>

struct thread;

struct lock_class {
	const char *lc_name;
	u_int lc_flags;
	void (*lc_assert)(const struct lock_object *, int);
	void (*lc_ddb_show)(const struct lock_object *);
	void (*lc_lock)(struct lock_object *, uintptr_t);
	int (*lc_owner)(const struct lock_object *, struct thread **);
	uintptr_t (*lc_unlock)(struct lock_object *);
	int (*lc_trylock)(struct lock_object *, uintptr_t);
};

_Static_assert(sizeof(struct lock_class) == 64, "lock_class");
_Static_assert(offsetof(struct lock_class, lc_name) == 0, "lc_name");
_Static_assert(offsetof(struct lock_class, lc_flags) == 8, "lc_flags");
_Static_assert(offsetof(struct lock_class, lc_assert) == 16, "lc_assert");
_Static_assert(offsetof(struct lock_class, lc_ddb_show) == 24, "lc_ddb_show");
_Static_assert(offsetof(struct lock_class, lc_lock) == 32, "lc_lock");
_Static_assert(offsetof(struct lock_class, lc_owner) == 40, "lc_owner");
_Static_assert(offsetof(struct lock_class, lc_unlock) == 48, "lc_unlock");
_Static_assert(offsetof(struct lock_class, lc_trylock) == 56, "lc_trylock");

#define LC_SLEEPLOCK 0x01
#define LC_SPINLOCK 0x02
#define LC_SLEEPABLE 0x04
#define LC_RECURSABLE 0x08
#define LC_UPGRADABLE 0x10

#define LO_CLASSFLAGS 0x0000ffff
#define LO_INITIALIZED 0x00010000
#define LO_WITNESS 0x00020000
#define LO_QUIET 0x00040000
#define LO_RECURSABLE 0x00080000
#define LO_SLEEPABLE 0x00100000
#define LO_UPGRADABLE 0x00200000
#define LO_DUPOK 0x00400000
#define LO_IS_VNODE 0x00800000
#define LO_CLASSMASK 0x0f000000
#define LO_NOPROFILE 0x10000000
#define LO_NEW 0x20000000

#define LO_CLASSSHIFT 24
#define LO_CLASSINDEX(lock) (((lock)->lo_flags & LO_CLASSMASK) >> LO_CLASSSHIFT)
#define LOCK_CLASS(lock) (lock_classes[LO_CLASSINDEX((lock))])
#define LOCK_CLASS_MAX (LO_CLASSMASK >> LO_CLASSSHIFT)
#define lock_initialized(lo) ((lo)->lo_flags & LO_INITIALIZED)

extern struct lock_class lock_class_mtx_sleep;
extern struct lock_class lock_class_mtx_spin;
extern struct lock_class lock_class_sx;
extern struct lock_class lock_class_rw;
extern struct lock_class lock_class_rm;
extern struct lock_class lock_class_rm_sleepable;
extern struct lock_class lock_class_lockmgr;
extern struct lock_class *lock_classes[];

void lock_init(struct lock_object *, struct lock_class *, const char *, const char *, int);
void lock_destroy(struct lock_object *);

/* Returns how many locks it has listed; 0 on a kernel without WITNESS. */
#define WARN_GIANTOK 0x01
#define WARN_PANIC 0x02
#define WARN_SLEEPOK 0x04

int snprintf(char *, size_t, const char *, ...) __printflike(3, 4);
int lkpi_witness_warn(int, struct lock_object *, const char *);
#define witness_warn(flags, lock, ...) __extension__ ({			\
	char lkpi_text_[256];						\
									\
	snprintf(lkpi_text_, sizeof(lkpi_text_), __VA_ARGS__);		\
	lkpi_witness_warn((flags), (lock), lkpi_text_);			\
})
#define WITNESS_WARN(flags, lock, ...) witness_warn((flags), (lock), __VA_ARGS__)
#define WITNESS_CHECK(flags, lock, ...) witness_warn((flags), (lock), __VA_ARGS__)

/* Where a lock was taken, while somebody drops it for a time. Nothing on a kernel without WITNESS. */
struct lkpi_witness_place {
	uint64_t lkpi_room[3];
};
_Static_assert(sizeof(struct lkpi_witness_place) == 24, "lkpi_witness_place");

void lkpi_witness_save(struct lock_object *, struct lkpi_witness_place *);
void lkpi_witness_restore(struct lock_object *, const struct lkpi_witness_place *);
#define WITNESS_SAVE_DECL(n) struct lkpi_witness_place n##_lkpi_place
#define WITNESS_SAVE(lock, n) lkpi_witness_save((lock), &n##_lkpi_place)
#define WITNESS_RESTORE(lock, n) lkpi_witness_restore((lock), &n##_lkpi_place)

#define LOP_NEWORDER 0x01
#define LOP_QUIET 0x02
#define LOP_TRYLOCK 0x04
#define LOP_EXCLUSIVE 0x08
#define LOP_DUPOK 0x10

#define LA_UNLOCKED 0x00
#define LA_LOCKED 0x01
#define LA_SLOCKED 0x02
#define LA_XLOCKED 0x04
#define LA_RECURSED 0x08
#define LA_NOTRECURSED 0x10

#endif /* _SYS_LOCK_H_ */
