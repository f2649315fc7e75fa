/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * What a scenario written in C needs besides Linux's API: its entry, the window's openers, its verdict.
 */

#ifndef _LINUXKPI_SCENARIO_H_
#define _LINUXKPI_SCENARIO_H_

#include <linuxkpi/mapping.h>
#include <sys/systm.h>

/*
 * Defines a scenario. The build finds every global function of this form, prefixes it with the mapping, and hides
 * the unit's other symbols.
 */
#define LKPI_SCENARIO(name)						\
	void lkpi_scenario_##name(void);				\
	void lkpi_scenario_##name(void)

/* An unrelated ithread per CPU, of the best priority, that an interrupt may wake at any boundary. */
void lkpi_bystanders(void);
/* The part between is what the schedule explores. */
void lkpi_explore_begin(void);
void lkpi_explore_end(void);
/* userret(): the audit of a thread that returns to user mode. */
void lkpi_userret(void);
/* A signal for a thread: it ends, or does not let begin, a sleep that signals may interrupt. */
struct thread;
void lkpi_signal(struct thread *);
/* The verdict "corruption". */
void lkpi_corruption(const char *) __dead2;

#define LKPI_CHECK(cond) do {						\
	if (!(cond))							\
		lkpi_corruption(#cond " does not hold");		\
} while (0)

/* Priorities of user threads; lower is better, and neither preempts the other by itself. */
#define LKPI_INTERACTIVE 56
#define LKPI_BATCH 140

/* A user thread that makes one system call. */
struct lkpi_syscall {
	const char *name;
	unsigned int priority;
	/* The CPU that it starts on, or -1. */
	int cpu;
	void (*func)(void *);
	void *arg;
};

/*
 * Starts the threads, lets the schedule decide until all have returned to user mode (where userret() audits them), and
 * returns then. Between is what is explored. Every CPU but the first also runs a program that computes for a while: an idle CPU
 * would steal whatever waits behind a preempted thread.
 */
void lkpi_syscalls(const struct lkpi_syscall *, size_t);

/*
 * An interrupt of that name, by its number, for request_irq() or a device of newbus. The first may come at any time, as the
 * schedule says; the second comes when lkpi_raise() asserts it, on that CPU or, if it is -1, on any.
 */
unsigned int lkpi_device_irq(const char *);
unsigned int lkpi_raised_irq(const char *, int);
void lkpi_raise(unsigned int);

/*
 * A device as newbus gives it to a driver's attach method: its name, its unit, and an interrupt, which devices may share. The driver
 * gets it as FreeBSD's do:
 *
 *	rid = 0;
 *	irq = bus_alloc_resource_any(dev, SYS_RES_IRQ, &rid, RF_ACTIVE | RF_SHAREABLE);
 *	error = bus_setup_intr(dev, irq, INTR_TYPE_MISC | INTR_MPSAFE, filter, handler, softc, &cookie);
 */
device_t lkpi_newbus_device(const char *, int, unsigned int);

#endif /* _LINUXKPI_SCENARIO_H_ */
