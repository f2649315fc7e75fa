//! Scenarios of the user's, in C: compiled for each mapping against the headers that this program carries, linked, and loaded into it.
//!
//! All files are one unit, as a driver's are: they see each other's symbols, and what none of them defines is looked up in this program, which
//! exports the kernel's. A library for each mapping, each with its own memory.

use crate::c_compile::{self, Elf, Running, SCENARIO, finish, gather, start};
use crate::c_units::sysinits;
use crate::compare::quoted;
use crate::registry::{self, Cell, Scenario};
use cc::Tool;
use core::ffi::c_void;
use freebsd_sys::host::workers;
use freebsd_sys::machine::Unit;
use include_dir::{Dir, include_dir};
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use std::collections::{BTreeSet, VecDeque};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// What ported code is compiled against.
static HEADERS: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../linuxkpi/include");

/// The sections of a library that its bounds delimit.
const DATA: &str = "lkpi_data";
const SYSINITS: &str = "lkpi_sysinits";

/// Tells where those sections are; weak, because a unit need not have them.
const BOUNDS: &str = r#"
#define BOUND(name) extern const char name[] __attribute__((weak, visibility("hidden")))
BOUND(__start_lkpi_data);
BOUND(__stop_lkpi_data);
BOUND(__start_lkpi_sysinits);
BOUND(__stop_lkpi_sysinits);
const void *const lkpi_bounds[] = {
	__start_lkpi_data, __stop_lkpi_data, __start_lkpi_sysinits, __stop_lkpi_sysinits
};
"#;

/// What FreeBSD's libkern has, or a compiler takes for granted, and libc does as well.
const LIBKERN: &str = "bcmp bcopy bsearch bzero ffs memchr memcmp memcpy memmem memmove memset qsort qsort_r snprintf sprintf sscanf \
    strcasecmp strcat strchr strcmp strcpy strcspn strlcat strlcpy strlen strncasecmp strncat strncmp strncpy strnlen strrchr strsep strspn \
    strstr strtol strtoul vsnprintf vsprintf vsscanf";

/// A unit to be compiled and loaded.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// C files, and objects that were compiled with the same flags.
    pub files: &'a [PathBuf],
    /// Folders of headers, which come before the files' own and ours.
    pub include: &'a [PathBuf],
}

/// What was loaded. The files are gone once it is dropped; the code stays.
#[derive(Debug)]
pub struct Loaded {
    /// The files' scenarios.
    pub scenarios: Vec<Scenario>,
    /// What the compiler warned of.
    pub warnings: String,
    // Debug information is read from there when somebody asks for a line.
    _dir: TempDir,
}

/// Compiles the files for each of `mappings`, and loads them.
///
/// # Errors
///
/// What the compiler or the linker says, a file that cannot be read or was compiled otherwise, functions that nobody has, no scenario.
pub fn load(source: Source<'_>, mappings: &[&'static str]) -> Result<Loaded, String> {
    if let Some(path) = source.files.iter().find(|path| kind(path).is_none()) {
        return Err(format!("{}: a C file's name ends with .c, an object's with .o", path.display()));
    }
    if let Some(path) = source.files.iter().find(|path| !path.is_file()) {
        return Err(format!("{}: no such file", path.display()));
    }
    if let ([_, _, ..], Some(object)) = (mappings, source.files.iter().find(|path| kind(path) == Some(Kind::Object))) {
        return Err(format!(
            "{}: an object is compiled for one mapping (-DLKPI_MAPPING=...): say which, with --mapping",
            object.display()
        ));
    }
    let dir = tempfile::Builder::new().prefix("lkpi-").tempdir().map_err(|e| format!("no temporary folder: {e}"))?;
    let headers = dir.path().join("include");
    fs::create_dir(&headers)
        .and_then(|()| HEADERS.extract(&headers))
        .map_err(|e| format!("cannot write headers: {e}"))?;

    let mut build = cc::Build::new();
    build.target(env!("LKPI_TARGET")).host(env!("LKPI_TARGET")).opt_level(1).cargo_output(false);
    let builder = Builder { source, compiler: c_compile::compiler(&mut build)?, headers, dir: dir.path() };
    let (objects, warnings) = builder.compile(mappings)?;
    let mut scenarios: Vec<Scenario> = Vec::new();
    for (&mapping, objects) in mappings.iter().zip(&objects) {
        // A function that is nowhere was warned of, with its line.
        let unit = builder.link(mapping, objects).map_err(|error| format!("{error}\n{warnings}"))?;
        for (name, cell) in unit {
            match scenarios.iter_mut().find(|scenario| scenario.name == name) {
                Some(scenario) => scenario.cells.push(cell),
                None => scenarios.push(Scenario {
                    name: name.leak(),
                    about: "a scenario of the user's",
                    source: builder.names().leak(),
                    // Nobody said.
                    mainline: true,
                    rt: true,
                    with: self::with(source.files),
                    cells: vec![cell],
                }),
            }
        }
    }
    Ok(Loaded { scenarios, warnings, _dir: dir })
}

/// The options by which `lkpi replay` loads the same files.
fn with(files: &[PathBuf]) -> String {
    files.iter().map(|path| format!(" --with {}", quoted(path))).collect()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    C,
    Object,
}

fn kind(path: &Path) -> Option<Kind> {
    match path.extension().and_then(OsStr::to_str)? {
        "c" => Some(Kind::C),
        "o" => Some(Kind::Object),
        _ => None,
    }
}

struct Builder<'a> {
    source: Source<'a>,
    compiler: Tool,
    headers: PathBuf,
    dir: &'a Path,
}

impl Builder<'_> {
    /// The files' names, for messages.
    fn names(&self) -> String {
        let names: Vec<_> = self.source.files.iter().map(|path| path.display().to_string()).collect();
        names.join(", ")
    }

    /// Compiles all for each mapping; the objects by mapping, and what the compiler warned of.
    fn compile(&self, mappings: &[&str]) -> Result<(Vec<Vec<PathBuf>>, String), String> {
        let (mut running, mut said) = (VecDeque::<Running>::new(), BTreeSet::new());
        let mut objects = Vec::new();
        for mapping in mappings {
            let mut of_mapping = Vec::new();
            for (n, path) in self.source.files.iter().enumerate() {
                if kind(path) == Some(Kind::Object) {
                    of_mapping.push(path.clone());
                    continue;
                }
                if running.len() >= workers::processors() {
                    said.extend(running.pop_front().map(finish).transpose()?);
                }
                let to = self.dir.join(format!("{mapping}-{n}.plain.o"));
                let own = path.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new("."));
                let mut folders: Vec<&Path> = self.source.include.iter().map(PathBuf::as_path).collect();
                folders.extend([own, &self.headers]);
                running.push_back(start(c_compile::compile(&self.compiler, mapping, &folders, path, &to))?);
                of_mapping.push(to);
            }
            objects.push(of_mapping);
        }
        for child in running {
            said.insert(finish(child)?);
        }
        // Most warnings come from each mapping alike.
        Ok((objects, said.into_iter().collect()))
    }

    /// Makes a library of a mapping's objects, and loads it: the scenarios' names and cells.
    fn link(&self, mapping: &'static str, objects: &[PathBuf]) -> Result<Vec<(String, Cell)>, String> {
        let (mut found, mut defined, mut wanted) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
        let library = self.dir.join(format!("{mapping}.so"));
        let mut linker = self.tool();
        linker.args(["-shared", "-nostdlib", "-Wl,-Bsymbolic,-z,now,-z,nostart-stop-gc", "-o"]).arg(&library);
        for (n, (object, path)) in objects.iter().zip(self.source.files).enumerate() {
            let elf = Elf::read(object, path)?;
            check(path, &elf, mapping)?;
            let gathered = self.dir.join(format!("{mapping}-{n}.o"));
            let mut objcopy = gather(&elf, DATA, SYSINITS);
            objcopy.arg(object).arg(&gathered);
            finish(start(objcopy)?)?;
            linker.arg(&gathered);
            found.extend(elf.scenarios);
            defined.extend(elf.globals);
            wanted.extend(elf.undefined);
        }
        if found.is_empty() {
            return Err(format!(
                "{}: no scenario, so nothing to run: LKPI_SCENARIO(name) {{ .. }}, of <linuxkpi/scenario.h>, is what starts the driver's \
                 threads",
                self.names()
            ));
        }
        linker.arg(self.bounds()?).arg("-lgcc");
        finish(start(linker)?)?;
        let missing: Vec<_> = wanted.difference(&defined).filter(|name| !is_there(name)).collect();
        if !missing.is_empty() {
            let lines: Vec<_> = missing.iter().map(|name| format!("\n  {name}")).collect();
            return Err(format!("neither the files nor the kernel have{}", lines.concat()));
        }
        // SAFETY: it has no constructors but the sanitizer's, which does nothing here (`Elf::read`); what its functions do is the driver's affair,
        // as with the units that are linked into this program.
        let library = unsafe { Library::open(Some(&library), RTLD_NOW | RTLD_LOCAL) }.map_err(|e| e.to_string())?;
        // SAFETY: `BOUNDS` has an array of four addresses by that name.
        let bounds = *unsafe { library.get::<*const [*const u8; 4]>(b"lkpi_bounds\0") }.map_err(|e| e.to_string())?;
        // SAFETY: it is constant, and the library stays.
        let [data_start, data_end, set_start, set_end] = unsafe { *bounds };
        let unit = Unit {
            name: self.names().leak(),
            data: (data_start.cast_mut(), data_end.cast_mut()),
            sysinits: sysinits((set_start, set_end)),
        };
        let mut cells = Vec::new();
        for name in found {
            type Entry = unsafe extern "C-unwind" fn();
            // SAFETY: LKPI_SCENARIO declares it so.
            let entry = *unsafe { library.get::<Entry>(format!("{SCENARIO}{name}\0").as_bytes()) }
                .map_err(|e| e.to_string())?;
            // SAFETY: a scenario takes nothing; it runs as thread0 of a machine that leases its unit.
            let run = Box::leak(Box::new(move || unsafe { entry() }));
            let units = Box::leak(Box::new(move || vec![unit]));
            cells.push((name.replace('_', "-"), Cell { mapping, run, units }));
        }
        // Its code may be on the stack of a kernel thread until the process ends.
        core::mem::forget(library);
        Ok(cells)
    }

    fn bounds(&self) -> Result<PathBuf, String> {
        let (text, object) = (self.dir.join("bounds.c"), self.dir.join("bounds.o"));
        fs::write(&text, BOUNDS).map_err(|e| format!("{}: {e}", text.display()))?;
        let mut command = self.tool();
        command.args(["-c", "-fPIC", "-o"]).arg(&object).arg(&text);
        finish(start(command)?)?;
        Ok(object)
    }

    fn tool(&self) -> Command {
        self.compiler.to_command()
    }
}

/// That the code of a file can be loaded, and that it was compiled as ours is.
fn check(path: &Path, elf: &Elf, mapping: &str) -> Result<(), String> {
    let of = |other: &&str| elf.undefined.iter().any(|name| name.starts_with(&format!("lkpi_{other}_")));
    if let Some(other) = registry::mappings().into_iter().filter(|name| *name != mapping).find(of) {
        return Err(format!("{}: it was compiled for {other}, not for {mapping}", path.display()));
    }
    if let Some(name) = elf.common.first() {
        return Err(format!(
            "{}: '{name}' would not be restored between executions: compile with -fno-common",
            path.display()
        ));
    }
    if kind(path) == Some(Kind::Object) && !elf.undefined.iter().any(|name| name.starts_with("__tsan_")) {
        return Err(format!(
            "{}: what it reads and writes would not be seen: compile with -fsanitize=thread, as compat-tests/README.md says",
            path.display()
        ));
    }
    Ok(())
}

/// Whether a symbol is the kernel's. The loader would take all of libc as well, exit(3) included.
fn is_there(name: &str) -> bool {
    // What begins so is the linker's or the compiler's.
    let compilers = name.starts_with("__") || name.starts_with("_Unwind_") || name == "_GLOBAL_OFFSET_TABLE_";
    if compilers || LIBKERN.split(' ').any(|own| own == name) {
        return true;
    }
    // SAFETY: nobody uses what is there.
    let symbol = unsafe { Library::this().get::<*const c_void>(format!("{name}\0").as_bytes()) };
    // A function of this program.
    let own = object_of(is_there as fn(&str) -> bool as *const c_void);
    symbol.is_ok_and(|symbol| object_of(symbol.into_raw().cast_const()) == own)
}

/// Where the object begins that the address lies in.
fn object_of(address: *const c_void) -> *mut c_void {
    // SAFETY: dladdr fills the plain structure, and takes any address.
    unsafe {
        let mut info: libc::Dl_info = core::mem::zeroed();
        if libc::dladdr(address, &mut info) == 0 { core::ptr::null_mut() } else { info.dli_fbase }
    }
}
