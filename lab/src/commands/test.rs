// SPDX-License-Identifier: GPL-2.0

//! `lab test`, `lab all` and `lab test-debug`: checks, then selftests, then the report.

use anyhow::{Result, bail};
use vmlab::judge::junit;
use vmlab::judge::ktap;
use vmlab::judge::outcome::Outcome;
use vmlab::judge::report::Report;
use vmlab::run::interrupt;
use vmlab::run::job::{self, Work};
use vmlab::run::phases::Phases;

use crate::build::kernel::Variant;
use crate::build::pipeline::{self, Built, Prepared};
use crate::checks::compile_fail;
use crate::checks::examples;
use crate::checks::lint;
use crate::cli::TestArgs;
use crate::commands::Runner;
use crate::context::Lab;
use crate::host::disk;
use crate::host::packages;
use crate::net::compare;
use crate::ui::tally::{Check, Tally};

impl Runner<'_> {
    /// The main job; with `checks`, also all that runs on the host.
    pub(super) fn test(&self, args: &TestArgs, checks: bool) -> Result<u8> {
        let mut phases = Phases::default();
        let mut checked = Checked { tally: Tally::default(), quiet: args.ktap };
        let report = match self.selftests(args, checks, &mut checked, &mut phases) {
            Ok(report) => report,
            Err(error) => {
                interrupt::check()?;
                let error = disk::explain(error, self.lab.cache.dir());
                Report::not_built(format!("{error:#}"), phases)
            }
        };
        self.conclude(&report, args, checked.tally)
    }

    fn selftests(
        &self,
        args: &TestArgs,
        checks: bool,
        checked: &mut Checked,
        phases: &mut Phases,
    ) -> Result<Report> {
        if checks {
            phases.time("lint", || checked.host(self.lab))?;
        }
        let base = pipeline::base(self.lab, self.variant, phases)?;
        let built = pipeline::build(self.lab, &base, phases)?;
        if checks {
            phases.time("checks", || checked.built(self.lab, &base, &built))?;
        }
        if self.variant == Variant::Debug && !base.kernel.debug {
            bail!("this kernel has neither KASAN nor lockdep: it would find nothing");
        }
        let folder = self.lab.root.join("selftests");
        let tests = job::select(job::selftests(&folder)?, args.pattern.as_deref())?;
        let work = Work::Tests { tests, repeat: args.repeat };
        let report = self.boot(&base, &built, work, &[], std::mem::take(phases))?.report;
        if checks {
            interrupt::check()?;
            let list = compare::List::load(&self.lab.root)?;
            self.compare(&base, &built, &list, &list.quick(), checked)?;
        }
        Ok(report)
    }

    /// Writes the reports and the last lines.
    fn conclude(&self, report: &Report, args: &TestArgs, mut tally: Tally) -> Result<u8> {
        self.write(report)?;
        tally.add(count(report));
        if args.ktap {
            print!("{}", report.ktap());
            eprint!("{}", report.table());
            eprintln!("{tally}");
        } else {
            print!("{}", report.table());
            println!("{tally}");
        }
        Ok(match report.outcome {
            Outcome::Pass if tally.failed > 0 => Outcome::Test.exit_code(),
            outcome => outcome.exit_code(),
        })
    }

    pub(super) fn write(&self, report: &Report) -> Result<()> {
        report.write(&self.lab.target.join("results.json"))?;
        junit::write(report, &self.lab.target.join("results.xml"))
    }
}

/// Checks outside of the guest, counted.
pub(super) struct Checked {
    pub(super) tally: Tally,
    /// Standard output is for KTAP alone.
    pub(super) quiet: bool,
}

impl Checked {
    pub(super) fn tell(&mut self, verdicts: &[Check]) {
        let tally = Tally::count(verdicts, |line| self.line(line));
        self.tally.add(tally);
    }

    fn line(&self, line: &str) {
        if self.quiet {
            eprintln!("{line}");
        } else {
            println!("{line}");
        }
    }

    /// What needs no kernel. To compile the workspace takes packages: bindgen loads libclang.
    pub(super) fn host(&mut self, lab: &Lab) -> Result<()> {
        packages::ensure(lab)?;
        self.tell(&lint::host(lab));
        interrupt::check()
    }

    /// What needs a kernel, and what runs on it.
    pub(super) fn built(&mut self, lab: &Lab, base: &Prepared, built: &Built) -> Result<()> {
        self.tell(&lint::kernel(lab, base));
        self.tell(&compile_fail::run(lab, &base.tools)?);
        self.tell(&examples::run(lab, &base.tools)?);
        interrupt::check()?;
        let (passed, failed) = lint::unit_tests(lab, &base.kernel, built);
        self.tally.add(passed);
        self.line(&format!("ok      {} host tests", passed.passed));
        self.tell(&failed);
        interrupt::check()
    }
}

/// The selftests' numbers. A run that failed outside of any test has a failure
/// of its own, so that no last line says "0 failed" of it.
fn count(report: &Report) -> Tally {
    let number = |verdict| report.tests.iter().filter(|test| test.result == verdict).count() as u64;
    let mut tally = Tally {
        passed: number(ktap::TestResult::Pass),
        failed: number(ktap::TestResult::Fail),
        skipped: number(ktap::TestResult::Skip),
    };
    if report.outcome != Outcome::Pass && tally.failed == 0 {
        tally.failed = 1;
    }
    tally
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(outcome: Outcome) -> Report {
        Report { outcome, ..Report::not_built(String::new(), Phases::default()) }
    }

    #[test]
    fn a_run_that_went_wrong_never_counts_as_no_failure() {
        for (outcome, failed) in [(Outcome::Pass, 0), (Outcome::KernelLog, 1), (Outcome::Build, 1)]
        {
            assert_eq!(count(&report(outcome)).failed, failed, "{outcome:?}");
        }
    }
}
