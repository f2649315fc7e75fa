/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * The sys/ headers themselves: FreeBSD's own primitives by the symbols that modules call.
 * compat-tests/tests/c_sys.rs runs it.
 */

#include <linuxkpi/scenario.h>

#include <sys/bus.h>
#include <sys/callout.h>
#include <sys/condvar.h>
#include <sys/epoch.h>
#include <sys/eventhandler.h>
#include <sys/interrupt.h>
#include <sys/kthread.h>
#include <sys/lockmgr.h>
#include <sys/mutex.h>
#include <sys/rmlock.h>
#include <sys/rwlock.h>
#include <sys/sched.h>
#include <sys/seqc.h>
#include <sys/sleepqueue.h>
#include <sys/smp.h>
#include <sys/sx.h>
#include <sys/taskqueue.h>

static struct rwlock static_rw;
static struct sx static_sx;
static struct rmlock static_rm;
RW_SYSINIT(static_rw, &static_rw, "static rw");
SX_SYSINIT(static_sx, &static_sx, "static sx");
RM_SYSINIT(static_rm, &static_rm, "static rm");

LKPI_SCENARIO(selftest_sys_rwlock)
{
	static struct rwlock rw;

	rw_init_flags(&rw, "rw", RW_RECURSE);
	rw_wlock(&rw);
	rw_wlock(&rw);
	LKPI_CHECK(rw_wowned(&rw));
	rw_assert(&rw, RA_WLOCKED | RA_RECURSED);
	rw_wunlock(&rw);
	rw_downgrade(&rw);
	LKPI_CHECK(!rw_wowned(&rw));
	LKPI_CHECK(!rw_try_wlock(&rw));
	LKPI_CHECK(rw_try_upgrade(&rw));
	rw_unlock(&rw);
	LKPI_CHECK(rw_try_rlock(&rw));
	rw_assert(&rw, RA_RLOCKED);
	rw_unlock(&rw);
	LKPI_CHECK(rw_try_wlock(&rw));
	rw_wunlock(&rw);
	rw_rlock(&static_rw);
	rw_runlock(&static_rw);
	LKPI_CHECK(rw_initialized(&rw));
	rw_destroy(&rw);
	LKPI_CHECK(!rw_initialized(&rw) && curthread->td_critnest == 0);
}

LKPI_SCENARIO(selftest_sys_sx)
{
	static struct sx sx;

	sx_init_flags(&sx, "sx", SX_RECURSE);
	sx_xlock(&sx);
	sx_xlock(&sx);
	LKPI_CHECK(sx_xlocked(&sx) && sx_xholder(&sx) == curthread);
	sx_assert(&sx, SA_XLOCKED | SA_RECURSED);
	sx_xunlock(&sx);
	sx_downgrade(&sx);
	LKPI_CHECK(!sx_xlocked(&sx) && !sx_try_xlock(&sx) && sx_xholder(&sx) == NULL);
	LKPI_CHECK(sx_try_upgrade(&sx));
	sx_unlock(&sx);
	LKPI_CHECK(sx_try_slock(&sx));
	sx_unlock(&sx);
	LKPI_CHECK(sx_xlock_sig(&sx) == 0);
	sx_xunlock(&sx);
	LKPI_CHECK(sx_slock_sig(&sx) == 0);
	sx_sunlock(&sx);
	LKPI_CHECK(sx_try_xlock(&sx));
	sx_xunlock(&sx);
	sx_slock(&static_sx);
	sx_sunlock(&static_sx);
	sx_destroy(&sx);
}

LKPI_SCENARIO(selftest_sys_rmlock)
{
	static struct rmlock rm, sleepable;
	struct rm_priotracker tracker, second;

	rm_init_flags(&rm, "rm", RM_RECURSE);
	rm_init_flags(&sleepable, "sleepable", RM_SLEEPABLE);
	rm_rlock(&rm, &tracker);
	LKPI_CHECK(curthread->td_pinned == 1);
	rm_rlock(&rm, &second);
	rm_assert(&rm, RA_RLOCKED | RA_RECURSED);
	rm_runlock(&rm, &second);
	rm_runlock(&rm, &tracker);
	rm_wlock(&rm);
	LKPI_CHECK(rm_wowned(&rm));
	rm_assert(&rm, RA_WLOCKED);
	rm_wunlock(&rm);
	LKPI_CHECK(rm_try_rlock(&sleepable, &tracker));
	LKPI_CHECK(!THREAD_CAN_SLEEP());
	rm_runlock(&sleepable, &tracker);
	LKPI_CHECK(THREAD_CAN_SLEEP());
	rm_wlock(&sleepable);
	pause("writer", 1);
	LKPI_CHECK(rm_sleep(&sleepable, &sleepable, PZERO, "nobody", 1) != 0 && rm_wowned(&sleepable));
	rm_wunlock(&sleepable);
	rm_rlock(&static_rm, &tracker);
	rm_runlock(&static_rm, &tracker);
	rm_destroy(&sleepable);
	rm_destroy(&rm);
}

/* Through its class: given up as it is held, and taken back so. Returns what the class said of it. */
static uintptr_t
through_class(struct lock_object *lock, const struct thread *owner, int held)
{
	struct lock_class *class = LOCK_CLASS(lock);
	struct thread *td;
	uintptr_t how;

	LKPI_CHECK((class->lc_owner(lock, &td) != 0) == (held != 0) && td == owner);
	class->lc_assert(lock, LA_LOCKED | LA_NOTRECURSED);
	how = class->lc_unlock(lock);
	LKPI_CHECK(!class->lc_owner(lock, &td) && td == NULL);
	class->lc_lock(lock, how);
	LKPI_CHECK((class->lc_owner(lock, &td) != 0) == (held != 0) && td == owner);
	return (how);
}

LKPI_SCENARIO(selftest_sys_lock_class)
{
	static struct mtx sleep, spin;
	static struct rwlock rw;
	static struct sx sx;
	static struct rmlock rm;
	static struct lock_object own;
	struct rm_priotracker tracker;
	int i;

	for (i = 0; lock_classes[i] != NULL; i++)
		LKPI_CHECK(!(lock_classes[i]->lc_flags & LC_SPINLOCK) == (lock_classes[i] != &lock_class_mtx_spin));
	LKPI_CHECK(i == 7 && strcmp(lock_class_rm_sleepable.lc_name, "sleepable rm") == 0);

	mtx_init(&sleep, "sleep", "type", MTX_DEF);
	mtx_init(&spin, "spin", NULL, MTX_SPIN);
	rw_init(&rw, "rw");
	sx_init(&sx, "sx");
	rm_init(&rm, "rm");
	LKPI_CHECK(LOCK_CLASS(&sleep.lock_object) == &lock_class_mtx_sleep);

	mtx_lock(&sleep);
	LKPI_CHECK(through_class(&sleep.lock_object, curthread, 1) == 0);
	LKPI_CHECK(!lock_class_mtx_sleep.lc_trylock(&sleep.lock_object, 0));
	mtx_unlock(&sleep);
	mtx_lock_spin(&spin);
	LKPI_CHECK(through_class(&spin.lock_object, curthread, 1) == 0 && curthread->td_critnest == 1);
	mtx_unlock_spin(&spin);
	rw_wlock(&rw);
	LKPI_CHECK(through_class(&rw.lock_object, curthread, 1) == 0);
	rw_wunlock(&rw);
	LKPI_CHECK(lock_class_rw.lc_trylock(&rw.lock_object, 1));
	LKPI_CHECK(through_class(&rw.lock_object, NULL, 1) == 1);
	rw_runlock(&rw);
	sx_xlock(&sx);
	LKPI_CHECK(through_class(&sx.lock_object, curthread, 1) == 0);
	sx_downgrade(&sx);
	LKPI_CHECK(through_class(&sx.lock_object, NULL, 1) == 1);
	sx_sunlock(&sx);
	rm_wlock(&rm);
	LKPI_CHECK(through_class(&rm.lock_object, curthread, 1) == 0);
	rm_wunlock(&rm);
	/* Who reads is not known to the lock. */
	rm_rlock(&rm, &tracker);
	LKPI_CHECK(through_class(&rm.lock_object, NULL, 0) == (uintptr_t)&tracker);
	rm_runlock(&rm, &tracker);

	lock_init(&own, &lock_class_sx, "own", NULL, LO_SLEEPABLE | LO_WITNESS);
	LKPI_CHECK(lock_initialized(&own) && LOCK_CLASS(&own) == &lock_class_sx);
	lock_destroy(&own);
	LKPI_CHECK(!lock_initialized(&own));
	rm_destroy(&rm);
	sx_destroy(&sx);
	rw_destroy(&rw);
	mtx_destroy(&spin);
	mtx_destroy(&sleep);
}

/* The order of locks is that of their types, if they have one. */
LKPI_SCENARIO(selftest_sys_lock_type)
{
	static struct mtx a, b, other;

	mtx_init(&a, "a", "device", MTX_DEF);
	mtx_init(&b, "b", "device", MTX_DEF);
	mtx_init(&other, "other", NULL, MTX_DEF);
	mtx_lock(&a);
	mtx_lock(&other);
	mtx_unlock(&other);
	mtx_unlock(&a);
	mtx_lock(&other);
	mtx_lock(&b);
	panic("seen");
}

LKPI_SCENARIO(selftest_sys_seqc)
{
	static seqc_t seqc;
	seqc_t seen;

	seen = seqc_read(&seqc);
	LKPI_CHECK(seqc_consistent(&seqc, seen));
	seqc_write_begin(&seqc);
	LKPI_CHECK(curthread->td_critnest == 1 && seqc_in_modify(seqc_read_any(&seqc)));
	seqc_write_end(&seqc);
	LKPI_CHECK(curthread->td_critnest == 0 && !seqc_consistent(&seqc, seen));
	seqc_sleepable_write_begin(&seqc);
	LKPI_CHECK(curthread->td_critnest == 0);
	seqc_sleepable_write_end(&seqc);
	LKPI_CHECK(seqc == 4);
}

/* One thread waits for the other, in each way there is. */
static struct mtx mtx;
static struct cv cv;
static int state;

static void
waiter(void *arg)
{

	mtx_lock(&mtx);
	while (state == 0)
		cv_wait(&cv, &mtx);
	state = 2;
	wakeup(&state);
	while (state == 2)
		LKPI_CHECK(cv_timedwait(&cv, &mtx, 1000) == 0);
	mtx_unlock(&mtx);
}

static void
waker(void *arg)
{

	mtx_lock(&mtx);
	state = 1;
	cv_signal(&cv);
	while (state == 1)
		LKPI_CHECK(mtx_sleep(&state, &mtx, PSOCK, "state", 0) == 0);
	LKPI_CHECK(mtx_owner(&mtx) == curthread);
	state = 3;
	cv_broadcast(&cv);
	LKPI_CHECK(msleep_sbt(&mtx, &mtx, PWAIT, "nobody", SBT_1MS, 0, C_HARDCLOCK) != 0);
	LKPI_CHECK(msleep(&mtx, &mtx, PDROP, "nobody", 1) != 0);
	LKPI_CHECK(!mtx_owned(&mtx));
}

LKPI_SCENARIO(selftest_sys_sleep)
{
	const struct lkpi_syscall threads[] = {
		{ "waiter", LKPI_BATCH, -1, waiter, NULL },
		{ "waker", LKPI_BATCH, -1, waker, NULL },
	};

	mtx_init(&mtx, "mtx", NULL, MTX_DEF);
	cv_init(&cv, "cv");
	lkpi_syscalls(threads, nitems(threads));
	LKPI_CHECK(state == 3 && strcmp(cv_wmesg(&cv), "cv") == 0);
	LKPI_CHECK(tsleep(&cv, 0, "nobody", 1) != 0);
	LKPI_CHECK(tsleep_sbt(&cv, PWAIT, "nobody", SBT_1MS, 0, C_HARDCLOCK) != 0);
	LKPI_CHECK(mtx_owner(&mtx) == NULL);
	cv_destroy(&cv);
	mtx_destroy(&mtx);
}

/* Who waits without taking the mutex goes on once its owner has let it go. */
static struct mtx guard;
static int guarded, let_go;

static void
guardian(void *arg)
{

	mtx_lock(&guard);
	__atomic_store_n(&guarded, 1, __ATOMIC_SEQ_CST);
	__atomic_store_n(&let_go, 1, __ATOMIC_SEQ_CST);
	mtx_unlock(&guard);
}

static void
bystander(void *arg)
{
	int seen = __atomic_load_n(&guarded, __ATOMIC_SEQ_CST);

	mtx_wait_unlocked(&guard);
	if (seen)
		LKPI_CHECK(__atomic_load_n(&let_go, __ATOMIC_SEQ_CST) == 1);
	LKPI_CHECK(!mtx_owned(&guard));
}

LKPI_SCENARIO(selftest_sys_wait_unlocked)
{
	const struct lkpi_syscall threads[] = {
		{ "guardian", LKPI_BATCH, -1, guardian, NULL },
		{ "bystander", LKPI_BATCH, -1, bystander, NULL },
	};

	mtx_init(&guard, "guard", NULL, MTX_DEF);
	mtx_wait_unlocked(&guard);
	lkpi_syscalls(threads, nitems(threads));
	mtx_destroy(&guard);
}

LKPI_SCENARIO(selftest_sys_wait_for_oneself)
{

	mtx_init(&guard, "guard", NULL, MTX_DEF);
	mtx_lock(&guard);
	mtx_wait_unlocked(&guard);
}

/* What readers in a section look at is freed only after they have left. */
struct object {
	struct epoch_context ctx;
	int alive;
};

static struct object objects[3];
static struct object *published;
static int freed;

static void
free_object(epoch_context_t ctx)
{
	struct object *object = (struct object *)ctx;

	__atomic_store_n(&object->alive, 0, __ATOMIC_RELAXED);
	__atomic_fetch_add(&freed, 1, __ATOMIC_SEQ_CST);
}

static void
reader(void *arg)
{
	struct epoch_tracker et;
	struct object *object;

	NET_EPOCH_ENTER(et);
	NET_EPOCH_ASSERT();
	object = __atomic_load_n(&published, __ATOMIC_ACQUIRE);
	critical_enter();
	critical_exit();
	LKPI_CHECK(__atomic_load_n(&object->alive, __ATOMIC_RELAXED) == 1);
	NET_EPOCH_EXIT(et);
}

static void
writer(void *arg)
{

	__atomic_store_n(&published, &objects[1], __ATOMIC_RELEASE);
	NET_EPOCH_WAIT();
	free_object(&objects[0].ctx);
	__atomic_store_n(&published, &objects[2], __ATOMIC_RELEASE);
	NET_EPOCH_CALL(free_object, &objects[1].ctx);
	NET_EPOCH_DRAIN_CALLBACKS();
}

LKPI_SCENARIO(selftest_sys_epoch)
{
	const struct lkpi_syscall threads[] = {
		{ "reader", LKPI_BATCH, -1, reader, NULL },
		{ "writer", LKPI_BATCH, -1, writer, NULL },
	};
	epoch_t epoch = epoch_alloc("mine", 0);
	size_t i;

	epoch_enter(epoch);
	LKPI_CHECK(in_epoch(epoch) && curthread->td_critnest == 1);
	epoch_exit(epoch);
	epoch_wait(epoch);
	epoch_free(epoch);
	epoch_wait(global_epoch);
	epoch_wait_preempt(global_epoch_preempt);

	for (i = 0; i < nitems(objects); i++)
		objects[i].alive = 1;
	published = &objects[0];
	lkpi_syscalls(threads, nitems(threads));
	LKPI_CHECK(freed == 2);
}

LKPI_SCENARIO(selftest_sys_lockmgr)
{
	static struct lock lk;
	static struct mtx interlock;

	mtx_init(&interlock, "interlock", NULL, MTX_DEF);
	lockinit(&lk, 0, "lk", 0, LK_CANRECURSE);
	LKPI_CHECK(lockmgr(&lk, LK_SHARED, NULL) == 0);
	LKPI_CHECK(lockstatus(&lk) == LK_SHARED);
	LKPI_CHECK(lockmgr(&lk, LK_UPGRADE, NULL) == 0);
	LKPI_CHECK(lockmgr(&lk, LK_EXCLUSIVE, NULL) == 0);
	lockmgr_assert(&lk, KA_XLOCKED | KA_RECURSED);
	lockmgr(&lk, LK_RELEASE, NULL);
	LKPI_CHECK(lockmgr(&lk, LK_DOWNGRADE, NULL) == 0);
	lockmgr(&lk, LK_RELEASE, NULL);
	mtx_lock(&interlock);
	LKPI_CHECK(lockmgr_args(&lk, LK_EXCLUSIVE | LK_INTERLOCK, &interlock, "lkwait", 0, 0) == 0);
	LKPI_CHECK(!mtx_owned(&interlock));
	lockmgr_disown(&lk);
	lockmgr(&lk, LK_RELEASE, NULL);
	LKPI_CHECK(lockmgr(&lk, LK_DRAIN, NULL) == 0);
	lockmgr(&lk, LK_RELEASE, NULL);
	LKPI_CHECK(lockstatus(&lk) == 0);
	lockdestroy(&lk);
	mtx_destroy(&interlock);
}

LKPI_SCENARIO(selftest_sys_giant)
{

	mtx_lock(&Giant);
	mtx_lock(&Giant);
	GIANT_REQUIRED;
	DROP_GIANT();
	LKPI_CHECK(!mtx_owned(&Giant));
	PICKUP_GIANT();
	LKPI_CHECK(mtx_owned(&Giant) && mtx_recursed(&Giant));
	pause("giant", 1);
	LKPI_CHECK(mtx_owned(&Giant) && mtx_recursed(&Giant));
	mtx_unlock(&Giant);
	mtx_unlock(&Giant);
}

static int runs;

static void
count_run(void *arg)
{

	__atomic_fetch_add(&runs, 1, __ATOMIC_SEQ_CST);
	wakeup(arg);
}

static void
count_task(void *arg, int pending)
{

	LKPI_CHECK(pending == 1);
	count_run(arg);
}

static struct task again;
static int again_runs;

static void
run_again(void *arg, int pending)
{

	pause("again", 1);
	if (++again_runs < 3)
		taskqueue_enqueue(arg, &again);
}

static struct task static_task = TASK_INITIALIZER(0, count_task, &runs);

LKPI_SCENARIO(selftest_sys_deferred)
{
	static struct callout callout, locked, giant, shared;
	static struct rmlock rm;
	static struct mtx lock;
	static struct task task;
	struct taskqueue *tq;
	struct thread *td;
	u_int pending;

	callout_init(&callout, 1);
	callout_init(&giant, 0);
	mtx_init(&lock, "callout", NULL, MTX_DEF);
	callout_init_mtx(&locked, &lock, 0);
	LKPI_CHECK(callout_reset(&callout, 1, count_run, &runs) == 0);
	LKPI_CHECK(callout_pending(&callout));
	mtx_lock(&lock);
	callout_reset(&locked, 2, count_run, &runs);
	mtx_unlock(&lock);
	callout_reset(&giant, 3, count_run, &runs);
	pause("callouts", 10);
	LKPI_CHECK(runs == 3 && !callout_pending(&callout));
	callout_reset(&callout, 1000, count_run, &runs);
	LKPI_CHECK(callout_stop(&callout) == 1);
	callout_drain(&locked);
	callout_drain(&giant);
	/* With an rmlock that is read: the tracker is softclock's. */
	rm_init(&rm, "callout rm");
	callout_init_rm(&shared, &rm, CALLOUT_SHAREDLOCK);
	rm_wlock(&rm);
	callout_reset(&shared, 1, count_run, &runs);
	rm_wunlock(&rm);
	pause("shared", 5);
	LKPI_CHECK(runs == 4);
	callout_drain(&shared);
	runs = 3;
	rm_destroy(&rm);

	tq = taskqueue_create("tq", 0, taskqueue_thread_enqueue, &tq);
	LKPI_CHECK(taskqueue_start_threads(&tq, 1, PWAIT, "%s taskq", "my") == 0);
	TASK_INIT(&task, 0, count_task, &runs);
	taskqueue_enqueue(tq, &task);
	taskqueue_drain(tq, &task);
	LKPI_CHECK(runs == 4);
	taskqueue_block(tq);
	taskqueue_enqueue(tq, &task);
	LKPI_CHECK(taskqueue_cancel(tq, &task, &pending) == 0 && pending == 1);
	taskqueue_unblock(tq);
	taskqueue_drain_all(tq);
	/* One that enqueues itself again; drain_all would let the last run go. */
	TASK_INIT(&again, 0, run_again, tq);
	taskqueue_enqueue(tq, &again);
	taskqueue_quiesce(tq);
	LKPI_CHECK(again_runs == 3 && !taskqueue_poll_is_busy(tq, &again));
	taskqueue_quiesce(tq);
	taskqueue_free(tq);

	LKPI_CHECK(kthread_add(count_run, &runs, NULL, &td, 0, 0, "thread%d", 1) == 0);
	LKPI_CHECK(td != NULL && td != curthread);
	pause("thread", 10);
	LKPI_CHECK(runs == 5);

	taskqueue_enqueue(taskqueue_thread, &static_task);
	taskqueue_drain(taskqueue_thread, &static_task);
	LKPI_CHECK(runs == 6 && !taskqueue_poll_is_busy(taskqueue_thread, &static_task));
	critical_enter();
	taskqueue_enqueue(taskqueue_fast, &task);
	critical_exit();
	taskqueue_drain(taskqueue_fast, &task);
	LKPI_CHECK(runs == 7);
}

/* Its driver calls it inactive; what it ran last is what it runs again. */
LKPI_SCENARIO(selftest_sys_callout)
{
	static struct callout callout;
	static struct mtx lock;

	mtx_init(&lock, "callout", NULL, MTX_DEF);
	callout_init_mtx(&callout, &lock, 0);
	mtx_lock(&lock);
	LKPI_CHECK(!callout_active(&callout));
	LKPI_CHECK(callout_reset_curcpu(&callout, 1, count_run, &runs) == 0);
	LKPI_CHECK(callout_active(&callout) && callout_schedule(&callout, 5000) == 1);
	mtx_unlock(&lock);
	pause("not yet", 5);
	mtx_lock(&lock);
	LKPI_CHECK(runs == 0 && callout_schedule_curcpu(&callout, 1) == 1);
	while (runs == 0)
		mtx_sleep(&runs, &lock, 0, "callout", 5);
	LKPI_CHECK(callout_active(&callout) && !callout_pending(&callout));
	callout_deactivate(&callout);
	LKPI_CHECK(!callout_active(&callout));
	LKPI_CHECK(callout_schedule_on(&callout, 5000, 0) == 0 && callout_active(&callout));
	LKPI_CHECK(callout_stop(&callout) == 1 && !callout_active(&callout));
	callout_schedule(&callout, 5000);
	mtx_unlock(&lock);
	LKPI_CHECK(callout_drain(&callout) == 1 && !callout_active(&callout) && runs == 1);
	mtx_destroy(&lock);
}

/* A thread that stops and goes on when told to, and that ends from within. */
static int rounds, enough;

static void
worker(void *arg)
{

	while (!__atomic_load_n(&enough, __ATOMIC_RELAXED)) {
		kthread_suspend_check();
		__atomic_fetch_add(&rounds, 1, __ATOMIC_RELAXED);
		pause("work", 1);
	}
	kthread_exit();
}

LKPI_SCENARIO(selftest_sys_kthread)
{
	struct thread *td;
	int before;

	kthread_add(worker, NULL, NULL, &td, 0, 0, "worker");
	LKPI_CHECK(kthread_suspend(td, 0) == 0);
	before = __atomic_load_n(&rounds, __ATOMIC_RELAXED);
	pause("suspended", 5);
	LKPI_CHECK(__atomic_load_n(&rounds, __ATOMIC_RELAXED) == before);
	LKPI_CHECK(kthread_resume(td) == 0);
	pause("resumed", 5);
	LKPI_CHECK(__atomic_load_n(&rounds, __ATOMIC_RELAXED) > before);
	__atomic_store_n(&enough, 1, __ATOMIC_RELAXED);
	LKPI_CHECK(tsleep(td, 0, "exit", 5000) == 0);
}

/* What LinuxKPI's completions are made of: a count under the lock of its own sleep queue. */
static u_int done;

static void
completer(void *arg)
{

	sleepq_lock(&done);
	done++;
	sleepq_signal(&done, SLEEPQ_SLEEP, 0, 0);
	sleepq_release(&done);
}

static void
wait_for_it(void *arg)
{

	for (;;) {
		sleepq_lock(&done);
		if (done != 0)
			break;
		sleepq_add(&done, NULL, "completion", SLEEPQ_SLEEP, 0);
		LKPI_CHECK(sleepq_sleepcnt(&done, 0) >= 1);
		sleepq_wait(&done, 0);
	}
	done--;
	sleepq_release(&done);
}

LKPI_SCENARIO(selftest_sys_sleepqueue)
{
	const struct lkpi_syscall threads[] = {
		{ "first", LKPI_BATCH, -1, wait_for_it, NULL },
		{ "second", LKPI_BATCH, -1, wait_for_it, NULL },
		{ "completer", LKPI_BATCH, -1, completer, NULL },
		{ "another", LKPI_BATCH, -1, completer, NULL },
	};

	lkpi_syscalls(threads, nitems(threads));
	sleepq_lock(&done);
	LKPI_CHECK(done == 0 && sleepq_type(&done) == -1);
	sleepq_add(&done, NULL, "nobody", SLEEPQ_SLEEP, 0);
	sleepq_set_timeout(&done, 1);
	LKPI_CHECK(sleepq_timedwait(&done, 0) != 0);
	wakeup_any(&done);
	sleepq_lock(&done);
	sleepq_signal(&done, SLEEPQ_SLEEP | SLEEPQ_UNFAIR | SLEEPQ_DROP, 0, 0);
}

/* There are two queues. */
LKPI_SCENARIO(selftest_sys_sleepq_queue)
{

	sleepq_lock(&done);
	LKPI_CHECK(sleepq_sleepcnt(&done, 0) == 0 && sleepq_sleepcnt(&done, NR_SLEEPQS - 1) == 0);
	sleepq_add(&done, NULL, "none", SLEEPQ_SLEEP, NR_SLEEPQS);
}

static u_int set_up, acted, torn_down;

static void
setup(void *arg)
{

	__atomic_fetch_add(&set_up, 1, __ATOMIC_SEQ_CST);
}

static void
action(void *arg)
{

	LKPI_CHECK(arg == &acted && curthread->td_critnest > 0);
	__atomic_fetch_add(&acted, 1, __ATOMIC_SEQ_CST);
}

static void
teardown(void *arg)
{

	LKPI_CHECK(__atomic_load_n(&set_up, __ATOMIC_SEQ_CST) == (u_int)mp_ncpus);
	LKPI_CHECK(__atomic_load_n(&acted, __ATOMIC_SEQ_CST) == (u_int)mp_ncpus);
	__atomic_fetch_add(&torn_down, 1, __ATOMIC_SEQ_CST);
}

LKPI_SCENARIO(selftest_sys_smp)
{
	cpuset_t set;
	int i;

	smp_rendezvous(setup, action, teardown, &acted);
	LKPI_CHECK(torn_down == (u_int)mp_ncpus);
	smp_rendezvous(smp_no_rendezvous_barrier, action, smp_no_rendezvous_barrier, &acted);
	smp_rendezvous(NULL, NULL, NULL, NULL);
	LKPI_CHECK(acted == 2 * (u_int)mp_ncpus);
	CPU_ZERO(&set);
	CPU_FOREACH(i)
		CPU_SET(i, &set);
	CPU_CLR(0, &set);
	LKPI_CHECK(!CPU_ISSET(0, &set) && CPU_ISSET(1, &set));
	smp_rendezvous_cpus(set, NULL, action, NULL, &acted);
	LKPI_CHECK(acted == 3 * (u_int)mp_ncpus - 1);
	smp_rendezvous_cpu(0, NULL, action, NULL, &acted);
	LKPI_CHECK(acted == 3 * (u_int)mp_ncpus);
}

LKPI_SCENARIO(selftest_sys_sched)
{
	static struct mtx spin;
	u_int before = curthread->td_priority;

	mtx_init(&spin, "spin", NULL, MTX_SPIN);
	mtx_spin_wait_unlocked(&spin);
	thread_lock(curthread);
	LKPI_CHECK(curthread->td_critnest == 1);
	sched_bind(curthread, 1);
	LKPI_CHECK(curcpu == 1 && curthread->td_critnest == 1 && curthread->td_pinned == 1);
	sched_bind(curthread, 0);
	sched_prio(curthread, before - 1);
	thread_unlock(curthread);
	LKPI_CHECK(curcpu == 0 && curthread->td_critnest == 0 && curthread->td_priority == before - 1);
	sched_relinquish(curthread);
	kern_yield(PRI_UNCHANGED);
	LKPI_CHECK(curthread->td_priority == before - 1);
	mtx_lock(&Giant);
	kern_yield(before);
	LKPI_CHECK(curcpu == 0 && curthread->td_priority == before && mtx_owned(&Giant));
	mtx_unlock(&Giant);
	thread_lock(curthread);
	mi_switch(SW_VOL | SWT_RELINQUISH);
	LKPI_CHECK(curthread->td_critnest == 0);
	thread_lock(curthread);
	sched_unbind(curthread);
	thread_unlock(curthread);
	LKPI_CHECK(curthread->td_pinned == 0);
	sched_pin();
	sched_pin();
	LKPI_CHECK(curthread->td_pinned == 2);
	sched_unpin();
	sched_unpin();
	LKPI_CHECK(curthread->td_pinned == 0);
	spinlock_enter();
	spinlock_enter();
	CRITICAL_ASSERT(curthread);
	LKPI_CHECK(curthread->td_critnest == 1);
	spinlock_exit();
	spinlock_exit();
	LKPI_CHECK(curthread->td_critnest == 0);
	mtx_lock(&Giant);
	maybe_yield();
	LKPI_CHECK(mtx_owned(&Giant));
	mtx_unlock(&Giant);
	mtx_destroy(&spin);
}

/* On one CPU: who computes on and on yields when its time is over, and the other gets its turn. */
static int turn;

static void
hog(void *arg)
{

	while (__atomic_load_n(&turn, __ATOMIC_SEQ_CST) == 0)
		maybe_yield();
}

static void
take_turn(void *arg)
{

	__atomic_store_n(&turn, 1, __ATOMIC_SEQ_CST);
}

LKPI_SCENARIO(selftest_sys_maybe_yield)
{
	const struct lkpi_syscall threads[] = {
		{ "hog", LKPI_BATCH, 0, hog, NULL },
		{ "other", LKPI_BATCH, 0, take_turn, NULL },
	};

	lkpi_syscalls(threads, nitems(threads));
}

/* Its lock has to be held. */
LKPI_SCENARIO(selftest_sys_sched_unlocked)
{

	sched_bind(curthread, 0);
}

/* What is held, besides what the flags and the lock exempt. */
LKPI_SCENARIO(selftest_sys_witness_warn)
{
	static struct mtx own, other;

	mtx_init(&own, "own", NULL, MTX_DEF);
	mtx_init(&other, "other", NULL, MTX_DEF);
	sx_slock(&static_sx);
	mtx_lock(&own);
	LKPI_CHECK(WITNESS_WARN(WARN_SLEEPOK, &own.lock_object, "first") == 0);
	LKPI_CHECK(WITNESS_WARN(0, &own.lock_object, "second %d", 2) == 1);
	mtx_lock(&other);
	WITNESS_WARN(WARN_SLEEPOK | WARN_PANIC, &own.lock_object, "third");
}

/* Evaluated under INVARIANTS alone. */
static int evaluated;

static int
evaluate(int value)
{

	evaluated++;
	return (value);
}

LKPI_SCENARIO(selftest_sys_assertions)
{
	struct epoch_tracker et;
	struct task task;

	KASSERT(evaluate(1), ("%d", evaluate(1)));
	MPASS(evaluate(1));
	TASK_INIT(&task, evaluate(3), NULL, NULL);
	LKPI_CHECK(task.ta_priority == 3);
	NET_EPOCH_ENTER(et);
	NET_EPOCH_ASSERT();
	NET_EPOCH_EXIT(et);
	/* TASK_INIT looks at the priority twice, and takes it. */
	LKPI_CHECK(evaluated == (lkpi_invariants() ? 5 : 1));
}

LKPI_SCENARIO(selftest_sys_kassert)
{

	KASSERT(evaluate(0), ("seven is %d", evaluate(7)));
}

/* What an untied module imports of the kernel has to be there, in the form that it calls. */
static const void *const imports[] = {
	_mtx_init, _mtx_destroy, mtx_sysinit, __mtx_lock_flags, __mtx_unlock_flags, _mtx_trylock_flags_,
	__mtx_lock_spin_flags, __mtx_unlock_spin_flags, __mtx_trylock_spin_flags, __mtx_assert, mtx_spin_wait_unlocked,
	mtx_wait_unlocked,
	_rw_init_flags, _rw_destroy, rw_sysinit, _rw_wowned, _rw_wlock_cookie, _rw_wunlock_cookie, __rw_rlock,
	_rw_runlock_cookie, __rw_try_rlock, __rw_try_wlock, __rw_try_upgrade, __rw_downgrade, __rw_assert,
	sx_init_flags, sx_destroy, sx_sysinit, _sx_xlock, _sx_slock, _sx_xunlock, _sx_sunlock, sx_try_xlock_,
	sx_try_slock_, sx_try_upgrade_, sx_downgrade_, _sx_assert,
	rm_init, rm_init_flags, rm_destroy, rm_sysinit, rm_wowned, _rm_rlock_debug, _rm_runlock_debug, _rm_wlock_debug,
	_rm_wunlock_debug, _rm_assert,
	critical_enter_KBI, critical_exit_KBI, spinlock_enter, spinlock_exit, _thread_lock, thread_lock_flags_,
	sleepq_lock, sleepq_add, sleepq_wait, sleepq_wait_sig, sleepq_timedwait, sleepq_timedwait_sig,
	sleepq_set_timeout_sbt, sleepq_signal, sleepq_broadcast, sleepq_release,
	_sleep, msleep_spin_sbt, pause_sbt, wakeup, wakeup_one, wakeup_any,
	cv_init, cv_destroy, _cv_wait, _cv_wait_sig, _cv_timedwait_sbt, _cv_timedwait_sig_sbt, cv_signal, cv_broadcastpri,
	callout_init, _callout_init_lock, callout_reset_sbt_on, _callout_stop_safe,
	callout_schedule, callout_schedule_on, callout_when,
	taskqueue_enqueue, taskqueue_cancel, taskqueue_drain, taskqueue_quiesce,
	kproc_exit, kproc_start, kproc_suspend, kproc_resume, kproc_suspend_check, kproc_shutdown,
	kthread_shutdown,
	sched_bind, sched_unbind, sched_prio, sched_relinquish, kern_yield, maybe_yield, should_yield, mi_switch,
	lock_init, lock_destroy, lock_classes,
	bus_setup_intr, bus_teardown_intr, bus_suspend_intr, bus_resume_intr, bus_bind_intr, bus_alloc_resource,
	(bus_release_resource), device_get_softc, device_get_nameunit, _intr_drain,
	intr_event_add_handler, intr_event_remove_handler, intr_event_handle, intr_event_destroy, intr_event_bind,
	intr_event_describe_handler, swi_add, swi_sched, swi_remove,
	eventhandler_register, eventhandler_deregister, eventhandler_deregister_nowait, eventhandler_find_list,
	eventhandler_create_list, eventhandler_prune_list,
	smp_rendezvous, smp_rendezvous_cpus, smp_no_rendezvous_barrier, sched_is_bound,
};

LKPI_SCENARIO(selftest_sys_imports)
{
	size_t i;

	for (i = 0; i < nitems(imports); i++)
		LKPI_CHECK(imports[i] != NULL);
}

/* FreeBSD's messages name the line of the C macro. */
LKPI_SCENARIO(selftest_sys_message)
{
	sx_xlock(&static_sx);
#line 2000 "driver.c"
	sx_xlock(&static_sx);
}

LKPI_SCENARIO(selftest_sys_critical_assert)
{

	CRITICAL_ASSERT(curthread);
}

LKPI_SCENARIO(selftest_sys_mpass)
{

#line 3000 "driver.c"
	MPASS(evaluate(0) == 1);
}

LKPI_SCENARIO(selftest_sys_net_epoch_assert)
{

#line 3100 "driver.c"
	NET_EPOCH_ASSERT();
}

LKPI_SCENARIO(selftest_sys_giant_required)
{

#line 3200 "driver.c"
	GIANT_REQUIRED;
}

/* Who drops a lock for a time takes it again where it had taken it first. */
LKPI_SCENARIO(selftest_sys_witness_place)
{
	static struct mtx own;
	WITNESS_SAVE_DECL(own);

	mtx_init(&own, "own", NULL, MTX_DEF);
#line 3300 "driver.c"
	mtx_lock(&Giant);
	mtx_lock(&own);
	WITNESS_SAVE(&own.lock_object, own);
	mtx_unlock(&own);
	DROP_GIANT();
	PICKUP_GIANT();
	mtx_lock(&own);
	WITNESS_RESTORE(&own.lock_object, own);
	WITNESS_WARN(WARN_PANIC, NULL, "held");
	mtx_unlock(&own);
	mtx_unlock(&Giant);
}
