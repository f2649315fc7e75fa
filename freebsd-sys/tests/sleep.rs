//! sleep(9): wake-ups, interlocks, timeouts in virtual time, signals.

mod common;

use common::{Log, explore_random, mtx, once, passes, spawn_at, threads, up};
use freebsd_sys::atomic::Owned32;
use freebsd_sys::machine::{Budget, Config, Verdict};
use freebsd_sys::mutex::Mtxf;
use freebsd_sys::sched::pri::PUSER;
use freebsd_sys::sleep::{
    self, EINTR, EWOULDBLOCK, How, msleep_spin, pause, ticks, tsleep, wakeup, wakeup_any, wakeup_one,
};
use freebsd_sys::sleepqueue::{self};
use freebsd_sys::sx::{Sx, Sxf};
use freebsd_sys::thread::{self, Kthread, State, kthread_add};
use std::sync::Arc;

#[test]
fn no_wakeup_is_lost() {
    passes(Config::default(), 500, || {
        let m = mtx(c"m", Mtxf::DEF);
        let flag = Arc::new(Owned32::new(0));
        let chan = flag.as_ptr() as usize;
        threads(3, move |i| {
            m.lock();
            if i == 0 {
                flag.set(1);
                wakeup(chan);
            } else {
                while flag.get() == 0 {
                    assert_eq!(sleep::sleep(chan, Some(m.object()), How::default(), "flag"), 0);
                    assert!(m.owned(), "the interlock is taken back");
                }
            }
            m.unlock();
        });
    });
}

#[test]
fn wakeup_without_the_interlock_can_be_lost() {
    // The control: what the interlock is for.
    let found = explore_random(Config::default(), 500, &|| {
        let flag = Arc::new(Owned32::new(0));
        let chan = flag.as_ptr() as usize;
        threads(2, move |i| {
            if i == 0 {
                flag.set(1);
                wakeup(chan);
            } else if flag.get() == 0 {
                assert_eq!(tsleep(chan, "flag", 10), 0);
            }
        });
    });
    assert!(found.is_some(), "never lost");
}

#[test]
fn no_wakeup_is_lost_with_a_spin_mutex() {
    passes(Config::default(), 300, || {
        let m = mtx(c"s", Mtxf::SPIN);
        let flag = Arc::new(Owned32::new(0));
        let chan = flag.as_ptr() as usize;
        threads(2, move |i| {
            m.lock_spin();
            if i == 0 {
                flag.set(1);
                wakeup(chan);
            } else {
                while flag.get() == 0 {
                    assert_eq!(msleep_spin(chan, &m, "flag", 0), 0);
                    assert!(m.owned());
                }
            }
            m.unlock_spin();
        });
    });
}

#[test]
fn wakeup_one_takes_the_best_and_the_first_among_equals() {
    let order = Arc::new(Log::default());
    let log = Arc::clone(&order);
    let e = once(up(), move || {
        for (name, priority) in [("late", PUSER + 9), ("first", PUSER + 1), ("second", PUSER + 1)] {
            let log = Arc::clone(&log);
            spawn_at(name, priority, Some(0), move || {
                assert_eq!(tsleep(1, "chan", 1000), 0);
                log.push(name);
            });
            pause("settle", 1);
        }
        for _ in 0..3 {
            wakeup_one(1);
            pause("settle", 1);
        }
    });
    assert_eq!(e.verdict, Verdict::Pass);
    assert_eq!(order.take(), ["first", "second", "late"]);
}

#[test]
fn timeouts_pass_in_virtual_time() {
    passes(up(), 1, || {
        let start = ticks();
        assert_eq!(pause("nap", 7), EWOULDBLOCK);
        let slept = ticks() - start;
        assert!(slept >= 7, "{slept} ticks");
        assert_eq!(tsleep(1, "chan", 3), EWOULDBLOCK);
    });
    // In explore exactly, however long: nobody waits for real.
    let e = once(up(), || {
        let start = ticks();
        pause("nap", 1_000_000_000);
        assert_eq!(ticks() - start, 1_000_000_000);
    });
    assert_eq!(e.verdict, Verdict::Pass);
}

#[test]
fn earlier_deadline_ends_first() {
    let e = once(Config::default(), || {
        let order = Arc::new(Owned32::new(0));
        let log = Arc::clone(&order);
        threads(3, move |i| {
            pause("nap", [30, 10, 20][i]);
            log.set(log.get() * 10 + i as u32 + 1);
        });
        assert_eq!(order.get(), 231);
    });
    assert_eq!(e.verdict, Verdict::Pass);
}

#[test]
fn woken_sleeper_does_not_time_out() {
    passes(Config::default(), 200, || {
        let m = mtx(c"m", Mtxf::DEF);
        let woken = Arc::new(Owned32::new(0));
        threads(2, move |i| {
            m.lock();
            if i == 0 {
                woken.set(1);
                wakeup(1);
            } else if woken.get() == 0 {
                let how = How { ticks: 50_000, ..How::default() };
                assert_eq!(sleep::sleep(1, Some(m.object()), how, "chan"), 0);
            }
            m.unlock();
        });
    });
}

/// What ended the sleep is not asked, only what time it is.
#[test]
fn woken_in_time_and_run_too_late_is_a_timeout() {
    for (busy, error) in [(1, 0), (10, EWOULDBLOCK)] {
        let e = once(up(), move || {
            let slept = Arc::new(Owned32::new(99));
            let result = Arc::clone(&slept);
            spawn_at("sleeper", PUSER, None, move || result.set(tsleep(1, "nap", 5) as u32));
            pause("asleep", 2);
            wakeup(1);
            // The sleeper may run, but has no CPU.
            sleep::delay(busy * 1000);
            assert_eq!(slept.get(), 99);
            pause("late", 2);
            assert_eq!(slept.get(), error as u32);
        });
        assert_eq!(e.verdict, Verdict::Pass, "{busy}");
    }
}

#[test]
fn interlock_is_dropped_for_good_on_request() {
    passes(Config::default(), 1, || {
        let m = mtx(c"m", Mtxf::DEF);
        m.lock();
        let how = How { drop: true, ticks: 2, ..How::default() };
        assert_eq!(sleep::sleep(1, Some(m.object()), how, "chan"), EWOULDBLOCK);
        assert!(!m.owned());
    });
}

/// A mutex goes before the caller is put on the queue, so what is asserted of it is heard of first.
#[test]
fn a_mutex_that_is_not_held_comes_before_a_sleep_that_is_prohibited() {
    for (opts, text) in
        [(Mtxf::DEF, "witness_save: lock (sleep mutex) m not locked"), (Mtxf::NOWITNESS, "mutex m not owned at ")]
    {
        let e = once(Config::default(), || {
            let m = mtx(c"m", opts);
            thread::thread_no_sleeping();
            sleep::sleep(1, Some(m.object()), How::default(), "x");
        });
        let Verdict::Panic(message) = e.verdict else { panic!("{}", e.verdict) };
        assert!(message.starts_with(text), "{message}");
    }
}

#[test]
fn signal_ends_only_a_sleep_that_catches_it() {
    let e = once(up(), || {
        for (catch, result) in [(true, EINTR), (false, EWOULDBLOCK)] {
            let td = kthread_add(Kthread { name: "sleeper", priority: PUSER, flags: 0, cpu: Some(0) }, move || {
                let how = How { catch, ticks: 100, ..How::default() };
                assert_eq!(sleep::sleep(1, None, how, "chan"), result);
                assert_eq!(ticks() >= 100, !catch);
            });
            pause("settle", 1);
            assert!(td.is_sleeping());
            sleepqueue::abort(td, EINTR);
            assert_eq!(td.is_sleeping(), !catch);
            pause("settle", 1);
        }
        pause("wait", 200);
    });
    assert_eq!(e.verdict, Verdict::Pass);
}

#[test]
fn waiting_signal_prevents_the_sleep() {
    let e = once(up(), || {
        let td = kthread_add(Kthread { name: "sleeper", priority: PUSER, flags: 0, cpu: Some(0) }, || {
            let m = mtx(c"m", Mtxf::DEF);
            m.lock();
            let how = How { catch: true, ..How::default() };
            assert_eq!(sleep::sleep(1, Some(m.object()), how, "chan"), EINTR);
            m.unlock();
        });
        sleepqueue::abort(td, EINTR);
        pause("wait", 2);
        assert_eq!(td.state(), State::Inactive, "it sleeps");
    });
    assert_eq!(e.verdict, Verdict::Pass);
}

#[test]
fn sleeper_without_a_waker_is_a_deadlock() {
    let e = once(up(), || {
        let m = mtx(c"m", Mtxf::DEF);
        m.lock();
        sleep::sleep(1, Some(m.object()), How::default(), "never");
    });
    assert_eq!(e.verdict, Verdict::Deadlock("thread0 sleeps on \"never\"".to_owned()));
}

#[test]
fn wakeup_any_wakes_the_latest_sleeper() {
    let chan = 0x1000;
    // Whom each kind of wake-up reaches first.
    for (wake, first) in [(wakeup_any as fn(usize), 2), (wakeup_one, 1)] {
        let e = once(up(), move || {
            let order = Arc::new(Owned32::new(0));
            for digit in [1, 2] {
                let order = Arc::clone(&order);
                spawn_at("sleeper", PUSER, None, move || {
                    assert_eq!(tsleep(chan, "nap", 100), 0);
                    order.set(order.get() * 10 + digit);
                });
                pause("asleep", 2);
            }
            wake(chan);
            pause("woken", 2);
            assert_eq!(order.get(), first);
            wake(chan);
            pause("woken", 2);
            assert_eq!(order.get(), first * 10 + (3 - first));
        });
        assert_eq!(e.verdict, Verdict::Pass);
    }
}

/// ... unless that one is not asleep yet, and another is: FreeBSD does not wait for the switch.
#[test]
fn wakeup_any_passes_over_who_is_on_its_way_to_sleep() {
    let chan = 0x1000;
    let seen = Arc::new([Owned32::new(0), Owned32::new(0)]);
    let found = explore_random(Config { cpus: 2, ..Config::default() }, 3000, &|| {
        let (lock, seen) = (Arc::new(Sx::zeroed()), Arc::clone(&seen));
        lock.init(c"sx", Sxf::empty());
        let own = Arc::clone(&lock);
        let first = kthread_add(Kthread { name: "first", priority: PUSER, flags: 0, cpu: None }, move || {
            own.xlock();
            sleep::sleep(chan, Some(own.object()), How::default(), "chan");
            own.xunlock();
        });
        pause("asleep", 2);
        threads(2, move |i| {
            lock.xlock();
            if i == 0 {
                sleep::sleep(chan, Some(lock.object()), How { ticks: 1000, ..How::default() }, "chan");
            } else {
                sleepqueue::lock(chan);
                let both = sleepqueue::sleepcnt(chan, 0) == 2;
                sleepqueue::signal_unfair(chan, sleepqueue::Type::Sleep, 0, 0);
                sleepqueue::release(chan);
                if both {
                    let passed_over = !first.is_sleeping();
                    seen[usize::from(passed_over)].set(1);
                }
            }
            lock.xunlock();
        });
        wakeup(chan);
        pause("gone", 2);
    });
    assert!(found.is_none(), "{found:?}");
    assert_eq!((seen[0].get(), seen[1].get()), (1, 1));
}

/// With an sx lock, which goes without the chain locked, time may run out before the sleep: the sleeper is on the queue until it would
/// sleep, and a wake-up that reaches it is gone.
#[test]
fn who_is_out_of_time_before_it_sleeps_may_be_woken_too() {
    let chan = 0x1000;
    let config = Config { cpus: 2, budget: Budget { ticks: 1, ..Budget::default() }, ..Config::default() };
    let both = Arc::new(Owned32::new(0));
    let found = explore_random(config, 2000, &|| {
        let (lock, both) = (Arc::new(Sx::zeroed()), Arc::clone(&both));
        lock.init(c"sx", Sxf::empty());
        let (woken, late) = (Owned32::new(0), Owned32::new(0));
        threads(2, move |i| {
            lock.xlock();
            if i == 0 {
                let how = How { ticks: 1, ..How::default() };
                late.set(u32::from(sleep::sleep(chan, Some(lock.object()), how, "chan") == EWOULDBLOCK));
                both.set(both.get() | woken.get() & late.get());
            } else {
                sleepqueue::lock(chan);
                woken.set(sleepqueue::sleepcnt(chan, 0) as u32);
                sleepqueue::signal(chan, sleepqueue::Type::Sleep, 0, 0);
                sleepqueue::release(chan);
            }
            lock.xunlock();
        });
    });
    assert!(found.is_none(), "{found:?}");
    assert_eq!(both.get(), 1);
}

/// Which signal waits is asked without the chain locked: a wake-up may be spent on a sleeper that it does not need.
#[test]
fn who_is_kept_awake_by_a_signal_may_be_woken_too() {
    let chan = 0x1000;
    let both = Arc::new(Owned32::new(0));
    let found = explore_random(Config { cpus: 2, ..Config::default() }, 2000, &|| {
        let (lock, both) = (mtx(c"m", Mtxf::DEF), Arc::clone(&both));
        let woken = Owned32::new(0);
        threads(2, move |i| {
            lock.lock();
            if i == 0 {
                sleepqueue::abort(thread::curthread(), EINTR);
                let how = How { catch: true, ..How::default() };
                assert_eq!(sleep::sleep(chan, Some(lock.object()), how, "chan"), EINTR);
                both.set(both.get() | woken.get());
            } else {
                sleepqueue::lock(chan);
                woken.set(sleepqueue::sleepcnt(chan, 0) as u32);
                sleepqueue::signal(chan, sleepqueue::Type::Sleep, 0, 0);
                sleepqueue::release(chan);
            }
            lock.unlock();
        });
    });
    assert!(found.is_none(), "{found:?}");
    assert_eq!(both.get(), 1);
}

/// ... and with a mutex locked.
#[test]
fn witness_minds_a_signal_in_a_critical_section() {
    let text = common::panic_text(Config { witness: true, ..up() }, || {
        sleepqueue::abort(thread::curthread(), EINTR);
        freebsd_sys::critical::critical_enter();
        sleep::sleep(1, None, How { catch: true, ticks: 1, ..How::default() }, "chan");
    });
    let start = "acquiring blockable sleep lock with spinlock or critical section held (sleep mutex) process lock @ ";
    assert!(text.starts_with(start), "{text}");
}
