//! epoch(9): sections of an epoch, which are critical sections, and of a preemptible one, in which one may not sleep and not go elsewhere.
//!
//! Each thread has a CPU to itself, whose records are its own: nobody waits for the end of a section here.

use super::{At, Call, Mutation, Stop, kpanic};
use crate::fuzz::program::Act;

impl At<'_> {
    /// A call about an epoch.
    pub(super) fn on_epoch(&mut self, act: Act) -> Call {
        let invariants = self.rules.invariants;
        let sleepy = i8::from(!self.mutated(Mutation::SleepySections));
        match act {
            Act::EpochEnter => {
                self.me().critnest += 1;
                self.me().sections += 1;
            }
            Act::EpochExit => {
                if self.me().sections == 0 {
                    if invariants {
                        kpanic!("Assertion er->er_td == curthread failed at %s:%d");
                    }
                    // The record counts down from nothing.
                    return Err(Stop::Wild);
                }
                self.me().sections -= 1;
                self.critical_exit()?;
            }
            Act::InEpoch => {
                // A section is a critical section: of who has left that, something is wrong.
                let me = self.me();
                let (critical, inside) = (me.critnest != 0, me.sections != 0);
                if invariants && inside && !critical {
                    let cpu = self.td;
                    kpanic!("re-entered critical section in epoch 'Global', from cpu {cpu}");
                }
                self.log(inside && critical);
            }
            Act::EnterPreempt => {
                let me = self.me();
                me.preemptible += 1;
                me.pinned += 1;
                me.no_sleeping += sleepy;
            }
            Act::InPreempt => {
                let me = self.me();
                let inside = me.preemptible != 0 && me.no_sleeping != 0;
                self.log(inside);
            }
            _ if self.me().preemptible == 0 && !invariants => {}
            _ => {
                // Who is bound to a CPU is pinned besides.
                if invariants && self.rules.program.alone() && self.me().pinned <= 0 {
                    kpanic!("Assertion curthread->td_pinned > 0 failed at %s:%d");
                }
                if self.me().preemptible == 0 {
                    kpanic!("Assertion et->et_td == td failed at %s:%d");
                }
                let me = self.me();
                me.preemptible -= 1;
                me.pinned -= 1;
                me.no_sleeping -= sleepy;
            }
        }
        Ok(())
    }
}
