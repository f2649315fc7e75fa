/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * A driver to try lkpi with:
 *
 *	lkpi run compat-tests/examples/driver.c
 *
 * It queues packets on a ring and counts them. The ring is the device's too, hence a spinlock, which its interrupt handler
 * takes as well; the counters are read without a lock, so a sequence lock keeps them together.
 */

#include <linux/compiler.h>
#include <linux/interrupt.h>
#include <linux/kernel.h>
#include <linux/module.h>
#include <linux/seqlock.h>
#include <linux/spinlock.h>

#include <linuxkpi/scenario.h>

#define PACKET 64

struct nic {
	/* Guards the ring. */
	spinlock_t lock;
	unsigned int queued;
	unsigned int done;
	/* Keeps the counters together. */
	seqlock_t stats;
	u64 packets;
	u64 bytes;
	unsigned int irq;
};

/* Static memory is as it was before each execution. */
static struct nic nic;

static irqreturn_t
nic_irq_handler(int irq, void *arg)
{
	struct nic *sc = arg;
	unsigned long flags;

	spin_lock_irqsave(&sc->lock, flags);
	sc->done = sc->queued;
	spin_unlock_irqrestore(&sc->lock, flags);
	return (IRQ_HANDLED);
}

static void
nic_queue(struct nic *sc)
{
	unsigned long flags;

	spin_lock_irqsave(&sc->lock, flags);
	sc->queued++;
	spin_unlock_irqrestore(&sc->lock, flags);
}

/* A packet that is counted. On FreeBSD, may the ring's lock be taken in here? */
static void
send_ioctl(void *arg)
{
	struct nic *sc = arg;

	write_seqlock(&sc->stats);
	nic_queue(sc);
	WRITE_ONCE(sc->packets, sc->packets + 1);
	WRITE_ONCE(sc->bytes, sc->bytes + PACKET);
	write_sequnlock(&sc->stats);
}

/* A packet that nobody counts. */
static void
probe_ioctl(void *arg)
{
	nic_queue(arg);
}

static void
stats_ioctl(void *arg)
{
	struct nic *sc = arg;
	u64 packets, bytes;
	unsigned int seq;

	do {
		seq = read_seqbegin(&sc->stats);
		packets = READ_ONCE(sc->packets);
		bytes = READ_ONCE(sc->bytes);
	} while (read_seqretry(&sc->stats, seq));
	LKPI_CHECK(bytes == packets * PACKET);
}

static int __init
nic_init(void)
{
	spin_lock_init(&nic.lock);
	seqlock_init(&nic.stats);
	return (0);
}
module_init(nic_init);

/* What user programs do: two packets and a look at the counters, while the device interrupts when it likes. */
LKPI_SCENARIO(nic)
{
	nic.irq = lkpi_device_irq("nic");
	BUG_ON(request_irq(nic.irq, nic_irq_handler, 0, "nic", &nic) != 0);

	const struct lkpi_syscall programs[] = {
		{ "probe", LKPI_BATCH, 0, probe_ioctl, &nic },
		{ "send", LKPI_INTERACTIVE, 0, send_ioctl, &nic },
		{ "stats", LKPI_BATCH, -1, stats_ioctl, &nic },
	};
	lkpi_syscalls(programs, ARRAY_SIZE(programs));

	free_irq(nic.irq, &nic);
	LKPI_CHECK(nic.queued == 2 && nic.packets == 1);
}
