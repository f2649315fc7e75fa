//! Schedules: their printable form, replay, and what each search strategy promises.

mod common;

use common::{explore_with, mtx, no_witness, threads, up};
use freebsd_sys::atomic::Owned32;
use freebsd_sys::critical::{critical_enter, critical_exit};
use freebsd_sys::host::explore::{self, Execution, Options};
use freebsd_sys::host::schedule::portfolio::{Portfolio, Strategy};
use freebsd_sys::host::schedule::{Choice, Event, Pending, Schedule, dfs::Dfs, parse, print};
use freebsd_sys::host::schedule::{pct::Pct, pos::Pos, random::Random, replay::Replay, urw::Urw};
use freebsd_sys::interrupt;
use freebsd_sys::machine::{Budget, Config, Engine, Machine, Verdict};
use freebsd_sys::mutex::Mtxf;
use std::sync::Arc;

fn boundary() {
    critical_enter();
    critical_exit();
}

/// Two threads lose an update: a bug of depth 2.
fn lost_update() {
    let n = Arc::new(Owned32::new(0));
    let total = Arc::clone(&n);
    threads(2, move |_| {
        for _ in 0..3 {
            boundary();
        }
        let seen = n.get();
        boundary();
        n.set(seen + 1);
    });
    if total.get() != 2 {
        panic!("lost");
    }
}

fn abba() {
    let locks = [mtx(c"A", Mtxf::DEF), mtx(c"B", Mtxf::DEF)];
    interrupt::bystanders();
    threads(2, move |i| {
        locks[i].lock();
        locks[1 - i].lock();
        locks[1 - i].unlock();
        locks[i].unlock();
    });
}

#[test]
fn printed_schedule_parses_back() {
    let events =
        [Event::Run(0), Event::Run(0), Event::Run(1), Event::Intr(1, 3), Event::Tick(0), Event::Pick(2), Event::Run(7)];
    let text = print(&events);
    assert_eq!(text, "0*2,1,1!3,0t,?2,7");
    assert_eq!(parse(&text).unwrap(), events);
    assert_eq!(parse("").unwrap(), []);
    assert_eq!(print(&[]), "");
    assert_eq!(parse(" 0*3 , 1t*2 ").unwrap(), parse("0,0,0,1t,1t").unwrap());
}

#[test]
fn every_schedule_of_a_search_parses_back() {
    let m = Machine::new(no_witness(), Engine::Explore);
    for index in 0..300 {
        let e = explore::run(&m, &mut Random::new(7), Options { index, ..Options::default() }, &abba);
        assert_eq!(parse(&print(&e.events)).unwrap(), e.events);
    }
}

#[test]
fn bad_schedules_are_named() {
    for (text, error) in [
        ("0,x,1", "bad event 'x'"),
        ("0*", "bad count in '0*'"),
        ("0*0", "bad count in '0*0'"),
        ("1!", "bad event '1!'"),
        ("0*99999999999", "bad count in '0*99999999999'"),
        ("-1", "bad event '-1'"),
        ("300", "bad event '300'"),
    ] {
        assert_eq!(parse(text).unwrap_err(), error);
    }
}

#[test]
fn failure_replays_a_hundred_times_of_a_hundred() {
    let (_, failed) = explore_with(no_witness(), 3000, &mut Random::new(1), &abba).expect("no deadlock found");
    let m = Machine::new(no_witness(), Engine::Explore);
    for round in 0..100 {
        let mut replay = Replay::new(parse(&print(&failed.events)).unwrap());
        let options = Options { trace: round % 2 == 0, ..Options::default() };
        let again = explore::run(&m, &mut replay, options, &abba);
        assert_eq!(
            (again.verdict, again.events, again.steps),
            (failed.verdict.clone(), failed.events.clone(), failed.steps)
        );
        assert_eq!(replay.left(), 0);
    }
}

#[test]
fn trace_tells_who_did_what_to_which_lock() {
    let (_, failed) = explore_with(no_witness(), 3000, &mut Random::new(1), &abba).expect("no deadlock found");
    let m = Machine::new(no_witness(), Engine::Explore);
    let options = Options { trace: true, ..Options::default() };
    let again = explore::run(&m, &mut Replay::new(failed.events), options, &abba);
    for (thread, what, change) in [("T0", "mtx_lock(A#0)", "A#0=T0"), ("T1", "mtx_lock(B#1)", "B#1=T1")] {
        assert!(
            again.trace.iter().any(|s| s.thread == thread && s.what == what && s.changes.iter().any(|c| c == change)),
            "{:#?}",
            again.trace
        );
    }
}

#[test]
fn replay_says_where_it_no_longer_fits() {
    let run = |events: Vec<Event>| -> Execution {
        let m = Machine::new(no_witness(), Engine::Explore);
        explore::run(&m, &mut Replay::new(events), Options::default(), &lost_update)
    };
    let e = run(vec![]);
    assert_eq!(e.verdict, Verdict::Error("the schedule does not fit".to_owned()));
    let text = e.diverged.unwrap().to_string();
    assert_eq!(text, "diverged at step 0: the schedule ends, enabled ?0 ?1");
    let e = run(vec![Event::Pick(1), Event::Intr(1, 4)]);
    let text = e.diverged.unwrap().to_string();
    assert!(text.starts_with("diverged at step 1: expected 1!4, enabled "), "{text}");
}

/// `steps` boundaries in each of two threads that are each on their own CPU.
fn counted(steps: usize) -> (u64, bool) {
    let m = Machine::new(no_witness(), Engine::Explore);
    let mut dfs = Dfs::new();
    let mut n = 0;
    loop {
        let e = explore::run(&m, &mut dfs, Options::default(), &|| {
            // thread0 is one of the two.
            let td = freebsd_sys::thread::Kthread {
                name: "other",
                priority: freebsd_sys::sched::pri::PUSER,
                flags: 0,
                cpu: Some(1),
            };
            freebsd_sys::thread::kthread_add(td, move || {
                for _ in 0..steps {
                    freebsd_sys::cpu::step("step", 0);
                }
            });
            freebsd_sys::cpu::step("settle", 0);
            explore::begin();
            for _ in 0..steps {
                freebsd_sys::cpu::step("step", 0);
            }
            explore::end();
        });
        assert_eq!(e.verdict, Verdict::Pass);
        n += 1;
        if !dfs.end(e.events.len()) {
            return (n, dfs.exhausted());
        }
    }
}

#[test]
fn dfs_runs_every_interleaving_once() {
    // thread0 makes k steps, the other CPU k and one more, to look for its thread: the ways to interleave them are the binomial
    // coefficients (2k + 1 over k).
    let counts: Vec<_> = (1..=4).map(counted).collect();
    assert_eq!(counts, [(3, true), (10, true), (35, true), (126, true)]);
    // The same search twice is the same search.
    assert_eq!(counted(3), counts[2]);
}

#[test]
fn dfs_runs_no_interleaving_twice() {
    let m = Machine::new(up(), Engine::Explore);
    let mut dfs = Dfs::new();
    let mut seen = std::collections::HashSet::new();
    loop {
        let e = explore::run(&m, &mut dfs, Options::default(), &|| {
            interrupt::bystanders();
            let m = mtx(c"m", Mtxf::NOWITNESS);
            threads(2, move |_| {
                m.lock();
                m.unlock();
            });
        });
        assert_eq!(e.verdict, Verdict::Pass);
        assert!(seen.insert(print(&e.events)), "twice: {}", print(&e.events));
        if !dfs.end(e.events.len()) || seen.len() > 20_000 {
            break;
        }
    }
    assert!(seen.len() > 100, "{}", seen.len());
}

#[test]
fn dfs_finds_the_bug_or_proves_its_absence() {
    let config = Config { budget: Budget { ticks: 0, interrupts: 0, migrations: 0 }, ..no_witness() };
    let broken = || {
        let n = Arc::new(Owned32::new(0));
        let total = Arc::clone(&n);
        threads(2, move |_| {
            let seen = n.get();
            freebsd_sys::cpu::step("step", 0);
            n.set(seen + 1);
        });
        assert_eq!(total.get(), 2);
    };
    let mut dfs = Dfs::new();
    assert!(explore_with(config, 1_000_000, &mut dfs, &broken).is_some());
    assert!(!dfs.exhausted());
}

#[test]
fn pct_finds_a_bug_of_depth_two() {
    let found = (0..20).filter(|&seed| explore_with(no_witness(), 300, &mut Pct::new(seed, 2), &lost_update).is_some());
    assert_eq!(found.count(), 20, "of 20 seeds, 300 executions each");
}

#[test]
fn random_finds_the_bugs() {
    for seed in 0..10 {
        assert!(explore_with(no_witness(), 300, &mut Random::new(seed), &lost_update).is_some(), "seed {seed}");
        let (_, e) = explore_with(no_witness(), 2000, &mut Random::new(seed), &abba).expect("no deadlock");
        assert!(matches!(e.verdict, Verdict::Deadlock(_) | Verdict::Livelock(_)), "{}", e.verdict);
    }
}

#[test]
fn pos_and_urw_find_the_bugs() {
    for seed in 0..10 {
        let strategies: [&mut dyn Schedule; 2] = [&mut Pos::new(seed), &mut Urw::new(seed)];
        for schedule in strategies {
            assert!(explore_with(no_witness(), 300, schedule, &lost_update).is_some(), "seed {seed}");
            let (_, e) = explore_with(no_witness(), 2000, schedule, &abba).expect("no deadlock");
            assert!(matches!(e.verdict, Verdict::Deadlock(_) | Verdict::Livelock(_)), "{}", e.verdict);
        }
    }
}

/// The events of executions `first` to 40 of a schedule; what was there before is not kept.
fn events(schedule: &mut dyn Schedule, first: u64) -> Vec<Vec<Event>> {
    let m = Machine::new(no_witness(), Engine::Explore);
    let run = |index| explore::run(&m, schedule, Options { index, ..Options::default() }, &abba).events;
    (first..=40).map(run).collect()
}

#[test]
fn execution_depends_on_seed_and_index_alone() {
    let strategies: [fn() -> Box<dyn Schedule>; 3] =
        [|| Box::new(Random::new(3)), || Box::new(Pct::new(3, 3)), || Box::new(Pos::new(3))];
    for new in strategies {
        assert_eq!(events(&mut *new(), 0)[40..], events(&mut *new(), 40));
    }
    // What a uniform walk has learned is of the executions before, in order: the same every time.
    assert_eq!(events(&mut Urw::new(3), 0), events(&mut Urw::new(3), 0));
}

#[test]
fn a_portfolio_takes_turns() {
    let all = events(&mut Portfolio::new(&Strategy::ALL, 3, 3), 0);
    let alone: [Vec<Vec<Event>>; 3] =
        [events(&mut Random::new(3), 0), events(&mut Pct::new(3, 3), 0), events(&mut Pos::new(3), 0)];
    for (index, events) in all.iter().enumerate() {
        match alone.get(index % 4) {
            Some(alone) => assert_eq!(*events, alone[index], "execution {index}"),
            None => assert_ne!(*events, alone[0][index], "execution {index} is another walk's"),
        }
    }
}

/// How often each order of two CPUs' moves comes, of which they have `lengths`, and each of which is a choice.
fn orders(
    schedule: &mut dyn Schedule,
    executions: u64,
    lengths: [usize; 2],
) -> std::collections::BTreeMap<Vec<u8>, u64> {
    let mut seen = std::collections::BTreeMap::new();
    for index in 0..executions {
        schedule.begin(index);
        let (mut left, mut order) = (lengths, Vec::new());
        while left != [0, 0] {
            let enabled: Vec<_> = (0..2).filter(|&cpu| left[usize::from(cpu)] > 0).map(Event::Run).collect();
            let current = order.last().copied().unwrap_or(0).into();
            let choice = Choice { at: order.len(), current, enabled: &enabled, pending: Pending::NOTHING };
            let Event::Run(cpu) = enabled[schedule.next(&choice).expect("a choice")] else { unreachable!() };
            left[usize::from(cpu)] -= 1;
            order.push(cpu);
        }
        *seen.entry(order).or_insert(0) += 1;
        schedule.end(lengths.iter().sum());
    }
    seen
}

#[test]
fn a_uniform_walk_finds_each_interleaving_as_often() {
    // Of 5 and 1 moves there are 6 interleavings. Here all moves are choices, so the estimate is exact.
    let uniform = orders(&mut Urw::new(1), 6000, [5, 1]);
    assert_eq!(uniform.len(), 6);
    assert!(uniform.values().all(|n| (800..1200).contains(n)), "{uniform:?}");
    // A random walk prefers that the one move comes early.
    let random = orders(&mut Random::new(1), 6000, [5, 1]);
    assert!(random.values().max() > Some(&2500), "{random:?}");
}

#[test]
fn partial_order_sampling_does_not_count_what_nothing_races_with() {
    // The one move works on nothing that the others do: its priority stays, and the five moves are drawn anew each time. That it comes last
    // takes five draws above it: 1 in 6, where a random walk has 1 in 32.
    let last = orders(&mut Pos::new(1), 6000, [5, 1])[&vec![0, 0, 0, 0, 0, 1]];
    assert!((800..1200).contains(&last), "{last}");
}

/// Resident pages of this process.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn memory_does_not_grow_over_20_000_executions() {
    let m = Machine::new(Config::default(), Engine::Explore);
    let mut random = Random::new(1);
    let mut run = |range: std::ops::Range<u64>| {
        for index in range {
            // The first one loads what a trace takes its source lines from, which another test may be about to do.
            let options = Options { index, trace: index == 0, ..Options::default() };
            explore::run(&m, &mut random, options, &|| {
                let lock = mtx(c"m", Mtxf::DEF);
                threads(2, move |_| {
                    lock.lock();
                    lock.unlock();
                });
            });
        }
    };
    run(0..2_000);
    let before = resident();
    run(2_000..22_000);
    let grown = resident().saturating_sub(before);
    // The other tests of this binary run at the same time: 8 MiB are theirs. One page leaked per execution would be 80.
    assert!(grown < 2048, "{grown} pages");
}
