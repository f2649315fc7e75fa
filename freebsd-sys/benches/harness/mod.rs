//! The measuring harness that the benches of both crates share.
//!
//! On a shared machine two figures taken at different times do not compare. So a group's subjects take turns, in batches of some
//! microseconds, in one kernel thread of one machine. What is reported is the median of a subject's batches, and its ratio to the
//! group's first subject, the floor. A batch does not count if the host thread was preempted in it, nor if somebody else worked on
//! the same core: a neighbour on the core's other hardware thread, perhaps of another virtual machine, takes half of what the core can
//! do at once, which doubles a subject made of loads, stores and branches and leaves one that waits for locked instructions where
//! it is. A [`probe`] before and after each batch, made of additions, shows that.
//!
//! | run as | what |
//! |---|---|
//! | `cargo bench` | criterion on the uncontended groups, then one launch's table |
//! | `.. -- --launch` | one launch: rows of JSON on standard output |
//! | `.. -- --uncontended` | the same without threads that compete |
//! | `.. -- --contest PART` | the table of the contests whose name has PART |
//! | `.. -- --launches N --out FILE` | that, N times in processes of their own, disturbed ones repeated; medians into FILE |

#![expect(
    clippy::disallowed_types,
    reason = "what is measured leaves the machine through a host mutex; std's locks are peers"
)]

pub(crate) mod contended;
pub(crate) mod peers;

use criterion::Criterion;
use freebsd_sys::host::smp;
use freebsd_sys::machine::{Config, Engine, Machine, Verdict};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Rounds of a batch.
const BATCH: u64 = 500;
/// Batches of each subject in a launch: so many, and more while fewer than `QUIET` of them were without a neighbour, up to a limit.
const BATCHES: usize = 600;
const QUIET: usize = 200;
const MAX_BATCHES: usize = 20_000;
/// How much longer than the fastest a probe of a quiet core may take.
const PROBE_SPREAD: f64 = 1.08;
/// A launch is disturbed if more of its batches, or more of a floor's, were preempted, ..
const MAX_PREEMPTED: f64 = 0.05;
/// .. if the middle half of a floor's batches spreads over more than this part of their median, ..
const MAX_SPREAD: f64 = 0.10;
/// .. or if others (the hypervisor's other guests among them) had more than this part of the CPUs while threads competed.
const MAX_OTHERS: f64 = 0.02;

/// One thing to time: its set-up inside the machine, and so many rounds of it.
pub(crate) struct Subject {
    name: String,
    init: Box<dyn Fn() + Sync>,
    time: Box<dyn Fn(u64) -> Duration + Sync>,
}

/// Rounds of `body`, which are independent of each other but for what they write.
pub(crate) fn subject(name: &str, init: impl Fn() + Sync + 'static, body: impl Fn() + Sync + 'static) -> Subject {
    chain(name, init, move |value| {
        body();
        value
    })
}

/// Rounds of `body`, each of which begins with what the last one found.
pub(crate) fn chain(
    name: &str,
    init: impl Fn() + Sync + 'static,
    body: impl Fn(usize) -> usize + Sync + 'static,
) -> Subject {
    let time = move |rounds| {
        let mut value = 0;
        let start = Instant::now();
        for _ in 0..rounds {
            value = body(value);
        }
        let elapsed = start.elapsed();
        std::hint::black_box(value);
        elapsed
    };
    Subject { name: name.to_owned(), init: Box::new(init), time: Box::new(time) }
}

/// Subjects that are compared; the first is the floor.
pub(crate) struct Group {
    pub(crate) bench: &'static str,
    /// With INVARIANTS and WITNESS.
    pub(crate) checks: bool,
    pub(crate) subjects: Vec<Subject>,
}

/// A figure.
pub(crate) struct Row {
    pub(crate) bench: String,
    pub(crate) subject: String,
    pub(crate) unit: &'static str,
    pub(crate) value: f64,
    pub(crate) ratio_to_floor: f64,
}

/// How long some thousand instructions take of which a core does several at once.
fn probe() -> f64 {
    let start = Instant::now();
    let mut sums = std::hint::black_box([1u64; 8]);
    for round in 0..600 {
        sums.iter_mut().for_each(|sum| *sum = sum.rotate_left(5).wrapping_add(round));
    }
    std::hint::black_box(sums);
    start.elapsed().as_nanos() as f64
}

/// The time of a batch's round, and the slower of the probes around it.
type Sample = (f64, f64);

/// What disturbed a launch.
#[derive(Default)]
struct Disturbance {
    preempted: f64,
    spread: f64,
    others: f64,
    /// Groups that had to do with batches beside a neighbour.
    crowded: f64,
    /// The fastest probe.
    fastest: f64,
}

impl Disturbance {
    fn found(&self) -> bool {
        self.preempted > MAX_PREEMPTED || self.spread > MAX_SPREAD || self.others > MAX_OTHERS || self.crowded > 0.0
    }
}

/// Runs `body` in the first kernel thread of a `smp` machine, with or without `checks`.
pub(crate) fn in_machine(cpus: usize, checks: bool, body: &(dyn Fn() + Sync)) {
    let config = Config { cpus, invariants: checks, witness: checks, ..Config::default() };
    let machine = Machine::new(config, Engine::Smp);
    let options = smp::Options { limit: Duration::from_secs(600), seed: 1, units: &[] };
    assert_eq!(smp::run(&machine, options, body).verdict, Verdict::Pass);
}

/// getrusage(2) of `who`: RUSAGE_SELF or RUSAGE_THREAD.
fn usage(who: libc::c_int) -> libc::rusage {
    let mut usage = std::mem::MaybeUninit::uninit();
    // SAFETY: the call writes the structure that it is given, and fails only for a `who` that does not exist.
    unsafe {
        assert_eq!(libc::getrusage(who, usage.as_mut_ptr()), 0);
        usage.assume_init()
    }
}

/// Involuntary context switches of the calling thread.
fn preemptions() -> i64 {
    usage(libc::RUSAGE_THREAD).ru_nivcsw
}

/// CPU time.
struct Spent {
    /// This process's, in seconds.
    own: f64,
    /// Everybody's, and what there was, in ticks of any length; none where proc(5) is missing.
    all: Option<(f64, f64)>,
}

impl Spent {
    fn now() -> Self {
        let usage = usage(libc::RUSAGE_SELF);
        let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 * 1e-6;
        let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
        let first = text.lines().next().unwrap_or_default();
        // user nice system idle iowait irq softirq steal
        let ticks: Vec<f64> = first.split_whitespace().skip(1).take(8).filter_map(|word| word.parse().ok()).collect();
        let there = ticks.iter().sum::<f64>();
        let all = (ticks.len() == 8).then(|| (there - ticks[3] - ticks[4], there));
        Self { own: seconds(usage.ru_utime) + seconds(usage.ru_stime), all }
    }

    /// The part of all CPUs that others had since then.
    fn by_others(&self, elapsed: Duration) -> f64 {
        let now = Self::now();
        let (Some((busy, there)), Some((busy_before, there_before))) = (now.all, self.all) else { return 0.0 };
        let cpus = std::thread::available_parallelism().map_or(1, usize::from) as f64;
        let own = (now.own - self.own) / (elapsed.as_secs_f64() * cpus);
        ((busy - busy_before) / (there - there_before).max(1.0) - own).max(0.0)
    }
}

/// The value that `part` of `sorted` lie below.
fn quantile(sorted: &[f64], part: f64) -> f64 {
    sorted[((sorted.len() - 1) as f64 * part) as usize]
}

fn sorted(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_by(f64::total_cmp);
    values
}

/// Lets a group's subjects take turns.
fn take_turns(group: &Group, disturbance: &mut Disturbance) -> Vec<Row> {
    let fastest = if disturbance.fastest > 0.0 { disturbance.fastest } else { f64::INFINITY };
    let state = Mutex::new((vec![Vec::<Sample>::new(); group.subjects.len()], fastest, 0));
    in_machine(1, group.checks, &|| {
        group.subjects.iter().for_each(|subject| (subject.init)());
        let (samples, fastest, batches) = &mut *state.lock().expect("not poisoned");
        let mut quiet = 0;
        while *batches < BATCHES || quiet < QUIET && *batches < MAX_BATCHES {
            *batches += 1;
            let (mut last, mut all_quiet) = (probe(), true);
            for (subject, samples) in group.subjects.iter().zip(&mut *samples) {
                let before = preemptions();
                let time = (subject.time)(BATCH);
                let preempted = preemptions() != before;
                let next = probe();
                let slower = last.max(next);
                if !preempted {
                    samples.push((time.as_nanos() as f64 / BATCH as f64, slower));
                }
                *fastest = fastest.min(next);
                all_quiet &= !preempted && slower <= *fastest * PROBE_SPREAD;
                last = next;
            }
            quiet += usize::from(all_quiet);
        }
    });
    let (samples, fastest, batches) = state.into_inner().expect("not poisoned");
    disturbance.fastest = fastest;
    let kept: usize = samples.iter().map(Vec::len).sum();
    let preempted = 1.0 - kept as f64 / (batches * samples.len()) as f64;
    let times = |limit: f64| -> Vec<Vec<f64>> {
        let quiet = |samples: &Vec<Sample>| samples.iter().filter(|s| s.1 <= limit).map(|s| s.0).collect();
        samples.iter().map(quiet).map(sorted).collect()
    };
    let mut samples = times(fastest * PROBE_SPREAD);
    if samples.iter().any(|times| times.len() < QUIET / 2) {
        disturbance.crowded += 1.0;
        samples = times(f64::INFINITY);
    }
    let floor = quantile(&samples[0], 0.5);
    let spread = (quantile(&samples[0], 0.75) - quantile(&samples[0], 0.25)) / floor;
    disturbance.preempted = disturbance.preempted.max(preempted);
    disturbance.spread = disturbance.spread.max(spread);
    let row = |(subject, samples): (&Subject, &Vec<f64>)| {
        let value = quantile(samples, 0.5);
        let (bench, subject) = (group.bench.to_owned(), subject.name.clone());
        Row { bench, subject, unit: "ns", value, ratio_to_floor: value / floor }
    };
    group.subjects.iter().zip(&samples).map(row).collect()
}

/// What a bench measures.
pub(crate) struct Suite {
    pub(crate) groups: Vec<Group>,
    pub(crate) contests: Vec<contended::Contest>,
}

impl Suite {
    fn launch(&self, contests: &[contended::Contest]) -> (Vec<Row>, Disturbance) {
        let mut disturbance = Disturbance::default();
        let mut rows: Vec<Row> = self.groups.iter().flat_map(|group| take_turns(group, &mut disturbance)).collect();
        let (before, start) = (Spent::now(), Instant::now());
        if !contests.is_empty() {
            rows.push(contended::distance());
        }
        rows.extend(contests.iter().flat_map(contended::Contest::run));
        disturbance.others = before.by_others(start.elapsed());
        (rows, disturbance)
    }

    /// The bench's `main`.
    pub(crate) fn main(&self) {
        let args: Vec<String> = std::env::args().collect();
        let value = |name: &str| args.iter().position(|arg| arg == name).and_then(|at| args.get(at + 1));
        if args.iter().any(|arg| arg == "--launch" || arg == "--uncontended") {
            let contests = if args.iter().any(|arg| arg == "--uncontended") { &[] } else { &*self.contests };
            let (rows, disturbance) = self.launch(contests);
            let Disturbance { preempted, spread, others, crowded, .. } = disturbance;
            println!("{}", json!([preempted, spread, others, crowded]));
            for row in rows {
                println!("{}", json!([row.bench, row.subject, row.unit, row.value, row.ratio_to_floor]));
            }
        } else if let Some(launches) = value("--launches") {
            let launches = launches.parse().expect("--launches takes a number");
            launch_all(launches, value("--out").expect("--out names a file"));
        } else if let Some(part) = value("--contest") {
            contended::distance().print();
            let wanted = self.contests.iter().filter(|contest| contest.bench.contains(part));
            wanted.flat_map(contended::Contest::run).for_each(|row| row.print());
        } else {
            self.criterion();
            if args.len() <= 2 {
                self.launch(&self.contests).0.iter().for_each(Row::print);
            }
        }
    }

    fn criterion(&self) {
        let (warm_up, measurement) = (Duration::from_millis(200), Duration::from_millis(800));
        let criterion = Criterion::default().sample_size(20).warm_up_time(warm_up).measurement_time(measurement);
        let mut criterion = criterion.configure_from_args();
        for group in &self.groups {
            let mut benches = criterion.benchmark_group(group.bench);
            for subject in &group.subjects {
                benches.bench_function(&subject.name, |b| {
                    b.iter_custom(|rounds| {
                        let time = Mutex::new(Duration::ZERO);
                        in_machine(1, group.checks, &|| {
                            (subject.init)();
                            *time.lock().expect("not poisoned") = (subject.time)(rounds);
                        });
                        time.into_inner().expect("not poisoned")
                    });
                });
            }
            benches.finish();
        }
        criterion.final_summary();
    }
}

impl Row {
    fn print(&self) {
        print_row(&self.bench, &self.subject, self.unit, self.value, self.ratio_to_floor);
    }
}

fn print_row(bench: &str, subject: &str, unit: &str, value: f64, ratio: f64) {
    println!("{bench:50} {subject:32} {value:12.2} {unit:16} {ratio:8.2}");
}

/// Launches this program until `wanted` launches were not disturbed, at most twice as often; if that is not enough the
/// least disturbed ones serve, and the output says so. Writes the medians as JSON to `out`.
fn launch_all(wanted: usize, out: &str) {
    type Figures = Vec<(String, String, String, f64, f64)>;
    let mut launches: Vec<(Disturbance, Figures)> = Vec::new();
    while launches.iter().filter(|(disturbance, _)| !disturbance.found()).count() < wanted
        && launches.len() < 2 * wanted
    {
        let output = Command::new(std::env::current_exe().expect("this program")).arg("--launch").output();
        let output = output.expect("this program can be started");
        assert!(output.status.success(), "a launch failed: {}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).expect("JSON is UTF-8");
        let mut lines = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("a row of JSON"));
        let head = lines.next().expect("the first line says what disturbed the launch");
        let number = |value: &Value| value.as_f64().expect("a number");
        let disturbance = Disturbance {
            preempted: number(&head[0]),
            spread: number(&head[1]),
            others: number(&head[2]),
            crowded: number(&head[3]),
            fastest: 0.0,
        };
        println!(
            "launch {}: {:.1} % of the batches preempted, {} groups with neighbours, floor spreads over {:.1} %, others had {:.1} % of the CPUs{}",
            launches.len() + 1,
            disturbance.preempted * 100.0,
            disturbance.crowded,
            disturbance.spread * 100.0,
            disturbance.others * 100.0,
            if disturbance.found() { ": disturbed" } else { "" }
        );
        let word = |value: &Value| value.as_str().expect("a name").to_owned();
        let rows = lines.map(|row| (word(&row[0]), word(&row[1]), word(&row[2]), number(&row[3]), number(&row[4])));
        launches.push((disturbance, rows.collect()));
    }
    // How much each exceeds what is allowed, at worst.
    let badness = |d: &Disturbance| {
        (d.preempted / MAX_PREEMPTED).max(d.spread / MAX_SPREAD).max(d.others / MAX_OTHERS) + d.crowded
    };
    launches.sort_by(|(a, _), (b, _)| badness(a).total_cmp(&badness(b)));
    launches.truncate(wanted);
    let disturbed = launches.iter().filter(|(disturbance, _)| disturbance.found()).count();
    println!("{wanted} launches, {disturbed} of them disturbed");

    let order: Vec<_> = launches[0].1.iter().map(|row| (row.0.clone(), row.1.clone(), row.2.clone())).collect();
    let mut values: BTreeMap<_, (Vec<f64>, Vec<f64>)> = BTreeMap::new();
    for (bench, subject, unit, value, ratio) in launches.into_iter().flat_map(|(_, rows)| rows) {
        let entry = values.entry((bench, subject, unit)).or_default();
        entry.0.push(value);
        entry.1.push(ratio);
    }
    let mut summary = Vec::new();
    for key in order {
        let (value, ratio) = values.remove(&key).expect("each row once");
        let (value, ratio) = (quantile(&sorted(value), 0.5), quantile(&sorted(ratio), 0.5));
        let (bench, subject, unit) = key;
        print_row(&bench, &subject, &unit, value, ratio);
        summary
            .push(json!({"bench": bench, "subject": subject, "unit": unit, "value": value, "ratio_to_floor": ratio}));
    }
    let text = serde_json::to_string_pretty(&Value::Array(summary)).expect("JSON");
    std::fs::write(out, text + "\n").expect("--out can be written");
}
