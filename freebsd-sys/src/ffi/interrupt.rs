//! FreeBSD's symbols of interrupt events and software interrupts; `linuxkpi/include/sys/interrupt.h` declares them.
//!
//! # Context
//!
//! `swi_sched()` and `intr_event_handle()` may be called anywhere, `swi_sched()` also in an interrupt filter. All others may sleep, and what
//! malloc(9) asserts of who may, they assert where FreeBSD allocates.
//!
//! # Deviations from FreeBSD
//!
//! Who removes a handler waits for the ithread only while that runs, where FreeBSD's lets the ithread remove it; the ithread keeps the name
//! that it was made with; what is removed or destroyed stays in memory until the execution is over. `clk_intr_event` is not there:
//! softclock threads are made by `callout`. Interrupts are no source of entropy.
//!
//! References: sys/interrupt.h, kern/kern_intr.c, swi(9), intr_event(9).

use super::{deref, text};
use crate::atomic::{Guarded, Shared32};
use crate::cpu::{self, touch};
use crate::giant;
use crate::interrupt::{self, AssignFn, Filter, FilterFn, Hook, Hooks, Irq, IthreadFn, Source, Traits};
use crate::malloc::{self, M};
use crate::module::{Kept, ModuleData};
use crate::panic::{kassert, kpanic, kprintf};
use crate::sched::pri;
use crate::thread::Argument;
use core::ffi::{c_char, c_int, c_uint, c_void};
use core::mem::offset_of;

/// `driver_filter_t`.
pub type DriverFilter = unsafe extern "C-unwind" fn(*mut c_void) -> c_int;
/// `driver_intr_t`.
pub type DriverIntr = unsafe extern "C-unwind" fn(*mut c_void);

/// `enum intr_type`, as far as anything depends on it.
pub(super) mod intr {
    use core::ffi::c_int;
    pub(crate) const TYPE_NET: c_int = 4;
    pub(crate) const TYPE_CLK: c_int = 32;
    /// TTY, BIO, NET, CAM, MISC, CLK and AV.
    pub(crate) const TYPES: c_int = 127;
    pub(crate) const EXCL: c_int = 256;
    pub(crate) const MPSAFE: c_int = 512;
    pub(crate) const ENTROPY: c_int = 1024;
    pub(crate) const SLEEPABLE: c_int = 2048;
}

const EINVAL: c_int = 22;
const EBUSY: c_int = 16;
const ENOSPC: c_int = 28;
const EOPNOTSUPP: c_int = 45;

/// `MAXCOMLEN`, and the zero after it.
const NAME: usize = 20;

/// `IH_*`.
mod ih {
    pub(super) const NET: u32 = 1;
    pub(super) const EXCLUSIVE: u32 = 2;
    pub(super) const ENTROPY: u32 = 4;
    pub(super) const DEAD: u32 = 8;
    pub(super) const SUSP: u32 = 0x10;
    pub(super) const MPSAFE: u32 = 1 << 31;
}

/// `struct intr_handler`.
#[repr(C)]
pub struct IntrHandler {
    filter: Option<DriverFilter>,
    handler: Option<DriverIntr>,
    argument: *mut c_void,
    flags: Shared32,
    /// Written by who sets the handler up.
    name: Guarded<[u8; NAME]>,
    event: *const Source,
    need: Shared32,
    /// The event's list is `interrupt`'s own.
    next: *const Self,
    priority: u8,
}

const _: () = {
    assert!(offset_of!(IntrHandler, flags) == 24);
    assert!(offset_of!(IntrHandler, name) == 28);
    assert!(offset_of!(IntrHandler, event) == 48);
    assert!(offset_of!(IntrHandler, need) == 56);
    assert!(offset_of!(IntrHandler, next) == 64);
    assert!(offset_of!(IntrHandler, priority) == 72);
    assert!(size_of::<IntrHandler>() == 80);
};

impl core::fmt::Debug for IntrHandler {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "IntrHandler({})", self.name())
    }
}

// SAFETY: it is complete before an interrupt may come; then only `flags` and `need` are written, which may be shared.
unsafe impl Sync for IntrHandler {}

/// All handlers that C has added.
#[derive(Default)]
struct Handlers(Kept<IntrHandler>);

static HANDLERS: ModuleData<Handlers> = ModuleData::new();

impl IntrHandler {
    fn name(&self) -> &str {
        // SAFETY: what messages show is written by who sets the handler up, before it runs or while it may say so itself.
        let name: &[u8; NAME] = unsafe { self.name.get() };
        let len = name.iter().position(|&byte| byte == 0).unwrap_or(NAME);
        core::str::from_utf8(&name[..len]).unwrap_or("(not text)")
    }

    fn source(&self) -> &'static Source {
        // SAFETY: sources live as long as the execution.
        unsafe { &*self.event }
    }

    fn has(&self, flags: u32) -> bool {
        self.flags.get() & flags != 0
    }

    /// Looks at what swi_sched() and intr_event_suspend_handler() write.
    fn touch(&self, write: bool) {
        touch(core::ptr::from_ref(self) as usize, size_of::<Self>(), write);
    }

    /// What intr_event_handle() does of it.
    fn filter(&self) -> Filter {
        const STRAY: c_int = 1;
        const HANDLED: c_int = 2;
        const SCHEDULE_THREAD: c_int = 4;
        self.touch(false);
        if self.has(ih::SUSP) || self.source().soft && self.need.get() == 0 {
            return Filter::Stray;
        }
        let Some(filter) = self.filter else { return Filter::ScheduleThread };
        // SAFETY: who added the handler vouched for it until it is removed.
        let ret = unsafe { filter(self.argument) };
        kassert!(
            ret == STRAY || ret & (SCHEDULE_THREAD | HANDLED) != 0 && ret & !(SCHEDULE_THREAD | HANDLED) == 0,
            "intr_event_handle: incorrect return value {ret:#x} from {}",
            self.name()
        );
        // Both at once is "handled".
        match ret {
            SCHEDULE_THREAD => Filter::ScheduleThread,
            HANDLED => Filter::Handled,
            _ => Filter::Stray,
        }
    }

    /// What intr_event_execute_handlers() does of it.
    fn execute(&self, handler: DriverIntr) {
        self.touch(true);
        if self.has(ih::SUSP) || self.source().soft && self.need.take() == 0 {
            return;
        }
        let giant = (!self.has(ih::MPSAFE)).then(giant::giant);
        if let Some(giant) = giant {
            giant.lock();
        }
        // SAFETY: who added the handler vouched for it until it is removed.
        unsafe { handler(self.argument) };
        if let Some(giant) = giant {
            giant.unlock();
        }
    }

    /// Not as [`EINVAL`], as FreeBSD's since 2025: before, and of software interrupts today, that it is not there is a panic.
    fn assert_there(&self) {
        if self.has(ih::DEAD) {
            kpanic!(
                "interrupt handler \"{}\" not found in interrupt event \"{}\"",
                self.name(),
                self.source().event_name()
            );
        }
    }
}

/// `intr_priority()`.
///
/// # Panics
///
/// `intr_priority: no interrupt type in flags`.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn intr_priority(flags: c_uint) -> u8 {
    let kind = flags as c_int & intr::TYPES;
    if kind == 0 || !kind.cast_unsigned().is_power_of_two() {
        kpanic!("intr_priority: no interrupt type in flags");
    }
    if kind == intr::TYPE_CLK { pri::PI_REALTIME as u8 } else { pri::PI_INTR as u8 }
}

/// `intr_event_add_handler()`.
///
/// # Safety
///
/// `event` is null or a live event, `name` null or a C string, and `cookiep` null or has room; the functions may be called with `arg`, in an
/// interrupt and in the event's ithread, until the handler is removed.
///
/// # Panics
///
/// Those of malloc(9) that may sleep.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn intr_event_add_handler(
    event: *const Source,
    name: *const c_char,
    filter: Option<DriverFilter>,
    handler: Option<DriverIntr>,
    arg: *mut c_void,
    pri: u8,
    flags: c_uint,
    cookiep: *mut *const IntrHandler,
) -> c_int {
    let flags = flags as c_int;
    if !cpu::step("intr_event_add_handler", 0) {
        return 0;
    }
    if event.is_null() || name.is_null() || filter.is_none() && handler.is_none() {
        return EINVAL;
    }
    if flags & intr::SLEEPABLE != 0 && flags & intr::EXCL == 0 {
        kprintf!("intr_event_add_handler: INTR_SLEEPABLE requires INTR_EXCL to be set");
        return EINVAL;
    }
    // For what malloc(9) says of who may not wait: the handler itself outlives its removal.
    let waited = malloc::malloc(size_of::<IntrHandler>(), "ithread", M::WAITOK);
    malloc::free(waited, "ithread");
    // SAFETY: the caller's promise; sources live as long as the execution.
    let (source, name): (&'static Source, &str) = unsafe { (deref(event), text(name)) };
    let marks = [
        (intr::EXCL, ih::EXCLUSIVE),
        (intr::MPSAFE, ih::MPSAFE),
        (intr::ENTROPY, ih::ENTROPY),
        (intr::TYPE_NET, ih::NET),
    ];
    let marks = marks.into_iter().filter(|(flag, _)| flags & flag != 0).fold(0, |all, (_, mark)| all | mark);
    let mut stored = [0; NAME];
    let len = name.len().min(NAME - 1);
    stored[..len].copy_from_slice(&name.as_bytes()[..len]);
    let ih = HANDLERS.get().0.keep(|_| {
        Box::new(IntrHandler {
            filter,
            handler,
            argument: arg,
            flags: Shared32::new(marks),
            name: Guarded::new(stored),
            event,
            need: Shared32::new(0),
            next: core::ptr::null(),
            priority: pri,
        })
    });
    let traits = Traits {
        priority: pri.into(),
        exclusive: flags & intr::EXCL != 0,
        sleepable: flags & intr::SLEEPABLE != 0,
        net: flags & intr::TYPE_NET != 0,
    };
    let run_filter: FilterFn = Box::new(|| ih.filter());
    let run = handler.map(|handler| Box::new(move || ih.execute(handler)) as IthreadFn);
    if !interrupt::add(source, Some(run_filter), run, core::ptr::from_ref(ih) as usize, traits) {
        return EINVAL;
    }
    if !cookiep.is_null() {
        // SAFETY: the caller's promise.
        unsafe { cookiep.write(ih) };
    }
    0
}

/// `intr_event_remove_handler()`: when it returns the handler does not run, and will not.
///
/// # Safety
///
/// `cookie` is null or what a handler was added with.
///
/// # Panics
///
/// `interrupt handler "%s" not found in interrupt event "%s"` of a removed one; those of a sleep, while its ithread runs.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn intr_event_remove_handler(cookie: *const IntrHandler) -> c_int {
    if !cpu::step("intr_event_remove_handler", 0) {
        return 0;
    }
    // SAFETY: the caller's promise; handlers stay in memory.
    let Some(ih) = (unsafe { cookie.as_ref() }) else { return EINVAL };
    ih.assert_there();
    ih.flags.or(ih::DEAD);
    interrupt::remove(ih.source(), cookie as usize);
    0
}

/// `intr_event_suspend_handler()`: the handler does not run until it is resumed.
///
/// # Safety
///
/// As for [`intr_event_remove_handler`].
///
/// # Panics
///
/// As for [`intr_event_remove_handler`].
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn intr_event_suspend_handler(cookie: *const IntrHandler) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { change("intr_event_suspend_handler", cookie, true) }
}

/// `intr_event_resume_handler()`: and the ithread looks what has come meanwhile.
///
/// # Safety
///
/// As for [`intr_event_remove_handler`].
///
/// # Panics
///
/// As for [`intr_event_remove_handler`].
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn intr_event_resume_handler(cookie: *const IntrHandler) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { change("intr_event_resume_handler", cookie, false) }
}

/// Suspends or resumes, and waits until that is true of all that run.
///
/// # Safety
///
/// `cookie` is null or what a handler was added with.
unsafe fn change(func: &'static str, cookie: *const IntrHandler, suspended: bool) -> c_int {
    if !cpu::step(func, 0) {
        return 0;
    }
    // SAFETY: the caller's promise; handlers stay in memory.
    let Some(ih) = (unsafe { cookie.as_ref() }) else { return EINVAL };
    ih.assert_there();
    ih.touch(true);
    if suspended {
        ih.flags.or(ih::SUSP);
    } else {
        ih.flags.clear(ih::SUSP);
    }
    // A pass of the ithread is FreeBSD's barrier, and runs all its other handlers.
    interrupt::schedule_thread(ih.source());
    interrupt::settle(ih.source());
    0
}

/// `intr_event_describe_handler()`: the description is what messages call the handler by, after its name and a colon.
///
/// # Safety
///
/// `event` is a live event, `cookie` one of its handlers, and `descr` a C string.
///
/// # Panics
///
/// `handler %p not found in interrupt event %p` (INVARIANTS).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn intr_event_describe_handler(
    event: *const Source,
    cookie: *const IntrHandler,
    descr: *const c_char,
) -> c_int {
    if !cpu::step("intr_event_describe_handler", 0) {
        return 0;
    }
    // SAFETY: the caller's promise; handlers stay in memory.
    let there = unsafe { cookie.as_ref() }.filter(|ih| core::ptr::eq(ih.event, event) && !ih.has(ih::DEAD));
    kassert!(there.is_some(), "handler {cookie:p} not found in interrupt event {event:p}");
    // SAFETY: the caller's promise.
    let (ih, descr) = unsafe { (deref(cookie), text(descr)) };
    let name = ih.name();
    let start = name.find(':').unwrap_or(name.len());
    if descr.len() + 1 > NAME - start - 1 {
        return ENOSPC;
    }
    let mut described = [0; NAME];
    described[..start].copy_from_slice(&name.as_bytes()[..start]);
    described[start] = b':';
    described[start + 1..][..descr.len()].copy_from_slice(descr.as_bytes());
    // SAFETY: who sets the handler up is alone in doing so.
    unsafe { *ih.name.get() = described };
    0
}

/// A function of an interrupt controller's.
type ControllerFn = unsafe extern "C-unwind" fn(*mut c_void);

/// `intr_event_create()` with the name ready: an event of no interrupt line, which the driver that owns it hands to
/// [`intr_event_handle`].
///
/// # Safety
///
/// `event` is null or has room, `name` is a C string, and the functions may be called with `source` as long as the event is there.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn lkpi_intr_event_create(
    event: *mut *const Source,
    source: *mut c_void,
    flags: c_int,
    pre_ithread: Option<ControllerFn>,
    post_ithread: Option<ControllerFn>,
    post_filter: Option<ControllerFn>,
    assign_cpu: Option<unsafe extern "C-unwind" fn(*mut c_void, c_int) -> c_int>,
    name: *const c_char,
) -> c_int {
    const IE_SOFT: c_int = 1;
    if !cpu::step("intr_event_create", 0) {
        return 0;
    }
    if flags & !IE_SOFT != 0 {
        return EINVAL;
    }
    let source = Argument::new(source);
    // SAFETY: the caller's promise.
    let hook = |func: Option<ControllerFn>| func.map(|func| Box::new(move || unsafe { func(source.get()) }) as Hook);
    let hooks = Hooks {
        pre_ithread: hook(pre_ithread),
        post_ithread: hook(post_ithread),
        post_filter: hook(post_filter),
        // SAFETY: the caller's promise.
        assign_cpu: assign_cpu.map(|func| Box::new(move |cpu| unsafe { func(source.get(), cpu) }) as AssignFn),
    };
    // SAFETY: the caller's promise; the name is copied.
    let made = interrupt::event(unsafe { text(name) }, pri::PI_INTR, flags & IE_SOFT != 0, hooks);
    if !event.is_null() {
        // SAFETY: the caller's promise.
        unsafe { event.write(made) };
    }
    0
}

/// `intr_event_destroy()`: its ithread ends.
///
/// # Safety
///
/// `event` is null or a live event, which nobody uses afterwards.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn intr_event_destroy(event: *const Source) -> c_int {
    if !cpu::step("intr_event_destroy", 0) {
        return 0;
    }
    // SAFETY: the caller's promise; sources live as long as the execution.
    let Some(source) = (unsafe { event.as_ref() }) else { return EINVAL };
    if interrupt::destroy(source) { 0 } else { EBUSY }
}

/// `intr_event_handle()`: an interrupt of this event has come. The frame is nobody's.
///
/// # Safety
///
/// `event` is null or a live event.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn intr_event_handle(event: *const Source, _frame: *const c_void) -> c_int {
    if !cpu::step("intr_event_handle", 0) {
        return 0;
    }
    // SAFETY: the caller's promise.
    let handled = unsafe { event.as_ref() }.is_some_and(interrupt::handle_event);
    if handled { 0 } else { EINVAL }
}

/// `intr_event_bind()`: the ithread stays on that CPU, unless it runs right now; -1 for any.
///
/// # Safety
///
/// `event` is a live event.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn intr_event_bind(event: *const Source, cpu: c_int) -> c_int {
    if !cpu::step("intr_event_bind", 0) {
        return 0;
    }
    let Some(on) = present(cpu) else { return EINVAL };
    // SAFETY: the caller's promise.
    let source = unsafe { deref(event) };
    let error = match &source.hooks.assign_cpu {
        Some(assign) => assign(cpu),
        None if source.soft => 0,
        None => EOPNOTSUPP,
    };
    if error == 0 {
        interrupt::assign(source, on);
    }
    error
}

/// CPU `cpu`, or any if it is -1; `None` if there is no such.
pub(super) fn present(cpu: c_int) -> Option<Option<usize>> {
    match usize::try_from(cpu) {
        Ok(cpu) => (cpu < cpu::mp_ncpus()).then_some(Some(cpu)),
        Err(_) => (cpu == -1).then_some(None),
    }
}

/// `_intr_drain()`: waits until the ithread of that interrupt, if somebody handles it, has nothing to do.
///
/// # Panics
///
/// Those of a sleep, if it has to wait.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn _intr_drain(irq: c_int) {
    if !cpu::step("_intr_drain", 0) {
        return;
    }
    let known = u16::try_from(irq).ok().map(Irq).filter(|&irq| interrupt::exists(irq));
    if let Some(source) = known.map(interrupt::of).filter(|source| source.handled()) {
        interrupt::drain_event(source);
    }
}

/// `swi_add()`.
///
/// # Safety
///
/// `eventp` is null or points at null or a live event; `name` is a C string; else as [`intr_event_add_handler`].
///
/// # Panics
///
/// As for [`intr_event_add_handler`].
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn swi_add(
    eventp: *mut *const Source,
    name: *const c_char,
    handler: Option<DriverIntr>,
    arg: *mut c_void,
    pri: c_int,
    flags: c_uint,
    cookiep: *mut *const IntrHandler,
) -> c_int {
    if !cpu::step("swi_add", 0) {
        return 0;
    }
    if flags as c_int & intr::ENTROPY != 0 {
        return EINVAL;
    }
    // SAFETY: the caller's promise.
    unsafe {
        let mut event = if eventp.is_null() { core::ptr::null() } else { *eventp };
        if event.is_null() {
            event = interrupt::event(&format!("swi{pri}: {}", text(name)), pri::PI_SOFT, true, Hooks::default());
            if !eventp.is_null() {
                eventp.write(event);
            }
        } else if !deref(event).soft {
            return EINVAL;
        }
        match handler {
            Some(_) => intr_event_add_handler(event, name, None, handler, arg, pri::PI_SOFT as u8, flags, cookiep),
            None => 0,
        }
    }
}

/// `swi_sched()`: the handler runs, soon, in its event's ithread, once however often this is called before it begins.
///
/// # Safety
///
/// `cookie` is what [`swi_add`] gave.
///
/// # Panics
///
/// `stray software interrupt` of a removed one (INVARIANTS).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn swi_sched(cookie: *const IntrHandler, flags: c_int) {
    const FROMNMI: c_int = 1;
    const DELAY: c_int = 2;
    if !cpu::step("swi_sched", 0) {
        return;
    }
    // SAFETY: the caller's promise; handlers stay in memory.
    let ih = unsafe { deref(cookie) };
    ih.touch(true);
    ih.need.set(1);
    if flags & DELAY != 0 {
        return;
    }
    kassert!(flags & FROMNMI == 0, "SWI_FROMNMI used not with clk_intr_event");
    let scheduled = interrupt::schedule_thread(ih.source());
    kassert!(scheduled, "stray software interrupt");
}

/// `swi_remove()`.
///
/// # Safety
///
/// As for [`intr_event_remove_handler`].
///
/// # Panics
///
/// As for [`intr_event_remove_handler`].
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn swi_remove(cookie: *const IntrHandler) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { intr_event_remove_handler(cookie) }
}
