/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * linux/rcupdate.h: LinuxKPI's preemptible RCU.
 */

#ifndef _LINUX_RCUPDATE_H_
#define _LINUX_RCUPDATE_H_

#include <linux/compiler.h>
#include <linux/types.h>

_Static_assert(sizeof(struct rcu_head) == 16, "rcu_head");

void lkpi_rcu_read_lock(void);
void lkpi_rcu_read_unlock(void);
bool lkpi_rcu_read_lock_held(void);
void lkpi_synchronize_rcu(void);
void lkpi_call_rcu(struct rcu_head *, void (*)(struct rcu_head *));
void lkpi_kfree_rcu(struct rcu_head *, size_t);
void lkpi_rcu_barrier(void);

#define rcu_read_lock() lkpi_rcu_read_lock()
#define rcu_read_unlock() lkpi_rcu_read_unlock()
#define rcu_read_lock_held() lkpi_rcu_read_lock_held()
#define synchronize_rcu() lkpi_synchronize_rcu()
#define synchronize_rcu_expedited() lkpi_synchronize_rcu()
#define call_rcu(head, func) lkpi_call_rcu((head), (func))
/* Above 4095 an offset would be taken for a function: it does not compile. */
#define kfree_rcu(at, member) do {					\
	_Static_assert(offsetof(__typeof__(*(at)), member) < 4096, "kfree_rcu: the head lies too far from the start"); \
	lkpi_kfree_rcu(&(at)->member, offsetof(__typeof__(*(at)), member)); \
} while (0)
#define rcu_barrier() lkpi_rcu_barrier()

#define rcu_dereference(p) __atomic_load_n(&(p), __ATOMIC_ACQUIRE)
#define rcu_dereference_raw(p) rcu_dereference(p)
#define rcu_dereference_check(p, cond) ((void)(cond), rcu_dereference(p))
#define rcu_dereference_protected(p, cond) ((void)(cond), READ_ONCE(p))
#define rcu_pointer_handoff(p) (p)
#define rcu_access_pointer(p) READ_ONCE(p)
#define rcu_assign_pointer(p, value) __atomic_store_n(&(p), (value), __ATOMIC_RELEASE)
#define rcu_replace_pointer(p, value, cond) ({				\
	__typeof__(p) lkpi_rcu_old_ = rcu_dereference_protected((p), (cond)); \
									\
	rcu_assign_pointer((p), (value));				\
	lkpi_rcu_old_;							\
})
#define RCU_INIT_POINTER(p, value) WRITE_ONCE((p), (value))

#endif /* _LINUX_RCUPDATE_H_ */
