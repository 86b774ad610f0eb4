// SPDX-License-Identifier: GPL-2.0

//! A kernel to boot and to build modules against: built once and cached, or a finished build of the
//! user's.
//!
//! The build of a new configuration starts from a copy of the most similar finished build of the
//! same source with the same tools. So kbuild only compiles what the changed options affect. Like
//! any other build, the copy counts as unfinished until it has its stamp.

mod finished;
mod seed;

pub use self::finished::lacking;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use clap::ValueEnum;
use vmlab::boot::kernel::Kernel;
use vmlab::run::files;
use vmlab::run::process;
use vmlab::run::progress::{Step, Unit};

use crate::build::kconfig::{Config, Fragment, Wanted};
use crate::build::source::{self, Source};
use crate::context::Lab;
use crate::host::disk;
use crate::host::toolchain::Toolchain;

/// What a kernel is for: each kind has a configuration of its own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Variant {
    /// For everyday tests.
    #[default]
    Plain,
    /// With all run-time checks of the kernel.
    Debug,
    /// For the kernel tree's own network tests, which need many kinds of devices.
    #[value(name = "net")]
    NetSelftests,
    /// For the project's study: with the options that its measurements need.
    Study,
    /// User Mode Linux: a program of the host, for measurements at the host's own speed.
    #[value(name = "uml")]
    UserMode,
}

impl Variant {
    /// The suffix for names of folders with files that are built for this kernel.
    pub fn suffix(self) -> &'static str {
        match self {
            Variant::Plain => "",
            Variant::Debug => "-debug",
            Variant::NetSelftests => "-net",
            Variant::Study => "-study",
            Variant::UserMode => "-uml",
        }
    }

    /// Arguments for make, besides those that name the tools.
    pub fn make_args(self) -> &'static [&'static str] {
        match self {
            Variant::UserMode => &["ARCH=um"],
            _ => &[],
        }
    }

    /// More arguments for make, for the build of a module.
    pub fn module_args(self) -> &'static [&'static str] {
        match self {
            // By default, rustc reaches external data through a global offset table, which the
            // module loader of User Mode Linux does not support. Direct access works, since its
            // modules are close to the kernel.
            Variant::UserMode => &["KRUSTFLAGS=-Zdirect-access-external-data=yes"],
            _ => &[],
        }
    }
}

/// Line tables are enough to show file and line of a stack. Types would cost a quarter of the build
/// time. clang and gcc both call this `-g1`.
const LINE_TABLES: &str = "-g1";
/// Warnings of the pinned tree are off: nobody fixes them here, and they take 5 % of the build
/// time. Warnings of a user's own tree are shown.
const NO_WARNINGS: &str = "-w";

/// The merged fragment, in a build directory.
const FRAGMENT: &str = "lab.config";
/// The kind of the cache's entries that are builds of the user's own tree.
pub const OF_A_TREE: &str = "ksrc";
/// The file with the number of objects that a build made, in its directory.
const OBJECTS: &str = "lab.objects";

/// The kernel that the settings ask for.
pub fn prepare(lab: &Lab, tools: &Toolchain, variant: Variant) -> Result<Kernel> {
    match &lab.settings.kbuild {
        Some(build) => finished::take(lab, build, tools, variant),
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
        Variant::Study => {
            let study = lab.project.study.iter().flat_map(|study| &study.config);
            vm.chain(study.map(|path| Fragment::File(lab.root.join(path)))).collect()
        }
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
            true => seed::similar(&lab.cache, &wanted.fragment(), name),
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
    // The tree may change. make finds out what to build again.
    let dir = lab.cache.renewed(&entry, make)?;
    describe(dir.clone(), source.dir, dir.join("vmlinux.image"))
}

fn entry_name(source: &Source, fragment: &str, tools: &Toolchain, variant: Variant) -> String {
    let mut parts = vec![source.id.clone(), fragment.to_owned(), kcflags(source, fragment)];
    parts.extend(tools.key_parts());
    parts.extend(variant.make_args().iter().map(|arg| (*arg).to_owned()));
    let folder = if source.fixed { "kernel" } else { OF_A_TREE };
    format!("{folder}/{}-{}", source.version, files::key(parts))
}

fn kcflags(source: &Source, fragment: &str) -> String {
    let warnings = if source.fixed { NO_WARNINGS } else { "" };
    // The scripts for gdb need type information.
    let lines = if wants_gdb_scripts(fragment) { "" } else { LINE_TABLES };
    format!("KCFLAGS={}", format!("{lines} {warnings}").trim())
}

/// The compiler flags of a finished kernel. With other flags, make would compile everything again.
pub fn flags(lab: &Lab, kernel: &Kernel) -> Result<String> {
    let path = kernel.build.join(FRAGMENT);
    let fragment = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    Ok(kcflags(&source::find(lab)?, &fragment))
}

/// Makes a folder where a build continues from a finished one. The folder is complete or absent.
pub fn begin_from(kernel: &Kernel, folder: &Path) -> Result<()> {
    let new = folder.with_extension("new");
    for dir in [&new, folder] {
        files::remove_dir(dir)?;
    }
    files::make_dir(&new)?;
    seed::copy(&kernel.build, &new)?;
    fs::rename(&new, folder).with_context(|| format!("rename to {}", folder.display()))
}

/// The kernel that such a continued build has linked. Makes its image for the guest.
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

/// The folder of the program that all objects of the kernel depend on.
const OBJTOOL: &str = "tools/objtool";

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
            seed::copy(seed, self.dir)
                .map_err(|error| disk::explain(error, self.lab.cache.dir()))?;
        }
        self.configure(wanted)?;
        self.check(wanted)?;
        self.compile(&wanted.fragment())?;
        // If the tree's Kconfig files have changed, make has configured the kernel again.
        self.check(wanted)?;
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
            // Without this, the release of a git tree is `7.3.4` if its last commit has a tag, and
            // `7.3.4+` otherwise. Modules that were built before would not load.
            make.arg("LOCALVERSION=");
        }
        make
    }

    /// The make command with the compiler flags.
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

    /// Checks that all options took effect. If not, the next run configures the kernel anew, since
    /// the tree may have changed again.
    fn check(&self, wanted: &Wanted) -> Result<()> {
        let config = Config::read(&self.dir.join(".config"))?;
        let checked = wanted.check(&config, &self.source.dir);
        if checked.is_err() {
            files::remove_file(&self.dir.join(FRAGMENT))?;
        }
        checked
    }

    /// Makes the objects of the seed count as up to date. They depend on objtool, which is built
    /// again in each folder, since its commands contain the folder's name. Source and compiler are
    /// the same, so the new objtool does the same, and gets the time of the seed's objtool.
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
        // objtool's objects get the same time: otherwise objtool would be linked again.
        seed::set_times(&self.dir.join(OBJTOOL), made)
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
        // Only a build from scratch shows how many objects there are.
        if self.source.fixed && self.seed.is_none() {
            let path = self.dir.join(OBJECTS);
            fs::write(&path, objects.to_string())
                .with_context(|| format!("write {}", path.display()))?;
        }
        Ok(())
    }

    /// The expected number of objects: as many as the last build from scratch made. If there was
    /// none, the number in the pin file.
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

/// Counts an object, if the line of kbuild's output reports one.
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

/// Removes files that neither a boot, nor the build of a module, nor a build that starts from this
/// one needs. Single objects stay, for builds that start from this one.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::machine::Host;
    use crate::host::toolchain::Versions;
    use crate::project::Project;

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

    /// A tree that has no code and configures itself, the second time without an option.
    const FORGETS: &str = "allnoconfig:\n\techo CONFIG_KASAN=y > $(O)/.config\n\
                           vmlinux modules:\n\techo CONFIG_NET=y > $(O)/.config\n";

    #[test]
    fn an_option_that_is_lost_while_the_kernel_is_built_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let lab = source::tests::lab(dir.path());
        let tree = dir.path().join("tree");
        let build = dir.path().join("build");
        for folder in [&tree, &build] {
            fs::create_dir_all(folder).unwrap();
        }
        fs::write(tree.join("Makefile"), FORGETS).unwrap();
        let source = Source { dir: tree, version: "7.3.4".into(), id: "tree".into(), fixed: false };
        let tools = Toolchain::for_tests(Host::this(), Versions::default());
        let variant = Variant::Debug;
        let make =
            Build { lab: &lab, source: &source, dir: &build, tools: &tools, variant, seed: None };
        let wanted = Wanted::read(&[Fragment::Own("debug.config", "CONFIG_KASAN=y\n")]).unwrap();
        let error = make.run(&wanted).unwrap_err().to_string();
        assert!(error.contains("KASAN"), "{error}");
        assert!(!build.join(FRAGMENT).exists(), "the next run configures it anew");
    }

    #[test]
    fn a_module_without_a_project_gets_the_kernel_of_this_project() {
        let dir = tempfile::tempdir().unwrap();
        let nobodys = source::tests::lab(dir.path());
        let ours = Lab { project: Project::load(&nobodys.root).unwrap(), ..nobodys.clone() };
        let config = |lab, variant| Wanted::read(&fragments(lab, variant)).unwrap().fragment();
        // The study's kernel is the project's own.
        let all = Variant::value_variants().iter().filter(|it| **it != Variant::Study);
        for variant in all {
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
}
