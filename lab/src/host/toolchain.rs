// SPDX-License-Identifier: GPL-2.0

//! The tools that build a kernel: compiler, rustc, bindgen, and the sources of Rust's standard
//! library. Each is found on the machine or fetched into the cache.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use vmlab::run::process;
use vmlab::run::progress::{Step, Unit};

use crate::context::Lab;
use crate::host::apt::Archive;
use crate::host::machine::Host;
use crate::host::version;

/// The folder with libclang, for bindgen; a user may set it.
pub const LIBCLANG: &str = "LIBCLANG_PATH";
/// The sources of the standard library, for kbuild; a user may set it.
const RUST_SOURCES: &str = "RUST_LIB_SRC";

/// Tools that exist and work together.
#[derive(Debug, Clone)]
pub struct Toolchain {
    /// The PATH in which they are found.
    pub machine: Host,
    /// Arguments for make, such as `LLVM=1`.
    pub make_args: Vec<String>,
    /// Where bindgen finds libclang.
    pub libclang: Option<PathBuf>,
    /// Sources of the standard library, which a kernel build needs and a module build does not.
    pub rust_src: Option<PathBuf>,
    /// Their versions, which are part of cache keys.
    pub versions: Versions,
    jobs: usize,
}

/// First lines of `--version`.
#[derive(Debug, Clone, Default)]
pub struct Versions {
    /// The same text as CONFIG_RUSTC_VERSION_TEXT.
    pub rustc: String,
    /// The same text as CONFIG_CC_VERSION_TEXT.
    pub cc: String,
    pub ld: String,
    pub bindgen: String,
}

/// The C compiler that `LLVM` and `CC` choose, read as the kernel's Makefile does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compiler {
    /// Searched first for programs.
    pub dir: Option<PathBuf>,
    pub cc: String,
    /// The linker's program.
    pub ld: String,
    /// Arguments for make.
    pub make_args: Vec<String>,
}

impl Compiler {
    /// Reads the settings. The default is LLVM: the pinned major version where Debian puts it, else
    /// the `clang` in PATH.
    pub fn choose(lab: &Lab, machine: &Host) -> Compiler {
        let settings = &lab.settings;
        let debian = machine.file(&format!("/usr/lib/llvm-{}/bin", lab.base.llvm.major));
        let debian = machine.which(debian.join("clang")).map(|_| debian);
        Compiler::from_settings(settings.llvm.as_deref(), settings.cc.as_deref(), debian)
    }

    fn from_settings(llvm: Option<&str>, cc: Option<&str>, debian: Option<PathBuf>) -> Compiler {
        let llvm = match (llvm, cc) {
            (None, Some(_)) => None,
            // The kernel's Makefile takes any value as "yes", even 0. But a person who writes 0
            // means "no".
            (Some("" | "0"), _) => None,
            (None, None) => Some("1"),
            (Some(value), _) => Some(value),
        };
        let mut make_args = Vec::new();
        let (dir, mut compiler, ld) = match llvm {
            None => (None, "gcc".to_owned(), "ld".to_owned()),
            Some(value) => {
                make_args.push(format!("LLVM={value}"));
                if value.ends_with('/') {
                    (None, format!("{value}clang"), format!("{value}ld.lld"))
                } else if value.starts_with('-') {
                    (None, format!("clang{value}"), format!("ld.lld{value}"))
                } else {
                    (debian, "clang".to_owned(), "ld.lld".to_owned())
                }
            }
        };
        if let Some(cc) = cc {
            make_args.push(format!("CC={cc}"));
            compiler = cc.to_owned();
        }
        Compiler { dir, cc: compiler, ld, make_args }
    }
}

impl Toolchain {
    /// Finds the tools, and fetches bindgen if it is missing.
    pub fn find(lab: &Lab) -> Result<Toolchain> {
        let machine = Host::this();
        let compiler = Compiler::choose(lab, &machine);
        let mut machine = match &compiler.dir {
            Some(dir) => machine.with_first(dir),
            None => machine,
        };
        let bindgen = bindgen(lab, &machine)?;
        if let Some(dir) = bindgen.parent() {
            machine = machine.with_first(dir);
        }
        let line = |program: &str| {
            machine.version_line(program).with_context(|| format!("ask {program} for its version"))
        };
        let versions = Versions {
            rustc: line("rustc")?,
            cc: line(&compiler.cc)?,
            ld: line(&compiler.ld)?,
            bindgen: line("bindgen")?,
        };
        Ok(Toolchain {
            libclang: libclang_dir(&machine, &compiler.cc),
            machine,
            make_args: compiler.make_args,
            rust_src: None,
            versions,
            jobs: lab.settings.jobs,
        })
    }

    /// Tools with the versions that a test wants.
    #[cfg(test)]
    pub(crate) fn for_tests(machine: Host, versions: Versions) -> Toolchain {
        let make_args = vec!["LLVM=1".to_owned()];
        Toolchain { machine, make_args, libclang: None, rust_src: None, versions, jobs: 1 }
    }

    /// Adds the standard library's sources, fetched when the toolchain has none.
    pub fn with_rust_src(mut self, lab: &Lab) -> Result<Toolchain> {
        let rustc = version::find(&self.versions.rustc)
            .with_context(|| format!("no version in {:?}", self.versions.rustc))?;
        self.rust_src = Some(match local_rust_src(&self.machine)? {
            Some(dir) => dir,
            None => fetch_rust_src(lab, &rustc)?,
        });
        Ok(self)
    }

    /// `make` for a kernel tree, with these tools. The lab's own variables are removed: kbuild gets
    /// all settings as arguments.
    pub fn make(&self) -> Command {
        let mut make = self.machine.command("make");
        for name in ["KSRC", "KBUILD", "V", "LLVM", "CC"] {
            make.env_remove(name);
        }
        self.environment(&mut make);
        make.arg(format!("-j{}", self.jobs)).args(&self.make_args);
        if process::verbose() {
            make.arg("V=1");
        }
        make
    }

    /// Lets `command` find the tools.
    pub fn environment(&self, command: &mut Command) {
        command.env("PATH", &self.machine.path).env("LC_ALL", "C");
        if let Some(dir) = &self.libclang {
            command.env(LIBCLANG, dir);
        }
        if let Some(dir) = &self.rust_src {
            command.env(RUST_SOURCES, dir);
        }
    }

    /// All that a build depends on, for cache keys.
    pub fn key_parts(&self) -> Vec<String> {
        let v = &self.versions;
        let mut parts = vec![v.rustc.clone(), v.cc.clone(), v.ld.clone(), v.bindgen.clone()];
        parts.extend(self.make_args.iter().cloned());
        // The user may have set these.
        let own = |name| {
            let value = std::env::var_os(name).filter(|value| !value.is_empty())?;
            Some(format!("{name}={}", value.to_string_lossy()))
        };
        parts.extend([LIBCLANG, RUST_SOURCES].into_iter().filter_map(own));
        parts
    }
}

/// The bindgen to use: the cache's own, one in PATH that is new enough, else
/// installed into the cache.
fn bindgen(lab: &Lab, machine: &Host) -> Result<PathBuf> {
    if let Some(found) = find_bindgen(lab, machine) {
        return Ok(found);
    }
    let pin = &lab.base.rust.bindgen;
    let log = lab.log("bindgen");
    let dir = lab.cache.entry(&bindgen_entry(lab), |dir| {
        let step = Step::start(&format!("installing bindgen {pin}"), Unit::None, 0);
        let target = lab.cache.scratch()?;
        let mut cargo = machine.command("cargo");
        // The default level takes two minutes, for a program that runs a few seconds in each build.
        cargo.env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1");
        cargo.env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16");
        cargo
            .args(["install", "--quiet", "--locked", "--no-track", "--root"])
            .arg(dir)
            .arg("--target-dir")
            .arg(target.path())
            .args(["--version", pin, "bindgen-cli"])
            .current_dir(lab.cache.dir());
        process::logged(cargo, &log, |_| ()).map_err(|error| explain_cargo(error, pin))?;
        step.finish();
        Ok(())
    })?;
    Ok(dir.join("bin/bindgen"))
}

fn explain_cargo(error: anyhow::Error, pin: &str) -> anyhow::Error {
    let text = error.to_string();
    let offline = ["Could not resolve host", "failed to download", "Couldn't connect", "timed out"];
    if offline.iter().any(|words| text.contains(words)) {
        return error.context(format!(
            "no network: cargo cannot fetch bindgen-cli {pin}; run again when online, \
             or put a bindgen {pin} in PATH"
        ));
    }
    error.context(format!("install bindgen-cli {pin}"))
}

fn bindgen_entry(lab: &Lab) -> String {
    format!("tools/bindgen-{}", lab.base.rust.bindgen)
}

/// The bindgen that [`Toolchain::find`] would use, when there is one already.
pub fn find_bindgen(lab: &Lab, machine: &Host) -> Option<PathBuf> {
    let cached = lab.cache.path(&bindgen_entry(lab)).join("bin/bindgen");
    if cached.exists() {
        return Some(cached);
    }
    let found = machine.which("bindgen")?;
    let have = machine.version(&found.to_string_lossy())?;
    version::at_least(&have, &lab.base.rust.bindgen_min).then_some(found)
}

/// The directory with the libclang that belongs to the compiler: bindgen must
/// read headers as the same version of clang does.
pub fn libclang_dir(machine: &Host, cc: &str) -> Option<PathBuf> {
    if let Some(dir) = std::env::var_os(LIBCLANG).filter(|dir| !dir.is_empty()) {
        return Some(dir.into());
    }
    let clang = machine.which(machine.words(cc).last()?)?.canonicalize().ok()?;
    let lib = clang.parent()?.parent()?.join("lib");
    has_libclang(&lib).then_some(lib)
}

fn has_libclang(dir: &Path) -> bool {
    std::fs::read_dir(dir).is_ok_and(|entries| {
        entries.flatten().any(|entry| {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            name.starts_with("libclang.so") || name.starts_with("libclang-")
        })
    })
}

/// The standard library's sources on this machine: `RUST_LIB_SRC`, or the
/// toolchain's own component.
pub fn local_rust_src(machine: &Host) -> Result<Option<PathBuf>> {
    if let Some(dir) = std::env::var_os(RUST_SOURCES).filter(|dir| !dir.is_empty()) {
        let dir = PathBuf::from(dir);
        if !is_rust_src(&dir) {
            bail!("RUST_LIB_SRC={}: no core/src/lib.rs there; unset it", dir.display());
        }
        return Ok(Some(dir));
    }
    let sysroot = process::read(machine.command("rustc").args(["--print", "sysroot"]))?;
    let dir = Path::new(&sysroot).join("lib/rustlib/src/rust/library");
    Ok(is_rust_src(&dir).then_some(dir))
}

fn is_rust_src(dir: &Path) -> bool {
    dir.join("core/src/lib.rs").is_file()
}

/// The cache's name for the sources that fit `rustc`.
pub fn rust_src_entry(rustc: &str) -> String {
    format!("rust-src/{rustc}")
}

fn library_in(entry: &Path, rustc: &str) -> PathBuf {
    entry.join(format!("usr/src/rustc-{rustc}/library"))
}

fn fetch_rust_src(lab: &Lab, rustc: &str) -> Result<PathBuf> {
    let pin = &lab.base.rust;
    let entry = lab.cache.entry(&rust_src_entry(rustc), |dir| {
        let mut have = Vec::new();
        for suite in &pin.src_suites {
            let archive = Archive::open(lab, suite)?;
            let versions = archive.versions(&pin.src_package)?;
            if let Some(fits) = versions.iter().find(|v| upstream(v) == rustc) {
                let deb = archive.fetch(&pin.src_package, fits)?;
                return unpack(deb.path(), dir, rustc);
            }
            have.extend(versions.iter().map(|v| upstream(v).to_owned()));
        }
        bail!("{}", no_rust_src(rustc, &pin.src_package, &have))
    })?;
    Ok(library_in(&entry, rustc))
}

fn no_rust_src(rustc: &str, package: &str, have: &[String]) -> String {
    let have = if have.is_empty() { "none".to_owned() } else { have.join(", ") };
    format!(
        "rustc {rustc} has no sources of its standard library, and Debian has {package} only for: \
         {have}. Run `rustup component add rust-src`, or use one of those versions of rustc"
    )
}

/// `1.95.0` of `1.95.0+dfsg1-2~bpo13+1`.
fn upstream(version: &str) -> &str {
    version.split(['+', '-', '~']).next().unwrap_or(version)
}

/// Unpacks only the library. The rest, five times as much, belongs to the compiler.
fn unpack(deb: &Path, dir: &Path, rustc: &str) -> Result<()> {
    let mut fsys = Command::new("dpkg-deb");
    fsys.arg("--fsys-tarfile").arg(deb);
    let mut tar = Command::new("tar");
    tar.arg("-x").arg("-C").arg(dir).arg(format!("./usr/src/rustc-{rustc}/library"));
    process::pipe(vec![fsys, tar])?;
    if !is_rust_src(&library_in(dir, rustc)) {
        bail!("{} holds no sources of rustc {rustc}", deb.display());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn llvm_and_cc_mean_what_kernel_people_expect() {
        let debian = || Some(PathBuf::from("/d"));
        let cases: [(_, _, Option<&str>, &str, &str, &[&str]); 8] = [
            (None, None, Some("/d"), "clang", "ld.lld", &["LLVM=1"]),
            (Some("1"), None, Some("/d"), "clang", "ld.lld", &["LLVM=1"]),
            (Some("-18"), None, None, "clang-18", "ld.lld-18", &["LLVM=-18"]),
            (Some("/o/"), None, None, "/o/clang", "/o/ld.lld", &["LLVM=/o/"]),
            (None, Some("gcc-13"), None, "gcc-13", "ld", &["CC=gcc-13"]),
            (Some("0"), None, None, "gcc", "ld", &[]),
            (Some("1"), Some("my"), Some("/d"), "my", "ld.lld", &["LLVM=1", "CC=my"]),
            (Some(""), Some("gcc"), None, "gcc", "ld", &["CC=gcc"]),
        ];
        for (llvm, cc, dir, compiler, ld, args) in cases {
            let got = Compiler::from_settings(llvm, cc, debian());
            let want = Compiler {
                dir: dir.map(PathBuf::from),
                cc: compiler.to_owned(),
                ld: ld.to_owned(),
                make_args: args.iter().map(|arg| (*arg).to_owned()).collect(),
            };
            assert_eq!(got, want, "LLVM={llvm:?} CC={cc:?}");
        }
    }

    #[test]
    fn a_debian_version_is_matched_by_its_upstream_part() {
        for (version, want) in [
            ("1.95.0+dfsg1-2~bpo13+1", "1.95.0"),
            ("1.85.0-3", "1.85.0"),
            ("1.90.0~beta", "1.90.0"),
        ] {
            assert_eq!(upstream(version), want);
        }
    }

    #[test]
    fn a_rustc_without_sources_is_told_which_versions_have_them() {
        let text = no_rust_src("1.97.0", "rust-src", &["1.95.0".into(), "1.85.0".into()]);
        assert!(text.contains("rustc 1.97.0"));
        assert!(text.contains("1.95.0, 1.85.0"));
        assert!(text.contains("rustup component add rust-src"));
    }

    #[test]
    fn a_failed_install_of_bindgen_says_when_there_is_no_network() {
        let offline = anyhow::anyhow!("error: [6] Could not resolve host: x");
        assert!(format!("{:#}", explain_cargo(offline, "0.72.1")).starts_with("no network"));
        let other = anyhow::anyhow!("error: could not compile");
        assert!(format!("{:#}", explain_cargo(other, "0.72.1")).starts_with("install bindgen-cli"));
    }
}
