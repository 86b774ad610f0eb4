// SPDX-License-Identifier: GPL-2.0

//! Checks for all that a build needs: for each tool, the version that is found and the one that is
//! needed. Every run makes the same checks before it starts.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use vmlab::boot::engine::{self, Engine};
use vmlab::run::process;

use crate::context::Lab;
use crate::host::answers;
use crate::host::disk;
use crate::host::machine::Host;
use crate::host::pins::Package;
use crate::host::toolchain::{self, Compiler};
use crate::host::version;

/// The result of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CheckState {
    /// Found, and new enough.
    Good,
    /// Missing, but the lab gets it itself.
    Automatic,
    /// Missing, but in a package of the distribution.
    Package(String),
    /// Only the user can help.
    Bad,
    /// Useful to know; nothing depends on it.
    Note,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// The tool.
    pub name: String,
    /// The version that is found.
    pub found: String,
    /// The version that is needed.
    pub needed: String,
    /// How to get it, if it is missing.
    pub get: String,
    /// The result.
    pub state: CheckState,
}

impl Check {
    fn new(name: &str, found: Option<String>, needed: &str, state: CheckState, get: &str) -> Check {
        let found = found.unwrap_or_else(|| "missing".to_owned());
        let get = if state == CheckState::Good { String::new() } else { get.to_owned() };
        Check { name: name.to_owned(), found, needed: needed.to_owned(), get, state }
    }

    /// A check of a folder that only the user can replace.
    pub fn of(name: &str, dir: &Path, fit: anyhow::Result<()>, needed: &str, get: &str) -> Check {
        let (found, state) = match fit {
            Ok(()) => (dir.display().to_string(), CheckState::Good),
            Err(error) => (format!("{}: {error:#}", dir.display()), CheckState::Bad),
        };
        Check::new(name, Some(found), needed, state, get)
    }
}

/// A program that must have a minimum version.
struct Program<'a> {
    name: &'a str,
    min: &'a str,
    otherwise: CheckState,
    get: String,
}

impl Program<'_> {
    fn check(&self, machine: &Host, program: &str) -> Check {
        let found = machine.version(program);
        let good = found.as_deref().is_some_and(|have| version::at_least(have, self.min));
        let state = if good { CheckState::Good } else { self.otherwise.clone() };
        let found = found.or_else(|| machine.which(program).map(|_| "no version".to_owned()));
        Check::new(self.name, found, &format!("{} or later", self.min), state, &self.get)
    }
}

/// The checks that only look at programs and files. They are quick enough for every run.
pub fn tools(lab: &Lab, machine: &Host) -> Vec<Check> {
    let compiler = Compiler::choose(lab, machine);
    let machine = match &compiler.dir {
        Some(dir) => &machine.with_first(dir),
        None => machine,
    };
    let checks: [&(dyn Fn() -> Vec<Check> + Sync); 4] = [
        &|| rust(lab, machine),
        &|| vec![bindgen(lab, machine), libclang(lab, machine, &compiler.cc)],
        &|| compilers(lab, machine, &compiler),
        &|| {
            let mut checks = vec![qemu(lab, machine)];
            checks.extend(lab.base.packages.iter().map(|p| package(machine, p)));
            checks
        },
    ];
    std::thread::scope(|scope| {
        let threads = checks.map(|check| scope.spawn(check));
        let done = threads.map(|thread| thread.join().unwrap_or_default());
        done.into_iter().flatten().collect()
    })
}

fn rust(lab: &Lab, machine: &Host) -> Vec<Check> {
    let min = &lab.base.rust.rustc_min;
    let rustc = Program {
        name: "rustc",
        min,
        otherwise: CheckState::Bad,
        get: "install a Rust toolchain with rustup, then `rustup update`".to_owned(),
    }
    .check(machine, "rustc");
    let sources = rust_src(lab, machine, &rustc);
    vec![rustc, sources]
}

fn rust_src(lab: &Lab, machine: &Host, rustc: &Check) -> Check {
    let check = |found: Option<String>, needed: &str, state, get: &str| {
        Check::new("rust-src", found, needed, state, get)
    };
    if rustc.state != CheckState::Good {
        return check(None, "the version of rustc", CheckState::Bad, "needs rustc first");
    }
    let needed = rustc.found.as_str();
    match toolchain::local_rust_src(machine) {
        Err(error) => check(
            Some(format!("{error:#}")),
            needed,
            CheckState::Bad,
            "unset RUST_LIB_SRC, or repair rustc",
        ),
        Ok(Some(_)) => check(Some(needed.to_owned()), needed, CheckState::Good, ""),
        Ok(None) if lab.cache.has(&toolchain::rust_src_entry(needed)) => {
            check(Some(format!("{needed} (in the cache)")), needed, CheckState::Good, "")
        }
        Ok(None) => {
            let get = "the next run gets it from Debian; or `rustup component add rust-src`";
            check(None, needed, CheckState::Automatic, get)
        }
    }
}

fn bindgen(lab: &Lab, machine: &Host) -> Check {
    let pin = &lab.base.rust;
    let found = toolchain::find_bindgen(lab, machine);
    let usable = found.as_ref().and_then(|path| machine.version(&path.to_string_lossy()));
    let state = if usable.is_some() { CheckState::Good } else { CheckState::Automatic };
    let have = usable.or_else(|| machine.version("bindgen"));
    let needed = format!("{} or later", pin.bindgen_min);
    let get = format!("the next run installs bindgen-cli {} into the cache", pin.bindgen);
    Check::new("bindgen", have, &needed, state, &get)
}

/// Checks the version of the libclang that bindgen loads, in the same way as the kernel's build:
/// with a header that makes libclang print its version.
fn libclang(lab: &Lab, machine: &Host, cc: &str) -> Check {
    let major = lab.base.llvm.major;
    let package = format!("libclang-{major}-dev");
    let dir = toolchain::libclang_dir(machine, cc);
    let loaded = toolchain::find_bindgen(lab, machine)
        .and_then(|bindgen| loaded_libclang(lab, machine, &bindgen, dir.as_deref()));
    let min = &lab.base.llvm.min;
    let needed = format!("{min} or later");
    let chosen = std::env::var(toolchain::LIBCLANG).ok().filter(|dir| !dir.is_empty());
    let (otherwise, get) = match chosen {
        Some(dir) => (CheckState::Bad, format!("unset LIBCLANG_PATH, which is {dir}")),
        None => (CheckState::Package(package.clone()), format!("apt-get install {package}")),
    };
    let state = match (&loaded, &dir) {
        (Some(have), _) if version::at_least(have, min) => CheckState::Good,
        (None, Some(_)) if toolchain::find_bindgen(lab, machine).is_none() => CheckState::Good,
        _ => otherwise,
    };
    let found = loaded.or_else(|| dir.map(|dir| format!("in {}", dir.display())));
    Check::new("libclang", found, &needed, state, &get)
}

fn loaded_libclang(
    lab: &Lab,
    machine: &Host,
    bindgen: &Path,
    dir: Option<&Path>,
) -> Option<String> {
    let libraries = dir.and_then(|dir| fs::read_dir(dir).ok());
    // Without a folder, the dynamic loader finds the library.
    let Some(libraries) = libraries else { return ask_libclang(lab, machine, bindgen, dir) };
    let name = |path: &PathBuf| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut files: Vec<PathBuf> = libraries.flatten().map(|entry| entry.path()).collect();
    files.retain(|path| name(path).starts_with("libclang") && name(path).contains(".so"));
    files.sort();
    files.push(bindgen.to_owned());
    let ask = || ask_libclang(lab, machine, bindgen, dir).context("no version");
    answers::remembered("libclang", &files, ask).ok()
}

fn ask_libclang(lab: &Lab, machine: &Host, bindgen: &Path, dir: Option<&Path>) -> Option<String> {
    // Not in TMPDIR, since a bad TMPDIR may be what is wrong with this machine.
    let scratch = lab.cache.scratch().ok()?;
    let header = scratch.path().join("version.h");
    fs::write(&header, "#pragma message(\"clang version \" __clang_version__)\n").ok()?;
    let mut command = machine.command(bindgen);
    if let Some(dir) = dir {
        command.env(toolchain::LIBCLANG, dir);
    }
    let said = process::capture(command.arg(header)).ok()?;
    let line = said.stderr.lines().find(|line| line.contains("clang version"))?;
    version::find(line.split("clang version").nth(1)?)
}

fn compilers(lab: &Lab, machine: &Host, compiler: &Compiler) -> Vec<Check> {
    let major = lab.base.llvm.major;
    let min = &lab.base.llvm.min;
    let llvm = |name: &'static str, package: String| Program {
        name,
        min,
        get: format!("apt-get install {package}"),
        otherwise: CheckState::Package(package),
    };
    if !compiler.make_args.iter().any(|arg| arg.starts_with("LLVM=")) {
        let gcc = Program {
            name: "C compiler",
            min: "8.1",
            otherwise: CheckState::Bad,
            get: format!("CC={} is no C compiler: unset it, or name one", compiler.cc),
        };
        return vec![gcc.check(machine, &compiler.cc)];
    }
    let mut checks = vec![
        llvm("clang", format!("clang-{major}")).check(machine, &compiler.cc),
        llvm("lld", format!("lld-{major}")).check(machine, &compiler.ld),
        llvm("llvm", format!("llvm-{major}")).check(machine, &llvm_ar(&compiler.ld)),
    ];
    if lab.settings.llvm.is_some() || lab.settings.cc.is_some() {
        // The user named this compiler, so a package with another one does not help.
        for check in &mut checks {
            if check.state != CheckState::Good {
                check.state = CheckState::Bad;
                check.get = "unset LLVM and CC, or let them name tools that are there".to_owned();
            }
        }
    }
    checks
}

/// The name of the `llvm-ar` that belongs to this `ld.lld`.
fn llvm_ar(ld: &str) -> String {
    ld.replace("ld.lld", "llvm-ar")
}

fn qemu(lab: &Lab, machine: &Host) -> Check {
    Program {
        name: "QEMU",
        min: &lab.base.qemu.min,
        otherwise: CheckState::Package("qemu-system-x86".to_owned()),
        get: "apt-get install qemu-system-x86".to_owned(),
    }
    .check(machine, "qemu-system-x86_64")
}

pub fn package(machine: &Host, package: &Package) -> Check {
    let there = match (&package.program, &package.file) {
        (Some(program), _) => machine.which(program).map(|path| path.display().to_string()),
        (None, Some(file)) => machine.file(file).exists().then(|| file.clone()),
        (None, None) => None,
    };
    let state = match there {
        Some(_) => CheckState::Good,
        None => CheckState::Package(package.apt.clone()),
    };
    let get = format!("apt-get install {}", package.apt);
    Check::new(&package.apt, there, &package.why, state, &get)
}

/// Checks whether KVM works, by the same probe as in a run, made anew. KVM is optional.
pub fn kvm(lab: &Lab, machine: &Host) -> Check {
    if machine.which(engine::QEMU).is_none() {
        return Check::new("KVM", None, "optional", CheckState::Note, "needs QEMU first");
    }
    let probed = engine::forget(&lab.engine_cache()).and_then(|()| lab.engine());
    let (found, state) = match probed {
        Ok(verdict) if verdict.used == Engine::Kvm => (verdict.why, CheckState::Good),
        Ok(verdict) => (format!("no: {}", verdict.why), CheckState::Note),
        Err(error) => (format!("{error:#}"), CheckState::Note),
    };
    Check::new(
        "KVM",
        Some(found),
        "optional",
        state,
        "not needed: TCG is used, some ten times slower",
    )
}

/// Checks the disk space for all that is not built yet.
pub fn disk(lab: &Lab, built: bool) -> Check {
    let needed = if built { disk::WARM } else { disk::FIRST_BUILD };
    let free = disk::free(lab.cache.dir());
    let good = free.as_ref().is_ok_and(|free| *free >= needed);
    let found = free.map_or_else(|error| format!("{error:#}"), disk::gigabytes);
    let state = if good { CheckState::Good } else { CheckState::Bad };
    let get = format!(
        "free some in {}, or set XDG_CACHE_HOME to a larger disk",
        lab.cache.dir().display()
    );
    Check::new("disk space", Some(found), &disk::gigabytes(needed), state, &get)
}

/// Checks whether Debian's mirror answers. That only matters if something must be fetched.
pub fn mirror(lab: &Lab, needed: bool) -> Check {
    let reached = crate::host::apt::Archive::reach(lab, &lab.base.kernel.suite);
    let (state, found) = match reached {
        Ok(uri) => (CheckState::Good, uri),
        Err(error) => {
            let state = if needed { CheckState::Bad } else { CheckState::Note };
            (state, error.to_string().lines().next().unwrap_or_default().to_owned())
        }
    };
    let need = if needed { "reachable" } else { "not needed: all is in the cache" };
    Check::new("apt mirror", Some(found), need, state, "check the network and apt's sources")
}

/// Whether a build can succeed: nothing is missing that the lab cannot get.
pub fn can_build(checks: &[Check], may_install: bool) -> bool {
    checks.iter().all(|check| match check.state {
        CheckState::Good | CheckState::Automatic | CheckState::Note => true,
        CheckState::Package(_) => may_install,
        CheckState::Bad => false,
    })
}

/// The missing packages, each once.
pub fn missing_packages(checks: &[Check]) -> Vec<String> {
    let mut packages: Vec<String> = checks
        .iter()
        .filter_map(|check| match &check.state {
            CheckState::Package(package) => Some(package.clone()),
            _ => None,
        })
        .collect();
    packages.sort();
    packages.dedup();
    packages
}

/// The checks as lines for people.
pub fn table(checks: &[Check]) -> String {
    let width = |field: fn(&Check) -> &str| {
        checks.iter().map(|check| field(check).chars().count()).max().unwrap_or(0)
    };
    let (name, found) = (width(|c| &c.name), width(|c| &c.found).min(48));
    checks.iter().fold(String::new(), |mut text, check| {
        let mark = match check.state {
            CheckState::Good => "ok  ",
            CheckState::Automatic => "auto",
            CheckState::Note => "note",
            CheckState::Package(_) | CheckState::Bad => "MISS",
        };
        let (n, f) = (&check.name, &check.found);
        let _ = write!(text, "{mark}  {n:name$}  found: {f:found$}  needed: {}", check.needed);
        if !check.get.is_empty() {
            let _ = write!(text, "  get: {}", check.get);
        }
        text.push('\n');
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::cache::Cache;
    use crate::context::Settings;
    use crate::host::machine::tests::Fake;
    use crate::host::pins::Pins;
    use crate::project::Project;

    fn lab(dir: &Path) -> Lab {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        Lab {
            target: dir.join("target"),
            cache: Cache::at(dir.join("cache")),
            base: Pins::own().unwrap(),
            project: Project::none(),
            root,
            settings: Settings { jobs: 1, ..Settings::default() },
        }
    }

    /// A machine on which every check passes, with fake programs that only print a version.
    fn healthy(lab: &Lab) -> Fake {
        let fake = Fake::new();
        let sysroot = fake.machine().root.join("rust");
        fake.script(
            "rustc",
            &format!(
                "case $1 in --print) echo {};; *) echo 'rustc 1.95.0 (5 2026)';; esac",
                sysroot.display()
            ),
        );
        fake.file("/rust/lib/rustlib/src/rust/library/core/src/lib.rs");
        fake.script(
            "bindgen",
            "case $1 in --version) echo bindgen 0.72.1;; \
             *) echo 'x.h:1:9: warning: clang version 19.1.7 [-W]' >&2;; esac",
        );
        fake.program("clang", "Debian clang version 19.1.7 (3~deb12u1)");
        fake.program("ld.lld", "Debian LLD 19.1.7 (compatible with GNU linkers)");
        fake.program("llvm-ar", "Debian LLVM version 19.1.7");
        fake.program("qemu-system-x86_64", "QEMU emulator version 7.2.22 (Debian 1:7.2)");
        for package in &lab.base.packages {
            match (&package.program, &package.file) {
                (Some(program), _) => fake.program(program, "1.0"),
                (None, file) => fake.file(file.as_deref().unwrap()),
            };
        }
        fake
    }

    fn find<'a>(checks: &'a [Check], name: &str) -> &'a Check {
        checks.iter().find(|check| check.name == name).unwrap()
    }

    #[test]
    fn a_machine_with_everything_passes() {
        let dir = tempfile::tempdir().unwrap();
        let lab = lab(dir.path());
        let checks = tools(&lab, &healthy(&lab).machine());
        assert!(checks.iter().all(|check| check.state == CheckState::Good), "{}", table(&checks));
        assert!(can_build(&checks, false));
        assert_eq!(missing_packages(&checks), Vec::<String>::new());
    }

    #[test]
    fn an_empty_machine_misses_everything() {
        let dir = tempfile::tempdir().unwrap();
        let lab = lab(dir.path());
        let checks = tools(&lab, &Fake::new().machine());
        assert!(checks.iter().all(|check| check.state != CheckState::Good), "{}", table(&checks));
        assert!(checks.iter().all(|check| !check.get.is_empty()), "{}", table(&checks));
        assert!(!can_build(&checks, true), "nobody installs a Rust toolchain for the user");
        let mut all = all_packages(&lab.base);
        all.sort();
        assert_eq!(missing_packages(&checks), all);
    }

    #[test]
    fn each_wrong_version_is_found_with_what_is_needed() {
        let dir = tempfile::tempdir().unwrap();
        let lab = lab(dir.path());
        let package = |name: &str| CheckState::Package(name.to_owned());
        let cases = [
            ("rustc", "rustc", "rustc 1.80.0 (5 2024)", "1.80.0", CheckState::Bad),
            ("bindgen", "bindgen", "bindgen 0.65.1", "0.65.1", CheckState::Automatic),
            ("clang", "clang", "Debian clang version 14.0.6", "14.0.6", package("clang-19")),
            ("ld.lld", "lld", "LLD 16.0.0", "16.0.0", package("lld-19")),
            ("llvm-ar", "llvm", "LLVM version 9.0.0", "9.0.0", package("llvm-19")),
            (
                "qemu-system-x86_64",
                "QEMU",
                "QEMU emulator version 5.2.0",
                "5.2.0",
                package("qemu-system-x86"),
            ),
            ("clang", "clang", "nonsense", "no version", package("clang-19")),
        ];
        for (program, name, says, found, state) in cases {
            let fake = healthy(&lab);
            fake.program(program, says);
            let checks = tools(&lab, &fake.machine());
            let check = find(&checks, name);
            assert_eq!((check.found.as_str(), &check.state), (found, &state), "{program}: {says}");
            assert!(check.needed.contains("or later"));
        }
    }

    #[test]
    fn an_old_libclang_is_found_behind_a_new_bindgen() {
        let dir = tempfile::tempdir().unwrap();
        let lab = lab(dir.path());
        let fake = healthy(&lab);
        fake.script(
            "bindgen",
            "case $1 in --version) echo bindgen 0.72.1;; \
             *) echo 'x.h:1:9: warning: clang version 14.0.6 [-W]' >&2;; esac",
        );
        let checks = tools(&lab, &fake.machine());
        let check = find(&checks, "libclang");
        assert_eq!(check.found, "14.0.6");
        assert_eq!(check.state, CheckState::Package("libclang-19-dev".to_owned()));
    }

    #[test]
    fn a_toolchain_without_sources_is_helped_by_the_lab() {
        let dir = tempfile::tempdir().unwrap();
        let lab = lab(dir.path());
        let fake = healthy(&lab);
        std::fs::remove_dir_all(fake.machine().root.join("rust")).unwrap();
        let checks = tools(&lab, &fake.machine());
        let check = find(&checks, "rust-src");
        assert_eq!((check.needed.as_str(), &check.state), ("1.95.0", &CheckState::Automatic));
        assert!(can_build(&checks, false));
    }

    #[test]
    fn a_compiler_that_the_user_named_is_not_installed_by_a_package() {
        let dir = tempfile::tempdir().unwrap();
        let mut lab = lab(dir.path());
        lab.settings.llvm = Some("-18".to_owned());
        let checks = tools(&lab, &healthy(&lab).machine());
        assert_eq!(find(&checks, "clang").state, CheckState::Bad);
        assert!(!can_build(&checks, true));
    }

    #[test]
    fn a_missing_package_stops_only_those_who_may_not_install() {
        let dir = tempfile::tempdir().unwrap();
        let lab = lab(dir.path());
        let fake = healthy(&lab);
        std::fs::remove_file(fake.machine().which("flex").unwrap()).unwrap();
        let checks = tools(&lab, &fake.machine());
        assert_eq!(missing_packages(&checks), ["flex"]);
        assert!(can_build(&checks, true));
        assert!(!can_build(&checks, false));
        assert!(table(&checks).contains("MISS  flex"), "{}", table(&checks));
    }

    /// Everything that the pin says about packages, for the one apt command.
    fn all_packages(base: &Pins) -> Vec<String> {
        let major = base.llvm.major;
        let mut packages: Vec<String> = base.packages.iter().map(|p| p.apt.clone()).collect();
        packages.extend(["clang", "lld", "llvm"].iter().map(|name| format!("{name}-{major}")));
        packages.push(format!("libclang-{major}-dev"));
        packages.push("qemu-system-x86".to_owned());
        packages
    }
}
