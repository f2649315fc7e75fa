//! The command line of `lkpi`.
//!
//! Results go to standard output, complaints and progress to standard error. Exit status: 0 as expected, 1 something differs,
//! 2 usage, 130 after Ctrl-C.

use crate::c_load::{self, Loaded};
use crate::compare::Report;
use crate::expected::Expected;
use crate::explore_bench::{self, MOST_ROUNDS, Program};
use crate::fuzz;
use crate::misuse::{self, Suite};
use crate::registry::{self, Cell, Scenario};
use crate::replay;
use crate::report::Costs;
use crate::run::{self, Mix, Plan, Search};
use crate::schedule::Printable;
use crate::shard::{self, Shard};
use crate::shrink::{self, Limit, Subject};
use clap::builder::RangedI64ValueParser;
use clap::{Args, Parser, Subcommand, ValueEnum};
use freebsd_sys::cpu::MAXCPU;
use freebsd_sys::host::schedule::portfolio::Strategy;
use freebsd_sys::host::workers;
use freebsd_sys::machine::{Budget, Config, Engine, Granularity, Machine, Preemption, Verdict};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::{Deserialize, Serialize};
use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Something is not as expected.
const DIFFERS: u8 = 1;
/// The command cannot be carried out.
const USAGE: u8 = 2;
/// What a shell says of a process that Ctrl-C ended.
const INTERRUPTED: u8 = 130;

/// Schedules of a cell, unless told otherwise.
const SCHEDULES: u64 = 2000;

const EXAMPLES: &str = "\
Examples:
  lkpi compare                                       every scenario on every mapping
  lkpi compare abba --mapping busted --cpus 4        one cell
  lkpi compare --format json | jq '.cells[].verdict'
  lkpi compare --report report                       report/report.html: verdicts, and each failure as a picture
  lkpi compare --save schedules                      a file for each schedule that shows a failure
  lkpi run driver.c                                  a driver of one's own, in C, on every mapping
  lkpi replay schedules/abba.busted.sched            one of them, step by step
  lkpi shrink x.sched > y.sched                      the same failure with fewer context switches and interrupts
  lkpi test misuse                                   whether the kernel complains as FreeBSD does
  lkpi fuzz --programs 1000000                       the same for random programs, against a model of the rules

Exit status: 0 as expected, 1 some cell differs (of run: does not pass), 2 usage, 130 after Ctrl-C.";

/// Compares mappings of Linux's locks onto FreeBSD's.
#[derive(Debug, Parser)]
#[command(name = "lkpi", version, about, after_help = EXAMPLES, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run scenarios on mappings and show what each cell comes to
    #[command(allow_negative_numbers = true)]
    Compare(Box<Compare>),
    /// Compile a driver in C for each mapping, run its scenarios, and show what each cell comes to
    #[command(allow_negative_numbers = true)]
    Run(Box<Run>),
    /// Join what the shards of a comparison found
    Merge(Merge),
    /// Run one schedule again, step by step
    Replay(ReplayArgs),
    /// Find a shorter schedule that ends like a given one
    Shrink(ShrinkArgs),
    /// Run a suite against the emulated kernel itself
    Test(Test),
    /// Run random programs of lock calls on the emulated kernel and by a model of FreeBSD's rules
    Fuzz(Fuzz),
    /// Explore a standard program, and count and time its executions
    ExploreBench(ExploreBench),
    /// Say what there is
    List(List),
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    #[default]
    Table,
    /// For programs
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum TextFormat {
    /// For people
    Text,
    /// For programs
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum EngineName {
    /// Virtual time; a schedule decides at each boundary
    Explore,
    /// Real time; a host thread for each virtual CPU
    Smp,
}

impl From<EngineName> for Engine {
    fn from(name: EngineName) -> Self {
        match name {
            EngineName::Explore => Self::Explore,
            EngineName::Smp => Self::Smp,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum PreemptionName {
    /// FreeBSD's default: ithreads and the kernel's best priorities preempt
    Ule,
    /// FULL_PREEMPTION: any better priority does
    Full,
    /// Ticks preempt at any boundary: finds more, and may be more than a FreeBSD kernel does
    Any,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum GranularityName {
    /// A kernel primitive
    #[default]
    Op,
    /// Each atomic operation of a primitive: for the locks themselves
    Insn,
}

impl From<GranularityName> for Granularity {
    fn from(name: GranularityName) -> Self {
        match name {
            GranularityName::Op => Self::Op,
            GranularityName::Insn => Self::Insn,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum StrategyName {
    /// A random walk
    Random,
    /// Random priorities, changed at random points
    Pct,
    /// Random priorities, drawn anew where events race
    Pos,
    /// A walk that weighs CPUs by what they still have to do
    Urw,
}

impl From<StrategyName> for Strategy {
    fn from(name: StrategyName) -> Self {
        match name {
            StrategyName::Random => Self::Random,
            StrategyName::Pct => Self::Pct,
            StrategyName::Pos => Self::Pos,
            StrategyName::Urw => Self::Urw,
        }
    }
}

#[derive(Debug, Args, Serialize, Deserialize)]
struct Sampling {
    /// How schedules are sampled; several take turns [default: all,
    /// every other one pos; of explore-bench, random]
    #[arg(long = "strategy", value_enum, value_name = "S", value_delimiter = ',', conflicts_with = "exhaustive")]
    strategies: Vec<StrategyName>,
    /// Events in whose order a failure that PCT looks for lies [default: 3]
    #[arg(long, value_name = "D", value_parser = clap::value_parser!(u8).range(1..=64), conflicts_with = "exhaustive")]
    depth: Option<u8>,
}

impl Sampling {
    /// What is chosen, or `mix`.
    fn or(&self, mut mix: Mix) -> Result<Mix, String> {
        if !self.strategies.is_empty() {
            mix.strategies = self.strategies.iter().map(|&name| name.into()).collect();
        }
        if self.depth.is_some() && !mix.strategies.contains(&Strategy::Pct) {
            return Err("--depth is for --strategy pct".to_owned());
        }
        mix.depth = self.depth.map_or(mix.depth, usize::from);
        Ok(mix)
    }
}

#[derive(Debug, Args, Serialize, Deserialize)]
struct Compare {
    /// Scenarios to run [default: all]
    #[arg(value_name = "SCENARIO")]
    scenarios: Vec<String>,
    /// Run every N-th cell only, from the K-th: one part of N, for lkpi merge
    #[arg(long, value_name = "K/N")]
    #[serde(skip)]
    shard: Option<Shard>,
    #[command(flatten)]
    #[serde(flatten)]
    how: How,
}

#[derive(Debug, Args)]
struct Run {
    /// C files, and objects compiled for one mapping: together one driver
    #[arg(value_name = "FILE.c|FILE.o", required = true)]
    files: Vec<PathBuf>,
    /// A folder of headers, looked into before ours; may be repeated
    #[arg(short = 'I', long, value_name = "DIR")]
    include: Vec<PathBuf>,
    /// One of the files' scenarios; may be repeated [default: all]
    #[arg(short, long = "scenario", value_name = "SCENARIO", value_delimiter = ',')]
    scenarios: Vec<String>,
    #[command(flatten)]
    how: How,
}

/// The files that a schedule's scenario is of.
#[derive(Debug, Args)]
struct With {
    /// A C file of the schedule's scenario, as lkpi run had it; may be repeated
    #[arg(long = "with", value_name = "FILE.c|FILE.o")]
    files: Vec<PathBuf>,
    /// A folder of headers for it; may be repeated
    #[arg(short = 'I', long, value_name = "DIR", requires = "files")]
    include: Vec<PathBuf>,
}

/// On what cells are run, and how.
#[derive(Debug, Args, Serialize, Deserialize)]
struct How {
    /// Mappings to run them on; may be repeated [default: all]
    #[arg(short, long = "mapping", value_name = "M", value_delimiter = ',')]
    mappings: Vec<String>,
    /// Who drives the CPUs
    #[arg(short, long, value_enum, default_value = "explore")]
    engine: EngineName,
    /// Virtual CPUs
    #[arg(short, long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=MAXCPU as i64))]
    cpus: u8,
    /// Schedules for each cell, unless its verdict is settled before [default: 2000]
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    schedules: Option<u64>,
    /// Every schedule within the budget, one of each class; with --schedules, at most so many
    #[arg(long)]
    exhaustive: bool,
    #[command(flatten)]
    sampling: Sampling,
    /// Seed of the schedules, or of the interrupts' times
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
    /// Seconds that each cell runs on smp [default: 1], or at most with --exhaustive [default: 60]
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: Option<u64>,
    /// How often and how long locks are waited for and held, on smp: LOCK_PROFILING(9)
    #[arg(long)]
    profile: bool,
    /// Output
    #[arg(short, long, value_enum, default_value = "table")]
    #[serde(skip)]
    format: Format,
    #[command(flatten)]
    #[serde(skip)]
    files: Files,
    /// Cells that run at a time [default: one for each processor]
    #[arg(short = 'j', long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    #[serde(skip)]
    workers: Option<u16>,
    #[command(flatten)]
    kernel: Kernel,
}

/// What is written beside what is printed.
#[derive(Debug, Default, Args)]
struct Files {
    /// Write the schedule of each failure to DIR/SCENARIO.MAPPING.sched
    #[arg(long, value_name = "DIR")]
    save: Option<PathBuf>,
    /// Write DIR/report.html, a page with each failure's picture, and report.json, junit.xml and report.md beside it
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
    /// Costs to plot in the report, as ci/bench.sh writes them [default: target/bench/summary.json, if there]
    #[arg(long, value_name = "FILE", requires = "report")]
    bench: Option<PathBuf>,
}

impl Files {
    /// Makes the directories and reads the costs: better now than after the work.
    fn prepare(&self) -> Result<Option<Costs>, String> {
        let costs = if self.report.is_some() { Costs::read(self.bench.as_deref())? } else { None };
        for dir in [&self.save, &self.report].into_iter().flatten() {
            std::fs::create_dir_all(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
        }
        Ok(costs)
    }

    /// Writes all that can be written. The first error is told only once the result is printed, which it must not cost.
    fn write(&self, report: &mut Report, costs: Option<&Costs>) -> Result<(), String> {
        let saved = self.save.as_ref().map_or(Ok(()), |dir| report.save(dir));
        let written = self.report.as_ref().map_or(Ok(()), |dir| report.write(dir, costs));
        saved.and(written)
    }
}

/// Most events of a kind that a schedule may insert. With many more an execution outgrows its limit of steps, which says nothing about
/// what runs.
const MOST_EVENTS: i64 = 1000;

fn events() -> RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(0..=MOST_EVENTS)
}

#[derive(Debug, Args, Serialize, Deserialize)]
#[command(next_help_heading = "Kernel")]
struct Kernel {
    /// Who may preempt whom
    #[arg(long, value_enum, default_value = "ule", value_name = "P")]
    preemption: PreemptionName,
    /// Without INVARIANTS
    #[arg(long)]
    no_invariants: bool,
    /// Without WITNESS
    #[arg(long)]
    no_witness: bool,
    /// Also report what FreeBSD itself does not detect
    #[arg(long)]
    lint: bool,
    /// With NO_ADAPTIVE_MUTEXES, NO_ADAPTIVE_RWLOCKS and NO_ADAPTIVE_SX: nobody spins because a lock's owner runs
    #[arg(long)]
    #[serde(default)]
    no_adaptive: bool,
    /// Starvation is to be overtaken more than N times while waiting for a lock, on explore
    #[arg(long, value_name = "N")]
    #[serde(default)]
    starvation: Option<u32>,
    /// What is one transition, on explore
    #[arg(long, value_enum, default_value = "op", value_name = "G")]
    #[serde(default)]
    granularity: GranularityName,
    /// Clock ticks that a schedule may insert, on explore
    #[arg(long, value_name = "N", default_value_t = Budget::default().ticks, value_parser = events())]
    ticks: u32,
    /// Interrupts that a schedule may insert, on explore
    #[arg(long, value_name = "N", default_value_t = Budget::default().interrupts, value_parser = events())]
    interrupts: u32,
    /// Wake-ups on another CPU that a schedule may insert, on explore
    #[arg(long, value_name = "N", default_value_t = Budget::default().migrations, value_parser = events())]
    migrations: u32,
}

#[derive(Debug, Args)]
struct Merge {
    /// What compare --shard K/N --format json printed, of each K; - for standard input
    #[arg(value_name = "FILE", required = true)]
    parts: Vec<PathBuf>,
    /// Output
    #[arg(short, long, value_enum, default_value = "table")]
    format: Format,
    #[command(flatten)]
    files: Files,
}

#[derive(Debug, Args)]
struct ReplayArgs {
    /// A schedule's line, a file with one, or - for standard input
    #[arg(value_name = "SCHEDULE|FILE")]
    schedule: OsString,
    #[command(flatten)]
    with: With,
    /// Replay so many more times, and count how many end alike
    #[arg(short = 't', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    times: Option<u64>,
    /// Output
    #[arg(short, long, value_enum, default_value = "text")]
    format: TextFormat,
}

#[derive(Debug, Args)]
struct ShrinkArgs {
    /// A schedule's line, a file with one, or - for standard input
    #[arg(value_name = "SCHEDULE|FILE")]
    schedule: OsString,
    #[command(flatten)]
    with: With,
    /// Replays that may be spent on it
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(1..))]
    replays: u64,
}

#[derive(Debug, Args)]
struct Test {
    #[command(subcommand)]
    suite: TestSuite,
}

#[derive(Debug, Subcommand)]
enum TestSuite {
    /// Commit each misuse of a primitive and compare the kernel's message
    Misuse(TestArgs),
    /// The two tables of locking(9): what goes with what, and where
    Locking(TestArgs),
}

#[derive(Debug, Args)]
struct TestArgs {
    /// Rows to run, by number, range (36-47) or name [default: all]
    #[arg(value_name = "ROW")]
    rows: Vec<String>,
    /// Who drives the CPUs
    #[arg(short, long, value_enum, default_value = "explore")]
    engine: EngineName,
    /// Output
    #[arg(short, long, value_enum, default_value = "text")]
    format: TextFormat,
}

#[derive(Debug, Args)]
struct Fuzz {
    /// Programs
    #[arg(short = 'n', long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    programs: u64,
    /// Seed of the programs
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
    /// Search the schedules of one program in N depth first, too
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = clap::value_parser!(u64).range(1..))]
    search_every: u64,
    /// Output
    #[arg(short, long, value_enum, default_value = "text")]
    format: TextFormat,
    /// Programs that run at a time [default: one for each processor]
    #[arg(short = 'j', long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    workers: Option<u16>,
}

#[derive(Debug, Args)]
struct ExploreBench {
    /// What the threads contend for
    #[arg(value_enum)]
    program: ProgramName,
    /// Threads
    #[arg(long, value_name = "T", value_parser = clap::value_parser!(u8).range(1..=64))]
    threads: u8,
    /// How often each takes the lock
    #[arg(long, value_name = "R", value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// Virtual CPUs; threads too many share the last [default: one for each thread]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=MAXCPU as i64))]
    cpus: Option<u8>,
    /// Clock ticks that a schedule may insert; each may preempt
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = events())]
    ticks: u32,
    /// What is one transition
    #[arg(long, value_enum, default_value = "op", value_name = "G")]
    granularity: GranularityName,
    /// Nobody spins because a lock's owner runs
    #[arg(long)]
    no_adaptive: bool,
    /// Starvation is to be overtaken more than N times while waiting for the lock
    #[arg(long, value_name = "N")]
    starvation: Option<u32>,
    /// One execution of each class of schedules
    #[arg(long)]
    exhaustive: bool,
    #[command(flatten)]
    sampling: Sampling,
    /// Executions at most [default: 10000, or all with --exhaustive]
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    schedules: Option<u64>,
    /// Seed of the schedules
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
    /// Output
    #[arg(short, long, value_enum, default_value = "text")]
    format: TextFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ProgramName {
    /// A mutex(9)
    Mutex,
    /// A test-and-set lock
    Tas,
    /// A rwlock(9), of one writer
    Rwlock,
    /// A seqc(9), of one writer
    Seqlock,
    /// A ticket lock
    Ticket,
}

impl From<ProgramName> for Program {
    fn from(name: ProgramName) -> Self {
        match name {
            ProgramName::Mutex => Self::Mutex,
            ProgramName::Tas => Self::Tas,
            ProgramName::Rwlock => Self::Rwlock,
            ProgramName::Seqlock => Self::Seqlock,
            ProgramName::Ticket => Self::Ticket,
        }
    }
}

#[derive(Debug, Args)]
struct List {
    /// What to list [default: scenarios and mappings]
    #[arg(value_enum)]
    what: Option<Listed>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Listed {
    /// What drivers do
    Scenarios,
    /// How Linux's locks become FreeBSD's
    Mappings,
    /// Compat suites
    Suites,
    /// Ways to find schedules
    Schedules,
}

/// Runs the command of this process's arguments.
pub fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Compare(args) => compare(&args),
        Command::Run(args) => run_files(&args),
        Command::Merge(args) => merge(&args),
        Command::Replay(args) => replay_one(&args),
        Command::Shrink(args) => shrink_one(&args),
        Command::Test(args) => test(&args),
        Command::Fuzz(args) => fuzz(&args),
        Command::ExploreBench(args) => bench(&args),
        Command::List(args) => emit(&list(args.what)).map(|()| 0),
    };
    ExitCode::from(result.unwrap_or_else(|text| {
        // Who closed standard error does not want to know.
        let _ = writeln!(io::stderr(), "lkpi: {text}");
        USAGE
    }))
}

/// Writes to standard output. A reader that has gone away, as `head` does, is no error.
fn emit(text: &str) -> Result<(), String> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(format!("cannot write: {error}")),
        _ => Ok(()),
    }
}

/// Seconds for a cell that is searched exhaustively.
const EXHAUSTIVE_SECONDS: u64 = 60;

impl How {
    /// That the numbers are such as the command line takes: those of a shard are read from its JSON.
    fn check_numbers(&self) -> Result<(), String> {
        let (events, most) = (&self.kernel, MOST_EVENTS as u64);
        for (option, value, range) in [
            ("--cpus", self.cpus.into(), 1..=MAXCPU as u64),
            ("--schedules", self.schedules.unwrap_or(SCHEDULES), 1..=u64::MAX),
            ("--ticks", events.ticks.into(), 0..=most),
            ("--interrupts", events.interrupts.into(), 0..=most),
            ("--migrations", events.migrations.into(), 0..=most),
        ] {
            if !range.contains(&value) {
                return Err(format!("{option} {value} is not in {} to {}", range.start(), range.end()));
            }
        }
        Ok(())
    }

    fn plan(&self) -> Result<Plan, String> {
        let (engine, kernel, default) = (self.engine.into(), &self.kernel, Budget::default());
        for (given, option, of) in [
            (self.schedules.is_some(), "--schedules", Engine::Explore),
            (self.exhaustive, "--exhaustive", Engine::Explore),
            (!self.sampling.strategies.is_empty(), "--strategy", Engine::Explore),
            (self.sampling.depth.is_some(), "--depth", Engine::Explore),
            (self.files.save.is_some(), "--save", Engine::Explore),
            (kernel.granularity != GranularityName::Op, "--granularity", Engine::Explore),
            (kernel.starvation.is_some(), "--starvation", Engine::Explore),
            (kernel.ticks != default.ticks, "--ticks", Engine::Explore),
            (kernel.interrupts != default.interrupts, "--interrupts", Engine::Explore),
            (kernel.migrations != default.migrations, "--migrations", Engine::Explore),
            (self.seconds.is_some() && !self.exhaustive, "--seconds", Engine::Smp),
            (self.profile, "--profile", Engine::Smp),
        ] {
            if given && of != engine {
                let name = crate::compare::engine_name(of);
                return Err(format!("{option} is for --engine {name}"));
            }
        }
        let mix = self.sampling.or(Mix::default())?;
        let search = match (self.exhaustive, self.schedules) {
            (true, limit) => Search::Exhaustive(limit),
            (false, n) => Search::Sample(n.unwrap_or(SCHEDULES)),
        };
        let config = Config {
            cpus: self.cpus.into(),
            invariants: !kernel.no_invariants,
            witness: !kernel.no_witness,
            lint: kernel.lint,
            profile: self.profile,
            preemption: match kernel.preemption {
                PreemptionName::Ule => Preemption::Ule,
                PreemptionName::Full => Preemption::Full,
                PreemptionName::Any => Preemption::Any,
            },
            adaptive: !kernel.no_adaptive,
            starvation: kernel.starvation,
            granularity: kernel.granularity.into(),
            budget: Budget { ticks: kernel.ticks, interrupts: kernel.interrupts, migrations: kernel.migrations },
            ..Config::default()
        };
        let time = Duration::from_secs(self.seconds.unwrap_or(if self.exhaustive { EXHAUSTIVE_SECONDS } else { 1 }));
        Ok(Plan { engine, config, search, mix, seed: self.seed, time })
    }

    /// The mappings that are asked for.
    fn mappings(&self) -> Result<Vec<&'static str>, String> {
        for name in &self.mappings {
            registry::mapping(name)?;
        }
        Ok(registry::mappings().into_iter().filter(|name| wanted(&self.mappings, name)).collect())
    }

    /// The cells of these scenarios (of all, if there are none) that are asked for, in the order of the tables.
    fn cells(&self, scenarios: &[String]) -> Result<Vec<(&'static Scenario, &'static Cell)>, String> {
        for name in scenarios {
            registry::scenario(name)?;
        }
        for name in &self.mappings {
            registry::mapping(name)?;
        }
        let cells: Vec<_> = registry::scenarios()
            .iter()
            .filter(|scenario| wanted(scenarios, scenario.name))
            .flat_map(|scenario| scenario.cells.iter().map(move |cell| (scenario, cell)))
            .filter(|(_, cell)| wanted(&self.mappings, cell.mapping))
            .collect();
        if cells.is_empty() {
            return Err("no such scenario runs on such a mapping".to_owned());
        }
        Ok(cells)
    }

    /// What is printed.
    fn text(&self, report: &Report) -> String {
        match self.format {
            Format::Json => report.json(),
            Format::Table => report.table(width(), coloured()),
        }
    }

    /// On `smp` a cell keeps as many processors busy as it has CPUs.
    fn workers(&self, plan: &Plan) -> usize {
        match (self.workers, plan.engine) {
            (Some(n), _) => n.into(),
            (None, Engine::Explore) => workers::processors(),
            (None, Engine::Smp) => (workers::processors() / plan.config.cpus).max(1),
        }
    }
}

/// Whether one of them is meant: by its name, or because none is.
fn wanted(names: &[String], name: &str) -> bool {
    names.is_empty() || names.iter().any(|wanted| wanted == name)
}

fn compare(args: &Compare) -> Result<u8, String> {
    let plan = args.how.plan()?;
    if args.shard.is_some() && plan.engine != Engine::Explore {
        return Err("--shard is for --engine explore".to_owned());
    }
    let cells = args.how.cells(&args.scenarios)?;
    let cells = match args.shard {
        Some(shard) => shard.of_cells(cells),
        None => cells,
    };
    let report = run_cells(&args.how, plan, &cells)?;
    let text = match (args.how.format, args.shard) {
        (Format::Json, Some(shard)) => {
            report.0.json_part(shard, serde_json::to_value(args).map_err(|error| error.to_string())?)
        }
        _ => args.how.text(&report.0),
    };
    conclude(&report, &text)
}

/// A driver of the user's. Nobody expects anything but that it passes.
fn run_files(args: &Run) -> Result<u8, String> {
    let plan = args.how.plan()?;
    let source = c_load::Source { files: &args.files, include: &args.include };
    let loaded = load(source, &args.how.mappings()?)?;
    let own = loaded.scenarios.iter().map(|scenario| scenario.name);
    if let Some(name) = args.scenarios.iter().find(|name| own.clone().all(|own| own != **name)) {
        return Err(registry::unknown("scenario", name, own));
    }
    let names: Vec<_> = own.filter(|name| wanted(&args.scenarios, name)).map(str::to_owned).collect();
    let report = run_cells(&args.how, plan, &args.how.cells(&names)?)?;
    conclude(&report, &args.how.text(&report.0))
}

/// Compiles and loads files of the user's, and makes their scenarios known.
fn load(source: c_load::Source<'_>, mappings: &[&'static str]) -> Result<Loaded, String> {
    // What was written for the compiler is removed at the end, also of an interrupted one.
    workers::catch_interrupt();
    let loaded = c_load::load(source, mappings)?;
    let _ = write!(io::stderr(), "{}", loaded.warnings);
    registry::add(&loaded.scenarios)?;
    Ok(loaded)
}

/// Prints what was found. The first error in writing files is told only then.
fn conclude((report, written): &(Report, Result<(), String>), text: &str) -> Result<u8, String> {
    emit(text)?;
    written.clone()?;
    Ok(match (workers::interrupted(), report.is_wrong()) {
        (true, _) => INTERRUPTED,
        (false, true) => DIFFERS,
        (false, false) => 0,
    })
}

/// Runs the cells; what was found, and whether the files that are asked for could be written.
fn run_cells(
    args: &How,
    plan: Plan,
    cells: &[(&'static Scenario, &'static Cell)],
) -> Result<(Report, Result<(), String>), String> {
    let (expected, complaints) = Expected::load()?;
    if let Some(first) = complaints.first() {
        let more = complaints.len() - 1;
        let more = if more == 0 { String::new() } else { format!(" (and {more} more)") };
        let _ = writeln!(io::stderr(), "lkpi: warning: expected.toml: {first}{more}");
    }
    let costs = args.files.prepare()?;
    workers::catch_interrupt();
    let (bar, tally, started) = (progress(cells.len()), run::Tally::new(), Instant::now());
    let outcomes = run::cells(&plan, cells, args.workers(&plan), &tally, |done| {
        bar.set_position(done as u64);
        let mut message = format!("{} executions", tally.executions());
        if args.exhaustive {
            let part = 100.0 * tally.searched() / cells.len().max(1) as f64;
            message += &format!(", {part:.1} % of the search");
        }
        bar.set_message(message);
    });
    bar.finish_and_clear();
    let mut report = Report::new(plan, cells, outcomes, &expected, started.elapsed());
    let written = args.files.write(&mut report, costs.as_ref());
    Ok((report, written))
}

/// Prints what one run would have, from its shards.
fn merge(args: &Merge) -> Result<u8, String> {
    let parts: Vec<_> = args.parts.iter().map(|path| shard::read(path)).collect::<Result<_, _>>()?;
    let joined = shard::join(&parts)?;
    let costs = args.files.prepare()?;
    let run: Compare = serde_json::from_value(joined.run).map_err(|error| format!("the shards' options: {error}"))?;
    run.how.check_numbers().map_err(|error| format!("the shards' options: {error}"))?;
    let (plan, cells) = (run.how.plan()?, run.how.cells(&run.scenarios)?);
    fn names<'a>(&(scenario, cell): &(&'a Scenario, &'a Cell)) -> (&'a str, &'a str) {
        (scenario.name, cell.mapping)
    }
    let found = joined.outcomes.iter().map(|(scenario, mapping, _)| (scenario.as_str(), mapping.as_str()));
    if !found.eq(cells.iter().map(names)) {
        return Err("the shards' cells are not those of their run: was each written by this lkpi?".to_owned());
    }
    let outcomes = joined.outcomes.into_iter().map(|(.., outcome)| Some(outcome)).collect();
    let mut report = Report::new(plan, &cells, outcomes, &Expected::load()?.0, joined.elapsed);
    if let Some((scenario, cell)) = report.first_unlike(&joined.cells).map(|at| names(&cells[at])) {
        return Err(format!(
            "{scenario} on {cell}: its shard says what this lkpi would not; was it written by this one?"
        ));
    }
    let written = args.files.write(&mut report, costs.as_ref());
    emit(&match args.format {
        Format::Json => report.json(),
        Format::Table => report.table(width(), coloured()),
    })?;
    written?;
    Ok(if report.differs() { DIFFERS } else { 0 })
}

/// The width of the terminal on standard output, if it is one.
fn width() -> Option<usize> {
    let size = terminal_size::terminal_size_of(io::stdout())?;
    io::stdout().is_terminal().then_some(size.0.0.into())
}

fn coloured() -> bool {
    anstream::AutoStream::choice(&io::stdout()) != anstream::ColorChoice::Never
}

/// A progress bar; it shows only on a terminal.
fn progress(cells: usize) -> ProgressBar {
    bar(cells as u64, "{wide_bar} {pos}/{len} cells, {msg}, {elapsed}")
}

/// A progress bar of this look.
fn bar(length: u64, template: &str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}

fn replay_one(args: &ReplayArgs) -> Result<u8, String> {
    let (schedule, _loaded) = read_schedule(&args.schedule, &args.with)?;
    workers::catch_interrupt();
    let replayed = replay::replay(&schedule, args.times)?;
    emit(&match args.format {
        TextFormat::Text => replayed.text(),
        TextFormat::Json => replayed.json(),
    })?;
    Ok(match (replayed.interrupted(), replayed.agrees()) {
        (true, _) => INTERRUPTED,
        (false, false) => DIFFERS,
        (false, true) => 0,
    })
}

/// Prints what a file may hold: the schedule, and comments.
fn shrink_one(args: &ShrinkArgs) -> Result<u8, String> {
    let (mut schedule, _loaded) = read_schedule(&args.schedule, &args.with)?;
    let verdict = replay::replay(&schedule, None)?.execution().verdict.clone();
    if verdict == Verdict::Pass {
        return Err("the schedule passes, so there is nothing to shrink it to".to_owned());
    }
    let (_, cell) = registry::cell(&schedule.scenario, &schedule.mapping)?;
    let (machine, units) = (Machine::new(schedule.config.clone(), Engine::Explore), (cell.units)());
    workers::catch_interrupt();
    let bar = bar(args.replays, "{wide_bar} {pos}/{len} replays, {elapsed}");
    let subject = Subject { machine: &machine, main: &|| (cell.run)(), units: &units };
    let limit = Limit::replays(args.replays);
    let shrunk = shrink::shrink(subject, &verdict, &schedule.events, limit, &mut |n| bar.set_position(n));
    bar.finish_and_clear();
    let Some(shrunk) = shrunk else {
        return Err(format!("each replay ends with '{verdict}', which takes too long to shrink"));
    };
    schedule.events.clone_from(&shrunk.events);
    emit(&format!("# {}\n# {shrunk}\n{schedule}\n", verdict.to_string().replace('\n', " ")))?;
    Ok(if shrunk.interrupted { INTERRUPTED } else { 0 })
}

fn test(args: &Test) -> Result<u8, String> {
    let (suite, args) = match &args.suite {
        TestSuite::Misuse(args) => (Suite::Misuse, args),
        TestSuite::Locking(args) => (Suite::Locking, args),
    };
    workers::catch_interrupt();
    let report = misuse::run(suite, &args.rows, args.engine.into())?;
    emit(&match args.format {
        TextFormat::Text => report.text(),
        TextFormat::Json => report.json(),
    })?;
    Ok(match (report.interrupted, report.count("fail")) {
        (true, _) => INTERRUPTED,
        (false, 0) => 0,
        (false, _) => DIFFERS,
    })
}

fn fuzz(args: &Fuzz) -> Result<u8, String> {
    workers::catch_interrupt();
    let bar = bar(args.programs, "{wide_bar} {pos}/{len} programs, {per_sec}, {elapsed}");
    let (jobs, started) = (args.workers.map_or_else(workers::processors, usize::from), Instant::now());
    let plan = fuzz::Plan { programs: args.programs, seed: args.seed, search_every: args.search_every };
    let report = fuzz::campaign(&plan, jobs, |done| bar.set_position(done))?;
    bar.finish_and_clear();
    emit(&match args.format {
        TextFormat::Text => report.text(args.seed, started.elapsed()),
        TextFormat::Json => report.json(args.seed, started.elapsed()),
    })?;
    Ok(match (report.disagreement.is_some(), workers::interrupted()) {
        (true, _) => DIFFERS,
        (false, true) => INTERRUPTED,
        (false, false) => 0,
    })
}

fn bench(args: &ExploreBench) -> Result<u8, String> {
    let (threads, rounds) = (usize::from(args.threads), usize::from(args.rounds));
    if threads * rounds > MOST_ROUNDS {
        return Err(format!("--threads times --rounds is {}, and at most {MOST_ROUNDS}", threads * rounds));
    }
    workers::catch_interrupt();
    let figures = explore_bench::run(&explore_bench::Plan {
        program: args.program.into(),
        threads,
        rounds,
        cpus: args.cpus.map_or(threads.min(MAXCPU), usize::from),
        ticks: args.ticks,
        granularity: args.granularity.into(),
        adaptive: !args.no_adaptive,
        starvation: args.starvation,
        exhaustive: args.exhaustive,
        // As in the benches: the plainest search, which shuttle has as well.
        mix: args.sampling.or(Mix { strategies: vec![Strategy::Random], ..Mix::default() })?,
        schedules: args.schedules,
        seed: args.seed,
    });
    emit(&match args.format {
        TextFormat::Text => figures.text(),
        TextFormat::Json => figures.json(),
    })?;
    Ok(match (figures.verdict == Verdict::Pass.name(), figures.interrupted) {
        (false, _) => DIFFERS,
        (true, true) => INTERRUPTED,
        (true, false) => 0,
    })
}

impl With {
    /// Loads the files, for the mapping of the schedule in `text`: how it is replayed depends on it.
    fn load(&self, text: &str) -> Result<Option<Loaded>, String> {
        if self.files.is_empty() {
            return Ok(None);
        }
        let mapping = registry::mappings().into_iter().find(|name| text.contains(&format!(";mapping={name};")));
        let mapping = mapping.ok_or("the schedule is of no mapping that is known")?;
        load(c_load::Source { files: &self.files, include: &self.include }, &[mapping]).map(Some)
    }
}

/// A schedule from where the argument says, and the files that it is of.
fn read_schedule(argument: &OsStr, with: &With) -> Result<(Printable, Option<Loaded>), String> {
    // A file may have any name, a schedule is text.
    let (path, argument) = (Path::new(argument), &*argument.to_string_lossy());
    if argument.contains(';') && !path.is_file() {
        let loaded = with.load(argument)?;
        return Ok((Printable::parse(argument).map_err(|error| format!("bad schedule: {error}"))?, loaded));
    }
    let (name, text) = if argument == "-" {
        ("standard input", read_text("standard input", io::stdin().lock())?)
    } else {
        let file = std::fs::File::open(path).map_err(|error| {
            let hint = "a schedule is a file, or a line that begins with 'lkpi1;'";
            format!("{}: {error} ({hint})", registry::brief(argument))
        })?;
        (argument, read_text(argument, file)?)
    };
    let loaded = with.load(&text)?;
    Ok((Printable::parse_file(&text).map_err(|error| format!("{name}: {error}"))?, loaded))
}

/// The text of a file that may be anything.
fn read_text(name: &str, from: impl Read) -> Result<String, String> {
    /// No schedule is this long.
    const MOST: u64 = 64 << 20;
    let mut bytes = Vec::new();
    from.take(MOST).read_to_end(&mut bytes).map_err(|error| format!("{name}: {error}"))?;
    // A NUL is a character to UTF-8, but of no text.
    let text = if bytes.contains(&0) { None } else { String::from_utf8(bytes).ok() };
    text.ok_or_else(|| format!("{name}: it is not text, so not a schedule"))
}

fn list(what: Option<Listed>) -> String {
    let mut out = String::new();
    let (scenarios, mappings) = (registry::scenarios(), registry::mappings());
    if what.is_none_or(|what| what == Listed::Scenarios) {
        for scenario in scenarios {
            let allowed = match (scenario.mainline, scenario.rt) {
                (true, true) => "Linux allows it",
                (true, false) => "mainline Linux allows it, PREEMPT_RT does not",
                (false, true) => "PREEMPT_RT allows it, mainline Linux does not",
                (false, false) => "Linux forbids it",
            };
            // Writing to a String cannot fail.
            let _ = writeln!(out, "{}\n    {}\n    {allowed}; {}", scenario.name, scenario.about, scenario.source);
        }
    }
    if what.is_none() {
        out.push('\n');
    }
    if what.is_none_or(|what| what == Listed::Mappings) {
        for mapping in mappings {
            let _ = writeln!(out, "{mapping}");
        }
    }
    match what {
        Some(Listed::Suites) => out.push_str(
            "misuse      each misuse of a primitive, and the kernel's message   test misuse\n\
             locking     the two tables of locking(9), cell by cell             test locking\n",
        ),
        Some(Listed::Schedules) => out.push_str(
            "random      a random walk                                    compare, by turns; --strategy random\n\
             pct         random priorities, changed at random points      compare, by turns; --strategy pct\n\
             pos         random priorities, drawn anew where events race  compare, by turns; --strategy pos\n\
             urw         a walk weighed by what CPUs still have to do     compare, by turns; --strategy urw\n\
             exhaustive  all within the budget, reduced                   compare --exhaustive\n\
             replay      a recorded one                                   replay\n",
        ),
        _ => {}
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_options_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn defaults_are_the_default_kernel() {
        let Command::Compare(args) = Cli::parse_from(["lkpi", "compare"]).command else { panic!("another command") };
        let plan = args.how.plan().expect("a plan");
        assert!(plan.is_default_kernel());
        assert_eq!((plan.config, plan.search), (Config::default(), Search::Sample(SCHEDULES)));
    }
}
