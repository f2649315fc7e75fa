//! The page: what was explored, the matrix of verdicts, each cell with its picture, and costs.

use super::picture::{Picture, story};
use super::{BENCH, Costs, Failure, bench};
use crate::compare::{Report, Row};
use crate::registry::{self, Scenario};
use crate::replay::{self, Line, Replayed};
use crate::run::{Outcome, Search};
use freebsd_sys::machine::{Engine, Verdict};
use maud::{DOCTYPE, Markup, PreEscaped, html};

const STYLE: &str = include_str!("style.css");

/// A link into closed details opens them in most browsers by itself; this is for the others, and for printing what is open.
const SCRIPT: &str = "\
function show(){const at=document.getElementById(decodeURIComponent(location.hash.slice(1)));if(!at)return;\
for(let up=at;up;up=up.parentElement)if(up.tagName==='DETAILS')up.open=true;at.scrollIntoView();at.focus({preventScroll:true})}\
addEventListener('hashchange',show);addEventListener('DOMContentLoaded',show);";

/// Nothing is loaded from anywhere, whatever a name may contain.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'";

pub(super) fn page(report: &Report, failures: &[Failure<'_>], costs: Option<&Costs>) -> String {
    let (scenarios, mappings) = axes(report);
    let title = "Mappings of Linux\u{2019}s locks onto FreeBSD\u{2019}s";
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) }
                style { (PreEscaped(STYLE)) }
                script { (PreEscaped(SCRIPT)) }
            }
            body {
                nav aria-label="Skip" {
                    a.skip href="#verdicts" { "Skip to the verdicts" }
                    a.skip href="#cells" { "Skip to the cells" }
                    a.skip href="#costs" { "Skip to the costs" }
                }
                header {
                    h1 { (title) }
                    (explored(report))
                }
                main {
                    (matrix(report, &scenarios, &mappings))
                    (differences(report))
                    section #cells aria-labelledby="cells-h" {
                        h2 #cells-h tabindex="-1" { "Cell by cell" }
                        (how_to_read())
                        @for scenario in &scenarios {
                            (self::scenario(report, scenario, failures))
                        }
                    }
                    (self::costs(costs, &registry::mappings()))
                }
                // Patterns are found by name from every picture of the page.
                svg.defs width="0" height="0" aria-hidden="true" {
                    defs {
                        pattern #stripes width="8" height="8" patternUnits="userSpaceOnUse" patternTransform="rotate(45)" {
                            rect.stripe width="3" height="8" {}
                        }
                    }
                }
            }
        }
    };
    page.into_string()
}

fn axes(report: &Report) -> (Vec<&'static Scenario>, Vec<&'static str>) {
    let (mut scenarios, mut mappings): (Vec<&'static Scenario>, Vec<&'static str>) = (Vec::new(), Vec::new());
    for row in report.rows() {
        if !scenarios.iter().any(|known| known.name == row.scenario.name) {
            scenarios.push(row.scenario);
        }
        if !mappings.contains(&row.mapping) {
            mappings.push(row.mapping);
        }
    }
    (scenarios, mappings)
}

fn id(scenario: &str, mapping: &str) -> String {
    format!("{scenario}--{mapping}")
}

fn plural(n: u64, one: &str) -> String {
    format!("{n} {one}{}", if n == 1 { "" } else { "s" })
}

/// What was explored, with what budget, and what came out in short.
fn explored(report: &Report) -> Markup {
    let plan = report.plan();
    let config = &plan.config;
    let on = |on: bool| if on { "on" } else { "off" };
    html! {
        p.summary { @for line in report.summary_lines() { (line) br; } }
        @if report.cut() {
            p.warning role="status" { "Interrupted: the report shows what was found until then." }
        }
        dl.explored {
            div { dt { "Engine" } dd { (crate::compare::engine_name(plan.engine)) } }
            div { dt { "CPUs" } dd { (config.cpus) } }
            @if plan.engine == Engine::Explore {
                div { dt { "Schedules" } dd { (report.schedules()) " in all, "
                    (match plan.search {
                        Search::Sample(n) => format!("up to {n} a cell, {} by turns, seed {}", plan.mix, plan.seed),
                        Search::Exhaustive(None) => "depth first, all within the budget".to_owned(),
                        Search::Exhaustive(Some(n)) => format!("depth first, up to {n} a cell"),
                    })
                } }
                div { dt { "Budget of a schedule" } dd {
                    (plural(config.budget.ticks.into(), "tick")) ", "
                    (plural(config.budget.interrupts.into(), "interrupt")) ", "
                    (plural(config.budget.migrations.into(), "migration"))
                } }
            } @else {
                div { dt { "Runs" } dd { (report.schedules()) ", seed " (plan.seed) } }
            }
            div { dt { "Preemption" } dd { (config.preemption.name()) } }
            div { dt { "INVARIANTS" } dd { (on(config.invariants)) } }
            div { dt { "WITNESS" } dd { (on(config.witness)) } }
            div { dt { "Lint" } dd { (on(config.lint)) } }
            div { dt { "Adaptive spinning" } dd { (on(config.adaptive)) } }
            @if plan.engine == Engine::Explore {
                div { dt { "Granularity" } dd { (config.granularity.name()) } }
            }
        }
    }
}

fn matrix(report: &Report, scenarios: &[&'static Scenario], mappings: &[&'static str]) -> Markup {
    html! {
        section #verdicts aria-labelledby="verdicts-h" {
            h2 #verdicts-h tabindex="-1" { "Verdicts" }
            div.scroll role="region" aria-labelledby="verdicts-h" tabindex="0" {
                table.matrix {
                    thead { tr {
                        th scope="col" { "scenario" }
                        @for mapping in mappings { th scope="col" { (broken(mapping)) } }
                    } }
                    tbody {
                        @for scenario in scenarios {
                            tr {
                                th scope="row" {
                                    a href={ "#" (scenario.name) } { (scenario.name) }
                                    @if !scenario.mainline { abbr title="Linux forbids it: a clear diagnosis is the best there is" { "*" } }
                                }
                                @for mapping in mappings { (matrix_cell(report.cell(scenario.name, mapping))) }
                            }
                        }
                    }
                }
            }
            p.legend {
                "Each cell leads to what was found. A pass means that nothing was found in so many schedules; it is no proof. "
                b { "!" } " marks what is not as expected.toml says"
                @if scenarios.iter().any(|scenario| !scenario.mainline) {
                    ", " b { "*" } " what Linux itself forbids: there a clear diagnosis is the best that a mapping can give"
                }
                "."
            }
        }
    }
}

/// A name that may be broken after its underscores.
fn broken(name: &str) -> Markup {
    html! { @for part in name.split_inclusive('_') { (part) wbr; } }
}

fn matrix_cell(row: Option<&Row>) -> Markup {
    let Some(row) = row else { return html! { td {} } };
    let Some(outcome) = &row.outcome else { return html! { td.none { "not run" } } };
    let verdict = outcome.verdict.name();
    let label = format!("{} on {}: {verdict}, {}", row.scenario.name, row.mapping, expectation(row));
    html! {
        td class={ "v " (verdict) @if row.differs { " differs" } } {
            a href={ "#" (id(row.scenario.name, row.mapping)) } aria-label=(label) {
                @if row.differs { span.mark { "! " } }
                (verdict)
            }
        }
    }
}

fn expectation(row: &Row) -> &'static str {
    match (&row.expected, row.differs) {
        (_, true) => "not as expected",
        (Some(_), false) => "as expected",
        (None, false) => "not compared",
    }
}

fn differences(report: &Report) -> Markup {
    let differing: Vec<_> = report.rows().iter().filter(|row| row.differs).collect();
    html! {
        @if !differing.is_empty() {
            section aria-labelledby="differences-h" {
                h2 #differences-h { "Not as expected" }
                ul {
                    @for row in differing {
                        @if let (Some(outcome), Some(expected)) = (&row.outcome, &row.expected) {
                            li {
                                a href={ "#" (id(row.scenario.name, row.mapping)) } { (row.scenario.name) " on " (row.mapping) }
                                ": found " b { (outcome.verdict.name()) } ", expected " b { (expected.verdict.names().join(" or ")) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn how_to_read() -> Markup {
    html! {
        details.how {
            summary { "How to read a picture" }
            p {
                "Time goes down; each row is a step, with its number. A lane is a CPU, a block in it a thread that has the CPU, a dot what "
                "the thread does. A flash is an interrupt or a clock tick. Stripes are a critical section (td_critnest is not 0). A column on "
                "the right is a lock, a bar in it that somebody holds it, hollow while the holder has no CPU; a dashed arrow leads from "
                "who waits to the lock. The box at the bottom is how it ends. Beside it stand the source line of each step and what changed. "
                "A bystander is an unrelated interrupt, whose thread preempts whatever has that CPU."
            }
            p {
                "A schedule is shown as short as shrinking could make it. A deviation is what does not happen by itself: that another CPU moves "
                "than the one that moved last, though that could go on, or an interrupt, a tick, a migration. Those that are left are needed "
                "for this verdict."
            }
        }
    }
}

fn scenario(report: &Report, scenario: &Scenario, failures: &[Failure<'_>]) -> Markup {
    let allowed = match (scenario.mainline, scenario.rt) {
        (true, true) => "Linux allows it.",
        (true, false) => "Mainline Linux allows it, PREEMPT_RT does not.",
        (false, true) => "PREEMPT_RT allows it, mainline Linux does not.",
        (false, false) => "Linux forbids it: a clear diagnosis is the best there is.",
    };
    html! {
        section.scenario aria-labelledby=(scenario.name) {
            h3 #(scenario.name) tabindex="-1" { (scenario.name) }
            p { (sentence(scenario.about)) " " (allowed) " " span.source { "Met in: " (scenario.source) } }
            @for row in report.rows().iter().filter(|row| row.scenario.name == scenario.name) {
                @if let Some(outcome) = &row.outcome {
                    @match failures.iter().find(|failure| std::ptr::eq(failure.row, row)) {
                        Some(failure) => (self::failure(report, failure)),
                        None => (pass(report, row, outcome)),
                    }
                }
            }
        }
    }
}

/// With a capital and a full stop.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().into_iter().flat_map(char::to_uppercase);
    first.chain(letters).chain((!text.ends_with('.')).then_some('.')).collect()
}

fn verdict_mark(row: &Row, outcome: &Outcome) -> Markup {
    html! {
        span class={ "badge " (outcome.verdict.name()) } { (outcome.verdict.name()) } " "
        b { (row.mapping) }
        @if row.differs { " " span.differs { "! not as expected" } }
    }
}

fn pass(report: &Report, row: &Row, outcome: &Outcome) -> Markup {
    html! {
        p.cell #(id(row.scenario.name, row.mapping)) tabindex="-1" {
            (verdict_mark(row, outcome)) ": " (outcome.message(report.plan()))
        }
        (why(row))
    }
}

/// The chain of rules behind what was expected, where something else was found.
fn why(row: &Row) -> Markup {
    html! {
        @if let Some(expected) = &row.expected {
            @if row.differs {
                p.because { "Expected " (expected.verdict.names().join(" or ")) " because " (expected.because) }
            }
        }
    }
}

fn failure(report: &Report, failure: &Failure<'_>) -> Markup {
    let Failure { row, outcome, replayed } = failure;
    let id = id(row.scenario.name, row.mapping);
    let what = format!("{} on {}", row.scenario.name, row.mapping);
    html! {
        details.cell {
            summary { (verdict_mark(row, outcome)) ": " (outcome.verdict.message()) }
            div.body {
                h4 #(id) tabindex="-1" { (what) ": " (outcome.verdict.name()) }
                (why(row))
                @if let Some(expected) = &row.expected {
                    @if !row.differs { p.because { b { "Why: " } (expected.because) } }
                }
                (found(report, row, outcome))
                @match replayed {
                    Some(replayed) => (walk(&what, &outcome.verdict, replayed)),
                    None => p { "There is no schedule to show: " @if report.plan().engine == Engine::Smp {
                        "on smp nobody decides what happens next."
                    } @else { "the verdict does not replay." } },
                }
            }
        }
    }
}

/// How it was found, and how to see it again.
fn found(report: &Report, row: &Row, outcome: &Outcome) -> Markup {
    let by = if report.plan().engine == Engine::Smp { "run" } else { "schedule" };
    html! {
        p {
            "Found by " (by) " " (outcome.schedules) " of this cell"
            @if let Some(shrunk) = &outcome.shrunk { ", " (shrunk) }
            "."
        }
        @if let Some(schedule) = &outcome.schedule {
            details {
                summary { "Replay it" }
                pre tabindex="0" { "lkpi replay '" (schedule) "'" (row.scenario.with) }
            }
        }
    }
}

/// The picture, and the list beside it.
fn walk(what: &str, verdict: &Verdict, replayed: &Replayed<'_>) -> Markup {
    let execution = replayed.execution();
    let lines = replay::lines(&execution.trace);
    let end = execution.trace.last().map(|step| step.after.clone()).unwrap_or_default();
    let picture = Picture::new(replayed.schedule().config.cpus, &lines, &end);
    let story = story(&end);
    html! {
        div.walk role="region" tabindex="0" aria-label={ "Schedule of " (what) } {
            (picture.svg(what, verdict, &story))
            ol.steps { @for line in &lines { (step(line)) } }
        }
        @for (title, lines) in [("Locks held at the end", &execution.locks), ("Console", &execution.console)] {
            @if !lines.is_empty() {
                p.title { (title) }
                pre tabindex="0" { @for line in lines { (line) "\n" } }
            }
        }
    }
}

fn step(line: &Line<'_>) -> Markup {
    let at = line.step.at.as_deref().filter(|_| line.set_up.is_none());
    let changes = line.changes();
    html! {
        li value=(line.number) {
            div.did {
                span { b { (line.step.thread) } " " (line.what()) }
                // Cut short, it keeps its end.
                @if let Some(at) = at { " " code title=(at) { bdi { (line.at()) } } }
            }
            div.changes title=(changes) { (changes) }
        }
    }
}

fn costs(costs: Option<&Costs>, mappings: &[&str]) -> Markup {
    html! {
        section #costs aria-labelledby="costs-h" {
            h2 #costs-h tabindex="-1" { "Costs on smp" }
            @match costs {
                None => p { "Nothing was measured: there is no " code { (BENCH) } ". " code { "ci/bench.sh" } " writes it, in some minutes." },
                Some(costs) => {
                    p {
                        "Medians from " code { (costs.from.display()) } ". "
                        span.key.mapping {} " mappings, " span.key.own {} " FreeBSD\u{2019}s own locks, " span.key.peer {} " userspace\u{2019}s, "
                        span.key.floor {} " floors. Nanoseconds belong to a machine; compare within a plot."
                    }
                    (bench::plots(&costs.rows, mappings))
                }
            }
        }
    }
}
