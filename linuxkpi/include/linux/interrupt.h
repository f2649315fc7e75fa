/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * linux/interrupt.h: a handler runs in an ithread, in the context that the mapping gives it.
 */

#ifndef _LINUX_INTERRUPT_H_
#define _LINUX_INTERRUPT_H_

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

#endif /* _LINUX_INTERRUPT_H_ */
