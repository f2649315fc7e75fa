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
#include <linux/kref.h>
#include <linux/kthread.h>
#include <linux/ktime.h>
#include <linux/list.h>
#include <linux/log2.h>
#include <linux/rculist.h>
#include <linux/rcupdate.h>
#include <linux/refcount.h>
#include <linux/rwsem.h>
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

static int rearmed;

static void
rearm(struct timer_list *timer)
{
	LKPI_CHECK(!mod_timer(timer, jiffies + 1000));
	LKPI_CHECK(del_timer(timer) && !del_timer(timer));
	rearmed = 1;
}

/* That its function runs is nothing to whether a timer was pending. */
LKPI_SCENARIO(selftest_timer_rearmed)
{
	struct timer_list timer;

	timer_setup(&timer, rearm, 0);
	mod_timer(&timer, jiffies + 1);
	msleep(10);
	LKPI_CHECK(!del_timer_sync(&timer) && rearmed == 1);
}

/* MAX_SCHEDULE_TIMEOUT is for ever: nobody completes this one. */
LKPI_SCENARIO(selftest_wait_for_ever)
{
	(void)wait_for_completion_timeout(&never, MAX_SCHEDULE_TIMEOUT);
}

LKPI_SCENARIO(selftest_huge_allocations)
{
	static const size_t sizes[] = { SIZE_MAX, SIZE_MAX - 7, SIZE_MAX - 40, SIZE_MAX / 2, SIZE_MAX / 2 + 2, 1UL << 62, 1UL << 40, (4UL << 20) + 1 };
	size_t i;

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		LKPI_CHECK(kmalloc(sizes[i], GFP_ATOMIC) == NULL);
		LKPI_CHECK(kzalloc(sizes[i], GFP_KERNEL) == NULL);
	}
	LKPI_CHECK(kmalloc_array(SIZE_MAX / 2, 3, GFP_KERNEL) == NULL);
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

static int evaluated;

static bool
evaluate(void)
{
	evaluated++;
	return (true);
}

/* Once is once: the text, and the evaluation of the condition each time. */
LKPI_SCENARIO(selftest_warn_once)
{
	int i;

	evaluated = 0;
	for (i = 0; i < 3; i++) {
		LKPI_CHECK(WARN_ONCE(evaluate(), "once %d\n", i));
		LKPI_CHECK(WARN_ON_ONCE(evaluate()));
	}
	LKPI_CHECK(evaluated == 6);
}

static void
release(struct kref *kref)
{
	evaluated++;
}

LKPI_SCENARIO(selftest_refcount)
{
	static DEFINE_MUTEX(mutex);
	static DEFINE_SPINLOCK(lock);
	struct kref kref = KREF_INIT(7);
	refcount_t r = REFCOUNT_INIT(1);
	atomic_t a = ATOMIC_INIT(INT_MAX);

	evaluated = 0;
	kref_init(&kref);
	kref_get(&kref);
	LKPI_CHECK(kref_read(&kref) == 2 && kref_put(&kref, release) == 0 && evaluated == 0);
	LKPI_CHECK(kref_get_unless_zero(&kref) && !kref_put_lock(&kref, release, &lock) && !spin_is_locked(&lock));
	LKPI_CHECK(kref_put_mutex(&kref, release, &mutex) == 1 && evaluated == 1 && mutex_is_locked(&mutex));
	mutex_unlock(&mutex);
	LKPI_CHECK(!kref_get_unless_zero(&kref) && kref_read(&kref) == 0);

	/* Whatever goes wrong saturates, and never comes to zero again. */
	refcount_inc(&r);
	LKPI_CHECK(refcount_read(&r) == 2 && !refcount_dec_and_test(&r) && refcount_dec_and_test(&r));
	refcount_inc(&r);
	LKPI_CHECK(refcount_read(&r) == (unsigned int)REFCOUNT_SATURATED && REFCOUNT_SATURATED == INT_MIN / 2);
	LKPI_CHECK(!refcount_dec_and_test(&r) && !refcount_dec_and_lock(&r, &lock) && refcount_inc_not_zero(&r));
	refcount_set(&r, REFCOUNT_MAX);
	refcount_inc(&r);
	LKPI_CHECK(refcount_read(&r) == (unsigned int)REFCOUNT_SATURATED);
	refcount_set(&r, 0);
	LKPI_CHECK(!refcount_dec_and_test(&r) && refcount_read(&r) == (unsigned int)REFCOUNT_SATURATED);

	/* Plain atomics wrap. */
	LKPI_CHECK(atomic_add_unless(&a, 1, 0) && atomic_read(&a) == INT_MIN);
	LKPI_CHECK(!atomic_inc_unless_negative(&a) && atomic_dec_unless_positive(&a) && atomic_read(&a) == INT_MAX);
	atomic_andnot(1, &a);
	LKPI_CHECK(atomic_fetch_andnot(2, &a) == INT_MAX - 1 && atomic_read(&a) == INT_MAX - 3);
	atomic_set(&a, 2);
	LKPI_CHECK(atomic_dec_and_mutex_lock(&a, &mutex) == 0 && atomic_dec_and_mutex_lock(&a, &mutex) == 1);
	mutex_unlock(&mutex);
}

LKPI_SCENARIO(selftest_bits)
{
	unsigned long map[2] = { 0, 0 };
	unsigned long bit;
	atomic_long_t l = ATOMIC_LONG_INIT(5);
	long old = 5;
	int n = 0;

	LKPI_CHECK(find_first_bit(map, 100) == 100 && find_first_zero_bit(map, 100) == 0);
	LKPI_CHECK(!test_and_set_bit_lock(3, map) && test_and_set_bit_lock(3, map));
	LKPI_CHECK(!__test_and_set_bit(99, map) && !test_and_change_bit(64, map));
	for_each_set_bit(bit, map, 99)
		n += (int)bit;
	LKPI_CHECK(n == 67 && find_next_bit(map, 100, 65) == 99 && find_next_bit(map, 99, 65) == 99);
	LKPI_CHECK(find_next_zero_bit(map, 100, 3) == 4 && __test_and_clear_bit(99, map));
	LKPI_CHECK(fls64(0) == 0 && fls64(1UL << 63) == 64 && __fls(12) == 3 && ffz(7) == 3);
	LKPI_CHECK(ilog2(1) == 0 && ilog2(4095) == 11 && roundup_pow_of_two(5) == 8 && rounddown_pow_of_two(5) == 4);
	LKPI_CHECK(is_power_of_2(64) && !is_power_of_2(0) && round_up(5, 4) == 8 && IS_ALIGNED(8, 4));
	LKPI_CHECK(atomic_long_try_cmpxchg(&l, &old, 6) && !atomic_long_try_cmpxchg(&l, &old, 7) && old == 6);
	LKPI_CHECK(atomic_long_add_return(1, &l) == 7 && atomic_long_sub_and_test(7, &l));
}

struct item {
	struct list_head entry;
	int value;
};

LKPI_SCENARIO(selftest_lists)
{
	LIST_HEAD(a);
	LIST_HEAD(b);
	struct item items[4], *at, *next;
	int i, seen = 0;

	for (i = 0; i < 4; i++) {
		items[i].value = i;
		list_add_tail(&items[i].entry, i < 2 ? &a : &b);
	}
	list_splice_tail(&b, &a);
	list_for_each_entry_safe_reverse(at, next, &a, entry)
		seen = seen * 10 + at->value;
	LKPI_CHECK(seen == 3210 && list_is_first(&items[0].entry, &a));
	list_bulk_move_tail(&a, &items[1].entry, &items[2].entry);
	seen = 0;
	list_for_each_entry(at, &a, entry)
		seen = seen * 10 + at->value;
	LKPI_CHECK(seen == 312);
	LKPI_CHECK(list_first_entry_or_null(&a, struct item, entry) == &items[0]);
}

LKPI_SCENARIO(selftest_rwsem)
{
	static DECLARE_RWSEM(known);
	struct rw_semaphore sem;

	init_rwsem(&sem);
	LKPI_CHECK(!rwsem_is_locked(&sem));
	down_read(&sem);
	LKPI_CHECK(down_read_trylock(&sem) && !down_write_trylock(&sem) && rwsem_is_locked(&sem));
	up_read(&sem);
	up_read(&sem);
	LKPI_CHECK(down_write_killable(&sem) == 0 && rwsem_is_locked(&sem));
	lockdep_assert_held_write(&sem);
	downgrade_write(&sem);
	LKPI_CHECK(down_read_killable(&sem) == 0);
	up_read(&sem);
	up_read(&sem);
	LKPI_CHECK(!rwsem_is_locked(&sem));
	down_write(&known);
	up_write(&known);
}

struct flexible {
	size_t n;
	unsigned int values[];
};

LKPI_SCENARIO(selftest_slab)
{
	struct flexible *at;
	char *text;

	LKPI_CHECK(struct_size(at, values, 3) == sizeof(*at) + 12);
	LKPI_CHECK(struct_size(at, values, SIZE_MAX / 2) == SIZE_MAX);
	text = kstrdup("text", GFP_KERNEL);
	LKPI_CHECK(text != NULL && kstrdup(NULL, GFP_KERNEL) == NULL);
	text = krealloc(text, 100, GFP_KERNEL);
	LKPI_CHECK(text != NULL && strcmp(text, "text") == 0);
	LKPI_CHECK(krealloc_array(text, SIZE_MAX / 2, 3, GFP_KERNEL) == NULL);
	LKPI_CHECK(krealloc(text, 0, GFP_KERNEL) == NULL);
}

/* Those that wait, woken as they are: the last to come first, and one for each call. */
static int order;
static int waiting;
static DEFINE_SPINLOCK(event_lock);
static unsigned long word;

static void
wait_in_order(void *arg)
{
	DECLARE_WAITQUEUE(entry, current);
	int *place = arg;

	add_wait_queue(&queue, &entry);
	set_current_state(TASK_UNINTERRUPTIBLE);
	__atomic_add_fetch(&waiting, 1, __ATOMIC_SEQ_CST);
	schedule();
	*place = __atomic_add_fetch(&order, 1, __ATOMIC_SEQ_CST);
	remove_wait_queue(&queue, &entry);
}

static void
wait_for_event(void *arg)
{
	spin_lock_irq(&event_lock);
	wait_event_lock_irq(queue, (assert_spin_locked(&event_lock), READ_ONCE(order) == 7), event_lock);
	assert_spin_locked(&event_lock);
	spin_unlock_irq(&event_lock);
	LKPI_CHECK(wait_on_bit(&word, 5, TASK_UNINTERRUPTIBLE) == 0);
}

static void
make_event(void *arg)
{
	spin_lock_irq(&event_lock);
	WRITE_ONCE(order, 7);
	spin_unlock_irq(&event_lock);
	wake_up_all(&queue);
	clear_and_wake_up_bit(5, &word);
}

LKPI_SCENARIO(selftest_wait_lock_irq)
{
	const struct lkpi_syscall threads[] = {
		{ "waiter", LKPI_BATCH, -1, wait_for_event, NULL },
		{ "waker", LKPI_BATCH, -1, make_event, NULL },
	};

	set_bit(5, &word);
	LKPI_CHECK(wait_on_bit_timeout(&word, 5, TASK_UNINTERRUPTIBLE, 2) == -EWOULDBLOCK);
	LKPI_CHECK(!signal_pending(current) && !signal_pending_state(TASK_INTERRUPTIBLE, current));
	lkpi_syscalls(threads, ARRAY_SIZE(threads));
}

static int first_place, second_place;

static int
first_waiter(void *arg)
{
	wait_in_order(&first_place);
	return (0);
}

static int
second_waiter(void *arg)
{
	wait_in_order(&second_place);
	return (0);
}

LKPI_SCENARIO(selftest_wait_order)
{
	kthread_run(first_waiter, NULL, "first");
	while (READ_ONCE(waiting) != 1)
		msleep(1);
	kthread_run(second_waiter, NULL, "second");
	while (READ_ONCE(waiting) != 2)
		msleep(1);
	msleep(1);
	wake_up(&queue);
	msleep(5);
	LKPI_CHECK(READ_ONCE(second_place) == 1 && READ_ONCE(first_place) == 0);
	wake_up(&queue);
	msleep(5);
	LKPI_CHECK(READ_ONCE(first_place) == 2 && !waitqueue_active(&queue));
}

/* Enabled more often than disabled. */
LKPI_SCENARIO(selftest_preempt_underflow)
{
	preempt_enable();
}

LKPI_SCENARIO(selftest_irq_underflow)
{
	local_irq_enable();
}

LKPI_SCENARIO(selftest_bh_underflow)
{
	spinlock_t lock;

	spin_lock_init(&lock);
	spin_lock(&lock);
	spin_unlock_bh(&lock);
}

/*
 * The forms of taking and giving mix: preemption is counted, interrupts are a
 * flag, and neither knows of the other.
 */
static void
irq_mixes(bool told)
{
	spinlock_t a, b;
	rwlock_t rw;
	unsigned long f, g;

	spin_lock_init(&a);
	spin_lock_init(&b);
	rwlock_init(&rw);
	/* As irqsave and irqrestore are, in two parts. */
	local_irq_save(f);
	spin_lock(&a);
	spin_unlock_irqrestore(&a, f);
	LKPI_CHECK(!told || !irqs_disabled());
	spin_lock_irqsave(&a, f);
	spin_unlock(&a);
	LKPI_CHECK(!told || irqs_disabled());
	local_irq_restore(f);
	spin_lock_irq(&a);
	spin_unlock(&a);
	LKPI_CHECK(!told || irqs_disabled());
	local_irq_enable();
	local_irq_disable();
	spin_lock(&a);
	spin_unlock_irq(&a);
	LKPI_CHECK(!told || !irqs_disabled());
	/* The lock that goes last lets interrupts in. */
	spin_lock_irqsave(&a, f);
	spin_lock(&b);
	spin_unlock(&a);
	LKPI_CHECK(!told || irqs_disabled());
	spin_unlock_irqrestore(&b, f);
	spin_lock_irqsave(&a, f);
	spin_lock_irqsave(&b, g);
	spin_unlock_irqrestore(&a, g);
	LKPI_CHECK(!told || irqs_disabled());
	spin_unlock_irqrestore(&b, f);
	LKPI_CHECK(!told || !irqs_disabled());
	/* Saved as on, whoever switched them off again. */
	local_irq_save(f);
	local_irq_restore(f);
	spin_lock_irq(&a);
	spin_unlock_irqrestore(&a, f);
	LKPI_CHECK(!told || !irqs_disabled());
	/* An inner section that does not ask lets them in for the outer one. */
	spin_lock_irq(&a);
	spin_lock_irq(&b);
	spin_unlock_irq(&b);
	LKPI_CHECK(!told || !irqs_disabled());
	spin_unlock_irq(&a);
	local_irq_disable();
	local_irq_disable();
	local_irq_enable();
	LKPI_CHECK(!told || !irqs_disabled());
	local_irq_enable();
	/* Bottom halves are counted beside preemption. */
	spin_lock_bh(&a);
	spin_unlock(&a);
	local_bh_enable();
	local_bh_disable();
	read_lock(&rw);
	read_unlock_bh(&rw);
	local_irq_save(f);
	read_lock(&rw);
	read_unlock_irqrestore(&rw, f);
	write_lock_irq(&rw);
	write_unlock(&rw);
	local_irq_enable();
	LKPI_CHECK(!told || !irqs_disabled());
	/* Nothing is left: it may sleep. */
	msleep(1);
}

LKPI_SCENARIO(selftest_irq_mixes)
{
	irq_mixes(true);
}

/* Where irqs_disabled() knows of critical sections only. */
LKPI_SCENARIO(selftest_irq_mixes_untold)
{
	irq_mixes(false);
}

static int ready;

/* Drivers that poll with a deadline: their time comes. */
LKPI_SCENARIO(selftest_poll_deadline)
{
	unsigned long end = jiffies + msecs_to_jiffies(50);
	ktime_t timeout;

	while (!READ_ONCE(ready) && time_before(jiffies, end))
		cpu_relax();
	LKPI_CHECK(time_after_eq(jiffies, end) && time_before(jiffies, end + 50));

	/* As readl_poll_timeout does, and its atomic form. */
	timeout = ktime_add_us(ktime_get(), 20000);
	for (;;) {
		if (READ_ONCE(ready) || ktime_compare(ktime_get(), timeout) > 0)
			break;
		usleep_range(10, 20);
	}
	timeout = ktime_add_us(ktime_get(), 100000);
	for (;;) {
		if (READ_ONCE(ready) || ktime_compare(ktime_get(), timeout) > 0)
			break;
		udelay(1);
		cpu_relax();
	}
	timeout = ktime_add_us(ktime_get(), 100000);
	for (;;) {
		if (READ_ONCE(ready) || ktime_compare(ktime_get(), timeout) > 0)
			break;
		udelay(1);
	}
	end = jiffies;
	mdelay(7);
	LKPI_CHECK(jiffies - end >= 7);
}

LKPI_SCENARIO(selftest_ktime)
{
	ktime_t start = ktime_get();

	msleep(5);
	LKPI_CHECK(ktime_ms_delta(ktime_get(), start) >= 5 && ktime_after(ktime_get(), start));
	LKPI_CHECK(ktime_compare(ktime_add_us(start, 1000), ktime_add_ms(start, 1)) == 0);
	LKPI_CHECK(usecs_to_jiffies(1) == 1 && nsecs_to_jiffies(ktime_to_ns(ms_to_ktime(7))) == 7);
}

static struct list_head rcu_list;

static void
walk(void *arg)
{
	struct item *at;
	int last = -1;

	rcu_read_lock();
	list_for_each_entry_rcu(at, &rcu_list, entry) {
		LKPI_CHECK(at->value > last);
		last = at->value;
	}
	LKPI_CHECK(last == 1 || last == 2);
	rcu_read_unlock();
}

static void
change(void *arg)
{
	struct item *items = arg;

	items[2].value = 2;
	list_add_tail_rcu(&items[2].entry, &rcu_list);
	list_del_rcu(&items[0].entry);
	synchronize_rcu();
	memset(&items[0], 0xff, sizeof(items[0]));
}

LKPI_SCENARIO(selftest_rculist)
{
	struct item items[3] = { { .value = 0 }, { .value = 1 }, { .value = 0 } };
	const struct lkpi_syscall threads[] = {
		{ "reader", LKPI_BATCH, -1, walk, NULL },
		{ "writer", LKPI_BATCH, -1, change, items },
	};

	INIT_LIST_HEAD(&rcu_list);
	list_add_rcu(&items[1].entry, &rcu_list);
	list_add_rcu(&items[0].entry, &rcu_list);
	lkpi_syscalls(threads, ARRAY_SIZE(threads));
}
