/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * The headers themselves: every macro of the lock headers once, uncontended, under each mapping; static memory; and
 * what driver code may do wrong without ending more than its machine. compat-tests/tests/c_layout.rs runs it.
 */

#include <linux/atomic.h>
#include <linux/bitops.h>
#include <linux/completion.h>
#include <linux/delay.h>
#include <linux/interrupt.h>
#include <linux/irq_work.h>
#include <linux/kthread.h>
#include <linux/list.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/rcupdate.h>
#include <linux/seqlock.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/string.h>
#include <linux/timer.h>
#include <linux/wait.h>
#include <linux/workqueue.h>

#include <linuxkpi/layout.h>
#include <linuxkpi/scenario.h>

#include <sys/mutex.h>
#include <sys/sx.h>

static DEFINE_SPINLOCK(static_lock);
static DEFINE_RAW_SPINLOCK(static_raw_lock);
static DEFINE_RWLOCK(static_rwlock);
static DEFINE_SEQLOCK(static_seqlock);

/* All forms of one kind of spinlock. Nothing nests, so that FreeBSD's rules allow it under each mapping. */
#define EXERCISE_SPINLOCK(pre, lock) do {				\
	unsigned long flags_ = 0;					\
									\
	pre##_lock(lock);						\
	assert_##pre##_locked(lock);					\
	pre##_unlock(lock);						\
	pre##_lock_bh(lock);						\
	pre##_unlock_bh(lock);						\
	pre##_lock_irq(lock);						\
	pre##_unlock_irq(lock);						\
	pre##_lock_irqsave(lock, flags_);				\
	pre##_unlock_irqrestore(lock, flags_);				\
	pre##_lock_nested(lock, SINGLE_DEPTH_NESTING);			\
	pre##_unlock(lock);						\
	pre##_lock_irqsave_nested(lock, flags_, SINGLE_DEPTH_NESTING);	\
	pre##_unlock_irqrestore(lock, flags_);				\
	LKPI_CHECK(pre##_trylock(lock));				\
	pre##_unlock(lock);						\
	LKPI_CHECK(pre##_trylock_bh(lock));				\
	pre##_unlock_bh(lock);						\
	LKPI_CHECK(pre##_trylock_irq(lock));				\
	pre##_unlock_irq(lock);						\
	LKPI_CHECK(pre##_trylock_irqsave(lock, flags_));		\
	pre##_unlock_irqrestore(lock, flags_);				\
	LKPI_CHECK(!pre##_is_locked(lock));				\
} while (0)

LKPI_SCENARIO(selftest_spinlock)
{
	spinlock_t lock;
	raw_spinlock_t raw;
	atomic_t count = ATOMIC_INIT(2);
	unsigned long flags;

	spin_lock_init(&lock);
	raw_spin_lock_init(&raw);
	EXERCISE_SPINLOCK(spin, &lock);
	EXERCISE_SPINLOCK(raw_spin, &raw);
	EXERCISE_SPINLOCK(spin, &static_lock);
	EXERCISE_SPINLOCK(raw_spin, &static_raw_lock);

	spin_lock(&lock);
	lockdep_assert_held(&lock);
	LKPI_CHECK(lockdep_is_held(&lock));
	spin_unlock(&lock);

	/* In recycled memory, as drivers do. */
	spin_lock_init(&lock);
	LKPI_CHECK(!atomic_dec_and_lock(&count, &lock));
	LKPI_CHECK(atomic_dec_and_lock_irqsave(&count, &lock, flags));
	spin_unlock_irqrestore(&lock, flags);
	LKPI_CHECK(atomic_read(&count) == 0);
}

#define EXERCISE_RWLOCK(rw, lock) do {					\
	unsigned long flags_ = 0;					\
									\
	rw##_lock(lock);						\
	rw##_unlock(lock);						\
	rw##_lock_bh(lock);						\
	rw##_unlock_bh(lock);						\
	rw##_lock_irq(lock);						\
	rw##_unlock_irq(lock);						\
	rw##_lock_irqsave(lock, flags_);				\
	rw##_unlock_irqrestore(lock, flags_);				\
	rw##_lock_nested(lock, SINGLE_DEPTH_NESTING);			\
	rw##_unlock(lock);						\
	LKPI_CHECK(rw##_trylock(lock));					\
	rw##_unlock(lock);						\
	LKPI_CHECK(rw##_trylock_irqsave(lock, flags_));			\
	rw##_unlock_irqrestore(lock, flags_);				\
} while (0)

LKPI_SCENARIO(selftest_rwlock)
{
	rwlock_t lock;

	rwlock_init(&lock);
	EXERCISE_RWLOCK(read, &lock);
	EXERCISE_RWLOCK(write, &lock);
	EXERCISE_RWLOCK(read, &static_rwlock);
	EXERCISE_RWLOCK(write, &static_rwlock);
	rwlock_init(&lock);
	read_lock(&lock);
	lockdep_assert_held(&lock);
	read_unlock(&lock);
}

/* busted counts nothing: its readers see no writer. */
static bool
counts(void)
{
	return (strcmp(LKPI_MAPPING_NAME, "busted") != 0);
}

#define EXERCISE_SEQCOUNT(s) do {					\
	unsigned int start_;						\
									\
	do {								\
		start_ = read_seqcount_begin(s);			\
	} while (read_seqcount_retry((s), start_));			\
	write_seqcount_begin(s);					\
	LKPI_CHECK(!counts() || (raw_read_seqcount(s) & 1) != 0);	\
	write_seqcount_end(s);						\
	LKPI_CHECK(!counts() || read_seqcount_retry((s), start_));	\
	start_ = raw_seqcount_begin(s);					\
	LKPI_CHECK(!read_seqcount_retry((s), start_));			\
	raw_write_seqcount_begin(s);					\
	raw_write_seqcount_end(s);					\
	start_ = raw_read_seqcount(s);					\
	write_seqcount_invalidate(s);					\
	LKPI_CHECK(!counts() || read_seqcount_retry((s), start_));	\
} while (0)

LKPI_SCENARIO(selftest_seqcount)
{
	seqcount_t plain;
	seqcount_spinlock_t with_spinlock;
	seqcount_raw_spinlock_t with_raw_spinlock;
	seqcount_rwlock_t with_rwlock;
	seqcount_mutex_t with_mutex;
	seqcount_ww_mutex_t with_ww_mutex;
	spinlock_t lock;

	spin_lock_init(&lock);
	seqcount_init(&plain);
	seqcount_spinlock_init(&with_spinlock, &lock);
	seqcount_raw_spinlock_init(&with_raw_spinlock, &static_raw_lock);
	seqcount_rwlock_init(&with_rwlock, &static_rwlock);
	seqcount_mutex_init(&with_mutex, NULL);
	seqcount_ww_mutex_init(&with_ww_mutex, NULL);

	EXERCISE_SEQCOUNT(&plain);
	EXERCISE_SEQCOUNT(&with_spinlock);
	EXERCISE_SEQCOUNT(&with_raw_spinlock);
	EXERCISE_SEQCOUNT(&with_rwlock);
	EXERCISE_SEQCOUNT(&with_mutex);
	EXERCISE_SEQCOUNT(&with_ww_mutex);

	spin_lock(&lock);
	write_seqcount_begin(&with_spinlock);
	write_seqcount_end(&with_spinlock);
	spin_unlock(&lock);
	seqcount_init(&plain);
	LKPI_CHECK(read_seqcount_begin(&plain) == 0);
}

static void
exercise_seqlock(seqlock_t *sl)
{
	unsigned long flags = 0;
	unsigned int start;
	int seq;

	do {
		start = read_seqbegin(sl);
	} while (read_seqretry(sl, start));
	write_seqlock(sl);
	write_sequnlock(sl);
	LKPI_CHECK(!counts() || read_seqretry(sl, start));
	write_seqlock_bh(sl);
	write_sequnlock_bh(sl);
	write_seqlock_irq(sl);
	write_sequnlock_irq(sl);
	write_seqlock_irqsave(sl, flags);
	write_sequnlock_irqrestore(sl, flags);

	start = read_seqbegin(sl);
	read_seqlock_excl(sl);
	read_sequnlock_excl(sl);
	read_seqlock_excl_bh(sl);
	read_sequnlock_excl_bh(sl);
	read_seqlock_excl_irq(sl);
	read_sequnlock_excl_irq(sl);
	read_seqlock_excl_irqsave(sl, flags);
	read_sequnlock_excl_irqrestore(sl, flags);
	/* Exclusive readers make nobody retry. */
	LKPI_CHECK(!read_seqretry(sl, start));

	for (seq = 0; seq < 2; seq++) {
		read_seqbegin_or_lock(sl, &seq);
		LKPI_CHECK(!need_seqretry(sl, seq));
		done_seqretry(sl, seq);
		seq &= 1;
	}
}

LKPI_SCENARIO(selftest_seqlock)
{
	/* LinuxKPI's seqlock_init() takes what an old stack has there for a lock that is initialised already. */
	seqlock_t sl = { 0 };

	seqlock_init(&sl);
	exercise_seqlock(&sl);
	/* Not twice: LinuxKPI's seqlock_init() does not allow it. */
	exercise_seqlock(&static_seqlock);
}

LKPI_SCENARIO(selftest_context)
{
	unsigned long flags;
	u_int before = curthread->td_critnest;

	preempt_disable();
	preempt_disable();
	preempt_enable();
	preempt_enable();
	local_irq_save(flags);
	local_irq_restore(flags);
	local_irq_disable();
	local_irq_enable();
	local_bh_disable();
	local_bh_enable();
	LKPI_CHECK(curthread->td_critnest == before);
	LKPI_CHECK(curthread->td_intr_nesting_level == 0);

	critical_enter();
	LKPI_CHECK(curthread->td_critnest == before + 1);
	LKPI_CHECK(in_atomic() && in_interrupt() && irqs_disabled());
	critical_exit();
	LKPI_CHECK(!in_interrupt() && in_task());
}

/* A static sequence count needs no init function where the count is all there is. */
static seqcount_t static_count = SEQCNT_ZERO(static_count);

LKPI_SCENARIO(selftest_zeroed_count)
{
	EXERCISE_SEQCOUNT(&static_count);
}

/* FreeBSD's own mutexes, by the symbols that modules call. */
LKPI_SCENARIO(selftest_mtx)
{
	static struct mtx def, spin;

	mtx_init(&def, "selftest", NULL, MTX_DEF | MTX_RECURSE);
	mtx_init(&spin, "selftest spin", NULL, MTX_SPIN);
	mtx_lock(&def);
	mtx_lock(&def);
	LKPI_CHECK(mtx_owned(&def) && mtx_recursed(&def));
	mtx_assert(&def, MA_OWNED | MA_RECURSED);
	mtx_unlock(&def);
	mtx_unlock(&def);
	LKPI_CHECK(mtx_trylock(&def));
	mtx_unlock(&def);
	mtx_lock_spin(&spin);
	LKPI_CHECK(curthread->td_critnest != 0);
	mtx_unlock_spin(&spin);
	LKPI_CHECK(mtx_trylock_spin(&spin));
	mtx_unlock_spin(&spin);
	mtx_destroy(&spin);
	mtx_destroy(&def);
}

LKPI_SCENARIO(selftest_atomics)
{
	static atomic_t a;
	static atomic64_t b;
	static unsigned long bits[2];
	LIST_HEAD(list);
	struct list_head nodes[3], *pos;
	int n = 0;

	atomic_set(&a, 1);
	atomic_inc(&a);
	LKPI_CHECK(atomic_add_return(3, &a) == 5);
	LKPI_CHECK(atomic_cmpxchg(&a, 5, 7) == 5);
	LKPI_CHECK(atomic_cmpxchg(&a, 5, 9) == 7);
	LKPI_CHECK(atomic_xchg(&a, 1) == 7);
	LKPI_CHECK(atomic_inc_not_zero(&a));
	LKPI_CHECK(!atomic_dec_and_test(&a));
	LKPI_CHECK(atomic_dec_and_test(&a));
	LKPI_CHECK(!atomic_inc_not_zero(&a));
	atomic64_add(1LL << 40, &b);
	LKPI_CHECK(atomic64_read(&b) == 1LL << 40);

	set_bit(65, bits);
	LKPI_CHECK(bits[1] == 2 && test_bit(65, bits));
	LKPI_CHECK(test_and_clear_bit(65, bits));
	LKPI_CHECK(!test_and_set_bit(1, bits));
	WRITE_ONCE(bits[1], 5);
	LKPI_CHECK(READ_ONCE(bits[1]) == 5);

	for (size_t i = 0; i < ARRAY_SIZE(nodes); i++)
		list_add_tail(&nodes[i], &list);
	list_for_each(pos, &list)
		LKPI_CHECK(pos == &nodes[n++]);
	list_del_init(&nodes[1]);
	LKPI_CHECK(nodes[0].next == &nodes[2] && n == 3);
}

/* SYSINITs run by subsystem, then by order, wherever they stand; locks' come before drivers'. */
static char booted[8];
static int steps;

static void
boot_step(void *letter)
{
	if (*(char *)letter == 'c')
		spin_lock(&static_lock);
	booted[steps++] = *(char *)letter;
	if (*(char *)letter == 'c')
		spin_unlock(&static_lock);
}

SYSINIT(boot_d, SI_SUB_LAST, SI_ORDER_ANY, boot_step, "e");
SYSINIT(boot_c, SI_SUB_DRIVERS, SI_ORDER_ANY, boot_step, "d");
SYSINIT(boot_b, SI_SUB_DRIVERS, SI_ORDER_FIRST, boot_step, "c");
SYSINIT(boot_a, SI_SUB_KMEM, SI_ORDER_SECOND, boot_step, "b");
SYSINIT(boot_0, SI_SUB_KMEM, SI_ORDER_FIRST, boot_step, "a");

LKPI_SCENARIO(selftest_sysinit)
{
	LKPI_CHECK(steps == 5 && memcmp(booted, "abcde", 5) == 0);
}

/* Static memory is that of a unit just loaded, in each execution. */
static int zero_counter;
static int data_counter = 41;

LKPI_SCENARIO(selftest_statics)
{
	static bool warned;

	LKPI_CHECK(zero_counter == 0);
	LKPI_CHECK(data_counter == 41);
	LKPI_CHECK(!warned);
	zero_counter++;
	data_counter++;
	warned = true;
	spin_lock(&static_lock);
	/* Left locked, and its list of memory dirty: the next execution must not see it. */
}

LKPI_SCENARIO(selftest_panic)
{
	spin_lock_init(&static_lock);
	panic("selftest: %s, %d", "panic", 7);
}

LKPI_SCENARIO(selftest_endless_loop)
{
	for (;;)
		barrier();
}

LKPI_SCENARIO(selftest_null_dereference)
{
	int *nowhere = NULL;

	OPTIMIZER_HIDE_VAR(nowhere);
	*nowhere = 1;
}

LKPI_SCENARIO(selftest_null_lock)
{
	spinlock_t *nowhere = NULL;

	OPTIMIZER_HIDE_VAR(nowhere);
	spin_lock(nowhere);
}

static noinline int
deeper(int n)
{
	volatile char frame[4096];

	frame[0] = (char)n;
	if (n == INT_MAX)
		return (0);
	return (deeper(n + 1) + frame[0]);
}

LKPI_SCENARIO(selftest_stack_overflow)
{
	LKPI_CHECK(deeper(0) != 1);
}


/* Plain memory that two threads share, with and without the lock. */
static unsigned long shared;

static void
increment_unlocked(void *arg)
{
	shared++;
}

static void
increment_locked(void *arg)
{
	spin_lock(&static_lock);
	shared++;
	spin_unlock(&static_lock);
}

static void
increment_twice(void (*func)(void *))
{
	const struct lkpi_syscall threads[] = {
		{ "one", LKPI_BATCH, -1, func, NULL },
		{ "two", LKPI_BATCH, -1, func, NULL },
	};

	lkpi_syscalls(threads, ARRAY_SIZE(threads));
	LKPI_CHECK(shared == 2);
}

LKPI_SCENARIO(selftest_data_race)
{
	increment_twice(increment_unlocked);
}

LKPI_SCENARIO(selftest_no_data_race)
{
	increment_twice(increment_locked);
}

/* One thread waits for another by looking: a spin loop's read set is what it read. */
static int flag;

static void
set_flag(void *arg)
{
	WRITE_ONCE(flag, 1);
}

static void
wait_for_flag(void *arg)
{
	while (READ_ONCE(flag) == 0)
		cpu_relax();
}

LKPI_SCENARIO(selftest_spin_wait)
{
	const struct lkpi_syscall threads[] = {
		{ "waiter", LKPI_BATCH, 0, wait_for_flag, NULL },
		{ "setter", LKPI_BATCH, 1, set_flag, NULL },
	};

	lkpi_syscalls(threads, ARRAY_SIZE(threads));
}

LKPI_SCENARIO(selftest_livelock)
{
	const struct lkpi_syscall threads[] = {
		{ "waiter", LKPI_BATCH, 0, wait_for_flag, NULL },
	};

	lkpi_syscalls(threads, ARRAY_SIZE(threads));
}

LKPI_SCENARIO(selftest_use_after_free)
{
	unsigned long *at = kmalloc(sizeof(*at), GFP_KERNEL);

	BUG_ON(at == NULL);
	kfree(at);
	OPTIMIZER_HIDE_VAR(at);
	*at = 1;
}

LKPI_SCENARIO(selftest_leak)
{
	LKPI_CHECK(kmalloc(100, GFP_KERNEL) != NULL);
}

/* Threads that wait, in C frames, when another one panics: the machine unwinds them. */
static DECLARE_WAIT_QUEUE_HEAD(queue);
static DECLARE_COMPLETION(never);

static void
wait_for_ever(void *arg)
{
	spinlock_t lock;

	spin_lock_init(&lock);
	spin_lock(&lock);
	spin_unlock(&lock);
	if (arg != NULL)
		wait_event(queue, READ_ONCE(flag) != 0);
	else
		wait_for_completion(&never);
}

static void
give_up(void *arg)
{
	panic("giving up");
}

LKPI_SCENARIO(selftest_unwind)
{
	const struct lkpi_syscall threads[] = {
		{ "waits in wait_event", LKPI_INTERACTIVE, 0, wait_for_ever, &flag },
		{ "waits in completion", LKPI_INTERACTIVE, 0, wait_for_ever, NULL },
		{ "gives up", LKPI_BATCH, 0, give_up, NULL },
	};

	lkpi_syscalls(threads, ARRAY_SIZE(threads));
}

/* The other headers, once. */
struct object {
	struct rcu_head rcu;
	struct work_struct work;
	struct delayed_work dwork;
	struct irq_work irq_work;
	struct tasklet_struct tasklet;
	struct timer_list timer;
	struct completion done;
	int value;
};

static int
kthread_body(void *arg)
{
	struct object *object = arg;

	complete(&object->done);
	while (!kthread_should_stop())
		msleep(1);
	return (42);
}

static void
work_body(struct work_struct *work)
{
	container_of(work, struct object, work)->value++;
}

static void
delayed_work_body(struct work_struct *work)
{
	container_of(to_delayed_work(work), struct object, dwork)->value++;
}

static void
tasklet_body(struct tasklet_struct *tasklet)
{
	struct object *object = from_tasklet(object, tasklet, tasklet);

	complete(&object->done);
}

static void
tasklet_body_with_data(unsigned long data)
{
	complete((struct completion *)data);
}

static void
irq_work_body(struct irq_work *work)
{
	complete(&container_of(work, struct object, irq_work)->done);
}

static void
timer_body(struct timer_list *timer)
{
	struct object *object = from_timer(object, timer, timer);

	WRITE_ONCE(object->value, 7);
	wake_up_all(&queue);
}

static void
free_object(struct rcu_head *head)
{
	kfree(container_of(head, struct object, rcu));
}

LKPI_SCENARIO(selftest_headers)
{
	static DEFINE_MUTEX(mutex);
	struct object *object = kzalloc(sizeof(*object), GFP_KERNEL);
	struct workqueue_struct *wq;
	struct kmem_cache *cache;
	struct task_struct *task;
	void *at;

	BUG_ON(object == NULL);
	init_completion(&object->done);
	task = kthread_run(kthread_body, object, "kthread/%d", 1);
	BUG_ON(IS_ERR(task));
	wait_for_completion(&object->done);
	LKPI_CHECK(kthread_stop(task) == 42);

	INIT_WORK(&object->work, work_body);
	LKPI_CHECK(schedule_work(&object->work));
	flush_work(&object->work);
	LKPI_CHECK(object->value == 1);
	wq = alloc_ordered_workqueue("selftest", 0);
	BUG_ON(wq == NULL);
	LKPI_CHECK(queue_work(wq, &object->work));
	flush_workqueue(wq);
	LKPI_CHECK(object->value == 2);
	destroy_workqueue(wq);

	INIT_DELAYED_WORK(&object->dwork, delayed_work_body);
	LKPI_CHECK(schedule_delayed_work(&object->dwork, 1000));
	LKPI_CHECK(delayed_work_pending(&object->dwork) && work_busy(&object->dwork.work));
	LKPI_CHECK(time_after(object->dwork.timer.expires, jiffies));
	LKPI_CHECK(mod_delayed_work(system_wq, &object->dwork, 1));
	msleep(3);
	flush_delayed_work(&object->dwork);
	LKPI_CHECK(object->value == 3);
	LKPI_CHECK(queue_delayed_work(system_wq, &object->dwork, 1000));
	LKPI_CHECK(cancel_delayed_work(&object->dwork) && !cancel_delayed_work_sync(&object->dwork));

	reinit_completion(&object->done);
	tasklet_setup(&object->tasklet, tasklet_body);
	tasklet_schedule(&object->tasklet);
	wait_for_completion(&object->done);
	tasklet_kill(&object->tasklet);
	tasklet_init(&object->tasklet, tasklet_body_with_data, (unsigned long)&object->done);
	tasklet_disable(&object->tasklet);
	tasklet_hi_schedule(&object->tasklet);
	LKPI_CHECK(wait_for_completion_timeout(&object->done, 3) == 0);
	tasklet_enable(&object->tasklet);
	tasklet_hi_schedule(&object->tasklet);
	wait_for_completion(&object->done);
	tasklet_kill(&object->tasklet);
	LKPI_CHECK(tasklet_trylock(&object->tasklet) && !tasklet_trylock(&object->tasklet));
	tasklet_unlock(&object->tasklet);

	reinit_completion(&object->done);
	init_irq_work(&object->irq_work, irq_work_body);
	irq_work_queue(&object->irq_work);
	LKPI_CHECK(wait_for_completion_timeout(&object->done, 100) != 0);

	timer_setup(&object->timer, timer_body, 0);
	mod_timer(&object->timer, jiffies + 2);
	LKPI_CHECK(wait_event_timeout(queue, READ_ONCE(object->value) == 7, 100) > 0);
	del_timer_sync(&object->timer);
	LKPI_CHECK(wait_event_timeout(queue, false, 2) == 0);

	mutex_lock(&mutex);
	lockdep_assert_held(&mutex);
	LKPI_CHECK(mutex_is_locked(&mutex));
	mutex_unlock(&mutex);

	cache = KMEM_CACHE(object, 0);
	at = kmem_cache_zalloc(cache, GFP_KERNEL);
	LKPI_CHECK(at != NULL && ksize(at) >= sizeof(*object));
	kmem_cache_free(cache, at);
	kmem_cache_destroy(cache);

	rcu_read_lock();
	LKPI_CHECK(rcu_read_lock_held());
	rcu_read_unlock();
	synchronize_rcu();
	might_sleep();
	cond_resched();
	udelay(10);
	call_rcu(&object->rcu, free_object);
	rcu_barrier();
}

/* The mutex is held, and a signal comes: before the wait, or in it. */
static struct mutex contested;
static struct thread *interrupted;

static void
wait_interruptibly(void *arg)
{

	__atomic_store_n(&interrupted, curthread, __ATOMIC_SEQ_CST);
	LKPI_CHECK(mutex_lock_interruptible(&contested) == -EINTR);
	LKPI_CHECK(mutex_lock_killable(&contested) == -EINTR);
	LKPI_CHECK(!sx_xlocked(&contested.sx));
}

static void
interrupt_it(void *arg)
{
	struct thread *td;

	while ((td = __atomic_load_n(&interrupted, __ATOMIC_SEQ_CST)) == NULL)
		pause("signal", 1);
	lkpi_signal(td);
}

LKPI_SCENARIO(selftest_mutex_interruptible)
{
	const struct lkpi_syscall threads[] = {
		{ "waiter", LKPI_BATCH, -1, wait_interruptibly, NULL },
		{ "signal", LKPI_BATCH, -1, interrupt_it, NULL },
	};

	mutex_init(&contested);
	LKPI_CHECK(mutex_lock_interruptible(&contested) == 0);
	lkpi_syscalls(threads, nitems(threads));
	LKPI_CHECK(sx_xlocked(&contested.sx));
	mutex_unlock(&contested);
	LKPI_CHECK(mutex_lock_killable_nested(&contested, SINGLE_DEPTH_NESTING) == 0);
	mutex_unlock(&contested);
	mutex_destroy(&contested);
}

/* FreeBSD's messages name the line of the C macro. */
LKPI_SCENARIO(selftest_recursion)
{
	spin_lock(&static_lock);
#line 1000 "driver.c"
	spin_lock(&static_lock);
}
