/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * What drivers use of the kernel besides locks: variables of each CPU, interrupts off, event handlers, times of callouts.
 * compat-tests/tests/c_kernel.rs runs it.
 */

#include <linuxkpi/scenario.h>

#include <machine/atomic.h>
#include <machine/cpu.h>
#include <machine/cpufunc.h>
#include <sys/bus.h>
#include <sys/callout.h>
#include <sys/errno.h>
#include <sys/eventhandler.h>
#include <sys/mutex.h>
#include <sys/pcpu.h>
#include <sys/sched.h>
#include <sys/smp.h>
#include <sys/time.h>

struct counts {
	uint64_t adds;
	int cpu;
};

DPCPU_DECLARE(int, number);
DPCPU_DEFINE(int, number) = 5;
DPCPU_DEFINE_STATIC(struct counts, counts);
DPCPU_DEFINE_STATIC(void *, pointer);

/* It is initialised before whatever else is. */
static int early;

static void
look_early(void *arg)
{

	early = DPCPU_GET(number);
}
SYSINIT(look_early, SI_SUB_TUNABLES, SI_ORDER_FIRST, look_early, NULL);

/* A plain addition is enough for threads that are not preempted. */
static void
adder(void *arg)
{
	int i;

	for (i = 0; i < 3; i++) {
		critical_enter();
		DPCPU_PTR(counts)->adds++;
		DPCPU_PTR(counts)->cpu = curcpu;
		critical_exit();
	}
}

LKPI_SCENARIO(selftest_kernel_dpcpu)
{
	const struct lkpi_syscall threads[] = {
		{ "one", LKPI_BATCH, -1, adder, NULL },
		{ "two", LKPI_BATCH, -1, adder, NULL },
		{ "three", LKPI_BATCH, -1, adder, NULL },
	};
	int i;

	LKPI_CHECK(early == 5 && DPCPU_GET(number) == 5 && DPCPU_GET(pointer) == NULL);
	LKPI_CHECK(DPCPU_SUM(number) == 5 * mp_ncpus && PCPU_GET(cpuid) == (u_int)curcpu);
	LKPI_CHECK(PCPU_GET(curthread) == curthread);
	DPCPU_SET(number, 7);
	LKPI_CHECK(DPCPU_ID_GET(curcpu, number) == 7 && DPCPU_SUM(number) == 5 * mp_ncpus + 2);
	DPCPU_ID_SET(mp_maxid, number, 1);
	LKPI_CHECK(*DPCPU_ID_PTR(mp_maxid, number) == 1);
	for (i = 0; i < mp_ncpus; i++) {
		thread_lock(curthread);
		sched_bind(curthread, i);
		thread_unlock(curthread);
		LKPI_CHECK(DPCPU_PTR(number) == DPCPU_ID_PTR(i, number) && sched_is_bound(curthread));
	}
	thread_lock(curthread);
	sched_unbind(curthread);
	thread_unlock(curthread);
	LKPI_CHECK(!sched_is_bound(curthread) && CPU_NEXT(mp_maxid) == CPU_FIRST() && CPU_ABSENT(mp_ncpus));
	DPCPU_ZERO(number);
	LKPI_CHECK(DPCPU_SUM(number) == 0);

	lkpi_syscalls(threads, nitems(threads));
	LKPI_CHECK(DPCPU_VARSUM(counts, adds) == 9);
	CPU_FOREACH(i)
		LKPI_CHECK(DPCPU_ID_PTR(i, counts)->adds == 0 || DPCPU_ID_PTR(i, counts)->cpu == i);
}

/* Who lets others have the CPU meanwhile loses what they add. */
static void
careless(void *arg)
{
	uint64_t before;
	struct counts *own = DPCPU_PTR(counts);

	before = own->adds;
	sched_relinquish(curthread);
	own->adds = before + 1;
}

LKPI_SCENARIO(selftest_kernel_dpcpu_careless)
{
	const struct lkpi_syscall threads[] = {
		{ "one", LKPI_BATCH, 0, careless, NULL },
		{ "two", LKPI_BATCH, 0, careless, NULL },
	};

	lkpi_syscalls(threads, nitems(threads));
	LKPI_CHECK(DPCPU_VARSUM(counts, adds) == 2);
}

LKPI_SCENARIO(selftest_kernel_dpcpu_absent)
{

	DPCPU_ID_SET(mp_ncpus, number, 1);
}

/* What an interrupt's filter does as well. */
static int shared, torn;

static int
tear(void *arg)
{

	if (shared != 0)
		torn++;
	return (FILTER_HANDLED);
}

static void
write_shared(void *arg)
{
	register_t rflags = 0, inner;
	int i;

	for (i = 0; i < 3; i++) {
		if (arg != NULL) {
			rflags = intr_disable();
			LKPI_CHECK((rflags & 0x200) != 0 && curthread->td_critnest == 0);
		}
		shared = 1;
		/* Neither of these lets interrupts in. */
		spinlock_enter();
		inner = intr_disable();
		LKPI_CHECK(arg == NULL || (inner & 0x200) == 0);
		intr_restore(inner);
		spinlock_exit();
		shared = 0;
		if (arg != NULL)
			intr_restore(rflags);
	}
}

static void
interrupts_off(void *arg)
{
	device_t dev = lkpi_newbus_device("foo", 0, lkpi_device_irq("device"));
	const struct lkpi_syscall threads[] = {
		{ "writer", LKPI_BATCH, 0, write_shared, arg },
	};
	struct resource *irq;
	void *cookie;
	int rid = 0;

	irq = bus_alloc_resource_any(dev, SYS_RES_IRQ, &rid, RF_ACTIVE);
	bus_bind_intr(dev, irq, 0);
	bus_setup_intr(dev, irq, INTR_TYPE_MISC, tear, NULL, NULL, &cookie);
	lkpi_syscalls(threads, nitems(threads));
	bus_teardown_intr(dev, irq, cookie);
	LKPI_CHECK(torn == 0);
}

LKPI_SCENARIO(selftest_kernel_intr_disable)
{

	interrupts_off(&shared);
}

LKPI_SCENARIO(selftest_kernel_intr_enabled)
{

	interrupts_off(NULL);
}

/* Once, though it is set by its absolute time, and neither early nor much too late. */
static int fired;

static void
fire(void *arg)
{

	fired++;
}

LKPI_SCENARIO(selftest_kernel_callout_when)
{
	static struct callout callout;
	sbintime_t now, when, exact;

	callout_init(&callout, 1);
	now = sbinuptime();
	callout_when(20 * SBT_1MS, 0, 0, &when, &exact);
	LKPI_CHECK(when >= now + 20 * SBT_1MS && when < now + 2 * SBT_1S && exact == (20 * SBT_1MS) >> 4);
	LKPI_CHECK(callout_reset_sbt(&callout, when, exact, fire, NULL, C_PRECALC) == 0);
	pause("early", 5);
	LKPI_CHECK(fired == 0 || sbinuptime() >= when);
	pause("late", 60);
	LKPI_CHECK(fired == 1 && sbinuptime() >= when);
	callout_when(SBT_1S, SBT_1MS, C_ABSOLUTE, &when, &exact);
	LKPI_CHECK(when == SBT_1S && exact == SBT_1MS);
	callout_when(1, 3, C_HARDCLOCK | C_PREL(0), &when, &exact);
	LKPI_CHECK(when >= now + tick_sbt && exact == tick_sbt);
	callout_when(SBT_MAX, 0, 0, &when, &exact);
	LKPI_CHECK(when == SBT_MAX);
	callout_drain(&callout);
}

LKPI_SCENARIO(selftest_kernel_time)
{
	const struct timespec ts = { 3, 250000000 };
	const struct timeval tv = { 3, 250000 };
	struct timespec now, later;

	LKPI_CHECK(tstosbt(ts) == 3 * SBT_1S + SBT_1S / 4 && tvtosbt(tv) == tstosbt(ts));
	LKPI_CHECK(sbttots(tstosbt(ts)).tv_sec == 3 && sbttots(tstosbt(ts)).tv_nsec == 250000000);
	LKPI_CHECK(sbttotv(tstosbt(ts)).tv_sec == 3 && sbttotv(tstosbt(ts)).tv_usec == 250000);
	getnanouptime(&now);
	pause("time", 1500);
	getnanouptime(&later);
	LKPI_CHECK(tstosbt(later) >= tstosbt(now) + 3 * SBT_1S / 2);
}

/* Handlers of an event: by priority, and not after they are gone. */
typedef void (*test_event_fn)(void *, int);
EVENTHANDLER_DECLARE(test_event, test_event_fn);
EVENTHANDLER_LIST_DECLARE(test_event);
EVENTHANDLER_LIST_DEFINE(test_event);

static char order[16];
static int n_order;

static void
note(void *arg, int value)
{

	LKPI_CHECK(value == 42);
	order[n_order++] = *(char *)arg;
}
EVENTHANDLER_DEFINE(test_event, note, "d", EVENTHANDLER_PRI_ANY);

static eventhandler_tag tag;

static void
note_once(void *arg, int value)
{

	note(arg, value);
	EVENTHANDLER_DEREGISTER_NOWAIT(test_event, tag);
}

LKPI_SCENARIO(selftest_kernel_eventhandler)
{
	eventhandler_tag last;

	tag = EVENTHANDLER_REGISTER(test_event, note_once, "o", EVENTHANDLER_PRI_FIRST);
	last = EVENTHANDLER_REGISTER(test_event, note, "l", EVENTHANDLER_PRI_LAST);
	EVENTHANDLER_REGISTER(test_event, note, "e", EVENTHANDLER_PRI_ANY);
	EVENTHANDLER_INVOKE(test_event, 42);
	EVENTHANDLER_INVOKE(test_event, 42);
	EVENTHANDLER_DEREGISTER(test_event, last);
	EVENTHANDLER_DIRECT_INVOKE(test_event, 42);
	EVENTHANDLER_DEREGISTER(test_event, NULL);
	EVENTHANDLER_INVOKE(test_event, 42);
	EVENTHANDLER_DIRECT_INVOKE(test_event, 42);
	EVENTHANDLER_INVOKE(power_resume);
	LKPI_CHECK(strcmp(order, "odel" "del" "de") == 0);
	/* The end of an emptied list is its beginning. */
	EVENTHANDLER_REGISTER(test_event, note, "x", EVENTHANDLER_PRI_ANY);
	EVENTHANDLER_INVOKE(test_event, 42);
	LKPI_CHECK(order[9] == 'x' && order[10] == '\0');
}

/* Once who deregisters has returned, what its handler looks at may go. */
static struct mtx evt;
static int alive = 1;
static u_int ran;

static void
look(void *arg, int value)
{

	mtx_lock(&evt);
	LKPI_CHECK(atomic_load_int((u_int *)&alive) == 1);
	mtx_unlock(&evt);
	LKPI_CHECK(atomic_load_int((u_int *)&alive) == 1);
	atomic_add_int(&ran, 1);
}

static void
invoker(void *arg)
{

	EVENTHANDLER_INVOKE(test_event, 42);
}

static void
leaver(void *arg)
{

	EVENTHANDLER_DEREGISTER(test_event, tag);
	atomic_store_int((u_int *)&alive, 0);
}

static void
hasty(void *arg)
{

	EVENTHANDLER_DEREGISTER_NOWAIT(test_event, tag);
	atomic_store_int((u_int *)&alive, 0);
}

static void
deregister(void (*how)(void *))
{
	const struct lkpi_syscall threads[] = {
		{ "one", LKPI_BATCH, -1, invoker, NULL },
		{ "leaver", LKPI_BATCH, -1, how, NULL },
		{ "two", LKPI_BATCH, -1, invoker, NULL },
	};

	mtx_init(&evt, "evt", NULL, MTX_DEF);
	EVENTHANDLER_DEREGISTER(test_event, NULL);
	tag = EVENTHANDLER_REGISTER(test_event, look, NULL, EVENTHANDLER_PRI_ANY);
	lkpi_syscalls(threads, nitems(threads));
	EVENTHANDLER_INVOKE(test_event, 42);
	LKPI_CHECK(ran <= 2);
	mtx_destroy(&evt);
}

LKPI_SCENARIO(selftest_kernel_deregister)
{

	deregister(leaver);
}

LKPI_SCENARIO(selftest_kernel_deregister_nowait)
{

	deregister(hasty);
}
