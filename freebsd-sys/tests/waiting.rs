//! Waiting in `explore`: who spins goes on when what it reads has changed, whatever happens meanwhile, and is called stuck only
//! if nothing that FreeBSD would do could change it.

mod common;

use common::{explore_random, mtx, once, passes, spawn_at, up};
use freebsd_sys::callout::{Callout, Cf};
use freebsd_sys::cpu;
use freebsd_sys::critical;
use freebsd_sys::host::explore::{self, access};
use freebsd_sys::interrupt::{self, Arrival, Filter};
use freebsd_sys::machine::{Budget, Config, Preemption, Verdict};
use freebsd_sys::mutex::Mtxf;
use freebsd_sys::sched::pri;
use freebsd_sys::thread::{Kthread, curthread, kthread_add};
use freebsd_sys::{
    atomic::{Owned32, OwnedUsize},
    sched, sleep,
};
use std::sync::Arc;

/// Words that a driver reads and another thread writes.
fn words(n: usize) -> Arc<Vec<OwnedUsize>> {
    Arc::new((0..n).map(|_| OwnedUsize::new(0)).collect())
}

fn address(words: &[OwnedUsize]) -> usize {
    words.as_ptr() as usize
}

fn set(word: &OwnedUsize) {
    access(word.as_ptr() as usize, 8, true, true);
    word.set(1);
}

/// Reads `size` bytes of `words` at a time until one of them is set.
fn wait_for(words: &[OwnedUsize], size: usize) {
    loop {
        for at in (0..words.len() * 8).step_by(size) {
            access(address(words) + at, size, false, true);
        }
        if words.iter().any(|word| word.get() != 0) || !cpu::spinwait() {
            return;
        }
    }
}

/// One thread waits for what the other writes, on two CPUs.
fn polled(n: usize, size: usize, which: usize) -> impl Fn() {
    move || {
        let flags = words(n);
        let other = Arc::clone(&flags);
        explore::begin();
        spawn_at("writer", pri::PUSER, Some(1), move || {
            // Late enough that the other one waits.
            for _ in 0..2 * n {
                sleep::wakeup(1);
            }
            set(&other[which]);
        });
        wait_for(&flags, size);
        explore::end();
    }
}

#[test]
fn whole_read_set_counts() {
    for (n, size, which) in [(1, 8, 0), (100, 8, 0), (100, 8, 99), (4, 32, 3), (2, 12, 1), (300, 2400, 150)] {
        let found = explore_random(Config::default(), 200, &polled(n, size, which));
        assert!(found.is_none(), "{n} words, {size} bytes at a time: {:?}", found.unwrap().1.verdict);
    }
}

#[test]
fn word_may_be_read_in_two_sizes() {
    let e = once(up(), || {
        let flag = words(1);
        flag[0].set(1 << 32);
        explore::begin();
        loop {
            access(address(&flag), 1, false, true);
            access(address(&flag), 8, false, true);
            if flag[0].get() == 0 || !cpu::spinwait() {
                break;
            }
        }
    });
    assert!(matches!(e.verdict, Verdict::Livelock(_)), "{}", e.verdict);
}

#[test]
fn handler_that_waits_itself_does_not_take_the_wait_away() {
    let main = || {
        let (flag, lock) = (words(1), mtx(c"spin", Mtxf::SPIN));
        let irq = interrupt::create("dev", Arrival::AnyTime, pri::PI_INTR, Some(0));
        let (theirs, handlers) = (Arc::clone(&lock), Arc::clone(&lock));
        let filter = move || {
            handlers.lock_spin();
            handlers.unlock_spin();
            Filter::Handled
        };
        interrupt::setup(irq, Some(Box::new(filter)), None, 1);
        let other = Arc::clone(&flag);
        explore::begin();
        spawn_at("writer", pri::PUSER, Some(1), move || {
            theirs.lock_spin();
            freebsd_sys::seqc::Seqc::new().read_any();
            theirs.unlock_spin();
            set(&other[0]);
        });
        wait_for(&flag, 8);
        explore::end();
    };
    let found = explore_random(Config::default(), 3000, &main);
    assert!(found.is_none(), "{:?}", found.unwrap().1.verdict);
}

#[test]
fn direct_callout_of_another_cpu_ends_a_wait() {
    passes(Config::default(), 20, || {
        let (c, done) = (Arc::new(Callout::new()), Arc::new(Owned32::new(0)));
        let flag = Arc::clone(&done);
        let handler: Arc<dyn Fn() + Send + Sync> = Arc::new(move || {
            flag.set(1);
            sleep::wakeup(flag.as_ptr() as usize);
        });
        let m = mtx(c"m", Mtxf::DEF);
        m.lock();
        c.reset(2, handler, Some(1), Cf::DIRECT_EXEC);
        while done.get() == 0 && !cpu::scheduler_stopped() {
            // The handler does not take the lock, so the wake-up may come too early: not for ever.
            let how = sleep::How { ticks: if sleep::ticks() < 2 { 0 } else { 1 }, ..Default::default() };
            sleep::sleep(done.as_ptr() as usize, Some(m.object()), how, "direct");
        }
        m.unlock();
        c.drain();
    });
}

#[test]
fn due_callout_that_cannot_run_hides_no_livelock() {
    let e = once(up(), || {
        let c = Arc::new(Callout::new());
        let handler: Arc<dyn Fn() + Send + Sync> = Arc::new(|| ());
        c.reset(1, handler, None, Cf::empty());
        critical::critical_enter();
        wait_for(&words(1), 8);
    });
    assert!(matches!(e.verdict, Verdict::Livelock(_)), "{}", e.verdict);
}

/// A thread of priority `spinner` spins on the only CPU until one of priority `setter`, which waits for that CPU, has run.
fn spins_for(preemption: Preemption, spinner: u32, setter: u32) -> Verdict {
    once(Config { preemption, ..up() }, move || {
        let flag = words(1);
        let (mine, theirs) = (Arc::clone(&flag), flag);
        let done = Arc::new(Owned32::new(0));
        let ended = Arc::clone(&done);
        spawn_at("spinner", spinner, Some(0), move || {
            let flag = Arc::clone(&theirs);
            if spinner < pri::PRI_MIN_REALTIME {
                // sched_class(): no thread is an interrupt thread for its priority alone.
                curthread().pri_class.set(pri::CLASS_ITHD);
            }
            spawn_at("setter", setter, Some(0), move || set(&flag[0]));
            wait_for(&theirs, 8);
            ended.set(1);
        });
        while done.get() == 0 && !cpu::scheduler_stopped() {
            sleep::pause("wait", 5);
        }
        assert_eq!(mine[0].get(), 1);
    })
    .verdict
}

#[test]
fn time_preempts_a_spinner_for_its_equals_only() {
    for preemption in [Preemption::Ule, Preemption::Full] {
        assert_eq!(spins_for(preemption, pri::PUSER, pri::PUSER), Verdict::Pass);
        let stuck = spins_for(preemption, pri::PUSER, pri::PUSER + 1);
        assert!(matches!(stuck, Verdict::Livelock(_)), "{stuck}");
    }
}

#[test]
fn interrupt_thread_that_spins_is_demoted_within_its_class() {
    assert_eq!(spins_for(Preemption::Ule, pri::PI_REALTIME, pri::PI_SOFT), Verdict::Pass);
    let stuck = spins_for(Preemption::Ule, pri::PI_REALTIME, pri::PUSER);
    assert!(matches!(stuck, Verdict::Livelock(_)), "{stuck}");
}

#[test]
fn demoted_interrupt_thread_starts_anew() {
    let e = once(up(), || {
        let irq = interrupt::create("dev", Arrival::Raised, pri::PI_INTR, None);
        let seen = Arc::new(Owned32::new(99));
        let (note, flag) = (Arc::clone(&seen), words(1));
        let theirs = Arc::clone(&flag);
        let handler = move || {
            let td = curthread();
            note.set(td.priority.get());
            let flag = Arc::clone(&theirs);
            spawn_at("setter", pri::PI_SOFT, Some(0), move || set(&flag[0]));
            wait_for(&theirs, 8);
            assert!(td.priority.get() > pri::PI_INTR, "demoted, or the setter had not run");
            theirs[0].set(0);
        };
        interrupt::setup(irq, None, Some(Box::new(handler)), 1);
        explore::begin();
        for _ in 0..2 {
            seen.set(99);
            interrupt::raise(irq);
            sleep::pause("wait", 20);
            assert_eq!(seen.get(), pri::PI_INTR);
        }
        explore::end();
    });
    assert_eq!(e.verdict, Verdict::Pass);
}

#[test]
fn equals_that_spin_by_turns_are_a_livelock() {
    for preemption in [Preemption::Ule, Preemption::Any] {
        let e = once(Config { preemption, ..up() }, || {
            spawn_at("other", pri::PUSER, Some(0), || wait_for(&words(1), 8));
            wait_for(&words(1), 8);
        });
        assert!(matches!(e.verdict, Verdict::Livelock(_)), "{}", e.verdict);
    }
}

#[test]
fn ipi_may_come_after_what_its_sender_does_next() {
    let main = || {
        let (m, inside) = (mtx(c"m", Mtxf::DEF), Arc::new(Owned32::new(0)));
        m.lock();
        let (theirs, flag) = (Arc::clone(&m), Arc::clone(&inside));
        explore::begin();
        spawn_at("spinner", pri::PUSER, Some(1), move || {
            // Or the other CPU would steal it from under the better one.
            sched::sched_bind(1);
            theirs.lock();
            flag.set(1);
            theirs.unlock();
            flag.set(0);
        });
        sleep::wakeup(1);
        sleep::wakeup(1);
        // Queued before the mutex is dropped: it preempts a spinner, or one that has just got the mutex.
        let best = Kthread { name: "best", priority: pri::PI_SOFT, flags: 0, cpu: Some(1) };
        let best = kthread_add(best, move || assert_eq!(inside.get(), 0));
        // As if it had pinned itself before: it is not stolen either.
        best.pinned.set(1);
        m.unlock();
        sleep::pause("wait", 5);
        explore::end();
    };
    let prompt = Config { budget: Budget { interrupts: 0, ..Budget::default() }, ..Config::default() };
    assert!(explore_random(prompt, 2000, &main).is_none(), "without the budget it is taken at once");
    let found = explore_random(Config::default(), 5000, &main);
    assert!(found.is_some_and(|(_, e)| matches!(e.verdict, Verdict::Error(text) if text.contains("left == right"))));
}
