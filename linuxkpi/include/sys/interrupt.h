/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * sys/interrupt.h: interrupt events, opaque, and software interrupts. freebsd_sys::ffi::interrupt::IntrHandler has the layout of
 * struct intr_handler; both sides assert it.
 */

#ifndef _SYS_INTERRUPT_H_
#define _SYS_INTERRUPT_H_

#include <sys/bus.h>
#include <sys/proc.h>

struct intr_event;
struct trapframe;

/* A cookie is one's address. */
struct intr_handler {
	driver_filter_t *ih_filter;
	driver_intr_t *ih_handler;
	void *ih_argument;
	int ih_flags;
	char ih_name[MAXCOMLEN + 1];
	struct intr_event *ih_event;
	int ih_need;
	struct intr_handler *ih_next;
	u_char ih_pri;
};

_Static_assert(offsetof(struct intr_handler, ih_flags) == 24, "ih_flags");
_Static_assert(offsetof(struct intr_handler, ih_name) == 28, "ih_name");
_Static_assert(offsetof(struct intr_handler, ih_event) == 48, "ih_event");
_Static_assert(offsetof(struct intr_handler, ih_need) == 56, "ih_need");
_Static_assert(offsetof(struct intr_handler, ih_next) == 64, "ih_next");
_Static_assert(offsetof(struct intr_handler, ih_pri) == 72, "ih_pri");
_Static_assert(sizeof(struct intr_handler) == 80, "intr_handler");

#define IH_NET 0x00000001
#define IH_EXCLUSIVE 0x00000002
#define IH_ENTROPY 0x00000004
#define IH_DEAD 0x00000008
#define IH_SUSP 0x00000010
#define IH_CHANGED 0x40000000
#define IH_MPSAFE 0x80000000

#define IE_SOFT 0x000001

#define SWI_FROMNMI 0x1
#define SWI_DELAY 0x2

#define SWI_TTY 0
#define SWI_NET 1
#define SWI_CAMBIO 2
#define SWI_BUSDMA 3
#define SWI_CLOCK 4
#define SWI_TQ_FAST 5
#define SWI_TQ 6
#define SWI_TQ_GIANT 6

u_char intr_priority(enum intr_type);
int intr_event_add_handler(struct intr_event *, const char *, driver_filter_t *, driver_intr_t *, void *, u_char,
    enum intr_type, void **);
int intr_event_bind(struct intr_event *, int);
int intr_event_describe_handler(struct intr_event *, void *, const char *);
int intr_event_destroy(struct intr_event *);
int intr_event_handle(struct intr_event *, struct trapframe *);
int intr_event_remove_handler(void *);
int intr_event_suspend_handler(void *);
int intr_event_resume_handler(void *);
int lkpi_intr_event_create(struct intr_event **, void *, int, void (*)(void *), void (*)(void *), void (*)(void *),
    int (*)(void *, int), const char *);
/* The number is nobody's: such an event is handed to intr_event_handle() by its address. */
#define intr_event_create(event, source, flags, irq, pre, post, filtered, assign, ...) __extension__ ({	\
	char lkpi_name_[MAXCOMLEN + 1];					\
									\
	snprintf(lkpi_name_, sizeof(lkpi_name_), __VA_ARGS__);		\
	(void)(irq);							\
	lkpi_intr_event_create((event), (source), (flags), (pre), (post), (filtered), (assign), lkpi_name_);	\
})
/* Of an interrupt's number: rman_get_start() of its resource. */
void _intr_drain(int);

int swi_add(struct intr_event **, const char *, driver_intr_t *, void *, int, enum intr_type, void **);
void swi_sched(void *, int);
int swi_remove(void *);

#endif /* _SYS_INTERRUPT_H_ */
