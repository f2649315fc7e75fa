//! How a C unit is compiled for a mapping: what `build.rs` (which includes this file) does with `suites/c`, and `lkpi run` with a file
//! of the user's.
//!
//! * A unit is compiled freestanding, as ported code is, with `-fsanitize=thread` for the hooks of `freebsd_sys::host::tsan`.
//! * Its writable sections become one section, which is what the engines restore before each execution, and so does its linker set of
//!   SYSINITs: names of C identifiers, so the linker delimits them with `__start_` and `__stop_`.
//!
//! `CC` and `OBJCOPY` choose other tools; `LKPI_CFLAGS` is appended to the compiler's flags.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::{env, fs, iter};

/// What a scenario's function is called, before its name.
pub(crate) const SCENARIO: &str = "lkpi_scenario_";

/// As a kernel is built; -fexceptions so that an ended machine can unwind its threads, -fstack-clash-protection because a frame larger than
/// the guard page must not jump over it.
const FLAGS: &[&str] = &[
    "-c",
    "-std=gnu11",
    "-O1",
    "-g1",
    "-fPIC",
    "-fno-omit-frame-pointer",
    "-nostdinc",
    "-ffreestanding",
    "-fno-strict-aliasing",
    "-fno-common",
    "-fexceptions",
    "-fstack-clash-protection",
    "-fsanitize=thread",
    // What a FreeBSD compiler defines, and does not.
    "-D__FreeBSD__=15",
    "-U__linux__",
    "-U__linux",
    "-Ulinux",
    "-U__gnu_linux__",
];

const WARNINGS: &[&str] = &["-Wall", "-Wextra", "-Wno-unused-parameter"];

/// The C compiler; `CC` and its kin choose another.
pub(crate) fn compiler(build: &mut cc::Build) -> Result<cc::Tool, String> {
    let why = |e: &dyn std::fmt::Display| format!("C needs a compiler, gcc or clang (set CC to choose one): {e}");
    let tool = build.no_default_flags(true).cargo_metadata(false).try_get_compiler().map_err(|e| why(&e))?;
    if tool.is_like_msvc() {
        return Err(why(&"this one speaks neither's language"));
    }
    Command::new(tool.path()).arg("--version").output().map_err(|e| why(&format!("{}: {e}", tool.path().display())))?;
    Ok(tool)
}

/// Compiles a file for a mapping. The porter's folders come before ours: drm-kmod's headers use include_next to get at those.
pub(crate) fn compile(compiler: &cc::Tool, mapping: &str, include: &[&Path], source: &Path, to: &Path) -> Command {
    let mut command = compiler.to_command();
    command.args(FLAGS).args(WARNINGS);
    if compiler.is_like_clang() {
        command.args(["-mllvm", "-tsan-instrument-func-entry-exit=0", "-mllvm", "-tsan-distinguish-volatile=1"]);
    } else {
        command.args(["--param", "tsan-instrument-func-entry-exit=0", "--param", "tsan-distinguish-volatile=1"]);
        // Our hooks know fences, whatever gcc says of its own.
        command.arg("-Wno-tsan");
    }
    command.arg(format!("-DLKPI_MAPPING={mapping}"));
    for folder in include {
        command.arg("-I").arg(folder);
    }
    if let Ok(flags) = env::var("LKPI_CFLAGS") {
        command.args(flags.split_whitespace());
    }
    command.arg("-o").arg(to).arg(source);
    command
}

/// objcopy, told to gather the unit's writable sections in `data` and its SYSINITs in `sysinits`; its files are left to add.
pub(crate) fn gather(elf: &Elf, data: &str, sysinits: &str) -> Command {
    let mut command = Command::new(env::var_os("OBJCOPY").unwrap_or_else(|| "objcopy".into()));
    for section in &elf.data {
        // "contents": memory that starts as zeros is saved and restored like all other.
        command.arg(format!("--set-section-flags={section}=alloc,load,data,contents"));
        command.arg(format!("--rename-section={section}={data},alloc,load,data,contents"));
    }
    if elf.sysinits {
        command.arg(format!("--rename-section=lkpi_sysinit={sysinits}"));
    }
    command
}

/// A tool at work, and its command line.
pub(crate) struct Running(String, Child);

/// Starts a tool.
pub(crate) fn start(mut command: Command) -> Result<Running, String> {
    // Debug would print the environment too.
    let words = iter::once(command.get_program()).chain(command.get_args());
    let text = words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let child = child.map_err(|e| {
        format!("cannot run {}: {e} (C needs a compiler and binutils)", command.get_program().display())
    })?;
    Ok(Running(text, child))
}

/// Waits for it; what it says.
pub(crate) fn finish(Running(text, child): Running) -> Result<String, String> {
    let output = child.wait_with_output().map_err(|e| format!("{text}: {e}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(format!("{said}failed: {text}"));
    }
    Ok(said.into_owned())
}

/// What we need to know of a relocatable ELF file of 64 bits.
#[derive(Debug, Default)]
pub(crate) struct Elf {
    /// Writable sections.
    pub(crate) data: Vec<String>,
    /// Whether there is a linker set of SYSINITs.
    pub(crate) sysinits: bool,
    /// Scenarios' names.
    pub(crate) scenarios: Vec<String>,
    /// Other global symbols that it defines.
    pub(crate) globals: Vec<String>,
    /// Symbols that it needs.
    pub(crate) undefined: Vec<String>,
    /// Variables that the linker is to place: -fno-common was not given.
    pub(crate) common: Vec<String>,
    /// Functions to be called before or after everything else.
    constructors: u64,
}

impl Elf {
    /// Reads the object that `source` became.
    pub(crate) fn read(object: &Path, source: &Path) -> Result<Self, String> {
        let source = source.display();
        let bytes = fs::read(object).map_err(|e| format!("{source}: {e}"))?;
        let elf = Self::parse(&bytes).ok_or_else(|| format!("{source}: not a relocatable ELF object of amd64"))?;
        // The sanitizer's own does nothing here.
        if elf.constructors > u64::from(elf.undefined.iter().any(|name| name == "__tsan_init")) {
            return Err(format!(
                "{source}: a kernel calls no constructors or destructors; module_init and SYSINIT are called at boot"
            ));
        }
        Ok(elf)
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        const RELOCATABLE: u64 = 1;
        const AMD64: u64 = 62;
        const WRITE_ALLOC: u64 = 3;
        const GROUP: u64 = 0x200;
        const TLS: u64 = 0x400;
        const SYMTAB: u64 = 2;
        const GLOBAL: u64 = 1;
        const COMMON: u64 = 0xfff2;
        const CONSTRUCTORS: [&str; 4] = [".init_array", ".fini_array", ".ctors", ".dtors"];
        let number = |at: usize, size: usize| -> Option<u64> {
            let bytes = bytes.get(at..at.checked_add(size)?)?;
            Some(bytes.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte)))
        };
        let text = |at: usize| -> Option<String> {
            let bytes = bytes.get(at..)?;
            let end = bytes.iter().position(|&byte| byte == 0)?;
            Some(String::from_utf8_lossy(&bytes[..end]).into_owned())
        };
        if bytes.get(..6)? != b"\x7fELF\x02\x01" || number(0x10, 2)? != RELOCATABLE || number(0x12, 2)? != AMD64 {
            return None;
        }
        let (start, size, count) = (number(0x28, 8)? as usize, number(0x3a, 2)? as usize, number(0x3c, 2)? as usize);
        let header = |index: usize, field: usize, bytes: usize| {
            number(start.checked_add(index.checked_mul(size)?)?.checked_add(field)?, bytes)
        };
        let at = |base: u64, offset: u64| usize::try_from(base.checked_add(offset)?).ok();
        let names = header(number(0x3e, 2)? as usize, 0x18, 8)?;
        let mut elf = Self::default();
        for index in 0..count {
            let name = text(at(names, header(index, 0, 4)?)?)?;
            let flags = header(index, 8, 8)?;
            if name == "lkpi_sysinit" {
                elf.sysinits = true;
            } else if CONSTRUCTORS.iter().any(|set| name.starts_with(set)) {
                elf.constructors += header(index, 0x20, 8)? / 8;
            } else if flags & WRITE_ALLOC == WRITE_ALLOC
                && flags & (GROUP | TLS) == 0
                && !name.starts_with(".data.rel.ro")
            {
                // An empty section would only be a name.
                if header(index, 0x20, 8)? > 0 {
                    elf.data.push(name);
                }
            }
            if header(index, 4, 4)? == SYMTAB {
                let strings = header(header(index, 0x28, 4)? as usize, 0x18, 8)?;
                let (from, bytes) = (header(index, 0x18, 8)?, header(index, 0x20, 8)?);
                for symbol in (at(from, 0)?..at(from, bytes)?).step_by(24) {
                    let (bind, section) = (number(symbol + 4, 1)? >> 4, number(symbol + 6, 2)?);
                    let name = text(at(strings, number(symbol, 4)?)?)?;
                    match (bind, section) {
                        (GLOBAL, 0) => elf.undefined.push(name),
                        (GLOBAL, COMMON) => elf.common.push(name),
                        (GLOBAL, _) => match name.strip_prefix(SCENARIO) {
                            Some(scenario) => elf.scenarios.push(scenario.to_owned()),
                            None => elf.globals.push(name),
                        },
                        _ => {}
                    }
                }
            }
        }
        elf.scenarios.sort();
        Some(elf)
    }
}
