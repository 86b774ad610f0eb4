// SPDX-License-Identifier: GPL-2.0

//! `lab mutants`: breaks the module in small ways, and checks that a selftest fails.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use vmlab::boot::engine;
use vmlab::judge::ktap::TestResult;
use vmlab::judge::outcome::Outcome;
use vmlab::judge::report::{Report, TestReport};
use vmlab::judge::tally::Tally;
use vmlab::run::interrupt;
use vmlab::run::job::{Test, Work};
use vmlab::run::phases::Phases;
use vmlab::run::pool;
use vmlab::run::print;
use vmlab::run::session;

use crate::build::modules;
use crate::build::pipeline::{self, Built, Prepared};
use crate::checkout_lock;
use crate::checks::made_mutants::{self, Fate, Fates, Survivors};
use crate::checks::mutants::{self, Copy, Mutant};
use crate::commands::Runner;
use crate::context::Lab;
use crate::ui::tally;

/// What all mutants of a run share.
struct Ground {
    base: Prepared,
    /// The modules without a mutant.
    built: Built,
    engine: engine::Choice,
    copy: Copy,
}

impl Runner<'_> {
    /// Runs the mutants. First runs their tests on the unchanged module: a test that fails there
    /// would seem to catch every mutant.
    pub(super) fn mutants(&self, pattern: Option<&str>) -> Result<u8> {
        let _lock = checkout_lock::take(&self.lab.target)?;
        let mutants = mutants::load(self.lab, pattern)?;
        let mut tally = Tally::default();
        let ground = self.ground()?;
        tally::tell(
            &mut tally,
            &[TestReport::of(
                "without a mutant, the selftests pass",
                self.baseline(&ground, &mutants),
            )],
        );
        if tally.failed > 0 {
            print::out(&format!("{tally}\n"));
            return Ok(Outcome::Test.exit_code());
        }
        for mutant in &mutants {
            interrupt::check()?;
            let name = format!("{}: {}", mutant.name, mutant.rule);
            let verdict = match self.mutant(&ground, mutant) {
                Ok(who) => TestReport::of(format!("{name}: noticed by {who}"), Ok(())),
                Err(error) => TestReport::of::<()>(name, Err(error)),
            };
            tally::tell(&mut tally, &[verdict]);
        }
        print::out(&format!("{tally}\n"));
        Ok(if tally.failed == 0 { 0 } else { Outcome::Test.exit_code() })
    }

    /// Generates mutants from the code, and runs their tests.
    pub(super) fn made_mutants(&self, number: usize, seed: Option<u64>) -> Result<u8> {
        let _lock = checkout_lock::take(&self.lab.target)?;
        let (all, survivors) = (made_mutants::all(self.lab)?, Survivors::load(self.lab)?);
        let mut fates = Fates::load(&self.lab.target)?;
        let seed = seed.unwrap_or_else(|| RandomState::new().hash_one(number));
        let chosen = made_mutants::draw(&all, &fates, seed, number);
        print::out(&format!("{} mutants of seed {seed}\n", chosen.len()));
        let ground = self.ground()?;
        self.baseline(&ground, &chosen).context("the selftests fail without a mutant")?;
        let mut tally = Tally::default();
        for mutant in &chosen {
            interrupt::check()?;
            let fate = self.fate(&ground, mutant)?;
            let check = |words: &str, result| TestReport {
                name: format!("{}: {words}", mutant.rule),
                result,
                ..TestReport::default()
            };
            tally::tell(
                &mut tally,
                &[match (&fate, survivors.reason(mutant)) {
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
                }],
            );
            fates.keep(mutant, fate)?;
        }
        print::out(&format!("{}\n{tally}\n", fates.count(&all)));
        Ok(if tally.failed == 0 { 0 } else { Outcome::Test.exit_code() })
    }

    fn ground(&self) -> Result<Ground> {
        let base = pipeline::base(self.lab, self.variant, &mut Phases::default())?;
        let built = pipeline::build(self.lab, &base, &mut Phases::default())?;
        let engine = self.lab.engine()?;
        Ok(Ground { base, built, engine, copy: Copy::new(self.lab)? })
    }

    /// Runs all tests that the mutants name, on the unchanged module.
    fn baseline(&self, ground: &Ground, mutants: &[Mutant]) -> Result<()> {
        let mut tests: Vec<Test> = mutants.iter().flat_map(|it| it.tests.clone()).collect();
        tests.sort_by(|a, b| a.name.cmp(&b.name));
        tests.dedup();
        let logs = self.lab.target.join("logs/mutants/none");
        let report = self.guests(ground, &ground.built, &tests, &logs)?;
        match report.outcome {
            Outcome::Pass => Ok(()),
            _ => bail!("{}; see {}", report.message, logs.display()),
        }
    }

    /// Runs a mutant's tests, and returns which one failed.
    fn mutant(&self, ground: &Ground, mutant: &Mutant) -> Result<String> {
        let modules = self.mutated(ground, mutant)?;
        self.judged(ground, mutant, modules, &mutant.name, mutants::judge)
    }

    /// The result of a mutant that was generated from the code.
    fn fate(&self, ground: &Ground, mutant: &Mutant) -> Result<Fate> {
        let modules = match self.mutated(ground, mutant) {
            Ok(modules) => modules,
            Err(error) => {
                interrupt::check()?;
                return match format!("{error:#}").contains("error[E") {
                    true => Ok(Fate::DoesNotCompile),
                    false => Err(error),
                };
            }
        };
        self.judged(ground, mutant, modules, "made", made_mutants::judge)
    }

    /// Builds the modules with the change of the mutant.
    fn mutated(&self, ground: &Ground, mutant: &Mutant) -> Result<Vec<PathBuf>> {
        let lab = Lab {
            root: ground.copy.root().to_owned(),
            target: self.lab.target.join("mutants"),
            ..self.lab.clone()
        };
        ground.copy.with(mutant, || modules::build(&lab, &ground.base))
    }

    /// Runs a mutant's tests and judges them with `judge`. Their logs are in the folder `logs`.
    fn judged<R>(
        &self,
        ground: &Ground,
        mutant: &Mutant,
        modules: Vec<PathBuf>,
        logs: &str,
        judge: impl FnOnce(&Report) -> Result<R>,
    ) -> Result<R> {
        let built = Built { modules, guest: ground.built.guest.clone() };
        let logs = self.lab.target.join("logs/mutants").join(logs);
        let report = self.guests(ground, &built, &mutant.tests, &logs)?;
        judge(&report).with_context(|| format!("see {}", logs.display()))
    }

    /// Runs each test in a guest of its own, several at the same time.
    fn guests(
        &self,
        ground: &Ground,
        built: &Built,
        tests: &[Test],
        logs: &Path,
    ) -> Result<Report> {
        let Ground { base, engine, .. } = ground;
        let boot = |test: &Test| -> Result<Report> {
            let work = Work::one(test.clone());
            let mut job = self.job(base, built, work, &self.lab.project.modules.load)?;
            job.logs = logs.join(&test.name);
            // A failure is expected here, so it is not printed.
            job.tells = false;
            Ok(session::run(&job, &base.kernel, engine, Phases::default())?.report)
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
