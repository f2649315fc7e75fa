//! The rest of the headers: waiting, threads, interrupts, deferred work, memory. The parent's rules of safety apply.

use super::{deref, here, how, on_stack, symbols};
use crate::completion::Completion;
use crate::delay;
use crate::interrupt::{self, Irq, IrqHandler, Tasklet, TaskletFunc};
use crate::irq_work::{IrqWork, IrqWorkFunc};
use crate::kthread::{self, KthreadFunc};
use crate::mapping::{LockMapping, SpinBackend};
use crate::rcupdate::{self, RcuCallback, RcuHead};
use crate::sched::{self, Task};
use crate::slab::{self, Gfp, KmemCache};
use crate::timer::{Timer, TimerFunc};
use crate::wait::{self, WaitQueueEntry, WaitQueueHead};
use crate::workqueue::{self, DelayedWork, WorkFunc, WorkStruct, WorkqueueStruct};
use core::ffi::{CStr, c_char, c_int, c_long, c_uint, c_ulong, c_void};
use freebsd_sys::atomic::Word;
use freebsd_sys::ffi::{place, text};

/// Bytes of C's `struct timer_list`.
const TIMER_SIZE: usize = 256;

const _: () = {
    assert!(size_of::<Timer>() <= TIMER_SIZE && align_of::<Timer>() <= 8);
    assert!(size_of::<WorkStruct>() == 56 && align_of::<WorkStruct>() <= 8);
    assert!(size_of::<DelayedWork>() == 160 && align_of::<DelayedWork>() <= 8);
    assert!(size_of::<Tasklet>() == 48 && align_of::<Tasklet>() <= 8);
    assert!(size_of::<IrqWork>() == 40 && align_of::<IrqWork>() <= 8);
    assert!(size_of::<WaitQueueEntry>() == 40 && align_of::<WaitQueueEntry>() <= 8);
    assert!(size_of::<RcuHead>() == 16);
    assert!(size_of::<Completion>() == 4);
};

/// `linux/slab.h`'s.
const SLAB_TYPESAFE_BY_RCU: c_ulong = 0x0004;

fn gfp(flags: c_uint) -> Gfp {
    Gfp::from_bits_retain(flags)
}

/// The interrupt of that number, if there can be one.
fn irq(number: c_uint) -> Option<Irq> {
    u16::try_from(number).ok().map(Irq)
}

/// Bodies that depend on the mapping. Their safety is the module's.
mod body {
    use super::*;

    unsafe fn queue<'a, M: LockMapping>(at: *const c_void) -> &'a WaitQueueHead<M> {
        // SAFETY: the module's: unless no address at all, `at` is that of a live object of this type.
        unsafe { deref(at.cast()) }
    }
    pub(super) unsafe fn init_waitqueue_head<M: LockMapping>(head: *const c_void) {
        // SAFETY: the module's: unless no address at all, `head` is that of a live object of this type.
        unsafe { queue::<M>(head) }.init();
        on_stack(head.cast::<WaitQueueHead<M>>());
    }
    pub(super) unsafe fn init_waitqueue_head_static<M: LockMapping>(head: *const c_void) {
        // SAFETY: the module's: unless no address at all, `head` is that of a live object of this type.
        unsafe { queue::<M>(head) }.init_static();
    }
    pub(super) unsafe fn prepare_to_wait<M: LockMapping>(
        head: *const c_void,
        entry: *const WaitQueueEntry,
        state: c_uint,
    ) {
        // SAFETY: the module's; C takes the entry off by finish_wait before it goes.
        unsafe { queue::<M>(head).prepare_to_wait(deref(entry), state) };
    }
    pub(super) unsafe fn finish_wait<M: LockMapping>(head: *const c_void, entry: *const WaitQueueEntry) {
        // SAFETY: the module's: unless no address at all, `head` is that of a live object of this type.
        unsafe { queue::<M>(head).finish_wait(deref(entry)) };
    }
    pub(super) unsafe fn wait_sleep<M: LockMapping>(head: *const c_void, timeout: c_long, state: c_uint) -> c_int {
        // SAFETY: the module's: unless no address at all, `head` is that of a live object of this type.
        unsafe { queue::<M>(head) }.sleep_prepared(timeout, state)
    }
    pub(super) unsafe fn wake_up<M: LockMapping>(
        head: *const c_void,
        mask: c_uint,
        nr: c_uint,
        locked: bool,
        file: *const c_char,
        line: c_int,
    ) {
        // SAFETY: the module's: unless no address at all, `head` is that of a live object of this type.
        let head = unsafe { queue::<M>(head) };
        if locked {
            head.wake_up_locked(mask, nr as usize);
        } else {
            let how = how(0, file, line);
            let flags = head.lock().lock(how);
            head.wake_up_locked(mask, nr as usize);
            head.lock().unlock(how, flags);
        }
    }
    pub(super) unsafe fn waitqueue_active<M: LockMapping>(head: *const c_void) -> bool {
        // SAFETY: the module's: unless no address at all, `head` is that of a live object of this type.
        unsafe { queue::<M>(head) }.is_active()
    }

    pub(super) unsafe fn kfree<M: LockMapping>(at: *mut c_void) {
        // SAFETY: the module's: a block of kmalloc, or null.
        unsafe { slab::kfree::<M>(at) };
    }
    pub(super) unsafe fn kfree_sensitive<M: LockMapping>(at: *mut c_void) {
        // SAFETY: the module's: a block of kmalloc, or null.
        unsafe { slab::kfree_sensitive::<M>(at) };
    }

    pub(super) unsafe fn kmem_cache_free<M: LockMapping>(cache: *const KmemCache, at: *mut c_void) {
        // SAFETY: the module's: an object of that cache, or null.
        unsafe { deref(cache).free::<M>(at) };
    }

    pub(super) unsafe fn request_threaded_irq<M: LockMapping>(
        irq: c_uint,
        handler: Option<IrqHandler>,
        thread_fn: Option<IrqHandler>,
        _flags: c_ulong,
        _name: *const c_char,
        dev: *mut c_void,
    ) -> c_int {
        // Without a handler of its own the thread function runs each time; without either there is nothing to run.
        let handler = handler.or(thread_fn.is_some().then_some(interrupt::irq_default_primary_handler as IrqHandler));
        let (Some(irq), Some(handler)) = (super::irq(irq), handler) else { return -interrupt::EINVAL };
        // SAFETY: the module's: the driver frees the interrupt before what the handler uses goes.
        unsafe { interrupt::request_threaded_irq::<M>(irq, handler, thread_fn, dev) }
    }

    pub(super) unsafe fn tasklet_init<M: LockMapping>(tasklet: *mut c_void, func: TaskletFunc, data: *mut c_void) {
        // SAFETY: the module's: memory for a tasklet that is not scheduled; the driver kills it before what its function uses goes.
        unsafe { place(tasklet.cast(), Tasklet::new()).init::<M>(func, data) };
    }

    pub(super) unsafe fn timer_setup<M: LockMapping>(timer: *mut c_void, func: TimerFunc) {
        // SAFETY: the module's; C's function takes the timer itself.
        unsafe { place(timer.cast(), Timer::new()).setup::<M>(func, timer) };
    }
}

macro_rules! headers {
    ($mapping:ty, $name:literal) => {
        const _: () = {
            type M = $mapping;

            assert!(size_of::<WaitQueueHead<M>>() == super::SPINLOCK_SIZE + 16, $name);

            symbols! { $name;
                "init_waitqueue_head" = init_waitqueue_head<M>(head: *const c_void);
                "init_waitqueue_head_static" = init_waitqueue_head_static<M>(head: *const c_void);
                "prepare_to_wait" = prepare_to_wait<M>
                    (head: *const c_void, entry: *const WaitQueueEntry, state: c_uint);
                "finish_wait" = finish_wait<M>(head: *const c_void, entry: *const WaitQueueEntry);
                "wait_sleep" = wait_sleep<M>(head: *const c_void, timeout: c_long, state: c_uint) -> c_int;
                "wake_up" = wake_up<M>(head: *const c_void, mask: c_uint, nr: c_uint, locked: bool,
                    file: *const c_char, line: c_int);
                "waitqueue_active" = waitqueue_active<M>(head: *const c_void) -> bool;
                "kfree" = kfree<M>(at: *mut c_void);
                "kfree_sensitive" = kfree_sensitive<M>(at: *mut c_void);
                "kmem_cache_free" = kmem_cache_free<M>(cache: *const KmemCache, at: *mut c_void);
                "request_threaded_irq" = request_threaded_irq<M>(irq: c_uint, handler: Option<IrqHandler>,
                    thread_fn: Option<IrqHandler>, flags: c_ulong, name: *const c_char, dev: *mut c_void) -> c_int;
                "tasklet_init" = tasklet_init<M>(tasklet: *mut c_void, func: TaskletFunc, data: *mut c_void);
                "timer_setup" = timer_setup<M>(timer: *mut c_void, func: TimerFunc);
            }
        };
    };
}

for_each_mapping!(headers);

/// Exports functions whose body no mapping changes.
macro_rules! plain {
    ($($(#[$doc:meta])* fn $name:ident($($arg:ident: $type:ty),*) $(-> $result:ty)? $body:block)*) => { $(
        $(#[$doc])*
        ///
        /// # Safety
        ///
        /// The module's.
        #[unsafe(no_mangle)]
        unsafe extern "C-unwind" fn $name($($arg: $type),*) $(-> $result)? $body
    )* };
}

plain! {
    /// `init_completion()`.
    fn lkpi_init_completion(done: *const Completion) {
        // SAFETY: the module's: unless no address at all, `done` is that of a live object of this type.
        unsafe { deref(done) }.init();
    }
    /// `reinit_completion()`: a boundary, unlike the first initialisation, which nobody else sees.
    fn lkpi_reinit_completion(done: *const Completion) {
        // SAFETY: the module's: unless no address at all, `done` is that of a live object of this type.
        unsafe { deref(done) }.reinit();
    }
    /// `complete()`.
    fn lkpi_complete(done: *const Completion) {
        // SAFETY: the module's: unless no address at all, `done` is that of a live object of this type.
        unsafe { deref(done) }.complete();
    }
    /// `complete_all()`.
    fn lkpi_complete_all(done: *const Completion) {
        // SAFETY: the module's: unless no address at all, `done` is that of a live object of this type.
        unsafe { deref(done) }.complete_all();
    }
    /// `wait_for_completion()`.
    fn lkpi_wait_for_completion(done: *const Completion) {
        // SAFETY: the module's: unless no address at all, `done` is that of a live object of this type.
        unsafe { deref(done) }.wait();
    }
    /// `wait_for_completion_timeout()`.
    fn lkpi_wait_for_completion_timeout(done: *const Completion, timeout: c_long) -> c_long {
        // SAFETY: the module's: unless no address at all, `done` is that of a live object of this type.
        unsafe { deref(done) }.wait_timeout(timeout)
    }
    /// `wait_for_completion_interruptible()`.
    fn lkpi_wait_for_completion_interruptible(done: *const Completion) -> c_int {
        // SAFETY: the module's: unless no address at all, `done` is that of a live object of this type.
        unsafe { deref(done) }.wait_interruptible()
    }
    /// `wait_for_completion_interruptible_timeout()`.
    fn lkpi_wait_for_completion_interruptible_timeout(done: *const Completion, timeout: c_long) -> c_long {
        // SAFETY: the module's: unless no address at all, `done` is that of a live object of this type.
        unsafe { deref(done) }.wait_interruptible_timeout(timeout)
    }
    /// `try_wait_for_completion()`.
    fn lkpi_try_wait_for_completion(done: *const Completion) -> bool {
        // SAFETY: the module's: unless no address at all, `done` is that of a live object of this type.
        unsafe { deref(done) }.try_wait()
    }
    /// `completion_done()`.
    fn lkpi_completion_done(done: *const Completion) -> bool {
        // SAFETY: the module's: unless no address at all, `done` is that of a live object of this type.
        unsafe { deref(done) }.done()
    }
    /// `init_wait()`.
    fn lkpi_init_wait(entry: *mut WaitQueueEntry) {
        // SAFETY: the module's: the caller's own variable.
        unsafe { place(entry, WaitQueueEntry::new()) };
    }
    /// `current`.
    fn lkpi_current() -> *const Task {
        sched::current()
    }
    /// `set_current_state()`.
    fn lkpi_set_current_state(state: c_uint) {
        sched::set_current_state(state);
    }
    /// `schedule_timeout()`.
    fn lkpi_schedule_timeout(timeout: c_long) -> c_long {
        sched::schedule_timeout(timeout)
    }
    /// `wake_up_process()`.
    fn lkpi_wake_up_process(task: *const Task) -> bool {
        // SAFETY: the module's: unless no address at all, `task` is that of a live object of this type.
        sched::wake_up_process(unsafe { deref(task) })
    }
    /// `wake_up_state()`.
    fn lkpi_wake_up_state(task: *const Task, mask: c_uint) -> bool {
        // SAFETY: the module's: unless no address at all, `task` is that of a live object of this type.
        sched::wake_up_state(unsafe { deref(task) }, mask)
    }
    /// `signal_pending()`.
    fn lkpi_signal_pending(task: *const Task) -> bool {
        // SAFETY: the module's: unless no address at all, `task` is that of a live object of this type.
        sched::signal_pending(unsafe { deref(task) })
    }
    /// `default_wake_function()`.
    fn lkpi_default_wake_function(entry: *mut WaitQueueEntry, mode: c_uint, flags: c_int, key: *mut c_void) -> c_int {
        // SAFETY: the module's: an entry of a queue whose lock is held.
        unsafe { wait::default_wake_function(entry, mode, flags, key) }
    }
    /// `autoremove_wake_function()`.
    fn lkpi_autoremove_wake_function(entry: *mut WaitQueueEntry, mode: c_uint, flags: c_int, key: *mut c_void) -> c_int {
        // SAFETY: the module's: an entry of a queue whose lock is held.
        unsafe { wait::autoremove_wake_function(entry, mode, flags, key) }
    }
    /// `wake_up_bit()`, `wake_up_var()`.
    fn lkpi_wake_up_address(address: usize) {
        wait::wake_up_address(address);
    }
    /// One sleep of a wait for what is at `address`, unless `*word & mask` is clear: 0, -EWOULDBLOCK or -ERESTARTSYS.
    fn lkpi_wait_on_bit(address: usize, word: *const usize, mask: usize, state: c_uint, timeout: c_long) -> c_int {
        // SAFETY: the module's: unless no address at all, `word` is that of a live word, which others change atomically.
        let word = unsafe { deref(word.cast::<Word>()) };
        wait::wait_on_address(address, || word.read() & mask == 0, timeout, state)
    }
    /// `cond_resched()`.
    fn lkpi_cond_resched() -> c_int {
        sched::cond_resched();
        0
    }
    /// `cpu_relax()`.
    fn lkpi_cpu_relax() {
        freebsd_sys::cpu::spinwait();
    }
    /// `jiffies`.
    fn lkpi_jiffies() -> c_ulong {
        sched::jiffies()
    }
    /// `might_sleep()`.
    fn lkpi_might_sleep(file: *const c_char, line: c_int) {
        if freebsd_sys::cpu::step("might_sleep", 0) {
            freebsd_sys::witness::warn(None, here(file, line), "might_sleep()");
        }
    }
    /// `msleep()`.
    fn lkpi_msleep(ms: c_uint) {
        delay::msleep(ms);
    }
    /// `udelay()`.
    fn lkpi_udelay(us: c_uint) {
        delay::udelay(us);
    }
    /// `kthread_run()`.
    fn lkpi_kthread_run(func: KthreadFunc, data: *mut c_void, name: *const c_char) -> *const Task {
        // SAFETY: the module's; the name is copied.
        unsafe { kthread::kthread_run_fn(func, data, text(name)) }
    }
    /// `kthread_should_stop()`.
    fn lkpi_kthread_should_stop() -> bool {
        kthread::kthread_should_stop()
    }
    /// `kthread_stop()`.
    fn lkpi_kthread_stop(task: *const Task) -> c_int {
        // SAFETY: the module's: unless no address at all, `task` is that of a live object of this type.
        kthread::kthread_stop(unsafe { deref(task) })
    }
    /// `free_irq()`.
    fn lkpi_free_irq(irq: c_uint, dev: *mut c_void) {
        let _ = dev;
        if let Some(irq) = self::irq(irq) {
            interrupt::free_irq(irq);
        }
    }
    /// `disable_irq()`.
    fn lkpi_disable_irq(irq: c_uint) {
        if let Some(irq) = self::irq(irq) {
            interrupt::disable_irq(irq);
        }
    }
    /// `enable_irq()`.
    fn lkpi_enable_irq(irq: c_uint) -> c_int {
        self::irq(irq).map_or(-interrupt::EINVAL, interrupt::enable_irq)
    }
    /// `synchronize_irq()`.
    fn lkpi_synchronize_irq(irq: c_uint) {
        if let Some(irq) = self::irq(irq) {
            interrupt::synchronize_irq(irq);
        }
    }
    /// `rcu_read_lock()`.
    fn lkpi_rcu_read_lock() {
        rcupdate::rcu_read_lock();
    }
    /// `rcu_read_unlock()`.
    fn lkpi_rcu_read_unlock() {
        rcupdate::rcu_read_unlock();
    }
    /// `rcu_read_lock_held()`.
    fn lkpi_rcu_read_lock_held() -> bool {
        rcupdate::rcu_read_lock_held()
    }
    /// `synchronize_rcu()`.
    fn lkpi_synchronize_rcu() {
        rcupdate::synchronize_rcu();
    }
    /// `call_rcu()`.
    fn lkpi_call_rcu(head: *mut RcuHead, func: RcuCallback) {
        // SAFETY: the module's: `head` is live and not queued, and lives until `func` is called with it.
        unsafe {
            deref(head);
            rcupdate::call_rcu(head, func);
        }
    }
    /// `kfree_rcu()`.
    fn lkpi_kfree_rcu(head: *mut RcuHead, offset: usize) {
        // SAFETY: the module's: the head lies at `offset` in a block of kmalloc.
        unsafe { rcupdate::kfree_rcu(head, offset) };
    }
    /// `rcu_barrier()`.
    fn lkpi_rcu_barrier() {
        rcupdate::rcu_barrier();
    }
    /// `INIT_WORK()`.
    fn lkpi_init_work(work: *mut WorkStruct, func: WorkFunc) {
        // SAFETY: the module's: memory for a work that is not queued.
        unsafe { place(work, WorkStruct::new()).init(func) };
    }
    /// `system_wq`.
    fn lkpi_system_wq() -> *const WorkqueueStruct {
        workqueue::system_wq()
    }
    /// `queue_work()`.
    fn lkpi_queue_work(wq: *const WorkqueueStruct, work: *const WorkStruct) -> bool {
        // SAFETY: the module's: the work lives until it ran.
        unsafe { deref(wq).queue_work(deref(work)) }
    }
    /// `flush_work()`.
    fn lkpi_flush_work(work: *const WorkStruct) -> bool {
        // SAFETY: the module's: unless no address at all, `work` is that of a live object of this type.
        unsafe { deref(work) }.flush()
    }
    /// `cancel_work_sync()`.
    fn lkpi_cancel_work_sync(work: *const WorkStruct) -> bool {
        // SAFETY: the module's: unless no address at all, `work` is that of a live object of this type.
        unsafe { deref(work) }.cancel_sync()
    }
    /// `flush_workqueue()`.
    fn lkpi_flush_workqueue(wq: *const WorkqueueStruct) {
        // SAFETY: the module's: unless no address at all, `wq` is that of a live object of this type.
        unsafe { deref(wq) }.flush();
    }
    /// `work_pending()`.
    fn lkpi_work_pending(work: *const WorkStruct) -> bool {
        // SAFETY: the module's: unless no address at all, `work` is that of a live object of this type.
        unsafe { deref(work) }.pending()
    }
    /// `work_busy()`.
    fn lkpi_work_busy(work: *const WorkStruct) -> bool {
        // SAFETY: the module's: unless no address at all, `work` is that of a live object of this type.
        unsafe { deref(work) }.busy()
    }
    /// `INIT_DELAYED_WORK()`.
    fn lkpi_init_delayed_work(dwork: *mut DelayedWork, func: WorkFunc) {
        // SAFETY: the module's: memory for a work that is not queued.
        unsafe { place(dwork, DelayedWork::new()).init(func) };
        on_stack(dwork);
    }
    /// `queue_delayed_work()`.
    fn lkpi_queue_delayed_work(wq: *const WorkqueueStruct, dwork: *const DelayedWork, delay: c_ulong) -> bool {
        // SAFETY: the module's: the work lives until it ran.
        unsafe { deref(wq).queue_delayed_work(deref(dwork), delay) }
    }
    /// `mod_delayed_work()`.
    fn lkpi_mod_delayed_work(wq: *const WorkqueueStruct, dwork: *const DelayedWork, delay: c_ulong) -> bool {
        // SAFETY: the module's: the work lives until it ran.
        unsafe { deref(wq).mod_delayed_work(deref(dwork), delay) }
    }
    /// `cancel_delayed_work()`.
    fn lkpi_cancel_delayed_work(dwork: *const DelayedWork) -> bool {
        // SAFETY: the module's: unless no address at all, `dwork` is that of a live object of this type.
        unsafe { deref(dwork) }.cancel()
    }
    /// `cancel_delayed_work_sync()`.
    fn lkpi_cancel_delayed_work_sync(dwork: *const DelayedWork) -> bool {
        // SAFETY: the module's: unless no address at all, `dwork` is that of a live object of this type.
        unsafe { deref(dwork) }.cancel_sync()
    }
    /// `flush_delayed_work()`.
    fn lkpi_flush_delayed_work(dwork: *const DelayedWork) -> bool {
        // SAFETY: the module's: unless no address at all, `dwork` is that of a live object of this type.
        unsafe { deref(dwork) }.flush()
    }
    /// `tasklet_schedule()`.
    fn lkpi_tasklet_schedule(tasklet: *const Tasklet) {
        // SAFETY: the module's: the tasklet lives until it was killed.
        unsafe { deref(tasklet).schedule() };
    }
    /// `tasklet_kill()`.
    fn lkpi_tasklet_kill(tasklet: *const Tasklet) {
        // SAFETY: the module's: unless no address at all, `tasklet` is that of a live object of this type.
        unsafe { deref(tasklet) }.kill();
    }
    /// `tasklet_disable()`.
    fn lkpi_tasklet_disable(tasklet: *const Tasklet) {
        // SAFETY: the module's: unless no address at all, `tasklet` is that of a live object of this type.
        unsafe { deref(tasklet) }.disable();
    }
    /// `tasklet_enable()`.
    fn lkpi_tasklet_enable(tasklet: *const Tasklet) {
        // SAFETY: the module's: unless no address at all, `tasklet` is that of a live object of this type.
        unsafe { deref(tasklet) }.enable();
    }
    /// `tasklet_trylock()`.
    fn lkpi_tasklet_trylock(tasklet: *const Tasklet) -> bool {
        // SAFETY: the module's: unless no address at all, `tasklet` is that of a live object of this type.
        unsafe { deref(tasklet) }.trylock()
    }
    /// `tasklet_unlock()`.
    fn lkpi_tasklet_unlock(tasklet: *const Tasklet) {
        // SAFETY: the module's: unless no address at all, `tasklet` is that of a live object of this type.
        unsafe { deref(tasklet) }.unlock();
    }
    /// `init_irq_work()`.
    fn lkpi_init_irq_work(work: *mut IrqWork, func: IrqWorkFunc) {
        // SAFETY: the module's: memory for a work that is not queued.
        unsafe { place(work, IrqWork::new()).init(func) };
    }
    /// `irq_work_queue()`.
    fn lkpi_irq_work_queue(work: *const IrqWork) -> bool {
        // SAFETY: the module's: the work lives until it ran.
        unsafe { deref(work).queue() }
    }
    /// `irq_work_sync()`.
    fn lkpi_irq_work_sync(work: *const IrqWork) {
        // SAFETY: the module's: unless no address at all, `work` is that of a live object of this type.
        unsafe { deref(work) }.sync();
    }
    /// `mod_timer()`, with the time from now: `lkpi_mod_timer`.
    fn lkpi_mod_timer(timer: *const Timer, jiffies: c_ulong) -> bool {
        // A time that has passed is the next tick.
        let jiffies = (jiffies as c_long).clamp(1, c_int::MAX.into()) as u64;
        // SAFETY: the module's: unless no address at all, `timer` is that of a live object of this type.
        unsafe { deref(timer) }.modify(jiffies)
    }
    /// `del_timer()`.
    fn lkpi_del_timer(timer: *const Timer) -> bool {
        // SAFETY: the module's: unless no address at all, `timer` is that of a live object of this type.
        unsafe { deref(timer) }.delete()
    }
    /// `del_timer_sync()`.
    fn lkpi_del_timer_sync(timer: *const Timer) -> bool {
        // SAFETY: the module's: unless no address at all, `timer` is that of a live object of this type.
        unsafe { deref(timer) }.delete_sync()
    }
    /// `timer_pending()`.
    fn lkpi_timer_pending(timer: *const Timer) -> bool {
        // SAFETY: the module's: unless no address at all, `timer` is that of a live object of this type.
        unsafe { deref(timer) }.pending()
    }
    /// `kmalloc()`.
    fn lkpi_kmalloc(size: usize, flags: c_uint) -> *mut c_void {
        slab::kmalloc(size, gfp(flags))
    }
    /// `kmalloc_array()`.
    fn lkpi_kmalloc_array(n: usize, size: usize, flags: c_uint) -> *mut c_void {
        slab::kmalloc_array(n, size, gfp(flags))
    }
    /// `ksize()`.
    fn lkpi_ksize(at: *const c_void) -> usize {
        slab::ksize(at)
    }
    /// `kmem_cache_create()`.
    fn lkpi_kmem_cache_create(name: *const c_char, size: usize, flags: c_ulong,
        ctor: Option<unsafe extern "C-unwind" fn(*mut c_void)>) -> *mut KmemCache {
        let at: *mut KmemCache = slab::kmalloc(size_of::<KmemCache>(), Gfp::KERNEL).cast();
        if !at.is_null() {
            // SAFETY: the module's; the name is a literal.
            let cache = KmemCache::new(unsafe { text(name) }, size, ctor);
            let cache = if flags & SLAB_TYPESAFE_BY_RCU != 0 { cache.typesafe_by_rcu() } else { cache };
            // SAFETY: fresh memory, aligned to 16 bytes.
            unsafe { at.write(cache) };
        }
        at
    }
    /// `kmem_cache_destroy()`; null is fine.
    fn lkpi_kmem_cache_destroy(cache: *mut KmemCache) {
        if !cache.is_null() {
            // SAFETY: the module's: a cache that nobody uses any more.
            unsafe { deref(cache) }.destroy();
            freebsd_sys::malloc::free(cache.cast(), "lkpikmalloc");
        }
    }
    /// `kmem_cache_alloc()`.
    fn lkpi_kmem_cache_alloc(cache: *const KmemCache, flags: c_uint) -> *mut c_void {
        // SAFETY: the module's: unless no address at all, `cache` is that of a live object of this type.
        unsafe { deref(cache) }.alloc(gfp(flags))
    }
}

/// `alloc_workqueue()`: null if memory is short. May sleep.
///
/// # Safety
///
/// The module's; the name is a literal.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn lkpi_alloc_workqueue(name: *const c_char, threads: c_int) -> *const WorkqueueStruct {
    let at: *mut WorkqueueStruct = slab::kmalloc(size_of::<WorkqueueStruct>(), Gfp::KERNEL).cast();
    if !at.is_null() {
        // SAFETY: fresh memory, which `lkpi_destroy_workqueue` frees after the queue's threads have gone.
        unsafe {
            at.write(WorkqueueStruct::default());
            let name = if name.is_null() { c"lkpi_wq" } else { CStr::from_ptr(name) };
            // None asked for is the default, as for the system's own.
            let threads = if threads == 0 { workqueue::THREADS } else { usize::try_from(threads).unwrap_or(1).min(4) };
            deref(at).init(name, threads);
        }
    }
    at
}

/// `destroy_workqueue()`. Sleeps.
///
/// # Safety
///
/// The module's; nobody uses the queue any more.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn lkpi_destroy_workqueue(wq: *const WorkqueueStruct) {
    // SAFETY: the module's: unless no address at all, `wq` is that of a live object of this type.
    unsafe {
        deref(wq).destroy();
        freebsd_sys::malloc::free(wq.cast_mut().cast(), "lkpikmalloc");
    }
}
