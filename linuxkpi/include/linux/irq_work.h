/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * linux/irq_work.h: a fast taskqueue, usable in critical sections.
 */

#ifndef _LINUX_IRQ_WORK_H_
#define _LINUX_IRQ_WORK_H_

#include <linux/types.h>

struct irq_work {
	uint64_t lkpi_room[5];
};

void lkpi_init_irq_work(struct irq_work *, void (*)(struct irq_work *));
bool lkpi_irq_work_queue(struct irq_work *);
void lkpi_irq_work_sync(struct irq_work *);

#define init_irq_work(work, func) lkpi_init_irq_work((work), (func))
#define irq_work_queue(work) lkpi_irq_work_queue(work)
#define irq_work_sync(work) lkpi_irq_work_sync(work)

#endif /* _LINUX_IRQ_WORK_H_ */
