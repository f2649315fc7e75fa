//! linux/slab.h: kmalloc, kfree, kmem_cache.
//!
//! malloc(9) and free(9) assert that `td_critnest` is 0, even for M_NOWAIT: LinuxKPI's spinlocks stay preemptible for this reason.
//! kfree gets around it: where the mapping says so (`LockMapping::kfree_defers`) the block goes onto a list, its first word being
//! the link, and a task of the irq_work queue frees it. Adding to the list takes no lock and the queue's own is a spin mutex, so
//! this is legal in a critical section and under a spin mutex. kmalloc cannot be deferred.
//!
//! A deferred block counts as leaked until the task has run: [`crate::exit`] waits for it.
//!
//! # Deviations from Linux (LinuxKPI's)
//!
//! GFP flags are malloc(9)'s. GFP_ATOMIC in a critical section is a panic. A kmem_cache allocates from malloc(9) and keeps UMA's
//! texts; constructors are not run again on reuse, since nothing is reused. So an object of a typesafe cache is never found to
//! have become another one.
//!
//! References: sys/compat/linuxkpi/common/src/linux_slab.c, malloc(9), drm-kmod #9, PR #388.

use crate::irq_work;
use crate::llist::{LlistHead, LlistNode};
use crate::mapping::{self, LockMapping};
use crate::once::Once;
use crate::rcupdate::{self, RcuHead};
use bitflags::bitflags;
use core::ffi::{c_int, c_void};
use core::fmt;
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};
use freebsd_sys::malloc::{self, M};
use freebsd_sys::module::ModuleData;
use freebsd_sys::panic::kassert_args;
use freebsd_sys::taskqueue::Task;
use freebsd_sys::thread::curthread;

/// `M_KMALLOC`.
const M_KMALLOC: &str = "lkpikmalloc";

/// `KMALLOC_MAX_SIZE`, bytes: the pages of `MAX_PAGE_ORDER`. Who asks for more gets null, whether it may sleep or not.
pub const KMALLOC_MAX_SIZE: usize = 4 << 20;

bitflags! {
    /// `gfp_t`: the bits are malloc(9)'s.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Gfp: u32 {
        /// `GFP_ATOMIC` and `GFP_NOWAIT`: null rather than sleep. M_NOWAIT.
        const ATOMIC = 0x0001;
        /// `GFP_KERNEL`: may sleep. M_WAITOK.
        const KERNEL = 0x0002;
        /// `__GFP_ZERO`. M_ZERO.
        const ZERO = 0x0100;
        /// `M_USE_RESERVE`, which LinuxKPI's GFP_ATOMIC carries; without effect.
        const USE_RESERVE = 0x0400;
    }
}

/// `linux_check_m_flags()`: neither of the two means NOWAIT, both as well.
fn check_m_flags(flags: Gfp) -> M {
    let zero = if flags.contains(Gfp::ZERO) { M::ZERO } else { M::empty() };
    match (flags.contains(Gfp::KERNEL), flags.contains(Gfp::ATOMIC)) {
        (true, false) => M::WAITOK | zero,
        _ => M::NOWAIT | zero,
    }
}

/// `kmalloc()`: null for more than [`KMALLOC_MAX_SIZE`], and without [`Gfp::KERNEL`] if memory is short. May sleep with that.
///
/// # Panics
///
/// Rows 106 and 108 of the misuse table (INVARIANTS): `malloc: called with spinlock or critical section held`, and
/// `malloc(M_WAITOK) with sleeping prohibited`. [`Gfp::KERNEL`] that finds no memory ends the run as an error, since none comes back.
#[track_caller]
pub fn kmalloc(size: usize, flags: Gfp) -> *mut c_void {
    if size > KMALLOC_MAX_SIZE {
        return core::ptr::null_mut();
    }
    // Room for the link of a deferred kfree.
    malloc::malloc(size.max(size_of::<LlistNode>()), M_KMALLOC, check_m_flags(flags)).cast()
}

/// `kzalloc()`.
///
/// # Panics
///
/// As [`kmalloc`].
#[track_caller]
pub fn kzalloc(size: usize, flags: Gfp) -> *mut c_void {
    kmalloc(size, flags | Gfp::ZERO)
}

/// `kmalloc_array()`: null if `n * size` overflows.
///
/// # Panics
///
/// As [`kmalloc`].
#[track_caller]
pub fn kmalloc_array(n: usize, size: usize, flags: Gfp) -> *mut c_void {
    n.checked_mul(size).map_or(core::ptr::null_mut(), |size| kmalloc(size, flags))
}

/// `kcalloc()`.
///
/// # Panics
///
/// As [`kmalloc`].
#[track_caller]
pub fn kcalloc(n: usize, size: usize, flags: Gfp) -> *mut c_void {
    kmalloc_array(n, size, flags | Gfp::ZERO)
}

/// `ksize()`: 0 for null.
pub fn ksize(at: *const c_void) -> usize {
    if at.is_null() { 0 } else { malloc::allocation_size(at.cast()).unwrap_or(0) }
}

/// `kfree()`; null is fine. Does not sleep. Deferred where the mapping says so.
///
/// # Safety
///
/// `at` is null or came from this module, nobody uses it any more, and it is freed once.
///
/// # Panics
///
/// `free: called with spinlock or critical section held` where the mapping does not defer; `free: address .. has not been
/// allocated`. A double free ends the run as corruption.
pub unsafe fn kfree<M: LockMapping>(at: *mut c_void) {
    if at.is_null() {
        return;
    }
    if M::kfree_defers() {
        // SAFETY: the caller's promise.
        unsafe { kfree_async(at) };
    } else {
        free(at);
    }
}

/// `kfree_sensitive()`: clears the block first.
///
/// # Safety
///
/// As [`kfree`].
///
/// # Panics
///
/// As [`kfree`].
pub unsafe fn kfree_sensitive<M: LockMapping>(at: *mut c_void) {
    // SAFETY: the block is the caller's, and `ksize` bytes long (0 for null).
    unsafe {
        if !at.is_null() {
            at.cast::<u8>().write_bytes(0, ksize(at));
        }
        kfree::<M>(at);
    }
}

/// kfree where nothing forbids it.
pub(crate) fn free(at: *mut c_void) {
    malloc::free(at.cast(), M_KMALLOC);
}

/// `linux_kfree_async_list` and its task.
#[derive(Debug)]
struct KfreeAsync {
    once: Once,
    list: LlistHead,
    task: Task,
}

impl Default for KfreeAsync {
    fn default() -> Self {
        Self { once: Once::default(), list: LlistHead::new(), task: Task::new() }
    }
}

static KFREE_ASYNC: ModuleData<KfreeAsync> = ModuleData::new();

/// `linux_kfree_async()`: any context.
///
/// # Safety
///
/// As [`kfree`], and not null.
unsafe fn kfree_async(at: *mut c_void) {
    let state = KFREE_ASYNC.get();
    // SAFETY: the function takes no context.
    state.once.call(|| unsafe { state.task.init_fn(0, kfree_async_fn, core::ptr::null_mut()) });
    // SAFETY: the block is at least a node long, aligned for one, and the list's from here on.
    unsafe { state.list.add(at.cast()) };
    // SAFETY: the task is the machine's.
    unsafe { irq_work::tq().enqueue(&state.task) };
}

/// `linux_kfree_async_fn()`.
unsafe extern "C-unwind" fn kfree_async_fn(_context: *mut c_void, _pending: c_int) {
    let mut node = KFREE_ASYNC.get().list.del_all();
    while !node.is_null() {
        // SAFETY: nodes are blocks that `kfree_async` was given; the link is read before the block goes.
        let next = unsafe { (*node).next.get() };
        free(node.cast());
        node = next;
    }
}

/// Waits until every deferred kfree is done. Sleeps.
pub(crate) fn drain() {
    let state = KFREE_ASYNC.get();
    if state.once.is_done() {
        irq_work::tq().drain(&state.task);
    }
}

/// A value in kmalloc'ed memory, freed by [`kfree`] under the mapping `M`: Rust-for-Linux's `KBox`.
pub struct KBox<T, M: LockMapping = mapping::Default> {
    at: *mut T,
    mapping: PhantomData<(T, fn() -> M)>,
}

impl<T, M: LockMapping> KBox<T, M> {
    /// `kmalloc` of a `T`, aligned to 16 bytes at most; `None` if memory is short.
    ///
    /// # Panics
    ///
    /// As [`kmalloc`].
    #[track_caller]
    pub fn new(value: T, flags: Gfp) -> Option<Self> {
        const { assert!(align_of::<T>() <= 16, "kmalloc aligns to 16 bytes") };
        let at = kmalloc(size_of::<T>(), flags).cast::<T>();
        if at.is_null() {
            return None;
        }
        // SAFETY: fresh memory of that size and alignment.
        unsafe { at.write(value) };
        Some(Self { at, mapping: PhantomData })
    }

    /// Gives the memory to the caller, who frees it by [`kfree`].
    pub fn into_raw(self) -> *mut T {
        core::mem::ManuallyDrop::new(self).at
    }

    /// The inverse of [`KBox::into_raw`].
    ///
    /// # Safety
    ///
    /// `at` came from `into_raw` and belongs to nobody else.
    pub unsafe fn from_raw(at: *mut T) -> Self {
        Self { at, mapping: PhantomData }
    }
}

impl<T, M: LockMapping> Deref for KBox<T, M> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: the box owns an initialised value.
        unsafe { &*self.at }
    }
}

impl<T, M: LockMapping> DerefMut for KBox<T, M> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the box owns an initialised value, and is borrowed alone.
        unsafe { &mut *self.at }
    }
}

impl<T, M: LockMapping> Drop for KBox<T, M> {
    fn drop(&mut self) {
        // SAFETY: the box owns the value and its memory, and goes.
        unsafe {
            core::ptr::drop_in_place(self.at);
            kfree::<M>(self.at.cast());
        }
    }
}

impl<T: fmt::Debug, M: LockMapping> fmt::Debug for KBox<T, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

// SAFETY: sending the box sends its value, which may be sent; memory of kmalloc has no host thread.
unsafe impl<T: Send, M: LockMapping> Send for KBox<T, M> {}
// SAFETY: sharing the box shares only its value, which may be shared.
unsafe impl<T: Sync, M: LockMapping> Sync for KBox<T, M> {}

/// `struct kmem_cache`: objects of one size.
#[derive(Debug)]
pub struct KmemCache {
    name: &'static str,
    size: usize,
    ctor: Option<unsafe extern "C-unwind" fn(*mut c_void)>,
    typesafe: bool,
}

/// What follows an object of a cache that is `SLAB_TYPESAFE_BY_RCU`: what its grace period is counted with.
#[repr(C)]
struct Typesafe {
    head: RcuHead,
    object: *mut c_void,
}

impl KmemCache {
    /// `kmem_cache_create()`; `ctor` runs on each object that is handed out.
    pub const fn new(name: &'static str, size: usize, ctor: Option<unsafe extern "C-unwind" fn(*mut c_void)>) -> Self {
        let node = size_of::<LlistNode>();
        Self { name, size: if size < node { node } else { size }, ctor, typesafe: false }
    }

    /// `kmem_cache_create()` with `SLAB_TYPESAFE_BY_RCU`: what is freed stays readable until the readers of that time have left.
    #[must_use]
    pub const fn typesafe_by_rcu(self) -> Self {
        Self { typesafe: true, ..self }
    }

    /// Where the trailer of a typesafe object lies.
    const fn trailer(&self) -> usize {
        self.size.next_multiple_of(align_of::<Typesafe>())
    }

    /// `kmem_cache_alloc()`: without [`Gfp::KERNEL`], null if memory is short. May sleep with that.
    ///
    /// # Panics
    ///
    /// `uma_zalloc_arg: called with spinlock or critical section held` (INVARIANTS), and as [`kmalloc`].
    #[track_caller]
    pub fn alloc(&self, flags: Gfp) -> *mut c_void {
        kassert_args(
            curthread().critnest.get() == 0,
            format_args!("uma_zalloc_arg: called with spinlock or critical section held"),
        );
        let size = if self.typesafe { self.trailer() + size_of::<Typesafe>() } else { self.size };
        let at = malloc::malloc(size, self.name, check_m_flags(flags)).cast::<c_void>();
        if let Some(ctor) = self.ctor
            && !at.is_null()
        {
            // SAFETY: a constructor takes a fresh object of the cache.
            unsafe { ctor(at) };
        }
        at
    }

    /// `kmem_cache_free()`; null is fine. Deferred like [`kfree`].
    ///
    /// # Safety
    ///
    /// `at` is null or came from this cache; otherwise as [`kfree`].
    ///
    /// # Panics
    ///
    /// As [`kfree`].
    pub unsafe fn free<M: LockMapping>(&self, at: *mut c_void) {
        if self.typesafe && !at.is_null() {
            // SAFETY: `alloc` left room for the trailer, which is RCU's until the callback has it.
            unsafe {
                let trailer = at.byte_add(self.trailer()).cast::<Typesafe>();
                trailer.write(Typesafe { head: RcuHead::new(), object: at });
                rcupdate::call_rcu(&raw mut (*trailer).head, free_typesafe);
            }
            return;
        }
        // SAFETY: the caller's promise; objects are blocks of malloc(9).
        unsafe { kfree::<M>(at) };
    }

    /// `kmem_cache_destroy()`, but for the memory of the cache itself: what RCU still has of it is freed. Sleeps if it is typesafe.
    #[track_caller]
    pub fn destroy(&self) {
        if self.typesafe {
            rcupdate::rcu_barrier();
        }
    }
}

/// `lkpi_kmem_cache_free_rcu_callback()`: the grace period of an object is over.
unsafe extern "C-unwind" fn free_typesafe(head: *mut RcuHead) {
    // SAFETY: the head of a trailer that `KmemCache::free` wrote; this is a thread, where freeing is allowed.
    free(unsafe { (*head.cast::<Typesafe>()).object });
}
