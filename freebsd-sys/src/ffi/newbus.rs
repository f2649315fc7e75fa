//! FreeBSD's symbols of newbus that drivers call for their interrupts; `linuxkpi/include/sys/bus.h` and `rman.h` declare them.
//!
//! There is no bus: a scenario makes a device that has one interrupt ([`lkpi_newbus_device`]), which its driver allocates as
//! `SYS_RES_IRQ` 0, as of a PCI device without MSIs. Two devices may share an interrupt. What the parents of a PCI device do of a call is
//! done here, in their order.
//!
//! # Context
//!
//! Thread context: all but the small ones may sleep.
//!
//! References: sys/bus.h, sys/rman.h, kern/subr_bus.c, kern/subr_rman.c, x86/x86/nexus.c, x86/x86/intr_machdep.c, BUS_SETUP_INTR(9).

use super::interrupt::{
    DriverFilter, DriverIntr, IntrHandler, intr, intr_event_add_handler, intr_event_describe_handler,
    intr_event_remove_handler, intr_event_resume_handler, intr_event_suspend_handler, intr_priority, present,
};
use super::{deref, text};
use crate::atomic::{OwnedPtr, Shared32};
use crate::cpu;
use crate::interrupt::{self, Arrival, Irq};
use crate::module::{Kept, ModuleData};
use crate::panic::{kpanic, kprintf};
use crate::sched::pri;
use core::ffi::{CStr, c_char, c_int, c_uint, c_ulong, c_void};
use std::ffi::CString;

const EINVAL: c_int = 22;

const SYS_RES_IRQ: c_int = 1;

/// `RF_*`.
mod rf {
    pub(super) const ALLOCATED: u32 = 1;
    pub(super) const ACTIVE: u32 = 2;
    pub(super) const SHAREABLE: u32 = 4;
}

/// `struct resource`: a device's interrupt.
#[derive(Debug)]
pub struct Resource {
    irq: Irq,
    /// [`rf`]; 0 while it is not allocated.
    flags: Shared32,
}

/// `device_t`.
#[derive(Debug)]
pub struct Device {
    name: CString,
    unit: c_int,
    nameunit: CString,
    softc: OwnedPtr<c_void>,
    irq: Resource,
}

/// A machine's devices.
#[derive(Default)]
struct Devices {
    devices: Kept<Device>,
    /// Who has allocated an interrupt: so many that share it, or [`ALONE`].
    users: [Users; 32],
}

struct Users(Shared32);

impl Default for Users {
    fn default() -> Self {
        Self(Shared32::new(0))
    }
}

/// One that does not share.
const ALONE: u32 = u32::MAX;

static DEVICES: ModuleData<Devices> = ModuleData::new();

fn users(irq: Irq) -> &'static Shared32 {
    &DEVICES.get().users[usize::from(irq.0)].0
}

/// An interrupt that comes when [`lkpi_raise`] says so, on that CPU, or on any if it is -1.
///
/// # Safety
///
/// `name` is a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn lkpi_raised_irq(name: *const c_char, cpu: c_int) -> c_uint {
    // SAFETY: the caller's promise; the name is copied.
    let name = unsafe { text(name) };
    interrupt::create(name, Arrival::Raised, pri::PI_INTR, usize::try_from(cpu).ok()).0.into()
}

/// [`interrupt::raise`].
#[unsafe(no_mangle)]
pub extern "C-unwind" fn lkpi_raise(irq: c_uint) {
    interrupt::raise(known(irq));
}

/// An interrupt that a scenario made.
fn known(irq: c_uint) -> Irq {
    match u16::try_from(irq).ok().map(Irq).filter(|&irq| interrupt::exists(irq)) {
        Some(irq) => irq,
        None => kpanic!("lkpi: there is no interrupt {irq}"),
    }
}

/// A device, attached, with that interrupt.
///
/// # Safety
///
/// `name` is a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn lkpi_newbus_device(name: *const c_char, unit: c_int, irq: c_uint) -> *const Device {
    let irq = Resource { irq: known(irq), flags: Shared32::new(0) };
    // SAFETY: the caller's promise; the name is copied.
    let name = unsafe { CStr::from_ptr(name) }.to_owned();
    let nameunit = CString::new(format!("{}{unit}", name.to_string_lossy())).unwrap_or_default();
    DEVICES.get().devices.keep(|_| Box::new(Device { name, unit, nameunit, softc: OwnedPtr::null(), irq }))
}

/// `device_get_softc()`.
///
/// # Safety
///
/// `dev` is a device.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn device_get_softc(dev: *const Device) -> *mut c_void {
    // SAFETY: the caller's promise.
    unsafe { deref(dev) }.softc.get()
}

/// `device_set_softc()`.
///
/// # Safety
///
/// `dev` is a device.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn device_set_softc(dev: *const Device, softc: *mut c_void) {
    // SAFETY: the caller's promise.
    unsafe { deref(dev) }.softc.set(softc);
}

/// `device_get_name()`.
///
/// # Safety
///
/// `dev` is a device.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn device_get_name(dev: *const Device) -> *const c_char {
    // SAFETY: the caller's promise.
    unsafe { deref(dev) }.name.as_ptr()
}

/// `device_get_unit()`.
///
/// # Safety
///
/// `dev` is a device.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn device_get_unit(dev: *const Device) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { deref(dev) }.unit
}

/// `device_get_nameunit()`.
///
/// # Safety
///
/// `dev` is a device.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn device_get_nameunit(dev: *const Device) -> *const c_char {
    // SAFETY: the caller's promise.
    unsafe { deref(dev) }.nameunit.as_ptr()
}

/// `device_printf()` with the text ready; returns how much of it there was.
///
/// # Safety
///
/// `dev` is a device, and `message` a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn lkpi_device_printf(dev: *const Device, message: *const c_char) -> c_int {
    // SAFETY: the caller's promise.
    let (dev, message) = unsafe { (deref(dev), text(message)) };
    let line = format!("{}: {message}", dev.nameunit.to_string_lossy());
    kprintf!("{}", line.trim_end_matches('\n'));
    line.len() as c_int
}

/// `bus_alloc_resource()`: null of anything but the device's interrupt, and of one that is allocated already, by this device or by one
/// that does not want to share it. The range is not looked at: the interrupt has its number.
///
/// # Safety
///
/// `dev` is a device, and `rid` points at a number.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn bus_alloc_resource(
    dev: *const Device,
    kind: c_int,
    rid: *mut c_int,
    _start: c_ulong,
    _end: c_ulong,
    _count: c_ulong,
    flags: c_uint,
) -> *const Resource {
    if !cpu::step("bus_alloc_resource", 0) {
        return core::ptr::null();
    }
    // SAFETY: the caller's promise.
    let (resource, rid) = unsafe { (&deref(dev).irq, *rid) };
    if kind != SYS_RES_IRQ || rid != 0 || resource.flags.get() != 0 {
        return core::ptr::null();
    }
    let users = users(resource.irq);
    let others = match (users.get(), flags & rf::SHAREABLE) {
        (0, 0) => ALONE,
        (ALONE, _) | (_, 0) => return core::ptr::null(),
        (n, _) => n + 1,
    };
    users.set(others);
    resource.flags.set(flags & (rf::ACTIVE | rf::SHAREABLE) | rf::ALLOCATED);
    resource
}

/// `bus_release_resource()`.
///
/// # Safety
///
/// `dev` is a device, and `resource` one of its resources.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn bus_release_resource(dev: *const Device, resource: *const Resource) -> c_int {
    if !cpu::step("bus_release_resource", 0) {
        return 0;
    }
    // SAFETY: the caller's promise.
    let Some(resource) = (unsafe { own(dev, resource) }) else { return EINVAL };
    let users = users(resource.irq);
    users.set(if users.get() == ALONE { 0 } else { users.get() - 1 });
    resource.flags.set(0);
    0
}

/// The device's resource, if it is that, and allocated.
///
/// # Safety
///
/// `dev` is a device.
unsafe fn own<'a>(dev: *const Device, resource: *const Resource) -> Option<&'a Resource> {
    // SAFETY: the caller's promise.
    let own = unsafe { &deref(dev).irq };
    (core::ptr::eq(own, resource) && own.flags.get() != 0).then_some(own)
}

/// `bus_activate_resource()`.
///
/// # Safety
///
/// As for [`bus_release_resource`].
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn lkpi_bus_activate_resource(dev: *const Device, resource: *const Resource) -> c_int {
    // SAFETY: the caller's promise.
    let Some(resource) = (unsafe { own(dev, resource) }) else { return EINVAL };
    resource.flags.or(rf::ACTIVE);
    0
}

/// `bus_deactivate_resource()`.
///
/// # Safety
///
/// As for [`bus_release_resource`].
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn lkpi_bus_deactivate_resource(dev: *const Device, resource: *const Resource) -> c_int {
    // SAFETY: the caller's promise.
    let Some(resource) = (unsafe { own(dev, resource) }) else { return EINVAL };
    resource.flags.clear(rf::ACTIVE);
    0
}

/// `rman_get_start()`: the interrupt's number, which request_irq(), too, calls it by.
///
/// # Safety
///
/// `resource` is a resource.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn rman_get_start(resource: *const Resource) -> c_ulong {
    // SAFETY: the caller's promise.
    unsafe { deref(resource) }.irq.0.into()
}

/// `rman_get_flags()`.
///
/// # Safety
///
/// `resource` is a resource.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn rman_get_flags(resource: *const Resource) -> c_uint {
    // SAFETY: the caller's promise.
    unsafe { deref(resource) }.flags.get()
}

/// `bus_setup_intr()`: activates the interrupt and adds a handler. Without `INTR_MPSAFE` the handler runs with Giant, and the console says so.
///
/// # Safety
///
/// `dev` is a device, `resource` null or a resource of its, and `cookiep` has room; else as [`intr_event_add_handler`].
///
/// # Panics
///
/// `nexus_setup_intr: NULL irq resource!`, and those of [`intr_priority`] and [`intr_event_add_handler`].
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn bus_setup_intr(
    dev: *const Device,
    resource: *const Resource,
    flags: c_int,
    filter: Option<DriverFilter>,
    handler: Option<DriverIntr>,
    arg: *mut c_void,
    cookiep: *mut *const IntrHandler,
) -> c_int {
    if !cpu::step("bus_setup_intr", 0) {
        return 0;
    }
    if resource.is_null() {
        kpanic!("nexus_setup_intr: NULL irq resource!");
    }
    // SAFETY: the caller's promise.
    unsafe {
        cookiep.write(core::ptr::null());
        let (dev, resource) = (deref(dev), deref(resource));
        let shared = resource.flags.get() & rf::SHAREABLE != 0;
        let exclusive = if shared { 0 } else { intr::EXCL };
        resource.flags.or(rf::ACTIVE);
        let error = intr_event_add_handler(
            interrupt::of(resource.irq),
            dev.nameunit.as_ptr(),
            filter,
            handler,
            arg,
            intr_priority(flags as c_uint),
            (flags | exclusive) as c_uint,
            cookiep,
        );
        if error == 0 && handler.is_some() && flags & intr::MPSAFE == 0 {
            lkpi_device_printf(dev, c"[GIANT-LOCKED]".as_ptr());
        }
        error
    }
}

/// `bus_teardown_intr()`.
///
/// # Safety
///
/// `cookie` is null or what [`bus_setup_intr`] gave.
///
/// # Panics
///
/// Those of [`intr_event_remove_handler`].
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn bus_teardown_intr(
    _dev: *const Device,
    _resource: *const Resource,
    cookie: *const IntrHandler,
) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { intr_event_remove_handler(cookie) }
}

/// `bus_suspend_intr()`.
///
/// # Safety
///
/// As for [`bus_teardown_intr`].
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn bus_suspend_intr(
    _dev: *const Device,
    _resource: *const Resource,
    cookie: *const IntrHandler,
) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { intr_event_suspend_handler(cookie) }
}

/// `bus_resume_intr()`.
///
/// # Safety
///
/// As for [`bus_teardown_intr`].
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn bus_resume_intr(
    _dev: *const Device,
    _resource: *const Resource,
    cookie: *const IntrHandler,
) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { intr_event_resume_handler(cookie) }
}

/// `bus_bind_intr()`: that CPU takes the interrupt, and its ithread stays there unless it runs right now.
///
/// # Safety
///
/// `resource` is a resource.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn bus_bind_intr(_dev: *const Device, resource: *const Resource, cpu: c_int) -> c_int {
    if !cpu::step("bus_bind_intr", 0) {
        return 0;
    }
    let Some(on) = present(cpu) else { return EINVAL };
    // SAFETY: the caller's promise.
    interrupt::assign(interrupt::of(unsafe { deref(resource) }.irq), on);
    0
}

/// `bus_describe_intr()` with the text ready.
///
/// # Safety
///
/// `resource` is a resource, `cookie` what [`bus_setup_intr`] gave for it, and `descr` a C string.
///
/// # Panics
///
/// Those of [`intr_event_describe_handler`].
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn lkpi_bus_describe_intr(
    resource: *const Resource,
    cookie: *const IntrHandler,
    descr: *const c_char,
) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { intr_event_describe_handler(interrupt::of(deref(resource).irq), cookie, descr) }
}
