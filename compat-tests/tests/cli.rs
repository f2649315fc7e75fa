//! The real `lkpi`, as people and programs use it.

use compat_tests::registry;
use compat_tests::schedule::Printable;
use freebsd_sys::host::explore;
use freebsd_sys::host::schedule::random::Random;
use freebsd_sys::machine::{Config, Engine, Machine, Verdict};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

/// A scenario, a mapping on which it panics, one on which it passes, and the panic.
const CASE: &str = "dma-resv-fence-callback";
const PANICS: &str = "linuxkpi_2021";
const PASSES: &str = "linuxkpi_today";
const MESSAGE: &str = "mi_switch: switch in a critical section";
/// Another scenario, whose executions look different.
const OTHER: &str = "abba";

fn lkpi() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lkpi"));
    command.stdin(Stdio::null());
    command
}

fn run(args: &[&str]) -> Output {
    lkpi().args(args).output().expect("lkpi runs")
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or_else(|| panic!("ended by a signal: {output:?}"))
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("text")
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("text")
}

/// The command fails with status 2, says nothing on standard output, and a clear thing on standard error.
#[track_caller]
fn refused(args: &[&str], says: &str) {
    let output = run(args);
    assert_eq!(code(&output), 2, "{args:?}: {output:?}");
    assert_eq!(out(&output), "", "{args:?}");
    assert!(err(&output).contains(says), "{args:?}: {} does not say {says}", err(&output));
    assert!(!err(&output).contains("panicked"), "{}", err(&output));
}

#[track_caller]
fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

fn cells(output: &Output) -> Vec<Value> {
    json(output)["cells"].as_array().expect("cells").clone()
}

/// The one cell of a comparison.
fn cell(args: &[&str]) -> Value {
    let output = run(&[&["compare", "--format", "json"], args].concat());
    let mut cells = cells(&output);
    assert_eq!(cells.len(), 1);
    cells.remove(0)
}

/// The schedule of the known panic.
fn schedule() -> String {
    let cell = cell(&[CASE, "--mapping", PANICS]);
    cell["schedule"].as_str().expect("a schedule").to_owned()
}

/// Starts the command, and presses Ctrl-C as soon as it is caught.
fn interrupted(args: &[&str]) -> Output {
    let mut child = lkpi().args(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("lkpi runs");
    let status = format!("/proc/{}/status", child.id());
    let caught = || {
        let text = std::fs::read_to_string(&status).expect("a process");
        let mask = text.lines().find_map(|line| line.strip_prefix("SigCgt:")).expect("a mask");
        u64::from_str_radix(mask.trim(), 16).expect("a mask") >> (Signal::SIGINT as u32 - 1) & 1 == 1
    };
    while child.try_wait().expect("a child").is_none() {
        if caught() {
            kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).expect("signalled");
            break;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    child.wait_with_output().expect("it ends")
}

/// A folder that vanishes with the value.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("lkpi-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }

    fn file(&self, name: &str, text: impl AsRef<[u8]>) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, text).expect("a file");
        path.to_str().expect("a name").to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn help_says_what_there_is() {
    let help = out(&run(&["--help"]));
    for word in ["compare", "replay", "shrink", "list", "Exit status"] {
        assert!(help.contains(word), "{help}");
    }
    let help = run(&["compare", "--help"]);
    assert_eq!(code(&help), 0);
    for option in ["--mapping", "--engine", "--cpus", "--schedules", "--exhaustive", "--seed", "--format"] {
        assert!(out(&help).contains(option), "{option}");
    }
    assert_eq!(code(&run(&[])), 2);
    assert_eq!(code(&run(&["--version"])), 0);
}

#[test]
fn lists() {
    let all = out(&run(&["list"]));
    assert!(all.contains(CASE) && all.contains(PANICS), "{all}");
    assert!(out(&run(&["list", "mappings"])).lines().any(|line| line == PANICS));
    assert!(out(&run(&["list", "scenarios"])).lines().any(|line| line == CASE));
    for what in ["suites", "schedules"] {
        assert_eq!(code(&run(&["list", what])), 0);
    }
    refused(&["list", "mapings"], "mappings");
}

#[test]
fn unknown_names_suggest_the_nearest() {
    refused(&["compare", "dma-resv-fence-calback"], &format!("did you mean '{CASE}'"));
    refused(&["compare", "--mapping", "linuxkpi_2012"], &format!("did you mean '{PANICS}'"));
    refused(&["compare", "--mapping", &format!("{PASSES},nonesuch")], "no mapping 'nonesuch'");
    refused(&["comapre"], "compare");
    refused(&["compare", "--maping", PANICS], "--mapping");
    refused(&["compare", "--engine", "explor"], "explore");
}

#[test]
fn bad_values_are_refused() {
    for args in [
        ["compare", "--cpus", "0"],
        ["compare", "--cpus", "99"],
        ["compare", "--schedules", "0"],
        ["compare", "--schedules", "many"],
        ["compare", "--seed", "-1"],
        ["compare", "--workers", "0"],
        ["compare", "--format", "xml"],
        ["compare", "--preemption", "none"],
        ["compare", "--ticks", "1001"],
        ["compare", "--interrupts", "20000"],
        ["compare", "--migrations", "-1"],
        ["replay", "--times", "0"],
    ] {
        refused(&args, args[1]);
    }
    refused(&["compare", "--engine", "smp", "--exhaustive"], "--exhaustive is for --engine explore");
    for option in ["--ticks", "--interrupts", "--migrations"] {
        refused(&["compare", "--engine", "smp", option, "0"], &format!("{option} is for --engine explore"));
    }
    refused(&["compare", "--seconds", "1"], "--seconds is for --engine smp");
    refused(&["compare", "--save", "/dev/null/x", CASE], "/dev/null/x");
}

#[test]
fn the_panic_is_found_and_expected() {
    let output = run(&["compare", CASE, "--mapping", PANICS, "--schedules", "1000", "--format", "json"]);
    assert_eq!(code(&output), 0, "{output:?}");
    let cell = &cells(&output)[0];
    assert_eq!(cell["verdict"], "panic");
    assert_eq!(cell["message"], MESSAGE);
    assert_eq!(cell["expected"], "panic");
}

#[test]
fn json_has_the_documented_shape() {
    let output = run(&["compare", "--format", "json", "--schedules", "50"]);
    assert!(code(&output) <= 1);
    let keys = [
        "scenario",
        "mapping",
        "engine",
        "cpus",
        "verdict",
        "message",
        "schedules",
        "exhaustive",
        "budget",
        "schedule",
        "expected",
    ];
    let top = json(&output);
    assert_eq!(top.as_object().expect("an object").keys().collect::<Vec<_>>(), ["cells"]);
    let verdicts = ["pass", "panic", "deadlock", "livelock", "starvation", "corruption", "error"];
    for cell in cells(&output) {
        let object = cell.as_object().expect("an object");
        let mut found: Vec<_> = object.keys().map(String::as_str).collect();
        let mut wanted = keys;
        found.sort_unstable();
        wanted.sort_unstable();
        assert_eq!(found, wanted);
        assert!(verdicts.contains(&cell["verdict"].as_str().expect("a name")));
        assert_eq!(cell["engine"], "explore");
        assert_eq!(cell["cpus"], 2);
        let schedules = cell["schedules"].as_u64().expect("a number");
        assert!((1..=50).contains(&schedules), "{cell}");
        assert!(cell["exhaustive"].is_boolean());
        assert_eq!(cell["budget"], serde_json::json!({"ticks": 2, "interrupts": 2, "migrations": 1}));
        assert!(cell["expected"].is_string() || cell["expected"].is_array(), "{cell}");
        if cell["verdict"] == "pass" {
            assert_eq!(cell["schedule"], Value::Null);
            assert_eq!(cell["message"], format!("not found in {schedules} schedules, seed 1"));
        } else {
            assert!(!cell["message"].as_str().expect("text").is_empty());
            assert!(cell["schedule"].as_str().expect("a line").starts_with("lkpi1;scenario="));
        }
    }
}

#[test]
fn filters_choose_cells() {
    let count = |args: &[&str]| {
        let output = run(&[&["compare", "--format", "json", "--schedules", "1"], args].concat());
        cells(&output).len()
    };
    let mappings = count(&[CASE]);
    assert!(mappings > 2);
    assert_eq!(count(&[CASE, OTHER, "--mapping", PANICS]), 2);
    assert_eq!(count(&[CASE, "--mapping", &format!("{PANICS},{PASSES}")]), 2);
    assert_eq!(count(&[CASE, "--mapping", PANICS, "--mapping", PASSES, "-m", PASSES]), 2);
}

#[test]
fn exit_codes() {
    let code_of = |args: &[&str]| code(&run(&[&["compare", CASE], args].concat()));
    assert_eq!(code_of(&["--mapping", PASSES, "--schedules", "20"]), 0);
    // An unexpected pass differs: some seed does not find the panic with its first schedule.
    let unlucky = (0..100).map(|seed| seed.to_string()).find(|seed| {
        let cell = cell(&[CASE, "--mapping", PANICS, "--schedules", "1", "--seed", seed]);
        cell["verdict"] == "pass"
    });
    let unlucky = unlucky.expect("a seed that passes");
    let few = ["--mapping", PANICS, "--schedules", "1", "--seed", &unlucky];
    assert_eq!(code_of(&few), 1);
    // Another kernel is another matter.
    assert_eq!(code_of(&[&few[..], &["--ticks", "0"]].concat()), 0);
    assert_eq!(cell(&[CASE, "--mapping", PASSES, "--lint", "--schedules", "1"])["expected"], Value::Null);
}

#[test]
fn the_table_tells_what_was_explored() {
    let table = out(&run(&["compare", CASE, "--schedules", "20", "--seed", "7", "--mapping", PASSES]));
    for part in [CASE, "pass (20)", "20 schedules", "seed 7", "2 CPUs", "explore", "budget", "all as expected"] {
        assert!(table.contains(part), "{part}: {table}");
    }
    assert!(!table.contains('\u{1b}'), "colours in a pipe");
    let table = out(&run(&["compare", CASE, "--mapping", PANICS]));
    assert!(table.contains(MESSAGE) && table.contains("lkpi replay 'lkpi1;"), "{table}");
}

#[test]
fn workers_and_processes_change_nothing() {
    let with = |workers| run(&["compare", "--format", "json", "--schedules", "200", "--workers", workers]).stdout;
    let one = with("1");
    assert_eq!(one, with("2"));
    assert_eq!(one, with("7"));
}

#[test]
fn strategies_and_depth_are_chosen() {
    let summary = |args: &[&str]| {
        let text = out(&run(&[&["compare", CASE, "--mapping", PASSES, "--schedules", "5"], args].concat()));
        text.lines().last().expect("a summary").to_owned()
    };
    assert!(summary(&[]).contains("POS, PCT, URW, random, seed 1"), "{}", summary(&[]));
    assert!(summary(&["--strategy", "urw,pct", "--depth", "5"]).contains("schedules, URW, PCT, seed 1"));
    // The depth is PCT's: some seed shows that it matters.
    let found = |depth: &str, seed: u64| {
        let seed = seed.to_string();
        cell(&[CASE, "--mapping", PANICS, "--strategy", "pct", "--depth", depth, "--seed", &seed])["schedules"].clone()
    };
    assert!((1..10).any(|seed| found("2", seed) != found("6", seed)));
    refused(&["compare", "--strategy", "dfs"], "--strategy");
    refused(&["compare", "--depth", "0"], "--depth");
    refused(&["compare", "--exhaustive", "--depth", "2"], "--depth");
    refused(&["compare", "--strategy", "pos,urw", "--depth", "2"], "--depth is for --strategy pct");
    refused(&["compare", "--engine", "smp", "--strategy", "pos"], "--strategy is for --engine explore");
    let starves = ["explore-bench", "tas", "--threads", "2", "--rounds", "4", "--starvation", "2", "--format", "json"];
    let by = |strategy: &str| json(&run(&[&starves[..], &["--strategy", strategy]].concat()))["schedule"].clone();
    assert!(by("random").is_string() && by("random") != by("pct"), "{} {}", by("random"), by("pct"));
    refused(&[&starves[..], &["--exhaustive", "--strategy", "pos"]].concat(), "--strategy");
    refused(&[&starves[..], &["--depth", "2"]].concat(), "--depth is for --strategy pct");
}

/// The JSON of each shard of a comparison, in files of `folder`.
fn shards(folder: &Folder, of: usize, args: &[&str]) -> Vec<String> {
    let shard = |index: usize| {
        let shard = format!("{index}/{of}");
        let output = run(&[&["compare", "--format", "json", "--shard", &shard], args].concat());
        assert!(code(&output) <= 1, "{output:?}");
        folder.file(&format!("{index}-of-{of}.json"), &output.stdout)
    };
    (1..=of).map(shard).collect()
}

fn merge(files: &[String], args: &[&str]) -> Output {
    let files: Vec<_> = files.iter().map(String::as_str).collect();
    run(&[&["merge"], args, &files].concat())
}

/// A table without how long it took.
fn timeless(output: &Output) -> String {
    let text = out(output);
    let (head, tail) = text.split_once(" s: ").expect("a summary");
    format!("{}{tail}", head.rsplit_once(" in ").expect("a time").0)
}

#[test]
fn shards_merge_into_what_one_run_finds() {
    let folder = Folder::new("shards");
    let all: &[&str] = &["--schedules", "30", "--seed", "3"];
    let one: &[&str] = &[CASE, "--mapping", PANICS, "--schedules", "500"];
    let some: &[&str] = &[CASE, OTHER, "--cpus", "1", "--exhaustive", "--schedules", "5", "--seconds", "60"];
    // More shards than cells, and fewer; cells that differ from what is expected, and none.
    for (args, of) in [(all, 3), (one, 2), (some, 7)] {
        let mut files = shards(&folder, of, args);
        files.reverse();
        let whole = run(&[&["compare", "--format", "json"], args].concat());
        let merged = merge(&files, &["--format", "json"]);
        assert_eq!((out(&merged), code(&merged)), (out(&whole), code(&whole)), "{args:?}");
        let (whole, merged) = (run(&[&["compare"], args].concat()), merge(&files, &[]));
        assert_eq!((timeless(&merged), code(&merged)), (timeless(&whole), code(&whole)), "{args:?}");
    }
}

#[test]
fn merged_shards_leave_the_files_that_one_run_leaves() {
    let folder = Folder::new("merged-files");
    let args: &[&str] = &[CASE, "--schedules", "300"];
    let files = shards(&folder, 2, args);
    let (whole, merged) = (folder.0.join("whole"), folder.0.join("merged"));
    let text = |dir: &Path| dir.to_str().expect("a name").to_owned();
    let (to_whole, to_merged) = (text(&whole), text(&merged));
    run(&[&["compare", "--save", &to_whole, "--report", &to_whole], args].concat());
    merge(&files, &["--save", &to_merged, "--report", &to_merged]);
    let names = |dir: &Path| {
        let entries = std::fs::read_dir(dir).expect("a directory").map(|entry| entry.expect("an entry").file_name());
        entries.collect::<BTreeSet<_>>()
    };
    assert_eq!(names(&merged), names(&whole));
    let schedules: Vec<_> =
        names(&whole).into_iter().filter(|name| name.to_string_lossy().ends_with(".sched")).collect();
    assert!(schedules.len() >= 3, "{schedules:?}");
    for name in schedules {
        let read = |dir: &Path| std::fs::read_to_string(dir.join(&name)).expect("a schedule");
        assert_eq!(read(&merged), read(&whole));
    }
}

#[test]
fn shards_that_do_not_fit_together_are_refused() {
    let folder = Folder::new("misfits");
    let args: &[&str] = &[CASE, "--schedules", "10"];
    let files = shards(&folder, 3, args);
    let [one, two, three] = &files[..] else { panic!("three files") };
    let text = std::fs::read_to_string(two).expect("a part");
    let file = |name: &str, text: String| folder.file(name, text);
    let other_seed = file("seed", text.replacen("\"seed\": 1", "\"seed\": 2", 1));
    let other_n = file("n", text.replacen("\"of\": 3", "\"of\": 4", 1));
    let place = file("place", text.replacen("\"index\": 2", "\"index\": 9", 1));
    let cut = file("cut", text[..text.len() / 2].to_owned());
    let stopped = file("stopped", text.replacen("\"interrupted\": false", "\"interrupted\": true", 1));
    let mut value: Value = serde_json::from_str(&text).expect("JSON");
    let cells = value["cells"].as_array_mut().expect("cells");
    let passes = cells.iter_mut().find(|cell| cell["verdict"] == "pass").expect("one that passes");
    passes["schedules"] = 11.into();
    let doctored = file("doctored", value.to_string());
    value["cells"].as_array_mut().expect("cells").remove(0);
    let fewer = file("fewer", value.to_string());
    value["cells"][0]["verdict"] = "fine".into();
    let fine = file("fine", value.to_string());
    let whole = file("whole", out(&run(&["compare", CASE, "--schedules", "10", "--format", "json"])));
    refused(&["merge", one, three], "of 3 shards these are missing: 2");
    refused(&["merge", one, two, three, two], "are both shard 2 of 3");
    refused(&["merge", one, &other_seed, three], "of different runs: seed is 1 and 2");
    refused(&["merge", one, &other_n, three], "of different runs: 3 shards and 4");
    refused(&["merge", one, &place, three], "count from 1 to 3");
    refused(&["merge", one, &cut, three], "cut: it is not JSON, or not all of it");
    refused(&["merge", one, &stopped, three], "interrupted");
    refused(&["merge", one, &doctored, three], "its shard says what this lkpi would not");
    refused(&["merge", one, &fewer, three], "more cells than its share");
    refused(&["merge", one, &fine, three], "no verdict 'fine'");
    refused(&["merge", &whole], "it is no shard");
    refused(&["merge", &folder.file("none.json", "{}")], "it is no shard");
    refused(&["merge", "no-such-file.json"], "No such file");
    refused(&["merge", "-"], "standard input: it is not JSON");
    refused(&["merge"], "FILE");
    refused(&["merge", "/dev/zero"], "too long for a shard");
    // All shards say alike what no command line could have.
    let impossible = files.iter().enumerate().map(|(at, part)| {
        let text = std::fs::read_to_string(part).expect("a part");
        file(&format!("cpus{at}"), text.replace("\"cpus\": 2", "\"cpus\": 0"))
    });
    let output = merge(&impossible.collect::<Vec<_>>(), &[]);
    assert_eq!(code(&output), 2, "{output:?}");
    assert!(err(&output).contains("--cpus 0 is not in 1 to"), "{}", err(&output));
    for bad in ["0/3", "4/3", "1", "a/b"] {
        refused(&["compare", "--shard", bad], "--shard");
    }
    refused(&["compare", "--engine", "smp", "--shard", "1/2"], "--shard is for --engine explore");
}

#[test]
fn standard_programs_are_counted() {
    let output =
        run(&["explore-bench", "mutex", "--threads", "2", "--rounds", "2", "--exhaustive", "--format", "json"]);
    assert_eq!(code(&output), 0, "{output:?}");
    let found = json(&output);
    let mut keys: Vec<_> = found.as_object().expect("an object").keys().map(String::as_str).collect();
    let mut wanted = vec!["program", "threads", "rounds", "cpus", "ticks", "executions", "given_up", "seconds"];
    wanted.extend(["executions_per_s", "exhausted", "verdict", "granularity", "adaptive"]);
    wanted.extend(["interrupted", "message", "schedule"]);
    wanted.sort_unstable();
    keys.sort_unstable();
    assert_eq!(keys, wanted);
    assert_eq!((&found["executions"], &found["exhausted"], &found["cpus"]), (&6.into(), &true.into(), &2.into()));
    assert_eq!(
        (&found["interrupted"], &found["message"], &found["schedule"]),
        (&false.into(), &"".into(), &Value::Null)
    );
    let text = out(&run(&["explore-bench", "ticket", "--threads", "3", "--rounds", "1", "-n", "50"]));
    assert!(text.starts_with("ticket, 3 threads x 1 on 3 CPUs, 0 ticks, op: pass; 50 executions, "), "{text}");
    refused(&["explore-bench", "mutexes", "--threads", "2", "--rounds", "1"], "mutex");
    refused(&["explore-bench", "mutex", "--threads", "0", "--rounds", "1"], "--threads");
    refused(&["explore-bench", "mutex", "--threads", "2", "--rounds", "501"], "--threads times --rounds is 1002");
    // What fits does so wherever it switches.
    let most = ["explore-bench", "mutex", "--threads", "16", "--rounds", "62", "--granularity", "insn", "-n", "10"];
    assert_eq!(code(&run(&most)), 0);
}

#[test]
fn standard_programs_show_what_they_found() {
    let args = ["explore-bench", "tas", "--threads", "2", "--rounds", "4", "--starvation", "2"];
    let output = run(&[&args[..], &["--format", "json"]].concat());
    assert_eq!(code(&output), 1, "{output:?}");
    let found = json(&output);
    let (message, schedule) = (&found["message"].as_str().expect("text"), &found["schedule"].as_str().expect("events"));
    assert!(found["verdict"] == "starvation" && !message.is_empty() && !schedule.is_empty(), "{found}");
    let text = out(&run(&args));
    assert!(text.ends_with(&format!("\nstarvation: {message}\n  run={schedule}\n")), "{text}");
    let args = ["explore-bench", "mutex", "--threads", "3", "--rounds", "2", "--exhaustive"];
    let text = out(&run(&[&args[..], &["-n", "5"]].concat()));
    assert!(text.contains(" 5 executions, not exhausted, "), "{text}");
}

#[test]
fn standard_programs_say_that_they_were_interrupted() {
    let args = ["explore-bench", "mutex", "--threads", "8", "--rounds", "9", "--exhaustive", "--format", "json"];
    let output = interrupted(&args);
    assert_eq!(code(&output), 130, "{output:?}");
    let found = json(&output);
    assert_eq!((&found["interrupted"], &found["exhausted"]), (&true.into(), &false.into()));
}

#[test]
fn seeds_matter_and_repeat() {
    let with = |seed: &str| cell(&[CASE, "--mapping", PANICS, "--seed", seed]);
    assert_eq!(with("5"), with("5"));
    // What each finds may shrink to the same; when it finds something differs.
    assert!((6..20).any(|seed| with("5")["schedules"] != with(&seed.to_string())["schedules"]));
}

#[test]
fn exhaustive_stops_where_told() {
    // Its smallest budget has some forty classes: three prove nothing.
    let cell = cell(&["rwlock-inside-rcu", "--mapping", "cpu_mutex", "--exhaustive", "--schedules", "3"]);
    assert_eq!((&cell["schedules"], &cell["exhaustive"]), (&3.into(), &false.into()));
    let message = cell["message"].as_str().expect("a text");
    assert!(message.starts_with("not found in 3 classes of schedules, of which there are more ("), "{message}");
}

#[test]
fn exhaustive_proves_what_it_can() {
    let none = ["--ticks", "0", "--interrupts", "0", "--migrations", "0"];
    let cell_of = |more: &[&str]| cell(&[&[CASE, "--mapping", PASSES, "--exhaustive"], more].concat());
    let proved = cell_of(&none);
    assert_eq!((&proved["verdict"], &proved["exhaustive"]), (&"pass".into(), &true.into()));
    let classes = proved["schedules"].as_u64().expect("a number");
    assert_eq!(proved["message"], format!("not found in any of {classes} classes of schedules, all within the budget"));
    // With more it goes on where that ended.
    let message = cell_of(&["--schedules", &(classes + 1).to_string()])["message"].as_str().expect("a text").to_owned();
    let nor = message.strip_prefix("not found in any with ticks ").and_then(|rest| rest.split_once(", nor in "));
    assert!(nor.is_some_and(|(budget, _)| budget.contains("interrupts 0")), "{message}");
}

#[test]
fn smp_loops() {
    let output = run(&["compare", CASE, "--mapping", PASSES, "--engine", "smp", "--format", "json"]);
    assert_eq!(code(&output), 0, "{output:?}");
    let cell = &cells(&output)[0];
    assert_eq!((&cell["engine"], &cell["verdict"]), (&"smp".into(), &"pass".into()));
    assert!(cell["schedules"].as_u64() > Some(1), "{cell}");
    assert_eq!((&cell["schedule"], &cell["budget"]), (&Value::Null, &Value::Null));
    assert_eq!(cell["locks"], Value::Null);
}

#[test]
fn smp_profiles_locks() {
    let args = ["compare", CASE, "--mapping", PASSES, "--engine", "smp", "--profile"];
    let output = run(&args);
    assert_eq!(code(&output), 0, "{output:?}");
    let text = out(&output);
    assert!(text.contains(&format!("locks of {CASE} on {PASSES}, mean and longest times in us:")), "{text}");
    assert!(text.contains(" lnxspin @ compat-tests/src/scenarios/"), "{text}");
    let json = run(&[&args[..], &["--format", "json"]].concat());
    let lock = &cells(&json)[0]["locks"][0];
    assert!(lock["count"].as_u64() > Some(0) && lock["hold_max"].as_u64() > Some(0), "{lock}");
    let output = run(&["compare", CASE, "--profile"]);
    assert_eq!((code(&output), err(&output).contains("--profile is for --engine smp")), (2, true), "{output:?}");
}

#[test]
fn replay_gives_the_same_100_times_of_100() {
    let schedule = schedule();
    let folder = Folder::new("replay");
    let file = folder.file("x.sched", format!("# a comment\n\n{schedule}\n"));
    for from in [schedule.as_str(), file.as_str()] {
        let output = run(&["replay", from, "--times", "100"]);
        assert_eq!(code(&output), 0, "{output:?}");
        let text = out(&output);
        assert!(text.contains(&format!("panic: {MESSAGE}")), "{text}");
        assert!(text.contains("100 of 100 more replays gave the same verdict and message"), "{text}");
    }
    let mut child =
        lkpi().args(["replay", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("lkpi runs");
    child.stdin.take().expect("a pipe").write_all(schedule.as_bytes()).expect("written");
    let piped = child.wait_with_output().expect("it ends");
    assert_eq!(code(&piped), 0);
    // Step by step the same, in another process, at other addresses.
    assert_eq!(out(&piped), out(&run(&["replay", &schedule])));
}

#[test]
fn an_interrupted_replay_says_how_many_ended_alike() {
    let (schedule, times) = (schedule(), u64::MAX.to_string());
    let output = interrupted(&["replay", &schedule, "--times", &times]);
    assert_eq!(code(&output), 130, "{output:?}");
    let last = out(&output).lines().last().expect("a line").to_owned();
    let (same, of) = last.strip_prefix("interrupted: ").and_then(|text| text.split_once(" of ")).expect("two numbers");
    assert!(of.starts_with(&format!("{same} more replays gave the same verdict and message")), "{last}");
}

#[test]
fn an_interrupted_suite_shows_what_was_run() {
    // On smp it takes a minute.
    let output = interrupted(&["test", "misuse", "--engine", "smp", "--format", "json"]);
    assert_eq!(code(&output), 130, "{output:?}");
    let found = json(&output);
    assert!(found["interrupted"] == true && found["cases"].is_array(), "{found}");
}

#[test]
fn replay_shows_steps() {
    let output = run(&["replay", &schedule(), "--format", "json", "--times", "3"]);
    let replay = json(&output);
    assert_eq!((&replay["verdict"], &replay["message"]), (&"panic".into(), &MESSAGE.into()));
    assert_eq!((&replay["scenario"], &replay["mapping"]), (&CASE.into(), &PANICS.into()));
    assert_eq!(replay["again"], serde_json::json!({"same": 3, "of": 3}));
    let steps = replay["steps"].as_array().expect("steps");
    assert!(steps.len() > 3);
    for (at, step) in steps.iter().enumerate() {
        assert_eq!(step["step"], at + 1);
        assert!(step["cpu"].as_u64() < Some(2) && step["thread"].is_string() && step["what"].is_string(), "{step}");
    }
    let changes: Vec<_> = steps.iter().flat_map(|step| step["changes"].as_array().expect("changes")).collect();
    assert!(changes.iter().any(|change| change.as_str().expect("text").contains("critnest=")), "{changes:?}");
    assert!(steps.iter().any(|step| step["at"].as_str().is_some_and(|at| at.contains("driver.rs:"))));
}

/// Also where a primitive is not told its caller: in C, whose signatures are given, and where a guard is dropped.
#[test]
fn replay_names_a_driver_s_source_lines() {
    for (case, file) in [(CASE, ".rs:"), ("dma-resv-fence-callback-c", ".c:")] {
        let schedule = cell(&[case, "--mapping", PANICS])["schedule"].as_str().expect("a schedule").to_owned();
        let replay = json(&run(&["replay", &schedule, "--format", "json"]));
        let steps = replay["steps"].as_array().expect("steps");
        let of = |name: &'static str| steps.iter().filter(move |step| step["thread"] == name);
        let by_itself = ["userret", "interrupt ", "compute"];
        for step in of("ioctl").chain(of("submit")) {
            let what = step["what"].as_str().expect("text");
            let at = step["at"].as_str().unwrap_or_default();
            let driver = at.starts_with("compat-tests/s") && at.contains(file);
            assert!(driver || by_itself.iter().any(|own| what.starts_with(own)), "{step}");
        }
        let at = |what: &str| of("ioctl").find(|step| step["what"] == what).expect(what)["at"].clone();
        // One call of the shim.
        assert_eq!(at("critical_enter"), at("mtx_lock(seqlock#1)"));
    }
}

/// The text is for those who know the kernel: what happened to whom, at the step that did it.
#[test]
fn replay_reads_like_the_kernel() {
    let text = out(&run(&["replay", &schedule()]));
    let lines: Vec<_> = text.lines().collect();
    let line = |parts: &[&str]| {
        let found = lines.iter().position(|line| parts.iter().all(|part| line.contains(part)));
        found.unwrap_or_else(|| panic!("no line with {parts:?}: {text}"))
    };
    let set_up = line(&["thread0", "sets up", "starts submit on cpu0; starts ioctl on cpu0"]);
    let taken = line(&["mtx_lock(lnxspin#0)", "driver.rs:", "lnxspin#0="]);
    let preempted = line(&["interrupt bystander", "preempted by intr: bystander"]);
    let critical = line(&["ioctl", "critical_enter", "critnest=1"]);
    let blocks =
        line(&["ioctl", "mtx_lock(lnxspin#0)", "driver.rs:", "blocks on lnxspin#0", "|CONTESTED", "critnest=2"]);
    assert!(set_up < taken && taken < preempted && critical < blocks, "{text}");
    assert_eq!(lines.last(), Some(&format!("panic: {MESSAGE}").as_str()));
    // What is shrunk has no line too many: a thread that comes back on its CPU, and does nothing else, has none.
    assert!(!text.contains(" resume\n") && lines.iter().filter(|line| line.contains(".rs:")).count() >= 4, "{text}");
    assert!(
        lines.iter().filter(|line| line.trim_start().starts_with(|c: char| c.is_ascii_digit())).count() <= 12,
        "{text}"
    );
    assert!(!text.contains("(null)"), "{text}");
}

#[test]
fn every_schedule_that_is_found_replays() {
    let folder = Folder::new("save");
    let dir = folder.0.to_str().expect("a name");
    let output = run(&["compare", "--format", "json", "--schedules", "300", "--save", dir]);
    let mut failures = 0;
    for cell in cells(&output) {
        let name = |key: &str| cell[key].as_str().expect("a name").to_owned();
        let file = folder.0.join(format!("{}.{}.sched", name("scenario"), name("mapping")));
        assert_eq!(file.exists(), cell["verdict"] != "pass", "{}", file.display());
        if file.exists() {
            failures += 1;
            let replay = run(&["replay", file.to_str().expect("a name"), "--format", "json"]);
            assert_eq!(code(&replay), 0, "{}: {}", file.display(), err(&replay));
            let replay = json(&replay);
            for key in ["verdict", "message", "schedule"] {
                assert_eq!(replay[key], cell[key], "{}", file.display());
            }
        }
    }
    assert!(failures > 0);
}

#[test]
fn a_report_has_the_same_as_json_and_as_a_page() {
    let folder = Folder::new("report");
    let dir = folder.0.join("deep/er");
    let dir = dir.to_str().expect("a name");
    let output =
        run(&["compare", CASE, "-m", &format!("{PANICS},{PASSES}"), "--report", dir, "--format", "json", "-n", "1000"]);
    let read = |name| std::fs::read_to_string(format!("{dir}/{name}")).expect("a report");
    let whole: Value = serde_json::from_str(&read("report.json")).expect("JSON");
    assert_eq!(whole["cells"], json(&output)["cells"]);
    let page = read("report.md");
    let row = format!("| `{CASE}` | panic | pass (1000) |");
    for part in [row.as_str(), MESSAGE, "lkpi replay 'lkpi1;", "seed 1"] {
        assert!(page.contains(part), "{part}: {page}");
    }
}

#[test]
fn schedules_that_do_not_fit_are_refused() {
    let schedule = schedule();
    let (head, last) = schedule.rsplit_once(',').expect("several events");
    refused(&["replay", head], "diverged at step");
    refused(&["replay", head], "the schedule ends, enabled");
    refused(&["replay", &format!("{schedule},{last}")], "diverged at step");
    refused(&["replay", &format!("{schedule},0*1000")], "but it has ended with panic");
    refused(&["replay", &schedule.replace(CASE, OTHER)], "diverged at step");
    refused(&["replay", &schedule.replace(PANICS, PASSES)], "does not fit");
    let other_cpu = schedule.replace(";run=", ";run=1,");
    refused(&["replay", &other_cpu.replace(";cpus=2;", ";cpus=1;")], "CPU that does not exist");
}

#[test]
fn malformed_schedules_are_refused() {
    let good = schedule();
    let run_at = good.find("run=").expect("events");
    for (bad, says) in [
        (";", "it is empty"),
        ("lkpi1;", "not of the form key=value"),
        ("lkpi1;run=", "key 'scenario' is missing"),
        ("lkpi2;scenario=x", "version 'lkpi2'"),
        ("LKPI1;scenario=x", "not with 'lkpi1;'"),
        ("\u{1f980};\u{7}", "not with 'lkpi1;'"),
        (&good[..run_at], "not of the form key=value"),
        (&good[..run_at - 1], "key 'run' is missing"),
        (&format!("{good};"), "follows the events"),
        (&format!("{good};seed=1"), "follows the events"),
        (&format!("{good}x"), "bad event"),
        (&format!("{good},"), "bad event ''"),
        (&format!("{good},0*18446744073709551615"), "bad count"),
        (&format!("{good},256"), "bad event '256'"),
        (&format!("{good},7"), "CPU that does not exist"),
        (&good.replace("cpus=2", "cpus=-2"), "cpus=-2 is not a number"),
        (&good.replace("cpus=2", "cpus=9999"), "not in 1 to"),
        (&good.replace("cpus=2", "cups=2"), "did you mean 'cpus'"),
        (&good.replace("ticks=2", "ticks=2;ticks=2"), "given twice"),
        (&good.replace("witness=1", "witness=2"), "neither 0 nor 1"),
        (&good.replace("preempt=ule", "preempt=fulll"), "did you mean 'full'"),
        (&good.replace(CASE, "dma-resv"), &format!("did you mean '{CASE}'")),
        (&good.replace(PANICS, "linuxkpi2021"), &format!("did you mean '{PANICS}'")),
    ] {
        refused(&["replay", bad], says);
    }
    refused(&["replay", "no-such-file.sched"], "No such file");
    refused(&["replay", ""], "No such file");
    refused(&["replay", "-"], "no schedule");
    refused(&["replay", "/"], "Is a directory");
    refused(&["replay"], "SCHEDULE");
    let folder = Folder::new("malformed");
    refused(&["replay", &folder.file("empty", "")], "no schedule");
    refused(&["replay", &folder.file("binary", [0xff, 0, 0xfe])], "not text");
    refused(&["replay", &folder.file("zeros", [0; 100])], "not text");
    refused(&["replay", &folder.file("two", format!("{good}\n{good}\n"))], "more than one");
    refused(&["replay", &folder.file("long", "x".repeat(1 << 20))], "...");
}

#[test]
fn a_file_may_have_any_name() {
    use std::os::unix::ffi::OsStrExt;
    let folder = Folder::new("names");
    let path = folder.0.join(std::ffi::OsStr::from_bytes(b"not \xff UTF-8; or odd"));
    std::fs::write(&path, schedule()).expect("a file");
    for command in ["replay", "shrink"] {
        let output = lkpi().arg(command).arg(&path).output().expect("lkpi runs");
        assert_eq!(code(&output), 0, "{output:?}");
    }
}

#[test]
fn a_closed_pipe_is_no_crash() {
    for args in [&["compare", "--schedules", "5"][..], &["list"], &["compare", "--help"], &["replay", &schedule()]] {
        let mut child = lkpi().args(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("lkpi runs");
        drop(child.stdout.take());
        let output = child.wait_with_output().expect("it ends");
        assert!(code(&output) <= 1, "{args:?}: {output:?}");
        assert_eq!(err(&output), "", "{args:?}");
    }
}

#[test]
fn files_that_cannot_be_written_do_not_cost_the_result() {
    let folder = Folder::new("unwritable");
    for (option, file) in [("--save", format!("{OTHER}.busted.sched")), ("--report", "report.html".to_owned())] {
        let dir = folder.0.join(option);
        std::fs::create_dir_all(dir.join(&file)).expect("a folder where a file is to be");
        let output = run(&["compare", OTHER, "-m", "busted", option, dir.to_str().expect("a name")]);
        assert_eq!(code(&output), 2, "{output:?}");
        assert!(err(&output).contains(&format!("{file}: Is a directory")), "{}", err(&output));
        assert!(out(&output).contains("1 cell in "), "{option}: {}", out(&output));
        // The files that can be written are.
        assert!(option == "--save" || dir.join("junit.xml").is_file());
    }
}

#[test]
fn interrupted_with_what_was_found_so_far() {
    let cells_of = format!("{PANICS},{PASSES}");
    let child = lkpi()
        .args(["compare", CASE, "--mapping", &cells_of, "--schedules", "1000000000", "--format", "json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("lkpi runs");
    std::thread::sleep(Duration::from_secs(2));
    kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).expect("signalled");
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(code(&output), 130, "{output:?}");
    let cells = cells(&output);
    let verdicts: Vec<_> = cells.iter().map(|cell| cell["verdict"].as_str().expect("a name")).collect();
    assert_eq!(verdicts, ["panic", "pass"]);
    assert!(cells[1]["schedules"].as_u64() > Some(10), "{}", cells[1]);
}

/// What a random walk finds, longer than need be, of a failure that takes several switches and interrupts.
fn long_schedule() -> String {
    let (scenario, mapping, config) = ("abba", "cpu_mutex", Config::default());
    let (_, cell) = registry::cell(scenario, mapping).expect("a cell");
    let (machine, units) = (Machine::new(config.clone(), Engine::Explore), (cell.units)());
    let mut random = Random::new(1);
    let mut executions = (0..10_000).map(|index| {
        let options = explore::Options { index, units: &units, ..explore::Options::default() };
        explore::run(&machine, &mut random, options, &|| (cell.run)())
    });
    let events = executions.find(|execution| execution.verdict != Verdict::Pass).expect("it fails").events;
    Printable { scenario: scenario.to_owned(), mapping: mapping.to_owned(), config, events }.to_string()
}

#[test]
fn shrinking_gives_a_file_that_replays_alike() {
    let folder = Folder::new("shrink");
    let file = folder.file("long.sched", long_schedule());
    let output = run(&["shrink", &file, "--replays", "3000"]);
    assert_eq!(code(&output), 0, "{output:?}");
    let text = out(&output);
    assert!(text.starts_with("# deadlock: ") && text.contains("\n# shrunk from "), "{text}");
    let again = |file: &str| json(&run(&["replay", file, "--format", "json"]));
    let (before, after) = (again(&file), again(&folder.file("short.sched", &text)));
    assert_eq!((&before["verdict"], &before["message"]), (&after["verdict"], &after["message"]));
    // The same every time.
    assert_eq!(text, out(&run(&["shrink", &file, "--replays", "3000"])));
    refused(&["shrink", &schedule().replace(PANICS, PASSES)], "does not fit");
    refused(&["shrink", &folder.file("empty.sched", "")], "no schedule");
    refused(&["shrink", &file, "--replays", "0"], "--replays");
}

#[test]
fn interrupted_while_shrinking_it_prints_the_shortest_so_far() {
    // A preemption at the right place and another thread's turn, on four CPUs: to try all schedules with two deviations takes 800,000 replays.
    let cell = cell(&["dma-resv-fence-callback", "--mapping", "trylock_spin", "--cpus", "4"]);
    let child = lkpi()
        .args(["shrink", cell["schedule"].as_str().expect("a schedule"), "--replays", "1000000000000"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("lkpi runs");
    std::thread::sleep(Duration::from_secs(2));
    kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).expect("signalled");
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(code(&output), 130, "{output:?}");
    let folder = Folder::new("interrupted");
    let short = folder.file("short.sched", out(&output));
    assert_eq!(json(&run(&["replay", &short, "--format", "json"]))["verdict"], "livelock");
}

#[test]
fn interrupted_it_still_writes_the_report() {
    let folder = Folder::new("interrupted-report");
    let dir = folder.0.to_str().expect("a name");
    let cells_of = format!("{PANICS},{PASSES}");
    let child = lkpi()
        .args(["compare", CASE, "--mapping", &cells_of, "--schedules", "1000000000", "--report", dir])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("lkpi runs");
    std::thread::sleep(Duration::from_secs(2));
    kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).expect("signalled");
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(code(&output), 130, "{output:?}");
    let read = |name: &str| std::fs::read_to_string(folder.0.join(name)).expect("a report");
    let whole: Value = serde_json::from_str(&read("report.json")).expect("JSON");
    assert_eq!(whole["explored"]["interrupted"], true);
    assert_eq!(whole["failures"].as_array().map(Vec::len), Some(1));
    let page = read("report.html");
    assert!(page.contains("Interrupted: ") && page.contains(MESSAGE) && page.contains("</html>"));
}

#[test]
fn misuse_is_tested_row_by_row() {
    let output = run(&["test", "misuse", "--format", "json", "1", "5", "24-25"]);
    assert_eq!(code(&output), 0, "{output:?}");
    let cases = json(&output)["cases"].as_array().expect("cases").clone();
    let of = |row: u64| cases.iter().filter(move |case| case["row"] == row);
    assert!([1, 5, 24, 25].into_iter().all(|row| of(row).count() > 0) && of(23).count() == 0);
    let case = of(24).find(|case| case["switches"] == "INVARIANTS").expect("a case");
    assert_eq!(case["result"], "pass");
    assert!(case["message"].as_str().expect("a message").contains("mutex m not owned at "), "{case}");
    assert!(of(5).all(|case| case["result"] == "n/a" && case["reason"].is_string()));
    let text = out(&run(&["test", "misuse", "24"]));
    assert!(text.contains("mtx_unlock of a free mutex, not enrolled"), "{text}");
    assert!(text.ends_with(" pass, 0 fail, 0 n/a\n"), "{text}");
}

#[test]
fn locking_9_is_tested_cell_by_cell() {
    let output = run(&["test", "locking", "--format", "json", "mutex"]);
    assert_eq!(code(&output), 0, "{output:?}");
    let cases = json(&output)["cases"].as_array().expect("cases").clone();
    assert!(cases.iter().all(|case| case["row"] == "mutex" && case["result"] == "pass"), "{cases:?}");
}

#[test]
fn unknown_rows_and_suites_are_refused() {
    for row in ["0", "126", "0-3", "120-126", "3-2", "99999999999999999999"] {
        refused(&["test", "misuse", row], &format!("no row '{row}'; rows are 1 to 125"));
    }
    refused(&["test", "locking", "mutexes"], "did you mean 'mutex'?");
    refused(&["test", "nothing"], "unrecognized subcommand");
    refused(&["test"], "Usage");
}

#[test]
fn random_programs_are_judged() {
    let output = run(&["fuzz", "--programs", "500", "--seed", "9"]);
    assert_eq!(code(&output), 0);
    assert!(out(&output).contains("500 programs of seed 9") && out(&output).contains("kernel and model agree"));
    let json = json(&run(&["fuzz", "-n", "500", "--seed", "9", "--format", "json", "--workers", "1"]));
    assert_eq!((json["programs"].as_u64(), json["seed"].as_u64()), (Some(500), Some(9)));
    assert!(json["disagreement"].is_null() && json["executions"].as_u64() > Some(1500), "{json}");
    refused(&["fuzz", "--programs", "0"], "0");
}

#[test]
fn programs_without_number_are_judged_until_they_are_interrupted() {
    let output = interrupted(&["fuzz", "-n", "18446744073709551615", "--format", "json"]);
    assert_eq!(code(&output), 130, "{output:?}");
    let found = json(&output);
    assert!(found["programs"].is_u64() && found["disagreement"].is_null(), "{found}");
}
