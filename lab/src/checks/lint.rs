// SPDX-License-Identifier: GPL-2.0

//! Checks for style and common mistakes in host and kernel code, and the host's tests.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};
use vmlab::boot::kernel::Kernel;
use vmlab::boot::saved;
use vmlab::judge::ktap::TestResult;
use vmlab::judge::report::TestReport;
use vmlab::run::process;
use vmlab::run::progress::{Step, Unit};
use xshell::{Cmd, cmd};

use crate::build::modules;
use crate::build::pipeline::{Built, Prepared};
use crate::checks::house_rules;
use crate::checks::in_tree;
use crate::checks::libtest;
use crate::checks::mutants;
use crate::checks::series_source;
use crate::checks::ynl;
use crate::context::Lab;
use crate::host::disk;
use crate::host::machine::Host;
use crate::host::toolchain::Toolchain;
use crate::project::{self, Project};

/// The group of these checks in a report.
pub const GROUP: &str = "lint";

/// Checks that need no kernel.
pub fn host(lab: &Lab) -> Vec<TestReport> {
    let step = Step::start("checking the host's code", Unit::None, 0);
    let mut verdicts = Vec::new();
    if has_workspace(lab) {
        verdicts.extend([
            TestReport::of("rustfmt (host)", rustfmt_host(lab)),
            TestReport::of("clippy (host)", clippy_host(lab)),
        ]);
    }
    if lab.project.lint.house_rules {
        verdicts.extend([
            TestReport::of("licence headers", house_rules::licences(&lab.root)),
            TestReport::of(
                "nothing of one machine",
                house_rules::nothing_of_one_machine(&lab.root),
            ),
        ]);
    }
    step.finish();
    verdicts
}

/// Whether there is Rust code for the host.
pub fn has_workspace(lab: &Lab) -> bool {
    lab.root.join("Cargo.toml").is_file()
}

/// Whether [`kernel`] has anything to check.
pub fn concerns_kernel(project: &Project) -> bool {
    !project.lint.rust.is_empty()
        || project.modules.kbuild.is_some()
        || project.netlink.is_some()
        || project.mutants.is_some()
        || project.in_tree.is_some()
}

fn rustfmt_host(lab: &Lab) -> Result<()> {
    let shell = Host::this().shell(&lab.root)?;
    process::logged(as_user(cmd!(shell, "cargo fmt --all --check")), &lab.log("fmt"), |_| ())
}

fn clippy_host(lab: &Lab) -> Result<()> {
    let shell = Host::this().shell(&lab.root)?;
    let clippy = cmd!(shell, "cargo clippy --workspace --all-targets --quiet -- -Dwarnings");
    process::logged(as_user(clippy), &lab.log("clippy"), |_| ())
}

/// A cargo command as the user would run it, without variables that make and the lab set.
fn as_user(cargo: Cmd<'_>) -> Command {
    let cargo = cargo.env_remove("CC").env_remove("CARGO_MANIFEST_DIR");
    // The output goes into a log, and from there into a report.
    cargo.env("CARGO_TERM_COLOR", "never").env("TERM", "dumb").into()
}

/// Checks that need a finished kernel.
pub fn kernel(lab: &Lab, base: &Prepared) -> Vec<TestReport> {
    let step = Step::start("checking the kernel's code", Unit::None, 0);
    let project = &lab.project;
    let mut verdicts = Vec::new();
    if !project.lint.rust.is_empty() {
        let formatted = rustfmt(lab, &base.kernel, &base.tools);
        verdicts.push(TestReport::of("rustfmt (kernel)", formatted));
    }
    if project.modules.kbuild.is_some() {
        verdicts.push(TestReport::of("clippy (kernel)", clippy(lab, base)));
    }
    if let Some(netlink) = &project.netlink {
        let same = ynl::check(lab, netlink, &base.kernel);
        verdicts.push(TestReport::of("netlink code is generated", same));
    }
    if project.mutants.is_some() {
        verdicts.push(TestReport::of("mutants fit the code", mutants::check(lab)));
    }
    if series_source::has_series(lab) {
        verdicts.push(series(lab, base));
    }
    step.finish();
    match in_tree::run(lab, base) {
        Ok(builds) => verdicts.extend(builds),
        Err(error) => verdicts.push(TestReport::of::<()>("in a kernel tree", Err(error))),
    }
    verdicts
}

/// Checks that the patch series contain all of the source.
fn series(lab: &Lab, base: &Prepared) -> TestReport {
    let name = "the series have all of the source";
    if lab.settings.own_kernel() {
        return TestReport::of(name, series_source::check(lab, &base.kernel.source));
    }
    TestReport {
        name: name.to_owned(),
        result: TestResult::Skip,
        reason: "the series are for the pinned kernel".to_owned(),
        ..TestReport::default()
    }
}

/// The Rust files below these folders. Without any, rustfmt would check its empty input.
fn rust_files(root: &Path, folders: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut files: Vec<PathBuf> = Vec::new();
    for folder in folders {
        files.extend(house_rules::files(&root.join(folder))?);
    }
    files.retain(|path| path.extension().is_some_and(|ext| ext == "rs"));
    ensure!(
        !files.is_empty(),
        "no folder that {} names under [lint] rust has a Rust file",
        project::FILE
    );
    Ok(files)
}

/// Checks the format by the tree's own rules, like its `make rustfmtcheck`.
fn rustfmt(lab: &Lab, kernel: &Kernel, tools: &Toolchain) -> Result<()> {
    let files = rust_files(&lab.root, &lab.project.lint.rust)?;
    let shell = tools.machine.shell(&lab.root)?;
    let config = kernel.source.join(".rustfmt.toml");
    let rustfmt = cmd!(
        shell,
        "rustfmt --check --color never --config-path {config} --edition 2021 {files...}"
    );
    process::logged(rustfmt.into(), &lab.log("rustfmt"), |_| ())
}

/// Builds the module once more with clippy. Warnings are errors: otherwise make would keep an
/// object with a warning, and not compile it again next time.
fn clippy(lab: &Lab, base: &Prepared) -> Result<()> {
    let out = modules::output(lab, base, "clippy")?;
    let mut make = modules::make(lab, base, &out)?;
    make.args(["CLIPPY=1", "KRUSTFLAGS=-Dwarnings", "KCFLAGS=-Werror"]);
    modules::run(lab, make, "clippy-kernel")
}

/// Runs the host's tests; each is a check. They run one at a time, since some of them boot guests,
/// and other guests run at the same time.
pub fn unit_tests(lab: &Lab, kernel: &Kernel, built: &Built) -> Vec<TestReport> {
    let log = lab.log("host-tests");
    let mut lines = Vec::new();
    let mut command = match Host::this().shell(&lab.root) {
        Ok(shell) => {
            as_user(cmd!(shell, "cargo test --workspace --no-fail-fast -- --include-ignored"))
        }
        Err(error) => return vec![TestReport::of::<()>("all", Err(error))],
    };
    command.env("RUST_TEST_THREADS", "1");
    command.env("LAB_TEST_IMAGE", &kernel.image).env("LAB_TEST_VMLINUX", &kernel.vmlinux);
    command.env("LAB_TEST_INIT", &built.guest.init).env("LAB_TEST_SOURCE", &kernel.source);
    command.env("LAB_TEST_SAVED", lab.cache.path(saved::FOLDER));
    let load = &lab.project.modules.load;
    let first = built.modules.iter().find(|path| load.iter().any(|name| path.ends_with(name)));
    command.envs(first.map(|module| ("LAB_TEST_MODULE", module)));
    let done = process::logged(command, &log, |line| lines.push(line.to_owned()));
    let mut checks = libtest::checks(&lines, &log);
    let failed = checks.iter().any(TestReport::failed);
    match done {
        // The build failed, or a program died before it named a test.
        Err(error) if !failed => {
            let error = disk::explain(error, &lab.target).context("run the host's tests");
            checks.push(TestReport::of::<()>("all", Err(error)));
        }
        Ok(()) if checks.is_empty() => {
            let error = anyhow::anyhow!("cargo ran no test, see {}", log.display());
            checks.push(TestReport::of::<()>("all", Err(error)));
        }
        _ => {}
    }
    checks
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn folders_without_a_rust_file_are_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let folders = ["empty", "rust"].map(PathBuf::from);
        for folder in &folders {
            fs::create_dir(dir.path().join(folder)).unwrap();
        }
        fs::write(dir.path().join("empty/Kbuild"), "").unwrap();
        fs::write(dir.path().join("rust/a.rs"), "").unwrap();
        let found = |folders| rust_files(dir.path(), folders);
        assert_eq!(found(&folders).unwrap(), [dir.path().join("rust/a.rs")]);
        let error = found(&folders[..1]).unwrap_err().to_string();
        assert!(error.starts_with("no folder that lab.toml names"), "{error}");
    }
}
