//! FreeBSD's symbols of EVENTHANDLER(9); `linuxkpi/include/sys/eventhandler.h` declares them, and has the loop that runs a list's handlers.
//!
//! # Context
//!
//! All take mutexes; to register and to create a list may sleep, and `eventhandler_deregister()` sleeps while handlers of the list run: one
//! that deregisters itself has to use `eventhandler_deregister_nowait()`.
//!
//! # Deviations from FreeBSD
//!
//! Who deregisters while handlers run waits until none does, as FreeBSD's. An entry that is gone stays in memory until the execution is over.
//!
//! References: sys/eventhandler.h, kern/subr_eventhandler.c.

use super::deref;
use crate::atomic::{Guarded, Owned32, OwnedI32, OwnedPtr};
use crate::cpu;
use crate::lock::Loc;
use crate::malloc::{self, M};
use crate::module::{Kept, ModuleData, Once};
use crate::mutex::{Mtx, Mtxf, ma};
use crate::panic::kassert;
use crate::sleep::{self, How};
use core::ffi::{CStr, c_char, c_int, c_void};
use core::mem::offset_of;
use std::ffi::CString;

/// `struct eventhandler_entry`, and the function of the one that the macros make of it.
#[repr(C)]
#[derive(Debug)]
pub struct Entry {
    next: OwnedPtr<Self>,
    /// `tqe_prev`: what points at this one.
    prev: OwnedPtr<OwnedPtr<Self>>,
    priority: OwnedI32,
    arg: *mut c_void,
    func: *const c_void,
}

/// `EHE_DEAD_PRIORITY`.
const DEAD: c_int = -1;

/// `struct eventhandler_list`.
#[repr(C)]
#[derive(Debug)]
pub struct List {
    name: *const c_char,
    flags: c_int,
    /// (lock) Loops that run the handlers.
    runcount: Owned32,
    lock: Mtx,
    /// `el_link`: the lists are found elsewhere.
    link: [usize; 2],
    /// (lock)
    first: OwnedPtr<Entry>,
    /// (lock)
    last: OwnedPtr<OwnedPtr<Entry>>,
    text: CString,
}

const _: () = {
    assert!(offset_of!(Entry, priority) == 16);
    assert!(offset_of!(Entry, arg) == 24);
    assert!(offset_of!(Entry, func) == 32);
    assert!(offset_of!(List, runcount) == 12);
    assert!(offset_of!(List, lock) == 16);
    assert!(offset_of!(List, link) == 48);
    assert!(offset_of!(List, first) == 64);
    assert!(offset_of!(List, text) == 80);
};

/// A machine's lists.
struct Lists {
    /// `eventhandler_mutex`.
    mutex: Mtx,
    /// It is initialised.
    usable: Once,
    entries: Kept<Entry>,
    lists: Kept<List>,
    /// (mutex)
    all: Guarded<Vec<&'static List>>,
}

impl Default for Lists {
    fn default() -> Self {
        Self {
            mutex: Mtx::zeroed(),
            usable: Once::new(),
            entries: Kept::default(),
            lists: Kept::default(),
            all: Guarded::new(Vec::new()),
        }
    }
}

static LISTS: ModuleData<Lists> = ModuleData::new();

impl Lists {
    /// The lists, locked: unlock `mutex` afterwards.
    fn lock() -> &'static Self {
        let lists = LISTS.get();
        lists.usable.ensure_unpreempted(|| lists.mutex.init(c"eventhandler", Mtxf::DEF));
        lists.mutex.lock();
        lists
    }

    /// `_eventhandler_find_list()`: with the mutex.
    fn find(&self, name: &CStr) -> Option<&'static List> {
        // SAFETY: (mutex)
        unsafe { self.all.get() }.iter().find(|list| list.text.as_c_str() == name).copied()
    }

    /// `eventhandler_find_or_create_list()`: with the mutex, which it drops to allocate.
    fn find_or_create(&'static self, name: &CStr) -> &'static List {
        if let Some(list) = self.find(name) {
            return list;
        }
        self.mutex.unlock();
        may_wait(size_of::<List>());
        self.mutex.lock();
        // Somebody else may have been faster.
        self.find(name).unwrap_or_else(|| {
            let list = self.lists.keep(|_| List::new(name));
            list.last.set(list.first_place());
            // SAFETY: the text lives as long as the list.
            list.lock.init_typed(unsafe { CStr::from_ptr(list.name) }, c"eventhandler list", Mtxf::DEF);
            // SAFETY: (mutex)
            unsafe { self.all.get() }.push(list);
            list
        })
    }
}

/// For what malloc(9) says of who may not wait; what is allocated is kept elsewhere.
fn may_wait(size: usize) {
    let waited = malloc::malloc(size, "eventhandler", M::WAITOK);
    malloc::free(waited, "eventhandler");
}

impl List {
    fn new(name: &CStr) -> Box<Self> {
        let text = name.to_owned();
        Box::new(Self {
            name: text.as_ptr(),
            flags: 0,
            runcount: Owned32::new(0),
            lock: Mtx::zeroed(),
            link: [0; 2],
            first: OwnedPtr::null(),
            last: OwnedPtr::null(),
            text,
        })
    }

    fn first_place(&self) -> *mut OwnedPtr<Entry> {
        core::ptr::from_ref(&self.first).cast_mut()
    }

    /// The entries, in their order.
    fn entries(&self) -> impl Iterator<Item = &'static Entry> + use<> {
        let mut next = self.first.get();
        core::iter::from_fn(move || {
            // SAFETY: (lock) what is on a list is an entry, and entries live as long as the execution.
            let entry: &'static Entry = unsafe { next.as_ref() }?;
            next = entry.next.get();
            Some(entry)
        })
    }

    /// `TAILQ_INSERT_BEFORE()`, or at the end.
    fn insert(&self, entry: &'static Entry, before: Option<&'static Entry>) {
        let at = core::ptr::from_ref(entry).cast_mut();
        let own = core::ptr::from_ref(&entry.next).cast_mut();
        let place = before.map_or(self.last.get(), |before| before.prev.get());
        entry.prev.set(place);
        entry.next.set(before.map_or(core::ptr::null_mut(), |before| core::ptr::from_ref(before).cast_mut()));
        // SAFETY: (lock) the place is the list's own or that of an entry on it.
        unsafe { (*place).set(at) };
        match before {
            Some(before) => before.prev.set(own),
            None => self.last.set(own),
        }
    }

    /// `TAILQ_REMOVE()`. A loop that stands there finds its next one all the same.
    fn take_out(&self, entry: &Entry) {
        let (next, place) = (entry.next.get(), entry.prev.get());
        // SAFETY: (lock) both are the list's own or those of entries on it.
        unsafe {
            (*place).set(next);
            match next.as_ref() {
                Some(next) => next.prev.set(place),
                None => self.last.set(place),
            }
        }
    }
}

/// `eventhandler_register()`; a null list is the one of that name.
///
/// # Safety
///
/// `list` is null or a list; `name` is a C string; `func` is a function that may be called with `arg` and what the event's kind demands.
///
/// # Panics
///
/// Those of malloc(9) that may sleep; `eventhandler_register_internal: handler for %s registered with dead priority` (INVARIANTS).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn eventhandler_register(
    list: *const List,
    name: *const c_char,
    func: *const c_void,
    arg: *mut c_void,
    priority: c_int,
) -> *const Entry {
    if !cpu::step("eventhandler_register", 0) {
        return core::ptr::null();
    }
    may_wait(size_of::<Entry>());
    // SAFETY: the caller's promise.
    let known = unsafe { list.as_ref() };
    // SAFETY: the caller's promise.
    let called = unsafe { CStr::from_ptr(name) };
    let list = known.unwrap_or_else(|| {
        let lists = Lists::lock();
        let list = lists.find_or_create(called);
        lists.mutex.unlock();
        list
    });
    kassert!(
        priority != DEAD,
        "eventhandler_register_internal: handler for {} registered with dead priority",
        called.to_string_lossy()
    );
    let entry = LISTS.get().entries.keep(|_| {
        let (next, prev) = (OwnedPtr::null(), OwnedPtr::null());
        Box::new(Entry { next, prev, priority: OwnedI32::new(priority), arg, func })
    });
    list.lock.lock();
    let before = list.entries().find(|other| other.priority.get() != DEAD && priority < other.priority.get());
    list.insert(entry, before);
    list.lock.unlock();
    entry
}

/// `_eventhandler_deregister()`: a null tag is all of them. Drops the list's lock.
///
/// # Safety
///
/// `list` is a list that the caller has locked; `tag` is null or on it.
unsafe fn deregister(list: *const List, tag: *const Entry, wait: bool) {
    // SAFETY: the caller's promise.
    let (list, tag): (&List, Option<&Entry>) = unsafe { (deref(list), tag.as_ref()) };
    list.lock.assert_at(ma::OWNED, Loc::caller());
    let gone = |entry: &Entry| tag.is_none_or(|tag| core::ptr::eq(tag, entry));
    for entry in list.entries().filter(|entry| gone(entry)) {
        if list.runcount.get() == 0 {
            list.take_out(entry);
        } else {
            entry.priority.set(DEAD);
        }
    }
    while wait && list.runcount.get() > 0 && !cpu::scheduler_stopped() {
        let ident = core::ptr::from_ref(list) as usize;
        sleep::sleep(ident, Some(list.lock.object()), How::default(), "evhrm");
    }
    list.lock.unlock();
}

/// `eventhandler_deregister()`: once it returns, the handler does not run any more.
///
/// # Safety
///
/// `list` is a list that the caller has locked, as [`eventhandler_find_list`] does; `tag` is null, for all, or on it.
///
/// # Panics
///
/// `mutex %s not owned at %s:%d` (INVARIANTS); those of a sleep, while handlers run.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn eventhandler_deregister(list: *const List, tag: *const Entry) {
    if cpu::step("eventhandler_deregister", 0) {
        // SAFETY: the caller's promise.
        unsafe { deregister(list, tag, true) };
    }
}

/// `eventhandler_deregister_nowait()`: the handler is not begun any more.
///
/// # Safety
///
/// As for [`eventhandler_deregister`].
///
/// # Panics
///
/// `mutex %s not owned at %s:%d` (INVARIANTS).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn eventhandler_deregister_nowait(list: *const List, tag: *const Entry) {
    if cpu::step("eventhandler_deregister_nowait", 0) {
        // SAFETY: the caller's promise.
        unsafe { deregister(list, tag, false) };
    }
}

/// `eventhandler_find_list()`: locked, or null.
///
/// # Safety
///
/// `name` is a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn eventhandler_find_list(name: *const c_char) -> *const List {
    if !cpu::step("eventhandler_find_list", 0) {
        return core::ptr::null();
    }
    let lists = Lists::lock();
    // SAFETY: the caller's promise.
    let list = lists.find(unsafe { CStr::from_ptr(name) });
    if let Some(list) = list {
        list.lock.lock();
    }
    lists.mutex.unlock();
    list.map_or(core::ptr::null(), core::ptr::from_ref)
}

/// `eventhandler_create_list()`: the one that is there, or a new one.
///
/// # Safety
///
/// `name` is a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn eventhandler_create_list(name: *const c_char) -> *const List {
    if !cpu::step("eventhandler_create_list", 0) {
        return core::ptr::null();
    }
    let lists = Lists::lock();
    // SAFETY: the caller's promise.
    let list = lists.find_or_create(unsafe { CStr::from_ptr(name) });
    lists.mutex.unlock();
    list
}

/// `eventhandler_prune_list()`.
///
/// # Safety
///
/// `list` is a list that the caller has locked.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn eventhandler_prune_list(list: *const List) {
    if !cpu::step("eventhandler_prune_list", 0) {
        return;
    }
    // SAFETY: the caller's promise.
    let list = unsafe { deref(list) };
    list.lock.assert_at(ma::OWNED, Loc::caller());
    let dead: Vec<_> = list.entries().filter(|entry| entry.priority.get() == DEAD).collect();
    for &entry in &dead {
        list.take_out(entry);
    }
    if !dead.is_empty() {
        sleep::wakeup(core::ptr::from_ref(list) as usize);
    }
}
