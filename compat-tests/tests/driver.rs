//! `lkpi run`: drivers of the user's, compiled and loaded by the real `lkpi`.

use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

/// The example that the READMEs run, its panic, a mapping on which it panics and one on which it passes.
const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/driver.c");
const MESSAGE: &str = "mi_switch: switch in a critical section";
const PANICS: &str = "linuxkpi_2021";
const PASSES: &str = "cpu_mutex";

/// A folder with the example as `driver.c`, and more files.
fn folder(files: &[(&str, &str)]) -> TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    fs::copy(EXAMPLE, dir.path().join("driver.c")).expect("the example");
    for (name, text) in files {
        fs::write(dir.path().join(name), text).expect("a file");
    }
    dir
}

fn lkpi(dir: &TempDir, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lkpi"));
    command.args(args).current_dir(dir.path()).stdin(Stdio::null()).output().expect("lkpi runs")
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

fn cells(output: &Output) -> Vec<Value> {
    let json: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    json["cells"].as_array().expect("cells").clone()
}

/// It fails with status 2, says nothing on standard output, and these things on standard error.
#[track_caller]
fn refused(dir: &TempDir, args: &[&str], says: &[&str]) {
    let output = lkpi(dir, args);
    assert_eq!((code(&output), out(&output).as_str()), (2, ""), "{args:?}: {output:?}");
    for text in says {
        assert!(err(&output).contains(text), "{args:?}: {} does not say {text}", err(&output));
    }
    assert!(!err(&output).contains("panicked"), "{}", err(&output));
}

/// The example with another last check.
fn ending(check: &str) -> String {
    let text = fs::read_to_string(EXAMPLE).expect("the example");
    let end = text.rfind("LKPI_CHECK(").expect("a check");
    format!("{}{check}\n}}\n", &text[..end])
}

#[test]
fn the_example_runs_on_every_mapping() {
    let dir = folder(&[]);
    let output = lkpi(&dir, &["run", "driver.c", "--format", "json", "-n", "2000"]);
    assert_eq!((code(&output), err(&output).as_str()), (1, ""), "{output:?}");
    let cells = cells(&output);
    assert!(cells.len() >= 10 && cells.iter().all(|cell| cell["scenario"] == "nic" && cell["expected"].is_null()));
    let verdict = |mapping: &str| {
        let cell = cells.iter().find(|cell| cell["mapping"] == mapping).unwrap_or_else(|| panic!("{mapping}"));
        (cell["verdict"].as_str().expect("a verdict"), cell["message"].as_str().expect("a message"))
    };
    assert_eq!(verdict(PANICS), ("panic", MESSAGE));
    assert_eq!(verdict(PASSES).0, "pass");
    assert_eq!(verdict("busted").0, "corruption");

    // What passes everywhere is a success. On smp, too.
    for args in [&["-n", "100"][..], &["--engine", "smp"]] {
        let output = lkpi(&dir, &[&["run", "driver.c", "--mapping", PASSES], args].concat());
        assert_eq!(code(&output), 0, "{output:?}");
        assert!(out(&output).contains("1 pass, 0 fail\n"), "{}", out(&output));
    }
}

#[test]
fn its_schedules_are_replayed_shrunk_and_reported() {
    let dir = folder(&[]);
    let output = lkpi(&dir, &["run", "driver.c", "-m", PANICS, "--save", "found", "--report", "report"]);
    assert_eq!(code(&output), 1, "{output:?}");
    assert!(out(&output).contains("lkpi replay found/nic.linuxkpi_2021.sched --with driver.c\n"), "{}", out(&output));
    let junit = fs::read_to_string(dir.path().join("report/junit.xml")).expect("a report");
    assert!(junit.contains("failures=\"1\"") && junit.contains(MESSAGE), "{junit}");
    assert!(fs::read_to_string(dir.path().join("report/report.html")).expect("a report").contains("driver.c:"));

    let file = "found/nic.linuxkpi_2021.sched";
    let replayed = lkpi(&dir, &["replay", file, "--with", "driver.c", "--times", "20"]);
    assert_eq!(code(&replayed), 0, "{replayed:?}");
    // Both the lock that told its place and the plain access that did not.
    let text = fs::read_to_string(EXAMPLE).expect("the example");
    let line = |of: &str| text.lines().position(|line| line.contains(of)).expect("a line") + 1;
    for part in [MESSAGE, "intr: nic", "20 of 20", &format!("driver.c:{}", line("write_seqlock(&sc->stats)"))] {
        assert!(out(&replayed).contains(part), "{} does not say {part}", out(&replayed));
    }
    let shrunk = lkpi(&dir, &["shrink", file, "--with", "driver.c"]);
    assert!(code(&shrunk) == 0 && out(&shrunk).contains("lkpi1;scenario=nic;"), "{shrunk:?}");
    refused(&dir, &["replay", file], &["no scenario 'nic'", "--with FILE.c"]);
}

#[test]
fn files_are_one_driver() {
    let main = "#include <linux/spinlock.h>\n#include <linuxkpi/scenario.h>\n#include \"ring.h\"\n#include <ring2.h>\n\
                static int count;\n\
                LKPI_SCENARIO(one_two) { count = ring_next(count) + 0 * RING2; LKPI_CHECK(count == 1); }\n\
                LKPI_SCENARIO(other) { LKPI_CHECK(count == 0); }\n";
    let dir = folder(&[
        ("main.c", main),
        ("ring.h", "int ring_next(int);\n"),
        (
            "ring.c",
            "#include \"ring.h\"\nint ring_count = 7;\nint ring_next(int n) { ring_count++; return (n + ring_count - 7); }\n",
        ),
    ]);
    fs::create_dir(dir.path().join("more")).expect("a folder");
    fs::write(dir.path().join("more/ring2.h"), "#define RING2 2\n").expect("a file");
    // Each execution finds static memory as it was.
    let args = ["run", "main.c", "ring.c", "-I", "more", "-m", PASSES, "-n", "50", "--format", "json"];
    let output = lkpi(&dir, &args);
    assert_eq!(code(&output), 0, "{output:?}");
    let names: Vec<_> =
        cells(&output).iter().map(|cell| cell["scenario"].as_str().expect("a name").to_owned()).collect();
    assert_eq!(names, ["one-two", "other"]);
    let output = lkpi(&dir, &[&args[..], &["--scenario", "other"]].concat());
    assert_eq!(cells(&output).len(), 1);
    refused(&dir, &[&args[..], &["--scenario", "one"]].concat(), &["no scenario 'one'; did you mean 'one-two'?"]);
    refused(&dir, &["run", "main.c", "-I", "more"], &["neither the files nor the kernel have\n  ring_next"]);
}

#[test]
fn what_cannot_be_run_is_said() {
    let duplicate =
        fs::read_to_string(EXAMPLE).expect("the example").replace("LKPI_SCENARIO(nic)", "LKPI_SCENARIO(abba)");
    let constructor = ending("") + "__attribute__((constructor)) static void early(void) { nic_queue(&nic); }\n";
    let exits = ending("int puts(const char *); void exit(int); puts(\"bye\"); exit(0);");
    let misspelt = ending("spin_lock_irqsav(&nic.lock);");
    let dir = folder(&[
        ("syntax.c", "int f(\n"),
        ("empty.c", "int f(void);\n"),
        ("abba.c", &duplicate),
        ("misspelt.c", &misspelt),
        ("exits.c", &exits),
        ("constructor.c", &constructor),
        ("garbage.o", "\x7fELF\x02\x01 and no more"),
        ("driver.cc", ""),
    ]);
    refused(&dir, &["run"], &["FILE.c"]);
    refused(&dir, &["run", "absent.c"], &["absent.c: no such file"]);
    refused(&dir, &["run", "driver.cc"], &["driver.cc: a C file's name ends with .c"]);
    refused(&dir, &["run", "."], &["a C file's name"]);
    refused(&dir, &["run", "syntax.c"], &["syntax.c:1:", "error: "]);
    refused(&dir, &["run", "empty.c"], &["no scenario", "LKPI_SCENARIO(name)"]);
    refused(&dir, &["run", "constructor.c"], &["constructor.c: a kernel calls no constructors"]);
    refused(&dir, &["run", "abba.c"], &["there is a scenario 'abba' already"]);
    refused(&dir, &["run", "misspelt.c"], &["have\n  spin_lock_irqsav", "warning: implicit declaration"]);
    refused(&dir, &["run", "exits.c"], &["have\n  exit\n  puts"]);
    refused(&dir, &["run", "garbage.o", "-m", PASSES], &["garbage.o: not a relocatable ELF object"]);
    refused(&dir, &["run", "driver.c", "-m", "cpumutex"], &["did you mean 'cpu_mutex'?"]);
    refused(&dir, &["replay", "lkpi1;scenario=nic;run=", "--with", "driver.c"], &["of no mapping"]);
    assert_eq!(fs::read_dir(dir.path()).expect("the folder").count(), 9, "it leaves nothing behind");
}

#[test]
fn a_driver_that_misbehaves_is_a_verdict() {
    let dir = folder(&[
        ("null.c", &ending("LKPI_CHECK(*(volatile int *)8 == 0);")),
        ("loop.c", &ending("for (;;)\n\t\t;")),
        ("jump.c", &ending("((void (*)(void))16)();")),
    ]);
    for (file, message) in [
        ("null.c", "fault in driver code (SIGSEGV, address 0x8) at null.c:"),
        ("loop.c", "endless loop in driver code"),
        ("jump.c", "fault"),
    ] {
        let output = lkpi(&dir, &["run", file, "-m", PASSES, "--format", "json"]);
        assert_eq!(code(&output), 1, "{output:?}");
        let cell = &cells(&output)[0];
        assert_eq!(cell["verdict"], "error", "{cell}");
        assert!(cell["message"].as_str().expect("text").contains(message), "{cell}");
    }
}

/// The flags of the README, with which users compile objects.
fn flags() -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = fs::read_to_string(root.join("README.md")).expect("the README");
    let text = readme.split_once("LKPI_FLAGS=\"").expect("the flags").1.split_once('"').expect("their end").0;
    let flags =
        text.replace('\\', " ").replace("linuxkpi/include", &root.join("../linuxkpi/include").to_string_lossy());
    flags.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn objects_are_linked_too() {
    let dir = folder(&[("common.c", "int shared[4];\nint get(void) { return (shared[1]); }\n")]);
    let compile = |to: &str, of: &str, flags: &[String]| {
        let mut cc = Command::new(std::env::var_os("CC").unwrap_or_else(|| "cc".into()));
        cc.args(flags).args(["-o", to, of]).current_dir(dir.path());
        let output = cc.output().expect("a compiler");
        assert!(output.status.success(), "{output:?}");
    };
    let mapping = format!("-DLKPI_MAPPING={PANICS}");
    let flags: Vec<String> = flags().into_iter().chain([mapping]).collect();
    let without = |flag: &str| flags.iter().filter(|own| *own != flag).cloned().collect::<Vec<_>>();
    compile("driver.o", "driver.c", &flags);
    let output = lkpi(&dir, &["run", "driver.o", "-m", PANICS, "--format", "json"]);
    assert_eq!(cells(&output)[0]["message"], MESSAGE, "{output:?}");
    refused(&dir, &["run", "driver.o"], &["driver.o: an object is compiled for one mapping"]);
    refused(
        &dir,
        &["run", "driver.o", "-m", PASSES],
        &["driver.o: it was compiled for linuxkpi_2021, not for cpu_mutex"],
    );
    compile("blind.o", "driver.c", &without("-fsanitize=thread"));
    refused(&dir, &["run", "blind.o", "-m", PANICS], &["blind.o: ", "-fsanitize=thread"]);
    compile("common.o", "common.c", &[without("-fno-common"), vec!["-fcommon".to_owned()]].concat());
    refused(&dir, &["run", "driver.o", "common.o", "-m", PANICS], &["'shared' would not be restored", "-fno-common"]);
}
