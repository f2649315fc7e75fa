//! Committing a case: one machine per set of switches and number of CPUs, one execution per case.

use super::report::{CaseResult, Outcome};
use super::tools::PATIENCE;
use super::{Case, End, Expect, Row, Switches, What, pattern};
use freebsd_sys::host::explore::{self, Execution};
use freebsd_sys::host::schedule::random::Random;
use freebsd_sys::host::{smp, workers};
use freebsd_sys::machine::{Budget, Config, Engine, Machine, Verdict};
use std::time::Duration;

/// Time after which a case that has not ended on `smp` is a hang; one in which nobody moves ends sooner.
const SMP_LIMIT: Duration = Duration::from_secs(5);

/// The machines that cases run on, made when first needed.
pub(super) struct Machines {
    engine: Engine,
    made: Vec<(Switches, usize, Box<Machine>)>,
}

/// What a case shows: the end, and the console.
struct Shown {
    verdict: Verdict,
    console: Vec<String>,
}

impl Machines {
    pub(super) fn new(engine: Engine) -> Self {
        Self { engine, made: Vec::new() }
    }

    fn get(&mut self, switches: Switches, cpus: usize) -> &Machine {
        let at = self.made.iter().position(|(of, n, _)| (*of, *n) == (switches, cpus)).unwrap_or_else(|| {
            let config = Config {
                cpus,
                invariants: switches != Switches::None,
                witness: switches == Switches::Witness,
                // What a case needs, it brings about itself: nothing else happens.
                budget: Budget { ticks: 0, interrupts: 0, migrations: 0 },
                ..Config::default()
            };
            self.made.push((switches, cpus, Machine::new(config, self.engine)));
            self.made.len() - 1
        });
        &self.made[at].2
    }

    /// The results of all cases of a row, under all switches; until Ctrl-C.
    pub(super) fn row(&mut self, row: &Row) -> Vec<CaseResult> {
        let mut results = Vec::new();
        for case in &row.cases {
            let result = |switches: &'static str, outcome| CaseResult::new(row, case, switches, outcome);
            let not_here = match case.what {
                What::NotApplicable(reason) => Some(reason),
                What::Runs { .. } => case.not_on_smp.filter(|_| self.engine == Engine::Smp),
            };
            match not_here {
                Some(reason) => results.push(result("any", Outcome::NotApplicable(reason))),
                None => {
                    for switches in Switches::ALL {
                        if workers::interrupted() {
                            return results;
                        }
                        let outcome = self.case(case, switches);
                        results.push(result(switches.name(), outcome));
                    }
                }
            }
        }
        results
    }

    /// Commits a case and compares. On `smp` a host that is busy may not run a virtual CPU in time: a case that shows something
    /// else is committed again, with more and more time for the others.
    fn case(&mut self, case: &Case, switches: Switches) -> Outcome {
        let mut outcome = self.commit(case, switches, SMP_LIMIT);
        for patience in [10, 100] {
            let settled = self.engine == Engine::Explore || !matches!(outcome, Outcome::Fail { .. });
            if settled || workers::interrupted() {
                break;
            }
            PATIENCE.set(patience);
            // A spin may need more time as well; what ends by the limit did so at once.
            outcome = self.commit(case, switches, SMP_LIMIT * 10);
        }
        // Once slow, probably slow again.
        PATIENCE.set(PATIENCE.get().min(10));
        outcome
    }

    fn commit(&mut self, case: &Case, switches: Switches, limit: Duration) -> Outcome {
        let What::Runs { body, cpus, expect } = &case.what else { return Outcome::NotApplicable("") };
        let engine = self.engine;
        let machine = self.get(switches, *cpus);
        let shown = match engine {
            Engine::Explore => {
                let Execution { verdict, console, .. } =
                    explore::run(machine, &mut Random::new(1), explore::Options::default(), &**body);
                Shown { verdict, console }
            }
            Engine::Smp => {
                let run = smp::run(machine, smp::Options { limit, seed: 1, units: &[] }, &**body);
                Shown { verdict: run.verdict, console: run.console }
            }
        };
        compare(&expect[switches as usize], &shown)
    }
}

/// Whether the kernel showed what it should have.
fn compare(expect: &Expect, Shown { verdict, console }: &Shown) -> Outcome {
    let end = match (&expect.end, verdict) {
        (End::Pass, Verdict::Pass) | (End::Deadlock, Verdict::Deadlock(_)) | (End::Livelock, Verdict::Livelock(_)) => {
            true
        }
        (End::Panic(expected), Verdict::Panic(text)) => pattern::matches(expected, text),
        _ => false,
    };
    let same = console.len() == expect.console.len()
        && expect.console.iter().zip(console).all(|(expected, line)| pattern::matches(expected, line));
    let shown = console.iter().cloned().chain([verdict.to_string()]).collect::<Vec<_>>().join("\n");
    if end && same {
        return Outcome::Pass(shown);
    }
    let end = match &expect.end {
        End::Pass => "pass".to_owned(),
        End::Panic(text) => format!("panic: {text}"),
        End::Deadlock => "deadlock".to_owned(),
        End::Livelock => "livelock".to_owned(),
    };
    let expected = expect.console.iter().cloned().chain([end]).collect::<Vec<_>>().join("\n");
    Outcome::Fail { shown, expected }
}

#[cfg(test)]
mod tests {
    use super::super::{case, row};
    use super::*;
    use freebsd_sys::critical::critical_exit;

    /// How often the case passes, out of the three.
    fn passes(case: Case) -> usize {
        let results = Machines::new(Engine::Explore).row(&row(1, [case]));
        assert_eq!(results.len(), 3);
        results.iter().filter(|result| result.result() == "pass").count()
    }

    #[test]
    fn wrong_expectations_fail() {
        let misuse = || case("", critical_exit);
        assert_eq!(passes(misuse().invariants("critical_exit: td_critnest == 0")), 3);
        assert_eq!(passes(misuse().invariants("critical_exit: td_critnest == 1")), 1);
        assert_eq!(passes(misuse().always("critical_exit: td_critnest == 0")), 2);
        assert_eq!(passes(misuse()), 1);
        assert_eq!(passes(misuse().invariants("critical_exit: td_critnest == 0").prints(&["text"])), 2);
        assert_eq!(passes(case("", || panic!("a Rust panic is no FreeBSD panic"))), 0);
    }
}
