// SPDX-License-Identifier: GPL-2.0

//! A kernel to boot and to build modules against: built once and cached, or a finished build of the
//! user's.
//!
//! A new configuration starts from a copy of the most similar finished build of the same source by
//! the same tools, so that kbuild only compiles what the options change. Like any other build, the
//! copy is unfinished until it has its stamp.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use vmlab::boot::kernel::Kernel;
use vmlab::run::files;
use vmlab::run::process;
use vmlab::run::progress::{Step, Unit, say};

use crate::build::cache::{self, Cache};
use crate::build::kconfig::{Config, Fragment, Wanted};
use crate::build::source::{self, Source};
use crate::context::Lab;
use crate::host::disk;
use crate::host::places;
use crate::host::toolchain::Toolchain;

/// What a kernel is for: each kind has a configuration of its own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Variant {
    /// Day to day.
    #[default]
    Plain,
    /// All checks that the kernel can do on itself.
    Debug,
    /// For the kernel tree's own network tests, which need many kinds of devices.
    #[value(name = "net")]
    NetSelftests,
    /// User Mode Linux: a program of this machine, which measures at the machine's own speed.
    #[value(name = "uml")]
    UserMode,
}

impl Variant {
    /// The end of the names of folders with files that are built for it.
    pub fn suffix(self) -> &'static str {
        match self {
            Variant::Plain => "",
            Variant::Debug => "-debug",
            Variant::NetSelftests => "-net",
            Variant::UserMode => "-uml",
        }
    }

    /// Arguments for make, besides the tools.
    pub fn make_args(self) -> &'static [&'static str] {
        match self {
            Variant::UserMode => &["ARCH=um"],
            _ => &[],
        }
    }

    /// More of them for the build of a module.
    pub fn module_args(self) -> &'static [&'static str] {
        match self {
            // User Mode Linux is no position-independent program, and its modules lie close to it.
            // By default, rustc reaches external data through a global offset table, and the module
            // loader there has none.
            Variant::UserMode => &["KRUSTFLAGS=-Zdirect-access-external-data=yes"],
            _ => &[],
        }
    }
}

/// Line tables are enough to show file and line of a stack. Types would cost a quarter of the build
/// time. clang and gcc both call this `-g1`.
const LINE_TABLES: &str = "-g1";
/// Nobody fixes the warnings of a pinned tree here, and looking for them takes 5 % of the time. The
/// user sees those of their own tree.
const NO_WARNINGS: &str = "-w";

/// The merged fragment, in a build directory.
const FRAGMENT: &str = "lab.config";
/// The number of objects that a build made, in its directory.
const OBJECTS: &str = "lab.objects";

/// The kernel that the settings ask for.
pub fn prepare(lab: &Lab, tools: &Toolchain, variant: Variant) -> Result<Kernel> {
    match &lab.settings.kbuild {
        Some(build) => finished(lab, build, tools, variant),
        None => build(lab, tools, variant),
    }
}

/// A file of `lab/config`. It is compiled into the program.
macro_rules! own {
    ($name:literal) => {
        Fragment::Own($name, include_str!(concat!("../../config/", $name)))
    };
}

/// The fragments of the guest's configuration: the lab's, the project's, those of the command line.
pub fn fragments(lab: &Lab, variant: Variant) -> Vec<Fragment> {
    let project = lab.project.config.iter().map(|path| lab.root.join(path));
    let vm = [own!("vm.config")].into_iter().chain(project.map(Fragment::File));
    let mut all: Vec<Fragment> = match variant {
        Variant::Plain => vm.collect(),
        Variant::Debug => vm.chain([own!("debug.config")]).collect(),
        Variant::NetSelftests => vm.chain([own!("selftests-net.config")]).collect(),
        Variant::UserMode => vec![own!("uml.config")],
    };
    all.extend(lab.settings.config.iter().cloned().map(Fragment::File));
    all
}

fn build(lab: &Lab, tools: &Toolchain, variant: Variant) -> Result<Kernel> {
    let wanted = Wanted::read(&fragments(lab, variant))?;
    let source = source::find(lab)?;
    source::check_tools(&source, tools)?;
    let name = |fragment: &str| entry_name(&source, fragment, tools, variant);
    let entry = name(&wanted.fragment());
    let make = |dir: &Path| -> Result<()> {
        let tools = tools.clone().with_rust_src(lab)?;
        let seed = match source.fixed {
            true => similar(&lab.cache, &wanted.fragment(), name),
            false => None,
        };
        Build { lab, source: &source, dir, tools: &tools, variant, seed }.run(&wanted)
    };
    if source.fixed {
        if !lab.cache.has(&entry) {
            disk::check(lab.cache.dir(), disk::KERNEL_BUILD)?;
        }
        let dir = lab.cache.in_place(&entry, make)?;
        return describe(dir.clone(), source.dir, dir.join("vmlinux.image"));
    }
    // The tree may change. Its own make knows what to build again.
    let dir = lab.cache.path(&entry);
    let lock = lab.cache.lock(&entry)?;
    files::make_dir(&dir)?;
    make(&dir)?;
    drop(lock);
    lab.cache.hold(&entry)?;
    describe(dir.clone(), source.dir, dir.join("vmlinux.image"))
}

fn entry_name(source: &Source, fragment: &str, tools: &Toolchain, variant: Variant) -> String {
    let mut parts = vec![source.id.clone(), fragment.to_owned(), kcflags(source, fragment)];
    parts.extend(tools.key_parts());
    parts.extend(variant.make_args().iter().map(|arg| (*arg).to_owned()));
    let folder = if source.fixed { "kernel" } else { "ksrc" };
    format!("{folder}/{}-{}", source.version, files::key(parts))
}

fn kcflags(source: &Source, fragment: &str) -> String {
    let warnings = if source.fixed { NO_WARNINGS } else { "" };
    // The scripts look at the kernel's own types.
    let lines = if wants_gdb_scripts(fragment) { "" } else { LINE_TABLES };
    format!("KCFLAGS={}", format!("{lines} {warnings}").trim())
}

/// The compiler flags of a finished kernel. With others, make would compile everything again.
pub fn flags(lab: &Lab, kernel: &Kernel) -> Result<String> {
    let path = kernel.build.join(FRAGMENT);
    let fragment = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    Ok(kcflags(&source::find(lab)?, &fragment))
}

/// Makes a folder where a build continues from a finished one. It is whole or absent.
pub fn begin_from(kernel: &Kernel, folder: &Path) -> Result<()> {
    let new = folder.with_extension("new");
    for dir in [&new, folder] {
        files::remove_dir(dir)?;
    }
    files::make_dir(&new)?;
    copy(&kernel.build, &new)?;
    fs::rename(&new, folder).with_context(|| format!("rename to {}", folder.display()))
}

/// The kernel that a continued build has linked. Makes its image for a guest.
pub fn linked(folder: &Path, source: &Path, tools: &Toolchain) -> Result<Kernel> {
    let image = folder.join("vmlinux.image");
    strip(&folder.join("vmlinux"), &image, tools)?;
    describe(folder.to_owned(), source.to_owned(), image)
}

/// Whether the tree's own scripts for gdb are built.
fn wants_gdb_scripts(fragment: &str) -> bool {
    fragment.lines().any(|line| line == "CONFIG_GDB_SCRIPTS=y")
}

/// Whether the base kernel is in the cache.
pub fn is_built(lab: &Lab, tools: &Toolchain) -> Result<bool> {
    if !lab.cache.has(&source::base_entry(lab)) {
        return Ok(false);
    }
    let source = source::find(lab)?;
    let wanted = Wanted::read(&fragments(lab, Variant::Plain))?;
    let entry = entry_name(&source, &wanted.fragment(), tools, Variant::Plain);
    Ok(lab.cache.has(&entry))
}

/// The finished build whose configuration differs in the fewest options; of several, the newest.
///
/// `name` gives the entry of a configuration with our source and tools. Another entry was made from
/// others.
fn similar(cache: &Cache, fragment: &str, name: impl Fn(&str) -> String) -> Option<PathBuf> {
    let wanted: BTreeSet<&str> = fragment.lines().collect();
    let builds = fs::read_dir(cache.path("kernel")).into_iter().flatten().flatten();
    let candidates = builds.filter_map(|build| {
        let entry = format!("kernel/{}", build.file_name().to_string_lossy());
        let path = build.path().join(FRAGMENT);
        let have = fs::read_to_string(&path).ok()?;
        // With types or without: the flags of every object are others.
        let other_flags = wants_gdb_scripts(&have) != wants_gdb_scripts(fragment);
        if other_flags || !cache.has(&entry) || name(&have) != entry {
            return None;
        }
        let have: BTreeSet<&str> = have.lines().collect();
        let made: SystemTime = path.metadata().ok()?.modified().ok()?;
        let differences = wanted.symmetric_difference(&have).count();
        Some(((differences, Reverse(made)), build.path()))
    });
    candidates.min().map(|(_, path)| path)
}

/// Copies a finished build into the empty directory of a new one. Leaves out the stamp, the fragment,
/// and what every configuration links anew. Keeps times, by which make decides.
fn copy(seed: &Path, dir: &Path) -> Result<()> {
    let own = [cache::STAMP, FRAGMENT, "vmlinux", "vmlinux.image", "System.map"];
    let entries = fs::read_dir(seed).with_context(|| format!("read {}", seed.display()))?;
    let mut parts = Vec::new();
    for entry in entries {
        let entry = entry.with_context(|| format!("read {}", seed.display()))?;
        if !own.iter().any(|name| entry.file_name() == *name) {
            parts.push(entry.path());
        }
    }
    let mut cp = Command::new("cp");
    cp.args(["-a", "--reflink=auto", "-t"]).arg(dir).args(parts);
    process::read(&mut cp).with_context(|| format!("copy {}", seed.display()))?;
    Ok(())
}

/// The folder of the program that all objects of the kernel depend on.
const OBJTOOL: &str = "tools/objtool";

/// Sets the time of all files below a folder.
fn set_times(folder: &Path, time: SystemTime) -> Result<()> {
    let entries = fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))?;
    for entry in entries {
        let entry = entry.with_context(|| format!("read {}", folder.display()))?;
        let (path, kind) = (entry.path(), entry.file_type()?);
        if kind.is_dir() {
            set_times(&path, time)?;
        } else if kind.is_file() {
            let file = File::options().append(true).open(&path);
            file.and_then(|file| file.set_modified(time))
                .with_context(|| format!("set the time of {}", path.display()))?;
        }
    }
    Ok(())
}

struct Build<'a> {
    lab: &'a Lab,
    source: &'a Source,
    dir: &'a Path,
    tools: &'a Toolchain,
    variant: Variant,
    /// A finished build to start from.
    seed: Option<PathBuf>,
}

impl Build<'_> {
    fn run(&self, wanted: &Wanted) -> Result<()> {
        if let Some(seed) = &self.seed {
            copy(seed, self.dir).map_err(|error| disk::explain(error, self.lab.cache.dir()))?;
        }
        self.configure(wanted)?;
        wanted.check(&Config::read(&self.dir.join(".config"))?, &self.source.dir)?;
        self.compile(&wanted.fragment())?;
        strip(&self.dir.join("vmlinux"), &self.dir.join("vmlinux.image"), self.tools)?;
        if self.source.fixed {
            prune(self.dir)?;
        }
        Ok(())
    }

    fn make(&self) -> Command {
        let mut make = self.tools.make();
        make.arg("-C").arg(&self.source.dir).arg(format!("O={}", self.dir.display()));
        make.args(self.variant.make_args());
        // These would differ from machine to machine, and from day to day.
        make.env("KBUILD_BUILD_USER", "lab").env("KBUILD_BUILD_HOST", "lab");
        make.env("KBUILD_BUILD_TIMESTAMP", "1970-01-01");
        if !self.source.fixed {
            // Without it, a git tree is called `7.3.4` or `7.3.4+`: its last commit has a tag or
            // not. Modules that were built before would not load.
            make.arg("LOCALVERSION=");
        }
        make
    }

    /// make, with the compiler flags.
    fn compiler(&self, fragment: &str) -> Command {
        let mut make = self.make();
        make.arg(kcflags(self.source, fragment));
        make
    }

    fn configure(&self, wanted: &Wanted) -> Result<()> {
        let path = self.dir.join(FRAGMENT);
        let text = wanted.fragment();
        let same = fs::read_to_string(&path).is_ok_and(|have| have == text);
        if same && self.dir.join(".config").exists() {
            return Ok(());
        }
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        let mut make = self.make();
        make.env("KCONFIG_ALLCONFIG", &path).args(["-s", "allnoconfig"]);
        process::logged(make, &self.lab.log("kernel-config"), |_| ())
            .context("configure the kernel")
    }

    /// Makes make accept the objects of the seed. They depend on objtool, which is built again in
    /// each folder, because its commands contain the folder's name. Source and compiler are the same,
    /// so the result is: it gets the time of the seed's.
    fn keep_objects(&self, fragment: &str, step: &mut Step) -> Result<()> {
        let Some(seed) = &self.seed else { return Ok(()) };
        let made = seed.join(OBJTOOL).join("objtool").metadata().and_then(|it| it.modified());
        // Some architectures have no objtool.
        let Ok(made) = made else { return Ok(()) };
        let mut make = self.compiler(fragment);
        make.arg("prepare");
        process::logged(make, &self.lab.log("kernel-prepare"), |line| count(step, line))
            .map_err(|error| disk::explain(error, self.lab.cache.dir()))
            .context("prepare the kernel's build")?;
        // Its objects as well: otherwise it would be linked again.
        set_times(&self.dir.join(OBJTOOL), made)
    }

    fn compile(&self, fragment: &str) -> Result<()> {
        let (from, expected) = match &self.seed {
            Some(seed) => {
                let name = seed.file_name().unwrap_or_default().to_string_lossy();
                (format!(" from what {name} has compiled"), 0)
            }
            None => (String::new(), self.expected()),
        };
        let what = format!("building Linux {}{from}", self.source.version);
        let mut step = Step::start(&what, Unit::Objects, expected);
        self.keep_objects(fragment, &mut step)?;
        let mut make = self.compiler(fragment);
        make.args(["vmlinux", "modules"]);
        if wants_gdb_scripts(fragment) {
            make.arg("scripts_gdb");
        }
        process::logged(make, &self.lab.log("kernel"), |line| count(&mut step, line))
            .map_err(|error| disk::explain(error, self.lab.cache.dir()))
            .with_context(|| format!("build Linux {}", self.source.version))?;
        let objects = step.done();
        step.finish();
        // Only a build from nothing tells how many objects such a build makes.
        if self.source.fixed && self.seed.is_none() {
            let path = self.dir.join(OBJECTS);
            fs::write(&path, objects.to_string())
                .with_context(|| format!("write {}", path.display()))?;
        }
        Ok(())
    }

    /// How many objects there will be: as many as the last build from nothing made. Before the
    /// first, the number of the pin.
    fn expected(&self) -> u64 {
        let built = fs::read_dir(self.lab.cache.path("kernel")).into_iter().flatten().flatten();
        let last = built
            .filter_map(|entry| {
                let path = entry.path().join(OBJECTS);
                let time = path.metadata().ok()?.modified().ok()?;
                Some((time, fs::read_to_string(path).ok()?.trim().parse().ok()?))
            })
            .max();
        last.map_or(self.lab.base.kernel.objects, |(_, objects)| objects)
    }
}

/// Counts an object, if the line of kbuild's output tells of one.
fn count(step: &mut Step, line: &str) {
    if is_object(line) {
        step.tick();
    }
}

/// Whether a line of kbuild's output says that a file was compiled or linked.
fn is_object(line: &str) -> bool {
    ["  CC ", "  AS ", "  RUSTC ", "  AR ", "  LD ", "  HOSTCC ", "  HOSTLD "]
        .iter()
        .any(|word| line.starts_with(word))
}

/// Removes what no boot reads, no build of a module, and no build that starts from this one. Single
/// objects stay, for the last of these.
fn prune(dir: &Path) -> Result<()> {
    for name in ["vmlinux.o", "vmlinux.a", "vmlinux.unstripped", "built-in.a"] {
        let path = dir.join(name);
        if path.exists() {
            fs::remove_file(&path).with_context(|| format!("remove {}", path.display()))?;
        }
    }
    Ok(())
}

/// Makes the image without debug information: QEMU loads a tenth of the size.
fn strip(vmlinux: &Path, image: &Path, tools: &Toolchain) -> Result<()> {
    let newer = |a: &Path, b: &Path| {
        let time = |path: &Path| path.metadata().and_then(|meta| meta.modified()).ok();
        time(a) > time(b)
    };
    if newer(image, vmlinux) {
        return Ok(());
    }
    let objcopy = ["llvm-objcopy", "objcopy"].iter().find_map(|name| tools.machine.which(name));
    let objcopy = objcopy.context("neither llvm-objcopy nor objcopy found: install binutils")?;
    let temporary = image.with_extension("tmp");
    process::read(
        tools.machine.command(objcopy).arg("--strip-debug").arg(vmlinux).arg(&temporary),
    )?;
    fs::rename(&temporary, image).with_context(|| format!("rename to {}", image.display()))
}

fn describe(build: PathBuf, source: PathBuf, image: PathBuf) -> Result<Kernel> {
    let path = build.join("include/config/kernel.release");
    let release = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let config = Config::read(&build.join("include/config/auto.conf"))?;
    let debug = ["KASAN", "PROVE_LOCKING", "KCSAN", "UBSAN"].iter().any(|o| config.is_set(o));
    let vmlinux = build.join("vmlinux");
    let release = release.trim().to_owned();
    Ok(Kernel { release, debug, vmlinux, image, source, build })
}

/// A finished build of the user's. It is only read.
fn finished(lab: &Lab, build: &Path, tools: &Toolchain, variant: Variant) -> Result<Kernel> {
    let shown = format!("KBUILD={}", build.display());
    let build = build.canonicalize().with_context(|| shown.clone())?;
    places::buildable(&build).with_context(|| shown.clone())?;
    check_finished(&build, tools, variant).with_context(|| shown.clone())?;
    let source = source_of(&build).with_context(|| shown.clone())?;
    let image = lab.target.join("kbuild").join(files::key([build.display().to_string()]));
    files::make_dir(&image)?;
    let image = image.join("vmlinux.image");
    strip(&build.join("vmlinux"), &image, tools)?;
    say(&format!("using the kernel in {}", build.display()));
    let lacking = lacking(lab, &build, tools, variant)?;
    if !lacking.is_empty() {
        say(&format!(
            "note: it lacks options that the tests need, some may be skipped: {}",
            lacking.join(", ")
        ));
    }
    describe(build, source, image)
}

/// The options that a user's build lacks. An error if it cannot be used at all.
pub fn lacking(
    lab: &Lab,
    build: &Path,
    tools: &Toolchain,
    variant: Variant,
) -> Result<Vec<String>> {
    check_finished(build, tools, variant)?;
    let config = Config::read(&build.join("include/config/auto.conf"))?;
    Ok(Wanted::read(&fragments(lab, variant))?.lacking(&config))
}

/// Checks that a build can be used, before anything is compiled. The error is one sentence.
fn check_finished(build: &Path, tools: &Toolchain, variant: Variant) -> Result<()> {
    if !build.is_dir() {
        bail!("not a directory");
    }
    let auto = build.join("include/config/auto.conf");
    if !auto.exists() {
        bail!("not a finished kernel build (no include/config/auto.conf): build it first");
    }
    let config = Config::read(&auto)?;
    if !config.is_set("RUST") {
        bail!("built without Rust (CONFIG_RUST is not set): set it and build again, or use KSRC");
    }
    if !config.is_set("MODULES") {
        bail!("built without CONFIG_MODULES: no module can be loaded");
    }
    for file in ["rust/libkernel.rmeta", "rust/libcore.rmeta", "scripts/target.json"] {
        if !build.join(file).exists() {
            bail!(
                "it has CONFIG_RUST but no Rust metadata ({file} is missing), as distribution \
                 headers are: use a complete build directory, or KSRC"
            );
        }
    }
    same_tool(config.text("RUSTC_VERSION_TEXT"), &tools.versions.rustc, "rustc")?;
    same_tool(config.text("CC_VERSION_TEXT"), &tools.versions.cc, "compiler")?;
    for file in ["Module.symvers", "vmlinux"] {
        if !build.join(file).exists() {
            bail!("not a finished kernel build ({file} is missing): build it first");
        }
    }
    match (variant == Variant::UserMode, config.is_set("UML")) {
        (true, false) => bail!("no build with ARCH=um, which ENGINE=uml needs"),
        (false, true) => bail!("a build with ARCH=um: add ENGINE=uml"),
        _ => {}
    }
    if variant != Variant::UserMode && !config.is_set("PVH") {
        bail!("built without CONFIG_PVH, by which QEMU boots vmlinux: set it and build again");
    }
    Ok(())
}

fn same_tool(built_by: Option<&str>, have: &str, tool: &str) -> Result<()> {
    match built_by {
        Some(built_by) if built_by == have => Ok(()),
        Some(built_by) => bail!(
            "built by another {tool}: \"{built_by}\", while this is \"{have}\"; Rust metadata \
             and objects only fit the {tool} that made them, so build it again with this one"
        ),
        None => bail!("its configuration does not say which {tool} built it"),
    }
}

/// The source of a build directory: the directory itself, or the target of its link.
fn source_of(build: &Path) -> Result<PathBuf> {
    if build.join("Kconfig").exists() {
        return Ok(build.to_owned());
    }
    let link = build.join("source");
    link.canonicalize().with_context(|| format!("follow {}", link.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::machine::Host;
    use crate::host::toolchain::Versions;
    use crate::project::Project;

    fn tools() -> Toolchain {
        Toolchain::for_tests(
            Host::this(),
            Versions {
                rustc: "rustc 1.95.0 (5 2026)".into(),
                cc: "clang version 19.1.7".into(),
                ..Versions::default()
            },
        )
    }

    /// A finished build as far as the check looks, to be spoiled by each case.
    fn finished_build(dir: &Path) {
        for sub in ["include/config", "rust", "scripts"] {
            fs::create_dir_all(dir.join(sub)).unwrap();
        }
        config(dir, "CONFIG_RUST=y\nCONFIG_MODULES=y\nCONFIG_PVH=y\n");
        let files = [
            "rust/libkernel.rmeta",
            "rust/libcore.rmeta",
            "scripts/target.json",
            "vmlinux",
            "Module.symvers",
        ];
        for file in files {
            fs::write(dir.join(file), "").unwrap();
        }
    }

    fn config(dir: &Path, options: &str) {
        let text = format!(
            "{options}CONFIG_RUSTC_VERSION_TEXT=\"rustc 1.95.0 (5 2026)\"\n\
             CONFIG_CC_VERSION_TEXT=\"clang version 19.1.7\"\n"
        );
        fs::write(dir.join("include/config/auto.conf"), text).unwrap();
    }

    #[test]
    fn a_complete_build_is_accepted() {
        let dir = tempfile::tempdir().unwrap();
        finished_build(dir.path());
        check_finished(dir.path(), &tools(), Variant::Plain).unwrap();
    }

    #[test]
    fn a_build_of_no_use_says_why_in_a_sentence() {
        type Spoil = fn(&Path);
        let all = "CONFIG_RUST=y\nCONFIG_MODULES=y\n";
        let cases: [(Spoil, &str); 7] = [
            (
                |dir| fs::remove_file(dir.join("include/config/auto.conf")).unwrap(),
                "not a finished kernel build (no include/config/auto.conf)",
            ),
            (|dir| config(dir, "CONFIG_MODULES=y\n"), "built without Rust"),
            (|dir| config(dir, "CONFIG_RUST=y\n"), "built without CONFIG_MODULES"),
            (|dir| config(dir, "CONFIG_RUST=y\nCONFIG_MODULES=y\n"), "built without CONFIG_PVH"),
            (
                |dir| fs::remove_file(dir.join("rust/libkernel.rmeta")).unwrap(),
                "no Rust metadata (rust/libkernel.rmeta is missing), as distribution headers",
            ),
            (|dir| fs::remove_file(dir.join("vmlinux")).unwrap(), "(vmlinux is missing)"),
            (
                |dir| fs::remove_file(dir.join("Module.symvers")).unwrap(),
                "(Module.symvers is missing)",
            ),
        ];
        assert!(!all.contains("PVH"));
        for (spoil, want) in cases {
            let dir = tempfile::tempdir().unwrap();
            finished_build(dir.path());
            spoil(dir.path());
            let error =
                check_finished(dir.path(), &tools(), Variant::Plain).unwrap_err().to_string();
            assert!(error.contains(want), "{error}");
        }
    }

    #[test]
    fn a_build_by_another_rustc_or_compiler_names_both() {
        let dir = tempfile::tempdir().unwrap();
        finished_build(dir.path());
        for (rustc, cc, want) in [
            (
                "rustc 1.94.0 (4 2026)",
                "clang version 19.1.7",
                "another rustc: \"rustc 1.95.0 (5 2026)\", while this is \"rustc 1.94.0",
            ),
            (
                "rustc 1.95.0 (5 2026)",
                "clang version 18.0.0",
                "another compiler: \"clang version 19.1.7\"",
            ),
        ] {
            let mut tools = tools();
            tools.versions.rustc = rustc.into();
            tools.versions.cc = cc.into();
            let error = check_finished(dir.path(), &tools, Variant::Plain).unwrap_err().to_string();
            assert!(error.contains(want), "{error}");
        }
    }

    #[test]
    fn only_lines_about_objects_count() {
        let cases = [
            ("  CC      net/core/dev.o", true),
            ("  RUSTC L rust/kernel.o", true),
            ("  LD      vmlinux.o", true),
            ("  UPD     include/config/kernel.release", false),
            ("make[1]: Entering directory", false),
        ];
        for (line, want) in cases {
            assert_eq!(is_object(line), want, "{line}");
        }
    }

    #[test]
    fn pruning_keeps_what_modules_and_other_builds_start_from() {
        let dir = tempfile::tempdir().unwrap();
        for file in [
            "vmlinux.o",
            "vmlinux",
            "net/core/dev.o",
            "rust/core.o",
            "scripts/mod/modpost.o",
            "arch/x86/include/generated/asm/x.h",
            "Module.symvers",
        ] {
            let path = dir.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        prune(dir.path()).unwrap();
        for (file, kept) in [
            ("vmlinux.o", false),
            ("net/core/dev.o", true),
            ("vmlinux", true),
            ("rust/core.o", true),
            ("scripts/mod/modpost.o", true),
            ("Module.symvers", true),
            ("arch/x86/include/generated/asm/x.h", true),
        ] {
            assert_eq!(dir.path().join(file).exists(), kept, "{file}");
        }
    }

    /// A build in a cache, named as `name` names its configuration.
    fn cached(cache: &Cache, fragment: &str, whole: bool) -> PathBuf {
        let dir = cache.path(&name_of(fragment));
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join(FRAGMENT), fragment).unwrap();
        if whole {
            fs::write(dir.join(cache::STAMP), "whole\n").unwrap();
        }
        dir
    }

    fn name_of(fragment: &str) -> String {
        format!("kernel/7.3.4-{}", files::key([fragment]))
    }

    #[test]
    fn a_build_starts_from_the_most_similar_finished_one() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::at(dir.path().to_owned());
        let wanted = "CONFIG_A=y\nCONFIG_B=y\nCONFIG_C=y\n";
        assert_eq!(similar(&cache, wanted, name_of), None, "there is no cache yet");
        let far = cached(&cache, "CONFIG_A=y\n", true);
        assert_eq!(similar(&cache, wanted, name_of), Some(far.clone()));
        let near = cached(&cache, "CONFIG_A=y\nCONFIG_B=y\n", true);
        cached(&cache, "CONFIG_A=y\nCONFIG_B=y\nCONFIG_C=n\n", false);
        assert_eq!(
            similar(&cache, wanted, name_of),
            Some(near.clone()),
            "half-finished ones are not used"
        );
        let other_tools = |fragment: &str| format!("{}-gcc", name_of(fragment));
        assert_eq!(similar(&cache, wanted, other_tools), None);

        let for_gdb = format!("{wanted}CONFIG_GDB_SCRIPTS=y\n");
        assert_eq!(similar(&cache, &for_gdb, name_of), None, "its objects have types");
        cached(&cache, &for_gdb, true);
        assert_eq!(similar(&cache, wanted, name_of), Some(near.clone()));

        let equal = cached(&cache, "CONFIG_A=y\nCONFIG_C=y\n", true);
        let time = |dir: &Path, time| {
            let file = File::options().write(true).open(dir.join(FRAGMENT)).unwrap();
            file.set_modified(time).unwrap();
        };
        time(&equal, SystemTime::UNIX_EPOCH);
        assert_eq!(similar(&cache, wanted, name_of), Some(near.clone()), "the newer of two");
        time(&near, SystemTime::UNIX_EPOCH);
        time(&equal, SystemTime::now());
        assert_eq!(similar(&cache, wanted, name_of), Some(equal));
    }

    #[test]
    fn a_module_without_a_project_gets_the_kernel_of_this_project() {
        let dir = tempfile::tempdir().unwrap();
        let nobodys = source::tests::lab(dir.path());
        let ours = Lab { project: Project::load(&nobodys.root).unwrap(), ..nobodys.clone() };
        let config = |lab, variant| Wanted::read(&fragments(lab, variant)).unwrap().fragment();
        for variant in Variant::value_variants() {
            assert_eq!(config(&nobodys, *variant), config(&ours, *variant), "{variant:?}");
        }
    }

    #[test]
    fn a_kernel_for_gdbs_scripts_has_types() {
        let source =
            Source { dir: PathBuf::new(), version: String::new(), fixed: true, id: String::new() };
        assert_eq!(kcflags(&source, "CONFIG_NET=y\n"), "KCFLAGS=-g1 -w");
        assert_eq!(kcflags(&source, "CONFIG_GDB_SCRIPTS=y\n"), "KCFLAGS=-w");
    }

    #[test]
    fn all_files_of_a_folder_get_the_time() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("inner")).unwrap();
        for name in ["objtool", "inner/check.o"] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        set_times(dir.path(), SystemTime::UNIX_EPOCH).unwrap();
        for name in ["objtool", "inner/check.o"] {
            let time = dir.path().join(name).metadata().unwrap().modified().unwrap();
            assert_eq!(time, SystemTime::UNIX_EPOCH, "{name}");
        }
    }

    #[test]
    fn a_copy_is_not_finished_and_keeps_times() {
        let dir = tempfile::tempdir().unwrap();
        let (seed, new) = (dir.path().join("seed"), dir.path().join("new"));
        for folder in [&seed.join("net"), &new] {
            fs::create_dir_all(folder).unwrap();
        }
        for name in [cache::STAMP, FRAGMENT, "vmlinux", "vmlinux.image", ".config", "net/a.o"] {
            fs::write(seed.join(name), name).unwrap();
        }
        let object = File::options().write(true).open(seed.join("net/a.o")).unwrap();
        object.set_modified(SystemTime::UNIX_EPOCH).unwrap();
        copy(&seed, &new).unwrap();
        for name in [cache::STAMP, FRAGMENT, "vmlinux", "vmlinux.image"] {
            assert!(!new.join(name).exists(), "{name}");
        }
        assert!(new.join(".config").exists());
        let copied = new.join("net/a.o").metadata().unwrap().modified().unwrap();
        assert_eq!(copied, SystemTime::UNIX_EPOCH);
    }
}
