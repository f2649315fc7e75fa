//! A random program of lock calls: a few threads, a few locks, calls in order, legal or not.
//!
//! Decoded from bytes, so that a coverage-guided fuzzer and a seeded test draw from the same programs.

use arbitrary::{Arbitrary, Result, Unstructured};
use std::fmt;

/// Most threads of a program.
pub const THREADS: usize = 3;
/// The list of calls, by its number, that the interrupt thread makes: it comes where a third thread would.
pub const ITHREAD: usize = 2;
/// The list of calls that the filter makes.
pub const FILTER: usize = 3;
/// Lists of calls that a program may have.
pub const LISTS: usize = 4;
/// Most locks of a program.
pub const LOCKS: usize = 4;
/// Most calls of a thread, if it is the only one.
pub const CALLS: usize = 12;

/// What a lock is, and whether it may be taken twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Arbitrary)]
pub enum Kind {
    /// `MTX_DEF`.
    Mtx,
    /// `MTX_DEF | MTX_RECURSE`.
    MtxRecurse,
    /// `MTX_SPIN`.
    Spin,
    /// `MTX_SPIN | MTX_RECURSE`.
    SpinRecurse,
    /// rwlock(9).
    Rw,
    /// `RW_RECURSE`.
    RwRecurse,
    /// sx(9).
    Sx,
    /// `SX_RECURSE`.
    SxRecurse,
    /// rmlock(9).
    Rm,
    /// `RM_RECURSE`.
    RmRecurse,
    /// `RM_SLEEPABLE`.
    RmSleepable,
    /// lockmgr(9).
    Lockmgr,
    /// `LK_CANRECURSE`.
    LockmgrRecurse,
    /// Giant: there is one.
    Giant,
}

impl Kind {
    /// Whether it is a mutex of either class.
    pub fn is_mtx(self) -> bool {
        matches!(self, Self::Mtx | Self::MtxRecurse | Self::Giant) || self.is_spin()
    }

    /// Whether its class is that of spin mutexes.
    pub fn is_spin(self) -> bool {
        matches!(self, Self::Spin | Self::SpinRecurse)
    }

    /// Whether it is an rmlock.
    pub fn is_rm(self) -> bool {
        matches!(self, Self::Rm | Self::RmRecurse | Self::RmSleepable)
    }

    /// Whether it is a lockmgr lock.
    pub fn is_lockmgr(self) -> bool {
        matches!(self, Self::Lockmgr | Self::LockmgrRecurse)
    }

    /// Whether it is an sx lock.
    pub fn is_sx(self) -> bool {
        matches!(self, Self::Sx | Self::SxRecurse)
    }

    /// `LO_RECURSABLE`.
    pub fn recursable(self) -> bool {
        matches!(
            self,
            Self::MtxRecurse
                | Self::SpinRecurse
                | Self::RwRecurse
                | Self::SxRecurse
                | Self::RmRecurse
                | Self::LockmgrRecurse
                | Self::Giant
        )
    }

    /// What can be asked of it.
    fn calls(self) -> &'static [Act] {
        use Act::{
            Assert, CvTimedwait, CvWait, CvWaitUnlock, Downgrade, Lock, Owned, RLock, RUnlock, Sleep, SleepDrop,
        };
        use Act::{
            CvTimedwaitSig, CvWaitSig, Disown, LockSig, RLockSig, SleepFail, SleepSig, TimedSleepSig, UpgradeWait,
            WaitUnlocked,
        };
        use Act::{SpinLock, SpinSleep, SpinTry, SpinUnlock, TimedSleep, TimedSpinSleep, Try, TryR, Unlock, Upgrade};
        if self.is_mtx() {
            &[
                Lock,
                Unlock,
                Try,
                SpinLock,
                SpinUnlock,
                SpinTry,
                CvWait,
                CvTimedwait,
                CvWaitUnlock,
                Sleep,
                TimedSleep,
                SleepDrop,
                CvWaitSig,
                CvTimedwaitSig,
                SleepSig,
                TimedSleepSig,
                SpinSleep,
                TimedSpinSleep,
                WaitUnlocked,
                Assert(0),
                Owned,
            ]
        } else if self.is_lockmgr() {
            &[
                Lock,
                Unlock,
                Try,
                SleepFail,
                RLock,
                RUnlock,
                TryR,
                Upgrade,
                UpgradeWait,
                Downgrade,
                Disown,
                Assert(0),
                Owned,
            ]
        } else if self.is_rm() {
            &[
                Lock,
                Unlock,
                RLock,
                RUnlock,
                TryR,
                CvWait,
                CvTimedwait,
                CvWaitUnlock,
                Sleep,
                TimedSleep,
                SleepDrop,
                CvWaitSig,
                CvTimedwaitSig,
                SleepSig,
                TimedSleepSig,
                Assert(0),
                Owned,
            ]
        } else {
            // rwlocks, and sx locks, which have the last two besides.
            &[
                Lock,
                Unlock,
                Try,
                RLock,
                RUnlock,
                TryR,
                Upgrade,
                Downgrade,
                CvWait,
                CvTimedwait,
                CvWaitUnlock,
                Sleep,
                TimedSleep,
                SleepDrop,
                CvWaitSig,
                CvTimedwaitSig,
                SleepSig,
                TimedSleepSig,
                Assert(0),
                Owned,
                LockSig,
                RLockSig,
            ][..if self.is_sx() { 22 } else { 20 }]
        }
    }
}

/// A lock of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LockSpec {
    /// What it is.
    pub kind: Kind,
    /// Whether WITNESS sees it.
    pub enrolled: bool,
}

/// What a call does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Act {
    /// `mtx_lock`, `rw_wlock`, `sx_xlock`, `rm_wlock`, `LK_EXCLUSIVE`.
    Lock,
    /// `mtx_unlock`, `rw_wunlock`, `sx_xunlock`, `rm_wunlock`, `LK_RELEASE`.
    Unlock,
    /// `mtx_trylock`, `rw_try_wlock`, `sx_try_xlock`, `LK_EXCLUSIVE` with `LK_NOWAIT`.
    Try,
    /// `mtx_lock_spin`.
    SpinLock,
    /// `mtx_unlock_spin`.
    SpinUnlock,
    /// `mtx_trylock_spin`.
    SpinTry,
    /// `rw_rlock`, `sx_slock`, `rm_rlock`, `LK_SHARED`.
    RLock,
    /// `rw_runlock`, `sx_sunlock`, `rm_runlock`, `LK_RELEASE`.
    RUnlock,
    /// `rw_try_rlock`, `sx_try_slock`, `rm_try_rlock`, `LK_SHARED` with `LK_NOWAIT`.
    TryR,
    /// `rw_try_upgrade`, `sx_try_upgrade`, `LK_TRYUPGRADE`.
    Upgrade,
    /// `rw_downgrade`, `sx_downgrade`, `LK_DOWNGRADE`.
    Downgrade,
    /// `LK_EXCLUSIVE` with `LK_SLEEPFAIL`.
    SleepFail,
    /// `LK_UPGRADE`.
    UpgradeWait,
    /// `lockmgr_disown`.
    Disown,
    /// `mtx_assert` and the like, with these `LA_*`.
    Assert(u32),
    /// `mtx_owned`, `rw_wowned`, `sx_xlocked`, `rm_wowned`; `lockstatus` is `LK_EXCLUSIVE`.
    Owned,
    /// `mtx_destroy` and the like, and not `mtx_init` afterwards.
    Destroy,
    /// `mtx_init` and the like, of a lock that was destroyed or was not.
    Init,
    /// `critical_enter`.
    CriticalEnter,
    /// `critical_exit`.
    CriticalExit,
    /// `THREAD_NO_SLEEPING`.
    NoSleeping,
    /// `THREAD_SLEEPING_OK`.
    SleepingOk,
    /// `sched_pin`.
    Pin,
    /// `sched_unpin`; a thread among others leaves the pin that holds it to its CPU alone.
    Unpin,
    /// `cv_wait` on the program's condition, with this lock as its interlock.
    CvWait,
    /// `cv_timedwait` for a tick.
    CvTimedwait,
    /// `cv_wait_unlock`.
    CvWaitUnlock,
    /// `cv_signal`.
    CvSignal,
    /// `cv_broadcast`.
    CvBroadcast,
    /// `_sleep` on the condition's address, with this lock as its interlock.
    Sleep,
    /// `_sleep` for a tick.
    TimedSleep,
    /// `_sleep` with `PDROP`.
    SleepDrop,
    /// `msleep_spin` on the condition's address.
    SpinSleep,
    /// `msleep_spin` for a tick.
    TimedSpinSleep,
    /// `wakeup` of the condition's address.
    Wakeup,
    /// `wakeup_one`.
    WakeupOne,
    /// `wakeup_any`.
    WakeupAny,
    /// `sx_xlock_sig`.
    LockSig,
    /// `sx_slock_sig`.
    RLockSig,
    /// `cv_wait_sig`.
    CvWaitSig,
    /// `cv_timedwait_sig` for a tick.
    CvTimedwaitSig,
    /// `_sleep` with `PCATCH`.
    SleepSig,
    /// `_sleep` with `PCATCH`, for a tick.
    TimedSleepSig,
    /// A signal for this thread, if the program has it.
    Signal(u8),
    /// `mtx_wait_unlocked`, `mtx_spin_wait_unlocked`.
    WaitUnlocked,
    /// `tsleep` on the condition's address, for a tick.
    Tsleep,
    /// `cv_destroy`, and the condition is used as before.
    CvDestroy,
    /// `sched_relinquish`.
    Relinquish,
    /// `pause` for a tick.
    Pause,
    /// `malloc(M_WAITOK)` and `free`.
    MallocWait,
    /// `malloc(M_NOWAIT)` and `free`.
    MallocNowait,
    /// `userret`.
    Userret,
    /// `epoch_enter` of the kernel's own epoch.
    EpochEnter,
    /// `epoch_exit`.
    EpochExit,
    /// `in_epoch` of it.
    InEpoch,
    /// `epoch_enter_preempt` of the kernel's own preemptible epoch.
    EnterPreempt,
    /// `epoch_exit_preempt` with the tracker of the thread's latest section, or one that is not in use.
    ExitPreempt,
    /// The same with that of its oldest section.
    ExitOldest,
    /// `in_epoch` of it.
    InPreempt,
    /// `callout_reset` of the program's callout, for a tick.
    CalloutReset,
    /// `callout_stop`.
    CalloutStop,
    /// `callout_drain`.
    CalloutDrain,
}

/// What is asked in an assertion: sensible ones, and some that no kernel knows.
const ASSERTIONS: [u32; 13] =
    [0, 1, 2, 4, 4 | 8, 4 | 0x10, 1 | 8, 1 | 0x10, 2 | 8, 8, 4 | 8 | 0x10, 1 | 8 | 0x10, 0x40];

/// What has nothing to do with a lock.
const PLAIN: [Act; 28] = [
    Act::CriticalEnter,
    Act::CriticalExit,
    Act::NoSleeping,
    Act::SleepingOk,
    Act::Pin,
    Act::Unpin,
    Act::CvSignal,
    Act::CvBroadcast,
    Act::Wakeup,
    Act::WakeupOne,
    Act::WakeupAny,
    Act::Relinquish,
    Act::Pause,
    Act::MallocWait,
    Act::MallocNowait,
    Act::Userret,
    Act::Signal(0),
    Act::Signal(1),
    Act::Signal(2),
    Act::Tsleep,
    Act::CvDestroy,
    Act::EpochEnter,
    Act::EpochExit,
    Act::InEpoch,
    Act::EnterPreempt,
    Act::ExitPreempt,
    Act::ExitOldest,
    Act::InPreempt,
];

/// One call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Call {
    /// What it does.
    pub act: Act,
    /// To which lock, if to one.
    pub lock: u8,
}

/// An interrupt that comes once or twice, at any moment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Interrupt {
    /// The calls of its filter, which runs on the stack of whatever it interrupts.
    pub filter: Vec<Call>,
    /// The calls of its thread; if there are none, there is no thread.
    pub ithread: Vec<Call>,
    /// It comes twice.
    pub again: bool,
    /// It is no interrupt: the clock brings it, and its thread is that of softclock.
    pub callout: Option<Callout>,
}

/// A callout, whose handler makes the interrupt thread's calls. It is set for a tick when the program begins.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Callout {
    /// The lock that it was given.
    pub lock: Option<u8>,
}

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Program {
    /// Its locks, named `a` to `d`.
    pub locks: Vec<LockSpec>,
    /// The calls of each thread; thread N has CPU N to itself, unless they share one.
    pub threads: Vec<Vec<Call>>,
    /// Whether all threads are on one CPU.
    pub shared: bool,
    /// What interrupts them, two at most: on the one CPU, or on that of the first of two.
    pub interrupt: Option<Interrupt>,
}

/// What a thread would hold if all its calls had been legal: legal programs get further.
#[derive(Default)]
struct Habits {
    held: Vec<(u8, Act)>,
    critical: u32,
    pinned: u32,
    /// How it leaves the sections of epochs that it is in.
    sections: Vec<Act>,
}

impl Habits {
    /// A call that a careful programmer may make next.
    fn sensible(&mut self, u: &mut Unstructured<'_>, locks: &[LockSpec]) -> Result<Call> {
        // Waiting with a lock held: the interlock of a condition.
        if let Some(&(lock, _)) = self.held.last().filter(|(lock, _)| !locks[usize::from(*lock)].kind.is_lockmgr())
            && u.ratio(1, 12)?
        {
            let spin = locks[usize::from(lock)].kind.is_spin();
            let act =
                match *u.choose(&[Act::CvWait, Act::CvTimedwait, Act::CvWaitUnlock, Act::Sleep, Act::TimedSleep])? {
                    Act::Sleep if spin => Act::SpinSleep,
                    Act::TimedSleep if spin => Act::TimedSpinSleep,
                    Act::Sleep if u.ratio(1, 4)? => Act::SleepDrop,
                    act if !spin && u.ratio(1, 3)? => act.catching(),
                    act => act,
                };
            if act.drops() {
                self.held.pop();
            }
            return Ok(Call { act, lock });
        }
        if !self.held.is_empty() && u.ratio(2, 5)? {
            let (lock, act) = self.held.swap_remove(u.choose_index(self.held.len())?);
            return Ok(Call { act, lock });
        }
        if self.critical + self.pinned > 0 && u.ratio(1, 2)? {
            if self.critical > 0 {
                self.critical -= 1;
                return Ok(Call { act: Act::CriticalExit, lock: 0 });
            }
            self.pinned -= 1;
            return Ok(Call { act: Act::Unpin, lock: 0 });
        }
        if !self.sections.is_empty() && u.ratio(1, 2)? {
            let act = if u.ratio(1, 4)? {
                *u.choose(&[Act::InEpoch, Act::InPreempt])?
            } else {
                self.sections.remove(self.sections.len() - 1)
            };
            return Ok(Call { act, lock: 0 });
        }
        let lock = u.choose_index(locks.len())?;
        let kind = locks[lock].kind;
        let (act, release) = match (u.int_in_range(0..=5)?, kind) {
            (0, _) => {
                let act = *u.choose(&[
                    Act::Pause,
                    Act::Pin,
                    Act::CriticalEnter,
                    Act::MallocWait,
                    Act::MallocNowait,
                    Act::CvSignal,
                    Act::CvBroadcast,
                    Act::Wakeup,
                    Act::WakeupOne,
                    Act::WakeupAny,
                    Act::Tsleep,
                    Act::CvDestroy,
                    Act::Relinquish,
                    Act::Signal(0),
                    Act::Signal(1),
                    Act::Signal(2),
                    Act::EpochEnter,
                    Act::EnterPreempt,
                    Act::EnterPreempt,
                ])?;
                match act {
                    Act::EpochEnter => self.sections.push(Act::EpochExit),
                    Act::EnterPreempt => {
                        self.sections.push(*u.choose(&[Act::ExitPreempt, Act::ExitPreempt, Act::ExitOldest])?)
                    }
                    _ => {}
                }
                self.critical += u32::from(act == Act::CriticalEnter);
                self.pinned += u32::from(act == Act::Pin);
                return Ok(Call { act, lock: 0 });
            }
            (1 | 2, kind) if kind.is_spin() => (Act::SpinTry, Act::SpinUnlock),
            (_, kind) if kind.is_spin() => (Act::SpinLock, Act::SpinUnlock),
            (1 | 2, kind) if !kind.is_mtx() => (Act::RLock, Act::RUnlock),
            (3, kind) if !kind.is_rm() => (Act::Try, Act::Unlock),
            (3, _) => (Act::TryR, Act::RUnlock),
            _ => (Act::Lock, Act::Unlock),
        };
        let act = if kind.is_sx() && u.ratio(1, 3)? { act.catching() } else { act };
        let lock = lock as u8;
        self.held.push((lock, release));
        Ok(Call { act, lock })
    }
}

impl Program {
    /// The program that `bytes` stand for: any bytes stand for one.
    pub fn decode(bytes: &[u8]) -> Self {
        Self::arbitrary(&mut Unstructured::new(bytes)).unwrap_or(Self { threads: vec![Vec::new()], ..Self::default() })
    }

    /// Whether nothing ever comes between the calls of the only thread.
    pub fn alone(&self) -> bool {
        self.threads.len() == 1 && self.interrupt.is_none()
    }

    /// Whether there is one CPU that something shares: threads, or a thread and an interrupt.
    pub fn one_cpu(&self) -> bool {
        self.shared || self.interrupt.is_some() && self.threads.len() < 2
    }

    /// Whether there are two CPUs, and an interrupt on the first.
    pub fn two_cpus(&self) -> bool {
        self.interrupt.is_some() && !self.one_cpu()
    }

    /// Its callout, if it has one.
    pub fn callout(&self) -> Option<&Callout> {
        self.interrupt.as_ref()?.callout.as_ref()
    }

    /// A list of calls by its number: a thread's, the interrupt thread's, the filter's.
    pub fn list(&self, at: usize) -> &[Call] {
        match (at, &self.interrupt) {
            (ITHREAD, Some(interrupt)) => &interrupt.ithread,
            (FILTER, Some(interrupt)) => &interrupt.filter,
            _ => self.threads.get(at).map_or(&[], |calls| calls),
        }
    }

    fn list_mut(&mut self, at: usize) -> Option<&mut Vec<Call>> {
        match (at, &mut self.interrupt) {
            (ITHREAD, Some(interrupt)) => Some(&mut interrupt.ithread),
            (FILTER, Some(interrupt)) => Some(&mut interrupt.filter),
            _ => self.threads.get_mut(at),
        }
    }

    /// All calls.
    pub fn calls(&self) -> impl Iterator<Item = &Call> {
        (0..LISTS).flat_map(|at| self.list(at))
    }

    /// Number of calls.
    pub fn len(&self) -> usize {
        self.calls().count()
    }

    /// Whether it calls nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How often a thread sleeps for a tick.
    pub fn pauses(&self) -> usize {
        let pauses = |call: &&Call| call.act == Act::Pause || call.act.times_out();
        let again = self.interrupt.as_ref().filter(|interrupt| interrupt.again);
        let resets = |call: &&Call| call.act == Act::CalloutReset;
        let timers = if self.callout().is_some() { 1 + self.calls().filter(resets).count() } else { 0 };
        self.calls().filter(pauses).count()
            + timers
            + again.map_or(0, |interrupt| interrupt.ithread.iter().filter(pauses).count())
    }

    /// Whether a thread waits for a time.
    pub fn times_out(&self) -> bool {
        self.calls().any(|call| call.act.times_out())
    }

    /// Whether a thread yields its CPU.
    pub fn relinquishes(&self) -> bool {
        self.calls().any(|call| call.act == Act::Relinquish)
    }

    /// Programs that are smaller by a thread, a call or an unused lock.
    pub fn smaller(&self) -> Vec<Self> {
        let mut all = Vec::new();
        if self.threads.len() > 1 {
            all.extend((0..self.threads.len()).map(|at| {
                let mut less = self.clone();
                less.threads.remove(at);
                less
            }));
        }
        if let Some(interrupt) = self.interrupt.as_ref().filter(|interrupt| interrupt.again) {
            let once = Interrupt { again: false, ..interrupt.clone() };
            all.push(Self { interrupt: Some(once), ..self.clone() });
        }
        if self.interrupt.is_some() {
            all.push(Self { interrupt: None, ..self.clone() });
        }
        if self.callout().is_some_and(|callout| callout.lock.is_some()) {
            let mut less = self.clone();
            less.interrupt.as_mut().and_then(|interrupt| interrupt.callout.as_mut()).unwrap().lock = None;
            all.push(less);
        }
        if self.shared && self.interrupt.is_none() {
            all.push(Self { shared: false, ..self.clone() });
        }
        for list in 0..LISTS {
            all.extend((0..self.list(list).len()).filter_map(|at| {
                let mut less = self.clone();
                less.list_mut(list)?.remove(at);
                Some(less)
            }));
        }
        for at in (0..self.locks.len()).rev() {
            let used = |call: &Call| call.act.takes_lock() && usize::from(call.lock) == at;
            let of_callout = self.callout().and_then(|callout| callout.lock);
            if !self.calls().any(used) && of_callout.is_none_or(|lock| usize::from(lock) != at) {
                let mut less = self.clone();
                if let Some(Callout { lock: Some(lock) }) =
                    less.interrupt.as_mut().and_then(|interrupt| interrupt.callout.as_mut())
                {
                    *lock -= u8::from(usize::from(*lock) > at);
                }
                less.locks.remove(at);
                for list in 0..LISTS {
                    let calls = less.list_mut(list).into_iter().flatten();
                    calls.for_each(|call| call.lock -= u8::from(usize::from(call.lock) > at));
                }
                all.push(less);
            }
        }
        all
    }
}

impl Act {
    /// Whether it waits for the condition, or on its address.
    pub fn waits(self) -> bool {
        self.times_out()
            || self.drops()
            || matches!(self, Self::CvWait | Self::Sleep | Self::SpinSleep)
            || matches!(self, Self::CvWaitSig | Self::SleepSig)
    }

    /// Whether it waits for a tick at most.
    pub fn times_out(self) -> bool {
        matches!(self, Self::CvTimedwait | Self::TimedSleep | Self::TimedSpinSleep)
            || matches!(self, Self::CvTimedwaitSig | Self::TimedSleepSig | Self::Tsleep)
    }

    /// Whether a signal ends it.
    pub fn catches(self) -> bool {
        matches!(self, Self::LockSig | Self::RLockSig | Self::CvWaitSig | Self::CvTimedwaitSig)
            || matches!(self, Self::SleepSig | Self::TimedSleepSig)
    }

    /// What is like it, and ended by a signal.
    fn catching(self) -> Self {
        match self {
            Self::Lock => Self::LockSig,
            Self::RLock => Self::RLockSig,
            Self::CvWait => Self::CvWaitSig,
            Self::CvTimedwait => Self::CvTimedwaitSig,
            Self::Sleep => Self::SleepSig,
            Self::TimedSleep => Self::TimedSleepSig,
            act => act,
        }
    }

    /// Whether it waits and does not take the lock back.
    pub fn drops(self) -> bool {
        matches!(self, Self::CvWaitUnlock | Self::SleepDrop)
    }

    /// Whether it waits as sleep(9) has it, and not condvar(9).
    pub fn sleeps(self) -> bool {
        matches!(self, Self::Sleep | Self::TimedSleep | Self::SleepDrop | Self::SleepSig | Self::TimedSleepSig)
            || self.sleeps_spin()
    }

    /// Whether it is `msleep_spin`.
    pub fn sleeps_spin(self) -> bool {
        matches!(self, Self::SpinSleep | Self::TimedSpinSleep)
    }

    /// Whether it is about the callout.
    pub fn is_callouts(self) -> bool {
        matches!(self, Self::CalloutReset | Self::CalloutStop | Self::CalloutDrain)
    }

    /// Whether it is about an epoch.
    pub fn is_epochs(self) -> bool {
        matches!(self, Self::EpochEnter | Self::EpochExit | Self::InEpoch | Self::InPreempt)
            || matches!(self, Self::EnterPreempt | Self::ExitPreempt | Self::ExitOldest)
    }

    /// Whether it is done to a lock.
    pub fn takes_lock(self) -> bool {
        !PLAIN.contains(&self) && !self.is_callouts()
    }
}

impl<'a> Arbitrary<'a> for Program {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let threads = *u.choose(&[1, 1, 1, 1, 2, 2, 2, 3])?;
        let interrupted = threads < 3 && u.ratio(1, 3)?;
        let shared = threads > 1 && (interrupted || u.ratio(1, 4)?);
        let alone = threads == 1 && !interrupted;
        let count = u.int_in_range(1..=if alone { LOCKS } else { 2 })?;
        let mut locks = Vec::with_capacity(count);
        for _ in 0..count {
            locks.push(LockSpec { kind: u.arbitrary()?, enrolled: u.ratio(3, 4)? });
        }
        one_giant(&mut locks);
        let most = match (threads, interrupted) {
            (1, false) => CALLS,
            (1, true) => 6,
            (2, _) => 4,
            _ => 3,
        };
        // Some programs are careful, some are not.
        let care = u.int_in_range(0..=8)?;
        let mut all = Vec::with_capacity(threads);
        for _ in 0..threads {
            let n = u.int_in_range(1..=most)?;
            all.push(list(u, &locks, n, care, alone)?);
        }
        let interrupt = if interrupted { Some(Interrupt::generate(u, &locks, care)?) } else { None };
        let mut program = Self { locks, threads: all, shared, interrupt };
        program.leave_epochs_out();
        if threads > 1 && interrupted && u.ratio(1, 2)? {
            program.spread();
        } else if interrupted && u.ratio(1, 2)? {
            program.set_callout(u)?;
        }
        Ok(program)
    }
}

/// There is one Giant, which WITNESS sees. Who waits for a sleepable rmlock drops it too: that is left out.
fn one_giant(locks: &mut [LockSpec]) {
    let giant = locks.iter().position(|lock| lock.kind == Kind::Giant);
    let Some(giant) = giant else { return };
    locks[giant].enrolled = true;
    for lock in &mut locks[giant + 1..] {
        if lock.kind == Kind::Giant {
            lock.kind = Kind::MtxRecurse;
        }
    }
    for lock in locks {
        if lock.kind == Kind::RmSleepable {
            lock.kind = Kind::Rm;
        }
    }
}

/// `n` calls, of eight about `care` as a careful programmer makes them. If they are `alone` they may end locks: what becomes of others that
/// wait for those has no rules.
fn list(u: &mut Unstructured<'_>, locks: &[LockSpec], n: usize, care: u32, alone: bool) -> Result<Vec<Call>> {
    let mut habits = Habits::default();
    let call = |_| match u.int_in_range(0..=7)? {
        at if at < care => habits.sensible(u, locks),
        _ if alone && u.ratio(1, 16)? => {
            let lock = u.choose_index(locks.len())?;
            if locks[lock].kind.is_lockmgr() || locks[lock].kind == Kind::Giant {
                // Of those it does not show that they were destroyed; and Giant is for ever.
                return any(u, locks);
            }
            Ok(Call { act: *u.choose(&[Act::Destroy, Act::Destroy, Act::Init])?, lock: lock as u8 })
        }
        _ => any(u, locks),
    };
    (0..n).map(call).collect()
}

impl Program {
    /// Who shares a CPU with others shares its record of each epoch: that is left out.
    fn leave_epochs_out(&mut self) {
        if !self.shared && self.interrupt.is_none() {
            return;
        }
        for list in 0..LISTS {
            if let Some(calls) = self.list_mut(list) {
                calls.retain(|call| !call.act.is_epochs());
            }
        }
    }

    /// Gives each thread a CPU, the interrupt that of the first.
    fn spread(&mut self) {
        self.shared = false;
        let Some(interrupt) = &mut self.interrupt else { return };
        // Who is bound to a CPU may undo its own pins only, and counts them anew each time.
        let pins = |call: &Call| matches!(call.act, Act::Pin | Act::Unpin);
        interrupt.filter.retain(|call| !pins(call));
        interrupt.ithread.retain(|call| !interrupt.again || !pins(call));
        // For a return to user mode a thread is let go from its CPU, and another may take it.
        for list in [&mut self.threads[0], &mut interrupt.filter, &mut interrupt.ithread] {
            list.retain(|call| call.act != Act::Userret);
        }
    }
}

impl Program {
    /// Makes its interrupt a callout, and has its threads deal with that.
    fn set_callout(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let Some(interrupt) = &mut self.interrupt else { return Ok(()) };
        let reads = |call: &Call| call.act.takes_lock() && self.locks[usize::from(call.lock)].kind.is_rm();
        if interrupt.ithread.iter().any(reads) || self.locks.iter().any(|lock| lock.kind == Kind::Giant) {
            // Each call has one tracker, and the handler may run again. And who drains a callout drops Giant, which is left out.
            return Ok(());
        }
        let lock = u.choose_index(self.locks.len())?;
        let fits = matches!(self.locks[lock].kind, Kind::Mtx | Kind::MtxRecurse | Kind::Rw | Kind::RwRecurse);
        let lock = if fits && u.ratio(3, 4)? { Some(lock as u8) } else { None };
        interrupt.filter.clear();
        interrupt.again = false;
        interrupt.callout = Some(Callout { lock });
        for call in &mut interrupt.ithread {
            if u.ratio(1, 8)? {
                *call = Call { act: *u.choose(&[Act::CalloutStop, Act::CalloutDrain])?, lock: 0 };
            }
        }
        for call in self.threads.iter_mut().flatten() {
            if u.ratio(1, 4)? {
                let act = *u.choose(&[Act::CalloutStop, Act::CalloutDrain, Act::CalloutDrain, Act::CalloutReset])?;
                *call = Call { act, lock: 0 };
            }
        }
        Ok(())
    }
}

impl Interrupt {
    fn generate(u: &mut Unstructured<'_>, locks: &[LockSpec], care: u32) -> Result<Self> {
        let (filter, ithread) = (u.int_in_range(0..=3)?, u.int_in_range(0..=3)?);
        let mut filter = list(u, locks, filter, care, false)?;
        filter.retain(|call| call.may_be_in_filter(locks) || u.ratio(1, 4).unwrap_or(false));
        // A wait takes the interrupted thread's place in a queue, where it may be already.
        filter.retain(|call| !call.act.waits());
        // Who sends a signal takes the process's lock first, and so does whom it reaches.
        filter.retain(|call| !call.act.catches() && !matches!(call.act, Act::Signal(_)));
        // Whom a filter leaves Giant to does not sleep with it: what is asked then depends on who asks.
        let of_giant = |call: &Call| call.act.takes_lock() && locks[usize::from(call.lock)].kind == Kind::Giant;
        filter.retain(|call| !of_giant(call) || matches!(call.act, Act::Assert(_) | Act::Owned));
        // A reader's tracker is on somebody's stack: not even a try is for filters. Nor are lockmgr locks.
        let kind = |call: &Call| locks[usize::from(call.lock)].kind;
        let reads = |call: &Call| call.act.takes_lock() && (kind(call).is_rm() || kind(call).is_lockmgr());
        filter.retain(|call| call.act != Act::WaitUnlocked || kind(call).is_spin());
        filter.retain(|call| !reads(call) || matches!(call.act, Act::Assert(_)));
        let ithread = list(u, locks, ithread, care, false)?;
        // Each call has one tracker.
        let again = !ithread.iter().any(|call| call.act.takes_lock() && kind(call).is_rm()) && u.ratio(1, 3)?;
        Ok(Self { filter, ithread, again, callout: None })
    }
}

impl Call {
    /// Whether a filter may make the call: what others do there is a panic, or without rules.
    fn may_be_in_filter(self, locks: &[LockSpec]) -> bool {
        match self.act {
            Act::Lock | Act::RLock => false,
            Act::Pause | Act::MallocWait | Act::Userret | Act::CriticalExit | Act::Relinquish => false,
            _ if self.act.takes_lock() => locks[usize::from(self.lock)].kind.is_spin(),
            _ => true,
        }
    }
}

/// Any call whatever.
fn any(u: &mut Unstructured<'_>, locks: &[LockSpec]) -> Result<Call> {
    if u.ratio(1, 4)? {
        return Ok(Call { act: *u.choose(&PLAIN)?, lock: 0 });
    }
    let lock = u.choose_index(locks.len())?;
    let act = match *u.choose(locks[lock].kind.calls())? {
        Act::Assert(_) => Act::Assert(*u.choose(&ASSERTIONS)?),
        act => act,
    };
    Ok(Call { act, lock: lock as u8 })
}

/// The name of lock `at`, if it is not Giant.
pub fn lock_name(at: usize) -> &'static std::ffi::CStr {
    [c"a", c"b", c"c", c"d"][at]
}

impl Program {
    /// The name of lock `at` in messages.
    pub fn name(&self, at: usize) -> &'static str {
        if self.locks[at].kind == Kind::Giant { "Giant" } else { ["a", "b", "c", "d"][at] }
    }

    /// Giant's number, if it is one of the locks.
    pub fn giant(&self) -> Option<usize> {
        self.locks.iter().position(|lock| lock.kind == Kind::Giant)
    }
}

/// The line on which call `at` of `thread` stands in messages.
pub fn line(thread: usize, at: usize) -> u32 {
    (thread * 100 + at + 1) as u32
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, lock) in self.locks.iter().enumerate() {
            let hidden = if lock.enrolled { "" } else { ", NOWITNESS" };
            writeln!(f, "  lock {}: {:?}{hidden}", lock_name(at).to_string_lossy(), lock.kind)?;
        }
        for at in 0..LISTS {
            let calls = self.list(at);
            match &self.interrupt {
                Some(Interrupt { callout: Some(Callout { lock }), .. }) if at == ITHREAD => {
                    let lock = lock.map_or("no lock".into(), |lock| lock_name(lock.into()).to_string_lossy());
                    writeln!(f, "  callout, with {lock}:")?;
                }
                Some(Interrupt { callout: Some(_), .. }) if at == FILTER => continue,
                Some(_) if at == ITHREAD => writeln!(f, "  interrupt thread:")?,
                Some(Interrupt { again: true, .. }) if at == FILTER => writeln!(f, "  filter, twice:")?,
                Some(_) if at == FILTER => writeln!(f, "  filter:")?,
                _ if at >= self.threads.len() => continue,
                _ if self.one_cpu() => writeln!(f, "  thread {at}, on the one CPU:")?,
                _ if self.interrupt.is_some() && at == 0 => writeln!(f, "  thread {at}, on the interrupt's CPU:")?,
                _ => writeln!(f, "  thread {at}:")?,
            }
            for (pc, call) in calls.iter().enumerate() {
                let lock = if call.act.takes_lock() {
                    lock_name(call.lock.into()).to_string_lossy()
                } else {
                    std::borrow::Cow::Borrowed("")
                };
                writeln!(f, "    {:3}  {:?} {lock}", line(at, pc), call.act)?;
            }
        }
        Ok(())
    }
}
