/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * linux/rculist.h: lists that readers walk inside rcu_read_lock() while one writer changes them.
 */

#ifndef _LINUX_RCULIST_H_
#define _LINUX_RCULIST_H_

#include <linux/list.h>
#include <linux/rcupdate.h>

/* What is linked is published last; who finds it sees what it links to. */
static inline void
lkpi_list_link_rcu(struct list_head *node, struct list_head *prev, struct list_head *next)
{
	node->next = next;
	node->prev = prev;
	rcu_assign_pointer(prev->next, node);
	next->prev = node;
}

static inline void
list_add_rcu(struct list_head *node, struct list_head *head)
{
	lkpi_list_link_rcu(node, head, head->next);
}

static inline void
list_add_tail_rcu(struct list_head *node, struct list_head *head)
{
	lkpi_list_link_rcu(node, head->prev, head);
}

/* A reader that stands on it still finds the rest. */
static inline void
list_del_rcu(struct list_head *node)
{
	node->next->prev = node->prev;
	WRITE_ONCE(node->prev->next, node->next);
	node->prev = LIST_POISON2;
}

static inline void
list_replace_rcu(struct list_head *old, struct list_head *node)
{
	lkpi_list_link_rcu(node, old->prev, old->next);
	old->prev = LIST_POISON2;
}

#define list_next_rcu(node) rcu_dereference((node)->next)
#define list_entry_rcu(ptr, type, member) container_of(rcu_dereference(ptr), type, member)
#define list_first_or_null_rcu(head, type, member) ({			\
	struct list_head *lkpi_head_ = (head);				\
	struct list_head *lkpi_first_ = list_next_rcu(lkpi_head_);	\
									\
	lkpi_first_ == lkpi_head_ ? NULL : list_entry(lkpi_first_, type, member); \
})
#define list_for_each_entry_rcu(pos, head, member, ...)			\
	for ((pos) = list_entry_rcu((head)->next, __typeof__(*(pos)), member); \
	    &(pos)->member != (head);					\
	    (pos) = list_entry_rcu((pos)->member.next, __typeof__(*(pos)), member))

#endif /* _LINUX_RCULIST_H_ */
