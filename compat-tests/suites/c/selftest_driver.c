/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * What a FreeBSD driver uses around its locks: lists, counts, memory, times, timeout tasks. A file of its own, since its SYSINITs run in
 * each of its scenarios. compat-tests/tests/c_sys.rs runs it.
 */

#include <linuxkpi/scenario.h>

#include <machine/atomic.h>
#include <sys/callout.h>
#include <sys/counter.h>
#include <sys/cpuset.h>
#include <sys/errno.h>
#include <sys/lockmgr.h>
#include <sys/malloc.h>
#include <sys/mutex.h>
#include <sys/queue.h>
#include <sys/refcount.h>
#include <sys/rwlock.h>
#include <sys/sema.h>
#include <sys/taskqueue.h>
#include <sys/time.h>

MALLOC_DEFINE(M_DRIVER, "driver", "what the driver has");
TASKQUEUE_DEFINE_THREAD(driver);
TASKQUEUE_FAST_DEFINE_THREAD(quick);

struct item {
	int n;
	SLIST_ENTRY(item) single;
	STAILQ_ENTRY(item) tailed;
	LIST_ENTRY(item) list;
	TAILQ_ENTRY(item) queue;
};
SLIST_HEAD(singles, item);
STAILQ_HEAD(taileds, item);
LIST_HEAD(lists, item);
TAILQ_HEAD(queues, item);

/* What a list has, as decimal digits. */
#define DIGITS(foreach, head, field) __extension__ ({			\
	struct item *lkpi_item_;					\
	int lkpi_n_ = 0;						\
									\
	foreach(lkpi_item_, (head), field)				\
		lkpi_n_ = 10 * lkpi_n_ + lkpi_item_->n;			\
	lkpi_n_;							\
})

LKPI_SCENARIO(selftest_driver_queue)
{
	static struct taileds taileds = STAILQ_HEAD_INITIALIZER(taileds), others = STAILQ_HEAD_INITIALIZER(others);
	static struct queues queues = TAILQ_HEAD_INITIALIZER(queues), more = TAILQ_HEAD_INITIALIZER(more);
	struct singles singles = SLIST_HEAD_INITIALIZER(singles);
	struct lists lists = LIST_HEAD_INITIALIZER(lists);
	struct item items[6], *item, *next;
	int n = 0, i;

	for (i = 0; i < 6; i++)
		items[i].n = i;

	SLIST_INSERT_HEAD(&singles, &items[3], single);
	SLIST_INSERT_HEAD(&singles, &items[1], single);
	SLIST_INSERT_AFTER(&items[1], &items[2], single);
	LKPI_CHECK(DIGITS(SLIST_FOREACH, &singles, single) == 123);
	SLIST_REMOVE(&singles, &items[2], item, single);
	SLIST_REMOVE_AFTER(&items[1], single);
	SLIST_REMOVE_HEAD(&singles, single);
	LKPI_CHECK(SLIST_EMPTY(&singles));

	LKPI_CHECK(STAILQ_LAST(&taileds, item, tailed) == NULL);
	STAILQ_INSERT_TAIL(&taileds, &items[2], tailed);
	STAILQ_INSERT_HEAD(&taileds, &items[1], tailed);
	STAILQ_INSERT_AFTER(&taileds, &items[2], &items[3], tailed);
	STAILQ_INSERT_TAIL(&others, &items[4], tailed);
	STAILQ_CONCAT(&taileds, &others);
	LKPI_CHECK(DIGITS(STAILQ_FOREACH, &taileds, tailed) == 1234 && STAILQ_EMPTY(&others));
	STAILQ_REMOVE(&taileds, &items[4], item, tailed);
	LKPI_CHECK(STAILQ_LAST(&taileds, item, tailed) == &items[3]);
	STAILQ_FOREACH_SAFE(item, &taileds, tailed, next)
		STAILQ_REMOVE_HEAD(&taileds, tailed);
	STAILQ_INSERT_TAIL(&taileds, &items[5], tailed);
	LKPI_CHECK(DIGITS(STAILQ_FOREACH, &taileds, tailed) == 5);

	LIST_INSERT_HEAD(&lists, &items[2], list);
	LIST_INSERT_BEFORE(&items[2], &items[1], list);
	LIST_INSERT_AFTER(&items[2], &items[3], list);
	LKPI_CHECK(DIGITS(LIST_FOREACH, &lists, list) == 123);
	LKPI_CHECK(LIST_PREV(&items[3], &lists, item, list) == &items[2]);
	LKPI_CHECK(LIST_PREV(&items[1], &lists, item, list) == NULL);
	LIST_REMOVE(&items[1], list);
	LIST_REMOVE(&items[3], list);
	LKPI_CHECK(DIGITS(LIST_FOREACH, &lists, list) == 2);
	LIST_FOREACH_SAFE(item, &lists, list, next)
		LIST_REMOVE(item, list);
	LKPI_CHECK(LIST_EMPTY(&lists));

	LKPI_CHECK(TAILQ_LAST(&queues, queues) == NULL);
	TAILQ_INSERT_TAIL(&queues, &items[3], queue);
	TAILQ_INSERT_HEAD(&queues, &items[1], queue);
	TAILQ_INSERT_BEFORE(&items[3], &items[2], queue);
	TAILQ_INSERT_AFTER(&queues, &items[3], &items[4], queue);
	TAILQ_INSERT_TAIL(&more, &items[5], queue);
	TAILQ_CONCAT(&queues, &more, queue);
	LKPI_CHECK(DIGITS(TAILQ_FOREACH, &queues, queue) == 12345 && TAILQ_EMPTY(&more));
	TAILQ_FOREACH_REVERSE(item, &queues, queues, queue)
		n = 10 * n + item->n;
	LKPI_CHECK(n == 54321 && TAILQ_LAST(&queues, queues) == &items[5]);
	TAILQ_REMOVE(&queues, &items[5], queue);
	TAILQ_REMOVE(&queues, &items[2], queue);
	LKPI_CHECK(TAILQ_LAST(&queues, queues) == &items[4] && TAILQ_PREV(&items[3], queues, queue) == &items[1]);
	TAILQ_FOREACH_REVERSE_SAFE(item, &queues, queues, queue, next)
		TAILQ_REMOVE(&queues, item, queue);
	LKPI_CHECK(TAILQ_EMPTY(&queues) && TAILQ_LAST(&queues, queues) == NULL);
}

LKPI_SCENARIO(selftest_driver_counts)
{
	static volatile u_int count, word;
	static volatile u_long wide = 5;
	static void *pointer;
	u_int old = 1;
	cpuset_t a, b;

	atomic_add_int(&word, 7);
	atomic_set_rel_int(&word, 8);
	atomic_clear_acq_int(&word, 1);
	atomic_subtract_int(&word, 2);
	LKPI_CHECK(atomic_load_acq_int(&word) == 12 && atomic_fetchadd_int(&word, 1) == 12);
	LKPI_CHECK(!atomic_fcmpset_int(&word, &old, 2) && old == 13 && atomic_fcmpset_acq_int(&word, &old, 2));
	LKPI_CHECK(atomic_cmpset_rel_int(&word, 2, 4) && !atomic_cmpset_int(&word, 2, 4));
	LKPI_CHECK(atomic_testandset_int(&word, 34) && !atomic_testandset_int(&word, 0) && word == 5);
	LKPI_CHECK(atomic_testandclear_int(&word, 0) && atomic_swap_int(&word, 9) == 4);
	LKPI_CHECK(atomic_readandclear_int(&word) == 9 && word == 0);
	LKPI_CHECK(atomic_swap_long(&wide, 1UL << 40) == 5 && atomic_testandset_long(&wide, 40));
	atomic_store_ptr(&pointer, &old);
	LKPI_CHECK(atomic_load_ptr(&pointer) == &old);
	atomic_thread_fence_seq_cst();

	refcount_init(&count, 1);
	LKPI_CHECK(refcount_acquire(&count) == 1 && refcount_load(&count) == 2);
	LKPI_CHECK(refcount_release_if_not_last(&count) && !refcount_release_if_not_last(&count));
	LKPI_CHECK(refcount_acquire_checked(&count) && !refcount_release_if_last(&count) && !refcount_release(&count));
	LKPI_CHECK(refcount_acquire_if_not_zero(&count) && !refcount_release(&count) && refcount_release(&count));
	LKPI_CHECK(!refcount_acquire_if_not_zero(&count) && !refcount_release_if_not_last(&count) && count == 0);

	CPU_ZERO(&a);
	LKPI_CHECK(CPU_EMPTY(&a) && CPU_FFS(&a) == 0);
	CPU_SET(70, &a);
	CPU_SETOF(3, &b);
	LKPI_CHECK(CPU_FFS(&a) == 71 && CPU_CMP(&a, &b) != 0 && !CPU_SUBSET(&a, &b));
	CPU_ORS(&a, &b);
	LKPI_CHECK(CPU_COUNT(&a) == 2 && CPU_SUBSET(&a, &b));
	CPU_ANDNOTS(&a, &b);
	CPU_COPY(&a, &b);
	LKPI_CHECK(CPU_CMP(&a, &b) == 0 && CPU_COUNT(&b) == 1);
	LKPI_CHECK(roundup(13, 5) == 15 && roundup2(13, 8) == 16 && MAX(1, 2) == MIN(2, 3) && powerof2(64));
}

LKPI_SCENARIO(selftest_driver_refcount_wraps)
{
	static volatile u_int count;

	refcount_init(&count, 0);
	(void)refcount_release(&count);
	/* It stays where nobody comes to zero. */
	LKPI_CHECK(count == REFCOUNT_SATURATION_VALUE);
}

LKPI_SCENARIO(selftest_driver_malloc)
{
	char *at = malloc(10, M_DRIVER, M_WAITOK | M_ZERO), *other;

	LKPI_CHECK(at[0] == 0 && at[9] == 0);
	at[9] = 7;
	at = realloc(at, 20, M_DRIVER, M_WAITOK);
	LKPI_CHECK(at[9] == 7);
	other = mallocarray(4, 8, M_TEMP, M_NOWAIT);
	zfree(other, M_TEMP);
	zfree(NULL, M_TEMP);
	free(at, M_DRIVER);
	free(NULL, M_DRIVER);
	/* Neither M_WAITOK nor M_NOWAIT. */
	free(malloc(1, M_TEMP, 0), M_TEMP);
}

LKPI_SCENARIO(selftest_driver_mallocarray_overflows)
{

	free(mallocarray((size_t)1 << 62, 8, M_TEMP, M_NOWAIT), M_TEMP);
}

static int runs;

static void
count_run(void *arg)
{

	atomic_add_int((u_int *)&runs, 1);
}

LKPI_SCENARIO(selftest_driver_time)
{
	static struct callout callout;
	static struct mtx_padalign mtx;
	static struct lock lk;
	static struct rwlock_padalign rw;
	static struct rwlock interlock;
	sbintime_t start;
	int now, ms;

	LKPI_CHECK(mstosbt(1500) == SBT_1S + SBT_1S / 2 && sbttoms(SBT_1M) == 60000 && ustosbt(1) > 0);
	LKPI_CHECK(sbttons(nstosbt(1234567890123LL)) == 1234567890123LL && sbttous(ustosbt(7)) == 7);
	for (ms = 1; ms < 2000; ms += 7)
		LKPI_CHECK(sbttoms(mstosbt(ms)) == ms);
	/* Whole ticks are no more ticks, however they are written. */
	now = ticks;
	pause_sbt("time", mstosbt(7), 0, 0);
	pause_sbt("time", 13 * SBT_1MS, 0, C_PREL(2));
	pause_sbt("time", 3 * tick_sbt, 0, C_HARDCLOCK);
	LKPI_CHECK(ticks - now == 23);
	start = sbinuptime();
	now = ticks;
	LKPI_CHECK(sbttoms(start) == now);
	LKPI_CHECK(pause_sbt("until", start + mstosbt(9), 0, C_ABSOLUTE) == EWOULDBLOCK);
	LKPI_CHECK(ticks - now == 9);

	mtx_init(&mtx, "padded", NULL, MTX_DEF);
	callout_init_mtx(&callout, &mtx, 0);
	mtx_lock(&mtx);
	start = sbinuptime();
	callout_reset_sbt(&callout, start + mstosbt(5), 0, count_run, NULL, C_ABSOLUTE);
	LKPI_CHECK(mtx_sleep(&mtx, &mtx, 0, "not yet", 4) == EWOULDBLOCK && runs == 0);
	LKPI_CHECK(msleep_sbt(&mtx, &mtx, 0, "due", start + mstosbt(7), 0, C_ABSOLUTE) == EWOULDBLOCK && runs == 1);
	LKPI_CHECK(callout_schedule_sbt(&callout, mstosbt(2), 0, C_PREL(1)) == 0);
	LKPI_CHECK(mtx_sleep(&mtx, &mtx, 0, "again", 4) == EWOULDBLOCK && runs == 2);
	mtx_unlock(&mtx);
	callout_drain(&callout);
	mtx_destroy(&mtx);

	rw_init(&rw, "padded");
	rw_wlock(&rw);
	rw_wunlock(&rw);
	rw_destroy(&rw);

	rw_init(&interlock, "interlock");
	lockinit(&lk, 0, "lk", 0, 0);
	rw_wlock(&interlock);
	LKPI_CHECK(lockmgr_rw(&lk, LK_EXCLUSIVE | LK_INTERLOCK, &interlock) == 0 && !rw_wowned(&interlock));
	lockallowrecurse(&lk);
	LKPI_CHECK(lockmgr(&lk, LK_EXCLUSIVE, NULL) == 0 && lockmgr_recursed(&lk));
	lockmgr(&lk, LK_RELEASE, NULL);
	lockdisablerecurse(&lk);
	LKPI_CHECK(lockmgr(&lk, LK_EXCLUSIVE | LK_NOWAIT, NULL) == EBUSY);
	lockdisableshare(&lk);
	lockmgr(&lk, LK_RELEASE, NULL);
	LKPI_CHECK(lockmgr(&lk, LK_SHARED, NULL) == 0 && lockstatus(&lk) == LK_EXCLUSIVE);
	lockmgr(&lk, LK_RELEASE, NULL);
	lockdestroy(&lk);
	rw_destroy(&interlock);
}

static struct thread *sleeper;

static void
sleeps(void *arg)
{

	atomic_store_ptr(&sleeper, curthread);
	LKPI_CHECK(pause_sig("signal", 1000000) == EINTR);
}

static void
signals(void *arg)
{

	while (atomic_load_ptr(&sleeper) == NULL)
		cpu_spinwait();
	DELAY(10);
	lkpi_signal(atomic_load_ptr(&sleeper));
}

LKPI_SCENARIO(selftest_driver_pause_sig)
{
	const struct lkpi_syscall threads[] = {
		{ "sleeps", LKPI_BATCH, -1, sleeps, NULL },
		{ "signals", LKPI_BATCH, -1, signals, NULL },
	};

	lkpi_syscalls(threads, nitems(threads));
}

static void
count_task(void *arg, int pending)
{

	LKPI_CHECK(arg == &runs && taskqueue_member(taskqueue_driver, curthread));
	runs += pending;
}

static void
count_quick(void *arg, int pending)
{

	runs += pending;
}

LKPI_SCENARIO(selftest_driver_timeout_task)
{
	static struct timeout_task task, quick;
	static struct task plain;
	u_int pending;

	TIMEOUT_TASK_INIT(taskqueue_driver, &task, 0, count_task, &runs);
	TIMEOUT_TASK_INIT(taskqueue_quick, &quick, 0, count_quick, &runs);
	LKPI_CHECK(taskqueue_enqueue_timeout(taskqueue_driver, &task, 5) == 0);
	/* Armed: a negative time leaves that as it is, another sets it anew. */
	LKPI_CHECK(taskqueue_enqueue_timeout(taskqueue_driver, &task, -100) == 1);
	pause("task", 7);
	taskqueue_drain(taskqueue_driver, &task.t);
	LKPI_CHECK(runs == 1);
	LKPI_CHECK(taskqueue_enqueue_timeout(taskqueue_driver, &task, -2) == 0);
	LKPI_CHECK(taskqueue_enqueue_timeout_sbt(taskqueue_driver, &task, mstosbt(50), 0, 0) == 1);
	pause("task", 10);
	LKPI_CHECK(runs == 1);
	LKPI_CHECK(taskqueue_cancel_timeout(taskqueue_driver, &task, &pending) == 0 && pending == 1);
	/* Now, while one is armed: that is not counted, and runs as well. */
	taskqueue_block(taskqueue_driver);
	LKPI_CHECK(taskqueue_enqueue_timeout(taskqueue_driver, &task, 1000) == 0);
	LKPI_CHECK(taskqueue_enqueue_timeout(taskqueue_driver, &task, 0) == 0);
	LKPI_CHECK(taskqueue_enqueue_flags(taskqueue_driver, &task.t, TASKQUEUE_FAIL_IF_PENDING) == EEXIST);
	taskqueue_unblock(taskqueue_driver);
	taskqueue_drain_timeout(taskqueue_driver, &task);
	LKPI_CHECK(runs == 2);
	/* A queue with a spin mutex has its time in the clock interrupt. */
	critical_enter();
	LKPI_CHECK(taskqueue_enqueue_timeout(taskqueue_quick, &quick, 2) == 0);
	critical_exit();
	pause("quick", 5);
	taskqueue_drain_timeout(taskqueue_quick, &quick);
	LKPI_CHECK(runs == 3);
	TASK_INIT(&plain, 0, count_quick, &runs);
	LKPI_CHECK(taskqueue_enqueue_flags(taskqueue_quick, &plain, 0) == 0);
	taskqueue_drain(taskqueue_quick, &plain);
	LKPI_CHECK(runs == 4);
}

/* As many in it at a time as it says, each once; the counter knows of all. */
static struct sema sema;
static counter_u64_t counter;
static volatile u_int inside;

static void
goes_in(void *arg)
{

	sema_wait(&sema);
	LKPI_CHECK(atomic_fetchadd_int(&inside, 1) < 2);
	counter_u64_add(counter, 3);
	atomic_subtract_int(&inside, 1);
	sema_post(&sema);
}

LKPI_SCENARIO(selftest_driver_sema)
{
	const struct lkpi_syscall threads[] = {
		{ "first", LKPI_BATCH, -1, goes_in, NULL },
		{ "second", LKPI_BATCH, -1, goes_in, NULL },
		{ "third", LKPI_BATCH, -1, goes_in, NULL },
	};

	counter = counter_u64_alloc(M_WAITOK);
	sema_init(&sema, 2, "sema");
	lkpi_syscalls(threads, nitems(threads));
	LKPI_CHECK(sema_value(&sema) == 2 && counter_u64_fetch(counter) == 9);
	LKPI_CHECK(sema_trywait(&sema) && sema_trywait(&sema) && !sema_trywait(&sema));
	LKPI_CHECK(sema_timedwait(&sema, 3) == EWOULDBLOCK && sema_timedwait(&sema, 0) == EWOULDBLOCK);
	sema_post(&sema);
	LKPI_CHECK(sema_timedwait(&sema, 3) == 0);
	sema_destroy(&sema);
	counter_u64_zero(counter);
	LKPI_CHECK(counter_u64_fetch(counter) == 0);
	counter_u64_free(counter);
}

LKPI_SCENARIO(selftest_driver_callout_cpu)
{
	static struct callout callout;

	callout_init(&callout, 1);
	callout_reset_on(&callout, 1, count_run, NULL, -5);
}

static void
tell(void *arg)
{
}

LKPI_SCENARIO(selftest_driver_own_enqueue)
{

	taskqueue_create("own", M_WAITOK, tell, NULL);
}
