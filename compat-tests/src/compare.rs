//! What was found, beside what was expected: the table for people, JSON for programs, and a file for each schedule.

use crate::expected::{Expectation, Expected, OneOf};
use crate::registry::{Cell, Scenario};
use crate::report::Costs;
use crate::run::{Outcome, Plan, Search};
use crate::shard::{Header, Shard};
use anstyle::{AnsiColor, Style};
use freebsd_sys::lock_profile;
use freebsd_sys::machine::{Budget, Engine, Granularity, Verdict};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// With at most so many failures, whole schedules are printed.
const FEW: usize = 4;

/// Locks of a cell whose profile is printed.
const PROFILED: usize = 8;

/// A cell with what was found in it.
#[derive(Debug)]
pub struct Row {
    /// Its scenario.
    pub scenario: &'static Scenario,
    /// Its mapping's name.
    pub mapping: &'static str,
    /// What was found; `None` if Ctrl-C left it undone.
    pub outcome: Option<Outcome>,
    /// What was expected; `None` on a kernel that `expected.toml` does not speak of.
    pub expected: Option<Expectation>,
    /// What was found is not what was expected.
    pub differs: bool,
}

impl Row {
    /// Whether somebody must look at it: it is not as expected, or does not pass, which is what is wanted of a driver of the user's.
    pub(crate) fn is_wrong(&self) -> bool {
        let fails = |outcome: &Outcome| outcome.verdict != Verdict::Pass;
        self.differs || self.scenario.is_users() && self.outcome.as_ref().is_some_and(fails)
    }
}

/// All that one comparison found.
#[derive(Debug)]
pub struct Report {
    plan: Plan,
    rows: Vec<Row>,
    elapsed: Duration,
    /// Where schedules were written.
    saved: Option<PathBuf>,
}

/// A cell in JSON.
#[derive(Serialize)]
pub(crate) struct JsonCell<'a> {
    scenario: &'a str,
    mapping: &'a str,
    engine: &'a str,
    cpus: usize,
    verdict: &'a str,
    message: String,
    schedules: u64,
    exhaustive: bool,
    /// Of an exhaustive search that was stopped.
    #[serde(skip_serializing_if = "Option::is_none")]
    done: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    proved: Option<JsonBudget>,
    budget: Option<JsonBudget>,
    schedule: Option<String>,
    expected: Option<&'a OneOf>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    locks: Vec<JsonLock<'a>>,
}

/// A lock's profile in JSON; times in nanoseconds.
#[derive(Serialize)]
struct JsonLock<'a> {
    name: &'a str,
    at: &'a str,
    count: u64,
    contested: u64,
    wait_total: u64,
    wait_max: u64,
    hold_total: u64,
    hold_max: u64,
}

impl<'a> From<&'a lock_profile::Row> for JsonLock<'a> {
    fn from(row: &'a lock_profile::Row) -> Self {
        let &lock_profile::Row { count, contested, wait_total, wait_max, hold_total, hold_max, .. } = row;
        Self { name: &row.name, at: &row.at, count, contested, wait_total, wait_max, hold_total, hold_max }
    }
}

/// A budget in JSON.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct JsonBudget {
    ticks: u32,
    interrupts: u32,
    migrations: u32,
}

impl From<Budget> for JsonBudget {
    fn from(Budget { ticks, interrupts, migrations }: Budget) -> Self {
        Self { ticks, interrupts, migrations }
    }
}

impl From<JsonBudget> for Budget {
    fn from(JsonBudget { ticks, interrupts, migrations }: JsonBudget) -> Self {
        Self { ticks, interrupts, migrations }
    }
}

#[derive(Serialize)]
struct JsonReport<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    shard: Option<Header>,
    cells: Vec<JsonCell<'a>>,
}

/// The engine's name.
pub fn engine_name(engine: Engine) -> &'static str {
    match engine {
        Engine::Explore => "explore",
        Engine::Smp => "smp",
    }
}

impl Report {
    /// Puts outcomes beside expectations.
    pub fn new(
        plan: Plan,
        cells: &[(&'static Scenario, &'static Cell)],
        outcomes: Vec<Option<Outcome>>,
        expected: &Expected,
        elapsed: Duration,
    ) -> Self {
        let rows = cells
            .iter()
            .zip(outcomes)
            .map(|(&(scenario, cell), outcome)| {
                let known = plan.is_default_kernel();
                let expected = known.then(|| expected.get(scenario.name, cell.mapping, plan.config.cpus)).flatten();
                let expected = expected.cloned();
                let differs = outcome.as_ref().zip(expected.as_ref()).is_some_and(|(outcome, expected)| {
                    // A search that was cut short has not failed to find anything.
                    let cut_short = outcome.interrupted && outcome.verdict == Verdict::Pass;
                    !cut_short && !expected.met_by(plan.engine, &outcome.verdict)
                });
                Row { scenario, mapping: cell.mapping, outcome, expected, differs }
            })
            .collect();
        Self { plan, rows, elapsed, saved: None }
    }

    /// The cells.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// Whether some cell differs from what was expected.
    pub fn differs(&self) -> bool {
        self.rows.iter().any(|row| row.differs)
    }

    /// Whether somebody must look at some cell.
    pub fn is_wrong(&self) -> bool {
        self.rows.iter().any(Row::is_wrong)
    }

    /// Writes each schedule that was found to `dir/<scenario>.<mapping>.sched`.
    pub fn save(&mut self, dir: &Path) -> Result<(), String> {
        for (row, outcome) in self.failures() {
            if let Some(schedule) = &outcome.schedule {
                let verdict = outcome.verdict.to_string().replace('\n', " ");
                write_file(&dir.join(file_name(row)), format!("# {verdict}\n{schedule}\n"))?;
            }
        }
        self.saved = Some(dir.to_owned());
        Ok(())
    }

    /// What was to be done.
    pub(crate) fn plan(&self) -> &Plan {
        &self.plan
    }

    /// How long it took.
    pub(crate) fn elapsed(&self) -> Duration {
        self.elapsed
    }

    /// The cell of a scenario and a mapping.
    pub(crate) fn cell(&self, scenario: &str, mapping: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.scenario.name == scenario && row.mapping == mapping)
    }

    /// How schedules were found.
    pub(crate) fn search(&self) -> String {
        match (self.plan.engine, self.plan.search) {
            (Engine::Smp, _) => "real time".to_owned(),
            (Engine::Explore, Search::Sample(_)) => self.plan.mix.to_string(),
            (Engine::Explore, Search::Exhaustive(_)) => "depth first".to_owned(),
        }
    }

    /// Executions of all cells.
    pub(crate) fn schedules(&self) -> u64 {
        self.done().map(|(_, outcome)| outcome.schedules).sum()
    }

    /// Whether Ctrl-C cut something short.
    pub(crate) fn cut(&self) -> bool {
        self.rows.iter().any(|row| row.outcome.as_ref().is_none_or(|outcome| outcome.interrupted))
    }

    /// What the table says last.
    pub(crate) fn summary_lines(&self) -> Vec<String> {
        let mut text = String::new();
        self.summary(&mut text);
        text.lines().map(str::to_owned).collect()
    }

    /// Writes the report as a page, as JSON, as JUnit XML and in Markdown.
    pub fn write(&self, dir: &Path, costs: Option<&Costs>) -> Result<(), String> {
        let written = crate::report::write(self, costs, dir);
        written.and(write_file(&dir.join("report.md"), self.page()))
    }

    /// The page of a report, in Markdown.
    fn page(&self) -> String {
        let (scenarios, columns) = self.axes();
        let mut out = "# Mappings compared\n\n| |".to_owned();
        for column in &columns {
            let _ = write!(out, " `{}` |", column.mapping);
        }
        let _ = write!(out, "\n|---|{}", "---|".repeat(columns.len()));
        for scenario in &scenarios {
            let _ = write!(out, "\n| `{}`{} |", scenario.name, if scenario.mainline { "" } else { " \\*" });
            for column in &columns {
                let row = self.row(scenario, column);
                let mark = if row.is_some_and(|row| row.differs) { "**!** " } else { "" };
                let _ = write!(out, " {mark}{} |", row.map_or_else(String::new, word));
            }
        }
        let (mut legend, mut summary) = (String::new(), String::new());
        self.legend(&mut legend);
        self.summary(&mut summary);
        let _ = write!(out, "\n\n{}\n", legend.trim_end().replace('*', "\\*").replace('\n', "  \n"));
        if self.failures().next().is_some() {
            out.push_str("\n## Failures\n\n");
        }
        for (row, outcome) in self.failures() {
            let _ = writeln!(out, "* `{}` on `{}`: {}", row.scenario.name, row.mapping, outcome.verdict);
            if let Some(schedule) = &outcome.schedule {
                let _ = writeln!(out, "  `lkpi replay '{schedule}'{}`", row.scenario.with);
            }
        }
        if self.differs() {
            out.push_str("\n## Differences\n\n");
            self.explain_differences(&mut out, Paint(false));
        }
        let _ = write!(out, "\n{}", summary.replacen('\n', "  \n", 1));
        out
    }

    /// Everything that was run, as JSON has it.
    pub(crate) fn json_cells(&self) -> Vec<JsonCell<'_>> {
        let explore = self.plan.engine == Engine::Explore;
        let budget = self.plan.config.budget;
        self.done()
            .map(|(row, outcome)| JsonCell {
                scenario: row.scenario.name,
                mapping: row.mapping,
                engine: engine_name(self.plan.engine),
                cpus: self.plan.config.cpus,
                verdict: outcome.verdict.name(),
                message: outcome.message(&self.plan),
                schedules: outcome.schedules,
                exhaustive: outcome.exhausted,
                done: (outcome.done > 0.0).then_some(outcome.done),
                proved: outcome.proved.map(JsonBudget::from),
                budget: explore.then_some(budget.into()),
                schedule: outcome.schedule.as_ref().map(ToString::to_string),
                expected: row.expected.as_ref().map(|expected| &expected.verdict),
                locks: outcome.profile.iter().map(JsonLock::from).collect(),
            })
            .collect()
    }

    /// The first cell whose JSON is not as `cells` has it.
    pub(crate) fn first_unlike(&self, cells: &[Value]) -> Option<usize> {
        let own = self.json_cells();
        own.iter().zip(cells).position(|(own, cell)| serde_json::to_value(own).ok().as_ref() != Some(cell))
    }

    /// The JSON of everything that was run.
    pub fn json(&self) -> String {
        self.json_of(None)
    }

    /// The JSON of the part `shard` of the run whose options are `run`.
    pub fn json_part(&self, shard: Shard, run: Value) -> String {
        self.json_of(Some(Header { shard, interrupted: self.cut(), seconds: self.elapsed.as_secs_f64(), run }))
    }

    fn json_of(&self, shard: Option<Header>) -> String {
        let mut text =
            serde_json::to_string_pretty(&JsonReport { shard, cells: self.json_cells() }).unwrap_or_default();
        text.push('\n');
        text
    }

    /// The table, no wider than `width` if names allow, and what there is to say about it.
    pub fn table(&self, width: Option<usize>, colour: bool) -> String {
        let paint = Paint(colour);
        let mut out = String::new();
        self.grid(&mut out, width, paint);
        self.legend(&mut out);
        self.explain_failures(&mut out, width, paint);
        self.explain_differences(&mut out, paint);
        self.unfinished(&mut out);
        self.profiles(&mut out);
        self.summary(&mut out);
        out
    }

    /// How far exhaustive searches came that were stopped.
    fn unfinished(&self, out: &mut String) {
        if matches!(self.plan.search, Search::Sample(_)) || self.plan.engine == Engine::Smp {
            return;
        }
        let stopped = |outcome: &Outcome| outcome.verdict == Verdict::Pass && !outcome.exhausted;
        let mut rows = self.done().filter(|(_, outcome)| stopped(outcome)).peekable();
        if rows.peek().is_none() {
            return;
        }
        let _ = writeln!(out, "not finished:");
        for (row, outcome) in rows {
            let _ = writeln!(out, "  {} on {}: {}", row.scenario.name, row.mapping, outcome.message(&self.plan));
        }
        out.push('\n');
    }

    /// What LOCK_PROFILING(9) found in each cell.
    fn profiles(&self, out: &mut String) {
        for (row, outcome) in self.done().filter(|(_, outcome)| !outcome.profile.is_empty()) {
            let _ = writeln!(out, "locks of {} on {}, mean and longest times in us:", row.scenario.name, row.mapping);
            let mut line = |columns: [&str; 6], lock: &str| {
                out.push(' ');
                for column in columns {
                    let _ = write!(out, " {column:>9}");
                }
                let _ = writeln!(out, " {lock}");
            };
            line(["count", "contested", "wait", "max", "hold", "max"], "lock");
            let mut locks: Vec<_> = outcome.profile.iter().collect();
            locks.sort_by_key(|lock| std::cmp::Reverse((lock.wait_total, lock.count)));
            for lock in locks.into_iter().take(PROFILED) {
                let us = |ns: u64| format!("{:.1}", ns as f64 / 1000.0);
                let mean = |total: u64, n: u64| us(total.checked_div(n).unwrap_or(0));
                let columns = [
                    lock.count.to_string(),
                    lock.contested.to_string(),
                    mean(lock.wait_total, lock.contested),
                    us(lock.wait_max),
                    mean(lock.hold_total, lock.count),
                    us(lock.hold_max),
                ];
                line(columns.each_ref().map(String::as_str), &format!("{} @ {}", lock.name, lock.at));
            }
            out.push('\n');
        }
    }

    fn done(&self) -> impl Iterator<Item = (&Row, &Outcome)> {
        self.rows.iter().filter_map(|row| Some((row, row.outcome.as_ref()?)))
    }

    /// The cells that do not pass.
    pub(crate) fn failures(&self) -> impl Iterator<Item = (&Row, &Outcome)> {
        self.done().filter(|(_, outcome)| outcome.verdict != Verdict::Pass)
    }

    /// The rows and the columns of the table.
    fn axes(&self) -> (Vec<&'static Scenario>, Vec<Column>) {
        let mut scenarios: Vec<&'static Scenario> = Vec::new();
        let mut columns: Vec<Column> = Vec::new();
        for row in &self.rows {
            if !scenarios.iter().any(|scenario| scenario.name == row.scenario.name) {
                scenarios.push(row.scenario);
            }
            if !columns.iter().any(|column| column.mapping == row.mapping) {
                columns.push(Column::new(row.mapping));
            }
        }
        for column in &mut columns {
            let words = self.rows.iter().filter(|row| row.mapping == column.mapping).map(|row| word(row).len());
            column.fit(words.max().unwrap_or(0));
        }
        (scenarios, columns)
    }

    fn row(&self, scenario: &Scenario, column: &Column) -> Option<&Row> {
        self.cell(scenario.name, column.mapping)
    }

    fn grid(&self, out: &mut String, width: Option<usize>, paint: Paint) {
        let (scenarios, columns) = self.axes();
        let names = scenarios.iter().map(|scenario| scenario.name.len() + 1).max().unwrap_or(0);
        let mut rest = &columns[..];
        while !rest.is_empty() {
            let mut used = names;
            let fits = |column: &&Column| {
                used += column.width + 2;
                width.is_none_or(|width| used <= width)
            };
            let n = rest.iter().take_while(fits).count().max(1);
            let (block, others) = rest.split_at(n);
            let lines = block.iter().map(|column| column.head.len()).max().unwrap_or(0);
            for line in 0..lines {
                let mut text = " ".repeat(names);
                for column in block {
                    // Short heads stand at the bottom.
                    let at = (line + column.head.len()).checked_sub(lines);
                    let part = at.map_or("", |at| &column.head[at]);
                    let _ = write!(text, "  {part:width$}", width = column.width);
                }
                let _ = writeln!(out, "{}", paint.bold(text.trim_end()));
            }
            for scenario in &scenarios {
                self.grid_line(out, scenario, block, names, paint);
            }
            out.push('\n');
            rest = others;
        }
    }

    fn grid_line(&self, out: &mut String, scenario: &Scenario, block: &[Column], names: usize, paint: Paint) {
        let name = format!("{}{}", scenario.name, if scenario.mainline { "" } else { "*" });
        let _ = write!(out, "{name:names$}");
        let mut gap = 0;
        for column in block {
            let row = self.row(scenario, column);
            let text = row.map_or_else(String::new, word);
            let differs = row.is_some_and(|row| row.differs);
            let style = row.map_or_else(Style::new, |row| style(row.outcome.as_ref()));
            let mark = if differs { paint.paint(Style::new().bold(), "!") } else { " ".to_owned() };
            let _ = write!(out, "{:gap$} {mark}{}", "", paint.paint(style, &text));
            gap = column.width - text.len();
        }
        out.push('\n');
    }

    fn legend(&self, out: &mut String) {
        let passes = |exhausted| self.done().any(|(_, o)| o.verdict == Verdict::Pass && o.exhausted == exhausted);
        let mut says = Vec::new();
        match self.plan.engine {
            Engine::Explore if passes(false) => says.push("pass (N): nothing found in N schedules"),
            Engine::Smp if passes(false) => says.push("pass (N): N runs passed"),
            _ => {}
        }
        if passes(true) {
            says.push("pass (all): nothing in any schedule within the budget");
        }
        if self.rows.iter().any(|row| !row.scenario.mainline) {
            says.push("*: Linux forbids it, a clear diagnosis is the best there is");
        }
        if self.rows.iter().any(|row| row.differs) {
            says.push("!: differs from expected.toml");
        }
        if self.rows.iter().any(|row| row.outcome.is_none()) {
            says.push("-: not run");
        }
        for line in &says {
            let _ = writeln!(out, "{line}");
        }
        if !says.is_empty() {
            out.push('\n');
        }
    }

    fn explain_failures(&self, out: &mut String, width: Option<usize>, paint: Paint) {
        let mut groups: Vec<(&Verdict, Vec<(&Row, &Outcome)>)> = Vec::new();
        for (row, outcome) in self.failures() {
            match groups.iter_mut().find(|(verdict, _)| **verdict == outcome.verdict) {
                Some((_, members)) => members.push((row, outcome)),
                None => groups.push((&outcome.verdict, vec![(row, outcome)])),
            }
        }
        let few = self.failures().count() <= FEW;
        for (verdict, members) in &groups {
            let (head, tail) = (verdict.name(), verdict.message());
            let _ = writeln!(out, "{}: {tail}", paint.paint(style_of(verdict), head));
            let shown = if few { members.len() } else { 1 };
            for (row, outcome) in &members[..shown] {
                let more = match members.len() - shown {
                    0 => String::new(),
                    n => format!(", and {n} more"),
                };
                let by = match self.plan.engine {
                    Engine::Explore => "schedule",
                    Engine::Smp => "run",
                };
                let (name, mapping, n) = (row.scenario.name, row.mapping, outcome.schedules);
                let _ = writeln!(out, "  {name} on {mapping}, {by} {n}{more}");
                if let Some(schedule) = &outcome.schedule {
                    let (line, with) = (schedule.to_string(), &row.scenario.with);
                    let _ = match &self.saved {
                        Some(dir) => writeln!(out, "  lkpi replay {}{with}", quoted(&dir.join(file_name(row)))),
                        None if few => writeln!(out, "  lkpi replay '{line}'{with}"),
                        None => writeln!(out, "  {}", shortened(&line, width.unwrap_or(120).saturating_sub(2))),
                    };
                }
            }
        }
        if !few && self.saved.is_none() && self.plan.engine == Engine::Explore {
            let _ = writeln!(
                out,
                "To replay one: a single scenario with --mapping MAPPING prints its whole schedule; --save DIR writes all."
            );
        }
        if !groups.is_empty() {
            out.push('\n');
        }
    }

    fn explain_differences(&self, out: &mut String, paint: Paint) {
        for row in self.rows.iter().filter(|row| row.differs) {
            let (Some(outcome), Some(expected)) = (&row.outcome, &row.expected) else { continue };
            let message = expected
                .message
                .as_ref()
                .map(|texts| format!(" \"{}\"", texts.names().join("\" or \"")))
                .unwrap_or_default();
            let _ = writeln!(
                out,
                "{} {} on {}: found {}, expected {}{message}\n  because {}",
                paint.bold("!"),
                row.scenario.name,
                row.mapping,
                outcome.verdict.name(),
                expected.verdict.names().join(" or "),
                expected.because.split_whitespace().collect::<Vec<_>>().join(" ")
            );
        }
        if self.differs() {
            out.push('\n');
        }
    }

    fn summary(&self, out: &mut String) {
        let (done, all) = (self.done().count(), self.rows.len());
        let failed = self.failures().count();
        let schedules = self.schedules();
        let differing = self.rows.iter().filter(|row| row.differs).count();
        let unknown = self.done().filter(|(row, _)| row.expected.is_none()).count();
        let verdict = match (differing, unknown) {
            _ if self.rows.iter().all(|row| row.scenario.is_users()) => String::new(),
            _ if !self.plan.is_default_kernel() => {
                "; expected.toml speaks of the default kernel, so nothing is compared".to_owned()
            }
            (0, 0) => "; all as expected".to_owned(),
            (n, 0) => format!("; {n} not as expected"),
            (n, unknown) => format!("; {n} not as expected, {unknown} not in expected.toml"),
        };
        let seconds = self.elapsed.as_secs_f64();
        let of = if done == all { format!("{all}") } else { format!("{done} of {all}") };
        let cells = if all == 1 { "cell" } else { "cells" };
        let cut = if self.cut() { "interrupted: " } else { "" };
        let _ = writeln!(out, "{cut}{of} {cells} in {seconds:.1} s: {} pass, {failed} fail{verdict}", done - failed);
        let config = &self.plan.config;
        let cpus = format!("{} CPU{}", config.cpus, if config.cpus == 1 { "" } else { "s" });
        let mut kernel = format!("preemption {}", config.preemption.name());
        for (on, text) in [
            (!config.invariants, ", no INVARIANTS"),
            (!config.witness, ", no WITNESS"),
            (config.lint, ", lint"),
            (!config.adaptive, ", not adaptive"),
            (config.granularity == Granularity::Insn, ", each atomic operation a transition"),
        ] {
            kernel.push_str(if on { text } else { "" });
        }
        if let Some(bound) = config.starvation {
            let _ = write!(kernel, ", starvation beyond {bound}");
        }
        let seed = self.plan.seed;
        let _ = match self.plan.engine {
            Engine::Explore => {
                let how = match self.plan.search {
                    Search::Sample(_) => format!("{}, seed {seed}", self.plan.mix),
                    Search::Exhaustive(_) => "exhaustive".to_owned(),
                };
                let budget = config.budget;
                writeln!(
                    out,
                    "explore, {cpus}, {kernel}; {schedules} schedules, {how}; budget: ticks {}, interrupts {}, migrations {}",
                    budget.ticks, budget.interrupts, budget.migrations
                )
            }
            Engine::Smp => writeln!(out, "smp, {cpus}, {kernel}; {schedules} runs, seed {seed}"),
        };
    }
}

/// A column of the table.
struct Column {
    mapping: &'static str,
    width: usize,
    head: Vec<String>,
}

impl Column {
    fn new(mapping: &'static str) -> Self {
        Self { mapping, width: 0, head: Vec::new() }
    }

    /// Sets the width that `cells` wide words need, and breaks the mapping's name after underscores to fit.
    fn fit(&mut self, cells: usize) {
        let parts: Vec<&str> = self.mapping.split_inclusive('_').collect();
        self.width = parts.iter().map(|part| part.len()).max().unwrap_or(0).max(cells);
        self.head.clear();
        for part in parts {
            match self.head.last_mut() {
                Some(line) if line.len() + part.len() <= self.width => line.push_str(part),
                _ => self.head.push(part.to_owned()),
            }
        }
    }
}

/// A cell's word.
fn word(row: &Row) -> String {
    match &row.outcome {
        None => "-".to_owned(),
        Some(Outcome { verdict: Verdict::Pass, exhausted: true, .. }) => "pass (all)".to_owned(),
        Some(Outcome { verdict: Verdict::Pass, schedules, .. }) => format!("pass ({schedules})"),
        Some(outcome) => outcome.verdict.name().to_owned(),
    }
}

fn style(outcome: Option<&Outcome>) -> Style {
    outcome.map_or_else(Style::new, |outcome| style_of(&outcome.verdict))
}

fn style_of(verdict: &Verdict) -> Style {
    let colour = match verdict {
        Verdict::Pass => AnsiColor::Green,
        Verdict::Panic(_) => AnsiColor::Red,
        Verdict::Deadlock(_) | Verdict::Livelock(_) | Verdict::Starvation(_) => AnsiColor::Yellow,
        Verdict::Corruption(_) => AnsiColor::Magenta,
        Verdict::Error(_) => return AnsiColor::Red.on_default().bold(),
    };
    colour.on_default()
}

/// Colours, or not.
#[derive(Clone, Copy)]
struct Paint(bool);

impl Paint {
    fn paint(self, style: Style, text: &str) -> String {
        if self.0 && !text.is_empty() { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }

    fn bold(self, text: &str) -> String {
        self.paint(Style::new().bold(), text)
    }
}

/// Writes a file; an error names it.
pub(crate) fn write_file(path: &Path, text: String) -> Result<(), String> {
    let made = path.parent().map_or(Ok(()), fs::create_dir_all);
    made.and_then(|()| fs::write(path, text)).map_err(|error| format!("{}: {error}", path.display()))
}

fn file_name(row: &Row) -> String {
    format!("{}.{}.sched", row.scenario.name, row.mapping)
}

/// A path as a shell takes it.
pub(crate) fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+".contains(c);
    if text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

/// The decisions of a schedule's line, cut at an event so that it fits.
fn shortened(line: &str, width: usize) -> String {
    let run = line.split_once(";run=").map_or(line, |(_, run)| run);
    let room = width.saturating_sub("run=,...".len()).max(8);
    if run.len() <= room {
        return format!("run={run}");
    }
    let cut = run[..room].rfind(',').unwrap_or(room);
    format!("run={},...", &run[..cut])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry;
    use crate::run::Mix;
    use crate::schedule::Printable;
    use freebsd_sys::host::schedule::Event;
    use freebsd_sys::machine::Config;

    fn report(outcome: impl Fn(usize, &Scenario, &Cell) -> Option<Outcome>) -> Report {
        let plan = Plan {
            engine: Engine::Explore,
            config: Config::default(),
            search: Search::Sample(2000),
            mix: Mix::default(),
            seed: 1,
            time: Duration::ZERO,
        };
        let cells: Vec<_> =
            registry::scenarios().iter().flat_map(|s| s.cells.iter().map(move |cell| (s, cell))).collect();
        let outcomes = cells.iter().enumerate().map(|(at, (scenario, cell))| outcome(at, scenario, cell)).collect();
        Report::new(plan, &cells, outcomes, &Expected::load().expect("expected.toml").0, Duration::from_millis(1234))
    }

    fn found(verdict: Verdict, scenario: &Scenario, cell: &Cell) -> Outcome {
        let schedule = (verdict != Verdict::Pass).then(|| Printable {
            scenario: scenario.name.to_owned(),
            mapping: cell.mapping.to_owned(),
            config: Config::default(),
            events: [Event::Run(0), Event::Run(1)].repeat(100),
        });
        Outcome { verdict, schedules: 2000, schedule, ..Outcome::default() }
    }

    fn mixed() -> Report {
        report(|at, scenario, cell| match at % 3 {
            0 => Some(found(Verdict::Panic("mi_switch: switch in a critical section".to_owned()), scenario, cell)),
            1 => Some(found(Verdict::Pass, scenario, cell)),
            _ => Some(Outcome { exhausted: true, ..found(Verdict::Pass, scenario, cell) }),
        })
    }

    #[test]
    fn the_table_fits() {
        let report = mixed();
        for width in [Some(60), Some(80), Some(100), Some(200), None] {
            let table = report.table(width, false);
            let grid = table.split("pass (N):").next().expect("a grid");
            for line in grid.lines() {
                assert!(width.is_none_or(|width| line.len() <= width), "{width:?}: {line}");
            }
            for mapping in registry::mappings() {
                let last = mapping.split('_').next_back().expect("a part");
                assert!(grid.contains(last), "{mapping} has no column at {width:?}");
            }
            assert!(table.contains("pass (2000)") && table.contains("pass (all)"), "{table}");
        }
        // Nothing is lost, nor panics, on absurd ones.
        for width in 0..20 {
            assert!(report.table(Some(width), true).contains("panic"));
        }
    }

    #[test]
    fn colours_change_nothing_else() {
        let report = mixed();
        let plain = anstream::adapter::strip_str(&report.table(Some(80), true)).to_string();
        assert_eq!(plain, report.table(Some(80), false));
    }

    #[test]
    fn every_differing_cell_is_marked_and_explained() {
        let report = mixed();
        let table = report.table(None, false);
        let differing = report.rows().iter().filter(|row| row.differs).count();
        assert!(differing > 0 && report.differs());
        assert_eq!(table.lines().filter(|line| line.starts_with("! ")).count(), differing);
        assert!(table.contains(&format!("{differing} not as expected")), "{table}");
    }

    #[test]
    fn what_was_not_run_is_not_reported() {
        let report = report(|at, scenario, cell| (at == 0).then(|| found(Verdict::Pass, scenario, cell)));
        let json: serde_json::Value = serde_json::from_str(&report.json()).expect("JSON");
        assert_eq!(json["cells"].as_array().map(Vec::len), Some(1));
        assert!(report.table(None, false).contains("-: not run"));
    }

    #[test]
    fn an_interrupted_pass_is_no_difference() {
        let report =
            report(|_, scenario, cell| Some(Outcome { interrupted: true, ..found(Verdict::Pass, scenario, cell) }));
        assert!(!report.differs());
        assert!(report.table(None, false).contains("interrupted: "));
    }

    #[test]
    fn long_schedules_are_cut_at_an_event() {
        assert_eq!(shortened("lkpi1;run=0*3,1,0", 80), "run=0*3,1,0");
        assert_eq!(shortened("lkpi1;run=0*3,1,0*14,1*99,0", 20), "run=0*3,1,0*14,...");
    }
}
