// SPDX-License-Identifier: GPL-2.0

//! `lab mutants`: breaks the module in small ways, and checks that a selftest fails.

use std::collections::hash_map::RandomState;
use std::fs;
use std::hash::BuildHasher;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use vmlab::boot::engine;
use vmlab::judge::ktap::TestResult;
use vmlab::judge::outcome::Outcome;
use vmlab::judge::report::{Report, TestReport};
use vmlab::judge::tally::Tally;
use vmlab::run::files;
use vmlab::run::interrupt;
use vmlab::run::job::{Test, Work};
use vmlab::run::phases::Phases;
use vmlab::run::pool;
use vmlab::run::print;
use vmlab::run::session;

use crate::build::guest_programs;
use crate::build::modules;
use crate::build::pipeline::{self, Built, Prepared};
use crate::checkout_lock;
use crate::checks::house_rules;
use crate::checks::made_mutants::{self, Fate, Fates, Survivors};
use crate::checks::mutants::{self, Baseline, Copy, Mutant};
use crate::commands::Runner;
use crate::context::Lab;
use crate::ui::tally;

/// What all mutants of a run share.
struct Ground {
    base: Prepared,
    /// The guest's programs, and the modules without a mutant. They are built of the same copy as
    /// the mutants.
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
        let Some(ground) = self.common_ground(&mutants, &mut tally)? else {
            return end(&tally, Outcome::Test);
        };
        for mutant in &mutants {
            interrupt::check()?;
            let name = format!("{}: {}", mutant.name, mutant.rule);
            let verdict = match self.mutant(&ground, mutant) {
                Ok(who) => TestReport::of(format!("{name}: noticed by {who}"), Ok(())),
                Err(error) => TestReport::of::<()>(name, Err(error)),
            };
            tally::tell(&mut tally, &[verdict]);
        }
        end(&tally, if tally.failed == 0 { Outcome::Pass } else { Outcome::Test })
    }

    /// Generates mutants from the code, and runs their tests.
    pub(super) fn made_mutants(&self, number: usize, seed: Option<u64>) -> Result<u8> {
        let _lock = checkout_lock::take(&self.lab.target)?;
        let (all, survivors) = (made_mutants::all(self.lab)?, Survivors::load(self.lab)?);
        let mut fates = Fates::load(&self.lab.target)?;
        let seed = seed.unwrap_or_else(|| RandomState::new().hash_one(number));
        let chosen = made_mutants::draw(&all, &fates, &survivors, seed, number);
        print::out(&format!("{} mutants of seed {seed}\n", chosen.len()));
        let mut tally = Tally::default();
        let Some(ground) = self.common_ground(&chosen, &mut tally)? else {
            return end(&tally, Outcome::Test);
        };
        let mut tally = Tally::default();
        for mutant in &chosen {
            interrupt::check()?;
            let fate = self.fate(&ground, mutant)?;
            let check = |words: &str, result| TestReport {
                name: format!("{}: {words}", mutant.rule),
                result,
                ..TestReport::default()
            };
            let check = match (&fate, survivors.reason(mutant)) {
                (Fate::Caught(who), _) => check(&format!("noticed by {who}"), TestResult::Pass),
                (Fate::DoesNotCompile, _) => check("does not compile", TestResult::Skip),
                (Fate::Survived, Some(why)) => {
                    check(&format!("may survive: {why}"), TestResult::Pass)
                }
                (Fate::Survived, None) => TestReport {
                    reason:
                        "survived: its tests pass; extend one of them, or list it with a reason"
                            .to_owned(),
                    ..check("", TestResult::Fail)
                },
            };
            tally::tell(&mut tally, &[check]);
            fates.keep(mutant, fate)?;
        }
        let outcome = tally.outcome();
        if outcome == Outcome::Skipped {
            print::out("no mutant that compiles was tried, so no test has shown anything\n");
        }
        print::out(&format!("{}\n", fates.count(&all)));
        end(&tally, outcome)
    }

    /// Builds what all mutants share, and checks that the tests pass without a mutant. `None` if
    /// they do not.
    fn common_ground(&self, mutants: &[Mutant], tally: &mut Tally) -> Result<Option<Ground>> {
        let base = pipeline::base(self.lab, self.variant, &mut Phases::default())?;
        let guest = guest_programs::build(self.lab, &base)?;
        let engine = self.lab.engine()?;
        let built = Built { modules: Vec::new(), guest };
        let mut ground = Ground { base, built, engine, copy: Copy::new(self.lab)? };
        let passes = self.baseline(&mut ground, mutants);
        interrupt::check()?;
        let check = TestReport::of("without a mutant, the selftests pass", passes);
        tally::tell(tally, &[check]);
        Ok((tally.failed == 0).then_some(ground))
    }

    /// Builds the unchanged copy, and runs all tests that the mutants name, unless they have passed
    /// with the same files before. If the copy never compiled, or a test always failed, no mutant
    /// would survive.
    fn baseline(&self, ground: &mut Ground, mutants: &[Mutant]) -> Result<()> {
        ground.built.modules = modules::build(&self.of_copy(ground), &ground.base)
            .context("the code does not compile in its copy")?;
        let target = &self.lab.target;
        let mut baseline = Baseline::load(target, self.baseline_key(ground)?);
        let tests = baseline.missing(mutants);
        if tests.is_empty() {
            return Ok(());
        }
        let logs = target.join("logs/mutants/none");
        let report = self.guests(ground, &ground.built, &tests, &logs)?;
        match report.outcome {
            Outcome::Pass => baseline.keep(target, &tests),
            _ => bail!("{}; see {}", report.message, logs.display()),
        }
    }

    /// Changes with the content of each file that a test without a mutant depends on. The modules
    /// themselves contain the name of the copy's folder, which is another one in each run.
    fn baseline_key(&self, ground: &Ground) -> Result<String> {
        let Ground { base, built: Built { guest, .. }, copy, .. } = ground;
        let mut paths = vec![guest.init.clone(), base.kernel.image.clone()];
        paths.extend(guest.selftests.iter().chain(&guest.tools).cloned());
        for folder in &self.lab.project.selftests.folders {
            paths.extend(house_rules::files(&self.lab.root.join(folder))?);
        }
        paths.extend(house_rules::files(copy.root())?);
        let guest_of = self.guest_key_parts(&base.kernel, ground.engine.used)?;
        let mut parts: Vec<Vec<u8>> =
            base.tools.key_parts().into_iter().chain(guest_of).map(String::into_bytes).collect();
        for path in paths {
            let name = path.strip_prefix(copy.root()).unwrap_or(&path);
            parts.push(name.as_os_str().as_encoded_bytes().to_vec());
            parts.push(fs::read(&path).with_context(|| format!("read {}", path.display()))?);
        }
        Ok(files::key(parts))
    }

    /// The context of a build of the copy.
    fn of_copy(&self, ground: &Ground) -> Lab {
        Lab {
            root: ground.copy.root().to_owned(),
            target: self.lab.target.join("mutants"),
            ..self.lab.clone()
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
                return match made_mutants::does_not_compile(&format!("{error:#}")) {
                    true => Ok(Fate::DoesNotCompile),
                    false => Err(error),
                };
            }
        };
        self.judged(ground, mutant, modules, "made", made_mutants::judge)
    }

    /// Builds the modules with the change of the mutant.
    fn mutated(&self, ground: &Ground, mutant: &Mutant) -> Result<Vec<PathBuf>> {
        let lab = self.of_copy(ground);
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

/// Prints the last line, and returns the exit status.
fn end(tally: &Tally, outcome: Outcome) -> Result<u8> {
    print::out(&format!("{tally}\n"));
    Ok(outcome.exit_code())
}
