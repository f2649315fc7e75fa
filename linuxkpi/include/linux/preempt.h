/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * linux/preempt.h: in_interrupt() is LinuxKPI's: false in an irq handler, which is an ithread.
 *
 * in_atomic() asks for a critical section. LinuxKPI's asks whether page faults are forbidden (TDP_NOFAULTING), which nothing here
 * does; Linux's is true under each spinlock, where a mapping that locks with sleep mutexes only (cpu_mutex) says false.
 */

#ifndef _LINUX_PREEMPT_H_
#define _LINUX_PREEMPT_H_

#include <linuxkpi/mapping.h>
#include <sys/pcpu.h>
#include <sys/proc.h>

void LKPI(preempt_disable)(void);
void LKPI(preempt_enable)(void);
int lkpi_in_interrupt(void);

#define preempt_disable() LKPI(preempt_disable)()
#define preempt_enable() LKPI(preempt_enable)()
#define preempt_disable_notrace() preempt_disable()
#define preempt_enable_notrace() preempt_enable()
#define preempt_enable_no_resched() preempt_enable()

#define in_interrupt() lkpi_in_interrupt()
#define in_irq() in_interrupt()
#define in_hardirq() in_interrupt()
#define in_task() (!in_interrupt())
#define in_atomic() (curthread->td_critnest != 0)
#define get_cpu() ({ preempt_disable(); curcpu; })
#define put_cpu() preempt_enable()
#define smp_processor_id() curcpu
#define raw_smp_processor_id() curcpu

#endif /* _LINUX_PREEMPT_H_ */
