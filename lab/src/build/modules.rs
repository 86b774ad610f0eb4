// SPDX-License-Identifier: GPL-2.0

//! Modules, built out of tree against a finished kernel.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use vmlab::boot::kernel::Kernel;
use vmlab::run::files;
use vmlab::run::process;
use vmlab::run::progress::{Step, Unit};

use crate::build::pipeline::Prepared;
use crate::context::Lab;
use crate::host::disk;

/// A file in an output directory that names the kernel it was built for.
const BUILT_FOR: &str = ".lab-kernel";

/// Builds every module of the project. Returns the `.ko` files.
pub fn build(lab: &Lab, base: &Prepared) -> Result<Vec<PathBuf>> {
    match &lab.project.modules.kbuild {
        Some(folder) => build_folder(lab, base, &lab.root.join(folder)),
        None => Ok(Vec::new()),
    }
}

/// Builds the modules of any folder with a Kbuild file or Makefile.
pub fn build_folder(lab: &Lab, base: &Prepared, folder: &Path) -> Result<Vec<PathBuf>> {
    let out = lab.target.join(format!("modules{}", base.variant.suffix()));
    for_this_kernel(&out, &base.kernel)?;
    let step =
        Step::start(&format!("building modules for Linux {}", base.kernel.release), Unit::None, 0);
    run(lab, make_folder(base, folder, &out), "modules").context("build the modules")?;
    step.finish();
    find(&out)
}

/// The `make` that builds the project's modules into `out`.
pub fn make(lab: &Lab, base: &Prepared, out: &Path) -> Command {
    let folder = lab.project.modules.kbuild.as_deref().unwrap_or(Path::new(""));
    make_folder(base, &lab.root.join(folder), out)
}

/// With `MO` (in kbuild since 6.13), the source folder stays clean.
fn make_folder(base: &Prepared, folder: &Path, out: &Path) -> Command {
    let mut make = base.tools.make();
    make.arg("-C").arg(&base.kernel.build);
    make.arg(format!("M={}", folder.display())).arg(format!("MO={}", out.display()));
    make.args(base.variant.make_args()).args(base.variant.module_args());
    make
}

/// Runs a module build.
pub fn run(lab: &Lab, make: Command, log: &str) -> Result<()> {
    process::logged(make, &lab.log(log), |_| ()).map_err(|e| disk::explain(e, &lab.target))
}

/// Empties `out` if it holds objects for another kernel: kbuild compares flags, but not the
/// kernel's headers.
pub fn for_this_kernel(out: &Path, kernel: &Kernel) -> Result<()> {
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
