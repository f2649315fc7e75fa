/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * linux/irqflags.h
 */

#ifndef _LINUX_IRQFLAGS_H_
#define _LINUX_IRQFLAGS_H_

#include <linuxkpi/mapping.h>

unsigned long LKPI(local_irq_save)(void);
void LKPI(local_irq_restore)(unsigned long);
void LKPI(local_irq_enable)(void);
int lkpi_irqs_disabled(void);

#define local_irq_save(flags) ((flags) = LKPI(local_irq_save)())
#define local_irq_restore(flags) LKPI(local_irq_restore)(flags)
#define local_irq_disable() ((void)LKPI(local_irq_save)())
#define local_irq_enable() LKPI(local_irq_enable)()
#define irqs_disabled() (lkpi_irqs_disabled() != 0)

#endif /* _LINUX_IRQFLAGS_H_ */
