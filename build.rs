//! Builds the C suites: each file of `compat-tests/suites/c`, once per mapping, against our headers only.
//!
//! Used by compat-tests (`build = "../build.rs"`; a build script at the root of a virtual workspace would be ignored).
//!
//! How, says `compat-tests/src/c_compile.rs`, which `lkpi run` uses too. Here a program holds each unit once per mapping:
//!
//! * Its writable sections become one section `lkpi_data_<unit>_<mapping>`, its SYSINITs become `lkpi_sysinit_<unit>_<mapping>`.
//! * Each `lkpi_scenario_<name>` becomes `lkpi_<mapping>_scenario_<name>`; its other global symbols become local.
//!
//! `CC`, `AR` and `OBJCOPY` choose other tools; `LKPI_CFLAGS` is appended to the compiler's flags.
//!
//! What was built is listed in `$OUT_DIR/c_units.rs`, for `compat-tests/src/c_units.rs`.

#[path = "compat-tests/src/c_compile.rs"]
mod c_compile;

use c_compile::{Elf, compile, finish, gather, start};
use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, process};

const SUITES: &str = "compat-tests/suites/c";
const INCLUDE: &str = "linuxkpi/include";
const MAPPINGS: &str = "linuxkpi/src/mapping";

fn main() {
    if let Err(text) = build() {
        eprintln!("error: {text}");
        process::exit(1);
    }
}

fn build() -> Result<(), String> {
    let root = PathBuf::from(variable("CARGO_MANIFEST_DIR")?).join("..");
    let out = PathBuf::from(variable("OUT_DIR")?);
    println!("cargo:rerun-if-changed=../build.rs");
    println!("cargo:rerun-if-changed=src/c_compile.rs");
    // As cc wants to know them when lkpi runs.
    println!("cargo:rustc-env=LKPI_TARGET={}", variable("TARGET")?);
    for path in [SUITES, INCLUDE, MAPPINGS] {
        println!("cargo:rerun-if-changed={}", root.join(path).display());
    }
    for name in ["CC", "AR", "OBJCOPY", "LKPI_CFLAGS"] {
        println!("cargo:rerun-if-env-changed={name}");
    }
    let mappings: Vec<_> = stems(&root.join(MAPPINGS), "rs")?.into_iter().filter(|name| name != "mod").collect();
    let units = stems(&root.join(SUITES), "c")?;
    let compiler = c_compile::compiler(&mut cc::Build::new())?;
    let jobs = env::var("NUM_JOBS").ok().and_then(|jobs| jobs.parse().ok()).unwrap_or(2).max(1);

    let cells: Vec<(&str, &str)> =
        units.iter().flat_map(|unit| mappings.iter().map(move |mapping| (unit.as_str(), mapping.as_str()))).collect();
    let mut running = Vec::new();
    // Most warnings come from each mapping alike.
    let mut warnings = Vec::new();
    for &(unit, mapping) in &cells {
        if running.len() >= jobs {
            warnings.push(finish(running.remove(0))?);
        }
        let folders = [SUITES, INCLUDE].map(Path::new);
        let mut command = compile(&compiler, mapping, &folders, &source(unit), &object(&out, unit, mapping, "plain.o"));
        command.current_dir(&root);
        running.push(start(command)?);
    }
    for child in running {
        warnings.push(finish(child)?);
    }
    warnings.sort();
    warnings.dedup();
    for line in warnings.iter().flat_map(|text| text.lines()) {
        println!("cargo:warning={line}");
    }

    let mut list = String::from("vec![\n");
    let mut objects = Vec::new();
    let mut running = Vec::new();
    let mut owners = HashMap::new();
    for &(unit, mapping) in &cells {
        let plain = object(&out, unit, mapping, "plain.o");
        let last = object(&out, unit, mapping, "o");
        let elf = Elf::read(&plain, &source(unit))?;
        // A copied file whose scenario kept its name: the linker would not say so.
        for name in &elf.scenarios {
            if let Some(other) = owners.insert((mapping, name.clone()), unit) {
                return Err(format!("{SUITES}: {other}.c and {unit}.c both define the scenario {name}"));
            }
        }
        if running.len() >= jobs {
            finish(running.remove(0))?;
        }
        running.push(start(rename(&elf, unit, mapping, &plain, &last))?);
        describe(&elf, unit, mapping, &mut list);
        objects.push(last);
    }
    for child in running {
        finish(child)?;
    }
    list.push_str("]\n");
    fs::write(out.join("c_units.rs"), list).map_err(|e| format!("c_units.rs: {e}"))?;
    archive(&out, &objects)
}

fn variable(name: &str) -> Result<String, String> {
    env::var(name).map_err(|_| format!("{name} is not set: this is cargo's build script"))
}

/// Names, without `.ext`, of the files in `folder`, sorted.
fn stems(folder: &Path, ext: &str) -> Result<Vec<String>, String> {
    let entries = fs::read_dir(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let mut names: Vec<_> = entries
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            (path.extension()? == ext).then(|| path.file_stem()?.to_str().map(str::to_owned))?
        })
        .collect();
    names.sort();
    Ok(names)
}

fn source(unit: &str) -> PathBuf {
    PathBuf::from(format!("{SUITES}/{unit}.c"))
}

fn object(out: &Path, unit: &str, mapping: &str, ext: &str) -> PathBuf {
    out.join(format!("{unit}-{mapping}.{ext}"))
}

fn rename(elf: &Elf, unit: &str, mapping: &str, from: &Path, to: &Path) -> Command {
    let mut command = gather(elf, &format!("lkpi_data_{unit}_{mapping}"), &format!("lkpi_sysinit_{unit}_{mapping}"));
    for name in &elf.globals {
        command.arg(format!("--localize-symbol={name}"));
    }
    for name in &elf.scenarios {
        command.arg(format!("--redefine-sym=lkpi_scenario_{name}=lkpi_{mapping}_scenario_{name}"));
    }
    command.arg(from).arg(to);
    command
}

fn archive(out: &Path, objects: &[PathBuf]) -> Result<(), String> {
    let library = out.join("liblkpi_suites.a");
    // ar adds to what is there.
    match fs::remove_file(&library) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(format!("{}: {e}", library.display())),
        _ => {}
    }
    if objects.is_empty() {
        return Ok(());
    }
    let mut command = cc::Build::new().cargo_metadata(false).try_get_archiver().map_err(|e| format!("no ar: {e}"))?;
    command.arg("crs").arg(&library).args(objects);
    finish(start(command)?)?;
    println!("cargo:rustc-link-search=native={}", out.display());
    println!("cargo:rustc-link-lib=static=lkpi_suites");
    // Only their bounds refer to linker sets; lld would drop them.
    println!("cargo:rustc-link-arg=-Wl,-z,nostart-stop-gc");
    // What `lkpi run` loads finds the kernel's symbols in lkpi.
    println!("cargo:rustc-link-arg-bins=-Wl,--export-dynamic");
    Ok(())
}

/// Writes the unit's scenarios as elements of a Rust array.
fn describe(elf: &Elf, unit: &str, mapping: &str, list: &mut String) {
    for scenario in &elf.scenarios {
        let bounds = |set: &str, exists: bool| {
            if exists {
                format!("bounds!(\"{set}_{unit}_{mapping}\")")
            } else {
                "(core::ptr::null(), core::ptr::null())".to_owned()
            }
        };
        let _ = writeln!(
            list,
            "c_unit!(\"{}\", \"{mapping}\", \"{unit}\", \"lkpi_{mapping}_scenario_{scenario}\", {}, {}),",
            scenario.replace('_', "-"),
            bounds("lkpi_data", !elf.data.is_empty()),
            bounds("lkpi_sysinit", elf.sysinits),
        );
    }
}
