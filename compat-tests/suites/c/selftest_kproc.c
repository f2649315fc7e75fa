/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * kproc(9): kernel processes that SYSINIT and a driver start. A file of its own, since SYSINITs run in each scenario of
 * theirs. compat-tests/tests/c_sys.rs runs it.
 */

#include <linuxkpi/scenario.h>

#include <sys/kthread.h>
#include <sys/mutex.h>

#define EINVAL 22

static struct proc *worker;
static struct thread *idler;
static int rounds, enough, helped, idled;

/* Stops when told to, and ends from within. */
static void
worker_main(void)
{

	LKPI_CHECK(curproc == worker && strcmp(curproc->p_comm, "worker") == 0);
	while (!__atomic_load_n(&enough, __ATOMIC_RELAXED)) {
		kproc_suspend_check(worker);
		__atomic_fetch_add(&rounds, 1, __ATOMIC_RELAXED);
		/* kproc_suspend() wakes it. */
		tsleep(worker, PWAIT, "idle", 1);
	}
	kproc_exit(0);
}

static void
idler_main(void)
{

	LKPI_CHECK(curproc->p_pid == 0);
	__atomic_fetch_add(&idled, 1, __ATOMIC_RELAXED);
	kthread_exit();
}

static struct kproc_desc worker_desc = { "worker", worker_main, &worker };
SYSINIT(worker, SI_SUB_KTHREAD_IDLE, SI_ORDER_FIRST, kproc_start, &worker_desc);
static struct kthread_desc idler_desc = { "idler", idler_main, &idler };
SYSINIT(idler, SI_SUB_KTHREAD_IDLE, SI_ORDER_ANY, kthread_start, &idler_desc);

LKPI_SCENARIO(selftest_sys_kproc)
{
	int before;

	LKPI_CHECK(worker != NULL && worker->p_pid != 0 && idler != NULL && curproc != worker);
	LKPI_CHECK(kproc_suspend(worker, 0) == 0);
	before = __atomic_load_n(&rounds, __ATOMIC_RELAXED);
	pause("suspended", 5);
	LKPI_CHECK(__atomic_load_n(&rounds, __ATOMIC_RELAXED) == before);
	LKPI_CHECK(kproc_resume(worker) == 0);
	pause("resumed", 5);
	LKPI_CHECK(__atomic_load_n(&rounds, __ATOMIC_RELAXED) > before);
	/* The shutdown stops it as well. */
	kproc_shutdown(worker, 0);
	before = __atomic_load_n(&rounds, __ATOMIC_RELAXED);
	pause("shut down", 5);
	LKPI_CHECK(__atomic_load_n(&rounds, __ATOMIC_RELAXED) == before);
	LKPI_CHECK(kproc_resume(worker) == 0);
	/* A user's is none. */
	LKPI_CHECK(kproc_suspend(curproc, 0) == EINVAL && kproc_resume(curproc) == EINVAL);
	/* It does not look any more, and its end wakes nobody who waits for it to stop. */
	__atomic_store_n(&enough, 1, __ATOMIC_RELAXED);
	pause("ending", 5);
	LKPI_CHECK(kproc_suspend(worker, 2) != 0);
	LKPI_CHECK(__atomic_load_n(&idled, __ATOMIC_RELAXED) == 1);
}

static struct proc *shared;

static void
helper(void *arg)
{

	LKPI_CHECK(curproc == shared);
	pause("help", (long)arg);
	__atomic_fetch_add(&helped, 1, __ATOMIC_RELAXED);
	kthread_exit();
}

static void
leaver(void *arg)
{

	kproc_exit(0);
}

/* The last thread ends the process, and its end wakes who waits for it. */
LKPI_SCENARIO(selftest_sys_kproc_threads)
{
	struct thread *first, *second;

	__atomic_store_n(&enough, 1, __ATOMIC_RELAXED);
	LKPI_CHECK(kproc_kthread_add(helper, (void *)2, &shared, &first, 0, 0, "shared", "helper %d", 1) == 0);
	LKPI_CHECK(kproc_kthread_add(helper, (void *)9, &shared, &second, 0, 0, "shared", "helper %d", 2) == 0);
	LKPI_CHECK(first != second && strcmp(shared->p_comm, "shared") == 0);
	LKPI_CHECK(tsleep(shared, 0, "end", 5000) == 0);
	LKPI_CHECK(__atomic_load_n(&helped, __ATOMIC_RELAXED) == 2);

	/* A process of one thread. */
	helped = 0;
	LKPI_CHECK(kproc_create(leaver, NULL, &shared, 0, 0, "%s", "another") == 0);
	LKPI_CHECK(shared->p_pid != worker->p_pid);
	pause("left", 5);
}

static void
returns(void *arg)
{
}

/* FreeBSD complains of a main function that returns. */
LKPI_SCENARIO(selftest_sys_kproc_returns)
{

	__atomic_store_n(&enough, 1, __ATOMIC_RELAXED);
	kproc_create(returns, NULL, NULL, 0, 0, "returns");
	pause("returned", 5);
	panic("seen");
}
