/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * linux/lockdep.h: the assertions. Classes and subclasses mean nothing to WITNESS.
 */

#ifndef _LINUX_LOCKDEP_H_
#define _LINUX_LOCKDEP_H_

#include <linux/compiler.h>
#include <linuxkpi/mapping.h>
#include <sys/lock.h>

/* By mapping: one of them has no lock to ask. */
void LKPI(lockdep_assert_held)(const void *, const char *, int);
bool LKPI(lockdep_is_held)(const void *);

#define lockdep_assert_held(lock) LKPI(lockdep_assert_held)((lock), LKPI_HERE)
#define lockdep_assert_held_once(lock) lockdep_assert_held(lock)
#define lockdep_assert_held_write(lock) lockdep_assert_held(lock)
#define lockdep_assert_held_read(lock) lockdep_assert_held(lock)
#define lockdep_assert_none_held_once() ((void)0)
/* Who holds it is not known of all locks; LinuxKPI looks at nothing, too. */
#define lockdep_assert_not_held(lock) ((void)(lock))
#define lockdep_assert(cond) do { (void)(cond); } while (0)
#define lockdep_assert_once(cond) lockdep_assert(cond)
#define lockdep_pin_lock(lock) ((struct pin_cookie){ 0 })
#define lockdep_unpin_lock(lock, cookie) ((void)(lock), (void)(cookie))
#define mutex_acquire(map, subclass, try, ip) ((void)(map))
#define mutex_release(map, ip) ((void)(map))
#define lock_map_acquire(map) ((void)(map))
#define lock_map_release(map) ((void)(map))
#define might_alloc(flags) ((void)(flags))
#define fs_reclaim_acquire(flags) ((void)(flags))
#define fs_reclaim_release(flags) ((void)(flags))
/* As LinuxKPI has it: by anybody. */
#define lockdep_is_held(lock) LKPI(lockdep_is_held)(lock)
#define lockdep_is_held_type(lock, type) lockdep_is_held(lock)

struct pin_cookie {
	unsigned int val;
};

struct lockdep_map {
	char lkpi_unused;
};

struct lock_class_key {
	char lkpi_unused;
};

#define SINGLE_DEPTH_NESTING 1
#define lockdep_set_class(lock, key) ((void)(lock), (void)(key))
#define lockdep_set_class_and_name(lock, key, name) lockdep_set_class((lock), (key))
#define lockdep_set_subclass(lock, subclass) ((void)(lock))
#define lockdep_register_key(key) ((void)(key))
#define lockdep_unregister_key(key) ((void)(key))
#define might_lock(lock) ((void)(lock))
#define might_lock_nested(lock, subclass) ((void)(lock))

#endif /* _LINUX_LOCKDEP_H_ */
