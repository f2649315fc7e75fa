/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * sys/queue.h: queue(3). SLIST and LIST have a head of one pointer, STAILQ and TAILQ one of two; LIST and TAILQ remove in constant time.
 *
 * linux/list.h has another LIST_HEAD, which stays if that header comes too, as in LinuxKPI.
 */

#ifndef _SYS_QUEUE_H_
#define _SYS_QUEUE_H_

#include <sys/types.h>

/* The structure whose `field` is at `at`. */
#define LKPI_QUEUE_OF(at, type, field) ((struct type *)(void *)((char *)(at) - offsetof(struct type, field)))

/* Singly linked. */
#define SLIST_HEAD(name, type) struct name { struct type *slh_first; }
#define SLIST_HEAD_INITIALIZER(head) { NULL }
#define SLIST_ENTRY(type) struct { struct type *sle_next; }
#define SLIST_INIT(head) ((void)((head)->slh_first = NULL))
#define SLIST_EMPTY(head) ((head)->slh_first == NULL)
#define SLIST_FIRST(head) ((head)->slh_first)
#define SLIST_NEXT(elm, field) ((elm)->field.sle_next)
#define SLIST_FOREACH(var, head, field)					\
	for ((var) = SLIST_FIRST(head); (var) != NULL; (var) = SLIST_NEXT((var), field))
#define SLIST_FOREACH_SAFE(var, head, field, next)			\
	for ((var) = SLIST_FIRST(head);					\
	    (var) != NULL && ((next) = SLIST_NEXT((var), field), 1); (var) = (next))
#define SLIST_INSERT_HEAD(head, elm, field) do {			\
	SLIST_NEXT((elm), field) = SLIST_FIRST(head);			\
	SLIST_FIRST(head) = (elm);					\
} while (0)
#define SLIST_INSERT_AFTER(at, elm, field) do {				\
	SLIST_NEXT((elm), field) = SLIST_NEXT((at), field);		\
	SLIST_NEXT((at), field) = (elm);				\
} while (0)
#define SLIST_REMOVE_HEAD(head, field)					\
	((void)(SLIST_FIRST(head) = SLIST_NEXT(SLIST_FIRST(head), field)))
#define SLIST_REMOVE_AFTER(elm, field)					\
	((void)(SLIST_NEXT((elm), field) = SLIST_NEXT(SLIST_NEXT((elm), field), field)))
#define SLIST_REMOVE(head, elm, type, field) do {			\
	struct type **lkpi_at_ = &SLIST_FIRST(head);			\
									\
	while (*lkpi_at_ != (elm))					\
		lkpi_at_ = &SLIST_NEXT(*lkpi_at_, field);		\
	*lkpi_at_ = SLIST_NEXT(*lkpi_at_, field);			\
} while (0)

/* Singly linked, with a tail. */
#define STAILQ_HEAD(name, type) struct name { struct type *stqh_first; struct type **stqh_last; }
#define STAILQ_HEAD_INITIALIZER(head) { NULL, &(head).stqh_first }
#define STAILQ_ENTRY(type) struct { struct type *stqe_next; }
#define STAILQ_INIT(head) do {						\
	STAILQ_FIRST(head) = NULL;					\
	(head)->stqh_last = &STAILQ_FIRST(head);			\
} while (0)
#define STAILQ_EMPTY(head) ((head)->stqh_first == NULL)
#define STAILQ_FIRST(head) ((head)->stqh_first)
#define STAILQ_NEXT(elm, field) ((elm)->field.stqe_next)
#define STAILQ_LAST(head, type, field)					\
	(STAILQ_EMPTY(head) ? NULL : LKPI_QUEUE_OF((head)->stqh_last, type, field.stqe_next))
#define STAILQ_FOREACH(var, head, field)				\
	for ((var) = STAILQ_FIRST(head); (var) != NULL; (var) = STAILQ_NEXT((var), field))
#define STAILQ_FOREACH_SAFE(var, head, field, next)			\
	for ((var) = STAILQ_FIRST(head);				\
	    (var) != NULL && ((next) = STAILQ_NEXT((var), field), 1); (var) = (next))
#define STAILQ_INSERT_HEAD(head, elm, field) do {			\
	STAILQ_NEXT((elm), field) = STAILQ_FIRST(head);			\
	if (STAILQ_EMPTY(head))						\
		(head)->stqh_last = &STAILQ_NEXT((elm), field);		\
	STAILQ_FIRST(head) = (elm);					\
} while (0)
#define STAILQ_INSERT_TAIL(head, elm, field) do {			\
	STAILQ_NEXT((elm), field) = NULL;				\
	*(head)->stqh_last = (elm);					\
	(head)->stqh_last = &STAILQ_NEXT((elm), field);			\
} while (0)
#define STAILQ_INSERT_AFTER(head, at, elm, field) do {			\
	STAILQ_NEXT((elm), field) = STAILQ_NEXT((at), field);		\
	if (STAILQ_NEXT((elm), field) == NULL)				\
		(head)->stqh_last = &STAILQ_NEXT((elm), field);		\
	STAILQ_NEXT((at), field) = (elm);				\
} while (0)
#define STAILQ_REMOVE_HEAD(head, field) do {				\
	STAILQ_FIRST(head) = STAILQ_NEXT(STAILQ_FIRST(head), field);	\
	if (STAILQ_EMPTY(head))						\
		(head)->stqh_last = &STAILQ_FIRST(head);		\
} while (0)
#define STAILQ_REMOVE(head, elm, type, field) do {			\
	struct type **lkpi_at_ = &STAILQ_FIRST(head);			\
									\
	while (*lkpi_at_ != (elm))					\
		lkpi_at_ = &STAILQ_NEXT(*lkpi_at_, field);		\
	*lkpi_at_ = STAILQ_NEXT(*lkpi_at_, field);			\
	if (*lkpi_at_ == NULL)						\
		(head)->stqh_last = lkpi_at_;				\
} while (0)
/* All of `from` at the end of `to`. */
#define STAILQ_CONCAT(to, from) do {					\
	if (!STAILQ_EMPTY(from)) {					\
		*(to)->stqh_last = STAILQ_FIRST(from);			\
		(to)->stqh_last = (from)->stqh_last;			\
		STAILQ_INIT(from);					\
	}								\
} while (0)

/* Doubly linked: each knows the pointer that points at it. */
#ifndef LIST_HEAD
#define LIST_HEAD(name, type) struct name { struct type *lh_first; }
#endif
#define LIST_HEAD_INITIALIZER(head) { NULL }
#define LIST_ENTRY(type) struct { struct type *le_next; struct type **le_prev; }
#define LIST_INIT(head) ((void)((head)->lh_first = NULL))
#define LIST_EMPTY(head) ((head)->lh_first == NULL)
#define LIST_FIRST(head) ((head)->lh_first)
#define LIST_NEXT(elm, field) ((elm)->field.le_next)
#define LIST_PREV(elm, head, type, field)				\
	((elm)->field.le_prev == &LIST_FIRST(head) ? NULL :		\
	    LKPI_QUEUE_OF((elm)->field.le_prev, type, field.le_next))
#define LIST_FOREACH(var, head, field)					\
	for ((var) = LIST_FIRST(head); (var) != NULL; (var) = LIST_NEXT((var), field))
#define LIST_FOREACH_SAFE(var, head, field, next)			\
	for ((var) = LIST_FIRST(head);					\
	    (var) != NULL && ((next) = LIST_NEXT((var), field), 1); (var) = (next))
/* Where `place` points at the one that is to follow. */
#define LKPI_LIST_INSERT(place, elm, field) do {			\
	__typeof__(&(elm)->field.le_next) lkpi_place_ = (place);	\
									\
	LIST_NEXT((elm), field) = *lkpi_place_;				\
	if (*lkpi_place_ != NULL)					\
		(*lkpi_place_)->field.le_prev = &LIST_NEXT((elm), field); \
	(elm)->field.le_prev = lkpi_place_;				\
	*lkpi_place_ = (elm);						\
} while (0)
#define LIST_INSERT_HEAD(head, elm, field) LKPI_LIST_INSERT(&LIST_FIRST(head), (elm), field)
#define LIST_INSERT_AFTER(at, elm, field) LKPI_LIST_INSERT(&LIST_NEXT((at), field), (elm), field)
#define LIST_INSERT_BEFORE(at, elm, field) LKPI_LIST_INSERT((at)->field.le_prev, (elm), field)
#define LIST_REMOVE(elm, field) do {					\
	if (LIST_NEXT((elm), field) != NULL)				\
		LIST_NEXT((elm), field)->field.le_prev = (elm)->field.le_prev; \
	*(elm)->field.le_prev = LIST_NEXT((elm), field);		\
} while (0)

/* Doubly linked, with a tail. A head and an entry begin alike, so that who is last leads to the one before. */
#define TAILQ_HEAD(name, type) struct name { struct type *tqh_first; struct type **tqh_last; }
#define TAILQ_HEAD_INITIALIZER(head) { NULL, &(head).tqh_first }
#define TAILQ_ENTRY(type) struct { struct type *tqe_next; struct type **tqe_prev; }
#define TAILQ_INIT(head) do {						\
	TAILQ_FIRST(head) = NULL;					\
	(head)->tqh_last = &TAILQ_FIRST(head);				\
} while (0)
#define TAILQ_EMPTY(head) ((head)->tqh_first == NULL)
#define TAILQ_FIRST(head) ((head)->tqh_first)
#define TAILQ_NEXT(elm, field) ((elm)->field.tqe_next)
/* `at` is the pointer to an element: what the one before, or the head, has for its own. */
#define LKPI_TAILQ_BEFORE(at, headname) (*((struct headname *)(void *)(at))->tqh_last)
#define TAILQ_LAST(head, headname) LKPI_TAILQ_BEFORE((head)->tqh_last, headname)
#define TAILQ_PREV(elm, headname, field) LKPI_TAILQ_BEFORE((elm)->field.tqe_prev, headname)
#define TAILQ_FOREACH(var, head, field)					\
	for ((var) = TAILQ_FIRST(head); (var) != NULL; (var) = TAILQ_NEXT((var), field))
#define TAILQ_FOREACH_SAFE(var, head, field, next)			\
	for ((var) = TAILQ_FIRST(head);					\
	    (var) != NULL && ((next) = TAILQ_NEXT((var), field), 1); (var) = (next))
#define TAILQ_FOREACH_REVERSE(var, head, headname, field)		\
	for ((var) = TAILQ_LAST((head), headname); (var) != NULL; (var) = TAILQ_PREV((var), headname, field))
#define TAILQ_FOREACH_REVERSE_SAFE(var, head, headname, field, prev)	\
	for ((var) = TAILQ_LAST((head), headname);			\
	    (var) != NULL && ((prev) = TAILQ_PREV((var), headname, field), 1); (var) = (prev))
/* Who follows `elm`, or the head, has `at` for what points at it. */
#define LKPI_TAILQ_FOLLOWS(head, elm, field, at) do {			\
	if (TAILQ_NEXT((elm), field) != NULL)				\
		TAILQ_NEXT((elm), field)->field.tqe_prev = (at);	\
	else								\
		(head)->tqh_last = (at);				\
} while (0)
#define LKPI_TAILQ_INSERT(head, place, elm, field) do {			\
	__typeof__(&(elm)->field.tqe_next) lkpi_place_ = (place);	\
									\
	TAILQ_NEXT((elm), field) = *lkpi_place_;			\
	LKPI_TAILQ_FOLLOWS((head), (elm), field, &TAILQ_NEXT((elm), field)); \
	(elm)->field.tqe_prev = lkpi_place_;				\
	*lkpi_place_ = (elm);						\
} while (0)
#define TAILQ_INSERT_HEAD(head, elm, field) LKPI_TAILQ_INSERT((head), &TAILQ_FIRST(head), (elm), field)
#define TAILQ_INSERT_TAIL(head, elm, field) LKPI_TAILQ_INSERT((head), (head)->tqh_last, (elm), field)
#define TAILQ_INSERT_AFTER(head, at, elm, field)			\
	LKPI_TAILQ_INSERT((head), &TAILQ_NEXT((at), field), (elm), field)
/* No head is given: there is one who follows. */
#define TAILQ_INSERT_BEFORE(at, elm, field) do {			\
	(elm)->field.tqe_prev = (at)->field.tqe_prev;			\
	TAILQ_NEXT((elm), field) = (at);				\
	*(at)->field.tqe_prev = (elm);					\
	(at)->field.tqe_prev = &TAILQ_NEXT((elm), field);		\
} while (0)
#define TAILQ_REMOVE(head, elm, field) do {				\
	LKPI_TAILQ_FOLLOWS((head), (elm), field, (elm)->field.tqe_prev); \
	*(elm)->field.tqe_prev = TAILQ_NEXT((elm), field);		\
} while (0)
/* All of `from` at the end of `to`. */
#define TAILQ_CONCAT(to, from, field) do {				\
	if (!TAILQ_EMPTY(from)) {					\
		*(to)->tqh_last = TAILQ_FIRST(from);			\
		TAILQ_FIRST(from)->field.tqe_prev = (to)->tqh_last;	\
		(to)->tqh_last = (from)->tqh_last;			\
		TAILQ_INIT(from);					\
	}								\
} while (0)

#endif /* _SYS_QUEUE_H_ */
