/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * Interrupts as FreeBSD's drivers have them: newbus, interrupt events and software interrupts.
 * compat-tests/tests/c_interrupt.rs runs it.
 */

#include <linuxkpi/scenario.h>

#include <machine/atomic.h>
#include <sys/bus.h>
#include <sys/epoch.h>
#include <sys/errno.h>
#include <sys/interrupt.h>
#include <sys/kernel.h>
#include <sys/mutex.h>
#include <sys/rman.h>
#include <sys/smp.h>

/* A device and its driver, with all that the handlers look at. */
struct softc {
	device_t dev;
	struct resource *irq;
	void *cookie;
	struct mtx mtx;
	/* What the filter returns. */
	int answer;
	u_int filtered;
	u_int handled;
	/* The handler runs for so many ticks, busy. */
	int busy;
	u_int inside;
};

static struct softc first, second;

static int
filter(void *arg)
{
	struct softc *sc = arg;

	LKPI_CHECK(curthread->td_critnest >= 1 && curthread->td_intr_nesting_level == 1);
	atomic_add_int(&sc->filtered, 1);
	return (sc->answer);
}

static void
handler(void *arg)
{
	struct softc *sc = arg;

	LKPI_CHECK(curthread->td_critnest == 0 && curthread->td_intr_nesting_level == 0);
	LKPI_CHECK(!THREAD_CAN_SLEEP() && !mtx_owned(&Giant));
	atomic_store_rel_int(&sc->inside, 1);
	mtx_lock(&sc->mtx);
	if (sc->busy != 0)
		DELAY(1000 * sc->busy);
	mtx_unlock(&sc->mtx);
	atomic_add_int(&sc->handled, 1);
	atomic_store_rel_int(&sc->inside, 0);
}

static void
attach(struct softc *sc, const char *name, unsigned int irq, u_int flags)
{
	int rid = 0;

	sc->dev = lkpi_newbus_device(name, 7, irq);
	device_set_softc(sc->dev, sc);
	mtx_init(&sc->mtx, device_get_nameunit(sc->dev), "driver", MTX_DEF);
	sc->irq = bus_alloc_resource_any(sc->dev, SYS_RES_IRQ, &rid, RF_ACTIVE | flags);
}

static void
detach(struct softc *sc)
{

	LKPI_CHECK(bus_teardown_intr(sc->dev, sc->irq, sc->cookie) == 0);
	LKPI_CHECK(bus_release_resource(sc->dev, SYS_RES_IRQ, 0, sc->irq) == 0);
	mtx_destroy(&sc->mtx);
}

/* An interrupt comes only where the schedule is asked. */
static void
wait_a_while(void)
{

	lkpi_explore_begin();
	pause("wait", 10);
	lkpi_explore_end();
}

static void
raise_and_wait(unsigned int irq)
{

	lkpi_explore_begin();
	lkpi_raise(irq);
	pause("raised", 10);
	lkpi_explore_end();
}

LKPI_SCENARIO(selftest_intr_newbus)
{
	const int answers[] = { FILTER_HANDLED, FILTER_STRAY, FILTER_HANDLED | FILTER_SCHEDULE_THREAD,
	    FILTER_SCHEDULE_THREAD };
	unsigned int irq = lkpi_raised_irq("device", -1);
	int rid = 0;
	size_t i;

	attach(&first, "foo", irq, RF_SHAREABLE);
	LKPI_CHECK(strcmp(device_get_nameunit(first.dev), "foo7") == 0 && strcmp(device_get_name(first.dev), "foo") == 0);
	LKPI_CHECK(device_get_unit(first.dev) == 7 && device_get_softc(first.dev) == &first);
	LKPI_CHECK(first.irq != NULL && rman_get_start(first.irq) == irq);
	LKPI_CHECK(rman_get_flags(first.irq) == (RF_ALLOCATED | RF_ACTIVE | RF_SHAREABLE));
	/* It has no other resource, and this one once. */
	LKPI_CHECK(bus_alloc_resource_any(first.dev, SYS_RES_IRQ, &rid, RF_SHAREABLE) == NULL);
	LKPI_CHECK(bus_alloc_resource_any(first.dev, SYS_RES_MEMORY, &rid, RF_ACTIVE) == NULL);

	/* Neither a filter nor a handler. */
	LKPI_CHECK(bus_setup_intr(first.dev, first.irq, INTR_TYPE_MISC | INTR_MPSAFE, NULL, NULL, &first,
	    &first.cookie) == EINVAL && first.cookie == NULL);
	LKPI_CHECK(bus_teardown_intr(first.dev, first.irq, NULL) == EINVAL);

	LKPI_CHECK(bus_setup_intr(first.dev, first.irq, INTR_TYPE_MISC | INTR_MPSAFE, filter, handler, &first,
	    &first.cookie) == 0 && first.cookie != NULL);
	LKPI_CHECK(bus_describe_intr(first.dev, first.irq, first.cookie, "queue %d", 0) == 0);
	LKPI_CHECK(strcmp(((struct intr_handler *)first.cookie)->ih_name, "foo7:queue 0") == 0);
	LKPI_CHECK(bus_describe_intr(first.dev, first.irq, first.cookie, "rx") == 0);
	LKPI_CHECK(strcmp(((struct intr_handler *)first.cookie)->ih_name, "foo7:rx") == 0);
	LKPI_CHECK(bus_describe_intr(first.dev, first.irq, first.cookie, "%s", "0123456789abcdef") == ENOSPC);
	for (i = 0; i < nitems(answers); i++) {
		first.answer = answers[i];
		raise_and_wait(irq);
		LKPI_CHECK(first.filtered == i + 1);
		/* "Both" does not schedule the thread. */
		LKPI_CHECK(atomic_load_int(&first.handled) == (i == nitems(answers) - 1));
	}
	_intr_drain((int)irq);
	detach(&first);
	raise_and_wait(irq);
	LKPI_CHECK(first.filtered == nitems(answers) && first.handled == 1);
	_intr_drain((int)irq);
	_intr_drain(31);
}

/* The interrupt comes at any time, a thread takes the driver's lock meanwhile, and after the teardown nobody is in the handler. */
static void
worker(void *arg)
{
	int i;

	for (i = 0; i < 3; i++) {
		mtx_lock(&first.mtx);
		LKPI_CHECK(atomic_load_int(&first.inside) <= 1);
		mtx_unlock(&first.mtx);
	}
}

static void
closer(void *arg)
{

	LKPI_CHECK(bus_teardown_intr(first.dev, first.irq, first.cookie) == 0);
	LKPI_CHECK(atomic_load_acq_int(&first.inside) == 0);
	first.answer = -1;
}

LKPI_SCENARIO(selftest_intr_teardown)
{
	const struct lkpi_syscall threads[] = {
		{ "worker", LKPI_BATCH, -1, worker, NULL },
		{ "closer", LKPI_BATCH, -1, closer, NULL },
	};

	attach(&first, "foo", lkpi_device_irq("device"), RF_SHAREABLE);
	first.answer = FILTER_SCHEDULE_THREAD;
	bus_setup_intr(first.dev, first.irq, INTR_TYPE_AV | INTR_MPSAFE, filter, handler, &first, &first.cookie);
	lkpi_syscalls(threads, nitems(threads));
}

/* What worker2 and the handler do to it has to be done by one of them alone, if Giant is what keeps the other out. */
static int plain, giant_runs;

static void
giant_handler(void *arg)
{

	GIANT_REQUIRED;
	plain++;
	plain--;
	atomic_add_int((u_int *)&giant_runs, 1);
}

static void
under_giant(void *arg)
{

	lkpi_raise((unsigned int)(uintptr_t)arg);
	mtx_lock(&Giant);
	plain++;
	LKPI_CHECK(plain == 1);
	plain--;
	mtx_unlock(&Giant);
}

LKPI_SCENARIO(selftest_intr_giant)
{
	unsigned int irq = lkpi_raised_irq("device", -1);
	const struct lkpi_syscall threads[] = {
		{ "one", LKPI_BATCH, -1, under_giant, (void *)(uintptr_t)irq },
		{ "other", LKPI_BATCH, -1, under_giant, (void *)(uintptr_t)irq },
	};

	attach(&first, "foo", irq, 0);
	LKPI_CHECK(bus_setup_intr(first.dev, first.irq, INTR_TYPE_MISC, NULL, giant_handler, NULL, &first.cookie) == 0);
	lkpi_syscalls(threads, nitems(threads));
	wait_a_while();
	LKPI_CHECK(giant_runs >= 1);
	detach(&first);
}

/* One interrupt for two devices: both are asked, in the order of their priorities, then in that of their coming. */
static u_int order[8], n_order;

static void
note(void *arg)
{

	order[n_order++] = (u_int)(uintptr_t)arg;
}

LKPI_SCENARIO(selftest_intr_shared)
{
	unsigned int irq = lkpi_raised_irq("line", 0);
	void *cookies[3];
	int rid = 0;

	attach(&first, "foo", irq, RF_SHAREABLE);
	attach(&second, "bar", irq, RF_SHAREABLE);
	LKPI_CHECK(first.irq != NULL && second.irq != NULL && first.irq != second.irq);
	bus_setup_intr(first.dev, first.irq, INTR_TYPE_MISC | INTR_MPSAFE, NULL, note, (void *)1, &cookies[0]);
	bus_setup_intr(second.dev, second.irq, INTR_TYPE_MISC | INTR_MPSAFE, NULL, note, (void *)2, &cookies[1]);
	bus_setup_intr(second.dev, second.irq, INTR_TYPE_CLK | INTR_MPSAFE, NULL, note, (void *)3, &cookies[2]);
	/* Who wants to be alone is too late. */
	LKPI_CHECK(bus_setup_intr(first.dev, first.irq, INTR_TYPE_MISC | INTR_EXCL, NULL, note, NULL, &first.cookie) == EINVAL);
	raise_and_wait(irq);
	LKPI_CHECK(n_order == 3 && order[0] == 3 && order[1] == 1 && order[2] == 2);
	/* Suspended it is left out; resumed, all have another look. */
	LKPI_CHECK(bus_suspend_intr(first.dev, first.irq, cookies[0]) == 0);
	n_order = 0;
	raise_and_wait(irq);
	LKPI_CHECK(n_order == 2 && order[0] == 3 && order[1] == 2);
	n_order = 0;
	LKPI_CHECK(bus_resume_intr(first.dev, first.irq, cookies[0]) == 0);
	LKPI_CHECK(n_order == 3 && order[1] == 1);
	LKPI_CHECK(bus_teardown_intr(first.dev, first.irq, cookies[0]) == 0);
	LKPI_CHECK(bus_teardown_intr(second.dev, second.irq, cookies[1]) == 0);
	n_order = 0;
	raise_and_wait(irq);
	LKPI_CHECK(n_order == 1 && order[0] == 3);
	LKPI_CHECK(bus_teardown_intr(second.dev, second.irq, cookies[2]) == 0);
	/* One that does not share waits until both are gone, and has it alone. */
	LKPI_CHECK(bus_release_resource(second.dev, second.irq) == 0);
	LKPI_CHECK(bus_alloc_resource_any(second.dev, SYS_RES_IRQ, &rid, RF_ACTIVE) == NULL);
	LKPI_CHECK(bus_release_resource(first.dev, first.irq) == 0);
	LKPI_CHECK(bus_release_resource(first.dev, first.irq) == EINVAL);
	second.irq = bus_alloc_resource_any(second.dev, SYS_RES_IRQ, &rid, RF_ACTIVE);
	LKPI_CHECK(second.irq != NULL && bus_alloc_resource_any(first.dev, SYS_RES_IRQ, &rid, RF_SHAREABLE) == NULL);
	bus_setup_intr(second.dev, second.irq, INTR_TYPE_MISC | INTR_MPSAFE, NULL, note, (void *)2, &cookies[1]);
	LKPI_CHECK(bus_setup_intr(second.dev, second.irq, INTR_TYPE_MISC | INTR_MPSAFE, NULL, note, (void *)2,
	    &cookies[0]) == EINVAL);
	bus_teardown_intr(second.dev, second.irq, cookies[1]);
}

/* A bound interrupt and its thread stay on their CPU. */
static void
on_cpu(void *arg)
{

	LKPI_CHECK(curcpu == *(int *)arg);
	critical_enter();
	critical_exit();
	LKPI_CHECK(curcpu == *(int *)arg);
	atomic_add_int(&first.handled, 1);
}

LKPI_SCENARIO(selftest_intr_bind)
{
	unsigned int irq = lkpi_raised_irq("device", -1);
	static int cpu;

	attach(&first, "foo", irq, 0);
	first.answer = FILTER_SCHEDULE_THREAD;
	bus_setup_intr(first.dev, first.irq, INTR_TYPE_MISC | INTR_MPSAFE, NULL, on_cpu, &cpu, &first.cookie);
	LKPI_CHECK(bus_bind_intr(first.dev, first.irq, mp_ncpus) == EINVAL);
	for (cpu = 0; cpu < 2; cpu++) {
		LKPI_CHECK(bus_bind_intr(first.dev, first.irq, cpu) == 0);
		raise_and_wait(irq);
		LKPI_CHECK(first.handled == (u_int)cpu + 1);
		_intr_drain((int)irq);
	}
	LKPI_CHECK(bus_bind_intr(first.dev, first.irq, -1) == 0);
	detach(&first);
}

/* Handlers that may sleep, and those of the network's. */
static void
sleeper(void *arg)
{

	LKPI_CHECK(THREAD_CAN_SLEEP() && !in_epoch(net_epoch_preempt));
	pause("handler", 1);
	atomic_add_int(&first.handled, 1);
}

static void
net_handler(void *arg)
{

	NET_EPOCH_ASSERT();
	atomic_add_int(&second.handled, 1);
}

LKPI_SCENARIO(selftest_intr_types)
{
	unsigned int irq = lkpi_raised_irq("sleepable", -1), net = lkpi_raised_irq("net", -1);

	attach(&first, "foo", irq, RF_SHAREABLE);
	LKPI_CHECK(bus_setup_intr(first.dev, first.irq, INTR_TYPE_MISC | INTR_MPSAFE | INTR_SLEEPABLE, NULL, sleeper, NULL,
	    &first.cookie) == EINVAL);
	LKPI_CHECK(bus_setup_intr(first.dev, first.irq, INTR_TYPE_MISC | INTR_MPSAFE | INTR_SLEEPABLE | INTR_EXCL, NULL,
	    sleeper, NULL, &first.cookie) == 0);
	attach(&second, "bar", net, 0);
	LKPI_CHECK(bus_setup_intr(second.dev, second.irq, INTR_TYPE_NET | INTR_MPSAFE, NULL, net_handler, NULL,
	    &second.cookie) == 0);
	lkpi_raise(irq);
	raise_and_wait(net);
	LKPI_CHECK(first.handled == 1 && second.handled == 1);
	detach(&first);
	detach(&second);
}

/* A software interrupt runs as often as it has to, and not twice for two requests that it has not begun. */
static struct intr_event *soft;
static void *one, *other;
static u_int requested, served, others;

static void
serve(void *arg)
{

	LKPI_CHECK(arg == &served && THREAD_CAN_SLEEP() && !mtx_owned(&Giant) && curthread->td_critnest == 0);
	atomic_store_rel_int(&served, atomic_load_acq_int(&requested));
}

static void
serve_other(void *arg)
{

	GIANT_REQUIRED;
	others++;
}

static void
requester(void *arg)
{

	atomic_add_int(&requested, 1);
	swi_sched(one, 0);
}

static int
swi_filter(void *arg)
{

	swi_sched(one, 0);
	return (FILTER_HANDLED);
}

LKPI_SCENARIO(selftest_intr_swi)
{
	const struct lkpi_syscall threads[] = {
		{ "one", LKPI_BATCH, -1, requester, NULL },
		{ "other", LKPI_BATCH, -1, requester, NULL },
	};
	unsigned int irq = lkpi_raised_irq("device", -1);

	LKPI_CHECK(swi_add(&soft, "mine", serve, &served, SWI_TQ, INTR_MPSAFE | INTR_ENTROPY, &one) == EINVAL && soft == NULL);
	LKPI_CHECK(swi_add(&soft, "mine", serve, &served, SWI_TQ, INTR_MPSAFE, &one) == 0 && soft != NULL);
	LKPI_CHECK(swi_add(&soft, "other", serve_other, NULL, SWI_TQ, 0, &other) == 0);
	lkpi_syscalls(threads, nitems(threads));
	wait_a_while();
	LKPI_CHECK(atomic_load_int(&served) == 2 && others == 0);

	/* Later, when somebody else has it run. */
	swi_sched(other, SWI_DELAY);
	wait_a_while();
	LKPI_CHECK(others == 0);
	requester(NULL);
	wait_a_while();
	LKPI_CHECK(others == 1 && served == 3);

	/* From a filter. */
	attach(&first, "foo", irq, 0);
	bus_setup_intr(first.dev, first.irq, INTR_TYPE_MISC, swi_filter, NULL, NULL, &first.cookie);
	requested++;
	raise_and_wait(irq);
	LKPI_CHECK(served == 4);
	detach(&first);

	LKPI_CHECK(intr_event_destroy(soft) == EBUSY);
	LKPI_CHECK(swi_remove(NULL) == EINVAL && swi_remove(one) == 0 && swi_remove(other) == 0);
	LKPI_CHECK(intr_event_destroy(soft) == 0 && intr_event_destroy(NULL) == EINVAL);
}

/* An event of a driver's own, which demultiplexes an interrupt. */
static struct intr_event *child;
static u_int pre, post, filtered;

static void
count(void *arg)
{

	atomic_add_int(arg, 1);
}

static void
count_pre(void *arg)
{

	LKPI_CHECK(arg == &child);
	pre++;
}

static void
count_post(void *arg)
{

	LKPI_CHECK(arg == &child);
	atomic_add_int(&post, 1);
}

static void
count_filtered(void *arg)
{

	filtered++;
}

static int
assign(void *arg, int cpu)
{

	return (cpu == 1 ? EBUSY : 0);
}

static int
parent(void *arg)
{

	LKPI_CHECK(intr_event_handle(child, NULL) == 0);
	return (FILTER_HANDLED);
}

LKPI_SCENARIO(selftest_intr_event)
{
	unsigned int irq = lkpi_raised_irq("parent", 0);
	struct intr_event *none;
	void *cookies[2];
	static u_int runs;

	LKPI_CHECK(intr_event_create(&child, &child, 0x40, -1, NULL, NULL, NULL, NULL, "bad") == EINVAL);
	LKPI_CHECK(intr_event_create(&child, &child, 0, -1, count_pre, count_post, count_filtered, assign, "gpio%d", 3) == 0);
	LKPI_CHECK(intr_event_create(&none, NULL, 0, -1, NULL, NULL, NULL, NULL, "none") == 0);
	LKPI_CHECK(intr_event_handle(NULL, NULL) == EINVAL && intr_event_handle(child, NULL) == EINVAL);
	LKPI_CHECK(swi_add(&child, "hard", count, &runs, SWI_TQ, 0, &cookies[0]) == EINVAL);
	LKPI_CHECK(intr_event_add_handler(NULL, "pin", NULL, count, &runs, PI_INTR, INTR_TYPE_MISC, &cookies[0]) == EINVAL);
	LKPI_CHECK(intr_event_add_handler(child, NULL, NULL, count, &runs, PI_INTR, INTR_TYPE_MISC, &cookies[0]) == EINVAL);
	LKPI_CHECK(intr_event_add_handler(child, "pin", NULL, NULL, &runs, PI_INTR, INTR_TYPE_MISC, &cookies[0]) == EINVAL);
	LKPI_CHECK(intr_event_add_handler(child, "pin", NULL, count, &runs, PI_INTR, INTR_TYPE_MISC | INTR_MPSAFE,
	    &cookies[0]) == 0);
	LKPI_CHECK(((struct intr_handler *)cookies[0])->ih_pri == PI_INTR &&
	    ((struct intr_handler *)cookies[0])->ih_event == child);
	LKPI_CHECK(intr_event_bind(child, 1) == EBUSY && intr_event_bind(child, 0) == 0);
	LKPI_CHECK(intr_event_bind(child, 64) == EINVAL && intr_event_bind(none, 0) == EOPNOTSUPP);

	attach(&first, "foo", irq, 0);
	bus_setup_intr(first.dev, first.irq, INTR_TYPE_MISC, parent, NULL, NULL, &first.cookie);
	raise_and_wait(irq);
	LKPI_CHECK(runs == 1 && pre == 1 && post == 1 && filtered == 0);
	LKPI_CHECK(intr_event_suspend_handler(cookies[0]) == 0);
	raise_and_wait(irq);
	LKPI_CHECK(runs == 1 && pre == 1 && filtered == 1);
	detach(&first);
	LKPI_CHECK(intr_event_remove_handler(cookies[0]) == 0 && intr_event_remove_handler(NULL) == EINVAL);
	LKPI_CHECK(intr_event_destroy(child) == 0 && intr_event_destroy(none) == 0);
	LKPI_CHECK(intr_priority(INTR_TYPE_NET | INTR_MPSAFE) == PI_NET && intr_priority(INTR_TYPE_CLK) == PI_REALTIME);
}

/* What is wrong. */
static int
wrong_filter(void *arg)
{

	return (FILTER_STRAY | FILTER_HANDLED);
}

LKPI_SCENARIO(selftest_intr_wrong_filter)
{
	unsigned int irq = lkpi_raised_irq("device", -1);

	attach(&first, "foo", irq, 0);
	bus_setup_intr(first.dev, first.irq, INTR_TYPE_MISC, wrong_filter, NULL, NULL, &first.cookie);
	bus_describe_intr(first.dev, first.irq, first.cookie, "tx");
	raise_and_wait(irq);
}

LKPI_SCENARIO(selftest_intr_no_type)
{

	attach(&first, "foo", lkpi_raised_irq("device", -1), 0);
	bus_setup_intr(first.dev, first.irq, INTR_MPSAFE, filter, NULL, NULL, &first.cookie);
}

LKPI_SCENARIO(selftest_intr_no_resource)
{

	attach(&first, "foo", lkpi_raised_irq("device", -1), 0);
	bus_setup_intr(first.dev, NULL, INTR_TYPE_MISC, filter, NULL, NULL, &first.cookie);
}

LKPI_SCENARIO(selftest_intr_twice)
{

	attach(&first, "foo", lkpi_raised_irq("device", -1), 0);
	bus_setup_intr(first.dev, first.irq, INTR_TYPE_MISC, filter, NULL, NULL, &first.cookie);
	bus_teardown_intr(first.dev, first.irq, first.cookie);
	bus_teardown_intr(first.dev, first.irq, first.cookie);
}

LKPI_SCENARIO(selftest_intr_stray_swi)
{

	swi_add(NULL, "mine", serve, &served, SWI_TQ, INTR_MPSAFE, &one);
	swi_remove(one);
	swi_sched(one, 0);
}

LKPI_SCENARIO(selftest_intr_setup_in_critical)
{

	attach(&first, "foo", lkpi_raised_irq("device", -1), 0);
	critical_enter();
	bus_setup_intr(first.dev, first.irq, INTR_TYPE_MISC, filter, NULL, NULL, &first.cookie);
}

static void
own_teardown(void *arg)
{

	bus_teardown_intr(first.dev, first.irq, first.cookie);
}

LKPI_SCENARIO(selftest_intr_own_teardown)
{
	unsigned int irq = lkpi_raised_irq("device", -1);

	attach(&first, "foo", irq, 0);
	bus_setup_intr(first.dev, first.irq, INTR_TYPE_MISC | INTR_MPSAFE, NULL, own_teardown, NULL, &first.cookie);
	raise_and_wait(irq);
}
