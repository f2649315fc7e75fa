//! kthread(9): threads that end from within, and that stop when asked to.

mod common;

use common::{once, passes, spawn, verdict};
use freebsd_sys::atomic::Shared32;
use freebsd_sys::cpu;
use freebsd_sys::host::explore;
use freebsd_sys::kproc::{curproc, kproc_create, kproc_shutdown, kproc_suspend_check};
use freebsd_sys::machine::{Config, Verdict};
use freebsd_sys::sched::pri::PVM;
use freebsd_sys::sleep::{self, pause};
use freebsd_sys::thread::{
    EINVAL, Kthread, Thread, curthread, kthread_add, kthread_exit, kthread_resume, kthread_suspend,
    kthread_suspend_check, tdf,
};
use std::sync::Arc;

/// A kernel thread, as C's kthread_add() makes it.
fn kthread(body: impl FnOnce() + Send + 'static) -> &'static Thread {
    kthread_add(Kthread { name: "worker", priority: PVM, flags: tdf::KPROC, cpu: None }, body)
}

/// Rather not dropped.
struct Kept(Arc<Shared32>);

impl Drop for Kept {
    fn drop(&mut self) {
        self.0.fetchadd(1);
    }
}

#[test]
fn thread_that_exits_wakes_who_waits_for_it_and_drops_nothing() {
    passes(Config::default(), 200, || {
        let (ran, dropped) = (Arc::new(Shared32::new(0)), Arc::new(Shared32::new(0)));
        let (ran2, dropped2) = (Arc::clone(&ran), Arc::clone(&dropped));
        explore::begin();
        let td = kthread(move || {
            let _kept = Kept(dropped2);
            pause("work", 3);
            ran2.fetchadd(1);
            kthread_exit();
        });
        let woken = sleep::tsleep(std::ptr::from_ref(td) as usize, "exit", 5000);
        explore::end();
        assert_eq!((woken, ran.get(), dropped.get()), (0, 1, 0));
    });
}

#[test]
fn suspended_thread_stops_until_it_is_resumed() {
    passes(Config::default(), 100, || {
        let (n, stop) = (Arc::new(Shared32::new(0)), Arc::new(Shared32::new(0)));
        let (n2, stop2) = (Arc::clone(&n), Arc::clone(&stop));
        explore::begin();
        let td = kthread(move || {
            while stop2.get() == 0 && !cpu::scheduler_stopped() {
                kthread_suspend_check();
                n2.fetchadd(1);
                pause("work", 1);
            }
            n2.set(0);
        });
        assert_eq!(kthread_suspend(td, 0), 0);
        let before = n.get();
        pause("suspended", 5);
        assert_eq!(n.get(), before, "it went on");
        assert_eq!(kthread_resume(td), 0);
        pause("resumed", 5);
        assert!(n.get() > before, "it did not go on");
        stop.set(1);
        pause("stopped", 5);
        explore::end();
        assert_eq!(n.get(), 0);
    });
}

#[test]
fn thread_that_does_not_look_is_waited_for_so_long() {
    let e = once(Config::default(), || {
        let td = kthread(|| _ = pause("deaf", 50));
        assert_eq!(kthread_suspend(td, 5), sleep::EWOULDBLOCK);
    });
    assert_eq!(e.verdict, Verdict::Pass);
}

#[test]
fn a_shutdown_says_who_stopped_in_time() {
    let e = once(Config::default(), || {
        explore::begin();
        let looks = kproc_create("looks", || {
            loop {
                kproc_suspend_check(curproc());
                pause("idle", 1);
            }
        });
        let busy = kproc_create("busy", || {
            loop {
                _ = pause("idle", 1_000_000);
            }
        });
        kproc_shutdown(looks);
        kproc_shutdown(busy);
        explore::end();
    });
    assert_eq!(e.verdict, Verdict::Pass);
    let waiting = "Waiting (max 60 seconds) for system process";
    assert_eq!(
        e.console,
        [format!("{waiting} `looks' to stop... done"), format!("{waiting} `busy' to stop... timed out")]
    );
}

#[test]
fn only_kernel_threads_are_suspended() {
    let e = once(Config::default(), || {
        spawn("user", || ());
        assert_eq!((kthread_suspend(curthread(), 1), kthread_resume(curthread())), (EINVAL, EINVAL));
    });
    assert_eq!(e.verdict, Verdict::Pass);
    let text = "kthread_suspend_check: curthread is not a valid kthread";
    assert_eq!(verdict(Config::default(), kthread_suspend_check), Verdict::Panic(text.to_owned()));
}
