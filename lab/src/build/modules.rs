// SPDX-License-Identifier: GPL-2.0

//! Modules, built out of tree against a finished kernel.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, anyhow};
use vmlab::boot::kernel::Kernel;
use vmlab::run::files;
use vmlab::run::process;
use vmlab::run::progress::{Step, Unit};

use crate::build::pipeline::Prepared;
use crate::build::staging;
use crate::context::Lab;
use crate::host::disk;

/// A file in an output directory that names the kernel it was built for.
const BUILT_FOR: &str = ".lab-kernel";

/// Builds every module of the project. Returns the `.ko` files.
pub fn build(lab: &Lab, base: &Prepared) -> Result<Vec<PathBuf>> {
    match &lab.project.modules.kbuild {
        Some(_) => build_folder(lab, base, &folder(lab)),
        None => Ok(Vec::new()),
    }
}

/// Builds the modules of any folder with a Kbuild file or Makefile.
pub fn build_folder(lab: &Lab, base: &Prepared, folder: &Path) -> Result<Vec<PathBuf>> {
    let out = output(lab, base, &format!("modules{}", base.variant.suffix()))?;
    let step =
        Step::start(&format!("building modules for Linux {}", base.kernel.release), Unit::None, 0);
    run(lab, make_folder(lab, base, folder, &out)?, "modules").context("build the modules")?;
    step.finish();
    find(&out)
}

/// The folder `name` in the lab's results for the output of kbuild. It is emptied if it was filled
/// for another kernel.
pub fn output(lab: &Lab, base: &Prepared, name: &str) -> Result<PathBuf> {
    let out = staging::output(&lab.cache, &lab.target.join(name))?;
    for_this_kernel(&out, &base.kernel)?;
    Ok(out)
}

/// The `make` that builds the project's modules into `out`.
pub fn make(lab: &Lab, base: &Prepared, out: &Path) -> Result<Command> {
    make_folder(lab, base, &folder(lab), out)
}

/// The project's folder with the Kbuild file.
fn folder(lab: &Lab) -> PathBuf {
    let folder = lab.project.modules.kbuild.as_deref().unwrap_or(Path::new(""));
    // `a/.` is `a`.
    lab.root.join(folder).components().collect()
}

/// The folder before the names of the project's files in debug information.
pub fn debug_root(lab: &Lab) -> PathBuf {
    let folder = folder(lab);
    let built = staging::name(&lab.cache, &folder);
    if built == folder { lab.root.clone() } else { built }
}

/// With `MO` (in kbuild since 6.13), the source folder stays clean.
fn make_folder(lab: &Lab, base: &Prepared, folder: &Path, out: &Path) -> Result<Command> {
    let source = staging::source(&lab.cache, folder)?;
    let mut make = base.tools.make();
    make.arg("-C").arg(&base.kernel.build);
    make.arg(format!("M={}", source.display())).arg(format!("MO={}", out.display()));
    make.args(base.variant.make_args()).args(base.variant.module_args());
    Ok(make)
}

/// Runs a module build. Its messages show the paths of the user's own files.
pub fn run(lab: &Lab, make: Command, log: &str) -> Result<()> {
    let log = lab.log(log);
    let done = process::logged(make, &log, |_| ());
    let said = fs::read_to_string(&log).unwrap_or_default();
    let meant = staging::translate(&lab.cache, &said);
    if meant == said {
        return done.map_err(|error| disk::explain(error, &lab.target));
    }
    fs::write(&log, meant).with_context(|| format!("write {}", log.display()))?;
    done.map_err(|error| {
        let error = disk::explain(error, &lab.target);
        anyhow!("{}", staging::translate(&lab.cache, &format!("{error:#}")))
    })
}

/// Empties `out` if it holds objects for another kernel: kbuild compares flags, but not the
/// kernel's headers.
fn for_this_kernel(out: &Path, kernel: &Kernel) -> Result<()> {
    let stamp = out.join(BUILT_FOR);
    let built = kernel.build.join("Module.symvers");
    let time = fs::metadata(&built).and_then(|meta| meta.modified());
    let time = time.with_context(|| format!("look at {}", built.display()))?;
    let now = format!("{} {time:?}\n", kernel.build.display());
    if fs::read_to_string(&stamp).is_ok_and(|then| then == now) {
        return Ok(());
    }
    files::remove_dir(out)?;
    files::make_dir(out)?;
    fs::write(&stamp, now).with_context(|| format!("write {}", stamp.display()))
}

/// The modules that kbuild lists in `modules.order`.
fn find(out: &Path) -> Result<Vec<PathBuf>> {
    let order = out.join("modules.order");
    let text = fs::read_to_string(&order).with_context(|| format!("read {}", order.display()))?;
    Ok(parse_order(&text, out))
}

fn parse_order(order: &str, out: &Path) -> Vec<PathBuf> {
    order.lines().map(|line| out.join(line).with_extension("ko")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::cache::Cache;
    use crate::build::kernel::{self, Variant};
    use crate::context::Settings;
    use crate::host::toolchain::Toolchain;

    const SAMPLE: &str = "//! A module that does nothing.\nuse kernel::prelude::*;\n\
        module! { type: Sample, name: \"sample\", authors: [\"A\"], description: \"d\", license: \"GPL\", }\n\
        struct Sample;\nimpl kernel::Module for Sample {\n\
        fn init(_: &'static ThisModule) -> Result<Self> {\nOk(Sample)\n}\n}\n";

    #[test]
    fn a_module_is_built_where_kbuild_itself_would_not_build() {
        let Some(vmlinux) = std::env::var_os("LAB_TEST_VMLINUX") else {
            eprintln!("skipped: no LAB_TEST_VMLINUX; `make test` sets it");
            return;
        };
        let kbuild = Path::new(&vmlinux).parent().map(Path::to_owned);
        let here = Lab::find(Settings { kbuild, jobs: 2, ..Settings::default() }).unwrap();
        let (tools, variant) = (Toolchain::find(&here).unwrap(), Variant::Plain);
        let kernel = kernel::prepare(&here, &tools, variant).unwrap();
        let base = Prepared { tools, kernel, variant };

        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("a b/ü $x's");
        fs::create_dir_all(&root).unwrap();
        fs::write(root.join("Kbuild"), "obj-m := sample.o\n").unwrap();
        fs::write(root.join("sample.rs"), SAMPLE).unwrap();
        let cache = Cache::at(dir.path().join("cache"));
        let lab = Lab { target: root.join("target/lab"), root: root.clone(), cache, ..here };
        let built = build_folder(&lab, &base, &root).unwrap();
        assert_eq!(built.len(), 1);
        assert!(root.join("target/lab/modules/sample.ko").exists());

        fs::write(root.join("sample.rs"), SAMPLE.replace("Ok(Sample)", "Ok(1)")).unwrap();
        let error = format!("{:#}", build_folder(&lab, &base, &root).unwrap_err());
        let place = format!("{}/sample.rs:7:", root.display());
        assert!(error.contains(&place), "{place} in {error}");
        let log = fs::read_to_string(lab.log("modules")).unwrap();
        assert!(log.contains(&place), "{place} in {log}");
    }

    #[test]
    fn modules_are_those_that_kbuild_lists() {
        let found = parse_order("sample.o\nrust/bench/sample_bench.o\n", Path::new("/o"));
        assert_eq!(found, [Path::new("/o/sample.ko"), Path::new("/o/rust/bench/sample_bench.ko")]);
    }

    #[test]
    fn objects_for_another_kernel_are_thrown_away() {
        let dir = tempfile::tempdir().unwrap();
        let build = dir.path().join("build");
        fs::create_dir(&build).unwrap();
        fs::write(build.join("Module.symvers"), "").unwrap();
        let kernel = Kernel {
            source: PathBuf::new(),
            image: PathBuf::new(),
            vmlinux: PathBuf::new(),
            release: "7.3.4".into(),
            debug: false,
            build,
        };
        let out = dir.path().join("out");
        for_this_kernel(&out, &kernel).unwrap();
        fs::write(out.join("a.o"), "").unwrap();
        for_this_kernel(&out, &kernel).unwrap();
        assert!(out.join("a.o").exists(), "the same kernel keeps them");

        let time = std::time::SystemTime::UNIX_EPOCH;
        let file =
            fs::File::options().write(true).open(kernel.build.join("Module.symvers")).unwrap();
        file.set_modified(time).unwrap();
        for_this_kernel(&out, &kernel).unwrap();
        assert!(!out.join("a.o").exists(), "a rebuilt kernel does not");
    }
}
