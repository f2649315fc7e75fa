/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * What Linux, or LinuxKPI where it means to differ, promises a driver about return values, orders and odd arguments.
 * compat-tests/tests/c_linux.rs runs it.
 */

#include <linux/atomic.h>
#include <linux/bitops.h>
#include <linux/completion.h>
#include <linux/delay.h>
#include <linux/interrupt.h>
#include <linux/irq_work.h>
#include <linux/jiffies.h>
#include <linux/kthread.h>
#include <linux/list.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/timer.h>
#include <linux/wait.h>
#include <linux/workqueue.h>

#include <linuxkpi/scenario.h>

static DECLARE_WAIT_QUEUE_HEAD(queue);
static DECLARE_COMPLETION(never);

static void
nothing(struct irq_work *work)
{
}

/* irq_work_queue() says whether it queued the work. */
LKPI_SCENARIO(selftest_irq_work_twice)
{
	struct irq_work work;
	unsigned int queued = 0;

	init_irq_work(&work, nothing);
	critical_enter();
	queued += irq_work_queue(&work);
	queued += irq_work_queue(&work);
	critical_exit();
	irq_work_sync(&work);
	LKPI_CHECK(queued == 1);
	LKPI_CHECK(irq_work_queue(&work));
	irq_work_sync(&work);
}

/* A macro's arguments are evaluated once, but for the condition. */
LKPI_SCENARIO(selftest_wait_arguments)
{
	LIST_HEAD(list);
	struct list_head *heads[] = { &list, NULL };
	struct list_head **head = heads;
	int evaluated = 0, looked = 0;

	LKPI_CHECK(wait_event_timeout(queue, looked++ > 5, (evaluated++, 2)) == 0);
	LKPI_CHECK(evaluated == 1);
	LKPI_CHECK(wait_event_interruptible_timeout(queue, true, (evaluated++, 5)) == 5);
	LKPI_CHECK(evaluated == 2);
	LKPI_CHECK(wait_event_timeout(queue, true, MAX_SCHEDULE_TIMEOUT) > 0);
	LKPI_CHECK(list_first_entry_or_null(*head++, wait_queue_entry_t, entry) == NULL);
	LKPI_CHECK(head == heads + 1);
}

/* Virtual time goes far: a driver that waits for weeks still knows before from after. */
LKPI_SCENARIO(selftest_jiffies)
{
	unsigned long start = jiffies;

	schedule_timeout_uninterruptible(INT_MAX - 1);
	LKPI_CHECK(time_after(jiffies, start + 1000));
	schedule_timeout_uninterruptible(INT_MAX - 1);
	LKPI_CHECK(time_after(jiffies, start + 1000) && jiffies - start >= 2UL * (INT_MAX - 1));
	LKPI_CHECK(msecs_to_jiffies((unsigned int)-1) <= MAX_JIFFY_OFFSET);
}

static void
note(struct timer_list *timer)
{
}

/* A time that lies far ahead is far ahead, whatever its lower half is. */
LKPI_SCENARIO(selftest_timer_far)
{
	struct timer_list timer;

	timer_setup(&timer, note, 0);
	LKPI_CHECK(!mod_timer(&timer, jiffies + (1UL << 32)));
	msleep(10);
	LKPI_CHECK(timer_pending(&timer) && mod_timer(&timer, jiffies - 5));
	msleep(10);
	LKPI_CHECK(!timer_pending(&timer) && !del_timer_sync(&timer));
}

/* MAX_SCHEDULE_TIMEOUT is for ever: nobody completes this one. */
LKPI_SCENARIO(selftest_wait_for_ever)
{
	(void)wait_for_completion_timeout(&never, MAX_SCHEDULE_TIMEOUT);
}

LKPI_SCENARIO(selftest_huge_allocations)
{
	static const size_t sizes[] = { ULONG_MAX, ULONG_MAX - 7, ULONG_MAX - 40, ULONG_MAX / 2, ULONG_MAX / 2 + 2, 1UL << 62, 1UL << 40 };
	size_t i;

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		LKPI_CHECK(kmalloc(sizes[i], GFP_ATOMIC) == NULL);
		LKPI_CHECK(kzalloc(sizes[i], GFP_KERNEL) == NULL);
	}
	LKPI_CHECK(kmalloc_array(ULONG_MAX / 2, 3, GFP_KERNEL) == NULL);
}

static unsigned int handled;

static irqreturn_t
handle(int irq, void *dev)
{
	handled++;
	complete(dev);
	return (IRQ_HANDLED);
}

/* Interrupts that nobody has are refused, however their number ends. */
LKPI_SCENARIO(selftest_irq_numbers)
{
	unsigned int irq = lkpi_device_irq("device");
	struct completion done;

	init_completion(&done);
	LKPI_CHECK(request_irq(irq + 65536, handle, 0, "none", &done) == -EINVAL);
	LKPI_CHECK(request_irq(irq + 1, handle, 0, "none", &done) == -EINVAL);
	LKPI_CHECK(request_irq(31, handle, 0, "none", &done) == -EINVAL);
	LKPI_CHECK(request_threaded_irq(irq, NULL, NULL, 0, "none", &done) == -EINVAL);
	free_irq(irq + 65536, &done);
	LKPI_CHECK(request_irq(irq, handle, 0, "device", &done) == 0);
	disable_irq(irq + 65536);
	LKPI_CHECK(lkpi_enable_irq(irq) == -EINVAL);
	free_irq(irq, &done);
	/* Without a handler of its own the thread function is woken for each interrupt. */
	LKPI_CHECK(request_threaded_irq(irq, NULL, handle, IRQF_ONESHOT, "device", &done) == 0);
	LKPI_CHECK(request_irq(irq, handle, 0, "device", &done) == -EBUSY);
	free_irq(irq, &done);
}

struct pair {
	struct work_struct first;
	struct work_struct second;
	struct completion done;
};

static void
wait_for_the_second(struct work_struct *work)
{
	wait_for_completion(&container_of(work, struct pair, first)->done);
}

static void
complete_the_first(struct work_struct *work)
{
	complete(&container_of(work, struct pair, second)->done);
}

/* max_active 0 is the default, not one at a time. */
LKPI_SCENARIO(selftest_workqueue_default)
{
	struct workqueue_struct *wq = alloc_workqueue("default", WQ_UNBOUND, 0);
	struct pair pair;

	BUG_ON(wq == NULL);
	init_completion(&pair.done);
	INIT_WORK(&pair.first, wait_for_the_second);
	INIT_WORK(&pair.second, complete_the_first);
	LKPI_CHECK(queue_work(wq, &pair.first) && queue_work(wq, &pair.second));
	flush_workqueue(wq);
	destroy_workqueue(wq);
}

struct node {
	unsigned long seen;
	unsigned long value;
};

static struct node *published;

static void
look(void *arg)
{
	struct node *node;

	rcu_read_lock();
	node = rcu_dereference(published);
	if (node != NULL)
		LKPI_CHECK(READ_ONCE(node->value) == 7);
	rcu_read_unlock();
}

static void
retire(void *arg)
{
	struct node *node = published;

	rcu_assign_pointer(published, NULL);
	kmem_cache_free(arg, node);
}

/* What such a cache gets back stays what it is while a reader may look at it. */
LKPI_SCENARIO(selftest_typesafe_cache)
{
	struct kmem_cache *cache = KMEM_CACHE(node, SLAB_TYPESAFE_BY_RCU);
	const struct lkpi_syscall threads[] = {
		{ "reader", LKPI_BATCH, -1, look, NULL },
		{ "writer", LKPI_BATCH, -1, retire, cache },
	};

	BUG_ON(cache == NULL);
	published = kmem_cache_alloc(cache, GFP_KERNEL);
	published->value = 7;
	lkpi_syscalls(threads, ARRAY_SIZE(threads));
	kmem_cache_destroy(cache);
}

#define NULL_OF(name, call)						\
	LKPI_SCENARIO(selftest_null_##name)				\
	{								\
		void *at = NULL;					\
									\
		OPTIMIZER_HIDE_VAR(at);					\
		call;							\
	}

NULL_OF(work, INIT_WORK((struct work_struct *)at, NULL))
NULL_OF(dwork, INIT_DELAYED_WORK((struct delayed_work *)at, NULL))
NULL_OF(irq_work, init_irq_work((struct irq_work *)at, nothing))
NULL_OF(timer, timer_setup((struct timer_list *)at, note, 0))
NULL_OF(tasklet, tasklet_setup((struct tasklet_struct *)at, NULL))
NULL_OF(wait, init_wait((wait_queue_entry_t *)at))
NULL_OF(rcu, call_rcu((struct rcu_head *)at, NULL))

/* Asked for before it was set up. */
LKPI_SCENARIO(selftest_zero_timer)
{
	static struct timer_list timer;

	(void)mod_timer(&timer, jiffies + 1);
	msleep(10);
}

LKPI_SCENARIO(selftest_zero_tasklet)
{
	static struct tasklet_struct tasklet;

	tasklet_schedule(&tasklet);
	msleep(10);
}

LKPI_SCENARIO(selftest_zero_work)
{
	static struct work_struct work;

	schedule_work(&work);
	flush_work(&work);
}

LKPI_SCENARIO(selftest_zero_irq_work)
{
	static struct irq_work work;

	irq_work_queue(&work);
	irq_work_sync(&work);
}

LKPI_SCENARIO(selftest_zero_held)
{
	static spinlock_t lock;

	lockdep_assert_held(&lock);
}

/* Any bytes at all. */
LKPI_SCENARIO(selftest_garbage_held)
{
	static unsigned long lock[8];

	memset(lock, 0xff, sizeof(lock));
	lockdep_assert_held(lock);
}

static void
free_nothing(struct rcu_head *head)
{
}

LKPI_SCENARIO(selftest_rcu_twice)
{
	static struct rcu_head head;

	call_rcu(&head, free_nothing);
	call_rcu(&head, free_nothing);
	rcu_barrier();
}
