//! Builds the C suites: each file of `compat-tests/suites/c`, once per mapping, against our headers only.
//!
//! Used by compat-tests (`build = "../build.rs"`; a build script at the root of a virtual workspace would be ignored).
//!
//! * A unit is compiled freestanding, as ported code is, with `-fsanitize=thread` for the hooks of `freebsd_sys::host::tsan`.
//! * Its writable sections become one section `lkpi_data_<unit>_<mapping>`, and its linker set of SYSINITs becomes
//!   `lkpi_sysinit_<unit>_<mapping>`: names of C identifiers, so the linker delimits them with `__start_` and `__stop_`.
//! * Each `lkpi_scenario_<name>` becomes `lkpi_<mapping>_scenario_<name>`; its other global symbols become local.
//!
//! `CC`, `AR` and `OBJCOPY` choose other tools; `LKPI_CFLAGS` is appended to the compiler's flags.
//!
//! What was built is listed in `$OUT_DIR/c_units.rs`, for `compat-tests/src/c_units.rs`.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
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
    for path in [SUITES, INCLUDE, MAPPINGS] {
        println!("cargo:rerun-if-changed={}", root.join(path).display());
    }
    for name in ["CC", "AR", "OBJCOPY", "LKPI_CFLAGS"] {
        println!("cargo:rerun-if-env-changed={name}");
    }
    let mappings: Vec<_> = stems(&root.join(MAPPINGS), "rs")?.into_iter().filter(|name| name != "mod").collect();
    let units = stems(&root.join(SUITES), "c")?;
    let compiler = compiler()?;
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
        let mut command = compile(&compiler, unit, mapping, &object(&out, unit, mapping, "plain.o"));
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

    let objcopy = env::var_os("OBJCOPY").unwrap_or_else(|| "objcopy".into());
    let mut list = String::from("vec![\n");
    let mut objects = Vec::new();
    let mut running = Vec::new();
    let mut owners = HashMap::new();
    for &(unit, mapping) in &cells {
        let plain = object(&out, unit, mapping, "plain.o");
        let last = object(&out, unit, mapping, "o");
        let elf = Elf::read(&plain)?;
        // A copied file whose scenario kept its name: the linker would not say so.
        for name in &elf.scenarios {
            if let Some(other) = owners.insert((mapping, name.clone()), unit) {
                return Err(format!("{SUITES}: {other}.c and {unit}.c both define the scenario {name}"));
            }
        }
        if running.len() >= jobs {
            finish(running.remove(0))?;
        }
        running.push(start(rename(&objcopy, &elf, unit, mapping, &plain, &last))?);
        elf.describe(unit, mapping, &mut list);
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

fn object(out: &Path, unit: &str, mapping: &str, ext: &str) -> PathBuf {
    out.join(format!("{unit}-{mapping}.{ext}"))
}

/// The C compiler; `CC` and its kin choose another.
fn compiler() -> Result<cc::Tool, String> {
    let why = |e: &dyn std::fmt::Display| {
        format!("the suites in {SUITES} need a C compiler, gcc or clang (set CC to choose one): {e}")
    };
    let tool = cc::Build::new().no_default_flags(true).cargo_metadata(false).try_get_compiler().map_err(|e| why(&e))?;
    if tool.is_like_msvc() {
        return Err(why(&"this one speaks neither's language"));
    }
    Command::new(tool.path()).arg("--version").output().map_err(|e| why(&format!("{}: {e}", tool.path().display())))?;
    Ok(tool)
}

fn compile(compiler: &cc::Tool, unit: &str, mapping: &str, to: &Path) -> Command {
    let mut command = compiler.to_command();
    command.args(["-c", "-std=gnu11", "-O1", "-g1", "-fPIC", "-fno-omit-frame-pointer"]);
    // As a kernel is built; -fexceptions so that an ended machine can unwind its threads.
    command.args(["-nostdinc", "-ffreestanding", "-fno-strict-aliasing", "-fno-common", "-fexceptions"]);
    command.args(["-Wall", "-Wextra", "-Wno-unused-parameter"]);
    // A frame larger than the guard page must not jump over it.
    command.arg("-fstack-clash-protection");
    command.arg("-fsanitize=thread");
    if compiler.is_like_clang() {
        command.args(["-mllvm", "-tsan-instrument-func-entry-exit=0", "-mllvm", "-tsan-distinguish-volatile=1"]);
    } else {
        command.args(["--param", "tsan-instrument-func-entry-exit=0", "--param", "tsan-distinguish-volatile=1"]);
        // Our hooks know fences, whatever gcc says of its own.
        command.arg("-Wno-tsan");
    }
    // What a FreeBSD compiler defines, and does not.
    command.args(["-D__FreeBSD__=15", "-U__linux__", "-U__linux", "-Ulinux", "-U__gnu_linux__"]);
    command.arg(format!("-DLKPI_MAPPING={mapping}"));
    // The porter's folders come first: drm-kmod's headers use include_next to get at ours.
    command.args(["-I", SUITES, "-I", INCLUDE]);
    if let Ok(flags) = env::var("LKPI_CFLAGS") {
        command.args(flags.split_whitespace());
    }
    command.arg(format!("{SUITES}/{unit}.c")).arg("-o").arg(to);
    command
}

fn rename(objcopy: &OsString, elf: &Elf, unit: &str, mapping: &str, from: &Path, to: &Path) -> Command {
    let mut command = Command::new(objcopy);
    for section in &elf.data {
        // "contents": memory that starts as zeros is saved and restored like all other.
        command.arg(format!("--set-section-flags={section}=alloc,load,data,contents"));
        command.arg(format!("--rename-section={section}=lkpi_data_{unit}_{mapping},alloc,load,data,contents"));
    }
    if elf.sysinits {
        command.arg(format!("--rename-section=lkpi_sysinit=lkpi_sysinit_{unit}_{mapping}"));
    }
    for name in &elf.locals {
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
    Ok(())
}

/// Starts a tool.
fn start(mut command: Command) -> Result<(String, Child), String> {
    let text = format!("{command:?}");
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let child = child.map_err(|e| {
        format!("cannot run {}: {e} (the C suites need a C compiler and binutils)", command.get_program().display())
    })?;
    Ok((text, child))
}

/// Waits for it; what it says.
fn finish((text, child): (String, Child)) -> Result<String, String> {
    let output = child.wait_with_output().map_err(|e| format!("{text}: {e}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(format!("{} failed:\n{text}\n{said}", SUITES));
    }
    Ok(said.into_owned())
}

/// What we need to know of a relocatable ELF file of 64 bits.
#[derive(Default)]
struct Elf {
    /// Writable sections.
    data: Vec<String>,
    /// Whether there is a linker set of SYSINITs.
    sysinits: bool,
    /// Scenarios' names.
    scenarios: Vec<String>,
    /// Other global symbols that it defines.
    locals: Vec<String>,
}

impl Elf {
    fn read(path: &Path) -> Result<Self, String> {
        let bytes = fs::read(path).map_err(|e| format!("{}: {e}", path.display()))?;
        Self::parse(&bytes).ok_or_else(|| format!("{}: not an ELF object of 64 bits", path.display()))
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        const WRITE_ALLOC: u64 = 3;
        const GROUP: u64 = 0x200;
        const TLS: u64 = 0x400;
        const SYMTAB: u64 = 2;
        let number = |at: usize, size: usize| -> Option<u64> {
            let bytes = bytes.get(at..at.checked_add(size)?)?;
            Some(bytes.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte)))
        };
        let text = |at: usize| -> Option<String> {
            let bytes = bytes.get(at..)?;
            let end = bytes.iter().position(|&byte| byte == 0)?;
            Some(String::from_utf8_lossy(&bytes[..end]).into_owned())
        };
        if bytes.get(..6)? != b"\x7fELF\x02\x01" {
            return None;
        }
        let (start, size, count) = (number(0x28, 8)? as usize, number(0x3a, 2)? as usize, number(0x3c, 2)? as usize);
        let header = |index: usize, field: usize, bytes: usize| number(start + index * size + field, bytes);
        let names = header(number(0x3e, 2)? as usize, 0x18, 8)? as usize;
        let mut elf = Self::default();
        for index in 0..count {
            let name = text(names + header(index, 0, 4)? as usize)?;
            let flags = header(index, 8, 8)?;
            if name == "lkpi_sysinit" {
                elf.sysinits = true;
            } else if flags & WRITE_ALLOC == WRITE_ALLOC
                && flags & (GROUP | TLS) == 0
                && !name.starts_with(".data.rel.ro")
                && !name.starts_with(".init_array")
                && !name.starts_with(".fini_array")
            {
                // An empty section would only be a name.
                if header(index, 0x20, 8)? > 0 {
                    elf.data.push(name);
                }
            }
            if header(index, 4, 4)? == SYMTAB {
                let strings = header(header(index, 0x28, 4)? as usize, 0x18, 8)? as usize;
                let (at, bytes) = (header(index, 0x18, 8)? as usize, header(index, 0x20, 8)? as usize);
                for symbol in (at..at + bytes).step_by(24) {
                    let global = number(symbol + 4, 1)? >> 4 == 1;
                    let defined = number(symbol + 6, 2)? != 0;
                    if global && defined {
                        let name = text(strings + number(symbol, 4)? as usize)?;
                        match name.strip_prefix("lkpi_scenario_") {
                            Some(scenario) => elf.scenarios.push(scenario.to_owned()),
                            None => elf.locals.push(name),
                        }
                    }
                }
            }
        }
        elf.scenarios.sort();
        Some(elf)
    }

    /// Writes the unit's scenarios as elements of a Rust array.
    fn describe(&self, unit: &str, mapping: &str, list: &mut String) {
        for scenario in &self.scenarios {
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
                bounds("lkpi_data", !self.data.is_empty()),
                bounds("lkpi_sysinit", self.sysinits),
            );
        }
    }
}
