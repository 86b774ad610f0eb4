// SPDX-License-Identifier: GPL-2.0

//! `lab mutants`: selftests that must fail.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use vmlab::boot::accel;
use vmlab::judge::ktap::TestResult;
use vmlab::judge::outcome::Outcome;
use vmlab::judge::report::{Report, TestReport};
use vmlab::run::interrupt;
use vmlab::run::job::{Test, Work};
use vmlab::run::phases::Phases;
use vmlab::run::pool;
use vmlab::run::print;
use vmlab::run::session;

use crate::build::guest_programs::GuestPrograms;
use crate::build::modules;
use crate::build::pipeline::{self, Built, Prepared};
use crate::checkout_lock;
use crate::checks::made_mutants::{self, Fate, Fates, Survivors};
use crate::checks::mutants::{self, Mutant};
use crate::commands::Runner;
use crate::context::Lab;
use crate::ui::tally::Tally;

impl Runner<'_> {
    /// Runs the mutants. First runs their tests on the unchanged module: a test that fails there
    /// would seem to catch every mutant.
    pub(super) fn mutants(&self, pattern: Option<&str>) -> Result<u8> {
        let _lock = checkout_lock::take(&self.lab.target)?;
        let mutants = mutants::load(self.lab, pattern)?;
        let mut tally = Tally::default();
        let base = pipeline::base(self.lab, self.variant, &mut Phases::default())?;
        let built = pipeline::build(self.lab, &base, &mut Phases::default())?;
        let accel = accel::choose(self.engine, &self.lab.cache.path("accel"))?;
        tally.tell(&[TestReport::of(
            "without a mutant, the selftests pass",
            self.baseline(&base, &built, &mutants, &accel),
        )]);
        if tally.failed > 0 {
            print::out(&format!("{tally}\n"));
            return Ok(Outcome::Test.exit_code());
        }
        let copy = mutants::Copy::new(self.lab)?;
        for mutant in &mutants {
            interrupt::check()?;
            let name = format!("{}: {}", mutant.name, mutant.rule);
            let verdict = match self.mutant(&base, &built.guest, &copy, mutant, &accel) {
                Ok(who) => TestReport::of(format!("{name}: noticed by {who}"), Ok(())),
                Err(error) => TestReport::of::<()>(name, Err(error)),
            };
            tally.tell(&[verdict]);
        }
        print::out(&format!("{tally}\n"));
        Ok(if tally.failed == 0 { 0 } else { Outcome::Test.exit_code() })
    }

    /// Makes mutants of the code, and runs their tests.
    pub(super) fn made_mutants(&self, number: usize, seed: Option<u64>) -> Result<u8> {
        let _lock = checkout_lock::take(&self.lab.target)?;
        let (all, survivors) = (made_mutants::all(self.lab)?, Survivors::load(self.lab)?);
        let mut fates = Fates::load(&self.lab.target)?;
        let seed = seed.unwrap_or_else(|| RandomState::new().hash_one(number));
        let chosen = made_mutants::draw(all.clone(), &fates, seed, number);
        print::out(&format!("{} mutants of seed {seed}\n", chosen.len()));
        let base = pipeline::base(self.lab, self.variant, &mut Phases::default())?;
        let built = pipeline::build(self.lab, &base, &mut Phases::default())?;
        let accel = accel::choose(self.engine, &self.lab.cache.path("accel"))?;
        self.baseline(&base, &built, &chosen, &accel)
            .context("the selftests fail without a mutant")?;
        let copy = mutants::Copy::new(self.lab)?;
        let mut tally = Tally::default();
        for mutant in &chosen {
            interrupt::check()?;
            let fate = self.fate(&base, &built.guest, &copy, mutant, &accel)?;
            let check = |words: &str, result| TestReport {
                name: format!("{}: {words}", mutant.rule),
                result,
                ..TestReport::default()
            };
            tally.tell(&[match (&fate, survivors.reason(mutant)) {
                (Fate::Caught(who), _) => check(&format!("noticed by {who}"), TestResult::Pass),
                (Fate::DoesNotCompile, _) => check("does not compile", TestResult::Pass),
                (Fate::Survived, Some(why)) => {
                    check(&format!("may survive: {why}"), TestResult::Pass)
                }
                (Fate::Survived, None) => TestReport {
                    reason:
                        "survived: its tests pass; extend one of them, or list it with a reason"
                            .to_owned(),
                    ..check("", TestResult::Fail)
                },
            }]);
            fates.keep(mutant, fate)?;
        }
        print::out(&format!("{}\n{tally}\n", fates.count(&all)));
        Ok(if tally.failed == 0 { 0 } else { Outcome::Test.exit_code() })
    }

    fn fate(
        &self,
        base: &Prepared,
        guest: &GuestPrograms,
        copy: &mutants::Copy,
        mutant: &Mutant,
        accel: &accel::Choice,
    ) -> Result<Fate> {
        let modules = match self.mutated(base, copy, mutant) {
            Ok(modules) => modules,
            Err(error) => {
                interrupt::check()?;
                return match format!("{error:#}").contains("error[E") {
                    true => Ok(Fate::DoesNotCompile),
                    false => Err(error),
                };
            }
        };
        let built = Built { modules, guest: guest.clone() };
        let logs = self.lab.target.join("logs/mutants/made");
        let report = self.guests(base, &built, &mutant.tests, accel, &logs)?;
        made_mutants::judge(&report).with_context(|| format!("see {}", logs.display()))
    }

    /// The modules, with the change of the mutant.
    fn mutated(
        &self,
        base: &Prepared,
        copy: &mutants::Copy,
        mutant: &Mutant,
    ) -> Result<Vec<PathBuf>> {
        let lab = Lab {
            root: copy.root().to_owned(),
            target: self.lab.target.join("mutants"),
            ..self.lab.clone()
        };
        copy.with(mutant, || modules::build(&lab, base))
    }

    /// Runs all tests that the mutants name, on the unchanged module.
    fn baseline(
        &self,
        base: &Prepared,
        built: &Built,
        mutants: &[Mutant],
        accel: &accel::Choice,
    ) -> Result<()> {
        let mut tests: Vec<Test> = mutants.iter().flat_map(|it| it.tests.clone()).collect();
        tests.sort_by(|a, b| a.name.cmp(&b.name));
        tests.dedup();
        let logs = self.lab.target.join("logs/mutants/none");
        let report = self.guests(base, built, &tests, accel, &logs)?;
        match report.outcome {
            Outcome::Pass => Ok(()),
            _ => bail!("{}; see {}", report.message, logs.display()),
        }
    }

    /// Runs a mutant's tests, and returns which one failed.
    fn mutant(
        &self,
        base: &Prepared,
        guest: &GuestPrograms,
        copy: &mutants::Copy,
        mutant: &Mutant,
        accel: &accel::Choice,
    ) -> Result<String> {
        let modules = self.mutated(base, copy, mutant)?;
        let built = Built { modules, guest: guest.clone() };
        let logs = self.lab.target.join("logs/mutants").join(&mutant.name);
        let report = self.guests(base, &built, &mutant.tests, accel, &logs)?;
        mutants::judge(&report).with_context(|| format!("see {}", logs.display()))
    }

    /// Each test in a guest of its own, side by side, on a module that loads.
    fn guests(
        &self,
        base: &Prepared,
        built: &Built,
        tests: &[Test],
        accel: &accel::Choice,
        logs: &Path,
    ) -> Result<Report> {
        let boot = |test: &Test| -> Result<Report> {
            let work = Work::one(test.clone());
            let mut job = self.job(base, built, work, &self.lab.project.modules.load)?;
            job.logs = logs.join(&test.name);
            // A failure is what is wanted.
            job.tells = false;
            Ok(session::run(&job, &base.kernel, accel, Phases::default())?.report)
        };
        let mut reports = Vec::new();
        pool::run(
            tests,
            self.lab.settings.jobs,
            |_| false,
            boot,
            |_, report| {
                // One failure is enough.
                let go_on = report.as_ref().is_ok_and(|it: &Report| !it.outcome.is_failure());
                reports.push(report);
                go_on && !interrupt::requested()
            },
        );
        interrupt::check()?;
        Ok(Report::whole(reports.into_iter().collect::<Result<_>>()?, Phases::default()))
    }
}
