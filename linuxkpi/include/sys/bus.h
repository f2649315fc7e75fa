/*-
 * SPDX-License-Identifier: BSD-2-Clause
 *
 * sys/bus.h: what a driver calls of newbus for its interrupt. There is no bus: a scenario makes the device, with
 * lkpi_newbus_device() of linuxkpi/scenario.h, and the driver allocates its interrupt as SYS_RES_IRQ 0. Devices and resources
 * are opaque.
 */

#ifndef _SYS_BUS_H_
#define _SYS_BUS_H_

#include <machine/resource.h>
#include <sys/param.h>
#include <sys/proc.h>
#include <sys/rman.h>
#include <sys/systm.h>

#define FILTER_STRAY 0x01
#define FILTER_HANDLED 0x02
#define FILTER_SCHEDULE_THREAD 0x04

typedef int driver_filter_t(void *);
typedef void driver_intr_t(void *);

enum intr_type {
	INTR_TYPE_TTY = 1,
	INTR_TYPE_BIO = 2,
	INTR_TYPE_NET = 4,
	INTR_TYPE_CAM = 8,
	INTR_TYPE_MISC = 16,
	INTR_TYPE_CLK = 32,
	INTR_TYPE_AV = 64,
	INTR_EXCL = 256,
	INTR_MPSAFE = 512,
	INTR_ENTROPY = 1024,
	INTR_SLEEPABLE = 2048,
	INTR_MD1 = 4096,
	INTR_MD2 = 8192,
	INTR_MD3 = 16384,
	INTR_MD4 = 32768
};

int bus_setup_intr(device_t, struct resource *, int, driver_filter_t *, driver_intr_t *, void *, void **);
int bus_teardown_intr(device_t, struct resource *, void *);
int bus_suspend_intr(device_t, struct resource *, void *);
int bus_resume_intr(device_t, struct resource *, void *);
int bus_bind_intr(device_t, struct resource *, int);
int lkpi_bus_describe_intr(struct resource *, void *, const char *);
/* A description that is too long is cut short. */
#define bus_describe_intr(dev, irq, cookie, ...) __extension__ ({	\
	char lkpi_descr_[MAXCOMLEN + 1];				\
									\
	snprintf(lkpi_descr_, sizeof(lkpi_descr_), __VA_ARGS__);	\
	(void)(dev);							\
	lkpi_bus_describe_intr((irq), (cookie), lkpi_descr_);		\
})

struct resource *bus_alloc_resource(device_t, int, int *, rman_res_t, rman_res_t, rman_res_t, u_int);
int bus_release_resource(device_t, struct resource *);
int lkpi_bus_activate_resource(device_t, struct resource *);
int lkpi_bus_deactivate_resource(device_t, struct resource *);

static __inline struct resource *
bus_alloc_resource_any(device_t dev, int type, int *rid, u_int flags)
{

	return (bus_alloc_resource(dev, type, rid, 0, ~(rman_res_t)0, 1, flags));
}

/* The resource's type and number may be given as well: FreeBSD has both forms. */
#define LKPI_BUS_4(dev, a, b, resource, ...) dev, resource
#define LKPI_BUS_2(dev, resource, ...) dev, resource
#define LKPI_BUS_PICK(a, b, c, d, name, ...) name
#define LKPI_BUS_ARGS(...)						\
	LKPI_BUS_PICK(__VA_ARGS__, LKPI_BUS_4, LKPI_BUS_3, LKPI_BUS_2, 1)(__VA_ARGS__, 0)
#define bus_release_resource(...) bus_release_resource(LKPI_BUS_ARGS(__VA_ARGS__))
#define bus_activate_resource(...) lkpi_bus_activate_resource(LKPI_BUS_ARGS(__VA_ARGS__))
#define bus_deactivate_resource(...) lkpi_bus_deactivate_resource(LKPI_BUS_ARGS(__VA_ARGS__))

void *device_get_softc(device_t);
void device_set_softc(device_t, void *);
const char *device_get_name(device_t);
const char *device_get_nameunit(device_t);
int device_get_unit(device_t);
int lkpi_device_printf(device_t, const char *);
#define device_printf(dev, ...) __extension__ ({			\
	char lkpi_text_[256];						\
									\
	snprintf(lkpi_text_, sizeof(lkpi_text_), __VA_ARGS__);		\
	lkpi_device_printf((dev), lkpi_text_);				\
})

#endif /* _SYS_BUS_H_ */
