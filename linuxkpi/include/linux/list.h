/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * linux/list.h: doubly linked lists.
 */

#ifndef _LINUX_LIST_H_
#define _LINUX_LIST_H_

#include <linux/container_of.h>
#include <linux/types.h>

#define LIST_HEAD_INIT(name) { &(name), &(name) }
/* sys/queue.h has another. */
#undef LIST_HEAD
#define LIST_HEAD(name) struct list_head name = LIST_HEAD_INIT(name)
#define LIST_POISON1 ((struct list_head *)0x100)
#define LIST_POISON2 ((struct list_head *)0x122)

static inline void
INIT_LIST_HEAD(struct list_head *head)
{
	head->next = head;
	head->prev = head;
}

static inline void
lkpi_list_link(struct list_head *node, struct list_head *prev, struct list_head *next)
{
	node->prev = prev;
	node->next = next;
	next->prev = node;
	prev->next = node;
}

static inline void
lkpi_list_unlink(struct list_head *node)
{
	node->next->prev = node->prev;
	node->prev->next = node->next;
}

static inline void
list_add(struct list_head *node, struct list_head *head)
{
	lkpi_list_link(node, head, head->next);
}

static inline void
list_add_tail(struct list_head *node, struct list_head *head)
{
	lkpi_list_link(node, head->prev, head);
}

static inline void
list_del(struct list_head *node)
{
	lkpi_list_unlink(node);
	node->next = LIST_POISON1;
	node->prev = LIST_POISON2;
}

static inline void
list_del_init(struct list_head *node)
{
	lkpi_list_unlink(node);
	INIT_LIST_HEAD(node);
}

static inline void
list_move(struct list_head *node, struct list_head *head)
{
	lkpi_list_unlink(node);
	list_add(node, head);
}

static inline void
list_move_tail(struct list_head *node, struct list_head *head)
{
	lkpi_list_unlink(node);
	list_add_tail(node, head);
}

static inline void
list_replace(struct list_head *old, struct list_head *node)
{
	lkpi_list_link(node, old->prev, old->next);
}

static inline bool
list_empty(const struct list_head *head)
{
	return (READ_ONCE(head->next) == head);
}

static inline bool
list_is_last(const struct list_head *node, const struct list_head *head)
{
	return (node->next == head);
}

static inline bool
list_is_singular(const struct list_head *head)
{
	return (head->next != head && head->next == head->prev);
}

static inline void
lkpi_list_splice(const struct list_head *from, struct list_head *to)
{
	from->next->prev = to;
	from->prev->next = to->next;
	to->next->prev = from->prev;
	to->next = from->next;
}

/* The head of `from` is left as it is. */
static inline void
list_splice(const struct list_head *from, struct list_head *to)
{
	if (!list_empty(from))
		lkpi_list_splice(from, to);
}

static inline void
list_splice_tail(const struct list_head *from, struct list_head *to)
{
	list_splice(from, to->prev);
}

static inline bool
list_is_first(const struct list_head *node, const struct list_head *head)
{
	return (node->prev == head);
}

static inline bool
list_is_head(const struct list_head *node, const struct list_head *head)
{
	return (node == head);
}

static inline void
list_replace_init(struct list_head *old, struct list_head *node)
{
	list_replace(old, node);
	INIT_LIST_HEAD(old);
}

/* first .. last, which lie together in one list, become the last of `head`'s. */
static inline void
list_bulk_move_tail(struct list_head *head, struct list_head *first, struct list_head *last)
{
	first->prev->next = last->next;
	last->next->prev = first->prev;
	head->prev->next = first;
	first->prev = head->prev;
	last->next = head;
	head->prev = last;
}

static inline void
list_splice_init(struct list_head *from, struct list_head *to)
{
	if (list_empty(from))
		return;
	lkpi_list_splice(from, to);
	INIT_LIST_HEAD(from);
}

static inline void
list_splice_tail_init(struct list_head *from, struct list_head *to)
{
	list_splice_init(from, to->prev);
}

#define list_entry(ptr, type, member) container_of(ptr, type, member)
#define list_first_entry(head, type, member) list_entry((head)->next, type, member)
#define list_last_entry(head, type, member) list_entry((head)->prev, type, member)
#define list_first_entry_or_null(head, type, member) ({			\
	const struct list_head *lkpi_head_ = (head);			\
	struct list_head *lkpi_first_ = READ_ONCE(lkpi_head_->next);	\
									\
	lkpi_first_ == lkpi_head_ ? NULL : list_entry(lkpi_first_, type, member); \
})
#define list_next_entry(pos, member)					\
	list_entry((pos)->member.next, __typeof__(*(pos)), member)
#define list_prev_entry(pos, member)					\
	list_entry((pos)->member.prev, __typeof__(*(pos)), member)

#define list_for_each(pos, head)					\
	for ((pos) = (head)->next; (pos) != (head); (pos) = (pos)->next)
#define list_for_each_safe(pos, n, head)				\
	for ((pos) = (head)->next, (n) = (pos)->next; (pos) != (head);	\
	    (pos) = (n), (n) = (pos)->next)
#define list_for_each_entry(pos, head, member)				\
	for ((pos) = list_first_entry(head, __typeof__(*(pos)), member);	\
	    &(pos)->member != (head); (pos) = list_next_entry(pos, member))
#define list_entry_is_head(pos, head, member) (&(pos)->member == (head))
#define list_for_each_prev(pos, head)					\
	for ((pos) = (head)->prev; (pos) != (head); (pos) = (pos)->prev)
#define list_for_each_entry_continue(pos, head, member)			\
	for ((pos) = list_next_entry(pos, member); &(pos)->member != (head); \
	    (pos) = list_next_entry(pos, member))
#define list_for_each_entry_continue_reverse(pos, head, member)		\
	for ((pos) = list_prev_entry(pos, member); &(pos)->member != (head); \
	    (pos) = list_prev_entry(pos, member))
#define list_for_each_entry_from(pos, head, member)			\
	for (; &(pos)->member != (head); (pos) = list_next_entry(pos, member))
#define list_for_each_entry_safe_from(pos, n, head, member)		\
	for ((n) = list_next_entry(pos, member); &(pos)->member != (head); \
	    (pos) = (n), (n) = list_next_entry(n, member))
#define list_for_each_entry_safe_reverse(pos, n, head, member)		\
	for ((pos) = list_last_entry(head, __typeof__(*(pos)), member),	\
	    (n) = list_prev_entry(pos, member); &(pos)->member != (head);	\
	    (pos) = (n), (n) = list_prev_entry(n, member))
#define list_for_each_entry_reverse(pos, head, member)			\
	for ((pos) = list_last_entry(head, __typeof__(*(pos)), member);	\
	    &(pos)->member != (head); (pos) = list_prev_entry(pos, member))
#define list_for_each_entry_safe(pos, n, head, member)			\
	for ((pos) = list_first_entry(head, __typeof__(*(pos)), member),	\
	    (n) = list_next_entry(pos, member); &(pos)->member != (head);	\
	    (pos) = (n), (n) = list_next_entry(n, member))

#endif /* _LINUX_LIST_H_ */
