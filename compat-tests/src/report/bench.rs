//! Plots of what `ci/bench.sh` measured, as inline SVG: throughput, waits, fairness under contention; time without.

use maud::{Markup, html};
use serde::{Deserialize, Serialize};

/// A figure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Row {
    pub(super) bench: String,
    pub(super) subject: String,
    pub(super) unit: String,
    pub(super) value: f64,
    pub(super) ratio_to_floor: f64,
}

const ROUNDS: &str = "Mop/s";
const FAIRNESS: &str = "slowest/fastest";
/// Percentiles of the wait, the least first.
const WAITS: [&str; 3] = ["ns, wait p50", "ns, wait p99", "ns, wait p99.9"];

const LINE: usize = 24;
const NAMES: usize = 160;
const PLOT: usize = 210;
const VALUE: usize = 56;

/// The rows of one bench.
struct Group<'a> {
    bench: &'a str,
    rows: Vec<&'a Row>,
}

fn groups(rows: &[Row]) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    for row in rows {
        match groups.iter_mut().find(|group| group.bench == row.bench) {
            Some(group) => group.rows.push(row),
            None => groups.push(Group { bench: &row.bench, rows: vec![row] }),
        }
    }
    groups
}

impl<'a> Group<'a> {
    fn subjects(&self) -> Vec<&'a str> {
        let mut subjects: Vec<&str> = Vec::new();
        for row in &self.rows {
            if !subjects.contains(&row.subject.as_str()) {
                subjects.push(&row.subject);
            }
        }
        subjects
    }

    fn value(&self, subject: &str, unit: &str) -> Option<f64> {
        let row = self.rows.iter().find(|row| row.subject == subject && row.unit == unit);
        row.map(|row| row.value).filter(|value| value.is_finite())
    }

    fn is_contended(&self) -> bool {
        self.rows.iter().any(|row| row.unit == ROUNDS)
    }
}

/// All plots.
pub(super) fn plots(rows: &[Row], mappings: &[&str]) -> Markup {
    let groups = groups(rows);
    html! {
        @for group in groups.iter().filter(|group| group.is_contended()) {
            figure.bench {
                h3 { (group.bench) }
                div.plots {
                    (bars(group, ROUNDS, "Throughput, Mop/s: longer is better", None, mappings))
                    (waits(group, mappings))
                    (bars(group, FAIRNESS, "Fairness, slowest to fastest thread: 1 is best", Some(1.0), mappings))
                }
                (table(group))
            }
        }
        @for group in groups.iter().filter(|group| !group.is_contended()) {
            figure.bench {
                h3 { (group.bench) }
                div.plots { (bars(group, "ns", "Uncontended, ns: shorter is better", None, mappings)) }
                (table(group))
            }
        }
    }
}

/// FreeBSD's own locks and sections, as the benches call them, and RCU, which has no mappings.
const FREEBSD: [&str; 6] = ["mtx", "rw", "rm", "seqc", "rcu", "critical section"];

fn class(subject: &str, mappings: &[&str]) -> &'static str {
    if subject.starts_with("floor") {
        "bar floor"
    } else if mappings.contains(&subject) {
        "bar mapping"
    } else if FREEBSD.contains(&subject.split(',').next().unwrap_or_default()) {
        "bar own"
    } else {
        "bar peer"
    }
}

fn figure(value: f64) -> String {
    match value {
        value if value >= 100.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    }
}

fn bars(group: &Group<'_>, unit: &str, title: &str, most: Option<f64>, mappings: &[&str]) -> Markup {
    let rows: Vec<_> =
        group.subjects().into_iter().filter_map(|subject| Some((subject, group.value(subject, unit)?))).collect();
    let most = most.unwrap_or_else(|| rows.iter().map(|(_, value)| *value).fold(f64::MIN_POSITIVE, f64::max));
    let width = |value: f64| ((value / most).clamp(0.0, 1.0) * PLOT as f64).max(1.0) as usize;
    let height = 28 + rows.len() * LINE;
    let told: Vec<_> = rows.iter().map(|(subject, value)| format!("{subject} {}", figure(*value))).collect();
    html! {
        svg.plot role="img" aria-label={ (title) ". " (told.join(", ")) } width=(NAMES + PLOT + VALUE) height=(height)
            viewBox={ "0 0 " (NAMES + PLOT + VALUE) " " (height) } {
            text.plottitle x="0" y="16" { (title) }
            @for (at, (subject, value)) in rows.iter().enumerate() {
                @let y = 28 + at * LINE;
                text.label x=(NAMES - 8) y=(y + 14) text-anchor="end" { (subject) }
                rect class=(class(subject, mappings)) x=(NAMES) y=(y + 3) width=(width(*value)) height=(LINE - 8) rx="2" {}
                text.value x=(NAMES + width(*value) + 6) y=(y + 14) { (figure(*value)) }
            }
        }
    }
}

/// Median to the 99.9th percentile, with the 99th marked, on a logarithmic axis.
fn waits(group: &Group<'_>, mappings: &[&str]) -> Markup {
    let rows: Vec<_> = group
        .subjects()
        .into_iter()
        .filter_map(|subject| {
            let [p50, p99, p999] = WAITS.map(|unit| group.value(subject, unit));
            Some((subject, [p50?, p99?, p999?]))
        })
        .collect();
    let most = rows.iter().flat_map(|(_, waits)| *waits).fold(10.0, f64::max).log10().ceil();
    let x = |value: f64| NAMES + (value.max(1.0).log10() / most * PLOT as f64) as usize;
    let height = 28 + rows.len() * LINE + 18;
    let title = "Wait, ns: median, 99 %, 99.9 %, logarithmic";
    let told: Vec<_> = rows
        .iter()
        .map(|(subject, [p50, p99, p999])| format!("{subject} {} {} {}", figure(*p50), figure(*p99), figure(*p999)))
        .collect();
    html! {
        svg.plot role="img" aria-label={ (title) ". " (told.join(", ")) } width=(NAMES + PLOT + VALUE) height=(height)
            viewBox={ "0 0 " (NAMES + PLOT + VALUE) " " (height) } {
            text.plottitle x="0" y="16" { (title) }
            @for power in 0..=(most as u32) {
                @let at = x(10f64.powi(power as i32));
                line.tick x1=(at) x2=(at) y1="26" y2=(height - 16) {}
                text.label x=(at) y=(height - 3) text-anchor="middle" {
                    (match power { 0..3 => 10u64.pow(power).to_string(), 3..6 => format!("{}k", 10u64.pow(power - 3)), _ => format!("{}M", 10u64.pow((power - 6).min(9))) })
                }
            }
            @for (at, (subject, [p50, p99, p999])) in rows.iter().enumerate() {
                @let y = 28 + at * LINE + LINE / 2 - 2;
                text.label x=(NAMES - 8) y=(y + 4) text-anchor="end" { (subject) }
                rect class=(class(subject, mappings)) x=(x(*p50)) y=(y - 3) width=((x(*p999) - x(*p50)).max(2)) height="6" rx="2" {}
                @for (value, r) in [(*p50, 5), (*p99, 4), (*p999, 3)] {
                    circle class=(class(subject, mappings)) cx=(x(value)) cy=(y) r=(r) { title { (figure(value)) " ns" } }
                }
            }
        }
    }
}

fn table(group: &Group<'_>) -> Markup {
    html! {
        details {
            summary { "The figures of " (group.bench) }
            table.figures {
                thead { tr { th scope="col" { "subject" } th scope="col" { "value" } th scope="col" { "unit" } th scope="col" { "to the floor" } } }
                tbody {
                    @for row in &group.rows {
                        tr {
                            th scope="row" { (row.subject) }
                            td.number { (figure(row.value)) }
                            td { (row.unit) }
                            td.number { (figure(row.ratio_to_floor)) }
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(subject: &str, unit: &str, value: f64) -> Row {
        Row {
            bench: "2 <threads>".to_owned(),
            subject: subject.to_owned(),
            unit: unit.to_owned(),
            value,
            ratio_to_floor: 1.0,
        }
    }

    #[test]
    fn each_subject_has_its_bars_and_nothing_breaks_on_odd_figures() {
        let mut rows = Vec::new();
        for (subject, value) in [("floor: two cmpxchg", 40.0), ("cpu_mutex", 0.0), ("parking_lot", 1e12)] {
            rows.push(row(subject, ROUNDS, value));
            rows.push(row(subject, FAIRNESS, value));
            rows.extend(WAITS.map(|unit| row(subject, unit, value)));
        }
        rows.push(Row { bench: "pair".to_owned(), ..row("mtx", "ns", f64::NAN) });
        let html = plots(&rows, &["cpu_mutex"]).into_string();
        assert_eq!(html.matches("bar mapping").count(), 2 + 4, "a bar each, and the wait's line with its three points");
        assert_eq!(html.matches("<svg").count(), 4);
        assert!(html.contains("2 &lt;threads&gt;") && !html.contains("NaN\""), "{html}");
    }
}
