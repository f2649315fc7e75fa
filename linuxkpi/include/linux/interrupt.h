/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * linux/interrupt.h: a handler runs in an ithread, in the context that the mapping gives it.
 */

#ifndef _LINUX_INTERRUPT_H_
#define _LINUX_INTERRUPT_H_

#include <linux/container_of.h>
#include <linux/errno.h>
#include <linux/irqflags.h>
#include <linux/types.h>
#include <linuxkpi/mapping.h>

typedef enum irqreturn {
	IRQ_NONE = 0,
	IRQ_HANDLED = 1,
	IRQ_WAKE_THREAD = 2,
} irqreturn_t;

typedef irqreturn_t (*irq_handler_t)(int, void *);

#define IRQF_SHARED 0x0004
#define IRQF_ONESHOT 0x2000
#define IRQ_RETVAL(x) ((x) ? IRQ_HANDLED : IRQ_NONE)

int LKPI(request_threaded_irq)(unsigned int, irq_handler_t, irq_handler_t, unsigned long, const char *, void *);
void lkpi_free_irq(unsigned int, void *);
void lkpi_disable_irq(unsigned int);
int lkpi_enable_irq(unsigned int);
void lkpi_synchronize_irq(unsigned int);

#define request_irq(irq, handler, flags, name, dev)			\
	LKPI(request_threaded_irq)((irq), (handler), NULL, (flags), (name), (dev))
#define request_threaded_irq(irq, handler, thread_fn, flags, name, dev)	\
	LKPI(request_threaded_irq)((irq), (handler), (thread_fn), (flags), (name), (dev))
#define free_irq(irq, dev) lkpi_free_irq((irq), (dev))
#define disable_irq(irq) lkpi_disable_irq(irq)
#define disable_irq_nosync(irq) lkpi_disable_irq(irq)
#define enable_irq(irq) ((void)lkpi_enable_irq(irq))
#define synchronize_irq(irq) lkpi_synchronize_irq(irq)

/* A tasklet's function gets its data, or after tasklet_setup() the tasklet. */
struct tasklet_struct {
	uint64_t lkpi_room[6];
};

void LKPI(tasklet_init)(struct tasklet_struct *, void (*)(void), void *);
void lkpi_tasklet_schedule(struct tasklet_struct *);
void lkpi_tasklet_kill(struct tasklet_struct *);
void lkpi_tasklet_disable(struct tasklet_struct *);
void lkpi_tasklet_enable(struct tasklet_struct *);
bool lkpi_tasklet_trylock(struct tasklet_struct *);
void lkpi_tasklet_unlock(struct tasklet_struct *);

static inline void
tasklet_init(struct tasklet_struct *tasklet, void (*func)(unsigned long), unsigned long data)
{
	LKPI(tasklet_init)(tasklet, (void (*)(void))func, (void *)data);
}

static inline void
tasklet_setup(struct tasklet_struct *tasklet, void (*func)(struct tasklet_struct *))
{
	LKPI(tasklet_init)(tasklet, (void (*)(void))func, tasklet);
}

#define tasklet_schedule(tasklet) lkpi_tasklet_schedule(tasklet)
#define tasklet_hi_schedule(tasklet) lkpi_tasklet_schedule(tasklet)
#define tasklet_kill(tasklet) lkpi_tasklet_kill(tasklet)
#define tasklet_disable(tasklet) lkpi_tasklet_disable(tasklet)
#define tasklet_enable(tasklet) lkpi_tasklet_enable(tasklet)
#define tasklet_trylock(tasklet) lkpi_tasklet_trylock(tasklet)
#define tasklet_unlock(tasklet) lkpi_tasklet_unlock(tasklet)
#define from_tasklet(var, tasklet, member) container_of((tasklet), __typeof__(*(var)), member)

#endif /* _LINUX_INTERRUPT_H_ */
