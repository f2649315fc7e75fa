//! What `lkpi fuzz` prints.

use super::{Counts, Report};
use serde_json::json;
use std::time::Duration;

/// Programs per second.
fn rate(counts: &Counts, elapsed: Duration) -> f64 {
    counts.programs as f64 / elapsed.as_secs_f64().max(1e-9)
}

impl Report {
    /// For people.
    pub fn text(&self, seed: u64, elapsed: Duration) -> String {
        let counts = &self.counts;
        let summary = format!(
            "{} programs of seed {seed}, {} executions in {:.1} s ({:.0} programs/s); {} searched depth first\n\
             by program and options: {} may end, {} may panic, {} may wait for ever; {} without rules, {} too large\n",
            counts.programs,
            counts.executions,
            elapsed.as_secs_f64(),
            rate(counts, elapsed),
            counts.searched,
            counts.end,
            counts.panic,
            counts.stuck,
            counts.wild,
            counts.too_large
        );
        match (&self.disagreement, self.index) {
            (Some(found), Some(index)) => format!("{found}disagreement, from program {index}\n{summary}"),
            _ => format!("{summary}kernel and model agree\n"),
        }
    }

    /// For programs.
    pub fn json(&self, seed: u64, elapsed: Duration) -> String {
        let counts = &self.counts;
        let disagreement = self.disagreement.as_ref().map(|found| {
            json!({
                "index": self.index,
                "options": found.switches.name(),
                "program": found.program.to_string(),
                "outcome": found.outcome.to_string(),
                "found": found.found.name(),
                "model": found.model.iter().map(ToString::to_string).collect::<Vec<_>>(),
            })
        });
        let value = json!({
            "seed": seed,
            "programs": counts.programs,
            "executions": counts.executions,
            "seconds": elapsed.as_secs_f64(),
            "programs_per_second": rate(counts, elapsed),
            "searched": counts.searched,
            "outcomes": { "end": counts.end, "panic": counts.panic, "stuck": counts.stuck },
            "without_rules": counts.wild,
            "too_large": counts.too_large,
            "disagreement": disagreement,
        });
        format!("{value:#}\n")
    }
}
