// SPDX-License-Identifier: GPL-2.0

//! `lab selftests-net`: the kernel tree's own network tests, without and with the module.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use vmlab::boot::engine;
use vmlab::judge::ktap::TestResult;
use vmlab::judge::outcome::Outcome;
use vmlab::judge::report::{Report, TestReport};
use vmlab::judge::tally::Tally;
use vmlab::run::files;
use vmlab::run::interrupt;
use vmlab::run::job::{self, Work};
use vmlab::run::phases::Phases;
use vmlab::run::print;
use vmlab::run::progress::say;
use vmlab::run::session;

use crate::build::pipeline::{self, Built, Prepared};
use crate::checkout_lock;
use crate::commands::Runner;
use crate::context::Lab;
use crate::host::doctor;
use crate::host::machine::Host;
use crate::host::packages;
use crate::net::compare::{self, Compared, NetTests, Run};
use crate::net::results;
use crate::project;
use crate::ui::tally;

/// The file with all that was compared.
const RESULTS: &str = "selftests-net.json";

/// What every guest of a comparison needs.
#[derive(Clone, Copy)]
pub(super) struct Guests<'a> {
    pub base: &'a Prepared,
    pub built: &'a Built,
    pub tests: &'a NetTests,
    pub engine: &'a engine::Choice,
}

impl Runner<'_> {
    /// The kernel tree's own network tests.
    pub(super) fn selftests_net(&self, names: &[String]) -> Result<u8> {
        if self.lab.project.modules.load.is_empty() {
            bail!("{} names no module to load, so there is nothing to compare", project::FILE);
        }
        let _lock = checkout_lock::take(&self.lab.target)?;
        // From here on, the results of an earlier run would be wrong.
        files::remove_file(&self.lab.target.join(RESULTS))?;
        let mut tally = Tally::default();
        let base = pipeline::base(self.lab, self.variant, &mut Phases::default())?;
        let built = pipeline::build(self.lab, &base, &mut Phases::default())?;
        let list = compare::List::own()?;
        for test in list.left_out.iter().filter(|test| names.contains(&test.name)) {
            say(&format!("note: {} is left out by default: {}", test.name, test.why));
        }
        self.compare(&base, &built, &list, &list.choose(names), &mut tally)?;
        print::out(&format!("{tally}\n"));
        Ok(tally.outcome().exit_code())
    }

    /// Runs network tests without and with the module, and prints the comparison of each.
    pub(super) fn compare(
        &self,
        base: &Prepared,
        built: &Built,
        list: &compare::List,
        tests: &[job::Test],
        tally: &mut Tally,
    ) -> Result<()> {
        let prepared = self.prepare_net_of(base, list)?;
        let engine = self.lab.engine()?;
        let guests = Guests { base, built, tests: &prepared, engine: &engine };
        let mut all: Vec<Compared> = Vec::new();
        for test in tests {
            interrupt::check()?;
            let (check, compared) = self.compare_one(guests, test);
            tally::tell(tally, &[check]);
            all.extend(compared);
            compare::write(&self.lab.target.join(RESULTS), &all)?;
        }
        Ok(())
    }

    /// Prepares the quick tests, for a run with other tests.
    pub(super) fn prepare_net(&self, base: &Prepared) -> Result<(compare::List, NetTests)> {
        let list = compare::List::own()?;
        let prepared = self.prepare_net_of(base, &list)?;
        Ok((list, prepared))
    }

    fn prepare_net_of(&self, base: &Prepared, list: &compare::List) -> Result<NetTests> {
        let machine = Host::this();
        let checks: Vec<_> =
            list.packages.iter().map(|package| doctor::package(&machine, package)).collect();
        let missing = doctor::missing_packages(&checks);
        if !missing.is_empty() {
            let installed = packages::offer(self.lab, &machine, &missing);
            if let Err(error) = &installed {
                say(&format!("note: {error:#}"));
            }
            if !installed.is_ok_and(|installed| installed) {
                let get = packages::by_hand(&missing);
                say(&format!("some of the kernel's tests may skip; to run them:\n  {get}"));
            }
        }
        let prepared = compare::prepare(self.lab, list, &base.kernel, &base.tools)?;
        prepared.notes.iter().for_each(|note| say(&format!("note: {note}")));
        Ok(prepared)
    }

    /// Runs a test without and with the module.
    pub(super) fn compare_one(
        &self,
        guests: Guests,
        test: &job::Test,
    ) -> (TestReport, Option<Compared>) {
        let run = |loaded| self.net_test(guests, test, loaded);
        let compared = match compare::compare(&test.name, run) {
            Ok(compared) => compared,
            Err(error) => {
                return (TestReport::of::<()>(format!("net/{}", test.name), Err(error)), None);
            }
        };
        let (result, reason) = match (compared.failure(), compared.is_void()) {
            (Some(why), _) => (TestResult::Fail, why),
            (None, Some(why)) => {
                let log = net_logs(self.lab, &test.name, false).join("tests");
                let log = log.join(format!("{}.log", test.name));
                (TestResult::Skip, format!("{why}; see {}", log.display()))
            }
            (None, None) => (TestResult::Pass, String::new()),
        };
        let name = compared.line();
        (TestReport { name, result, reason, ..TestReport::default() }, Some(compared))
    }

    /// One network test in a guest of its own.
    fn net_test(&self, guests: Guests, test: &job::Test, loaded: bool) -> Result<Run> {
        let Guests { base, built, tests, engine } = guests;
        let work = Work::one(test.clone());
        let load: &[String] = if loaded { &self.lab.project.modules.load } else { &[] };
        let mut job = self.job(base, built, work, load)?;
        job.keep_loaded = true;
        job.turns = true;
        // A failure means nothing before the comparison, so it is not printed.
        job.tells = false;
        job.selftests = vec![tests.script(test)?];
        job.logs = net_logs(self.lab, &test.name, loaded);
        let report = session::run(&job, &base.kernel, engine, Phases::default())?.report;
        if matches!(report.outcome, Outcome::Boot | Outcome::Build) {
            bail!("{}", report.message);
        }
        let log = job.logs.join("tests").join(format!("{}.log", test.name));
        let output = fs::read(&log).with_context(|| format!("read {}", log.display()))?;
        let output = String::from_utf8_lossy(&output);
        if loaded != output.lines().any(|line| line == compare::LOADED) {
            bail!(
                "the module was to be {}loaded: {}",
                if loaded { "" } else { "un" },
                log.display()
            );
        }
        Ok(Run {
            results: results::parse(&output),
            died: report.outcome == Outcome::Panic,
            problems: problems(&report, &test.name),
            findings: report.kernel_findings,
        })
    }
}

/// What went wrong besides the test's own results, which are in its output. The report's message has
/// the gravest alone, and names failed tests without their reasons: most of the kernel's tests print no
/// KTAP, and are failed ones in each run.
fn problems(report: &Report, test: &str) -> Vec<String> {
    let mut problems: Vec<String> =
        report.tests.iter().flat_map(|it| it.left.iter().cloned()).collect();
    let others = report.tests.iter().filter(|it| it.result == TestResult::Fail && it.name != test);
    problems.extend(others.map(|it| format!("{}: {}", it.name, it.reason)));
    if matches!(report.outcome, Outcome::Test | Outcome::Timeout | Outcome::Panic) {
        problems.push(report.message.clone());
    }
    problems
}

/// The folder for the logs of network tests.
fn net_logs(lab: &Lab, test: &str, loaded: bool) -> PathBuf {
    lab.target.join("logs/selftests-net").join(test).join(if loaded { "with" } else { "without" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_test_leaves_behind_is_a_problem_though_the_message_has_only_its_name() {
        let failed = |name: &str, reason: &str, left: &[&str]| TestReport {
            name: name.into(),
            result: TestResult::Fail,
            reason: reason.into(),
            left: left.iter().map(|it| (*it).to_owned()).collect(),
            ..TestReport::default()
        };
        let report = |outcome, tests| {
            let empty = Report::not_built("failed: a.sh".into(), Phases::default());
            Report { outcome, tests, ..empty }
        };
        let left = "left 1 network namespaces behind";
        let tests = vec![failed("a.sh", "no KTAP at all; left it", &[left])];
        assert_eq!(problems(&report(Outcome::Test, tests), "a.sh"), [left, "failed: a.sh"]);
        // A finding of the kernel log outranks what else went wrong.
        let tests = vec![failed("load m.ko", "m does not unload", &[])];
        let found = problems(&report(Outcome::KernelLog, tests), "a.sh");
        assert_eq!(found, ["load m.ko: m does not unload"]);
    }
}
