/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * sys/eventhandler.h: EVENTHANDLER(9). Nothing in this kernel invokes a list by itself: the events declared below are for scenarios to invoke.
 * freebsd_sys::ffi::eventhandler has the same layouts; both sides assert them.
 */

#ifndef _SYS_EVENTHANDLER_H_
#define _SYS_EVENTHANDLER_H_

#include <sys/kernel.h>
#include <sys/lock.h>
#include <sys/mutex.h>
#include <sys/queue.h>

struct eventhandler_entry {
	TAILQ_ENTRY(eventhandler_entry) ee_link;
	int ee_priority;
	void *ee_arg;
};
#define EHE_DEAD_PRIORITY (-1)

typedef struct eventhandler_entry *eventhandler_tag;

struct eventhandler_list {
	char *el_name;
	int el_flags;
	u_int el_runcount;
	struct mtx el_lock;
	TAILQ_ENTRY(eventhandler_list) el_link;
	TAILQ_HEAD(, eventhandler_entry) el_entries;
};

_Static_assert(sizeof(struct eventhandler_entry) == 32, "eventhandler_entry");
_Static_assert(offsetof(struct eventhandler_entry, ee_priority) == 16, "ee_priority");
_Static_assert(offsetof(struct eventhandler_entry, ee_arg) == 24, "ee_arg");
_Static_assert(sizeof(struct eventhandler_list) == 80, "eventhandler_list");
_Static_assert(offsetof(struct eventhandler_list, el_runcount) == 12, "el_runcount");
_Static_assert(offsetof(struct eventhandler_list, el_lock) == 16, "el_lock");
_Static_assert(offsetof(struct eventhandler_list, el_entries) == 64, "el_entries");

#define EHL_LOCK(list) mtx_lock(&(list)->el_lock)
#define EHL_UNLOCK(list) mtx_unlock(&(list)->el_lock)
#define EHL_LOCK_ASSERT(list, what) mtx_assert(&(list)->el_lock, (what))

#define EVENTHANDLER_PRI_FIRST 0
#define EVENTHANDLER_PRI_ANY 10000
#define EVENTHANDLER_PRI_LAST 20000
#define SHUTDOWN_PRI_FIRST EVENTHANDLER_PRI_FIRST
#define SHUTDOWN_PRI_DEFAULT EVENTHANDLER_PRI_ANY
#define SHUTDOWN_PRI_LAST EVENTHANDLER_PRI_LAST
#define LOWMEM_PRI_DEFAULT EVENTHANDLER_PRI_FIRST

eventhandler_tag eventhandler_register(struct eventhandler_list *, const char *, void *, void *, int);
void eventhandler_deregister(struct eventhandler_list *, eventhandler_tag);
void eventhandler_deregister_nowait(struct eventhandler_list *, eventhandler_tag);
/* Returns with the list's lock held. */
struct eventhandler_list *eventhandler_find_list(const char *);
struct eventhandler_list *eventhandler_create_list(const char *);
/* With the list's lock held: takes out who deregistered while handlers ran. */
void eventhandler_prune_list(struct eventhandler_list *);

/* An entry of a known kind ends with its function. */
#define EVENTHANDLER_DECLARE(name, type)				\
	struct eventhandler_entry_##name {				\
		struct eventhandler_entry ee;				\
		type eh_func;						\
	};								\
	struct lkpi_hungry_semicolon

/* Handlers run without the list's lock, and none that is dead is begun. */
#define LKPI_EVENTHANDLER_RUN(name, list, ...) do {			\
	struct eventhandler_entry *lkpi_entry_;				\
									\
	EHL_LOCK_ASSERT((list), MA_OWNED);				\
	(list)->el_runcount++;						\
	KASSERT((list)->el_runcount > 0, ("eventhandler_invoke: runcount overflow")); \
	TAILQ_FOREACH(lkpi_entry_, &(list)->el_entries, ee_link) {	\
		if (lkpi_entry_->ee_priority == EHE_DEAD_PRIORITY)	\
			continue;					\
		EHL_UNLOCK(list);					\
		((struct eventhandler_entry_##name *)(void *)lkpi_entry_)->eh_func(	\
		    lkpi_entry_->ee_arg, ##__VA_ARGS__);		\
		EHL_LOCK(list);						\
	}								\
	KASSERT((list)->el_runcount > 0, ("eventhandler_invoke: runcount underflow")); \
	if (--(list)->el_runcount == 0)					\
		eventhandler_prune_list(list);				\
	EHL_UNLOCK(list);						\
} while (0)

#define EVENTHANDLER_INVOKE(name, ...) do {				\
	struct eventhandler_list *lkpi_list_ = eventhandler_find_list(#name); \
									\
	if (lkpi_list_ != NULL)						\
		LKPI_EVENTHANDLER_RUN(name, lkpi_list_, ##__VA_ARGS__);	\
} while (0)
#define EVENTHANDLER_REGISTER(name, func, arg, priority)		\
	eventhandler_register(NULL, #name, (void *)(func), (arg), (priority))
#define LKPI_EVENTHANDLER_OUT(how, name, tag) do {			\
	struct eventhandler_list *lkpi_list_ = eventhandler_find_list(#name); \
									\
	if (lkpi_list_ != NULL)						\
		how(lkpi_list_, (tag));					\
} while (0)
#define EVENTHANDLER_DEREGISTER(name, tag) LKPI_EVENTHANDLER_OUT(eventhandler_deregister, name, tag)
#define EVENTHANDLER_DEREGISTER_NOWAIT(name, tag) LKPI_EVENTHANDLER_OUT(eventhandler_deregister_nowait, name, tag)

/* A handler that is there from the start. */
#define EVENTHANDLER_DEFINE(name, func, arg, priority)			\
	static eventhandler_tag name##_tag;				\
	static void							\
	name##_evh_init(void *ctx)					\
	{								\
		name##_tag = EVENTHANDLER_REGISTER(name, func, ctx, priority); \
	}								\
	SYSINIT(name##_evh_init, SI_SUB_CONFIGURE, SI_ORDER_ANY, name##_evh_init, arg); \
	struct lkpi_hungry_semicolon

/* A list whose address is kept, so that invoking it needs no search. */
#define EVENTHANDLER_LIST_DECLARE(name) extern struct eventhandler_list *_eventhandler_list_##name
#define EVENTHANDLER_LIST_DEFINE(name)					\
	struct eventhandler_list *_eventhandler_list_##name;		\
	static void							\
	lkpi_evh_list_##name(void *arg)					\
	{								\
		_eventhandler_list_##name = eventhandler_create_list(#name); \
	}								\
	SYSINIT(name##_evh_list, SI_SUB_EVENTHANDLER, SI_ORDER_SECOND, lkpi_evh_list_##name, NULL); \
	struct lkpi_hungry_semicolon
#define EVENTHANDLER_DIRECT_INVOKE(name, ...) do {			\
	struct eventhandler_list *lkpi_list_ = _eventhandler_list_##name; \
									\
	if (!TAILQ_EMPTY(&lkpi_list_->el_entries)) {			\
		EHL_LOCK(lkpi_list_);					\
		LKPI_EVENTHANDLER_RUN(name, lkpi_list_, ##__VA_ARGS__);	\
	}								\
} while (0)

typedef void (*shutdown_fn)(void *, int);
EVENTHANDLER_DECLARE(shutdown_pre_sync, shutdown_fn);
EVENTHANDLER_DECLARE(shutdown_post_sync, shutdown_fn);
EVENTHANDLER_DECLARE(shutdown_final, shutdown_fn);
typedef void (*power_change_fn)(void *);
EVENTHANDLER_DECLARE(power_resume, power_change_fn);
EVENTHANDLER_DECLARE(power_suspend, power_change_fn);
EVENTHANDLER_DECLARE(power_suspend_early, power_change_fn);
typedef void (*vm_lowmem_handler_t)(void *, int);
EVENTHANDLER_DECLARE(vm_lowmem, vm_lowmem_handler_t);

#endif /* _SYS_EVENTHANDLER_H_ */
