//! Random programs of lock calls: the kernel and the model of FreeBSD's rules agree, and would be seen to disagree.

use compat_tests::fuzz::model::{Model, Mutation, Outcome, Verdict};
use compat_tests::fuzz::program::{Act, Call, Callout, Interrupt, Kind, LockSpec, Program};
use compat_tests::fuzz::{self, Disagreement, Effort, Found, Judge, Plan, Switches};
use freebsd_sys::host::workers;
use std::collections::BTreeSet;

const EFFORT: Effort = Effort { schedules: 8, search: 0 };

/// Enrolled locks of these kinds, and threads.
fn program(kinds: &[Kind], threads: &[&[Call]]) -> Program {
    Program {
        locks: kinds.iter().map(|&kind| LockSpec { kind, enrolled: true }).collect(),
        threads: threads.iter().map(|calls| calls.to_vec()).collect(),
        ..Program::default()
    }
}

/// A program on one CPU, with an interrupt.
fn interrupted(kinds: &[Kind], threads: &[&[Call]], filter: &[Call], ithread: &[Call]) -> Program {
    let interrupt = Some(Interrupt { filter: filter.to_vec(), ithread: ithread.to_vec(), ..Interrupt::default() });
    Program { shared: threads.len() > 1, interrupt, ..program(kinds, threads) }
}

/// What comes of a program, under all options, model and kernel agreeing about all of it.
fn agreed(program: &Program, switches: Switches) -> Vec<String> {
    let mut judge = Judge::default();
    judge.judge(program, 1, Effort { schedules: 50, search: 100_000 }).expect("agreement");
    assert_eq!(judge.counts.searched + judge.counts.wild, 3, "{:?}", judge.counts);
    outcomes(program, switches)
}

fn a(act: Act) -> Call {
    Call { act, lock: 0 }
}

fn b(act: Act) -> Call {
    Call { act, lock: 1 }
}

/// The model's outcomes, in words.
fn outcomes(program: &Program, switches: Switches) -> Vec<String> {
    match Model::default().outcomes(program, switches, Mutation::None) {
        Verdict::Outcomes(all) => all.iter().map(ToString::to_string).collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn kernel_and_model_agree_about_random_programs() {
    let seed = std::env::var("LKPI_FUZZ_SEED").map_or(1, |seed| seed.parse().expect("a number"));
    let programs = std::env::var("LKPI_FUZZ_PROGRAMS").map_or(16_000, |n| n.parse().expect("a number"));
    let report = fuzz::campaign(&Plan::new(programs, seed), workers::processors(), |_| ()).expect("no Rust panic");
    if let Some(found) = report.disagreement {
        panic!("seed {seed}, program {:?}\n{found}", report.index);
    }
    let counts = report.counts;
    assert_eq!(counts.programs, programs);
    // The programs are worth running: each kind of end is common, and few leave the rules.
    let cases = 3 * programs;
    assert!(counts.end > cases / 5 && counts.panic > cases / 5 && counts.stuck > cases / 20, "{counts:?}");
    assert!(counts.wild < cases / 10 && counts.too_large < cases / 100, "{counts:?}");
    assert!(counts.searched > programs / 256, "{counts:?}");
}

/// The first of `n` random programs about which a wrong model is found out, shrunk.
fn found_out(mutation: Mutation, n: u64) -> Option<Disagreement> {
    let mut judge = Judge::mutated(mutation);
    let found = (0..n).find_map(|index| judge.judge(&fuzz::program(7, index), index, EFFORT).err())?;
    Some(judge.shrink(*found))
}

/// The searches of what they and the model are asked about: the reduced one misses nothing.
#[test]
fn the_reduced_search_finds_what_the_unreduced_one_does() {
    let plan = Plan { search_every: 2, ..Plan::new(8_000, 9100) };
    let report = fuzz::campaign(&plan, workers::processors(), |_| ()).expect("no Rust panic");
    if let Some(found) = report.disagreement {
        panic!("program {:?} of seed 9100: {found}", report.index);
    }
    assert!(report.counts.searched > 4_000 && report.counts.met > 4_000, "{:?}", report.counts);
}

#[test]
fn every_wrong_rule_is_found_out_and_shown_in_a_few_calls() {
    for mutation in Mutation::ALL {
        let found = found_out(mutation, 100_000).unwrap_or_else(|| panic!("{mutation:?} is not noticed"));
        assert!(found.program.len() <= 6, "{mutation:?} takes\n{found}");
        // It is the rule that is wrong: the model as it is has no objection.
        Judge::default().judge(&found.program, 1, EFFORT).expect("agreement");
    }
}

/// A search finds what the model allows and never happens.
#[test]
fn an_outcome_that_no_schedule_brings_about_is_missed() {
    // One reads twice while another writes: without preference for writers, the second read never waits.
    let calls = [a(Act::RLock), a(Act::RLock), a(Act::RUnlock), a(Act::RUnlock)];
    let program = program(&[Kind::Rw], &[&calls, &[a(Act::Lock), a(Act::Unlock)]]);
    let effort = Effort { schedules: 0, search: 100_000 };
    let mut judge = Judge::default();
    judge.judge(&program, 1, effort).expect("agreement");
    assert_eq!(judge.counts.searched, 3, "{:?}", judge.counts);
    // A wake-up that is lost lets threads wait for ever: a search that gets through sees that they do not.
    let found = Judge::mutated(Mutation::LostWakeups).judge(&program, 1, effort).expect_err("a lie");
    assert_eq!((found.found, &found.outcome), (Found::Model, &Outcome::Stuck));
    assert!(found.to_string().contains("no schedule: threads wait for ever"), "{found}");
}

#[test]
fn the_model_knows_the_text_the_line_and_the_options() {
    let twice = program(&[Kind::Mtx], &[&[a(Act::Lock), a(Act::Lock)]]);
    assert_eq!(outcomes(&twice, Switches::None), ["ends"]);
    for switches in [Switches::Invariants, Switches::Witness] {
        let text = "panic: _mtx_lock_sleep: recursed on non-recursive mutex a @ program:2";
        assert_eq!(outcomes(&twice, switches), [text]);
    }
    let both = program(&[Kind::Rw], &[&[a(Act::Lock), a(Act::RLock)]]);
    assert_eq!(outcomes(&both, Switches::None), ["threads wait for ever"]);
    assert_eq!(outcomes(&both, Switches::Witness), ["panic: rw_rlock: wlock already held for a @ program:2"]);
}

/// Two threads that take two locks in different orders may or may not meet.
#[test]
fn abba_may_end_and_may_not() {
    let first = [a(Act::Lock), b(Act::Lock), b(Act::Unlock), a(Act::Unlock)];
    let second = [b(Act::Lock), a(Act::Lock), a(Act::Unlock), b(Act::Unlock)];
    let abba = program(&[Kind::Mtx, Kind::Mtx], &[&first, &second]);
    assert_eq!(outcomes(&abba, Switches::Witness), ["ends", "threads wait for ever"]);
    let mut judge = Judge::default();
    judge.judge(&abba, 1, Effort { schedules: 100, search: 100_000 }).expect("agreement");
    assert_eq!(judge.counts.searched, 3);
}

/// What may come of blocking on a lock whose owner pauses depends on when one looks.
#[test]
fn a_pause_under_a_mutex_is_a_panic_if_somebody_comes() {
    let owner = [a(Act::Lock), a(Act::Pause), a(Act::Unlock)];
    let pausing = program(&[Kind::Mtx], &[&owner, &[a(Act::Lock), a(Act::Unlock)]]);
    assert_eq!(outcomes(&pausing, Switches::Invariants), ["ends", "panic: sleeping thread"]);
    Judge::default().judge(&pausing, 1, Effort { schedules: 50, search: 50_000 }).expect("agreement");
}

/// A signal wakes who waits, and is nothing to who comes later.
#[test]
fn a_signal_wakes_a_waiter_or_nobody() {
    let waiter = [a(Act::Lock), a(Act::CvWait), a(Act::Unlock)];
    let signalled = program(&[Kind::Mtx], &[&waiter, &[a(Act::CvSignal)]]);
    assert_eq!(outcomes(&signalled, Switches::Witness), ["ends", "threads wait for ever"]);
    let timed = program(&[Kind::Sx], &[&[a(Act::RLock), a(Act::CvTimedwait), a(Act::RUnlock)], &[a(Act::CvBroadcast)]]);
    let ends = |tries| format!("ends, thread 0's tries: [{tries}]");
    assert_eq!(outcomes(&timed, Switches::Witness), [ends(false), ends(true)]);
    let mut judge = Judge::default();
    for program in [signalled, timed] {
        judge.judge(&program, 1, Effort { schedules: 100, search: 100_000 }).expect("agreement");
    }
    assert_eq!(judge.counts.searched, 6);
}

/// A mutex goes with the sleep queue locked: there is no moment at which a signal could spare its owner the switch.
#[test]
fn nothing_comes_between_a_mutex_and_the_sleep() {
    let waiter = [a(Act::Lock), a(Act::CriticalEnter), a(Act::CvWait)];
    let waits = program(&[Kind::Mtx], &[&waiter, &[a(Act::CvSignal)]]);
    assert_eq!(outcomes(&waits, Switches::Invariants), ["panic: mi_switch: switch in a critical section"]);
    Judge::default().judge(&waits, 1, Effort { schedules: 200, search: 50_000 }).expect("agreement");
}

/// One condition has one interlock at a time.
#[test]
fn two_interlocks_of_one_condition_are_told_apart() {
    let first = [a(Act::Lock), a(Act::CvTimedwait), a(Act::Unlock)];
    let second = [b(Act::Lock), b(Act::CvTimedwait), b(Act::Unlock)];
    let both = program(&[Kind::Mtx, Kind::Rw], &[&first, &second]);
    let outcomes = outcomes(&both, Switches::Invariants);
    assert!(outcomes.contains(&"panic: Assertion lock == sq->sq_lock failed at %s:%d".to_owned()), "{outcomes:?}");
    Judge::default().judge(&both, 1, Effort { schedules: 50, search: 100_000 }).expect("agreement");
}

/// _sleep() drops a mutex before it goes on the queue, cv_wait() afterwards: who may do neither hears of different things.
#[test]
fn sleep_and_cv_wait_assert_in_their_own_order() {
    let prohibited = "panic: sleepq_add: td %p to sleep on wchan %p with sleeping prohibited";
    for (act, expected) in [(Act::Sleep, "panic: mutex a not owned at program:2"), (Act::CvWait, prohibited)] {
        let calls = program(&[Kind::Mtx], &[&[a(Act::NoSleeping), a(act)]]);
        assert_eq!(outcomes(&calls, Switches::Invariants), [expected]);
        Judge::default().judge(&calls, 1, EFFORT).expect("agreement");
    }
}

/// A wake-up of the one kind finds a sleeper of the other.
#[test]
fn sleepers_and_waiters_of_one_address_are_told_apart() {
    let sleeper = [a(Act::Lock), a(Act::Sleep)];
    let waiter = [a(Act::Lock), a(Act::CvWait)];
    for (wake, func) in [(Act::Wakeup, "sleepq_broadcast"), (Act::WakeupOne, "sleepq_signal")] {
        let both = program(&[Kind::Mtx], &[&waiter, &[a(wake)]]);
        let mismatch = format!("panic: {func}: mismatch between sleep/wakeup and cv_*");
        assert_eq!(outcomes(&both, Switches::Invariants), [mismatch.as_str(), "threads wait for ever"]);
        // Without INVARIANTS nobody asks, and the waiter wakes.
        assert_eq!(outcomes(&both, Switches::None), ["ends", "threads wait for ever"]);
        Judge::default().judge(&both, 1, Effort { schedules: 50, search: 50_000 }).expect("agreement");
    }
    // cv_signal() looks at the count of waiters first, and there is none.
    let nobody = program(&[Kind::Mtx], &[&sleeper, &[a(Act::CvSignal)]]);
    assert_eq!(outcomes(&nobody, Switches::Invariants), ["threads wait for ever"]);
    Judge::default().judge(&nobody, 1, Effort { schedules: 50, search: 50_000 }).expect("agreement");
}

/// Only a writer that has taken read tokens looks for readers. Who gets the mutex behind because a third thread, without INVARIANTS,
/// released it, has the lock at once.
#[test]
fn an_rmlock_whose_mutex_was_stolen_does_not_wait_for_readers() {
    let reader = [a(Act::RLock), a(Act::Lock), a(Act::RUnlock)];
    let stolen = program(&[Kind::Rm], &[&reader, &[a(Act::Unlock)], &[a(Act::Lock)]]);
    assert_eq!(outcomes(&stolen, Switches::None), ["ends", "panic: page fault", "threads wait for ever"]);
    Judge::default().judge(&stolen, 1, Effort { schedules: 500, search: 0 }).expect("agreement");
}

/// The writer of a sleepable rmlock may sleep and its reader may not; others wait for the former without harm.
#[test]
fn a_sleepable_rmlock_sleeps_on_one_side() {
    let reader = [a(Act::RLock), a(Act::Pause), a(Act::RUnlock)];
    let prohibited = "panic: sleepq_add: td %p to sleep on wchan %p with sleeping prohibited";
    assert_eq!(outcomes(&program(&[Kind::RmSleepable], &[&reader]), Switches::Witness), [prohibited]);
    let writer = [a(Act::Lock), a(Act::Pause), a(Act::Unlock)];
    for (kind, expected) in [(Kind::RmSleepable, &["ends"][..]), (Kind::Rm, &["ends", "panic: sleeping thread"])] {
        let both = program(&[kind], &[&writer, &[a(Act::RLock), a(Act::RUnlock)]]);
        assert_eq!(outcomes(&both, Switches::Witness), expected);
        Judge::default().judge(&both, 1, Effort { schedules: 50, search: 100_000 }).expect("agreement");
    }
}

/// A spin mutex keeps interrupts off, and a critical section does not.
#[test]
fn a_filter_comes_in_a_critical_section_and_not_under_a_spin_mutex() {
    let filter = [a(Act::SpinTry), a(Act::SpinUnlock)];
    let spin = interrupted(&[Kind::Spin], &[&[a(Act::SpinLock), a(Act::SpinUnlock)]], &filter, &[]);
    assert_eq!(agreed(&spin, Switches::Witness), ["ends", "ends, filter's tries: [true]"]);
    let critical = [a(Act::CriticalEnter), a(Act::MallocNowait), a(Act::CriticalExit)];
    let critical = interrupted(&[], &[&critical], &[a(Act::CriticalExit)], &[]);
    let outcomes = agreed(&critical, Switches::Invariants);
    // Only a filter that finds its thread in a critical section of its own can end that and not hear of it itself.
    assert!(outcomes.contains(&"panic: critical_exit: td_critnest == 0".to_owned()), "{outcomes:?}");
}

/// An interrupt thread preempts at once, but after a critical section.
#[test]
fn an_interrupt_thread_waits_for_the_end_of_a_critical_section() {
    let (taken, ithread) = ([a(Act::Try), a(Act::Unlock)], [a(Act::Try), a(Act::Try)]);
    let plain = interrupted(&[Kind::Mtx], &[&taken], &[], &ithread);
    let seen = "ends, thread 0's tries: [true], thread 2's tries: [false, false]";
    assert!(agreed(&plain, Switches::None).contains(&seen.to_owned()));
    let critical = [a(Act::CriticalEnter), taken[0], taken[1], a(Act::CriticalExit)];
    let critical = interrupted(&[Kind::Mtx], &[&critical], &[], &ithread);
    assert!(!agreed(&critical, Switches::None).contains(&seen.to_owned()));
}

/// Who holds what an interrupt thread waits for comes before its equals, and if it does nothing but spin, they never come.
#[test]
fn an_owner_is_lent_the_priority_of_an_interrupt_thread() {
    let lent = interrupted(&[Kind::Mtx], &[&[a(Act::Try)], &[a(Act::CvSignal)]], &[], &[a(Act::Lock)]);
    assert!(agreed(&lent, Switches::Invariants).contains(&Outcome::Stuck.to_string()));
    let wrong = Model::default().outcomes(&lent, Switches::Invariants, Mutation::NoLending);
    assert!(matches!(wrong, Verdict::Outcomes(all) if !all.contains(&Outcome::Stuck)));
}

/// Threads that share a CPU take turns when they block; who blocks for the other's lock is never alone with it.
#[test]
fn threads_that_share_a_cpu_never_spin_for_each_other() {
    let first = [a(Act::Lock), b(Act::Lock), b(Act::Unlock), a(Act::Unlock)];
    let second = [b(Act::Lock), a(Act::Lock), a(Act::Unlock), b(Act::Unlock)];
    let abba = program(&[Kind::Mtx, Kind::Mtx], &[&first, &second]);
    // Nothing takes the CPU away from the first, so that the second comes too late to meet it.
    let shared = Program { shared: true, ..abba };
    assert_eq!(agreed(&shared, Switches::Witness), ["ends"]);
}

/// A wait's interlock that one may not sleep with goes with interrupts off.
#[test]
fn no_interrupt_comes_between_going_on_a_queue_and_the_sleep() {
    // Not held: what it is afterwards shows when the interrupt thread came.
    for act in [Act::CvTimedwait, Act::TimedSleep] {
        let waits = interrupted(&[Kind::Rw], &[&[a(act)]], &[], &[a(Act::Try)]);
        agreed(&waits, Switches::None);
    }
    let chained = program(&[Kind::SpinRecurse], &[&[a(Act::SpinLock), a(Act::CriticalExit), a(Act::CvWait)]]);
    Judge::default().judge(&chained, 1, EFFORT).expect("agreement");
    assert_eq!(outcomes(&chained, Switches::Invariants), ["panic: mi_switch: switch in a critical section"]);
}

/// A filter that takes, for the thread whose stack it is on, the lock that the thread has just been woken for: it waits for itself.
#[test]
fn whose_lock_it_is_is_asked_once() {
    let waiter = [a(Act::TryR), a(Act::Lock)];
    let waits = interrupted(&[Kind::RwRecurse], &[&waiter, &[a(Act::RUnlock)]], &[a(Act::Try)], &[]);
    assert!(agreed(&waits, Switches::Invariants).contains(&Outcome::Stuck.to_string()));
}

/// A spin mutex has a watchdog also where its waiter gives the CPU to another spinner now and then.
#[test]
fn who_spins_by_turns_has_a_watchdog() {
    let waits = interrupted(&[Kind::Spin], &[&[], &[a(Act::SpinLock)]], &[], &[a(Act::SpinTry)]);
    let outcomes = agreed(&waits, Switches::None);
    assert!(outcomes.contains(&"panic: spin lock held too long".to_owned()), "{outcomes:?}");
}

/// A writer lends to the reader that it waits for; a reader lends to the writer, unless that may sleep.
#[test]
fn writers_and_readers_of_an_rmlock_lend_to_each_other() {
    let stuck = Outcome::Stuck.to_string();
    for kind in [Kind::Rm, Kind::RmRecurse, Kind::RmSleepable] {
        let other = [a(Act::CvSignal)];
        let reader = interrupted(&[kind], &[&[a(Act::RLock)], &other], &[], &[a(Act::Lock)]);
        assert!(agreed(&reader, Switches::None).contains(&stuck), "{kind:?}");
        let reads = [a(Act::RLock), a(Act::RUnlock)];
        let writer = interrupted(&[kind], &[&[a(Act::Lock)], &other], &[], &reads);
        assert_eq!(agreed(&writer, Switches::None).contains(&stuck), kind != Kind::RmSleepable, "{kind:?}");
    }
}

/// Three threads on one CPU take it in the order in which they came to want it.
#[test]
fn three_threads_share_a_cpu() {
    let calls = [a(Act::Lock), a(Act::Relinquish), a(Act::Unlock)];
    for kind in [Kind::Mtx, Kind::Sx, Kind::Rm, Kind::RmSleepable, Kind::Lockmgr] {
        let three = program(&[kind], &[&calls, &calls, &calls]);
        assert_eq!(agreed(&Program { shared: true, ..three }, Switches::Witness), ["ends"]);
    }
}

/// An assertion may ask for recursion, or for none, and not for both.
#[test]
fn no_lock_is_both_recursed_and_not() {
    let kinds = [
        (Kind::MtxRecurse, "panic: unknown mtx_assert at program:2"),
        (Kind::RwRecurse, "panic: Unknown rw lock assertion: 28 @ program:2"),
        (Kind::SxRecurse, "panic: Unknown sx lock assertion: 28 @ program:2"),
        (Kind::RmRecurse, "panic: Unknown rm lock assertion: 28 @ program:2"),
        (Kind::LockmgrRecurse, "panic: Unknown lockmgr assertion: 28 @ program:2"),
    ];
    for (kind, text) in kinds {
        let both = program(&[kind], &[&[a(Act::Lock), a(Act::Assert(4 | 8 | 0x10))]]);
        for switches in [Switches::Invariants, Switches::Witness] {
            assert_eq!(outcomes(&both, switches), [text]);
        }
        Judge::default().judge(&both, 1, EFFORT).expect("agreement");
    }
    // LA_LOCKED is nothing that mtx_assert() knows.
    let locked = program(&[Kind::Mtx], &[&[a(Act::Lock), a(Act::Assert(1))]]);
    assert_eq!(outcomes(&locked, Switches::Witness), ["panic: unknown mtx_assert at program:2"]);
    Judge::default().judge(&locked, 1, EFFORT).expect("agreement");
}

/// msleep_spin() lets the sleep queue go for what WITNESS has to say: a wake-up may spare who may not switch the panic, there only.
#[test]
fn a_wakeup_may_come_before_a_sleep_with_a_spin_mutex() {
    let sleeper = [a(Act::CriticalEnter), a(Act::SpinLock), a(Act::SpinSleep)];
    let both = program(&[Kind::Spin], &[&sleeper, &[a(Act::Wakeup)]]);
    let switch = "panic: mi_switch: switch in a critical section";
    assert_eq!(agreed(&both, Switches::Invariants), [switch]);
    assert_eq!(agreed(&both, Switches::Witness), ["ends", switch]);
}

/// What is asserted of an interlock that one may not sleep with comes before what is asserted of the sleeper.
#[test]
fn a_recursed_interlock_is_noticed_before_the_sleep() {
    let calls = [a(Act::NoSleeping), a(Act::RLock), a(Act::RLock), a(Act::Sleep)];
    for (kind, text) in [
        (Kind::RmRecurse, "panic: Lock a recursed @ program:4"),
        (Kind::RmSleepable, "panic: rm_rlock: recursed on non-recursive rmlock a @ program:3"),
    ] {
        let twice = program(&[kind], &[&calls]);
        assert_eq!(outcomes(&twice, Switches::Invariants), [text]);
        Judge::default().judge(&twice, 1, EFFORT).expect("agreement");
    }
}

/// Who upgrades a lockmgr lock that nobody shares has it, if nobody looks.
#[test]
fn an_upgrade_of_what_is_not_shared() {
    let upgrade = program(&[Kind::Lockmgr], &[&[a(Act::Upgrade), a(Act::Owned)]]);
    assert_eq!(outcomes(&upgrade, Switches::None), ["ends, thread 0's tries: [true, true]"]);
    assert_eq!(outcomes(&upgrade, Switches::Invariants), ["panic: Lock a not sharelocked @ program:1"]);
    Judge::default().judge(&upgrade, 1, EFFORT).expect("agreement");
}

/// wakeup_any() takes who went to sleep last, and not who is about to, if it can.
/// A signal that comes before the sleep, during it, or too late.
#[test]
fn a_signal_ends_sleeps_that_catch_it() {
    let sleeper = program(&[Kind::Sx], &[&[a(Act::Lock), a(Act::SleepSig)], &[a(Act::Signal(0)), a(Act::Wakeup)]]);
    let (woken, not) = ("ends, thread 0's tries: [true]", "ends, thread 0's tries: [false]");
    assert_eq!(agreed(&sleeper, Switches::Witness), [not]);
    let twice = program(&[Kind::Sx], &[&[a(Act::Lock), a(Act::SleepSig)], &[a(Act::Wakeup), a(Act::Signal(0))]]);
    assert_eq!(agreed(&twice, Switches::Witness), [not, woken]);
    let deaf = program(&[Kind::Sx], &[&[a(Act::Lock), a(Act::Sleep)], &[a(Act::Signal(0))]]);
    assert_eq!(agreed(&deaf, Switches::Witness), ["threads wait for ever"]);
    // Who waits for a lock is sent away, and what it said of itself in the lock's word stays.
    let holder = [a(Act::RLock), a(Act::Pause), a(Act::Signal(1)), a(Act::TryR), a(Act::Unlock)];
    let lock = program(&[Kind::Sx], &[&holder[..4], &[a(Act::LockSig)]]);
    assert!(
        agreed(&lock, Switches::None).contains(&"ends, thread 0's tries: [true], thread 1's tries: [false]".into())
    );
}

/// An interrupt that comes again while its thread works lets that work again; both come before it has begun, or one by one.
#[test]
fn an_interrupt_comes_twice() {
    let mut program = interrupted(&[Kind::Mtx], &[&[a(Act::CriticalEnter), a(Act::CriticalExit)]], &[], &[a(Act::Try)]);
    program.interrupt.as_mut().expect("one").again = true;
    let (once, twice) = ("ends, thread 2's tries: [true]", "ends, thread 2's tries: [true, false]");
    let all = agreed(&program, Switches::Invariants);
    assert!(all.contains(&once.into()) && all.contains(&twice.into()), "{all:?}");
}

/// An interrupt on one CPU of two: its thread preempts there when the other CPU wakes it, and not in a critical section.
#[test]
fn an_interrupt_comes_on_one_cpu_of_two() {
    let apart = |first: &[Call], second: &[Call], filter: &[Call], ithread: &[Call]| Program {
        shared: false,
        ..interrupted(&[Kind::Spin, Kind::Mtx], &[first, second], filter, ithread)
    };
    // The filter spins for the other CPU's spin mutex; on its own CPU's it would do so for ever.
    let takes = [a(Act::SpinLock), a(Act::SpinUnlock)];
    assert_eq!(agreed(&apart(&takes, &takes, &takes, &[]), Switches::Witness), ["ends"]);
    // Whom the other CPU wakes comes before what its own CPU's thread would do next, unless that is in a critical section.
    for (enters, seen) in [(Act::NoSleeping, true), (Act::CriticalEnter, false)] {
        let first = [a(enters), b(Act::Try), b(Act::Unlock), a(enters), b(Act::Try)];
        let woken = apart(&first, &[a(Act::CvSignal)], &[], &[a(Act::SpinLock), a(Act::CvWait), b(Act::Lock)]);
        let fails = |outcome: &String| outcome == "ends, thread 0's tries: [true, false]";
        assert_eq!(agreed(&woken, Switches::None).iter().any(fails), seen, "{enters:?}");
    }
}

/// A program on one CPU, with a callout.
fn timed(kinds: &[Kind], threads: &[&[Call]], lock: Option<u8>, handler: &[Call]) -> Program {
    let mut program = interrupted(kinds, threads, &[], handler);
    program.interrupt.as_mut().expect("one").callout = Some(Callout { lock });
    program
}

/// A callout's handler may not sleep, and has the callout's lock; who stops it with that held is in time, or the handler has run.
#[test]
fn a_callout_runs_with_its_lock_or_not_at_all() {
    let prohibited = "panic: sleepq_add: td %p to sleep on wchan %p with sleeping prohibited";
    let sleeps = timed(&[Kind::Mtx], &[&[a(Act::Pause), a(Act::Pause)]], None, &[a(Act::Tsleep)]);
    assert_eq!(agreed(&sleeps, Switches::Invariants), [prohibited]);
    let stops = [a(Act::Lock), a(Act::CalloutStop), a(Act::Unlock)];
    let stopped = timed(&[Kind::Mtx], &[&stops], Some(0), &[a(Act::Owned)]);
    let (in_time, late) =
        ("ends, thread 0's tries: [true, false]", "ends, thread 0's tries: [false, false], thread 2's tries: [true]");
    assert_eq!(agreed(&stopped, Switches::Witness), [late, in_time]);
    let without = timed(&[Kind::Mtx], &[&[a(Act::CalloutStop)]], Some(0), &[]);
    assert_eq!(agreed(&without, Switches::Invariants), ["panic: mutex a not owned at %s:%d"]);
}

/// Who drains a callout with the lock held that its handler wants is found out by who comes last, or waits for ever.
#[test]
fn a_callout_is_drained_without_its_lock() {
    let drains = [a(Act::Lock), a(Act::CalloutDrain), a(Act::Unlock)];
    let held = timed(&[Kind::Mtx], &[&drains], Some(0), &[]);
    let all = agreed(&held, Switches::Invariants);
    assert!(all.contains(&Outcome::Stuck.to_string()), "{all:?}");
    let myself = timed(&[Kind::Mtx], &[&[a(Act::Pause)]], None, &[a(Act::CalloutDrain)]);
    assert_eq!(agreed(&myself, Switches::None), ["ends"]);
}

/// Who sleeps does so without Giant, however often it is held, and who waits for an sx lock too; other locks are waited for with it.
#[test]
fn giant_is_dropped_by_who_sleeps() {
    let holder = [b(Act::Lock), b(Act::Lock), a(Act::Pause)];
    let pauses = program(&[Kind::Sx, Kind::Giant], &[&holder, &[b(Act::Try), b(Act::Unlock)]]);
    let taken = "ends, thread 1's tries: [true]".to_owned();
    assert!(agreed(&pauses, Switches::None).contains(&taken));
    let releases = [a(Act::Lock), b(Act::Lock), b(Act::Unlock), a(Act::Unlock)];
    for (kind, dropped) in [(Kind::Sx, true), (Kind::Rw, false), (Kind::Mtx, false)] {
        let waits =
            program(&[kind, Kind::Giant], &[&[b(Act::Lock), a(Act::Lock), a(Act::Unlock), b(Act::Unlock)], &releases]);
        let stuck = agreed(&waits, Switches::Invariants).contains(&Outcome::Stuck.to_string());
        assert_eq!(stuck, !dropped, "{kind:?}");
    }
    // WITNESS does not mind that one sleeps with it, and knows its place.
    let sleeps =
        printed(&program(&[Kind::Mtx, Kind::Giant], &[&[b(Act::Lock), a(Act::Pause), a(Act::Lock), b(Act::Unlock)]]));
    assert_eq!(sleeps, [""; 0]);
    let late = printed(&program(&[Kind::Mtx, Kind::Giant], &[&[a(Act::Lock), b(Act::Lock)]]));
    let order = ["lock order reversal: (Giant after non-sleepable)", " 1st %p a (a, sleep mutex) @ program:1"];
    assert_eq!(late, [order[0], order[1], " 2nd %p Giant (Giant, sleep mutex) @ program:2"]);
    // No time runs out between the sleep queue and the switch, though Giant goes meanwhile.
    let calls = [a(Act::Lock), a(Act::CriticalEnter), a(Act::TimedSleepSig)];
    let critical = Program { shared: true, ..program(&[Kind::Giant], &[&calls, &[a(Act::Try)]]) };
    assert_eq!(agreed(&critical, Switches::Invariants), ["panic: mi_switch: switch in a critical section"]);
}

/// A section of an epoch is a critical one; in one of a preemptible epoch one may block and not sleep.
#[test]
fn sections_of_epochs_keep_from_sleeping() {
    let preemptible = [a(Act::EnterPreempt), a(Act::Lock), a(Act::Unlock), a(Act::ExitPreempt), a(Act::InPreempt)];
    let both = program(&[Kind::Mtx], &[&preemptible, &preemptible]);
    assert_eq!(agreed(&both, Switches::Witness), ["ends, thread 0's tries: [false], thread 1's tries: [false]"]);
    let texts = [
        (Act::EnterPreempt, "panic: sleepq_add: td %p to sleep on wchan %p with sleeping prohibited"),
        (Act::EpochEnter, "panic: mi_switch: switch in a critical section"),
        (Act::ExitPreempt, "panic: Assertion curthread->td_pinned > 0 failed at %s:%d"),
        (Act::EpochExit, "panic: Assertion er->er_td == curthread failed at %s:%d"),
    ];
    for (act, text) in texts {
        let sleeps = program(&[Kind::Mtx], &[&[a(act), a(Act::Pause)]]);
        assert_eq!(outcomes(&sleeps, Switches::Invariants), [text], "{act:?}");
        Judge::default().judge(&sleeps, 1, EFFORT).expect("agreement");
    }
    let left = program(&[Kind::Mtx], &[&[a(Act::EpochEnter), a(Act::CriticalExit), a(Act::InEpoch)]]);
    let text = "panic: re-entered critical section in epoch 'Global', from cpu 0";
    assert_eq!(outcomes(&left, Switches::Invariants), [text]);
    Judge::default().judge(&left, 1, EFFORT).expect("agreement");
}

/// Who waits for a mutex to be free takes it, if the owner sleeps; and nobody waits for itself.
#[test]
fn mtx_wait_unlocked_spins_or_takes_the_mutex() {
    let owner = [a(Act::Lock), a(Act::Pause), a(Act::Unlock)];
    let waits = program(&[Kind::Mtx], &[&owner, &[a(Act::WaitUnlocked)]]);
    assert_eq!(agreed(&waits, Switches::Invariants), ["ends", "panic: sleeping thread"]);
    let myself = program(&[Kind::Spin], &[&[a(Act::SpinLock), a(Act::WaitUnlocked)]]);
    let text = "panic: mtx_spin_wait_unlocked() waiting on myself on lock %p (a)";
    assert_eq!(outcomes(&myself, Switches::Invariants), [text]);
}

/// tsleep(9) has no interlock, and tells it from one that has.
#[test]
fn tsleep_has_no_interlock() {
    let both = program(&[Kind::Mtx], &[&[a(Act::Tsleep)], &[a(Act::Lock), a(Act::Sleep)]]);
    let all = agreed(&both, Switches::Invariants);
    assert!(all.contains(&"panic: Assertion lock == sq->sq_lock failed at %s:%d".into()), "{all:?}");
    let destroyed = program(&[Kind::Mtx], &[&[a(Act::Tsleep)], &[a(Act::CvDestroy)]]);
    let all = agreed(&destroyed, Switches::Invariants);
    assert!(all.contains(&"panic: cv_destroy: associated sleep queue non-empty".into()), "{all:?}");
}

#[test]
fn wakeup_any_wakes_the_latest() {
    let sleeper = [a(Act::RLock), a(Act::Sleep), a(Act::CriticalEnter), a(Act::Pause)];
    let waits = program(&[Kind::Sx], &[&sleeper, &[a(Act::RLock), a(Act::Sleep)], &[a(Act::WakeupAny)]]);
    let outcomes = agreed(&Program { shared: true, ..waits }, Switches::Invariants);
    assert_eq!(outcomes, ["threads wait for ever"]);
}

/// A destroyed lock says so whatever is asked of it, and a lock is initialised once.
#[test]
fn a_destroyed_lock_is_none() {
    for (kind, text) in [
        (Kind::Mtx, "panic: mtx_lock() of destroyed mutex @ program:2"),
        (Kind::Rw, "panic: rw_wlock() of destroyed rwlock @ program:2"),
        (Kind::Sx, "panic: sx_xlock() of destroyed sx @ program:2"),
        (Kind::Rm, "panic: rm_wlock() of destroyed rmlock @ program:2"),
    ] {
        let used = program(&[kind], &[&[a(Act::Destroy), a(Act::Lock)]]);
        assert_eq!(outcomes(&used, Switches::Witness), [text]);
        let again = program(&[kind], &[&[a(Act::Destroy), a(Act::Init), a(Act::Lock), a(Act::Init)]]);
        assert_eq!(outcomes(&again, Switches::Witness), ["panic: lock \"a\" %p already initialized"]);
        for program in [used, again] {
            Judge::default().judge(&program, 1, EFFORT).expect("agreement");
        }
    }
}

/// What a program with one thread prints.
fn printed(program: &Program) -> Vec<String> {
    let mut model = Model::default();
    model.outcomes(program, Switches::Witness, Mutation::None);
    Judge::default().judge(program, 1, EFFORT).expect("agreement");
    model.console().expect("one thread").to_vec()
}

#[test]
fn the_model_says_what_witness_prints() {
    let ab = [a(Act::Lock), b(Act::Lock), b(Act::Unlock), a(Act::Unlock)];
    let ba = [b(Act::Lock), a(Act::Lock), a(Act::Unlock), b(Act::Unlock)];
    let reversal = ["lock order reversal:", " 1st %p b (b, sleep mutex) @ program:5", " 2nd %p a (a, sx) @ program:6"];
    // A sleepable lock comes first, whatever came before; and is reported once.
    let calls = [&ba[..], &ab, &ba].concat();
    let mixed = printed(&program(&[Kind::Sx, Kind::Mtx], &[&calls]));
    let sleepable = ["lock order reversal: (sleepable after non-sleepable)", " 1st %p b (b, sleep mutex) @ program:1"];
    assert_eq!(mixed, [sleepable[0], sleepable[1], " 2nd %p a (a, sx) @ program:2"]);
    let plain = printed(&program(&[Kind::Sx, Kind::Sx], &[&[&ab[..], &ba, &ba].concat()]));
    assert_eq!(plain, [reversal[0], " 1st %p b (b, sx) @ program:5", reversal[2]]);
    // The interlock of a wait does not count, and is held afterwards as it was before.
    let waits = [a(Act::Lock), b(Act::Lock), b(Act::CvTimedwait), a(Act::Pause)];
    let held = printed(&program(&[Kind::Mtx, Kind::Rw], &[&waits]));
    let warned = |what: &str| format!("{what} with the following non-sleepable locks held:");
    let line = |class: &str, lock: &str, at: u32| {
        format!("exclusive {class} {lock} ({lock}) r = 0 (%p) locked @ program:{at}")
    };
    let (of_a, of_b) = (line("sleep mutex", "a", 1), line("rw", "b", 2));
    assert_eq!(held, [warned("Waiting on \"cv\""), of_a.clone(), warned("Sleeping on \"nap\""), of_b, of_a]);
}

#[test]
fn programs_are_the_same_for_the_same_bytes() {
    let programs: BTreeSet<_> = (0..1000).map(|index| fuzz::program(3, index).to_string()).collect();
    assert!(programs.len() > 900, "{}", programs.len());
    assert_eq!(fuzz::program(3, 17), fuzz::program(3, 17));
    for bytes in [&[][..], &[0; 7], &[0xff; 300]] {
        let program = Program::decode(bytes);
        assert!(program.threads.len() <= 3 && program.locks.len() <= 4, "{program}");
        Judge::default().judge(&program, 1, EFFORT).expect("agreement");
    }
}
