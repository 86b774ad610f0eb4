// SPDX-License-Identifier: GPL-2.0

//! Checks of style and of common mistakes, on the host's code and the kernel's,
//! and the host's tests.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use vmlab::boot::kernel::Kernel;
use vmlab::run::process;
use vmlab::run::progress::{Step, Unit};

use crate::build::modules;
use crate::build::pipeline::{Built, Prepared};
use crate::checks::house_rules;
use crate::checks::mutants;
use crate::checks::ynl;
use crate::context::Lab;
use crate::host::disk;
use crate::host::toolchain::Toolchain;
use crate::ui::tally::{Check, Tally};

/// Checks that need no kernel.
pub fn host(lab: &Lab) -> Vec<Check> {
    let step = Step::start("checking the host's code", Unit::None, 0);
    let verdicts = vec![
        Check::of("rustfmt (host)", cargo(lab, &["fmt", "--all", "--check"], "fmt")),
        Check::of(
            "clippy (host)",
            cargo(
                lab,
                &["clippy", "--workspace", "--all-targets", "--quiet", "--", "-Dwarnings"],
                "clippy",
            ),
        ),
        Check::of("licence headers", house_rules::licences(&lab.root)),
        Check::of("nothing of one machine", house_rules::nothing_of_one_machine(&lab.root)),
    ];
    step.finish();
    verdicts
}

/// A cargo as the user would call it, whatever make and the lab set.
fn cargo_command(lab: &Lab) -> Command {
    let mut command = Command::new("cargo");
    command.current_dir(&lab.root).env_remove("CC").env_remove("CARGO_MANIFEST_DIR");
    // What it says goes into a log, and from there into a report.
    command.env("CARGO_TERM_COLOR", "never").env("TERM", "dumb");
    command
}

fn cargo(lab: &Lab, args: &[&str], log: &str) -> Result<()> {
    let mut command = cargo_command(lab);
    command.args(args);
    process::logged(command, &lab.log(log), |_| ())
}

/// Checks that need a finished kernel.
pub fn kernel(lab: &Lab, base: &Prepared) -> Vec<Check> {
    let step = Step::start("checking the kernel's code", Unit::None, 0);
    let verdicts = vec![
        Check::of("rustfmt (kernel)", rustfmt(lab, &base.kernel, &base.tools)),
        Check::of("clippy (kernel)", clippy(lab, base)),
        Check::of("netlink code is generated", ynl::check(lab, &base.kernel)),
        Check::of("mutants fit the code", mutants::check(lab)),
    ];
    step.finish();
    verdicts
}

/// By the tree's own rules, as its `make rustfmtcheck` does.
fn rustfmt(lab: &Lab, kernel: &Kernel, tools: &Toolchain) -> Result<()> {
    let files: Vec<PathBuf> = house_rules::files(&lab.root.join("rust"))?
        .into_iter()
        .filter(|path| path.extension().is_some_and(|ext| ext == "rs"))
        .collect();
    let mut command = tools.machine.command("rustfmt");
    command.arg("--check").arg("--config-path").arg(kernel.source.join(".rustfmt.toml"));
    command.args(["--edition", "2021"]).args(files);
    process::logged(command, &lab.log("rustfmt"), |_| ())
}

/// A module build of its own with clippy as the compiler. Warnings are errors,
/// so that an object with a warning is never kept and passed over next time.
fn clippy(lab: &Lab, base: &Prepared) -> Result<()> {
    let out = lab.target.join("clippy");
    modules::for_this_kernel(&out, &base.kernel)?;
    let mut make = modules::make(lab, base, &out);
    make.args(["CLIPPY=1", "KRUSTFLAGS=-Dwarnings", "KCFLAGS=-Werror"]);
    modules::run(lab, make, "clippy-kernel")
}

/// The host's tests, some of which boot guests: their numbers, and a verdict for
/// each that failed.
pub fn unit_tests(lab: &Lab, kernel: &Kernel, built: &Built) -> (Tally, Vec<Check>) {
    let step = Step::start("running the host's tests", Unit::None, 0);
    let log = lab.log("host-tests");
    let mut lines = Vec::new();
    let mut command = cargo_command(lab);
    command.args(["test", "--workspace", "--no-fail-fast", "--", "--include-ignored"]);
    command.env("LAB_TEST_IMAGE", &kernel.image).env("LAB_TEST_VMLINUX", &kernel.vmlinux);
    command.env("LAB_TEST_INIT", &built.guest.init).env("LAB_TEST_SOURCE", &kernel.source);
    if let Some(module) = built.modules.iter().find(|path| path.ends_with("rnetns.ko")) {
        command.env("LAB_TEST_MODULE", module);
    }
    let done = process::logged(command, &log, |line| lines.push(line.to_owned()));
    step.finish();
    let mut tally = count(&lines);
    let failed = failures(&lines, &log);
    // The verdicts of those that failed are counted by whoever prints them.
    tally.failed = 0;
    match done {
        // They could not even be built, or a program died before its summary.
        Err(error) if failed.is_empty() => {
            let error = disk::explain(error, &lab.target).context("run the host's tests");
            (tally, vec![Check::of::<()>("host tests", Err(error))])
        }
        _ => (tally, failed),
    }
}

fn failures(lines: &[String], log: &Path) -> Vec<Check> {
    lines
        .iter()
        .filter_map(|line| line.strip_prefix("test ")?.strip_suffix(" ... FAILED"))
        .map(|name| {
            let why = anyhow::anyhow!("log in {}", log.display());
            Check::of::<()>(format!("host test: {name}"), Err(why))
        })
        .collect()
}

/// Adds up the `test result:` lines of all test programs.
fn count(lines: &[String]) -> Tally {
    let mut tally = Tally::default();
    for line in lines.iter().filter(|line| line.starts_with("test result:")) {
        let number = |what: &str| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let at = words.iter().position(|word| word.trim_end_matches(';') == what);
            at.and_then(|at| words.get(at.wrapping_sub(1))?.parse().ok()).unwrap_or(0)
        };
        tally.add(Tally {
            passed: number("passed"),
            failed: number("failed"),
            skipped: number("ignored"),
        });
    }
    tally
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_results_of_all_programs_are_added_up() {
        let lines = [
            "test a::b ... ok",
            "test result: ok. 57 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.44s",
            "test result: FAILED. 2 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s",
        ]
        .map(str::to_owned);
        assert!(failures(&lines, Path::new("/l")).is_empty());
        assert_eq!(count(&lines), Tally { passed: 59, failed: 3, skipped: 1 });
    }

    #[test]
    fn each_failed_test_is_named() {
        let lines = ["test a::b ... ok", "test a::c ... FAILED"].map(str::to_owned);
        let failed = failures(&lines, Path::new("/l"));
        assert_eq!(failed.len(), 1);
        assert_eq!(failed[0].name, "host test: a::c");
    }
}
